/**
 * A model that is given tools: it is asked, the tools that it wants are run one after the other, what came of them is told
 * to it, and it is asked again, until it answers. It stands in the place of an agent's call: each round is a call of its
 * own under the same ledger, each run of a tool is an effect of its own, and what a tool costs is reserved with its intent.
 *
 * T4  A tool is run only if the model asked for it by a whole answer, and it was examined: it is on the list, its arguments
 *     fit, and it is not used up. Whatever is not run is told to the model with the reason.
 * T5  What a tool may cost is held in the ledger before it is run, and settled once: for nothing, if it was not.
 * T6  An external tool is run once for each time that the model asked for it, under a key of its own; if nobody knows
 *     whether it was, the loop waits for a person.
 * T7  Rounds, calls and the length of what is said are bounded; at a bound the loop ends with a failure, and runs nothing more.
 */
import { assign, enqueueActions, fromPromise, sendParent, sendTo, setup } from 'xstate'
import { append, isOutcomeUnknown } from '../protocol.js'
import type { AgentTask } from './agent.machine.js'
import { resolutionOf, type ResolutionEvent } from './approval.js'
import { callMachine, type CallInput, type CallOutput, type CallToAgent, type LedgerAnswer, type PermitOutcome } from './call.machine.js'
import { nothing, type Amounts } from './ledger.js'
import type { Refusal } from './permit.js'
import { compactionStream, traceStream, type CompactionEntry, type TraceTool } from './trace.js'

/** The first call, and what the further ones are made from. */
export interface ToolLoopInput extends CallInput {
  readonly loop: { readonly task: AgentTask }
}

/** A tool that a model asks for. */
export interface AskedTool {
  /** Unique in the loop: `t`, the round, `_`, its place. */
  readonly id: string
  readonly name: string
  /** JSON as the model wrote it. */
  readonly arguments: string
}

/**
 * Why a tool was not run, or not to any good:
 *
 * - not-allowed, arguments, used-up: it was examined, and not run
 * - limit, stopped: it was not permitted
 * - changed, gone, unlisted: its source does not offer it as it was accepted
 * - failed: it was run, and failed; deadline: it was given up; cut-off: processes died over it too often
 */
export type ToolRefusal = 'not-allowed' | 'arguments' | 'used-up' | 'limit' | 'stopped' | 'changed' | 'gone' | 'unlisted' | 'failed' | 'deadline' | 'cut-off'

export interface ToolResultTold {
  readonly id: string
  readonly name: string
  /** What the model is told. */
  readonly text: string
  readonly isError: boolean
}

/** One round: what the model said and asked for, and what came of it. */
export interface ToolRound {
  readonly text: string
  readonly calls: readonly AskedTool[]
  readonly results: readonly ToolResultTold[]
}

/** What is known of the next tool before it is run. */
export type Examined = Unfit | Runnable

interface Unfit {
  readonly refusal: ToolRefusal
  readonly message: string
}

interface Runnable {
  readonly kind: 'repeatable' | 'external'
  /** The arguments, as JSON. */
  readonly input: unknown
  readonly cost: Amounts
  /** How long a repeatable tool may take, ms. */
  readonly deadlineMs: number
}

export interface ToolRunInput {
  readonly asked: AskedTool
  readonly input: unknown
  /** Which of the calls of this tool it is in the loop, counted from 1. */
  readonly ordinal: number
  readonly cost: Amounts
  readonly deadlineMs: number
  readonly call: Pick<CallInput, 'id' | 'about' | 'tenant' | 'priority'>
}

/** What running a tool gives. */
export type ToolOutcome =
  | { readonly ok: true; readonly text: string }
  | { readonly ok: false; readonly reason: ToolRefusal; readonly message: string; readonly wasRun: boolean }
  /** No permit was in hand, so it was not run. */
  | { readonly isLacking: true }
  /** None was given. */
  | { readonly refusal: Refusal }
  /** The process died while it was run; it costs something, so it is paid and begun anew. */
  | { readonly isCutOff: true }

export interface ToolLoopContext {
  readonly input: ToolLoopInput
  /** The call under way. */
  readonly call: CallInput
  /** Full names of the models that the next call may ask: those that were left are not gone back to. */
  readonly models: readonly string[]
  /** Parts of its prompt that were masked or left out, until they are kept, and digests of those that are. */
  readonly compacted: readonly { readonly digest: string }[]
  readonly kept: readonly string[]
  /** Rounds whose tools have all been dealt with. */
  readonly rounds: readonly ToolRound[]
  /** The round under way. */
  readonly round: ToolRound | null
  /** The attempt at the model that asked for it. */
  readonly attempt: string
  /** How often each tool was run. */
  readonly ran: Readonly<Record<string, number>>
  readonly next: Examined | null
  /** Whether what the next tool may cost is held in the ledger. */
  readonly isHeld: boolean
  /** How often processes died over the next tool. */
  readonly cuts: number
  readonly result: CallOutput | null
}

export type ToolLoopEvent = LedgerAnswer | CallToAgent | ResolutionEvent

/** What the loop tells its agent beside what a call does. */
export interface ToolUnknown {
  readonly type: 'tool.unknown'
  readonly error: { readonly message: string }
}

/** What the bounds of a loop are. All inclusive. */
export interface ToolLoopBounds {
  readonly roundsMax: number
  readonly callsMax: number
}

/** UTF-16 units of all rounds together: a record keeps them all. */
export const transcriptCharsMax = 300_000
/** How often a tool that costs something is begun anew after a crash. */
const cutsMax = 100

const outputOf = <T>(event: unknown): T => (event as { output: T }).output
const errorOf = (event: unknown): { code?: string; message: string } => (event as { error: { code?: string; message: string } }).error

/** A model's answer as far as the loop reads it. */
interface Answer {
  readonly text: string
  readonly stopReason: string
  readonly toolCalls?: readonly { readonly name: string; readonly arguments: string }[]
}

/** The tool that is next or under way; undefined: all of the round have been dealt with. */
export function nextTool({ round }: Pick<ToolLoopContext, 'round'>): AskedTool | undefined {
  return round?.calls[round.results.length]
}

const asked = (context: ToolLoopContext): AskedTool => nextTool(context)!
const allRounds = ({ rounds, round }: ToolLoopContext): readonly ToolRound[] => (round ? [...rounds, round] : rounds)
const askedSoFar = (context: ToolLoopContext): number => allRounds(context).reduce((sum, { calls }) => sum + calls.length, 0)

function ordinalOf(context: ToolLoopContext): number {
  const { name } = asked(context)
  const before = context.rounds.flatMap(({ calls }) => calls)
  return [...before, ...context.round!.calls.slice(0, context.round!.results.length + 1)].filter((one) => one.name === name).length
}

/** Names the reservation of the next tool in the agent's ledger. */
const holdId = (context: ToolLoopContext): string => `${context.input.id}.tool-${context.rounds.reduce((sum, { calls }) => sum + calls.length, 0) + context.round!.results.length + 1}`

const mayRun = (next: Examined | null): next is Runnable => next !== null && 'kind' in next
const costOf = ({ next }: ToolLoopContext): Amounts => (mayRun(next) ? next.cost : nothing)
const costsSomething = (cost: Amounts): boolean => cost.tokens > 0 || cost.calls > 0 || cost.nanoDollars > 0

function runInput(context: ToolLoopContext): ToolRunInput {
  const { id, about, tenant, priority } = context.input
  const next = context.next as Runnable
  return { asked: asked(context), input: next.input, ordinal: ordinalOf(context), cost: next.cost, deadlineMs: next.deadlineMs, call: { id, about, tenant, priority } }
}

/** Which bound the round that the model wants goes over. */
export function excessOf(context: ToolLoopContext, { roundsMax, callsMax }: ToolLoopBounds): string | undefined {
  const calls = askedSoFar(context)
  if (calls > callsMax) return `the model asked for ${calls} tool calls in all, and ${callsMax} are allowed for a task (toolCallsMax)`
  if (context.rounds.length >= roundsMax) return `the model asked for tools again after ${context.rounds.length} rounds of them, and no more are allowed for a task (toolRoundsMax)`
  const chars = JSON.stringify(allRounds(context)).length
  if (chars > transcriptCharsMax) return `what the model and its tools said is ${chars} characters long, and ${transcriptCharsMax} may be kept`
  return undefined
}

/** The next tool has been dealt with: what the model is told of it. */
function told(context: ToolLoopContext, { text, isError, wasRun }: { readonly text: string; readonly isError: boolean; readonly wasRun: boolean }): Partial<ToolLoopContext> {
  const { id, name } = asked(context)
  const round = { ...context.round!, results: [...context.round!.results, { id, name, text, isError }] }
  return { round, next: null, cuts: 0, ...(wasRun ? { ran: { ...context.ran, [name]: (context.ran[name] ?? 0) + 1 } } : {}) }
}

const refused = (context: ToolLoopContext, reason: ToolRefusal, message: string, wasRun: boolean): Partial<ToolLoopContext> => told(context, { text: `${reason}: ${message}`, isError: true, wasRun })

/** What a tool call came to, for the ledger and the trace; null: it is not over. */
interface Ended {
  readonly reason: ToolRefusal | null
  readonly text: string
  readonly wasRun: boolean
}

function endedOf(outcome: ToolOutcome): Ended {
  if ('isLacking' in outcome || 'isCutOff' in outcome) throw new Error('It has not ended.')
  if ('refusal' in outcome) return { reason: outcome.refusal.reason === 'stopped' ? 'stopped' : 'limit', text: outcome.refusal.message, wasRun: false }
  return outcome.ok ? { reason: null, text: outcome.text, wasRun: true } : { reason: outcome.reason, text: outcome.message, wasRun: outcome.wasRun }
}

export const toolLoopMachine = setup({
  types: {
    context: {} as ToolLoopContext,
    events: {} as ToolLoopEvent,
    input: {} as ToolLoopInput,
    output: {} as CallOutput,
  },
  actors: {
    call: callMachine,
    /** Replaced by defineAgent, as are act and permit: runs a tool that may be run again. */
    read: fromPromise<ToolOutcome, ToolRunInput>(() => Promise.reject(new Error('no tools'))),
    act: fromPromise<ToolOutcome, ToolRunInput>(() => Promise.reject(new Error('no tools'))),
    /** Waits until a permit is kept for the next tool. */
    permit: fromPromise<PermitOutcome, ToolRunInput>(() => Promise.resolve({ isGiven: true })),
  },
  guards: {
    wantsTools: ({ event }) => {
      const result = outputOf<CallOutput>(event)
      if (!result.ok) return false
      const { stopReason, toolCalls = [] } = result.response as Answer
      return stopReason === 'tools' && toolCalls.length > 0
    },
    isOver: ({ context }) => context.result !== null,
    hasNext: ({ context }) => nextTool(context) !== undefined,
    isRefused: ({ context }) => context.next !== null && 'refusal' in context.next,
    mustBeHeld: ({ context }) => !context.isHeld && costsSomething(costOf(context)),
    isExternal: ({ context }) => mayRun(context.next) && context.next.kind === 'external',
    isLacking: ({ event }) => 'isLacking' in outputOf<ToolOutcome>(event),
    isCutOff: ({ context, event }) => 'isCutOff' in outputOf<ToolOutcome>(event) && context.cuts < cutsMax,
    isPermitted: ({ event }) => 'isGiven' in outputOf<PermitOutcome>(event),
    isOutcomeUnknown: ({ event }) => isOutcomeUnknown(errorOf(event)),
    hasHappened: ({ event }) => resolutionOf(event)?.happened === true,
    hasNotHappened: ({ event }) => resolutionOf(event)?.happened === false,
  },
  delays: {
    toolDeadline: ({ context }) => (mayRun(context.next) ? context.next.deadlineMs : 0),
  },
  actions: {
    askAgent: sendParent(({ event }) => event),
    answerCall: sendTo('call', ({ event }) => event),
    noteRound: assign(({ context, event }) => {
      const { response, attempts, attempt, model } = outputOf<CallOutput & { ok: true }>(event)
      const { text, toolCalls = [] } = response as Answer
      const at = context.rounds.length + 1
      const calls = toolCalls.map(({ name, arguments: given }, i): AskedTool => ({ id: `t${at}_${i + 1}`, name, arguments: given }))
      return { attempt: attempt ?? `${context.call.id}.${attempts.length}`, models: context.models.slice(Math.max(0, context.models.indexOf(model))), round: { text, calls, results: [] } }
    }),
    /** Replaced by defineAgent: tells policies that the answer was one. */
    reportRound: () => {},
    finish: assign({ result: ({ context, event }) => ({ ...outputOf<CallOutput>(event), id: context.call.id }) }),
    /** Replaced by defineAgent: looks at the next tool into `next`; at a bound it says so in `result`. */
    examineNext: assign({ next: () => ({ refusal: 'not-allowed' as const, message: 'there are no tools' }) }),
    refuse: enqueueActions(({ enqueue, context }) => {
      const { refusal, message } = context.next as Unfit
      end(enqueue as unknown as Enqueue, context, { reason: refusal, text: message, wasRun: false })
    }),
    hold: sendParent(({ context }): CallToAgent => ({ type: 'call.reserve', id: holdId(context), worst: costOf(context) })),
    noteHeld: assign({ isHeld: true }),
    settleHeld: sendParent((_, params): CallToAgent => ({ type: 'call.settle', ...(params as unknown as { id: string; cost: Amounts }) })),
    failForBudget: assign({ result: ({ context }): CallOutput => ({ ok: false, reason: 'budget', message: `the budget does not cover the tool "${asked(context).name}"`, refusal: null, attempts: [] }) }),
    noteOutcome: enqueueActions(({ enqueue, context, event }) => {
      const output = outputOf<ToolOutcome>(event)
      end(enqueue as unknown as Enqueue, context, 'isCutOff' in output ? { reason: 'cut-off', text: `it was begun ${context.cuts + 1} times, and processes died over it`, wasRun: true } : endedOf(output))
    }),
    noteRefusal: enqueueActions(({ enqueue, context, event }) => end(enqueue as unknown as Enqueue, context, endedOf(outputOf<ToolOutcome>(event)))),
    noteError: enqueueActions(({ enqueue, context, event }) => end(enqueue as unknown as Enqueue, context, { reason: 'failed', text: errorOf(event).message, wasRun: true })),
    /** Waiting for its permit failed by itself: it was not run. */
    noteNoPermit: enqueueActions(({ enqueue, context, event }) => end(enqueue as unknown as Enqueue, context, { reason: 'limit', text: errorOf(event).message, wasRun: false })),
    noteLate: enqueueActions(({ enqueue, context }) => end(enqueue as unknown as Enqueue, context, { reason: 'deadline', text: 'it took too long and was given up', wasRun: true })),
    noteHappened: enqueueActions(({ enqueue, context, event }) => {
      const { output } = event as ResolutionEvent
      end(enqueue as unknown as Enqueue, context, { reason: null, text: output === undefined || output === null ? 'done' : typeof output === 'string' ? output : JSON.stringify(output), wasRun: true })
    }),
    /** It is paid, and begun anew. */
    noteCut: enqueueActions(({ enqueue, context }) => {
      const id = holdId(context)
      const cost = costOf(context)
      if (context.isHeld) enqueue({ type: 'settleHeld', params: { id, cost } } as never)
      enqueue.assign({ isHeld: false, cuts: context.cuts + 1 })
    }),
    tellUnknown: sendParent(({ event }): ToolUnknown => ({ type: 'tool.unknown', error: { message: errorOf(event).message } })),
    endRound: assign({ rounds: ({ context }) => allRounds(context), round: null }),
    /** Replaced by defineAgent: renders the next call into `call`, or says in `result` why not. */
    prepareRound: assign({ result: (): CallOutput => ({ ok: false, reason: 'prompt', message: 'this agent has no prompt', refusal: null, attempts: [] }) }),
    keepCompacted: enqueueActions(({ enqueue, context }) => {
      const { call, compacted, kept } = context
      const parts = compacted.filter(({ digest }) => !kept.includes(digest))
      if (parts.length > 0) enqueue(append(() => ({ stream: compactionStream, value: { call: call.id, parts } satisfies CompactionEntry })))
      if (compacted.length > 0) enqueue.assign({ compacted: [], kept: [...kept, ...parts.map(({ digest }) => digest)] })
    }),
  },
}).createMachine({
  id: 'toolLoop',
  version: '1',
  description: 'A model is asked, the tools that it wants are run and what came of them is told to it, until it answers.',
  context: ({ input }) => {
    const { loop: _, ...call } = input
    const compaction = call.compaction as { readonly parts: readonly { readonly digest: string }[] } | undefined
    // Those of the first call are kept by whoever made it.
    return { input, call, models: call.models, compacted: [], kept: compaction?.parts.map(({ digest }) => digest) ?? [], rounds: [], round: null, attempt: '', ran: {}, next: null, isHeld: false, cuts: 0, result: null }
  },
  output: ({ context }) => context.result!,
  initial: 'calling',
  states: {
    calling: {
      description: 'A model call is under way: it answers, or asks for tools.',
      invoke: {
        id: 'call',
        src: 'call',
        input: ({ context }) => context.call,
        onDone: [
          { guard: 'wantsTools', target: 'choosing', actions: ['noteRound', 'reportRound'] },
          { target: 'settled', actions: 'finish' },
        ],
      },
      on: {
        'call.*': { actions: 'askAgent' },
        'ledger.*': { actions: 'answerCall' },
      },
    },
    choosing: {
      description: 'Is there another tool to run, and may it be run?',
      entry: 'examineNext',
      always: [
        { guard: 'isOver', target: 'settled' },
        { guard: 'isRefused', target: 'choosing', reenter: true, actions: 'refuse', description: 'The model is told why.' },
        { guard: 'mustBeHeld', target: 'reserving' },
        { guard: 'isExternal', target: 'acting' },
        { guard: 'hasNext', target: 'reading' },
        { target: 'prepared', actions: 'endRound' },
      ],
    },
    reserving: {
      description: 'The agent’s ledger is asked to hold what the tool may cost.',
      entry: 'hold',
      on: {
        'ledger.reserved': [
          { guard: 'isExternal', target: 'acting', actions: 'noteHeld' },
          { target: 'reading', actions: 'noteHeld' },
        ],
        'ledger.refused': { target: 'settled', actions: 'failForBudget' },
      },
    },
    reading: {
      description: 'A tool is run that may be run again after a crash.',
      invoke: {
        id: 'read',
        src: 'read',
        input: ({ context }) => runInput(context),
        onDone: [
          { guard: 'isLacking', target: 'waitingForPermit' },
          { guard: 'isCutOff', target: 'choosing', actions: 'noteCut' },
          { target: 'choosing', actions: 'noteOutcome' },
        ],
        onError: { target: 'choosing', actions: 'noteError' },
      },
      after: { toolDeadline: { target: 'choosing', actions: 'noteLate' } },
    },
    acting: {
      description: 'A tool is run that changes the outside world, under its key.',
      invoke: {
        id: 'act',
        src: 'act',
        input: ({ context }) => runInput(context),
        onDone: [
          { guard: 'isLacking', target: 'waitingForPermit' },
          { target: 'choosing', actions: 'noteOutcome' },
        ],
        onError: [
          { guard: 'isOutcomeUnknown', target: 'unsure', actions: 'tellUnknown' },
          { target: 'choosing', actions: 'noteError' },
        ],
      },
    },
    waitingForPermit: {
      description: 'No permit for the tool is in hand: its limits are asked for one.',
      invoke: {
        id: 'permit',
        src: 'permit',
        input: ({ context }) => runInput(context),
        onDone: [
          { guard: 'isPermitted', target: 'permitted' },
          { target: 'choosing', actions: 'noteRefusal' },
        ],
        onError: { target: 'choosing', actions: 'noteNoPermit' },
      },
    },
    permitted: {
      description: 'A permit is kept for the tool.',
      always: [{ guard: 'isExternal', target: 'acting' }, { target: 'reading' }],
    },
    unsure: {
      description: 'Nobody knows whether the tool was run; a person finds out.',
      on: {
        'action.resolve': [
          { guard: 'hasHappened', target: 'choosing', actions: 'noteHappened' },
          { guard: 'hasNotHappened', target: 'acting', description: 'It was not: it may be run.' },
        ],
      },
    },
    prepared: {
      description: 'What came of the tools is put into the next prompt, unless it does not fit.',
      entry: ['prepareRound', 'keepCompacted'],
      always: [{ guard: 'isOver', target: 'settled' }, { target: 'calling' }],
    },
    settled: {
      description: 'There is an answer, or there will be none.',
      type: 'final',
    },
  },
})

interface Enqueue {
  (action: unknown): void
  assign(context: Partial<ToolLoopContext>): void
}

/** The tool under way has ended: the ledger, the trace and the model hear what came of it. */
function end(enqueue: Enqueue, context: ToolLoopContext, ended: Ended): void {
  const cost = ended.wasRun ? costOf(context) : nothing
  const id = holdId(context)
  const tool = asked(context)
  if (context.isHeld) enqueue({ type: 'settleHeld', params: { id, cost } })
  enqueue(append(() => ({ stream: traceStream, shared: true, value: traceOf(context, tool, ended, cost) })))
  enqueue.assign({ ...(ended.reason === null ? told(context, { text: ended.text, isError: false, wasRun: true }) : refused(context, ended.reason, ended.text, ended.wasRun)), isHeld: false })
}

function traceOf({ attempt, next }: ToolLoopContext, tool: AskedTool, { reason, text, wasRun }: Ended, cost: Amounts): TraceTool {
  return { half: 'tool', attempt, id: tool.id, tool: tool.name, arguments: tool.arguments, kind: mayRun(next) ? next.kind : null, wasRun, refused: reason, text, cost }
}

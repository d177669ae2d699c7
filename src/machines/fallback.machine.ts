/**
 * Where a task goes whose models cannot be had: another agent, asked through the run, or a person who gives the answer,
 * one after the other as the policies declared it when the call began. It runs inside its agent's record. What it brings
 * is judged as a model's answer would be.
 *
 * F1  Each step is asked once, in order, and none is gone back to. Whoever stands in for an agent has no fallback of its own.
 * F2  What another agent may spend is held in this agent's ledger and settled with what it spent; all of it, if nobody knows.
 */
import { assign, sendParent, sendTo, setup } from 'xstate'
import { append, fromAsk, refTo } from '../protocol.js'
import type { AgentFailure, AgentOutput, AgentTask } from './agent.machine.js'
import type { ApprovalRequest } from './approval.js'
import type { FallbackStep } from './call-policy.js'
import type { CallToAgent } from './call.machine.js'
import type { Confidence } from './gate.js'
import { minus, nothing, plus, type Amounts } from './ledger.js'
import { traceStream, type CallSubject, type TraceIntent, type TraceOutcome } from './trace.js'
import type { AgentToVerifier, VerifierToAgent } from './verdict.js'

export interface FallbackInput {
  readonly task: AgentTask
  readonly gathered: unknown
  /** At least one step. */
  readonly path: readonly FallbackStep[]
  /** Why no model could be had. */
  readonly cause: { readonly reason: AgentFailure; readonly message: string }
  /** What the agent has left to spend. */
  readonly free: Amounts
  readonly about: CallSubject
}

/** What was brought, not judged yet. */
export interface Brought {
  readonly output: unknown
  readonly confidence: Confidence
  /** `agent/` and its address, or `person/` and the name. */
  readonly by: string
}

export interface FallbackContext {
  readonly input: FallbackInput
  /** Which step is next or under way. */
  readonly place: number
  readonly free: Amounts
  readonly request: ApprovalRequest | null
  readonly brought: Brought | null
  /** Why the step under way came to nothing. */
  readonly failure: string | null
  /** Steps that came to nothing, with the reason. */
  readonly tried: readonly { readonly step: string; readonly failure: string }[]
}

export interface FallbackOutput {
  /** As the agent's output; null: nobody brought anything that fits. */
  readonly answer: Brought | null
  /** The step that brought it, in the trace. */
  readonly attempt: string | null
  readonly tried: FallbackContext['tried']
}

/** What the run answers whoever wants another agent to stand in. */
export type SubstituteAnswer = Pick<AgentOutput, 'output' | 'confidence' | 'failure' | 'spent' | 'overrun'> & { readonly by: string }

/** What the run is asked. */
export interface SubstituteRequest {
  readonly type: 'substitute.request'
  /** The task of the agent that asks. */
  readonly id: string
  /** Machine name of the agent that is to stand in. */
  readonly by: string
  readonly input: unknown
  readonly origin: string
  readonly grant: Amounts
}

/** The steps that such a task can take. Another agent is asked through the run, so one that works alone has none. */
export function openPath(path: readonly FallbackStep[], task: Pick<AgentTask, 'runAddress' | 'isSubstitute'>): readonly FallbackStep[] {
  if (task.isSubstitute) return []
  return path.filter((step) => 'person' in step || task.runAddress !== undefined)
}

const stepOf = ({ input, place }: FallbackContext): FallbackStep | undefined => input.path[place]
export const fallbackStepId = ({ place }: Pick<FallbackContext, 'place'>): string => `fallback-${place + 1}`
const nameOf = (step: FallbackStep): string => ('agent' in step ? `agent/${step.agent}` : 'person')

/** null: it was stopped, and nobody knows what it spent. */
const answerOf = (event: unknown): SubstituteAnswer => (event as { output: SubstituteAnswer }).output
const decisionIn = (event: AgentToVerifier) => (event as AgentToVerifier & { type: 'person.decided' }).decision

function outcomeOf(context: FallbackContext, failure: string | null): TraceOutcome {
  return { half: 'outcome', attempt: fallbackStepId(context), ok: failure === null, cost: nothing, response: null, error: failure === null ? null : { kind: 'fallback', message: failure } }
}

export const fallbackMachine = setup({
  types: {
    context: {} as FallbackContext,
    events: {} as AgentToVerifier,
    input: {} as FallbackInput,
    output: {} as FallbackOutput,
  },
  actors: {
    substitute: fromAsk<SubstituteAnswer, FallbackContext>(({ input: context }) => {
      const { task } = context.input
      const step = stepOf(context) as FallbackStep & { agent: string }
      const request: SubstituteRequest = { type: 'substitute.request', id: task.id, by: step.agent, input: task.input, origin: task.origin, grant: context.free }
      return { to: task.runAddress!, event: { ...request }, deadlineMs: step.deadlineMs }
    }),
  },
  guards: {
    isAgentNext: ({ context }) => 'agent' in (stepOf(context) ?? {}),
    isPersonNext: ({ context }) => 'person' in (stepOf(context) ?? {}),
    hasBrought: ({ event }) => answerOf(event)?.failure === null,
    wasStopped: ({ event }) => answerOf(event) === null,
    isGiven: ({ event }) => decisionIn(event).approved,
    /** It reads as an output of this agent. */
    fits: ({ context }) => context.brought !== null && context.failure === null,
    hasRequest: ({ context }) => context.request !== null,
  },
  delays: {
    personDeadline: ({ context }) => stepOf(context)!.deadlineMs,
  },
  actions: {
    askLedger: sendParent(({ context }): CallToAgent => ({ type: 'call.reserve', id: fallbackStepId(context), worst: context.free })),
    settleSpent: sendParent(({ context, event }): CallToAgent => ({ type: 'call.settle', id: fallbackStepId(context), cost: plus(answerOf(event).spent, answerOf(event).overrun) })),
    noteSpent: assign({ free: ({ context, event }) => minus(context.free, answerOf(event).spent) }),
    /** Nobody knows what it spent. */
    settleUnknown: sendParent(({ context }): CallToAgent => ({ type: 'call.settle', id: fallbackStepId(context), cost: null })),
    /** Nobody waits for it any more. */
    dismiss: sendTo(({ context }) => refTo(context.input.task.runAddress!), ({ context }) => ({ type: 'substitute.dismiss', id: context.input.task.id })),
    noteAllSpent: assign({ free: () => nothing }),
    noteBrought: assign({ brought: ({ event }): Brought => ({ output: answerOf(event).output, confidence: answerOf(event).confidence, by: `agent/${answerOf(event).by}` }), failure: null }),
    noteUnanswered: assign({ failure: ({ event }) => answerOf(event).failure!.message }),
    noteStopped: assign({ failure: () => 'it was stopped' }),
    noteError: assign({
      failure: ({ context, event }) => {
        const { code, message } = (event as unknown as { error: { code?: string; message: string } }).error
        return code === 'DEADLINE' ? `it did not answer within ${stepOf(context)!.deadlineMs} ms` : message
      },
    }),
    failForBudget: assign({ failure: () => 'the budget does not cover it' }),
    /** Replaced by defineAgent: what the person is shown, as `request`; or `failure`. */
    prepareRequest: assign({ failure: () => 'there is nothing to show to a person' }),
    askPerson: sendParent(({ context }): VerifierToAgent => ({ type: 'person.ask', request: context.request! })),
    withdraw: sendParent((): VerifierToAgent => ({ type: 'person.withdraw' })),
    noteGiven: assign({
      brought: ({ event }): Brought => ({ output: decisionIn(event).output ?? null, confidence: { value: 1, source: 'human' }, by: `person/${decisionIn(event).by}` }),
      failure: null,
    }),
    noteDeclined: assign({ failure: ({ event }) => `${decisionIn(event).by} declined${decisionIn(event).note ? `: ${decisionIn(event).note}` : ''}` }),
    noteExpired: assign({ failure: () => 'nobody answered in time' }),
    /** Replaced by defineAgent: what was brought, read as the agent's output; or `failure`. */
    weigh: assign({ brought: ({ context }) => context.brought }),
    moveOn: assign(({ context }) => {
      const step = nameOf(stepOf(context)!)
      return { tried: [...context.tried, { step, failure: context.failure ?? 'it brought nothing' }], place: context.place + 1, brought: null, request: null, failure: null }
    }),
    traceIntent: append(({ context }) => {
      const { task, cause, about } = context.input
      const value: TraceIntent = { half: 'intent', attempt: fallbackStepId(context), model: nameOf(stepOf(context)!), request: { why: cause.message, input: task.input }, compaction: null, reserved: nothing, about }
      return { stream: traceStream, shared: true, value }
    }),
    traceFailure: append(({ context }) => ({ stream: traceStream, shared: true, value: outcomeOf(context, context.failure ?? 'it brought nothing') })),
    traceAnswer: append(({ context }) => ({ stream: traceStream, shared: true, value: outcomeOf(context, null) })),
  },
}).createMachine({
  id: 'fallback',
  version: '1',
  description: 'The declared path of a task whose models cannot be had.',
  context: ({ input }) => ({ input, place: 0, free: input.free, request: null, brought: null, failure: null, tried: [] }),
  output: ({ context }) => ({ answer: context.brought, attempt: context.brought ? fallbackStepId(context) : null, tried: context.tried }),
  initial: 'choosing',
  states: {
    choosing: {
      description: 'Who is next?',
      always: [{ guard: 'isAgentNext', target: 'granting' }, { guard: 'isPersonNext', target: 'preparing' }, { target: 'exhausted' }],
    },
    granting: {
      description: 'The ledger is asked to hold what the other agent may spend: all that is left.',
      entry: ['askLedger', 'traceIntent'],
      on: {
        'ledger.reserved': 'askingAgent',
        'ledger.refused': { target: 'movingOn', actions: 'failForBudget' },
      },
    },
    askingAgent: {
      description: 'Another agent of the run has the task.',
      invoke: {
        id: 'substitute',
        src: 'substitute',
        input: ({ context }) => context,
        onDone: [
          { guard: 'hasBrought', target: 'weighing', actions: ['settleSpent', 'noteSpent', 'noteBrought'] },
          { guard: 'wasStopped', target: 'movingOn', actions: ['settleUnknown', 'noteAllSpent', 'noteStopped'] },
          { target: 'movingOn', actions: ['settleSpent', 'noteSpent', 'noteUnanswered'] },
        ],
        onError: { target: 'movingOn', actions: ['settleUnknown', 'noteAllSpent', 'noteError', 'dismiss'] },
      },
    },
    preparing: {
      description: 'What is the person to be shown?',
      entry: ['traceIntent', 'prepareRequest'],
      always: [{ guard: 'hasRequest', target: 'askingPerson' }, { target: 'movingOn' }],
    },
    askingPerson: {
      description: 'A person is asked for the answer; the agent takes it.',
      entry: 'askPerson',
      on: {
        'person.decided': [
          { guard: 'isGiven', target: 'weighing', actions: 'noteGiven' },
          { target: 'movingOn', actions: 'noteDeclined' },
        ],
      },
      after: { personDeadline: { target: 'movingOn', actions: ['noteExpired', 'withdraw'] } },
    },
    weighing: {
      description: 'Does it read as an output of this agent?',
      entry: 'weigh',
      always: [{ guard: 'fits', target: 'answered' }, { target: 'movingOn' }],
    },
    movingOn: {
      description: 'This step came to nothing.',
      entry: ['traceFailure', 'moveOn'],
      always: 'choosing',
    },
    answered: { description: 'Somebody brought an answer that fits.', entry: 'traceAnswer', type: 'final' },
    exhausted: { description: 'Nobody did.', type: 'final' },
  },
})

/** What a failed fallback is told as, after the reason for it. */
export function pathText(tried: FallbackContext['tried']): string {
  return tried.map(({ step, failure }) => `${step}: ${failure}`).join('; ')
}


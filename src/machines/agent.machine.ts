/**
 * An agent: takes a task, gathers what it needs, asks a model, and lets nothing pass that is not accepted: by the
 * confidence gate, by whoever verifies, by a person where one must approve. It holds no retry, no limit and no price;
 * the call chart and the ledger do. `defineAgent` fills in what one kind of agent does; any machine that takes an
 * {@link AgentInput} and ends with an {@link AgentOutput} can stand in its place.
 */
import { assign, enqueueActions, fromPromise, sendTo, setup } from 'xstate'
import { append, isOutcomeUnknown, refTo, reply } from '../protocol.js'
import { decisionAnswer, decisionOn, resolutionOf, type ApprovalRequest, type Decision, type DecisionEvent, type PlannedAction, type Resolution, type ResolutionEvent } from './approval.js'
import type { CallPolicy } from './call-policy.js'
import { callMachine, type CallInput, type CallOutput, type CallToAgent } from './call.machine.js'
import { fallbackMachine, openPath, pathText, type FallbackInput, type FallbackOutput } from './fallback.machine.js'
import { noConfidence, type Confidence } from './gate.js'
import { enlarge, greater, minus, nothing, openLedger, reserve, settle, unspent, type Amounts, type Ledger } from './ledger.js'
import type { Refusal } from './permit.js'
import { compactionStream, traceStream, type CompactionEntry, type TraceJudgement } from './trace.js'
import type { ToolUnknown } from './tool-loop.machine.js'
import { notJudged, toVerdict, type VerificationInput, type VerifierToAgent, type Verdict } from './verdict.js'

/** A piece of work for an agent. JSON. */
export interface AgentTask {
  /** Unique in its run. */
  readonly id: string
  /** The part of the plan that it goes back to, through all replanning. */
  readonly origin: string
  readonly input: unknown
  /** The goal of the run, as it was given and never changed. */
  readonly goal: Goal
  /** What the agent may spend. */
  readonly grant: Amounts
  readonly run: string
  /** `machine/id` of the run, where a verdict is asked for; absent for an agent that works alone. */
  readonly runAddress?: string
  /** Full names of models to use instead of the agent's own, in order. */
  readonly models?: readonly string[]
  /** Whose work it is, for what is limited by tenant. */
  readonly tenant?: string
  /** 0 to 9: among calls that wait for permits the higher goes first. Default: what the policies say. */
  readonly priority?: number
  /** Full names of models for when the grant does not cover another attempt at the others, in order. */
  readonly cheaperModels?: readonly string[]
  /** Whether the run is asked for more before a call fails because its grant does not cover it. */
  readonly mayAskForMore?: boolean
  /** The run is told each time that so much more was spent, of any kind; absent: only at the end. */
  readonly tellSpent?: Amounts
  /** It is another agent's, whose models could not be had: there is no fallback from here. */
  readonly isSubstitute?: true
}

/** What was read for the prompt, and what holds for the call that comes of it. JSON. */
export interface Gathered {
  readonly gathered: unknown
  readonly policy: CallPolicy
  /** Somebody has stopped the agent: nothing was read. */
  readonly refusal: Refusal | null
}

export interface AgentInput {
  readonly task?: AgentTask
}

/** What a run is for. The digest is over the canonical text; every message and trace of the run carries it. */
export interface Goal {
  readonly text: string
  readonly digest: string
}

export type AgentFailure = 'gather' | 'prompt' | 'window' | 'budget' | 'deadline' | 'unavailable' | 'model' | 'truncated' | 'declined' | 'tools' | 'malformed' | 'unfit' | 'goal' | 'gate' | 'refused' | 'verification' | 'plan' | 'rejected' | 'expired' | 'action' | 'cancelled'

export interface AgentOutput {
  readonly outcome: 'done' | 'failed'
  readonly output: unknown
  readonly confidence: Confidence
  readonly verdict: Verdict | null
  /** Who gave the output in the agent's stead, because no model could be had: `agent/` and its address, or `person/` and the name; null: its own model did. */
  readonly givenBy: string | null
  readonly acted: readonly Act[]
  readonly failure: { readonly reason: AgentFailure; readonly message: string } | null
  /** What the agent gives back of its grant, and what it spent. */
  readonly unspent: Amounts
  readonly spent: Amounts
  readonly overrun: Amounts
  /** All that it had; what it was granted beyond that never reached it. */
  readonly received?: Amounts
}

/** An action that was carried out, and what came of it. */
export interface Act {
  readonly name: string
  readonly output: unknown
}

export interface AgentContext {
  readonly task: AgentTask | null
  readonly ledger: Ledger
  /** The attempt for which more is asked of the run, and who asked the ledger. */
  readonly wanting: { readonly to: 'call' | 'verify'; readonly id: string; readonly worst: Amounts } | null
  /** What the run was told was spent. */
  readonly told: Amounts
  readonly gathered: unknown
  /** What holds for the call, as the policies were when it began. */
  readonly policy: CallPolicy | null
  /** With what the declared path is taken, once no model could be had. */
  readonly fallback: FallbackInput | null
  readonly givenBy: string | null
  /** The call under way. */
  readonly call: CallInput | null
  /** Parts of its prompt that were masked or left out, until they are kept. */
  readonly compacted: readonly unknown[]
  /** The attempt that brought the answer. */
  readonly attempt: string | null
  /** Whether a policy wants to hear what comes of that answer. */
  readonly isJudged: boolean
  readonly output: unknown
  readonly confidence: Confidence
  readonly verdict: Verdict | null
  readonly planned: readonly PlannedAction[]
  readonly approval: ApprovalRequest | null
  readonly decision: Decision | null
  /** The last word on an action of unknown outcome. */
  readonly resolution: Resolution | null
  readonly acted: readonly Act[]
  /** Why it failed; while nobody knows whether an action happened, why. */
  readonly failure: AgentOutput['failure']
}

export type AgentEvent = { readonly type: 'task.assign'; readonly task: AgentTask } | DecisionEvent | ResolutionEvent | VerifierToAgent | ToolUnknown | RunToAgent

/** What the run says of its budget, and that the work is not wanted any more. */
export type RunToAgent =
  | { readonly type: 'grant.raised'; readonly amounts: Amounts }
  | { readonly type: 'grant.denied'; readonly message: string }
  | { readonly type: 'task.cancel' }

/** What an agent tells its run of its budget. */
export type AgentToRun =
  | { readonly type: 'grant.more'; readonly id: string; readonly needed: Amounts }
  | { readonly type: 'grant.spent'; readonly id: string; readonly spent: Amounts }

export const agentFailure = (reason: AgentFailure, message: string): AgentOutput['failure'] => ({ reason, message })
const errorOf = (event: unknown): { code?: string; message: string } => (event as { error: { code?: string; message: string } }).error
const outputOf = <T>(event: unknown): T => (event as { output: T }).output

/** The attempt that brought the answer, or the last one. */
const attemptOf = (call: string, result: CallOutput): string => (result.ok ? result.attempt : undefined) ?? `${result.id ?? call}.${result.attempts.length}`
const isJudged = (result: CallOutput): boolean => result.ok && result.isJudged

const unavailable: ReadonlySet<string> = new Set<(CallOutput & { ok: false })['reason']>(['unavailable', 'failed', 'deadline'])

/** The action under way: its place among those planned, and which of those of its name it is, counted from 1. */
export function nextAction({ planned, acted }: Pick<AgentContext, 'planned' | 'acted'>): { readonly action: PlannedAction; readonly ordinal: number } {
  const action = planned[acted.length]!
  return { action, ordinal: planned.slice(0, acted.length + 1).filter((other) => other.name === action.name).length }
}

/** With what the declared path is taken. */
export function fallbackInput({ task, gathered, policy, failure, ledger }: AgentContext, agent: string, version: string): FallbackInput {
  const { id, origin, run, goal } = task!
  return { task: task!, gathered, path: openPath(policy!.fallback, task!), cause: failure!, free: ledger.free, about: { agent, version, run, task: id, goal: goal.digest, origin } }
}

export const agentMachine = setup({
  types: {
    context: {} as AgentContext,
    events: {} as AgentEvent,
    input: {} as AgentInput | undefined,
    output: {} as AgentOutput,
  },
  actors: {
    call: callMachine,
    /** What it reads and asks is filled in by defineAgent. */
    fallback: fallbackMachine,
    /** Replaced by defineAgent, as are verify and act: reads what the prompt needs, and what holds for the call. */
    gather: fromPromise<Gathered, { task: AgentTask }>(() => Promise.reject(new Error('nothing is gathered'))),
    verify: fromPromise<Verdict, VerificationInput>(() => Promise.reject(new Error('nobody verifies'))),
    act: fromPromise<unknown, { task: AgentTask; action: PlannedAction; ordinal: number }>(() => Promise.reject(new Error('nothing to act with'))),
  },
  guards: {
    hasTask: ({ context }) => context.task !== null,
    hasFailed: ({ context }) => context.failure !== null,
    /** Replaced by defineAgent: whether the confidence alone suffices. */
    passesGate: () => true,
    /** Replaced by defineAgent: whether there is somebody to verify. */
    canBeVerified: () => false,
    /** Fails closed: only a plain yes is one. */
    isAccepted: ({ event }) => toVerdict(outputOf(event)).accepted,
    needsApproval: ({ context }) => context.approval !== null,
    hasActions: ({ context }) => context.acted.length < context.planned.length,
    isRefused: ({ event }) => outputOf<Gathered>(event).refusal !== null,
    /** No model could be had for it; that the money is spent, or a bound of its tools or its window is reached, is no reason to ask others. */
    isUnavailable: ({ event }) => {
      const result = outputOf<CallOutput>(event)
      return !result.ok && unavailable.has(result.reason)
    },
    hasFallback: ({ context }) => openPath(context.policy?.fallback ?? [], context.task!).length > 0,
    /** Replaced by defineAgent: whether it is an answer to this question that could not be the agent's output. */
    isUnfitAnswer: () => false,
    isApproved: ({ context, event }) => decisionOn(context.approval, event)?.approved === true,
    /** Once it is decided, it stays so. */
    isForThisRequest: ({ context, event }) => context.decision === null && decisionOn(context.approval, event) !== null,
    isOutcomeUnknown: ({ event }) => isOutcomeUnknown(errorOf(event)),
    isResolved: ({ context, event }) => context.failure !== null && resolutionOf(event) !== null,
    hasHappened: ({ event }) => resolutionOf(event)?.happened === true,
    hasNotHappened: ({ event }) => resolutionOf(event)?.happened === false,
  },
  delays: {
    /** Replaced by defineAgent: how long a person has to decide. */
    approvalDeadline: 7 * 24 * 3_600_000,
  },
  actions: {
    takeTask: assign({ task: ({ event }) => (event as AgentEvent & { type: 'task.assign' }).task }),
    openLedger: assign({ ledger: ({ context }) => openLedger(context.task?.grant ?? nothing) }),
    noteGathered: assign(({ event }) => {
      const { gathered, policy } = outputOf<Gathered>(event)
      return { gathered: gathered ?? null, policy }
    }),
    failStopped: assign({ failure: ({ event }) => agentFailure('unavailable', outputOf<Gathered>(event).refusal!.message) }),
    /** Replaced by defineAgent: with its name. */
    beginFallback: assign({ fallback: ({ context }) => fallbackInput(context, 'agent', '1'), failure: null }),
    /** What was brought has been read as this agent's output already. */
    readFallback: assign(({ context, event }) => {
      const { answer, attempt, tried } = outputOf<FallbackOutput>(event)
      if (answer) return { output: answer.output, confidence: answer.confidence, givenBy: answer.by, attempt }
      const { reason, message } = context.fallback!.cause
      return { failure: agentFailure(reason, `${message}; ${pathText(tried)}`) }
    }),
    /** Replaced by defineAgent: renders the prompt into `call`. */
    prepareCall: assign({ failure: () => agentFailure('prompt', 'this agent has no prompt') }),
    keepCompacted: enqueueActions(({ enqueue, context }) => {
      if (context.compacted.length === 0) return
      enqueue(append(() => ({ stream: compactionStream, value: { call: context.call?.id ?? '', parts: context.compacted } satisfies CompactionEntry })))
      enqueue.assign({ compacted: [] })
    }),
    /** Replaced by defineAgent: reads the answer into `output` and `confidence`, or `failure`. */
    readAnswer: assign(({ event }) => {
      const result = outputOf<CallOutput>(event)
      return result.ok ? { output: result.response } : { failure: agentFailure(result.reason === 'failed' ? 'model' : result.reason, result.message) }
    }),
    noteAnswered: assign({ call: null, isJudged: ({ event }) => isJudged(outputOf<CallOutput>(event)), attempt: ({ context, event }) => (context.call ? attemptOf(context.call.id, outputOf<CallOutput>(event)) : null) }),
    /** What came of the answer, for the policies that want to hear it. */
    tellQuality: enqueueActions(({ enqueue, context }, { ok }: { ok: boolean }) => {
      if (!context.isJudged) return
      // Its type is known only when all actions are.
      enqueue({ type: 'reportQuality', params: { ok } } as never)
      enqueue.assign({ isJudged: false })
    }),
    /** Replaced by defineAgent. */
    reportQuality: (_, _params: { ok: boolean }) => {},
    /** Replaced by defineAgent: what the accepted output calls for, and whether a person must approve. */
    planActions: assign({ planned: [], approval: null }),
    answerReserve: enqueueActions(({ enqueue, context, event }, { to }: { to: 'call' | 'verify' | 'fallback' }) => {
      const { id, worst, isSpare } = event as CallToAgent & { type: 'call.reserve' }
      const ledger = reserve(context.ledger, id, worst)
      const { task, ledger: { free } } = context
      // Whoever stands in gets what there is.
      const asked = to !== 'fallback' && !isSpare && task?.mayAskForMore === true ? task.runAddress : undefined
      if (ledger) enqueue.assign({ ledger })
      else if (to !== 'fallback' && asked !== undefined) {
        enqueue.assign({ wanting: { to, id, worst } })
        enqueue(sendTo(refTo(asked), { type: 'grant.more', id: task!.id, needed: greater(minus(worst, free), nothing) } satisfies AgentToRun))
      }
      enqueue(sendTo(to, { type: ledger ? 'ledger.reserved' : asked === undefined ? 'ledger.refused' : 'ledger.pending' }))
    }),
    noteMore: assign({ ledger: ({ context, event }) => enlarge(context.ledger, (event as RunToAgent & { type: 'grant.raised' }).amounts) }),
    /** With what there is now the attempt is covered, or never will be. */
    answerWanting: enqueueActions(({ enqueue, context }, { to }: { to: 'call' | 'verify' }) => {
      if (context.wanting?.to !== to) return
      const { id, worst } = context.wanting
      const ledger = reserve(context.ledger, id, worst)
      enqueue.assign({ wanting: null, ...(ledger ? { ledger } : {}) })
      enqueue(sendTo(to, { type: ledger ? 'ledger.reserved' : 'ledger.refused' }))
    }),
    failCancelled: assign({ output: null, failure: () => agentFailure('cancelled', 'the work is not wanted any more') }),
    tellSpent: enqueueActions(({ enqueue, context }) => {
      const { task, told, ledger: { spent } } = context
      if (task?.tellSpent === undefined || task.runAddress === undefined) return
      const more = minus(spent, told)
      if (!(['tokens', 'calls', 'nanoDollars'] as const).some((kind) => more[kind] > 0 && more[kind] >= task.tellSpent![kind])) return
      enqueue.assign({ told: spent })
      enqueue(sendTo(refTo(task.runAddress), { type: 'grant.spent', id: task.id, spent } satisfies AgentToRun))
    }),
    settleCall: assign({
      ledger: ({ context, event }) => {
        const { id, cost } = event as CallToAgent & { type: 'call.settle' }
        return settle(context.ledger, id, cost ?? undefined)
      },
    }),
    noteVerdict: assign(({ context, event }) => {
      const verdict = toVerdict(outputOf(event))
      return { verdict, output: verdict.accepted && verdict.output !== undefined ? verdict.output : context.output, confidence: verdict.confidence }
    }),
    noteRequest: assign(({ event }) => ({ approval: (event as VerifierToAgent & { type: 'person.ask' }).request, decision: null })),
    noteWithdrawn: assign({ approval: null }),
    tellVerifier: sendTo('verify', ({ context }) => ({ type: 'person.decided', decision: context.decision! })),
    tellFallback: sendTo('fallback', ({ context }) => ({ type: 'person.decided', decision: context.decision! })),
    /** Replaced by defineAgent: the same with what is wrong with the answer. */
    answerUnfit: reply(({ context }) => decisionAnswer(context)),
    /** The run gives its place to others meanwhile. */
    tellRun: enqueueActions(({ enqueue, context }, { waits }: { waits: boolean }) => {
      const { id, runAddress } = context.task!
      if (runAddress !== undefined) enqueue(sendTo(refTo(runAddress), { type: 'person.wait', id, waits }))
    }),
    noteDecision: assign({ decision: ({ context, event }) => decisionOn(context.approval, event) }),
    answerDecision: reply(({ context }) => decisionAnswer(context)),
    noteAct: assign({ acted: ({ context, event }) => [...context.acted, { name: nextAction(context).action.name, output: outputOf(event) ?? null }] }),
    /** Whatever comes of it now, why nobody knew is past. */
    noteResolution: assign({ resolution: ({ event }) => resolutionOf(event), failure: null }),
    noteHappened: assign({ acted: ({ context, event }) => [...context.acted, { name: nextAction(context).action.name, output: event.type === 'action.resolve' ? (event.output ?? null) : null }] }),
    tellCall: sendTo('call', ({ event }) => event as never),
    failGather: assign({ failure: ({ event }) => agentFailure('gather', errorOf(event).message) }),
    failGate: assign({ failure: ({ context }) => agentFailure('gate', `confidence ${context.confidence.value ?? 'none'} (${context.confidence.source}) does not pass, and nobody verifies`) }),
    failRefused: assign({ failure: ({ context }) => agentFailure('refused', context.verdict?.explanation ?? 'refused') }),
    failVerification: assign(({ event }) => ({ verdict: notJudged('nobody', errorOf(event).message), failure: agentFailure('verification', errorOf(event).message) })),
    failRejected: assign({ failure: ({ context }) => agentFailure('rejected', `${context.decision?.by ?? 'somebody'} rejected it${context.decision?.note ? `: ${context.decision.note}` : ''}`) }),
    failExpired: assign({ failure: () => agentFailure('expired', 'nobody decided in time; what nobody approves is denied') }),
    failAct: assign({ failure: ({ event }) => agentFailure('action', errorOf(event).message) }),
    traceJudgement: append(({ context }) => {
      const { attempt, output, confidence, verdict, failure } = context
      const value: TraceJudgement = {
        half: 'judgement',
        attempt: attempt ?? '',
        output,
        confidence,
        goalCheck: failure?.reason === 'goal' ? 'broken' : 'intact',
        verifiedBy: verdict?.by ?? null,
        accepted: verdict?.accepted ?? null,
        reasons: verdict?.reasons ?? [],
        sourcesVerified: verdict?.sourcesVerified ?? [],
        verdicts: (verdict?.parts ?? (verdict ? [verdict] : [])).map((each) => ({ by: each.by, accepted: each.accepted, reasons: each.reasons, explanation: each.explanation, confidence: each.confidence })),
        failure: failure?.message ?? null,
      }
      return { stream: traceStream, shared: true, value }
    }),
  },
}).createMachine({
  id: 'agent',
  version: '1',
  description: 'Takes a task, asks a model, and lets nothing pass that is not accepted.',
  context: ({ input }) => ({
    task: input?.task ?? null,
    ledger: openLedger(nothing),
    wanting: null,
    told: nothing,
    gathered: null,
    policy: null,
    fallback: null,
    givenBy: null,
    call: null,
    compacted: [],
    attempt: null,
    isJudged: false,
    output: null,
    confidence: noConfidence,
    verdict: null,
    planned: [],
    approval: null,
    decision: null,
    resolution: null,
    acted: [],
    failure: null,
  }),
  output: ({ context }) => ({
    outcome: context.failure ? 'failed' : 'done',
    output: context.output,
    confidence: context.confidence,
    verdict: context.verdict,
    givenBy: context.givenBy,
    acted: context.acted,
    failure: context.failure,
    unspent: unspent(context.ledger),
    spent: context.ledger.spent,
    overrun: context.ledger.overrun,
    received: context.ledger.received,
  }),
  initial: 'idle',
  on: {
    'approval.decide': { actions: 'answerDecision', description: 'Nothing to decide, or it is decided: the answer says which.' },
    'grant.raised': { actions: 'noteMore', description: 'More came of the run’s budget than is needed now.' },
    'task.cancel': { target: '.failed', actions: 'failCancelled', description: 'The run ends: what is left goes back to it.' },
  },
  states: {
    idle: {
      description: 'Without a task.',
      always: { guard: 'hasTask', target: 'working' },
      on: { 'task.assign': { target: 'working', actions: 'takeTask' } },
    },
    working: {
      description: 'On its task: reading, asking the model, reading the answer, acting on what was accepted.',
      initial: 'gathering',
      states: {
        gathering: {
          description: 'Reads what the prompt needs.',
          entry: 'openLedger',
          invoke: {
            id: 'gather',
            src: 'gather',
            input: ({ context }) => ({ task: context.task! }),
            onDone: [
              { guard: 'isRefused', target: 'unavailable', actions: ['noteGathered', 'failStopped'], description: 'Somebody has stopped this agent.' },
              { target: 'prepared', actions: ['noteGathered', 'prepareCall', 'keepCompacted'] },
            ],
            onError: { target: '#agent.failed', actions: 'failGather' },
          },
        },
        prepared: {
          description: 'The prompt is rendered, unless that failed.',
          always: [{ guard: 'hasFailed', target: '#agent.failed' }, { target: 'calling' }],
        },
        calling: {
          description: 'A model call is under way; its attempts draw on this agent’s ledger.',
          invoke: {
            id: 'call',
            src: 'call',
            input: ({ context }) => context.call!,
            onDone: [
              { guard: 'isUnavailable', target: 'unavailable', actions: ['readAnswer', 'noteAnswered', 'traceJudgement'] },
              { target: 'judging', actions: ['readAnswer', 'noteAnswered', 'traceJudgement'] },
            ],
          },
          on: {
            'call.reserve': { actions: { type: 'answerReserve', params: { to: 'call' } } },
            'grant.raised': { actions: ['noteMore', { type: 'answerWanting', params: { to: 'call' } }], description: 'More came of the run’s budget.' },
            'grant.denied': { actions: { type: 'answerWanting', params: { to: 'call' } }, description: 'There is no more.' },
            'call.settle': { actions: ['settleCall', 'tellSpent'] },
            'tool.unknown': { actions: 'failAct', description: 'Nobody knows whether a tool was run; a person finds out.' },
            'action.resolve': { guard: 'isResolved', actions: ['noteResolution', 'tellCall'] },
          },
        },
        unavailable: {
          description: 'No model can be had. Who stands in?',
          always: [{ guard: 'hasFallback', target: 'fallingBack', actions: 'beginFallback' }, { target: '#agent.failed' }],
        },
        fallingBack: {
          description: 'The declared path: another agent, or a person, is asked for the answer, on this agent’s budget.',
          invoke: {
            id: 'fallback',
            src: 'fallback',
            input: ({ context }) => context.fallback!,
            onDone: { target: 'judging', actions: ['readFallback', 'traceJudgement'] },
          },
          on: {
            'call.reserve': { actions: { type: 'answerReserve', params: { to: 'fallback' } } },
            'call.settle': { actions: ['settleCall', 'tellSpent'] },
            'person.ask': { actions: ['noteRequest', { type: 'tellRun', params: { waits: true } }], description: 'A person is to give the answer.' },
            'person.withdraw': { actions: ['noteWithdrawn', { type: 'tellRun', params: { waits: false } }], description: 'Nobody gave it in time.' },
            'approval.decide': [
              { guard: 'isUnfitAnswer', actions: 'answerUnfit', description: 'It is told what is wrong with the answer, and waited for another.' },
              { guard: 'isForThisRequest', actions: ['noteDecision', 'answerDecision', { type: 'tellRun', params: { waits: false } }, 'tellFallback'] },
            ],
          },
        },
        judging: {
          description: 'Is the answer good enough by itself, or must somebody verify it?',
          always: [
            { guard: 'hasFailed', target: '#agent.failed', actions: { type: 'tellQuality', params: { ok: false } } },
            { guard: 'passesGate', target: 'concluding', actions: { type: 'tellQuality', params: { ok: true } } },
            { guard: 'canBeVerified', target: '#agent.awaitingVerification' },
            { target: '#agent.failed', actions: ['failGate', { type: 'tellQuality', params: { ok: false } }] },
          ],
        },
        concluding: {
          description: 'The output stands. What does it call for?',
          entry: 'planActions',
          always: [
            { guard: 'hasFailed', target: '#agent.failed' },
            { guard: 'needsApproval', target: '#agent.approvalPending' },
            { guard: 'hasActions', target: '#agent.acting' },
            { target: '#agent.done' },
          ],
        },
      },
    },
    awaitingVerification: {
      description: 'Somebody else judges the output.',
      invoke: {
        id: 'verify',
        src: 'verify',
        input: ({ context }) => ({ task: context.task!, output: context.output, confidence: context.confidence }),
        onDone: [
          { guard: 'isAccepted', target: 'working.concluding', actions: ['noteVerdict', 'traceJudgement', { type: 'tellQuality', params: { ok: true } }] },
          { target: 'failed', actions: ['noteVerdict', 'failRefused', 'traceJudgement', { type: 'tellQuality', params: { ok: false } }] },
        ],
        onError: { target: 'failed', actions: ['failVerification', 'traceJudgement'] },
      },
      on: {
        'call.reserve': { actions: { type: 'answerReserve', params: { to: 'verify' } }, description: 'Verification is paid by whoever is verified.' },
        'grant.raised': { actions: ['noteMore', { type: 'answerWanting', params: { to: 'verify' } }], description: 'More came of the run’s budget.' },
        'grant.denied': { actions: { type: 'answerWanting', params: { to: 'verify' } }, description: 'There is no more.' },
        'call.settle': { actions: ['settleCall', 'tellSpent'] },
        'person.ask': { actions: ['noteRequest', { type: 'tellRun', params: { waits: true } }], description: 'A person is to verify it.' },
        'approval.decide': { guard: 'isForThisRequest', actions: ['noteDecision', 'answerDecision', { type: 'tellRun', params: { waits: false } }, 'tellVerifier'] },
      },
    },
    approvalPending: {
      description: 'A person must approve exactly these actions; silence is a no.',
      entry: { type: 'tellRun', params: { waits: true } },
      exit: { type: 'tellRun', params: { waits: false } },
      on: {
        'approval.decide': [
          { guard: 'isApproved', target: 'acting', actions: ['noteDecision', 'answerDecision'] },
          { guard: 'isForThisRequest', target: 'failed', actions: ['noteDecision', 'failRejected', 'answerDecision'] },
        ],
      },
      after: { approvalDeadline: { target: 'failed', actions: 'failExpired' } },
    },
    acting: {
      description: 'The outside world is being changed, one action after the other, each under its key.',
      initial: 'choosing',
      states: {
        choosing: {
          description: 'Is there another action?',
          always: [{ guard: 'hasActions', target: 'running' }, { target: '#agent.done' }],
        },
        running: {
          description: 'One action is under way.',
          invoke: {
            id: 'act',
            src: 'act',
            input: ({ context }) => ({ task: context.task!, ...nextAction(context) }),
            onDone: { target: 'choosing', actions: 'noteAct' },
            onError: [
              { guard: 'isOutcomeUnknown', target: 'unsure', actions: 'failAct' },
              { target: '#agent.failed', actions: 'failAct' },
            ],
          },
        },
        unsure: {
          description: 'Nobody knows whether the action happened; a person finds out.',
          on: {
            'action.resolve': [
              { guard: 'hasHappened', target: 'choosing', actions: ['noteResolution', 'noteHappened'] },
              { guard: 'hasNotHappened', target: 'running', actions: 'noteResolution', description: 'It has not: it may be run.' },
            ],
          },
        },
      },
    },
    done: {
      description: 'The task is done, and the output stands.',
      type: 'final',
    },
    failed: {
      description: 'The task could not be done; the reason is part of the output.',
      type: 'final',
    },
  },
})

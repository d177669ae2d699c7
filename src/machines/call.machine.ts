/**
 * One model call, as a durable chart: admitted, waiting for a permit, attempting, backing off, settled. One effect is
 * one attempt. It runs inside its agent's record, and asks the agent's ledger for the worst case of each attempt, so
 * that the reservation and the intent are one commit. What it decides, it decides from its context alone.
 */
import { assign, fromPromise, sendParent, setup } from 'xstate'
import { append } from '../protocol.js'
import { backoffMs, chanceFrom, type Backoff } from './backoff.js'
import type { Amounts } from './ledger.js'
import { traceStream, type CallSubject, type TraceIntent, type TraceOutcome } from './trace.js'

/** What is asked of a model, and how hard to try. JSON. */
export interface CallInput {
  /** Unique among the calls of the agent. */
  readonly id: string
  /** Full names `provider/model`, tried in order. */
  readonly models: readonly string[]
  /** What the provider is sent; see ModelRequest. */
  readonly request: unknown
  /** Who asks, and from what: what a model that is no LLM works on. */
  readonly task: unknown
  /** Most one attempt can cost, by model. */
  readonly worst: Readonly<Record<string, Amounts>>
  /** Attempts over all models whose outcome is known, inclusive. What a crash cut off is charged; as many of those are borne beside them. */
  readonly attemptsMax: number
  readonly backoff: Backoff
  /** Until when the call must be settled, ms from its start. */
  readonly deadlineMs: number
  /** Whose call it is, for the trace. */
  readonly about: CallSubject
}

/** What an attempt effect gives. */
export interface AttemptOutcome {
  readonly ok: boolean
  /** What it cost; null if nobody knows. */
  readonly cost: Amounts | null
  /** The answer, if it is one; {@link Completion} in the mesh. */
  readonly response?: unknown
  readonly error?: { readonly kind: string; readonly message: string }
  /** Whether the same request may succeed later. */
  readonly retryable?: boolean
  /** The provider's wish, ms. */
  readonly retryAfterMs?: number
}

export interface Attempt {
  readonly model: string
  readonly ok: boolean
  readonly cost: Amounts | null
  readonly error: string | null
  /** Nobody knows how it ended: the process died over it. */
  readonly unknown: boolean
}

export type CallOutput =
  | { readonly ok: true; readonly model: string; readonly response: unknown; readonly attempts: readonly Attempt[] }
  | { readonly ok: false; readonly reason: 'budget' | 'deadline' | 'failed'; readonly message: string; readonly attempts: readonly Attempt[] }

export interface CallContext {
  readonly call: CallInput
  readonly attempts: readonly Attempt[]
  /** Whether an attempt is under way. */
  readonly isAttempting: boolean
  /** The outcome being dealt with. */
  readonly last: AttemptOutcome | null
  readonly result: CallOutput | null
}

/** What the agent answers. */
export type LedgerAnswer =
  /** Its ledger holds the worst case of the attempt. */
  | { readonly type: 'ledger.reserved' }
  /** It cannot. */
  | { readonly type: 'ledger.refused' }

/** What the call asks its agent. */
export type CallToAgent =
  | { readonly type: 'call.reserve'; readonly id: string; readonly worst: Amounts }
  | { readonly type: 'call.settle'; readonly id: string; readonly cost: Amounts | null }

/** Names the attempt that is next or under way. */
export function attemptId(context: Pick<CallContext, 'call' | 'attempts'>): string {
  return `${context.call.id}.${context.attempts.length + 1}`
}

/** The model of the next attempt: the first as long as it may help, then the next one in order. */
export function modelFor(call: CallInput, attempts: readonly Attempt[]): string {
  const share = Math.max(1, Math.floor(call.attemptsMax / call.models.length))
  return call.models[Math.min(Math.floor(known(attempts) / share), call.models.length - 1)]!
}

/** Attempts of one call that crashes may cut off, inclusive: they say nothing of the model, and the ledger pays for each. */
const cutsMax = 100

function known(attempts: readonly Attempt[]): number {
  return attempts.filter((attempt) => !attempt.unknown).length
}

const lastId = (context: Pick<CallContext, 'call' | 'attempts'>): string => `${context.call.id}.${context.attempts.length}`
const noted = (context: CallContext, last: AttemptOutcome): Pick<CallContext, 'last' | 'attempts' | 'isAttempting'> => ({
  last,
  isAttempting: false,
  attempts: [...context.attempts, { model: modelFor(context.call, context.attempts), ok: last.ok, cost: last.cost, error: last.error?.message ?? null, unknown: last.error?.kind === 'unknown' }],
})

const failed = (context: CallContext, reason: 'budget' | 'deadline' | 'failed', message: string): CallOutput => ({ ok: false, reason, message, attempts: context.attempts })

const lateText = ({ call }: CallContext): string => `no answer within ${call.deadlineMs} ms`

export const callMachine = setup({
  types: {
    context: {} as CallContext,
    events: {} as LedgerAnswer,
    input: {} as CallInput,
    output: {} as CallOutput,
  },
  actors: {
    /** Replaced by the mesh: one attempt at the model. */
    attempt: fromPromise<AttemptOutcome, { call: CallInput; model: string; attempt: string }>(() => Promise.reject(new Error('no model'))),
  },
  guards: {
    isAttempting: ({ context }) => context.isAttempting,
    succeeded: ({ context }) => context.last?.ok === true,
    mayTryAgain: ({ context }) => context.last?.retryable === true && known(context.attempts) < context.call.attemptsMax && context.attempts.length - known(context.attempts) <= cutsMax,
  },
  delays: {
    deadline: ({ context }) => context.call.deadlineMs,
    backoff: ({ context }) => Math.max(context.last?.retryAfterMs ?? 0, backoffMs(context.call.backoff, context.attempts.length, chanceFrom(attemptId(context)))),
  },
  actions: {
    askLedger: sendParent(({ context }): CallToAgent => ({ type: 'call.reserve', id: attemptId(context), worst: context.call.worst[modelFor(context.call, context.attempts)]! })),
    begin: assign({ isAttempting: true }),
    traceIntent: append(({ context }) => {
      const { call, attempts } = context
      const value: TraceIntent = { half: 'intent', attempt: attemptId(context), model: modelFor(call, attempts), request: call.request, reserved: call.worst[modelFor(call, attempts)]!, about: call.about }
      return { stream: traceStream, shared: true, value }
    }),
    traceOutcome: append(({ context }) => {
      const { ok, cost, response, error } = context.last!
      const value: TraceOutcome = { half: 'outcome', attempt: lastId(context), ok, cost, response: response ?? null, error: error ?? null }
      return { stream: traceStream, shared: true, value }
    }),
    noteOutcome: assign(({ context, event }) => noted(context, (event as unknown as { output: AttemptOutcome }).output)),
    /** The effect itself failed: what it cost is unknown, so it is charged in full. It may be tried again, unless whoever asked wants no answer any more. */
    noteError: assign(({ context, event }) => {
      const { code, message } = (event as unknown as { error: { code?: string; message: string } }).error
      const kind = code === 'DEADLINE' ? 'deadline' : code === 'CANCELLED' ? 'cancelled' : 'effect'
      return noted(context, { ok: false, cost: null, error: { kind, message }, retryable: kind === 'effect' })
    }),
    /** The attempt is given up before its outcome: nobody knows what it cost, so it is charged in full. */
    noteLeft: assign(({ context }) => noted(context, { ok: false, cost: null, error: { kind: 'deadline', message: lateText(context) }, retryable: false })),
    settleWithLedger: sendParent(({ context }): CallToAgent => ({ type: 'call.settle', id: lastId(context), cost: context.last?.cost ?? null })),
    /** If an attempt was left before its outcome, nobody knows what it cost: all that was held. Else nothing is held. */
    settleHeld: sendParent(({ context }): CallToAgent => ({ type: 'call.settle', id: attemptId(context), cost: null })),
    succeed: assign({ result: ({ context }): CallOutput => ({ ok: true, model: context.attempts.at(-1)!.model, response: context.last!.response, attempts: context.attempts }) }),
    fail: assign({ result: ({ context }) => failed(context, context.last?.error?.kind === 'deadline' ? 'deadline' : 'failed', context.last?.error?.message ?? 'the attempt failed') }),
    failForBudget: assign({ result: ({ context }) => failed(context, 'budget', 'the budget does not cover another attempt') }),
    failForDeadline: assign({ result: ({ context }) => failed(context, 'deadline', lateText(context)) }),
  },
}).createMachine({
  id: 'call',
  version: '1',
  description: 'One model call: budget first, then attempts with backoff, until it is settled.',
  context: ({ input }) => ({ call: input, attempts: [], isAttempting: false, last: null, result: null }),
  output: ({ context }) => context.result!,
  initial: 'open',
  states: {
    open: {
      description: 'The call is under way, and has a deadline for all of it.',
      initial: 'admitted',
      after: {
        deadline: [
          { guard: 'isAttempting', target: 'settled', actions: ['noteLeft', 'settleWithLedger', 'traceOutcome', 'failForDeadline'] },
          { target: 'settled', actions: 'failForDeadline' },
        ],
      },
      states: {
        admitted: {
          description: 'The agent’s ledger is asked to hold the worst case of the next attempt.',
          entry: 'askLedger',
          on: {
            'ledger.reserved': 'waitingForPermit',
            'ledger.refused': { target: '#call.settled', actions: 'failForBudget' },
          },
        },
        waitingForPermit: {
          description: 'Limits and breakers of the mesh stand here; without any, an attempt is permitted at once.',
          always: 'attempting',
        },
        attempting: {
          description: 'One attempt at one model is under way.',
          entry: ['begin', 'traceIntent'],
          invoke: {
            id: 'attempt',
            src: 'attempt',
            input: ({ context }) => ({ call: context.call, model: modelFor(context.call, context.attempts), attempt: attemptId(context) }),
            onDone: { target: 'judging', actions: ['noteOutcome', 'settleWithLedger', 'traceOutcome'] },
            onError: { target: 'judging', actions: ['noteError', 'settleWithLedger', 'traceOutcome'] },
          },
        },
        judging: {
          description: 'An attempt has ended: is that the answer, is there another try, or is it over?',
          always: [
            { guard: 'succeeded', target: '#call.settled', actions: 'succeed' },
            { guard: 'mayTryAgain', target: 'backingOff' },
            { target: '#call.settled', actions: 'fail' },
          ],
        },
        backingOff: {
          description: 'Waiting before the next attempt, longer each time.',
          after: { backoff: 'admitted' },
        },
      },
    },
    settled: {
      description: 'There is an answer, or there will be none.',
      entry: 'settleHeld',
      type: 'final',
    },
  },
})

/**
 * One model call, as a durable chart: admitted, waiting for a permit, attempting, backing off, settled. One effect is
 * one attempt. It runs inside its agent's record, and asks the agent's ledger for the worst case of each attempt, so
 * that the reservation and the intent are one commit. What it decides, it decides from its context alone.
 *
 * C1  Attempts that reached a model and whose outcome is known are at most `attemptsMax`, over all models together.
 * C2  Models are tried in order, and none that was left is gone back to.
 * C3  Without a permit no model is asked. With permits in hand an attempt takes one as it begins, so that it costs no
 *     commit; if there is none, the attempt has not begun, and the call waits for it or is refused.
 * C4  What is held in the ledger for an attempt is settled once: for nothing, if no model was asked.
 */
import { assign, fromPromise, sendParent, setup } from 'xstate'
import { append } from '../protocol.js'
import { backoffMs, chanceFrom, type Backoff } from './backoff.js'
import { nothing, type Amounts } from './ledger.js'
import { concernsModel, type Refusal } from './permit.js'
import { traceStream, type CallSubject, type TraceIntent, type TraceOutcome, type TracePermit } from './trace.js'

/** What is asked of a model, and how hard to try. JSON. */
export interface CallInput {
  /** Unique among the calls of the agent. */
  readonly id: string
  /** Full names `provider/model`, tried in order. */
  readonly models: readonly string[]
  /** How many of them are tried when others fail; the rest only when the budget does not cover another attempt at those. Default all. */
  readonly regularModels?: number
  /** What the provider is sent; see ModelRequest. */
  readonly request: unknown
  /** Who asks, and from what: what a model that is no LLM works on. */
  readonly task: unknown
  /** Most one attempt can cost, by model. */
  readonly worst: Readonly<Record<string, Amounts>>
  /** Attempts over all models whose outcome is known, inclusive. What a crash cut off is charged; as many of those are borne beside them. */
  readonly attemptsMax: number
  readonly backoff: Backoff
  /** Until when the call must be settled, ms from its start: waiting for permits and backing off included. */
  readonly deadlineMs: number
  /** What comes of it while the circuit breaker of the last model is open: it waits, within its deadline, or fails at once. */
  readonly whenOpen: 'wait' | 'fail'
  /** 0 to 9: among those that wait for permits the higher goes first. */
  readonly priority: number
  readonly tenant: string | null
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
  /** No permit was in hand: the model was not asked, and the attempt has not begun. */
  readonly isLacking?: true
  /** No permit was given: the model was not asked. */
  readonly refusal?: Refusal
  /** A policy wants to hear what comes of the answer. */
  readonly isJudged?: true
}

/** What waiting for a permit comes to. */
export type PermitOutcome = { readonly isGiven: true } | { readonly refusal: Refusal }

export interface Attempt {
  readonly model: string
  readonly ok: boolean
  readonly cost: Amounts | null
  readonly error: string | null
  /** Nobody knows how it ended: the process died over it. */
  readonly unknown: boolean
  /** Why it was not permitted; the model was not asked then. */
  readonly refused: Refusal['reason'] | null
}

export type CallOutput =
  | { readonly ok: true; readonly model: string; readonly response: unknown; readonly isJudged: boolean; readonly attempts: readonly Attempt[] }
  /** unavailable: the last attempt was not permitted, and there is no other model to ask. */
  | { readonly ok: false; readonly reason: 'budget' | 'deadline' | 'unavailable' | 'failed'; readonly message: string; readonly refusal: Refusal | null; readonly attempts: readonly Attempt[] }

export interface CallContext {
  readonly call: CallInput
  readonly attempts: readonly Attempt[]
  /** Which of the models is asked next, and attempts at it whose outcome is known. */
  readonly place: number
  readonly tried: number
  /** Whether an attempt is under way, or its permit is waited for. */
  readonly isAttempting: boolean
  readonly isWaiting: boolean
  /** Whether the next attempt waits for its permit also while a circuit breaker is open. */
  readonly isPatient: boolean
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
  /** It cannot yet: more is asked for, and one of the two follows. */
  | { readonly type: 'ledger.pending' }

/** What the call asks its agent. */
export type CallToAgent =
  | { readonly type: 'call.reserve'; readonly id: string; readonly worst: Amounts }
  | { readonly type: 'call.settle'; readonly id: string; readonly cost: Amounts | null }

export interface AttemptInput {
  readonly call: CallInput
  readonly model: string
  readonly attempt: string
}

export interface PermitInput extends AttemptInput {
  /** Also while a circuit breaker is open. */
  readonly isPatient: boolean
}

/** Names the attempt that is next or under way. */
export function attemptId(context: Pick<CallContext, 'call' | 'attempts'>): string {
  return `${context.call.id}.${context.attempts.length + 1}`
}

/** The model of the next attempt, or of the one under way. */
export function modelOfCall({ call, place }: Pick<CallContext, 'call' | 'place'>): string {
  return call.models[place]!
}

/** Attempts of one call that crashes may cut off, inclusive: they say nothing of the model, and the ledger pays for each. */
const cutsMax = 100

/** Nobody waits for the answer any more. */
const isOver: ReadonlySet<string | undefined> = new Set(['deadline', 'cancelled', 'aborted'])

/** What is as wrong at another model of the same provider: the key, the account, the request. */
const ofProvider: ReadonlySet<string | undefined> = new Set(['invalid-request', 'authentication', 'payment'])

const providerOf = (model: string): string => model.slice(0, model.indexOf('/'))

/** Where the models end that are tried as long as the budget suffices, or, once it did not, all of them. */
const endOfModels = ({ models, regularModels = models.length }: CallInput, place: number): number => (place < regularModels ? regularModels : models.length)

/** The next model for when the budget does not cover another attempt; -1: none that is left. */
export function cheaperPlace({ call: { models, regularModels = models.length }, place }: Pick<CallContext, 'call' | 'place'>): number {
  const next = Math.max(place + 1, regularModels)
  return next < models.length ? next : -1
}

/** Which model may help where the last one did not; -1: none that is left. */
function nextPlace({ call, place, last }: Pick<CallContext, 'call' | 'place' | 'last'>): number {
  const models = call.models.slice(0, endOfModels(call, place))
  const refusal = last?.refusal
  if (refusal && !concernsModel(refusal)) return -1
  const isElsewhere = refusal ? refusal.scope === 'provider' : ofProvider.has(last?.error?.kind)
  return models.findIndex((model, i) => i > place && !(isElsewhere && providerOf(model) === providerOf(models[place]!)))
}

/** What comes after an attempt, from what is known of the call and nothing else. */
export function nextStep(context: Pick<CallContext, 'call' | 'attempts' | 'place' | 'tried' | 'last'>): 'succeed' | 'again' | 'wait' | 'fallBack' | 'fail' {
  const { call, attempts, tried, last } = context
  if (last?.ok) return 'succeed'
  const hasNext = nextPlace(context) !== -1
  if (last?.refusal) {
    if (hasNext) return 'fallBack'
    return last.refusal.reason === 'open' && call.whenOpen === 'wait' && !isExhausted(call, attempts) ? 'wait' : 'fail'
  }
  if (isExhausted(call, attempts) || isOver.has(last?.error?.kind)) return 'fail'
  // A wish that lies beyond the deadline is a no.
  const mayRetry = last?.retryable === true && (last.retryAfterMs ?? 0) < call.deadlineMs
  if (mayRetry && (!hasNext || tried < Math.max(1, Math.floor(call.attemptsMax / (call.regularModels ?? call.models.length))))) return 'again'
  return hasNext ? 'fallBack' : 'fail'
}

function isExhausted({ attemptsMax }: CallInput, attempts: readonly Attempt[]): boolean {
  const known = attempts.filter(isKnown).length
  return known >= attemptsMax || attempts.filter(({ unknown }) => unknown).length > cutsMax
}

/** The model was asked, and told how it ended. */
const isKnown = ({ unknown, refused }: Attempt): boolean => !unknown && refused === null

const lastId = (context: Pick<CallContext, 'call' | 'attempts'>): string => `${context.call.id}.${context.attempts.length}`
const noted = (context: CallContext, last: AttemptOutcome): Partial<CallContext> => {
  const attempt: Attempt = { model: modelOfCall(context), ok: last.ok, cost: last.cost, error: last.error?.message ?? null, unknown: last.error?.kind === 'unknown', refused: last.refusal?.reason ?? null }
  return { last, isAttempting: false, isPatient: false, attempts: [...context.attempts, attempt], tried: context.tried + (isKnown(attempt) ? 1 : 0) }
}

const failed = (context: CallContext, reason: (CallOutput & { ok: false })['reason'], message: string): CallOutput => ({ ok: false, reason, message, refusal: context.last?.refusal ?? null, attempts: context.attempts })

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
    attempt: fromPromise<AttemptOutcome, AttemptInput>(() => Promise.reject(new Error('no model'))),
    /** Replaced by the mesh: waits for the permit of an attempt. */
    permit: fromPromise<PermitOutcome, PermitInput>(() => Promise.resolve({ isGiven: true })),
  },
  guards: {
    isAttempting: ({ context }) => context.isAttempting,
    isWaiting: ({ context }) => context.isWaiting,
    isPatient: ({ context }) => context.isPatient,
    isLacking: ({ event }) => (event as unknown as { output: AttemptOutcome }).output.isLacking === true,
    isPermitted: ({ event }) => 'isGiven' in (event as unknown as { output: PermitOutcome }).output,
    succeeded: ({ context }) => nextStep(context) === 'succeed',
    mayTryAgain: ({ context }) => nextStep(context) === 'again',
    mayWait: ({ context }) => nextStep(context) === 'wait',
    mayFallBack: ({ context }) => nextStep(context) === 'fallBack',
    mayDegrade: ({ context }) => cheaperPlace(context) !== -1,
  },
  delays: {
    deadline: ({ context }) => context.call.deadlineMs,
    backoff: ({ context }) => Math.max(context.last?.retryAfterMs ?? 0, backoffMs(context.call.backoff, context.attempts.length, chanceFrom(attemptId(context)))),
  },
  actions: {
    askLedger: sendParent(({ context }): CallToAgent => ({ type: 'call.reserve', id: attemptId(context), worst: context.call.worst[modelOfCall(context)]! })),
    begin: assign({ isAttempting: true }),
    /** No model has been asked yet. */
    suspend: assign({ isAttempting: false }),
    beginWaiting: assign({ isWaiting: true }),
    endWaiting: assign({ isWaiting: false }),
    bePatient: assign({ isPatient: true }),
    fallBack: assign({ place: ({ context }) => nextPlace(context), tried: 0 }),
    degrade: assign({ place: ({ context }) => cheaperPlace(context), tried: 0 }),
    traceIntent: append(({ context }) => {
      const { call } = context
      const model = modelOfCall(context)
      const value: TraceIntent = { half: 'intent', attempt: attemptId(context), model, request: call.request, reserved: call.worst[model]!, about: call.about }
      return { stream: traceStream, shared: true, value }
    }),
    tracePermit: append(({ context }) => ({ stream: traceStream, shared: true, value: { half: 'permit', attempt: attemptId(context) } satisfies TracePermit })),
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
    noteRefusal: assign(({ context, event }) => {
      const { refusal } = (event as unknown as { output: { refusal: Refusal } }).output
      return noted(context, { ok: false, cost: nothing, error: { kind: 'refused', message: refusal.message }, refusal })
    }),
    /** Waiting for it failed by itself: no model was asked. */
    noteNoPermit: assign(({ context, event }) => {
      const { code, message } = (event as unknown as { error: { code?: string; message: string } }).error
      const kind = code === 'DEADLINE' ? 'deadline' : code === 'CANCELLED' ? 'cancelled' : 'effect'
      return noted(context, { ok: false, cost: nothing, error: { kind, message }, retryable: kind === 'effect' })
    }),
    noteLate: assign(({ context }) => noted(context, { ok: false, cost: nothing, error: { kind: 'deadline', message: `${lateText(context)}: no permit came in time` } })),
    /** The attempt is given up before its outcome: nobody knows what it cost, so it is charged in full. */
    noteLeft: assign(({ context }) => noted(context, { ok: false, cost: null, error: { kind: 'deadline', message: lateText(context) }, retryable: false })),
    settleWithLedger: sendParent(({ context }): CallToAgent => ({ type: 'call.settle', id: lastId(context), cost: context.last?.cost ?? null })),
    /** Nothing is held any more, or what is was for an attempt that has not begun. */
    settleHeld: sendParent(({ context }): CallToAgent => ({ type: 'call.settle', id: attemptId(context), cost: nothing })),
    succeed: assign({ result: ({ context }): CallOutput => ({ ok: true, model: context.attempts.at(-1)!.model, response: context.last!.response, isJudged: context.last!.isJudged === true, attempts: context.attempts }) }),
    fail: assign({ result: ({ context }) => failed(context, context.last?.error?.kind === 'deadline' ? 'deadline' : context.last?.refusal ? 'unavailable' : 'failed', context.last?.error?.message ?? 'the attempt failed') }),
    failForBudget: assign({ result: ({ context }) => failed(context, 'budget', 'the budget does not cover another attempt') }),
    failForDeadline: assign({ result: ({ context }) => failed(context, 'deadline', lateText(context)) }),
  },
}).createMachine({
  id: 'call',
  version: '1',
  description: 'One model call: budget first, then attempts with backoff, until it is settled.',
  context: ({ input }) => ({ call: input, attempts: [], place: 0, tried: 0, isAttempting: false, isWaiting: false, isPatient: false, last: null, result: null }),
  output: ({ context }) => context.result!,
  initial: 'open',
  states: {
    open: {
      description: 'The call is under way, and has a deadline for all of it.',
      initial: 'admitted',
      after: {
        deadline: [
          { guard: 'isAttempting', target: 'settled', actions: ['noteLeft', 'settleWithLedger', 'traceOutcome', 'failForDeadline'] },
          { guard: 'isWaiting', target: 'settled', actions: ['noteLate', 'settleWithLedger', 'traceOutcome', 'failForDeadline'] },
          { target: 'settled', actions: 'failForDeadline' },
        ],
      },
      states: {
        admitted: {
          description: 'The agent’s ledger is asked to hold the worst case of the next attempt.',
          entry: 'askLedger',
          on: {
            'ledger.reserved': [
              { guard: 'isPatient', target: 'waitingForPermit', actions: 'traceIntent' },
              { target: 'attempting', actions: 'traceIntent' },
            ],
            'ledger.refused': [
              { guard: 'mayDegrade', target: 'admitted', reenter: true, actions: 'degrade', description: 'A cheaper model may be covered.' },
              { target: '#call.settled', actions: 'failForBudget' },
            ],
            'ledger.pending': '#call.awaitingBudget',
          },
        },
        waitingForPermit: {
          description: 'No permit is in hand: the limits, breakers and bulkheads of the mesh are asked for one.',
          entry: 'beginWaiting',
          exit: 'endWaiting',
          invoke: {
            id: 'permit',
            src: 'permit',
            input: ({ context }) => ({ call: context.call, model: modelOfCall(context), attempt: attemptId(context), isPatient: context.isPatient }),
            onDone: [
              { guard: 'isPermitted', target: 'attempting', actions: 'tracePermit' },
              { target: 'judging', actions: ['noteRefusal', 'settleWithLedger', 'traceOutcome'] },
            ],
            onError: { target: 'judging', actions: ['noteNoPermit', 'settleWithLedger', 'traceOutcome'] },
          },
        },
        attempting: {
          description: 'A permit is taken, and one attempt at one model is under way.',
          entry: 'begin',
          invoke: {
            id: 'attempt',
            src: 'attempt',
            input: ({ context }) => ({ call: context.call, model: modelOfCall(context), attempt: attemptId(context) }),
            onDone: [
              { guard: 'isLacking', target: 'waitingForPermit', actions: 'suspend' },
              { target: 'judging', actions: ['noteOutcome', 'settleWithLedger', 'traceOutcome'] },
            ],
            onError: { target: 'judging', actions: ['noteError', 'settleWithLedger', 'traceOutcome'] },
          },
        },
        judging: {
          description: 'An attempt has ended: is that the answer, is there another try, or is it over?',
          always: [
            { guard: 'succeeded', target: '#call.settled', actions: 'succeed' },
            { guard: 'mayTryAgain', target: 'backingOff' },
            { guard: 'mayFallBack', target: 'admitted', actions: 'fallBack', description: 'The next model, at once.' },
            { guard: 'mayWait', target: 'admitted', actions: 'bePatient', description: 'There is no other model: until the breaker closes.' },
            { target: '#call.settled', actions: 'fail' },
          ],
        },
        backingOff: {
          description: 'Waiting before the next attempt, longer each time.',
          after: { backoff: 'admitted' },
        },
      },
    },
    awaitingBudget: {
      description: 'More is asked for, of a person perhaps; the deadline counts from when that is decided.',
      on: {
        'ledger.reserved': [
          { guard: 'isPatient', target: 'open.waitingForPermit', actions: 'traceIntent' },
          { target: 'open.attempting', actions: 'traceIntent' },
        ],
        'ledger.refused': { target: 'settled', actions: 'failForBudget' },
      },
    },
    settled: {
      description: 'There is an answer, or there will be none.',
      entry: 'settleHeld',
      type: 'final',
    },
  },
})

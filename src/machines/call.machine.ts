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
 * C5  At most once in a call a second attempt is begun beside one that is under way (`hedge`), out of what C1, C3 and C4 leave
 *     it: it counts, needs a permit, and money that is free. The first answer is the call's; the other
 *     attempt is given up then, and charged in full. (C2 does not bind it: it may ask the next model, which is not left for that.)
 */
import { assign, enqueueActions, fromPromise, sendParent, sendTo, setup } from 'xstate'
import { append } from '../protocol.js'
import { backoffMs, chanceFrom } from './backoff.js'
import type { CallPolicy } from './call-policy.js'
import { nothing, type Amounts } from './ledger.js'
import { concernsModel, type Refusal } from './permit.js'
import { tokenRestMax, tokenStreamRef, type TokenEvent, type TokenSource } from './token-stream.machine.js'
import { traceStream, type CallSubject, type TraceIntent, type TraceOutcome, type TracePermit } from './trace.js'

/** What is asked of a model, and how hard to try, as the policies said when it began. What a crash cut off is charged; as many attempts of that kind as may be are borne beside `attemptsMax`. JSON. */
export interface CallInput extends Omit<CallPolicy, 'fallback' | 'hedge'> {
  /** Unique among the calls of the agent. */
  readonly id: string
  /** Full names `provider/model`, tried in order. */
  readonly models: readonly string[]
  /** How many of them are tried when others fail; the rest only when the budget does not cover another attempt at those; 0 if it did not before this call. Default all. */
  readonly regularModels?: number
  /** What the provider is sent; see ModelRequest. */
  readonly request: unknown
  /** Who asks, and from what: what a model that is no LLM works on. */
  readonly task: unknown
  /** Most one attempt can cost, by model. */
  readonly worst: Readonly<Record<string, Amounts>>
  readonly tenant: string | null
  /** What was left out of the prompt, for the trace; absent: nothing. */
  readonly compaction?: unknown
  /** Whose call it is, for the trace. */
  readonly about: CallSubject
  /** How long an attempt may go without an answer before a second one is begun beside it, ms, and at which model: the next one, if there is one, or the same. Absent: never. */
  readonly hedge?: { readonly afterMs: number; readonly model: 'next' | 'same' }
  /** Whether those who watch the run are told what the model is writing, and how often at most, ms. */
  readonly stream?: { readonly everyMs: number }
}

/** What an attempt effect gives. */
export interface AttemptOutcome {
  readonly ok: boolean
  /** What it cost; null if nobody knows. */
  readonly cost: Amounts | null
  /** The answer, if it is one; {@link Completion} in the mesh. */
  readonly response?: unknown
  readonly error?: { readonly kind: string; readonly message: string }
  /** What the provider had counted when the attempt failed, for the trace; ModelUsage in the mesh. */
  readonly usage?: unknown
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
  /** What was told of the answer while it was written: by whom, and how much of it. */
  readonly streamed?: { readonly writer: string | null; readonly chars: number }
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

export type CallOutput = {
  /** Of the last call, where one with tools took several. */
  readonly id?: string
} & (
  /** `attempt`: which one brought it, if that was not the last. */
  | { readonly ok: true; readonly model: string; readonly response: unknown; readonly isJudged: boolean; readonly attempts: readonly Attempt[]; readonly attempt?: string }
  /** unavailable: the last attempt was not permitted, and there is no other model to ask. */
  /** window, prompt, tools: of a call with tools, whose next prompt does not fit or cannot be made, or whose bounds are reached. */
  | { readonly ok: false; readonly reason: 'budget' | 'deadline' | 'unavailable' | 'failed' | 'window' | 'prompt' | 'tools'; readonly message: string; readonly refusal: Refusal | null; readonly attempts: readonly Attempt[] }
)

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
  /** The outcome being dealt with, and of which attempt it is. */
  readonly last: AttemptOutcome | null
  readonly lastAttempt: string
  /** The one attempt that was begun beside another: which it is, at which model, whether that is asked by now, and what came of it if it ended first. */
  readonly hedge: { readonly attempt: string; readonly place: number; readonly isAsked: boolean; readonly ended: Attempt | null } | null
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
  /** isSpare: it is not worth asking anybody for more. */
  | { readonly type: 'call.reserve'; readonly id: string; readonly worst: Amounts; readonly isSpare?: true }
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

/** Its number among the attempts of its call, counted from 1. */
export function attemptNumber(attempt: string): number {
  return Number(attempt.slice(attempt.lastIndexOf('.') + 1))
}

export function tokenSourceOf({ id, about: { agent, task } }: Pick<CallInput, 'id' | 'about'>): TokenSource {
  return { agent, task, call: id }
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
  if (mayRetry && (!hasNext || tried < Math.max(1, Math.floor(call.attemptsMax / (call.regularModels || call.models.length))))) return 'again'
  return hasNext ? 'fallBack' : 'fail'
}

function isExhausted({ attemptsMax }: CallInput, attempts: readonly Attempt[]): boolean {
  const known = attempts.filter(isKnown).length
  return known >= attemptsMax || attempts.filter(({ unknown }) => unknown).length > cutsMax
}

/** The model was asked, and told how it ended. */
const isKnown = ({ unknown, refused }: Attempt): boolean => !unknown && refused === null

const noted = (context: CallContext, last: AttemptOutcome): Partial<CallContext> => {
  const attempt = recordOf(modelOfCall(context), last)
  // One that was begun beside it, and is over already, comes behind it: its number is the next.
  const { hedge } = context
  const beside = hedge?.ended ? [hedge.ended] : []
  return { last, lastAttempt: attemptId(context), isAttempting: false, isPatient: false, attempts: [...context.attempts, attempt, ...beside], ...(hedge ? { hedge: { ...hedge, ended: null } } : {}), tried: context.tried + (isKnown(attempt) ? 1 : 0) }
}

function recordOf(model: string, { ok, cost, error, refusal }: AttemptOutcome): Attempt {
  return { model, ok, cost, error: error?.message ?? null, unknown: error?.kind === 'unknown', refused: refusal?.reason ?? null }
}

// ── A second attempt beside the first ──

/** Which model it asks. */
function hedgePlace({ call, place }: Pick<CallContext, 'call' | 'place'>): number {
  return call.hedge?.model === 'next' && place + 1 < endOfModels(call, place) ? place + 1 : place
}

function hedgeId({ call, attempts }: Pick<CallContext, 'call' | 'attempts'>): string {
  return `${call.id}.${attempts.length + 2}`
}

/** Whether one may be begun beside the attempt under way: both count. */
function mayHedge({ call, attempts, hedge }: Pick<CallContext, 'call' | 'attempts' | 'hedge'>): boolean {
  return call.hedge !== undefined && hedge === null && attempts.filter(isKnown).length + 2 <= call.attemptsMax
}

/** Whether the second is under way, and the first still, too. */
function isBeside({ hedge, attempts }: Pick<CallContext, 'hedge' | 'attempts'>): boolean {
  return hedge !== null && hedge.ended === null && attemptNumber(hedge.attempt) === attempts.length + 2
}

const gaveWay: AttemptOutcome = { ok: false, cost: null, error: { kind: 'cancelled', message: 'another attempt answered first' }, retryable: false }

/** The first has not even begun, for want of a permit: the second goes on in its place. */
function firstOutcome(output: AttemptOutcome): AttemptOutcome {
  return output.isLacking ? { ok: false, cost: nothing, error: { kind: 'refused', message: 'no permit was in hand before a second attempt was begun' }, refusal: { reason: 'limit', scope: 'model', name: '', message: '' } } : output
}

/** The permit of the second is refused, or could not be waited for: no model was asked. */
function noPermit(event: unknown): AttemptOutcome {
  const { output } = event as { readonly output?: PermitOutcome }
  if (output && 'refusal' in output) return { ok: false, cost: nothing, error: { kind: 'refused', message: output.refusal.message }, refusal: output.refusal }
  return { ...errorOutcome((event as { error: { code?: string; message: string } }).error), cost: nothing }
}

function errorOutcome({ code, message }: { readonly code?: string; readonly message: string }): AttemptOutcome {
  const kind = code === 'DEADLINE' ? 'deadline' : code === 'CANCELLED' ? 'cancelled' : 'effect'
  return { ok: false, cost: null, error: { kind, message }, retryable: kind === 'effect' }
}

/** Of an event that brings the outcome of an attempt, however it ended. */
function outcomeIn(event: unknown): AttemptOutcome {
  const { output, error } = event as { readonly output?: AttemptOutcome; readonly error?: { readonly code?: string; readonly message: string } }
  return output ?? errorOutcome(error!)
}

const failed = (context: CallContext, reason: (CallOutput & { ok: false })['reason'], message: string): CallOutput => ({ ok: false, reason, message, refusal: context.last?.refusal ?? null, attempts: context.attempts })

/** What those who watch are told with the intent of an attempt (T3 in token-stream.machine.ts). */
function tokensBegin({ call }: CallContext, attempt: string, model: string, isBesides: boolean): TokenEvent {
  return { type: 'tokens.begin', of: tokenSourceOf(call), attempt: attemptNumber(attempt), model, isBeside: isBesides }
}

/** And with its outcome: of an answer what was not sent yet, and all of it if another attempt may have been shown in its place. */
function tokensEnd({ call, hedge }: CallContext, attempt: string, { ok, response, streamed }: AttemptOutcome): TokenEvent {
  const { writer, chars } = streamed ?? { writer: null, chars: 0 }
  const offset = hedge ? 0 : chars
  const rest = ok ? ((response ?? {}) as { readonly text?: string }).text?.slice(offset) : undefined
  return { type: 'tokens.end', of: tokenSourceOf(call), attempt: attemptNumber(attempt), ok, writer, offset, text: rest !== undefined && rest.length <= tokenRestMax ? rest : null }
}

function traceIntentOf({ call }: CallContext, attempt: string, model: string): TraceIntent {
  return { half: 'intent', attempt, model, request: call.request, compaction: call.compaction ?? null, reserved: call.worst[model]!, about: call.about }
}

function traceOutcomeOf(attempt: string, { ok, cost, response, error, usage }: AttemptOutcome): TraceOutcome {
  return { half: 'outcome', attempt, ok, cost, response: response ?? null, error: error ?? null, ...(usage === undefined ? {} : { usage }) }
}

/** What is on record of one, and what its agent's ledger and those who watch are told, in the commit of its end. */
type Enqueue = (action: never) => void
function conclude(enqueue: unknown, context: CallContext, attempt: string, outcome: AttemptOutcome): void {
  const add = enqueue as Enqueue
  // Its type is known only when all actions are.
  add({ type: 'settleOther', params: { id: attempt, cost: outcome.cost } } as never)
  add(append(() => ({ stream: traceStream, shared: true, value: traceOutcomeOf(attempt, outcome) })) as never)
  if (context.call.stream) add(sendTo(tokenStreamRef(context.call.about.run), tokensEnd(context, attempt, outcome)) as never)
}

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
    mayHedge: ({ context }) => mayHedge(context),
    isBeside: ({ context }) => isBeside(context),
    isBesideAndAnswered: ({ context, event }) => isBeside(context) && outcomeIn(event).ok,
    mayDegrade: ({ context }) => cheaperPlace(context) !== -1,
  },
  delays: {
    deadline: ({ context }) => context.call.deadlineMs,
    hedge: ({ context }) => context.call.hedge!.afterMs,
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
    traceIntent: enqueueActions(({ enqueue, context }) => {
      const attempt = attemptId(context)
      const value = traceIntentOf(context, attempt, modelOfCall(context))
      enqueue(append(() => ({ stream: traceStream, shared: true, value })) as never)
      if (context.call.stream) enqueue(sendTo(tokenStreamRef(context.call.about.run), tokensBegin(context, attempt, value.model, false)))
    }),
    tracePermit: append(({ context }) => ({ stream: traceStream, shared: true, value: { half: 'permit', attempt: attemptId(context) } satisfies TracePermit })),
    tracePermitOfSecond: append(({ context }) => ({ stream: traceStream, shared: true, value: { half: 'permit', attempt: context.hedge!.attempt } satisfies TracePermit })),
    traceOutcome: enqueueActions(({ enqueue, context }) => {
      const { lastAttempt, last } = context
      enqueue(append(() => ({ stream: traceStream, shared: true, value: traceOutcomeOf(lastAttempt, last!) })) as never)
      if (context.call.stream) enqueue(sendTo(tokenStreamRef(context.call.about.run), tokensEnd(context, lastAttempt, last!)))
    }),
    noteOutcome: assign(({ context, event }) => noted(context, (event as unknown as { output: AttemptOutcome }).output)),
    /** The effect itself failed: what it cost is unknown, so it is charged in full. It may be tried again, unless whoever asked wants no answer any more. */
    noteError: assign(({ context, event }) => noted(context, outcomeIn(event))),
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
    settleOther: sendParent((_, { id, cost }: { id: string; cost: Amounts | null }): CallToAgent => ({ type: 'call.settle', id, cost })),
    settleWithLedger: sendParent(({ context }): CallToAgent => ({ type: 'call.settle', id: context.lastAttempt, cost: context.last?.cost ?? null })),
    /** Nothing is held any more, or what is was for an attempt that has not begun. */
    settleHeld: sendParent(({ context }): CallToAgent => ({ type: 'call.settle', id: attemptId(context), cost: nothing })),
    succeed: assign({
      result: ({ context: { attempts, last, lastAttempt } }): CallOutput => {
        const number = attemptNumber(lastAttempt)
        return { ok: true, model: attempts[number - 1]!.model, response: last!.response, isJudged: last!.isJudged === true, attempts, ...(number === attempts.length ? {} : { attempt: lastAttempt }) }
      },
    }),
    askLedgerForSecond: sendParent(({ context }): CallToAgent => ({ type: 'call.reserve', id: hedgeId(context), worst: context.call.worst[context.call.models[hedgePlace(context)]!]!, isSpare: true })),
    beginSecond: enqueueActions(({ enqueue, context }) => {
      const attempt = hedgeId(context)
      const place = hedgePlace(context)
      const value = traceIntentOf(context, attempt, context.call.models[place]!)
      enqueue.assign({ hedge: { attempt, place, isAsked: true, ended: null } })
      enqueue(append(() => ({ stream: traceStream, shared: true, value })) as never)
      if (context.call.stream) enqueue(sendTo(tokenStreamRef(context.call.about.run), tokensBegin(context, attempt, value.model, true)))
    }),
    /** The first has ended without an answer: the second is the attempt under way from now on. */
    goOnWithSecond: enqueueActions(({ enqueue, context, event }) => {
      const outcome = firstOutcome(outcomeIn(event))
      const { place, ...rest } = { ...noted(context, outcome), place: context.hedge!.place }
      enqueue.assign({ ...rest, place, isAttempting: context.hedge!.isAsked, isWaiting: !context.hedge!.isAsked, ...(place === context.place ? {} : { tried: 0 }) })
      conclude(enqueue, context, attemptId(context), outcome)
    }),
    /** The second has ended without an answer: the first goes on alone. */
    noteSecond: enqueueActions(({ enqueue, context, event }, { isAsked }: { isAsked: boolean }) => {
      const { hedge, call } = context
      const outcome = isAsked ? outcomeIn(event) : noPermit(event)
      enqueue.assign({ hedge: { ...hedge!, ended: recordOf(call.models[hedge!.place]!, outcome) } })
      conclude(enqueue, context, hedge!.attempt, outcome)
    }),
    /** The second has answered: the first is given up, and has its place before it. */
    answerBySecond: enqueueActions(({ enqueue, context, event }) => {
      const { hedge, call, attempts } = context
      const outcome = outcomeIn(event)
      enqueue.assign({ last: outcome, lastAttempt: hedge!.attempt, isAttempting: false, isPatient: false, attempts: [...attempts, recordOf(modelOfCall(context), gaveWay), recordOf(call.models[hedge!.place]!, outcome)] })
      conclude(enqueue, context, hedge!.attempt, outcome)
      conclude(enqueue, context, attemptId(context), gaveWay)
    }),
    /** Whether the model of the second is asked, or its permit is waited for. If the first has ended, that is how the call stands. */
    noteAsked: assign(({ context }, { isAsked }: { isAsked: boolean }) => ({ hedge: { ...context.hedge!, isAsked }, ...(isBeside(context) ? {} : { isAttempting: isAsked, isWaiting: !isAsked }) })),
    /** The call is settled without the second, if that is under way: nobody knows what it cost. */
    leaveSecond: enqueueActions(({ enqueue, context }) => {
      const { hedge, call, attempts, last } = context
      // The first is on record by now.
      if (!hedge || hedge.ended || attemptNumber(hedge.attempt) !== attempts.length + 1) return
      const why = last?.ok ? gaveWay : { ...gaveWay, error: { kind: 'deadline', message: lateText(context) } }
      const outcome = hedge.isAsked ? why : { ...why, cost: nothing }
      enqueue.assign({ attempts: [...attempts, recordOf(call.models[hedge.place]!, outcome)] })
      conclude(enqueue, context, hedge.attempt, outcome)
    }),
    fail: assign({ result: ({ context }) => failed(context, context.last?.error?.kind === 'deadline' ? 'deadline' : context.last?.refusal ? 'unavailable' : 'failed', context.last?.error?.message ?? 'the attempt failed') }),
    failForBudget: assign({ result: ({ context }) => failed(context, 'budget', 'the budget does not cover another attempt') }),
    failForDeadline: assign({ result: ({ context }) => failed(context, 'deadline', lateText(context)) }),
  },
}).createMachine({
  id: 'call',
  version: '1',
  description: 'One model call: budget first, then attempts with backoff, until it is settled.',
  context: ({ input }) => ({ call: input, attempts: [], place: 0, tried: 0, isAttempting: false, isWaiting: false, isPatient: false, last: null, lastAttempt: '', hedge: null, result: null }),
  output: ({ context }) => context.result!,
  initial: 'open',
  states: {
    open: {
      description: 'The call is under way, and has a deadline for all of it.',
      initial: 'admitted',
      after: {
        deadline: [
          { guard: 'isAttempting', target: 'settled', actions: ['noteLeft', 'settleWithLedger', 'traceOutcome', 'leaveSecond', 'failForDeadline'] },
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
              { guard: 'isBesideAndAnswered', target: 'judging', actions: ['noteOutcome', 'settleWithLedger', 'traceOutcome', 'leaveSecond'] },
              { guard: 'isBeside', actions: 'goOnWithSecond', description: 'The second goes on.' },
              { guard: 'isLacking', target: 'waitingForPermit', actions: 'suspend' },
              { target: 'judging', actions: ['noteOutcome', 'settleWithLedger', 'traceOutcome'] },
            ],
            onError: [
              { guard: 'isBeside', actions: 'goOnWithSecond' },
              { target: 'judging', actions: ['noteError', 'settleWithLedger', 'traceOutcome'] },
            ],
          },
          initial: 'begun',
          states: {
            begun: {
              description: 'Is a second attempt to be begun if it takes long?',
              always: [{ guard: 'mayHedge', target: 'watched' }, { target: 'alone' }],
            },
            watched: {
              description: 'A second attempt is begun beside it if there is no answer in time.',
              after: { hedge: 'affording' },
            },
            affording: {
              description: 'The agent’s ledger is asked whether it has the worst case of a second attempt to spare.',
              entry: 'askLedgerForSecond',
              on: {
                'ledger.reserved': { target: 'beside', actions: 'beginSecond' },
                'ledger.refused': 'alone',
              },
            },
            beside: {
              description: 'A second attempt is under way, and the first as long as it has not ended.',
              entry: { type: 'noteAsked', params: { isAsked: true } },
              invoke: {
                id: 'second',
                src: 'attempt',
                input: ({ context }) => ({ call: context.call, model: context.call.models[context.hedge!.place]!, attempt: context.hedge!.attempt }),
                onDone: [
                  { guard: 'isLacking', target: 'awaitingPermit' },
                  { guard: 'isBesideAndAnswered', target: '#call.open.judging', actions: 'answerBySecond' },
                  { guard: 'isBeside', target: 'alone', actions: { type: 'noteSecond', params: { isAsked: true } } },
                  { target: '#call.open.judging', actions: ['noteOutcome', 'settleWithLedger', 'traceOutcome'], description: 'The first has ended: this one was the call’s.' },
                ],
                onError: [
                  { guard: 'isBeside', target: 'alone', actions: { type: 'noteSecond', params: { isAsked: true } } },
                  { target: '#call.open.judging', actions: ['noteError', 'settleWithLedger', 'traceOutcome'] },
                ],
              },
            },
            awaitingPermit: {
              description: 'No permit is in hand for the second attempt: the policies are asked for one, while the first goes on.',
              entry: { type: 'noteAsked', params: { isAsked: false } },
              invoke: {
                id: 'secondPermit',
                src: 'permit',
                input: ({ context }) => ({ call: context.call, model: context.call.models[context.hedge!.place]!, attempt: context.hedge!.attempt, isPatient: false }),
                onDone: [
                  { guard: 'isPermitted', target: 'beside', actions: 'tracePermitOfSecond' },
                  { guard: 'isBeside', target: 'alone', actions: { type: 'noteSecond', params: { isAsked: false } } },
                  { target: '#call.open.judging', actions: ['endWaiting', 'noteRefusal', 'settleWithLedger', 'traceOutcome'] },
                ],
                onError: [
                  { guard: 'isBeside', target: 'alone', actions: { type: 'noteSecond', params: { isAsked: false } } },
                  { target: '#call.open.judging', actions: ['endWaiting', 'noteNoPermit', 'settleWithLedger', 'traceOutcome'] },
                ],
              },
            },
            alone: {
              description: 'No second attempt is begun beside it.',
            },
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

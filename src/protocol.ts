/**
 * What a chart may ask of the runtime, and what the runtime tells a chart.
 *
 * Charts stay pure: a command is an XState action that only says what is wanted. The runtime carries it out with the
 * commit of the turn; plain `createActor` does nothing for it, so a chart with commands still runs in a unit test.
 *
 * ```ts
 * setup({ actions: { hire: durableChild(({ event }) => ({ machine: 'worker', id: event.name, input: event.task })) } })
 * ```
 */
import { fromPromise, type AnyActorRef, type EventObject, type MachineContext, type ParameterizedObject, type PromiseActorLogic } from 'xstate'
import { parseAddress, type Address } from './runtime/identity.js'
import type { Json } from './runtime/json.js'
import { RemoteRef } from './runtime/xstate/refs.js'
import { ConfigError, type StoredError } from './errors.js'

/** Marks an action function whose return value is a {@link Command}. */
export const COMMAND: unique symbol = Symbol.for('holdfast.command') as never

/** Marks a promise logic that asks another actor instead of running code. */
export const ASK: unique symbol = Symbol.for('holdfast.ask') as never

/** Marks a promise logic that says what a crash in the middle of it means. */
export const EFFECT: unique symbol = Symbol.for('holdfast.effect') as never

/** Marks an action function that a crash may lose. */
export const AT_MOST_ONCE: unique symbol = Symbol.for('holdfast.atMostOnce') as never

/** What a promise logic's creator is called with beside XState's own arguments. */
export interface EffectArgs<TInput> {
  readonly input: TInput
  /**
   * Aborts when the state that invoked the effect is left, the actor ends, the ask that the effect was begun for is over
   * (not for an external action), or this process gives the actor up. Its reason is an error with a code: CANCELLED, DEADLINE, STOPPED.
   */
  readonly signal: AbortSignal
  /** The same at every attempt: what a receiver recognises a repeat by. */
  readonly idempotencyKey: string
  /** 1 at first; one more for each start after a crash. */
  readonly attempt: number
}

/** What is known of an external action that was under way when the process died. */
export type Reconciled<TOutput> =
  /** It had happened, with this result. */
  | { readonly happened: true; readonly output: TOutput }
  /** It had not: it may be run. */
  | { readonly happened: false }

export interface ExternalAction<TInput, TOutput> {
  /**
   * Names the action within its step, where one invoke carries out several: the last part of the idempotency key.
   * `[A-Za-z0-9._:-]`, with `/2` and so on behind it where a step does the same action again on purpose. Default: the invoke's id.
   */
  readonly name?: (input: TInput) => string
  readonly run: (args: EffectArgs<TInput>) => Promise<TOutput> | TOutput
  /** Asks the receiver by key. Without it, or if it throws, the outcome stays unknown and the effect fails with code OUTCOME_UNKNOWN. */
  readonly reconcile?: (args: EffectArgs<TInput>) => Promise<Reconciled<NoInfer<TOutput>>> | Reconciled<NoInfer<TOutput>>
}

export interface EffectDeclaration {
  readonly name?: (input: never) => string
  readonly kind: 'repeatable' | 'external'
  readonly run: (args: EffectArgs<never>) => unknown
  readonly reconcile?: (args: EffectArgs<never>) => unknown
}

/** A promise that may be run again after a crash: it costs at most money. The same as `fromPromise`, declared. */
export function repeatable<TOutput, TInput = unknown>(run: (args: EffectArgs<TInput>) => Promise<TOutput> | TOutput): PromiseActorLogic<TOutput, TInput> {
  return declare({ kind: 'repeatable', run: run as EffectDeclaration['run'] })
}

/**
 * A promise that changes the outside world. After a crash in the middle of it, it is never run blindly again:
 * `reconcile` is asked first.
 */
export function external<TOutput, TInput = unknown>(action: ExternalAction<TInput, TOutput>): PromiseActorLogic<TOutput, TInput> {
  return declare({
    kind: 'external',
    run: action.run as EffectDeclaration['run'],
    ...(action.name ? { name: action.name as NonNullable<EffectDeclaration['name']> } : {}),
    ...(action.reconcile ? { reconcile: action.reconcile as NonNullable<EffectDeclaration['reconcile']> } : {}),
  })
}

/** Whether nobody knows if an external action happened: in `onError`, where errors are plain data, `isOutcomeUnknown(event.error)`. */
export function isOutcomeUnknown(error: unknown): boolean {
  return (error as { readonly code?: unknown } | null | undefined)?.code === 'OUTCOME_UNKNOWN'
}

function declare<TOutput, TInput>(declaration: EffectDeclaration): PromiseActorLogic<TOutput, TInput> {
  // Under plain createActor, in a unit test, the action simply runs, once.
  const logic = fromPromise<TOutput, TInput>(async ({ input, signal }) => (await declaration.run({ input: input as never, signal, idempotencyKey: 'test', attempt: 1 })) as TOutput)
  return Object.assign(logic, { [EFFECT]: declaration })
}

/**
 * A named action that a crash may lose and that never runs twice, as an inline one: for what concerns this process alone, such as
 * counters. A named action without it is kept with its turn and runs again after a crash, which costs a further write.
 *
 * @throws ConfigError for what is no plain function, such as an assign or a command
 */
export function atMostOnce<C extends MachineContext, E extends EventObject, P extends Params = undefined>(action: Expression<C, E, P, void>): CommandAction<C, E, P> {
  if (typeof action !== 'function' || 'resolve' in action || COMMAND in action) throw new ConfigError('atMostOnce() needs a function of its own. What XState or the runtime carries out (assign, raise, append, durableChild) goes into the machine as it is: it is part of the turn.')
  return Object.assign((args: CommandArgs<C, E>, params: P): void => action(args, params), { [AT_MOST_ONCE]: true })
}

/**
 * A reference to the actor at an address, to send to: `sendTo(({ context }) => refTo(context.boss), { type: 'hello' })`.
 * Kept in context it is stored as its address.
 *
 * @throws InvalidIdError for what is no address
 */
export function refTo(address: string): AnyActorRef {
  return new RemoteRef(parseAddress(address)) as unknown as AnyActorRef
}

/** A question to another actor. */
export interface Ask {
  /** The address asked, `machine/id`. */
  readonly to: string
  readonly event: { readonly type: string; readonly [key: string]: unknown }
  /** How long an answer is waited for, ms, 0 to 366 days; if the ask on whose behalf this one is asked ends sooner, until then. Default 30,000. */
  readonly deadlineMs?: number
}

/**
 * Asks another actor and ends with its answer: `invoke: { src: 'price', onDone, onError }` with
 * `actors: { price: fromAsk(({ input }) => ({ to: `shop/${input.shop}`, event: { type: 'price?' }, deadlineMs: 5_000 })) }`.
 * The question is written with the commit of the turn, so it survives a crash and is asked once.
 * Fails with code DEADLINE, with CANCELLED if the ask that it is asked for was cancelled, or with the error of the actor
 * that was asked. When the state is left, whoever was asked hears that nobody waits any more (docs/semantics.md, Asks).
 */
export function fromAsk<TOutput = unknown, TInput = unknown>(ask: (args: { input: TInput }) => Ask): PromiseActorLogic<TOutput, TInput> {
  const logic = fromPromise<TOutput, TInput>(() => Promise.reject(new Error('fromAsk works in an actor system only')))
  return Object.assign(logic, { [ASK]: ask })
}

/** Starts an actor with a record of its own as a child of this one. */
export interface StartChild {
  /** Name of a registered machine. */
  readonly machine: string
  /** Unique among the children of this actor; `[A-Za-z0-9._:-]`, 1 to 256 bytes. */
  readonly id: string
  readonly input?: unknown
  /** Not for the ask that the turn serves, but for this actor itself: it does not end with the ask. Default false. */
  readonly detached?: boolean
}

/** An event for a durable child, by its id. */
export interface SendToChild {
  readonly machine: string
  readonly id: string
  readonly event: { readonly type: string; readonly [key: string]: unknown }
}

/** Takes a durable child up again. */
export interface RestartChild {
  readonly machine: string
  readonly id: string
  /** Its last good snapshot, or anew from its input. */
  readonly from: 'snapshot' | 'input'
  /** As {@link StartChild.detached}. */
  readonly detached?: boolean
}

export type Command =
  | ({ readonly type: 'child.start' } & StartChild)
  | { readonly type: 'child.stop'; readonly machine: string; readonly id: string }
  | ({ readonly type: 'child.restart' } & RestartChild)
  | ({ readonly type: 'child.send' } & SendToChild)
  | { readonly type: 'reply'; readonly value: unknown; readonly token?: ReplyToken }
  | ({ readonly type: 'append' } & StreamEntry)

/** Where an answer goes; plain JSON, so that a machine can keep it in context and answer later. */
export interface ReplyToken {
  readonly id: string
  /** The effect of an actor that asked; absent when a client did. */
  readonly to?: { readonly to: Address; readonly cell: number; readonly effect: string }
}

/** A value for an append-only stream. */
export interface StreamEntry {
  readonly stream: string
  readonly value: unknown
  /** The stream is the shard's, read by all who trace it, and not this actor's own. Default false. */
  readonly shared?: boolean
  /** How many entries an own stream keeps from now on, the newest, at least 1; soon not many more. Default, and at most: `streamMax`. */
  readonly max?: number
}

/** Told to the parent when a durable child has started, ended or failed; see {@link durableChild}. */
export type ChildFact =
  | ({ readonly type: 'child.started' } & FactCommon)
  /** gone: there is no record of it, or no more. Told again to a parent that stops a child which has ended. */
  | ({ readonly type: 'child.stopped'; readonly reason: 'done' | 'stopped' | 'gone'; readonly output?: Json } & FactCommon)
  | ({ readonly type: 'child.failed'; readonly error: StoredError } & FactCommon)

/**
 * Told to an actor's root when an event that it sent to another (`sendTo`, `sendParent`) found no room in that one's mailbox, in a turn of its own and once
 * for each. The event is kept as a dead letter and can be redriven. A question (`fromAsk`) fails with code MAILBOX_FULL instead.
 */
export interface MessageRefused {
  readonly type: 'message.refused'
  /** The address it was for. */
  readonly to: string
  /** The type of the event. */
  readonly event: string
  readonly reason: 'overflow'
  /** Namespace time at which it was given up, ms. */
  readonly at: number
  /** As in {@link ChildFact}. */
  readonly chance: number
}

interface FactCommon {
  readonly id: string
  readonly machine: string
  readonly address: string
  /** Differs with every start and restart of the child: tells what is told of an earlier one. 0 if it is gone. */
  readonly generation: number
  /** Namespace time of the child's commit, in ms. */
  readonly at: number
  /** A number in [0, 1), the same at every recovery: what a pure chart draws jitter from. */
  readonly chance: number
}

/** What an expression of a command is given. */
export interface CommandArgs<C extends MachineContext, E extends EventObject> {
  readonly context: C
  readonly event: E
  readonly self: AnyActorRef
}

type Expression<C extends MachineContext, E extends EventObject, P, T> = (args: CommandArgs<C, E>, params: P) => T
type CommandAction<C extends MachineContext, E extends EventObject, P> = (args: CommandArgs<C, E>, params: P) => void
type Params = ParameterizedObject['params'] | undefined

function command<C extends MachineContext, E extends EventObject, P extends Params, T>(
  name: string,
  evaluate: Expression<C, E, P, T>,
  make: (value: T) => Command,
): CommandAction<C, E, P> {
  const action = (): void => {}
  Object.defineProperty(action, 'name', { value: name })
  return Object.assign(action, {
    [COMMAND]: (args: CommandArgs<C, E>, params: P): Command => make(evaluate(args, params)),
  })
}

/**
 * Starts a child that has a record of its own: its failure leaves this actor and its siblings alone, and this actor
 * is told of it by {@link ChildFact} events. Its address is `machine/<key of this actor>~<id>`.
 */
export function durableChild<C extends MachineContext, E extends EventObject, P extends Params = undefined>(
  evaluate: Expression<C, E, P, StartChild>,
): CommandAction<C, E, P> {
  return command('durableChild', evaluate, (child) => ({ type: 'child.start', ...child }))
}

/** Stops a durable child; its `child.stopped` follows. */
export function stopDurableChild<C extends MachineContext, E extends EventObject, P extends Params = undefined>(
  evaluate: Expression<C, E, P, { machine: string; id: string }>,
): CommandAction<C, E, P> {
  return command('stopDurableChild', evaluate, (child) => ({ type: 'child.stop', ...child }))
}

/** Sends a durable child an event, in the order of the other commands to it. */
export function sendToDurableChild<C extends MachineContext, E extends EventObject, P extends Params = undefined>(
  evaluate: Expression<C, E, P, SendToChild>,
): CommandAction<C, E, P> {
  return command('sendToDurableChild', evaluate, (send) => ({ type: 'child.send', ...send }))
}

/** Restarts a failed or ended durable child: from its last good snapshot, or anew from its input. */
export function restartDurableChild<C extends MachineContext, E extends EventObject, P extends Params = undefined>(
  evaluate: Expression<C, E, P, RestartChild>,
): CommandAction<C, E, P> {
  return command('restartDurableChild', evaluate, (child) => ({ type: 'child.restart', ...child }))
}

/**
 * Answers the message being handled, or, given the `token` of an earlier one, that one. An event that was asked carries its
 * token as `replyToken`: declare it on the event's type as `replyToken?: ReplyToken`, and keep it in context to answer later.
 */
export function reply<C extends MachineContext, E extends EventObject, P extends Params = undefined>(
  evaluate: Expression<C, E, P, unknown>,
  token?: Expression<C, E, P, ReplyToken>,
): CommandAction<C, E, P> {
  return command(
    'reply',
    (args: CommandArgs<C, E>, params: P) => ({ value: evaluate(args, params), token: token?.(args, params) }),
    ({ value, token: to }) => ({ type: 'reply', value, ...(to ? { token: to } : {}) }),
  )
}

/** Appends a value to a stream of this actor, in the commit of the turn; it goes when the actor's record goes. */
export function append<C extends MachineContext, E extends EventObject, P extends Params = undefined>(
  evaluate: Expression<C, E, P, StreamEntry>,
): CommandAction<C, E, P> {
  return command('append', evaluate, (entry) => ({ type: 'append', ...entry }))
}

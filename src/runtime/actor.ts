/** An actor as its users hold it: an address with methods. Nothing is created by making one. */
import type { AnyStateMachine, EmittedFrom, EventFromLogic, InputFrom, OutputFrom, SnapshotFrom } from 'xstate'
import { ActorEndedError, ActorExistsError, ActorFailedError, ActorNotStartedError, CancelledError, ConfigError, DeadlineError, HoldfastError } from '../errors.js'
import { checkEvent, type ReplyTo } from './envelope.js'
import { messageId, post, postAnyway, type Gateway, type SendOptions, type Sight } from './gateway.js'
import type { ActorHistory } from './history.js'
import type { Address, MessageId } from './identity.js'
import { decodeJson, isJsonEqual } from './json.js'
import { askDeadlineMs, askDeadlineMsMax, isAskDeadline } from './open-asks.js'
import type { Failure } from './stored-record.js'
import { withdraw, type Ticket } from './waiting-line.js'
import type { XMachineSnapshot } from './xstate/insides.js'

export interface WaitOptions {
  /** How long to wait, ms. Default: for ever. */
  readonly deadlineMs?: number
  /** Gives up when it aborts: what was waited for rejects with its reason, and nothing is listened to any more. */
  readonly signal?: AbortSignal
}

export interface AskOptions extends SendOptions {
  /** How long the answer is waited for, ms, 0 to 366 days. It travels on: what is begun for the ask ends with it. Default 30,000. */
  readonly deadlineMs?: number
  /** Cancels the ask when it aborts, and with it what was begun for it: `ask` rejects with its reason. */
  readonly signal?: AbortSignal
}

/** A machine that needs no input may be started without a word. */
type StartArguments<M extends AnyStateMachine> = undefined extends InputFrom<M> ? [options?: { readonly input?: InputFrom<M> } & SendOptions] : [options: { readonly input: InputFrom<M> } & SendOptions]

/** Why an actor failed, and where it stood before. */
export interface ActorFailure<M extends AnyStateMachine = AnyStateMachine> extends Failure {
  /** The last good snapshot; undefined if the start itself failed. */
  readonly snapshot: SnapshotFrom<M> | undefined
}

export class ActorHandle<M extends AnyStateMachine = AnyStateMachine> {
  /** `machine/id`. */
  readonly address: Address
  private readonly gateway: Gateway

  constructor(gateway: Gateway, address: Address) {
    this.gateway = gateway
    this.address = address
  }

  /**
   * Starts the actor. Resolves when the start is durable. Starting it again with equal input does nothing.
   *
   * @throws ActorExistsError if it was started with other input
   * @throws NonJsonError, LimitError if the input cannot be stored
   */
  async start(...[options]: StartArguments<M>): Promise<void> {
    checkDeadline(options?.deadlineMs)
    const input: unknown = options?.input
    const { gateway, address } = this
    const { beginnings } = gateway
    const ticket: Ticket = {}
    const begun = beginnings.inLine(address, async () => {
      const existing = await gateway.look(address)
      if (existing && !isJsonEqual(existing.input, input)) throw new ActorExistsError(address)
      const sent = existing ? Promise.resolve() : post(gateway, { kind: 'start', to: address }, input === undefined ? {} : { input }, options, ticket)
      beginnings.knows(address)
      sent.catch(() => beginnings.forget(address))
      return { sent }
    })
    await this.within(begun, options?.deadlineMs, `The start of ${address}`, undefined, ticket)
  }

  /**
   * Sends an event. Resolves when it is durable: from then on it is handled once, whatever crashes. An actor that was
   * never started is started by its first event if its machine needs no input.
   *
   * @throws InvalidEventError for an event without a type or of a type only the runtime sends
   * @throws NonJsonError, LimitError if the event cannot be stored
   * @throws ActorNotStartedError if it was never started and its machine needs input
   * @throws MailboxFullError if too many of its messages are unhandled; nothing was accepted then, and it may be sent again
   */
  async send(event: EventFromLogic<M>, options?: SendOptions): Promise<void> {
    checkEvent(event)
    checkDeadline(options?.deadlineMs)
    const ticket: Ticket = {}
    const posted = this.posted(event, {}, options, ticket)
    return options?.deadlineMs === undefined ? posted : this.within(posted, options.deadlineMs, `The acknowledgement of "${event.type}" to ${this.address}`, undefined, ticket)
  }

  /**
   * Sends an event and waits for the machine's `reply`. What was not handled by the deadline, or when it is cancelled, never
   * will be; what was begun for it by then is cut off, but for external actions (docs/semantics.md, Asks).
   *
   * @throws DeadlineError if no answer came in time; `known` says what is known of the event
   * @throws the signal's reason; CancelledError if it was asked under one id by several, and another cancelled it
   * @throws ActorFailedError, ActorEndedError if it cannot answer; ConfigError for a deadline or signal that is none
   */
  async ask<T = unknown>(event: EventFromLogic<M>, options: AskOptions = {}): Promise<T> {
    checkEvent(event)
    const { deadlineMs = askDeadlineMs, signal } = options
    if (!isAskDeadline(deadlineMs)) throw new ConfigError(`deadlineMs: a question needs a number of milliseconds from 0 to ${askDeadlineMsMax}, got ${String(deadlineMs)}. For what takes longer, send and waitFor.`)
    checkSignal(signal)
    signal?.throwIfAborted()
    const id = options.id === undefined ? this.gateway.ids.next() : messageId(this.address, options.id)
    let stop = (): void => {}
    const answered = new Promise<string>((resolve) => (stop = this.gateway.onReply(this.address, id, options.id === undefined, resolve)))
    let known: DeadlineError['known'] = 'unknown'
    const late = (): DeadlineError => new DeadlineError(`An answer of ${this.address} to "${event.type}"`, deadlineMs, known)
    const ticket: Ticket = {}
    try {
      const asked = this.posted(event, { id, replyTo: { client: true }, deadlineAt: this.gateway.now(this.address) + deadlineMs }, options, ticket).then(() => (known = 'accepted'))
      const text = await this.within(asked.then(() => answered), deadlineMs, late, signal, ticket)
      const answer = decodeJson(text) as { value: T } | { error: { code?: string; message: string } }
      if (!('error' in answer)) return answer.value
      known = 'unhandled'
      throw answer.error.code === 'DEADLINE' ? late() : this.errorOf(answer.error)
    } catch (error) {
      // What still waits for room is not sent at all.
      if (signal?.aborted && !withdraw(ticket)) this.cancel(id)
      throw error
    } finally {
      stop()
    }
  }

  /** If it cannot be told, or this process dies first, there is still the deadline. */
  private cancel(ask: MessageId): void {
    const { gateway, address } = this
    const message = `The ask was cancelled by the client that asked ${address}.`
    const cancel = (): Promise<void> => postAnyway(gateway, { kind: 'over', to: address }, { ask, error: { name: 'CancelledError', code: 'CANCELLED', message } })
    const posted = gateway.beginnings.isOpen(address, false) ? cancel() : gateway.beginnings.inLine(address, () => Promise.resolve({ sent: cancel() }))
    posted.catch(() => {})
  }

  /** As the error that was answered would be thrown here. */
  private errorOf({ code = 'ACTOR_FAILED', message }: { readonly code?: string; readonly message: string }): HoldfastError {
    const why = (prefix: string): string => (message.startsWith(prefix) ? message.slice(prefix.length) : message)
    if (code === 'ACTOR_FAILED') return new ActorFailedError(this.address, why(`Actor ${this.address} failed: `))
    if (code === 'ACTOR_ENDED') return new ActorEndedError(this.address, why(`Actor ${this.address} `).replace(/\.$/, ''))
    if (code === 'ACTOR_NOT_STARTED') return new ActorNotStartedError(this.address)
    if (code === 'CANCELLED') return new CancelledError(message)
    return new HoldfastError(code, message)
  }

  /** At once, but for a start that is under way, and for a machine that needs input and may not have been started. */
  private posted(event: unknown, head: { readonly id?: MessageId; readonly replyTo?: ReplyTo; readonly deadlineAt?: number }, options: SendOptions | undefined, ticket: Ticket): Promise<void> {
    const { gateway, address } = this
    const { beginnings } = gateway
    const needsInput = gateway.definitionOf(address)?.needsInput === true
    const send = (): Promise<void> => post(gateway, { kind: 'event', to: address, ...head }, event, options, ticket)
    if (beginnings.isOpen(address, needsInput)) return send()
    const inLine = beginnings.inLine(address, async () => {
      if (needsInput && !beginnings.isKnown(address)) {
        if (!(await gateway.look(address))) throw new ActorNotStartedError(address)
        beginnings.knows(address)
      }
      return { sent: send() }
    })
    return gateway.ending.race(inLine)
  }

  /**
   * The last committed snapshot, or undefined if the actor does not exist (or its very start failed).
   *
   * @throws SnapshotError if it cannot be read here: its machine is not registered in this version and structure, or it is damaged
   */
  async snapshot(): Promise<SnapshotFrom<M> | undefined> {
    const sight = await this.gateway.look(this.address)
    if (sight?.unreadable) throw sight.unreadable
    return sight?.snapshot as SnapshotFrom<M> | undefined
  }

  /** What XState's `getPersistedSnapshot` gives: `createActor(machine, { snapshot })` goes on from it. */
  async persisted(): Promise<unknown> {
    return (await this.gateway.read(this.address))?.persisted()
  }

  /**
   * What is kept of its turns, for `replay` and for people; undefined if nothing is: its machine is registered without
   * `history`, or it has had no turn since. It is JSON, and holds all that the actor was sent.
   */
  async history(): Promise<ActorHistory | undefined> {
    return this.gateway.history(this.address)
  }

  /** active, done, stopped or failed; undefined if the actor does not exist. */
  async status(): Promise<Sight['status'] | undefined> {
    return (await this.gateway.look(this.address))?.status
  }

  /** What the actor was started with, or undefined if it does not exist or was started without input. */
  async input(): Promise<InputFrom<M> | undefined> {
    return (await this.gateway.look(this.address))?.input as InputFrom<M> | undefined
  }

  /** Why the actor failed, or undefined if it has not. */
  async failure(): Promise<ActorFailure<M> | undefined> {
    const sight = await this.gateway.look(this.address)
    return sight?.failure && { ...sight.failure, snapshot: sight.snapshot as SnapshotFrom<M> | undefined }
  }

  /**
   * Waits until the actor is done and gives its output.
   *
   * @throws ActorFailedError, ActorEndedError if it ends otherwise; DeadlineError; the signal's reason
   */
  async output(options: WaitOptions = {}): Promise<OutputFrom<M>> {
    const snapshot = await this.waitFor((s) => (s as unknown as XMachineSnapshot).status === 'done', options)
    return (snapshot as unknown as XMachineSnapshot).output as OutputFrom<M>
  }

  /**
   * Calls back with the snapshot of every turn from now on, in order, after its commit; while another node runs the actor,
   * with its latest snapshot after changes. A throwing listener harms nobody.
   */
  subscribe(listener: (snapshot: SnapshotFrom<M>) => void): { unsubscribe(): void } {
    const stop = this.gateway.watch(this.address, (sight) => {
      if (sight.snapshot && sight.status !== 'failed') listener(sight.snapshot as unknown as SnapshotFrom<M>)
    })
    return { unsubscribe: stop }
  }

  /**
   * Waits for the first snapshot, beginning with the present one, for which the predicate is true.
   *
   * @throws ActorFailedError, ActorEndedError if the actor ends without one; DeadlineError; the signal's reason; SnapshotError as {@link snapshot}
   */
  async waitFor(predicate: (snapshot: SnapshotFrom<M>) => boolean, options: WaitOptions = {}): Promise<SnapshotFrom<M>> {
    const { deadlineMs, signal } = options
    checkDeadline(deadlineMs)
    checkSignal(signal)
    signal?.throwIfAborted()
    let stop = (): void => {}
    const found = new Promise<SnapshotFrom<M>>((resolve, reject) => {
      const judge = (sight: Sight): void => {
        // A look that was under way when it aborted.
        if (signal?.aborted) return
        try {
          const snapshot = sight.snapshot as unknown as SnapshotFrom<M> | undefined
          if (sight.unreadable) reject(sight.unreadable)
          else if (sight.failure) reject(new ActorFailedError(this.address, sight.failure.error.message))
          else if (snapshot && predicate(snapshot)) resolve(snapshot)
          else if (sight.status !== 'active') reject(new ActorEndedError(this.address, sight.status === 'done' ? 'is done' : 'was stopped'))
        } catch (error) {
          reject(error as Error)
        }
      }
      let early: Sight[] | undefined = []
      stop = this.gateway.watch(this.address, (sight) => (early ? early.push(sight) : judge(sight)))
      this.gateway.look(this.address).then((sight) => {
        if (sight) judge(sight)
        for (const later of early ?? []) if (later.turns > (sight?.turns ?? 0)) judge(later)
        early = undefined
      }, reject)
    })
    try {
      return await this.within(found, deadlineMs, `The awaited state of ${this.address}`, signal)
    } finally {
      stop()
    }
  }

  /** Calls back with events that the machine emits, after their commit; at most once each, in this process only. */
  on<T extends EmittedFrom<M>['type'] | '*'>(type: T, listener: (event: T extends '*' ? EmittedFrom<M> : Extract<EmittedFrom<M>, { type: T }>) => void): { unsubscribe(): void } {
    const stop = this.gateway.onEmitted(this.address, (event) => {
      if (type === '*' || event.type === type) listener(event as never)
    })
    return { unsubscribe: stop }
  }

  /** Stops the actor and everything it invoked. Resolves when that is durable. */
  async stop(options?: SendOptions): Promise<void> {
    checkDeadline(options?.deadlineMs)
    const { gateway, address } = this
    const ticket: Ticket = {}
    const stop = (): Promise<void> => post(gateway, { kind: 'stop', to: address }, undefined, options, ticket)
    const posted = gateway.beginnings.isOpen(address, false) ? stop() : gateway.beginnings.inLine(address, () => Promise.resolve({ sent: stop() }))
    await this.within(posted, options?.deadlineMs, `The acknowledgement of a stop of ${this.address}`, undefined, ticket)
  }

  /** The promise, unless the deadline passes, the signal aborts or this process stops before it settles. */
  private async within<T>(promise: Promise<T>, deadlineMs: number | undefined, what: string | (() => Error), signal?: AbortSignal, ticket?: Ticket): Promise<T> {
    const { ending } = this.gateway
    if (deadlineMs === undefined && !signal) return ending.race(promise)
    let stop = (): void => {}
    const cut = new Promise<never>((_, reject) => {
      const abort = (): void => reject(signal?.reason as Error)
      signal?.addEventListener('abort', abort)
      const cancel = deadlineMs === undefined || deadlineMs === Infinity ? () => {} : this.gateway.clock.after(deadlineMs, () => {
        // What still waited for room was not accepted, and says so itself.
        if (!withdraw(ticket)) reject(typeof what === 'string' ? new DeadlineError(what, deadlineMs) : what())
      })
      stop = () => {
        cancel()
        signal?.removeEventListener('abort', abort)
      }
    })
    try {
      // The ending forgets what was cut off, too.
      return await ending.race(Promise.race([promise, cut]))
    } finally {
      stop()
    }
  }
}

function checkSignal(signal: AbortSignal | undefined): void {
  if (signal !== undefined && typeof signal?.throwIfAborted !== 'function') throw new ConfigError(`signal: expected an AbortSignal, got ${typeof signal}.`)
}

/** Before anything is sent: what is refused has not happened. */
function checkDeadline(deadlineMs: number | undefined): void {
  if (deadlineMs === undefined || (typeof deadlineMs === 'number' && deadlineMs >= 0)) return
  throw new ConfigError(`deadlineMs: expected a number of milliseconds of at least 0, got ${String(deadlineMs)}.`)
}

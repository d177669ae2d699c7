/**
 * Every error Holdfast throws, on one screen. They are cut by what the receiver should do next:
 *
 * - fix the call: {@link InvalidIdError}, {@link InvalidEventError}, {@link NonJsonError}, {@link LimitError},
 *   {@link UnknownMachineError}, {@link ActorNotStartedError}, {@link ActorExistsError}, {@link ConfigError}
 * - try again later: {@link MailboxFullError}, {@link StoreError}, {@link DeadlineError}
 * - give up on this actor: {@link ActorFailedError}, {@link ActorEndedError}
 * - nobody wants it any more: {@link CancelledError}
 * - look at the data: {@link SnapshotError}
 * - look elsewhere, or at both sides: {@link MoveError}
 * - fix the machine: {@link TurnError}
 *
 * Recognise them by `code` (stable) or with {@link isHoldfastError}, which also works when two copies of the
 * package meet in one process; `instanceof` does not.
 */

const BRAND = Symbol.for('holdfast.error')

export class HoldfastError extends Error {
  /** Stable, upper-case with underscores. The table of codes stands in docs/errors.md. */
  readonly code: string
  readonly [BRAND] = true
  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = new.target.name
    this.code = code
  }
}

export function isHoldfastError(value: unknown): value is HoldfastError {
  return typeof value === 'object' && value !== null && BRAND in value
}

/** A key, id, machine name or address is outside the alphabet `[A-Za-z0-9._:-]` or longer than 256 bytes. */
export class InvalidIdError extends HoldfastError {
  readonly value: unknown
  constructor(what: string, value: unknown, rule: string) {
    super('INVALID_ID', `${what} ${show(value)} is not allowed: ${rule}`)
    this.value = value
  }
}

/** An event is not an object with a string `type`, or has a type that only the runtime may send. */
export class InvalidEventError extends HoldfastError {
  readonly eventType: unknown
  constructor(message: string, eventType: unknown) {
    super('INVALID_EVENT', message)
    this.eventType = eventType
  }
}

/** A value that is to be stored is not JSON. `path` names the offending place, e.g. `context.items[2].at`. */
export class NonJsonError extends HoldfastError {
  readonly path: string
  constructor(path: string, found: string, advice: string) {
    super('NON_JSON', `${path} holds ${found}, which JSON cannot keep. ${advice}`)
    this.path = path
  }
}

/** A value is larger, deeper or has more keys than allowed. */
export class LimitError extends HoldfastError {
  readonly what: string
  readonly limit: number
  readonly actual: number
  constructor(what: string, limit: number, actual: number, advice: string) {
    super('LIMIT', `${what} is ${actual}, above the limit of ${limit}. ${advice}`)
    this.what = what
    this.limit = limit
    this.actual = actual
  }
}

/** No machine of that name (and version), or not this very object, is registered with this system. */
export class UnknownMachineError extends HoldfastError {
  readonly machine: string
  constructor(machine: string, known: readonly string[]) {
    super(
      'UNKNOWN_MACHINE',
      known.includes(machine)
        ? `The machine ${show(machine)} given here is another object than the one registered; provide() makes a new one. Give the registered one.`
        : `No machine ${show(machine)} is registered (registered: ${known.join(', ') || 'none'}). Add it to the "machines" option.`,
    )
    this.machine = machine
  }
}

/** An event was sent to an actor that was never started and whose machine needs input. */
export class ActorNotStartedError extends HoldfastError {
  readonly address: string
  constructor(address: string) {
    super('ACTOR_NOT_STARTED', `Actor ${address} was never started and its machine needs input. Call start({ input }) first.`)
    this.address = address
  }
}

/** `start` named an actor that exists already with other input. */
export class ActorExistsError extends HoldfastError {
  readonly address: string
  constructor(address: string) {
    super('ACTOR_EXISTS', `Actor ${address} was already started with other input. Use another id, or the same input to make the call a no-op.`)
    this.address = address
  }
}

/** An option or the configuration of a namespace is wrong; the message names it and the value received. */
export class ConfigError extends HoldfastError {
  constructor(message: string) {
    super('CONFIG', message)
  }
}

/** Too many messages of the actor, or of its shard, are unhandled. Nothing was accepted; send again later. */
export class MailboxFullError extends HoldfastError {
  readonly address: string
  readonly limit: number
  constructor(address: string, limit: number) {
    super('MAILBOX_FULL', `There is no room for another message to ${address}: it may have ${limit} unhandled ones (backlogMax), and its shard logMax. Nothing was accepted. Send again later, or wait for room with whenFull: "wait".`)
    this.address = address
    this.limit = limit
  }
}

/** The store could not be reached or refused a command. `outcome: 'unknown'` means the write may have happened. */
export class StoreError extends HoldfastError {
  readonly outcome: 'failed' | 'unknown'
  constructor(message: string, outcome: 'failed' | 'unknown', cause?: unknown) {
    super('STORE', message, { cause })
    this.outcome = outcome
  }
}

/**
 * A deadline passed before the awaited thing happened. Of an ask, `known` says what became of it by then; what was begun for
 * it ends with it. Of anything else (a `waitFor`, say) the work itself goes on.
 */
export class DeadlineError extends HoldfastError {
  readonly deadlineMs: number
  readonly known: keyof typeof knownOfAsk | undefined
  constructor(what: string, deadlineMs: number, known?: keyof typeof knownOfAsk) {
    super('DEADLINE', `${what} did not happen within ${deadlineMs} ms.${known ? ` ${knownOfAsk[known]}` : ''}`)
    this.deadlineMs = deadlineMs
    this.known = known
  }
}

const knownOfAsk = {
  accepted: 'It was accepted: it has been handled, or never will be. What was begun for it has been cut off, but for external actions.',
  unhandled: 'It was accepted and not handled, and never will be: nothing happened.',
  unknown: 'Whether it was accepted is not known. It is not handled from now on.',
}

/**
 * An ask was cancelled by whoever asked, and what was begun for it ends; also the reason with which an effect's signal
 * aborts because the state that invoked it was left, or its actor ended.
 */
export class CancelledError extends HoldfastError {
  constructor(message: string) {
    super('CANCELLED', message)
  }
}

/** The actor failed: its machine threw, or an error of a child went unhandled. See `actor.failure()`. */
export class ActorFailedError extends HoldfastError {
  readonly address: string
  constructor(address: string, reason: string, cause?: unknown) {
    super('ACTOR_FAILED', `Actor ${address} failed: ${reason}`, { cause })
    this.address = address
  }
}

/** The actor is done, stopped or was erased, so it can no longer do what was asked. */
export class ActorEndedError extends HoldfastError {
  readonly address: string
  constructor(address: string, how: string) {
    super('ACTOR_ENDED', `Actor ${address} ${how}.`)
    this.address = address
  }
}

/** The system or client was stopped, or this process lost the shard, before the call was answered. */
export class StoppedError extends HoldfastError {
  constructor(what: string) {
    super('STOPPED', `${what} was stopped before the call was answered.`)
  }
}

/** A stored snapshot cannot be read. `reason` says which of the ways it is. */
export class SnapshotError extends HoldfastError {
  readonly address: string
  readonly reason: 'corrupted' | 'newer-format' | 'unknown-machine' | 'unknown-version' | 'other-structure'
  constructor(address: string, reason: SnapshotError['reason'], message: string) {
    super('SNAPSHOT', `The stored snapshot of ${address} cannot be read: ${message}`)
    this.address = address
    this.reason = reason
  }
}

/**
 * A namespace was moved to another store, or cannot be. `reason`:
 *
 * - moved: it is elsewhere; the message says where
 * - unfinished: a move of it has not ended; run that again, or cancel it
 * - in-use: a process runs its actors, on one of the two sides; stop it
 * - not-empty: there is something at the place it is to be moved to; name another place
 * - missing: there is no such namespace; look at how it is spelled
 * - halted: the store went back in time and nobody has accepted that
 * - same: both sides are one, or copies of each other
 * - other: one side belongs to another move
 * - differs: what arrived is not what left; nothing was opened
 * - over: another process has finished or cancelled this move
 * - cannot: the store cannot be moved, or not any more
 */
export class MoveError extends HoldfastError {
  readonly reason: 'moved' | 'unfinished' | 'in-use' | 'not-empty' | 'missing' | 'halted' | 'same' | 'other' | 'differs' | 'over' | 'cannot'
  constructor(reason: MoveError['reason'], message: string) {
    super('MOVE', message)
    this.reason = reason
  }
}

/** A machine asked for something the runtime cannot keep durable; the turn that asked is undone. */
export class TurnError extends HoldfastError {
  readonly reason: 'inline-spawn' | 'delay' | 'macrosteps' | 'acts' | 'key' | 'logic' | 'command' | 'refused'
  constructor(reason: TurnError['reason'], message: string) {
    super('TURN', message)
    this.reason = reason
  }
}

/** An error as it is stored: what survives JSON. */
export interface StoredError {
  readonly name: string
  readonly message: string
  readonly stack?: string
  readonly code?: string
}

/** Turns anything thrown into its stored form, whatever its getters do. Values that are no errors keep their text. */
export function toStoredError(thrown: unknown): StoredError {
  if (typeof thrown === 'object' && thrown !== null && 'message' in thrown) {
    const read = (key: 'name' | 'message' | 'stack' | 'code'): string | undefined => {
      try {
        const value = (thrown as Record<string, unknown>)[key]
        if (typeof value !== 'string' && key !== 'message') return undefined
        const text = String(value)
        return text.length > errorCharsMax ? `${text.slice(0, errorCharsMax)}…` : text
      } catch {
        return key === 'message' ? 'an error whose message cannot be read' : undefined
      }
    }
    const stack = read('stack')
    const code = read('code')
    return { name: read('name') ?? 'Error', message: read('message')!, ...(stack === undefined ? {} : { stack }), ...(code === undefined ? {} : { code }) }
  }
  return { name: 'Error', message: typeof thrown === 'string' ? thrown.slice(0, errorCharsMax) : show(thrown) }
}

/** Of one text of a stored error; what is longer is cut. */
const errorCharsMax = 16_384

function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value)
  try {
    return JSON.stringify(value)?.slice(0, 80) ?? String(value)
  } catch {
    return String(value)
  }
}

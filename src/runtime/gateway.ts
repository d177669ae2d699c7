/** What handles need to reach actors, and how they post to them. routed-gateway.ts is how it is done. */
import { ConfigError, InvalidIdError, MailboxFullError, type HoldfastError, type SnapshotError } from '../errors.js'
import { Outgoing, type EnvelopeHead } from './envelope.js'
import type { ActorHistory } from './history.js'
import { checkId, type Address, type MessageId } from './identity.js'
import { encodeJson, type JsonLimits } from './json.js'
import type { MachineDefinition } from './machines.js'
import type { IdSource } from './ports/ids.js'
import type { Clock } from './ports/clock.js'
import type { Appended } from './ports/store.js'
import type { DurableRecord } from './record.js'
import type { Failure, RecordStatus } from './stored-record.js'
import type { Ticket, WaitingLines } from './waiting-line.js'
import type { XEvent, XMachineSnapshot } from './xstate/insides.js'

/** An actor as it stands after its last commit. */
export interface Sight {
  readonly status: RecordStatus
  readonly turns: number
  /** Absent if the start itself failed, or the machine is not registered here. */
  readonly snapshot: XMachineSnapshot | undefined
  readonly failure: Failure | undefined
  readonly input: unknown
  /** Why there is no snapshot although the actor has one. */
  readonly unreadable?: SnapshotError
}

export interface Gateway {
  readonly limits: JsonLimits
  readonly ids: IdSource
  readonly clock: Clock
  readonly idRetentionMs: number
  readonly backlogMax: number
  readonly beginnings: Beginnings
  readonly lines: WaitingLines
  /** Ends when this process can tell no more of any actor. */
  readonly ending: Ending
  /** Namespace time, ms: what ids are remembered from. */
  now(address: Address): number
  /** The machine new actors of that name run, if it is registered here. */
  definitionOf(address: Address): MachineDefinition | undefined
  /** Resolves when the message is durable, and rejects when this process can tell no more. `mayRepeat`: its id was given and may have been used before. */
  accept(message: Outgoing, mayRepeat: boolean): Promise<Appended>
  /** Why a message that was accepted came to nothing, where its sender is to hear of it. */
  refusal(message: Outgoing): HoldfastError | undefined
  /** The actor's committed state, or undefined if it does not exist. */
  look(address: Address): Promise<Sight | undefined>
  /** A record read from the store, for those who want all of it. */
  read(address: Address): Promise<DurableRecord | undefined>
  /** What is kept of its turns. */
  history(address: Address): Promise<ActorHistory | undefined>
  /** Calls back with each committed turn if this node runs the actor, else after changes. */
  watch(address: Address, onTurn: (sight: Sight) => void): () => void
  onEmitted(address: Address, listener: (event: XEvent) => void): () => void
  /** The answer to a message: `{ value }` or `{ error }`, encoded. isNew: nobody has asked under that id before. */
  onReply(address: Address, id: MessageId, isNew: boolean, listener: (text: string) => void): () => void
}

export interface SendOptions {
  /** Makes a repeat harmless: the same id is accepted once by this actor, as long as it is remembered. `[A-Za-z0-9._:-]`, 1 to 256 bytes. */
  readonly id?: string
  /** How long to wait until it is durable, or, if asked, for the answer, ms. Default: for ever. What has not been acknowledged by then may be all the same: repeat it under the same id. */
  readonly deadlineMs?: number
  /**
   * What to do if too many messages of the actor or of its shard are unhandled. refuse (default): reject at once with a
   * MailboxFullError. wait: wait for room, as long as `deadlineMs` says, then reject with it. Those who wait are let in as they came; up to
   * `backlogMax` of one process wait for one actor, and whoever does not wait is refused while they do.
   */
  readonly whenFull?: 'refuse' | 'wait'
  /** W3C `traceparent` to carry on. */
  readonly trace?: string
  /** The run the message belongs to; so does the actor that it starts, and all that follows from it. `[A-Za-z0-9._:-]`, 1 to 256 bytes. */
  readonly run?: string
  /** Digest of the run's goal. */
  readonly goal?: string
  readonly tenant?: string
}

function belonging({ run, goal, tenant }: SendOptions): Pick<EnvelopeHead, 'belongs'> {
  if (run === undefined && goal === undefined && tenant === undefined) return {}
  return { belongs: { ...(run === undefined ? {} : { run: checkId('run', run) }), ...(goal === undefined ? {} : { goal: checkId('goal', goal) }), ...(tenant === undefined ? {} : { tenant: checkId('tenant', tenant) }) } }
}

/** How long ids that nobody gave are remembered, ms, unless {@link Gateway.idRetentionMs} is less: only a lost reply makes this process repeat one. */
export const ownIdRetentionMs = 3_600_000

/** An id as its sender gave it is the actor's own: the same one may be given to another. */
export function messageId(to: Address, given: string): MessageId {
  return `${to}!${checkId('message id', given)}`
}

function traceOf({ trace }: SendOptions): Pick<EnvelopeHead, 'trace'> {
  if (trace === undefined) return {}
  if (typeof trace === 'string' && /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(trace)) return { trace }
  throw new InvalidIdError('trace', trace, 'use a W3C traceparent: 00-<32 hex digits>-<16 hex digits>-01')
}

/**
 * Sends one message; resolves when it is durable, and rejects when this process can tell no more of it.
 *
 * @param ticket by which it can be taken back while it waits for room
 * @throws InvalidIdError, NonJsonError, LimitError, ConfigError at once
 */
export function post(gateway: Gateway, head: Omit<EnvelopeHead, 'id'> & { readonly id?: MessageId }, body: unknown, options: SendOptions = {}, ticket?: Ticket): Promise<void> {
  const { whenFull = 'refuse' } = options
  if (whenFull !== 'refuse' && whenFull !== 'wait') throw new ConfigError(`whenFull: expected "refuse" or "wait", got ${JSON.stringify(whenFull)}.`)
  const given = options.id === undefined ? undefined : messageId(head.to, options.id)
  const id = given ?? head.id ?? gateway.ids.next()
  const text = body === undefined ? undefined : encodeJson(body, head.kind === 'event' ? `event "${(body as XEvent).type}"` : `${head.kind} of ${head.to}`, gateway.limits)
  const retentionMs = given === undefined ? Math.min(gateway.idRetentionMs, ownIdRetentionMs) : gateway.idRetentionMs
  const message = new Outgoing({ ...head, id, ...belonging(options), ...traceOf(options) } as EnvelopeHead, text, gateway.now(head.to) + retentionMs)
  return gateway.lines.send(head.to, () => gateway.accept(message, given !== undefined), whenFull === 'wait', ticket).then((appended) => {
    const refusal = gateway.refusal(message)
    if (refusal) throw refusal
    if (appended === 'full') throw new MailboxFullError(message.to, gateway.backlogMax)
  })
}

/** Sends a word of the runtime itself, which is taken however full the mailbox is, and before what waits for room. */
export async function postAnyway(gateway: Gateway, head: Omit<EnvelopeHead, 'id'>, body: unknown): Promise<void> {
  const retentionMs = Math.min(gateway.idRetentionMs, ownIdRetentionMs)
  await gateway.accept(new Outgoing({ ...head, id: gateway.ids.next() } as EnvelopeHead, encodeJson(body, `${head.kind} of ${head.to}`, gateway.limits), gateway.now(head.to) + retentionMs, true), false)
}

const knownMax = 10_000
/** So long an actor is taken to be there still, ms. */
const knownMs = 10_000

/**
 * Keeps what this process sends to one actor in the order in which it was asked for, although a start and the first
 * message of a machine that needs input look first whether the actor is there; and remembers who was.
 */
export class Beginnings {
  /** Until when, by the clock, ms. The oldest go. */
  private readonly known = new Map<Address, number>()
  private readonly lines = new Map<Address, Promise<void>>()
  private readonly clock: Clock

  constructor(clock: Clock) {
    this.clock = clock
  }

  /** Whether a message may go at once. */
  isOpen(address: Address, mustExist: boolean): boolean {
    return !this.lines.has(address) && (!mustExist || this.isKnown(address))
  }

  /** Posts after whatever of this actor stands in line. What comes later waits for the posting, and not for what becomes of it. */
  inLine<T>(address: Address, post: () => Promise<{ readonly sent: Promise<T> }>): Promise<T> {
    const posted = (this.lines.get(address) ?? Promise.resolve()).then(post)
    const next: Promise<void> = posted.then(() => {}, () => {}).then(() => {
      if (this.lines.get(address) === next) this.lines.delete(address)
    })
    this.lines.set(address, next)
    return posted.then(({ sent }) => sent)
  }

  isKnown(address: Address): boolean {
    return (this.known.get(address) ?? 0) > this.clock.now()
  }

  knows(address: Address): void {
    this.known.delete(address)
    this.known.set(address, this.clock.now() + knownMs)
    if (this.known.size > knownMax) for (const oldest of this.known.keys()) return void this.known.delete(oldest)
  }

  forget(address: Address): void {
    this.known.delete(address)
  }
}

/** Rejects what still waits once it cannot be answered any more. */
export class Ending {
  private error: Error | undefined
  private readonly waiting = new Set<(error: Error) => void>()

  end(error: Error): void {
    this.error ??= error
    for (const reject of this.waiting) reject(error)
    this.waiting.clear()
  }

  race<T>(promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.error) reject(this.error)
      else this.waiting.add(reject)
      promise.then(resolve, reject).finally(() => this.waiting.delete(reject))
    })
  }
}

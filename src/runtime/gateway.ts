/**
 * How handles reach actors: through the shards this process owns, or only through the store. Both accept the same
 * messages; the owner hears of every turn in order, a client of the latest state.
 */
import { InvalidEventError, MailboxFullError, type SnapshotError } from '../errors.js'
import { encodeEnvelope, type EnvelopeHead } from './envelope.js'
import { checkId, type Address, type MessageId } from './identity.js'
import { encodeJson, type JsonLimits } from './json.js'
import type { MachineDefinition } from './machines.js'
import type { IdSource } from './ports/ids.js'
import type { Clock } from './ports/clock.js'
import type { Appended, NewEntry } from './ports/store.js'
import type { DurableRecord, Failure, RecordStatus } from './record.js'
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
  /** Namespace time, ms: what ids are remembered from. */
  now(address: Address): number
  /** The machine new actors of that name run, if it is registered here. */
  definitionOf(address: Address): MachineDefinition | undefined
  /** Resolves when the message is durable. `mayRepeat`: its id was given and may have been used before. */
  accept(to: Address, entry: NewEntry, mayRepeat: boolean): Promise<Appended>
  /** The actor's committed state, or undefined if it does not exist. */
  look(address: Address): Promise<Sight | undefined>
  /** A record read from the store, for those who want all of it. */
  read(address: Address): Promise<DurableRecord | undefined>
  /** Calls back with each committed turn (owner) or after changes (client). */
  watch(address: Address, onTurn: (sight: Sight) => void): () => void
  onEmitted(address: Address, listener: (event: XEvent) => void): () => void
  /** The answer to a message: `{ value }` or `{ error }`, encoded. */
  onReply(address: Address, id: MessageId, listener: (text: string) => void): () => void
}

export interface SendOptions {
  /** Makes a repeat harmless: the same id is accepted once, as long as it is remembered. `[A-Za-z0-9._:-]`, 1 to 256 bytes. */
  readonly id?: string
  /** W3C `traceparent` to carry on. */
  readonly trace?: string
  /** The run the message belongs to; so does the actor that it starts, and all that follows from it. `[A-Za-z0-9._:-]`, 1 to 256 bytes. */
  readonly run?: string
  /** Digest of the run's goal. */
  readonly goal?: string
  readonly tenant?: string
}

const reserved = new Set(['child.started', 'child.stopped', 'child.failed'])

/** Refuses what only the runtime may send. */
export function checkEvent(event: unknown): asserts event is XEvent {
  const type: unknown = (event as { type?: unknown } | null | undefined)?.type
  if (typeof event !== 'object' || typeof type !== 'string' || type === '') {
    throw new InvalidEventError('An event is an object with a "type" that is a string, e.g. { type: "order.place" }.', type)
  }
  if (type.startsWith('xstate.') || reserved.has(type)) {
    throw new InvalidEventError(`Events of type "${type}" are sent by the runtime only. Choose another type.`, type)
  }
}

function belonging({ run, goal, tenant }: SendOptions): Pick<EnvelopeHead, 'belongs'> {
  if (run === undefined && goal === undefined && tenant === undefined) return {}
  return { belongs: { ...(run === undefined ? {} : { run: checkId('run', run) }), ...(goal === undefined ? {} : { goal: checkId('goal', goal) }), ...(tenant === undefined ? {} : { tenant: checkId('tenant', tenant) }) } }
}

/** Sends one message; resolves when it is durable. */
export async function post(
  gateway: Gateway,
  head: Omit<EnvelopeHead, 'id'>,
  body: unknown,
  options: SendOptions & { readonly remember?: boolean } = {},
): Promise<{ id: MessageId; appended: Appended }> {
  const given = options.id === undefined ? undefined : checkId('message id', options.id)
  const id = given ?? gateway.ids.next()
  const text = encodeEnvelope(
    { ...head, id, ...belonging(options), ...(options.trace === undefined ? {} : { trace: options.trace }) } as EnvelopeHead,
    body === undefined ? undefined : encodeJson(body, head.kind === 'event' ? `event "${(body as XEvent).type}"` : `${head.kind} of ${head.to}`, gateway.limits),
  )
  const rememberUntil = gateway.now(head.to) + gateway.idRetentionMs
  const appended = await gateway.accept(head.to, { id, to: head.to, text, rememberUntil }, given !== undefined)
  if (appended === 'full') throw new MailboxFullError(head.to, gateway.backlogMax)
  return { id, appended }
}

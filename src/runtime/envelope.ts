/**
 * A message in its envelope: what the runtime, never the sender's payload, says about it. The body is written as JSON once,
 * by the side that sends, and everything that later reads or parks it keeps that text; the whole is written when it leaves
 * the process.
 */
import { InvalidEventError, type StoredError } from '../errors.js'
import { decodeJson, type StoredRef } from './json.js'
import type { Address, MessageId } from './identity.js'
import type { Behalf } from './open-asks.js'
import type { NewEntry } from './ports/store.js'
import type { XEvent } from './xstate/insides.js'

export type Envelope = {
  readonly id: MessageId
  readonly to: Address
  /** The child inside the record it is for; absent: the root. */
  readonly cell?: number
  readonly from?: string
  /** The child inside the sender's record; absent: its root. */
  readonly fromCell?: number
  /** Who waits for an answer: an effect of another actor, or a client that asks the store for it. */
  readonly replyTo?: ReplyTo
  /** Namespace time after which it need not be handled, ms. */
  readonly deadlineAt?: number
  /** Of the start of a durable child: the ask that it is started for. */
  readonly behalf?: Behalf
  readonly belongs?: Belonging
  /** W3C trace context. */
  readonly trace?: string
} & (
  | { readonly kind: 'event'; readonly body: { readonly type: string; readonly [key: string]: unknown } }
  | { readonly kind: 'start'; readonly body: { readonly input?: unknown; readonly parent?: Address; readonly parentCell?: number } }
  | { readonly kind: 'stop'; readonly body?: undefined }
  | { readonly kind: 'restart'; readonly body: { readonly from: 'snapshot' | 'input' } }
  /** To an actor that is quarantined: try again. */
  | { readonly kind: 'redrive'; readonly body?: undefined }
  /** An effect tells its own cell; `id` is the effect's. */
  | { readonly kind: 'outcome'; readonly cell: number; readonly body: { readonly type: string; readonly data?: unknown } }
  /** A callback or event observable sends to its parent. */
  | { readonly kind: 'emission'; readonly cell: number; readonly body: { readonly type: string; readonly [key: string]: unknown } }
  /** An action or the start of a callback threw after the commit. */
  | { readonly kind: 'fault'; readonly body: { readonly error: StoredError } }
  /** To those who work for an ask: it was cancelled, or, without an error, answered by whoever handed it on. */
  | { readonly kind: 'over'; readonly body: { readonly ask: string; readonly error?: StoredError } }
  /** A message for which there was no room: it is refused in its turn. */
  | { readonly kind: 'overflow'; readonly body: unknown }
  /** A child tells its parent how it fares; `at` and `chance` are added on delivery. */
  | { readonly kind: 'fact'; readonly body: { readonly type: string; readonly [key: string]: unknown } }
)

/** What a message and an actor belong to, told by whoever starts the work and handed on to all that follows from it. */
export interface Belonging {
  /** Id of the run. */
  readonly run?: string
  /** Digest of the run's goal. */
  readonly goal?: string
  readonly tenant?: string
}

export type EnvelopeKind = Envelope['kind']

export type ReplyTo = { readonly client: true } | { readonly client?: undefined; readonly to: Address; readonly cell: number; readonly effect: string }

/** What every log line about an actor holds. */
export function about(address: string, belongs: Belonging | undefined): { readonly actor: string; readonly run?: string } {
  return belongs?.run === undefined ? { actor: address } : { actor: address, run: belongs.run }
}

/** The envelope but for its body, which is encoded where it is made. */
export type EnvelopeHead = Omit<Envelope, 'body'>

// The runtime's own facts.
const reserved: ReadonlySet<string> = new Set(['child.started', 'child.stopped', 'child.failed', 'message.refused'])

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

/**
 * The event a machine sees: what the sender wrote, and what only the runtime knows.
 *
 * @param chance of a fact
 */
export function eventIn(envelope: Envelope & { readonly kind: 'event' | 'fact' }, chance: number | undefined): XEvent {
  if (envelope.kind === 'fact') return { ...envelope.body, chance }
  if (!envelope.replyTo) {
    if (!('replyToken' in envelope.body)) return envelope.body
    const { replyToken: _, ...body } = envelope.body
    return body as XEvent
  }
  const token = { id: envelope.id, ...(envelope.replyTo.client ? {} : { to: envelope.replyTo }) }
  return { ...envelope.body, replyToken: token }
}

/** What a head takes, about: ids and addresses. */
const headSize = 200

/** A message on its way: as it goes into a log, or to an actor of this process without being written at all. */
export class Outgoing implements NewEntry {
  readonly head: EnvelopeHead
  /** Encoded. */
  readonly body: string | undefined
  /** As long as a repeat of its append must be recognised. */
  readonly rememberUntil: number | undefined
  readonly always: true | undefined
  private whole: string | undefined

  constructor(head: EnvelopeHead, body: string | undefined, rememberUntil?: number, always?: true) {
    this.head = head
    this.body = body
    this.rememberUntil = rememberUntil
    this.always = always
  }

  /** Of the runtime itself: what is no event nobody could ask to send again, so it is taken even where a mailbox is full. */
  static own(head: EnvelopeHead, body: string | undefined): Outgoing {
    return new Outgoing(head, body, undefined, head.kind === 'event' || head.kind === 'emission' ? undefined : true)
  }

  get id(): MessageId {
    return this.head.id
  }
  get to(): Address {
    return this.head.to
  }
  get text(): string {
    return (this.whole ??= encodeEnvelope(this.head, this.body))
  }
  /** About how long the text would be, in UTF-16 units. */
  get size(): number {
    return headSize + (this.body?.length ?? 0)
  }
}

/** A message as it comes to be handled. */
export class Message {
  readonly envelope: Envelope
  /** Sequence number, if it stands in the log. */
  readonly seq: number | undefined
  private readonly source: { readonly text: string; readonly body?: string | undefined }

  private constructor(envelope: Envelope, source: Message['source'], seq: number | undefined) {
    this.envelope = envelope
    this.source = source
    this.seq = seq
  }

  /** Written by this process, and read as any other process would read it. */
  static sent(outgoing: Outgoing, revive: (ref: StoredRef) => unknown, seq?: number): Message {
    const { head, body } = outgoing
    return new Message((body === undefined ? head : { ...head, body: decodeJson(body, revive) }) as Envelope, outgoing, seq)
  }

  static read(text: string, revive: (ref: StoredRef) => unknown, seq?: number): Message {
    return new Message(decodeJson(text, revive) as Envelope, { text }, seq)
  }

  /** Nothing but an envelope: there is no text to keep. */
  static bare(envelope: Envelope): Message {
    return new Message(envelope, { text: '' }, undefined)
  }

  /** The whole, encoded. */
  get text(): string {
    return this.source.text
  }
  /** What its text begins with, up to the end of its id: no other message's does. */
  get beginning(): string {
    const { text } = this.source
    const id = `"id":${JSON.stringify(this.envelope.id)}`
    const place = text.indexOf(id)
    return place < 0 ? text : text.slice(0, place + id.length)
  }
  /** The body, encoded: it stands last, and no head holds a quote that could imitate it. */
  get body(): string {
    return this.source.body ?? this.source.text.slice(this.source.text.indexOf(',"body":') + 8, -1)
  }
  /** About how long the text is, in UTF-16 units. */
  get size(): number {
    return this.source instanceof Outgoing ? this.source.size : this.source.text.length
  }
}

/** Joins a head and an already encoded body. */
function encodeEnvelope(head: EnvelopeHead, body: string | undefined): string {
  const text = JSON.stringify(head)
  return body === undefined ? text : `${text.slice(0, -1)},"body":${body}}`
}

/** Why a message was set aside. */
export interface Parked {
  readonly reason: 'unknown-machine' | 'unknown-version' | 'other-structure' | 'newer-format' | 'corrupted' | 'failed' | 'quarantined' | 'behind'
  readonly detail: string
  /** Namespace time, ms. */
  readonly at: number
  readonly text: string
}

/** A message that could not be handled, as it is kept; dead-letters.ts shows it. */
export interface StoredLetter {
  readonly reason: 'ended' | 'failed' | 'not-started' | 'exists' | 'expired' | 'cancelled' | 'overflow'
  readonly detail: string
  /** Namespace time, ms. */
  readonly at: number
  readonly to: string
  readonly text: string
}

/**
 * A message in its envelope: what the runtime, never the sender's payload, says about it. Written as JSON once, by the
 * side that sends; everything that later reads or parks it keeps that text.
 */
import { InvalidEventError, type StoredError } from '../errors.js'
import { decodeJson, type StoredRef } from './json.js'
import type { Address, MessageId } from './identity.js'
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
  readonly belongs?: Belonging
  /** W3C trace context. */
  readonly trace?: string
} & (
  | { readonly kind: 'event'; readonly body: { readonly type: string; readonly [key: string]: unknown } }
  | { readonly kind: 'start'; readonly body: { readonly input?: unknown; readonly parent?: Address; readonly parentCell?: number } }
  | { readonly kind: 'stop'; readonly body?: undefined }
  | { readonly kind: 'restart'; readonly body: { readonly from: 'snapshot' | 'input' } }
  /** An effect tells its own cell; `id` is the effect's. */
  | { readonly kind: 'outcome'; readonly cell: number; readonly body: { readonly type: string; readonly data?: unknown } }
  /** A callback or event observable sends to its parent. */
  | { readonly kind: 'emission'; readonly cell: number; readonly body: { readonly type: string; readonly [key: string]: unknown } }
  /** An action or the start of a callback threw after the commit. */
  | { readonly kind: 'fault'; readonly body: { readonly error: StoredError } }
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

/** Joins a head and an already encoded body. */
export function encodeEnvelope(head: EnvelopeHead, body: string | undefined): string {
  const text = JSON.stringify(head)
  return body === undefined ? text : `${text.slice(0, -1)},"body":${body}}`
}

/**
 * An envelope as it goes into a log. What is no event comes from the runtime itself, which nobody could ask to send it
 * again: it is taken even where a mailbox is full.
 */
export function newEntry(head: EnvelopeHead, text: string): NewEntry {
  return { id: head.id, to: head.to, text, ...(head.kind === 'event' || head.kind === 'emission' ? {} : { always: true }) }
}

export function decodeEnvelope(text: string, revive: (ref: StoredRef) => unknown): Envelope {
  return decodeJson(text, revive) as Envelope
}

/** Why a message was set aside. */
export interface Parked {
  readonly reason: 'unknown-machine' | 'unknown-version' | 'other-structure' | 'newer-format' | 'corrupted' | 'failed' | 'quarantined' | 'behind'
  readonly detail: string
  /** Namespace time, ms. */
  readonly at: number
  readonly text: string
}

/** A message that could not be handled, with its evidence. */
export interface DeadLetter {
  readonly reason: 'ended' | 'failed' | 'not-started' | 'exists' | 'unknown-machine' | 'expired' | 'overflow' | 'stale'
  readonly detail: string
  /** Namespace time, ms. */
  readonly at: number
  readonly to: string
  readonly text: string
}

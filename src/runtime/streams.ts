/**
 * Append-only streams beside the records: an actor's own, which go with its record, and those shared by all actors of a
 * shard. Who appended an entry, and when, is told by the runtime and not by the entry.
 */
import type { Address } from './identity.js'

/** An entry of a stream, as it is read. */
export interface StreamRecord {
  /** Counts from 1 in its stream. */
  readonly seq: number
  /** Namespace time of the commit that appended it, ms. */
  readonly at: number
  /** `address@incarnation` of the actor that appended it. */
  readonly by: string
  readonly value: unknown
}

export function ownStream(address: Address, name: string): string {
  return `${address}/${name}`
}

/** An actor's own, and of the runtime: no name that `append` takes begins so. */
export function historyStream(address: Address): string {
  return `${address}/+history`
}

/** Begins with a character that no address has, so that it is nobody's own, and none of the runtime's. */
export function sharedStream(name: string): string {
  return `+${name}`
}

/** The runtime's own stream of dead letters. */
export const deadStream = 'dead'
/** It has an entry once all actors of the shard are found by what they are. */
export const indexedStream = 'indexed'

/** @param text the value, encoded */
export function encodeStreamEntry(at: number, by: string, text: string): string {
  return `{"at":${at},"by":"${by}","value":${text}}`
}

export function decodeStreamEntry({ seq, text }: { readonly seq: number; readonly text: string }): StreamRecord {
  return { seq, ...(JSON.parse(text) as Omit<StreamRecord, 'seq'>) }
}

/** What every write of a shard changes, kept in one value so that it costs one key. */
import type { Cursor, NodeIdentity, ShardState } from '../../runtime/ports/store.js'
import type { Key } from './keys.js'
import type { Reader } from './tree.js'

export interface ShardHead {
  owner?: NodeIdentity
  epoch: number
  /** How often the namespace had been accepted when it was claimed; absent: never. */
  accepted?: number
  beat: number
  /** Whether the last owner released the shard by itself. */
  clean: boolean
  /** Number of the last commit. */
  number: number
  position: number
  /** Sequence number of the last entry of the log, and up to which the log has been trimmed. */
  tail: number
  trimmed: number
  clock: number
  /** Last number given to an action and to a stream. */
  actions: number
  streams: number
  /** The move that has sealed it, and what it tells others; the one that has let go of it; how far it was filled. */
  sealed?: { readonly move: string; readonly why: string }
  over?: string
  imported?: Cursor
}

export function stateOf({ number, position, tail, clock, clean }: ShardHead): ShardState {
  return { number, position, tail, clock, clean }
}

export function readHead(reader: Reader, key: Key): ShardHead {
  return decodeHead(reader.get(key))
}

export function decodeHead(text: string | undefined): ShardHead {
  return text === undefined ? emptyHead() : (JSON.parse(text) as ShardHead)
}

export function emptyHead(): ShardHead {
  return { epoch: 0, beat: 0, clean: true, number: 0, position: 0, tail: 0, trimmed: 0, clock: 0, actions: 0, streams: 0 }
}

export function encodeHead(head: ShardHead): string {
  return JSON.stringify(head)
}

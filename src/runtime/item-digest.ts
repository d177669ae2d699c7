/** Items of a move in a form that does not depend on the store: with other times, counted, and as a digest. */
import { createHash } from 'node:crypto'
import type { StoredItem } from './ports/moving.js'

/** The same item in a store whose clock is ahead by so much, ms: what was to happen at an instant happens at that instant. */
export function shifted(item: StoredItem, ms: number): StoredItem {
  if (ms === 0) return item
  switch (item.kind) {
    case 'shard':
      return item.clock === 0 ? item : { ...item, clock: item.clock + ms }
    case 'entry':
      return { ...item, at: item.at + ms }
    case 'id':
    case 'reply':
      return { ...item, until: item.until + ms }
    case 'timer':
      return { ...item, dueAt: item.dueAt + ms }
    case 'outbox': {
      const { entry } = item.entry
      return entry.rememberUntil === undefined ? item : { ...item, entry: { ...item.entry, entry: { ...entry, rememberUntil: entry.rememberUntil + ms } } }
    }
    default:
      return item
  }
}

/** What a shard holds, in the words of its users. */
export interface MoveCounts {
  readonly actors: number
  readonly timers: number
  /** Begun, and without an outcome that was handled. */
  readonly effects: number
  /** Not handled yet: in the log, parked, and on their way to another shard. */
  readonly messages: number
}

export const nothingCounted: MoveCounts = { actors: 0, timers: 0, effects: 0, messages: 0 }

const counted: { readonly [K in StoredItem['kind']]?: keyof MoveCounts } = { record: 'actors', timer: 'timers', effect: 'effects', entry: 'messages', parked: 'messages', outbox: 'messages' }

export function addCounts(a: MoveCounts, b: MoveCounts): MoveCounts {
  return { actors: a.actors + b.actors, timers: a.timers + b.timers, effects: a.effects + b.effects, messages: a.messages + b.messages }
}

/**
 * Of a set of items, in whatever order they come: the sum of their hashes. Against faults, not against somebody who
 * makes up items to go with each other.
 */
export class ItemDigest {
  items = 0
  private sum = 0n
  private readonly counts: { -readonly [K in keyof MoveCounts]: number } = { ...nothingCounted }

  add(item: StoredItem): void {
    this.items++
    const what = counted[item.kind]
    if (what) this.counts[what]++
    this.sum = (this.sum + BigInt(`0x${createHash('sha256').update(canonical(item)).digest('hex')}`)) & mask
  }

  get counted(): MoveCounts {
    return { ...this.counts }
  }

  /** 64 hexadecimal digits. */
  toString(): string {
    return this.sum.toString(16).padStart(64, '0')
  }
}

const mask = (1n << 256n) - 1n

/** The epoch belongs to the store: it must be higher after a move, not the same. */
function canonical(item: StoredItem): string {
  if (item.kind === 'shard') return JSON.stringify([item.kind, item.number, item.position, item.tail, item.clock, item.clean])
  if (item.kind === 'record') return JSON.stringify([item.kind, item.address, [...item.fields].sort(([a], [b]) => (a < b ? -1 : 1)), [...item.terms].sort()])
  if (item.kind === 'outbox') {
    const { number, to, entry } = item.entry
    return JSON.stringify([item.kind, number, to, entry.id, entry.to, entry.text, entry.rememberUntil ?? null, entry.always ?? false])
  }
  return JSON.stringify(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
}

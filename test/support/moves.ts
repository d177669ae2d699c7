/** What tests of moves share: stores that are filled with something of every kind, and looked at from outside. */
import { ItemDigest } from '../../src/runtime/item-digest.js'
import { moveNamespace, type MoveOptions } from '../../src/runtime/move.js'
import { beginning, ending, type MovableStore, type StoredItem } from '../../src/runtime/ports/moving.js'
import { systemClock, type Clock } from '../../src/runtime/ports/clock.js'
import type { Store } from '../../src/runtime/ports/store.js'

export const namespace = 'default'

/** Nobody lives who could be waited for. */
export const hasty: Clock = { ...systemClock, after: (_, callback) => systemClock.after(0, callback) }

/** Everything that one shard can hold, some of it over many pages; the times differ by shard. */
export function someItems(shard: number, many = 700): StoredItem[] {
  const times = Array.from({ length: many }, (_, i) => i)
  const until = 4_000_000_000_000 + shard
  return [
    { kind: 'shard', number: 40 + shard, position: 10, tail: 10 + many, clock: 1_000 + shard, clean: true, epoch: 7 },
    ...times.map((i): StoredItem => ({ kind: 'entry', seq: 11 + i, at: 900 + i, text: `{"n":${i}}` })),
    { kind: 'backlog', address: 'm/a', count: many },
    { kind: 'delivered', from: 1 - shard, number: 12 },
    ...times.map((i): StoredItem => ({ kind: 'id', id: `id-${i}`, until: until + i })),
    ...times.map((i): StoredItem => ({ kind: 'timer', member: `${i}|m/a|t`, dueAt: until + (i % 9) + 0.5 })),
    { kind: 'reply', id: 'q', text: '"ä"', until },
    { kind: 'effect', id: 'm/a@1/job#1', text: '{"a":1}' },
    { kind: 'action', place: 0, id: 'z', text: 'first' },
    { kind: 'action', place: 1, id: 'a', text: 'second' },
    { kind: 'suspect', id: 's', attempts: 2 },
    { kind: 'outbox', entry: { number: 13, to: 1 - shard, entry: { id: 'o', to: 'm/b', text: '{}', rememberUntil: until, always: true } } },
    ...times.slice(0, 50).map((i): StoredItem => ({ kind: 'record', address: `m/${i}`, fields: [['m', `${i}`], ['c0:x', 'x'.repeat(i * 400)]], terms: i % 2 === 0 ? ['.on', `#${i}`] : [] })),
    { kind: 'parked', address: 'm/1', place: 0, text: 'p0' },
    { kind: 'parked', address: 'm/1', place: 1, text: 'p1' },
    { kind: 'stream', name: '+trace', first: 3, last: 5 },
    { kind: 'line', stream: '+trace', seq: 4, text: 'l4' },
    { kind: 'line', stream: '+trace', seq: 5, text: 'l5' },
    { kind: 'stream', name: 'empty', first: 9, last: 9 },
  ]
}

/** Fills a new namespace, which is open afterwards. */
export async function fill(store: MovableStore, shards = 2, many?: number): Promise<void> {
  await store.open({ namespace, shards, moving: 'to' })
  for (let shard = 0; shard < shards; shard++) {
    await store.seal(shard, 'filling', 'it is being filled')
    await store.import(shard, 'filling', { from: beginning, items: someItems(shard, many), next: ending })
    await store.unseal(shard, 'filling')
  }
  await store.close()
}

/** A digest of each shard, whoever may open it. */
export async function digests(store: MovableStore): Promise<string[]> {
  const { shards } = await store.open({ namespace, moving: 'from' })
  const found: string[] = []
  for (let shard = 0; shard < shards; shard++) {
    const digest = new ItemDigest()
    for (let at = beginning; at !== ending; ) {
      const page = await store.export(shard, at)
      for (const item of page.items) digest.add(item)
      at = page.next
    }
    found.push(`${digest.items} ${digest.toString()}`)
  }
  await store.close()
  return found
}

/** Whether a system could start there: it opens, and every shard can be claimed. */
export async function isOpen(store: Store): Promise<boolean> {
  try {
    const { shards } = await store.open({ namespace, shards: 2 })
    for (let shard = 0; shard < shards; shard++) {
      const claim = await store.claim(shard, { id: 'somebody' })
      if ('heldBy' in claim) return false
      await store.release(claim.lease)
    }
    return true
  } catch (error) {
    if ((error as { code?: string }).code !== 'MOVE') throw error
    return false
  } finally {
    await store.close()
  }
}

export type Connect = () => MovableStore

export function optionsOf(from: Connect, to: Connect, more: Partial<MoveOptions> = {}): MoveOptions {
  return { from: from(), to: to(), namespace, places: { from: './here', to: 'redis://there' }, clock: hasty, leaseMs: 10, ...more }
}

export const move = (from: Connect, to: Connect, more?: Partial<MoveOptions>): ReturnType<typeof moveNamespace> => moveNamespace(optionsOf(from, to, more))

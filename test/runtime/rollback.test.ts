/** One shard goes back in time while its nodes run, as on a cluster whose replica lagged: who notices, who takes it up, and that what is sent from then on arrives. */
import { expect, test } from 'vitest'
import { assign, sendTo, setup } from 'xstate'
import { refTo } from '../../src/index.js'
import { shardOf, type Address } from '../../src/runtime/identity.js'
import { Members } from '../../src/runtime/members.js'
import { Fleet, type FleetNode } from '../support/fleet.js'
import { imageOf, restore } from '../support/image.js'
import type { Commit } from '../../src/runtime/ports/store.js'

const leaseMs = 1_000
const shards = 4

/** Tells its partner, in another shard, of everything. */
const teller = setup({
  types: { context: {} as { partner: string; seen: number[]; heard: number[] }, input: {} as { partner: string }, events: {} as { type: 'add' | 'hear'; n: number } },
  actions: {
    take: assign({ seen: ({ context, event }) => [...context.seen, event.n] }),
    hear: assign({ heard: ({ context, event }) => [...context.heard, event.n] }),
    tell: sendTo(({ context }) => refTo(context.partner), ({ event }) => ({ type: 'hear', n: event.n })),
  },
}).createMachine({
  id: 'teller',
  context: ({ input }) => ({ partner: input.partner, seen: [], heard: [] }),
  on: { add: { actions: ['take', 'tell'] }, hear: { actions: 'hear' } },
})

const ids = Array.from({ length: 40 }, (_, i) => `t${i}`)
const inShard = (shard: number): string => ids.find((id) => shardOf(`teller/${id}` as Address, shards) === shard)!

async function aFleet(): Promise<{ all: Fleet; first: FleetNode; add: (node: FleetNode, id: string, n: number) => Promise<void>; namespace: Parameters<typeof restore>[0] }> {
  const all = new Fleet({ machines: [teller], shards, leaseMs })
  const first = all.join()
  await all.advance(50)
  for (let shard = 0; shard < shards; shard++) await first.system.actor(teller, inShard(shard)).start({ input: { partner: `teller/${inShard((shard + 1) % shards)}` } })
  await all.advance(50)
  return {
    all,
    first,
    add: async (node, id, n) => {
      await node.system.actor(teller, id).send({ type: 'add', n })
      await all.advance(60)
    },
    namespace: all.database.namespaces.get('default')!,
  }
}

const heardBy = async (node: FleetNode, id: string): Promise<readonly number[]> => (await node.system.actor(teller, id).snapshot())!.context.heard

test('what a shard that went back sends once that is accepted arrives, though its partner has had as much from the time that was lost', async () => {
  const { all, first, add, namespace } = await aFleet()
  const image = imageOf(namespace)
  for (const n of [1, 2, 3]) await add(first, inShard(0), n)
  restore(namespace, image, 0)
  await all.advance(leaseMs)
  expect(await first.system.halted()).toContain('went back in time')
  await first.system.accept()
  await all.advance(leaseMs)
  for (const n of [4, 5]) await add(first, inShard(0), n)
  expect(await heardBy(first, inShard(1))).toEqual([1, 2, 3, 4, 5])
  await first.system.stop()
})

test('so it does where nobody can notice, because whoever knew died in the same moment', async () => {
  const { all, first, add, namespace } = await aFleet()
  const image = imageOf(namespace)
  for (const n of [1, 2, 3]) await add(first, inShard(0), n)
  first.kill()
  restore(namespace, image, 0)
  const second = all.join()
  await all.advance(3 * leaseMs)
  expect(await second.system.halted()).toBeUndefined()
  for (const n of [4, 5]) await add(second, inShard(0), n)
  expect(await heardBy(second, inShard(1))).toEqual([1, 2, 3, 4, 5])
  await second.system.stop()
})

test('a shard whose release was lost is taken over, though its old owner lives; and that it went back is noticed', async () => {
  const { all, first, add, namespace } = await aFleet()
  const image = imageOf(namespace)
  for (const n of [1, 2, 3]) await add(first, inShard(0), n)
  const second = all.join()
  await all.advance(2 * leaseMs)
  const shard = second.system.owned.shards[0]!
  restore(namespace, image, shard)
  // Its owner by the store is the first, which lives and does not run it; the second finds its lease gone.
  await all.advance(4 * leaseMs)
  if ((await first.system.halted()) !== undefined) await first.system.accept()
  await all.advance(4 * leaseMs)
  expect(all.owners()).not.toContain(undefined)
  for (const { system } of all.living) await system.stop()
})

test('who hands a shard over looks once more whether what it knows of still stands', async () => {
  const { all, first, add, namespace } = await aFleet()
  const image = imageOf(namespace)
  await add(first, inShard(0), 1)
  const left = all.leave(first)
  // Before it can have looked by itself.
  restore(namespace, image, 0)
  await all.advance(leaseMs)
  await left
  expect(namespace.halted).toContain('of shard 0 was acknowledged')
})

test('an entry that has come after a rollback is not taken for the one that had its number and was read', async () => {
  let isArmed = false
  const late: Promise<unknown>[] = []
  const all = new Fleet({
    machines: [teller],
    shards,
    leaseMs,
    // All of the store goes back while the commit that has handled the first one is on its way, and another one is sent.
    meddle: (node, method, [commit]) => {
      if (!isArmed || method !== 'commit' || (commit as Commit).position <= namespace.shards[shard]!.position) return undefined
      isArmed = false
      restore(namespace, image)
      const sent = second.system.actor(teller, inShard(shard)).send({ type: 'add', n: 2 })
      late.push(sent)
      return sent.then(() => node.behind.commit(commit as Commit))
    },
  })
  const first = all.join()
  const second = all.join()
  await all.advance(2 * leaseMs)
  for (let i = 0; i < shards; i++) await first.system.actor(teller, inShard(i)).start({ input: { partner: `teller/${inShard((i + 1) % shards)}` } })
  await all.advance(60)
  const namespace = all.database.namespaces.get('default')!
  const shard = first.system.owned.shards[0]!
  const image = imageOf(namespace)
  isArmed = true
  await second.system.actor(teller, inShard(shard)).send({ type: 'add', n: 1 })
  await all.advance(1)
  expect([isArmed, late.length]).toEqual([false, 1])
  await Promise.all(late)
  expect(namespace.halted).toContain(`of the log of shard ${shard} was read`)
  await first.system.accept()
  await all.advance(2 * leaseMs)
  expect((await first.system.actor(teller, inShard(shard)).snapshot())!.context.seen).toEqual([2])
  for (const { system } of all.living) await system.stop()
})

test('a node that lives and has not moved the counter of its shard for two leases does not run it (M2)', () => {
  const members = new Members('me', leaseMs)
  let now = 0
  const isDead = (beat: number): boolean => {
    members.saw([{ id: 'me', beat: now, presence: 'here' }, { id: 'other', beat: now, presence: 'here' }], now)
    const dead = members.isDead(3, { node: 'other', beat }, now)
    now += leaseMs / 20
    return dead
  }
  let looks = 0
  while (!isDead(7)) looks++
  expect(looks).toBe(40)
  expect(isDead(8)).toBe(false)
  for (let i = 0; i < 200; i++) expect(isDead(9 + i)).toBe(false)
})

/**
 * Agents that pass messages of 200 B on to each other: each turn assigns a key, sets a timer anew and sends a message, and
 * all three are durable with it. The next agent is one of the same shard, as in the ideal loop, or, `across`, of another.
 */
import { join } from 'node:path'
import { createActorSystem, type ActorHandle, type Store } from 'holdfast'
import { lmdbStore } from 'holdfast/lmdb'
import { redisStore } from 'holdfast/redis'
import { shardOf, type Address } from '../src/runtime/identity.js'
import { RedisServer } from '../test/support/redis-server.js'
import { rateOf, type Figure, type Side } from './figure.js'
import { IdealLoop, TodayLive, TodayRestore, lmdbIdeal, lmdbSnapshots, redisIdeal, redisSnapshots, type IdealLog, type Snapshots } from './ideal.js'
import { agent } from './skeleton.js'

export const storeKinds = ['redis-everysec', 'redis-always', 'lmdb'] as const
export type StoreKind = (typeof storeKinds)[number]

const shards = 16
/** Makes the event 200 B long. */
const note = 'n'.repeat(152)

/** So that a run has some thousands of turns. */
function hopsFor(n: number): number {
  return Math.max(1, Math.ceil((n >= 10_000 ? 20_000 : n >= 1_000 ? 10_000 : n >= 100 ? 4_000 : 400) / n) - 1)
}

/** Addresses of agents such that each passes on to the next one of its shard, or of any. */
function ring(n: number, across: boolean): { readonly id: string; readonly next: string }[] {
  const ids = Array.from({ length: n }, (_, i) => `a-${i}`)
  const groups = across ? [ids] : [...groupBy(ids, (id) => shardOf(`agent/${id}` as Address, shards)).values()]
  return groups.flatMap((group) => group.map((id, i) => ({ id, next: `agent/${group[(i + 1) % group.length]!}` })))
}

function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>()
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item])
  return groups
}

/** Ours: all agents get a message that is passed on so often, and the run ends with the last of them. */
async function agents(store: Store, n: number, { across = false, goal }: { readonly across?: boolean; readonly goal?: string } = {}): Promise<{ readonly run: () => Promise<number>; readonly end: () => Promise<void> }> {
  const system = await createActorSystem({ store, machines: [agent], shards, freeze: false, residentMax: 20_000 }).start()
  let ended = 0
  let over = (): void => {}
  const handles: ActorHandle<typeof agent>[] = []
  const begun: Promise<void>[] = []
  for (const { id, next } of ring(n, across)) {
    const handle = system.actor(agent, id)
    handle.on('passed', () => {
      if (++ended === n) over()
    })
    handles.push(handle)
    begun.push(handle.start({ input: { next, ...(goal === undefined ? {} : { goal }) } }))
  }
  await Promise.all(begun)
  const hops = hopsFor(n)
  return {
    run: async () => {
      ended = 0
      const all = new Promise<void>((resolve) => (over = resolve))
      await Promise.all(handles.map((handle) => handle.send({ type: 'agent.pass', note, hops })))
      await all
      await system.settled()
      return n * (hops + 1)
    },
    end: () => system.stop(),
  }
}

interface Place {
  readonly store: () => Store
  readonly ideal: () => Promise<{ readonly log: IdealLog; readonly first: string; readonly end: () => unknown }>
  readonly snapshots: () => Snapshots & { readonly end: () => unknown }
  readonly end: () => Promise<void>
}

async function placeOf(kind: StoreKind, scratch: string, name: string): Promise<Place> {
  if (kind === 'lmdb') {
    return {
      store: () => lmdbStore(join(scratch, `${name}-ours`)),
      ideal: async () => lmdbIdeal(join(scratch, `${name}-ideal`)),
      snapshots: () => lmdbSnapshots(join(scratch, `${name}-today`)),
      end: async () => {},
    }
  }
  const server = await RedisServer.start({ appendfsync: kind === 'redis-always' ? 'always' : 'everysec' })
  return {
    store: () => redisStore(server.url),
    ideal: () => redisIdeal(server.url, name),
    snapshots: () => redisSnapshots(server.url, name),
    end: () => server.stop(),
  }
}

const liveTargets: Readonly<Record<StoreKind, string | undefined>> = { 'redis-everysec': '>= 0.9', 'redis-always': '>= 1.3', lmdb: undefined }

/** @param contextKb adds so much to each context, in a key that stays as it is */
export function durable(kind: StoreKind, n: number, { across = false, contextKb }: { readonly across?: boolean; readonly contextKb?: number } = {}): (scratch: string) => Promise<Figure> {
  return async (scratch) => {
    const figure = `durable.${kind}.${n}${across ? '.across' : ''}${contextKb === undefined ? '' : `.${contextKb}kb`}`
    const goal = contextKb === undefined ? undefined : 'g'.repeat(contextKb * 1_024)
    const place = await placeOf(kind, scratch, figure)
    const ours = await agents(place.store(), n, { across, ...(goal === undefined ? {} : { goal }) })
    const hops = hopsFor(n)
    const snapshots = place.snapshots()
    const live = new TodayLive(n, snapshots, goal)
    const ends: (() => unknown)[] = [() => live.stop(), () => snapshots.end()]
    const against: (Side & { readonly target?: string })[] = []
    const side = (name: string, target: string | undefined, work: () => Promise<number>): void => {
      against.push({ name, run: rateOf(work), ...(target === undefined || across || n < 100 ? {} : { target }) })
    }
    if (goal === undefined) {
      const ideal = await place.ideal()
      const loop = new IdealLoop(n, ideal.log, ideal.first)
      ends.push(() => loop.stop(), () => ideal.end())
      const restore = new TodayRestore(n, snapshots)
      await restore.fill()
      side('ideal', '>= 0.7', () => loop.run(hops, note))
      side('today, live', liveTargets[kind], () => live.run(hops, note))
      side('today, restore', kind === 'lmdb' ? undefined : '>= 2.5', () => restore.run(hops, note))
    } else {
      side('full snapshots', undefined, () => live.run(hops, note))
    }
    return {
      figure,
      what: `${n} agents pass messages on ${across ? 'to other shards' : 'within their shard'}, on ${kind}${contextKb === undefined ? '' : `, with ${contextKb} KB each`}`,
      unit: 'turns/s',
      ours: { name: 'holdfast', run: rateOf(ours.run) },
      against,
      end: async () => {
        await ours.end()
        for (const end of ends) await end()
        await place.end()
      },
    }
  }
}

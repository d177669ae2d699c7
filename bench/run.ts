/** `npm run bench [name …] [-- --pairs 7]`: prints ratios. Needs nothing; Redis is measured if there is a redis-server. */
import { spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { availableParallelism, cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createActorSystem, type ActorHandle, type ActorSystem, type Store } from 'holdfast'
import { lmdbStore } from 'holdfast/lmdb'
import { MemoryDatabase, MemoryStore } from 'holdfast/memory'
import { redisStore } from 'holdfast/redis'
import { Redis } from 'ioredis'
import { createActor } from 'xstate'
import { RedisServer } from '../test/support/redis-server.js'
import { counter, desk, document, job, lump } from './machines.js'
import { measure, table, type Pair, type Result } from './pair.js'

const { values, positionals } = parseArgs({ allowPositionals: true, options: { pairs: { type: 'string', default: '5' }, json: { type: 'boolean', default: false } } })

let scratch = ''
const systems: ActorSystem[] = []
async function open(store: Store, options: { residentMax?: number } = {}): Promise<ActorSystem> {
  const system = await createActorSystem({ store, machines: [counter, desk, document, job, lump], shards: 1, freeze: false, ...options }).start()
  systems.push(system)
  return system
}
const folder = (): string => join(scratch, `lmdb-${systems.length}`)

type Counter = ActorHandle<typeof counter>
async function counters(system: ActorSystem, n: number): Promise<Counter[]> {
  const actors = Array.from({ length: n }, (_, i) => system.actor(counter, `c-${i}`))
  await Promise.all(actors.map((actor) => actor.start({})))
  return actors
}

/** All at once, each actor's messages in their order. */
async function sendAtOnce(actors: readonly Counter[], each: number): Promise<void> {
  await Promise.all(actors.flatMap((actor) => Array.from({ length: each }, () => actor.send({ type: 'add', by: 1 }))))
}

async function sendOneByOne(actors: readonly Counter[], each: number): Promise<void> {
  for (let i = 0; i < each; i++) for (const actor of actors) await actor.send({ type: 'add', by: 1 })
}

const benches: Readonly<Record<string, () => Promise<Pair | undefined>>> = {
  /** What durability costs above XState itself, before any disk. */
  turn: async () => {
    const actors = await counters(await open(new MemoryStore()), 64)
    const plain = Array.from({ length: 64 }, () => createActor(counter).start())
    return {
      title: 'A message to one of 64 actors: durable, in memory, against XState alone',
      units: 64 * 100,
      unit: 'message',
      a: { name: 'holdfast on memory', run: () => sendAtOnce(actors, 100) },
      b: {
        name: 'createActor',
        run: () => {
          for (let i = 0; i < 100; i++) for (const actor of plain) actor.send({ type: 'add', by: 1 })
        },
      },
    }
  },
  /** One flush serves many turns. */
  'group-commit': async () => {
    const actors = await counters(await open(lmdbStore(folder())), 64)
    return {
      title: 'LMDB, flushed: 64 actors one after the other against all at once',
      units: 64 * 4,
      unit: 'message',
      a: { name: 'one at a time', run: () => sendOneByOne(actors, 4) },
      b: { name: 'at once', run: () => sendAtOnce(actors, 4) },
    }
  },
  /** The whole price of being durable on the embedded store. */
  lmdb: async () => {
    const durable = await counters(await open(lmdbStore(folder())), 64)
    const inMemory = await counters(await open(new MemoryStore()), 64)
    return {
      title: '64 actors at once: LMDB, flushed, against memory',
      units: 64 * 50,
      unit: 'message',
      a: { name: 'LMDB', run: () => sendAtOnce(durable, 50) },
      b: { name: 'memory', run: () => sendAtOnce(inMemory, 50) },
    }
  },
  /** What a user would write without us: the whole snapshot in one key, no fence, no queue, no journal. */
  redis: async () => {
    if (spawnSync('redis-server', ['--version']).status !== 0) return undefined
    const server = await RedisServer.start({ appendfsync: 'always' })
    const actors = await counters(await open(redisStore(server.url)), 64)
    const redis = new Redis(server.url)
    const plain = Array.from({ length: 64 }, () => createActor(counter).start())
    return {
      title: 'Redis, AOF always, 64 actors at once: a durable turn against SET of the persisted snapshot',
      units: 64 * 50,
      unit: 'message',
      a: { name: 'holdfast', run: () => sendAtOnce(actors, 50) },
      b: {
        name: 'XState + SET',
        run: async () => {
          await Promise.all(
            plain.map(async (actor, i) => {
              for (let n = 0; n < 50; n++) {
                actor.send({ type: 'add', by: 1 })
                await redis.set(`plain-${i}`, JSON.stringify(actor.getPersistedSnapshot()))
              }
            }),
          )
        },
      },
      end: async () => {
        redis.disconnect()
        await stopAll()
        await server.stop()
      },
    }
  },
  /** Snapshots are written as deltas by top-level key. */
  delta: async () => {
    const system = await open(lmdbStore(folder()))
    const split = system.actor(document, 'd')
    const whole = system.actor(lump, 'l')
    await split.start({})
    await whole.start({})
    const send = async (actor: { send(event: { type: 'edit'; n: number }): Promise<unknown> }): Promise<void> => {
      await Promise.all(Array.from({ length: 200 }, (_, n) => actor.send({ type: 'edit', n })))
    }
    return {
      title: 'A context of 64 KiB of which 4 KiB change, on LMDB: as one key against as 16',
      units: 200,
      unit: 'message',
      a: { name: 'one key', run: () => send(whole) },
      b: { name: '16 keys', run: () => send(split) },
    }
  },
  /** Actors that are not in memory. */
  passivation: async () => {
    const cold = await counters(await open(new MemoryStore(), { residentMax: 1 }), 2_000)
    const warm = await counters(await open(new MemoryStore()), 2_000)
    return {
      title: '2,000 actors on memory, at once: read for each message against kept',
      units: 2_000,
      unit: 'message',
      a: { name: 'passivated', run: () => sendAtOnce(cold, 1) },
      b: { name: 'resident', run: () => sendAtOnce(warm, 1) },
    }
  },
  /** Whether a group that is asked for ten times what it may do harms another one. */
  bulkhead: async () => {
    const system = await open(lmdbStore(folder()))
    const actor = system.actor(desk, 'd')
    await actor.start({})
    const waiting = new Map<string, () => void>()
    actor.on('done', ({ id }) => waiting.get(id)?.())
    let count = 0
    const ask = async (group: 'one' | 'other'): Promise<number> => {
      const id = `j${count++}`
      const started = performance.now()
      const done = new Promise<void>((resolve) => waiting.set(id, resolve))
      await actor.send({ type: 'do', group, id })
      await done
      waiting.delete(id)
      return performance.now() - started
    }
    /** Two at a time, one after the other. */
    const calmly = async (): Promise<number[]> => {
      const each: number[] = []
      const line = async (): Promise<void> => {
        for (let i = 0; i < 20; i++) each.push(await ask('other'))
      }
      await Promise.all([line(), line()])
      return each
    }
    return {
      title: 'A call of 50 ms in a group of four, while another group is asked for 40 at once, over and over, against alone',
      units: 40,
      unit: 'call',
      a: {
        name: 'beside an overload',
        run: async () => {
          let isOn = true
          const flood = Array.from({ length: 40 }, async () => {
            while (isOn) await ask('one')
          })
          const each = await calmly()
          isOn = false
          await Promise.all(flood)
          return each
        },
      },
      b: { name: 'alone', run: calmly },
    }
  },
  /** Takes up 10,000 actors that wait, and lets one of them go on; against making them anew with XState. */
  recovery: async () => {
    const database = new MemoryDatabase()
    const first = await open(new MemoryStore({ database }))
    await counters(first, 10_000)
    await first.stop()
    const snapshots = Array.from({ length: 10_000 }, () => JSON.stringify(createActor(counter).start().getPersistedSnapshot()))
    return {
      title: '10,000 parked actors: until one goes on after a restart, against restoring all with createActor',
      units: 1,
      unit: 'restart',
      a: {
        name: 'holdfast',
        run: async () => {
          const system = await open(new MemoryStore({ database }))
          await system.actor(counter, 'c-7777').send({ type: 'add', by: 1 })
          await system.stop()
        },
      },
      b: {
        name: 'parse + createActor',
        run: () => {
          for (const text of snapshots) createActor(counter, { snapshot: JSON.parse(text) as never }).start()
        },
      },
    }
  },
}

async function stopAll(): Promise<void> {
  await Promise.all(systems.splice(0).map((system) => system.stop()))
}

const names = positionals.length > 0 ? positionals : Object.keys(benches)
const unknown = names.filter((name) => !benches[name])
if (unknown.length > 0) {
  console.error(`There is no bench ${unknown.join(', ')}. There are: ${Object.keys(benches).join(', ')}.`)
  process.exit(2)
}
scratch = await mkdtemp(join(tmpdir(), 'holdfast-bench-'))
try {
  const results: Result[] = []
  for (const name of names) {
    const pair = await benches[name]!()
    if (pair) results.push(...(await measure(pair, Number(values.pairs))))
    else console.error(`${name}: left out, there is no redis-server on the PATH.`)
    await stopAll()
  }
  const machine = `${availableParallelism()} × ${cpus()[0]?.model ?? 'cpu'}, Node ${process.versions.node}, ${values.pairs} pairs each`
  console.log(values.json ? JSON.stringify({ machine, results }, null, 2) : `${table(results)}\n\n${machine}. Ratios are medians of pairs measured in turn; in brackets the least and the greatest.`)
} finally {
  await rm(scratch, { recursive: true, force: true })
}

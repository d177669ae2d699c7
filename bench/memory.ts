/** What an idle actor keeps in memory, and what it takes to have it back, against an actor of XState's. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createActorSystem } from 'holdfast'
import { lmdbStore } from 'holdfast/lmdb'
import { MemoryDatabase, MemoryStore } from 'holdfast/memory'
import { createActor } from 'xstate'
import type { Address } from '../src/runtime/identity.js'
import { rateOf, type Figure } from './figure.js'
import { DurableRecord, MachineRegistry, RemoteRef, defaultJsonLimits, readMeta } from './internals.js'
import { agent } from './skeleton.js'

const idle = 20_000

const inputOf = (i: number): { readonly next: string; readonly goal: string } => ({
  next: `agent/a-${i}`,
  goal: `Summarise the state of research on efficient inference for reader ${i}, who has ten minutes and will ask for sources.`,
})

async function heapUsed(): Promise<number> {
  for (let i = 0; i < 4; i++) {
    globalThis.gc!()
    await sleep(20)
  }
  return process.memoryUsage().heapUsed
}

/** Resident, each with its timer; what the store keeps is on disk. */
export async function memoryIdle(scratch: string): Promise<Figure> {
  let run = 0
  return {
    figure: 'memory.idle',
    what: `heap of each of ${idle} idle actors, resident`,
    unit: 'B',
    ours: {
      name: 'holdfast',
      run: async () => {
        const system = await createActorSystem({ store: lmdbStore(join(scratch, `idle-${run++}`)), machines: [agent], freeze: false, residentMax: 2 * idle }).start()
        const start = (from: number, count: number): Promise<unknown> => Promise.all(Array.from({ length: count }, (_, i) => system.actor(agent, `a-${from + i}`).start({ input: inputOf(from + i) })))
        // What is made once is not an actor's.
        await start(idle, 500)
        const before = await heapUsed()
        await start(0, idle)
        await system.settled()
        const bytes = ((await heapUsed()) - before) / idle
        await system.stop()
        return bytes
      },
    },
    against: [
      {
        name: 'createActor',
        target: '<= 0.4',
        run: async () => {
          for (let i = 0; i < 500; i++) createActor(agent, { input: inputOf(i) }).start().stop()
          const before = await heapUsed()
          const all = Array.from({ length: idle }, (_, i) => createActor(agent, { input: inputOf(i) }).start())
          const bytes = ((await heapUsed()) - before) / idle
          for (const actor of all) actor.stop()
          return bytes
        },
      },
    ],
  }
}

/** From what is stored to an actor that can take its next event. */
export async function restore(): Promise<Figure> {
  const n = 2_000
  const database = new MemoryDatabase()
  const store = new MemoryStore({ database })
  const system = await createActorSystem({ store, machines: [agent], freeze: false, shards: 1 }).start()
  const addresses = Array.from({ length: n }, (_, i) => `agent/a-${i}` as Address)
  await Promise.all(addresses.map((_, i) => system.actor(agent, `a-${i}`).start({ input: inputOf(i) })))
  await system.settled()
  const stored = await store.load(0, addresses)
  const definition = new MachineRegistry([agent]).newest('agent')!
  const host = { limits: defaultJsonLimits, freeze: false, largeValueCharsMin: 16_384, sendLater: () => {}, remote: (address: string) => new RemoteRef(address) }
  const texts = addresses.map((_, i) => {
    const actor = createActor(agent, { input: inputOf(i) }).start()
    const text = JSON.stringify(actor.getPersistedSnapshot())
    actor.stop()
    return text
  })
  const passes = 10
  const microsOf = (work: () => void) => async (): Promise<number> => 1e6 / (await rateOf(() => {
    for (let i = 0; i < passes; i++) work()
    return passes * n
  })())
  return {
    figure: 'restore',
    what: 'a stored actor, checked and read, until it can take its next event',
    unit: 'µs',
    ours: {
      name: 'a record',
      run: microsOf(() => {
        for (let i = 0; i < n; i++) {
          const { fields } = stored[i]!
          DurableRecord.decode(host, addresses[i]!, fields, readMeta(addresses[i]!, fields), definition)
        }
      }),
    },
    against: [
      {
        name: 'parse + createActor',
        target: '<= 0.5',
        run: microsOf(() => {
          for (const text of texts) createActor(agent, { snapshot: JSON.parse(text) as never, input: undefined as never }).start().stop()
        }),
      },
    ],
    end: () => system.stop(),
  }
}

/** Actors that are not in memory when their message comes. */
export async function passivated(): Promise<Figure> {
  const n = 2_000
  const fleet = async (residentMax: number): Promise<{ readonly run: () => Promise<number>; readonly end: () => Promise<void> }> => {
    const system = await createActorSystem({ store: new MemoryStore(), machines: [agent], freeze: false, residentMax }).start()
    const all = Array.from({ length: n }, (_, i) => system.actor(agent, `a-${i}`))
    await Promise.all(all.map((actor, i) => actor.start({ input: inputOf(i) })))
    let note = 0
    return {
      run: rateOf(async () => {
        note++
        await Promise.all(all.map((actor) => actor.send({ type: 'agent.note', note: String(note) })))
        return n
      }),
      end: () => system.stop(),
    }
  }
  const cold = await fleet(1)
  const warm = await fleet(n)
  return {
    figure: 'passivated',
    what: `${n} actors on the memory store at once, each read for its message`,
    unit: 'turns/s',
    ours: { name: 'passivated', run: cold.run },
    against: [{ name: 'resident', run: warm.run }],
    end: async () => {
      await cold.end()
      await warm.end()
    },
  }
}

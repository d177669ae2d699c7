/**
 * A node that is killed with 10,000 actors, each with a timer and a call under way, and another one that takes them over: when
 * all calls are under way again, and at what rate it reads them.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createActorSystem } from 'holdfast'
import { redisStore } from 'holdfast/redis'
import { Redis } from 'ioredis'
import { createActor, fromPromise, setup } from 'xstate'
import { RedisServer } from '../test/support/redis-server.js'
import type { Address } from '../src/runtime/identity.js'
import { rateOf, type Figure } from './figure.js'
import { DurableRecord, MachineRegistry, RemoteRef, defaultJsonLimits, readMeta } from './internals.js'
import { patienceMs } from './skeleton.js'

const count = 10_000
const leaseMs = 2_000
/** Actors read at once, as by src/runtime/recovery.ts. */
const pageMax = 256

/** Told of each call that begins. */
let onCall = (): void => {}

const waiter = setup({
  types: { context: {} as { goal: string; plan: readonly string[]; findings: readonly { claim: string; source: string; confidence: number }[] }, input: {} as { goal: string } },
  actors: {
    model: fromPromise<string, { goal: string }>(() => {
      onCall()
      return new Promise(() => {})
    }),
  },
}).createMachine({
  id: 'waiter',
  initial: 'working',
  context: ({ input }) => ({
    goal: input.goal,
    plan: ['Collect what the documents say about quantisation.', 'Collect what they say about speculative decoding.'],
    findings: [
      { claim: 'Weights of four bits keep nearly all of the quality of sixteen.', source: 'doc-12#4', confidence: 0.92 },
      { claim: 'A small draft model halves the latency of a large one.', source: 'doc-31#1', confidence: 0.81 },
    ],
  }),
  states: {
    working: { invoke: { id: 'model', src: 'model', input: ({ context }) => ({ goal: context.goal }), onDone: 'done', onError: 'failed' }, after: { [patienceMs]: 'failed' } },
    done: { type: 'final' },
    failed: { type: 'final' },
  },
})

const options = { machines: [waiter], leaseMs, freeze: false, residentMax: 2 * count, suspectMax: Infinity }

const goalOf = (i: number): string => `Summarise the state of research for reader ${i}, who has ten minutes.`

/** In a process of its own: begins the calls, says so, and waits to be killed. */
export async function work(url: string): Promise<never> {
  const system = await createActorSystem({ ...options, store: redisStore(url) }).start()
  await Promise.all(Array.from({ length: count }, (_, i) => system.actor(waiter, `w${i}`).start({ input: { goal: goalOf(i) } })))
  await system.settled()
  console.log('working')
  return new Promise(() => setInterval(() => {}, 1_000))
}

class Scene {
  private readonly server: RedisServer
  private readonly bare: Redis

  private constructor(server: RedisServer) {
    this.server = server
    this.bare = new Redis(server.url)
  }

  static async open(): Promise<Scene> {
    return new Scene(await RedisServer.start({ appendfsync: 'everysec' }))
  }

  async takeOver(): Promise<number> {
    await this.bare.flushall()
    const child = spawn(process.execPath, [process.argv[1]!, '--work', this.server.url], { stdio: ['ignore', 'pipe', 'inherit'] })
    const exited = once(child, 'exit')
    await Promise.race([once(child.stdout, 'data'), exited.then(() => Promise.reject(new Error('The node ended by itself.')))])
    const system = createActorSystem({ ...options, store: redisStore(this.server.url) })
    let called = 0
    const all = new Promise<void>((resolve) => (onCall = () => void (++called === count && resolve())))
    const began = performance.now()
    child.kill('SIGKILL')
    await Promise.all([system.start(), all])
    const ms = performance.now() - began
    await exited
    await system.stop()
    return ms
  }

  async close(): Promise<void> {
    this.bare.disconnect()
    await this.server.stop()
  }
}

export async function takeOverOfMany(): Promise<Figure> {
  const scene = await Scene.open()
  return {
    figure: 'takeover.10000',
    what: `from the death of a node with ${count} calls and timers under way until another one has begun all of them again; lease ${leaseMs} ms`,
    unit: 'ms',
    ours: { name: 'take-over', run: () => scene.takeOver() },
    against: [{ name: 'lease and 3 s', run: () => leaseMs + 3_000, target: '<= 1' }],
    end: () => scene.close(),
  }
}

/** What a take-over reads of each actor, until it is one that can go on, against the same without us. */
export async function takeOverReads(): Promise<Figure> {
  const server = await RedisServer.start({ appendfsync: 'everysec' })
  const bare = new Redis(server.url)
  const store = redisStore(server.url)
  const system = await createActorSystem({ ...options, store, shards: 1 }).start()
  const addresses = Array.from({ length: count }, (_, i) => `waiter/w${i}` as Address)
  await Promise.all(addresses.map((_, i) => system.actor(waiter, `w${i}`).start({ input: { goal: goalOf(i) } })))
  await system.settled()
  const actor = createActor(waiter, { input: { goal: goalOf(0) } }).start()
  const text = JSON.stringify(actor.getPersistedSnapshot())
  actor.stop()
  for (let i = 0; i < count; i++) await bare.set(`bare-${i}`, text)
  const records = (await bare.keys('*r:waiter/*')).toSorted()
  if (records.length !== count) throw new Error(`${records.length} records are there.`)
  const definition = new MachineRegistry([waiter]).newest('waiter')!
  const host = { limits: defaultJsonLimits, freeze: false, largeValueCharsMin: 16_384, sendLater: () => {}, remote: (address: string) => new RemoteRef(address) }
  const pages = async <T>(all: readonly T[], read: (page: readonly T[]) => Promise<void>): Promise<number> => {
    // Two at once, as the shards of a node read side by side.
    let next = 0
    const reader = async (): Promise<void> => {
      for (let from = next; from < all.length; from = next) {
        next = from + pageMax
        await read(all.slice(from, next))
      }
    }
    await Promise.all([reader(), reader()])
    return all.length
  }
  const bareReads = (all: readonly string[], command: 'get' | 'hgetall', parse: (answer: unknown) => void) =>
    rateOf(() =>
      pages(all, async (page) => {
        const pipeline = bare.pipeline()
        for (const key of page) pipeline[command](key)
        for (const [, answer] of (await pipeline.exec())!) parse(answer)
      }),
    )
  return {
    figure: 'takeover.reads',
    what: `${count} actors read from Redis by ${pageMax}, checked, and made such that they can go on`,
    unit: 'actors/s',
    ours: {
      name: 'records',
      run: rateOf(() =>
        pages(addresses, async (page) => {
          const stored = await store.load(0, page)
          stored.forEach((record, i) => DurableRecord.decode(host, page[i]!, record!.fields, readMeta(page[i]!, record!.fields), definition))
        }),
      ),
    },
    against: [
      { name: 'HGETALL + parse', target: '>= 0.7', run: bareReads(records, 'hgetall', (answer) => Object.values(answer as Record<string, string>).forEach((value) => void parsed(value))) },
      { name: 'GET of one text + parse', run: bareReads(addresses.map((_, i) => `bare-${i}`), 'get', (answer) => void JSON.parse(answer as string)) },
    ],
    end: async () => {
      await system.stop()
      bare.disconnect()
      await server.stop()
    },
  }
}

/** What a field holds behind its checksum; not every one is JSON. */
function parsed(value: string): unknown {
  const text = value.slice(8)
  return /^[[{"]/.test(text) ? JSON.parse(text) : text
}

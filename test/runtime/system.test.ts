import { beforeEach, describe, expect, test } from 'vitest'
import { assign, fromPromise, setup } from 'xstate'
import { MemoryDatabase, MemoryStore } from '../../src/adapters/memory/index.js'
import { createActorSystem, createClient, type ActorSystem } from '../../src/index.js'
import { VirtualClock } from '../../src/testing/index.js'

const counter = setup({
  types: { context: {} as { n: number }, events: {} as { type: 'add'; by: number } | { type: 'end' } },
}).createMachine({
  id: 'counter',
  context: { n: 0 },
  initial: 'counting',
  output: ({ context }) => context.n,
  states: {
    counting: { on: { add: { actions: assign({ n: ({ context, event }) => context.n + event.by }) }, end: 'over' } },
    over: { type: 'final' },
  },
})

test('an actor counts, is done, and gives its output', async () => {
  const system = await createActorSystem({ store: new MemoryStore(), machines: [counter] }).start()
  const actor = system.actor(counter, 'c-1')
  await actor.send({ type: 'add', by: 2 })
  await actor.send({ type: 'add', by: 3 })
  expect((await actor.snapshot())?.context).toEqual({ n: 5 })
  await actor.send({ type: 'end' })
  expect(await actor.output()).toBe(5)
  await system.stop()
})

const worker = setup({
  types: { context: {} as { got: string; input: string }, input: {} as { name: string } },
  actors: { job: fromPromise(async ({ input }: { input: string }) => `done ${input}`) },
}).createMachine({
  id: 'worker',
  context: ({ input }) => ({ got: '', input: input.name }),
  initial: 'working',
  states: {
    working: {
      invoke: { src: 'job', input: ({ context }) => context.input, onDone: { target: 'resting', actions: assign({ got: ({ event }) => event.output }) } },
    },
    resting: { after: { 20: 'over' } },
    over: { type: 'final' },
  },
})

test('a promise and a timer', async () => {
  const system = await createActorSystem({ store: new MemoryStore(), machines: [worker] }).start()
  const actor = system.actor(worker, 'w-1')
  await expect(actor.send({ type: 'x' } as never)).rejects.toThrow('never started')
  await actor.start({ input: { name: 'a' } })
  await actor.output()
  expect((await actor.snapshot())?.context.got).toBe('done a')
  await system.stop()
})

describe('while another process runs the actors', () => {
  const light = setup({ types: { events: {} as { type: 'go' } } }).createMachine({ id: 'light', initial: 'red', states: { red: { on: { go: 'amber' } }, amber: { after: { 500: 'green' } }, green: {} } })
  let clock: VirtualClock
  let database: MemoryDatabase
  const process = (): ActorSystem => createActorSystem({ store: new MemoryStore({ database, now: () => 1e12 + clock.now() }), machines: [light], shards: 2, leaseMs: 3_000, clock })
  /** Lets time pass in steps, each with room for what it leads to. */
  const pass = async (ms: number): Promise<void> => {
    for (let left = ms; left > 0; left -= 250) {
      clock.runUntil(clock.now() + 250)
      for (let i = 0; i < 30; i++) await new Promise<void>((resolve) => void setImmediate(resolve))
    }
  }
  beforeEach(() => {
    clock = new VirtualClock()
    database = new MemoryDatabase()
  })

  test.each(['stops', 'dies'] as const)('a second one stands by, and takes over when the first %s', async (how) => {
    const first = await process().start()
    const starting = process().start()
    // It looks for the length of a lease whether the first one lives.
    await pass(4_000)
    const second = await starting
    expect([first.role, second.role]).toEqual(['owner', 'client'])
    await second.actor(light, 'l').send({ type: 'go' })
    const handle = second.actor(light, 'l')
    const drained: unknown[] = []
    second.drain('none', (entries) => Promise.resolve(void drained.push(...entries)))
    await pass(250)
    if (how === 'stops') await first.stop()
    else first.abandon()
    await pass(10_000)
    expect(second.role).toBe('owner')
    expect((await handle.snapshot())?.value).toBe('green')
    expect((await second.actor(light, 'l').snapshot())?.value).toBe('green')
    await second.actor(light, 'm').send({ type: 'go' })
    expect((await second.actor(light, 'm').snapshot())?.value).toBe('amber')
    await second.stop()
  })

  test('one that is stopped while it stands by takes nothing over, and a client by choice never does', async () => {
    const first = await process().start()
    const starting = process().start()
    await pass(4_000)
    const second = await starting
    const client = await createClient({ store: new MemoryStore({ database, now: () => 1e12 + clock.now() }), machines: [light], clock })
    await second.stop()
    await first.stop()
    await pass(10_000)
    const third = await process().start()
    expect(third.role).toBe('owner')
    await client.stop()
    await third.stop()
  })
})

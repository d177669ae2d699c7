import { expect, test, vi } from 'vitest'
import { assign, createActor, emit, setup } from 'xstate'
import { MemoryDatabase, MemoryStore } from '../../src/adapters/memory/index.js'
import { createActorSystem, createClient } from '../../src/index.js'
import { RecordingLogger, aWorld, counter } from '../support/worlds.js'
import { addressesOf } from '../support/found.js'

const needy = setup({
  types: { context: {} as { name: string }, input: {} as { name: string }, events: {} as { type: 'rename'; name: string } },
}).createMachine({
  id: 'needy',
  context: ({ input }) => ({ name: input.name }),
  on: { rename: { actions: assign({ name: ({ event }) => event.name }) } },
})

test('an actor that needs no input is started by its first event', async () => {
  const { system } = await aWorld({ machines: [counter] })
  const actor = system.actor(counter, 'a')
  expect(await actor.snapshot()).toBeUndefined()
  await actor.send({ type: 'add', by: 2 })
  expect((await actor.snapshot())?.context.n).toBe(2)
  expect((await actor.snapshot())?.matches('counting')).toBe(true)
})

test('an event to an actor that was never started and needs input is refused', async () => {
  const { system } = await aWorld({ machines: [needy] })
  await expect(system.actor(needy, 'a').send({ type: 'rename', name: 'x' })).rejects.toMatchObject({ code: 'ACTOR_NOT_STARTED', address: 'needy/a' })
  await system.actor(needy, 'a').start({ input: { name: 'first' } })
  await system.actor(needy, 'a').send({ type: 'rename', name: 'second' })
  expect((await system.actor(needy, 'a').snapshot())?.context).toEqual({ name: 'second' })
})

test('a repeated start does nothing with equal input and is refused with other input', async () => {
  const { system } = await aWorld({ machines: [needy] })
  const actor = system.actor(needy, 'a')
  await actor.start({ input: { name: 'x' } })
  await actor.send({ type: 'rename', name: 'y' })
  await actor.start({ input: { name: 'x' } })
  expect((await actor.snapshot())?.context).toEqual({ name: 'y' })
  await expect(actor.start({ input: { name: 'z' } })).rejects.toMatchObject({ code: 'ACTOR_EXISTS' })
})

test('two starts at the same time with different input: one is told', async () => {
  const { system } = await aWorld({ machines: [needy] })
  const actor = system.actor(needy, 'a')
  const results = await Promise.allSettled([actor.start({ input: { name: 'x' } }), actor.start({ input: { name: 'z' } })])
  expect(results.map((r) => r.status)).toEqual(['fulfilled', 'rejected'])
})

test('a repeated message id is a no-op, also after a crash', async () => {
  const world = await aWorld({ machines: [counter] })
  await world.system.actor(counter, 'a').send({ type: 'add', by: 1 }, { id: 'one' })
  await world.system.actor(counter, 'a').send({ type: 'add', by: 1 }, { id: 'one' })
  world.crash()
  await world.start()
  await world.system.actor(counter, 'a').send({ type: 'add', by: 1 }, { id: 'one' })
  await world.system.actor(counter, 'a').send({ type: 'add', by: 1 }, { id: 'two' })
  await world.settled()
  expect((await world.system.actor(counter, 'a').snapshot())?.context.n).toBe(2)
})

test('messages of one sender are handled in the order they were sent', async () => {
  const world = await aWorld({ machines: [counter] })
  const actor = world.system.actor(counter, 'a')
  await Promise.all(Array.from({ length: 500 }, (_, i) => actor.send({ type: 'note', text: String(i) }, i % 7 === 0 ? { id: `id-${i}` } : {})))
  await world.settled()
  const { log } = (await actor.snapshot())!.context
  expect(log).toEqual(Array.from({ length: 500 }, (_, i) => String(i)))
})

test('subscribers see every turn in order, waitFor the first that fits, output the end', async () => {
  const { system } = await aWorld({ machines: [counter] })
  const actor = system.actor(counter, 'a')
  const seen: number[] = []
  const { unsubscribe } = actor.subscribe((snapshot) => seen.push(snapshot.context.n))
  const three = actor.waitFor((snapshot) => snapshot.context.n === 3)
  await Promise.all([1, 1, 1, 1, 1].map((by) => actor.send({ type: 'add', by })))
  expect((await three).context.n).toBe(3)
  expect(seen).toEqual([1, 2, 3, 4, 5])
  unsubscribe()
  await actor.send({ type: 'end' })
  expect(seen).toEqual([1, 2, 3, 4, 5])
  expect(await actor.output()).toBe(5)
  expect(await actor.status()).toBe('done')
})

test('waitFor ends with a deadline, a failure or an end that it did not wait for', async () => {
  const world = await aWorld({ machines: [counter] })
  const { system } = world
  const late = system.actor(counter, 'late').waitFor(() => false, { deadlineMs: 100 })
  late.catch(() => {})
  await world.advance(100)
  await expect(late).rejects.toMatchObject({ code: 'DEADLINE', deadlineMs: 100 })
  const failing = system.actor(counter, 'failing').waitFor(() => false)
  failing.catch(() => {})
  await system.actor(counter, 'failing').send({ type: 'throw' })
  await expect(failing).rejects.toMatchObject({ code: 'ACTOR_FAILED' })
  const done = system.actor(counter, 'done').waitFor(() => false)
  done.catch(() => {})
  await system.actor(counter, 'done').send({ type: 'end' })
  await expect(done).rejects.toMatchObject({ code: 'ACTOR_ENDED' })
  await expect(system.actor(counter, 'done').waitFor(() => false)).rejects.toMatchObject({ code: 'ACTOR_ENDED' })
})

test('waitFor and output end with their signal, and nothing is listened to any more', async () => {
  const { system } = await aWorld({ machines: [counter] })
  const actor = system.actor(counter, 'a')
  await actor.send({ type: 'add', by: 1 })
  const { subscriptions } = system as unknown as { subscriptions: { turns: { listeners: Map<string, unknown> } } }
  const { gateway } = actor as unknown as { gateway: { ending: { waiting: Set<unknown> } } }
  const aborting = new AbortController()
  const { signal } = aborting
  let judged = 0
  const waits = [actor.waitFor(() => (judged++, false), { signal }), actor.output({ signal, deadlineMs: 1_000 })].map((wait) => wait.then(() => 'fulfilled', (error: unknown) => error))
  await expect.poll(() => judged).toBe(1)
  aborting.abort(new Error('enough'))
  expect(await Promise.all(waits)).toEqual([new Error('enough'), new Error('enough')])
  expect([subscriptions.turns.listeners.size, gateway.ending.waiting.size]).toEqual([0, 0])
  await actor.send({ type: 'add', by: 1 })
  await expect(actor.waitFor(() => (judged++, true), { signal })).rejects.toThrow('enough')
  expect(judged).toBe(1)
  expect((await actor.waitFor(({ context }) => context.n === 2, { signal: new AbortController().signal })).context.n).toBe(2)
  await expect(actor.waitFor(() => true, { signal: {} as AbortSignal })).rejects.toMatchObject({ code: 'CONFIG' })
})

test('what a deadline has cut off is not kept', async () => {
  const world = await aWorld({ machines: [counter] })
  const actor = world.system.actor(counter, 'a')
  const { gateway } = actor as unknown as { gateway: { ending: { waiting: Set<unknown> } } }
  const late = actor.waitFor(() => false, { deadlineMs: 100 })
  late.catch(() => {})
  await world.advance(100)
  await expect(late).rejects.toMatchObject({ code: 'DEADLINE' })
  expect(gateway.ending.waiting.size).toBe(0)
})

test('a throwing listener harms nobody', async () => {
  const logger = new RecordingLogger()
  const { system } = await aWorld({ machines: [counter], logger })
  const actor = system.actor(counter, 'a')
  const seen: number[] = []
  actor.subscribe(() => {
    throw new Error('listener')
  })
  actor.subscribe((snapshot) => seen.push(snapshot.context.n))
  await actor.send({ type: 'add', by: 1 })
  await actor.send({ type: 'add', by: 1 })
  expect(seen).toEqual([1, 2])
  expect(logger.lines.filter((line) => line.message === 'a listener threw')).toHaveLength(2)
})

test('emitted events reach those who listen for them, after the commit', async () => {
  const teller = setup({ types: { events: {} as { type: 'tell'; n: number }, emitted: {} as { type: 'told'; n: number } | { type: 'other' } } }).createMachine({
    id: 'teller',
    on: { tell: { actions: [emit(({ event }) => ({ type: 'told', n: event.n })), emit({ type: 'other' })] } },
  })
  const { system } = await aWorld({ machines: [teller] })
  const actor = system.actor(teller, 'a')
  const told: number[] = []
  const all: string[] = []
  actor.on('told', (event) => told.push(event.n))
  const { unsubscribe } = actor.on('*', (event) => all.push(event.type))
  await actor.send({ type: 'tell', n: 1 })
  unsubscribe()
  await actor.send({ type: 'tell', n: 2 })
  expect(told).toEqual([1, 2])
  expect(all).toEqual(['told', 'other'])
})

test('a stopped actor takes no more events', async () => {
  const { system } = await aWorld({ machines: [counter] })
  const actor = system.actor(counter, 'a')
  await actor.send({ type: 'add', by: 1 })
  await actor.stop()
  expect(await actor.status()).toBe('stopped')
  await actor.send({ type: 'add', by: 1 })
  expect((await actor.snapshot())?.context.n).toBe(1)
  expect(system.stats().deadLetters).toBe(1)
})

test('what persisted gives, createActor goes on from', async () => {
  const { system } = await aWorld({ machines: [counter] })
  await system.actor(counter, 'a').send({ type: 'add', by: 4 })
  const native = createActor(counter, { snapshot: (await system.actor(counter, 'a').persisted()) as never }).start()
  native.send({ type: 'add', by: 1 })
  expect(native.getSnapshot().context.n).toBe(5)
})

test('an event of a type the machine does not know is counted and reported', async () => {
  const logger = new RecordingLogger()
  const { system } = await aWorld({ machines: [counter], logger })
  await system.actor(counter, 'a').send({ type: 'nonsense' } as never)
  expect(system.stats().unknownEvents).toBe(1)
  expect(logger.lines).toContainEqual(expect.objectContaining({ level: 'warn', actor: 'counter/a', event: 'nonsense' }))
  expect((await system.actor(counter, 'a').snapshot())?.context.n).toBe(0)
})

test('actors are found by machine and key', async () => {
  const { system } = await aWorld({ machines: [counter, needy] })
  for (const id of ['a', 'b', 'c']) await system.actor(counter, id).send({ type: 'add', by: 1 })
  await system.actor(needy, 'b').start({ input: { name: 'x' } })
  expect(addressesOf(await system.find({ machine: 'counter' }))).toEqual(['counter/a', 'counter/b', 'counter/c'])
  expect(addressesOf(await system.find({ key: 'b' }))).toEqual(['counter/b', 'needy/b'])
  const first = await system.find({ limit: 2 })
  expect(addressesOf(first)).toEqual(['counter/a', 'counter/b'])
  expect(addressesOf(await system.find({ limit: 2, cursor: first.cursor! }))).toEqual(['counter/c', 'needy/b'])
})

test('a client sends and looks on the same store, while the owner runs the actors', async () => {
  const database = new MemoryDatabase()
  const system = await createActorSystem({ store: new MemoryStore({ database }), machines: [counter] }).start()
  const client = await createClient({ store: new MemoryStore({ database }), machines: [counter] })
  const actor = client.actor(counter, 'a')
  const two = actor.waitFor((snapshot) => snapshot.context.n === 2)
  await actor.send({ type: 'add', by: 1 })
  await actor.send({ type: 'add', by: 1 })
  expect((await two).context.n).toBe(2)
  expect(addressesOf(await client.find())).toEqual(['counter/a'])
  await actor.send({ type: 'end' })
  expect(await actor.output()).toBe(2)
  // Without the machine, one can still send and see how it stands.
  const blind = await createClient({ store: new MemoryStore({ database }) })
  expect(await blind.actorAt('counter/a').status()).toBe('done')
  await blind.stop()
  await client.stop()
  await system.stop()
})

test('a second system on a namespace whose owner lives is a client', async () => {
  const database = new MemoryDatabase()
  const isAlive = (): boolean => true
  const first = await createActorSystem({ store: new MemoryStore({ database, isAlive }), machines: [counter] }).start()
  const second = await createActorSystem({ store: new MemoryStore({ database, isAlive }), machines: [counter] }).start()
  expect([first.role, second.role]).toEqual(['owner', 'client'])
  await second.actor(counter, 'a').send({ type: 'add', by: 3 })
  expect((await second.actor(counter, 'a').waitFor((s) => s.context.n === 3)).context.n).toBe(3)
  await first.stop()
  const third = await createActorSystem({ store: new MemoryStore({ database, isAlive }), machines: [counter] }).start()
  expect(third.role).toBe('owner')
  expect((await third.actor(counter, 'a').snapshot())?.context.n).toBe(3)
})

test('calls before the start and after the stop say so', async () => {
  const system = createActorSystem({ store: new MemoryStore(), machines: [counter] })
  expect(() => system.actor(counter, 'a')).toThrow(/start/i)
  await system.start()
  const actor = system.actor(counter, 'a')
  await system.stop()
  await expect(actor.send({ type: 'end' })).rejects.toMatchObject({ code: 'STOPPED' })
  expect(() => system.actor(counter, 'a')).toThrow(/stopped/)
})

test('settled resolves when nothing is left to do, nextDue says when there will be', async () => {
  const sleeper = setup({}).createMachine({ id: 'sleeper', initial: 'asleep', states: { asleep: { after: { 700: 'awake' } }, awake: {} } })
  const world = await aWorld({ machines: [sleeper, counter] })
  expect(await world.system.clock.nextDue()).toBeUndefined()
  await world.system.actor(sleeper, 'a').start({})
  expect(await world.system.clock.nextDue()).toBe(world.now() + 700)
  await world.system.actor(counter, 'b').send({ type: 'add', by: 1 })
  await world.system.settled()
  expect(await world.system.actor(sleeper, 'a').waitFor((s) => s.matches('asleep'))).toBeDefined()
  await world.advance(700)
  expect((await world.system.actor(sleeper, 'a').snapshot())?.value).toBe('awake')
})

test('logs carry no payload', async () => {
  const logger = new RecordingLogger()
  const spy = vi.spyOn(console, 'log')
  const world = await aWorld({ machines: [counter], logger })
  await world.system.actor(counter, 'a').send({ type: 'note', text: 'canary-4711' })
  await world.system.actor(counter, 'a').send({ type: 'nonsense', text: 'canary-4711' } as never)
  await world.system.actor(counter, 'a').send({ type: 'throw', text: 'canary-4711' } as never)
  await world.system.actor(counter, 'a').send({ type: 'note', text: 'canary-4711' })
  await world.settled()
  expect(logger.lines.length).toBeGreaterThan(3)
  expect(JSON.stringify(logger.lines)).not.toContain('canary')
  expect(spy).not.toHaveBeenCalled()
})

/** Passivation, end of life, quarantine, takeover: how long things are kept, and by whom. */
import { expect, test } from 'vitest'
import { assign, createMachine, fromPromise, setup } from 'xstate'
import { MemoryDatabase, MemoryStore } from '../../src/adapters/memory/index.js'
import { createActorSystem, createClient, durableChild, repeatable } from '../../src/index.js'
import { World } from '../../src/testing/index.js'
import { RecordingLogger, aWorld, counter } from '../support/worlds.js'

test('idle actors leave memory beyond the bound and come back with their next message', async () => {
  const world = await aWorld({ machines: [counter], residentMax: 20, shards: 2 })
  const n = 200
  for (let i = 0; i < n; i++) await world.system.actor(counter, `c-${i}`).send({ type: 'add', by: i })
  await world.settled()
  expect(world.system.stats().resident).toBeLessThanOrEqual(20)
  for (let i = 0; i < n; i += 17) await world.system.actor(counter, `c-${i}`).send({ type: 'add', by: 1 })
  for (let i = 0; i < n; i++) expect((await world.system.actor(counter, `c-${i}`).snapshot())?.context.n).toBe(i + (i % 17 === 0 ? 1 : 0))
  expect(world.system.stats().resident).toBeLessThanOrEqual(22)
})

test('an actor that left memory while its effect ran still hears of the outcome', async () => {
  let world: World
  const machine = setup({
    types: { context: {} as { got: number } },
    actors: {
      job: repeatable(async () => {
        await world.sleep(100)
        return 5
      }),
    },
  }).createMachine({
    id: 'm',
    context: { got: 0 },
    initial: 'a',
    states: { a: { invoke: { src: 'job', onDone: { target: 'b', actions: assign({ got: ({ event }) => event.output }) } } }, b: { type: 'final' } },
  })
  world = await aWorld({ machines: [machine, counter], residentMax: 2, shards: 1 })
  await world.system.actor(machine, 'x').start({})
  for (let i = 0; i < 10; i++) await world.system.actor(counter, `c-${i}`).send({ type: 'add', by: 1 })
  await world.advance(100)
  expect((await world.system.actor(machine, 'x').snapshot())?.context.got).toBe(5)
  expect(world.system.stats().effects).toBe(0)
})

test('the record of an ended actor goes after its time; then the id can be used again', async () => {
  const world = await aWorld({ machines: [counter], endedRetentionMs: 10_000, shards: 1 })
  const actor = world.system.actor(counter, 'a')
  await actor.send({ type: 'add', by: 3 })
  await actor.send({ type: 'end' })
  await world.advance(9_999)
  expect(await actor.output()).toBe(3)
  await actor.send({ type: 'add', by: 1 })
  await world.settled()
  expect(world.system.stats().deadLetters).toBe(1)
  await world.advance(1)
  expect(await actor.status()).toBeUndefined()
  expect(await world.system.find()).toEqual({ actors: [] })
  const stored = world.database.namespaces.get('default')!.shards[0]!
  expect([stored.records.size, stored.timers.size, stored.effects.size, stored.parked.size, stored.terms.size]).toEqual([0, 0, 0, 0, 0])
  await actor.send({ type: 'add', by: 1 })
  expect((await actor.snapshot())?.context.n).toBe(1)
})

test('remembered ids go after their time', async () => {
  const world = await aWorld({ machines: [counter], idRetentionMs: 200_000, shards: 1 })
  const actor = world.system.actor(counter, 'a')
  await actor.send({ type: 'add', by: 1 }, { id: 'one' })
  await world.advance(199_999)
  await actor.send({ type: 'add', by: 1 }, { id: 'one' })
  expect((await actor.snapshot())?.context.n).toBe(1)
  await world.advance(1)
  await actor.send({ type: 'add', by: 1 }, { id: 'one' })
  await world.settled()
  expect((await actor.snapshot())?.context.n).toBe(2)
  for (let i = 0; i < 50; i++) await actor.send({ type: 'add', by: 1 }, { id: `id-${i}` })
  await world.advance(200_000)
  await actor.send({ type: 'add', by: 1 })
  expect(world.database.namespaces.get('default')!.shards[0]!.ids.size).toBeLessThan(10)
})

test('parked messages of an expired actor become dead letters', async () => {
  const failing = setup({
    actions: {
      bad: assign(() => {
        throw new Error('bad')
      }),
    },
  }).createMachine({ id: 'kid', on: { bad: { actions: 'bad' } } })
  const parent = setup({ actions: { hire: durableChild(() => ({ machine: 'kid', id: 'k' })) } }).createMachine({ id: 'parent', on: { hire: { actions: 'hire' } } })
  const world = new World({ machines: [parent, failing], shards: 1, endedRetentionMs: 10_000 })
  await world.start()
  await world.system.actor(parent, 'p').send({ type: 'hire' })
  await world.settled()
  const kid = world.system.actorAt('kid/p~k')
  await kid.send({ type: 'bad' } as never)
  for (let i = 0; i < 5; i++) await kid.send({ type: 'x', i } as never)
  await world.settled()
  expect(world.system.stats().parked).toBe(5)
  await world.advance(10_000)
  expect(await kid.status()).toBeUndefined()
  const { letters } = await world.system.deadLetters({ key: 'p' })
  expect(letters.map((letter) => (letter.message.body as { i: number }).i)).toEqual([0, 1, 2, 3, 4])
})

// ── What kills the process ──

/** A machine whose event kills the process that handles it, as out-of-memory or a native crash would. */
function killer(world: () => World) {
  return setup({
    types: { context: {} as { n: number; victims: number }, events: {} as { type: 'kill' } | { type: 'add' } },
    actions: {
      kill: assign(() => {
        world().crash()
        return {}
      }),
      add: assign({ n: ({ context }) => context.n + 1 }),
    },
  }).createMachine({ id: 'killer', context: { n: 0, victims: 0 }, on: { kill: { actions: 'kill' }, add: { actions: 'add' } } })
}

test('a message that goes on killing the process is parked with its evidence, its actor set aside; others go on', async () => {
  let world: World
  const logger = new RecordingLogger()
  const machine = killer(() => world)
  world = new World({ machines: [machine, counter], shards: 1, logger })
  await world.start()
  await world.system.actor(machine, 'k').send({ type: 'add' })
  // Sent by another process, so that all of them stand in the log.
  const client = await createClient({ store: new MemoryStore({ database: world.database, now: () => world.now() }) })
  for (const type of ['kill', 'add', 'add']) await client.actorAt('killer/k').send({ type } as never)
  await client.actorAt('counter/c').send({ type: 'add', by: 1 } as never)
  let deaths = 0
  for (let i = 0; i < 10; i++) {
    const alive = await world.settled()
    if (alive) break
    deaths++
    await world.start()
  }
  // Once in a process that suspected nothing, and three times counted.
  expect(deaths).toBe(4)
  expect(await world.system.actor(machine, 'k').status()).toBe('active')
  expect((await world.system.actor(machine, 'k').snapshot())?.context.n).toBe(1)
  expect((await world.system.actor(counter, 'c').snapshot())?.context.n).toBe(1)
  expect(logger.lines).toContainEqual(expect.objectContaining({ level: 'error', actor: 'killer/k', message: expect.stringContaining('quarantined') }))
  // Another restart leaves it aside.
  world.crash()
  await world.start()
  await world.settled()
  expect((await world.system.actor(machine, 'k').snapshot())?.context.n).toBe(1)
  // Redriven while it still kills, it is counted anew.
  const redriven = world.system.redrive('killer/k')
  await Promise.race([redriven, world.died])
  await Promise.race([world.settled(), world.died])
  expect(world.alive).toBe(false)
})

test('an action that kills the process is counted the same way, and an effect', async () => {
  let world: World
  const effectRuns: number[] = []
  const machine = setup({
    actions: { kill: () => world.crash() },
    actors: { kill: fromPromise(async () => (effectRuns.push(world.generation), world.crash(), 1)) },
  }).createMachine({ id: 'm', initial: 'a', states: { a: { on: { act: { actions: 'kill' }, run: 'b' } }, b: { invoke: { src: 'kill', onDone: 'a' } } } })
  for (const type of ['act', 'run']) {
    world = new World({ machines: [machine, counter], shards: 1 })
    await world.start()
    await world.system.actor(machine, 'x').start({})
    void world.system.actor(machine, 'x').send({ type }).catch(() => {})
    await world.died
    let deaths = 1
    for (let i = 0; i < 10; i++) {
      if ((await world.start()) && (await world.settled())) break
      deaths++
    }
    // Once at first, and three times counted.
    expect([type, deaths]).toEqual([type, 4])
    await world.system.actor(counter, 'c').send({ type: 'add', by: 1 })
    expect((await world.system.actor(counter, 'c').snapshot())?.context.n).toBe(1)
  }
})

test('after a clean stop nothing is suspected', async () => {
  let world: World
  const machine = killer(() => world)
  world = new World({ machines: [machine], shards: 1 })
  await world.start()
  await world.system.actor(machine, 'k').send({ type: 'add' })
  await world.system.stop()
  await world.start()
  await world.system.actor(machine, 'k').send({ type: 'add' })
  await world.settled()
  expect(world.database.namespaces.get('default')!.shards[0]!.suspects.size).toBe(0)
  expect((await world.system.actor(machine, 'k').snapshot())?.context.n).toBe(2)
})

// ── Takeover ──

test('an owner whose shards were taken over commits nothing more; what it is sent goes to the new owner', async () => {
  const database = new MemoryDatabase()
  const alive = new Set(['one', 'two'])
  const store = (): MemoryStore => new MemoryStore({ database, isAlive: (node) => alive.has(node.id) })
  const one = await createActorSystem({ store: store(), machines: [counter], shards: 1, node: { id: 'one' } }).start()
  await one.actor(counter, 'a').send({ type: 'add', by: 1 })
  // Frozen, as by SIGSTOP, while another node thinks it dead.
  alive.delete('one')
  const two = await createActorSystem({ store: store(), machines: [counter], shards: 1, node: { id: 'two' } }).start()
  expect(two.role).toBe('owner')
  await two.actor(counter, 'a').send({ type: 'add', by: 10 })
  // It does not know yet: this is refused by the fence, and appended for the new owner.
  await one.actor(counter, 'a').send({ type: 'add', by: 100 })
  expect((await one.actor(counter, 'a').waitFor((snapshot) => snapshot.context.n === 111)).context.n).toBe(111)
  expect(one.role).toBe('client')
  await two.stop()
})

test('a shard whose store lost its tail is read again from what is stored, where that is not to halt it', async () => {
  const world = await aWorld({ machines: [counter], shards: 1, logger: new RecordingLogger(), onRollback: 'go-on' })
  await world.system.actor(counter, 'a').send({ type: 'add', by: 1 })
  await world.settled()
  const stored = world.database.namespaces.get('default')!.shards[0]!
  const before = new Map(stored.records.get('counter/a'))
  const { number } = stored
  await world.system.actor(counter, 'a').send({ type: 'add', by: 10 })
  await world.settled()
  stored.records.set('counter/a', before)
  stored.number = number
  await world.system.actor(counter, 'a').send({ type: 'add', by: 100 })
  await world.settled()
  expect((await world.system.actor(counter, 'a').snapshot())?.context.n).toBe(101)
})

test('a shard goes on although its store fails, loses replies and answers late', async () => {
  for (const fault of ['fail', 'lose-reply', { delayMs: 20 }] as const) {
    let countdown = 0
    const world = new World({ machines: [counter], shards: 1, onWrite: (write) => (write.kind !== 'claim' && ++countdown % 3 === 0 ? fault : undefined) })
    await world.start()
    const actors = ['a', 'b', 'c'].map((id) => world.system.actor(counter, id))
    const sends = Promise.all(Array.from({ length: 90 }, (_, i) => actors[i % 3]!.send({ type: 'note', text: String(i) })))
    let done = false
    void sends.then(() => (done = true))
    for (let i = 0; i < 400 && !done; i++) {
      await new Promise((resolve) => setImmediate(resolve))
      const due = world.time.nextDue()
      if (due !== undefined) world.time.runUntil(due)
    }
    await sends
    await world.advance(1_000)
    for (const [i, actor] of actors.entries()) {
      expect((await actor.snapshot())?.context.log, JSON.stringify(fault)).toEqual(Array.from({ length: 30 }, (_, k) => String(3 * k + i)))
    }
  }
})

test('a start is refused when the machine is not known to this process, and its messages wait', async () => {
  const other = createMachine({ id: 'other' })
  const world = await aWorld({ machines: [counter] })
  expect(() => world.system.actor(other, 'x')).toThrowError(expect.objectContaining({ code: 'UNKNOWN_MACHINE' }) as Error)
})

test('a context whose own keys look like marks of the runtime, or like numbers, is read back as it was', async () => {
  const context = { 10: 'ten', xstate$$type: 1, id: 'x', n: 0, b: { xstate$$type: 'data', entries: [] }, a: [{ xstate$$type: 1, id: 'y' }], '': 'empty', 'c:d e"f': null }
  const odd = setup({ types: { context: {} as Record<string, unknown>, events: {} as { type: 'drop' } } }).createMachine({
    id: 'odd',
    context: () => structuredClone(context),
    on: { drop: { actions: assign({ id: undefined, later: 1 }) } },
  })
  const world = await aWorld({ machines: [odd] })
  await world.system.actor(odd, 'o').start({})
  world.crash()
  await world.start()
  const actor = world.system.actor(odd, 'o')
  expect((await actor.snapshot())!.context).toEqual(context)
  await actor.send({ type: 'drop' })
  world.crash()
  await world.start()
  const { id: _, ...rest } = context
  expect((await world.system.actor(odd, 'o').snapshot())!.context).toEqual({ ...rest, later: 1 })
})

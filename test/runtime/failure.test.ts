/** What a throw means, where it happens, and what is left of the actor (contract 4, I9). */
import { expect, test } from 'vitest'
import { assign, createMachine, fromCallback, fromPromise, sendTo, setup } from 'xstate'
import { RecordingLogger, aWorld, counter } from '../support/worlds.js'

test('a throw in a turn fails the actor: last good snapshot, error and event are kept, nothing of the turn happens', async () => {
  const sent: unknown[] = []
  const machine = setup({
    types: { context: {} as { n: number } },
    actions: {
      count: assign({ n: ({ context }) => context.n + 1 }),
      tell: () => sent.push('told'),
      fail: assign(() => {
        throw Object.assign(new TypeError('no luck'), { code: 'LUCK' })
      }),
    },
    actors: { job: fromPromise(async () => sent.push('started')) },
  }).createMachine({
    id: 'm',
    context: { n: 0 },
    initial: 'a',
    states: { a: { on: { ok: { actions: 'count' }, bad: { target: 'b', actions: ['count', 'tell'] } } }, b: { invoke: { src: 'job' }, after: { 10: 'a' }, entry: 'fail' } },
  })
  const logger = new RecordingLogger()
  const world = await aWorld({ machines: [machine, counter], logger, shards: 1 })
  const actor = world.system.actor(machine, 'a')
  await actor.send({ type: 'ok' })
  await Promise.all([actor.send({ type: 'bad', detail: [1] } as never), world.system.actor(counter, 'c').send({ type: 'add', by: 1 })])
  const failure = await actor.failure()
  expect(failure).toMatchObject({ error: { name: 'TypeError', message: 'no luck', code: 'LUCK' }, event: { type: 'bad', detail: [1] }, at: world.now() })
  expect(failure?.error.stack).toContain('no luck')
  expect(failure?.snapshot?.context).toEqual({ n: 1 })
  expect(failure?.snapshot?.value).toBe('a')
  expect(await actor.status()).toBe('failed')
  expect((await world.system.actor(counter, 'c').snapshot())?.context.n).toBe(1)
  await world.advance(100)
  expect(sent).toEqual([])
  // It survives a restart of the process as it is.
  world.crash()
  await world.start()
  expect((await world.system.actor(machine, 'a').failure())?.error.message).toBe('no luck')
  expect((await world.system.actor(machine, 'a').snapshot())?.context).toEqual({ n: 1 })
})

test('messages to a failed actor without a supervisor become dead letters', async () => {
  const { system } = await aWorld({ machines: [counter], shards: 1 })
  const actor = system.actor(counter, 'a')
  await actor.send({ type: 'throw' })
  await actor.send({ type: 'add', by: 1 })
  await system.settled()
  expect(system.stats().deadLetters).toBe(1)
  const { letters: [letter] } = await system.deadLetters({ actor: 'counter/a' })
  expect(letter).toMatchObject({ reason: 'failed', to: 'counter/a' })
  expect(letter!.message).toMatchObject({ kind: 'event', body: { type: 'add', by: 1 } })
})

test('if the start itself fails there is no last good snapshot', async () => {
  const machine = setup({ types: { input: {} as { ok: boolean }, context: {} as object } }).createMachine({
    id: 'm',
    context: ({ input }) => {
      if (!input.ok) throw new Error('cannot start')
      return {}
    },
  })
  const { system } = await aWorld({ machines: [machine] })
  await system.actor(machine, 'a').start({ input: { ok: false } })
  expect(await system.actor(machine, 'a').failure()).toMatchObject({ error: { message: 'cannot start' }, snapshot: undefined })
  expect(await system.actor(machine, 'a').snapshot()).toBeUndefined()
  await system.actor(machine, 'b').start({ input: { ok: true } })
  expect(await system.actor(machine, 'b').status()).toBe('active')
})

const child = setup({ types: { context: {} as { n: number } } }).createMachine({
  id: 'child',
  context: { n: 0 },
  on: {
    bad: {
      actions: assign(() => {
        throw new Error('child threw')
      }),
    },
    count: { actions: assign({ n: ({ context }) => context.n + 1 }) },
  },
})

test('an error of a child that its parent handles goes on natively', async () => {
  const parent = setup({ types: { context: {} as { seen: string } }, actors: { child } }).createMachine({
    id: 'parent',
    context: { seen: '' },
    initial: 'on',
    states: {
      on: {
        invoke: { src: 'child', id: 'kid', onError: { target: 'off', actions: assign({ seen: ({ event }) => (event.error as Error).message }) } },
        on: { bad: { actions: sendTo('kid', { type: 'bad' }) } },
      },
      off: {},
    },
  })
  const { system } = await aWorld({ machines: [parent] })
  await system.actor(parent, 'a').start({})
  await system.actor(parent, 'a').send({ type: 'bad' })
  const snapshot = await system.actor(parent, 'a').snapshot()
  expect([snapshot?.value, snapshot?.context.seen]).toEqual(['off', 'child threw'])
})

test('an error of a child that nobody handles undoes the whole turn', async () => {
  const parent = setup({ types: { context: {} as { n: number } }, actors: { child } }).createMachine({
    id: 'parent',
    context: { n: 0 },
    invoke: { src: 'child', id: 'kid' },
    on: { bad: { actions: [assign({ n: ({ context }) => context.n + 1 }), sendTo('kid', { type: 'count' }), sendTo('kid', { type: 'bad' })] }, good: { actions: sendTo('kid', { type: 'count' }) } },
  })
  const { system } = await aWorld({ machines: [parent] })
  const actor = system.actor(parent, 'a')
  await actor.send({ type: 'good' })
  await actor.send({ type: 'bad' })
  const failure = await actor.failure()
  expect(failure?.error.message).toBe('child threw')
  expect(failure?.snapshot?.context).toEqual({ n: 0 })
  expect(failure?.snapshot?.children.kid?.getSnapshot().context).toEqual({ n: 1 })
})

const actor = (throwing: boolean, ran: string[]) =>
  setup({
    actions: {
      before: () => ran.push('before'),
      fail: () => {
        ran.push('fail')
        if (throwing) throw new Error('action threw')
      },
      after: () => ran.push('after'),
      other: () => ran.push('other'),
    },
  }).createMachine({
    id: 'acting',
    initial: 'a',
    states: { a: { on: { go: { target: 'b', actions: ['before', 'fail', 'after'] } } }, b: { on: { more: { actions: 'other' } } } },
  })

test('an action that throws after its commit fails the actor in a turn of its own; the committed state is the last good one', async () => {
  const ran: string[] = []
  const machine = actor(true, ran)
  const world = await aWorld({ machines: [machine] })
  const handle = world.system.actor(machine, 'a')
  await handle.send({ type: 'go' })
  await world.settled()
  const failure = await handle.failure()
  expect(failure?.error.message).toBe('action threw')
  expect(failure?.snapshot?.value).toBe('b')
  expect(ran).toEqual(['before', 'fail'])
})

test("a child's action that throws goes up as its error", async () => {
  const ran: string[] = []
  const parent = setup({ types: { context: {} as { seen: string } }, actors: { acting: actor(true, ran) } }).createMachine({
    id: 'parent',
    context: { seen: '' },
    invoke: { src: 'acting', id: 'kid', onError: { actions: assign({ seen: ({ event }) => (event.error as Error).message }) } },
    on: { go: { actions: sendTo('kid', { type: 'go' }) } },
  })
  const world = await aWorld({ machines: [parent] })
  await world.system.actor(parent, 'a').send({ type: 'go' })
  await world.settled()
  expect(await world.system.actor(parent, 'a').status()).toBe('active')
  expect((await world.system.actor(parent, 'a').snapshot())?.context.seen).toBe('action threw')
})

test('an action whose promise rejects fails its machine like one that throws', async () => {
  const machine = createMachine({ id: 'late', on: { go: { actions: async () => Promise.reject(new Error('late')) } } })
  const world = await aWorld({ machines: [machine] })
  await world.system.actor(machine, 'a').send({ type: 'go' })
  await world.settled()
  await world.settled()
  expect((await world.system.actor(machine, 'a').failure())?.error.message).toBe('late')
})

test('a callback that throws while it is set up, or on receiving, fails like a child', async () => {
  const machine = setup({
    types: { context: {} as { seen: string[] }, events: {} as { type: 'begin' } | { type: 'poke' } },
    actors: {
      broken: fromCallback(() => {
        throw new Error('set-up')
      }),
      touchy: fromCallback(({ receive }) =>
        receive(() => {
          throw new Error('poked')
        }),
      ),
    },
  }).createMachine({
    id: 'm',
    context: { seen: [] },
    initial: 'idle',
    states: {
      idle: { on: { begin: 'on' } },
      on: {
        invoke: [
          { src: 'broken', id: 'broken', onError: { actions: assign({ seen: ({ context, event }) => [...context.seen, (event.error as Error).message] }) } },
          { src: 'touchy', id: 'touchy', onError: { actions: assign({ seen: ({ context, event }) => [...context.seen, (event.error as Error).message] }) } },
        ],
        on: { poke: { actions: sendTo('touchy', { type: 'x' }) } },
      },
    },
  })
  const world = await aWorld({ machines: [machine] })
  await world.system.actor(machine, 'a').send({ type: 'begin' })
  await world.settled()
  await world.system.actor(machine, 'a').send({ type: 'poke' })
  await world.settled()
  expect((await world.system.actor(machine, 'a').snapshot())?.context.seen).toEqual(['set-up', 'poked'])
})

test('a context that is mutated in place throws where it happens, outside production', async () => {
  const machine = setup({ types: { context: {} as { list: number[] } } }).createMachine({
    id: 'm',
    context: { list: [] },
    on: { push: { actions: assign(({ context }) => (context.list.push(1), {})) } },
  })
  const { system } = await aWorld({ machines: [machine] })
  await system.actor(machine, 'a').start({})
  await system.actor(machine, 'a').send({ type: 'push' })
  expect((await system.actor(machine, 'a').failure())?.error.message).toMatch(/not extensible|read only/)
})

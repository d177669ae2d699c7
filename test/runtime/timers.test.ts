/** Timers: absolute, durable, in due order, never early, once (I6). */
import { expect, test } from 'vitest'
import { assign, cancel, createMachine, raise, sendTo, setup } from 'xstate'
import { World } from '../../src/testing/index.js'
import { RecordingLogger, aWorld, counter } from '../support/worlds.js'

const alarm = setup({
  types: { context: {} as { rang: string[] }, events: {} as { type: 'set'; id: string; ms: number } | { type: 'off'; id: string } | { type: 'ring'; id: string } | { type: 'mark' } },
  actions: {
    note: assign({ rang: ({ context, event }) => [...context.rang, event.type === 'ring' ? event.id : event.type] }),
  },
}).createMachine({
  id: 'alarm',
  context: { rang: [] },
  on: {
    set: { actions: raise(({ event }) => ({ type: 'ring', id: event.id }), { id: 'x', delay: ({ event }) => event.ms }) },
    off: { actions: cancel('x') },
    ring: { actions: 'note' },
    mark: { actions: 'note' },
  },
})

const many = setup({
  types: { context: {} as { rang: string[] }, events: {} as { type: 'set'; ids: string[]; ms: number[] } | { type: 'ring'; id: string } },
}).createMachine({
  id: 'many',
  context: { rang: [] },
  on: {
    set: {
      actions: [0, 1, 2, 3].map((i) => raise(({ event }) => ({ type: 'ring' as const, id: event.type === 'set' ? event.ids[i]! : '' }), { id: `t${i}`, delay: ({ event }) => (event.type === 'set' ? event.ms[i]! : 0) })),
    },
    ring: { actions: assign({ rang: ({ context, event }) => [...context.rang, event.id] }) },
  },
})

test('timers fire in due order, ties in order of setting', async () => {
  const world = await aWorld({ machines: [many] })
  await world.system.actor(many, 'a').send({ type: 'set', ids: ['d', 'b', 'a', 'c'], ms: [30, 20, 10, 20] })
  await world.advance(100)
  expect((await world.system.actor(many, 'a').snapshot())?.context.rang).toEqual(['a', 'b', 'c', 'd'])
})

test('overdue timers fire at once after a restart, in due order, and before messages that came after they were due', async () => {
  const world = await aWorld({ machines: [many, alarm], shards: 1 })
  await world.system.actor(many, 'a').send({ type: 'set', ids: ['d', 'b', 'a', 'c'], ms: [30, 20, 10, 20] })
  await world.system.actor(alarm, 'b').send({ type: 'set', id: 'first', ms: 40 })
  world.crash()
  world.time.runUntil(1_000)
  await world.start()
  // Appended at 1,000, when the timer had been due for long.
  await world.system.actor(alarm, 'b').send({ type: 'mark' })
  await world.settled()
  expect((await world.system.actor(many, 'a').snapshot())?.context.rang).toEqual(['a', 'b', 'c', 'd'])
  expect((await world.system.actor(alarm, 'b').snapshot())?.context.rang).toEqual(['first', 'mark'])
})

test('a timer set and cancelled in one batch stays dead', async () => {
  const world = await aWorld({ machines: [alarm], shards: 1 })
  const actor = world.system.actor(alarm, 'a')
  await Promise.all([actor.send({ type: 'set', id: 'one', ms: 10 }), actor.send({ type: 'off', id: '' }), actor.send({ type: 'set', id: 'two', ms: 10 }), actor.send({ type: 'off', id: '' })])
  expect(world.system.stats().commits).toBe(1)
  expect(await world.system.clock.nextDue()).toBeUndefined()
  await world.advance(100)
  expect((await actor.snapshot())?.context.rang).toEqual([])
})

test('a delay under an id that is set already replaces it', async () => {
  const world = await aWorld({ machines: [alarm] })
  const actor = world.system.actor(alarm, 'a')
  await actor.send({ type: 'set', id: 'one', ms: 10 })
  await actor.send({ type: 'set', id: 'two', ms: 50 })
  await world.advance(100)
  expect((await actor.snapshot())?.context.rang).toEqual(['two'])
})

test('an `after` of a state that was left and entered again counts from the new entry', async () => {
  const machine = createMachine({ id: 'm', initial: 'a', states: { a: { after: { 100: 'done' }, on: { again: { target: 'a', reenter: true } } }, done: {} } })
  const world = await aWorld({ machines: [machine] })
  await world.system.actor(machine, 'x').start({})
  await world.advance(60)
  await world.system.actor(machine, 'x').send({ type: 'again' })
  await world.advance(60)
  expect((await world.system.actor(machine, 'x').snapshot())?.value).toBe('a')
  await world.advance(40)
  expect((await world.system.actor(machine, 'x').snapshot())?.value).toBe('done')
})

test('a delay of a hundred days fires once, on the day, whatever restarts in between', async () => {
  const day = 86_400_000
  const world = await aWorld({ machines: [alarm] })
  await world.system.actor(alarm, 'a').send({ type: 'set', id: 'late', ms: 100 * day })
  for (let i = 0; i < 9; i++) {
    await world.advance(11 * day)
    world.crash()
    await world.start()
  }
  await world.advance(day - 1)
  expect((await world.system.actor(alarm, 'a').snapshot())?.context.rang).toEqual([])
  await world.advance(1)
  expect((await world.system.actor(alarm, 'a').snapshot())?.context.rang).toEqual(['late'])
  await world.advance(100 * day)
  expect((await world.system.actor(alarm, 'a').snapshot())?.context.rang).toEqual(['late'])
}, 60_000)

test('a negative or fractional delay is never early', async () => {
  const world = await aWorld({ machines: [alarm] })
  await world.system.actor(alarm, 'a').send({ type: 'set', id: 'now', ms: -5 })
  await world.advance(1)
  expect((await world.system.actor(alarm, 'a').snapshot())?.context.rang).toEqual(['now'])
  await world.system.actor(alarm, 'b').send({ type: 'set', id: 'half', ms: 0.5 })
  await world.settled()
  expect((await world.system.actor(alarm, 'b').snapshot())?.context.rang).toEqual([])
  await world.advance(1)
  expect((await world.system.actor(alarm, 'b').snapshot())?.context.rang).toEqual(['half'])
})

test('thousands of timers beyond the horizon and at one instant all fire once', async () => {
  const sleeper = createMachine({ id: 'sleeper', initial: 'a', states: { a: { after: { 90_000: 'b' } }, b: { type: 'final' } } })
  const world = await aWorld({ machines: [sleeper], shards: 1 })
  const n = 3_000
  await Promise.all(Array.from({ length: n }, (_, i) => world.system.actor(sleeper, `s-${i}`).start({})))
  await world.advance(89_999)
  expect(world.system.stats().turns).toBe(n)
  await world.advance(1)
  expect(world.system.stats().turns).toBe(2 * n)
  expect(await world.system.actor(sleeper, 's-0').status()).toBe('done')
  expect(await world.system.actor(sleeper, `s-${n - 1}`).status()).toBe('done')
}, 60_000)

test('a delayed event to a child arrives there', async () => {
  const kid = setup({ types: { context: {} as { n: number } } }).createMachine({ id: 'kid', context: { n: 0 }, on: { hello: { actions: assign({ n: ({ context }) => context.n + 1 }) } } })
  const parent = setup({ actors: { kid } }).createMachine({
    id: 'parent',
    invoke: { src: 'kid', id: 'kid' },
    on: { go: { actions: sendTo('kid', { type: 'hello' }, { delay: 50 }) } },
  })
  const world = await aWorld({ machines: [parent] })
  await world.system.actor(parent, 'p').send({ type: 'go' })
  world.crash()
  await world.start()
  await world.advance(50)
  expect((await world.system.actor(parent, 'p').snapshot())?.children.kid?.getSnapshot().context).toEqual({ n: 1 })
})

test('a jump of the store\'s clock is announced; timers are neither early by it nor stuck behind it', async () => {
  const logger = new RecordingLogger()
  let jump = 0
  class Jumpy extends World {
    override now(): number {
      return super.now() + jump
    }
  }
  const world = new Jumpy({ machines: [alarm, counter], logger, shards: 1, leaseMs: 3_000 })
  await world.start()
  await world.system.actor(alarm, 'a').send({ type: 'set', id: 'soon', ms: 10_000 })
  jump = -3_600_000
  const jumps = (): number => logger.lines.filter((line) => /clock of the store has jumped/.test(line.message)).length
  await world.advance(5_000)
  await world.system.actor(counter, 'c').send({ type: 'add', by: 1 })
  expect(jumps()).toBe(1)
  await world.advance(4_999)
  expect((await world.system.actor(alarm, 'a').snapshot())?.context.rang).toEqual([])
  await world.advance(1)
  expect((await world.system.actor(alarm, 'a').snapshot())?.context.rang).toEqual(['soon'])
  // The next process reads the same: no commit's time is before the last one's.
  world.crash()
  await world.start()
  await world.system.actor(alarm, 'a').send({ type: 'set', id: 'later', ms: 10_000 })
  await world.advance(9_999)
  expect((await world.system.actor(alarm, 'a').snapshot())?.context.rang).toEqual(['soon'])
  await world.advance(1)
  expect((await world.system.actor(alarm, 'a').snapshot())?.context.rang).toEqual(['soon', 'later'])
  // Forward a day: what is due by the store's clock is due.
  await world.system.actor(alarm, 'a').send({ type: 'set', id: 'next', ms: 20 * 3_600_000 })
  jump = 24 * 3_600_000
  const before = jumps()
  await world.advance(3_000)
  expect(jumps()).toBe(before + 1)
  expect((await world.system.actor(alarm, 'a').snapshot())?.context.rang).toEqual(['soon', 'later', 'next'])
})

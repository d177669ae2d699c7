/** What the crash-equivalence property has found, each as small as it gets. The seeds are those that showed it. */
import { expect, test } from 'vitest'
import { assign, fromPromise, setup } from 'xstate'
import { durableChild, external, restartDurableChild } from '../../src/index.js'
import { World } from '../../src/testing/index.js'
import { counter } from '../support/worlds.js'

/** Hires one child at its start, and restarts it from its snapshot when told so. */
const boss = setup({
  types: { events: {} as { type: 'again' } },
  actions: {
    hire: durableChild(() => ({ machine: 'kid', id: 'k' })),
    again: restartDurableChild(() => ({ machine: 'kid', id: 'k', from: 'snapshot' })),
  },
}).createMachine({ id: 'boss', entry: 'hire', on: { again: { actions: 'again' } } })

test('an effect whose outcome failed its actor is run again after a restart from the snapshot, also across a crash (seed 1029)', async () => {
  let works = false
  let runs = 0
  const kid = setup({
    actors: {
      job: fromPromise(async () => {
        runs++
        if (!works) throw new Error('not yet')
        await world.sleep(10)
        return 1
      }),
    },
  }).createMachine({ id: 'kid', initial: 'on', states: { on: { invoke: { src: 'job', onDone: 'off' } }, off: { type: 'final' } } })
  const world = new World({ machines: [boss, kid], shards: 1 })
  await world.start()
  await world.system.actor(boss, 'b').start({})
  await world.settled()
  expect(await world.system.actorAt('kid/b~k').status()).toBe('failed')
  works = true
  await world.system.actor(boss, 'b').send({ type: 'again' })
  await world.settled()
  expect(runs).toBe(2)
  world.crash()
  await world.start()
  await world.advance(10)
  expect(runs).toBe(3)
  expect(await world.system.actorAt('kid/b~k').status()).toBe('done')
})

test('the outcome of such an effect is heard also if it comes by the log (seed 1029)', async () => {
  let works = false
  const kid = setup({
    actors: {
      job: fromPromise(async () => {
        if (!works) throw new Error('not yet')
        await world.sleep(10)
        // Something unread stands in the log when the outcome comes.
        void world.system.actor(counter, 'c').send({ type: 'add', by: 1 }, { id: 'before' })
        return 1
      }),
    },
  }).createMachine({ id: 'kid', initial: 'on', states: { on: { invoke: { src: 'job', onDone: 'off' } }, off: { type: 'final' } } })
  const world = new World({ machines: [boss, kid, counter], shards: 1 })
  await world.start()
  await world.system.actor(boss, 'b').start({})
  await world.settled()
  works = true
  await world.system.actor(boss, 'b').send({ type: 'again' })
  await world.advance(10)
  expect(await world.system.actorAt('kid/b~k').status()).toBe('done')
})

test('an external action whose outcome failed its actor is not paid again by a restart from the snapshot, but asked for', async () => {
  const calls: string[] = []
  const kid = setup({
    types: { context: {} as { bad: boolean; got: unknown } },
    actors: {
      pay: external<number>({
        run: ({ attempt }) => (calls.push(`run ${attempt}`), 1),
        reconcile: ({ attempt }) => (calls.push(`reconcile ${attempt}`), { happened: true, output: 2 }),
      }),
    },
    actions: {
      take: assign({
        got: ({ event }) => {
          const { output } = event as unknown as { output: number }
          if (output === 1) throw new Error('cannot take it')
          return output
        },
      }),
    },
  }).createMachine({ id: 'kid', context: { bad: true, got: null }, initial: 'on', states: { on: { invoke: { src: 'pay', onDone: { target: 'off', actions: 'take' } } }, off: {} } })
  const world = new World({ machines: [boss, kid], shards: 1 })
  await world.start()
  await world.system.actor(boss, 'b').start({})
  await world.settled()
  expect(await world.system.actorAt('kid/b~k').status()).toBe('failed')
  await world.system.actor(boss, 'b').send({ type: 'again' })
  await world.settled()
  expect(calls).toEqual(['run 1', 'reconcile 2'])
  expect((await world.system.actorAt('kid/b~k').snapshot())?.context).toMatchObject({ got: 2 })
})

/** Works for a while, beginning with its start. */
function working(world: () => World, forMs: number) {
  return setup({ actors: { job: fromPromise(async () => void (await world().sleep(forMs))) } }).createMachine({ id: 'working', initial: 'on', states: { on: { invoke: { src: 'job', onDone: 'off' } }, off: {} } })
}

function suspectsIn(world: World): string[] {
  return [...world.database.namespaces.get('default')!.shards[0]!.suspects.keys()]
}

test('what a process died of is no longer counted once its effect has ended (seed 247)', async () => {
  const machine = working(() => world, 100)
  const world: World = new World({ machines: [machine], shards: 1 })
  await world.start()
  await world.system.actor(machine, 'w').start({})
  await world.settled()
  world.crash()
  await world.start()
  await world.settled()
  expect(suspectsIn(world)).toHaveLength(1)
  await world.advance(100)
  world.crash()
  // Nothing of it is left to be taken up; its count was.
  await world.start()
  await world.advance(10_100)
  expect(suspectsIn(world)).toEqual([])
})

test('nor after a clean stop (seed 1)', async () => {
  const machine = working(() => world, 3_600_000)
  const world: World = new World({ machines: [machine], shards: 1 })
  await world.start()
  await world.system.actor(machine, 'w').start({})
  await world.settled()
  world.crash()
  await world.start()
  await world.settled()
  expect(suspectsIn(world)).toHaveLength(1)
  await world.stop()
  await world.start()
  await world.settled()
  expect(suspectsIn(world)).toEqual([])
})

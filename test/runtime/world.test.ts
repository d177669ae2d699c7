import { expect, test } from 'vitest'
import { assign, createMachine, fromPromise, setup } from 'xstate'
import { World } from '../../src/testing/world.js'

/** The oldest complaint about XState: a delay that does not survive. */
const egg = createMachine({ id: 'egg', initial: 'raw', states: { raw: { after: { 500: 'boiled' } }, boiled: { type: 'final' } } })

test('a machine of two lines with `after: 500` survives a kill and fires', async () => {
  const world = new World({ machines: [egg] })
  await world.start()
  await world.system.actor(egg, 'e-1').start({})
  await world.advance(200)
  world.crash()
  await world.start()
  await world.advance(299)
  expect((await world.system.actor(egg, 'e-1').snapshot())?.value).toBe('raw')
  await world.advance(1)
  expect((await world.system.actor(egg, 'e-1').snapshot())?.value).toBe('boiled')
})

test('a promise that ended before the crash is not run again, one under way is', async () => {
  const world = new World({ machines: [] })
  const runs: string[] = []
  const machine = setup({
    types: { context: {} as { a: number | undefined; b: number | undefined } },
    actors: {
      quick: fromPromise(async () => {
        runs.push('quick')
        await world.sleep(10)
        return 1
      }),
      slow: fromPromise(async () => {
        runs.push('slow')
        await world.sleep(100)
        return 2
      }),
    },
  }).createMachine({
    id: 'two',
    context: { a: undefined, b: undefined },
    type: 'parallel',
    states: {
      left: { initial: 'on', states: { on: { invoke: { src: 'quick', onDone: { target: 'off', actions: assign({ a: ({ event }) => event.output }) } } }, off: { type: 'final' } } },
      right: { initial: 'on', states: { on: { invoke: { src: 'slow', onDone: { target: 'off', actions: assign({ b: ({ event }) => event.output }) } } }, off: { type: 'final' } } },
    },
  })
  const w = new World({ machines: [machine] })
  Object.assign(world, w)
  await w.start()
  await w.system.actor(machine, 't').start({})
  await w.advance(50)
  w.crash()
  await w.start()
  await w.advance(1_000)
  expect((await w.system.actor(machine, 't').snapshot())?.context).toEqual({ a: 1, b: 2 })
  expect(await w.system.actor(machine, 't').status()).toBe('done')
  expect(runs).toEqual(['quick', 'slow', 'slow'])
})

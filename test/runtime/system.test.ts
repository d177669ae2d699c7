import { expect, test } from 'vitest'
import { assign, fromPromise, setup } from 'xstate'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { createActorSystem } from '../../src/index.js'

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

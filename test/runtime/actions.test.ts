/** Actions: after the commit, in order; named ones at least once, inline ones at most once (contract 3). */
import { expect, test } from 'vitest'
import { assign, raise, setup } from 'xstate'
import { append, atMostOnce } from '../../src/index.js'
import type { Fault, Write } from '../../src/testing/index.js'
import { World } from '../../src/testing/index.js'
import { aWorld } from '../support/worlds.js'

function machineWith(ran: unknown[]) {
  return setup({
    types: { context: {} as { n: number }, events: {} as { type: 'go'; list: number[] } | { type: 'inner' } | { type: 'more' } },
    actions: {
      note: ({ context, event }, params: { k: number }) => void ran.push(['note', params.k, context.n, event]),
      count: assign({ n: ({ context }) => context.n + 1 }),
    },
  }).createMachine({
    id: 'm',
    context: { n: 0 },
    on: {
      go: { actions: [{ type: 'note', params: { k: 1 } }, 'count', { type: 'note', params: ({ context }) => ({ k: 10 + context.n }) }, raise({ type: 'inner' }), ({ context }) => void ran.push(['inline', context.n])] },
      inner: { actions: ['count', { type: 'note', params: { k: 2 } }] },
      more: { actions: 'count' },
    },
  })
}

test('actions run in order, each with the context and event of its point in the turn', async () => {
  const ran: unknown[] = []
  const machine = machineWith(ran)
  const { system } = await aWorld({ machines: [machine] })
  await system.actor(machine, 'a').send({ type: 'go', list: [1] })
  const go = { type: 'go', list: [1] }
  expect(ran).toEqual([
    ['note', 1, 0, go],
    ['note', 11, 1, go],
    ['inline', 1],
    ['note', 2, 2, { type: 'inner' }],
  ])
})

/** Kills the process at the commit that `when` picks. */
function killing(when: (write: Write) => Fault | undefined): { onWrite(write: Write): Fault | undefined } {
  let done = false
  return {
    onWrite(write) {
      const fault = done ? undefined : when(write)
      if (fault) done = true
      return fault
    },
  }
}

test('after a crash between commit and actions, named actions run again in order and inline ones do not', async () => {
  const ran: unknown[] = []
  const machine = machineWith(ran)
  const world = new World({ machines: [machine], shards: 1, ...killing((write) => (write.commit?.parts.some((part) => part.actions.size > 0) ? 'kill-after' : undefined)) })
  await world.start()
  void world.system.actor(machine, 'a').send({ type: 'go', list: [1] })
  await world.died
  expect(ran).toEqual([])
  await world.start()
  await world.settled()
  const go = { type: 'go', list: [1] }
  // With the committed context.
  expect(ran).toEqual([
    ['note', 1, 2, go],
    ['note', 11, 2, go],
    ['note', 2, 2, { type: 'inner' }],
  ])
  world.crash()
  await world.start()
  await world.settled()
  expect(ran).toHaveLength(3)
})

test('actions that were confirmed do not run again, unconfirmed ones do', async () => {
  const ran: unknown[] = []
  const machine = machineWith(ran)
  const world = await aWorld({ machines: [machine] })
  await world.system.actor(machine, 'a').send({ type: 'go', list: [] })
  await world.settled()
  expect(ran).toHaveLength(4)
  world.crash()
  await world.start()
  await world.settled()
  expect(ran).toHaveLength(4)
})

test('a named action that is declared atMostOnce runs after its commit, is not kept, and costs no second write', async () => {
  const ran: number[] = []
  const machine = setup({
    types: { context: {} as { n: number }, events: {} as { type: 'go' } },
    actions: { count: assign({ n: ({ context }) => context.n + 1 }), tell: atMostOnce(({ context }) => void ran.push(context.n)) },
  }).createMachine({ id: 'm', context: { n: 0 }, on: { go: { actions: ['count', 'tell'] } } })
  const commits: Write[] = []
  let isDeadly = false
  const world = new World({
    machines: [machine],
    shards: 1,
    onWrite: (write) => {
      if (write.commit) commits.push(write)
      return isDeadly && write.commit ? 'kill-after' : undefined
    },
  })
  await world.start()
  await world.system.actor(machine, 'a').send({ type: 'go' })
  await world.settled()
  expect(ran).toEqual([1])
  expect(commits).toHaveLength(1)
  expect([...commits[0]!.commit!.parts[0]!.actions]).toEqual([])
  isDeadly = true
  void world.system.actor(machine, 'a').send({ type: 'go' })
  await world.died
  isDeadly = false
  await world.start()
  await world.settled()
  expect(await world.system.actor(machine, 'a').snapshot()).toMatchObject({ context: { n: 2 } })
  expect(ran).toEqual([1])
})

test('an action that was kept by a build in which it was not atMostOnce does not run again in one in which it is', async () => {
  const ran: unknown[] = []
  const machine = machineWith(ran)
  const machines = [machine]
  const world = new World({ machines, shards: 1, ...killing((write) => (write.commit?.parts.some((part) => part.actions.size > 0) ? 'kill-after' : undefined)) })
  await world.start()
  void world.system.actor(machine, 'a').send({ type: 'go', list: [1] })
  await world.died
  machines[0] = machine.provide({ actions: { note: atMostOnce(({ context }, { k }) => void ran.push(['note', k, context.n])) } })
  await world.start()
  await world.settled()
  expect(ran).toEqual([])
  await world.system.actor(machines[0]!, 'a').send({ type: 'go', list: [] })
  expect(ran).toEqual([['note', 1, 2], ['note', 13, 3], ['inline', 3], ['note', 2, 4]])
})

test.each([
  ['an assign, which would be lost', assign({ n: 1 }) as never],
  ['a command', append(() => ({ stream: 's', value: 1 })) as never],
  ['nothing', undefined as never],
])('atMostOnce of %s is refused', (_, action) => expect(() => atMostOnce(action)).toThrow(/atMostOnce\(\) needs a function/))

test('what a named action sends is sent once, however often it runs', async () => {
  const machine = setup({
    types: { context: {} as { n: number } },
    actions: { sendTwo: ({ self }) => (self.send({ type: 'more' }), self.send({ type: 'more' })), count: assign({ n: ({ context }) => context.n + 1 }) },
  }).createMachine({ id: 'm', context: { n: 0 }, on: { go: { actions: 'sendTwo' }, more: { actions: 'count' } } })
  // Dies after the two messages were appended, before the action is confirmed.
  const world = new World({ machines: [machine], shards: 1, ...killing((write) => (write.kind === 'append' && write.entries!.some((entry) => entry.text.includes('"more"')) ? 'kill-after' : undefined)) })
  await world.start()
  void world.system.actor(machine, 'a').send({ type: 'go' })
  await world.died
  await world.start()
  await world.settled()
  expect((await world.system.actor(machine, 'a').snapshot())?.context.n).toBe(2)
})

test('an assign that mutates the event does not change what is stored of it', async () => {
  const seen: unknown[] = []
  const machine = setup({
    types: { events: {} as { type: 'go'; tags: string[] } },
    actions: {
      spoil: assign(({ event }) => (event.tags.push('spoilt'), {})),
      note: ({ event }) => void seen.push(event.tags),
    },
  }).createMachine({ id: 'm', on: { go: { actions: ['spoil', 'note'] } } })
  const world = new World({ machines: [machine], shards: 1, ...killing((write) => (write.commit?.parts.some((part) => part.actions.size > 0) ? 'kill-after' : undefined)) })
  await world.start()
  void world.system.actor(machine, 'a').send({ type: 'go', tags: [] })
  await world.died
  await world.start()
  await world.settled()
  expect(seen).toEqual([[]])
})

/** What the crash-equivalence property has found, each as small as it gets. The seeds are those that showed it. */
import { describe, expect, test } from 'vitest'
import { assign, fromPromise, sendTo, setup } from 'xstate'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { durableChild, external, refTo, restartDurableChild, type Store } from '../../src/index.js'
import type { Commit, CommitResult } from '../../src/runtime/ports/store.js'
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

describe('an action has run when what it leads to is durable, not before', () => {
  /** Beside what it does, it sends to another actor of the shard, whose commit would confirm it at once. */
  const busy = (act: (args: { self: { send(event: { type: string }): void } }) => void) =>
    setup({ types: { context: {} as { pings: number } }, actions: { act } }).createMachine({
      id: 'busy',
      context: { pings: 0 },
      on: { go: { actions: [{ type: 'act' }, sendTo(() => refTo('counter/c'), { type: 'add', by: 1 })] }, ping: { actions: assign({ pings: ({ context }) => context.pings + 1 }) } },
    })
  /** Sends an event that makes the action run, and kills the process before the message that the action leads to is appended. */
  async function killedBefore(machine: ReturnType<typeof busy>, part: string): Promise<World> {
    let deaths = 0
    const world = new World({ machines: [machine, counter], shards: 1, onWrite: ({ kind, entries }) => (kind === 'append' && entries!.some(({ text }) => text.includes(part)) && deaths++ === 0 ? 'kill-before' : undefined) })
    await world.start()
    await world.system.actor(machine, 'b').send({ type: 'go' })
    expect(await world.settled()).toBe(false)
    await world.start()
    await world.settled()
    expect(deaths).toBe(2)
    return world
  }

  test('a message that it sends (seed 3011)', async () => {
    const machine = busy(({ self }) => self.send({ type: 'ping' }))
    const world = await killedBefore(machine, '"ping"')
    expect((await world.system.actor(machine, 'b').snapshot())?.context).toEqual({ pings: 1 })
  })

  test('the failure of its actor', async () => {
    const machine = busy(() => {
      throw new Error('no')
    })
    const world = await killedBefore(machine, '"fault"')
    expect((await world.system.actor(machine, 'b').failure())?.error.message).toBe('no')
  })
})

test('an action of a child that is gone runs again all the same, with the context that it had (seed 57)', async () => {
  const ran: unknown[] = []
  const child = setup({
    types: { context: {} as { n: number; big: string } },
    actions: { note: ({ context }, params: { k: number }) => void ran.push([context.n, params.k]), add: assign({ n: ({ context }) => context.n + 1 }) },
  }).createMachine({ id: 'child', context: { n: 1, big: 'x' }, initial: 'on', states: { on: { after: { 10: 'off' } }, off: { entry: ['add', { type: 'note', params: { k: 7 } }], type: 'final' } } })
  const middle = setup({ actors: { child } }).createMachine({ id: 'middle', initial: 'on', states: { on: { invoke: { src: 'child', onDone: 'off' } }, off: { type: 'final' } } })
  const parent = setup({ actors: { middle } }).createMachine({ id: 'parent', initial: 'on', states: { on: { invoke: { src: 'middle', onDone: 'off' } }, off: {} } })
  let deaths = 0
  const world = new World({ machines: [parent], shards: 1, onWrite: ({ commit }) => (commit?.parts.some((part) => part.actions.size > 0) && deaths++ === 0 ? 'kill-after' : undefined) })
  await world.start()
  await world.system.actor(parent, 'p').start({})
  expect(await world.advance(10)).toBe(false)
  expect(ran).toEqual([])
  await world.start()
  await world.settled()
  expect((await world.system.actor(parent, 'p').snapshot())?.value).toBe('off')
  expect(ran).toEqual([[2, 7]])
})

describe('what comes while parked messages are put back in line is handled once, and in its order', () => {
  const kid = setup({
    types: { context: {} as { heard: number[] }, events: {} as { type: 'bad' } | { type: 'hear'; k: number } },
    actions: {
      hear: assign({ heard: ({ context, event }) => [...context.heard, event.type === 'hear' ? event.k : 0] }),
      fail: assign(() => {
        throw new Error('bad')
      }),
    },
  }).createMachine({ id: 'kid', context: { heard: [] }, on: { bad: { actions: 'fail' }, hear: { actions: 'hear' } } })
  const macrotasks = async (n: number): Promise<void> => {
    for (let i = 0; i < n; i++) await new Promise<void>((resolve) => void setImmediate(resolve))
  }
  /** A commit is applied some time after it was asked for. */
  class LateCommits extends MemoryStore {
    override async commit(commit: Commit): Promise<CommitResult> {
      await macrotasks(3)
      return super.commit(commit)
    }
  }
  /** What is read is some time under way. */
  class LateReads extends MemoryStore {
    override async parked(...args: Parameters<Store['parked']>): Promise<readonly string[]> {
      const texts = await super.parked(...args)
      await macrotasks(50)
      return texts
    }
  }
  test.each([
    ['commits are applied late, one in flight', 1, LateCommits],
    ['commits are applied late, two in flight', 2, LateCommits],
    ['they are read late, one commit in flight', 1, LateReads],
    ['they are read late, two commits in flight', 2, LateReads],
  ] as const)('where %s', async (_, lanesMax, Late) => {
    const world: World = new World({ machines: [boss, kid], shards: 1, lanesMax, connect: () => new Late({ database: world.database, now: () => world.now() }) })
    await world.start()
    await world.system.actor(boss, 'b').start({})
    await world.settled()
    const child = world.system.actorAt('kid/b~k')
    await child.send({ type: 'bad' } as never)
    for (let k = 1; k <= 3; k++) await child.send({ type: 'hear', k } as never)
    await world.settled()
    const hear = (k: number): Promise<void> => child.send({ type: 'hear', k } as never, { id: `hear-${k}` })
    await Promise.all([world.system.actor(boss, 'b').send({ type: 'again' }), hear(4)])
    await macrotasks(5)
    await Promise.all([hear(5), hear(6)])
    await world.settled()
    expect((await child.snapshot())?.context).toEqual({ heard: [1, 2, 3, 4, 5, 6] })
  })
})

test('what is parked for a failed actor becomes dead letters when it is stopped, by whichever process (seed 2)', async () => {
  const kid = setup({
    actions: {
      fail: assign(() => {
        throw new Error('bad')
      }),
    },
  }).createMachine({ id: 'kid', on: { bad: { actions: 'fail' } } })
  for (const crashes of [false, true]) {
    const world = new World({ machines: [boss, kid], shards: 1 })
    await world.start()
    await world.system.actor(boss, 'b').start({})
    await world.settled()
    const child = (): ReturnType<World['system']['actorAt']> => world.system.actorAt('kid/b~k')
    await child().send({ type: 'bad' } as never)
    for (const type of ['one', 'two']) await child().send({ type } as never)
    await world.settled()
    await child().stop()
    await world.settled()
    if (crashes) world.crash()
    if (crashes) await world.start()
    await child().send({ type: 'three' } as never)
    await world.settled()
    const { letters } = await world.system.deadLetters({ key: 'b' })
    expect(letters.map(({ reason, message }) => [reason, (message.body as { type: string }).type])).toEqual([
      ['ended', 'one'],
      ['ended', 'two'],
      ['ended', 'three'],
    ])
  }
})

/** Works for a while, beginning with its start. */
function working(world: () => World, forMs: number) {
  return setup({ actors: { job: fromPromise(() => world().sleep(forMs)) } }).createMachine({ id: 'working', initial: 'on', states: { on: { invoke: { src: 'job', onDone: 'off' } }, off: {} } })
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

test('messages that stay parked since their actor failed again do not leave those behind them in line, one turn a commit (replay, seed 32)', async () => {
  const kid = setup({
    actions: {
      fail: assign(() => {
        throw new Error('as asked')
      }),
    },
  }).createMachine({ id: 'kid', on: { bad: { actions: 'fail' } } })
  const world = new World({ machines: [boss, kid], shards: 1, batchTurnsMax: 1 })
  await world.start()
  await world.system.actor(boss, 'b').start({})
  await world.settled()
  for (const type of ['bad', 'bad', 'one', 'two', 'three']) await world.system.actorAt('kid/b~k').send({ type } as never)
  await world.settled()
  await world.system.actor(boss, 'b').send({ type: 'again' })
  expect(await Promise.race([world.settled(), rounds(200)])).toBe(true)
  expect((await world.system.parked('kid/b~k')).map(({ text }) => (JSON.parse(text) as { body: { type: string } }).body.type)).toEqual(['one', 'two', 'three'])
})

/** So many turns of the event loop: longer than anything takes that comes to rest. */
async function rounds(count: number): Promise<string> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
  return 'not settled'
}

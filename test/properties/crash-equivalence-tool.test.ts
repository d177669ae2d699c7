/** `crashTest` and `World` as their users meet them: on every store, and when a scenario is no good. */
import { readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mkdtemp, rm } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { assign, fromPromise, sendTo, setup } from 'xstate'
import { LmdbStore } from '../../src/adapters/lmdb/index.js'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { ConfigError, durableChild, refTo, repeatable, reply, restartDurableChild, type Store } from '../../src/index.js'
import { CrashScenarioError, CrashTestError, UnsettledError, World, crashTest } from '../../src/testing/index.js'
import { openDatabases, type StoreKind } from '../support/stores.js'
import { counter } from '../support/worlds.js'

/** Waits for its payment, has it shipped elsewhere, and is delivered after two days. */
function order(world: () => World) {
  return setup({
    types: { context: {} as { total: number; parcel: string | undefined }, input: {} as { total: number }, events: {} as { type: 'pay' } | { type: 'total?' }, output: {} as string },
    actors: {
      ship: repeatable(async ({ idempotencyKey }) => {
        await world().sleep(3_600_000, idempotencyKey)
        return `parcel for ${idempotencyKey}`
      }),
    },
    actions: { tell: reply(({ context }) => context.total), keep: assign({ parcel: ({ event }) => (event as unknown as { output: string }).output }) },
    delays: { delivery: 2 * 86_400_000 },
  }).createMachine({
    id: 'order',
    version: '1',
    context: ({ input }) => ({ total: input.total, parcel: undefined }),
    initial: 'placed',
    output: ({ context }) => context.parcel!,
    on: { 'total?': { actions: 'tell' } },
    states: {
      placed: { on: { pay: 'shipping' } },
      shipping: { invoke: { src: 'ship', onDone: { target: 'underWay', actions: 'keep' } } },
      underWay: { after: { delivery: 'delivered' } },
      delivered: { type: 'final' },
    },
  })
}

describe.each<StoreKind>(['memory', 'lmdb', 'redis'])('on %s', (kind) => {
  test('an order comes out the same wherever the process is killed', async () => {
    const databases = await openDatabases(kind)
    let world!: World
    const machine = order(() => world)
    const report = await crashTest(
      machine,
      {
        input: { total: 12 },
        steps: [(system, id) => system.actor(machine, 'actor-1').ask({ type: 'total?' }, { id, deadlineMs: 1_000 }), { type: 'pay' }, 'restart', (system) => system.actor(machine, 'actor-1').output()],
      },
      { store: (run) => databases.connect(`run-${run}`), idRetentionMs: 7 * 86_400_000, prepare: (w) => (world = w), ...(kind === 'memory' ? {} : { runs: 12 }) },
    )
    expect(report.undisturbed.actors['order/actor-1']).toMatchObject({ status: 'done', snapshot: { output: 'parcel for default/order/actor-1/-/0.order.shipping/1' } })
    expect(report.undisturbed.answers).toEqual({ 0: 12, 3: 'parcel for default/order/actor-1/-/0.order.shipping/1' })
    expect(report.undisturbed.replies).toEqual({ 'order/actor-1!step-0': { reply: { value: 12 }, isKept: true } })
    expect(report.undisturbed.effects).toHaveLength(1)
    if (kind === 'memory') expect(report.runs).toBe(4 * report.writes)
    expect([...report.kills.values()].reduce((a, b) => a + b)).toBeGreaterThanOrEqual(report.runs)
    expect(report.killsInRecovery).toBeGreaterThan(0)
    await databases.dispose()
  })

  test('the connections of processes that were killed are closed', async () => {
    const databases = await openDatabases(kind)
    const world = new World({ machines: [counter], shards: 2, connect: () => databases.connect('one') })
    const open: number[] = []
    for (let i = 0; i < 12; i++) {
      await world.start()
      await world.system.actor(counter, 'c').send({ type: 'add', by: 1 }, { id: `add-${i}` })
      expect(await world.settled()).toBe(true)
      expect((await world.system.actor(counter, 'c').snapshot())?.context.n).toBe(i + 1)
      open.push(readdirSync('/proc/self/fd').length)
      world.crash()
    }
    expect(open.at(-1)).toBeLessThanOrEqual(open[2]!)
    await world.start()
    expect(await world.stop()).toBe(true)
    await databases.dispose()
  })
})

test('what only one process knows shows', async () => {
  let calls = 0
  const forgetful = setup({
    types: { context: {} as { n: number }, events: {} as { type: 'go' } },
    actors: { count: fromPromise(() => Promise.resolve(++calls)) },
    actions: { keep: assign({ n: ({ event }) => (event as unknown as { output: number }).output }) },
  }).createMachine({ id: 'forgetful', context: { n: 0 }, initial: 'idle', states: { idle: { on: { go: 'counting' } }, counting: { invoke: { src: 'count', onDone: { actions: 'keep' } } } } })
  const error: unknown = await crashTest(forgetful, { steps: [{ type: 'go' }] }, { prepare: () => (calls = 0) }).then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(CrashTestError)
  expect((error as CrashTestError).kills.length).toBeGreaterThan(0)
  expect((error as CrashTestError).message).toMatch(/^Killed (before|after) write \d+ \((append|commit)\), it comes out otherwise\.\nundisturbed:\n[^]*"output": 1[^]*killed:\n[^]*"output": 2/)
})

describe('a scenario that cannot be tested is told so', () => {
  const nothing = { steps: [] }

  test('a step that is none', async () => {
    await expect(crashTest(counter, { steps: [{ type: 'end' }, { advance: 3 } as never] })).rejects.toThrow(new CrashScenarioError(`Step 1 is { advance: 3 }. Write an event, { advanceMs } with a whole number, 'restart' or a function.`))
    await expect(crashTest(counter, { steps: [{ advanceMs: Number.NaN }] })).rejects.toThrow('Step 0 is { advanceMs: NaN }')
  })

  test('a step that fails', async () => {
    await expect(crashTest(counter, { steps: [{ type: 'add', by: 1n } as never] })).rejects.toThrow(/^Step 0 \({ type: 'add', by: 1n }\) fails: .*BigInt/i)
    await expect(crashTest(counter, { steps: [() => Promise.reject(new Error('no such thing'))] })).rejects.toThrow('Step 0 fails: no such thing')
  })

  test('an actor that fails', async () => {
    const needy = setup({ types: { input: {} as { n: number }, context: {} as { n: number } } }).createMachine({ id: 'needy', context: ({ input }) => ({ n: input.n }) })
    await expect(crashTest(needy, nothing)).rejects.toThrow(/^The actor fails in the scenario, without any kill: Cannot read properties of undefined/)
    await expect(crashTest(counter, { steps: [{ type: 'throw' }] })).rejects.toThrow('without any kill: as asked')
    const report = await crashTest(counter, { steps: [{ type: 'throw' }] }, { mayFail: true })
    expect(report.undisturbed.actors['counter/actor-1']).toMatchObject({ status: 'failed', failure: { error: { message: 'as asked' } }, snapshot: { context: { n: 0 } } })
  })

  test('one that comes out otherwise each time', async () => {
    let run = 0
    const error = crashTest(counter, { steps: [(system) => system.actor(counter, 'actor-1').send({ type: 'add', by: run }, { id: 'x' })] }, { prepare: () => void run++ })
    await expect(error).rejects.toThrow(/^The scenario comes out otherwise each time, without any kill\. [^]*"n": 1[^]*"n": 2/)
  })

  test('a database that is not new', async () => {
    const databases = await openDatabases('memory')
    await expect(crashTest(counter, { steps: [{ type: 'end' }] }, { store: () => databases.connect('the same') })).rejects.toThrow('the database of a run is not empty')
  })

  test('a step that waits for what never comes', async () => {
    await expect(crashTest(counter, { steps: [(system) => system.actor(counter, 'actor-1').output()] }, { writesMax: 300 })).rejects.toThrow(UnsettledError)
    await expect(crashTest(counter, { steps: [(system) => system.actor(counter, 'actor-1').output({ deadlineMs: 5_000 })] })).rejects.toThrow('did not happen within 5000 ms')
  })
})

describe('a machine that never comes to rest is given up', () => {
  test('by an event to itself', async () => {
    const echo = setup({ types: { events: {} as { type: 'go' } } }).createMachine({ id: 'echo', on: { go: { actions: sendTo(() => refTo('echo/actor-1'), { type: 'go' }) } } })
    const error: unknown = await crashTest(echo, { steps: [{ type: 'go' }] }, { writesMax: 200 }).then(
      () => undefined,
      (reason: unknown) => reason,
    )
    expect(error).toBeInstanceOf(UnsettledError)
    expect(error).toMatchObject({ code: 'UNSETTLED', writes: 200, message: expect.stringContaining('After 200 durable writes, 0 ms into the scenario, there is still something to do for echo/actor-1.') as string })
  })

  test('by a delay', async () => {
    const clock = setup({}).createMachine({ id: 'clock', initial: 'tick', states: { tick: { after: { 1: { target: 'tick', reenter: true } } } } })
    await expect(crashTest(clock, { steps: [] }, { writesMax: 200 })).rejects.toThrow(/^After 200 durable writes, \d{3} ms into the scenario/)
  })
})

describe('a scenario that would take too many runs is refused', () => {
  /** A timer that leads to itself. */
  const pingPong = (ms: number) => setup({}).createMachine({ id: 'pingPong', initial: 'ping', states: { ping: { after: { [ms]: 'pong' } }, pong: { after: { [ms]: 'ping' } } } })

  test.each([0, 10, 200])('by default, with a delay of %d ms that leads to itself', async (ms) => {
    const error: unknown = await crashTest(pingPong(ms), { steps: [] }).then(() => undefined, (reason: unknown) => reason)
    expect(error).toBeInstanceOf(UnsettledError)
    expect(error).toMatchObject({
      code: 'UNSETTLED',
      writes: 250,
      message: `After 250 durable writes, ${247 * ms} ms into the scenario, there is still something to do for pingPong/actor-1. Look for an event or a delayed transition that leads to itself, make the scenario shorter (fewer steps, less restMs), say in runs how many to make, or raise runsMax (1000): each write takes 4.`,
    })
  }, 20_000)

  test('unless it is shorter, or says how many', async () => {
    const machine = pingPong(1_000)
    const scenario = { steps: [], restMs: 10_000 }
    await expect(crashTest(machine, scenario, { runsMax: 55 })).rejects.toThrow(/^After 13 durable writes, .* or raise runsMax \(55\)/)
    expect(await crashTest(machine, scenario, { runsMax: 56 })).toMatchObject({ runs: 56, writes: 14 })
    expect(await crashTest(machine, scenario, { runsMax: 1, runs: 3 })).toMatchObject({ runs: 3, writes: 14 })
  })
})

test('options that cannot work are refused', async () => {
  const refused = (scenario: unknown, options: unknown = {}) => expect(crashTest(counter, scenario as never, options as never)).rejects
  const steps = [{ type: 'end' }]
  await expect(crashTest(undefined as unknown as typeof counter, { steps: [] })).rejects.toThrow(new ConfigError('crashTest: expected a machine from setup().createMachine() or createMachine(), got undefined.'))
  await refused(undefined).toThrow(new ConfigError('crashTest: scenario: expected an object with input, steps, restMs, got undefined.'))
  await refused({}).toThrow(new ConfigError('crashTest: scenario.steps: expected a list, got undefined.'))
  await refused({ steps: 'x' }).toThrow(new ConfigError('crashTest: scenario.steps: expected a list, got "x".'))
  await refused({ steps, restMs: -1 }).toThrow(new ConfigError('crashTest: scenario.restMs: expected a whole number, at least 0, got -1.'))
  await refused({ steps, rest: 1 }).toThrow(new ConfigError('crashTest: scenario.rest: there is no such option (there are: input, steps, restMs).'))
  await refused({ steps }, null).toThrow(/^crashTest: expected an object with machines, .*, got null\.$/)
  await refused({ steps }, { shards: 0 }).toThrow(new ConfigError('crashTest: shards: expected a whole number from 1 to 1,024, got 0.'))
  await refused({ steps }, { runs: Number.NaN }).toThrow(new ConfigError('crashTest: runs: expected a whole number, at least 0, got NaN.'))
  await refused({ steps }, { runsMax: 0 }).toThrow(new ConfigError('crashTest: runsMax: expected a whole number, at least 1, got 0.'))
  await refused({ steps }, { store: {} }).toThrow(new ConfigError('crashTest: store: expected a function, got an object without keys.'))
  await refused({ steps }, { store: () => undefined }).toThrow(new ConfigError('crashTest: store: expected a store, got undefined.'))
  await refused({ steps }, { logger: null }).toThrow(new ConfigError('crashTest: logger: expected a logger, such as pino, got null.'))
  await refused({ steps }, { machines: [{}] }).toThrow(/^machines: expected a machine/)
  await refused({ steps }, { leaseMs: 0 }).toThrow(new ConfigError('leaseMs: expected a whole number of at least 1, got 0.'))
  await refused({ steps }, { seeds: 3 }).toThrow(/^crashTest: seeds: there is no such option \(there are: .*runsMax/)
})

describe('a world', () => {
  test('tells when a store takes its dead for living', async () => {
    const path = await mkdtemp(join(tmpdir(), 'holdfast-lmdb-'))
    const world = new World({ machines: [counter], shards: 1, connect: () => new LmdbStore(path) })
    await world.start()
    world.crash()
    await expect(world.start()).rejects.toThrow('Give an LmdbStore the option identify: false')
    world.crash()
    await rm(path, { recursive: true })
  })

  test('has one process at a time, and numbers the writes of all of them', async () => {
    const asked: number[] = []
    const written: number[] = []
    const world = new World({ machines: [counter], shards: 2, onWrite: (write) => void asked.push(write.index), onWritten: (write) => void written.push(write.index) })
    await world.start()
    await expect(world.start()).rejects.toThrow('A process lives')
    await world.system.actor(counter, 'c').send({ type: 'add', by: 1 })
    await world.settled()
    world.crash()
    expect(() => world.store).toThrow('No process lives')
    await world.start()
    expect(await world.stop()).toBe(true)
    expect(world.alive).toBe(false)
    expect(asked).toEqual([...asked.keys()])
    expect(written).toEqual(asked)
    expect(world.writes).toBe(asked.length)
  })

  test('is settled only when nothing waits for an answer of its store any more, however late that comes', async () => {
    const boss = setup({
      types: { events: {} as { type: 'again' } },
      actions: { hire: durableChild(() => ({ machine: 'kid', id: 'k' })), again: restartDurableChild(() => ({ machine: 'kid', id: 'k', from: 'snapshot' })) },
    }).createMachine({ id: 'boss', entry: 'hire', on: { again: { actions: 'again' } } })
    const kid = setup({
      types: { context: {} as { n: number }, events: {} as { type: 'bad' } | { type: 'add' } },
      actions: {
        add: assign({ n: ({ context }) => context.n + 1 }),
        fail: assign(() => {
          throw new Error('bad')
        }),
      },
    }).createMachine({ id: 'kid', context: { n: 0 }, on: { bad: { actions: 'fail' }, add: { actions: 'add' } } })
    const world: World = new World({ machines: [boss, kid], shards: 1, connect: () => late(new MemoryStore({ database: world.database })) })
    await world.start()
    await world.system.actor(boss, 'b').start({})
    await world.settled()
    const child = world.system.actorAt('kid/b~k')
    for (const type of ['bad', 'add', 'add', 'add']) await child.send({ type } as never)
    await world.settled()
    expect(world.system.stats().parked).toBe(3)
    // The parked messages are read from the store when all that the system knows of is done.
    await world.system.actor(boss, 'b').send({ type: 'again' })
    await world.settled()
    expect((await child.snapshot())?.context).toEqual({ n: 3 })
  })
})

/** Answers some macrotasks later, as a server does, and long after all else when it is asked for parked messages. */
function late(store: Store): Store {
  return new Proxy(store, {
    get(target, name) {
      const method: unknown = Reflect.get(target, name)
      if (typeof method !== 'function') return method
      if (name === 'read' || name === 'watch') return method.bind(target) as unknown
      return async (...args: unknown[]) => {
        const answer: unknown = await (method.apply(target, args) as Promise<unknown>)
        for (let i = name === 'parked' ? 500 : 5; i > 0; i--) await new Promise<void>((resolve) => void setImmediate(resolve))
        return answer
      }
    },
  })
}

describe('a failure is made as small as it can be, and told as a story', () => {
  const messageOf = async (run: Promise<unknown>): Promise<CrashTestError> => run.then(() => { throw new Error('nothing was found') }, (error: unknown) => error as CrashTestError)

  test('of a promise that knows what a process forgets, only the step that calls it is left', async () => {
    let calls = 0
    const forgetful = setup({
      types: { context: {} as { n: number; other: number }, events: {} as { type: 'go' } | { type: 'other' } },
      actors: { count: fromPromise(() => Promise.resolve(++calls)) },
      actions: { keep: assign({ n: ({ event }) => (event as unknown as { output: number }).output }), note: assign({ other: ({ context }) => context.other + 1 }) },
    }).createMachine({
      id: 'forgetful',
      context: { n: 0, other: 0 },
      initial: 'idle',
      on: { other: { actions: 'note' } },
      states: { idle: { on: { go: 'counting' } }, counting: { invoke: { src: 'count', onDone: { target: 'idle', actions: 'keep' } } } },
    })
    const steps = [{ type: 'other' }, { advanceMs: 1_000 }, { type: 'go' }, { type: 'other' }, 'restart', { type: 'other' }] as const
    const error = await messageOf(crashTest(forgetful, { steps }, { prepare: () => (calls = 0) }))
    expect([error.kills.length, error.steps]).toEqual([1, [{ type: 'go' }]])
    const story = error.story.map((line) => line.replace(/^ *\d+ ms {2}/, '').replace(/write \d+/, 'write n'))
    expect(story).toEqual(
      expect.arrayContaining([
        'process 1 starts',
        "step 0: { type: 'go' }",
        expect.stringMatching(/^write n {2}commit {2}forgetful\/actor-1 turn 2, begins an effect {2}— killed after it$|^killed before write n/) as string,
        'process 2 starts',
      ]),
    )
    expect(error.message).toMatch(/What happened, made smaller in \d+ runs, in one step:\n {5}0 ms {2}process 1 starts/)
    // The same again: nothing is left to chance.
    expect((await messageOf(crashTest(forgetful, { steps }, { prepare: () => (calls = 0) }))).message).toBe(error.message)
  })

  test('of an inline action, which a crash may lose, the kill that loses it is told', async () => {
    const sent: string[] = []
    const inline = setup({ types: { events: {} as { type: 'mail'; to: string } } }).createMachine({ id: 'inline', on: { mail: { actions: ({ event }) => void sent.push(event.to) } } })
    const error = await messageOf(crashTest(inline, { steps: [{ type: 'mail', to: 'ann' }, { type: 'mail', to: 'bob' }, { type: 'mail', to: 'eve' }] }, { prepare: () => void (sent.length = 0), observe: () => sent.join() }))
    expect(error.kills).toMatchObject([{ kind: 'commit', side: 'after' }])
    expect(error.steps).toHaveLength(1)
    expect(error.story.join('\n')).toMatch(/commit {2}inline\/actor-1 turn 2 {2}— killed after it\n +0 ms {2}process 2 starts/)
  })

  test('nothing is tried if it is told so, and never more than it may', async () => {
    const sent: string[] = []
    const inline = setup({ types: { events: {} as { type: 'mail'; to: string } } }).createMachine({ id: 'inline', on: { mail: { actions: ({ event }) => void sent.push(event.to) } } })
    const scenario = { steps: [{ type: 'mail', to: 'ann' }, { type: 'mail', to: 'bob' }] as const }
    const options = { prepare: () => void (sent.length = 0), observe: () => sent.join() }
    expect((await messageOf(crashTest(inline, scenario, { ...options, shrinkRunsMax: 0 }))).message).toContain('What happened, in 2 steps:')
    expect((await messageOf(crashTest(inline, scenario, { ...options, shrinkRunsMax: 1 }))).message).toMatch(/made smaller in 1 runs/)
  })
})

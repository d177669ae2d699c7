/** Histories of actors and their replay, case by case; test/properties/replay has the law. */
import { expect, test } from 'vitest'
import { assign, createMachine, fromCallback, fromPromise, sendTo, setup, spawnChild, type AnyStateMachine } from 'xstate'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { ConfigError, SnapshotError, append, createActorSystem, durableChild, replay, restartDurableChild, type ActorHistory, type ChildFact, type HistoryOptions, type Store } from '../../src/index.js'
import { World } from '../../src/testing/index.js'

interface TallyOptions {
  readonly version?: string
  readonly by?: (n: number) => number
  readonly limit?: number
  readonly says?: string
}

/** Counts up to a limit, and notes each step. */
function tally({ version = '1', by = (n) => n, limit = 5, says = 'step' }: TallyOptions = {}) {
  return setup({
    types: { context: {} as { n: number; seen: string[] }, events: {} as { type: 'add'; n: number } },
    actions: {
      add: assign({ n: ({ context, event }) => context.n + by(event.n) }),
      note: append(({ context }) => ({ stream: 'notes', value: { says, n: context.n } })),
    },
    guards: { full: ({ context }) => context.n >= limit },
  }).createMachine({
    id: 'tally',
    version,
    context: { n: 0, seen: [] },
    initial: 'open',
    states: { open: { on: { add: { actions: ['add', 'note'] } }, always: { guard: 'full', target: 'full' } }, full: {} },
  })
}

async function worldOf(machine: AnyStateMachine, history: HistoryOptions | boolean = true, more: readonly AnyStateMachine[] = []): Promise<World> {
  const world = new World({ machines: [machine, ...more].map((each) => ({ machine: each, history })), shards: 1 })
  await world.start()
  return world
}

async function historyOf(world: World, address: string): Promise<ActorHistory> {
  await world.settled()
  const history = await world.system.actorAt(address).history()
  // As from a file.
  return JSON.parse(JSON.stringify(history)) as ActorHistory
}

async function added(machine: AnyStateMachine, numbers: readonly number[], history: HistoryOptions | boolean = true): Promise<ActorHistory> {
  const world = await worldOf(machine, history)
  for (const n of numbers) await world.system.actorAt('tally/t').send({ type: 'add', n } as never)
  return historyOf(world, 'tally/t')
}

// ── What a replay shows ──

test('a replay tells of every turn when it was, what came, from where to where the state went, what changed and what was asked for', async () => {
  const { turns, snapshot, status, turn, version, divergence } = replay(tally(), await added(tally(), [2, 4]))
  expect(turns).toEqual([
    { turn: 1, at: 1_000_000, kind: 'start', type: 'add', payload: { type: 'add', n: 2 }, before: undefined, after: 'open', changed: ['n', 'seen'], acts: ['append to stream notes'], status: 'active' },
    { turn: 2, at: 1_000_000, kind: 'event', type: 'add', payload: { type: 'add', n: 4 }, before: 'open', after: 'full', changed: ['n'], acts: ['append to stream notes'], status: 'active' },
  ])
  expect({ snapshot, status, turn, version, divergence }).toMatchObject({ snapshot: { value: 'full', context: { n: 6 } }, status: 'active', turn: 2, version: '1', divergence: undefined })
})

test('it stops after the turn that it is told, with the snapshot of then', async () => {
  const history = await added(tally(), [1, 1, 1, 1, 1])
  for (const to of [1, 3, 5]) expect(replay(tally(), history, { to })).toMatchObject({ turn: to, snapshot: { context: { n: to }, value: to === 5 ? 'full' : 'open' } })
  for (const to of [0, 6, 1.5, Number.NaN]) expect(() => replay(tally(), history, { to })).toThrow(new ConfigError(`to: the history of tally/t has turns 1 to 5, got ${to}.`))
})

// ── Where it diverges ──

test('another version of a machine goes through as long as it does the same, and not a turn longer', async () => {
  const history = await added(tally(), [1, 1, 3, 1])
  expect(replay(tally({ version: '2' }), history).divergence).toBeUndefined()
  expect(replay(tally({ version: '2', limit: 4 }), history).divergence).toBeUndefined() // reached with the third as well
  expect(replay(tally({ limit: 2 }), history).divergence).toEqual({ turn: 2, differences: [{ what: 'the state is "full" and was "open"' }] })
  const doubled = replay(tally({ by: (n) => (n === 3 ? 6 : n) }), history)
  expect(doubled.divergence).toEqual({ turn: 3, differences: [{ what: 'context.n is another', now: 8 }, { what: 'it asks for the same with other contents: append to stream notes' }] })
  // What follows was an answer to something else.
  expect(doubled.turns.at(-1)!.turn).toBe(3)
  expect(replay(tally({ says: 'other' }), history).divergence).toEqual({ turn: 1, differences: [{ what: 'it asks for the same with other contents: append to stream notes' }] })
})

test('one that asks for more, for less or for something else is told so', async () => {
  const machine = (entry: readonly unknown[]) => createMachine({ id: 'tally', on: { add: { actions: entry as never } } }, { actions: { a() {}, b() {} } })
  const history = await added(machine(['a']), [1])
  const differences = (entry: readonly unknown[]) => replay(machine(entry), history).divergence?.differences.map(({ what }) => what)
  expect(differences(['a'])).toBeUndefined()
  expect(differences(['a', 'b'])).toEqual(['it asks for one thing more: run action b'])
  expect(differences([])).toEqual(['it no longer asks for: run action a'])
  expect(differences(['b'])).toEqual(['it asks for "run action b" where it asked for "run action a"'])
  expect(differences([{ type: 'a', params: { x: 1 } }])).toEqual(['it asks for the same with other contents: run action a'])
})

test('one that fails where it did not, or does not where it did, is told so', async () => {
  const fails = tally({ by: (n) => (n === 2 ? (undefined as unknown as { n: number }).n : n) })
  const history = await added(tally(), [1, 2])
  expect(replay(fails, history).divergence).toMatchObject({ turn: 2, differences: [{ what: 'context.n is another', now: 1 }, { what: 'it fails, and did not', now: expect.stringContaining('undefined') as string }, { what: 'it no longer asks for: append to stream notes' }] })
  const failed = await added(fails, [1, 2])
  expect(replay(fails, failed)).toMatchObject({ status: 'failed', turns: [{ status: 'active' }, { status: 'failed', failure: { event: { type: 'add', n: 2 } } }] })
  expect(replay(fails, failed).divergence).toBeUndefined()
  expect(replay(tally(), failed).divergence?.differences.map(({ what }) => what)).toContain('it does not fail, and did')
})

test('an assign that draws chance or reads a clock shows where it does', async () => {
  let chance = 0
  const history = await added(tally({ by: (n) => (n === 2 ? ++chance : n) }), [1, 2, 1])
  expect(replay(tally({ by: (n) => (n === 2 ? ++chance : n) }), history).divergence).toEqual({ turn: 2, differences: [{ what: 'context.n is another', now: 3 }, { what: 'it asks for the same with other contents: append to stream notes' }] })
})

test('a machine that has not what the base needs is told at the base', async () => {
  const history = await added(tally(), [1, 1, 1, 1, 1, 1, 1, 1], { turnsMax: 4 })
  expect(history.base!.turn).toBeGreaterThan(1)
  expect(replay(createMachine({ id: 'tally', initial: 'other', states: { other: {} } }), history)).toMatchObject({ turns: [], divergence: { turn: history.base!.turn, differences: [{ what: 'the machine cannot read the state that the actor had' }] } })
})

// ── Every kind of turn ──

test('what effects bring, what fails after the commit, and what stops and restarts a child is replayed like any event', async () => {
  let works = false
  const kid = setup({
    types: { context: {} as { got: unknown[] }, events: {} as { type: 'tick'; n: number } | { type: 'burst' } | { type: 'bad' } },
    actors: {
      line: fromCallback(({ sendBack, receive }) => {
        sendBack({ type: 'tick', n: 1 })
        receive(() => sendBack({ type: 'tick', n: 2 }))
      }),
      job: fromPromise(async () => {
        if (!works) throw new Error('not yet')
        return 'done'
      }),
    },
    actions: {
      keep: assign({ got: ({ context, event }) => [...context.got, event] }),
      burst() {
        throw new Error('after the commit')
      },
    },
  }).createMachine({
    id: 'kid',
    context: { got: [] },
    invoke: [
      { id: 'line', src: 'line' },
      { id: 'job', src: 'job', onDone: { actions: 'keep' } },
    ],
    on: { tick: { actions: 'keep' }, burst: { actions: 'burst' }, bad: { actions: sendTo('line', { type: 'again' }) } },
  })
  const boss = setup({
    actions: {
      hire: durableChild(() => ({ machine: 'kid', id: 'k' })),
      again: restartDurableChild(() => ({ machine: 'kid', id: 'k', from: 'snapshot' })),
      anew: restartDurableChild(() => ({ machine: 'kid', id: 'k', from: 'input' })),
    },
  }).createMachine({ id: 'boss', context: { chances: [] as number[] }, entry: 'hire', on: { 'child.*': { actions: assign({ chances: ({ context, event }) => [...context.chances, (event as unknown as ChildFact).chance] }) }, again: { actions: 'again' }, anew: { actions: 'anew' } } })
  const world = await worldOf(boss, true, [kid])
  const tell = async (to: string, type: string): Promise<void> => {
    await world.system.actorAt(to).send({ type } as never)
    await world.settled()
  }
  await world.system.actorAt('boss/b').start()
  await world.settled()
  // The job has failed, and with it the child.
  works = true
  await tell('boss/b', 'again')
  await tell('kid/b~k', 'bad')
  await tell('kid/b~k', 'burst')
  await tell('boss/b', 'anew')
  await tell('boss/b', 'anew')
  await world.system.actorAt('kid/b~k').stop()
  const history = await historyOf(world, 'kid/b~k')
  const kinds = new Set(history.turns.map(({ input }) => input.kind))
  expect([...kinds].sort()).toEqual(['emission', 'event', 'fault', 'outcome', 'resume', 'start', 'stop'])
  expect(replay(kid, history)).toMatchObject({ status: 'stopped' })
  for (const [machine, address] of [[kid, 'kid/b~k'], [boss, 'boss/b']] as const) {
    const { divergence, snapshot } = replay(machine, await historyOf(world, address))
    expect(divergence, address).toBeUndefined()
    expect(snapshot).toEqual(await world.system.actorAt(address).persisted())
  }
})

test('effects begin again in the same order wherever their actor was when it failed', async () => {
  const kid = setup({ types: { context: {} as { f: unknown } }, actors: { wait: fromPromise(() => new Promise(() => {})) }, actions: { spoil: assign({ f: () => () => {} }) } }).createMachine({
    id: 'kid',
    context: { f: null },
    initial: 'on',
    // The first child is left with the state; when that is undone it stands behind the other in memory.
    states: { on: { invoke: { id: 'first', src: 'wait' }, on: { more: { actions: spawnChild('wait', { id: 'second' }) }, bad: { target: 'off', actions: 'spoil' } } }, off: {} },
  })
  const boss = setup({
    actions: { hire: durableChild(() => ({ machine: 'kid', id: 'k' })), again: restartDurableChild(() => ({ machine: 'kid', id: 'k', from: 'snapshot' })) },
  }).createMachine({ id: 'boss', entry: 'hire', on: { again: { actions: 'again' } } })
  const world = await worldOf(boss, true, [kid])
  await world.system.actorAt('boss/b').start()
  await world.settled()
  for (const type of ['more', 'bad']) await world.system.actorAt('kid/b~k').send({ type } as never)
  await world.settled()
  world.crash()
  await world.start()
  await world.system.actorAt('boss/b').send({ type: 'again' } as never)
  const history = await historyOf(world, 'kid/b~k')
  expect(history.turns.map(({ input }) => input.kind)).toEqual(['start', 'event', 'event', 'resume'])
  expect(replay(kid, history).divergence).toBeUndefined()
})

test('a turn that the store refused, and one that gave a failed actor up, are replayed as such', async () => {
  let refuses = false
  const world: World = new World({
    machines: [{ machine: tally(), history: true }],
    shards: 1,
    connect: () => refusing(new MemoryStore({ database: world.database }), () => refuses),
  })
  await world.start()
  const actor = world.system.actorAt('tally/t')
  await actor.send({ type: 'add', n: 1 } as never)
  refuses = true
  await actor.send({ type: 'add', n: 2 } as never).catch(() => {})
  await world.settled()
  await actor.stop()
  const history = await historyOf(world, 'tally/t')
  expect(history.turns.map(({ input }) => input.kind)).toEqual(['start', 'refused', 'give-up'])
  expect(replay(tally(), history)).toMatchObject({ status: 'stopped', turns: [{}, { failure: { error: { code: 'TURN' } } }, {}] })
  expect(replay(tally(), history).divergence).toBeUndefined()
})

/** Refuses whatever raises the count, as a database does that cannot take a value. */
function refusing(store: Store, refuses: () => boolean): Store {
  return new Proxy(store, {
    get(target, name) {
      if (name !== 'commit') return typeof Reflect.get(target, name) === 'function' ? ((Reflect.get(target, name) as () => void).bind(target) as unknown) : Reflect.get(target, name)
      const commit: Store['commit'] = (given) => {
        const part = given.parts.find(({ fields }) => fields.has('c0:n'))
        if (!part || !refuses()) return target.commit(given)
        return Promise.resolve({ ok: false, why: 'refused', address: part.address, detail: 'too large' })
      }
      return commit
    },
  })
}

test('an error with a stack in a context is the same error wherever it was thrown, and what is only called a stack is not one', async () => {
  const child = createMachine({ id: 'child', on: { add: { actions: assign(() => { throw new Error('from within') }) } } })
  const machine = (stack: string) =>
    setup({ types: { context: {} as { error: unknown; tools: unknown } }, actors: { child }, actions: { keep: assign({ error: ({ event }) => (event as { error?: unknown }).error, tools: { stack } }) } }).createMachine({
      id: 'tally',
      context: { error: null, tools: null },
      invoke: { id: 'c', src: 'child', onError: { actions: 'keep' } },
      on: { add: { actions: sendTo('c', { type: 'add' }) } },
    })
  const world = await worldOf(machine('react'))
  const { stackTraceLimit } = Error
  // Down to who ran the turn.
  Error.stackTraceLimit = 100
  await world.system.actorAt('tally/t').send({ type: 'add' } as never)
  const history = await historyOf(world, 'tally/t')
  Error.stackTraceLimit = stackTraceLimit
  const { snapshot, divergence } = replay(machine('react'), history)
  expect(snapshot).toMatchObject({ context: { error: { message: 'from within', stack: expect.stringContaining(' at ') as string } } })
  expect(divergence).toBeUndefined()
  expect(replay(machine('vue'), history).divergence?.differences.map(({ what }) => what)).toEqual(['context.tools is another'])
})

// ── What is kept ──

test('nothing of it is kept, or written, unless it is asked for', async () => {
  for (const history of [undefined, false] as const) {
    const world = new World({ machines: [{ machine: tally(), ...(history === undefined ? {} : { history }) }], shards: 1 })
    await world.start()
    await world.system.actorAt('tally/t').send({ type: 'add', n: 1 } as never)
    await world.settled()
    expect(await world.system.actorAt('tally/t').history()).toBeUndefined()
    const [record] = await world.store.load(0, ['tally/t'])
    expect([...record!.fields.keys()]).not.toContain('h')
    expect([...world.database.namespaces.get('default')!.shards[0]!.streams.keys()].filter((name) => name.startsWith('tally/'))).toEqual(['tally/t/notes'])
  }
})

test('it is bounded by turns, by bytes and by age, and what is left leads to where the actor is', async () => {
  const long = 'x'.repeat(1_000)
  const machine = createMachine({ id: 'tally', types: {} as { context: { n: number } }, context: { n: 0 }, on: { add: { actions: assign({ n: ({ context }) => context.n + 1 }) } } })
  for (const bounds of [{ turnsMax: 10 }, { bytesMax: 20_000 }, { ageMs: 10_000 }] satisfies HistoryOptions[]) {
    const world = await worldOf(machine, bounds)
    for (let n = 1; n <= 60; n++) {
      await world.system.actorAt('tally/t').send({ type: 'add', n, long } as never)
      await world.advance(1_000)
      const entries = await world.store.log(0, 'tally/t/+history', 0, 1_000)
      const bytes = entries.reduce((sum, { text }) => sum + text.length, 0)
      if (bounds.turnsMax) expect(entries.length).toBeLessThanOrEqual(bounds.turnsMax + 2)
      if (bounds.bytesMax) expect(bytes).toBeLessThan(bounds.bytesMax + 2_000)
      const history = await historyOf(world, 'tally/t')
      if (bounds.ageMs) expect(world.now() - (history.turns[0]?.at ?? world.now())).toBeLessThanOrEqual(bounds.ageMs + 1_000)
      if (n > 40) expect(history.turns.length).toBeGreaterThanOrEqual(4)
      for (const to of [history.base?.turn ?? 1, n]) expect(replay(machine, history, { to })).toMatchObject({ turn: to, snapshot: { context: { n: to } } })
    }
  }
})

test('it begins with a base when it is asked for late, and anew after a time without', async () => {
  const machine = tally({ limit: 99 })
  const world = new World({ shards: 1, create: (given) => ({ system: createActorSystem({ ...given, machines: [{ machine, history: keeps }] }), start() { return this.system.start() }, stop() { return this.system.stop() } }) })
  let keeps = false
  const add = async (n: number): Promise<void> => {
    for (let i = 0; i < n; i++) await world.system.actorAt('tally/t').send({ type: 'add', n: 1 } as never)
    await world.settled()
  }
  const spans: unknown[] = []
  for (const kept of [false, true, false, true]) {
    keeps = kept
    await world.start()
    await add(3)
    const history = await world.system.actorAt('tally/t').history()
    spans.push(history && [history.base?.turn, history.turns.map(({ turn }) => turn)])
    if (kept) expect(replay(machine, history!)).toMatchObject({ turn: history!.turns.at(-1)!.turn, snapshot: await world.system.actorAt('tally/t').persisted() })
    await world.stop()
  }
  // Without one, what there was is still there to be read.
  expect(spans).toEqual([undefined, [4, [5, 6]], [4, [5, 6]], [10, [11, 12]]])
})

test('it goes with the actor, and another that takes the id begins its own', async () => {
  const machine = createMachine({ id: 'tally', initial: 'a', states: { a: { on: { end: 'z' } }, z: { type: 'final' } } })
  const world = new World({ machines: [{ machine, history: true }], shards: 1, endedRetentionMs: 5_000 })
  await world.start()
  const actor = world.system.actorAt('tally/t')
  await actor.start()
  await actor.send({ type: 'end' } as never)
  expect((await historyOf(world, 'tally/t')).turns).toHaveLength(2)
  await world.advance(6_000)
  expect(await actor.history()).toBeUndefined()
  await actor.start()
  expect((await historyOf(world, 'tally/t')).turns.map(({ turn }) => turn)).toEqual([1])
})

// ── What is refused ──

test('bounds that are none are refused by name', () => {
  const store = new MemoryStore()
  const make = (history: unknown) => () => createActorSystem({ store, machines: [{ machine: tally(), history: history as never }] })
  expect(make({ turnsMax: 1 })).toThrow(new ConfigError('history of machine tally.turnsMax: expected a whole number of at least 2, got 1.'))
  expect(make({ turns: 5 })).toThrow(new ConfigError('history of machine tally: there is no such option as turns (there are: turnsMax, bytesMax, ageMs).'))
  expect(make('yes')).toThrow(new ConfigError('history of machine tally: expected true, false or { turnsMax, bytesMax, ageMs }, got yes.'))
})

test('what is no history, or a damaged one, is refused, and not taken for another life', async () => {
  const history = await added(tally(), [1, 1, 1, 1, 1, 1], { turnsMax: 4 })
  expect(() => replay(tally(), undefined as never)).toThrow(/expected what actor\.history\(\) gives, got undefined/)
  expect(() => replay(tally(), { x: 1 } as never)).toThrow(/got an object with x/)
  expect(() => replay(tally(), { ...history, format: 2 as never })).toThrow(/has format 2, this version of holdfast reads 1/)
  expect(() => replay(tally(), { ...history, turns: history.turns.slice(1) })).toThrow(/turn \d+ follows \d+/)
  expect(() => replay(tally(), { ...history, base: undefined as never, turns: [] })).toThrow(SnapshotError)
  const { base } = history
  const damaged = { ...base!, fields: { ...base!.fields, 'c0:n': base!.fields['c0:n']!.replace(/\d$/, '7') } }
  expect(() => replay(tally(), { ...history, base: damaged })).toThrow(/the checksum of field c0:n is wrong/)
  const [turn] = history.turns
  for (const bad of [null, { turn: turn!.turn }, { ...turn, sums: null }, { ...turn, acts: undefined }, { ...turn, input: undefined }, { ...turn, input: { kind: 'dreamt' } }]) {
    expect(() => replay(tally(), { ...history, turns: [bad as never] }), JSON.stringify(bad)).toThrow(ConfigError)
  }
  for (const bad of [null, { turn: base!.turn }, { fields: base!.fields }]) expect(() => replay(tally(), { ...history, base: bad as never })).toThrow(/has a base without a turn and fields/)
  expect(() => replay({} as never, history)).toThrow(ConfigError)
})

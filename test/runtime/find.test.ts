/** Finding actors by what they are: what is found, page by page, and what is written for it. */
import { afterEach, describe, expect, test } from 'vitest'
import { assign, setup, type AnyStateMachine } from 'xstate'
import { MemoryDatabase, MemoryStore } from '../../src/adapters/memory/index.js'
import { createClient, durableChild, type ActorQuery } from '../../src/index.js'
import { addressSumOf, seal } from '../../src/runtime/stored-record.js'
import { termsMax } from '../../src/runtime/ports/store.js'
import { World, type Write } from '../../src/testing/index.js'
import { addressesOf, expectFound, findAll } from '../support/found.js'
import { RecordingLogger, aWorld, counter } from '../support/worlds.js'

const worlds: World[] = []
afterEach(() => Promise.all(worlds.splice(0).map((world) => world.stop())))

async function made(...given: Parameters<typeof aWorld>): Promise<World> {
  const world = await aWorld(...given)
  worlds.push(world)
  return world
}

const agent = setup({
  types: { context: {} as { n: number }, events: {} as { type: 'work' } | { type: 'ask' } | { type: 'count' } | { type: 'end' } | { type: 'throw' } },
  actions: {
    count: assign({ n: ({ context }) => context.n + 1 }),
    bad: assign(() => {
      throw new Error('bad')
    }),
  },
}).createMachine({
  id: 'agent',
  context: { n: 0 },
  initial: 'idle',
  on: { end: '.done', throw: { actions: 'bad' }, count: { actions: 'count' } },
  states: {
    idle: { on: { work: 'working' } },
    working: { initial: 'calling', tags: 'busy', on: { ask: 'approvalPending' }, states: { calling: { tags: 'paid', on: { work: 'judging' } }, judging: {} } },
    approvalPending: { tags: ['busy', 'person'], on: { work: 'working' } },
    done: { type: 'final', tags: 'over' },
  },
})

const both = setup({ types: { events: {} as { type: 'a' } | { type: 'b' } | { type: 'none' } } }).createMachine({
  id: 'both',
  type: 'parallel',
  on: { none: { actions: () => {} } },
  states: { a: { initial: 'off', states: { off: { on: { a: 'on' } }, on: { on: { a: 'off' } } } }, b: { initial: 'off', states: { off: { on: { b: 'on' } }, on: {} } } },
})

async function found(world: World, query: ActorQuery): Promise<string[]> {
  return addressesOf({ actors: await findAll(world.system, query) })
}

test('an actor is found by each state that it is in, its tags, its machine, its key and any of these together', async () => {
  const world = await made({ machines: [agent, both] })
  for (const id of ['x', 'y', 'z']) await world.system.actor(agent, id).send({ type: 'work' })
  await world.system.actor(agent, 'y').send({ type: 'work' })
  await world.system.actor(agent, 'z').send({ type: 'ask' })
  await world.system.actor(both, 'y').send({ type: 'b' })
  expect((await world.system.find({ machine: 'agent' })).actors).toEqual([
    { address: 'agent/x', status: 'active', states: ['working', 'working.calling'], tags: ['busy', 'paid'] },
    { address: 'agent/y', status: 'active', states: ['working', 'working.judging'], tags: ['busy'] },
    { address: 'agent/z', status: 'active', states: ['approvalPending'], tags: ['busy', 'person'] },
  ])
  expect(await found(world, { state: 'working' })).toEqual(['agent/x', 'agent/y'])
  expect(await found(world, { state: 'working.calling' })).toEqual(['agent/x'])
  expect(await found(world, { state: 'calling' })).toEqual([])
  expect(await found(world, { tag: 'busy' })).toEqual(['agent/x', 'agent/y', 'agent/z'])
  expect(await found(world, { tag: 'busy', state: 'approvalPending' })).toEqual(['agent/z'])
  expect(await found(world, { tag: 'paid', state: 'approvalPending' })).toEqual([])
  expect(await found(world, { state: 'b.on' })).toEqual(['both/y'])
  expect(await found(world, { state: 'a.off', key: 'y' })).toEqual(['both/y'])
  expect(await found(world, { key: 'y', tag: 'busy' })).toEqual(['agent/y'])
  expect(await found(world, { machine: 'both', state: 'working' })).toEqual([])
  await expectFound(world.system, world.store)
})

test('one that failed or was stopped is in no state; one that is done is where it ended', async () => {
  const world = await made({ machines: [agent] })
  const at = (id: string) => world.system.actor(agent, id)
  for (const id of ['done', 'failed', 'stopped', 'working']) await at(id).send({ type: 'work' })
  await at('done').send({ type: 'end' })
  await at('failed').send({ type: 'throw' })
  await at('stopped').stop()
  for (const status of ['done', 'failed', 'stopped'] as const) expect(await found(world, { status })).toEqual([`agent/${status}`])
  expect(await found(world, { status: 'active' })).toEqual(['agent/working'])
  expect(await found(world, { state: 'working' })).toEqual(['agent/working'])
  expect(await found(world, { state: 'done', tag: 'over', status: 'done' })).toEqual(['agent/done'])
  expect((await world.system.find({ status: 'failed' })).actors).toEqual([{ address: 'agent/failed', status: 'failed', states: [], tags: [] }])
  await expectFound(world.system, world.store)
})

test('actors of a run are found by it, whatever their key', async () => {
  const boss = setup({ actions: { hire: durableChild(() => ({ machine: 'agent', id: 'w' })) } }).createMachine({ id: 'boss', on: { hire: { actions: 'hire' } } })
  const world = await made({ machines: [boss, agent], shards: 4 })
  await world.system.actor(boss, 'b').send({ type: 'hire' }, { run: 'r-1' })
  await world.system.actor(agent, 'other').send({ type: 'work' }, { run: 'r-1' })
  await world.system.actor(agent, 'none').send({ type: 'work' })
  await world.settled()
  expect(await found(world, { run: 'r-1' })).toEqual(['agent/b~w', 'agent/other', 'boss/b'])
  expect(await found(world, { run: 'r-1', state: 'working' })).toEqual(['agent/other'])
  expect(await found(world, { run: 'r-1', key: 'b', machine: 'agent' })).toEqual(['agent/b~w'])
  await world.system.actorAt('agent/b~w').stop()
  expect(await found(world, { run: 'r-1', status: 'stopped' })).toEqual(['agent/b~w'])
})

test('an actor that has gone is not found, and one that takes its name is found as it is', async () => {
  const world = await made({ machines: [agent], endedRetentionMs: 1_000 })
  await world.system.actor(agent, 'x').send({ type: 'work' })
  await world.system.actor(agent, 'x').send({ type: 'end' })
  expect(await found(world, { state: 'done' })).toEqual(['agent/x'])
  await world.advance(1_000)
  for (const query of [{}, { state: 'done' }, { status: 'done' as const }, { tag: 'over' }]) expect(await found(world, query)).toEqual([])
  await world.system.actor(agent, 'x').start()
  expect((await world.system.find()).actors).toEqual([{ address: 'agent/x', status: 'active', states: ['idle'], tags: [] }])
})

test('only what changes is written, and a turn that stays in its states writes nothing of it', async () => {
  const written: (readonly string[] | undefined)[] = []
  const onWritten = ({ commit }: Write): void => void written.push(...(commit?.parts ?? []).filter(({ fields }) => fields.size > 0).map(({ terms }) => terms))
  const world = await made({ machines: [agent, both, counter], onWritten })
  for (const type of ['count', 'work', 'count', 'work', 'work'] as const) await world.system.actor(agent, 'x').send({ type })
  expect(written.splice(0)).toEqual([['.idle'], ['.working', '.working.calling', '#busy', '#paid'], undefined, ['.working', '.working.judging', '#busy'], undefined])
  for (const type of ['none', 'a', 'none', 'none'] as const) await world.system.actor(both, 'x').send({ type })
  expect(written.splice(0)).toEqual([['.a', '.b', '.a.off', '.b.off'], ['.a', '.b', '.a.on', '.b.off'], undefined, undefined])
  world.crash()
  await world.start()
  for (const type of ['none', 'b'] as const) await world.system.actor(both, 'x').send({ type })
  expect(written.splice(0)).toEqual([undefined, ['.a', '.b', '.a.on', '.b.on']])
  await world.system.actor(counter, 'x').send({ type: 'add', by: 1 })
  await world.system.actor(counter, 'x').send({ type: 'throw' })
  expect(written.splice(0)).toEqual([['.counting'], ['=failed']])
})

test('names that are long, odd or many are found, too', async () => {
  const long = 'very '.repeat(1_000)
  const odd = ['a\nb', 'a b', 'ä€😀', '\ud800', '"', ' ', long, `${long}!`]
  const names = (keys: readonly string[]): AnyStateMachine => setup({}).createMachine({ id: 'names', type: 'parallel', states: Object.fromEntries(keys.map((key) => [key, { tags: `${key}#` }])) })
  const logger = new RecordingLogger()
  const many = Array.from({ length: 200 }, (_, i) => `s${i}`)
  const world = await made({ machines: [names(odd), { machine: names(many), name: 'many' }], logger })
  await world.system.actorAt('names/x').start()
  await world.system.actorAt('many/x').start()
  for (const key of odd) {
    expect(await found(world, { state: key })).toEqual(['names/x'])
    expect(await found(world, { tag: `${key}#` })).toEqual(['names/x'])
  }
  for (const key of ['a', `${long}?`, '\ud801']) expect(await found(world, { state: key })).toEqual([])
  // Of very many the first, and that is said.
  const [actor] = (await world.system.find({ machine: 'many' })).actors
  expect(actor!.states).toEqual(many.slice(0, termsMax))
  expect(logger.lines.filter(({ message }) => message.includes('than they can be found by'))).toMatchObject([{ level: 'warn', machine: 'many', most: 400, kept: termsMax }])
})

test('what nothing can be sought by is refused by name', async () => {
  const world = await made({ machines: [agent] })
  const bad: [unknown, string, RegExp][] = [
    [{ machin: 'agent' }, 'CONFIG', /^machin: nothing is sought by it \(there are: machine, key,/],
    [null, 'CONFIG', /A query is an object, got null/],
    ['agent', 'CONFIG', /A query is an object/],
    [['agent'], 'CONFIG', /A query is an object .* got one of class Array/],
    [{ machine: 'a/b' }, 'INVALID_ID', /machine "a\/b"/],
    [{ key: '' }, 'INVALID_ID', /key ""/],
    [{ run: 7 }, 'INVALID_ID', /run 7/],
    [{ state: '' }, 'CONFIG', /state: expected a name of 1 to 10000 characters, such as "working.calling", got ""/],
    [{ state: { working: 'calling' } }, 'CONFIG', /state: .* got \{"working":"calling"\}/],
    [{ tag: 7 }, 'CONFIG', /tag: expected a name of 1 to 10000 characters, got 7/],
    [{ status: 'error' }, 'CONFIG', /status: expected one of active, done, stopped, failed, got "error"/],
    [{ limit: 0 }, 'CONFIG', /limit: expected 1 to 1000, got 0/],
    [{ limit: 1_001 }, 'CONFIG', /limit: expected 1 to 1000, got 1001/],
    [{ limit: 5n }, 'CONFIG', /limit: expected 1 to 1000, got 5n/],
    [{ cursor: 'x' }, 'CONFIG', /cursor: "x" is not of a page of this query/],
    [{ cursor: 7 }, 'CONFIG', /cursor: 7 is not/],
  ]
  for (const [query, code, message] of bad) {
    await expect(world.system.find(query as never), String(message)).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string })
  }
  expect(await world.system.find({ machine: 'nobody-runs-it', state: 'nowhere' })).toEqual({ actors: [] })
  for (const id of ['x', 'y']) await world.system.actor(agent, id).send({ type: 'work' })
  const { cursor } = await world.system.find({ state: 'working', limit: 1 })
  expect(addressesOf(await world.system.find({ limit: 5, state: 'working', cursor: cursor! }))).toEqual(['agent/y'])
  await expect(world.system.find({ state: 'idle', cursor: cursor! })).rejects.toMatchObject({ code: 'CONFIG' })
})

describe('pages', () => {
  test('let others run, also where the store answers at once', async () => {
    const world = await made({ machines: [agent] })
    for (const list of [() => world.system.find(), () => world.system.deadLetters()]) {
      let others = false
      setImmediate(() => (others = true))
      for (let pages = 0; pages < 100 && !others; pages++) await list()
      expect(others).toBe(true)
    }
  })

  test('go over all shards in the order of addresses, each actor once, while all of them move', async () => {
    const world = await made({ machines: [agent], shards: 7 })
    const ids = Array.from({ length: 60 }, (_, i) => `a${String(i).padStart(2, '0')}`)
    const sendAll = (type: 'work' | 'ask'): Promise<unknown> => Promise.all(ids.map((id) => world.system.actor(agent, id).send({ type })))
    await sendAll('work')
    for (const limit of [1, 7, 59, 60, 61]) {
      const seen: string[] = []
      let turn = 0
      for (let cursor: string | undefined; ; ) {
        const page = await world.system.find({ tag: 'busy', limit, ...(cursor === undefined ? {} : { cursor }) })
        expect(page.actors.length).toBeLessThanOrEqual(limit)
        seen.push(...addressesOf(page))
        if (limit > 1 || turn < 3) await sendAll(turn++ % 2 === 0 ? 'ask' : 'work')
        cursor = page.cursor
        if (cursor === undefined) break
      }
      expect(seen).toEqual(ids.map((id) => `agent/${id}`))
    }
  })

  test('are short rather than slow where few of many fit, and miss nobody', async () => {
    const database = new MemoryDatabase()
    let finds = 0
    const connect = (): MemoryStore => {
      const store = new MemoryStore({ database })
      const find = store.find.bind(store)
      return Object.assign(store, { find: (...args: Parameters<typeof find>) => (finds++, find(...args)) })
    }
    const world = await made({ machines: [counter, agent], shards: 1, connect })
    const ids = Array.from({ length: 18_000 }, (_, i) => `a${i}`)
    await Promise.all(ids.map((id) => world.system.actor(agent, id).send({ type: 'work' })))
    for (const id of ['a17', 'a9999']) await world.system.actor(agent, id).send({ type: 'work' })
    const query = { tag: 'busy', state: 'working.judging' }
    const pages: string[][] = []
    for (let cursor: string | undefined; pages.length === 0 || cursor !== undefined; ) {
      finds = 0
      const page = await world.system.find({ ...query, ...(cursor === undefined ? {} : { cursor }) })
      expect(finds).toBeLessThanOrEqual(16)
      pages.push(addressesOf(page))
      cursor = page.cursor
    }
    expect(pages).toEqual([['agent/a17'], ['agent/a9999']])
  }, 60_000)
})

test('a client finds what the owner runs', async () => {
  const world = await made({ machines: [agent] })
  await world.system.actor(agent, 'x').send({ type: 'work' })
  const client = await createClient({ store: new MemoryStore({ database: world.database }) })
  expect(addressesOf(await client.find({ state: 'working.calling' }))).toEqual(['agent/x'])
  await client.stop()
})

describe('actors that a version without an index has written', () => {
  /** As if this version had never been here. */
  function unindex(world: World): void {
    for (const shard of world.database.namespaces.get('default')!.shards) {
      shard.terms.clear()
      shard.streams.delete('indexed')
      for (const [address, fields] of shard.records) {
        const tail = fields.get('z')!.slice(8)
        expect(tail).toMatch(/ f$/)
        fields.set('z', seal(addressSumOf(address as never), 'z', tail.slice(0, -2)))
      }
    }
  }

  async function old(options: Partial<Parameters<typeof aWorld>[0]> = {}): Promise<World> {
    const world = await made({ machines: [agent, counter], shards: 2, residentMax: 4, ...options })
    for (let i = 0; i < 300; i++) await world.system.actor(agent, `a${i}`).send({ type: i % 3 === 0 ? 'work' : 'count' })
    await world.system.actor(agent, 'a1').send({ type: 'throw' })
    await world.system.actor(agent, 'a2').stop()
    await world.stop()
    unindex(world)
    return world
  }

  test('are found once the owner of their shard has gone through it', async () => {
    const logger = new RecordingLogger()
    const world = await old({ logger })
    await world.start()
    await world.settled()
    expect(await found(world, { state: 'working.calling' })).toHaveLength(100)
    await expectFound(world.system, world.store)
    const told = logger.lines.filter(({ message }) => message === 'actors of an earlier version are found now')
    expect(told.reduce((sum, { actors }) => sum + Number(actors), 0)).toBe(300)
    // They have not had a turn for it, and it is not done again.
    await world.stop()
    const before = world.writes
    await world.start()
    await world.settled()
    expect(logger.lines.filter(({ message }) => message === 'actors of an earlier version are found now')).toHaveLength(told.length)
    expect(world.writes - before).toBeLessThanOrEqual(6)
    expect(await world.system.actor(agent, 'a1').status()).toBe('failed')
  })

  test('are found as they are, although they have turns meanwhile and the process dies', async () => {
    let kills = 0
    let writes = 0
    const world = await old({ onWrite: ({ kind }) => (kills > 0 && kind === 'commit' && ++writes % 3 === 0 ? (kills--, kills % 2 === 0 ? 'kill-before' : 'kill-after') : undefined) })
    kills = 6
    for (let i = 0; kills > 0 || !world.alive; i++) {
      if (!world.alive) await world.start()
      if (world.alive) for (let j = 0; j < 20; j++) world.system.actor(agent, `a${(i * 37 + j) % 300}`).send({ type: 'work' }).catch(() => {})
      await world.settled()
    }
    await world.settled()
    await expectFound(world.system, world.store)
  })

  test('are found by machine and key, and with their next turn by the rest, if nobody can read them yet', async () => {
    const world = await old()
    worlds.splice(worlds.indexOf(world), 1)
    const other = new World({ machines: [counter], shards: 2, connect: () => new MemoryStore({ database: world.database }), startsAt: world.now() })
    await other.start()
    await other.settled()
    expect(await found(other, { machine: 'agent', key: 'a3' })).toEqual(['agent/a3'])
    expect(await found(other, { state: 'working' })).toEqual([])
    await other.stop()
    await world.start()
    await world.settled()
    expect(await found(world, { state: 'working' })).toEqual([])
    await world.system.actor(agent, 'a3').send({ type: 'count' })
    expect(await found(world, { state: 'working' })).toEqual(['agent/a3'])
    await world.stop()
  })
})

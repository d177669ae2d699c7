/** Messages that could not be handled: listed with their evidence, and redriven, each once. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { assign, setup } from 'xstate'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { createClient, type DeadLetter, type DeadLetterPage, type DeadLetterQuery } from '../../src/index.js'
import type { World } from '../../src/testing/index.js'
import { extent, firstSeed } from '../support/extent.js'
import { Random } from '../support/random.js'
import { openDatabases, type Databases, type StoreKind } from '../support/stores.js'
import { aWorld, counter } from '../support/worlds.js'

const retentionMs = 1_000
const shards = 5

async function all(system: { deadLetters(query: DeadLetterQuery): Promise<DeadLetterPage> }, query: DeadLetterQuery = {}): Promise<DeadLetter[]> {
  const found: DeadLetter[] = []
  for (let page: DeadLetterPage | undefined; !page || page.cursor !== undefined; ) {
    page = await system.deadLetters({ ...query, ...(page?.cursor === undefined ? {} : { cursor: page.cursor }) })
    if (query.limit !== undefined) expect(page.letters.length).toBeLessThanOrEqual(query.limit)
    found.push(...page.letters)
  }
  return found
}

/** Keeps what it is told, in order. */
const keeper = setup({
  types: { context: {} as { seen: number[] }, events: {} as { type: 'see'; n: number } | { type: 'end' } },
  actions: { see: assign({ seen: ({ context, event }) => [...context.seen, event.type === 'see' ? event.n : -1] }) },
}).createMachine({ id: 'keeper', context: { seen: [] }, initial: 'on', states: { on: { on: { see: { actions: 'see' }, end: 'off' } }, off: { type: 'final' } } })

const ids = ['a', 'b', 'c', 'd', 'e', 'f']

/** Actors that ended before they had seen what they were sent. */
async function withLetters(each: number, options: Partial<Parameters<typeof aWorld>[0]> = {}): Promise<World> {
  const world = await aWorld({ machines: [keeper, counter], shards, endedRetentionMs: retentionMs, ...options })
  for (const id of ids) await world.system.actor(keeper, id).send({ type: 'end' })
  for (let n = 0; n < each; n++) for (const id of ids) await world.system.actor(keeper, id).send({ type: 'see', n }, { id: `m-${n}`, run: `r-${id}` })
  await world.settled()
  return world
}

test('they are listed over all shards, page by page, with their evidence', async () => {
  const world = await withLetters(7)
  for (const limit of [1, 3, 42, 100, undefined]) {
    const letters = await all(world.system, limit === undefined ? {} : { limit })
    expect(letters).toHaveLength(42)
    expect(new Set(letters.map(({ id }) => id)).size).toBe(42)
    for (const id of ids) expect(letters.filter(({ to }) => to === `keeper/${id}`).map(({ message }) => message.body)).toEqual(Array.from({ length: 7 }, (_, n) => ({ type: 'see', n })))
  }
  const { letters: [letter] } = await world.system.deadLetters({ actor: 'keeper/b' })
  expect(letter).toEqual({
    id: expect.stringMatching(/^[0-4]-\d+$/) as string,
    to: 'keeper/b',
    reason: 'ended',
    detail: 'Actor keeper/b is done.',
    at: world.now(),
    message: { id: 'keeper/b!m-0', kind: 'event', run: 'r-b', body: { type: 'see', n: 0 } },
  })
  await world.stop()
})

test('they are sought by actor, machine, key, reason, time, and these together', async () => {
  const world = await withLetters(2)
  await world.advance(100)
  const since = world.now()
  const client = await createClient({ store: new MemoryStore({ database: world.database }) })
  await client.actorAt('counter/b').stop()
  await client.actorAt('counter/b').send({ type: 'throw' } as never)
  await client.actorAt('counter/b').send({ type: 'add', by: 1 } as never)
  await world.settled()
  const count = async (query: DeadLetterQuery): Promise<number> => (await all(client, query)).length
  expect(await count({ machine: 'counter' })).toBe(1)
  expect(await count({ machine: 'counter', reason: 'failed', since })).toBe(1)
  expect(await count({ key: 'b' })).toBe(3)
  expect(await count({ key: 'b', machine: 'keeper' })).toBe(2)
  expect(await count({ actor: 'keeper/b' })).toBe(2)
  expect(await count({ reason: 'ended' })).toBe(12)
  expect(await count({ reason: 'overflow' })).toBe(0)
  expect(await count({ since })).toBe(1)
  expect(await count({ since: since + 1 })).toBe(0)
  expect(await count({ machine: 'nobody-runs-it' })).toBe(0)
  await client.stop()
  await world.stop()
})

test('one is redriven by its id, from any process, and handled under the id that its message had', async () => {
  const world = await withLetters(2)
  const client = await createClient({ store: new MemoryStore({ database: world.database }) })
  const [first, second] = (await client.deadLetters({ actor: 'keeper/c' })).letters
  // Still in vain: it comes back as another letter.
  expect(await client.redriveDeadLetters(first!.id)).toEqual({ redriven: 1, full: 0, gone: 0 })
  await world.settled()
  const [, back] = (await client.deadLetters({ actor: 'keeper/c' })).letters
  expect(back).toEqual({ ...first!, id: back!.id })
  expect(back!.id).not.toBe(first!.id)
  await world.advance(retentionMs)
  expect(await client.redriveDeadLetters([back!.id, first!.id, back!.id])).toEqual({ redriven: 1, full: 0, gone: 1 })
  await world.settled()
  expect((await world.system.actor(keeper, 'c').snapshot())?.context.seen).toEqual([0])
  expect((await client.deadLetters({ actor: 'keeper/c' })).letters).toEqual([second])
  expect(await client.redriveDeadLetters(back!.id)).toEqual({ redriven: 0, full: 0, gone: 1 })
  await client.stop()
  await world.stop()
})

test('all that a query finds are redriven, in the order in which each actor was sent them; what comes back is not redriven again', async () => {
  const world = await withLetters(250)
  const before = world.now()
  expect(await world.system.redriveDeadLetters({ actor: 'keeper/a' })).toEqual({ redriven: 250, full: 0, gone: 0 })
  await world.settled()
  expect(await all(world.system, { actor: 'keeper/a' })).toHaveLength(250)
  await world.advance(retentionMs)
  expect(await world.system.redriveDeadLetters({ since: before + 1 })).toEqual({ redriven: 0, full: 0, gone: 0 })
  expect(await world.system.redriveDeadLetters({})).toEqual({ redriven: 1_500, full: 0, gone: 0 })
  await world.settled()
  for (const id of ids) expect((await world.system.actor(keeper, id).snapshot())?.context.seen).toEqual(Array.from({ length: 250 }, (_, n) => n))
  expect(await all(world.system)).toEqual([])
  await world.stop()
}, 30_000)

test('what finds no room stays a dead letter, and nothing overtakes it', async () => {
  const world = await withLetters(20)
  await world.advance(retentionMs)
  await world.stop()
  const client = await createClient({ store: new MemoryStore({ database: world.database, now: () => world.now() }), backlogMax: 5 })
  expect(await client.redriveDeadLetters({ key: 'a' })).toEqual({ redriven: 5, full: 15, gone: 0 })
  expect(await client.redriveDeadLetters({})).toEqual({ redriven: 25, full: 90, gone: 0 })
  await world.start()
  await world.settled()
  for (let round = 1; round < 4; round++) {
    await client.redriveDeadLetters({})
    await world.settled()
  }
  expect(await all(client)).toEqual([])
  for (const id of ids) expect((await world.system.actor(keeper, id).snapshot())?.context.seen).toEqual(Array.from({ length: 20 }, (_, n) => n))
  await client.stop()
  await world.stop()
})

test('a question whose deadline has passed is redriven without it, and what it asked for is done', async () => {
  const world = await aWorld({ machines: [keeper], shards })
  await world.stop()
  const client = await createClient({ store: new MemoryStore({ database: world.database, now: () => world.now() }), clock: world.time })
  const asked = client.actorAt('keeper/a').ask({ type: 'see', n: 1 } as never, { deadlineMs: 50 })
  asked.catch(() => {})
  await new Promise((resolve) => setImmediate(resolve))
  world.time.runUntil(100)
  await expect(asked).rejects.toMatchObject({ code: 'DEADLINE' })
  await world.start()
  await world.settled()
  const { letters: [letter] } = await client.deadLetters({ reason: 'expired' })
  expect(letter!.message.body).toEqual({ type: 'see', n: 1 })
  expect(await client.redriveDeadLetters(letter!.id)).toMatchObject({ redriven: 1 })
  await world.settled()
  expect((await world.system.actor(keeper, 'a').snapshot())?.context.seen).toEqual([1])
  await client.stop()
  await world.stop()
})

test('what none can be sought or redriven by is refused by name', async () => {
  const world = await withLetters(1)
  const { system } = world
  const bad: [unknown, string, RegExp][] = [
    [{ actors: 'a' }, 'CONFIG', /^actors: nothing is sought by it/],
    [{ actor: 'keeper' }, 'INVALID_ID', /address "keeper"/],
    [{ machine: '' }, 'INVALID_ID', /machine ""/],
    [{ key: 'a/b' }, 'INVALID_ID', /key "a\/b"/],
    [{ actor: 'keeper/a', key: 'a' }, 'CONFIG', /an actor has one key/],
    [{ reason: 'no' }, 'CONFIG', /reason: expected one of ended, failed,.* got "no"/],
    [{ since: '2024' }, 'CONFIG', /since: expected milliseconds since the epoch, got 2024/],
  ]
  for (const [query, code, message] of bad) {
    await expect(system.deadLetters(query as never)).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string })
    await expect(system.redriveDeadLetters(query as never)).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string })
  }
  for (const query of [{ limit: 0 }, { limit: 1_001 }, { cursor: 'x' }]) await expect(system.deadLetters(query)).rejects.toMatchObject({ code: 'CONFIG' })
  for (const query of [{ limit: 5 }, { cursor: 'x' }]) await expect(system.redriveDeadLetters(query)).rejects.toThrow(/all that fit the query are redriven/)
  for (const id of ['', 'x', '1', '5-1', '-1-1', '1-1-1', '1-1e3', 7]) await expect(system.redriveDeadLetters([id as string])).rejects.toThrow(/is no id of a dead letter here/)
  await expect(system.redriveDeadLetters([])).rejects.toThrow(/1 to 1000 ids/)
  await expect(system.redriveDeadLetters(Array.from({ length: 1_001 }, () => '1-1'))).rejects.toThrow(/1 to 1000 ids/)
  // What is none of the three must not be taken for a query that all letters fit.
  for (const which of [17, 7n, null, undefined, true, new Set(['1-1'])]) await expect(system.redriveDeadLetters(which as never), String(which)).rejects.toMatchObject({ code: 'CONFIG' })
  expect(await system.redriveDeadLetters('1-999')).toEqual({ redriven: 0, full: 0, gone: 1 })
  await world.stop()
})

describe.each<[StoreKind, number]>([['memory', 40], ['lmdb', 8], ['redis', 8]])('on %s', (kind, first) => {
  let databases: Databases
  beforeAll(async () => void (databases = await openDatabases(kind)))
  afterAll(() => databases.dispose())

  const runs = extent(first)
  test(`whatever dies while letters are redriven, and whoever else does so, each is handled once (seeds ${firstSeed} to ${firstSeed + runs - 1})`, async () => {
    let kills = 0
    for (let seed = firstSeed; seed < firstSeed + runs; seed++) {
      const random = new Random(seed)
      const each = 12
      let mayDie = false
      const world = await withLetters(each, {
        seed,
        suspectMax: Infinity,
        connect: () => databases.connect(`dead-${seed}`),
        onWrite: ({ kind: write }) => (mayDie && random.chance(write === 'redrive' ? 0.3 : 0.05) ? (kills++, random.pick(['kill-before', 'kill-after'] as const)) : undefined),
      })
      await world.advance(retentionMs)
      const other = await createClient({ store: databases.connect(`dead-${seed}`) })
      mayDie = true
      for (let round = 0; round < 12; round++) {
        if (!world.alive) await world.start()
        if (!world.alive) continue
        const query = random.pick<DeadLetterQuery>([{}, { key: random.pick(ids) }, { machine: 'keeper' }])
        const letters = (await Promise.race([world.system.deadLetters(query), world.died]))?.letters ?? []
        if (!world.alive) continue
        const some = letters.filter(() => random.chance(0.3)).map(({ id }) => id)
        await Promise.all([
          Promise.race([some.length > 0 ? world.system.redriveDeadLetters(some) : undefined, world.died]),
          random.chance(0.3) ? Promise.race([world.system.redriveDeadLetters(query), world.died]) : undefined,
          some.length > 0 && random.chance(0.5) ? other.redriveDeadLetters(some) : undefined,
        ])
        await world.settled()
      }
      mayDie = false
      while (!world.alive) await world.start()
      await world.settled()
      await other.redriveDeadLetters({})
      // A client on another connection is noticed in real time.
      for (let left = 400; left > 0; left--) {
        await world.settled()
        const seen = await Promise.all(ids.map(async (id) => (await world.system.actor(keeper, id).snapshot())?.context.seen.length ?? 0))
        if (seen.every((count) => count >= each)) break
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
      for (const id of ids) expect([...((await world.system.actor(keeper, id).snapshot())?.context.seen ?? [])].sort((a, b) => a - b), `seed ${seed}, ${id}`).toEqual(Array.from({ length: each }, (_, n) => n))
      expect(await all(world.system)).toEqual([])
      await other.stop()
      await world.stop()
    }
    expect(kills).toBeGreaterThan(runs)
  }, 300_000)
})

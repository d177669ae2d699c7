/** Large values of a record, case by case: what is written of them, and what becomes of those that are damaged or were written otherwise. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { LmdbStore } from '../../src/adapters/lmdb/index.js'
import { MemoryDatabase, MemoryStore } from '../../src/adapters/memory/index.js'
import { ConfigError, createActorSystem, moveNamespace, replay, type ActorSystem, type ActorSystemOptions, type Store } from '../../src/index.js'
import { isCut, largeValuePrefix } from '../../src/runtime/stored-record.js'
import { expectLargeValues } from '../support/large.js'
import { keeper, lister, payloadCases, payloadMachines, textOf, weigh, weighRun, worker, type Place, type Written } from '../support/payloads.js'

const text = textOf(200_000)
const list = Array.from({ length: 4_000 }, (_, i) => ({ claim: `Claim ${i} of many.`, source: `doc-${i}` }))

// ── What is written ──

/** How often each is written, beside what a small payload costs; Infinity keeps all in place. */
const expected: Readonly<Record<string, readonly [cut: Partial<Record<Place, number>>, whole: Partial<Record<Place, number>>]>> = {
  'sent by its owner, kept in the context': [{ record: 1 }, { record: 1 }],
  'sent by a client, kept in the context': [{ log: 1, record: 1 }, { log: 1, record: 1 }],
  'sent by a client, kept, two named actions': [{ log: 1, record: 1, actions: 2 }, { log: 1, record: 1, actions: 2 }],
  'sent by a client, kept, input of an effect': [{ log: 1, record: 1 }, { log: 1, record: 2 }],
  'input of a start by a client, kept, input of an effect': [{ log: 1, record: 1 }, { log: 1, record: 3 }],
  'the same, with a history': [{ log: 1, record: 1, history: 1 }, { log: 1, record: 3, history: 1 }],
  'from a client by an actor to one of another shard, both keep it': [{ log: 2, outbox: 1, record: 2 }, { log: 2, outbox: 1, record: 2 }],
  'kept in a list, to which ten notes are added': [{ log: 1, record: 1 }, { log: 1, record: 11 }],
}

/** In units of the payload's JSON, rounded to a tenth; what is none is left out. */
function times(written: Written, small: Written, payload: unknown): Partial<Record<Place, number>> {
  const bytes = Buffer.byteLength(JSON.stringify(payload))
  return Object.fromEntries([...written].map(([place, n]) => [place, Math.round(((n - (small.get(place) ?? 0)) / bytes) * 10) / 10]).filter(([, n]) => n !== 0))
}

test.each(payloadCases.map((one) => [one.name, one] as const))('a payload of 200 KB, %s, is written once for its record', async (name, one) => {
  const weighed = async (doc: string | typeof list, options?: Partial<ActorSystemOptions>): Promise<Written> => {
    const database = new MemoryDatabase()
    const { written, world, end } = await weigh(one, doc, () => new MemoryStore({ database }), options)
    expect(world.system.stats()).toMatchObject({ failures: 0, deadLetters: 0, parked: 0 })
    await end()
    return written
  }
  const small = await weighed('x')
  const [cut, whole] = expected[name]!
  for (const doc of [text, list]) {
    expect(times(await weighed(doc), small, doc)).toEqual(cut)
    expect(times(await weighed(doc, { largeValueCharsMin: Infinity }), small, doc)).toEqual(whole)
  }
})

test('an agent has its prompt of 200 KB once in its record, however often its model is asked', async () => {
  const small = await weighRun('x', new MemoryStore())
  // The trace tells of each attempt by itself.
  expect(times(await weighRun(text, new MemoryStore()), small, text)).toEqual({ record: 1, streams: 3 })
  expect(times(await weighRun(text, new MemoryStore(), { largeValueCharsMin: Infinity }), small, text)).toEqual({ record: 5, streams: 3 })
})

// ── What is stored ──

function start(database: MemoryDatabase, options: Partial<ActorSystemOptions> = {}): Promise<ActorSystem> {
  return createActorSystem({ store: new MemoryStore({ database }), machines: payloadMachines, shards: 1, ...options }).start()
}

function stored(database: MemoryDatabase, address: string): Map<string, string> {
  return database.namespaces.get('default')!.shards[0]!.records.get(address)!
}

const large = (fields: ReadonlyMap<string, string>): string[] => [...fields.keys()].filter((name) => name.startsWith(largeValuePrefix))
const format = (fields: ReadonlyMap<string, string>): number => Number(/"format":(\d+)/.exec(fields.get('m')!)![1])

test('a record that was written whole is read, and what is written of it from now on is cut; by the option it is whole again', async () => {
  const database = new MemoryDatabase()
  const before = await start(database, { largeValueCharsMin: Infinity })
  await before.actor(lister, 'a').send({ type: 'take', doc: text })
  await before.stop()
  expect(large(stored(database, 'lister/a'))).toEqual([])
  // An older version reads it as long as there is no large value, and refuses it by its format from then on.
  expect(format(stored(database, 'lister/a'))).toBe(1)

  const now = await start(database)
  await now.settled()
  expect(format(stored(database, 'lister/a'))).toBe(1)
  await now.actor(lister, 'a').send({ type: 'take', doc: 'note' })
  expect(await now.actor(lister, 'a').snapshot()).toMatchObject({ context: { docs: [text, 'note'] } })
  await now.stop()
  expect(format(stored(database, 'lister/a'))).toBe(2)
  expect(expectLargeValues('lister/a', stored(database, 'lister/a'))).toBe(1)

  const again = await start(database, { largeValueCharsMin: Infinity })
  expect(await again.actor(lister, 'a').snapshot()).toMatchObject({ context: { docs: [text, 'note'] } })
  await again.actor(lister, 'a').send({ type: 'take', doc: 'more' })
  await again.stop()
  expect(large(stored(database, 'lister/a'))).toEqual([])
  const last = await start(database)
  expect(await last.actor(lister, 'a').snapshot()).toMatchObject({ context: { docs: [text, 'note', 'more'] } })
  await last.stop()
})

const damages: readonly [string, (fields: Map<string, string>, name: string) => void][] = [
  ['is missing', (fields, name) => void fields.delete(name)],
  ['has a flipped bit', (fields, name) => void fields.set(name, `${fields.get(name)!.slice(0, -9)}X${fields.get(name)!.slice(-8)}`)],
  ['is cut short', (fields, name) => void fields.set(name, fields.get(name)!.slice(0, 1_000))],
  ['is another', (fields, name) => void fields.set(name, fields.get([...fields.keys()].find((other) => other.startsWith(largeValuePrefix) && other !== name)!)!)],
  ['is not where it was', (fields) => void fields.set('c0:docs', fields.get('c0:docs')!.replace(/@\d+:/, '@2:'))],
  ['is referred to by nonsense', (fields) => void fields.set('c0:docs', `${fields.get('c0:docs')!.slice(0, 8)}@`)],
]

test.each(damages)('an actor of which a large value %s is set aside with its messages, and goes on when it is mended; no other is harmed', async (_, damage) => {
  const database = new MemoryDatabase()
  const first = await start(database)
  for (const doc of [text, list]) await first.actor(lister, 'a').send({ type: 'take', doc })
  await first.stop()
  const fields = stored(database, 'lister/a')
  const intact = new Map(fields)
  damage(fields, large(fields)[0]!)

  const second = await start(database)
  await second.actor(lister, 'a').send({ type: 'take', doc: 'note' })
  await second.settled()
  await expect(second.actor(lister, 'a').snapshot()).rejects.toMatchObject({ code: 'SNAPSHOT', reason: 'corrupted', address: 'lister/a' })
  expect((await second.parked('lister/a')).map(({ reason }) => reason)).toEqual(['corrupted'])
  await second.actor(keeper, 'b').send({ type: 'take', doc: text })
  expect((await second.actor(keeper, 'b').snapshot())?.context.doc).toBe(text)
  await second.stop()

  fields.clear()
  for (const [name, value] of intact) fields.set(name, value)
  const third = await start(database)
  await third.settled()
  expect((await third.actor(lister, 'a').snapshot())?.context.docs).toEqual([text, list, 'note'])
  await third.stop()
})

test('what a failure was about and what an actor was started with are read whole', async () => {
  const database = new MemoryDatabase()
  const first = await start(database)
  await first.actor(worker, 'a').start({ input: { doc: text } })
  await first.actor(worker, 'a').output()
  expect([...stored(database, 'worker/a')].filter(([, sealed]) => isCut(sealed)).map(([name]) => name).sort()).toEqual(['c0:doc', 'm'])
  await first.stop()
  const second = await start(database)
  // The same input again is no conflict.
  await second.actor(worker, 'a').start({ input: { doc: text } })
  await expect(second.actor(worker, 'a').start({ input: { doc: `${text}.` } })).rejects.toMatchObject({ code: 'ACTOR_EXISTS' })
  await second.stop()
})

// ── Histories and moves ──

test('a base of a history has each large value once, and a replay goes on from it', async () => {
  const system = await createActorSystem({ store: new MemoryStore(), machines: [{ machine: lister, history: { turnsMax: 4 } }], shards: 1 }).start()
  for (const doc of [text, text, list, 'x', 'y', 'z', text]) await system.actor(lister, 'a').send({ type: 'take', doc })
  const history = JSON.parse(JSON.stringify(await system.actor(lister, 'a').history())) as NonNullable<Awaited<ReturnType<ReturnType<typeof system.actor>['history']>>>
  expect(history.base).toBeDefined()
  expect(JSON.stringify(history.base).length).toBeLessThan(1.5 * (JSON.stringify(text).length + JSON.stringify(list).length))
  const replayed = replay(lister, history)
  expect(replayed.divergence).toBeUndefined()
  expect(replayed.snapshot).toEqual(await system.actor(lister, 'a').persisted())
  const damaged = { ...history, base: { ...history.base!, fields: Object.fromEntries(Object.entries(history.base!.fields).filter(([name]) => !name.startsWith(largeValuePrefix))) } }
  expect(() => replay(lister, damaged)).toThrow(/lister\/a.*large value .* of field c0:docs is missing/)
  await system.stop()
})

test('large values are moved with their records', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-large-'))
  const database = new MemoryDatabase()
  const first = await start(database)
  for (const doc of [text, list, 'x']) await first.actor(lister, 'a').send({ type: 'take', doc })
  await first.stop()
  const there = (): Store => new LmdbStore(folder)
  await moveNamespace({ from: new MemoryStore({ database }), to: new LmdbStore(folder), places: { from: 'here', to: 'there' } })
  const second = await createActorSystem({ store: there(), machines: payloadMachines }).start()
  await second.actor(lister, 'a').send({ type: 'take', doc: 'y' })
  expect((await second.actor(lister, 'a').snapshot())?.context.docs).toEqual([text, list, 'x', 'y'])
  await second.stop()
  await rm(folder, { recursive: true })
})

test('the option is checked', () => {
  for (const value of [0, -1, 1.5, Number.NaN, '16']) expect(() => createActorSystem({ store: new MemoryStore(), machines: [], largeValueCharsMin: value as number })).toThrow(new ConfigError(`largeValueCharsMin: expected a whole number of at least 1, got ${String(value)}.`))
})

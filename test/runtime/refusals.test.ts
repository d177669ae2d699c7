/** What is refused, by whom, and with which words. */
import { crc32 } from 'node:zlib'
import { expect, test } from 'vitest'
import { assign, createMachine, fromPromise, raise, setup, type AnyStateMachine } from 'xstate'
import { MemoryDatabase, MemoryStore } from '../../src/adapters/memory/index.js'
import { ActorExistsError } from '../../src/errors.js'
import { createActorSystem, type ActorSystemOptions } from '../../src/index.js'
import type { MessageId } from '../../src/runtime/identity.js'
import { Subscriptions } from '../../src/runtime/subscriptions.js'
import { RecordingLogger, aWorld, counter } from '../support/worlds.js'

const keeper = setup({ types: { context: {} as Record<string, unknown>, events: {} as { type: 'keep'; what: string } | { type: 'ok' } } })
  .createMachine({
    id: 'keeper',
    context: {},
    on: {
      ok: { actions: assign({ fine: true }) },
      keep: {
        actions: assign(({ event }): Record<string, unknown> => {
          const circular: Record<string, unknown> = {}
          circular['self'] = circular
          const values: Record<string, unknown> = {
            date: { list: [1, { at: new Date(0) }] },
            map: new Map(),
            fn: () => {},
            nan: Number.NaN,
            infinity: -Infinity,
            bigint: 1n,
            class: new (class Thing {})(),
            error: new Error('x'),
            hole: [1, undefined, 2],
            circular,
            proto: JSON.parse('{"a":{"__proto__":{"approved":true}}}'),
            constructorKey: { constructor: 1 },
            big: 'x'.repeat(1_100_000),
            wide: Object.fromEntries(Array.from({ length: 10_001 }, (_, i) => [`k${i}`, i])),
            regexp: /x/,
            symbol: Symbol('x'),
          }
          return { kept: values[event.what] }
        }),
      },
    },
  })

const refused: readonly [string, RegExp, string?][] = [
  ['date', /context\.kept\.list\[1\]\.at holds an instance of Date/],
  ['map', /context\.kept holds an instance of Map/],
  ['fn', /context\.kept holds a value of type function/],
  ['nan', /context\.kept holds the number NaN/],
  ['infinity', /context\.kept holds the number -Infinity/],
  ['bigint', /context\.kept holds a value of type bigint/],
  ['class', /context\.kept holds an instance of Thing/],
  ['error', /context\.kept holds an instance of Error.*\{ name, message \}/],
  ['hole', /context\.kept\[1\] holds undefined/],
  ['circular', /nesting of context\.kept.*64/],
  ['proto', /context\.kept\.a\.__proto__ holds the key __proto__/],
  ['constructorKey', /context\.kept\.constructor holds the key constructor/],
  ['big', /size of context\.kept in bytes is 1100002, above the limit of 1048576/],
  ['wide', /number of keys of context\.kept is 10001/],
  ['regexp', /context\.kept holds an instance of RegExp/],
  ['symbol', /context\.kept holds a value of type symbol/],
]

test.each(refused)('a context with %s fails the actor with its path, and keeps the last good snapshot', async (what, message) => {
  const { system } = await aWorld({ machines: [keeper] })
  const actor = system.actor(keeper, 'a')
  await actor.send({ type: 'ok' })
  await actor.send({ type: 'keep', what })
  const failure = await actor.failure()
  expect(failure?.error.message).toMatch(message)
  expect(failure?.event).toEqual({ type: 'keep', what })
  expect(failure?.snapshot?.context).toEqual({ fine: true })
})

test('one bad record in a batch fails alone, the rest commits', async () => {
  const world = await aWorld({ machines: [keeper], shards: 1 })
  const { system } = world
  const actors = Array.from({ length: 20 }, (_, i) => system.actor(keeper, `a-${i}`))
  await Promise.all(actors.map((actor, i) => actor.send(i % 5 === 0 ? { type: 'keep', what: ['date', 'big', 'nan', 'fn'][i / 5]! } : { type: 'ok' })))
  const statuses = await Promise.all(actors.map((actor) => actor.status()))
  expect(statuses).toEqual(actors.map((_, i) => (i % 5 === 0 ? 'failed' : 'active')))
  expect(system.stats().commits).toBeLessThan(5)
})

test('a delay that is not finite fails the turn, and nothing of it happens', async () => {
  const machine = setup({ types: { events: {} as { type: 'wait'; ms: number } }, delays: { given: ({ event }) => event.ms } }).createMachine({
    id: 'waiter',
    initial: 'a',
    states: { a: { on: { wait: 'b' } }, b: { after: { given: 'c' } }, c: {} },
  })
  const world = await aWorld({ machines: [machine, counter], shards: 1 })
  for (const ms of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const actor = world.system.actor(machine, `w-${String(ms)}`)
    await actor.start({})
    // JSON cannot carry NaN in an event; the machine makes it.
    const bad = setup({ delays: { bad: () => ms } }).createMachine({ id: `bad-${String(ms)}`, initial: 'a', states: { a: { on: { go: 'b' } }, b: { after: { bad: 'c' } }, c: {} } })
    const other = await aWorld({ machines: [bad, counter], shards: 1 })
    await Promise.all([other.system.actor(bad, 'x').send({ type: 'go' }), other.system.actor(counter, 'y').send({ type: 'add', by: 1 })])
    expect((await other.system.actor(bad, 'x').failure())?.error.message).toMatch(/not a finite number of milliseconds/)
    expect((await other.system.actor(bad, 'x').failure())?.snapshot).toBeUndefined()
    expect((await other.system.actor(counter, 'y').snapshot())?.context.n).toBe(1)
    await other.advance(100)
  }
})

test('an inline spawn fails the turn and says what to do; an inline invoke runs and is named in the log', async () => {
  const logger = new RecordingLogger()
  const spawner = createMachine({
    id: 'spawner',
    context: {},
    on: { go: { actions: assign({ ref: ({ spawn }) => spawn(fromPromise(async () => 1), { id: 'x' }) }) } },
  })
  const invoker = createMachine({ id: 'invoker', initial: 'a', states: { a: { invoke: { src: fromPromise(async () => 1), onDone: 'b' } }, b: {} } })
  const world = await aWorld({ machines: [spawner, invoker], logger })
  await world.system.actor(spawner, 'a').send({ type: 'go' })
  expect((await world.system.actor(spawner, 'a').failure())?.error).toMatchObject({ code: 'TURN', message: expect.stringMatching(/without a registered name.*setup\(\{ actors \}\)/) })
  await world.system.actor(invoker, 'b').start({})
  await world.system.actor(invoker, 'b').waitFor((s) => s.matches('b'))
  expect(logger.lines).toContainEqual(expect.objectContaining({ machine: 'invoker', places: ['invoker.a invokes an inline actor'] }))
})

test('a machine that does not come to rest fails after 1,000 steps instead of hanging the process', async () => {
  const always = createMachine({ id: 'always', initial: 'a', states: { a: { on: { go: 'b' } }, b: { always: 'c' }, c: { always: 'b' } } })
  const raising = createMachine({ id: 'raising', on: { go: { actions: raise({ type: 'go' }) } } })
  const pingPong = setup({
    actors: { other: createMachine({ id: 'other', on: { ping: { actions: ({ self }) => void self } } }) },
  }).createMachine({ id: 'talker', on: { go: { actions: ({ self }) => self.send({ type: 'go' }) } } })
  const { system } = await aWorld({ machines: [always, raising, pingPong] })
  for (const machine of [always, raising]) {
    await system.actor(machine as typeof always, 'a').send({ type: 'go' } as never)
    expect((await system.actor(machine as typeof always, 'a').failure())?.error.message).toMatch(/1000/)
  }
})

test.each([['xstate.done.actor.x'], ['xstate.stop'], ['xstate.after.5.a'], ['child.failed']])('an event of type %s is refused from outside', async (type) => {
  const { system } = await aWorld({ machines: [counter] })
  await expect(system.actor(counter, 'a').send({ type } as never)).rejects.toMatchObject({ code: 'INVALID_EVENT' })
  expect(await system.actor(counter, 'a').status()).toBeUndefined()
})

test.each([[undefined], [null], ['add'], [{}], [{ type: 1 }], [{ type: '' }]])('%j is no event', async (event) => {
  const { system } = await aWorld({ machines: [counter] })
  await expect(system.actor(counter, 'a').send(event as never)).rejects.toMatchObject({ code: 'INVALID_EVENT' })
})

test('ids outside the alphabet or beyond 256 bytes are refused', async () => {
  const { system } = await aWorld({ machines: [counter] })
  for (const id of ['', ' ', 'a b', 'a/b', 'a~b', '{a}', 'ä', 'a\n', '*', 'x'.repeat(257), '😀', '\u0000']) {
    expect(() => system.actor(counter, id), JSON.stringify(id)).toThrowError(expect.objectContaining({ code: 'INVALID_ID' }) as Error)
    await expect(system.actor(counter, 'ok').send({ type: 'end' }, { id })).rejects.toMatchObject({ code: 'INVALID_ID' })
  }
  for (const address of ['', 'counter', '/a', 'counter/', 'counter/a/b', 'counter/a~', 'a b/c', `counter/${'x'.repeat(257)}`, `counter/${Array(10).fill('y'.repeat(200)).join('~')}`]) {
    expect(() => system.actorAt(address), address).toThrowError(expect.objectContaining({ code: 'INVALID_ID' }) as Error)
  }
  expect(system.actor(counter, 'x'.repeat(256)).address.length).toBe(264)
  expect(system.actorAt('counter/A-z_0.9:~child').address).toBe('counter/A-z_0.9:~child')
})

test('events that cannot be stored are refused at the door', async () => {
  const { system } = await aWorld({ machines: [counter] })
  const actor = system.actor(counter, 'a')
  await expect(actor.send({ type: 'note', text: new Date() } as never)).rejects.toMatchObject({ code: 'NON_JSON', path: 'event "note".text' })
  await expect(actor.send(JSON.parse('{"type":"note","text":{"__proto__":{}}}') as never)).rejects.toMatchObject({ code: 'NON_JSON' })
  await expect(actor.send({ type: 'note', text: 'x'.repeat(1_048_577) })).rejects.toMatchObject({ code: 'LIMIT', limit: 1_048_576 })
  const small = await aWorld({ machines: [counter], limits: { payloadBytesMax: 100 } })
  await expect(small.system.actor(counter, 'a').send({ type: 'note', text: 'ä'.repeat(60) })).rejects.toMatchObject({ code: 'LIMIT', limit: 100 })
  await small.system.actor(counter, 'a').send({ type: 'note', text: 'ä'.repeat(20) })
})

test('a guard is not passed by a prototype that a reply brings', async () => {
  const gate = setup({ types: { context: {} as { approved?: boolean } } }).createMachine({
    id: 'gate',
    context: {},
    initial: 'shut',
    states: { shut: { on: { reply: { actions: assign(({ event }) => event['value'] as object) }, pass: { guard: ({ context }) => context.approved === true, target: 'open' } } }, open: {} },
  })
  const { system } = await aWorld({ machines: [gate] })
  await expect(system.actor(gate, 'a').send(JSON.parse('{"type":"reply","value":{"__proto__":{"approved":true}}}') as never)).rejects.toMatchObject({ code: 'NON_JSON' })
  await system.actor(gate, 'a').send({ type: 'pass' } as never)
  expect((await system.actor(gate, 'a').snapshot())?.value).toBe('shut')
})

test('options and machines that are wrong are refused with the value received', () => {
  const options = (more: Partial<ActorSystemOptions>): ActorSystemOptions => ({ store: new MemoryStore(), machines: [counter], ...more })
  expect(() => createActorSystem(options({ shards: 0 }))).toThrow(/shards.*got 0/)
  expect(() => createActorSystem(options({ shards: 1_025 }))).toThrow(/1025/)
  expect(() => createActorSystem(options({ namespace: 'a b' }))).toThrow(/namespace/)
  expect(() => createActorSystem(options({ lanesMax: 0 }))).toThrow(/lanesMax.*got 0/)
  expect(() => createActorSystem(options({ idRetentionMs: Number.NaN }))).toThrow(/idRetentionMs/)
  expect(() => createActorSystem(options({ machines: [createMachine({})] }))).toThrow(/neither an id nor a "name"/)
  expect(() => createActorSystem(options({ machines: [{} as AnyStateMachine] }))).toThrow(/expected a machine/)
  expect(() => createActorSystem(options({ machines: [counter, createMachine({ id: 'counter', version: '1' })] }))).toThrow(/registered twice/)
  expect(() => createActorSystem(options({ machines: [createMachine({ id: 'a b' })] }))).toThrow(/machine name/)
})

// ── Snapshots that cannot be read ──

const two = (more: object = {}, version?: string): AnyStateMachine =>
  createMachine({ id: 'thing', ...(version ? { version } : {}), initial: 'a', context: { n: 0 }, states: { a: { on: { go: 'b' } }, b: { on: { go: 'a' } } }, ...more } as never)

const unreadable: readonly [string, () => AnyStateMachine[], (fields: Map<string, string>) => void, string][] = [
  ['an unknown machine', () => [counter], () => {}, 'unknown-machine'],
  ['an unknown version', () => [two({}, '2')], () => {}, 'unknown-version'],
  ['the same version with another structure', () => [two({ states: { a: { on: { go: 'c' } }, c: {} } })], () => {}, 'other-structure'],
  ['a newer format', () => [two()], (fields) => fields.set('m', resealed('thing/x', 'm', fields.get('m')!.slice(8).replace('"format":1', '"format":99'))), 'newer-format'],
  ['a flipped bit', () => [two()], (fields) => fields.set('c0:n', fields.get('c0:n')!.replace(/0$/, '1')), 'corrupted'],
  ['a lost field', () => [two()], (fields) => void fields.delete('c0:n'), 'corrupted'],
  ['a lost head', () => [two()], (fields) => void fields.delete('m'), 'corrupted'],
]

test.each(unreadable)('an actor of %s parks its messages, and takes them up when it can be read again', async (_, machines, damage, reason) => {
  const database = new MemoryDatabase()
  const thing = two()
  const start = (list: AnyStateMachine[], logger = new RecordingLogger()): ReturnType<ReturnType<typeof createActorSystem>['start']> =>
    createActorSystem({ store: new MemoryStore({ database }), machines: list, shards: 1, logger }).start()
  const first = await start([thing])
  await first.actor(thing, 'x').start({})
  await first.stop()
  const stored = database.namespaces.get('default')!.shards[0]!.records.get('thing/x')!
  const intact = new Map(stored)
  damage(stored)

  const logger = new RecordingLogger()
  const second = await start([...machines(), ...(machines()[0] === counter ? [] : [counter])], logger)
  await second.actorAt('thing/x').send({ type: 'go' } as never)
  await second.actorAt('thing/x').send({ type: 'go' } as never)
  await second.actorAt('thing/x').send({ type: 'go' } as never)
  // Whoever looks is told why, and nobody waits for ever for what cannot be seen.
  await second.settled()
  await expect(second.actorAt('thing/x').snapshot()).rejects.toMatchObject({ code: 'SNAPSHOT', reason })
  await expect(second.actorAt('thing/x').waitFor(() => false)).rejects.toMatchObject({ code: 'SNAPSHOT', reason })
  expect((await second.parked('thing/x')).map((parked) => parked.reason)).toEqual([reason, reason, reason])
  // Nobody else is harmed (I9).
  await second.actor(counter, 'y').send({ type: 'add', by: 1 })
  await second.settled()
  expect((await second.actor(counter, 'y').snapshot())?.context.n).toBe(1)
  expect(second.stats().parked).toBe(3)
  expect(logger.lines).toContainEqual(expect.objectContaining({ level: 'warn', actor: 'thing/x', reason }))
  await second.stop()

  stored.clear()
  for (const [name, value] of intact) stored.set(name, value)
  const third = await start([thing])
  await third.settled()
  expect((await third.actor(thing, 'x').snapshot())?.value).toBe('b')
  expect(third.stats().turns).toBe(3)
  await third.stop()
})

function resealed(address: string, name: string, value: string): string {
  return crc32(value, crc32(name, crc32(address))).toString(16).padStart(8, '0') + value
}

test('old and new versions of a machine run side by side', async () => {
  const database = new MemoryDatabase()
  const v1 = two({}, '1')
  const v2 = two({ states: { a: { on: { go: 'c' } }, c: {} } }, '2')
  const first = await createActorSystem({ store: new MemoryStore({ database }), machines: [v1] }).start()
  await first.actor(v1, 'old').start({})
  await first.stop()
  const second = await createActorSystem({ store: new MemoryStore({ database }), machines: [v1, v2] }).start()
  await second.actor(v2, 'new').send({ type: 'go' } as never)
  await second.actorAt('thing/old').send({ type: 'go' } as never)
  expect((await second.actorAt('thing/new').snapshot())?.value).toBe('c')
  expect((await second.actorAt('thing/old').snapshot())?.value).toBe('b')
})

test('what others have sent in vain does not make a sender miss that it was refused', () => {
  const subscriptions = new Subscriptions(new RecordingLogger())
  const refused = (id: string): void => subscriptions.refused(id as MessageId, new ActorExistsError('keeper/a'))
  for (let i = 0; i < 999; i++) refused(`theirs-${i}`)
  refused('ours')
  // Of the same commit.
  for (let i = 0; i < 511; i++) refused(`later-${i}`)
  expect(subscriptions.takeRefusal('ours' as MessageId)).toBeInstanceOf(ActorExistsError)
  expect(subscriptions.takeRefusal('theirs-0' as MessageId)).toBeUndefined()
})

/** A store that cannot be trusted: nothing begins on it, nothing goes on, and nothing that was sent is lost over it. */
import { expect, test } from 'vitest'
import { assign, fromPromise, setup } from 'xstate'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { createActorSystem, createClient } from '../../src/index.js'
import type { OpenOptions, Standing, StoreInfo } from '../../src/runtime/ports/store.js'
import { World } from '../../src/testing/index.js'
import { Fleet } from '../support/fleet.js'
import { tally } from '../support/tally.js'
import { RecordingLogger } from '../support/worlds.js'

const well: Standing = { durability: 'D2', warnings: [], refusals: [] }
const evicting = 'The server removes what it likes. Set maxmemory-policy noeviction.'

/** Two nodes on a store of which `now` says what it is worth. */
function fleet(more: Partial<ConstructorParameters<typeof Fleet>[0]> = {}): { all: Fleet; store: { now: Standing; asked: number } } {
  const store = { now: well, asked: 0 }
  const all = new Fleet({ machines: [tally], leaseMs: 2_000, checkMs: 1_000, standing: () => (store.asked++, store.now), ...more })
  return { all, store }
}

test('while it is refused every node lets go of its shards, what is sent is kept, and once it is mended all goes on', async () => {
  const { all, store } = fleet()
  const [one, two] = [all.join(), all.join()]
  await all.advance(3_000)
  expect(all.loads()).toEqual({ n0: 8, n1: 8 })
  store.now = { ...well, refusals: [evicting] }
  await all.advance(1_000)
  expect(all.loads()).toEqual({ n0: 0, n1: 0 })
  for (const { system } of [one, two]) expect(system.refusals).toEqual([evicting])
  const answers = Promise.all(Array.from({ length: 20 }, (_, i) => one.system.actor(tally, `a${i}`).ask({ type: 'add', n: i }, { deadlineMs: 60_000 })))
  let accepted = 0
  for (let i = 0; i < 20; i++) void two.system.actor(tally, `b${i}`).send({ type: 'add', n: i }).then(() => accepted++)
  await all.advance(20_000)
  expect([accepted, all.loads()]).toEqual([20, { n0: 0, n1: 0 }])
  store.now = well
  await all.advance(1_000)
  expect([all.loads(), await answers]).toEqual([{ n0: 8, n1: 8 }, Array<number>(20).fill(1)])
  for (let i = 0; i < 20; i++) expect((await one.system.actor(tally, `b${i}`).snapshot())?.context.seen).toEqual([i])
  expect(two.system.refusals).toEqual([])
})

test('a node that has not seen it yet takes nothing over, and one that comes runs nothing', async () => {
  const refused = new Set<string>()
  const all = new Fleet({ machines: [tally], leaseMs: 2_000, checkMs: 1_000 })
  const standing = (id: string) => (): Standing => (refused.has(id) ? { ...well, refusals: [evicting] } : well)
  all.join('n0', { standing: standing('n0') })
  all.join('n1', { standing: standing('n1') })
  await all.advance(3_000)
  refused.add('n0')
  await all.advance(8_000)
  expect(all.loads()).toEqual({ n0: 0, n1: 8 })
  refused.add('n1')
  refused.add('n2')
  const third = all.join('n2', { standing: standing('n2') })
  await all.advance(3_000)
  // Its start was refused.
  expect([all.loads(), third.killed]).toEqual([{ n0: 0, n1: 0 }, true])
  refused.clear()
  await all.advance(2_000)
  expect(all.loads()).toEqual({ n0: 8, n1: 8 })
})

test('effects stop with it, and are begun again as a further attempt once it is mended', async () => {
  const begun: { attempt: number; signal: AbortSignal }[] = []
  let end = (): void => {}
  const caller = setup({
    types: { context: {} as { got: number } },
    actors: { call: fromPromise<number, undefined>(({ signal, ...more }) => new Promise((resolve) => {
      begun.push({ signal, attempt: (more as unknown as { attempt: number }).attempt })
      end = () => resolve(7)
    })) },
  }).createMachine({ id: 'caller', context: { got: 0 }, initial: 'calling', states: { calling: { invoke: { src: 'call', onDone: { target: 'done', actions: assign({ got: ({ event }) => event.output }) } } }, done: { type: 'final' } } })
  const { all, store } = fleet({ machines: [caller], checkMs: 100 })
  const node = all.join()
  await all.advance(1_000)
  const actor = node.system.actor(caller, 'c')
  const started = actor.start()
  await all.advance(50)
  await started
  expect(begun.map(({ attempt, signal }) => [attempt, signal.aborted])).toEqual([[1, false]])
  store.now = { ...well, refusals: [evicting] }
  await all.advance(5_000)
  expect(begun.map(({ attempt, signal }) => [attempt, signal.aborted])).toEqual([[1, true]])
  store.now = well
  await all.advance(500)
  expect(begun.map(({ attempt }) => attempt)).toEqual([1, 2])
  end()
  await all.advance(100)
  expect((await actor.snapshot())?.context.got).toBe(7)
})

test('effects stop at once, although the store takes no writes and no shard can be let go of', async () => {
  const signals: AbortSignal[] = []
  const caller = setup({ actors: { call: fromPromise<void>(({ signal }) => new Promise(() => signals.push(signal))) } }).createMachine({ id: 'caller', initial: 'calling', states: { calling: { invoke: { src: 'call', onDone: 'done' }, on: { poke: {} } }, done: {} } })
  let takesNone = false
  const { all, store } = fleet({ machines: [caller], shards: 1, checkMs: 100, onWrite: ({ kind }) => (takesNone && kind !== 'renew' ? 'fail' : undefined) })
  const { system } = all.join()
  await all.advance(1_000)
  const started = system.actor(caller, 'c').start()
  await all.advance(50)
  await started
  takesNone = true
  system.actor(caller, 'c').send({ type: 'poke' }).catch(() => {})
  await all.advance(50)
  store.now = { ...well, refusals: [evicting] }
  await all.advance(200)
  expect(signals.map(({ aborted }) => aborted)).toEqual([true])
  takesNone = false
  await all.advance(5_000)
  expect([all.loads(), signals.length]).toEqual([{ n0: 0 }, 1])
  store.now = well
  await all.advance(1_000)
  expect([all.loads(), signals.map(({ aborted }) => aborted)]).toEqual([{ n0: 1 }, [true, false]])
})

test('refused and mended between two messages, again and again, it loses and doubles nothing', async () => {
  const { all, store } = fleet({ checkMs: 100 })
  const [one, two] = [all.join(), all.join()]
  await all.advance(3_000)
  const sent: Promise<unknown>[] = []
  for (let n = 1; n <= 60; n++) {
    store.now = n % 3 === 0 ? { ...well, refusals: [evicting] } : well
    for (const id of ['x', 'y', 'z']) sent.push((n % 2 ? one : two).system.actor(tally, id).send({ type: 'add', n }))
    await all.advance(n % 7 === 0 ? 130 : 37)
  }
  store.now = well
  await all.advance(2_000)
  await Promise.all(sent)
  for (const id of ['x', 'y', 'z']) expect([...((await one.system.actor(tally, id).snapshot())?.context.seen ?? [])].sort((a, b) => a - b)).toEqual(Array.from({ length: 60 }, (_, i) => i + 1))
})

test('a namespace that is halted as well goes on when both are over, in either order', async () => {
  for (const first of ['accepted', 'mended'] as const) {
    const { all, store } = fleet()
    const node = all.join()
    await all.advance(1_000)
    await node.store.halt('it went back', 0)
    store.now = { ...well, refusals: [evicting] }
    await all.advance(2_000)
    if (first === 'accepted') await node.system.accept()
    else store.now = well
    await all.advance(2_000)
    expect(all.loads()).toEqual({ n0: 0 })
    if (first === 'accepted') store.now = well
    else await node.system.accept()
    await all.advance(2_000)
    expect(all.loads()).toEqual({ n0: 16 })
  }
})

test('what it is worth is told again and again, and each change is logged once', async () => {
  const logger = new RecordingLogger()
  const { all, store } = fleet({ logger })
  const node = all.join()
  await all.advance(10_500)
  expect(store.asked).toBe(11)
  store.now = { durability: 'D1', warnings: ['It is flushed once a second. Set appendfsync always.'], refusals: [] }
  await all.advance(5_000)
  expect([node.system.durability, node.system.warnings]).toEqual(['D1', ['It is flushed once a second. Set appendfsync always.']])
  const said = logger.lines.filter(({ message }) => /flushed once a second|otherwise than before/.test(message)).map(({ level, message }) => [level, message])
  expect(said).toEqual([
    ['warn', 'the store keeps what it acknowledges otherwise than before'],
    ['warn', 'It is flushed once a second. Set appendfsync always.'],
  ])
})

test('a store that cannot be asked is taken for what it was', async () => {
  const { all, store } = fleet()
  const node = all.join()
  await all.advance(1_000)
  const { now } = store
  Object.defineProperty(store, 'now', { configurable: true, get: () => { throw new Error('away') } })
  await all.advance(5_000)
  expect([node.system.durability, all.loads()]).toEqual(['D2', { n0: 16 }])
  Object.defineProperty(store, 'now', { value: { ...now, refusals: [evicting] } })
  await all.advance(1_000)
  expect(all.loads()).toEqual({ n0: 0 })
})

test('unsafe runs on it all the same, says so once a minute, and still shows why not', async () => {
  const logger = new RecordingLogger()
  const { all, store } = fleet({ unsafe: true, logger })
  store.now = { ...well, refusals: [evicting] }
  const node = all.join()
  await all.advance(1_000)
  expect([all.loads(), node.system.refusals]).toEqual([{ n0: 16 }, [evicting]])
  await all.advance(180_000)
  expect(logger.lines.filter(({ message }) => message === evicting)).toHaveLength(4)
})

/** A store in memory that is worth so much. */
class WorthStore extends MemoryStore {
  closed = false
  private readonly worth: Standing
  constructor(worth: Standing) {
    super()
    this.worth = worth
  }
  override async open(options: OpenOptions): Promise<StoreInfo> {
    return { ...(await super.open(options)), ...this.worth }
  }
  override standing(): Promise<Standing> {
    return Promise.resolve(this.worth)
  }
  override close(): Promise<void> {
    this.closed = true
    return super.close()
  }
}
const storeOf = (standing: Standing): WorthStore => new WorthStore(standing)

test('nothing begins on it: no system, and no client', async () => {
  const refusing = { ...well, refusals: [evicting] }
  const store = storeOf(refusing)
  await expect(createActorSystem({ store, machines: [tally] }).start()).rejects.toMatchObject({ code: 'CONFIG', message: `${evicting} Or set unsafe: true to run on data that may be lost.` })
  expect(store.closed).toBe(true)
  await expect(createClient({ store: storeOf(refusing) })).rejects.toThrow(evicting)
  await expect(createActorSystem({ store: storeOf({ ...well, durability: 'D1' }), machines: [tally], durabilityMin: 'D2' }).start()).rejects.toThrow('keeps what it acknowledges by D1, and durabilityMin is D2')
  await expect(createActorSystem({ store: storeOf({ ...well, durability: 'D1' }), machines: [tally], durabilityMin: 'D2', unsafe: true }).start()).rejects.toThrow('durabilityMin')
  const system = await createActorSystem({ store: storeOf({ ...well, durability: 'D3' }), machines: [tally], durabilityMin: 'D2' }).start()
  expect([system.durability, system.refusals]).toEqual(['D3', []])
  await system.stop()
})

test('a store that keeps less than durabilityMin later stops the actors, too', async () => {
  const { all, store: worth } = fleet({ durabilityMin: 'D2' })
  const node = all.join()
  await all.advance(1_000)
  worth.now = { ...well, durability: 'D1' }
  await all.advance(1_000)
  expect([all.loads(), node.system.refusals]).toEqual([{ n0: 0 }, [expect.stringContaining('durabilityMin is D2')]])
  worth.now = well
  await all.advance(1_000)
  expect(all.loads()).toEqual({ n0: 16 })
})

test('options that make no sense are refused', () => {
  for (const checkMs of [99, 86_400_001, 1_000.5, Number.NaN, -1]) expect(() => createActorSystem({ store: new MemoryStore(), machines: [tally], checkMs })).toThrow(/^checkMs: expected a whole number from 100 to 86400000, or Infinity/)
  expect(() => createActorSystem({ store: new MemoryStore(), machines: [tally], durabilityMin: 'D4' as 'D3' })).toThrow('durabilityMin: expected "D0", "D1", "D2" or "D3", got "D4".')
})

test('a world of long times is not made longer by it', async () => {
  let asked = 0
  const world = new World({ machines: [tally], connect: () => Object.assign(new MemoryStore(), { standing: () => (asked++, Promise.resolve(well)) }) })
  await world.start()
  await world.advance(86_400_000)
  expect([asked, world.time.nextDue()! > 86_400_000]).toEqual([0, true])
  await world.stop()
})

/** Events by schema, and sequences of commands: what holds is found to hold, what does not is found and made small. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { assign, fromPromise, raise, sendTo, setup, type EventFromLogic } from 'xstate'
import { z } from 'zod'
import { MemoryDatabase, MemoryStore } from '../../src/adapters/memory/index.js'
import { ConfigError } from '../../src/errors.js'
import { actorModel, ActorModelError, eventArbitrary, type ActorModelOptions } from '../../src/testing/fast-check/index.js'
import { extent, firstSeed } from '../support/extent.js'

const numRuns = extent(25, 600)

type OrderEvent = { type: 'pay'; cents: number } | { type: 'add'; item: string } | { type: 'ship' } | { type: 'note.text'; text: string } | { type: 'carrier.taken' }

/** With a timer, a promise, a child machine and events to itself. */
const order = setup({
  types: { context: {} as { items: string[]; paid: number; price: number; notes: number; tracking: string | null }, events: {} as OrderEvent },
  actors: {
    quote: fromPromise(async ({ input }: { input: string[] }) => input.reduce((sum, item) => sum + item.length, 1)),
    carrier: setup({ types: { context: {} as { steps: number } } }).createMachine({ id: 'carrier', context: { steps: 0 }, initial: 'fetching', states: { fetching: { after: { 3_600_000: 'there' } }, there: { type: 'final' } }, output: ({ context }) => ({ tracking: `t-${context.steps}` }) }),
  },
  actions: {
    add: assign({ items: ({ context, event }) => [...context.items, (event as { item: string }).item] }),
    pay: assign({ paid: ({ context, event }) => context.paid + (event as { cents: number }).cents }),
    price: assign({ price: ({ event }) => (event as unknown as { output: number }).output }),
    note: assign({ notes: ({ context }) => context.notes + 1 }),
    later: raise({ type: 'note.text', text: 'reminded' }, { delay: 60_000, id: 'reminder' }),
    track: assign({ tracking: ({ event }) => (event as unknown as { output: { tracking: string } }).output.tracking }),
    poke: sendTo('carrier', { type: 'poke' }),
  },
  guards: { isPaid: ({ context }) => context.price > 0 && context.paid >= context.price },
}).createMachine({
  id: 'order',
  context: { items: [], paid: 0, price: 0, notes: 0, tracking: null },
  initial: 'open',
  on: { 'note.*': { actions: 'note' } },
  states: {
    open: { entry: 'later', on: { add: { actions: 'add' }, ship: { guard: ({ context }) => context.items.length > 0, target: 'pricing' } }, after: { 86_400_000: 'lapsed' } },
    pricing: { invoke: { src: 'quote', input: ({ context }) => context.items, onDone: { target: 'due', actions: 'price' } } },
    due: { on: { pay: { actions: 'pay' } }, always: { guard: 'isPaid', target: 'shipping' }, after: { 604_800_000: 'lapsed' } },
    shipping: { invoke: { id: 'carrier', src: 'carrier', onDone: { target: 'delivered', actions: 'track' } }, on: { pay: { actions: 'poke' } } },
    delivered: { type: 'final' },
    lapsed: { type: 'final' },
  },
})

const schemas = { pay: z.object({ cents: z.int().min(1).max(40) }), add: z.object({ item: z.string().min(1).max(8) }), ship: z.object({}), 'note.text': z.object({ text: z.string() }) }
const events = eventArbitrary(order, schemas)

test('an order is where XState says, whatever happens and whenever its process dies', async () => {
  const ends = new Map<string, number>()
  const model = actorModel(order, {
    events,
    invariant: ({ context, value }, before) => {
      ends.set(JSON.stringify(value), (ends.get(JSON.stringify(value)) ?? 0) + 1)
      if (before) expect(context.paid).toBeGreaterThanOrEqual(before.context.paid)
      return value !== 'delivered' || context.paid >= context.price
    },
  })
  await fc.assert(fc.asyncProperty(model.commands, model.run), { numRuns, seed: firstSeed })
  expect(ends.size).toBeGreaterThanOrEqual(3)
})

/** What is found, as small as it was made. */
async function found(options: Partial<ActorModelOptions<typeof order>>): Promise<{ readonly commands: string[]; readonly error: Error }> {
  const model = actorModel(order, { events, ...options } as ActorModelOptions<typeof order>)
  const { failed, counterexample, errorInstance } = await fc.check(fc.asyncProperty(model.commands, model.run), { numRuns: 200, seed: 1 })
  expect(failed).toBe(true)
  const text = String((counterexample as unknown[])[0]).replace(/ \/\*.*\*\/$/, '')
  return { commands: text === '' ? [] : text.split(/,(?=\{|\d|kill|restart)/), error: errorInstance as Error }
}

test('an invariant that does not hold is found, and the sequence made small', async () => {
  const { commands, error } = await found({ invariant: ({ context }) => context.items.length < 2 })
  expect(error).toBeInstanceOf(ActorModelError)
  expect(error.message).toMatch(/^After \{"item":".","type":"add"\} the invariant does not hold in \{"status":"active","value":"open"/)
  expect(commands).toHaveLength(2)
  const thrown = await found({ invariant: ({ value }) => { if (value !== 'open') throw new Error('it left') } })
  expect(thrown.error.message).toMatch(/^After .+ the invariant does not hold: it left/)
  expect(thrown.error.cause).toBeInstanceOf(Error)
})

/** A store that forgets all timers when it is opened again. */
class Forgetful extends MemoryStore {
  static readonly opened = new WeakSet<MemoryDatabase>()
  private readonly forgets: boolean
  constructor(database: MemoryDatabase) {
    super({ database, now: () => 4e12 })
    this.forgets = Forgetful.opened.has(database)
    Forgetful.opened.add(database)
  }
  override async timers(...args: Parameters<MemoryStore['timers']>): ReturnType<MemoryStore['timers']> {
    const due = await super.timers(...args)
    return this.forgets ? [] : due
  }
}

test('a store that loses timers at a kill is found, and so is a machine that remembers outside its context', async () => {
  let database = new MemoryDatabase()
  const { commands, error } = await found({ prepare: () => { database = new MemoryDatabase() }, connect: () => new Forgetful(database) })
  expect(error.message).toMatch(/the durable actor is not where XState's is\.\ndurable: .+\nXState: /)
  expect(commands).toHaveLength(2)
  expect(commands[1]).toMatch(/^\d+ ms$/)

  let count = 0
  const outside = setup({ types: { events: {} as { type: 'go' } }, guards: { third: () => ++count % 3 === 0 } }).createMachine({ id: 'outside', initial: 'a', states: { a: { on: { go: { guard: 'third', target: 'b' } } }, b: {} } })
  const model = actorModel(outside, { events: eventArbitrary(outside, { go: z.object({}) }) })
  expect((await fc.check(fc.asyncProperty(model.commands, model.run), { numRuns: 50, seed: 1 })).failed).toBe(true)
})

test('without XState beside it, without crashes and without time only what must hold is looked at', async () => {
  let calls = 0
  const counted = order.provide({ actors: { quote: fromPromise(async () => (calls++, 1)) } })
  const model = actorModel(counted as typeof order, { events, native: false, crashes: false, waitsMs: null, commandsMax: 10, invariant: () => true })
  const seen = new Set<string>()
  await fc.assert(fc.asyncProperty(model.commands, async (commands) => {
    for (const command of commands) seen.add(command.toString().replace(/^\{.*\}$/, 'event'))
    await model.run(commands)
  }), { numRuns: 30, seed: 1 })
  expect([...seen]).toEqual(['event'])
  expect(calls).toBeGreaterThan(0)
})

test('a machine that throws has failed in both, and one that ends takes nothing more', async () => {
  const brittle = setup({ types: { context: {} as { n: number }, events: {} as { type: 'add'; n: number } }, actions: { add: assign({ n: ({ context, event }) => { if (event.n > 5) throw new Error('too much'); return context.n + event.n } }) } }).createMachine({ id: 'brittle', context: { n: 0 }, initial: 'a', states: { a: { always: { guard: ({ context }) => context.n > 9, target: 'full' }, on: { add: { actions: 'add' } } }, full: { type: 'final' } } })
  const model = actorModel(brittle, { events: eventArbitrary(brittle, { add: z.object({ n: z.int().min(0).max(7) }) }) })
  await fc.assert(fc.asyncProperty(model.commands, model.run), { numRuns, seed: firstSeed })
})

/** A timer that leads to itself. */
const periodic = (ms: number) =>
  setup({ types: { context: {} as { ticks: number }, events: {} as { type: 'poke' } }, actions: { tick: assign({ ticks: ({ context }) => context.ticks + 1 }) } }).createMachine({
    id: 'periodic',
    context: { ticks: 0 },
    initial: 'a',
    states: { a: { after: { [ms]: { target: 'b', actions: 'tick' } } }, b: { after: { [ms]: { target: 'a', actions: 'tick' } } } },
    on: { poke: { actions: () => {} } },
  })

test('a wait is over after so many instants, for the actor and XState alike', async () => {
  const machine = periodic(1_000)
  const ticks = async (waitsMs: fc.Arbitrary<number>, more: Partial<ActorModelOptions<typeof machine>> = {}): Promise<Set<number>> => {
    const seen = new Set<number>()
    const model = actorModel(machine, { events: fc.constant({ type: 'poke' }), waitsMs, crashes: false, commandsMax: 8, invariant: ({ context }, before) => void seen.add(context.ticks - (before?.context.ticks ?? 0)), ...more })
    await fc.assert(fc.asyncProperty(model.commands, model.run), { numRuns: 5, seed: 1 })
    return seen
  }
  expect(await ticks(fc.constant(7 * 86_400_000))).toEqual(new Set([0, 50]))
  expect(await ticks(fc.constant(7 * 86_400_000), { instantsMax: 3 })).toEqual(new Set([0, 3]))
  expect(await ticks(fc.constant(7 * 86_400_000), { instantsMax: 3, native: false })).toEqual(new Set([0, 3]))
  expect(await ticks(fc.constant(3_500), { instantsMax: 4 })).toEqual(new Set([0, 3, 4]))
})

test.each([1_000, 60_000])('a timer of %d ms that leads to itself ends with the usual waits', async (ms) => {
  const machine = periodic(ms)
  const model = actorModel(machine, { events: eventArbitrary(machine, { poke: z.object({}) }) })
  await fc.assert(fc.asyncProperty(model.commands, model.run), { numRuns: 20, seed: 1 })
}, 30_000)

test('a delay of 0 that leads to itself is told', async () => {
  const machine = periodic(0)
  const model = actorModel(machine, { events: fc.constant({ type: 'poke' }) })
  await expect(model.run([])).rejects.toThrow(new ActorModelError('After 1,000 durable writes at 0 ms there is still something to do. Look for an event or a delay of 0 that leads to itself.'))
})

test('options that cannot work are refused', async () => {
  const refused = (options: unknown, machine: unknown = order) => expect(() => actorModel(machine as typeof order, options as never))
  refused({ events }, 'order').toThrow(new ConfigError('actorModel: expected a machine from setup().createMachine() or createMachine(), got string.'))
  refused(undefined).toThrow(/^actorModel: expected an object with machines, .*, got undefined\.$/)
  refused({}).toThrow(new ConfigError('actorModel: events: expected an arbitrary of fast-check, got undefined.'))
  refused({ events, waitsMs: 5 }).toThrow(new ConfigError('actorModel: waitsMs: expected an arbitrary of fast-check, got 5.'))
  refused({ events, instantsMax: 0 }).toThrow(new ConfigError('actorModel: instantsMax: expected a whole number, at least 1, got 0.'))
  refused({ events, crashes: 'no' }).toThrow(new ConfigError('actorModel: crashes: expected true or false, got "no".'))
  refused({ events, invariant: true }).toThrow(new ConfigError('actorModel: invariant: expected a function, got true.'))
  refused({ events, seed: 0.5 }).toThrow(new ConfigError('actorModel: seed: expected a whole number, got 0.5.'))
  refused({ events, machines: [undefined] }).toThrow(/^machines: expected a machine/)
  refused({ events, waits: null }).toThrow(/^actorModel: waits: there is no such option/)
  await expect(actorModel(order, { events, connect: () => ({}) as never }).run([])).rejects.toThrow(new ConfigError('actorModel: connect: expected a store, got an object without keys.'))

  expect(() => eventArbitrary({} as typeof order, schemas)).toThrow(/^eventArbitrary: expected a machine/)
  expect(() => eventArbitrary(order, undefined as never)).toThrow(new ConfigError('eventArbitrary: schemas: expected schemas by type of event, or one of all events, got undefined.'))
  expect(() => eventArbitrary(order, schemas, { except: 'ship' as never })).toThrow(new ConfigError('eventArbitrary: except: expected a list, got "ship".'))
  expect(() => eventArbitrary(order, schemas, null as never)).toThrow(/^eventArbitrary: expected an object with except, weights, got null\.$/)
  expect(() => eventArbitrary(order, schemas, { weights: { pay: 0, add: 0, ship: 0, 'note.text': 0 } })).toThrow(new ConfigError('events of order: weights: at least one type must come, all have the weight 0.'))
})

test('every event that is handled has a schema, and every schema an event', () => {
  expect(() => eventArbitrary(order, { pay: schemas.pay, add: schemas.add })).toThrow(/^events of order: it handles "ship", for which there is no schema\. Add one, or name it in "except"\./)
  expect(() => eventArbitrary(order, { ...schemas, 'carrier.taken': z.object({}) })).toThrow(/^events of order: it does not handle "carrier\.taken" \(it handles: "note\.\*", "add", "ship", "pay"\)/)
  expect(() => eventArbitrary(order, { ...schemas, pay: 5 as never })).toThrow(/"pay": expected a zod schema or an arbitrary/)
  expect(() => eventArbitrary(order, schemas, { weights: { pay: -1 } })).toThrow(/weights\.pay: expected a whole number, 0 or more, got -1/)
  expect(() => eventArbitrary(order, schemas, { weights: { 'carrier.taken': 1 } })).toThrow(/weights: there is no event "carrier\.taken"/)
  expect(() => eventArbitrary(order, { ...schemas, pay: z.object({ cents: z.bigint() }) as never })).toThrow(/^event "pay": BigInt cannot be represented/)
  expect(() => actorModel(order, { events, commandsMax: 0 })).toThrow(/commandsMax: expected a whole number, at least 1, got 0/)
})

test('one schema of all events, an arbitrary in the place of a schema, exceptions and weights', () => {
  const all = z.discriminatedUnion('type', [
    z.object({ type: z.literal('pay'), cents: z.int() }),
    z.object({ type: z.literal('add'), item: z.string() }),
    z.object({ type: z.literal('ship') }),
  ])
  const sample = fc.sample(eventArbitrary(order, all, { except: ['ship'] }), { numRuns: 200, seed: 1 })
  expect(new Set(sample.map(({ type }) => type))).toEqual(new Set(['pay', 'add']))
  expect(() => eventArbitrary(order, z.discriminatedUnion('type', [z.object({ type: z.literal('pay'), cents: z.int() }), z.object({ type: z.literal('add'), item: z.string() })]))).toThrow(/it handles "ship"/)

  const own: fc.Arbitrary<EventFromLogic<typeof order>> = eventArbitrary(order, { ...schemas, pay: fc.constant({ type: 'pay', cents: 7 } as const) }, { weights: { pay: 8, add: 0 } })
  const weighed = fc.sample(own, { numRuns: 300, seed: 1 })
  expect(weighed.some(({ type }) => type === 'add')).toBe(false)
  const pays = weighed.filter((event) => event.type === 'pay')
  expect(pays.length).toBeGreaterThan(180)
  expect(pays.every((event) => 'cents' in event && event.cents === 7)).toBe(true)
})

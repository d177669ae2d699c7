/** A walk tells what of a chart cannot be reached, finds what throws, and has an end. */
import { expect, test } from 'vitest'
import { and, assign, createMachine, fromPromise, not, or, setup, stateIn, type EventObject } from 'xstate'
import { ConfigError } from '../../src/errors.js'
import { walkChart, ChartWalkError } from '../../src/testing/graph/index.js'

const order = setup({
  types: { context: {} as { tries: number }, events: {} as { type: 'pay' } | { type: 'cancel' } },
  actors: { charge: fromPromise(async () => 1) },
  actions: { count: assign({ tries: ({ context }) => context.tries + 1 }) },
  guards: { mayTryAgain: ({ context }) => context.tries < 2 },
}).createMachine({
  id: 'order',
  context: { tries: 0 },
  initial: 'open',
  states: {
    open: { on: { pay: 'charging', cancel: 'cancelled' }, after: { 1000: 'lapsed' } },
    charging: { entry: 'count', invoke: { src: 'charge', onDone: 'paid', onError: [{ guard: 'mayTryAgain', target: 'open' }, { target: 'failed' }] } },
    paid: { type: 'final' },
    failed: { type: 'final' },
    lapsed: { type: 'final' },
    cancelled: { type: 'final' },
  },
})
const events = [{ type: 'pay' }, { type: 'cancel' }] as const
const outcomes = { charge: [{ output: 1 }, { error: new Error('declined') }] }

test('all of it is reached: delays by themselves, actors by their outcomes', () => {
  const walk = walkChart(order, { events, outcomes, facet: ({ tries }) => tries })
  expect(String(walk)).toBe('order: states 7 of 7, transitions 6 of 6, guard outcomes 2 of 2; 11 situations')
  expect(walk.paths.find(({ value }) => value === 'failed')!.events.map(({ type }) => type)).toEqual(['pay', 'xstate.error.actor.0.order.charging', 'pay', 'xstate.error.actor.0.order.charging'])
  expect(walk.paths[0]).toEqual({ value: 'open', events: [] })
})

test('each error is an outcome of its own', () => {
  const twofold = setup({ actors: { p: fromPromise(async () => 1) }, guards: { isOne: ({ event }) => (event as unknown as { error: Error }).error.message === 'one' } }).createMachine({ id: 'twofold', initial: 'a', states: { a: { invoke: { src: 'p', onDone: 'd', onError: [{ guard: 'isOne', target: 'b' }, { target: 'c' }] } }, b: {}, c: {}, d: {} } })
  expect(walkChart(twofold, { events: [], outcomes: { p: [{ output: 1 }, { error: new Error('two') }, { error: new Error('one') }] } }).states.missing).toEqual([])
})

test('what is not reached is named', () => {
  const walk = walkChart(order, { events: [{ type: 'pay' }], facet: ({ tries }) => tries })
  expect(walk.states.missing).toEqual(['order.paid', 'order.failed', 'order.cancelled'])
  expect(walk.transitions.missing).toEqual(['order.open cancel → order.cancelled', 'order.charging xstate.done.actor.0.order.charging → order.paid', 'order.charging xstate.error.actor.0.order.charging [mayTryAgain] → order.open', 'order.charging xstate.error.actor.0.order.charging → order.failed'])
  expect(walk.guards.missing).toEqual(['mayTryAgain true', 'mayTryAgain false'])
  expect(String(walk)).toContain('\n  not reached: order.paid\n')
  // Without a facet, the second try looks like the first.
  expect(walkChart(order, { events, outcomes }).states.missing).toEqual(['order.failed'])
})

test('events may depend on where it is, and inputs be several', () => {
  const gate = setup({ types: { context: {} as { key: string }, input: {} as { key: string }, events: {} as { type: 'open'; key: string } }, guards: { fits: ({ context, event }) => event.key === context.key && context.key !== '' } }).createMachine({ id: 'gate', context: ({ input }) => ({ key: input.key }), initial: 'shut', states: { shut: { on: { open: { guard: 'fits', target: 'wide' } } }, wide: {} } })
  const walk = walkChart(gate, { inputs: [{ key: 'a' }, { key: '' }], events: ({ context }) => [{ type: 'open', key: context.key }] })
  expect(walk.states.missing).toEqual([])
  expect(walk.guards.missing).toEqual([])
})

test('a machine that throws, and one without an end, are told', () => {
  const throws = setup({ types: { events: {} as { type: 'go' } }, guards: { broken: () => { throw new Error('no such thing') } } }).createMachine({ id: 'throws', initial: 'a', states: { a: { on: { go: { guard: 'broken', target: 'b' } } }, b: {} } })
  expect(() => walkChart(throws, { events: [{ type: 'go' }] })).toThrow(ChartWalkError)
  expect(() => walkChart(throws, { events: [{ type: 'go' }] })).toThrow(/^throws throws: .*no such thing/s)
  const endless = setup({ types: { context: {} as { n: number }, events: {} as { type: 'go' } } }).createMachine({ id: 'endless', context: { n: 0 }, on: { go: { actions: assign({ n: ({ context }) => context.n + 1 }) } } })
  expect(() => walkChart(endless, { events: [{ type: 'go' }], facet: ({ n }) => n, limit: 100 })).toThrow(/^endless has no end within 100 steps\. Let "facet" tell fewer situations apart/)
  expect(walkChart(endless, { events: [{ type: 'go' }] }).transitions.missing).toEqual([])
})

test('each transition is one by itself, and so is a guard without a name', () => {
  const twice = createMachine({ id: 'twice', initial: 'a', states: { a: { on: { go: [{ guard: () => false, target: 'b', actions: () => {} }, { guard: () => true, target: 'b' }] } }, b: {} } })
  const walk = walkChart(twice, { events: [{ type: 'go' }] })
  expect(String(walk)).toBe(
    [
      'twice: states 3 of 3, transitions 1 of 2, guard outcomes 2 of 4; 2 situations',
      '  not taken: twice.a go [(inline)#0] → twice.b',
      '  not seen: twice.a go (inline)#0 true',
      '  not seen: twice.a go (inline)#1 false',
    ].join('\n'),
  )

  const isOn = setup({ guards: { isOn: () => true } })
  const named = isOn.createMachine({ id: 'named', initial: 'a', states: { a: { on: { go: [{ guard: 'isOn', target: 'b' }, { guard: 'isOn', target: 'b', actions: () => {} }, { target: 'b' }, { target: 'b', reenter: true }, { target: 'c' }] }, always: [{ guard: () => false, target: 'c' }, { guard: () => false, target: 'c' }] }, b: {}, c: {} } })
  const { transitions, guards } = walkChart(named, { events: [{ type: 'go' }] })
  expect(transitions).toEqual({ total: 7, missing: ['named.a go [isOn] → named.b #1', 'named.a go → named.b #2', 'named.a go → named.b #3', 'named.a go → named.c', 'named.a always [(inline)#0] → named.c', 'named.a always [(inline)#1] → named.c'] })
  expect(guards).toEqual({ total: 6, missing: ['isOn false', 'named.a always (inline)#0 true', 'named.a always (inline)#1 true'] })
})

test('XState\'s own guards count by their place, and what they are made of by its name, if it has one', () => {
  const built = setup({ types: { context: {} as { n: number }, events: {} as { type: 'go'; n: number } | { type: 'on' } }, guards: { isBig: ({ event }) => 'n' in event && event.n > 5, isOdd: ({ event }) => 'n' in event && event.n % 2 === 1, isBigAndOdd: and(['isBig', 'isOdd']) } }).createMachine({
    id: 'built',
    context: { n: 0 },
    type: 'parallel',
    states: {
      lamp: { initial: 'off', states: { off: { on: { on: 'lit' } }, lit: {} } },
      door: {
        initial: 'shut',
        states: { shut: { on: { go: [{ guard: 'isBigAndOdd', target: 'gone' }, { guard: or([not('isOdd'), and([stateIn({ lamp: 'lit' }), ({ event }: { event: EventObject & { n?: number } }) => event.n === 3])]), target: 'ajar' }] } }, ajar: {}, gone: {} },
      },
    },
  })
  const go = (...numbers: readonly number[]) => numbers.map((n) => ({ type: 'go' as const, n }))
  const all = walkChart(built, { events: [{ type: 'on' }, ...go(1, 2, 3, 7)] })
  expect(String(all)).toMatch(/^built: states 8 of 8, transitions 3 of 3, guard outcomes 16 of 16; \d+ situations$/)
  const some = walkChart(built, { events: go(2, 3) })
  expect(some.guards.missing).toEqual([
    'isBig true',
    'isBigAndOdd true',
    'built.door.shut go and(stateIn({"lamp":"lit"}), (inline))#1.1 true',
    'built.door.shut go stateIn({"lamp":"lit"})#1.1.0 true',
    'built.door.shut go (inline)#1.1.1 true',
    'built.door.shut go (inline)#1.1.1 false',
  ])
  expect(some.transitions.missing).toEqual(['built.lamp.off on → built.lamp.lit', 'built.door.shut go [isBigAndOdd] → built.door.gone'])
  expect(walkChart(setup({ guards: { one: () => true, other: 'one' as never } }).createMachine({ id: 'alias', on: { go: { guard: 'other' } } }), { events: [{ type: 'go' }] }).guards).toEqual({ total: 4, missing: ['one false', 'other false'] })
})

test('a history state is none to be in; what is left before the first rest has been entered', () => {
  const paused = createMachine({ id: 'paused', initial: 'on', states: { on: { initial: 'a', states: { a: { on: { next: 'b' } }, b: {}, back: { type: 'history' } }, on: { pause: 'off' } }, off: { on: { resume: 'on.back' } } } })
  const walk = walkChart(paused, { events: [{ type: 'next' }, { type: 'pause' }, { type: 'resume' }] })
  expect(String(walk)).toMatch(/^paused: states 5 of 5, transitions 3 of 3, guard outcomes 0 of 0; \d+ situations$/)
  expect(walkChart(paused, { events: [{ type: 'next' }, { type: 'pause' }] }).transitions.missing).toEqual(['paused.off resume → paused.on.back'])

  const passing = createMachine({ id: 'passing', initial: 'p', states: { p: { type: 'parallel', states: { one: { initial: 'x', states: { x: { always: '#passing.q' } } }, two: { initial: 'y', states: { y: {} } } } }, q: {} } })
  expect(walkChart(passing, { events: [] }).states.missing).toEqual([])
})

test('options that cannot work are refused', () => {
  const refused = (options: object, machine: unknown = order) => expect(() => walkChart(machine as typeof order, options as never))
  refused({ events }, {}).toThrow(new ConfigError('walkChart: expected a machine from setup().createMachine() or createMachine(), got object.'))
  refused(undefined as never).toThrow(new ConfigError('walkChart: expected an object with inputs, events, outcomes, facet, limit, got undefined.'))
  refused({}).toThrow(new ConfigError('walkChart: events: expected a list of events or a function, got undefined.'))
  refused({ events: ['pay'] }).toThrow(new ConfigError('walkChart: events[0]: expected an event, got "pay".'))
  refused({ events, inputs: [] }).toThrow(new ConfigError('walkChart: inputs: expected a list of at least 1, got an empty list.'))
  refused({ events, outcomes: { charge: { output: 1 } } }).toThrow(new ConfigError('walkChart: outcomes.charge: expected a list, got an object with output.'))
  refused({ events, outcomes: { charge: [1] } }).toThrow(new ConfigError('walkChart: outcomes.charge[0]: expected { output } or { error }, got 1.'))
  refused({ events, facet: 'tries' }).toThrow(new ConfigError('walkChart: facet: expected a function, got "tries".'))
  refused({ events, facets: 1 }).toThrow(new ConfigError('walkChart: facets: there is no such option (there are: inputs, events, outcomes, facet, limit).'))
  expect(() => walkChart(order, { events, outcomes: { refund: [] } })).toThrow(/outcomes: order invokes no "refund" \(it invokes: charge\)/)
  expect(() => walkChart(order, { events, limit: 0 })).toThrow(/limit: expected a whole number, at least 1, got 0/)
  expect(() => walkChart(createMachine({ id: 'still' }), { events: [], outcomes: { charge: [] } })).toThrow(/invokes no "charge" \(it invokes: nothing\)/)
})

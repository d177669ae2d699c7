/** A walk tells what of a chart cannot be reached, finds what throws, and has an end. */
import { expect, test } from 'vitest'
import { assign, createMachine, fromPromise, setup } from 'xstate'
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

test('options that cannot work are refused', () => {
  expect(() => walkChart(order, { events, outcomes: { refund: [] } })).toThrow(/outcomes: order invokes no "refund" \(it invokes: charge\)/)
  expect(() => walkChart(order, { events, limit: 0 })).toThrow(/limit: expected a whole number, at least 1, got 0/)
  expect(() => walkChart(createMachine({ id: 'still' }), { events: [], outcomes: { charge: [] } })).toThrow(/invokes no "charge" \(it invokes: nothing\)/)
})

/** What the types of the testing helpers promise; see consumer.ts. */
import fc from 'fast-check'
import { actorModel, eventArbitrary, schemaArbitrary } from 'holdfast/testing/fast-check'
import { walkChart } from 'holdfast/testing/graph'
import { setup } from 'xstate'
import { z } from 'zod'
import { is } from './is.js'

type OrderEvent = { type: 'pay'; cents: number } | { type: 'ship' }
const order = setup({ types: { context: {} as { paid: number }, events: {} as OrderEvent, input: {} as { id: string } } }).createMachine({ id: 'order', context: { paid: 0 }, initial: 'open', states: { open: { on: { pay: 'open', ship: 'open' } } } })

const events = eventArbitrary(order, { pay: z.object({ cents: z.int() }), ship: fc.constant({ type: 'ship' } as const) }, { except: [], weights: { pay: 3 } })
is<typeof events, fc.Arbitrary<OrderEvent>>(true)
is<typeof events, ReturnType<typeof eventArbitrary<typeof order>>>(true)
eventArbitrary(order, z.discriminatedUnion('type', [z.object({ type: z.literal('pay'), cents: z.int() }), z.object({ type: z.literal('ship') })]))
// @ts-expect-error TS2322 a payment is a number
eventArbitrary(order, { pay: z.object({ cents: z.string() }), ship: z.object({}) })

const tree = schemaArbitrary(z.object({ n: z.int() }))
is<typeof tree, fc.Arbitrary<{ n: number }>>(true)

const model = actorModel(order, {
  events,
  input: { id: 'o-1' },
  instantsMax: 10,
  invariant: ({ context, value }, before) => (is<typeof context, { paid: number }>(true), is<typeof value, 'open'>(true), context.paid >= (before?.context.paid ?? 0)),
})
void fc.assert(fc.asyncProperty(model.commands, model.run))
// @ts-expect-error TS2353 it takes an id
actorModel(order, { events, input: { number: 1 } })

const walk = walkChart(order, { inputs: [{ id: 'a' }], events: [{ type: 'ship' }], facet: ({ paid }) => paid })
is<typeof walk.transitions.missing, readonly string[]>(true)
// @ts-expect-error TS2322 there is no such event
walkChart(order, { events: [{ type: 'eat' }] })

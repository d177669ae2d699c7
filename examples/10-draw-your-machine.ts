// Your machine as a drawing: as Mermaid, which GitHub and most Markdown viewers show, and as the JSON that Stately Studio imports.
import { toMermaid, toXStateJson } from 'holdfast/viz'
import { fromPromise, setup } from 'xstate'

const order = setup({
  types: { events: {} as { type: 'order.place' } | { type: 'order.cancel' } },
  actors: { charge: fromPromise(async () => {}) },
  guards: { isOpen: () => true },
}).createMachine({
  id: 'order',
  initial: 'draft',
  states: {
    draft: { on: { 'order.place': { guard: 'isOpen', target: 'paying' }, 'order.cancel': 'gone' }, after: { 86_400_000: 'gone' } },
    paying: { invoke: { id: 'charge', src: 'charge', onDone: 'paid', onError: 'draft' } },
    paid: { type: 'final' },
    gone: { type: 'final' },
  },
})

console.log(toMermaid(order))
console.log(JSON.stringify(toXStateJson(order)))

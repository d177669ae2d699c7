// Durable children under a supervisor. Each child has a record of its own, so one that fails harms nobody else. The supervisor
// limits how many work at once, and restarts those that fail unless restarts come too thick.
import { createActorSystem, repeatable, supervisorMachine, type SupervisorReport } from 'holdfast'
import { MemoryStore } from 'holdfast/memory'
import { assign, enqueueActions, setup } from 'xstate'

let jams = 1 // the printer fails once

const page = setup({
  actors: {
    print: repeatable(() => {
      if (jams-- > 0) throw new Error('paper jam')
    }),
  },
}).createMachine({
  id: 'page', initial: 'printing',
  states: { printing: { invoke: { id: 'print', src: 'print', onDone: 'printed' } }, printed: { type: 'final' } },
})

const book = setup({
  types: { context: {} as { pages: readonly string[] }, events: {} as SupervisorReport, input: {} as { pages: readonly string[] } },
  actors: { press: supervisorMachine },
  guards: { isLast: ({ context }) => context.pages.length === 1 },
  actions: {
    printAll: enqueueActions(({ enqueue, context }) => {
      for (const id of context.pages) enqueue.sendTo('press', { type: 'child.request', child: { machine: 'page', id } })
    }),
    tell: ({ event }) => console.log(`${event.id}: ${event.type}${'message' in event ? ` after a ${event.message}` : ''}`),
    takeOff: assign({ pages: ({ context, event }) => context.pages.filter((id) => id !== event.id) }),
  },
}).createMachine({
  id: 'book', context: ({ input }) => input, initial: 'printing',
  invoke: { id: 'press', src: 'press', input: { workingMax: 1, restartsMax: 3 }, onDone: '.failed' }, // it ends when it gives up
  states: {
    printing: {
      entry: 'printAll',
      on: { 'supervisor.ended': [{ guard: 'isLast', target: 'printed', actions: 'tell' }, { actions: ['tell', 'takeOff'] }], 'supervisor.*': { actions: 'tell' } },
    },
    printed: { type: 'final' },
    failed: { type: 'final' },
  },
})

const system = await createActorSystem({ store: new MemoryStore(), machines: [book, page] }).start()
await system.actor(book, 'b-1').start({ input: { pages: ['p1', 'p2'] } })
await system.actor(book, 'b-1').output()
const { actors } = await system.find({ key: 'b-1' })
console.log('records:', actors.map(({ address, status }) => `${address} ${status}`))
await system.stop()

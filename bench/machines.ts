/** What is measured on: a counter, a context of 64 KiB kept in 16 keys or in one, and two groups of workers. */
import { supervisorMachine, type SupervisorReport } from 'holdfast'
import { assign, emit, fromPromise, sendTo, setup } from 'xstate'

export const counter = setup({
  types: { context: {} as { n: number }, events: {} as { type: 'add'; by: number } },
  actions: { add: assign({ n: ({ context, event }) => context.n + event.by }) },
}).createMachine({ id: 'counter', context: { n: 0 }, initial: 'on', states: { on: { on: { add: { actions: 'add' } } } } })

const page = (n: number): string => String.fromCharCode(97 + (n % 26)).repeat(4_096)
const pages = Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`page${i}`, page(i)]))

export const document = setup({
  types: { context: {} as Record<string, string>, events: {} as { type: 'edit'; n: number } },
  actions: { edit: assign(({ event }) => ({ page3: page(event.n) })) },
}).createMachine({ id: 'document', context: pages, initial: 'on', states: { on: { on: { edit: { actions: 'edit' } } } } })

export const lump = setup({
  types: { context: {} as { pages: Record<string, string> }, events: {} as { type: 'edit'; n: number } },
  actions: { edit: assign({ pages: ({ context, event }) => ({ ...context.pages, page3: page(event.n) }) }) },
}).createMachine({ id: 'lump', context: { pages }, initial: 'on', states: { on: { on: { edit: { actions: 'edit' } } } } })

/** A call of 50 ms. */
export const job = setup({ actors: { call: fromPromise(() => new Promise<void>((resolve) => void setTimeout(resolve, 50))) } }).createMachine({
  id: 'job',
  initial: 'calling',
  states: { calling: { invoke: { src: 'call', onDone: 'done' } }, done: { type: 'final' } },
})

/** Two groups, each with a bulkhead of its own: at most four jobs at work, at most 400 waiting. */
export const desk = setup({
  types: { events: {} as { type: 'do'; group: 'one' | 'other'; id: string } | SupervisorReport, emitted: {} as { type: 'done'; id: string } },
  actors: { group: supervisorMachine },
  actions: {
    hand: sendTo(
      ({ event }) => (event as { group: string }).group,
      ({ event }) => ({ type: 'child.request' as const, child: { id: (event as { id: string }).id, machine: 'job' } }),
    ),
    tell: emit(({ event }) => ({ type: 'done' as const, id: (event as { id: string }).id })),
  },
}).createMachine({
  id: 'desk',
  invoke: [
    { id: 'one', src: 'group', input: { workingMax: 4, waitingMax: 400 } },
    { id: 'other', src: 'group', input: { workingMax: 4, waitingMax: 400 } },
  ],
  on: { do: { actions: 'hand' }, 'supervisor.ended': { actions: 'tell' }, 'supervisor.*': {} },
})

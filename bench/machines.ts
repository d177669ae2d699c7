/** What is measured on: a counter, and a context of 64 KiB kept in 16 keys or in one. */
import { assign, setup } from 'xstate'

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

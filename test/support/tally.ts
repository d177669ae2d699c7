/** A machine that keeps the numbers it was told, in their order, and answers each with how many they are. */
import { assign, setup } from 'xstate'
import { reply } from '../../src/index.js'

export const tally = setup({
  types: { context: {} as { seen: number[] }, events: {} as { type: 'add'; n: number } },
  actions: { take: assign({ seen: ({ context, event }) => [...context.seen, event.n] }), answer: reply(({ context }) => context.seen.length) },
}).createMachine({ id: 'tally', context: { seen: [] }, on: { add: { actions: ['take', 'answer'] } } })

/** A machine that keeps the numbers it was told, in their order, and answers each with how many they are. */
import { assign, setup } from 'xstate'
import { reply } from '../../src/index.js'

const tallySetup = setup({
  types: { context: {} as { seen: number[] }, events: {} as { type: 'add'; n: number } },
  actions: { take: assign({ seen: ({ context, event }) => [...context.seen, event.n] }), answer: reply(({ context }) => context.seen.length) },
})

export const tally = tallySetup.createMachine({ id: 'tally', context: { seen: [] }, on: { add: { actions: ['take', 'answer'] } } })

/** Two builds of it: the second has a state that the first does not know. */
export function tallyBuild(version: '1' | '2') {
  return tallySetup.createMachine({ id: 'tally', version, context: { seen: [] }, on: { add: { actions: ['take', 'answer'] } }, initial: 'counting', states: version === '1' ? { counting: {} } : { counting: { on: { add: { target: 'counted', actions: ['take', 'answer'] } } }, counted: {} } })
}

// A crash test of a machine of your own: the process is killed before and after every durable write, in virtual time, and must
// each time come out as if nothing had happened. The second machine keeps something where no store sees it, and is found out.
import { CrashTestError, crashTest } from 'holdfast/testing'
import { assign, setup } from 'xstate'

const light = setup({
  types: { context: {} as { times: number }, events: {} as { type: 'press' } },
  actions: { count: assign({ times: ({ context }) => context.times + 1 }) },
}).createMachine({
  id: 'light',
  context: { times: 0 },
  initial: 'off',
  states: {
    off: { on: { press: { target: 'on', actions: 'count' } } },
    on: { on: { press: 'off' }, after: { 60_000: 'off' } },
  },
})

const steps = [{ type: 'press' }, { advanceMs: 60_000 }, { type: 'press' }, 'restart', { type: 'press' }] as const
const { runs, writes } = await crashTest(light, { steps })
console.log(`${light.id}: ${writes} durable writes, ${runs} runs with kills, all came out the same`)

let times = 0 // lives and dies with the process, and does not know which turns were lost
const forgetful = light.provide({ actions: { count: assign({ times: () => ++times }) } })
try {
  await crashTest(forgetful, { steps }, { prepare: () => (times = 0) })
} catch (error) {
  if (!(error instanceof CrashTestError)) throw error
  console.log('its forgetful sister:', error.message.split('\n')[0])
}

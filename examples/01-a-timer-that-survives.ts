// A timer that survives. Run this, kill it within the two seconds (Ctrl-C, or kill -9), and run it again: it rings at the
// instant at which it would have rung.
import { createActorSystem } from 'holdfast'
import { lmdbStore } from 'holdfast/lmdb'
import { setup } from 'xstate'

const eggTimer = setup({}).createMachine({
  id: 'egg-timer',
  initial: 'boiling',
  states: {
    boiling: { after: { 2_000: 'ringing' } },
    ringing: { type: 'final' },
  },
})

const folder = process.argv[2] ?? './data'
const system = await createActorSystem({ store: lmdbStore(folder), machines: [eggTimer] }).start()
const timer = system.actor(eggTimer, 'breakfast') // an address: nothing is created yet

await timer.start({}) // durable when it resolves; a repeat does nothing
console.log('the timer is set')
await timer.output() // waits for the final state
console.log('it rings')

await system.stop()

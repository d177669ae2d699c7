// A payment that is made once. The process dies right after it has paid, before it could note it: run this twice. The
// second process does not pay again. It asks the bank, by the key under which the payment was made.
import { appendFile, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createActorSystem, external } from 'holdfast'
import { lmdbStore } from 'holdfast/lmdb'
import { setup } from 'xstate'

const folder = process.argv[2] ?? './data'
const bank = join(folder, 'payments.txt') // stands for a bank: one line a payment, which begins with its key

const order = setup({
  types: { context: {} as { cents: number }, events: {} as { type: 'order.place' } },
  actors: {
    pay: external({
      async run({ input, idempotencyKey }: { input: { cents: number }; idempotencyKey: string }) {
        await appendFile(bank, `${idempotencyKey} ${input.cents}\n`)
        process.kill(process.pid, 'SIGKILL') // the power fails
      },
      async reconcile({ idempotencyKey }) {
        const payments = await readFile(bank, 'utf8').catch(() => '')
        return payments.includes(`${idempotencyKey} `) ? { happened: true, output: undefined } : { happened: false }
      },
    }),
  },
}).createMachine({
  id: 'order',
  context: { cents: 1_250 },
  initial: 'open',
  states: {
    open: { on: { 'order.place': 'paying' } },
    paying: { invoke: { id: 'pay', src: 'pay', input: ({ context }) => context, onDone: 'paid', onError: 'open' } },
    paid: { type: 'final' },
  },
})

const system = await createActorSystem({ store: lmdbStore(folder), machines: [order] }).start()
const actor = system.actor(order, 'o-17')
console.log('placing the order')
await actor.send({ type: 'order.place' }, { id: 'request-1' }) // the same id again is a no-op
await actor.waitFor((snapshot) => snapshot.matches('paid'))
console.log(`paid, as the bank says:\n${await readFile(bank, 'utf8')}`)
await system.stop()

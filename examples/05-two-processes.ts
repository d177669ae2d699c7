// Two processes on one folder. One owns the actors and runs them; the other is a client, which sends to them and looks at
// them. What the client sends is kept even while nobody runs the actors.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { createActorSystem, createClient } from 'holdfast'
import { lmdbStore } from 'holdfast/lmdb'
import { assign, setup } from 'xstate'

const door = setup({
  types: { context: {} as { visitors: number; by: number | null }, events: {} as { type: 'door.ring' } },
  actions: { count: assign({ visitors: ({ context }) => context.visitors + 1, by: () => process.pid }) },
}).createMachine({
  id: 'door',
  context: { visitors: 0, by: null },
  on: { 'door.ring': { actions: 'count' } },
})

const [, , folder = './data', role = 'client'] = process.argv

if (role === 'owner') {
  const dismissed = once(process, 'disconnect')
  const system = await createActorSystem({ store: lmdbStore(folder), machines: [door] }).start()
  await dismissed
  await system.stop()
} else {
  const client = await createClient({ store: lmdbStore(folder), machines: [door] })
  const front = client.actor(door, 'front')
  const before = (await front.snapshot())?.context.visitors ?? 0
  await front.send({ type: 'door.ring' })
  console.log('rung, and kept; nobody runs the actors now')
  const owner = fork(fileURLToPath(import.meta.url), [folder, 'owner'])
  const { context } = await front.waitFor((snapshot) => snapshot.context.visitors > before, { deadlineMs: 30_000 })
  console.log('handled by the other process:', context.by === owner.pid)
  owner.disconnect()
  await once(owner, 'exit')
  await client.stop()
}

// A worker: every file that is put into inbox/ becomes a durable job, at most three of them at work at once, and its answer a file in
// outbox/. Kill it with -9 whenever you like and start it again: no job is lost, and none is done twice. npm run example worker [folder]
import { mkdir, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createActorSystem, external, repeatable, supervisorMachine } from 'holdfast'
import { lmdbStore } from 'holdfast/lmdb'
import { assign, setup } from 'xstate'

const folder = process.argv[2] ?? './data'
const [inbox, outbox] = ['inbox', 'outbox'].map((name) => join(folder, name)) as [string, string]

const job = setup({
  types: { input: {} as { name: string; text: string }, context: {} as { name: string; text: string; answer: string } },
  actors: {
    count: repeatable(async ({ input }: { input: string }) => { // something that takes a while and may be done again
      await sleep(200)
      return `${input.split(/\s+/).filter(Boolean).length} words`
    }),
    deliver: external({ // something that must not: after a crash the receiver, here a folder, is asked
      run: async ({ input: { name, answer } }: { input: { name: string; answer: string } }) => {
        await writeFile(join(outbox, `.${name}`), `${answer}\n`)
        await rename(join(outbox, `.${name}`), join(outbox, name))
      },
      reconcile: async ({ input: { name } }) => ((await readdir(outbox)).includes(name) ? { happened: true, output: undefined } : { happened: false }),
    }),
  },
}).createMachine({
  id: 'job', context: ({ input }) => ({ ...input, answer: '' }), initial: 'counting',
  states: {
    counting: { invoke: { id: 'count', src: 'count', input: ({ context }) => context.text, onDone: { target: 'delivering', actions: assign({ answer: ({ event }) => event.output }) } } },
    delivering: { invoke: { id: 'deliver', src: 'deliver', input: ({ context: { name, answer } }) => ({ name, answer }), onDone: 'delivered' } },
    delivered: { type: 'final' },
  },
})

await Promise.all([mkdir(inbox, { recursive: true }), mkdir(outbox, { recursive: true })])
const system = await createActorSystem({ store: lmdbStore(join(folder, 'store')), machines: [supervisorMachine, job] }).start()
const crew = system.actor(supervisorMachine, 'crew') // ten more may wait; what is beyond stays in the inbox
await crew.start({ input: { workingMax: 3, waitingMax: 10, restartsMax: 1_000 } })
console.log(`process ${process.pid} works on ${inbox}`)

let isOn = true
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => (isOn = false))
for (; isOn; await sleep(100)) {
  const known = new Set((await crew.snapshot())!.context.wards.map(({ spec }) => spec.id))
  for (const name of (await readdir(inbox)).filter((file) => /^[\w-]+\.txt$/.test(file))) {
    if ((await system.actorAt(`job/crew~${name}`).status()) === 'done') await rm(join(inbox, name)) // taken off when it is delivered
    else if (!known.has(name) && known.size < 13) {
      await crew.send({ type: 'child.request', child: { id: name, machine: 'job', input: { name, text: await readFile(join(inbox, name), 'utf8') } } }, { id: name })
      known.add(name)
    }
  }
}
await system.stop()

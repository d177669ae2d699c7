/** A killed node's parked actors, until the last of them has finished, against bare reads of as many snapshots. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { createActorSystem } from 'holdfast'
import { lmdbStore } from 'holdfast/lmdb'
import { open as openLmdb } from 'lmdb'
import { createActor } from 'xstate'
import type { Figure } from './figure.js'
import { agent } from './skeleton.js'

const parked = 10_000

/** In a process of its own: fills the folder, says so, and waits to be killed. */
export async function fill(folder: string): Promise<never> {
  const system = await createActorSystem({ store: lmdbStore(folder), machines: [agent], freeze: false }).start()
  await Promise.all(Array.from({ length: parked }, (_, i) => system.actor(agent, `a-${i}`).start({ input: { next: `agent/a-${i}` } })))
  await system.settled()
  console.log('filled')
  return new Promise(() => setInterval(() => {}, 1_000))
}

async function killedFolder(folder: string): Promise<void> {
  const child = spawn(process.execPath, [process.argv[1]!, '--fill', folder], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  await Promise.race([once(child.stdout, 'data'), exited.then(() => Promise.reject(new Error('The process that fills the folder ended.')))])
  child.kill('SIGKILL')
  await exited
}

export async function recovery(scratch: string): Promise<Figure> {
  const killed = join(scratch, 'killed')
  await killedFolder(killed)
  const db = openLmdb<string, number>({ path: join(scratch, 'snapshots'), encoding: 'string' })
  await db.transaction(() => {
    for (let i = 0; i < parked; i++) {
      const actor = createActor(agent, { input: { next: `agent/a-${i}` } }).start()
      void db.put(i, JSON.stringify(actor.getPersistedSnapshot()))
      actor.stop()
    }
  })
  let run = 0
  return {
    figure: 'recovery.10000',
    what: `a killed node's ${parked} parked actors on LMDB, until all have had their approval and are done`,
    unit: 'ms',
    ours: {
      name: 'holdfast',
      run: async () => {
        const folder = join(scratch, `recovered-${run++}`)
        await cp(killed, folder, { recursive: true })
        const started = performance.now()
        const system = await createActorSystem({ store: lmdbStore(folder), machines: [agent], freeze: false }).start()
        await Promise.all(Array.from({ length: parked }, (_, i) => system.actor(agent, `a-${i}`).send({ type: 'agent.approve' })))
        await system.settled()
        const ms = performance.now() - started
        await system.stop()
        return ms
      },
    },
    against: [
      {
        name: 'reads + parse + createActor',
        run: () => {
          const started = performance.now()
          for (let i = 0; i < parked; i++) createActor(agent, { snapshot: JSON.parse(db.get(i)!) as never, input: undefined as never }).start().send({ type: 'agent.approve' })
          return performance.now() - started
        },
      },
    ],
    end: () => db.close(),
  }
}

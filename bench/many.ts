/**
 * As many actors as one server keeps, and what a node that serves them keeps in memory: parked ones cost nothing beyond the
 * bounded cache. Takes minutes and some 4 GB of the server's memory.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { createActorSystem } from 'holdfast'
import { redisStore } from 'holdfast/redis'
import { RedisServer } from '../test/support/redis-server.js'
import type { Figure } from './figure.js'
import { agent } from './skeleton.js'

const count = 1_000_000
/** So many of them, far apart, have a message while the node is looked at. */
const busy = 50_000
const atOnce = 5_000

/** In a process of its own: makes the actors, or, of those there are, wakes some; then tells the most memory it has had, in MB. */
export async function host(url: string, how: string): Promise<never> {
  const system = await createActorSystem({ store: redisStore(url), machines: [agent] }).start()
  const [total, step] = how === 'make' ? [count, 1] : [busy, count / busy]
  for (let from = 0; from < total; from += atOnce) {
    await Promise.all(
      Array.from({ length: atOnce }, (_, i) => {
        const id = `a-${(from + i) * step}`
        const actor = system.actor(agent, id)
        return how === 'make' ? actor.start({ input: { next: `agent/${id}` } }) : actor.send({ type: 'agent.note', note: `${process.pid}` })
      }),
    )
  }
  await system.settled()
  console.log(Math.round(process.resourceUsage().maxRSS / 1_024))
  await system.stop()
  process.exit(0)
}

async function mostMemory(url: string, how: 'make' | 'wake'): Promise<number> {
  const child = spawn(process.execPath, [process.argv[1]!, '--host', url, '--how', how], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const [line] = (await Promise.race([once(createInterface(child.stdout), 'line'), exited.then(() => Promise.reject(new Error('The node ended by itself.')))])) as [string]
  await exited
  return Number(line)
}

export async function millionActors(): Promise<Figure> {
  const server = await RedisServer.start({ appendfsync: 'everysec', config: { 'auto-aof-rewrite-percentage': '0' } })
  const made = await mostMemory(server.url, 'make')
  console.error(`  ${count} actors made by a node of ${made} MB`)
  return {
    figure: 'actors.1000000',
    what: `the most memory of a node that runs ${count} actors, of which ${busy} have a message`,
    unit: 'MB',
    ours: { name: 'a node', run: () => mostMemory(server.url, 'wake') },
    against: [{ name: '1 GiB', run: () => 1_024, target: '<= 1' }],
    end: () => server.stop(),
  }
}

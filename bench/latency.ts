/** From a send to its turn, on an idle system, one at a time, against one durable round trip of 200 B. */
import { join } from 'node:path'
import { createActorSystem, createClient, type Store } from 'holdfast'
import { lmdbStore } from 'holdfast/lmdb'
import { redisStore } from 'holdfast/redis'
import { Redis } from 'ioredis'
import { open as openLmdb } from 'lmdb'
import { RedisServer } from '../test/support/redis-server.js'
import { percentile, type Figure } from './figure.js'
import { agent } from './skeleton.js'

export const latencyStores = ['redis-everysec', 'redis-always', 'lmdb'] as const

const sends = 300
const body = 'n'.repeat(200)

interface Place {
  readonly store: () => Store
  readonly write: (n: number) => Promise<unknown>
  readonly end: () => Promise<void>
}

async function placeOf(kind: (typeof latencyStores)[number], scratch: string, name: string): Promise<Place> {
  if (kind === 'lmdb') {
    const db = openLmdb<string, number>({ path: join(scratch, `${name}-bare`), encoding: 'string', overlappingSync: false, eventTurnBatching: false })
    const folder = join(scratch, name)
    return { store: () => lmdbStore(folder), write: (n) => db.put(n, body), end: () => db.close() }
  }
  const server = await RedisServer.start({ appendfsync: kind === 'redis-always' ? 'always' : 'everysec' })
  const redis = new Redis(server.url)
  return {
    store: () => redisStore(server.url),
    write: (n) => redis.set(`bare-${n}`, body),
    end: async () => {
      redis.disconnect()
      await server.stop()
    },
  }
}

/** @param share 0.5 or 0.99: the percentile told */
export function sendToTurn(kind: (typeof latencyStores)[number], from: 'owner' | 'client', share: number): (scratch: string) => Promise<Figure> {
  return async (scratch) => {
    const figure = `send.to.turn.${kind}.${from}.p${share * 100}`
    const place = await placeOf(kind, scratch, figure)
    const system = await createActorSystem({ store: place.store(), machines: [agent], freeze: false }).start()
    const client = from === 'client' ? await createClient({ store: place.store(), machines: [agent] }) : undefined
    const owned = system.actor(agent, 'a')
    await owned.start({ input: { next: 'agent/a' } })
    const sender = (client ?? system).actor(agent, 'a')
    let heard = (): void => {}
    owned.subscribe(() => heard())
    const timesOf = async (work: (n: number) => Promise<unknown>): Promise<number> => {
      const times: number[] = []
      for (let n = 0; n < sends; n++) {
        const started = performance.now()
        await work(n)
        times.push((performance.now() - started) * 1_000)
        // Idle in between: what the last one left behind has passed.
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
      return percentile(times, share)
    }
    let sent = 0
    return {
      figure,
      what: `from a send of the ${from} to its committed turn, on ${kind}`,
      unit: 'µs',
      ours: {
        name: 'send to turn',
        run: () =>
          timesOf(async () => {
            const turn = new Promise<void>((resolve) => (heard = resolve))
            await Promise.all([sender.send({ type: 'agent.note', note: `${body}${sent++}` }), turn])
          }),
      },
      against: [{ name: 'one durable write', run: () => timesOf(place.write), target: from === 'owner' ? '<= 2.5' : '<= 4' }],
      end: async () => {
        await client?.stop()
        await system.stop()
        await place.end()
      },
    }
  }
}

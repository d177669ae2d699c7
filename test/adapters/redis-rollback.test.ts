/** A server that goes back in time, noticed by those who use it (I11), and what `holdfast doctor` makes of it. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { redisStore } from '../../src/adapters/redis/index.js'
import { createActorSystem, type ActorSystem } from '../../src/index.js'
import { holdfast } from '../support/cli.js'
import { redisCli } from '../support/redis-cli.js'
import { RedisServer } from '../support/redis-server.js'
import { tally } from '../support/tally.js'

let server: RedisServer
const systems: ActorSystem[] = []
beforeEach(async () => {
  server = await RedisServer.start()
})
afterEach(async () => {
  await Promise.all(systems.splice(0).map((system) => system.stop({ withinMs: 1_000 })))
  await server.stop()
})

async function start(): Promise<ActorSystem> {
  const system = await createActorSystem({ store: redisStore(server.url), namespace: 'research', machines: [tally], leaseMs: 1_000 }).start()
  systems.push(system)
  return system
}

const ids = Array.from({ length: 12 }, (_, i) => `a${i}`)
const add = (system: ActorSystem, n: number): Promise<unknown> => Promise.all(ids.map((id) => system.actor(tally, id).ask({ type: 'add', n }, { deadlineMs: 10_000 })))

test('an older backup is noticed by every process, nothing runs until doctor accepts it, and then it goes on from there', async () => {
  const [one, two] = [await start(), await start()]
  await add(one, 1)
  const putBack = await server.backup()
  await add(two, 2)
  await putBack()
  for (const system of [one, two]) await expect.poll(() => system.owned.shards, { timeout: 10_000 }).toEqual([])
  const looked = await holdfast(['doctor', '--store', server.url])
  expect(looked.code).toBe(1)
  expect(looked.lines.join('\n')).toMatch(/^Durability D2\.[^]*2 processes would run actors[^]*Halted: the store went back in time: /)
  const third = await start()
  expect([third.role, await third.halted()]).toEqual(['client', expect.stringContaining('acknowledged')])
  const accepted = await holdfast(['doctor', '--store', server.url, '--accept'])
  expect([accepted.code, accepted.lines.at(-1)]).toEqual([0, 'Accepted: the actors go on from what is there.'])
  await expect.poll(() => [one, two, third].map(({ owned }) => owned.shards.length).sort(), { timeout: 10_000 }).toEqual([5, 5, 6])
  await add(third, 3)
  for (const id of ids) expect((await one.actor(tally, id).snapshot())?.context.seen).toEqual([1, 3])
  const healthy = await holdfast(['doctor', '--json', '--store', server.url])
  expect([healthy.code, JSON.parse(healthy.lines[0]!)]).toMatchObject([0, { durability: 'D2', halted: null, nodes: [{ presence: 'here' }, { presence: 'here' }, { presence: 'here' }] }])
}, 60_000)

test('FLUSHALL is noticed, nothing is done over as if it had never been, and doctor lets it go on', async () => {
  const system = await start()
  await add(system, 1)
  await redisCli(server, 'FLUSHALL')
  await expect.poll(() => system.owned.shards, { timeout: 10_000 }).toEqual([])
  expect(await system.halted()).toContain('the store went back in time')
  const later = await start()
  expect([later.role, await later.halted()]).toEqual(['client', expect.stringContaining('went back')])
  expect((await holdfast(['doctor', '--store', server.url])).code).toBe(1)
  expect((await holdfast(['doctor', '--store', server.url, '--accept'])).code).toBe(0)
  await expect.poll(() => [system, later].map(({ owned }) => owned.shards.length).sort(), { timeout: 10_000 }).toEqual([8, 8])
  await add(later, 7)
  for (const id of ids) expect((await system.actor(tally, id).snapshot())?.context.seen).toEqual([7])
}, 60_000)

test('a server that comes back with nothing is noticed as well', async () => {
  const system = await start()
  await add(system, 1)
  await server.empty()
  await expect.poll(() => system.owned.shards, { timeout: 15_000 }).toEqual([])
  expect((await holdfast(['doctor', '--store', server.url])).code).toBe(1)
}, 60_000)

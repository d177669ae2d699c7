/** What a Redis server can be trusted with: judged by what it says of itself, when it is opened and while it runs. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { factsOf, judge } from '../../src/adapters/redis/checks.js'
import { redisStore, type RedisStoreOptions } from '../../src/adapters/redis/index.js'
import { createActorSystem, type ActorSystem, type MovableStore } from '../../src/index.js'
import { holdfast } from '../support/cli.js'
import { redisCli } from '../support/redis-cli.js'
import { RedisServer } from '../support/redis-server.js'
import { tally } from '../support/tally.js'

const info = (more: Readonly<Record<string, string>> = {}): string =>
  Object.entries({ redis_version: '7.0.15', run_id: 'a', role: 'master', cluster_enabled: '0', maxmemory: '1000', used_memory: '10', connected_slaves: '0', aof_enabled: '1', aof_last_write_status: 'ok', maxmemory_policy: 'noeviction', ...more })
    .map(([name, value]) => `${name}:${value}\r\n`)
    .join('')
const settings = (more: Readonly<Record<string, string>> = {}): string[] =>
  Object.entries({ appendfsync: 'always', 'no-appendfsync-on-rewrite': 'no', 'min-replicas-to-write': '0', 'maxmemory-policy': 'noeviction', save: '3600 1', 'stop-writes-on-bgsave-error': 'yes', ...more }).flat()
const judged = (told: Readonly<Record<string, string>>, set: Readonly<Record<string, string>>, replicas = 0): ReturnType<typeof judge> => judge(factsOf(info(told), settings(set)), 'here', replicas)
const replica = (state: string, lag: number): string => `ip=127.0.0.1,port=1,state=${state},offset=5,lag=${lag}`

describe('a server', () => {
  test('that has nothing wrong with it keeps everything', () => expect(judged({}, {})).toEqual({ durability: 'D2', warnings: [], refusals: [] }))

  const refused: readonly [told: Record<string, string>, set: Record<string, string>, durability: string, why: RegExp][] = [
    [{}, { 'maxmemory-policy': 'allkeys-lru' }, 'D2', /maxmemory-policy allkeys-lru: .*Set maxmemory-policy noeviction\.$/],
    [{}, { 'maxmemory-policy': 'volatile-ttl' }, 'D2', /maxmemory-policy volatile-ttl/],
    [{ aof_enabled: '0' }, {}, 'D0', /appendonly no: .*Set appendonly yes/],
    [{}, { appendfsync: 'no' }, 'D0', /appendfsync no: .*Set appendfsync always, or everysec\.$/],
    [{ aof_last_write_status: 'err' }, {}, 'D2', /aof_last_write_status err: .*Make room or mend the disk/],
  ]
  test.each(refused)('of %j %j is refused', (told, set, durability, why) => {
    const standing = judged(told, set)
    expect(standing).toEqual({ durability, warnings: [], refusals: [expect.stringMatching(why)] })
  })

  const warned: readonly [told: Record<string, string>, set: Record<string, string>, durability: string, why: RegExp][] = [
    [{}, { appendfsync: 'everysec' }, 'D1', /appendfsync everysec: .*Set appendfsync always/],
    [{}, { 'no-appendfsync-on-rewrite': 'yes' }, 'D1', /Set no-appendfsync-on-rewrite no\.$/],
    [{ maxmemory: '0' }, {}, 'D2', /maxmemory 0: .*Set maxmemory below/],
    [{ used_memory: '760' }, {}, 'D2', /uses 76 % of its maxmemory 1000; .*Raise maxmemory/],
    [{ connected_slaves: '1' }, {}, 'D2', /1 replicas and min-replicas-to-write 0: .*Set min-replicas-to-write 1/],
    [{}, { save: '' }, 'D2', /no save points: .*Set save/],
    [{}, { 'stop-writes-on-bgsave-error': 'no' }, 'D2', /Set stop-writes-on-bgsave-error yes\.$/],
  ]
  test.each(warned)('of %j %j is warned of', (told, set, durability, why) => {
    expect(judged(told, set)).toEqual({ durability, warnings: [expect.stringMatching(why)], refusals: [] })
  })

  test('that lets nobody look at its settings is called unknown where INFO does not tell, and refused for what it tells', () => {
    expect(judge(factsOf(info({ maxmemory_policy: 'allkeys-lfu' }), []), 'here', 0)).toEqual({ durability: 'D1', warnings: [expect.stringMatching(/appendfsync is unknown; everysec is assumed \(D1\)\. Allow CONFIG GET/)], refusals: [expect.stringContaining('allkeys-lfu')] })
  })

  test('that is no primary, or too old, cannot be worked with', () => {
    expect(() => judged({ role: 'slave' }, {})).toThrow('has role slave. Point the store at the primary')
    expect(() => judged({ redis_version: '6.2.14' }, {})).toThrow('has version 6.2.14. Use 7.0 or newer')
  })

  test('has as many replicas as keep up with it', () => {
    const slaves = { connected_slaves: '3', slave0: replica('online', 0), slave1: replica('wait_bgsave', 0), slave2: replica('online', 11) }
    const set = { 'min-replicas-to-write': '1' }
    expect(judged(slaves, set, 1)).toEqual({ durability: 'D3', warnings: [], refusals: [] })
    expect(judged(slaves, set, 2).refusals).toEqual([expect.stringMatching(/has 1 replicas that keep up with it, and writes are to be on 2: they wait\. Bring the replicas back/)])
    expect(judged(slaves, { ...set, appendfsync: 'everysec' }, 1).durability).toBe('D1')
  })
})

describe('a server that changes while it is in use', () => {
  let server: RedisServer
  const systems: ActorSystem[] = []
  beforeEach(async () => {
    server = await RedisServer.start({ config: { save: '3600 1' } })
  })
  afterEach(async () => {
    await Promise.all(systems.splice(0).map((system) => system.stop({ withinMs: 1_000 })))
    await server.stop()
  })
  const storeOf = (options: RedisStoreOptions = {}): MovableStore => redisStore(server.url, options)
  async function start(more: { unsafe?: boolean; checkMs?: number } = {}): Promise<ActorSystem> {
    const system = await createActorSystem({ store: storeOf(), namespace: 'research', machines: [tally], leaseMs: 1_000, checkMs: 100, ...more }).start()
    systems.push(system)
    return system
  }
  const owns = (system: ActorSystem): ReturnType<typeof expect.poll> => expect.poll(() => system.owned.shards.length, { timeout: 10_000 })
  const config = (name: string, value: string): Promise<string> => redisCli(server, 'CONFIG', 'SET', name, value)

  test.each([['maxmemory-policy', 'allkeys-lru', 'noeviction'], ['appendfsync', 'no', 'always'], ['appendonly', 'no', 'yes']])('%s %s is noticed: what is sent is kept, nothing is done with it, and it is done once it is %s again', async (name, bad, good) => {
    const system = await start()
    expect([system.durability, system.refusals]).toEqual(['D2', []])
    await config(name, bad)
    await owns(system).toBe(0)
    expect(system.refusals).toEqual([expect.stringContaining(`${name} ${bad}`)])
    const actor = system.actor(tally, 'a')
    await actor.send({ type: 'add', n: 1 })
    await sleep(300)
    expect(await actor.snapshot()).toBeUndefined()
    await expect(createActorSystem({ store: storeOf(), namespace: 'research', machines: [tally] }).start()).rejects.toThrow(`${name} ${bad}`)
    const careless = await start({ unsafe: true })
    expect([careless.refusals.length, careless.durability]).toEqual([1, name === 'maxmemory-policy' ? 'D2' : 'D0'])
    await careless.stop()
    await config(name, good)
    await owns(system).toBe(16)
    await expect.poll(async () => (await actor.snapshot())?.context.seen, { timeout: 10_000 }).toEqual([1])
  }, 60_000)

  test('doctor says why it is refused, and what to do', async () => {
    await start()
    await config('maxmemory-policy', 'allkeys-lru')
    const { code, lines } = await holdfast(['doctor', '--store', server.url])
    expect([code, lines.join('\n')]).toEqual([1, expect.stringMatching(/^Durability D2\.[^]*Refused: .*maxmemory-policy allkeys-lru: .*Set maxmemory-policy noeviction\.\n1 process would run actors/)])
  }, 60_000)

  test('one that becomes a replica is named by its role, and goes on once it is the primary again', async () => {
    const system = await start()
    const actor = system.actor(tally, 'a')
    await actor.send({ type: 'add', n: 1 })
    await redisCli(server, 'REPLICAOF', '127.0.0.1', '1')
    await expect.poll(() => system.refusals, { timeout: 10_000 }).toEqual([expect.stringContaining('has role slave. Point the store at the primary')])
    const sent = actor.send({ type: 'add', n: 2 })
    await redisCli(server, 'REPLICAOF', 'NO', 'ONE')
    await sent
    await owns(system).toBe(16)
    await expect.poll(async () => (await actor.snapshot())?.context.seen, { timeout: 10_000 }).toEqual([1, 2])
    expect(system.refusals).toEqual([])
  }, 60_000)

  test('what another server keeps that comes back in its place is known as soon as it is connected', async () => {
    const system = await start({ checkMs: 86_400_000 })
    expect(system.durability).toBe('D2')
    await server.restart({ appendfsync: 'everysec' })
    await expect.poll(() => system.durability, { timeout: 10_000 }).toBe('D1')
    await server.restart({ appendfsync: 'no' })
    await owns(system).toBe(0)
    expect(system.refusals).toEqual([expect.stringContaining('appendfsync no')])
  }, 60_000)
})

/** D3: what is acknowledged is on a replica, too, on real servers. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ConfigError, StoreError } from '../../src/errors.js'
import { redisStore, RedisStore } from '../../src/adapters/redis/index.js'
import { createActorSystem, type ActorSystem } from '../../src/index.js'
import type { Commit, Lease, NewEntry } from '../../src/runtime/ports/store.js'
import { emptyPart } from '../../src/testing/store-contract.js'
import { redisCli } from '../support/redis-cli.js'
import { RedisProxy, RedisServer } from '../support/redis-server.js'
import { tally } from '../support/tally.js'

let primary: RedisServer
let replica: RedisServer
const stores: RedisStore[] = []
const systems: ActorSystem[] = []
beforeEach(async () => {
  primary = await RedisServer.start({ config: { 'repl-diskless-sync-delay': '0' } })
  replica = await RedisServer.start({ config: { replicaof: `127.0.0.1 ${primary.port}` } })
  await linked()
})
afterEach(async () => {
  replica.signal('SIGCONT')
  await Promise.all([...systems.splice(0).map((system) => system.stop({ withinMs: 500 })), ...stores.splice(0).map((store) => store.close())])
  await Promise.all([primary.kill(), replica.kill()])
  await Promise.all([primary.stop(), replica.stop()])
})

const linked = (): Promise<void> => expect.poll(() => redisCli(primary, 'INFO', 'replication'), { timeout: 20_000 }).toContain('state=online')
async function open(url = primary.url, more = {}): Promise<RedisStore> {
  const store = new RedisStore(url, { replicas: 1, ...more })
  stores.push(store)
  await store.open({ namespace: 'n', shards: 4 })
  return store
}
async function claim(store: RedisStore): Promise<Lease> {
  const claimed = await store.claim(1, { id: 'node-1' })
  if (!('lease' in claimed)) throw new Error('the shard is held')
  return claimed.lease
}
const commitOf = (lease: Lease, number: number): Commit => ({ lease, number, position: 0, at: 0, parts: [{ ...emptyPart('m/a'), life: 'created', fields: new Map([['f', String(number)]]) }], accepted: [], confirmed: [], delivered: [], suspects: new Map() })
const entry = (id: string): NewEntry => ({ id, to: 'm/a', text: id, rememberUntil: Number.MAX_SAFE_INTEGER })
const outcomeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'acknowledged',
    (error: unknown) => (error instanceof StoreError ? error.outcome : error),
  )

test('what is acknowledged is on the replica, and the store says D3', async () => {
  const store = await open()
  expect((await store.standing()).durability).toBe('D3')
  const lease = await claim(store)
  for (let number = 1; number <= 50; number++) {
    await store.commit(commitOf(lease, number))
    await store.append(1, [entry(`e${number}`)])
  }
  await primary.kill()
  await redisCli(replica, 'REPLICAOF', 'NO', 'ONE')
  const after = await open(replica.url, { replicas: 0 })
  expect((await after.load(1, ['m/a']))[0]?.fields.get('f')).toBe('50')
  expect(await after.read(1, 0, 100, AbortSignal.abort())).toHaveLength(50)
}, 60_000)

test('while the replica stands still nothing is acknowledged, not even a repeat by a connection that wrote nothing, and it is once it goes on', async () => {
  const proxy = await RedisProxy.start(primary.port)
  const store = await open(proxy.url, { commandDeadlineMs: 600 })
  const lease = await claim(store)
  await store.commit(commitOf(lease, 1))
  replica.signal('SIGSTOP')
  const second = commitOf(lease, 2)
  expect(await outcomeOf(store.commit(second))).toBe('unknown')
  expect(await outcomeOf(store.append(1, [entry('x')]))).toBe('unknown')
  expect(await redisCli(primary, 'HGET', 'hf:{n:1}:meta', 'number')).not.toBe('1')
  // A new connection: nothing was written on it, and the commit is there already.
  proxy.mode = 'lose'
  await outcomeOf(store.now())
  proxy.mode = 'forward'
  await expect.poll(() => outcomeOf(store.now()), { timeout: 10_000 }).toBe('acknowledged')
  expect([await outcomeOf(store.commit(second)), await outcomeOf(store.append(1, [entry('x')]))]).toEqual(['unknown', 'unknown'])
  const other = await open(primary.url, { commandDeadlineMs: 600 })
  expect(await outcomeOf(other.commit(second))).toBe('unknown')
  replica.signal('SIGCONT')
  await expect.poll(() => outcomeOf(store.commit(second)), { timeout: 10_000 }).toBe('acknowledged')
  expect(await store.append(1, [entry('x')])).toEqual(['duplicate'])
  await proxy.close()
}, 60_000)

test('what is written at once is acknowledged together', async () => {
  const store = await open()
  const lease = await claim(store)
  const before = Number(/cmdstat_wait:calls=(\d+)/.exec(await redisCli(primary, 'INFO', 'commandstats'))?.[1] ?? 0)
  const results = await Promise.all(Array.from({ length: 200 }, (_, i) => store.commit(commitOf(lease, i + 1))))
  expect(results.every(({ ok }) => ok)).toBe(true)
  const waits = Number(/cmdstat_wait:calls=(\d+)/.exec(await redisCli(primary, 'INFO', 'commandstats'))![1]) - before
  expect(waits).toBeLessThan(100)
}, 60_000)

test('a system whose replica is away writes nothing, says why, and goes on with all it was sent when the replica is back', async () => {
  const system = await createActorSystem({ store: redisStore(primary.url, { replicas: 1 }), machines: [tally], leaseMs: 1_000, checkMs: 100, durabilityMin: 'D3' }).start()
  systems.push(system)
  expect([system.durability, system.refusals]).toEqual(['D3', []])
  const actor = system.actor(tally, 'a')
  expect(await actor.ask({ type: 'add', n: 1 })).toBe(1)
  await replica.kill()
  let answered: unknown
  const answer = actor.ask({ type: 'add', n: 2 }).then((value) => (answered = value))
  await expect.poll(() => system.refusals, { timeout: 10_000 }).toEqual([expect.stringMatching(/has 0 replicas that keep up with it, and writes are to be on 1: they wait\. Bring the replicas back/)])
  await sleep(500)
  expect(answered).toBeUndefined()
  await expect(createActorSystem({ store: redisStore(primary.url, { replicas: 1 }), machines: [tally] }).start()).rejects.toThrow(ConfigError)
  await replica.restart()
  await answer
  expect(answered).toBe(2)
  await expect.poll(() => system.owned.shards.length, { timeout: 10_000 }).toBe(16)
  expect([await actor.ask({ type: 'add', n: 3 }), system.refusals]).toEqual([3, []])
}, 60_000)

test('a number of replicas that makes no sense is refused', () => {
  for (const replicas of [-1, 1.5, 11, Number.NaN]) expect(() => redisStore('redis://127.0.0.1:1', { replicas })).toThrow(/^replicas: expected a whole number from 0 to 10/)
})

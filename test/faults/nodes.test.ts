/** Nodes as processes of their own on a real Redis: killed, frozen beyond their lease, stopped and started, under load. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { createClient, type Client } from '../../src/index.js'
import { redisStore } from '../../src/adapters/redis/index.js'
import { firstSeed, tier } from '../support/extent.js'
import { NodeProcesses } from '../support/node-processes.js'
import { Random } from '../support/random.js'
import { redisCli } from '../support/redis-cli.js'
import { RedisCluster } from '../support/redis-cluster.js'
import { RedisProxy, RedisServer } from '../support/redis-server.js'
import { TallyPumps } from '../support/tally-pumps.js'
import { tally } from '../support/tally.js'

const leaseMs = 1_500
const ids = Array.from({ length: 48 }, (_, i) => `a${i}`)

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

async function scene(target: Parameters<typeof redisStore>[0]): Promise<{ readonly nodes: NodeProcesses; readonly pumps: TallyPumps; readonly client: Client; readonly during: (what: string, act: () => Promise<unknown>) => Promise<void>; readonly told: string[] }> {
  const nodes = new NodeProcesses(typeof target === 'string' ? target : JSON.stringify(target), leaseMs)
  ends.push(() => nodes.stop())
  for (let i = 0; i < 2; i++) await nodes.join()
  const client = await createClient({ store: redisStore(target), machines: [tally] })
  ends.push(() => client.stop())
  const pumps = new TallyPumps(client, ids)
  await nodes.even()
  const told: string[] = []
  const during = async (what: string, act: () => Promise<unknown>): Promise<void> => {
    const from = performance.now()
    await act()
    await nodes.even()
    const even = performance.now() - from
    await sleep(200)
    told.push(`${what}: all shards owned after ${even.toFixed(0)} ms, the longest wait for an answer was ${pumps.longest(from, performance.now()).toFixed(0)} ms`)
  }
  return { nodes, pumps, client, during, told }
}

async function ended(pumps: TallyPumps, told: readonly string[]): Promise<void> {
  await pumps.stop()
  expect(await pumps.wrong()).toEqual([])
  console.log(`${pumps.answers.length} questions to ${ids.length} actors, lease ${leaseMs} ms\n${told.join('\n')}`)
}

test(`what is asked is answered once and in order, whatever becomes of the nodes (seed ${firstSeed})`, async () => {
  const random = new Random(firstSeed)
  const server = await RedisServer.start({ appendfsync: 'everysec' })
  ends.push(() => server.stop())
  const { nodes, pumps, during, told } = await scene(server.url)
  const anyone = (): string => random.pick([...nodes.nodes.keys()])
  for (let round = 0; round < (tier === 'first' ? 1 : 6); round++) {
    await during('a node comes', () => nodes.join())
    await during('a node is killed', () => nodes.end(anyone(), 'SIGKILL'))
    await during('a node comes', () => nodes.join())
    await during('a node stops', async () => expect(await nodes.end(anyone(), 'SIGTERM')).toBe(0))
    await during('a node stands still for two leases', async () => {
      const { script } = nodes.nodes.get(anyone())!
      script.kill('SIGSTOP')
      await sleep(2 * leaseMs)
      script.kill('SIGCONT')
    })
  }
  await ended(pumps, told)
}, 300_000)

test('on Redis Cluster: nodes come and die, a primary hands over and another one dies, slots move, and nothing is lost or doubled', async () => {
  const cluster = await RedisCluster.start()
  ends.push(() => cluster.stop())
  const { nodes, pumps, during, told } = await scene(cluster.url)
  await during('a node comes', () => nodes.join())
  await during('a node is killed', () => nodes.end([...nodes.nodes.keys()][0]!, 'SIGKILL'))
  await during('a primary hands over to its replica', async () => {
    const [primary] = await cluster.primaries()
    const replica = cluster.servers.find((server) => server !== primary && server.pid !== undefined)!
    // Any replica: it asks its own primary to stop writing, catches up, and takes its place.
    for (const server of cluster.servers) if ((await redisCli(server, 'ROLE')).startsWith('slave')) return redisCli(server, 'CLUSTER', 'FAILOVER')
    return replica
  })
  await during('slots move from one primary to another while they are used', () => cluster.moveSlots(tier === 'first' ? 400 : 4_000))
  // A replica lacks what its primary has not sent yet: an acknowledged write may be lost with it. So nothing is on its way here.
  await pumps.pause()
  await sleep(300)
  const [dying] = await cluster.primaries()
  const from = performance.now()
  await dying!.kill()
  pumps.resume()
  await expect.poll(async () => (await cluster.primaries()).length, { timeout: 20_000 }).toBe(3)
  const promoted = performance.now() - from
  const before = pumps.answers.length
  await expect.poll(() => pumps.answers.length - before, { timeout: 30_000 }).toBeGreaterThan(20 * ids.length)
  told.push(`a primary is killed: its replica has taken its place after ${promoted.toFixed(0)} ms, the longest wait for an answer was ${pumps.longest(from, performance.now()).toFixed(0)} ms`)
  await ended(pumps, told)
}, 180_000)

/** A primary, a replica that has all of it, and three Sentinels that agree on both. */
async function behindSentinel(): Promise<{ readonly primary: RedisServer; readonly replica: RedisServer; readonly sentinels: readonly RedisServer[] }> {
  const primary = await RedisServer.start({ appendfsync: 'everysec' })
  const replica = await RedisServer.start({ appendfsync: 'everysec', config: { replicaof: `127.0.0.1 ${primary.port}`, 'repl-diskless-sync-delay': '0' } })
  const sentinels = await Promise.all([0, 1, 2].map(() => RedisServer.start({ sentinelOf: primary })))
  for (const server of [primary, replica, ...sentinels]) ends.push(() => server.stop())
  await expect.poll(() => redisCli(replica, 'INFO', 'replication'), { timeout: 20_000 }).toContain('master_link_status:up')
  await expect.poll(() => redisCli(sentinels[0]!, 'SENTINEL', 'CKQUORUM', 'mymaster').catch(() => ''), { timeout: 20_000 }).toMatch(/^OK 3/)
  await expect.poll(() => redisCli(sentinels[0]!, 'SENTINEL', 'REPLICAS', 'mymaster'), { timeout: 20_000 }).toContain(String(replica.port))
  return { primary, replica, sentinels }
}

test('behind Sentinel: a primary hands over, another one dies, and nothing is lost or doubled', async () => {
  const { primary, replica, sentinels } = await behindSentinel()
  const { nodes, pumps, client, during, told } = await scene({ sentinels: sentinels.map(({ port }) => ({ host: '127.0.0.1', port })), name: 'mymaster' })
  await during('a node comes', () => nodes.join())
  const master = (): Promise<string> => redisCli(sentinels[0]!, 'SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'mymaster')
  for (const [what, act] of [
    ['the primary hands over', () => redisCli(sentinels[0]!, 'SENTINEL', 'FAILOVER', 'mymaster')],
    ['the primary is killed', () => replica.kill()],
  ] as const) {
    // As in a cluster, what the replica has not received is lost with its primary; Sentinel does not wait for it even if it hands over.
    await pumps.pause()
    await sleep(300)
    const before = await master()
    const from = performance.now()
    await act()
    await expect.poll(master, { timeout: 30_000 }).not.toBe(before)
    // Signs of life were on their way: the new primary may lack some, and then everything waits for somebody's word.
    let halted: string | undefined
    for (const until = performance.now() + 6_000; halted === undefined && performance.now() < until; await sleep(50)) halted = await client.halted().catch(() => undefined)
    if (halted !== undefined) await client.accept()
    pumps.resume()
    const answered = pumps.answers.length
    await expect.poll(() => pumps.answers.length - answered, { timeout: 60_000 }).toBeGreaterThan(20 * ids.length)
    told.push(`${what}: all were answered again ${(performance.now() - from).toFixed(0)} ms after it${halted === undefined ? '' : ', once what it had was accepted'}`)
    // The old primary is a replica again.
    if (before.includes(String(primary.port))) await expect.poll(() => redisCli(primary, 'INFO', 'replication'), { timeout: 60_000 }).toContain('master_link_status:up')
  }
  await ended(pumps, told)
}, 180_000)

test('a Sentinel that hangs is passed over: when a store is opened, and when it hangs together with the primary', async () => {
  const { primary, sentinels } = await behindSentinel()
  const [first, ...others] = sentinels
  const hanging = await RedisProxy.start(first!.port)
  ends.push(() => hanging.close())
  const target = { sentinels: [hanging.port, ...others.map(({ port }) => port)].map((port) => ({ host: '127.0.0.1', port })), name: 'mymaster', updateSentinels: false }
  const store = redisStore(target, { commandDeadlineMs: 2_500 })
  ends.push(() => store.close())
  await store.open({ namespace: 'n' })
  hanging.mode = 'swallow'
  const late = redisStore(target, { commandDeadlineMs: 2_500 })
  ends.push(() => late.close())
  await late.open({ namespace: 'n' })
  await primary.kill()
  await expect.poll(() => store.now().then(() => 'up', () => 'down'), { timeout: 30_000, interval: 200 }).toBe('up')
}, 90_000)

/**
 * The faults of a Redis server, one by one, each on a server of its own: errands are given all the while, and afterwards the
 * receiver's log and the senders' acknowledgements are compared (test/support/errands.ts). What was acknowledged is executed, once;
 * or, where the server's settings let it lose something, that is announced and nothing is executed until it is accepted.
 */
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, rmdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { redisStore } from '../../src/adapters/redis/index.js'
import type { ActorSystemOptions } from '../../src/index.js'
import { Errands, Receiver, type Counted } from '../support/errands.js'
import { extent, firstSeed, tier } from '../support/extent.js'
import { FlushNotes } from '../support/power-cut.js'
import { Random } from '../support/random.js'
import { redisCli } from '../support/redis-cli.js'
import { RedisCluster } from '../support/redis-cluster.js'
import { RedisProxy, RedisServer, type RedisServerOptions } from '../support/redis-server.js'

let receiver: Receiver
let notes: FlushNotes | undefined
const table: string[] = []
beforeAll(async () => {
  ;[receiver, notes] = await Promise.all([Receiver.start(), FlushNotes.build()])
})
afterAll(async () => {
  await Promise.all([receiver.stop(), notes?.dispose()])
  console.log(['| fault of Redis | trials | errands acknowledged | announced as gone back | acknowledged and never executed, announced | violations |', '|---|---|---|---|---|---|', ...table].join('\n'))
})

interface Trial {
  readonly server: RedisServer
  readonly replica: RedisServer | undefined
  /** What the replica is fed through. */
  readonly feed: RedisProxy | undefined
  readonly proxy: RedisProxy
  readonly errands: Errands
  readonly random: Random
  readonly name: string
}

interface Fault {
  readonly name: string
  /** How often in the second tier; in the first once, or not at all. */
  readonly trials: number
  readonly inFirst?: boolean
  readonly server?: RedisServerOptions | ((name: string) => RedisServerOptions)
  readonly hasReplica?: boolean
  /** How many replicas every write waits for. */
  readonly replicas?: number
  readonly system?: Partial<ActorSystemOptions>
  /** It may lose what it has acknowledged, if that is announced. */
  readonly mayLose?: boolean
  /** Brings it about, and mends it. */
  run(trial: Trial): Promise<void>
}

let trials = 0

async function attempt(fault: Fault, random: Random): Promise<Counted> {
  const name = `t${trials++}`
  const server = await RedisServer.start(typeof fault.server === 'function' ? fault.server(name) : fault.server)
  const feed = fault.hasReplica ? await RedisProxy.start(server.port) : undefined
  const replica = feed && (await replicaOf(server, feed))
  const proxy = await RedisProxy.start(server.port)
  const errands = new Errands(receiver, name, redisStore(proxy.url, { commandDeadlineMs: 500, replicas: fault.replicas ?? 0 }), fault.system)
  try {
    await errands.system.start()
    errands.pump()
    await errands.more(10 + random.below(20))
    await fault.run({ server, replica, feed, proxy, errands, random, name })
    // All goes on by itself, or it is halted.
    if (!fault.mayLose) await errands.more(10)
    return await errands.end(fault.mayLose)
  } finally {
    await errands.system.stop({ withinMs: 500 })
    for (const one of [server, replica]) {
      one?.signal('SIGCONT')
      await one?.kill()
      await one?.stop()
    }
    await Promise.all([proxy.close(), feed?.close()])
  }
}

async function replicaOf(server: RedisServer, feed: RedisProxy): Promise<RedisServer> {
  await config(server, 'repl-diskless-sync-delay', '0')
  const replica = await RedisServer.start({ config: { replicaof: `127.0.0.1 ${feed.port}`, 'repl-diskless-sync-delay': '0' } })
  await expect.poll(() => redisCli(server, 'INFO', 'replication'), { timeout: 20_000 }).toContain('state=online')
  return replica
}

const config = (server: RedisServer, name: string, value: string): Promise<string> => redisCli(server, 'CONFIG', 'SET', name, value)

/** Nothing is executed any more, though errands are still acknowledged. */
async function standsStill({ errands }: Trial): Promise<void> {
  await expect.poll(() => errands.system.owned.shards.length, { timeout: 20_000 }).toBe(0)
  // What had been sent to the receiver by then it may take still.
  let before = -1
  for (let now = 0; now !== before; now = (await errands.executed()).size) {
    before = now
    await sleep(300)
  }
  await errands.more(5)
  expect((await errands.executed()).size).toBe(before)
}

/** Set while it runs, and set back. */
const setting = (name: string, bad: string, good: string): Fault => ({
  name: `${name} ${bad} at run time`,
  trials: 10,
  async run(trial) {
    await config(trial.server, name, bad)
    await standsStill(trial)
    await config(trial.server, name, good)
  },
})

const killed = (appendfsync: 'always' | 'everysec' | 'no'): Fault => ({
  name: `SIGKILL of the server, appendfsync ${appendfsync}`,
  trials: 20,
  inFirst: appendfsync === 'always',
  server: { appendfsync },
  mayLose: appendfsync !== 'always',
  system: appendfsync === 'no' ? { unsafe: true } : {},
  async run({ server, errands, random }) {
    await sleep(random.below(100))
    await server.kill()
    await sleep(random.below(300))
    await server.restart()
    await Promise.race([errands.more(5).catch(() => {}), halted(errands)])
  },
})

async function halted(errands: Errands): Promise<void> {
  for (const until = performance.now() + 20_000; performance.now() < until && (await errands.halted()) === undefined; ) await sleep(10)
}

const cut = (appendfsync: 'always' | 'everysec'): Fault => ({
  name: `power cut, appendfsync ${appendfsync}: of the log only what was flushed is left`,
  trials: appendfsync === 'always' ? 25 : 15,
  server: (name) => ({ appendfsync, env: notes!.of(name), config: { 'auto-aof-rewrite-percentage': '0' } }),
  mayLose: appendfsync === 'everysec',
  async run({ server, errands, random, name }) {
    await sleep(random.below(1_500))
    server.signal('SIGSTOP')
    await server.cutOff(await notes!.flushed(name))
    await server.restart()
    await Promise.race([errands.more(5).catch(() => {}), halted(errands)])
  },
})

/** The replica hears nothing while more is acknowledged, or would be; then it takes the primary's place. */
const promoted = (replicas: 0 | 1): Fault => ({
  name: `promotion of a replica that lagged, ${replicas === 0 ? 'for which nobody waited' : 'for which every write had waited (D3)'}`,
  trials: 10,
  replicas,
  hasReplica: true,
  mayLose: replicas === 0,
  async run({ server, replica, feed, errands, proxy }) {
    feed!.mode = 'swallow'
    if (replicas === 0) await errands.more(30)
    else await sleep(400)
    await server.kill()
    await redisCli(replica!, 'REPLICAOF', 'NO', 'ONE')
    proxy.target = replica!.port
    if (replicas === 1) await server.restart({ config: { replicaof: `127.0.0.1 ${replica!.port}` } })
    await Promise.race([errands.more(5).catch(() => {}), halted(errands)])
  },
})

const faults: readonly Fault[] = [
  {
    name: 'the reply is cut off after execution',
    trials: 20,
    inFirst: true,
    async run({ proxy, errands, random }) {
      for (let i = 0; i < 5; i++) {
        proxy.mode = 'lose'
        await sleep(20 + random.below(60))
        proxy.mode = 'forward'
        await errands.more(2)
      }
    },
  },
  {
    name: 'a half-open connection',
    trials: 20,
    async run({ proxy }) {
      proxy.mode = 'swallow'
      await sleep(900)
      proxy.mode = 'forward'
    },
  },
  {
    name: 'SCRIPT FLUSH',
    trials: 20,
    inFirst: true,
    async run({ server, errands }) {
      for (let i = 0; i < 10; i++) {
        await redisCli(server, 'SCRIPT', 'FLUSH')
        await errands.more(2)
      }
    },
  },
  {
    name: 'memory that is full (OOM)',
    trials: 20,
    inFirst: true,
    async run({ server }) {
      await config(server, 'maxmemory', '1')
      await sleep(400)
      await config(server, 'maxmemory', '0')
    },
  },
  setting('maxmemory-policy', 'allkeys-lru', 'noeviction'),
  setting('appendfsync', 'no', 'always'),
  setting('appendonly', 'no', 'yes'),
  {
    name: 'READONLY: the server becomes a replica, and the primary again',
    trials: 20,
    inFirst: true,
    async run({ server }) {
      await redisCli(server, 'REPLICAOF', '127.0.0.1', '1')
      await sleep(300)
      await redisCli(server, 'REPLICAOF', 'NO', 'ONE')
    },
  },
  {
    name: 'MISCONF: a snapshot cannot be written',
    trials: 10,
    server: { config: { save: '3600 1' } },
    async run({ server }) {
      const at = join(server.directory, 'dump.rdb')
      await mkdir(at)
      await redisCli(server, 'BGSAVE')
      await expect.poll(() => redisCli(server, 'INFO', 'persistence'), { timeout: 10_000 }).toContain('rdb_last_bgsave_status:err')
      await sleep(300)
      await rmdir(at)
      await redisCli(server, 'BGSAVE')
      await expect.poll(() => redisCli(server, 'INFO', 'persistence'), { timeout: 10_000 }).toContain('rdb_last_bgsave_status:ok')
    },
  },
  {
    name: 'SIGSTOP of the server for longer than a command may take',
    trials: 20,
    async run({ server }) {
      server.signal('SIGSTOP')
      await sleep(900)
      server.signal('SIGCONT')
    },
  },
  {
    name: 'BUSY: a stranger’s script holds the server up',
    trials: 10,
    server: { config: { 'busy-reply-threshold': '50' } },
    async run({ server }) {
      const script = redisCli(server, 'EVAL', 'while true do end', '0').catch(() => {})
      await sleep(600)
      await redisCli(server, 'SCRIPT', 'KILL')
      await script
    },
  },
  {
    name: 'LOADING: the server reads its log',
    trials: 10,
    async run({ server, errands }) {
      await redisCli(server, 'EVAL', 'for i = 1, 3000 do redis.call("SET", "x" .. i, i) end', '0')
      await redisCli(server, 'BGREWRITEAOF')
      await expect.poll(() => redisCli(server, 'INFO', 'persistence'), { timeout: 10_000 }).toContain('aof_rewrite_in_progress:0')
      await errands.more(2)
      await server.restart({ config: { 'key-load-delay': '300', 'loading-process-events-interval-bytes': '1024' } })
    },
  },
  {
    name: 'FLUSHALL',
    trials: 10,
    mayLose: true,
    async run({ server, errands }) {
      await redisCli(server, 'FLUSHALL')
      await halted(errands)
    },
  },
  killed('always'),
  killed('everysec'),
  killed('no'),
  promoted(0),
  promoted(1),
]

async function trialsOf(fault: Fault): Promise<void> {
  const count = extent(1, fault.trials)
  const results: Counted[] = []
  for (let i = 0; i < count; i++) results.push(await attempt(fault, new Random(firstSeed + i)))
  const violations = results.flatMap((result) => result.violations)
  const sum = (of: (result: Counted) => number): number => results.reduce((total, result) => total + of(result), 0)
  table.push(`| ${fault.name} | ${count} | ${sum(({ acknowledged }) => acknowledged)} | ${fault.mayLose ? `${sum(({ announced }) => Number(announced))} | ${sum(({ lost }) => lost)}` : '– | –'} | ${violations.length} |`)
  expect(violations).toEqual([])
}

/** In the second tier alone: in the first one a test that is skipped counts as one that fails. */
function atLength(name: string, run: (context: { readonly skip: (why: string) => never }) => Promise<void>): void {
  if (tier === 'second') test(name, run)
}

for (const fault of faults) {
  if (tier === 'second' || fault.inFirst) test(`${fault.name} (seed ${firstSeed})`, () => trialsOf(fault))
}

atLength('a power cut loses nothing of what is flushed before it is acknowledged, and is noticed where it is not', async ({ skip }) => {
  if (!notes) return skip('there is no gcc here to build what notes the flushes')
  for (const appendfsync of ['always', 'everysec'] as const) await trialsOf(cut(appendfsync))
})

atLength('a disk that is full is named, and all goes on once there is room', async ({ skip }) => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-small-'))
  const run = promisify(execFile)
  try {
    await run('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', folder])
  } catch (error) {
    await rm(folder, { recursive: true })
    return skip(`no small disk can be mounted here: ${(error as Error).message}`)
  }
  try {
    for (const appendfsync of ['everysec', 'always'] as const) {
      await trialsOf({
        name: `the disk is full, appendfsync ${appendfsync}${appendfsync === 'always' ? ': the server ends itself' : ''}`,
        trials: 10,
        server: { appendfsync, config: { dir: folder, 'auto-aof-rewrite-percentage': '0' } },
        async run({ server, errands }) {
          const junk = join(folder, 'junk')
          await writeFile(junk, Buffer.alloc(8 * 1_048_576)).catch(() => {})
          if (appendfsync === 'everysec') await expect.poll(() => errands.system.refusals.join(' '), { timeout: 20_000 }).toContain('aof_last_write_status err')
          else await expect.poll(() => server.isRunning, { timeout: 20_000 }).toBe(false)
          await rm(junk)
          if (appendfsync === 'always') await server.restart()
        },
      })
      await rm(join(folder, 'appendonlydir'), { recursive: true, force: true })
    }
  } finally {
    await run('umount', [folder])
    await rm(folder, { recursive: true })
  }
})

atLength('CLUSTERDOWN: a primary without a replica goes, and comes back', async () => {
  const cluster = await RedisCluster.start({ replicas: 0, appendfsync: 'always' })
  const results: Counted[] = []
  const count = extent(1, 5)
  try {
    for (let i = 0; i < count; i++) {
      const errands = new Errands(receiver, `cluster${i}`, redisStore(cluster.url, { commandDeadlineMs: 1_000 }))
      await errands.system.start()
      errands.pump()
      await errands.more(20)
      const server = cluster.servers[i % 3]!
      await server.kill()
      await sleep(2_500)
      await server.restart()
      await cluster.whole()
      await errands.more(10)
      results.push(await errands.end())
    }
  } finally {
    await cluster.stop()
  }
  const violations = results.flatMap((result) => result.violations)
  table.push(`| CLUSTERDOWN: a primary without a replica goes, and comes back | ${count} | ${results.reduce((sum, { acknowledged }) => sum + acknowledged, 0)} | – | – | ${violations.length} |`)
  expect(violations).toEqual([])
})

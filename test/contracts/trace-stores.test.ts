import { appendFile, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { JsonlTraceStore } from '../../src/adapters/jsonl/index.js'
import { MemoryTraceStore } from '../../src/adapters/memory/index.js'
import { RedisTraceStore } from '../../src/adapters/redis/index.js'
import type { TraceEntry, TraceStore } from '../../src/index.js'
import { traceStoreContract, type TraceStoreDatabase } from '../../src/testing/index.js'
import { RedisCluster } from '../support/redis-cluster.js'
import { RedisServer } from '../support/redis-server.js'

let server: RedisServer
let databases = 0
let cluster: RedisCluster
beforeAll(async () => {
  ;[server, cluster] = await Promise.all([RedisServer.start(), RedisCluster.start({ replicas: 0 })])
}, 60_000)
afterAll(() => Promise.all([server.stop(), cluster.stop()]))

/** Closes what it has handed out. */
async function closing(connect: () => TraceStore, after: () => Promise<void> = async () => {}): Promise<TraceStoreDatabase> {
  const stores: TraceStore[] = []
  return {
    connect() {
      const store = connect()
      stores.push(store)
      return store
    },
    async dispose() {
      await Promise.all(stores.map((store) => store.close()))
      await after()
    },
  }
}

const kinds: readonly [string, () => Promise<TraceStoreDatabase>][] = [
  [
    'memory',
    () => {
      const shared = new Map<string, TraceEntry[]>()
      return closing(() => new MemoryTraceStore(shared))
    },
  ],
  [
    'JSON lines',
    async () => {
      const folder = await mkdtemp(join(tmpdir(), 'holdfast-traces-'))
      return closing(() => new JsonlTraceStore(join(folder, 'traces')), () => rm(folder, { recursive: true }))
    },
  ],
  [
    'Redis',
    () => {
      const namespace = `n${databases++}`
      return closing(() => new RedisTraceStore(server.url, { namespace }))
    },
  ],
  [
    'Redis Cluster',
    () => {
      const namespace = `n${databases++}`
      return closing(() => new RedisTraceStore(cluster.url, { namespace }))
    },
  ],
]

describe.each(kinds)('the trace store contract on %s', (_, create) => {
  for (const { name, run } of traceStoreContract({ create })) test(name, run)
})

const entry = (n: number): TraceEntry => ({ run: 'r', by: `a/r@${n}`, at: n, value: { half: 'outcome', attempt: 'c.1', ok: true, cost: null, response: null, error: null } })

test('a store of traces in a folder, on a server and on a cluster tells of which runs it has any', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-traces-'))
  const places = [new JsonlTraceStore(join(folder, 'traces')), ...[server, cluster].flatMap(({ url }) => [new RedisTraceStore(url, { namespace: 'listed' }), new RedisTraceStore(url, { namespace: 'listed', keyPrefix: 'other' })])]
  const runs = ['-', '..', 'R:1', 'r', ...Array.from({ length: 30 }, (_, i) => `r.${i}`)].sort()
  for (const store of places) {
    expect(await store.runs()).toEqual([])
    await store.append(runs.map((run) => ({ ...entry(1), run })))
    expect(await store.runs()).toEqual(runs)
    await store.close()
  }
  await rm(folder, { recursive: true })
})

test('a line that a crash cut off is left out, and what is appended afterwards is whole', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-traces-'))
  const store = new JsonlTraceStore(folder)
  await store.append([entry(1)])
  await appendFile(join(folder, 'r.jsonl'), JSON.stringify(entry(2)).slice(0, 20))
  const next = new JsonlTraceStore(folder)
  expect(await next.read('r')).toEqual([entry(1)])
  await next.append([entry(3)])
  expect(await next.read('r')).toEqual([entry(1), entry(3)])
  await rm(folder, { recursive: true })
})

test('traces of runs that ended long ago go, and nothing else does', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-traces-'))
  await new JsonlTraceStore(folder).append([{ ...entry(1), run: 'old' }])
  await writeFile(join(folder, 'note.txt'), 'mine')
  await utimes(join(folder, 'old.jsonl'), 1, 1)
  await utimes(join(folder, 'note.txt'), 1, 1)
  await new JsonlTraceStore(folder).append([entry(1)])
  expect((await readdir(folder)).sort()).toEqual(['note.txt', 'r.jsonl'])
  await rm(folder, { recursive: true })
})

test('a folder that cannot be written, and a server that is not there, are typed errors', async () => {
  const file = join(await mkdtemp(join(tmpdir(), 'holdfast-traces-')), 'file')
  await writeFile(file, '')
  await expect(new JsonlTraceStore(file).append([entry(1)])).rejects.toMatchObject({ code: 'STORE' })
  const nobody = new RedisTraceStore('redis://127.0.0.1:1', { commandDeadlineMs: 200 })
  await expect(nobody.append([entry(1)])).rejects.toMatchObject({ code: 'STORE' })
  await nobody.close()
  expect(() => new JsonlTraceStore('x', { retentionMs: 0 })).toThrow(/retentionMs/)
})

test('on Redis a trace has an end of life, counted from its last entry', async () => {
  const store = new RedisTraceStore(server.url, { namespace: 'life', retentionMs: 60_000 })
  await store.append([entry(1)])
  const { Redis } = await import('ioredis')
  const admin = new Redis(server.url)
  const left = await admin.pttl('hf:trace:{life}:r')
  expect(left).toBeGreaterThan(50_000)
  expect(left).toBeLessThanOrEqual(60_000)
  admin.disconnect()
  await store.close()
})

/** What the network and the server may do to a Redis store: nothing hangs, nothing is lost, nothing happens twice. */
import { Redis } from 'ioredis'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { StoreError } from '../../src/errors.js'
import { RedisStore, type RedisStoreOptions } from '../../src/adapters/redis/index.js'
import type { Commit, Lease, NewEntry, Part } from '../../src/runtime/ports/store.js'
import { emptyPart } from '../../src/testing/store-contract.js'
import { RedisProxy, RedisServer } from '../support/redis-server.js'

const unhandled: unknown[] = []
const onUnhandled = (reason: unknown): void => void unhandled.push(reason)
let server: RedisServer
const stores: RedisStore[] = []
const proxies: RedisProxy[] = []
let prefixes = 0

beforeAll(async () => {
  process.on('unhandledRejection', onUnhandled)
  server = await RedisServer.start()
})

afterEach(async () => {
  await Promise.all(stores.splice(0).map((store) => store.close()))
  await Promise.all(proxies.splice(0).map((proxy) => proxy.close()))
  // Rejections that nobody handles are reported after the current turn of the event loop.
  await sleep(0)
  expect(unhandled).toEqual([])
})

afterAll(async () => {
  await server.stop()
  process.off('unhandledRejection', onUnhandled)
})

const later = Number.MAX_SAFE_INTEGER
const newPrefix = (): string => `fault-${prefixes++}`

function entry(id: string, text = id): NewEntry {
  return { id, to: 'm/a', text, rememberUntil: later }
}

function make(url: string, options: RedisStoreOptions = {}): RedisStore {
  const store = new RedisStore(url, options)
  stores.push(store)
  return store
}

async function open(url: string, options: RedisStoreOptions = {}): Promise<RedisStore> {
  const store = make(url, options)
  await store.open({ namespace: 'n', shards: 4 })
  return store
}

async function proxyTo(port: number): Promise<RedisProxy> {
  const proxy = await RedisProxy.start(port)
  proxies.push(proxy)
  return proxy
}

function commitOf(lease: Lease, number: number, part: Partial<Part>): Commit {
  return { lease, number, position: 0, at: 0, parts: [{ ...emptyPart('m/a'), ...part }], accepted: [], confirmed: [], delivered: [], suspects: new Map() }
}

async function texts(store: RedisStore, shard = 1): Promise<string[]> {
  return (await store.read(shard, 0, 10_000, AbortSignal.abort())).map((e) => e.text)
}

async function failureOf(promise: Promise<unknown>): Promise<StoreError> {
  const error = await promise.then(
    () => undefined,
    (e: unknown) => e,
  )
  expect(error).toBeInstanceOf(StoreError)
  return error as StoreError
}

/** Repeats what fails, as the runtime does. */
async function persist<T>(run: () => Promise<T>, forMs = 10_000): Promise<T> {
  for (const until = performance.now() + forMs; ; ) {
    try {
      return await run()
    } catch (error) {
      if (!(error instanceof StoreError) || performance.now() > until) throw error
      await sleep(10)
    }
  }
}

async function claim(store: RedisStore, shard = 1): Promise<Lease> {
  const claimed = await store.claim(shard, { id: 'node-1' })
  if (!('lease' in claimed)) throw new Error('the shard is held')
  return claimed.lease
}

describe('a reply that is lost after the server did what was asked', () => {
  test('an append is unknown, and there once when it is repeated', async () => {
    const proxy = await proxyTo(server.port)
    const store = await open(proxy.url, { keyPrefix: newPrefix() })
    proxy.mode = 'lose'
    const failure = await failureOf(store.append(1, [entry('a'), entry('b')]))
    expect(failure.outcome).toBe('unknown')
    proxy.mode = 'forward'
    expect(await persist(() => store.append(1, [entry('a'), entry('b')]))).toEqual(['duplicate', 'duplicate'])
    expect(await texts(store)).toEqual(['a', 'b'])
  })

  test('two commits in flight are unknown, and there once when they are repeated', async () => {
    const proxy = await proxyTo(server.port)
    const store = await open(proxy.url, { keyPrefix: newPrefix() })
    const lease = await claim(store)
    const first = commitOf(lease, 1, { life: 'created', fields: new Map([['f', '1']]), entries: [entry('out')], logs: [{ stream: 's', text: 'l', max: 9 }], park: ['p'] })
    const second = commitOf(lease, 2, { fields: new Map([['f', '2']]), park: ['q'] })
    proxy.mode = 'lose'
    const failures = await Promise.all([failureOf(store.commit(first)), failureOf(store.commit(second))])
    expect(failures.map((failure) => failure.outcome)).toEqual(['unknown', 'unknown'])
    proxy.mode = 'forward'
    expect(await persist(() => store.commit(first))).toMatchObject({ ok: true })
    expect(await persist(() => store.commit(second))).toMatchObject({ ok: true })
    expect(await texts(store)).toEqual(['out'])
    expect(await store.log(1, 's', 0, 10)).toHaveLength(1)
    expect(await store.parked(1, 'm/a', 10)).toEqual(['p', 'q'])
    expect((await store.load(1, ['m/a']))[0]?.fields.get('f')).toBe('2')
  })

  test('nothing is sent twice behind the back of the caller', async () => {
    const proxy = await proxyTo(server.port)
    const store = await open(proxy.url, { keyPrefix: newPrefix() })
    // An id that is not remembered: a second sending would show.
    proxy.mode = 'lose'
    await failureOf(store.append(1, [{ id: 'x', to: 'm/a', text: 'once' }]))
    proxy.mode = 'forward'
    await persist(() => store.now())
    expect(await texts(store)).toEqual(['once'])
  })
})

describe('a server that goes away', () => {
  let own: RedisServer
  beforeAll(async () => {
    own = await RedisServer.start()
  })
  afterAll(() => own.stop())

  test('after a kill and a restart what was acknowledged is there, and reading and writing go on by themselves', async () => {
    const keyPrefix = newPrefix()
    const store = await open(own.url, { keyPrefix })
    const lease = await claim(store)
    const acknowledged: string[] = []
    let stopped = false
    const writing = (async () => {
      for (let i = 0; !stopped; i++) {
        const appended = await store.append(2, [entry(`w${i}`)]).catch(() => undefined)
        if (appended) acknowledged.push(`w${i}`)
        else await sleep(5)
      }
    })()
    await store.commit(commitOf(lease, 1, { life: 'created', fields: new Map([['f', '1']]) }))
    const waiting = store.read(1, 0, 10, new AbortController().signal)
    await expect.poll(() => acknowledged.length).toBeGreaterThan(20)
    await own.kill()
    await own.restart()
    const before = acknowledged.length
    await expect.poll(() => acknowledged.length, { timeout: 10_000 }).toBeGreaterThan(before + 5)
    stopped = true
    await writing
    const there = new Set(await texts(store, 2))
    expect(acknowledged.filter((text) => !there.has(text))).toEqual([])
    expect((await store.load(1, ['m/a']))[0]?.fields.get('f')).toBe('1')
    await store.append(1, [entry('next')])
    expect((await waiting).map((e) => e.text)).toEqual(['next'])
    expect(await store.commit(commitOf(lease, 2, { fields: new Map([['f', '2']]) }))).toMatchObject({ ok: true })
  })

  test('while it is away writes fail fast, reads wait, and whoever gives up is answered', async () => {
    const store = await open(own.url, { keyPrefix: newPrefix() })
    const controller = new AbortController()
    const waiting = store.read(1, 0, 10, controller.signal)
    let settled = false
    void waiting.finally(() => (settled = true))
    await own.kill()
    await expect.poll(async () => (await failureOf(store.append(1, [entry('a')]))).outcome).toBe('failed')
    const started = performance.now()
    const failure = await failureOf(store.append(1, [entry('a')]))
    expect(performance.now() - started).toBeLessThan(500)
    expect(failure.message).toContain(`127.0.0.1:${own.port}`)
    await failureOf(store.commit(commitOf({ shard: 1, epoch: 1, node: 'x' }, 1, {})))
    await failureOf(store.load(1, ['m/a']))
    await failureOf(store.read(1, 0, 10, AbortSignal.abort()))
    expect(settled).toBe(false)
    controller.abort()
    expect(await waiting).toEqual([])
    await own.restart()
    expect(await persist(() => store.append(1, [entry('a')]))).toEqual([{ seq: 1 }])
  })

  test('those who watch hear of commits after it has come back', async () => {
    const store = await open(own.url, { keyPrefix: newPrefix() })
    const lease = await claim(store)
    let told = 0
    store.watch(1, () => told++)
    await expect.poll(() => told).toBeGreaterThan(0)
    await own.kill()
    await own.restart()
    const before = told
    await persist(() => store.commit(commitOf(lease, 1, { fields: new Map([['f', '1']]) })))
    await expect.poll(() => told, { timeout: 5_000 }).toBeGreaterThan(before)
  })

  test('a server that comes back with other data is refused', async () => {
    const keyPrefix = newPrefix()
    const store = await open(own.url, { keyPrefix })
    await store.append(1, [entry('a')])
    const admin = new Redis(own.port)
    await admin.flushall()
    // Somebody who does not know what was there makes the namespace anew.
    await open(own.url, { keyPrefix })
    // Only a new connection shows it.
    await admin.call('CLIENT', 'KILL', 'TYPE', 'normal')
    admin.disconnect()
    await expect.poll(async () => (await failureOf(store.append(1, [entry('b')]))).message, { timeout: 5_000 }).toContain('is not the one it was')
  })

  test('an open that finds nobody fails within the deadline, and leaves nothing behind', async () => {
    const proxy = await proxyTo(own.port)
    await proxy.close()
    proxies.length = 0
    const store = make(`redis://someone:secret@127.0.0.1:${proxy.port}`, { commandDeadlineMs: 300 })
    const started = performance.now()
    const failure = await failureOf(store.open({ namespace: 'n' }))
    expect(performance.now() - started).toBeLessThan(1_500)
    expect(failure.outcome).toBe('failed')
    expect(failure.message).toContain('ECONNREFUSED')
    expect(JSON.stringify([failure.message, failure.cause])).not.toContain('secret')
  })
})

describe('a connection that is open at one end only', () => {
  test('a command is unknown at its deadline, and later ones work again', async () => {
    const proxy = await proxyTo(server.port)
    const store = await open(proxy.url, { keyPrefix: newPrefix(), commandDeadlineMs: 300 })
    await store.append(1, [entry('a')])
    proxy.mode = 'swallow'
    const started = performance.now()
    const failures = await Promise.all([failureOf(store.append(1, [entry('b')])), failureOf(store.now())])
    const tookMs = performance.now() - started
    expect(failures.map((failure) => failure.outcome)).toEqual(['unknown', 'unknown'])
    expect(tookMs).toBeGreaterThan(250)
    expect(tookMs).toBeLessThan(1_500)
    // The handshake of the next connections is swallowed as well.
    await sleep(100)
    proxy.mode = 'forward'
    expect(await persist(() => store.append(1, [entry('b')]))).toEqual([{ seq: 2 }])
  })

  test('a waiting read finds another connection', async () => {
    const proxy = await proxyTo(server.port)
    const keyPrefix = newPrefix()
    const store = await open(proxy.url, { keyPrefix, commandDeadlineMs: 300 })
    const other = await open(server.url, { keyPrefix })
    const waiting = store.read(1, 0, 10, new AbortController().signal)
    // It stands on the server before the line goes dead.
    await expect.poll(() => blockedClients()).toBeGreaterThan(0)
    proxy.mode = 'swallow'
    await other.append(1, [entry('a')])
    proxy.mode = 'forward'
    // The wake-up may have been swallowed: then the read begins anew when it has been silent for too long.
    expect((await waiting).map((e) => e.text)).toEqual(['a'])
  })

  test('a server that stands still makes a command unknown, and does it once all the same', async () => {
    const store = await open(server.url, { keyPrefix: newPrefix(), commandDeadlineMs: 300 })
    server.signal('SIGSTOP')
    const failure = await failureOf(store.append(1, [entry('a')]))
    server.signal('SIGCONT')
    expect(failure.outcome).toBe('unknown')
    await persist(() => store.append(1, [entry('a')]))
    expect(await texts(store)).toEqual(['a'])
  })
})

describe('a server that is no primary any more', () => {
  test('writes fail until it is one again', async () => {
    const own = await RedisServer.start()
    const admin = new Redis(own.port)
    try {
      const store = await open(own.url, { keyPrefix: newPrefix() })
      await admin.replicaof('127.0.0.1', 1)
      const failure = await failureOf(store.append(1, [entry('a')]))
      expect(failure).toMatchObject({ outcome: 'failed' })
      expect(failure.message).toMatch(/READONLY.*replica/)
      await expect.poll(async () => (await failureOf(store.append(1, [entry('a')]))).message).toContain('role slave')
      await admin.replicaof('NO', 'ONE')
      expect(await persist(() => store.append(1, [entry('a')]))).toEqual([{ seq: 1 }])
    } finally {
      admin.disconnect()
      await own.stop()
    }
  })
})

describe('waking readers', () => {
  test('a reader is woken by another connection 1,000 times in a row', async () => {
    const keyPrefix = newPrefix()
    const [reader, writer] = [await open(server.url, { keyPrefix }), await open(server.url, { keyPrefix })]
    const { signal } = new AbortController()
    const started = performance.now()
    for (let i = 0; i < 1_000; i++) {
      const shard = i % 4
      const after = Math.floor(i / 4)
      // By turns before and after the read stands on the server, and beside readers that go on waiting.
      const others = i % 100 === 0 ? new AbortController() : undefined
      const waiting = others && [1, 2, 3].map((k) => reader.read((shard + k) % 4, 1e9, 1, others.signal))
      const read = reader.read(shard, after, 10, signal)
      if (i % 3 === 0) await new Promise((resolve) => setImmediate(resolve))
      await writer.append(shard, [entry(`${i}`)])
      const [first] = await read
      expect(first).toMatchObject({ seq: after + 1, text: `${i}` })
      others?.abort()
      await Promise.all(waiting ?? [])
    }
    // One that is lost comes with the next XREAD, 2,000 ms later.
    expect(performance.now() - started).toBeLessThan(15_000)
  })

  test('a reader that comes while others wait does not wait for them', async () => {
    const keyPrefix = newPrefix()
    const store = await open(server.url, { keyPrefix })
    await store.append(2, [entry('there')])
    const { signal } = new AbortController()
    const waiting = store.read(1, 0, 10, signal)
    await expect.poll(() => blockedClients()).toBeGreaterThan(0)
    const slowest: number[] = []
    for (let i = 0; i < 50; i++) {
      const started = performance.now()
      expect((await store.read(2, 0, 10, signal)).map((e) => e.text)).toEqual(['there'])
      slowest.push(performance.now() - started)
    }
    expect(Math.max(...slowest)).toBeLessThan(1_000)
    await store.append(1, [entry('at last')])
    expect((await waiting).map((e) => e.text)).toEqual(['at last'])
  })

  test('one who waits on a log that cannot be read is told, and the others read on', async () => {
    const keyPrefix = newPrefix()
    const store = await open(server.url, { keyPrefix })
    const admin = new Redis(server.port)
    try {
      await admin.set(`${keyPrefix}:{n:1}:log`, 'foreign')
      const { signal } = new AbortController()
      const good = store.read(2, 0, 10, signal)
      const failure = await failureOf(store.read(1, 0, 10, signal))
      expect(failure.message).toMatch(/WRONGTYPE.*keyPrefix/)
      await store.append(2, [entry('a')])
      expect((await good).map((e) => e.text)).toEqual(['a'])
    } finally {
      admin.disconnect()
    }
  })

  test('waiting costs the server next to nothing', async () => {
    const store = await open(server.url, { keyPrefix: newPrefix() })
    const controller = new AbortController()
    const waiting = [0, 1, 2, 3].map((shard) => store.read(shard, 0, 10, controller.signal))
    await expect.poll(() => blockedClients()).toBeGreaterThan(0)
    const before = await xreads()
    await sleep(500)
    expect((await xreads()) - before).toBeLessThan(3)
    controller.abort()
    await Promise.all(waiting)
  })
})

describe('closing', () => {
  test('answers those who wait, rejects what comes later, and leaves nothing that keeps the process alive', async () => {
    const before = process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length
    const store = await open(server.url, { keyPrefix: newPrefix() })
    const waiting = store.read(1, 0, 10, new AbortController().signal)
    const stop = store.watch(1, () => {})
    await expect.poll(() => blockedClients()).toBeGreaterThan(0)
    await store.close()
    expect(await waiting).toEqual([])
    expect((await failureOf(store.append(1, [entry('a')]))).message).toContain('closed')
    stop()
    await expect.poll(() => process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length).toBe(before)
  })

  test('does not wait for a server that is away', async () => {
    const proxy = await proxyTo(server.port)
    const store = await open(proxy.url, { keyPrefix: newPrefix(), commandDeadlineMs: 300 })
    const waiting = store.read(1, 0, 10, new AbortController().signal)
    proxy.mode = 'swallow'
    const started = performance.now()
    await store.close()
    expect(await waiting).toEqual([])
    expect(performance.now() - started).toBeLessThan(1_500)
  })
})

async function blockedClients(): Promise<number> {
  return Number(/blocked_clients:(\d+)/.exec(await info('clients'))?.[1])
}

async function xreads(): Promise<number> {
  return Number(/cmdstat_xread:calls=(\d+)/.exec(await info('commandstats'))?.[1] ?? 0)
}

async function info(section: string): Promise<string> {
  const admin = new Redis(server.port)
  try {
    return await admin.info(section)
  } finally {
    admin.disconnect()
  }
}

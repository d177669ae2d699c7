/** Several processes on one folder: real ones, that wake each other, write at once and hang. */
import { statSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { ChangeWatcher } from '../../src/adapters/lmdb/change-watcher.js'
import type { Environment } from '../../src/adapters/lmdb/environment.js'
import { LmdbStore, type LmdbStoreOptions } from '../../src/adapters/lmdb/index.js'
import { decodeHead } from '../../src/adapters/lmdb/shard-head.js'
import { claim, commitOf, entry, removeScratchFolders, scratchFolder } from '../support/lmdb-data.js'
import { LmdbProcess } from '../support/lmdb-process.js'

const stores: LmdbStore[] = []

afterEach(async () => {
  await LmdbProcess.killAll()
  await Promise.all(stores.splice(0).map((store) => store.close()))
  await removeScratchFolders()
})

const namespace = { namespace: 'n', shards: 4, logMax: 1_000_000, backlogMax: 1_000_000 }
const never = new AbortController().signal

async function open(path: string, options?: LmdbStoreOptions): Promise<LmdbStore> {
  const store = new LmdbStore(path, options)
  stores.push(store)
  await store.open(namespace)
  return store
}

async function openElsewhere(path: string): Promise<LmdbProcess> {
  const other = await LmdbProcess.start()
  await other.open(path, namespace)
  return other
}

function environmentOf(store: LmdbStore): Environment {
  return (store as unknown as { opened: { environment: Environment } }).opened.environment
}

function quantile(values: readonly number[], q: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(q * (values.length - 1))] as number
}

describe('a reader', () => {
  test('is woken by what another process appends', async () => {
    const path = await scratchFolder()
    const [store, other] = [await open(path), await openElsewhere(path)]
    const fromCall: number[] = []
    const fromAcknowledgement: number[] = []
    for (let i = 0; i < 300; i++) {
      const read = store.read(1, i, 10, never).then((entries) => ({ entries, atMs: Number(process.hrtime.bigint()) / 1e6 }))
      const { beganMs, acknowledgedMs } = await other.append(1, [entry(`${i}`)])
      const { entries, atMs } = await read
      expect(entries.map(({ seq, text }) => [seq, text])).toEqual([[i + 1, `${i}`]])
      fromCall.push(atMs - beganMs)
      fromAcknowledgement.push(atMs - acknowledgedMs)
    }
    const show = (values: readonly number[]): string => `p50 ${quantile(values, 0.5).toFixed(2)}, p99 ${quantile(values, 0.99).toFixed(2)}, max ${Math.max(...values).toFixed(2)} ms`
    console.log(`woken by another process after its call: ${show(fromCall)}; after its acknowledgement: ${show(fromAcknowledgement)}`)
    // By the poll alone it would take 250 ms on average.
    expect(quantile(fromCall, 0.5)).toBeLessThan(20)
  })

  test('misses nothing that is appended between its first look and its waiting', async () => {
    const path = await scratchFolder()
    const [store, other] = [await open(path), await openElsewhere(path)]
    const environment = environmentOf(store)
    const { watcher } = environment
    const listen = watcher.listen.bind(watcher)
    let appended: Promise<unknown> = Promise.resolve()
    watcher.listen = (head, listener) => {
      appended = other.append(1, [entry('between')])
      for (const until = performance.now() + 5_000; environment.read((reader) => decodeHead(reader.get(head)).tail) === 0 && performance.now() < until; );
      return listen(head, listener)
    }
    // Nobody writes any more, so nothing else would wake it.
    expect((await store.read(1, 0, 10, never)).map((e) => e.text)).toEqual(['between'])
    // Its answer may come after what it appended.
    await appended
  })

  test('is woken where the operating system does not tell of changes', async () => {
    let head = 'before'
    const watcher = new ChangeWatcher('/nowhere/data.mdb', () => head)
    try {
      const told = new Promise((resolve) => watcher.listen('h', resolve))
      head = 'after'
      expect(await told).toBe('after')
    } finally {
      watcher.close()
    }
  })
})

describe('a watcher', () => {
  test('is told of the commits of another process, shard by shard, and of nothing else', async () => {
    const path = await scratchFolder()
    const [store, other] = [await open(path), await openElsewhere(path)]
    const told: number[] = []
    for (let shard = 0; shard < 4; shard++) store.watch(shard, () => told.push(shard))
    const lease = await claim(other.store, 2)
    await other.store.renew(lease)
    await other.append(2, [entry('a')])
    await other.append(3, [entry('a')])
    // A change of shard 1, so that all earlier ones have been seen.
    await other.store.commit(commitOf(await claim(other.store, 1), 1, []))
    await expect.poll(() => told).toEqual([1])
    await other.store.commit(commitOf(lease, 1, [{ life: 'created', fields: new Map([['f', '1']]) }]))
    await expect.poll(() => told).toEqual([1, 2])
  })
})

describe('writers at once', () => {
  test('lose nothing and keep their order', async () => {
    const path = await scratchFolder()
    const others = await Promise.all([openElsewhere(path), openElsewhere(path)])
    const store = await open(path)
    const write = async (append: (id: string) => Promise<unknown>, lane: string): Promise<void> => {
      await Promise.all(Array.from({ length: 400 }, (_, i) => append(`${lane}-${i}`)))
    }
    await Promise.all([...others.map((other, k) => write((id) => other.append(1, [entry(id)]), `${k}`)), write((id) => store.append(1, [entry(id)]), 'own')])
    const entries = await store.read(1, 0, 10_000, never)
    expect(entries.map((e) => e.seq)).toEqual(Array.from({ length: 1_200 }, (_, i) => i + 1))
    for (const lane of ['0', '1', 'own']) {
      expect(entries.map((e) => e.text).filter((text) => text.startsWith(`${lane}-`))).toEqual(Array.from({ length: 400 }, (_, i) => `${lane}-${i}`))
    }
  })

  test('that make the folder at the same time make one namespace', async () => {
    const path = `${await scratchFolder()}/made/at once`
    const others = await Promise.all(Array.from({ length: 5 }, () => LmdbProcess.start()))
    const infos = await Promise.all(others.map((other) => other.open(path, namespace)))
    expect(new Set(infos.map((info) => info.incarnation)).size).toBe(1)
    await Promise.all(others.map((other, i) => other.append(1, [entry(`${i}`)])))
    expect(await (await open(path)).read(1, 0, 10, never)).toHaveLength(5)
  })

  test('grow a small mapping for each other', async () => {
    const path = await scratchFolder()
    const store = await open(path, { mapSize: 2 ** 20 })
    const other = await LmdbProcess.start()
    await other.open(path, namespace, { mapSize: 2 ** 20 })
    const text = 'x'.repeat(3 * 2 ** 20)
    for (let i = 0; i < 4; i++) {
      await other.append(1, [entry(`other ${i}`, { text })])
      await store.append(1, [entry(`own ${i}`, { text })])
      expect(await store.read(1, 0, 10, never)).toHaveLength(2 * i + 2)
      expect((await other.read(1, 0)).entries).toHaveLength(2 * i + 2)
    }
  })
})

describe('a process that only waits', () => {
  test('does not make the file grow', async () => {
    const path = await scratchFolder()
    const [store, other] = [await open(path), await openElsewhere(path)]
    const lease = await claim(store, 1)
    let number = 0
    const commit = async (times: number): Promise<number> => {
      for (let i = 0; i < times; i += 50) {
        await Promise.all(Array.from({ length: 50 }, () => store.commit(commitOf(lease, ++number, [{ address: `m/${number % 7}`, life: 'created', fields: new Map([['f', 'x'.repeat(number % 1_500)]]) }]))))
      }
      return statSync(`${path}/data.mdb`).size
    }
    const alone = await commit(2_000)
    void other.read(2, 0).catch(() => {})
    void other.read(1, 0).catch(() => {})
    expect(await commit(5_000)).toBeLessThan(4 * alone)
    // It stands still wherever it is, perhaps while it looks.
    other.signal('SIGSTOP')
    expect(await commit(1_000)).toBeLessThan(4 * alone)
  })
})

describe.skipIf(process.platform !== 'linux')('a process whose address space is limited', () => {
  test('shares the folder with one whose is not', async () => {
    const path = await scratchFolder()
    const limited = await LmdbProcess.start({ through: ['sh', '-c', 'ulimit -v 8000000; exec "$@"', 'sh'] })
    await limited.open(path, namespace)
    const store = await open(path)
    for (let i = 0; i < 8; i += 2) {
      await limited.append(1, [entry(`${i}`, { text: 'x'.repeat(2 ** 20) })])
      await store.append(1, [entry(`${i + 1}`, { text: 'x'.repeat(2 ** 20) })])
    }
    expect(await store.read(1, 0, 10, never)).toHaveLength(8)
    expect((await limited.read(1, 0)).entries).toHaveLength(8)
  })
})

describe('a process that hangs in a transaction', () => {
  test('does not keep a store from being closed', async () => {
    const path = await scratchFolder()
    const store = await open(path, { writeTimeoutMs: 200 })
    const other = await openElsewhere(path)
    await other.hang()
    const write = expect(store.append(1, [entry('a')])).rejects.toMatchObject({ code: 'STORE', outcome: 'failed' })
    await store.close()
    await write
    await other.kill()
  })

  test('holds up the writes of the others, which fail in time and work again when it goes on or dies', async () => {
    const path = await scratchFolder()
    const store = await open(path, { writeTimeoutMs: 200 })
    const other = await openElsewhere(path)
    await other.hang()
    const failure = { code: 'STORE', outcome: 'failed', message: expect.stringMatching(/Another process .* is stopped or busy/) as string }
    await Promise.all(['a', 'b'].map((id) => expect(store.append(1, [entry(id)])).rejects.toMatchObject(failure)))
    // One that comes later is not kept waiting.
    await expect(store.append(1, [entry('c')])).rejects.toMatchObject(failure)
    expect(await store.read(1, 0, 10, AbortSignal.abort())).toEqual([])
    await other.kill()
    await expect.poll(() => store.append(1, [entry('d')]).catch(() => undefined)).toEqual([{ seq: 1 }])
  })
})

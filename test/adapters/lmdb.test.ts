/** What is special about data in LMDB: keys that end, values that do not, transactions that are shared, and what is cleared away when. */
import { readFileSync, statSync } from 'node:fs'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { ConfigError, LimitError } from '../../src/errors.js'
import type { Environment } from '../../src/adapters/lmdb/environment.js'
import { GroupWriter } from '../../src/adapters/lmdb/group-writer.js'
import { lmdbStore, LmdbStore } from '../../src/adapters/lmdb/index.js'
import { allKeys, folderKey, keyBytesMax } from '../../src/adapters/lmdb/keys.js'
import type { Tree } from '../../src/adapters/lmdb/tree.js'
import type { Commit, Lease, OpenOptions, Part } from '../../src/runtime/ports/store.js'
import { claim, commitOf, entry, later, removeScratchFolders, scratchFolder } from '../support/lmdb-data.js'
import { addressesOf } from '../support/found.js'

const stores: LmdbStore[] = []

afterEach(async () => {
  await Promise.all(stores.splice(0).map((store) => store.close()))
  await removeScratchFolders()
})

async function open(options: Partial<OpenOptions> = {}, path?: string): Promise<LmdbStore> {
  const store = new LmdbStore(path ?? (await scratchFolder()))
  stores.push(store)
  await store.open({ namespace: 'n', shards: 4, ...options })
  return store
}

function environmentOf(store: LmdbStore): Environment {
  return (store as unknown as { opened: { environment: Environment } }).opened.environment
}

/** Everything in the folder, key by key. */
function dump(store: LmdbStore): Map<string, string> {
  return environmentOf(store).read((reader) => new Map([...reader.entries(allKeys)].map(({ key, value }) => [key, value])))
}

/** How many keys of a shard begin with that letter, see `keys.ts`. */
function count(store: LmdbStore, letter: string, shard = 1): number {
  return environmentOf(store).read((reader) => [...reader.keys(allKeys)].filter((key) => key.startsWith(`\u0000\u0001\u0000${String.fromCharCode(shard)}${letter}`)).length)
}

/** Transactions that are in the file, by its newer head page. */
function transactions(store: LmdbStore): number {
  const file = readFileSync(environmentOf(store).folder.dataFile)
  return Math.max(Number(file.readBigUInt64LE(0x98)), Number(file.readBigUInt64LE(4_096 + 0x98)))
}

const long = (length: number): string => 'x'.repeat(length)

describe('a key', () => {
  const head = 5
  const closing = 2
  const number = 8
  /** What takes a key, the longest text for it, and what to commit. */
  const keys: readonly (readonly [name: string, longest: number, commit: (text: string) => { part?: Partial<Part>; more?: Partial<Commit> }])[] = [
    ['an address', keyBytesMax - head - closing + 1, (text) => ({ part: { address: `m/${text.slice(2)}`, life: 'created' } })],
    ['an address with a field', keyBytesMax - head - closing - 1, (text) => ({ part: { address: text, fields: new Map([['f', 'value']]) } })],
    ['an address with parked messages', keyBytesMax - head - closing - number, (text) => ({ part: { address: text, park: ['message'] } })],
    ['the target of a message', keyBytesMax - head, (text) => ({ part: { entries: [entry('id', { to: text })] } })],
    ['the id of a message', keyBytesMax - head - number - 1, (text) => ({ part: { entries: [entry(text)] } })],
    ['the id of an effect', keyBytesMax - head, (text) => ({ part: { effects: new Map([[text, 'effect']]) } })],
    ['the id of an action', keyBytesMax - head, (text) => ({ part: { actions: new Map([[text, 'action']]) } })],
    ['the id of an answered message', keyBytesMax - head - number - 1, (text) => ({ part: { replies: new Map([[text, { text: 'reply', until: later }]]) } })],
    ['the name of a stream', keyBytesMax - head, (text) => ({ part: { logs: [{ stream: text, text: 'log', max: 9 }] } })],
    ['the id of a message to another shard', keyBytesMax - head - number - 1, (text) => ({ part: { outbox: [{ number: 1, to: 2, entry: entry(text) }] } })],
    ['the target of a message to another shard', keyBytesMax - head, (text) => ({ part: { outbox: [{ number: 1, to: 2, entry: entry('id', { to: text }) }] } })],
    ['an accepted id', keyBytesMax - head - number - 1, (text) => ({ more: { accepted: [{ id: text, until: later }] } })],
    ['a suspect', keyBytesMax - head, (text) => ({ more: { suspects: new Map([[text, 1]]) } })],
  ]

  test.each(keys)('may have 1,978 bytes, and one more refuses the commit by name with nothing written: %s', async (_, longest, make) => {
    const store = await open()
    const lease = await claim(store)
    const { part: tooLong = {}, more: tooMuch = {} } = make(long(longest + 1))
    const before = dump(store)
    const good: Partial<Part> = { address: 'm/good', life: 'created', fields: new Map([['f', '1']]), entries: [entry('good')], replies: new Map([['good', { text: 'x', until: later }]]) }
    const result = await store.commit(commitOf(lease, 1, [good, tooLong, { ...good, address: 'm/good2' }], tooMuch))
    expect(result).toMatchObject({ ok: false, why: 'refused', detail: expect.stringMatching(/a key of 1979 bytes, and LMDB's end at 1978/) as string })
    if (make('').part) expect(result).toHaveProperty('address', tooLong.address ?? 'm/a')
    expect(dump(store)).toEqual(before)

    const { part, more } = make(long(longest))
    expect(await store.commit(commitOf(lease, 1, [good, ...(part ? [part] : [])], more))).toMatchObject({ ok: true })
    // What was taken can be passed on.
    const { outbox } = await store.recover(1)
    expect(outbox).toEqual(part?.outbox ?? [])
    await store.deliver(2, 1, outbox)
    expect(await store.read(2, 0, 10, AbortSignal.abort())).toHaveLength(outbox.length)
    expect(Math.max(...[...dump(store).keys()].map((key) => key.length))).toBe(keyBytesMax)
  })

  test('counts the bytes of its text, not the characters', async () => {
    const store = await open()
    const lease = await claim(store)
    for (const [char, bytes] of [['ä', 2], ['€', 3], ['💾', 4], ['\u0000', 2], ['\ud800', 6]] as const) {
      const most = Math.floor((keyBytesMax - head) / bytes)
      expect(await store.commit(commitOf(lease, 1, [], { suspects: new Map([[char.repeat(most + 1), 1]]) }))).toMatchObject({ why: 'refused' })
    }
    expect(await store.commit(commitOf(lease, 1, [], { suspects: new Map([['€'.repeat(657), 1]]) }))).toMatchObject({ ok: true })
    expect((await store.recover(1)).suspects).toEqual([['€'.repeat(657), 1]])
  })

  test('of an append or a delivery that is too long is a LimitError with nothing written', async () => {
    const store = await open()
    await store.append(1, [entry('first')])
    const before = dump(store)
    for (const bad of [entry(long(1_965)), entry('id', { to: long(1_974) })]) {
      for (const write of [store.append(1, [entry('good'), bad]), store.deliver(1, 2, [{ number: 1, to: 1, entry: entry('good') }, { number: 2, to: 1, entry: bad }])]) {
        const error: unknown = await write.catch((e: unknown) => e)
        expect(error).toBeInstanceOf(LimitError)
        expect(error).toMatchObject({ limit: keyBytesMax, actual: keyBytesMax + 1, message: expect.stringContaining('Use shorter ids') as string })
      }
    }
    expect(dump(store)).toEqual(before)
    // An id that is not remembered takes no key.
    expect(await store.append(1, [{ id: long(5_000), to: 'm/a', text: 'x' }])).toEqual([{ seq: 2 }])
  })

  test.each([[3_000], [10_000]])('that nothing can be stored under, of %d bytes, is found empty', async (length) => {
    const store = await open()
    const lease = await claim(store)
    await store.commit(commitOf(lease, 1, [{ address: `m/${long(900)}`, life: 'created', fields: new Map([['f', '1']]), logs: [{ stream: `m/${long(900)}/s`, text: 'x', max: 9 }] }]))
    const address = `m/${long(length)}`
    expect(await store.load(1, [address])).toEqual([undefined])
    expect(await store.parked(1, address, 9)).toEqual([])
    expect(await store.log(1, address, 0, 9)).toEqual([])
    expect(await store.reply(1, address)).toBeUndefined()
    await store.trim(1, address, 9)
    for (const query of [{ machine: long(length) }, { key: long(length) }, { after: address }, { terms: [long(length)] }]) expect(await store.find(1, query)).toEqual({ actors: [] })
    // It has its place in the order of those that are there.
    await store.commit(commitOf(lease, 2, [{ address: 'm/y', life: 'created' }]))
    expect(addressesOf(await store.find(1, { after: address }))).toEqual(['m/y'])
    // To take away what cannot be there is no mistake.
    const unset = new Map([[address, undefined]])
    expect(await store.commit(commitOf(lease, 3, [{ address, life: 'erased', effects: unset }], { suspects: unset, confirmed: [address] }))).toMatchObject({ ok: true })
    expect((await store.find(1, {})).actors).toHaveLength(2)
  })
})

describe('a value', () => {
  test('of 1 MB comes back as it was wherever it stands, and one of 20 MB in a message and a field', async () => {
    const store = await open()
    const lease = await claim(store)
    const [text, large] = ['ä€x'.repeat(2 ** 20 / 6), 'ä€x'.repeat((20 * 2 ** 20) / 6)]
    await store.append(1, [entry('in', { text }), entry('large', { text: large })])
    const part: Partial<Part> = {
      fields: new Map([['f', text], ['large', large]]),
      park: [text],
      effects: new Map([['e', text]]),
      actions: new Map([['a', text]]),
      logs: [{ stream: 's', text, max: 9 }],
      replies: new Map([['r', { text, until: later }]]),
      outbox: [{ number: 1, to: 2, entry: entry('out', { text }) }],
    }
    expect(await store.commit(commitOf(lease, 1, [part]))).toMatchObject({ ok: true })
    await store.close()
    await store.open({ namespace: 'n' })
    const recovery = await store.recover(1)
    const [record] = await store.load(1, ['m/a'])
    const log = await store.read(1, 0, 2, AbortSignal.abort())
    const found = [
      log[0]?.text,
      record?.fields.get('f'),
      (await store.parked(1, 'm/a', 1))[0],
      (await store.log(1, 's', 0, 1))[0]?.text,
      await store.reply(1, 'r'),
      recovery.effects[0]?.[1],
      recovery.actions[0]?.[1],
      recovery.outbox[0]?.entry.text,
    ]
    for (const value of found) expect(value === text).toBe(true)
    for (const value of [log[1]?.text, record?.fields.get('large')]) expect(value === large).toBe(true)
  })
})

describe('a folder', () => {
  test('has up to 1,024 shards, of which each works', async () => {
    const store = await open({ shards: 1_024 })
    for (const shard of [0, 255, 256, 1_023]) {
      const lease = await claim(store, shard)
      await store.commit(commitOf(lease, 1, [{ address: `m/${shard}`, life: 'created', fields: new Map([['f', '1']]) }]))
    }
    for (const shard of [0, 255, 256, 1_023]) expect(addressesOf(await store.find(shard, {}))).toEqual([`m/${shard}`])
    for (const shards of [0, 1_025, 1.5, -1, Number.NaN, Infinity]) await expect(lmdbStore(await scratchFolder()).open({ namespace: 'n', shards })).rejects.toThrow(/shards: expected a whole number from 1 to 1024/)
    await expect(store.append(1_024, [])).rejects.toThrow(ConfigError)
  })

  test('has up to 65,535 namespaces, apart from each other', async () => {
    const path = await scratchFolder()
    const first = await open({ namespace: 'first' }, path)
    await environmentOf(first).write((draft) => draft.put(folderKey, JSON.stringify({ format: 1, namespaces: 65_533 })))
    const last = [await open({ namespace: 'last-but-one' }, path), await open({ namespace: 'last' }, path)]
    await expect(open({ namespace: 'one-more' }, path)).rejects.toThrow(/holds 65535 namespaces and has no room for another/)
    for (const store of [first, ...last]) {
      const lease = await claim(store, 3)
      expect(await store.append(3, [entry('a')])).toEqual([{ seq: 1 }])
      expect(await store.commit(commitOf(lease, 1, [{ life: 'created', fields: new Map([['f', '1']]) }]))).toMatchObject({ ok: true, tail: 1 })
    }
    expect(addressesOf(await (await open({ namespace: 'last' }, path)).find(3, {}))).toEqual(['m/a'])
  })

  test('refuses what is not in bounds', async () => {
    const path = await scratchFolder()
    for (const namespace of ['', 'a b', 'ä', 'a/b', long(257)]) await expect(new LmdbStore(path).open({ namespace })).rejects.toThrow(/namespace: .* is not allowed/)
    await open({ namespace: long(256) }, path)
    for (const mapSize of [0, 4_096, 2 ** 46, 1e6 + 0.5, Number.NaN]) expect(() => lmdbStore(path, { mapSize })).toThrow(/mapSize: expected/)
    for (const writeTimeoutMs of [0, -1, 2 ** 31, Infinity]) expect(() => lmdbStore(path, { writeTimeoutMs })).toThrow(/writeTimeoutMs: expected/)
  })
})

describe('what has had its time', () => {
  /** Ahead of the clock of this host, so that commits alone decide what time it is. */
  const start = 4_000_000_000_000

  test('is forgotten: ids and answers, except those that were prolonged', async () => {
    const store = await open()
    const lease = await claim(store)
    const reply = (until: number): Partial<Part> => ({ replies: new Map([['r', { text: 'reply', until }], ['r2', { text: 'reply', until: start + 10 }]]) })
    await store.append(1, [entry('appended', { rememberUntil: start + 10 }), entry('prolonged', { rememberUntil: start + 10 })])
    await store.commit(commitOf(lease, 1, [reply(start + 10)], { at: start, accepted: [{ id: 'accepted', until: start + 10 }] }))
    await store.commit(commitOf(lease, 2, [reply(start + 20)], { at: start + 9, accepted: [{ id: 'prolonged', until: start + 20 }] }))
    expect([count(store, 'i'), count(store, 'r'), count(store, 'x')]).toEqual([3, 2, 7])
    expect(await store.append(1, [entry('accepted'), entry('prolonged')])).toEqual(['duplicate', 'duplicate'])

    await store.commit(commitOf(lease, 3, [], { at: start + 10 }))
    expect([count(store, 'i'), count(store, 'r'), count(store, 'x')]).toEqual([1, 1, 2])
    expect(await store.append(1, [entry('prolonged'), entry('accepted', { rememberUntil: start + 20 })])).toEqual(['duplicate', { seq: 3 }])
    expect([await store.reply(1, 'r'), await store.reply(1, 'r2')]).toEqual(['reply', undefined])

    await store.commit(commitOf(lease, 4, [], { at: start + 20 }))
    expect([count(store, 'i'), count(store, 'r'), count(store, 'x')]).toEqual([0, 0, 0])
    expect(await store.reply(1, 'r')).toBeUndefined()
  })

  test('is forgotten faster than it comes', async () => {
    const store = await open()
    const lease = await claim(store)
    const ids = (from: number, n: number, until: number): { id: string; until: number }[] => Array.from({ length: n }, (_, i) => ({ id: `${from + i}`, until }))
    await store.commit(commitOf(lease, 1, [], { at: start, accepted: ids(0, 10_000, start + 1) }))
    const left: number[] = []
    for (let number = 2; number <= 31; number++) {
      await store.commit(commitOf(lease, number, [], { at: start + number, accepted: ids(number * 1e6, 300, start + number) }))
      left.push(count(store, 'i'))
    }
    expect(left).toEqual(left.toSorted((a, b) => b - a))
    // What each commit brings has had its time in the next one.
    expect(left.at(-1)).toBe(300)
  })

  test('goes with its commit: entries of the log that have been handled', async () => {
    const store = await open()
    const lease = await claim(store)
    await store.append(1, Array.from({ length: 100 }, (_, i) => entry(`${i}`)))
    await store.commit(commitOf(lease, 1, [{ handled: 60 }], { position: 60 }))
    expect([count(store, 'l'), count(store, 'b')]).toEqual([40, 1])
    expect((await store.read(1, 0, 1, AbortSignal.abort()))[0]?.seq).toBe(61)
    await store.commit(commitOf(lease, 2, [{ handled: 40 }], { position: 100 }))
    expect([count(store, 'l'), count(store, 'b')]).toEqual([0, 0])
  })

  test('goes bit by bit: entries of streams whose actor was erased, while the name can be used anew', async () => {
    const store = await open()
    const lease = await claim(store)
    const logs = Array.from({ length: 2_600 }, (_, i) => ({ stream: 'm/a/s', text: `${i}`, max: 1e6 }))
    await store.commit(commitOf(lease, 1, [{ life: 'created', logs }, { address: 'm/b', logs: [{ stream: 'm/b/s', text: 'other', max: 9 }] }]))
    expect(count(store, 'y')).toBe(2_601)
    await store.commit(commitOf(lease, 2, [{ life: 'erased' }]))
    expect(await store.log(1, 'm/a/s', 0, 10)).toEqual([])
    await store.commit(commitOf(lease, 3, [{ life: 'created', logs: [{ stream: 'm/a/s', text: 'anew', max: 9 }] }]))
    expect(await store.log(1, 'm/a/s', 0, 10)).toEqual([{ seq: 1, text: 'anew' }])
    const left = [count(store, 'y')]
    for (let number = 4; number <= 6; number++) {
      await store.commit(commitOf(lease, number, []))
      left.push(count(store, 'y'))
    }
    expect(left).toEqual([1_602, 602, 2, 2])
    expect([count(store, 'g'), count(store, 'm')]).toEqual([0, 2])
    expect(await store.log(1, 'm/b/s', 0, 10)).toEqual([{ seq: 1, text: 'other' }])
  })

  test('goes bit by bit: entries of a stream that is trimmed', async () => {
    const store = await open()
    const lease = await claim(store)
    await store.commit(commitOf(lease, 1, [{ logs: Array.from({ length: 2_600 }, (_, i) => ({ stream: 's', text: `${i}`, max: 1e6 })) }]))
    const before = transactions(store)
    await store.trim(1, 's', 2_500)
    expect(transactions(store) - before).toBe(3)
    expect(count(store, 'y')).toBe(100)
    expect((await store.log(1, 's', 0, 1))[0]).toEqual({ seq: 2_501, text: '2500' })
    await store.trim(1, 's', 1e9)
    expect(count(store, 'y')).toBe(0)
    await store.commit(commitOf(lease, 2, [{ logs: [{ stream: 's', text: 'next', max: 9 }] }]))
    expect(await store.log(1, 's', 0, 10)).toEqual([{ seq: 2_601, text: 'next' }])
  })

  test('leaves its room to what comes: after 20,000 commits on five actors the file has not grown since the 5,000th', async () => {
    const store = await open()
    const lease = await claim(store)
    const { dataFile } = environmentOf(store).folder
    const sizes: number[] = []
    let tail = 0
    const commit = async (number: number): Promise<void> => {
      const address = `m/${number % 5}`
      const at = start + number * 10
      const part: Partial<Part> = {
        address,
        life: 'created',
        handled: number === 1 ? 0 : 1,
        fields: new Map([['state', long(500 + (number % 700))], ['seen', `${number}`]]),
        timers: new Map([[`${address}-t`, at + 500]]),
        entries: [entry(`m${number}`, { to: `m/${(number + 1) % 5}`, rememberUntil: at + 5_000 })],
        replies: new Map([[`r${number}`, { text: 'reply', until: at + 5_000 }]]),
        logs: [{ stream: `${address}/history`, text: `turn ${number}`, max: 100 }],
      }
      const result = await store.commit(commitOf(lease, number, [part], { at, position: number - 1 }))
      if (!result.ok) throw new Error(result.detail)
      tail = result.tail
    }
    const began = performance.now()
    for (let number = 1; number <= 20_000; number += 100) {
      await Promise.all(Array.from({ length: 100 }, (_, i) => commit(number + i)))
      if ((number + 99) % 5_000 === 0) sizes.push(statSync(dataFile).size)
    }
    const seconds = (performance.now() - began) / 1_000
    console.log(`20,000 commits in ${seconds.toFixed(1)} s (${(20_000 / seconds).toFixed(0)}/s, 100 in flight); the file after each 5,000: ${sizes.map((size) => `${(size / 1_024).toFixed(0)} KiB`).join(', ')}; ${dump(store).size} keys`)
    expect(tail).toBe(20_000)
    expect(sizes[3] as number).toBeLessThan((sizes[0] as number) * 1.25)
  })
})

describe('writes of the same moment', () => {
  test('share a transaction, and one that throws or is refused fails alone', async () => {
    const store = await open({ logMax: 100_000, backlogMax: 100_000 })
    const lease: Lease = await claim(store)
    const before = transactions(store)
    const writes = Array.from({ length: 200 }, (_, i) => {
      if (i % 50 === 10) return store.append(1, [entry('half'), entry(long(3_000))])
      if (i % 50 === 20) return store.commit(commitOf(lease, 1, [{ fields: new Map([['f', 'half']]) }, { fields: new Map([['', 'bad']]) }]))
      if (i % 50 === 30) return environmentOf(store).write((draft) => {
        draft.put(folderKey, 'half')
        throw new Error('while it is drafted')
      })
      return store.append(1, [entry(`${i}`)])
    })
    const results = await Promise.allSettled(writes)
    const took = transactions(store) - before
    console.log(`200 writes at once in ${took} transactions`)
    expect(took).toBeLessThan(10)
    const failed = results.flatMap((result) => (result.status === 'rejected' ? [(result.reason as Error).name] : []))
    expect(failed).toEqual(Array.from({ length: 4 }, () => ['LimitError', 'Error']).flat())
    const entries = await store.read(1, 0, 1_000, AbortSignal.abort())
    expect(entries.map((e) => e.seq)).toEqual(Array.from({ length: 188 }, (_, i) => i + 1))
    expect(entries.map((e) => Number(e.text))).toEqual(Array.from({ length: 200 }, (_, i) => i).filter((i) => ![10, 20, 30].includes(i % 50)))
    expect(await store.load(1, ['m/a'])).toEqual([undefined])
    expect(dump(store).get(folderKey)).not.toBe('half')
  })

  test('are in the file when they are acknowledged, at a rate of thousands a second', async () => {
    const store = await open({ logMax: 1e6, backlogMax: 1e6 })
    const text = long(2_048)
    const total = 6_000
    let next = 0
    let least = Infinity
    const before = transactions(store)
    const append = async (): Promise<void> => {
      while (next < total) {
        const id = `${next++}`
        const [appended] = await store.append(1, [entry(id, { text })])
        expect(appended).toHaveProperty('seq')
        if (Number(id) % 500 === 0) least = Math.min(least, transactions(store) - before)
      }
    }
    const began = performance.now()
    await Promise.all(Array.from({ length: 200 }, append))
    const seconds = (performance.now() - began) / 1_000
    console.log(`${total} appends of 2 KB, 200 in flight: ${(total / seconds).toFixed(0)}/s in ${transactions(store) - before} transactions`)
    // Not that of any later one: the transaction of the first was there when it was acknowledged.
    expect(least).toBeGreaterThan(0)
    expect(transactions(store) - before).toBeLessThan(total / 10)
  })

  test('that do not fit into one transaction take several, in their order', async () => {
    const store = await open({ logMax: 1e6, backlogMax: 1e6 })
    const transaction = vi.spyOn((environmentOf(store) as unknown as { tree: Tree }).tree, 'transaction')
    const sizes = Array.from({ length: 2_500 }, (_, i) => (i % 100 === 0 ? 2 ** 20 : 10))
    const results = await Promise.all(sizes.map((size, i) => store.append(1, [entry(`${i}`, { text: `${i} ${long(size)}` })])))
    expect(results.flat()).toEqual(sizes.map((_, i) => ({ seq: i + 1 })))
    // 8 MB each; whether lmdb makes one of two that come at the same time is its own affair.
    expect(transaction).toHaveBeenCalledTimes(4)
  })
})

/** What no test can make a real database do. */
describe('a database that breaks in the middle of a write', () => {
  const broken = Object.assign(new Error('Input/output error'), { code: 5 })

  function treeThat(change: Partial<Tree>): Tree {
    return { get: () => undefined, getRange: () => [], getKeys: () => [], putSync: () => {}, removeSync: () => true, transaction: async (callback) => callback(), resetReadTxn: () => {}, close: async () => {}, ...change }
  }

  test('and can still be read has not written: writes fail and the next one is tried', async () => {
    let isBroken = true
    const writer = new GroupWriter(treeThat({ transaction: async (callback) => (callback(), isBroken ? Promise.reject(Object.assign(new Error('Commit failed'), { commitError: Promise.reject(broken) })) : undefined) as never }), '/here', 1_000)
    const writes = ['a', 'b'].map((key) => writer.write((draft) => draft.put(key, key)))
    for (const write of writes) await expect(write).rejects.toMatchObject({ outcome: 'failed', message: expect.stringMatching(/\/here: Input\/output error \(EIO\). The disk is full or broken/) as string })
    isBroken = false
    expect(await writer.write(() => 'done')).toBe('done')
  })

  test.each<[string, (fail: () => void) => Partial<Tree>]>([
    ['and cannot be read either', (fail) => ({ transaction: async (callback) => (callback(), fail()) as never, resetReadTxn: fail })],
    ['that took the first half', (fail) => ({ putSync: fail })],
  ])('%s may have written: the outcome is unknown, and nothing is written any more', async (_, change) => {
    let isBroken = true
    const fail = (): void => {
      if (isBroken) throw broken
    }
    const writer = new GroupWriter(treeThat(change(fail)), '/here', 1_000)
    const write = (): Promise<void> => writer.write((draft) => draft.put('a', 'a'))
    await expect(write()).rejects.toMatchObject({ code: 'STORE', outcome: 'unknown' })
    isBroken = false
    await expect(write()).rejects.toMatchObject({ code: 'STORE', outcome: 'unknown' })
    await writer.idle()
  })
})

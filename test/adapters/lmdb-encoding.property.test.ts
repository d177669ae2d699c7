/** Laws of the keys and values in LMDB, for all texts that JavaScript can hold and all numbers. */
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LmdbStore } from '../../src/adapters/lmdb/index.js'
import { decodeNumber, decodeText, encodeNumber, encodeText, Refusal, ShardKeys, type Key } from '../../src/adapters/lmdb/keys.js'
import { decodeMessage, decodeTimed, decodeValue, encodeMessage, encodeTimed, encodeValue, join, split } from '../../src/adapters/lmdb/values.js'
import type { Lease } from '../../src/runtime/ports/store.js'
import { extent, firstSeed } from '../support/extent.js'
import { claim, commitOf, removeScratchFolders, scratchFolder } from '../support/lmdb-data.js'
import { addressesOf } from '../support/found.js'

const numRuns = extent(2_000, 100_000)

/** Whatever is delicate, and anything else: halves of surrogate pairs, 0, what closes and escapes, the ends of UTF-8's ranges. */
const unit = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('\u0000', '\u0001', '\u0002', '\u0003', '\ud800', '\udbff', '\udc00', '\udfff', '\uffff', '\ufffe', '\ufffd', '\ufeff', '\u007f', '\u0080', '\u00ff', '\u07ff', '\u0800', '💾', 'a', '0', '~', '/', '|', ',') },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code)) },
)
const text = fc.array(unit, { maxLength: 12 }).map((units) => units.join(''))
/** Of a field or a timer: no half of a surrogate pair. */
const name = text.filter((t) => Buffer.from(t, 'utf8').toString('utf8') === t)
const wellFormed = fc.string({ unit: 'binary', maxLength: 12 })
const number = fc.oneof(fc.double({ noNaN: true }), fc.maxSafeInteger(), fc.constantFrom(0, -0, 1, -1, 2 ** 53, Number.MIN_VALUE, Number.MAX_VALUE, Infinity, -Infinity))
const count = fc.maxSafeNat()

function holds<T extends [unknown, ...unknown[]]>(property: fc.IProperty<T>): void {
  fc.assert(property, { seed: firstSeed, numRuns })
}

/** As LMDB compares keys. */
function compare(a: Key, b: Key): number {
  return Math.sign(Buffer.compare(Buffer.from(a, 'latin1'), Buffer.from(b, 'latin1')))
}

function order<T extends string | number>(a: T, b: T): number {
  return a > b ? 1 : a < b ? -1 : 0
}

describe(`a text in a key (seed ${firstSeed})`, () => {
  test('comes back as it was, from bytes', () => {
    holds(
      fc.property(text, (t) => {
        const key = encodeText(t)
        // oxlint-disable-next-line no-control-regex
        expect(key).toMatch(/^[\u0000-\u00ff]*$/)
        expect(decodeText(key)).toBe(t)
        expect(decodeText(Buffer.from(key, 'latin1').toString('latin1'))).toBe(t)
      }),
    )
  })

  test('sorts as bytes do, by the code points of its characters', () => {
    const noZero = wellFormed.filter((t) => !t.includes('\u0000'))
    holds(fc.property(noZero, noZero, (a, b) => {
      expect(compare(encodeText(a), encodeText(b))).toBe(Math.sign(Buffer.compare(Buffer.from(a), Buffer.from(b))))
    }))
    // Comparing two keys as texts compares their bytes: `find` relies on it.
    holds(fc.property(text, text, (a, b) => {
      expect(order(encodeText(a), encodeText(b))).toBe(compare(encodeText(a), encodeText(b)))
    }))
  })

  test('is one that nothing else is', () => {
    holds(fc.property(text, text, (a, b) => {
      expect(encodeText(a) === encodeText(b)).toBe(a === b)
    }))
    for (const value of [undefined, null, 1, {}]) expect(() => encodeText(value as unknown as string)).toThrow(Refusal)
  })
})

describe(`a number in a key (seed ${firstSeed})`, () => {
  test('comes back as it was, and sorts as it is', () => {
    holds(
      fc.property(number, number, text, (a, b, before) => {
        const prefix = encodeText(before)
        expect(decodeNumber(prefix + encodeNumber(a), prefix.length)).toBe(a + 0)
        expect(compare(encodeNumber(a), encodeNumber(b))).toBe(order(a, b))
      }),
    )
    for (const value of [Number.NaN, '1', undefined]) expect(() => encodeNumber(value as number)).toThrow(Refusal)
  })
})

describe(`the keys of a shard (seed ${firstSeed})`, () => {
  const keys = new ShardKeys(7, 3)
  const within = (key: Key, { start, end }: { start: Key; end: Key }): boolean => compare(key, start) >= 0 && compare(key, end) < 0

  test('hold an address and a name apart, so that a range takes in the one and nothing of another', () => {
    holds(
      fc.property(text, text, text, (a, b, name) => {
        const range = keys.fields(a)
        expect(within(keys.field(b, name), range)).toBe(a === b)
        if (a === b) expect(keys.nameIn(keys.field(b, name), range)).toBe(name)
        expect(keys.field(a, b) === keys.field(b, a)).toBe(a === b)
      }),
    )
  })

  test('give back what they were made of', () => {
    holds(
      fc.property(text, count, count, number, (t, n, m, due) => {
        expect(keys.addressOf(keys.record(t))).toBe(t)
        expect(keys.idOf(keys.suspect(t))).toBe(t)
        expect(keys.seqOf(keys.logEntry(n))).toBe(n)
        expect(keys.streamSeqOf(keys.streamEntry(m, n))).toBe(n)
        expect(keys.endedStreamOf(keys.endedStream(n))).toBe(n)
        expect(keys.outboxOf(keys.outbox(n, m))).toEqual({ to: n, number: m })
        expect(keys.timerOf(keys.due(due, t))).toEqual({ member: t, dueAt: due + 0 })
        expect(keys.expiring(keys.expiry(due, 'i', t))).toBe(keys.id(t))
        expect(keys.expiring(keys.expiry(due, 'r', t))).toBe(keys.reply(t))
      }),
    )
  })

  test('are found in the ranges that are asked for, and in no other shard', () => {
    const elsewhere = [new ShardKeys(7, 2), new ShardKeys(7, 4), new ShardKeys(6, 3), new ShardKeys(8, 3)]
    holds(
      fc.property(text, wellFormed, wellFormed, count, count, number, number, (t, machine, rest, n, m, due, until) => {
        expect(within(keys.due(due, t), keys.dueUpTo(until))).toBe(due <= until)
        expect(within(keys.expiry(due, 'i', t), keys.expiriesUpTo(until))).toBe(due <= until)
        expect(within(keys.logEntry(n), keys.logAfter(m))).toBe(n > m)
        expect(within(keys.outbox(1, n), keys.outboxUpTo(1, m))).toBe(n <= m)
        expect(within(keys.outbox(2, n), keys.outboxUpTo(1, m))).toBe(false)
        expect(within(keys.streamEntry(1, n), keys.streamEntries(1, m, m + 9))).toBe(n > m && n <= m + 9)
        expect(within(keys.record(`${machine}/${rest}`), keys.records(machine))).toBe(true)
        expect(within(keys.record(t), keys.records(undefined))).toBe(true)
        expect(within(keys.stream(`${machine}/${rest}`), keys.streamsStartingWith(`${machine}/`))).toBe(true)
        expect(within(keys.stream(rest), keys.streamsStartingWith(`${machine}/`))).toBe(rest.startsWith(`${machine}/`))
        for (const other of elsewhere) expect(within(other.record(t), keys.records(undefined))).toBe(false)
      }),
    )
  })
})

describe(`a value (seed ${firstSeed})`, () => {
  test('comes back as it was, also out of a longer buffer, and takes one byte more than its narrowest form', () => {
    holds(
      fc.property(text, (t) => {
        const value = encodeValue(t)
        expect(decodeValue(value)).toBe(t)
        expect(decodeValue(Buffer.concat([value, Buffer.from('rest')]), value.length)).toBe(t)
        if (Buffer.from(t).toString() === t) expect(value.length).toBe(Buffer.byteLength(t) + 1)
      }),
    )
    expect(() => encodeValue(undefined as unknown as string)).toThrow(Refusal)
  })

  test('of several texts, of a time and a text, and of a message comes apart as it was put together', () => {
    holds(fc.property(fc.array(text, { minLength: 1, maxLength: 5 }), (texts) => {
      expect(split(join(...texts))).toEqual(texts)
    }))
    holds(fc.property(number, text, (at, t) => {
      expect(decodeTimed(encodeTimed(at, t))).toEqual({ at: at + 0, text: t })
    }))
    holds(
      fc.property(text, text, text, fc.option(number, { nil: undefined }), (id, to, t, rememberUntil) => {
        const message = { id, to, text: t, ...(rememberUntil === undefined ? {} : { rememberUntil: rememberUntil + 0 }) }
        expect(decodeMessage(encodeMessage(message))).toEqual(message)
      }),
    )
  })
})

describe(`through LMDB (seed ${firstSeed})`, () => {
  let store: LmdbStore
  let lease: Lease
  let commits = 0
  beforeAll(async () => {
    store = new LmdbStore(await scratchFolder())
    await store.open({ namespace: 'n', shards: 4 })
    lease = await claim(store)
  })
  afterAll(async () => {
    await store.close()
    await removeScratchFolders()
  })

  test('names and texts of all kinds come back, each to its own record, and go when they are told to', async () => {
    const fields = fc.uniqueArray(fc.tuple(name.filter((t) => t !== ''), text), { selector: ([own]) => own, maxLength: 6 }).map((entries) => new Map(entries))
    const address = name.map((t) => `m/${t}`)
    await fc.assert(
      fc.asyncProperty(address, address, fields, fields, text, async (a, b, ofA, ofB, t) => {
        fc.pre(a !== b)
        const parts = [a, b].map((own, i) => ({ address: own, life: 'created' as const, fields: i === 0 ? ofA : ofB, park: [t], logs: [{ stream: `${own}/s`, text: t, max: 9 }], timers: new Map([[own, 1]]), effects: new Map([[own, t]]) }))
        expect(await store.commit(commitOf(lease, ++commits, parts))).toMatchObject({ ok: true })
        expect((await store.load(1, [a, b])).map((record) => record?.fields)).toEqual([ofA, ofB])
        expect(new Set(addressesOf(await store.find(1, { machine: 'm' })))).toEqual(new Set([a, b]))
        expect(await store.log(1, `${b}/s`, 0, 9)).toEqual([{ seq: 1, text: t }])
        expect(new Map((await store.recover(1)).effects)).toEqual(new Map([[a, t], [b, t]]))
        const unset = parts.map(({ address: own }) => ({ address: own, life: 'erased' as const, timers: new Map([[own, undefined]]), effects: new Map([[own, undefined]]) }))
        expect(await store.commit(commitOf(lease, ++commits, unset.slice(0, 1)))).toMatchObject({ ok: true })
        expect(await store.load(1, [a, b])).toEqual([undefined, { fields: ofB, parked: 1 }])
        expect(await store.parked(1, b, 9)).toEqual([t])
        expect(await store.timers(1, 9, 9)).toEqual([{ member: b, dueAt: 1 }])
        expect(await store.commit(commitOf(lease, ++commits, unset.slice(1)))).toMatchObject({ ok: true })
        expect(await store.find(1, {})).toEqual({ actors: [] })
      }),
      { seed: firstSeed, numRuns: Math.min(numRuns / 20, 1_000) },
    )
  })
})

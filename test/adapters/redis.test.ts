/** What is special about data on Redis: scripts that are forgotten, memory that is full, keys that somebody else planted. */
import { Redis } from 'ioredis'
import { isDeepStrictEqual } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { ConfigError, StoreError } from '../../src/errors.js'
import { redisStore, RedisStore } from '../../src/adapters/redis/index.js'
import { encodeCommit } from '../../src/adapters/redis/commit-encoding.js'
import type { Connection } from '../../src/adapters/redis/connection.js'
import { RedisCause } from '../../src/adapters/redis/failures.js'
import { NamespaceKeys } from '../../src/adapters/redis/keys.js'
import { ScriptRunner, scripts } from '../../src/adapters/redis/scripts.js'
import { overflowLetter, type Commit, type CommitResult, type Lease, type NewEntry, type Part } from '../../src/runtime/ports/store.js'
import { emptyPart } from '../../src/testing/store-contract.js'
import { RedisServer } from '../support/redis-server.js'

let server: RedisServer
let admin: Redis
const stores: RedisStore[] = []
let prefixes = 0

beforeAll(async () => {
  server = await RedisServer.start()
  admin = new Redis(server.port)
})
afterEach(() => Promise.all(stores.splice(0).map((store) => store.close())))
afterAll(async () => {
  admin.disconnect()
  await server.stop()
})

const later = Number.MAX_SAFE_INTEGER
const newPrefix = (): string => `data-${prefixes++}`

async function open(keyPrefix = newPrefix(), namespace = 'n'): Promise<RedisStore> {
  const store = new RedisStore(server.url, { keyPrefix })
  stores.push(store)
  await store.open({ namespace, shards: 4, backlogMax: 10 })
  return store
}

async function claim(store: RedisStore, shard = 1): Promise<Lease> {
  const claimed = await store.claim(shard, { id: 'node-1' })
  if (!('lease' in claimed)) throw new Error('the shard is held')
  return claimed.lease
}

function entry(id: string, more: Partial<NewEntry> = {}): NewEntry {
  return { id, to: 'm/a', text: id, rememberUntil: later, ...more }
}

function commitOf(lease: Lease, number: number, parts: readonly Partial<Part>[], more: Partial<Commit> = {}): Commit {
  return { lease, number, position: 0, at: 0, parts: parts.map((part) => ({ ...emptyPart('m/a'), ...part })), accepted: [], confirmed: [], delivered: [], suspects: new Map(), ...more }
}

/** Touches every kind of key. */
function everything(lease: Lease, number: number, position = 0): Commit {
  const name = `${number}`
  return commitOf(
    lease,
    number,
    [
      {
        life: 'created',
        handled: 1,
        fields: new Map<string, string | undefined>([['f', name], ['g', undefined]]),
        timers: new Map<string, number | undefined>([[`t${name}`, number], ['never', undefined]]),
        effects: new Map<string, string | undefined>([[`e${name}`, 'effect'], ['none', undefined]]),
        actions: new Map([[`a${name}`, 'action']]),
        entries: [entry(`in${name}`), entry(`over${name}`, { to: 'm/full' })],
        outbox: [{ number, to: 2, entry: entry(`out${name}`) }],
        replies: new Map([[`r${name}`, { text: 'reply', until: later }]]),
        logs: [{ stream: 'm/a/own', text: name, max: 10 }, { stream: `m/a/${name}`, text: name, max: 10 }],
        park: [name, name],
        unpark: 1,
      },
      { address: 'm/b', life: 'created', fields: new Map([['f', name]]), terms: ['.on', '#hot'] },
      { address: 'm/gone', life: 'erased' },
    ],
    { position, accepted: [{ id: `own${name}`, until: later }], confirmed: ['a0'], delivered: [{ to: 3, through: number }], suspects: new Map<string, number | undefined>([['s', number], ['cleared', undefined]]) },
  )
}

/** Each change of a commit, alone in one but for a first write that shows whether it tears. */
function singles(commit: Commit): Commit[] {
  const { lease, number, position, parts } = commit
  const beside: Partial<Part> = { address: 'm/beside', fields: new Map([['f', '1']]), timers: new Map([['t', 1]]) }
  const of = (part: Part, name: keyof Part): Commit => commitOf(lease, number, [beside, { address: part.address, [name]: part[name] }])
  const changed = (part: Part): (keyof Part)[] => (Object.keys(part) as (keyof Part)[]).filter((name) => name !== 'address' && !isDeepStrictEqual(part[name], emptyPart('m/a')[name]))
  const whole: (keyof Commit)[] = ['accepted', 'confirmed', 'delivered', 'suspects']
  return [...parts.flatMap((part) => changed(part).map((name) => of(part, name))), ...whole.map((name) => commitOf(lease, number, [beside], { [name]: commit[name] })), commitOf(lease, number, [beside], { position })]
}

/** All keys below a prefix with their contents, byte for byte. */
async function dump(prefix: string): Promise<Map<string, string>> {
  const keys = (await admin.keys(`${prefix}:*`)).sort()
  const dumps = await Promise.all(keys.map((key) => admin.dumpBuffer(key)))
  return new Map(keys.map((key, i) => [key, dumps[i]?.toString('base64') ?? '']))
}

async function refusalOf(promise: Promise<unknown>): Promise<Error> {
  const result = await promise.then(
    (value) => value as CommitResult,
    (error: unknown) => error as Error,
  )
  if (result instanceof Error) return result
  expect(result).toMatchObject({ ok: false, why: 'refused' })
  return new Error('detail' in result ? result.detail : '')
}

describe('scripts that the server has forgotten', () => {
  test('are loaded again, whatever is called', async () => {
    const store = await open()
    const lease = await claim(store)
    for (const call of [
      () => store.append(1, [entry('a')]),
      () => store.commit(commitOf(lease, 1, [])),
      () => store.deliver(2, 1, [{ number: 1, to: 2, entry: entry('d') }]),
      () => store.renew(lease),
      () => store.trim(1, 's', 1),
      () => store.release(lease),
      () => store.claim(1, { id: 'node-2' }),
    ]) {
      await admin.script('FLUSH')
      await call()
    }
    expect((await store.read(1, 0, 10, AbortSignal.abort())).map((e) => e.text)).toEqual(['a'])
  })

  test('commits in flight are applied in order', async () => {
    const store = await open()
    const lease = await claim(store)
    for (let number = 1; number < 60; number += 3) {
      const commits = [0, 1, 2].map((k) => commitOf(lease, number + k, [{ life: 'created', fields: new Map([['f', `${number + k}`]]), park: [`${number + k}`] }]))
      const flushed = admin.script('FLUSH')
      const results = await Promise.all(commits.map((commit) => store.commit(commit)))
      expect(results.every((result) => result.ok)).toBe(true)
      await flushed
    }
    expect(await store.parked(1, 'm/a', 100)).toEqual(Array.from({ length: 60 }, (_, i) => `${i + 1}`))
  })

  test('a commit that came through because another process loaded them is repeated behind the one before it', async () => {
    const server = new FakeServer()
    const runner = new ScriptRunner(server as unknown as Connection)
    const isGap = (reply: unknown): boolean => reply === 'gap'
    const results = [runner.run(scripts.commit, [], ['1'], isGap), runner.run(scripts.commit, [], ['2'], isGap), runner.run(scripts.append, [], ['x'])]
    server.answer(noScript)
    server.answer('gap')
    await Promise.resolve()
    const late = runner.run(scripts.commit, [], ['3'], isGap)
    expect(server.sent()).toEqual(['1', '2', 'x'])
    server.answer('appended')
    await server.until(3 + loads)
    for (let i = 0; i < loads; i++) server.answer('hash')
    await server.until(6 + loads)
    expect(server.sent().slice(3)).toEqual(['1', '2', '3'])
    for (const reply of ['one', 'two', 'three']) server.answer(reply)
    expect(await Promise.all([...results, late])).toEqual(['one', 'two', 'appended', 'three'])
    // A gap that no forgotten script explains is told.
    const gap = runner.run(scripts.commit, [], ['9'], isGap)
    server.answer('gap')
    expect(await gap).toBe('gap')
  })

  test('a server that forgets them again and again is named', async () => {
    const server = new FakeServer()
    server.automatic = (args) => (args[0] === 'LOAD' ? 'hash' : noScript)
    await expect(new ScriptRunner(server as unknown as Connection).run(scripts.commit, [], [])).rejects.toBe(noScript)
  })
})

const noScript = new StoreError('NOSCRIPT', 'failed', new RedisCause('NOSCRIPT No matching script.', 'NOSCRIPT'))
const loads = Object.keys(scripts).length

/** Takes commands as a connection does, and answers them in their order when told to. */
class FakeServer {
  automatic: ((args: readonly string[]) => unknown) | undefined
  private readonly commands: { args: readonly string[]; settle: (reply: unknown) => void }[] = []
  private answered = 0

  call(_name: string, args: readonly string[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const settle = (reply: unknown): void => (reply instanceof Error ? reject(reply) : resolve(reply))
      this.commands.push({ args, settle })
      if (this.automatic) settle(this.automatic(args))
    })
  }

  send(name: string, args: readonly string[]): Promise<unknown> {
    return this.call(name, args)
  }

  answer(reply: unknown): void {
    this.commands[this.answered++]!.settle(reply)
  }

  /** The last argument of every EVALSHA so far. */
  sent(): string[] {
    return this.commands.filter(({ args }) => args[0] !== 'LOAD').map(({ args }) => args.at(-1)!)
  }

  async until(count: number): Promise<void> {
    await expect.poll(() => this.commands.length).toBe(count)
  }
}

describe('memory that is full', () => {
  test('refuses messages and commits whole, and still lets an owner keep, trim and give up', async () => {
    const own = await RedisServer.start()
    const root = new Redis(own.port)
    const store = redisStore(own.url) as RedisStore
    stores.push(store)
    try {
      await store.open({ namespace: 'n', shards: 4 })
      const lease = await claim(store)
      await store.commit(commitOf(lease, 1, [{ life: 'created', fields: new Map([['f', '1']]), logs: [{ stream: 's', text: 'l', max: 9 }] }]))
      await root.config('SET', 'maxmemory', '1mb')
      const digest = async (): Promise<string[]> => [...(await Promise.all((await root.keys('*')).sort().map(async (key) => `${key} ${(await root.dumpBuffer(key))?.toString('base64')}`)))]
      const before = await digest()
      for (const write of [store.append(1, [entry('a')]), store.commit(everything(lease, 2)), store.deliver(1, 2, [{ number: 1, to: 1, entry: entry('d') }])]) {
        const failure = await refusalOf(write)
        expect(failure).toMatchObject({ code: 'STORE', outcome: 'failed' })
        expect(failure.message).toMatch(/OOM.*Raise maxmemory/)
      }
      expect(await digest()).toEqual(before)
      expect(await store.renew(lease)).toBeTypeOf('number')
      await store.trim(1, 's', 1)
      expect(await store.log(1, 's', 0, 10)).toEqual([])
      expect((await store.load(1, ['m/a']))[0]?.fields.get('f')).toBe('1')
      await root.config('SET', 'maxmemory', '0')
      expect(await store.append(1, [entry('a')])).toEqual([{ seq: 1 }])
      expect(await store.commit(everything(lease, 2))).toMatchObject({ ok: true })
      await root.config('SET', 'maxmemory', '1mb')
      await store.release(lease)
    } finally {
      root.disconnect()
      await store.close()
      await own.stop()
    }
  })
})

describe('a key of the wrong type', () => {
  test('at a record refuses the commit by its name, and the rest can be committed without it', async () => {
    const prefix = newPrefix()
    const store = await open(prefix)
    const lease = await claim(store)
    await admin.set(`${prefix}:{n:1}:r:m/bad`, 'foreign')
    const before = await dump(prefix)
    const good: Partial<Part> = { address: 'm/good', life: 'created', fields: new Map([['f', '1']]), timers: new Map([['t', 1]]) }
    const result = await store.commit(commitOf(lease, 1, [good, { address: 'm/bad', fields: new Map([['f', '1']]) }, { ...good, address: 'm/good2' }]))
    expect(result).toMatchObject({ ok: false, why: 'refused', address: 'm/bad' })
    expect(await dump(prefix)).toEqual(before)
    expect(await store.commit(commitOf(lease, 1, [good]))).toMatchObject({ ok: true })
  })

  test('wherever it is, no write tears', async () => {
    const prefix = newPrefix()
    const store = await open(prefix)
    const lease = await claim(store)
    await store.append(1, Array.from({ length: 10 }, (_, i) => entry(`full${i}`, { to: 'm/full' })))
    await store.append(1, [entry('m')])
    expect(await store.commit(everything(lease, 1, 2))).toMatchObject({ ok: true })
    expect(await store.commit(commitOf(lease, 2, [{ address: 'm/gone', life: 'created', fields: new Map([['f', '1']]), park: ['p'] }], { position: 2, delivered: [] }))).toMatchObject({ ok: true })
    await store.deliver(1, 3, [{ number: 1, to: 1, entry: entry('d') }])
    const shardKeys = (await admin.keys(`${prefix}:{n:1}:*`)).sort()
    expect(shardKeys.length).toBeGreaterThan(18)
    const writes: readonly (readonly [string, () => Promise<unknown>])[] = [
      ['commit', () => store.commit(everything(lease, 3, 3))],
      ['append', () => store.append(1, [entry('new')])],
      ['deliver', () => store.deliver(1, 3, [{ number: 2, to: 1, entry: entry('d2') }, { number: 3, to: 1, entry: entry('d3', { to: 'm/full' }) }])],
      // What looks at a key for one kind of change must not be missed by another.
      ...singles(everything(lease, 3, 3)).map((commit, i) => [`single ${i}`, () => store.commit(commit)] as const),
    ]
    const unharmed: string[] = []
    const whole = await dump(prefix)
    for (const key of shardKeys) {
      for (const [write, run] of writes) {
        await admin.set(key, 'foreign')
        const before = new Map(whole).set(key, (await admin.dumpBuffer(key))!.toString('base64'))
        const result = await run().catch((error: unknown) => error)
        const now = await dump(prefix)
        if (result instanceof Error || (typeof result === 'object' && result !== null && 'ok' in result && result.ok === false)) {
          expect(now, `${write} with a foreign ${key}`).toEqual(before)
          if (result instanceof Error) expect(result).toMatchObject({ code: 'STORE' })
        } else unharmed.push(`${write} ${key.slice(key.indexOf('}') + 2)}`)
        // Everything as it was, for the next one.
        for (const other of now.keys()) if (!whole.has(other)) await admin.del(other)
        for (const [other, contents] of whole) {
          if (now.get(other) === contents) continue
          await admin.restore(other, 0, Buffer.from(contents, 'base64'), 'REPLACE')
          // A set may come back in another order.
          whole.set(other, (await admin.dumpBuffer(other))!.toString('base64'))
        }
      }
    }
    // What a write does not touch, it does not look at.
    expect(unharmed.filter((name) => name.startsWith('commit'))).toEqual(['commit delivered', 'commit p:m/gone', 'commit r:m/gone', 'commit s:m/a/1'])
    expect(await store.commit(everything(lease, 3, 3))).toMatchObject({ ok: true })
  })

  test('a log without its counter is not written to', async () => {
    const prefix = newPrefix()
    const store = await open(prefix)
    await store.append(1, [entry('a'), entry('b')])
    await admin.del(`${prefix}:{n:1}:meta`)
    await expect(store.claim(1, { id: 'node-1' })).rejects.toThrow(/log of shard 1 ends at 2, its counter at 0/)
    const before = await dump(prefix)
    await expect(store.append(1, [entry('c')])).rejects.toThrow(StoreError)
    expect(await dump(prefix)).toEqual(before)
  })

  test('a log whose counter is lost under its owner is not written to', async () => {
    const prefix = newPrefix()
    const store = await open(prefix)
    const lease = await claim(store)
    await store.append(1, [entry('a'), entry('b')])
    await admin.hdel(`${prefix}:{n:1}:meta`, 'seq')
    const before = await dump(prefix)
    await expect(store.commit(commitOf(lease, 1, [{ fields: new Map([['f', '1']]) }]))).rejects.toThrow(/ahead of its counter/)
    expect(await dump(prefix)).toEqual(before)
  })
})

describe('the layout', () => {
  test('keeps all keys of a shard under one hash tag, whatever the namespace is called', async () => {
    const prefix = newPrefix()
    const [plain, tricky] = [await open(prefix, 'n'), await open(prefix, 'n:1')]
    const [a, b] = [await claim(plain, 1), await claim(tricky, 0)]
    await plain.append(1, [entry('m')])
    await plain.commit(everything(a, 1))
    await plain.deliver(1, 3, [{ number: 1, to: 1, entry: entry('d') }])
    const keys = await admin.keys(`${prefix}:*`)
    const kinds = keys.filter((key) => key.startsWith(`${prefix}:{n:1}:`)).map((key) => key.slice(key.indexOf('}') + 2))
    expect(kinds).toContain('namespace')
    expect(kinds.filter((kind) => kind !== 'namespace').length).toBeGreaterThan(15)
    expect(keys.filter((key) => !/^[^{]*\{(n|n:1|n:1:0)\}:/.test(key))).toEqual([])
    await tricky.commit(everything(b, 1))
    expect(await tricky.find(1, {})).toEqual({ actors: [] })
    expect((await plain.recover(1)).actions).toEqual([['a1', 'action']])
    expect(keys).not.toContain(`${prefix}:{n}:probe`)
  })

  test('refuses names that would break it', async () => {
    for (const namespace of ['', 'a{b', 'a}b', 'a b', 'ä', 'x'.repeat(257)]) await expect(new RedisStore(server.url).open({ namespace })).rejects.toThrow(ConfigError)
    for (const keyPrefix of ['', '{a}', 'a b', 'x'.repeat(65)]) expect(() => new RedisStore(server.url, { keyPrefix })).toThrow(/keyPrefix/)
    expect(() => new RedisStore({ port: server.port, keyPrefix: 'x' })).toThrow(/keyPrefix/)
    expect(() => new RedisStore('redis://user:secret@[broken')).toThrow(/^(?!.*secret).*cannot be read/)
    for (const target of ['redis://user:secret@host:6379/shop', { db: -1 }, { db: 1.5 }]) expect(() => new RedisStore(target)).toThrow(/^(?!.*secret).*The database of the Redis server is a number/)
    expect(() => new RedisStore(server.url, { commandDeadlineMs: 0 })).toThrow(/commandDeadlineMs/)
    for (const shards of [0, 1.5, 1_025]) await expect(new RedisStore(server.url).open({ namespace: 'n', shards })).rejects.toThrow(/shards/)
  })

  test('refuses data of another format', async () => {
    const prefix = newPrefix()
    await (await open(prefix)).close()
    await admin.hset(`${prefix}:{n}:namespace`, 'format', '99')
    await expect(open(prefix)).rejects.toThrow(/format 99/)
  })

  test('counts on beyond the numbers that Lua prints in full', async () => {
    const prefix = newPrefix()
    const store = await open(prefix)
    await admin.hset(`${prefix}:{n:1}:meta`, 'seq', '999999999999998', 'number', '999999999999998', 'beat', '999999999999999')
    const lease = await claim(store)
    expect(await store.append(1, [entry('a'), entry('b')])).toEqual([{ seq: 999_999_999_999_999 }, { seq: 1_000_000_000_000_000 }])
    expect(await store.commit(commitOf(lease, 999_999_999_999_999, [{ entries: [entry('c')] }], { position: 999_999_999_999_999 }))).toMatchObject({ ok: true, tail: 1_000_000_000_000_001 })
    expect((await store.read(1, 0, 10, AbortSignal.abort())).map((e) => [e.seq, e.text])).toEqual([[1_000_000_000_000_000, 'b'], [1_000_000_000_000_001, 'c']])
    expect(await store.claim(1, { id: 'node-2' })).toMatchObject({ heldBy: { beat: 1_000_000_000_000_001 } })
  })

  test('forgets ids and answers whose time has passed', async () => {
    const prefix = newPrefix()
    const store = await open(prefix)
    const lease = await claim(store)
    await store.append(1, Array.from({ length: 10 }, (_, i) => entry(`old${i}`, { rememberUntil: 1 })))
    expect(await admin.zcard(`${prefix}:{n:1}:ids`)).toBe(0)
    await store.append(1, [entry('kept', { to: 'm/b' })])
    await store.commit(commitOf(lease, 1, [{ replies: new Map([['r1', { text: 'old', until: 1 }], ['r2', { text: 'new', until: later }]]) }], { accepted: [{ id: 'own', until: 5 }] }))
    expect(await admin.zrange(`${prefix}:{n:1}:ids`, '0', '-1')).toEqual(['kept'])
    expect(await admin.hkeys(`${prefix}:{n:1}:replies`)).toEqual(['r2'])
    expect(await admin.zrange(`${prefix}:{n:1}:reply-expiry`, '0', '-1')).toEqual(['r2'])
  })

  test('writes what does not fit into one call of Lua', async () => {
    const store = await open()
    const lease = await claim(store)
    const many = <T>(value: (i: number) => T): [string, T][] => Array.from({ length: 9_001 }, (_, i) => [`k${i}`, value(i)])
    const part: Partial<Part> = {
      life: 'created',
      fields: new Map(many(String)),
      timers: new Map(many((i) => i)),
      effects: new Map(many(String)),
      actions: new Map(many(String)),
      park: many(String).map(([name]) => name),
      replies: new Map(many((i) => ({ text: String(i), until: later }))),
      outbox: many((i) => i).map(([name, i]) => ({ number: i + 1, to: 2, entry: entry(name) })),
      entries: many(String).map(([name]) => entry(`${name}e`, { to: `m/${name}` })),
    }
    const accepted = many(String).map(([name]) => ({ id: `${name}a`, until: later }))
    expect(await store.commit(commitOf(lease, 1, [part], { accepted, suspects: new Map(many((i) => i)) }))).toMatchObject({ ok: true, tail: 9_001 })
    const [stored] = await store.load(1, ['m/a'])
    expect([stored?.fields.size, stored?.parked]).toEqual([9_001, 9_001])
    const recovery = await store.recover(1)
    expect([recovery.effects.length, recovery.actions.length, recovery.outbox.length, recovery.suspects.length]).toEqual([9_001, 9_001, 9_001, 9_001])
    expect(recovery.actions.map(([id]) => id)).toEqual(many(String).map(([name]) => name))
    expect(recovery.outbox.map(({ number }) => number)).toEqual(many((i) => i + 1).map(([, number]) => number))
    expect(await store.timers(1, 1e9, 1e6)).toHaveLength(9_001)
    const again = await store.append(1, [...accepted.map(({ id }) => entry(id, { to: `m/${id}` })), entry('new')])
    expect(again.filter((appended) => appended === 'duplicate')).toHaveLength(9_001)
    const unset = new Map(many(() => undefined))
    const more = { confirmed: [...unset.keys()], delivered: [{ to: 2, through: 9_001 }], suspects: unset, position: 9_001 }
    expect(await store.commit(commitOf(lease, 2, [{ ...emptyPart('m/a'), life: 'erased', timers: unset, effects: unset }, ...many(String).map(([name]) => ({ address: `m/${name}`, handled: 1 }))], more))).toMatchObject({ ok: true })
    expect(await store.recover(1)).toEqual({ effects: [], actions: [], outbox: [], parked: [], suspects: [] })
    expect(await store.load(1, ['m/a'])).toEqual([undefined])
  })

  test('writes what very many are found by', async () => {
    const prefix = newPrefix()
    const store = await open(prefix)
    const lease = await claim(store)
    const addresses = Array.from({ length: 9_001 }, (_, i) => `m/${i}`)
    const found = async (term: string): Promise<number> => (await store.find(1, { terms: [term], limit: 20_000 })).actors.length
    await store.commit(commitOf(lease, 1, addresses.map((address, i) => ({ address, life: 'created' as const, fields: new Map([['f', '1']]), terms: ['.on', `#${i % 2}`] }))))
    expect([await found('.on'), await found('#0')]).toEqual([9_001, 4_501])
    await store.commit(commitOf(lease, 2, addresses.map((address, i) => ({ address, terms: i % 2 === 0 ? [] : ['.off', '#1'] }))))
    expect([await found('.on'), await found('#0'), await found('#1'), await found('.off')]).toEqual([0, 0, 4_500, 4_500])
    await store.commit(commitOf(lease, 3, addresses.map((address) => ({ address, life: 'erased' as const }))))
    expect(await admin.exists(`${prefix}:{n:1}:terms`, `${prefix}:{n:1}:terms-of`)).toBe(0)
  })

  test('keeps dead letters as every store writes them', async () => {
    const store = await open()
    const lease = await claim(store)
    const entries = Array.from({ length: 21 }, (_, i) => entry(`${i}`, { text: i === 20 ? 'ä"\n\u0000€' : `${i}` }))
    const result = await store.commit(commitOf(lease, 1, [{ entries }], { at: 4_000_000_000_000.5 }))
    expect(result).toMatchObject({ ok: true, at: 4_000_000_000_000.5 })
    expect(await store.log(1, 'dead', 0, 10)).toEqual([{ seq: 1, text: overflowLetter(entries[20]!, 4_000_000_000_000.5) }])
  })

  test('refuses what no sorted set can keep', async () => {
    const store = await open()
    const lease = await claim(store)
    const parts: Partial<Part>[] = [
      { entries: [entry('x', { rememberUntil: Number.NaN })] },
      { outbox: [{ number: 1, to: 2, entry: entry('x', { rememberUntil: Infinity }) }] },
      { replies: new Map([['r', { text: 'x', until: Number.NaN }]]) },
      { logs: [{ stream: 's', text: 'x', max: 1.5 }] },
    ]
    for (const part of parts) expect(await store.commit(commitOf(lease, 1, [{ ...part, address: 'm/bad' }]))).toMatchObject({ ok: false, why: 'refused', address: 'm/bad' })
    expect(await store.commit(commitOf(lease, 1, [], { accepted: [{ id: 'x', until: Number.NaN }] }))).toMatchObject({ why: 'refused' })
    await expect(store.append(1, [entry('x', { rememberUntil: Number.NaN })])).rejects.toThrow(ConfigError)
    await expect(store.trim(1, 's', Number.NaN)).rejects.toThrow(/trim through NaN/)
  })

  test('refuses it in the script as well, which is the last that can', async () => {
    const prefix = newPrefix()
    const store = await open(prefix)
    const lease = await claim(store)
    await store.commit(everything(lease, 1))
    const good: Partial<Part> = { address: 'm/good', life: 'created', fields: new Map([['f', '1']]), timers: new Map([['g', 1]]), entries: [entry('in')], logs: [{ stream: 's', text: 'x', max: 5 }] }
    const bad: [Partial<Part>, Partial<Commit>?][] = [
      [{ timers: new Map([['t', Number.NaN]]) }],
      [{ handled: Number.NaN }],
      [{ handled: 0.5 }],
      [{ handled: -1 }],
      [{}, { number: Number.NaN }],
      [{ replies: new Map([['r', { text: 'x', until: -Infinity }]]) }],
      [{ unpark: 1.5, park: ['x'] }],
      [{ entries: [entry('x', { rememberUntil: Number.NaN })] }],
      [{ outbox: [{ number: Number.NaN, to: 2, entry: entry('x') }] }],
      [{ replies: new Map([['r', { text: 'x', until: Infinity }]]) }],
      [{ logs: [{ stream: 's', text: 'x', max: 1.5 }] }],
      [{}, { position: Number.NaN }],
      [{}, { at: Infinity }],
      [{}, { accepted: [{ id: 'x', until: Number.NaN }] }],
      [{}, { delivered: [{ to: 2, through: Number.NaN }] }],
    ]
    const before = await dump(prefix)
    for (const [part, more] of bad) {
      const { keys, args } = encodeCommit(commitOf(lease, 2, [good, { ...part, address: 'm/bad' }, { ...good, address: 'm/good2' }], more), new NamespaceKeys(prefix, 'n').shard(1), { backlogMax: 10, logMax: 10 })
      expect(await admin.evalsha(scripts.commit.hash, keys.length, ...keys, ...args)).toMatchObject(['refused', expect.any(String), expect.any(String)])
      expect(await dump(prefix)).toEqual(before)
    }
    const { mailbox, delivered } = new NamespaceKeys(prefix, 'n').shard(1)
    const message = ['id', 'm/a', 'nan', '{}']
    await expect(admin.evalsha(scripts.append.hash, 5, ...mailbox, '10', '10', '10', 'first', 'm/a', '', '{}', ...message)).rejects.toThrow(/remembered until nan/)
    await expect(admin.evalsha(scripts.deliver.hash, 6, ...mailbox, delivered, '10', '10', '10', '2', 'nan', 'id', 'm/a', '', '{}')).rejects.toThrow(/has the number nan/)
    expect(await dump(prefix)).toEqual(before)
    expect(await store.commit(commitOf(lease, 2, [good]))).toMatchObject({ ok: true })
  })

  test('of a namespace is made again as it was by whoever halts it, should it have been lost', async () => {
    const prefix = newPrefix()
    const store = new RedisStore(server.url, { keyPrefix: prefix })
    stores.push(store)
    const { incarnation } = await store.open({ namespace: 'n', shards: 4 })
    await admin.del(`${prefix}:{n}:namespace`)
    await store.halt('why', 0)
    const other = new RedisStore(server.url, { keyPrefix: prefix })
    stores.push(other)
    expect(await other.open({ namespace: 'n' })).toMatchObject({ incarnation, shards: 4 })
  })
})

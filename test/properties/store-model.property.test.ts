/**
 * The simulation runs on the store in memory. What it shows of real stores is worth as much as the two are alike: the same
 * random commands, asked of memory, of a real Redis and of LMDB, have the same answers and leave the same behind.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { MovableStore } from '../../src/runtime/ports/moving.js'
import type { Commit, Holder, NewEntry, Part } from '../../src/runtime/ports/store.js'
import { extent, firstSeed } from '../support/extent.js'
import { bounds, compare, Mismatch, type Compared } from '../support/store-commands.js'
import { openDatabases, type Databases, type StoreKind } from '../support/stores.js'

const databases = new Map<StoreKind, Databases>()
beforeAll(async () => {
  for (const kind of ['memory', 'redis', 'lmdb'] as const) databases.set(kind, await openDatabases(kind))
}, 60_000)
afterAll(async () => {
  for (const opened of databases.values()) await opened.dispose()
})

let namespaces = 0
async function opened(kinds: readonly StoreKind[], replaced: Partial<Record<StoreKind, (store: MovableStore) => MovableStore>> = {}, namespace = `s${namespaces++}`, database = 'commands'): Promise<Compared[]> {
  return Promise.all(
    kinds.map(async (name) => {
      const store = databases.get(name)!.connect(database) as MovableStore
      await store.open({ namespace, ...bounds })
      return { name, store: replaced[name]?.(store) ?? store }
    }),
  )
}

/** With what is held compared after each command, if it is not the same in the end. */
async function tried(seed: number, length: number, kinds: readonly StoreKind[]): Promise<number> {
  const sharesShards = !kinds.includes('lmdb')
  for (const lookEach of [false, true]) {
    const stores = await opened(kinds)
    try {
      return (await compare(seed, length, stores, { sharesShards }, lookEach)).commands.length
    } catch (error) {
      if (!(error instanceof Mismatch) || lookEach) throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error })
    } finally {
      await Promise.all(stores.map(({ store }) => store.close()))
    }
  }
  throw new Error(`seed ${seed}: once it was not the same, and then it was`)
}

const length = 120
const others = ['redis', 'lmdb'] as const
const sequences = { redis: extent(80, 1_500), lmdb: extent(50, 700) }

for (const other of others) {
  const count = sequences[other]
  test(`${count} sequences of ${length} commands are answered by ${other} as by memory, and leave the same behind (seeds ${firstSeed} to ${firstSeed + count - 1})`, async () => {
    let commands = 0
    for (let seed = firstSeed; seed < firstSeed + count; seed++) commands += await tried(seed, length, ['memory', other])
    expect(commands).toBe(count * length)
  }, 3_000_000)
}

// ── That it can fail ──

type Change = (store: MovableStore) => Partial<MovableStore>

/** A store with one thing done wrong. */
function faulty(inner: MovableStore, change: Change): MovableStore {
  const changed = change(inner)
  return new Proxy(inner, { get: (target, name) => bound(changed, name) ?? bound(target, name) })
}

function bound(target: Partial<MovableStore>, name: string | symbol): unknown {
  const found: unknown = Reflect.get(target, name)
  return typeof found === 'function' ? (found as (...args: unknown[]) => unknown).bind(target) : found
}

const commits = (change: (commit: Commit) => Commit): Change => (store) => ({ commit: (commit) => store.commit(change(commit)) })
const parts = (change: (part: Part) => Partial<Part>): Change => commits((commit) => ({ ...commit, parts: commit.parts.map((part) => ({ ...part, ...change(part) })) }))
const appends = (change: (entry: NewEntry) => NewEntry): Change => (store) => ({ append: (shard, entries) => store.append(shard, entries.map(change)) })
const without = <T>(map: ReadonlyMap<string, T | undefined>): ReadonlyMap<string, T | undefined> => new Map([...map].filter(([, value]) => value !== undefined))

/** With how many sequences it takes at most, each of so many commands as above. */
const faults: readonly (readonly [what: string, change: Change, sequencesMax: number])[] = [
  ['a field is never deleted', parts(({ fields }) => ({ fields: without(fields) })), 2],
  ['a timer is never removed', parts(({ timers }) => ({ timers: without(timers) as ReadonlyMap<string, number> })), 2],
  ['an effect never ends', parts(({ effects }) => ({ effects: without(effects) as ReadonlyMap<string, string> })), 2],
  ['a record that is erased stays', parts(({ life }) => (life === 'erased' ? { life: undefined as never } : {})), 2],
  ['an actor is found by what it was found by before', parts(({ terms: _ }) => ({ terms: undefined as never })), 2],
  ['what was handled stays in the backlog', parts(() => ({ handled: 0 })), 2],
  ['parked messages are put before the others', parts(({ park }) => ({ park: park.toReversed() })), 2],
  ['one parked message too many is taken', parts(({ unpark }) => ({ unpark: unpark === 0 ? 0 : unpark + 1 })), 3],
  ['a stream keeps one entry too many', parts(({ logs }) => ({ logs: logs.map((log) => ({ ...log, max: log.max + 1 })) })), 2],
  ['an answer is kept for ever', parts(({ replies }) => ({ replies: new Map([...replies].map(([id, reply]) => [id, { ...reply, until: 9e15 }])) })), 2],
  ['what is sent within the shard may be refused', parts(({ entries }) => ({ entries: entries.map(({ always: _, ...entry }) => entry) })), 3],
  ['an action is confirmed that was not', commits((commit) => ({ ...commit, confirmed: [...commit.confirmed, ...commit.parts.flatMap(({ actions }) => [...actions.keys()].slice(1))] })), 3],
  ['no action is confirmed', commits((commit) => ({ ...commit, confirmed: [] })), 2],
  ['the ids of what skipped the log are forgotten', commits((commit) => ({ ...commit, accepted: [] })), 2],
  ['one message too few is taken out of the outbox', commits((commit) => ({ ...commit, delivered: commit.delivered.map(({ to, through }) => ({ to, through: Math.max(0, through - 1) })) })), 3],
  ['attempts at suspects are never cleared', commits((commit) => ({ ...commit, suspects: without(commit.suspects) as ReadonlyMap<string, number> })), 5],
  ['the node of a lease does not count', (store) => ({ commit: async (commit) => store.commit({ ...commit, lease: { ...commit.lease, node: commit.lease.node === 'n9' ? ((await store.claim(commit.lease.shard, { id: 'n8' })) as { heldBy: Holder }).heldBy.node : commit.lease.node } }) }), 10],
  ['a commit may be ahead of the log', commits((commit) => ({ ...commit, position: 0 })), 2],
  ['the time of a commit does not count', commits((commit) => ({ ...commit, at: 4e12 })), 2],
  ['a message is remembered one millisecond too long', appends((entry) => (entry.rememberUntil === undefined ? entry : { ...entry, rememberUntil: entry.rememberUntil + 1 })), 2],
  ['a message is taken that finds no room', appends((entry) => ({ ...entry, always: true })), 2],
  ['what must be taken is refused', appends(({ always: _, ...entry }) => entry), 2],
  ['a delivery is taken again', (store) => ({ deliver: async (to, _, entries) => void (await store.append(to, entries.map(({ entry }) => ({ ...entry, always: true })))) }), 2],
  ['what is redriven stays a dead letter', (store) => ({ redrive: async (shard, letters) => (await store.append(shard, letters.map(({ entry }) => entry))).map((appended) => (appended === 'full' ? 'full' : 'redriven')) }), 2],
  ['a release leaves the shard unclean', () => ({ release: async () => undefined }), 2],
  ['a counter that moved is taken over', (store) => ({ claim: async (shard, node) => { const claim = await store.claim(shard, node); return 'heldBy' in claim ? store.claim(shard, node, claim.heldBy) : claim } }), 2],
  ['a stream is trimmed one entry too far', (store) => ({ trim: (shard, stream, through) => store.trim(shard, stream, through + 1) }), 2],
  ['an id of an accepted outcome does not count', (store) => ({ recover: async (shard) => ({ ...(await store.recover(shard)), effects: [] }) }), 2],
  ['a sealed shard may be claimed', (store) => ({ seal: async (shard, move, why, over) => { const sealed = await store.seal(shard, move, why, over); await store.unseal(shard, move); return sealed } }), 5],
  ['a page of a move is taken from anywhere', (store) => ({ import: (shard, move, page) => store.import(shard, move, page.from === 'elsewhere' ? { ...page, from: '' } : page) }), 30],
  ['a mark is replaced by whoever comes', () => ({ mark: async () => true }), 30],
]

/** Memory beside memory, the second of which is changed. */
async function twice(change: (store: MovableStore) => MovableStore): Promise<Compared[]> {
  const namespace = `s${namespaces++}`
  return [...(await opened(['memory'], {}, namespace)), ...(await opened(['memory'], { memory: change }, namespace, 'others'))]
}

test.each(faults)(`where %s, a comparison with memory itself shows it`, async (_, change, sequencesMax) => {
  let found: number | undefined
  for (let seed = 1; seed <= sequencesMax && found === undefined; seed++) {
    await compare(seed, length, await twice((store) => faulty(store, change)), { sharesShards: true }).catch((error: unknown) => {
      if (!(error instanceof Mismatch)) throw error
      found = seed
    })
  }
  expect(found).toBeLessThanOrEqual(sequencesMax)
})

test('where nothing is wrong, nothing is found', async () => {
  for (let seed = 1; seed <= 20; seed++) await compare(seed, length, await twice((store) => store), { sharesShards: true })
})

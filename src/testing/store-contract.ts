/**
 * What every store must do, as cases for any test runner:
 *
 * ```ts
 * for (const { name, run } of storeContract({ create })) test(name, run)
 * ```
 *
 * Each case gets a database of its own. The same cases pass behind a store that fails, delays or loses the reply of
 * any write and a caller who repeats what failed, because every write is idempotent (P2); `strict` ones look at
 * answers that a repeat changes.
 */
import assert from 'node:assert/strict'
import { beginning, clearing, ending, isMovable, type MovableStore, type MoveMark, type StoredItem } from '../runtime/ports/moving.js'
import { lostCommitsMax, overflowOf, type Commit, type CommitResult, type FindQuery, type Holder, type Lease, type NewEntry, type NodeIdentity, type NodeSeen, type OpenOptions, type Part, type Presence, type Redrive, type ShardState, type Store } from '../runtime/ports/store.js'

/** A database that no other case uses. */
export interface ContractDatabase {
  /** Opens nothing yet: another connection to the same database, as another process would have. */
  connect(): Store
  /** A node whose process lives. */
  node(id: string): NodeIdentity
  dispose(): Promise<void>
}

export interface StoreContractOptions {
  create(): Promise<ContractDatabase>
  /** How long another connection may take to notice an append or a commit, ms. Default 2,000. */
  readonly noticeMs?: number
  /** Whether several nodes can own shards of one namespace at a time. Default true. */
  readonly sharesShards?: boolean
  /** Whether the store is a {@link MovableStore}. Default true. */
  readonly moves?: boolean
  /** Whether a holder whose counter stands still can be taken over while its process lives. Default true. */
  readonly takesOverByCounter?: boolean
}

export interface ContractCase {
  readonly name: string
  /** Looks at answers that a repeated call changes: not for a store whose replies get lost. */
  readonly strict: boolean
  run(): Promise<void>
}

/** A part that does nothing, to spread into the one wanted. */
export function emptyPart(address: string): Part {
  return {
    address,
    fields: new Map(),
    handled: 0,
    timers: new Map(),
    effects: new Map(),
    actions: new Map(),
    entries: [],
    outbox: [],
    replies: new Map(),
    logs: [],
    park: [],
    unpark: 0,
  }
}

/** One connection with one claimed shard, and what most cases do with it. */
class Shard {
  readonly store: Store
  readonly lease: Lease
  readonly state: ShardState
  number: number
  position: number
  constructor(store: Store, lease: Lease, state: ShardState) {
    this.store = store
    this.lease = lease
    this.state = state
    this.number = state.number
    this.position = state.position
  }
  commitOf(parts: readonly Partial<Part>[], more: Partial<Commit> = {}): Commit {
    return {
      lease: this.lease,
      number: this.number + 1,
      position: this.position,
      at: 0,
      parts: parts.map((part) => ({ ...emptyPart(part.address ?? 'm/a'), ...part })),
      accepted: [],
      confirmed: [],
      delivered: [],
      suspects: new Map(),
      ...more,
    }
  }
  async commit(parts: readonly Partial<Part>[], more: Partial<Commit> = {}): Promise<CommitResult & { ok: true }> {
    const commit = this.commitOf(parts, more)
    const result = await this.store.commit(commit)
    assert.ok(result.ok, `the commit was refused: ${JSON.stringify(result)}`)
    this.number = commit.number
    this.position = commit.position
    return result
  }
  async append(...entries: NewEntry[]): Promise<void> {
    await this.store.append(this.lease.shard, entries)
  }
  async entries(after = 0): Promise<string[]> {
    const entries = await this.store.read(this.lease.shard, after, 10_000, AbortSignal.abort())
    return entries.map((entry) => entry.text)
  }
  async fields(address: string): Promise<Record<string, string> | undefined> {
    const [stored] = await this.store.load(this.lease.shard, [address])
    return stored && Object.fromEntries(stored.fields)
  }
}

const later = Number.MAX_SAFE_INTEGER
let counter = 0

function message(text: string, more: Partial<NewEntry> = {}): NewEntry {
  return { id: `id-${counter++}`, to: 'm/a', text, rememberUntil: later, ...more }
}

export function storeContract(options: StoreContractOptions): ContractCase[] {
  const cases: ContractCase[] = []
  const noticeMs = options.noticeMs ?? 2_000
  const add = (name: string, body: (database: ContractDatabase) => Promise<void>, strict = false): void => {
    cases.push({
      name,
      strict,
      async run() {
        const database = await options.create()
        try {
          await body(database)
        } finally {
          await database.dispose()
        }
      },
    })
  }
  const strictly = (name: string, body: (database: ContractDatabase) => Promise<void>): void => add(name, body, true)
  const open = async (database: ContractDatabase, more: Partial<OpenOptions> = {}): Promise<Store> => {
    const store = database.connect()
    await store.open({ namespace: 'n', shards: 4, ...more })
    return store
  }
  const claim = async (database: ContractDatabase, store: Store, shard = 1, node = 'node-1'): Promise<Shard> => {
    const claimed = await store.claim(shard, database.node(node))
    assert.ok('lease' in claimed, `the shard is held: ${JSON.stringify(claimed)}`)
    return new Shard(store, claimed.lease, claimed.state)
  }
  const start = async (database: ContractDatabase, more: Partial<OpenOptions> = {}): Promise<Shard> => claim(database, await open(database, more))
  const eventually = async (what: string, check: () => Promise<boolean> | boolean): Promise<void> => {
    const until = performance.now() + noticeMs
    while (!(await check())) {
      assert.ok(performance.now() < until, `${what} was not noticed within ${noticeMs} ms`)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  // ── Namespaces ──

  add('a namespace keeps its number of shards and its incarnation', async (database) => {
    const first = await database.connect().open({ namespace: 'n', shards: 4 })
    const second = await database.connect().open({ namespace: 'n' })
    assert.deepEqual([second.shards, second.incarnation], [4, first.incarnation])
    assert.ok(first.incarnation.length > 0)
  })

  add('another number of shards than stored is refused', async (database) => {
    await open(database)
    await assert.rejects(database.connect().open({ namespace: 'n', shards: 8 }), /shards/)
  })

  add('a new namespace has 16 shards unless told otherwise', async (database) => {
    assert.equal((await database.connect().open({ namespace: 'n' })).shards, 16)
  })

  add('namespaces share nothing', async (database) => {
    const a = await start(database)
    const b = await start(database, { namespace: 'n2' })
    await a.append(message('x'))
    await a.commit([{ fields: new Map([['f', '1']]), life: 'created' }])
    assert.deepEqual(await b.entries(), [])
    assert.equal(await b.fields('m/a'), undefined)
    assert.deepEqual(await b.store.find(1, {}), { actors: [] })
    assert.equal(b.number, 0)
  })

  add('the time is in milliseconds and does not stand behind', async (database) => {
    const store = await open(database)
    const first = await store.now()
    assert.ok(Number.isFinite(first) && first > 100_000)
    assert.ok((await store.now()) >= first)
  })

  // ── What it can be trusted with ──

  add('what it can be trusted with is told when it is opened and whenever it is asked, by every connection', async (database) => {
    const store = database.connect()
    const { durability, warnings, refusals } = await store.open({ namespace: 'n', shards: 4 })
    assert.match(durability, /^D[0-3]$/)
    // Each says what is, and what to do.
    for (const sentence of [...warnings, ...refusals]) assert.match(sentence, /^.{20,}[.:] .*\.$/)
    assert.deepEqual(await store.standing(), { durability, warnings, refusals })
    const one = await claim(database, store)
    await one.commit([{ fields: new Map([['f', '1']]), life: 'created' }])
    assert.equal((await (await open(database)).standing()).durability, durability)
  })

  // ── Ownership ──

  add('a shard is owned by one node, and every change of owner raises the epoch', async (database) => {
    const store = await open(database)
    const one = await claim(database, store)
    const refused = await store.claim(1, database.node('node-2'))
    assert.ok('heldBy' in refused)
    assert.equal(refused.heldBy.node, 'node-1')
    await store.release(one.lease)
    const two = await claim(database, store, 1, 'node-2')
    assert.ok(two.lease.epoch > one.lease.epoch)
  })

  add('shards are owned apart from each other', async (database) => {
    const store = await open(database)
    await claim(database, store, 0, 'node-1')
    await claim(database, store, 1, 'node-2')
    assert.ok('heldBy' in (await store.claim(1, database.node('node-1'))))
  })

  add('of two nodes that claim at once, one succeeds', async (database) => {
    const [a, b] = [await open(database), await open(database)]
    const claims = await Promise.all([a.claim(0, database.node('node-1')), b.claim(0, database.node('node-2'))])
    assert.equal(claims.filter((c) => 'lease' in c).length, 1)
  })

  if (options.takesOverByCounter ?? true) {
    add('a holder is taken over only when its counter has stood still', async (database) => {
      const store = await open(database)
      const one = await claim(database, store)
      const before = await store.claim(1, database.node('node-2'))
      assert.ok('heldBy' in before)
      assert.equal(await store.renew(one.lease), 0)
      await one.commit([])
      assert.equal(await store.renew(one.lease), 1)
      const moved = await store.claim(1, database.node('node-2'), before.heldBy)
      assert.ok('heldBy' in moved, 'a moving counter was ignored')
      const still = await store.claim(1, database.node('node-2'), moved.heldBy)
      assert.ok('lease' in still, 'a counter that stood still was not taken over')
      assert.deepEqual([still.lease.epoch, still.state.number, still.state.stood], [one.lease.epoch + 1 + lostCommitsMax, 1 + lostCommitsMax, 1])
      assert.equal(await store.renew(one.lease), undefined)
    })
  }

  add('a commit moves the counter', async (database) => {
    const one = await start(database)
    const before = await one.store.claim(1, database.node('node-2'))
    await one.commit([])
    const after = await one.store.claim(1, database.node('node-2'))
    assert.ok('heldBy' in before && 'heldBy' in after)
    assert.notEqual(before.heldBy.beat, after.heldBy.beat)
  })

  strictly('a claim tells where the shard stands, and whether its last owner stopped cleanly', async (database) => {
    const one = await start(database)
    assert.deepEqual([one.state.number, one.state.position, one.state.tail, one.state.clean], [0, 0, 0, true])
    await one.append(message('x'), message('y'))
    await one.commit([{ handled: 1 }], { position: 1, at: 5 })
    const again = await claim(database, one.store)
    assert.deepEqual([again.state.number, again.state.position, again.state.tail, again.state.clean], [1, 1, 2, false])
    assert.ok(again.state.clock >= 5)
    await one.store.release(again.lease)
    assert.equal((await claim(database, one.store)).state.clean, true)
  })

  strictly('a claim after an acceptance, or from another node, begins above all that may have been lost, and no other does', async (database) => {
    const one = await start(database)
    await one.commit([])
    const again = async (accepted?: number, node = 'node-1', seen?: Holder) => {
      const claimed = await one.store.claim(1, database.node(node), seen, accepted)
      assert.ok('lease' in claimed)
      return [claimed.lease.epoch, claimed.state.number, ...(claimed.state.stood === undefined ? [] : [claimed.state.stood])]
    }
    const { epoch } = one.lease
    assert.deepEqual(await again(0), [epoch + 1, 1])
    assert.deepEqual(await again(2), [epoch + 2 + lostCommitsMax, 1 + lostCommitsMax, 1])
    assert.deepEqual(await again(2), [epoch + 3 + lostCommitsMax, 1 + lostCommitsMax])
    assert.deepEqual(await again(1), [epoch + 4 + lostCommitsMax, 1 + lostCommitsMax])
    assert.deepEqual(await again(), [epoch + 5 + lostCommitsMax, 1 + lostCommitsMax])
    // Whoever is refused moves nothing.
    assert.ok('heldBy' in (await one.store.claim(1, database.node('node-2'), undefined, 3)))
    assert.equal(await one.store.renew({ shard: 1, epoch: epoch + 5 + lostCommitsMax, node: 'node-1' }), 1 + lostCommitsMax)
    assert.deepEqual(await again(3), [epoch + 6 + 2 * lostCommitsMax, 1 + 2 * lostCommitsMax, 1 + lostCommitsMax])
    await one.store.release({ shard: 1, epoch: epoch + 6 + 2 * lostCommitsMax, node: 'node-1' })
    assert.deepEqual(await again(3, 'node-2'), [epoch + 7 + 2 * lostCommitsMax, 1 + 2 * lostCommitsMax])
  })

  add('a release under an old lease does nothing', async (database) => {
    const one = await start(database)
    const two = await claim(database, one.store)
    await one.store.release(one.lease)
    await two.commit([])
    assert.ok('heldBy' in (await one.store.claim(1, database.node('node-2'))))
  })

  // ── Nodes ──

  const idsOf = ({ nodes }: Presence): string[] => nodes.map(({ id }) => id).sort()

  add('who is alone has all, and a sign of life may be repeated', async (database) => {
    const store = await open(database)
    assert.deepEqual(idsOf(await store.beat(database.node('node-1'), 'here', [])), ['node-1'])
    const [again] = (await store.beat(database.node('node-1'), 'here', [])).nodes
    assert.equal(again?.presence, 'here')
    assert.equal((await store.beat(database.node('node-1'), 'leaving', [])).nodes[0]?.presence, 'leaving')
    assert.deepEqual(idsOf(await store.beat(database.node('node-1'), 'gone', [])), [])
    assert.deepEqual(idsOf(await store.beat(database.node('node-1'), 'gone', [])), [])
  })

  add('who owns the shards is seen by all', async (database) => {
    const [a, b] = [await open(database), await open(database)]
    await a.beat(database.node('node-1'), 'here', [])
    await claim(database, a, 0, 'node-1')
    const seen = await b.beat(database.node('node-2'), 'here', [])
    assert.ok(idsOf(seen).includes('node-1'))
    assert.deepEqual(idsOf(await b.presence()).includes('node-1'), true)
    assert.equal(seen.nodes.find(({ id }) => id === 'node-1')!.presence, 'here')
  })

  if (options.sharesShards ?? true) {
    strictly('nodes see each other come, live and leave', async (database) => {
      const [a, b] = [await open(database), await open(database)]
      const [one, two] = [database.node('node-1'), database.node('node-2')]
      await a.beat(one, 'here', [])
      const first = await b.beat(two, 'here', [])
      assert.deepEqual(idsOf(first), ['node-1', 'node-2'])
      const beatOf = ({ nodes }: Presence, id: string): number => nodes.find((node) => node.id === id)!.beat
      await a.beat(one, 'here', [])
      const second = await b.beat(two, 'here', [])
      assert.notEqual(beatOf(second, 'node-1'), beatOf(first, 'node-1'))
      assert.equal(beatOf(await a.beat(one, 'leaving', []), 'node-2'), beatOf(second, 'node-2'))
      assert.deepEqual((await b.beat(two, 'here', [])).nodes.filter(({ presence }) => presence === 'leaving').map(({ id }) => id), ['node-1'])
      await a.beat(one, 'gone', [])
      assert.deepEqual(idsOf(await b.beat(two, 'here', [])), ['node-2'])
    })

    strictly('a node that is taken for dead is marked, then forgotten, unless it has shown itself since', async (database) => {
      const [a, b] = [await open(database), await open(database)]
      const [one, two] = [database.node('node-1'), database.node('node-2')]
      await a.beat(one, 'here', [])
      const otherOf = ({ nodes }: Presence): NodeSeen[] => nodes.filter(({ id }) => id === 'node-1')
      const seen = otherOf(await b.beat(two, 'here', []))
      await a.beat(one, 'here', [])
      const shown = otherOf(await b.beat(two, 'here', seen))
      assert.equal(shown[0]?.presence, 'here')
      const marked = otherOf(await b.beat(two, 'here', shown))
      assert.equal(marked[0]?.presence, 'dead')
      // Somebody else found it silent at the same time.
      assert.equal(otherOf(await b.beat(two, 'here', shown))[0]?.presence, 'dead')
      await a.beat(one, 'here', [])
      const back = otherOf(await b.beat(two, 'here', marked))
      assert.equal(back[0]?.presence, 'here')
      const again = otherOf(await b.beat(two, 'here', back))
      assert.equal(again[0]?.presence, 'dead')
      assert.deepEqual(idsOf(await b.beat(two, 'here', again)), ['node-2'])
    })

    add('who watches the nodes is told who comes and leaves', async (database) => {
      const [a, b] = [await open(database), await open(database)]
      let told = 0
      const stop = a.watch('nodes', () => told++)
      await a.beat(database.node('node-1'), 'here', [])
      for (const as of ['here', 'leaving', 'gone'] as const) {
        await eventually(`${as}`, async () => {
          const before = told
          await b.beat(database.node('node-2'), as === 'here' ? 'gone' : 'here', [])
          await b.beat(database.node('node-2'), as, [])
          await new Promise((resolve) => setTimeout(resolve, 5))
          return told > before
        })
      }
      stop()
    })
  }

  add('who watches a shard is told when its owner lets go of it', async (database) => {
    const [a, b] = [await open(database), await open(database)]
    const one = await claim(database, a)
    await one.commit([])
    let told = 0
    const stop = b.watch(1, () => told++)
    // What was written before the watch began may still be told.
    await new Promise((resolve) => setTimeout(resolve, 100))
    const before = told
    await a.release(one.lease)
    await eventually('the release', () => told > before)
    stop()
  })

  strictly('a namespace that is halted says why to everybody, until it is accepted', async (database) => {
    const [a, b] = [await open(database), await open(database)]
    assert.deepEqual([(await a.presence()).halted, (await a.presence()).accepted], [undefined, 0])
    await a.halt('because', 0)
    assert.equal((await b.presence()).halted, 'because')
    assert.equal((await b.beat(database.node('node-1'), 'here', [])).halted, 'because')
    assert.equal((await (await open(database, { namespace: 'n2' })).presence()).halted, undefined)
    await b.accept()
    const accepted = await a.beat(database.node('node-1'), 'here', [])
    assert.deepEqual([accepted.halted, accepted.accepted], [undefined, 1])
    // What was found before that is accepted with it.
    await a.halt('because', 0)
    assert.equal((await b.presence()).halted, undefined)
    await a.halt('again', 1)
    assert.equal((await b.presence()).halted, 'again')
    await a.accept()
    const { halted, accepted: twice } = await b.presence()
    assert.deepEqual([halted, twice], [undefined, 2])
  })

  add('a commit that has handled more than the log holds is a gap', async (database) => {
    const shard = await start(database)
    await shard.append(message('a'))
    const result = await shard.store.commit(shard.commitOf([{ fields: new Map([['f', '1']]) }], { position: 2 }))
    assert.equal(!result.ok && result.why, 'gap')
    assert.equal(await shard.fields('m/a'), undefined)
  })

  strictly('a commit that moves on to another entry than it has read takes nothing away', async (database) => {
    const shard = await start(database)
    await shard.append(message('one-a'), message('one-b'), message('one-c'))
    const [, b, c] = await shard.store.read(1, 0, 10, AbortSignal.abort())
    const read = { at: b!.at, begins: 'one-b' }
    for (const wrong of [{ ...read, begins: 'one-c' }, { ...read, begins: 'one-b and more' }, { ...read, at: b!.at - 1 }]) {
      const result = await shard.store.commit(shard.commitOf([{ fields: new Map([['f', '1']]), handled: 2 }], { position: 2, read: wrong }))
      assert.equal(!result.ok && result.why, 'unread')
    }
    assert.equal(await shard.fields('m/a'), undefined)
    assert.deepEqual(await shard.entries(), ['one-a', 'one-b', 'one-c'])
    await shard.commit([{ handled: 2 }], { position: 2, read: { ...read, begins: 'one' } })
    assert.deepEqual(await shard.entries(), ['one-c'])
    // A repeat finds the entry gone, and a position that does not move on says nothing of one.
    assert.ok((await shard.store.commit({ ...shard.commitOf([{}], { read }), number: shard.number })).ok)
    await shard.commit([{}], { read })
    await shard.commit([{ handled: 1 }], { position: 3, read: { at: c!.at, begins: 'one-c' } })
    assert.deepEqual(await shard.entries(), [])
  })

  // ── The log ──

  strictly('messages are numbered one after the other, from 1', async (database) => {
    const shard = await start(database)
    const first = await shard.store.append(1, [message('a'), message('b')])
    const second = await shard.store.append(1, [message('c')])
    assert.deepEqual([...first, ...second], [{ seq: 1 }, { seq: 2 }, { seq: 3 }])
  })

  add('messages are read in the order of their append, from where one stands', async (database) => {
    const shard = await start(database)
    await shard.append(message('a'), message('b'))
    await shard.append(message('c'))
    assert.deepEqual(await shard.entries(), ['a', 'b', 'c'])
    assert.deepEqual(await shard.entries(1), ['b', 'c'])
    const [first, ...rest] = await shard.store.read(1, 0, 1, AbortSignal.abort())
    assert.equal(first?.seq, 1)
    assert.equal(rest.length, 0)
    assert.ok(first.at > 0)
  })

  add('a message keeps its text, whatever is in it', async (database) => {
    const shard = await start(database)
    const texts = ['', 'ä€😀', '\u0000\u0001', '{"a":"\\ud800"}', 'x'.repeat(1_000_000), '\r\n"\\', '\u202e']
    for (const text of texts) await shard.append(message(text))
    assert.deepEqual(await shard.entries(), texts)
  })

  add('an id is accepted once', async (database) => {
    const shard = await start(database)
    await shard.append(message('a', { id: 'same' }))
    await shard.append(message('b', { id: 'same' }), message('c', { id: 'other' }))
    assert.deepEqual(await shard.entries(), ['a', 'c'])
  })

  strictly('a repeat is called a duplicate, also within one append, also after it was handled', async (database) => {
    const shard = await start(database)
    const appended = await shard.store.append(1, [message('a', { id: 'same' }), message('b', { id: 'same' })])
    assert.deepEqual(appended, [{ seq: 1 }, 'duplicate'])
    await shard.commit([{ handled: 1 }], { position: 1 })
    assert.deepEqual(await shard.store.append(1, [message('c', { id: 'same' })]), ['duplicate'])
  })

  strictly('an id that is not to be remembered, or no longer, may come again', async (database) => {
    const shard = await start(database)
    const forgotten: NewEntry = { id: 'same', to: 'm/a', text: 'a' }
    await shard.append(forgotten, forgotten)
    await shard.append(message('b', { id: 'old', rememberUntil: 1 }))
    await shard.append(message('c', { id: 'old', rememberUntil: 1 }))
    assert.deepEqual(await shard.entries(), ['a', 'a', 'b', 'c'])
  })

  strictly('ids are remembered per shard', async (database) => {
    const shard = await start(database)
    await shard.store.append(1, [message('a', { id: 'same' })])
    assert.deepEqual(await shard.store.append(2, [message('b', { id: 'same' })]), [{ seq: 1 }])
  })

  strictly('an actor whose backlog is full is sent nothing more, others are', async (database) => {
    const shard = await start(database, { backlogMax: 2 })
    const appended = await shard.store.append(1, [message('a'), message('b'), message('c', { id: 'c' }), message('d', { to: 'm/b' })])
    assert.deepEqual(appended, [{ seq: 1 }, { seq: 2 }, 'full', { seq: 3 }])
    await shard.commit([{ handled: 1 }], { position: 1 })
    assert.deepEqual(await shard.store.append(1, [message('c', { id: 'c' })]), [{ seq: 4 }], 'a refused id is not remembered, and handling makes room')
  })

  strictly('a shard whose log is full takes nothing more', async (database) => {
    const shard = await start(database, { logMax: 2 })
    const appended = await shard.store.append(1, [message('a', { to: 'm/1' }), message('b', { to: 'm/2' }), message('c', { to: 'm/3' })])
    assert.deepEqual(appended.map((a) => (typeof a === 'object' ? 'ok' : a)), ['ok', 'ok', 'full'])
  })

  strictly('what must be taken is taken however full backlog and log are: appended, with a commit, and delivered', async (database) => {
    const shard = await start(database, { backlogMax: 1, logMax: 2 })
    assert.deepEqual((await shard.store.append(1, [message('a'), message('b'), message('c', { always: true }), message('d', { always: true })])).map((a) => (typeof a === 'object' ? 'ok' : a)), ['ok', 'full', 'ok', 'ok'])
    await shard.commit([{ entries: [message('f', { always: true })] }])
    await shard.store.deliver(1, 2, [{ number: 2, to: 1, entry: message('h', { always: true }) }])
    assert.deepEqual(await shard.entries(), ['a', 'c', 'd', 'f', 'h'])
  })

  strictly('an outbox keeps of a message whether it must be taken', async (database) => {
    const shard = await start(database)
    const entries = [message('a', { id: 'a', always: true }), message('b', { id: 'b', always: true, rememberUntil: later }), message('c', { id: 'c' })]
    await shard.commit([{ outbox: entries.map((entry, i) => ({ number: i + 1, to: 2, entry })) }])
    assert.deepEqual((await shard.store.recover(1)).outbox.map(({ entry }) => entry), entries)
  })

  add('concurrent appends of several connections leave no hole and lose nothing', async (database) => {
    const stores = [await open(database), await open(database), await open(database)]
    const texts = Array.from({ length: 150 }, (_, i) => `t${i}`)
    await Promise.all(texts.map((text, i) => stores[i % 3]!.append(2, [message(text, { to: `m/${i % 7}` })])))
    const entries = await stores[0]!.read(2, 0, 1_000, AbortSignal.abort())
    assert.deepEqual(entries.map((e) => e.seq), texts.map((_, i) => i + 1))
    assert.deepEqual(entries.map((e) => e.text).sort(), [...texts].sort())
  })

  add('a reader waits for the first message, also one of another connection', async (database) => {
    const [a, b] = [await open(database), await open(database)]
    const controller = new AbortController()
    const waiting = a.read(1, 0, 10, controller.signal)
    await b.append(1, [message('x')])
    const late = setTimeout(() => controller.abort(), noticeMs)
    const entries = await waiting
    clearTimeout(late)
    assert.deepEqual(entries.map((e) => e.text), ['x'])
  })

  add('a reader that gives up is answered with what there is', async (database) => {
    const store = await open(database)
    const controller = new AbortController()
    const waiting = store.read(1, 0, 10, controller.signal)
    controller.abort()
    assert.deepEqual(await waiting, [])
  })

  add('readers of several shards wait side by side', async (database) => {
    const store = await open(database)
    const controller = new AbortController()
    const waiting = [0, 1, 2, 3].map((shard) => store.read(shard, 0, 10, controller.signal))
    await store.append(2, [message('x')])
    assert.equal((await waiting[2]!)[0]?.text, 'x')
    await store.append(0, [message('y')])
    assert.equal((await waiting[0]!)[0]?.text, 'y')
    controller.abort()
    assert.deepEqual(await Promise.all([waiting[1], waiting[3]]), [[], []])
  })

  // ── Commits ──

  add('a commit writes, overwrites and deletes fields, and leaves the others', async (database) => {
    const shard = await start(database)
    await shard.commit([{ life: 'created', fields: new Map([['a', '1'], ['b', '2'], ['c:\u0000ä', '3']]) }])
    await shard.commit([{ fields: new Map<string, string | undefined>([['a', '4'], ['b', undefined], ['never', undefined]]) }])
    assert.deepEqual(await shard.fields('m/a'), { a: '4', 'c:\u0000ä': '3' })
    assert.equal(await shard.fields('m/other'), undefined)
  })

  add('a record is found under its address only', async (database) => {
    const shard = await start(database)
    await shard.commit([
      { address: 'm/a', life: 'created', fields: new Map([['f', '1']]) },
      { address: 'm/ab', life: 'created', fields: new Map([['f', '2']]) },
      { address: 'm/a~b', life: 'created', fields: new Map([['f', '3']]) },
    ])
    const loaded = await shard.store.load(1, ['m/a~b', 'm/a', 'm/zz', 'm/ab'])
    assert.deepEqual(loaded.map((r) => r?.fields.get('f')), ['3', '1', undefined, '2'])
  })

  add('large values are kept', async (database) => {
    const shard = await start(database)
    const value = 'ä'.repeat(500_000)
    await shard.commit([{ life: 'created', fields: new Map([['big', value]]) }])
    assert.equal((await shard.fields('m/a'))?.['big'], value)
  })

  add('many records are read at once, large ones among them, each in its place', async (database) => {
    const shard = await start(database)
    const valueOf = (i: number): string => (i % 10 === 0 ? '€' : 'e').repeat(i % 10 === 0 ? 200_000 : 20)
    const addresses = Array.from({ length: 30 }, (_, i) => `m/a-${i}`)
    await shard.commit(addresses.map((address, i) => ({ address, life: 'created' as const, fields: new Map([['value', valueOf(i)]]), park: i === 7 ? ['later'] : [] })))
    const asked = addresses.flatMap((address, i) => (i === 11 ? ['m/nobody', address] : [address]))
    const loaded = await shard.store.load(1, [...asked, ...asked])
    assert.deepEqual(
      loaded.map((record) => record && [record.fields.get('value')?.length, record.fields.size, record.parked]),
      [...asked, ...asked].map((address) => (address === 'm/nobody' ? undefined : [valueOf(Number(address.slice(4))).length, 1, address === 'm/a-7' ? 1 : 0])),
    )
    assert.equal(loaded[10]?.fields.get('value'), valueOf(10))
  })

  add('handled messages are trimmed, unhandled ones stay', async (database) => {
    const shard = await start(database)
    await shard.append(message('a'), message('b'), message('c'))
    await shard.commit([{ handled: 2 }], { position: 2 })
    assert.deepEqual(await shard.entries(), ['c'])
    await shard.append(message('d'))
    assert.deepEqual((await shard.store.read(1, 0, 10, AbortSignal.abort())).map((e) => e.seq), [3, 4])
  })

  add('an epoch alone is no lease: who does not own the shard, or has let go of it, is fenced', async (database) => {
    const one = await start(database)
    const stranger = await one.store.commit({ ...one.commitOf([{ fields: new Map([['f', '1']]) }]), lease: { ...one.lease, node: 'node-2' } })
    assert.equal(!stranger.ok && stranger.why, 'fenced')
    assert.equal(await one.store.renew({ ...one.lease, node: 'node-2' }), undefined)
    await one.store.release({ ...one.lease, node: 'node-2' })
    await one.commit([])
    await one.store.release(one.lease)
    const late = await one.store.commit(one.commitOf([{ fields: new Map([['f', '1']]) }]))
    assert.equal(!late.ok && late.why, 'fenced')
    assert.equal(await one.fields('m/a'), undefined)
  })

  add('a commit under an old epoch is fenced and writes nothing', async (database) => {
    const old = await start(database)
    const now = await claim(database, old.store)
    const result = await old.store.commit(old.commitOf([{ life: 'created', fields: new Map([['f', 'old']]) }]))
    assert.ok(!result.ok)
    assert.equal(result.why, 'fenced')
    assert.equal(await now.fields('m/a'), undefined)
    await now.commit([{ life: 'created', fields: new Map([['f', 'new']]) }])
    const late = await old.store.commit(old.commitOf([{ fields: new Map([['f', 'late']]) }], { number: 2 }))
    assert.equal(!late.ok && late.why, 'fenced')
    assert.deepEqual(await now.fields('m/a'), { f: 'new' })
  })

  add('a commit whose number leaves a gap writes nothing', async (database) => {
    const shard = await start(database)
    const result = await shard.store.commit(shard.commitOf([{ life: 'created', fields: new Map([['f', '1']]) }], { number: 2 }))
    assert.equal(!result.ok && result.why, 'gap')
    assert.equal(await shard.fields('m/a'), undefined)
  })

  add('a repeated commit is answered ok and written once', async (database) => {
    const shard = await start(database)
    await shard.append(message('in', { to: 'm/a' }))
    const commit = shard.commitOf(
      [{ life: 'created', handled: 1, fields: new Map([['f', '1']]), entries: [message('out')], logs: [{ stream: 's', text: 'l', max: 10 }], park: ['p'] }],
      { position: 1 },
    )
    const first = await shard.store.commit(commit)
    const second = await shard.store.commit(commit)
    assert.ok(first.ok && second.ok)
    assert.deepEqual(await shard.entries(), ['out'])
    assert.equal((await shard.store.log(1, 's', 0, 10)).length, 1)
    assert.deepEqual(await shard.store.parked(1, 'm/a', 10), ['p'])
    // Also when a later one has been written since.
    shard.number = 1
    await shard.commit([{ fields: new Map([['f', '2']]) }], { position: 1 })
    assert.ok((await shard.store.commit(commit)).ok)
    assert.deepEqual(await shard.fields('m/a'), { f: '2' })
  })

  const faulty: readonly [string, Partial<Part>][] = [
    ['a timer that is due at NaN', { timers: new Map([['t', Number.NaN]]) }],
    ['a timer that is due at Infinity', { timers: new Map([['t', Number.POSITIVE_INFINITY]]) }],
    ['a field without a name', { fields: new Map([['', 'x']]) }],
    ['a field with an endless name', { fields: new Map([['f'.repeat(3_000), 'x']]) }],
    ['a field whose name is half a surrogate pair', { fields: new Map([['c0:a\ud800', 'x']]) }],
    ['a timer whose name is half a surrogate pair', { timers: new Map([['t\udc00', 5]]) }],
    ['a count that is no number', { handled: Number.NaN }],
    ['a message remembered until NaN', { entries: [message('x', { rememberUntil: Number.NaN })] }],
    ['a message to another shard remembered until Infinity', { outbox: [{ number: 1, to: 2, entry: message('x', { rememberUntil: Number.POSITIVE_INFINITY }) }] }],
    ['an answer kept until NaN', { replies: new Map([['a', { text: '1', until: Number.NaN }]]) }],
    ['a stream that keeps half an entry', { logs: [{ stream: 's', text: 'x', max: 0.5 }] }],
  ]
  for (const [what, part] of faulty) {
    add(`${what} is refused by name before anything is written, and the rest can be committed without it`, async (database) => {
      const shard = await start(database)
      const good: Partial<Part> = { address: 'm/good', life: 'created', fields: new Map([['f', '1']]), timers: new Map([['g', 7]]), entries: [message('out')], logs: [{ stream: 's', text: 'l', max: 10 }] }
      const result = await shard.store.commit(shard.commitOf([good, { address: 'm/bad', life: 'created', ...part }, { ...good, address: 'm/good2' }]))
      assert.ok(!result.ok)
      assert.deepEqual([result.why, result.address], ['refused', 'm/bad'])
      assert.equal(await shard.fields('m/good'), undefined)
      assert.deepEqual(await shard.entries(), [])
      assert.deepEqual(await shard.store.timers(1, 1e15, 10), [])
      assert.deepEqual(await shard.store.log(1, 's', 0, 10), [])
      await shard.commit([good])
      assert.deepEqual(await shard.fields('m/good'), { f: '1' })
    })
  }

  add('commits on their way at the same time are applied in order', async (database) => {
    const shard = await start(database)
    const commits = Array.from({ length: 20 }, (_, i) => ({ ...shard.commitOf([{ life: 'created', fields: new Map([['f', String(i)]]) }]), number: i + 1 }))
    const results = await Promise.all(commits.map((commit) => shard.store.commit(commit)))
    assert.ok(results.every((r) => r.ok))
    assert.deepEqual(await shard.fields('m/a'), { f: '19' })
  })

  add('if one of several commits on their way is refused, those built on it are gaps', async (database) => {
    const shard = await start(database)
    const bad = shard.commitOf([{ timers: new Map([['t', Number.NaN]]) }])
    const next = { ...shard.commitOf([{ life: 'created' as const, fields: new Map([['f', '1']]) }]), number: 2 }
    const [first, second] = await Promise.all([shard.store.commit(bad), shard.store.commit(next)])
    assert.equal(!first.ok && first.why, 'refused')
    assert.equal(!second.ok && second.why, 'gap')
    assert.equal(await shard.fields('m/a'), undefined)
  })

  add('the time of a commit never goes back, and is never behind the runtime', async (database) => {
    const shard = await start(database)
    const now = await shard.store.now()
    const first = await shard.commit([], { at: now + 5_000 })
    assert.ok(first.at >= now + 5_000)
    const second = await shard.commit([], { at: 1 })
    assert.ok(second.at >= first.at)
    assert.ok((await claim(database, shard.store)).state.clock >= first.at)
  })

  add('messages of a commit follow those that stand in the log', async (database) => {
    const shard = await start(database)
    await shard.append(message('a'))
    const result = await shard.commit([
      { address: 'm/a', entries: [message('b'), message('c', { to: 'm/b' })] },
      { address: 'm/b', entries: [message('d')] },
    ])
    assert.deepEqual(await shard.entries(), ['a', 'b', 'c', 'd'])
    assert.equal(result.tail, 4)
  })

  const overflow = (text: string, to = 'm/a'): string => overflowOf({ id: `of-${text}`, to, text }).text
  /** As the runtime's own: what it has stands in its class. */
  class Numbered implements NewEntry {
    private readonly number: string
    readonly to: string
    constructor(number: string, to: string) {
      this.number = number
      this.to = to
    }
    get id(): string {
      return `of-${this.number}`
    }
    get text(): string {
      return this.number
    }
  }
  const numbered = (text: string, to = 'm/a'): NewEntry => new Numbered(text, to)
  const lettersOf = async ({ store, lease }: Shard): Promise<unknown[]> => (await store.log(lease.shard, 'dead', 0, 100)).map(({ text }) => JSON.parse(text) as { text: string; reason: string; to: string }).map(({ text, reason, to }) => [text, reason, to])

  add('messages of a commit count towards the backlog; beyond it they are appended as such, and beyond twice of it kept as dead letters', async (database) => {
    const shard = await start(database, { backlogMax: 2 })
    await shard.commit([{ entries: ['1', '2', '3', '4', '5'].map((text) => numbered(text)) }, { address: 'm/b', entries: [numbered('6', 'm/b')] }])
    assert.deepEqual(await shard.entries(), ['1', '2', overflow('3'), overflow('4'), '6'])
    assert.deepEqual(await lettersOf(shard), [['5', 'overflow', 'm/a']])
    assert.deepEqual(await shard.store.append(1, [message('e')]), ['full'])
    // What is to be refused takes room until it is.
    await shard.commit([{ handled: 3, entries: [numbered('7'), numbered('8')] }], { position: 3 })
    assert.deepEqual(await shard.entries(), [overflow('4'), '6', '7', overflow('8')])
  })

  add('deliveries fare the same, also where the log of the shard is full', async (database) => {
    const shard = await start(database, { backlogMax: 2, logMax: 3 })
    const deliveries = ['1', '2', '3', '4', '5', '6', '7', '8', '9'].map((text, i) => ({ number: i + 1, to: 1, entry: numbered(text, i < 5 ? 'm/a' : `m/${text}`) }))
    await shard.store.deliver(1, 2, deliveries)
    await shard.store.deliver(1, 2, deliveries)
    assert.deepEqual(await shard.entries(), ['1', '2', overflow('3'), overflow('4'), overflow('6', 'm/6'), overflow('7', 'm/7')])
    assert.deepEqual(await lettersOf(shard), [['5', 'overflow', 'm/a'], ['8', 'overflow', 'm/8'], ['9', 'overflow', 'm/9']])
  })

  // ── Dead letters ──

  const buried = async (shard: Shard, ...texts: string[]): Promise<void> => void (await shard.commit([{ logs: texts.map((text) => ({ stream: 'dead', text, max: 100 })) }]))

  add('dead letters are taken back into the log, in the order given, whatever ids are remembered', async (database) => {
    const shard = await start(database)
    await shard.append(message('x', { id: 'known' }))
    await buried(shard, 'one', 'two', 'three')
    await shard.store.redrive(1, [{ seq: 3, entry: message('c') }, { seq: 1, entry: message('a', { id: 'known' }) }])
    assert.deepEqual(await shard.entries(), ['x', 'c', 'a'])
    assert.deepEqual(await shard.store.log(1, 'dead', 0, 10), [{ seq: 2, text: 'two' }])
    await shard.commit([{ handled: 3, logs: [{ stream: 'dead', text: 'four', max: 100 }] }], { position: 3 })
    assert.deepEqual(await shard.store.log(1, 'dead', 0, 10), [{ seq: 2, text: 'two' }, { seq: 4, text: 'four' }])
    assert.deepEqual(await shard.entries(), [])
    await shard.store.trim(1, 'dead', 3)
    assert.deepEqual((await shard.store.log(1, 'dead', 0, 10)).map(({ seq }) => seq), [4])
  })

  strictly('a dead letter is taken back once, and stays where there is no room', async (database) => {
    const shard = await start(database, { backlogMax: 2, logMax: 3 })
    await buried(shard, 'one', 'two', 'three', 'four', 'five')
    const to = (seq: number, address: string): Redrive => ({ seq, entry: message(`m${seq}`, { to: address, always: true }) })
    assert.deepEqual(await shard.store.redrive(1, [to(1, 'm/a'), to(1, 'm/a'), to(9, 'm/a'), to(2, 'm/a'), to(3, 'm/a'), to(4, 'm/b'), to(5, 'm/c')]), ['redriven', 'gone', 'gone', 'redriven', 'full', 'redriven', 'full'])
    assert.deepEqual(await shard.entries(), ['m1', 'm2', 'm4'])
    assert.deepEqual((await shard.store.log(1, 'dead', 0, 10)).map(({ text }) => text), ['three', 'five'])
    assert.deepEqual(await shard.store.redrive(2, [to(3, 'm/a')]), ['gone'])
    assert.deepEqual(await shard.store.redrive(1, []), [])
    await shard.commit([{ handled: 2 }], { position: 2 })
    assert.deepEqual(await shard.store.redrive(1, [to(3, 'm/a')]), ['redriven'])
  })

  strictly('a letter that two take back at once is taken back once', async (database) => {
    const shard = await start(database)
    const other = await open(database)
    await buried(shard, ...Array.from({ length: 20 }, (_, i) => `${i}`))
    const answers = await Promise.all([shard.store, other].map((store) => store.redrive(1, Array.from({ length: 20 }, (_, i) => ({ seq: i + 1, entry: message(`${i}`) })))))
    assert.equal(answers.flat().filter((answer) => answer === 'redriven').length, 20)
    assert.equal((await shard.entries()).length, 20)
  })

  add('a reader that waits hears of a letter that is taken back', async (database) => {
    const shard = await start(database)
    const other = await open(database)
    await buried(shard, 'one')
    const controller = new AbortController()
    const waiting = shard.store.read(1, 0, 10, controller.signal)
    await other.redrive(1, [{ seq: 1, entry: message('x') }])
    const late = setTimeout(() => controller.abort(), noticeMs)
    assert.deepEqual((await waiting).map(({ text }) => text), ['x'])
    clearTimeout(late)
  })

  add('an id that a commit accepted without the log is a duplicate afterwards', async (database) => {
    const shard = await start(database)
    await shard.commit([], { accepted: [{ id: 'own', until: later }] })
    await shard.append(message('again', { id: 'own' }))
    assert.deepEqual(await shard.entries(), [])
  })

  // ── Timers, effects, actions, suspects ──

  add('timers come in the order of their due time, ties by name, up to a time and a number', async (database) => {
    const shard = await start(database)
    await shard.commit([{ timers: new Map([['b', 10], ['a', 10], ['c', 5], ['d', 2.5], ['e', 4_000_000_000_000]]) }])
    const members = async (until: number, max: number): Promise<string[]> => (await shard.store.timers(1, until, max)).map((t) => t.member)
    assert.deepEqual(await members(10, 10), ['d', 'c', 'a', 'b'])
    assert.deepEqual(await members(9, 10), ['d', 'c'])
    assert.deepEqual(await members(10, 3), ['d', 'c', 'a'])
    assert.deepEqual((await shard.store.timers(1, 1e15, 10)).at(-1), { member: 'e', dueAt: 4_000_000_000_000 })
    assert.equal(await shard.store.nextTimer(1), 2.5)
    await shard.commit([{ timers: new Map<string, number | undefined>([['d', undefined], ['c', 50], ['never', undefined]]) }])
    assert.deepEqual(await members(100, 10), ['a', 'b', 'c'])
    assert.equal(await shard.store.nextTimer(2), undefined)
  })

  add('effects are recovered until they end or their outcome is accepted', async (database) => {
    const shard = await start(database)
    await shard.commit([{ effects: new Map([['e1', 'one'], ['e2', 'two'], ['e3', 'three']]) }])
    await shard.commit([{ effects: new Map<string, string | undefined>([['e1', undefined], ['e3', 'three again']]) }])
    await shard.append(message('outcome', { id: 'e2' }))
    assert.deepEqual((await shard.store.recover(1)).effects, [['e3', 'three again']])
  })

  add('actions are recovered until they are confirmed', async (database) => {
    const shard = await start(database)
    await shard.commit([{ actions: new Map([['a1', 'one'], ['a2', 'two']]) }, { address: 'm/b', actions: new Map([['a3', 'three']]) }])
    await shard.commit([], { confirmed: ['a2', 'unknown'] })
    assert.deepEqual(new Map((await shard.store.recover(1)).actions), new Map([['a1', 'one'], ['a3', 'three']]))
  })

  add('suspects are counted until they are cleared', async (database) => {
    const shard = await start(database)
    await shard.commit([], { suspects: new Map([['m1', 1], ['m2', 1]]) })
    await shard.commit([], { suspects: new Map<string, number | undefined>([['m1', 2], ['m2', undefined]]) })
    assert.deepEqual((await shard.store.recover(1)).suspects, [['m1', 2]])
  })

  // ── Between shards ──

  add('the outbox is kept in order until it is delivered', async (database) => {
    const shard = await start(database)
    const entry = (number: number, to: number): Part['outbox'][number] => ({ number, to, entry: message(`o${number}`, { to: 'm/x' }) })
    await shard.commit([{ outbox: [entry(1, 2), entry(2, 3)] }, { address: 'm/b', outbox: [entry(3, 2)] }])
    await shard.commit([{ outbox: [entry(10, 2)] }])
    assert.deepEqual((await shard.store.recover(1)).outbox.map((o) => [o.number, o.to, o.entry.text]), [[1, 2, 'o1'], [2, 3, 'o2'], [3, 2, 'o3'], [10, 2, 'o10']])
    await shard.commit([], { delivered: [{ to: 2, through: 3 }] })
    assert.deepEqual((await shard.store.recover(1)).outbox.map((o) => o.number), [2, 10])
  })

  add('deliveries are appended once and in order, whatever is repeated', async (database) => {
    const shard = await start(database)
    const entry = (number: number): Part['outbox'][number] => ({ number, to: 3, entry: { id: `d${number}`, to: 'm/x', text: `t${number}` } })
    await shard.store.deliver(3, 1, [entry(5), entry(7)])
    await shard.store.deliver(3, 1, [entry(5), entry(7), entry(9)])
    await shard.store.deliver(3, 2, [entry(6)])
    const texts = (await shard.store.read(3, 0, 10, AbortSignal.abort())).map((e) => e.text)
    assert.deepEqual(texts, ['t5', 't7', 't9', 't6'])
  })

  strictly('an entry has the time of the store, or of the last commit if that is later', async (database) => {
    const shard = await start(database)
    const { at: committed } = await shard.commit([])
    let now = committed
    while (now <= committed) now = await shard.store.now()
    await shard.append(message('a'))
    await shard.commit([], { at: now + 1_000_000 })
    await shard.append(message('b'))
    const [a, b] = await shard.store.read(1, 0, 10, AbortSignal.abort())
    assert.ok(a!.at >= now && a!.at < now + 1_000_000)
    assert.equal(b!.at, now + 1_000_000)
  })

  // ── Parked messages, streams, answers, index ──

  add('parked messages are kept in order and taken off the front', async (database) => {
    const shard = await start(database)
    await shard.commit([{ park: ['a', 'b'] }, { address: 'm/b', park: ['x'] }])
    await shard.commit([{ unpark: 1, park: ['c'] }])
    assert.deepEqual(await shard.store.parked(1, 'm/a', 10), ['b', 'c'])
    assert.deepEqual(await shard.store.parked(1, 'm/a', 1), ['b'])
    const [loaded] = await shard.store.load(1, ['m/a'])
    assert.equal(loaded?.parked, 2)
    assert.deepEqual([...(await shard.store.recover(1)).parked].sort(), ['m/a', 'm/b'])
    await shard.commit([{ unpark: 2 }])
    assert.deepEqual((await shard.store.recover(1)).parked, ['m/b'])
    assert.deepEqual(await shard.store.load(1, ['m/a']), [undefined])
  })

  add('each append to a stream says anew how much is kept of it: never fewer of the newest, and soon not many more', async (database) => {
    const shard = await start(database)
    const append = (from: number, to: number, max: (n: number) => number): Promise<unknown> =>
      shard.commit([{ logs: Array.from({ length: to - from + 1 }, (_, i) => ({ stream: 'm/a/+h', text: String(from + i), max: max(from + i) })) }])
    const kept = async (): Promise<number[]> => (await shard.store.log(1, 'm/a/+h', 0, 10_000)).map(({ text }) => Number(text))
    const last = (count: number, through: number): number[] => Array.from({ length: count }, (_, i) => through - count + 1 + i)
    // It grows with its bound, and is cut where that falls, all in one commit.
    await append(1, 10, (n) => (n === 10 ? 4 : n))
    assert.deepEqual(await kept(), last(4, 10))
    await append(11, 20, (n) => n - 6)
    assert.deepEqual(await kept(), last(14, 20))
    // Numbers count on.
    assert.deepEqual((await shard.store.log(1, 'm/a/+h', 0, 1))[0], { seq: 7, text: '7' })
    await append(21, 3_000, (n) => n - 6)
    assert.deepEqual(await kept(), last(2_994, 3_000))
    for (let n = 3_001; n <= 3_004; n++) {
      await append(n, n, () => 1_500)
      assert.deepEqual((await kept()).slice(-1_500), last(1_500, n))
    }
    assert.ok((await kept()).length <= 1_500 + 500)
    await append(3_005, 3_005, () => 1)
    await append(3_006, 3_006, () => 2)
    assert.deepEqual(await kept(), last(2, 3_006))
  })

  add('a stream keeps as many as it is told, though some that stood between were redriven', async (database) => {
    const shard = await start(database)
    const letters = (...texts: string[]): Promise<unknown> => shard.commit([{ logs: texts.map((text) => ({ stream: 'dead', text, max: 3 })) }])
    const kept = async (): Promise<string[]> => (await shard.store.log(1, 'dead', 0, 10)).map(({ text }) => text)
    await letters('a', 'b', 'c')
    await shard.store.redrive(1, [{ seq: 2, entry: message('b') }])
    await letters('d')
    assert.deepEqual(await kept(), ['a', 'c', 'd'])
    await letters('e')
    assert.deepEqual(await kept(), ['c', 'd', 'e'])
    await shard.store.redrive(1, [{ seq: 4, entry: message('d') }, { seq: 5, entry: message('e') }])
    await letters('f', 'g')
    assert.deepEqual(await kept(), ['c', 'f', 'g'])
    await shard.store.trim(1, 'dead', 5)
    await letters('h')
    assert.deepEqual(await kept(), ['f', 'g', 'h'])
  })

  add('streams are numbered from 1, read on from where one stands, bounded and trimmed', async (database) => {
    const shard = await start(database)
    const line = (text: string): Part['logs'][number] => ({ stream: 's', text, max: 3 })
    await shard.commit([{ logs: [line('a'), line('b'), { stream: 'other', text: 'z', max: 3 }] }])
    await shard.commit([{ logs: [line('c')] }])
    assert.deepEqual(await shard.store.log(1, 's', 0, 10), [{ seq: 1, text: 'a' }, { seq: 2, text: 'b' }, { seq: 3, text: 'c' }])
    assert.deepEqual(await shard.store.log(1, 's', 1, 1), [{ seq: 2, text: 'b' }])
    await shard.commit([{ logs: [line('d')] }])
    assert.deepEqual((await shard.store.log(1, 's', 0, 10)).map((e) => e.text), ['b', 'c', 'd'])
    await shard.store.trim(1, 's', 3)
    assert.deepEqual(await shard.store.log(1, 's', 0, 10), [{ seq: 4, text: 'd' }])
    assert.deepEqual(await shard.store.log(1, 'none', 0, 10), [])
  })

  add('an answer is found under the id of its question', async (database) => {
    const shard = await start(database)
    assert.equal(await shard.store.reply(1, 'q1'), undefined)
    await shard.commit([{ replies: new Map([['q1', { text: '{"value":1}', until: later }]]) }])
    assert.equal(await shard.store.reply(1, 'q1'), '{"value":1}')
    assert.equal(await shard.store.reply(2, 'q1'), undefined)
  })

  const foundBy = async ({ store }: Shard, query: FindQuery, shard = 1): Promise<string[]> => (await store.find(shard, query)).actors.map(({ address }) => address)

  add('actors are found by machine and key, in order, page by page', async (database) => {
    const shard = await start(database)
    const addresses = ['m/a', 'm/b', 'n/a', 'n/a~x', 'n/a~y', 'mm/a', 'n/ab']
    await shard.commit(addresses.map((address) => ({ address, life: 'created' as const, fields: new Map([['f', '1']]) })))
    assert.deepEqual(await foundBy(shard, {}), [...addresses].sort())
    assert.deepEqual(await foundBy(shard, { machine: 'm' }), ['m/a', 'm/b'])
    assert.deepEqual(await foundBy(shard, { key: 'a' }), ['m/a', 'mm/a', 'n/a', 'n/a~x', 'n/a~y'])
    assert.deepEqual(await foundBy(shard, { machine: 'n', key: 'a' }), ['n/a', 'n/a~x', 'n/a~y'])
    assert.deepEqual(await shard.store.find(1, { limit: 2 }), { actors: ['m/a', 'm/b'].map((address) => ({ address, terms: [] })), through: 'm/b' })
    assert.deepEqual(await foundBy(shard, { after: 'm/b', limit: 2 }), ['mm/a', 'n/a'])
    assert.deepEqual(await foundBy(shard, { key: 'a', after: 'm/a', limit: 2 }), ['mm/a', 'n/a'])
    assert.deepEqual(await shard.store.find(1, { limit: 0 }), { actors: [] })
    assert.deepEqual(await shard.store.find(2, {}), { actors: [] })
  })

  add('actors are found by what the last commit that spoke of it says, with machine and key or without', async (database) => {
    const shard = await start(database)
    const created = (address: string, ...terms: string[]): Partial<Part> => ({ address, life: 'created', fields: new Map([['f', '1']]), terms })
    await shard.commit([created('m/a', '.on', '#hot'), created('m/b', '.on'), created('m/a~x', '.on', '.on.high', '#hot'), created('n/a', '.on'), created('n/b'), created('mm/a', '.off', '.o n\v0')])
    assert.deepEqual((await shard.store.find(1, { terms: ['.on'] })).actors, [
      { address: 'm/a', terms: ['.on', '#hot'] },
      { address: 'm/a~x', terms: ['.on', '.on.high', '#hot'] },
      { address: 'm/b', terms: ['.on'] },
      { address: 'n/a', terms: ['.on'] },
    ])
    assert.deepEqual(await foundBy(shard, { terms: ['.on', '#hot'] }), ['m/a', 'm/a~x'])
    assert.deepEqual(await foundBy(shard, { terms: ['#hot', '.on.high'] }), ['m/a~x'])
    assert.deepEqual(await foundBy(shard, { machine: 'n', terms: ['.on'] }), ['n/a'])
    assert.deepEqual(await foundBy(shard, { key: 'a', terms: ['.on'] }), ['m/a', 'm/a~x', 'n/a'])
    for (const terms of [['.o'], ['.on.hig'], ['on'], ['.on', '.off'], ['']]) assert.deepEqual(await foundBy(shard, { terms }), [])
    assert.deepEqual(await foundBy(shard, { terms: ['.o n\v0'] }), ['mm/a'])
    assert.deepEqual(await foundBy(shard, { terms: ['.on'] }, 2), [])
    // What is not spoken of stays; what is takes the place of all there was.
    await shard.commit([{ address: 'm/a', fields: new Map([['f', '2']]) }, { address: 'm/b', terms: ['.off', '.on'] }, { address: 'm/a~x', terms: [] }, { address: 'n/a', terms: ['.off'] }])
    assert.deepEqual(await foundBy(shard, { terms: ['.on'] }), ['m/a', 'm/b'])
    assert.deepEqual(await foundBy(shard, { terms: ['.off'] }), ['m/b', 'mm/a', 'n/a'])
    assert.deepEqual(await foundBy(shard, { terms: ['#hot'] }), ['m/a'])
    // Of two parts of one actor the later one counts.
    await shard.commit([{ address: 'n/b', terms: ['.x', '.y'] }, { address: 'n/b', terms: ['.y', '.z'] }])
    assert.deepEqual(await Promise.all(['.x', '.y', '.z'].map((term) => foundBy(shard, { terms: [term] }))), [[], ['n/b'], ['n/b']])
  })

  add('who pages through what is found looks at so many at a time, and misses nobody who fits all the while', async (database) => {
    const shard = await start(database)
    const name = (i: number): string => `m/${String(i).padStart(3, '0')}`
    await shard.commit(Array.from({ length: 25 }, (_, i) => ({ address: name(i), life: 'created' as const, fields: new Map([['f', '1']]), terms: i % 2 === 0 ? ['.a', '.in', '#even'] : ['.a', '.in'] })))
    for (const [terms, fitting] of [[['.in'], 25], [['.in', '#even'], 13], [['#even', '.in'], 13]] as const) {
      const found: string[] = []
      let pages = 0
      for (let after: string | undefined; ; pages++) {
        const page = await shard.store.find(1, { terms, limit: 4, ...(after === undefined ? {} : { after }) })
        assert.ok(page.actors.length <= 4)
        found.push(...page.actors.map(({ address }) => address))
        // All of them move from one state to another meanwhile.
        await shard.commit(Array.from({ length: 25 }, (_, i) => ({ address: name(i), terms: [pages % 2 === 0 ? '.b' : '.a', '.in', ...(i % 2 === 0 ? ['#even'] : [])] })))
        if (page.through === undefined) break
        after = page.through
      }
      assert.deepEqual(found, [...new Set(found)].sort())
      assert.equal(found.length, fitting)
      assert.equal(pages, terms[0] === '.in' ? 6 : 3)
    }
  })

  add('terms beyond the bounds are refused before anything is written', async (database) => {
    const shard = await start(database)
    for (const terms of [[''], ['x'.repeat(257)], ['a\nb'], Array.from({ length: 129 }, (_, i) => `.${i}`)]) {
      const result = await shard.store.commit(shard.commitOf([{ address: 'm/good', life: 'created', fields: new Map([['f', '1']]) }, { address: 'm/bad', life: 'created', terms }]))
      assert.ok(!result.ok)
      assert.deepEqual([result.why, result.address], ['refused', 'm/bad'])
    }
    const most = Array.from({ length: 128 }, (_, i) => `${i}${'ä'.repeat(256)}`.slice(0, 256))
    await shard.commit([{ address: `m/${'a'.repeat(900)}`, life: 'created', fields: new Map([['f', '1']]), terms: most }])
    assert.equal((await shard.store.find(1, { terms: most })).actors.length, 1)
  })

  add('an erased record leaves nothing behind', async (database) => {
    const shard = await start(database)
    await shard.commit([
      { life: 'created', fields: new Map([['f', '1']]), terms: ['.x'], park: ['p'], logs: [{ stream: 'm/a/own', text: 'l', max: 10 }] },
      { address: 'm/ab', life: 'created', fields: new Map([['f', '2']]), terms: ['.x'], logs: [{ stream: 'm/ab/own', text: 'l', max: 10 }] },
    ])
    // Whatever it was found by in the same commit.
    await shard.commit([{ life: 'erased', terms: ['.y'] }])
    assert.deepEqual(await shard.store.load(1, ['m/a']), [undefined])
    assert.deepEqual(await foundBy(shard, {}), ['m/ab'])
    assert.deepEqual([await foundBy(shard, { terms: ['.x'] }), await foundBy(shard, { terms: ['.y'] })], [['m/ab'], []])
    assert.deepEqual(await shard.store.log(1, 'm/a/own', 0, 10), [])
    assert.equal((await shard.store.log(1, 'm/ab/own', 0, 10)).length, 1)
    assert.deepEqual((await shard.store.recover(1)).parked, [])
    await shard.commit([{ life: 'created', fields: new Map([['g', '3']]) }])
    assert.deepEqual(await shard.fields('m/a'), { g: '3' })
    assert.deepEqual((await shard.store.find(1, {})).actors, [{ address: 'm/a', terms: [] }, { address: 'm/ab', terms: ['.x'] }])
  })

  add('those who watch a shard are told of commits of other connections', async (database) => {
    const shard = await start(database)
    const other = await open(database)
    let told = 0
    const stop = other.watch(1, () => told++)
    await shard.commit([{ life: 'created', fields: new Map([['f', '1']]) }])
    await eventually('a commit', () => told > 0)
    stop()
  })

  // ── Durability ──

  add('another connection reads what was acknowledged', async (database) => {
    const shard = await start(database)
    await shard.append(message('a'), message('b'))
    await shard.commit([{ life: 'created', handled: 1, fields: new Map([['f', '1']]), timers: new Map([['t', 9]]) }], { position: 1 })
    const other = await open(database)
    assert.deepEqual((await other.read(1, 0, 10, AbortSignal.abort())).map((e) => e.text), ['b'])
    const [record] = await other.load(1, ['m/a'])
    assert.deepEqual(record && Object.fromEntries(record.fields), { f: '1' })
    assert.equal(await other.nextTimer(1), 9)
  })

  // ── Moving ──

  if (options.moves ?? true) {
    const movable = async (database: ContractDatabase, more: Partial<OpenOptions> = {}): Promise<MovableStore> => {
      const store = await open(database, more)
      assert.ok(isMovable(store), 'the store is no MovableStore')
      return store
    }
    const sealed = async (store: MovableStore, shard = 1, move = 'move-1'): Promise<ShardState> => {
      const answer = await store.seal(shard, move, 'it is moved to X')
      assert.ok('state' in answer, `the shard is held: ${JSON.stringify(answer)}`)
      return answer.state
    }
    /** All that a shard holds, page by page; keyed, because most of it is in no order. */
    const itemsOf = async (store: MovableStore, shard = 1): Promise<string[]> => {
      const items: StoredItem[] = []
      for (let from = beginning; from !== ending; ) {
        const page = await store.export(shard, from)
        assert.equal(page.from, from)
        items.push(...page.items)
        from = page.next
      }
      return items.filter(({ kind }) => kind !== 'shard').map((item) => JSON.stringify(item.kind === 'record' ? { ...item, fields: [...item.fields].sort(([a], [b]) => (a < b ? -1 : 1)), terms: [...item.terms].sort() } : item)).sort()
    }
    const copy = async (from: MovableStore, to: MovableStore, shard = 1): Promise<void> => {
      for (let at = beginning; at !== ending; ) at = await to.import(shard, 'move-1', await from.export(shard, at))
    }
    /** A shard with something of every kind, and the same under another namespace to copy it to. */
    const full = async (database: ContractDatabase): Promise<{ readonly from: Shard; readonly source: MovableStore; readonly target: MovableStore }> => {
      const source = await movable(database)
      const from = await claim(database, source)
      const answer = { text: '{"value":1}', until: later }
      await from.append(message('a', { id: 'id-a' }), message('b', { to: 'm/b' }), message('c', { rememberUntil: undefined }))
      await source.deliver(1, 2, [{ number: 5, to: 1, entry: message('delivered', { to: 'm/x' }) }])
      await from.commit(
        [
          { life: 'created', terms: ['.on', '#ä'], handled: 1, fields: new Map([['f', '1'], ['c:ä\u0000', 'x'.repeat(100_000)]]), timers: new Map([['t1', 2.5], ['t2', 4_000_000_000_000]]), effects: new Map([['e1', 'one'], ['e2', '']]), actions: new Map([['z', 'first'], ['y', 'second']]) },
          { address: 'm/b', life: 'created', fields: new Map([['f', '2']]), entries: [message('out')], outbox: [{ number: 1, to: 2, entry: message('o1', { always: true }) }, { number: 2, to: 3, entry: message('o2', { rememberUntil: undefined }) }] },
          { address: 'm/c', park: ['p1', 'p2', 'p3'], replies: new Map([['q1', answer]]) },
        ],
        { position: 1, accepted: [{ id: 'own', until: later }], suspects: new Map([['m1', 2]]) },
      )
      await from.commit(
        [
          { timers: new Map<string, number | undefined>([['t2', undefined], ['t3', 7]]), actions: new Map([['a', 'third']]), logs: ['l1', 'l2', 'l3'].map((text) => ({ stream: 'm/a/own', text, max: 2 })) },
          { address: 'm/b', terms: ['.on'], logs: [{ stream: 'empty', text: 'gone', max: 10 }, ...[1, 2, 3, 4, 5].map((n) => ({ stream: 'dead', text: `{"dead":${n}}`, max: 10 }))] },
          { address: 'm/c', unpark: 1 },
        ],
        { position: 1, confirmed: ['y'], delivered: [{ to: 3, through: 2 }] },
      )
      await source.trim(1, 'empty', 1)
      // Holes, one of them in front and one at the end.
      assert.deepEqual(await source.redrive(1, [1, 3, 5].map((seq) => ({ seq, entry: message(`redriven ${seq}`) }))), ['redriven', 'redriven', 'redriven'])
      return { from, source, target: await movable(database, { namespace: 'n2' }) }
    }

    strictly('what a shard holds is as it was where it is copied to, and the runtime finds it by every way', async (database) => {
      const { from, source, target } = await full(database)
      await source.release(from.lease)
      const state = await sealed(source)
      await sealed(target)
      await copy(source, target)
      assert.deepEqual(await itemsOf(target), await itemsOf(source))
      assert.deepEqual(await sealed(target), state)
      const ways = async (store: Store): Promise<unknown> => {
        const { effects, parked, ...rest } = await store.recover(1)
        return [
          (await store.read(1, 0, 100, AbortSignal.abort())).map(({ seq, at, text }) => [seq, at, text]),
          (await store.load(1, ['m/a', 'm/b', 'm/c', 'm/d'])).map((record) => record && [Object.fromEntries(record.fields), record.parked]),
          [[...effects].sort(([a], [b]) => (a < b ? -1 : 1)), [...parked].sort(), rest],
          [await store.timers(1, later, 100), await store.nextTimer(1)],
          await Promise.all(['m/a/own', 'empty', 'dead'].map((stream) => store.log(1, stream, 0, 100))),
          [await store.reply(1, 'q1'), await store.parked(1, 'm/c', 10), await store.find(1, {}), await store.find(1, { key: 'b' }), await store.find(1, { terms: ['.on'], machine: 'm' }), await store.find(1, { terms: ['#ä'] })],
        ]
      }
      assert.deepEqual(await ways(target), await ways(source))
      // And it goes on from there.
      await target.unseal(1, 'move-1')
      const next = await claim(database, target, 1, 'node-2')
      assert.ok(next.lease.epoch > from.lease.epoch + 1, 'the epoch is not above the one it had')
      assert.deepEqual(next.state, state)
      assert.deepEqual(await target.append(1, [message('again', { id: 'id-a' }), message('again', { id: 'own' })]), ['duplicate', 'duplicate'])
      await target.deliver(1, 2, [{ number: 5, to: 1, entry: message('again') }])
      assert.deepEqual(await target.append(1, [message('next')]), [{ seq: state.tail + 1 }])
      await next.commit([{ handled: 1, actions: new Map([['b', 'fourth']]), timers: new Map([['t1', undefined]]), logs: ['m/a/own', 'empty', 'dead'].map((stream) => ({ stream, text: 'next', max: 10 })) }, { address: 'm/c', unpark: 1 }], { position: 2 })
      assert.deepEqual((await target.recover(1)).actions.map(([, text]) => text), ['first', 'third', 'fourth'])
      assert.deepEqual(await Promise.all(['m/a/own', 'empty', 'dead'].map(async (stream) => (await target.log(1, stream, 0, 10)).map(({ seq }) => seq))), [[2, 3, 4], [2], [2, 4, 6]])
      assert.deepEqual([await target.parked(1, 'm/c', 10), (await target.timers(1, later, 10)).map(({ member }) => member)], [['p3'], ['t3']])
      await next.commit([{ life: 'erased' }], { position: 2 })
      assert.deepEqual([await target.log(1, 'm/a/own', 0, 10), await target.find(1, {}), await target.find(1, { terms: ['#ä'] })], [[], { actors: [{ address: 'm/b', terms: ['.on'] }] }, { actors: [] }])
    })

    strictly('counts of backlogs are moved: an actor has no more room than it had', async (database) => {
      const source = await movable(database, { backlogMax: 2 })
      await source.append(1, [message('a'), message('b')])
      const target = await movable(database, { namespace: 'n2', backlogMax: 2 })
      await sealed(source)
      await sealed(target)
      await copy(source, target)
      await target.unseal(1, 'move-1')
      assert.deepEqual(await target.append(1, [message('c')]), ['full'])
    })

    strictly('it is known there whether the last owner here stopped cleanly', async (database) => {
      const target = await movable(database)
      await sealed(target)
      await target.import(1, 'move-1', { from: beginning, items: [{ kind: 'shard', number: 3, position: 2, tail: 2, clock: 5, clean: false, epoch: 9 }], next: ending })
      await target.unseal(1, 'move-1')
      const next = await claim(database, target)
      assert.deepEqual([next.state, next.lease.epoch], [{ number: 3, position: 2, tail: 2, clock: 5, clean: false }, 10])
    })

    add('what fills many pages is copied page by page, each once, wherever one begins again', async (database) => {
      const source = await movable(database)
      const from = await claim(database, source)
      const numbers = Array.from({ length: 600 }, (_, i) => i)
      const parts = numbers.map((i): Partial<Part> => ({ address: `m/${i}`, life: 'created', terms: [`.${i % 9}`], fields: new Map([['f', String(i)]]), timers: new Map([[`t${i}`, i % 50]]), effects: new Map([[`e${i}`, `${i}`]]), actions: new Map([[`a${i}`, `${i}`]]), replies: new Map([[`q${i}`, { text: `${i}`, until: later - (i % 7) }]]), logs: [{ stream: `s${i % 3}`, text: `${i}`, max: 10_000 }], park: i % 3 === 0 ? ['p', 'q'] : [], outbox: [{ number: i + 1, to: i % 4, entry: message(`o${i}`) }] }))
      await from.commit([...parts, { address: 'm/full', park: numbers.map((i) => `p${i}`), fields: new Map([['f', 'x'.repeat(2_000_000)]]), life: 'created' }])
      await from.append(...numbers.map((i) => message(`m${i}`, { to: `m/${i}` })))
      await source.release(from.lease)
      const target = await movable(database, { namespace: 'n2' })
      await sealed(source)
      await sealed(target)
      let pages = 0
      for (let at = beginning; at !== ending; pages++) {
        const page = await source.export(1, at)
        assert.ok(page.items.length < 10_000)
        const next = await target.import(1, 'move-1', page)
        assert.equal(next, page.next)
        // Once more, and one that does not follow.
        assert.equal(await target.import(1, 'move-1', page), next)
        if (next !== beginning) assert.equal(await target.import(1, 'move-1', await source.export(1, beginning)), next)
        at = next
      }
      assert.ok(pages > 2, `${pages} pages`)
      assert.deepEqual(await itemsOf(target), await itemsOf(source))
      const first = await source.export(1, beginning)
      // Until all is gone no page is taken.
      while (!(await target.clear(1, 'move-1'))) assert.equal(await target.import(1, 'move-1', first), clearing)
      assert.deepEqual(await itemsOf(target), [])
      await copy(source, target)
      assert.deepEqual(await itemsOf(target), await itemsOf(source))
    })

    add('a sealed shard is closed to all others, and its last owner is fenced', async (database) => {
      const [store, other] = [await movable(database), await open(database)]
      const one = await claim(database, store)
      await one.append(message('a'))
      await one.commit([{ life: 'created', fields: new Map([['f', '1']]), logs: [{ stream: 's', text: 'l', max: 10 }] }])
      await store.release(one.lease)
      const state = await sealed(store)
      assert.deepEqual([state.number, state.tail, state.clean], [1, 1, true])
      const refused = { code: 'MOVE', reason: 'moved', message: 'it is moved to X' }
      await assert.rejects(other.append(1, [message('b')]), refused)
      await assert.rejects(other.claim(1, database.node('node-2')), refused)
      await assert.rejects(other.deliver(1, 2, [{ number: 1, to: 1, entry: message('c') }]), refused)
      await assert.rejects(other.redrive(1, [{ seq: 1, entry: message('e') }]), refused)
      await other.trim(1, 's', 1)
      const late = await store.commit(one.commitOf([{ fields: new Map([['f', '2']]) }]))
      assert.equal(!late.ok && late.why, 'fenced')
      assert.equal(await store.renew(one.lease), undefined)
      assert.deepEqual([await one.entries(), await one.fields('m/a'), (await store.log(1, 's', 0, 10)).length], [['a'], { f: '1' }, 1])
      // Others are open.
      await other.append(2, [message('d')])
      await store.unseal(1, 'move-1')
      await other.append(1, [message('b')])
      const two = await claim(database, store, 1, 'node-2')
      assert.deepEqual([two.state.tail, two.state.clean], [2, true])
      await two.commit([{ fields: new Map([['f', '2']]) }])
    })

    add('a shard that somebody holds is not sealed', async (database) => {
      const store = await movable(database)
      const one = await claim(database, store)
      const held = await store.seal(1, 'move-1', 'why')
      assert.ok('heldBy' in held)
      assert.equal(held.heldBy.node, 'node-1')
      await store.renew(one.lease)
      assert.ok('heldBy' in (await store.seal(1, 'move-1', 'why', { seen: held.heldBy })), 'a moving counter was ignored')
      await one.commit([])
      if (!(options.takesOverByCounter ?? true)) return
      const still = await store.seal(1, 'move-1', 'why')
      assert.ok('heldBy' in still)
      const taken = await store.seal(1, 'move-1', 'why', { seen: still.heldBy })
      assert.ok('state' in taken, 'a counter that stood still was not taken over')
      // Its owner did not stop cleanly, and that is known to the next one.
      assert.equal(taken.state.clean, false)
      // Nor does it own the shard any more.
      await store.unseal(1, 'move-1')
      await claim(database, store, 1, 'node-3')
    })

    add('two moves do not get at one shard, and one that has let go of it does nothing more to it', async (database) => {
      const store = await movable(database)
      await sealed(store, 1, 'move-1')
      await sealed(store, 1, 'move-1')
      const over = { code: 'MOVE', reason: 'over' }
      const page = { from: beginning, items: [{ kind: 'suspect', id: 'm', attempts: 1 }], next: ending } as const
      await assert.rejects(store.seal(1, 'move-2', 'why'), over)
      await assert.rejects(store.import(1, 'move-2', page), over)
      await assert.rejects(store.clear(1, 'move-2'), over)
      await store.unseal(1, 'move-2')
      await assert.rejects(store.append(1, [message('a')]), { code: 'MOVE' })
      await store.unseal(1, 'move-1')
      await store.append(1, [message('a')])
      await assert.rejects(store.seal(1, 'move-1', 'why'), over)
      await assert.rejects(store.import(1, 'move-1', page), over)
      await assert.rejects(store.clear(1, 'move-1'), over)
      assert.deepEqual((await store.read(1, 0, 10, AbortSignal.abort())).map(({ text }) => text), ['a'])
      // Also one that let go before it had it.
      await store.unseal(2, 'move-1')
      await assert.rejects(store.seal(2, 'move-1', 'why'), over)
      await sealed(store, 1, 'move-3')
      // One that replaces another takes over what that had sealed, and only that.
      await assert.rejects(store.seal(1, 'move-4', 'why', { replaces: 'move-2' }), over)
      await store.seal(1, 'move-4', 'why', { replaces: 'move-3' })
      await store.unseal(1, 'move-3')
      await assert.rejects(store.append(1, [message('b')]), { code: 'MOVE', message: 'why' })
    })

    strictly('a marked namespace is opened by moves alone, and is halted', async (database) => {
      const store = await movable(database)
      const mark: MoveMark = { id: 'move-1', state: 'leaving', place: 'redis://there', shiftMs: 3 }
      assert.equal(await store.mark(undefined, mark), true)
      assert.equal(await store.mark(undefined, { ...mark, id: 'move-2' }), false)
      assert.equal(await store.mark({ ...mark, id: 'move-2' }, undefined), false)
      await assert.rejects(database.connect().open({ namespace: 'n' }), { code: 'MOVE', reason: 'unfinished', message: /redis:\/\/there/ })
      const mover = database.connect()
      await mover.open({ namespace: 'n', moving: 'from' })
      const presence = await mover.presence()
      assert.deepEqual([presence.mark, presence.accepted], [mark, 0])
      assert.match(presence.halted ?? '', /redis:\/\/there/)
      await store.halt('another reason', 9)
      assert.match((await store.presence()).halted ?? '', /redis:\/\/there/, 'the move says more than what halted it')
      await store.accept()
      assert.deepEqual((await store.presence()).mark, mark)
      assert.equal(await store.mark(mark, { ...mark, state: 'left' }), true)
      await assert.rejects(database.connect().open({ namespace: 'n' }), { code: 'MOVE', reason: 'moved' })
      // Others are not.
      await database.connect().open({ namespace: 'n2' })
      assert.equal(await store.mark({ ...mark, state: 'left' }, undefined, { incarnation: 'i-1', accepted: 7 }), true)
      assert.equal((await database.connect().open({ namespace: 'n' })).incarnation, 'i-1')
      const { accepted, halted, mark: none } = await store.presence()
      assert.deepEqual([accepted, halted, none], [7, undefined, undefined])
      await store.mark(undefined, mark)
      await store.mark(mark, undefined)
      assert.equal((await store.presence()).accepted, 8, 'it counts as accepted')
      assert.equal((await database.connect().open({ namespace: 'n' })).incarnation, 'i-1', 'it was lost with the mark')
    })

    add('a namespace is moved from where it is only', async (database) => {
      await assert.rejects(database.connect().open({ namespace: 'none', moving: 'from' }), { code: 'MOVE', reason: 'missing' })
      await database.connect().open({ namespace: 'n', moving: 'to', shards: 3 })
      assert.equal((await database.connect().open({ namespace: 'n', moving: 'from' })).shards, 3)
    })
  }

  return cases
}

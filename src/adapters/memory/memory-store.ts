/**
 * The store in memory: for tests and simulations, and the model that the other stores are checked against. Several
 * store objects may share one {@link MemoryDatabase}, as processes share a server; it outlives them all.
 */
import { randomUUID } from 'node:crypto'
import { ConfigError, MoveError } from '../../errors.js'
import { beginning, closedError, notSealedError, sealedError, whyClosed, type Cursor, type ItemPage, type MovableStore, type MoveMark, type NamespaceChanges, type Sealed, type SealOver } from '../../runtime/ports/moving.js'
import {
  deadOverflowMax,
  faultOf,
  isUnread,
  lostCommitsMax,
  overflowLetter,
  overflowOf,
  unreadDetail,
  type Appended,
  type Claim,
  type Commit,
  type CommitResult,
  type Entry,
  type FindQuery,
  type Found,
  type Holder,
  type Lease,
  type LogEntry,
  type NewEntry,
  type NodeIdentity,
  type NodePresence,
  type NodeSeen,
  type OpenOptions,
  type OutboxEntry,
  type Presence,
  type Recovery,
  type Redrive,
  type Redriven,
  type Reply,
  type ShardState,
  type Standing,
  type StoredRecord,
  type StoredTimer,
  type StoreInfo,
  type Watched,
} from '../../runtime/ports/store.js'
import { pageOf, put } from './items.js'

export interface MemoryStoreOptions {
  /** What several stores share. Default: a database of its own. */
  readonly database?: MemoryDatabase
  /** The store's time, ms. Default `Date.now`. */
  readonly now?: () => number
  /** Whether the process of a node still lives, where the caller knows: the shards of a dead one are free at once. */
  readonly isAlive?: (node: NodeIdentity) => boolean
}

/** All namespaces of one memory store. */
export class MemoryDatabase {
  readonly namespaces = new Map<string, MemoryNamespace>()
}

interface MemoryNamespace {
  incarnation: string
  readonly shards: readonly Shard[]
  readonly nodes: Map<string, { readonly node: NodeIdentity; readonly beat: number; readonly presence: NodeSeen['presence'] }>
  readonly nodeWatchers: Set<() => void>
  beats: number
  accepted: number
  halted: string | undefined
  mark: MoveMark | undefined
}

interface Stream {
  last: number
  readonly entries: LogEntry[]
}

/** What one shard holds. */
export class Shard {
  epoch = 0
  /** How often the namespace had been accepted when it was claimed. */
  accepted = 0
  owner: NodeIdentity | undefined
  beat = 0
  number = 0
  position = 0
  seq = 0
  clock = 0
  clean = true
  /** `to` is unknown, and empty, of what was moved here. */
  log: (Entry & { readonly to: string })[] = []
  readonly records = new Map<string, Map<string, string>>()
  /** What each actor is found by. */
  readonly terms = new Map<string, readonly string[]>()
  readonly parked = new Map<string, string[]>()
  readonly backlog = new Map<string, number>()
  readonly ids = new Map<string, number>()
  readonly timers = new Map<string, number>()
  readonly effects = new Map<string, string>()
  readonly actions = new Map<string, string>()
  readonly suspects = new Map<string, number>()
  readonly replies = new Map<string, Reply>()
  readonly outbox = new Map<number, OutboxEntry>()
  readonly delivered = new Map<number, number>()
  readonly streams = new Map<string, Stream>()
  readonly readers = new Set<() => void>()
  readonly watchers = new Set<() => void>()
  /** The move that has sealed it, and what it tells others; the one that has let go of it; how far it was filled. */
  sealed: { readonly move: string; readonly why: string } | undefined
  over: string | undefined
  imported: Cursor = beginning
  private sweptAt = 0

  get state(): ShardState {
    return { number: this.number, position: this.position, tail: this.seq, clock: this.clock, clean: this.clean }
  }

  /** V1. */
  mustBeOpen(): void {
    if (this.sealed) throw sealedError(this.sealed.why)
  }

  mustBeSealedBy(number: number, move: string): void {
    if (this.sealed?.move !== move) throw notSealedError(number, move, this.sealed?.move)
  }

  /** But for who may have it. */
  empty(): void {
    Object.assign(this, { number: 0, position: 0, seq: 0, clock: 0, clean: true, log: [], imported: beginning })
    for (const held of [this.records, this.terms, this.parked, this.backlog, this.ids, this.timers, this.effects, this.actions, this.suspects, this.replies, this.outbox, this.delivered, this.streams]) held.clear()
  }

  /** Of a store that went back in time the same epoch may be given twice. */
  isHeldBy({ epoch, node }: Lease): boolean {
    return this.epoch === epoch && this.owner?.id === node
  }

  /** Forgets ids and replies whose time has passed; now and then, because it looks at all. */
  sweep(now: number): void {
    if (now - this.sweptAt < 60_000) return
    this.sweptAt = now
    for (const [id, until] of this.ids) if (until <= now) this.ids.delete(id)
    for (const [id, reply] of this.replies) if (reply.until <= now) this.replies.delete(id)
  }
}

const memoryStanding: Standing = { durability: 'D0', warnings: [], refusals: [] }

export class MemoryStore implements MovableStore {
  private readonly database: MemoryDatabase
  private readonly time: () => number
  private readonly isAlive: ((node: NodeIdentity) => boolean) | undefined
  private namespace: MemoryNamespace | undefined
  private name = ''
  private backlogMax = 1_000
  private logMax = 100_000

  constructor(options: MemoryStoreOptions = {}) {
    this.database = options.database ?? new MemoryDatabase()
    this.time = options.now ?? Date.now
    this.isAlive = options.isAlive
  }

  open(options: OpenOptions): Promise<StoreInfo> {
    return settle(() => {
      const { namespaces } = this.database
      let namespace = namespaces.get(options.namespace)
      if (!namespace) {
        if (options.moving === 'from') throw new MoveError('missing', `There is no namespace "${options.namespace}" in this memory.`)
        namespace = { incarnation: randomUUID(), shards: Array.from({ length: options.shards ?? 16 }, () => new Shard()), nodes: new Map(), nodeWatchers: new Set(), beats: 0, accepted: 0, halted: undefined, mark: undefined }
        namespaces.set(options.namespace, namespace)
      }
      if (options.shards !== undefined && options.shards !== namespace.shards.length) {
        throw new ConfigError(`shards: namespace "${options.namespace}" has ${namespace.shards.length} shards, not ${options.shards}. The number is fixed when a namespace is created.`)
      }
      if (namespace.mark && options.moving === undefined) throw closedError(options.namespace, namespace.mark)
      this.name = options.namespace
      this.backlogMax = options.backlogMax ?? this.backlogMax
      this.logMax = options.logMax ?? this.logMax
      this.namespace = namespace
      return { ...memoryStanding, incarnation: namespace.incarnation, shards: namespace.shards.length }
    })
  }

  standing(): Promise<Standing> {
    return settle(() => (this.opened(), memoryStanding))
  }

  now(): Promise<number> {
    return Promise.resolve(this.time())
  }

  beat(node: NodeIdentity, as: NodePresence, silent: readonly NodeSeen[]): Promise<Presence> {
    return settle(() => {
      const namespace = this.opened()
      const { nodes, nodeWatchers } = namespace
      namespace.beats++
      for (const { id, beat, presence } of silent) {
        const kept = nodes.get(id)
        if (kept?.beat !== beat) continue
        if (presence === 'dead') nodes.delete(id)
        else nodes.set(id, { ...kept, presence: 'dead' })
      }
      const before = nodes.get(node.id)
      if (as === 'gone') nodes.delete(node.id)
      else nodes.set(node.id, { node, beat: (before?.beat ?? 0) + 1, presence: as })
      if ((before?.presence ?? 'gone') !== as) wake(nodeWatchers)
      return this.whoIsThere()
    })
  }

  presence(): Promise<Presence> {
    return settle(() => this.whoIsThere())
  }

  private whoIsThere(): Presence {
    const { nodes, beats, accepted, mark, halted: why } = this.opened()
    const halted = mark ? whyClosed(this.name, mark) : why
    return {
      nodes: [...nodes.values()].map(({ node, beat, presence }) => {
        const alive = this.isAlive?.(node)
        return { id: node.id, beat, presence, ...(alive === undefined ? {} : { alive }) }
      }),
      beats,
      accepted,
      ...(halted === undefined ? {} : { halted }),
      ...(mark ? { mark } : {}),
    }
  }

  halt(why: string, accepted: number): Promise<void> {
    return settle(() => {
      const namespace = this.opened()
      if (namespace.accepted > accepted) return
      namespace.halted = why
      wake(namespace.nodeWatchers)
    })
  }

  accept(): Promise<void> {
    return settle(() => {
      const namespace = this.opened()
      namespace.halted = undefined
      namespace.accepted++
      wake(namespace.nodeWatchers)
    })
  }

  claim(shard: number, node: NodeIdentity, seen?: Holder, accepted = 0): Promise<Claim> {
    return settle(() => {
      const s = this.shard(shard)
      s.mustBeOpen()
      const heldBy = s.owner?.id === node.id ? undefined : this.holderOf(s, seen)
      if (heldBy) return { heldBy }
      const stood = s.number
      if (accepted > s.accepted || (s.owner && s.owner.id !== node.id)) {
        s.accepted = Math.max(s.accepted, accepted)
        s.epoch += lostCommitsMax
        s.number += lostCommitsMax
      }
      s.epoch++
      s.beat++
      s.owner = node
      const { state } = s
      s.clean = false
      return { lease: { shard, epoch: s.epoch, node: node.id }, state: stood === s.number ? state : { ...state, stood } }
    })
  }

  /** Who cannot be overtaken. */
  private holderOf({ owner, beat }: Shard, seen: Holder | undefined): Holder | undefined {
    if (!owner) return undefined
    const alive = this.isAlive?.(owner)
    if (alive === false || (seen?.node === owner.id && seen.beat === beat)) return undefined
    return { node: owner.id, beat, ...(alive ? { alive } : {}) }
  }

  renew(lease: Lease): Promise<number | undefined> {
    return settle(() => {
      const s = this.shard(lease.shard)
      if (!s.isHeldBy(lease)) return undefined
      s.beat++
      return s.number
    })
  }

  release(lease: Lease): Promise<void> {
    return settle(() => {
      const s = this.shard(lease.shard)
      if (!s.isHeldBy(lease)) return
      s.owner = undefined
      s.clean = true
      wake(s.watchers)
    })
  }

  append(shard: number, entries: readonly NewEntry[]): Promise<readonly Appended[]> {
    return settle(() => {
      const s = this.shard(shard)
      s.mustBeOpen()
      const now = Math.max(this.time(), s.clock)
      const appended = entries.map((entry): Appended => {
        if ((s.ids.get(entry.id) ?? 0) > now) return 'duplicate'
        if (this.isFull(s, entry)) return 'full'
        return { seq: this.push(s, entry, now) }
      })
      wake(s.readers)
      return appended
    })
  }

  private isFull(s: Shard, { to, always }: Pick<NewEntry, 'to' | 'always'>, times = 1): boolean {
    if (always) return false
    return (s.backlog.get(to) ?? 0) >= times * this.backlogMax || s.log.length >= times * this.logMax
  }

  /** Takes a message that cannot be refused here: into the log, there as one to be refused, or as a dead letter. Whether it is there as it is. */
  private take(s: Shard, entry: NewEntry, at: number): boolean {
    const hasRoom = !this.isFull(s, entry)
    if (hasRoom) this.push(s, entry, at)
    else if (this.isFull(s, entry, 2)) this.appendTo(s, 'dead', overflowLetter(entry, at), deadOverflowMax)
    else this.push(s, overflowOf(entry), at)
    return hasRoom
  }

  private push(s: Shard, entry: NewEntry, at: number): number {
    if (entry.rememberUntil !== undefined) s.ids.set(entry.id, entry.rememberUntil)
    const seq = ++s.seq
    s.log.push({ seq, at, text: entry.text, to: entry.to })
    s.backlog.set(entry.to, (s.backlog.get(entry.to) ?? 0) + 1)
    return seq
  }

  read(shard: number, after: number, max: number, signal: AbortSignal): Promise<readonly Entry[]> {
    const s = this.shard(shard)
    const take = (): Entry[] => s.log.filter((entry) => entry.seq > after).slice(0, max)
    const there = take()
    if (there.length > 0 || signal.aborted) return Promise.resolve(there)
    return new Promise((resolve) => {
      const look = (): void => {
        const entries = take()
        if (entries.length === 0 && !signal.aborted) return
        s.readers.delete(look)
        signal.removeEventListener('abort', look)
        resolve(entries)
      }
      s.readers.add(look)
      signal.addEventListener('abort', look)
    })
  }

  commit(commit: Commit): Promise<CommitResult> {
    return settle(() => {
      const s = this.shard(commit.lease.shard)
      if (!s.isHeldBy(commit.lease)) return { ok: false, why: 'fenced', detail: `epoch ${commit.lease.epoch} has given way to ${s.epoch}` }
      if (commit.number <= s.number) return { ok: true, at: s.clock, tail: s.seq }
      if (commit.number !== s.number + 1) return { ok: false, why: 'gap', detail: `commit ${commit.number} does not follow ${s.number}` }
      if (commit.position > s.seq) return { ok: false, why: 'gap', detail: `the log ends at ${s.seq}, not at ${commit.position}` }
      const fault = faultOf(commit)
      if (fault) return { ok: false, why: 'refused', ...fault }
      if (commit.read && commit.position > s.position && isUnread(commit.read, s.log.find(({ seq }) => seq === commit.position))) return { ok: false, why: 'unread', detail: unreadDetail(commit.position) }
      s.number = commit.number
      s.position = commit.position
      s.beat++
      s.clock = Math.max(s.clock, commit.at, this.time())
      let appended = true
      for (const part of commit.parts) appended = this.apply(s, part) && appended
      for (const { id, until } of commit.accepted) s.ids.set(id, until)
      for (const id of commit.confirmed) s.actions.delete(id)
      for (const { to, through } of commit.delivered) {
        for (const [number, entry] of s.outbox) if (entry.to === to && number <= through) s.outbox.delete(number)
      }
      for (const [id, attempts] of commit.suspects) {
        if (attempts === undefined) s.suspects.delete(id)
        else s.suspects.set(id, attempts)
      }
      let trimmed = 0
      while (trimmed < s.log.length && s.log[trimmed]!.seq <= s.position) trimmed++
      if (trimmed > 0) s.log.splice(0, trimmed)
      s.sweep(s.clock)
      wake(s.readers)
      wake(s.watchers)
      return { ok: true, at: s.clock, tail: s.seq, ...(appended ? { appended } : {}) }
    })
  }

  /** Whether all its messages are in the log as they are. */
  private apply(s: Shard, part: Commit['parts'][number]): boolean {
    const { address } = part
    if (part.life === 'erased') {
      s.records.delete(address)
      s.terms.delete(address)
      s.parked.delete(address)
      for (const stream of s.streams.keys()) if (stream.startsWith(`${address}/`)) s.streams.delete(stream)
    } else if (part.fields.size > 0) {
      let record = s.records.get(address)
      if (!record) s.records.set(address, (record = new Map()))
      for (const [name, value] of part.fields) {
        if (value === undefined) record.delete(name)
        else record.set(name, value)
      }
    }
    if (part.terms && part.life !== 'erased') s.terms.set(address, part.terms)
    if (part.handled > 0) {
      const left = (s.backlog.get(address) ?? 0) - part.handled
      if (left > 0) s.backlog.set(address, left)
      else s.backlog.delete(address)
    }
    writeAll(s.timers, part.timers)
    writeAll(s.effects, part.effects)
    for (const [id, text] of part.actions) s.actions.set(id, text)
    let appended = true
    for (const entry of part.entries) appended = this.take(s, entry, s.clock) && appended
    for (const entry of part.outbox) s.outbox.set(entry.number, entry)
    for (const [id, reply] of part.replies) s.replies.set(id, reply)
    for (const { stream, text, max } of part.logs) this.appendTo(s, stream, text, max)
    if (part.unpark > 0 || part.park.length > 0) {
      const parked = [...(s.parked.get(address) ?? []).slice(part.unpark), ...part.park]
      if (parked.length > 0) s.parked.set(address, parked)
      else s.parked.delete(address)
    }
    return appended
  }

  private appendTo(s: Shard, stream: string, text: string, max: number): void {
    let log = s.streams.get(stream)
    if (!log) s.streams.set(stream, (log = { last: 0, entries: [] }))
    log.entries.push({ seq: ++log.last, text })
    if (log.entries.length > max) log.entries.splice(0, log.entries.length - max)
  }

  deliver(to: number, from: number, entries: readonly OutboxEntry[]): Promise<void> {
    return settle(() => {
      const s = this.shard(to)
      s.mustBeOpen()
      const now = Math.max(this.time(), s.clock)
      for (const { number, entry } of entries) {
        if (number <= (s.delivered.get(from) ?? 0)) continue
        s.delivered.set(from, number)
        this.take(s, entry, now)
      }
      wake(s.readers)
    })
  }

  redrive(shard: number, letters: readonly Redrive[]): Promise<readonly Redriven[]> {
    return settle(() => {
      const s = this.shard(shard)
      s.mustBeOpen()
      const now = Math.max(this.time(), s.clock)
      const dead = s.streams.get('dead')?.entries ?? []
      const redriven = letters.map(({ seq, entry }): Redriven => {
        const place = dead.findIndex((letter) => letter.seq === seq)
        if (place === -1) return 'gone'
        if (this.isFull(s, { to: entry.to })) return 'full'
        dead.splice(place, 1)
        this.push(s, entry, now)
        return 'redriven'
      })
      wake(s.readers)
      return redriven
    })
  }

  load(shard: number, addresses: readonly string[]): Promise<readonly (StoredRecord | undefined)[]> {
    return settle(() => {
      const s = this.shard(shard)
      return addresses.map((address) => {
        const fields = s.records.get(address)
        const parked = s.parked.get(address)?.length ?? 0
        return fields || parked > 0 ? { fields: new Map(fields), parked } : undefined
      })
    })
  }

  parked(shard: number, address: string, max: number): Promise<readonly string[]> {
    return settle(() => (this.shard(shard).parked.get(address) ?? []).slice(0, max))
  }

  recover(shard: number): Promise<Recovery> {
    return settle(() => {
      const s = this.shard(shard)
      return {
        effects: [...s.effects].filter(([id]) => !s.ids.has(id)),
        actions: [...s.actions],
        outbox: [...s.outbox.values()].sort((a, b) => a.number - b.number),
        parked: [...s.parked.keys()],
        suspects: [...s.suspects],
      }
    })
  }

  timers(shard: number, until: number, max: number): Promise<readonly StoredTimer[]> {
    return settle(() => {
      const due: StoredTimer[] = []
      for (const [member, dueAt] of this.shard(shard).timers) if (dueAt <= until) due.push({ member, dueAt })
      return due.sort((a, b) => a.dueAt - b.dueAt || (a.member < b.member ? -1 : 1)).slice(0, max)
    })
  }

  nextTimer(shard: number): Promise<number | undefined> {
    return settle(() => {
      let next: number | undefined
      for (const dueAt of this.shard(shard).timers.values()) if (next === undefined || dueAt < next) next = dueAt
      return next
    })
  }

  log(shard: number, stream: string, after: number, max: number): Promise<readonly LogEntry[]> {
    return settle(() => (this.shard(shard).streams.get(stream)?.entries ?? []).filter((entry) => entry.seq > after).slice(0, max))
  }

  trim(shard: number, stream: string, through: number): Promise<void> {
    return settle(() => {
      const s = this.shard(shard)
      if (s.sealed) return
      const entries = s.streams.get(stream)?.entries
      while (entries?.[0] && entries[0].seq <= through) entries.shift()
    })
  }

  reply(shard: number, id: string): Promise<string | undefined> {
    return settle(() => this.shard(shard).replies.get(id)?.text)
  }

  find(shard: number, { machine, key, terms = [], after, limit = 1_000 }: FindQuery): Promise<Found> {
    return settle(() => {
      if (limit < 1) return { actors: [] }
      const s = this.shard(shard)
      const termsOf = (address: string): readonly string[] => s.terms.get(address) ?? []
      const looked = [...s.records.keys()]
        .filter((address) => (machine === undefined || address.startsWith(`${machine}/`)) && (key === undefined || hasKey(address, key)) && (after === undefined || address > after))
        .filter((address) => key !== undefined || terms[0] === undefined || termsOf(address).includes(terms[0]))
        .sort()
        .slice(0, limit)
      const actors = looked.filter((address) => terms.every((term) => termsOf(address).includes(term))).map((address) => ({ address, terms: termsOf(address) }))
      return { actors, ...(looked.length < limit ? {} : { through: looked.at(-1)! }) }
    })
  }

  // ── Moving ──

  mark(expected: MoveMark | undefined, next: MoveMark | undefined, { incarnation, accepted = 0 }: NamespaceChanges = {}): Promise<boolean> {
    return settle(() => {
      const namespace = this.opened()
      if (namespace.mark?.id !== expected?.id || namespace.mark?.state !== expected?.state) return false
      namespace.mark = next
      namespace.incarnation = incarnation ?? namespace.incarnation
      namespace.accepted = Math.max(namespace.accepted + (next ? 0 : 1), accepted)
      wake(namespace.nodeWatchers)
      return true
    })
  }

  seal(shard: number, move: string, why: string, { seen, replaces }: SealOver = {}): Promise<Sealed> {
    return settle(() => {
      const s = this.shard(shard)
      const { sealed } = s
      if (s.over === move || (sealed && sealed.move !== move && sealed.move !== replaces)) throw notSealedError(shard, move, sealed?.move)
      if (sealed?.move === move) return { state: s.state }
      const heldBy = sealed ? undefined : this.holderOf(s, seen)
      if (heldBy) return { heldBy }
      s.epoch++
      s.owner = undefined
      s.imported = beginning
      s.sealed = { move, why }
      return { state: s.state }
    })
  }

  unseal(shard: number, move: string): Promise<void> {
    return settle(() => {
      const s = this.shard(shard)
      if (s.sealed && s.sealed.move !== move) return
      s.sealed = undefined
      s.over = move
      s.imported = beginning
    })
  }

  export(shard: number, from: Cursor): Promise<ItemPage> {
    return settle(() => pageOf(this.shard(shard), from))
  }

  import(shard: number, move: string, page: ItemPage): Promise<Cursor> {
    return settle(() => {
      const s = this.shard(shard)
      s.mustBeSealedBy(shard, move)
      if (page.from !== s.imported) return s.imported
      for (const item of page.items) put(s, item)
      return (s.imported = page.next)
    })
  }

  clear(shard: number, move: string): Promise<boolean> {
    return settle(() => {
      const s = this.shard(shard)
      s.mustBeSealedBy(shard, move)
      s.empty()
      return true
    })
  }

  watch(what: Watched, onChange: () => void): () => void {
    if (what === 'standing') return () => {}
    const watchers = what === 'nodes' ? this.opened().nodeWatchers : this.shard(what).watchers
    watchers.add(onChange)
    return () => void watchers.delete(onChange)
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  private opened(): MemoryNamespace {
    if (!this.namespace) throw new ConfigError('The store is not open. Open it first.')
    return this.namespace
  }

  private shard(shard: number): Shard {
    const found = this.namespace?.shards[shard]
    if (!found) throw new ConfigError(`shard ${shard}: open the store first, and use a shard below its number of shards.`)
    return found
  }
}

/** Runs at once, as a script on a server would, and answers later. */
function settle<T>(run: () => T): Promise<T> {
  try {
    return Promise.resolve(run())
  } catch (error) {
    return Promise.reject(error as Error)
  }
}

function writeAll<T>(target: Map<string, T>, changes: ReadonlyMap<string, T | undefined>): void {
  for (const [name, value] of changes) {
    if (value === undefined) target.delete(name)
    else target.set(name, value)
  }
}

function wake(callbacks: Set<() => void>): void {
  for (const callback of [...callbacks]) callback()
}

function hasKey(address: string, key: string): boolean {
  const rest = address.slice(address.indexOf('/') + 1)
  return rest === key || rest.startsWith(`${key}~`)
}

/**
 * The store in LMDB: a folder on this host, for any number of processes on it. No server, and what was acknowledged is
 * on disk (D2). Not for network file systems. See `keys.ts` for what stands where.
 *
 * Several processes may have the folder open. One owns a shard as long as it lives, whatever its counter says; of a
 * dead one the shards are free at once.
 *
 * The data file grows as needed and does not shrink; room that becomes free in it is used again. LMDB has no bound of
 * its own for it: when the disk is full a write fails and leaves everything as it was.
 */
import { randomUUID } from 'node:crypto'
import { ConfigError, MoveError, StoreError } from '../../errors.js'
import { closedError, whyClosed, type Cursor, type ItemPage, type MovableStore, type MoveMark, type NamespaceChanges, type Sealed, type SealOver } from '../../runtime/ports/moving.js'
import {
  faultOf,
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
  type StoredRecord,
  type Standing,
  type StoredTimer,
  type StoreInfo,
  type Watched,
} from '../../runtime/ports/store.js'
import type { Draft } from './draft.js'
import { Environment } from './environment.js'
import { limitError } from './failures.js'
import { allKeys, folderKey, haltKeyOf, namespaceKey, Refusal, ShardKeys, type Key } from './keys.js'
import type { Folder } from './folder.js'
import { isNodeAlive, processIdentity } from './process-identity.js'
import { ShardDraft, type Bounds } from './shard-draft.js'
import { decodeHead, readHead } from './shard-head.js'
import { readPage } from './shard-items.js'
import { findRecords, readLog, readParked, readRecord, readRecovery, readStreamEntries, readTimers } from './shard-reads.js'
import type { Reader } from './tree.js'
import { decodeTimed } from './values.js'

export interface LmdbStoreOptions {
  /**
   * Address space to reserve for the data file, bytes, 1 MiB to 1 TiB: no limit, only what LMDB can map without moving.
   * Not used where the address space of the process is limited. The first store of a process on a folder decides.
   * Default 64 GiB.
   */
  readonly mapSize?: number
  /**
   * How long a write may take, ms, 1 to 2,147,483,647, before it fails with a StoreError. The first store of a process
   * on a folder decides. Default 30,000.
   */
  readonly writeTimeoutMs?: number
  /**
   * Records this process with each claim whose node does not name one, so that other processes know whether the owner
   * lives. Without it they go by its counter alone. Default true.
   */
  readonly identify?: boolean
}

/** Number of the stored format. A higher one in the folder is refused. */
const formatVersion = 1
const shardsDefault = 16
const namespacesMax = 65_535
const namespacePattern = /^[A-Za-z0-9._:-]{1,256}$/

function checkBounds(name: string, value: number, min: number, max: number): void {
  if (!Number.isSafeInteger(value) || value < min || value > max) throw new ConfigError(`${name}: expected a whole number from ${min} to ${max}, got ${value}.`)
}

/** What the folder stands on does not change while it is open. */
function standingOf({ path, medium }: Folder): Standing {
  return {
    durability: medium === 'disk' ? 'D2' : 'D0',
    warnings: medium === 'memory' ? [`${path} is in memory: everything is lost when the host stops. Give lmdbStore a folder on a disk.`] : [],
    refusals: medium === 'network' ? [`${path} is on a network file system, where LMDB's locks and mapped pages are not safe: data will be lost. Give lmdbStore a folder on a disk of this host.`] : [],
  }
}

interface Namespace {
  readonly number: number
  readonly incarnation: string
  readonly shards: number
}

interface Opened {
  readonly environment: Environment
  readonly namespace: string
  readonly haltKey: Key
  readonly keys: readonly ShardKeys[]
  readonly bounds: Bounds
}

export class LmdbStore implements MovableStore {
  private readonly path: string
  private readonly options: Required<LmdbStoreOptions>
  private opened: Opened | undefined
  /** Counts calls of `open` and `close`: the last one decides. */
  private turn = 0
  /** Ends what waits on this store. */
  private readonly waits = new Set<() => void>()

  /**
   * @param path a folder; it is created if it does not exist
   * @throws ConfigError for an empty path, which would be the folder of the process, and for options out of bounds
   */
  constructor(path: string, options: LmdbStoreOptions = {}) {
    if (typeof path !== 'string' || path === '') throw new ConfigError(`lmdbStore: expected the path of a folder, got ${JSON.stringify(path)}.`)
    this.path = path
    const { mapSize = 64 * 2 ** 30, writeTimeoutMs = 30_000, identify = true } = options
    checkBounds('mapSize', mapSize, 2 ** 20, 2 ** 40)
    checkBounds('writeTimeoutMs', writeTimeoutMs, 1, 2 ** 31 - 1)
    this.options = { mapSize, writeTimeoutMs, identify }
  }

  /** @throws ConfigError if the folder cannot be used, is damaged or loses data, or was made with another number of shards */
  async open(options: OpenOptions): Promise<StoreInfo> {
    const { shards } = options
    if (shards !== undefined) checkBounds('shards', shards, 1, 1_024)
    if (!namespacePattern.test(options.namespace)) throw new ConfigError(`namespace: ${JSON.stringify(options.namespace).slice(0, 80)} is not allowed. Use 1 to 256 of A-Z a-z 0-9 . _ : -`)
    const closed = this.close()
    const { turn } = this
    await closed
    const environment = await Environment.enter(this.path, this.options)
    try {
      const { path } = environment.folder
      const namespace = await environment.write((draft) => enterNamespace(draft, path, options))
      if (turn !== this.turn) throw new StoreError(`lmdb at ${path}: the store was closed or opened again while it was being opened.`, 'failed')
      this.opened = {
        environment,
        namespace: options.namespace,
        haltKey: haltKeyOf(options.namespace),
        keys: Array.from({ length: namespace.shards }, (_, shard) => new ShardKeys(namespace.number, shard)),
        bounds: { backlogMax: options.backlogMax ?? 1_000, logMax: options.logMax ?? 100_000 },
      }
      return { ...standingOf(environment.folder), incarnation: namespace.incarnation, shards: namespace.shards }
    } catch (error) {
      await environment.leave()
      throw error
    }
  }

  async standing(): Promise<Standing> {
    return standingOf(this.at(0).environment.folder)
  }

  now(): Promise<number> {
    return Promise.resolve(Date.now())
  }

  /** One process owns all shards, as long as it lives: on one host nobody else needs to go on for it. Whoever has the first has them all. */
  beat(node: NodeIdentity, as: NodePresence): Promise<Presence> {
    return this.whoIsThere(as === 'gone' ? [] : [{ id: node.id, beat: 0, presence: as, alive: true }], node.id)
  }

  presence(): Promise<Presence> {
    return this.whoIsThere([])
  }

  /** @param own who is there if nobody owns the shards, or the asker does */
  private async whoIsThere(own: readonly NodeSeen[], asker?: string): Promise<Presence> {
    const { environment, namespace, keys, haltKey } = this.at(0)
    return environment.read((reader) => {
      const { owner, beat } = readHead(reader, keys.head)
      const { accepted, mark, halted: why } = decodeHalt(reader.get(haltKey))
      const halted = mark ? whyClosed(namespace, mark) : why
      const alive = owner && owner.id !== asker ? isNodeAlive(owner) : false
      const nodes: readonly NodeSeen[] = !owner || alive === false ? own : [{ id: owner.id, beat, presence: 'here', ...(alive ? { alive } : {}) }]
      return { nodes, beats: 0, accepted, ...(halted === undefined ? {} : { halted }), ...(mark ? { mark } : {}) }
    })
  }

  halt(why: string, accepted: number): Promise<void> {
    return this.tellState((state) => (state.accepted > accepted ? state : { ...state, halted: why }))
  }

  accept(): Promise<void> {
    return this.tellState(({ halted: _, accepted, ...state }) => ({ ...state, accepted: accepted + 1 }))
  }

  private async tellState(change: (state: HaltState) => HaltState): Promise<void> {
    const { environment, haltKey } = this.at(0)
    await environment.write((draft) => draft.put(haltKey, JSON.stringify(change(decodeHalt(draft.get(haltKey))))))
  }

  claim(shard: number, node: NodeIdentity, seen?: Holder, accepted = 0): Promise<Claim> {
    const known = node.process || !this.options.identify ? node : { id: node.id, process: processIdentity() }
    return this.write(shard, (draft) => draft.claim(shard, known, seen, accepted))
  }

  renew(lease: Lease): Promise<number | undefined> {
    return this.write(lease.shard, (draft) => draft.renew(lease))
  }

  release(lease: Lease): Promise<void> {
    return this.write(lease.shard, (draft) => draft.release(lease))
  }

  /** @throws LimitError if an id or an address is longer than LMDB's keys allow */
  append(shard: number, entries: readonly NewEntry[]): Promise<readonly Appended[]> {
    return this.write(shard, (draft) => draft.append(entries))
  }

  commit(commit: Commit): Promise<CommitResult> {
    const fault = faultOf(commit)
    return this.write(commit.lease.shard, (draft) => draft.commit(commit, fault))
  }

  deliver(to: number, from: number, entries: readonly OutboxEntry[]): Promise<void> {
    return this.write(to, (draft) => draft.deliver(from, entries))
  }

  redrive(shard: number, letters: readonly Redrive[]): Promise<readonly Redriven[]> {
    return this.write(shard, (draft) => draft.redrive(letters))
  }

  // ── Moving ──

  mark(expected: MoveMark | undefined, next: MoveMark | undefined, { incarnation, accepted = 0 }: NamespaceChanges = {}): Promise<boolean> {
    const { environment, namespace, haltKey } = this.at(0)
    return environment.write((draft) => {
      const { mark, ...state } = decodeHalt(draft.get(haltKey))
      if (mark?.id !== expected?.id || mark?.state !== expected?.state) return false
      draft.put(haltKey, JSON.stringify({ ...state, accepted: Math.max(state.accepted + (next ? 0 : 1), accepted), ...(next ? { mark: next } : {}) } satisfies HaltState))
      const key = namespaceKey(namespace)
      if (incarnation !== undefined) draft.put(key, JSON.stringify({ ...(JSON.parse(draft.get(key)!) as Namespace), incarnation }))
      return true
    })
  }

  seal(shard: number, move: string, why: string, over: SealOver = {}): Promise<Sealed> {
    return this.write(shard, (draft) => draft.seal(shard, move, why, over))
  }

  unseal(shard: number, move: string): Promise<void> {
    return this.write(shard, (draft) => draft.unseal(move))
  }

  export(shard: number, from: Cursor): Promise<ItemPage> {
    return this.look(shard, (reader, keys) => readPage(reader, keys, from))
  }

  /** @throws LimitError if an id or an address is longer than LMDB's keys allow */
  import(shard: number, move: string, page: ItemPage): Promise<Cursor> {
    return this.write(shard, (draft) => draft.import(shard, move, page))
  }

  clear(shard: number, move: string): Promise<boolean> {
    return this.write(shard, (draft) => draft.clear(shard, move))
  }

  // ── Looking ──

  async trim(shard: number, stream: string, through: number): Promise<void> {
    for (let isDone = false; !isDone; ) isDone = await this.write(shard, (draft) => draft.trim(stream, through))
  }

  async read(shard: number, after: number, max: number, signal: AbortSignal): Promise<readonly Entry[]> {
    const { environment, keys } = this.at(shard)
    const take = (): Entry[] => environment.read((reader) => readLog(reader, keys, after, max))
    const there = take()
    if (there.length > 0 || max <= 0 || signal.aborted) return there
    return new Promise((resolve, reject) => {
      const stop = (): void => {
        stopListening()
        signal.removeEventListener('abort', answer)
        this.waits.delete(leave)
      }
      const answer = (): void => {
        try {
          const entries = take()
          if (entries.length === 0 && !signal.aborted) return
          resolve(entries)
        } catch (error) {
          reject(error as Error)
        }
        stop()
      }
      const leave = (): void => {
        stop()
        resolve([])
      }
      const stopListening = environment.watcher.listen(keys.head, (head) => {
        if (decodeHead(head).tail > after) answer()
      })
      signal.addEventListener('abort', answer)
      this.waits.add(leave)
      // Another process may have appended since the first look.
      answer()
    })
  }

  load(shard: number, addresses: readonly string[]): Promise<readonly (StoredRecord | undefined)[]> {
    return this.look(shard, (reader, keys) => addresses.map((address) => readRecord(reader, keys, address)))
  }

  parked(shard: number, address: string, max: number): Promise<readonly string[]> {
    return this.look(shard, (reader, keys) => readParked(reader, keys, address, max))
  }

  recover(shard: number): Promise<Recovery> {
    return this.look(shard, readRecovery)
  }

  timers(shard: number, until: number, max: number): Promise<readonly StoredTimer[]> {
    return this.look(shard, (reader, keys) => readTimers(reader, keys, until, max))
  }

  nextTimer(shard: number): Promise<number | undefined> {
    return this.look(shard, (reader, keys) => readTimers(reader, keys, Number.POSITIVE_INFINITY, 1)[0]?.dueAt)
  }

  log(shard: number, stream: string, after: number, max: number): Promise<readonly LogEntry[]> {
    return this.look(shard, (reader, keys) => readStreamEntries(reader, keys, stream, after, max))
  }

  reply(shard: number, id: string): Promise<string | undefined> {
    return this.look(shard, (reader, keys) => {
      const value = reader.get(keys.reply(id))
      return value === undefined ? undefined : decodeTimed(value).text
    })
  }

  find(shard: number, query: FindQuery): Promise<Found> {
    return this.look(shard, (reader, keys) => findRecords(reader, keys, query))
  }

  watch(what: Watched, onChange: () => void): () => void {
    if (what === 'standing') return () => {}
    const { environment, keys } = this.at(what === 'nodes' ? 0 : what)
    let seen = environment.read((reader) => decodeHead(reader.get(keys.head)))
    const stopListening = environment.watcher.listen(keys.head, (head) => {
      const before = seen
      seen = decodeHead(head)
      const isReleased = seen.owner === undefined && before.owner !== undefined
      // Appends and heartbeats change no record.
      if (isReleased || (what === 'nodes' ? seen.owner?.id !== before.owner?.id : seen.number !== before.number)) onChange()
    })
    const stop = (): void => {
      stopListening()
      this.waits.delete(stop)
    }
    this.waits.add(stop)
    return stop
  }

  /** Answers those who wait, and resolves when what was written is on disk and the folder is closed. */
  async close(): Promise<void> {
    const { opened } = this
    this.opened = undefined
    this.turn++
    for (const stop of this.waits) stop()
    await opened?.environment.leave()
  }

  private at(shard: number): Omit<Opened, 'keys'> & { keys: ShardKeys } {
    const { opened } = this
    if (!opened) throw new StoreError(`lmdb at ${this.path}: the store is not open.`, 'failed')
    const keys = opened.keys[shard]
    if (!keys) throw new ConfigError(`shard ${shard}: this namespace has the shards 0 to ${opened.keys.length - 1}.`)
    return { ...opened, keys }
  }

  private async write<T>(shard: number, change: (draft: ShardDraft) => T): Promise<T> {
    const { environment, keys, bounds } = this.at(shard)
    try {
      return await environment.write((draft) => change(new ShardDraft(draft, keys, bounds, Date.now())))
    } catch (error) {
      throw error instanceof Refusal ? limitError(`shard ${shard}`, error) : error
    } finally {
      environment.watcher.changed(keys.head)
    }
  }

  private async look<T>(shard: number, read: (reader: Reader, keys: ShardKeys) => T): Promise<T> {
    const { environment, keys } = this.at(shard)
    return environment.read((reader) => read(reader, keys))
  }
}

interface HaltState {
  readonly halted?: string
  readonly accepted: number
  readonly mark?: MoveMark
}

function decodeHalt(text: string | undefined): HaltState {
  return text === undefined ? { accepted: 0 } : (JSON.parse(text) as HaltState)
}

/** Finds the namespace or drafts a new one. */
function enterNamespace(draft: Draft, path: string, { namespace: name, shards, moving }: OpenOptions): Namespace {
  const text = draft.get(folderKey)
  if (text === undefined && [...draft.keys(allKeys, 1)].length > 0) throw new ConfigError(`lmdb: ${path} holds another program's database. Give lmdbStore a folder of its own.`)
  const folder = text === undefined ? { format: formatVersion, namespaces: 0 } : (JSON.parse(text) as { format: number; namespaces: number })
  if (folder.format > formatVersion) throw new ConfigError(`lmdb: ${path} was written in format ${folder.format} by a newer version, this one reads up to ${formatVersion}. Update this process.`)
  const stored = draft.get(namespaceKey(name))
  if (stored !== undefined) {
    const namespace = JSON.parse(stored) as Namespace
    const { mark } = decodeHalt(draft.get(haltKeyOf(name)))
    if (mark && moving === undefined) throw closedError(name, mark)
    if (shards === undefined || shards === namespace.shards) return namespace
    throw new ConfigError(`shards: namespace "${name}" has ${namespace.shards} shards, not ${shards}. The number is fixed when a namespace is created.`)
  }
  if (moving === 'from') throw new MoveError('missing', `There is no namespace "${name}" at ${path}. Look at how it is spelled.`)
  const number = folder.namespaces + 1
  if (number > namespacesMax) throw new ConfigError(`lmdb: ${path} holds ${folder.namespaces} namespaces and has no room for another. Use another folder.`)
  const namespace: Namespace = { number, incarnation: randomUUID(), shards: shards ?? shardsDefault }
  draft.put(folderKey, JSON.stringify({ ...folder, namespaces: number }))
  draft.put(namespaceKey(name), JSON.stringify(namespace))
  return namespace
}

/**
 * The store on Redis: Streams, hashes and sorted sets, and one script call a commit. keys.ts has the layout of the
 * data, commit.lua the commit; connection.ts says how a lost answer is told from a failure.
 */
import type { RedisOptions } from 'ioredis'
import { unpack } from 'msgpackr'
import { ConfigError, StoreError } from '../../errors.js'
import { beginning, clearing, notSealedError, whyClosed, type Cursor, type ItemPage, type MovableStore, type MoveMark, type NamespaceChanges, type Sealed, type SealOver } from '../../runtime/ports/moving.js'
import {
  faultOf,
  lostCommitsMax,
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
  type StoredRecord,
  type Standing,
  type StoredTimer,
  type StoreInfo,
  type Watched,
} from '../../runtime/ports/store.js'
import { decodeInOrder, decodeOutboxEntry, encodeCommit, mailboxArgs, termArg } from './commit-encoding.js'
import type { Place } from './cluster.js'
import { parseTarget, type Command, type Target } from './connection.js'
import { checkPrefix, dataFormat, fromKeyMember, type ShardKeys } from './keys.js'
import { decodeStreamItem, type StreamItem } from './log-items.js'
import { scripts, type Script } from './scripts.js'
import { Session } from './session.js'
import { commandsOf, readPage, removalOf, type Filling } from './shard-items.js'

export interface RedisStoreOptions {
  /** What all keys begin with, 1 to 64 of `A-Z a-z 0-9 . _ : -`. Default `hf`. */
  readonly keyPrefix?: string
  /**
   * How long a command may take, ms, at least 1. One that takes longer is rejected with {@link StoreError} of outcome
   * `unknown`, and its connection is made anew. Default 5,000.
   */
  readonly commandDeadlineMs?: number
  /**
   * How many replicas must have a write before it counts as written, 0 to 10. With `appendfsync always` that is D3: docs/reliability.md
   * says what it promises. While fewer can be reached, writes wait. Give all processes of a namespace the same. Default 0.
   */
  readonly replicas?: number
}

const replicasMax = 10

const findDefault = 1_000
/** Ids asked for in one command. */
const idsMax = 1_000
/** Records read by one call, and bytes of them after which it ends: other commands wait for it. */
const loadMax = 1_000
const loadBytesMax = 1_048_576

/**
 * A {@link Store} on Redis of version 7.0 or newer: a single primary, with or without replicas and Sentinel, or a cluster.
 * Every method rejects with {@link StoreError} when the server cannot be reached or refuses: `failed` if it did nothing,
 * `unknown` if it may have done what was asked.
 */
export class RedisStore implements MovableStore {
  private readonly target: Target
  private readonly prefix: string
  private readonly deadlineMs: number
  private readonly replicas: number
  private session: Session | undefined

  /**
   * @param target a `redis://`, `rediss://` or socket address, or the options of ioredis (for Sentinel, TLS …). Options
   *   that decide what is sent when, such as queues and retries, are the store's own and not taken from it.
   * @throws ConfigError for an address or option that cannot be used
   */
  constructor(target: string | RedisOptions, options: RedisStoreOptions = {}) {
    this.target = parseTarget(target)
    this.prefix = checkPrefix(options.keyPrefix ?? 'hf')
    this.deadlineMs = options.commandDeadlineMs ?? 5_000
    if (!Number.isFinite(this.deadlineMs) || this.deadlineMs < 1) throw new ConfigError(`commandDeadlineMs: expected at least 1 ms, got ${this.deadlineMs}.`)
    this.replicas = options.replicas ?? 0
    if (!(Number.isSafeInteger(this.replicas) && this.replicas >= 0 && this.replicas <= replicasMax)) throw new ConfigError(`replicas: expected a whole number from 0 to ${replicasMax}, got ${this.replicas}.`)
  }

  async open(options: OpenOptions): Promise<StoreInfo> {
    if (this.session && !this.session.closed) throw new ConfigError('The store is open already. Close it first, or make another one.')
    const session = (this.session = new Session(this.target, this.prefix, this.deadlineMs, this.replicas, options))
    try {
      await session.open()
    } catch (error) {
      await session.close()
      throw error
    }
    const { known, incarnation, shards } = session
    return { ...known, incarnation, shards }
  }

  async standing(): Promise<Standing> {
    return this.opened().standing()
  }

  /** Ends all connections. Reads that wait are answered with nothing, what is in flight is rejected. */
  async close(): Promise<void> {
    await this.session?.close()
  }

  async now(): Promise<number> {
    const [seconds, micros] = (await this.call('namespace', 'TIME')) as [string, string]
    return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000)
  }

  // ── Ownership ──

  async claim(shard: number, node: NodeIdentity, seen?: Holder, accepted = 0): Promise<Claim> {
    const { meta, log } = this.keysOf(shard)
    const reply = (await this.run(shard, scripts.claim, [meta, log], [node.id, seen?.node ?? '', seen === undefined ? '' : String(seen.beat), String(accepted), String(lostCommitsMax)])) as string[]
    if (reply[0] === 'held') return { heldBy: { node: reply[1]!, beat: Number(reply[2]) } }
    if (reply[0] === 'broken') {
      throw new StoreError(`The log of shard ${shard} ends at ${reply[1]}, its counter at ${reply[2]}: somebody removed ${meta}. Restore the data of this namespace.`, 'failed')
    }
    const [, epoch, number, position, tail, clock, clean, stood] = reply
    return {
      lease: { shard, epoch: Number(epoch), node: node.id },
      state: { number: Number(number), ...(stood === number ? {} : { stood: Number(stood) }), position: Number(position), tail: Number(tail), clock: Number(clock), clean: clean === '1' },
    }
  }

  async beat(node: NodeIdentity, as: NodePresence, silent: readonly NodeSeen[]): Promise<Presence> {
    const { nodes, state, channel } = this.opened().keys
    const args = [node.id, as, channel, ...silent.flatMap(({ id, beat, presence }) => [id, String(beat), presence])]
    return this.toPresence((await this.run('namespace', scripts.beat, [nodes, state], args)) as StoredPresence)
  }

  async presence(): Promise<Presence> {
    const { nodes, state } = this.opened().keys
    return this.toPresence((await this.all('namespace', [['HMGET', state, 'beats', 'accepted', 'halted', 'mark'], ['HGETALL', nodes]])) as unknown as StoredPresence)
  }

  private toPresence([[beats, accepted, halted, text], flat]: StoredPresence): Presence {
    const nodes = [...toMap(flat)].map(([id, kept]) => {
      const [beat, presence] = kept.split(' ') as [string, NodeSeen['presence']]
      return { id, beat: Number(beat), presence }
    })
    const mark = text === null ? undefined : (JSON.parse(text) as MoveMark)
    const why = mark ? whyClosed(this.opened().namespace, mark) : (halted ?? undefined)
    return { nodes, beats: Number(beats), accepted: Number(accepted), ...(why === undefined ? {} : { halted: why }), ...(mark ? { mark } : {}) }
  }

  halt(why: string, accepted: number): Promise<void> {
    return this.tellState(why, accepted)
  }

  accept(): Promise<void> {
    return this.tellState('', 0)
  }

  private async tellState(why: string, accepted: number): Promise<void> {
    const { keys, shards, incarnation } = this.opened()
    await this.run('namespace', scripts.halt, [keys.state, keys.settings], [why, String(accepted), keys.channel, String(shards), incarnation, dataFormat])
  }

  async renew(lease: Lease): Promise<number | undefined> {
    const number = await this.run(lease.shard, scripts.renew, [this.keysOf(lease.shard).meta], [String(lease.epoch), lease.node])
    return number === null ? undefined : Number(number)
  }

  async release(lease: Lease): Promise<void> {
    const { meta, channel } = this.keysOf(lease.shard)
    await this.run(lease.shard, scripts.release, [meta], [String(lease.epoch), lease.node, channel])
  }

  // ── The log ──

  async append(shard: number, entries: readonly NewEntry[]): Promise<readonly Appended[]> {
    const keys = this.keysOf(shard)
    if (entries.length === 0) return []
    const args = mailboxArgs(this.opened().bounds)
    for (const entry of entries) args.push(entry.id, entry.to, checkedTerm(entry), entry.text)
    const reply = (await this.run(shard, scripts.append, keys.mailbox, args)) as (number | 'duplicate' | 'full')[]
    return reply.map((appended) => (typeof appended === 'number' ? { seq: appended } : appended))
  }

  async deliver(to: number, from: number, entries: readonly OutboxEntry[]): Promise<void> {
    const keys = this.keysOf(to)
    if (entries.length === 0) return
    const args = [...mailboxArgs(this.opened().bounds), String(from)]
    for (const { number, entry } of entries) args.push(String(number), entry.id, entry.to, checkedTerm(entry), entry.text)
    await this.run(to, scripts.deliver, [...keys.mailbox, keys.delivered], args)
  }

  async redrive(shard: number, letters: readonly Redrive[]): Promise<readonly Redriven[]> {
    const keys = this.keysOf(shard)
    if (letters.length === 0) return []
    const args = mailboxArgs(this.opened().bounds)
    for (const { seq, entry } of letters) args.push(String(seq), entry.id, entry.to, checkedTerm(entry), entry.text)
    return (await this.run(shard, scripts.redrive, keys.mailbox, args)) as Redriven[]
  }

  async read(shard: number, after: number, max: number, signal: AbortSignal): Promise<readonly Entry[]> {
    this.keysOf(shard)
    return this.opened().read(shard, after, max, signal)
  }

  async commit(commit: Commit): Promise<CommitResult> {
    const keys = this.keysOf(commit.lease.shard)
    const fault = faultOf(commit)
    if (fault) return { ok: false, why: 'refused', ...fault }
    const encoded = encodeCommit(commit, keys, this.opened().bounds)
    const [what, first, second, appended] = (await this.run(commit.lease.shard, scripts.commit, encoded.keys, encoded.args, isGap)) as [string, string, string, 'appended'?]
    switch (what) {
      case 'ok':
        return { ok: true, at: Number(first), tail: Number(second), ...(appended ? { appended: true } : {}) }
      case 'fenced':
        return { ok: false, why: 'fenced', detail: `epoch ${commit.lease.epoch} has given way to ${first}` }
      case 'gap':
        return { ok: false, why: 'gap', detail: `commit ${commit.number} does not follow ${first}` }
      case 'unread':
        return { ok: false, why: 'unread', detail: unreadDetail(commit.position) }
      default:
        return { ok: false, why: 'refused', detail: second, ...(first === '' ? {} : { address: first }) }
    }
  }

  // ── Looking ──

  async load(shard: number, addresses: readonly string[]): Promise<readonly (StoredRecord | undefined)[]> {
    const keys = this.keysOf(shard)
    const loaded: (StoredRecord | undefined)[] = []
    while (loaded.length < addresses.length) {
      const page = addresses.slice(loaded.length, loaded.length + loadMax)
      const bytes = (await this.run(shard, scripts.load, [...page.map((address) => keys.record(address)), ...page.map((address) => keys.parked(address))], [String(loadBytesMax)])) as Buffer
      for (const flat of unpack(bytes) as (string | number)[][]) {
        const parked = flat.pop() as number
        const fields = toMap(flat as string[])
        loaded.push(fields.size > 0 || parked > 0 ? { fields, parked } : undefined)
      }
    }
    return loaded
  }

  async parked(shard: number, address: string, max: number): Promise<readonly string[]> {
    if (max < 1) return []
    return (await this.call(shard, 'LRANGE', this.keysOf(shard).parked(address), 0, max - 1)) as string[]
  }

  async recover(shard: number): Promise<Recovery> {
    const keys = this.keysOf(shard)
    const answers = await this.all(shard, [
      ['HGETALL', keys.effects],
      ['HGETALL', keys.actions],
      ['SMEMBERS', keys.outboxes],
      ['SMEMBERS', keys.parkedIndex],
      ['HGETALL', keys.suspects],
    ])
    const [begun, actions, targets, parked, suspects] = answers as string[][]
    const effects = decodeInOrder(begun!)
    // After the effects: an outcome that is appended meanwhile is in the log, and its effect must not run again.
    const accepted = await this.areAccepted(shard, keys, effects.map(([id]) => id))
    const outboxes = await this.all(shard, targets!.map((to) => ['ZRANGE', keys.outbox(Number(to)), 0, -1] as const))
    return {
      effects: effects.filter((_, i) => !accepted[i]),
      actions: decodeInOrder(actions!),
      outbox: targets!.flatMap((to, i) => (outboxes[i] as string[]).map((member) => decodeOutboxEntry(Number(to), member))).sort((a, b) => a.number - b.number),
      parked: parked!,
      suspects: [...toMap(suspects!)].map(([id, attempts]) => [id, Number(attempts)] as const),
    }
  }

  private async areAccepted(shard: number, keys: ShardKeys, ids: readonly string[]): Promise<readonly boolean[]> {
    const commands: Command[] = []
    for (let i = 0; i < ids.length; i += idsMax) commands.push(['ZMSCORE', keys.ids, ...ids.slice(i, i + idsMax)])
    const scores = (await this.all(shard, commands)) as (string | null)[][]
    return scores.flat().map((score) => score !== null)
  }

  async timers(shard: number, until: number, max: number): Promise<readonly StoredTimer[]> {
    if (max < 1) return []
    return toTimers(await this.call(shard, 'ZRANGEBYSCORE', this.keysOf(shard).timers, '-inf', until === Infinity ? '+inf' : until, 'WITHSCORES', 'LIMIT', 0, max))
  }

  async nextTimer(shard: number): Promise<number | undefined> {
    return toTimers(await this.call(shard, 'ZRANGE', this.keysOf(shard).timers, 0, 0, 'WITHSCORES'))[0]?.dueAt
  }

  async log(shard: number, stream: string, after: number, max: number): Promise<readonly LogEntry[]> {
    const key = this.keysOf(shard).stream(stream)
    if (max < 1) return []
    return ((await this.call(shard, 'XRANGE', key, `(0-${after}`, '+', 'COUNT', Math.min(max, Number.MAX_SAFE_INTEGER))) as StreamItem[]).map(decodeStreamItem)
  }

  async trim(shard: number, stream: string, through: number): Promise<void> {
    const keys = this.keysOf(shard)
    await this.run(shard, scripts.trim, [keys.meta, keys.stream(stream)], [String(through)])
  }

  async reply(shard: number, id: string): Promise<string | undefined> {
    return ((await this.call(shard, 'HGET', this.keysOf(shard).replies, id)) as string | null) ?? undefined
  }

  async find(shard: number, query: FindQuery): Promise<Found> {
    const keys = this.keysOf(shard)
    const { key, terms = [], limit = findDefault } = query
    if (limit < 1) return { actors: [] }
    const looked = key === undefined ? await this.inOrder(shard, keys, query, limit) : (await this.ofKey(shard, keys, key, query)).slice(0, limit)
    const texts = looked.length === 0 ? [] : ((await this.call(shard, 'HMGET', keys.termsOf, ...looked)) as (string | null)[])
    const actors = looked.map((address, i) => ({ address, terms: (texts[i] ?? '').split('\n').filter((term) => term !== '') }))
    // Also the first: it may have changed between the two answers.
    return { actors: actors.filter((actor) => terms.every((term) => actor.terms.includes(term))), ...(looked.length < limit ? {} : { through: looked.at(-1)! }) }
  }

  /** Addresses of a machine or all, of those that are found by the first term if there is one. */
  private async inOrder(shard: number, keys: ShardKeys, { machine, terms: [term] = [], after = '' }: FindQuery, limit: number): Promise<string[]> {
    const [set, prefix] = term === undefined ? [keys.index, ''] : [keys.terms, `${term}\n`]
    // '0' is the character after '/', and '\v' the one after a line break.
    const [from, to] = machine === undefined ? [prefix, term === undefined ? '+' : `(${term}\v`] : [`${prefix}${machine}/`, `(${prefix}${machine}0`]
    const above = after !== '' && `${prefix}${after}` >= from ? `(${prefix}${after}` : from === '' ? '-' : `[${from}`
    const members = (await this.call(shard, 'ZRANGEBYLEX', set, above, to, 'LIMIT', 0, limit)) as string[]
    return members.map((member) => member.slice(prefix.length))
  }

  /** The actor itself and its children, whatever they are found by: they are a handful. */
  private async ofKey(shard: number, { indexByKey }: ShardKeys, key: string, { machine, after = '' }: FindQuery): Promise<string[]> {
    // '\x7f' is the character after '~'.
    const answers = (await this.all(shard, [
      ['ZRANGEBYLEX', indexByKey, `[${key}/`, `(${key}0`],
      ['ZRANGEBYLEX', indexByKey, `[${key}~`, `(${key}\x7f`],
    ])) as string[][]
    const found = answers.flat().map(fromKeyMember)
    return found.filter((address) => (machine === undefined || address.startsWith(`${machine}/`)) && address > after).sort()
  }

  watch(what: Watched, onChange: () => void): () => void {
    if (what === 'standing') return this.opened().onPrepared(onChange)
    if (what !== 'nodes') this.keysOf(what)
    return this.opened().watcher.watch(what, onChange)
  }

  // ── Moving ──

  async mark(expected: MoveMark | undefined, next: MoveMark | undefined, { incarnation = '', accepted = 0 }: NamespaceChanges = {}): Promise<boolean> {
    const session = this.opened()
    const { state, settings, channel } = session.keys
    const args = [nameOf(expected), nameOf(next), next ? JSON.stringify(next) : '', String(accepted), incarnation, channel]
    if ((await this.run('namespace', scripts.mark, [state, settings], args)) !== 1) return false
    // A connection that is made anew must find the namespace that it knows.
    if (incarnation !== '') session.incarnation = incarnation
    return true
  }

  async seal(shard: number, move: string, why: string, { seen, replaces }: SealOver = {}): Promise<Sealed> {
    const reply = (await this.run(shard, scripts.seal, [this.keysOf(shard).meta], [move, why, seen?.node ?? '', seen === undefined ? '' : String(seen.beat), replaces ?? ''])) as string[]
    if (reply[0] === 'over') throw notSealedError(shard, move, reply[1] || undefined)
    if (reply[0] === 'held') return { heldBy: { node: reply[1]!, beat: Number(reply[2]) } }
    const [, number, position, tail, clock, clean] = reply
    return { state: { number: Number(number), position: Number(position), tail: Number(tail), clock: Number(clock), clean: clean === '1' } }
  }

  async unseal(shard: number, move: string): Promise<void> {
    await this.run(shard, scripts.unseal, [this.keysOf(shard).meta], [move])
  }

  export(shard: number, from: Cursor): Promise<ItemPage> {
    return readPage((commands) => this.all(shard, commands), this.keysOf(shard), from)
  }

  import(shard: number, move: string, page: ItemPage): Promise<Cursor> {
    return this.fill(shard, move, page.from, page.next, commandsOf(page.items, this.keysOf(shard)))
  }

  async clear(shard: number, move: string): Promise<boolean> {
    const { filling, isAll } = await removalOf((commands) => this.all(shard, commands), this.keysOf(shard))
    await this.fill(shard, move, '*', isAll ? beginning : clearing, filling)
    return isAll
  }

  private async fill(shard: number, move: string, from: Cursor, next: Cursor, { keys, args }: Filling): Promise<Cursor> {
    const [what, where] = (await this.run(shard, scripts.fill, keys, [move, from, next, ...args])) as [string, string]
    if (what === 'over') throw notSealedError(shard, move, where || undefined)
    return where
  }

  // ── The parts below ──

  private opened(): Session {
    if (!this.session || this.session.shards === 0) throw new ConfigError('The store is not open. Open it first.')
    return this.session
  }

  private keysOf(shard: number): ShardKeys {
    const { keys, shards } = this.opened()
    if (Number.isSafeInteger(shard) && shard >= 0 && shard < shards) return keys.shard(shard)
    throw new ConfigError(`shard ${shard}: this namespace has the shards 0 to ${shards - 1}.`)
  }

  private run(place: Place, script: Script, keys: readonly string[], args: readonly (string | Buffer)[], isBuiltOnEarlier?: (reply: unknown) => boolean): Promise<unknown> {
    return this.opened().run(place, script, keys, args, isBuiltOnEarlier)
  }

  private call(place: Place, ...command: Command): Promise<unknown> {
    return this.opened().call(place, command)
  }

  private all(place: Place, commands: readonly Command[]): Promise<readonly unknown[]> {
    return this.opened().all(place, commands)
  }
}

function isGap(reply: unknown): boolean {
  return Array.isArray(reply) && reply[0] === 'gap'
}

function checkedTerm(entry: NewEntry): string {
  if (entry.rememberUntil !== undefined && !Number.isFinite(entry.rememberUntil)) throw new ConfigError(`Message ${entry.id} is to be remembered until ${entry.rememberUntil}, which is no time.`)
  return termArg(entry)
}

type StoredPresence = [state: [beats: string | null, accepted: string | null, halted: string | null, mark: string | null], nodes: string[]]

/** As mark.lua keeps it to compare it. */
function nameOf(mark: MoveMark | undefined): string {
  return mark ? `${mark.state} ${mark.id}` : ''
}

/** Names and values by turns, as HGETALL answers. */
function toMap(flat: readonly string[]): Map<string, string> {
  const map = new Map<string, string>()
  for (let i = 0; i + 1 < flat.length; i += 2) map.set(flat[i]!, flat[i + 1]!)
  return map
}

function toTimers(flat: unknown): StoredTimer[] {
  return [...toMap(flat as string[])].map(([member, dueAt]) => ({ member, dueAt: Number(dueAt) }))
}

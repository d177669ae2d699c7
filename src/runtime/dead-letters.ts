/**
 * Messages that could not be handled, over all shards: listed with their evidence, and taken back into the mailbox of the actor
 * they were for. The store takes one out of the dead letters and into the log in one write, so that whatever dies on the way,
 * and whoever else does the same, each is redriven once.
 */
import { ConfigError } from '../errors.js'
import type { Envelope, StoredLetter } from './envelope.js'
import { checkLimit, checkNames, placeOf, shown, toCursor } from './find.js'
import { checkId, keyOf, machineOf, parseAddress, shardOf, toAddress, type Address } from './identity.js'
import type { NewEntry, Redrive, Redriven, Store } from './ports/store.js'
import { deadStream } from './streams.js'

export interface DeadLetterQuery {
  /** The actor that it was for, by its address. */
  readonly actor?: string
  readonly machine?: string
  /** The id in `machine/id`: the actor itself, and the durable children below it. */
  readonly key?: string
  readonly reason?: DeadLetter['reason']
  /** Letters since this time, ms since the epoch, inclusive. */
  readonly since?: number
  /** Letters in one page, 1 to 1,000. Default 100. A page may have fewer, and more may follow all the same. */
  readonly limit?: number
  /** Of the page before. */
  readonly cursor?: string
}

/** A message that could not be handled, with its evidence. */
export interface DeadLetter {
  /** By which it is redriven; one that comes back is another letter. */
  readonly id: string
  readonly to: Address
  readonly reason: StoredLetter['reason']
  readonly detail: string
  /** Namespace time at which it was given up, ms. */
  readonly at: number
  readonly message: {
    readonly id: string
    readonly kind: Envelope['kind']
    /** The actor that sent it; absent: somebody outside. */
    readonly from?: string
    readonly run?: string
    /** The event, or what else the message brought. */
    readonly body?: unknown
  }
}

export interface DeadLetterPage {
  /** Shard by shard, within each in the order in which they were given up; those of one actor are of one shard. */
  readonly letters: readonly DeadLetter[]
  /** Given with the same query it gives the next page; absent: this was the last one. */
  readonly cursor?: string
}

/** What became of letters that were to be redriven: how many. */
export interface RedriveResult {
  /** Back in the mailboxes. What cannot be handled now either becomes a dead letter anew. */
  readonly redriven: number
  /** There was no room, and they stay dead letters: the first of an actor for which there was none, and all later ones of it. */
  readonly full: number
  /** There were no such letters any more: redriven before, or too old. */
  readonly gone: number
}

const queryNames = ['actor', 'machine', 'key', 'reason', 'since', 'limit', 'cursor']
const reasons = Object.keys({ ended: true, failed: true, 'not-started': true, exists: true, expired: true, cancelled: true, overflow: true } satisfies Record<DeadLetter['reason'], true>)
const pageDefault = 100
/** Letters read at once: each may be as large as a message. */
const readMax = 100
/** Letters looked at for one page: beyond it a page is short. */
const looksMax = 10_000
const idsMax = 1_000

// ── Listing ──

interface Place {
  readonly shard: number
  readonly seq: number
}

interface Kept extends Place {
  readonly stored: StoredLetter
}

/** @throws ConfigError, InvalidIdError */
export async function listDeadLetters(store: Store, shards: number, query: DeadLetterQuery): Promise<DeadLetterPage> {
  const { kept, cursor } = await readPage(store, shards, query)
  return { letters: kept.map(toLetter), ...(cursor === undefined ? {} : { cursor }) }
}

async function readPage(store: Store, shards: number, query: DeadLetterQuery): Promise<{ readonly kept: readonly Kept[]; readonly cursor?: string }> {
  checkLetterQuery(query)
  const { limit = pageDefault } = query
  const key = query.actor === undefined ? query.key : keyOf(parseAddress(query.actor))
  const only = key === undefined ? undefined : shardOf(toAddress('x', key), shards)
  const began = placeOf(query)
  let place = began === undefined ? { shard: only ?? 0, seq: 0 } : placeIn(began, shards)
  const kept: Kept[] = []
  for (let looks = 0; ; ) {
    const entries = await store.log(place.shard, deadStream, place.seq, readMax)
    for (const { seq, text } of entries) {
      looks++
      place = { shard: place.shard, seq }
      const stored = JSON.parse(text) as StoredLetter
      // What is without a message was the evidence of a quarantine.
      if (stored.text === '' || !fits(stored, query)) continue
      kept.push({ ...place, stored })
      if (kept.length === limit) return { kept, cursor: toCursor(query, idOf(place)) }
    }
    if (entries.length < readMax) {
      if (only !== undefined || place.shard === shards - 1) return { kept }
      place = { shard: place.shard + 1, seq: 0 }
    }
    if (looks >= looksMax) return { kept, cursor: toCursor(query, idOf(place)) }
  }
}

function checkLetterQuery(query: DeadLetterQuery): void {
  checkNames(query, queryNames)
  const { actor, machine, key, reason, since, limit } = query
  if (actor !== undefined) parseAddress(actor)
  if (machine !== undefined) checkId('machine', machine)
  if (key !== undefined) checkId('key', key)
  if (actor !== undefined && key !== undefined) throw new ConfigError('actor, key: an actor has one key; give one of the two.')
  if (reason !== undefined && !reasons.includes(reason)) throw new ConfigError(`reason: expected one of ${reasons.join(', ')}, got ${shown(reason)}.`)
  if (since !== undefined && !(typeof since === 'number' && since >= 0)) throw new ConfigError(`since: expected milliseconds since the epoch, got ${String(since)}.`)
  checkLimit(limit)
}

function fits({ to, reason, at }: StoredLetter, query: DeadLetterQuery): boolean {
  const address = to as Address
  return (
    (query.actor === undefined || query.actor === to) &&
    (query.machine === undefined || query.machine === machineOf(address)) &&
    (query.key === undefined || query.key === keyOf(address)) &&
    (query.reason === undefined || query.reason === reason) &&
    (query.since === undefined || at >= query.since)
  )
}

function idOf({ shard, seq }: Place): string {
  return `${shard}-${seq}`
}

/** @throws ConfigError */
function placeIn(id: unknown, shards: number): Place {
  const [, shard, seq] = (typeof id === 'string' ? /^(\d{1,4})-(\d{1,15})$/.exec(id) : null) ?? []
  if (shard !== undefined && Number(shard) < shards) return { shard: Number(shard), seq: Number(seq) }
  throw new ConfigError(`${shown(id)} is no id of a dead letter here. Take it from deadLetters(), such as "3-17".`)
}

function toLetter({ stored, ...place }: Kept): DeadLetter {
  const { id, kind, from, belongs, body } = JSON.parse(stored.text) as Envelope
  const message = { id, kind, ...(from === undefined ? {} : { from }), ...(belongs?.run === undefined ? {} : { run: belongs.run }), ...(body === undefined ? {} : { body }) }
  return { id: idOf(place), to: stored.to as Address, reason: stored.reason, detail: stored.detail, at: stored.at, message }
}

// ── Redriving ──

/**
 * @param which ids of letters, 1 to 1,000, or a query: then all that fit it, and none that comes back meanwhile; what has expired
 *   or was cancelled, for which nobody waits, only if that is the reason it names
 * @throws ConfigError, InvalidIdError
 */
export async function redriveDeadLetters(store: Store, shards: number, which: string | readonly string[] | DeadLetterQuery): Promise<RedriveResult> {
  const redriver = new Redriver(store)
  if (typeof which === 'string' || Array.isArray(which)) {
    const ids = typeof which === 'string' ? [which] : which
    if (ids.length < 1 || ids.length > idsMax) throw new ConfigError(`Expected 1 to ${idsMax} ids of dead letters, got ${ids.length}.`)
    const places = [...new Set(ids)].map((id: unknown) => placeIn(id, shards))
    for (const place of places) {
      const [entry] = await store.log(place.shard, deadStream, place.seq - 1, 1)
      if (entry?.seq === place.seq) await redriver.redrive([{ ...place, stored: JSON.parse(entry.text) as StoredLetter }])
      else redriver.gone++
    }
    return redriver.result
  }
  const query = which as DeadLetterQuery
  // Whatever else is spread into a query seeks nothing, and would redrive all there is.
  checkLetterQuery(query)
  if (query.limit !== undefined || query.cursor !== undefined) throw new ConfigError('limit, cursor: all that fit the query are redriven. Give ids to redrive some of them.')
  for (let cursor: string | undefined; ; ) {
    const page = await readPage(store, shards, { ...query, limit: readMax, ...(cursor === undefined ? {} : { cursor }) })
    await redriver.redrive(query.reason === undefined ? page.kept.filter(({ stored }) => !isOver(stored)) : page.kept)
    cursor = page.cursor
    if (cursor === undefined) return redriver.result
  }
}

/** Nobody waits for it any more. */
function isOver({ reason }: StoredLetter): boolean {
  return reason === 'expired' || reason === 'cancelled'
}

class Redriver {
  gone = 0
  private redriven = 0
  private full = 0
  private readonly store: Store
  /** Messages redriven already: one that becomes a dead letter again at once is not redriven again and again. */
  private readonly done = new Set<string>()
  /** Actors for which there was no room: what is for them later must not overtake what is left. */
  private readonly fullActors = new Set<string>()

  constructor(store: Store) {
    this.store = store
  }

  get result(): RedriveResult {
    const { redriven, full, gone } = this
    return { redriven, full, gone }
  }

  /** Of one or more shards, those of one together. */
  async redrive(kept: readonly Kept[]): Promise<void> {
    for (let i = 0; i < kept.length; ) {
      const { shard } = kept[i]!
      const group: Redrive[] = []
      for (; i < kept.length && kept[i]!.shard === shard; i++) {
        const { seq, stored } = kept[i]!
        const entry = toEntry(stored)
        if (this.done.has(entry.id)) continue
        if (this.fullActors.has(entry.to)) this.full++
        else group.push({ seq, entry })
      }
      const results = group.length === 0 ? [] : await this.store.redrive(shard, group)
      results.forEach((result, n) => this.count(result, group[n]!.entry))
    }
  }

  private count(result: Redriven, { id, to }: NewEntry): void {
    this[result]++
    if (result === 'redriven') this.done.add(id)
    if (result === 'full') this.fullActors.add(to)
  }
}

/** As it was sent, but for a deadline that has passed or soon will. */
function toEntry({ to, text }: StoredLetter): NewEntry {
  const { deadlineAt, ...envelope } = JSON.parse(text) as Envelope
  return { id: envelope.id, to, text: deadlineAt === undefined ? text : JSON.stringify(envelope) }
}

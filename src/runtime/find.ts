/**
 * Finding actors over all shards, page by page, in the order of their addresses. Each shard is asked for a few at a time; what
 * was found is handed out up to the address to which every shard has looked, so that no page depends on how many shards there are.
 */
import { ConfigError } from '../errors.js'
import { checkId, hash32, shardOf, toAddress, type Address } from './identity.js'
import type { FindQuery, Store } from './ports/store.js'
import type { RecordStatus } from './stored-record.js'
import { readTerms, runTerm, stateTerm, statusTerm, tagTerm } from './terms.js'

/** What the actors sought have in common; all of it must fit. */
export interface ActorQuery {
  /** Its name, also of one that is not registered here. */
  readonly machine?: string
  /** The id in `machine/id`: the actor itself, and the durable children below it. */
  readonly key?: string
  /** The run that they belong to, as `run` of {@link SendOptions} told. */
  readonly run?: string
  /** A state of the root machine, `working` or `working.calling`; who is in the latter is in the former, too. */
  readonly state?: string
  /** A tag of a state that they are in. */
  readonly tag?: string
  readonly status?: RecordStatus
  /** Actors in one page, 1 to 1,000. Default 100. A page may have fewer, and more may follow all the same. */
  readonly limit?: number
  /** Of the page before. */
  readonly cursor?: string
}

/** An actor as it stood after its last commit. */
export interface FoundActor {
  readonly address: Address
  readonly status: RecordStatus
  /** Outer ones first: `['working', 'working.calling']`. None if it failed or was stopped. A name beyond 200 characters is cut. */
  readonly states: readonly string[]
  readonly tags: readonly string[]
}

export interface ActorPage {
  readonly actors: readonly FoundActor[]
  /** Given with the same query it gives the next page; absent: this was the last one. */
  readonly cursor?: string
}

export const pageMax = 1_000
const pageDefault = 100
/** Names of states and tags in a query, in characters. */
const nameCharsMax = 10_000
/** Times that the shards are asked for one page: beyond it a page is short. */
const roundsMax = 16

const queryNames = ['machine', 'key', 'run', 'state', 'tag', 'status', 'limit', 'cursor']
const statuses: readonly RecordStatus[] = ['active', 'done', 'stopped', 'failed']

/** @throws ConfigError, InvalidIdError */
export function checkQuery(query: ActorQuery): void {
  checkNames(query, queryNames)
  const { machine, key, run, status, limit } = query
  if (machine !== undefined) checkId('machine', machine)
  if (key !== undefined) checkId('key', key)
  if (run !== undefined) checkId('run', run)
  for (const name of ['state', 'tag'] as const) {
    const given: unknown = query[name]
    if (given !== undefined && (typeof given !== 'string' || given === '' || given.length > nameCharsMax)) throw new ConfigError(`${name}: expected a name of 1 to ${nameCharsMax} characters${name === 'state' ? ', such as "working.calling"' : ''}, got ${shown(given)}.`)
  }
  if (status !== undefined && !statuses.includes(status)) throw new ConfigError(`status: expected one of ${statuses.join(', ')}, got ${shown(status)}.`)
  checkLimit(limit)
}

export function checkNames(query: object, names: readonly string[]): void {
  if (typeof query !== 'object' || query === null) throw new ConfigError(`A query is an object, got ${shown(query)}.`)
  if (Symbol.iterator in query) throw new ConfigError(`A query is an object such as { machine: 'order' }, got one of class ${query.constructor.name}.`)
  const unknown = Object.keys(query).find((name) => !names.includes(name))
  if (unknown !== undefined) throw new ConfigError(`${unknown}: nothing is sought by it (there are: ${names.join(', ')}).`)
}

export function checkLimit(limit: number | undefined): void {
  if (limit !== undefined && !(Number.isSafeInteger(limit) && limit >= 1 && limit <= pageMax)) throw new ConfigError(`limit: expected 1 to ${pageMax}, got ${shown(limit)}.`)
}

export function shown(value: unknown): string {
  return (typeof value === 'bigint' ? `${value}n` : (JSON.stringify(value) ?? String(value))).slice(0, 80)
}

// ── Cursors ──

/** @param place where to go on, as the query's own code reads it */
export function toCursor(query: object, place: string): string {
  return Buffer.from(`${markOf(query)} ${place}`).toString('base64url')
}

/** @throws ConfigError for one of another query */
export function placeOf(query: { readonly cursor?: string }): string | undefined {
  const { cursor } = query
  if (cursor === undefined) return undefined
  const text = typeof cursor === 'string' && cursor.length <= 4_096 ? Buffer.from(cursor, 'base64url').toString() : ''
  const mark = markOf(query)
  if (text.startsWith(`${mark} `)) return text.slice(mark.length + 1)
  throw new ConfigError(`cursor: ${shown(cursor)} is not of a page of this query. Give the query as it was, and the cursor as it came; only "limit" may differ.`)
}

/** Tells queries apart by what they seek. */
function markOf(query: object): string {
  const sought = Object.entries(query).filter(([name, value]) => name !== 'cursor' && name !== 'limit' && value !== undefined)
  return hash32(JSON.stringify(sought.sort(([a], [b]) => (a < b ? -1 : 1)))).toString(36)
}

/** The cursor of a page that would have ended there. */
export function cursorAfter(query: ActorQuery, address: Address): string {
  return toCursor(query, address)
}

// ── Pages ──

/** What of a shard has been looked at and not been handed out. */
interface Source {
  readonly shard: number
  readonly found: FoundActor[]
  /** It has looked that far; undefined: at all there is. */
  through: string | undefined
}

export async function findActors(store: Store, shards: number, query: ActorQuery): Promise<ActorPage> {
  checkQuery(query)
  const { key, limit = pageDefault, status } = query
  const after = placeOf(query) ?? ''
  const sought = toFindQuery(query)
  const sources: Source[] = (key === undefined ? Array.from({ length: shards }, (_, shard) => shard) : [shardOf(toAddress('x', key), shards)]).map((shard) => ({ shard, found: [], through: after }))
  // What is left out for something beside what it is sought by costs a look, too.
  const isFiltered = (sought.terms?.length ?? 0) > 1 || status === 'active' || key !== undefined
  const looks = isFiltered ? pageMax : Math.min(pageMax, Math.max(16, Math.ceil((2 * limit) / sources.length)))
  const actors: FoundActor[] = []
  for (let round = 0; round < roundsMax; round++) {
    await Promise.all(
      sources.map(async (source) => {
        if (source.through === undefined || source.found.length > 0) return
        const { actors: more, through } = await store.find(source.shard, { ...sought, limit: looks, ...(source.through === '' ? {} : { after: source.through }) })
        source.through = through
        for (const { address, terms } of more) {
          const actor: FoundActor = { address: address as Address, ...readTerms(terms) }
          if (status !== 'active' || actor.status === 'active') source.found.push(actor)
        }
      }),
    )
    const [end] = sources.flatMap(({ through }) => (through === undefined ? [] : [through])).sort()
    const ready = sources.flatMap(({ found }) => found.splice(0, countUpTo(found, end))).sort((a, b) => (a.address < b.address ? -1 : 1))
    actors.push(...ready.slice(0, limit - actors.length))
    if (actors.length === limit && (end !== undefined || ready.at(-1) !== actors.at(-1))) return { actors, cursor: toCursor(query, actors.at(-1)!.address) }
    if (end === undefined) return { actors }
    if (round === roundsMax - 1) return { actors, cursor: toCursor(query, end) }
  }
  return { actors }
}

function countUpTo(found: readonly FoundActor[], end: string | undefined): number {
  if (end === undefined) return found.length
  const beyond = found.findIndex(({ address }) => address > end)
  return beyond === -1 ? found.length : beyond
}

/** The rarest first. */
function toFindQuery({ machine, key, run, state, tag, status }: ActorQuery): FindQuery {
  const terms = [
    ...(run === undefined ? [] : [runTerm(run)]),
    ...(tag === undefined ? [] : [tagTerm(tag)]),
    ...(state === undefined ? [] : [stateTerm(state)]),
    ...(status === undefined || status === 'active' ? [] : [statusTerm(status)]),
  ]
  return { terms, ...(machine === undefined ? {} : { machine }), ...(key === undefined ? {} : { key }) }
}

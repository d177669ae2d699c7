/** What can be asked about one shard. Each function reads one moment. */
import type { Entry, FindQuery, Found, LogEntry, OutboxEntry, Recovery, StoredRecord, StoredTimer } from '../../runtime/ports/store.js'
import type { Range, ShardKeys } from './keys.js'
import { readStream } from './stream-draft.js'
import type { Reader } from './tree.js'
import { decodeMessage, decodeTimed, split } from './values.js'

export function readLog(reader: Reader, keys: ShardKeys, after: number, max: number): Entry[] {
  const entries: Entry[] = []
  for (const { key, value } of reader.entries(keys.logAfter(after), max)) entries.push({ seq: keys.seqOf(key), ...decodeTimed(value) })
  return entries
}

export function readRecord(reader: Reader, keys: ShardKeys, address: string): StoredRecord | undefined {
  const range = keys.fields(address)
  const fields = new Map<string, string>()
  for (const { key, value } of reader.entries(range)) fields.set(keys.nameIn(key, range), value)
  const [first, last] = parkedOf(reader, keys, address)
  return fields.size > 0 || last > first ? { fields, parked: last - first } : undefined
}

/** Its parked messages stand above the first number, up to the last. */
export function parkedOf(reader: Reader, keys: ShardKeys, address: string): [first: number, last: number] {
  return (reader.get(keys.parked(address)) ?? '0 0').split(' ').map(Number) as [number, number]
}

export function readParked(reader: Reader, keys: ShardKeys, address: string, max: number): string[] {
  const [first, last] = parkedOf(reader, keys, address)
  const texts: string[] = []
  for (let number = first + 1; number <= Math.min(last, first + max); number++) texts.push(reader.get(keys.parkedMessage(address, number)) ?? '')
  return texts
}

export function readRecovery(reader: Reader, keys: ShardKeys): Recovery {
  const effects: [string, string][] = []
  for (const { key, value } of reader.entries(keys.all('e'))) {
    const id = keys.idOf(key)
    if (reader.get(keys.id(id)) === undefined) effects.push([id, value])
  }
  const actions: [string, string][] = []
  for (const { value } of reader.entries(keys.all('c'))) actions.push(split(value) as [string, string])
  const outbox: OutboxEntry[] = []
  for (const { key, value } of reader.entries(keys.all('o'))) outbox.push({ ...keys.outboxOf(key), entry: decodeMessage(value) })
  const parked: string[] = []
  for (const key of reader.keys(keys.allParked())) parked.push(keys.idOf(key))
  const suspects: [string, number][] = []
  for (const { key, value } of reader.entries(keys.all('s'))) suspects.push([keys.idOf(key), Number(value)])
  return { effects, actions, outbox: outbox.sort((a, b) => a.number - b.number), parked, suspects }
}

export function readTimers(reader: Reader, keys: ShardKeys, until: number, max: number): StoredTimer[] {
  const timers: StoredTimer[] = []
  for (const key of reader.keys(keys.dueUpTo(until), max)) timers.push(keys.timerOf(key))
  return timers
}

export function readStreamEntries(reader: Reader, keys: ShardKeys, name: string, after: number, max: number): LogEntry[] {
  const stream = readStream(reader, keys, name)
  const entries: LogEntry[] = []
  if (!stream) return entries
  const range = keys.streamEntries(stream.number, Math.max(after, stream.first), stream.last)
  for (const { key, value } of reader.entries(range, max)) entries.push({ seq: keys.streamSeqOf(key), text: value })
  return entries
}

/** What an actor is found by. */
export function readTerms(reader: Reader, keys: ShardKeys, address: string): string[] {
  const text = reader.get(keys.record(address)) ?? ''
  return text === '' ? [] : text.split('\n')
}

export function findRecords(reader: Reader, keys: ShardKeys, query: FindQuery): Found {
  const { key, terms = [], limit = 1_000 } = query
  if (limit < 1) return { actors: [] }
  const looked = key === undefined ? inOrder(reader, keys, query, limit) : ofKey(reader, keys, key, query).slice(0, limit)
  const actors = looked.map((address) => ({ address, terms: readTerms(reader, keys, address) }))
  return { actors: actors.filter((actor) => terms.every((term) => actor.terms.includes(term))), ...(looked.length < limit ? {} : { through: looked.at(-1)! }) }
}

/** Addresses of a machine or all, of those that are found by the first term if there is one. */
function inOrder(reader: Reader, keys: ShardKeys, { machine, terms: [term] = [], after }: FindQuery, limit: number): string[] {
  const all = term === undefined ? keys.records(machine) : keys.foundBy(term, machine)
  const keyOf = (address: string): string => (term === undefined ? keys.record(address) : keys.term(term, address))
  const range: Range = after === undefined ? all : { start: max(all.start, `${keyOf(after)}\u0000`), end: all.end }
  const found: string[] = []
  for (const at of reader.keys(range, limit)) found.push(term === undefined ? keys.idOf(at) : keys.addressIn(at, term))
  return found
}

/** The actor itself and its children, whatever they are found by: they are a handful. */
function ofKey(reader: Reader, keys: ShardKeys, key: string, { machine, after }: FindQuery): string[] {
  const found: string[] = []
  for (const range of keys.recordsByKey(key)) {
    for (const { value } of reader.entries(range)) if ((machine === undefined || value.startsWith(`${machine}/`)) && (after === undefined || value > after)) found.push(value)
  }
  return found.sort()
}

function max(a: string, b: string): string {
  return a > b ? a : b
}

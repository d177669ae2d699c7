/**
 * A record as it is stored: a small hash of named fields, so that a turn writes only what it changed.
 *
 * | field | holds |
 * |---|---|
 * | `m` | format, machine, version, structural hash, incarnation, parent: written at the start and at a restart |
 * | `z` | turns so far, number of fields, next child number, status, when it ended, `f` if what it is found by was written with it: written by every turn |
 * | `s<n>` | cell n without its context: id, parent, src, status, value, history, children, input, output |
 * | `c<n>:<key>` | one key of the context of machine n: its place among the keys, a space, and its value |
 * | `t<key>` | one timer |
 * | `n` | how often each invoke has been entered, for idempotency keys |
 * | `k` | of a run: the external actions asked for, with a digest of their arguments |
 * | `a<digest>` | an ask that it works for, with what was begun for it |
 * | `f` | why the record failed |
 * | `h` | which turns of its history are kept: see {@link HistoryMark} |
 * | `v<digest>` | a large value of others (large-values.ts), in whose place these have its digest: see {@link Cut} |
 *
 * Every field but large values carries a checksum over address, name and value, of one that was cut as it was before; the
 * number of those fields stands in `z`.
 */
import { crc32 } from 'node:zlib'
import { SnapshotError, toStoredError, type StoredError } from '../errors.js'
import type { Belonging } from './envelope.js'
import type { Address } from './identity.js'
import { hasParallel, type LogicKind, type XEvent, type XMachineSnapshot, type XSnapshot } from './xstate/insides.js'
import { isCell, type Cell } from './xstate/refs.js'

/** Number of the stored format as a record begins: every field is whole. A higher one than the highest in the store is refused. */
export const formatVersion = 1
/** That of a record from its first large value on: the highest there is. */
export const cutFormatVersion = 2

/** Fields of a stored record, by name. */
export type StoredFields = ReadonlyMap<string, string>
/** Fields to write; undefined deletes. */
export type FieldChanges = Map<string, string | undefined>

export type RecordStatus = 'active' | 'done' | 'stopped' | 'failed'

/** What `m` holds. */
export interface RecordMeta {
  readonly format: number
  readonly machine: string
  readonly version: string
  readonly hash: string
  /** Differs at every start and restart; part of effect ids. */
  readonly incarnation: number
  /** The same for the parent: free of what a crash changes. */
  readonly generation: number
  /** The supervisor that is told how this actor ends. */
  readonly parent?: Address
  /** The child inside the parent's record that started it; absent: the parent's root. */
  readonly parentCell?: number
  /** The input it was started with, to restart from and to tell a repeated start from a conflicting one. */
  readonly input?: unknown
  readonly startedAt: number
  /** What it belongs to; everything it sends and starts belongs to it, too. */
  readonly belongs?: Belonging
}

/** Why a record failed; its last good snapshot is the record itself. */
export interface Failure {
  readonly error: StoredError
  /** The event being handled, as evidence. */
  readonly event: unknown
  /** Namespace time, ms. */
  readonly at: number
}

/** A named action, as kept until it is confirmed. */
export interface StoredAction {
  readonly address: string
  readonly cell: number
  /** Of a child, which may be gone when its action runs again: what it and its parents run, from the root's child down, and its context. */
  readonly src?: readonly string[]
  readonly context?: Record<string, unknown>
  readonly name: string
  readonly params?: unknown
  readonly event: XEvent
}

export interface StoredCell {
  readonly id: string
  readonly parent?: number
  readonly src?: string
  readonly systemId?: string
  readonly sync?: true
  readonly kind: LogicKind
  readonly status: XSnapshot['status']
  readonly value?: unknown
  readonly history?: Record<string, { readonly id: string }[]>
  /** Active states in XState's order, which decides between transitions of parallel regions; only where there are any. */
  readonly nodes?: readonly string[]
  readonly children?: Record<string, number>
  readonly context?: unknown
  readonly input?: unknown
  readonly output?: unknown
  readonly error?: unknown
  readonly entry?: number
  readonly asked?: { readonly to: string; readonly ask: string }
}

export interface StoredTimer {
  readonly due: number
  readonly order: string
  readonly event: XEvent
  readonly source: number
  readonly target: number | { readonly address: string; readonly n?: number }
}

/** How far an actor's history goes; each entry of it is written with this. */
export interface HistoryMark {
  /** The last turn in it. */
  readonly turn: number
  /** The turn whose state its newest base is; 0 if it has none and goes back to the start. */
  readonly base: number
  /** Entries kept before that base. */
  readonly earlier: number
  /** UTF-8 bytes of the turns since. */
  readonly bytes: number
  /** Namespace time of that base, or of the start, ms. */
  readonly at: number
}

export function encodeMark({ turn, base, earlier, bytes, at }: HistoryMark): string {
  return `${turn} ${base} ${earlier} ${bytes} ${at}`
}

export function decodeMark(text: string): HistoryMark {
  const [turn, base, earlier, bytes, at] = text.split(' ').map(Number) as [number, number, number, number, number]
  return { turn, base, earlier, bytes, at }
}

// ── Checksums ──

/** As a signed number: every record keeps it, and a number above 2^31 takes an object of its own. */
export function addressSumOf(address: Address): number {
  return crc32(address) | 0
}

/** Of a checksum, in characters. */
export const sumLength = 8

const hexOf = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

function hex32(sum: number): string {
  return hexOf[sum >>> 24]! + hexOf[(sum >>> 16) & 255]! + hexOf[(sum >>> 8) & 255]! + hexOf[sum & 255]!
}

/** What {@link hex32} wrote at the beginning of a text; -1 if it did not. */
function sumIn(sealed: string): number {
  let sum = 0
  for (let i = 0; i < sumLength; i++) {
    const unit = sealed.charCodeAt(i)
    const digit = unit >= 48 && unit <= 57 ? unit - 48 : unit >= 97 && unit <= 102 ? unit - 87 : -1
    if (digit < 0) return -1
    sum = (sum << 4) | digit
  }
  return sum >>> 0
}

/** The checksum of a text, as eight digits. */
export function sumText(text: string): string {
  return hex32(textSum(text, 0))
}

/** Over name and value. */
function sumOf(addressSum: number, name: string, value: string): number {
  return textSum(value, textSum(name, addressSum))
}

/** CRC-32 by its table (RFC 1952, section 8): for the short texts of which most fields are, quicker than a call out of JavaScript. */
const sumTable = Int32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte
  for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0xed_b8_83_20 : sum >>> 1
  return sum
})
const shortMax = 80

function textSum(text: string, seed: number): number {
  if (text.length > shortMax) return crc32(text, seed >>> 0)
  let sum = ~seed
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit > 127) return crc32(text, seed >>> 0)
    sum = (sum >>> 8) ^ sumTable[(sum ^ unit) & 255]!
  }
  return ~sum >>> 0
}

export function seal(addressSum: number, name: string, value: string): string {
  return hex32(sumOf(addressSum, name, value)) + value
}

/** The meta of a stored record, checked. */
export function readMeta(address: Address, stored: StoredFields): RecordMeta {
  const meta = stored.get('m')
  if (meta === undefined) throw new SnapshotError(address, 'corrupted', 'field m is missing')
  const parsed = JSON.parse(unseal(address, addressSumOf(address), 'm', wholeOf(address, stored, 'm', meta))) as RecordMeta
  if (parsed.format > cutFormatVersion) {
    throw new SnapshotError(address, 'newer-format', `it has format ${parsed.format}, this version of holdfast reads up to ${cutFormatVersion}. Upgrade holdfast.`)
  }
  return parsed
}

/** Turns, status and failure of a stored record, for those who only look. */
export function readStatus(address: Address, stored: StoredFields): { readonly turns: number; readonly status: RecordStatus; readonly failure: Failure | undefined } {
  const sum = addressSumOf(address)
  const tail = stored.get('z')
  if (tail === undefined) throw new SnapshotError(address, 'corrupted', 'field z is missing')
  const [turns, , , status] = unseal(address, sum, 'z', tail).split(' ')
  const failure = stored.get('f')
  return {
    turns: Number(turns),
    status: status as RecordStatus,
    failure: failure === undefined ? undefined : (JSON.parse(unseal(address, sum, 'f', wholeOf(address, stored, 'f', failure))) as Failure),
  }
}

/** Checks a field, and takes its checksum off. */
export function unseal(address: Address, addressSum: number, name: string, sealed: string): string {
  const value = sealed.slice(sumLength)
  if (sumIn(sealed) !== sumOf(addressSum, name, value)) {
    throw new SnapshotError(address, 'corrupted', `the checksum of field ${name} is wrong`)
  }
  return value
}

// ── Large values ──

/** What the name of a large value begins with; its digest follows. */
export const largeValuePrefix = 'v'
/** Stands where the value of a field that was cut had begun: none begins so. */
const cutMark = '@'

/** What a field keeps of itself, and the large values that belong into it. */
export interface Cut {
  readonly places: readonly (readonly [at: number, digest: string])[]
  readonly rest: string
}

/** As `@<place>:<digest>,… <rest>`. */
export function encodeCut({ places, rest }: Cut): string {
  return `${cutMark}${places.map(([at, digest]) => `${at}:${digest}`).join(',')} ${rest}`
}

export function isCut(sealed: string): boolean {
  return sealed.startsWith(cutMark, sumLength)
}

export function readCut(sealed: string): Cut {
  const space = sealed.indexOf(' ', sumLength)
  const places = sealed.slice(sumLength + cutMark.length, space).split(',').map((place) => {
    const colon = place.indexOf(':')
    return [Number(place.slice(0, colon)), place.slice(colon + 1)] as const
  })
  return { places, rest: sealed.slice(space + 1) }
}

/**
 * A field as it was before it was cut, with the checksum it had.
 *
 * @throws SnapshotError if what belongs into it is missing
 */
export function wholeOf(address: Address, stored: StoredFields, name: string, sealed: string): string {
  if (!isCut(sealed)) return sealed
  const { places, rest } = readCut(sealed)
  let whole = sealed.slice(0, sumLength)
  let from = 0
  for (const [at, digest] of places) {
    const value = stored.get(largeValuePrefix + digest)
    if (value === undefined) throw new SnapshotError(address, 'corrupted', `the large value ${digest} of field ${name} is missing`)
    whole += rest.slice(from, at) + value
    from = at
  }
  return whole + rest.slice(from)
}

/** All fields as they were before they were cut. */
export function wholeFields(address: Address, stored: StoredFields): StoredFields {
  return new Map([...stored].filter(([name]) => !name.startsWith(largeValuePrefix)).map(([name, sealed]) => [name, wholeOf(address, stored, name, sealed)]))
}

// ── Cells ──

export function toStoredCell(cell: Cell): StoredCell {
  const snapshot = cell._snapshot
  const common = {
    id: cell.id,
    ...(cell.number === 0 ? {} : { parent: cell._parent!.number, src: cell.src as string }),
    ...(cell.systemId === undefined ? {} : { systemId: cell.systemId }),
    ...(cell._syncSnapshot ? { sync: true as const } : {}),
    kind: cell.kind,
    status: snapshot.status,
    output: snapshot.output,
    error: snapshot.error instanceof Error ? toStoredError(snapshot.error) : snapshot.error,
    ...(cell.entry === 0 ? {} : { entry: cell.entry }),
  }
  if (cell.kind !== 'machine') return { ...common, context: snapshot.context, input: snapshot.input, ...(snapshot.asked ? { asked: snapshot.asked } : {}) }
  const { value, historyValue, children, machine, _nodes } = snapshot as XMachineSnapshot
  const history = Object.entries(historyValue ?? {})
  const numbers = Object.entries(children ?? {}).filter(([, child]) => isCell(child))
  return {
    ...common,
    value,
    ...(hasParallel(machine) ? { nodes: _nodes.map((node) => node.id) } : {}),
    ...(history.length ? { history: Object.fromEntries(history.map(([id, nodes]) => [id, nodes.map((node) => ({ id: node.id }))])) } : {}),
    ...(numbers.length ? { children: Object.fromEntries(numbers.map(([id, child]) => [id, child.number])) } : {}),
  }
}

export function eraseCell(cell: Cell, fields: FieldChanges): void {
  const { saved } = cell
  if (!saved) return
  fields.set(`s${cell.number}`, undefined)
  if (cell.kind !== 'machine') return
  const context = (saved as XMachineSnapshot).context
  for (const key in context) if (context[key] !== undefined) fields.set(`c${cell.number}:${key}`, undefined)
}

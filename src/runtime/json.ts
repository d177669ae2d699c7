/**
 * What may be stored, and how it is written.
 *
 * JSON.stringify lets functions, Maps, Dates and NaN pass silently, so values are walked first: one fast pass that
 * only answers "fine, needs escaping or bad", and a slow one that finds the path once something is bad.
 * Actor references are the one thing that is not JSON and still allowed; see {@link Ref}.
 */
import { LimitError, NonJsonError } from '../errors.js'

/** Bounds of one stored value. All inclusive. */
export interface JsonLimits {
  /** UTF-8 bytes of the encoded value. Default 1 MiB. */
  readonly payloadBytesMax: number
  /** Nesting of objects and arrays. Default 64. */
  readonly depthMax: number
  /** Keys of one object, and elements of one array. Default 10,000. */
  readonly keysMax: number
}

export const defaultJsonLimits: JsonLimits = { payloadBytesMax: 1_048_576, depthMax: 64, keysMax: 10_000 }

/** For what has been checked before. */
export const noJsonLimits: JsonLimits = { payloadBytesMax: Infinity, depthMax: Infinity, keysMax: Infinity }

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined }

/** The key by which XState marks a stored actor reference; data of users that has it is escaped. */
const MARK = 'xstate$$type'

/** Marks our actor references. They write themselves as XState does, plus what is needed to find them again. */
export const REF: unique symbol = Symbol.for('holdfast.ref') as never

/** A reference as stored: an actor of the same record by number, or an actor anywhere by address. */
export interface StoredRef {
  readonly xstate$$type: 1
  readonly id: string
  readonly n?: number
  /** Number of its parent, if that is not the root: who it was when it is gone. */
  readonly p?: number
  readonly address?: string
}

/** The record whose value is being encoded: its own actors are written by number. Set for one synchronous call only. */
let encodingWithin: object | undefined
/** For what leaves its record: every reference is written by address. */
const nowhere = {}

export function currentlyEncoding(): object | undefined {
  return encodingWithin
}

/**
 * Writes a value, after checking it.
 *
 * @param where how an error names the value, e.g. `context.items`, or what says so once it is needed
 * @param within the record the value is stored in; absent: it leaves its record, and references in it are by address
 * @throws NonJsonError with the path of the offending value
 * @throws LimitError when it is too large, deep or wide
 */
export function encodeJson(value: unknown, where: string | (() => string), limits: JsonLimits, within?: object): string {
  const verdict = examine(value, 0, limits)
  if (verdict === BAD) explain(value, nameOf(where), 0, limits)
  const text = typeof value === 'object' ? write(verdict === ESCAPE ? escape(value) : value, within) : JSON.stringify(value)
  if (text.length * 3 > limits.payloadBytesMax) {
    const bytes = Buffer.byteLength(text)
    if (bytes > limits.payloadBytesMax) {
      throw new LimitError(`the size of ${nameOf(where)} in bytes`, limits.payloadBytesMax, bytes, 'Store the data elsewhere and keep a reference to it.')
    }
  }
  return text
}

function nameOf(where: string | (() => string)): string {
  return typeof where === 'string' ? where : where()
}

function write(value: unknown, within: object | undefined): string {
  encodingWithin = within ?? nowhere
  try {
    return JSON.stringify(value)
  } finally {
    encodingWithin = undefined
  }
}

/** Checks a value as {@link encodeJson} would, without writing it. */
export function checkJson(value: unknown, where: string, limits: JsonLimits): void {
  if (examine(value, 0, limits) === BAD) explain(value, where, 0, limits)
}

/** Reads what {@link encodeJson} wrote. References come back through `revive`; without it they stay as stored. */
export function decodeJson(text: string, revive?: (ref: StoredRef) => unknown): unknown {
  const value: unknown = JSON.parse(text)
  return holdsReference(text) ? reviveIn(value, revive) : value
}

/** Reads an object of which each value was written by itself: its own keys are no mark. */
export function decodeJsonOf(text: string, revive: (ref: StoredRef) => unknown): Record<string, unknown> {
  const values = JSON.parse(text) as Record<string, unknown>
  if (holdsReference(text)) for (const key of Object.keys(values)) values[key] = reviveIn(values[key], revive)
  return values
}

/** Whether reading it is more than parsing: it holds a reference, or what looks like one. */
export function holdsReference(text: string): boolean {
  return text.includes(MARK)
}

const OK = 0
const ESCAPE = 1
const BAD = 2

function examine(value: unknown, depth: number, limits: JsonLimits): 0 | 1 | 2 {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return OK
    case 'number':
      return Number.isFinite(value) ? OK : BAD
    case 'undefined':
      return depth === 0 ? BAD : OK
    case 'object':
      break
    default:
      return BAD
  }
  if (value === null) return OK
  if (depth >= limits.depthMax) return REF in value ? OK : BAD
  let verdict: 0 | 1 | 2 = OK
  if (Array.isArray(value)) {
    if (value.length > limits.keysMax) return BAD
    for (let i = 0; i < value.length; i++) {
      const element: unknown = value[i]
      if (element === undefined) return BAD
      if (typeof element === 'string') continue
      const inner = examine(element, depth + 1, limits)
      if (inner === BAD) return BAD
      verdict |= inner
    }
    return verdict as 0 | 1
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return REF in value ? OK : BAD
  let keys = 0
  for (const key in value) {
    if (++keys > limits.keysMax || isForbiddenKey(key)) return BAD
    if (key === MARK) verdict = ESCAPE
    const inner = examine((value as Record<string, unknown>)[key], depth + 1, limits)
    if (inner === BAD) return BAD
    verdict |= inner
  }
  return verdict as 0 | 1
}

/** Keys that reach a prototype when copied by `Object.assign` or a path setter. */
export function isForbiddenKey(key: string): boolean {
  return key === '__proto__' || key === 'constructor' || key === 'prototype'
}

/** Walks again to name the place {@link examine} found bad. Always throws. */
function explain(value: unknown, path: string, depth: number, limits: JsonLimits): void {
  const advice = 'Keep plain data in what is stored: strings, finite numbers, booleans, null, arrays and plain objects.'
  if (value === undefined && depth > 0) return
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new NonJsonError(path, `the number ${value}`, advice)
    return
  }
  if (typeof value !== 'object') throw new NonJsonError(path, `a value of type ${typeof value}`, advice)
  if (REF in value) return
  if (depth >= limits.depthMax) throw new LimitError(`the nesting of ${path}`, limits.depthMax, depth + 1, 'It may contain itself.')
  if (Array.isArray(value)) {
    if (value.length > limits.keysMax) throw new LimitError(`the length of ${path}`, limits.keysMax, value.length, 'Split the list.')
    for (let i = 0; i < value.length; i++) {
      if (value[i] === undefined) throw new NonJsonError(`${path}[${i}]`, 'undefined inside an array', 'Use null, or leave the element out.')
      explain(value[i], `${path}[${i}]`, depth + 1, limits)
    }
    return
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) {
    const name = (value as { constructor?: { name?: string } }).constructor?.name ?? 'unknown class'
    const hint =
      'sessionId' in value && 'ref' in value ? 'It belongs to another actor system; keep its id instead.'
      : value instanceof Error ? 'Keep { name, message } instead.'
      : advice
    throw new NonJsonError(path, `an instance of ${name}`, hint)
  }
  const keys = Object.keys(value)
  if (keys.length > limits.keysMax) throw new LimitError(`the number of keys of ${path}`, limits.keysMax, keys.length, 'Split the object.')
  for (const key of keys) {
    const inner = `${path}.${key}`
    if (isForbiddenKey(key)) throw new NonJsonError(inner, `the key ${key}`, 'It could change prototypes when copied; rename it.')
    explain((value as Record<string, unknown>)[key], inner, depth + 1, limits)
  }
}

interface Escaped {
  readonly [MARK]: 'data'
  readonly entries: readonly (readonly [string, unknown])[]
}

/** A user's own `{ xstate$$type }` would be read back as a reference with a `send`; write it as entries instead. */
function escape(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || REF in value) return value
  if (Array.isArray(value)) return value.map(escape)
  const entries = Object.entries(value).filter(([, v]) => v !== undefined).map(([k, v]) => [k, escape(v)] as const)
  return MARK in value ? ({ [MARK]: 'data', entries } satisfies Escaped) : Object.fromEntries(entries)
}

function reviveIn(value: unknown, revive: ((ref: StoredRef) => unknown) | undefined): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((element) => reviveIn(element, revive))
  if (MARK in value) {
    if (value[MARK] === 'data') return Object.fromEntries((value as Escaped).entries.map(([k, v]) => [k, reviveIn(v, revive)]))
    return revive ? revive(value as StoredRef) : value
  }
  for (const key of Object.keys(value)) {
    const record = value as Record<string, unknown>
    record[key] = reviveIn(record[key], revive)
  }
  return value
}

/** A JSON value with the keys of all objects in order: equal values have equal texts. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) => (typeof inner === 'object' && inner !== null && !Array.isArray(inner) ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1))) : inner))
}

/** Whether two JSON values are the same, whatever the order of keys; undefined counts as absent. */
export function isJsonEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null || Array.isArray(a) !== Array.isArray(b)) return false
  const left = a as Record<string, unknown>
  const right = b as Record<string, unknown>
  for (const key of new Set([...Object.keys(left), ...Object.keys(right)])) if (!isJsonEqual(left[key], right[key])) return false
  return true
}

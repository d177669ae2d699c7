/**
 * What one write is going to change. LMDB undoes nothing of a transaction whose callback throws; so a write is drafted
 * first, where it may still be refused or fail, and is put into the transaction when nothing is left that could throw
 * but LMDB itself, which then fails the whole transaction (P1).
 */
import { keyBytesMax, Refusal, type Key, type Range } from './keys.js'
import type { Reader, Tree } from './tree.js'
import { decodeValue, encodeValue } from './values.js'

/** Reads what it has drafted itself, except in ranges: those give what stood there before. */
export class Draft implements Reader {
  /** Bytes to be written, about. */
  size = 0
  private readonly reader: Reader
  private readonly changes = new Map<Key, Buffer | undefined>()

  constructor(reader: Reader) {
    this.reader = reader
  }

  get(key: Key): string | undefined {
    if (!this.changes.has(key)) return this.reader.get(key)
    const value = this.changes.get(key)
    return value && decodeValue(value)
  }

  entries(range: Range, max?: number): Iterable<{ readonly key: Key; readonly value: string }> {
    return this.reader.entries(range, max)
  }

  keys(range: Range, max?: number): Iterable<Key> {
    return this.reader.keys(range, max)
  }

  /** @throws Refusal if LMDB cannot have such a key */
  check(key: Key): void {
    if (key.length > keyBytesMax) throw new Refusal(`its ids and names take a key of ${key.length} bytes, and LMDB's end at ${keyBytesMax}`, key.length)
  }

  /** @throws Refusal if LMDB could not store it */
  put(key: Key, text: string): void {
    this.check(key)
    const value = encodeValue(text)
    this.changes.set(key, value)
    this.size += key.length + value.length
  }

  remove(key: Key): void {
    if (key.length <= keyBytesMax) this.changes.set(key, undefined)
  }

  discard(): void {
    this.changes.clear()
    this.size = 0
  }

  /** Puts it all into the transaction that is open. */
  write(tree: Tree): void {
    for (const [key, value] of this.changes) {
      if (value) tree.putSync(key, value)
      else tree.removeSync(key)
    }
  }
}

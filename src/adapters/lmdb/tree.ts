/** The one B-tree of a folder: the little of lmdb's interface that is used here, and reading in it. */
import { keyBytesMax, type Key, type Range } from './keys.js'
import { decodeValue } from './values.js'

/** Values go in as bytes and come out as texts. */
export interface Tree {
  get(key: Key): string | undefined
  getRange(options: object): Iterable<{ readonly key: Key; readonly value: string }>
  getKeys(options: object): Iterable<Key>
  putSync(key: Key, value: Buffer): void
  removeSync(key: Key): boolean
  /** Runs the callback in a write transaction; resolves when that is on disk. What it throws undoes nothing. */
  transaction<T>(callback: () => T): Promise<T>
  /** Lets the next reading see the newest state. */
  resetReadTxn(): void
  close(): Promise<void>
}

/** How lmdb is to read and write keys and values. */
export const encodings = {
  keyEncoder: {
    writeKey: (key: Key, target: Buffer, start: number): number => start + target.write(key, start, 'latin1'),
    readKey: (source: Buffer, start: number, end: number): Key => source.toString('latin1', start, end),
  },
  encoder: {
    encode: (value: Buffer): Buffer => value,
    decode: (value: Uint8Array): string => decodeValue(Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength)),
  },
}

/** What can be read, in or outside a transaction. */
export interface Reader {
  get(key: Key): string | undefined
  /** In the order of the keys. */
  entries(range: Range, max?: number): Iterable<{ readonly key: Key; readonly value: string }>
  keys(range: Range, max?: number): Iterable<Key>
}

/** Outside a transaction it reads the state of the last {@link Tree.resetReadTxn}, or of the current turn of the event loop. */
export class TreeReader implements Reader {
  private readonly tree: Tree

  constructor(tree: Tree) {
    this.tree = tree
  }

  get(key: Key): string | undefined {
    return key.length > keyBytesMax ? undefined : this.tree.get(key)
  }

  entries(range: Range, max?: number): Iterable<{ readonly key: Key; readonly value: string }> {
    return this.tree.getRange(toOptions(range, max))
  }

  keys(range: Range, max?: number): Iterable<Key> {
    return this.tree.getKeys(toOptions(range, max))
  }
}

/** A bound longer than any key stands between its beginning and whatever follows that. */
function toOptions({ start, end }: Range, max: number | undefined): object {
  return {
    start: start.slice(0, keyBytesMax),
    end: end.slice(0, keyBytesMax),
    ...(start.length > keyBytesMax ? { exclusiveStart: true } : {}),
    ...(end.length > keyBytesMax ? { inclusiveEnd: true } : {}),
    ...(max === undefined ? {} : { limit: max }),
  }
}

/** LMDB's errors in the words of the port. */
import { getSystemErrorName } from 'node:util'
import { LimitError, StoreError } from '../../errors.js'
import { keyBytesMax, type Refusal } from './keys.js'

/** Codes of `lmdb.h` that a user may meet. */
const names: ReadonlyMap<number, string> = new Map([
  [-30796, 'MDB_CORRUPTED'],
  [-30795, 'MDB_PANIC'],
  [-30792, 'MDB_MAP_FULL'],
  [-30790, 'MDB_READERS_FULL'],
  [-30788, 'MDB_TXN_FULL'],
  [-30782, 'MDB_BAD_TXN'],
])

/** What to do about it. LMDB reports a disk that is full in the middle of a write as EIO. */
const advice: ReadonlyMap<string, string> = new Map([
  ['ENOSPC', 'The disk is full. Make room for it.'],
  ['EDQUOT', 'The disk quota is used up. Raise it, or make room.'],
  ['EFBIG', 'The data file has reached the largest size that this process may write. Raise that limit.'],
  ['EIO', 'The disk is full or broken. Look at its free space, then at the kernel log.'],
  ['MDB_CORRUPTED', 'The data file is damaged. Restore it from a copy.'],
  ['MDB_PANIC', 'LMDB takes no more writes after an error of the disk. Start this process again.'],
  ['MDB_READERS_FULL', 'More than 126 processes have it open. Use fewer.'],
])

/** `unknown`: it may be that it was written nevertheless. */
export function storeError(path: string, cause: unknown, outcome: 'failed' | 'unknown'): StoreError {
  const { code, message } = cause as { code?: number | string; message?: string }
  const name = typeof code === 'number' ? (names.get(code) ?? (code > 0 ? systemName(code) : undefined)) : code
  const hint = name === undefined ? undefined : advice.get(name)
  return new StoreError(`lmdb at ${path}: ${message ?? String(cause)}${name === undefined ? '' : ` (${name})`}.${hint === undefined ? '' : ` ${hint}`}`, outcome, cause)
}

function systemName(code: number): string | undefined {
  try {
    return getSystemErrorName(-code)
  } catch {
    return undefined
  }
}

/** What a write is refused with that cannot be repeated with more luck. */
export function limitError(what: string, refusal: Refusal): LimitError {
  return new LimitError(`The length of a key for ${what}`, keyBytesMax, refusal.actual, `${refusal.message}. Use shorter ids.`)
}

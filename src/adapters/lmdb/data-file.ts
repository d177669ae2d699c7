/**
 * Whether a data file can be opened. LMDB trusts it: over a foreign file the native code crashes, and a shortened one
 * (a copy that was cut off) kills the process when a missing page is read, or loses data when one is written over.
 * Damage within the file shows nowhere: LMDB keeps no checksums.
 */
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { ConfigError } from '../../errors.js'

/** @throws ConfigError if LMDB would crash over it or data is missing */
export async function checkDataFile(file: string): Promise<void> {
  // The layout below is that of 64-bit processors.
  if (process.arch !== 'x64' && process.arch !== 'arm64') return
  if (faultOf(file) === undefined) return
  // Another process may have been about to write what was looked at.
  await sleep(10)
  const fault = faultOf(file)
  if (fault !== undefined) throw new ConfigError(`lmdb: ${file} ${fault}. Restore it from a copy, or give lmdbStore another folder.`)
}

function faultOf(file: string): string | undefined {
  if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) === 0) return undefined
  const fd = openSync(file, 'r')
  try {
    const head = readHead(fd)
    if (!head) return 'is damaged or was not written by LMDB'
    // In this order, because other processes may be writing, and the file only grows.
    const { size } = fstatSync(fd)
    const missing = (head.lastPage + 1) * head.pageBytes - size
    // The last pages may be free ones that were never written.
    if (missing <= 0 || hasAllPages(fd, head, size)) return undefined
    return `is damaged: up to ${missing} bytes are missing at its end`
  } finally {
    closeSync(fd)
  }
}

/** What a head page says, see `MDB_meta` in LMDB's source. */
interface Head {
  readonly pageBytes: number
  readonly lastPage: number
  readonly transaction: bigint
  /** The first pages of the two trees: of free pages, and of the data. */
  readonly roots: readonly number[]
}

/** The newer of the two head pages. */
function readHead(fd: number): Head | undefined {
  const first = readHeadAt(fd, 0)
  const second = first && readHeadAt(fd, first.pageBytes)
  return first && second && (second.transaction > first.transaction ? second : first)
}

const headBytes = 0xa8
/** With smaller pages, which nobody uses, the keys of LMDB end sooner. */
const pageBytesMin = 4_096

function readHeadAt(fd: number, at: number): Head | undefined {
  const page = Buffer.alloc(headBytes)
  if (readSync(fd, page, 0, headBytes, at) < headBytes) return undefined
  const isHead = (page.readUInt16LE(0x12) & 0x08) !== 0
  const magic = page.readUInt32LE(0x18)
  const format = page.readUInt32LE(0x1c) & 0xffff
  const pageBytes = page.readUInt32LE(0x30)
  if (!isHead || magic !== 0xbeefc0de || format !== 2 || pageBytes < pageBytesMin || pageBytes > 65_536) return undefined
  const roots = [0x58, 0x88].map((offset) => page.readBigUInt64LE(offset)).filter((root) => root !== noPage)
  return { pageBytes, lastPage: Number(page.readBigUInt64LE(0x90)), transaction: page.readBigUInt64LE(0x98), roots: roots.map(Number) }
}

const noPage = 0xffff_ffff_ffff_ffffn
/** Flags of a page. */
const branch = 0x01
const leaf = 0x02
/** Flag of a node: its value stands on pages of its own. */
const bigData = 0x01
const pageHeaderBytes = 0x18

/** Follows both trees to their last page, see `MDB_page` and `MDB_node`. Takes a few microseconds for each page. */
function hasAllPages(fd: number, { pageBytes, roots }: Head, size: number): boolean {
  const pages = Math.floor(size / pageBytes)
  const page = Buffer.alloc(pageBytes)
  const left = [...roots]
  for (let count = 0; left.length > 0; count++) {
    const number = left.pop() as number
    // With more of them than there are, they go round in a circle.
    if (number >= pages || count >= pages || readSync(fd, page, 0, pageBytes, number * pageBytes) < pageBytes) return false
    const flags = page.readUInt16LE(0x12)
    const nodesEnd = pageHeaderBytes + page.readUInt16LE(0x14)
    if (page.readBigUInt64LE(0) !== BigInt(number) || (flags & (branch | leaf)) === 0 || nodesEnd > pageBytes) return false
    for (let at = pageHeaderBytes; at < nodesEnd; at += 2) {
      const node = pageHeaderBytes + page.readUInt16LE(at)
      if (node + 8 > pageBytes) return false
      if ((flags & branch) !== 0) left.push(page.readUIntLE(node, 6))
      else if ((page.readUInt16LE(node + 4) & bigData) !== 0) {
        const value = node + 8 + page.readUInt16LE(node + 6)
        if (value + 24 > pageBytes || page.readBigUInt64LE(value) + page.readBigUInt64LE(value + 16) > BigInt(pages)) return false
      }
    }
  }
  return true
}

/**
 * Whether a data file can be opened. LMDB trusts it: over a foreign file the native code crashes, and a shortened one
 * (a copy that was cut off) kills the process when a missing page is read, or loses data when one is written over.
 */
import { spawn } from 'node:child_process'
import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ConfigError } from '../../errors.js'

/** @returns a sentence for the operator if it could not be found out */
export async function checkDataFile(file: string): Promise<string | undefined> {
  // The layout below is that of 64-bit processors.
  if (process.arch !== 'x64' && process.arch !== 'arm64') return undefined
  const advice = 'Restore it from a copy, or give lmdbStore another folder.'
  let header = readHeader(file)
  // Another process may be just about to create it.
  for (let attempt = 0; header === 'unreadable' && attempt < 5; attempt++) {
    await sleep(20)
    header = readHeader(file)
  }
  if (header === undefined) return undefined
  if (header === 'unreadable') throw new ConfigError(`lmdb: ${file} is damaged or was not written by LMDB. ${advice}`)
  // In this order, because other processes may be writing, and the file only grows.
  const { size } = statSync(file)
  const missing = (header.lastPage + 1) * header.pageBytes - size
  if (missing <= 0) return undefined
  // The last pages may be free ones that were never written; then only reading everything tells.
  const readable = size % header.pageBytes === 0 && (await canBeRead(dirname(file)))
  if (readable === false) throw new ConfigError(`lmdb: ${file} is damaged: at least ${missing} bytes are missing at its end. ${advice}`)
  return readable === undefined ? `${file} is ${missing} bytes shorter than it could be, and whether data is missing could not be found out. If this process crashes, restore the file from a copy.` : undefined
}

/** What the head pages say, see `MDB_meta` in LMDB's source. */
interface Header {
  readonly pageBytes: number
  readonly lastPage: number
}

/** The newer of the two head pages; undefined if the file is still to be made. */
function readHeader(file: string): Header | 'unreadable' | undefined {
  if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) === 0) return undefined
  const fd = openSync(file, 'r')
  try {
    const first = readMeta(fd, 0)
    const second = first && readMeta(fd, first.pageBytes)
    if (!first || !second) return 'unreadable'
    return second.transaction > first.transaction ? second : first
  } finally {
    closeSync(fd)
  }
}

const metaBytes = 0xa8

function readMeta(fd: number, at: number): (Header & { readonly transaction: bigint }) | undefined {
  const page = Buffer.alloc(metaBytes)
  if (readSync(fd, page, 0, metaBytes, at) < metaBytes) return undefined
  const isMeta = (page.readUInt16LE(0x12) & 0x08) !== 0
  const magic = page.readUInt32LE(0x18)
  const format = page.readUInt32LE(0x1c) & 0xffff
  const pageBytes = page.readUInt32LE(0x30)
  if (!isMeta || magic !== 0xbeefc0de || format !== 2 || pageBytes < 256 || pageBytes > 65_536) return undefined
  return { pageBytes, lastPage: Number(page.readBigUInt64LE(0x90)), transaction: page.readBigUInt64LE(0x98) }
}

const readAll = `
const { open } = require(process.argv[1])
const database = open({ path: process.argv[2], noSubdir: false, readOnly: true, keyEncoding: 'binary', encoding: 'binary' })
let left = database.getStats().entryCount
for (const { value } of database.getRange({ start: Buffer.from([0]) })) left--
process.exit(left === 0 ? 0 : 1)
`
const readAllMs = 60_000

/** Reads all of it in a process of its own, which may crash over it; undefined if that could not be done in a minute. */
function canBeRead(folder: string): Promise<boolean | undefined> {
  return new Promise((resolve) => {
    const lmdb = createRequire(import.meta.url).resolve('lmdb')
    const child = spawn(process.execPath, ['-e', readAll, lmdb, folder], { stdio: 'ignore', timeout: readAllMs })
    child.on('error', () => resolve(undefined))
    child.on('exit', (code, signal) => resolve(signal === 'SIGTERM' ? undefined : code === 0))
  })
}

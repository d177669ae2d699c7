/**
 * Which files a run reads. Folders are looked through for documents; a file that is named is taken whatever it is called.
 * What cannot be read as text, or is a report of this command, is skipped and named, with the reason.
 */
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { access, readdir, readFile, stat } from 'node:fs/promises'
import { extname, join, relative, resolve, sep } from 'node:path'
import { ConfigError } from '../../errors.js'
import { isReport } from './report.js'
import { decodeText, type Encoding } from './text-file.js'

export interface InputFile {
  /** Relative to the working directory, with `/`. */
  readonly path: string
  /** SHA-256 of its bytes, the first 16 hexadecimal digits: a run goes on only with the same text. */
  readonly digest: string
}

export interface SkippedFile {
  readonly path: string
  /** In words that can follow "is". */
  readonly reason: string
}

export interface Inputs {
  readonly files: readonly InputFile[]
  /** The first {@link skippedMax} of them. */
  readonly skipped: readonly SkippedFile[]
  readonly skippedCount: number
  /** Encodings other than UTF-8, with how many files have them. */
  readonly encodings: Readonly<Record<Encoding, number>>
}

/** Bytes of one file, inclusive. */
export const fileBytesMax = 4 * 1_048_576
/** Files of one run, inclusive: their names are part of its record. */
export const filesMax = 10_000
/** Skipped files that are named, inclusive. */
export const skippedMax = 100
/** Files read at the same time. */
const readAtOnce = 32

const documents = new Set(['.md', '.markdown', '.mdx', '.txt', '.text', '.rst', '.adoc', '.html', '.htm', '.xhtml'])
const ignoredFolders = new Set(['node_modules', '.git', '.hg', '.svn'])

/**
 * @param cwd the working directory, absolute
 * @throws ConfigError for a path that is not there, or when nothing is left to read
 */
export async function collectInputs(paths: readonly string[], cwd: string): Promise<Inputs> {
  const named = new Set<string>()
  const folders: string[] = []
  for (const path of paths) {
    const absolute = resolve(cwd, path)
    const stats = await stat(absolute).catch(() => undefined)
    if (!stats) throw new ConfigError(`There is no file or folder ${path}.`)
    if (stats.isDirectory()) folders.push(absolute)
    else named.add(absolute)
  }
  const skips: { readonly absolute: string; readonly reason: string }[] = []
  const candidates = new Set(named)
  for (const folder of folders) await lookThrough(folder, candidates, skips)
  if (candidates.size > filesMax) throw new ConfigError(`These are ${candidates.size} files; a run reads ${filesMax} at most. Name a smaller folder.`)
  const files: InputFile[] = []
  const encodings: Record<string, number> = {}
  const pathOf = (absolute: string): string => relative(cwd, absolute).split(sep).join('/')
  const sorted = [...candidates].sort()
  for (let i = 0; i < sorted.length; i += readAtOnce) {
    const group = sorted.slice(i, i + readAtOnce)
    const reads = await Promise.all(group.map(readText))
    reads.forEach((read, j) => {
      const absolute = group[j]!
      if ('reason' in read) skips.push({ absolute, reason: read.reason })
      // What a run found would be its own evidence the next time.
      else if (!named.has(absolute) && isReport(read.text)) skips.push({ absolute, reason: 'a report of an earlier run' })
      else {
        files.push({ path: pathOf(absolute), digest: read.digest })
        if (read.encoding !== 'UTF-8') encodings[read.encoding] = (encodings[read.encoding] ?? 0) + 1
      }
    })
  }
  const skipped = skips.sort((a, b) => (a.absolute < b.absolute ? -1 : 1)).slice(0, skippedMax).map(({ absolute, reason }) => ({ path: pathOf(absolute), reason }))
  if (files.length === 0) {
    const why = skipped.length === 0 ? 'no document (.md, .txt, .rst, .html …) is in there' : `${skipped.slice(0, 5).map(({ path, reason }) => `${path} is ${reason}`).join(', ')}${skips.length > 5 ? `, and ${skips.length - 5} more` : ''}`
    throw new ConfigError(`There is nothing to read: ${why}.`)
  }
  return { files, skipped, skippedCount: skips.length, encodings }
}

/** Adds the documents of a folder and of those in it. Links to folders are not followed: they may lead in a circle. */
async function lookThrough(folder: string, found: Set<string>, skips: { absolute: string; reason: string }[]): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => undefined)
  if (!entries) {
    skips.push({ absolute: folder, reason: 'a folder that cannot be read' })
    return
  }
  for (const entry of entries) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) {
      if (!entry.name.startsWith('.') && !ignoredFolders.has(entry.name)) await lookThrough(path, found, skips)
    } else if (documents.has(extname(entry.name).toLowerCase())) found.add(path)
    else if (entry.isSymbolicLink() && (await stat(path).catch(() => undefined))?.isDirectory()) skips.push({ absolute: path, reason: 'a link to a folder; name the folder itself' })
  }
}

type Read = { readonly text: string; readonly digest: string; readonly encoding: Encoding } | { readonly reason: SkippedFile['reason'] }

/** What a file says. Never throws. */
export async function readText(path: string): Promise<Read> {
  let bytes: Buffer
  try {
    const stats = await stat(path)
    if (!stats.isFile()) return { reason: 'no file' }
    if (stats.size > fileBytesMax) return { reason: `too large: ${megabytes(stats.size)} MB, and ${megabytes(fileBytesMax)} MB are the most` }
    await access(path, constants.R_OK)
    bytes = await readFile(path)
  } catch (error) {
    return { reason: (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'gone' : 'unreadable' }
  }
  const decoded = decodeText(path, bytes)
  return 'reason' in decoded ? decoded : { ...decoded, digest: createHash('sha256').update(bytes).digest('hex').slice(0, 16) }
}

function megabytes(bytes: number): string {
  return (bytes / 1_048_576).toFixed(bytes < 10 * 1_048_576 ? 1 : 0).replace(/\.0$/, '')
}

// ── As a run's record keeps them ──

/** By folder, each name behind its digest: ten thousand paths would be too long for a record. */
export type PackedFiles = Readonly<Record<string, readonly string[]>>

const digestChars = 16

export function packFiles(files: readonly InputFile[]): PackedFiles {
  const packed: Record<string, string[]> = {}
  for (const { path, digest } of files) {
    const end = path.lastIndexOf('/') + 1
    ;(packed[path.slice(0, end)] ??= []).push(`${digest}${path.slice(end)}`)
  }
  return packed
}

export function unpackFiles(packed: PackedFiles): InputFile[] {
  return Object.entries(packed).flatMap(([folder, names]) => names.map((name) => ({ path: `${folder}${name.slice(digestChars)}`, digest: name.slice(0, digestChars) })))
}

/** undefined if the run has no such file. */
export function packedFile(packed: PackedFiles, path: string): InputFile | undefined {
  const end = path.lastIndexOf('/') + 1
  const name = path.slice(end)
  const found = packed[path.slice(0, end)]?.find((one) => one.length === digestChars + name.length && one.endsWith(name))
  return found === undefined ? undefined : { path, digest: found.slice(0, digestChars) }
}

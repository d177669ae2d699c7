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

export interface InputFile {
  /** Relative to the working directory, with `/`. */
  readonly path: string
  /** SHA-256 of its bytes, the first 16 hexadecimal digits: a run goes on only with the same text. */
  readonly digest: string
}

export interface SkippedFile {
  readonly path: string
  readonly reason: 'unreadable' | 'binary' | 'empty' | 'too large' | 'not UTF-8' | 'a report of an earlier run'
}

export interface Inputs {
  readonly files: readonly InputFile[]
  readonly skipped: readonly SkippedFile[]
}

/** Bytes of one file, inclusive. */
export const fileBytesMax = 4 * 1_048_576
/** Files of one run, inclusive: their names are part of its record. */
export const filesMax = 5_000

const documents = new Set(['.md', '.markdown', '.mdx', '.txt', '.text', '.rst', '.adoc'])
const ignoredFolders = new Set(['node_modules', '.git', '.hg', '.svn'])

/**
 * @param cwd the working directory, absolute
 * @throws ConfigError for a path that is not there, or when nothing is left to read
 */
export async function collectInputs(paths: readonly string[], cwd: string): Promise<Inputs> {
  const candidates = new Set<string>()
  const named = new Set<string>()
  for (const path of paths) {
    const absolute = resolve(cwd, path)
    const stats = await stat(absolute).catch(() => undefined)
    if (!stats) throw new ConfigError(`There is no file or folder ${path}.`)
    if (stats.isDirectory()) for (const file of await documentsIn(absolute)) candidates.add(file)
    else named.add(absolute)
  }
  for (const file of named) candidates.add(file)
  if (candidates.size > filesMax) throw new ConfigError(`These are ${candidates.size} files; a run reads ${filesMax} at most. Name a smaller folder.`)
  const files: InputFile[] = []
  const skipped: SkippedFile[] = []
  for (const absolute of [...candidates].sort()) {
    const path = relative(cwd, absolute).split(sep).join('/')
    const read = await readText(absolute)
    if ('reason' in read) skipped.push({ path, reason: read.reason })
    // What a run found would be its own evidence the next time.
    else if (!named.has(absolute) && isReport(read.text)) skipped.push({ path, reason: 'a report of an earlier run' })
    else files.push({ path, digest: read.digest })
  }
  if (files.length === 0) {
    const why = skipped.length === 0 ? 'no document (.md, .txt, .rst …) is in there' : skipped.slice(0, 5).map(({ path, reason }) => `${path} is ${reason}`).join(', ')
    throw new ConfigError(`There is nothing to read: ${why}.`)
  }
  return { files, skipped }
}

async function documentsIn(folder: string): Promise<string[]> {
  const found: string[] = []
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) {
      if (!entry.name.startsWith('.') && !ignoredFolders.has(entry.name)) found.push(...(await documentsIn(path)))
    } else if (documents.has(extname(entry.name).toLowerCase())) found.push(path)
  }
  return found
}

type Read = { readonly text: string; readonly digest: string } | { readonly reason: SkippedFile['reason'] }

/** A file's text, without a byte order mark. Never throws. */
export async function readText(path: string): Promise<Read> {
  let bytes: Buffer
  try {
    const stats = await stat(path)
    if (!stats.isFile()) return { reason: 'unreadable' }
    if (stats.size > fileBytesMax) return { reason: 'too large' }
    await access(path, constants.R_OK)
    bytes = await readFile(path)
  } catch {
    return { reason: 'unreadable' }
  }
  if (bytes.includes(0)) return { reason: 'binary' }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return { reason: 'not UTF-8' }
  }
  if (text.trim() === '') return { reason: 'empty' }
  return { text, digest: createHash('sha256').update(bytes).digest('hex').slice(0, 16) }
}

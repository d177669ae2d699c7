/**
 * Looks at a folder before LMDB opens it. The native code kills the process over much of what can be wrong with one
 * (a foreign or a shortened file, too little address space), so everything is checked here first.
 */
import { accessSync, constants, mkdirSync, readFileSync, realpathSync, statfsSync, statSync, type Stats } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { ConfigError } from '../../errors.js'

export interface Folder {
  /** Absolute, without symbolic links. */
  readonly path: string
  readonly dataFile: string
  /** What the files stand on, as far as it is known. */
  readonly medium: 'disk' | 'memory' | 'network'
}

/**
 * Creates the folder if there is none.
 *
 * @throws ConfigError if LMDB could not work in it
 */
export function prepareFolder(given: string): Folder {
  const advice = 'Give lmdbStore a folder that this process may write to.'
  const where = resolve(given)
  try {
    create(where)
    const path = realpathSync(where)
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK)
    const dataFile = join(path, 'data.mdb')
    let isNew = false
    for (const file of [dataFile, join(path, 'lock.mdb')]) {
      const stats = statOf(file)
      // Of a file with a length and no blocks, too, the first pages are still to be written.
      if (!stats?.blocks) isNew = true
      if (!stats) continue
      if (!stats.isFile()) throw new ConfigError(`lmdb: ${file} is not a file. ${advice}`)
      accessSync(file, constants.R_OK | constants.W_OK)
    }
    const { medium, free } = fileSystemOf(path)
    if (free < freeBytesMin && isNew) throw new ConfigError(`lmdb: the disk of ${path} is full. Make room for it, or give lmdbStore another folder.`)
    return { path, dataFile, medium }
  } catch (error) {
    if (error instanceof ConfigError) throw error
    const { code, path: culprit, message } = error as NodeJS.ErrnoException
    if (code === 'EEXIST' || code === 'ENOTDIR') throw new ConfigError(`lmdb: ${culprit ?? where} is a file or lies below one. ${advice}`)
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') throw new ConfigError(`lmdb: this process may not write to ${culprit ?? where} (${code}). ${advice}`)
    throw new ConfigError(`lmdb: ${where} cannot be used: ${message}. ${advice}`)
  }
}

/** For the first pages of a new database or lock file; without them the native code would crash. */
const freeBytesMin = 1_048_576

/** Like `mkdir -p`; Node's own never comes back from some places, such as below /proc. */
function create(path: string): void {
  const stats = statOf(path)
  if (stats?.isDirectory()) return
  if (stats) throw Object.assign(new Error('not a folder'), { code: 'ENOTDIR', path })
  if (dirname(path) !== path) create(dirname(path))
  try {
    mkdirSync(path)
  } catch (error) {
    // Another process was faster.
    if (!statOf(path)?.isDirectory()) throw error
  }
}

function statOf(path: string): Stats | undefined {
  return statSync(path, { throwIfNoEntry: false })
}

/** By Linux's numbers; other systems have others, and there the medium counts as a disk. */
const media: ReadonlyMap<number, Folder['medium']> = new Map([
  [0x01021994, 'memory'], // tmpfs
  [0x858458f6, 'memory'], // ramfs
  [0x6969, 'network'], // NFS
  [0xff534d42, 'network'], // CIFS
  [0xfe534d42, 'network'], // SMB 2
  [0x517b, 'network'], // SMB
  [0x00c36400, 'network'], // Ceph
  [0x01021997, 'network'], // 9P
  [0x5346414f, 'network'], // AFS
])

function fileSystemOf(path: string): { medium: Folder['medium']; free: number } {
  const { type, bavail, bsize } = statfsSync(path)
  return { medium: (process.platform === 'linux' && media.get(type)) || 'disk', free: bavail * bsize }
}

/** Whether a large mapping can be reserved: LMDB crashes where the address space is limited (`ulimit -v`). */
export function hasFreeAddressSpace(): boolean {
  try {
    return /^Max address space +unlimited/m.test(readFileSync('/proc/self/limits', 'latin1'))
  } catch {
    return true
  }
}

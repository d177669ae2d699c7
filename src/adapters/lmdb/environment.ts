/**
 * One open folder. LMDB must not have a file open twice in one process, so all stores of this process on one folder
 * share its environment; the last one that leaves closes it.
 */
import { open } from 'lmdb'
import { ConfigError } from '../../errors.js'
import { ChangeWatcher } from './change-watcher.js'
import { checkDataFile } from './data-file.js'
import type { Draft } from './draft.js'
import { storeError } from './failures.js'
import { hasFreeAddressSpace, prepareFolder, type Folder } from './folder.js'
import { GroupWriter } from './group-writer.js'
import { encodings, TreeReader, type Reader, type Tree } from './tree.js'

export interface EnvironmentOptions {
  readonly mapSize: number
  readonly writeTimeoutMs: number
}

/** By folder; also those that are just being opened or closed. */
const environments = new Map<string, Promise<Environment>>()

export class Environment {
  readonly folder: Folder
  readonly watcher: ChangeWatcher
  private readonly tree: Tree
  private readonly reader: TreeReader
  private readonly writer: GroupWriter
  private readonly timeoutMs: number
  private users = 0
  private closed: Promise<void> | undefined

  private constructor(tree: Tree, folder: Folder, options: EnvironmentOptions) {
    this.tree = tree
    this.folder = folder
    this.timeoutMs = options.writeTimeoutMs
    this.reader = new TreeReader(tree)
    this.writer = new GroupWriter(tree, folder.path, options.writeTimeoutMs)
    this.watcher = new ChangeWatcher(folder.dataFile, (key) => this.read((reader) => reader.get(key)))
  }

  /**
   * Opens a folder, or joins those who have it open in this process; then `options` are theirs.
   *
   * @throws ConfigError if LMDB cannot work in it
   */
  static async enter(path: string, options: EnvironmentOptions): Promise<Environment> {
    const folder = prepareFolder(path)
    for (;;) {
      let opening = environments.get(folder.path)
      if (!opening) {
        opening = Environment.open(folder, options)
        environments.set(folder.path, opening)
        opening.catch(() => void environments.delete(folder.path))
      }
      const environment = await opening
      if (!environment.closed) {
        environment.users++
        return environment
      }
      await environment.closed
    }
  }

  private static async open(folder: Folder, options: EnvironmentOptions): Promise<Environment> {
    await checkDataFile(folder.dataFile)
    try {
      const tree = open({
        path: folder.path,
        // A dot in its name would make the folder a file.
        noSubdir: false,
        maxDbs: 1,
        ...(hasFreeAddressSpace() ? { mapSize: options.mapSize } : {}),
        // With it a write is acknowledged, and others see it, before it is on disk; and it is no faster here.
        overlappingSync: false,
        // With it, lmdb makes a promise for each turn that nobody awaits, and a failed commit becomes an unhandled rejection.
        eventTurnBatching: false,
        ...encodings,
      }) as unknown as Tree
      return new Environment(tree, folder, options)
    } catch (error) {
      throw new ConfigError(`lmdb: ${folder.path} cannot be opened: ${(error as Error).message}. Check the folder and the files data.mdb and lock.mdb in it.`)
    }
  }

  /** Resolves when what `draft` drafted is on disk, with what it returned. */
  write<T>(draft: (draft: Draft) => T): Promise<T> {
    return this.writer.write(draft)
  }

  /** Reads the newest state; all that `read` reads is of one moment. */
  read<T>(read: (reader: Reader) => T): T {
    try {
      return read(this.reader)
    } catch (error) {
      throw storeError(this.folder.path, error, 'failed')
    } finally {
      // At once: a process that is stopped while it reads a state keeps all others from using the room of older ones again.
      this.tree.resetReadTxn()
    }
  }

  /** Resolves when what was written so far is on disk and, if this was the last user, the folder is closed. */
  leave(): Promise<void> {
    if (--this.users > 0) return this.writer.settled()
    this.closed = this.close()
    return this.closed
  }

  private async close(): Promise<void> {
    this.watcher.close()
    // If LMDB is stuck it stays open until the process ends.
    let timer: NodeJS.Timeout | undefined
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, this.timeoutMs).unref()
    })
    await Promise.race([this.writer.idle().then(() => this.tree.close()), patience])
    clearTimeout(timer)
    environments.delete(this.folder.path)
  }
}

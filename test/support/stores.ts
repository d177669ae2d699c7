/** Every kind of store as tests get one: real folders, a real server, and nothing left of either afterwards. */
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LmdbStore } from '../../src/adapters/lmdb/index.js'
import { MemoryDatabase, MemoryStore } from '../../src/adapters/memory/index.js'
import { RedisStore } from '../../src/adapters/redis/index.js'
import type { Store } from '../../src/runtime/ports/store.js'
import { RedisServer } from './redis-server.js'

export type StoreKind = 'memory' | 'lmdb' | 'redis'

/** Databases of one kind, each with a name of `[a-z0-9-]`; a new name is a new one. */
export interface Databases {
  /** Another connection to the database of that name. The caller closes it. */
  connect(name: string): Store
  dispose(): Promise<void>
}

/** A host's memory outlives its processes, and is flushed to in no time; the disk where there is no such folder. */
const lmdbRoot = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

/**
 * For tests that kill processes and not the host: LMDB lies in memory, Redis flushes once a second. Every connection is
 * a process of its own to the store: on LMDB none says that it belongs to this one, which lives.
 */
export async function openDatabases(kind: StoreKind): Promise<Databases> {
  switch (kind) {
    case 'memory': {
      const databases = new Map<string, MemoryDatabase>()
      return {
        connect(name) {
          const database = databases.get(name) ?? new MemoryDatabase()
          databases.set(name, database)
          return new MemoryStore({ database })
        },
        dispose: () => Promise.resolve(),
      }
    }
    case 'lmdb': {
      const folder = await mkdtemp(join(lmdbRoot, 'holdfast-lmdb-'))
      return {
        connect: (name) => new LmdbStore(join(folder, name), { identify: false }),
        dispose: () => rm(folder, { recursive: true }),
      }
    }
    case 'redis': {
      const server = await RedisServer.start({ appendfsync: 'everysec' })
      return {
        connect: (name) => new RedisStore(server.url, { keyPrefix: name }),
        dispose: () => server.stop(),
      }
    }
  }
}

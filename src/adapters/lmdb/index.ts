/** `holdfast/lmdb`: the store in a folder, through LMDB. */
import type { MovableStore } from '../../runtime/ports/moving.js'
import { LmdbStore, type LmdbStoreOptions } from './lmdb-store.js'

export { LmdbStore, type LmdbStoreOptions }
export { isProcessAlive, processIdentity, type ProcessIdentity } from './process-identity.js'

/**
 * A store in a folder, which is created if it does not exist. Processes of this host may share it.
 *
 * ```ts
 * createActorSystem({ machines: [order], store: lmdbStore('./data') })
 * ```
 */
export function lmdbStore(path: string, options?: LmdbStoreOptions): MovableStore {
  return new LmdbStore(path, options)
}

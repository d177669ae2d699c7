/** `holdfast/lmdb`: the store in a folder, through LMDB. */
import type { Store } from '../../runtime/ports/store.js'
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
export function lmdbStore(path: string, options?: LmdbStoreOptions): Store {
  return new LmdbStore(path, options)
}

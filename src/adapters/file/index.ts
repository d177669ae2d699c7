/** A witness in a folder, for `createActorSystem({ store, witness: fileWitness('/var/lib/app/witness') })`. */
import type { Witness } from '../../runtime/ports/witness.js'
import { FileWitness } from './file-witness.js'

export { FileWitness } from './file-witness.js'

/**
 * A witness in a folder of this host, for any number of processes on it. Put it on another disk than the store's.
 *
 * @throws ConfigError for an empty path
 */
export function fileWitness(folder: string): Witness {
  return new FileWitness(folder)
}

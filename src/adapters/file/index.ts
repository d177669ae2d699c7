/**
 * What is kept in files: a witness in a folder, for `createActorSystem({ store, witness: fileWitness('/var/lib/app/witness') })`,
 * and policies, for `createMesh({ policies: await policyFile('./policies.json') })`.
 */
import { ConfigError } from '../../errors.js'
import type { PolicySource } from '../../mesh/ports/policy-source.js'
import type { Witness } from '../../runtime/ports/witness.js'
import { FileWitness } from './file-witness.js'
import { FilePolicySource } from './policy-source.js'

export { FileWitness } from './file-witness.js'

/**
 * A witness in a folder of this host, for any number of processes on it. Put it on another disk than the store's.
 *
 * @throws ConfigError for an empty path
 */
export function fileWitness(folder: string): Witness {
  return new FileWitness(folder)
}

export interface PolicyFileOptions {
  /** How often it is looked at for a change, ms, 10 to 3,600,000. Default 1,000. */
  readonly everyMs?: number
}

/**
 * Policies in a JSON file (docs/policies.md), for `createMesh({ policies: await policyFile('./policies.json') })`. The mesh
 * checks what it says, and reads it again when it changes.
 *
 * @throws ConfigError for a file that cannot be read, or a wrong option
 */
export async function policyFile(path: string, options: PolicyFileOptions = {}): Promise<PolicySource> {
  const { everyMs = 1_000 } = options
  if (typeof path !== 'string' || path === '') throw new ConfigError(`policyFile: expected the path of a file, got ${JSON.stringify(path)}.`)
  if (!Number.isSafeInteger(everyMs) || everyMs < 10 || everyMs > 3_600_000) throw new ConfigError(`policyFile: everyMs: expected a whole number from 10 to 3600000, got ${String(everyMs)}.`)
  return FilePolicySource.open(path, everyMs)
}

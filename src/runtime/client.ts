/**
 * A client: sends to actors and looks at them through the store, without owning any. For a second process that
 * approves, shows or sends while the first one runs, on the same folder or server.
 */
import { ActorSystem, type ActorSystemOptions } from './system.js'

export interface ClientOptions extends Pick<ActorSystemOptions, 'store' | 'namespace' | 'shards' | 'logger' | 'limits' | 'clock' | 'ids' | 'unsafe' | 'durabilityMin' | 'checkMs' | 'backlogMax' | 'logMax'> {
  /** Machines whose snapshots are to be read; sending needs none. */
  readonly machines?: ActorSystemOptions['machines']
}

export type Client = Pick<ActorSystem, 'actor' | 'actorAt' | 'find' | 'machine' | 'stream' | 'sharedStream' | 'deadLetters' | 'redriveDeadLetters' | 'stop' | 'durability' | 'warnings' | 'refusals' | 'nodes' | 'halted' | 'accept'>

/**
 * Opens the store as a client. `await client.stop()` closes it.
 *
 * @throws ConfigError as `start` of a system does
 */
export async function createClient(options: ClientOptions): Promise<Client> {
  return new ActorSystem({ ...options, machines: options.machines ?? [] }).startAsClient()
}

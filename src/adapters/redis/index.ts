/** The store on Redis, for `createActorSystem({ store: redisStore('redis://127.0.0.1:6379') })`. */
import type { RedisOptions } from 'ioredis'
import type { MovableStore } from '../../runtime/ports/moving.js'
import { RedisStore, type RedisStoreOptions } from './redis-store.js'

export { RedisStore, type RedisStoreOptions } from './redis-store.js'

/**
 * A store on a Redis server of version 7.0 or newer. Nothing is connected before the system starts.
 *
 * @param target a `redis://`, `rediss://` or socket address, or the options of ioredis
 * @throws ConfigError for an address or option that cannot be used
 */
export function redisStore(target: string | RedisOptions, options: RedisStoreOptions = {}): MovableStore {
  return new RedisStore(target, options)
}
export { RedisTraceStore, redisTraces, type RedisTraceOptions } from './redis-trace-store.js'
export { redisIdempotency, type RedisIdempotencyOptions } from './redis-idempotency-store.js'

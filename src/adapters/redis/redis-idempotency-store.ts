/**
 * Keys of requests on Redis: a hash for each, which goes some time after its end. Time is the server's. On a cluster all of a
 * prefix lie in one slot. What a server that loses its last second forgets, is run again: turn on `appendfsync always` where
 * that matters.
 */
import { readFileSync } from 'node:fs'
import type { RedisOptions } from 'ioredis'
import { ConfigError } from '../../errors.js'
import type { Begin, End, IdempotencyStore, KeptAnswer, Known } from '../../mesh/ports/idempotency-store.js'
import { parseTarget } from './connection.js'
import { checkPrefix } from './keys.js'
import { OneSlot } from './one-slot.js'

export interface RedisIdempotencyOptions {
  /** What all keys begin with, 1 to 64 of `A-Z a-z 0-9 . _ : -`. Default `hf`. */
  readonly keyPrefix?: string
  /** How long a command may take, ms, at least 1. Default 5,000. */
  readonly commandDeadlineMs?: number
}

const script = (name: string): string => readFileSync(new URL(`./${name}.lua`, import.meta.url), 'utf8')
const beginScript = script('once-begin')
const endScript = script('once-end')

class RedisIdempotencyStore implements IdempotencyStore {
  private readonly base: string
  private readonly slot: OneSlot

  constructor(target: string | RedisOptions, { keyPrefix = 'hf', commandDeadlineMs = 5_000 }: RedisIdempotencyOptions) {
    if (!(commandDeadlineMs >= 1)) throw new ConfigError(`commandDeadlineMs: expected at least 1 ms, got ${commandDeadlineMs}.`)
    this.base = `${checkPrefix(keyPrefix)}:{once}:`
    this.slot = new OneSlot({ target: parseTarget(target), name: 'holdfast-once', deadlineMs: commandDeadlineMs })
  }

  async begin(key: string, { digest, token, leaseMs, retentionMs, takesOver }: Begin): Promise<Known> {
    const [state, answer] = (await this.run(beginScript, key, [digest, token, leaseMs, Math.ceil(retentionMs), takesOver ? '1' : '0'])) as [Known['state'], string?]
    return state === 'done' ? { state, answer: JSON.parse(answer!) as KeptAnswer } : { state }
  }

  async renew(key: string, token: string, leaseMs: number): Promise<boolean> {
    return (await this.run(endScript, key, [token, 'renew', leaseMs, ''])) === 1
  }

  async end(key: string, token: string, end: End, retentionMs: number): Promise<boolean> {
    return (await this.run(endScript, key, [token, end.state, Math.ceil(retentionMs), end.state === 'done' ? JSON.stringify(end.answer) : ''])) === 1
  }

  async close(): Promise<void> {
    await this.slot.close()
  }

  private run(text: string, key: string, args: readonly (string | number)[]): Promise<unknown> {
    return this.slot.on((connection) => connection.call('EVAL', [text, 1, this.base + key, ...args]))
  }
}

/**
 * A receiver's memory of idempotency keys on Redis, shared by all its processes: `idempotent({ store: redisIdempotency(url) }, …)`.
 *
 * @throws ConfigError for an address or option that cannot be used
 */
export function redisIdempotency(target: string | RedisOptions, options: RedisIdempotencyOptions = {}): IdempotencyStore {
  return new RedisIdempotencyStore(target, options)
}

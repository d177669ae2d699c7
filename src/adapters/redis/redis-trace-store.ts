/**
 * Traces on Redis: a list for each run, which goes some time after its last entry. It may be another server than the
 * actors' own. Written apart from their commits; on a cluster, all traces of a namespace lie in one slot.
 */
import type { RedisOptions } from 'ioredis'
import { ConfigError } from '../../errors.js'
import type { TraceEntry, TraceStore } from '../../mesh/ports/trace-store.js'
import { parseTarget, type Command } from './connection.js'
import { checkPrefix } from './keys.js'
import { OneSlot } from './one-slot.js'

export interface RedisTraceOptions {
  /** What all keys begin with, 1 to 64 of `A-Z a-z 0-9 . _ : -`. Default `hf`. */
  readonly keyPrefix?: string
  /** Apart for each namespace of actors. Default `default`. */
  readonly namespace?: string
  /** How long a run's trace is kept after its last entry, ms, at least 1. Default 30 days. */
  readonly retentionMs?: number
  /** How long a command may take, ms, at least 1. Default 5,000. */
  readonly commandDeadlineMs?: number
}

/** Entries read at once. */
const pageMax = 1_000

export class RedisTraceStore implements TraceStore {
  private readonly base: string
  private readonly retentionMs: number
  private readonly slot: OneSlot

  /** @throws ConfigError for an address or option that cannot be used */
  constructor(target: string | RedisOptions, { keyPrefix = 'hf', namespace = 'default', retentionMs = 30 * 86_400_000, commandDeadlineMs = 5_000 }: RedisTraceOptions = {}) {
    this.slot = new OneSlot({ target: parseTarget(target), name: 'holdfast-traces', deadlineMs: commandDeadlineMs })
    this.base = `${checkPrefix(keyPrefix)}:trace:{${namespace}}:`
    this.retentionMs = retentionMs
    for (const [name, value] of Object.entries({ retentionMs, commandDeadlineMs })) if (!(value >= 1)) throw new ConfigError(`${name}: expected at least 1 ms, got ${value}.`)
  }

  async append(entries: readonly TraceEntry[]): Promise<void> {
    const byRun = new Map<string, string[]>()
    for (const entry of entries) {
      const texts = byRun.get(entry.run)
      if (texts) texts.push(JSON.stringify(entry))
      else byRun.set(entry.run, [JSON.stringify(entry)])
    }
    const commands = [...byRun].flatMap(([run, texts]): Command[] => [
      ['RPUSH', this.base + run, ...texts],
      ['PEXPIRE', this.base + run, Math.ceil(this.retentionMs)],
    ])
    await this.slot.on((connection) => connection.callAll(commands))
  }

  async read(run: string): Promise<readonly TraceEntry[]> {
    const entries: TraceEntry[] = []
    for (let from = 0; ; from += pageMax) {
      const page = (await this.slot.on((connection) => connection.call('LRANGE', [this.base + run, from, from + pageMax - 1]))) as string[]
      entries.push(...page.map((text) => JSON.parse(text) as TraceEntry))
      if (page.length < pageMax) return entries
    }
  }

  /** Ids of the runs of which there are traces. Looks at all keys of the server, a thousand at a time. */
  async runs(): Promise<readonly string[]> {
    const found = new Set<string>()
    for (let cursor = '0', isFirst = true; isFirst || cursor !== '0'; isFirst = false) {
      const from = cursor
      const [next, keys] = (await this.slot.on(async (connection) => {
        // SCAN names no key, so that nobody is sent on by it: this is.
        await connection.call('EXISTS', [this.base])
        return connection.call('SCAN', [from, 'MATCH', `${this.base}*`, 'COUNT', pageMax])
      })) as [string, string[]]
      cursor = next
      for (const key of keys) found.add(key.slice(this.base.length))
    }
    found.delete('')
    return [...found].sort()
  }

  async close(): Promise<void> {
    await this.slot.close()
  }
}

/** The trace of the calls on Redis: `createMesh({ traces: redisTraces('redis://127.0.0.1:6379') })`. */
export function redisTraces(target: string | RedisOptions, options?: RedisTraceOptions): TraceStore {
  return new RedisTraceStore(target, options)
}

/**
 * Traces on Redis: a list for each run, which goes some time after its last entry. It may be another server than the
 * actors' own. Written apart from their commits; on a cluster, all traces of a namespace lie in one slot.
 */
import type { RedisOptions } from 'ioredis'
import { ConfigError } from '../../errors.js'
import type { TraceEntry, TraceStore } from '../../mesh/ports/trace-store.js'
import { hostOf } from './cluster.js'
import { Connection, parseTarget, type Command, type Target } from './connection.js'
import { serverCodeOf } from './failures.js'
import { checkPrefix } from './keys.js'

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
const redirectsMax = 5

export class RedisTraceStore implements TraceStore {
  private readonly target: Target
  private readonly base: string
  private readonly retentionMs: number
  private readonly deadlineMs: number
  /** Where the traces were last. */
  private at: Target
  private connection: Connection | undefined

  /** @throws ConfigError for an address or option that cannot be used */
  constructor(target: string | RedisOptions, { keyPrefix = 'hf', namespace = 'default', retentionMs = 30 * 86_400_000, commandDeadlineMs = 5_000 }: RedisTraceOptions = {}) {
    this.target = parseTarget(target)
    this.at = this.target
    this.base = `${checkPrefix(keyPrefix)}:trace:{${namespace}}:`
    this.retentionMs = retentionMs
    this.deadlineMs = commandDeadlineMs
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
    await this.on((connection) => connection.callAll(commands))
  }

  async read(run: string): Promise<readonly TraceEntry[]> {
    const entries: TraceEntry[] = []
    for (let from = 0; ; from += pageMax) {
      const page = (await this.on((connection) => connection.call('LRANGE', [this.base + run, from, from + pageMax - 1]))) as string[]
      entries.push(...page.map((text) => JSON.parse(text) as TraceEntry))
      if (page.length < pageMax) return entries
    }
  }

  /** Ids of the runs of which there are traces. Looks at all keys of the server, a thousand at a time. */
  async runs(): Promise<readonly string[]> {
    const found = new Set<string>()
    for (let cursor = '0', isFirst = true; isFirst || cursor !== '0'; isFirst = false) {
      const from = cursor
      const [next, keys] = (await this.on(async (connection) => {
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

  /** Where the traces are: a server of a cluster sends on to the one that has their slot. */
  private async on<T>(work: (connection: Connection) => Promise<T>): Promise<T> {
    for (let redirects = 0; ; redirects++) {
      const connection = (this.connection ??= new Connection({ target: this.at, name: 'holdfast-traces', deadlineMs: this.deadlineMs }))
      try {
        await connection.opened()
        return await work(connection)
      } catch (error) {
        const place = movedTo(error, this.at)
        if (!place && connection.endpoint === this.target.endpoint) throw error
        // Sent on, or where it was sent is not there any more: then whoever sent it is asked next time.
        if (this.connection === connection) {
          this.at = place ? { options: { ...this.target.options, ...place }, endpoint: `${place.host}:${place.port}` } : this.target
          this.connection = undefined
        }
        void connection.close()
        if (!place || redirects === redirectsMax) throw error
      }
    }
  }

  async close(): Promise<void> {
    await this.connection?.close()
  }
}

/** The trace of the calls on Redis: `createMesh({ traces: redisTraces('redis://127.0.0.1:6379') })`. */
export function redisTraces(target: string | RedisOptions, options?: RedisTraceOptions): TraceStore {
  return new RedisTraceStore(target, options)
}

/** `MOVED <slot> <host>:<port>`; a server may tell no host. */
function movedTo(error: unknown, from: Target): { readonly host: string; readonly port: number } | undefined {
  if (serverCodeOf(error) !== 'MOVED') return undefined
  const [, host, port] = /^MOVED \d+ (.*):(\d+)$/.exec((((error as Error).cause ?? error) as Error).message) ?? []
  return port === undefined ? undefined : { host: hostOf(host, from), port: Number(port) }
}

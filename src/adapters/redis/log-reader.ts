/**
 * Reads the logs of all shards that somebody waits for with one blocking XREAD, on a connection of its own: a command
 * behind it would wait as long as it does.
 *
 * L1  Each XREAD names explicit ids, never `$`, so what was appended between two of them is found by the second.
 * L2  A reader that comes while an XREAD is under way that does not cover it interrupts that one by CLIENT UNBLOCK. The
 *     XREAD may not have reached the server yet; so the interrupt is repeated until it took or the XREAD has answered.
 * L3  While the server is away readers wait. Only an error that will not pass by itself reaches them.
 */
import { setImmediate as soon, setTimeout as sleep } from 'node:timers/promises'
import { StoreError } from '../../errors.js'
import type { Entry } from '../../runtime/ports/store.js'
import type { Connection } from './connection.js'
import { isPassing } from './failures.js'
import type { NamespaceKeys } from './keys.js'
import { decodeLogItem, type StreamItem } from './log-items.js'

/** How long one XREAD waits, ms: also how long a half-open connection goes unnoticed, beside the deadline. */
export const blockMs = 2_000
/** Entries of one shard in one answer. */
const countMax = 1_024
/** How long a connection is kept that nobody reads by. */
const idleMs = 5_000
const retryMinMs = 50
const retryMaxMs = 2_000

export interface LogReaderOptions {
  readonly keys: NamespaceKeys
  /** Where commands that answer at once are sent. */
  readonly commands: Connection
  /** Makes the connection that waits. `onId` is told its client id whenever it is made. */
  connect(onId: (id: string) => void): Connection
  /** Told when a read has failed. */
  readonly onFailure?: () => void
  /** How long a command may take beyond the time it waits, ms. */
  readonly deadlineMs: number
}

interface Reader {
  readonly shard: number
  readonly after: number
  readonly max: number
  resolve(entries: readonly Entry[]): void
  reject(error: unknown): void
}

export class LogReader {
  private readonly options: LogReaderOptions
  private readonly readers = new Set<Reader>()
  private readonly stopped = new AbortController()
  private connection: Connection | undefined
  private clientId = ''
  private running = false
  private idle: NodeJS.Timeout | undefined
  private interrupting = false
  /** From where each shard is read by the XREAD under way, if one is. */
  private armed: ReadonlyMap<number, number> | undefined

  constructor(options: LogReaderOptions) {
    this.options = options
  }

  /** Up to `max` entries after a sequence number, as they are now. */
  async look(shard: number, after: number, max: number): Promise<readonly Entry[]> {
    if (max < 1) return []
    const { keys, commands } = this.options
    const items = (await commands.call('XRANGE', [keys.shard(shard).log, `(${after}`, '+', 'COUNT', Math.min(max, Number.MAX_SAFE_INTEGER)])) as StreamItem[]
    return items.map(decodeLogItem)
  }

  /** As {@link look}, but waits for the first one until the signal aborts. */
  read(shard: number, after: number, max: number, signal: AbortSignal): Promise<readonly Entry[]> {
    if (signal.aborted) return this.look(shard, after, max)
    if (this.stopped.signal.aborted) return Promise.reject(new StoreError('The store is closed.', 'failed'))
    if (max < 1) return Promise.resolve([])
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.readers.delete(reader)
        signal.removeEventListener('abort', onAbort)
      }
      // Whoever gives up while the server is away is owed an answer, not the error.
      const onAbort = (): void => {
        leave()
        this.look(shard, after, max).then(resolve, () => resolve([]))
      }
      const reader: Reader = {
        shard,
        after,
        max,
        resolve: (entries) => {
          leave()
          resolve(entries)
        },
        reject: (error) => {
          leave()
          reject(error as Error)
        },
      }
      signal.addEventListener('abort', onAbort)
      this.readers.add(reader)
      if (!this.running) {
        this.running = true
        void this.run()
      } else if (this.armed && !this.isArmedFor(reader)) {
        void this.interrupt(this.armed)
      }
    })
  }

  private isArmedFor({ shard, after }: Reader): boolean {
    const from = this.armed?.get(shard)
    return from !== undefined && from <= after
  }

  private async run(): Promise<void> {
    const { signal } = this.stopped
    clearTimeout(this.idle)
    this.connection ??= this.options.connect((id) => (this.clientId = id))
    for (let retryMs = retryMinMs; this.readers.size > 0 && !signal.aborted; ) {
      if (!(await this.connection.whenUp())) break
      if (this.readers.size === 0) break
      try {
        this.serve(await this.wait(this.connection))
        retryMs = retryMinMs
        // Readers that were served and come back at once are part of the next XREAD, instead of interrupting it.
        await soon()
      } catch (error) {
        this.options.onFailure?.()
        if (!isPassing(error)) await this.lookForAll()
        await sleep(retryMs, undefined, { signal }).catch(() => {})
        retryMs = Math.min(2 * retryMs, retryMaxMs)
      }
    }
    this.running = false
    if (!signal.aborted) this.idle = setTimeout(() => this.rest(), idleMs).unref()
  }

  /** Nobody has asked for a while: the connection is for others. */
  private rest(): void {
    if (this.running) return
    const { connection } = this
    this.connection = undefined
    void connection?.close()
  }

  private async wait(connection: Connection): Promise<[key: string, items: StreamItem[]][] | null> {
    const from = new Map<number, number>()
    let count = 1
    for (const { shard, after, max } of this.readers) {
      from.set(shard, Math.min(from.get(shard) ?? after, after))
      count = Math.max(count, Math.min(max, countMax))
    }
    const shards = [...from.keys()]
    const logs = shards.map((shard) => this.options.keys.shard(shard).log)
    this.armed = from
    try {
      const args = ['COUNT', count, 'BLOCK', blockMs, 'STREAMS', ...logs, ...[...from.values()].map(String)]
      return (await connection.call('XREAD', args, { deadlineMs: blockMs + this.options.deadlineMs })) as [string, StreamItem[]][] | null
    } finally {
      this.armed = undefined
    }
  }

  private serve(reply: readonly [key: string, items: StreamItem[]][] | null): void {
    for (const [key, items] of reply ?? []) {
      const entries = items.map(decodeLogItem)
      for (const reader of [...this.readers]) {
        if (this.options.keys.shard(reader.shard).log !== key) continue
        const found = entries.filter((entry) => entry.seq > reader.after).slice(0, reader.max)
        if (found.length > 0) reader.resolve(found)
      }
    }
  }

  /** One XREAD over all logs fails for all of them; the others go on without the one that is at fault. */
  private async lookForAll(): Promise<void> {
    for (const reader of [...this.readers]) {
      try {
        const entries = await this.look(reader.shard, reader.after, reader.max)
        if (entries.length > 0) reader.resolve(entries)
      } catch (error) {
        if (!isPassing(error)) reader.reject(error)
      }
    }
  }

  private async interrupt(armed: ReadonlyMap<number, number>): Promise<void> {
    if (this.interrupting) return
    this.interrupting = true
    for (let pauseMs = 0; this.armed === armed && !this.stopped.signal.aborted; pauseMs = Math.min(2 * pauseMs + 1, 100)) {
      const unblocked = await this.options.commands.call('CLIENT', ['UNBLOCK', this.clientId]).catch(() => 0)
      if (unblocked === 1) break
      await sleep(pauseMs)
    }
    this.interrupting = false
    // Somebody may have come to the XREAD after that one meanwhile.
    const next = this.armed
    if (next && next !== armed && [...this.readers].some((reader) => !this.isArmedFor(reader))) void this.interrupt(next)
  }

  /** Answers all who wait with nothing, and ends the connection. */
  async close(): Promise<void> {
    this.stopped.abort()
    clearTimeout(this.idle)
    for (const reader of [...this.readers]) reader.resolve([])
    await this.connection?.close()
  }
}

/**
 * Hands what actors append to a shared stream to somebody who keeps it elsewhere, shard by shard and in order, and then
 * removes it: at least once, because a crash may come between the two.
 */
import type { Clock } from './ports/clock.js'
import type { Logger } from './ports/logger.js'
import type { Store } from './ports/store.js'
import { decodeStreamEntry, sharedStream, type StreamRecord } from './streams.js'

/** Resolves when the entries are kept. If it rejects they are handed over again. */
export type DrainHandler = (entries: readonly StreamRecord[], shard: number) => Promise<void>

export interface DrainHost {
  readonly store: Store
  readonly clock: Clock
  readonly logger: Logger
}

interface Lane {
  /** Entries up to here were handed over. */
  taken: number
  /** Entries of commits of this process that were not. */
  waiting: number
  busy: boolean
  again: boolean
}

const groupMax = 512
const retryMs = 100
const retryMsMax = 5_000

export class StreamDrain {
  private readonly host: DrainHost
  private readonly stream: string
  private readonly handler: DrainHandler
  private readonly lanes = new Map<number, Lane>()
  private readonly stopping = new AbortController()
  private idlers: (() => void)[] = []
  private readonly waiters = new Set<() => void>()

  constructor(host: DrainHost, stream: string, handler: DrainHandler) {
    this.host = host
    this.stream = sharedStream(stream)
    this.handler = handler
  }

  /** Entries that are known to wait, over all shards of this process. Grows while the handler rejects or does not answer. */
  get lag(): number {
    let lag = 0
    for (const { waiting } of this.lanes.values()) lag += waiting
    return lag
  }

  /** This process owns the shard: what an earlier owner left is handed over, too. */
  add(shard: number): void {
    if (this.isStopped || this.lanes.has(shard)) return
    this.lanes.set(shard, { taken: 0, waiting: 0, busy: false, again: false })
    this.wake(shard, 0)
  }

  remove(shard: number): void {
    this.lanes.delete(shard)
    this.told()
  }

  /** A commit appended so many entries. */
  wake(shard: number, count: number): void {
    const lane = this.lanes.get(shard)
    if (!lane) return
    lane.waiting += count
    if (lane.busy) {
      lane.again = true
      return
    }
    lane.busy = true
    void this.work(shard, lane)
  }

  private async work(shard: number, lane: Lane): Promise<void> {
    const { store, logger } = this.host
    const isOn = (): boolean => !this.isStopped && this.lanes.get(shard) === lane
    for (let failures = 0; isOn(); ) {
      lane.again = false
      try {
        const entries = await store.log(shard, this.stream, lane.taken, groupMax)
        const last = entries.at(-1)
        if (last && isOn()) {
          lane.waiting = Math.max(lane.waiting, entries.length)
          await this.handler(entries.map(decodeStreamEntry), shard)
          lane.taken = last.seq
          lane.waiting -= entries.length
          for (const look of [...this.waiters]) look()
          await store.trim(shard, this.stream, last.seq)
        }
        failures = 0
        if (entries.length < groupMax && !lane.again) {
          if (!last) lane.waiting = 0
          break
        }
      } catch (error) {
        if (!isOn()) break
        logger.error({ shard, stream: this.stream, waiting: lane.waiting, error: (error as Error).message }, 'a stream cannot be drained; trying again')
        await this.pause(Math.min(retryMs * 2 ** failures++, retryMsMax))
      }
    }
    lane.busy = false
    this.told()
  }

  /** Over at once when it is stopped. */
  private pause(delayMs: number): Promise<void> {
    const { signal } = this.stopping
    return new Promise((resolve) => {
      const over = (): void => {
        cancel()
        signal.removeEventListener('abort', over)
        resolve()
      }
      const cancel = this.host.clock.after(delayMs, over)
      signal.addEventListener('abort', over)
    })
  }

  /** Resolves when all that is known to wait was handed over. */
  idle(): Promise<void> {
    if (this.isIdle) return Promise.resolve()
    return new Promise((resolve) => this.idlers.push(resolve))
  }

  /** Resolves when fewer entries wait than that, or the signal aborts. */
  below(lag: number, signal: AbortSignal): Promise<void> {
    if (this.lag < lag || signal.aborted) return Promise.resolve()
    return new Promise((resolve) => {
      const look = (): void => {
        if (this.lag >= lag && !signal.aborted && !this.isStopped) return
        this.waiters.delete(look)
        signal.removeEventListener('abort', look)
        resolve()
      }
      this.waiters.add(look)
      signal.addEventListener('abort', look)
    })
  }

  private get isStopped(): boolean {
    return this.stopping.signal.aborted
  }

  private get isIdle(): boolean {
    for (const lane of this.lanes.values()) if (lane.busy) return false
    return true
  }

  private told(): void {
    if (this.isIdle) for (const idle of this.idlers.splice(0)) idle()
  }

  /** Takes nothing more; what is being handed over is waited for. */
  async stop(): Promise<void> {
    this.stopping.abort()
    for (const look of [...this.waiters]) look()
    await this.idle()
  }
}

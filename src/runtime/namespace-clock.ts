/**
 * The namespace clock of one shard: the greater of the store's time and the last committed time. Between two answers of
 * the store it is read off this process's monotonic clock, counted from when the answer arrived, so that it is never
 * ahead of the store's (I6).
 */
import type { Clock } from './ports/clock.js'
import type { Logger } from './ports/logger.js'

/** A difference between the store's time and what was expected that is told to the operator, ms. */
const jumpMs = 5_000

export class NamespaceClock {
  private base: number
  private since: number
  private latest: number
  private synced = false
  private readonly clock: Clock
  private readonly logger: Logger

  constructor(clock: Clock, logger: Logger, committed: number) {
    this.clock = clock
    this.logger = logger
    this.base = this.latest = committed
    this.since = clock.now()
  }

  /** Now, whole ms; never goes back. */
  now(): number {
    const read = Math.floor(this.base + (this.clock.now() - this.since))
    if (read > this.latest) this.latest = read
    return this.latest
  }

  /** The store said what time it is. */
  sync(at: number): void {
    const since = this.clock.now()
    const expected = this.base + (since - this.since)
    if (this.synced && Math.abs(at - expected) > jumpMs) {
      this.logger.warn({ jumpMs: Math.round(at - expected) }, 'the clock of the store has jumped; timers follow the namespace clock, which never goes back')
    }
    this.base = at
    this.since = since
    this.synced = true
  }
}

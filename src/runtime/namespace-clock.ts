/**
 * The namespace clock of one shard: the greater of the store's time and the last committed time. Between two answers of
 * the store it is read off this process's monotonic clock, counted from when the answer arrived, so that it is never
 * ahead of the store's (I6). A store whose clock is set back does not set it back: it then goes on by the monotonic
 * clock, which is right about how much time has passed.
 */
import type { Clock } from './ports/clock.js'
import type { Logger } from './ports/logger.js'

/** A difference between the store's time and what was expected that is told to the operator, ms. */
const jumpMs = 5_000

export class NamespaceClock {
  private base: number
  private since: number
  private latest: number
  /** How far the store's clock is known to have been set back, ms. */
  private behind = 0
  private readonly clock: Clock
  private readonly logger: Logger

  constructor(clock: Clock, logger: Logger, committed: number, storeTime: number) {
    this.clock = clock
    this.logger = logger
    this.base = this.latest = Math.max(committed, storeTime)
    this.since = clock.now()
    if (committed - storeTime > jumpMs) this.announce(storeTime - committed)
    this.behind = Math.max(0, committed - storeTime)
  }

  /** Now, whole ms; never goes back. */
  now(): number {
    const read = Math.floor(this.expected())
    if (read > this.latest) this.latest = read
    return this.latest
  }

  /** The store said what time it is. */
  sync(storeTime: number): void {
    const difference = storeTime - this.expected()
    if (difference > jumpMs) {
      this.announce(difference)
      this.anchor(storeTime)
      this.behind = 0
    } else if (difference < -jumpMs) {
      const drift = difference + this.behind
      if (Math.abs(drift) > jumpMs) {
        this.announce(difference)
        this.behind = -difference
      } else {
        this.anchor(this.expected() + drift)
      }
    } else {
      this.anchor(storeTime)
      this.behind = 0
    }
  }

  /** A commit was given this time: the clock is at least there. */
  committed(at: number): void {
    const difference = at - this.expected()
    if (difference <= 0) return
    if (difference > jumpMs) this.announce(difference)
    this.anchor(at)
  }

  private expected(): number {
    return this.base + (this.clock.now() - this.since)
  }

  private anchor(at: number): void {
    this.base = at
    this.since = this.clock.now()
  }

  private announce(jumped: number): void {
    this.logger.warn({ jumpMs: Math.round(jumped) }, 'the clock of the store has jumped; timers follow the namespace clock, which never goes back')
  }
}

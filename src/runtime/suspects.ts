/**
 * Counts attempts at what may have killed the process (contract 4). After a takeover from an owner that did not stop
 * cleanly, whatever was waiting is handled one per commit, and a count is written just before each and cleared by the
 * commit of what it led to. What was counted {@link Suspects.max} times is guilty.
 */
import type { Batch } from './batch.js'
import type { RuntimeOptions } from './options.js'
import type { ShardState } from './ports/store.js'

/** wait: not now, or only after its count is written. clear: no suspect. alone: handle it, and nothing else. guilty: set its actor aside. */
export type Suspicion = 'clear' | 'wait' | 'alone' | 'guilty'

export class Suspects {
  /** Entries of the log up to this one were waiting when the last owner died. */
  entriesThrough = 0
  /** Timers due up to then were. */
  timersThrough = 0
  /** Parked messages that stood in line then. */
  private readonly parked = new Set<string>()
  counting = false
  private readonly max: number
  private readonly attempts = new Map<string, number>()
  private readonly counted = new Set<string>()
  private cleared: string[] = []

  constructor(max: number) {
    this.max = max
  }

  begin(state: ShardState, options: RuntimeOptions): void {
    this.counting = !state.clean && this.max !== Infinity
    // No owner handles more than its lanes hold before a commit, so nothing beyond can have killed it.
    this.entriesThrough = this.counting ? Math.min(state.tail, state.position + options.lanesMax * options.batchTurnsMax) : 0
    this.parked.clear()
  }

  /** @param due when the timers that were waiting are due, in their order, ms */
  waiting(due: readonly number[], now: number, options: RuntimeOptions): void {
    const last = due[Math.min(due.length, options.lanesMax * options.batchTurnsMax) - 1]
    this.timersThrough = this.counting && last !== undefined ? Math.min(last, now) : 0
  }

  unparked(id: string): void {
    if (this.counting) this.parked.add(id)
  }

  isUnparked(id: string): boolean {
    return this.parked.has(id)
  }

  /** Attempts stored by earlier owners. What a clean stop was survived by is suspected no more. */
  restore(attempts: readonly (readonly [string, number])[]): void {
    for (const [id, n] of attempts) this.attempts.set(id, n)
    if (!this.counting) this.clearMatching(() => true)
  }

  attemptsAt(id: string): number {
    return this.attempts.get(id) ?? 0
  }

  isGuilty(id: string): boolean {
    return this.attemptsAt(id) >= this.max
  }

  /** Adds one attempt, to be written with the batch. */
  count(batch: Batch, id: string): void {
    const attempts = this.attemptsAt(id) + 1
    this.attempts.set(id, attempts)
    this.counted.add(id)
    batch.suspects.set(id, attempts)
  }

  judge(batch: Batch, id: string, inputs: number, lanesIdle: boolean): Suspicion {
    if (inputs > 0 || !lanesIdle) return 'wait'
    if (!this.counted.has(id)) {
      if (this.isGuilty(id)) {
        this.attempts.delete(id)
        batch.suspects.set(id, undefined)
        return 'guilty'
      }
      this.count(batch, id)
      return 'wait'
    }
    this.attempts.delete(id)
    batch.suspects.set(id, undefined)
    return 'alone'
  }

  /** It has been survived: the next commit forgets it. */
  clear(id: string): void {
    if (this.attempts.delete(id)) this.cleared.push(id)
  }

  clearMatching(matches: (id: string) => boolean): void {
    for (const id of [...this.attempts.keys()]) if (matches(id)) this.clear(id)
  }

  /** Whether there are effects among them. */
  get hasEffects(): boolean {
    return [...this.attempts.keys()].some((id) => id.startsWith('e'))
  }

  get hasCleared(): boolean {
    return this.cleared.length > 0
  }

  takeCleared(): string[] {
    return this.cleared.splice(0)
  }
}

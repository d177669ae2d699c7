/** Time that stands still until a test moves it. Callbacks run in order of their due time, ties in order of setting. */
import type { Clock } from '../runtime/ports/clock.js'

interface Alarm {
  readonly at: number
  readonly order: number
  readonly callback: () => void
}

export class VirtualClock implements Clock {
  private time = 0
  private count = 0
  private readonly alarms = new Set<Alarm>()

  now(): number {
    return this.time
  }

  after(delayMs: number, callback: () => void): () => void {
    const alarm: Alarm = { at: this.time + Math.max(0, delayMs), order: this.count++, callback }
    this.alarms.add(alarm)
    return () => void this.alarms.delete(alarm)
  }

  soon(callback: () => void): void {
    setImmediate(callback)
  }

  /** When the next callback is due, if there is one. */
  nextDue(): number | undefined {
    return this.next()?.at
  }

  /** Moves time forward to an instant and runs what is due by then. What is set meanwhile waits for the next call. */
  runUntil(at: number): void {
    if (at > this.time) this.time = at
    const due = [...this.alarms].filter((alarm) => alarm.at <= this.time).sort((a, b) => a.at - b.at || a.order - b.order)
    for (const alarm of due) if (this.alarms.delete(alarm)) alarm.callback()
  }

  private next(): Alarm | undefined {
    let next: Alarm | undefined
    for (const alarm of this.alarms) if (!next || alarm.at < next.at || (alarm.at === next.at && alarm.order < next.order)) next = alarm
    return next
  }
}

/** A process's own view of a clock: nothing reaches it once it is dead. */
export class ProcessClock implements Clock {
  /** Once true, nothing is called back any more; {@link die} sets it and takes back what was set. */
  dead = false
  private readonly clock: Clock
  private readonly alarms = new Set<() => void>()

  constructor(clock: Clock) {
    this.clock = clock
  }

  now(): number {
    return this.clock.now()
  }

  after(delayMs: number, callback: () => void): () => void {
    // The dead set nothing: it would only make the living stop at its instant.
    if (this.dead) return () => {}
    const cancel = this.clock.after(delayMs, () => {
      this.alarms.delete(stop)
      if (!this.dead) callback()
    })
    const stop = (): void => {
      this.alarms.delete(stop)
      cancel()
    }
    this.alarms.add(stop)
    return stop
  }

  soon(callback: () => void): void {
    this.clock.soon(() => {
      if (!this.dead) callback()
    })
  }

  die(): void {
    this.dead = true
    for (const stop of [...this.alarms]) stop()
  }
}

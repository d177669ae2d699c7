/**
 * Appends this process's messages to one shard's log: those of one moment together, one append at a time, so that they
 * stand in the log in the order in which they were sent. An append whose reply was lost is repeated; the ids make that
 * harmless.
 */
import { StoreError } from '../errors.js'
import type { RuntimeContext } from './context.js'
import type { Appended, NewEntry } from './ports/store.js'

interface Pending {
  readonly entry: NewEntry
  resolve(appended: Appended): void
  reject(error: Error): void
}

const groupMax = 256
const retryMs = 100

export class Appender {
  private readonly context: Pick<RuntimeContext, 'store' | 'clock' | 'logger' | 'backlogMax'>
  private readonly shard: number
  private readonly knows: (seq: number) => void
  private pending: Pending[] = []
  /** How many wait or are on their way, by the actor they are for. */
  private readonly counts = new Map<string, number>()
  private busy = false
  private stopped: Error | undefined
  private idlers: (() => void)[] = []

  constructor(context: Pick<RuntimeContext, 'store' | 'clock' | 'logger' | 'backlogMax'>, shard: number, knows: (seq: number) => void = () => {}) {
    this.context = context
    this.shard = shard
    this.knows = knows
  }

  get isIdle(): boolean {
    return !this.busy && this.pending.length === 0
  }

  /** Resolves when the message is durable; `full` if there was no room for it. */
  append(entry: NewEntry): Promise<Appended> {
    if (this.stopped) return Promise.reject(this.stopped)
    const waiting = this.counts.get(entry.to) ?? 0
    if (waiting >= this.context.backlogMax && !entry.always) return Promise.resolve('full')
    this.counts.set(entry.to, waiting + 1)
    return new Promise((resolve, reject) => {
      this.pending.push({ entry, resolve, reject })
      if (!this.busy) {
        this.busy = true
        this.context.clock.soon(() => void this.work())
      }
    })
  }

  private async work(): Promise<void> {
    while (this.pending.length > 0 && !this.stopped) {
      const group = this.pending.splice(0, groupMax)
      try {
        const appended = await this.write(group.map(({ entry }) => entry))
        group.forEach(({ resolve }, i) => {
          const result = appended[i]!
          if (typeof result === 'object') this.knows(result.seq)
          resolve(result)
        })
      } catch (error) {
        for (const { reject } of group) reject(error as Error)
      }
      for (const { entry } of group) this.over(entry)
    }
    this.busy = false
    for (const idle of this.idlers.splice(0)) idle()
  }

  private over({ to }: NewEntry): void {
    const left = this.counts.get(to)! - 1
    if (left > 0) this.counts.set(to, left)
    else this.counts.delete(to)
  }

  private async write(entries: readonly NewEntry[]): Promise<readonly Appended[]> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.context.store.append(this.shard, entries)
      } catch (error) {
        if (this.stopped) throw this.stopped
        if (!(error instanceof StoreError)) throw error
        this.context.logger.warn({ shard: this.shard, error: error.message }, 'an append failed; trying again')
        await new Promise<void>((resolve) => this.context.clock.after(Math.min(retryMs * 2 ** attempt, 2_000), resolve))
        if (this.stopped) throw this.stopped
      }
    }
  }

  /** Resolves when nothing is on its way. */
  idle(): Promise<void> {
    if (this.isIdle) return Promise.resolve()
    return new Promise((resolve) => this.idlers.push(resolve))
  }

  stop(error: Error): void {
    this.stopped = error
    for (const { reject } of this.pending.splice(0)) reject(error)
    for (const idle of this.idlers.splice(0)) idle()
  }
}

/**
 * Appends this process's messages to one shard's log: those of one moment together, one append at a time, so that they
 * stand in the log in the order in which they were sent, whether this process owns the shard or not. An append whose
 * reply was lost is repeated; the ids make that harmless.
 */
import { StoppedError, StoreError } from '../errors.js'
import type { RuntimeContext } from './context.js'
import type { Appended, NewEntry } from './ports/store.js'

interface Pending {
  readonly entry: NewEntry
  resolve(appended: Appended): void
  reject(error: Error): void
}

const groupMax = 256
const retryMs = 100

type AppenderContext = Pick<RuntimeContext, 'store' | 'clock' | 'logger' | 'backlogMax' | 'logMax'>

/** One for each shard that this process has sent to. */
export class Appenders {
  private readonly context: AppenderContext
  private readonly byShard = new Map<number, Appender>()
  private stopped: Error | undefined

  constructor(context: AppenderContext) {
    this.context = context
  }

  of(shard: number): Appender {
    let appender = this.byShard.get(shard)
    if (!appender) {
      this.byShard.set(shard, (appender = new Appender(this.context, shard)))
      if (this.stopped) appender.stop(this.stopped)
    }
    return appender
  }

  /** Resolves when all that was given so far is durable or refused. */
  async soFar(): Promise<void> {
    await Promise.all([...this.byShard.values()].map((appender) => appender.soFar()))
  }

  stop(error: Error): void {
    this.stopped = error
    for (const appender of this.byShard.values()) appender.stop(error)
  }

  /** Writes nothing more and tells nobody, as a killed process would. */
  abandon(): void {
    for (const appender of this.byShard.values()) appender.abandon()
  }
}

export class Appender {
  /** Told the number of each entry: who owns the shard must know how far its log goes. */
  onAppended: (seq: number) => void = () => {}
  /** What was sent before and skips the log must be safe first: if its commit fails it comes before what waits here. */
  before: () => Promise<void> | undefined = () => undefined
  private readonly context: AppenderContext
  private readonly shard: number
  private pending: Pending[] = []
  /** How many wait or are on their way, by the actor they are for. */
  private readonly counts = new Map<string, number>()
  private writing: Pending[] = []
  private busy = false
  private last: Promise<unknown> = Promise.resolve()
  private stopped: Error | undefined

  constructor(context: AppenderContext, shard: number) {
    this.context = context
    this.shard = shard
  }

  get isIdle(): boolean {
    return !this.busy && this.pending.length === 0
  }

  /** Resolves when the message is durable; `full` if there was no room for it. */
  append(entry: NewEntry): Promise<Appended> {
    return this.add(entry, (pending) => void this.pending.push(pending))
  }

  /** The same, before all that waits: it was sent earlier. */
  appendFirst(entries: readonly NewEntry[]): Promise<Appended>[] {
    let place = 0
    return entries.map((entry) => this.add(entry, (pending) => void this.pending.splice(place++, 0, pending)))
  }

  private add(entry: NewEntry, put: (pending: Pending) => void): Promise<Appended> {
    if (this.stopped) return Promise.reject(this.stopped)
    const waiting = this.counts.get(entry.to) ?? 0
    if ((waiting >= this.context.backlogMax || this.pending.length + this.writing.length >= this.context.logMax) && !entry.always) return Promise.resolve('full')
    this.counts.set(entry.to, waiting + 1)
    const appended = new Promise<Appended>((resolve, reject) => {
      put({ entry, resolve, reject })
      if (!this.busy) {
        this.busy = true
        this.context.clock.soon(() => void this.work())
      }
    })
    const { last } = this
    this.last = appended.then(() => last, () => last)
    return appended
  }

  /** Resolves when all that was given so far is durable or refused. */
  async soFar(): Promise<void> {
    await this.last
  }

  private async work(): Promise<void> {
    while (this.pending.length > 0 && !this.stopped) {
      const earlier = this.before()
      if (earlier) {
        await earlier
        continue
      }
      const group = (this.writing = this.pending.splice(0, groupMax))
      try {
        const appended = await this.write(group.map(({ entry }) => entry))
        group.forEach(({ resolve }, i) => {
          const result = appended[i]!
          if (typeof result === 'object') this.onAppended(result.seq)
          resolve(result)
        })
      } catch (error) {
        for (const { reject } of group) reject(error as Error)
      }
      this.writing = []
      for (const { entry } of group) this.over(entry)
    }
    this.busy = false
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

  /** What waits and what is on its way is rejected; what is on its way may be written all the same. */
  stop(error: Error): void {
    this.stopped = error
    for (const { reject } of [...this.writing, ...this.pending.splice(0)]) reject(error)
  }

  abandon(): void {
    this.stopped = new StoppedError('The actor system')
    this.pending = []
  }
}

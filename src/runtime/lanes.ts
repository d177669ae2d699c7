/**
 * The commits of one shard on their way to the store: a few at a time, each built on the one before. A reply that was
 * lost is asked for again with the same commit, which the store answers without writing twice; a commit that is not
 * accepted takes all later ones with it (S2).
 */
import type { Batch, Own } from './batch.js'
import type { RuntimeContext } from './context.js'
import type { CommitResult, Lease, ShardState } from './ports/store.js'

export interface Verdict {
  readonly why: 'fenced' | 'gap' | 'unread' | 'refused'
  readonly detail: string
  /** The record whose part was refused. */
  readonly address: string | undefined
  /** All that was dropped: the commit itself and those built on it. */
  readonly batches: readonly Batch[]
}

export type Acknowledged = CommitResult & { readonly ok: true }

const retryMs = 50

export class Lanes {
  /** Number and log position of the last batch built. */
  lastNumber: number
  position: number
  /** Number of the last commit that is known to stand. */
  acknowledged: number
  /** False once a commit was not accepted: nothing more is taken. */
  alive = true
  private readonly context: RuntimeContext
  private readonly lease: Lease
  private readonly onFailed: (verdict: Verdict) => void
  /** Told where the log ends by a commit, before that commit counts as no longer on its way. */
  private readonly onTail: (tail: number) => void
  private inFlight: Batch[] = []
  private last: Promise<Acknowledged | undefined> = Promise.resolve({ ok: true, at: 0, tail: 0 })
  private idlers: (() => void)[] = []

  constructor(context: RuntimeContext, lease: Lease, state: ShardState, onFailed: (verdict: Verdict) => void, onTail: (tail: number) => void) {
    this.context = context
    this.lease = lease
    this.onFailed = onFailed
    this.onTail = onTail
    this.lastNumber = state.number
    this.acknowledged = state.number
    this.position = state.position
  }

  get free(): boolean {
    return this.alive && this.inFlight.length < this.context.options.lanesMax
  }

  get isIdle(): boolean {
    return this.inFlight.length === 0
  }

  /** Whether a commit on its way appends to the shard's own log. */
  get appending(): boolean {
    return this.inFlight.some((batch) => batch.isAppending)
  }

  /** Whether anything skips the log with the commits on their way. */
  get hasOwn(): boolean {
    return this.alive && this.inFlight.some((batch) => batch.own.length > 0)
  }

  /** What skipped the log with the commits on their way. */
  own(): Own[] {
    return this.inFlight.flatMap((batch) => batch.own)
  }

  /** Resolves when the commit is acknowledged; with undefined if it was dropped. */
  async submit(batch: Batch): Promise<Acknowledged | undefined> {
    this.lastNumber = batch.number
    this.position = batch.position
    this.inFlight.push(batch)
    const written = this.write(batch, this.last)
    this.last = written
    const result = await written
    if (result) {
      this.acknowledged = batch.number
      this.onTail(result.tail)
    }
    this.inFlight = this.inFlight.filter((other) => other !== batch)
    if (this.inFlight.length === 0) for (const idle of this.idlers.splice(0)) idle()
    return result
  }

  /** Resolves when nothing is on its way, or nobody waits for it any more. */
  idle(): Promise<void> {
    if (this.isIdle || !this.alive) return Promise.resolve()
    return new Promise((resolve) => this.idlers.push(resolve))
  }

  private async write(batch: Batch, previous: Promise<Acknowledged | undefined>): Promise<Acknowledged | undefined> {
    const commit = batch.toCommit(this.lease)
    let again = true
    for (let attempt = 0; ; attempt++) {
      const result = await this.context.store.commit(commit).catch((error: unknown) => {
        batch.isUnsure = true
        this.context.logger.warn({ shard: this.lease.shard, commit: batch.number, error: (error as Error).message }, 'the reply to a commit was lost; asking again')
        return undefined
      })
      // What the store says of this commit counts only once the one before it is known to stand.
      if (!(await previous) || !this.alive) return undefined
      if (result?.ok) return result
      if (result?.why === 'gap' && again) {
        // It may have overtaken the repeat of the one before.
        again = false
        continue
      }
      if (result) {
        this.alive = false
        this.onFailed({ why: result.why, detail: result.detail, address: result.address, batches: this.inFlight })
        return undefined
      }
      await new Promise<void>((resolve) => this.context.clock.after(Math.min(retryMs * 2 ** attempt, 2_000), resolve))
      if (!this.alive) return undefined
    }
  }

  /** No further attempts; commits on their way stay unanswered. */
  close(): void {
    this.alive = false
    for (const idle of this.idlers.splice(0)) idle()
  }
}

/**
 * A store that fails on purpose: before or after any durable write it may fail, lose the reply, answer late, or take
 * the process that holds it down. A dead process hears nothing any more, not even answers that were on their way.
 */
import { MoveError, StoreError } from '../errors.js'
import type { Clock } from '../runtime/ports/clock.js'
import { isMovable, type Cursor, type ItemPage, type MovableStore, type MoveMark, type NamespaceChanges, type Sealed, type SealOver } from '../runtime/ports/moving.js'
import type { Appended, Claim, Commit, CommitResult, Entry, FindQuery, Found, Holder, Lease, LogEntry, NewEntry, NodeIdentity, NodePresence, NodeSeen, OpenOptions, OutboxEntry, Presence, Recovery, Redrive, Redriven, Standing, Store, StoredRecord, StoredTimer, StoreInfo, Watched } from '../runtime/ports/store.js'

export type WriteKind = 'claim' | 'append' | 'commit' | 'deliver' | 'release' | 'renew' | 'trim' | 'redrive' | 'mark' | 'seal' | 'unseal' | 'import' | 'clear'

/** One durable write, as the store behind is about to do it. */
export interface Write {
  /** Counts from 0 over all writes of this store object, or of all that share a {@link FaultyStoreOptions.nextIndex}. */
  readonly index: number
  readonly kind: WriteKind
  readonly commit?: Commit
  readonly entries?: readonly NewEntry[]
}

export type Fault =
  /** The process dies, and the write does not happen. */
  | 'kill-before'
  /** The write happens, and the process dies before it hears of it. */
  | 'kill-after'
  /** The write does not happen, and the process is told so. */
  | 'fail'
  /** The write happens, and the process is told that nobody knows. */
  | 'lose-reply'
  /** The write happens now, and the answer comes so much later, ms. */
  | { readonly delayMs: number }

export interface FaultyStoreOptions {
  /** Asked before each durable write. */
  readonly onWrite?: (write: Write) => Fault | undefined
  /** Told of each write once it has happened. */
  readonly onWritten?: (write: Write, result: unknown) => void
  /** Numbers the writes. Default: from 0. */
  readonly nextIndex?: () => number
  /** Needed for delays. */
  readonly clock?: Clock
  /** Told when the process has died. */
  readonly onDeath?: (write: Write) => void
}

export class FaultyStore implements MovableStore {
  /** Once true, nothing is answered any more. */
  dead = false
  private readonly inner: Store
  private readonly options: FaultyStoreOptions
  private count = 0
  private calls = 0
  private unanswered = 0
  private idlers: (() => void)[] = []

  constructor(inner: Store, options: FaultyStoreOptions = {}) {
    this.inner = inner
    this.options = options
  }

  /** Durable writes asked for so far. */
  get writes(): number {
    return this.count
  }

  /** Calls passed on to the store behind so far, reads of the log apart. */
  get asked(): number {
    return this.calls
  }

  /** Whether the store behind has answered all calls passed on to it, reads of the log apart. */
  get isIdle(): boolean {
    return this.unanswered === 0
  }

  /** Resolves when the store behind has answered all calls passed on to it, reads of the log apart; a dead process's too. */
  idle(): Promise<void> {
    if (this.unanswered === 0) return Promise.resolve()
    return new Promise((resolve) => this.idlers.push(resolve))
  }

  private async write<T>(kind: WriteKind, run: () => Promise<T>, what: { commit?: Commit; entries?: readonly NewEntry[] } = {}): Promise<T> {
    if (this.dead) return never()
    const own = this.count++
    const write: Write = { index: this.options.nextIndex?.() ?? own, kind, ...what }
    const fault = this.options.onWrite?.(write)
    if (fault === 'kill-before') return this.die(write)
    if (fault === 'fail') throw new StoreError(`write ${write.index} (${kind}) was made to fail`, 'failed')
    // What was on its way when another write killed the process is written all the same.
    const result = await this.hear(this.ask(run, (answer) => this.options.onWritten?.(write, answer)))
    if (fault === 'kill-after') return this.die(write)
    if (fault === 'lose-reply') throw new StoreError(`the reply to write ${write.index} (${kind}) was lost`, 'unknown')
    if (typeof fault === 'object') await new Promise<void>((resolve) => this.options.clock!.after(fault.delayMs, resolve))
    return this.dead ? never() : result
  }

  private die(write: Write): Promise<never> {
    if (!this.dead) {
      this.dead = true
      this.options.onDeath?.(write)
    }
    return never()
  }

  private async look<T>(run: () => Promise<T>): Promise<T> {
    return this.dead ? never() : this.hear(this.ask(run))
  }

  private async ask<T>(run: () => Promise<T>, onAnswer?: (answer: T) => void): Promise<T> {
    this.calls++
    this.unanswered++
    try {
      const answer = await run()
      onAnswer?.(answer)
      return answer
    } finally {
      if (--this.unanswered === 0) for (const idle of this.idlers.splice(0)) idle()
    }
  }

  /** An answer, also that something failed, unless the process is dead by then. */
  private hear<T>(answer: Promise<T>): Promise<T> {
    return answer.then(
      (result) => (this.dead ? never() : result),
      (error: unknown) => (this.dead ? never() : Promise.reject(error as Error)),
    )
  }

  open(options: OpenOptions): Promise<StoreInfo> {
    return this.look(() => this.inner.open(options))
  }
  standing(): Promise<Standing> {
    return this.look(() => this.inner.standing())
  }
  now(): Promise<number> {
    return this.look(() => this.inner.now())
  }
  beat(node: NodeIdentity, as: NodePresence, silent: readonly NodeSeen[]): Promise<Presence> {
    return this.look(() => this.inner.beat(node, as, silent))
  }
  presence(): Promise<Presence> {
    return this.look(() => this.inner.presence())
  }
  halt(why: string, accepted: number): Promise<void> {
    return this.look(() => this.inner.halt(why, accepted))
  }
  accept(): Promise<void> {
    return this.look(() => this.inner.accept())
  }
  claim(shard: number, node: NodeIdentity, seen?: Holder, accepted?: number): Promise<Claim> {
    return this.write('claim', () => this.inner.claim(shard, node, seen, accepted))
  }
  renew(lease: Lease): Promise<number | undefined> {
    return this.write('renew', () => this.inner.renew(lease))
  }
  release(lease: Lease): Promise<void> {
    return this.write('release', () => this.inner.release(lease))
  }
  append(shard: number, entries: readonly NewEntry[]): Promise<readonly Appended[]> {
    return this.write('append', () => this.inner.append(shard, entries), { entries })
  }
  read(shard: number, after: number, max: number, signal: AbortSignal): Promise<readonly Entry[]> {
    return this.dead ? never() : this.hear(this.inner.read(shard, after, max, signal))
  }
  commit(commit: Commit): Promise<CommitResult> {
    return this.write('commit', () => this.inner.commit(commit), { commit })
  }
  deliver(to: number, from: number, entries: readonly OutboxEntry[]): Promise<void> {
    return this.write('deliver', () => this.inner.deliver(to, from, entries), { entries: entries.map(({ entry }) => entry) })
  }
  redrive(shard: number, letters: readonly Redrive[]): Promise<readonly Redriven[]> {
    return this.write('redrive', () => this.inner.redrive(shard, letters), { entries: letters.map(({ entry }) => entry) })
  }
  load(shard: number, addresses: readonly string[]): Promise<readonly (StoredRecord | undefined)[]> {
    return this.look(() => this.inner.load(shard, addresses))
  }
  parked(shard: number, address: string, max: number): Promise<readonly string[]> {
    return this.look(() => this.inner.parked(shard, address, max))
  }
  recover(shard: number): Promise<Recovery> {
    return this.look(() => this.inner.recover(shard))
  }
  timers(shard: number, until: number, max: number): Promise<readonly StoredTimer[]> {
    return this.look(() => this.inner.timers(shard, until, max))
  }
  nextTimer(shard: number): Promise<number | undefined> {
    return this.look(() => this.inner.nextTimer(shard))
  }
  log(shard: number, stream: string, after: number, max: number): Promise<readonly LogEntry[]> {
    return this.look(() => this.inner.log(shard, stream, after, max))
  }
  trim(shard: number, stream: string, through: number): Promise<void> {
    return this.write('trim', () => this.inner.trim(shard, stream, through))
  }
  reply(shard: number, id: string): Promise<string | undefined> {
    return this.look(() => this.inner.reply(shard, id))
  }
  find(shard: number, query: FindQuery): Promise<Found> {
    return this.look(() => this.inner.find(shard, query))
  }
  mark(expected: MoveMark | undefined, next: MoveMark | undefined, changes?: NamespaceChanges): Promise<boolean> {
    return this.write('mark', () => this.movable().mark(expected, next, changes))
  }
  seal(shard: number, move: string, why: string, over?: SealOver): Promise<Sealed> {
    return this.write('seal', () => this.movable().seal(shard, move, why, over))
  }
  unseal(shard: number, move: string): Promise<void> {
    return this.write('unseal', () => this.movable().unseal(shard, move))
  }
  export(shard: number, from: Cursor): Promise<ItemPage> {
    return this.look(() => this.movable().export(shard, from))
  }
  import(shard: number, move: string, page: ItemPage): Promise<Cursor> {
    return this.write('import', () => this.movable().import(shard, move, page))
  }
  clear(shard: number, move: string): Promise<boolean> {
    return this.write('clear', () => this.movable().clear(shard, move))
  }
  private movable(): MovableStore {
    if (isMovable(this.inner)) return this.inner
    throw new MoveError('cannot', 'The store behind this FaultyStore cannot be moved: it has not the methods of a MovableStore.')
  }
  watch(what: Watched, onChange: () => void): () => void {
    return this.inner.watch(what, () => {
      if (!this.dead) onChange()
    })
  }
  close(): Promise<void> {
    return this.dead ? never() : this.inner.close()
  }
}

/** What a dead process waits for. */
function never(): Promise<never> {
  return new Promise(() => {})
}

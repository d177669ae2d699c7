/**
 * All writes of this process to one folder: those of the same moment share a transaction and its flush, in the order
 * in which they were asked for (P4). While one transaction is being flushed the next writes gather.
 *
 * G1  A write is drafted and put into the transaction with nobody else in between, so it sees all earlier ones.
 * G2  Nobody hears of a write before its transaction is on disk, or has failed as a whole.
 * G3  A write that throws while it is drafted fails alone, and nothing of it is written.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { StoreError } from '../../errors.js'
import { Draft } from './draft.js'
import { storeError } from './failures.js'
import { TreeReader, type Tree } from './tree.js'

interface Write {
  /** Drafts the write; may throw. */
  readonly draft: (draft: Draft) => unknown
  resolve(result: unknown): void
  reject(error: unknown): void
  /** What to tell when the transaction is on disk. */
  outcome?: { readonly result: unknown } | { readonly error: unknown }
}

/** A transaction takes no more, so that it neither holds up the event loop nor outgrows LMDB's memory. */
const groupBytesMax = 8 * 1_048_576
const groupWritesMax = 1_000

export class GroupWriter {
  private readonly tree: Tree
  private readonly reader: TreeReader
  private readonly path: string
  private readonly timeoutMs: number
  private waiting: Write[] = []
  /** A transaction has been asked for and has not begun. */
  private isComing = false
  private underWay = 0
  private idlers: (() => void)[] = []
  /** Why no write is taken: for the time being, or for good. */
  private refusing: StoreError | undefined

  constructor(tree: Tree, path: string, timeoutMs: number) {
    this.tree = tree
    this.reader = new TreeReader(tree)
    this.path = path
    this.timeoutMs = timeoutMs
  }

  /**
   * Resolves with what `draft` returned, when what it drafted is on disk.
   *
   * @throws StoreError if it could not be written; what `draft` throws
   */
  write<T>(draft: (draft: Draft) => T): Promise<T> {
    if (this.refusing) return Promise.reject(this.refusing)
    return new Promise<T>((resolve, reject) => {
      this.waiting.push({ draft, resolve: resolve as (result: unknown) => void, reject })
      this.begin()
    })
  }

  /** Resolves when nothing is waiting or under way any more. */
  idle(): Promise<void> {
    if (this.waiting.length === 0 && this.underWay === 0) return Promise.resolve()
    return new Promise((resolve) => this.idlers.push(resolve))
  }

  /** Resolves when what has been asked for so far is on disk or has failed. */
  async settled(): Promise<void> {
    if (this.waiting.length > 0 || this.underWay > 0) await this.write(() => {}).catch(() => {})
  }

  private begin(): void {
    if (this.isComing || this.waiting.length === 0) return
    this.isComing = true
    this.underWay++
    void this.run().finally(() => {
      this.underWay--
      this.begin()
      if (this.underWay === 0) for (const idle of this.idlers.splice(0)) idle()
    })
  }

  /** One transaction. Does not throw. */
  private async run(): Promise<void> {
    let group: Write[] | undefined
    let torn: unknown
    let stalled: StoreError | undefined
    const timer = setTimeout(() => {
      stalled = this.giveUp(group)
    }, this.timeoutMs).unref()
    try {
      await this.tree.transaction(() => {
        this.isComing = false
        if (this.refusing === stalled) this.refusing = undefined
        group = []
        try {
          this.fill(group)
        } catch (error) {
          torn = error
          throw error
        } finally {
          // Not from within: lmdb would run it in this transaction.
          if (this.waiting.length > 0) setImmediate(() => this.begin())
        }
      })
      for (const write of group ?? []) settle(write)
    } catch (error) {
      // LMDB fails a transaction in which a write failed; if it ever did not, half of a write would be there.
      const mayBeWritten = (torn !== undefined && error === torn) || !this.canRead()
      const failure = storeError(this.path, await causeOf(error), mayBeWritten ? 'unknown' : 'failed')
      if (mayBeWritten) this.refusing = failure
      for (const { reject } of group ?? this.waiting.splice(0)) reject(failure)
    } finally {
      clearTimeout(timer)
      if (!group) {
        this.isComing = false
        if (this.refusing === stalled) this.refusing = undefined
      }
    }
  }

  /** In the transaction: drafts what is waiting and writes it. Throws only if LMDB fails. */
  private fill(group: Write[]): void {
    let bytes = 0
    while (this.waiting.length > 0 && group.length < groupWritesMax && bytes < groupBytesMax) {
      const write = this.waiting.shift()!
      group.push(write)
      const draft = new Draft(this.reader)
      try {
        write.outcome = { result: write.draft(draft) }
      } catch (error) {
        write.outcome = { error }
        continue
      }
      draft.write(this.tree)
      bytes += draft.size
    }
  }

  /**
   * LMDB writes the head page last. If that fails nobody knows what the disk holds, and LMDB refuses every further
   * transaction, also one that reads; if anything failed before it, the transaction has not happened.
   */
  private canRead(): boolean {
    try {
      this.tree.resetReadTxn()
      this.tree.get('\u0000')
      return true
    } catch {
      return false
    }
  }

  /** Answers those who have waited too long; what has not begun is refused until it can begin. */
  private giveUp(group: readonly Write[] | undefined): StoreError {
    const seconds = this.timeoutMs / 1_000
    if (group) {
      const error = new StoreError(`lmdb at ${this.path}: the disk has not answered a write for ${seconds} s.`, 'unknown')
      for (const { reject } of group) reject(error)
      return error
    }
    const error = new StoreError(`lmdb at ${this.path}: no write was possible for ${seconds} s. Another process that has the folder open is stopped or busy, or the disk does not answer.`, 'failed')
    this.refusing ??= error
    for (const { reject } of this.waiting.splice(0)) reject(error)
    return error
  }
}

function settle({ outcome, resolve, reject }: Write): void {
  if (outcome && 'result' in outcome) resolve(outcome.result)
  else reject(outcome?.error)
}

/** lmdb rejects with an error that promises the true one. */
async function causeOf(error: unknown): Promise<unknown> {
  const promised: unknown = (error as { commitError?: unknown } | null)?.commitError
  if (!(promised instanceof Promise)) return error
  const cause = promised.then(
    () => error,
    (reason: unknown) => reason,
  )
  return Promise.race([cause, sleep(1_000, error, { ref: false })])
}

/**
 * Tells who waits for a shard that its head has changed, whichever process changed it: this one says so itself, of
 * others the operating system tells, and now and then one looks. Never keeps the event loop alive.
 */
import { watch, type FSWatcher } from 'node:fs'
import type { Key } from './keys.js'

/** Is given the head as it stands now. */
export type HeadListener = (head: string | undefined) => void

/** What one head looked like last, and who wants to know when it looks otherwise. */
interface Watched {
  seen: string | undefined
  readonly listeners: Set<HeadListener>
}

/** How often one looks anyway; the operating system may drop what it would tell. */
const pollMs = 500
/** Where it tells nothing at all, say on some network and container file systems. */
const lonelyPollMs = 25
/** After a look one rests this many times as long as it took, however much is written. */
const restFactor = 4
/**
 * A writer's last page may be told of just before LMDB lets others see it. So one looks again after this time, and then
 * at intervals that double.
 */
const lookAgainMs = 1

export class ChangeWatcher {
  private readonly dataFile: string
  private readonly read: (key: Key) => string | undefined
  private readonly heads = new Map<Key, Watched>()
  private readonly changedHere = new Set<Key>()
  private watcher: FSWatcher | undefined
  private isWatching = false
  private poll: NodeJS.Timeout | undefined
  private nextLook: NodeJS.Timeout | undefined
  private restsUntil = 0

  /** `read` gives the newest state. */
  constructor(dataFile: string, read: (key: Key) => string | undefined) {
    this.dataFile = dataFile
    this.read = read
  }

  /** Calls back when the value of `head` is another than now. Returns how to stop. */
  listen(head: Key, listener: HeadListener): () => void {
    // Before the first look, so that no change falls between the two.
    if (!this.isWatching) this.start()
    let watched = this.heads.get(head)
    if (watched) this.look(head, watched)
    else this.heads.set(head, (watched = { seen: this.read(head), listeners: new Set() }))
    const { listeners } = watched
    listeners.add(listener)
    return () => {
      listeners.delete(listener)
      if (listeners.size === 0 && this.heads.get(head)?.listeners === listeners) this.heads.delete(head)
    }
  }

  /** This process has changed that head. */
  changed(head: Key): void {
    if (!this.heads.has(head)) return
    // The writes of one transaction are told of one after the other; one look will do.
    if (this.changedHere.size === 0) {
      queueMicrotask(() => {
        const heads = [...this.changedHere]
        this.changedHere.clear()
        for (const key of heads) {
          const watched = this.heads.get(key)
          if (watched) this.look(key, watched)
        }
      })
    }
    this.changedHere.add(head)
  }

  close(): void {
    this.heads.clear()
    this.watcher?.close()
    clearInterval(this.poll)
    clearTimeout(this.nextLook)
  }

  private start(): void {
    this.isWatching = true
    try {
      this.watcher = watch(this.dataFile, { persistent: false }, () => this.told())
      this.watcher.on('error', () => this.pollAlone())
      this.poll = setInterval(() => this.lookAtAll(), pollMs).unref()
    } catch {
      this.pollAlone()
    }
  }

  private pollAlone(): void {
    this.watcher?.close()
    this.watcher = undefined
    clearInterval(this.poll)
    this.poll = setInterval(() => this.lookAtAll(), lonelyPollMs).unref()
  }

  /** A transaction is told of at each of its writes, and only after the last one can it be seen. */
  private told(): void {
    if (this.heads.size === 0) return
    const restsForMs = this.restsUntil - performance.now()
    if (restsForMs <= 0) this.lookAtAll()
    this.lookAgainIn(Math.max(lookAgainMs, restsForMs))
  }

  private lookAgainIn(ms: number): void {
    clearTimeout(this.nextLook)
    if (ms >= pollMs) return
    this.nextLook = setTimeout(() => {
      this.lookAtAll()
      this.lookAgainIn(2 * ms)
    }, ms).unref()
  }

  private lookAtAll(): void {
    const began = performance.now()
    for (const [head, watched] of this.heads) this.look(head, watched)
    const ended = performance.now()
    this.restsUntil = ended + restFactor * (ended - began)
  }

  private look(head: Key, watched: Watched): void {
    let now: string | undefined
    try {
      now = this.read(head)
    } catch {
      // Whoever reads next is told; here one looks again before long.
      return
    }
    if (now === watched.seen) return
    watched.seen = now
    for (const listener of [...watched.listeners]) {
      try {
        listener(now)
      } catch (error) {
        // A listener's own mistake is not that of whoever wrote.
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }
}

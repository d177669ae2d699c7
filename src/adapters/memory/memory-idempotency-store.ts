/** Keys of requests in memory: for tests, and for a receiver of one process that forgets when it ends. */
import type { Begin, End, IdempotencyStore, KeptAnswer, Known } from '../../mesh/ports/idempotency-store.js'

interface Entry {
  readonly digest: string
  state: 'running' | 'unknown' | 'done'
  token: string
  /** What its holder was told, and is told again. */
  told: 'begun' | 'taken'
  leaseUntil: number
  retentionMs: number
  keptUntil: number
  answer: KeptAnswer | undefined
}

export class MemoryIdempotencyStore implements IdempotencyStore {
  private readonly entries = new Map<string, Entry>()
  private readonly now: () => number
  private begun = 0

  /** @param now ms; only differences matter */
  constructor(now: () => number = () => performance.now()) {
    this.now = now
  }

  begin(key: string, { digest, token, leaseMs, retentionMs, takesOver }: Begin): Promise<Known> {
    const now = this.now()
    // Old keys go as new ones come.
    if (++this.begun % 256 === 0) for (const [other, { keptUntil }] of this.entries) if (keptUntil <= now) this.entries.delete(other)
    const entry = this.entries.get(key)
    if (!entry || entry.keptUntil <= now) {
      this.entries.set(key, { digest, state: 'running', token, told: 'begun', leaseUntil: now + leaseMs, retentionMs, keptUntil: now + leaseMs + retentionMs, answer: undefined })
      return Promise.resolve({ state: 'begun' })
    }
    if (entry.digest !== digest) return Promise.resolve({ state: 'other' })
    if (entry.state === 'done') return Promise.resolve({ state: 'done', answer: entry.answer! })
    if (entry.state === 'running' && entry.token === token) return Promise.resolve({ state: entry.told })
    if (entry.state === 'running' && entry.leaseUntil > now) return Promise.resolve({ state: 'running' })
    if (!takesOver) return Promise.resolve({ state: 'unknown' })
    Object.assign(entry, { state: 'running', token, told: 'taken', leaseUntil: now + leaseMs, retentionMs, keptUntil: now + leaseMs + retentionMs })
    return Promise.resolve({ state: 'taken' })
  }

  renew(key: string, token: string, leaseMs: number): Promise<boolean> {
    const entry = this.entries.get(key)
    if (entry?.state !== 'running' || entry.token !== token) return Promise.resolve(false)
    entry.leaseUntil = this.now() + leaseMs
    entry.keptUntil = entry.leaseUntil + entry.retentionMs
    return Promise.resolve(true)
  }

  end(key: string, token: string, end: End, retentionMs: number): Promise<boolean> {
    const entry = this.entries.get(key)
    if (entry?.token !== token) return Promise.resolve(end.state === 'released' && !entry)
    if (entry.state !== 'running') return Promise.resolve(entry.state === end.state)
    if (end.state === 'released') this.entries.delete(key)
    else Object.assign(entry, { state: end.state, keptUntil: this.now() + retentionMs, answer: end.state === 'done' ? end.answer : undefined })
    return Promise.resolve(true)
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

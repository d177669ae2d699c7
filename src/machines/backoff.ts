/** How long to wait before trying again: exponential, bounded, with jitter from a given chance. Pure. */

export interface Backoff {
  /** The first wait, ms. */
  readonly firstMs: number
  /** What each further wait is multiplied by; at least 1. */
  readonly factor: number
  /** No wait is longer, ms. */
  readonly maxMs: number
  /** Share of the wait that chance decides: 0 for none, 1 for anything from 0 to the whole. */
  readonly jitter: number
}

export const defaultBackoff: Backoff = { firstMs: 500, factor: 2, maxMs: 30_000, jitter: 0.5 }

/**
 * @param attempt 1 for the wait after the first attempt
 * @param chance in [0, 1)
 */
export function backoffMs(backoff: Backoff, attempt: number, chance: number): number {
  const full = Math.min(backoff.maxMs, backoff.firstMs * backoff.factor ** Math.max(0, attempt - 1))
  return Math.round(full * (1 - backoff.jitter * chance))
}

/** A number in [0, 1) that follows from a text: chance for charts, the same at every recovery. FNV-1a, mixed. */
export function chanceFrom(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x45d9f3b)
  return ((hash ^ (hash >>> 16)) >>> 0) / 4_294_967_296
}

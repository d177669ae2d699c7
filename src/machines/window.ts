/** Outcomes within a sliding window, by buckets of a tenth of it: bounded memory, and no clock of its own. Pure. */

export interface Bucket {
  /** Where it begins, ms; a multiple of its width. */
  readonly from: number
  readonly ok: number
  readonly failed: number
}

const parts = 10

const within = (buckets: readonly Bucket[], at: number, windowMs: number): Bucket[] => buckets.filter(({ from }) => from > at - windowMs && from <= at)

/** With one more outcome at `at`, and without what has left the window. At most eleven of them, while the window stays as it is. */
export function noted(buckets: readonly Bucket[], at: number, windowMs: number, ok: boolean): readonly Bucket[] {
  const width = Math.max(1, Math.ceil(windowMs / parts))
  const from = Math.floor(at / width) * width
  const kept = within(buckets, at, windowMs)
  const here = kept.find((bucket) => bucket.from === from) ?? { from, ok: 0, failed: 0 }
  return [...kept.filter((bucket) => bucket !== here), { from, ok: here.ok + (ok ? 1 : 0), failed: here.failed + (ok ? 0 : 1) }]
}

/** What is in the window that ends at `at`. Nothing older counts; of what is about to leave it, up to a tenth may be gone already. */
export function countIn(buckets: readonly Bucket[], at: number, windowMs: number): { readonly ok: number; readonly failed: number } {
  let ok = 0
  let failed = 0
  for (const bucket of within(buckets, at, windowMs)) {
    ok += bucket.ok
    failed += bucket.failed
  }
  return { ok, failed }
}

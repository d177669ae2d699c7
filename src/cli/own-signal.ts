/**
 * Does `work` under a signal of its own, which ends with `signal` and by `end`.
 *
 * AbortSignal.any does not do: it holds neither what it is made of nor, on Node 20, an AbortSignal.timeout among it, so that a
 * garbage collection can lose the end (nodejs/node issues 57736 and 65995).
 */
export async function underOwnSignal<T>(signal: AbortSignal, work: (own: AbortSignal, end: (reason?: unknown) => void) => Promise<T>): Promise<T> {
  const own = new AbortController()
  const follow = (): void => own.abort(signal.reason)
  signal.addEventListener('abort', follow, { once: true })
  if (signal.aborted) follow()
  try {
    return await work(own.signal, (reason) => own.abort(reason))
  } finally {
    signal.removeEventListener('abort', follow)
  }
}

/** The same, ended after `ms` with a TimeoutError. */
export function within<T>(ms: number, signal: AbortSignal, work: (own: AbortSignal) => Promise<T>): Promise<T> {
  return underOwnSignal(signal, async (own, end) => {
    const timer = setTimeout(() => end(new DOMException(`no whole answer came within ${ms} ms`, 'TimeoutError')), ms)
    try {
      return await work(own)
    } finally {
      clearTimeout(timer)
    }
  })
}

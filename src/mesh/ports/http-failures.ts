/** What an answer of a server, or the want of one, says of a failure: read alike by all that ask over HTTP. */
import type { ModelFailureKind } from './model-client.js'

/** Statuses that say enough of a model's provider. Of the others its own name for the error says more; without one, 4xx is the caller's fault and 5xx the provider's. */
export const kindOfStatus: ReadonlyMap<number, ModelFailureKind> = new Map([
  [401, 'authentication'],
  [402, 'payment'],
  [403, 'authentication'],
  // A gateway or the provider did not wait for the request to arrive, or lost its caller.
  [408, 'connection'],
  // Two requests at once, of which one has to come again.
  [409, 'server'],
  [429, 'rate-limit'],
  [499, 'connection'],
  [529, 'overloaded'],
])

/** The first code of the operating system or of fetch (ECONNRESET, UND_ERR_SOCKET) in a chain of causes. */
export function systemCode(thrown: unknown): string | undefined {
  let error = thrown
  for (let depth = 0; depth < 8 && typeof error === 'object' && error !== null; depth++) {
    const { code, cause } = error as { code?: unknown; cause?: unknown }
    if (typeof code === 'string' && /^[A-Z][A-Z0-9_]{2,39}$/.test(code)) return code
    error = cause
  }
  return undefined
}

/**
 * `retry-after-ms`, else `retry-after` in seconds or as an HTTP date, ms from the answer. A date is read against the
 * answer's own `date`, so that a clock of ours that is wrong does not matter. Undefined: it does not say.
 */
export function retryAfterMs(headers: { get(name: string): string | null }): number | undefined {
  const after = headers.get('retry-after') ?? ''
  const candidates = [numberOf(headers.get('retry-after-ms') ?? ''), numberOf(after) * 1_000, dateOf(after) - dateOf(headers.get('date') ?? '')]
  const ms = candidates.find((candidate) => !Number.isNaN(candidate))
  return ms !== undefined && Number.isSafeInteger(Math.ceil(ms)) ? Math.max(0, Math.ceil(ms)) : undefined
}

const numberOf = (text: string): number => (/^\d+(\.\d+)?$/.test(text.trim()) ? Number(text) : Number.NaN)

/** JavaScript itself reads much as a date that is none. Of two texts, not of a clock. */
// oxlint-disable-next-line no-restricted-globals
const dateOf = (text: string): number => (/^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(text.trim()) ? Date.parse(text) : Number.NaN)

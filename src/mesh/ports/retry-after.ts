/** When a server says to try again: what the headers of its answer mean, in ms. */

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

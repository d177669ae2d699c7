/**
 * What an answer, or none, says about the action that was asked for: that it happened (`done`), that it did not and will not
 * (`refused`), that it did not and may later (`retryable`), or nothing (`unknown`). Only what is certain is said: of an answer
 * of 500, or a connection that breaks after the request went out, nobody knows.
 */
import { HoldfastError } from '../../errors.js'
import { retryAfterMs, systemCode } from '../../mesh/ports/http-failures.js'

export type HttpOutcome =
  | { readonly outcome: 'done'; readonly response: Response }
  /** isOfKey: because the key had been used for another request. */
  | { readonly outcome: 'refused'; readonly status: number; readonly why: string; readonly isOfKey: boolean }
  /** isUnderWay: not by this attempt, but it may be happening. */
  | { readonly outcome: 'retryable'; readonly status: number | undefined; readonly why: string; readonly retryAfterMs: number | undefined; readonly isUnderWay?: true }
  | { readonly outcome: 'unknown'; readonly status: number | undefined; readonly why: string; readonly retryAfterMs: number | undefined }

/** The receiver did not do it and will not. */
export class HttpRefusedError extends HoldfastError {
  readonly status: number
  constructor(what: string, { status, why }: Extract<HttpOutcome, { outcome: 'refused' }>) {
    super('HTTP_REFUSED', `${what} was refused: ${why}`)
    this.status = status
  }
}

/** The receiver has not done it, at any attempt. It may be asked again, under any key. */
export class HttpRetryableError extends HoldfastError {
  readonly status: number | undefined
  readonly retryAfterMs: number | undefined
  constructor(what: string, { status, why, retryAfterMs }: Extract<HttpOutcome, { outcome: 'retryable' }>, attempts: number) {
    super('HTTP_RETRYABLE', `${what} was not done in ${attempts === 1 ? 'one attempt' : `${attempts} attempts`}: ${why}`)
    this.status = status
    this.retryAfterMs = retryAfterMs
  }
}

/** Nobody knows whether it happened. `isOutcomeUnknown` is true of it, and a person or `reconcile` finds out. */
export class HttpUnknownError extends HoldfastError {
  readonly status: number | undefined
  constructor(what: string, { status, why }: { readonly status: number | undefined; readonly why: string }, attempts: number) {
    super('OUTCOME_UNKNOWN', `Nobody knows whether ${what} happened, after ${attempts === 1 ? 'one attempt' : `${attempts} attempts`}: ${why}`)
    this.status = status
  }
}

/** The body is not read, but of a problem that says why. */
export async function outcomeOf(response: Response): Promise<HttpOutcome> {
  const { status } = response
  if (response.ok) return { outcome: 'done', response }
  const after = retryAfterMs(response.headers)
  const { isOfKey, text } = await problemOf(response)
  const why = `${status}${text === '' ? '' : `, ${text}`}`
  // A conflict is either with the same request, which is still under way, or with the state of things.
  if (status === 409) return after !== undefined || isOfKey ? { outcome: 'retryable', status, why, retryAfterMs: after, isUnderWay: true } : { outcome: 'refused', status, why, isOfKey }
  if (status === 408 || status === 425 || status === 429 || status === 503) return { outcome: 'retryable', status, why, retryAfterMs: after }
  if (status >= 500) return { outcome: 'unknown', status, why, retryAfterMs: after }
  return { outcome: 'refused', status, why: status < 400 ? `${why} (redirects are not followed, since the request would be made twice)` : why, isOfKey }
}

/** What came instead of an answer. */
export function outcomeOfFailure(thrown: unknown, timeoutMs: number | undefined): HttpOutcome {
  if (timeoutMs !== undefined) return { outcome: 'unknown', status: undefined, why: `no answer within ${timeoutMs} ms`, retryAfterMs: undefined }
  const code = systemCode(thrown)
  const why = `the connection failed${code ? ` (${code})` : ''}`
  // Nothing can have been sent.
  const isBefore = code !== undefined && /^(?:ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT)$/.test(code)
  return { outcome: isBefore ? 'retryable' : 'unknown', status: undefined, why, retryAfterMs: undefined }
}

const problemBytesMax = 16_384

/** RFC 9457, or whatever names an error; of bounded length, and on one line. */
async function problemOf(response: Response): Promise<{ readonly isOfKey: boolean; readonly text: string }> {
  if (!/\bjson\b/.test(response.headers.get('content-type') ?? '')) {
    await response.body?.cancel().catch(() => {})
    return { isOfKey: false, text: '' }
  }
  try {
    const problem = JSON.parse(await firstOf(response)) as Readonly<Record<string, unknown>> | null
    const error = problem?.['error']
    const said = [problem?.['title'], problem?.['detail'], problem?.['message'], typeof error === 'object' && error !== null ? (error as { message?: unknown }).message : error].filter((part): part is string => typeof part === 'string')
    const text = said.join(': ').replace(/\s+/g, ' ').slice(0, 300)
    const types = [problem?.['type'], (error as { type?: unknown } | null | undefined)?.type].filter((type) => typeof type === 'string')
    return { isOfKey: /idempoten/i.test([...types, text].join(' ')), text }
  } catch {
    return { isOfKey: false, text: '' }
  }
}

async function firstOf(response: Response): Promise<string> {
  const reader = response.body?.getReader()
  const parts: Uint8Array[] = []
  for (let bytes = 0; reader && bytes <= problemBytesMax; ) {
    const { done, value } = await reader.read()
    if (done) break
    parts.push(value)
    bytes += value.byteLength
  }
  await reader?.cancel().catch(() => {})
  return Buffer.concat(parts).toString()
}

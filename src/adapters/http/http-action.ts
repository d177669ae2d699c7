/**
 * An external action that is one HTTP request, under the effect's own idempotency key. If the receiver honours the key, the
 * request is repeated under it until there is an answer, also after a crash; if it does not, it is sent once, and what is then
 * unknown stays so until `reconcile` or a person finds out.
 */
import { ConfigError } from '../../errors.js'
import type { EffectArgs, Reconciled } from '../../protocol.js'
import { bytesOf } from './bytes.js'
import { contentDigest, headerOfKey, sha256 } from './key.js'
import { HttpRefusedError, HttpRetryableError, HttpUnknownError, outcomeOf, outcomeOfFailure, type HttpOutcome } from './outcome.js'

export interface HttpActionOptions<TInput, TOutput> {
  /** What is sent, made of nothing but the input: the same at every attempt. `Idempotency-Key` and `Content-Digest` are added. */
  readonly request: (args: EffectArgs<TInput>) => Request | Promise<Request>
  /** Reads an answer of 2xx. A throw says that it happened and cannot be read: the outcome is unknown. Default: its JSON, or null if it has no body. */
  readonly output?: (response: Response, args: EffectArgs<TInput>) => TOutput | Promise<TOutput>
  /** Whether the receiver answers the same key with the same answer and does nothing twice, as Stripe and {@link idempotent} do. */
  readonly honoursKey: boolean
  /** Asks the receiver whether it has happened, after a crash. Default, if the receiver honours the key: it is sent again under it. */
  readonly reconcile?: (args: EffectArgs<TInput>) => Promise<Reconciled<TOutput>> | Reconciled<TOutput>
  /** How often it is sent, by one process, 1 to 100; of what is unknown only if the receiver honours the key. Default 4. */
  readonly attemptsMax?: number
  /** How long before the second attempt, ms, 0 to 3,600,000, and twice as long before each after it, up to a minute; what the receiver asks for goes before it, up to `retryAfterMaxMs`. Default 500. */
  readonly backoffMs?: number
  /** Longest `retry-after` that is waited for, ms, 0 to 2,147,483,647; beyond it the action fails as retryable or unknown. Default 60,000. */
  readonly retryAfterMaxMs?: number
  /** How long one attempt may take, to the end of its answer, ms, 1 to 2,147,483,647. Default 30,000. */
  readonly timeoutMs?: number
  /** How requests are made. Default: Node's fetch. */
  readonly fetch?: (request: Request) => Promise<Response>
}

/** For `external(…)` in a machine, or spread beside `input` among an agent's external actions. */
export interface HttpAction<TInput, TOutput> {
  readonly run: (args: EffectArgs<TInput>) => Promise<TOutput>
  readonly reconcile?: (args: EffectArgs<TInput>) => Promise<Reconciled<TOutput>> | Reconciled<TOutput>
}

const backoffMaxMs = 60_000

/**
 * ```ts
 * externalActions: { charge: { input: Charge, ...httpAction({ honoursKey: true, request: ({ input }) => new Request(url, { method: 'POST', body: JSON.stringify(input) }) }) } }
 * ```
 *
 * Its `run` fails with HttpRefusedError, HttpRetryableError (it has not happened) or HttpUnknownError (code OUTCOME_UNKNOWN).
 *
 * @throws ConfigError for options that cannot be used
 */
export function httpAction<TInput, TOutput = unknown>(options: HttpActionOptions<TInput, TOutput>): HttpAction<TInput, TOutput> {
  const settings = settingsOf(options)
  const { honoursKey, attemptsMax, backoffMs, retryAfterMaxMs, request } = settings
  const reconcile = options.reconcile ?? (honoursKey ? (): Reconciled<TOutput> => ({ happened: false }) : undefined)

  async function run(args: EffectArgs<TInput>): Promise<TOutput> {
    const { signal, idempotencyKey } = args
    const what = `the request under the key ${idempotencyKey}`
    const made = await request(args)
    const body = new Uint8Array(await made.arrayBuffer())
    // Of what a process that died has sent nobody knows, unless the receiver has been asked.
    let isUnknown = args.attempt > 1 && !options.reconcile
    let isUnderWay = false
    for (let attempt = 1; ; attempt++) {
      signal.throwIfAborted()
      const outcome = await ask(args, made, body)
      if (outcome.outcome === 'done') return outcome.output
      if (outcome.outcome === 'refused') throw (isUnknown || isUnderWay) && (isOfTheDoor(outcome.status) || outcome.isOfKey) ? new HttpUnknownError(what, outcome, attempt) : new HttpRefusedError(what, outcome)
      isUnknown ||= outcome.outcome === 'unknown'
      isUnderWay ||= 'isUnderWay' in outcome
      const { retryAfterMs = 0 } = outcome
      const isOver = attempt >= attemptsMax || retryAfterMs > retryAfterMaxMs || (isUnknown && !honoursKey) || ('isFinal' in outcome && outcome.isFinal)
      if (isOver) throw isUnknown || isUnderWay ? new HttpUnknownError(what, outcome, attempt) : new HttpRetryableError(what, { ...outcome, outcome: 'retryable' }, attempt)
      await pause(Math.max(retryAfterMs, backoffOf(backoffMs, idempotencyKey, attempt)), signal)
    }
  }

  async function ask(args: EffectArgs<TInput>, made: Request, body: Uint8Array<ArrayBuffer>): Promise<Asked<TOutput>> {
    const headers = new Headers(made.headers)
    headers.set('idempotency-key', headerOfKey(args.idempotencyKey))
    if (body.byteLength > 0) headers.set('content-digest', contentDigest(body))
    const attempt = new AbortController()
    const giveUp = (): void => attempt.abort()
    const timer = setTimeout(giveUp, settings.timeoutMs)
    args.signal.addEventListener('abort', giveUp, { once: true })
    try {
      const sent = new Request(made.url, { method: made.method, headers, ...(body.byteLength > 0 ? { body } : {}), redirect: 'manual', signal: attempt.signal })
      const outcome = await outcomeOf(await settings.fetch(sent))
      if (outcome.outcome !== 'done') return outcome
      const { response } = outcome
      const content = await bytesOf(response.body, answerBytesMax)
      if (content === undefined) return { outcome: 'unknown', status: response.status, why: `it happened (${response.status}), and its answer is longer than ${answerBytesMax} bytes`, retryAfterMs: undefined, isFinal: true }
      try {
        return { outcome: 'done', output: await settings.output(new Response(content.byteLength === 0 ? null : content, response), args) }
      } catch (error) {
        return { outcome: 'unknown', status: response.status, why: `it happened (${response.status}), and its answer cannot be read: ${(error as Error).message}`, retryAfterMs: undefined, isFinal: true }
      }
    } catch (thrown) {
      return outcomeOfFailure(thrown, attempt.signal.aborted && !args.signal.aborted ? settings.timeoutMs : undefined) as Asked<TOutput>
    } finally {
      clearTimeout(timer)
      args.signal.removeEventListener('abort', giveUp)
    }
  }

  return { run, ...(reconcile ? { reconcile } : {}) }
}

type Asked<TOutput> = { readonly outcome: 'done'; readonly output: TOutput } | (Exclude<HttpOutcome, { outcome: 'done' }> & { readonly isFinal?: boolean; readonly retryAfterMs?: number | undefined })

/** Most of an answer that is read. */
const answerBytesMax = 16_777_216

/** Said before the request came to the action itself: it says nothing of an earlier one. */
const isOfTheDoor = (status: number): boolean => status < 400 || status === 401 || status === 403 || status === 404 || status === 407

/** Spread by key and attempt, so that not all come back at once. */
function backoffOf(firstMs: number, key: string, attempt: number): number {
  const spread = Number.parseInt(sha256(`${key} ${attempt}`).slice(0, 8), 16) / 0xffff_ffff
  return Math.min(backoffMaxMs, firstMs * 2 ** (attempt - 1)) * (0.5 + spread / 2)
}

/** @throws the signal's reason */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted()
    const leave = (): void => {
      clearTimeout(timer)
      reject(signal.reason as Error)
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', leave)
      resolve()
    }, ms)
    signal.addEventListener('abort', leave, { once: true })
  })
}

async function json(response: Response): Promise<unknown> {
  return response.body === null ? null : await response.json()
}

function settingsOf<TInput, TOutput>(options: HttpActionOptions<TInput, TOutput>): Required<Omit<HttpActionOptions<TInput, TOutput>, 'reconcile'>> {
  const { request, output = json as (response: Response) => Promise<TOutput>, honoursKey, attemptsMax = 4, backoffMs = 500, retryAfterMaxMs = 60_000, timeoutMs = 30_000, fetch = globalThis.fetch } = options ?? {}
  if (typeof request !== 'function') throw new ConfigError('httpAction() needs request, a function that makes the Request of the input.')
  if (typeof honoursKey !== 'boolean') throw new ConfigError('httpAction() needs honoursKey: true if the receiver does nothing twice under one Idempotency-Key, else false.')
  whole('attemptsMax', attemptsMax, 1, 100)
  whole('backoffMs', backoffMs, 0, 3_600_000)
  whole('retryAfterMaxMs', retryAfterMaxMs, 0, 2_147_483_647)
  whole('timeoutMs', timeoutMs, 1, 2_147_483_647)
  return { request, output, honoursKey, attemptsMax, backoffMs, retryAfterMaxMs, timeoutMs, fetch }
}

function whole(name: string, value: unknown, min: number, max: number): void {
  if (!Number.isSafeInteger(value) || (value as number) < min || (value as number) > max) throw new ConfigError(`The option "${name}" of httpAction() must be a whole number from ${min} to ${max}, not ${String(value)}.`)
}

/**
 * The receiver's end of an idempotency key: a handler of requests that carries each key out once and gives a repeat the
 * same answer. It follows draft-ietf-httpapi-idempotency-key-header-07 (400 without a key, 422 for another request under the
 * same key, 409 while the first is under way) and, where the draft is silent, Stripe (the first answer is kept for 24 hours,
 * errors of 4xx included; docs.stripe.com/api/idempotent_requests). Two things are said more plainly than there:
 *
 * - A handler that says 408, 425, 429 or 503 has done nothing: the key is free again.
 * - A handler that threw, said another 5xx, or died with its process, leaves the outcome unknown. It is not run again before
 *   `reconcile` has said that nothing happened; without `reconcile` a repeat hears 500, and that nobody knows.
 *
 * The answer is kept before it is sent (E1), and a handler is begun only by whoever got the key from the store (E2).
 */
import { randomUUID } from 'node:crypto'
import { ConfigError } from '../../errors.js'
import type { Begin, End, IdempotencyStore, KeptAnswer, Known } from '../../mesh/ports/idempotency-store.js'
import { bytesOf } from './bytes.js'
import { contentDigest, keyOfHeader, sha256 } from './key.js'

/** From request to answer, as hono, Deno, Bun and service workers have it. */
export type Handler = (request: Request) => Response | Promise<Response>

/** A request whose outcome nobody knows. */
export interface Repeated {
  readonly key: string
  /** As it came again; its body can be read. */
  readonly request: Request
}

export interface IdempotentOptions {
  readonly store: IdempotencyStore
  /**
   * Asks whether a request, begun by a process that died or threw, was carried out: by looking up what it would have made.
   * `response` is then kept as its answer. Default: nobody knows, and a repeat is told so.
   */
  readonly reconcile?: (repeated: Repeated) => Promise<{ readonly happened: true; readonly response: Response } | { readonly happened: false }>
  /** Whose key it is: keys of two scopes have nothing to do with each other. With several callers, the caller's account. Default: method and path. */
  readonly scope?: (request: Request) => string
  /** Whether a request without a key is refused with 400, else it is simply handled. Default true. */
  readonly required?: boolean
  /** How long a key is remembered, from its answer or its handler's last sign of life on, ms, at least 1. Default 24 hours. A sender must not repeat for longer. */
  readonly retentionMs?: number
  /** After how long without a sign of life a handler counts as dead, ms, 10 to 2,147,483,647. It is renewed three times as often. Default 10,000. */
  readonly leaseMs?: number
  /** Longest body of a request, bytes, at least 0; beyond it 413. Default 1,048,576. */
  readonly bodyBytesMax?: number
  /** Longest body of an answer that is kept, bytes, at least 0. A repeat of a longer one gets its status and headers, and `idempotency-body-omitted`. Default 1,048,576. */
  readonly answerBytesMax?: number
  /** Told of what nobody answers for: the store failed, a handler threw. Default: nothing. */
  readonly onError?: (error: unknown, key: string) => void
}

/** GET, HEAD, OPTIONS and TRACE change nothing (RFC 9110, 9.2.1). */
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])
/** Headers of one connection, or of one copy of an answer. */
const NOT_KEPT = new Set(['connection', 'keep-alive', 'transfer-encoding', 'content-length', 'date', 'trailer', 'upgrade'])
/** Said by a handler that has done nothing. */
const RELEASES = new Set([408, 425, 429, 503])
const storeAttemptsMax = 3

/**
 * ```ts
 * const charge = idempotent({ store: redisIdempotency(url) }, async (request) => Response.json(await pay(await request.json()), { status: 201 }))
 * app.post('/charges', (c) => charge(c.req.raw))      // hono
 * createServer(nodeListener(charge)).listen(8080)     // node:http
 * ```
 *
 * @throws ConfigError for options that cannot be used
 */
export function idempotent(options: IdempotentOptions, handle: Handler): (request: Request) => Promise<Response> {
  const { store, scope, required, retentionMs, leaseMs, bodyBytesMax, answerBytesMax, onError } = settingsOf(options, handle)

  /** Q4: a call whose reply was lost may be made again. */
  async function asked<T>(key: string, call: () => Promise<T>): Promise<T | undefined> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await call()
      } catch (error) {
        if (attempt < storeAttemptsMax) continue
        onError(error, key)
        return undefined
      }
    }
  }

  /** Runs a handler that has the key, and keeps what it says (E1); what was found to have happened is kept, whatever it says. */
  async function carryOut(key: string, token: string, work: () => Promise<{ readonly happened: boolean; readonly response: Response }>): Promise<Response> {
    const renewal = setInterval(() => void store.renew(key, token, leaseMs).catch(() => {}), Math.max(1, leaseMs / 3)).unref()
    const end = (how: End): Promise<boolean | undefined> => asked(key, () => store.end(key, token, how, retentionMs))
    try {
      const { happened, response } = await work()
      const answer = await answerOf(response, answerBytesMax)
      const how: End = happened ? { state: 'done', answer: answer.kept } : RELEASES.has(response.status) ? { state: 'released' } : response.status >= 500 ? { state: 'unknown' } : { state: 'done', answer: answer.kept }
      // Somebody has taken the key over meanwhile: whatever is kept as its answer is theirs.
      return (await end(how)) === false ? outstanding() : answer.whole
    } catch (error) {
      onError(error, key)
      await end({ state: 'unknown' })
      return problem(500, 'unknown', 'Nobody knows whether this request was carried out', 'The handler of the request failed.')
    } finally {
      clearInterval(renewal)
    }
  }

  return async (request) => {
    if (SAFE.has(request.method)) return handle(request)
    const header = request.headers.get('idempotency-key')
    if (header === null) return required ? problem(400, 'missing', 'Idempotency-Key is missing', 'This request needs the header Idempotency-Key, so that it can be repeated safely.') : handle(request)
    const key = keyOfHeader(header)
    if (key === undefined) return problem(400, 'malformed', 'Idempotency-Key is malformed', 'One key of 1 to 255 printable ASCII characters is expected, in double quotes.')
    const body = await bytesOf(request.body, bodyBytesMax)
    if (body === undefined) return problem(413, 'too-long', 'The request is too long', `Its body may have ${bodyBytesMax} bytes.`)
    const said = request.headers.get('content-digest')
    if (said?.includes('sha-256=') && !said.includes(contentDigest(body))) return problem(400, 'damaged', 'The request is damaged', 'Its body does not have the Content-Digest that it came with.')

    // Without its caller's signal: what was begun goes on, since it is asked for again.
    const again = (): Request => new Request(request.url, { method: request.method, headers: request.headers, ...(body.byteLength > 0 ? { body } : {}) })
    const { pathname, search } = new URL(request.url)
    const place = sha256(JSON.stringify([scope(request), key]))
    const token = randomUUID()
    const begin: Begin = { digest: sha256(Buffer.concat([Buffer.from(JSON.stringify([request.method, pathname, search])), body])), token, leaseMs, retentionMs, takesOver: options.reconcile !== undefined }
    const known = await asked<Known>(key, () => store.begin(place, begin))
    switch (known?.state) {
      case undefined:
        return problem(503, 'unavailable', 'The request was not begun', 'What is known of its Idempotency-Key cannot be read now.', 1)
      case 'begun':
        return carryOut(place, token, async () => ({ happened: false, response: await handle(again()) }))
      case 'taken':
        return carryOut(place, token, async () => {
          const found = await options.reconcile!({ key, request: again() })
          return found.happened ? found : { happened: false, response: await handle(again()) }
        })
      case 'done':
        return answerAgain(known.answer)
      case 'running':
        return outstanding()
      case 'other':
        return problem(422, 'reused', 'Idempotency-Key is already used', 'Another request was sent under this key. A key must not be used for two requests.')
      case 'unknown':
        return problem(500, 'unknown', 'Nobody knows whether this request was carried out', 'It was begun, and whoever had begun it failed. It is not carried out again.')
    }
  }
}

/** The answer to keep, and the one to send. */
async function answerOf(response: Response, bytesMax: number): Promise<{ readonly kept: KeptAnswer; readonly whole: Response }> {
  const bytes = new Uint8Array(await response.arrayBuffer())
  const headers = [...response.headers].filter(([name]) => !NOT_KEPT.has(name))
  const kept: KeptAnswer = { status: response.status, headers, bodyBytes: bytes.byteLength, ...(bytes.byteLength <= bytesMax ? { body: Buffer.from(bytes).toString('base64') } : {}) }
  return { kept, whole: new Response(bodyFor(response.status, bytes), response) }
}

function answerAgain({ status, headers, body, bodyBytes }: KeptAnswer): Response {
  const replayed = new Headers(headers.map(([name, value]): [string, string] => [name, value]))
  replayed.set('idempotency-replayed', 'true')
  if (body === undefined) replayed.set('idempotency-body-omitted', String(bodyBytes))
  return new Response(bodyFor(status, Buffer.from(body ?? '', 'base64')), { status, headers: replayed })
}

const bodyFor = (status: number, bytes: Uint8Array): Uint8Array<ArrayBuffer> | null => (bytes.byteLength === 0 || status === 204 || status === 205 || status === 304 ? null : new Uint8Array(bytes))

const outstanding = (): Response => problem(409, 'outstanding', 'A request is outstanding for this Idempotency-Key', 'The same request is being carried out. Repeat it later to get its answer.', 1)

/** RFC 9457. */
function problem(status: number, kind: string, title: string, detail: string, retryAfterSeconds?: number): Response {
  const headers = new Headers({ 'content-type': 'application/problem+json', ...(retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) }) })
  return new Response(JSON.stringify({ type: `https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/#${kind}`, title, status, detail }), { status, headers })
}

type Settings = Required<Omit<IdempotentOptions, 'reconcile'>>

function settingsOf(options: IdempotentOptions, handle: Handler): Settings {
  const { store, scope = (request: Request) => `${request.method} ${new URL(request.url).pathname}`, required = true, retentionMs = 86_400_000, leaseMs = 10_000, bodyBytesMax = 1_048_576, answerBytesMax = 1_048_576, onError = () => {} } = options ?? {}
  if (typeof store?.begin !== 'function') throw new ConfigError('idempotent() needs a store, such as redisIdempotency(url) or new MemoryIdempotencyStore().')
  if (typeof handle !== 'function') throw new ConfigError('idempotent() needs a handler, a function from Request to Response, as its second argument.')
  for (const [name, value, min, max] of [['retentionMs', retentionMs, 1, Infinity], ['leaseMs', leaseMs, 10, 2_147_483_647], ['bodyBytesMax', bodyBytesMax, 0, Infinity], ['answerBytesMax', answerBytesMax, 0, Infinity]] as const) {
    if (!Number.isSafeInteger(value) || value < min || value > max) throw new ConfigError(`The option "${name}" of idempotent() must be a whole number, ${max === Infinity ? `at least ${min}` : `from ${min} to ${max}`}, not ${String(value)}.`)
  }
  return { store, scope, required, retentionMs, leaseMs, bodyBytesMax, answerBytesMax, onError }
}

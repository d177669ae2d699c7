/**
 * Every way in which an attempt at Anthropic's API can fail becomes one typed error: its kind, whether a retry may help,
 * when, and what was used up. Each is one HTTP request, and none shows the key or the prompt.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import { inspect } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { AnswerTooLongError, boundedFetch } from '../../src/adapters/anthropic/bounded-fetch.js'
import { anthropic, type AnthropicOptions } from '../../src/adapters/anthropic/index.js'
import { toStoredError } from '../../src/errors.js'
import { ModelError, type ModelFailureKind, type ModelRequest, type ModelResponse, type ModelUsage } from '../../src/mesh/ports/model-client.js'
import { answer, AnthropicServer, drip, errorEvent, events, eventsOf, failure, json, overloaded, rateLimited, silence, sse, stopAfter, type Replier } from '../support/anthropic-server.js'

const KEY = 'sk-ant-canary-5Jq8'
const SYSTEM = 'Quokkas of Zanzibar 😀 "sing"\n'
const PROMPT = 'Dossier 4711: Ödön Halász, born 19370412\n'
/** What must not be seen, also in parts and as JSON writes it. */
const SECRETS = [KEY, 'canary', 'Quokka', 'Zanzibar', '😀', 'sing', '4711', 'Ödön', 'Hal', 'born', '19370412', String.raw`\ud83d`, 'zanzibar']
/** What a careless provider or gateway may say. */
const ECHO = `max_tokens: 300000 > 128000 for claude-opus-4-6: ${SYSTEM} ${JSON.stringify(PROMPT)} ${encodeURIComponent(SYSTEM)} Bearer ${KEY} ${Buffer.from(PROMPT).toString('base64')}`
/** What of it may be shown. */
const SHOWN = 'max_tokens: 300000 > 128000 for claude-opus-4-6:'

const request: ModelRequest = {
  model: 'claude-opus-4-6',
  system: SYSTEM,
  messages: [{ role: 'user', content: PROMPT }],
  maxTokens: 300_000,
  task: { agent: 'critic', input: PROMPT },
}

let server: AnthropicServer
const consoleMethods = ['log', 'info', 'warn', 'error', 'debug'] as const
const unhandled: unknown[] = []
const onUnhandled = (reason: unknown): void => void unhandled.push(reason)

beforeAll(async () => {
  process.on('unhandledRejection', onUnhandled)
  server = await AnthropicServer.start({ apiKey: KEY })
})

beforeEach(() => {
  vi.stubEnv('ANTHROPIC_LOG', 'debug')
  for (const method of consoleMethods) vi.spyOn(console, method)
})

afterEach(() => {
  for (const method of consoleMethods) expect(console[method]).not.toHaveBeenCalled()
  expect(unhandled).toEqual([])
  vi.useRealTimers()
  vi.unstubAllEnvs()
  vi.restoreAllMocks()
  server.verify()
  server.reset()
})

afterAll(async () => {
  await server.stop()
  process.off('unhandledRejection', onUnhandled)
})

function complete(options: AnthropicOptions = {}, signal: AbortSignal = new AbortController().signal): Promise<ModelResponse> {
  return anthropic({ apiKey: KEY, baseURL: server.baseURL, ...options }).complete(request, { signal, idempotencyKey: 'run/step/call' })
}

async function failureOf(completion: Promise<ModelResponse>): Promise<ModelError> {
  const error = await completion.then(
    (response) => expect.unreachable(`it answered ${JSON.stringify(response)}`),
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(ModelError)
  const failed = error as ModelError
  expect(failed.code).toBe('MODEL')
  expect(failed.cause).toBeUndefined()
  const shown = [inspect(failed, { depth: Infinity, showHidden: true }), JSON.stringify(failed), JSON.stringify(toStoredError(failed)), String(failed), failed.stack ?? '']
  for (const secret of SECRETS) for (const text of shown) expect(text).not.toContain(secret)
  return failed
}

interface Expected {
  readonly kind: ModelFailureKind
  readonly retryable: boolean
  readonly retryAfterMs?: number | undefined
  readonly usage?: ModelUsage
  /** Default false: of an answer that was cut off, nobody has counted the tokens. */
  readonly isUsageFinal?: boolean
  readonly says?: string
}

async function expectFailure(completion: Promise<ModelResponse>, { kind, retryable, retryAfterMs, usage, isUsageFinal = false, says = '' }: Expected, requests = 1): Promise<void> {
  const failed = await failureOf(completion)
  expect({ kind: failed.kind, retryable: failed.retryable, retryAfterMs: failed.retryAfterMs, usage: failed.usage, isUsageFinal: failed.isUsageFinal }).toEqual({
    kind,
    retryable,
    retryAfterMs,
    usage,
    isUsageFinal,
  })
  expect(failed.message).toContain(says)
  expect(server.requests).toHaveLength(requests)
}

/** Settles, by way of {@link watchingFetch}, when the client has dealt with all of the answer up to a text and waits for more. */
function watchingFetch(marker: string): { readonly fetch: typeof fetch; readonly reached: Promise<void> } {
  let arrived = (): void => {}
  const reached = new Promise<void>((resolve) => (arrived = resolve))
  return {
    reached,
    fetch: async (input, init) => {
      const response = await fetch(input, init)
      const reader = response.body!.getReader()
      let text = ''
      const body = new ReadableStream<Uint8Array>(
        {
          async pull(controller) {
            if (text.includes(marker)) arrived()
            const { done, value } = await reader.read()
            if (done) return controller.close()
            text += Buffer.from(value).toString()
            controller.enqueue(value)
          },
          cancel: (reason) => reader.cancel(reason),
        },
        { highWaterMark: 0 },
      )
      return new Response(body, response)
    },
  }
}

const WHOLE = eventsOf({ text: ['Some ', 'words'], usage: { input: 30, output: 12, cacheRead: 5, cacheWrite: 6 } }, 'claude-opus-4-6')
const BEGIN = WHOLE.slice(0, 1)
/** It never says how many tokens the answer took. */
const UNCOUNTED = WHOLE.map((event) => (event.type === 'message_delta' ? { ...event, usage: undefined } : event))
const WITH_WORDS = WHOLE.slice(0, 4)
/** What a stream has told when only its first event has come: the whole prompt, and hardly anything of the answer. */
const PROMPT_USAGE: ModelUsage = { inputTokens: 30, outputTokens: 1, cacheReadTokens: 5, cacheWriteTokens: 6 }
const WHOLE_USAGE: ModelUsage = { ...PROMPT_USAGE, outputTokens: 12 }
const stream = (...chunks: readonly (string | Uint8Array)[]): Replier => ({ headers: { 'content-type': 'text/event-stream' }, chunks })
const begun = (...chunks: readonly (string | Uint8Array)[]): Replier => stream(...BEGIN.map(sse), ...chunks)

describe('an error answer', () => {
  test.for<[string, Replier, Expected]>([
    ['400', failure(400, 'invalid_request_error', ECHO), { kind: 'invalid-request', retryable: false, says: `(400, invalid_request_error, request req_loopback_1): ${SHOWN}` }],
    ['400 for the account’s credit', failure(400, 'billing_error', 'Your credit balance is too low to access the Anthropic API.'), { kind: 'payment', retryable: false, says: 'credit balance is too low' }],
    ['400 because the request came too slowly', failure(400, 'invalid_request_error', ECHO, { code: 'request_body_timeout' }), { kind: 'connection', retryable: true, says: 'request body timeout' }],
    ['401', failure(401, 'authentication_error', ECHO), { kind: 'authentication', retryable: false, says: 'check ANTHROPIC_API_KEY' }],
    ['401 in the words of another API', json(401, { error: { type: 'invalid_request_error', code: 'invalid_api_key', message: ECHO } }), { kind: 'authentication', retryable: false }],
    ['402', failure(402, 'billing_error', ECHO), { kind: 'payment', retryable: false }],
    ['403', failure(403, 'permission_error', ECHO), { kind: 'authentication', retryable: false }],
    ['404', failure(404, 'not_found_error', 'model: claude-opus-4-6'), { kind: 'invalid-request', retryable: false, says: '404' }],
    ['408', failure(408, 'timeout_error', ECHO), { kind: 'connection', retryable: true }],
    ['409', failure(409, 'conflict_error', ECHO), { kind: 'server', retryable: true }],
    ['413', failure(413, 'request_too_large', 'Request exceeds the maximum size'), { kind: 'invalid-request', retryable: false, says: 'Request exceeds the maximum size' }],
    ['413 of a gateway, in HTML', { status: 413, headers: { 'content-type': 'text/html' }, chunks: [`<h1>${ECHO}</h1>`] }, { kind: 'invalid-request', retryable: false, says: '(413, request req_loopback_1)' }],
    ['422', failure(422, 'invalid_request_error', ECHO), { kind: 'invalid-request', retryable: false }],
    ['429', rateLimited(), { kind: 'rate-limit', retryable: true, says: 'would exceed your rate limit' }],
    ['429 that forbids a retry', failure(429, 'rate_limit_error', ECHO, { headers: { 'x-should-retry': 'false', 'retry-after': '5' } }), { kind: 'rate-limit', retryable: false }],
    ['429 for a spend limit', failure(429, 'rate_limit_error', ECHO, { code: 'enforced_spend_limit_reached', headers: { 'retry-after': '5' } }), { kind: 'payment', retryable: false, says: 'spend limit reached' }],
    ['429 for growing too fast', failure(429, 'rate_limit_error', ECHO, { code: 'ramp_limit_exceeded', headers: { 'retry-after': '5' } }), { kind: 'rate-limit', retryable: true, retryAfterMs: 5_000 }],
    ['400 that invites a retry, which a wrong request does not get', failure(400, 'invalid_request_error', ECHO, { headers: { 'x-should-retry': 'true' } }), { kind: 'invalid-request', retryable: false }],
    ['500', failure(500, 'api_error', ECHO), { kind: 'server', retryable: true }],
    ['500 that is an overload', failure(500, 'overloaded_error', ECHO), { kind: 'overloaded', retryable: true }],
    ['502 of a gateway, in HTML', { status: 502, headers: { 'content-type': 'text/html' }, chunks: [ECHO] }, { kind: 'server', retryable: true }],
    ['503', failure(503, 'api_error', ECHO), { kind: 'server', retryable: true }],
    ['504', failure(504, 'timeout_error', ECHO), { kind: 'server', retryable: true }],
    ['529', overloaded({ 'retry-after': '3' }), { kind: 'overloaded', retryable: true, retryAfterMs: 3_000, says: '529' }],
    ['529 without a body', { status: 529 }, { kind: 'overloaded', retryable: true }],
    ['599, which nobody knows', { status: 599 }, { kind: 'server', retryable: true }],
    ['418, which nobody knows', { status: 418 }, { kind: 'invalid-request', retryable: false }],
    ['an error of a type from every object’s prototype', failure(400, 'constructor', ECHO, { code: 'toString' }), { kind: 'invalid-request', retryable: false }],
    ['an error of another form', json(500, { error: { type: [ECHO], message: { text: ECHO }, details: [ECHO] } }), { kind: 'server', retryable: true }],
    ['an error of a type that quotes the prompt', failure(500, 'Zanzibar_error', ECHO), { kind: 'server', retryable: true, says: '(500, request' }],
    ['an error whose type is no text', json(500, { error: { type: 5, message: 'The server is temporarily unavailable' } }), { kind: 'server', retryable: true, says: 'The server is temporarily unavailable' }],
    ['an error with details of another form', json(500, { error: { type: 'overloaded_error', message: 'Overloaded', details: 'none' } }), { kind: 'overloaded', retryable: true }],
    ['an error that is a text', json(500, ECHO), { kind: 'server', retryable: true }],
    ['an error that is a list', json(400, [ECHO]), { kind: 'invalid-request', retryable: false }],
    ['an error that is null', json(500, null), { kind: 'server', retryable: true }],
    ['an error in broken JSON', { status: 500, headers: { 'content-type': 'application/json' }, chunks: [`{"error":{"message":"${ECHO}`] }, { kind: 'server', retryable: true }],
    ['an error whose text goes on for ever', { status: 500, chunks: endless(ECHO) }, { kind: 'server', retryable: true }],
    ['an error that breaks off', stopAfter(1, 'cut', { ...rateLimited('2'), chunks: ['{"error', 'x'] }), { kind: 'rate-limit', retryable: true, retryAfterMs: 2_000 }],
    ['an error that shows the key as its id', failure(500, 'api_error', ECHO, { headers: { 'request-id': KEY, 'x-echo': ECHO.replaceAll(/[^!-~]/g, '') } }), { kind: 'server', retryable: true, says: '(500, api_error)' }],
  ])('%s', async ([, reply, expected]) => {
    server.next(reply)
    await expectFailure(complete(), expected)
  })

  test('that never ends is dealt with by its status when the time is over', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    server.next(stopAfter(1, 'hang', { ...failure(500, 'api_error', ''), chunks: [' ', 'x'] }))
    const { fetch, reached } = watchingFetch(' ')
    const failed = expectFailure(complete({ fetch }), { kind: 'server', retryable: true })
    await reached
    await vi.advanceTimersByTimeAsync(600_000)
    await failed
    await server.requests[0]!.hungUp
  })
})

describe('the time to wait', () => {
  const date = 'Sun, 06 Sep 2026 08:49:37 GMT'
  test.for<[string, Readonly<Record<string, string>>, number | undefined]>([
    ['seconds', { 'retry-after': '30' }, 30_000],
    ['parts of seconds', { 'retry-after': '1.5' }, 1_500],
    ['no time at all', { 'retry-after': '0' }, 0],
    ['ms', { 'retry-after-ms': '250' }, 250],
    ['parts of ms, rounded up', { 'retry-after-ms': '250.2' }, 251],
    ['ms before seconds', { 'retry-after-ms': '250', 'retry-after': '30' }, 250],
    ['seconds, if the ms cannot be read', { 'retry-after-ms': 'soon', 'retry-after': '30' }, 30_000],
    ['a date, by the server’s own clock', { 'retry-after': 'Sun, 06 Sep 2026 08:50:07 GMT', date }, 30_000],
    ['a date that has passed', { 'retry-after': 'Sun, 06 Sep 2026 08:49:00 GMT', date }, 0],
    ['a date, from a server whose clock cannot be read', { 'retry-after': 'Sun, 06 Sep 2026 08:50:07 GMT', date: 'noon' }, undefined],
    ['a text', { 'retry-after': '5 bananas' }, undefined],
    ['a negative number', { 'retry-after': '-5' }, undefined],
    ['an exponent', { 'retry-after': '1e3' }, undefined],
    ['more than a number can hold', { 'retry-after': '9'.repeat(400) }, undefined],
    ['nothing', { 'retry-after': '' }, undefined],
  ])('is read from %s', async ([, headers, retryAfterMs]) => {
    server.next(failure(429, 'rate_limit_error', ECHO, { headers }))
    await expectFailure(complete(), { kind: 'rate-limit', retryable: true, retryAfterMs })
  })
})

describe('a failure within a stream', () => {
  test.for<[string, Replier, Expected]>([
    ['overload, at once', events([errorEvent('overloaded_error', ECHO)]), { kind: 'overloaded', retryable: true, says: '(overloaded_error, request req_loopback_1)' }],
    ['overload, after the beginning', events([...BEGIN, errorEvent('overloaded_error', ECHO)]), { kind: 'overloaded', retryable: true, usage: PROMPT_USAGE }],
    ['overload, after some words', events([...WITH_WORDS, errorEvent('overloaded_error', ECHO)]), { kind: 'overloaded', retryable: true, usage: PROMPT_USAGE }],
    ['a failure of the API, after all its tokens are counted', events([...WHOLE.slice(0, -1), errorEvent('api_error', ECHO)]), { kind: 'server', retryable: true, usage: WHOLE_USAGE, isUsageFinal: true }],
    ['a rate limit', events([...BEGIN, errorEvent('rate_limit_error', ECHO)]), { kind: 'rate-limit', retryable: true, usage: PROMPT_USAGE }],
    ['a refused request', events([errorEvent('invalid_request_error', ECHO)]), { kind: 'invalid-request', retryable: false, says: SHOWN }],
    ['an error of a type nobody knows', events([...BEGIN, errorEvent('glow_error', ECHO)]), { kind: 'server', retryable: true, usage: PROMPT_USAGE }],
    ['an error without the name of its event', begun(`data: ${JSON.stringify(errorEvent('overloaded_error', ECHO))}\n\n`), { kind: 'overloaded', retryable: true, usage: PROMPT_USAGE }],
    ['an error event that is not JSON', begun(`event: error\ndata: ${ECHO.replaceAll('\n', ' ')}\n\n`), { kind: 'server', retryable: true, usage: PROMPT_USAGE }],
    ['an error event without data', begun('event: error\n\n'), { kind: 'server', retryable: true, usage: PROMPT_USAGE }],
  ])('%s', async ([, reply, expected]) => {
    server.next(reply)
    await expectFailure(complete(), expected)
  })
})

describe('a connection', () => {
  test.for<[string, Replier, Expected]>([
    ['cut before the headers', silence('cut'), { kind: 'connection', retryable: true, says: 'before an answer began (UND_ERR_SOCKET)' }],
    ['cut after the headers', stopAfter(0, 'cut', events(WHOLE)), { kind: 'connection', retryable: true, says: 'before an answer began' }],
    ['cut before the first word', stopAfter(BEGIN.length, 'cut', events(WHOLE)), { kind: 'connection', retryable: true, usage: PROMPT_USAGE, says: 'before the first word' }],
    ['cut after some words', stopAfter(WITH_WORDS.length, 'cut', events(WHOLE)), { kind: 'connection', retryable: true, usage: PROMPT_USAGE, says: 'in the middle of the answer' }],
    ['cut before the last event', stopAfter(WHOLE.length - 1, 'cut', events(WHOLE)), { kind: 'connection', retryable: true, usage: WHOLE_USAGE, isUsageFinal: true }],
    ['cut within a character', stopAfter(sse(BEGIN[0]!).length + 60, 'cut', drip(stream(sse(BEGIN[0]!), '😀'.repeat(50)))), { kind: 'connection', retryable: true, usage: PROMPT_USAGE }],
    ['ended in good order, before an answer', stream(), { kind: 'connection', retryable: true, says: 'before an answer began' }],
    ['cut before the last event, its tokens not counted', stopAfter(WHOLE.length - 1, 'cut', events(UNCOUNTED)), { kind: 'connection', retryable: true, usage: PROMPT_USAGE }],
    ['ended in good order, in the middle of the answer', events(WITH_WORDS), { kind: 'connection', retryable: true, usage: PROMPT_USAGE }],
  ])('%s', async ([, reply, expected]) => {
    server.next(reply)
    await expectFailure(complete(), expected)
  })

  test('with headers that cannot be sent (ANTHROPIC_CUSTOM_HEADERS) is not made', async () => {
    vi.stubEnv('ANTHROPIC_CUSTOM_HEADERS', `x-canary ${KEY}: ${PROMPT}`)
    await expectFailure(complete(), { kind: 'invalid-request', retryable: false, says: 'was not sent' }, 0)
  })

  test('refused', async () => {
    const gone = await AnthropicServer.start()
    const { baseURL } = gone
    await gone.stop()
    await expectFailure(complete({ baseURL }), { kind: 'connection', retryable: true, says: 'ECONNREFUSED' }, 0)
  })

  test('to a host that does not exist', async () => {
    await expectFailure(complete({ baseURL: 'http://api.invalid' }), { kind: 'connection', retryable: true, says: 'The connection to api.invalid failed before an answer began' }, 0)
  })

  test('that a fetch of the user’s refuses, in words that hold everything', async () => {
    const fetch = (): Promise<Response> => Promise.reject(Object.assign(new Error(ECHO), { code: ECHO, cause: { headers: { authorization: KEY }, body: PROMPT } }))
    await expectFailure(complete({ fetch }), { kind: 'connection', retryable: true }, 0)
  })
})

describe('an attempt whose time is over', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  })

  test('before the headers, after 10 minutes if nothing else was said, is a failed connection', async () => {
    server.next(silence('hang'))
    const settled = vi.fn<() => void>()
    const completion = complete()
    completion.then(settled, settled)
    const failed = expectFailure(completion, { kind: 'connection', retryable: true, says: 'longer than 600000 ms; the attempt was stopped before an answer began' })
    await server.received(1)
    await vi.advanceTimersByTimeAsync(599_999)
    expect(settled).not.toHaveBeenCalled()
    await vi.advanceTimersByTimeAsync(1)
    await failed
    await server.requests[0]!.hungUp
  })

  test.for<[string, number, string, Expected]>([
    ['before the first word', BEGIN.length, 'message_start', { kind: 'connection', retryable: true, usage: PROMPT_USAGE, says: 'before the first word' }],
    ['in the middle of the answer', WITH_WORDS.length, 'Some', { kind: 'connection', retryable: true, usage: PROMPT_USAGE, says: 'in the middle of the answer' }],
  ])('%s is a failed connection that says what it cost', async ([, chunks, marker, expected]) => {
    server.next(stopAfter(chunks, 'hang', events(WHOLE)))
    const { fetch, reached } = watchingFetch(marker)
    const failed = expectFailure(complete({ fetch, timeoutMs: 5_000 }), expected)
    await reached
    await vi.advanceTimersByTimeAsync(5_000)
    await failed
    await server.requests[0]!.hungUp
  })

  test('after the last word has its answer, a second later at most', async () => {
    server.next(stopAfter(WHOLE.length, 'hang', events(WHOLE)))
    const { fetch, reached } = watchingFetch('message_stop')
    const completion = complete({ fetch })
    await reached
    await vi.advanceTimersByTimeAsync(1_000)
    expect((await completion).text).toBe('Some words')
    await server.requests[0]!.hungUp
  })

  test('leaves no timer behind when it answers in time', async () => {
    server.next(answer())
    await complete()
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('a caller who gives up', () => {
  test('before the attempt, gets no request sent', async () => {
    await expectFailure(complete({}, AbortSignal.abort()), { kind: 'aborted', retryable: false }, 0)
  })

  test('before the headers, ends the request', async () => {
    server.next(silence('hang'))
    const caller = new AbortController()
    const failed = expectFailure(complete({}, caller.signal), { kind: 'aborted', retryable: false, says: 'before an answer began' })
    await server.received(1)
    caller.abort(new Error(ECHO))
    await failed
    await server.requests[0]!.hungUp
  })

  test('in the middle of the answer, ends the request and hears what it cost', async () => {
    server.next(stopAfter(WITH_WORDS.length, 'hang', events(WHOLE)))
    const { fetch, reached } = watchingFetch('Some')
    const caller = new AbortController()
    const failed = expectFailure(complete({ fetch }, caller.signal), { kind: 'aborted', retryable: false, usage: PROMPT_USAGE, says: 'in the middle of the answer' })
    await reached
    caller.abort(new Error(ECHO))
    await failed
    await server.requests[0]!.hungUp
  })

  test('after the last word, gets the answer', async () => {
    server.next(stopAfter(WHOLE.length, 'hang', events(WHOLE)))
    const { fetch, reached } = watchingFetch('message_stop')
    const caller = new AbortController()
    const completion = complete({ fetch }, caller.signal)
    await reached
    caller.abort()
    expect((await completion).text).toBe('Some words')
  })
})

describe('an answer that cannot be read', () => {
  test.for<[string, Replier, Expected]>([
    ['JSON where a stream was asked for', json(200, { type: 'message', content: [] }), { kind: 'malformed', retryable: true, says: 'no event stream' }],
    ['broken JSON', { headers: { 'content-type': 'application/json' }, chunks: ['{"type":"mess'] }, { kind: 'malformed', retryable: true }],
    ['HTML', { headers: { 'content-type': 'text/html' }, chunks: [ECHO] }, { kind: 'malformed', retryable: true }],
    ['nothing, of no type', {}, { kind: 'malformed', retryable: true }],
    ['204', { status: 204, headers: { 'content-type': 'text/event-stream' } }, { kind: 'connection', retryable: true, says: 'before an answer began' }],
    ['an event that is not JSON', begun('event: content_block_delta\ndata: {"type":"content\n\n'), { kind: 'malformed', retryable: true, usage: PROMPT_USAGE, says: 'not JSON' }],
    ['an event that is no object', begun(`event: content_block_delta\ndata: ${JSON.stringify(ECHO)}\n\n`), { kind: 'malformed', retryable: true, usage: PROMPT_USAGE }],
    ['an event without its parts', begun(sse({ type: 'content_block_delta' })), { kind: 'malformed', retryable: true, usage: PROMPT_USAGE, says: 'another form' }],
    ['words before the beginning', events(WHOLE.slice(2)), { kind: 'malformed', retryable: true }],
    ['an end before the beginning', events([{ type: 'message_stop' }]), { kind: 'malformed', retryable: true }],
    ['an end without a reason', events([...WITH_WORDS, { type: 'message_stop' }]), { kind: 'malformed', retryable: true, usage: PROMPT_USAGE }],
    ['two beginnings', events([...BEGIN, ...BEGIN]), { kind: 'malformed', retryable: true, usage: PROMPT_USAGE }],
    ['tokens below zero', events(eventsOf({ usage: { input: -1 } }, 'm')), { kind: 'malformed', retryable: true }],
    ['half a token', events(eventsOf({ usage: { output: 0.5 } }, 'm')), { kind: 'malformed', retryable: true, usage: { inputTokens: 25, outputTokens: 1, cacheReadTokens: 0, cacheWriteTokens: 0 } }],
    ['a tool call, though no tool was sent', answer({ stopReason: 'tool_use', usage: { output: 9 } }), { kind: 'malformed', retryable: false, usage: { inputTokens: 25, outputTokens: 9, cacheReadTokens: 0, cacheWriteTokens: 0 }, isUsageFinal: true }],
    ['a pause', answer({ stopReason: 'pause_turn' }), { kind: 'malformed', retryable: false, usage: { inputTokens: 25, outputTokens: 7, cacheReadTokens: 0, cacheWriteTokens: 0 }, isUsageFinal: true }],
    ['a reason nobody knows', answer({ stopReason: 'glowed' }), { kind: 'malformed', retryable: false, usage: { inputTokens: 25, outputTokens: 7, cacheReadTokens: 0, cacheWriteTokens: 0 }, isUsageFinal: true }],
    ['an answer longer than its bound', begun(...Array.from({ length: 70 }, () => sse({ type: 'ping', pad: 'x'.repeat(1_000) } as { type: string }))), { kind: 'malformed', retryable: false, usage: PROMPT_USAGE, says: 'longer than 65536 bytes' }],
    ['an answer without an end', { headers: { 'content-type': 'text/event-stream' }, chunks: endless(sse({ type: 'ping' })) }, { kind: 'malformed', retryable: false }],
    ['a line without an end', { headers: { 'content-type': 'text/event-stream' }, chunks: endless('data: x') }, { kind: 'malformed', retryable: false }],
  ])('%s', async ([, reply, expected]) => {
    server.next(reply)
    await expectFailure(complete({ answerBytesMax: 65_536 }), expected)
  })

  test('leaves no connection open', async () => {
    server.next({ headers: { 'content-type': 'text/html' }, chunks: endless(ECHO) })
    await expectFailure(complete(), { kind: 'malformed', retryable: true })
    await server.requests[0]!.hungUp
  })

  test('because it is too long is not read on', async () => {
    const cancel = vi.fn<() => void>()
    const body = new ReadableStream<Uint8Array>({ pull: (controller) => controller.enqueue(new Uint8Array(10)), cancel }, { highWaterMark: 0 })
    const response = await boundedFetch(() => Promise.resolve(new Response(body)), 25)('http://127.0.0.1')
    await expect(response.text()).rejects.toThrow(AnswerTooLongError)
    expect(cancel).toHaveBeenCalledOnce()
  })

  test('a redirect: it is not followed, and the prompt goes nowhere else', async () => {
    const elsewhere = await AnthropicServer.start({ apiKey: KEY })
    for (const status of [301, 302, 303, 307, 308]) {
      server.reset()
      server.next({ status, headers: { location: `${elsewhere.baseURL}/v1/messages` } })
      await expectFailure(complete(), { kind: 'malformed', retryable: false, says: `its status is ${status}` })
    }
    expect(elsewhere.requests).toHaveLength(0)
    await elsewhere.stop()
  })

  test('bytes that are no HTTP', async () => {
    const plain = createServer().on('connection', (socket) => socket.end(`${ECHO}\r\n\r\n`))
    plain.listen(0, '127.0.0.1')
    await once(plain, 'listening')
    await expectFailure(complete({ baseURL: `http://127.0.0.1:${(plain.address() as AddressInfo).port}` }), { kind: 'connection', retryable: true }, 0)
    plain.close()
    plain.closeAllConnections()
  })
})

function* endless(text: string): Generator<string> {
  for (;;) yield text.repeat(1_000)
}

/**
 * The AI SDK adapter over the wire, through real provider packages: @ai-sdk/anthropic (LanguageModelV4) against the Messages
 * API of the tests, and @ai-sdk/openai-compatible (LanguageModelV3) against a chat completions API.
 */
import { getEventListeners } from 'node:events'
import { inspect } from 'node:util'
import { createAnthropic } from '@ai-sdk/anthropic'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { aiSdk, type AiSdkOptions, type AiSdkProvider } from '../../src/adapters/ai-sdk/index.js'
import { createMesh, defineAgent, defineRun, ModelError, modelOf, type ModelClient, type ModelRequest, type ModelResponse } from '../../src/index.js'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { AnthropicServer, answer, drip, errorEvent, events, eventsOf, failure, json, overloaded, rateLimited, silence, stopAfter, type Replier } from '../support/anthropic-server.js'
import { chat, ChatServer } from '../support/chat-server.js'
import { functionModel } from '../support/function-model.js'

let server: AnthropicServer
let chats: ChatServer
beforeAll(async () => {
  server = await AnthropicServer.start({ apiKey: 'sk-ant-0123456789-secret' })
  chats = await ChatServer.start()
})
afterEach(() => {
  chats.reset()
  try {
    server.verify()
  } finally {
    server.reset()
  }
})
afterAll(() => Promise.all([server.stop(), chats.stop()]))

const request: ModelRequest = {
  model: 'claude-opus-4-6',
  system: 'You judge papers.',
  messages: [
    { role: 'user', content: 'Is this one sound?' },
    { role: 'assistant', content: 'Which?' },
    { role: 'user', content: 'This: a private thought.' },
  ],
  maxTokens: 100,
  task: { agent: 'critic', input: null },
}
const schema = z.toJSONSchema(z.object({ sound: z.boolean() }))
/** The most that the prompt can have been: a token is at least a byte. */
const promptMax = Buffer.byteLength(JSON.stringify([request.system, request.messages, null]))

const claude = (options: Partial<AiSdkOptions> = {}): ModelClient => aiSdk(createAnthropic({ apiKey: server.apiKey, baseURL: `${server.baseURL}/v1` }), { provider: 'anthropic', ...options })
const local = (options: Partial<AiSdkOptions> = {}, more: object = {}): ModelClient =>
  aiSdk(createOpenAICompatible({ name: 'local', apiKey: 'sk-local-secret', baseURL: chats.baseURL, includeUsage: true, supportsStructuredOutputs: true, ...more }), { provider: 'local', ...options })

const complete = (model: ModelClient, change: Partial<ModelRequest> = {}, signal = new AbortController().signal): Promise<ModelResponse> => model.complete({ ...request, ...change }, { signal, idempotencyKey: 'run/step/call' })

describe('a request', () => {
  test('goes over the wire once, with system prompt, messages in order, bound and schema (V4)', async () => {
    server.next(answer({ text: '{"sound":true}' }))
    await complete(claude(), { schema })
    const { body } = server.requests[0]!
    expect(server.requests).toHaveLength(1)
    expect(body).toMatchObject({ model: 'claude-opus-4-6', max_tokens: 100, stream: true, system: [{ text: 'You judge papers.' }] })
    expect(body.messages.map(({ role, content }) => [role, content])).toEqual(request.messages.map(({ role, content }) => [role, [{ type: 'text', text: content }]]))
    expect(body.output_config?.format).toMatchObject({ type: 'json_schema', schema: { type: 'object', required: ['sound'] } })
  })

  test('goes over the wire once, with system prompt, messages in order, bound and schema (V3)', async () => {
    chats.next(chat({ text: ['{"sound":', 'true}'] }))
    expect((await complete(local(), { schema })).parsed).toEqual({ sound: true })
    const { body } = chats.requests[0]!
    expect(chats.requests).toHaveLength(1)
    expect(body).toMatchObject({ model: 'claude-opus-4-6', max_tokens: 100, stream: true, response_format: { type: 'json_schema', json_schema: { name: 'answer', schema: { required: ['sound'] } } } })
    expect(body.messages.map(({ role }) => role)).toEqual(['system', 'user', 'assistant', 'user'])
  })

  test('whose schema the provider would leave out fails and says what to do, instead of bringing any answer', async () => {
    chats.next(chat({ text: ['{"other":1}'] }), chat({ text: ['{"sound":true}'] }))
    const deaf = { supportsStructuredOutputs: false }
    await expect(complete(local({}, deaf), { schema })).rejects.toMatchObject({ kind: 'invalid-request', retryable: false, message: expect.stringContaining("aiSdk(…, { schema: 'prompt' })") as string })
    expect((await complete(local({ schema: 'prompt' }, deaf), { schema })).parsed).toEqual({ sound: true })
    const { body } = chats.requests[1]!
    expect(body.messages[0]!.content).toBe(`You judge papers.\n\nAnswer with one JSON value and nothing around it. It must fit this JSON Schema:\n${JSON.stringify(schema)}`)
    expect(body).not.toHaveProperty('response_format')
  })

  test.each([[undefined], [' \n']])('has no system prompt if it is %j', async (system) => {
    const { system: _, ...bare } = request
    server.next(answer())
    await claude().complete(system === undefined ? bare : { ...bare, system }, { signal: new AbortController().signal, idempotencyKey: 'k' })
    expect(server.requests[0]!.body).not.toHaveProperty('system')
  })

  test('that need not be streamed is not, and its answer is the same', async () => {
    server.next(answer({ text: '{"sound":true}', usage: { cacheRead: 2_000 } }))
    chats.next(chat({ text: ['ok'] }))
    expect(await complete(claude({ isStreamed: false }), { schema })).toMatchObject({ text: '{"sound":true}', parsed: { sound: true }, stopReason: 'end', usage: { inputTokens: 25, outputTokens: 7, cacheReadTokens: 2_000, cacheWriteTokens: 0 } })
    expect(await complete(local({ isStreamed: false }))).toMatchObject({ text: 'ok', model: 'claude-opus-4-6-0926', usage: { inputTokens: 20, cacheReadTokens: 5, outputTokens: 7 } })
    expect([server.requests[0]!.body.stream, chats.requests[0]!.body.stream]).toEqual([undefined, undefined])
  })
})

describe('an answer', () => {
  test('is told as it is read to whoever watches, and nothing of what was thought', async () => {
    server.next(drip(answer({ text: ['All ', 'is 😀 ', 'well.'], thinking: 'hm' })), answer({ text: 'whole' }))
    const told: string[] = []
    const options = { signal: new AbortController().signal, idempotencyKey: 'k', onText: (delta: string) => void told.push(delta) }
    await claude().complete(request, options)
    expect(told).toEqual(['All ', 'is 😀 ', 'well.'])
    await claude({ isStreamed: false }).complete(request, options)
    expect(told.slice(3)).toEqual(['whole'])
  })

  test('is its text, whole, with usage, model and the id of the call (V4)', async () => {
    server.next(drip(answer({ text: ['All ', 'is 😀 ', 'well.'], thinking: 'hm', model: 'claude-opus-4-6-20260101', usage: { input: 12, output: 5, cacheRead: 2_000, cacheWrite: 300 } })))
    expect(await complete(claude())).toEqual({ text: 'All is 😀 well.', stopReason: 'end', usage: { inputTokens: 12, outputTokens: 5, cacheReadTokens: 2_000, cacheWriteTokens: 300 }, model: 'claude-opus-4-6-20260101', requestId: 'req_loopback_1' })
  })

  test('is its text, whole, with usage, model and the id of the call (V3)', async () => {
    chats.next(chat({ text: ['All ', 'is ', 'well.'] }))
    expect(await complete(local())).toEqual({ text: 'All is well.', stopReason: 'end', usage: { inputTokens: 20, outputTokens: 7, cacheReadTokens: 5, cacheWriteTokens: 0 }, model: 'claude-opus-4-6-0926', requestId: 'req_loopback_1' })
  })

  test.each([
    ['end_turn', 'end'],
    ['stop_sequence', 'end'],
    ['max_tokens', 'length'],
    ['model_context_window_exceeded', 'length'],
    ['refusal', 'refusal'],
  ] as const)('that stopped by %s is one of %s (V4)', async (stopReason, expected) => {
    server.next(answer({ text: '{"sound":true}', stopReason }))
    const response = await complete(claude(), { schema })
    expect(response.stopReason).toBe(expected)
    // What was cut or declined is not read, even if it happens to be JSON.
    expect('parsed' in response).toBe(expected === 'end')
  })

  test.each([
    ['stop', 'end'],
    ['length', 'length'],
    ['content_filter', 'refusal'],
  ] as const)('that stopped by %s is one of %s (V3)', async (finish, expected) => {
    chats.next(chat({ text: ['{"sound":true}'], finish }))
    expect((await complete(local(), { schema })).stopReason).toBe(expected)
  })

  test('that is not counted took all that it may have', async () => {
    chats.next(chat({ usage: null }))
    expect((await complete(local())).usage).toEqual({ inputTokens: promptMax, outputTokens: 100, cacheReadTokens: 0, cacheWriteTokens: 0 })
  })

  test('is not longer than its bound', async () => {
    chats.next(chat({ text: ['ä'.repeat(10)] }), chat({ text: ['ä'.repeat(10)] }))
    await expect(complete(local({ answerBytesMax: 19 }))).rejects.toMatchObject({ kind: 'malformed', retryable: false, message: expect.stringContaining('longer than 19 bytes') as string })
    expect((await complete(local({ answerBytesMax: 20 }))).text).toHaveLength(10)
  })

  test('of a tool that nobody offered is none', async () => {
    server.next(answer({ stopReason: 'tool_use' }))
    await expect(complete(claude())).rejects.toMatchObject({ kind: 'malformed', retryable: false, isUsageFinal: true })
  })
})

interface Expected {
  readonly kind: ModelError['kind']
  readonly retryable: boolean
  readonly retryAfterMs?: number
  readonly says?: RegExp
  /** Whether what it cost is known. */
  readonly isCounted?: boolean
}

/** What the provider says may quote the key or the prompt. */
const words = 'sk-ant-0123456789-secret may not ask about a private thought'
const v4: readonly (readonly [string, Replier, Expected])[] = [
  ['400', failure(400, 'invalid_request_error', words), { kind: 'invalid-request', retryable: false, says: /anthropic refused the request \(400, invalid_request_error, request req_loopback_1\)$/ }],
  ['401', failure(401, 'authentication_error', words), { kind: 'authentication', retryable: false }],
  ['402', failure(402, 'billing_error', words), { kind: 'payment', retryable: false }],
  ['404', failure(404, 'not_found_error', words), { kind: 'invalid-request', retryable: false }],
  ['413', failure(413, 'request_too_large', words), { kind: 'invalid-request', retryable: false }],
  ['429 that says when', rateLimited('3'), { kind: 'rate-limit', retryable: true, retryAfterMs: 3_000, says: /429/ }],
  ['429 that does not say', rateLimited(), { kind: 'rate-limit', retryable: true }],
  ['500 that must not come again', failure(500, 'api_error', words, { headers: { 'x-should-retry': 'false' } }), { kind: 'server', retryable: false }],
  ['529', overloaded({ 'retry-after-ms': '250' }), { kind: 'overloaded', retryable: true, retryAfterMs: 250 }],
  ['502 of a gateway, in HTML', { status: 502, headers: { 'content-type': 'text/html' }, chunks: ['<h1>Bad Gateway</h1>'] }, { kind: 'server', retryable: true }],
  ['an overload as the first word of a stream', events([eventsOf({}, 'm')[0]!, errorEvent('overloaded_error', words)]), { kind: 'overloaded', retryable: true }],
  ['an overload within a stream', events([...eventsOf({ text: 'part' }, 'm').slice(0, 4), errorEvent('overloaded_error', words)]), { kind: 'overloaded', retryable: true }],
  ['a failure within a stream', events([...eventsOf({ text: 'part' }, 'm').slice(0, 4), errorEvent('api_error', words)]), { kind: 'server', retryable: true }],
  ['a stream that is cut', stopAfter(5, 'cut', answer({ text: 'part of it' })), { kind: 'connection', retryable: true, says: /in the middle of the answer/ }],
  ['a stream that ends before its end', stopAfter(5, 'end', answer({ text: 'part of it' })), { kind: 'connection', retryable: true, says: /in the middle of the answer/ }],
  ['no answer at all', silence('cut'), { kind: 'connection', retryable: true, says: /before an answer began/ }],
  ['what is no event stream', json(200, 'not a message'), { kind: 'connection', retryable: true, says: /before an answer began/ }],
]

async function expectFailure(attempt: Promise<ModelResponse>, { kind, retryable, retryAfterMs, says = /./, isCounted = false }: Expected): Promise<void> {
  const failed: unknown = await attempt.then(() => undefined, (error: unknown) => error)
  expect(failed).toBeInstanceOf(ModelError)
  const { usage, isUsageFinal, ...error } = failed as ModelError
  expect({ kind: error.kind, retryable: error.retryable, retryAfterMs: error.retryAfterMs, isUsageFinal }).toEqual({ kind, retryable, retryAfterMs, isUsageFinal: isCounted })
  expect(usage === undefined).toBe(!isCounted)
  expect((failed as ModelError).message).toMatch(says)
  expect(inspect(failed, { depth: 20, showHidden: true })).not.toMatch(/secret|private/)
}

describe('a failure', () => {
  test.each(v4)('%s (V4)', async (_, reply, expected) => {
    server.next(reply)
    await expectFailure(complete(claude()), expected)
    expect(server.requests).toHaveLength(1)
  })

  const openAi = (status: number, type: string, code: string | null = null): (() => ReturnType<typeof json>) => () => json(status, { error: { message: words, type, param: null, code } }, { 'retry-after': '2' })
  test.each<readonly [string, () => ReturnType<typeof json>, Expected]>([
    ['401', openAi(401, 'invalid_request_error', 'invalid_api_key'), { kind: 'authentication', retryable: false }],
    ['429 for speed', openAi(429, 'requests', 'rate_limit_exceeded'), { kind: 'rate-limit', retryable: true, retryAfterMs: 2_000 }],
    ['429 for money, which no later minute helps', openAi(429, 'insufficient_quota', 'insufficient_quota'), { kind: 'payment', retryable: false }],
    ['400 for length', openAi(400, 'invalid_request_error', 'context_length_exceeded'), { kind: 'invalid-request', retryable: false, says: /context_length_exceeded/ }],
    ['503', openAi(503, 'server_error'), { kind: 'server', retryable: true, retryAfterMs: 2_000 }],
  ])('%s (V3)', async (_, reply, expected) => {
    chats.next(reply)
    await expectFailure(complete(local()), expected)
  })

  test('a stream without its end, and what it used is counted if the provider says so (V3)', async () => {
    chats.next(chat({ finish: null, usage: null }), chat({ finish: null }))
    await expectFailure(complete(local()), { kind: 'malformed', retryable: true })
    await expectFailure(complete(local()), { kind: 'malformed', retryable: true, isCounted: true })
  })

  test('nobody listens', async () => {
    const gone = await ChatServer.start()
    const dead = aiSdk(createOpenAICompatible({ name: 'local', baseURL: gone.baseURL }), { provider: 'local' })
    await gone.stop()
    await expectFailure(complete(dead), { kind: 'connection', retryable: true, says: /ECONNREFUSED/ })
  })

  test('no key', async () => {
    vi.stubEnv('ANTHROPIC_API_KEY', undefined)
    await expectFailure(complete(aiSdk(createAnthropic({ baseURL: server.baseURL }), { provider: 'anthropic' })), { kind: 'authentication', retryable: false, says: /key is missing/ })
    vi.unstubAllEnvs()
    expect(server.requests).toHaveLength(0)
  })

  test('a model of another specification, or none', async () => {
    const of = (model: unknown): ModelClient => aiSdk({ languageModel: () => model } as AiSdkProvider, { provider: 'old' })
    await expectFailure(complete(of({ specificationVersion: 'v2' })), { kind: 'invalid-request', retryable: false, says: /follows specification v2; v3 \(ai 6\) or v4 \(ai 7\) is needed/ })
    await expectFailure(complete(of(undefined)), { kind: 'invalid-request', retryable: false, says: /is no language model/ })
  })
})

describe('an attempt that is given up', () => {
  test.each(['hangs before its answer', 'hangs in the middle of it'] as const)('and %s ends at once, and the provider sees it go', async (how) => {
    const inTheMiddle = how === 'hangs in the middle of it'
    server.next(inTheMiddle ? stopAfter(5, 'hang', answer({ text: 'part' })) : silence('hang'))
    const controller = new AbortController()
    const attempt = complete(claude(), {}, controller.signal)
    await server.received(1)
    controller.abort()
    await expectFailure(attempt, { kind: 'aborted', retryable: false })
    await server.requests[0]!.hungUp
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  })

  test('before it began sends nothing', async () => {
    await expectFailure(complete(claude(), {}, AbortSignal.abort()), { kind: 'aborted', retryable: false })
    expect(server.requests).toHaveLength(0)
  })

  test('for its time may be made again', async () => {
    server.next(silence('hang'))
    await expectFailure(complete(claude({ timeoutMs: 1_000 })), { kind: 'connection', retryable: true, says: /longer than 1000 ms/ })
  })

  test('ends also if the provider’s package does not heed its signal', async () => {
    const deaf = { specificationVersion: 'v3', doStream: () => new Promise<never>(() => {}), doGenerate: () => Promise.reject(new Error('unused')) }
    await expectFailure(complete(aiSdk({ languageModel: () => deaf }, { provider: 'deaf', timeoutMs: 20 })), { kind: 'connection', retryable: true })
  })

  test('only after its end is an answer all the same', async () => {
    server.next(stopAfter(eventsOf({ text: 'Done.' }, 'm').length, 'cut', answer({ text: 'Done.' })))
    expect((await complete(claude())).text).toBe('Done.')
  })
})

test.each([
  [undefined, { provider: 'x' }, /languageModel/],
  [{ languageModel: () => null }, undefined, /provider's name/],
  [{ languageModel: () => null }, { provider: 'x', schema: 'both' }, /"schema" of aiSdk\(\) must be "native" or "prompt", not "both"/],
  [{ languageModel: () => null }, { provider: 'x', timeoutMs: 0 }, /"timeoutMs" of aiSdk\(\) must be a whole number from 1 to 2147483647, not 0/],
  [{ languageModel: () => null }, { provider: 'x', isStreamed: 1 }, /"isStreamed"/],
])('options that cannot be used are refused at once (%#)', (provider, options, says) => {
  expect(() => aiSdk(provider as unknown as AiSdkProvider, options as unknown as AiSdkOptions)).toThrow(says)
})

test('an agent of a run asks it, falls back from one provider to another, and every attempt is on record with its cost', async () => {
  server.next(overloaded(), stopAfter(5, 'cut', answer({ text: '{"claim":' })))
  chats.next(chat({ text: ['{"claim":"It holds."}'] }))
  const common = { input: z.looseObject({}), prompt: ({ input }: { input: unknown }) => ({ messages: [{ role: 'user' as const, content: JSON.stringify(input) }] }) }
  const scripted = modelOf(functionModel(({ task }) => (task.agent === 'planner' ? { steps: [{ n: 1 }] } : {})), 'm', { input: 0, output: 0 })
  const worker = defineAgent({
    ...common,
    name: 'worker',
    output: z.object({ claim: z.string() }),
    model: [modelOf(claude(), 'claude-opus-4-6'), modelOf(local(), 'llama-4', { input: 1, output: 2, cacheRead: 0.1 })],
    completionTokensMax: 100,
  })
  const other = (name: string): ReturnType<typeof defineAgent> => defineAgent({ ...common, name, output: z.looseObject({}), model: scripted })
  const job = defineRun({ name: 'job', crew: { planner: other('planner'), worker, writer: other('writer') }, replansMax: 0 })
  const mesh = await createMesh({ store: new MemoryStore(), runs: [job], policies: { agents: { worker: { retry: { attemptsMax: 4, backoff: { firstMs: 1, factor: 1, maxMs: 5, jitter: 0 } } } } } }).start()
  try {
    const run = await mesh.run(job, { id: 'r', goal: 'why', ceiling: { usd: 5 } })
    await run.settled()
    const attempts = (await run.trace()).filter(({ agent }) => agent === 'worker')
    expect((await run.status())!.steps.map(({ state }) => state)).toEqual(['done'])
    expect(attempts.map(({ model, error, cost }) => [model, error?.replace(/ \(.*/, '') ?? null, cost])).toEqual([
      ['anthropic/claude-opus-4-6', 'anthropic is overloaded', { tokens: 0, calls: 1, nanoDollars: 0 }],
      // Nobody knows what a cut answer used: all that was held for it.
      ['anthropic/claude-opus-4-6', 'The connection to anthropic failed in the middle of the answer', null],
      ['local/llama-4', null, { tokens: 32, calls: 1, nanoDollars: 20 * 1_000 + 5 * 100 + 7 * 2_000 }],
    ])
  } finally {
    await mesh.stop()
  }
})

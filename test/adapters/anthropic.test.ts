/** The Anthropic adapter against a server that speaks the provider's wire format: what is sent, and what an answer becomes. */
import { getEventListeners } from 'node:events'
import { createRequire } from 'node:module'
import { inspect } from 'node:util'
import Anthropic from '@anthropic-ai/sdk'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { anthropic, type AnthropicModel, type AnthropicOptions } from '../../src/adapters/anthropic/index.js'
import { ConfigError } from '../../src/errors.js'
import { costOf, defaultPrices } from '../../src/mesh/prices.js'
import type { ModelRequest, ModelResponse } from '../../src/mesh/ports/model-client.js'
import { answer, AnthropicServer, counted, drip, failure, events, eventsOf, json, PromptCache, silence, sse, stopAfter, type Answer, type RecordedRequest } from '../support/anthropic-server.js'

let server: AnthropicServer

beforeAll(async () => {
  server = await AnthropicServer.start()
})

afterEach(() => {
  vi.unstubAllEnvs()
  vi.restoreAllMocks()
  try {
    server.verify()
  } finally {
    server.reset()
  }
})

afterAll(() => server.stop())

const request: ModelRequest = {
  model: 'claude-opus-4-6',
  system: 'You judge papers.',
  messages: [{ role: 'user', content: 'Is this one sound?' }],
  maxTokens: 1_024,
  task: { agent: 'critic', input: null },
}

const client = (options: AnthropicOptions = {}): AnthropicModel => anthropic({ apiKey: server.apiKey, baseURL: server.baseURL, ...options })

function complete(change: Partial<ModelRequest> = {}, options: AnthropicOptions = {}): Promise<ModelResponse> {
  return client(options).complete({ ...request, ...change }, { signal: new AbortController().signal, idempotencyKey: 'run/step/call' })
}

async function sent(change: Partial<ModelRequest> = {}, options: AnthropicOptions = {}): Promise<RecordedRequest> {
  server.next(answer())
  await complete(change, options)
  return server.requests.at(-1)!
}

test('whoever watches is told the text of the answer as it is read, and nothing of what was thought', async () => {
  server.next(drip(answer({ text: ['All ', 'is 😀 ', 'well.'], thinking: 'hm' })))
  const told: string[] = []
  const { text } = await client().complete(request, { signal: new AbortController().signal, idempotencyKey: 'k', onText: (delta) => void told.push(delta) })
  expect([told, text]).toEqual([['All ', 'is 😀 ', 'well.'], 'All is 😀 well.'])
})

describe('a request', () => {
  test('is one streamed call with the key, the version, and nothing that the API refuses', async () => {
    const { headers, body } = await sent()
    expect(headers.authorization).toBe(`Bearer ${server.apiKey}`)
    expect(headers['anthropic-version']).toBe('2026-10-21')
    expect(headers).not.toHaveProperty('traceparent')
    expect(body).toEqual({
      model: 'claude-opus-4-6',
      max_tokens: 1_024,
      stream: true,
      system: [{ type: 'text', text: 'You judge papers.', cache_control: { type: 'ephemeral' } }],
      messages: [{ role: 'user', content: 'Is this one sound?' }],
    })
    expect(server.requests).toHaveLength(1)
  })

  test('may ask for more tokens than the SDK lets pass unstreamed', async () => {
    expect((await sent({ maxTokens: 128_000 })).body.max_tokens).toBe(128_000)
  })

  test('does not mark its system prompt for the cache if told so', async () => {
    expect((await sent({}, { cacheSystem: false })).body.system).toEqual([{ type: 'text', text: 'You judge papers.' }])
  })

  test.for([[undefined], [''], [' \n']])('has no system prompt if it is %j', async ([system]) => {
    const { system: _, ...bare } = request
    server.next(answer())
    await client().complete(system === undefined ? bare : { ...bare, system }, { signal: new AbortController().signal, idempotencyKey: 'k' })
    expect(server.requests[0]!.body).not.toHaveProperty('system')
  })

  test('keeps the order and the roles of its messages', async () => {
    const messages = [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'b' },
      { role: 'user', content: 'c' },
    ] as const
    expect((await sent({ messages })).body.messages).toEqual(messages)
  })

  test.for([
    ['astral characters', 'a 😀 𝒳 👩‍👩‍👧‍👦 b'],
    ['controls', 'nul \u0000 bom \ufeff rlo \u202e esc \u001b'],
    ['combining marks', `e${'\u0301'.repeat(10_000)}`],
    ['both forms of a letter', '\u00e9 e\u0301'],
    ['what looks like an escape', String.raw`\ud800 \u0000 \n`],
    ['1 MB', 'sound paper. '.repeat(80_660).slice(0, 1_048_576)],
  ])('carries %s as it is, and so does its answer', async ([, text]) => {
    server.next(({ body }) => answer({ text: body.messages[0]!.content as string })({ body } as RecordedRequest))
    const response = await complete({ system: text!, messages: [{ role: 'user', content: text! }] })
    expect(server.requests[0]!.body.messages[0]!.content === text).toBe(true)
    expect(server.requests[0]!.body.system).toMatchObject([{ text }])
    expect(response.text === text).toBe(true)
  })

  test.for([
    ['system', { system: 'a \ud83d b' }],
    ['messages[1].content', { messages: [{ role: 'user', content: 'a' }, { role: 'assistant', content: '\ude00' }] }],
  ] as const)('with half a character in %s is refused before it is sent, by place and without its text', async ([place, change]) => {
    await expect(complete(change)).rejects.toMatchObject({ kind: 'invalid-request', retryable: false, usage: undefined, message: expect.stringContaining(`${place} holds a surrogate`) })
    expect(server.requests).toHaveLength(0)
  })

  test('goes to the address of the environment, with its key, if none are passed', async () => {
    vi.stubEnv('ANTHROPIC_API_KEY', server.apiKey)
    vi.stubEnv('ANTHROPIC_BASE_URL', server.baseURL)
    server.next(answer())
    await anthropic().complete(request, { signal: new AbortController().signal, idempotencyKey: 'k' })
    expect(server.requests).toHaveLength(1)
  })

  test('is accepted at a base address with a slash at its end', async () => {
    server.next(answer())
    await complete({}, { baseURL: `${server.baseURL}/` })
    expect(server.requests).toHaveLength(1)
  })
})

describe('an answer', () => {
  test('is its text, whole, with usage, model and the id of the call', async () => {
    server.next(answer({ text: ['All ', 'is ', 'well.'], model: 'claude-opus-4-6-20260101', usage: { input: 12, output: 5, cacheRead: 2_000, cacheWrite: 300 } }))
    expect(await complete()).toEqual({
      text: 'All is well.',
      stopReason: 'end',
      usage: { inputTokens: 12, outputTokens: 5, cacheReadTokens: 2_000, cacheWriteTokens: 300 },
      model: 'claude-opus-4-6-20260101',
      requestId: 'req_loopback_1',
    })
  })

  test.for([
    ['end_turn', 'end'],
    ['stop_sequence', 'end'],
    ['max_tokens', 'length'],
    ['model_context_window_exceeded', 'length'],
    ['refusal', 'refusal'],
  ] as const)('that stopped by %s is one of %s', async ([stopReason, expected]) => {
    server.next(answer({ text: '{"sound":true}', stopReason, usage: { output: 40 } }))
    const response = await complete({ schema: z.toJSONSchema(z.object({ sound: z.boolean() })) })
    expect(response).toMatchObject({ stopReason: expected, text: '{"sound":true}', usage: { outputTokens: 40 } })
    // What was cut or declined is not read, even if it happens to be JSON.
    expect('parsed' in response).toBe(expected === 'end')
  })

  test('is the same if it comes one byte at a time', async () => {
    const content: Answer = { text: ['žluťoučký ', '😀 ', '𝒳\n'], thinking: 'wait: 😀' }
    server.next(drip(answer(content)))
    expect((await complete()).text).toBe('žluťoučký 😀 𝒳\n')
  })

  test('is the same with carriage returns, comments, fields and events of later days', async () => {
    const lines = eventsOf({ text: ['a', 'b'] }, 'm').map(sse)
    lines.splice(2, 0, ': keep-alive\n\n', 'event: content_block_glow\ndata: {"type":"content_block_glow","glow":1}\n\n', 'id: 7\nretry: 10\n\n')
    const later = [
      { type: 'content_block_delta', index: 0, delta: { type: 'glow_delta', text: 'glow' } },
      { type: 'content_block_start', index: 1, content_block: { type: 'glow', text: 'glow' } },
    ]
    lines.splice(7, 0, ...later.map(sse))
    server.next({ headers: { 'content-type': 'text/event-stream' }, chunks: lines.map((line) => line.replaceAll('\n', '\r\n')) })
    expect((await complete()).text).toBe('ab')
  })

  test('is the same without the names of its events', async () => {
    server.next({ headers: { 'content-type': 'Text/Event-Stream' }, chunks: eventsOf({ text: ['a', 'b'] }, 'm').map((data) => `data: ${JSON.stringify(data)}\n\n`) })
    expect((await complete()).text).toBe('ab')
  })

  test('does not go on after its last word', async () => {
    const whole = eventsOf({ text: 'Done.' }, 'm')
    server.next(events([...whole, whole[3]!, { type: 'error' }]))
    expect(await complete()).toMatchObject({ text: 'Done.', stopReason: 'end' })
  })

  test('does not hold what the model thought', async () => {
    server.next(answer({ text: 'Yes.', thinking: 'Is it?' }))
    expect((await complete()).text).toBe('Yes.')
  })

  test('counts tokens as the last event says, and as the first one where the last says nothing', async () => {
    const [start, ...rest] = eventsOf({ usage: { input: 10, cacheRead: 4 } }, 'm')
    const last = { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 90, input_tokens: 11, cache_read_input_tokens: null } }
    server.next(events([start!, ...rest.filter(({ type }) => type !== 'message_delta' && type !== 'message_stop'), last, { type: 'message_stop' }]))
    expect((await complete()).usage).toEqual({ inputTokens: 11, outputTokens: 90, cacheReadTokens: 4, cacheWriteTokens: 0 })
  })

  test.for([
    ['without counts', undefined],
    ['with counts that are null', null],
    ['with the prompt’s alone', { input_tokens: 10, output_tokens: null }],
  ] as const)('is an answer also if it ends %s, and counts as many tokens as it may have', async ([, usage]) => {
    const list = eventsOf({ text: 'Yes.', usage: { input: 10, cacheRead: 4, cacheWrite: 3 } }, 'm').map((event) => (event.type === 'message_delta' ? { ...event, usage } : event))
    server.next(events(list))
    expect(await complete({ maxTokens: 77 })).toMatchObject({ text: 'Yes.', stopReason: 'end', usage: { inputTokens: 10, outputTokens: 77, cacheReadTokens: 4, cacheWriteTokens: 3 } })
  })

  test('counts the tokens of the event that gives its reason, or of one after it, not of one before', async () => {
    const [start, ...rest] = eventsOf({ usage: { input: 10 } }, 'm')
    const words = rest.filter(({ type }) => type !== 'message_delta' && type !== 'message_stop')
    const reason = (output?: number): { readonly type: string } => ({ type: 'message_delta', delta: { stop_reason: 'end_turn' }, ...(output === undefined ? {} : { usage: { output_tokens: output } }) }) as { readonly type: string }
    const count = (output?: number): { readonly type: string } => ({ type: 'message_delta', delta: {}, ...(output === undefined ? {} : { usage: { output_tokens: output } }) }) as { readonly type: string }
    for (const [ending, outputTokens] of [[[count(3), reason()], 77], [[reason(), count(5)], 5], [[reason(6), count()], 6]] as const) {
      server.next(events([start!, ...words, ...ending, { type: 'message_stop' }]))
      expect((await complete({ maxTokens: 77 })).usage.outputTokens).toBe(outputTokens)
    }
  })

  test('joins a character whose halves come in two events, and replaces a half that stays alone', async () => {
    server.next(answer({ text: ['a\ud83d', '\ude00b\ud83dc'] }))
    expect((await complete()).text).toBe('a😀b\ufffdc')
  })

  test('may be empty', async () => {
    server.next(answer({ text: '' }))
    expect(await complete()).toMatchObject({ text: '', stopReason: 'end' })
  })

  test('leaves the connection open for the next call', async () => {
    const before = server.connections
    server.next(answer(), answer(), answer())
    for (let call = 0; call < 3; call++) await complete()
    expect(server.connections - before).toBeLessThanOrEqual(1)
  })

  test('counts though its stream breaks after the last word', async () => {
    const whole = eventsOf({ text: 'Done.' }, 'm')
    server.next(stopAfter(whole.length, 'cut', events(whole)))
    expect((await complete()).text).toBe('Done.')
  })
})

describe('structured output', () => {
  const Verdict = z.object({ sound: z.boolean(), why: z.string().min(3).describe('one sentence'), score: z.number().min(0).max(1) })

  test('asks for the schema in the part of JSON Schema that the API takes', async () => {
    const { body } = await sent({ schema: z.toJSONSchema(Verdict) })
    expect(body.output_config).toEqual({
      format: {
        type: 'json_schema',
        schema: {
          type: 'object',
          properties: {
            sound: { type: 'boolean' },
            why: { type: 'string', description: 'one sentence\n\n{minLength: 3}' },
            score: { type: 'number', description: '{minimum: 0, maximum: 1}' },
          },
          required: ['sound', 'why', 'score'],
          additionalProperties: false,
        },
      },
    })
  })

  test('takes a schema that is no object at its root', async () => {
    const { body } = await sent({ schema: z.toJSONSchema(z.union([z.object({ a: z.string() }), z.array(z.int())])) })
    expect(body.output_config?.format?.schema).toMatchObject({ anyOf: [{ type: 'object', additionalProperties: false }, { type: 'array', items: { type: 'integer' } }] })
  })

  test('does not change the schema it is given', async () => {
    const schema = z.toJSONSchema(Verdict)
    const before = structuredClone(schema)
    await sent({ schema })
    expect(schema).toEqual(before)
  })

  test.for([
    ['an answer that fits', '{"sound":true,"why":"it is","score":0.9}', { sound: true, why: 'it is', score: 0.9 }],
    ['an answer that does not fit, for the mesh to judge', '{"sound":"maybe"}', { sound: 'maybe' }],
    ['null', 'null', null],
    ['half a character written as an escape, replaced', '{"why":"\\ud83d \\ud83d\\ude00"}', { why: '\ufffd 😀' }],
  ] as const)('reads %s', async ([, text, parsed]) => {
    server.next(answer({ text }))
    const response = await complete({ schema: z.toJSONSchema(Verdict) })
    expect(response.parsed).toEqual(parsed)
    expect(response.text).toBe(text)
  })

  test.for([
    ['is no JSON', 'It is sound.'],
    ['breaks off', '{"sound":tru'],
    ['is empty', ''],
    ['is two values', '{} {}'],
    ['is fenced', '```json\n{}\n```'],
  ])('gives the text alone when the answer %s', async ([, text]) => {
    server.next(answer({ text: text! }))
    const response = await complete({ schema: z.toJSONSchema(Verdict) })
    expect('parsed' in response).toBe(false)
    expect(response.text).toBe(text)
  })

  test('does not fall over an answer of 100,000 levels', async () => {
    const text = `${'['.repeat(100_000)}"\\ud83d"${']'.repeat(100_000)}`
    server.next(answer({ text }))
    expect((await complete({ schema: z.toJSONSchema(Verdict) })).text).toBe(text)
  })

  test('does not give a reply the power over prototypes', async () => {
    server.next(answer({ text: '{"__proto__":{"approved":true}}' }))
    const { parsed } = await complete({ schema: z.toJSONSchema(Verdict) })
    expect((parsed as { approved?: boolean }).approved).toBeUndefined()
  })

  test('is not read where none was asked for', async () => {
    server.next(answer({ text: '{"sound":true}' }))
    expect('parsed' in (await complete())).toBe(false)
  })

  const circular: Record<string, unknown> = { type: 'object', properties: {} }
  circular['properties'] = { again: circular }
  test.for([
    ['an object of any keys', z.toJSONSchema(z.object({ notes: z.record(z.string(), z.string()) })), 'schema.properties.notes is an object of any keys'],
    ['a part without a type', z.toJSONSchema(z.object({ anything: z.unknown() })), 'must be JSON and have a type'],
    ['a circle', circular, 'must be JSON'],
    ['a bigint', { type: 'object', properties: { a: { const: 1n } } }, 'must be JSON'],
  ] as const)('refuses a schema with %s before anything is sent', async ([, schema, message]) => {
    await expect(complete({ schema })).rejects.toMatchObject({ kind: 'invalid-request', retryable: false, message: expect.stringContaining(message) })
    expect(server.requests).toHaveLength(0)
  })
})

describe('the prompt cache', () => {
  const price = defaultPrices.models['anthropic/claude-opus-4-6']!
  const dollars = ({ usage }: ModelResponse): number => costOf(price, usage).nanoDollars / 1e9
  const system = 'You judge papers by these rules. '.repeat(200)
  const paper = 'The otter eats urchins, and the kelp grows. '.repeat(400)

  test('of a system prompt is written once and read by the calls after it, for a tenth', async () => {
    const cache = new PromptCache()
    server.next(cache.answer(), cache.answer(), cache.answer())
    const [first, second, other] = [await complete({ system }), await complete({ system, messages: [{ role: 'user', content: 'And this one?' }] }), await complete({ system, model: 'claude-sonnet-4-6' })]
    expect(first.usage).toMatchObject({ cacheWriteTokens: 1_650, cacheReadTokens: 0 })
    expect(second.usage).toMatchObject({ cacheWriteTokens: 0, cacheReadTokens: 1_650, inputTokens: 4 })
    // Another model has a cache of its own.
    expect(other.usage).toMatchObject({ cacheWriteTokens: 1_650, cacheReadTokens: 0 })
    expect(dollars(second) / dollars(first)).toBeLessThan(0.11)
  })

  test('of messages is read by a retry and by a prompt that goes on, if it was asked for', async () => {
    const cache = new PromptCache()
    server.next(cache.answer(), cache.answer(), cache.answer(), cache.answer(), cache.answer())
    const messages = [{ role: 'user', content: paper }] as const
    const goesOn = [...messages, { role: 'assistant', content: 'It is.' }, { role: 'user', content: 'Why?' }] as const
    const marked = { cacheMessages: true }
    const [first, retry, next] = [await complete({ messages }, marked), await complete({ messages }, marked), await complete({ messages: goesOn }, marked)]
    expect([first, retry, next].map(({ usage: { inputTokens, cacheReadTokens, cacheWriteTokens } }) => [inputTokens, cacheReadTokens, cacheWriteTokens])).toEqual([[0, 0, 4_405], [0, 4_405, 0], [0, 4_405, 3]])
    expect(server.requests[2]!.body.messages).toEqual([...goesOn.slice(0, 2), { role: 'user', content: [{ type: 'text', text: 'Why?', cache_control: { type: 'ephemeral' } }] }])
    // Unmarked, it is paid again each time.
    expect((await complete({ messages })).usage).toMatchObject({ cacheReadTokens: 0, inputTokens: 4_405 })
    // A blank block can carry no mark.
    await complete({ messages: [{ role: 'user', content: ' ' }] }, marked)
    expect(server.requests[4]!.body.messages).toEqual([{ role: 'user', content: ' ' }])
  })
})

describe('counting tokens', () => {
  const { signal } = new AbortController()
  const prompt = { model: request.model, system: request.system!, messages: request.messages }

  test('asks the provider about the whole prompt, its schema too, and begins no answer', async () => {
    server.next(counted, counted)
    expect(await client().countTokens(prompt, { signal })).toBe(Math.ceil('You judge papers.'.length / 4) + Math.ceil('Is this one sound?'.length / 4))
    await client().countTokens({ ...request, schema: z.toJSONSchema(z.object({ sound: z.boolean() })) }, { signal })
    expect(server.requests.map(({ path }) => path)).toEqual(['/v1/messages/count_tokens', '/v1/messages/count_tokens'])
    expect(server.requests[0]!.body).toEqual({ model: 'claude-opus-4-6', system: [{ type: 'text', text: 'You judge papers.' }], messages: [{ role: 'user', content: 'Is this one sound?' }] })
    expect(server.requests[1]!.body.output_config?.format).toMatchObject({ type: 'json_schema' })
  })

  test('fails as a call does', async () => {
    server.next(failure(429, 'rate_limit_error', 'slow down', { headers: { 'retry-after': '2' } }), json(200, { tokens: 3 }), { headers: { 'content-type': 'application/json' }, chunks: ['<'] }, silence('cut'))
    const count = (): Promise<number> => client().countTokens(prompt, { signal })
    await expect(count()).rejects.toMatchObject({ kind: 'rate-limit', retryable: true, retryAfterMs: 2_000 })
    await expect(count()).rejects.toMatchObject({ kind: 'malformed', message: expect.stringContaining('no count of tokens') })
    await expect(count()).rejects.toMatchObject({ kind: 'malformed' })
    await expect(count()).rejects.toMatchObject({ kind: 'connection', retryable: true })
    await expect(client().countTokens({ ...prompt, system: '\ud83d' }, { signal })).rejects.toMatchObject({ kind: 'invalid-request' })
    expect(server.requests).toHaveLength(4)
  })

  test('ends with its signal, and the provider sees it go', async () => {
    server.next(silence('hang'))
    const controller = new AbortController()
    const counting = expect(client().countTokens(prompt, { signal: controller.signal })).rejects.toMatchObject({ kind: 'aborted' })
    await server.received(1)
    controller.abort()
    await counting
    await server.requests[0]!.hungUp
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  })
})

describe('one client', () => {
  test('makes no spans of its own, since the mesh makes them', async () => {
    const { trace } = createRequire(import.meta.resolve('@anthropic-ai/sdk'))('@opentelemetry/api') as { trace: { setGlobalTracerProvider(provider: object): boolean; disable(): void } }
    const getTracer = vi.fn<() => never>(() => {
      throw new Error('a tracer was asked for')
    })
    trace.setGlobalTracerProvider({ getTracer })
    server.next(answer())
    await complete()
    trace.disable()
    expect(getTracer).not.toHaveBeenCalled()
  })

  test('serves 50 calls at once under one signal, and mixes none up', async () => {
    const warnings: Error[] = []
    const onWarning = (warning: Error): void => void warnings.push(warning)
    process.on('warning', onWarning)
    const { signal } = new AbortController()
    const model = client()
    server.otherwise((call) => answer({ text: `answer to ${call.body.messages[0]!.content as string}` })(call))
    const numbers = Array.from({ length: 50 }, (_, number) => number)
    const responses = await Promise.all(
      numbers.map((number) => model.complete({ ...request, messages: [{ role: 'user', content: `question ${number}` }] }, { signal, idempotencyKey: `k${number}` })),
    )
    expect(responses.map(({ text }) => text)).toEqual(numbers.map((number) => `answer to question ${number}`))
    expect(server.requests).toHaveLength(50)
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
    process.off('warning', onWarning)
    expect(warnings).toEqual([])
  })

  test('does not show its key', () => {
    const model = client()
    expect(model.provider).toBe('anthropic')
    expect(inspect(model, { depth: Infinity, showHidden: true })).not.toContain(server.apiKey)
    expect(JSON.stringify(model)).not.toContain(server.apiKey)
  })

  test('writes nothing to the console, also when the SDK is told to log', async () => {
    vi.stubEnv('ANTHROPIC_LOG', 'debug')
    const written = (['log', 'info', 'warn', 'error', 'debug'] as const).map((method) => vi.spyOn(console, method))
    server.next(answer(), { headers: { 'content-type': 'text/event-stream' }, chunks: ['event: message_start\ndata: {broken\n\n'] })
    await complete()
    await expect(complete()).rejects.toMatchObject({ kind: 'malformed' })
    for (const spy of written) expect(spy).not.toHaveBeenCalled()
  })
})

describe('options that cannot be used are refused before anything is sent', () => {
  const refuse = (options: AnthropicOptions): ConfigError => {
    try {
      anthropic({ apiKey: 'sk-ant-secret', ...options })
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigError)
      return error as ConfigError
    }
    throw new Error('nothing was thrown')
  }

  test.for([[undefined], [''], [' \n']])('no key (ANTHROPIC_API_KEY is %j): the message says what to do', ([key]) => {
    vi.stubEnv('ANTHROPIC_API_KEY', key)
    expect(() => anthropic()).toThrow(ConfigError)
    expect(() => anthropic()).toThrow(/ANTHROPIC_API_KEY.*\{ apiKey \}/)
  })

  test.for([['sk-ant-secret\n'], ['sk ant secret'], ['sk-ant-sécret'], ['sk-ant-secret\r\nx-evil: 1']])('a key that no header can hold: %j, which the message does not show', ([apiKey]) => {
    expect(inspect(refuse({ apiKey: apiKey! }))).not.toContain('cret')
  })

  test.for([['api.anthropic.com'], ['ftp://host'], ['https://user:hunter2@host'], ['https://hunter2@host'], ['https://host?key=hunter2'], ['https://host#hunter2']])('the base address %s', ([baseURL]) => {
    expect(inspect(refuse({ baseURL: baseURL! }))).not.toContain('hunter2')
  })

  test.for([[0], [-1], [1.5], [Number.NaN], [Infinity], [2 ** 31]])('a timeout of %s ms', ([timeoutMs]) => {
    expect(refuse({ timeoutMs: timeoutMs! }).message).toContain(`not ${timeoutMs}`)
  })

  test.for([[0], [-1], [Number.NaN]])('a bound of %s bytes', ([answerBytesMax]) => {
    expect(refuse({ answerBytesMax: answerBytesMax! }).message).toContain('answerBytesMax')
  })
})


describe('the server of these tests', () => {
  test('speaks so that the SDK itself reads it, as one message and as a stream', async () => {
    const sdk = new Anthropic({ apiKey: server.apiKey, baseURL: server.baseURL, maxRetries: 0 })
    const content: Answer = { text: ['All ', 'is well.'], thinking: 'hm', usage: { input: 3, output: 4 } }
    const params = { model: 'claude-opus-4-6', max_tokens: 10, messages: [{ role: 'user', content: 'a' }] } as const
    server.next(answer(content), drip(answer(content)))
    const [one, streamed] = [await sdk.messages.create({ ...params, messages: [...params.messages] }), await sdk.messages.stream({ ...params, messages: [...params.messages] }).finalMessage()]
    expect(one.content).toEqual(streamed.content)
    expect(one.usage).toEqual(streamed.usage)
    expect([one.stop_reason, streamed.stop_reason, one._request_id]).toEqual(['end_turn', 'end_turn', 'req_loopback_1'])
  })

  const call = (body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(`${server.baseURL}/v1/messages`, { method: 'POST', headers: { 'x-api-key': server.apiKey, 'anthropic-version': '2026-10-21', ...headers }, body: JSON.stringify(body) })
  const good = { model: 'm', max_tokens: 1, messages: [{ role: 'user', content: 'a' }] }

  test.for<[string, unknown, Record<string, string>, number]>([
    ['another key', good, { 'x-api-key': 'no' }, 401],
    ['another version', good, { 'anthropic-version': '2023-01-01' }, 400],
    ['a temperature', { ...good, temperature: 0 }, {}, 400],
    ['no messages', { ...good, messages: [] }, {}, 400],
    ['half a character', { ...good, system: '\ud83d' }, {}, 400],
    ['an open schema', { ...good, output_config: { format: { type: 'json_schema', schema: { type: 'object' } } } }, {}, 400],
    ['a request that nothing was queued for', good, {}, 500],
  ])('refuses %s as the provider does, and fails the test', async ([, body, headers, status]) => {
    expect((await call(body, headers)).status).toBe(status)
    expect(() => server.verify()).toThrow()
    server.reset()
  })

  test('fails the test that leaves replies', () => {
    server.next(answer())
    expect(() => server.verify()).toThrow('1 replies are left')
    server.reset()
  })
})

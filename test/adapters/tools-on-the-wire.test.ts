/** Tools over each adapter's real wire: what is offered, asked for, run and told, through an agent and over HTTP. */
import { createAnthropic } from '@ai-sdk/anthropic'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, modelOf, type ModelClient, type ModelRequest, type ModelResponse, type RunStatus, type ToolOptions, type TraceRecord } from '../../src/index.js'
import { aiSdk } from '../../src/adapters/ai-sdk/index.js'
import { anthropic } from '../../src/adapters/anthropic/index.js'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { askFor, offlineModel } from '../../src/adapters/offline/index.js'
import { AnthropicServer, answer, counted, stopAfter } from '../support/anthropic-server.js'
import { ChatServer, chat } from '../support/chat-server.js'
import { functionModel } from '../support/function-model.js'

let server: AnthropicServer
let chats: ChatServer
beforeAll(async () => void ([server, chats] = await Promise.all([AnthropicServer.start(), ChatServer.start()])))
afterAll(() => Promise.all([server.stop(), chats.stop()]))
afterEach(() => {
  try {
    server.verify()
  } finally {
    server.reset()
    chats.reset()
  }
})

const claude = (): ModelClient => anthropic({ apiKey: server.apiKey, baseURL: server.baseURL })
const viaSdk = (isStreamed = true): ModelClient => aiSdk(createAnthropic({ apiKey: server.apiKey, baseURL: `${server.baseURL}/v1` }), { provider: 'anthropic', isStreamed })
const local = (isStreamed = true): ModelClient => aiSdk(createOpenAICompatible({ name: 'local', apiKey: 'sk-local', baseURL: chats.baseURL, includeUsage: true, supportsStructuredOutputs: true }), { provider: 'local', isStreamed })

const look: ToolOptions<{ at: string }> = { description: 'Looks at a page.', input: z.object({ at: z.string() }), isRepeatable: true, run: ({ input }) => `page ${input.at}` }

async function play(client: ModelClient): Promise<{ readonly status: RunStatus; readonly trace: readonly TraceRecord[] }> {
  const scripted = modelOf(functionModel(({ task }) => (task.agent === 'planner' ? { steps: [{ n: 1 }] } : {})), 'm', { input: 0, output: 0 })
  const common = { input: z.looseObject({}), prompt: () => ({ system: 'You look.', messages: [{ role: 'user' as const, content: 'Look.' }] }) }
  const worker = defineAgent({ ...common, name: 'worker', output: z.object({ seen: z.string() }), model: modelOf(client, 'claude-opus-4-6', { input: 1, output: 1 }), tools: { look }, completionTokensMax: 100 })
  const other = (name: string) => defineAgent({ ...common, name, output: z.looseObject({}), model: scripted })
  const job = defineRun({ name: 'job', crew: { planner: other('planner'), worker, writer: other('writer') }, replansMax: 0 })
  const mesh = await createMesh({ store: new MemoryStore(), runs: [job], policies: { agents: { '*': { retry: { attemptsMax: 1 } } } } }).start()
  try {
    const run = await mesh.run(job, { id: 'r', goal: 'why', ceiling: { usd: 1 } })
    await run.output({ deadlineMs: 20_000 })
    return { status: (await run.status())!, trace: (await run.trace()).filter(({ agent }) => agent === 'worker') }
  } finally {
    await mesh.stop()
  }
}

const seen = { text: '{"seen":"page a"}' }
const asked = { text: 'Let me see.', tools: [{ id: 'toolu_1', name: 'look', input: ['{"a', 't":', '"a"}'] }, { id: 'toolu_2', name: 'fax', input: {} }] }

describe.each([
  ['anthropic', claude],
  ['the AI SDK’s Anthropic (V4)', viaSdk],
])('through %s', (_, client) => {
  test('a model is offered tools, asks in a stream, is told, and answers', async () => {
    server.next(answer(asked), answer(seen))
    const { status, trace } = await play(client())
    expect(status.steps[0]).toMatchObject({ state: 'done', output: { seen: 'page a' } })
    const [first, second] = server.requests.map(({ body }) => body as unknown as { tools: { name: string; description: string; input_schema: object }[]; messages: { role: string; content: string | { type: string }[] }[] })
    expect(first!.tools).toMatchObject([{ name: 'look', description: 'Looks at a page.', input_schema: { type: 'object', properties: { at: { type: 'string' } }, required: ['at'] } }])
    expect(second!.messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'user'])
    expect(second!.messages[1]!.content).toEqual([
      { type: 'text', text: 'Let me see.' },
      { type: 'tool_use', id: 't1_1', name: 'look', input: { at: 'a' } },
      { type: 'tool_use', id: 't1_2', name: 'fax', input: {} },
    ])
    expect(second!.messages[2]!.content).toMatchObject([
      { type: 'tool_result', tool_use_id: 't1_1', content: 'page a' },
      { type: 'tool_result', tool_use_id: 't1_2', content: expect.stringMatching(/^not-allowed: there is no tool "fax"/) as string, is_error: true },
    ])
    expect(trace.map(({ stopReason, cost, tools }) => [stopReason, cost?.tokens, tools.map(({ tool, refused }) => [tool, refused])])).toEqual([['tools', 32, [['look', null], ['fax', 'not-allowed']]], ['end', 32, []]])
  })

  test.each([
    ['cut off at its bound', { ...asked, stopReason: 'max_tokens' }, /cut off at 100 tokens/],
    ['that the model declined', { ...asked, stopReason: 'refusal' }, /declined/],
  ])('tools of an answer %s are not run', async (__, content, why) => {
    server.next(answer(content))
    const { status, trace } = await play(client())
    expect(status.steps[0]).toMatchObject({ state: 'unanswered', reason: expect.stringMatching(why) as string })
    expect(trace[0]!.tools).toEqual([])
  })

  test('nor are those of a stream that was cut', async () => {
    server.next(stopAfter(9, 'cut', answer(asked)))
    const { status, trace } = await play(client())
    expect(status.steps[0]).toMatchObject({ state: 'unanswered' })
    expect(trace[0]!.tools).toEqual([])
  })
})

test('through anthropic: arguments that are not JSON are the model’s to mend, and are given back as none', async () => {
  server.next(answer({ tools: [{ id: 'toolu_1', name: 'look', input: ['{"at":'] }] }), answer(seen))
  expect((await play(claude())).status.steps[0]).toMatchObject({ state: 'done' })
  const { messages } = server.requests[1]!.body as unknown as { messages: { content: unknown }[] }
  expect(messages[1]!.content).toContainEqual({ type: 'tool_use', id: 't1_1', name: 'look', input: {} })
  expect(messages[2]!.content).toEqual([{ type: 'tool_result', tool_use_id: 't1_1', content: 'arguments: they are not JSON', is_error: true }])
})

describe.each([['in a stream', true], ['as one', false]])('through the AI SDK, %s', (_, isStreamed) => {
  test('an OpenAI-compatible model (V3) asks for tools, is told, and answers', async () => {
    chats.next(chat({ text: [], tools: [{ name: 'look', arguments: ['{"at"', ':"a"}'] }] }), chat({ text: ['{"seen":', '"page a"}'] }))
    const { status, trace } = await play(local(isStreamed))
    expect(status.steps[0]).toMatchObject({ state: 'done', output: { seen: 'page a' } })
    const [first, second] = chats.requests.map(({ body }) => body as unknown as { tools: object[]; messages: object[] })
    expect(first!.tools).toMatchObject([{ type: 'function', function: { name: 'look', description: 'Looks at a page.', parameters: { type: 'object', required: ['at'] } } }])
    expect(second!.messages.slice(2)).toMatchObject([
      { role: 'assistant', tool_calls: [{ id: 't1_1', type: 'function', function: { name: 'look', arguments: '{"at":"a"}' } }] },
      { role: 'tool', tool_call_id: 't1_1', content: 'page a' },
    ])
    expect(trace.map(({ stopReason }) => stopReason)).toEqual(['tools', 'end'])
  })

  test('and so does Claude (V4)', async () => {
    server.next(answer({ ...asked, tools: [{ id: 'toolu_1', name: 'look', input: { at: 'a' } }] }), answer(seen))
    expect((await play(viaSdk(isStreamed))).status.steps[0]).toMatchObject({ state: 'done', output: { seen: 'page a' } })
  })
})

test('the offline model’s skills ask for tools, too', async () => {
  const client = offlineModel({ skills: { worker: (_, { tools, results }) => (results.length === 0 ? askFor({ name: tools[0]!.name, input: { at: 'a' } }) : { seen: results[0]!.text }) } })
  const { status, trace } = await play(client)
  expect(status.steps[0]).toMatchObject({ state: 'done', output: { seen: 'page a' } })
  expect(trace.map(({ stopReason, tokens }) => [stopReason, tokens!.output > 0])).toEqual([['tools', true], ['end', true]])
})

describe('a client alone', () => {
  const request: ModelRequest = {
    model: 'claude-opus-4-6',
    messages: [
      { role: 'user', content: 'Look.' },
      { role: 'assistant', content: ' ', toolCalls: [{ id: 'a', name: 'look', arguments: '[1]' }] },
      { role: 'user', content: 'And?', toolResults: [{ id: 'a', name: 'look', text: '', isError: false }] },
    ],
    tools: [{ name: 'look', description: 'Looks.', inputSchema: { type: 'object' } }],
    maxTokens: 100,
    task: { agent: 'a', input: null },
  }
  const complete = (client: ModelClient, change: Partial<ModelRequest> = {}): Promise<ModelResponse> => client.complete({ ...request, ...change }, { signal: new AbortController().signal, idempotencyKey: 'k' })

  test('gives back blank texts, arguments that are no object and empty results as the API takes them', async () => {
    server.next(answer())
    await complete(anthropic({ apiKey: server.apiKey, baseURL: server.baseURL, cacheMessages: true }))
    expect(server.requests[0]!.body.messages).toEqual([
      { role: 'user', content: 'Look.' },
      { role: 'assistant', content: [{ type: 'tool_use', id: 'a', name: 'look', input: {} }] },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'a' }, { type: 'text', text: 'And?', cache_control: { type: 'ephemeral' } }] },
    ])
  })

  test('counts the tools with the prompt', async () => {
    server.next(counted)
    await anthropic({ apiKey: server.apiKey, baseURL: server.baseURL }).countTokens(request, { signal: new AbortController().signal })
    expect(server.requests[0]!.body).toMatchObject({ tools: [{ name: 'look' }] })
  })

  test.each([['anthropic', claude], ['AI SDK', viaSdk]])('takes no tools that were not offered: %s', async (_, client) => {
    server.next(answer(asked))
    const { tools: __, ...without } = request
    await expect(client().complete({ ...without, messages: [{ role: 'user', content: 'Look.' }] }, { signal: new AbortController().signal, idempotencyKey: 'k' })).rejects.toMatchObject({ kind: 'malformed', retryable: false, isUsageFinal: true })
  })

  test('sends no half of a character in a result or in arguments', async () => {
    for (const messages of [[{ role: 'user' as const, content: '', toolResults: [{ id: 'a', name: 'look', text: '\ud800', isError: false }] }], [{ role: 'assistant' as const, content: '', toolCalls: [{ id: 'a', name: 'look', arguments: '"\ud800"' }] }]]) {
      await expect(complete(claude(), { messages })).rejects.toMatchObject({ kind: 'invalid-request', message: expect.stringContaining('surrogate') as string })
    }
  })
})

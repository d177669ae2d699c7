/**
 * What goes to the next provider after the first has failed in the middle of an answer: over real HTTP, in either direction, it is
 * to the letter what that provider is asked when it is asked first. So nothing that is bound to the first (what it thought, with its
 * signature; its cache marks; words of its own) comes along.
 */
import { createAnthropic } from '@ai-sdk/anthropic'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, modelOf, type AgentOutput, type AgentTask, type ModelRef, type TraceRecord } from '../../src/index.js'
import { aiSdk } from '../../src/adapters/ai-sdk/index.js'
import { anthropic } from '../../src/adapters/anthropic/index.js'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { canonicalGoal } from '../../src/mesh/canonical.js'
import { AnthropicServer, answer, stopAfter } from '../support/anthropic-server.js'
import { ChatServer, chat } from '../support/chat-server.js'

let claudes: AnthropicServer
let chats: ChatServer
beforeAll(async () => {
  claudes = await AnthropicServer.start()
  chats = await ChatServer.start()
})
afterAll(async () => {
  await claudes.stop()
  await chats.stop()
})
afterEach(() => {
  claudes.reset()
  chats.requests.length = 0
})

const models = (): Record<'native' | 'sdk' | 'other', ModelRef> => ({
  native: modelOf(anthropic({ apiKey: claudes.apiKey, baseURL: claudes.baseURL, cacheMessages: true }), 'claude-opus-4-6'),
  sdk: modelOf(aiSdk(createAnthropic({ apiKey: claudes.apiKey, baseURL: `${claudes.baseURL}/v1` }), { provider: 'anthropic-by-sdk' }), 'claude-opus-4-6', { input: 1, output: 1 }),
  other: modelOf(aiSdk(createOpenAICompatible({ name: 'local', apiKey: 'sk-local', baseURL: chats.baseURL, includeUsage: true, supportsStructuredOutputs: true }), { provider: 'local' }), 'other', { input: 1, output: 1 }),
})

const task: AgentTask = { id: 't', origin: 't', input: {}, goal: canonicalGoal('why'), grant: { tokens: 1e9, calls: 1e6, nanoDollars: 1e12 }, run: 'r' }

async function ask(...names: readonly ('native' | 'sdk' | 'other')[]): Promise<readonly TraceRecord[]> {
  const worker = defineAgent({
    name: 'worker',
    input: z.looseObject({}),
    output: z.object({ claim: z.string() }),
    model: names.map((name) => models()[name]),
    prompt: () => ({ system: 'You judge papers.', messages: [{ role: 'user', content: 'Is it sound?' }, { role: 'assistant', content: 'Which?' }, { role: 'user', content: 'This one.' }] }),
  })
  const mesh = await createMesh({ store: new MemoryStore(), agents: [worker], policies: { agents: { '*': { retry: { attemptsMax: 2, backoff: { firstMs: 1, factor: 1, maxMs: 1, jitter: 0 } } } } } }).start()
  try {
    const actor = mesh.system.actorAt('worker/r')
    await actor.start({ input: { task } as never, run: 'r' })
    expect((await actor.output({ deadlineMs: 20_000 })) as AgentOutput).toMatchObject({ outcome: 'done', output: { claim: 'It holds.' } })
    return await mesh.handle({ name: 'worker', agents: [], input: () => null } as never, 'r').trace()
  } finally {
    await mesh.stop()
  }
}

const text = '{"claim":"It holds."}'
/** It has thought, signed that, and begun to speak. */
const thoughtAndCut = stopAfter(9, 'cut', answer({ text: ['half ', 'of it'], thinking: 'secretly' }))

test.each(['native', 'sdk'] as const)('from Claude (%s), which thought and was cut, to another provider', async (first) => {
  chats.next(chat({ text: [text] }))
  await ask('other')
  const alone = chats.requests[0]!.body
  claudes.next(thoughtAndCut)
  chats.next(chat({ text: [text] }))
  const trace = await ask(first, 'other')
  expect(trace.map(({ model, completion }) => [model.slice(0, model.indexOf('/')), completion])).toEqual([[first === 'native' ? 'anthropic' : 'anthropic-by-sdk', null], ['local', text]])
  expect(chats.requests[1]!.body).toEqual(alone)
  expect(JSON.stringify([chats.requests[1]!.body, trace])).not.toMatch(/secretly|signature|c2lnbmF0dXJl|thinking|half |cache_control|providerOptions/)
  claudes.verify()
})

test.each(['native', 'sdk'] as const)('from another provider to Claude (%s)', async (second) => {
  claudes.next(answer({ text }))
  await ask(second)
  const alone = claudes.requests[0]!.body
  chats.next(stopAfter(2, 'cut', chat({ text: ['half ', 'of it'] }) as never) as never)
  claudes.next(answer({ text }))
  const trace = await ask('other', second)
  expect(trace).toHaveLength(2)
  expect(claudes.requests[1]!.body).toEqual(alone)
  claudes.verify()
})

/** An agent's prompt as it is selected, sent, traced and taken back; and answers that are not whole. */
import { afterEach, expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, modelOf, type AgentOptions, type CompactionRecord, type Mesh, type ModelClient, type ModelRequest, type ModelResponse, type PromptPart, type RunStatus, type TraceRecord } from '../../src/index.js'
import { digestOf } from '../../src/mesh/canonical.js'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { functionModel } from '../support/function-model.js'

const Any = z.looseObject({})
const open: Mesh[] = []
afterEach(async () => void (await Promise.all(open.splice(0).map((mesh) => mesh.stop()))))

interface Played {
  readonly status: RunStatus
  readonly requests: readonly ModelRequest[]
  readonly trace: readonly TraceRecord[]
  readonly compactions: readonly CompactionRecord[]
}

async function play(worker: Partial<AgentOptions<object, object>>, respond: (request: ModelRequest) => Partial<ModelResponse> = () => ({})): Promise<Played> {
  const functions = functionModel(({ task }) => (task.agent === 'planner' ? { steps: [{ n: 1 }] } : {}))
  const client: ModelClient = { ...functions, complete: async (request, options) => ({ ...(await functions.complete(request, options)), ...(request.task.agent === 'worker' ? respond(request) : {}) }) }
  const agent = (name: string, more: object = {}) => defineAgent({ name, input: Any, output: Any, model: modelOf(client, 'm'), prompt: () => ({ messages: [{ role: 'user', content: 'hello' }] }), ...more } as AgentOptions<object, object>)
  const job = defineRun({ name: 'job', crew: { planner: agent('planner'), worker: agent('worker', worker), writer: agent('writer') }, replansMax: 0 })
  const mesh = await createMesh({ store: new MemoryStore(), runs: [job] }).start()
  open.push(mesh)
  const run = await mesh.run(job, { id: 'r', goal: 'why', ceiling: { calls: 10 } })
  await run.output({ deadlineMs: 10_000 })
  const status = (await run.status())!
  return { status, requests: functions.requests.filter(({ task }) => task.agent === 'worker'), trace: (await run.trace()).filter(({ agent: of }) => of === 'worker'), compactions: await run.compactions() }
}

const parts = (length: number): readonly PromptPart[] => [
  { id: 'goal', kind: 'goal', text: 'Find out what otters eat.' },
  { id: 'page-1', kind: 'observation', text: `first ${'a'.repeat(length)}` },
  { id: 'page-2', kind: 'observation', text: `second ${'b'.repeat(length)}`, relevance: 0.9 },
  { id: 'chat', kind: 'context', text: `idle talk ${'c'.repeat(length)}`, relevance: 0.1, mask: 'They talked.' },
  { id: 'decision', kind: 'decision', text: 'Only sea otters.' },
]
const promptOf = (length: number) => () => ({ system: 'You read.', parts: parts(length), messages: [{ role: 'user' as const, content: 'Answer.' }] })

test('without a window all parts are shown, as one message with what follows them', async () => {
  const { requests, trace, compactions } = await play({ prompt: promptOf(10) })
  expect(requests[0]!.messages).toEqual([{ role: 'user', content: [...parts(10).map(({ text }) => text), 'Answer.'].join('\n\n') }])
  expect(trace[0]!.compaction).toBeNull()
  expect(compactions).toEqual([])
})

test('what does not fit is masked, then left out, on record, and can be taken back', async () => {
  const { status, requests, trace, compactions } = await play({ prompt: promptOf(1_000), windowTokensMax: 1_600 })
  expect(status.steps[0]).toMatchObject({ state: 'done' })
  // The talk is of the least relevance, then comes the older page.
  expect(requests[0]!.messages).toEqual([{ role: 'user', content: ['Find out what otters eat.', '[1006 bytes are left out here to save room]', parts(1_000)[2]!.text, 'They talked.', 'Only sea otters.', 'Answer.'].join('\n\n') }])
  const lost = [
    { id: 'page-1', kind: 'observation', how: 'masked', tokens: 1_008, relevance: 0.5, digest: digestOf(parts(1_000)[1]!.text) },
    { id: 'chat', kind: 'context', how: 'masked', tokens: 1_012, relevance: 0.1, digest: digestOf(parts(1_000)[3]!.text) },
  ]
  expect(trace[0]!.compaction).toMatchObject({ tokensMax: 1_600, parts: lost })
  expect(trace[0]!.compaction!.tokens).toBeLessThanOrEqual(1_600)
  expect(compactions).toEqual([{ agent: 'worker/r~step-1', at: expect.any(Number) as number, call: 'call', parts: lost.map((part) => ({ ...part, text: parts(1_000).find(({ id }) => id === part.id)!.text })) }])
  expect(trace[0]!.attempt).toBe('call.1')
  // What was held for the call is for what was sent.
  expect(trace[0]!.reserved.tokens).toBeLessThan(1_600 + 2_048 + 4_096 + 200)
})

test('tokens may be counted by a function of the user’s', async () => {
  const { requests } = await play({ prompt: promptOf(1_000), windowTokensMax: 1_600, countTokens: (text) => Math.ceil(text.length / 4) })
  expect(requests[0]!.messages[0]!.content).toContain('idle talk')
})

test('another derivation leaves the same out, and that is kept, too', async () => {
  const { status, trace, compactions } = await play({ prompt: promptOf(1_000), windowTokensMax: 1_600, verifyWith: { strategy: 'rederivation' } })
  expect(status.steps[0]).toMatchObject({ state: 'done' })
  expect(trace.map(({ attempt, compaction }) => [attempt, compaction?.parts.length])).toEqual([['call.1', 2], ['rederivation-1.1', 2]])
  expect(compactions.map(({ call }) => call)).toEqual(['call', 'rederivation-1'])
})

test.each([
  ['that is pinned', () => ({ parts: [{ id: 'all', kind: 'constraint' as const, text: 'x'.repeat(2_000) }], messages: [] }), /The prompt needs 2\d{3} tokens, though all that may be left out is, and its window is 1600 \(pinned: "all"\)/],
  ['that is always said', () => ({ parts: parts(10), messages: [{ role: 'user' as const, content: 'y'.repeat(1_601) }] }), /needs \d+ tokens/],
  ['of the system', () => ({ system: 'z'.repeat(1_601), messages: [] }), /needs \d+ tokens/],
])('a prompt too long by what is in it %s fails the agent, and nothing is cut, asked or paid', async (_, prompt, why) => {
  const { status, requests } = await play({ prompt, windowTokensMax: 1_600 })
  expect(status.steps[0]).toMatchObject({ state: 'unanswered', reason: expect.stringMatching(why) as string })
  expect(status.members.find(({ id }) => id === 'step-1')).toMatchObject({ outcome: 'failed', restarts: 0, spent: { calls: 0 } })
  expect(requests).toEqual([])
})

test.each([
  ['a part without an id', { parts: [{ kind: 'goal', text: 'x' }] }, /prompt\.parts\[0\]\.id: expected a text of 1 to 256 characters/],
  ['a kind that there is not', { parts: [{ id: 'a', kind: 'note', text: 'x' }] }, /prompt\.parts\[0\]\.kind: expected "goal" or/],
  ['two of one id', { parts: [{ id: 'a', kind: 'goal', text: 'x' }, { id: 'a', kind: 'goal', text: 'y' }] }, /prompt\.parts: there are two of the id "a"/],
  ['a misspelled field', { parts: [{ id: 'a', kind: 'goal', text: 'x', relevancy: 1 }] }, /prompt\.parts\[0\]\.relevancy: there is no such option/],
])('%s is the fault of the prompt', async (_, more, why) => {
  const { status } = await play({ prompt: () => ({ messages: [], ...more }) as never })
  expect(status.steps[0]).toMatchObject({ state: 'unanswered', reason: expect.stringMatching(why) as string })
})

test.each([
  ['no whole number', () => 0.5],
  ['a promise', () => Promise.resolve(1)],
])('a count of tokens that is %s is the fault of the prompt', async (_, countTokens) => {
  const { status } = await play({ prompt: promptOf(10), windowTokensMax: 1_000, countTokens: countTokens as never })
  expect(status.steps[0]).toMatchObject({ state: 'unanswered', reason: expect.stringMatching(/^countTokens: expected/) as string })
})

test.each([
  ['cut off', { text: '{"whole":true}', stopReason: 'length' as const }, /the answer was cut off at 4096 tokens/],
  ['declined', { text: '{"whole":true}', stopReason: 'refusal' as const }, /the model declined/],
  ['waiting for tools that it was not given', { text: '{"whole":true}', stopReason: 'tools' as const, toolCalls: [] }, /asked for a tool instead of answering/],
  ['ended for a reason that nobody knows', { text: '{"whole":true}', stopReason: 'max_tokens' as never }, /answer\.stopReason: expected "end" or "length" or "refusal" or "tools", got "max_tokens"/],
])('an answer that is %s is not parsed, though it reads as a whole one', async (_, response, why) => {
  const { status, trace } = await play({}, () => response)
  expect(status.steps[0]).toMatchObject({ state: 'unanswered', reason: expect.stringMatching(why) as string })
  expect(trace.every(({ output }) => output === null)).toBe(true)
})

/** Models recorded and played back: recorded from a real client over the wire, played back with nothing behind them. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { anthropic } from '../../src/adapters/anthropic/index.js'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { createMesh, defineAgent, defineRun, modelOf, type ModelClient, type ModelRequest, type ModelResponse } from '../../src/index.js'
import { isJsonEqual } from '../../src/runtime/json.js'
import { recordModel, replayModel, type RecordingError, type ReplayOptions } from '../../src/testing/index.js'
import { differencesOf, distanceOf } from '../../src/testing/recording.js'
import { AnthropicServer, answer, overloaded, silence } from '../support/anthropic-server.js'
import { extent, firstSeed } from '../support/extent.js'

let server: AnthropicServer
let folder: string
let file: string
beforeAll(async () => (server = await AnthropicServer.start({ apiKey: 'sk-ant-0123456789abcdef-secret' })))
afterAll(() => server.stop())
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-recording-'))
  file = join(folder, 'deep', 'calls.jsonl')
})
afterEach(() => {
  vi.unstubAllEnvs()
  rmSync(folder, { recursive: true, force: true })
  server.reset()
})

const schema = z.toJSONSchema(z.object({ sound: z.boolean() }))
const request = (content: string, change: Partial<ModelRequest> = {}): ModelRequest => ({ model: 'claude-opus-4-6', system: 'You judge papers.', messages: [{ role: 'user', content }], maxTokens: 100, schema, task: { agent: 'critic', input: { title: content } }, ...change })
const ask = (client: ModelClient, asked: ModelRequest, signal = new AbortController().signal): Promise<ModelResponse> => client.complete(asked, { signal, idempotencyKey: 'ns/run-17/step/call' })
const claude = (): ModelClient => anthropic({ apiKey: server.apiKey, baseURL: server.baseURL })
const errorOf = (attempt: Promise<unknown>): Promise<unknown> => attempt.then(() => undefined, (error: unknown) => error)

/** A recording of these questions, each with an answer of its own. */
async function recorded(...questions: readonly string[]): Promise<void> {
  const client = recordModel(claude(), { file })
  for (const [i, question] of questions.entries()) {
    server.next(answer({ text: `{"sound":true,"n":${i}}` }))
    await ask(client, request(question))
  }
}

test('what came of a call comes again, failures included, and neither key nor idempotency key is in the file', async () => {
  vi.stubEnv('ANTHROPIC_API_KEY', server.apiKey)
  server.next(overloaded({ 'retry-after': '3' }), answer({ text: '{"sound":true}', usage: { cacheRead: 2_000 } }), answer({ text: 'no', stopReason: 'refusal' }))
  const recorder = recordModel(claude(), { file })
  const ends = [await errorOf(ask(recorder, request('a'))), await ask(recorder, request('a')), await ask(recorder, request('b'))]
  const bytes = readFileSync(file, 'utf8')
  expect(bytes).not.toMatch(/sk-ant|secret|run-17/)
  expect(bytes.trimEnd().split('\n')).toHaveLength(4)

  const replay = replayModel({ file })
  expect(replay.provider).toBe('anthropic')
  const again = [await errorOf(ask(replay, request('a'))), await ask(replay, request('a')), await ask(replay, request('b'))]
  expect(again).toEqual(ends)
  expect(again[0]).toMatchObject({ kind: 'overloaded', retryable: true, retryAfterMs: 3_000 })
  replay.verify()
})

test('a run of agents is the same played back, with nobody there to ask', async () => {
  const run = async (client: ModelClient): Promise<unknown> => {
    const common = { input: z.looseObject({}), model: modelOf(client, 'claude-opus-4-6'), prompt: ({ input }: { input: unknown }) => ({ messages: [{ role: 'user' as const, content: JSON.stringify(input) }] }) }
    const planner = defineAgent({ ...common, name: 'planner', output: z.object({ steps: z.array(z.object({ n: z.number() })) }) })
    const worker = defineAgent({ ...common, name: 'worker', output: z.object({ claim: z.string() }) })
    const writer = defineAgent({ ...common, name: 'writer', output: z.object({ report: z.string() }) })
    const job = defineRun({ name: 'job', crew: { planner, worker, writer } })
    const mesh = await createMesh({ store: new MemoryStore(), runs: [job], policies: { agents: { '*': { retry: { backoff: { firstMs: 1, factor: 1, maxMs: 1, jitter: 0 } } } } } }).start()
    try {
      const handle = await mesh.run(job, { id: 'r', goal: 'why', ceiling: { usd: 5 } })
      await handle.settled()
      return { steps: (await handle.status())!.steps, costs: (await handle.trace()).map(({ agent, cost, error }) => [agent, cost, error]) }
    } finally {
      await mesh.stop()
    }
  }
  server.next(answer({ text: '{"steps":[{"n":1}]}' }), overloaded(), answer({ text: '{"claim":"It holds."}' }), answer({ text: '{"report":"done"}' }))
  const first = await run(recordModel(claude(), { file }))
  server.verify()
  const replay = replayModel({ file })
  expect(await run(replay)).toEqual(first)
  replay.verify()
  expect(server.requests).toHaveLength(4)
})

describe('a call that was not recorded', () => {
  test('says where it differs from the nearest that was, and its text from which character', async () => {
    await recorded('Is the first paper sound, and why do you think so?', 'Is the second paper sound, and why do you think so?', 'Hello.')
    const replay = replayModel({ file })
    const error = await errorOf(ask(replay, request('Is the second paper sound, and why does he think so?', { task: { agent: 'critic', input: { title: 'Is the second paper sound, and why do you think so?' } } })))
    expect(error).toMatchObject({ code: 'RECORDING', reason: 'unexpected', line: 3, differences: [{ path: 'messages[0].content' }] })
    expect((error as Error).message).toBe(
      `Nothing recorded in ${file} answers this call of agent "critic" to claude-opus-4-6. The nearest, on line 3, differs at messages[0].content: recorded "…er sound, and why do you think so?", got "…er sound, and why does he think so?" (from character 38). Record it anew, or say with compare what may differ.`,
    )
    // An agent may have dealt with the failure; the test must not.
    expect(() => replay.verify()).toThrow(error as Error)
  })

  test.each<[string, Partial<ModelRequest>, readonly string[]]>([
    ['another model', { model: 'claude-sonnet-4-6' }, ['model']],
    ['another bound', { maxTokens: 101 }, ['maxTokens']],
    ['a message more', { messages: [{ role: 'user', content: 'a' }, { role: 'assistant', content: 'b' }] }, ['messages[1]']],
    ['another schema', { schema: { type: 'object', required: ['other'] } }, ['schema.$schema', 'schema.properties', 'schema.required[0]', 'schema.additionalProperties']],
    ['another input', { task: { agent: 'critic', input: { title: 'a', more: 1 } } }, ['task.input.more']],
  ])('for %s names the place', async (_, change, paths) => {
    await recorded('a')
    const error = (await errorOf(ask(replayModel({ file }), request('a', change)))) as RecordingError
    expect(error.differences.map(({ path }) => path)).toEqual(paths)
  })

  test('without a field that was there names it', async () => {
    await recorded('a')
    const { system: _, ...bare } = request('a')
    expect(await errorOf(ask(replayModel({ file }), bare))).toMatchObject({ differences: [{ path: 'system', recorded: 'You judge papers.', actual: undefined }], message: expect.stringContaining('system: recorded "You judge papers.", got nothing') as string })
  })

  test('asked more often than it was is told so, unless calls may be used again', async () => {
    await recorded('a', 'a', 'b')
    const replay = replayModel({ file })
    expect([(await ask(replay, request('a'))).text, (await ask(replay, request('a'))).text]).toEqual(['{"sound":true,"n":0}', '{"sound":true,"n":1}'])
    expect(await errorOf(ask(replay, request('a')))).toMatchObject({ reason: 'used-up', line: 3, message: expect.stringContaining('has 2 answers for this call') as string })
    const patient = replayModel({ file, reuse: true })
    const texts = []
    for (let n = 0; n < 4; n++) texts.push((await ask(patient, request('a'))).text)
    expect(texts).toEqual([0, 1, 1, 1].map((n) => `{"sound":true,"n":${n}}`))
  })

  test('in an empty recording is told so', async () => {
    await recorded()
    expect(await errorOf(ask(replayModel({ file }), request('a')))).toMatchObject({ reason: 'unexpected', line: undefined, message: expect.stringContaining('has no call at all') as string })
  })

  test('is the same if what differs is not compared', async () => {
    await recorded('On 2026-11-26: is it sound?')
    const compare: ReplayOptions['compare'] = ({ model, messages }) => ({ model, said: messages.map(({ content }) => content.replace(/\d{4}-\d\d-\d\d/, 'DATE')) })
    expect((await ask(replayModel({ file, compare }), request('On 2026-11-27: is it sound?'))).parsed).toMatchObject({ sound: true })
    expect(await errorOf(ask(replayModel({ file, compare }), request('On 2026-11-27: is it new?')))).toMatchObject({ differences: [{ path: 'said[0]' }] })
  })
})

test('a recorded call that was not made is told at the end', async () => {
  await recorded('a', 'b', 'c')
  const replay = replayModel({ file })
  await ask(replay, request('b'))
  expect(() => replay.verify()).toThrow(/2 of 3 recorded calls in .* were not made; the first is that of agent "critic" to claude-opus-4-6 on line 2/)
})

describe('a key', () => {
  test.each([
    ['of the environment', { MAIL_API_KEY: 'correct horse "battery"' }, 'use correct horse "battery" please', 'the value of MAIL_API_KEY'],
    ['of Anthropic, by its look', {}, 'use sk-ant-api03-0123456789abcdef please', 'what looks like a key'],
    ['in a header', {}, 'Authorization: Bearer 0123456789abcdef0123456789', 'what looks like a key'],
  ])('%s in a prompt is refused before anything is sent, and is not told', async (_, env, prompt, says) => {
    for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value as string)
    const error = (await errorOf(ask(recordModel(claude(), { file }), request(prompt)))) as RecordingError
    expect(error).toMatchObject({ reason: 'secret', message: expect.stringContaining(says) as string })
    expect(error.message).not.toMatch(/horse|0123456789abcdef/)
    expect(server.requests).toHaveLength(0)
    expect(readFileSync(file, 'utf8').split('\n')).toHaveLength(2)
  })

  test('in an answer is not written', async () => {
    server.next(answer({ text: 'your key is correct horse' }))
    expect(await errorOf(ask(recordModel(claude(), { file, secrets: ['correct horse'] }), request('a')))).toMatchObject({ reason: 'secret' })
    expect(readFileSync(file, 'utf8')).not.toContain('horse')
  })
})

test('an attempt that was given up is not recorded', async () => {
  server.next(silence('hang'), answer())
  const recorder = recordModel(claude(), { file })
  const controller = new AbortController()
  const attempt = errorOf(ask(recorder, request('a'), controller.signal))
  await server.received(1)
  controller.abort()
  expect(await attempt).toMatchObject({ kind: 'aborted' })
  await ask(recorder, request('a'))
  const replay = replayModel({ file })
  expect(await errorOf(ask(replay, request('a'), AbortSignal.abort()))).toMatchObject({ kind: 'aborted' })
  expect((await ask(replay, request('a'))).text).toBe('ok')
  replay.verify()
})

test('a recording that is there is not written over', async () => {
  await recorded('a')
  const before = readFileSync(file, 'utf8')
  expect(() => recordModel(claude(), { file })).toThrow(/is there already, and is not written over. Remove it/)
  expect(readFileSync(file, 'utf8')).toBe(before)
})

test.each([
  [undefined, 'unreadable', undefined, /cannot be read \(ENOENT\)\. Record it/],
  ['', 'unreadable', 1, /is no recording/],
  ['{"recording":2,"provider":"x"}\n', 'unreadable', 1, /that this version can read/],
  ['{"recording":1,"provider":"x"}\n{"request":{', 'unreadable', 2, /Line 2 of .* is no recorded call/],
  ['{"recording":1,"provider":"x"}\n\n{"request":{"model":"m","messages":[],"maxTokens":1,"task":{"agent":"a"}}}\n', 'unreadable', 3, /Line 3/],
] as const)('a file that is no recording is refused: %j', (text, reason, line, says) => {
  const path = join(folder, 'bad.jsonl')
  if (text !== undefined) writeFileSync(path, text)
  const caught = (): unknown => {
    try {
      return replayModel({ file: path })
    } catch (error) {
      return error
    }
  }
  expect(caught()).toMatchObject({ reason, line, message: expect.stringMatching(says) as string })
  expect(existsSync(path)).toBe(text !== undefined)
})

test('options that cannot be used are refused', () => {
  expect(() => recordModel({} as ModelClient, { file })).toThrow(/recordModel: client: expected a model client/)
  expect(() => recordModel(claude(), {} as never)).toThrow(/recordModel: file: expected a text/)
  expect(() => replayModel({ file, reuse: 1 as never })).toThrow(/replayModel: reuse: expected true or false, got 1/)
})

test(`two values differ exactly where they are not equal, and are the nearer the less they differ (seed ${firstSeed})`, () => {
  const at = (value: unknown, path: string): unknown => [...path.matchAll(/\[(\d+)\]|([^.[\]]+)/g)].reduce((inner, [, index, key]) => (inner as Record<string, unknown> | undefined)?.[index ?? key!], value)
  const { json } = fc.letrec<{ json: unknown }>((tie) => ({
    json: fc.oneof({ maxDepth: 3 }, fc.constantFrom<unknown>(null, true, 0, 1, '', 'a', 'ab', 'ba'), fc.array(tie('json'), { maxLength: 3 }), fc.dictionary(fc.constantFrom('k', 'l', 'm'), tie('json'), { maxKeys: 3, noNullPrototype: true })),
  }))
  fc.assert(
    fc.property(json, json, (a, b) => {
      const differences = differencesOf(a, b)
      expect(differences.length === 0).toBe(isJsonEqual(a, b))
      expect(distanceOf(differences) === 0).toBe(differences.length === 0)
      expect(distanceOf(differences)).toBe(distanceOf(differencesOf(b, a)))
      for (const { path, recorded, actual } of differences) expect([at(a, path), at(b, path)]).toEqual([recorded, actual])
    }),
    { numRuns: extent(200), seed: firstSeed },
  )
})

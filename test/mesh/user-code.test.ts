/** What the code of an agent or a run gives is looked at where it is given: what cannot be used costs that step, not the run. */
import { expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, modelOf, repeatable, type AgentOptions, type ModelClient, type RunOptions, type RunStatus } from '../../src/index.js'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { functionModel } from '../support/function-model.js'

const Any = z.looseObject({})

interface Played {
  readonly status: RunStatus
  /** Calls to the worker's model. */
  readonly calls: number
}

async function play(worker: object, run: object = {}, answer: unknown = { text: 'hello' }, usage: object = {}): Promise<Played> {
  let calls = 0
  const functions = functionModel(({ task }) => {
    const { agent } = task as { agent: string }
    if (agent === 'planner') return { steps: [{ n: 1 }] }
    if (agent !== 'worker') return { text: 'hello' }
    calls++
    return answer
  })
  const client: ModelClient = {
    ...functions,
    complete: async (request, options) => {
      const response = await functions.complete(request, options)
      return request.task.agent === 'worker' ? { ...response, usage: { ...response.usage, ...usage } } : response
    },
  }
  const agent = (name: string, more: object = {}) => defineAgent({ name, input: Any, output: Any, model: modelOf(client, 'm'), prompt: () => ({ messages: [{ role: 'user', content: 'hello' }] }), ...more } as AgentOptions<object, object>)
  const job = defineRun({ name: 'job', crew: { planner: agent('planner'), worker: agent('worker', worker), writer: agent('writer') }, replansMax: 0, ...run } as RunOptions)
  const mesh = await createMesh({ store: new MemoryStore(), runs: [job] }).start()
  await (await mesh.run(job, { id: 'r', goal: 'why' })).output({ deadlineMs: 10_000 })
  const status = (await mesh.handle(job, 'r').status())!
  await mesh.stop()
  return { status, calls }
}

const deep = (levels: number): object => (levels === 0 ? {} : { in: deep(levels - 1) })
const throws = (): never => {
  throw new Error('it does not fit')
}

test.each([
  ['give: a function', { give: () => () => {} }, /give holds a value of type function/],
  ['give: a map', { give: () => ({ at: new Map() }) }, /give\.at holds/],
  ['give: too deep', { give: () => deep(60) }, /give/],
  ['give: too large', { give: () => 'x'.repeat(600_000) }, /give/],
  ['give: a promise', { give: () => Promise.resolve({}) }, /give: expected its result at once, got a promise/],
  ['give: a promise that fails', { give: async () => throws() }, /give: expected its result at once, got a promise/],
  ['give: throws', { give: throws }, /it does not fit/],
  ['output: not JSON', { output: z.looseObject({ text: z.string().transform(() => new Map()) }) }, /the answer\.text holds/],
  ['confidence: a number', { confidence: () => 0.9 }, /confidence: expected an object with value, source, got 0\.9/],
  ['confidence: words', { confidence: () => ({ value: 'high', source: 'self' }) }, /confidence\.value: expected a number from 0 to 1, or null, got "high"/],
  ['confidence: NaN', { confidence: () => ({ value: Number.NaN, source: 'self' }) }, /confidence\.value holds the number NaN/],
  ['confidence: a promise', { confidence: async () => throws() }, /confidence: expected its result at once, got a promise/],
  ['confidence: throws', { confidence: throws }, /it does not fit/],
])('%s: the step fails as unfit after one paid call, and the run goes on', async (_, worker, reason) => {
  const { status, calls } = await play(worker)
  expect(status).toMatchObject({ state: 'done', steps: [{ state: 'unanswered', reason: expect.stringMatching(reason) as string }], spent: { calls: 3 } })
  expect(status.members.find(({ id }) => id === 'step-1')).toMatchObject({ outcome: 'failed', restarts: 0, spent: { calls: 1 } })
  expect(calls).toBe(1)
})

test('an answer of a model that no record could keep is unfit, too', async () => {
  for (const answer of [deep(60), JSON.parse('{"__proto__":{"a":1}}') as object]) {
    const { status, calls } = await play({}, {}, answer)
    expect(status.state).toBe('done')
    expect(status.members.every(({ restarts }) => restarts === 0)).toBe(true)
    expect(calls).toBe(1)
  }
})

test.each([
  ['a promise', async () => ({ messages: [] }), /prompt: expected its result at once, got a promise/],
  ['a promise that fails', async () => throws(), /prompt: expected its result at once, got a promise/],
  ['a text', () => 'Answer.', /prompt: expected an object with system, parts, messages, got "Answer\."/],
  ['nothing', () => {}, /prompt: expected an object .*, got undefined/],
  ['no list', () => ({ messages: 'Answer.' }), /prompt\.messages: expected a list, got "Answer\."/],
  ['somebody else', () => ({ messages: [{ role: 'system', content: '' }] }), /prompt\.messages\[0\]\.role: expected "user" or "assistant", got "system"/],
  ['no text', () => ({ messages: [{ role: 'user', content: 5 }] }), /prompt\.messages\[0\]\.content: expected a text/],
  ['another kind of system', () => ({ system: 5, messages: [] }), /prompt\.system: expected a text/],
  ['a throw', throws, /it does not fit/],
])('a prompt that is %s: the step fails before anything is asked or charged', async (_, prompt, reason) => {
  const { status, calls } = await play({ prompt })
  expect(status).toMatchObject({ state: 'done', steps: [{ state: 'unanswered', reason: expect.stringMatching(reason) as string }], spent: { calls: 2 } })
  expect(status.members.find(({ id }) => id === 'step-1')).toMatchObject({ outcome: 'failed', restarts: 0, spent: { calls: 0, tokens: 0 } })
  expect(calls).toBe(0)
})

test('an input that its schema makes into what JSON cannot keep fails before anything is asked', async () => {
  const { status, calls } = await play({ input: z.looseObject({ at: z.coerce.date().default(new Date(0)) }) })
  expect(status).toMatchObject({ state: 'done', steps: [{ state: 'unanswered', reason: expect.stringMatching(/the call\.task\.input\.at holds/) as string }] })
  expect(calls).toBe(0)
})

test('what gather brings that JSON cannot keep fails before anything is asked', async () => {
  const { status, calls } = await play({ gather: () => ({ found: new Map() }) })
  expect(status).toMatchObject({ state: 'done', steps: [{ state: 'unanswered', reason: expect.stringMatching(/holds/) as string }] })
  expect(calls).toBe(0)
})

test('findings and verdicts of any shape do not harm the run', async () => {
  for (const answer of [{ findings: 5 }, { findings: 'all' }, { findings: { a: 1 } }]) expect((await play({}, {}, answer)).status, JSON.stringify(answer)).toMatchObject({ state: 'done', steps: [{ state: 'done' }] })
  for (const more of [{ refused: 5 }, { refused: [5] }, { refused: [{ finding: 1, reasons: 'none', explanation: 'so' }] }, { sourcesVerified: 5 }]) {
    const verdict = { accepted: true, reasons: [], explanation: 'so', confidence: { value: 1, source: 'rule' }, by: 'judge', ...more }
    const { status } = await play({ verifyWith: repeatable(() => verdict) })
    expect(status, JSON.stringify(more)).toMatchObject({ state: 'done', steps: [{ state: 'unanswered', reason: 'whoever verifies gave no verdict' }] })
  }
})

const mail = { mail: { input: z.looseObject({ at: z.coerce.date().optional() }), run: () => {} } }
test.each([
  ['act: no list', { act: () => 'mail' }, /act: expected a list, got "mail"/],
  ['act: no action', { act: () => ['mail'] }, /an action of worker: expected an object with name, input, got "mail"/],
  ['act: a promise', { act: async () => throws() }, /act: expected its result at once/],
  ['act: not JSON', { act: () => [{ name: 'mail', input: { at: '2026-01-01' } }] }, /action "mail"\.input\.at holds/],
  ['approval: a plain yes', { approval: () => true }, /approval: expected an object with why, got true/],
  ['approval: a promise', { approval: async () => null }, /approval: expected its result at once/],
])('%s: the step fails, nobody is asked and nothing is done', async (_, worker, reason) => {
  const { status } = await play({ externalActions: mail, ...worker })
  expect(status).toMatchObject({ state: 'done', steps: [{ state: 'unanswered', reason: expect.stringMatching(reason) as string }] })
})

test.each([
  ['action: no action', { action: () => 'mail' }, /an action of run job: expected an object/],
  ['action: a promise', { action: async () => throws() }, /action: expected its result at once/],
  ['action: not JSON', { action: () => ({ name: 'mail', input: { at: '2026-01-01' } }) }, /action "mail"\.input\.at holds/],
  ['approval: a plain yes', { approval: () => true }, /approval: expected an object with why, got true/],
])('the run’s own %s: it fails and says so', async (_, run, reason) => {
  const { status } = await play({}, { externalActions: mail, ...run })
  expect(status).toMatchObject({ state: 'failed', failure: { reason: 'plan', message: expect.stringMatching(reason) as string } })
})

test('a client that miscounts is charged in full and its answer is not taken', async () => {
  for (const inputTokens of [0.5, -1, Number.NaN, '10', undefined]) {
    const { status, calls } = await play({}, {}, {}, { inputTokens })
    expect(status, String(inputTokens)).toMatchObject({ state: 'done', steps: [{ state: 'unanswered', reason: expect.stringContaining('usage.inputTokens: expected a whole number') as string }] })
    expect(calls).toBe(1)
    const { spent } = status.members.find(({ id }) => id === 'step-1')!
    expect(Number.isSafeInteger(spent.tokens) && spent.tokens > 4_096).toBe(true)
  }
})

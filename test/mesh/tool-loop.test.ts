/** A model that is given tools: what is run, told, paid, bounded and traced, in virtual time. Under kills: tool-loop.property.test.ts. */
import { expect, test } from 'vitest'
import { z } from 'zod'
import { HoldfastError, ModelError, type ToolOptions } from '../../src/index.js'
import { transcriptCharsMax } from '../../src/machines/tool-loop.machine.js'
import { answerOf, look, play, stage, told, type Given, type Said } from '../support/tool-stage.js'

test('a model asks for tools, is told what came of them, and answers; each round is on record with its cost', async () => {
  const mails: string[] = []
  const mail: ToolOptions<{ to: string }> = { description: 'Sends a mail.', input: z.object({ to: z.string() }), cost: { usd: 0.002, tokens: 3 }, run: ({ input, idempotencyKey }) => ({ sent: mails.push(`${input.to} under ${idempotencyKey}`) }) }
  const { status, requests, trace, spent } = await play({
    tools: { look, mail } as never,
    says: (results) => [{ tools: [['look', { at: 'a' }], ['mail', { to: 'ann' }]], text: 'Let me see.' }, { tools: [['mail', { to: 'bob' }]] }, answerOf({ seen: true })][results.length === 0 ? 0 : results.length === 2 ? 1 : 2] as Said,
  })
  expect(status).toMatchObject({ state: 'done', overrun: { tokens: 0, calls: 0, nanoDollars: 0 }, steps: [{ state: 'done' }] })
  expect(mails).toEqual(['ann under default/r/step-1/tool:mail', 'bob under default/r/step-1/tool:mail/2'])
  expect(requests).toHaveLength(3)
  expect(requests[0]!.tools).toEqual([
    { name: 'look', description: 'Looks at a page.', inputSchema: { type: 'object', properties: { at: { type: 'string' } }, required: ['at'] } },
    { name: 'mail', description: 'Sends a mail.', inputSchema: { type: 'object', properties: { to: { type: 'string' } }, required: ['to'] } },
  ])
  expect(requests[2]!.messages).toEqual([
    { role: 'user', content: 'hello' },
    { role: 'assistant', content: 'Let me see.', toolCalls: [{ id: 't1_1', name: 'look', arguments: '{"at":"a"}' }, { id: 't1_2', name: 'mail', arguments: '{"to":"ann"}' }] },
    { role: 'user', content: '', toolResults: [{ id: 't1_1', name: 'look', text: 'page a', isError: false }, { id: 't1_2', name: 'mail', text: '{"sent":1}', isError: false }] },
    { role: 'assistant', content: '', toolCalls: [{ id: 't2_1', name: 'mail', arguments: '{"to":"bob"}' }] },
    { role: 'user', content: '', toolResults: [{ id: 't2_1', name: 'mail', text: '{"sent":2}', isError: false }] },
  ])
  expect(spent).toEqual({ tokens: 3 * 15 + 2 * 3, calls: 3, nanoDollars: 3 * 15_000 + 2 * 2_000_000 })
  expect(trace.map(({ attempt, stopReason, cost, tools, output }) => [attempt, stopReason, cost?.calls, tools.map((tool) => [tool.id, tool.tool, tool.kind, tool.wasRun, tool.refused, tool.cost.nanoDollars]), output])).toEqual([
    ['call.1', 'tools', 1, [['t1_1', 'look', 'repeatable', true, null, 0], ['t1_2', 'mail', 'external', true, null, 2_000_000]], null],
    ['call:2.1', 'tools', 1, [['t2_1', 'mail', 'external', true, null, 2_000_000]], null],
    ['call:3.1', 'end', 1, [], { seen: true }],
  ])
})

test.each<[string, unknown, unknown, RegExp]>([
  ['that it was not given', 'fax', {}, /^fax! not-allowed: there is no tool "fax" \(there are: look\)$/],
  ['of a name that all objects have', 'constructor', {}, /^constructor! not-allowed/],
  ['with arguments of another type', 'look', { at: 1 }, /^look! arguments: at at: .*expected string/],
  ['without arguments', 'look', '', /^look! arguments: at at/],
  ['with what is not JSON', 'look', '{"at":', /^look! arguments: they are not JSON$/],
  ['with a list', 'look', [1], /^look! arguments: they are no object$/],
  ['with what no record could keep', 'look', '{"at":"a","__proto__":{"b":1}}', /^look! arguments: .*__proto__/],
])('a tool %s is not run, and the model is told why (T4)', async (_, tool, input, says) => {
  let runs = 0
  const { status, requests, trace } = await play({ tools: { look: { ...look, input: z.looseObject({ at: z.string() }), run: () => runs++ } } as never, says: (results) => (results.length === 0 ? { tools: [[tool as string, input]] } : answerOf({})) })
  expect(status.steps[0]).toMatchObject({ state: 'done' })
  expect(runs).toBe(0)
  expect(told(requests[1]!)).toEqual([expect.stringMatching(says)])
  expect(trace[0]!.tools[0]).toMatchObject({ tool, wasRun: false, kind: null, cost: { nanoDollars: 0 } })
})

test.each<[string, Partial<ToolOptions<{ at: string }>>, RegExp]>([
  ['throws', { run: () => { throw new Error('no such page') } }, /^look! failed: no such page$/],
  ['rejects', { run: () => Promise.reject(new Error('x'.repeat(2_000))) }, /^look! failed: x{1000}…$/],
  ['hangs', { run: () => new Promise(() => {}), deadlineMs: 5_000 }, /^look! deadline: it took too long/],
  ['gives nothing', { run: () => undefined }, /^look done$/],
  ['gives what is not JSON', { run: () => 1n }, /^look done \[its result cannot be written as JSON\]$/],
  ['says too much', { run: () => 'ä'.repeat(30), resultBytesMax: 21 }, /^look ä{10}\n\[This is the beginning: 21 of 60 bytes\.\]$/],
  ['gives half a character', { run: () => 'a\ud800b' }, /^look a\ufffdb$/],
])('a tool that %s: the model is told', async (_, more, says) => {
  const { status, requests } = await play({ tools: { look: { ...look, ...more } } as never, says: (results) => (results.length === 0 ? { tools: [['look', { at: 'a' }]] } : answerOf({})) })
  expect(status.steps[0]).toMatchObject({ state: 'done' })
  expect(told(requests[1]!)).toEqual([expect.stringMatching(says)])
})

test('a tool may be run so often in a task; what was refused does not count', async () => {
  const { requests } = await play({ tools: { look: { ...look, callsMax: 1 } } as never, says: (results) => (results.length === 0 ? { tools: [['look', { at: 1 }], ['look', { at: 'a' }], ['look', { at: 'b' }]] } : answerOf({})) })
  expect(told(requests[1]!)).toEqual([expect.stringMatching(/arguments/), 'look page a', 'look! used-up: it has been run 1 times in this task, and 1 are allowed'])
})

const forever = { says: () => ({ tools: [['look', { at: 'a' }]] }) as Said }
test.each<[string, Omit<Given, 'tools'>, object, RegExp, number]>([
  ['rounds', { ...forever, options: { toolRoundsMax: 2 } }, {}, /again after 2 rounds of them, and no more are allowed for a task \(toolRoundsMax\)/, 3],
  ['calls', { ...forever, options: { toolCallsMax: 3 } }, {}, /asked for 4 tool calls in all, and 3 are allowed for a task \(toolCallsMax\)/, 4],
  ['calls at once', { says: () => ({ tools: Array.from({ length: 5 }, () => ['look', { at: 'a' }] as const) }), options: { toolCallsMax: 4 } }, {}, /asked for 5 tool calls/, 1],
  ['money for a tool', forever, { cost: { usd: 0.5 } }, /the budget does not cover the tool "look"/, 4],
  ['money for a round', { ...forever, ceiling: { calls: 4 } }, {}, /the budget does not cover another attempt/, 1],
  ['what may be kept', { ...forever, options: { toolRoundsMax: 20 } }, { run: () => 'x'.repeat(100_000), resultBytesMax: 131_072 }, new RegExp(`said is \\d+ characters long, and ${transcriptCharsMax} may be kept`), 3],
  ['the window', { ...forever, options: { windowTokensMax: 5_000 } }, { run: () => 'x'.repeat(6_000) }, /The prompt needs 6\d{3} tokens, .* its window is 5000 \(pinned: "exchange 0", "t1_1"\)/, 1],
])('beyond its bound of %s the agent fails, with its reason, and runs nothing more (T7)', async (_, given, tool, why, rounds) => {
  const { status, requests } = await play({ ...given, tools: { look: { ...look, ...tool } } as never })
  expect(status.steps[0]).toMatchObject({ state: 'unanswered', reason: expect.stringMatching(why) as string })
  expect(status.members.find(({ id }) => id === 'step-1')).toMatchObject({ outcome: 'failed', restarts: 0 })
  expect(status.overrun).toEqual({ tokens: 0, calls: 0, nanoDollars: 0 })
  expect(requests).toHaveLength(rounds)
})

test('a whole answer is needed: tools of one that was cut off are not run', async () => {
  let runs = 0
  const { status } = await play({ tools: { look: { ...look, run: () => runs++ } } as never, says: () => ({ text: '', stopReason: 'length', toolCalls: [{ id: 'x', name: 'look', arguments: '{"at":"a"}' }] }) })
  expect(status.steps[0]).toMatchObject({ state: 'unanswered', reason: expect.stringMatching(/cut off/) as string })
  expect(runs).toBe(0)
})

test('old results are masked in later prompts, the last ones never, and all of them stand in the trace', async () => {
  const { status, requests, trace, run } = await play({
    tools: { look: { ...look, run: ({ input }: { input: { at: string } }) => input.at.repeat(2_000) } } as never,
    options: { windowTokensMax: 6_000 },
    says: (results) => (results.length < 4 ? { tools: [['look', { at: 'abcd'[results.length] }]] } : answerOf({})),
  })
  expect(status.steps[0]).toMatchObject({ state: 'done' })
  expect(told(requests.at(-1)!)).toEqual(['look [2000 bytes are left out here to save room]', 'look [2000 bytes are left out here to save room]', `look ${'c'.repeat(2_000)}`, `look ${'d'.repeat(2_000)}`])
  expect(trace.at(-1)!.compaction?.parts.map(({ id, how }) => [id, how])).toEqual([['t1_1', 'masked'], ['t2_1', 'masked']])
  expect(trace[0]!.tools[0]!.text).toBe('a'.repeat(2_000))
  expect(await run.compactions()).toEqual([])
})

test('parts that the first prompt showed and a later one does not are kept once', async () => {
  const parts = [{ id: 'page', kind: 'observation' as const, text: 'p'.repeat(3_000) }]
  const { trace, run } = await play({
    tools: { look: { ...look, run: () => 'x'.repeat(4_000) } } as never,
    options: { windowTokensMax: 6_000, prompt: () => ({ parts, messages: [] }) },
    says: (results) => (results.length < 2 ? { tools: [['look', { at: 'a' }]] } : answerOf({})),
  })
  expect(trace.map(({ compaction }) => compaction?.parts.map(({ id }) => id) ?? [])).toEqual([[], ['page'], ['page', 't1_1']])
  expect((await run.compactions()).map(({ call, parts: kept }) => [call, kept.map(({ text }) => text.length)])).toEqual([['call:2', [3_000]]])
})

test('a model that was left for another is not gone back to in the next round', async () => {
  const { requests } = await play({
    models: ['a', 'b'],
    tools: { look } as never,
    says: (results, { model }) => {
      if (model === 'a') throw new ModelError('authentication', 'no key', { retryable: false })
      return results.length === 0 ? { tools: [['look', { at: 'a' }]] } : answerOf({})
    },
    policies: { agents: { '*': { retry: { attemptsMax: 2 } } } },
  })
  // The second is another model of the same provider, so the wrong key is not tried there; see the next test for one that is.
  expect(requests.map(({ model }) => model)).toEqual(['a'])
  const second = await play({
    models: ['a', 'b'],
    tools: { look } as never,
    says: (results, { model }) => {
      if (model === 'a') throw new ModelError('malformed', 'what?', { retryable: false })
      return results.length === 0 ? { tools: [['look', { at: 'a' }]] } : answerOf({})
    },
  })
  expect(second.status.steps[0]).toMatchObject({ state: 'done' })
  expect(second.requests.map(({ model }) => model)).toEqual(['a', 'b', 'b'])
})

test.each([
  ['had happened', true, ['mail sent, they say'], 1],
  ['had not happened', false, ['mail sent'], 2],
])('if nobody knows whether a tool was run, a person finds out that it %s (T6)', async (_, happened, results, runs) => {
  const keys: string[] = []
  const mail: ToolOptions<object> = {
    description: 'Sends a mail.',
    input: z.object({}),
    cost: { usd: 0.5 },
    run: ({ idempotencyKey }) => {
      if (keys.push(idempotencyKey) === 1) throw new HoldfastError('OUTCOME_UNKNOWN', 'the line went dead')
      return 'sent'
    },
  }
  const { status, requests, world, run } = await play({ tools: { mail } as never, says: (said) => (said.length === 0 ? { tools: [['mail', {}]] } : answerOf({})) })
  expect(status.state).toBe('working')
  const worker = world.system.actorAt('worker/r~step-1')
  expect((await worker.snapshot())!.context).toMatchObject({ failure: { reason: 'action', message: 'the line went dead' } })
  await worker.send({ type: 'action.resolve', happened: 'perhaps', by: 'ann' } as never)
  await world.advance(1_000)
  expect(requests).toHaveLength(1)
  await worker.send({ type: 'action.resolve', happened, by: 'ann', ...(happened ? { output: 'sent, they say' } : {}) } as never)
  await world.advance(10_000)
  const after = (await run.status())!
  expect(after.steps[0]).toMatchObject({ state: 'done' })
  expect(told(requests.at(-1)!)).toEqual(results)
  expect(keys).toEqual(Array.from({ length: runs }, () => 'default/r/step-1/tool:mail'))
  expect(after.members.find(({ id }) => id === 'step-1')!.spent!.nanoDollars).toBe(2 * 15_000 + 500_000_000)
})

test('a tool has a rate limit of its own, shared by all agents; who would wait too long is told', async () => {
  const { status, requests, run } = await play(
    {
      tools: { look: { ...look, deadlineMs: 5_000 } } as never,
      policies: { tools: { look: { limit: { requestsMax: 1, windowMs: 60_000, permitMs: 1_000 } } } },
      says: (results) => (results.length === 0 ? { tools: [['look', { at: 'a' }], ['look', { at: 'b' }]] } : answerOf({})),
    },
    300_000,
  )
  expect(status.steps[0]).toMatchObject({ state: 'done' })
  expect(told(requests[1]!)).toEqual(['look page a', expect.stringMatching(/^look! limit: the rate limit of tool look leaves no room in time/)])
  expect((await run.trace()).flatMap(({ tools }) => tools.map(({ refused, wasRun }) => [refused, wasRun]))).toEqual([[null, true], ['limit', false]])
})

test('and who can wait gets it when there is room', async () => {
  const { status, requests, trace } = await play(
    {
      tools: { look: { ...look, deadlineMs: 600_000 } } as never,
      policies: { tools: { '*': { limit: { requestsMax: 1, windowMs: 60_000, permitMs: 1_000 } } } },
      says: (results) => (results.length === 0 ? { tools: [['look', { at: 'a' }], ['look', { at: 'b' }]] } : answerOf({})),
    },
    600_000,
  )
  expect(status.steps[0]).toMatchObject({ state: 'done' })
  expect(told(requests[1]!)).toEqual(['look page a', 'look page b'])
  const [first, second] = trace[0]!.tools
  expect(second!.endedAt - first!.endedAt).toBeGreaterThanOrEqual(60_000 - 1_000)
})

test('a tool that was stopped is not run any more, and the model is told by whom', async () => {
  const { world, requests, run, start, mesh } = stage({ tools: { look: { ...look, cost: { usd: 0.1 } } } as never, says: (results) => (results.length === 0 ? { tools: [['look', { at: 'a' }]] } : answerOf({})) })
  await world.start()
  const stopped = mesh().policies.stop({ scope: 'tool', name: 'look' }, { by: 'ann', why: 'it lies' })
  await world.advance(2_000)
  await stopped
  await start()
  await world.advance(60_000)
  const status = (await run().status())!
  expect(status.steps[0]).toMatchObject({ state: 'done' })
  // What was held for it comes back.
  expect(status.members.find(({ id }) => id === 'step-1')!.spent!.nanoDollars).toBe(2 * 15_000)
  expect(told(requests[1]!)).toEqual(['look! stopped: ann has stopped the calls of tool look: it lies'])
})

test.each<[string, object, RegExp]>([
  ['a name that no provider takes', { tools: { 'a.b': look } }, /tools: a tool is called "a\.b", and providers take 1 to 64 of/],
  ['no description', { tools: { look: { ...look, description: '' } } }, /tools\.look\.description: expected a text of 1 to/],
  ['no schema', { tools: { look: { ...look, input: {} } } }, /tools\.look\.input: expected a zod schema/],
  ['arguments that are no object', { tools: { look: { ...look, input: z.string() } } }, /the arguments of the tool "look" must be an object/],
  ['arguments that cannot be told', { tools: { look: { ...look, input: z.object({ at: z.date() }) } } }, /the arguments of the tool "look" cannot be written as JSON Schema/],
  ['a repeatable one that is reconciled', { tools: { look: { ...look, reconcile: () => ({ happened: false }) } } }, /tools\.look\.reconcile: a repeatable tool is run again/],
  ['an external one that would be run again', { tools: { look: { ...look, isRepeatable: false } }, verifyWith: [{ strategy: 'rederivation' }] }, /verified by rederivation, which would run its external tools again/],
  ['too many rounds', { tools: { look }, toolRoundsMax: 101 }, /toolRoundsMax: expected a whole number from 1 to 100/],
])('options that cannot work are refused at once: %s', (_, options, says) => {
  expect(() => stage({ tools: {}, says: () => answerOf({}), options: options as never })).toThrow(says)
})

test('an output may be derived again with tools that are repeatable', async () => {
  const { status, trace } = await play({ tools: { look } as never, options: { verifyWith: { strategy: 'rederivation' } }, says: (results) => (results.length === 0 ? { tools: [['look', { at: 'a' }]] } : answerOf({ a: 1 })) })
  expect(status.steps[0]).toMatchObject({ state: 'done', verdict: { accepted: true } })
  expect(trace.map(({ attempt, tools }) => [attempt, tools.length])).toEqual([['call.1', 1], ['call:2.1', 0], ['rederivation-1.1', 1], ['rederivation-1:2.1', 0]])
})

test('what the grant does not cover in a later round is asked of the cheaper model, too', async () => {
  const { status, requests } = await play({
    models: ['dear'],
    cheaper: 'small',
    grant: { usd: 0.01 },
    tools: { look: { ...look, cost: { usd: 0.005 } } } as never,
    says: (results) => (results.length === 0 ? { tools: [['look', { at: 'a' }]] } : answerOf({})),
  })
  expect(status.steps[0]).toMatchObject({ state: 'done' })
  expect(requests.map(({ model }) => model)).toEqual(['dear', 'small'])
})

test('and from one cheaper model a round goes on with the cheaper ones alone', async () => {
  const { status, requests } = await play({
    models: ['dear'],
    cheaper: 'small',
    grant: { usd: 0.001 },
    tools: { look } as never,
    says: (results) => (results.length < 2 ? { tools: [['look', { at: 'a' }]] } : answerOf({})),
  })
  expect(status.steps[0]).toMatchObject({ state: 'done' })
  expect(requests.map(({ model }) => model)).toEqual(['small', 'small', 'small'])
})

test('a model that fails in a later round is not left for one that is there for want of money', async () => {
  const { status, requests } = await play({
    models: ['dear'],
    cheaper: 'small',
    tools: { look } as never,
    says: (results, { model }) => {
      if (results.length > 0 && model === 'dear') throw new ModelError('malformed', 'what?', { retryable: false })
      return results.length === 0 ? { tools: [['look', { at: 'a' }]] } : answerOf({})
    },
  })
  expect(status.steps[0]).toMatchObject({ state: 'unanswered' })
  expect(requests.map(({ model }) => model)).toEqual(['dear', 'dear'])
})

test('those who watch are told what the agent’s own rounds write, and nothing of those that derive it again', async () => {
  const { trace, streams } = await play({ tools: { look } as never, options: { stream: true, verifyWith: { strategy: 'rederivation' } }, says: (results) => (results.length === 0 ? { tools: [['look', { at: 'a' }]] } : answerOf({ a: 1 })) })
  expect(trace.map(({ attempt }) => attempt)).toEqual(['call.1', 'call:2.1', 'rederivation-1.1', 'rederivation-1:2.1'])
  expect(streams).toEqual([true, true, false, false])
})

test.each<[string, Omit<Given, 'tools'>, RegExp]>([
  ['bounds', { ...forever, options: { toolRoundsMax: 2 } }, /toolRoundsMax/],
  ['window', { ...forever, options: { windowTokensMax: 5_000 } }, /its window is 5000/],
])('nobody stands in for a model that was there, and has come to the %s of its tools', async (_, given, why) => {
  const { status } = await play({ ...given, policies: { agents: { worker: { fallback: [{ person: 'ops' }] } } }, tools: { look: { ...look, run: () => 'x'.repeat(6_000) } } as never })
  expect(status.steps[0]).toMatchObject({ state: 'unanswered', reason: expect.stringMatching(why) as string })
})

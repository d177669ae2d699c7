/** What is given to a mesh must fit together, and what its agents ask of persons can be found and decided. */
import { expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, modelOf, type AgentOptions, type ModelClient, type RunDefinition, type RunOptions } from '../../src/index.js'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { functionModel } from '../support/function-model.js'

const client = functionModel(({ task }) => ((task as { agent: string }).agent === 'planner' ? { steps: [{ n: 1 }, { n: 2 }] } : { text: 'hello' }))
const model = modelOf(client, 'm', { input: 1, output: 1 })
const Any = z.looseObject({})
const agent = (name: string, more: Partial<AgentOptions<object, object>> = {}) => defineAgent({ name, input: Any, output: Any, model, prompt: ({ input }) => ({ messages: [{ role: 'user', content: JSON.stringify(input) }] }), ...more })

test('a role that nobody takes and a verifier that is nobody are refused where they are given', () => {
  const store = new MemoryStore()
  const run = (worker: string | ReturnType<typeof agent>): RunDefinition => defineRun({ name: 'job', crew: { planner: agent('planner'), worker, writer: agent('writer') } })
  expect(() => createMesh({ store, runs: [run('nobody')] })).toThrow(/run job: its worker is "nobody", which is neither an agent nor a machine/)
  expect(() => createMesh({ store, runs: [run(agent('worker', { verifyWith: 'nobody' }))] })).toThrow(/agent worker: verifyWith is "nobody"/)
  expect(() => createMesh({ store, runs: [run(agent('worker', { verifyWith: 'judge' }))], agents: [agent('judge')] })).not.toThrow()
})

test('what a grant leaves out is as by default, and a small ceiling is shared among the steps that there are', async () => {
  const job = defineRun({ name: 'job', crew: { planner: agent('planner'), worker: agent('worker'), writer: agent('writer') }, grants: { worker: { calls: 1 } } })
  const mesh = await createMesh({ store: new MemoryStore(), runs: [job] }).start()
  const run = await mesh.run(job, { id: 'r', goal: 'why', ceiling: { calls: 4, tokens: 100_000 } })
  expect(await run.output({ deadlineMs: 10_000 })).toMatchObject({ outcome: 'done', spent: { calls: 4 } })
  expect((await run.status())!.unanswered).toEqual([])
  // Without a call for each, what there is goes to the first, and the rest is said to be unanswered.
  const poor = await mesh.run(job, { id: 'poor', goal: 'why', ceiling: { calls: 3, tokens: 100_000 } })
  expect(await poor.output({ deadlineMs: 10_000 })).toMatchObject({ outcome: 'failed', failure: { reason: 'report', message: expect.stringContaining('budget') as string } })
  const broke = await mesh.run(job, { id: 'broke', goal: 'why', ceiling: { calls: 0 } })
  expect(await broke.output({ deadlineMs: 10_000 })).toMatchObject({ outcome: 'failed', failure: { reason: 'plan', message: expect.stringContaining('budget') as string }, spent: { calls: 0 } })
  await mesh.stop()
})

test('what agents of a run ask of persons is found with the run, decided by its digest, and only once', async () => {
  const done: string[] = []
  const mailer = agent('mailer', {
    act: ({ input }) => [{ name: 'mail', input: { to: `n${(input as { task: { n: number } }).task.n}` } }],
    externalActions: { mail: { input: z.object({ to: z.string() }), run: ({ input }: { input: { to: string } }) => void done.push(input.to) } },
    approval: ({ actions }) => ({ why: `it mails ${(actions[0]!.input as { to: string }).to}` }),
  })
  const job = defineRun({ name: 'job', crew: { planner: agent('planner'), worker: mailer, writer: agent('writer') }, replansMax: 0 })
  const mesh = await createMesh({ store: new MemoryStore(), runs: [job] }).start()
  const run = await mesh.run(job, { id: 'r', goal: 'why' })
  while ((await run.pending()).length < 2) await mesh.system.settled()
  const [first, second] = await run.pending()
  expect([first, second]).toMatchObject([
    { address: 'mailer/r~step-1', why: 'it mails n1', actions: [{ name: 'mail', input: { to: 'n1' } }] },
    { address: 'mailer/r~step-2', why: 'it mails n2' },
  ])
  await expect(run.approve({ by: 'ann' })).rejects.toThrow(/asks for 2 decisions; give the digest of one/)
  await expect(run.approve({ by: 'ann', digest: 'another' })).rejects.toThrow(/not on another/)
  expect(await run.approve({ by: 'ann', digest: first!.digest })).toMatchObject({ approved: true, by: 'ann' })
  expect(await run.reject({ by: 'bob', digest: second!.digest, note: 'no' })).toMatchObject({ approved: false, by: 'bob' })
  await run.output({ deadlineMs: 10_000 })
  expect(done).toEqual(['n1'])
  expect((await run.status())!.steps.map(({ state, reason }) => [state, reason])).toEqual([
    ['done', null],
    ['unanswered', 'bob rejected it: no'],
  ])
  expect(await run.pending()).toEqual([])
  await mesh.stop()
})

const nothings: readonly unknown[] = [0, -1, 1.5, Number.NaN, Infinity, '3', null, {}]

test('an option that cannot work is refused where it is given, by its name, with what was expected and what came', async () => {
  const good = { input: Any, output: Any, model, prompt: () => ({ messages: [] }) }
  const agentWith = (more: object) => () => defineAgent({ name: 'a', ...good, ...more } as never)
  const runWith = (more: object) => () => defineRun({ name: 'r', crew: { planner: agent('planner'), worker: agent('worker'), writer: agent('writer') }, ...more } as RunOptions)
  for (const [option, values] of Object.entries({
    input: [undefined, null, {}, 'text', () => {}],
    output: [undefined, { type: 'object' }],
    model: [undefined, [], 'claude', [model, 'claude'], { name: 'x/y', model: 'y', client: {} }],
    prompt: [undefined, 'Answer.', { messages: [] }],
    gather: [1],
    confidence: [0.5, { value: 1, source: 'self' }],
    give: [{}],
    accept: [0.5, {}, { confidence: '0.5' }, { confidence: 1.1 }, { confidence: Number.NaN }, { confidence: 0.5, source: 'self' }],
    verifyWith: [1, {}, ''],
    verifyDeadlineMs: nothings,
    act: [[]],
    externalActions: [[], { mail: {} }, { mail: { input: Any } }, { mail: { input: Any, run: 'mail' } }, { 'no name': { input: Any, run: () => {} } }],
    approval: [true],
    approvalDeadlineMs: nothings,
    completionTokensMax: nothings,
    // The policies have those.
    attemptsMax: [3],
    backoff: [{ firstMs: 1_000 }],
    deadlineMs: [60_000],
    retries: [3],
  })) for (const value of values) expect(agentWith({ [option]: value }), `${option}: ${String(value)}`).toThrow(new RegExp(`^(?:agent a: ${option}|agent a: externalActions: the name).*(?:: expected .+, got |: there is no such option|is not allowed: use)`))
  for (const [option, values] of Object.entries({
    crew: [undefined, {}, { planner: 'p', worker: 'w' }, { planner: 'p', worker: 'w', writer: { name: 'w' } }, { planner: 'p', worker: 'w', writer: 'a b' }, { planner: 'p', worker: 'w', writer: 'w', checker: 'c' }, { planner: 'p', worker: 'w', writer: 'w', cook: 'c' }],
    grants: [1, { cook: {} }, { worker: { calls: 1.5 } }, { worker: { tokens: -1 } }, { worker: { usd: '1' } }, { worker: { euros: 1 } }],
    supervisor: [1, ...nothings.map((workingMax) => ({ workingMax })), { waitingMax: -1 }, { restartsMax: Number.NaN }, { periodMs: 0 }, { backoff: { firstMs: 1 } }, { max: 1 }],
    stepsMax: nothings,
    replansMax: nothings.slice(1),
    action: ['publish'],
    externalActions: [1],
    approval: [{ why: 'so' }],
    approvalDeadlineMs: nothings,
    steps: [1],
  })) for (const value of values) expect(runWith({ [option]: value }), `${option}: ${JSON.stringify(value)}`).toThrow(new RegExp(`^run r: ${option}.*(?:: expected .+, got |: there is no such option|is not allowed: use)`))
  for (const nobody of [undefined, null, 1, {}]) {
    expect(() => defineAgent(nobody as never)).toThrow(/defineAgent: expected an object|agent name undefined is not allowed/)
    expect(() => defineRun(nobody as never)).toThrow(/defineRun: expected an object|run name undefined is not allowed/)
  }

  for (const nobody of [undefined, null, 'claude', {}, { provider: 'x' }]) expect(() => modelOf(nobody as unknown as ModelClient, 'm')).toThrow(/^modelOf: client: expected a model client/)
  for (const price of [{ input: 1 }, { input: Number.NaN, output: 1 }, { input: -1, output: 1 }, { input: '1', output: 1 }, { tiers: [] }, { tiers: [{ input: 1 }] }, 5]) expect(() => modelOf(client, 'm', price as never), JSON.stringify(price)).toThrow(/^price of m.*: expected .+, got /)

  const store = new MemoryStore()
  const job = runWith({})()
  for (const [option, value] of Object.entries({ store: {}, agents: ['a'], runs: [agent('a')], machines: ['m'], prices: { models: {} }, traces: {}, tracesWaitingMax: 0 })) expect(() => createMesh({ store, [option]: value } as never), option).toThrow(new RegExp(`^${option}.*: expected .+, got `))
  for (const none of [undefined, null, {}]) expect(() => createMesh(none as never)).toThrow(/^(?:options: expected an object|store: expected a store)/)

  const mesh = await createMesh({ store, runs: [job] }).start()
  for (const options of [undefined, {}, { goal: 5 }, { goal: '' }, { goal: ' \n' }, { goal: 'why', ceiling: 5 }, { goal: 'why', ceiling: { euros: 1 } }, { goal: 'why', ceiling: { calls: 0.5 } }, { goal: 'why', models: [] }, { goal: 'why', models: 'test/m' }, { goal: 'why', budget: 1 }]) {
    await expect(mesh.run(job, options as never), JSON.stringify(options)).rejects.toThrow(/^(?:options|goal|ceiling|models|budget).*: (?:expected .+, got |there is no such option)/)
  }
  await expect(mesh.run(undefined as never, { goal: 'why' })).rejects.toThrow(/^the run: expected a run, as defineRun gives it, got undefined/)
  expect(() => mesh.handle('job' as never, 'r')).toThrow(/^the run: expected a run, as defineRun gives it, got "job"/)
  await expect(mesh.list(undefined as never)).rejects.toThrow(/^the run: expected a run/)
  const run = mesh.handle(job, 'r')
  for (const given of [undefined, {}, { by: '' }, { by: 5 }, { by: 'ann', note: 5 }, { by: 'ann', deadlineMs: Number.NaN }, { by: 'ann', approved: false }]) {
    await expect(run.approve(given as never), JSON.stringify(given)).rejects.toThrow(/^approve(?:: \w+)?: (?:expected .+, got |there is no such option)/)
    await expect(run.reject(given as never)).rejects.toThrow(/^reject/)
  }
  for (const given of [undefined, {}, { by: 'ann' }, { happened: 'no', by: 'ann' }, { happened: true }]) await expect(run.resolve(given as never)).rejects.toThrow(/^resolve(?:: \w+)?: expected .+, got /)
  await expect(run.cancel(undefined as never)).rejects.toThrow(/^cancel: by: expected .+, got undefined/)
  expect(await mesh.list(job)).toEqual([])
  await mesh.stop()
})

test('a plan with more steps than the crew has room for loses none of them', async () => {
  const steps = Array.from({ length: 100 }, (_, n) => ({ n }))
  const wide = functionModel(({ task }) => {
    const { agent: name, input } = task as { agent: string; input: { kind?: string; output?: unknown; task?: { n: number } } }
    if (name === 'planner') return { steps: input.kind === 'plan' ? steps : [{ n: -input.task!.n }] }
    if (name === 'critic') return { accepted: input.task!.n % 7 !== 3 || input.task!.n < 0, reasons: [], explanation: 'so', confidence: { value: 1, source: 'rule' }, by: 'critic' }
    return { findings: [{ n: input.task?.n }] }
  })
  const by = { model: modelOf(wide, 'm') }
  const crew = { planner: agent('planner', by), worker: agent('worker', { ...by, verifyWith: 'critic' }), checker: agent('critic', by), writer: agent('writer', by) }
  for (const supervisor of [{}, { workingMax: 1, waitingMax: 0 }]) {
    const job = defineRun({ name: 'job', crew, stepsMax: 100, supervisor })
    const mesh = await createMesh({ store: new MemoryStore(), runs: [job] }).start()
    await (await mesh.run(job, { id: 'r', goal: 'why' })).output({ deadlineMs: 60_000 })
    const status = (await mesh.handle(job, 'r').status())!
    expect(status).toMatchObject({ state: 'done', unanswered: [] })
    expect(status.steps).toHaveLength(114)
    expect(status.members.every(({ outcome }) => outcome === 'done' || outcome === 'failed')).toBe(true)
    await mesh.stop()
  }
}, 60_000)

/** A run from goal to action, on scripted agents: what is asked, what is judged, what is spent, what is on record. */
import { expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, isBalanced, modelOf, type Amounts, type Ledger, type ModelClient, type RunDefinition } from '../../src/index.js'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { functionModel, type FunctionModel } from '../support/function-model.js'

interface Ask {
  readonly agent: string
  readonly input: { kind?: string; question?: string; step?: string; task?: { q: string }; output?: { findings: { claim: string }[] }; accepted?: unknown[]; steps?: unknown[]; unanswered?: unknown[] }
}

/** Researchers bring what the question says; the critic refuses claims that hold "wrong". */
function scripted(): FunctionModel {
  return functionModel(({ task }) => {
    const { agent, input } = task as Ask
    switch (agent) {
      case 'planner':
        return input.kind === 'plan' ? { steps: [{ q: 'one' }, { q: 'two wrong' }, { q: 'three' }] } : { steps: [{ q: input.task!.q.replace(' wrong', ' mended') }] }
      case 'researcher':
        return { findings: [{ claim: `claim on ${input.task!.q}` }] }
      case 'critic': {
        const wrong = input.output!.findings.filter(({ claim }) => claim.includes('wrong'))
        const right = input.output!.findings.filter(({ claim }) => !claim.includes('wrong'))
        return {
          accepted: right.length > 0,
          reasons: wrong.map(() => 'not-at-line'),
          explanation: wrong.length > 0 ? 'a claim is wrong' : 'all well',
          confidence: { value: 0.9, source: 'rule' },
          output: { findings: right },
          refused: wrong.map((finding) => ({ finding, reasons: ['not-at-line'], explanation: 'it is wrong' })),
          sourcesVerified: right.map(({ claim }) => claim),
          by: 'critic',
        }
      }
      default:
        return { markdown: `# ${input.question}\n${JSON.stringify(input.steps)}` }
    }
  })
}

const Findings = z.object({ findings: z.array(z.object({ claim: z.string() })) })
const Anything = z.looseObject({})

function definitions(client: ModelClient, publish: (key: string, input: unknown) => unknown): RunDefinition {
  const model = modelOf(client, 'm')
  const prompt = ({ input, goal }: { input: unknown; goal: { text: string } }) => ({ system: goal.text, messages: [{ role: 'user' as const, content: JSON.stringify(input) }] })
  const planner = defineAgent({ name: 'planner', input: Anything, output: z.object({ steps: z.array(z.object({ q: z.string() })) }), model, prompt })
  const researcher = defineAgent({ name: 'researcher', version: 2, input: Anything, output: Findings, model, prompt, confidence: () => ({ value: 0.5, source: 'self' }), verifyWith: 'critic' })
  const critic = defineAgent({ name: 'critic', input: Anything, output: Anything, model, prompt })
  const writer = defineAgent({ name: 'writer', input: Anything, output: z.object({ markdown: z.string() }), model, prompt })
  return defineRun({
    name: 'research',
    crew: { planner, worker: researcher, checker: critic, writer },
    supervisor: { workingMax: 2 },
    action: ({ report }) => ({ name: 'publish', input: report }),
    externalActions: { publish: { input: z.object({ markdown: z.string() }), run: ({ input, idempotencyKey }) => publish(idempotencyKey, input) } },
    approval: () => ({ why: 'it leaves the house' }),
  })
}

test('a run plans, researches in parallel, judges in order, plans anew, writes, asks a person and acts once', async () => {
  const client = scripted()
  const published: unknown[] = []
  const research = definitions(client, (key, input) => {
    published.push({ key, input })
    return { at: 'there' }
  })
  const mesh = await createMesh({ store: new MemoryStore(), runs: [research], prices: { asOf: '2026-01-01', models: { 'test/m': { input: 1, output: 5 } } } }).start()
  const run = await mesh.run(research, { id: 'r-1', goal: '  what   is\nit? ', ceiling: { usd: 1, tokens: 1_000_000, calls: 100 } })
  const states: string[] = []
  for await (const status of run.progress()) {
    if (states.at(-1) !== status.state) states.push(status.state)
    if (status.state === 'approvalPending') break
  }
  expect(states.filter((state) => state !== 'planning')).toEqual(['working', 'synthesising', 'approvalPending'])
  const asked = (await run.status())!
  expect(asked.goal).toBe('what is it?')
  expect(asked.steps.map(({ id, origin, state }) => [id, origin, state])).toEqual([
    ['step-1', 'step-1', 'done'],
    ['step-2', 'step-2', 'unanswered'],
    ['step-2.1', 'step-2', 'done'],
    ['step-3', 'step-3', 'done'],
  ])
  expect(asked.unanswered).toEqual([])
  expect(published).toEqual([])
  await expect(run.approve({ by: 'eve', digest: 'another' })).rejects.toThrow(/asks for a decision on/)
  expect(await run.approve({ by: 'ann', note: 'good' })).toEqual({ digest: asked.approval!.digest, approved: true, by: 'ann', note: 'good', at: expect.any(Number) as number })
  const output = await run.output({ deadlineMs: 5_000 })
  expect(output).toMatchObject({ outcome: 'done', published: { at: 'there' }, failure: null, overrun: { tokens: 0, calls: 0, nanoDollars: 0 } })
  expect(published).toEqual([{ key: 'default/r-1/-/publish', input: output.report }])
  // A decision on record never changes.
  expect(await run.reject({ by: 'bob' })).toMatchObject({ approved: true, by: 'ann' })

  expect((await run.findings()).map(({ step, agent, finding, accepted, reasons, judgedBy }) => [step, agent, (finding as { claim: string }).claim, accepted, reasons, judgedBy])).toEqual([
    ['step-1', 'researcher/r-1~step-1', 'claim on one', true, [], 'critic/r-1~step-1.check'],
    ['step-2', 'researcher/r-1~step-2', 'claim on two wrong', false, ['not-at-line', 'it is wrong'], 'critic/r-1~step-2.check'],
    ['step-2.1', 'researcher/r-1~step-2.1', 'claim on two mended', true, [], 'critic/r-1~step-2.1.check'],
    ['step-3', 'researcher/r-1~step-3', 'claim on three', true, [], 'critic/r-1~step-3.check'],
  ])

  const trace = await run.trace()
  expect(trace).toHaveLength(client.requests.length)
  expect(trace).toHaveLength(11)
  expect(new Set(trace.map((record) => record.span)).size).toBe(11)
  expect(trace.every((record) => record.cost !== null && record.tokens !== null && record.goalCheck === 'intact' && record.latencyMs! >= 0 && record.completion !== null && record.goal === trace[0]!.goal)).toBe(true)
  const checked = trace.find((record) => record.task === 'step-2.1' && record.agent === 'researcher')!
  expect(checked).toMatchObject({ version: '2', origin: 'step-2', model: 'test/m', confidence: { value: 0.9, source: 'rule' }, accepted: true, verifiedBy: 'critic/r-1~step-2.1.check', sourcesVerified: ['claim on two mended'], output: { findings: [{ claim: 'claim on two mended' }] } })
  const spent = trace.reduce((sum, record) => sum + record.cost!.nanoDollars, 0)
  expect(output.spent.nanoDollars).toBe(spent)
  expect(output.spent.calls).toBe(11)

  // I7, in every ledger of the run.
  for (const { address } of (await mesh.system.find({ key: 'r-1' })).actors) {
    const { context } = (await mesh.system.actorAt(address).snapshot()) as unknown as { context: { ledger: Ledger } }
    expect(isBalanced(context.ledger), address).toBe(true)
  }
  await mesh.stop()
})

test('what calls cost beyond what was held for them is shown by agent and by run, and is not hidden by the ceiling', async () => {
  const client = scripted()
  const greedy: ModelClient = {
    ...client,
    complete: async (request, options) => {
      const response = await client.complete(request, options)
      return request.task.agent === 'researcher' ? { ...response, usage: { ...response.usage, outputTokens: 1_000_000 } } : response
    },
  }
  const research = definitions(greedy, () => ({}))
  const mesh = await createMesh({ store: new MemoryStore(), runs: [research], prices: { asOf: '2026-01-01', models: { 'test/m': { input: 1, output: 5 } } } }).start()
  const run = await mesh.run(research, { id: 'r', goal: 'what?', ceiling: { tokens: 1_000_000 } })
  await run.settled()
  await run.approve({ by: 'ann' })
  const { overrun, spent } = await run.output({ deadlineMs: 5_000 })
  const trace = await run.trace()
  const beyond = (kind: keyof Amounts): number => trace.reduce((sum, { cost, reserved }) => sum + Math.max(0, cost![kind] - reserved[kind]), 0)
  expect(overrun).toEqual({ tokens: beyond('tokens'), calls: 0, nanoDollars: beyond('nanoDollars') })
  expect(overrun.tokens).toBeGreaterThan(3_900_000)
  expect(spent.tokens).toBeLessThanOrEqual(1_000_000)
  const status = (await run.status())!
  expect(status.overrun).toEqual(overrun)
  expect(status.members.filter(({ overrun: { tokens } }) => tokens > 0).map(({ id }) => id)).toEqual(['step-1', 'step-2', 'step-3', 'step-2.1'])
  await mesh.stop()
})

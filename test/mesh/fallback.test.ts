/** What the declared path means to a run and to the persons it asks. The order of its steps under kills is in fallback.property.test.ts. */
import { expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, modelOf, ModelError, type AgentOutput, type AgentTask, type Mesh, type PolicyOptions } from '../../src/index.js'
import { canonicalGoal } from '../../src/mesh/canonical.js'
import { World } from '../../src/testing/index.js'
import { functionModel } from '../support/function-model.js'

const Any = z.looseObject({})
const Found = z.object({ findings: z.array(z.string()) })
type Fallback = NonNullable<NonNullable<PolicyOptions['agents']>[string]['fallback']>

/** A run of one step, whose worker's model is out of order. */
function stage(fallback: Fallback, generalist: () => unknown = () => ({ findings: ['it is so'] }), approval = false) {
  const client = functionModel(
    ({ task }) => {
      const { agent } = task as { agent: string }
      if (agent === 'worker') throw new ModelError('overloaded', 'busy', { retryable: true })
      return agent === 'planner' ? { steps: [{ n: 1 }] } : agent === 'generalist' ? generalist() : { text: 'all' }
    },
    'far',
    false,
  )
  const prompt = () => ({ messages: [] })
  const model = modelOf(client, 'm', { input: 1, output: 1 })
  const agent = (name: string, output: z.ZodType = Any, more: object = {}) => defineAgent({ name, input: Any, output, model, prompt, ...more })
  const job = defineRun({ name: 'job', crew: { planner: agent('planner'), worker: agent('worker', Found, approval ? { approval: () => ({ why: 'look at it' }) } : {}), writer: agent('writer') }, replansMax: 0, grants: { worker: { calls: 9, tokens: 100_000 } } })
  let mesh: Mesh
  const world = new World({
    create: (given) => (mesh = createMesh({ ...given, runs: [job], agents: [agent('generalist')], policies: { models: { '*': { breaker: false } }, agents: { '*': { breaker: false, retry: { attemptsMax: 2, backoff: { firstMs: 100, jitter: 0 } } }, worker: { fallback } } } })),
  })
  return { world, client, mesh: () => mesh, start: () => mesh.run(job, { id: 'r', goal: 'why', ceiling: { calls: 50, tokens: 1_000_000 } }) }
}

test('one that takes too long is dismissed, all that it was granted is charged, and the next is asked', async () => {
  const { world, start, mesh } = stage([{ agent: 'generalist', deadlineMs: 20_000 }, { person: 'ops', deadlineMs: 60_000 }], () => new Promise(() => {}))
  await world.start()
  const run = await start()
  await world.advance(10_000)
  const member = async () => (await run.status())!.members.find(({ standsInFor }) => standsInFor === 'step-1')
  expect(await member()).toMatchObject({ id: 'step-1.standIn', machine: 'generalist', role: 'worker', outcome: null })
  await world.advance(20_000)
  expect(await member()).toMatchObject({ outcome: 'stopped' })
  expect(await mesh().system.actorAt('generalist/r~step-1.standIn').snapshot()).not.toMatchObject({ status: 'active' })
  const [question] = await run.pending()
  expect(question).toMatchObject({ address: 'worker/r~step-1', why: 'ops (busy)', question: { input: { step: 'step-1' } } })
  await expect(run.approve({ by: 'ann' })).rejects.toThrow('asks for an answer, not for approval. Give it: run.answer')
  await expect(run.answer({ by: 'ann' } as never)).rejects.toThrow('answer: output: expected the answer')
  const wrong = run.answer({ by: 'ann', output: { findings: 'so' } })
  wrong.catch(() => {})
  await world.settled()
  await expect(wrong).rejects.toThrow(/^answer: the answer does not fit worker's schema: at findings/)
  const right = run.answer({ by: 'ann', output: { findings: ['I looked'] } })
  await world.advance(1_000)
  expect(await right).toMatchObject({ approved: true, by: 'ann' })
  expect(await run.status()).toMatchObject({ state: 'done', steps: [{ state: 'done', confidence: { value: 1, source: 'human' } }] })
  expect((await run.findings()).map(({ agent, finding }) => [agent, finding])).toEqual([['person/ann', 'I looked']])
  // Nobody knows what the generalist did.
  expect((await run.status())!.members.find(({ id }) => id === 'step-1')!.spent).toMatchObject({ calls: 9, tokens: 100_000 })
  expect((await run.trace()).filter(({ agent }) => agent === 'worker').map(({ attempt, model, error }) => [attempt, model, error])).toEqual([
    ['call.1', 'far/m', 'busy'],
    ['call.2', 'far/m', 'busy'],
    ['fallback-1', 'agent/generalist', 'it did not answer within 20000 ms'],
    ['fallback-2', 'person', null],
  ])
  await world.stop()
})

test('what is brought is judged like an answer of the agent’s own, and it is on record who gave it', async () => {
  const { world, start } = stage([{ agent: 'generalist' }], undefined, true)
  await world.start()
  const run = await start()
  await world.advance(10_000)
  const [pending] = await run.pending()
  expect(pending).toMatchObject({ why: 'look at it', output: { findings: ['it is so'] } })
  await expect(run.answer({ by: 'ann', output: {} })).rejects.toThrow('asks for approval, not for an answer')
  const approved = run.approve({ by: 'ann' })
  await world.advance(1_000)
  await approved
  expect(await run.status()).toMatchObject({ state: 'done' })
  expect((await run.findings()).map(({ agent }) => agent)).toEqual(['agent/generalist/r~step-1.standIn'])
  const judged = (await run.trace()).find(({ attempt }) => attempt === 'fallback-1')!
  expect(judged).toMatchObject({ agent: 'worker', model: 'agent/generalist', cost: { calls: 0 }, output: { findings: ['it is so'] }, error: null })
  await world.stop()
})

test('nobody hands on what was handed to him, and the failure names every step', async () => {
  const { world, client, mesh, start } = stage([{ agent: 'generalist' }, { person: 'ops', deadlineMs: 5_000 }], () => {
    throw new ModelError('server', 'no', { retryable: true })
  })
  await world.start()
  const back = mesh().policies.set({ models: { '*': { breaker: false } }, agents: { '*': { breaker: false, retry: { attemptsMax: 1 }, fallback: [{ agent: 'generalist' }, { agent: 'worker' }, { person: 'ops', deadlineMs: 5_000 }] } } }, { by: 'ann' })
  await world.advance(1_000)
  await back
  const run = await start()
  await world.advance(60_000)
  // One attempt of the worker, and one of the generalist, who asks nobody.
  expect(client.requests.filter(({ task }) => ['worker', 'generalist'].includes(task.agent))).toHaveLength(2)
  expect((await run.status())!.steps).toMatchObject([{ state: 'unanswered', reason: 'busy; agent/generalist: no; person: nobody answered in time' }])
  expect((await run.status())!.members.filter(({ standsInFor }) => standsInFor !== null)).toHaveLength(1)
  await world.stop()
})

test('an agent that works alone has nobody but persons', async () => {
  const { world, mesh } = stage([{ agent: 'generalist' }])
  await world.start()
  const task: AgentTask = { id: 'a', origin: 'a', input: {}, goal: canonicalGoal('why'), grant: { tokens: 1e6, calls: 10, nanoDollars: 1e9 }, run: 'a' }
  const actor = mesh().system.actorAt('worker/a')
  await actor.start({ input: { task } as never, run: 'a' })
  await world.advance(10_000)
  expect((await actor.output({ deadlineMs: 1 })) as AgentOutput).toMatchObject({ failure: { reason: 'model', message: 'busy' }, givenBy: null, spent: { calls: 2 } })
  await world.stop()
})

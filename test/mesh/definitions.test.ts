/** What is given to a mesh must fit together, and what its agents ask of persons can be found and decided. */
import { expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, modelOf, type AgentOptions, type RunDefinition } from '../../src/index.js'
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

/** What somebody has stopped begins nothing more: whichever effect of an agent is next, and by whatever name it is stopped. */
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { fromPromise } from 'xstate'
import { createMesh, defineAgent, defineRun, modelOf, repeatable, type AgentOutput, type AgentTask, type CallsOf, type Mesh, type PolicyOptions, type Verdict, type VerificationInput } from '../../src/index.js'
import { canonicalGoal } from '../../src/mesh/canonical.js'
import { World } from '../../src/testing/index.js'
import { functionModel } from '../support/function-model.js'

const grant = { tokens: 1e9, calls: 1e6, nanoDollars: 1e12 }
const yes: Verdict = { accepted: true, reasons: [], explanation: 'so', confidence: { value: 1, source: 'rule' }, by: 'rule' }

/** An agent whose every effect is noted as it begins, and holds on until it is let go. */
function stage(policies: PolicyOptions = {}) {
  const began: string[] = []
  let letGo = (): void => {}
  const step = async <T>(what: string, result: T): Promise<T> => {
    began.push(what)
    await new Promise<void>((resolve) => (letGo = resolve))
    return result
  }
  const client = functionModel(() => step('model', { claim: 'so' }), 'far', false)
  const worker = defineAgent({
    name: 'worker',
    version: 2,
    input: z.looseObject({}),
    output: z.object({ claim: z.string() }),
    model: modelOf(client, 'm', { input: 0, output: 0 }),
    gather: () => step('gather', 'text'),
    prompt: () => ({ messages: [] }),
    verifyWith: [
      repeatable<Verdict, VerificationInput>(() => step('declared verifier', yes)),
      fromPromise<Verdict, VerificationInput>(() => step('verifier', yes)),
      { strategy: 'sources', citations: () => [{ finding: 'so', source: 'a', quote: 'so' }], read: () => step('read', 'so it is') },
      { strategy: 'rederivation' },
    ],
    act: () => [{ name: 'mail', input: {} }],
    externalActions: { mail: { input: z.looseObject({}), run: () => step('mail', null) } },
  })
  let mesh: Mesh
  const world = new World({ create: (given) => (mesh = createMesh({ ...given, agents: [worker], policies })) })
  return {
    world,
    began,
    mesh: () => mesh,
    letGo: () => letGo(),
    actor: (id: string) => mesh.system.actorAt(`worker/${id}` as never),
    async begin(id: string) {
      const task: AgentTask = { id, origin: id, input: {}, goal: canonicalGoal('why'), grant, run: id, tenant: 'acme' }
      await mesh.system.actorAt(`worker/${id}` as never).start({ input: { task } as never, run: id })
      await world.settled()
    },
    async stop(calls: CallsOf) {
      const done = mesh.policies.stop(calls, { by: 'ann', why: 'it talks nonsense' })
      await world.advance(1_000)
      await done
    },
  }
}

const all = ['gather', 'model', 'declared verifier', 'verifier', 'read', 'gather', 'model', 'mail']
const scopes: readonly CallsOf[] = [
  { scope: 'agent', name: 'worker' },
  { scope: 'version', name: 'worker@2' },
  { scope: 'tenant', name: 'acme' },
  { scope: 'model', name: 'far/m' },
  { scope: 'provider', name: 'far' },
]

describe.each(scopes)('stopped by $scope $name', (calls) => {
  const isOfModel = calls.scope === 'model' || calls.scope === 'provider'
  test.each([0, 1, 2, 3, 4, 5, 6, 7, 8])('when %i effects have begun, the next one that it is about does not', async (n) => {
    const { world, began, begin, stop, letGo, actor } = stage()
    await world.start()
    if (n > 0) await begin('a')
    while (began.length < n) {
      letGo()
      await world.settled()
    }
    await stop(calls)
    if (n === 0) await begin('a')
    for (let i = 0; i < all.length; i++) {
      letGo()
      await world.settled()
    }
    const next = all.findIndex((what, i) => i >= n && (!isOfModel || what === 'model'))
    const expected = next === -1 ? all : all.slice(0, next)
    expect(began).toEqual(expected)
    const { outcome, failure } = (await actor('a').output({ deadlineMs: 1 })) as AgentOutput
    if (next === -1) expect(outcome).toBe('done')
    else expect(failure!.message).toContain(`ann has stopped the calls of ${calls.scope} ${calls.name}: it talks nonsense`)
    if (next === 0 || next === 1) expect(failure!.reason).toBe('unavailable')
    await world.stop()
  })
})

test('others go on: another agent’s name, another version, tenant or model stops nothing', async () => {
  const { world, began, begin, stop, letGo } = stage()
  await world.start()
  for (const calls of [{ scope: 'agent', name: 'work' }, { scope: 'version', name: 'worker@1' }, { scope: 'tenant', name: 'acm' }, { scope: 'model', name: 'far/n' }, { scope: 'provider', name: 'fa' }, { scope: 'agent', name: 'worker@2' }] as const) await stop(calls)
  await begin('a')
  for (let i = 0; i < all.length; i++) {
    letGo()
    await world.settled()
  }
  expect(began).toEqual(all)
  await world.stop()
})

test('a call that waits for its permit is refused as soon as it is stopped, says by whom and why, and explain shows it', async () => {
  const { world, began, begin, stop, letGo, actor, mesh } = stage({ models: { 'far/m': { bulkhead: { workingMax: 1 }, breaker: false } } })
  await world.start()
  await begin('first')
  letGo()
  await world.settled()
  await begin('second')
  letGo()
  await world.settled()
  const waiting = async (): Promise<unknown> => JSON.parse(JSON.stringify(((await actor('second').persisted()) as { children?: Record<string, { snapshot: { value: unknown } }> }).children?.['call']?.snapshot.value ?? null))
  expect(await waiting()).toEqual({ open: 'waitingForPermit' })
  expect(began.filter((what) => what === 'model')).toHaveLength(1)
  expect(mesh().policies.explain('worker', { tenant: 'acme' })[0]!.stop).toBeNull()
  await stop({ scope: 'version', name: 'worker@2' })
  expect(mesh().policies.explain('worker', { tenant: 'acme' })[0]!.stop).toMatchObject({ scope: 'version', name: 'worker@2', by: 'ann', why: 'it talks nonsense' })
  expect(await actor('second').output({ deadlineMs: 1 })).toMatchObject({ failure: { reason: 'unavailable', message: 'ann has stopped the calls of version worker@2: it talks nonsense' }, spent: { calls: 0 } })
  await world.stop()
})

test('a task whose agent is stopped goes its declared path', async () => {
  const { world, begin, stop, actor, mesh } = stage({ agents: { worker: { fallback: [{ agent: 'worker' }, { person: 'ops', deadlineMs: 60_000 }] } } })
  await world.start()
  await stop({ scope: 'agent', name: 'worker' })
  await begin('a')
  const { approval } = ((await actor('a').snapshot()) as unknown as { context: { approval: { why: string; digest: string; question: { input: unknown; schema: object } } } }).context
  expect(approval).toMatchObject({ why: 'ops (ann has stopped the calls of agent worker: it talks nonsense)', question: { input: {}, schema: { properties: { claim: { type: 'string' } } } } })
  const decide = (output: unknown) => mesh().system.actorAt('worker/a' as never).ask({ type: 'approval.decide', digest: approval.digest, approved: true, by: 'zed', output } as never, { deadlineMs: 1_000 })
  const unfit = decide({ claim: 5 })
  await world.settled()
  expect(await unfit).toMatchObject({ decision: null, pending: approval.digest, problem: expect.stringMatching(/does not fit worker's schema: at claim/) as string })
  const right = decide({ claim: 'a person says so' })
  await world.settled()
  expect(await right).toMatchObject({ decision: { approved: true, by: 'zed', output: { claim: 'a person says so' } } })
  // What would judge it is stopped, too.
  expect(await actor('a').output({ deadlineMs: 1 })).toMatchObject({ outcome: 'failed', givenBy: 'person/zed', failure: { message: expect.stringContaining('ann has stopped') as string } })
  await world.stop()
})

test('the action that ends a run does not begin when its tenant is stopped, and may be tried again when it is not', async () => {
  const Any = z.looseObject({})
  const client = functionModel(({ task }) => ((task as { agent: string }).agent === 'planner' ? { steps: [{ n: 1 }] } : {}))
  const agent = (name: string) => defineAgent({ name, input: Any, output: Any, model: modelOf(client, 'm'), prompt: () => ({ messages: [] }) })
  let posted = 0
  const job = defineRun({ name: 'job', crew: { planner: agent('planner'), worker: agent('worker'), writer: agent('writer') }, action: () => ({ name: 'post', input: {} }), externalActions: { post: { input: Any, run: () => ++posted } }, approval: () => ({ why: 'so' }) })
  let mesh: Mesh
  const world = new World({ create: (given) => (mesh = createMesh({ ...given, runs: [job] })) })
  await world.start()
  const run = await mesh!.run(job, { id: 'r', goal: 'why', tenant: 'acme' })
  await world.advance(60_000)
  const change = async (work: Promise<void>): Promise<void> => {
    await world.advance(1_000)
    await work
  }
  await change(mesh!.policies.stop({ scope: 'tenant', name: 'acme' }, { by: 'ann', why: 'unpaid' }))
  await run.approve({ by: 'bob' })
  await world.settled()
  expect(await run.status()).toMatchObject({ state: 'failed', mayRetry: true, failure: { reason: 'action', message: 'ann has stopped the calls of tenant acme: unpaid' } })
  expect(posted).toBe(0)
  await change(mesh!.policies.resume({ scope: 'tenant', name: 'acme' }))
  await run.retry({ by: 'bob' })
  await world.settled()
  expect(await run.status()).toMatchObject({ state: 'done', published: 1 })
  await world.stop()
})

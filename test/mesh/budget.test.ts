/** The budget of a run and of its tenant: what is drawn, refused, waited for, warned of, asked for and given back. */
import fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, modelOf, type Ceiling, type Mesh, type PolicyOptions, type RunBudget, type RunDefinition, type RunHandle, type RunStatus } from '../../src/index.js'
import { serve, windowEnd, type BudgetContext, type BudgetPolicy } from '../../src/machines/budget.machine.js'
import { dateText, dayEnd, isDateText, monthEnd } from '../../src/machines/calendar.js'
import { newWarnings, nothing, openLedger, unbounded, type Amounts } from '../../src/machines/ledger.js'
import { leftOf } from '../../src/machines/run.machine.js'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { World } from '../../src/testing/index.js'
import { functionModel } from '../support/function-model.js'

const Any = z.looseObject({})
const day = 86_400_000

interface Given {
  readonly budget?: RunBudget
  readonly tenant?: Exclude<Exclude<PolicyOptions['tenants'], undefined>[string]['budget'], undefined>
  /** Names of agents whose first answer takes that long, ms. */
  readonly slow?: Readonly<Record<string, number>>
  /** Takes the price of its model away. */
  readonly isUnpriced?: boolean
  readonly workingMax?: number
}

class Stage {
  readonly world: World
  readonly asked: string[] = []
  readonly research: RunDefinition
  mesh!: Mesh

  constructor({ budget, tenant, slow = {}, isUnpriced = false, workingMax = 8 }: Given) {
    const client = functionModel(async ({ task, model }) => {
      const { agent } = task as { agent: string }
      this.asked.push(`${agent} ${model}`)
      await this.world.sleep(slow[agent] ?? 10)
      return agent === 'planner' ? { steps: [{ q: 1 }, { q: 2 }] } : { text: 'x'.repeat(90) }
    })
    const price = isUnpriced ? undefined : { input: 0, output: 10 }
    const common = { input: Any, model: modelOf(client, 'dear', price), prompt: () => ({ messages: [] }), completionTokensMax: 1_000 }
    const planner = defineAgent({ ...common, name: 'planner', output: z.object({ steps: z.array(Any) }) })
    const worker = defineAgent({ ...common, name: 'worker', output: z.object({ text: z.string() }) })
    const writer = defineAgent({ ...common, name: 'writer', output: z.object({ text: z.string() }) })
    this.research = defineRun({ name: 'research', crew: { planner, worker, writer }, replansMax: 0, supervisor: { workingMax }, ...(budget ? { budget } : {}) })
    this.world = new World({
      create: (given) => (this.mesh = createMesh({ ...given, runs: [this.research], policies: { agents: { '*': { deadlineMs: 30 * day } }, ...(tenant === undefined ? {} : { tenants: { acme: { budget: tenant } } }) } })),
    })
    stages.push(this)
  }

  async run(id: string, ceiling: Ceiling = {}, tenant = 'acme'): Promise<RunHandle> {
    if (!this.world.alive) await this.world.start()
    return this.mesh.run(this.research, { id, goal: 'why', ceiling, tenant })
  }

  async status(id: string): Promise<RunStatus> {
    return (await this.mesh.handle(this.research, id).status())!
  }

  async after(ms: number, id: string): Promise<RunStatus> {
    await this.world.advance(ms)
    return this.status(id)
  }
}

const stages: Stage[] = []
afterEach(async () => {
  for (const { world } of stages.splice(0)) await world.stop()
})

test('a run draws its ceiling from its tenant, gives back what it did not use, and is refused when too little is left', async () => {
  const stage = new Stage({ tenant: { calls: 12 } })
  await stage.run('a', { calls: 8 })
  expect(await stage.after(1_000, 'a')).toMatchObject({ state: 'done', spent: { calls: 4 }, ceiling: { calls: 8 } })
  expect(await stage.mesh.budget('acme')).toMatchObject({ received: { calls: 12 }, free: { calls: 8 }, spent: { calls: 4 }, allotted: { calls: 0 }, runs: [], waiting: [], totals: { allotted: { calls: 8 }, givenBack: { calls: 4 }, spent: { calls: 4 } } })
  await stage.run('b', { calls: 9 })
  const refused = await stage.after(1_000, 'b')
  expect(refused).toMatchObject({ state: 'failed', failure: { reason: 'budget', message: "it wants 9 calls, and 8 calls of its tenant's budget is left" } })
  expect(stage.asked).toHaveLength(4)
  // One without a ceiling of its own draws a tenth, at least one call; what another tenant has is its own.
  await stage.run('c')
  expect(await stage.after(1_000, 'c')).toMatchObject({ ceiling: { calls: 2 } })
  await stage.run('d', {}, 'other')
  expect(await stage.after(1_000, 'd')).toMatchObject({ state: 'done' })
  // Asked for again it is the same run, also if its tenant has another budget by now.
  const changed = stage.mesh.policies.set(null, { by: 'ann' })
  await stage.world.advance(2_000)
  await changed
  await stage.run('a', { calls: 8 })
})

test('more than the budget is in all is refused, also where runs wait', async () => {
  const stage = new Stage({ tenant: { calls: 12, usd: 1, whenSpent: 'wait' } })
  await stage.run('a', { calls: 13 })
  expect(await stage.after(1_000, 'a')).toMatchObject({ state: 'failed', failure: { reason: 'budget', message: expect.stringContaining("its tenant's budget is $1, 12 calls in all") as string } })
})

test('a run waits in line until another gives back, over a crash, and not for ever', async () => {
  const stage = new Stage({ tenant: { calls: 14, whenSpent: 'wait', waitMs: 60_000 }, slow: { writer: 20_000 } })
  await stage.run('a', { calls: 10 })
  await stage.run('b', { calls: 8 })
  await stage.run('c', { calls: 2 })
  expect(await stage.after(5_000, 'b')).toMatchObject({ state: 'funding', ceiling: { calls: 8 } })
  // Nobody overtakes, although there would be enough for it.
  expect((await stage.status('c')).state).toBe('funding')
  expect(await stage.mesh.budget('acme')).toMatchObject({ runs: ['research/a'], waiting: ['research/b', 'research/c'] })
  stage.world.crash()
  await stage.world.start()
  await stage.world.advance(60_000)
  expect((await stage.status('a')).state).toBe('done')
  expect((await stage.status('b')).state).toBe('done')
  await stage.run('d', { calls: 14 })
  expect(await stage.after(50_000, 'd')).toMatchObject({ state: 'funding' })
  expect(await stage.after(20_000, 'd')).toMatchObject({ state: 'failed', failure: { reason: 'budget', message: "there was too little of its tenant's budget for 60000 ms" } })
  expect(await stage.mesh.budget('acme')).toMatchObject({ runs: [], waiting: [] })
})

test('who waits is served when the budget is raised', async () => {
  const stage = new Stage({ tenant: { calls: 5, whenSpent: 'wait' } })
  await stage.run('a', { calls: 5 })
  await stage.after(1_000, 'a')
  await stage.run('b', { calls: 5 })
  expect(await stage.after(1_000, 'b')).toMatchObject({ state: 'funding' })
  const raised = stage.mesh.policies.set({ tenants: { acme: { budget: { calls: 20 } } } }, { by: 'ann' })
  await stage.world.advance(2_000)
  await raised
  expect(await stage.after(65_000, 'b')).toMatchObject({ state: 'done' })
})

test('a new day has a budget of its own, of which counts what runs still hold of the day before', async () => {
  const stage = new Stage({ tenant: { calls: 12, per: 'day' }, slow: { writer: 2 * day } })
  await stage.run('a', { calls: 8 })
  await stage.world.advance(1_000)
  await stage.run('b', { calls: 8 })
  expect((await stage.after(1_000, 'b')).failure?.message).toMatch(/^it wants 8 calls, and 4 calls of its tenant's budget is left, and there is more on 1970-01-02$/)
  await stage.world.advance(day)
  await stage.run('c', { calls: 8 })
  expect((await stage.after(1_000, 'c')).failure?.message).toMatch(/and 4 calls of its tenant's budget is left, and there is more on 1970-01-03/)
  expect(await stage.mesh.budget('acme')).toMatchObject({ received: { calls: 12 }, allotted: { calls: 8 }, spent: { calls: 0 } })
  await stage.world.advance(3 * day)
  await stage.run('d', { calls: 8 })
  await stage.world.advance(1_000)
  expect(await stage.mesh.budget('acme')).toMatchObject({ received: { calls: 12 }, allotted: { calls: 8 }, spent: { calls: 0 }, totals: { allotted: { calls: 16 } } })
})

test('the calendar is the one of everybody else', () => {
  fc.assert(
    fc.property(fc.date({ min: new Date('1600-01-01'), max: new Date('3000-01-01'), noInvalidDate: true }), (date) => {
      const at = date.getTime()
      expect(dateText(at)).toBe(date.toISOString().slice(0, 10))
      expect(dayEnd(at)).toBe(Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate() + 1))
      expect(monthEnd(at)).toBe(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1))
    }),
    { numRuns: 1_000 },
  )
  expect(['2024-02-29', '2023-02-29', '2024-13-01', '2024-00-10', '2024-04-31', '2024-4-1', ''].map(isDateText)).toEqual([true, false, false, false, false, false, false])
})

test('windows end with the calendar day or month, UTC', () => {
  const at = Date.UTC(2024, 1, 29, 23, 59, 59, 999)
  expect([windowEnd('day', at), windowEnd('day', at + 1), windowEnd('month', at), windowEnd('month', Date.UTC(2024, 11, 5)), windowEnd('all', at)]).toEqual([at + 1, at + 1 + day, at + 1, Date.UTC(2025, 0), null])
})

test('a cancelled run gives back all but what its calls cost; one under way counts in full', async () => {
  const stage = new Stage({ tenant: { calls: 12, usd: 1 }, slow: { worker: 5_000 } })
  const run = await stage.run('a', { calls: 12, usd: 1 })
  expect(await stage.after(1_000, 'a')).toMatchObject({ state: 'working' })
  await run.cancel('ann')
  const ended = await stage.after(1_000, 'a')
  expect(ended).toMatchObject({ state: 'failed', failure: { reason: 'cancelled' } })
  // The plan cost what it cost, two workers had a call under way each, of 1,000 tokens at 10 dollars a million.
  const planned = ended.members[0]!.spent.nanoDollars
  expect(planned).toBeLessThan(10_000_000)
  expect(await stage.mesh.budget('acme')).toMatchObject({ free: { calls: 9 }, spent: { calls: 3, nanoDollars: planned + 20_000_000 }, runs: [] })
})

test('what was granted to an agent that had not begun when its run was cancelled comes back', async () => {
  const stage = new Stage({ tenant: { calls: 12, usd: 1 }, slow: { worker: 5_000 }, workingMax: 1 })
  const run = await stage.run('a', { calls: 12, usd: 1 })
  await stage.world.advance(1_000)
  await run.cancel('ann')
  const { members } = await stage.after(1_000, 'a')
  expect(members.map(({ id, spent }) => [id, spent.calls])).toEqual([['plan', 1], ['step-1', 1], ['step-2', 0]])
  expect(await stage.mesh.budget('acme')).toMatchObject({ free: { calls: 10 }, spent: { calls: 2 } })
})

test('what an agent was granted that never reached it is left', () => {
  const calls = (n: number): Amounts => ({ ...nothing, calls: n })
  expect(leftOf(calls(10), { unspent: calls(3), received: calls(7) })).toEqual(calls(6))
  expect(leftOf(calls(10), { unspent: calls(3), received: calls(10) })).toEqual(calls(3))
  // A machine that stands in for an agent need not say what it had.
  expect([leftOf(calls(10), { unspent: calls(3) }), leftOf(calls(10), undefined)]).toEqual([calls(3), nothing])
})

test('what a run was given that nobody wanted any more when it came is taken back', async () => {
  const stage = new Stage({ tenant: { calls: 12 } })
  const run = await stage.run('a', { calls: 12 })
  // Its draw is under way.
  await run.cancel('ann')
  expect(await stage.after(1_000, 'a')).toMatchObject({ state: 'failed', spent: nothing })
  expect(await stage.mesh.budget('acme')).toMatchObject({ free: { calls: 12 }, runs: [], waiting: [] })
  expect(stage.asked).toEqual([])
})

test('what a run held whose actor was stopped from without comes back when it is looked at', async () => {
  const stage = new Stage({ tenant: { calls: 12 }, slow: { planner: 5_000 } })
  await stage.run('a', { calls: 12 })
  await stage.world.advance(1_000)
  await stage.mesh.system.actorAt('research/a' as never).stop()
  await stage.world.advance(1_000)
  expect(await stage.mesh.budget('acme')).toMatchObject({ allotted: { calls: 12 } })
  await stage.world.advance(601_000)
  // Its planner held all of it, and may have spent it.
  expect(await stage.mesh.budget('acme')).toMatchObject({ allotted: { calls: 0 }, spent: { calls: 12 }, runs: [] })
})

test('each share of a ceiling is warned of once, while agents are at work, and stays on record', async () => {
  const stage = new Stage({ budget: { warnAt: [0.25, 0.5, 0.75] }, slow: { writer: 30_000 } })
  await stage.run('a', { calls: 8 })
  await stage.world.advance(10_000)
  expect((await stage.status('a')).warnings).toEqual([{ kind: 'calls', share: 0.25, spent: 2, of: 8 }])
  stage.world.crash()
  await stage.world.start()
  const seen: number[] = []
  const progress = (async () => {
    for await (const { warnings } of stage.mesh.handle(stage.research, 'a').progress()) seen.push(warnings.length)
  })()
  expect(await stage.after(60_000, 'a')).toMatchObject({ state: 'done', spent: { calls: 5 }, warnings: [{ share: 0.25 }, { share: 0.5, spent: 4 }] })
  expect(await stage.mesh.handle(stage.research, 'a').warnings()).toEqual([
    { kind: 'calls', share: 0.25, spent: 2, of: 8, at: expect.any(Number) as number },
    { kind: 'calls', share: 0.5, spent: 4, of: 8, at: expect.any(Number) as number },
  ])
  await progress
  expect([seen.at(0), seen.at(-1)]).toEqual([1, 2])
  expect(newWarnings([0.5, 1], { ...nothing, calls: 4, tokens: 2 }, { calls: 4, tokens: 4, nanoDollars: 0 }, [{ kind: 'calls', share: 0.5, spent: 2, of: 4 }])).toEqual([
    { kind: 'tokens', share: 0.5, spent: 2, of: 4 },
    { kind: 'calls', share: 1, spent: 4, of: 4 },
  ])
})

test('with degrade, what the dear model would cost beyond the grant is asked of a cheaper one', async () => {
  const cheap = modelOf(functionModel(({ task }) => ((task as { agent: string }).agent === 'planner' ? { steps: [{ q: 1 }] } : { text: 'so' }), 'thrifty'), 'small', { input: 0, output: 0.1 })
  const stage = new Stage({ budget: { whenSpent: 'degrade', degradeTo: cheap } })
  // 10 million nano-dollars a call of the dear one: the plan is covered, and no share after it.
  const run = await stage.run('a', { usd: 0.012 })
  expect(await stage.after(5_000, 'a')).toMatchObject({ state: 'done', unanswered: [] })
  // What is left at the end covers the dear one again.
  expect(stage.asked).toEqual(['planner dear', 'writer dear'])
  expect((await run.trace()).map(({ model }) => model)).toEqual(['test/dear', 'thrifty/small', 'thrifty/small', 'test/dear'])
})

test('with ask, a person gives more: what waits survives a crash and goes on', async () => {
  const stage = new Stage({ budget: { whenSpent: 'ask', more: { calls: 2 }, askDeadlineMs: day } })
  const run = await stage.run('a', { calls: 1 })
  const waiting = await stage.after(5_000, 'a')
  expect(waiting).toMatchObject({ state: 'working', spent: { calls: 1 }, ceiling: { calls: 1 }, topUp: { decision: null } })
  stage.world.crash()
  await stage.world.start()
  await stage.world.advance(3_600_000)
  const handle = stage.mesh.handle(stage.research, 'a')
  const [asked] = await handle.pending()
  expect(asked).toMatchObject({ address: 'research/a', why: 'the budget is used up: step-1 cannot go on without more', output: { run: 'a', spent: { calls: 1 }, of: { calls: 1 }, more: { calls: 2, tokens: 0, nanoDollars: 0 }, agents: ['step-1'] } })
  await expect(handle.approve({ by: 'eve', digest: 'another' })).rejects.toThrow(/asks for a decision on/)
  expect(await handle.approve({ by: 'ann', digest: asked!.digest })).toMatchObject({ approved: true, by: 'ann', digest: asked!.digest })
  expect(await stage.after(5_000, 'a')).toMatchObject({ state: 'synthesising', ceiling: { calls: 3 }, spent: { calls: 3 } })
  await handle.approve({ by: 'ann' })
  expect(await stage.after(5_000, 'a')).toMatchObject({ state: 'done', ceiling: { calls: 5 }, spent: { calls: 4 }, topUp: null })
  expect(stage.asked).toHaveLength(4)
  expect(run.id).toBe('a')
})

test.each([
  ['says no', async (run: RunHandle) => void (await run.reject({ by: 'ann', note: 'enough' }))],
  ['says nothing', async () => {}],
] as const)('with ask, if the person %s there is no more, and nobody is asked again', async (_, decide) => {
  const stage = new Stage({ budget: { whenSpent: 'ask', more: { calls: 2 }, askDeadlineMs: 60_000 } })
  const run = await stage.run('a', { calls: 1 })
  await stage.world.advance(5_000)
  await decide(run)
  expect(await stage.after(61_000, 'a')).toMatchObject({ state: 'failed', spent: { calls: 1 }, failure: { reason: 'report' }, topUp: null })
  expect(await run.pending()).toEqual([])
})

test('what a person gives comes out of the budget of the tenant, and no further', async () => {
  const stage = new Stage({ tenant: { calls: 3 }, budget: { whenSpent: 'ask', more: { calls: 2 } } })
  const run = await stage.run('a', { calls: 1 })
  await stage.world.advance(5_000)
  await run.approve({ by: 'ann' })
  expect(await stage.after(5_000, 'a')).toMatchObject({ state: 'synthesising', ceiling: { calls: 3 } })
  await run.approve({ by: 'ann' })
  expect(await stage.after(5_000, 'a')).toMatchObject({ state: 'failed', spent: { calls: 3 } })
  expect(await stage.mesh.budget('acme')).toMatchObject({ free: { calls: 0 }, spent: { calls: 3 }, runs: [] })
})

test('a run that ended while it waited in line holds up nobody', async () => {
  const stage = new Stage({ tenant: { calls: 12, whenSpent: 'wait', waitMs: 30 * day }, slow: { writer: day } })
  await stage.run('a', { calls: 8 })
  await stage.world.advance(1_000)
  await stage.run('b', { calls: 8 })
  await stage.run('c', { calls: 4 })
  await stage.world.advance(1_000)
  expect((await stage.mesh.budget('acme'))?.waiting).toEqual(['research/b', 'research/c'])
  await stage.mesh.system.actorAt('research/b' as never).stop()
  expect(await stage.after(120_000, 'c')).toMatchObject({ state: 'synthesising' })
  expect(await stage.mesh.budget('acme')).toMatchObject({ runs: ['research/a', 'research/c'], waiting: [] })
})

test('under a ceiling of money also agents that are only named must have a price', async () => {
  const client = functionModel(() => ({ text: 'so' }))
  const common = { input: Any, output: z.object({ text: z.string() }), prompt: () => ({ messages: [] }) }
  const priced = defineAgent({ ...common, name: 'priced', model: modelOf(client, 'm', { input: 1, output: 1 }) })
  const judge = defineAgent({ ...common, name: 'judge', model: modelOf(client, 'judge') })
  const judged = defineAgent({ ...common, name: 'judged', model: modelOf(client, 'm', { input: 1, output: 1 }), verifyWith: 'judge' })
  const named = defineRun({ name: 'named', crew: { planner: priced, worker: 'judged', writer: priced } })
  const mesh = await createMesh({ store: new MemoryStore(), agents: [judged, judge], runs: [named] }).start()
  await expect(mesh.run(named, { goal: 'why', ceiling: { usd: 1 } })).rejects.toThrow('Agent judge uses model test/judge, whose price is not known')
  await mesh.stop()
})

test('a model without a price is refused where the tenant has a budget of money', async () => {
  const stage = new Stage({ tenant: { usd: 1 }, isUnpriced: true })
  await expect(stage.run('a')).rejects.toThrow('Agent planner uses model test/dear, whose price is not known, so no ceiling of money could hold.')
})

test.each([
  [{ calls: -1 }, /tenants\.acme\.budget\.calls/],
  [{ per: 'week' }, /tenants\.acme\.budget\.per/],
  [{ warnAt: [0] }, /tenants\.acme\.budget\.warnAt/],
  [{ dollars: 1 }, /tenants\.acme\.budget\.dollars: there is no such policy or figure/],
])('a budget that cannot be is refused with its place: %j', (budget, message) => {
  expect(() => createMesh({ store: new MemoryStore(), policies: { tenants: { acme: { budget: budget as never } } } })).toThrow(message)
})

test.each([
  [{ warnAt: [1.5] }, /budget\.warnAt/],
  [{ whenSpent: 'degrade' }, /budget\.degradeTo/],
  [{ whenSpent: 'ask' }, /budget\.more/],
  [{ more: { calls: 1 } }, /budget\.more/],
])('a declaration that cannot be is refused: %j', (budget, message) => {
  expect(() => new Stage({ budget: budget as never })).toThrow(message)
})

const policy: BudgetPolicy = { limits: { ...unbounded, calls: 10 }, per: 'all', perRun: unbounded, whenSpent: 'wait', waitMs: 1_000, warnAt: [] }

test('of what is not limited a run is given all that it wants, and nothing of it counts', () => {
  const context: BudgetContext = { policy, windowEndsAt: null, at: 0, ledger: openLedger({ ...nothing, calls: 10 }), allotments: {}, waiting: [{ run: 'run/a', draw: 1, wanted: { ...unbounded, calls: 4 }, isTold: false }], warnings: [], totals: { allotted: nothing, givenBack: nothing, spent: nothing }, isReview: false }
  const { context: after, answers } = serve(context)
  expect(answers).toEqual([{ run: 'run/a', answer: { type: 'budget.granted', draw: 1, amounts: { ...unbounded, calls: 4 } } }])
  expect(after.ledger).toMatchObject({ free: { ...nothing, calls: 6 }, granted: { 'run/a': { ...nothing, calls: 4 } } })
})

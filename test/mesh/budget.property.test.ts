/**
 * I7 over the whole tree, tenant -> run -> agent -> call: runs of one tenant side by side, with retries, cheaper models,
 * verifiers, judges, top-ups by a person and cancellations, killed before or after any durable writes. The witness is the
 * model, which counts what it was asked and what that costs: never more than the run's ceiling, nor than the tenant's
 * budget. In the end nothing has leaked: at each level, what was allotted is what was spent and what was given back.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, isBalanced, modelOf, ModelError, nothing, type Amounts, type Ledger, type Member, type Mesh, type RunDefinition, type RunStatus } from '../../src/index.js'
import type { BudgetContext } from '../../src/machines/budget.machine.js'
import type { RunContext } from '../../src/machines/run.machine.js'
import { minus, plus, sum } from '../../src/machines/ledger.js'
import { World, type Fault } from '../../src/testing/index.js'
import { extent, firstSeed, isChosen } from '../support/extent.js'
import { functionModel } from '../support/function-model.js'

const cases = extent(15, 10_000)

type Fate = 'ok' | 'busy' | 'cut' | 'declined' | 'slow'
interface Scenario {
  readonly fates: readonly Fate[]
  /** For each run: its ceiling of calls, if it has one, whether it is cancelled and when, and what happens at the end of its budget. */
  readonly runs: readonly { readonly calls: number | null; readonly cancelAt: number | null; readonly kind: 'stop' | 'degrade' | 'ask' }[]
  readonly says: 'yes' | 'no'
  readonly steps: number
  readonly verify: 'critic' | 'rederivation' | 'nobody'
  readonly tenant: { readonly calls: number; readonly perRun: number; readonly whenSpent: 'refuse' | 'wait' }
  readonly faults: readonly { readonly at: number; readonly when: 'kill-before' | 'kill-after' }[]
}
const scenarios: fc.Arbitrary<Scenario> = fc.record({
  fates: fc.array(fc.constantFrom<Fate>('ok', 'ok', 'busy', 'cut', 'declined', 'slow'), { maxLength: 12 }),
  runs: fc.array(fc.record({ calls: fc.option(fc.integer({ min: 2, max: 16 })), cancelAt: fc.oneof({ weight: 3, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: fc.integer({ min: 0, max: 3 }) }), kind: fc.constantFrom<'stop' | 'degrade' | 'ask'>('stop', 'degrade', 'ask') }), { minLength: 1, maxLength: 3 }),
  says: fc.constantFrom<'yes' | 'no'>('yes', 'yes', 'no'),
  steps: fc.integer({ min: 1, max: 3 }),
  verify: fc.constantFrom<'critic' | 'rederivation' | 'nobody'>('critic', 'rederivation', 'nobody'),
  tenant: fc.record({ calls: fc.integer({ min: 2, max: 40 }), perRun: fc.integer({ min: 1, max: 12 }), whenSpent: fc.constantFrom<'refuse' | 'wait'>('refuse', 'wait') }),
  faults: fc.array(fc.record({ at: fc.integer({ min: 1, max: 70 }), when: fc.constantFrom<'kill-before' | 'kill-after'>('kill-before', 'kill-after') }), { minLength: 1, maxLength: 4 }),
})

const Any = z.looseObject({})
/** Nano-dollars that a call of either model costs at most: 1,000,000 tokens at so many dollars a million. */
const price = { dear: { input: 0, output: 3 }, cheap: { input: 0, output: 1 } }
const completionTokensMax = 1_000
const worst = { dear: 3_000_000, cheap: 1_000_000 }

interface Bill {
  calls: number
  nanoDollars: number
}

interface Seen {
  readonly deaths: number
  readonly requests: number
  readonly topUps: number
  readonly done: number
  /** Runs that got nothing of their tenant's budget. */
  readonly unfunded: number
  readonly warnings: number
}

async function play({ fates, runs, says, steps, verify, tenant, faults }: Scenario): Promise<Seen> {
  const billed = new Map<string, Bill>()
  let asked = 0
  let world: World
  const client = functionModel(async ({ task, model, messages }) => {
    const { agent, input } = task as { agent: string; input: { kind?: string; step?: string; output?: unknown } }
    const run = messages[0]!.content.split(' ')[0]!
    const bill = billed.get(run) ?? { calls: 0, nanoDollars: 0 }
    billed.set(run, bill)
    const fate = fates[asked++] ?? 'ok'
    bill.calls++
    if (fate === 'busy') throw new ModelError('overloaded', 'busy', { retryable: true })
    // From here on the provider has worked, and wants its money, whoever hears the answer.
    const answer = JSON.stringify(agent === 'planner' ? { steps: input.kind === 'plan' ? Array.from({ length: steps }, (_, i) => ({ q: i })) : [{ q: 'again' }] } : agent === 'critic' ? { accepted: fate !== 'declined', reasons: [], explanation: 'so', confidence: { value: 1, source: 'rule' }, by: 'critic' } : { text: 'so' })
    bill.nanoDollars += (fate === 'cut' ? completionTokensMax : answer.length) * (model === 'cheap' ? 1_000 : 3_000)
    if (fate === 'slow') await world.sleep(3_000)
    if (fate === 'cut') throw new ModelError('connection', 'cut', { retryable: true })
    if (fate === 'declined' && agent !== 'critic') throw new ModelError('invalid-request', 'no', { retryable: false })
    return answer
  })
  const [dear, spare, cheap] = [modelOf(client, 'dear', price.dear), modelOf(client, 'spare', price.dear), modelOf(client, 'cheap', price.cheap)]
  const common = { input: Any, model: verify === 'nobody' ? [dear, spare] : dear, prompt: ({ goal, input }: { goal: { text: string }; input: unknown }) => ({ messages: [{ role: 'user' as const, content: `${goal.text} ${JSON.stringify(input)}` }] }), completionTokensMax }
  const planner = defineAgent({ ...common, name: 'planner', output: z.object({ steps: z.array(Any) }) })
  const worker = defineAgent({
    ...common,
    name: 'worker',
    output: z.object({ text: z.string() }),
    ...(verify === 'critic' ? { verifyWith: 'critic' } : verify === 'rederivation' ? { verifyWith: { strategy: 'rederivation' as const, times: 1 } } : {}),
  })
  const critic = defineAgent({ ...common, name: 'critic', output: Any })
  const writer = defineAgent({ ...common, name: 'writer', output: z.object({ text: z.string() }) })
  const kinds = Object.fromEntries(
    (['stop', 'degrade', 'ask'] as const).map((whenSpent): [string, RunDefinition] => [
      whenSpent,
      defineRun({
        name: whenSpent,
        crew: { planner, worker, checker: critic, writer },
        supervisor: { workingMax: 2, waitingMax: 1 },
        replansMax: 1,
        budget: { whenSpent, ...(whenSpent === 'degrade' ? { degradeTo: cheap } : {}), ...(whenSpent === 'ask' ? { more: { calls: 2, usd: 0.006 }, askDeadlineMs: 3_600_000 } : {}) },
      }),
    ]),
  )
  const limit = { calls: tenant.calls, usd: (tenant.calls * worst.dear) / 1e9 }
  let mesh: Mesh | undefined
  world = new World({
    suspectMax: Infinity,
    shards: 2,
    create: (given) =>
      (mesh = createMesh({
        ...given,
        agents: [planner, worker, critic, writer],
        runs: Object.values(kinds),
        history: false,
        policies: { tenants: { acme: { budget: { ...limit, perRun: { calls: tenant.perRun, usd: (tenant.perRun * worst.dear) / 1e9 }, whenSpent: tenant.whenSpent, waitMs: 60_000 } } }, agents: { '*': { retry: { attemptsMax: 3, backoff: { firstMs: 500, jitter: 0 } } } } },
      })),
    onWrite: ({ index }): Fault | undefined => faults.find(({ at }) => at === index)?.when,
  })
  const alive = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    let isOver = false
    const result = work().then((value) => ((isOver = true), value), () => ((isOver = true), undefined))
    while (!isOver && world.alive && (await world.settled())) await world.advance(0)
    return isOver ? result : undefined
  }
  const goalOf = (i: number): string => `goal-${i}`
  const ended = new Map<number, RunStatus>()
  let topUps = 0
  for (let life = 0; life < 300 && ended.size < runs.length; life++) {
    if (!world.alive && !(await world.start())) continue
    // All at once, so that what one does meets what another has under way.
    await alive(() =>
      Promise.all(
        runs.map(async ({ calls, cancelAt, kind }, i) => {
          if (ended.has(i)) return
          const ceiling = calls === null ? {} : { calls, usd: (calls * worst.dear) / 1e9 }
          const run = await mesh!.run(kinds[kind]!, { id: `r-${i}`, goal: goalOf(i), ceiling, tenant: 'acme' })
          const status = await run.status()
          if (!status) return
          if (status.state === 'done' || status.state === 'failed') return void ended.set(i, status)
          const decide = async (): Promise<void> => {
            if (!status.topUp || status.topUp.decision) return
            const isMore = says === 'yes' && topUps < 6
            if (isMore) topUps++
            await (isMore ? run.approve({ by: 'ann', deadlineMs: 60_000 }) : run.reject({ by: 'ann', deadlineMs: 60_000 }))
          }
          await Promise.allSettled([decide(), cancelAt !== null && life >= cancelAt ? run.cancel('ann') : undefined])
        }),
      ),
    )
    await spendIsCovered()
    if (world.alive) await world.advance(life < 6 ? 1_000 : 20_000)
  }
  expect([...ended.keys()].sort(), 'every run ends').toEqual(runs.map((_, i) => i))
  if (!world.alive) await world.start()
  // What was sent last arrives; whoever died over it is looked at.
  for (let i = 0; i < 5 && (!world.alive || !(await world.advance(700_000))); i++) if (!world.alive) await world.start()
  await spendIsCovered()
  await nothingLeaked()
  await world.stop()
  const states = [...ended.values()]
  return { deaths: world.generation - 1, requests: client.requests.length, topUps, done: states.filter(({ state }) => state === 'done').length, unfunded: states.filter(({ failure }) => failure?.reason === 'budget').length, warnings: states.reduce((count, { warnings }) => count + warnings.length, 0) }

  async function contextOf<T>(address: string): Promise<T | undefined> {
    const snapshot = await alive(() => mesh!.system.actorAt(address as never).snapshot())
    return (snapshot as unknown as { context: T } | undefined)?.context
  }

  /** The witness: what was asked and what it costs is within the ceiling of the run and the budget of the tenant. */
  async function spendIsCovered(): Promise<void> {
    const all = [...billed.values()]
    expect(all.reduce((total, { calls }) => total + calls, 0)).toBeLessThanOrEqual(limit.calls)
    expect(all.reduce((total, { nanoDollars }) => total + nanoDollars, 0)).toBeLessThanOrEqual(limit.usd * 1e9)
    for (const [i, { kind, calls }] of runs.entries()) {
      const bill = billed.get(goalOf(i))
      if (!bill || !world.alive) continue
      const run = await contextOf<RunContext>(`${kind}/r-${i}`)
      if (!run) continue
      expect(isBalanced(run.ledger), `run ${i}`).toBe(true)
      expect(bill.calls, `run ${i}`).toBeLessThanOrEqual(run.ledger.received.calls)
      expect(bill.nanoDollars, `run ${i}`).toBeLessThanOrEqual(run.ledger.received.nanoDollars)
      if (kind !== 'ask') expect(run.ledger.received.calls).toBeLessThanOrEqual(calls ?? tenant.perRun)
    }
    const budget = world.alive ? await contextOf<BudgetContext>('budget/acme') : undefined
    if (budget) expect(isBalanced(budget.ledger)).toBe(true)
  }

  /** At each level of the tree, what was allotted is what was spent and what was given back. */
  async function nothingLeaked(): Promise<void> {
    const budget = (await contextOf<BudgetContext>('budget/acme'))!
    const { totals, ledger } = budget
    expect({ allotments: budget.allotments, waiting: budget.waiting, granted: ledger.granted }).toEqual({ allotments: {}, waiting: [], granted: {} })
    const limited = ({ calls, nanoDollars }: Amounts): Pick<Amounts, 'calls' | 'nanoDollars'> => ({ calls, nanoDollars })
    expect(limited(minus(totals.allotted, totals.givenBack))).toEqual(limited(ledger.spent))
    let ofRuns = nothing
    for (const [i, { kind }] of runs.entries()) {
      const run = (await contextOf<RunContext>(`${kind}/r-${i}`))!
      expect(isBalanced(run.ledger)).toBe(true)
      expect({ granted: run.ledger.granted, reserved: run.ledger.reserved, overrun: run.ledger.overrun }, `run ${i}`).toEqual({ granted: {}, reserved: {}, overrun: nothing })
      ofRuns = plus(ofRuns, run.ledger.spent)
      expect(sum(run.members.map(({ spent }: Member) => spent)), `run ${i}`).toEqual(run.ledger.spent)
      for (const { machine, id, spent, startedAt } of run.members) {
        // Its start may not have been told before its run was cancelled.
        const agent = await contextOf<{ ledger: Ledger }>(`${machine}/r-${i}~${id}`)
        if (!agent && startedAt === null) expect(spent, `run ${i} ${id}`).toEqual(nothing)
        if (!agent) continue
        expect(isBalanced(agent.ledger)).toBe(true)
        // What is held for a call that was cut short counts as spent.
        expect(minus(agent.ledger.received, agent.ledger.free), `run ${i} ${id}`).toEqual(spent)
      }
    }
    expect(limited(ofRuns)).toEqual(limited(ledger.spent))
  }
}

test(`what runs of one tenant spend side by side, killed at any write, is within each ceiling, and nothing leaks [${cases} cases, seed ${firstSeed}]`, async () => {
  const total = { deaths: 0, requests: 0, topUps: 0, done: 0, unfunded: 0, warnings: 0 }
  await fc.assert(
    fc.asyncProperty(scenarios, async (scenario) => {
      const seen = await play(scenario)
      for (const key of Object.keys(total) as (keyof Seen)[]) total[key] += seen[key]
    }),
    { seed: firstSeed, numRuns: cases },
  )
  console.log(`budgets: ${cases} races:`, JSON.stringify(total))
  if (isChosen) return
  expect(total.deaths).toBeGreaterThan(cases / 2)
  expect(total.done).toBeGreaterThan(cases / 10)
})

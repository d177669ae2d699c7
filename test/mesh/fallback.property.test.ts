/**
 * Runs whose models cannot be had: the declared path is taken step by step, as a small model of it says, killed before or
 * after any durable writes; who stands in spends from the budget of whom it stands in for, and no money is made or lost
 * (I7). Then each actor's history is replayed.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, isBalanced, modelOf, ModelError, nothing, replay, type Ledger, type Mesh, type RunHandle, type RunStatus } from '../../src/index.js'
import { World, type Fault } from '../../src/testing/index.js'
import { extent, firstSeed } from '../support/extent.js'
import { functionModel } from '../support/function-model.js'

const runs = extent(8, 600)
const hourMs = 3_600_000
const ceiling = { tokens: 3_000_000, calls: 400, usd: 20 }
const Any = z.looseObject({})

/** Another agent that can, whose answers do not fit, or whose model cannot be had either; a person who answers, at once or after one that does not fit, declines or says nothing. */
type Step = 'able' | 'misfit' | 'broken' | 'answers' | 'corrects' | 'declines' | 'silent'
const agents: ReadonlySet<Step> = new Set<Step>(['able', 'misfit', 'broken'])
const helps: ReadonlySet<Step> = new Set<Step>(['able', 'answers', 'corrects'])
type Role = 'planner' | 'worker' | 'writer'
interface Scenario {
  readonly path: readonly Step[]
  readonly out: readonly Role[]
  readonly steps: number
  readonly workingMax: number
}

interface Task {
  readonly kind?: string
  readonly step?: string
}
const answerTo = ({ kind, step }: Task, steps: number): object => (kind === 'plan' ? { steps: Array.from({ length: steps }, (_, n) => ({ n })) } : step === undefined ? { text: 'all of it' } : { findings: [step] })

class Stage {
  readonly world: World
  readonly client
  private mesh: Mesh | undefined
  private readonly job
  private readonly scenario: Scenario
  /** Questions that were answered wrongly once. */
  private readonly corrected = new Set<string>()

  constructor(scenario: Scenario, onWrite?: (index: number) => Fault | undefined) {
    this.scenario = scenario
    this.client = functionModel(
      ({ task }) => {
        const { agent, input } = task as { agent: string; input: Task }
        if (agent === 'broken' || scenario.out.includes(agent as Role)) throw new ModelError('overloaded', 'busy', { retryable: true })
        return agent === 'misfit' ? { what: 'ever' } : answerTo(input, scenario.steps)
      },
      'far',
      false,
    )
    const spare = modelOf(this.client, 'spare', { input: 1, output: 1 })
    const prompt = ({ input }: { input: unknown }) => ({ messages: [{ role: 'user' as const, content: JSON.stringify(input) }] })
    const agent = (name: Role, output: z.ZodType) => defineAgent({ name, input: Any, output, model: modelOf(this.client, name, { input: 1, output: 1 }), prompt })
    this.job = defineRun({
      name: 'job',
      crew: { planner: agent('planner', z.object({ steps: z.array(Any) })), worker: agent('worker', z.object({ findings: z.array(z.string()) })), writer: agent('writer', z.object({ text: z.string() })) },
      supervisor: { workingMax: scenario.workingMax },
      replansMax: 0,
    })
    const generalists = (['able', 'misfit', 'broken'] as const).map((name) => defineAgent({ name, input: Any, output: Any, model: spare, prompt }))
    const fallback = scenario.path.map((step) => (agents.has(step) ? { agent: step, deadlineMs: hourMs } : { person: step, deadlineMs: step === 'silent' ? 5_000 : 24 * hourMs }))
    const retry = { attemptsMax: 2, backoff: { firstMs: 100, factor: 1, jitter: 0 } }
    this.world = new World({
      shards: 2,
      suspectMax: Infinity,
      create: (given) =>
        (this.mesh = createMesh({
          ...given,
          runs: [this.job],
          agents: generalists,
          // Some are refused by the breaker, some use their attempts up.
          policies: { agents: { '*': { retry, whenOpen: 'fail', fallback, breaker: false } }, models: { 'far/*': { breaker: { consecutiveMax: 3, openMs: 500 } }, 'far/spare': { breaker: false } } },
        })),
      ...(onWrite ? { onWrite: ({ index }) => onWrite(index) } : {}),
    })
  }

  get run(): RunHandle {
    return this.mesh!.handle(this.job, 'r')
  }

  async play(): Promise<RunStatus> {
    for (let i = 0; i < 400; i++) {
      if (!this.world.alive && !(await this.world.start())) continue
      const status = await this.alive(() => this.run.status())
      if (!this.world.alive) continue
      if (!status) await this.alive(() => this.mesh!.run(this.job, { id: 'r', goal: 'why', ceiling }))
      else if (status.state === 'done' || status.state === 'failed') return status
      else for (const question of (await this.alive(() => this.run.pending())) ?? []) if (this.world.alive) await this.decide(question)
      if (this.world.alive) await this.conserved()
      if (this.world.alive) await this.world.advance(2_000)
    }
    throw new Error('it does not end')
  }

  private async decide({ why, digest, question }: { readonly why: string; readonly digest: string; readonly question?: { readonly input: unknown } }): Promise<void> {
    const who = why.slice(0, why.indexOf(' ')) as Step
    const output = answerTo(question!.input as Task, this.scenario.steps)
    const by = { by: 'ann', digest, deadlineMs: 60_000 }
    if (who === 'declines') await this.alive(() => this.run.reject({ ...by, note: 'no time' }))
    if (who === 'corrects' && !this.corrected.has(digest)) {
      await this.alive(() => this.run.answer({ ...by, output: { what: 'ever' } }).catch(({ message }: Error) => expect(message).toMatch(/^answer: .*does not fit|asks for a decision|does not wait/)))
      this.corrected.add(digest)
    } else if (who === 'answers' || who === 'corrects') await this.alive(() => this.run.answer({ ...by, output }))
  }

  /** What a process that dies would never answer. */
  private async alive<T>(work: () => Promise<T>): Promise<T | undefined> {
    const done = work()
    let settled = false
    const result = done.then((value) => ((settled = true), value), () => ((settled = true), undefined))
    while (!settled && this.world.alive && (await this.world.settled())) await this.world.advance(0)
    return settled ? result : undefined
  }

  /** I7 over the run and all its agents, those that stand in included. */
  private async conserved(): Promise<void> {
    const { system } = this.world
    const ledgers = new Map<string, Ledger>()
    for (const { address } of (await system.find({ key: 'r' })).actors) {
      const snapshot = (await system.actorAt(address).snapshot()) as unknown as { context: { ledger: Ledger } } | undefined
      if (snapshot) ledgers.set(address, snapshot.context.ledger)
    }
    const byId = (id: string): Ledger | undefined => [...ledgers].find(([address]) => address.endsWith(`~${id}`))?.[1]
    for (const [address, ledger] of ledgers) {
      expect(isBalanced(ledger), address).toBe(true)
      expect(ledger.overrun, address).toEqual(nothing)
      const id = address.slice(address.indexOf('~') + 1)
      const [asker, standsIn] = id.split('.standIn')
      const held = standsIn === undefined ? ledgers.get('job/r')?.granted[id] : Object.entries(byId(asker!)?.reserved ?? {}).find(([attempt]) => attempt.startsWith('fallback'))?.[1]
      const isOver = standsIn !== undefined && ((await system.actorAt(address as never).snapshot()) as unknown as { status: string }).status !== 'active'
      if (held && ledger.received.calls > 0 && !isOver) expect(ledger.received, address).toEqual(held)
    }
  }

  /** Every turn comes out as it did, whatever the policies say now. */
  async replayed(): Promise<void> {
    const { system } = this.world
    for (const { address } of (await system.find({ key: 'r', limit: 1_000 })).actors) {
      const actor = system.actorAt(address)
      const { divergence, snapshot } = replay(system.machine(address.slice(0, address.indexOf('/'))), (await actor.history())!)
      expect(divergence, address).toBeUndefined()
      expect(snapshot, address).toEqual(await actor.persisted())
    }
  }

  async story(): Promise<object> {
    const { state, steps, report, members } = (await this.run.status())!
    return {
      state,
      report,
      steps: steps.map((step) => [step.state, step.output, step.confidence?.source]),
      members: Object.fromEntries(members.map(({ id, machine, outcome, standsInFor }) => [id, [machine, outcome, standsInFor]])),
      findings: (await this.run.findings()).map(({ finding, agent }) => [finding, agent]),
      asked: (await this.run.trace()).filter(({ attempt }) => attempt.startsWith('fallback')).map(({ task, model, error }) => `${task} ${model} ${error === null}`).toSorted(),
    }
  }
}

/** What the path comes to: the first step that helps, after those that do not. */
function expected({ path, out, steps }: Scenario): Pick<RunStatus, 'state' | 'report'> & { readonly answered: number; readonly asked: readonly string[] } {
  const helper = path.findIndex((step) => helps.has(step))
  const taken = helper === -1 ? path : path.slice(0, helper + 1)
  const tasks: string[] = []
  const can = (role: Role): boolean => !out.includes(role) || helper !== -1
  if (out.includes('planner')) tasks.push('plan')
  if (can('planner') && out.includes('worker')) tasks.push(...Array.from({ length: steps }, (_, i) => `step-${i + 1}`))
  if (can('planner') && out.includes('writer')) tasks.push('report')
  const isDone = can('planner') && can('writer')
  return {
    state: isDone ? 'done' : 'failed',
    report: isDone ? { text: 'all of it' } : null,
    answered: can('planner') && can('worker') ? steps : 0,
    asked: tasks.flatMap((task) => taken.map((step) => `${task} ${agents.has(step) ? `agent/${step}` : 'person'} ${helps.has(step)}`)).toSorted(),
  }
}

const scenarios: fc.Arbitrary<Scenario> = fc.record({
  path: fc.array(fc.constantFrom<Step>('able', 'misfit', 'broken', 'answers', 'corrects', 'declines', 'silent'), { minLength: 1, maxLength: 3 }),
  out: fc.subarray<Role>(['planner', 'worker', 'writer'], { minLength: 1 }),
  steps: fc.integer({ min: 1, max: 3 }),
  workingMax: fc.integer({ min: 1, max: 3 }),
})

test(`whoever’s models cannot be had, the declared path is taken in order, each step once, whatever is killed meanwhile (seed ${firstSeed})`, async () => {
  let kills = 0
  const taken = new Map<string, number>()
  await fc.assert(
    fc.asyncProperty(scenarios, fc.array(fc.tuple(fc.nat(9_999), fc.constantFrom<Fault>('kill-before', 'kill-after')), { minLength: 1, maxLength: 4 }), async (scenario, faults) => {
      const undisturbed = new Stage(scenario)
      const status = await undisturbed.play()
      const story = await undisturbed.story()
      const { state, report, answered, asked } = expected(scenario)
      expect({ state: status.state, report: status.report, asked: (story as { asked: unknown }).asked }).toEqual({ state, report, asked })
      expect(status.steps.filter((step) => step.state === 'done')).toHaveLength(answered)
      for (const one of asked) taken.set(one.split(' ')[1]!, (taken.get(one.split(' ')[1]!) ?? 0) + 1)
      const { writes } = undisturbed.world
      await undisturbed.world.stop()

      const at = new Map(faults.map(([share, fault]) => [Math.floor((share / 10_000) * writes), fault]))
      const disturbed = new Stage(scenario, (index) => {
        if (at.has(index)) kills++
        return at.get(index)
      })
      const { spent, overrun } = await disturbed.play()
      expect(await disturbed.story()).toEqual(story)
      await disturbed.replayed()
      expect(overrun).toEqual(nothing)
      expect(spent.calls).toBeGreaterThanOrEqual(disturbed.client.requests.length)
      expect(spent.calls).toBeLessThanOrEqual(ceiling.calls)
      await disturbed.world.stop()
    }),
    { seed: firstSeed, numRuns: runs },
  )
  console.log(`fallback: ${runs} runs, killed ${kills} times; ${[...taken].map(([who, n]) => `${who} ${n}`).join(', ')}`)
})

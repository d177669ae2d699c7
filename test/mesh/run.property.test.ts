/**
 * Runs with agents that succeed, fail, are refused and are asked again, killed before or after any durable writes: they
 * end as the undisturbed run ends, with the same findings and the same action, done once; and money is conserved in
 * every ledger whenever one looks (I7). Then each actor's history is replayed.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, isBalanced, modelOf, ModelError, nothing, replay, type Amounts, type Ledger, type Mesh, type RunDefinition, type RunHandle, type RunStatus } from '../../src/index.js'
import { World, type Fault } from '../../src/testing/index.js'
import { extent, firstSeed } from '../support/extent.js'
import { functionModel } from '../support/function-model.js'

const runs = extent(50, 1_500)

/** What becomes of a worker's answer: by the step, and again by the step that replaces it. */
type Fate = 'stands' | 'refused' | 'in part' | 'declined' | 'malformed' | 'busy once' | 'judge fails'
interface Scenario {
  readonly steps: readonly (readonly [Fate, Fate])[]
  readonly writer: 'writes' | 'busy once' | 'fails'
  readonly workingMax: number
  /** Places to wait in. */
  readonly waitingMax: number
  readonly approval: boolean
}

const ceiling = { tokens: 3_000_000, calls: 400, usd: 20 }
const Any = z.looseObject({})

/** One world in which a run can be killed, and the outside of it, which remembers. */
class Stage {
  readonly world: World
  readonly client
  /** The receiver's memory: how often each key was executed. */
  readonly executed = new Map<string, number>()
  private readonly research: RunDefinition
  private mesh: Mesh | undefined
  private readonly wasBusy = new Set<string>()

  constructor(scenario: Scenario, onWrite?: (index: number) => Fault | undefined, { suspectMax = Infinity, onPublish }: { suspectMax?: number; onPublish?: () => void } = {}) {
    const fateOf = (step: string): Fate => {
      const [origin, again] = step.split('.') as [string, string?]
      return scenario.steps[Number(origin.replace('step-', '')) - 1]![again === undefined ? 0 : 1]
    }
    const busyOnce = (what: string): void => {
      if (this.wasBusy.has(what)) return
      this.wasBusy.add(what)
      throw new ModelError('overloaded', 'busy', { retryable: true })
    }
    this.client = functionModel(({ task }) => {
      const { agent, input } = task as { agent: string; input: { kind?: string; step: string; output: { findings: string[] }; task: { q: string } } }
      switch (agent) {
        case 'planner':
          return { steps: input.kind === 'plan' ? scenario.steps.map((_, i) => ({ q: `${i}` })) : [{ q: `${input.task.q} again` }] }
        case 'worker': {
          const fate = fateOf(input.step)
          if (fate === 'busy once') busyOnce(input.step)
          if (fate === 'declined') throw new ModelError('invalid-request', 'no', { retryable: false })
          if (fate === 'malformed') return 'Sure! Here it is:'
          return { findings: [`${input.step} a`, `${input.step} b`] }
        }
        case 'critic': {
          const fate = fateOf(input.step)
          if (fate === 'judge fails') throw new ModelError('authentication', 'who?', { retryable: false })
          const kept = fate === 'refused' ? [] : fate === 'in part' ? input.output.findings.slice(0, 1) : input.output.findings
          const refused = input.output.findings.filter((finding) => !kept.includes(finding)).map((finding) => ({ finding, reasons: ['wrong'], explanation: 'it is wrong' }))
          return { accepted: kept.length > 0, reasons: refused.length > 0 ? ['wrong'] : [], explanation: 'looked at', confidence: { value: 0.9, source: 'rule' }, by: 'critic', output: { findings: kept }, refused }
        }
        default:
          if (scenario.writer === 'busy once') busyOnce('writer')
          if (scenario.writer === 'fails') throw new ModelError('payment', 'no', { retryable: false })
          return { text: JSON.stringify(input) }
      }
    })
    const model = modelOf(this.client, 'm')
    const prompt = ({ input }: { input: unknown }) => ({ messages: [{ role: 'user' as const, content: JSON.stringify(input) }] })
    const common = { input: Any, model, prompt }
    const planner = defineAgent({ ...common, name: 'planner', output: z.object({ steps: z.array(Any) }) })
    const worker = defineAgent({ ...common, name: 'worker', output: z.object({ findings: z.array(z.string()) }), verifyWith: 'critic' })
    const critic = defineAgent({ ...common, name: 'critic', output: Any })
    const writer = defineAgent({ ...common, name: 'writer', output: z.object({ text: z.string() }) })
    this.research = defineRun({
      name: 'research',
      crew: { planner, worker, checker: critic, writer },
      supervisor: { workingMax: scenario.workingMax, waitingMax: scenario.waitingMax },
      replansMax: 1,
      ...(scenario.approval ? { approval: () => ({ why: 'so' }) } : {}),
      action: ({ report }) => ({ name: 'publish', input: report }),
      externalActions: {
        publish: {
          input: z.object({ text: z.string() }),
          run: async ({ idempotencyKey, signal }) => {
            onPublish?.()
            await this.world.sleep(500)
            signal.throwIfAborted()
            this.executed.set(idempotencyKey, (this.executed.get(idempotencyKey) ?? 0) + 1)
            await this.world.sleep(500)
            return { at: 'there' }
          },
          reconcile: ({ idempotencyKey }) => (this.executed.has(idempotencyKey) ? { happened: true, output: { at: 'there' } } : { happened: false }),
        },
      },
    })
    this.world = new World({
      shards: 2,
      suspectMax,
      create: (given) => (this.mesh = createMesh({ ...given, runs: [this.research], policies: { agents: { '*': { retry: { backoff: { firstMs: 1_000, jitter: 0 } } } } }, prices: { asOf: '2026-01-01', models: { 'test/m': { input: 1, output: 5 } } } })),
      ...(onWrite ? { onWrite: ({ index }) => onWrite(index) } : {}),
    })
  }

  get run(): RunHandle {
    return this.mesh!.handle(this.research, 'r')
  }

  /** Sees the run to its end, whatever kills its processes. */
  async play(): Promise<RunStatus> {
    return (await this.until(() => false))!
  }

  /** Sees the run to its end or to what is waited for. */
  async until(isReached: () => boolean): Promise<RunStatus | undefined> {
    for (let i = 0; i < 400; i++) {
      if (i > 0 && isReached()) return undefined
      if (!this.world.alive && !(await this.world.start())) continue
      const status = await this.alive(() => this.run.status())
      if (!this.world.alive) continue
      if (!status) await this.alive(() => this.mesh!.run(this.research, { id: 'r', goal: 'why', ceiling }))
      else if (status.state === 'approvalPending') await this.alive(() => this.run.approve({ by: 'ann', deadlineMs: 60_000 }))
      else if (status.state === 'done' || status.state === 'failed') return status
      if (this.world.alive) await this.conserved()
      if (this.world.alive) await this.world.advance(2_000)
    }
    throw new Error('it does not end')
  }

  /** What a process that dies would never answer. */
  private async alive<T>(work: () => Promise<T>): Promise<T | undefined> {
    const done = work()
    done.catch(() => {})
    let settled = false
    const result = done.then((value) => ((settled = true), value), () => ((settled = true), undefined))
    while (!settled && this.world.alive && (await this.world.settled())) await this.world.advance(0)
    return settled ? result : undefined
  }

  /** I7 over the run and all its agents: what each was granted is what it has, and nothing is made or lost. */
  async conserved(): Promise<void> {
    const { system } = this.world
    const ledgers = new Map<string, Ledger>()
    for (const { address } of (await system.find({ key: 'r' })).actors) {
      const snapshot = (await system.actorAt(address).snapshot()) as unknown as { context: { ledger: Ledger } } | undefined
      if (snapshot) ledgers.set(address, snapshot.context.ledger)
    }
    const run = ledgers.get('research/r')
    if (!run) return
    for (const [address, ledger] of ledgers) {
      expect(isBalanced(ledger), address).toBe(true)
      expect(ledger.overrun, address).toEqual(nothing)
      const granted = run.granted[address.slice(address.indexOf('~') + 1)]
      // An agent that has not begun has an empty ledger.
      if (granted && ledger.received.calls > 0) expect(ledger.received, address).toEqual(granted)
    }
  }

  /** The charts draw no chance and read no clock: the history of each actor leads to where it stands. */
  async replayed(): Promise<number> {
    const { system } = this.world
    let turns = 0
    for (const { address } of (await system.find({ key: 'r', limit: 1_000 })).actors) {
      const actor = system.actorAt(address)
      const history = await actor.history()
      const { divergence, snapshot } = replay(system.machine(address.slice(0, address.indexOf('/'))), history!)
      expect(divergence, address).toBeUndefined()
      expect(snapshot, address).toEqual(await actor.persisted())
      turns += history!.turns.length
    }
    return turns
  }

  async story(): Promise<object> {
    const status = (await this.run.status())!
    const { state, steps, report, published, failure, members } = status
    return {
      state,
      steps,
      report,
      published,
      failure,
      // When an agent is engaged depends on how long others take.
      members: Object.fromEntries(members.map(({ id, role, outcome }) => [id, [role, outcome]])),
      findings: (await this.run.findings()).map(({ at: _, ...finding }) => finding),
      executed: [...this.executed.keys()],
    }
  }
}

const fates = fc.constantFrom<Fate>('stands', 'stands', 'stands', 'refused', 'in part', 'declined', 'malformed', 'busy once', 'judge fails')
const scenarios: fc.Arbitrary<Scenario> = fc.record({
  steps: fc.array(fc.tuple(fates, fates), { minLength: 1, maxLength: 4 }),
  writer: fc.constantFrom('writes', 'writes', 'busy once', 'fails'),
  workingMax: fc.integer({ min: 1, max: 3 }),
  waitingMax: fc.nat(2),
  approval: fc.boolean(),
})

test(`a run that is killed, and has less room for its agents, ends like one that is not, and no money is made or lost (seed ${firstSeed})`, async () => {
  let kills = 0
  let charged = 0
  let called = 0
  let replayed = 0
  await fc.assert(
    fc.asyncProperty(scenarios, fc.array(fc.tuple(fc.nat(9_999), fc.constantFrom<Fault>('kill-before', 'kill-after')), { minLength: 1, maxLength: 5 }), async (scenario, faults) => {
      const undisturbed = new Stage({ ...scenario, waitingMax: 64 })
      await undisturbed.play()
      const expected = await undisturbed.story()
      const { writes } = undisturbed.world
      await undisturbed.world.stop()

      const at = new Map(faults.map(([share, fault]) => [Math.floor((share / 10_000) * writes), fault]))
      const disturbed = new Stage(scenario, (index) => {
        if (at.has(index)) kills++
        return at.get(index)
      })
      const { spent, ceiling: received } = await disturbed.play()
      expect(await disturbed.story()).toEqual(expected)
      replayed += await disturbed.replayed()
      for (const [key, n] of disturbed.executed) expect(n, key).toBe(1)
      const { requests } = disturbed.client
      expect(spent.calls).toBeGreaterThanOrEqual(requests.length)
      expect(covers(received, spent)).toBe(true)
      charged += spent.calls
      called += requests.length
      await disturbed.world.stop()
    }),
    { seed: firstSeed, numRuns: runs },
  )
  console.log(`runs: ${runs}, killed ${kills} times; ${called} calls made, ${charged} charged; ${replayed} turns replayed`)
})

function covers(a: Amounts, b: Amounts): boolean {
  return a.tokens >= b.tokens && a.calls >= b.calls && a.nanoDollars >= b.nanoDollars
}

test('a run over which the process dies three times is set aside, says so, and goes on when it is told to', async () => {
  let deadly = true
  const stage = new Stage({ steps: [['stands', 'stands']], writer: 'writes', workingMax: 1, waitingMax: 1, approval: false }, undefined, {
    suspectMax: 3,
    onPublish: () => {
      if (deadly) stage.world.crash()
    },
  })
  await stage.until(() => !stage.world.alive)
  let deaths = 1
  while (!((await stage.world.start()) && (await stage.world.settled()))) deaths++
  expect(deaths).toBeLessThanOrEqual(4)
  const status = (await stage.run.status())!
  expect(status).toMatchObject({ state: 'acting', parked: { address: 'research/r', reason: 'quarantined', detail: expect.stringContaining('died 3 times') as string } })
  deadly = false
  await stage.run.redrive()
  expect(await stage.play()).toMatchObject({ state: 'done', parked: null })
})

/**
 * Calls under breakers and limits, killed before or after any durable writes, in whatever state they are: they go on, no
 * call makes more attempts than it may, what is not permitted costs nothing, and no money is made or lost (I7).
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, isBalanced, modelOf, ModelError, nothing, type AgentOutput, type AgentTask, type Ledger, type Mesh } from '../../src/index.js'
import { canonicalGoal } from '../../src/mesh/canonical.js'
import { World, type Fault } from '../../src/testing/index.js'
import { extent, firstSeed } from '../support/extent.js'
import { functionModel } from '../support/function-model.js'

const runs = extent(15, 600)
const attemptsMax = 40
const grant = { tokens: 1e9, calls: 1e6, nanoDollars: 1e12 }

type Fate = 'ok' | 'overloaded' | 'wait' | 'cut' | 'malformed'
interface Scenario {
  readonly fates: readonly Fate[]
  readonly models: 1 | 2
  readonly calls: number
  readonly faults: readonly { readonly at: number; readonly when: 'kill-before' | 'kill-after' }[]
  readonly requestsMax: number
  readonly permitMs: number
}
const scenarios: fc.Arbitrary<Scenario> = fc.record({
  fates: fc.array(fc.constantFrom<Fate>('ok', 'overloaded', 'overloaded', 'wait', 'cut', 'malformed'), { maxLength: 12 }),
  models: fc.constantFrom<1 | 2>(1, 2),
  calls: fc.integer({ min: 1, max: 5 }),
  faults: fc.array(fc.record({ at: fc.integer({ min: 1, max: 60 }), when: fc.constantFrom<'kill-before' | 'kill-after'>('kill-before', 'kill-after') }), { maxLength: 4 }),
  requestsMax: fc.integer({ min: 1, max: 4 }),
  permitMs: fc.constantFrom(500, 3_000),
})

async function play({ fates, models, calls, faults, requestsMax, permitMs }: Scenario): Promise<{ readonly requests: number; readonly deaths: number }> {
  let asked = 0
  const client = functionModel(
    () => {
      switch (fates[asked++]) {
        case 'overloaded':
          throw new ModelError('overloaded', 'busy', { retryable: true })
        case 'wait':
          throw new ModelError('rate-limit', 'later', { retryable: true, retryAfterMs: 2_000 })
        case 'cut':
          throw new ModelError('connection', 'cut', { retryable: true })
        case 'malformed':
          throw new ModelError('malformed', 'what?', { retryable: true })
        default:
          return { n: 1 }
      }
    },
    'far',
    false,
  )
  const worker = defineAgent({
    name: 'worker',
    input: z.looseObject({}),
    output: z.object({ n: z.number() }),
    model: ['large', 'small'].slice(0, models).map((model) => modelOf(client, model, { input: 1, output: 1 })),
    prompt: () => ({ messages: [] }),
  })
  const breaker = { consecutiveMax: 2, openMs: 3_000, openFactor: 1, permitMs, permitsMax: 2, probesMax: 1, successesToClose: 1, probeMs: 20_000 }
  let mesh: Mesh | undefined
  const world = new World({
    suspectMax: Infinity,
    shards: 1,
    create: (given) =>
      (mesh = createMesh({ ...given, agents: [worker], policies: { agents: { worker: { retry: { attemptsMax, backoff: { firstMs: 200, factor: 2, maxMs: 2_000, jitter: 0.5 } }, deadlineMs: 3_600_000 } }, models: { '*': { breaker, bulkhead: { workingMax: 2 } } }, providers: { far: { limit: { requestsMax, windowMs: 5_000, permitMs } } } } })),
    onWrite: ({ index }): Fault | undefined => faults.find(({ at }) => at === index)?.when,
  })
  const ids = Array.from({ length: calls }, (_, i) => `w-${i}`)
  const outputs = new Map<string, AgentOutput>()
  for (let life = 0; life < 200 && outputs.size < calls; life++) {
    if (!world.alive) await world.start()
    for (const id of ids) {
      if (!world.alive) break
      const task: AgentTask = { id, origin: id, input: {}, goal: canonicalGoal('why'), grant, run: `r-${id}` }
      mesh!.system.actorAt(`worker/${id}` as never).start({ input: { task } as never, run: `r-${id}` }).catch(() => {})
    }
    await world.advance(10_000)
    for (const id of ids) {
      if (!world.alive) break
      const actor = mesh!.system.actorAt(`worker/${id}` as never)
      const snapshot = (await actor.snapshot()) as unknown as { status: string; output: AgentOutput; context: { ledger: Ledger } } | undefined
      if (!snapshot) continue
      expect(isBalanced(snapshot.context.ledger)).toBe(true)
      if (snapshot.status !== 'done') continue
      expect(snapshot.context.ledger.reserved).toEqual({})
      expect(snapshot.output.overrun).toEqual(nothing)
      outputs.set(id, snapshot.output)
    }
  }
  expect([...outputs.values()].map(({ outcome, failure }) => failure?.message ?? outcome)).toEqual(ids.map(() => 'done'))
  // Each request that reached the model is a call somebody paid for; what was only waited for, nobody did.
  const paid = [...outputs.values()].reduce((sum, { spent }) => sum + spent.calls, 0)
  expect(paid).toBeGreaterThanOrEqual(client.requests.length)
  expect(paid).toBeLessThanOrEqual(client.requests.length + world.generation * calls)
  expect(client.requests.length).toBeLessThanOrEqual(attemptsMax * calls)
  await world.stop()
  return { requests: client.requests.length, deaths: world.generation - 1 }
}

test(`calls that wait, are refused, back off or are under way when the process is killed go on and end, and every attempt is paid once (seed ${firstSeed})`, async () => {
  let deaths = 0
  let requests = 0
  await fc.assert(
    fc.asyncProperty(scenarios, async (scenario) => {
      const seen = await play(scenario)
      deaths += seen.deaths
      requests += seen.requests
    }),
    { seed: firstSeed, numRuns: runs },
  )
  console.log(`permits under kills: ${deaths} kills, ${requests} requests`)
  expect(deaths).toBeGreaterThan(runs / 3)
})

/**
 * A provider's outage in virtual time, with the policies as they are by default: two nodes of one mesh, runs that wait, ask
 * another provider or fail at once, and ten minutes in which everything fails in every way and any order. The provider
 * counts what it is asked.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createMesh, modelOf, ModelError, type Amounts, type Mesh, type ModelClient, type RunHandle } from '../../src/index.js'
import { defaultBreaker, type BreakerContext } from '../../src/machines/circuit-breaker.machine.js'
import { extent, firstSeed, tier } from '../support/extent.js'
import { Fleet } from '../support/fleet.js'
import { answerTo, goalOf, impatient, jobsOf, kinds, reportOf, type Kind } from '../support/outage-job.js'
import { Random } from '../support/random.js'

const outages = extent(2, 60)
const runsOf: Readonly<Record<Kind, number>> = { patient: tier === 'second' ? 20 : 8, fallback: 2, impatient: 2 }
const nodes = 2

type Trouble = 'overloaded' | 'server' | 'cut' | 'garbage' | 'hang' | 'no time' | 'retry-after'
interface Scenario {
  readonly seed: number
  readonly beginsMs: number
  readonly phases: readonly { readonly trouble: Trouble; readonly forMs: number }[]
}
const troubles: readonly Trouble[] = ['overloaded', 'server', 'cut', 'garbage', 'hang', 'no time', 'retry-after']
const phase = fc.record({ trouble: fc.constantFrom(...troubles), forMs: fc.constantFrom(20_000, 60_000, 150_000) })
const scenarios: fc.Arbitrary<Scenario> = fc.record({
  seed: fc.nat(1_000_000),
  beginsMs: fc.integer({ min: 1_000, max: 20_000 }),
  // What asks for pauses from the beginning opens no breaker: limiter-pause.test.ts has that.
  phases: fc.tuple(phase, fc.array(phase, { minLength: 2, maxLength: 7 })).map(([first, rest]) => [{ ...first, trouble: first.trouble === 'retry-after' ? ('overloaded' as const) : first.trouble }, ...rest]),
})

const attemptMs = 60_000

interface Asked {
  readonly at: number
  endedAt: number
}

/** Answers after some seconds, unless it is out of order: then it fails as the moment has it, also what is under way. */
function provider(name: string, fleet: () => Fleet, random: Random, troubleAt: (at: number) => Trouble | undefined): ModelClient & { readonly asked: Asked[] } {
  const asked: Asked[] = []
  const pass = (ms: number): Promise<void> => new Promise((resolve) => void fleet().time.after(ms, resolve))
  return {
    provider: name,
    asked,
    async complete({ system = '', messages }, { signal }) {
      const { time } = fleet()
      const one: Asked = { at: time.now(), endedAt: Infinity }
      asked.push(one)
      try {
        for (let left = 2_000 + random.below(6_000); left > 0 && troubleAt(time.now()) === undefined; left -= 500) await pass(Math.min(500, left))
        const trouble = troubleAt(time.now())
        if (trouble !== undefined) await pass(trouble === 'hang' ? one.at + attemptMs - time.now() : 10 + random.below(90))
        if (signal.aborted) throw new ModelError('aborted', 'given up', { retryable: false })
        const text = JSON.stringify(answerTo(system, messages[0]!.content))
        const usage = { inputTokens: messages[0]!.content.length, outputTokens: text.length, cacheReadTokens: 0, cacheWriteTokens: 0 }
        switch (trouble) {
          case undefined:
            return { text, stopReason: 'end', usage, model: name }
          case 'overloaded':
            throw new ModelError('overloaded', 'overloaded', { retryable: true })
          case 'server':
            throw new ModelError('server', 'failed', { retryable: true })
          case 'garbage':
            throw new ModelError('malformed', 'what?', { retryable: true })
          case 'cut':
            throw new ModelError('connection', 'cut', { retryable: true, usage: { ...usage, outputTokens: 1 } })
          case 'hang':
            throw new ModelError('connection', 'no answer in time', { retryable: true })
          case 'no time':
            throw new ModelError('rate-limit', 'later', { retryable: true })
          case 'retry-after':
            throw new ModelError('rate-limit', 'later', { retryable: true, retryAfterMs: 20_000 })
        }
      } finally {
        one.endedAt = time.now()
      }
    },
  }
}

async function play({ seed, beginsMs, phases }: Scenario): Promise<{ readonly during: number; readonly probes: number; readonly right: number; readonly typed: number }> {
  let fleet: Fleet
  let from = Infinity
  const random = new Random(seed)
  const troubleAt = (at: number): Trouble | undefined => {
    let end = from
    return at < from ? undefined : phases.find(({ forMs }) => at < (end += forMs))?.trouble
  }
  const far = provider('far', () => fleet, random, troubleAt)
  const backup = provider('backup', () => fleet, random, () => undefined)
  const model = (client: ModelClient) => modelOf(client, 'm', { input: 5, output: 25 })
  // A call that is let through to see uses one of its attempts, and if few wait it is the same one again and again.
  const policies = { agents: { '*': { retry: { attemptsMax: 50 }, deadlineMs: 3_600_000 }, ...impatient } }
  const jobs = jobsOf(model(far), model(backup))
  const meshes: Mesh[] = []
  fleet = new Fleet({
    leaseMs: 600_000,
    shards: 4,
    machines: [],
    create: (given) => {
      const mesh = createMesh({ ...given, runs: Object.values(jobs), policies, history: false })
      meshes.push(mesh)
      return mesh
    },
  })
  for (let i = 0; i < nodes; i++) {
    fleet.join()
    await fleet.advance(60_000)
  }
  expect(Object.values(fleet.loads())).toEqual([2, 2])
  const handles: { readonly kind: Kind; readonly id: string; readonly handle: RunHandle }[] = []
  for (const kind of kinds) {
    for (let i = 0; i < runsOf[kind]; i++) {
      const id = `${kind}-${i}`
      const starting = meshes[i % nodes]!.run(jobs[kind], { id, goal: goalOf(id), ceiling: { usd: 5, tokens: 1_000_000 } })
      await fleet.advance(10)
      handles.push({ kind, id, handle: await starting })
    }
  }
  // The owner hears of every turn, the other one of the latest.
  const counts = meshes.map(({ system }) => {
    const count = { was: '', halfOpen: 0 }
    system.actorAt('circuitBreaker/model:far:m' as never).subscribe((snapshot) => {
      const { value } = snapshot as unknown as { value: unknown }
      const is = typeof value === 'string' ? value : 'halfOpen'
      if (is === 'halfOpen' && count.was !== is) count.halfOpen++
      count.was = is
    })
    return count
  })
  await fleet.advance(beginsMs)
  from = fleet.time.now()
  const to = from + phases.reduce((sum, { forMs }) => sum + forMs, 0)
  const inFlight = far.asked.filter(({ endedAt }) => endedAt > from).length
  await fleet.advance(to - from)
  const during = far.asked.filter(({ at }) => at >= from && at < to).length
  const breakerAt = async (): Promise<BreakerContext | undefined> => ((await settled(meshes[0]!.system.actorAt('circuitBreaker/model:far:m' as never).snapshot(), fleet)) as unknown as { context: BreakerContext } | undefined)?.context
  const probes = ((await breakerAt())?.nextProbe ?? 1) - 1
  const halfOpen = Math.max(...counts.map((count) => count.halfOpen))
  await fleet.advance(900_000)

  let right = 0
  let typed = 0
  let calls = 0
  for (const { kind, id, handle } of handles) {
    const status = (await settled(handle.status(), fleet))!
    const trace = await settled(handle.trace(), fleet)
    const isRight = status.state === 'done' && status.unanswered.length === 0
    if (isRight) expect(status.report).toEqual({ text: reportOf(id) })
    else if (kind === 'impatient') expect(status.state === 'failed' ? ['plan', 'report'].includes(status.failure!.reason) && status.failure!.message !== '' : status.unanswered.every(({ reason }) => reason !== '')).toBe(true)
    else expect([id, status.state, status.failure, status.unanswered]).toEqual([id, 'done', null, []])
    if (isRight) right++
    else typed++
    expect(status.members.map(({ restarts }) => restarts)).toEqual(status.members.map(() => 0))
    expect(trace.reduce((sum, { cost, reserved }) => sum + (cost ?? reserved).nanoDollars, 0)).toBe(status.spent.nanoDollars)
    expect(status.overrun).toEqual({ tokens: 0, calls: 0, nanoDollars: 0 } satisfies Amounts)
    calls += status.spent.calls
  }
  // Every request is an attempt on record, and none is left out.
  expect(calls).toBe(far.asked.length + backup.asked.length)
  const hanging = phases[0]!.trouble === 'hang' ? 64 * nodes - inFlight : 0
  expect(during, `${inFlight} in flight, ${probes} probes`).toBeLessThanOrEqual(nodes * defaultBreaker.permitsMax + hanging + probes)
  expect(probes).toBeLessThanOrEqual(defaultBreaker.probesMax * halfOpen)
  for (const node of fleet.living) node.kill()
  return { during, probes, right, typed }
}

/** What a question to a store in virtual time comes to: its answer may need the time to go on. */
async function settled<T>(asking: Promise<T>, fleet: Fleet): Promise<T> {
  let isOver = false
  void asking.finally(() => (isOver = true)).catch(() => {})
  for (let i = 0; i < 1_000 && !isOver; i++) await fleet.advance(1)
  return asking
}

test(`however a provider is out of order, no run is lost or restarted, what it is asked meanwhile is what was in hand and the probes, and every attempt is paid once (seed ${firstSeed})`, async () => {
  const all: Awaited<ReturnType<typeof play>>[] = []
  await fc.assert(
    fc.asyncProperty(scenarios, async (scenario) => void all.push(await play(scenario))),
    { seed: firstSeed, numRuns: outages, endOnFailure: true },
  )
  const sum = (key: keyof (typeof all)[number]): number => all.reduce((n, one) => n + one[key], 0)
  console.log(`${outages} outages: ${sum('right')} runs right, ${sum('typed')} refused with a reason; ${sum('during')} requests during them, ${sum('probes')} of them probes`)
  expect(sum('probes')).toBeGreaterThan(outages)
}, 300_000)

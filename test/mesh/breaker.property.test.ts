/**
 * Circuit breakers over several nodes: desks as they are, the breaker an actor of the real runtime, in virtual time. Calls
 * come and fail as a provider's outages have it, asks take their time in any order, nodes die with permits in hand.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BreakerStock } from '../../src/mesh/breaker-stock.js'
import { Desk, type PermitRequest } from '../../src/mesh/desk.js'
import type { Ending } from '../../src/mesh/permit-stock.js'
import { circuitBreakerMachine, defaultBreaker, type BreakerAnswer, type BreakerPolicy } from '../../src/machines/circuit-breaker.machine.js'
import { silentLogger } from '../../src/runtime/ports/logger.js'
import { World } from '../../src/testing/index.js'
import { ProcessClock } from '../../src/testing/virtual-clock.js'
import { extent, firstSeed } from '../support/extent.js'

const runs = extent(60, 1_500)
const address = 'circuitBreaker/b'

interface Call {
  readonly node: number
  readonly atMs: number
  readonly takesMs: number
  readonly isPatient: boolean
}
interface Scenario {
  readonly policy: BreakerPolicy
  readonly nodes: number
  readonly calls: readonly Call[]
  /** Of the provider. */
  readonly outages: readonly { readonly fromMs: number; readonly forMs: number }[]
  readonly deaths: readonly { readonly node: number; readonly atMs: number }[]
  /** What each ask takes there and back. */
  readonly delaysMs: readonly number[]
  readonly isSemantic: boolean
}

const spanMs = 120_000
const scenarios: fc.Arbitrary<Scenario> = fc.record({
  policy: fc
    .record({ callsMin: fc.integer({ min: 1, max: 6 }), consecutiveMax: fc.integer({ min: 1, max: 5 }), probesMax: fc.integer({ min: 1, max: 3 }), openMs: fc.constantFrom(1_000, 5_000, 20_000), permitMs: fc.constantFrom(1_000, 4_000, 8_000), permitsMax: fc.integer({ min: 1, max: 6 }) })
    .map((some) => ({ ...defaultBreaker, probeMs: 10_000, windowMs: 30_000, ...some, successesToClose: some.probesMax })),
  nodes: fc.integer({ min: 2, max: 4 }),
  calls: fc.array(fc.record({ node: fc.integer({ min: 0, max: 3 }), atMs: fc.integer({ min: 0, max: spanMs }), takesMs: fc.constantFrom(10, 500, 3_000, 15_000), isPatient: fc.boolean() }), { minLength: 20, maxLength: 120 }),
  outages: fc.array(fc.record({ fromMs: fc.integer({ min: 0, max: spanMs }), forMs: fc.constantFrom(2_000, 20_000, 60_000) }), { minLength: 1, maxLength: 3 }),
  deaths: fc.array(fc.record({ node: fc.integer({ min: 0, max: 3 }), atMs: fc.integer({ min: 0, max: spanMs }) }), { maxLength: 2 }),
  delaysMs: fc.array(fc.constantFrom(0, 0, 1, 20, 300), { minLength: 1, maxLength: 12 }),
  isSemantic: fc.boolean(),
})

interface Seen {
  /** Attempts that began, by time. */
  readonly begun: number[]
  /** The breaker's periods: which, and since when. */
  readonly periods: { readonly value: string; readonly era: number; readonly at: number }[]
  /** Probes handed out, by era and half-open period. */
  readonly probes: Map<string, number>
  /** Most permits in one batch, and calls permitted while it was open. */
  batchMax: number
}

async function play({ policy, nodes, calls, outages, deaths, delaysMs, isSemantic }: Scenario): Promise<Seen> {
  const world = new World({ machines: [circuitBreakerMachine] })
  await world.start()
  const { system, time } = world
  const seen: Seen = { begun: [], periods: [{ value: 'closed', era: 1, at: 0 }], probes: new Map(), batchMax: 0 }
  system.actor(circuitBreakerMachine, 'b').subscribe(({ value, context: { era } }) => {
    const state = typeof value === 'string' ? value : 'halfOpen'
    if (seen.periods.at(-1)!.value !== state) seen.periods.push({ value: state, era, at: time.now() })
  })
  let asks = 0
  const delay = (clock: ProcessClock): Promise<void> => new Promise((resolve) => void clock.after(delaysMs[asks++ % delaysMs.length]!, resolve))
  const living = Array.from({ length: nodes }, () => {
    const clock = new ProcessClock(time)
    const ports = {
      clock,
      logger: silentLogger,
      now: () => Promise.resolve(world.now()),
      watch: () => () => {},
      ask: async (to: string, event: { type: string }): Promise<unknown> => {
        await delay(clock)
        const answer: BreakerAnswer = await system.actorAt(to as never).ask(event as never)
        if (answer.probe !== null) {
          const period = seen.periods.filter(({ value }) => value === 'halfOpen').length
          const key = `${answer.era}/${period}`
          seen.probes.set(key, (seen.probes.get(key) ?? 0) + answer.permits)
        }
        seen.batchMax = Math.max(seen.batchMax, answer.permits)
        await delay(clock)
        return answer
      },
    }
    const desk: Desk = new Desk(clock, () => [stock])
    const stock: BreakerStock = new BreakerStock({ scope: 'model', name: 'x/a', address, isSemantic }, policy, ports, () => desk.changed())
    return { clock, desk }
  })
  let keys = 0
  const call = async ({ node, takesMs, isPatient }: Omit<Call, 'atMs'>): Promise<'refused' | 'ended'> => {
    const { clock, desk } = living[node % nodes]!
    const request: PermitRequest = { key: `${keys++}`, subject: { agent: 'a', version: '1', model: 'x/a', tenant: null }, tokens: 1, priority: 5, deadlineAt: clock.now() + 600_000 }
    let given = desk.take(request)
    while (!('permit' in given)) {
      if ('refusal' in given && !(isPatient && given.refusal.reason === 'open')) return 'refused'
      const waited = await desk.wait(request, { signal: new AbortController().signal, isPatient })
      if ('refusal' in waited) return 'refused'
      given = desk.take(request)
    }
    const beganAt = time.now()
    seen.begun.push(beganAt)
    await new Promise<void>((resolve) => void clock.after(takesMs, resolve))
    const failed = outages.some(({ fromMs, forMs }) => beganAt >= fromMs && beganAt < fromMs + forMs)
    const ending: Ending = { result: failed && !isSemantic ? 'failed' : 'ok', tokens: 1, retryAfterMs: null }
    given.permit.settle(ending)
    if (isSemantic) desk.judge(request.key, !failed)
    return 'ended'
  }
  for (const one of calls) time.after(one.atMs, () => void call(one))
  for (const { node, atMs } of deaths) if (node % nodes !== 0) time.after(atMs, () => living[node % nodes]!.clock.die())
  await world.advance(spanMs + 60_000)
  // However it stands, a patient call gets through in the end: nothing holds it shut for ever (B3).
  const last = Promise.all([call({ node: 0, takesMs: 10, isPatient: true }), call({ node: 0, takesMs: 10, isPatient: true })])
  await world.advance(2 * policy.openMsMax + 4 * policy.probeMs)
  expect(await Promise.race([last, Promise.resolve('still waiting')])).toEqual(['ended', 'ended'])
  await world.stop()
  return seen
}

/** Half-open periods with their ends. */
function periodsOf({ periods }: Seen, which: string): { readonly from: number; readonly to: number; readonly era: number }[] {
  return periods.flatMap(({ value, at, era }, i) => (value === which ? [{ from: at, to: periods[i + 1]?.at ?? Infinity, era }] : []))
}

test(`whatever fails, whoever dies and however asks overtake each other, all nodes together make no more probes than are configured (seed ${firstSeed})`, async () => {
  let opened = 0
  let probed = 0
  await fc.assert(
    fc.asyncProperty(scenarios, async (scenario) => {
      const seen = await play(scenario)
      const { probesMax, permitsMax } = scenario.policy
      for (const [period, probes] of seen.probes) expect(probes, `probes in ${period}`).toBeLessThanOrEqual(probesMax)
      for (const { from, to } of periodsOf(seen, 'halfOpen')) {
        // What begins in the very instant of a change may belong to either side of it.
        expect(seen.begun.filter((at) => at > from && at < to).length, `attempts from ${from} to ${to}`).toBeLessThanOrEqual(probesMax)
      }
      const open = periodsOf(seen, 'open')
      // While it is open: at most what was in hand when it opened.
      for (const { from, to } of open) expect(seen.begun.filter((at) => at > from && at < to).length).toBeLessThanOrEqual(scenario.nodes * permitsMax)
      expect(seen.batchMax).toBeLessThanOrEqual(permitsMax)
      opened += open.length
      probed += seen.probes.size
    }),
    { seed: firstSeed, numRuns: runs },
  )
  console.log(`breakers: opened ${opened} times, ${probed} half-open periods with probes`)
  expect(opened).toBeGreaterThan(runs / 2)
  expect(probed).toBeGreaterThan(runs / 2)
})

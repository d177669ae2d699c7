/**
 * Rate limits over several nodes: desks as they are, the limiter an actor of the real runtime, in virtual time. Calls of any
 * size come in bursts, asks take their time in any order, nodes die with permits in hand, the provider asks for pauses.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Desk, type PermitRequest } from '../../src/mesh/desk.js'
import { LimiterStock } from '../../src/mesh/limiter-stock.js'
import { defaultLimit, limiterMachine, type LimitPolicy } from '../../src/machines/limiter.machine.js'
import { silentLogger } from '../../src/runtime/ports/logger.js'
import { World } from '../../src/testing/index.js'
import { ProcessClock } from '../../src/testing/virtual-clock.js'
import { extent, firstSeed } from '../support/extent.js'

const runs = extent(40, 1_500)

interface Call {
  readonly node: number
  readonly atMs: number
  readonly takesMs: number
  /** Most that it may use, and what it does use; null: nobody knows. */
  readonly tokens: number
  readonly uses: number | null
  readonly priority: number
  /** What the provider answers instead. */
  readonly pauseMs: number | null
}
interface Scenario {
  readonly policy: LimitPolicy
  readonly nodes: number
  readonly calls: readonly Call[]
  readonly deaths: readonly { readonly node: number; readonly atMs: number }[]
  readonly delaysMs: readonly number[]
}

const spanMs = 60_000
const scenarios: fc.Arbitrary<Scenario> = fc.record({
  policy: fc
    .record({ requestsMax: fc.option(fc.integer({ min: 1, max: 12 })), tokensMax: fc.option(fc.integer({ min: 100, max: 1_000 })), windowMs: fc.constantFrom(5_000, 20_000), permitsMax: fc.integer({ min: 1, max: 5 }), permitMs: fc.constantFrom(1_000, 3_000) })
    .map((some) => ({ ...defaultLimit, ...some, requestsMax: some.requestsMax ?? (some.tokensMax === null ? 5 : null) })),
  nodes: fc.integer({ min: 1, max: 3 }),
  calls: fc.array(
    fc.record({
      node: fc.integer({ min: 0, max: 2 }),
      atMs: fc.oneof(fc.integer({ min: 0, max: spanMs }), fc.constantFrom(0, 10_000, 10_001)),
      takesMs: fc.constantFrom(1, 200, 4_000),
      tokens: fc.integer({ min: 1, max: 100 }),
      uses: fc.option(fc.integer({ min: 0, max: 100 })),
      priority: fc.integer({ min: 0, max: 9 }),
      pauseMs: fc.oneof({ weight: 20, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: fc.constantFrom(2_000, 8_000) }),
    }),
    { minLength: 5, maxLength: 60 },
  ),
  deaths: fc.array(fc.record({ node: fc.integer({ min: 0, max: 2 }), atMs: fc.integer({ min: 0, max: spanMs }) }), { maxLength: 2 }),
  delaysMs: fc.array(fc.constantFrom(0, 0, 1, 20, 300), { minLength: 1, maxLength: 12 }),
})

interface Begun {
  readonly at: number
  readonly tokens: number
}

async function play({ policy, nodes, calls, deaths, delaysMs }: Scenario): Promise<{ readonly begun: Begun[]; readonly pauses: { readonly from: number; readonly to: number }[] }> {
  const world = new World({ machines: [limiterMachine] })
  await world.start()
  const { system, time } = world
  const begun: Begun[] = []
  const pauses: { from: number; to: number }[] = []
  let asks = 0
  const delay = (clock: ProcessClock): Promise<void> => new Promise((resolve) => void clock.after(delaysMs[asks++ % delaysMs.length]!, resolve))
  const living = Array.from({ length: nodes }, (_, i) => {
    const clock = new ProcessClock(time)
    const ports = {
      clock,
      logger: silentLogger,
      now: () => Promise.resolve(world.now()),
      watch: (to: string, listener: (context: unknown) => void) => system.actorAt(to as never).subscribe((snapshot) => listener((snapshot as { context: unknown }).context)).unsubscribe,
      ask: async (to: string, event: { type: string }): Promise<unknown> => {
        await delay(clock)
        const answer: unknown = await system.actorAt(to as never).ask(event as never)
        const { pauseMs } = event as unknown as { pauseMs: number }
        if (pauseMs > 0) pauses.push({ from: time.now() + policy.permitMs, to: time.now() + pauseMs - 700 })
        await delay(clock)
        return answer
      },
    }
    const desk: Desk = new Desk(clock, () => [stock])
    const stock: LimiterStock = new LimiterStock({ scope: 'provider', name: 'x', address: 'limiter/l' }, policy, `n${i}`, ports, () => desk.changed())
    return { clock, desk }
  })
  let keys = 0
  let ended = 0
  const dead = new Set<number>()
  const call = async ({ node, takesMs, tokens, uses, priority, pauseMs }: Call): Promise<void> => {
    const { clock, desk } = living[node % nodes]!
    const request: PermitRequest = { key: `${keys++}`, subject: { agent: 'a', version: '1', model: 'x/a', tenant: null }, tokens, priority, deadlineAt: 1e12 }
    let given = desk.take(request)
    while (!('permit' in given)) {
      if ('refusal' in given) throw new Error(given.refusal.message)
      await desk.wait(request, { signal: new AbortController().signal, isPatient: false })
      given = desk.take(request)
    }
    const used = uses === null ? tokens : Math.min(uses, tokens)
    begun.push({ at: time.now(), tokens: used })
    await new Promise<void>((resolve) => void clock.after(takesMs, resolve))
    given.permit.settle({ result: 'ok', tokens: uses === null ? null : used, retryAfterMs: pauseMs })
    ended++
  }
  for (const one of calls) time.after(one.atMs, () => void call(one))
  for (const { node, atMs } of deaths) {
    if (node % nodes === 0) continue
    dead.add(node % nodes)
    time.after(atMs, () => living[node % nodes]!.clock.die())
  }
  await world.advance(spanMs)
  // Nobody waits for ever, whatever died.
  await world.advance(calls.length * (policy.windowMs + policy.permitMs + 10_000))
  expect(ended).toBeGreaterThanOrEqual(calls.filter(({ node }) => !dead.has(node % nodes)).length)
  await world.stop()
  return { begun, pauses }
}

test(`looked back from any moment, the attempts of all nodes never exceed the window, in requests or in tokens, and a pause is one for all (seed ${firstSeed})`, async () => {
  let full = 0
  let attempts = 0
  await fc.assert(
    fc.asyncProperty(scenarios, async (scenario) => {
      const { begun, pauses } = await play(scenario)
      const { requestsMax, tokensMax, windowMs } = scenario.policy
      // The window is fullest just when an attempt begins.
      for (const { at } of begun) {
        const within = begun.filter((one) => one.at <= at && one.at > at - windowMs)
        if (requestsMax !== null) {
          expect(within.length, `requests until ${at}`).toBeLessThanOrEqual(requestsMax)
          if (within.length === requestsMax) full++
        }
        if (tokensMax !== null) expect(within.reduce((sum, { tokens }) => sum + tokens, 0), `tokens until ${at}`).toBeLessThanOrEqual(tokensMax)
      }
      for (const { from, to } of pauses) expect(begun.filter(({ at }) => at > from && at < to), `begun in a pause from ${from} to ${to}`).toEqual([])
      attempts += begun.length
    }),
    { seed: firstSeed, numRuns: runs },
  )
  console.log(`limits: ${attempts} attempts, the window full at ${full} of them`)
  expect(full).toBeGreaterThan(runs / 2)
})

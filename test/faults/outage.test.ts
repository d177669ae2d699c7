/**
 * The provider of a model is out of order for ten minutes, under 200 runs of two nodes: processes of their own, a real
 * Redis, the provider's wire format. Time goes faster than in life, policies and provider alike. `npm run outage` writes
 * down what came of it.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { firstSeed } from '../support/extent.js'
import { figuresOf, playOutage, troubles, violations, type OutageFigures, type OutageOptions, type Phase } from '../support/outage.js'
import { RedisServer } from '../support/redis-server.js'

let redis: RedisServer
beforeAll(async () => {
  redis = await RedisServer.start({ appendfsync: 'everysec' })
})
afterAll(() => redis.stop())

const common: Omit<OutageOptions, 'phases'> = { runs: { patient: 140, fallback: 40, impatient: 20 }, scale: 10, answerMs: [5_000, 15_000], beginsAfter: 150, beginsWith: 100, seed: firstSeed }

/** Ten minutes. */
const mixed: readonly Phase[] = [
  { trouble: '529', ms: 60_000 },
  { trouble: '5xx', ms: 60_000 },
  { trouble: 'hangs', ms: 120_000 },
  { trouble: 'garbage', ms: 60_000 },
  { trouble: 'cut streams', ms: 60_000 },
  { trouble: '429 without', ms: 60_000 },
  { trouble: '429 with retry-after', ms: 120_000 },
  { trouble: '529', ms: 60_000 },
]

function row(name: string, figures: OutageFigures): string {
  const { inFlight, during, probes, afterPauses, inFlightBefore, inFlightAfter, firstAnswerMs, recoveredMs, right, typed, charged, billed } = figures
  const seconds = (ms: number | null): string => (ms === null ? '' : (ms / 1_000).toFixed(0))
  const dollars = (nano: number): string => (nano / 1e9).toFixed(3)
  const sum = (of: OutageFigures['right']): number => Object.values(of).reduce((a, b) => a + b, 0)
  return `| ${[name, inFlight, during, probes, afterPauses, dollars(charged), dollars(billed), seconds(firstAnswerMs), seconds(recoveredMs), `${inFlightBefore}, ${inFlightAfter}`, sum(right), sum(typed)].join(' | ')} |`
}

async function outage(name: string, phases: readonly Phase[], more: Partial<OutageOptions> = {}): Promise<void> {
  const record = await playOutage(redis, { ...common, phases, ...more })
  console.log(row(name, figuresOf(record)))
  expect(violations(record)).toEqual([])
}

test(`ten minutes of everything: no run is lost, nothing is restarted, what is spent is what was under way and in hand and the probes, and nobody is trampled when it ends (seed ${firstSeed})`, async () => {
  await outage('ten minutes of everything', mixed)
}, 300_000)

for (const trouble of troubles) {
  test(`two minutes of ${trouble}`, async () => {
    await outage(trouble, [{ trouble, ms: 120_000 }])
  }, 300_000)
}

test('a node is killed in the middle of it, and another one comes: no run is lost', async () => {
  await outage('529, a node killed after one minute', [{ trouble: '529', ms: 120_000 }], { killsAfterMs: 60_000 })
}, 300_000)

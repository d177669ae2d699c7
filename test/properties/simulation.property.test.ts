import { expect, test } from 'vitest'
import { violationsOf } from '../support/checkers.js'
import { extent, firstSeed } from '../support/extent.js'
import { simulate } from './simulation.js'

const seeds = extent(50, 10_000)

test(`in ${seeds} simulated worlds all invariants hold, whatever becomes of nodes, network and store (seeds ${firstSeed} to ${firstSeed + seeds - 1})`, async () => {
  const bad: string[] = []
  const counts: Record<string, number> = {}
  for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
    const { history } = await simulate(seed).catch((error: unknown) => {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error })
    })
    for (const { kind } of history.entries) counts[kind] = (counts[kind] ?? 0) + 1
    const violations = violationsOf(history)
    if (violations.length > 0) bad.push(`seed ${seed}: ${violations.slice(0, 3).join('; ')}`)
  }
  console.log(`${seeds} worlds: ${JSON.stringify(counts)}`)
  expect(bad).toEqual([])
}, 3_000_000)

test('the same seed gives the same trace', async () => {
  for (const seed of [firstSeed, firstSeed + 1, firstSeed + 2]) expect((await simulate(seed)).hash).toBe((await simulate(seed)).hash)
})

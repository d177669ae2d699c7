import { expect, test } from 'vitest'
import { extent, firstSeed } from '../support/extent.js'
import { run, runSeeds } from './nodes.js'

const seeds = extent(90, 10_000)

test(`${seeds} fleets lose, double and overtake nothing, whatever becomes of their nodes (seeds ${firstSeed} to ${firstSeed + seeds - 1})`, () => runSeeds(firstSeed, seeds), 3_000_000)

test('the same seed gives the same writes in the same order', async () => {
  for (const seed of [firstSeed, firstSeed + 1, firstSeed + 2]) expect((await run(seed)).trace).toBe((await run(seed)).trace)
})

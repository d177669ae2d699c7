/** The second half of the seeds, so that two processors share them. */
import { test } from 'vitest'
import { extent, firstSeed } from '../support/extent.js'
import { runSeeds } from './nodes.js'

const seeds = extent(90, 10_000)
const first = firstSeed + seeds

test(`${seeds} further fleets lose, double and overtake nothing (seeds ${first} to ${first + seeds - 1})`, () => runSeeds(first, seeds), 3_000_000)

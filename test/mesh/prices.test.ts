/** What an attempt costs, by the length of its prompt and what of it a cache held, and the most that it can cost. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createMesh, type ModelPrice, type Price } from '../../src/index.js'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { costOf, defaultPrices, worstCaseOf } from '../../src/mesh/prices.js'

const usage = (inputTokens: number, outputTokens = 0, cacheReadTokens = 0, cacheWriteTokens = 0) => ({ inputTokens, outputTokens, cacheReadTokens, cacheWriteTokens })
const tiered: ModelPrice = { tiers: [{ input: 1, output: 2, promptTokensMax: 100 }, { input: 3, output: 4, cacheRead: 1 }] }

test('the whole prompt decides on the tier, what a cache held of it included, and each token counts once', () => {
  expect(costOf(tiered, usage(100, 10))).toEqual({ tokens: 110, calls: 1, nanoDollars: 100_000 + 20_000 })
  expect(costOf(tiered, usage(101, 10))).toEqual({ tokens: 111, calls: 1, nanoDollars: 303_000 + 40_000 })
  expect(costOf(tiered, usage(1, 10, 60, 40))).toEqual({ tokens: 111, calls: 1, nanoDollars: 3_000 + 40_000 + 60_000 + 120_000 })
  // Money is rounded up, and a hair above a whole number is that number.
  expect(costOf({ input: 0.0001, output: 0 }, usage(1)).nanoDollars).toBe(1)
  expect(costOf({ input: 0.1, output: 0.2 }, usage(1, 1)).nanoDollars).toBe(300)
})

const dollars = fc.double({ min: 0, max: 100, noNaN: true })
const price: fc.Arbitrary<Price> = fc.record({ input: dollars, output: dollars, cacheRead: dollars, cacheWrite: dollars }, { requiredKeys: ['input', 'output'] })
const anyPrice: fc.Arbitrary<ModelPrice> = fc.oneof(price, fc.tuple(price, price, fc.integer({ min: 1, max: 2_000 })).map(([first, last, promptTokensMax]): ModelPrice => ({ tiers: [{ ...first, promptTokensMax }, last] })))

test('no attempt costs more than its worst case, whatever its prompt was read from or written to', () => {
  fc.assert(
    fc.property(fc.oneof(anyPrice, fc.constantFrom(...Object.values(defaultPrices.models))), fc.nat(1_000), fc.nat(1_000), fc.nat(1_000), fc.nat(1_000), fc.nat(500), (of, input, read, write, output, more) => {
      const cost = costOf(of, usage(input, output, read, write))
      const worst = worstCaseOf(of, input + read + write + more, output + more)
      for (const kind of ['tokens', 'calls', 'nanoDollars'] as const) expect(cost[kind]).toBeLessThanOrEqual(worst[kind])
    }),
    { numRuns: 500 },
  )
})

test.each([
  [{ asOf: 'yesterday', models: {} }, /^prices\.asOf: expected a date, YYYY-MM-DD/],
  [{ asOf: '2026-02-30', models: {} }, /^prices\.asOf: /],
  [{ asOf: '2026-01-01', models: { 'x/y': { tiers: [{ input: 1, output: 1, promptTokensMax: 10 }] } } }, /tiers: expected a last one without promptTokensMax/],
  [{ asOf: '2026-01-01', models: { 'x/y': { tiers: [{ input: 1, output: 1 }, { input: 1, output: 1, promptTokensMax: 10 }] } } }, /tiers: expected the shortest prompts first/],
  [{ asOf: '2026-01-01', models: { 'x/y': { input: -1, output: 1 } } }, /input: expected a number/],
])('prices that would charge too little are refused: %j', (prices, message) => {
  expect(() => createMesh({ store: new MemoryStore(), prices: prices as never })).toThrow(message)
})

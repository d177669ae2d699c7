/** The gate fails closed, and what chance decides stays within its bounds. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { backoffMs, chanceFrom, defaultBackoff } from '../../src/machines/backoff.js'
import { isShare, noConfidence, passes, type Confidence } from '../../src/machines/gate.js'
import { toVerdict } from '../../src/machines/verdict.js'

test('only a number from the threshold to 1, of somebody who stands for it, passes', () => {
  const pass = (value: unknown, source: Confidence['source'] = 'self'): boolean => passes({ value, source } as Confidence, 0.8)
  for (const value of [0.8, 0.9, 1]) expect(pass(value)).toBe(true)
  const not: unknown[] = [undefined, null, Number.NaN, Infinity, -Infinity, 1.0001, 0.79, -1, '0.9', 'high', true, [0.9], { valueOf: () => 1 }, '', new Number(0.9)]
  for (const value of not) expect(pass(value), String(value)).toBe(false)
  for (const source of ['self', 'judge', 'consistency', 'rule', 'human'] as const) expect(pass(1, source)).toBe(true)
  for (const source of ['default', 'missing', 'vibes', '', null] as Confidence['source'][]) expect(pass(1, source), String(source)).toBe(false)
  expect(passes({ value: 1 } as never, 0.8)).toBe(false)
  expect(passes(undefined, 0)).toBe(false)
  expect(passes(noConfidence, 0)).toBe(false)
  expect(noConfidence).toEqual({ value: null, source: 'missing' })
  expect([isShare(0), isShare(1), passes({ value: 0, source: 'rule' }, 0)]).toEqual([true, true, true])
  for (const threshold of [Number.NaN, '0.5', undefined, null, -0.1, 1.1, -Infinity]) expect(passes({ value: 1, source: 'human' }, threshold as number), String(threshold)).toBe(false)
})

test('whatever a verifier gives, only a whole verdict that says yes accepts', () => {
  fc.assert(
    fc.property(fc.anything(), (given) => {
      const verdict = toVerdict(given)
      if (verdict.accepted) expect(given).toMatchObject({ accepted: true, explanation: expect.any(String) as string, by: expect.any(String) as string })
      expect(Array.isArray(verdict.reasons)).toBe(true)
    }),
  )
  for (const accepted of ['true', 1, {}, [true]]) expect(toVerdict({ accepted, reasons: [], explanation: '', confidence: { value: 1, source: 'rule' }, by: 'x' }).accepted).toBe(false)
  for (const parts of [[null], [{}], 'x']) expect(toVerdict({ accepted: true, reasons: [], explanation: '', confidence: { value: 1, source: 'rule' }, by: 'x', parts }).accepted).toBe(false)
})

test('a backoff grows, is bounded, and is shortened by chance at most as far as its jitter says', () => {
  fc.assert(
    fc.property(fc.record({ firstMs: fc.integer({ min: 1, max: 1_000 }), factor: fc.integer({ min: 1, max: 4 }), maxMs: fc.integer({ min: 1, max: 60_000 }), jitter: fc.double({ min: 0, max: 1, noNaN: true }) }), fc.integer({ min: 1, max: 50 }), fc.double({ min: 0, max: 0.999, noNaN: true }), (backoff, attempt, chance) => {
      const full = backoffMs({ ...backoff, jitter: 0 }, attempt, 0)
      const wait = backoffMs(backoff, attempt, chance)
      expect(full).toBeLessThanOrEqual(backoff.maxMs)
      expect(wait).toBeLessThanOrEqual(full)
      expect(wait).toBeGreaterThanOrEqual(Math.round(full * (1 - backoff.jitter)) - 1)
      expect(backoffMs(backoff, attempt + 1, chance)).toBeGreaterThanOrEqual(wait)
    }),
  )
  const chances = Array.from({ length: 2_000 }, (_, i) => chanceFrom(`call.${i}`))
  expect(chances.every((chance) => chance >= 0 && chance < 1)).toBe(true)
  expect(Math.abs(chances.reduce((a, b) => a + b) / chances.length - 0.5)).toBeLessThan(0.05)
})

test('the first wait is the first, and each further one is so many times longer', () => {
  const waits = (jitter: number, chance: number): number[] => [0, 1, 2, 3, 4, 5].map((attempt) => backoffMs({ firstMs: 100, factor: 3, maxMs: 2_000, jitter }, attempt, chance))
  expect(waits(0, 0.5)).toEqual([100, 100, 300, 900, 2_000, 2_000])
  expect(waits(0.5, 0.5)).toEqual([75, 75, 225, 675, 1_500, 1_500])
  expect(backoffMs(defaultBackoff, 1, 0)).toBe(500)
  expect(defaultBackoff).toEqual({ firstMs: 500, factor: 2, maxMs: 30_000, jitter: 0.5 })
})

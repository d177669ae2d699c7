/** The clock by which timers fire: never back, never ahead of the store's, and told to somebody when it jumps. */
import { expect, test } from 'vitest'
import { NamespaceClock } from '../../src/runtime/namespace-clock.js'
import type { Logger } from '../../src/runtime/ports/logger.js'
import { VirtualClock } from '../../src/testing/index.js'

function begun(committed: number, storeTime: number): { clock: NamespaceClock; pass(ms: number): void; jumps: number[] } {
  const time = new VirtualClock()
  const jumps: number[] = []
  const nothing = (): void => {}
  const logger: Logger = { error: nothing, info: nothing, debug: nothing, trace: nothing, warn: (about) => void jumps.push((about as { jumpMs: number }).jumpMs) }
  return { clock: new NamespaceClock(time, logger, committed, storeTime), pass: (ms) => time.runUntil(time.now() + ms), jumps }
}

test('it begins with the later of the last commit and the store, and tells if the store is far behind', () => {
  expect(begun(1_000, 7_000).clock.now()).toBe(7_000)
  const behind = begun(12_000, 7_000)
  expect([behind.clock.now(), behind.jumps]).toEqual([12_000, []])
  const far = begun(12_001, 7_000)
  expect([far.clock.now(), far.jumps]).toEqual([12_001, [-5_001]])
  expect(begun(1_000, 90_000).jumps).toEqual([])
})

test('between two answers of the store it goes on by the monotonic clock, in whole ms, and never back', () => {
  const { clock, pass } = begun(0, 10_000)
  pass(1.9)
  expect(clock.now()).toBe(10_001)
  pass(98.1)
  expect(clock.now()).toBe(10_100)
  clock.sync(10_050)
  expect(clock.now()).toBe(10_100)
  pass(49)
  expect(clock.now()).toBe(10_100)
  pass(2)
  expect(clock.now()).toBe(10_101)
  clock.sync(10_500)
  expect(clock.now()).toBe(10_500)
})

test('a store whose clock jumps ahead takes it along, and somebody is told', () => {
  const { clock, jumps, pass } = begun(0, 10_000)
  clock.sync(15_000)
  expect([clock.now(), jumps]).toEqual([15_000, []])
  clock.sync(20_001)
  expect([clock.now(), jumps]).toEqual([20_001, [5_001]])
  pass(10)
  expect(clock.now()).toBe(20_011)
})

test('a store whose clock is set back does not, is told once, and its drift from then on counts', () => {
  const { clock, jumps, pass } = begun(0, 100_000)
  clock.sync(95_000)
  expect(jumps).toEqual([])
  pass(6_000)
  expect(clock.now()).toBe(101_000)
  clock.sync(41_000)
  expect([clock.now(), jumps]).toEqual([101_000, [-60_000]])
  // It goes on as the store does.
  pass(1_000)
  clock.sync(42_100)
  expect([clock.now(), jumps]).toEqual([102_100, [-60_000]])
  pass(1_000)
  clock.sync(43_000)
  expect([clock.now(), jumps]).toEqual([103_000, [-60_000]])
  pass(1_000)
  expect(clock.now()).toBe(104_000)
  // Set back once more, and set right.
  clock.sync(20_000)
  expect(jumps.length).toBe(2)
  clock.sync(104_000)
  expect([clock.now(), jumps.length]).toEqual([104_000, 2])
  clock.sync(98_999)
  expect(jumps.length).toBe(3)
})

test('one that began behind its last commit knows that from the beginning', () => {
  const { clock, jumps, pass } = begun(100_000, 50_000)
  pass(1_000)
  clock.sync(51_000)
  expect([clock.now(), jumps]).toEqual([101_000, [-50_000]])
  const ahead = begun(100_000, 200_000)
  ahead.clock.sync(194_000)
  expect(ahead.jumps).toEqual([-6_000])
})

test('a commit that was given a later time takes it along', () => {
  const { clock, jumps, pass } = begun(0, 10_000)
  clock.committed(9_000)
  expect(clock.now()).toBe(10_000)
  clock.committed(15_000)
  expect([clock.now(), jumps]).toEqual([15_000, []])
  pass(5)
  clock.committed(15_003)
  expect(clock.now()).toBe(15_005)
  clock.committed(20_006)
  expect([clock.now(), jumps]).toEqual([20_006, [5_001]])
  pass(1)
  expect(clock.now()).toBe(20_007)
})

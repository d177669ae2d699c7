/** Each kind of amount counts by itself: what one covers, another does not. */
import { expect, test } from 'vitest'
import { covers, isBalanced, nothing, openLedger, share, unspent, type Amounts, type Ledger } from '../../src/machines/ledger.js'

const some: Amounts = { tokens: 5, calls: 5, nanoDollars: 5 }
const kinds = ['tokens', 'calls', 'nanoDollars'] as const

test.each(kinds)('one too few %s does not cover, whatever there is of the others', (kind) => {
  const plenty: Amounts = { tokens: 9, calls: 9, nanoDollars: 9 }
  expect(covers(some, some)).toBe(true)
  expect(covers({ ...plenty, [kind]: 4 }, some)).toBe(false)
  expect(covers({ ...nothing, [kind]: 9 }, some)).toBe(false)
})

test.each(kinds)('a ledger that has lost or gained %s is not balanced, nor one below zero', (kind) => {
  const ledger = openLedger(some)
  expect(isBalanced(ledger)).toBe(true)
  for (const by of [-1, 1]) expect(isBalanced({ ...ledger, free: { ...some, [kind]: 5 + by } })).toBe(false)
  // Of this kind alone it is right.
  expect(isBalanced({ ...ledger, free: { ...nothing, [kind]: 5 } })).toBe(false)
  const moved = (free: number, spent: number): Ledger => ({ ...ledger, free: { ...some, [kind]: free }, spent: { ...nothing, [kind]: spent } })
  expect([isBalanced(moved(5, 0)), isBalanced(moved(0, 5)), isBalanced(moved(-1, 6)), isBalanced(moved(6, -1))]).toEqual([true, true, false, false])
  expect(isBalanced({ ...moved(-1, 6), free: { ...some, [kind]: -2 } })).toBe(false)
})

test('an equal part is rounded down; of calls there is one as long as there is one', () => {
  expect(share({ tokens: 10, calls: 7, nanoDollars: 11 }, 3)).toEqual({ tokens: 3, calls: 2, nanoDollars: 3 })
  expect(share({ tokens: 2, calls: 1, nanoDollars: 2 }, 3)).toEqual({ tokens: 0, calls: 1, nanoDollars: 0 })
  expect(share(nothing, 3)).toEqual(nothing)
})

test('what is free is given back, and nothing else', () => {
  expect(unspent({ ...openLedger(some), free: { tokens: 1, calls: 2, nanoDollars: 3 }, reserved: { a: some } })).toEqual({ tokens: 1, calls: 2, nanoDollars: 3 })
})

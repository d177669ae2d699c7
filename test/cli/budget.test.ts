/** What `holdfast show` says of a run's budget. */
import { expect, test } from 'vitest'
import { budgetLines } from '../../src/cli/views.js'
import { nothing, unbounded } from '../../src/machines/ledger.js'

test('of each limit that a run has it is said what was allotted, spent, held and is free, what was warned of, and what a person is asked', () => {
  const ceiling = { ...unbounded, nanoDollars: 2_000_000_000, calls: 1 }
  const status = { ceiling, spent: { nanoDollars: 1_200_000_000, tokens: 5_000, calls: 1 }, free: { ...unbounded, nanoDollars: 300_000_000, calls: 0 } }
  expect(budgetLines({ ...status, warnings: [{ kind: 'nanoDollars', share: 0.5, spent: 1_000_000_000, of: 2_000_000_000 }], topUp: { request: { why: 'step-1 cannot go on', actions: [], digest: 'd' }, decision: null } })).toEqual([
    'budget: $2.00 allotted, $1.20 spent, $0.50 held by agents, $0.30 free',
    'budget: 1 call allotted, 1 call spent, 0 calls held by agents, 0 calls free',
    'warned at 50 %: $1.00 of $2.00 spent',
    'a person is asked for more: step-1 cannot go on',
  ])
  const decided = { digest: 'd', approved: true, by: 'ann', note: '', at: null }
  expect(budgetLines({ ...status, warnings: [], topUp: { request: { why: '', actions: [], digest: 'd' }, decision: decided } }).at(-1)).toBe('more was approved by ann')
  expect(budgetLines({ ceiling: unbounded, spent: nothing, free: unbounded, warnings: [], topUp: null })).toEqual([])
})

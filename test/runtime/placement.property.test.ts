import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Members } from '../../src/runtime/members.js'
import { placementOf } from '../../src/runtime/placement.js'

const nodes = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 40 })
const shards = fc.integer({ min: 1, max: 200 })

function loadsOf(placement: readonly string[], names: readonly string[]): number[] {
  return names.map((name) => placement.filter((node) => node === name).length)
}

test('every shard falls to one of the nodes, no two nodes differ by more than one, and the order of the list is no matter', () => {
  fc.assert(
    fc.property(nodes, shards, (names, count) => {
      const placement = placementOf(names, count)
      expect(placement).toHaveLength(count)
      const loads = loadsOf(placement, names)
      expect(loads.reduce((a, b) => a + b, 0)).toBe(count)
      expect(Math.max(...loads) - Math.min(...loads)).toBeLessThanOrEqual(1)
      expect(placementOf([...names].reverse(), count)).toEqual(placement)
    }),
  )
  expect(placementOf([], 16)).toEqual([])
})

test('who comes or goes moves little more than it must', () => {
  // Over many fleets: moved shards against the least that even loads allow.
  let moved = 0
  let least = 0
  for (let round = 0; round < 40; round++) {
    for (const size of [1, 2, 3, 5, 8]) {
      const names = Array.from({ length: size + 1 }, (_, i) => `r${round}-n${i}`)
      const [before, after] = [placementOf(names.slice(0, -1), 64), placementOf(names, 64)]
      moved += after.filter((node, shard) => node !== before[shard]).length
      least += Math.floor(64 / (size + 1))
    }
  }
  expect(moved / least).toBeLessThan(1.5)
})

// ── Who lives ──

/** What one node sees of another one's counter at each of its looks. */
const looks = fc.array(fc.record({ afterMs: fc.integer({ min: 1, max: 900 }), moves: fc.boolean() }), { minLength: 1, maxLength: 60 })

const leaseMs = 1_000
/** Looks at a node and at a shard of its own, of which only one counter stands still now and then; `forMs`: for how long it has, looked at without a gap. */
function whileLooking(stands: 'node' | 'shard', check: (members: Members, forMs: number, isDead: boolean) => void): void {
  fc.assert(
    fc.property(looks, (steps) => {
      const members = new Members('me', leaseMs)
      let now = 0
      let beat = 1
      let since: number | undefined
      for (const { afterMs, moves } of steps) {
        now += afterMs
        if (moves) beat++
        if (since === undefined || moves || afterMs > leaseMs / 2) since = now
        members.saw([{ id: 'me', beat: now, presence: 'here' }, { id: 'other', beat: stands === 'node' ? beat : now, presence: 'here' }], now)
        check(members, now - since, members.isDead(3, { node: 'other', beat: stands === 'shard' ? beat : now }, now))
      }
    }),
  )
}

test('a node is dead only if its counter was seen to stand still for a lease, looked at all the while (M1)', () => {
  whileLooking('node', (members, forMs, isDead) => {
    expect(isDead).toBe(forMs >= leaseMs)
    expect(members.sharing(false)).toEqual(forMs >= leaseMs ? ['me'] : ['me', 'other'])
  })
})

test('who lives is taken over at a shard whose counter was seen to stand still for two leases, looked at all the while (M2)', () => {
  whileLooking('shard', (members, forMs, isDead) => {
    expect(isDead).toBe(forMs >= 2 * leaseMs)
    expect(members.sharing(false)).toEqual(['me', 'other'])
  })
})

test('an owner that is on no list is watched for a lease by the counter of its shard', () => {
  const members = new Members('me', 1_000)
  members.saw([{ id: 'me', beat: 1, presence: 'here' }], 0)
  expect(members.isDead(1, { node: 'stranger', beat: 5 }, 0)).toBe(false)
  expect(members.isDead(1, { node: 'stranger', beat: 5 }, 999)).toBe(false)
  expect(members.isDead(1, { node: 'stranger', beat: 6 }, 1_200)).toBe(false)
  expect(members.isDead(1, { node: 'stranger', beat: 6 }, 2_200)).toBe(true)
  expect(members.isDead(1, { node: 'stranger', beat: 6, alive: true }, 2_200)).toBe(false)
  expect(members.isDead(2, { node: 'me', beat: 6 }, 9_000)).toBe(false)
})

test('who leaves gets nothing more, and who is alone has all', () => {
  const members = new Members('me', 1_000)
  members.saw([{ id: 'me', beat: 1, presence: 'leaving' }, { id: 'other', beat: 1, presence: 'here' }], 0)
  expect(members.sharing(true)).toEqual(['other'])
  members.saw([{ id: 'me', beat: 2, presence: 'here' }, { id: 'other', beat: 2, presence: 'leaving' }], 100)
  expect(members.sharing(false)).toEqual(['me'])
  // One process owns all, and it is another one.
  members.saw([{ id: 'owner', beat: 1, presence: 'here', alive: true }], 200)
  expect(members.sharing(false)).toEqual(['owner'])
  members.saw([{ id: 'owner', beat: 1, presence: 'here', alive: false }], 300)
  expect(members.sharing(false)).toEqual(['me'])
  expect(members.sharing(true)).toEqual([])
})

test('who was marked as dead by another node gets nothing, but is taken over only after a lease of looking', () => {
  const members = new Members('me', 1_000)
  const marked = { id: 'other', beat: 4, presence: 'dead' as const }
  for (let now = 0; now <= 1_000; now += 250) {
    members.saw([{ id: 'me', beat: now, presence: 'here' }, marked], now)
    expect(members.sharing(false)).toEqual(['me'])
    expect(members.isDead(1, { node: 'other', beat: 9 }, now)).toBe(now >= 1_000)
    expect(members.silent()).toEqual([])
  }
  members.saw([{ id: 'me', beat: 1, presence: 'here' }, { ...marked, beat: 5, presence: 'here' }], 1_250)
  expect(members.sharing(false)).toEqual(['me', 'other'])
  expect(members.isDead(1, { node: 'other', beat: 9 }, 1_250)).toBe(false)
})

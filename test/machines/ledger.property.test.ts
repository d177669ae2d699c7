/** I7: money is moved, never copied, whatever happens in whatever order, and in a tree of ledgers as in one. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { closeGrant, covers, grant, isBalanced, lesser, minus, nothing, openLedger, plus, reserve, settle, sum, unspent, type Amounts, type Ledger } from '../../src/machines/ledger.js'

const amounts = (max: number): fc.Arbitrary<Amounts> => fc.record({ tokens: fc.nat(max), calls: fc.nat(max), nanoDollars: fc.nat(max) })
const id = fc.constantFrom('a', 'b', 'c')

const operation = fc.oneof(
  fc.record({ do: fc.constant('grant' as const), id, amounts: amounts(60) }),
  fc.record({ do: fc.constant('closeGrant' as const), id, amounts: fc.option(amounts(100), { nil: undefined }) }),
  fc.record({ do: fc.constant('reserve' as const), id, amounts: amounts(60) }),
  fc.record({ do: fc.constant('settle' as const), id, amounts: fc.option(amounts(100), { nil: undefined }) }),
)

test('a ledger is balanced after every operation, refuses what it does not cover, and repeats change nothing', () => {
  fc.assert(
    fc.property(amounts(200), fc.array(operation, { maxLength: 60 }), (received, operations) => {
      let ledger = openLedger(received)
      for (const { do: what, id: key, amounts: given } of operations) {
        const before: Ledger = ledger
        if (what === 'grant' || what === 'reserve') {
          const held = what === 'grant' ? before.granted : before.reserved
          const next = what === 'grant' ? grant(before, key, given!) : reserve(before, key, given!)
          expect(next === undefined).toBe(!held[key] && !covers(before.free, given!))
          ledger = next ?? before
          if (next) expect(what === 'grant' ? grant(next, key, given!) : reserve(next, key, given!)).toBe(next)
        } else {
          ledger = what === 'settle' ? settle(before, key, given) : closeGrant(before, key, given)
          expect(what === 'settle' ? settle(ledger, key, given) : closeGrant(ledger, key, given)).toBe(ledger)
          // Spent money never comes back.
          expect(covers(ledger.spent, before.spent)).toBe(true)
        }
        expect(isBalanced(ledger)).toBe(true)
        expect(ledger.received).toBe(received)
      }
    }),
    { numRuns: 2_000 },
  )
})

/** A tree of ledgers: who has which grant of whom, and what of it is not yet returned. */
interface Node {
  ledger: Ledger
  readonly parent: number | undefined
  readonly grantId: string
  open: boolean
}

test('in a tree of ledgers nothing is made and nothing is lost: what the root received is free, reserved or spent somewhere, and so is what was overrun', () => {
  const step = fc.record({ node: fc.nat(20), kind: fc.constantFrom('child', 'reserve', 'settle', 'lose', 'end', 'crash'), amount: amounts(40) })
  fc.assert(
    fc.property(amounts(500), fc.array(step, { maxLength: 80 }), (received, steps) => {
      const nodes: Node[] = [{ ledger: openLedger(received), parent: undefined, grantId: '', open: true }]
      // What calls cost beyond what was held for them, but for those of whoever ended without an account.
      let overrun = nothing
      const isBelowOpen = (node: Node): boolean => node.open && (node.parent === undefined || isBelowOpen(nodes[node.parent]!))
      const end = (index: number, account: boolean): void => {
        const node = nodes[index]!
        nodes.forEach((other, i) => other.parent === index && other.open && end(i, account))
        node.open = false
        const parent = nodes[node.parent!]!
        parent.ledger = closeGrant(parent.ledger, node.grantId, account ? unspent(node.ledger) : undefined, account ? node.ledger.overrun : undefined)
        if (!account) overrun = minus(overrun, node.ledger.overrun)
      }
      for (const { node: pick, kind, amount } of steps) {
        const index = pick % nodes.length
        const node = nodes[index]!
        if (!isBelowOpen(node)) continue
        const held = Object.keys(node.ledger.reserved)[0]
        if (kind === 'child') {
          const grantId = `g${nodes.length}`
          const ledger = grant(node.ledger, grantId, amount)
          if (!ledger) continue
          node.ledger = ledger
          nodes.push({ ledger: openLedger(amount), parent: index, grantId, open: true })
        } else if (kind === 'reserve') node.ledger = reserve(node.ledger, `r${Object.keys(node.ledger.reserved).length}`, amount) ?? node.ledger
        else if (kind === 'settle' && held) {
          overrun = plus(overrun, minus(amount, lesser(amount, node.ledger.reserved[held]!)))
          node.ledger = settle(node.ledger, held, amount)
        }
        else if (kind === 'lose' && held) node.ledger = settle(node.ledger, held)
        else if ((kind === 'end' || kind === 'crash') && index > 0) end(index, kind === 'end')
        // At every moment, over all that are open: what the root received is somewhere, once.
        const open = nodes.filter(isBelowOpen)
        const somewhere = sum(open.flatMap(({ ledger }) => [ledger.free, ledger.spent, ...Object.values(ledger.reserved)]))
        expect(somewhere).toEqual(received)
        expect(sum(open.map(({ ledger }) => ledger.overrun))).toEqual(overrun)
        for (const { ledger } of nodes) expect(isBalanced(ledger)).toBe(true)
      }
    }),
    { numRuns: 1_000 },
  )
})

test('what a call cost beyond its reservation is shown and never taken from somebody else', () => {
  const ledger = settle(reserve(openLedger({ tokens: 100, calls: 5, nanoDollars: 50 }), 'c', { tokens: 10, calls: 1, nanoDollars: 5 })!, 'c', { tokens: 12, calls: 1, nanoDollars: 4 })
  expect(ledger).toMatchObject({ free: { tokens: 90, calls: 4, nanoDollars: 46 }, spent: { tokens: 10, calls: 1, nanoDollars: 4 }, overrun: { tokens: 2, calls: 0, nanoDollars: 0 } })
  expect(plus(nothing, minus(ledger.received, ledger.spent))).toEqual(ledger.free)
})

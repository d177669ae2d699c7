/**
 * The budget of a tenant against a model of its runs, in whatever order messages, looks and windows come: of what it has
 * given, what runs spend within any window is within the limit (G2), the ledger is balanced (I7), nobody overtakes (G4),
 * and when all have given back nothing is left out.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { initialTransition, transition, type ActorRefFrom, type SnapshotFrom } from 'xstate'
import { budgetMachine, type BudgetAnswer, type BudgetContext, type BudgetEvent, type BudgetPolicy } from '../../src/machines/budget.machine.js'
import { isBalanced, minus, nothing, sum, unbounded } from '../../src/machines/ledger.js'
import { extent, isChosen } from '../support/extent.js'

const day = 86_400_000
const limit = 20
const policyOf = (whenSpent: 'refuse' | 'wait'): BudgetPolicy => ({ limits: { ...unbounded, calls: limit }, per: 'day', perRun: unbounded, whenSpent, waitMs: 1_000, warnAt: [0.5] })

interface Run {
  readonly name: string
  draws: number
  /** Asked for, and not answered. */
  asks: number | null
  /** What it has taken in, and spent of that. */
  held: number
  spent: number
}

const step = fc.oneof(
  fc.record({ do: fc.constant('draw' as const), run: fc.nat(3), calls: fc.integer({ min: 1, max: 24 }) }),
  fc.record({ do: fc.constant('spend' as const), run: fc.nat(3), calls: fc.integer({ min: 1, max: 6 }) }),
  fc.record({ do: fc.constantFrom('return' as const, 'withdraw' as const), run: fc.nat(3), calls: fc.constant(0) }),
  fc.record({ do: fc.constantFrom('look' as const, 'answer' as const, 'answer' as const, 'answer' as const, 'blind' as const, 'review' as const, 'hear' as const), run: fc.nat(3), calls: fc.constant(0) }),
  fc.record({ do: fc.constant('night' as const), run: fc.constant(0), calls: fc.nat(2) }),
)

test('whatever comes in whatever order, no day’s spending is above its limit, and the ledger is balanced', () => {
  let granted = 0
  fc.assert(
    fc.property(fc.constantFrom<'refuse' | 'wait'>('refuse', 'wait'), fc.array(step, { maxLength: 80 }), (whenSpent, steps) => {
      let now = 1_000
      let [state] = initialTransition(budgetMachine)
      const runs: Run[] = []
      const living = (i: number): Run => (runs[i] ??= { name: `run/${runs.length}-${i}`, draws: 0, asks: null, held: 0, spent: 0 })
      /** Answers that are under way, in their order. */
      const answers: { readonly run: string; readonly answer: BudgetAnswer }[] = []
      const spentOn = new Map<number, number>()
      const send = (event: BudgetEvent | { readonly type: string }): void => {
        const [next, actions] = transition(budgetMachine, state as SnapshotFrom<typeof budgetMachine>, event as BudgetEvent)
        state = next
        for (const { params } of actions as unknown as { params?: { to?: ActorRefFrom<typeof budgetMachine>; event?: BudgetAnswer } }[]) {
          if (params?.to && params.event?.type.startsWith('budget.')) answers.push({ run: params.to.id, answer: params.event })
        }
      }
      /** As the runtime does: a window's timer comes before what comes after it. */
      const look = (): void => {
        if (state.matches('open') && now >= ((state.context as BudgetContext).windowEndsAt ?? Infinity)) send({ type: 'xstate.after.review.budget.open' })
        if (state.matches('blind')) send({ type: 'xstate.after.retry.budget.blind' })
        const line = (state.context as BudgetContext).waiting.map(({ run: name }) => name)
        const heard = answers.length
        if (state.matches('looking')) send({ type: 'xstate.done.actor.look', output: { at: now, policy: policyOf(whenSpent), ended: [] } } as never)
        const first = (state.context as BudgetContext).waiting[0]
        for (const { run: name, answer } of first ? answers.slice(heard) : []) if (answer.type === 'budget.granted') expect(line.indexOf(name), 'nobody overtakes').toBeLessThan(line.indexOf(first!.run))
      }
      const hear = (): void => {
        for (const { run: name, answer } of answers.splice(0)) {
          const run = runs.find((other) => other?.name === name)
          if (!run || run.asks !== answer.draw) continue
          if (answer.type === 'budget.waits') continue
          run.asks = null
          if (answer.type !== 'budget.granted') continue
          granted++
          run.draws = answer.draw
          run.held += answer.amounts.calls
        }
      }
      for (const { do: what, run: i, calls } of steps) {
        const run = living(i)
        if (what === 'draw' && run.asks === null) {
          run.asks = run.draws + 1
          send({ type: 'budget.draw', run: run.name, draw: run.asks, wanted: { ...unbounded, calls } })
        } else if (what === 'draw') send({ type: 'budget.draw', run: run.name, draw: run.asks!, wanted: { ...unbounded, calls } })
        else if (what === 'spend') {
          const amount = Math.min(calls, run.held - run.spent)
          run.spent += amount
          const today = Math.floor(now / day)
          spentOn.set(today, (spentOn.get(today) ?? 0) + amount)
        } else if (what === 'withdraw' && run.asks !== null) {
          send({ type: 'budget.withdraw', run: run.name, draw: run.asks })
          // Its answer may be on its way still: it is not heard.
          for (const [at, { run: name }] of [...answers.entries()].reverse()) if (name === run.name) answers.splice(at, 1)
          run.asks = null
        } else if (what === 'return') {
          send({ type: 'budget.return', run: run.name, draws: run.draws, unspent: { ...nothing, calls: run.held - run.spent }, spent: { ...nothing, calls: run.spent } })
          runs[i] = { name: `${run.name}.`, draws: 0, asks: null, held: 0, spent: 0 }
        } else if (what === 'look') look()
        else if (what === 'blind' && state.matches('looking')) send({ type: 'xstate.error.actor.look', error: new Error('no store') } as never)
        else if (what === 'review' && state.matches('open')) send({ type: 'xstate.after.review.budget.open' })
        else if (what === 'hear') hear()
        else if (what === 'answer') {
          look()
          hear()
        }
        else if (what === 'night') {
          // Until it is looked up, nobody is given anything; so what was under way is of the day before.
          look()
          hear()
          now += calls * day + 1_000
          look()
        }
        const { ledger, waiting, allotments } = state.context as BudgetContext
        expect(isBalanced(ledger)).toBe(true)
        expect(Object.keys(ledger.granted).sort()).toEqual(Object.keys(allotments).sort())
        expect(new Set(waiting.map(({ run: name }) => name)).size).toBe(waiting.length)
        for (const [on, amount] of spentOn) expect(amount, `day ${on}`).toBeLessThanOrEqual(limit)
      }
      look()
      hear()
      for (const run of runs) if (run) send({ type: 'budget.return', run: run.name, draws: run.draws, unspent: { ...nothing, calls: run.held - run.spent }, spent: { ...nothing, calls: run.spent } })
      look()
      const { ledger, waiting, allotments, totals } = state.context as BudgetContext
      expect({ waiting, allotments, granted: ledger.granted }).toEqual({ waiting: [], allotments: {}, granted: {} })
      expect(minus(totals.allotted, totals.givenBack)).toEqual({ ...nothing, calls: totals.spent.calls })
      expect(totals.spent.calls).toBe([...spentOn.values()].reduce((all, amount) => all + amount, 0))
      expect(sum([ledger.free, ledger.spent])).toEqual(ledger.received)
    }),
    { numRuns: extent(300, 50_000) },
  )
  if (!isChosen) expect(granted).toBeGreaterThan(100)
})

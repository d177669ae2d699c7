/** The budgets of tenants as the mesh runs them: what their charts look up, and how they stand. */
import type { AnyStateMachine } from 'xstate'
import { budgetMachine, type BudgetContext, type BudgetPolicy, type BudgetSight, type BudgetTotals, type LookInput, type RunAccount } from '../machines/budget.machine.js'
import { minus, nothing, sum, type Amounts, type BudgetWarning } from '../machines/ledger.js'
import type { RunContext } from '../machines/run.machine.js'
import { repeatable } from '../protocol.js'
import type { ActorHandle } from '../runtime/actor.js'
import type { XMachineSnapshot } from '../runtime/xstate/insides.js'

export function budgetAddress(tenant: string): string {
  return `budget/${tenant}`
}

/** Where a tenant's budget stands, as it was when a run last drew from it or gave back. */
export interface BudgetStatus {
  readonly tenant: string
  /** The figures that hold; null: it is not limited. */
  readonly policy: BudgetPolicy | null
  /** End of the window, namespace time, ms; null: it does not end. */
  readonly windowEndsAt: number | null
  /** Of this window. What is not limited is not counted. */
  readonly received: Amounts
  readonly free: Amounts
  /** With runs that have not ended. */
  readonly allotted: Amounts
  readonly spent: Amounts
  /** Addresses of the runs that hold something. */
  readonly runs: readonly string[]
  /** Addresses of the runs that wait for something, the first first. */
  readonly waiting: readonly string[]
  readonly warnings: readonly BudgetWarning[]
  /** Over all windows. */
  readonly totals: BudgetTotals
}

export function budgetStatusOf(tenant: string, { policy, windowEndsAt, ledger, allotments, waiting, warnings, totals }: BudgetContext): BudgetStatus {
  const { received, free, granted, spent } = ledger
  return { tenant, policy, windowEndsAt, received, free, allotted: sum(Object.values(granted)), spent, runs: Object.keys(allotments), waiting: waiting.map(({ run }) => run), warnings, totals }
}

export interface BudgetPorts {
  /** Store's time, ms. */
  now(): Promise<number>
  /** Resolves when what was changed is known here. @throws if it could not be asked */
  isCurrent(): Promise<boolean>
  policyOf(tenant: string): BudgetPolicy | null
  actor(address: string): ActorHandle
}

/** @internal */
export function tenantBudgetMachine(ports: BudgetPorts): AnyStateMachine {
  return budgetMachine.provide({
    actors: {
      look: repeatable(async ({ input }: { input: LookInput }): Promise<BudgetSight> => {
        if (!(await ports.isCurrent())) throw new Error('what was changed could not be read')
        const ended: RunAccount[] = []
        for (const run of input.runs) {
          // One that cannot be read now, say of a newer version, holds what it holds, and nobody up.
          const account = await accountOf(run, ports.actor(run)).catch(() => undefined)
          if (account) ended.push(account)
        }
        return { at: await ports.now(), policy: ports.policyOf(input.tenant), ended }
      }),
    },
  }) as AnyStateMachine
}

/** Of a run that has ended without having told; undefined if it may spend still. */
async function accountOf(run: string, actor: ActorHandle): Promise<RunAccount | undefined> {
  const failure = await actor.failure()
  const snapshot = (failure?.snapshot ?? (await actor.snapshot())) as unknown as XMachineSnapshot | undefined
  // Nobody can tell any more: all that it was given counts as spent.
  if (!snapshot) return { run, draws: Infinity, unspent: nothing, spent: nothing }
  const { ledger, draws, hasGivenBack } = snapshot.context as unknown as RunContext
  if (!failure && snapshot.status === 'active' && !hasGivenBack) return undefined
  // What its agents hold they may spend yet.
  return { run, draws, unspent: ledger.free, spent: minus(ledger.received, ledger.free) }
}

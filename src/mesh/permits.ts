/**
 * The policies of a mesh at work on this node: a desk, with a stock for each policy that has been needed. What the
 * policies say can be changed at any time: stocks take the new figures with their next ask, and calls that wait are
 * looked at again.
 */
import { toStoredError } from '../errors.js'
import type { PoliciesContext, Stop } from '../machines/policies.machine.js'
import type { Refusal } from '../machines/permit.js'
import type { Clock } from '../runtime/ports/clock.js'
import type { Logger } from '../runtime/ports/logger.js'
import { BreakerStock } from './breaker-stock.js'
import { BulkheadStock } from './bulkhead-stock.js'
import { LimiterStock } from './limiter-stock.js'
import { Desk, type PermitSubject } from './desk.js'
import { inHand, type Stock, type StockPorts } from './permit-stock.js'
import type { BudgetPolicy } from '../machines/budget.machine.js'
import { budgetFor, callPolicyFor, checkPolicies, policiesFor, type EffectiveCall, type EffectivePolicy, type PolicyOptions } from './policies.js'

/** Subjects and policies that are remembered, at most: those of tenants and versions long gone make room. */
const rememberedMax = 10_000
/** How long a node holds to what it has last seen of changes and stops before it looks again, ms. */
export const heldMs = 1_000

export interface PermitPorts extends StockPorts {
  readonly clock: Clock
  readonly logger: Logger
  /** Whether a model answers in this process. */
  isLocal(model: string): boolean
  /** What was changed and stopped while the mesh ran; undefined: nothing ever. */
  look(): Promise<PoliciesContext | undefined>
  /** Unique among nodes. */
  readonly node: string
}

export class Permits {
  readonly desk: Desk
  private readonly ports: PermitPorts
  private options: PolicyOptions
  private ofCode: PolicyOptions
  /** Whether others were set while the mesh ran. */
  private isSet = false
  private revision = 0
  /** When the store was last asked, by this process's clock. */
  private seenAt = -Infinity
  private looking: Promise<boolean> | undefined
  private cancelLook: (() => void) | undefined
  stops: readonly Stop[] = []
  private readonly stocks = new Map<string, BreakerStock | BulkheadStock | LimiterStock>()
  private readonly bySubject = new Map<string, readonly Stock[]>()

  constructor(options: PolicyOptions, ports: PermitPorts) {
    this.options = this.ofCode = options
    this.ports = ports
    this.desk = new Desk(
      ports.clock,
      (subject) => this.stocksFor(subject),
      (subject) => {
        const stop = this.stopOf(subject)
        return stop ? { is: 'refused', refusal: refusalOf(stop) } : inHand
      },
      () => this.lookLater(),
    )
  }

  /** As long as calls wait, what was changed is looked at again and again: with an idle mesh nobody looks. */
  private lookLater(): void {
    this.cancelLook ??= this.ports.clock.after(heldMs, () => {
      this.cancelLook = undefined
      void this.isCurrent().then(() => this.desk.changed())
    })
  }

  /** Whether what is known of changes and stops is of less than `heldMs` ago; if it is not, the store is asked first. */
  async isCurrent(): Promise<boolean> {
    return this.ports.clock.now() - this.seenAt < heldMs || this.refresh()
  }

  /** Asks the store what was changed and stopped. false: it could not be asked. */
  refresh(): Promise<boolean> {
    this.looking ??= this.look().finally(() => (this.looking = undefined))
    return this.looking
  }

  private async look(): Promise<boolean> {
    const askedAt = this.ports.clock.now()
    try {
      const context = await this.ports.look()
      if (context) this.adopt(context)
      this.seenAt = askedAt
      return true
    } catch (error) {
      this.ports.logger.warn({ error: toStoredError(error).message }, 'what was changed or stopped could not be read: calls wait')
      return false
    }
  }

  private adopt({ revision, policies, stops }: PoliciesContext): void {
    if (revision <= this.revision) return
    this.revision = revision
    this.stops = stops
    this.isSet = policies !== null
    try {
      this.set(policies === null ? this.ofCode : checkPolicies(policies))
    } catch (error) {
      // Set by a newer version of this code: what this one does not understand, it cannot hold to.
      this.ports.logger.error({ error: toStoredError(error).message }, 'policies that were set are not understood here: those of the code hold')
      this.set(this.ofCode)
    }
  }

  /** What holds on this node unless others are set: its code, or a file, says otherwise from now on. */
  setOfCode(options: PolicyOptions): void {
    this.ofCode = options
    if (!this.isSet) this.set(options)
  }

  /** Why such a call may not begin, as far as this node knows. */
  stopOf({ agent, version, model, tenant, tool }: PermitSubject): Stop | undefined {
    const names: Readonly<Record<Stop['scope'], string | null>> = { agent, version: `${agent}@${version}`, model, provider: model.slice(0, model.indexOf('/')), tenant, tool: tool ?? null }
    return this.stops.find(({ scope, name }) => names[scope] === name)
  }

  /** What applies to calls of this kind, with all figures. */
  chainFor(subject: PermitSubject, options = this.options): readonly EffectivePolicy[] {
    return policiesFor(options, subject, this.ports.isLocal(subject.model))
  }

  /** What a tenant's runs may spend, as far as this node knows; null: it is not limited. */
  budgetOf(tenant: string, options = this.options): BudgetPolicy | null {
    return budgetFor(options, tenant)
  }

  /** How hard calls of an agent's version try that begin now. */
  callFor({ agent, version }: Pick<PermitSubject, 'agent' | 'version'>, options = this.options): EffectiveCall {
    return callPolicyFor(options, agent, version)
  }

  /** Waits until it is known what was changed and stopped. */
  async current(signal: AbortSignal): Promise<void> {
    while (!(await this.isCurrent())) {
      signal.throwIfAborted()
      await new Promise<void>((resolve) => void this.ports.clock.after(heldMs, resolve))
    }
  }

  private set(options: PolicyOptions): void {
    this.options = options
    this.bySubject.clear()
    this.desk.changed()
  }

  private stocksFor(subject: PermitSubject): readonly Stock[] {
    const key = JSON.stringify([subject.agent, subject.version, subject.model, subject.tenant, subject.tool])
    const known = this.bySubject.get(key)
    if (known) return known
    const stocks = this.chainFor(subject).map((policy) => this.stockOf(policy))
    if (this.bySubject.size >= rememberedMax) this.bySubject.clear()
    this.bySubject.set(key, stocks)
    return stocks
  }

  private stockOf(policy: EffectivePolicy): Stock {
    const key = `${policy.kind} ${policy.scope} ${policy.name}`
    const changed = (): void => this.desk.changed()
    let stock = this.stocks.get(key)
    if (stock) stock.policy = policy.figures as never
    else {
      if (this.stocks.size >= rememberedMax) this.forget()
      stock = this.newStock(policy, changed)
      this.stocks.set(key, stock)
    }
    return stock
  }

  /** The one that was first needed longest ago, and is not being used. */
  private forget(): void {
    for (const [key, stock] of this.stocks) {
      if (!stock.isIdle || this.desk.waitingFor(stock) > 0) continue
      stock.close()
      this.stocks.delete(key)
      this.bySubject.clear()
      return
    }
  }

  /** Nothing is permitted, asked or waited for any more. */
  close(): void {
    this.cancelLook?.()
    this.desk.close()
    for (const stock of this.stocks.values()) stock.close()
  }

  private newStock(policy: EffectivePolicy, changed: () => void): BreakerStock | BulkheadStock | LimiterStock {
    switch (policy.kind) {
      case 'breaker':
        return new BreakerStock(policy, policy.figures, this.ports, changed)
      case 'limit':
        return new LimiterStock(policy, policy.figures, this.ports.node, this.ports, changed)
      case 'bulkhead': {
        const stock: BulkheadStock = new BulkheadStock(policy, policy.figures, () => this.desk.waitingFor(stock), changed)
        return stock
      }
    }
  }
}

export function refusalOf({ scope, name, by, why }: Stop): Refusal {
  return { reason: 'stopped', scope, name, message: `${by} has stopped the calls of ${scope} ${name}: ${why}` }
}

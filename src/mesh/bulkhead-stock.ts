/** A bulkhead of one node: how many calls of one agent, model or tenant may be under way here, and how many may wait for that. */
import type { PolicyScope } from '../machines/permit.js'
import { inHand, lacking, type Standing, type Stock, type Taken } from './permit-stock.js'

export interface BulkheadPolicy {
  /** Calls under way on one node, inclusive, at least 1. */
  readonly workingMax: number
  /** Calls that wait on one node, inclusive; a further one is refused. */
  readonly waitingMax: number
}

export class BulkheadStock implements Stock {
  readonly lookAt = Infinity
  policy: BulkheadPolicy
  private working = 0
  private readonly subject: { readonly scope: PolicyScope; readonly name: string }
  private readonly waiting: () => number
  private readonly changed: () => void

  /** @param waiting how many wait that would go through it */
  constructor(subject: BulkheadStock['subject'], policy: BulkheadPolicy, waiting: () => number, changed: () => void) {
    this.subject = subject
    this.policy = policy
    this.waiting = waiting
    this.changed = changed
  }

  get name(): string {
    return `${this.subject.scope} ${this.subject.name}`
  }

  get isIdle(): boolean {
    return this.working === 0
  }

  close(): void {}

  standing(): Standing {
    return this.working < this.policy.workingMax ? inHand : lacking
  }

  /** Whether one more may wait. */
  admits(): Standing {
    const { scope, name } = this.subject
    const { workingMax, waitingMax } = this.policy
    if (this.waiting() < waitingMax) return lacking
    return { is: 'refused', refusal: { reason: 'full', scope, name, message: `the bulkhead of ${scope} ${name} is full on this node: ${this.working} of ${workingMax} calls are under way and ${waitingMax} wait` } }
  }

  take(): Taken {
    this.working++
    let isOver = false
    const leave = (): void => {
      if (isOver) return
      isOver = true
      this.working--
      this.changed()
    }
    return { validUntil: Infinity, settle: leave, giveBack: leave }
  }

  need(): void {}
}

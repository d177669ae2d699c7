/** A node's permits of one circuit breaker, and the outcomes that it has yet to tell it of. */
import type { BreakerAnswer, BreakerAsk, BreakerContext, BreakerOutcome, BreakerPolicy, BreakerState } from '../machines/circuit-breaker.machine.js'
import type { PolicyScope, Refusal } from '../machines/permit.js'
import { Asker, inHand, lacking, type Ending, type Standing, type Stock, type StockPorts, type Taken, type Want } from './permit-stock.js'

/** Outcomes that wait to be told, at most: the oldest go. */
const outcomesMax = 1_000

export interface BreakerSubject {
  readonly scope: PolicyScope
  /** `anthropic/claude-opus-5-5`, `researcher@2`. */
  readonly name: string
  readonly address: string
  /** Fed with what came of answers, rather than with whether there was one. */
  readonly isSemantic: boolean
}

export class BreakerStock implements Stock {
  policy: BreakerPolicy
  private readonly subject: BreakerSubject
  private readonly ports: StockPorts
  private readonly asker: Asker<BreakerAnswer>
  private state: BreakerState = 'closed'
  private why: string | null = null
  private permits = 0
  private validUntil = -1
  private era = 0
  /** The number of the next probe in hand. */
  private probe: number | null = null
  private outcomes: BreakerOutcome[] = []
  private sent: readonly BreakerOutcome[] = []
  private wanted = 0
  private askedFor = 0
  private readonly changed: () => void
  readonly close: () => void

  constructor(subject: BreakerSubject, policy: BreakerPolicy, ports: StockPorts, changed: () => void) {
    this.subject = subject
    this.policy = policy
    this.ports = ports
    this.changed = changed
    this.asker = new Asker(ports, subject.address, (at) => this.question(at), (answer, askedAt) => this.learn(answer, askedAt), () => this.tellAgain(), changed)
    this.close = ports.watch(subject.address, (context) => this.see(context as BreakerContext))
  }

  get name(): string {
    return `${this.subject.scope} ${this.subject.name}`
  }

  get isIdle(): boolean {
    return !this.asker.isBusy
  }

  get lookAt(): number {
    return this.asker.isBusy ? Infinity : this.asker.notBefore
  }

  standing(): Standing {
    const now = this.ports.clock.now()
    if (this.permits > 0 && now <= this.validUntil) return this.isTripping() ? lacking : inHand
    if (this.state !== 'closed' && now < this.asker.notBefore) return { is: 'refused', refusal: this.refusal() }
    return lacking
  }

  /** Whether what it has yet to hear opens it, whatever else it hears: nobody waits for its word to stop. */
  private isTripping(): boolean {
    const untold = [...this.sent, ...this.outcomes].filter(({ era }) => era === this.era)
    return untold.length - 1 - untold.findLastIndex(({ result }) => result === 'ok') >= this.policy.consecutiveMax
  }

  private refusal(): Refusal {
    const { scope, name } = this.subject
    const message = this.state === 'open' ? `the circuit breaker of ${scope} ${name} is open: ${this.why ?? 'it failed'}` : `the circuit breaker of ${scope} ${name} is half open, and its probes are under way`
    return { reason: 'open', scope, name, message }
  }

  take(): Taken {
    const { era, validUntil, probe } = this
    this.permits--
    if (this.probe !== null) this.probe++
    // In good time, so that the next call finds some.
    if (this.state === 'closed' && this.permits <= this.policy.permitsMax / 4) this.refill(this.policy.permitsMax)
    const { isSemantic } = this.subject
    let isOver = false
    const end = (result: Ending['result']): void => {
      if (isOver) return
      isOver = true
      this.report({ result, era, probe })
    }
    return {
      validUntil,
      settle: ({ result }) => {
        if (!isSemantic) end(result)
        // There will be no answer to judge.
        else if (result !== 'ok') end('void')
      },
      giveBack: () => {
        if (probe === null && validUntil === this.validUntil) this.permits++
        else end('void')
      },
      ...(isSemantic ? { judge: (ok: boolean) => end(ok ? 'ok' : 'failed') } : {}),
    }
  }

  need(waiting: readonly Want[]): void {
    this.refill(Math.min(this.policy.permitsMax, Math.max(waiting.length, Math.ceil(this.policy.permitsMax / 2))))
  }

  private refill(wanted: number): void {
    this.wanted = wanted
    if (this.ports.clock.now() >= this.asker.notBefore) this.asker.ask()
  }

  private report(outcome: BreakerOutcome): void {
    if (outcome.result === 'void' && outcome.probe === null) return
    this.outcomes.push(outcome)
    if (this.outcomes.length > outcomesMax) this.outcomes.splice(0, this.outcomes.length - outcomesMax)
    // A success of a closed breaker can wait for the next batch.
    if (outcome.result === 'failed' || outcome.probe !== null) this.asker.ask(true)
  }

  private question(at: number): BreakerAsk & { readonly [key: string]: unknown } {
    const { wanted, policy, outcomes } = this
    this.wanted = 0
    this.askedFor = wanted
    this.sent = outcomes
    this.outcomes = []
    return { type: 'permit.ask', at, wanted, policy, outcomes }
  }

  private tellAgain(): void {
    this.outcomes = [...this.sent, ...this.outcomes].slice(-outcomesMax)
    this.sent = []
  }

  private learn(answer: BreakerAnswer, askedAt: number): void {
    const { state, era, permits, probe, validMs, retryMs, why } = answer
    const now = this.ports.clock.now()
    this.sent = []
    if (state !== this.state || era !== this.era) this.drop()
    this.state = state
    this.era = era
    this.why = why
    if (permits > 0) {
      this.permits = permits
      this.probe = probe
      this.validUntil = askedAt + validMs
      this.asker.notBefore = 0
    } else if (state !== 'closed' || this.askedFor > 0) this.asker.notBefore = now + Math.max(1, retryMs)
  }

  /** Another node's report has changed it. */
  private see({ era, ramp }: BreakerContext): void {
    if (era === this.era || this.era === 0) {
      // It has closed: who waits for that need wait no longer.
      if (ramp && this.state !== 'closed' && !this.asker.isBusy) {
        this.asker.notBefore = 0
        this.changed()
      }
      return
    }
    this.drop()
    this.changed()
  }

  private drop(): void {
    this.permits = 0
    this.probe = null
    this.validUntil = -1
  }
}

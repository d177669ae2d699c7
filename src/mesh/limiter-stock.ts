/** A node's permits of one rate limit, requests and tokens, and what of them it has yet to give back. */
import type { LimiterAnswer, LimiterAsk, LimiterBatch, LimiterContext, LimitPolicy } from '../machines/limiter.machine.js'
import type { PolicyScope } from '../machines/permit.js'
import { Asker, inHand, lacking, type Standing, type Stock, type StockPorts, type Taken, type Want } from './permit-stock.js'

export interface LimiterSubject {
  readonly scope: PolicyScope
  readonly name: string
  readonly address: string
}

/** Asked for without anybody waiting: of an average call, so many tokens. */
const usualTokens = 8_000

export class LimiterStock implements Stock {
  policy: LimitPolicy
  private readonly subject: LimiterSubject
  private readonly ports: StockPorts
  private readonly node: string
  private readonly asker: Asker<LimiterAnswer>
  private batch = 0
  private requests = 0
  private tokens = 0
  private validUntil = -1
  private pauseMs = 0
  private pausedUntil = 0
  private back: LimiterBatch[] = []
  private sentPauseMs = 0
  private wanted: Pick<LimiterAsk, 'wanted' | 'waiting' | 'tokens' | 'least' | 'priority' | 'leftMs'> = nobody
  private askedFor = 0
  private readonly changed: () => void
  readonly close: () => void

  /** @param node unique among those that ask */
  constructor(subject: LimiterSubject, policy: LimitPolicy, node: string, ports: StockPorts, changed: () => void) {
    this.subject = subject
    this.policy = policy
    this.node = node
    this.ports = ports
    this.changed = changed
    this.asker = new Asker(ports, subject.address, (at) => this.question(at), (answer, askedAt) => this.learn(answer, askedAt), () => this.tellAgain(), changed)
    this.close = ports.watch(subject.address, (context) => this.see(context as LimiterContext))
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

  standing(want: Want): Standing {
    const { scope, name } = this.subject
    const { tokensMax, windowMs } = this.policy
    const refused = (message: string): Standing => ({ is: 'refused', refusal: { reason: 'limit', scope, name, message } })
    if (tokensMax !== null && want.tokens > tokensMax) return refused(`the call may use ${want.tokens} tokens, and the rate limit of ${scope} ${name} is ${tokensMax} in ${windowMs / 1_000} s: it would never fit`)
    if (this.has(want)) return inHand
    const { notBefore } = this.asker
    if (notBefore > want.deadlineAt) return refused(`the rate limit of ${scope} ${name} leaves no room in time: the next is in ${Math.ceil((notBefore - this.ports.clock.now()) / 1_000)} s`)
    return lacking
  }

  private has(want: Want): boolean {
    return this.requests > 0 && this.ports.clock.now() <= this.validUntil && (this.policy.tokensMax === null || this.tokens >= want.tokens)
  }

  take(want: Want): Taken {
    const { batch, validUntil } = this
    const isCounted = this.policy.tokensMax !== null
    const tokens = isCounted ? want.tokens : 0
    this.requests--
    this.tokens -= tokens
    if (this.requests <= this.policy.permitsMax / 4) this.refillInTime(want)
    let isOver = false
    const end = (requests: number, unused: number): void => {
      if (isOver) return
      isOver = true
      this.return({ batch, requests, tokens: unused })
    }
    return {
      validUntil,
      settle: (ending) => {
        if (ending.retryAfterMs !== null && this.subject.scope === 'provider') this.pause(ending.retryAfterMs)
        // Unknown: all of it.
        end(0, ending.tokens === null ? 0 : Math.max(0, tokens - ending.tokens))
      },
      giveBack: () => end(1, tokens),
    }
  }

  need(waiting: readonly Want[]): void {
    const first = waiting[0]!
    const { permitsMax } = this.policy
    const some = waiting.slice(0, permitsMax)
    this.refill({ wanted: some.length, waiting: some.length, tokens: some.reduce((sum, want) => sum + want.tokens, 0), least: first.tokens, priority: first.priority, leftMs: Math.max(0, first.deadlineAt - this.ports.clock.now()) })
  }

  /** Before the last is used. Nobody waits for it: it comes after all that wait. */
  private refillInTime({ tokens }: Want): void {
    const { requestsMax, permitsMax } = this.policy
    const wanted = Math.min(permitsMax, Math.max(1, Math.floor((requestsMax ?? Infinity) / 20)))
    const each = Math.max(tokens, usualTokens)
    this.refill({ wanted, waiting: 0, tokens: wanted * each, least: each, priority: 0, leftMs: 0 })
  }

  private refill(wanted: LimiterStock['wanted']): void {
    // Who waits is not to be forgotten over who may come.
    if (wanted.waiting > 0 || this.wanted.waiting === 0) this.wanted = wanted
    if (this.ports.clock.now() >= this.asker.notBefore) this.asker.ask()
  }

  private question(at: number): LimiterAsk & { readonly [key: string]: unknown } {
    const { wanted, node, policy, pauseMs } = this
    const { back } = this
    this.sentPauseMs = pauseMs
    this.back = []
    this.pauseMs = 0
    this.wanted = nobody
    this.askedFor = wanted.wanted
    return { type: 'permit.ask', at, node, ...wanted, back, pauseMs, policy }
  }

  private tellAgain(): void {
    // What was given back is not told again: if it had been heard, that would make room that is not there (L1).
    this.pauseMs = Math.max(this.pauseMs, this.sentPauseMs)
  }

  private learn({ batch, requests, tokens, validMs, retryMs, isPaused }: LimiterAnswer, askedAt: number): void {
    const now = this.ports.clock.now()
    if (isPaused) this.pausedUntil = Math.max(this.pausedUntil, now + retryMs)
    if (requests > 0) {
      // It takes the place of what is left of the one before.
      this.putBack()
      this.batch = batch
      this.requests = requests
      this.tokens = tokens
      this.validUntil = askedAt + validMs
      this.asker.notBefore = 0
    } else if (this.askedFor > 0 || isPaused) this.asker.notBefore = now + retryMs
  }

  private pause(pauseMs: number): void {
    this.pauseMs = Math.max(this.pauseMs, pauseMs)
    this.putBack()
    this.asker.notBefore = 0
    this.asker.ask(true)
  }

  /** Another node was told to wait. */
  private see({ pausedUntil, at }: LimiterContext): void {
    const now = this.ports.clock.now()
    if (pausedUntil <= at || now + pausedUntil - at <= this.pausedUntil) return
    this.pausedUntil = now + pausedUntil - at
    this.putBack()
    this.asker.notBefore = this.pausedUntil
    this.changed()
  }

  private putBack(): void {
    const { batch, requests, tokens } = this
    this.requests = this.tokens = 0
    this.validUntil = -1
    if (requests > 0 || tokens > 0) this.remember({ batch, requests, tokens })
  }

  private return(unused: LimiterBatch): void {
    if (unused.requests === 0 && unused.tokens === 0) return
    if (unused.batch === this.batch && this.ports.clock.now() <= this.validUntil) {
      this.requests += unused.requests
      this.tokens += unused.tokens
      this.changed()
    } else this.remember(unused)
  }

  private remember(unused: LimiterBatch): void {
    const { requestsMax, tokensMax } = this.policy
    if (requestsMax === null && tokensMax === null) return
    const same = this.back.find(({ batch }) => batch === unused.batch)
    this.back = [...this.back.filter((one) => one !== same), { batch: unused.batch, requests: unused.requests + (same?.requests ?? 0), tokens: unused.tokens + (same?.tokens ?? 0) }].slice(-backMax)
  }
}

const nobody: LimiterStock['wanted'] = { wanted: 0, waiting: 0, tokens: 0, least: 0, priority: 0, leftMs: 0 }
/** What waits to be given back, at most: the oldest is lost, and counts as used. */
const backMax = 100


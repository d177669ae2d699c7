/**
 * Where calls of this node get their permits. One attempt needs one permit of every policy that applies to it, and gets
 * all of them at once or none, so that nobody holds one while waiting for another.
 *
 * D1  Whoever waits is served before whoever comes: by priority, of which each 30 s of waiting is worth one step, then by
 *     deadline, then by arrival.
 * D2  Only what is in hand is given at once; what has to be waited for is given by `wait`, and kept for the call that
 *     waited until its attempt begins.
 * D3  What a node that dies has in hand runs out by itself (P1 in permit-stock.ts).
 */
import { agingMs } from '../machines/limiter.machine.js'
import type { Refusal } from '../machines/permit.js'
import type { Clock } from '../runtime/ports/clock.js'
import { BulkheadStock } from './bulkhead-stock.js'
import { inHand, lacking, type Ending, type Standing, type Stock, type Taken, type Want } from './permit-stock.js'

/** Whose attempt it is, and at what. */
export interface PermitSubject {
  readonly agent: string
  readonly version: string
  /** Full name, `provider/model`. */
  readonly model: string
  readonly tenant: string | null
  /** Of a tool: then no model is asked, and `model` is empty. */
  readonly tool?: string
}

export interface PermitRequest extends Omit<Want, 'since'> {
  /** The same for one attempt, however often it is asked for. */
  readonly key: string
  readonly subject: PermitSubject
}

/** The permits of one attempt. */
export interface Permit {
  /** The attempt has ended. true: what comes of its answer is to be told by {@link Desk.judge}. */
  settle(ending: Ending): boolean
}

export type Given = { readonly permit: Permit } | { readonly refusal: Refusal } | { readonly isLacking: true }

interface Waiter {
  readonly request: PermitRequest
  readonly want: Want
  readonly isPatient: boolean
  readonly resolve: (given: { readonly refusal: Refusal } | { readonly isGiven: true }) => void
}

/** How long permits are kept for a call that has waited for them, ms: the commit of its attempt takes milliseconds. */
const keptMs = 10_000
/** Answers that may still be judged, at most: the oldest are forgotten, and count for nothing. */
const judgedMax = 10_000

export class Desk {
  private readonly clock: Clock
  private readonly stocksFor: (subject: PermitSubject) => readonly Stock[]
  private readonly stopped: (subject: PermitSubject) => Standing
  private readonly onWaiting: () => void
  private readonly waiters: Waiter[] = []
  private readonly kept = new Map<string, { readonly taken: readonly Taken[]; readonly until: number }>()
  private readonly judges = new Map<string, readonly Taken[]>()
  private cancelTimer: (() => void) | undefined
  private isPumping = false
  private isClosed = false
  private arrivals = 0

  /**
   * @param stocksFor those of the policies that apply; the same objects for the same policies
   * @param stopped refused: it has been stopped. lacking: whether it has is being found out; {@link changed} is called then
   * @param onWaiting somebody waits still, after all were looked at
   */
  constructor(clock: Clock, stocksFor: Desk['stocksFor'], stopped: Desk['stopped'] = () => inHand, onWaiting = (): void => {}) {
    this.clock = clock
    this.stocksFor = stocksFor
    this.stopped = stopped
    this.onWaiting = onWaiting
  }

  /** What is in hand for it: permits, if it has waited for them or nobody waits before it. */
  take(request: PermitRequest): Given {
    const want = { ...request, since: this.clock.now() }
    const stopped = this.stopped(request.subject)
    if (stopped.is === 'refused') return { refusal: stopped.refusal }
    const kept = this.kept.get(request.key)
    this.kept.delete(request.key)
    if (kept) {
      if (stopped.is === 'inHand' && kept.taken.every(({ validUntil }) => this.clock.now() <= validUntil)) return { permit: this.permitOf(request.key, kept.taken) }
      for (const taken of kept.taken) taken.giveBack()
    }
    if (stopped.is === 'lacking') return { isLacking: true }
    const stocks = this.stocksFor(request.subject)
    const standing = this.together(stocks, want)
    if (standing.is === 'refused') return { refusal: standing.refusal }
    if (standing.is === 'lacking' || this.waiters.some((waiter) => this.stocksFor(waiter.request.subject).some((stock) => stocks.includes(stock)))) return { isLacking: true }
    return { permit: this.permitOf(request.key, this.takeAll(stocks, want)) }
  }

  /**
   * Waits until permits are kept for it, or it is refused.
   *
   * @param isPatient also while a circuit breaker is open
   * @throws the signal's reason
   */
  wait(request: PermitRequest, { signal, isPatient }: { readonly signal: AbortSignal; readonly isPatient: boolean }): Promise<{ readonly refusal: Refusal } | { readonly isGiven: true }> {
    signal.throwIfAborted()
    for (const stock of this.stocksFor(request.subject)) {
      if (!(stock instanceof BulkheadStock) || stock.standing().is === 'inHand') continue
      const admitted = stock.admits()
      if (admitted.is === 'refused') return Promise.resolve({ refusal: admitted.refusal })
    }
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        const index = this.waiters.indexOf(waiter)
        if (index === -1) return
        this.waiters.splice(index, 1)
        reject(signal.reason as Error)
      }
      // A hair later than those before it, so that arrival decides.
      const since = this.clock.now() + (this.arrivals = (this.arrivals + 1) % 1_000_000) * 1e-9
      const waiter: Waiter = {
        request,
        isPatient,
        want: { ...request, since },
        resolve: (given) => {
          signal.removeEventListener('abort', leave)
          resolve(given)
        },
      }
      this.waiters.push(waiter)
      signal.addEventListener('abort', leave)
      this.changed()
    })
  }

  /** What came of the answer that this attempt brought: accepted or refused, by its schema, its goal or a verifier. */
  judge(key: string, ok: boolean): void {
    const taken = this.judges.get(key)
    this.judges.delete(key)
    for (const one of taken ?? []) one.judge?.(ok)
  }

  /** How many wait whose attempt would go through it. */
  waitingFor(stock: Stock): number {
    return this.waiters.filter(({ request }) => this.stocksFor(request.subject).includes(stock)).length
  }

  /** Something that waiters wait for may have changed. */
  changed(): void {
    if (this.isPumping || this.isClosed) return
    this.isPumping = true
    this.clock.soon(() => {
      this.isPumping = false
      this.pump()
    })
  }

  /** Nobody is served any more. */
  close(): void {
    this.isClosed = true
    this.cancelTimer?.()
  }

  private pump(): void {
    if (this.isClosed) return
    this.cancelTimer?.()
    this.cancelTimer = undefined
    const now = this.clock.now()
    for (const [key, { taken, until }] of this.kept) {
      if (until > now) continue
      this.kept.delete(key)
      for (const one of taken) one.giveBack()
    }
    const short = new Map<Stock, Want[]>()
    this.waiters.sort((a, b) => inTurn(a, b, now))
    for (const waiter of [...this.waiters]) this.serve(waiter, short)
    let next = Infinity
    for (const [stock, wants] of short) {
      stock.need(wants)
      next = Math.min(next, stock.lookAt)
    }
    for (const { until } of this.kept.values()) next = Math.min(next, until)
    if (this.waiters.length > 0) this.onWaiting()
    if (next < Infinity) this.cancelTimer = this.clock.after(Math.max(1, Math.ceil(next - now)), () => this.changed())
  }

  private serve(waiter: Waiter, short: Map<Stock, Want[]>): void {
    const { request, want, isPatient } = waiter
    const leave = (given: Parameters<Waiter['resolve']>[0]): void => {
      this.waiters.splice(this.waiters.indexOf(waiter), 1)
      waiter.resolve(given)
    }
    const stopped = this.stopped(request.subject)
    if (stopped.is === 'refused') return leave({ refusal: stopped.refusal })
    if (stopped.is === 'lacking') return
    const stocks = this.stocksFor(request.subject)
    let mayTake = true
    for (const stock of stocks) {
      const standing = stock.standing(want)
      if (standing.is === 'refused' && !(isPatient && standing.refusal.reason === 'open')) return leave({ refusal: standing.refusal })
      // Nobody overtakes whoever waits for the same (D1).
      if (standing.is === 'inHand' && !short.has(stock)) continue
      mayTake = false
      short.set(stock, [...(short.get(stock) ?? []), want])
    }
    if (!mayTake) return
    this.kept.set(request.key, { taken: this.takeAll(stocks, want), until: this.clock.now() + keptMs })
    leave({ isGiven: true })
  }

  private together(stocks: readonly Stock[], want: Want): Standing {
    let all: Standing = inHand
    for (const stock of stocks) {
      const standing = stock.standing(want)
      if (standing.is === 'refused') return standing
      if (standing.is === 'lacking') all = lacking
    }
    return all
  }

  private takeAll(stocks: readonly Stock[], want: Want): Taken[] {
    return stocks.map((stock) => stock.take(want))
  }

  private permitOf(key: string, taken: readonly Taken[]): Permit {
    const judged = taken.filter(({ judge }) => judge)
    return {
      settle: (ending) => {
        for (const one of taken) one.settle(ending)
        if (ending.result !== 'ok' || judged.length === 0) return false
        this.judges.set(key, judged)
        if (this.judges.size > judgedMax) this.judges.delete(this.judges.keys().next().value!)
        return true
      },
    }
  }
}

/** Higher priority first, then the earlier deadline, then who came first. */
function inTurn(a: Waiter, b: Waiter, now: number): number {
  const rank = ({ want }: Waiter): number => want.priority + Math.floor((now - want.since) / agingMs)
  return rank(b) - rank(a) || a.want.deadlineAt - b.want.deadlineAt || a.want.since - b.want.since
}


/**
 * Permits in hand, of one policy on one node. What the policy decides stands in its chart, which all nodes ask; a stock
 * asks it for a batch when there is need, and never for two at a time.
 *
 * P1  A batch is used only while it is valid, counted from before it was asked for by this process's own clock: whatever
 *     the store's clock and the way there and back took, the chart's view of its end is not earlier.
 * P2  What is not known is not permitted: without an answer there is no permit.
 */
import { toStoredError } from '../errors.js'
import type { Refusal } from '../machines/permit.js'
import type { Clock } from '../runtime/ports/clock.js'
import type { Logger } from '../runtime/ports/logger.js'

/** What an attempt wants. */
export interface Want {
  /** Most tokens that it can use, prompt and completion. */
  readonly tokens: number
  /** 0 to 9; the higher goes first. */
  readonly priority: number
  /** Until when it is waited for, ms of this process's clock. */
  readonly deadlineAt: number
  /** Since when it waits. */
  readonly since: number
}

/** How a permitted attempt ended, as far as policies are concerned. */
export interface Ending {
  /** void: the model was not asked, or its failure is none of the provider's. */
  readonly result: 'ok' | 'failed' | 'void'
  /** What it used; null if nobody knows. */
  readonly tokens: number | null
  /** How long the provider wants to be left alone, ms. */
  readonly retryAfterMs: number | null
}

/** inHand: it may be taken. lacking: it may come; `at` is when to look again, if the stock knows. */
export type Standing = { readonly is: 'inHand' } | { readonly is: 'lacking' } | { readonly is: 'refused'; readonly refusal: Refusal }

export const inHand: Standing = { is: 'inHand' }
export const lacking: Standing = { is: 'lacking' }

/** What one attempt took from one stock. */
export interface Taken {
  /** Until when the attempt must begin, ms of this process's clock. */
  readonly validUntil: number
  /** The attempt has ended. Told once. */
  settle(ending: Ending): void
  /** It was never begun. */
  giveBack(): void
  /** What came of the answer; absent where it does not matter. */
  judge?(ok: boolean): void
}

export interface Stock {
  readonly name: string
  standing(want: Want): Standing
  take(want: Want): Taken
  /** For these, in their order, it has nothing in hand. */
  need(waiting: readonly Want[]): void
  /** When it is worth looking again, ms of this process's clock; Infinity if it will say so itself. */
  readonly lookAt: number
  /** Whether nothing is lost if it is forgotten, but what runs out by itself. */
  readonly isIdle: boolean
  close(): void
}

/** What stocks need of the node. */
export interface StockPorts {
  readonly clock: Clock
  /** The store's time, ms. */
  now(): Promise<number>
  ask(address: string, event: { readonly type: string; readonly [key: string]: unknown }): Promise<unknown>
  /** Calls back with an actor's context after changes, as far as they are heard of. */
  watch(address: string, listener: (context: unknown) => void): () => void
  readonly logger: Logger
}

/** After an ask that failed, ms. */
const askAgainMs = 1_000

/** One ask at a time. */
export class Asker<A> {
  /** Before this, nothing is asked for; ms of this process's clock. */
  notBefore = 0
  private isAsking = false
  private isWantedAgain = false
  private readonly ports: StockPorts
  private readonly address: string
  private readonly eventAt: (at: number) => { readonly type: string; readonly [key: string]: unknown }
  private readonly take: (answer: A, askedAt: number) => void
  private readonly failed: () => void
  private readonly changed: () => void

  /**
   * @param eventAt what is asked, when it goes out
   * @param take what is made of the answer; `askedAt` is from before it was asked
   * @param failed it may or may not have been heard
   * @param changed whoever waits may look again
   */
  constructor(ports: StockPorts, address: string, eventAt: Asker<A>['eventAt'], take: Asker<A>['take'], failed: () => void, changed: () => void) {
    this.ports = ports
    this.address = address
    this.eventAt = eventAt
    this.take = take
    this.failed = failed
    this.changed = changed
  }

  get isBusy(): boolean {
    return this.isAsking
  }

  /** Asks, unless that is being done; `again`: then once more after it. */
  ask(again = false): void {
    if (this.isAsking) {
      this.isWantedAgain ||= again
      return
    }
    this.isAsking = true
    void this.go()
  }

  private async go(): Promise<void> {
    const { ports, address } = this
    const askedAt = ports.clock.now()
    try {
      const event = this.eventAt(await ports.now())
      const answer = (await ports.ask(address, event)) as A
      this.isAsking = false
      this.take(answer, askedAt)
    } catch (error) {
      this.isAsking = false
      this.notBefore = ports.clock.now() + askAgainMs
      ports.logger.warn({ policy: address, error: toStoredError(error).message }, 'a policy could not be asked for permits: calls wait')
      this.failed()
    }
    if (this.isWantedAgain) {
      this.isWantedAgain = false
      this.ask()
    }
    this.changed()
  }
}

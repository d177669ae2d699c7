/**
 * Messages of this process for which there was no room, and whose senders wait for it: one line for each actor, in the order
 * in which there was none. Only the first of a line is tried, again and again, so that a full mailbox costs little however many
 * wait; while a line stands, what does not wait is refused, so that it does not overtake what does.
 */
import type { Address } from './identity.js'
import type { Clock } from './ports/clock.js'
import type { Appended } from './ports/store.js'

/** What a sender may take back. */
export interface Ticket {
  /** Takes the message out of the line. False if it does not stand there: it may be accepted. */
  withdraw?: () => boolean
  /** Its sender has gone: if it does not stand in a line yet, it never will. */
  isLeft?: true
}

/** Whether the message is taken back for sure. Else it may be accepted, but waits for no room any more. */
export function withdraw(ticket: Ticket | undefined): boolean {
  if (ticket) ticket.isLeft = true
  return ticket?.withdraw?.() === true
}

interface Waiting {
  readonly send: () => Promise<Appended>
  /** Its sender has gone while it was tried: it is not tried again. */
  isLeft: boolean
  resolve(appended: Appended): void
  reject(error: unknown): void
}

const retryMs = 20
const retryMsMax = 500

export class WaitingLines {
  private readonly lines = new Map<Address, Waiting[]>()
  private readonly clock: Clock
  private readonly max: number

  /** @param max messages in one line, inclusive; further ones are refused */
  constructor(clock: Clock, max: number) {
    this.clock = clock
    this.max = max
  }

  /** Sends a message; if there is no room, `full` at once or, if it `waits`, once it is withdrawn. */
  async send(to: Address, send: () => Promise<Appended>, waits: boolean, ticket: Ticket | undefined): Promise<Appended> {
    if (!this.lines.has(to)) {
      const appended = await send()
      if (appended !== 'full' || !waits) return appended
    } else if (!waits) return 'full'
    return this.join(to, send, ticket)
  }

  private join(to: Address, send: () => Promise<Appended>, ticket: Ticket | undefined): Promise<Appended> {
    const line = this.lines.get(to) ?? []
    if (line.length >= this.max || ticket?.isLeft) return Promise.resolve('full')
    return new Promise((resolve, reject) => {
      const waiting: Waiting = { send, isLeft: false, resolve, reject }
      line.push(waiting)
      if (ticket) ticket.withdraw = () => this.withdraw(to, waiting)
      if (this.lines.has(to)) return
      this.lines.set(to, line)
      this.later(to, line, retryMs)
    })
  }

  private later(to: Address, line: Waiting[], delayMs: number): void {
    this.clock.after(delayMs, () => void this.work(to, line, delayMs))
  }

  private async work(to: Address, line: Waiting[], delayMs: number): Promise<void> {
    for (let first = line.shift(); first; first = line.shift()) {
      const { send, resolve, reject } = first
      try {
        const appended = await send()
        if (appended === 'full' && !first.isLeft) {
          line.unshift(first)
          this.later(to, line, Math.min(2 * delayMs, retryMsMax))
          return
        }
        delayMs = retryMs
        resolve(appended)
      } catch (error) {
        reject(error)
      }
    }
    this.lines.delete(to)
  }

  private withdraw(to: Address, waiting: Waiting): boolean {
    const line = this.lines.get(to)
    const place = line?.indexOf(waiting) ?? -1
    waiting.isLeft = true
    if (place === -1) return false
    line!.splice(place, 1)
    waiting.resolve('full')
    return true
  }
}

/** What a shard has to handle, in its order: entries read from the log, messages that skip it, and parked ones put back in line. */
import type { Own } from './batch.js'
import type { Message } from './envelope.js'
import type { Address } from './identity.js'

export interface Input {
  readonly address: Address
  /** Namespace time of its arrival, ms. */
  readonly at: number
  readonly message: Message
  /** Set for what never passed the log. */
  readonly own?: Own
  /** It comes from the actor's parked messages. */
  readonly parked?: true
}

/** Taken ones are dropped from the front together. */
const takenMax = 4_096

export class InputQueue {
  private inputs: Input[] = []
  private head = 0
  /** How many of them never passed the log, by actor. */
  private readonly own = new Map<Address, number>()
  /** Asks that a message in line cancels: what stands before it needs no turn. */
  private readonly cancelled = new Set<string>()

  get length(): number {
    return this.inputs.length - this.head
  }

  get first(): Input | undefined {
    return this.inputs[this.head]
  }

  get last(): Input | undefined {
    return this.length === 0 ? undefined : this.inputs.at(-1)
  }

  push(input: Input): void {
    this.inputs.push(input)
    if (input.own) this.own.set(input.address, this.ownOf(input.address) + 1)
    const { envelope } = input.message
    if (envelope.kind === 'over' && envelope.body.error) this.cancelled.add(envelope.body.ask)
  }

  /** Takes the first one. */
  take(): void {
    const { own, address, message } = this.inputs[this.head]!
    if (message.envelope.kind === 'over') this.cancelled.delete(message.envelope.body.ask)
    if (own) {
      const left = this.ownOf(address) - 1
      if (left > 0) this.own.set(address, left)
      else this.own.delete(address)
    }
    this.head++
    if (this.length === 0 || this.head > takenMax) {
      this.inputs.splice(0, this.head)
      this.head = 0
    }
  }

  isCancelled(ask: string): boolean {
    return this.cancelled.has(ask)
  }

  /** Whether any of them never passed the log. */
  get hasOwn(): boolean {
    return this.own.size > 0
  }

  ownOf(address: Address): number {
    return this.own.get(address) ?? 0
  }

  hasParked(address: Address): boolean {
    for (let i = this.head; i < this.inputs.length; i++) if (this.inputs[i]!.parked && this.inputs[i]!.address === address) return true
    return false
  }

  /** Whom the first so many are for. */
  addresses(max: number): Address[] {
    return this.inputs.slice(this.head, this.head + max).map(({ address }) => address)
  }

  /** Empties it, and gives back what never passed the log. */
  clear(): Own[] {
    const own = this.inputs.slice(this.head).flatMap((input) => (input.own ? [input.own] : []))
    this.inputs = []
    this.head = 0
    this.own.clear()
    this.cancelled.clear()
    return own
  }
}

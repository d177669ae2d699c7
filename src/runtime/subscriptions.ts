/** Those in this process who listen to actors, and how they are told. What they throw harms nobody (contract 4). */
import type { HoldfastError } from '../errors.js'
import { about } from './envelope.js'
import type { Listeners } from './context.js'
import type { Sight } from './gateway.js'
import type { Address, MessageId } from './identity.js'
import { Inspectors } from './inspection.js'
import type { Logger } from './ports/logger.js'
import type { DurableRecord } from './record.js'
import type { TurnResult } from './turn-result.js'
import type { XEvent } from './xstate/insides.js'
import type { Cell } from './xstate/refs.js'
import type { TurnInspection } from './xstate/turn.js'

type Listener<T> = (value: T) => void

class ByKey<T> {
  private readonly listeners = new Map<string, Set<Listener<T>>>()
  private readonly logger: Logger
  constructor(logger: Logger) {
    this.logger = logger
  }
  add(key: string, listener: Listener<T>): () => void {
    let set = this.listeners.get(key)
    if (!set) this.listeners.set(key, (set = new Set()))
    set.add(listener)
    return () => {
      set.delete(listener)
      if (set.size === 0 && this.listeners.get(key) === set) this.listeners.delete(key)
    }
  }
  has(key: string): boolean {
    return this.listeners.has(key)
  }
  tell(key: string, value: T): void {
    const set = this.listeners.get(key)
    if (!set) return
    for (const listener of [...set]) {
      try {
        listener(value)
      } catch (error) {
        this.logger.warn({ actor: key, error: (error as Error)?.message }, 'a listener threw')
      }
    }
  }
}

export class Subscriptions implements Listeners {
  private readonly turns: ByKey<Sight>
  private readonly emits: ByKey<XEvent>
  private readonly replies: ByKey<string>
  readonly inspectors: Inspectors
  private readonly streams: ByKey<{ readonly shard: number; readonly count: number }>
  /** Why a message of this process became a dead letter, until its sender has asked. */
  private readonly refusals = new Map<MessageId, HoldfastError>()
  private readonly logger: Logger

  constructor(logger: Logger) {
    this.logger = logger
    this.turns = new ByKey(logger)
    this.emits = new ByKey(logger)
    this.replies = new ByKey(logger)
    this.inspectors = new Inspectors(logger)
    this.streams = new ByKey(logger)
  }

  onTurn(address: Address, listener: Listener<Sight>): () => void {
    return this.turns.add(address, listener)
  }
  onEmitted(address: Address, listener: Listener<XEvent>): () => void {
    return this.emits.add(address, listener)
  }
  onReply(id: MessageId, listener: Listener<string>): () => void {
    return this.replies.add(id, listener)
  }
  onAppended(stream: string, listener: Listener<{ readonly shard: number; readonly count: number }>): () => void {
    return this.streams.add(stream, listener)
  }

  get inspecting(): boolean {
    return this.inspectors.any
  }
  inspected(root: Cell, inspection: TurnInspection): void {
    this.inspectors.tell(root, inspection)
  }
  turned(record: DurableRecord, result: TurnResult): void {
    if (this.turns.has(record.address)) {
      this.turns.tell(record.address, {
        status: result.ended ?? 'active',
        turns: result.turn,
        snapshot: record.begun ? result.snapshot : undefined,
        failure: result.failure,
        input: record.meta.input,
      })
    }
  }
  emitted(record: DurableRecord, event: XEvent): void {
    this.emits.tell(record.address, event)
  }
  logged(record: DurableRecord, label: string | undefined, value: unknown): void {
    // A machine's own log(...) is what its author chose to say.
    this.logger.info({ ...about(record.address, record.meta.belongs), ...(label === undefined ? {} : { label }), value }, 'log')
  }
  appended(shard: number, stream: string, count: number): void {
    this.streams.tell(stream, { shard, count })
  }
  replied(id: MessageId, text: string): void {
    this.replies.tell(id, text)
  }
  refused(id: MessageId, error: HoldfastError): void {
    this.refusals.set(id, error)
    // Of what another process has sent nobody asks. More than one commit refuses, so that whoever asks after it still hears.
    if (this.refusals.size > 1_000) for (const oldest of this.refusals.keys()) return void this.refusals.delete(oldest)
  }
  takeRefusal(id: MessageId): HoldfastError | undefined {
    const error = this.refusals.get(id)
    if (error) this.refusals.delete(id)
    return error
  }
}

/** What the parts of a shard's owner share: the ports, the bounds, and the system they work for. */
import type { HoldfastError } from '../errors.js'
import type { Appenders } from './appender.js'
import type { Effects } from './effects.js'
import type { Address, MessageId } from './identity.js'
import type { JsonLimits, StoredRef } from './json.js'
import type { MachineRegistry } from './machines.js'
import type { RuntimeOptions } from './options.js'
import type { Clock } from './ports/clock.js'
import type { IdSource } from './ports/ids.js'
import type { Logger } from './ports/logger.js'
import type { Store } from './ports/store.js'
import type { DurableRecord, RecordHost } from './record.js'
import type { TurnResult } from './turn-result.js'
import type { XEvent } from './xstate/insides.js'
import type { Cell } from './xstate/refs.js'
import type { TurnInspection } from './xstate/turn.js'

export interface RuntimeContext extends RecordHost {
  readonly namespace: string
  readonly incarnation: string
  readonly shards: number
  readonly store: Store
  readonly clock: Clock
  readonly ids: IdSource
  readonly logger: Logger
  readonly registry: MachineRegistry
  readonly limits: JsonLimits
  /** Unhandled messages one actor may have. */
  readonly backlogMax: number
  /** Unhandled messages one shard may have, and those from it that are on their way to other shards. */
  readonly logMax: number
  readonly options: RuntimeOptions
  readonly effects: Effects
  readonly appenders: Appenders
  readonly listeners: Listeners
  /** What a reference in a message stands for. */
  revive(ref: StoredRef): unknown
  /** Sends an actor's own message about a throw after the commit. */
  tellFault(address: Address, cell: number, error: unknown, id: string): void
  readonly counters: Counters
}

/** Those in this process who are told of a turn after its commit, in order. */
export interface Listeners {
  /** Whether anybody inspects: turns then record what XState's inspector would have seen. */
  readonly inspecting: boolean
  inspected(root: Cell, inspection: TurnInspection): void
  turned(record: DurableRecord, result: TurnResult): void
  emitted(record: DurableRecord, event: XEvent): void
  logged(record: DurableRecord, label: string | undefined, value: unknown): void
  /** A commit appended so many entries to a stream of the shard. */
  appended(shard: number, stream: string, count: number): void
  replied(id: MessageId, text: string): void
  /** A message became a dead letter. */
  refused(id: MessageId, error: HoldfastError): void
}

/** What happened so far, for `system.stats()`. */
export interface Counters {
  turns: number
  commits: number
  /** Events of a type that the machine has nowhere. */
  unknownEvents: number
  /** Events inside a record that reached an actor which had stopped. */
  droppedEvents: number
  /** Timers, outcomes and emissions whose state had been left. */
  stale: number
  parked: number
  deadLetters: number
  failures: number
}

export function newCounters(): Counters {
  return { turns: 0, commits: 0, unknownEvents: 0, droppedEvents: 0, stale: 0, parked: 0, deadLetters: 0, failures: 0 }
}

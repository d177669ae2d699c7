/**
 * Holdfast: XState v5 machines as durable actors.
 *
 * In the order in which a newcomer should read it: the system, the actor, what a machine may ask for, the errors, and
 * the ports for those who bring their own store.
 */
export { createActorSystem, ActorSystem, type ActorSystemOptions, type SystemRole } from './runtime/system.js'
export { ActorHandle, type ActorFailure, type WaitOptions } from './runtime/actor.js'
export type { SendOptions } from './runtime/gateway.js'
export { createClient, type Client, type ClientOptions } from './runtime/client.js'
export type { MachineOptions } from './runtime/machines.js'
export type { RuntimeOptions } from './runtime/options.js'
export type { StreamRecord } from './runtime/streams.js'
export type { DrainHandler, StreamDrain } from './runtime/stream-drain.js'
export {
  append,
  durableChild,
  external,
  fromAsk,
  refTo,
  repeatable,
  reply,
  restartDurableChild,
  stopDurableChild,
  type Ask,
  type ChildFact,
  type EffectArgs,
  type ExternalAction,
  type Reconciled,
  type ReplyToken,
  type StartChild,
  type StreamEntry,
} from './protocol.js'
export {
  ActorEndedError,
  ActorExistsError,
  ActorFailedError,
  ActorNotStartedError,
  ConfigError,
  DeadlineError,
  HoldfastError,
  InvalidEventError,
  InvalidIdError,
  LimitError,
  MailboxFullError,
  NonJsonError,
  SnapshotError,
  StoppedError,
  StoreError,
  TurnError,
  UnknownMachineError,
  isHoldfastError,
  type StoredError,
} from './errors.js'
export type { Address } from './runtime/identity.js'
export type { Clock } from './runtime/ports/clock.js'
export type { IdSource } from './runtime/ports/ids.js'
export type { Logger } from './runtime/ports/logger.js'
export type { Durability, Store } from './runtime/ports/store.js'

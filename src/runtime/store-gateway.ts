/** Reaching actors through the store alone: what a client does, and a node for shards that it does not own. */
import { SnapshotError } from '../errors.js'
import type { Appenders } from './appender.js'
import { Beginnings, Ending, type Sight } from './gateway.js'
import type { Outgoing } from './envelope.js'
import { machineOf, shardOf, type Address, type MessageId } from './identity.js'
import type { JsonLimits } from './json.js'
import type { MachineDefinition, MachineRegistry } from './machines.js'
import type { Clock } from './ports/clock.js'
import type { IdSource } from './ports/ids.js'
import type { Logger } from './ports/logger.js'
import type { Appended, Store, StoredRecord, StoreInfo } from './ports/store.js'
import { DurableRecord, type RecordHost } from './record.js'
import { readMeta, readStatus } from './stored-record.js'

export interface StoreGatewayOptions extends RecordHost {
  readonly store: Store
  readonly info: StoreInfo
  readonly registry: MachineRegistry
  readonly appenders: Appenders
  readonly clock: Clock
  readonly ids: IdSource
  readonly logger: Logger
  readonly idRetentionMs: number
  readonly backlogMax: number
}

export class StoreGateway {
  readonly limits: JsonLimits
  readonly ids: IdSource
  readonly clock: Clock
  readonly idRetentionMs: number
  readonly backlogMax: number
  readonly beginnings: Beginnings
  /** Of what this process can tell. */
  readonly ending = new Ending()
  private stopped: Error | undefined
  private readonly options: StoreGatewayOptions
  /** The store's time as last read, and when. */
  private time = { at: 0, since: 0 }

  constructor(options: StoreGatewayOptions) {
    this.options = options
    this.limits = options.limits
    this.ids = options.ids
    this.clock = options.clock
    this.beginnings = new Beginnings(options.clock)
    this.idRetentionMs = options.idRetentionMs
    this.backlogMax = options.backlogMax
  }

  async start(): Promise<void> {
    this.time = { at: await this.options.store.now(), since: this.clock.now() }
  }

  stop(error: Error): void {
    this.stopped = error
    this.ending.end(error)
  }

  now(): number {
    return this.time.at + (this.clock.now() - this.time.since)
  }

  definitionOf(address: Address): MachineDefinition | undefined {
    return this.options.registry.newest(machineOf(address))
  }

  accept(message: Outgoing): Promise<Appended> {
    return this.options.appenders.of(this.shardOf(message.to)).append(message)
  }

  async look(address: Address): Promise<Sight | undefined> {
    const stored = await this.load(address)
    if (!stored || stored.fields.size === 0) return undefined
    const meta = readMeta(address, stored.fields)
    const { turns, status, failure } = readStatus(address, stored.fields)
    const sight = { status, turns, failure, input: meta.input }
    const definition = this.options.registry.reader(address, meta)
    if (definition instanceof SnapshotError) return { ...sight, snapshot: undefined, unreadable: definition }
    return { ...sight, snapshot: stored.fields.has('s0') ? DurableRecord.decode(this.options, address, stored.fields, meta, definition).snapshot : undefined }
  }

  private async load(address: Address): Promise<StoredRecord | undefined> {
    if (this.stopped) throw this.stopped
    return (await this.options.store.load(this.shardOf(address), [address]))[0]
  }

  async read(address: Address): Promise<DurableRecord | undefined> {
    const stored = await this.load(address)
    if (!stored || stored.fields.size === 0) return undefined
    const meta = readMeta(address, stored.fields)
    const definition = this.options.registry.reader(address, meta)
    if (definition instanceof SnapshotError) throw definition
    return DurableRecord.decode(this.options, address, stored.fields, meta, definition)
  }

  /** @param seen the turn after which to tell; absent: that at which it is first seen, since others of its shard change, too */
  watch(address: Address, onTurn: (sight: Sight) => void, seen?: number): () => void {
    let isWatched = true
    const check = this.looker(async () => {
      const turns = seen
      const sight = await this.look(address)
      seen = sight?.turns ?? 0
      if (isWatched && sight && turns !== undefined && seen !== turns) onTurn(sight)
    })
    const stop = this.options.store.watch(this.shardOf(address), check)
    check()
    return () => {
      isWatched = false
      stop()
    }
  }

  reply(address: Address, id: MessageId): Promise<string | undefined> {
    return this.options.store.reply(this.shardOf(address), id)
  }

  onReply(address: Address, id: MessageId, listener: (text: string) => void): () => void {
    const check = this.looker(async () => {
      const text = await this.reply(address, id)
      if (text !== undefined) listener(text)
    })
    const stop = this.options.store.watch(this.shardOf(address), check)
    // An answer to an earlier sending of the same id is there already.
    check()
    return stop
  }

  /** Looks once at a time, and once more if something changed meanwhile. */
  private looker(look: () => Promise<void>): () => void {
    let busy = false
    let again = false
    const run = (): void => {
      if (busy) {
        again = true
        return
      }
      busy = true
      look()
        .catch((error: unknown) => this.options.logger.warn({ error: (error as Error).message }, 'looking at an actor failed'))
        .finally(() => {
          busy = false
          if (again) {
            again = false
            run()
          }
        })
    }
    return run
  }

  private shardOf(address: Address): number {
    return shardOf(address, this.options.info.shards)
  }
}

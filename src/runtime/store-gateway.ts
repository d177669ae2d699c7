/** Reaching actors through the store alone: what a client does, and a node for shards that it does not own. */
import { SnapshotError } from '../errors.js'
import type { Appenders } from './appender.js'
import { Beginnings, Ending, type Sight } from './gateway.js'
import type { Outgoing } from './envelope.js'
import { readHistory, type ActorHistory } from './history.js'
import { machineOf, shardOf, type Address, type MessageId } from './identity.js'
import type { JsonLimits } from './json.js'
import type { MachineDefinition, MachineRegistry } from './machines.js'
import type { Clock } from './ports/clock.js'
import type { IdSource } from './ports/ids.js'
import type { Logger } from './ports/logger.js'
import type { Appended, Store, StoredRecord, StoreInfo } from './ports/store.js'
import { DurableRecord, type RecordHost } from './record.js'
import { readMeta, readStatus } from './stored-record.js'
import { WaitingLines } from './waiting-line.js'

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

const retryMs = 100
/** A store that is back is looked at within this, ms. */
const retryMsMax = 1_000

export class StoreGateway {
  readonly limits: JsonLimits
  readonly ids: IdSource
  readonly clock: Clock
  readonly idRetentionMs: number
  readonly backlogMax: number
  readonly beginnings: Beginnings
  readonly lines: WaitingLines
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
    this.lines = new WaitingLines(options.clock, options.backlogMax)
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

  history(address: Address): Promise<ActorHistory | undefined> {
    if (this.stopped) return Promise.reject(this.stopped)
    return readHistory(this.options.store, this.shardOf(address), address)
  }

  /** @param seen the turn after which to tell; absent: that at which it is first seen, since others of its shard change, too */
  watch(address: Address, onTurn: (sight: Sight) => void, seen?: number): () => void {
    return this.looker(this.shardOf(address), async (isOver) => {
      const turns = seen
      const sight = await this.look(address)
      if (isOver()) return
      seen = sight?.turns ?? 0
      if (sight && turns !== undefined && seen !== turns) onTurn(sight)
    })
  }

  reply(address: Address, id: MessageId): Promise<string | undefined> {
    return this.options.store.reply(this.shardOf(address), id)
  }

  onReply(address: Address, id: MessageId, listener: (text: string) => void): () => void {
    // The first look finds an answer to an earlier sending of the same id.
    return this.looker(this.shardOf(address), async (isOver) => {
      const text = await this.reply(address, id)
      if (text !== undefined && !isOver()) listener(text)
    })
  }

  /** Looks now, after changes of the shard, and again where a look has failed; once at a time. */
  private looker(shard: number, look: (isOver: () => boolean) => Promise<void>): () => void {
    const { store } = this.options
    const retry = this.again(look)
    const stop = store.watch(shard, retry.now)
    retry.now()
    return () => {
      retry.stop()
      stop()
    }
  }

  /** A look that is repeated until it succeeds or is stopped. Asked for while it is under way, it is done once more. */
  again(look: (isOver: () => boolean) => Promise<void>): { now(): void; stop(): void } {
    const { clock, logger } = this.options
    let busy = false
    let more = false
    let over = false
    let failures = 0
    let cancel = (): void => {}
    const now = (): void => {
      cancel()
      if (busy) more = true
      if (busy || over) return
      busy = true
      look(() => over)
        .then(
          () => (failures = 0),
          (error: unknown) => {
            if (over || this.stopped) return
            logger.warn({ error: (error as Error).message }, 'looking at an actor failed; trying again')
            cancel = clock.after(Math.min(retryMs * 2 ** failures++, retryMsMax), now)
          },
        )
        .finally(() => {
          busy = false
          if (!more) return
          more = false
          now()
        })
    }
    return {
      now,
      stop: () => {
        over = true
        cancel()
      },
    }
  }

  private shardOf(address: Address): number {
    return shardOf(address, this.options.info.shards)
  }
}

/**
 * The records of one shard that are in memory, and those that cannot be: of a machine nobody here runs, or damaged.
 * Idle ones are dropped, least recently used first, and read again with their next message.
 */
import { SnapshotError } from '../errors.js'
import type { RuntimeContext } from './context.js'
import type { Parked } from './envelope.js'
import { machineOf, type Address } from './identity.js'
import type { StoredRecord } from './ports/store.js'
import { DurableRecord } from './record.js'
import { readMeta } from './stored-record.js'

/** Why an actor cannot take messages; they are parked for it. */
export type Block = Pick<Parked, 'reason' | 'detail'>

export interface Resident {
  readonly address: Address
  /** The record, if it exists and can be read. */
  record: DurableRecord | undefined
  blocked: Block | undefined
  /** Messages set aside in the store, those of commits in flight included. */
  parked: number
  /** Parked ones that commits in flight take off the stored list, which still has them until then. */
  leaving: number
  /** Whether the parked messages are being read, or stand in line again: later ones wait behind them. */
  draining: false | 'reading' | 'inLine'
  /** Whether its record is to go once its parked messages have. */
  expiring: boolean
  /** Turns not yet acknowledged. */
  pins: number
}

export class Residents {
  /** Least recently used first. */
  private readonly byAddress = new Map<Address, Resident>()
  /** Actors over which the runtime itself stumbled twice, and how: set aside as long as this process lives. */
  readonly broken = new Map<Address, string>()
  private readonly context: RuntimeContext
  private readonly shard: number
  private readonly residentMax: number

  constructor(context: RuntimeContext, shard: number) {
    this.context = context
    this.shard = shard
    this.residentMax = Math.max(1, Math.ceil(context.options.residentMax / context.shards))
  }

  get size(): number {
    return this.byAddress.size
  }

  get(address: Address): Resident | undefined {
    return this.byAddress.get(address)
  }

  /** Records that have no turn whose commit is under way. */
  atRest(): DurableRecord[] {
    return [...this.byAddress.values()].flatMap(({ record, pins }) => (record?.begun && pins === 0 ? [record] : []))
  }

  /** Reads records into memory; those that are there stay as they are. */
  async load(addresses: readonly Address[]): Promise<void> {
    const missing = addresses.filter((address) => !this.byAddress.has(address))
    if (missing.length === 0) return
    const stored = await this.context.store.load(this.shard, missing)
    for (let i = 0; i < missing.length; i++) {
      const address = missing[i]!
      if (this.byAddress.has(address)) continue
      const resident = this.read(address, stored[i])
      if (resident.parked > 0 && !resident.blocked) await this.readParked(resident)
      this.byAddress.set(address, resident)
    }
  }

  private read(address: Address, stored: StoredRecord | undefined): Resident {
    const resident: Resident = { address, record: undefined, blocked: undefined, parked: stored?.parked ?? 0, leaving: 0, draining: false, expiring: false, pins: 0 }
    const { registry } = this.context
    try {
      if (!stored || stored.fields.size === 0) {
        if (!registry.newest(machineOf(address))) resident.blocked = { reason: 'unknown-machine', detail: `no machine "${machineOf(address)}" is registered` }
        return resident
      }
      const meta = readMeta(address, stored.fields)
      const definition = registry.reader(address, meta)
      if (definition instanceof SnapshotError) throw definition
      resident.record = DurableRecord.decode(this.context, address, stored.fields, meta, definition)
    } catch (error) {
      if (!(error instanceof SnapshotError)) throw error
      resident.blocked = { reason: error.reason, detail: error.message }
    }
    const broken = this.broken.get(address)
    if (broken !== undefined) resident.blocked = { reason: 'quarantined', detail: `the runtime stumbled over it: ${broken}` }
    if (resident.blocked) this.context.logger.warn({ actor: address, reason: resident.blocked.reason }, `an actor cannot take messages: ${resident.blocked.detail}`)
    return resident
  }

  /** A quarantined actor stays so until its messages are redriven by hand. */
  private async readParked(resident: Resident): Promise<void> {
    const texts = await this.context.store.parked(this.shard, resident.address, this.context.options.parkedMax)
    const evidence = texts.map((text) => JSON.parse(text) as Parked).find(({ reason }) => reason === 'quarantined')
    if (evidence) resident.blocked = { reason: 'quarantined', detail: evidence.detail }
  }

  /** Marks it as just used. */
  touch(resident: Resident): void {
    this.byAddress.delete(resident.address)
    this.byAddress.set(resident.address, resident)
  }

  clear(): void {
    this.byAddress.clear()
  }

  /** Drops idle records beyond the bound. */
  evict(): void {
    if (this.byAddress.size <= this.residentMax) return
    for (const [address, resident] of this.byAddress) {
      if (resident.pins === 0 && !resident.draining) {
        this.byAddress.delete(address)
        if (this.byAddress.size <= this.residentMax) return
      }
    }
  }
}

/** What the types of the ports promise to those who bring a store, a trace store, a clock or a logger of their own; see consumer.ts. */
import { createActorSystem, type Clock, type Durability, type IdSource, type Logger, type Testimony, type TraceEntry, type TraceStore, type Witness } from 'holdfast'
import { fileWitness } from 'holdfast/file'
import { lmdbStore } from 'holdfast/lmdb'
import { MemoryDatabase, MemoryStore } from 'holdfast/memory'
import {
  deadOverflowMax,
  faultOf,
  overflowLetter,
  overflowOf,
  type Appended,
  type Claim,
  type Commit,
  type CommitResult,
  type Entry,
  type FindQuery,
  type Found,
  type Holder,
  type Lease,
  type LogEntry,
  type NewEntry,
  type NodeIdentity,
  type NodePresence,
  type NodeSeen,
  type OpenOptions,
  type OutboxEntry,
  type Presence,
  type Recovery,
  type Redrive,
  type Redriven,
  type Store,
  type StoredRecord,
  type Standing,
  type StoredTimer,
  type StoreInfo,
  type Watched,
} from 'holdfast/store'
import { crashTest, CrashTestError, FaultyStore, storeContract, traceStoreContract, VirtualClock, World, type Fault } from 'holdfast/testing'
import { setup } from 'xstate'

/** Every type that a store is made of can be named. */
export class RefusingStore implements Store {
  private readonly inner: Store

  constructor(inner: Store) {
    this.inner = inner
  }

  open(options: OpenOptions): Promise<StoreInfo> {
    return this.inner.open(options)
  }
  standing(): Promise<Standing> {
    return this.inner.standing()
  }
  now(): Promise<number> {
    return this.inner.now()
  }
  beat(node: NodeIdentity, as: NodePresence, silent: readonly NodeSeen[]): Promise<Presence> {
    return this.inner.beat(node, as, silent)
  }
  presence(): Promise<Presence> {
    return this.inner.presence()
  }
  halt(why: string, accepted: number): Promise<void> {
    return this.inner.halt(why, accepted)
  }
  accept(): Promise<void> {
    return this.inner.accept()
  }
  claim(shard: number, node: NodeIdentity, seen?: Holder): Promise<Claim> {
    return this.inner.claim(shard, node, seen)
  }
  renew(lease: Lease): Promise<number | undefined> {
    return this.inner.renew(lease)
  }
  release(lease: Lease): Promise<void> {
    return this.inner.release(lease)
  }
  async append(shard: number, entries: readonly NewEntry[]): Promise<readonly Appended[]> {
    return entries.length > deadOverflowMax ? entries.map(() => 'full') : this.inner.append(shard, entries)
  }
  read(shard: number, after: number, max: number, signal: AbortSignal): Promise<readonly Entry[]> {
    return this.inner.read(shard, after, max, signal)
  }
  async commit(commit: Commit): Promise<CommitResult> {
    const fault = faultOf(commit)
    return fault ? { ok: false, why: 'refused', ...fault } : this.inner.commit(commit)
  }
  deliver(to: number, from: number, entries: readonly OutboxEntry[]): Promise<void> {
    return this.inner.deliver(to, from, entries)
  }
  load(shard: number, addresses: readonly string[]): Promise<readonly (StoredRecord | undefined)[]> {
    return this.inner.load(shard, addresses)
  }
  parked(shard: number, address: string, max: number): Promise<readonly string[]> {
    return this.inner.parked(shard, address, max)
  }
  recover(shard: number): Promise<Recovery> {
    return this.inner.recover(shard)
  }
  timers(shard: number, until: number, max: number): Promise<readonly StoredTimer[]> {
    return this.inner.timers(shard, until, max)
  }
  nextTimer(shard: number): Promise<number | undefined> {
    return this.inner.nextTimer(shard)
  }
  redrive(shard: number, letters: readonly Redrive[]): Promise<readonly Redriven[]> {
    return this.inner.redrive(shard, letters)
  }
  log(shard: number, stream: string, after: number, max: number): Promise<readonly LogEntry[]> {
    return this.inner.log(shard, stream, after, max)
  }
  trim(shard: number, stream: string, through: number): Promise<void> {
    return this.inner.trim(shard, stream, through)
  }
  reply(shard: number, id: string): Promise<string | undefined> {
    return this.inner.reply(shard, id)
  }
  find(shard: number, query: FindQuery): Promise<Found> {
    return this.inner.find(shard, query)
  }
  watch(what: Watched, onChange: () => void): () => void {
    return this.inner.watch(what, onChange)
  }
  close(): Promise<void> {
    return this.inner.close()
  }
}

// @ts-expect-error TS2420 a store does all of it
export class HalfStore implements Store {
  now = async (): Promise<number> => 0
}

export const letter: string = overflowLetter({ id: 'm-1', to: 'order/o-1', text: '{}' }, 0) + overflowOf({ id: 'm-1', to: 'order/o-1', text: '{}' }).text
export const durability: Durability = 'D2'
// @ts-expect-error TS2322 there is no such class
export const hope: Durability = 'D9'

/** A trace store need not look into what it keeps. */
export class ListTraceStore implements TraceStore {
  private readonly entries: TraceEntry[] = []
  async append(entries: readonly TraceEntry[]): Promise<void> {
    this.entries.push(...entries)
  }
  async read(run: string): Promise<readonly TraceEntry[]> {
    return this.entries.filter((entry) => entry.run === run)
  }
  async close(): Promise<void> {}
}

let id = 0
const ids: IdSource = { next: () => `id-${++id}` }
const told: Testimony[] = []
export const witness: Witness = {
  recall: () => Promise.resolve(told),
  tell: async (_, testimony) => void told.push(testimony),
  forget: async () => {},
}
export const witnesses: readonly Witness[] = [witness, fileWitness('./witness')]

const clock: Clock = new VirtualClock()
const lines: string[] = []
const line = (fields: object, message: string): void => void lines.push(`${message} ${JSON.stringify(fields)}`)
const logger: Logger = { error: line, warn: line, info: line, debug: line, trace: line }

const lamp = setup({ types: { events: {} as { type: 'press' }, input: {} as { volts: number }, context: {} as { volts: number } } }).createMachine({ id: 'lamp', context: ({ input }) => input, on: { press: {} } })

export async function systems(): Promise<void> {
  await createActorSystem({ store: new RefusingStore(lmdbStore('./data')), machines: [lamp], ids, clock, logger }).start()
}

// ── Tests of a user's own ──

export async function tests(): Promise<void> {
  const database = new MemoryDatabase()
  for (const { name, run } of storeContract({ create: async () => ({ connect: () => new MemoryStore({ database }), node: (name) => ({ id: name }), dispose: async () => {} }), noticeMs: 1_000 })) console.log(name, await run())
  for (const { name, run } of traceStoreContract({ create: async () => ({ connect: () => new ListTraceStore(), dispose: async () => {} }) })) console.log(name, await run())
  const kill: Fault = 'kill-before'
  const world = new World({ machines: [lamp], onWrite: ({ kind }) => (kind === 'commit' ? kill : undefined) })
  await world.start()
  await world.system.actor(lamp, 'l-1').start({ input: { volts: 12 } })
  await world.advance(1_000)
  new FaultyStore(new MemoryStore(), { clock: world.time })
  const { runs, undisturbed } = await crashTest(lamp, { input: { volts: 12 }, steps: [{ type: 'press' }, { advanceMs: 1_000 }, 'restart', (system, name) => system.actor(lamp, name).snapshot()] }, { seed: 7 })
  console.log(runs.toFixed(), undisturbed.actors['lamp/actor-1']?.status)
  // @ts-expect-error TS2322 the steps are events of the machine
  await crashTest(lamp, { input: { volts: 12 }, steps: [{ type: 'hold' }] })
}

export const story = (error: unknown): string => (error instanceof CrashTestError ? error.kills.map(({ index, side }) => `${side} write ${index}`).join() : String(error))

/**
 * Moves a namespace from one store to another: everything that it holds, while nobody runs it. What step comes next is
 * decided in move-plan.ts; move-transfer.ts has the pages; ports/moving.ts says what the stores owe it.
 *
 * M1  No actor runs twice: the place it comes from is sealed, by its own store, before the first page leaves it, and never
 *     opened again but by a cancel, which only one of the two can win. The other place opens last.
 * M2  Nothing is opened that was not compared: of each shard, the digest of what left and of what arrived.
 * M3  It may die anywhere. What was taken is known to the store that took it, page by page, and the same command goes on.
 * M4  No timer fires early: if the other store's clock is ahead, all times that the stores know are later by so much.
 */
import { ConfigError, MoveError, StoppedError } from '../errors.js'
import { addCounts, nothingCounted, type ItemDigest, type MoveCounts } from './item-digest.js'
import { checkId } from './identity.js'
import { mustBeTrusted } from './lookout.js'
import { cancelPlanOf, planOf, type Side } from './move-plan.js'
import { Transfer, type Tell } from './move-transfer.js'
import { systemClock, type Clock } from './ports/clock.js'
import { randomIds, type IdSource } from './ports/ids.js'
import { beginning, isMovable, whyClosed, type ItemPage, type MovableStore, type MoveMark, type NamespaceChanges } from './ports/moving.js'
import type { Durability, Holder, Presence, StoreInfo } from './ports/store.js'

export interface MoveOptions {
  /** Not open yet, as the other one; both are closed at the end. */
  readonly from: MovableStore
  readonly to: MovableStore
  /** How people know the two places: it is told to those who come to the wrong one. Without passwords. */
  readonly places: { readonly from: string; readonly to: string }
  /** The same at both places: idempotency keys begin with it. Default `default`. */
  readonly namespace?: string
  /** How long a process may give no sign of life before it is taken for dead, ms, at least 1; that of the systems that ran the namespace. Default 5,000. */
  readonly leaseMs?: number
  /** Also from and to a store that loses data. */
  readonly unsafe?: boolean
  /** Moves what is kept beside the stores, once all else is copied and before anything is opened. It may be asked again after a crash. */
  readonly beside?: () => Promise<void>
  readonly onProgress?: (progress: MoveProgress) => void
  /** Stops it between two pages, with a {@link StoppedError}; the same call goes on from there. */
  readonly signal?: AbortSignal
  readonly clock?: Clock
  readonly ids?: IdSource
}

export interface MoveProgress {
  /** waiting: for whoever holds something here to show that it lives, a lease at most. */
  readonly stage: 'waiting' | 'copying' | 'comparing' | 'opening'
  /** Shards that are through with this stage, and how many there are. */
  readonly shards: number
  readonly of: number
  /** What went through in this stage, in this call. */
  readonly items: number
  readonly actors: number
}

export interface MoveReport {
  /** already: an earlier call had done it, and nothing happened. */
  readonly state: 'moved' | 'already'
  readonly shards: number
  /** Absent if it was moved already. */
  readonly counts?: MoveCounts
  /** Of each shard, the same on both sides. Empty if it was moved already. */
  readonly digests: readonly string[]
  /** By how much times are later than they were, ms, because the clock there is ahead. */
  readonly shiftMs: number
  readonly durability: { readonly from: Durability; readonly to: Durability }
  /** Sentences for the operator on where it is now. */
  readonly warnings: readonly string[]
}

/**
 * Moves a namespace. Call it again after whatever has stopped it: it goes on, or finds that all is done.
 *
 * @throws MoveError if it cannot be, or must not be, moved; `reason` says why. Where it is `differs`, both places are closed
 *   and the next call copies that shard again; else, if nothing was copied yet, all is as it was
 * @throws StoreError if a store does not answer, StoppedError if the signal aborts, LimitError for an id that the other store
 *   cannot keep: call again, or {@link cancelMove}
 */
export function moveNamespace(options: MoveOptions): Promise<MoveReport> {
  return new Mover(options).withStores((mover) => mover.move())
}

/**
 * Gives up a move that has not ended: the namespace is open again where it was, and the other place is emptied. Resolves
 * too if that had been done.
 *
 * @throws MoveError with reason `cannot` if the namespace is at the other place already, or no move is under way
 */
export function cancelMove(options: MoveOptions): Promise<void> {
  return new Mover(options).withStores((mover) => mover.cancel())
}

export interface ReopenOptions {
  /** Not open yet; closed at the end. */
  readonly store: MovableStore
  /** Default `default`. */
  readonly namespace?: string
  readonly unsafe?: boolean
}

/**
 * Opens a namespace again that was moved away, or is on its way, as it was when it left, without a look at the other place:
 * for when that one is lost. What happened there since is not known here, and may happen again. If the other place is not
 * lost, every actor is there twice from now on: use {@link cancelMove}, or move it back.
 *
 * @throws MoveError with reason `cannot` if it was not moved from here
 */
export async function reopenMoved({ store, namespace = 'default', unsafe }: ReopenOptions): Promise<void> {
  checkId('namespace', namespace)
  if (!isMovable(store)) throw new MoveError('cannot', 'store: this store cannot be moved; it has not the methods of a MovableStore.')
  try {
    const info = await store.open({ namespace, moving: 'from' })
    mustBeTrusted(info, unsafe)
    const { mark } = await store.presence()
    if (!mark || mark.state === 'arriving') throw new MoveError('cannot', mark ? whyClosed(namespace, mark) : `Namespace "${namespace}" is open here: it was not moved.`)
    await reopen(store, info.shards, mark)
  } finally {
    await store.close()
  }
}

/** M1: once the first mark is written the move cannot be finished. */
async function reopen(store: MovableStore, shards: number, mark: MoveMark): Promise<void> {
  const returning: MoveMark = { ...mark, state: 'returning' }
  if (!(await replaceMark(store, mark, returning))) throw new MoveError('over', 'The move was finished or cancelled by another process.')
  for (let shard = 0; shard < shards; shard++) await store.unseal(shard, mark.id)
  await replaceMark(store, returning, undefined)
}

/** V4; true also if the answer was lost. */
async function replaceMark(store: MovableStore, expected: MoveMark | undefined, next: MoveMark | undefined, changes?: NamespaceChanges): Promise<boolean> {
  if (await store.mark(expected, next, changes)) return true
  const { mark } = await store.presence()
  return mark?.id === next?.id && mark?.state === next?.state
}

/** Shards under way at once: as many pages, and one more each, are in memory. */
const shardsMax = 4
/** So many times a lease it is asked whether somebody has shown that it lives. */
const looksPerLease = 10

const rank: Readonly<Record<Durability, number>> = { D0: 0, D1: 1, D2: 2, D3: 3 }

class Mover {
  private readonly options: MoveOptions
  private readonly namespace: string
  private readonly leaseMs: number
  private readonly clock: Clock
  private readonly ids: IdSource
  private infos!: { readonly from: StoreInfo; readonly to: StoreInfo }

  constructor(options: MoveOptions) {
    this.options = options
    this.namespace = checkId('namespace', options.namespace ?? 'default')
    this.leaseMs = options.leaseMs ?? 5_000
    if (!(Number.isFinite(this.leaseMs) && this.leaseMs >= 1)) throw new ConfigError(`leaseMs: expected at least 1 ms, got ${String(options.leaseMs)}.`)
    for (const side of ['from', 'to'] as const) if (!isMovable(options[side])) throw new MoveError('cannot', `${side}: this store cannot be moved; it has not the methods of a MovableStore.`)
    this.clock = options.clock ?? systemClock
    this.ids = options.ids ?? randomIds
  }

  async withStores<T>(work: (mover: this) => Promise<T>): Promise<T> {
    const { from, to, unsafe } = this.options
    const { namespace } = this
    try {
      const here = await from.open({ namespace, moving: 'from' })
      this.infos = { from: here, to: await to.open({ namespace, moving: 'to', shards: here.shards }) }
      for (const info of [here, this.infos.to]) mustBeTrusted(info, unsafe)
      return await work(this)
    } finally {
      await Promise.allSettled([from.close(), to.close()])
    }
  }

  private get shards(): number {
    return this.infos.from.shards
  }

  private async sides(): Promise<{ readonly here: Side; readonly there: Side }> {
    const { from, to, places } = this.options
    const [here, there] = await Promise.all([from.presence(), to.presence()])
    return {
      here: { place: places.from, incarnation: this.infos.from.incarnation, mark: here.mark },
      there: { place: places.to, incarnation: this.infos.to.incarnation, mark: there.mark },
    }
  }

  // ── Moving ──

  async move(): Promise<MoveReport> {
    const { here, there } = await this.sides()
    const plan = planOf(this.namespace, here, there)
    switch (plan.step) {
      case 'nothing':
        return this.report('already')
      case 'begin': {
        const marks = await this.begin(plan.stale)
        return this.goOn(marks.here, marks.there)
      }
      case 'go-on':
        return this.goOn(plan.here, plan.there)
      case 'finish': {
        // By what was compared, and has not changed since.
        const transfer = this.transferOf(plan.there)
        const left = await this.each('comparing', (shard, tell) => transfer.left(shard, tell))
        await this.open(plan.there)
        return this.report('moved', left, plan.there.shiftMs)
      }
    }
  }

  /** Marks both sides. If anything is in the way, nothing was changed. */
  private async begin(stale: MoveMark | undefined): Promise<{ readonly here: MoveMark; readonly there: MoveMark }> {
    const { from, to, places } = this.options
    const presence = await this.idle(from, places.from)
    if (presence.halted !== undefined) throw new MoveError('halted', `Namespace "${this.namespace}" at ${places.from} is halted: ${presence.halted} Accept it before it is moved.`)
    await this.idle(to, places.to)
    if (!stale) for (let shard = 0; shard < this.shards; shard++) this.mustBeEmpty(await to.export(shard, beginning), shard)
    const id = this.ids.next()
    const shiftMs = await this.clockAhead()
    const there: MoveMark = { id, state: 'arriving', place: places.from, shiftMs, ...(stale ? { replaces: stale.id } : {}) }
    const here: MoveMark = { id, state: 'leaving', place: places.to }
    // The history goes on there: chance is drawn from its name, and no decision is to change.
    if (!(await replaceMark(to, stale, there, { incarnation: this.infos.from.incarnation, accepted: presence.accepted }))) throw this.overtaken()
    if (await replaceMark(from, undefined, here)) return { here, there }
    await replaceMark(to, there, stale)
    throw this.overtaken()
  }

  private overtaken(): MoveError {
    return new MoveError('over', `Another process has begun to move namespace "${this.namespace}" at the same time. Run this again when that one has ended.`)
  }

  private mustBeEmpty({ items: [first] }: ItemPage, shard: number): void {
    if (first?.kind === 'shard' && first.number === 0 && first.tail === 0) return
    throw this.notEmpty(shard)
  }

  private notEmpty(shard: number): MoveError {
    return new MoveError('not-empty', `There is something at ${this.options.places.to} under the namespace "${this.namespace}", in shard ${shard} for one. Move to a place where there is nothing: another folder, server or database.`)
  }

  /**
   * By how much the clock there is ahead of the one here, ms; 0 if it is not. Rather too much than too little, by as long
   * as an answer takes. A clock that is behind needs nothing: the namespace clock does not go back.
   */
  private async clockAhead(): Promise<number> {
    const { from, to } = this.options
    const before = await to.now()
    const now = await from.now()
    const after = await to.now()
    return before > now ? Math.ceil(after - now) : 0
  }

  private async goOn(here: MoveMark, there: MoveMark): Promise<MoveReport> {
    const { from, beside } = this.options
    const transfer = this.transferOf(there)
    try {
      await this.sealBoth(there, transfer)
    } catch (error) {
      // Somebody came in between: all is to be as it was.
      if (error instanceof MoveError && (error.reason === 'in-use' || error.reason === 'not-empty')) await this.cancel()
      throw error
    }
    await this.each('copying', (shard, tell) => transfer.copy(shard, tell))
    await beside?.()
    const compared = await this.each('comparing', (shard, tell) => transfer.compare(shard, tell))
    // M1: from here on it is there, and this cannot be cancelled.
    if (!(await replaceMark(from, here, { ...here, state: 'left' }))) throw new MoveError('over', `The move of namespace "${this.namespace}" was cancelled by another process.`)
    await this.open(there)
    return this.report('moved', compared, there.shiftMs)
  }

  private async open(there: MoveMark): Promise<void> {
    const { to } = this.options
    await this.each('opening', (shard) => to.unseal(shard, there.id))
    await replaceMark(to, there, undefined)
  }

  private transferOf({ id, shiftMs = 0, replaces }: MoveMark): Transfer {
    const { from, to, places } = this.options
    return new Transfer({ from, to, places, move: id, shiftMs, replaces: replaces !== undefined, mustGoOn: () => this.mustGoOn() })
  }

  private report(state: MoveReport['state'], shards?: readonly ItemDigest[], shiftMs = 0): MoveReport {
    const { from, to } = this.infos
    const { places } = this.options
    const warnings = [...to.warnings]
    if (rank[to.durability] < rank[from.durability]) warnings.unshift(`${places.to} keeps less than ${places.from} did: ${to.durability} instead of ${from.durability}. docs/reliability.md says what each loses.`)
    const counts = shards?.reduce((sum, { counted }) => addCounts(sum, counted), nothingCounted)
    return { state, shards: this.shards, ...(counts ? { counts } : {}), digests: (shards ?? []).map(String), shiftMs, durability: { from: from.durability, to: to.durability }, warnings }
  }

  // ── Nobody else ──

  /** @throws MoveError if somebody runs the namespace there */
  private async idle(store: MovableStore, place: string): Promise<Presence> {
    const first = await store.presence()
    const lives = first.nodes.find(({ alive, presence }) => alive === true && presence !== 'dead')
    if (lives) throw this.inUse(place, lives.id)
    const silent = first.nodes.filter(({ alive, presence }) => alive !== false && presence !== 'dead')
    // Judged by its counter and this process's own clock, as nodes judge each other.
    for (let looks = 0; silent.length > 0 && looks < looksPerLease; looks++) {
      this.tell('waiting', 0, 0, 0)
      await this.pause(this.leaseMs / looksPerLease)
      const { nodes } = await store.presence()
      const moved = nodes.find((node) => node.alive !== false && node.presence !== 'dead' && silent.find(({ id }) => id === node.id)?.beat !== node.beat)
      if (moved) throw this.inUse(place, moved.id)
    }
    return first
  }

  private inUse(place: string, node: string): MoveError {
    return new MoveError('in-use', `Process ${node} runs namespace "${this.namespace}" at ${place}. Stop it, and all others that do, and run this again: a namespace is moved while nobody runs it.`)
  }

  private async sealBoth({ id, replaces }: MoveMark, transfer: Transfer): Promise<void> {
    const { from, to, places } = this.options
    const { namespace } = this
    await this.seal(from, places.from, id, `Namespace "${namespace}" is moved to ${places.to}, and nothing is taken here any more. Use it there.`)
    await this.seal(to, places.to, id, `Namespace "${namespace}" is on its way here from ${places.from}. Use it once the move has ended.`, replaces)
    for (let shard = 0; !replaces && shard < this.shards; shard++) {
      // Somebody who had the store open may have sent something before the shard was sealed.
      if ((await transfer.taken(shard)) === beginning) this.mustBeEmpty(await to.export(shard, beginning), shard)
    }
  }

  private async seal(store: MovableStore, place: string, move: string, why: string, replaces?: string): Promise<void> {
    const held = new Map<number, Holder>()
    const ask = async (shard: number, seen?: Holder): Promise<Holder | undefined> => {
      const answer = await store.seal(shard, move, why, { seen, replaces })
      return 'heldBy' in answer ? answer.heldBy : undefined
    }
    for (let shard = 0; shard < this.shards; shard++) {
      const holder = await ask(shard)
      if (holder?.alive) throw this.inUse(place, holder.node)
      if (holder) held.set(shard, holder)
    }
    if (held.size === 0) return
    this.tell('waiting', 0, 0, 0)
    await this.pause(this.leaseMs)
    for (const [shard, seen] of held) {
      const holder = await ask(shard, seen)
      if (holder) throw this.inUse(place, holder.node)
    }
  }

  // ── Shards, progress, patience ──

  /** Of all shards, a few at a time; what fails stops the others. */
  private async each<T>(stage: MoveProgress['stage'], work: (shard: number, tell: Tell) => Promise<T>): Promise<T[]> {
    const results: T[] = []
    let [next, done, items, actors] = [0, 0, 0, 0]
    let failed = false
    const tell = (page: ItemPage): void => {
      items += page.items.length
      for (const { kind } of page.items) if (kind === 'record') actors++
      this.tell(stage, done, items, actors)
    }
    const lane = async (): Promise<void> => {
      while (next < this.shards && !failed) {
        const shard = next++
        try {
          results[shard] = await work(shard, tell)
        } catch (error) {
          failed = true
          throw error
        }
        done++
        this.tell(stage, done, items, actors)
      }
    }
    const lanes = await Promise.allSettled(Array.from({ length: Math.min(shardsMax, this.shards) }, lane))
    for (const result of lanes) if (result.status === 'rejected') throw result.reason
    return results
  }

  private tell(stage: MoveProgress['stage'], shards: number, items: number, actors: number): void {
    this.options.onProgress?.({ stage, shards, of: this.shards, items, actors })
  }

  private mustGoOn(): void {
    if (this.options.signal?.aborted) throw new StoppedError('The move')
  }

  private pause(ms: number): Promise<void> {
    this.mustGoOn()
    const { signal } = this.options
    return new Promise((resolve, reject) => {
      const stop = (): void => {
        cancel()
        reject(new StoppedError('The move'))
      }
      const cancel = this.clock.after(ms, () => {
        signal?.removeEventListener('abort', stop)
        resolve()
      })
      signal?.addEventListener('abort', stop, { once: true })
    })
  }

  // ── Giving up ──

  async cancel(): Promise<void> {
    const { here, there } = await this.sides()
    const plan = cancelPlanOf(this.namespace, here, there)
    if (plan.step === 'return') await reopen(this.options.from, this.shards, plan.here)
    if (plan.there) await this.empty(plan.there)
  }

  /** Takes away what has arrived and what it was to replace, and nothing else. */
  private async empty(there: MoveMark): Promise<void> {
    const { to } = this.options
    const transfer = this.transferOf(there)
    for (let shard = 0; shard < this.shards; shard++) {
      try {
        const answer = await to.seal(shard, there.id, 'A move to here was cancelled.', { replaces: there.replaces })
        if ('state' in answer && (there.replaces !== undefined || (await transfer.taken(shard)) !== beginning)) await transfer.clear(shard)
      } catch (error) {
        // An earlier call has been here.
        if (!(error instanceof MoveError && error.reason === 'over')) throw error
      }
      await to.unseal(shard, there.id)
    }
    // It is nobody's history any more.
    await replaceMark(to, there, undefined, { incarnation: this.ids.next() })
  }
}


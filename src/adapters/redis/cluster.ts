/**
 * Which server of a Redis Cluster has what. All keys of a shard share a hash tag, and so a slot; a slot has one primary at
 * a time, which a failover or a resharding changes. Every primary that has something of the namespace gets a link.
 *
 * C1  What the servers say of themselves is asked again when one of them cannot be reached, or sends somebody elsewhere
 *     (MOVED, ASK, CLUSTERDOWN ...), until all that is needed can be reached. If they disagree, the latest epoch counts.
 * C2  A command that was sent elsewhere was not executed: it may be sent again to the right server.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { StoreError } from '../../errors.js'
import type { Connection, Target } from './connection.js'
import { serverCodeOf } from './failures.js'
import { Link } from './link.js'

/** What lies in one slot: a shard, or what belongs to the namespace. */
export type Place = number | 'namespace'

interface Range {
  readonly from: number
  readonly to: number
  readonly host: string
  readonly port: number
}

export interface ClusterOptions {
  /** Any server of the cluster, and how to speak to all of them. */
  readonly seed: Link
  readonly deadlineMs: number
  /** A key of each place. */
  readonly keyOf: (place: Place) => string
  readonly prepare: (connection: Connection, link: Link) => Promise<void>
  /** A place is at another server now. */
  readonly onMoved: () => void
}

const soonMs = 50
const againMs = 500

export class Cluster {
  private readonly options: ClusterOptions
  private readonly slots = new Map<Place, number>()
  private readonly links = new Map<string, Link>()
  private ranges: readonly Range[] = []
  private refreshing: Promise<void> | undefined
  private timer: NodeJS.Timeout | undefined
  private closed = false

  constructor(options: ClusterOptions) {
    this.options = options
  }

  /** Learns where these are, and connects to them. */
  async enter(places: readonly Place[]): Promise<void> {
    const { seed, keyOf } = this.options
    const slots = await seed.commands.callAll(places.map((place) => ['CLUSTER', 'KEYSLOT', keyOf(place)] as const))
    places.forEach((place, i) => this.slots.set(place, Number(slots[i])))
    await this.refresh()
    // A failover may be under way, so that who was named is none any more.
    for (const until = performance.now() + this.options.deadlineMs; ; await this.refresh().catch(() => {})) {
      const failure = await this.reach(places)
      if (!failure) return
      if (!(failure instanceof StoreError) || performance.now() > until) throw failure
    }
  }

  /** Why not all of them can be reached, if so. */
  private async reach(places: readonly Place[]): Promise<unknown> {
    try {
      const links = new Set(places.map((place) => this.linkOf(place)))
      const opened = Promise.all([...links].map((link) => link.commands.opened()))
      opened.catch(() => {})
      await Promise.race([opened, sleep(againMs)])
      const down = [...links].find(({ commands }) => !commands.isUp)
      return down && new StoreError(`Redis at ${down.target.endpoint}, which has a part of the cluster, cannot be reached.`, 'failed')
    } catch (error) {
      if (error instanceof StoreError) await sleep(soonMs)
      return error
    }
  }

  /** @throws StoreError if no server has it now */
  linkOf(place: Place): Link {
    const slot = this.slots.get(place)!
    const range = this.rangeOf(slot)
    const link = range && this.links.get(endpointOf(range))
    if (link) return link
    this.trouble()
    throw new StoreError(`No server of the Redis Cluster at ${this.options.seed.target.endpoint} has slot ${slot} now. Look at CLUSTER INFO.`, 'failed')
  }

  private rangeOf(slot: number): Range | undefined {
    return this.ranges.find(({ from, to }) => slot >= from && slot <= to)
  }

  /** All servers that have something of the namespace. */
  get all(): readonly Link[] {
    return [...this.links.values()]
  }

  /** Something went wrong that another look may explain. */
  trouble(delayMs = soonMs): void {
    if (this.closed || this.timer) return
    this.timer = setTimeout(() => {
      this.timer = undefined
      this.refresh().catch(() => this.trouble(againMs))
    }, delayMs)
    this.timer.unref()
  }

  /** Asks the servers who has what. */
  refresh(): Promise<void> {
    this.refreshing ??= this.ask().finally(() => (this.refreshing = undefined))
    return this.refreshing
  }

  private async ask(): Promise<void> {
    const reachable = [this.options.seed, ...this.links.values()].filter(({ commands }) => commands.isUp)
    const told = (await Promise.allSettled(reachable.map(viewOf))).flatMap((view) => (view.status === 'fulfilled' ? [view.value] : []))
    // One that is cut off from the others may count epochs on its own.
    const latest = told.sort((a, b) => Number(b.isWhole) - Number(a.isWhole) || b.epoch - a.epoch)[0]
    if (this.closed) return
    if (!latest) throw new StoreError(`No server of the Redis Cluster at ${this.options.seed.target.endpoint} can be asked who has what.`, 'failed')
    this.take(latest.ranges)
    if (this.all.some(({ commands }) => !commands.isUp)) this.trouble(againMs)
  }

  private take(ranges: readonly Range[]): void {
    const before = [...this.slots.values()].map((slot) => this.rangeOf(slot))
    this.ranges = ranges
    const needed = new Map([...this.slots.values()].flatMap((slot) => this.rangeOf(slot) ?? []).map((range) => [endpointOf(range), range]))
    for (const [endpoint, range] of needed) {
      if (!this.links.has(endpoint)) this.links.set(endpoint, new Link(targetOf(this.options.seed.target, range), this.options.deadlineMs, this.options.prepare, () => this.trouble()))
    }
    for (const [endpoint, link] of this.links) {
      if (needed.has(endpoint)) continue
      this.links.delete(endpoint)
      void link.close()
    }
    const after = [...this.slots.values()].map((slot) => this.rangeOf(slot))
    if (after.some((range, i) => (range && endpointOf(range)) !== (before[i] && endpointOf(before[i])))) this.options.onMoved()
  }

  async close(): Promise<void> {
    this.closed = true
    clearTimeout(this.timer)
    await Promise.all(this.all.map((link) => link.close()))
  }
}

/** Whether the command was not executed because its key is, or is about to be, at another server. */
export function isElsewhere(error: unknown): boolean {
  return ['MOVED', 'ASK', 'TRYAGAIN', 'READONLY'].includes(serverCodeOf(error) ?? '')
}

interface View {
  /** Whether it takes the cluster for one that serves everything. */
  readonly isWhole: boolean
  readonly epoch: number
  readonly ranges: readonly Range[]
}

async function viewOf({ commands, target }: Link): Promise<View> {
  const [slots, info] = (await commands.callAll([['CLUSTER', 'SLOTS'], ['CLUSTER', 'INFO']])) as [[number, number, [string | null, number]][], string]
  return {
    isWhole: info.includes('cluster_state:ok'),
    epoch: Number(/cluster_current_epoch:(\d+)/.exec(info)?.[1] ?? 0),
    ranges: slots.map(([from, to, [host, port]]) => ({ from, to, host: hostOf(host, target), port })),
  }
}

/** A server that does not know its own address, or tells none, is where it was asked. */
export function hostOf(host: string | null | undefined, { options }: Target): string {
  return host && host !== '?' ? host : (options.host ?? 'localhost')
}

function endpointOf({ host, port }: Range): string {
  return `${host}:${port}`
}

function targetOf({ options }: Target, range: Range): Target {
  const { path: _, ...rest } = options
  return { options: { ...rest, host: range.host, port: range.port }, endpoint: endpointOf(range) }
}

/**
 * Who of the nodes lives, as this one sees it: whose counter has moved within the length of a lease, by this process's
 * own monotonic clock. No wall clock is trusted, and none is compared.
 *
 * M1  A node is dead only if its counter has been seen to stand still for a whole lease. Time during which this process did
 *     not look (frozen, or without the store) counts for nothing.
 * M2  Who lives and yet has not moved the counter of a shard of its own for {@link idleLeases} does not run it: it has let go of it, and the
 *     store has lost that.
 */
import type { Holder, NodeSeen } from './ports/store.js'

interface Sighting {
  readonly beat: number
  /** When its counter was first seen to stand there, by the own clock, ms. */
  readonly since: number
  /** Whether it has moved since it was first seen, or the store vouches for it. */
  readonly shown: boolean
  readonly alive: boolean | undefined
  readonly presence: NodeSeen['presence']
}

/** An owner moves the counter of each of its shards three times a lease. */
const idleLeases = 2

/** A node that has been dead for so many leases is taken off the list. */
const forgottenLeases = 10

export class Members {
  private readonly self: string
  private readonly leaseMs: number
  private nodes = new Map<string, Sighting>()
  /** Owners of shards that others would have, and since when their counters of them stand, by shard. */
  private readonly holders = new Map<number, { readonly holder: Holder; readonly since: number }>()
  private lookedAt: number | undefined

  constructor(self: string, leaseMs: number) {
    this.self = self
    this.leaseMs = leaseMs
  }

  /** @param now when the store was asked, by the own clock, ms */
  saw(nodes: readonly NodeSeen[], now: number): void {
    // Nobody looked meanwhile: what stood still may only have stood still for us.
    const isFresh = this.lookedAt === undefined || now - this.lookedAt > this.leaseMs / 2
    this.lookedAt = now
    const before = this.nodes
    this.nodes = new Map()
    for (const { id, beat, presence, alive } of nodes) {
      const last = before.get(id)
      const stands = last?.beat === beat
      this.nodes.set(id, { beat, presence, alive, shown: alive === true || (last !== undefined && (last.shown || !stands)), since: stands && !isFresh ? last.since : now })
    }
    if (isFresh) this.holders.clear()
  }

  /**
   * Those that shards may fall to, in the order of their ids; this node alone if no other lives. Who was marked as dead by
   * another node is passed over at once, so that all share alike; taken over it is only after this node's own lease.
   */
  sharing(isLeaving: boolean): readonly string[] {
    const others = [...this.nodes].filter(([id, { presence, alive }]) => id !== this.self && (presence !== 'dead' || alive) && !this.isSilent(this.nodes.get(id)!))
    const sharing = others.filter(([, { presence }]) => presence !== 'leaving').map(([id]) => id)
    if (!isLeaving && (this.nodes.has(this.self) || others.length === 0)) sharing.push(this.self)
    return sharing.sort()
  }

  /** Whether that owner of a shard may be taken over (M1, M2). */
  isDead(shard: number, holder: Holder, now: number): boolean {
    if (holder.alive === true || holder.node === this.self) return false
    const node = this.nodes.get(holder.node)
    if (node && this.isSilent(node)) return true
    const last = this.holders.get(shard)
    if (last?.holder.node !== holder.node || last.holder.beat !== holder.beat) {
      this.holders.set(shard, { holder, since: now })
      return false
    }
    return now - last.since >= (node ? idleLeases : 1) * this.leaseMs
  }

  /** Whether it is known of that owner by now that it lives. */
  isShown({ node, alive }: Holder): boolean {
    return alive === true || this.nodes.get(node)?.shown === true
  }

  /** Who is to be marked as dead, and who has been for long enough to be forgotten. */
  silent(): readonly NodeSeen[] {
    return [...this.nodes].filter(([id, node]) => id !== this.self && this.isSilent(node, node.presence === 'dead' ? forgottenLeases : 1)).map(([id, { beat, presence }]) => ({ id, beat, presence }))
  }

  private isSilent({ alive, since }: Sighting, leases = 1): boolean {
    return alive === undefined ? this.lookedAt! - since >= leases * this.leaseMs : !alive
  }
}

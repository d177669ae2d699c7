/**
 * Carries messages from one shard's outbox to the logs of other shards: in order per target, one delivery at a time,
 * repeated until it is answered. The receiver keeps the highest number it has seen of each source, so repeats are
 * dropped; what was delivered is taken out of the outbox by the source's next commit. While too many wait, the source shard
 * handles nothing more: its own mailbox then fills, and whoever sends to it is told.
 */
import type { RuntimeContext } from './context.js'
import type { OutboxEntry } from './ports/store.js'

const groupMax = 256
const retryMs = 100

export class OutboxRelay {
  private readonly context: RuntimeContext
  private readonly shard: number
  private readonly onDelivered: () => void
  private readonly queues = new Map<number, { entries: OutboxEntry[]; busy: boolean }>()
  private readonly delivered = new Map<number, number>()
  private readonly onRoom: () => void
  private waiting = 0
  private stopped = false

  constructor(context: RuntimeContext, shard: number, onDelivered: () => void, onRoom: () => void) {
    this.onRoom = onRoom
    this.context = context
    this.shard = shard
    this.onDelivered = onDelivered
  }

  get isIdle(): boolean {
    for (const { entries, busy } of this.queues.values()) if (busy || entries.length > 0) return false
    return true
  }

  /** Whether nothing more should be sent before some of it is delivered. */
  get isFull(): boolean {
    return this.waiting >= this.context.logMax
  }

  get hasDelivered(): boolean {
    return this.delivered.size > 0
  }

  /** What the next commit may take out of the outbox. */
  takeDelivered(): { to: number; through: number }[] {
    const taken = [...this.delivered].map(([to, through]) => ({ to, through }))
    this.delivered.clear()
    return taken
  }

  push(entry: OutboxEntry): void {
    let queue = this.queues.get(entry.to)
    if (!queue) this.queues.set(entry.to, (queue = { entries: [], busy: false }))
    queue.entries.push(entry)
    this.waiting++
    if (!queue.busy) {
      queue.busy = true
      this.context.clock.soon(() => void this.work(entry.to, queue))
    }
  }

  private async work(to: number, queue: { entries: OutboxEntry[]; busy: boolean }): Promise<void> {
    for (let attempt = 0; queue.entries.length > 0 && !this.stopped; ) {
      const group = queue.entries.slice(0, groupMax)
      try {
        await this.context.store.deliver(to, this.shard, group)
        queue.entries.splice(0, group.length)
        const wasFull = this.isFull
        this.waiting -= group.length
        if (wasFull && !this.isFull) this.onRoom()
        this.delivered.set(to, group.at(-1)!.number)
        this.onDelivered()
        attempt = 0
      } catch (error) {
        this.context.logger.warn({ shard: this.shard, to, error: (error as Error).message }, 'a delivery to another shard failed; trying again')
        await new Promise<void>((resolve) => this.context.clock.after(Math.min(retryMs * 2 ** attempt++, 2_000), resolve))
      }
    }
    queue.busy = false
  }

  stop(): void {
    this.stopped = true
  }
}

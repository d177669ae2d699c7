/**
 * The timers of a shard that are due soon, in the order in which they fire; the store has them all. A binary heap whose
 * cancelled entries are dropped when they come to the top.
 */
import type { Address } from './identity.js'

/** Kept for every timer: its parts are strings that its record has anyway. */
export class NearTimer {
  /** Unique in the shard; sorts timers of one due time as they were set. */
  readonly order: string
  readonly address: Address
  readonly key: string
  readonly dueAt: number

  constructor(order: string, address: Address, key: string, dueAt: number) {
    this.order = order
    this.address = address
    this.key = key
    this.dueAt = dueAt
  }

  /** As the store has it. */
  static of({ member, dueAt }: { readonly member: string; readonly dueAt: number }): NearTimer {
    const first = member.indexOf('|')
    const second = member.indexOf('|', first + 1)
    return new NearTimer(member.slice(0, first), member.slice(first + 1, second) as Address, member.slice(second + 1), dueAt)
  }

  /** Its name in the store. */
  get member(): string {
    return memberOf(this.order, this.address, this.key)
  }
}

export function memberOf(order: string, address: Address, key: string): string {
  return `${order}|${address}|${key}`
}

/** So many cancelled entries are not worth a sweep. */
const deadMin = 256

export class NearTimers {
  private readonly heap: NearTimer[] = []
  private readonly live = new Map<string, NearTimer>()

  get size(): number {
    return this.live.size
  }

  /** Due later than this, a timer stays in the store only, ms. */
  horizon = Infinity

  add(timer: NearTimer): void {
    if (timer.dueAt > this.horizon || this.live.has(timer.order)) return
    this.live.set(timer.order, timer)
    if (this.heap.length > 2 * this.live.size + deadMin) this.sweep()
    this.heap.push(timer)
    this.up(this.heap.length - 1)
  }

  /** Forgets it, if it is here. */
  remove(order: string): void {
    this.live.delete(order)
  }

  /** The timer that fires next, left in place. */
  peek(): NearTimer | undefined {
    for (;;) {
      const top = this.heap[0]
      if (!top || this.live.get(top.order) === top) return top
      this.dropTop()
    }
  }

  /** When they are due, in order, ms. */
  dueTimes(): number[] {
    return [...this.live.values()].map(({ dueAt }) => dueAt).sort((a, b) => a - b)
  }

  /** Drops all but the earliest; the rest is in the store. */
  keepEarliest(max: number): void {
    const sorted = [...this.live.values()].sort((a, b) => (before(a, b) ? -1 : 1)).slice(0, max)
    this.clear()
    this.horizon = sorted.at(-1)?.dueAt ?? Infinity
    for (const timer of sorted) this.add(timer)
  }

  /** Whose timers are due by then, some of them, in no order: their records had better be at hand. */
  dueBy(at: number, max: number): Address[] {
    const addresses: Address[] = []
    const visit = (i: number): void => {
      const timer = this.heap[i]
      if (!timer || timer.dueAt > at || addresses.length >= max) return
      if (this.live.get(timer.order) === timer) addresses.push(timer.address)
      visit(2 * i + 1)
      visit(2 * i + 2)
    }
    visit(0)
    return addresses
  }

  clear(): void {
    this.heap.length = 0
    this.live.clear()
  }

  /** Cancelled entries that never come to the top would stay for as long as the one above them waits. */
  private sweep(): void {
    const kept = this.heap.filter((timer) => this.live.get(timer.order) === timer)
    this.heap.length = 0
    for (const timer of kept) {
      this.heap.push(timer)
      this.up(this.heap.length - 1)
    }
  }

  private dropTop(): void {
    const last = this.heap.pop()!
    if (this.heap.length > 0) {
      this.heap[0] = last
      this.down(0)
    }
  }

  private up(i: number): void {
    const { heap } = this
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!before(heap[i]!, heap[parent]!)) return
      swap(heap, i, parent)
      i = parent
    }
  }

  private down(i: number): void {
    const { heap } = this
    for (;;) {
      const left = 2 * i + 1
      const right = left + 1
      let least = i
      if (left < heap.length && before(heap[left]!, heap[least]!)) least = left
      if (right < heap.length && before(heap[right]!, heap[least]!)) least = right
      if (least === i) return
      swap(heap, i, least)
      i = least
    }
  }
}

function swap(heap: NearTimer[], i: number, j: number): void {
  const timer = heap[i]!
  heap[i] = heap[j]!
  heap[j] = timer
}

function before(a: NearTimer, b: NearTimer): boolean {
  return a.dueAt < b.dueAt || (a.dueAt === b.dueAt && a.order < b.order)
}

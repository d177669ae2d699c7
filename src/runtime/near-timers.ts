/**
 * The timers of a shard that are due soon, in the order in which they fire; the store has them all. A binary heap whose
 * cancelled entries are dropped when they come to the top.
 */
export interface NearTimer {
  /** `order|address|key`, as in the store: sorts timers of one due time as they were set. */
  readonly member: string
  readonly dueAt: number
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
    if (timer.dueAt > this.horizon || this.live.has(timer.member)) return
    this.live.set(timer.member, timer)
    if (this.heap.length > 2 * this.live.size + deadMin) this.sweep()
    this.heap.push(timer)
    this.up(this.heap.length - 1)
  }

  remove(member: string): void {
    this.live.delete(member)
  }

  /** The timer that fires next, left in place. */
  peek(): NearTimer | undefined {
    for (;;) {
      const top = this.heap[0]
      if (!top || this.live.get(top.member) === top) return top
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

  /** Some timers due by then, in no order: whose records had better be at hand. */
  dueBy(at: number, max: number): string[] {
    const members: string[] = []
    const visit = (i: number): void => {
      const timer = this.heap[i]
      if (!timer || timer.dueAt > at || members.length >= max) return
      if (this.live.get(timer.member) === timer) members.push(timer.member)
      visit(2 * i + 1)
      visit(2 * i + 2)
    }
    visit(0)
    return members
  }

  clear(): void {
    this.heap.length = 0
    this.live.clear()
  }

  /** Cancelled entries that never come to the top would stay for as long as the one above them waits. */
  private sweep(): void {
    const kept = this.heap.filter((timer) => this.live.get(timer.member) === timer)
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
      ;[heap[i], heap[parent]] = [heap[parent]!, heap[i]!]
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
      ;[heap[i], heap[least]] = [heap[least]!, heap[i]!]
      i = least
    }
  }
}

function before(a: NearTimer, b: NearTimer): boolean {
  return a.dueAt < b.dueAt || (a.dueAt === b.dueAt && a.member < b.member)
}

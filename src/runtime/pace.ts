/** So many a second; what is beyond gets the next free instant. */
export class Pace {
  private readonly perSecond: number
  /** When those of the last second were let through, and those to come will be, oldest first. */
  private times: number[] = []
  constructor(perSecond: number) {
    this.perSecond = perSecond
  }
  /** @returns how long to wait, ms */
  take(now: number): number {
    this.times = this.times.filter((at) => at > now - 1_000)
    const at = this.times.length < this.perSecond ? now : this.times[this.times.length - this.perSecond]! + 1_000
    this.times.push(at)
    return at - now
  }
}

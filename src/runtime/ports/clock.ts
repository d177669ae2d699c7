/** Time as the runtime sees it: monotonic, so that a jump of the wall clock moves no lease and no timer. */
export interface Clock {
  /** Milliseconds since an arbitrary start; never goes back. */
  now(): number
  /** Calls back once, not before `delayMs` have passed. Returns how to cancel. Any finite delay, also beyond 2^31 ms. */
  after(delayMs: number, callback: () => void): () => void
  /** Calls back soon, after what has already arrived: lets messages of one moment form one batch. */
  soon(callback: () => void): void
}

/** Node's timers hold 2^31 - 1 ms at most and fire at once beyond it. */
const timeoutMax = 2_147_483_647

export const systemClock: Clock = {
  now: () => performance.now(),
  after(delayMs, callback) {
    let timer: NodeJS.Timeout
    const arm = (left: number): void => {
      timer = setTimeout(() => (left > timeoutMax ? arm(left - timeoutMax) : callback()), Math.min(left, timeoutMax))
    }
    arm(Math.max(0, delayMs))
    return () => clearTimeout(timer)
  },
  soon: (callback) => void setImmediate(callback),
}

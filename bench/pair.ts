/**
 * Two things measured side by side in one run. They take turns, so that what else the machine does falls on both, and
 * what is told is the median of the ratios pair by pair. Times are those of this machine on this day; ratios travel.
 */

export interface Side {
  readonly name: string
  /** Does so much work and resolves when it is done, with how long each unit took, ms, if that is what is asked. */
  readonly run: () => Promise<readonly number[] | void> | void
}

export interface Pair {
  readonly title: string
  /** Units of work of one run, by which times are divided. */
  readonly units: number
  readonly unit: string
  readonly a: Side
  readonly b: Side
  readonly end?: () => Promise<void>
}

export interface Result {
  readonly title: string
  readonly a: string
  readonly b: string
  /** Median over the pairs of time(a) / time(b), and the least and the greatest. */
  readonly ratio: number
  readonly from: number
  readonly to: number
  /** Microseconds for one unit, medians. */
  readonly aMicros: number
  readonly bMicros: number
  readonly unit: string
}

/**
 * @param pairs how often, after one that is not counted
 * @returns one result for the time of the whole, or, of runs that tell it of each unit, for its median and its 99th percentile
 */
export async function measure(pair: Pair, pairs: number): Promise<Result[]> {
  const times: [Times, Times][] = []
  for (let i = 0; i <= pairs; i++) {
    const order = i % 2 === 0 ? ([pair.a, pair.b] as const) : ([pair.b, pair.a] as const)
    const first = await timeOf(order[0])
    const second = await timeOf(order[1])
    if (i > 0) times.push(i % 2 === 0 ? [first, second] : [second, first])
  }
  await pair.end?.()
  const resultOf = (title: string, of: (times: Times) => number): Result => {
    const ratios = times.map(([a, b]) => of(a) / of(b)).toSorted((x, y) => x - y)
    return {
      title,
      a: pair.a.name,
      b: pair.b.name,
      ratio: median(ratios),
      from: ratios[0]!,
      to: ratios.at(-1)!,
      aMicros: median(times.map(([a]) => of(a))) * 1_000,
      bMicros: median(times.map(([, b]) => of(b))) * 1_000,
      unit: pair.unit,
    }
  }
  if (!times[0]![0].each) return [resultOf(pair.title, ({ whole }) => whole / pair.units)]
  return [resultOf(`${pair.title}, p50`, ({ each }) => percentile(each!, 0.5)), resultOf(`${pair.title}, p99`, ({ each }) => percentile(each!, 0.99))]
}

interface Times {
  /** ms */
  readonly whole: number
  /** Of each unit, ms. */
  readonly each: readonly number[] | undefined
}

async function timeOf(side: Side): Promise<Times> {
  globalThis.gc?.()
  const started = performance.now()
  const each = await side.run()
  return { whole: performance.now() - started, each: each ?? undefined }
}

function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)]!
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

export function table(results: readonly Result[]): string {
  const number = (value: number): string => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2))
  return results
    .map(({ title, a, b, ratio, from, to, aMicros, bMicros, unit }) => [`${title}`, `  ${a} : ${b} = ${number(ratio)} (${number(from)} to ${number(to)})`, `  ${number(aMicros)} µs : ${number(bMicros)} µs a ${unit}`].join('\n'))
    .join('\n\n')
}

/**
 * Figures: ours beside what it is held against, in one run on one machine. The sides take turns, so that what else the
 * machine does falls on all of them, and what is told is the median of the ratios round by round. Times are those of this
 * machine on this day; ratios travel.
 */

export interface Side {
  readonly name: string
  /** Does so much work and gives the figure's value for it. */
  readonly run: () => Promise<number> | number
}

export interface Figure {
  readonly figure: string
  readonly what: string
  readonly unit: string
  readonly ours: Side
  /** With the ratio ours / theirs that is meant to be reached, e.g. `>= 0.7`; without one it is told all the same. */
  readonly against: readonly (Side & { readonly target?: string })[]
  readonly end?: () => Promise<void>
}

export interface Result {
  readonly figure: string
  readonly unit: string
  /** Medians over the rounds. */
  readonly value: number
  readonly against: string
  readonly theirs: number
  readonly ratio: number
  /** The least and the greatest. */
  readonly from: number
  readonly to: number
  readonly target: string | undefined
  readonly reps: number
}

/** @param reps rounds, after one that is not counted */
export async function measure(figure: Figure, reps: number): Promise<Result[]> {
  const sides = [figure.ours, ...figure.against]
  const rounds: number[][] = []
  try {
    for (let round = 0; round <= reps; round++) {
      const values: number[] = []
      // In another order each time: what the one leaves behind (a heap, a flush under way) does not always fall on the same next one.
      for (let i = 0; i < sides.length; i++) {
        const at = (i + round) % sides.length
        values[at] = await sides[at]!.run()
      }
      if (round > 0) rounds.push(values)
    }
  } finally {
    await figure.end?.()
  }
  return figure.against.map(({ name, target }, i) => {
    const ratios = rounds.map((values) => values[0]! / values[i + 1]!)
    return {
      figure: figure.figure,
      unit: figure.unit,
      value: median(rounds.map((values) => values[0]!)),
      against: name,
      theirs: median(rounds.map((values) => values[i + 1]!)),
      ratio: median(ratios),
      from: Math.min(...ratios),
      to: Math.max(...ratios),
      target,
      reps,
    }
  })
}

/** How many units of work a second, of work that says how many it did. */
export function rateOf(work: () => Promise<number> | number): () => Promise<number> {
  return async () => {
    const started = performance.now()
    const units = await work()
    return (units * 1_000) / (performance.now() - started)
  }
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)]!
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** Whether a target such as `>= 0.7` is reached; undefined if there is none. */
export function isReached({ ratio, target }: Result): boolean | undefined {
  if (target === undefined) return undefined
  const bound = Number(target.slice(3))
  return target.startsWith('>=') ? ratio >= bound : ratio <= bound
}

export function table(results: readonly Result[]): string {
  const rows = results.map((result) => [
    result.figure,
    `${short(result.value)} ${result.unit}`,
    result.against,
    short(result.theirs),
    short(result.ratio),
    `${short(result.from)} to ${short(result.to)}`,
    result.target === undefined ? '' : `${result.target} ${isReached(result) ? 'reached' : 'missed'}`,
  ])
  const all = [['figure', 'value', 'against', 'has', 'ratio', 'from to', 'target'], ...rows]
  const widths = all[0]!.map((_, column) => Math.max(...all.map((row) => row[column]!.length)))
  return all.map((row) => row.map((cell, column) => cell.padEnd(widths[column]!)).join('  ').trimEnd()).join('\n')
}

/** One line a figure and what it is held against. */
export function jsonLines(results: readonly Result[]): string {
  return results.map(({ figure, value, unit, against, ratio, reps }) => JSON.stringify({ figure, value: rounded(value), unit, against, ratio: rounded(ratio), reps })).join('\n')
}

function short(value: number): string {
  return value >= 10_000 ? `${(value / 1_000).toFixed(1)}k` : value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)
}

function rounded(value: number): number {
  return Number(value.toPrecision(4))
}

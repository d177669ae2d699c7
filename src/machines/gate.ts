/** The confidence gate: fails closed. What is no number, or nobody's, does not pass. */

/** Where a confidence comes from. A `default` or `missing` one never counts. */
export type ConfidenceSource = 'self' | 'judge' | 'consistency' | 'rule' | 'human' | 'default' | 'missing'

export interface Confidence {
  /** 0 to 1, or null if there is none. */
  readonly value: number | null
  readonly source: ConfidenceSource
}

export const noConfidence: Confidence = { value: null, source: 'missing' }

/** Those that stand for their number. */
const counting: ReadonlySet<unknown> = new Set<ConfidenceSource>(['self', 'judge', 'consistency', 'rule', 'human'])

/** Whether it is a number from 0 to 1. */
export const isShare = (value: unknown): value is number => typeof value === 'number' && value >= 0 && value <= 1

/**
 * Whether a confidence reaches a threshold, 0 to 1; none reaches any other. Written the positive way round, because `NaN < 0.8`, `undefined < 0.8` and
 * `"high" < 0.8` are all false and would let everything through.
 */
export function passes(confidence: Confidence | undefined, threshold: number): boolean {
  if (!confidence || !counting.has(confidence.source)) return false
  const { value } = confidence
  return isShare(threshold) && isShare(value) && value >= threshold
}

/** The confidence gate: fails closed. What is no number, or nobody's, does not pass. */

/** Where a confidence comes from. A `default` or `missing` one is never a number that counts. */
export type ConfidenceSource = 'self' | 'judge' | 'consistency' | 'rule' | 'human' | 'default' | 'missing'

export interface Confidence {
  /** 0 to 1, or null if there is none. */
  readonly value: number | null
  readonly source: ConfidenceSource
}

export const noConfidence: Confidence = { value: null, source: 'missing' }

/**
 * Whether a confidence reaches a threshold. Written the positive way round, because `NaN < 0.8`, `undefined < 0.8` and
 * `"high" < 0.8` are all false and would let everything through.
 */
export function passes(confidence: Confidence | undefined, threshold: number): boolean {
  if (!confidence || confidence.source === 'default' || confidence.source === 'missing') return false
  const { value } = confidence
  return typeof value === 'number' && value >= threshold && value <= 1
}

/**
 * How much of a property is tried: `HOLDFAST_TIER=second` is longer, `HOLDFAST_SEED` begins elsewhere, `HOLDFAST_RUNS`
 * tries so many cases. A property that fails names its seed; with that and one run, that case alone runs again.
 */
const { HOLDFAST_TIER, HOLDFAST_SEED, HOLDFAST_RUNS } = process.env

export const tier = HOLDFAST_TIER === 'second' ? 'second' : 'first'

/** Whether somebody looks at seeds of his own choice: totals that hold for the usual ones need not. */
export const isChosen = HOLDFAST_SEED !== undefined || HOLDFAST_RUNS !== undefined

export const firstSeed = Number(HOLDFAST_SEED ?? 1)

/** So many cases in the first tier, and in the second. */
export function extent(first: number, second = 10 * first): number {
  return Number(HOLDFAST_RUNS ?? (tier === 'second' ? second : first))
}

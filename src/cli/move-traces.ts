/** Traces go with the actors whose reasoning they are: run by run, each entry once, and read again where they arrived. */
import { MoveError } from '../errors.js'
import type { TraceEntry, TraceStore } from '../mesh/ports/trace-store.js'

export type ListedTraceStore = TraceStore & { runs(): Promise<readonly string[]> }

const groupMax = 500

/**
 * Appends to `to` what it has not of each run in `from`. It may be stopped and asked again.
 *
 * @returns how many runs there are
 * @throws MoveError if a run has another trace there, or what was appended cannot be read
 */
export async function moveTraces(from: ListedTraceStore, to: TraceStore, place: string, signal: AbortSignal): Promise<number> {
  const runs = await from.runs()
  for (const run of runs) {
    signal.throwIfAborted()
    const entries = await from.read(run)
    const have = (await to.read(run)).length
    for (let first = have; first < entries.length; first += groupMax) await to.append(entries.slice(first, first + groupMax))
    if (!isBeginningOf(await to.read(run), entries)) throw new MoveError('differs', `The trace of run ${run} at ${place} is not the one that it should be. Look at it there, take it away, and run this again.`)
  }
  return runs.length
}

function isBeginningOf(there: readonly TraceEntry[], entries: readonly TraceEntry[]): boolean {
  return there.length === entries.length && entries.every((entry, i) => JSON.stringify(entry) === JSON.stringify(there[i]))
}

/**
 * The trace store port: where the trace of the reasoning is kept once it has left the actors' store. Entries are only
 * appended; putting the halves of an attempt together is left to whoever reads.
 *
 * Promised: what `append` has resolved for is durable and is read in the order of the appends, also by other processes.
 * Not promised: that an entry is there once. It may be handed over again after a crash, and is then the same.
 */
import type { TraceHalf } from '../../machines/trace.js'

export interface TraceEntry {
  /** Id of the run, or of the actor that works alone. */
  readonly run: string
  /** `address@incarnation` of the actor. */
  readonly by: string
  /** Namespace time, ms. */
  readonly at: number
  readonly value: TraceHalf
}

export interface TraceStore {
  append(entries: readonly TraceEntry[]): Promise<void>
  /** All of one run; none if there is none. */
  read(run: string): Promise<readonly TraceEntry[]>
  close(): Promise<void>
}

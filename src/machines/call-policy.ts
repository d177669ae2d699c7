/**
 * How hard a call tries, and where its task goes if no model can be had: what the policies say of an agent's calls. A call
 * takes what holds when it begins, and keeps to it. Data, pure.
 */
import { defaultBackoff, type Backoff } from './backoff.js'

/** Where a task goes whose models cannot be had. */
export type FallbackStep =
  /** Another agent of the run, or a machine that takes an AgentInput, is given the same task. */
  | { readonly agent: string; readonly deadlineMs: number }
  /** A person gives the answer. */
  | { readonly person: string; readonly deadlineMs: number }

export interface CallPolicy {
  /** Attempts over all models whose outcome is known, inclusive. */
  readonly attemptsMax: number
  readonly backoff: Backoff
  /** How long a call may take with all its attempts and waiting, ms. */
  readonly deadlineMs: number
  /** What comes of it while the circuit breaker of the last model is open: it waits, within its deadline, or fails at once. */
  readonly whenOpen: 'wait' | 'fail'
  /** 0 to 9: among calls that wait for permits the higher goes first. */
  readonly priority: number
  /**
   * How long an attempt may go without an answer, ms, before a second one is begun beside it, once in a call: at the next model or at
   * the same. The first answer counts, the other is given up and charged in full. null: never.
   */
  readonly hedge: { readonly afterMs: number; readonly model: 'next' | 'same' } | null
  /** In the order in which they are asked; each once. */
  readonly fallback: readonly FallbackStep[]
}

export const defaultCallPolicy: CallPolicy = { attemptsMax: 4, backoff: defaultBackoff, deadlineMs: 600_000, whenOpen: 'wait', priority: 5, hedge: null, fallback: [] }

/**
 * What charts put on record of the reasoning: for each attempt at a model one half with the intent and one with the
 * outcome, and for each judgement of an answer another. The runtime adds who and when; the mesh puts the halves together.
 */
import type { Confidence } from './gate.js'
import type { Amounts } from './ledger.js'

/** The shared stream that holds them until they are drained. */
export const traceStream = 'trace'

/** An agent's own stream, of what was masked in its prompts or left out of them: whole. */
export const compactionStream = 'compactions'

export interface CompactionEntry {
  /** Of which call. */
  readonly call: string
  readonly parts: readonly unknown[]
}

/** Whose call it is. */
export interface CallSubject {
  readonly agent: string
  readonly version: string
  readonly run: string
  readonly task: string
  /** Digest of the goal. */
  readonly goal: string
  /** The part of the plan that the work goes back to, through all replanning. */
  readonly origin: string
}

export interface TraceIntent {
  readonly half: 'intent'
  /** Unique within one incarnation of the actor. */
  readonly attempt: string
  readonly model: string
  readonly request: unknown
  /** What was masked in the prompt or left out of it; null: nothing. */
  readonly compaction: unknown
  readonly reserved: Amounts
  readonly about: CallSubject
}

/** The permit of an attempt has come, for which it had to wait. */
export interface TracePermit {
  readonly half: 'permit'
  readonly attempt: string
}

export interface TraceOutcome {
  readonly half: 'outcome'
  readonly attempt: string
  readonly ok: boolean
  /** null: nobody knows, so all that was reserved is charged. */
  readonly cost: Amounts | null
  readonly response: unknown
  readonly error: { readonly kind: string; readonly message: string } | null
  /** Of an attempt that failed: what the provider had counted by then, if it had. */
  readonly usage?: unknown
}

/** What was made of an answer: as it was read, and again when somebody has verified it. */
export interface TraceJudgement {
  readonly half: 'judgement'
  /** The attempt that brought the answer. */
  readonly attempt: string
  readonly output: unknown
  readonly confidence: Confidence
  /** Whether the task's goal is, letter for letter, the run's. */
  readonly goalCheck: 'intact' | 'broken'
  /** By whom it was verified, if it was. */
  readonly verifiedBy: string | null
  readonly accepted: boolean | null
  readonly reasons: readonly string[]
  /** Sources that stood up to verification. */
  readonly sourcesVerified: readonly unknown[]
  /** What each verifier said, in the order in which they were asked. */
  readonly verdicts: readonly TracedVerdict[]
  readonly failure: string | null
}

export interface TracedVerdict {
  readonly by: string
  readonly accepted: boolean
  readonly reasons: readonly string[]
  readonly explanation: string
  readonly confidence: Confidence
}

/** A tool that an answer asked for, and what came of it. */
export interface TraceTool {
  readonly half: 'tool'
  /** The attempt that brought that answer. */
  readonly attempt: string
  /** Unique among the tools of the agent's call. */
  readonly id: string
  readonly tool: string
  /** As the model wrote them. */
  readonly arguments: string
  /** null: it was not looked at so far. */
  readonly kind: 'repeatable' | 'external' | null
  readonly wasRun: boolean
  /** Why it was not run, or not to any good; null: it was. */
  readonly refused: string | null
  /** What the model was told. */
  readonly text: string
  readonly cost: Amounts
}

export type TraceHalf = TraceIntent | TracePermit | TraceOutcome | TraceJudgement | TraceTool

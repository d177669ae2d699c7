/**
 * Verification: what a verifier is given, what it says, and what it may ask of the agent whose output it judges. A verifier
 * is any actor that takes a {@link VerificationInput} and ends with a {@link Verdict}; whatever else it ends with is a refusal.
 */
import type { AgentTask } from './agent.machine.js'
import type { ApprovalRequest, Decision } from './approval.js'
import type { CallToAgent, LedgerAnswer } from './call.machine.js'
import { noConfidence, type Confidence } from './gate.js'

/** What is to be judged. JSON. */
export interface VerificationInput {
  readonly task: AgentTask
  readonly output: unknown
  readonly confidence: Confidence
}

/** What whoever verifies says of an output. */
export interface Verdict {
  readonly accepted: boolean
  readonly reasons: readonly string[]
  readonly explanation: string
  readonly confidence: Confidence
  /** The output as far as it was accepted, if not all of it was. */
  readonly output?: unknown
  /** What of it was not, and why. */
  readonly refused?: readonly Refused[]
  /** Sources that were looked at and hold what is said. */
  readonly sourcesVerified?: readonly unknown[]
  /** Who said so: an agent's address, `rule`, `rederivation` or a person. */
  readonly by: string
  /** What each of several said, in the order in which they were asked. */
  readonly parts?: readonly Verdict[]
}

export interface Refused {
  readonly finding: unknown
  readonly reasons: readonly string[]
  readonly explanation: string
}

/** What a verifier that is a machine may ask of its agent: to pay for a call, or to put a question to a person. */
export type VerifierToAgent = CallToAgent | { readonly type: 'person.ask'; readonly request: ApprovalRequest } | { readonly type: 'person.withdraw' }

/** What it is answered. */
export type AgentToVerifier = LedgerAnswer | { readonly type: 'person.decided'; readonly decision: Decision }

export function refusal(by: string, reasons: readonly string[], explanation: string, confidence: Confidence = noConfidence): Verdict {
  return { accepted: false, reasons, explanation, confidence, by }
}

/** Nobody has looked at it, so it does not pass. */
export function notJudged(by: string, why: string): Verdict {
  return refusal(by, ['not-judged'], `not judged: ${why}`)
}

/** What came from whoever verifies, read so that anything but a verdict is a refusal. */
export function toVerdict(given: unknown): Verdict {
  if (isVerdict(given)) return given
  const { by } = (given ?? {}) as Partial<Verdict>
  return refusal(typeof by === 'string' ? by : 'unknown', ['malformed'], 'whoever verifies gave no verdict')
}

function isVerdict(given: unknown): given is Verdict {
  const { accepted, reasons, explanation, confidence, by, refused = [], sourcesVerified = [], parts = [] } = (given ?? {}) as Partial<Verdict>
  return (
    typeof accepted === 'boolean' &&
    Array.isArray(reasons) &&
    typeof explanation === 'string' &&
    typeof confidence === 'object' &&
    confidence !== null &&
    typeof by === 'string' &&
    Array.isArray(refused) &&
    refused.every((each) => Array.isArray((each as { reasons?: unknown } | null)?.reasons)) &&
    Array.isArray(sourcesVerified) &&
    Array.isArray(parts) &&
    parts.every(isVerdict)
  )
}

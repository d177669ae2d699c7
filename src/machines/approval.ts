/**
 * Approval by a person. What is shown is exactly what will be done: the digest is over the canonical actions with their
 * arguments, a decision names it, and once recorded it never changes (I10). Silence is a no.
 */

/** A change of the outside world. JSON. */
export interface PlannedAction {
  readonly name: string
  readonly input: unknown
}

export interface ApprovalRequest {
  readonly why: string
  readonly actions: readonly PlannedAction[]
  /** Digest over the canonical actions; a decision names it. */
  readonly digest: string
}

export interface Decision {
  /** The request that was decided. */
  readonly digest: string
  readonly approved: boolean
  /** Who decided. */
  readonly by: string
  readonly note: string
}

export interface DecisionEvent {
  readonly type: 'approval.decide'
  readonly digest: string
  readonly approved: boolean
  readonly by: string
  readonly note?: string
}

/** A person has found out whether an action of unknown outcome happened. */
export interface ResolutionEvent {
  readonly type: 'action.resolve'
  readonly happened: boolean
  readonly output?: unknown
  readonly by: string
}

/** The answer to whoever decides: what is on record, and what is still to be decided. */
export interface DecisionAnswer {
  readonly decision: Decision | null
  /** Digest of the request that waits for a decision. */
  readonly pending: string | null
}

export function decisionAnswer({ approval, decision }: { readonly approval: ApprovalRequest | null; readonly decision: Decision | null }): DecisionAnswer {
  return { decision, pending: decision ? null : (approval?.digest ?? null) }
}

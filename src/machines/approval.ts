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
  /** What is to be approved where there is no action: an output. */
  readonly output?: unknown
  /** What a person is to answer himself: the task, and the JSON Schema that the answer must fit. To approve is to give it. */
  readonly question?: { readonly input: unknown; readonly schema: unknown }
  /** Digest over the canonical actions, the output or the question; a decision names it. */
  readonly digest: string
}

export interface Decision {
  /** The request that was decided. */
  readonly digest: string
  readonly approved: boolean
  /** Who decided. */
  readonly by: string
  readonly note: string
  /** When, in namespace time, ms; null if whoever told did not say. */
  readonly at: number | null
  /** The answer to a question, where it was given. */
  readonly output?: unknown
}

export interface DecisionEvent {
  readonly type: 'approval.decide'
  readonly digest: string
  readonly approved: boolean
  readonly by: string
  readonly note?: string
  /** The answer to a question. */
  readonly output?: unknown
  /** Namespace time, ms. */
  readonly at?: number
}

/** A person has found out whether an action of unknown outcome happened. */
export interface ResolutionEvent {
  readonly type: 'action.resolve'
  readonly happened: boolean
  readonly output?: unknown
  readonly by: string
  /** Namespace time, ms. */
  readonly at?: number
}

/** What a person said of an action of unknown outcome. */
export interface Resolution {
  readonly happened: boolean
  /** Who said so. */
  readonly by: string
  /** When, in namespace time, ms; null if whoever told did not say. */
  readonly at: number | null
}

/** A person wants a failed action tried again. */
export interface RetryEvent {
  readonly type: 'run.retry'
  readonly by: string
  /** Namespace time, ms. */
  readonly at?: number
}

export interface Retry {
  /** Who wanted it. */
  readonly by: string
  /** When, in namespace time, ms; null if whoever told did not say. */
  readonly at: number | null
}

const isSomebody = (by: unknown): boolean => typeof by === 'string' && by !== ''
const timeOf = (at: unknown): number | null => (Number.isFinite(at) ? (at as number) : null)

/** The decision on a request that an event brings. Only a plain yes is one; what names nobody or another request is none. */
export function decisionOn(request: ApprovalRequest | null, event: { readonly type: string }): Decision | null {
  const { type, digest, approved, by, note, at, output } = event as Partial<DecisionEvent>
  if (type !== 'approval.decide' || !request || digest !== request.digest || !isSomebody(by)) return null
  return { digest, approved: approved === true, by: by!, note: typeof note === 'string' ? note : '', at: timeOf(at), ...(request.question && approved === true ? { output: output ?? null } : {}) }
}

/** What an event says of an action of unknown outcome; what is no plain yes or no, or nobody's, says nothing. */
export function resolutionOf(event: { readonly type: string }): Resolution | null {
  const { type, happened, by, at } = event as Partial<ResolutionEvent>
  return type === 'action.resolve' && typeof happened === 'boolean' && isSomebody(by) ? { happened, by: by!, at: timeOf(at) } : null
}

/** Who wants a failed action tried again by an event; what is nobody's wants nothing. */
export function retryOf(event: { readonly type: string }): Retry | null {
  const { type, by, at } = event as Partial<RetryEvent>
  return type === 'run.retry' && isSomebody(by) ? { by: by!, at: timeOf(at) } : null
}

/** The answer to whoever decides: what is on record, and what is still to be decided. */
export interface DecisionAnswer {
  readonly decision: Decision | null
  /** Digest of the request that waits for a decision. */
  readonly pending: string | null
  /** What is wrong with the answer that was given; it is waited for still. */
  readonly problem?: string
}

export function decisionAnswer({ approval, decision }: { readonly approval: ApprovalRequest | null; readonly decision: Decision | null }): DecisionAnswer {
  return { decision, pending: decision ? null : (approval?.digest ?? null) }
}

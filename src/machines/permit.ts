/** What a call needs before each attempt, and what it is told when it cannot have it. Pure. */

/** What a policy is about. */
export type PolicyScope = 'provider' | 'model' | 'agent' | 'version' | 'tenant' | 'tool'

/** Why an attempt is not permitted. */
export interface Refusal {
  /** open: a circuit breaker is. limit: a rate limit leaves no room in time, or never for a call of this size. full: too many wait. stopped: somebody has stopped it. */
  readonly reason: 'open' | 'limit' | 'full' | 'stopped'
  /** What the policy that says so is about, and whose it is: `model`, `anthropic/claude-opus-5-5`. */
  readonly scope: PolicyScope
  readonly name: string
  readonly message: string
}

/** Whether another model may be permitted what this refusal refuses. */
export function concernsModel({ scope }: Refusal): boolean {
  return scope === 'model' || scope === 'provider'
}

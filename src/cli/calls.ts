/**
 * What the mesh does about the calls of a run while one watches: models that fail, circuit breakers that open and close,
 * who is asked instead, and what that costs. Nothing is looked at as long as all models answer in this process.
 */
import type { BreakerContext, BreakerState } from '../machines/circuit-breaker.machine.js'
import { unbounded } from '../machines/ledger.js'
import { formatDollars } from '../mesh/prices.js'
import type { RunHandle, RunStatus } from '../mesh/run-handle.js'
import type { TraceRecord } from '../mesh/trace.js'
import type { Address } from '../runtime/identity.js'
import type { Session } from './session.js'
import { printable, styled, type Style, type Terminal } from './terminal.js'
import { shortened } from './views.js'

/** A circuit breaker that is not closed. */
export interface OpenBreaker {
  readonly name: string
  readonly state: Exclude<BreakerState, 'closed'>
  readonly why: string
}

/** How soon the trace is looked at again, ms; and at least so many times what the look took, for a long trace is read as a whole. */
const lookMs = 300
const restFactor = 20

export class CallsWatch {
  private readonly run: RunHandle
  private readonly terminal: Terminal
  private readonly say: (event: object, text: string) => void
  private readonly onBreakers: (open: readonly OpenBreaker[]) => void
  private readonly states = new Map<string, { readonly state: BreakerState; readonly why: string }>()
  private readonly told = new Set<string>()
  private readonly stops: (() => void)[] = []
  private timer: NodeJS.Timeout | undefined
  private looking: Promise<void> = Promise.resolve()
  private isWatched = false

  /** @param onBreakers hears which are not closed, after each change */
  constructor({ mesh, research }: Session, run: RunHandle, terminal: Terminal, say: CallsWatch['say'], onBreakers: CallsWatch['onBreakers']) {
    this.run = run
    this.terminal = terminal
    this.say = say
    this.onBreakers = onBreakers
    const breakers = new Map<string, string>()
    for (const { name } of research.agents) {
      for (const { chain } of mesh.policies.explain(name)) for (const policy of chain) if (policy.kind === 'breaker') breakers.set(policy.address, policy.name)
    }
    if (breakers.size === 0) return
    this.isWatched = true
    for (const [address, name] of breakers) {
      const { unsubscribe } = mesh.system.actorAt(address as Address).subscribe((snapshot) => {
        const { value, context } = snapshot as unknown as { value: unknown; context: BreakerContext }
        this.see(name, typeof value === 'string' ? (value as BreakerState) : 'halfOpen', context.why ?? 'it failed')
      })
      this.stops.push(unsubscribe)
    }
    this.lookAfter(lookMs)
    this.stops.push(() => clearTimeout(this.timer))
  }

  private lookAfter(ms: number): void {
    this.timer = setTimeout(() => {
      const began = performance.now()
      void this.look().then(() => this.stops.length > 0 && this.lookAfter(Math.max(lookMs, restFactor * (performance.now() - began))))
    }, ms)
  }

  private see(name: string, state: BreakerState, why: string): void {
    const before = this.states.get(name)?.state ?? 'closed'
    if (state === before) return
    this.states.set(name, { state, why })
    this.onBreakers([...this.states].flatMap(([one, { state: its, why: because }]) => (its === 'closed' ? [] : [{ name: one, state: its, why: because }])))
    const [style, text] = breakerWords(state, why)
    this.say({ breaker: { name, state, why: state === 'closed' ? null : why } }, `  ${styled(this.terminal, style, `breaker of ${printable(name)}`)}  ${text}`)
  }

  /** One look after the other; what was told is not told again. */
  private look(): Promise<void> {
    this.looking = this.looking.then(
      async () => this.tell(await this.run.trace()),
      () => {},
    )
    // A store that is being closed has nothing more to tell.
    return this.looking.catch(() => {})
  }

  private tell(trace: readonly TraceRecord[]): void {
    trace.forEach((record, i) => {
      const before = trace.slice(0, i).findLast(({ by, attempt }) => by === record.by && callOf(attempt) === callOf(record.attempt))
      if (before && before.model !== record.model) {
        this.once(record, 'instead', { fallback: { task: record.task, model: record.model, insteadOf: before.model, why: before.error } }, `  ${record.task}  asks ${styled(this.terminal, 'bold', printable(record.model))} instead of ${printable(before.model)}: ${because(before)}`)
      }
      if (hasFailed(record)) {
        const { cost, reserved } = record
        const tokens = (cost ?? reserved).tokens
        this.once(record, 'failed', { failed: { task: record.task, model: record.model, error: record.error, charged: cost ?? reserved } }, `  ${record.task}  ${printable(record.model)} ${styled(this.terminal, 'red', 'failed')}: ${because(record)}${tokens === 0 ? '' : `; nobody knows what it used, so ${tokens.toLocaleString('en-US')} tokens are charged`}`)
      }
    })
  }

  private once({ by, attempt }: TraceRecord, what: string, event: object, text: string): void {
    const key = `${by} ${attempt} ${what}`
    if (this.told.has(key)) return
    this.told.add(key)
    this.say(event, text)
  }

  /** The last look, and no more. Resolves to lines that sum it up: none if nothing failed. */
  async end(status: RunStatus | undefined): Promise<readonly string[]> {
    for (const stop of this.stops.splice(0)) stop()
    if (!this.isWatched) return []
    await this.look()
    const trace = await this.run.trace()
    return status && trace.some((record) => hasFailed(record) || wasRefused(record)) ? summary(status, trace) : []
  }

  stop(): void {
    for (const stop of this.stops.splice(0)) stop()
  }
}

const callOf = (attempt: string): string => attempt.slice(0, attempt.lastIndexOf('.'))
/** It had no permit: nobody was asked. */
const wasRefused = ({ cost, error }: TraceRecord): boolean => error !== null && cost?.calls === 0
/** A model was asked and brought no answer. */
const hasFailed = (record: TraceRecord): boolean => record.error !== null && record.completion === null && record.endedAt !== null && !wasRefused(record)
const because = ({ error }: TraceRecord): string => printable(shortened(error ?? 'it did not answer', 110))

function breakerWords(state: BreakerState, why: string): readonly [Style, string] {
  switch (state) {
    case 'open':
      return ['red', `is open (${printable(why)}): nothing is asked of it, and its calls go to the next model or wait`]
    case 'halfOpen':
      return ['yellow', 'is half open: a call or two are let through to see']
    case 'closed':
      return ['green', 'is closed again']
  }
}

/** What each model was asked and did, and what of the budget went where. */
function summary({ spent, ceiling }: RunStatus, trace: readonly TraceRecord[]): string[] {
  const models = [...new Set(trace.map(({ model }) => model))]
  const plural = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`
  const lines = models.map((model) => {
    const of = trace.filter((record) => record.model === model)
    const asked = of.filter((record) => !wasRefused(record))
    const refused = of.length - asked.length
    return `${printable(model)}: asked ${plural(asked.length, 'time')}, ${asked.filter(hasFailed).length} failed${refused === 0 ? '' : `; not asked ${plural(refused, 'time')}, because its breaker was open`}.`
  })
  const lost = trace.filter(hasFailed).map(({ cost, reserved }) => cost ?? reserved)
  const amount = (nano: number, tokens: number): string => `${formatDollars(nano)} and ${tokens.toLocaleString('en-US')} tokens`
  const most = [...(ceiling.nanoDollars < unbounded.nanoDollars ? [formatDollars(ceiling.nanoDollars)] : []), ...(ceiling.tokens < unbounded.tokens ? [`${ceiling.tokens.toLocaleString('en-US')} tokens`] : []), ...(ceiling.calls < unbounded.calls ? [plural(ceiling.calls, 'call')] : [])]
  return [
    ...lines,
    `Budget: ${amount(spent.nanoDollars, spent.tokens)} in ${plural(spent.calls, 'call')} spent${most.length === 0 ? '' : `, of ${most.join(', ')}`}; of that ${amount(
      lost.reduce((sum, { nanoDollars }) => sum + nanoDollars, 0),
      lost.reduce((sum, { tokens }) => sum + tokens, 0),
    )} for what failed.`,
  ]
}

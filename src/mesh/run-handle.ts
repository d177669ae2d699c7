/** A run as its users hold it: by its id, from any process. Nothing is created by making one. */
import { ActorEndedError, ConfigError, isHoldfastError } from '../errors.js'
import type { ApprovalRequest, Decision, DecisionAnswer, Resolution, Retry } from '../machines/approval.js'
import type { Amounts, BudgetWarning } from '../machines/ledger.js'
import type { Member, RunContext, RunOutput, Step } from '../machines/run.machine.js'
import { runOutput, spentSoFar, unanswered } from '../machines/run.machine.js'
import { compactionStream } from '../machines/trace.js'
import type { ActorHandle, WaitOptions } from '../runtime/actor.js'
import type { XMachineSnapshot } from '../runtime/xstate/insides.js'
import { canonicalJson, digestOf } from './canonical.js'
import { anything, milliseconds, oneOf, optional, options as optionsOf, text, wrong } from './options.js'
import type { WholePart } from './prompt-window.js'
import type { TokensOptions, TokenTold } from './tokens.js'
import type { TraceRecord } from './trace.js'

/** An agent's finding, as it stands on record: append-only, with who made it, who judged it and what became of it. */
export interface FindingRecord {
  readonly seq: number
  /** Namespace time, ms. */
  readonly at: number
  readonly step: string
  /** The plan's step that it goes back to. */
  readonly origin: string
  /** Address of the agent that made it. */
  readonly agent: string
  readonly finding: unknown
  readonly accepted: boolean
  /** Why not. */
  readonly reasons: readonly string[]
  /** Address of whoever judged it, or null. */
  readonly judgedBy: string | null
  /** Digest of the goal. */
  readonly goal: string
}

/** Parts of one prompt that were not shown whole. */
export interface CompactionRecord {
  /** Address of the agent. */
  readonly agent: string
  /** Namespace time, ms. */
  readonly at: number
  /** Of which of its calls: the part of an attempt's id before the last dot. */
  readonly call: string
  readonly parts: readonly WholePart[]
}

export type RunState = 'funding' | 'planning' | 'working' | 'synthesising' | 'concluding' | 'approvalPending' | 'acting' | 'unsure' | 'cancelling' | 'done' | 'failed'

/** Where a run stands after a commit. */
export interface RunStatus {
  readonly run: string
  readonly state: RunState
  readonly goal: string
  readonly steps: readonly Step[]
  readonly members: readonly Member[]
  /** The plan's steps that no attempt answered. */
  readonly unanswered: ReturnType<typeof unanswered>
  /** What the run's agents spent: those that have ended, and those at work as far as they have told (each time that it is a twentieth of the ceiling). */
  readonly spent: Amounts
  /** What it may spend in all; it grows when a person gives more, and may be less than it was started with where its tenant has a budget. */
  readonly ceiling: Amounts
  /** Of the ceiling, what nobody was granted. */
  readonly free: Amounts
  /** Shares of the ceiling that were reached. */
  readonly warnings: readonly BudgetWarning[]
  /** What a person is asked to give in addition, and the decision while it is carried out. */
  readonly topUp: RunContext['topUp']
  /** What calls of its agents that have ended cost beyond what was held for them, and so beyond the ceiling; must be zero. */
  readonly overrun: Amounts
  /** What a person is to approve. */
  readonly approval: ApprovalRequest | null
  readonly decision: Decision | null
  /** Who found out whether an action of unknown outcome had happened, the last time that somebody had to. */
  readonly resolution: Resolution | null
  /** Who had the failed action tried again, the last time. */
  readonly retry: Retry | null
  /** Whether it failed by its action, so that `retry` has that tried again. */
  readonly mayRetry: boolean
  readonly report: unknown
  /** What the action gave. */
  readonly published: unknown
  /** Why it failed; in the state `unsure`, why nobody knows whether the action happened. */
  readonly failure: { readonly reason: string; readonly message: string } | null
  /**
   * Why it cannot go on by itself: it or one of its agents was set aside, because the process died over it too often or runs
   * another version. null if nothing is; not looked for in `progress` beyond its first value.
   */
  readonly parked: { readonly address: string; readonly reason: string; readonly detail: string } | null
}

/** Something that a person is to approve. */
export interface PendingApproval extends ApprovalRequest {
  /** Who asks: the run, or one of its agents. */
  readonly address: string
}

export interface DecisionOptions {
  /** Who decides: 1 to 256 characters. */
  readonly by: string
  /** At most 10,000 characters. */
  readonly note?: string
  /** Of what was shown. Default: of the only thing that waits for a decision. */
  readonly digest?: string
  /** How long the answer is waited for, ms. Default 10,000. */
  readonly deadlineMs?: number
}

export interface AnswerOptions extends DecisionOptions {
  /** What the agent is to give in its model's stead; JSON that fits the question's schema. */
  readonly output: unknown
}

/** A person, as a name or an address. */
const aPerson = text(256)
const deciding = { by: aPerson, note: optional(text(10_000, 0)), digest: optional(text(256)), deadlineMs: optional(milliseconds) }
const decisionOptions = optionsOf<DecisionOptions>(deciding)
const answerOptions = optionsOf<AnswerOptions>({ ...deciding, output: anything })

export interface ResolutionOptions {
  /** Whether the action has happened. */
  readonly happened: boolean
  /** What it gave, if it has; JSON. */
  readonly output?: unknown
  readonly by: string
}

const retryOptions = optionsOf<{ by: string }>({ by: aPerson })
const resolutionOptions = optionsOf<ResolutionOptions>({ happened: oneOf(true, false), output: anything, by: aPerson })

/** What a run needs of the mesh that hands it out. */
export interface RunHost {
  /** @param until what is there once it settles is told to its end */
  tokens(run: string, options: TokensOptions, until: (signal: AbortSignal) => Promise<unknown>): AsyncGenerator<TokenTold, void>
  actor(address: string): ActorHandle
  trace(run: string): Promise<TraceRecord[]>
  /** The store's time, ms. */
  now(): Promise<number>
  /** Why an actor's messages are parked, if they are. */
  parked(address: string): Promise<{ readonly reason: string; readonly detail: string } | undefined>
  /** Takes up again what was quarantined. */
  redrive(address: string): Promise<void>
  /** What the actor has appended to a stream of its own. */
  stream(address: string, name: string): Promise<readonly { readonly seq: number; readonly at: number; readonly value: unknown }[]>
}

const endStates: ReadonlySet<string> = new Set(['done', 'failed'])

export class RunHandle {
  readonly id: string
  private readonly actor: ActorHandle
  private readonly host: RunHost

  constructor(id: string, actor: ActorHandle, host: RunHost) {
    this.id = id
    this.actor = actor
    this.host = host
  }

  /** `machine/id` of the run's actor. */
  get address(): string {
    return this.actor.address
  }

  /** undefined if there is no such run. */
  async status(): Promise<RunStatus | undefined> {
    const snapshot = (await this.actor.snapshot()) as unknown as XMachineSnapshot | undefined
    if (!snapshot) return undefined
    const status = statusOf(this.id, snapshot)
    if (endStates.has(status.state)) return status
    const failure = await this.actor.failure()
    if (failure) return { ...status, state: 'failed', failure: { reason: 'machine', message: failure.error.message } }
    return { ...status, parked: await this.firstParked(status) }
  }

  private async firstParked(status: RunStatus): Promise<RunStatus['parked']> {
    for (const address of this.livingIn(status)) {
      const parked = await this.host.parked(address)
      if (parked && parked.reason !== 'failed') return { address, reason: parked.reason, detail: parked.detail }
    }
    return null
  }

  /** The run and its agents that have not ended. */
  private livingIn({ members }: RunStatus): string[] {
    return [this.address, ...members.filter(({ outcome }) => outcome === null).map(({ machine, id }) => `${machine}/${this.id}~${id}`)]
  }

  /** Takes up again, in the process that runs it, what was set aside because the process had died over it. */
  async redrive(): Promise<void> {
    const status = await this.status()
    if (status) for (const address of this.livingIn(status)) await this.host.redrive(address)
  }

  /**
   * Where the run stands now, and after each commit that changed it, until it has ended; of a run that does not exist yet,
   * from its first commit on. A client hears of the latest state only. `return()` ends it at once, also while a `next()`
   * waits: that then resolves as done.
   */
  progress(): AsyncGenerator<RunStatus, void> {
    const over = new AbortController()
    const told = this.told(over)
    // A generator's own would wait for what the pending next() waits for.
    const end = told.return.bind(told)
    told.return = (value) => {
      over.abort()
      return end(value)
    }
    return told
  }

  private async *told(over: AbortController): AsyncGenerator<RunStatus, void> {
    const { signal } = over
    const seen: RunStatus[] = []
    let wake = (): void => {}
    let hasEnded = false
    const { unsubscribe } = this.actor.subscribe((snapshot) => {
      seen.push(statusOf(this.id, snapshot as unknown as XMachineSnapshot))
      wake()
    })
    // Of a failure, and of the end of this process, a subscriber does not hear.
    const ended = this.actor.waitFor(() => false, { signal }).catch(() => {
      hasEnded = true
      wake()
    })
    const aborted = new Promise<undefined>((resolve) => signal.addEventListener('abort', () => resolve(undefined)))
    const now = (): Promise<RunStatus | undefined> => Promise.race([this.status(), aborted])
    try {
      const first = await now()
      if (signal.aborted) return
      if (first) yield first
      if (first && endStates.has(first.state)) return
      while (!signal.aborted) {
        const next = seen.shift()
        if (next) {
          yield next
          if (endStates.has(next.state)) return
        } else if (hasEnded) {
          const last = await now()
          if (last && !signal.aborted) yield last
          return
        } else await new Promise<void>((resolve) => (wake = resolve))
      }
    } finally {
      unsubscribe()
      over.abort()
      await ended
    }
  }

  /**
   * What the models of its agents are writing, of those that declare `stream`: from the oldest that is kept, or after what was
   * read last, until the run has ended. From any process, and again from wherever it was left. `return()` ends it at once, also while a
   * `next()` waits (docs/streaming.md).
   *
   * @throws ConfigError for a wrong option
   */
  tokens(options: TokensOptions = {}): AsyncGenerator<TokenTold, void> {
    return this.host.tokens(this.id, options, (signal) => this.actor.waitFor((s) => endStates.has(stateOf(s as unknown as XMachineSnapshot)), { signal }))
  }

  /**
   * Waits until the run has ended.
   *
   * @throws ActorFailedError, ActorEndedError if its machine failed or was stopped; DeadlineError; the signal's reason
   */
  async output(options: WaitOptions = {}): Promise<RunOutput> {
    const snapshot = (await this.actor.waitFor((s) => endStates.has(stateOf(s as unknown as XMachineSnapshot)), options)) as unknown as XMachineSnapshot
    return runOutput(snapshot.context as unknown as RunContext)
  }

  /** Waits until a person is asked, by the run or one of its agents, or it has ended. */
  async settled(options: WaitOptions = {}): Promise<RunStatus> {
    for (let waiting = ''; ; ) {
      const snapshot = await this.actor.waitFor((s) => {
        const status = statusOf(this.id, s as unknown as XMachineSnapshot)
        return isSettled(status.state) || personsAwaited(status) !== waiting
      }, options)
      const status = statusOf(this.id, snapshot as unknown as XMachineSnapshot)
      // An agent that has heard its person tells the run so a moment later.
      if (isSettled(status.state) || (await this.pending()).length > 0) return status
      waiting = personsAwaited(status)
    }
  }

  /** What persons are to approve: the run's own request and those of its agents, in the order in which these were engaged. */
  async pending(): Promise<readonly PendingApproval[]> {
    const status = await this.status()
    if (!status || endStates.has(status.state)) return []
    const found = await Promise.all(
      this.livingIn(status).map(async (address): Promise<PendingApproval | undefined> => {
        const { approval, decision } = await this.approvalAt(address)
        return approval && !decision ? { address, ...approval } : undefined
      }),
    )
    const { topUp } = status
    return [...found.filter((pending) => pending !== undefined), ...(topUp && !topUp.decision ? [{ address: this.address, ...topUp.request }] : [])]
  }

  private async approvalAt(address: string): Promise<{ readonly approval?: ApprovalRequest | null; readonly decision?: Decision | null }> {
    const snapshot = (await this.host.actor(address).snapshot()) as unknown as XMachineSnapshot | undefined
    return snapshot?.context ?? {}
  }

  /** Approves what is asked for; see {@link decide}. What is a question needs an {@link answer}. */
  async approve(decision: DecisionOptions): Promise<Decision> {
    decisionOptions('approve: ', decision)
    return this.decide('approve', decision)
  }

  /** Rejects what is asked for, or declines to answer; see {@link decide}. */
  async reject(decision: DecisionOptions): Promise<Decision> {
    decisionOptions('reject: ', decision)
    return this.decide('reject', decision)
  }

  /**
   * Gives the answer that an agent's models could not be had for, where the policies ask a person; see {@link decide}.
   *
   * @throws ConfigError also for an answer that does not fit, with what is wrong; the question stands then
   */
  async answer(given: AnswerOptions): Promise<Decision> {
    answerOptions('answer: ', given)
    if (given.output === undefined) wrong('answer: output', 'the answer', given.output)
    return this.decide('answer', given)
  }

  /**
   * Decides, and answers what is on record afterwards: of two decisions the first one stands (I10).
   *
   * @throws ConfigError for a wrong option, if nothing waits for a decision, something else than what was shown, or several things and no digest says which
   * @throws DeadlineError if nobody runs the run now; the decision is kept and counts when somebody does
   */
  private async decide(how: 'approve' | 'reject' | 'answer', given: DecisionOptions & { readonly output?: unknown }): Promise<Decision> {
    const { deadlineMs = 10_000, by, note } = given
    // In this order: a decision that comes between the two is found.
    const pending = await this.pending()
    const status = await this.status()
    if (!status) throw new ConfigError(`There is no run ${this.id}.`)
    if (status.decision && (given.digest === undefined || given.digest === status.decision.digest)) return status.decision
    if (given.digest === undefined && pending.length > 1) throw new ConfigError(`Run ${this.id} asks for ${pending.length} decisions; give the digest of one: ${pending.map(({ address, digest }) => `${digest} (${address})`).join(', ')}.`)
    const wanted = given.digest === undefined ? pending[0] : pending.find(({ digest }) => digest === given.digest)
    if (!wanted && pending.length > 0) throw new ConfigError(`Run ${this.id} asks for a decision on ${pending.map(({ digest }) => digest).join(', ')}, not on ${given.digest}. Look at it again.`)
    if (!wanted) throw new ConfigError(`Run ${this.id} does not wait for a decision: it is ${status.state}.`)
    const { address, digest } = wanted
    if (how === 'approve' && wanted.question) throw new ConfigError(`${address} asks for an answer, not for approval. Give it: run.answer({ by, output }).`)
    if (how === 'answer' && !wanted.question) throw new ConfigError(`${address} asks for approval, not for an answer. Decide: run.approve({ by }) or run.reject({ by }).`)
    const approved = how !== 'reject'
    const answer = how === 'answer' ? { output: given.output } : {}
    // Another answer is another message: the first may not have fitted.
    const id = how === 'answer' ? `answer-${digest}-${digestOf(canonicalJson(given.output ?? null))}` : `decide-${digest}-${approved ? 'yes' : 'no'}`
    try {
      const told = await this.host.actor(address).ask<DecisionAnswer>({ type: 'approval.decide', digest, approved, by, at: await this.host.now(), ...answer, ...(note === undefined ? {} : { note }) } as never, { deadlineMs, id })
      if (told.problem !== undefined) throw new ConfigError(`answer: ${told.problem}`)
      if (told.decision) return told.decision
      throw new ConfigError(`${address} asks for a decision on ${told.pending ?? 'nothing'}, not on ${digest}. Look at it again.`)
    } catch (error) {
      // It ended over the first decision before this one came.
      const recorded = isHoldfastError(error) && error.code === 'ACTOR_ENDED' ? (await this.approvalAt(address)).decision : undefined
      if (recorded) return recorded
      throw error
    }
  }

  /**
   * Says whether an action of unknown outcome has happened.
   *
   * @throws ConfigError for a wrong option, or if there is none
   */
  async resolve(given: ResolutionOptions): Promise<void> {
    resolutionOptions('resolve: ', given)
    const status = await this.status()
    if (status?.state !== 'unsure') throw new ConfigError(`Run ${this.id} has no action of unknown outcome: it is ${status?.state ?? 'not there'}.`)
    await this.actor.send({ type: 'action.resolve', ...given, at: await this.host.now() } as never)
  }

  /**
   * Has the action that failed tried again, under the same key; possible for as long after the failure as a person has to
   * decide (`approvalDeadlineMs`). Resolves when that is durable; the run then goes on.
   *
   * @throws ConfigError for a wrong option, or if the run has not failed by its action, or too long ago
   */
  async retry(given: { readonly by: string }): Promise<void> {
    retryOptions('retry: ', given)
    const status = await this.status()
    if (!status?.mayRetry) throw new ConfigError(`Run ${this.id} has no failed action that may be tried again: it is ${status?.state ?? 'not there'}.`)
    await this.actor.send({ type: 'run.retry', by: given.by, at: await this.host.now() } as never)
  }

  /** Ends the run and stops its agents; once its action is under way it is too late. */
  async cancel(by: string): Promise<void> {
    aPerson('cancel: by', by)
    const status = await this.status()
    if (!status || endStates.has(status.state)) throw new ActorEndedError(this.address, status ? 'has ended' : 'does not exist')
    await this.actor.send({ type: 'run.cancel', by } as never)
  }

  /** Every finding of the run's agents, accepted or refused, in the order in which it was judged. */
  async findings(): Promise<readonly FindingRecord[]> {
    return (await this.host.stream(this.address, 'findings')).map(({ seq, at, value }) => ({ seq, at, ...(value as Omit<FindingRecord, 'seq' | 'at'>) }))
  }

  /** Every share of its ceiling that was reached, and when (namespace time, ms). */
  async warnings(): Promise<readonly (BudgetWarning & { readonly at: number })[]> {
    return (await this.host.stream(this.address, 'warnings')).map(({ at, value }) => ({ ...(value as BudgetWarning), at }))
  }

  /** What was masked in prompts of the run's agents or left out of them, whole: what was shown instead stands in the trace. Goes with the agent's record. */
  async compactions(): Promise<readonly CompactionRecord[]> {
    const { members = [] } = (await this.status()) ?? {}
    const addresses = members.map(({ machine, id }) => `${machine}/${this.id}~${id}`)
    const found = await Promise.all(addresses.map(async (agent) => (await this.host.stream(agent, compactionStream)).map(({ at, value }): CompactionRecord => ({ agent, at, ...(value as { call: string; parts: readonly WholePart[] }) }))))
    return found.flat()
  }

  /** Every attempt at a model. */
  trace(): Promise<readonly TraceRecord[]> {
    return this.host.trace(this.id)
  }
}

function isSettled(state: RunState): boolean {
  return endStates.has(state) || state === 'approvalPending' || state === 'unsure'
}

/** Which of its agents wait for a person. */
function personsAwaited({ members, topUp }: RunStatus): string {
  return [...members.filter(({ awaitsPerson }) => awaitsPerson).map(({ id }) => id), topUp?.request.digest ?? ''].join(' ')
}

const actionFailed = 'actionFailed'

function stateOf(snapshot: XMachineSnapshot): RunState {
  const { value } = snapshot
  const state = typeof value === 'string' ? value : (value as { open: string }).open
  // To those who wait for its end it has failed; a person may see to it that it has not.
  return (state === actionFailed ? 'failed' : state) as RunState
}

function statusOf(run: string, snapshot: XMachineSnapshot): RunStatus {
  const context = snapshot.context as unknown as RunContext
  const { ledger } = context
  return {
    run,
    state: stateOf(snapshot),
    goal: context.input.goal.text,
    steps: context.steps,
    members: context.members,
    unanswered: unanswered(context),
    spent: spentSoFar(context),
    // While it waits for its tenant's budget it has received nothing.
    ceiling: context.input.budget !== undefined && context.draws === 0 ? context.input.ceiling : ledger.received,
    free: ledger.free,
    // A run that was begun by a version before budgets has none of these.
    warnings: (context as Partial<RunContext>).warnings ?? [],
    topUp: (context as Partial<RunContext>).topUp ?? null,
    overrun: ledger.overrun,
    approval: context.approval,
    decision: context.decision,
    resolution: context.resolution,
    retry: context.retry,
    mayRetry: (snapshot.value as { open?: string }).open === actionFailed,
    report: context.report,
    published: context.published,
    failure: context.failure,
    parked: null,
  }
}

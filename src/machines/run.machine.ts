/**
 * A run: one piece of work with one goal, from plan to result. A planner splits the goal into steps, workers take them
 * in parallel under a supervisor, a checker judges what they bring, a step that fails is planned anew (bounded), a
 * writer puts it together, a person approves, and one action in the outside world ends it. `defineRun` says who takes
 * the roles, what each may spend and what the action is.
 *
 * The agents are durable children of the run's record and share its key, so they share its shard. What a run brings
 * does not depend on which agent was faster: steps are judged in the order of the plan.
 */
import { assign, enqueueActions, fromPromise, sendTo, setup } from 'xstate'
import { append, isOutcomeUnknown, refTo, reply, type ReplyToken } from '../protocol.js'
import type { AgentInput, AgentOutput, AgentToRun, Goal, RunToAgent } from './agent.machine.js'
import { allotmentMachine, type AllotmentInput, type AllotmentOutput } from './allotment.machine.js'
import type { SubstituteAnswer, SubstituteRequest } from './fallback.machine.js'
import { decisionAnswer, decisionOn, resolutionOf, retryOf, type ApprovalRequest, type Decision, type DecisionEvent, type PlannedAction, type Resolution, type ResolutionEvent, type Retry, type RetryEvent } from './approval.js'
import { noConfidence, type Confidence } from './gate.js'
import type { BudgetAnswer, BudgetEvent } from './budget.machine.js'
import { closeGrant, covers, enlarge, grant, greater, lesser, minus, newWarnings, nothing, openLedger, plus, raiseGrant, share, sum, unbounded, type Amounts, type BudgetWarning, type Ledger } from './ledger.js'
import { defaultSupervisorOptions, supervisorMachine, type SupervisorEvent, type SupervisorOptions, type SupervisorOutput, type SupervisorReport } from './supervisor.machine.js'
import { notJudged, type Verdict } from './verdict.js'

export type RunRole = 'planner' | 'worker' | 'checker' | 'writer'

export interface RunInput {
  readonly run: string
  /** `machine/id` of the run itself, where its agents ask. */
  readonly address: string
  readonly goal: Goal
  /** What the run as a whole may spend. */
  readonly ceiling: Amounts
  /** Machine names of the agents that take the roles. */
  readonly crew: Readonly<Record<Exclude<RunRole, 'checker'>, string>>
  /** What an agent of a role is granted of the ceiling, as far as the run says so; what it does not spend comes back. */
  readonly grants: Readonly<Partial<Record<RunRole, Partial<Amounts>>>>
  readonly supervisor: Partial<SupervisorOptions>
  /** Steps a plan may have, inclusive. */
  readonly stepsMax: number
  /** How often one step may be planned anew, inclusive. */
  readonly replansMax: number
  /** Full names of models that the run's agents use instead of their own; null: their own. */
  readonly models: readonly string[] | null
  readonly tenant?: string
  /** Of all calls of its agents, 0 to 9; default 5. */
  readonly priority?: number
  /** `machine/id` of the tenant's budget, of which it draws its ceiling; absent: nobody else pays. */
  readonly budget?: string
  /** Shares of the ceiling, 0 to 1, at which is warned once. Default none. */
  readonly warnAt?: readonly number[]
  /** What happens when an agent's grant does not cover another attempt. Default stop. */
  readonly whenSpent?: WhenSpent
  /** What the run works on; its agents read it from here. JSON. */
  readonly material: unknown
}

/** The action that ends a run, and whose run it is. */
export interface Publication {
  readonly action: PlannedAction
  readonly ordinal: number
  readonly tenant: string | null
}
export type WhenSpent =
  /** Its call fails, and the run ends with what there is. */
  | { readonly do: 'stop' }
  /** Cheaper models are asked, by full name in order. */
  | { readonly do: 'degrade'; readonly models: readonly string[] }
  /** A person is asked for so much more, within this time, ms. */
  | { readonly do: 'ask'; readonly more: Amounts; readonly deadlineMs: number }

/** A part of the plan. */
export interface Step {
  readonly id: string
  /** What its worker is asked; JSON. */
  readonly task: unknown
  /** The plan's step this one stands for: itself, or the one planned anew. */
  readonly origin: string
  /** `failed` until its turn comes to be planned anew. */
  readonly state: 'working' | 'checking' | 'failed' | 'replanning' | 'done' | 'unanswered'
  readonly output: unknown
  readonly confidence: Confidence | null
  readonly verdict: Verdict | null
  /** Why it failed or is unanswered. */
  readonly reason: string | null
}

/** A worker's output that waits to be judged. */
interface Request {
  /** Machine name of the agent that is to judge it. */
  readonly by: string
  readonly output: unknown
  readonly confidence: Confidence
  readonly token: ReplyToken
}

/** An agent of the run, for those who watch. */
export interface Member {
  readonly id: string
  readonly role: RunRole
  readonly machine: string
  /** Whose task it has, because no model could be had for it: what it spends is part of what that one spends. null: its own. */
  readonly standsInFor: string | null
  readonly startedAt: number | null
  readonly endedAt: number | null
  readonly restarts: number
  /** Whether it waits for a person now. */
  readonly awaitsPerson: boolean
  readonly outcome: 'done' | 'failed' | 'stopped' | 'refused' | null
  /** While it is at work, as far as it has told. */
  readonly spent: Amounts
  /** What its calls cost beyond what was held for them; must be zero. */
  readonly overrun: Amounts
}

export interface RunContext {
  readonly input: RunInput
  readonly ledger: Ledger
  /** What an agent is granted that works beside others; known once there is a plan. */
  readonly share: Amounts
  /** In the order in which they were engaged. */
  readonly members: readonly Member[]
  /** Steps whose worker the supervisor has no room for, not even to wait; the first is asked for when a place is free. */
  readonly held: readonly string[]
  readonly steps: readonly Step[]
  readonly requests: Readonly<Record<string, Request>>
  /** Agents that stand in for others, with whom to tell what came of it. */
  readonly substitutes: Readonly<Record<string, ReplyToken>>
  /** The step being judged. */
  readonly checking: string | null
  readonly report: unknown
  readonly approval: ApprovalRequest | null
  readonly planned: PlannedAction | null
  readonly decision: Decision | null
  /** The last word on an action of unknown outcome. */
  readonly resolution: Resolution | null
  /** Who had the failed action tried again, the last time. */
  readonly retry: Retry | null
  readonly published: unknown
  /** Why it failed; while nobody knows whether the action happened, why. */
  readonly failure: { readonly reason: string; readonly message: string } | null
  /** Draws from the tenant's budget that it took in, and whether it has given back what is left. */
  readonly draws: number
  readonly hasGivenBack: boolean
  readonly warnings: readonly BudgetWarning[]
  /** What agents need that the ceiling does not cover, by their id. */
  readonly wanting: Readonly<Record<string, Amounts>>
  /** What a person is asked to give, and the decision. */
  readonly topUp: { readonly request: ApprovalRequest; readonly decision: Decision | null } | null
  /** How often a person was asked. */
  readonly topUps: number
  /** Why there is no more; null: that is not known. */
  readonly noMore: string | null
}

export type RunEvent =
  | SupervisorReport
  | { readonly type: 'verification.request'; readonly step: string; readonly by: string; readonly output: unknown; readonly confidence: Confidence; readonly replyToken?: ReplyToken }
  | (SubstituteRequest & { readonly replyToken?: ReplyToken })
  /** An agent waits for those that stand in for it no more. */
  | { readonly type: 'substitute.dismiss'; readonly id: string }
  /** From an agent that waits for a person, or does so no more. */
  | { readonly type: 'person.wait'; readonly id: string; readonly waits: boolean }
  | { readonly type: 'run.cancel'; readonly by: string }
  | AgentToRun
  | BudgetAnswer
  | DecisionEvent
  | ResolutionEvent
  | RetryEvent

export interface RunOutput {
  readonly outcome: 'done' | 'failed'
  readonly report: unknown
  readonly published: unknown
  readonly failure: RunContext['failure']
  readonly spent: Amounts
  readonly overrun: Amounts
}

const planId = 'plan'
const reportId = 'report'
const checkOf = (step: string): string => `${step}.check`
const replanOf = (step: string): string => `${step}.replan`

/** The step whose worker the event tells of. */
const atWork = (context: RunContext, event: RunEvent): Step | undefined => context.steps.find((step) => step.id === endedId(event) && (step.state === 'working' || step.state === 'checking'))
const stepById = (context: RunContext, id: string): Step | undefined => context.steps.find((step) => step.id === id)
const endedId = (event: RunEvent): string => ('id' in event ? event.id : '')
const endedOutput = (event: RunEvent): AgentOutput | undefined => (event.type === 'supervisor.ended' ? (event.output as AgentOutput | undefined) : undefined)
const succeeded = (event: RunEvent): boolean => endedOutput(event)?.outcome === 'done'
const isSettled = (step: Step): boolean => step.state === 'done' || step.state === 'unanswered'
const change = (context: RunContext, id: string, to: Partial<Step>): readonly Step[] => context.steps.map((step) => (step.id === id ? { ...step, ...to } : step))
const plannedSteps = (event: RunEvent): readonly unknown[] => {
  const output = endedOutput(event)?.output as { steps?: readonly unknown[] } | null | undefined
  return Array.isArray(output?.steps) ? output.steps : []
}
const changeMember = (context: RunContext, id: string, to: (member: Member) => Partial<Member>): readonly Member[] => context.members.map((member) => (member.id === id ? { ...member, ...to(member) } : member))
const newStep = (id: string, origin: string, task: unknown): Step => ({ id, task, origin, state: 'working', output: null, confidence: null, verdict: null, reason: null })
/** The step whose replanning has ended. */
const replanned = (context: RunContext, event: RunEvent): Step | undefined => context.steps.find((step) => step.state === 'replanning' && replanOf(step.id) === endedId(event))
const whyFailed = (event: RunEvent): string => endedOutput(event)?.failure?.message ?? (event.type === 'supervisor.refused' ? `refused: ${event.reason}` : 'stopped')

/** What an agent's output holds as findings; whatever else it is, it has none. */
function findingsOf(output: unknown): readonly unknown[] {
  const { findings } = (output ?? {}) as { findings?: unknown }
  return Array.isArray(findings) ? findings : []
}

/** All findings of earlier steps that stand, in the order of the plan. */
function acceptedBefore(context: RunContext, step: Step): readonly unknown[] {
  return context.steps.slice(0, context.steps.indexOf(step)).flatMap((other) => (other.state === 'done' ? findingsOf(other.output) : []))
}

const allotted = (event: unknown): AllotmentOutput => (event as { output: AllotmentOutput }).output

/** What a person is shown who is asked for more. */
export function topUpShown({ input, ledger, members, wanting }: RunContext): Readonly<Record<string, unknown>> {
  return { run: input.run, spent: spentSoFar({ ledger, members }), of: ledger.received, more: moreOf(input), agents: Object.keys(wanting) }
}

export function whyMore({ wanting }: RunContext): string {
  return `the budget is used up: ${Object.keys(wanting).join(', ')} cannot go on without more`
}

const moreOf = ({ whenSpent }: RunInput): Amounts => (whenSpent?.do === 'ask' ? whenSpent.more : nothing)

function topUpInput({ input, draws, topUp }: RunContext): AllotmentInput {
  const { address, budget = null, whenSpent } = input
  return { run: address, budget, draw: draws + 1, wanted: moreOf(input), request: topUp!.request, deadlineMs: whenSpent?.do === 'ask' ? whenSpent.deadlineMs : 1 }
}

interface Enqueue {
  (action: never): void
  assign(partial: Partial<RunContext>): void
  sendTo(to: 'crew', event: SupervisorEvent): void
}

/** Ledger and members after an agent has been engaged. */
type Engaged = Pick<RunContext, 'ledger' | 'members'>

/** Grants an agent what it may spend; undefined if the budget does not cover it, which cannot be for one that works alone, or may ask for more, or has cheaper models. */
function engage(context: RunContext, role: RunRole, id: string, machine = context.input.crew[role as 'worker']): Engaged | undefined {
  // The planner of the plan and the writer work alone: all that is free is theirs, unless the run says how much.
  const { free } = context.ledger
  const isAlone = id === planId || id === reportId
  const wanted = { ...(isAlone ? free : context.share), ...context.input.grants[role] }
  const amounts = isAlone || isFlexible(context.input) ? lesser(free, wanted) : wanted
  const ledger = grant(context.ledger, id, amounts)
  if (!ledger) return undefined
  const member: Member = { id, role, machine, standsInFor: null, startedAt: null, endedAt: null, restarts: 0, awaitsPerson: false, outcome: null, spent: nothing, overrun: nothing }
  return { ledger, members: [...context.members, member] }
}

/** Asks the supervisor for an agent that is engaged. */
function ask(enqueue: Enqueue, context: RunContext, id: string): void {
  const { machine, role } = context.members.find((member) => member.id === id)!
  const step = context.steps.find((other) => [other.id, checkOf(other.id), replanOf(other.id)].includes(id))
  const { goal, run, address, models, tenant, priority, whenSpent } = context.input
  const budget = { ...(whenSpent?.do === 'degrade' ? { cheaperModels: whenSpent.models } : {}), ...(whenSpent?.do === 'ask' ? { mayAskForMore: true } : {}), ...tellSpent(context) }
  const task: AgentInput = { task: { id, origin: step?.origin ?? id, input: inputOf(context, role, step), goal, grant: context.ledger.granted[id]!, run, runAddress: address, ...(models ? { models } : {}), ...(tenant === undefined ? {} : { tenant }), ...(priority === undefined ? {} : { priority }), ...budget } }
  // It ends by itself, so that it gives back what it did not spend.
  enqueue.sendTo('crew', { type: 'child.request', child: { id, machine, input: task, shutdown: { event: { type: 'task.cancel' }, withinMs: shutdownMs } } })
}

/** How long an agent has to end by itself when it is not wanted any more, ms. */
const shutdownMs = 2_000

const isFlexible = ({ whenSpent }: RunInput): boolean => whenSpent?.do === 'ask' || whenSpent?.do === 'degrade'

/** Agents tell what they have spent each time that it is a twentieth of the ceiling, so that warnings come in time. */
function tellSpent({ input: { warnAt = [] }, ledger: { received } }: RunContext): { readonly tellSpent?: Amounts } {
  if (warnAt.length === 0 || covers(received, unbounded)) return {}
  const part = (kind: keyof Amounts): number => (received[kind] >= unbounded[kind] ? unbounded[kind] : Math.max(1, Math.floor(received[kind] / 20)))
  return { tellSpent: { tokens: part('tokens'), calls: part('calls'), nanoDollars: part('nanoDollars') } }
}

/** What is spent, as far as it is known: also by agents at work. */
export function spentSoFar({ ledger, members }: Pick<RunContext, 'ledger' | 'members'>): Amounts {
  return plus(ledger.spent, sum(members.filter(({ outcome }) => outcome === null).map(({ spent }) => spent)))
}

/** Warnings that what is known now calls for, on record. */
function warn(enqueue: Enqueue, context: RunContext): void {
  const { input: { warnAt = [] }, ledger, warnings } = context
  const fresh = warnAt.length === 0 ? [] : newWarnings(warnAt, spentSoFar(context), ledger.received, warnings)
  for (const value of fresh) enqueue(append(() => ({ stream: 'warnings', value })) as never)
  if (fresh.length > 0) enqueue.assign({ warnings: [...warnings, ...fresh] })
}

const agentAt = (context: RunContext, id: string): string => addressIn(context, context.members.find((member) => member.id === id)!)

/** Gives those who want more what there is for them, in their order; the rest still wants. */
function serveWanting(enqueue: Enqueue, context: RunContext): RunContext {
  let { ledger, wanting } = context
  for (const [id, needed] of Object.entries(wanting)) {
    if (!covers(ledger.free, needed)) continue
    const amounts = lesser(ledger.free, greater(needed, context.share))
    ledger = raiseGrant(ledger, id, amounts)!
    const { [id]: _, ...rest } = wanting
    wanting = rest
    enqueue(sendTo(refTo(agentAt(context, id)), { type: 'grant.raised', amounts } satisfies RunToAgent) as never)
  }
  return { ...context, ledger, wanting }
}

function denyWanting(enqueue: Enqueue, context: RunContext, message: string): RunContext {
  for (const id of Object.keys(context.wanting)) enqueue(sendTo(refTo(agentAt(context, id)), { type: 'grant.denied', message } satisfies RunToAgent) as never)
  return { ...context, wanting: {} }
}

/** What an agent that has ended leaves of its grant: what it says, and what never reached it. */
export function leftOf(given: Amounts, output: Pick<AgentOutput, 'unspent' | 'received'> | undefined): Amounts {
  if (!output) return nothing
  return output.received ? plus(output.unspent, minus(given, lesser(given, output.received))) : output.unspent
}

/** What an agent is given, by its role, and by the step it works for. */
function inputOf(context: RunContext, role: RunRole, step: Step | undefined): unknown {
  const question = context.input.goal.text
  if (!step) {
    if (role === 'planner') return { kind: 'plan', question, stepsMax: context.input.stepsMax }
    return { question, steps: context.steps.filter(({ state }) => state === 'done').map(({ id, task, output }) => ({ id, task, output })), unanswered: unanswered(context) }
  }
  const { id, task } = step
  switch (role) {
    case 'checker':
      return { step: id, task, output: context.requests[id]!.output, accepted: acceptedBefore(context, step) }
    case 'planner':
      return { kind: 'replan', question, task, reason: step.reason, refused: step.verdict?.refused ?? [], accepted: acceptedBefore(context, step), tried: context.steps.filter(({ origin }) => origin === step.origin).map((other) => other.task) }
    default:
      return { step: id, task }
  }
}

/** Why another agent cannot stand in. */
const noSubstitute = (by: string, message: string): SubstituteAnswer => ({ output: null, confidence: noConfidence, failure: { reason: 'unavailable', message }, spent: nothing, overrun: nothing, by })

const addressIn = (context: RunContext, member: Pick<Member, 'machine' | 'id'>): string => `${member.machine}/${context.input.run}~${member.id}`

/** The first step of the plan that is not settled, if there is something to do about it. */
function nextInTurn({ steps, requests, checking }: RunContext): Step | undefined {
  const step = steps.find((other) => !isSettled(other))
  return step?.state === 'failed' || (step?.state === 'checking' && requests[step.id] && checking === null) ? step : undefined
}

function replan(enqueue: Enqueue, context: RunContext, step: Step): Partial<RunContext> {
  const engaged = engage(context, 'planner', replanOf(step.id))
  if (engaged) {
    ask(enqueue, { ...context, ...engaged }, replanOf(step.id))
    return { ...engaged, steps: change(context, step.id, { state: 'replanning' }) }
  }
  return { steps: change(context, step.id, { state: 'unanswered', reason: 'the budget does not cover planning it anew' }) }
}

function judge(enqueue: Enqueue, context: RunContext, step: Step): Partial<RunContext> {
  const { [step.id]: request, ...requests } = context.requests
  const { by, token } = request!
  const engaged = engage(context, 'checker', checkOf(step.id), by)
  if (engaged) {
    ask(enqueue, { ...context, ...engaged }, checkOf(step.id))
    return { ...engaged, checking: step.id }
  }
  enqueue(reply(() => notJudged(checkOf(step.id), 'the budget does not cover a checker'), () => token) as never)
  return { requests }
}

export const runMachine = setup({
  types: {
    context: {} as RunContext,
    events: {} as RunEvent,
    input: {} as RunInput,
    output: {} as RunOutput,
  },
  actors: {
    crew: supervisorMachine,
    allotment: allotmentMachine,
    /** Replaced by defineRun: changes the outside world, once, under the run's key. */
    publish: fromPromise<unknown, Publication>(() => Promise.reject(new Error('nowhere to publish'))),
  },
  guards: {
    isPlan: ({ context, event }) => endedId(event) === planId && succeeded(event) && plannedSteps(event).length > 0 && plannedSteps(event).length <= context.input.stepsMax,
    isPlanFailure: ({ event }) => endedId(event) === planId,
    isStepDone: ({ context, event }) => atWork(context, event) !== undefined && succeeded(event),
    /** The step may be planned anew: not too often already. */
    mayReplan: ({ context, event }) => {
      const step = atWork(context, event)
      return step !== undefined && context.steps.filter((other) => other.origin === step.origin).length <= context.input.replansMax
    },
    isStep: ({ context, event }) => atWork(context, event) !== undefined,
    isReplan: ({ context, event }) => replanned(context, event) !== undefined && succeeded(event) && plannedSteps(event).length > 0,
    isReplanFailure: ({ context, event }) => replanned(context, event) !== undefined,
    isCheck: ({ context, event }) => context.checking !== null && endedId(event) === checkOf(context.checking),
    allSettled: ({ context }) => context.steps.length > 0 && context.steps.every(isSettled),
    isReport: ({ event }) => endedId(event) === reportId && succeeded(event),
    isReportFailure: ({ event }) => endedId(event) === reportId,
    needsApproval: ({ context }) => context.approval !== null,
    hasAction: ({ context }) => context.planned !== null,
    hasFailed: ({ context }) => context.failure !== null,
    isForThisRequest: ({ context, event }) => decisionOn(context.approval, event) !== null,
    isApproved: ({ context, event }) => decisionOn(context.approval, event)?.approved === true,
    isActionApproved: ({ context, event }) => context.planned !== null && decisionOn(context.approval, event)?.approved === true,
    isOutcomeUnknown: ({ event }) => isOutcomeUnknown((event as unknown as { error: unknown }).error),
    hasHappened: ({ event }) => resolutionOf(event)?.happened === true,
    isRetry: ({ event }) => retryOf(event) !== null,
    hasNotHappened: ({ event }) => resolutionOf(event)?.happened === false,
    isSubstitute: ({ context, event }) => context.substitutes[endedId(event)] !== undefined,
    /** Its output waits to be judged. */
    isAwaited: ({ context, event }) => context.requests[endedId(event)] !== undefined,
    startsToWait: ({ context, event }) => event.type === 'person.wait' && event.waits && context.members.some(({ id, outcome }) => id === event.id && outcome === null),
    hasBudget: ({ context }) => context.input.budget !== undefined,
    isGiven: ({ event }) => allotted(event).amounts !== null,
    isToppingUp: ({ context }) => context.topUp !== null,
    isForTopUp: ({ context, event }) => context.topUp !== null && context.topUp.decision === null && decisionOn(context.topUp.request, event) !== null,
    isEscalated: ({ event }) => (event as unknown as { output: SupervisorOutput }).output.escalated,
  },
  delays: {
    /** Replaced by defineRun: how long a person has to decide, and to have a failed action tried again. */
    approvalDeadline: 7 * 24 * 3_600_000,
  },
  actions: {
    takeAllotment: assign(({ context, event }) => {
      const { amounts, isDrawn } = allotted(event)
      return { ledger: enlarge(context.ledger, amounts!), draws: context.draws + (isDrawn ? 1 : 0) }
    }),
    failUnfunded: assign({ failure: ({ event }) => ({ reason: 'budget', message: allotted(event).message }) }),
    tellFunding: sendTo('funding', ({ event }) => event as BudgetAnswer),
    tellTopUp: sendTo('topUp', ({ event }) => event as BudgetAnswer | DecisionEvent),
    /** An agent needs more than it has: what is free is for it, else a person is asked. */
    considerMore: enqueueActions(({ enqueue, context, event }) => {
      const { id, needed } = event as AgentToRun & { type: 'grant.more' }
      if (!context.members.some((member) => member.id === id && member.outcome === null)) return
      const wanting = { ...context, wanting: { ...context.wanting, [id]: needed } }
      const next = serveWanting(enqueue as never, wanting)
      const { ledger, wanting: left, topUp } = next.noMore === null ? next : denyWanting(enqueue as never, next, next.noMore)
      enqueue.assign({ ledger, wanting: left })
      if (left[id] === undefined) return
      // Persons take their time: whoever waits for one yields its place.
      enqueue.sendTo('crew', { type: 'child.yield', id })
      if (topUp === null) enqueue('prepareTopUp' as never)
      if (topUp === null) enqueue('askForMore' as never)
    }),
    /** Replaced by defineRun, which binds the request to what is shown. */
    prepareTopUp: assign({ topUp: ({ context }) => ({ request: { why: whyMore(context), actions: [], output: topUpShown(context), digest: `more-${context.topUps + 1}` }, decision: null }), topUps: ({ context }) => context.topUps + 1 }),
    askForMore: enqueueActions(({ enqueue, context }) => enqueue.spawnChild('allotment', { id: 'topUp', input: topUpInput(context) })),
    noteTopUpDecision: assign({ topUp: ({ context, event }) => ({ request: context.topUp!.request, decision: decisionOn(context.topUp!.request, event) }) }),
    answerTopUp: reply(({ context }) => decisionAnswer({ approval: context.topUp!.request, decision: context.topUp!.decision })),
    takeMore: enqueueActions(({ enqueue, context, event }) => {
      const { amounts, isDrawn } = allotted(event)
      const { ledger, wanting } = serveWanting(enqueue as never, { ...context, ledger: enlarge(context.ledger, amounts!) })
      enqueue.assign({ ledger, wanting, topUp: null, draws: context.draws + (isDrawn ? 1 : 0) })
      // It did not suffice for all of them.
      if (Object.keys(wanting).length === 0) return
      enqueue('prepareTopUp' as never)
      enqueue('askForMore' as never)
    }),
    denyMore: enqueueActions(({ enqueue, context, event }) => {
      const { message } = allotted(event)
      enqueue.assign({ wanting: denyWanting(enqueue as never, context, message).wanting, topUp: null, noMore: message })
    }),
    noteSpent: enqueueActions(({ enqueue, context, event }) => {
      const { id, spent } = event as AgentToRun & { type: 'grant.spent' }
      const members = changeMember(context, id, (member) => (member.outcome === null ? { spent } : {}))
      enqueue.assign({ members })
      warn(enqueue as never, { ...context, members })
    }),
    /** The crew has stopped: what its agents did not spend comes back, and what was granted to those who never began. */
    closeAll: assign(({ context, event }) => {
      const { ended = [] } = (event as unknown as { output: SupervisorOutput }).output
      let { ledger, members } = context
      for (const [id, given] of Object.entries(ledger.granted)) {
        const end = ended.find((other) => other.id === id)
        const output = end?.output as AgentOutput | undefined
        // A start is not told any more once the crew is stopping; that such a one has ended is.
        const hasBegun = end !== undefined || members.find((other) => other.id === id)?.startedAt !== null
        const left = output ? leftOf(given, output) : hasBegun ? nothing : given
        ledger = closeGrant(ledger, id, left, output?.overrun)
        members = members.map((other) => (other.id === id ? { ...other, outcome: output?.outcome ?? 'stopped', awaitsPerson: false, spent: minus(given, left), overrun: output?.overrun ?? nothing } : other))
      }
      return { ledger, members, held: [] }
    }),
    /** Nothing more will be spent: what is left goes back to the tenant. */
    giveBack: enqueueActions(({ enqueue, context }) => {
      const { input: { budget, address }, draws, ledger, hasGivenBack } = context
      if (budget === undefined || hasGivenBack) return
      enqueue.assign({ hasGivenBack: true })
      enqueue(sendTo(refTo(budget), { type: 'budget.return', run: address, draws, unspent: ledger.free, spent: minus(ledger.received, ledger.free) } satisfies BudgetEvent))
    }),
    askPlanner: enqueueActions(({ enqueue, context }) => {
      const engaged = engage(context, 'planner', planId)!
      ask(enqueue as never, { ...context, ...engaged }, planId)
      enqueue.assign(engaged)
    }),
    notePlan: assign(({ context, event }) => {
      const steps = plannedSteps(event).map((task, i) => newStep(`step-${i + 1}`, `step-${i + 1}`, task))
      // At once there are at most a worker or a planner for each step and one checker; the rest is for the writer.
      return { steps, share: share(context.ledger.free, steps.length + 2) }
    }),
    failPlan: assign({ failure: ({ event }) => ({ reason: 'plan', message: endedOutput(event)?.outcome === 'done' ? 'the plan has no step, or too many' : whyFailed(event) }) }),
    /** A worker for each step; those for whom the crew has no room are held. */
    startSteps: enqueueActions(({ enqueue, context }) => {
      let now: RunContext = context
      const { workingMax, waitingMax } = { ...defaultSupervisorOptions, ...context.input.supervisor }
      const engagedSteps: string[] = []
      const steps = context.steps.map((step): Step => {
        const engaged = engage(now, 'worker', step.id)
        if (!engaged) return { ...step, state: 'unanswered', reason: 'the budget does not cover another worker' }
        now = { ...now, ...engaged }
        engagedSteps.push(step.id)
        return step
      })
      for (const id of engagedSteps.slice(0, workingMax + waitingMax)) ask(enqueue as never, now, id)
      enqueue.assign({ ledger: now.ledger, members: now.members, steps, held: engagedSteps.slice(workingMax + waitingMax) })
    }),
    holdBack: assign({ held: ({ context, event }) => [endedId(event), ...context.held] }),
    undoEngagement: assign(({ context, event }) => ({
      ledger: closeGrant(context.ledger, endedId(event), context.ledger.granted[endedId(event)]),
      members: context.members.filter(({ id }) => id !== endedId(event)),
    })),
    judgeLater: assign({ checking: null }),
    replanLater: assign({ steps: ({ context, event }) => change(context, replanned(context, event)!.id, { state: 'failed' }) }),
    /** What an agent did not spend comes back, however it ended. */
    closeGrant: enqueueActions(({ enqueue, context, event }) => {
      const id = endedId(event)
      const given = context.ledger.granted[id] ?? nothing
      const unspent = event.type === 'supervisor.refused' ? given : leftOf(given, endedOutput(event))
      const overrun = endedOutput(event)?.overrun ?? nothing
      const outcome = event.type === 'supervisor.refused' ? ('refused' as const) : (endedOutput(event)?.outcome ?? ('stopped' as const))
      const endedAt = event.type === 'supervisor.ended' ? event.at : null
      // Nobody waits for a verdict on what it brought any more.
      const { [id]: _, ...requests } = context.requests
      // A run that was begun by a version before budgets has none of these.
      const { [id]: __, ...wanting } = (context as Partial<RunContext>).wanting ?? {}
      const next = { requests, wanting, ledger: closeGrant(context.ledger, id, unspent, overrun), members: changeMember(context, id, () => ({ outcome, endedAt, awaitsPerson: false, spent: minus(given, unspent), overrun })) }
      enqueue.assign(next)
      warn(enqueue as never, { ...context, ...next })
    }),
    noteStarted: assign({ members: ({ context, event }) => changeMember(context, endedId(event), ({ startedAt }) => ({ startedAt: startedAt ?? (event as SupervisorReport & { type: 'supervisor.started' }).at })) }),
    noteRestarting: assign({ members: ({ context, event }) => changeMember(context, endedId(event), ({ restarts }) => ({ restarts: restarts + 1 })) }),
    noteStep: assign({
      steps: ({ context, event }) => {
        const { output, confidence, verdict } = endedOutput(event)!
        return change(context, endedId(event), { state: 'done', output, confidence, verdict })
      },
    }),
    /** Every finding, accepted or refused, is on record with who made it and who judged it. */
    recordFindings: enqueueActions(({ enqueue, context, event }) => {
      const step = stepById(context, endedId(event))!
      const result = endedOutput(event)
      const worker = context.input.crew.worker
      const entry = (finding: unknown, accepted: boolean, reasons: readonly string[]): void =>
        enqueue(append(() => ({ stream: 'findings', value: { step: step.id, origin: step.origin, agent: result?.givenBy ?? `${worker}/${context.input.run}~${step.id}`, finding, accepted, reasons, judgedBy: result?.verdict?.by ?? null, goal: context.input.goal.digest } })))
      for (const finding of result?.outcome === 'done' ? findingsOf(result.output) : []) entry(finding, true, [])
      for (const refused of result?.verdict?.refused ?? []) entry(refused.finding, false, [...refused.reasons, refused.explanation])
    }),
    /** It is planned anew when its turn comes. */
    noteFailed: assign({ steps: ({ context, event }) => change(context, endedId(event), { state: 'failed', verdict: endedOutput(event)?.verdict ?? null, reason: whyFailed(event) }) }),
    startReplanned: enqueueActions(({ enqueue, context, event }) => {
      const failed = replanned(context, event)!
      const tries = context.steps.filter((step) => step.origin === failed.origin).length
      const step = newStep(`${failed.origin}.${tries}`, failed.origin, plannedSteps(event)[0])
      const engaged = engage(context, 'worker', step.id)
      // In the plan it stands where the step stood that it replaces.
      const steps = change(context, failed.id, { state: 'unanswered' }).flatMap((other) =>
        other.id === failed.id ? [other, engaged ? step : { ...step, state: 'unanswered' as const, reason: 'the budget does not cover another worker' }] : [other],
      )
      if (engaged) ask(enqueue as never, { ...context, ...engaged, steps }, step.id)
      enqueue.assign({ steps, ...engaged })
    }),
    giveUpStep: assign({ steps: ({ context, event }) => change(context, endedId(event), { state: 'unanswered', verdict: endedOutput(event)?.verdict ?? null, reason: whyFailed(event) }) }),
    giveUpReplan: assign({ steps: ({ context, event }) => change(context, replanned(context, event)!.id, { state: 'unanswered' }) }),
    noteRequest: enqueueActions(({ enqueue, context, event }) => {
      const { step, by, output, confidence, replyToken } = event as RunEvent & { type: 'verification.request' }
      if (!replyToken || stepById(context, step)?.state !== 'working') return
      enqueue.assign({ requests: { ...context.requests, [step]: { by, output, confidence, token: replyToken } }, steps: change(context, step, { state: 'checking' }) })
      enqueue.sendTo('crew', { type: 'child.yield', id: step })
    }),
    /** It spends what the agent holds for it that it stands in for, and takes the place that this one yields. */
    engageSubstitute: enqueueActions(({ enqueue, context, event }) => {
      const { id, by, input, origin, grant, replyToken } = event as RunEvent & { type: 'substitute.request' }
      if (!replyToken) return
      const asker = context.members.find((member) => member.id === id && member.outcome === null && member.standsInFor === null)
      if (!asker) {
        enqueue(reply(() => noSubstitute(by, `${id} is not at work in this run`), () => replyToken))
        return
      }
      const standIns = context.members.filter(({ standsInFor }) => standsInFor === id)
      const member: Member = { ...asker, id: `${id}.standIn${standIns.length === 0 ? '' : `-${standIns.length + 1}`}`, machine: by, standsInFor: id, startedAt: null, restarts: 0, awaitsPerson: false, spent: nothing, overrun: nothing }
      const { goal, run, address, models, tenant, priority } = context.input
      const task: AgentInput = { task: { id: member.id, origin, input, goal, grant, run, runAddress: address, isSubstitute: true, ...(models ? { models } : {}), ...(tenant === undefined ? {} : { tenant }), ...(priority === undefined ? {} : { priority }) } }
      // Of one that was begun again since it asked.
      for (const { id: earlier } of standIns.filter(({ outcome }) => outcome === null)) enqueue.sendTo('crew', { type: 'child.dismiss', id: earlier })
      enqueue.assign({ members: [...context.members, member], substitutes: { ...context.substitutes, [member.id]: replyToken } })
      enqueue.sendTo('crew', { type: 'child.yield', id })
      enqueue.sendTo('crew', { type: 'child.request', child: { id: member.id, machine: by, input: task } })
    }),
    dismissSubstitutes: enqueueActions(({ enqueue, context, event }) => {
      for (const { id } of context.members.filter(({ standsInFor, outcome }) => outcome === null && standsInFor === endedId(event))) enqueue.sendTo('crew', { type: 'child.dismiss', id })
    }),
    endSubstitute: enqueueActions(({ enqueue, context, event }) => {
      const id = endedId(event)
      const { [id]: token, ...substitutes } = context.substitutes
      const member = context.members.find((other) => other.id === id)!
      const address = addressIn(context, member)
      const result = endedOutput(event)
      const outcome = event.type === 'supervisor.refused' ? ('refused' as const) : (result?.outcome ?? ('stopped' as const))
      enqueue.assign({ substitutes, members: changeMember(context, id, () => ({ outcome, awaitsPerson: false, endedAt: event.type === 'supervisor.ended' ? event.at : null, spent: result?.spent ?? nothing, overrun: result?.overrun ?? nothing })) })
      // Of one that was stopped nobody knows what it spent.
      const answer: SubstituteAnswer | null = result ? { output: result.output, confidence: result.confidence, failure: result.failure, spent: result.spent, overrun: result.overrun, by: address } : event.type === 'supervisor.refused' ? noSubstitute(address, whyFailed(event)) : null
      enqueue(reply(() => answer, () => token!))
    }),
    noteWait: assign({ members: ({ context, event }) => changeMember(context, endedId(event), ({ outcome }) => ({ awaitsPerson: outcome === null && (event as RunEvent & { type: 'person.wait' }).waits })) }),
    /** Also of a worker that was restarted while it waited for its verdict: it still waits. */
    yieldPlace: sendTo('crew', ({ event }) => ({ type: 'child.yield', id: endedId(event) })),
    /**
     * Deals with the first step of the plan that is not settled: what its worker brought is judged, what failed is planned
     * anew. So the result does not depend on which agent was faster. Then the first who is held is asked for: a place may be free.
     */
    takeTurn: enqueueActions(({ enqueue, context }) => {
      let now = context
      for (let step = nextInTurn(now); step; step = nextInTurn(now)) now = { ...now, ...(step.state === 'failed' ? replan : judge)(enqueue as never, now, step) }
      const [first, ...held] = now.held
      if (first !== undefined) {
        ask(enqueue as never, now, first)
        now = { ...now, held }
      }
      if (now !== context) enqueue.assign({ ledger: now.ledger, members: now.members, held: now.held, steps: now.steps, requests: now.requests, checking: now.checking })
    }),
    answerRequest: enqueueActions(({ enqueue, context, event }) => {
      const step = context.checking!
      const { [step]: request, ...requests } = context.requests
      const result = endedOutput(event)
      enqueue.assign({ checking: null, requests })
      if (!request) return
      const by = `${request.by}/${context.input.run}~${checkOf(step)}`
      const verdict = result?.outcome === 'done' ? { ...(result.output as Verdict), by } : notJudged(by, whyFailed(event))
      enqueue(reply(() => verdict, () => request.token))
    }),
    askWriter: enqueueActions(({ enqueue, context }) => {
      const engaged = engage(context, 'writer', reportId)!
      ask(enqueue as never, { ...context, ...engaged }, reportId)
      enqueue.assign(engaged)
    }),
    noteReport: assign({ report: ({ event }) => endedOutput(event)!.output }),
    failReport: assign({ failure: ({ event }) => ({ reason: 'report', message: whyFailed(event) }) }),
    /** Replaced by defineRun: the action that ends the run, and whether a person must approve it. */
    planAction: assign({ planned: null, approval: null }),
    noteDecision: assign({ decision: ({ context, event }) => decisionOn(context.approval, event) }),
    answerDecision: reply(({ context }) => decisionAnswer(context)),
    failRejected: assign({ failure: ({ context }) => ({ reason: 'rejected', message: `${context.decision?.by ?? 'somebody'} rejected it${context.decision?.note ? `: ${context.decision.note}` : ''}` }) }),
    failCancelled: assign({ failure: ({ event }) => ({ reason: 'cancelled', message: `${event.type === 'run.cancel' ? event.by : 'somebody'} cancelled it` }) }),
    haltCrew: sendTo('crew', { type: 'halt' }),
    failExpired: assign({ failure: () => ({ reason: 'expired', message: 'nobody decided in time; what nobody approves is denied' }) }),
    notePublished: assign({ published: ({ event }) => (event as unknown as { output?: unknown }).output ?? null }),
    /** Whatever comes of it now, why nobody knew is past. */
    noteResolution: assign({ resolution: ({ event }) => resolutionOf(event), failure: null }),
    noteHappened: assign({ published: ({ event }) => (event.type === 'action.resolve' ? (event.output ?? null) : null) }),
    noteRetry: assign({ retry: ({ event }) => retryOf(event), failure: null }),
    failPublish: assign({ failure: ({ event }) => ({ reason: 'action', message: (event as unknown as { error: { message: string } }).error.message }) }),
    failCrew: assign({ failure: ({ event }) => ({ reason: 'crew', message: `too many restarts: ${(event as unknown as { output: SupervisorOutput }).output.message}` }) }),
  },
}).createMachine({
  id: 'run',
  version: '1',
  description: 'One piece of work with one goal, from plan to result.',
  context: ({ input }) => ({
    input,
    ledger: openLedger(input.budget === undefined ? input.ceiling : nothing),
    share: nothing,
    members: [],
    held: [],
    steps: [],
    requests: {},
    substitutes: {},
    checking: null,
    report: null,
    approval: null,
    planned: null,
    decision: null,
    resolution: null,
    retry: null,
    published: null,
    failure: null,
    draws: 0,
    hasGivenBack: false,
    warnings: [],
    wanting: {},
    topUp: null,
    topUps: 0,
    noMore: null,
  }),
  output: ({ context }) => runOutput(context),
  initial: 'open',
  on: {
    'approval.decide': { actions: 'answerDecision', description: 'Nothing to decide, or it is decided: the answer says which.' },
  },
  states: {
    open: {
      description: 'The crew is at hand.',
      invoke: {
        id: 'crew',
        src: 'crew',
        input: ({ context }) => context.input.supervisor,
        onDone: [
          { guard: 'isEscalated', target: 'failed', actions: ['closeAll', 'failCrew'], description: 'Restarts came too thick.' },
          { target: 'failed', actions: 'closeAll', description: 'It was halted, because the run was cancelled.' },
        ],
      },
      on: {
        'supervisor.started': [
          { guard: 'isAwaited', actions: ['noteStarted', 'yieldPlace', 'takeTurn'], description: 'It was restarted while it waited for its verdict, and still waits.' },
          { actions: 'noteStarted' },
        ],
        'supervisor.restarting': { actions: 'noteRestarting' },
        'substitute.request': { actions: 'engageSubstitute', description: 'No model can be had for one of its agents: another has the task.' },
        'substitute.dismiss': { actions: 'dismissSubstitutes' },
        'supervisor.ended': { guard: 'isSubstitute', actions: 'endSubstitute' },
        'supervisor.refused': { guard: 'isSubstitute', actions: 'endSubstitute', description: 'No room, not even to wait.' },
        'person.wait': [
          { guard: 'startsToWait', actions: ['noteWait', 'yieldPlace'], description: 'Persons take their time: whoever waits for one yields its place.' },
          { actions: 'noteWait' },
        ],
        'run.cancel': { target: '.cancelling', actions: 'failCancelled' },
        'grant.spent': { actions: 'noteSpent' },
        'grant.more': { actions: 'considerMore', description: 'An agent’s grant does not cover another attempt.' },
        'approval.decide': { guard: 'isForTopUp', actions: ['tellTopUp', 'noteTopUpDecision', 'answerTopUp'], description: 'Whether there is more to spend.' },
        'budget.*': { guard: 'isToppingUp', actions: 'tellTopUp', description: 'The tenant’s budget answers.' },
        'xstate.done.actor.topUp': [
          { guard: 'isGiven', actions: 'takeMore' },
          { actions: 'denyMore', description: 'There is no more, and nobody is asked again.' },
        ],
      },
      initial: 'beginning',
      states: {
        beginning: {
          description: 'Who pays?',
          always: [{ guard: 'hasBudget', target: 'funding' }, { target: 'planning' }],
        },
        funding: {
          description: 'What it may spend is drawn from its tenant’s budget.',
          invoke: {
            id: 'funding',
            src: 'allotment',
            input: ({ context: { input } }): AllotmentInput => ({ run: input.address, budget: input.budget!, draw: 1, wanted: input.ceiling, request: null, deadlineMs: 1 }),
            onDone: [
              { guard: 'isGiven', target: 'planning', actions: 'takeAllotment' },
              { target: '#run.failed', actions: 'failUnfunded', description: 'There is too little left of it.' },
            ],
          },
          on: { 'budget.*': { actions: 'tellFunding', description: 'The tenant’s budget answers.' } },
        },
        planning: {
          description: 'The goal is being split into steps.',
          entry: 'askPlanner',
          on: {
            'supervisor.ended': [
              { guard: 'isPlan', target: 'working', actions: ['closeGrant', 'notePlan'] },
              { guard: 'isPlanFailure', target: '#run.failed', actions: ['closeGrant', 'failPlan'] },
            ],
            'supervisor.refused': { guard: 'isPlanFailure', target: '#run.failed', actions: ['closeGrant', 'failPlan'] },
          },
        },
        working: {
          description: 'Steps are worked on in parallel, judged in the order of the plan, planned anew where they fail.',
          entry: 'startSteps',
          always: { guard: 'allSettled', target: 'synthesising' },
          on: {
            'verification.request': { actions: ['noteRequest', 'takeTurn'] },
            'supervisor.ended': [
              { guard: 'isSubstitute', actions: ['endSubstitute', 'takeTurn'] },
              { guard: 'isCheck', actions: ['closeGrant', 'answerRequest', 'takeTurn'] },
              { guard: 'isStepDone', actions: ['closeGrant', 'noteStep', 'recordFindings', 'takeTurn'] },
              { guard: 'mayReplan', actions: ['closeGrant', 'recordFindings', 'noteFailed', 'takeTurn'] },
              { guard: 'isStep', actions: ['closeGrant', 'recordFindings', 'giveUpStep', 'takeTurn'] },
              { guard: 'isReplan', actions: ['closeGrant', 'startReplanned', 'takeTurn'] },
              { guard: 'isReplanFailure', actions: ['closeGrant', 'giveUpReplan', 'takeTurn'] },
            ],
            'supervisor.refused': [
              { guard: 'isCheck', actions: ['undoEngagement', 'judgeLater'], description: 'No room, not even to wait: it is judged when a place is free.' },
              { guard: 'isStep', actions: 'holdBack', description: 'No room: its worker is asked for again when a place is free.' },
              { guard: 'isReplanFailure', actions: ['undoEngagement', 'replanLater'], description: 'No room: it is planned anew when a place is free.' },
            ],
          },
        },
        synthesising: {
          description: 'What stands is put together.',
          entry: 'askWriter',
          on: {
            'supervisor.ended': [
              { guard: 'isReport', target: 'concluding', actions: ['closeGrant', 'noteReport'] },
              { guard: 'isReportFailure', target: '#run.failed', actions: ['closeGrant', 'failReport'] },
            ],
            'supervisor.refused': { guard: 'isReportFailure', target: '#run.failed', actions: ['closeGrant', 'failReport'] },
          },
        },
        concluding: {
          description: 'The result is there. What does it call for?',
          entry: ['giveBack', 'planAction'],
          always: [{ guard: 'hasFailed', target: '#run.failed' }, { guard: 'needsApproval', target: 'approvalPending' }, { guard: 'hasAction', target: 'acting' }, { target: '#run.done' }],
        },
        approvalPending: {
          description: 'A person must approve exactly this action; silence is a no.',
          on: {
            'approval.decide': [
              { guard: 'isActionApproved', target: 'acting', actions: ['noteDecision', 'answerDecision'] },
              { guard: 'isApproved', target: '#run.done', actions: ['noteDecision', 'answerDecision'], description: 'There is nothing to do but to let the result stand.' },
              { guard: 'isForThisRequest', target: '#run.failed', actions: ['noteDecision', 'failRejected', 'answerDecision'] },
            ],
          },
          after: { approvalDeadline: { target: '#run.failed', actions: 'failExpired' } },
        },
        acting: {
          description: 'The outside world is being changed, once, under the run’s key.',
          invoke: {
            id: 'publish',
            src: 'publish',
            input: ({ context }) => ({ action: context.planned!, ordinal: 1, tenant: context.input.tenant ?? null }),
            onDone: { target: '#run.done', actions: 'notePublished' },
            onError: [
              { guard: 'isOutcomeUnknown', target: 'unsure', actions: 'failPublish' },
              { target: 'actionFailed', actions: 'failPublish' },
            ],
          },
          on: { 'run.cancel': { description: 'Too late: it may have happened already.' } },
        },
        unsure: {
          description: 'Nobody knows whether the action happened; a person finds out.',
          on: {
            'action.resolve': [
              { guard: 'hasHappened', target: '#run.done', actions: ['noteResolution', 'noteHappened'] },
              { guard: 'hasNotHappened', target: 'acting', actions: 'noteResolution', description: 'It has not: it may be run.' },
            ],
            'run.cancel': { description: 'Too late: first somebody finds out whether it happened.' },
          },
        },
        actionFailed: {
          description: 'The run has failed by its action; until the deadline a person may have that tried again, under the same key.',
          on: { 'run.retry': { guard: 'isRetry', target: 'acting', actions: 'noteRetry' } },
          after: { approvalDeadline: '#run.failed' },
        },
        cancelling: {
          description: 'Somebody wants it to end: agents at work are being stopped.',
          entry: 'haltCrew',
          on: {
            'run.cancel': { description: 'It is being cancelled already.' },
          },
        },
      },
    },
    done: {
      description: 'The result stands, and what it called for has been done.',
      entry: 'giveBack',
      type: 'final',
    },
    failed: {
      description: 'The run ended without a result; the reason is part of its output.',
      entry: 'giveBack',
      type: 'final',
    },
  },
})

/** What a run has come to. */
export function runOutput({ failure, report, published, ledger: { spent, overrun } }: RunContext): RunOutput {
  return { outcome: failure ? 'failed' : 'done', report, published, failure, spent, overrun }
}

/** The plan's steps that no attempt answered, with the last reason. */
export function unanswered(context: Pick<RunContext, 'steps'>): readonly { readonly id: string; readonly task: unknown; readonly reason: string }[] {
  const origins = [...new Set(context.steps.map((step) => step.origin))]
  return origins
    .map((origin) => context.steps.filter((step) => step.origin === origin))
    .filter((tries) => !tries.some((step) => step.state === 'done'))
    .map((tries) => ({ id: tries[0]!.id, task: tries[0]!.task, reason: tries.at(-1)!.reason ?? 'no answer' }))
}

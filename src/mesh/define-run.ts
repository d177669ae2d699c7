/**
 * Makes a kind of run of the run chart: who takes which role, what each may spend, and how the run ends: with which
 * external action, and whether a person must approve it.
 */
import { assign, type AnyStateMachine } from 'xstate'
import type { Goal } from '../machines/agent.machine.js'
import type { PlannedAction } from '../machines/approval.js'
import { nothing, unbounded, type Amounts } from '../machines/ledger.js'
import { runMachine, topUpShown, unanswered, whyMore, type Member, type Publication, type RunContext, type RunInput, type RunRole, type WhenSpent } from '../machines/run.machine.js'
import { supervisorMachine, type SupervisorOptions } from '../machines/supervisor.machine.js'
import { checkId } from '../runtime/identity.js'
import { ConfigError } from '../errors.js'
import { canonicalJson, digestOf } from './canonical.js'
import { actLogic, checkedAction, checkedRequest, externalActionsByName, isAgent, wholeBackoff, type AgentDefinition, type ExternalActionOptions } from './define-agent.js'
import { aModel, type ModelRef } from './model-call.js'
import { aFunction, anything, atOnce, given as known, isObject, list, milliseconds, number, oneOf, optional, options as optionsOf, whole, wrong, type Check } from './options.js'

/** What may be spent. What is left out has no ceiling of its own. */
export interface Ceiling {
  /** Dollars, 0 to 1,000,000. */
  readonly usd?: number
  /** Tokens in and out together. */
  readonly tokens?: number
  /** Attempts at models. */
  readonly calls?: number
}

/** What `action` and `approval` of a run are given. */
export interface RunResult {
  readonly run: string
  readonly goal: Goal
  /** What the writer brought. */
  readonly report: unknown
  readonly material: unknown
  /** The agents so far, with their times and costs. */
  readonly members: readonly Member[]
  readonly unanswered: ReturnType<typeof unanswered>
}

/** Who takes which role: agents, or names of machines that take an AgentInput and end with an AgentOutput. */
export interface Crew {
  readonly planner: AgentDefinition | string
  readonly worker: AgentDefinition | string
  readonly writer: AgentDefinition | string
  /** Judges what workers bring that name it in `verifyWith`. */
  readonly checker?: AgentDefinition
}

/** Of the supervisor of a run's agents, which fail apart from each other. */
export type CrewOptions = Omit<SupervisorOptions, 'strategy' | 'treeRestartsMax'>

/** What happens while and when the ceiling of a run is used up (docs/budgets.md). */
export interface RunBudget {
  /** Shares of the ceiling, above 0 to 1, at which is warned, once each. Default 0.5, 0.8 and 0.95. */
  readonly warnAt?: readonly number[]
  /**
   * When what an agent was granted does not cover another attempt. stop: its call fails. degrade: it goes on with the
   * models of `degradeTo`. ask: a person is asked for more. Default stop.
   */
  readonly whenSpent?: 'stop' | 'degrade' | 'ask'
  /** With degrade: models to go on with, in order, the dearest first. */
  readonly degradeTo?: ModelRef | readonly ModelRef[]
  /** With ask: how much more a person is asked for at a time. */
  readonly more?: Ceiling
  /** With ask: how long a person has to decide, ms, at least 1; then there is no more. Default 7 days. */
  readonly askDeadlineMs?: number
}

export interface RunOptions {
  /** Name of its machine. `[A-Za-z0-9._:-]`, 1 to 256 bytes. */
  readonly name: string
  /** Default '1'. */
  readonly version?: string | number
  readonly crew: Crew
  /** What one agent of a role is granted. Default: to those who work alone (the plan, the report) all that is free, to the others equal shares of what is left after the plan, that suffice for all who may work at once. What a grant does not name is as by default. */
  readonly grants?: Partial<Readonly<Record<RunRole, Ceiling>>>
  /** Bulkhead, restarts and backoff of the crew. */
  readonly supervisor?: Partial<CrewOptions>
  /** What happens while and when its ceiling is used up. */
  readonly budget?: RunBudget
  /** Steps a plan may have, inclusive, 1 to 1,000. Default 6. */
  readonly stepsMax?: number
  /** How often one step may be planned anew, 0 to 1,000. Default 2. */
  readonly replansMax?: number
  /** What the result calls for. Default: nothing, the run ends with its report. */
  readonly action?: (result: RunResult) => PlannedAction | null | undefined
  // Each action has an input of its own.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly externalActions?: Readonly<Record<string, ExternalActionOptions<any>>>
  /** Why a person must approve the action first; anything falsy: nobody need. */
  readonly approval?: (result: RunResult & { readonly action: PlannedAction | null }) => { readonly why: string } | false | null | undefined
  /** How long a person has to decide, ms, at least 1; then it is denied. As long a failed action may be tried again. Default 7 days. */
  readonly approvalDeadlineMs?: number
}

/** What a run needs of the mesh that runs it. */
export interface RunServices {
  /** @throws an error that says who has stopped the tenant, and why */
  mayAct(subject: { readonly agent: string; readonly version: string; readonly tenant: string | null }): Promise<void>
}

export interface RunDefinition {
  readonly name: string
  readonly version: string
  /** Agents that are part of it. */
  readonly agents: readonly AgentDefinition[]
  /** Models that its agents may use beside their own. */
  readonly models: readonly ModelRef[]
  /** Names of the machines that take its roles. */
  readonly crew: RunInput['crew']
  machine(services: RunServices): AnyStateMachine
  /** What the machine is started with. */
  input(given: { readonly run: string; readonly address: string; readonly goal: Goal; readonly ceiling: Ceiling; readonly models: readonly string[] | null; readonly material: unknown; readonly tenant?: string; readonly priority?: number; readonly budget?: string }): RunInput
}

const amount = optional(whole(0, Number.MAX_SAFE_INTEGER))
export const aCeiling = optionsOf<Ceiling>({ usd: optional(number(0, 1_000_000)), tokens: amount, calls: amount })

export function amountsOf(ceiling: Ceiling): Amounts {
  return { ...unbounded, ...limitsOf(ceiling) }
}

/** Only what it names. */
function limitsOf({ tokens, calls, usd }: Ceiling): Partial<Amounts> {
  return {
    ...(tokens === undefined ? {} : { tokens: Math.min(tokens, unbounded.tokens) }),
    ...(calls === undefined ? {} : { calls: Math.min(calls, unbounded.calls) }),
    ...(usd === undefined ? {} : { nanoDollars: Math.floor(usd * 1e9) }),
  }
}

const agent: Check = (name, value) => {
  if (!isAgent(value)) wrong(name, 'an agent, as defineAgent gives it', value)
}
const agentOrName: Check = (name, value) => {
  if (typeof value === 'string') checkId(name, value)
  else if (!isAgent(value)) wrong(name, 'an agent, as defineAgent gives it, or the name of a machine', value)
}

const aShare: Check = (name, value) => {
  if (!(typeof value === 'number' && value > 0 && value <= 1)) wrong(name, 'a number above 0, to 1', value)
}
const runBudget = optionsOf<RunBudget>({
  warnAt: optional(list(aShare)),
  whenSpent: optional(oneOf('stop', 'degrade', 'ask')),
  degradeTo: optional((name, value) => (Array.isArray(value) ? list(aModel, 1) : aModel)(name, value)),
  more: optional(aCeiling),
  askDeadlineMs: optional(milliseconds),
})

/** What is declared belongs to what is declared. */
function whenSpentOf({ whenSpent = 'stop', degradeTo, more, askDeadlineMs = 7 * 24 * 3_600_000 }: RunBudget, run: string): WhenSpent {
  if ((degradeTo !== undefined) !== (whenSpent === 'degrade')) throw new ConfigError(`run ${run}: budget.degradeTo: the models to go on with belong to whenSpent: 'degrade', and it needs them.`)
  if ((more !== undefined) !== (whenSpent === 'ask')) throw new ConfigError(`run ${run}: budget.more: what a person is asked for belongs to whenSpent: 'ask', which needs it.`)
  if (whenSpent === 'degrade') return { do: 'degrade', models: [degradeTo!].flat().map((model) => (model as ModelRef).name) }
  // Of what is not named there is none beyond the ceiling.
  return whenSpent === 'ask' ? { do: 'ask', more: { ...nothing, ...limitsOf(more!) }, deadlineMs: askDeadlineMs } : { do: 'stop' }
}

const runOptions = optionsOf<RunOptions>({
  name: anything,
  version: anything,
  crew: optionsOf<Crew>({ planner: agentOrName, worker: agentOrName, writer: agentOrName, checker: optional(agent) }),
  grants: optional(optionsOf<Record<RunRole, Ceiling>>({ planner: optional(aCeiling), worker: optional(aCeiling), checker: optional(aCeiling), writer: optional(aCeiling) })),
  supervisor: optional(
    optionsOf<CrewOptions>({
      workingMax: optional(whole(1, 10_000)),
      waitingMax: optional(whole(0, 10_000)),
      restartsMax: optional(whole(0, 1_000)),
      periodMs: optional(milliseconds),
      backoff: optional(wholeBackoff),
    }),
  ),
  budget: optional(runBudget),
  stepsMax: optional(whole(1, 1_000)),
  replansMax: optional(whole(0, 1_000)),
  action: optional(aFunction),
  externalActions: optional(externalActionsByName),
  approval: optional(aFunction),
  approvalDeadlineMs: optional(milliseconds),
})

/** @throws ConfigError, InvalidIdError for options that cannot work */
export function defineRun(options: RunOptions): RunDefinition {
  if (!isObject(options)) wrong('defineRun', 'an object with its options', options)
  const name = checkId('run name', options.name)
  const version = checkId(`version of run ${name}`, String(options.version ?? '1'))
  runOptions(`run ${name}: `, options)
  const { stepsMax = 6, replansMax = 2, budget: limits = {} } = options
  const { warnAt = [0.5, 0.8, 0.95] } = limits
  const whenSpent = whenSpentOf(limits, name)
  const grants = Object.fromEntries(Object.entries(known(options.grants)).map(([role, grant]) => [role, limitsOf(grant)]))
  const { planner, worker, writer, checker } = options.crew
  const nameOf = (agent: AgentDefinition | string): string => (typeof agent === 'string' ? agent : agent.name)
  const crew = { planner: nameOf(planner), worker: nameOf(worker), writer: nameOf(writer) }
  return {
    name,
    version,
    agents: [planner, worker, writer, checker].filter((agent) => typeof agent === 'object'),
    models: [limits.degradeTo ?? []].flat(),
    crew,
    machine: (services) => machineOf(options, name, version, services),
    input({ run, address, goal, ceiling, models, material, tenant, priority, budget }) {
      return {
        run,
        address,
        goal,
        ceiling: amountsOf(ceiling),
        crew,
        grants,
        supervisor: known(options.supervisor),
        stepsMax,
        replansMax,
        models,
        material,
        ...(tenant === undefined ? {} : { tenant }),
        ...(priority === undefined ? {} : { priority }),
        ...(budget === undefined ? {} : { budget }),
        warnAt,
        whenSpent,
      }
    },
  }
}

function machineOf(options: RunOptions, name: string, version: string, services: RunServices): AnyStateMachine {
  return runMachine.provide({
    actors: { crew: supervisorMachine, publish: actLogic<Publication>(options.externalActions ?? {}, ({ tenant }) => services.mayAct({ agent: '', version: '', tenant })) },
    delays: { approvalDeadline: options.approvalDeadlineMs ?? 7 * 24 * 3_600_000 },
    actions: {
      planAction: assign(({ context }) => planFor(options, name, version, context)),
      prepareTopUp: assign(({ context }) => topUpOf(context)),
    },
  }) as AnyStateMachine
}

/** Exactly what a person is shown who is asked for more (I10). */
function topUpOf(context: RunContext): Partial<RunContext> {
  const output = topUpShown(context)
  const topUps = context.topUps + 1
  return { topUps, topUp: { decision: null, request: { why: whyMore(context), actions: [], output, digest: digestOf(canonicalJson({ topUp: topUps, ...output })) } } }
}

/** A throw of user code is the run's failure with its reason, not the machine's. */
function planFor(options: RunOptions, name: string, version: string, context: RunContext): Partial<RunContext> {
  const { run, goal, material } = context.input
  const result: RunResult = { run, goal, report: context.report, material, members: context.members, unanswered: unanswered(context) }
  try {
    const wanted = atOnce('action', options.action?.(result))
    const action = wanted ? checkedAction(wanted, options.externalActions ?? {}, `run ${name}`) : null
    const approval = checkedRequest(options.approval?.({ ...result, action }))
    const actions = action ? [action] : []
    return {
      planned: action,
      approval: approval ? { why: approval.why, actions, digest: digestOf(canonicalJson({ run, kind: name, version, actions, ...(action ? {} : { report: context.report }) })) } : null,
    }
  } catch (error) {
    return { failure: { reason: 'plan', message: (error as Error).message } }
  }
}

/**
 * Makes a kind of run of the run chart: who takes which role, what each may spend, and how the run ends: with which
 * external action, and whether a person must approve it.
 */
import { assign, type AnyStateMachine } from 'xstate'
import type { Goal } from '../machines/agent.machine.js'
import type { PlannedAction } from '../machines/approval.js'
import { type Amounts } from '../machines/ledger.js'
import { runMachine, unanswered, type Member, type Publication, type RunContext, type RunInput, type RunRole } from '../machines/run.machine.js'
import { supervisorMachine, type SupervisorOptions } from '../machines/supervisor.machine.js'
import { checkId } from '../runtime/identity.js'
import { canonicalJson, digestOf } from './canonical.js'
import { actLogic, checkedAction, checkedRequest, externalActionsByName, isAgent, wholeBackoff, type AgentDefinition, type ExternalActionOptions } from './define-agent.js'
import { aFunction, anything, atOnce, given as known, isObject, milliseconds, number, optional, options as optionsOf, whole, wrong, type Check } from './options.js'

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
  /** Names of the machines that take its roles. */
  readonly crew: RunInput['crew']
  machine(services: RunServices): AnyStateMachine
  /** What the machine is started with. */
  input(given: { readonly run: string; readonly address: string; readonly goal: Goal; readonly ceiling: Ceiling; readonly models: readonly string[] | null; readonly material: unknown; readonly tenant?: string; readonly priority?: number }): RunInput
}

/** Stands for "no ceiling": sums of it stay exact. */
export const unbounded: Amounts = { tokens: 2 ** 50, calls: 2 ** 40, nanoDollars: 2 ** 50 }

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
  const { stepsMax = 6, replansMax = 2 } = options
  const grants = Object.fromEntries(Object.entries(known(options.grants)).map(([role, grant]) => [role, limitsOf(grant)]))
  const { planner, worker, writer, checker } = options.crew
  const nameOf = (agent: AgentDefinition | string): string => (typeof agent === 'string' ? agent : agent.name)
  const crew = { planner: nameOf(planner), worker: nameOf(worker), writer: nameOf(writer) }
  return {
    name,
    version,
    agents: [planner, worker, writer, checker].filter((agent) => typeof agent === 'object'),
    crew,
    machine: (services) => machineOf(options, name, version, services),
    input({ run, address, goal, ceiling, models, material, tenant, priority }) {
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
      }
    },
  }
}

function machineOf(options: RunOptions, name: string, version: string, services: RunServices): AnyStateMachine {
  return runMachine.provide({
    actors: { crew: supervisorMachine, publish: actLogic<Publication>(options.externalActions ?? {}, ({ tenant }) => services.mayAct({ agent: '', version: '', tenant })) },
    delays: { approvalDeadline: options.approvalDeadlineMs ?? 7 * 24 * 3_600_000 },
    actions: { planAction: assign(({ context }) => planFor(options, name, version, context)) },
  }) as AnyStateMachine
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

/**
 * Makes a kind of run of the run chart: who takes which role, what each may spend, and how the run ends: with which
 * external action, and whether a person must approve it.
 */
import { assign, type AnyStateMachine } from 'xstate'
import { ConfigError } from '../errors.js'
import type { Goal } from '../machines/agent.machine.js'
import type { PlannedAction } from '../machines/approval.js'
import { type Amounts } from '../machines/ledger.js'
import { runMachine, unanswered, type Member, type RunContext, type RunInput, type RunRole } from '../machines/run.machine.js'
import { supervisorMachine, type SupervisorOptions } from '../machines/supervisor.machine.js'
import { checkId } from '../runtime/identity.js'
import { canonicalJson, digestOf } from './canonical.js'
import { actLogic, checkedAction, type AgentDefinition, type ExternalActionOptions } from './define-agent.js'
import { nanoDollars } from './prices.js'

/** What may be spent. What is left out has no ceiling of its own. */
export interface Ceiling {
  /** Dollars. */
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

export interface RunOptions {
  /** Name of its machine. `[A-Za-z0-9._:-]`, 1 to 256 bytes. */
  readonly name: string
  /** Default '1'. */
  readonly version?: string | number
  readonly crew: Crew
  /** What one agent of a role is granted. Default: to those who work alone (the plan, the report) all that is free, to the others equal shares of what is left after the plan, that suffice for all who may work at once. What a grant does not name is as by default. */
  readonly grants?: Partial<Readonly<Record<RunRole, Ceiling>>>
  /** Bulkhead, restarts and backoff of the crew. */
  readonly supervisor?: Partial<SupervisorOptions>
  /** Steps a plan may have, inclusive. Default 6. */
  readonly stepsMax?: number
  /** How often one step may be planned anew. Default 2. */
  readonly replansMax?: number
  /** What the result calls for. Default: nothing, the run ends with its report. */
  readonly action?: (result: RunResult) => PlannedAction | null | undefined
  // Each action has an input of its own.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly externalActions?: Readonly<Record<string, ExternalActionOptions<any>>>
  /** Why a person must approve the action first; anything falsy: nobody need. */
  readonly approval?: (result: RunResult & { readonly action: PlannedAction | null }) => { readonly why: string } | false | null | undefined
  /** How long a person has to decide, ms; then it is denied. Default 7 days. */
  readonly approvalDeadlineMs?: number
}

export interface RunDefinition {
  readonly name: string
  readonly version: string
  /** Agents that are part of it. */
  readonly agents: readonly AgentDefinition[]
  /** Names of the machines that take its roles. */
  readonly crew: RunInput['crew']
  readonly machine: AnyStateMachine
  /** What the machine is started with. */
  input(given: { readonly run: string; readonly address: string; readonly goal: Goal; readonly ceiling: Ceiling; readonly models: readonly string[] | null; readonly material: unknown }): RunInput
}

/** Stands for "no ceiling": sums of it stay exact. */
const unbounded: Amounts = { tokens: 2 ** 50, calls: 2 ** 40, nanoDollars: 2 ** 50 }

/** @throws ConfigError for amounts that are no whole numbers, or below zero */
export function amountsOf(ceiling: Ceiling): Amounts {
  return { ...unbounded, ...limitsOf('ceiling', ceiling) }
}

/** Only what it names. */
function limitsOf(what: string, { tokens, calls, usd }: Ceiling): Partial<Amounts> {
  const whole = (name: 'tokens' | 'calls', value: number): number => {
    if (!Number.isSafeInteger(value) || value < 0) throw new ConfigError(`${what}.${name}: expected a whole number of at least 0, got ${value}.`)
    return Math.min(value, unbounded[name])
  }
  return { ...(tokens === undefined ? {} : { tokens: whole('tokens', tokens) }), ...(calls === undefined ? {} : { calls: whole('calls', calls) }), ...(usd === undefined ? {} : { nanoDollars: nanoDollars(`${what}.usd`, usd) }) }
}

/** @throws ConfigError, InvalidIdError for options that cannot work */
export function defineRun(options: RunOptions): RunDefinition {
  const name = checkId('run name', options.name)
  const version = checkId(`version of run ${name}`, String(options.version ?? '1'))
  const stepsMax = positive(`run ${name}: stepsMax`, options.stepsMax ?? 6, 1)
  const replansMax = positive(`run ${name}: replansMax`, options.replansMax ?? 2, 0)
  for (const action of Object.keys(options.externalActions ?? {})) checkId(`external action of run ${name}`, action)
  const grants = Object.fromEntries(Object.entries(options.grants ?? {}).map(([role, grant]) => [role, limitsOf(`grants.${role}`, grant)]))
  const { planner, worker, writer, checker } = options.crew
  const nameOf = (role: RunRole, agent: AgentDefinition | string): string => (typeof agent === 'string' ? checkId(`${role} of run ${name}`, agent) : agent.name)
  const crew = { planner: nameOf('planner', planner), worker: nameOf('worker', worker), writer: nameOf('writer', writer) }
  return {
    name,
    version,
    agents: [planner, worker, writer, checker].filter((agent) => typeof agent === 'object'),
    crew,
    machine: machineOf(options, name, version),
    input({ run, address, goal, ceiling, models, material }) {
      return {
        run,
        address,
        goal,
        ceiling: amountsOf(ceiling),
        crew,
        grants,
        supervisor: options.supervisor ?? {},
        stepsMax,
        replansMax,
        models,
        material,
      }
    },
  }
}

function machineOf(options: RunOptions, name: string, version: string): AnyStateMachine {
  return runMachine.provide({
    actors: { crew: supervisorMachine, publish: actLogic(options.externalActions ?? {}) },
    delays: { approvalDeadline: options.approvalDeadlineMs ?? 7 * 24 * 3_600_000 },
    actions: { planAction: assign(({ context }) => planFor(options, name, version, context)) },
  }) as AnyStateMachine
}

/** A throw of user code is the run's failure with its reason, not the machine's. */
function planFor(options: RunOptions, name: string, version: string, context: RunContext): Partial<RunContext> {
  const { run, goal, material } = context.input
  const result: RunResult = { run, goal, report: context.report, material, members: context.members, unanswered: unanswered(context) }
  try {
    const wanted = options.action?.(result)
    const action = wanted ? checkedAction(wanted, options.externalActions ?? {}, `run ${name}`) : null
    const approval = options.approval?.({ ...result, action })
    const actions = action ? [action] : []
    return {
      planned: action,
      approval: approval ? { why: approval.why, actions, digest: digestOf(canonicalJson({ run, kind: name, version, actions, ...(action ? {} : { report: context.report }) })) } : null,
    }
  } catch (error) {
    return { failure: { reason: 'plan', message: (error as Error).message } }
  }
}

function positive(what: string, value: number, min: number): number {
  if (Number.isSafeInteger(value) && value >= min && value <= 1_000) return value
  throw new ConfigError(`${what}: expected a whole number from ${min} to 1,000, got ${value}.`)
}

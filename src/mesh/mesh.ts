/**
 * The mesh: agents and runs on an actor system of their own. The agents' code says what they want; who may call which
 * model, at what price and how often, stands here and in the charts.
 */
import type { AnyStateMachine } from 'xstate'
import { ActorExistsError, ConfigError, HoldfastError } from '../errors.js'
import { circuitBreakerMachine } from '../machines/circuit-breaker.machine.js'
import { unbounded } from '../machines/ledger.js'
import { limiterMachine } from '../machines/limiter.machine.js'
import { policiesMachine, type PoliciesContext } from '../machines/policies.machine.js'
import type { RunInput } from '../machines/run.machine.js'
import { tokenMachineName, tokenStreamMachine, type TokenEvent } from '../machines/token-stream.machine.js'
import type { ActorHandle } from '../runtime/actor.js'
import { cursorAfter, pageMax } from '../runtime/find.js'
import { checkId, toAddress, type Address } from '../runtime/identity.js'
import type { HistoryOptions } from '../runtime/history.js'
import type { MachineOptions } from '../runtime/machines.js'
import { systemClock, type Clock } from '../runtime/ports/clock.js'
import { silentLogger, type Logger } from '../runtime/ports/logger.js'
import { randomIds } from '../runtime/ports/ids.js'
import { createActorSystem, type ActorSystem, type ActorSystemOptions } from '../runtime/system.js'
import { canonicalGoal } from './canonical.js'
import type { PermitSubject } from './desk.js'
import { isAgent, type AgentDefinition } from './define-agent.js'
import { aCeiling, type Ceiling, type RunDefinition } from './define-run.js'
import { Models } from './model-call.js'
import { meant } from './nearest.js'
import { anything, having, isObject, list, optional, options as optionsOf, record, shape, text, whole, wrong, type Check } from './options.js'
import type { TraceStore } from './ports/trace-store.js'
import { Permits, refusalOf } from './permits.js'
import { PolicyControl } from './policy-control.js'
import type { BudgetContext } from '../machines/budget.machine.js'
import { checkPolicies, strangersIn, substitutesIn, type PolicyIssue, type PolicyOptions } from './policies.js'
import { isPolicySource, PolicyFile } from './policy-file.js'
import type { PolicySource } from './ports/policy-source.js'
import { aDate, defaultPrices, modelPrice, type PriceTable } from './prices.js'
import { budgetAddress, budgetStatusOf, tenantBudgetMachine, type BudgetStatus } from './tenant-budget.js'
import { RunHandle } from './run-handle.js'
import { readTokens, type TokenHost, type TokensOptions, type TokenTold } from './tokens.js'
import { Traces, traceparentOf } from './trace.js'

export interface MeshOptions extends Omit<ActorSystemOptions, 'machines'> {
  /** Beside those that are part of a run. */
  readonly agents?: readonly AgentDefinition[]
  readonly runs?: readonly RunDefinition[]
  /** Machines of your own, also such as stand in for an agent. */
  readonly machines?: ActorSystemOptions['machines']
  /** Keep a history of each agent and each run, from which it can be replayed; with these bounds. false: none. Default true; a machine of your own says so itself. */
  readonly history?: HistoryOptions | boolean
  /** Prices that go before the built-in ones. */
  readonly prices?: PriceTable
  /** What calls hold to and need a permit of; or a file that says so, as `policyFile` of `holdfast/file` gives it, which is read again when it changes. Default: those of models that answer elsewhere, with figures fit for them (docs/policies.md). */
  readonly policies?: PolicyOptions | PolicySource
  /** Where the trace of the calls is kept. Default: it stays in the actors' store, at most 100,000 entries a shard; the oldest go. */
  readonly traces?: TraceStore
  /** Entries of the trace that may wait for the trace store before calls wait, too. At least 1, below `streamMax`. Default 10,000. */
  readonly tracesWaitingMax?: number
}

export interface StartRun {
  /** `[A-Za-z0-9._:-]`, 1 to 256 bytes. Default: a new one. Starting it again with the same goal, ceiling and material does nothing. */
  readonly id?: string
  /** 1 to 100,000 characters. */
  readonly goal: string
  /** What the run may spend in all. Default: no ceiling. */
  readonly ceiling?: Ceiling
  /** Full names of models that all its agents use instead of their own, in order, at least one: models of any agent of the mesh. */
  readonly models?: readonly string[]
  /** What the run works on: JSON that its agents' `gather` is given. */
  readonly material?: unknown
  readonly tenant?: string
  /** 0 to 9: among calls that wait for permits those of the higher go first. Default: that of each agent. */
  readonly priority?: number
}

const anAgent: Check = (name, value) => {
  if (!isAgent(value)) wrong(name, 'an agent, as defineAgent gives it', value)
}

function isRun(value: unknown): value is RunDefinition {
  return isObject(value) && typeof value['name'] === 'string' && Array.isArray(value['agents']) && typeof value['input'] === 'function'
}

const aRun: Check = (name, value) => {
  if (!isRun(value)) wrong(name, 'a run, as defineRun gives it', value)
}

const aMachine: Check = (name, value) => {
  if (!isObject(value)) wrong(name, 'a machine, or one with a name and version', value)
}

/** Its own; the system checks the rest. */
type OwnOptions = Pick<MeshOptions, 'store' | 'agents' | 'runs' | 'machines' | 'prices' | 'traces'>
const meshOptions = shape<OwnOptions>({
  store: having('a store, such as lmdbStore(folder) gives', 'open', 'commit'),
  agents: optional(list(anAgent)),
  runs: optional(list(aRun)),
  machines: optional(list(aMachine)),
  prices: optional(shape<PriceTable>({ asOf: aDate, models: record(modelPrice) })),
  traces: optional(having('a trace store, such as jsonlTraces(folder) gives', 'append', 'read', 'close')),
})

/** UTF-16 units. */
const goalMax = 100_000
const startOptions = optionsOf<StartRun>({
  id: optional((name, value) => void checkId(name, value)),
  goal: text(goalMax),
  ceiling: optional(aCeiling),
  models: optional(list(text(1_000), 1)),
  material: anything,
  tenant: optional((name, value) => void checkId(name, value)),
  priority: optional(whole(0, 9)),
})

export class Mesh {
  /** The actor system that runs it; for actors of your own beside the agents. */
  readonly system: ActorSystem
  /** Reads, explains and changes what calls need a permit of, and stops calls. */
  readonly policies: PolicyControl
  private readonly runs = new Map<string, RunDefinition>()
  private readonly agents = new Map<string, AgentDefinition>()
  private readonly models: Models
  private readonly traces: Traces
  private readonly permits: Permits
  private readonly clock: Clock
  private readonly logger: Logger
  private readonly materials = new Map<string, Promise<unknown>>()
  private readonly newId: () => string
  private readonly store: MeshOptions['store']
  private readonly names: ReadonlySet<string>
  private readonly file: PolicyFile | undefined

  /** @throws ConfigError for definitions that do not fit together */
  constructor(options: MeshOptions) {
    meshOptions('', options)
    const { agents = [], runs = [], machines = [], prices = defaultPrices, policies, traces, tracesWaitingMax = 10_000, history = true, ...system } = options
    const { streamMax = 100_000 } = options
    if (Number.isSafeInteger(streamMax)) whole(1, streamMax - 1)('tracesWaitingMax (below streamMax)', tracesWaitingMax)
    for (const run of runs) this.addRun(run)
    for (const agent of [...agents, ...runs.flatMap((run) => run.agents)]) this.addAgent(agent)
    this.models = new Models({ ...prices, models: { ...defaultPrices.models, ...prices.models } })
    for (const { models } of [...this.agents.values(), ...this.runs.values()]) for (const model of models) this.models.add(model)
    this.traces = new Traces(traces, options.logger ?? silentLogger, tracesWaitingMax)
    const { logger = silentLogger } = options
    this.logger = logger
    const clock = (this.clock = options.clock ?? systemClock)
    this.store = options.store
    const ids = options.ids ?? randomIds
    this.newId = () => ids.next()
    this.file = isPolicySource(policies) ? new PolicyFile(policies, (given) => this.issuesFor(given), logger) : undefined
    const said = this.file ? undefined : checkPolicies(policies ?? {})
    this.permits = new Permits({}, {
      clock,
      logger,
      node: ids.next(),
      now: () => this.store.now(),
      ask: (address, event) => this.system.actorAt(address as Address).ask(event, { deadlineMs: askDeadlineMs }),
      watch: (address, listener) => {
        const { unsubscribe } = this.system.actorAt(address as Address).subscribe(({ context }) => listener(context))
        return unsubscribe
      },
      look: async () => (await this.holder().snapshot())?.context as PoliciesContext | undefined,
      isLocal: (model) => this.models.get(model)?.client.isLocal === true,
    })
    this.policies = new PolicyControl({
      permits: this.permits,
      now: () => this.store.now(),
      tell: (event) => this.holder().ask(event),
      pass: (delayMs) => new Promise((resolve) => void clock.after(delayMs, resolve)),
      agent: (name) => this.agentOf(name),
      check: (given) => this.mustStandIn(given),
      strangersIn: (given) => [...this.issuesFor(given), ...this.strangersIn(given)],
      load: () => {
        if (!this.file) throw new ConfigError('These policies came with the code, so there is no file to read again. Give createMesh({ policies: await policyFile(path) }), or use policies.set.')
        return this.file.load()
      },
    })
    const all = [...this.machines(history), ...machines]
    this.names = new Set(all.map((machine) => ('machine' in machine ? (machine.name ?? machine.machine.id) : machine.id)))
    this.mustBeThere(this.names)
    const hold = (given: PolicyOptions): void => {
      for (const { path, message } of this.strangersIn(given)) logger.warn({ policies: path.join('.') }, message)
      this.permits.setOfCode(given)
    }
    if (said) {
      this.mustStandIn(said)
      hold(said)
    }
    this.file?.begin(hold)
    this.system = createActorSystem({ ...system, machines: all })
  }

  private agentOf(name: string): { readonly name: string; readonly version: string; readonly models: readonly string[]; readonly tools: readonly string[] } {
    const agent = this.agents.get(name)
    if (!agent) throw new ConfigError(`agent: this mesh has no agent ${name} (it has: ${[...this.agents.keys()].join(', ')}).`)
    return { name, version: agent.version, models: agent.models.map((model) => model.name), tools: agent.tools }
  }

  /** Whom policies hand tasks to must be there when they are needed. */
  private mustStandIn(policies: PolicyOptions): void {
    const [issue] = this.issuesFor(policies)
    if (issue) throw new ConfigError(`policies: ${issue.path.map(String).join('.')}: ${issue.message}.`)
  }

  private issuesFor(policies: PolicyOptions): PolicyIssue[] {
    const known = [...this.agents.keys()].join(', ')
    return substitutesIn(policies).flatMap(({ agent, at }) => (this.names.has(agent) ? [] : [{ path: at, message: `"${agent}" is neither an agent nor a machine of this mesh${meant(agent, this.agents.keys())} (its agents: ${known})` }]))
  }

  /** What policies say of agents, models, providers and tools that this mesh does not have; another one may. */
  private strangersIn(policies: PolicyOptions): PolicyIssue[] {
    return strangersIn(policies, { agents: [...this.agents.keys()], models: this.models.names(), tools: [...new Set([...this.agents.values()].flatMap(({ tools }) => tools))] })
  }

  /** Holds what was changed and stopped. */
  private holder(): ActorHandle {
    return this.system.actorAt(toAddress('policies', 'mesh'))
  }

  /** A name that nobody has would be missed only when it is needed. */
  private mustBeThere(names: ReadonlySet<string>): void {
    const known = [...names].join(', ')
    for (const { name, crew } of this.runs.values()) {
      for (const [role, machine] of Object.entries(crew)) if (!names.has(machine)) throw new ConfigError(`run ${name}: its ${role} is "${machine}", which is neither an agent nor a machine of this mesh (there are: ${known}).`)
    }
    for (const { name, verifiedBy } of this.agents.values()) {
      for (const verifier of verifiedBy) if (!names.has(verifier)) throw new ConfigError(`agent ${name}: verifyWith is "${verifier}", which is neither an agent nor a machine of this mesh (there are: ${known}). Give it as the checker of the run, or in "agents".`)
    }
  }

  private addRun(run: RunDefinition): void {
    if (this.runs.has(run.name)) throw new ConfigError(`runs: there are two of the name ${run.name}.`)
    this.runs.set(run.name, run)
  }

  private addAgent(agent: AgentDefinition): void {
    const known = this.agents.get(agent.name)
    if (known && known !== agent) throw new ConfigError(`agents: there are two of the name ${agent.name}.`)
    this.agents.set(agent.name, agent)
  }

  private machines(history: HistoryOptions | boolean): (MachineOptions | AnyStateMachine)[] {
    const services = {
      models: this.models,
      clock: this.clock,
      tokens: {
        logger: this.logger,
        newId: this.newId,
        tell: (run: string, event: TokenEvent) => this.system.actorAt(toAddress(tokenMachineName, run)).send(event as never),
      },
      desk: this.permits.desk,
      ready: async (signal: AbortSignal) => {
        await this.traces.ready(signal)
        return this.permits.isCurrent()
      },
      holding: async (subject: Omit<PermitSubject, 'model'>, signal: AbortSignal) => {
        await this.permits.current(signal)
        const stop = this.permits.stopOf({ ...subject, model: '' })
        return { policy: this.permits.callFor(subject).figures, refusal: stop ? refusalOf(stop) : null }
      },
      mayAct: async (subject: Omit<PermitSubject, 'model'>) => {
        if (!(await this.permits.isCurrent())) throw new ConfigError('What was stopped could not be read from the store, so no external action is begun. Have it tried again.')
        const stop = this.permits.stopOf({ ...subject, model: '' })
        if (stop) throw new HoldfastError('CALLS_STOPPED', refusalOf(stop).message)
      },
      material: (runAddress: string) => this.material(runAddress),
    }
    return [
      ...[...this.agents.values()].map((agent) => ({ name: agent.name, version: agent.version, machine: agent.machine(services), history })),
      ...[...this.runs.values()].map((run) => ({ name: run.name, version: run.version, machine: run.machine(services), history })),
      circuitBreakerMachine,
      limiterMachine,
      policiesMachine,
      tokenStreamMachine,
      tenantBudgetMachine({
        now: () => this.store.now(),
        isCurrent: () => this.permits.isCurrent(),
        policyOf: (tenant) => this.permits.budgetOf(tenant),
        actor: (address) => this.system.actorAt(address),
      }),
    ]
  }

  /** Opens the store and takes up all runs that were under way. Resolves to this mesh. */
  async start(): Promise<this> {
    await this.system.start()
    if (this.system.role === 'owner') this.traces.start(this.system)
    this.file?.watch()
    return this
  }

  /** Opens the store only to look, decide and send; another process runs the agents. */
  async startAsClient(): Promise<this> {
    await this.system.startAsClient()
    return this
  }

  /** Stops cleanly. What is under way goes on when a mesh is started again. */
  async stop(): Promise<void> {
    this.file?.close()
    await this.system.stop()
    this.permits.close()
    await this.traces.close()
  }

  /**
   * Starts a run. Resolves when that is durable.
   *
   * @throws ConfigError for a wrong option, or if the definition is not this mesh's, or a model of it has no price under a ceiling of money
   * @throws ActorExistsError if there is a run of that id with another goal, ceiling or material
   */
  async run(definition: RunDefinition, options: StartRun): Promise<RunHandle> {
    aRun('the run', definition)
    startOptions('', options)
    if (this.runs.get(definition.name) !== definition) throw new ConfigError(`runs: "${definition.name}" is not one of this mesh. Give it to createMesh({ runs }).`)
    const id = checkId('run id', options.id ?? this.newId())
    const goal = canonicalGoal(options.goal)
    if (goal.text === '') wrong('goal', 'a text', options.goal)
    const ceiling = options.ceiling ?? {}
    for (const model of options.models ?? []) if (!this.models.get(model)) throw new ConfigError(`models: this mesh has no model ${model} (it has: ${this.models.names().join(', ')}).`)
    if (ceiling.usd !== undefined) this.mustBePriced(definition, options.models)
    const handle = this.handle(definition, id)
    const { tenant } = options
    const start = (budget: string | undefined): Promise<unknown> => {
      const input: RunInput = definition.input({ run: id, address: handle.address, goal, ceiling, models: options.models ?? null, material: options.material ?? null, ...(tenant === undefined ? {} : { tenant }), ...(options.priority === undefined ? {} : { priority: options.priority }), ...(budget === undefined ? {} : { budget }) })
      return this.system.actorAt(handle.address).start({ input: input as never, run: id, goal: goal.digest, trace: traceparentOf(id), ...(tenant === undefined ? {} : { tenant }) })
    }
    if (tenant === undefined) await start(undefined)
    else {
      await this.permits.isCurrent()
      const policy = this.permits.budgetOf(tenant)
      if (policy && policy.limits.nanoDollars < unbounded.nanoDollars) this.mustBePriced(definition, options.models)
      try {
        await start(policy ? budgetAddress(tenant) : undefined)
      } catch (error) {
        // The tenant had a budget when the run was started first, or had none.
        if (!(error instanceof ActorExistsError)) throw error
        await start(policy ? undefined : budgetAddress(tenant)).catch(() => Promise.reject(error))
      }
    }
    return handle
  }

  /** Where a tenant's budget stands; undefined if no run has drawn from it yet. */
  async budget(tenant: string): Promise<BudgetStatus | undefined> {
    const snapshot = await this.system.actorAt(toAddress('budget', checkId('tenant', tenant))).snapshot()
    return snapshot && budgetStatusOf(tenant, snapshot.context as unknown as BudgetContext)
  }

  private mustBePriced({ name, agents: own, crew, models: further }: RunDefinition, models: readonly string[] | undefined): void {
    const namesOf = (refs: AgentDefinition['models']): readonly string[] => refs.map((ref) => ref.name)
    // Also those that the run or its agents only name.
    const agents = new Set([...own, ...Object.values(crew).flatMap((role) => this.agents.get(role) ?? [])])
    for (const { verifiedBy } of agents) {
      for (const verifier of verifiedBy) {
        const agent = this.agents.get(verifier)
        if (agent) agents.add(agent)
      }
    }
    const users = [...[...agents].map((agent) => ({ who: `Agent ${agent.name}`, names: models ?? namesOf(agent.models) })), { who: `Run ${name}`, names: namesOf(further) }]
    for (const { who, names } of users) {
      for (const model of names) {
        if (!this.models.priceOf(model)) throw new ConfigError(`${who} uses model ${model}, whose price is not known, so no ceiling of money could hold. Add it by the option "prices".`)
      }
    }
  }

  /** Full names of the models that its agents may use, the first agent's first. */
  modelNames(): string[] {
    return this.models.names()
  }

  /** A run by its id, whether it exists or not. */
  handle(definition: RunDefinition, id: string): RunHandle {
    aRun('the run', definition)
    return this.handleAt(toAddress(definition.name, id), id)
  }

  /** Runs there are, by id: those after `after`, as many as `limit` says, else all. */
  async list(definition: RunDefinition, options: { readonly after?: string; readonly limit?: number } = {}): Promise<RunHandle[]> {
    aRun('the run', definition)
    const { after, limit = Infinity } = options
    const query = { machine: definition.name }
    const found: Address[] = []
    for (let cursor = after === undefined ? undefined : cursorAfter(query, toAddress(definition.name, after)); found.length < limit; ) {
      const page = await this.system.find({ ...query, limit: Math.min(pageMax, limit - found.length), ...(cursor === undefined ? {} : { cursor }) })
      found.push(...page.actors.map(({ address }) => address))
      cursor = page.cursor
      if (cursor === undefined) break
    }
    return found.map((address) => this.handleAt(address, address.slice(address.indexOf('/') + 1)))
  }

  /**
   * What models are writing for a run, or for an agent that works alone, by the id of its task's `run`: those of agents that
   * declare `stream`. From any process, and from wherever it was left. It ends with this process, and with `return()`, at once, also while
   * a `next()` waits (docs/streaming.md).
   *
   * @throws ConfigError for a wrong option, InvalidIdError for what is no id
   */
  tokens(run: string, options: TokensOptions = {}): AsyncGenerator<TokenTold, void> {
    return readTokens(this.tokenHost(), run, options)
  }

  private tokenHost(): TokenHost {
    return {
      clock: this.clock,
      logger: this.logger,
      actor: (of) => this.system.actorAt(of),
      stream: (of, stream, after, max) => this.system.stream(of, stream, after, max),
    }
  }

  private handleAt(address: Address, id: string): RunHandle {
    return new RunHandle(id, this.system.actorAt(address), {
      tokens: (run, options, until) => readTokens(this.tokenHost(), run, options, until),
      trace: (run) => this.traces.read(this.system, run),
      now: () => this.store.now(),
      actor: (of) => this.system.actorAt(of),
      stream: (of, name) => this.allOf(of, name),
      parked: async (of) => {
        const parked = await this.system.parked(of, 1_000)
        return parked.find(({ reason }) => reason === 'quarantined') ?? parked[0]
      },
      redrive: (of) => this.system.redrive(of),
    })
  }

  private async allOf(address: string, stream: string): Promise<{ seq: number; at: number; value: unknown }[]> {
    const entries: { seq: number; at: number; value: unknown }[] = []
    for (let after = 0; ; after = entries.at(-1)!.seq) {
      const page = await this.system.stream(address, stream, after, 1_000)
      entries.push(...page)
      if (page.length < 1_000) return entries
    }
  }

  /** What a run was given to work on never changes, so it is read once. */
  private material(runAddress: string): Promise<unknown> {
    let material = this.materials.get(runAddress)
    if (!material) {
      if (this.materials.size >= materialsMax) this.materials.clear()
      material = this.system
        .actorAt(runAddress)
        .input()
        .then((input) => (input as RunInput | undefined)?.material ?? null)
      this.materials.set(runAddress, material)
      material.catch(() => this.materials.delete(runAddress))
    }
    return material
  }
}

/** How long a policy is waited for, ms; it is asked again. */
const askDeadlineMs = 10_000

const materialsMax = 100

/** @throws ConfigError for definitions that do not fit together */
export function createMesh(options: MeshOptions): Mesh {
  return new Mesh(options)
}

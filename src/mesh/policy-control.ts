/** To read, explain and change the policies of a mesh while it runs, for all nodes: `mesh.policies`. */
import { ConfigError } from '../errors.js'
import type { BudgetPolicy } from '../machines/budget.machine.js'
import { stopsMax, type PoliciesEvent, type Stop } from '../machines/policies.machine.js'
import type { PolicyScope } from '../machines/permit.js'
import { oneOf, options as optionsOf, text } from './options.js'
import { heldMs, type Permits } from './permits.js'
import { checkPolicies, type EffectiveCall, type EffectivePolicy, type PolicyIssue, type PolicyOptions } from './policies.js'
import type { PermitSubject } from './desk.js'

/** Which calls. */
export interface CallsOf {
  readonly scope: PolicyScope
  /** `researcher`, `researcher@2`, `anthropic/claude-opus-5-5`, a tenant, a provider, or a tool that agents are given. */
  readonly name: string
}

/** What runs of a tool that an agent's model is given hold to. */
export interface ExplainedTool {
  readonly tool: string
  /** Who has stopped them; null: nobody. */
  readonly stop: Stop | null
  readonly chain: readonly EffectivePolicy[]
}

/** What calls of an agent to one of its models hold to. */
export interface ExplainedModel {
  readonly model: string
  /** How hard they try, over all models; the same for each. */
  readonly call: EffectiveCall
  /** What its model's tools need a permit of; the same for each model. */
  readonly tools: readonly ExplainedTool[]
  /** What all runs of the tenant may spend; null: no tenant is given, or it has no budget. The same for each. */
  readonly budget: BudgetPolicy | null
  /** Who has stopped them; null: nobody. */
  readonly stop: Stop | null
  /** What they need a permit of, in the order in which it is asked. */
  readonly chain: readonly EffectivePolicy[]
}

export interface PolicyControlPorts {
  /** @throws ConfigError */
  load(): Promise<void>
  strangersIn(policies: PolicyOptions): readonly PolicyIssue[]
  readonly permits: Permits
  now(): Promise<number>
  tell(event: PoliciesEvent): Promise<{ readonly done: boolean }>
  /** Resolves after so many ms. */
  pass(delayMs: number): Promise<void>
  /** Agents by name, with their versions and models. */
  /** @throws ConfigError for what is said of somebody who is not there */
  check(policies: PolicyOptions): void
  agent(name: string): { readonly name: string; readonly version: string; readonly models: readonly string[]; readonly tools: readonly string[] }
}

const callsOf = optionsOf<CallsOf>({ scope: oneOf('agent', 'version', 'model', 'provider', 'tenant', 'tool'), name: text(520) })
const who = optionsOf<{ by: string; why: string }>({ by: text(256), why: text(1_000) })
const author = optionsOf<{ by: string }>({ by: text(256) })

export class PolicyControl {
  private readonly ports: PolicyControlPorts

  constructor(ports: PolicyControlPorts) {
    this.ports = ports
  }

  /**
   * The policies that apply to an agent's calls, for each of its models in order, and to its tools, with all figures and where they come from,
   * the budget of the tenant,
   * and what is stopped as far as this node knows.
   *
   * @param options.policies as if these were set
   * @throws ConfigError if the mesh has no such agent, or for policies that are wrong
   */
  explain(agent: string, { tenant = null, policies }: { readonly tenant?: string | null; readonly policies?: PolicyOptions } = {}): readonly ExplainedModel[] {
    const { version, models, tools: names } = this.ports.agent(agent)
    const { permits } = this.ports
    const asIf = policies && checkPolicies(policies)
    const call = permits.callFor({ agent, version }, asIf)
    const tools = names.map((tool) => {
      const subject = { agent, version, model: '', tenant, tool }
      return { tool, stop: permits.stopOf(subject) ?? null, chain: permits.chainFor(subject, asIf) }
    })
    const budget = tenant === null ? null : permits.budgetOf(tenant, asIf)
    return models.map((model) => {
      const subject = { agent, version, model, tenant }
      return { model, call, tools, budget, stop: permits.stopOf(subject) ?? null, chain: permits.chainFor(subject, asIf) }
    })
  }

  /** What policies say of agents, models, providers and tools that this mesh does not have, and hand tasks to that it does not have. */
  strangersIn(policies: PolicyOptions): readonly PolicyIssue[] {
    return this.ports.strangersIn(checkPolicies(policies))
  }

  /**
   * Reads the file again that the policies were given by. Calls under way go on, calls that wait are looked at again, and
   * what was {@link set} goes before it still. The mesh does so by itself when the file changes.
   *
   * @throws ConfigError that names all that is wrong, each with its line and column; nothing is changed then. Also if there is no file
   */
  load(): Promise<void> {
    return this.ports.load()
  }

  /**
   * Changes the policies of all nodes; null: back to what their code says. Calls under way go on, calls that wait are
   * looked at again. Resolves when every node holds to it, or has made no call since.
   *
   * @throws ConfigError that names what is wrong; nothing is changed then
   */
  async set(policies: PolicyOptions | null, by: { readonly by: string }): Promise<void> {
    author('', by)
    const checked = policies === null ? null : checkPolicies(policies)
    if (checked) this.ports.check(checked)
    await this.change({ type: 'policies.set', policies: checked, by: by.by, at: await this.ports.now() })
  }

  /**
   * Stops all calls of an agent, of a version of one, to a model or provider, or of a tenant, and the external actions of
   * such agents. When it resolves, no node begins another; what is under way is not cut off. Calls that want one are
   * refused as stopped, or fall back to a model that is not.
   */
  async stop(calls: CallsOf, given: { readonly by: string; readonly why: string }): Promise<void> {
    callsOf('', calls)
    who('', given)
    const answer = await this.change({ type: 'calls.stop', stop: { scope: calls.scope, name: calls.name, by: given.by, why: given.why, at: await this.ports.now() } })
    if (!answer.done) throw new ConfigError(`${stopsMax} stops are in force already. Resume some, or stop a provider, an agent or a tenant as a whole.`)
  }

  /** Lets calls that were stopped go on. */
  async resume(calls: CallsOf): Promise<void> {
    callsOf('', calls)
    await this.change({ type: 'calls.resume', scope: calls.scope, name: calls.name })
  }

  /** What is stopped now. */
  async stops(): Promise<readonly Stop[]> {
    await this.ports.permits.refresh()
    return this.ports.permits.stops
  }

  /** Why this node would not begin such a call; undefined if nobody has stopped it. */
  stopOf(subject: PermitSubject): Stop | undefined {
    return this.ports.permits.stopOf(subject)
  }

  private async change(event: PoliciesEvent): Promise<{ readonly done: boolean }> {
    const answer = await this.ports.tell(event)
    await this.ports.permits.refresh()
    // Nobody holds an older view for longer.
    await this.ports.pass(heldMs)
    return answer
  }
}

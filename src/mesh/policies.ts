/**
 * The policies of a mesh in one place: what each call needs a permit of, with its figures. Data that can be read,
 * explained and changed; what decides by it are the charts and the desk.
 *
 * What is said of one by name goes before what is said of `*`, and that before the defaults, figure by figure. Models
 * that answer in this process have no policies by default: there is nobody to spare.
 */
import { z } from 'zod'
import { ConfigError } from '../errors.js'
import { defaultBreaker, type BreakerPolicy } from '../machines/circuit-breaker.machine.js'
import type { BudgetPolicy } from '../machines/budget.machine.js'
import { defaultCallPolicy, type CallPolicy, type FallbackStep } from '../machines/call-policy.js'
import { unbounded, type Amounts } from '../machines/ledger.js'
import { defaultLimit, type LimitPolicy } from '../machines/limiter.machine.js'
import type { PolicyScope } from '../machines/permit.js'
import type { BulkheadPolicy } from './bulkhead-stock.js'
import { digestOf } from './canonical.js'
import type { PermitSubject } from './desk.js'
import { meant } from './nearest.js'
import { given as withoutUndefined } from './options.js'

const whole = (min: number, max: number): z.ZodNumber => z.int().min(min).max(max)
const ms = whole(1, 366 * 86_400_000)
const breaker = z.strictObject({
  windowMs: ms,
  callsMin: whole(1, 100_000),
  failureShare: z.number().gt(0).max(1),
  consecutiveMax: whole(1, 100_000),
  openMs: ms,
  openFactor: z.number().min(1).max(100),
  openMsMax: ms,
  probesMax: whole(1, 1_000),
  successesToClose: whole(1, 1_000),
  probeMs: ms,
  permitsMax: whole(1, 10_000),
  permitMs: ms,
})
const limit = z.strictObject({ requestsMax: whole(1, 1e9).nullable(), tokensMax: whole(1, 1e12).nullable(), windowMs: ms, permitsMax: whole(1, 10_000), permitMs: ms })
const bulkhead = z.strictObject({ workingMax: whole(1, 100_000), waitingMax: whole(0, 1_000_000) })

const wait = whole(0, 86_400_000)
const actorId = z.string().regex(/^[A-Za-z0-9._:-]{1,256}$/, 'expected the name of an agent, [A-Za-z0-9._:-], 1 to 256 bytes')
/** Steps of a fallback path, at most. */
const stepsMax = 8
const fallback = z.union([z.strictObject({ agent: actorId, deadlineMs: ms.optional() }), z.strictObject({ person: z.string().min(1).max(1_000), deadlineMs: ms.optional() })])
/** What calls of an agent hold to by themselves, without a permit. */
const calling = {
  retry: z.strictObject({ attemptsMax: whole(1, 1_000), backoff: z.strictObject({ firstMs: wait, factor: z.number().min(1).max(1_000), maxMs: wait, jitter: z.number().min(0).max(1) }).partial() }).partial().optional(),
  deadlineMs: ms.optional(),
  whenOpen: z.enum(['wait', 'fail']).optional(),
  priority: whole(0, 9).optional(),
  hedge: z.union([z.literal(false), z.strictObject({ afterMs: ms, model: z.enum(['next', 'same']).optional() })]).optional(),
  fallback: z.array(fallback).max(stepsMax).optional(),
}
const share = z.number().gt(0).max(1)
const usd = z.number().min(0).max(1_000_000)
const amount = whole(0, 1e12)
const ceiling = { usd: usd.optional(), tokens: amount.optional(), calls: amount.optional() }
const budget = z.strictObject({
  ...ceiling,
  per: z.enum(['day', 'month', 'all']).optional(),
  perRun: z.strictObject(ceiling).optional(),
  whenSpent: z.enum(['refuse', 'wait']).optional(),
  waitMs: ms.optional(),
  warnAt: z.array(share).max(20).optional(),
})

const off = z.literal(false)
const limited = { limit: z.union([off, limit.partial()]).optional() }
const scoped = { ...limited, bulkhead: z.union([off, bulkhead.partial()]).optional() }
const guarded = { ...scoped, breaker: z.union([off, breaker.partial()]).optional() }
const named = <T extends z.ZodType>(name: RegExp, expected: string, one: T): z.ZodOptional<z.ZodRecord<z.ZodString, T>> => z.record(z.string().regex(name, `expected ${expected}`), one).optional()
/** A name that could be nobody's would hold for nobody. */
const policies = z.strictObject({
  /** For editors. */
  $schema: z.string().optional(),
  providers: named(/^(?:\*|[A-Za-z0-9._:-]{1,256})$/, 'the name of a provider, or *', z.strictObject(limited)),
  models: named(/^(?:\*|[A-Za-z0-9._:-]{1,256}\/(?:\*|[A-Za-z0-9._:-]{1,256}))$/, 'provider/model, provider/*, or *', z.strictObject(guarded)),
  agents: named(/^(?:\*|[A-Za-z0-9._:-]{1,256}(?:@[A-Za-z0-9._:-]{1,256})?)$/, 'the name of an agent, name@version, or *', z.strictObject({ ...guarded, ...calling })),
  tenants: named(/^(?:\*|[A-Za-z0-9._:-]{1,256})$/, 'the name of a tenant, or *', z.strictObject({ ...scoped, budget: z.union([off, budget]).optional() })),
  tools: named(/^(?:\*|[A-Za-z0-9._:-]{1,256})$/, 'the name of a tool, or *', z.strictObject(scoped)),
})
export { policies as policySchema }

/**
 * Policies by what they are about: providers, one for each key, by name; models by full name, `anthropic/claude-opus-5-5`, or all of a provider's, `anthropic/*`;
 * agents by name, or one version of one, `researcher@2`; tools that agents are given, by name; `*` for all others. `false` turns one off. Plain JSON.
 */
export type PolicyOptions = z.input<typeof policies>

/** Something that is wrong with policies. */
export interface PolicyIssue {
  readonly path: readonly PropertyKey[]
  /** What was expected there, and what was found. */
  readonly message: string
}

/** @throws ConfigError that names each value that is wrong, where it stands and what it may be */
export function checkPolicies(given: unknown): PolicyOptions {
  const issues = issuesIn(given)
  if (issues.length > 0) throw new ConfigError(`policies: ${issues.slice(0, 5).map(({ path, message }) => `${path.map(String).join('.')}: ${message}`).join('; ')}.`)
  // What is changed in the object that was given changes nothing here.
  return policies.parse(given)
}

/** All that is wrong with what should be policies. */
export function issuesIn(given: unknown): readonly PolicyIssue[] {
  const result = policies.safeParse(given)
  if (!result.success) return result.error.issues.flatMap((issue) => issuesOf(issue, given))
  return (['models', 'agents'] as const).flatMap((scope) =>
    Object.entries(result.data[scope] ?? {}).flatMap(([name, { breaker: figures }]) => {
      if (!figures) return []
      const { successesToClose, probesMax } = { ...breakerDefaults(scope), ...withoutUndefined(figures) } as BreakerPolicy
      return successesToClose <= probesMax ? [] : [{ path: [scope, name, 'breaker', 'successesToClose'], message: `expected at most probesMax, which is ${probesMax}, got ${successesToClose}; it would never close` }]
    }),
  )
}

/** Of a union, what is wrong with the shape that comes nearest. */
function issuesOf(issue: z.core.$ZodIssue, given: unknown, at: readonly PropertyKey[] = []): PolicyIssue[] {
  const path = [...at, ...issue.path]
  const found = valueAt(given, path)
  switch (issue.code) {
    case 'invalid_union': {
      const [nearest = []] = issue.errors.toSorted((a, b) => nearness(b) - nearness(a) || a.length - b.length)
      // With a name put right, what is missing is there.
      const strange = nearest.filter(({ code }) => code === 'unrecognized_keys')
      if (nearness(nearest) > 0) return (strange.length > 0 ? strange : nearest).flatMap((one) => issuesOf(one, given, path))
      const isStep = path.at(-2) === 'fallback'
      return [{ path, message: `expected ${isStep ? '{ "agent": name } or { "person": why }, each with a deadlineMs if need be' : 'its figures or false'}, got ${shown(found)}` }]
    }
    case 'unrecognized_keys': {
      const known = keysAt(path)
      return issue.keys.map((key) => ({ path: [...path, key], message: `there is no such policy or figure${meant(key, known)} (there are: ${known.join(', ')})` }))
    }
    case 'invalid_key':
      return [{ path, message: `${issue.issues[0]?.message ?? 'expected another name'}, got ${shown(path.at(-1))}` }]
    default:
      return [{ path, message: `${issue.message.charAt(0).toLowerCase()}${issue.message.slice(1)}, got ${shown(found)}` }]
  }
}

/** How much of the shape is there: what goes wrong deeper inside came nearer, and one key too many is nearer than one that is missing. */
function nearness(issues: readonly z.core.$ZodIssue[]): number {
  return Math.max(0, ...issues.map(({ path, code }) => path.length + (code === 'unrecognized_keys' ? 1 : 0)))
}

function valueAt(given: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((value, key) => (typeof value === 'object' && value !== null && Object.hasOwn(value, key) ? (value as Record<PropertyKey, unknown>)[key] : undefined), given)
}

function shown(value: unknown): string {
  if (value === undefined) return 'nothing'
  const text = JSON.stringify(value) ?? typeof value
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}

interface Shape {
  readonly properties?: Readonly<Record<string, Shape>>
  readonly additionalProperties?: Shape | boolean
  readonly items?: Shape
  readonly anyOf?: readonly Shape[]
}

/** What an object may hold that stands at a path. */
function keysAt(path: readonly PropertyKey[]): string[] {
  let shapes: Shape[] = [z.toJSONSchema(policies, { io: 'input' }) as Shape]
  const alternatives = (): Shape[] => shapes.flatMap((shape) => [shape, ...(shape.anyOf ?? [])])
  for (const key of path) {
    shapes = alternatives().flatMap(({ properties, additionalProperties, items }) => [properties?.[String(key)], typeof additionalProperties === 'object' ? additionalProperties : undefined, items].filter((one) => one !== undefined).slice(0, 1))
  }
  return [...new Set(alternatives().flatMap(({ properties = {} }) => Object.keys(properties)))].filter((key) => key !== '$schema')
}

/** An answer is judged late, by a verifier or a person, and one bad answer says less than one dead connection. */
const semanticBreaker: BreakerPolicy = { ...defaultBreaker, windowMs: 1_800_000, callsMin: 10, failureShare: 0.6, consecutiveMax: 6, openMs: 120_000, openMsMax: 3_600_000, probeMs: 3_600_000 }

function breakerDefaults(scope: 'models' | 'agents'): BreakerPolicy {
  return scope === 'models' ? defaultBreaker : semanticBreaker
}

const defaultBulkhead: BulkheadPolicy = { workingMax: 64, waitingMax: 1_000 }

/** One policy as it applies, with all its figures. */
export type EffectivePolicy =
  | { readonly kind: 'breaker'; readonly scope: PolicyScope; readonly name: string; readonly address: string; readonly isSemantic: boolean; readonly figures: BreakerPolicy; readonly from: string }
  | { readonly kind: 'limit'; readonly scope: PolicyScope; readonly name: string; readonly address: string; readonly figures: LimitPolicy; readonly from: string }
  | { readonly kind: 'bulkhead'; readonly scope: PolicyScope; readonly name: string; readonly figures: BulkheadPolicy; readonly from: string }

/** The policies that apply to a call, in the order in which they are asked. */
export function policiesFor(options: PolicyOptions, { agent, version, model, tenant, tool }: PermitSubject, isLocal: boolean): readonly EffectivePolicy[] {
  if (tool !== undefined) {
    const ofTool = layers(options.tools, [tool, '*'])
    return [...bulkheadOf('tool', tool, ofTool, null), ...limitOf('tool', tool, ofTool, null)]
  }
  const provider = model.slice(0, model.indexOf('/'))
  const ofModel = layers(options.models, [model, `${provider}/*`, '*'])
  const ofAgent = layers(options.agents, [`${agent}@${version}`, agent, '*'])
  const ofTenant = tenant === null ? [] : layers(options.tenants, [tenant, '*'])
  return [
    ...bulkheadOf('agent', agent, ofAgent, null),
    ...bulkheadOf('model', model, ofModel, isLocal ? null : defaultBulkhead),
    ...(tenant === null ? [] : bulkheadOf('tenant', tenant, ofTenant, null)),
    ...limitOf('provider', provider, layers(options.providers, [provider, '*']), isLocal ? null : defaultLimit),
    ...limitOf('model', model, ofModel, null),
    ...limitOf('agent', agent, ofAgent, null),
    ...(tenant === null ? [] : limitOf('tenant', tenant, ofTenant, null)),
    ...breakerOf('model', model, ofModel, isLocal ? null : breakerDefaults('models'), defaultBreaker),
    ...breakerOf('version', `${agent}@${version}`, ofAgent, isLocal ? null : breakerDefaults('agents'), semanticBreaker),
  ]
}

/** How hard the calls of an agent try, and where each figure was said: a name of the policies, or `default`. */
export interface EffectiveCall {
  readonly figures: CallPolicy
  readonly from: Readonly<Record<keyof CallPolicy, string>>
}

const hourMs = 3_600_000
/** How long each is waited for, ms, unless the step says so. */
const stepDeadlineMs = { agent: hourMs, person: 7 * 24 * hourMs }

/** What calls of an agent's version hold to when they begin. */
export function callPolicyFor(options: PolicyOptions, agent: string, version: string): EffectiveCall {
  let figures = defaultCallPolicy
  const from = Object.fromEntries(Object.keys(figures).map((figure) => [figure, 'default'])) as Record<keyof CallPolicy, string>
  for (const layer of layers(options.agents, [`${agent}@${version}`, agent, '*'])) {
    const { retry: { attemptsMax, backoff } = {}, deadlineMs, whenOpen, priority, hedge, fallback } = layer.given
    const said = withoutUndefined({ attemptsMax, deadlineMs, whenOpen, priority, backoff: backoff && { ...figures.backoff, ...withoutUndefined(backoff) }, hedge: hedge === false ? null : hedge && { afterMs: hedge.afterMs, model: hedge.model ?? 'next' }, fallback: fallback && pathOf(fallback, agent) }) as Partial<CallPolicy>
    for (const figure of Object.keys(said)) from[figure as keyof CallPolicy] = layer.from
    figures = { ...figures, ...said }
  }
  return { figures, from }
}

/** Nobody stands in for himself. */
function pathOf(path: readonly z.input<typeof fallback>[], agent: string): readonly FallbackStep[] {
  return path.flatMap((step): FallbackStep[] => {
    if ('person' in step) return [{ person: step.person, deadlineMs: step.deadlineMs ?? stepDeadlineMs.person }]
    return step.agent === agent ? [] : [{ agent: step.agent, deadlineMs: step.deadlineMs ?? stepDeadlineMs.agent }]
  })
}

/** Names of all agents that policies hand tasks to, with where they are said. */
export function substitutesIn({ agents = {} }: PolicyOptions): readonly { readonly agent: string; readonly at: readonly string[] }[] {
  return Object.entries(agents).flatMap(([name, { fallback: path = [] }]) => path.flatMap((step, i) => ('agent' in step ? [{ agent: step.agent, at: ['agents', name, 'fallback', String(i), 'agent'] }] : [])))
}

/** What policies say of agents, models, providers and tools that are not among these. */
export function strangersIn({ providers = {}, models = {}, agents = {}, tools = {} }: PolicyOptions, known: { readonly agents: readonly string[]; readonly models: readonly string[]; readonly tools: readonly string[] }): PolicyIssue[] {
  const providersKnown = [...new Set(known.models.map((model) => model.slice(0, model.indexOf('/'))))]
  const strange = (scope: string, what: string, name: string, wanted: string, there: readonly string[]): PolicyIssue[] =>
    wanted === '*' || there.includes(wanted) ? [] : [{ path: [scope, name], message: `this mesh has no ${what} "${wanted}"${meant(wanted, there)} (it has: ${there.join(', ') || 'none'})` }]
  return [
    ...Object.keys(providers).flatMap((name) => strange('providers', 'provider', name, name, providersKnown)),
    ...Object.keys(models).flatMap((name) => (name.endsWith('/*') ? strange('models', 'provider', name, name.slice(0, -2), providersKnown) : strange('models', 'model', name, name, known.models))),
    ...Object.keys(agents).flatMap((name) => strange('agents', 'agent', name, name.replace(/@.*$/, ''), known.agents)),
    ...Object.keys(tools).flatMap((name) => strange('tools', 'tool', name, name, known.tools)),
  ]
}
const amountsOf = ({ usd: dollars, tokens, calls }: { readonly usd?: number | undefined; readonly tokens?: number | undefined; readonly calls?: number | undefined }, other: (kind: keyof Amounts) => number): Amounts => ({
  nanoDollars: dollars === undefined ? other('nanoDollars') : Math.floor(dollars * 1e9),
  tokens: tokens ?? other('tokens'),
  calls: calls ?? other('calls'),
})

/** The budget of a tenant, with all figures; null if it has none. */
export function budgetFor(options: PolicyOptions, tenant: string): BudgetPolicy | null {
  const found = merged<BudgetFigures>(pick(layers(options.tenants, [tenant, '*']), 'budget'), null, {})
  if (!found) return null
  const { per = 'all', whenSpent = 'refuse', waitMs = 86_400_000, warnAt = [0.5, 0.8, 0.95], perRun = {}, ...figures } = found.figures
  const limits = amountsOf(figures, (kind) => unbounded[kind])
  return { limits, per, whenSpent, waitMs, warnAt, perRun: amountsOf(perRun, (kind) => Math.ceil(limits[kind] / 10)) }
}

type BudgetFigures = z.input<typeof budget>

type Some<T> = { readonly [K in keyof T]?: T[K] | undefined }

interface Layer<T> {
  readonly from: string
  readonly given: T
}

/** What is said of these names, the first of them last. */
function layers<T>(all: Readonly<Record<string, T>> | undefined, names: readonly string[]): readonly Layer<T>[] {
  return names.toReversed().flatMap((name) => (all && Object.hasOwn(all, name) ? [{ from: name, given: all[name]! }] : []))
}

/**
 * Figures of all layers together; undefined if it is off.
 *
 * @param first what holds without a word; null: nothing, but what is said stands on `base`
 */
function merged<T extends object>(of: readonly Layer<Some<T> | false | undefined>[], first: T | null, base: T): { readonly figures: T; readonly from: string } | undefined {
  let figures: T | null = first
  let from = 'default'
  for (const layer of of) {
    if (layer.given === undefined) continue
    from = layer.from
    figures = layer.given === false ? null : { ...(figures ?? base), ...withoutUndefined(layer.given) }
  }
  return figures === null ? undefined : { figures, from }
}

const pick = <T, K extends keyof T>(of: readonly Layer<T>[], key: K): readonly Layer<T[K]>[] => of.map(({ from, given }) => ({ from, given: given[key] }))

interface Guarded {
  readonly breaker?: Some<BreakerPolicy> | false | undefined
  readonly bulkhead?: Some<BulkheadPolicy> | false | undefined
  readonly limit?: Some<LimitPolicy> | false | undefined
}

function breakerOf(scope: 'model' | 'version', name: string, of: readonly Layer<Guarded>[], first: BreakerPolicy | null, base: BreakerPolicy): EffectivePolicy[] {
  const found = merged<BreakerPolicy>(pick(of, 'breaker'), first, base)
  return found ? [{ kind: 'breaker', scope, name, address: `circuitBreaker/${policyKey(scope, name)}`, isSemantic: scope === 'version', ...found }] : []
}

function limitOf(scope: PolicyScope, name: string, of: readonly Layer<Pick<Guarded, 'limit'>>[], first: LimitPolicy | null): EffectivePolicy[] {
  const found = merged<LimitPolicy>(pick(of, 'limit'), first, defaultLimit)
  return found ? [{ kind: 'limit', scope, name, address: `limiter/${policyKey(scope, name)}`, ...found }] : []
}

function bulkheadOf(scope: PolicyScope, name: string, of: readonly Layer<Pick<Guarded, 'bulkhead'>>[], first: BulkheadPolicy | null): EffectivePolicy[] {
  const found = merged<BulkheadPolicy>(pick(of, 'bulkhead'), first, defaultBulkhead)
  return found ? [{ kind: 'bulkhead', scope, name, ...found }] : []
}

/** Of the actor that keeps it: as it reads, where that is a key. */
function policyKey(scope: PolicyScope, name: string): string {
  const key = `${scope}:${name.replace('/', ':').replace('@', ':')}`
  return /^[A-Za-z0-9._:-]{1,256}$/.test(key) && !name.includes(':') ? key : `${scope}:${digestOf(name)}`
}

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
import { unbounded, type Amounts } from '../machines/ledger.js'
import { defaultLimit, type LimitPolicy } from '../machines/limiter.machine.js'
import type { PolicyScope } from '../machines/permit.js'
import type { BulkheadPolicy } from './bulkhead-stock.js'
import { digestOf } from './canonical.js'
import type { PermitSubject } from './desk.js'
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
const named = <T extends z.ZodType>(one: T): z.ZodOptional<z.ZodRecord<z.ZodString, T>> => z.record(z.string().min(1).max(520), one).optional()
const policies = z.strictObject({
  providers: named(z.strictObject(limited)),
  models: named(z.strictObject(guarded)),
  agents: named(z.strictObject(guarded)),
  tenants: named(z.strictObject({ ...scoped, budget: z.union([off, budget]).optional() })),
})

/**
 * Policies by what they are about: providers, one for each key, by name; models by full name, `anthropic/claude-opus-5-5`, or all of a provider's, `anthropic/*`;
 * agents by name, or one version of one, `researcher@2`; `*` for all others. `false` turns one off. Plain JSON.
 */
export type PolicyOptions = z.input<typeof policies>

/** @throws ConfigError that names each value that is wrong, where it stands and what it may be */
export function checkPolicies(given: unknown): PolicyOptions {
  const result = policies.safeParse(given)
  if (!result.success) {
    const issues = result.error.issues.flatMap((issue) => pathsOf(issue)).slice(0, 5)
    throw new ConfigError(`policies: ${issues.join('; ')}.`)
  }
  for (const scope of ['models', 'agents'] as const) {
    for (const [name, { breaker: figures }] of Object.entries(result.data[scope] ?? {})) {
      if (!figures) continue
      const { successesToClose, probesMax } = { ...breakerDefaults(scope), ...withoutUndefined(figures) } as BreakerPolicy
      if (successesToClose > probesMax) throw new ConfigError(`policies: ${scope}.${name}.breaker.successesToClose: expected at most probesMax, which is ${probesMax}, got ${successesToClose}; it would never close.`)
    }
  }
  return result.data
}

/** Of a union, what is wrong with the shape that comes nearest. */
function pathsOf(issue: z.core.$ZodIssue, at: readonly PropertyKey[] = []): string[] {
  const path = [...at, ...issue.path]
  if (issue.code === 'invalid_union') {
    const nearest = issue.errors.reduce<readonly z.core.$ZodIssue[]>((best, one) => (depthOf(one) > depthOf(best) ? one : best), issue.errors[0] ?? [])
    if (depthOf(nearest) > 0) return nearest.flatMap((one) => pathsOf(one, path))
    return [`${path.map(String).join('.')}: expected its figures or false`]
  }
  if (issue.code === 'unrecognized_keys') return [`${[...path, issue.keys[0]!].map(String).join('.')}: there is no such policy or figure`]
  return [`${path.map(String).join('.')}: ${issue.message.charAt(0).toLowerCase()}${issue.message.slice(1)}`]
}

const depthOf = (issues: readonly z.core.$ZodIssue[]): number => Math.max(0, ...issues.map(({ path, code }) => path.length + (code === 'unrecognized_keys' ? 1 : 0)))

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
export function policiesFor(options: PolicyOptions, { agent, version, model, tenant }: PermitSubject, isLocal: boolean): readonly EffectivePolicy[] {
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

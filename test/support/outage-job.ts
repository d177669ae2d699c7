/** What runs while the provider is out of order: three kinds of one job, which differ in what they do about it. All times are divided by `scale`. */
import { z } from 'zod'
import { anthropic } from '../../src/adapters/anthropic/index.js'
import { redisStore } from '../../src/adapters/redis/index.js'
import { createMesh, defineAgent, defineRun, modelOf, type Mesh, type ModelRef, type PolicyOptions, type RunDefinition } from '../../src/index.js'
import { defaultBackoff } from '../../src/machines/backoff.js'
import { defaultBreaker } from '../../src/machines/circuit-breaker.machine.js'
import { defaultLimit } from '../../src/machines/limiter.machine.js'

/** What its calls do while the circuit breaker of their model is open: wait, ask another provider's model, or fail at once. */
export const kinds = ['patient', 'fallback', 'impatient'] as const
export type Kind = (typeof kinds)[number]

export const opus = 'anthropic/claude-opus-4-6'
export const backup = 'backup/claude-opus-4-6'

export interface OutageMesh {
  readonly redis: string
  readonly namespace: string
  readonly baseURL: string
  readonly backupURL: string
  /** How many times faster than in life everything goes. */
  readonly scale: number
}

export const apiKey = 'sk-ant-outage'
export const nodes = ['one', 'two'] as const
/** Calls in flight on each node: the default, and named because the figures are measured by it. */
export const workingMax = 64

/** Steps of each run. */
export const steps = 3
/** How long one attempt may take, ms before they are divided. */
const attemptMs = 60_000
const callMs = 30 * 60_000

/** The agents that do not wait for a circuit breaker. */
export const impatient = Object.fromEntries(['planner', 'worker', 'writer'].map((role) => [`impatient-${role}`, { whenOpen: 'fail' as const }]))

/** What policies of models are by default, at that scale. */
export function policiesAt(scale: number): PolicyOptions {
  const { windowMs, openMs, openMsMax, probeMs, permitMs } = defaultBreaker
  const breaker = { windowMs: windowMs / scale, openMs: openMs / scale, openMsMax: openMsMax / scale, probeMs: probeMs / scale, permitMs: permitMs / scale }
  const limit = { windowMs: defaultLimit.windowMs / scale, permitMs: defaultLimit.permitMs / scale }
  const all = { retry: { backoff: { firstMs: defaultBackoff.firstMs / scale, maxMs: defaultBackoff.maxMs / scale } }, deadlineMs: callMs / scale }
  return { models: { '*': { breaker, bulkhead: { workingMax } } }, providers: { '*': { limit } }, agents: { '*': all, ...impatient } }
}

export function jobs({ baseURL, backupURL, scale }: Pick<OutageMesh, 'baseURL' | 'backupURL' | 'scale'>): Readonly<Record<Kind, RunDefinition>> {
  const timeoutMs = attemptMs / scale
  const first = modelOf(anthropic({ baseURL, apiKey, timeoutMs }), 'claude-opus-4-6')
  const second = modelOf({ ...anthropic({ baseURL: backupURL, apiKey, timeoutMs }), provider: 'backup' }, 'claude-opus-4-6', { input: 5, output: 25 })
  return jobsOf(first, second)
}

export function jobsOf(first: ModelRef, second: ModelRef): Readonly<Record<Kind, RunDefinition>> {
  return { patient: job('patient', [first]), fallback: job('fallback', [first, second]), impatient: job('impatient', [first]) }
}

function job(kind: Kind, model: readonly ModelRef[]): RunDefinition {
  const agent = <T>(name: string, output: z.ZodType<T>) =>
    defineAgent({
      name: `${kind}-${name}`,
      input: z.looseObject({}),
      output,
      model,
      prompt: ({ input }) => ({ system: name, messages: [{ role: 'user', content: JSON.stringify(input) }] }),
      completionTokensMax: 400,
    })
  return defineRun({
    name: kind,
    crew: { planner: agent('planner', z.object({ steps: z.array(z.object({ q: z.string() })) })), worker: agent('worker', z.object({ claim: z.string() })), writer: agent('writer', z.object({ text: z.string() })) },
    stepsMax: steps,
    replansMax: 0,
  })
}

/** @param commandDeadlineMs how long the store may take to answer; default as by default */
export function meshOf(given: OutageMesh, node: string, commandDeadlineMs?: number): { readonly mesh: Mesh; readonly jobs: Readonly<Record<Kind, RunDefinition>> } {
  const all = jobs(given)
  return { jobs: all, mesh: createMesh({ store: redisStore(given.redis, commandDeadlineMs === undefined ? {} : { commandDeadlineMs }), namespace: given.namespace, node: { id: node }, runs: Object.values(all), policies: policiesAt(given.scale), leaseMs: 2_000 }) }
}

// ── What the provider answers, so that a result that belongs to another call would be seen ──

export const goalOf = (run: string): string => `What is there to say of ${run}?`
const claimOf = (q: string): string => `There is ${q.split('').reduce((sum, char) => (sum * 31 + char.charCodeAt(0)) % 1_000_003, 7)} to say of ${q}`

/** What a sound model says to a prompt of such an agent. */
export function answerTo(agent: string, prompt: string): unknown {
  const input = JSON.parse(prompt) as { readonly question: string; readonly task: { readonly q: string }; readonly steps: readonly { readonly output: { readonly claim: string } }[] }
  if (agent === 'planner') return { steps: Array.from({ length: steps }, (_, i) => ({ q: `part ${i + 1} of: ${input.question}` })) }
  if (agent === 'worker') return { claim: claimOf(input.task.q) }
  return { text: input.steps.map(({ output: { claim } }) => claim).join('. ') }
}

/** What the run's report says if nothing was left unanswered. */
export function reportOf(run: string): string {
  return Array.from({ length: steps }, (_, i) => claimOf(`part ${i + 1} of: ${goalOf(run)}`)).join('. ')
}

/**
 * An outage of a model's provider, in real processes: the provider in one, two nodes in two more, a Redis that they share,
 * and 200 runs that go on meanwhile. What it shows is put together from what the provider says it received, and from
 * what the mesh says came of each run.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Amounts, RunStatus, TraceRecord } from '../../src/index.js'
import type { BreakerContext } from '../../src/machines/circuit-breaker.machine.js'
import { goalOf, kinds, meshOf, nodes, opus, reportOf, workingMax, type Kind, type OutageMesh } from './outage-job.js'
import type { RedisServer } from './redis-server.js'
import { runScript, type RunningScript } from './run-script.js'

export const troubles = ['429 with retry-after', '429 without', '5xx', '529', 'hangs', 'garbage', 'cut streams'] as const
export type Trouble = (typeof troubles)[number]

export interface Phase {
  readonly trouble: Trouble
  readonly ms: number
}

/** What the provider is told, ms as they pass. */
export interface OutageScript {
  readonly phases: readonly Phase[]
  readonly beginsAfter: number
  readonly beginsWith: number
  readonly retryAfterMs: number
}

/** In life, ms. */
const retryAfterMs = 20_000

/** What the provider received. Times are its own, ms. */
export interface Received {
  readonly provider: 'anthropic' | 'backup'
  readonly at: number
  /** null: not yet. */
  endedAt: number | null
  /** What it met; null: it was answered. */
  met: Trouble | null
  /** Tokens that the provider charges for. */
  billed: { readonly input: number; readonly output: number } | null
}

export interface ProviderSays {
  readonly received: readonly Received[]
  readonly phases: readonly { readonly trouble: Trouble; readonly from: number; readonly to: number }[]
}

export interface OutageOptions {
  readonly runs: Readonly<Record<Kind, number>>
  /** How many times faster than in life: of times in this file and in the policies. */
  readonly scale: number
  /** In life, ms. */
  readonly phases: readonly Phase[]
  /** What a sound answer takes, in life, ms. */
  readonly answerMs: readonly [from: number, to: number]
  /** How many requests have been answered when it begins, and how many are in flight, both at least. */
  readonly beginsAfter: number
  readonly beginsWith: number
  /** How long after its beginning one of the nodes is killed, and another one started, in life, ms. Default: none is. */
  readonly killsAfterMs?: number
  readonly seed: number
}

export interface OutageRecord extends ProviderSays {
  readonly options: OutageOptions
  readonly runs: readonly { readonly id: string; readonly kind: Kind; readonly status: RunStatus; readonly trace: readonly TraceRecord[] }[]
  /** Of the model whose provider had the outage, as it stood when that was over. */
  readonly breaker: BreakerContext
}

let namespaces = 0

/** @throws Error if a process dies, or if a run does not end */
export async function playOutage(redis: RedisServer, options: OutageOptions): Promise<OutageRecord> {
  const { scale, seed, answerMs, phases, runs, beginsAfter, beginsWith, killsAfterMs } = options
  const ends: (() => unknown)[] = []
  try {
    const provider = await runScript('test/support/outage-provider.script.ts', [String(seed), ...answerMs.map((ms) => String(ms / scale))])
    ends.push(() => provider.kill('SIGKILL'))
    const lines = provider.lines
    const [baseURL, backupURL] = JSON.parse((await lines.next()).value as string) as [string, string]
    const given: OutageMesh = { redis: redis.url, namespace: `outage-${process.pid}-${namespaces++}`, baseURL, backupURL, scale }
    const join = async (name: string): Promise<RunningScript> => {
      const node = await runScript('test/support/outage-node.script.ts', [JSON.stringify(given), name])
      ends.push(() => node.kill('SIGKILL'))
      await started(node)
      return node
    }
    const processes = await Promise.all(nodes.map(join))
    // It looks on, beside the provider's witness: a machine that is busy is not to end that.
    const { mesh, jobs } = meshOf(given, 'client', 60_000)
    await mesh.startAsClient()
    ends.push(() => mesh.stop())
    const all = kinds.flatMap((kind) => Array.from({ length: runs[kind] }, (_, i) => ({ id: `${kind}-${i}`, kind })))
    const handles = await Promise.all(all.map(({ id, kind }) => mesh.run(jobs[kind], { id, goal: goalOf(id), ceiling: { usd: 5, tokens: 1_000_000 } })))
    const script: OutageScript = { phases: phases.map(({ trouble, ms }) => ({ trouble, ms: ms / scale })), beginsAfter, beginsWith, retryAfterMs: retryAfterMs / scale }
    provider.send(`begin ${JSON.stringify(script)}`)
    if ((await lines.next()).value === 'began' && killsAfterMs !== undefined) {
      await sleep(killsAfterMs / scale)
      processes.pop()!.kill('SIGKILL')
      processes.push(await join('three'))
    }
    if ((await lines.next()).value !== 'over') throw new Error(`The provider died: ${(await provider.exited).stderr}`)
    const breaker = (await mesh.system.actorAt(`circuitBreaker/model:${opus.replace('/', ':')}` as never).snapshot()) as unknown as { context: BreakerContext }
    const dead = Promise.race(processes.map(async (node) => Promise.reject(new Error(`A node died: ${(await node.exited).stderr}`))))
    dead.catch(() => {})
    await Promise.race([Promise.all(handles.map((handle) => handle.output({ deadlineMs: (3_600_000 + 60_000 * scale) / scale }))), dead])
    provider.send('tell')
    const says = JSON.parse((await lines.next()).value as string) as ProviderSays
    const told = await Promise.all(handles.map(async (handle, i) => ({ ...all[i]!, status: (await handle.status())!, trace: await handle.trace() })))
    await mesh.stop()
    for (const node of processes) node.kill('SIGTERM')
    for (const node of processes) if ((await node.exited).code !== 0) throw new Error(`A node did not stop cleanly: ${(await node.exited).stderr}`)
    return { ...says, options, runs: told, breaker: breaker.context }
  } finally {
    for (const end of ends.reverse()) await end()
  }
}

async function started(node: RunningScript): Promise<void> {
  for await (const line of node.lines) if (line === 'started') return
  throw new Error(`A node did not start: ${(await node.exited).stderr}`)
}

// ── What it shows ──

export interface OutageFigures {
  /** Requests that were being answered when it began. */
  readonly inFlight: number
  /** Requests that came while it lasted, how many of them were probes of the breaker, and how many followed a pause that the provider had asked for. */
  readonly during: number
  readonly probes: number
  readonly afterPauses: number
  /** Most requests in flight before, and after. */
  readonly inFlightBefore: number
  readonly inFlightAfter: number
  /** From the end of the outage to the first answer, and until as much was in flight again as three quarters of what had been, in life, ms; null: there was no need. */
  readonly firstAnswerMs: number | null
  readonly recoveredMs: number | null
  /** Runs with the right result, and with a typed outcome instead; by kind. */
  readonly right: Readonly<Record<Kind, number>>
  readonly typed: Readonly<Record<Kind, number>>
  /** Nano-dollars that the ledgers charged for attempts that failed, and that the provider charges for them. */
  readonly charged: number
  readonly billed: number
  readonly restarts: number
}

const permitsMax = 10
const price = ({ input, output }: { readonly input: number; readonly output: number }): number => input * 5_000 + output * 25_000
const reached = ({ cost }: TraceRecord): boolean => cost === null || cost.calls > 0
const isRight = ({ id, status }: OutageRecord['runs'][number]): boolean => status.state === 'done' && status.unanswered.length === 0 && (status.report as { text: string } | null)?.text === reportOf(id)
/** It says which step or role had no answer, and why. */
const isTyped = ({ status: { state, failure, unanswered } }: OutageRecord['runs'][number]): boolean =>
  (state === 'failed' && ['plan', 'report'].includes(failure?.reason ?? '')) || (state === 'done' && unanswered.length > 0 && unanswered.every(({ reason }) => reason !== ''))

/** The requests to the provider that had the outage, before, during and after it. */
function partsOf({ received, phases }: ProviderSays): { readonly from: number; readonly to: number; readonly all: readonly Received[]; readonly during: readonly Received[]; readonly after: readonly Received[] } {
  const from = phases[0]!.from
  const to = phases.at(-1)!.to
  const all = received.filter(({ provider }) => provider === 'anthropic')
  return { from, to, all, during: all.filter(({ at }) => at >= from && at < to), after: all.filter(({ at }) => at >= to) }
}

function inFlightAt(all: readonly Received[], time: number): number {
  return all.filter(({ at, endedAt }) => at <= time && (endedAt ?? Infinity) > time).length
}

export function figuresOf(record: OutageRecord): OutageFigures {
  const { breaker, runs, options, received } = record
  const { from, to, all, during, after } = partsOf(record)
  const count = (which: (run: OutageRecord['runs'][number]) => boolean): Record<Kind, number> => Object.fromEntries(kinds.map((kind) => [kind, runs.filter((run) => run.kind === kind && which(run)).length])) as Record<Kind, number>
  const inFlightBefore = Math.max(...all.filter(({ at }) => at < from).map(({ at }) => inFlightAt(all, at)))
  const answered = after.flatMap(({ met, endedAt }) => (met === null && endedAt !== null ? [endedAt] : []))
  const back = after.find(({ at }) => inFlightAt(all, at) >= 0.75 * inFlightBefore)
  const failed = runs.flatMap(({ trace }) => trace.filter((one) => one.error !== null && reached(one)))
  return {
    inFlight: inFlightAt(all, from),
    during: during.length,
    probes: breaker.nextProbe - 1,
    afterPauses: pausesOf(record).reduce((sum, at, i, ends) => sum + Math.min(2, during.filter((one) => one.at > at && one.at < (ends[i + 1] ?? Infinity)).length), 0),
    inFlightBefore,
    inFlightAfter: Math.max(0, ...after.map(({ at }) => inFlightAt(all, at))),
    firstAnswerMs: answered.length === 0 ? null : (Math.min(...answered) - to) * options.scale,
    recoveredMs: back === undefined ? null : (back.at - to) * options.scale,
    right: count(isRight),
    typed: count((run) => !isRight(run) && isTyped(run)),
    charged: failed.reduce((sum, { cost, reserved }) => sum + (cost ?? reserved).nanoDollars, 0),
    billed: received.reduce((sum, { met, billed }) => sum + (met !== null && billed ? price(billed) : 0), 0),
    restarts: runs.reduce((sum, { status }) => sum + status.members.reduce((all_, { restarts }) => all_ + restarts, 0), 0),
  }
}

/** When each pause that the provider asked for was over, at the earliest: its own clock. Those that overlap are one. */
function pausesOf(record: OutageRecord): number[] {
  const { all } = partsOf(record)
  const ends = all.flatMap(({ met, endedAt }) => (met === '429 with retry-after' && endedAt !== null ? [endedAt + retryAfterMs / record.options.scale] : [])).sort((a, b) => a - b)
  return ends.filter((end, i) => (ends[i + 1] ?? Infinity) - end > retryAfterMs / record.options.scale / 2)
}

/** What ought to be so, and is not. */
export function violations(record: OutageRecord): string[] {
  const { runs, options, phases, breaker, received } = record
  const figures = figuresOf(record)
  const wrong: string[] = []
  const holds = (is: boolean, what: string): void => void (is || wrong.push(what))

  // No run is lost, and each of those that wait or have another model has the right result.
  for (const run of runs) {
    const { id, kind, status } = run
    holds(isRight(run) || (isTyped(run) && kind === 'impatient'), `run ${id} is ${status.state}: ${JSON.stringify(status.failure ?? status.unanswered)}`)
    holds(status.members.every(({ restarts }) => restarts === 0), `run ${id} had agents restarted`)
    // Money: what each attempt cost or may have cost, nothing else, and never more than there was.
    const paid = run.trace.reduce<Amounts>((sum, { cost, reserved }) => add(sum, cost ?? reserved), { tokens: 0, calls: 0, nanoDollars: 0 })
    holds(JSON.stringify(paid) === JSON.stringify({ tokens: status.spent.tokens, calls: status.spent.calls, nanoDollars: status.spent.nanoDollars }), `run ${id} spent ${JSON.stringify(status.spent)}, its attempts cost ${JSON.stringify(paid)}`)
    holds(status.overrun.nanoDollars === 0 && status.overrun.tokens === 0, `run ${id} spent more than was held`)
  }
  const calls = runs.reduce((sum, { status }) => sum + status.spent.calls, 0)
  // What a kill cut off is on record, whether it had reached anybody or not.
  holds(options.killsAfterMs === undefined ? calls === received.length : calls >= received.length && calls <= received.length + workingMax, `${calls} attempts are on record, the providers received ${received.length}`)
  holds(figures.charged >= figures.billed, `the ledgers charged ${figures.charged} for what failed, the provider ${figures.billed}`)

  // What was spent during the outage: what was in flight when it began, what was in hand, and the probes.
  const { scale } = options
  const { to, all, after } = partsOf(record)
  const inHand = nodes.length * permitsMax
  const hanging = phases[0]!.trouble === 'hangs' ? Math.max(0, nodes.length * workingMax - figures.inFlight) : 0
  const most = inHand + hanging + figures.probes + 2 * pausesOf(record).length
  holds(figures.during <= most, `${figures.during} requests came during the outage: more than ${inHand} in hand, ${hanging} that hang, ${figures.probes} probes and ${2 * pausesOf(record).length} after pauses`)
  for (const { at } of all) holds(inFlightAt(all, at) <= nodes.length * workingMax, `${inFlightAt(all, at)} requests in flight`)

  // Recovery: as the ramps of the breaker and of the limiter say, by the provider's own count.
  const { probesMax, permitMs, windowMs } = breaker.policy
  const pauseEnd = pausesOf(record).at(-1)
  const isPaused = breaker.nextProbe === 1 && pauseEnd !== undefined
  for (const [i, { at }] of after.entries()) {
    if (at - to >= windowMs) break
    const answered = after.filter(({ met, endedAt }) => met === null && endedAt !== null && endedAt <= at).length
    if (answered >= 10 * permitsMax) break
    const byBreaker = inHand + 2 * probesMax + probesMax * (1 + Math.floor((at - to) / permitMs)) + 2 * answered
    const byLimiter = isPaused ? 2 * (2 ** (1 + Math.floor((at - pauseEnd) / 1_000)) - 1) : Infinity
    holds(i + 1 <= (isPaused ? byLimiter : byBreaker), `${i + 1} requests within ${Math.round((at - to) * scale)} ms after the outage, when ${answered} had been answered`)
  }
  return wrong
}

function add(a: Amounts, b: Amounts): Amounts {
  return { tokens: a.tokens + b.tokens, calls: a.calls + b.calls, nanoDollars: a.nanoDollars + b.nanoDollars }
}

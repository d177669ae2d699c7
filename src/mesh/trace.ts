/**
 * The trace of the reasoning: one record for each attempt at a model, put together from what the charts told at its
 * beginning, at its end and when its answer was judged. A call that never ended, because its state was left or its
 * process died, has a record without an outcome.
 */
import type { Amounts } from '../machines/ledger.js'
import type { Confidence } from '../machines/gate.js'
import { traceStream, type TraceHalf, type TraceIntent, type TraceJudgement, type TraceOutcome, type TraceTool, type TracedVerdict } from '../machines/trace.js'
import type { StreamDrain } from '../runtime/stream-drain.js'
import type { StreamRecord } from '../runtime/streams.js'
import type { ActorSystem } from '../runtime/system.js'
import { keyOf, type Address } from '../runtime/identity.js'
import type { Logger } from '../runtime/ports/logger.js'
import { digestOf } from './canonical.js'
import type { Completion } from './model-call.js'
import type { Compaction } from './prompt-window.js'
import type { TraceEntry, TraceStore } from './ports/trace-store.js'

export interface TraceRecord {
  /** W3C trace id, the same for all of a run. */
  readonly trace: string
  /** W3C span id of the attempt, and of the agent's work that it is part of. */
  readonly span: string
  readonly parent: string
  readonly run: string
  readonly agent: string
  readonly version: string
  /** `address@incarnation` of the actor. */
  readonly by: string
  readonly task: string
  /** The part of the plan that the work goes back to. */
  readonly origin: string
  /** Digest of the goal. */
  readonly goal: string
  /** Whether the goal was, letter for letter, the run's; null until the answer was judged. */
  readonly goalCheck: 'intact' | 'broken' | null
  readonly attempt: string
  readonly model: string
  /** As the provider counted them, of an attempt that failed up to then; null if it did not say. */
  readonly tokens: { readonly input: number; readonly output: number; readonly cacheRead: number; readonly cacheWrite: number } | null
  readonly reserved: Amounts
  /** null: nobody knows, so all that was reserved is charged. */
  readonly cost: Amounts | null
  /** How long it waited for its permit, ms; 0 if that was in hand. */
  readonly waitedMs: number
  /** Namespace time, ms. */
  readonly startedAt: number
  readonly endedAt: number | null
  /** From the commit of the intent to the commit of the outcome, ms. */
  readonly latencyMs: number | null
  readonly prompt: unknown
  /** What was masked in the prompt or left out of it, and why; null: nothing. */
  readonly compaction: Compaction | null
  /** The completion as it came. */
  readonly completion: string | null
  readonly stopReason: string | null
  /** Tools that the completion asked for, and what came of each. */
  readonly tools: readonly TracedTool[]
  /** The answer as it was read. */
  readonly output: unknown
  readonly confidence: Confidence | null
  readonly verifiedBy: string | null
  readonly accepted: boolean | null
  readonly reasons: readonly string[]
  readonly sourcesVerified: readonly unknown[]
  /** What each verifier said, in the order in which they were asked. */
  readonly verdicts: readonly TracedVerdict[]
  /** Why the attempt failed, or what became of its answer. */
  readonly error: string | null
}

/** A tool that a model asked for. */
export interface TracedTool extends Omit<TraceTool, 'half' | 'attempt'> {
  /** Namespace time at which it had been dealt with, ms. */
  readonly endedAt: number
}

/** Trace and span ids follow from names, so that a repeat has the same. */
export function traceIdOf(run: string): string {
  return digestOf(`trace ${run}`)
}

function spanIdOf(...names: readonly string[]): string {
  return digestOf(`span ${names.join('\n')}`).slice(0, 16)
}

/** W3C traceparent of a run. */
export function traceparentOf(run: string): string {
  return `00-${traceIdOf(run)}-${spanIdOf(run)}-01`
}

/** Puts the halves together, in the order in which the attempts began. Repeats count once. */
export function joinTrace(entries: readonly TraceEntry[]): TraceRecord[] {
  interface Halves {
    readonly intent: TraceEntry
    permit?: TraceEntry
    outcome?: TraceEntry
    judgement?: TraceEntry
    readonly tools: Map<string, TracedTool>
  }
  const attempts = new Map<string, Halves>()
  const rest: TraceEntry[] = []
  for (const entry of entries) {
    const key = `${entry.by} ${entry.value.attempt}`
    if (entry.value.half !== 'intent') rest.push(entry)
    else if (!attempts.has(key)) attempts.set(key, { intent: entry, tools: new Map() })
  }
  for (const entry of rest) {
    const halves = attempts.get(`${entry.by} ${entry.value.attempt}`)
    if (!halves) continue
    if (entry.value.half === 'permit') halves.permit ??= entry
    else if (entry.value.half === 'outcome') halves.outcome ??= entry
    else if (entry.value.half === 'tool') {
      const { half: _, attempt: __, ...tool } = entry.value
      if (!halves.tools.has(tool.id)) halves.tools.set(tool.id, { ...tool, endedAt: entry.at })
    }
    // The later judgement knows more: whoever verified has spoken.
    else if (!halves.judgement || halves.judgement.at <= entry.at) halves.judgement = entry
  }
  return [...attempts.values()].map(recordOf).sort((a, b) => a.startedAt - b.startedAt || (a.by < b.by ? -1 : a.by > b.by ? 1 : 0))
}

function recordOf({ intent: { run, by, at: askedAt, value }, permit, outcome, judgement, tools }: { readonly intent: TraceEntry; readonly permit?: TraceEntry; readonly outcome?: TraceEntry; readonly judgement?: TraceEntry; readonly tools: ReadonlyMap<string, TracedTool> }): TraceRecord {
  const intent = value as TraceIntent
  const at = permit?.at ?? askedAt
  const ended = outcome?.value as TraceOutcome | undefined
  const judged = judgement?.value as TraceJudgement | undefined
  const completion = (ended?.response ?? null) as Completion | null
  const usage = completion?.usage ?? (ended?.usage as Completion['usage'] | undefined)
  const { agent, version, task, goal, origin } = intent.about
  return {
    trace: traceIdOf(run),
    span: spanIdOf(run, by, intent.attempt),
    parent: spanIdOf(run, by),
    run,
    agent,
    version,
    by,
    task,
    origin,
    goal,
    goalCheck: judged?.goalCheck ?? null,
    attempt: intent.attempt,
    model: intent.model,
    tokens: usage ? { input: usage.inputTokens, output: usage.outputTokens, cacheRead: usage.cacheReadTokens, cacheWrite: usage.cacheWriteTokens } : null,
    reserved: intent.reserved,
    cost: ended?.cost ?? null,
    waitedMs: at - askedAt,
    startedAt: at,
    endedAt: outcome?.at ?? null,
    latencyMs: outcome ? outcome.at - at : null,
    prompt: intent.request,
    compaction: (intent.compaction ?? null) as Compaction | null,
    completion: completion?.text ?? null,
    stopReason: completion?.stopReason ?? null,
    tools: [...tools.values()],
    output: judged?.output ?? null,
    confidence: judged?.confidence ?? null,
    verifiedBy: judged?.verifiedBy ?? null,
    accepted: judged?.accepted ?? null,
    reasons: judged?.reasons ?? [],
    sourcesVerified: judged?.sourcesVerified ?? [],
    verdicts: judged?.verdicts ?? [],
    error: ended?.error?.message ?? judged?.failure ?? null,
  }
}

/** A shared stream's entry with the run that it belongs to. */
export function toTraceEntry({ by, at, value }: StreamRecord): TraceEntry {
  return { run: keyOf(by.slice(0, by.lastIndexOf('@')) as Address), by, at, value: value as TraceHalf }
}

/**
 * Moves the trace out of the actors' store. If the trace store does not take it, calls stop before memory does (contract
 * 10): they wait, and the log says so.
 */
export class Traces {
  private drain: StreamDrain | undefined
  private readonly store: TraceStore | undefined
  private readonly logger: Logger
  private readonly waitingMax: number
  private stalled = false

  constructor(store: TraceStore | undefined, logger: Logger, waitingMax: number) {
    this.store = store
    this.logger = logger
    this.waitingMax = waitingMax
  }

  start(system: ActorSystem): void {
    const { store } = this
    if (store) this.drain = system.drain(traceStream, (entries) => store.append(entries.map(toTraceEntry)))
  }

  /** Resolves when calls may be made. */
  async ready(signal: AbortSignal): Promise<void> {
    const { drain, waitingMax } = this
    if (!drain || drain.lag < waitingMax) return
    if (!this.stalled) this.logger.error({ waiting: drain.lag }, 'the trace store does not take the trace of the calls: no further call is made until it does')
    this.stalled = true
    await drain.below(waitingMax, signal)
    this.stalled = false
  }

  /** Resolves when the trace of what has been committed is kept. */
  async settled(): Promise<void> {
    await this.drain?.idle()
  }

  /** All that is known of a run: what the trace store keeps, and what has not left the actors' store yet. */
  async read(system: Pick<ActorSystem, 'sharedStream'>, run: string): Promise<TraceRecord[]> {
    const waiting: TraceEntry[] = []
    for (let after = 0; ; ) {
      const page = await system.sharedStream(run, traceStream, after, 1_000)
      waiting.push(...page.map(toTraceEntry).filter((entry) => entry.run === run))
      if (page.length < 1_000) break
      after = page.at(-1)!.seq
    }
    // In this order: what leaves meanwhile is read twice, not missed.
    const kept = (await this.store?.read(run)) ?? []
    return joinTrace([...kept, ...waiting])
  }

  async close(): Promise<void> {
    await this.store?.close()
  }
}

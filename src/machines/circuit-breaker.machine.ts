/**
 * A circuit breaker: whether a model, or a version of an agent, may be called just now. One durable actor for each, in
 * the store that all nodes share. It hands out batches of permits that expire, so that a call asks nobody while it is
 * closed and a node has permits in hand.
 *
 * B1  While it is closed a batch holds at most `permitsMax` permits, and ends `permitMs` after it was asked for. An open
 *     period does not end before it: when probing begins, no permit of the time before is left.
 * B2  While it is half open it hands out at most `probesMax` permits in all, whoever asks and however often.
 * B3  What has no outcome within `probeMs` opens it again: a dead node's probe holds it half open no longer than that.
 * B4  After it has closed it gives `probesMax` permits at once and every `permitMs`, and two for each call that succeeds:
 *     whoever waited comes back as fast as the answers do. That ends when `rampBatches` times a batch have succeeded, or
 *     after `windowMs`.
 * B5  What was permitted before it last opened says nothing of how it is now, and counts for nothing.
 */
import { assign, setup } from 'xstate'
import { reply, type ReplyToken } from '../protocol.js'
import { countIn, noted, type Bucket } from './window.js'

/** When it opens, and how it closes again. All times in ms. */
export interface BreakerPolicy {
  /** How far back outcomes count. */
  readonly windowMs: number
  /** Outcomes in the window before their share counts, at least 1. */
  readonly callsMin: number
  /** The share of failures at which it opens, inclusive; above 0, at most 1. */
  readonly failureShare: number
  /** Failures in a row, within the window, at which it opens, inclusive. */
  readonly consecutiveMax: number
  /** The first open period; it lasts until the last batch has ended, at least (B1). */
  readonly openMs: number
  /** What each further open period is multiplied by, if a probe has failed; at least 1. */
  readonly openFactor: number
  readonly openMsMax: number
  /** Probes of one half-open period, of all nodes together (B2). */
  readonly probesMax: number
  /** Probes that must succeed to close it, at most `probesMax`. */
  readonly successesToClose: number
  /** How long the outcome of a probe is waited for. */
  readonly probeMs: number
  /** Permits in one batch, inclusive. */
  readonly permitsMax: number
  /** How long a batch may be used. */
  readonly permitMs: number
}

/**
 * Fit for models: a few calls a minute, each of seconds to minutes. A gateway's breaker, which counts hundreds of calls in
 * ten seconds, would never see enough of them.
 */
export const defaultBreaker: BreakerPolicy = {
  windowMs: 120_000,
  callsMin: 6,
  failureShare: 0.5,
  consecutiveMax: 4,
  openMs: 20_000,
  openFactor: 2,
  openMsMax: 300_000,
  probesMax: 2,
  successesToClose: 2,
  probeMs: 120_000,
  permitsMax: 10,
  permitMs: 15_000,
}

/** How a permitted call ended. void: it told nothing of what the breaker is about. */
export interface BreakerOutcome {
  readonly result: 'ok' | 'failed' | 'void'
  /** That of its permit. */
  readonly era: number
  /** The probe that it was. */
  readonly probe: number | null
}

export interface BreakerAsk {
  readonly type: 'permit.ask'
  /** Store's time before it was asked, ms. */
  readonly at: number
  /** Permits; 0 to report only. */
  readonly wanted: number
  readonly outcomes: readonly BreakerOutcome[]
  /** As the node that asks has it: the last one counts. */
  readonly policy: BreakerPolicy
  readonly replyToken?: ReplyToken
}

export type BreakerState = 'closed' | 'open' | 'halfOpen'

export interface BreakerAnswer {
  readonly state: BreakerState
  /** Differs for each period in which it was closed. */
  readonly era: number
  readonly permits: number
  /** The number of the first probe, if the permits are probes; the others' follow. */
  readonly probe: number | null
  /** How long the permits may be used, ms from when they were asked for. */
  readonly validMs: number
  /** When it is worth asking again for more, ms from now. */
  readonly retryMs: number
  /** Why it is not closed. */
  readonly why: string | null
}

export interface BreakerContext {
  readonly policy: BreakerPolicy
  /** The latest time that it was told, ms. */
  readonly at: number
  readonly era: number
  readonly buckets: readonly Bucket[]
  /** Failures since the last success, and when the last of them was. */
  readonly consecutive: number
  readonly failedAt: number
  /** Open periods since it was last closed that a failure has begun: each longer than the one before. */
  readonly openings: number
  /** When the last batch ends, and when the open period does, ms. */
  readonly permittedUntil: number
  readonly openUntil: number
  /** Why it opened. */
  readonly why: string | null
  /** Of this half-open period, by number. null: not known yet. */
  readonly probes: Readonly<Record<number, boolean | null>>
  readonly nextProbe: number
  /** Since it was closed again: permits given and calls that succeeded (B4). null: at full rate. */
  readonly ramp: { readonly since: number; readonly given: number; readonly succeeded: number } | null
}

/** Failures in a row after these outcomes, and what is in the window. */
function counted(context: BreakerContext, { at, outcomes, policy }: BreakerAsk): BreakerContext {
  const now = Math.max(context.at, at)
  let { buckets, consecutive, failedAt, ramp } = context
  if (now - failedAt >= policy.windowMs) consecutive = 0
  for (const { result, era } of outcomes) {
    if (result === 'void' || era !== context.era) continue
    const ok = result === 'ok'
    buckets = noted(buckets, now, policy.windowMs, ok)
    consecutive = ok ? 0 : consecutive + 1
    if (!ok) failedAt = now
    if (ok && ramp) ramp = { ...ramp, succeeded: ramp.succeeded + 1 }
  }
  if (ramp && (ramp.succeeded >= rampBatches * policy.permitsMax || now - ramp.since >= policy.windowMs)) ramp = null
  return { ...context, policy, at: now, buckets, consecutive, failedAt, ramp }
}

/** Why these outcomes open it, if they do. */
function whyItTrips(context: BreakerContext, ask: BreakerAsk): string | null {
  const { policy } = ask
  const { buckets, consecutive, at } = counted(context, ask)
  if (consecutive >= policy.consecutiveMax) return `${consecutive} failures in a row`
  const { ok, failed } = countIn(buckets, at, policy.windowMs)
  if (failed > 0 && ok + failed >= policy.callsMin && failed / (ok + failed) >= policy.failureShare) return `${failed} of ${ok + failed} calls failed within ${policy.windowMs / 1_000} s`
  return null
}

/** The probes of this period after these outcomes. */
function probed({ probes }: BreakerContext, { outcomes }: BreakerAsk): { readonly probes: BreakerContext['probes']; readonly failed: boolean; readonly isVoid: boolean } {
  const known = { ...probes }
  let failed = false
  let isVoid = false
  for (const { result, probe } of outcomes) {
    if (probe === null || known[probe] !== null) continue
    if (result === 'void') isVoid = true
    else known[probe] = result === 'ok'
    failed ||= result === 'failed'
  }
  return { probes: known, failed, isVoid }
}

const succeeded = (probes: BreakerContext['probes']): number => Object.values(probes).filter((known) => known === true).length

/** When the open period that begins at `at` ends: not before the last batch (B1). */
function openEnd({ permittedUntil }: BreakerContext, { openMs, openFactor, openMsMax }: BreakerPolicy, at: number, openings: number): number {
  return Math.max(permittedUntil, at + Math.min(openMsMax, openMs * openFactor ** Math.max(0, openings - 1)))
}

/** A batch while it is closed: all that is wanted; after it was open more from success to success, and a little from time to time. */
function batch({ at, ramp, policy: { permitsMax, permitMs, probesMax } }: BreakerContext, wanted: number): number {
  const most = Math.min(wanted, permitsMax)
  if (!ramp) return most
  const allowed = probesMax * (1 + Math.floor((at - ramp.since) / permitMs)) + 2 * ramp.succeeded
  return Math.max(0, Math.min(most, allowed - ramp.given))
}

/** When more may be permitted while it gets back to its full rate, ms. */
const rampRetryMs = 1_000
/** So many calls at work are what a batch at a time does not hold back any more. */
const rampBatches = 10

const asked = (event: unknown): BreakerAsk => event as BreakerAsk

export const circuitBreakerMachine = setup({
  types: {
    context: {} as BreakerContext,
    events: {} as BreakerAsk,
  },
  guards: {
    trips: ({ context, event }) => whyItTrips(context, asked(event)) !== null,
    hasProbeFailed: ({ context, event }) => probed(context, asked(event)).failed,
    haveProbesSucceeded: ({ context, event }) => succeeded(probed(context, asked(event)).probes) >= asked(event).policy.successesToClose,
    isProbeVoid: ({ context, event }) => probed(context, asked(event)).isVoid,
    givesProbe: ({ context, event }) => asked(event).wanted > 0 && Object.keys(context.probes).length < asked(event).policy.probesMax,
  },
  delays: {
    openPeriod: ({ context }) => context.openUntil - context.at,
    probePeriod: ({ context }) => context.policy.probeMs,
  },
  actions: {
    noteTime: assign({ at: ({ context, event }) => Math.max(context.at, asked(event).at), policy: ({ event }) => asked(event).policy }),
    noteOutcomes: assign(({ context, event }) => counted(context, asked(event))),
    noteProbes: assign({ probes: ({ context, event }) => probed(context, asked(event)).probes }),
    trip: assign(({ context, event }) => {
      const { policy } = asked(event)
      const at = Math.max(context.at, asked(event).at)
      const openings = context.openings + 1
      return { policy, at, openings, why: whyItTrips(context, asked(event)), openUntil: openEnd(context, policy, at, openings) }
    }),
    openAgain: assign(({ context }) => {
      const openings = context.openings + 1
      return { openings, why: 'a probe failed', openUntil: openEnd(context, context.policy, context.at, openings) }
    }),
    /** Not because of a failure: as long as the last time. */
    openAsBefore: assign({ openUntil: ({ context }) => openEnd(context, context.policy, context.at, context.openings) }),
    noteSilence: assign({ at: ({ context }) => context.at + context.policy.probeMs }),
    beginEra: assign({ era: ({ context }) => context.era + 1, buckets: [], consecutive: 0, probes: {}, ramp: null }),
    close: assign(({ context }) => ({ openings: 0, why: null, probes: {}, ramp: { since: context.at, given: 0, succeeded: 0 } })),
    answerClosed: reply(({ context, event }) => {
      const { permitMs } = context.policy
      return { state: 'closed', era: context.era, permits: batch(context, asked(event).wanted), probe: null, validMs: permitMs, retryMs: Math.min(permitMs, rampRetryMs), why: null } satisfies BreakerAnswer
    }),
    noteGiven: assign(({ context, event }) => {
      const given = batch(context, asked(event).wanted)
      if (given === 0) return {}
      return { permittedUntil: context.at + context.policy.permitMs, ramp: context.ramp && { ...context.ramp, given: context.ramp.given + given } }
    }),
    answerOpen: reply(({ context }) => ({ state: 'open', era: context.era, permits: 0, probe: null, validMs: 0, retryMs: Math.max(1, context.openUntil - context.at), why: context.why }) satisfies BreakerAnswer),
    answerProbe: reply(({ context }) => ({ state: 'halfOpen', era: context.era, permits: 1, probe: context.nextProbe, validMs: context.policy.permitMs, retryMs: context.policy.permitMs, why: context.why }) satisfies BreakerAnswer),
    noteProbe: assign(({ context }) => ({ probes: { ...context.probes, [context.nextProbe]: null }, nextProbe: context.nextProbe + 1, permittedUntil: context.at + context.policy.permitMs })),
    answerProbing: reply(({ context }) => ({ state: 'halfOpen', era: context.era, permits: 0, probe: null, validMs: 0, retryMs: context.policy.permitMs, why: context.why }) satisfies BreakerAnswer),
  },
}).createMachine({
  id: 'circuitBreaker',
  version: '1',
  description: 'Whether a model, or a version of an agent, may be called just now.',
  context: { policy: defaultBreaker, at: 0, era: 1, buckets: [], consecutive: 0, failedAt: 0, openings: 0, permittedUntil: 0, openUntil: 0, why: null, probes: {}, nextProbe: 1, ramp: null },
  initial: 'closed',
  states: {
    closed: {
      description: 'Calls are permitted, by the batch.',
      on: {
        'permit.ask': [
          { guard: 'trips', target: 'open', actions: ['trip', 'answerOpen'] },
          { actions: ['noteOutcomes', 'answerClosed', 'noteGiven'] },
        ],
      },
    },
    open: {
      description: 'No call is permitted: whoever wants one takes the declared way round.',
      entry: 'beginEra',
      after: { openPeriod: 'halfOpen' },
      on: { 'permit.ask': { actions: ['noteTime', 'answerOpen'] } },
    },
    halfOpen: {
      description: 'A few calls are let through to see whether it has recovered.',
      initial: 'waiting',
      on: {
        'permit.ask': [
          { guard: 'hasProbeFailed', target: 'open', actions: ['noteTime', 'openAgain', 'answerOpen'] },
          { guard: 'haveProbesSucceeded', target: 'closed', actions: ['noteTime', 'close', 'answerClosed', 'noteGiven'] },
          { guard: 'isProbeVoid', target: 'open', actions: ['noteTime', 'openAsBefore', 'answerOpen'] },
          { guard: 'givesProbe', target: '.probing', actions: ['noteTime', 'noteProbes', 'answerProbe', 'noteProbe'], description: 'One at a time, so that nodes share them.' },
          { actions: ['noteTime', 'noteProbes', 'answerProbing'] },
        ],
      },
      states: {
        waiting: { description: 'Nobody has asked for a probe yet.' },
        probing: {
          description: 'Probes are under way; what does not end in time is taken for lost (B3).',
          after: { probePeriod: { target: '#circuitBreaker.open', actions: ['noteSilence', 'openAsBefore'] } },
        },
      },
    },
  },
})

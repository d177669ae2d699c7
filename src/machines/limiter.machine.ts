/**
 * A rate limit: how many requests, and how many tokens, a provider's key, a model, an agent or a tenant may use within a
 * window. One durable actor for each, in the store that all nodes share. It hands out batches of permits that expire.
 *
 * L1  Whenever one looks back over a window, the attempts that began in it, of all nodes, are at most `requestsMax`, and
 *     their tokens at most `tokensMax`. A batch counts from when it was asked for until a window after it has ended,
 *     since it may be used at any moment in between; what comes back unused counts no longer. So a node that dies with
 *     permits in hand can cost room, but never make some.
 * L2  Nodes get what there is in turn: the higher priority of what they wait with, then the earlier deadline, then who has
 *     waited longer. Each `agingMs` of waiting counts as one step of priority, so that nobody waits for ever.
 * L3  When a provider says when to come back, nobody gets a permit before, and then not all at once: two of all nodes
 *     together, and each second twice as many, until it says so again or `rampSteps` seconds have passed. What is still
 *     too much is told by its first answers, so that a provider that goes on saying so is asked twice each time.
 */
import { assign, setup } from 'xstate'
import { reply, type ReplyToken } from '../protocol.js'

export interface LimitPolicy {
  /** Attempts that may begin within a window, inclusive; null: any number. */
  readonly requestsMax: number | null
  /** Tokens of those, prompt and completion, inclusive: the worst case while they are under way, then what they used; null: any number. */
  readonly tokensMax: number | null
  readonly windowMs: number
  /** Permits in one batch, inclusive. */
  readonly permitsMax: number
  /** How long a batch may be used. The shorter, the more of the limit can be used: a permit that is used at once still counts `windowMs + permitMs`. */
  readonly permitMs: number
}

export const defaultLimit: LimitPolicy = { requestsMax: null, tokensMax: null, windowMs: 60_000, permitsMax: 10, permitMs: 5_000 }

/** A batch, or what of one was not used. Tokens are 0 where they are not limited. */
export interface LimiterBatch {
  readonly batch: number
  readonly requests: number
  readonly tokens: number
}

export interface LimiterAsk {
  readonly type: 'permit.ask'
  /** Store's time before it was asked, ms. */
  readonly at: number
  /** Unique among those that ask. */
  readonly node: string
  /** Permits; 0 to report only. How many calls wait for one, of those. */
  readonly wanted: number
  readonly waiting: number
  /** Tokens of all that is wanted, and of the first alone. */
  readonly tokens: number
  readonly least: number
  /** Of the first that waits: 0 to 9, and how long it still will, ms. */
  readonly priority: number
  readonly leftMs: number
  /** What was not used of earlier batches, and never will be. */
  readonly back: readonly LimiterBatch[]
  /** The provider wants to be left alone so long, ms; 0: it has not said so. */
  readonly pauseMs: number
  /** As the node that asks has it: the last one counts. */
  readonly policy: LimitPolicy
  readonly replyToken?: ReplyToken
}

export interface LimiterAnswer extends LimiterBatch {
  /** How long the batch may be used, ms from when it was asked for. */
  readonly validMs: number
  /** When it is worth asking again for more, ms from now. */
  readonly retryMs: number
  readonly isPaused: boolean
}

interface Grant extends LimiterBatch {
  /** Until when it may be used. */
  readonly until: number
}

/** What a node waits for. */
interface Claim {
  readonly node: string
  readonly priority: number
  readonly deadlineAt: number
  readonly since: number
  readonly requests: number
  readonly tokens: number
  /** When it was last heard of. */
  readonly at: number
}

export interface LimiterContext {
  readonly policy: LimitPolicy
  /** The latest time that it was told, ms. */
  readonly at: number
  readonly grants: readonly Grant[]
  readonly claims: readonly Claim[]
  readonly nextBatch: number
  readonly pausedUntil: number
  /** Permits given since the last pause (L3). */
  readonly given: number
}

/** Batches and nodes that are told apart, at most: older batches are counted together, as if they ended with the youngest of them. */
const grantsMax = 500
const claimsMax = 200
/** A node that waits and has not been heard of for so long does not wait any more, ms. */
const claimMs = 5_000
/** Never asked again sooner than this, ms. */
const retryMsMin = 50
/** What waiting counts for, against priority, ms for each step. */
export const agingMs = 30_000
/** No pause is longer, ms: a provider that says more is not believed. */
export const pauseMsMax = 3_600_000
/** Permits in the first second after a pause; a rate limit is told within that, as nothing is computed for it. */
const rampFirst = 2
const rampMs = 1_000
const rampSteps = 10

const merged = (grants: readonly Grant[]): readonly Grant[] => {
  if (grants.length <= grantsMax) return grants
  const [first, second, ...rest] = grants as readonly [Grant, Grant, ...Grant[]]
  return [{ batch: second.batch, until: Math.max(first.until, second.until), requests: first.requests + second.requests, tokens: first.tokens + second.tokens }, ...rest]
}

/** Without what has left the window, and what came back. */
function counted({ grants }: LimiterContext, { back, policy }: LimiterAsk, now: number): Grant[] {
  return grants
    .filter(({ until }) => until + policy.windowMs > now)
    .map((grant) => {
      let { requests, tokens } = grant
      for (const one of back) {
        if (one.batch !== grant.batch) continue
        requests = Math.max(0, requests - one.requests)
        tokens = Math.max(0, tokens - one.tokens)
      }
      return { ...grant, requests, tokens }
    })
    .filter(({ requests, tokens }) => requests > 0 || tokens > 0)
}

const rank = ({ priority, since }: Claim, now: number): number => priority + Math.floor((now - since) / agingMs)

function isBefore(a: Claim, b: Claim, now: number): boolean {
  const difference = rank(b, now) - rank(a, now) || a.deadlineAt - b.deadlineAt || a.since - b.since
  return difference < 0 || (difference === 0 && a.node < b.node)
}

const total = (of: readonly { readonly requests: number; readonly tokens: number }[], key: 'requests' | 'tokens'): number => of.reduce((sum, one) => sum + one[key], 0)

/** Permits that may be given from the end of a pause until now, in all. */
function rampMax(pausedUntil: number, now: number): number {
  const step = Math.floor((now - pausedUntil) / rampMs)
  return pausedUntil === 0 || step >= rampSteps ? Infinity : rampFirst * (2 ** (step + 1) - 1)
}

/** What an ask comes to: the answer, and what is known afterwards. Pure. */
export function decideLimit(context: LimiterContext, ask: LimiterAsk): { readonly answer: LimiterAnswer; readonly context: LimiterContext } {
  const { node, policy, wanted, waiting } = ask
  const { requestsMax, tokensMax, windowMs, permitsMax, permitMs } = policy
  const now = Math.max(context.at, ask.at)
  const pausedUntil = Math.max(context.pausedUntil, ask.pauseMs > 0 ? now + Math.min(ask.pauseMs, pauseMsMax) : 0)
  const grants = counted(context, ask, now)
  const others = context.claims.filter((claim) => claim.node !== node && now - claim.at < claimMs)
  const earlier = context.claims.find((claim) => claim.node === node)
  const mine: Claim = { node, priority: ask.priority, deadlineAt: now + ask.leftMs, since: earlier && now - earlier.at < claimMs ? earlier.since : now, requests: waiting, tokens: ask.tokens, at: now }
  const before = others.filter((claim) => isBefore(claim, mine, now))
  const isPaused = pausedUntil > now
  const given = isPaused ? 0 : context.given
  const rampLeft = isPaused ? 0 : rampMax(pausedUntil, now) - given
  const isRamping = rampLeft < Infinity
  const freeRequests = Math.min(requestsMax === null ? Infinity : requestsMax - total(grants, 'requests'), rampLeft) - total(before, 'requests')
  const freeTokens = tokensMax === null ? Infinity : tokensMax - total(grants, 'tokens') - total(before, 'tokens')
  // What nobody waits for would be kept from those who do.
  const most = isRamping ? Math.min(wanted, waiting) : wanted
  const mayHave = !isPaused && most > 0 && freeRequests >= 1 && freeTokens >= ask.least
  const requests = mayHave ? Math.min(most, permitsMax, freeRequests) : 0
  const tokens = mayHave && tokensMax !== null ? Math.min(ask.tokens, freeTokens) : 0
  const isLimited = requestsMax !== null || tokensMax !== null
  const left = Math.max(0, waiting - requests)
  const claims = left > 0 ? [...others, { ...mine, requests: left, tokens: Math.max(0, ask.tokens - tokens) }].slice(-claimsMax) : others
  const batch = context.nextBatch
  const release = Math.min(...grants.map(({ until }) => until + windowMs - now), windowMs)
  const step = isRamping && !isPaused ? rampMs - ((now - pausedUntil) % rampMs) : Infinity
  const retryMs = isPaused ? pausedUntil - now : Math.min(release, step, before.length > 0 ? 500 : Infinity)
  return {
    answer: { batch, requests, tokens, validMs: permitMs, retryMs: Math.max(retryMsMin, retryMs), isPaused },
    context: {
      policy,
      at: now,
      pausedUntil,
      given: given + (isRamping ? requests : 0),
      claims,
      grants: requests > 0 && isLimited ? merged([...grants, { batch, requests, tokens, until: now + permitMs }]) : grants,
      nextBatch: requests > 0 ? batch + 1 : batch,
    },
  }
}

const asked = (event: unknown): LimiterAsk => event as LimiterAsk

export const limiterMachine = setup({
  types: {
    context: {} as LimiterContext,
    events: {} as LimiterAsk,
  },
  guards: {
    pauses: ({ context, event }) => decideLimit(context, asked(event)).answer.isPaused,
  },
  delays: {
    pause: ({ context }) => context.pausedUntil - context.at,
  },
  actions: {
    answer: reply(({ context, event }) => decideLimit(context, asked(event)).answer),
    note: assign(({ context, event }) => decideLimit(context, asked(event)).context),
    /** Those who watch are told, and what they are told is not to look like a pause that has just begun. */
    noteEnd: assign({ at: ({ context }) => Math.max(context.at, context.pausedUntil) }),
  },
}).createMachine({
  id: 'limiter',
  version: '1',
  description: 'How many requests and tokens may be used within a window.',
  context: { policy: defaultLimit, at: 0, grants: [], claims: [], nextBatch: 1, pausedUntil: 0, given: 0 },
  initial: 'flowing',
  states: {
    flowing: {
      description: 'Permits are handed out as far as the window has room.',
      on: {
        'permit.ask': [
          { guard: 'pauses', target: 'paused', actions: ['answer', 'note'] },
          { actions: ['answer', 'note'] },
        ],
      },
    },
    paused: {
      description: 'The provider has said when to come back: until then nobody gets a permit.',
      after: { pause: { target: 'flowing', actions: 'noteEnd' } },
      on: {
        'permit.ask': [
          { guard: 'pauses', target: 'paused', reenter: true, actions: ['answer', 'note'], description: 'It may have become longer.' },
          { target: 'flowing', actions: ['answer', 'note'] },
        ],
      },
    },
  },
})

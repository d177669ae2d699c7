/**
 * The asks that a record works for: what was begun on behalf of each, so that it ends with it (contract 5). Plain values,
 * never changed: a turn makes new ones, and undoing the turn puts the old ones back.
 *
 * Q1  A turn serves at most one ask: that of its message, or that on whose behalf the effect, timer or child was begun
 *     which it hears of. A turn that answers an ask serves it no longer, and neither does one in which an effect is told
 *     that its ask is over: what such a turn begins is nobody's but the machine's own, and can undo what was done.
 * Q2  Effects, delayed events and durable children that a turn begins are begun on behalf of the ask that it serves.
 *     Messages are not: nobody waits for them, and what they move (money, say) must arrive.
 * Q3  An ask that is over stays on record as long as anything begun for it is left. What that begins is cut off at once.
 */
import type { StoredError } from '../errors.js'
import type { ReplyToken } from '../protocol.js'
import type { ReplyTo } from './envelope.js'

/** Default of a question's deadline, ms. */
export const askDeadlineMs = 30_000
/** The longest deadline of a question, inclusive, ms: 366 days. */
export const askDeadlineMsMax = 366 * 86_400_000

export function isAskDeadline(deadlineMs: unknown): deadlineMs is number {
  return typeof deadlineMs === 'number' && deadlineMs >= 0 && deadlineMs <= askDeadlineMsMax
}

/** The ask on whose behalf something is done, as it travels in an envelope. */
export interface Behalf {
  readonly ask: string
  /** Namespace time by which it is over, ms. */
  readonly by: number
}

export interface OpenAsk {
  readonly by: number
  /** Set when it was cancelled: what those are told who begin something for it all the same. */
  readonly over?: StoredError
  /** Promises and questions, by the number of their cell. */
  readonly effects: readonly number[]
  /** Delayed events, by their order. */
  readonly timers: readonly string[]
  /** Durable children, by address. */
  readonly children: readonly string[]
}

/** By the id of the ask, in no order. Undefined if there are none. */
export type OpenAsks = ReadonlyMap<string, OpenAsk> | undefined

/** Durable children begun for one ask that hear of its end, inclusive; further ones have the deadline alone. */
const childrenMax = 1_000
/** Asks that one record works for, inclusive. Beyond it what was begun for the one that is over first has the deadline alone. */
const asksMax = 1_000

/** An ask goes by the id of its message if a client asks, else by that of the effect that waits for the answer. */
export function askIdOf(replyTo: ReplyTo, messageId: string): string {
  return replyTo.client ? messageId : replyTo.effect
}

/** What a token answers; undefined for what is no token, which the turn's encoding refuses. */
export function askOfToken(token: ReplyToken): string | undefined {
  const { id, to } = (token ?? {}) as Partial<ReplyToken>
  return to?.effect ?? id
}

/** The ask of which that holds, if there is one; of several, as of a child that was started for one and restarted for another, the first to be over. */
export function behalfWhere(asks: OpenAsks, holds: (open: OpenAsk) => boolean): Behalf | undefined {
  let found: Behalf | undefined
  for (const [ask, open] of asks ?? []) if (holds(open) && (!found || isBefore(open.by, ask, found))) found = { ask, by: open.by }
  return found
}

function isBefore(by: number, ask: string, other: Behalf): boolean {
  return by < other.by || (by === other.by && ask < other.ask)
}

/** With what a turn has begun on somebody's behalf. */
export function withBegun(asks: OpenAsks, { ask, by }: Behalf, begun: Pick<OpenAsk, 'effects' | 'timers' | 'children'>): OpenAsks {
  const now = new Map(asks)
  const { effects, timers, children, ...head } = now.get(ask) ?? { by, effects: [], timers: [], children: [] }
  now.set(ask, { ...head, effects: [...effects, ...begun.effects], timers: [...timers, ...begun.timers], children: [...new Set([...children, ...begun.children])].slice(0, childrenMax) })
  return now.size > asksMax ? without(now, behalfWhere(now, () => true)!.ask) : now
}

export function without(asks: OpenAsks, ask: string): OpenAsks {
  const now = new Map(asks)
  now.delete(ask)
  return now.size === 0 ? undefined : now
}

/** Without what has ended; an ask with nothing left goes. */
export function pruned(asks: NonNullable<OpenAsks>, isLive: { effect(cell: number): boolean; timer(order: string): boolean; child(address: string): boolean }): OpenAsks {
  let now: Map<string, OpenAsk> | undefined
  for (const [ask, { effects, timers, children, ...head }] of asks) {
    if (effects.every(isLive.effect) && timers.every(isLive.timer) && children.every(isLive.child)) continue
    const live = { effects: effects.filter(isLive.effect), timers: timers.filter(isLive.timer), children: children.filter(isLive.child) }
    now ??= new Map(asks)
    if (live.effects.length + live.timers.length + live.children.length > 0) now.set(ask, { ...head, ...live })
    else now.delete(ask)
  }
  if (!now) return asks
  return now.size === 0 ? undefined : now
}

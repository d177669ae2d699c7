/**
 * A ledger of what an actor may spend. Budgets are allotments: amounts are moved from ledger to ledger by message and
 * never copied, so in every ledger, at every commit (I7):
 *
 *     received = free + granted and open + reserved + spent
 *
 * Pure; all amounts are whole numbers. A ledger is part of its actor's context, so that a reservation and the intent it
 * pays for are one commit.
 */

export interface Amounts {
  /** Tokens in and out together. */
  readonly tokens: number
  readonly calls: number
  /** Money, in billionths of a US dollar, rounded up. */
  readonly nanoDollars: number
}

export interface Ledger {
  readonly received: Amounts
  readonly free: Amounts
  /** Given to children that have not ended, by the child's id. */
  readonly granted: Readonly<Record<string, Amounts>>
  /** Held for calls under way, by the call's attempt: the worst they can cost. */
  readonly reserved: Readonly<Record<string, Amounts>>
  readonly spent: Amounts
  /** What calls of its own and of children that have ended cost beyond their reservation. Part of nobody's budget; shown, and must be zero. */
  readonly overrun: Amounts
}

export const nothing: Amounts = { tokens: 0, calls: 0, nanoDollars: 0 }

/** Stands for "no ceiling": sums of it stay exact. */
export const unbounded: Amounts = { tokens: 2 ** 50, calls: 2 ** 40, nanoDollars: 2 ** 50 }

export function plus(a: Amounts, b: Amounts): Amounts {
  return { tokens: a.tokens + b.tokens, calls: a.calls + b.calls, nanoDollars: a.nanoDollars + b.nanoDollars }
}

export function minus(a: Amounts, b: Amounts): Amounts {
  return { tokens: a.tokens - b.tokens, calls: a.calls - b.calls, nanoDollars: a.nanoDollars - b.nanoDollars }
}

/** Of each kind the smaller amount. */
export function lesser(a: Amounts, b: Amounts): Amounts {
  return { tokens: Math.min(a.tokens, b.tokens), calls: Math.min(a.calls, b.calls), nanoDollars: Math.min(a.nanoDollars, b.nanoDollars) }
}

/** Of each kind the larger amount. */
export function greater(a: Amounts, b: Amounts): Amounts {
  return { tokens: Math.max(a.tokens, b.tokens), calls: Math.max(a.calls, b.calls), nanoDollars: Math.max(a.nanoDollars, b.nanoDollars) }
}

/** Whether `a` covers `b` in every kind. */
export function covers(a: Amounts, b: Amounts): boolean {
  return a.tokens >= b.tokens && a.calls >= b.calls && a.nanoDollars >= b.nanoDollars
}

export function sum(amounts: Iterable<Amounts>): Amounts {
  let total = nothing
  for (const amount of amounts) total = plus(total, amount)
  return total
}

export function openLedger(received: Amounts): Ledger {
  return { received, free: received, granted: {}, reserved: {}, spent: nothing, overrun: nothing }
}

/** Gives part of what is free to a child. Undefined if it does not suffice; the same id again changes nothing. */
export function grant(ledger: Ledger, id: string, amounts: Amounts): Ledger | undefined {
  if (ledger.granted[id]) return ledger
  if (!covers(ledger.free, amounts)) return undefined
  return { ...ledger, free: minus(ledger.free, amounts), granted: { ...ledger.granted, [id]: amounts } }
}

/** More has come in. */
export function enlarge(ledger: Ledger, amounts: Amounts): Ledger {
  return { ...ledger, received: plus(ledger.received, amounts), free: plus(ledger.free, amounts) }
}

/** Gives a child more of what is free. Undefined if it does not suffice, or there is no such grant. */
export function raiseGrant(ledger: Ledger, id: string, amounts: Amounts): Ledger | undefined {
  const given = ledger.granted[id]
  if (!given || !covers(ledger.free, amounts)) return undefined
  return { ...ledger, free: minus(ledger.free, amounts), granted: { ...ledger.granted, [id]: plus(given, amounts) } }
}

/** The child has ended, returns what is left and tells its overrun; without an account of it, all of its grant counts as spent. */
export function closeGrant(ledger: Ledger, id: string, unspent: Amounts = nothing, overrun: Amounts = nothing): Ledger {
  const { [id]: given, ...granted } = ledger.granted
  if (!given) return ledger
  const back = lesser(unspent, given)
  return { ...ledger, granted, free: plus(ledger.free, back), spent: plus(ledger.spent, minus(given, back)), overrun: plus(ledger.overrun, overrun) }
}

/** Holds the worst case of a call. Undefined if it does not suffice; the same id again changes nothing. */
export function reserve(ledger: Ledger, id: string, worst: Amounts): Ledger | undefined {
  if (ledger.reserved[id]) return ledger
  if (!covers(ledger.free, worst)) return undefined
  return { ...ledger, free: minus(ledger.free, worst), reserved: { ...ledger.reserved, [id]: worst } }
}

/** The call has ended and cost this much; without an account of it, all that was held counts as spent. */
export function settle(ledger: Ledger, id: string, actual?: Amounts): Ledger {
  const { [id]: held, ...reserved } = ledger.reserved
  if (!held) return ledger
  const charged = actual ? lesser(actual, held) : held
  return {
    ...ledger,
    reserved,
    free: plus(ledger.free, minus(held, charged)),
    spent: plus(ledger.spent, charged),
    overrun: actual ? plus(ledger.overrun, minus(actual, charged)) : ledger.overrun,
  }
}

/** An equal part for each of so many; of calls at least one, as long as there is one. */
export function share({ tokens, calls, nanoDollars }: Amounts, among: number): Amounts {
  return { tokens: Math.floor(tokens / among), calls: Math.max(Math.min(1, calls), Math.floor(calls / among)), nanoDollars: Math.floor(nanoDollars / among) }
}

/** What an ending actor gives back: all that is free. Open grants and reservations stay charged to it. */
export function unspent(ledger: Ledger): Amounts {
  return ledger.free
}

/** I7, and nothing below zero. */
export function isBalanced(ledger: Ledger): boolean {
  const parts = sum([ledger.free, ledger.spent, ...Object.values(ledger.granted), ...Object.values(ledger.reserved)])
  const { received } = ledger
  const equal = parts.tokens === received.tokens && parts.calls === received.calls && parts.nanoDollars === received.nanoDollars
  return equal && covers(ledger.free, nothing) && covers(ledger.spent, nothing)
}

/** So much of a budget is spent. */
export interface BudgetWarning {
  readonly kind: keyof Amounts
  /** The declared share that is reached, 0 to 1. */
  readonly share: number
  readonly spent: number
  readonly of: number
}

const kinds = ['nanoDollars', 'tokens', 'calls'] as const

/** Shares that what is spent has reached, of each kind that is limited: those of which nobody has been warned. */
export function newWarnings(shares: readonly number[], spent: Amounts, of: Amounts, known: readonly BudgetWarning[]): readonly BudgetWarning[] {
  return kinds.flatMap((kind) =>
    of[kind] === 0 || of[kind] >= unbounded[kind] ? [] : shares.filter((share) => spent[kind] >= share * of[kind] && !known.some((other) => other.kind === kind && other.share === share)).map((share) => ({ kind, share, spent: spent[kind], of: of[kind] })),
  )
}

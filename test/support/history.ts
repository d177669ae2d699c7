/**
 * What happened in a simulated world, as those outside the runtime saw it: what was sent and answered, what the store took,
 * what each node heard of that, what was carried out, which faults there were, and what was left at the end. Plain data, in
 * the order in which it happened: what checkers.ts judges, and what the trace hash is over.
 */
import { createHash } from 'node:crypto'

/** What one commit did to one record. */
export interface PartSeen {
  readonly address: string
  /** It began, or began again. */
  readonly begins: boolean
  /** It failed. */
  readonly fails: boolean
  /** What was written of its root's context, by key. */
  readonly context: Readonly<Record<string, unknown>>
  readonly timers: readonly (readonly [member: string, due: number | null])[]
}

export interface Restored {
  readonly shard: number
  /** Number of its last commit before and after. */
  readonly from: number
  readonly to: number
}

/** What is left of an actor at the end. */
export interface Left {
  readonly status: string
  /** Of its root; absent: it never began. */
  readonly context?: Readonly<Record<string, unknown>>
  readonly value?: unknown
}

export type Happened =
  /** A client asks for something; `what` is the event's type, `shard` that of its actor. */
  | { readonly kind: 'sent'; readonly n: number; readonly node: string; readonly to: string; readonly shard: number; readonly what: string; readonly isQuestion?: true }
  | { readonly kind: 'answered'; readonly n: number; readonly outcome: 'accepted' | 'refused'; readonly code?: string; readonly value?: unknown }
  /** `stood`: the number before the claim moved it on. */
  | { readonly kind: 'claimed'; readonly node: string; readonly shard: number; readonly epoch: number; readonly number: number; readonly stood: number }
  /** An owner has let go of a shard. */
  | { readonly kind: 'released'; readonly node: string; readonly shard: number }
  /** The store took a commit, or answered a repeat of one with ok. `tokens`: all that stand in it. */
  | { readonly kind: 'committed'; readonly node: string; readonly shard: number; readonly epoch: number; readonly number: number; readonly position: number; readonly at: number; readonly clock: number; readonly parts: readonly PartSeen[]; readonly tokens: readonly string[] }
  /** A node was told that a commit of its own stands. */
  | { readonly kind: 'heard'; readonly node: string; readonly shard: number; readonly number: number }
  /** Of queues, after a commit of their shard: the most that is not `always` taken for one actor, in all, and parked for one actor. */
  | { readonly kind: 'held'; readonly shard: number; readonly backlog: number; readonly log: number; readonly parked: number; readonly dead: number }
  /** Code of a user was run for a token: an action, or an attempt of an effect. */
  | { readonly kind: 'acted'; readonly node: string; readonly shard: number; readonly what: 'action' | 'effect' | 'external'; readonly token: string; readonly key?: string; readonly args?: string }
  /** A receiver was asked by key whether it had been told. */
  | { readonly kind: 'reconciled'; readonly node: string; readonly key: string; readonly happened: boolean }
  /** A receiver that honours keys did what it was told. */
  | { readonly kind: 'executed'; readonly key: string; readonly args: string }
  /** It was told something else under a key that it knew, and refused. */
  | { readonly kind: 'conflict'; readonly key: string; readonly args: string }
  /** An image of the store was taken, to which it may go back. */
  | { readonly kind: 'imaged'; readonly image: number }
  | { readonly kind: 'rolledBack'; readonly image: number; readonly isWhole: boolean; readonly shards: readonly Restored[] }
  /** The namespace was halted, or what it holds accepted: as it stands in the store. */
  | { readonly kind: 'halted'; readonly why: string }
  | { readonly kind: 'accepted' }
  | { readonly kind: 'node'; readonly node: string; readonly is: 'joined' | 'leaving' | 'left' | 'killed' | 'frozen' | 'thawed' | 'cutOff' | 'reached' }
  /** A stored record was damaged. */
  | { readonly kind: 'damaged'; readonly address: string }
  | { readonly kind: 'fault'; readonly what: string }
  | { readonly kind: 'rest'; readonly actors: Readonly<Record<string, Left>>; readonly dead: readonly string[]; readonly leftovers: readonly string[]; readonly owners: readonly (string | null)[]; readonly loads: readonly number[] }

export type HistoryEntry = Happened & {
  /** Simulated time, ms. */
  readonly time: number
}

export interface HistoryBounds {
  readonly leaseMs: number
  readonly backlogMax: number
  readonly logMax: number
  readonly parkedMax: number
  readonly deadMax: number
  readonly restartsMax: number
  readonly periodMs: number
}

export interface History {
  readonly bounds: HistoryBounds
  readonly entries: readonly HistoryEntry[]
}

export class Recorder {
  readonly entries: HistoryEntry[] = []
  private readonly now: () => number

  constructor(now: () => number) {
    this.now = now
  }

  add(happened: Happened): void {
    this.entries.push({ ...happened, time: this.now() })
  }
}

/** The same for the same history. */
export function traceHash({ entries }: Pick<History, 'entries'>): string {
  const hash = createHash('sha256')
  for (const entry of entries) hash.update(JSON.stringify(entry)).update('\n')
  return hash.digest('hex')
}

/**
 * The turns that become one commit. Per record everything is folded: the last writer of a name wins, and what was set
 * and taken back within the batch stays gone.
 */
import type { Outgoing } from './envelope.js'
import type { Address } from './identity.js'
import { actsMax } from './record.js'
import { withOne } from './small-collections.js'
import type { Appended, Commit, EntryRead, Lease, LogAppend, NewEntry, OutboxEntry, Part, Reply } from './ports/store.js'

/** A message of this process that skipped the log: how to append it after all, and whom to tell. */
export interface Own {
  readonly entry: Outgoing
  resolve(appended: Appended): void
  reject(error: Error): void
}

/** Messages to other shards of one commit: leaves 2^33 commits until a number is no safe integer any more. */
const outboxMax = 2 ** 20

/** Stands for what a part does not do, and is never changed. */
const nothing = new Map<string, never>()
const none: readonly never[] = []

export class PartBuilder implements Part {
  readonly address: Address
  fields: ReadonlyMap<string, string | undefined> = nothing
  life?: 'created' | 'erased'
  terms?: readonly string[]
  handled = 0
  timers: Map<string, number | undefined> = nothing
  effects: Map<string, string | undefined> = nothing
  actions: Map<string, string> = nothing
  entries: readonly Outgoing[] = none
  outbox: readonly OutboxEntry[] = none
  replies: Map<string, Reply> = nothing
  logs: readonly LogAppend[] = none
  park: readonly string[] = none
  unpark = 0

  constructor(address: Address) {
    this.address = address
  }

  /** What a turn wrote, kept as it is if it is the first: the turn changes it no more. */
  write(changes: Map<string, string | undefined>): void {
    if (this.fields.size === 0) this.fields = changes
    else for (const [name, value] of changes) (this.fields as Map<string, string | undefined>).set(name, value)
  }
  setTimer(member: string, dueAt: number): void {
    this.timers = withEntry(this.timers, member, dueAt)
  }
  cancelTimer(member: string): void {
    this.timers = withEntry(this.timers, member, undefined)
  }
  /** One that this part itself has set: the store need not hear of it. */
  forgetTimer(member: string): void {
    this.timers.delete(member)
  }
  beginEffect(id: string, text: string): void {
    this.effects = withEntry(this.effects, id, text)
  }
  endEffect(id: string): void {
    this.effects = withEntry(this.effects, id, undefined)
  }
  keepAction(id: string, text: string): void {
    this.actions = withEntry(this.actions, id, text)
  }
  reply(id: string, reply: Reply): void {
    this.replies = withEntry(this.replies, id, reply)
  }
  append(entry: Outgoing): void {
    this.entries = withOne(this.entries, entry)
  }
  post(entry: OutboxEntry): void {
    this.outbox = withOne(this.outbox, entry)
  }
  log(append: LogAppend): void {
    this.logs = withOne(this.logs, append)
  }
  setAside(text: string): void {
    this.park = withOne(this.park, text)
  }
}

function withEntry<T>(map: Map<string, T>, name: string, value: T): Map<string, T> {
  return (map.size === 0 ? new Map<string, T>() : map).set(name, value)
}

export class Batch {
  readonly number: number
  readonly at: number
  position: number
  /** The entry at `position`, if it moves on. */
  read: EntryRead | undefined
  turns = 0
  /** Size so far, in UTF-16 units: an estimate that costs nothing. */
  chars = 0
  readonly parts = new Map<Address, PartBuilder>()
  /** What leaves for other shards, of all parts, in the order of its numbers: its receiver drops what is below the highest it has seen. */
  readonly outbox: OutboxEntry[] = []
  readonly accepted: { id: string; until: number }[] = []
  readonly confirmed: string[] = []
  readonly delivered: { to: number; through: number }[] = []
  readonly suspects = new Map<string, number | undefined>()
  /** Whether it appends to the shard's own log. */
  isAppending = false
  /** A reply was lost: whether it was written is known only by an answer that says it was. */
  isUnsure = false
  /** Messages that skip the log with this commit. */
  readonly own: Own[] = []
  /** Run in order once the commit is acknowledged. */
  readonly after: (() => void)[] = []
  /** What the order of every timer begins with that this batch sets. */
  readonly order: string

  constructor(number: number, position: number, at: number) {
    this.number = number
    this.order = `${number.toString(36).padStart(10, '0')}.`
    this.position = position
    this.at = at
  }

  /** Puts a message to another shard into the outbox. Numbers grow with every entry of the source shard: by commit, then by place in it. */
  post(part: PartBuilder, to: number, entry: NewEntry): void {
    const numbered = { number: this.number * outboxMax + this.outbox.length, to, entry }
    part.post(numbered)
    this.outbox.push(numbered)
  }

  /** Orders the timers of its next turn among all of the shard. */
  get nextOrder(): string {
    return `${this.order}${String(this.turns).padStart(6, '0')}.`
  }

  /** No room for the messages of another turn. */
  get isFull(): boolean {
    return this.outbox.length + actsMax > outboxMax
  }

  get isEmpty(): boolean {
    return this.parts.size === 0 && this.confirmed.length === 0 && this.delivered.length === 0 && this.suspects.size === 0
  }

  part(address: Address): PartBuilder {
    let part = this.parts.get(address)
    if (!part) this.parts.set(address, (part = new PartBuilder(address)))
    return part
  }

  toCommit(lease: Lease): Commit {
    return {
      lease,
      number: this.number,
      position: this.position,
      ...(this.read ? { read: this.read } : {}),
      at: this.at,
      parts: [...this.parts.values()],
      accepted: this.accepted,
      confirmed: this.confirmed,
      delivered: this.delivered,
      suspects: this.suspects,
    }
  }
}

/**
 * The store port: what the runtime needs from a database, shaped by Redis (one slot a commit, no rollback) and not by
 * the richer LMDB. One exported contract suite (`holdfast/testing`, `storeContract`) says what every adapter must do.
 *
 * P1  Validate, then write. A commit is checked whole (fence, number, every value) before its first write; it is there
 *     whole or not at all.
 * P2  A repeat is harmless. The same epoch with a number already reached is answered `ok` without writing; an entry
 *     whose id is remembered is a `duplicate`; a delivery not above the source's highest number is dropped.
 * P3  The fence stands in the write. A commit under an epoch that is not the shard's, or by a node that does not own it, is
 *     refused, whatever was checked before; a number that does not follow the last is a gap. (The node counts, too, since a
 *     store that went back in time may give the same epoch twice.) So is one whose `position` moves on to another entry than it
 *     has read: such a store gives the number of an entry twice, and what was never read is never trimmed.
 * P4  Order. Entries of one shard are read in the order of their sequence numbers, without holes; commits sent one
 *     after the other on one store object are applied in that order.
 * P5  What was acknowledged is durable within the class that {@link Store.open} names.
 *
 * Not promised: fairness between shards, a clock that never jumps, notice of every append (readers must also look).
 */

import type { MoveMark } from './moving.js'

export type { Cursor, ItemPage, MovableStore, MoveMark, NamespaceChanges, Sealed, SealOver, StoredItem } from './moving.js'

/** What a store is watched for: a shard by its number, the nodes that share the work, what it can be trusted with. */
export type Watched = number | 'nodes' | 'standing'

/** How much an acknowledged write survives. See docs/reliability.md for what each really loses. */
export type Durability =
  /** Memory: gone with the process. */
  | 'D0'
  /** Written, flushed about once a second: a power cut loses up to about 2 s, a plain kill rarely anything. */
  | 'D1'
  /** Flushed to disk before it is acknowledged. */
  | 'D2'
  /** D2, and acknowledged by a replica. */
  | 'D3'

export interface OpenOptions {
  /** A deployment: nothing is shared between namespaces. `[A-Za-z0-9._:-]`, 1 to 256 bytes. */
  readonly namespace: string
  /** Number of shards, 1 to 1,024, fixed when the namespace is created. Default 16; another number than stored is refused. */
  readonly shards?: number
  /** Unhandled messages one actor may have, inclusive. Default 1,000. */
  readonly backlogMax?: number
  /** Unhandled messages one shard may have, inclusive. Default 100,000. */
  readonly logMax?: number
  /**
   * It is opened to be moved from here, or to here, though a mark closes it to all others. From where it is moved it must
   * be there already. Default: it is opened to be used.
   */
  readonly moving?: 'from' | 'to'
}

/** What a store can be trusted with, as it is now. */
export interface Standing {
  readonly durability: Durability
  /** Sentences for the operator: what this store may lose and what to do about it. */
  readonly warnings: readonly string[]
  /** Sentences for the operator: why nothing should run on it, because it loses what it has acknowledged, and what to do about it. */
  readonly refusals: readonly string[]
}

export interface StoreInfo extends Standing {
  /** Made when the namespace was created; another one means another history. */
  readonly incarnation: string
  readonly shards: number
}

export interface NodeIdentity {
  /** Unique for each start of a process. */
  readonly id: string
  /** Tells a dead process from a living one on the same host; absent where that cannot be known. */
  readonly process?: { readonly pid: number; readonly startedAt: string; readonly host: string }
}

export interface Lease {
  readonly shard: number
  /** The fencing token: grows with every change of owner. */
  readonly epoch: number
  readonly node: string
}

/** The owner of a shard that somebody else wanted, and its heartbeat counter as seen now. */
export interface Holder {
  readonly node: string
  readonly beat: number
  /** The store knows that the holder lives. */
  readonly alive?: boolean
}

/** A node that shares the work of a namespace, as the store shows it. */
export interface NodeSeen {
  readonly id: string
  /** Moves with every sign of life. */
  readonly beat: number
  /** leaving: it gives its shards up. dead: another node has seen no sign of life for a lease. To neither is a shard to fall. */
  readonly presence: 'here' | 'leaving' | 'dead'
  /** The store knows whether its process lives. */
  readonly alive?: boolean
}

/** Who shares the shards of a namespace, and whether they may. */
export interface Presence {
  readonly nodes: readonly NodeSeen[]
  /** Signs of life so far, of all nodes there have been; 0 where they are not counted. */
  readonly beats: number
  /** Why no shard may be run until somebody has accepted it; see {@link Store.halt}. */
  readonly halted?: string
  /** How often it was accepted. */
  readonly accepted: number
  /** It is one side of a move; then it is halted, too. */
  readonly mark?: MoveMark
}

/** What a node tells of itself with a sign of life: `gone` takes it off the list. */
export type NodePresence = 'here' | 'leaving' | 'gone'

/** Where a shard stands when it is claimed. */
export interface ShardState {
  /** Number of the last commit; 0 before the first. */
  readonly number: number
  /** What that was before the claim moved it on; absent: it did not. */
  readonly stood?: number
  /** Sequence number up to which the log has been handled. */
  readonly position: number
  /** Sequence number of the last entry of the log. */
  readonly tail: number
  /** Namespace time of the last commit, ms. */
  readonly clock: number
  /** Whether the last owner released the shard by itself. */
  readonly clean: boolean
}

export type Claim = { readonly lease: Lease; readonly state: ShardState } | { readonly heldBy: Holder }

/** A message on its way into a shard's log. */
export interface NewEntry {
  readonly id: string
  /** The actor it is for; its backlog is counted. */
  readonly to: string
  /** The envelope, encoded. */
  readonly text: string
  /** Namespace time until which a repeat of the id is recognised; absent: the id is not remembered. */
  readonly rememberUntil?: number | undefined
  /** It is taken however full backlog and log are: outcomes and facts, which nobody could send again. */
  readonly always?: true | undefined
}

export interface Entry {
  readonly seq: number
  /** Namespace time of the append, ms. */
  readonly at: number
  readonly text: string
}

export type Appended = { readonly seq: number } | 'duplicate' | 'full'

/** What one commit does to one record, all its turns of the batch folded: the last writer of a name wins. */
export interface Part {
  readonly address: string
  /** Fields to write; undefined deletes. */
  readonly fields: ReadonlyMap<string, string | undefined>
  /** Puts the record into the index, or takes record, index and parked messages away. */
  readonly life?: 'created' | 'erased'
  /**
   * What the actor is found by from now on (see {@link FindQuery}), in place of all it was found by before; absent: that
   * stays. At most {@link termsMax}, each of 1 to {@link termCharsMax} characters without a line break. An erased record has none.
   */
  readonly terms?: readonly string[]
  /** Entries of the log that this part handled: taken off the actor's backlog. */
  readonly handled: number
  /** Timer by member (order|address|key): due time in ms, or undefined to remove. Ties of due time fire by member. */
  readonly timers: ReadonlyMap<string, number | undefined>
  /** Effects begun (their record) or ended (undefined), by effect id. */
  readonly effects: ReadonlyMap<string, string | undefined>
  /** Named actions of the batch, to be run again unless confirmed, by action id. */
  readonly actions: ReadonlyMap<string, string>
  /**
   * Messages to actors of this shard: appended to the log by this commit, in order. One that finds its actor's backlog
   * or the shard's log full is appended as {@link overflowOf}, for the owner to refuse it to whoever sent it; beyond
   * twice the bounds it is kept in stream `dead` instead, as {@link overflowLetter} says, and nobody is told.
   */
  readonly entries: readonly NewEntry[]
  /** Messages to other shards, numbered by the source. */
  readonly outbox: readonly OutboxEntry[]
  /** Answers to messages, by message id; kept as long as the id is remembered. */
  readonly replies: ReadonlyMap<string, Reply>
  readonly logs: readonly LogAppend[]
  /** Messages to put behind the actor's parked ones, and how many to take off their front. */
  readonly park: readonly string[]
  readonly unpark: number
}

export interface OutboxEntry {
  /** Grows with every entry of the source shard, over all targets. */
  readonly number: number
  readonly to: number
  readonly entry: NewEntry
}

export interface Reply {
  readonly text: string
  /** Namespace time, ms. */
  readonly until: number
}

export interface LogAppend {
  readonly stream: string
  readonly text: string
  /** The stream keeps this many of its newest entries, this one included, and soon not many more; the oldest go. */
  readonly max: number
}

export interface Commit {
  readonly lease: Lease
  /** The last commit's number plus one. */
  readonly number: number
  /** The log has been handled up to and including this sequence number; it is trimmed below. */
  readonly position: number
  /** The entry at `position`, as it was read; absent where position does not move on. */
  readonly read?: EntryRead
  /** Namespace time at which the turns ran, ms; the store keeps the greatest of it and its own time. */
  readonly at: number
  readonly parts: readonly Part[]
  /** Ids of messages that never passed the log, to be recognised if they are appended after a lost reply. */
  readonly accepted: readonly { readonly id: string; readonly until: number }[]
  /** Ids of actions that have run. */
  readonly confirmed: readonly string[]
  /** Outbox entries delivered, by target shard: up to this number. */
  readonly delivered: readonly { readonly to: number; readonly through: number }[]
  /** Attempts at what was being handled when the process died, by suspect id; undefined clears. */
  readonly suspects: ReadonlyMap<string, number | undefined>
}

/** What tells an entry from any other that ever had its number. */
export interface EntryRead {
  /** As {@link Entry.at}. */
  readonly at: number
  /** What its text begins with; whole characters, its id among them. */
  readonly begins: string
}

export type CommitResult =
  /** appended: the messages of this very commit stand in the log as they are, the last of them at the tail. Absent: not so, or not known, as of a repeat. */
  | { readonly ok: true; readonly at: number; readonly tail: number; readonly appended?: true }
  /**
   * Nothing was written. fenced: another node owns the shard. gap: the number does not follow, or the log does not go so far. unread: the
   * entry at `position` is not `read`. refused: the named part breaks a rule.
   */
  | { readonly ok: false; readonly why: 'fenced' | 'gap' | 'unread' | 'refused'; readonly address?: string; readonly detail: string }

export interface StoredRecord {
  readonly fields: ReadonlyMap<string, string>
  readonly parked: number
}

export interface StoredTimer {
  readonly member: string
  readonly dueAt: number
}

/** What a new owner must take up again. */
export interface Recovery {
  /** Effects without an accepted outcome, by id. */
  readonly effects: readonly (readonly [id: string, text: string])[]
  /** Unconfirmed actions in the order of their commits. */
  readonly actions: readonly (readonly [id: string, text: string])[]
  /** Undelivered messages to other shards, in order. */
  readonly outbox: readonly OutboxEntry[]
  /** Actors with parked messages. */
  readonly parked: readonly string[]
  readonly suspects: readonly (readonly [id: string, attempts: number])[]
}

export interface LogEntry {
  readonly seq: number
  readonly text: string
}

/** An entry of stream `dead` on its way back into the log. */
export interface Redrive {
  readonly seq: number
  /** What is appended in its place; `always` counts for nothing. */
  readonly entry: NewEntry
}

/** gone: the stream had it no more. full: there was no room, and it stays where it was. */
export type Redriven = 'redriven' | 'gone' | 'full'

/** Asks for the actors that fit all of it. */
export interface FindQuery {
  readonly machine?: string
  /** The key of the address: what shares a shard. */
  readonly key?: string
  /** What they must be found by, all of it. The store goes through those that have the first: the rarest had better come first. */
  readonly terms?: readonly string[]
  /** Return addresses above this one, in the order of the index. */
  readonly after?: string
  /** So many actors are looked at, of which those that fit are returned. Default 1,000. */
  readonly limit?: number
}

export interface Found {
  /** In the order of their addresses (bytes). One that fits all the while is found once by whoever pages through. */
  readonly actors: readonly { readonly address: string; readonly terms: readonly string[] }[]
  /** There may be more above this address; absent: there are none. */
  readonly through?: string
}

/** So many commits of a shard may be lost at once without any of their numbers being given again: a minute at 1,000 a second. */
export const lostCommitsMax = 2 ** 16

export const termsMax = 128
export const termCharsMax = 256

/** What is appended in place of a message for which there was no room: `body` is that message. */
export function overflowOf({ id, to, text, rememberUntil }: NewEntry): NewEntry {
  return { id, to, text: `{"id":"${id}","to":"${to}","kind":"overflow","body":${text}}`, rememberUntil }
}

/** What stream `dead` keeps of a message for which there was no room; it holds at most {@link deadOverflowMax} entries. */
export function overflowLetter(entry: NewEntry, at: number): string {
  return JSON.stringify({ reason: 'overflow', detail: `the mailbox of ${entry.to} is full`, at, to: entry.to, text: entry.text })
}

export const deadOverflowMax = 10_000

/** Of a commit that moves on to an entry that it has not read. */
export function isUnread(read: EntryRead, entry: Pick<Entry, 'at' | 'text'> | undefined): boolean {
  return entry === undefined || entry.at !== read.at || !entry.text.startsWith(read.begins)
}

export function unreadDetail(position: number): string {
  return `entry ${position} of the log is not the one that was read`
}

/**
 * What is wrong with a commit, if anything, apart from fence and number: the values that would make a database fail
 * half-way through a write. Every adapter asks this before it writes (P1).
 */
export function faultOf(commit: Commit): { readonly address?: string; readonly detail: string } | undefined {
  if (!isCount(commit.number) || !isCount(commit.position) || !Number.isFinite(commit.at)) return { detail: 'number, position or time is not a finite number' }
  if (commit.read && !Number.isFinite(commit.read.at)) return { detail: `the entry that was read has the time ${commit.read.at}` }
  for (const part of commit.parts) {
    const { address } = part
    if (!isCount(part.handled) || !isCount(part.unpark)) return { address, detail: 'a count is not a whole number' }
    for (const [name, value] of part.fields) {
      if (name === '' || name.length > nameCharsMax) return { address, detail: `the field name ${JSON.stringify(name.slice(0, 40))}… has ${name.length} characters, allowed are 1 to ${nameCharsMax}` }
      if (!isText(name)) return { address, detail: `the field name ${JSON.stringify(name)} holds half a surrogate pair, which is no text` }
      if (value !== undefined && value.length > valueCharsMax) return { address, detail: `field ${name} has ${value.length} characters, allowed are ${valueCharsMax}` }
    }
    for (const [member, due] of part.timers) {
      if (due !== undefined && !Number.isFinite(due)) return { address, detail: `timer ${member} is due at ${due}` }
      if (member.length > nameCharsMax) return { address, detail: `the timer name ${member.slice(0, 40)}… has ${member.length} characters, allowed are ${nameCharsMax}` }
      if (!isText(member)) return { address, detail: `the timer name ${JSON.stringify(member)} holds half a surrogate pair, which is no text` }
    }
    const term = part.terms?.find((text) => text === '' || text.length > termCharsMax || text.includes('\n'))
    if (term !== undefined) return { address, detail: `it is to be found by ${JSON.stringify(term.slice(0, 40))}, of ${term.length} characters; allowed are 1 to ${termCharsMax} without a line break` }
    if (part.terms && part.terms.length > termsMax) return { address, detail: `it is to be found by ${part.terms.length} terms, allowed are ${termsMax}` }
    for (const { number, to } of part.outbox) if (!isCount(number) || !isCount(to)) return { address, detail: 'an outbox entry has no whole number' }
    for (const { id, rememberUntil } of [...part.entries, ...part.outbox.map(({ entry }) => entry)]) {
      if (rememberUntil !== undefined && !Number.isFinite(rememberUntil)) return { address, detail: `message ${id} is to be remembered until ${rememberUntil}` }
    }
    for (const [id, { until }] of part.replies) if (!Number.isFinite(until)) return { address, detail: `the answer to ${id} is to be kept until ${until}` }
    for (const { stream, max } of part.logs) if (!isCount(max)) return { address, detail: `stream ${stream} is to keep ${max} entries` }
  }
  for (const { id, until } of commit.accepted) if (!Number.isFinite(until)) return { detail: `message ${id} is to be remembered until ${until}` }
  for (const { to, through } of commit.delivered) if (!isCount(to) || !isCount(through)) return { detail: `delivered to shard ${to} through ${through}` }
  return undefined
}

/** LMDB keys end at 1,978 bytes; a name is one part of such a key beside an address. */
const nameCharsMax = 800
/** Twice the largest payload, in UTF-16 units; larger strings are a mistake of the runtime. */
const valueCharsMax = 64 * 1_048_576

/** What UTF-8 keeps: half a surrogate pair is read back as something else, and its record is damaged for good. */
function isText(name: string): boolean {
  // Of es2024, and of every Node.js that is supported.
  return (name as string & { isWellFormed(): boolean }).isWellFormed()
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

export interface Store {
  /**
   * Connects, creates the namespace if it is new, and tells what the database can be trusted with.
   * @throws ConfigError when the stored settings differ or the database cannot be used; MoveError if it was moved elsewhere
   */
  open(options: OpenOptions): Promise<StoreInfo>
  /**
   * What it can be trusted with now: settings, servers and disks change while it is open.
   * @throws StoreError if nobody can be asked
   */
  standing(): Promise<Standing>
  /** The store's time, ms since the epoch. */
  now(): Promise<number>
  /**
   * A node's sign of life. Tells of all that share the shards of the namespace, itself included unless it is gone.
   * Where only one process can own at a time, that is the owner, or whoever asks while there is none.
   *
   * @param silent nodes to mark as dead, or, if they were seen marked, to take off the list; none that has shown a sign of life since
   */
  beat(node: NodeIdentity, as: NodePresence, silent: readonly NodeSeen[]): Promise<Presence>
  /** The same, of somebody who only looks. */
  presence(): Promise<Presence>
  /** Has every node let go of its shards and claim none, until it is accepted. Nothing happens if it was accepted more often than that since. */
  halt(why: string, accepted: number): Promise<void>
  /** Lets the nodes go on from what is there. */
  accept(): Promise<void>
  /**
   * Takes ownership. A shard that is held is given only to a caller who shows a holder whose counter has not moved
   * since (`seen`), or where the store itself knows that the holder is dead.
   *
   * Where another node is taken over, and with the first claim after an acceptance, epoch and number of the last commit move on by
   * {@link lostCommitsMax}: a store that went back in time then gives none of its numbers again, and nothing made since is taken for
   * what was lost.
   *
   * @param accepted how often the namespace was accepted, as the node has heard. Default 0
   */
  claim(shard: number, node: NodeIdentity, seen?: Holder, accepted?: number): Promise<Claim>
  /** Moves the heartbeat counter, and tells the number of the last commit; undefined if the lease is lost. */
  renew(lease: Lease): Promise<number | undefined>
  /** Gives the shard up cleanly, and wakes those who watch it; nothing happens if the lease is lost. */
  release(lease: Lease): Promise<void>
  /**
   * Appends messages to a shard's log, in the order given. Anybody may append.
   * `full`: the actor's backlog or the shard's log has reached its bound; nothing of that message was kept.
   */
  append(shard: number, entries: readonly NewEntry[]): Promise<readonly Appended[]>
  /** Up to `max` entries after a sequence number. Waits for the first one until the signal aborts, then answers what there is. */
  read(shard: number, after: number, max: number, signal: AbortSignal): Promise<readonly Entry[]>
  commit(commit: Commit): Promise<CommitResult>
  /**
   * Appends another shard's outbox entries to this shard's log, dropping those delivered before. What finds no room
   * fares as in a commit.
   */
  deliver(to: number, from: number, entries: readonly OutboxEntry[]): Promise<void>
  /**
   * Takes entries out of stream `dead` and appends what was them to the log, in the order given, each in one write: none is
   * in both or in neither. That an id is remembered does not matter. Anybody may.
   */
  redrive(shard: number, letters: readonly Redrive[]): Promise<readonly Redriven[]>
  load(shard: number, addresses: readonly string[]): Promise<readonly (StoredRecord | undefined)[]>
  /** The first `max` parked messages of an actor. */
  parked(shard: number, address: string, max: number): Promise<readonly string[]>
  recover(shard: number): Promise<Recovery>
  /** Timers due up to `until`, in the order in which they fire. */
  timers(shard: number, until: number, max: number): Promise<readonly StoredTimer[]>
  /** The due time of the earliest timer, if there is one. */
  nextTimer(shard: number): Promise<number | undefined>
  log(shard: number, stream: string, after: number, max: number): Promise<readonly LogEntry[]>
  /** Removes a stream's entries up to and including a sequence number. */
  trim(shard: number, stream: string, through: number): Promise<void>
  /** The answer to a message, if there is one yet. */
  reply(shard: number, id: string): Promise<string | undefined>
  find(shard: number, query: FindQuery): Promise<Found>
  /**
   * Calls back, now and then too often, when the shard's records or replies may have changed or it was released; of
   * `nodes`, when one comes or leaves; of `standing`, when that may be another one, such as after a reconnect, as far as
   * the store hears of it. Returns how to stop.
   */
  watch(what: Watched, onChange: () => void): () => void
  close(): Promise<void>
}

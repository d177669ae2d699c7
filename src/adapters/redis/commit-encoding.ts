/**
 * A commit as keys and arguments of commit.lua. What lies in one key for the whole shard (timers, effects …) is folded
 * over all parts here, the last writer of a name wins, so that the script writes it with one command; what has a key or
 * an order of its own follows part by part.
 */
import { Packr } from 'msgpackr'
import { deadOverflowMax, type Commit, type NewEntry, type OutboxEntry, type Part } from '../../runtime/ports/store.js'
import { toKeyMember, type ShardKeys } from './keys.js'

export interface Bounds {
  readonly backlogMax: number
  readonly logMax: number
}

/** From this length on a stream may keep somewhat more than it is told: cutting exactly costs a search for each entry. */
const exactMax = 1_000

/** The first arguments of every script that includes mailbox.lua. */
export function mailboxArgs({ backlogMax, logMax }: Bounds): string[] {
  return [String(backlogMax), String(logMax), String(deadOverflowMax)]
}

/** The term of a message, as mailbox.lua reads it: '!' if it is taken in any case, then until when its id is remembered, if it is. */
export function termArg({ rememberUntil, always }: NewEntry): string {
  return `${always ? '!' : ''}${rememberUntil ?? ''}`
}

export function encodeCommit(commit: Commit, keys: ShardKeys, bounds: Bounds): { readonly keys: string[]; readonly args: (string | Buffer)[] } {
  const list = new KeyList([
    ...keys.mailbox,
    keys.timers,
    keys.effects,
    keys.actions,
    keys.suspects,
    keys.replies,
    keys.replyExpiry,
    keys.outboxes,
    keys.parkedIndex,
    keys.index,
    keys.indexByKey,
    keys.streams,
  ])
  const args = [...mailboxArgs(bounds), String(commit.lease.epoch), commit.lease.node, String(commit.number), String(commit.position), String(commit.at), keys.channel, keys.streamPrefix, commit.read ? String(commit.read.at) : '', commit.read?.begins ?? '']
  const changes: string[] = []
  pushFolded(changes, commit, keys, list)
  if (commit.parts.some(({ terms, life }) => terms || life === 'erased')) changes.push('index', list.place(keys.terms), list.place(keys.termsOf))
  for (const part of commit.parts) pushPart(changes, part, keys, list)
  for (const { to, through } of commit.delivered) changes.push('delivered', list.place(keys.outbox(to)), String(to), String(through))
  return { keys: list.keys, args: [...args, packer.pack(changes)] }
}

const packer = new Packr({ useRecords: false })

/** The keys of one call; arguments name a key by its place, counted from 1. */
class KeyList {
  readonly keys: string[]
  private readonly places = new Map<string, string>()

  constructor(fixed: string[]) {
    this.keys = fixed
    fixed.forEach((key, i) => this.places.set(key, String(i + 1)))
  }

  place(key: string): string {
    let place = this.places.get(key)
    if (place === undefined) this.places.set(key, (place = String(this.keys.push(key))))
    return place
  }
}

/** What lies in one key of the shard: the last writer of a name wins. */
function pushFolded(args: string[], { number, parts, confirmed, suspects, accepted }: Commit, keys: ShardKeys, list: KeyList): void {
  const [due, noTimers] = split(parts.map((part) => part.timers))
  const [begun, ended] = split(parts.map((part) => part.effects))
  const [asked] = split(parts.map((part) => part.actions))
  const [counted, cleared] = split([suspects])
  const [replies] = split(parts.map((part) => part.replies))
  const push = (word: string, key: string, values: readonly string[]): void => {
    if (values.length === 0) return
    args.push(word, list.place(key))
    pushList(args, values)
  }
  push('zadd', keys.timers, [...due].flatMap(([member, dueAt]) => [String(dueAt), member]))
  push('zrem', keys.timers, noTimers)
  push('hset', keys.effects, inOrder(number, begun))
  push('hdel', keys.effects, ended)
  push('hset', keys.actions, inOrder(number, asked))
  push('hdel', keys.actions, confirmed)
  push('hset', keys.suspects, [...counted].flatMap(([id, attempts]) => [id, String(attempts)]))
  push('hdel', keys.suspects, cleared)
  push('hset', keys.replies, [...replies].flatMap(([id, { text }]) => [id, text]))
  push('zadd', keys.replyExpiry, [...replies].flatMap(([id, { until }]) => [String(until), id]))
  if (accepted.length > 0) {
    args.push('accepted')
    pushList(args, accepted.flatMap(({ id, until }) => [String(until), id]))
  }
}

function split<T>(changes: readonly ReadonlyMap<string, T | undefined>[]): [set: Map<string, T>, unset: string[]] {
  const set = new Map<string, T>()
  const unset = new Set<string>()
  for (const map of changes) {
    for (const [name, value] of map) {
      if (value === undefined) {
        set.delete(name)
        unset.add(name)
      } else {
        unset.delete(name)
        set.set(name, value)
      }
    }
  }
  return [set, [...unset]]
}

function pushList(args: string[], values: readonly string[]): void {
  args.push(String(values.length))
  for (const value of values) args.push(value)
}

function pushPart(args: string[], part: Part, keys: ShardKeys, list: KeyList): void {
  const { address } = part
  args.push('part', address)
  if (part.life === 'erased') {
    args.push('erase', toKeyMember(address), list.place(keys.record(address)), list.place(keys.parked(address)))
  } else {
    if (part.life === 'created') args.push('create', toKeyMember(address))
    pushFields(args, part, () => list.place(keys.record(address)))
    if (part.terms) args.push('terms', part.terms.join('\n'))
  }
  if (part.handled !== 0) args.push('handled', String(part.handled))
  for (const entry of part.entries) args.push('entry', entry.id, entry.to, termArg(entry), entry.text)
  for (const [to, entries] of byTarget(part.outbox)) {
    args.push('outbox', list.place(keys.outbox(to)), String(to))
    pushList(args, entries.flatMap((entry) => [String(entry.number), encodeOutboxEntry(entry)]))
  }
  for (const { stream, text, max } of part.logs) args.push('log', list.place(keys.stream(stream)), stream, max < exactMax ? '=' : '~', String(max), text)
  if (part.unpark !== 0 || part.park.length > 0) {
    args.push('park', list.place(keys.parked(address)), String(part.unpark))
    pushList(args, part.park)
  }
}

function pushFields(args: string[], { fields }: Part, record: () => string): void {
  const set: string[] = []
  const unset: string[] = []
  for (const [name, value] of fields) {
    if (value === undefined) unset.push(name)
    else set.push(name, value)
  }
  if (set.length > 0) {
    args.push('hset', record())
    pushList(args, set)
  }
  if (unset.length > 0) {
    args.push('hdel', record())
    pushList(args, unset)
  }
}

function byTarget(entries: readonly OutboxEntry[]): Map<number, OutboxEntry[]> {
  const groups = new Map<number, OutboxEntry[]>()
  for (const entry of entries) {
    const group = groups.get(entry.to)
    if (group) group.push(entry)
    else groups.set(entry.to, [entry])
  }
  return groups
}

// ── Values that carry an order or a header ──

/** A header without a line break, a line break, and the text as it is: nothing has to be escaped or parsed again. */
export function encodeOutboxEntry({ number, entry }: OutboxEntry): string {
  return `${JSON.stringify([number, entry.id, entry.to, entry.rememberUntil ?? null, ...(entry.always ? [1] : [])])}\n${entry.text}`
}

export function decodeOutboxEntry(to: number, member: string): OutboxEntry {
  const end = member.indexOf('\n')
  const [number, id, address, until, always] = JSON.parse(member.slice(0, end)) as [number, string, string, number | null, 1?]
  return { number, to, entry: { id, to: address, text: member.slice(end + 1), ...(until === null ? {} : { rememberUntil: until }), ...(always ? { always: true } : {}) } }
}

/** A hash has no order: each value is preceded by its commit and its place in it. */
function inOrder(commit: number, values: ReadonlyMap<string, string>): string[] {
  let place = 0
  return [...values].flatMap(([id, text]) => [id, `${commit} ${place++} ${text}`])
}

/** Ids and values by turns, as HGETALL answers, in the order of their commits. */
export function decodeInOrder(flat: readonly string[]): [id: string, text: string][] {
  const found: { commit: number; place: number; id: string; text: string }[] = []
  for (let i = 0; i + 1 < flat.length; i += 2) {
    const value = flat[i + 1]!
    const first = value.indexOf(' ')
    const second = value.indexOf(' ', first + 1)
    found.push({ commit: Number(value.slice(0, first)), place: Number(value.slice(first + 1, second)), id: flat[i]!, text: value.slice(second + 1) })
  }
  found.sort((a, b) => a.commit - b.commit || a.place - b.place)
  return found.map(({ id, text }) => [id, text])
}

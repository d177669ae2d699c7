/**
 * What a shard holds as the items of a move, and back. Only what has an order of its own is read page by page, by rank or
 * by name: SCAN may give an element twice, and a digest would not come out. The hashes without an order are those that an
 * owner reads whole, too, when it takes a shard over.
 */
import { ending, pageCharsMax, pageItemsMax, sizeOf, type Cursor, type ItemPage, type StoredItem } from '../../runtime/ports/moving.js'
import { decodeInOrder, decodeOutboxEntry, encodeOutboxEntry } from './commit-encoding.js'
import type { Command } from './connection.js'
import { toKeyMember, type ShardKeys } from './keys.js'
import { decodeLogItem, decodeStreamItem, type StreamItem } from './log-items.js'

type Ask = (commands: readonly Command[]) => Promise<readonly unknown[]>

/** Items, and what to go on after: a name, a rank or a number, or a name and a number. Nothing more: the section is over. */
interface Part {
  readonly items: readonly StoredItem[]
  readonly after?: After
}
type After = string | number | readonly [string, number]
type Section = (ask: Ask, keys: ShardKeys, after: After | undefined) => Promise<Part>

const partMax = 500
/** Records may be large. */
const recordsMax = 32

/** One after the other. A cursor is the number of a section, and what to go on after in it. */
const sections: readonly Section[] = [
  async (ask, keys) => {
    const [stored] = (await ask([['HMGET', keys.meta, 'number', 'position', 'seq', 'clock', 'clean', 'epoch']])) as [(string | null)[]]
    const [number, position, tail, clock, clean, epoch] = stored
    return { items: [{ kind: 'shard', number: Number(number), position: Number(position), tail: Number(tail), clock: Number(clock), clean: clean !== '0', epoch: Number(epoch) }] }
  },
  async (ask, keys, after) => {
    const from = after ?? Number(((await ask([['HGET', keys.meta, 'position']])) as [string | null])[0])
    const [found] = (await ask([['XRANGE', keys.log, `(${from as number}`, '+', 'COUNT', partMax]])) as [StreamItem[]]
    return part(found, found.map((item) => ({ kind: 'entry', ...decodeLogItem(item) })), (items) => (items.at(-1) as { seq: number }).seq)
  },
  hash((keys) => keys.backlog, (address, count) => ({ kind: 'backlog', address, count: Number(count) })),
  hash((keys) => keys.delivered, (from, number) => ({ kind: 'delivered', from: Number(from), number: Number(number) })),
  async (ask, keys, after) => ranked(ask, keys.ids, after, (id, until) => ({ kind: 'id', id, until })),
  async (ask, keys, after) => {
    const found = await scores(ask, keys.replyExpiry, after)
    if (found.length === 0) return { items: [] }
    const [texts] = (await ask([['HMGET', keys.replies, ...found.map(([id]) => id)]])) as [(string | null)[]]
    return part(found, found.flatMap(([id, until], i) => (texts[i] === null ? [] : [{ kind: 'reply' as const, id, text: texts[i]!, until }])), () => Number(after ?? 0) + found.length)
  },
  async (ask, keys, after) => ranked(ask, keys.timers, after, (member, dueAt) => ({ kind: 'timer', member, dueAt })),
  hash((keys) => keys.effects, (id, value) => ({ kind: 'effect', id, text: decodeInOrder([id, value])[0]![1] })),
  async (ask, keys) => {
    const [flat] = (await ask([['HGETALL', keys.actions]])) as [string[]]
    return { items: decodeInOrder(flat).map(([id, text], place) => ({ kind: 'action', place, id, text })) }
  },
  hash((keys) => keys.suspects, (id, attempts) => ({ kind: 'suspect', id, attempts: Number(attempts) })),
  nested(
    async (ask, keys) => ((await ask([['SMEMBERS', keys.outboxes]])) as [string[]])[0],
    async (ask, keys, to, rank) => {
      const [members] = (await ask([['ZRANGE', keys.outbox(Number(to)), rank, rank + partMax - 1]])) as [string[]]
      return { found: members.length, items: members.map((member) => ({ kind: 'outbox', entry: decodeOutboxEntry(Number(to), member) })), next: rank + members.length }
    },
  ),
  async (ask, keys, after) => {
    const [addresses] = (await ask([['ZRANGEBYLEX', keys.index, after === undefined ? '-' : `(${after as string}`, '+', 'LIMIT', 0, recordsMax]])) as [string[]]
    if (addresses.length === 0) return { items: [] }
    const [terms, ...hashes] = (await ask([['HMGET', keys.termsOf, ...addresses], ...addresses.map((address) => ['HGETALL', keys.record(address)] as const)])) as [(string | null)[], ...string[][]]
    return part(addresses, addresses.map((address, i) => ({ kind: 'record', address, fields: pairs(hashes[i]!), terms: terms[i]?.split('\n') ?? [] })), () => addresses.at(-1)!, recordsMax)
  },
  nested(
    async (ask, keys) => ((await ask([['SMEMBERS', keys.parkedIndex]])) as [string[]])[0],
    async (ask, keys, address, place) => {
      const [texts] = (await ask([['LRANGE', keys.parked(address), place, place + partMax - 1]])) as [string[]]
      return { found: texts.length, items: texts.map((text, i) => ({ kind: 'parked', address, place: place + i, text })), next: place + texts.length }
    },
  ),
  nested(
    async (ask, keys) => {
      // A message without room is kept there by scripts that know of no names.
      const [names, dead] = (await ask([['ZRANGE', keys.streams, 0, -1], ['EXISTS', keys.stream('dead')]])) as [string[], number]
      return dead === 1 && !names.includes('dead') ? [...names, 'dead'] : names
    },
    async (ask, keys, name, place) => {
      const key = keys.stream(name)
      const [found] = (await ask([['XRANGE', key, `(0-${place}`, '+', 'COUNT', partMax]])) as [StreamItem[]]
      const lines = found.map((item) => ({ kind: 'line' as const, stream: name, ...decodeStreamItem(item) }))
      const next = lines.at(-1)?.seq ?? place
      if (place > 0) return { found: found.length, items: lines, next }
      const last = await lastOf(ask, key)
      const stream: StoredItem = { kind: 'stream', name, first: (lines[0]?.seq ?? last + 1) - 1, last }
      return { found: found.length, items: last === 0 ? [] : [stream, ...lines], next }
    },
  ),
]

function part(found: readonly unknown[], items: readonly StoredItem[], after: (items: readonly StoredItem[]) => After, max = partMax): Part {
  return found.length < max ? { items } : { items, after: after(items) }
}

/** A hash without an order, by name. */
function hash(keyOf: (keys: ShardKeys) => string, toItem: (name: string, value: string) => StoredItem): Section {
  return async (ask, keys, after) => {
    const [all] = (await ask([['HKEYS', keyOf(keys)]])) as [string[]]
    const names = all.filter((name) => after === undefined || name > (after as string)).sort().slice(0, partMax)
    if (names.length === 0) return { items: [] }
    const [values] = (await ask([['HMGET', keyOf(keys), ...names]])) as [string[]]
    return part(names, names.map((name, i) => toItem(name, values[i]!)), () => names.at(-1)!)
  }
}

async function scores(ask: Ask, key: string, after: After | undefined): Promise<[member: string, score: number][]> {
  const rank = Number(after ?? 0)
  const [flat] = (await ask([['ZRANGE', key, rank, rank + partMax - 1, 'WITHSCORES']])) as [string[]]
  return pairs(flat).map(([member, score]) => [member, Number(score)])
}

async function ranked(ask: Ask, key: string, after: After | undefined, toItem: (member: string, score: number) => StoredItem): Promise<Part> {
  const found = await scores(ask, key, after)
  return part(found, found.map(([member, score]) => toItem(member, score)), () => Number(after ?? 0) + found.length)
}

/** Keys that have names, each with an order of its own. */
function nested(namesOf: (ask: Ask, keys: ShardKeys) => Promise<readonly string[]>, read: (ask: Ask, keys: ShardKeys, name: string, place: number) => Promise<{ found: number; items: readonly StoredItem[]; next: number }>): Section {
  return async (ask, keys, after) => {
    const [from, place] = (after ?? ['', 0]) as readonly [string, number]
    const names = [...(await namesOf(ask, keys))].filter((name) => name >= from).sort()
    const items: StoredItem[] = []
    for (const [i, name] of names.entries()) {
      const more = await read(ask, keys, name, name === from ? place : 0)
      items.push(...more.items)
      const isOver = more.found < partMax
      if (isOver && i === names.length - 1) break
      if (!isOver) return { items, after: [name, more.next] }
      // The next name from its start.
      if (items.length >= partMax) return { items, after: [names[i + 1]!, 0] }
    }
    return { items }
  }
}

async function lastOf(ask: Ask, key: string): Promise<number> {
  const [info] = (await ask([['XINFO', 'STREAM', key]])) as [unknown[]]
  const id = String(info[info.indexOf('last-generated-id') + 1])
  return Number(id.slice(id.indexOf('-') + 1))
}

function pairs(flat: readonly string[]): [string, string][] {
  const found: [string, string][] = []
  for (let i = 0; i + 1 < flat.length; i += 2) found.push([flat[i]!, flat[i + 1]!])
  return found
}

export async function readPage(ask: Ask, keys: ShardKeys, cursor: Cursor): Promise<ItemPage> {
  const [first, from] = (cursor === '' ? [0] : JSON.parse(cursor)) as [number, After?]
  const items: StoredItem[] = []
  let chars = 0
  for (let section = first; section < sections.length; section++) {
    let after = section === first ? from : undefined
    do {
      const more = await sections[section]!(ask, keys, after)
      after = more.after
      items.push(...more.items)
      for (const item of more.items) chars += sizeOf(item)
      if (items.length < pageItemsMax && chars < pageCharsMax) continue
      if (after !== undefined) return { from: cursor, items, next: JSON.stringify([section, after]) }
      return { from: cursor, items, next: section + 1 < sections.length ? JSON.stringify([section + 1]) : ending }
    } while (after !== undefined)
  }
  return { from: cursor, items, next: ending }
}

// ── Writing ──

/** Keys and commands as fill.lua takes them. */
export interface Filling {
  readonly keys: readonly string[]
  readonly args: readonly string[]
}

/** Lua passes about 8,000 arguments to one call; even, so that no pair is torn apart. */
const argumentsMax = 4_000

class Commands {
  private readonly places = new Map<string, number>()
  private readonly commands: { readonly name: string; readonly key: string; readonly args: string[] }[] = []
  private readonly open = new Map<string, { readonly args: string[] }>()

  constructor(keys: ShardKeys) {
    this.placeOf(keys.meta)
  }

  /** A command of its own. */
  add(name: string, key: string, ...args: readonly string[]): void {
    this.commands.push({ name, key, args: [...args] })
  }

  /** Together with the others of that name and key, in their order. */
  gather(name: string, key: string, ...args: readonly string[]): void {
    const id = `${name} ${key}`
    let command = this.open.get(id)
    if (!command || command.args.length + args.length > argumentsMax) {
      this.add(name, key)
      this.open.set(id, (command = this.commands.at(-1)!))
    }
    command.args.push(...args)
  }

  private placeOf(key: string): number {
    let place = this.places.get(key)
    if (place === undefined) this.places.set(key, (place = this.places.size + 1))
    return place
  }

  filling(): Filling {
    const args: string[] = []
    for (const { name, key, args: own } of this.commands) {
      args.push(name, String(this.placeOf(key)), String(own.length))
      for (const arg of own) args.push(arg)
    }
    return { keys: [...this.places.keys()], args }
  }
}

export function commandsOf(items: readonly StoredItem[], keys: ShardKeys): Filling {
  const commands = new Commands(keys)
  for (const item of items) put(commands, keys, item)
  return commands.filling()
}

function put(to: Commands, keys: ShardKeys, item: StoredItem): void {
  switch (item.kind) {
    case 'shard':
      to.add('HSET', keys.meta, 'number', String(item.number), 'position', String(item.position), 'seq', String(item.tail), 'clock', String(item.clock), 'clean', item.clean ? '1' : '0')
      to.add('EPOCH', keys.meta, String(item.epoch))
      break
    case 'entry':
      to.add('XADD', keys.log, `${item.seq}-0`, 'a', String(item.at), 't', item.text)
      break
    case 'backlog':
      to.gather('HSET', keys.backlog, item.address, String(item.count))
      break
    case 'delivered':
      to.gather('HSET', keys.delivered, String(item.from), String(item.number))
      break
    case 'id':
      to.gather('ZADD', keys.ids, String(item.until), item.id)
      break
    case 'reply':
      to.gather('HSET', keys.replies, item.id, item.text)
      to.gather('ZADD', keys.replyExpiry, String(item.until), item.id)
      break
    case 'timer':
      to.gather('ZADD', keys.timers, String(item.dueAt), item.member)
      break
    case 'effect':
      to.gather('HSET', keys.effects, item.id, `0 0 ${item.text}`)
      break
    case 'action':
      // There is no commit 0: they come before all that are asked for here.
      to.gather('HSET', keys.actions, item.id, `0 ${item.place} ${item.text}`)
      break
    case 'suspect':
      to.gather('HSET', keys.suspects, item.id, String(item.attempts))
      break
    case 'outbox':
      to.gather('ZADD', keys.outbox(item.entry.to), String(item.entry.number), encodeOutboxEntry(item.entry))
      to.gather('SADD', keys.outboxes, String(item.entry.to))
      break
    case 'record':
      for (const [name, value] of item.fields) to.gather('HSET', keys.record(item.address), name, value)
      to.gather('ZADD', keys.index, '0', item.address)
      to.gather('ZADD', keys.indexByKey, '0', toKeyMember(item.address))
      for (const term of item.terms) to.gather('ZADD', keys.terms, '0', `${term}\n${item.address}`)
      if (item.terms.length > 0) to.gather('HSET', keys.termsOf, item.address, item.terms.join('\n'))
      break
    case 'parked':
      to.gather('RPUSH', keys.parked(item.address), item.text)
      to.gather('SADD', keys.parkedIndex, item.address)
      break
    case 'stream':
      to.gather('ZADD', keys.streams, '0', item.name)
      // Empty, and yet with a number to go on from, which its last line need not have: that may have been removed.
      to.add('XADD', keys.stream(item.name), `0-${item.last}`, 't', '')
      to.add('XTRIM', keys.stream(item.name), 'MAXLEN', '0')
      break
    case 'line':
      to.gather('LINES', keys.stream(item.stream), String(item.seq), item.text)
      break
  }
}

/** What one removal takes of records, parked messages and streams. */
const removalMax = 500

/** Some of what the shard holds; once there is no more than that, all of it. */
export async function removalOf(ask: Ask, keys: ShardKeys): Promise<{ readonly filling: Filling; readonly isAll: boolean }> {
  const [addresses, parked, streams, targets] = (await ask([
    ['ZRANGE', keys.index, 0, removalMax - 1],
    ['SRANDMEMBER', keys.parkedIndex, removalMax],
    ['ZRANGE', keys.streams, 0, removalMax - 1],
    ['SMEMBERS', keys.outboxes],
  ])) as string[][]
  const commands = new Commands(keys)
  // First, so that what is only partly removed is not taken for something.
  commands.add('HDEL', keys.meta, 'number', 'position', 'seq', 'clock', 'clean')
  const remove = (names: readonly string[], index: string, how: string, keyOf: (name: string) => string): void => {
    for (const name of names) {
      commands.add('UNLINK', keyOf(name))
      commands.gather(how, index, name)
    }
  }
  remove(addresses!, keys.index, 'ZREM', (address) => keys.record(address))
  remove(parked!, keys.parkedIndex, 'SREM', (address) => keys.parked(address))
  remove(streams!, keys.streams, 'ZREM', (name) => keys.stream(name))
  const isAll = [addresses!, parked!, streams!].every(({ length }) => length < removalMax)
  if (isAll) {
    for (const to of targets!) commands.add('UNLINK', keys.outbox(Number(to)))
    for (const key of [keys.log, keys.ids, keys.backlog, keys.delivered, keys.timers, keys.effects, keys.actions, keys.suspects, keys.replies, keys.replyExpiry, keys.outboxes, keys.index, keys.indexByKey, keys.terms, keys.termsOf, keys.streams, keys.stream('dead')]) commands.add('UNLINK', key)
  }
  return { filling: commands.filling(), isAll }
}

/**
 * Where everything stands. There is one LMDB database for all namespaces; its keys are bytes and ordered as bytes. In
 * this code a key is a string of characters 0 to 255, one for each byte: such strings are cheap to put together, and
 * comparing two of them compares their bytes.
 *
 * What belongs to a shard begins with the number of the namespace and of the shard (2 bytes each) and a letter:
 *
 * | letter | then | value | what it is |
 * |---|---|---|---|
 * | `h` | | head, JSON | owner, epoch, counters: everything that each write of the shard changes |
 * | `l` | seq | time, text | the log |
 * | `b` | address | count | the backlog of an actor |
 * | `i` | message id | until | ids remembered |
 * | `r` | message id | until, text | answers |
 * | `x` | until, `i` or `r`, message id | | when ids and answers end; may name a time that has been put off since |
 * | `f` | address, name | text | the fields of a record |
 * | `a` | address | terms | the index of records, with what each is found by; a line break between two |
 * | `k` | key and path, machine | address | the same, by what follows the slash |
 * | `j` | term, address | | what actors are found by |
 * | `p` | address | first, last | which of its parked messages there are: above first, up to last |
 * | `q` | address, number | text | parked messages |
 * | `t` | member | due time | timers by member |
 * | `d` | due time, member | | timers by due time |
 * | `e` | effect id | text | effects begun |
 * | `n` | action id | order | where an unconfirmed action stands in `c` |
 * | `c` | order | id, text | unconfirmed actions in the order of their commits |
 * | `s` | suspect id | attempts | suspects |
 * | `o` | shard, number | message | the outbox, by target |
 * | `v` | shard | number | deliveries taken, by source |
 * | `m` | stream | number, first, last, holes | a stream: its entries stand above first, up to last, under its number, but for so many that were removed one by one |
 * | `y` | number of a stream, seq | text | entries of streams |
 * | `g` | number of a stream | last | streams whose entries are still to be removed, bit by bit |
 *
 * Namespace 0 is the folder's own: `m` holds the format and how many namespaces there are, `n` and a name one of them.
 *
 * Numbers in keys are doubles made to sort as bytes. Texts are UTF-8; a character 0 and a surrogate without its other
 * half, which UTF-8 cannot keep, are escaped by a 0 byte, so that 0 and 1 can close a text that is not the last part.
 */

/** A string of characters 0 to 255, one for each byte. */
export type Key = string

/** What LMDB takes, with pages of 4 KiB. */
export const keyBytesMax = 1_978

/** A value that cannot be stored. It is thrown while a write is being prepared, before anything is written. */
export class Refusal extends Error {
  readonly actual: number
  constructor(message: string, actual = Number.NaN) {
    super(message)
    this.name = 'Refusal'
    this.actual = actual
  }
}

/** Closes a text that is not the last part of its key. */
const close = '\u0000\u0001'
const escapedZero = '\u0000\u0002'
const escapedSurrogate = '\u0000\u0003'

// Zero bytes escape, so control characters are meant.
/* oxlint-disable no-control-regex */
const standsForItself = /^[\u0001-\u007f]*$/
const toEscape = /\u0000|\p{Surrogate}/gu
const escaped = /\u0000(?:\u0002|\u0003([0-9a-f]{4}))/g
/* oxlint-enable no-control-regex */

export function encodeText(text: string): Key {
  if (typeof text !== 'string') throw new Refusal(`a ${typeof text} stands where a text is expected`)
  if (standsForItself.test(text)) return text
  const safe = text.replace(toEscape, (char) => (char === '\u0000' ? escapedZero : escapedSurrogate + char.charCodeAt(0).toString(16)))
  return Buffer.from(safe, 'utf8').toString('latin1')
}

export function decodeText(bytes: Key): string {
  if (standsForItself.test(bytes)) return bytes
  return Buffer.from(bytes, 'latin1')
    .toString('utf8')
    .replace(escaped, (_, surrogate: string | undefined) => (surrogate === undefined ? '\u0000' : String.fromCharCode(Number.parseInt(surrogate, 16))))
}

const view = new DataView(new ArrayBuffer(8))
const bytes = new Uint8Array(view.buffer)

/** 8 bytes that sort as the number does; -0 is 0. */
export function encodeNumber(value: number): Key {
  if (typeof value !== 'number' || Number.isNaN(value)) throw new Refusal(`${String(value)} stands where a number is expected`)
  view.setFloat64(0, value + 0)
  flip((bytes[0]! & 0x80) !== 0)
  return String.fromCharCode(bytes[0]!, bytes[1]!, bytes[2]!, bytes[3]!, bytes[4]!, bytes[5]!, bytes[6]!, bytes[7]!)
}

export function decodeNumber(key: Key, start: number): number {
  for (let i = 0; i < 8; i++) bytes[i] = key.charCodeAt(start + i)
  flip((bytes[0]! & 0x80) === 0)
  return view.getFloat64(0)
}

function flip(negative: boolean): void {
  if (!negative) bytes[0]! ^= 0x80
  else for (let i = 0; i < 8; i++) bytes[i]! ^= 0xff
}

/** The keys from `start` up to, but not including, `end`. */
export interface Range {
  readonly start: Key
  readonly end: Key
}

/** All keys that begin so. The last byte of a prefix is a letter or a closing 1, so one more is never too much. */
function startingWith(prefix: Key): Range {
  const last = prefix.length - 1
  return { start: prefix, end: prefix.slice(0, last) + String.fromCharCode(prefix.charCodeAt(last) + 1) }
}

/** Greater than every text that begins with `prefix`: UTF-8 has no byte 255. */
function textsStartingWith(prefix: Key): Range {
  return { start: prefix, end: `${prefix}\u00ff` }
}

/** The keys of one shard. */
export class ShardKeys {
  readonly head: Key
  private readonly base: Key

  constructor(namespace: number, shard: number) {
    this.base = String.fromCharCode(namespace >> 8, namespace & 255, shard >> 8, shard & 255)
    this.head = `${this.base}h`
  }

  logEntry(seq: number): Key {
    return `${this.base}l${encodeNumber(seq)}`
  }
  logAfter(seq: number): Range {
    return { start: this.logEntry(seq + 1), end: startingWith(`${this.base}l`).end }
  }
  seqOf(logKey: Key): number {
    return decodeNumber(logKey, this.base.length + 1)
  }
  backlog(address: string): Key {
    return `${this.base}b${encodeText(address)}`
  }

  id(id: string): Key {
    return `${this.base}i${encodeText(id)}`
  }
  reply(id: string): Key {
    return `${this.base}r${encodeText(id)}`
  }
  expiry(until: number, what: 'i' | 'r', id: string): Key {
    return `${this.base}x${encodeNumber(until)}${what}${encodeText(id)}`
  }
  expiriesUpTo(time: number): Range {
    return { start: `${this.base}x`, end: `${this.base}x${encodeNumber(time)}\u00ff` }
  }
  /** The key whose end an expiry tells. */
  expiring(expiryKey: Key): Key {
    return this.base + expiryKey.slice(this.base.length + 9)
  }

  field(address: string, name: string): Key {
    return `${this.base}f${encodeText(address)}${close}${encodeText(name)}`
  }
  fields(address: string): Range {
    return startingWith(`${this.base}f${encodeText(address)}${close}`)
  }
  nameIn(fieldKey: Key, fields: Range): string {
    return decodeText(fieldKey.slice(fields.start.length))
  }

  record(address: string): Key {
    return `${this.base}a${encodeText(address)}`
  }
  addressOf(key: Key): string {
    return decodeText(key.slice(this.base.length + 1))
  }
  /** Records of a machine, or all. */
  records(machine: string | undefined): Range {
    return machine === undefined ? startingWith(`${this.base}a`) : textsStartingWith(this.record(`${machine}/`))
  }
  recordByKey(address: string): Key {
    const slash = address.indexOf('/')
    return `${this.base}k${encodeText(address.slice(slash + 1))}${close}${encodeText(address.slice(0, Math.max(slash, 0)))}`
  }
  /** Records under a key, and those under paths below it. */
  recordsByKey(key: string): readonly Range[] {
    const text = `${this.base}k${encodeText(key)}`
    return [startingWith(text + close), textsStartingWith(`${text}~`)]
  }

  term(term: string, address: string): Key {
    return `${this.base}j${encodeText(term)}${close}${encodeText(address)}`
  }
  /** Whom the term finds, of a machine or all. */
  foundBy(term: string, machine: string | undefined): Range {
    return machine === undefined ? startingWith(this.term(term, '')) : textsStartingWith(this.term(term, `${machine}/`))
  }
  addressIn(termKey: Key, term: string): string {
    return decodeText(termKey.slice(this.term(term, '').length))
  }

  parked(address: string): Key {
    return `${this.base}p${encodeText(address)}`
  }
  allParked(): Range {
    return startingWith(`${this.base}p`)
  }
  parkedMessage(address: string, number: number): Key {
    return `${this.base}q${encodeText(address)}${close}${encodeNumber(number)}`
  }

  timer(member: string): Key {
    return `${this.base}t${encodeText(member)}`
  }
  due(dueAt: number, member: string): Key {
    return `${this.base}d${encodeNumber(dueAt)}${encodeText(member)}`
  }
  dueUpTo(until: number): Range {
    return { start: `${this.base}d`, end: `${this.base}d${encodeNumber(until)}\u00ff` }
  }
  timerOf(dueKey: Key): { member: string; dueAt: number } {
    const start = this.base.length + 1
    return { member: decodeText(dueKey.slice(start + 8)), dueAt: decodeNumber(dueKey, start) }
  }

  effect(id: string): Key {
    return `${this.base}e${encodeText(id)}`
  }
  suspect(id: string): Key {
    return `${this.base}s${encodeText(id)}`
  }
  action(id: string): Key {
    return `${this.base}n${encodeText(id)}`
  }
  actionInOrder(order: number): Key {
    return `${this.base}c${encodeNumber(order)}`
  }
  all(letter: 'a' | 'b' | 'c' | 'd' | 'e' | 'i' | 'l' | 'm' | 'o' | 'p' | 'r' | 's' | 'v'): Range {
    return startingWith(this.base + letter)
  }
  /** All keys of the shard but the head's. */
  exceptHead(): readonly Range[] {
    return [
      { start: this.base, end: this.head },
      { start: `${this.head}\u0000`, end: `${this.base}\u00ff` },
    ]
  }
  idOf(key: Key): string {
    return decodeText(key.slice(this.base.length + 1))
  }

  outbox(to: number, number: number): Key {
    return `${this.base}o${encodeNumber(to)}${encodeNumber(number)}`
  }
  outboxOf(key: Key): { to: number; number: number } {
    const start = this.base.length + 1
    return { to: decodeNumber(key, start), number: decodeNumber(key, start + 8) }
  }
  outboxUpTo(to: number, through: number): Range {
    return { start: `${this.base}o${encodeNumber(to)}`, end: `${this.outbox(to, through)}\u0000` }
  }
  delivered(from: number): Key {
    return `${this.base}v${encodeNumber(from)}`
  }
  sourceOf(deliveredKey: Key): number {
    return decodeNumber(deliveredKey, this.base.length + 1)
  }

  stream(name: string): Key {
    return `${this.base}m${encodeText(name)}`
  }
  streamsStartingWith(prefix: string): Range {
    return textsStartingWith(this.stream(prefix))
  }
  streamEntry(number: number, seq: number): Key {
    return `${this.base}y${encodeNumber(number)}${encodeNumber(seq)}`
  }
  streamEntries(number: number, after: number, last: number): Range {
    return { start: this.streamEntry(number, after + 1), end: `${this.streamEntry(number, last)}\u0000` }
  }
  streamSeqOf(entryKey: Key): number {
    return decodeNumber(entryKey, this.base.length + 9)
  }
  endedStream(number: number): Key {
    return `${this.base}g${encodeNumber(number)}`
  }
  endedStreams(): Range {
    return startingWith(`${this.base}g`)
  }
  endedStreamOf(key: Key): number {
    return decodeNumber(key, this.base.length + 1)
  }
}

/** The folder's own keys, see the table. */
export const folderKey: Key = '\u0000\u0000m'

/** Also those that other programs would write. */
export const allKeys: Range = { start: '\u0000', end: '\u00ff'.repeat(keyBytesMax + 1) }

export function namespaceKey(name: string): Key {
  return `\u0000\u0000n${encodeText(name)}`
}

/** Why no shard of the namespace may be run now, if so. */
export function haltKeyOf(name: string): Key {
  return `\u0000\u0000h${encodeText(name)}`
}

/** What a shard holds as the items of a move, and back. A page reads one moment. */
import { ending, pageCharsMax, pageItemsMax, sizeOf, type Cursor, type ItemPage, type StoredItem } from '../../runtime/ports/moving.js'
import type { Draft } from './draft.js'
import type { Key, Range, ShardKeys } from './keys.js'
import { readHead, type ShardHead } from './shard-head.js'
import { parkedOf, readRecord, readTerms } from './shard-reads.js'
import { encodeStream, readStream } from './stream-draft.js'
import type { Reader } from './tree.js'
import { decodeMessage, decodeTimed, encodeMessage, encodeTimed, join, split } from './values.js'

/** An item, and what to go on after: a key, or how many of an actor's messages or of a stream's lines came before. */
type Found = readonly [item: StoredItem, after: readonly [Key, number?]]
type Section = (reader: Reader, keys: ShardKeys, after: Key | undefined, place: number) => Generator<Found>

/** One after the other. A cursor is the number of a section, and what to go on after in it. */
const sections: readonly Section[] = [
  function* (reader, keys) {
    const { number, position, tail, clock, clean, epoch } = readHead(reader, keys.head)
    yield [{ kind: 'shard', number, position, tail, clock, clean, epoch }, ['']]
  },
  function* (reader, keys, _, place) {
    for (const { key, value } of reader.entries(keys.logAfter(Math.max(place, readHead(reader, keys.head).position)))) {
      const seq = keys.seqOf(key)
      yield [{ kind: 'entry', seq, ...decodeTimed(value) }, ['', seq]]
    }
  },
  each('b', (keys, key, value) => ({ kind: 'backlog', address: keys.idOf(key), count: Number(value) })),
  each('v', (keys, key, value) => ({ kind: 'delivered', from: keys.sourceOf(key), number: Number(value) })),
  each('i', (keys, key, value) => ({ kind: 'id', id: keys.idOf(key), until: Number(value) })),
  each('r', (keys, key, value) => {
    const { at, text } = decodeTimed(value)
    return { kind: 'reply', id: keys.idOf(key), text, until: at }
  }),
  each('d', (keys, key) => ({ kind: 'timer', ...keys.timerOf(key) })),
  each('e', (keys, key, value) => ({ kind: 'effect', id: keys.idOf(key), text: value })),
  function* (reader, keys, after, place) {
    for (const { key, value } of reader.entries(behind(keys.all('c'), after))) {
      const [id, text] = split(value) as [string, string]
      yield [{ kind: 'action', place: place++, id, text }, [key, place]]
    }
  },
  each('s', (keys, key, value) => ({ kind: 'suspect', id: keys.idOf(key), attempts: Number(value) })),
  each('o', (keys, key, value) => ({ kind: 'outbox', entry: { ...keys.outboxOf(key), entry: decodeMessage(value) } })),
  function* (reader, keys, after) {
    for (const key of reader.keys(behind(keys.all('a'), after))) {
      const address = keys.addressOf(key)
      yield [{ kind: 'record', address, fields: [...(readRecord(reader, keys, address)?.fields ?? [])], terms: readTerms(reader, keys, address) }, [key]]
    }
  },
  function* (reader, keys, after, place) {
    for (const key of reader.keys(from(keys.all('p'), after))) {
      const address = keys.idOf(key)
      const [first, last] = parkedOf(reader, keys, address)
      for (let next = key === after ? place : 0; first + next < last; next++) {
        yield [{ kind: 'parked', address, place: next, text: reader.get(keys.parkedMessage(address, first + next + 1)) ?? '' }, [key, next + 1]]
      }
    }
  },
  function* (reader, keys, after, place) {
    for (const key of reader.keys(from(keys.all('m'), after))) {
      const name = keys.idOf(key)
      const { number, first, last } = readStream(reader, keys, name)!
      let isBegun = key === after
      for (const { key: line, value: text } of reader.entries(keys.streamEntries(number, isBegun ? place : first, last))) {
        const seq = keys.streamSeqOf(line)
        if (!isBegun) yield [{ kind: 'stream', name, first: seq - 1, last }, [key, seq - 1]]
        isBegun = true
        yield [{ kind: 'line', stream: name, seq, text }, [key, seq]]
      }
      if (!isBegun) yield [{ kind: 'stream', name, first: last, last }, [key, last]]
    }
  },
]

function each(letter: Parameters<ShardKeys['all']>[0], toItem: (keys: ShardKeys, key: Key, value: string) => StoredItem): Section {
  return function* (reader, keys, after) {
    for (const { key, value } of reader.entries(behind(keys.all(letter), after))) yield [toItem(keys, key, value), [key]]
  }
}

function from(range: Range, key: Key | undefined): Range {
  return key === undefined ? range : { start: key, end: range.end }
}

function behind(range: Range, key: Key | undefined): Range {
  return from(range, key === undefined ? undefined : `${key}\u0000`)
}

export function readPage(reader: Reader, keys: ShardKeys, cursor: Cursor): ItemPage {
  const [first, after, place = 0] = (cursor === '' ? [0] : JSON.parse(cursor)) as [number, Key?, number?]
  const items: StoredItem[] = []
  let chars = 0
  for (let section = first; section < sections.length; section++) {
    const found = section === first ? sections[section]!(reader, keys, after, place) : sections[section]!(reader, keys, undefined, 0)
    for (const [item, next] of found) {
      items.push(item)
      chars += sizeOf(item)
      if (items.length >= pageItemsMax || chars >= pageCharsMax) return { from: cursor, items, next: JSON.stringify([section, ...next]) }
    }
  }
  return { from: cursor, items, next: ending }
}

/** Drafts an item into a shard that does not hold it; the head is saved by whoever calls. */
export function putItem(draft: Draft, keys: ShardKeys, head: ShardHead, item: StoredItem): void {
  switch (item.kind) {
    case 'shard':
      Object.assign(head, { number: item.number, position: item.position, tail: item.tail, trimmed: item.position, clock: item.clock, clean: item.clean, epoch: Math.max(head.epoch, item.epoch) })
      break
    case 'entry':
      draft.put(keys.logEntry(item.seq), encodeTimed(item.at, item.text))
      break
    case 'backlog':
      draft.put(keys.backlog(item.address), String(item.count))
      break
    case 'delivered':
      draft.put(keys.delivered(item.from), String(item.number))
      break
    case 'id':
      draft.put(keys.id(item.id), String(item.until))
      draft.put(keys.expiry(item.until, 'i', item.id), '')
      break
    case 'reply':
      draft.put(keys.reply(item.id), encodeTimed(item.until, item.text))
      draft.put(keys.expiry(item.until, 'r', item.id), '')
      break
    case 'timer':
      draft.put(keys.timer(item.member), String(item.dueAt))
      draft.put(keys.due(item.dueAt, item.member), '')
      break
    case 'effect':
      draft.put(keys.effect(item.id), item.text)
      break
    case 'action':
      head.actions = item.place + 1
      draft.put(keys.action(item.id), String(head.actions))
      draft.put(keys.actionInOrder(head.actions), join(item.id, item.text))
      break
    case 'suspect':
      draft.put(keys.suspect(item.id), String(item.attempts))
      break
    case 'outbox':
      draft.put(keys.outbox(item.entry.to, item.entry.number), encodeMessage(item.entry.entry))
      break
    case 'record':
      draft.put(keys.record(item.address), item.terms.join('\n'))
      for (const term of item.terms) draft.put(keys.term(term, item.address), '')
      draft.put(keys.recordByKey(item.address), item.address)
      for (const [name, value] of item.fields) draft.put(keys.field(item.address, name), value)
      break
    case 'parked':
      draft.put(keys.parked(item.address), `0 ${item.place + 1}`)
      draft.put(keys.parkedMessage(item.address, item.place + 1), item.text)
      break
    case 'stream':
      draft.put(keys.stream(item.name), encodeStream({ number: ++head.streams, first: item.first, last: item.last, holes: item.last - item.first }))
      break
    case 'line': {
      const stream = readStream(draft, keys, item.stream)!
      draft.put(keys.stream(item.stream), encodeStream({ ...stream, holes: stream.holes - 1 }))
      draft.put(keys.streamEntry(stream.number, item.seq), item.text)
      break
    }
  }
}

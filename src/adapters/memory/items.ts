/** What a shard holds as the items of a move, and back. */
import { ending, pageCharsMax, pageItemsMax, sizeOf, type Cursor, type ItemPage, type StoredItem } from '../../runtime/ports/moving.js'
import type { Shard } from './memory-store.js'

/** A cursor is how many items come before. */
export function pageOf(shard: Shard, from: Cursor): ItemPage {
  const items: StoredItem[] = []
  const first = Number(from)
  let place = 0
  let chars = 0
  for (const item of itemsOf(shard)) {
    if (place++ < first) continue
    items.push(item)
    chars += sizeOf(item)
    if (items.length >= pageItemsMax || chars >= pageCharsMax) return { from, items, next: String(place) }
  }
  return { from, items, next: ending }
}

function* itemsOf(s: Shard): Generator<StoredItem> {
  yield { kind: 'shard', number: s.number, position: s.position, tail: s.seq, clock: s.clock, clean: s.clean, epoch: s.epoch }
  for (const { seq, at, text } of s.log) yield { kind: 'entry', seq, at, text }
  for (const [address, count] of s.backlog) yield { kind: 'backlog', address, count }
  for (const [from, number] of s.delivered) yield { kind: 'delivered', from, number }
  for (const [id, until] of s.ids) yield { kind: 'id', id, until }
  for (const [id, { text, until }] of s.replies) yield { kind: 'reply', id, text, until }
  for (const [member, dueAt] of s.timers) yield { kind: 'timer', member, dueAt }
  for (const [id, text] of s.effects) yield { kind: 'effect', id, text }
  let place = 0
  for (const [id, text] of s.actions) yield { kind: 'action', place: place++, id, text }
  for (const [id, attempts] of s.suspects) yield { kind: 'suspect', id, attempts }
  for (const entry of s.outbox.values()) yield { kind: 'outbox', entry }
  for (const [address, fields] of s.records) yield { kind: 'record', address, fields: [...fields], terms: s.terms.get(address) ?? [] }
  for (const [address, texts] of s.parked) for (const [place, text] of texts.entries()) yield { kind: 'parked', address, place, text }
  for (const [name, { last, entries }] of s.streams) {
    yield { kind: 'stream', name, first: (entries[0]?.seq ?? last + 1) - 1, last }
    for (const { seq, text } of entries) yield { kind: 'line', stream: name, seq, text }
  }
}

export function put(s: Shard, item: StoredItem): void {
  switch (item.kind) {
    case 'shard':
      Object.assign(s, { number: item.number, position: item.position, seq: item.tail, clock: item.clock, clean: item.clean, epoch: Math.max(s.epoch, item.epoch) })
      break
    case 'entry':
      s.log.push({ seq: item.seq, at: item.at, text: item.text, to: '' })
      break
    case 'backlog':
      s.backlog.set(item.address, item.count)
      break
    case 'delivered':
      s.delivered.set(item.from, item.number)
      break
    case 'id':
      s.ids.set(item.id, item.until)
      break
    case 'reply':
      s.replies.set(item.id, { text: item.text, until: item.until })
      break
    case 'timer':
      s.timers.set(item.member, item.dueAt)
      break
    case 'effect':
      s.effects.set(item.id, item.text)
      break
    case 'action':
      s.actions.set(item.id, item.text)
      break
    case 'suspect':
      s.suspects.set(item.id, item.attempts)
      break
    case 'outbox':
      s.outbox.set(item.entry.number, item.entry)
      break
    case 'record':
      s.records.set(item.address, new Map(item.fields))
      if (item.terms.length > 0) s.terms.set(item.address, item.terms)
      break
    case 'parked': {
      const texts = s.parked.get(item.address)
      if (texts) texts.push(item.text)
      else s.parked.set(item.address, [item.text])
      break
    }
    case 'stream':
      s.streams.set(item.name, { last: item.last, entries: [] })
      break
    case 'line':
      s.streams.get(item.stream)?.entries.push({ seq: item.seq, text: item.text })
      break
  }
}

/** Entries of the log and lines of streams, as Redis gives them. */
import { overflowLetter, type Entry, type LogEntry } from '../../runtime/ports/store.js'

export type StreamItem = readonly [id: string, fields: readonly string[]]

/** Of the log: its id is `<seq>-0`. */
export function decodeLogItem([id, fields]: StreamItem): Entry {
  let at = 0
  let text = ''
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (fields[i] === 'a') at = Number(fields[i + 1])
    else if (fields[i] === 't') text = fields[i + 1]!
  }
  return { seq: Number(id.slice(0, id.indexOf('-'))), at, text }
}

/** Of a stream: its id is `0-<seq>`. */
export function decodeStreamItem([id, fields]: StreamItem): LogEntry {
  const seq = Number(id.slice(id.indexOf('-') + 1))
  const told = new Map<string, string>()
  for (let i = 0; i + 1 < fields.length; i += 2) told.set(fields[i]!, fields[i + 1]!)
  const text = told.get('t') ?? ''
  const to = told.get('o')
  return { seq, text: to === undefined ? text : overflowLetter({ id: '', to, text }, Number(told.get('a'))) }
}

/** The streams of one shard, as one write changes them. */
import type { Draft } from './draft.js'
import type { ShardKeys } from './keys.js'
import type { ShardHead } from './shard-head.js'
import type { Reader } from './tree.js'

/** A stream's entries stand above `first`, up to `last`, but for `holes` of them that were removed one by one. */
export interface Stream {
  readonly number: number
  readonly first: number
  readonly last: number
  readonly holes: number
}

export function readStream(reader: Reader, keys: ShardKeys, name: string): Stream | undefined {
  const text = reader.get(keys.stream(name))
  if (text === undefined) return undefined
  const [number, first, last, holes = 0] = text.split(' ').map(Number) as [number, number, number, number?]
  return { number, first, last, holes }
}

export function encodeStream({ number, first, last, holes }: Stream): string {
  return `${number} ${first} ${last}${holes === 0 ? '' : ` ${holes}`}`
}

/** Entries removed by one write at most: the rest waits for the next one, and is not read meanwhile. */
const removalsMax = 1_000

export class StreamDraft {
  private readonly draft: Draft
  private readonly keys: ShardKeys
  private readonly head: ShardHead
  /** Names of the streams made or changed by this write. */
  private readonly touched = new Set<string>()

  constructor(draft: Draft, keys: ShardKeys, head: ShardHead) {
    this.draft = draft
    this.keys = keys
    this.head = head
  }

  /** The stream keeps about `max` entries. */
  append(name: string, text: string, max: number): void {
    const { draft, keys } = this
    const stream = readStream(draft, keys, name) ?? { number: ++this.head.streams, first: 0, last: 0, holes: 0 }
    const last = stream.last + 1
    draft.put(keys.streamEntry(stream.number, last), text)
    this.cut(name, { ...stream, last }, ({ first, holes }) => last - first - holes > max)
  }

  /** Whether it holds that entry. */
  has(name: string, seq: number): boolean {
    const stream = readStream(this.draft, this.keys, name)
    return stream !== undefined && seq > stream.first && seq <= stream.last && this.draft.get(this.keys.streamEntry(stream.number, seq)) !== undefined
  }

  /** Removes one entry, wherever it stands. */
  remove(name: string, seq: number): void {
    const stream = readStream(this.draft, this.keys, name)
    if (!stream) return
    this.draft.remove(this.keys.streamEntry(stream.number, seq))
    this.draft.put(this.keys.stream(name), encodeStream({ ...stream, holes: stream.holes + 1 }))
  }

  /** Removes entries up to and including `through`. False if some are left for another time. */
  trim(name: string, through: number): boolean {
    const stream = readStream(this.draft, this.keys, name)
    if (!stream) return true
    const upTo = Math.min(through, stream.last)
    return this.cut(name, stream, ({ first }) => first < upTo) >= upTo
  }

  /** Removes the oldest for as long as that is wanted, and tells how far it got. */
  private cut(name: string, stream: Stream, isOver: (left: Pick<Stream, 'first' | 'holes'>) => boolean): number {
    let { first, holes } = stream
    for (let looked = 0; looked < removalsMax && first < stream.last && isOver({ first, holes }); looked++) {
      const key = this.keys.streamEntry(stream.number, ++first)
      if (holes > 0 && this.draft.get(key) === undefined) holes--
      else this.draft.remove(key)
    }
    this.draft.put(this.keys.stream(name), encodeStream({ ...stream, first, holes }))
    this.touched.add(name)
    return first
  }

  /** Ends all streams whose names begin so; their entries go bit by bit, see {@link sweep}. */
  endAll(prefix: string): void {
    const { draft, keys } = this
    for (const key of draft.keys(keys.streamsStartingWith(prefix))) this.end(keys.idOf(key))
    for (const name of [...this.touched]) if (name.startsWith(prefix)) this.end(name)
  }

  private end(name: string): void {
    const stream = readStream(this.draft, this.keys, name)
    if (!stream) return
    this.draft.remove(this.keys.stream(name))
    this.draft.put(this.keys.endedStream(stream.number), `${stream.first} ${stream.last}`)
  }

  /** Removes entries of streams that have ended. */
  sweep(): void {
    const { draft, keys } = this
    let left = removalsMax
    for (const { key, value } of draft.entries(keys.endedStreams(), removalsMax)) {
      if (left <= 0) break
      const number = keys.endedStreamOf(key)
      const [start, last] = value.split(' ').map(Number) as [number, number]
      let first = start
      while (first < last && left > 0) {
        draft.remove(keys.streamEntry(number, ++first))
        left--
      }
      if (first < last) draft.put(key, `${first} ${last}`)
      else draft.remove(key)
    }
  }
}

/**
 * Large values of a record, each written once. A part of what a field holds (a text, a list, an object) whose JSON is long
 * enough, and of which no smaller part is, is taken out of it and becomes a field of the record by itself, named by the
 * digest of its text; in its place stands the digest. So what is the same in context, input, output and timers is stored
 * once, whichever of them it is in, and a list that grows by a line is written anew without the documents it holds.
 *
 * They live and die with the fields that refer to them, in one record and by the same commits: nobody counts over
 * records, and nothing is left to sweep.
 *
 * L1  A large value is written with the first field that refers to it, and deleted with the last.
 * L2  What a field stands for does not depend on where it is cut: its checksum is that of the whole.
 */
import { createHash } from 'node:crypto'
import { encodeCut, isCut, largeValuePrefix, readCut, sumLength, type Cut, type FieldChanges, type StoredFields } from './stored-record.js'

export class LargeValues {
  /** Those that each field refers to. */
  private readonly byField = new Map<string, readonly string[]>()
  /** How many fields refer to each that is stored. */
  private readonly uses = new Map<string, number>()

  /** Those of a record as it is stored. */
  static in(stored: StoredFields): LargeValues {
    const large = new LargeValues()
    for (const [name, sealed] of stored) {
      const digest = name.startsWith(largeValuePrefix) && name.slice(largeValuePrefix.length)
      if (digest) large.uses.set(digest, large.uses.get(digest) ?? 0)
      else if (isCut(sealed)) large.refer(name, digestsOf(readCut(sealed)))
    }
    return large
  }

  get isEmpty(): boolean {
    return this.uses.size === 0
  }

  /** The names under which they are stored. */
  get names(): string[] {
    return [...this.uses.keys()].map((digest) => largeValuePrefix + digest)
  }

  /**
   * What is written in place of what a turn wrote.
   *
   * @param charsMin how long a large value is at least, in UTF-16 units of its JSON
   */
  write(fields: FieldChanges, charsMin: number): FieldChanges {
    const texts = new Map<string, string>()
    /** Those that a field began or ceased to refer to, and whether they are stored. */
    const touched = new Map<string, boolean>()
    let written = fields
    for (const [name, sealed] of fields) {
      const cut = sealed !== undefined && sealed.length >= charsMin && mayBeCut(name) ? cutOut(sealed.slice(sumLength), charsMin, texts) : undefined
      this.refer(name, cut ? digestsOf(cut) : none, touched)
      if (!cut) continue
      if (written === fields) written = new Map(fields)
      written.set(name, sealed!.slice(0, sumLength) + encodeCut(cut))
    }
    if (touched.size > 0 && written === fields) written = new Map(fields)
    for (const [digest, isStored] of touched) {
      const name = largeValuePrefix + digest
      const isUsed = this.uses.get(digest)! > 0
      if (!isUsed) this.uses.delete(digest)
      if (isUsed && !isStored) written.set(name, texts.get(digest)!)
      else if (isStored && !isUsed) written.set(name, undefined)
    }
    return written
  }

  private refer(name: string, digests: readonly string[], touched?: Map<string, boolean>): void {
    const before = this.byField.get(name) ?? none
    if (digests.length > 0) this.byField.set(name, digests)
    else if (before.length > 0) this.byField.delete(name)
    const count = (digest: string, by: number): void => {
      if (touched && !touched.has(digest)) touched.set(digest, this.uses.has(digest))
      this.uses.set(digest, (this.uses.get(digest) ?? 0) + by)
    }
    for (const digest of digests) count(digest, 1)
    for (const digest of before) count(digest, -1)
  }
}

const none: readonly string[] = []

/** Those that stay through a restart from input do so without what they would refer to; they are short. */
function mayBeCut(name: string): boolean {
  return name !== 'n' && name !== 'k'
}

// ── Cutting ──

function digestsOf({ places }: Cut): string[] {
  return places.map(([, digest]) => digest)
}

/** @param texts is given the large values, by digest */
function cutOut(value: string, charsMin: number, texts: Map<string, string>): Cut | undefined {
  const large = largeIn(value, charsMin)
  if (large.length === 0) return undefined
  const places: [number, string][] = []
  let rest = ''
  let from = 0
  for (const [start, end] of large) {
    const text = value.slice(start, end)
    const digest = createHash('sha256').update(text).digest('base64url')
    texts.set(digest, text)
    rest += value.slice(from, start)
    places.push([rest.length, digest])
    from = end
  }
  return { places, rest: rest + value.slice(from) }
}

/** The smallest texts, arrays and objects of a JSON text that are long enough, in their order. */
function largeIn(json: string, charsMin: number): (readonly [start: number, end: number])[] {
  const found: [number, number][] = []
  /** Where each that is open began, and how many had been found then. */
  const open: [number, number][] = []
  for (let i = 0; i < json.length; i++) {
    switch (json.charCodeAt(i)) {
      case 0x22: {
        const end = endOfText(json, i)
        if (end - i >= charsMin) found.push([i, end])
        i = end - 1
        break
      }
      case 0x5b:
      case 0x7b:
        open.push([i, found.length])
        break
      case 0x5d:
      case 0x7d: {
        const [start, count] = open.pop()!
        if (found.length === count && i + 1 - start >= charsMin) found.push([start, i + 1])
        break
      }
      default:
    }
  }
  return found
}

/** Most texts are short, or hold no quotes. */
const nearMax = 64

/** Behind the quote that ends it. */
function endOfText(json: string, start: number): number {
  let i = start + 1
  for (const near = i + nearMax; i < near; i++) {
    const unit = json.charCodeAt(i)
    if (unit === 0x22) return i + 1
    if (unit === 0x5c) i++
  }
  const quote = json.indexOf('"', i)
  if (json.charCodeAt(quote - 1) !== 0x5c) return quote + 1
  for (; ; i++) {
    const unit = json.charCodeAt(i)
    if (unit === 0x22) return i + 1
    if (unit === 0x5c) i++
  }
}

/**
 * Takes the inline markup off one Markdown paragraph: links keep their text, emphasis and code keep theirs, images,
 * tags and emoji go. Every character that is left knows the line it came from. One pass and a few arrays: the time
 * grows with the length, whatever the brackets do.
 */
import { isUnwanted } from './characters.js'

export interface Plain {
  /** Characters (UTF-16 units) of the text; a line feed stands for a hard break (`<br>`). */
  readonly chars: readonly string[]
  /** The line each of them came from, counted from 0 at the paragraph's first line. */
  readonly lines: readonly number[]
  /** Whether it stood in a code span. */
  readonly code: readonly boolean[]
}

/** Characters between `<` and `>` that may still be a tag. */
const TAG_MAX = 2_000
const LABEL_MAX = 200
const ENTITIES: Readonly<Record<string, string>> = {
  amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: ' ', ensp: ' ', emsp: ' ', thinsp: ' ', copy: '©', reg: '®', trade: '™',
  mdash: '—', ndash: '–', hellip: '…', lsquo: '‘', rsquo: '’', ldquo: '“', rdquo: '”', laquo: '«', raquo: '»', times: '×', rarr: '→',
  larr: '←', middot: '·', bull: '•', deg: '°', plusmn: '±', le: '≤', ge: '≥', ne: '≠', sect: '§', micro: 'µ',
}
const ENTITY = /&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([A-Za-z][A-Za-z0-9]{1,30}));/y
const TAG = /^<\/?[A-Za-z][A-Za-z0-9-]*(?:[\s/][^]*)?>$/
const AUTOLINK = /^<(?:[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*|[^\s<>@]{1,100}@[^\s<>@]{1,200})>$/
const SHORTCODE = /:[a-z0-9_+-]{2,30}:(?=[\s.,;!?)]|$)/y
const PUNCTUATION = /[!-/:-@[-`{-~\p{P}\p{S}]/u

interface Run {
  readonly mark: string
  /** Where its characters stand in the output. */
  readonly from: number
  length: number
  readonly opens: boolean
  readonly closes: boolean
}

/**
 * @param raw the lines of one paragraph, joined by line feeds, without the marks of quotes and list items
 * @param labels lower-cased labels of the document's link reference definitions
 */
export function stripInline(raw: string, labels: ReadonlySet<string>): Plain {
  const chars: string[] = []
  const lines: number[] = []
  const code: boolean[] = []
  const runs: Run[] = []
  const codeEnd = codeSpans(raw)
  const closing = brackets(raw, codeEnd)
  const jump = new Map<number, number>()
  let line = 0
  let greater = -1

  const put = (text: string, inCode = false): void => {
    for (const point of text) {
      const char = /\s/.test(point) ? ' ' : point
      if (isUnwanted(char)) continue
      if (char === ' ' && (chars.length === 0 || chars.at(-1) === ' ' || chars.at(-1) === '\n')) continue
      for (let unit = 0; unit < char.length; unit++) {
        chars.push(char.charAt(unit))
        lines.push(line)
        code.push(inCode)
      }
    }
  }
  /** Leaves out what lies up to `end`, but counts its lines. */
  const skip = (from: number, end: number): number => {
    for (let at = from; at < end; at++) if (raw.charAt(at) === '\n') line++
    return end
  }

  /** Where the image whose bracket opens there ends; undefined if it is none. */
  const imageEnd = (open: number): number | undefined => {
    const close = closing.get(open)
    if (close === undefined) return undefined
    return destinationEnd(raw, close, closing, labels) ?? (labels.has(raw.slice(open + 1, Math.min(close, open + LABEL_MAX)).toLowerCase().trim()) ? close + 1 : undefined)
  }

  for (let at = 0; at < raw.length; ) {
    const char = raw.charAt(at)
    const jumpTo = jump.get(at)
    if (jumpTo !== undefined) {
      at = skip(at, jumpTo)
    } else if (char === '\n') {
      put(' ')
      line++
      at++
    } else if (char === '\\' && /[!-/:-@[-`{-~]/.test(raw.charAt(at + 1))) {
      put(raw.charAt(at + 1))
      at += 2
    } else if (char === '\\' && raw.charAt(at + 1) === '\n') {
      at++
    } else if (char === '`') {
      const length = runLength(raw, at)
      const end = codeEnd.get(at)
      if (end === undefined) put('`'.repeat(Math.min(length, 3)))
      for (let inner = at + length; end !== undefined && inner < end; ) {
        if (raw.charAt(inner) === '\n') {
          put(' ', true)
          line++
          inner++
        } else {
          const point = String.fromCodePoint(raw.codePointAt(inner) ?? 0x20)
          put(point, true)
          inner += point.length
        }
      }
      at = end === undefined ? at + length : end + length
    } else if (char === '!' && raw.charAt(at + 1) === '[' && imageEnd(at + 1) !== undefined) {
      at = skip(at, imageEnd(at + 1) ?? at)
    } else if (char === '[') {
      const close = closing.get(at)
      if (close === undefined) {
        put('[')
      } else {
        const label = raw.slice(at + 1, Math.min(close, at + LABEL_MAX)).toLowerCase()
        const end = destinationEnd(raw, close, closing, labels)
        // A footnote's mark anywhere; at the beginning the box of a task and the mark of an alert.
        if (end === undefined && (label.startsWith('^') || (at === 0 && /^(?:!note|!tip|!important|!warning|!caution| $|x$)/.test(label)))) {
          at = skip(at, close + 1)
          continue
        }
        if (end !== undefined) jump.set(close, end)
        else if (labels.has(label.trim())) jump.set(close, close + 1)
        else put('[')
      }
      at++
    } else if (char === '<') {
      if (greater < at) greater = raw.indexOf('>', at)
      if (greater < 0) greater = raw.length
      const inside = greater < raw.length && greater - at <= TAG_MAX ? raw.slice(at, greater + 1) : ''
      if (inside.startsWith('<!--')) {
        const end = raw.slice(at, at + TAG_MAX).indexOf('-->')
        at = end < 0 ? at + 4 : skip(at, at + end + 3)
      } else if (AUTOLINK.test(inside)) {
        put(inside.slice(1, -1))
        at = greater + 1
      } else if (TAG.test(inside) && !inside.slice(1).includes('<')) {
        if (/^<\/?(?:br|p|div|li|td|tr|h[1-6])\b/i.test(inside) && chars.length > 0) {
          chars.push('\n')
          lines.push(line)
          code.push(false)
        }
        at = skip(at, greater + 1)
      } else {
        put('<')
        at++
      }
    } else if (char === '&') {
      ENTITY.lastIndex = at
      const entity = ENTITY.exec(raw)
      const decoded = entity === null ? undefined : decode(entity)
      put(decoded ?? '&')
      at += decoded === undefined || entity === null ? 1 : entity[0].length
    } else if (char === '*' || char === '_' || char === '~') {
      const length = runLength(raw, at)
      const flank = flanking(raw, at, length, char)
      runs.push({ mark: char, from: chars.length, length, ...flank })
      put(raw.slice(at, at + length))
      at += length
    } else if (char === ':' && shortcodeAt(raw, at) > 0) {
      at += shortcodeAt(raw, at)
    } else {
      const point = String.fromCodePoint(raw.codePointAt(at) ?? 0x20)
      put(point)
      at += point.length
    }
  }
  return without(matched(runs), { chars, lines, code })
}

function shortcodeAt(raw: string, at: number): number {
  if (at > 0 && !/\s/.test(raw.charAt(at - 1))) return 0
  SHORTCODE.lastIndex = at
  return SHORTCODE.exec(raw)?.[0].length ?? 0
}

function runLength(raw: string, at: number): number {
  let end = at
  while (raw.charAt(end) === raw.charAt(at) && end < raw.length) end++
  return end - at
}

/** Start of each backtick run that opens a code span -> start of the run that closes it: the next of the same length. */
function codeSpans(raw: string): ReadonlyMap<number, number> {
  const runs: { readonly at: number; readonly length: number }[] = []
  for (let at = raw.indexOf('`'); at >= 0; ) {
    const length = runLength(raw, at)
    runs.push({ at, length })
    at = raw.indexOf('`', at + length)
  }
  const following = new Map<number, number>()
  const partner = new Map<number, number>()
  for (const run of runs.toReversed()) {
    const next = following.get(run.length)
    if (next !== undefined) partner.set(run.at, next)
    following.set(run.length, run.at)
  }
  const spans = new Map<number, number>()
  let free = 0
  for (const run of runs) {
    const end = partner.get(run.at)
    if (run.at < free || end === undefined) continue
    spans.set(run.at, end)
    free = end + run.length
  }
  return spans
}

/** Opening bracket or parenthesis -> the one that closes it, outside code spans and escapes. */
function brackets(raw: string, codeEnd: ReadonlyMap<number, number>): ReadonlyMap<number, number> {
  const pairs = new Map<number, number>()
  const square: number[] = []
  const round: number[] = []
  for (let at = 0; at < raw.length; at++) {
    const char = raw.charAt(at)
    const end = char === '`' ? codeEnd.get(at) : undefined
    if (end !== undefined) {
      at = end + runLength(raw, end) - 1
    } else if (char === '\\') {
      at++
    } else if (char === '[') {
      square.push(at)
    } else if (char === '(') {
      round.push(at)
    } else if (char === ']' || char === ')') {
      const open = (char === ']' ? square : round).pop()
      if (open !== undefined) pairs.set(open, at)
    }
  }
  return pairs
}

/** Where `(url "title")` or `[label]` behind a closing bracket ends, exclusive. */
function destinationEnd(raw: string, close: number, closing: ReadonlyMap<number, number>, labels: ReadonlySet<string>): number | undefined {
  const next = raw.charAt(close + 1)
  const end = closing.get(close + 1)
  if (end === undefined) return undefined
  if (next === '(') return end + 1
  const label = raw.slice(close + 2, Math.min(end, close + 2 + LABEL_MAX)).toLowerCase().trim()
  return next === '[' && (label === '' || labels.has(label)) ? end + 1 : undefined
}

function decode(entity: RegExpExecArray): string | undefined {
  const [, decimal, hex, name] = entity
  if (name !== undefined) return Object.hasOwn(ENTITIES, name) ? ENTITIES[name] : undefined
  const point = decimal === undefined ? Number.parseInt(hex ?? '0', 16) : Number.parseInt(decimal, 10)
  return point > 0 && point <= 0x10_ffff ? String.fromCodePoint(point) : ' '
}

/** CommonMark's left- and right-flanking rules; tildes count only in pairs. */
function flanking(raw: string, at: number, length: number, mark: string): { readonly opens: boolean; readonly closes: boolean } {
  const before = at === 0 ? ' ' : raw.charAt(at - 1)
  const after = raw.charAt(at + length) || ' '
  const left = !/\s/.test(after) && (!PUNCTUATION.test(after) || /\s/.test(before) || PUNCTUATION.test(before))
  const right = !/\s/.test(before) && (!PUNCTUATION.test(before) || /\s/.test(after) || PUNCTUATION.test(after))
  if (mark === '~' && length !== 2) return { opens: false, closes: false }
  if (mark !== '_') return { opens: left, closes: right }
  return { opens: left && (!right || PUNCTUATION.test(before)), closes: right && (!left || PUNCTUATION.test(after)) }
}

/** Output positions of the marks of emphasis that have a partner. */
function matched(runs: readonly Run[]): ReadonlySet<number> {
  const gone = new Set<number>()
  const open: Record<string, Run[]> = { '*': [], _: [], '~': [] }
  for (const run of runs) {
    const stack = open[run.mark] ?? []
    let taken = 0
    while (run.closes && run.length > 0 && stack.length > 0) {
      const opener = stack.at(-1)
      if (opener === undefined) break
      const both = Math.min(opener.length, run.length)
      for (let index = 0; index < both; index++) {
        gone.add(opener.from + opener.length - 1 - index)
        gone.add(run.from + taken + index)
      }
      opener.length -= both
      run.length -= both
      taken += both
      if (opener.length === 0) stack.pop()
    }
    if (run.opens && run.length > 0) stack.push({ ...run, from: run.from + taken })
  }
  return gone
}

function without(gone: ReadonlySet<number>, plain: Plain): Plain {
  if (gone.size === 0) return plain
  const keep = (_: unknown, index: number): boolean => !gone.has(index)
  return { chars: plain.chars.filter(keep), lines: plain.lines.filter(keep), code: plain.code.filter(keep) }
}

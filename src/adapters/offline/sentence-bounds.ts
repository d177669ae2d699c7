/**
 * Cuts the plain text of one paragraph into sentences. Rules of our own, since technical prose breaks general ones:
 * a full stop inside `redis.quit()`, `node.js` or `v1.2.3` ends nothing, and a sentence may begin with a lower-case
 * name (`ioredis will ...`).
 */
import type { Plain } from './inline-markup.js'

export interface Span {
  readonly from: number
  /** Exclusive. */
  readonly to: number
}

const ABBREVIATIONS = new Set(
  ('e.g i.e etc vs cf approx incl excl resp viz ca al esp dept est fig figs eq eqs sec ch vol no nos p pp ed eds mr mrs dr prof st jr sr ' +
    'inc ltd co corp jan feb mar apr jun jul aug sep sept oct nov dec min max avg temp ref refs repo param params arg args eg ie').split(' '),
)
const NEVER_ENDS = new Set('e.g i.e eg ie vs cf approx viz ca fig figs eq mr mrs dr prof st'.split(' '))
const TERMINATORS = '.!?…'
const CLOSERS = `)]"'”’»`
/** A parenthesis that is longer than this holds sentences of its own. */
const PARENTHESIS_MAX = 400
/** Characters of a word that are looked at to know an abbreviation. */
const WORD_MAX = 24

/** The sentences, with what is left over at the end of a paragraph or before a hard break as a span of its own. */
export function sentenceSpans(plain: Plain): readonly Span[] {
  const { chars, code } = plain
  const spans: Span[] = []
  const inside = parentheses(chars)
  let from = 0
  const cut = (to: number): void => {
    const span = trimmed(chars, from, to)
    if (span.to > span.from) spans.push(span)
    from = to
  }
  for (let at = 0; at < chars.length; at++) {
    const char = chars[at] ?? ''
    if (char === '\n') {
      cut(at)
      continue
    }
    if (!TERMINATORS.includes(char) || code[at] === true) continue
    let end = at + 1
    while (end < chars.length && TERMINATORS.includes(chars[end] ?? '')) end++
    const dots = end - at
    const open = inside[at] ?? 0
    while (end < chars.length && CLOSERS.includes(chars[end] ?? '') && code[end] !== true) end++
    // Within a parenthesis nothing ends, unless the parenthesis itself ends here.
    const leavesParenthesis = open > 0 && (inside[end - 1] ?? 0) === 0
    const goesOn = leavesParenthesis && /\p{Ll}/u.test(chars[end + 1] ?? '')
    if ((open === 0 || leavesParenthesis) && !goesOn && isBoundary(plain, at, end, dots, from)) cut(end)
    at = end - 1
  }
  cut(chars.length)
  return spans
}

function isBoundary({ chars, code }: Plain, at: number, end: number, dots: number, from: number): boolean {
  if (end >= chars.length || chars[end] === '\n') return true
  if (chars[end] !== ' ') return false
  const next = chars[end + 1] ?? ''
  const nextIsLower = /\p{Ll}/u.test(next) && code[end + 1] !== true
  const mark = chars[at] ?? ''
  if (mark !== '.' || dots > 1) return !nextIsLower
  let start = at
  while (start > from && at - start < WORD_MAX && chars[start - 1] !== ' ' && chars[start - 1] !== '\n') start--
  const word = chars.slice(start, at).join('').replace(/^[^\p{L}\p{N}]+/u, '')
  const lower = word.toLowerCase()
  if (NEVER_ENDS.has(lower)) return false
  // `1.` at the beginning counts items, `J.` is an initial.
  if (/^\d{1,3}$/.test(word) && start === from) return false
  if (/^\p{Lu}$/u.test(word) && word !== 'I') return false
  if (ABBREVIATIONS.has(lower)) return !nextIsLower && !/\d/.test(next)
  if (/[,;:)\]]/.test(next)) return false
  return true
}

/** For each character how many parentheses are open behind it; only those that are closed soon enough count. */
function parentheses(chars: readonly string[]): readonly number[] {
  const change = new Map<number, number>()
  const open: number[] = []
  chars.forEach((char, at) => {
    if (char === '(') open.push(at)
    if (char !== ')') return
    const start = open.pop()
    if (start === undefined || at - start > PARENTHESIS_MAX) return
    change.set(start, 1)
    change.set(at, -1)
  })
  let depth = 0
  return chars.map((_, at) => (depth += change.get(at) ?? 0))
}

function trimmed(chars: readonly string[], from: number, to: number): Span {
  let start = from
  let end = to
  while (start < end && /\s/.test(chars[start] ?? '')) start++
  while (end > start && /\s/.test(chars[end - 1] ?? '')) end--
  return { from: start, to: end }
}

/**
 * Checks a quotation against its source: whether a sentence begins on a line of a file, is there whole, and stands in prose. It
 * reads the raw text in its own, coarse way and knows nothing of how the sentence was taken out of it: signs that may be markup
 * (`*`, `_`, backticks, brackets and the like) are left out on both sides, link targets and tags are stepped over, and what
 * is left must be equal letter by letter.
 */
import { isUnwanted } from './characters.js'

/** Lines looked at before and behind the line, and characters of one paragraph. */
const LINES_MAX = 40
const PARAGRAPH_MAX = 20_000
/** Characters of one link target, tag or entity that are stepped over. */
const TARGET_MAX = 2_000
const ENTITIES: Readonly<Record<string, string>> = {
  '&amp;': '&', '&lt;': '<', '&gt;': '>', '&quot;': '"', '&apos;': "'", '&#39;': "'", '&mdash;': '—', '&ndash;': '–', '&hellip;': '…', '&copy;': '©', '&reg;': '®', '&trade;': '™', '&times;': '×',
}
const MARKUP = new Set('*_~`\\[]<>|&;')
/** Tags of HTML that READMEs use inside paragraphs and around them; `<name>` is text more often than not. */
const TAG = /^<\/?(?:a|abbr|b|br|center|code|del|details|div|em|font|h[1-6]|i|img|ins|kbd|li|mark|ol|p|picture|s|small|source|span|strong|sub|summary|sup|svg|table|td|th|tr|u|ul)[\s/>]/i
/** What a paragraph's line may begin with: marks of quotes, of a list item, of a task. */
const LINE_START = /^[ \t]{0,40}(?:>[ \t]{0,40}){0,20}(?:(?:[-*+]|\d{1,9}[.)])[ \t]{1,40})?(?:\[[ xX]\][ \t]{1,40})?/
const ITEM = /^[ \t]{0,40}(?:>[ \t]{0,40}){0,20}(?:[-*+]|\d{1,9}[.)])[ \t]/
/** A line that is no prose and so ends the paragraph before it and begins another behind it. */
const NO_PROSE = /^[ \t]{0,40}(?:>[ \t]{0,40}){0,20}(?:$|```|~~~|#{1,6}[ \t]|\||={2,}[ \t]*$|-{2,}[ \t]*$|<\/?(?:p|div|h\d|table|details|summary|ul|ol|li|center)\b|\[[^\]]{1,200}\]:|\*\*[^*]{1,200}\*\*:?[ \t]*$|\[![a-z]+\][ \t]*$)/i
/** `Note:` and the like, which `sentencesOf` leaves out. */
const LABEL = /(?:^|[.!?…\n] ?)(?:please )?(?:notes?|important|warning|caution|tip|hint|info|attention|nb|n\.b\.)(?: ?[:!]| -) ?$/i
/** Stands for a hard break, behind which a sentence may begin anywhere. */
const BREAK = '\n'

/** What of the lines far above a sentence says something about it: headings and fences. */
const FAR_ABOVE = /^(?:#{1,6}[ \t]|[ \t>]{0,80}(?:(?:[-*+]|\d{1,9}[.)])[ \t]{1,40})?(?:```|~~~))/

/**
 * What judging a finding needs of its file: the lines around it, and the headings and fences above. All other lines are
 * empty, so that line numbers stay true; for a file that is too large to be handed about.
 */
export function excerptAround(source: string, line: number): string {
  const lines = linesIn(source).slice(0, Math.max(0, line + LINES_MAX))
  return lines.map((text, index) => (index >= line - 1 - LINES_MAX || FAR_ABOVE.test(text.slice(0, 200)) ? text : '')).join('\n')
}

/** Why the sentence is not a quotation from that line, in words that complete "the sentence ..."; undefined if it is one. */
export function whyNotAtLine(source: string | undefined, line: number, sentence: string): string | undefined {
  if (source === undefined) return 'cannot be checked: its file cannot be read'
  const lines = linesIn(source)
  if (!Number.isInteger(line) || lines[line - 1] === undefined) return `cannot be checked: its file has no line ${String(line)}`
  if (isInFence(lines, line - 1)) return 'stands in a block of code'
  const wanted = bare(sentence.slice(0, PARAGRAPH_MAX)).text
  const { text, starts } = paragraphAround(lines, line - 1)
  const from = starts.get(line - 1)
  const end = starts.get(line) ?? text.length
  if (wanted === '' || from === undefined) return 'does not stand in prose there'
  for (let at = text.indexOf(wanted, from); at >= 0 && at < end; at = text.indexOf(wanted, at + 1)) {
    if (isSentenceStart(text, at) && isSentenceEnd(text, at + wanted.length)) return undefined
  }
  const partly = text.indexOf(wanted, from)
  return partly >= 0 && partly < end ? 'is only a part of a longer sentence there' : 'does not begin on that line'
}

function linesIn(source: string): readonly string[] {
  return source.replace(/^\uFEFF/, '').split(/\r\n|\n|\r/)
}

interface Around {
  readonly text: string
  /** Where each line of the paragraph begins in the text. */
  readonly starts: ReadonlyMap<number, number>
}

/** The paragraph that the line belongs to, bare, as one line of text. */
function paragraphAround(lines: readonly string[], index: number): Around {
  const isProse = (at: number): boolean => at >= 0 && at < lines.length && !NO_PROSE.test((lines[at] ?? '').slice(0, 500))
  const isItem = (at: number): boolean => ITEM.test((lines[at] ?? '').slice(0, 2_000))
  const starts = new Map<number, number>()
  if (!isProse(index)) return { text: '', starts }
  let first = index
  while (!isItem(first) && isProse(first - 1) && index - first < LINES_MAX) first--
  const raw: string[] = []
  const begins: number[] = []
  let length = 0
  for (let at = first; isProse(at) && (at === first || !isItem(at)) && at - index < LINES_MAX && length < PARAGRAPH_MAX * 2; at++) {
    const line = (lines[at] ?? '').slice(0, PARAGRAPH_MAX)
    const body = line.slice(LINE_START.exec(line)?.[0].length ?? 0)
    begins.push(length)
    raw.push(body)
    length += body.length + 1
  }
  const { text, places } = bare(raw.join('\n'))
  let place = 0
  begins.forEach((begin, offset) => {
    while (place < places.length && (places[place] ?? 0) < begin) place++
    starts.set(first + offset, place)
  })
  return { text, starts }
}

/** The text without markup, white space as single spaces, and for each of its characters where it stands in the raw text. */
function bare(raw: string): { readonly text: string; readonly places: readonly number[] } {
  let text = ''
  const places: number[] = []
  const put = (char: string, at: number): void => {
    if (char === ' ' && (text === '' || text.endsWith(' ') || text.endsWith(BREAK))) return
    text += char
    for (let unit = 0; unit < char.length; unit++) places.push(at)
  }
  const closed = { ')': -1, ']': -1, '>': -1 }
  /** Behind the next closing mark, if it is near enough; looked for once for all the places before it. */
  const behind = (at: number, mark: ')' | ']' | '>'): number | undefined => {
    if (closed[mark] < at) closed[mark] = raw.indexOf(mark, at)
    if (closed[mark] < 0) closed[mark] = raw.length
    return closed[mark] < raw.length && closed[mark] - at <= TARGET_MAX ? closed[mark] + 1 : undefined
  }
  for (let at = 0; at < raw.length; ) {
    const char = raw.charAt(at)
    const next = raw.charAt(at + 1)
    let end: number | undefined
    if (char === ']' && next === '(') end = behind(at, ')')
    else if (char === ']' && next === '[') end = behind(at + 1, ']')
    else if ((char === '!' && next === '[') || (char === '[' && next === '^')) end = behind(at, ']')
    else if (char === '<' && (TAG.test(raw.slice(at, at + 12)) || raw.startsWith('<!--', at))) end = next === '!' ? commentEnd(raw, at) : behind(at, '>')
    if (end !== undefined) {
      // An image's target is stepped over with the bracket that closes its text.
      if (/^<\/?(?:br|p|div|li|td|tr|h\d)\b/i.test(raw.slice(at, at + 8))) put(BREAK, at)
      at = char === '!' && raw.charAt(end) === '(' ? end - 1 : end
      continue
    }
    const entity = char === '&' ? /^&#?\w{1,8};/.exec(raw.slice(at, at + 12))?.[0] : undefined
    const shortcode = char === ':' ? /^:[a-z0-9_+-]{2,30}:(?=[\s.,;!?)]|$)/.exec(raw.slice(at, at + 34))?.[0] : undefined
    const point = String.fromCodePoint(raw.codePointAt(at) ?? 0x20)
    if (entity !== undefined) {
      for (const one of ENTITIES[entity] ?? ' ') if (!MARKUP.has(one)) put(one, at)
      at += entity.length
    } else if (shortcode !== undefined) {
      at += shortcode.length
    } else {
      if (/\s/.test(point)) put(' ', at)
      else if (!MARKUP.has(point) && !isUnwanted(point)) put(point, at)
      at += point.length
    }
  }
  return /\s$/.test(text) ? { text: text.slice(0, -1), places: places.slice(0, -1) } : { text, places }
}

function commentEnd(raw: string, at: number): number | undefined {
  const length = raw.slice(at, at + TARGET_MAX).indexOf('-->')
  return length < 0 ? undefined : at + length + 3
}

/** Whether what stands before is nothing, another sentence, or a label. */
function isSentenceStart(text: string, at: number): boolean {
  const before = text.slice(Math.max(0, at - 60), at)
  return at === 0 || before.endsWith(BREAK) || /[.!?…]["'”’»)]{0,3} ?$/.test(before) || LABEL.test(before)
}

/** Whether the text ends there with the mark of a sentence, or the paragraph ends. */
function isSentenceEnd(text: string, end: number): boolean {
  const rest = text.slice(end, end + 5)
  return rest === '' || rest.startsWith(BREAK) || (/[.!?…]["'”’»)]{0,3}$/.test(text.slice(Math.max(0, end - 5), end)) && /^["'”’»)]{0,3}\s/.test(rest))
}

function isInFence(lines: readonly string[], index: number): boolean {
  let fence = ''
  for (let at = 0; at <= index; at++) {
    const mark = /^(?:[ \t>]{0,80})(?:(?:[-*+]|\d{1,9}[.)])[ \t]{1,40})?(`{3,200}|~{3,200})([^`]*)$/.exec((lines[at] ?? '').slice(0, 1_000))
    if (mark === null) continue
    const [, run = '', info = ''] = mark
    if (fence === '') fence = run
    else if (run.startsWith(fence) && info.trim() === '') fence = ''
    if (at === index) return true
  }
  return fence !== ''
}

/**
 * Sentences of a Markdown or plain-text file: from prose only, joined over line breaks, without markup, each with the
 * line it begins on. Not for programs' output or source code: what is not prose is dropped, without a word about it.
 */
import { cleanLine } from './characters.js'
import { stripInline, type Plain } from './inline-markup.js'
import { blocksOf, type Paragraph } from './markdown-blocks.js'
import { sentenceSpans, type Span } from './sentence-bounds.js'

export interface Document {
  /** As it is to be shown in a source: relative to the working directory. */
  readonly path: string
  readonly text: string
}

export interface Sentence {
  readonly path: string
  /** 1-based line of the file on which the sentence begins; lines end with LF, CRLF or CR. */
  readonly line: number
  readonly text: string
  /** The nearest heading above, without markup. */
  readonly heading?: string
}

/** Longer paragraphs are data, not prose. Characters. */
const PARAGRAPH_MAX = 20_000
/** Bounds of a sentence, characters, inclusive. */
const SENTENCE_MIN = 12
const SENTENCE_MAX = 1_000
const HEADING_MAX = 120

/** Sections that say nothing about their subject: history, people, money, law. */
const BOILERPLATE =
  /^(?:the )?(?:change ?-?logs?|changes|release(?:s| notes| history)|history|what'?s new|contribut\w+|sponsor\w*|backers?|supporters|donat\w+|funding|licen[cs]\w*|authors?|maintainers?|team|credits?|acknowledge?ments?|thanks|table of contents|contents|toc|code of conduct|community|security contact.*|who uses.*|used by|users|adopters|badges?|copyright.*)$/i
const VERSION = /^\[?v?\d{1,4}\.\d{1,4}(?:\.\d{1,4})?\b/i
const COMMIT = /^(?:\[?`?(?=[0-9a-f]{0,39}\d)[0-9a-f]{7,40}`?\]?[\s:(]|(?:feat|fix|chore|docs|refactor|perf|test|build|ci|style|revert)(?:\([^)]{0,60}\))?!?: |merge (?:pull request|branch)\b|bump \S+ from\b|updated dependencies\b)/i
const LABEL = /^(?:please )?(?:notes?|important|warning|caution|tip|hint|info|attention|nb|n\.b\.)(?: ?[:!]| -) ?(?=\S)/i
const COMMIT_TAIL = /\((?:#\d+|@[\w-]+|[0-9a-f]{7,40})\)[.\s]*$/i

/** All sentences in the order of the file. Never throws; the same file gives the same sentences. */
export function sentencesOf({ path, text }: Document): Sentence[] {
  const { paragraphs, labels } = blocksOf(text)
  const sentences: Sentence[] = []
  const titles = new Map<string, string>()
  const titleOf = (raw: string): string => {
    const known = titles.get(raw)
    if (known !== undefined) return known
    const title = headingText(raw, labels)
    titles.set(raw, title)
    return title
  }
  for (const paragraph of paragraphs) {
    if (paragraph.raw.length > PARAGRAPH_MAX || paragraph.headings.some((raw) => isBoilerplate(titleOf(raw)))) continue
    const plain = stripInline(paragraph.raw, labels)
    if (COMMIT.test(paragraph.raw) || COMMIT.test(opening(plain))) continue
    const heading = paragraph.heading === undefined ? '' : titleOf(paragraph.heading)
    for (const whole of sentenceSpans(plain)) {
      const span = unlabelled(plain, whole)
      const sentence = plain.chars.slice(span.from, span.to).join('')
      if (!isProse(sentence, plain, span, paragraph)) continue
      const line = paragraph.line + (plain.lines[span.from] ?? 0)
      sentences.push({ path, line, text: sentence, ...(heading === '' ? {} : { heading }) })
    }
  }
  return sentences
}

/** Without `Note:` and the like in front, which say that a sentence follows and nothing more. */
function unlabelled(plain: Plain, span: Span): Span {
  const label = LABEL.exec(plain.chars.slice(span.from, Math.min(span.to, span.from + 40)).join(''))
  return label === null ? span : { from: span.from + label[0].length, to: span.to }
}

function headingText(raw: string, labels: ReadonlySet<string>): string {
  const text = stripInline(raw.slice(0, 1_000), labels).chars.join('')
  return cleanLine(text.replace(/`/g, '')).replace(/[:.\s]+$/, '').slice(0, HEADING_MAX)
}

function isBoilerplate(heading: string): boolean {
  return BOILERPLATE.test(heading) || VERSION.test(heading)
}

function opening(plain: Plain): string {
  return plain.chars.slice(0, 200).join('')
}

/** Whether it is a whole sentence in words. */
function isProse(text: string, plain: Plain, span: Span, paragraph: Paragraph): boolean {
  if (text.length < SENTENCE_MIN || text.length > SENTENCE_MAX) return false
  if (!/[.!?…]["'”’»)\]]*$/.test(text)) return false
  if (/^[*+>|=~•·–—,;:]/.test(text)) return false
  // What still looks like markup was not understood.
  if (/`|\]\(|\]\[|!\[|\*\*|~~|<\/?(?:img|a|br|p|div|span|table|details|summary)\b/i.test(text)) return false
  if (paragraph.kind === 'item' && (COMMIT_TAIL.test(text) || VERSION.test(text))) return false
  const words = text.match(/\p{L}[\p{L}'’-]*/gu) ?? []
  if (words.length < 4) return false
  const letters = words.reduce((sum, word) => sum + word.length, 0)
  let code = 0
  for (let at = span.from; at < span.to; at++) if (plain.code[at] === true) code++
  return letters >= text.length * 0.6 && code <= text.length * 0.6
}

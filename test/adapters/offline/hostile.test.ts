/**
 * No input makes this code slow: time grows with the length and not with its square, for every function that reads text from
 * outside. Measured as a ratio, since absolute times depend on the machine: eight times the length may take eight
 * times as long, with slack; the square would be sixty-four times.
 */
import { performance } from 'node:perf_hooks'
import { describe, expect, test } from 'vitest'
import { buildIndex, composeReport, countTokens, critique, planQuestion, questionTerms, replanStep, research, searchPassages, sentencesOf, stemsOf, whyNotAlone } from '../../../src/adapters/offline/index.js'
import { blocksOf } from '../../../src/adapters/offline/markdown-blocks.js'
import { wordsOf } from '../../../src/adapters/offline/language.js'
import { whyNotAtLine } from '../../../src/adapters/offline/quotation.js'

const KB = 1_024
const short = 32 * KB
const long = 8 * short
/** Milliseconds below which a measurement says nothing. */
const NOISE_MS = 5
const RATIO_MAX = 8 * 4

const repeat = (text: string) => (length: number): string => text.repeat(Math.ceil(length / text.length)).slice(0, length)
/** Grows until it is long enough. */
const grown = (part: (index: number) => string) => (length: number): string => {
  const parts: string[] = []
  for (let index = 0, size = 0; size < length; index++) {
    const next = part(index)
    parts.push(next)
    size += next.length
  }
  return parts.join('').slice(0, length)
}

const shapes: Readonly<Record<string, (length: number) => string>> = {
  spaces: repeat(' '), 'spaces and a letter': (length) => `${' '.repeat(length - 1)}x`, tabs: repeat('\t'), 'one word': repeat('a'), 'long words': repeat(`${'abcdefgh'.repeat(10)} `), 'one line of code': repeat('function(a,b){return a?b:(c=d,e)};'),
  brackets: repeat('['), 'closing brackets': repeat(']'), 'bracket pairs': repeat('[]('), links: repeat('[a](b '), images: repeat('![a'), 'footnote marks': repeat('[^1]'), definitions: repeat('[a]: b\n'), parentheses: repeat('('), 'sentences in parentheses': repeat('(a. '),
  backticks: repeat('`'), 'backticks of all lengths': grown((index) => `${'`'.repeat(index + 1)}a`), 'unmatched code': repeat('` `` ```  '), stars: repeat('*'), 'emphasis in emphasis': repeat('**a'), 'emphasis in words': repeat('_a'), strikes: repeat('~~a '),
  'opening tags': repeat('<a '), 'less-than signs': repeat('<'), comments: repeat('<!--'), blocks: repeat('<div>\n'), entities: repeat('&amp'), shortcodes: repeat(':a'), backslashes: repeat('\\['),
  'nested lists': grown((index) => `${'  '.repeat(index % 200)}- a\n`), 'ever deeper lists': grown((index) => `${'  '.repeat(index)}- a\n`), 'items on one line': repeat('- '), quotes: repeat('> '), 'nested quotes': repeat('>'), fences: repeat('```\n'), 'an unclosed fence': (length) => `\`\`\`\n${repeat('a b c.\n')(length)}`, tables: repeat('| a | b |\n'), rules: repeat('---\n'), headings: repeat('# a\n'), 'one heading': repeat('#'), 'strong lines': repeat('**a**\n'), 'front matter': (length) => `---\n${repeat('a: b\n')(length)}`,
  'line feeds': repeat('\n'), 'carriage returns': repeat('\r'), 'both line ends': repeat('\r\n'), 'a paragraph': repeat('The cache keeps every entry.\n'), 'a line of sentences': repeat('The cache keeps every entry. '), 'full stops': repeat('.'), initials: repeat('A. '), abbreviations: repeat('e.g. '), ellipses: repeat('... '), questions: repeat('!? '), numbers: repeat('1.2'), digits: repeat('1'),
  binary: grown((index) => String.fromCharCode((index * 7_919) % 256)), 'lone surrogates': repeat('\uD800'), 'surrogates the wrong way round': repeat('\uDC00\uD800 a'), 'byte order marks': repeat('\uFEFF'), overrides: repeat('\u202E'), accents: repeat('a\u0301\u0302'), pictures: repeat('😀'), han: repeat('漢字'),
  commas: repeat('a, '), conjunctions: repeat('a and '), comparisons: repeat('like such as '), hyphens: repeat('a-'), slashes: repeat('a/'), 'camel case': repeat('aB'), addresses: repeat('a@b.'), labels: repeat('note: '), additions: repeat(', with regard to '), definite: repeat('the option '),
}

const functions: Readonly<Record<string, (text: string) => unknown>> = {
  sentencesOf: (text) => sentencesOf({ path: 'a.md', text }),
  blocksOf,
  stemsOf,
  wordsOf,
  countTokens,
  whyNotAlone: (text) => [whyNotAlone(text), whyNotAlone(`The cache ${text.slice(0, 300)}.`)],
  planQuestion: (text) => planQuestion(text, { maxSteps: 4 }),
  'buildIndex, searchPassages, questionTerms': (text) => {
    const index = buildIndex([{ path: text, line: 1, text, heading: text }])
    return [searchPassages(index, text, 10), questionTerms(index, text)]
  },
  research: (text) => research({ question: text, passages: [{ path: text, line: 1, text, heading: text, score: 1 }], terms: [{ stem: 'a', idf: 1, frame: false }] }),
  'whyNotAtLine of its own text': (text) => [whyNotAtLine(text, 1, text), whyNotAtLine(text, 1, text.slice(0, 200))],
  'whyNotAtLine behind prose': (text) => whyNotAtLine(`The cache ${text}`, 1, 'The cache keeps every entry.'),
  critique: (text) => critique({ question: text, finding: { claim: text, path: text, line: 1 }, source: text, accepted: [{ claim: `${text} a`, path: text, line: 1 }] }),
  replanStep: (text) => replanStep({ question: text, tried: [text], reasons: ['does-not-answer'], accepted: [{ claim: text }], passages: [{ text, heading: text, path: text }] }),
  composeReport: (text) => composeReport({ question: text, steps: [{ question: text, askedAs: `${text}b`, findings: [{ claim: text, path: text, line: 1 }] }], unanswered: [{ question: `${text}c`, reason: text }] }),
}

/** The best of a few attempts: what disturbs a measurement only makes it longer. */
function fastestMs(work: () => unknown, attempts: number): number {
  let best = Number.POSITIVE_INFINITY
  for (let attempt = 0; attempt < attempts; attempt++) {
    const start = performance.now()
    work()
    best = Math.min(best, performance.now() - start)
  }
  return best
}

describe('time grows with the length of the text', () => {
  wordsOf('The language model is loaded before anything is measured.')
  const texts = Object.entries(shapes).map(([shape, make]) => ({ shape, little: make(short), much: make(long) }))

  test.each(Object.keys(functions))('%s', (name) => {
    const work = functions[name] ?? (() => undefined)
    const slow: string[] = []
    for (const { shape, little, much } of texts) {
      // A pause of the machine is not repeated; where the long text is no more than noise, the short one need not be measured.
      if (fastestMs(() => work(much), 1) <= RATIO_MAX * NOISE_MS) continue
      const took = fastestMs(() => work(much), 3)
      const may = RATIO_MAX * Math.max(NOISE_MS, fastestMs(() => work(little), 3))
      if (took > may) slow.push(`${shape}: ${took.toFixed(0)} ms, ${may.toFixed(0)} ms allowed`)
    }
    expect(slow).toEqual([])
  })
})

test('a megabyte of anything is read as sentences, and all of them are well-formed and bounded', () => {
  for (const make of Object.values(shapes)) {
    for (const { text } of sentencesOf({ path: 'a.md', text: make(KB * KB) })) {
      expect(text.length).toBeLessThanOrEqual(1_000)
      if (Buffer.from(text).toString() !== text) throw new Error(`${JSON.stringify(text)} is not well-formed`)
    }
  }
})

/** The report: every sentence with its source, nothing that was not found, nothing that Markdown would read otherwise. */
import { fc, test as property } from '@fast-check/vitest'
import { describe, expect, test } from 'vitest'
import { stripInline } from '../../../src/adapters/offline/inline-markup.js'
import { composeReport, sourceOf, type ReportInput, type ReportStep } from '../../../src/adapters/offline/index.js'

type Finding = ReportStep['findings'][number]

const finding = (claim: string, more: Partial<Finding> = {}): Finding => ({ claim, path: 'docs/a.md', line: 3, ...more })
const step = (question: string, ...findings: readonly Finding[]): ReportStep => ({ question, findings })
/** Lines of the body: what is neither a heading nor this tool speaking nor empty. */
const body = (report: string): readonly string[] => report.split('\n').filter((line) => line !== '' && !/^(?:#|>)/.test(line))

test('a report stands as it is', () => {
  const report = composeReport({
    question: 'How does it work, and why?',
    steps: [
      step('How does it work?', finding('The second sentence.', { line: 9, confidence: 0.4 }), finding('The best sentence.', { path: 'docs/b.md', confidence: 0.9 }), finding('The first sentence.', { line: 4, confidence: 0.5 })),
      { ...step('Why does it work?', finding('The only sentence.', { confidence: 0.3 })), askedAs: 'Why does it run?' },
      step('Who made it?'),
    ],
    unanswered: [{ question: 'When was it made?', reason: 'Refused: nothing was found. Refused: it was v1.2.' }],
  })
  expect(report).toBe(`# How does it work, and why?

> 4 sentences from 2 documents. No language model took part: the sentences were found by word statistics, are quoted word for word without their markup, and were checked by rules against their files. They may miss what the documents say in other words.

## In short

- The best sentence. [docs/b.md:3]

## How does it work?

- The first sentence. [docs/a.md:4]
- The second sentence. [docs/a.md:9]

## Why does it work?

> Asked again as: Why does it run?

- The only sentence. [docs/a.md:3]

## Not answered

> Not answered: When was it made? (Refused: nothing was found)
> 
> Not answered: Who made it?
`)
})

test('a question that nothing answers ends in a report that says so', () => {
  const report = composeReport({ question: 'How do I bake bread?', steps: [step('How do I bake bread?')] })
  expect(report).toContain('> Not answered: the documents hold no sentence that answers this question and stands alone.')
  expect(report).toContain('> Not answered: How do I bake bread?')
  expect(report).toContain('No language model took part')
  expect(body(report)).toEqual([])
  expect(body(composeReport({ question: 'How do I bake bread?', steps: [], unanswered: [] }))).toEqual([])
})

test('a sub-question is not named twice as unanswered', () => {
  const report = composeReport({ question: 'a?', steps: [step('b?')], unanswered: [{ question: 'b?' }] })
  expect(report.match(/Not answered: b\?/g)).toHaveLength(1)
})

describe('signs that Markdown would read as markup are shown as they are', () => {
  test.each([
    ['Run `npm i` or <script>alert(1)</script> now.', 'Run \\`npm i\\` or \\<script>alert(1)\\</script> now.'],
    ['See [it](javascript:x) or ![it](http://x.example/y.png) here.', 'See [it\\](javascript:x) or ![it\\](http://x.example/y.png) here.'],
    ['A *bold* _claim_ of snake_case and 2 * 3.', 'A \\*bold* \\_claim\\_ of snake_case and 2 * 3.'],
    ['&lt;b&gt; and AT&T and \\* too, ~5 KB~.', '\\&lt;b\\&gt; and AT&T and \\\\* too, \\~5 KB\\~.'],
    ['# no heading', '\\# no heading'],
    ['1. no item', '\\1. no item'],
    ['- no item', '\\- no item'],
    ['* no item', '\\* no item'],
    ['[x] no task', '\\[x] no task'],
    ['> no quote', '\\> no quote'],
    ['Two\nlines\r\nand\ttabs.', 'Two lines and tabs.'],
    ['Hidden \u202Eright to left\u202C and \u200Bzero width and \uD800.', 'Hidden right to left and zero width and .'],
  ])('%j', (claim, shown) => {
    expect(body(composeReport({ question: 'What?', steps: [step('What?', finding(claim))] }))).toEqual([`- ${shown} [docs/a.md:3]`])
  })

  test('in questions, reasons and paths too', () => {
    const report = composeReport({ question: '# <b>What\n\n- now?', steps: [step('[x](y)?', finding('A sentence.', { path: 'a b]\n[c.md' }))], unanswered: [{ question: '`q`?', reason: '*r*' }] })
    expect(report.split('\n')[0]).toBe('# \\# \\<b>What - now?')
    expect(report).toContain('## [x\\](y)?\n')
    expect(body(report)).toEqual(['- A sentence. [a b%5D %5Bc.md:3]'])
    expect(report).toContain('> Not answered: \\`q\\`? (\\*r\\*)')
  })
})

const hostile = fc.string({ unit: fc.constantFrom(...Array.from(' \n\r\t`*_~[]()<>!#-+|.:&;\\"aB1😀\uD800\u202E')), maxLength: 80 })
const findings = fc.array(fc.record({ claim: fc.oneof(hostile, fc.constant('The cache keeps every entry of it.')), path: fc.oneof(hostile, fc.constantFrom('a.md', 'docs/b.md')), line: fc.integer({ min: 1, max: 99_999 }), confidence: fc.double({ min: 0, max: 1, noNaN: true }) }), { maxLength: 4 })
const input: fc.Arbitrary<ReportInput> = fc.record({ question: hostile, steps: fc.array(fc.record({ question: hostile, askedAs: hostile, findings }), { maxLength: 4 }), unanswered: fc.array(fc.record({ question: hostile, reason: hostile }), { maxLength: 2 }) })

property.prop([input], { numRuns: 500 })('every line of the body ends with its source, whatever the claims hold, and the same input gives the same bytes', (given) => {
  const report = composeReport(given)
  const sentences = given.steps.flatMap((one) => one.findings)
  expect(body(report)).toHaveLength(sentences.length)
  for (const line of body(report)) expect(line).toMatch(/^- .*\[[^[\]]*:\d+\]$/u)
  for (const one of sentences) expect(body(report).some((shown) => shown.endsWith(` [${sourceOf(one)}]`))).toBe(true)
  expect(report.endsWith('\n')).toBe(true)
  expect(Buffer.from(report).toString()).toBe(report)
  expect(composeReport(structuredClone(given))).toBe(report)
})

const claim = fc.string({ unit: fc.constantFrom(...Array.from(' `*_~[]()<>!#-+|.&;\\"aB1é')), maxLength: 40 }).map((text) => `The cache ${text} keeps it.`)

property.prop([claim], { numRuns: 3_000 })('a Markdown reader shows each claim as it was', (text) => {
  const [line = ''] = body(composeReport({ question: 'What?', steps: [step('What?', finding(text))] }))
  const shown = stripInline(line.slice('- '.length, -' [docs/a.md:3]'.length), new Set()).chars.join('')
  expect(shown).toBe(text.replace(/ +/g, ' '))
})

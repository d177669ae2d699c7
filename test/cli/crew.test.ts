/** What is checked by rule of what a language model says: quotations, and the sources of a report. */
import { describe, expect, test } from 'vitest'
import { costLine } from '../../src/cli/research/report.js'
import { checkedReport, toJudge, verdictOf, type CriticInput, type Finding } from '../../src/cli/research/crew.js'

const source = '# Cache\n\nAn entry is evicted when the cache is full. The oldest entry goes first, e.g. the one of a.b.\nEviction takes no lock.\n'
const full: Finding = { claim: 'An entry is evicted when the cache is full.', path: 'a.md', line: 3, confidence: 0.9 }
const oldest: Finding = { claim: 'The oldest entry goes first, e.g. the one of a.b.', path: 'a.md', line: 3, confidence: 0.9 }

describe('a quotation', () => {
  const input = (...findings: Finding[]): CriticInput => ({ step: 'step-1', task: { question: 'When is an entry evicted?' }, output: { findings }, accepted: [] })
  const yes = { accepted: true, reasons: [], explanation: 'it stands', confidence: 0.9 }

  test.each([
    ['word for word, on its line', full, undefined],
    ['with other words', { ...full, claim: 'An entry is evicted when the cache is nearly full.' }, /does not begin on that line/],
    ['of a part of a sentence', { ...full, claim: 'An entry is evicted' }, /only a part/],
    ['from another line', { ...full, line: 4 }, /does not begin on that line/],
    ['from a line that is not there', { ...full, line: 400 }, /has no line 400/],
  ] as const)('%s is compared by rule before any model is asked', (_, finding, why) => {
    const checked = toJudge(input(finding), [source])
    expect(checked.length).toBe(why === undefined ? 1 : 0)
    const verdict = verdictOf({ judgements: checked.map(() => yes) }, input(finding), [source], 'judge')
    expect(verdict.accepted).toBe(why === undefined)
    if (why) expect(verdict.refused).toMatchObject([{ finding, reasons: ['not-at-line'], explanation: expect.stringMatching(why) as string }])
  })

  test('from a file that the run does not have is refused, and on record as such', () => {
    const madeUp: Finding = { ...full, path: 'made-up.md' }
    const verdict = verdictOf({ judgements: [yes] }, input(madeUp, full), [null, source], 'judge')
    expect(verdict).toMatchObject({ accepted: true, output: { findings: [full] }, sourcesVerified: ['a.md:3'], refused: [{ finding: madeUp, reasons: ['not-at-line'] }], confidence: { value: 0.9, source: 'judge' } })
  })

  test('judgements that are not one for each finding are no verdict', () => {
    expect(() => verdictOf({ judgements: [yes, yes] }, input(full), [source], 'judge')).toThrow('2 judgements on 1 findings')
  })
})

describe('the report of a language model', () => {
  const input = { question: 'q', steps: [{ id: 'step-1', task: { question: 'q' }, output: { findings: [full, oldest, { ...full, path: 'b.md', line: 1 }] } }], unanswered: [{ id: 'step-2', task: { question: 'It is fast. Why?' }, reason: 'nothing' }] }
  const check = (markdown: string) => checkedReport({ markdown }, input)

  test.each([
    ['a sentence with its source', 'An entry goes when the cache is full. [a.md:3]'],
    ['the source before the full stop', 'An entry goes when the cache is full [a.md:3].'],
    ['one after the other', 'An entry goes when it is full [a.md:3]. The oldest goes first. [b.md:1] It is gone [a.md:3].'],
    ['two sources for one sentence', 'An entry goes when the cache is full. [a.md:3] [b.md:1]'],
    ['a finding that reads like two sentences', `- ${oldest.claim} [a.md:3]`],
    ['an abbreviation', '1. It goes, e.g. when the cache is full, i.e. has no room. [a.md:3]'],
    ['a sentence over two lines', '- An entry goes\n  when the cache is full. [a.md:3]'],
    ['headings and what was not answered', '# When does an entry go?\n\n## Eviction\n\nIt goes. [a.md:3]\n\n> Not answered: Who is told?\n>\n> Not answered: What does it cost?'],
    ['a question of two sentences that was not answered', '> Not answered: It is fast. Why?'],
  ])('passes with %s', (_, markdown) => {
    expect(check(markdown)).toEqual({ markdown })
  })

  test.each([
    ['a sentence without a source', 'An entry goes when the cache is full.', 'An entry goes'],
    ['two sentences with one source', 'Entries are free. They go when the cache is full. [a.md:3]', 'Entries are free.'],
    ['a sentence behind the last source', 'They go when it is full. [a.md:3] Entries are free.', 'Entries are free.'],
    ['a sentence in a list before a sourced one', '- Entries are free.\n- They go. [a.md:3]', 'Entries are free.'],
    ['a sentence in a quote', '> Entries are free.\n\nThey go. [a.md:3]', '> Entries are free.'],
    ['a sentence behind what was not answered', 'They go. [a.md:3]\n\n> Not answered: Why?\nEntries are free.', 'Entries are free.'],
    ['a sentence in the same line as what was not answered', '> Not answered: Why? Entries are free.', 'Why? Entries are free.'],
    ['a sentence as heading', '# Entries are free.\n\nThey go. [a.md:3]', 'Entries are free.'],
  ])('is refused for %s', (_, markdown, named) => {
    expect(() => check(markdown)).toThrow(`the report has a sentence without a source: "${named}`)
  })

  test('is refused for a source that no finding has', () => {
    expect(() => check('An entry goes. [a.md:4]')).toThrow('the report names a source that no finding has: a.md:4')
  })
})

test('the cost of a run says what is beyond what was held for its calls', () => {
  const spent = { nanoDollars: 0, tokens: 6_506, calls: 4 }
  expect(costLine(spent, { nanoDollars: 0, tokens: 0, calls: 0 })).toBe('$0, 6,506 tokens in 4 calls')
  expect(costLine(spent, { nanoDollars: 0, tokens: 1_000, calls: 0 })).toBe('$0, 6,506 tokens in 4 calls and beyond what was held for them $0 and 1,000 tokens')
})

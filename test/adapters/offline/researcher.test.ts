/** What a finding must be, whatever the question and the documents: whole, alone, on the subject, at its line, and as sure as its evidence. */
import { fc, test as property } from '@fast-check/vitest'
import { describe, expect, test } from 'vitest'
import { buildIndex, questionTerms, research, searchPassages, sentencesOf, standsAlone, stemSetOf, type Document, type Finding, type PassageIndex, type ResearchInput } from '../../../src/adapters/offline/index.js'
import { whyNotAtLine } from '../../../src/adapters/offline/quotation.js'
import { fixtures, readmes } from './pipeline.js'

const indexOf = (documents: readonly Document[]): PassageIndex => buildIndex(documents.flatMap(sentencesOf))
const small = indexOf(fixtures())
const prose = (...sentences: readonly string[]): PassageIndex => indexOf([{ path: 'docs/a.md', text: sentences.join('\n\n') }])

function ask(index: PassageIndex, question: string, more: Partial<ResearchInput> = {}): readonly Finding[] {
  return research({ question, passages: searchPassages(index, question, 60), terms: questionTerms(index, question), ...more })
}

const claims = (findings: readonly Finding[]): readonly string[] => findings.map((finding) => finding.claim)

describe('findings of the fixtures', () => {
  test('are sentences with their place, their heading and their evidence', () => {
    expect(ask(small, 'When does the cache evict entries?', { max: 1 })).toEqual([
      { claim: 'The cache never evicts an entry that is being loaded.', path: 'docs/cache.md', line: 12, heading: 'Entries expire', confidence: expect.any(Number), evidence: { stems: ['cach', 'evict', 'entri'], score: expect.any(Number), margin: expect.any(Number), coverage: 1, fit: expect.any(Number) } },
    ])
  })

  test('never come from code, tables, badges, front matter or the licence', () => {
    const all = ['How does the queue delete messages when the disk is full?', 'How long does the queue wait for a confirmation?', 'When does the cache evict entries on a full moon?', 'Is the queue free software?', 'How does the cache evict entries in batches?'].flatMap((question) => claims(ask(small, question)))
    expect(all.length).toBeGreaterThan(0)
    expect(all.join(' ')).not.toMatch(/deletes|waits this long|full moon|free software|batches/)
  })

  test('are none for what the documents do not speak of', () => {
    expect(ask(small, 'How do I bake sourdough bread?')).toEqual([])
    expect(ask(small, 'What is said about the cache?')).toEqual([])
    expect(research({ question: 'How does the cache evict entries?', passages: [], terms: [] })).toEqual([])
  })

  test('are none where a sentence meets the question by chance, or only in the words of the asking', () => {
    const index = prose('The cache of the server keeps entries of the client.', 'The package handles the types of many tools.')
    expect(ask(index, 'How do bakers ferment rye flour and sourdough in the cache of a server?')).toEqual([])
    expect(ask(index, 'How does a package handle types of tools?')).toEqual([])
  })
})

describe('the choice', () => {
  const sentences = ['The cache evicts the oldest entry when its memory is full.', 'The cache evicts the oldest entry once its memory is full.', 'An entry of the cache is evicted by a timer after one hour.']

  test('prefers what differs from what is taken already', () => {
    expect(claims(ask(prose(...sentences), 'When does the cache evict an entry?', { max: 2 }))).toContain(sentences[2])
  })

  test('takes no sentence that was excluded, by its place or by its words', () => {
    const all = ask(small, 'When does the cache evict entries?')
    const [first] = all
    if (first === undefined) throw new Error('nothing found')
    const without = claims(ask(small, 'When does the cache evict entries?', { exclude: [{ path: first.path, line: first.line }] }))
    expect(without).not.toContain(first.claim)
    expect(claims(ask(small, 'When does the cache evict entries?', { exclude: [first] }))).toEqual(without)
    expect(without.length).toBeGreaterThan(0)
  })

  test('takes a sentence once that stands in two files', () => {
    const text = 'The cache evicts the oldest entry when its memory is full.'
    expect(ask(indexOf([{ path: 'a.md', text }, { path: 'b.md', text }]), 'When does the cache evict an entry?')).toMatchObject([{ path: 'a.md' }])
  })

  test.each([0, 1, 2, 3])('takes %d at most if asked to', (max) => {
    expect(ask(small, 'When does the cache evict entries?', { max })).toHaveLength(max)
  })
})

describe('confidence', () => {
  const sure = (index: PassageIndex, question: string): number => ask(index, question, { max: 1 })[0]?.confidence ?? 0

  test('falls with the part of the question that is not answered', () => {
    const index = prose('The cache evicts the oldest entry when its memory is full.', 'The server writes a log of all commands.')
    const asked = ['When does the cache evict the oldest entry?', 'When does the cache evict the oldest entry of the server?', 'When does the cache evict the oldest entry of the server and its sourdough?']
    const values = asked.map((question) => sure(index, question))
    expect(values).toEqual(values.toSorted((one, other) => other - one))
    expect(new Set(values).size).toBe(3)
  })

  test('is higher for a sentence without a rival', () => {
    const alone = prose('The cache evicts the oldest entry when its memory is full.', 'The server writes a log of all commands.')
    const rivals = prose('The cache evicts the oldest entry when its memory is full.', 'The cache evicts another entry when its memory is empty.')
    expect(sure(alone, 'When does the cache evict an entry?')).toBeGreaterThan(sure(rivals, 'When does the cache evict an entry?'))
  })
})

const documents = readmes()
const corpus = indexOf(documents)
const sources = new Map(documents.map(({ path, text }) => [path, text]))
const subjects = [...corpus.frequencies].filter(([, count]) => count >= 8).map(([stem]) => stem)

property.prop([fc.array(fc.constantFrom(...subjects), { minLength: 2, maxLength: 5 }), fc.constantFrom('How do', 'What is said about', 'When does')], { numRuns: 200 })('every finding about any words of the installed READMEs keeps the rules', (stems, opening) => {
  const question = `${opening} ${stems.join(' ')}?`
  const asked = stemSetOf(question)
  const findings = ask(corpus, question)
  expect(new Set(claims(findings)).size).toBe(findings.length)
  for (const { claim, path, line, confidence, evidence } of findings) {
    const shared = [...stemSetOf(claim)].filter((stem) => asked.has(stem))
    expect(shared.length).toBeGreaterThanOrEqual(2)
    expect(evidence.stems.toSorted()).toEqual(shared.toSorted())
    expect(standsAlone(claim)).toBe(true)
    expect(whyNotAtLine(sources.get(path), line, claim)).toBeUndefined()
    expect(confidence).toBeGreaterThan(0)
    expect(confidence).toBeLessThan(1)
    expect(evidence.coverage).toBeGreaterThan(0)
    expect(evidence.coverage).toBeLessThanOrEqual(1)
    expect(evidence.fit).toBeGreaterThanOrEqual(0)
    expect(evidence.fit).toBeLessThanOrEqual(1)
    expect(evidence.margin).toBeGreaterThanOrEqual(0)
    expect(evidence.margin).toBeLessThanOrEqual(1)
  }
  expect(ask(corpus, question)).toEqual(findings)
})

test('confidence over the installed READMEs is spread out and not constant', () => {
  const values = ['How are version ranges compared?', 'How do command line parsers handle options?', 'How does a cache expire entries?', 'How do I validate data with a schema?', 'What happens when a Redis connection is lost?', 'How is data serialized?'].flatMap((question) => ask(corpus, question).map((finding) => finding.confidence))
  expect(new Set(values).size).toBeGreaterThan(values.length / 2)
  expect(Math.max(...values) - Math.min(...values)).toBeGreaterThan(0.3)
})

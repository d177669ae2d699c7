/** What is found for a question: ranking, the worth of its words, and the index that is built once. */
import { fc, test as property } from '@fast-check/vitest'
import { describe, expect, test } from 'vitest'
import { isHoldfastError } from '../../../src/errors.js'
import { buildIndex, indexDocuments, questionTerms, searchPassages, sentencesOf, type Document, type Sentence } from '../../../src/adapters/offline/index.js'
import { fixtures } from './pipeline.js'

const said = (text: string, more: Partial<Sentence> = {}): Sentence => ({ path: 'docs/a.md', line: 1, text, ...more })
const found = (sentences: readonly Sentence[], question: string): readonly string[] => searchPassages(buildIndex(sentences), question, 10).map((passage) => passage.text)

describe('ranking', () => {
  test('a sentence that holds more of the question goes first', () => {
    expect(found([said('The server keeps a log.', { path: 'a' }), said('The cache evicts an entry.', { path: 'b' }), said('The cache keeps a log.', { path: 'c' })], 'When does the cache evict entries?')).toEqual(['The cache evicts an entry.', 'The cache keeps a log.'])
  })

  test('forms of a word are found alike', () => {
    expect(found([said('Evicting entries takes time.', { path: 'a' }), said('The server keeps a log.', { path: 'b' })], 'How are caches evicted?')).toEqual(['Evicting entries takes time.'])
  })

  test('a rare word weighs more than one that stands everywhere', () => {
    const sentences = [said('The cache is fast.'), said('The cache is small.'), said('The cache is old.'), said('Memory is finite.')]
    expect(found(sentences, 'Which cache is finite?')[0]).toBe('Memory is finite.')
  })

  test('the heading and the names in the path help', () => {
    const sentences = [said('Entries are dropped at night.'), said('Entries are dropped at night.', { heading: 'Eviction' }), said('Entries are dropped at night.', { path: 'node_modules/eviction/README.md' })]
    const passages = searchPassages(buildIndex(sentences), 'How does eviction drop entries?', 10)
    expect(passages.map(({ path, heading }) => heading ?? path)).toEqual(['node_modules/eviction/README.md', 'Eviction', 'docs/a.md'])
  })

  test('the sentences beside it help a little', () => {
    const sentences = [said('The cache evicts an entry.'), said('The server keeps a log.'), said('The client sends a command.', { path: 'docs/b.md' })]
    expect(found(sentences, 'When does the cache evict?')).toEqual(['The cache evicts an entry.', 'The server keeps a log.'])
  })

  test('equal scores keep the order of the documents, and no more than was asked for is given', () => {
    const sentences = ['c', 'a', 'b'].map((path) => said('The cache evicts an entry.', { path }))
    const index = buildIndex(sentences)
    expect(searchPassages(index, 'When is the cache evicting?', 10).map((passage) => passage.path)).toEqual(['c', 'a', 'b'])
    expect(searchPassages(index, 'When is the cache evicting?', 2)).toHaveLength(2)
    expect(searchPassages(index, 'When is the cache evicting?', 0)).toEqual([])
  })

  test.each(['', '   ', '?!', 'is it the one?', 'sourdough'])('nothing is found for %j', (question) => {
    expect(searchPassages(buildIndex([said('The cache evicts an entry.')]), question, 10)).toEqual([])
  })

  test('nothing is found in nothing', () => {
    expect(searchPassages(buildIndex([]), 'When does the cache evict entries?', 10)).toEqual([])
  })

  test('each sentence of the fixtures is the first to be found by its own words', () => {
    const sentences = fixtures().flatMap(sentencesOf)
    const index = buildIndex(sentences)
    for (const sentence of sentences) expect(searchPassages(index, sentence.text, 1)[0]?.text).toBe(sentence.text)
  })
})

describe('the words of a question', () => {
  const index = buildIndex([said('The cache evicts an entry.'), said('The cache handles an error.'), said('The server keeps a log.')])

  test('stand in its order, each once, with their weight in the documents', () => {
    const terms = questionTerms(index, 'How do caches handle errors in the cache of sourdough?')
    expect(terms.map((term) => term.stem)).toEqual(['cach', 'handl', 'error', 'sourdough'])
    const [cache = 0, , error = 0, sourdough = 0] = terms.map((term) => term.idf)
    expect(cache).toBeGreaterThan(0)
    expect(error).toBeGreaterThan(cache)
    expect(sourdough).toBeGreaterThan(error)
    // ln(1 + (N - n + 0.5) / (n + 0.5)) with N = 3 and n = 1, to six digits.
    expect(error).toBe(0.980829)
  })

  test('that belong to the asking and not to the subject are told apart', () => {
    expect(questionTerms(index, 'How do packages handle errors?').map((term) => `${term.stem} ${term.frame}`)).toEqual(['packag true', 'handl true', 'error false'])
  })
})

describe('the index of a set of documents', () => {
  const document = (path: string, text = 'The cache evicts an entry.'): Document => ({ path, text })

  test('finds what an index built in one go finds', async () => {
    const whole = buildIndex(fixtures().flatMap(sentencesOf))
    const grown = await indexDocuments(fixtures())
    for (const question of ['How does the queue keep messages?', 'When are entries evicted?', 'What is lost?']) {
      expect(searchPassages(grown, question, 20)).toEqual(searchPassages(whole, question, 20))
      expect(questionTerms(grown, question)).toEqual(questionTerms(whole, question))
    }
  })

  test('is built once, also for two who ask at the same time', async () => {
    const [one, two] = await Promise.all([indexDocuments([document('a')]), indexDocuments([document('a')])])
    expect(two).toBe(one)
    expect(await indexDocuments([document('a')])).toBe(one)
  })

  test.each<readonly [string, readonly Document[], readonly Document[]]>([
    ['another text', [document('a')], [document('a', 'The cache evicts no entry.')]],
    ['another path', [document('a')], [document('b')]],
    ['another order', [document('a'), document('b')], [document('b'), document('a')]],
    ['a path that swallows the beginning of a text', [document('a', 'bc')], [document('ab', 'c')]],
    ['another lone surrogate', [document('a', '\uD800')], [document('a', '\uD801')]],
  ])('is another for %s', async (_, one, two) => {
    expect(await indexDocuments(two)).not.toBe(await indexDocuments(one))
  })

  test('is kept for the last four sets asked for', async () => {
    const first = await indexDocuments([document('kept-1')])
    for (const n of [2, 3, 4]) await indexDocuments([document(`kept-${n}`)])
    expect(await indexDocuments([document('kept-1')])).toBe(first)
    for (const n of [5, 6, 7]) await indexDocuments([document(`kept-${n}`)])
    expect(await indexDocuments([document('kept-1')])).toBe(first)
    for (const n of [8, 9, 10, 11]) await indexDocuments([document(`kept-${n}`)])
    expect(await indexDocuments([document('kept-1')])).not.toBe(first)
  })

  test('refuses what is too large, and keeps nothing of it', async () => {
    const kept = await indexDocuments([document('kept')])
    const text = ' '.repeat(4_000_001)
    for (let n = 0; n < 4; n++) {
      const refusal: unknown = await indexDocuments([document(`long-${n}`, text)]).catch((error: unknown) => error)
      expect(isHoldfastError(refusal) && refusal.code).toBe('LIMIT')
    }
    expect(await indexDocuments([document('kept')])).toBe(kept)
    const many = document('many', 'The cache works well.\n\n'.repeat(50_001))
    await expect(indexDocuments([many])).rejects.toMatchObject({ code: 'LIMIT', limit: 50_000 })
  })
})

property.prop([fc.shuffledSubarray(fixtures().flatMap(sentencesOf)), fc.constantFrom('How does the cache evict entries?', 'What happens to a message?', 'When is a command refused?')])('scores are positive and fall, and what is found stands in the documents', (sentences, question) => {
  const passages = searchPassages(buildIndex(sentences), question, 100)
  const scores = passages.map((passage) => passage.score)
  expect(scores).toEqual(scores.toSorted((one, other) => other - one))
  expect(scores.every((score) => score > 0)).toBe(true)
  expect(passages.map(({ path, line }) => `${path}:${line}`).every((place) => sentences.some((sentence) => `${sentence.path}:${sentence.line}` === place))).toBe(true)
})

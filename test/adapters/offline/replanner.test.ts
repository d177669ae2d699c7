/** Asking again: in other words, from the closest to the broadest, and not for ever. */
import { fc, test as property } from '@fast-check/vitest'
import { describe, expect, test } from 'vitest'
import { buildIndex, replanStep, searchPassages, sentencesOf, stemSetOf, type RefusalReason, type ReplanInput } from '../../../src/adapters/offline/index.js'
import { fixtures, readmes } from './pipeline.js'

const ask = (question: string, more: Partial<ReplanInput> = {}): string | undefined => replanStep({ question, tried: [question], reasons: [], accepted: [], passages: [], ...more })
const text = (...sentences: readonly string[]): ReplanInput['passages'] => sentences.map((sentence) => ({ text: sentence }))

/** All forms of a step, one after the other. */
function forms(question: string, more: Partial<ReplanInput> = {}): readonly string[] {
  const tried = [question]
  for (let form = ask(question, { tried, ...more }); form !== undefined; form = ask(form, { tried, ...more })) tried.push(form)
  return tried.slice(1)
}

describe('the next form', () => {
  test('says plainly what was said at length', () => {
    expect(ask('How do these packages deal with errors?')).toBe('How do these packages handle errors?')
    expect(ask('How do I set up a logger?')).toBe('How do I configure a logger?')
  })

  test('leaves out a condition, a place or a describing word', () => {
    expect(ask('How does the cache evict entries when memory is short?')).toBe('How does the cache evict entries?')
    expect(ask('How are commands repeated in a busy cluster?')).toBe('How are commands repeated?')
    expect(ask('How do parsers treat unknown flags?')).toBe('How do parsers treat flags?')
  })

  test('uses a word that the documents use, in the form of the one it stands for', () => {
    const passages = text('The cache expires entries at night.')
    expect(ask('How do caches evict entries?', { passages })).toBe('How do caches expire entries?')
    expect(ask('How are entries evicted?', { passages })).toBe('How are entries expired?')
    expect(ask('How are entries removed?', { passages: text('The cache evicts entries at night.') })).toBe('How are entries evicted?')
  })

  test('never takes a word out of a compound', () => {
    const all = forms('How do command line parsers treat subcommands?')
    expect(all.length).toBeGreaterThan(0)
    for (const form of all) expect(form.replace('command line parsers', '')).not.toMatch(/line|parse/)
  })

  test('names what the documents say beside the question, but not what was found already', () => {
    const passages = text('The cache keeps entries in its memory.', 'The entries in the memory of the cache are old.', 'The cache has a timer for entries.', 'A timer of the cache ends.')
    const first = ask('How does the cache work?', { passages, reasons: ['cannot-stand-alone'] })
    expect(first).toBe('How does the cache work, with regard to entries and memory?')
    const second = ask('How does the cache work?', { passages, reasons: ['repeats'], accepted: [{ claim: 'The entries stand in memory.' }] })
    expect(second).toBe('How does the cache work, with regard to timer?')
  })

  test('is about the things alone when nothing else is left', () => {
    expect(forms('How do I bake sourdough bread?')).toEqual(['What is said about sourdough bread?'])
  })

  test('is none for a question that no sentence could share two content words with', () => {
    expect(ask('What is said about security?')).toBeUndefined()
    expect(ask('')).toBeUndefined()
  })
})

const corpus = buildIndex(readmes().flatMap(sentencesOf))
const nouns = ['errors', 'the cache', 'lost connections', 'a redis client', 'lmdb', 'entries', 'command line options', 'schemas', 'the output of a logger']
const verbs = ['evict', 'parse', 'store and retrieve', 'deal with', 'validate', 'shrink', 'redact']
const question = fc.oneof(
  fc.tuple(fc.constantFrom(...nouns), fc.constantFrom(...verbs), fc.constantFrom(...nouns), fc.constantFrom('', ' quickly', ' in a browser', ' when memory is short')).map(([subject, verb, object, rest]) => `How do ${subject} ${verb} ${object}${rest}?`),
  fc.array(fc.constantFrom('how', 'do', 'is', 'the', 'cache', 'evict', 'old', 'entries', 'fast', 'in', 'and', 'ioredis', ',', 'retries', '?'), { maxLength: 15 }).map((words) => words.join(' ')),
  fc.string({ maxLength: 100 }),
)
const reasons = fc.subarray<RefusalReason>(['not-at-line', 'does-not-answer', 'cannot-stand-alone', 'repeats'])

property.prop([question, reasons, fc.boolean()], { numRuns: 120 })('every step ends after at most five further forms, none of which was asked before', (asked, why, onCorpus) => {
  const passages = onCorpus ? searchPassages(corpus, asked, 60) : fixtures().flatMap(sentencesOf)
  const all = forms(asked, { passages, reasons: why })
  expect(all.length).toBeLessThanOrEqual(5)
  const keys = [asked, ...all].map((form) => [...stemSetOf(form)].toSorted().join(' '))
  expect(new Set(keys).size).toBe(keys.length)
  for (const form of all) expect(form).toMatch(/^[^\n]+\?$/)
  expect(forms(asked, { passages, reasons: why })).toEqual(all)
})

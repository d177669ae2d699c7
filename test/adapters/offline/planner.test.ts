/** How a question is split: by its clauses and lists, and by nothing else. */
import { fc, test as property } from '@fast-check/vitest'
import { describe, expect, test } from 'vitest'
import { planQuestion } from '../../../src/adapters/offline/index.js'

const plan = (question: string, maxSteps = 4): readonly string[] => planQuestion(question, { maxSteps }).map((step) => step.question)

describe('a question is split', () => {
  test.each<readonly [string, string, readonly string[]]>([
    ['at a list of things', 'How do these packages deal with errors, timeouts and lost connections?', ['How do these packages deal with errors?', 'How do these packages deal with timeouts?', 'How do these packages deal with lost connections?']],
    ['at a list of subjects, whose verb agrees with each', 'How do workers, a thread and redis communicate?', ['How do workers communicate?', 'How does a thread communicate?', 'How does redis communicate?']],
    ['at a list of what happens', 'What happens to a queue when its consumer dies, the broker restarts or the network is slow?', ['What happens to a queue when its consumer dies?', 'What happens to a queue when the broker restarts?', 'What happens to a queue when the network is slow?']],
    ['at a list of clauses behind do', 'How do transactions commit, caches expire entries and connections reconnect?', ['How do transactions commit?', 'How do caches expire entries?', 'How do connections reconnect?']],
    ['at a list of clauses without their are', 'How are errors handled, data validated and messages logged?', ['How are errors handled?', 'How is data validated?', 'How are messages logged?']],
    ['at a list of participles', 'How are command lines parsed, validated and shown in help?', ['How are command lines parsed?', 'How are command lines validated?', 'How are command lines shown in help?']],
    ['at a list of verbs with their objects', 'How do I read files, handle errors and report progress?', ['How do I read files?', 'How do I handle errors?', 'How do I report progress?']],
    ['at a list of verbs with particles', 'How does a Redis client reconnect after a failure, resend unfulfilled commands and time out blocking commands?', ['How does a Redis client reconnect after a failure?', 'How does a Redis client resend unfulfilled commands?', 'How does a Redis client time out blocking commands?']],
    ['at verbs with one object', 'How do ioredis and lmdb store and retrieve binary data?', ['How does ioredis store binary data?', 'How does lmdb store binary data?', 'How does ioredis retrieve binary data?', 'How does lmdb retrieve binary data?']],
    ['at names with hyphens', 'How do zod, json-schema-to-ts and expect-type check types?', ['How does zod check types?', 'How does json-schema-to-ts check types?', 'How does expect-type check types?']],
    ['at the next question', 'How do I configure logging, and where are old files stored?', ['How do I configure logging?', 'Where are old files stored?']],
    ['at the end of a sentence', 'Describe retry strategies in Redis. And how are errors reported?', ['What is said about retry strategies in Redis?', 'With Redis, how are errors reported?']],
  ])('%s', (_, question, expected) => {
    expect(plan(question)).toEqual(expected)
  })
})

describe('a later part says what it is about', () => {
  test.each<readonly [string, string, string]>([
    ['a pronoun is replaced by its noun', 'What does minisearch store in memory and how big is it?', 'How big is minisearch?'],
    ['a possessive too', 'Why does the client wait, and what limits its memory?', "What limits the client's memory?"],
    ['one of a group is named', 'Which packages support streaming, and which of them run in the browser?', 'Which packages run in the browser?'],
    ['a name is repeated', 'How do I configure logging in pino and where do the logs go?', 'With pino, where do the logs go?'],
    ['a thing is repeated where little is said', 'How are version ranges compared and what is allowed?', 'With version ranges, what is allowed?'],
  ])('%s', (_, question, second) => {
    expect(plan(question)[1]).toBe(second)
  })
})

describe('a question is kept whole', () => {
  test.each([
    'How does ioredis reconnect?',
    'What are the trade-offs between speed and safety in lmdb?',
    'Is it safe to share one connection between workers?',
    'When should I use a cluster instead of sentinel?',
    'Do transactions roll back when the callback throws or returns ABORT?',
    'In pino, how are errors serialized?',
    'How can tests be made deterministic, fast and readable?',
  ])('%s', (question) => {
    expect(plan(question)).toEqual([question])
  })
})

describe('what is no question becomes one', () => {
  test.each([
    ['security', 'What is said about security?'],
    ['Explain how caching works in lru-cache.', 'What is said about how caching works in lru-cache?'],
    ['I want to know how to validate data.', 'How do I validate data?'],
    ['Summarize the state of the research', 'What is said about the state of the research?'],
    ['And please, what about timeouts?', 'What is said about timeouts?'],
  ])('%s', (text, question) => {
    expect(plan(text)).toEqual([question])
  })
})

describe('the number of steps', () => {
  const question = 'How do packages handle errors, timeouts, crashes, restarts and lost connections?'

  test('is bounded, and what has no room of its own stays together', () => {
    expect(plan(question, 3)).toEqual(['How do packages handle errors?', 'How do packages handle timeouts?', 'How do packages handle crashes, restarts and lost connections?'])
    expect(plan(question, 1)).toEqual([question])
    expect(plan('How is it stored? Who reads it? When is it lost?', 2)).toEqual(['How is it stored?', 'Who reads it? When is it lost?'])
  })

  test('counts a question once that is asked twice', () => {
    expect(plan('How are errors handled? And how are errors handled?')).toEqual(['How are errors handled?'])
  })

  test.each([0, -1, 0.5, Number.NaN])('%d counts as one', (maxSteps) => {
    expect(plan('How do errors and timeouts end? Who cares?', maxSteps)).toHaveLength(1)
  })

  test.each(['', '   ', '?!', '\u200B\uD800', '...'])('is 0 for %j', (text) => {
    expect(plan(text)).toEqual([])
  })
})

const fragment = fc.constantFrom(
  'How do', 'How does', 'what', 'Why is', 'which packages', 'the cache', 'lmdb', 'errors', 'entries', 'evict', 'store', 'are stored', 'handled', ',', ', and', 'and', 'or', 'when', 'in', 'with', 'it', 'their', 'one', 'of them', '?', '. ', ';', ' between ', '(', ')', '"', '*a*', 'Explain', 'fast', 'fuzzy matching', 'reading',
)

test('a text of invisible letters has no sub-question', () => {
  expect(plan('\uFFA0 \u115F')).toEqual([])
})

property.prop([fc.oneof(fc.array(fragment, { maxLength: 40 }).map((parts) => parts.join(' ')), fc.string({ maxLength: 700, unit: 'binary' })), fc.integer({ min: 1, max: 6 })], { numRuns: 1_500 })('any text gives 0 to maxSteps distinct one-line questions, the same every time', (text, maxSteps) => {
  const steps = planQuestion(text, { maxSteps })
  expect(steps.length).toBeLessThanOrEqual(maxSteps)
  // A letter that nobody can see, such as the Hangul filler, is none.
  expect(steps.length > 0).toBe(/(?!\p{Default_Ignorable_Code_Point})[\p{L}\p{N}]/u.test(text.slice(0, 600)))
  expect(new Set(steps.map((step) => step.question)).size).toBe(steps.length)
  steps.forEach((step, index) => {
    expect(step.id).toBe(`step-${index + 1}`)
    expect(step.question).toMatch(/^[^\n\r]*[\p{L}\p{N}][^\n\r]*\?$/u)
  })
  expect(planQuestion(text, { maxSteps })).toEqual(steps)
})

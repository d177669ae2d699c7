/**
 * The agents at work on real text: the READMEs of the installed packages. These change with the versions, so nothing is said
 * here about single sentences, only what must hold of any answer; what was asked, found and refused is printed.
 */
import { describe, expect, test } from 'vitest'
import { indexDocuments, standsAlone, stemSetOf } from '../../../src/adapters/offline/index.js'
import { whyNotAtLine } from '../../../src/adapters/offline/quotation.js'
import { accepted, answer, fixtures, readmes, refused, type Outcome } from './pipeline.js'

const documents = readmes()
const sources = new Map(documents.map(({ path, text }) => [path, text]))

const answerable = [
  'What happens when a transaction commits, a connection is lost, a cache entry is evicted or an option is unknown?',
  'How do transactions commit, caches evict entries, clients reconnect and parsers handle unknown options?',
  'What happens when a Redis connection is lost, and how are commands retried?',
  'How do I validate data with a schema and report errors?',
  'How do command line parsers handle arguments, options and subcommands?',
  'How are version ranges compared and what is a prerelease in semver?',
  'How is data compressed or serialized quickly?',
  'How do caches expire entries?',
  'How is output coloured in a terminal?',
  'What is the difference between actors and state machines in xstate?',
  'Explain full-text search in minisearch.',
  'pino transports',
  'How do I store data in transactions, validate input with schemas, and log errors?',
]
const unanswerable = ['How do I bake sourdough bread?', 'Who won the football world cup in 1998?', 'What is the capital of France and how many people live there?', 'Wie wird das Wetter morgen?']

/** What must hold of every outcome. */
function check(outcome: Outcome): void {
  const findings = accepted(outcome)
  expect(outcome.plan.length).toBeGreaterThanOrEqual(1)
  expect(outcome.plan.length).toBeLessThanOrEqual(8)
  for (const question of outcome.plan) expect(question).toMatch(/^\S.*\?$/)
  for (const { asked, finding, verdict } of outcome.judged) {
    expect(whyNotAtLine(sources.get(finding.path), finding.line, finding.claim)).toBeUndefined()
    expect(standsAlone(finding.claim)).toBe(true)
    const stems = stemSetOf(asked)
    expect([...stemSetOf(finding.claim)].filter((stem) => stems.has(stem)).length).toBeGreaterThanOrEqual(2)
    expect(finding.confidence).toBeGreaterThan(0)
    expect(finding.confidence).toBeLessThan(1)
    expect(verdict.explanation).toMatch(/^(?:Accepted|Refused): the sentence .*\.$/)
  }
  expect(new Set(findings.map(({ finding }) => finding.claim)).size).toBe(findings.length)
  // Each accepted sentence stands in the report once, with its source; everything else there is a heading or this tool speaking.
  const body = outcome.report.split('\n').filter((line) => line !== '' && !/^[#>]/.test(line))
  expect(body).toHaveLength(findings.length)
  for (const { finding } of findings) expect(body.filter((line) => line.endsWith(`[${finding.path}:${finding.line}]`)).length).toBeGreaterThanOrEqual(1)
  for (const question of outcome.unanswered) expect(outcome.report).toContain(`> Not answered: ${question}`)
  expect(outcome.report).toContain('No language model took part')
}

function show(question: string, outcome: Outcome): void {
  const confidences = outcome.judged.map(({ finding }) => finding.confidence).toSorted((one, other) => one - other)
  const lines = [`${question}`, ...outcome.plan.map((step) => `  step      ${step}`), ...outcome.replanned.map(({ asked }) => `  replanned ${asked}`)]
  for (const { finding, verdict } of outcome.judged) lines.push(`  ${verdict.accepted ? 'accepted' : `refused (${verdict.reasons.join(', ')})`} ${finding.confidence.toFixed(2)} ${finding.path.replace('node_modules/', '')}:${finding.line} ${finding.claim.slice(0, 110)}`)
  lines.push(`  ${accepted(outcome).length} accepted, ${refused(outcome).length} refused, ${outcome.unanswered.length} of ${outcome.plan.length} steps unanswered, confidence ${confidences[0]?.toFixed(2) ?? '-'} to ${confidences.at(-1)?.toFixed(2) ?? '-'}`)
  console.log(lines.join('\n'))
}

describe('a question that the READMEs answer', () => {
  test.each(answerable)('%s', async (question) => {
    const outcome = await answer(question, documents)
    show(question, outcome)
    check(outcome)
    expect(accepted(outcome).length).toBeGreaterThan(0)
    expect(await answer(question, documents)).toEqual(outcome)
  })
})

describe('a question that they do not answer ends in a report that says so', () => {
  test.each(unanswerable)('%s', async (question) => {
    const outcome = await answer(question, documents)
    show(question, outcome)
    check(outcome)
    expect(accepted(outcome)).toEqual([])
    expect(outcome.unanswered).toEqual(outcome.plan)
    expect(outcome.report).toContain('> Not answered: the documents hold no sentence that answers this question and stands alone.')
  })
})

test('the default question shows the agents at work: several steps and packages, refusals, a step planned anew', async () => {
  const outcome = await answer(answerable[0] ?? '', documents)
  expect(outcome.plan).toHaveLength(4)
  expect(accepted(outcome).length).toBeGreaterThanOrEqual(8)
  expect(new Set(accepted(outcome).map(({ finding }) => finding.path)).size).toBeGreaterThanOrEqual(3)
  expect(refused(outcome).length).toBeGreaterThanOrEqual(1)
  expect(outcome.replanned.length).toBeGreaterThanOrEqual(1)
})

test('all agents of a run share one index of the documents', async () => {
  expect(await indexDocuments(documents)).toBe(await indexDocuments(readmes()))
})

test('the fixtures give exactly this report', async () => {
  const { report } = await answer('How does the queue keep messages, when does the cache evict entries, and how do I bake bread?', fixtures())
  expect(report).toBe(`# How does the queue keep messages, when does the cache evict entries, and how do I bake bread?

> 6 sentences from 2 documents. No language model took part: the sentences were found by word statistics, are quoted word for word without their markup, and were checked by rules against their files. They may miss what the documents say in other words.

## In short

- The queue keeps the order of messages of one sender, but not between senders. [docs/queue.md:37]
- The cache never evicts an entry that is being loaded. [docs/cache.md:12]

## How does the queue keep messages?

- Tidewater Queue is a durable message queue for a single machine. [docs/queue.md:10]
- The queue writes every message to a log on disk before send() resolves, so an accepted message survives a crash of the process. [docs/queue.md:14]

## When does the cache evict entries?

- The cache keeps entries in memory and evicts the least recently used entry when maxEntries is reached. [docs/cache.md:3]
- An entry expires after ttlMs milliseconds, and an expired entry is evicted at its next read. [docs/cache.md:9]

## Not answered

> Not answered: How do I bake bread?
`)
})

/** The second judgement: what it refuses and why, that it differs from the first, and that it lets good sentences pass. */
import { fc, test as property } from '@fast-check/vitest'
import { describe, expect, test } from 'vitest'
import { critique, excerptAround, sentencesOf, type CritiqueInput, type RefusalReason } from '../../../src/adapters/offline/index.js'
import { whyNotAtLine } from '../../../src/adapters/offline/quotation.js'
import { repeated } from '../../../src/adapters/offline/repetition.js'
import { answer, fixtures, readmes, refused } from './pipeline.js'

const sources = new Map(fixtures().map(({ path, text }) => [path, text]))
const question = 'When does the cache evict entries?'
const sound = { claim: 'The cache keeps entries in memory and evicts the least recently used entry when maxEntries is reached.', path: 'docs/cache.md', line: 3 }

function judge(finding: CritiqueInput['finding'], more: Partial<CritiqueInput> = {}): ReturnType<typeof critique> {
  return critique({ question, finding, source: sources.get(finding.path), accepted: [], ...more })
}

/** A finding in a file of its own. */
function planted(claim: string, asked: string, more: { readonly heading?: string; readonly path?: string; readonly accepted?: readonly string[] } = {}): ReturnType<typeof critique> {
  const source = `# ${more.heading ?? 'Notes'}\n\n${claim}\n`
  return critique({ question: asked, finding: { claim, path: more.path ?? 'docs/a.md', line: 3 }, source, accepted: (more.accepted ?? []).map((other) => ({ claim: other, path: 'docs/b.md', line: 7 })) })
}

describe('one of each', () => {
  test('a sound finding is accepted', () => {
    expect(judge(sound)).toEqual({
      accepted: true,
      reasons: [],
      explanation: 'Accepted: the sentence stands at docs/cache.md:3 and speaks of "cache", "evict", "entries".',
      confidence: expect.any(Number),
      source: 'rule',
    })
  })

  test.each<readonly [RefusalReason, string, CritiqueInput['finding'], Partial<CritiqueInput>]>([
    ['not-at-line', 'does not begin on that line', { ...sound, line: 9 }, {}],
    ['not-at-line', 'does not begin on that line', { ...sound, claim: sound.claim.replace('least', 'most') }, {}],
    ['not-at-line', 'its file has no line 99', { ...sound, line: 99 }, {}],
    ['not-at-line', 'its file cannot be read', sound, { source: undefined }],
    ['not-at-line', 'is only a part of a longer sentence there', { ...sound, claim: 'evicts the least recently used entry when maxEntries is reached.' }, {}],
    ['does-not-answer', 'leaves out "evict"', { claim: 'The cache counts hits and misses of all entries in stats().', path: 'docs/cache.md', line: 17 }, {}],
    ['does-not-answer', 'shares fewer than two content words', { claim: 'A message larger than 256 KB is refused.', path: 'docs/queue.md', line: 34 }, {}],
    ['cannot-stand-alone', 'begins with "The callback" and does not say which', { claim: 'The callback may return a promise to delay the next command.', path: 'docs/client.md', line: 9 }, { question: 'How does a callback delay a command?' }],
    ['cannot-stand-alone', 'opens by pointing back', { claim: 'However, the log is only flushed every 200 ms by default.', path: 'docs/queue.md', line: 15 }, { question: 'When is the log flushed?' }],
    ['repeats', 'repeats docs/cache.md:3', sound, { accepted: [sound] }],
    ['repeats', 'repeats docs/old.md:1', sound, { accepted: [{ claim: 'The cache keeps entries in memory, and it evicts the least recently used entry when maxEntries is reached.', path: 'docs/old.md', line: 1 }] }],
  ])('%s: the sentence %s', (reason, why, finding, more) => {
    const verdict = judge(finding, more)
    expect(verdict).toMatchObject({ accepted: false, reasons: [reason], source: 'rule' })
    expect(verdict.explanation).toContain(why)
  })

  test('all objections are named, in their order', () => {
    const verdict = judge({ claim: 'This opens a longer remark about the weather.', path: 'docs/cache.md', line: 2 }, { accepted: [{ claim: 'This opens a longer remark about the weather.', path: 'docs/b.md', line: 7 }] })
    expect(verdict.reasons).toEqual(['not-at-line', 'does-not-answer', 'cannot-stand-alone', 'repeats'])
    expect(verdict.explanation).toMatch(/^Refused: the sentence [^;]+; it [^;]+; it [^;]+; it repeats docs\/b\.md:7\.$/)
  })
})

describe('an answer', () => {
  test.each<readonly [string, string, Parameters<typeof planted>[2]]>([
    ['How are commands retried in redis?', 'Failed commands are retried after some time.', { path: 'node_modules/ioredis/README.md' }],
    ['How are commands retried in redis?', 'Failed commands are retried after some time.', { heading: 'Redis' }],
    ['How do caches expire entries?', 'The cache drops an entry when its time has expired.', {}],
    ['How many entries does the cache keep?', 'The cache keeps 500 entries by default.', {}],
    ['How does the client reconnect when the connection is lost and the server is busy?', 'When the connection to the server is lost, the client reconnects after a delay.', {}],
    ['How does the cache work, with regard to zebras and lions?', 'The cache works in the memory of the server.', {}],
    ['What is said about fuzzy matching?', 'Fuzzy matching finds words with a typing error.', {}],
  ])('%s %s', (asked, claim, more) => {
    expect(planted(claim, asked, more).reasons).toEqual([])
  })
})

describe('no answer', () => {
  test.each<readonly [string, string, string]>([
    ['does not speak of "redis", which the question names', 'How are commands retried in redis?', 'Failed commands are retried after some time.'],
    ['leaves out "expire", which the question is about', 'How do caches expire entries?', 'The cache keeps every entry in the memory of the server.'],
    ['leaves out "command", "line", which the question is about', 'How are command line options parsed?', 'The parser parses every option of a file.'],
    ['mentions the subject only in passing', 'How is data loaded from a database?', 'The server (its data is loaded from a database) keeps a log.'],
    ['mentions the subject only in passing', 'How do loggers write errors?', 'A modern library does many things, such as writing errors to a log.'],
    ['speaks mostly of something else', 'How does a cache work?', 'The cache works on machines, phones, watches, cars, planes, ships, bridges, towers, houses, gardens, fields, rivers, lakes, hills, roads, trains, wheels, doors, windows, kitchens, chairs and engines.'],
    ['names no quantity, which the question asks for', 'How many entries does the cache keep?', 'The cache keeps its entries in the memory of the server.'],
  ])('the sentence %s: %s', (why, asked, claim) => {
    const verdict = planted(claim, asked)
    expect(verdict.reasons).toEqual(['does-not-answer'])
    expect(verdict.explanation).toContain(why)
  })
})

describe('confidence', () => {
  test('is surer of a sentence that speaks of nothing else, and of a refusal with more objections', () => {
    const dense = planted('The cache evicts old entries at night.', question).confidence
    const thin = planted('The cache evicts old entries on a server, a phone, a watch, a plane, a ship and in a car.', question).confidence
    expect(dense).toBeGreaterThan(thin)
    const one = judge(sound, { accepted: [sound] }).confidence
    const two = judge({ ...sound, line: 9 }, { accepted: [sound] }).confidence
    expect(two).toBeGreaterThan(one)
  })

  property.prop([fc.string(), fc.string({ maxLength: 500 }), fc.integer({ min: -2, max: 50 }), fc.option(fc.string({ maxLength: 500 }), { nil: undefined })])('lies from 0.5 and below 1 for any input', (asked, claim, line, source) => {
    const verdict = critique({ question: asked, finding: { claim, path: 'a.md', line }, source, accepted: [] })
    expect(verdict.confidence).toBeGreaterThanOrEqual(0.5)
    expect(verdict.confidence).toBeLessThan(1)
    expect(verdict.accepted).toBe(verdict.reasons.length === 0)
    expect(critique({ question: asked, finding: { claim, path: 'a.md', line }, source, accepted: [] })).toEqual(verdict)
  })
})

describe('repetition', () => {
  const claim = 'The cache evicts the oldest entry of the server after 30 seconds.'

  test.each([
    ['the same', claim],
    ['other letters and marks', 'the cache evicts the oldest entry, of the server, after 30 seconds'],
    ['other forms of the words', 'The cache is evicting the oldest entries of the server after 30 seconds.'],
    ['a shorter one', 'A cache evicts its entries.', 'The cache evicts an entry.'],
    ['one word more', 'The cache quietly evicts the oldest entry of the server after 30 seconds.'],
  ])('%s repeats', (_, other, than = claim) => {
    expect(repeated(than, [{ claim: other }])).toBeDefined()
    expect(repeated(other, [{ claim: than }])).toBeDefined()
  })

  test.each([
    ['a negation', 'The cache never evicts the oldest entry of the server after 30 seconds.'],
    ['a negation in the verb', "The cache doesn't evict the oldest entry of the server after 30 seconds."],
    ['another number', 'The cache evicts the oldest entry of the server after 60 seconds.'],
    ['a number less', 'The cache evicts the oldest entry of the server after some seconds.'],
    ['another order', 'The server evicts the oldest entry of the cache after 30 seconds.'],
    ['other names', 'The cache evicts the oldest entry of LevelDB after 30 seconds.', 'The cache evicts the oldest entry of RocksDB after 30 seconds.'],
    ['how far it holds', 'The cache may evict the oldest entry of the server after 30 seconds.'],
    ['another subject', 'The client sends the first command to the server after 30 seconds.'],
  ])('%s is something else', (_, other, than = claim) => {
    expect(repeated(than, [{ claim: other }])).toBeUndefined()
    expect(repeated(other, [{ claim: than }])).toBeUndefined()
  })
})

describe('a quotation', () => {
  const source = '# Title\n\nThe *cache* keeps [every\nentry](https://x.example/a) of it&nbsp;all. It <b>never</b>\nforgets `one`! A third one follows.\n\n- An item is here, and\n  goes on.\n\n```\nThe code is here, too.\n```\n\n| The table is here, too. |\n\nOne &mdash; it&#39;s short &amp; sweet.\n'

  test.each<readonly [number, string]>([
    [3, 'The cache keeps every entry of it all.'],
    [4, 'It never forgets one!'],
    [5, 'A third one follows.'],
    [7, 'An item is here, and goes on.'],
    [16, "One — it's short & sweet."],
  ])('begins on line %d: %s', (line, text) => {
    expect(whyNotAtLine(source, line, text)).toBeUndefined()
    expect(whyNotAtLine(source.replaceAll('\n', '\r\n'), line, text)).toBeUndefined()
    expect(whyNotAtLine(source.replaceAll('\n', '\r'), line, text)).toBeUndefined()
    expect(whyNotAtLine(`\uFEFF${source}`, line, text)).toBeUndefined()
  })

  test.each<readonly [number, string, string]>([
    [4, 'The cache keeps every entry of it all.', 'does not begin on that line'],
    [3, 'A third one follows.', 'does not begin on that line'],
    [3, 'The cache keeps every entry of them all.', 'does not begin on that line'],
    [3, 'The cache keeps every entry of it', 'is only a part of a longer sentence there'],
    [3, 'keeps every entry of it all.', 'is only a part of a longer sentence there'],
    [11, 'The code is here, too.', 'stands in a block of code'],
    [14, 'The table is here, too.', 'does not stand in prose there'],
    [1, 'Title', 'does not stand in prose there'],
    [3, '', 'does not stand in prose there'],
    [0, 'Title', 'cannot be checked: its file has no line 0'],
    [1.5, 'Title', 'cannot be checked: its file has no line 1.5'],
  ])('is none on line %d: %s (%s)', (line, text, why) => {
    expect(whyNotAtLine(source, line, text)).toBe(why)
  })

  test('is none in a fence that opens behind a byte order mark', () => {
    expect(whyNotAtLine('\uFEFF```\nThe code is here, too.\n```', 2, 'The code is here, too.')).toBe('stands in a block of code')
  })

  test('is every sentence that was taken out of the installed READMEs, and hardly any that was changed', () => {
    let taken = 0
    let missed = 0
    let changed = 0
    for (const document of readmes()) {
      for (const { line, text } of sentencesOf(document).filter((_, index) => index % 3 === 0)) {
        taken++
        if (whyNotAtLine(document.text, line, text) !== undefined) missed++
        const words = text.split(' ')
        const forged = [words.toSpliced(Math.floor(words.length / 2), 1, 'not').join(' '), words.slice(0, -1).join(' '), words.slice(1).join(' ')]
        if (forged.some((other) => other !== text && whyNotAtLine(document.text, line, other) === undefined)) changed++
      }
    }
    expect(taken).toBeGreaterThan(1_000)
    expect(missed / taken).toBeLessThan(0.005)
    expect(changed / taken).toBeLessThan(0.01)
  })
})

describe('an excerpt of a file', () => {
  const lines = [...Array.from({ length: 100 }, (_, index) => (index === 3 ? '# Title' : index === 5 || index === 9 ? '```' : `Line ${index + 1} is prose.`))]

  test('holds the lines around, and of those far above the headings and fences', () => {
    const kept = excerptAround(lines.join('\r\n'), 60).split('\n')
    expect(kept).toHaveLength(100)
    expect(kept.map((text, index) => (text === '' ? 0 : index + 1)).filter((number) => number > 0 && number < 25)).toEqual([4, 6, 10, 20, 21, 22, 23, 24])
    expect(kept[59]).toBe('Line 60 is prose.')
    expect(excerptAround(lines.join('\n'), 20).split('\n')).toHaveLength(60)
  })

  test('is enough to judge every sentence of the installed READMEs as by the whole file', () => {
    for (const { path, text } of readmes()) {
      for (const sentence of sentencesOf({ path, text }).filter((_, index) => index % 5 === 0)) {
        const finding = { claim: sentence.text, path, line: sentence.line }
        const judged = (source: string): unknown => critique({ question: sentence.text, finding, source, accepted: [] })
        expect(judged(excerptAround(text, sentence.line))).toEqual(judged(text))
      }
    }
  })

  test.each([0, -5, 1, 1_000])('of line %d is no error', (line) => {
    expect(excerptAround('One.\nTwo.', line)).toMatch(/^(?:One\.\nTwo\.|\n|)$/)
  })
})

test('on the installed READMEs the critic refuses what the researcher took, for more than one reason', async () => {
  const outcomes = await Promise.all(['What happens when a Redis connection is lost?', 'How do transactions commit?', 'How are version ranges compared?', 'How do caches expire entries?'].map((asked) => answer(asked, readmes())))
  const reasons = new Set(outcomes.flatMap(refused).flatMap(({ verdict }) => verdict.reasons))
  expect([...reasons]).toEqual(expect.arrayContaining(['does-not-answer', 'cannot-stand-alone']))
  // What the researcher takes is at its line by construction; another reason would be a fault of either of them.
  expect(reasons).not.toContain('not-at-line')
})

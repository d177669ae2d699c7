/** What is taken out of a Markdown file: prose, whole sentences, each at its line; and what is not. */
import { fc, test as property } from '@fast-check/vitest'
import { describe, expect, test } from 'vitest'
import { sentencesOf } from '../../../src/adapters/offline/index.js'

const at = (text: string): string[] => sentencesOf({ path: 'a.md', text }).map((sentence) => `${sentence.line} ${sentence.text}`)
const texts = (text: string): string[] => sentencesOf({ path: 'a.md', text }).map((sentence) => sentence.text)

const one = 'The cache keeps every entry.'
const two = 'The server sends every message.'

describe('blocks', () => {
  test.each<readonly [string, string, readonly string[]]>([
    ['a paragraph is joined over its line breaks', 'The cache\nkeeps every\nentry. The server sends\nevery message.', [`1 ${one}`, `3 ${two}`]],
    ['a hard break by two spaces joins as well', 'The cache keeps  \nevery entry.', [`1 ${one}`]],
    ['a hard break by a backslash joins as well', 'The cache keeps\\\nevery entry.', [`1 ${one}`]],
    ['<br> ends a sentence that has no mark, which is left out', `The cache keeps<br>${two}`, [`1 ${two}`]],
    ['lines inside a link target count', `The [cache](\nhttps://x.example) keeps entries. ${two}`, ['1 The cache keeps entries.', `2 ${two}`]],
    ['two paragraphs are not joined', 'The cache keeps\n\nevery entry of it at hand.', ['3 every entry of it at hand.']],
    ['a fence is code', `\`\`\`js\n${one}\n\`\`\`\n${two}`, [`4 ${two}`]],
    ['a fence of tildes is code', `~~~\n${one}\n~~~\n${two}`, [`4 ${two}`]],
    ['a fence ends with one at least as long', `\`\`\`\`\n${one}\n\`\`\`\n${one}\n\`\`\`\`\n${two}`, [`6 ${two}`]],
    ['a fence that nothing ends takes the rest', `${two}\n\n\`\`\`\n${one}\n\n${one}`, [`1 ${two}`]],
    ['backticks with backticks behind them are no fence', `\`\`\`the cache\`\`\` keeps every entry.\n\n${two}`, [`1 the cache keeps every entry.`, `3 ${two}`]],
    ['a fence in a list item is code', `- ${two}\n\n  \`\`\`\n  ${one}\n  \`\`\``, [`1 ${two}`]],
    ['a fence that opens a list item is code', `- \`\`\`\n  ${one}\n  \`\`\`\n- ${two}`, [`4 ${two}`]],
    ['a fence in a quote ends with the quote', `> \`\`\`\n> ${one}\n\n${two}`, [`4 ${two}`]],
    ['an indented line behind a blank one is code', `${two}\n\n    ${one}`, [`1 ${two}`]],
    ['an indented line inside a paragraph is prose', 'The cache keeps\n      every entry.', [`1 ${one}`]],
    ['an indented line behind a list that has ended is code', `- ${two}\n\n${two}\n\n    ${one}`, [`1 ${two}`, `3 ${two}`]],
    ['a tab indents as four spaces', `${two}\n\n\t${one}`, [`1 ${two}`]],
    ['an indented paragraph of a list item is prose', `- ${two}\n\n  ${one}`, [`1 ${two}`, `3 ${one}`]],
    ['a table with outer bars is none', `| a | b |\n| - | - |\n| ${one} | ${two} |`, []],
    ['a table without outer bars is none, its head included', `${one} | b\n--- | ---\n${two} | x\n\n${two}`, [`5 ${two}`]],
    ['a line that begins with a bar is none, also without a table', `| a. ${one} | b |\n\n${two}`, [`3 ${two}`]],
    ['badges leave nothing', '[![The build of it passes.](https://x.example/a.svg)](https://ci.example) ![The version of it is new.](b.svg)', []],
    ['an HTML block is none up to the next blank line', `<div align="center">\n${one}\n</div>\n\n${two}`, [`5 ${two}`]],
    ['prose behind <summary> and a blank line is prose', `<details>\n<summary>More of it.</summary>\n\n${two}\n\n</details>`, [`4 ${two}`]],
    ['a comment over several lines is none', `<!--\n${one}\n\n${one}\n-->\n${two}`, [`6 ${two}`]],
    ['<pre> is none, blank lines included', `<pre>\n${one}\n\n${one}\n</pre>\n\n${two}`, [`7 ${two}`]],
    ['YAML front matter is none', `---\ntitle: ${one}\n---\n${two}`, [`4 ${two}`]],
    ['TOML front matter is none', `+++\ntitle = "${one}"\n+++\n${two}`, [`4 ${two}`]],
    ['a rule around a paragraph is no front matter', `---\n${one}\n\n---\n\n${two}`, [`2 ${one}`, `6 ${two}`]],
    ['list items are apart', `- ${one}\n- ${two}\n* The client reads every reply.`, [`1 ${one}`, `2 ${two}`, '3 The client reads every reply.']],
    ['nested items are apart', `1. ${one}\n   - ${two}\n     1) The client reads\n        every reply.`, [`1 ${one}`, `2 ${two}`, '3 The client reads every reply.']],
    ['the box of a task is left out', `- [x] ${one}\n- [ ] ${two}`, [`1 ${one}`, `2 ${two}`]],
    ['a number at the beginning of a line inside a paragraph opens no list', 'The cache keeps\n14) entries of it at hand.', ['1 The cache keeps 14) entries of it at hand.']],
    ['a quote is prose', `> The cache keeps\n> every entry.\n\n${two}`, [`1 ${one}`, `4 ${two}`]],
    ['a quote of quotes is prose', `> > ${one}`, [`1 ${one}`]],
    ['the mark of an alert and a label are left out', `> [!NOTE]\n> ${one}\n\nNote: ${two}`, [`2 ${one}`, `4 ${two}`]],
    ['headings are no prose', `# ${one}\n\n${one}\n===\n\n${two}`, [`6 ${two}`]],
    ['a line of strong text is a title', `**${one.slice(0, -1)}**\n${two}`, [`2 ${two}`]],
    ['definitions and footnotes are none', `[ref]: https://x.example "${one}"\n[^1]: ${one}\n\n${two}`, [`4 ${two}`]],
    ['lines end with LF, CRLF or CR', `a b\r\n\r${one}\r\n\n${two}\r`, [`3 ${one}`, `5 ${two}`]],
    ['a byte order mark is none', `\uFEFF---\ntitle: ${one}\n\n---\n${two}`, [`5 ${two}`]],
  ])('%s', (_, text, expected) => {
    expect(at(text)).toEqual(expected)
  })
})

describe('inline markup', () => {
  test.each([
    ['emphasis', 'The **cache** keeps *every* __entry__ of ~~its~~ _own_.', 'The cache keeps every entry of its own.'],
    ['marks of emphasis inside a word stay', 'The snake_case_name and 2 * 3 * 4 keep all their signs.', 'The snake_case_name and 2 * 3 * 4 keep all their signs.'],
    ['an underscore inside a word opens nothing', 'The snake_case_ name keeps every sign.', 'The snake_case_ name keeps every sign.'],
    ['a single tilde is none', 'The cache keeps ~every~ entry of it.', 'The cache keeps ~every~ entry of it.'],
    ['a box inside a sentence is text', 'The list[x] keeps [ ] every entry.', 'The list[x] keeps [ ] every entry.'],
    ['emphasis in emphasis', 'The ***cache** keeps* every **entry *of* it**.', 'The cache keeps every entry of it.'],
    ['code', 'The ``cache`` of `max_old` keeps `*every*` entry.', 'The cache of max_old keeps *every* entry.'],
    ['a link keeps its text', 'The [cache](https://x.example/a_(b) "The title.") keeps [every *entry*](<a b>).', 'The cache keeps every entry.'],
    ['a reference link with a definition keeps its text', 'The [cache] keeps [every entry][ref] of [it][].\n\n[cache]: a\n[ref]: b\n[it]: c', 'The cache keeps every entry of it.'],
    ['brackets without a definition are text', 'The cache keeps [every] entry.', 'The cache keeps [every] entry.'],
    ['a link target over two lines', 'The [cache](\nhttps://x.example) keeps every entry.', 'The cache keeps every entry.'],
    ['an image leaves nothing', 'The cache ![of it](a.png)keeps every entry.', 'The cache keeps every entry.'],
    ['a footnote mark leaves nothing', 'The cache[^1] keeps every entry[^note].', 'The cache keeps every entry.'],
    ['tags leave nothing', 'The <b class="x">cache</b> keeps<!-- not --> every <i>entry</i>.', 'The cache keeps every entry.'],
    ['signs that are no tag stay', 'The cache keeps entries while 1 < 2 and evicts them while 3 > 2 holds.', 'The cache keeps entries while 1 < 2 and evicts them while 3 > 2 holds.'],
    ['an address in angle brackets is text', 'The cache of <https://x.example/a> keeps every entry.', 'The cache of https://x.example/a keeps every entry.'],
    ['entities', 'The cache &amp; its entries cost &lt; 2 &euro; &#8211; &#x41;.', 'The cache & its entries cost < 2 &euro; – A.'],
    ['escapes', 'The \\*cache\\* keeps \\[every\\] entry.', 'The *cache* keeps [every] entry.'],
    ['pictures and their names', 'The cache :tada: keeps 🎉 every entry.', 'The cache keeps every entry.'],
    ['what would hide or turn text round', 'The ca\u200Bche \u202Ekeeps\u202C every\u00A0entry.', 'The cache keeps every entry.'],
    ['lone surrogates', 'The cache\uD800 keeps every\uDC00 entry.', 'The cache keeps every entry.'],
  ])('%s', (_, text, expected) => {
    expect(texts(text)).toEqual([expected])
  })

  test.each(['The [cache][nowhere] keeps every entry.', 'The `cache keeps every entry.', 'The **cache keeps every entry.', 'The cache](x) keeps every entry.'])('what still looks like markup was not understood and is left out: %s', (text) => {
    expect(texts(text)).toEqual([])
  })
})

describe('what is not prose, or not worth quoting', () => {
  test.each([
    ['the section of the licence', `## License\n\n${one}\n\n## Use\n\n${two}`, [two]],
    ['a changelog with its versions', `# Changelog\n\n## 2.0.0\n\n${one}\n\n# Use\n\n${two}`, [two]],
    ['a section named by a version', `## v1.2.3 (2024-01-01)\n\n${one}`, []],
    ['lines of commits', `- feat(cache): ${one}\n- 1a2b3c4d ${one}\n- The cache keeps entries in batches (#123).\n- 1.2.3 keeps every entry of the cache.\n- ${two}`, [two]],
    ['a sentence without an end', 'The cache keeps every entry of it\n\nThe cache keeps the following:', []],
    ['fewer than four words', 'It works well.', []],
    ['mostly code', 'The name is `theCacheThatKeepsEveryEntryForEver` for it.', []],
    ['mostly signs', 'The sum 1 + 2 + 3 + 4 = 10 and 5 * 6 = 30 and 70 - 80 = -10 is 30.', []],
    ['more than 1,000 characters', `The cache keeps ${'many '.repeat(200)}entries.`, []],
  ])('%s is left out', (_, text, expected) => {
    expect(texts(text)).toEqual(expected)
  })

  test('a sentence names the nearest heading above it, without markup', () => {
    const headings = sentencesOf({ path: 'a.md', text: `${one}\n\n# The *cache*\n\n${one}\n\n### \`get()\` of [it](x)\`:\n\n${one}\n\nOther\n---\n\n${one}` }).map((sentence) => sentence.heading)
    expect(headings).toEqual([undefined, 'The cache', 'get() of it', 'Other'])
  })
})

describe('sentence bounds', () => {
  test.each<readonly [string, readonly string[]]>([
    ['The cache works. The server works as well, too! Does it work at all? It does work well.', ['The cache works.', 'The server works as well, too!', 'Does it work at all?', 'It does work well.']],
    ['The cache runs on Node.js 20.1 or version 1.2.3-rc.1 and later releases. The plan costs 3.50 dollars a month.', ['The cache runs on Node.js 20.1 or version 1.2.3-rc.1 and later releases.', 'The plan costs 3.50 dollars a month.']],
    ['Use a small number of entries, e.g. ten. Other values, i.e. larger ones, are refused.', ['Use a small number of entries, e.g. ten.', 'Other values, i.e. larger ones, are refused.']],
    ['The call of redis.quit() ends it. ioredis sends the rest first.', ['The call of redis.quit() ends it.', 'ioredis sends the rest first.']],
    ['The cache waits ... and goes on. It waits… and ends there.', ['The cache waits ... and goes on.', 'It waits… and ends there.']],
    ['The cache (see it. It is old.) is small. It is "done." It is (as said.) The rest follows now.', ['The cache (see it. It is old.) is small.', 'It is "done."', 'It is (as said.)', 'The rest follows now.']],
    ['J. Doe and Dr. Roe wrote the cache. It is theirs, vs. ours, etc. The rest is free.', ['J. Doe and Dr. Roe wrote the cache.', 'It is theirs, vs. ours, etc.', 'The rest is free.']],
    ['The range min. 3 to max. 5 is allowed. `a.b. C` is code and no end.', ['The range min. 3 to max. 5 is allowed.', 'a.b. C is code and no end.']],
  ])('%s', (text, expected) => {
    expect(texts(text)).toEqual(expected.filter((sentence) => sentence.split(' ').length >= 4))
  })
})

/** A file made of sentences that are known, with the line that each begins on. */
const words = ['cache', 'server', 'entry', 'value', 'client', 'message', 'keeps', 'sends', 'reads', 'every', 'large', 'slowly', 'behind', 'queue', 'after']
const word = fc.record({ text: fc.constantFrom(...words), mark: fc.constantFrom('', '', '', '', '*', '**', '_', '`', 'link', 'reference', 'tag', 'entity'), wraps: fc.nat(5).map((n) => n === 0) })
const sentence = fc.array(word, { minLength: 5, maxLength: 12 })
const block = fc.record({ kind: fc.constantFrom('text' as const, 'item' as const, 'quote' as const, 'nested' as const), sentences: fc.array(sentence, { minLength: 1, maxLength: 3 }), between: fc.constantFrom('', '```\nThe code keeps every entry.\n```', '| The | table |\n|---|---|\n| keeps | it. |', '<!-- The comment\nkeeps it. -->', '## The heading keeps it.', '<div>\nThe block keeps it.\n</div>') })
const eol = fc.constantFrom('\n', '\r\n', '\r')

type Word = { readonly text: string; readonly mark: string; readonly wraps: boolean }

function marked({ text, mark }: Word, shown: string): string {
  if (mark === 'link') return `[${shown}](https://x.example/${text}.html)`
  if (mark === 'reference') return `[${shown}][ref]`
  if (mark === 'tag') return `<b>${shown}</b>`
  if (mark === 'entity') return `&#${shown.charCodeAt(0)};${shown.slice(1)}`
  return `${mark}${shown}${mark}`
}

/** What the first line of a block begins with, and each other line. */
const prefixes = { text: ['', ''], item: ['- ', '  '], quote: ['> ', '> '], nested: ['> 1. ', '>    '] } as const

function written(blocks: readonly { readonly kind: keyof typeof prefixes; readonly sentences: readonly (readonly Word[])[]; readonly between: string }[], end: string): { readonly text: string; readonly expected: readonly string[] } {
  const lines = ['[ref]: https://x.example', '']
  const expected: string[] = []
  for (const { kind, sentences, between } of blocks) {
    const [first, rest] = prefixes[kind]
    let line: string = first
    let empty = true
    for (const list of sentences) {
      const shown = list.map((item, index) => (index === 0 ? item.text.charAt(0).toUpperCase() + item.text.slice(1) : item.text))
      list.forEach((item, index) => {
        if (item.wraps && !empty) {
          lines.push(line)
          line = rest
          empty = true
        }
        if (index === 0) expected.push(`${lines.length + 1} ${shown.join(' ')}.`)
        line += `${empty ? '' : ' '}${marked(item, shown[index] ?? '')}${index === list.length - 1 ? '.' : ''}`
        empty = false
      })
    }
    lines.push(line, '', ...(between === '' ? [] : [...between.split('\n'), '']))
  }
  return { text: lines.join(end), expected }
}

/** A line that is all strong at the beginning of a paragraph would be a title, a sentence that is mostly code no prose. */
const isPlain = (list: readonly Word[]): boolean => list[0]?.mark !== '**' && list.filter((item) => item.mark === '`').length <= list.length / 3

property.prop([fc.array(block, { minLength: 1, maxLength: 6 }), eol], { numRuns: 500 })('exactly the sentences that were written are found, each at its line', (blocks, end) => {
  fc.pre(blocks.every(({ sentences }) => sentences.every(isPlain)))
  const { text, expected } = written(blocks, end)
  expect(at(text)).toEqual(expected)
})

property.prop([fc.string({ maxLength: 400, unit: fc.constantFrom(...Array.from(' \n\r\t`*_~[]()<>!#-+|>.:&;\\"aBé1😀\uD800\uFEFF')) })], { numRuns: 2_000 })('any text is read without an error, and lines lie within it', (text) => {
  const count = text.split(/\r\n|\n|\r/).length
  for (const found of sentencesOf({ path: 'a.md', text })) {
    expect(found.line).toBeGreaterThanOrEqual(1)
    expect(found.line).toBeLessThanOrEqual(count)
    // No lone surrogate: it survives UTF-8.
    expect(Buffer.from(found.text).toString()).toBe(found.text)
  }
})

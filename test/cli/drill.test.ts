/** `--drill outage` and `--ceiling`: what the mesh does about a model that is out of order, as one sees it. Without a key or a server. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { main } from '../../src/cli/main.js'
import { ceilingOf } from '../../src/cli/research/ceiling.js'
import type { Terminal } from '../../src/cli/terminal.js'
import { holdfast, startHoldfast } from '../support/cli.js'
import { writeDocuments } from '../support/documents.js'
import { runScript } from '../support/run-script.js'

const question = 'How are secrets redacted in the log?'
let cwd: string
beforeEach(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'holdfast-drill-'))
  await writeDocuments(cwd)
})
afterEach(() => rm(cwd, { recursive: true, force: true }))

const bodyOf = async (name: string): Promise<string> => (await readFile(join(cwd, name), 'utf8')).split('\n## About this run')[0]!

test('the breaker opens, calls fall back, what failed is charged, and the report is that of a run without trouble; in lines, and drawn on a terminal', async () => {
  const drawn: string[] = []
  const terminal: Terminal = {
    env: { HOLDFAST_STORE: 'drawn' },
    cwd,
    isInteractive: false,
    color: false,
    screen: { columns: 100, rows: 30, write: (text) => void drawn.push(text), onResize: () => () => {}, every: () => () => {}, now: () => 0 },
    line: (text) => void drawn.push(`${text}\n`),
    error: (text) => void drawn.push(text),
    ask: () => Promise.resolve(undefined),
    onInterrupt: () => () => {},
  }
  const drill = ['research', question, 'docs', '--drill', 'outage', '--ceiling', '200000tokens,2usd', '--approve-as', 'test']
  const [plain, code, told, sound] = await Promise.all([
    holdfast([...drill, '--run', 'r'], { cwd }),
    main([...drill, '--run', 'd'], terminal),
    holdfast(['research', question, 'docs', '--drill', 'outage', '--run', 'j', '--store', 'json', '--json'], { cwd }),
    holdfast(['research', question, 'docs', '--run', 's', '--store', 'sound', '--approve-as', 'test'], { cwd }),
  ])
  expect([plain.code, code, sound.code], plain.stderr).toEqual([0, 0, 0])
  const text = plain.lines.join('\n')
  // oxlint-disable-next-line no-control-regex
  expect(text).not.toMatch(/\u001b/)
  // oxlint-disable-next-line no-control-regex
  const screen = drawn.join('').replace(/\u001b\[[?\d;]*[a-zA-Z]/g, '')
  for (const said of [text, screen]) {
    expect(said).toContain('Drill: offline/drill is asked first')
    expect(said).toMatch(/ {2}plan {2}offline\/drill failed: the drill’s provider is overloaded \(529\)$/m)
    expect(said).toMatch(/ {2}breaker of offline\/drill {2}is open \(\d+ failures in a row\)/)
    expect(said).toMatch(/ {2}step-1\S* {2}asks offline\/extractive instead of offline\/drill: the circuit breaker of model offline\/drill is open/)
    expect(said).toMatch(/ {2}\S+ {2}offline\/drill failed: the drill’s provider cut the connection in the middle of the answer; nobody knows what it used, so [\d,]+ tokens are charged/)
    expect(said).toMatch(/^offline\/drill: asked \d+ times, \d+ failed; not asked \d+ times?, because its breaker was open\.$/m)
    expect(said).toMatch(/^Budget: \$0 and [\d,]+ tokens in \d+ calls spent, of \$2\.00, 200,000 tokens; of that \$0 and [\d,]+ tokens for what failed\.$/m)
  }
  expect(screen).toMatch(/⊘ offline\/drill {2}breaker open: \d+ failures in a row/)
  expect(screen).toMatch(/[\d,]+ of 200,000 tokens/)
  expect(await bodyOf('report-r.md')).toBe(await bodyOf('report-s.md'))
  expect(await bodyOf('report-d.md')).toBe(await bodyOf('report-s.md'))
  expect(await readFile(join(cwd, 'report-r.md'), 'utf8')).toContain('\n- Drill: a model that was out of order was asked first')
  expect(await readFile(join(cwd, 'report-s.md'), 'utf8')).not.toContain('- Drill')
  const events = told.lines.map((line) => JSON.parse(line) as { readonly breaker?: unknown; readonly failed?: unknown; readonly fallback?: unknown })
  expect(events.find(({ breaker }) => breaker)).toEqual({ breaker: { name: 'offline/drill', state: 'open', why: expect.stringContaining('failures in a row') as string } })
  expect(events.find(({ failed }) => failed)).toMatchObject({ failed: { task: 'plan', model: 'offline/drill', charged: { tokens: 0, calls: 1 } } })
  expect(events.find(({ fallback }) => fallback)).toMatchObject({ fallback: { task: 'plan', model: 'offline/extractive', insteadOf: 'offline/drill' } })
  // Without trouble nothing is said of calls.
  expect(sound.lines.join('\n')).not.toMatch(/breaker|Budget|instead of/)
}, 60_000)

test('killed in the middle of a drill, it goes on without: what is out of order is not there any more, and the next model is asked', async () => {
  const child = await startHoldfast(['research', question, 'docs', '--drill', 'outage', '--run', 'r', '--approve-as', 'test'], { cwd })
  for await (const line of child.lines) if (line.includes('offline/drill failed')) break
  child.kill('SIGKILL')
  await child.exited
  const { code, lines, stderr } = await holdfast(['resume', 'r', '--approve-as', 'test'], { cwd })
  expect([code, lines.at(-1)], stderr).toEqual([0, 'Report: report-r.md'])
}, 60_000)

test('a drill needs a store that nobody else runs', async () => {
  await holdfast(['research', question, 'docs', '--run', 'r'], { cwd })
  const holder = await runScript('test/support/holder.ts', [], { cwd })
  await holder.lines.next()
  const { code, stderr } = await holdfast(['research', question, 'docs', '--drill', 'outage'], { cwd })
  expect([code, stderr]).toEqual([1, 'Another process runs what is in this store, and a drill needs a store that this one runs. Name another one: --store drill.\n'])
  holder.end()
  await holder.exited
}, 60_000)

test('a run whose ceiling does not cover its first call fails for it, and has spent nothing', async () => {
  const { code, lines } = await holdfast(['research', question, 'docs', '--run', 'r', '--ceiling', '100tokens', '--json'], { cwd })
  expect(code).toBe(1)
  expect(JSON.parse(lines.at(-1)!)).toMatchObject({ state: 'failed', failure: { message: expect.stringMatching(/budget/) as string }, spent: { tokens: 0, calls: 0, nanoDollars: 0 } })
}, 60_000)

describe('--ceiling', () => {
  test.each([
    [undefined, {}],
    ['2usd', { usd: 2 }],
    ['0.5usd', { usd: 0.5 }],
    ['400000tokens', { tokens: 400_000 }],
    ['2 USD, 400000 tokens,50calls', { usd: 2, tokens: 400_000, calls: 50 }],
    ['0tokens', { tokens: 0 }],
  ])('%j', (text, ceiling) => {
    expect(ceilingOf(text)).toEqual(ceiling)
  })

  test.each([
    ['', '"" is no amount with a unit of usd, tokens, calls (in "")'],
    ['2', '"2" is no amount with a unit'],
    ['-1usd', '"-1usd" is no amount'],
    ['2eur', '"2eur" is no amount'],
    ['2usd,', '"" is no amount'],
    ['2usd,3usd', 'it says usd twice'],
    ['1.5tokens', '1.5 tokens is no whole number that can be counted'],
    ['2000000usd', '2000000 usd is more than 1,000,000'],
    ['99999999999999999999tokens', 'no whole number that can be counted'],
    ['1e3tokens', 'no amount'],
  ])('%j is refused with what to write instead', (text, why) => {
    expect(() => ceilingOf(text)).toThrow(why)
    expect(() => ceilingOf(text)).toThrow('Write it as 2usd, as 400000tokens, as 50calls, or several of them: 2usd,400000tokens.')
  })
})

/** The main job as a user runs it: real processes, real stores, real documents. */
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { shellWord, withoutPassword } from '../../src/cli/session.js'
import { AnthropicServer, answer } from '../support/anthropic-server.js'
import { holdfast, startHoldfast } from '../support/cli.js'
import { question, writeDocuments } from '../support/documents.js'
import { RedisServer } from '../support/redis-server.js'
import { runScript } from '../support/run-script.js'

let cwd: string
beforeEach(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'holdfast-cli-'))
  await writeDocuments(cwd)
})
afterEach(() => rm(cwd, { recursive: true, force: true }))

let redis: RedisServer
beforeAll(async () => {
  redis = await RedisServer.start()
})
afterAll(() => redis.stop())

const report = (name = 'report-r.md'): Promise<string> => readFile(join(cwd, name), 'utf8')
const last = (lines: readonly string[]): string => lines.at(-1) ?? ''

describe.each([
  ['LMDB', () => []],
  ['Redis', () => ['--store', redis.url, '--namespace', `n${Math.round(performance.now())}`]],
] as const)('on %s', (_, store) => {
  test('a run parks for approval, is looked at and approved from other processes, and its report names a source for every sentence', async () => {
    const where = store()
    const parked = await holdfast(['research', question, 'docs', '--run', 'r', ...where], { cwd })
    expect(parked.code, parked.stderr).toBe(3)
    expect(parked.lines.join('\n')).toContain('holdfast approve r')
    await expect(report()).rejects.toThrow('ENOENT')

    expect((await holdfast(['runs', ...where], { cwd })).lines.join('\n')).toMatch(/^r\s+waits for approval/m)
    const shown = await holdfast(['show', 'r', '--report', ...where], { cwd })
    const approved = await holdfast(['approve', 'r', '--by', 'ann', '--note', 'fine', ...where], { cwd })
    expect(approved.code, approved.stderr).toBe(0)
    expect(last(approved.lines)).toBe('Report: report-r.md')
    const text = await report()
    expect(shown.lines.join('\n').trim()).toBe(text.trim())

    const [body, about] = text.split('\n## About this run\n') as [string, string]
    const sentences = body.split('\n').filter((line) => line.startsWith('- '))
    expect(sentences.length).toBeGreaterThanOrEqual(2)
    for (const sentence of sentences) {
      const [, path, line] = /\[([^\]]+):(\d+)\]$/.exec(sentence) ?? []
      expect(path, sentence).toBeDefined()
      const claim = sentence.slice(2, sentence.lastIndexOf(' [')).replaceAll('\\', '')
      expect((await readFile(join(cwd, path!), 'utf8')).split('\n')[Number(line) - 1], sentence).toContain(claim.slice(0, 40))
    }
    expect(body).toContain('No language model took part')
    expect(about).toMatch(/- Documents: 4 read, 0 skipped/)

    // Again: nothing is done twice.
    const again = await holdfast(['research', question, 'docs', '--run', 'r', ...where], { cwd })
    expect([again.code, last(again.lines)]).toEqual([0, 'Report: report-r.md'])
    expect(await report()).toBe(text)
    const late = await holdfast(['reject', 'r', ...where], { cwd })
    expect([late.code, last(late.lines)]).toEqual([1, 'Run r was already approved by ann; a decision on record does not change.'])

    const tree = (await holdfast(['show', 'r', ...where], { cwd })).lines.join('\n')
    expect(tree).toContain('✓')
    expect(tree).toMatch(/^approved by ann at \d{4}-\d\d-\d\dT[\d:.]+Z: fine$/m)
    const trace = (await holdfast(['trace', 'r', '--json', ...where], { cwd })).lines.map((line) => JSON.parse(line) as { agent: string; goalCheck: string; prompt: unknown; cost: object; latencyMs: number })
    expect(new Set(trace.map(({ agent }) => agent))).toEqual(new Set(['planner', 'researcher', 'critic', 'writer']))
    expect(trace.every(({ goalCheck, prompt, cost, latencyMs }) => goalCheck === 'intact' && prompt !== null && cost !== null && latencyMs >= 0)).toBe(true)
    expect((await holdfast(['trace', 'r', ...where], { cwd })).lines.length).toBeGreaterThanOrEqual(trace.length)
  }, 60_000)

  test('a rejected run ends without a report', async () => {
    const where = store()
    await holdfast(['research', question, 'docs', '--run', 'r', ...where], { cwd })
    const rejected = await holdfast(['reject', 'r', '--note', 'not good enough', '--json', ...where], { cwd })
    expect(rejected.code, rejected.stderr).toBe(0)
    expect(JSON.parse(last(rejected.lines))).toMatchObject({ run: 'r', state: 'failed', failure: { reason: 'rejected', message: expect.stringContaining('not good enough') as string }, decision: { approved: false } })
    await expect(report()).rejects.toThrow('ENOENT')
  }, 60_000)

  test('while one process runs it, others look, decide and follow', async () => {
    const where = store()
    const owner = await startHoldfast(['research', question, 'docs', '--run', 'r', ...where], { cwd })
    const parked = await owner.exited
    expect(parked.code).toBe(3)
    // A mesh that goes on living, as in a service.
    const resumed = await runScript('test/support/holder.ts', where, { cwd })
    expect((await resumed.lines.next()).value).toBe('owner')
    const follower = await startHoldfast(['resume', 'r', ...where], { cwd })
    const approved = await holdfast(['approve', 'r', '--by', 'bob', ...where], { cwd })
    expect([approved.code, last(approved.lines)], approved.stderr).toEqual([0, 'Report: report-r.md'])
    follower.end()
    await follower.exited
    resumed.end()
    expect((await resumed.exited).code).toBe(0)
    expect(await report()).toContain('## About this run')
  }, 60_000)
})

test('a question that the documents do not answer ends in a report that says so', async () => {
  const { code, stderr } = await holdfast(['research', 'How do I bake sourdough bread with rye flour?', 'docs', '--run', 'r', '--approve-as', 'test'], { cwd })
  expect(code, stderr).toBe(0)
  expect(await report()).toMatch(/Not answered: the documents hold no sentence/)
}, 60_000)

test('inputs that cannot be read are named in the report and skipped', async () => {
  const docs = join(cwd, 'docs')
  await writeFile(join(docs, 'binary.md'), Buffer.from([0x23, 0x20, 0, 1, 2, 3]))
  await writeFile(join(docs, 'empty.md'), ' \n')
  await writeFile(join(docs, 'latin.md'), Buffer.from([0x63, 0x61, 0x66, 0xe9]))
  await writeFile(join(docs, 'huge.md'), 'x')
  await truncate(join(docs, 'huge.md'), 5 * 1_048_576)
  await symlink('nowhere', join(docs, 'broken.md'))
  await mkdir(join(docs, 'node_modules'))
  await writeFile(join(docs, 'node_modules', 'x.md'), 'Not looked at.')
  await writeFile(join(docs, 'code.ts'), 'export {}')
  const { code, stderr } = await holdfast(['research', question, 'docs', '--run', 'r', '--approve-as', 'test'], { cwd })
  expect(code, stderr).toBe(0)
  const text = await report()
  for (const line of ['docs/binary.md: binary', 'docs/empty.md: empty', 'docs/huge.md: too large', 'docs/broken.md: gone']) expect(text).toContain(`- ${line}`)
  expect(text).toContain('- Documents: 5 read, 4 skipped')
  expect(text).not.toContain('code.ts')
}, 60_000)

test('a document that changes while the run is under way is not read as if it had not', async () => {
  await holdfast(['research', question, 'docs', '--run', 'r', '--json'], { cwd, env: { HOLDFAST_LOG: 'silent' } })
  // The run waits; its report stands. A new run under way is the case: its files are changed before its agents read them.
  const child = await startHoldfast(['research', question, 'docs', '--run', 's', '--approve-as', 'test'], { cwd })
  // The first line tells what will run; the second that the run is kept.
  await child.lines.next()
  await child.lines.next()
  child.kill('SIGKILL')
  await child.exited
  await writeFile(join(cwd, 'docs', 'guide.md'), 'Something else.')
  const { lines } = await holdfast(['resume', 's', '--approve-as', 'test'], { cwd })
  // Killed before or after they had read; in the first case they say so.
  expect(lines.join('\n')).toMatch(/guide\.md has changed since the run began|Report: report-s\.md/)
}, 60_000)

test('Ctrl-C stops cleanly and says how to go on; then it goes on', async () => {
  const child = await startHoldfast(['research', question, 'docs', '--run', 'r', '--approve-as', 'test'], { cwd })
  await child.lines.next()
  child.kill('SIGINT')
  const rest: string[] = []
  for await (const line of child.lines) rest.push(line)
  expect((await child.exited).code).toBe(130)
  expect(last(rest)).toBe('Stopped. It goes on where it was with: holdfast resume r   or with the next command that runs what is in that store. To end it: holdfast cancel r')
  const { code, lines } = await holdfast(['resume', 'r', '--approve-as', 'test'], { cwd })
  expect([code, last(lines)]).toEqual([0, 'Report: report-r.md'])
}, 60_000)

describe('what is typed wrong', () => {
  const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
    [[], 2, /Usage: holdfast <command>/],
    [['--help'], 0, /Begin with:/],
    [['help', 'research'], 0, /--publish <url>/],
    [['--version'], 0, /^\d+\.\d+\.\d+$/m],
    [['reserch', 'x'], 2, /Did you mean research\?/],
    [['research'], 2, /needs "<question>"/],
    [['research', 'x', '--ot', 'y'], 2, /Did you mean --out\?/],
    [['research', 'x', 'nowhere'], 1, /no file or folder nowhere/],
    [['research', 'x', '--ceiling', 'much'], 2, /--ceiling: "much" is no amount with a unit of usd, tokens, calls .* Write it as 2usd/],
    [['research', 'x', '--drill', 'fire'], 2, /--drill: expected outage, which is the only drill there is, got "fire"/],
    [['research', 'x', '--run', 'no/slash'], 1, /run id/],
    [['research', 'x', '--store', 'ftp://x'], 2, /expected a folder or redis/],
    [['research', 'x', '--store', 'redis://127.0.0.1:1'], 1, /Redis at 127\.0\.0\.1:1/],
    [['research', ' ', 'docs'], 2, /has no word in it/],
    [['research', '?', 'docs'], 2, /The question "\?" has no word in it/],
    [['research', 'x', 'docs', '--out', ''], 2, /--out: expected the name of a file/],
    [['research', 'x', 'docs', '--out', 'docs'], 2, /--out: docs is no file/],
    [['research', 'x', 'docs', '--out', 'docs/guide.md/r.md'], 2, /--out: docs\/guide.md\/r.md cannot be written/],
    [['research', 'x', 'docs', '--out', 'r.md', '--publish', 'http://127.0.0.1/'], 2, /give one of them/],
    [['research', 'x', 'docs', '--model', 'claude-opus-5'], 1, /needs a key: set ANTHROPIC_API_KEY/],
    [['research', 'x', 'docs', '--publish', 'file:///etc'], 2, /expected an http/],
    [['show', 'nobody'], 1, /There is no store at \.holdfast/],
    [['approve', 'nobody'], 1, /There is no store at \.holdfast/],
    [['runs', '--store', 'typo'], 1, /There is no store at typo, so no run is kept there/],
    [['runs', 'x'], 2, /takes no argument/],
    [['resolve', 'r'], 2, /either --happened or --not-happened/],
    [['runs', '--log-level', 'loud'], 2, /--log-level: expected trace/],
  ]
  test.each(cases)('%j', async (args, code, text) => {
    const result = await holdfast(args, { cwd })
    expect([...result.lines, result.stderr].join('\n')).toMatch(text)
    expect(result.code).toBe(code)
    expect(result.stderr).not.toMatch(/\n\s+at /)
    // Nothing was begun by it.
    expect(await readdir(cwd)).toEqual(['docs'])
  })

  test('with --json errors are JSON', async () => {
    const { lines, code } = await holdfast(['show', 'nobody', '--json'], { cwd })
    expect(code).toBe(1)
    expect(JSON.parse(last(lines))).toMatchObject({ error: { code: 'CONFIG', message: expect.stringContaining('no store at .holdfast') as string } })
  })

  test('a run of that id with another question is refused, --fresh begins another', async () => {
    await holdfast(['research', question, 'docs', '--run', 'r'], { cwd })
    const other = await holdfast(['research', 'Something else?', 'docs', '--run', 'r'], { cwd })
    expect([other.code, other.stderr]).toEqual([1, expect.stringContaining('asks another question')])
    const fresh = await holdfast(['research', question, 'docs', '--run', 'r', '--fresh', '--approve-as', 'test'], { cwd })
    expect(last(fresh.lines)).toBe('Report: report-r-2.md')
  }, 60_000)
})

test('a run that nobody has is said so, with those there are', async () => {
  await holdfast(['research', question, 'docs', '--run', 'r'], { cwd })
  const { code, stderr } = await holdfast(['show', 'nobody'], { cwd })
  expect([code, stderr]).toEqual([1, 'There is no run nobody. There are: r.\n'])
}, 60_000)

test('a file that is there is replaced, and whoever approves is told so', async () => {
  await writeFile(join(cwd, 'precious.md'), 'Precious.')
  const parked = await holdfast(['research', question, 'docs', '--run', 'r', '--out', 'precious.md'], { cwd })
  expect(parked.lines).toContain('Run r waits for approval: it writes the report to precious.md, in place of the file that is there.')
  expect(await report('precious.md')).toBe('Precious.')
  const other = await holdfast(['research', question, 'docs', '--run', 's', '--out', 'new.md'], { cwd })
  expect(other.lines).toContain('Run s waits for approval: it writes the report to new.md.')
}, 60_000)

test('reports of earlier runs are no documents, unless they are named', async () => {
  await rm(join(cwd, 'docs'), { recursive: true })
  await writeFile(join(cwd, 'keys.md'), 'Secrets are redacted before a log line is written, so that no secret ever reaches the log file.\n')
  const ask = (...rest: string[]) => holdfast(['research', 'How are secrets redacted in the log?', ...rest, '--approve-as', 'test'], { cwd })
  await ask('--run', 'a')
  expect(await report('report-a.md')).toContain('[keys.md:1]')
  await rm(join(cwd, 'keys.md'))
  await writeFile(join(cwd, 'other.md'), 'Something else stands here, of which nobody asked.\n')
  await ask('--run', 'b')
  expect(await report('report-b.md')).toContain('- report-a.md: a report of an earlier run')
  expect(await report('report-b.md')).not.toMatch(/\[report-a\.md:\d+\]/)
  await ask('report-a.md', '--run', 'c')
  expect(await report('report-c.md')).toContain('- Documents: 1 read, 0 skipped')
}, 60_000)

test('a report that is not there any more is not said to be there', async () => {
  await holdfast(['research', question, 'docs', '--run', 'r', '--approve-as', 'test'], { cwd })
  expect(last((await holdfast(['show', 'r'], { cwd })).lines)).toBe('Report: report-r.md')
  const text = await report()
  await rm(join(cwd, 'report-r.md'))
  for (const args of [['research', question, 'docs', '--run', 'r'], ['show', 'r']]) {
    expect(last((await holdfast(args, { cwd })).lines)).toBe('Report: report-r.md (it is not there any more; its text: holdfast show r --report)')
  }
  expect((await holdfast(['show', 'r', '--report'], { cwd })).lines.join('\n').trim()).toBe(text.trim())
  expect((await holdfast(['research', question, 'docs', '--run', 'r'], { cwd })).lines[0]).toBe('Run r has ended; this is how. To begin anew, add --fresh.')
}, 60_000)

test('hints can be typed as they are, and tell no password', async () => {
  const parked = await holdfast(['research', question, 'docs', '--run', 'r', '--store', "my store's"], { cwd })
  expect(parked.lines.at(-2)).toBe(`  approve:  holdfast approve r --store 'my store'\\''s'`)
  expect(shellWord(withoutPassword('redis://:secret@host:6379/1'))).toBe(`'redis://:***@host:6379/1'`)
  expect(shellWord(withoutPassword('redis://ann:secret@host?password=secret'))).not.toContain('secret')
  expect(shellWord(withoutPassword('redis://127.0.0.1:6379'))).toBe('redis://127.0.0.1:6379')
}, 60_000)

describe('a receiver that a test holds', () => {
  let server: Server
  let url: string
  let answer: (method: string, response: ServerResponse, key: unknown) => void
  beforeEach(async () => {
    server = createServer((request, response) => void request.resume().on('end', () => answer(request.method!, response, request.headers['idempotency-key'])))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/reports`
  })
  afterEach(() => {
    server.closeAllConnections()
    server.close()
  })
  const publishing = (...more: string[]): readonly string[] => ['research', question, 'docs', '--run', 'r', '--approve-as', 'test', '--publish', url, ...more]

  test('that answers everybody proves nothing: the run waits, and a person says that it had arrived', async () => {
    let posts = 0
    answer = (method, response) => {
      if (method === 'POST') posts++
      if (method === 'POST') response.destroy()
      else response.writeHead(200).end('Welcome to this site.')
    }
    const child = await startHoldfast(publishing(), { cwd })
    const lines: string[] = []
    for await (const line of child.lines) lines.push(line)
    expect((await child.exited).code).toBe(3)
    expect(lines.join('\n')).toContain('holdfast resolve r --happened')
    expect(lines.join('\n')).toContain('it answered 200 without the digest of the report')
    const resolved = await holdfast(['resolve', 'r', '--happened', '--by', 'zed'], { cwd })
    expect([resolved.code, last(resolved.lines)]).toEqual([0, `Report: ${url}`])
    const { lines: shown } = await holdfast(['show', 'r'], { cwd })
    expect(last(shown)).toBe(`Report: ${url}`)
    expect(shown.join('\n')).toMatch(/^zed found out that the report had been published at \d{4}-/m)
    expect(posts).toBe(1)
  }, 60_000)

  test('that refuses takes it when it is sent once more, without another approval', async () => {
    let status = 403
    const keys: unknown[] = []
    answer = (method, response, key) => {
      if (method === 'POST') keys.push(key)
      response.writeHead(method === 'POST' ? status : 404).end()
    }
    const failed = await holdfast(publishing(), { cwd })
    expect([failed.code, last(failed.lines)]).toEqual([1, 'The report is approved and kept; publish it again with: holdfast retry r'])
    expect((await holdfast(['retry', 'r'], { cwd })).code).toBe(1)
    status = 201
    const again = await holdfast(['retry', 'r', '--by', 'bob'], { cwd })
    expect([again.code, last(again.lines)], again.stderr).toEqual([0, `Report: ${url}`])
    expect((await holdfast(['show', 'r'], { cwd })).lines.join('\n')).toMatch(/^tried again for bob at \d{4}-/m)
    expect(keys).toEqual([keys[0], keys[0], keys[0]])
    expect((await holdfast(['retry', 'r'], { cwd })).stderr).toContain('it is done')
  }, 60_000)

  test('whose answer has no end is believed by its beginning', async () => {
    answer = (_, response) => {
      response.writeHead(201)
      const more = (): void => {
        while (!response.destroyed && response.write('x'.repeat(65_536)));
      }
      response.on('drain', more)
      more()
    }
    const { code, lines } = await holdfast(publishing(), { cwd })
    expect([code, last(lines)]).toEqual([0, `Report: ${url}`])
  }, 60_000)

  test('over which the process dies twenty times: it is set aside, told, and published once when it is tried again', async () => {
    let ask = (): void => {}
    answer = () => ask()
    for (let kills = 0; kills <= 20; kills++) {
      const asked = new Promise<'asked'>((resolve) => (ask = () => resolve('asked')))
      const child = await startHoldfast(kills === 0 ? publishing() : ['resume', 'r'], { cwd })
      if ((await Promise.race([asked, child.exited])) !== 'asked') throw new Error(`kill ${kills}: ${(await child.exited).stderr}`)
      child.kill('SIGKILL')
      await child.exited
    }
    let posts = 0
    answer = (method, response) => void response.writeHead(method === 'POST' ? (posts++, 201) : 404).end()
    const parked = await holdfast(['resume', 'r'], { cwd })
    expect(parked.code, parked.stderr).toBe(3)
    expect(parked.lines.join('\n')).toMatch(/Run r cannot go on by itself: research\/r was set aside \(quarantined\): the process died 20 times/)
    const whole = 'research/r was set aside (quarantined): the process died 20 times while handling'
    expect((await holdfast(['runs'], { cwd })).lines.join('\n')).toContain(whole)
    expect((await holdfast(['show', 'r'], { cwd })).lines.join('\n')).toContain(whole)
    expect(JSON.parse(last((await holdfast(['runs', '--json'], { cwd })).lines))).toMatchObject([{ run: 'r', parked: { address: 'research/r', reason: 'quarantined' } }])
    const redriven = await holdfast(['resume', 'r', '--redrive'], { cwd })
    expect([redriven.code, last(redriven.lines)], redriven.stderr).toEqual([0, `Report: ${url}`])
    expect(posts).toBe(1)
  }, 100_000)
})

test('a folder that this process may not write to is said so', async () => {
  await writeFile(join(cwd, 'file'), '')
  const { code, stderr } = await holdfast(['runs', '--store', 'file/store'], { cwd })
  expect([code, stderr]).toEqual([1, expect.stringContaining('is a file or lies below one')])
  await chmod(join(cwd, 'file'), 0o644)
})

test('with a key the same run is done by a language model with structured output', async () => {
  const server = await AnthropicServer.start()
  const says = (value: unknown) => answer({ text: JSON.stringify(value) })
  const claim = 'Secrets are redacted before a log line is written, so that no secret ever reaches the log file.'
  server.otherwise((request) => {
    const text = JSON.stringify(request.body)
    if (text.includes('You plan research')) return says({ questions: ['How are secrets redacted in the log?'] })(request)
    if (text.includes('You find sentences')) return says({ findings: [{ claim, path: 'docs/security.md', line: 3, confidence: 0.9 }, { claim: 'Made up.', path: 'docs/made-up.md', line: 1, confidence: 0.9 }] })(request)
    if (text.includes('You verify findings')) return says({ judgements: [{ accepted: true, reasons: [], explanation: 'it stands', confidence: 0.95 }] })(request)
    return says({ markdown: `# Redaction\n\n${claim} [docs/security.md:3]` })(request)
  })
  const { code, stderr, lines } = await holdfast(['research', 'How are secrets redacted?', 'docs', '--run', 'r', '--approve-as', 'test', '--ceiling', '1usd'], { cwd, env: { ANTHROPIC_API_KEY: server.apiKey, ANTHROPIC_BASE_URL: server.baseURL } })
  expect(code, stderr + lines.join('\n')).toBe(0)
  expect(await report()).toContain(`${claim} [docs/security.md:3]`)
  expect(await report()).toContain('- Model: anthropic/claude-sonnet-5-5')
  server.verify()
  expect(server.requests.every(({ body }) => body.output_config !== undefined)).toBe(true)
  const trace = (await holdfast(['trace', 'r', '--json'], { cwd })).lines.map((line) => JSON.parse(line) as { cost: { nanoDollars: number }; model: string })
  expect(trace.every(({ cost, model }) => cost.nanoDollars > 0 && model === 'anthropic/claude-sonnet-5-5')).toBe(true)
  // The key is nowhere: not in the trace, not in the store.
  expect(JSON.stringify(trace)).not.toContain(server.apiKey)
  expect((await readFile(join(cwd, '.holdfast', 'data.mdb'))).includes(server.apiKey)).toBe(false)
  await server.stop()
}, 60_000)

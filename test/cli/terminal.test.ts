/** A person at a terminal is asked, and overtaken: by a signal, by the end of the input, by whoever decides elsewhere. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { follow } from '../../src/cli/follow.js'
import type { Session } from '../../src/cli/session.js'
import type { Terminal } from '../../src/cli/terminal.js'
import type { DecisionOptions, RunHandle, RunStatus } from '../../src/mesh/run-handle.js'
import { holdfast } from '../support/cli.js'
import { question, writeDocuments } from '../support/documents.js'
import { runScript, type RunningScript } from '../support/run-script.js'

let cwd: string
beforeEach(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'holdfast-terminal-'))
  await writeDocuments(cwd)
})
afterEach(() => rm(cwd, { recursive: true, force: true }))

const env = { ANTHROPIC_API_KEY: undefined, HOLDFAST_STORE: undefined, HOLDFAST_LOG: undefined, HOLDFAST_MODEL: undefined, NO_COLOR: '1' }

/** Begins a run and resolves when its person is asked. */
async function asked(): Promise<RunningScript> {
  const child = await runScript('test/support/at-a-terminal.ts', ['research', question, 'docs', '--run', 'r'], { cwd, env })
  for (let line = await child.lines.next(); !line.done; line = await child.lines.next()) if (line.value.startsWith('Approval needed')) return child
  throw new Error(`nobody was asked: ${(await child.exited).stderr}`)
}

async function rest(child: RunningScript): Promise<string[]> {
  const lines: string[] = []
  for await (const line of child.lines) lines.push(line)
  return lines
}

test.each(['SIGTERM', 'SIGINT'] as const)('%s at the question ends the process, though its input stays open', async (signal) => {
  const child = await asked()
  child.kill(signal)
  const lines = await rest(child)
  expect(await child.exited).toMatchObject({ code: 130, signal: undefined })
  expect(lines.at(-1)).toMatch(/^Stopped\. It goes on where it was with: holdfast resume r {3}or with the next command/)
}, 60_000)

test('the end of the input is no decision', async () => {
  const child = await asked()
  child.end()
  const lines = await rest(child)
  expect((await child.exited).code).toBe(3)
  expect(lines.join('\n')).toContain('holdfast approve r')
}, 60_000)

test('a yes writes the report', async () => {
  const child = await asked()
  child.send('y')
  const lines = await rest(child)
  expect([(await child.exited).code, lines.at(-1)]).toEqual([0, 'Report: report-r.md'])
  expect(await readFile(join(cwd, 'report-r.md'), 'utf8')).toContain('## About this run')
}, 60_000)

test('a decision elsewhere ends the question, and the run goes on here', async () => {
  const child = await asked()
  const elsewhere = await holdfast(['approve', 'r', '--by', 'ann'], { cwd })
  expect(elsewhere.code, elsewhere.stderr).toBe(0)
  const lines = await rest(child)
  expect([(await child.exited).code, lines.at(-1)]).toEqual([0, 'Report: report-r.md'])
  expect(lines).toContain('Approved elsewhere, by ann.')
}, 60_000)

// ── What a decision at the same moment comes to ──

const pending = { run: 'r', state: 'approvalPending', steps: [], unanswered: [], spent: { nanoDollars: 0, tokens: 0, calls: 0 }, overrun: { nanoDollars: 0, tokens: 0, calls: 0 }, warnings: [], approval: { digest: 'd', why: 'it writes', actions: [] }, decision: null, parked: null, failure: null } as unknown as RunStatus
const ann = { digest: 'd', approved: true, by: 'ann', note: '' }

function terminalThatSays(...answers: string[]): Terminal & { readonly said: string[] } {
  const said: string[] = []
  return {
    env: {},
    cwd: '/',
    isInteractive: true,
    color: false,
    said,
    line: (text) => void said.push(text),
    error: (text) => void said.push(text),
    ask: () => Promise.resolve(answers.shift()),
    onInterrupt: () => () => {},
  }
}

test('a no that comes behind a yes is told so', async () => {
  let decide = (): void => {}
  const decided = new Promise<void>((resolve) => (decide = resolve))
  const rejected: DecisionOptions[] = []
  const run = {
    id: 'r',
    async *progress() {
      yield pending
      await decided
      yield { ...pending, state: 'done', decision: ann } as RunStatus
    },
    reject: (options: DecisionOptions) => {
      rejected.push(options)
      decide()
      return Promise.resolve(ann)
    },
  } as unknown as RunHandle
  const terminal = terminalThatSays('n', 'too long')
  expect(await follow({ storeOption: '', research: { agents: [] } } as unknown as Session, run, terminal, { json: false, unattended: undefined }, new AbortController().signal)).toBe(0)
  expect(rejected).toMatchObject([{ digest: 'd', note: 'too long' }])
  expect(terminal.said).toContain('Run r was already approved by ann; a decision on record does not change.')
})

test('a run that is set aside while it is watched is not watched for ever', async () => {
  const aside = { ...pending, state: 'working', parked: { address: 'researcher/r~step-1', reason: 'quarantined', detail: 'the process died 20 times' } } as RunStatus
  const run = {
    id: 'r',
    async *progress() {
      yield { ...pending, state: 'working' } as RunStatus
      await new Promise(() => {})
    },
    status: () => Promise.resolve(aside),
  } as unknown as RunHandle
  const terminal = terminalThatSays()
  expect(await follow({ storeOption: '', research: { agents: [] } } as unknown as Session, run, terminal, { json: false, unattended: undefined }, new AbortController().signal)).toBe(3)
  expect(terminal.said.join('\n')).toContain('Run r cannot go on by itself: researcher/r~step-1 was set aside (quarantined): the process died 20 times.')
})

test('who leaves a run watches it no longer', async () => {
  let returned = 0
  const statuses = [pending]
  const progress = {
    next: () => (statuses.length > 0 ? Promise.resolve({ value: statuses.shift(), done: false }) : new Promise(() => {})),
    return: () => (returned++, Promise.resolve({ value: undefined, done: true })),
  }
  const run = { id: 'r', progress: () => progress } as unknown as RunHandle
  expect(await follow({ storeOption: '', research: { agents: [] } } as unknown as Session, run, terminalThatSays('l'), { json: false, unattended: undefined }, new AbortController().signal)).toBe(3)
  expect(returned).toBe(1)
})

/** `holdfast inspect` as a user runs it: beside the processes that run what it looks at. */
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { holdfast, startHoldfast } from '../support/cli.js'
import { question, writeDocuments } from '../support/documents.js'
import { InspectorServer } from '../support/inspector-server.js'
import { RedisServer } from '../support/redis-server.js'
import type { RunningScript } from '../support/run-script.js'

let cwd: string
beforeEach(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'holdfast-inspect-'))
  await writeDocuments(cwd)
})
afterEach(() => rm(cwd, { recursive: true, force: true }))

let redis: RedisServer
beforeAll(async () => {
  redis = await RedisServer.start()
})
afterAll(() => redis.stop())

/** Takes reports when it is let to. */
class Receiver {
  readonly waiting: ServerResponse[] = []
  private readonly arrivals: (() => void)[] = []
  private readonly server: Server = createServer((request, response) => {
    if (request.method === 'GET') return void response.writeHead(404).end()
    request.resume().on('end', () => {
      this.waiting.push(response)
      for (const arrived of this.arrivals.splice(0)) arrived()
    })
  })
  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`
  }
  async asked(): Promise<void> {
    while (this.waiting.length === 0) await new Promise<void>((resolve) => this.arrivals.push(resolve))
  }
  take(): void {
    for (const response of this.waiting.splice(0)) response.writeHead(201).end()
  }
  stop(): void {
    this.server.closeAllConnections()
    this.server.close()
  }
}

let receiver: Receiver
let publish: string
beforeEach(async () => {
  receiver = new Receiver()
  publish = await receiver.start()
})
afterEach(() => receiver.stop())

const messagesOf = (lines: readonly string[]): Record<string, unknown>[] => lines.map((line) => JSON.parse(line) as Record<string, unknown>)
const statusOf = (message: Record<string, unknown> | undefined): unknown => (message?.['snapshot'] as { status?: unknown } | undefined)?.status

/** Reads on until a line is such. */
async function until(script: RunningScript, isSuch: (message: Record<string, unknown>) => boolean, lines: string[]): Promise<void> {
  for (let line = await script.lines.next(); !line.done; line = await script.lines.next()) {
    lines.push(line.value)
    if (isSuch(JSON.parse(line.value) as Record<string, unknown>)) return
  }
  throw new Error(`it ended after ${lines.length} lines: ${(await script.exited).stderr}`)
}

async function rest(script: RunningScript, lines: string[]): Promise<Awaited<RunningScript['exited']>> {
  for (let line = await script.lines.next(); !line.done; line = await script.lines.next()) lines.push(line.value)
  return script.exited
}

describe.each([
  ['LMDB', () => []],
  ['Redis', () => ['--store', redis.url, '--namespace', `n${Math.round(performance.now())}`]],
] as const)('on %s', (_, store) => {
  test('a run is streamed from another process, the states it is in and what happens to it, without its texts, until it has ended', async () => {
    const where = store()
    const owner = await startHoldfast(['research', question, 'docs', '--run', 'r', '--approve-as', 'test', '--publish', publish, ...where], { cwd })
    await receiver.asked()
    const looker = await startHoldfast(['inspect', 'r', '--json', ...where], { cwd })
    const lines: string[] = []
    // Actors in memory are shown at once.
    await until(looker, ({ type, sessionId }) => type === '@xstate.actor' && sessionId === 'research/r', lines)
    receiver.take()
    const { code, stderr } = await rest(looker, lines)
    expect(code, stderr).toBe(0)
    expect(stderr).toContain('Streaming to standard output')
    expect((await owner.exited).code).toBe(0)

    const messages = messagesOf(lines)
    expect(new Set(messages.map(({ _version }) => _version))).toEqual(new Set(['0.7.2']))
    const run = messages.find(({ type, sessionId }) => type === '@xstate.actor' && sessionId === 'research/r')!
    expect(JSON.parse(run['definition'] as string)).toMatchObject({ id: 'run', initial: 'open' })
    const events = messages.filter(({ type }) => type === '@xstate.event').map(({ event }) => (event as { type: string }).type)
    expect(events).toContain('xstate.done.actor.publish')
    expect(statusOf(messages.findLast(({ type, sessionId }) => type === '@xstate.snapshot' && sessionId === 'research/r'))).toBe('done')
    // Only this run, and no inspection.
    expect(messages.every(({ rootId }) => /^\w+\/r(?:~|$)/.test(rootId as string))).toBe(true)
    expect(lines.join('\n')).not.toContain(question)
    expect(lines.join('\n')).toContain('[string of ')
  })
})

test('to an inspector goes what --json prints, with texts if so asked', async () => {
  expect((await holdfast(['research', question, 'docs', '--run', 'r'], { cwd })).code).toBe(3)
  const server = await InspectorServer.start()
  const looker = await startHoldfast(['inspect', 'r', '--url', server.url, '--redact', 'nothing'], { cwd })
  const printed = await startHoldfast(['inspect', '--json', '--redact', 'nothing'], { cwd })
  await server.until(() => server.sockets.length === 1)
  expect((await holdfast(['approve', 'r', '--note', 'my note'], { cwd })).code).toBe(0)
  const { code, stderr } = await looker.exited
  expect(code, stderr).toBe(0)
  expect(server.frames.join('\n')).toContain('my note')
  const lines: string[] = []
  await until(printed, ({ sessionId, type, snapshot }) => sessionId === 'research/r' && type === '@xstate.snapshot' && (snapshot as { status: string }).status === 'done', lines)
  // The one without a run goes on.
  printed.kill('SIGINT')
  expect((await printed.exited).code).toBe(130)
  const timeless = (frames: readonly string[]): string[] => frames.map((frame) => frame.replace(/"createdAt":"\d+"/, ''))
  expect(timeless(server.frames).filter((frame) => timeless(lines).includes(frame)).length).toBeGreaterThan(5)
  await server.stop()
})

test('it goes on when the process that ran the actors is killed and another takes over', async () => {
  const owner = await startHoldfast(['research', question, 'docs', '--run', 'r', '--approve-as', 'test', '--publish', publish], { cwd })
  await receiver.asked()
  const looker = await startHoldfast(['inspect', 'r', '--json'], { cwd })
  const lines: string[] = []
  await until(looker, ({ sessionId }) => sessionId === 'research/r', lines)
  owner.kill('SIGKILL')
  await owner.exited
  receiver.waiting.length = 0
  const next = await startHoldfast(['resume', 'r'], { cwd })
  await receiver.asked()
  receiver.take()
  const { code, stderr } = await rest(looker, lines)
  expect(code, stderr).toBe(0)
  expect(stderr).toContain('Whoever ran the actors has gone')
  expect((await next.exited).code).toBe(0)
  // The new process shows the actors anew.
  expect(messagesOf(lines).filter(({ type, sessionId }) => type === '@xstate.actor' && sessionId === 'research/r').length).toBeGreaterThanOrEqual(2)
})

test('whoever runs the actors is not held up by one who looked and was killed, or by one who cannot be reached', async () => {
  const owner = await startHoldfast(['research', question, 'docs', '--run', 'r', '--approve-as', 'test', '--publish', publish], { cwd })
  await receiver.asked()
  const looker = await startHoldfast(['inspect', '--json'], { cwd })
  await until(looker, ({ sessionId }) => sessionId === 'research/r', [])
  looker.kill('SIGKILL')
  await looker.exited
  receiver.take()
  const { code, stderr } = await owner.exited
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
})

test('it waits for somebody who runs the actors, says so, and stops when it is told to; what it asked for stops with it', async () => {
  expect((await holdfast(['research', question, 'docs', '--run', 'r'], { cwd })).code).toBe(3)
  const looker = await startHoldfast(['inspect', 'r', '--json'], { cwd })
  await looker.complained('Nobody has called back')
  looker.kill('SIGINT')
  const { code, stderr } = await looker.exited
  expect(code, stderr).toBe(130)
  expect(stderr).toContain('Nobody has called back yet: nobody runs what is in this store just now')
  expect(stderr).toContain('holdfast resume r')
  expect((await holdfast(['approve', 'r'], { cwd })).code).toBe(0)
})

describe('a mistake', () => {
  let place: string
  beforeAll(async () => {
    place = await mkdtemp(join(tmpdir(), 'holdfast-inspect-'))
    await writeDocuments(place)
    expect((await holdfast(['research', question, 'docs', '--run', 'r', '--approve-as', 'test'], { cwd: place })).code).toBe(0)
  })
  afterAll(() => rm(place, { recursive: true, force: true }))

  test.each([
    [['inspect', '--url', 'http://127.0.0.1'], 2, /--url: expected the address of a WebSocket server such as ws:\/\/127\.0\.0\.1:8080, got "http/],
    [['inspect', '--redact', 'some'], 2, /--redact: expected values, secrets, nothing, got "some"/],
    [['inspect', 'r', 'x'], 2, /takes 1 at most/],
    [['inspect', '--store', 'nowhere'], 1, /There is no store at nowhere/],
    [['inspect', 'other'], 1, /There is no run other\. There are: r\./],
    [['inspect', 'r'], 1, /Run r has ended, so nothing will happen in it any more\. What happened: holdfast show r/],
    [['inspect', '--url', 'ws://127.0.0.1:1'], 1, /Nothing that speaks WebSocket listens at ws:\/\/127\.0\.0\.1:1 \(.*ECONNREFUSED.*\)\. Start an inspector there first/],
  ] as const)('%j says what is wrong', async (args, status, message) => {
    const { code, stderr } = await holdfast([...args], { cwd: place })
    expect(stderr).toMatch(message)
    expect(code).toBe(status)
    expect(await readdir(place)).not.toContain('nowhere')
  })
})

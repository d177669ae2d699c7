/** examples/service as its users run it: requests come in while it is killed, restarted and handed over. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { endExamples, startExample, type Example } from '../support/example.js'
import { RedisServer } from '../support/redis-server.js'

interface Service extends Example {
  readonly url: string
}

async function start(place: string): Promise<Service> {
  const example = await startExample('service/server.ts', [place], /^(http:\S+) is served by process (\d+)$/)
  return { ...example, url: example.said[1]! }
}

let folder: string
let redis: RedisServer
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-service-'))
  redis = await RedisServer.start()
})
afterEach(endExamples)
afterAll(async () => {
  await redis.stop()
  await rm(folder, { recursive: true, force: true })
})

/** What is there now, for clients that try again until somebody answers. */
class Clients {
  service: Service
  retries = 0
  constructor(service: Service) {
    this.service = service
  }
  async ask(path: string, body?: object, headers: Record<string, string> = {}): Promise<{ readonly status: number; readonly body: Record<string, unknown> }> {
    for (;;) {
      try {
        const response = await fetch(`${this.service.url}${path}`, body ? { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) } : { headers })
        const answer = (await response.json()) as Record<string, unknown>
        if (response.status < 500) return { status: response.status, body: answer }
      } catch {
        // Nobody there, or it died over it.
      }
      this.retries++
      await sleep(50)
    }
  }
}

describe.each(['LMDB', 'Redis'] as const)('on %s', (name) => {
  const place = (): string => (name === 'LMDB' ? join(folder, 'data') : redis.url)

  test('every run that was accepted ends with its report, once, though the service is killed under load', async () => {
    const clients = new Clients(await start(place()))
    const ids = Array.from({ length: 24 }, (_, i) => `run-${i}`)
    let isKilling = true
    const killer = (async (): Promise<number> => {
      let kills = 0
      for (; isKilling && kills < 4; kills++) {
        await sleep(400 + kills * 150)
        process.kill(clients.service.pid, 'SIGKILL')
        await clients.service.ended
        clients.service = await start(place())
      }
      return kills
    })()
    const runs = ids.map(async (id, i) => {
      await sleep(i * 60)
      const begun = await clients.ask('/runs', { question: `who knows ${id} and who does not` }, { 'idempotency-key': id })
      expect(begun).toEqual({ status: 202, body: { id } })
      for (;;) {
        const { body } = await clients.ask(`/runs/${id}`)
        if (body['state'] === 'done') return body
        if (body['asks']) expect(await clients.ask(`/runs/${id}/decision`, { approved: true, by: `ann-${i}` })).toMatchObject({ status: 200, body: { approved: true, by: `ann-${i}` } })
        await sleep(50)
      }
    })
    const done = await Promise.all(runs)
    isKilling = false
    expect(await killer).toBeGreaterThan(1)
    for (const body of done) {
      expect(body).toMatchObject({ state: 'done', failure: null, report: { text: 'That is known.' } })
      expect((body['steps'] as { state: string }[]).map(({ state }) => state)).toEqual(['done', 'done'])
    }
    expect(await clients.ask('/runs/nobody')).toMatchObject({ status: 404 })
    expect(await clients.ask('/runs', { question: '' })).toMatchObject({ status: 400 })
    process.kill(clients.service.pid, 'SIGTERM')
    expect(await clients.service.ended).toBe(0)
  }, 120_000)
})

test('who watches a run comes back after a kill and is told only what is new', async () => {
  const clients = new Clients(await start(join(folder, 'watched')))
  await clients.ask('/runs', { question: 'one and two' }, { 'idempotency-key': 'w' })
  const watch = async (until: string, lastEventId?: string): Promise<{ readonly ids: string[]; readonly events: string[] }> => {
    const ids: string[] = []
    const events: string[] = []
    const aborting = new AbortController()
    const response = await fetch(`${clients.service.url}/runs/w/events`, { signal: aborting.signal, headers: lastEventId === undefined ? {} : { 'last-event-id': lastEventId } })
    let text = ''
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      text += chunk
      for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n')) {
        const fields = Object.fromEntries(text.slice(0, end).split('\n').map((line) => line.split(': ', 2) as [string, string]))
        text = text.slice(end + 2)
        ids.push(fields['id']!)
        events.push(fields['event']!)
      }
      if (events.at(-1) === until) break
    }
    aborting.abort()
    return { ids, events }
  }
  const before = await watch('approvalPending')
  process.kill(clients.service.pid, 'SIGKILL')
  await clients.service.ended
  clients.service = await start(join(folder, 'watched'))
  const after = watch('done', before.ids.at(-1))
  await sleep(300)
  await clients.ask('/runs/w/decision', { approved: true, by: 'ann' })
  expect((await after).events).not.toContain('approvalPending')
  expect((await after).events.at(-1)).toBe('done')
  process.kill(clients.service.pid, 'SIGTERM')
  await clients.service.ended
}, 60_000)

test('a second service stands by, and is ready when the first one has been told to end', async () => {
  const first = await start(redis.url)
  const ready = async ({ url }: Service): Promise<number> => (await fetch(`${url}/ready`)).status
  expect(await ready(first)).toBe(200)
  const second = await start(redis.url)
  expect(await ready(second)).toBe(503)
  expect((await fetch(`${second.url}/live`)).status).toBe(200)
  // What the one that stands by is asked is done by the other.
  const clients = new Clients(second)
  await clients.ask('/runs', { question: 'here and there' }, { 'idempotency-key': 'handed-over' })
  process.kill(first.pid, 'SIGTERM')
  expect(await first.ended).toBe(0)
  for (let i = 0; i < 200 && (await ready(second)) !== 200; i++) await sleep(50)
  expect(await ready(second)).toBe(200)
  for (;;) {
    const { body } = await clients.ask('/runs/handed-over')
    if (body['asks']) break
    await sleep(50)
  }
  await clients.ask('/runs/handed-over/decision', { approved: true, by: 'ann' })
  expect((await clients.ask('/runs/handed-over')).body['decision']).toMatchObject({ by: 'ann' })
  process.kill(second.pid, 'SIGTERM')
  await second.ended
}, 60_000)

/** examples/service as its users run it: requests come in while it is killed, restarted and handed over. */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { request, type ClientRequest, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
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
  /** Resolves with the digest of what a person is asked, once it is asked. */
  async asked(id: string): Promise<string> {
    for (;;) {
      const { body } = await this.ask(`/runs/${id}`)
      if (body['asks']) return asked(body)
      await sleep(50)
    }
  }
}

function asked(body: Record<string, unknown>): string {
  return (body['asks'] as { digest: string }).digest
}

/** An answer as it comes, also one that a client should not try again. */
async function answer(url: string, init?: RequestInit): Promise<{ readonly status: number; readonly error: unknown }> {
  const response = await fetch(url, init)
  return { status: response.status, error: ((await response.json()) as Record<string, unknown>)['error'] }
}

const post = (body: string, headers: Record<string, string> = {}): RequestInit => ({ method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body })

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
        if (body['asks']) expect(await clients.ask(`/runs/${id}/decision`, { approved: true, by: `ann-${i}`, digest: asked(body) })).toMatchObject({ status: 200, body: { approved: true, by: `ann-${i}` } })
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
        if (fields['id'] === undefined) continue
        ids.push(fields['id'])
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
  await clients.ask('/runs/w/decision', { approved: true, by: 'ann', digest: asked((await clients.ask('/runs/w')).body) })
  expect((await after).events).not.toContain('approvalPending')
  expect((await after).events.at(-1)).toBe('done')
  process.kill(clients.service.pid, 'SIGTERM')
  await clients.service.ended
}, 60_000)

test('who watches the tokens comes back after a kill, with the id that it was told last, to what it has not read, and hears when there is no more', async () => {
  const clients = new Clients(await start(join(folder, 'tokens')))
  await clients.ask('/runs', { question: 'one and two' }, { 'idempotency-key': 't' })
  const watch = async (count: number, lastEventId?: string): Promise<{ readonly id: string; readonly event: string; readonly data: string }[]> => {
    const told: { id: string; event: string; data: string }[] = []
    const aborting = new AbortController()
    const response = await fetch(`${clients.service.url}/runs/t/tokens`, { signal: aborting.signal, headers: lastEventId === undefined ? {} : { 'last-event-id': lastEventId } })
    if (response.status === 204) return []
    let text = ''
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      text += chunk
      for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n')) {
        const fields = Object.fromEntries(text.slice(0, end).split('\n').map((line) => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)]))
        text = text.slice(end + 2)
        if (fields['id'] !== undefined) told.push(fields as never)
      }
      if (told.length >= count) break
    }
    aborting.abort()
    return told.slice(0, count)
  }
  // One planner and two researchers have answered; the writer, too.
  await clients.asked('t')
  const before = await watch(5)
  process.kill(clients.service.pid, 'SIGKILL')
  await clients.service.ended
  clients.service = await start(join(folder, 'tokens'))
  const after = await watch(7, before.at(-1)!.id)
  const all = await watch(12)
  expect([...before, ...after]).toEqual(all)
  expect(all.filter(({ event }) => event === 'ended')).toHaveLength(4)
  const shown: Record<string, string> = {}
  for (const { event, data } of all) if (event === 'text') shown[(JSON.parse(data) as { task: string }).task] = (JSON.parse(data) as { text: string }).text
  expect(shown['report']).toBe('{"text":"That is known."}')
  await clients.ask('/runs/t/decision', { approved: true, by: 'ann', digest: asked((await clients.ask('/runs/t')).body) })
  await expect.poll(async () => (await clients.ask('/runs/t')).body['state']).toBe('done')
  expect(await watch(1, all.at(-1)!.id)).toEqual([])
  expect((await fetch(`${clients.service.url}/runs/t/tokens`, { headers: { 'last-event-id': 'x' } })).status).toBe(400)
  process.kill(clients.service.pid, 'SIGTERM')
  await clients.service.ended
}, 60_000)

test('two services share the agents of one Redis, each answers for all, and one goes on when the other has been told to end', async () => {
  const [first, second] = [await start(redis.url), await start(redis.url)]
  for (const { url } of [first, second]) expect((await fetch(`${url}/ready`)).status).toBe(200)
  const clients = new Clients(second)
  const runs = Array.from({ length: 8 }, (_, i) => `shared-${i}`)
  for (const run of runs) await clients.ask('/runs', { question: 'here and there' }, { 'idempotency-key': run })
  const elsewhere = new Clients(first)
  for (const run of runs.slice(0, 4)) await elsewhere.ask(`/runs/${run}/decision`, { approved: true, by: 'ann', digest: await elsewhere.asked(run) })
  process.kill(first.pid, 'SIGTERM')
  expect(await first.ended).toBe(0)
  for (const run of runs.slice(4)) await clients.ask(`/runs/${run}/decision`, { approved: true, by: 'ann', digest: await clients.asked(run) })
  for (const run of runs) expect((await clients.ask(`/runs/${run}`)).body['decision']).toMatchObject({ by: 'ann' })
  process.kill(second.pid, 'SIGTERM')
  await second.ended
}, 60_000)

test('a decision is a plain yes or no of somebody on what was shown, or none at all', async () => {
  const clients = new Clients(await start(join(folder, 'decided')))
  const decision = `${clients.service.url}/runs/d/decision`
  await clients.ask('/runs', { question: 'one and two' }, { 'idempotency-key': 'd' })
  const digest = await clients.asked('d')
  for (const [given, error] of [
    [{ approved: 'false', by: 'eve', digest }, /^approved: .*boolean/],
    [{ by: 'eve', digest }, /^approved: /],
    [{ approved: 1, by: 'eve', digest }, /^approved: /],
    [{ approved: true, digest }, /^by: /],
    [{ approved: true, by: ' ', digest }, /^by: /],
    [{ approved: true, by: 'eve' }, /^digest: /],
    [{ approved: true, by: 'eve', digest: '' }, /^digest: /],
    [{ approved: true, by: 'eve', digest, note: 5 }, /^note: /],
    [{}, /^approved: .+; by: .+; digest: /],
    [null, /^body: /],
  ] as const) expect(await answer(decision, post(JSON.stringify(given))), JSON.stringify(given)).toEqual({ status: 400, error: expect.stringMatching(error) as string })
  expect(await answer(decision, post('{"approved":'))).toEqual({ status: 400, error: 'The body is not JSON.' })
  expect(await answer(decision, post(JSON.stringify({ approved: true, by: 'eve', digest: 'another' })))).toEqual({ status: 409, error: `Run d asks for a decision on ${digest}, not on another. Look at it again.` })
  expect(await clients.asked('d')).toBe(digest)
  expect(await clients.ask('/runs/d/decision', { approved: false, by: 'ann', note: 'not yet', digest })).toMatchObject({ status: 200, body: { approved: false, by: 'ann', note: 'not yet', digest } })
  // The first one stands, and who decides the same again is told so.
  expect(await clients.ask('/runs/d/decision', { approved: true, by: 'bob', digest })).toMatchObject({ status: 200, body: { approved: false, by: 'ann' } })
  expect(await answer(decision, post(JSON.stringify({ approved: true, by: 'eve', digest: 'another' })))).toEqual({ status: 409, error: 'Run d does not wait for a decision: it is failed.' })
  expect((await clients.ask('/runs/d')).body).toMatchObject({ state: 'failed', asks: null, decision: { by: 'ann' } })
  expect(await answer(`${clients.service.url}/runs/nobody/decision`, post(JSON.stringify({ approved: true, by: 'ann', digest })))).toEqual({ status: 404, error: 'There is no such run.' })
}, 60_000)

test('what a client did wrong he is told as his own, and not to try again', async () => {
  const { url } = await start(join(folder, 'wrong'))
  const runs = `${url}/runs`
  const question = JSON.stringify({ question: 'one and two' })
  expect((await fetch(runs, post(question, { 'idempotency-key': 'k' }))).status).toBe(202)
  expect((await fetch(runs, post(question, { 'idempotency-key': 'k' }))).status).toBe(202)
  expect(await answer(runs, post(JSON.stringify({ question: 'another' }), { 'idempotency-key': 'k' }))).toMatchObject({ status: 409, error: expect.stringContaining('already started with other input') as string })
  for (const body of ['', '{', 'null', '[]', '"one"', '{}', '{"question":5}', '{"question":""}', '{"question":" "}']) {
    const { status, error } = await answer(runs, post(body))
    expect({ body, status, error }).toEqual({ body, status: 400, error: expect.stringMatching(/./) as string })
  }
  for (const key of ['a b', '', 'x'.repeat(257)]) expect((await answer(runs, post(question, { 'idempotency-key': key }))).status, key).toBe(400)
  for (const path of ['/a%20b', '/a%20b/events']) expect((await answer(`${runs}${path}`)).status, path).toBe(400)
  for (const path of ['/nobody', '/nobody/events']) expect(await answer(`${runs}${path}`), path).toEqual({ status: 404, error: 'There is no such run.' })
}, 60_000)

test('what nobody can answer now is to be tried again', async () => {
  const broken = await RedisServer.start()
  const { url } = await start(broken.url)
  await broken.kill()
  expect(await answer(`${url}/runs/r`)).toEqual({ status: 503, error: expect.stringMatching(/./) as string })
  await broken.stop()
}, 60_000)

test('who watches hears that it is alive, and is sent away for good when he knows the end', async () => {
  const clients = new Clients(await start(join(folder, 'alive')))
  await clients.ask('/runs', { question: 'one and two' }, { 'idempotency-key': 'a' })
  const digest = await clients.asked('a')
  const events = (lastEventId?: string): Promise<Response> => fetch(`${clients.service.url}/runs/a/events`, { signal: AbortSignal.timeout(25_000), headers: lastEventId === undefined ? {} : { 'last-event-id': lastEventId } })
  let heard = ''
  for await (const text of (await events()).body!.pipeThrough(new TextDecoderStream())) {
    heard += text
    if (/^:/m.test(heard)) break
  }
  expect(heard).toMatch(/^event: approvalPending\n[^]*\n\n: still here\n\n$/)
  await clients.ask('/runs/a/decision', { approved: true, by: 'ann', digest })
  const all = await (await events('approvalPending.dd')).text()
  const last = /^id: (.*)$/m.exec(all.slice(all.lastIndexOf('event: ')))![1]!
  expect(last).toBe('done.dd')
  const again = await events(last)
  expect([again.status, await again.text()]).toEqual([204, ''])
  // Who knows less is told the rest.
  expect(await (await events('working.dp')).text()).toMatch(/^event: done\n[^]*^id: done\.dd\n\n$/m)
}, 60_000)

test('of those who have gone away nobody watches anything any more, whoever runs the agents', async () => {
  const services = [await start(redis.url), await start(redis.url)]
  const clients = new Clients(services[0]!)
  await clients.ask('/runs', { question: 'one and two' }, { 'idempotency-key': 'left' })
  await clients.asked('left')
  const connection = new Redis(redis.url)
  onTestFinished(() => connection.disconnect())
  // Each service hears who comes and goes; of a shard only who does not run it.
  const watched = async (): Promise<number> => ((await connection.call('pubsub', 'channels')) as string[]).filter((channel) => /:\d+\}:changed$/.test(channel)).length
  await expect.poll(watched, { timeout: 10_000 }).toBe(0)
  const aborting = new AbortController()
  for (const { url } of [...services, ...services]) {
    const response = await fetch(`${url}/runs/left/events`, { signal: aborting.signal })
    expect((await response.body!.getReader().read()).done).toBe(false)
  }
  await expect.poll(watched).toBe(1)
  aborting.abort()
  await expect.poll(watched, { timeout: 5_000 }).toBe(0)
}, 60_000)

describe('at SIGTERM', () => {
  /** Resolves when the service has its head; the body is still to come. */
  async function begun({ url }: Service, id: string): Promise<ClientRequest> {
    const slow = request(`${url}/runs`, { method: 'POST', agent: false, headers: { 'content-type': 'application/json', 'idempotency-key': id, expect: '100-continue' } })
    slow.flushHeaders()
    await once(slow, 'continue')
    slow.write('{"question":')
    return slow
  }

  test('what is under way ends well, streams end, it is not ready, and nobody is let in', async () => {
    const place = join(folder, 'ending')
    const clients = new Clients(await start(place))
    const { service } = clients
    await clients.ask('/runs', { question: 'one and two' }, { 'idempotency-key': 'e' })
    await clients.asked('e')
    const stream = await fetch(`${service.url}/runs/e/events`)
    const told = stream.text().then((text) => text, (error: Error) => error)
    const slow = await begun(service, 'slow')
    const answered = once(slow, 'response').then(([response]) => (response as IncomingMessage).statusCode, (error: Error) => error)
    // Its probe comes on a connection that was open before.
    const probe = connect(Number(new URL(service.url).port), '127.0.0.1')
    let probed = ''
    probe.on('error', () => {}).on('data', (data) => (probed += data.toString()))
    const probeEnds = once(probe, 'close')
    probe.write('GET /ready HTTP/1.1\r\nHost: service\r\n')
    await fetch(`${service.url}/live`)

    process.kill(service.pid, 'SIGTERM')
    const at = performance.now()
    expect(await told).toMatch(/^event: approvalPending\n/)
    await expect.poll(() => fetch(`${service.url}/live`).then(() => 'let in', () => 'refused')).toBe('refused')
    probe.write('\r\n')
    await probeEnds
    expect(probed).toMatch(/^HTTP\/1\.1 503 /)
    slow.end('"one and two"}')
    expect(await answered).toBe(202)
    expect(await service.ended).toBe(0)
    expect(performance.now() - at).toBeLessThan(4_500)
    clients.service = await start(place)
    expect(await clients.ask('/runs/slow')).toMatchObject({ status: 200 })
    expect(await clients.ask('/runs/e')).toMatchObject({ body: { state: 'approvalPending' } })
  }, 60_000)

  test('who never ends his request is waited for no longer than five seconds', async () => {
    const service = await start(join(folder, 'never'))
    const slow = await begun(service, 'never')
    const cut = once(slow, 'response').catch((error: { code: string }) => error.code)
    process.kill(service.pid, 'SIGTERM')
    const at = performance.now()
    expect(await service.ended).toBe(0)
    expect(await cut).toBe('ECONNRESET')
    expect(performance.now() - at).toBeGreaterThan(4_000)
    expect(performance.now() - at).toBeLessThan(10_000)
  }, 60_000)
})

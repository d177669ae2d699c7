/** External actions over HTTP, against a real server: what is sent, and what is known of the action whatever comes back. */
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createHash } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { assign, setup } from 'xstate'
import { httpAction, idempotent, type HttpActionOptions } from '../../src/adapters/http/index.js'
import { headerOfKey, keyOfHeader } from '../../src/adapters/http/key.js'
import { MemoryIdempotencyStore } from '../../src/adapters/memory/index.js'
import { external, isOutcomeUnknown, type EffectArgs } from '../../src/index.js'
import { crashTest } from '../../src/testing/index.js'

type Reply = (response: ServerResponse) => void
let server: Server
const queue: Reply[] = []
const requests: { readonly method: string; readonly url: string; readonly headers: IncomingHttpHeaders; readonly body: string }[] = []
beforeAll(async () => {
  server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      requests.push({ method: request.method!, url: request.url!, headers: request.headers, body })
      const reply = queue.shift()
      if (reply) reply(response)
      else json(500, { error: 'nothing was queued' })(response)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})
afterEach(() => void (queue.length = requests.length = 0))
afterAll(() => void (server.closeAllConnections(), server.close()))

const base = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`
const json = (status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Reply => (response) => void response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
const cut: Reply = (response) => void response.socket!.destroy()
const cutInTheMiddle: Reply = (response) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' })
  response.write('{"id":')
  setImmediate(() => response.socket!.destroy())
}
const hang: Reply = () => {}

const action = (options: Partial<HttpActionOptions<{ cents: number }, unknown>> = {}): ReturnType<typeof httpAction<{ cents: number }>> =>
  httpAction({ honoursKey: true, backoffMs: 1, request: ({ input }) => new Request(`${base()}/charges`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(input) }), ...options })
const args = (change: Partial<EffectArgs<{ cents: number }>> = {}): EffectArgs<{ cents: number }> => ({ input: { cents: 450 }, signal: new AbortController().signal, idempotencyKey: 'default/run-1/step-2/charge', attempt: 1, ...change })

describe('a request', () => {
  test('carries its key as the draft has it, the digest of its body, and the body itself', async () => {
    queue.push(json(201, { id: 'ch_1' }))
    expect(await action().run(args())).toEqual({ id: 'ch_1' })
    expect(requests).toMatchObject([{ method: 'POST', url: '/charges', body: '{"cents":450}', headers: { 'idempotency-key': '"default/run-1/step-2/charge"', 'content-type': 'application/json', 'content-digest': `sha-256=:${createHash('sha256').update('{"cents":450}').digest('base64')}:` } }])
  })

  test('is the same, key and all, at every attempt', async () => {
    queue.push(cut, json(500, {}), json(201, { id: 'ch_1' }))
    expect(await action().run(args())).toEqual({ id: 'ch_1' })
    expect(new Set(requests.map(({ headers, body }) => `${headers['idempotency-key'] as string} ${body}`)).size).toBe(1)
    expect(requests).toHaveLength(3)
  })

  test('with a key that is too long for a receiver carries its digest instead', () => {
    const header = headerOfKey(`default/${'r'.repeat(256)}/step/charge`)
    expect(header).toMatch(/^"sha-256:[0-9a-f]{64}"$/)
    expect(headerOfKey(`default/${'r'.repeat(256)}/step/refund`)).not.toBe(header)
  })

  test.each([
    ['"a/b"', 'a/b'],
    ['  "a"  ', 'a'],
    ['KG5LxwFBepaKHyUD', 'KG5LxwFBepaKHyUD'],
    [String.raw`"a\"b\\c"`, String.raw`a"b\c`],
    ['"a", "b"', undefined],
    ['"a', undefined],
    ['""', undefined],
    ['', undefined],
    ['"ä"', undefined],
    [`"${'k'.repeat(255)}"`, 'k'.repeat(255)],
    [`"${'k'.repeat(256)}"`, undefined],
  ])('with the header %s has the key %s', (header, key) => expect(keyOfHeader(header)).toBe(key))

  test('may be read by a function of its own, or be empty', async () => {
    queue.push(json(201, { id: 'ch_1' }), (response) => void response.writeHead(204).end())
    expect(await action({ output: async (response, { idempotencyKey }) => [response.status, ((await response.json()) as { id: string }).id, idempotencyKey] }).run(args())).toEqual([201, 'ch_1', 'default/run-1/step-2/charge'])
    expect(await action().run(args())).toBeNull()
  })
})

/** Replies, what comes of them, and how many requests it takes: if the receiver honours the key, and if it does not. */
const cases: readonly { readonly name: string; readonly replies: () => readonly Reply[]; readonly honoured: readonly [string, number]; readonly not: readonly [string, number]; readonly timeoutMs?: number }[] = [
  { name: '200', replies: () => [json(200, 'ok')], honoured: ['ok', 1], not: ['ok', 1] },
  { name: '400', replies: () => [json(400, { message: 'no cents' })], honoured: ['HTTP_REFUSED', 1], not: ['HTTP_REFUSED', 1] },
  { name: '404', replies: () => [json(404, {})], honoured: ['HTTP_REFUSED', 1], not: ['HTTP_REFUSED', 1] },
  { name: '409 with the state of things', replies: () => [json(409, { title: 'The order is closed' })], honoured: ['HTTP_REFUSED', 1], not: ['HTTP_REFUSED', 1] },
  { name: '409 with the same request, and then its answer', replies: () => [json(409, {}, { 'retry-after': '0' }), json(409, { title: 'A request is outstanding for this Idempotency-Key' }), json(200, 'ok')], honoured: ['ok', 3], not: ['ok', 3] },
  { name: '422, the key was used', replies: () => [json(422, {})], honoured: ['HTTP_REFUSED', 1], not: ['HTTP_REFUSED', 1] },
  { name: 'a redirect', replies: () => [json(307, {}, { location: '/elsewhere' })], honoured: ['HTTP_REFUSED', 1], not: ['HTTP_REFUSED', 1] },
  { name: '429 and then an answer', replies: () => [json(429, {}), json(200, 'ok')], honoured: ['ok', 2], not: ['ok', 2] },
  { name: '503 for ever', replies: () => Array.from({ length: 9 }, () => json(503, {})), honoured: ['HTTP_RETRYABLE', 4], not: ['HTTP_RETRYABLE', 4] },
  { name: '503 that asks for more patience than there is', replies: () => [json(503, {}, { 'retry-after': '3600' })], honoured: ['HTTP_RETRYABLE', 1], not: ['HTTP_RETRYABLE', 1] },
  { name: '500 and then an answer', replies: () => [json(500, {}), json(200, 'ok')], honoured: ['ok', 2], not: ['OUTCOME_UNKNOWN', 1] },
  { name: '500 for ever', replies: () => Array.from({ length: 9 }, () => json(500, {})), honoured: ['OUTCOME_UNKNOWN', 4], not: ['OUTCOME_UNKNOWN', 1] },
  { name: 'a connection that is cut, and then an answer', replies: () => [cut, json(200, 'ok')], honoured: ['ok', 2], not: ['OUTCOME_UNKNOWN', 1] },
  { name: 'an answer that is cut, and then a whole one', replies: () => [cutInTheMiddle, json(200, 'ok')], honoured: ['ok', 2], not: ['OUTCOME_UNKNOWN', 1] },
  { name: 'silence, and then an answer', timeoutMs: 1_000, replies: () => [hang, json(200, 'ok')], honoured: ['ok', 2], not: ['OUTCOME_UNKNOWN', 1] },
  { name: 'an answer that cannot be read', replies: () => [(response) => void response.writeHead(200).end('<html>')], honoured: ['OUTCOME_UNKNOWN', 1], not: ['OUTCOME_UNKNOWN', 1] },
  // What came first may have happened, whatever comes later.
  { name: '500, and then only 503', replies: () => [json(500, {}), ...Array.from({ length: 9 }, () => json(503, {}))], honoured: ['OUTCOME_UNKNOWN', 4], not: ['OUTCOME_UNKNOWN', 1] },
  { name: '500, and then a key that is not let in any more', replies: () => [json(500, {}), json(401, {})], honoured: ['OUTCOME_UNKNOWN', 2], not: ['OUTCOME_UNKNOWN', 1] },
  { name: '409 with the same request for ever', replies: () => Array.from({ length: 9 }, () => json(409, { title: 'A request is outstanding for this Idempotency-Key' }, { 'retry-after': '0' })), honoured: ['OUTCOME_UNKNOWN', 4], not: ['OUTCOME_UNKNOWN', 4] },
  { name: '409 with the same request, and then a key that is not let in any more', replies: () => [json(409, {}, { 'retry-after': '0' }), json(403, {})], honoured: ['OUTCOME_UNKNOWN', 2], not: ['OUTCOME_UNKNOWN', 2] },
  { name: '500, and then a key that had another request', replies: () => [json(500, {}), json(422, { title: 'Idempotency-Key is already used' })], honoured: ['OUTCOME_UNKNOWN', 2], not: ['OUTCOME_UNKNOWN', 1] },
  { name: '500, and then a key that had another request, as Stripe says it', replies: () => [json(500, {}), json(400, { error: { type: 'idempotency_error', message: 'Use another key.' } })], honoured: ['OUTCOME_UNKNOWN', 2], not: ['OUTCOME_UNKNOWN', 1] },
  { name: '500, and then a refusal of the action itself', replies: () => [json(500, {}), json(400, {})], honoured: ['HTTP_REFUSED', 2], not: ['OUTCOME_UNKNOWN', 1] },
]

describe.each([true, false])('what is known of an action, if the receiver honours the key: %s', (honoursKey) => {
  test.each(cases)('$name', async ({ replies, honoured, not, timeoutMs = 30_000 }) => {
    queue.push(...replies())
    const [expected, count] = honoursKey ? honoured : not
    const ended = await action({ honoursKey, timeoutMs }).run(args()).then((output) => output, (error: { code: string }) => error)
    if (expected === 'ok') expect(ended).toBe('ok')
    else expect(ended).toMatchObject({ code: expected })
    expect(isOutcomeUnknown(ended)).toBe(expected === 'OUTCOME_UNKNOWN')
    expect(requests).toHaveLength(count)
  })
})

test('what is stopped during an attempt does not wait for the next', { timeout: 10_000 }, async () => {
  const stop = new AbortController()
  queue.push(() => stop.abort(new Error('enough')))
  await expect(action({ backoffMs: 3_600_000 }).run(args({ signal: stop.signal }))).rejects.toThrow('enough')
  expect(requests).toHaveLength(1)
})

test('a time that no timer can keep is refused', () => {
  expect(() => action({ retryAfterMaxMs: 2_147_483_648 })).toThrow(/"retryAfterMaxMs".* from 0 to 2147483647, not 2147483648/)
  expect(() => idempotent({ store: new MemoryIdempotencyStore(), leaseMs: 2_147_483_648 }, () => new Response())).toThrow(/"leaseMs".* from 10 to 2147483647, not 2147483648/)
})

test('a receiver that is not there has done nothing; unless a process that died may have reached it', async () => {
  const gone = createServer().listen(0, '127.0.0.1')
  await once(gone, 'listening')
  const { port } = gone.address() as AddressInfo
  await new Promise((resolve) => gone.close(resolve))
  const request = (): Request => new Request(`http://127.0.0.1:${port}/`, { method: 'POST', body: 'x' })
  await expect(action({ request }).run(args())).rejects.toMatchObject({ code: 'HTTP_RETRYABLE', message: expect.stringContaining('ECONNREFUSED') as string })
  await expect(action({ request }).run(args({ attempt: 2 }))).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' })
  // Somebody has asked the receiver, who says that it had not.
  await expect(action({ request, reconcile: () => ({ happened: false }) }).run(args({ attempt: 2 }))).rejects.toMatchObject({ code: 'HTTP_RETRYABLE' })
})

test('an effect that is given up ends at once, while it asks and while it waits', async () => {
  const controller = new AbortController()
  queue.push(hang, json(503, {}, { 'retry-after': '30' }))
  const asking = action().run(args({ signal: controller.signal }))
  while (requests.length === 0) await new Promise(setImmediate)
  controller.abort(new Error('left'))
  await expect(asking).rejects.toThrow('left')
  const second = new AbortController()
  const waiting = action().run(args({ signal: second.signal }))
  while (requests.length === 1) await new Promise(setImmediate)
  setTimeout(() => second.abort(new Error('left, too')), 20)
  await expect(waiting).rejects.toThrow('left, too')
  expect(requests).toHaveLength(2)
})

test('an actor that dies at any point pays once, and has the receipt', async () => {
  let paid: string[] = []
  let receive = idempotent({ store: new MemoryIdempotencyStore() }, () => new Response())
  const pay = httpAction<{ cents: number }, { id: string }>({
    honoursKey: true,
    request: ({ input }) => new Request('http://bank/charges', { method: 'POST', body: JSON.stringify(input) }),
    fetch: (request) => receive(request),
  })
  const order = setup({
    types: { context: {} as { receipt: string | null }, events: {} as { type: 'order.place' } },
    actors: { pay: external(pay) },
    actions: { keep: assign({ receipt: ({ event }) => (event as unknown as { output: { id: string } }).output.id }) },
  }).createMachine({
    id: 'order', context: { receipt: null }, initial: 'open',
    states: { open: { on: { 'order.place': 'paying' } }, paying: { invoke: { id: 'pay', src: 'pay', input: { cents: 450 }, onDone: { target: 'paid', actions: 'keep' }, onError: 'unsure' } }, paid: { type: 'final' }, unsure: {} },
  })
  const report = await crashTest(order, {
    steps: [{ type: 'order.place' }],
  }, {
    prepare: () => {
      paid = []
      receive = idempotent({ store: new MemoryIdempotencyStore(() => 0) }, async (request) => {
        paid.push(await request.text())
        return Response.json({ id: `ch_${paid.length}` }, { status: 201 })
      })
    },
    observe: () => paid,
    suspectMax: Infinity,
  })
  expect(report.undisturbed.observed).toEqual(['{"cents":450}'])
  expect(Object.values(report.undisturbed.actors)[0]!.snapshot).toMatchObject({ value: 'paid', context: { receipt: 'ch_1' } })
  expect(report.runs).toBeGreaterThan(5)
})

test.each([
  [{ honoursKey: true }, /needs request/],
  [{ request: () => new Request('http://x') }, /needs honoursKey/],
  [{ request: () => new Request('http://x'), honoursKey: true, attemptsMax: 0 }, /"attemptsMax" of httpAction\(\) must be a whole number from 1 to 100, not 0/],
  [{ request: () => new Request('http://x'), honoursKey: true, timeoutMs: Infinity }, /"timeoutMs"/],
  [{ request: () => new Request('http://x'), honoursKey: true, backoffMs: -1 }, /"backoffMs"/],
])('options that cannot be used are refused at once (%#)', (options, says) => expect(() => httpAction(options as never)).toThrow(says))

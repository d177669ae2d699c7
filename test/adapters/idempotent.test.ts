/** The receiver's end of an idempotency key: in memory and on Redis, under hono and node:http. */
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { httpAction, idempotent, nodeListener, type Begin, type End, type IdempotencyStore, type IdempotentOptions, type KeptAnswer } from '../../src/adapters/http/index.js'
import { MemoryIdempotencyStore } from '../../src/adapters/memory/index.js'
import { redisIdempotency } from '../../src/adapters/redis/index.js'
import { StoreError } from '../../src/errors.js'
import { RedisServer } from '../support/redis-server.js'

let redis: RedisServer
beforeAll(async () => void (redis = await RedisServer.start()))
afterAll(() => redis.stop())

let prefixes = 0
/** A store whose time can be moved on, and a second connection to the same. */
interface Place {
  readonly store: IdempotencyStore
  readonly other: IdempotencyStore
  pass(ms: number): Promise<void>
}
const places: Readonly<Record<string, () => Place>> = {
  memory: () => {
    let now = 0
    const store = new MemoryIdempotencyStore(() => now)
    return { store, other: store, pass: async (ms) => void (now += ms) }
  },
  redis: () => {
    const keyPrefix = `t${prefixes++}`
    const make = (): IdempotencyStore => redisIdempotency(redis.url, { keyPrefix })
    return { store: make(), other: make(), pass: (ms) => new Promise((resolve) => setTimeout(resolve, ms)) }
  },
}

const request = (body: unknown, headers: Readonly<Record<string, string>> = { 'idempotency-key': '"k-1"' }, path = '/charges'): Request => new Request(`http://shop${path}`, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) })
const kindOf = async (response: Response): Promise<readonly [number, string | undefined]> => [response.status, ((await response.json()) as { type?: string }).type?.split('#')[1]]

describe.each(Object.keys(places))('on %s', (where) => {
  const begin = (change: Partial<Begin> = {}): Begin => ({ digest: 'd', token: 't1', leaseMs: 60_000, retentionMs: 60_000, takesOver: false, ...change })
  const kept: KeptAnswer = { status: 201, headers: [['x', 'y']], body: 'e30=', bodyBytes: 2 }
  const done: End = { state: 'done', answer: kept }

  async function using<T>(work: (place: Place) => Promise<T>): Promise<T> {
    const place = places[where]!()
    try {
      return await work(place)
    } finally {
      await Promise.all([place.store.close(), place.other.close()])
    }
  }

  test('a key has one holder, who is told so again after a lost reply (Q1, Q4)', () =>
    using(async ({ store, other }) => {
      expect(await store.begin('k', begin())).toEqual({ state: 'begun' })
      expect(await store.begin('k', begin())).toEqual({ state: 'begun' })
      expect(await other.begin('k', begin({ token: 't2' }))).toEqual({ state: 'running' })
      expect(await other.begin('k', begin({ token: 't2', digest: 'e' }))).toEqual({ state: 'other' })
      expect(await other.begin('l', begin({ token: 't2' }))).toEqual({ state: 'begun' })
    }))

  test('of many that begin at once one gets the key (Q1)', () =>
    using(async ({ store, other }) => {
      const told = await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 ? store : other).begin('k', begin({ token: `t${i}` }))))
      expect(told.filter(({ state }) => state === 'begun')).toHaveLength(1)
      expect(told.filter(({ state }) => state === 'running')).toHaveLength(19)
    }))

  test('what is done has its answer, for good and for every other (Q2)', () =>
    using(async ({ store, other }) => {
      await store.begin('k', begin())
      expect(await store.end('k', 't1', done, 60_000)).toBe(true)
      expect(await store.end('k', 't1', done, 60_000)).toBe(true)
      expect(await other.begin('k', begin({ token: 't2', takesOver: true }))).toEqual({ state: 'done', answer: kept })
      expect(await store.end('k', 't1', { state: 'released' }, 60_000)).toBe(false)
      expect(await other.begin('k', begin({ token: 't2', digest: 'e' }))).toEqual({ state: 'other' })
    }))

  test('what is released is forgotten, and what is unknown can be taken over by one, who is told so again (Q1, Q4)', () =>
    using(async ({ store, other }) => {
      await store.begin('k', begin())
      expect(await store.end('k', 't1', { state: 'released' }, 60_000)).toBe(true)
      expect(await store.end('k', 't1', { state: 'released' }, 60_000)).toBe(true)
      expect(await other.begin('k', begin({ token: 't2', digest: 'e' }))).toEqual({ state: 'begun' })
      expect(await other.end('k', 't2', { state: 'unknown' }, 60_000)).toBe(true)
      expect(await store.begin('k', begin({ token: 't3', digest: 'e' }))).toEqual({ state: 'unknown' })
      expect(await store.begin('k', begin({ token: 't3', digest: 'other', takesOver: true }))).toEqual({ state: 'other' })
      expect(await store.begin('k', begin({ token: 't3', digest: 'e', takesOver: true }))).toEqual({ state: 'taken' })
      expect(await other.begin('k', begin({ token: 't3', digest: 'e', takesOver: true }))).toEqual({ state: 'taken' })
      expect(await other.begin('k', begin({ token: 't4', digest: 'e', takesOver: true }))).toEqual({ state: 'running' })
    }))

  test('who lets its lease lapse has nothing to say any more (Q3), unless it comes back before anybody', () =>
    using(async ({ store, other, pass }) => {
      await store.begin('k', begin({ leaseMs: 500 }))
      expect(await store.renew('k', 't1', 60_000)).toBe(true)
      await pass(550)
      expect(await other.begin('k', begin({ token: 't2', takesOver: true }))).toEqual({ state: 'running' })
      await store.renew('k', 't1', 50)
      await pass(60)
      expect(await store.renew('k', 't1', 50)).toBe(true)
      await pass(60)
      expect(await other.begin('k', begin({ token: 't2', takesOver: true }))).toEqual({ state: 'taken' })
      expect(await store.renew('k', 't1', 60_000)).toBe(false)
      expect(await store.end('k', 't1', done, 60_000)).toBe(false)
      expect(await other.end('k', 't2', { state: 'unknown' }, 60_000)).toBe(true)
    }))

  test('a key is forgotten when its time is over (Q2)', () =>
    using(async ({ store, pass }) => {
      await store.begin('k', begin({ retentionMs: 60_000 }))
      await store.end('k', 't1', done, 1_000)
      expect(await store.begin('k', begin({ token: 't2' }))).toMatchObject({ state: 'done' })
      await pass(1_050)
      expect(await store.begin('k', begin({ token: 't2' }))).toEqual({ state: 'begun' })
    }))

  test('a key whose holder lives is remembered, however short the time that it is kept for from its end on (Q1, Q2)', () =>
    using(async ({ store, other, pass }) => {
      await store.begin('k', begin({ leaseMs: 60_000, retentionMs: 20 }))
      await pass(40)
      expect(await other.begin('k', begin({ token: 't2', retentionMs: 20 }))).toEqual({ state: 'running' })
      expect(await store.renew('k', 't1', 50_000)).toBe(true)
      await pass(40)
      expect(await other.begin('k', begin({ token: 't2', retentionMs: 20 }))).toEqual({ state: 'running' })
      expect(await store.end('k', 't1', done, 1_000)).toBe(true)
    }))

  test('a key whose holder died is remembered as unknown for as long as one that has ended, and then forgotten (Q2)', () =>
    using(async ({ store, other, pass }) => {
      await store.begin('k', begin({ leaseMs: 50, retentionMs: 1_000 }))
      await pass(100)
      expect(await other.begin('k', begin({ token: 't2' }))).toEqual({ state: 'unknown' })
      await pass(1_000)
      expect(await other.begin('k', begin({ token: 't2' }))).toEqual({ state: 'begun' })
    }))

  test.each([200, 429, 503, 500])('what reconcile finds is kept as the answer, also a %s', (status) =>
    using(async ({ store }) => {
      let begun = 0
      const charge = idempotent({ store, reconcile: async () => ({ happened: true, response: new Response('found', { status }) }) }, () => {
        begun++
        throw new Error('died')
      })
      expect((await charge(request({ cents: 450 }))).status).toBe(500)
      for (let repeat = 0; repeat < 2; repeat++) {
        const answer = await charge(request({ cents: 450 }))
        expect([answer.status, await answer.text(), answer.headers.get('idempotency-replayed')]).toEqual([status, 'found', repeat === 0 ? null : 'true'])
      }
      expect(begun).toBe(1)
    }))

  test('a repeat gets the same answer, and nothing is done twice; another request under the key is refused', () =>
    using(async ({ store, other }) => {
      let paid = 0
      const handle = async (asked: Request): Promise<Response> => Response.json({ n: ++paid, cents: ((await asked.json()) as { cents: number }).cents }, { status: 201, headers: { location: '/charges/1', 'set-cookie': 'a=b' } })
      const [charge, elsewhere] = [idempotent({ store }, handle), idempotent({ store: other }, handle)]
      const first = await charge(request({ cents: 450 }))
      const again = await elsewhere(request({ cents: 450 }))
      expect([first.status, await first.text(), first.headers.get('location')]).toEqual([201, '{"n":1,"cents":450}', '/charges/1'])
      expect([again.status, await again.text(), again.headers.get('location'), again.headers.get('set-cookie')]).toEqual([201, '{"n":1,"cents":450}', '/charges/1', 'a=b'])
      expect([first.headers.get('idempotency-replayed'), again.headers.get('idempotency-replayed')]).toEqual([null, 'true'])
      expect(await kindOf(await charge(request({ cents: 451 })))).toEqual([422, 'reused'])
      // Another path is another scope; another key another request.
      expect((await charge(request({ cents: 451 }, undefined, '/refunds'))).status).toBe(201)
      expect((await charge(request({ cents: 451 }, { 'idempotency-key': '"k-2"' }))).status).toBe(201)
      expect(paid).toBe(3)
    }))

  test('a repeat while the first is under way is told to come again', () =>
    using(async ({ store, other }) => {
      let finish = (): void => {}
      const finished = new Promise<void>((resolve) => (finish = resolve))
      let begin = (): void => {}
      const begun = new Promise<void>((resolve) => (begin = resolve))
      const charge = idempotent({ store }, async () => (begin(), await finished, Response.json('paid')))
      const first = charge(request(1))
      // On connections of their own either may be there first.
      await begun
      const second = await idempotent({ store: other }, () => Response.json('twice'))(request(1))
      expect([second.headers.get('retry-after'), ...(await kindOf(second))]).toEqual(['1', 409, 'outstanding'])
      finish()
      expect(await (await first).json()).toBe('paid')
      expect(await (await charge(request(1))).json()).toBe('paid')
    }))

  test.each<[number, boolean, readonly [number, unknown]]>([
    [200, true, [200, 1]],
    [402, true, [402, 1]],
    [404, true, [404, 1]],
    // It says that it has done nothing.
    [429, false, [200, 2]],
    [503, false, [200, 2]],
  ])('an answer of %s is kept: %s', (status, _, expected) =>
    using(async ({ store }) => {
      let calls = 0
      const charge = idempotent({ store }, () => Response.json(++calls, { status: calls === 1 ? status : 200 }))
      expect((await charge(request(1))).status).toBe(status)
      const again = await charge(request(1))
      expect([again.status, await again.json()]).toEqual(expected)
    }))

  test.each(['throws', 'says 500'])('a handler that %s leaves the outcome unknown: a person finds out, or reconcile does', (how) =>
    using(async ({ store, other }) => {
      let calls = 0
      const errors: unknown[] = []
      const handle = (): Response => {
        if (++calls > 1) return Response.json('paid now')
        if (how === 'throws') throw new Error('out of paper')
        return Response.json({}, { status: 500 })
      }
      const charge = idempotent({ store, onError: (error) => errors.push(error) }, handle)
      expect((await charge(request(1))).status).toBe(500)
      expect(await kindOf(await charge(request(1)))).toEqual([500, 'unknown'])
      expect(errors).toHaveLength(how === 'throws' ? 1 : 0)
      const finds = (reconcile: IdempotentOptions['reconcile']): ReturnType<typeof idempotent> => idempotent({ store: other, reconcile: reconcile! }, handle)
      expect(await kindOf(await finds(() => Promise.reject(new Error('the books are closed')))(request(1)))).toEqual([500, 'unknown'])
      if (how === 'throws') {
        expect(await (await finds(() => Promise.resolve({ happened: false }))(request(1))).json()).toBe('paid now')
        expect(calls).toBe(2)
      } else {
        expect(await (await finds(async ({ key, request: asked }) => ({ happened: true, response: Response.json([key, await asked.json()]) }))(request(1))).json()).toEqual(['k-1', 1])
        expect(await (await charge(request(1))).json()).toEqual(['k-1', 1])
        expect(calls).toBe(1)
      }
    }))

  test('a long answer is sent whole and kept without its body', () =>
    using(async ({ store }) => {
      const charge = idempotent({ store, answerBytesMax: 9 }, () => new Response('x'.repeat(10), { status: 201, headers: { location: '/1' } }))
      expect(await (await charge(request(1))).text()).toHaveLength(10)
      const again = await charge(request(1))
      expect([again.status, await again.text(), again.headers.get('location'), again.headers.get('idempotency-body-omitted')]).toEqual([201, '', '/1', '10'])
    }))
})

describe('a request', () => {
  const charge = (options: Partial<IdempotentOptions> = {}): ReturnType<typeof idempotent> => idempotent({ store: new MemoryIdempotencyStore(), ...options }, async (asked) => Response.json(await asked.text()))
  test.each<[string, Request, Partial<IdempotentOptions>, readonly [number, string | undefined]]>([
    ['without a key', request(1, {}), {}, [400, 'missing']],
    ['with two keys', request(1, { 'idempotency-key': '"a", "b"' }), {}, [400, 'malformed']],
    ['that is too long', request('x'.repeat(10)), { bodyBytesMax: 11 }, [413, 'too-long']],
    ['that was damaged on the way', request(1, { 'idempotency-key': 'k', 'content-digest': 'sha-256=:AAAA:' }), {}, [400, 'damaged']],
  ])('%s is refused', async (_, asked, options, expected) => expect(await kindOf(await charge(options)(asked))).toEqual(expected))

  test('that changes nothing, or need not have a key, is simply handled', async () => {
    expect((await charge()(new Request('http://shop/charges'))).status).toBe(200)
    expect(await (await charge({ required: false })(request(1, {}))).json()).toBe('1')
  })

  test('of another caller has another answer under the same key, if the scope says so', async () => {
    const scoped = charge({ scope: (asked) => asked.headers.get('authorization') ?? '' })
    const by = (who: string, body: number): Promise<Response> => scoped(request(body, { 'idempotency-key': 'k', authorization: who }))
    expect([(await by('ann', 1)).status, (await by('bob', 2)).status, (await by('ann', 2)).status]).toEqual([200, 200, 422])
  })

  test('goes on when its caller hangs up, since the caller will ask again', async () => {
    const caller = new AbortController()
    const charged = idempotent({ store: new MemoryIdempotencyStore() }, async (asked) => {
      caller.abort()
      return Response.json(asked.signal.aborted)
    })
    expect(await (await charged(new Request(request(1), { signal: caller.signal }))).json()).toBe(false)
  })

  test('of which nothing can be known now is not begun', async () => {
    const errors: unknown[] = []
    const down = (): Promise<never> => Promise.reject(new StoreError('no connection', 'unknown'))
    let handled = 0
    const response = await idempotent({ store: { begin: down, renew: down, end: down, close: async () => {} }, onError: (error) => errors.push(error) }, () => (handled++, new Response()))(request(1))
    expect([response.headers.get('retry-after'), ...(await kindOf(response)), handled, errors.length]).toEqual(['1', 503, 'unavailable', 0, 1])
  })

  test.each([
    [undefined, /needs a store/],
    [{ store: new MemoryIdempotencyStore(), leaseMs: 1 }, /"leaseMs" of idempotent\(\) must be a whole number, from 10 to 2147483647, not 1/],
  ])('is not taken with options that cannot be used (%#)', (options, says) => expect(() => idempotent(options as never, () => new Response())).toThrow(says))
})

test.each(['node:http', 'hono'])('under %s a sender and a receiver fit together', async (framework) => {
  let paid = 0
  const charge = idempotent({ store: new MemoryIdempotencyStore() }, async (asked) => Response.json({ n: ++paid, got: await asked.json() }, { status: 201 }))
  const server = framework === 'hono' ? serve({ fetch: new Hono().post('/charges', (c) => charge(c.req.raw)).fetch, port: 0, hostname: '127.0.0.1' }) : createServer(nodeListener(charge)).listen(0, '127.0.0.1')
  if (!server.listening) await once(server, 'listening')
  try {
    const pay = httpAction<{ cents: number }>({ honoursKey: true, request: ({ input }) => new Request(`http://127.0.0.1:${(server.address() as AddressInfo).port}/charges`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(input) }) })
    const effect = { input: { cents: 450 }, signal: new AbortController().signal, idempotencyKey: 'default/run-1/step-2/charge', attempt: 1 }
    expect(await pay.run(effect)).toEqual({ n: 1, got: { cents: 450 } })
    expect(await pay.run({ ...effect, attempt: 2 })).toEqual({ n: 1, got: { cents: 450 } })
    await expect(pay.run({ ...effect, input: { cents: 451 } })).rejects.toMatchObject({ code: 'HTTP_REFUSED', status: 422, message: expect.stringContaining('already used') as string })
  } finally {
    await new Promise((resolve) => server.close(resolve))
  }
})

/** The receiver's end of an idempotency key through every death: simulated, step by step, and of a real process on Redis. */
import fc from 'fast-check'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { httpAction, idempotent, type IdempotencyStore } from '../../src/adapters/http/index.js'
import { MemoryIdempotencyStore } from '../../src/adapters/memory/index.js'
import { StoreError } from '../../src/errors.js'
import { extent, firstSeed, tier } from '../support/extent.js'
import { freePort, RedisServer } from '../support/redis-server.js'
import { runScript, type RunningScript } from '../support/run-script.js'

let redis: RedisServer
beforeAll(async () => void (redis = await RedisServer.start()))
afterAll(() => redis.stop())

const request = (body: unknown, key: string): Request => new Request('http://shop/charges', { method: 'POST', headers: { 'idempotency-key': key }, body: JSON.stringify(body) })

test(`through every death and every lost reply each key is carried out once, and all hear the same (seed ${firstSeed})`, async () => {
  /** Where the process dies, by how many steps it has yet to live: it then does nothing more, ever. */
  const life = fc.nat({ max: 7 })
  await fc.assert(
    fc.asyncProperty(fc.array(fc.record({ key: fc.constantFrom('a', 'b'), lives: life, isPatient: fc.boolean(), loses: fc.constantFrom('nothing', 'begin', 'end') }), { minLength: 1, maxLength: 12 }), async (attempts) => {
      let now = 0
      const store = new MemoryIdempotencyStore(() => now)
      const books: string[] = []
      const answers = new Map<string, Set<string>>()
      const whole = { lives: Infinity, isPatient: true, loses: 'nothing' }
      for (const { key, lives, isPatient, loses } of [...attempts, { key: 'c', ...whole }, { key: 'a', ...whole }, { key: 'b', ...whole }]) {
        let left = lives
        let die = (): void => {}
        const died = new Promise<undefined>((resolve) => (die = () => resolve(undefined)))
        /** Of a process that has died, nothing comes back. */
        const step = (): Promise<void> => {
          if (left-- > 0) return Promise.resolve()
          die()
          return new Promise(() => {})
        }
        let losesOnce = loses
        const lost = <T>(call: string, reply: T): T => {
          if (losesOnce !== call) return reply
          losesOnce = 'nothing'
          throw new StoreError('the reply is lost', 'unknown')
        }
        const mortal: IdempotencyStore = {
          begin: async (...args) => (await step(), lost('begin', (await store.begin(...args), await step(), await store.begin(...args)))),
          renew: (...args) => store.renew(...args),
          end: async (...args) => {
            await step()
            const had = await store.end(...args)
            await step()
            return lost('end', had)
          },
          close: async () => {},
        }
        const charge = idempotent(
          { store: mortal, leaseMs: 60_000, reconcile: async ({ key: known }) => (await step(), books.includes(known) ? { happened: true, response: Response.json(books.indexOf(known)) } : { happened: false }) },
          async () => {
            await step()
            books.push(key)
            await step()
            return Response.json(books.indexOf(key))
          },
        )
        const answer = await Promise.race([charge(request({ key }, key)), died])
        if (answer?.status === 200) answers.set(key, (answers.get(key) ?? new Set()).add(await answer.text()))
        else if (answer) expect(answer.status).toBe(409)
        // Whoever is patient comes again when the dead are known to be dead.
        if (isPatient) now += 120_000
      }
      expect([...books].sort()).toEqual(['a', 'b', 'c'])
      for (const key of books) expect([...(answers.get(key) ?? [])]).toEqual([String(books.indexOf(key))])
    }),
    { numRuns: extent(60), seed: firstSeed },
  )
})

const points = ['after the key is begun', 'after it is paid', ...(tier === 'second' ? ['before the key is begun', 'before it is paid', 'before the answer is kept', 'after the answer is kept'] : [])]
test.each(points)('a real receiver killed %s has paid once, and says so', async (point) => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-charges-'))
  const file = join(folder, 'payments')
  const port = await freePort()
  const begin = async (): Promise<RunningScript> => {
    const script = await runScript('test/support/charge-server.script.ts', [redis.url, file, point], { env: { PORT: String(port) } })
    await script.lines.next()
    return script
  }
  let receiver = await begin()
  const exits: unknown[] = []
  void receiver.exited.then(async (exit) => {
    exits.push(exit.signal)
    receiver = await begin()
  })
  try {
    const pay = httpAction<{ cents: number }, { id: string }>({ honoursKey: true, attemptsMax: 50, backoffMs: 50, request: ({ input }) => new Request(`http://127.0.0.1:${port}/charges`, { method: 'POST', body: JSON.stringify(input) }) })
    const effect = { input: { cents: 450 }, signal: new AbortController().signal, idempotencyKey: `${point.replaceAll(' ', '.')}/${folder.slice(-6)}`, attempt: 1 }
    expect(await pay.run(effect)).toEqual({ id: 'ch_0' })
    expect(await pay.run({ ...effect, attempt: 2 })).toEqual({ id: 'ch_0' })
    expect(exits).toEqual(['SIGKILL'])
    expect(readFileSync(file, 'utf8').trimEnd().split('\n')).toHaveLength(1)
  } finally {
    receiver.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
})

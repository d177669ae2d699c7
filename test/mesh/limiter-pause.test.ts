/** What a provider's wish to be left alone costs, and how the calls of two nodes come back after it: desks as they are, the limiter an actor of the real runtime, in virtual time. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { defaultLimit, limiterMachine } from '../../src/machines/limiter.machine.js'
import { Desk, type PermitRequest } from '../../src/mesh/desk.js'
import { LimiterStock } from '../../src/mesh/limiter-stock.js'
import { silentLogger } from '../../src/runtime/ports/logger.js'
import type { World } from '../../src/testing/index.js'
import { aWorld } from '../support/worlds.js'

const pauseMs = 20_000
/** Until when the provider asks for pauses, ms. */
let isOutUntil: number
let world: World
/** When attempts began, ms; and which of them were answered. */
let begun: number[]
let answered: number
let desks: Desk[]

beforeEach(async () => {
  world = await aWorld({ machines: [limiterMachine] })
  begun = []
  answered = 0
  desks = ['one', 'two'].map((name) => {
    const desk: Desk = new Desk(world.time, () => [stock])
    const stock: LimiterStock = new LimiterStock(
      { scope: 'provider', name: 'x', address: 'limiter/l' },
      defaultLimit,
      name,
      {
        clock: world.time,
        logger: silentLogger,
        now: () => Promise.resolve(world.now()),
        ask: (address, event) => world.system.actorAt(address as never).ask(event as never),
        watch: (address, listener) => world.system.actorAt(address as never).subscribe((snapshot) => listener((snapshot as { context: unknown }).context)).unsubscribe,
      },
      () => desk.changed(),
    )
    return desk
  })
})
afterEach(() => world.stop())

/** Tries until it is answered, as a call does: after what the provider asks for. */
async function call(n: number): Promise<void> {
  const desk = desks[n % 2]!
  for (let attempt = 1; ; attempt++) {
    const request: PermitRequest = { key: `${n}.${attempt}`, subject: { agent: 'a', version: '1', model: 'x/a', tenant: null }, tokens: 1, priority: 5, deadlineAt: 1e9 }
    let given = desk.take(request)
    while (!('permit' in given)) {
      await desk.wait(request, { signal: new AbortController().signal, isPatient: true })
      given = desk.take(request)
    }
    const at = world.time.now()
    begun.push(at)
    const isOut = at < isOutUntil
    await new Promise<void>((resolve) => void world.time.after(isOut ? 50 : 5_000, resolve))
    given.permit.settle({ result: isOut ? 'void' : 'ok', tokens: 1, retryAfterMs: isOut ? pauseMs : null })
    if (!isOut) {
      answered++
      return
    }
    await new Promise<void>((resolve) => void world.time.after(pauseMs, resolve))
  }
}

test('a pause is as long as the provider says and no longer, and after it two attempts are made, and each second twice as many', async () => {
  isOutUntil = 10
  for (let n = 0; n < 100; n++) void call(n)
  await world.advance(pauseMs - 100)
  const before = begun.length
  await world.advance(15_000)
  const after = begun.slice(before)
  expect(after[0]).toBeGreaterThanOrEqual(pauseMs)
  expect(after[0]).toBeLessThan(pauseMs + 500)
  for (let s = 0; s < 6; s++) expect(after.filter((at) => at < after[0]! + 1_000 * s + 900).length, `within ${s + 1} s`).toBeLessThanOrEqual(2 * (2 ** (s + 1) - 1))
  // It lasts as long as it must: then everybody has been let through.
  expect(answered).toBe(100)
})

test('while the provider goes on asking for pauses, each costs two attempts of all nodes together', async () => {
  isOutUntil = 600_000
  for (let n = 0; n < 100; n++) void call(n)
  await world.advance(1_000)
  const before = begun.length
  await world.advance(isOutUntil - 2_000)
  const pauses = Math.floor(isOutUntil / pauseMs)
  expect(begun.length - before).toBeLessThanOrEqual(2 * pauses)
  expect(begun.length - before).toBeGreaterThanOrEqual(pauses)
  await world.advance(120_000)
  expect(answered).toBe(100)
})

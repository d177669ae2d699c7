/** How the calls of two nodes come back when a provider does: desks as they are, the breaker an actor of the real runtime, in virtual time. */
import { expect, test } from 'vitest'
import { circuitBreakerMachine, defaultBreaker } from '../../src/machines/circuit-breaker.machine.js'
import { BreakerStock } from '../../src/mesh/breaker-stock.js'
import { Desk, type PermitRequest } from '../../src/mesh/desk.js'
import { silentLogger } from '../../src/runtime/ports/logger.js'
import { aWorld } from '../support/worlds.js'

const outMs = 100_000
const answerMs = 5_000

test('when it closes, each success makes room for two more: those who waited come back as fast as they are served, and not all at once', async () => {
  const world = await aWorld({ machines: [circuitBreakerMachine] })
  const { system, time } = world
  const begun: number[] = []
  const answered: number[] = []
  const desks = [0, 1].map(() => {
    const desk: Desk = new Desk(time, () => [stock])
    const stock: BreakerStock = new BreakerStock(
      { scope: 'model', name: 'x/a', address: 'circuitBreaker/b', isSemantic: false },
      defaultBreaker,
      {
        clock: time,
        logger: silentLogger,
        now: () => Promise.resolve(world.now()),
        ask: (address, event) => system.actorAt(address as never).ask(event as never),
        watch: (address, listener) => system.actorAt(address as never).subscribe((snapshot) => listener((snapshot as { context: unknown }).context)).unsubscribe,
      },
      () => desk.changed(),
    )
    return desk
  })
  const call = async (n: number): Promise<void> => {
    const desk = desks[n % 2]!
    for (let attempt = 1; ; attempt++) {
      const request: PermitRequest = { key: `${n}.${attempt}`, subject: { agent: 'a', version: '1', model: 'x/a', tenant: null }, tokens: 1, priority: 5, deadlineAt: 1e9 }
      let given = desk.take(request)
      while (!('permit' in given)) {
        await desk.wait(request, { signal: new AbortController().signal, isPatient: true })
        given = desk.take(request)
      }
      const at = time.now()
      begun.push(at)
      const isOut = at < outMs
      await new Promise<void>((resolve) => void time.after(isOut ? 50 : answerMs, resolve))
      given.permit.settle({ result: isOut ? 'failed' : 'ok', tokens: 1, retryAfterMs: null })
      if (!isOut) return void answered.push(time.now())
    }
  }
  const calls = 200
  for (let n = 0; n < calls; n++) void call(n)
  await world.advance(outMs)
  const before = begun.length
  await world.advance(300_000)
  const after = begun.slice(before)
  expect(answered).toHaveLength(calls)
  const closedAt = answered[1]!
  const { probesMax, permitMs } = defaultBreaker
  for (const [i, at] of after.entries()) {
    const succeeded = answered.filter((one) => one <= at).length
    // What began before the answers of that moment came, and then two for each.
    expect(i + 1, `begun ${at - closedAt} ms after it closed, when ${succeeded} had succeeded`).toBeLessThanOrEqual(probesMax + probesMax * (1 + Math.max(0, Math.floor((at - closedAt) / permitMs))) + 2 * succeeded)
  }
  // Nor is it slow: three times as many with each answer's time.
  expect(answered.at(-1)! - closedAt).toBeLessThan(10 * answerMs)
  await world.stop()
})

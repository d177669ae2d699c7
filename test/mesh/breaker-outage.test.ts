/** What an outage costs the calls of two nodes, and how they come back after it: desks as they are, the breaker an actor of the real runtime, in virtual time. */
import { expect, test } from 'vitest'
import { circuitBreakerMachine, defaultBreaker } from '../../src/machines/circuit-breaker.machine.js'
import { BreakerStock } from '../../src/mesh/breaker-stock.js'
import { Desk, type PermitRequest } from '../../src/mesh/desk.js'
import { silentLogger } from '../../src/runtime/ports/logger.js'
import { aWorld } from '../support/worlds.js'

const failMs = 50
const answerMs = 5_000
const nodes = 2

interface Seen {
  /** When attempts began, and when calls were answered, ms. */
  readonly begun: readonly number[]
  readonly answered: readonly number[]
  readonly openedAt: number
}

/** So many calls, each tried until it is answered, of a provider that is out of order from the beginning. @param askMs what an ask takes there, and back */
async function play({ calls, outMs, forMs, askMs }: { readonly calls: number; readonly outMs: number; readonly forMs: number; readonly askMs: number }): Promise<Seen> {
  const world = await aWorld({ machines: [circuitBreakerMachine] })
  const { system, time } = world
  const begun: number[] = []
  const answered: number[] = []
  let openedAt = Infinity
  system.actor(circuitBreakerMachine, 'b').subscribe(({ value }) => void (value === 'open' && (openedAt = Math.min(openedAt, time.now()))))
  const pass = (ms: number): Promise<void> => new Promise((resolve) => void time.after(ms, resolve))
  const desks = Array.from({ length: nodes }, () => {
    const desk: Desk = new Desk(time, () => [stock])
    const stock: BreakerStock = new BreakerStock(
      { scope: 'model', name: 'x/a', address: 'circuitBreaker/b', isSemantic: false },
      defaultBreaker,
      {
        clock: time,
        logger: silentLogger,
        now: () => Promise.resolve(world.now()),
        ask: async (address, event) => {
          await pass(askMs)
          const answer: unknown = await system.actorAt(address as never).ask(event as never)
          await pass(askMs)
          return answer
        },
        watch: (address, listener) => system.actorAt(address as never).subscribe((snapshot) => listener((snapshot as { context: unknown }).context)).unsubscribe,
      },
      () => desk.changed(),
    )
    return desk
  })
  const call = async (n: number): Promise<void> => {
    const desk = desks[n % nodes]!
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
      await pass(isOut ? failMs : answerMs)
      given.permit.settle({ result: isOut ? 'failed' : 'ok', tokens: 1, retryAfterMs: null })
      if (!isOut) return void answered.push(time.now())
    }
  }
  for (let n = 0; n < calls; n++) void call(n)
  await world.advance(forMs)
  await world.stop()
  return { begun, answered, openedAt }
}

test('a node that knows enough failures to open the breaker begins nothing more, however long the breaker takes to hear and to say so', async () => {
  const { begun, openedAt } = await play({ calls: 200, outMs: Infinity, forMs: 15_000, askMs: 300 })
  // What both had in hand when the first of these failed.
  expect(openedAt).toBeLessThan(3_000)
  expect(begun.length).toBeLessThanOrEqual(nodes * defaultBreaker.permitsMax)
})

test('when it closes, each success makes room for two more: those who waited come back as fast as they are served, and not all at once', async () => {
  const outMs = 100_000
  const { begun, answered } = await play({ calls: 200, outMs, forMs: 400_000, askMs: 0 })
  expect(answered).toHaveLength(200)
  const closedAt = answered[1]!
  const { probesMax, permitMs } = defaultBreaker
  for (const [i, at] of begun.filter((one) => one >= outMs).entries()) {
    const succeeded = answered.filter((one) => one <= at).length
    expect(i + 1, `begun ${at - closedAt} ms after it closed, when ${succeeded} had succeeded`).toBeLessThanOrEqual(probesMax + probesMax * (1 + Math.max(0, Math.floor((at - closedAt) / permitMs))) + 2 * succeeded)
  }
  // Nor is it slow: three times as many with each answer's time.
  expect(answered.at(-1)! - closedAt).toBeLessThan(10 * answerMs)
})

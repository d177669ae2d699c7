/** The desk by itself: who waits for what, in which order, and what is refused; bulkheads in front of it. */
import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Desk, Permit, PermitRequest, PermitSubject } from '../../src/mesh/desk.js'
import { Permits, type PermitPorts } from '../../src/mesh/permits.js'
import type { PolicyOptions } from '../../src/mesh/policies.js'
import type { PoliciesContext } from '../../src/machines/policies.machine.js'
import { silentLogger } from '../../src/runtime/ports/logger.js'
import { VirtualClock } from '../../src/testing/virtual-clock.js'

const over = { result: 'ok', tokens: 1, retryAfterMs: null } as const

class Stage {
  readonly clock = new VirtualClock()
  readonly permits: Permits
  readonly desk: Desk
  held: PoliciesContext | undefined
  private keys = 0

  constructor(policies: PolicyOptions) {
    const ports: PermitPorts = {
      clock: this.clock,
      logger: silentLogger,
      node: 'n',
      isLocal: () => true,
      now: () => Promise.resolve(0),
      ask: () => new Promise(() => {}),
      watch: () => () => {},
      look: () => Promise.resolve(this.held),
    }
    this.permits = new Permits(policies, ports)
    this.desk = this.permits.desk
  }
  request(more: Partial<Omit<PermitRequest, 'subject'>> & { readonly subject?: Partial<PermitSubject> } = {}): PermitRequest {
    return { key: `k${this.keys++}`, tokens: 1, priority: 5, deadlineAt: 1e9, ...more, subject: { agent: 'a', version: '1', model: 'x/m', tenant: null, ...more.subject } }
  }
  /** Takes what is in hand; undefined: it is not. */
  now(request: PermitRequest): Permit | undefined {
    const given = this.desk.take(request)
    if ('refusal' in given) throw new Error(given.refusal.message)
    return 'permit' in given ? given.permit : undefined
  }
  /** Those who wait have it looked at within a second. */
  async change(context: Partial<PoliciesContext>): Promise<void> {
    this.held = { revision: (this.held?.revision ?? 0) + 1, policies: null, setBy: null, stops: [], ...context }
    this.clock.runUntil(this.clock.now() + 2_000)
    await turn()
  }
  async pass(): Promise<void> {
    for (let i = 0; i < 5; i++) {
      this.clock.runUntil(this.clock.now() + 1)
      await turn()
    }
  }
}

const patience = { signal: new AbortController().signal, isPatient: false }

test('a bulkhead lets so many in, so many wait in turn, and refuses the next with its figures; other agents do not notice', async () => {
  const stage = new Stage({ agents: { a: { bulkhead: { workingMax: 2, waitingMax: 3 } } } })
  const working = [stage.now(stage.request()), stage.now(stage.request())]
  expect(stage.now(stage.request())).toBeUndefined()
  const order: string[] = []
  const waits = [
    ['late', stage.request({ deadlineAt: 500 })],
    ['soon', stage.request({ deadlineAt: 100 })],
    ['urgent', stage.request({ priority: 9 })],
  ] as const
  const waited = waits.map(async ([name, request]) => {
    await stage.desk.wait(request, patience)
    order.push(name)
    return request
  })
  await stage.pass()
  expect(await stage.desk.wait(stage.request(), patience)).toEqual({ refusal: { reason: 'full', scope: 'agent', name: 'a', message: 'the bulkhead of agent a is full on this node: 2 of 2 calls are under way and 3 wait' } })
  expect(stage.now(stage.request({ subject: { agent: 'b' } }))).toBeDefined()
  for (let i = 0; i < 3; i++) {
    working.shift()!.settle(over)
    // Whoever comes now does not overtake those who wait.
    expect(stage.now(stage.request())).toBeUndefined()
    await stage.pass()
    working.push(stage.now(waits.map(([, request]) => request).find((_, at) => waits[at]![0] === order[i])!))
  }
  expect(order).toEqual(['urgent', 'soon', 'late'])
  await Promise.all(waited)
})

test('nobody waits for ever: who has waited half a minute goes before one who comes with the next higher priority', async () => {
  const stage = new Stage({ agents: { a: { bulkhead: { workingMax: 1, waitingMax: 9 } } } })
  const first = stage.now(stage.request())!
  const order: string[] = []
  const wait = (name: string, priority: number): void => void stage.desk.wait(stage.request({ priority }), patience).then(() => order.push(name))
  wait('patient', 1)
  await stage.pass()
  stage.clock.runUntil(stage.clock.now() + 31_000)
  wait('new', 1)
  wait('higher', 3)
  await stage.pass()
  first.settle(over)
  await stage.pass()
  expect(order).toEqual(['higher'])
  stage.clock.runUntil(stage.clock.now() + 11_000)
  await stage.pass()
  expect(order).toEqual(['higher', 'patient'])
})

test('who gives up waiting makes room, and a permit that its attempt never took comes back', async () => {
  const stage = new Stage({ agents: { a: { bulkhead: { workingMax: 1, waitingMax: 1 } } } })
  const first = stage.now(stage.request())!
  const gone = new AbortController()
  const given = stage.desk.wait(stage.request(), { signal: gone.signal, isPatient: false })
  await stage.pass()
  gone.abort(new Error('no more'))
  await expect(given).rejects.toThrow('no more')
  const kept = stage.request()
  const keeps = stage.desk.wait(kept, patience)
  first.settle(over)
  await stage.pass()
  expect(await keeps).toEqual({ isGiven: true })
  expect(stage.now(stage.request())).toBeUndefined()
  stage.clock.runUntil(stage.clock.now() + 11_000)
  await stage.pass()
  expect(stage.now(stage.request())).toBeDefined()
})

test('changed policies hold for those that wait already, and a stop refuses them with who and why; what is under way is left alone', async () => {
  const stage = new Stage({ agents: { a: { bulkhead: { workingMax: 1, waitingMax: 9 } } } })
  const first = stage.now(stage.request())!
  const second = stage.request()
  const third = stage.request({ subject: { tenant: 't' } })
  const waited = [stage.desk.wait(second, patience), stage.desk.wait(third, patience)]
  await stage.pass()
  await stage.change({ policies: { agents: { a: { bulkhead: { workingMax: 2, waitingMax: 9 } } } } })
  await stage.pass()
  expect(await waited[0]).toEqual({ isGiven: true })
  await stage.change({ policies: stage.held!.policies, stops: [{ scope: 'tenant', name: 't', by: 'ann', why: 'does not pay', at: 1 }] })
  await stage.pass()
  expect(await waited[1]).toEqual({ refusal: { reason: 'stopped', scope: 'tenant', name: 't', message: 'ann has stopped the calls of tenant t: does not pay' } })
  expect(() => stage.now(stage.request({ subject: { tenant: 't' } }))).toThrow('does not pay')
  expect(stage.now(second)).toBeDefined()
  first.settle(over)
  await stage.change({})
  // As a call does before each attempt.
  await stage.permits.isCurrent()
  expect(stage.now(stage.request({ subject: { tenant: 't' } }))).toBeUndefined()
})

/** Bulkheads in front of calls, whatever comes, ends, gives up and is changed meanwhile. And: whose figure holds, where several say one. */
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { defaultCallPolicy, type CallPolicy, type PolicyOptions } from '../../src/index.js'
import type { PoliciesContext } from '../../src/machines/policies.machine.js'
import type { Permit, PermitRequest, PermitSubject } from '../../src/mesh/desk.js'
import { Permits } from '../../src/mesh/permits.js'
import { callPolicyFor } from '../../src/mesh/policies.js'
import { silentLogger } from '../../src/runtime/ports/logger.js'
import { VirtualClock } from '../../src/testing/virtual-clock.js'
import { extent, firstSeed } from '../support/extent.js'

const over = { result: 'ok', tokens: 1, retryAfterMs: null } as const
type Bounds = Readonly<Record<'agent' | 'tenant', { readonly workingMax: number; readonly waitingMax: number }>>
const policiesOf = ({ agent, tenant }: Bounds): PolicyOptions => ({ agents: { a: { bulkhead: agent } }, tenants: { t: { bulkhead: tenant } } })

/** The bulkheads that a call goes through. */
const through = ({ agent, tenant }: PermitSubject): ('agent' | 'tenant')[] => [...(agent === 'a' ? (['agent'] as const) : []), ...(tenant === 't' ? (['tenant'] as const) : [])]

class Real {
  readonly clock = new VirtualClock()
  readonly permits: Permits
  bounds: Bounds
  readonly working: { readonly subject: PermitSubject; readonly permit: Permit }[] = []
  readonly waiting: { readonly subject: PermitSubject; readonly giveUp: AbortController }[] = []
  private held: PoliciesContext | undefined
  private keys = 0

  constructor(bounds: Bounds) {
    this.bounds = bounds
    this.permits = new Permits(policiesOf(bounds), { clock: this.clock, logger: silentLogger, node: 'n', isLocal: () => true, now: () => Promise.resolve(0), ask: () => new Promise(() => {}), watch: () => () => {}, look: () => Promise.resolve(this.held) })
  }

  count(of: readonly { readonly subject: PermitSubject }[], scope: 'agent' | 'tenant'): number {
    return of.filter(({ subject }) => through(subject).includes(scope)).length
  }

  async settle(): Promise<void> {
    for (let i = 0; i < 4; i++) {
      this.clock.runUntil(this.clock.now() + 1)
      await turn()
    }
  }

  async come(subject: PermitSubject): Promise<void> {
    const request: PermitRequest = { key: `${this.keys++}`, subject, tokens: 1, priority: 5, deadlineAt: 1e9 }
    const mayBegin = through(subject).every((scope) => this.count(this.working, scope) < this.bounds[scope].workingMax && this.count(this.waiting, scope) === 0)
    const given = this.permits.desk.take(request)
    // What is free is given at once, and nothing else is: nobody is in the way of those who go through other bulkheads.
    expect('permit' in given).toBe(mayBegin)
    if ('permit' in given) return void this.working.push({ subject, permit: given.permit })
    const full = through(subject).find((scope) => this.count(this.working, scope) >= this.bounds[scope].workingMax && this.count(this.waiting, scope) >= this.bounds[scope].waitingMax)
    const waiter = { subject, giveUp: new AbortController() }
    const answer = this.permits.desk.wait(request, { signal: waiter.giveUp.signal, isPatient: false })
    if (full) expect(await answer).toMatchObject({ refusal: { reason: 'full', scope: full } })
    else {
      this.waiting.push(waiter)
      answer.then(
        (told) => {
          expect(told).toEqual({ isGiven: true })
          this.waiting.splice(this.waiting.indexOf(waiter), 1)
          // No more than may, of those that begin now.
          for (const scope of through(subject)) expect(this.count(this.working, scope)).toBeLessThan(this.bounds[scope].workingMax)
          const taken = this.permits.desk.take(request)
          expect(taken).toHaveProperty('permit')
          this.working.push({ subject, permit: (taken as { permit: Permit }).permit })
        },
        () => this.waiting.splice(this.waiting.indexOf(waiter), 1),
      ).catch((error: unknown) => (this.broken = error))
    }
    await this.settle()
  }
  broken: unknown

  async end(n: number): Promise<void> {
    const [one] = this.working.splice(n % Math.max(1, this.working.length), 1)
    one?.permit.settle(over)
    // Twice is once.
    one?.permit.settle(over)
    await this.settle()
  }

  async change(bounds: Bounds): Promise<void> {
    this.bounds = bounds
    this.held = { revision: (this.held?.revision ?? 0) + 1, policies: policiesOf(bounds), setBy: null, stops: [] }
    await this.permits.refresh()
    await this.settle()
  }
}

const bound = fc.record({ workingMax: fc.integer({ min: 1, max: 3 }), waitingMax: fc.integer({ min: 0, max: 3 }) })
const bounds: fc.Arbitrary<Bounds> = fc.record({ agent: bound, tenant: bound })
const act = fc.oneof(
  { arbitrary: fc.record({ is: fc.constant('come' as const), agent: fc.constantFrom('a', 'b'), tenant: fc.constantFrom('t', null) }), weight: 5 },
  { arbitrary: fc.record({ is: fc.constant('end' as const), n: fc.nat(9) }), weight: 3 },
  { arbitrary: fc.record({ is: fc.constant('give up' as const), n: fc.nat(9) }), weight: 1 },
  { arbitrary: fc.record({ is: fc.constant('change' as const), bounds }), weight: 1 },
)

test(`never more begin than may be under way, never more wait than may, and in the end everybody was served (seed ${firstSeed})`, async () => {
  let waited = 0
  await fc.assert(
    fc.asyncProperty(bounds, fc.array(act, { minLength: 10, maxLength: 60 }), async (first, acts) => {
      const real = new Real(first)
      for (const one of acts) {
        if (one.is === 'come') await real.come({ agent: one.agent, version: '1', model: 'x/m', tenant: one.tenant })
        else if (one.is === 'end') await real.end(one.n)
        else if (one.is === 'change') await real.change(one.bounds)
        else {
          real.waiting[one.n % Math.max(1, real.waiting.length)]?.giveUp.abort(new Error('given up'))
          await real.settle()
        }
        expect(real.broken).toBeUndefined()
        waited = Math.max(waited, real.waiting.length)
      }
      while (real.working.length > 0) await real.end(0)
      expect(real.broken).toBeUndefined()
      expect(real.waiting).toEqual([])
      real.permits.close()
    }),
    { seed: firstSeed, numRuns: extent(60, 3_000) },
  )
  console.log(`bulkheads: at most ${waited} waited at once`)
})

const call = fc.record(
  {
    retry: fc.record({ attemptsMax: fc.integer({ min: 1, max: 9 }), backoff: fc.record({ firstMs: fc.nat(9), factor: fc.integer({ min: 1, max: 9 }), maxMs: fc.nat(9), jitter: fc.constantFrom(0, 1) }, { requiredKeys: [] }) }, { requiredKeys: [] }),
    deadlineMs: fc.integer({ min: 1, max: 9 }),
    whenOpen: fc.constantFrom<'wait' | 'fail'>('wait', 'fail'),
    priority: fc.nat(9),
    fallback: fc.array(fc.constantFrom({ agent: 'b', deadlineMs: 5 }, { person: 'ann', deadlineMs: 6 }), { maxLength: 2 }),
  },
  { requiredKeys: [] },
)

test(`each figure of a call is that of whoever says it nearest: of the version, of the agent, of all, else the default (seed ${firstSeed})`, () => {
  const names = ['a@2', 'a', '*'] as const
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...names, 'a@1', 'b'), call), (agents) => {
      const { figures, from } = callPolicyFor({ agents } as PolicyOptions, 'a', '2')
      const nearest = <T>(read: (one: NonNullable<typeof agents[string]>) => T | undefined, otherwise: T): readonly [T, string] => {
        for (const name of names) {
          const said = Object.hasOwn(agents, name) ? read(agents[name]!) : undefined
          if (said !== undefined) return [said, name]
        }
        return [otherwise, 'default']
      }
      for (const key of ['deadlineMs', 'whenOpen', 'priority', 'fallback'] as const) expect([figures[key], from[key]], key).toEqual(nearest<CallPolicy[typeof key]>((one) => one[key], defaultCallPolicy[key]))
      expect([figures.attemptsMax, from.attemptsMax]).toEqual(nearest((one) => one.retry?.attemptsMax, defaultCallPolicy.attemptsMax))
      for (const key of ['firstMs', 'factor', 'maxMs', 'jitter'] as const) expect(figures.backoff[key], key).toEqual(nearest((one) => one.retry?.backoff?.[key], defaultCallPolicy.backoff[key])[0])
    }),
    { seed: firstSeed, numRuns: extent(300, 5_000) },
  )
})

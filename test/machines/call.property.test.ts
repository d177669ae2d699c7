/** The call chart against a small model of itself: what is tried, what is held, what is waited for, how it ends. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createActor, fromPromise, SimulatedClock, setup, type ActorRefFrom } from 'xstate'
import { callMachine, type AttemptOutcome, type CallInput, type CallOutput, type CallToAgent, type PermitInput, type PermitOutcome } from '../../src/machines/call.machine.js'
import { nothing } from '../../src/machines/ledger.js'
import type { Refusal } from '../../src/machines/permit.js'
import { callInput } from '../support/charts.js'
import { extent, firstSeed } from '../support/extent.js'

const runs = extent(300)

const input: CallInput = { ...callInput, attemptsMax: 4, deadlineMs: 5_000, backoff: { firstMs: 100, factor: 2, maxMs: 300, jitter: 0 } }
const cost = { tokens: 3, calls: 1, nanoDollars: 3 }

type Phase = 'asking' | 'waiting' | 'attempting' | 'backingOff' | 'settled'

class Model {
  phase: Phase = 'asking'
  now = 0
  dueAt = 0
  /** Attempts whose outcome is known, all that have ended, and all that have begun. */
  known = 0
  attempts = 0
  started = 0
  /** Which model, and attempts at it whose outcome is known. */
  place = 0
  tried = 0
  isPatient = false
  end: { ok: boolean; reason?: string } | undefined

  get isExhausted(): boolean {
    return this.known >= 4 || this.attempts - this.known > 100
  }
  model(): string {
    return this.place === 0 ? 'x/a' : 'x/b'
  }
  fail(reason: string): void {
    this.phase = 'settled'
    this.end = { ok: false, reason }
  }
  /** An attempt has ended without an answer. */
  ended({ isKnown, isOver, isRetryable, retryAfterMs }: { isKnown: boolean; isOver: boolean; isRetryable: boolean; retryAfterMs: number }): void {
    this.attempts++
    this.isPatient = false
    if (isKnown) {
      this.known++
      this.tried++
    }
    if (isOver || this.isExhausted) this.fail('failed')
    else if (isRetryable && retryAfterMs < 5_000 && (this.place === 1 || this.tried < 2)) {
      this.phase = 'backingOff'
      this.dueAt = this.now + Math.max(retryAfterMs, Math.min(300, 100 * 2 ** (this.attempts - 1)))
    } else if (this.place === 0) this.fallBack()
    else this.fail('failed')
  }
  fallBack(): void {
    this.phase = 'asking'
    this.place++
    this.tried = 0
  }
  /** The model was not asked. */
  refused(kind: Refused): void {
    this.attempts++
    this.isPatient = false
    if (this.place === 0 && kind !== 'stopped') this.fallBack()
    else if (kind === 'open' && !this.isExhausted) {
      this.phase = 'asking'
      this.isPatient = true
    } else this.fail('unavailable')
  }
}

/** The chart under a parent that says yes or no for a ledger, with an attempt that the test ends. */
class Real {
  readonly clock = new SimulatedClock()
  readonly told: CallToAgent[] = []
  readonly started: { attempt: string; model: string }[] = []
  finish: (outcome: AttemptOutcome | Error) => void = () => {}
  readonly waited: PermitInput[] = []
  permit: (outcome: PermitOutcome | Error) => void = () => {}
  output: CallOutput | undefined
  readonly child: ActorRefFrom<typeof callMachine>

  constructor() {
    const attempt = fromPromise<AttemptOutcome, { call: CallInput; model: string; attempt: string }>(({ input: { attempt: id, model } }) => {
      this.started.push({ attempt: id, model })
      return new Promise((resolve, reject) => (this.finish = (outcome) => (outcome instanceof Error ? reject(outcome) : resolve(outcome))))
    })
    const permit = fromPromise<PermitOutcome, PermitInput>(({ input: wanted }) => {
      this.waited.push(wanted)
      return new Promise((resolve, reject) => (this.permit = (outcome) => (outcome instanceof Error ? reject(outcome) : resolve(outcome))))
    })
    const call = callMachine.provide({ actors: { attempt, permit } })
    const parent = createActor(
      setup({ types: { events: {} as CallToAgent }, actors: { call } }).createMachine({
        invoke: { id: 'call', src: 'call', input, onDone: { actions: ({ event }) => void (this.output = event.output) } },
        on: { '*': { actions: ({ event }) => void this.told.push(event) } },
      }),
      { clock: this.clock },
    ).start()
    this.child = parent.getSnapshot().children['call'] as never
  }

  async settle(): Promise<void> {
    for (let i = 0; i < 5; i++) await Promise.resolve()
  }
}

function agree(model: Model, real: Real): void {
  const value = JSON.stringify(real.child.getSnapshot().value)
  const expected: Record<Phase, string> = { asking: '{"open":"admitted"}', waiting: '{"open":"waitingForPermit"}', attempting: '{"open":"attempting"}', backingOff: '{"open":"backingOff"}', settled: '"settled"' }
  expect(value).toBe(expected[model.phase])
  expect(real.started).toHaveLength(model.started)
  // Everything that was reserved is settled, once, but what is under way.
  const reserved = real.told.filter(({ type }) => type === 'call.reserve').map(({ id }) => id)
  const settled = real.told.filter(({ type }) => type === 'call.settle').map(({ id }) => id)
  expect(new Set(reserved).size).toBe(reserved.length)
  const open = reserved.filter((id) => !settled.includes(id))
  expect(open.length).toBe(model.phase === 'asking' || model.phase === 'waiting' || model.phase === 'attempting' ? 1 : 0)
  // C4: what never began costs nothing.
  for (const one of real.told) if (one.type === 'call.settle' && !real.started.some(({ attempt }) => attempt === one.id)) expect(one.cost).toEqual(nothing)
  // C1, C2
  expect(model.known).toBeLessThanOrEqual(input.attemptsMax)
  const models = real.started.map((one) => one.model)
  expect(models).toEqual([...models].sort())
  if (model.phase === 'settled') {
    expect(open).toEqual([])
    const output = real.output!
    expect({ ok: output.ok, ...(output.ok ? {} : { reason: output.reason }) }).toEqual(model.end)
    expect(output.attempts).toHaveLength(model.attempts)
  }
}

class Answer implements fc.AsyncCommand<Model, Real> {
  readonly granted: boolean
  constructor(granted: boolean) {
    this.granted = granted
  }
  check = (model: Model): boolean => model.phase === 'asking'
  async run(model: Model, real: Real): Promise<void> {
    expect(real.told.at(-1)).toMatchObject({ type: 'call.reserve', id: `call.${model.attempts + 1}`, worst: input.worst[model.model()] })
    real.child.send({ type: this.granted ? 'ledger.reserved' : 'ledger.refused' })
    await real.settle()
    if (this.granted && model.isPatient) {
      model.phase = 'waiting'
      expect(real.waited.at(-1)).toMatchObject({ attempt: `call.${model.attempts + 1}`, model: model.model(), isPatient: true })
    } else if (this.granted) {
      model.phase = 'attempting'
      model.started++
      expect(real.started.at(-1)).toEqual({ attempt: `call.${model.attempts + 1}`, model: model.model() })
    } else {
      model.phase = 'settled'
      model.end = { ok: false, reason: 'budget' }
    }
    agree(model, real)
  }
  toString = (): string => `ledger says ${this.granted ? 'yes' : 'no'}`
}

type Refused = 'open' | 'limit' | 'stopped'
const refusal = (reason: Refused): Refusal => ({ reason, scope: reason === 'stopped' ? 'agent' : 'model', name: 'it', message: `${reason}, it said` })

/** No permit was in hand, or none was given: the attempt has not begun. */
class NoPermit implements fc.AsyncCommand<Model, Real> {
  readonly how: Refused | 'lacking'
  constructor(how: Refused | 'lacking') {
    this.how = how
  }
  check = (model: Model): boolean => model.phase === 'attempting'
  async run(model: Model, real: Real): Promise<void> {
    real.finish(this.how === 'lacking' ? { ok: false, cost: nothing, isLacking: true } : { ok: false, cost: nothing, error: { kind: 'refused', message: 'no' }, refusal: refusal(this.how) })
    await real.settle()
    model.started--
    real.started.pop()
    if (this.how === 'lacking') {
      model.phase = 'waiting'
      expect(real.waited.at(-1)).toMatchObject({ attempt: `call.${model.attempts + 1}`, model: model.model(), isPatient: model.isPatient })
    } else {
      expect(real.told.findLast(({ type, id }) => type === 'call.settle' && id === `call.${model.attempts + 1}`)).toMatchObject({ cost: nothing })
      model.refused(this.how)
    }
    agree(model, real)
  }
  toString = (): string => `no permit: ${this.how}`
}

class Permit implements fc.AsyncCommand<Model, Real> {
  readonly how: Refused | 'given' | 'threw' | 'CANCELLED'
  constructor(how: Permit['how']) {
    this.how = how
  }
  check = (model: Model): boolean => model.phase === 'waiting'
  async run(model: Model, real: Real): Promise<void> {
    const { how } = this
    if (how === 'given') real.permit({ isGiven: true })
    else if (how === 'threw' || how === 'CANCELLED') real.permit(Object.assign(new Error(how), how === 'threw' ? {} : { code: how }))
    else real.permit({ refusal: refusal(how) })
    await real.settle()
    if (how === 'given') {
      model.phase = 'attempting'
      model.started++
    } else if (how === 'threw' || how === 'CANCELLED') {
      model.ended({ isKnown: true, isOver: how === 'CANCELLED', isRetryable: how === 'threw', retryAfterMs: 0 })
    } else model.refused(how)
    agree(model, real)
  }
  toString = (): string => `permit: ${this.how}`
}

type Ending = 'ok' | 'retryable' | 'fatal' | 'cut off' | 'threw' | 'later' | 'too late' | 'DEADLINE' | 'CANCELLED'

class End implements fc.AsyncCommand<Model, Real> {
  readonly how: Ending
  constructor(how: Ending) {
    this.how = how
  }
  check = (model: Model): boolean => model.phase === 'attempting'
  async run(model: Model, real: Real): Promise<void> {
    const error = { kind: this.how === 'cut off' ? 'unknown' : 'server', message: this.how }
    const isOver = this.how === 'DEADLINE' || this.how === 'CANCELLED'
    if (this.how === 'threw' || isOver) real.finish(Object.assign(new Error(this.how), isOver ? { code: this.how } : {}))
    else if (this.how === 'ok') real.finish({ ok: true, cost, response: 'yes' })
    else real.finish({ ok: false, cost: this.how === 'cut off' ? null : cost, error, retryable: this.how !== 'fatal', ...(this.how === 'later' ? { retryAfterMs: 1_000 } : this.how === 'too late' ? { retryAfterMs: 5_000 } : {}) })
    await real.settle()
    expect(real.told.filter(({ type, id }) => type === 'call.settle' && id === `call.${model.attempts + 1}`)).toHaveLength(1)
    if (this.how === 'ok') {
      model.attempts++
      model.phase = 'settled'
      model.end = { ok: true }
    } else {
      const retryAfterMs = this.how === 'later' ? 1_000 : this.how === 'too late' ? 5_000 : 0
      model.ended({ isKnown: this.how !== 'cut off', isOver, isRetryable: this.how !== 'fatal', retryAfterMs })
      if (this.how === 'DEADLINE' && model.end) model.end = { ok: false, reason: 'deadline' }
    }
    agree(model, real)
  }
  toString = (): string => `attempt ends: ${this.how}`
}

class Wait implements fc.AsyncCommand<Model, Real> {
  readonly ms: number
  constructor(ms: number) {
    this.ms = ms
  }
  check = (): boolean => true
  async run(model: Model, real: Real): Promise<void> {
    real.clock.increment(this.ms)
    await real.settle()
    model.now += this.ms
    if (model.phase === 'backingOff' && model.dueAt <= model.now && model.dueAt < 5_000) model.phase = 'asking'
    if (model.phase !== 'settled' && model.now >= 5_000) {
      // The attempt that was under way is on record, too.
      if (model.phase === 'attempting' || model.phase === 'waiting') model.attempts++
      model.phase = 'settled'
      model.end = { ok: false, reason: 'deadline' }
    }
    agree(model, real)
  }
  toString = (): string => `${this.ms} ms pass`
}

test(`any sequence of answers, endings and waits leads where the model says (seed ${firstSeed})`, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.commands(
        [
          fc.constantFrom(true, true, true, true, false).map((granted) => new Answer(granted)),
          fc.constantFrom<Ending>('ok', 'retryable', 'retryable', 'fatal', 'cut off', 'cut off', 'threw', 'later', 'too late', 'DEADLINE', 'CANCELLED').map((how) => new End(how)),
          fc.constantFrom<Refused | 'lacking'>('open', 'limit', 'stopped', 'lacking', 'lacking').map((how) => new NoPermit(how)),
          fc.constantFrom<Permit['how']>('open', 'limit', 'stopped', 'given', 'given', 'given', 'threw', 'CANCELLED').map((how) => new Permit(how)),
          fc.constantFrom(50, 100, 300, 1_000, 2_500).map((ms) => new Wait(ms)),
        ],
        { maxCommands: 30 },
      ),
      async (commands) => fc.asyncModelRun(() => ({ model: new Model(), real: new Real() }), commands),
    ),
    { seed: firstSeed, numRuns: runs },
  )
})

test('a call that crashes cut off goes on: they are no failures of the model, up to a hundred of them', async () => {
  const real = new Real()
  for (let cut = 1; cut <= 101; cut++) {
    real.child.send({ type: 'ledger.reserved' })
    await real.settle()
    expect(real.started, `cut ${cut}`).toHaveLength(cut)
    real.finish({ ok: false, cost: null, error: { kind: 'unknown', message: 'the process died' }, retryable: true })
    await real.settle()
    if (cut <= 100) real.child.send({ type: 'xstate.after.backoff.call.open.backingOff' } as never)
    await real.settle()
  }
  expect(real.output).toMatchObject({ ok: false, reason: 'failed' })
})

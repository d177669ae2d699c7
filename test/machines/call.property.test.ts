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

const hedges = { none: undefined, next: { afterMs: 200, model: 'next' }, same: { afterMs: 200, model: 'same' } } as const
type Hedge = (typeof hedges)[keyof typeof hedges]

const maxFor = (hedge: Hedge): number => (hedge?.model === 'same' ? 2 : 4)

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
  readonly hedge: Hedge
  /** Whether the ledger has money to spare for a second attempt. */
  hasSpare = true
  /** What becomes of a second attempt beside the one under way. */
  second: 'none' | 'watched' | 'beside' | 'awaitingPermit' = 'none'
  /** The first has ended: the second is the call's attempt. */
  isMain = false
  hasHedged = false
  /** Second attempts at which a model was asked. */
  seconds = 0
  secondDueAt = 0
  /** It ended first: whether its outcome is known. */
  secondOver: boolean | undefined

  /** Attempts allowed. */
  readonly max: number

  constructor(hedge: Hedge) {
    this.hedge = hedge
    this.max = maxFor(hedge)
  }

  /** An attempt is under way. */
  begin(): void {
    this.phase = 'attempting'
    this.started++
    this.isMain = false
    this.second = this.hedge && !this.hasHedged && this.known + 2 <= this.max ? 'watched' : 'none'
    this.secondDueAt = this.now + 200
  }
  /** Both are under way. */
  get isBeside(): boolean {
    return !this.isMain && (this.second === 'beside' || this.second === 'awaitingPermit')
  }
  /** The call's attempt is asked, and not its permit waited for. */
  get isAsking(): boolean {
    return this.phase === 'attempting' && !(this.isMain && this.second === 'awaitingPermit')
  }
  get secondPlace(): number {
    return this.hedge?.model === 'next' ? 1 : this.place
  }
  /** The time has come. */
  beginSecond(): void {
    this.second = this.hasSpare ? 'beside' : 'none'
    if (!this.hasSpare) return
    this.hasHedged = true
    this.seconds++
    this.started++
  }
  /** The first has ended without an answer, and the second goes on. */
  goOn(isKnown: boolean): void {
    this.attempts++
    this.isPatient = false
    if (isKnown) {
      this.known++
      this.tried++
    }
    if (this.place !== this.secondPlace) this.tried = 0
    this.place = this.secondPlace
    this.isMain = true
  }
  private countSecond(): void {
    if (this.secondOver === undefined) return
    this.attempts++
    if (this.secondOver) this.known++
    this.secondOver = undefined
  }
  answered(): void {
    this.attempts++
    this.countSecond()
    if (this.isBeside) this.attempts++
    this.phase = 'settled'
    this.end = { ok: true }
  }

  get isExhausted(): boolean {
    return this.known >= this.max || this.attempts - this.known > 100
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
    this.countSecond()
    this.isPatient = false
    if (isKnown) {
      this.known++
      this.tried++
    }
    if (isOver || this.isExhausted) this.fail('failed')
    else if (isRetryable && retryAfterMs < 5_000 && (this.place === 1 || this.tried < this.max / 2)) {
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
    this.countSecond()
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
  private readonly ends = new Map<string, { readonly signal: AbortSignal; end(outcome: AttemptOutcome | Error): void }>()
  hasSpare = true
  secondId: string | undefined
  readonly waited: PermitInput[] = []
  permit: (outcome: PermitOutcome | Error) => void = () => {}
  output: CallOutput | undefined
  readonly child: ActorRefFrom<typeof callMachine>

  /** Ends an attempt: the one that began first of those under way, or the second. */
  finish(outcome: AttemptOutcome | Error, isSecond = false): void {
    const id = isSecond ? this.secondId! : [...this.ends.keys()][0]!
    const { end } = this.ends.get(id)!
    this.ends.delete(id)
    end(outcome)
  }

  /** Attempts that were given up. */
  get leftBehind(): readonly boolean[] {
    return [...this.ends.values()].map(({ signal }) => signal.aborted)
  }

  constructor(hedge: Hedge) {
    const attempt = fromPromise<AttemptOutcome, { call: CallInput; model: string; attempt: string }>(({ input: { attempt: id, model }, signal }) => {
      this.started.push({ attempt: id, model })
      return new Promise((resolve, reject) => this.ends.set(id, { signal, end: (outcome) => (outcome instanceof Error ? reject(outcome) : resolve(outcome)) }))
    })
    const permit = fromPromise<PermitOutcome, PermitInput>(({ input: wanted }) => {
      this.waited.push(wanted)
      return new Promise((resolve, reject) => (this.permit = (outcome) => (outcome instanceof Error ? reject(outcome) : resolve(outcome))))
    })
    const call = callMachine.provide({ actors: { attempt, permit } })
    const parent = createActor(
      setup({ types: { events: {} as CallToAgent }, actors: { call } }).createMachine({
        invoke: { id: 'call', src: 'call', input: { ...input, attemptsMax: maxFor(hedge), ...(hedge ? { hedge } : {}) }, onDone: { actions: ({ event }) => void (this.output = event.output) } },
        on: {
          '*': {
            actions: ({ event }) => {
              const isSpare = event.type === 'call.reserve' && event.isSpare === true
              if (!isSpare || this.hasSpare) this.told.push(event)
              if (!isSpare) return
              if (this.hasSpare) this.secondId = event.id
              // In a record the answer is of the same turn.
              this.child.send({ type: this.hasSpare ? 'ledger.reserved' : 'ledger.refused' })
            },
          },
        },
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
  const expected: Record<Phase, string> = { asking: '{"open":"admitted"}', waiting: '{"open":"waitingForPermit"}', attempting: `{"open":{"attempting":"${model.second === 'none' ? 'alone' : model.second}"}}`, backingOff: '{"open":"backingOff"}', settled: '"settled"' }
  expect(value).toBe(expected[model.phase])
  expect(real.started).toHaveLength(model.started)
  // Everything that was reserved is settled, once, but what is under way.
  const reserved = real.told.filter(({ type }) => type === 'call.reserve').map(({ id }) => id)
  const settled = real.told.filter(({ type }) => type === 'call.settle').map(({ id }) => id)
  expect(new Set(reserved).size).toBe(reserved.length)
  const open = reserved.filter((id) => !settled.includes(id))
  expect(open.length).toBe(model.phase === 'asking' || model.phase === 'waiting' ? 1 : model.phase === 'attempting' ? (model.isBeside ? 2 : 1) : 0)
  // C4: what never began costs nothing.
  for (const one of real.told) if (one.type === 'call.settle' && !real.started.some(({ attempt }) => attempt === one.id)) expect(one.cost).toEqual(nothing)
  // C1, C2
  expect(model.known).toBeLessThanOrEqual(model.max)
  expect(real.started.filter(({ attempt }) => attempt === real.secondId).length).toBe(model.seconds)
  const models = real.started.filter(({ attempt }) => attempt !== real.secondId).map((one) => one.model)
  expect(models).toEqual([...models].sort())
  if (model.phase === 'settled') {
    expect(open).toEqual([])
    // C5: what did not answer first is given up.
    expect(real.leftBehind).not.toContain(false)
    const output = real.output!
    expect({ ok: output.ok, ...(output.ok ? {} : { reason: output.reason }) }).toEqual(model.end)
    expect(output.attempts).toHaveLength(model.attempts)
    if (output.ok) {
      const number = Number((output.attempt ?? `call.${output.attempts.length}`).split('.')[1])
      expect(output.attempts.map(({ ok }) => ok)).toEqual(output.attempts.map((_, i) => i === number - 1))
      expect(output.model).toBe(output.attempts[number - 1]!.model)
    }
  }
}

class Answer implements fc.AsyncCommand<Model, Real> {
  readonly granted: boolean
  constructor(granted: boolean) {
    this.granted = granted
  }
  check = (model: Model): boolean => model.phase === 'asking'
  async run(model: Model, real: Real): Promise<void> {
    expect(real.told.findLast(({ type }) => type === 'call.reserve')).toMatchObject({ type: 'call.reserve', id: `call.${model.attempts + 1}`, worst: input.worst[model.model()] })
    real.child.send({ type: this.granted ? 'ledger.reserved' : 'ledger.refused' })
    await real.settle()
    if (this.granted && model.isPatient) {
      model.phase = 'waiting'
      expect(real.waited.at(-1)).toMatchObject({ attempt: `call.${model.attempts + 1}`, model: model.model(), isPatient: true })
    } else if (this.granted) {
      model.begin()
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
  check = (model: Model): boolean => model.isAsking
  async run(model: Model, real: Real): Promise<void> {
    real.finish(this.how === 'lacking' ? { ok: false, cost: nothing, isLacking: true } : { ok: false, cost: nothing, error: { kind: 'refused', message: 'no' }, refusal: refusal(this.how) })
    await real.settle()
    model.started--
    const id = `call.${model.attempts + 1}`
    real.started.splice(real.started.findIndex(({ attempt }) => attempt === id), 1)
    if (id === real.secondId) model.seconds--
    if (model.isMain && this.how === 'lacking') model.second = 'awaitingPermit'
    else if (model.isBeside) {
      expect(real.told.find(({ type, id: settled }) => type === 'call.settle' && settled === id)).toMatchObject({ cost: nothing })
      model.goOn(false)
    } else if (this.how === 'lacking') {
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
      // The second, which had become the call's attempt, had waited.
      if (`call.${model.attempts + 1}` === real.secondId) model.seconds++
      model.begin()
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
  check = (model: Model): boolean => model.isAsking
  async run(model: Model, real: Real): Promise<void> {
    const error = { kind: this.how === 'cut off' ? 'unknown' : 'server', message: this.how }
    const isOver = this.how === 'DEADLINE' || this.how === 'CANCELLED'
    const { isBeside } = model
    if (this.how === 'threw' || isOver) real.finish(Object.assign(new Error(this.how), isOver ? { code: this.how } : {}))
    else if (this.how === 'ok') real.finish({ ok: true, cost, response: 'yes' })
    else real.finish({ ok: false, cost: this.how === 'cut off' ? null : cost, error, retryable: this.how !== 'fatal', ...(this.how === 'later' ? { retryAfterMs: 1_000 } : this.how === 'too late' ? { retryAfterMs: 5_000 } : {}) })
    await real.settle()
    expect(real.told.filter(({ type, id }) => type === 'call.settle' && id === `call.${model.attempts + 1}`)).toHaveLength(1)
    if (this.how === 'ok') model.answered()
    else if (isBeside) model.goOn(this.how !== 'cut off')
    else {
      const retryAfterMs = this.how === 'later' ? 1_000 : this.how === 'too late' ? 5_000 : 0
      model.ended({ isKnown: this.how !== 'cut off', isOver, isRetryable: this.how !== 'fatal', retryAfterMs })
      if (this.how === 'DEADLINE' && model.end) model.end = { ok: false, reason: 'deadline' }
    }
    agree(model, real)
  }
  toString = (): string => `attempt ends: ${this.how}`
}

class EndSecond implements fc.AsyncCommand<Model, Real> {
  readonly how: 'ok' | 'retryable' | 'cut off' | 'threw' | 'lacking' | 'open'
  constructor(how: EndSecond['how']) {
    this.how = how
  }
  check = (model: Model): boolean => model.phase === 'attempting' && model.second === 'beside' && !model.isMain
  async run(model: Model, real: Real): Promise<void> {
    const { how } = this
    const isAsked = how !== 'lacking' && how !== 'open'
    if (how === 'ok') real.finish({ ok: true, cost, response: 'yes' }, true)
    else if (how === 'threw') real.finish(new Error(how), true)
    else if (how === 'lacking') real.finish({ ok: false, cost: nothing, isLacking: true }, true)
    else if (how === 'open') real.finish({ ok: false, cost: nothing, error: { kind: 'refused', message: 'no' }, refusal: refusal(how) }, true)
    else real.finish({ ok: false, cost: how === 'cut off' ? null : cost, error: { kind: how === 'cut off' ? 'unknown' : 'server', message: how }, retryable: true }, true)
    await real.settle()
    if (how === 'ok') model.answered()
    else if (how === 'lacking') model.second = 'awaitingPermit'
    else {
      model.secondOver = isAsked && how !== 'cut off'
      model.second = 'none'
    }
    expect(real.told.filter(({ type, id }) => type === 'call.settle' && id === real.secondId)).toHaveLength(how === 'lacking' ? 0 : 1)
    if (!isAsked) {
      model.started--
      model.seconds--
      real.started.splice(real.started.findIndex(({ attempt }) => attempt === real.secondId), 1)
    }
    agree(model, real)
  }
  toString = (): string => `second attempt ends: ${this.how}`
}

class PermitSecond implements fc.AsyncCommand<Model, Real> {
  readonly how: 'given' | 'open' | 'threw'
  constructor(how: PermitSecond['how']) {
    this.how = how
  }
  check = (model: Model): boolean => model.phase === 'attempting' && model.second === 'awaitingPermit'
  async run(model: Model, real: Real): Promise<void> {
    const { how } = this
    const { isMain } = model
    expect(real.waited.at(-1)).toMatchObject({ attempt: real.secondId, isPatient: false })
    if (how === 'given') real.permit({ isGiven: true })
    else if (how === 'threw') real.permit(new Error(how))
    else real.permit({ refusal: refusal(how) })
    await real.settle()
    if (how === 'given') {
      model.second = 'beside'
      model.started++
      model.seconds++
    } else {
      if (!isMain) {
        model.secondOver = how === 'threw'
        model.second = 'none'
      } else if (how === 'threw') model.ended({ isKnown: true, isOver: false, isRetryable: true, retryAfterMs: 0 })
      else model.refused('open')
      expect(real.told.find(({ type, id }) => type === 'call.settle' && id === real.secondId)).toMatchObject({ cost: nothing })
    }
    agree(model, real)
  }
  toString = (): string => `permit of the second attempt: ${this.how}`
}

class Spare implements fc.AsyncCommand<Model, Real> {
  readonly has: boolean
  constructor(has: boolean) {
    this.has = has
  }
  check = (): boolean => true
  run(model: Model, real: Real): Promise<void> {
    model.hasSpare = real.hasSpare = this.has
    return Promise.resolve()
  }
  toString = (): string => `the ledger has ${this.has ? 'some' : 'nothing'} to spare`
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
    if (model.phase === 'attempting' && model.second === 'watched' && model.secondDueAt <= model.now && model.secondDueAt < 5_000) model.beginSecond()
    if (model.phase === 'backingOff' && model.dueAt <= model.now && model.dueAt < 5_000) model.phase = 'asking'
    if (model.phase !== 'settled' && model.now >= 5_000) {
      // The attempt that was under way is on record, too.
      if (model.phase === 'attempting' || model.phase === 'waiting') model.attempts += model.secondOver === undefined ? 1 : 2
      if (model.phase === 'attempting' && model.isBeside) model.attempts++
      model.phase = 'settled'
      model.end = { ok: false, reason: 'deadline' }
    }
    agree(model, real)
  }
  toString = (): string => `${this.ms} ms pass`
}

test.each(Object.entries(hedges))(`any sequence of answers, endings and waits leads where the model says (hedge: %s, seed ${firstSeed})`, async (_, hedge) => {
  await fc.assert(
    fc.asyncProperty(
      fc.commands(
        [
          fc.constantFrom(true, true, true, true, false).map((granted) => new Answer(granted)),
          fc.constantFrom<Ending>('ok', 'retryable', 'retryable', 'fatal', 'cut off', 'cut off', 'threw', 'later', 'too late', 'DEADLINE', 'CANCELLED').map((how) => new End(how)),
          fc.constantFrom<Refused | 'lacking'>('open', 'limit', 'stopped', 'lacking', 'lacking').map((how) => new NoPermit(how)),
          fc.constantFrom<Permit['how']>('open', 'limit', 'stopped', 'given', 'given', 'given', 'threw', 'CANCELLED').map((how) => new Permit(how)),
          fc.constantFrom(50, 100, 300, 1_000, 2_500).map((ms) => new Wait(ms)),
          ...(hedge ? [fc.constantFrom<EndSecond['how']>('ok', 'retryable', 'cut off', 'threw', 'lacking', 'open').map((how) => new EndSecond(how)), fc.constantFrom<PermitSecond['how']>('given', 'given', 'open', 'threw').map((how) => new PermitSecond(how)), fc.constantFrom(true, true, false).map((has) => new Spare(has)), ...[1, 2, 3].map(() => fc.constantFrom(100, 250, 250).map((ms) => new Wait(ms))), fc.constantFrom(new Answer(true)), fc.constantFrom<Ending>('ok', 'retryable', 'cut off', 'threw').map((how) => new End(how))] : []),
        ],
        { maxCommands: 30 },
      ),
      async (commands) => fc.asyncModelRun(() => ({ model: new Model(hedge), real: new Real(hedge) }), commands),
    ),
    { seed: firstSeed, numRuns: runs },
  )
})

test('a call that crashes cut off goes on: they are no failures of the model, up to a hundred of them', async () => {
  const real = new Real(undefined)
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

test.each(['the first answers', 'the deadline comes'])('a second attempt whose permit is still waited for has cost nothing when %s', async (what) => {
  const real = new Real(hedges.next)
  real.child.send({ type: 'ledger.reserved' })
  await real.settle()
  real.clock.increment(200)
  await real.settle()
  real.finish({ ok: false, cost: nothing, isLacking: true }, true)
  await real.settle()
  if (what === 'the first answers') real.finish({ ok: true, cost, response: 'yes' })
  else real.clock.increment(5_000)
  await real.settle()
  expect(real.told.filter(({ type }) => type === 'call.settle').map((one) => [one.id, (one as { cost: unknown }).cost]).slice(0, 2)).toEqual([['call.1', what === 'the first answers' ? cost : null], ['call.2', nothing]])
  expect(real.output).toMatchObject({ ok: what === 'the first answers', attempts: [{}, { cost: nothing }] })
})

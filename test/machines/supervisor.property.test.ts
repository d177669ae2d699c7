/** The supervisor on the real runtime against a small model of itself: one_for_one, transient children, bulkhead, kills. The rest of OTP's table stands in supervisor-otp.test.ts. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { assign, setup } from 'xstate'
import { supervisorMachine, type SupervisorContext, type SupervisorOutput } from '../../src/machines/supervisor.machine.js'
import { World } from '../../src/testing/index.js'
import { extent, firstSeed } from '../support/extent.js'

const runs = extent(60)

const worker = setup({
  types: { context: {} as { n: number }, events: {} as { type: 'add' } | { type: 'bad' } | { type: 'end' }, input: {} as unknown },
  actions: {
    add: assign({ n: ({ context }) => context.n + 1 }),
    bad: assign(() => {
      throw new Error('bad')
    }),
  },
}).createMachine({
  id: 'worker',
  context: { n: 0 },
  initial: 'on',
  output: ({ context }) => context.n,
  states: { on: { on: { add: { actions: 'add' }, bad: { actions: 'bad' }, end: 'off' } }, off: { type: 'final' } },
})

const options = { workingMax: 2, waitingMax: 2, restartsMax: 3, periodMs: 10_000, backoff: { firstMs: 100, factor: 2, maxMs: 1_000, jitter: 0 } }

interface Model {
  readonly children: Map<string, { state: 'waiting' | 'working' | 'yielding' | 'backingOff'; restarts: number; dueAt: number; n: number; yields: boolean }>
  restarts: number[]
  ended: 'no' | 'halted' | 'escalated'
  now: number
}

class Real {
  readonly world = new World({ machines: [supervisorMachine, worker], shards: 1 })
  readonly supervisor = () => this.world.system.actor(supervisorMachine, 's')
  async start(): Promise<this> {
    await this.world.start()
    await this.supervisor().start({ input: options })
    await this.world.settled()
    return this
  }
  async tell(event: object): Promise<void> {
    await this.supervisor().send(event as never).catch(() => {})
    await this.world.settled()
  }
  async tellChild(id: string, type: 'bad' | 'end' | 'add'): Promise<void> {
    await this.world.system.actorAt(`worker/s~${id}`).send({ type } as never)
    await this.world.settled()
  }
}

const places = (model: Model): number => [...model.children.values()].filter(({ state, yields }) => !yields && (state === 'working' || state === 'backingOff')).length
const waiting = (model: Model): [string, { state: string }][] => [...model.children].filter(([, child]) => child.state === 'waiting')
function admitNext(model: Model): void {
  for (let next = waiting(model)[0]; next && places(model) < options.workingMax; next = waiting(model)[0]) model.children.get(next[0])!.state = 'working'
}

async function agree(model: Model, real: Real): Promise<void> {
  const status = await real.supervisor().status()
  if (model.ended !== 'no') {
    expect(status).toBe('done')
    const output = (await real.supervisor().output()) as SupervisorOutput
    expect(output.escalated).toBe(model.ended === 'escalated')
    for (const { address, status } of (await real.world.system.find({ machine: 'worker' })).actors) expect(status, address).not.toBe('active')
    return
  }
  const context = (await real.supervisor().snapshot())!.context as SupervisorContext
  expect(context.wards.map(({ spec, state, restarts }) => [spec.id, state, restarts])).toEqual([...model.children].map(([id, { state, restarts }]) => [id, state, restarts]))
  for (const [id, { state, n }] of model.children) {
    const child = real.world.system.actorAt(`worker/s~${id}`)
    const expected = state === 'waiting' ? undefined : state === 'backingOff' ? 'failed' : 'active'
    // An id that is used again has the record of before until it is started.
    if (expected !== undefined) expect(await child.status(), id).toBe(expected)
    if (expected === 'active') expect(((await child.snapshot()) as unknown as { context: { n: number } }).context.n).toBe(n)
  }
}

type Command = fc.AsyncCommand<Model, Real>

class Request implements Command {
  readonly id: string
  constructor(id: string) {
    this.id = id
  }
  check = (model: Readonly<Model>): boolean => model.ended === 'no'
  async run(model: Model, real: Real): Promise<void> {
    if (!model.children.has(this.id)) {
      const room = places(model) < options.workingMax
      if (room || waiting(model).length < options.waitingMax) model.children.set(this.id, { state: room ? 'working' : 'waiting', restarts: 0, dueAt: 0, n: 0, yields: false })
    }
    await real.tell({ type: 'child.request', child: { id: this.id, machine: 'worker' } })
    await agree(model, real)
  }
  toString = (): string => `request ${this.id}`
}

class OfChild implements Command {
  readonly what: 'add' | 'end' | 'fail' | 'dismiss' | 'yield'
  readonly id: string
  constructor(what: OfChild['what'], id: string) {
    this.what = what
    this.id = id
  }
  check = (model: Readonly<Model>): boolean => {
    const state = model.children.get(this.id)?.state
    return model.ended === 'no' && state !== undefined && (this.what === 'dismiss' || this.what === 'yield' || state === 'working' || state === 'yielding')
  }
  async run(model: Model, real: Real): Promise<void> {
    const child = model.children.get(this.id)!
    switch (this.what) {
      case 'add':
        child.n++
        await real.tellChild(this.id, 'add')
        break
      case 'end':
        model.children.delete(this.id)
        admitNext(model)
        await real.tellChild(this.id, 'end')
        break
      case 'dismiss':
        model.children.delete(this.id)
        if (child.state !== 'waiting') admitNext(model)
        await real.tell({ type: 'child.dismiss', id: this.id })
        break
      case 'yield':
        if (child.state === 'working') {
          child.state = 'yielding'
          child.yields = true
          admitNext(model)
        }
        await real.tell({ type: 'child.yield', id: this.id })
        break
      case 'fail': {
        model.restarts = model.restarts.filter((at) => at > model.now - options.periodMs)
        if (model.restarts.length >= options.restartsMax) {
          model.ended = 'escalated'
        } else {
          model.restarts.push(model.now)
          child.restarts++
          child.state = 'backingOff'
          child.dueAt = model.now + Math.min(1_000, 100 * 2 ** (child.restarts - 1))
        }
        await real.tellChild(this.id, 'bad')
      }
    }
    await agree(model, real)
  }
  toString = (): string => `${this.what} ${this.id}`
}

class Pass implements Command {
  readonly ms: number
  constructor(ms: number) {
    this.ms = ms
  }
  check = (): boolean => true
  async run(model: Model, real: Real): Promise<void> {
    model.now += this.ms
    for (const child of model.children.values()) if (child.state === 'backingOff' && child.dueAt <= model.now) child.state = child.yields ? 'yielding' : 'working'
    await real.world.advance(this.ms)
    await agree(model, real)
  }
  toString = (): string => `pass ${this.ms} ms`
}

class Crash implements Command {
  check = (): boolean => true
  async run(model: Model, real: Real): Promise<void> {
    real.world.crash()
    await real.world.start()
    await real.world.settled()
    await agree(model, real)
  }
  toString = (): string => 'crash'
}

class Halt implements Command {
  check = (model: Readonly<Model>): boolean => model.ended === 'no'
  async run(model: Model, real: Real): Promise<void> {
    model.ended = 'halted'
    await real.tell({ type: 'halt' })
    await agree(model, real)
  }
  toString = (): string => 'halt'
}

test(`the supervisor does what its model does (seed ${firstSeed}, ${runs} runs)`, async () => {
  const id = fc.constantFrom('a', 'b', 'c', 'd', 'e')
  const commands = fc.commands(
    [
      id.map((i) => new Request(i)),
      fc.tuple(fc.constantFrom('add', 'end', 'fail', 'fail', 'dismiss', 'yield' as const), id).map(([what, i]) => new OfChild(what as OfChild['what'], i)),
      fc.constantFrom(1, 99, 100, 350, 5_000, 20_000).map((ms) => new Pass(ms)),
      fc.constant(new Crash()),
      fc.record({ often: fc.nat(20) }).map(({ often }) => (often === 0 ? new Halt() : new Pass(0))),
    ],
    { maxCommands: 40, size: 'max' },
  )
  await fc.assert(
    fc.asyncProperty(commands, async (sequence) => {
      const real = await new Real().start()
      const now = real.world.now()
      await fc.asyncModelRun(() => ({ model: { children: new Map(), restarts: [], ended: 'no', now } as Model, real }), sequence)
      await real.world.system.stop()
    }),
    { numRuns: runs, seed: firstSeed },
  )
}, 300_000)

// ── OTP's table: one_for_one, transient ──

describe.each([
  ['normal', 'end', 'done', false],
  ['shutdown', 'dismiss', 'stopped', false],
  ['abnormal', 'bad', 'active', true],
] as const)('one_for_one, a transient child, %s', (_, how, status, restarted) => {
  test(`is ${restarted ? '' : 'not '}restarted, and its siblings do not notice`, async () => {
    const real = await new Real().start()
    for (const id of ['a', 'b']) await real.tell({ type: 'child.request', child: { id, machine: 'worker' } })
    for (const id of ['a', 'b']) await real.tellChild(id, 'add')
    if (how === 'dismiss') await real.tell({ type: 'child.dismiss', id: 'a' })
    else await real.tellChild('a', how)
    await real.world.advance(60_000)
    expect(await real.world.system.actorAt('worker/s~a').status()).toBe(status)
    expect(await real.world.system.actorAt('worker/s~b').status()).toBe('active')
    expect(((await real.world.system.actorAt('worker/s~b').snapshot()) as unknown as { context: { n: number } }).context.n).toBe(1)
    expect(((await real.supervisor().snapshot())!.context as SupervisorContext).wards.some(({ spec }) => spec.id === 'a')).toBe(restarted)
  })
})

test.each(['snapshot', 'input'] as const)('a restart from its %s begins there', async (from) => {
  const real = await new Real().start()
  await real.tell({ type: 'child.request', child: { id: 'a', machine: 'worker', from } })
  await real.tellChild('a', 'add')
  await real.tellChild('a', 'bad')
  await real.world.advance(100)
  expect(((await real.world.system.actorAt('worker/s~a').snapshot()) as unknown as { context: { n: number } }).context.n).toBe(from === 'snapshot' ? 1 : 0)
})

test('intensity is counted over process restarts, and what has left the period counts no more (I8)', async () => {
  const failing = async (real: Real, times: number, crash: boolean): Promise<string | undefined> => {
    await real.tell({ type: 'child.request', child: { id: 'a', machine: 'worker' } })
    for (let i = 0; i < times; i++) {
      await real.tellChild('a', 'bad')
      if (crash) {
        real.world.crash()
        await real.world.start()
      }
      await real.world.advance(1_000)
    }
    return real.supervisor().status()
  }
  expect(await failing(await new Real().start(), 3, true)).toBe('active')
  expect(await failing(await new Real().start(), 4, true)).toBe('done')
  const slow = await new Real().start()
  expect(await failing(slow, 3, false)).toBe('active')
  await slow.world.advance(10_000)
  await slow.tellChild('a', 'bad')
  expect(await slow.supervisor().status()).toBe('active')
})

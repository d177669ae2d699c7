/** Asks: their deadline travels with what is begun for them, and who goes away takes what was begun for it along. */
import { expect, test } from 'vitest'
import { assign, setup, type AnyStateMachine } from 'xstate'
import { durableChild, external, fromAsk, isHoldfastError, repeatable, reply, restartDurableChild, stopDurableChild, type ActorSystem, type ChildFact, type EffectArgs, type ReplyToken } from '../../src/index.js'
import { parseAddress, shardOf } from '../../src/runtime/identity.js'
import { withBegun, type OpenAsks } from '../../src/runtime/open-asks.js'
import { crashTest, type World } from '../../src/testing/index.js'
import { aWorld } from '../support/worlds.js'

/** What effects say of themselves, in order. */
class Bench {
  readonly log: string[] = []
  world!: World

  /** An effect that takes so long unless it is aborted. */
  work(name: string, ms: number) {
    return repeatable<string, unknown>(({ signal, attempt, idempotencyKey }) => this.run(name, ms, signal, attempt, idempotencyKey))
  }
  pay(name: string, ms: number, reconcile?: () => { happened: boolean }) {
    return external<string, unknown>({
      run: ({ signal, attempt, idempotencyKey }: EffectArgs<unknown>) => this.run(name, ms, signal, attempt, idempotencyKey),
      ...(reconcile ? { reconcile: async () => (reconcile().happened ? { happened: true, output: `${name} had happened` } : { happened: false }) } : {}),
    })
  }
  private async run(name: string, ms: number, signal: AbortSignal, attempt: number, key: string): Promise<string> {
    const at = (): string => `${this.world.now() - 1_000_000}`
    this.log.push(`${name} begins${attempt > 1 ? ` again` : ''} at ${at()}`)
    signal.addEventListener('abort', () => {
      const reason: unknown = signal.reason
      this.log.push(`${name} aborted at ${at()}: ${isHoldfastError(reason) ? reason.code : String(reason)}`)
    })
    await this.world.sleep(ms, key)
    if (!signal.aborted) this.log.push(`${name} ends at ${at()}`)
    return `${name} done`
  }

  async begin(machines: AnyStateMachine[], more: object = {}): Promise<World> {
    return (this.world = await aWorld({ machines, shards: 4, ...more }))
  }
}

/** Works for whoever asks: first, then second, and answers; undoes what it did if it cannot. */
function worker(bench: Bench, { first = bench.work('first', 100), second = bench.work('second', 100), id = 'worker', after = 0 } = {}) {
  return setup({
    types: { context: {} as { token: ReplyToken | undefined; error: unknown }, events: {} as { type: 'do'; replyToken?: ReplyToken } | { type: 'accept' } | { type: 'leave' } },
    actors: { first, second, undo: bench.work('undo', 10) },
    actions: {
      keep: assign({ token: ({ event }) => (event.type === 'do' ? event.replyToken : undefined) }),
      note: assign({ error: ({ event }) => (event as { error?: unknown }).error }),
      accept: reply(() => 'accepted', ({ context }) => context.token!),
      answer: reply(() => 'answer', ({ context }) => context.token!),
    },
    delays: { after },
  }).createMachine({
    id,
    context: { token: undefined, error: undefined },
    initial: 'idle',
    on: { accept: { actions: 'accept' }, leave: '.idle' },
    states: {
      idle: { on: { do: { target: 'first', actions: 'keep' } } },
      first: { invoke: { src: 'first', id: 'first', onDone: 'between', onError: { target: 'undoing', actions: 'note' } } },
      between: { after: { after: 'second' } },
      second: { invoke: { src: 'second', id: 'second', onDone: { target: 'idle', actions: 'answer' }, onError: { target: 'undoing', actions: 'note' } } },
      undoing: { invoke: { src: 'undo', id: 'undo', onDone: 'undone' } },
      undone: {},
    },
  })
}

/** Asks an actor on behalf of whoever asks it. */
function broker(to: string, { id = 'broker', deadlineMs = 10_000 } = {}) {
  return setup({
    types: { context: {} as { token: ReplyToken | undefined; error: unknown }, events: {} as { type: 'do'; replyToken?: ReplyToken } | { type: 'leave' } | { type: 'end' } | { type: 'bad' } },
    actors: { next: fromAsk(() => ({ to, event: { type: 'do' }, deadlineMs })) },
    actions: {
      keep: assign({ token: ({ event }) => (event.type === 'do' ? event.replyToken : undefined) }),
      note: assign({ error: ({ event }) => (event as { error?: unknown }).error }),
      answer: reply(({ event }) => (event as { output?: unknown }).output, ({ context }) => context.token!),
      fail: assign(() => {
        throw new Error('as asked')
      }),
    },
  }).createMachine({
    id,
    context: { token: undefined, error: undefined },
    initial: 'idle',
    on: { end: '.over', bad: { actions: 'fail' } },
    states: {
      idle: { on: { do: 'asking' } },
      asking: {
        entry: 'keep',
        on: { leave: 'idle' },
        invoke: { src: 'next', id: 'next', onDone: { target: 'idle', actions: 'answer' }, onError: { target: 'idle', actions: 'note' } },
      },
      over: { type: 'final' },
    },
  })
}

/** What is stored of asks, and what is still due. */
async function leftOf(world: World, ...addresses: string[]): Promise<string[]> {
  const left: string[] = []
  for (const address of addresses) {
    const [stored] = await world.store.load(shardOf(parseAddress(address), 4), [address])
    for (const name of stored?.fields.keys() ?? []) if (/^[at]/.test(name)) left.push(`${address} ${name} ${stored!.fields.get(name)!.slice(8)}`)
  }
  return left
}

const codeOf = (promise: Promise<unknown>): Promise<unknown> => promise.then(() => 'answered', (error: unknown) => (error as { code?: string }).code ?? error)

test('what is begun for an ask ends with its deadline, also what follows it; the machine is told, and may undo what it did', async () => {
  const bench = new Bench()
  const machine = worker(bench)
  const world = await bench.begin([machine])
  const asked = codeOf(world.system.actor(machine, 'w').ask({ type: 'do' }, { deadlineMs: 150 }))
  await world.advance(500)
  expect(await asked).toBe('DEADLINE')
  expect(bench.log).toEqual(['first begins at 0', 'first ends at 100', 'second begins at 100', 'second aborted at 150: DEADLINE', 'undo begins at 150', 'undo ends at 160'])
  const snapshot = await world.system.actor(machine, 'w').snapshot()
  expect(snapshot?.value).toBe('undone')
  expect(snapshot?.context.error).toMatchObject({ name: 'DeadlineError', code: 'DEADLINE', message: 'The answer of worker/w for which "second" was begun did not happen within 50 ms.' })
  expect(await leftOf(world, 'worker/w')).toEqual([])
})

test('the deadline and the end of an ask reach whoever is asked further on, over shards', async () => {
  const bench = new Bench()
  const machine = worker(bench)
  const inner = broker('worker/w', { id: 'inner' })
  const outer = broker('inner/i', { id: 'outer' })
  const world = await bench.begin([machine, inner, outer])
  const asked = codeOf(world.system.actor(outer, 'o').ask({ type: 'do' }, { deadlineMs: 150 }))
  await world.advance(500)
  expect(await asked).toBe('DEADLINE')
  expect(bench.log.slice(0, 4)).toEqual(['first begins at 0', 'first ends at 100', 'second begins at 100', 'second aborted at 150: DEADLINE'])
  for (const actor of [world.system.actor(outer, 'o'), world.system.actor(inner, 'i')]) expect((await actor.snapshot())?.context.error).toMatchObject({ code: 'DEADLINE' })
  expect(await leftOf(world, 'worker/w', 'inner/i', 'outer/o')).toEqual([])
})

test('an ask of its own deadline ends by that, and whoever asked goes on for the ask that it serves', async () => {
  const bench = new Bench()
  const machine = worker(bench)
  const impatient = setup({
    types: { context: {} as { token: ReplyToken | undefined; error: unknown }, events: {} as { type: 'do'; replyToken?: ReplyToken } },
    actors: { next: fromAsk(() => ({ to: 'worker/w', event: { type: 'do' }, deadlineMs: 50 })), other: bench.work('other', 1_000) },
    actions: { keep: assign({ token: ({ event }) => event.replyToken }) },
  }).createMachine({
    id: 'impatient',
    context: { token: undefined, error: undefined },
    initial: 'idle',
    states: { idle: { on: { do: 'asking' } }, asking: { entry: 'keep', invoke: { src: 'next', onDone: 'idle', onError: 'other' } }, other: { invoke: { src: 'other', onDone: 'idle', onError: { target: 'late', actions: assign({ error: ({ event }) => event.error }) } } }, late: {} },
  })
  const world = await bench.begin([machine, impatient])
  const asked = codeOf(world.system.actor(impatient, 'i').ask({ type: 'do' }, { deadlineMs: 120 }))
  await world.advance(500)
  expect(await asked).toBe('DEADLINE')
  expect(bench.log).toEqual(['first begins at 0', 'first aborted at 50: DEADLINE', 'undo begins at 50', 'other begins at 50', 'undo ends at 60', 'other aborted at 120: DEADLINE'].toSorted((a, b) => Number(/at (\d+)/.exec(a)![1]) - Number(/at (\d+)/.exec(b)![1])))
})

test('a client that cancels rejects with the reason, and what was begun for it ends at once, over shards', async () => {
  const bench = new Bench()
  const machine = worker(bench)
  const inner = broker('worker/w')
  const world = await bench.begin([machine, inner])
  const cancel = new AbortController()
  const asked = codeOf(world.system.actor(inner, 'b').ask({ type: 'do' }, { signal: cancel.signal }))
  await world.advance(30)
  cancel.abort('enough')
  await world.advance(500)
  expect(await asked).toBe('enough')
  expect(bench.log).toEqual(['first begins at 0', 'first aborted at 30: CANCELLED', 'undo begins at 30', 'undo ends at 40'])
  expect((await world.system.actor(inner, 'b').snapshot())?.context.error).toMatchObject({ name: 'CancelledError', code: 'CANCELLED', message: 'The ask was cancelled by the client that asked broker/b.' })
  expect((await world.system.actor(machine, 'w').snapshot())?.context.error).toMatchObject({ code: 'CANCELLED', message: 'The ask was cancelled: broker/b waits for no answer any more.' })
  expect(await leftOf(world, 'worker/w', 'broker/b')).toEqual([])
})

test.each([
  ['leaves the state', (world: World) => world.system.actorAt('broker/b').send({ type: 'leave' } as never)],
  ['is done', (world: World) => world.system.actorAt('broker/b').send({ type: 'end' } as never)],
  ['is stopped', (world: World) => world.system.actorAt('broker/b').stop()],
  ['fails', (world: World) => world.system.actorAt('broker/b').send({ type: 'bad' } as never)],
])('when the actor that asked %s, what was begun for it ends, also if the process dies over it', async (_, goAway) => {
  for (const dies of [false, true]) {
    const bench = new Bench()
    const machine = worker(bench)
    const inner = broker('worker/w')
    let delivering = false
    const world = await bench.begin([machine, inner], { onWrite: ({ kind }: { kind: string }) => (delivering && kind === 'deliver' ? ((delivering = false), 'kill-before') : undefined) })
    await world.system.actor(inner, 'b').send({ type: 'do' })
    await world.advance(30)
    delivering = dies
    await goAway(world).catch(() => {})
    if (dies) {
      await world.died
      await world.start()
    }
    await world.advance(500)
    expect(bench.log.filter((line) => !line.includes('undo'))).toEqual(['first begins at 0', ...(dies ? ['first begins again at 30'] : []), 'first aborted at 30: CANCELLED'])
    expect(await leftOf(world, 'worker/w')).toEqual([])
  }
})

test('an ask that is answered is over: what was begun for it goes on as the machine’s own', async () => {
  const bench = new Bench()
  const machine = worker(bench)
  const world = await bench.begin([machine])
  const asked = codeOf(world.system.actor(machine, 'w').ask({ type: 'do' }, { deadlineMs: 50 }))
  await world.advance(20)
  await world.system.actor(machine, 'w').send({ type: 'accept' })
  await world.settled()
  expect(await asked).toBe('answered')
  expect(await leftOf(world, 'worker/w')).toEqual([])
  await world.advance(500)
  expect(bench.log).toEqual(['first begins at 0', 'first ends at 100', 'second begins at 100', 'second ends at 200'])
})

test('a delayed event set for an ask is for it, too: what it begins when the ask is over is never begun', async () => {
  const bench = new Bench()
  const machine = worker(bench, { after: 100 })
  const world = await bench.begin([machine])
  const asked = codeOf(world.system.actor(machine, 'w').ask({ type: 'do' }, { deadlineMs: 150 }))
  await world.advance(500)
  expect(await asked).toBe('DEADLINE')
  expect(bench.log).toEqual(['first begins at 0', 'first ends at 100', 'undo begins at 200', 'undo ends at 210'])
  expect(await leftOf(world, 'worker/w')).toEqual([])
  // Cancelled while it waits.
  const cancel = new AbortController()
  const other = codeOf(world.system.actor(machine, 'v').ask({ type: 'do' }, { signal: cancel.signal }))
  await world.advance(150)
  cancel.abort()
  await world.advance(500)
  await other
  expect((await world.system.actor(machine, 'v').snapshot())?.context.error).toMatchObject({ code: 'CANCELLED' })
  expect(bench.log.filter((line) => line.startsWith('second'))).toEqual([])
  expect(await leftOf(world, 'worker/v')).toEqual([])
})

test('an external action is not cut in half: it ends by itself, what follows is cut off, and one that comes too late is not begun', async () => {
  const bench = new Bench()
  const machine = worker(bench, { first: bench.pay('pay', 100) })
  const late = worker(bench, { second: bench.pay('late', 100), after: 100, id: 'late' })
  const world = await bench.begin([machine, late])
  const cancel = new AbortController()
  const asked = [world.system.actor(machine, 'w').ask({ type: 'do' }, { deadlineMs: 50 }), world.system.actor(machine, 'v').ask({ type: 'do' }, { signal: cancel.signal }), world.system.actor(late, 'l').ask({ type: 'do' }, { deadlineMs: 150 })].map(codeOf)
  await world.advance(30)
  cancel.abort('enough')
  await world.advance(500)
  expect(await Promise.all(asked)).toEqual(['DEADLINE', 'enough', 'DEADLINE'])
  expect(bench.log.filter((line) => /^(?:pay|second|late)/.test(line))).toEqual(['pay begins at 0', 'pay begins at 0', 'pay ends at 100', 'pay ends at 100'])
  expect(bench.log.filter((line) => line.startsWith('undo begins'))).toEqual(['undo begins at 100', 'undo begins at 100', 'undo begins at 200'])
  expect((await world.system.actor(machine, 'w').snapshot())?.context.error).toMatchObject({ code: 'DEADLINE' })
  expect((await world.system.actor(machine, 'v').snapshot())?.context.error).toMatchObject({ code: 'CANCELLED' })
})

test.each([true, false])('an external action that a crash cut off is reconciled, though its ask is over (it had happened: %s)', async (happened) => {
  const bench = new Bench()
  const machine = worker(bench, { first: bench.pay('pay', 100, () => ({ happened })) })
  const world = await bench.begin([machine])
  void codeOf(world.system.actor(machine, 'w').ask({ type: 'do' }, { deadlineMs: 50 }))
  await world.advance(20)
  world.crash()
  world.time.runUntil(world.time.now() + 100)
  await world.start()
  await world.advance(500)
  expect(bench.log.filter((line) => !line.startsWith('undo'))).toEqual(['pay begins at 0', ...(happened ? [] : ['pay begins again at 120', 'pay ends at 120'])])
  expect((await world.system.actor(machine, 'w').snapshot())?.value).toBe('undone')
})

test('an effect whose deadline passed while nobody ran it is not begun again', async () => {
  const bench = new Bench()
  const machine = worker(bench)
  const world = await bench.begin([machine])
  void codeOf(world.system.actor(machine, 'w').ask({ type: 'do' }, { deadlineMs: 50 }))
  await world.advance(20)
  world.crash()
  await world.start()
  world.crash()
  world.time.runUntil(world.time.now() + 100)
  await world.start()
  await world.advance(500)
  expect(bench.log).toEqual(['first begins at 0', 'first begins again at 20', 'undo begins at 120', 'undo ends at 130'])
})

test('an ask that is cancelled or late before its turn has none, and says so', async () => {
  const bench = new Bench()
  const machine = worker(bench)
  const world = await bench.begin([machine])
  const actor = world.system.actor(machine, 'w')
  const cancel = new AbortController()
  const one = codeOf(actor.ask({ type: 'do' }, { signal: cancel.signal, id: 'q' }))
  cancel.abort('enough')
  const other = codeOf(actor.ask({ type: 'do' }, { id: 'q' }))
  await world.settled()
  expect(await Promise.all([one, other])).toEqual(['enough', 'CANCELLED'])
  expect(await actor.status()).toBeUndefined()
  expect((await world.system.deadLetters({ key: 'w', reason: 'cancelled' })).letters.map(({ reason, detail }) => [reason, detail])).toEqual([['cancelled', expect.stringContaining('was cancelled before worker/w could handle it')]])
  // Nobody waits for it: only who says so has it done all the same.
  expect(await world.system.redriveDeadLetters({ key: 'w' })).toEqual({ redriven: 0, full: 0, gone: 0 })
  await world.settled()
  expect(bench.log).toEqual([])
  expect(await world.system.redriveDeadLetters({ key: 'w', reason: 'cancelled' })).toEqual({ redriven: 1, full: 0, gone: 0 })
})

test('an ask that is parked when it is cancelled has no turn once its actor can take messages again', async () => {
  const bench = new Bench()
  const world = await bench.begin([worker(bench), broker('worker/w'), chief])
  const child = world.system.actorAt('broker/c~b')
  await world.system.actor(chief, 'c').send({ type: 'hire' })
  await world.settled()
  await child.send({ type: 'bad' } as never)
  const cancel = new AbortController()
  const asked = [codeOf(child.ask({ type: 'do' } as never, { signal: cancel.signal })), codeOf(child.ask({ type: 'do' } as never, { deadlineMs: 50 }))]
  await world.settled()
  cancel.abort('enough')
  await world.advance(100)
  expect(await Promise.all(asked)).toEqual(['enough', 'DEADLINE'])
  world.crash()
  await world.start()
  await world.system.actor(chief, 'c').send({ type: 'resume' })
  await world.advance(500)
  expect((await world.system.actorAt('broker/c~b').snapshot())?.value).toBe('idle')
  expect(bench.log).toEqual([])
  expect((await world.system.deadLetters({ key: 'c' })).letters.map(({ reason }) => reason)).toEqual(['cancelled', 'expired'])
})

test('an invoke of an ask that is over and handles no error fails its machine, as any rejection does', async () => {
  const bench = new Bench()
  const machine = setup({ actors: { job: bench.work('job', 100) } }).createMachine({ id: 'm', initial: 'idle', states: { idle: { on: { do: 'working' } }, working: { invoke: { src: 'job', id: 'job', onDone: 'idle' } } } })
  const world = await bench.begin([machine])
  void codeOf(world.system.actor(machine, 'm').ask({ type: 'do' }, { deadlineMs: 50 }))
  await world.advance(500)
  expect((await world.system.actor(machine, 'm').failure())?.error).toMatchObject({ code: 'DEADLINE' })
  expect(bench.log).toEqual(['job begins at 0', 'job aborted at 50: CANCELLED'])
})

/** Has a durable child work for whoever asks, and sums up what it brings. */
function boss(bench: Bench) {
  return setup({
    types: { context: {} as { token: ReplyToken | undefined; error: unknown }, events: {} as { type: 'do'; replyToken?: ReplyToken } | { type: 'accept' } | ChildFact },
    actors: { sum: bench.work('sum', 100) },
    actions: {
      keep: assign({ token: ({ event }) => (event.type === 'do' ? event.replyToken : undefined) }),
      hire: durableChild(() => ({ machine: 'hand', id: 'h' })),
      accept: reply(() => 'accepted', ({ context }) => context.token!),
      note: assign({ error: ({ event }) => (event as { error?: unknown }).error }),
    },
  }).createMachine({
    id: 'boss',
    context: { token: undefined, error: undefined },
    initial: 'idle',
    on: { accept: { actions: 'accept' } },
    states: {
      idle: { on: { do: { target: 'waiting', actions: ['keep', 'hire'] } } },
      waiting: { on: { 'child.stopped': 'summing' } },
      summing: { invoke: { src: 'sum', id: 'sum', onDone: 'idle', onError: { target: 'idle', actions: 'note' } } },
    },
  })
}

function hand(bench: Bench) {
  return setup({ actors: { toil: bench.work('toil', 100) } }).createMachine({ id: 'hand', initial: 'toiling', states: { toiling: { invoke: { src: 'toil', id: 'toil', onDone: 'over', onError: 'over' } }, over: { type: 'final' } } })
}

test.each([
  ['its deadline passes while the child works', 50, undefined, ['toil begins at 0', 'toil aborted at 50: DEADLINE']],
  ['its deadline passes while its parent sums up', 150, undefined, ['toil begins at 0', 'toil ends at 100', 'sum begins at 100', 'sum aborted at 150: DEADLINE']],
  ['it is cancelled while the child works', 1_000, 'cancel', ['toil begins at 0', 'toil aborted at 30: CANCELLED']],
  ['it is answered while the child works', 50, 'accept', ['toil begins at 0', 'toil ends at 100', 'sum begins at 100', 'sum ends at 200']],
] as const)('a durable child works for the ask that it was started for: %s', async (_, deadlineMs, then, log) => {
  for (const dies of [false, true]) {
    const bench = new Bench()
    const machines = [boss(bench), hand(bench)]
    const world = await bench.begin(machines)
    const cancel = new AbortController()
    const asked = codeOf(world.system.actorAt('boss/b').ask({ type: 'do' } as never, { deadlineMs, signal: cancel.signal }))
    await world.advance(30)
    if (then === 'cancel') cancel.abort()
    if (then === 'accept') await world.system.actorAt('boss/b').send({ type: 'accept' } as never)
    await world.settled()
    if (dies) {
      world.crash()
      await world.start()
    }
    await world.advance(500)
    if (!dies) await asked
    expect(bench.log.filter((line) => !line.includes('again'))).toEqual(log)
    expect(await leftOf(world, 'boss/b', 'hand/b~h')).toEqual([])
  }
})

test('a deadline that is none is refused, in a chart and in a call', async () => {
  const bench = new Bench()
  const never = broker('worker/w', { deadlineMs: Infinity })
  const world = await bench.begin([never])
  await world.system.actor(never, 'n').send({ type: 'do' })
  await world.settled()
  expect((await world.system.actor(never, 'n').failure())?.error).toMatchObject({ code: 'TURN', message: expect.stringContaining('has a deadline of Infinity: use 0 to 31622400000 ms') })
  await expect(world.system.actor(never, 'm').ask({ type: 'do' }, { deadlineMs: Infinity })).rejects.toMatchObject({ code: 'CONFIG' })
  await expect(world.system.actor(never, 'm').ask({ type: 'do' }, { signal: 'soon' as never })).rejects.toMatchObject({ code: 'CONFIG' })
  expect(await world.system.actor(never, 'm').status()).toBeUndefined()
})

test('a turn that answers begins what it begins as the machine’s own', async () => {
  const bench = new Bench()
  const machine = setup({ actors: { job: bench.work('job', 100) }, actions: { accept: reply(() => 'accepted'), hire: durableChild(() => ({ machine: 'hand', id: 'h' })) } }).createMachine({
    id: 'quick',
    initial: 'idle',
    states: { idle: { on: { do: { target: 'working', actions: ['accept', 'hire'] } } }, working: { invoke: { src: 'job', id: 'job' }, after: { 60: 'later' } }, later: { invoke: { src: 'job', id: 'more', onDone: 'idle' } } },
  })
  const world = await bench.begin([machine, hand(bench)])
  expect(await world.system.actor(machine, 'm').ask({ type: 'do' }, { deadlineMs: 50 })).toBe('accepted')
  await world.advance(500)
  expect(bench.log).toEqual(['job begins at 0', 'toil begins at 0', 'job aborted at 60: CANCELLED', 'job begins at 60', 'toil ends at 100', 'job ends at 160'])
})

/** Hires a broker, and does with it what it is told. */
const chief = setup({
  types: { events: {} as { type: 'hire' } | { type: 'fire' } | { type: 'resume' } | { type: 'again' } | { type: 'begin' } | { type: 'break' } | ChildFact },
  actions: {
    hire: durableChild(() => ({ machine: 'broker', id: 'b' })),
    fire: stopDurableChild(() => ({ machine: 'broker', id: 'b' })),
    resume: restartDurableChild(() => ({ machine: 'broker', id: 'b', from: 'snapshot' as const })),
    again: restartDurableChild(() => ({ machine: 'broker', id: 'b', from: 'input' as const })),
  },
}).createMachine({ id: 'chief', on: { hire: { actions: 'hire' }, fire: { actions: 'fire' }, resume: { actions: 'resume' }, again: { actions: 'again' } } })

test.each([
  ['resume', 'is taken up again, and hears the answer', 'first ends at 100'],
  ['fire', 'is stopped', 'first aborted at 40: CANCELLED'],
  ['again', 'is begun anew', 'first aborted at 40: CANCELLED'],
] as const)('a child that fails while it waits for an answer: %s, and it %s', async (what, _, line) => {
  const bench = new Bench()
  const machine = worker(bench)
  const world = await bench.begin([machine, broker('worker/w'), chief])
  const boss = world.system.actor(chief, 'c')
  const child = world.system.actorAt('broker/c~b')
  await boss.send({ type: 'hire' })
  await world.settled()
  await child.send({ type: 'do' } as never)
  await world.advance(30)
  await child.send({ type: 'bad' } as never)
  await world.advance(10)
  expect(bench.log).toEqual(['first begins at 0'])
  await boss.send({ type: what })
  await world.advance(500)
  expect(bench.log).toContain(line)
  expect((await child.snapshot())?.value).toBe(what === 'fire' ? 'asking' : 'idle')
})

test('a child that is detached works for its parent, and not for the ask in whose turn it was started', async () => {
  const bench = new Bench()
  const machine = setup({ actions: { hire: durableChild(() => ({ machine: 'hand', id: 'h', detached: true })), again: restartDurableChild(() => ({ machine: 'hand', id: 'h', from: 'input' as const, detached: true })) } }).createMachine({ id: 'm', initial: 'idle', states: { idle: { on: { do: { target: 'waiting', actions: 'hire' } } }, waiting: { on: { do: { actions: 'again' } } } } })
  const world = await bench.begin([machine, hand(bench)])
  void codeOf(world.system.actor(machine, 'm').ask({ type: 'do' }, { deadlineMs: 50 }))
  await world.advance(20)
  void codeOf(world.system.actor(machine, 'm').ask({ type: 'do' }, { deadlineMs: 50 }))
  await world.advance(500)
  expect(bench.log).toEqual(['toil begins at 0', 'toil aborted at 20: CANCELLED', 'toil begins at 20', 'toil ends at 100'])
})

test('an actor that has ended hands on that an ask is over to the children that it has left behind', async () => {
  const bench = new Bench()
  const machine = setup({ actions: { hire: durableChild(() => ({ machine: 'hand', id: 'h' })) } }).createMachine({ id: 'm', initial: 'idle', states: { idle: { on: { do: { target: 'over', actions: 'hire' } } }, over: { type: 'final' } } })
  const world = await bench.begin([machine, hand(bench)])
  const cancel = new AbortController()
  void codeOf(world.system.actor(machine, 'm').ask({ type: 'do' }, { signal: cancel.signal }))
  await world.advance(30)
  cancel.abort()
  await world.advance(500)
  expect(bench.log).toEqual(['toil begins at 0', 'toil aborted at 30: CANCELLED'])
})

test('a turn that fails leaves nothing of the ask that it served on record', async () => {
  const bench = new Bench()
  const machine = setup({
    actors: { job: bench.work('job', 100) },
    actions: {
      fail: assign(() => {
        throw new Error('as asked')
      }),
    },
  }).createMachine({ id: 'm', initial: 'idle', states: { idle: { on: { do: 'working', bad: { actions: 'fail' } } }, working: { invoke: { src: 'job', id: 'job', onError: { target: 'idle', actions: 'fail' } } } } })
  const world = await bench.begin([machine])
  const asked = codeOf(world.system.actor(machine, 'm').ask({ type: 'do' }, { deadlineMs: 50 }))
  await world.advance(100)
  await asked
  world.crash()
  await world.start()
  expect((await world.system.actor(machine, 'm').failure())?.error.message).toBe('as asked')
  expect((await world.system.actor(machine, 'm').snapshot())?.value).toBe('working')
})

test('what a machine begins when it hears that its ask is over is not for the ask, a durable child included', async () => {
  const bench = new Bench()
  const machine = setup({ actors: { job: bench.work('job', 100) }, actions: { hire: durableChild(() => ({ machine: 'hand', id: 'h' })) } }).createMachine({
    id: 'm',
    initial: 'idle',
    states: { idle: { on: { do: 'waiting' } }, waiting: { after: { 60: 'late' } }, late: { invoke: { src: 'job', id: 'job', onError: 'undoing' } }, undoing: { entry: 'hire' } },
  })
  const world = await bench.begin([machine, hand(bench)])
  void codeOf(world.system.actor(machine, 'm').ask({ type: 'do' }, { deadlineMs: 50 }))
  await world.advance(500)
  expect(bench.log).toEqual(['toil begins at 60', 'toil ends at 160'])
})

test('what is kept of asks is bounded', () => {
  const begun = (child: string) => ({ effects: [], timers: [], children: [child] })
  let asks: OpenAsks = undefined
  for (let i = 0; i < 1_500; i++) asks = withBegun(asks, { ask: `a${i}`, by: i }, begun('m/a'))
  expect([...asks!.keys()]).toEqual(Array.from({ length: 1_000 }, (_, i) => `a${i + 500}`))
  for (let i = 0; i < 1_500; i++) asks = withBegun(asks, { ask: 'a1499', by: 0 }, begun(`m/a~${i}`))
  expect(asks!.get('a1499')!.children).toHaveLength(1_000)
  expect(asks!.size).toBe(1_000)
})

test('a late answer of a client says what is known: not whether it was accepted, that it was, or that it was not handled', async () => {
  const bench = new Bench()
  const machine = worker(bench)
  let fault: 'slow' | 'deadly' | undefined
  const world = await bench.begin([machine], { onWrite: ({ kind }: { kind: string }) => (fault === 'slow' && kind === 'append' ? { delayMs: 1_000 } : fault === 'deadly' && kind === 'commit' ? 'kill-before' : undefined) })
  const ask = (id: string): Promise<unknown> => world.system.actor(machine, id).ask({ type: 'do' }, { deadlineMs: 50, id }).catch((error: unknown) => error)
  const accepted = ask('w')
  await world.advance(100)
  expect(await accepted).toMatchObject({ name: 'DeadlineError', code: 'DEADLINE', deadlineMs: 50, known: 'accepted', message: expect.stringMatching(/^An answer of worker\/w to "do" did not happen within 50 ms\. It was accepted: /) })
  fault = 'slow'
  const unknown = ask('v')
  await new Promise<void>((resolve) => world.time.soon(resolve))
  world.time.runUntil(world.time.now() + 50)
  expect(await unknown).toMatchObject({ known: 'unknown', message: expect.stringContaining('Whether it was accepted is not known.') })
  world.time.runUntil(world.time.now() + 1_000)
  fault = undefined
  await world.advance(1_000)
  // Accepted, and not handled before its deadline: whoever asks again under its id hears of that.
  fault = 'deadly'
  void ask('u')
  await world.died
  fault = undefined
  world.time.runUntil(world.time.now() + 100)
  await world.start()
  expect(await ask('u')).toMatchObject({ name: 'DeadlineError', known: 'unhandled', message: expect.stringMatching(/nothing happened\.$/) })
  expect(await world.system.actor(machine, 'u').status()).toBeUndefined()
})

test('wherever the process is killed, asks that expire, are left, or have a child work for them come out the same', async () => {
  const bench = new Bench()
  const inner = broker('worker/w')
  const tell = (address: string) => (system: ActorSystem, id: string) => system.actorAt(address).send({ type: 'do' } as never, { id })
  const report = await crashTest(
    inner,
    {
      steps: [
        // Left while the worker is at its first call; late while a clerk is at its second; late while a child works.
        { type: 'do' },
        { advanceMs: 30 },
        { type: 'leave' },
        { advanceMs: 30 },
        tell('late/o'),
        { advanceMs: 200 },
        tell('chair/c'),
        { advanceMs: 100 },
      ],
    },
    {
      machines: [worker(bench), worker(bench, { id: 'clerk' }), broker('clerk/c', { id: 'late', deadlineMs: 150 }), broker('boss/b', { id: 'chair', deadlineMs: 50 }), boss(bench), hand(bench)],
      shards: 4,
      runs: 60,
      prepare: (world) => void (bench.world = world),
    },
  )
  const { actors, left } = report.undisturbed
  const stateOf = (address: string): unknown => (actors[address]!.snapshot as { value: unknown }).value
  expect(['worker/w', 'clerk/c', 'hand/b~h', 'boss/b'].map(stateOf)).toEqual(['undone', 'undone', 'over', 'idle'])
  const errorOf = (address: string): unknown => (actors[address]!.snapshot as { context: { error: { code: string } } }).context.error.code
  expect(['worker/w', 'clerk/c', 'late/o', 'chair/c', 'boss/b'].map(errorOf)).toEqual(['CANCELLED', 'DEADLINE', 'DEADLINE', 'DEADLINE', 'DEADLINE'])
  expect(left).toEqual([])
  expect([...report.kills.keys()]).toEqual(expect.arrayContaining(['deliver before', 'deliver after', 'commit before', 'commit after']))
}, 60_000)

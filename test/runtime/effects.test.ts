/** Effects: after the commit, journalled by their outcome, told apart by generation, aborted when their state is left. */
import { expect, test } from 'vitest'
import { assign, fromCallback, fromEventObservable, fromObservable, fromPromise, sendTo, setup } from 'xstate'
import { external, repeatable, type EffectArgs, durableChild, restartDurableChild } from '../../src/index.js'
import type { World } from '../../src/testing/index.js'
import { RecordingLogger, aWorld } from '../support/worlds.js'

test('an effect starts only after its commit, under a key that does not change', async () => {
  const runs: Pick<EffectArgs<unknown>, 'idempotencyKey' | 'attempt' | 'input'>[] = []
  let world: World
  const machine = setup({
    actors: {
      job: repeatable(async ({ idempotencyKey, attempt, input }: EffectArgs<{ n: number }>) => {
        runs.push({ idempotencyKey, attempt, input })
        await world.sleep(100)
        return 'ok'
      }),
    },
  }).createMachine({
    id: 'm',
    initial: 'a',
    states: { a: { invoke: { src: 'job', id: 'fetch', input: { n: 1 }, onDone: 'b' }, on: { again: { target: 'a', reenter: true } } }, b: {} },
  })
  world = await aWorld({ machines: [machine], namespace: 'ns' })
  await world.system.actor(machine, 'x').start({})
  expect(runs).toEqual([{ idempotencyKey: 'ns/m/x/-/fetch/1', attempt: 1, input: { n: 1 } }])
  world.crash()
  await world.start()
  world.crash()
  await world.start()
  expect(runs.slice(1).map((run) => [run.idempotencyKey, run.attempt])).toEqual([['ns/m/x/-/fetch/1', 2], ['ns/m/x/-/fetch/1', 3]])
  // Entering the state again is another entry of the invoke.
  await world.system.actor(machine, 'x').send({ type: 'again' })
  await world.settled()
  expect(runs.at(-1)).toMatchObject({ idempotencyKey: 'ns/m/x/-/fetch/2', attempt: 1 })
  await world.advance(100)
  expect((await world.system.actor(machine, 'x').snapshot())?.value).toBe('b')
  world.crash()
  await world.start()
  await world.advance(1_000)
  expect(runs).toHaveLength(4)
})

test('an AbortSignal fires when the state is left, when the actor stops or fails, and when the system stops', async () => {
  const aborted: string[] = []
  const machine = setup({
    actors: {
      job: fromPromise(({ signal, input }: { signal: AbortSignal; input: string }) => {
        signal.addEventListener('abort', () => aborted.push(input))
        return new Promise(() => {})
      }),
    },
    actions: {
      fail: assign(() => {
        throw new Error('x')
      }),
    },
  }).createMachine({
    id: 'm',
    types: {} as { input: string; context: { name: string } },
    context: ({ input }) => ({ name: input }),
    initial: 'a',
    states: { a: { invoke: { src: 'job', input: ({ context }) => context.name }, on: { leave: 'b', bad: { actions: 'fail' } } }, b: {} },
  })
  const { system } = await aWorld({ machines: [machine] })
  for (const name of ['left', 'stopped', 'failed', 'system']) await system.actor(machine, name).start({ input: name })
  await system.actor(machine, 'left').send({ type: 'leave' })
  await system.actor(machine, 'stopped').stop()
  await system.actor(machine, 'failed').send({ type: 'bad' })
  expect(aborted).toEqual(['left', 'stopped', 'failed'])
  await system.stop()
  expect(aborted).toEqual(['left', 'stopped', 'failed', 'system'])
})

test('the outcome of an effect whose state was left and entered again is dropped', async () => {
  const resolvers: ((value: string) => void)[] = []
  const machine = setup({ types: { context: {} as { got: string | undefined } }, actors: { job: fromPromise(() => new Promise<string>((resolve) => resolvers.push(resolve))) } }).createMachine({
    id: 'm',
    context: { got: undefined },
    initial: 'a',
    states: {
      a: { invoke: { src: 'job', id: 'job', onDone: { target: 'b', actions: assign({ got: ({ event }) => event.output }) } }, on: { again: { target: 'a', reenter: true } } },
      b: {},
    },
  })
  const world = await aWorld({ machines: [machine] })
  await world.system.actor(machine, 'x').start({})
  await world.system.actor(machine, 'x').send({ type: 'again' })
  await world.settled()
  resolvers[0]!('old')
  await world.settled()
  expect((await world.system.actor(machine, 'x').snapshot())?.value).toBe('a')
  resolvers[1]!('new')
  await world.settled()
  expect((await world.system.actor(machine, 'x').snapshot())?.context.got).toBe('new')
})

test('a rejection is told as plain data, an outcome that cannot be stored as a failure of the effect', async () => {
  const machine = setup({
    types: { context: {} as { errors: unknown[] }, input: {} as string },
    actors: {
      job: fromPromise(async ({ input }: { input: string }): Promise<unknown> => {
        if (input === 'error') throw Object.assign(new RangeError('too far'), { code: 'FAR' })
        if (input === 'object') throw { status: 418, retry: false }
        if (input === 'string') throw 'just text'
        if (input === 'date') return { at: new Date(0) }
        if (input === 'big') return 'x'.repeat(1_200_000)
        if (input === 'proto') return JSON.parse('{"__proto__":{"approved":true}}')
        return undefined
      }),
    },
  }).createMachine({
    id: 'm',
    context: { errors: [] },
    initial: 'a',
    states: {
      a: {
        invoke: {
          src: 'job',
          input: ({ event }) => (event as unknown as { input: string }).input,
          onDone: 'b',
          onError: { target: 'b', actions: assign({ errors: ({ event }) => [event.error] }) },
        },
      },
      b: {},
    },
  })
  const world = await aWorld({ machines: [machine] })
  const errorOf = async (input: string): Promise<unknown> => {
    await world.system.actor(machine, input).start({ input })
    return (await world.system.actor(machine, input).waitFor((s) => s.matches('b'))).context.errors[0]
  }
  expect(await errorOf('error')).toMatchObject({ name: 'RangeError', message: 'too far', code: 'FAR' })
  expect(await errorOf('object')).toEqual({ status: 418, retry: false })
  expect(await errorOf('string')).toBe('just text')
  expect(await errorOf('date')).toMatchObject({ code: 'NON_JSON', message: expect.stringContaining('.data.at') })
  expect(await errorOf('big')).toMatchObject({ code: 'LIMIT' })
  expect(await errorOf('proto')).toMatchObject({ code: 'NON_JSON' })
  expect(await errorOf('nothing')).toBeUndefined()
})

test('an external action under way at a crash is reconciled, never run blindly again', async () => {
  const ran: string[] = []
  let happened: boolean | 'unknown' = true
  let world: World
  const machineOf = (reconcile: boolean) =>
    setup({
      types: { context: {} as { got: unknown } },
      actors: {
        pay: external({
          run: async ({ attempt }: EffectArgs<unknown>) => {
            ran.push(`run ${attempt}`)
            await world.sleep(50)
            return 'paid now'
          },
          ...(reconcile
            ? {
                reconcile: async ({ idempotencyKey, attempt }: EffectArgs<unknown>) => {
                  ran.push(`reconcile ${attempt} ${idempotencyKey}`)
                  if (happened === 'unknown') throw new Error('receiver is down')
                  return happened ? { happened, output: 'had been paid' } : { happened }
                },
              }
            : {}),
        }),
      },
    }).createMachine({
      id: 'payer',
      context: { got: undefined },
      initial: 'paying',
      states: {
        paying: { invoke: { src: 'pay', id: 'pay', onDone: { target: 'over', actions: assign({ got: ({ event }) => event.output }) }, onError: { target: 'unsure', actions: assign({ got: ({ event }) => event.error }) } } },
        over: {},
        unsure: {},
      },
    })
  const outcome = async (reconcile: boolean): Promise<unknown> => {
    ran.length = 0
    const machine = machineOf(reconcile)
    world = await aWorld({ machines: [machine] })
    await world.system.actor(machine, 'x').start({})
    world.crash()
    await world.start()
    await world.advance(100)
    return (await world.system.actor(machine, 'x').snapshot())?.context.got
  }
  expect(await outcome(true)).toBe('had been paid')
  expect(ran).toEqual(['run 1', 'reconcile 2 default/payer/x/-/pay/1'])
  happened = false
  expect(await outcome(true)).toBe('paid now')
  expect(ran).toEqual(['run 1', 'reconcile 2 default/payer/x/-/pay/1', 'run 2'])
  happened = 'unknown'
  expect(await outcome(true)).toMatchObject({ code: 'OUTCOME_UNKNOWN', message: expect.stringContaining('receiver is down') })
  expect(ran).toHaveLength(2)
  expect(await outcome(false)).toMatchObject({ code: 'OUTCOME_UNKNOWN' })
  expect(ran).toEqual(['run 1'])
})

test('an undeclared promise is named once in the log, a declared one is not', async () => {
  const logger = new RecordingLogger()
  const machine = setup({ actors: { plain: fromPromise(async () => 1), declared: repeatable(async () => 1) } }).createMachine({
    id: 'm',
    type: 'parallel',
    states: { a: { invoke: { src: 'plain' } }, b: { invoke: { src: 'declared' } } },
  })
  const world = await aWorld({ machines: [machine], logger })
  await world.system.actor(machine, 'x').start({})
  await world.system.actor(machine, 'y').start({})
  await world.settled()
  expect(logger.lines.filter((line) => /undeclared promise/.test(line.message))).toHaveLength(1)
})

test('a callback sends to its parent, receives while it runs, is disposed of, and is set up again after a crash', async () => {
  const log: string[] = []
  let send: (event: { type: 'tick' }) => void = () => {}
  const machine = setup({
    types: { context: {} as { ticks: number } },
    actors: {
      line: fromCallback<{ type: 'poke' }, { name: string }>(({ sendBack, receive, input }) => {
        log.push(`up ${input.name}`)
        send = sendBack
        receive((event) => log.push(event.type))
        return () => log.push('down')
      }),
    },
  }).createMachine({
    id: 'm',
    context: { ticks: 0 },
    initial: 'on',
    states: {
      on: { invoke: { src: 'line', id: 'line', input: { name: 'n' } }, on: { tick: { actions: assign({ ticks: ({ context }) => context.ticks + 1 }) }, poke: { actions: sendTo('line', { type: 'poke' }) }, leave: 'off' } },
      off: {},
    },
  })
  const world = await aWorld({ machines: [machine] })
  const actor = () => world.system.actor(machine, 'x')
  await actor().start({})
  send({ type: 'tick' })
  send({ type: 'tick' })
  await world.settled()
  await actor().send({ type: 'poke' })
  await world.settled()
  expect((await actor().snapshot())?.context.ticks).toBe(2)
  world.crash()
  await world.start()
  send({ type: 'tick' })
  await world.settled()
  expect((await actor().snapshot())?.context.ticks).toBe(3)
  await actor().send({ type: 'leave' })
  await world.settled()
  const late = send
  late({ type: 'tick' })
  await world.settled()
  expect((await actor().snapshot())?.context.ticks).toBe(3)
  expect(log).toEqual(['up n', 'poke', 'up n', 'down'])
})

test('an observable is stored by its last value and subscribed to again after a crash', async () => {
  const observers: { next(value: number): void; complete(): void }[] = []
  let subscriptions = 0
  const subscribable = {
    subscribe(observer: (typeof observers)[number]) {
      subscriptions++
      observers.push(observer)
      return { unsubscribe: () => void observers.splice(observers.indexOf(observer), 1) }
    },
  }
  const machine = setup({
    types: { context: {} as { seen: number[]; events: number } },
    actors: { feed: fromObservable(() => subscribable as never), wire: fromEventObservable(() => subscribable as never) },
  }).createMachine({
    id: 'm',
    context: { seen: [], events: 0 },
    type: 'parallel',
    states: {
      a: {
        invoke: { src: 'feed', id: 'feed', onSnapshot: { actions: assign({ seen: ({ context, event }) => (event.snapshot.context === undefined ? context.seen : [...context.seen, event.snapshot.context as unknown as number]) }) } },
        on: { halt: '.off' },
        initial: 'on',
        states: { on: {}, off: {} },
      },
    },
  })
  const world = await aWorld({ machines: [machine] })
  await world.system.actor(machine, 'x').start({})
  observers[0]!.next(1)
  observers[0]!.next(2)
  await world.settled()
  world.crash()
  await world.start()
  expect(subscriptions).toBe(2)
  const snapshot = await world.system.actor(machine, 'x').snapshot()
  expect(snapshot?.children.feed?.getSnapshot().context).toBe(2)
  observers[1]!.next(3)
  observers[1]!.complete()
  await world.settled()
  expect((await world.system.actor(machine, 'x').snapshot())?.children.feed?.getSnapshot().status).toBe('done')
  world.crash()
  await world.start()
  expect(subscriptions).toBe(2)
  expect((await world.system.actor(machine, 'x').snapshot())?.context.seen).toEqual([1, 2, 3])
})

test('a finished child that stays in its state is not run again after a crash', async () => {
  let runs = 0
  const machine = setup({ types: { context: {} as { got: number } }, actors: { job: fromPromise(async () => ++runs) } }).createMachine({
    id: 'm',
    context: { got: 0 },
    initial: 'a',
    // onDone without a target: the done child stays among the children.
    states: { a: { invoke: { src: 'job', onDone: { actions: assign({ got: ({ event }) => event.output }) } } } },
  })
  const world = await aWorld({ machines: [machine] })
  await world.system.actor(machine, 'x').start({})
  await world.settled()
  world.crash()
  await world.start()
  await world.advance(1_000)
  expect(runs).toBe(1)
  expect((await world.system.actor(machine, 'x').snapshot())?.context.got).toBe(1)
})

test('in a run an external action has the key namespace/run/step/name, and the same key with other arguments is an error, also after a restart from input', async () => {
  const ran: { key: string; input: unknown }[] = []
  const machine = setup({
    types: { context: {} as { input: { name: string; what: unknown } }, events: {} as { type: 'do'; name: string; what: unknown } },
    actors: {
      act: external({
        name: ({ name }: { name: string }) => name,
        run: async ({ input, idempotencyKey }: EffectArgs<{ name: string; what: unknown }>) => void ran.push({ key: idempotencyKey, input: input.what }),
      }),
    },
  }).createMachine({
    id: 'doer',
    context: { input: { name: '', what: null } },
    initial: 'idle',
    states: { idle: {}, acting: { invoke: { id: 'act', src: 'act', input: ({ context }) => context.input, onDone: 'idle' } } },
    on: { do: { target: '.acting', actions: assign({ input: ({ event }) => ({ name: event.name, what: event.what }) }) } },
  })
  const boss = setup({
    actions: {
      hire: durableChild(() => ({ machine: 'doer', id: 'step-1' })),
      again: restartDurableChild(() => ({ machine: 'doer', id: 'step-1', from: 'input' })),
    },
  }).createMachine({ id: 'boss', entry: 'hire', on: { again: { actions: 'again' } } })
  const world = await aWorld({ machines: [machine, boss] })
  await world.system.actor(boss, 'r-1').start({ run: 'r-1' })
  await world.settled()
  const tell = async (name: string, what: unknown): Promise<void> => {
    await world.system.actorAt('doer/r-1~step-1').send({ type: 'do', name, what } as never)
    await world.settled()
  }
  await tell('mail', { to: 'a' })
  await tell('mail', { to: 'a' })
  await tell('mail/2', { to: 'b' })
  expect(ran).toEqual([
    { key: 'default/r-1/step-1/mail', input: { to: 'a' } },
    { key: 'default/r-1/step-1/mail', input: { to: 'a' } },
    { key: 'default/r-1/step-1/mail/2', input: { to: 'b' } },
  ])
  await world.system.actor(boss, 'r-1').send({ type: 'again' })
  await world.settled()
  world.crash()
  await world.start()
  await tell('mail', { to: 'b' })
  expect((await world.system.actorAt('doer/r-1~step-1').failure())?.error).toMatchObject({ code: 'TURN', message: expect.stringContaining('"mail/2"') })
  await world.system.actor(boss, 'r-1').send({ type: 'again' })
  await world.settled()
  await tell('../etc', {})
  expect((await world.system.actorAt('doer/r-1~step-1').failure())?.error).toMatchObject({ code: 'INVALID_ID' })
  expect(ran).toHaveLength(3)
})

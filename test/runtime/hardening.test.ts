/** What senders, user code and full queues may not do: lose a message, forge one, harm another actor, or stop the process. */
import { describe, expect, test } from 'vitest'
import { assign, enqueueActions, fromCallback, fromEventObservable, fromPromise, sendTo, setup, type AnyActorRef, type AnyStateMachine } from 'xstate'
import { MemoryStore, MemoryDatabase } from '../../src/adapters/memory/index.js'
import { RedisStore } from '../../src/adapters/redis/index.js'
import { createActorSystem, createClient, durableChild, external, refTo, reply, repeatable, restartDurableChild, type ActorSystem, type ReplyToken, type Store } from '../../src/index.js'
import { World } from '../../src/testing/index.js'
import { aWorld, counter, RecordingLogger } from '../support/worlds.js'

const quiet = { subscribe: () => ({ unsubscribe() {} }) }

/** A store all of whose answers to one method wait until they are let go. */
function held(store: Store, method: keyof Store): { readonly store: Store; go(): void; readonly waiting: number } {
  const gates: (() => void)[] = []
  return {
    store: new Proxy(store, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name)
        if (typeof value !== 'function') return value
        if (name !== method) return value.bind(target) as unknown
        return async (...args: unknown[]) => {
          const answer: unknown = await (value.apply(target, args) as Promise<unknown>)
          await new Promise<void>((resolve) => gates.push(resolve))
          return answer
        }
      },
    }),
    go() {
      for (const gate of gates.splice(0)) gate()
    },
    get waiting() {
      return gates.length
    },
  }
}

const ticks = async (n = 50): Promise<void> => {
  for (; n > 0; n--) await new Promise<void>((resolve) => void setImmediate(resolve))
}

describe('references that leave their record', () => {
  test('lead back to it: in an event, in the input of a child, in a reply', async () => {
    const echo = setup({ actions: { me: reply(({ self }) => ({ me: self })) } }).createMachine({
      id: 'echo',
      on: { hello: { actions: sendTo(({ event }) => (event as unknown as { from: AnyActorRef }).from, { type: 'hi' }) }, who: { actions: 'me' } },
    })
    const kid = setup({ types: { input: {} as { boss: AnyActorRef }, context: {} as { boss: AnyActorRef } } }).createMachine({
      id: 'kid',
      context: ({ input }) => ({ boss: input.boss }),
      entry: sendTo(({ context }) => context.boss, { type: 'hi' }),
    })
    const me = setup({
      types: { context: {} as { hi: number } },
      actions: {
        hire: durableChild(({ self }) => ({ machine: 'kid', id: 'c', input: { boss: self } })),
        count: assign({ hi: ({ context }) => context.hi + 1 }),
      },
    }).createMachine({
      id: 'me',
      context: { hi: 0 },
      on: { go: { actions: sendTo(() => refTo('echo/e'), ({ self }) => ({ type: 'hello', from: self }) as never) }, hire: { actions: 'hire' }, hi: { actions: 'count' } },
    })
    const world = await aWorld({ machines: [echo, kid, me] })
    const actor = world.system.actor(me, 'a')
    await actor.send({ type: 'go' } as never)
    await world.settled()
    await actor.send({ type: 'hire' } as never)
    await world.settled()
    expect((await actor.snapshot())?.context.hi).toBe(2)
    expect(await world.system.actor(echo, 'e').ask({ type: 'who' } as never, { deadlineMs: 100 })).toEqual({ me: { xstate$$type: 1, id: 'e', address: 'echo/e' } })
    expect(world.system.stats()).toMatchObject({ parked: 0, deadLetters: 0 })
  })

  test('lead to a child inside it', async () => {
    const inner = setup({ types: { context: {} as { n: number } } }).createMachine({ id: 'inner', context: { n: 0 }, on: { hi: { actions: assign({ n: ({ context }) => context.n + 1 }) } } })
    const outer = setup({ actors: { inner } }).createMachine({
      id: 'outer',
      invoke: { src: 'inner', id: 'i' },
      on: { go: { actions: sendTo(() => refTo('echo/e'), ({ self }) => ({ type: 'hello', from: (self.getSnapshot() as unknown as { children: Record<string, AnyActorRef> }).children['i'] }) as never) } },
    })
    const echo = setup({}).createMachine({ id: 'echo', on: { hello: { actions: sendTo(({ event }) => (event as unknown as { from: AnyActorRef }).from, { type: 'hi' }) } } })
    const world = await aWorld({ machines: [echo, outer] })
    await world.system.actor(outer, 'o').send({ type: 'go' } as never)
    await world.settled()
    const { children } = (await world.system.actor(outer, 'o').persisted()) as { children: Record<string, { snapshot: { context: { n: number } } }> }
    expect(children['i']!.snapshot.context.n).toBe(1)
  })
})

describe('what one actor sends another', () => {
  const victim = setup({ types: { events: {} as { type: 'go' } } }).createMachine({ id: 'victim', on: { go: {} } })
  test.each([{ noType: 1 }, 'text', 5, [], { type: 5 }, { type: '' }, { type: 'xstate.stop' }, { type: 'xstate.done.actor.pay' }, { type: 'child.failed', id: 'x' }])('fails its sender if it is no event or the runtime’s own: %j', async (event) => {
    const sender = setup({}).createMachine({ id: 'sender', on: { go: { actions: sendTo(() => refTo('victim/v'), () => event as never) } } })
    const world = await aWorld({ machines: [victim, sender] })
    await world.system.actor(victim, 'v').start()
    await world.system.actor(sender, 's').send({ type: 'go' } as never)
    await world.settled()
    expect(await world.system.actor(victim, 'v').status()).toBe('active')
    expect((await world.system.actor(sender, 's').failure())?.error.name).toMatch(/^InvalidEventError|TypeError$/)
  })

  test('cannot stand for the outcome of anything but a question', async () => {
    const pay = setup({ actors: { pay: fromPromise(() => new Promise<never>(() => {})) } }).createMachine({
      id: 'pay',
      initial: 'paying',
      states: { paying: { invoke: { src: 'pay', onDone: 'paid' } }, paid: {} },
    })
    const answering = setup({
      types: { context: {} as { token?: ReplyToken }, events: {} as { type: 'keep'; token: ReplyToken } | { type: 'q'; replyToken?: ReplyToken } },
      actions: { kept: reply(() => 'forged', ({ event }) => (event as { token: ReplyToken }).token), seen: reply(({ event }) => ('replyToken' in event ? 'token' : 'none')) },
    }).createMachine({ id: 'answering', context: {}, on: { keep: { actions: 'kept' }, q: { actions: assign({ token: ({ event }) => event.replyToken! }) } } })
    const world = await aWorld({ machines: [pay, answering] })
    await world.system.actor(pay, 'p').start()
    await world.settled()
    const [[effect]] = (await world.store.recover(0)).effects.concat((await world.store.recover(1)).effects) as [[string, string]]
    await world.system.actor(answering, 'a').send({ type: 'keep', token: { id: 'x', to: { to: 'pay/p' as never, cell: 1, effect } } })
    await world.settled()
    expect((await world.system.actor(pay, 'p').snapshot())?.value).toBe('paying')
    // A token of its own making is not handed on as one of the runtime's.
    await world.system.actor(answering, 'a').send({ type: 'q', replyToken: { id: 'x' } })
    await world.settled()
    expect((await world.system.actor(answering, 'a').snapshot())?.context.token).toBeUndefined()
  })
})

test('two actors whose commits a store refuses both fail, and others go on', async () => {
  const odd = setup({ types: { context: {} as Record<string, number> } }).createMachine({ id: 'odd', context: {}, on: { bad: { actions: assign(() => ({ refused: 1 })) } } })
  const database = new MemoryDatabase()
  const refusing = (store: Store): Store =>
    new Proxy(store, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name)
        if (name !== 'commit') return typeof value === 'function' ? (value.bind(target) as unknown) : value
        return (commit: Parameters<Store['commit']>[0]) => {
          const bad = commit.parts.find(({ fields }) => fields.has('c0:refused'))
          return bad ? Promise.resolve({ ok: false, why: 'refused', address: bad.address, detail: 'no' }) : target.commit(commit)
        }
      },
    })
  const world = await aWorld({ machines: [odd, counter], shards: 1, connect: () => refusing(new MemoryStore({ database })) })
  for (const id of ['a', 'b']) await world.system.actor(odd, id).start()
  const sent = [...['a', 'b'].map((id) => world.system.actor(odd, id).send({ type: 'bad' } as never)), world.system.actor(counter, 'c').send({ type: 'add', by: 1 })]
  await world.settled()
  await Promise.all(sent)
  for (const id of ['a', 'b']) expect((await world.system.actor(odd, id).failure())?.error.message).toBe('The store refused what the turn wanted to write: no')
  expect((await world.system.actor(counter, 'c').snapshot())?.context.n).toBe(1)
})

describe('a full mailbox', () => {
  test('refuses what is sent, with an id or without, but not what effects and actions have to say', async () => {
    let finish = (_: number): void => {}
    const busy = setup({
      types: { context: {} as { n: number; told: number; out: number }, events: {} as { type: 'inc' } | { type: 'told' } },
      actors: { call: fromPromise(() => new Promise<number>((resolve) => (finish = resolve))) },
      actions: { tell: ({ self }) => self.send({ type: 'told' }) },
    }).createMachine({
      id: 'busy',
      context: { n: 0, told: 0, out: 0 },
      invoke: { src: 'call', onDone: { actions: assign({ out: ({ event }) => event.output }) } },
      on: { inc: { actions: [assign({ n: ({ context }) => context.n + 1 }), 'tell'] }, told: { actions: assign({ told: ({ context }) => context.told + 1 }) } },
    })
    const { store, go } = held(new MemoryStore(), 'commit')
    const system = createActorSystem({ store, machines: [busy], shards: 1, backlogMax: 10 })
    await system.start()
    const actor = system.actor(busy, 'b')
    const started = actor.start()
    await ticks()
    go()
    await started
    const sends = Array.from({ length: 400 }, (_, i) => actor.send({ type: 'inc' }, i % 2 ? { id: `i${i}` } : {}).then(() => true, (error: { code: string }) => error.code))
    await ticks()
    finish(42)
    const pump = setInterval(go, 1)
    const results = await Promise.all(sends)
    await system.settled()
    clearInterval(pump)
    const accepted = results.filter((result) => result === true).length
    expect(new Set(results)).toEqual(new Set([true, 'MAILBOX_FULL']))
    expect((await actor.snapshot())?.context).toEqual({ n: accepted, told: accepted, out: 42 })
    go()
    const stopped = system.stop({ withinMs: 100 })
    const last = setInterval(go, 1)
    await stopped
    clearInterval(last)
  })
})

describe('a clean stop', () => {
  test('keeps what actions send and throw, and the outcomes of effects', async () => {
    let finish = (_: string): void => {}
    const machine = setup({
      types: { context: {} as { told: number }, events: {} as { type: 'go' } | { type: 'bad' } | { type: 'told' } },
      actors: { pay: external({ run: () => new Promise<string>((resolve) => (finish = resolve)) }) },
      actions: {
        tell: ({ self }) => self.send({ type: 'told' }),
        boom: () => {
          throw new Error('late')
        },
      },
    }).createMachine({
      id: 'm',
      context: { told: 0 },
      initial: 'paying',
      states: { paying: { invoke: { src: 'pay', onDone: 'paid', onError: 'unknown' } }, paid: {}, unknown: {} },
      on: { go: { actions: 'tell' }, bad: { actions: 'boom' }, told: { actions: assign({ told: ({ context }) => context.told + 1 }) } },
    })
    const database = new MemoryDatabase()
    const { store, go } = held(new MemoryStore({ database }), 'commit')
    const system = createActorSystem({ store, machines: [machine], shards: 1, suspectMax: Infinity })
    await system.start()
    const pump = setInterval(go, 1)
    const [a, b] = [system.actor(machine, 'a'), system.actor(machine, 'b')]
    await a.start()
    await b.start()
    clearInterval(pump)
    await ticks()
    const sent = [a.send({ type: 'go' }), b.send({ type: 'bad' })]
    await ticks()
    const stopped = system.stop()
    finish('receipt')
    const last = setInterval(go, 1)
    await stopped
    clearInterval(last)
    await Promise.all(sent)
    const world = await aWorld({ machines: [machine], shards: 1, connect: () => new MemoryStore({ database }) })
    await world.settled()
    expect((await world.system.actor(machine, 'a').snapshot())?.context.told).toBe(1)
    expect(await world.system.actor(machine, 'b').status()).toBe('failed')
    expect((await world.system.actor(machine, 'b').failure())?.snapshot?.value).toBe('paid')
  })

  test('is no failure of the effects that it cuts off', async () => {
    let calls = 0
    let system: ActorSystem
    let goOn = (): void => {}
    const machine = setup({ actors: { ask: repeatable(() => (++calls === 1 ? new Promise<void>((resolve) => (goOn = resolve)).then(() => system.actorAt('counter/c').send({ type: 'end' } as never)) : Promise.resolve(1)) as Promise<unknown>) } }).createMachine({
      id: 'm',
      initial: 'asking',
      states: { asking: { invoke: { src: 'ask', onDone: 'done', onError: 'failed' } }, done: {}, failed: {} },
    })
    const database = new MemoryDatabase()
    const { store, go } = held(new MemoryStore({ database }), 'commit')
    system = createActorSystem({ store, machines: [machine, counter], shards: 1, suspectMax: Infinity })
    await system.start()
    const pump = setInterval(go, 1)
    await system.actor(machine, 'a').start()
    await system.settled()
    clearInterval(pump)
    // A commit is on its way while it stops.
    const sent = system.actor(counter, 'c').send({ type: 'add', by: 1 })
    await ticks()
    const stopped = system.stop()
    goOn()
    await ticks()
    const last = setInterval(go, 1)
    await stopped
    await sent
    clearInterval(last)
    const world = await aWorld({ machines: [machine, counter], shards: 1, connect: () => new MemoryStore({ database }) })
    await world.settled()
    expect(calls).toBe(2)
    expect((await world.system.actor(machine, 'a').snapshot())?.value).toBe('done')
  })

  test('ends within its time although the store is dead, and rejects what waits', async () => {
    const { store, waiting } = held(new MemoryStore(), 'commit')
    expect(waiting).toBe(0)
    const world = new World({ machines: [counter], shards: 1, connect: () => store })
    await world.start()
    const { system } = world
    const waits = [system.actor(counter, 'c').send({ type: 'add', by: 1 }), system.actor(counter, 'c').waitFor(() => false), system.actor(counter, 'c').output()].map((wait) => wait.then(() => 'fulfilled', (error: { code: string }) => error.code))
    await ticks()
    const stopping = system.stop({ withinMs: 3_000 })
    await ticks()
    world.time.runUntil(world.time.now() + 3_000)
    await ticks()
    world.time.runUntil(world.time.now() + 3_000)
    await stopping
    expect(await Promise.all(waits)).toEqual(['STOPPED', 'STOPPED', 'STOPPED'])
    expect(() => system.actorAt('counter/c')).toThrow('was stopped')
  })

  test('rejects what waits, in a client too, and a second stop waits for the first', async () => {
    const database = new MemoryDatabase()
    const system = await createActorSystem({ store: new MemoryStore({ database }), machines: [counter], shards: 1 }).start()
    await system.actor(counter, 'c').start()
    const client = await createClient({ store: new MemoryStore({ database }), machines: [counter] })
    const waits = [system, client].map((of) => of.actor(counter, 'c').waitFor(() => false).then(() => '', (error: { code: string }) => error.code))
    const handle = client.actor(counter, 'c')
    await client.stop()
    await expect(handle.snapshot()).rejects.toMatchObject({ code: 'STOPPED' })
    const first = system.stop()
    expect(system.stop()).toBe(first)
    await first
    expect(await Promise.all(waits)).toEqual(['STOPPED', 'STOPPED'])
  })
})

test('a listener in a client hears of nothing after it has unsubscribed, not even of what was being looked at', async () => {
  const database = new MemoryDatabase()
  const system = await createActorSystem({ store: new MemoryStore({ database }), machines: [counter], shards: 1 }).start()
  await system.actor(counter, 'c').start()
  const loads = held(new MemoryStore({ database }), 'load')
  const client = await createClient({ store: loads.store, machines: [counter] })
  let heard = 0
  const { unsubscribe } = client.actor(counter, 'c').subscribe(() => heard++)
  await ticks()
  loads.go()
  await ticks()
  await system.actor(counter, 'c').send({ type: 'add', by: 1 })
  await ticks()
  expect(loads.waiting).toBe(1)
  unsubscribe()
  loads.go()
  await ticks()
  expect(heard).toBe(0)
  await client.stop()
  await system.stop()
})

describe('sends and starts of one process', () => {
  const needy = setup({ types: { input: {} as { n: number }, context: {} as { n: number; log: number[] }, events: {} as { type: 'note'; n: number } }, actions: { note: assign({ log: ({ context, event }) => [...context.log, event.n] }) } }).createMachine({
    id: 'needy',
    context: ({ input }) => ({ n: input.n, log: [] }),
    on: { note: { actions: 'note' } },
  })

  test.each(['owner', 'client'] as const)('keep their order, waited for or not (%s)', async (role) => {
    const database = new MemoryDatabase()
    const owner = await createActorSystem({ store: new MemoryStore({ database }), machines: [needy], shards: 2 }).start()
    const system = role === 'owner' ? owner : await createClient({ store: new MemoryStore({ database }), machines: [needy] })
    for (let i = 0; i < 20; i++) {
      const actor = system.actor(needy, `a${i}`)
      const started = actor.start({ input: { n: i }, ...(i % 2 ? { id: 's' } : {}) })
      if (i % 3 === 0) await started
      await Promise.all([started, ...[0, 1, 2, 3].map((n) => actor.send({ type: 'note', n }))])
      // One that has not been looked for before in this process.
      const other = system.actor(needy, `a${i}`)
      await Promise.all([4, 5, 6].map((n) => other.send({ type: 'note', n })))
    }
    await owner.settled()
    for (let i = 0; i < 20; i++) expect((await owner.actor(needy, `a${i}`).snapshot())?.context.log).toEqual([0, 1, 2, 3, 4, 5, 6])
    await expect(system.actor(needy, 'nobody').send({ type: 'note', n: 1 })).rejects.toMatchObject({ code: 'ACTOR_NOT_STARTED' })
    if (role === 'client') await system.stop()
    await owner.stop()
  })

  test('keep their order when others wait while a start is on its way, and a stop stands in line too', async () => {
    for (let i = 0; i < 20; i++) {
      const world = await aWorld({ machines: [needy], shards: 1 })
      const actor = world.system.actor(needy, 'a')
      const started = actor.start({ input: { n: 0 } })
      const sends = [actor.send({ type: 'note', n: 1 })]
      await started
      sends.push(actor.send({ type: 'note', n: 2 }))
      for (let tick = i; tick > 0; tick--) await Promise.resolve()
      sends.push(actor.send({ type: 'note', n: 3 }))
      await Promise.all(sends)
      await world.settled()
      expect((await actor.snapshot())?.context.log).toEqual([1, 2, 3])
      const other = world.system.actor(needy, 'b')
      await Promise.all([other.start({ input: { n: 0 } }), other.stop()])
      await world.settled()
      expect(await other.status()).toBe('stopped')
    }
  })

  test('are not sent if their deadline is none', async () => {
    const world = await aWorld({ machines: [counter] })
    const actor = world.system.actor(counter, 'c')
    await actor.start()
    for (const deadlineMs of [Number.NaN, -1, '5' as never]) {
      await expect(actor.send({ type: 'add', by: 1 }, { deadlineMs })).rejects.toMatchObject({ code: 'CONFIG' })
      await expect(actor.stop({ deadlineMs })).rejects.toMatchObject({ code: 'CONFIG' })
      await expect(actor.waitFor(() => false, { deadlineMs })).rejects.toMatchObject({ code: 'CONFIG' })
      await expect(world.system.actor(counter, 'd').start({ deadlineMs })).rejects.toMatchObject({ code: 'CONFIG' })
    }
    await world.settled()
    expect((await actor.snapshot())?.context.n).toBe(0)
    expect(await world.system.actor(counter, 'd').status()).toBeUndefined()
  })

  test('may give one id to messages of different actors', async () => {
    const asked = setup({ types: { events: {} as { type: 'who' } }, actions: { me: reply(({ self }) => self.id) } }).createMachine({ id: 'asked', on: { who: { actions: 'me' } } })
    const world = await aWorld({ machines: [counter, asked], shards: 1 })
    for (let i = 0; i < 5; i++) await world.system.actor(counter, `c${i}`).send({ type: 'add', by: 1 }, { id: 'request-1' })
    await world.settled()
    for (let i = 0; i < 5; i++) expect((await world.system.actor(counter, `c${i}`).snapshot())?.context.n).toBe(1)
    const answers = await Promise.all([1, 2].map((i) => world.system.actor(asked, `a${i}`).ask({ type: 'who' }, { id: 'q', deadlineMs: 100 })))
    expect(answers).toEqual(['a1', 'a2'])
  })

  test('are refused with a typed error for options that are none', async () => {
    const world = await aWorld({ machines: [counter] })
    const actor = world.system.actor(counter, 'c')
    for (const deadlineMs of [Infinity, Number.NaN, -1, '5' as never]) await expect(actor.ask({ type: 'end' }, { deadlineMs })).rejects.toThrow(/^deadlineMs: a question needs a number/)
    await expect(actor.send({ type: 'end' }, { trace: 'x'.repeat(5_000) })).rejects.toMatchObject({ code: 'INVALID_ID' })
    await expect(actor.send({ type: 'end' }, { trace: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` })).resolves.toBeUndefined()
    expect(() => world.system.actor(counter.provide({}), 'c')).toThrow(/^The machine "counter" given here is another object/)
    const store = new MemoryStore()
    for (const [options, message] of [
      [undefined, 'store: expected a store such as'],
      [{}, 'store: expected a store such as'],
      [{ store }, 'machines: expected an array'],
      [{ store, machines: [null] }, 'machines: expected a machine'],
      [{ store, machines: [], backlogMax: -5 }, 'backlogMax: expected'],
      [{ store, machines: [], limits: { payloadBytesMax: 'x' } }, 'payloadBytesMax: expected'],
      [{ store, machines: [], residentmax: 3 }, 'residentmax: there is no such option'],
      [{ store, machines: [], logger: {} }, 'logger: expected one with the method error'],
    ] as const) {
      expect(() => createActorSystem(options as never)).toThrow(message)
    }
    for (const target of [undefined, '', 'http://127.0.0.1', 5]) expect(() => new RedisStore(target as never)).toThrow('The address of the Redis server cannot be read')
  })
})

describe('user code that misbehaves', () => {
  test.each([
    ['a huge message', new Error('x'.repeat(2_000_000))],
    [
      'a message that throws',
      Object.defineProperty(new Error('y'), 'message', {
        get() {
          throw new Error('no')
        },
      }),
    ],
  ])('an action or a promise that throws an error with %s fails its actor, and nothing else', async (_, error) => {
    const bad = setup({
      actors: { job: repeatable(() => Promise.reject(error)) },
      actions: {
        boom: () => {
          throw error
        },
      },
    }).createMachine({ id: 'bad', initial: 'on', states: { on: { on: { act: { actions: 'boom' }, call: 'calling' } }, calling: { invoke: { src: 'job' } } } })
    const world = await aWorld({ machines: [bad, counter] })
    for (const type of ['act', 'call']) {
      await world.system.actor(bad, type).send({ type } as never)
      await world.settled()
      expect(await world.system.actor(bad, type).status()).toBe('failed')
    }
    await world.system.actor(counter, 'c').send({ type: 'add', by: 1 })
  })

  test.each([undefined, 'text', { type: 'ok', at: new Date(0) }])('a callback or observable that sends %j fails as a child does', async (event) => {
    const parent = setup({
      types: { context: {} as { errors: string[] } },
      actors: {
        callback: fromCallback(({ sendBack }) => void world.clock.after(5, () => sendBack(event as never))),
        observable: fromEventObservable(() => ({ ...quiet, subscribe: (observer: { next: (value: never) => void }) => (world.clock.after(6, () => observer.next(event as never)), { unsubscribe() {} }) }) as never),
      },
    }).createMachine({
      id: 'parent',
      context: { errors: [] },
      invoke: [{ src: 'callback', id: 'callback' }, { src: 'observable', id: 'observable' }],
      on: { 'xstate.error.actor.*': { actions: assign({ errors: ({ context, event: { type } }) => [...context.errors, type.slice('xstate.error.actor.'.length)] }) } },
    })
    const world: World = new World({ machines: [parent], shards: 1 })
    await world.start()
    await world.system.actor(parent, 'p').start()
    await world.advance(10)
    expect((await world.system.actor(parent, 'p').snapshot())?.context.errors).toEqual(['callback', 'observable'])
    expect(world.system.stats().effects).toBe(0)
  })

  test('a turn that asks for more than 8,192 things fails', async () => {
    const hub = setup({ types: { events: {} as { type: 'go'; n: number } } }).createMachine({
      id: 'hub',
      on: { go: { actions: enqueueActions(({ enqueue, event }) => { for (let i = 0; i < event.n; i++) enqueue.sendTo(() => refTo(`counter/c${i % 7}`), { type: 'add', by: 1 }) }) } },
    })
    const world = await aWorld({ machines: [hub, counter], shards: 4, backlogMax: 100_000 })
    await world.system.actor(hub, 'a').send({ type: 'go', n: 8_192 })
    await world.system.actor(hub, 'b').send({ type: 'go', n: 8_193 })
    await world.settled()
    let sum = 0
    for (let i = 0; i < 7; i++) sum += (await world.system.actor(counter, `c${i}`).snapshot())!.context.n
    expect(sum).toBe(8_192)
    expect((await world.system.actor(hub, 'b').failure())?.error.message).toMatch(/8193 things to be done, above the limit of 8192/)
  })
})

describe('keys of external actions', () => {
  const payments: string[] = []
  const pay = external({ run: async ({ input, idempotencyKey }: { input: unknown; idempotencyKey: string }) => payments.push(`${idempotencyKey} ${JSON.stringify(input)}`) })

  test('the same arguments are the same, in whatever order a store gives the keys of a context back; and the order is kept', async () => {
    const machine = setup({ types: { context: {} as Record<string, number> }, actors: { pay } }).createMachine({
      id: 'm',
      context: { zeta: 1, alpha: 2, mid: 3 },
      initial: 'idle',
      on: { drop: { actions: assign({ zeta: undefined as never, late: 4 }) } },
      states: { idle: { on: { pay: 'paying' } }, paying: { invoke: { src: 'pay', input: ({ context }: { context: unknown }) => context, onDone: 'idle' } } },
    })
    const world = await aWorld({ machines: [machine] })
    const actor = (): ReturnType<typeof world.system.actor> => world.system.actor(machine, 'a')
    const shuffled = (): void => {
      for (const { shards } of world.database.namespaces.values()) for (const { records } of shards) for (const [address, fields] of records) records.set(address, new Map([...fields].reverse()))
    }
    await actor().send({ type: 'pay' } as never, { run: 'r' })
    await world.settled()
    world.crash()
    shuffled()
    await world.start()
    await actor().send({ type: 'pay' } as never)
    await world.settled()
    expect(await actor().status()).toBe('active')
    expect(new Set(payments.splice(0)).size).toBe(1)
    await actor().send({ type: 'drop' } as never)
    await world.settled()
    world.crash()
    shuffled()
    await world.start()
    await world.settled()
    expect(Object.keys(((await actor().snapshot()) as { context: object }).context)).toEqual(['alpha', 'mid', 'late'])
  })

  test('a child that is hired again does further ones, one that is restarted the same', async () => {
    const kid = setup({ types: { input: {} as { amount: number }, context: {} as { amount: number } }, actors: { pay } }).createMachine({ id: 'kid', context: ({ input }) => input, invoke: { src: 'pay', input: ({ context }: { context: { amount: number } }) => context.amount } })
    const boss = setup({
      types: { events: {} as { type: 'hire'; amount: number } | { type: 'again' } },
      actions: {
        hire: durableChild(({ event }) => ({ machine: 'kid', id: 'x', input: { amount: (event as { amount: number }).amount } })),
        again: restartDurableChild(() => ({ machine: 'kid', id: 'x', from: 'input' })),
      },
    }).createMachine({ id: 'boss', on: { hire: { actions: 'hire' }, again: { actions: 'again' } } })
    const world = await aWorld({ machines: [boss, kid] })
    for (const event of [{ type: 'hire', amount: 5 }, { type: 'again' }, { type: 'hire', amount: 9 }, { type: 'hire', amount: 9 }] as const) {
      await world.system.actor(boss, 'b').send(event)
      await world.settled()
    }
    const key = 'default/kid/b~x/-/0.kid'
    expect(payments.splice(0)).toEqual([`${key}/1 5`, `${key}/1 5`, `${key}/2 9`])
  })

  test('a call whose outcome is parked for longer than ids are remembered is not made again', async () => {
    let calls = 0
    const version = (v: string) => setup({ actors: { call: fromPromise(async () => (calls++, await world.sleep(1_000), 'answer')) } }).createMachine({ id: 'm', version: v, initial: 'busy', states: { busy: { invoke: { src: 'call', onDone: 'ok' } }, ok: {} } })
    const [one, two] = [version('1'), version('2')]
    const database = new MemoryDatabase()
    let machines: AnyStateMachine[] = [one]
    const world: World = new World({ machines: [], shards: 1, idRetentionMs: 5_000, create: (given) => { const system = createActorSystem({ ...given, machines }); return { system, start: () => system.start(), stop: () => system.stop() } } , connect: () => new MemoryStore({ database }) })
    await world.start()
    await world.system.actor(one, 'a').start()
    await world.settled()
    // The outcome comes to a process that cannot read the actor.
    await world.store.append(0, [{ id: (await world.store.recover(0)).effects[0]![0], to: 'm/a', text: JSON.stringify({ id: (await world.store.recover(0)).effects[0]![0], kind: 'outcome', to: 'm/a', cell: 1, body: { type: 'xstate.promise.resolve', data: 'answer' } }), rememberUntil: world.now() + 5_000 }])
    world.crash()
    machines = [two, counter]
    await world.start()
    await world.advance(100_000)
    // A commit forgets the ids whose time is over.
    await world.system.actor(counter, 'c').send({ type: 'add', by: 1 })
    expect((await world.system.parked('m/a')).length).toBe(1)
    await world.stop()
    machines = [one]
    await world.start()
    await world.advance(5_000)
    expect(calls).toBe(1)
    expect((await world.system.actor(one, 'a').snapshot())?.value).toBe('ok')
  })
})

describe('what kills the process', () => {
  const deadly = (world: () => World, version = '1') => {
    const actions = {
      die: assign({
        n: () => {
          if (isDeadly) world().crash()
          return 1
        },
      }),
    }
    return setup({ types: { context: {} as { n: number } }, actions: actions as never }).createMachine({ id: 'm', version, context: { n: 0 }, initial: 'calm', on: { kill: { actions: 'die' as never } }, states: { calm: { on: { arm: 'armed' } }, armed: { after: { 100: { target: 'calm', actions: 'die' as never } } } } })
  }
  let isDeadly = true

  /** Lives until it does not die any more. */
  async function deaths(world: World, max: number): Promise<number> {
    for (let n = 0; n < max; n++) {
      await world.start()
      if (await world.advance(30_000)) return n
    }
    return max
  }

  test('as a timer is found guilty, although it came due after the last commit', async () => {
    isDeadly = true
    const machine = deadly(() => world)
    const world: World = new World({ machines: [machine, counter], shards: 1, suspectMax: 3 })
    await world.start()
    await world.system.actor(machine, 'a').send({ type: 'arm' } as never)
    await world.advance(1_000)
    expect(world.alive).toBe(false)
    expect(await deaths(world, 10)).toBe(3)
    expect((await world.system.parked('m/a')).map(({ reason }) => reason)).toEqual(['quarantined'])
    // Redriven in peace it goes on.
    isDeadly = false
    await world.system.redrive('m/a')
    await world.advance(1_000)
    expect((await world.system.actor(machine, 'a').snapshot())?.context.n).toBe(1)
  })

  test('as a parked message is found guilty when it is taken up, and those behind it wait', async () => {
    isDeadly = true
    const [one, two] = [deadly(() => world, '1'), deadly(() => world, '2')]
    let machines = [one]
    const world: World = new World({ machines: [], shards: 1, suspectMax: 3, create: (given) => { const system = createActorSystem({ ...given, machines }); return { system, start: () => system.start(), stop: () => system.stop() } } })
    await world.start()
    await world.system.actor(one, 'a').start()
    await world.stop()
    machines = [two]
    await world.start()
    for (const type of ['kill', 'nothing']) await world.system.actorAt('m/a').send({ type } as never)
    await world.settled()
    await world.stop()
    machines = [one]
    await world.start()
    await world.settled()
    expect(world.alive).toBe(false)
    expect(await deaths(world, 10)).toBe(3)
    expect((await world.system.parked('m/a')).map(({ reason }) => reason).sort()).toEqual(['quarantined', 'unknown-version'].sort())
    world.crash()
    await world.start()
    await world.settled()
    expect((await world.system.parked('m/a')).length).toBe(2)
    isDeadly = false
    await world.system.redrive('m/a')
    // It resolves when that has been done, also for whoever stops the process next.
    expect(await world.system.parked('m/a')).toEqual([])
    expect((await world.system.actor(one, 'a').snapshot())?.context.n).toBe(1)
  })

  test('as the outcome of a long call is found guilty, and the call is made twice at most', async () => {
    let calls = 0
    const machine = setup({ types: { context: {} as { n: number } }, actors: { call: fromPromise(async () => (calls++, world.sleep(11_000))) } }).createMachine({
      id: 'm',
      context: { n: 0 },
      invoke: { src: 'call', onDone: { actions: assign({ n: () => (world.crash(), 1) }) } },
    })
    const world: World = new World({ machines: [machine], shards: 1, suspectMax: 3 })
    await world.start()
    await world.system.actor(machine, 'a').start()
    await world.advance(30_000)
    expect(world.alive).toBe(false)
    expect(await deaths(world, 10)).toBeLessThan(6)
    expect(calls).toBe(2)
    expect((await world.system.parked('m/a'))[0]?.reason).toBe('quarantined')
  })
})

test('a shard that is lost stops its effects, and only those; whoever runs it next begins them again', async () => {
  const working = setup({ actors: { work: fromPromise(({ signal }) => new Promise<never>(() => signal.addEventListener('abort', () => aborted++))) } }).createMachine({ id: 'w', invoke: { src: 'work' } })
  let aborted = 0
  const logger = new RecordingLogger()
  const world = await aWorld({ machines: [working], shards: 2, logger, leaseMs: 1_000 })
  for (let i = 0; i < 8; i++) await world.system.actor(working, `w${i}`).start()
  await world.settled()
  expect(world.system.stats().effects).toBe(8)
  const claim = await world.store.claim(1, { id: 'other' })
  if ('heldBy' in claim) await world.store.claim(1, { id: 'other' }, claim.heldBy)
  await world.advance(1_000)
  expect(logger.lines.some(({ message }) => message.startsWith('a shard was lost'))).toBe(true)
  expect(aborted).toBeGreaterThan(0)
  expect(aborted).toBeLessThan(8)
  // The other node shows no life, so this one has taken the shard again.
  expect(world.system.owned.shards).toEqual([0, 1])
  expect(world.system.stats().effects).toBe(8)
})

test('a client that watches an actor is not called back when another one of its shard has changed', async () => {
  const database = new MemoryDatabase()
  const owner = await createActorSystem({ store: new MemoryStore({ database }), machines: [counter], shards: 1 }).start()
  const client = await createClient({ store: new MemoryStore({ database }), machines: [counter] })
  for (const id of ['a', 'b']) await owner.actor(counter, id).send({ type: 'add', by: 1 })
  const seen: number[] = []
  client.actor(counter, 'a').subscribe(({ context }) => seen.push(context.n))
  await ticks()
  await owner.actor(counter, 'b').send({ type: 'add', by: 1 })
  await ticks()
  expect(seen).toEqual([])
  await owner.actor(counter, 'a').send({ type: 'add', by: 1 })
  await ticks()
  expect(seen).toEqual([2])
  await client.stop()
  await owner.stop()
})

test('an active child that is to be restarted from its snapshot is left as it is', async () => {
  const boss = setup({ types: { events: {} as { type: 'again' } }, actions: { hire: durableChild(() => ({ machine: 'counter', id: 'c' })), again: restartDurableChild(() => ({ machine: 'counter', id: 'c', from: 'snapshot' })) } }).createMachine({ id: 'boss', entry: 'hire', on: { again: { actions: 'again' } } })
  const world = await aWorld({ machines: [boss, counter] })
  await world.system.actor(boss, 'b').start()
  await world.system.actorAt('counter/b~c').send({ type: 'add', by: 3 } as never)
  await world.system.actor(boss, 'b').send({ type: 'again' })
  await world.settled()
  expect(((await world.system.actorAt('counter/b~c').snapshot()) as unknown as { context: { n: number } }).context.n).toBe(3)
})

test('a question can fail as its actor did, named once', async () => {
  const world = await aWorld({ machines: [counter] })
  await expect(world.system.actor(counter, 'c').ask({ type: 'throw' }, { deadlineMs: 100 })).rejects.toThrow(/^Actor counter\/c failed: as asked$/)
  await world.system.actor(counter, 'd').send({ type: 'end' })
  await expect(world.system.actor(counter, 'd').ask({ type: 'end' }, { deadlineMs: 100 })).rejects.toThrow(/^Actor counter\/d is done\.$/)
})

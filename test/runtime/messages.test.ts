/** Messages between actors: sends, questions and answers, durable children, within a shard and across shards. */
import { expect, test } from 'vitest'
import { assign, sendTo, sendParent, setup } from 'xstate'
import { append, durableChild, fromAsk, refTo, reply, restartDurableChild, stopDurableChild, type ChildFact, type ReplyToken } from '../../src/index.js'
import { World, crashTest } from '../../src/testing/index.js'
import { aWorld, counter } from '../support/worlds.js'
import { addressesOf } from '../support/found.js'

const shop = setup({
  types: { context: {} as { asked: number; token: ReplyToken | undefined }, events: {} as { type: 'price?'; item: string } | { type: 'later?'; replyToken?: ReplyToken } | { type: 'now' } | { type: 'mute' } | { type: 'crash' } },
  actions: {
    count: assign({ asked: ({ context }) => context.asked + 1 }),
    answer: reply(({ context, event }) => ({ item: (event as unknown as { item: string }).item, price: 10 * context.asked })),
    keep: assign({ token: ({ event }) => (event.type === 'later?' ? event.replyToken : undefined) }),
    answerLater: reply(
      () => 'at last',
      ({ context }) => context.token!,
    ),
    fail: assign(() => {
      throw new Error('shop is on fire')
    }),
  },
}).createMachine({
  id: 'shop',
  context: { asked: 0, token: undefined },
  on: { 'price?': { actions: ['count', 'answer'] }, 'later?': { actions: 'keep' }, now: { actions: 'answerLater' }, mute: {}, crash: { actions: 'fail' } },
})

test('a client asks and is answered, at once or later', async () => {
  const world = await aWorld({ machines: [shop] })
  const actor = world.system.actor(shop, 'a')
  expect(await actor.ask({ type: 'price?', item: 'tea' }, { deadlineMs: 1_000 })).toEqual({ item: 'tea', price: 10 })
  const later = actor.ask({ type: 'later?' }, { deadlineMs: 1_000 })
  await world.settled()
  await actor.send({ type: 'now' })
  expect(await later).toBe('at last')
})

test('a question asked again under its id is not handled again, and has the same answer', async () => {
  const world = await aWorld({ machines: [shop] })
  expect(await world.system.actor(shop, 'a').ask({ type: 'price?', item: 'tea' }, { deadlineMs: 1_000, id: 'q' })).toEqual({ item: 'tea', price: 10 })
  world.crash()
  await world.start()
  expect(await world.system.actor(shop, 'a').ask({ type: 'price?', item: 'tea' }, { deadlineMs: 1_000, id: 'q' })).toEqual({ item: 'tea', price: 10 })
  expect((await world.system.actor(shop, 'a').snapshot())?.context.asked).toBe(1)
})

test('a question can remain unanswered, fail, or find an actor that has ended', async () => {
  const world = await aWorld({ machines: [shop] })
  const mute = world.system.actor(shop, 'a').ask({ type: 'mute' }, { deadlineMs: 50 })
  mute.catch(() => {})
  await world.advance(50)
  await expect(mute).rejects.toMatchObject({ code: 'DEADLINE' })
  await expect(world.system.actor(shop, 'b').ask({ type: 'crash' }, { deadlineMs: 50 })).rejects.toMatchObject({ code: 'ACTOR_FAILED', message: expect.stringContaining('on fire') })
  await expect(world.system.actor(shop, 'b').ask({ type: 'price?', item: 'x' }, { deadlineMs: 50 })).rejects.toMatchObject({ code: 'ACTOR_FAILED' })
  await world.system.actor(shop, 'c').send({ type: 'mute' })
  await world.system.actor(shop, 'c').stop()
  await expect(world.system.actor(shop, 'c').ask({ type: 'price?', item: 'x' }, { deadlineMs: 50 })).rejects.toMatchObject({ code: 'ACTOR_ENDED' })
})

const buyer = setup({
  types: { context: {} as { got: unknown; shop: string }, input: {} as { shop: string; event?: string; deadlineMs?: number } },
  actors: {
    ask: fromAsk(({ input }: { input: { shop: string; event: string; deadlineMs: number } }) => ({ to: input.shop, event: { type: input.event, item: 'tea' }, deadlineMs: input.deadlineMs })),
  },
}).createMachine({
  id: 'buyer',
  context: ({ input }) => ({ got: undefined, shop: input.shop, event: input.event ?? 'price?', deadlineMs: input.deadlineMs ?? 1_000 }),
  initial: 'asking',
  states: {
    asking: {
      invoke: {
        src: 'ask',
        id: 'ask',
        input: ({ context }) => context as unknown as { shop: string; event: string; deadlineMs: number },
        onDone: { target: 'told', actions: assign({ got: ({ event }) => event.output }) },
        onError: { target: 'refused', actions: assign({ got: ({ event }) => event.error }) },
      },
      on: { forget: 'told' },
    },
    told: {},
    refused: {},
  },
})

test.each([['the same shard', 1], ['another shard', 16]])('a machine asks another in %s', async (_, shards) => {
  const world = await aWorld({ machines: [shop, buyer], shards })
  await world.system.actor(buyer, 'b').start({ input: { shop: 'shop/s' } })
  const told = await world.system.actor(buyer, 'b').waitFor((s) => s.matches('told'))
  expect(told.context.got).toEqual({ item: 'tea', price: 10 })
  expect(await world.system.clock.nextDue()).toBeUndefined()
})

test("a machine's question fails by its deadline, by the other's failure, or because there is nobody", async () => {
  const world = await aWorld({ machines: [shop, buyer], shards: 4 })
  const start = (id: string, input: { shop: string; event?: string; deadlineMs?: number }): Promise<void> => world.system.actor(buyer, id).start({ input })
  await start('mute', { shop: 'shop/s', event: 'mute', deadlineMs: 70 })
  await start('crash', { shop: 'shop/t', event: 'crash' })
  await start('gone', { shop: 'buyer/nobody' })
  await start('unknown', { shop: 'nomachine/x', deadlineMs: 70 })
  await world.advance(69)
  const got = async (id: string): Promise<unknown> => (await world.system.actor(buyer, id).waitFor((s) => s.matches('refused'))).context.got
  expect(await got('crash')).toMatchObject({ code: 'ACTOR_FAILED' })
  expect(await got('gone')).toMatchObject({ code: 'ACTOR_NOT_STARTED' })
  expect((await world.system.actor(buyer, 'mute').snapshot())?.value).toBe('asking')
  await world.advance(1)
  expect(await got('mute')).toMatchObject({ code: 'DEADLINE' })
  expect(await got('unknown')).toMatchObject({ code: 'DEADLINE' })
})

test('a question survives a crash of the process, is asked once, and an answer nobody waits for is dropped', async () => {
  const world = new World({ machines: [shop, buyer], shards: 1, onWrite: (write) => (write.commit?.parts.some((part) => part.address === 'buyer/b') && world.generation === 1 ? 'kill-after' : undefined) })
  await world.start()
  void world.system.actor(buyer, 'b').start({ input: { shop: 'shop/s' } })
  await world.died
  await world.start()
  await world.settled()
  expect((await world.system.actor(buyer, 'b').snapshot())?.value).toBe('told')
  expect((await world.system.actor(shop, 's').snapshot())?.context.asked).toBe(1)
  const other = await aWorld({ machines: [shop, buyer], shards: 1 })
  await other.system.actor(buyer, 'b').start({ input: { shop: 'shop/s', event: 'later?' } })
  await other.system.actor(buyer, 'b').send({ type: 'forget' })
  await other.system.actor(shop, 's').send({ type: 'now' })
  await other.settled()
  expect((await other.system.actor(buyer, 'b').snapshot())?.context.got).toBeUndefined()
  expect(await other.system.clock.nextDue()).toBeUndefined()
})

const relay = setup({
  types: { context: {} as { got: number[] }, events: {} as { type: 'pass'; to: string; n: number; delayMs?: number } },
}).createMachine({
  id: 'relay',
  context: { got: [] },
  on: {
    pass: [
      { guard: ({ event }) => event.to === '', actions: assign({ got: ({ context, event }) => [...context.got, event.n] }) },
      { actions: sendTo(({ event }) => refTo(event.to), ({ event }) => ({ type: 'pass', to: '', n: event.n }), { delay: ({ event }) => event.delayMs ?? (undefined as unknown as number) }) },
    ],
  },
})

test.each([['one shard', 1], ['many shards', 16]])('messages between two actors keep their order, whatever else goes on (%s)', async (_, shards) => {
  const world = await aWorld({ machines: [relay], shards })
  const senders = ['a', 'b', 'c'].map((id) => world.system.actor(relay, id))
  await Promise.all(Array.from({ length: 300 }, (_, i) => senders[i % 3]!.send({ type: 'pass', to: `relay/t${i % 2}`, n: i })))
  await world.settled()
  for (const target of [0, 1]) {
    const { got } = (await world.system.actor(relay, `t${target}`).snapshot())!.context
    expect(got).toHaveLength(150)
    for (const sender of [0, 1, 2]) {
      const own = got.filter((n) => n % 3 === sender)
      expect(own).toEqual([...own].sort((x, y) => x - y))
    }
  }
})

test('a delayed message to an actor elsewhere arrives once, over a crash', async () => {
  const world = await aWorld({ machines: [relay], shards: 8 })
  await world.system.actor(relay, 'a').send({ type: 'pass', to: 'relay/z', n: 1, delayMs: 80 })
  world.crash()
  await world.start()
  await world.advance(79)
  expect(await world.system.actor(relay, 'z').snapshot()).toBeUndefined()
  await world.advance(1)
  expect((await world.system.actor(relay, 'z').snapshot())?.context.got).toEqual([1])
})

test.each(['kill-before', 'kill-after'] as const)('messages to other shards arrive once, though the process dies at any write (%s)', async (fault) => {
  for (let at = 16; at < 40; at++) {
    const world = new World({ machines: [relay], shards: 8, onWrite: (write) => (write.index === at ? fault : undefined) })
    await world.start()
    for (let i = 0; i < 5; i++) {
      const send = (): Promise<void> => world.system.actor(relay, 'a').send({ type: 'pass', to: `relay/t${i}`, n: i }, { id: `m${i}` })
      await Promise.race([send(), world.died])
      if (!world.alive) {
        await world.start()
        await send()
      }
    }
    if (!(await world.settled())) {
      await world.start()
      await world.settled()
    }
    for (let i = 0; i < 5; i++) expect((await world.system.actor(relay, `t${i}`).snapshot())?.context.got, `write ${at}`).toEqual([i])
  }
})

// ── Durable children ──

const boss = setup({
  types: { context: {} as { facts: ChildFact[] }, events: {} as { type: 'hire'; id: string; input?: unknown } | { type: 'fire'; id: string } | { type: 'again'; id: string; from: 'snapshot' | 'input' } | { type: 'tell'; to: string; event: { type: string } } | ChildFact },
  actions: {
    hire: durableChild(({ event }) => ({ machine: 'worker', id: (event as { id: string }).id, input: (event as { input?: unknown }).input })),
    fire: stopDurableChild(({ event }) => ({ machine: 'worker', id: (event as { id: string }).id })),
    again: restartDurableChild(({ event }) => ({ machine: 'worker', id: (event as { id: string }).id, from: (event as { from: 'input' }).from })),
    note: assign({ facts: ({ context, event }) => [...context.facts, event as ChildFact] }),
  },
}).createMachine({
  id: 'boss',
  context: { facts: [] },
  on: { hire: { actions: 'hire' }, fire: { actions: 'fire' }, again: { actions: 'again' }, 'child.*': { actions: 'note' } },
})

const worker = setup({
  types: { context: {} as { n: number; input: unknown }, events: {} as { type: 'add' } | { type: 'bad' } | { type: 'end' }, input: {} as unknown },
  actions: {
    add: assign({ n: ({ context }) => context.n + 1 }),
    bad: assign(() => {
      throw new Error('bad')
    }),
    log: append(({ context }) => ({ stream: 'log', value: { n: context.n } })),
  },
}).createMachine({
  id: 'worker',
  context: ({ input }) => ({ n: 0, input: input ?? null }),
  initial: 'on',
  output: ({ context }) => context.n,
  states: { on: { on: { add: { actions: ['add', 'log'] }, bad: { actions: 'bad' }, end: 'off' }, after: { 1_000: 'off' } }, off: { type: 'final' } },
})

test('a durable child has a record of its own, and its parent is told how it fares', async () => {
  const world = await aWorld({ machines: [boss, worker] })
  const parent = world.system.actor(boss, 'b')
  await parent.send({ type: 'hire', id: 'w1', input: { job: 1 } })
  await parent.send({ type: 'hire', id: 'w2' })
  await world.settled()
  const w1 = world.system.actorAt('worker/b~w1')
  await w1.send({ type: 'add' } as never)
  await w1.send({ type: 'end' } as never)
  await world.system.actorAt('worker/b~w2').send({ type: 'bad' } as never)
  await world.settled()
  expect(await parent.status()).toBe('active')
  const facts = (await parent.snapshot())!.context.facts
  expect(facts.map((fact) => [fact.type, fact.id, fact.machine, fact.address, 'reason' in fact ? fact.reason : undefined, 'output' in fact ? fact.output : undefined])).toEqual([
    ['child.started', 'w1', 'worker', 'worker/b~w1', undefined, undefined],
    ['child.started', 'w2', 'worker', 'worker/b~w2', undefined, undefined],
    ['child.stopped', 'w1', 'worker', 'worker/b~w1', 'done', 1],
    ['child.failed', 'w2', 'worker', 'worker/b~w2', undefined, undefined],
  ])
  expect(facts[3]).toMatchObject({ error: { message: 'bad' }, at: world.now() })
  expect(facts.every((fact) => fact.chance >= 0 && fact.chance < 1)).toBe(true)
  expect(new Set(facts.map((fact) => fact.chance)).size).toBe(4)
  expect((await w1.snapshot())?.context).toEqual({ n: 1, input: { job: 1 } })
  expect(addressesOf(await world.system.find({ key: 'b' }))).toEqual(['boss/b', 'worker/b~w1', 'worker/b~w2'])
})

test('a failed child restarted from its snapshot goes on, from its input begins anew; what came meanwhile is handled then', async () => {
  const world = await aWorld({ machines: [boss, worker] })
  const parent = world.system.actor(boss, 'b')
  const child = world.system.actorAt('worker/b~w')
  await parent.send({ type: 'hire', id: 'w', input: 7 })
  await world.settled()
  await child.send({ type: 'add' } as never)
  await world.advance(400)
  await child.send({ type: 'bad' } as never)
  await child.send({ type: 'add' } as never)
  await child.send({ type: 'add' } as never)
  await world.settled()
  expect(world.system.stats().parked).toBe(2)
  expect((await child.snapshot())?.context).toEqual({ n: 1, input: 7 })
  world.crash()
  await world.start()
  await parent_(world).send({ type: 'again', id: 'w', from: 'snapshot' })
  await world.settled()
  expect(await world.system.actorAt('worker/b~w').status()).toBe('active')
  expect((await world.system.actorAt('worker/b~w').snapshot())?.context).toEqual({ n: 3, input: 7 })
  // Its timer counts on from where it was set.
  await world.advance(599)
  expect(await world.system.actorAt('worker/b~w').status()).toBe('active')
  await world.advance(1)
  expect(await world.system.actorAt('worker/b~w').status()).toBe('done')
  await parent_(world).send({ type: 'again', id: 'w', from: 'input' })
  await world.settled()
  expect((await world.system.actorAt('worker/b~w').snapshot())?.context).toEqual({ n: 0, input: 7 })
  expect((await world.system.stream('worker/b~w', 'log')).map((entry) => entry.value)).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }])
})

function parent_(world: World) {
  return world.system.actor(boss, 'b')
}

test('a child that is stopped says so; a stopped parent leaves its children alone', async () => {
  const world = await aWorld({ machines: [boss, worker] })
  await parent_(world).send({ type: 'hire', id: 'w' })
  await parent_(world).send({ type: 'hire', id: 'v' })
  await parent_(world).send({ type: 'fire', id: 'w' })
  await world.settled()
  expect((await parent_(world).snapshot())?.context.facts.at(-1)).toMatchObject({ type: 'child.stopped', id: 'w', reason: 'stopped' })
  await parent_(world).stop()
  await world.settled()
  expect(await world.system.actorAt('worker/b~v').status()).toBe('active')
})

test('a restart from input while the child runs stops it first', async () => {
  const world = await aWorld({ machines: [boss, worker] })
  await parent_(world).send({ type: 'hire', id: 'w' })
  await world.settled()
  await world.system.actorAt('worker/b~w').send({ type: 'add' } as never)
  await parent_(world).send({ type: 'again', id: 'w', from: 'input' })
  await world.settled()
  expect((await world.system.actorAt('worker/b~w').snapshot())?.context).toMatchObject({ n: 0 })
  expect((await parent_(world).snapshot())?.context.facts.map((fact) => fact.type)).toEqual(['child.started', 'child.stopped', 'child.started'])
})

test('events that nobody takes are counted', async () => {
  const world = await aWorld({ machines: [counter] })
  await world.system.actorAt('counter/x').send({ type: 'end' } as never)
  await world.system.actorAt('counter/x').send({ type: 'end' } as never)
  await world.settled()
  expect(world.system.stats()).toMatchObject({ deadLetters: 1 })
})

test('a durable child started by a child inside a record tells and answers that child, not the root', async () => {
  const kid = setup({ types: { events: {} as { type: 'greet' } } }).createMachine({ id: 'kid', on: { greet: { actions: sendParent({ type: 'greeting' }) } } })
  const crew = setup({
    types: { context: {} as { heard: string[] }, events: {} as { type: 'greeting' } | ChildFact },
    actions: { hire: durableChild(() => ({ machine: 'kid', id: 'k' })), hear: assign({ heard: ({ context, event }) => [...context.heard, event.type] }) },
  }).createMachine({ id: 'crew', context: { heard: [] }, entry: 'hire', on: { '*': { actions: 'hear' } } })
  const boss = setup({
    types: { context: {} as { heard: string[] }, children: {} as { crew: 'crew' } },
    actors: { crew },
    actions: { hear: assign({ heard: ({ context, event }) => [...context.heard, event.type] }) },
  }).createMachine({ id: 'boss', context: { heard: [] }, invoke: { id: 'crew', src: 'crew' }, on: { 'child.*': { actions: 'hear' }, greeting: { actions: 'hear' } } })
  const world = await aWorld({ machines: [boss, kid] })
  await world.system.actor(boss, 'b').start({})
  await world.settled()
  world.crash()
  await world.start()
  await world.system.actorAt('kid/b~k').send({ type: 'greet' } as never)
  await world.settled()
  const persisted = (await world.system.actor(boss, 'b').persisted()) as { context: { heard: string[] }; children: { crew: { snapshot: { context: { heard: string[] } } } } }
  expect(persisted.context.heard).toEqual([])
  expect(persisted.children.crew.snapshot.context.heard).toEqual(['child.started', 'greeting'])
})

test('a child started under an id that was used before begins anew, and the old one is stopped if it lives; its ended record is no obstacle', async () => {
  const world = await aWorld({ machines: [boss, worker] })
  const child = () => world.system.actorAt('worker/b~w')
  const n = async (): Promise<unknown> => ((await child().snapshot()) as unknown as { context: unknown } | undefined)?.context
  const hire = async (input: unknown): Promise<void> => {
    await parent_(world).send({ type: 'hire', id: 'w', input })
    await world.settled()
  }
  await hire(1)
  await child().send({ type: 'add' } as never)
  await hire(1)
  expect(await n()).toEqual({ n: 1, input: 1 })
  await hire(2)
  expect(await n()).toEqual({ n: 0, input: 2 })
  await child().send({ type: 'end' } as never)
  await world.settled()
  world.crash()
  await world.start()
  await hire(2)
  expect(await child().status()).toBe('active')
  await child().send({ type: 'bad' } as never)
  await world.settled()
  await hire(3)
  expect(await n()).toEqual({ n: 0, input: 3 })
  expect((await parent_(world).snapshot())?.context.facts.map((fact) => [fact.type, 'reason' in fact ? fact.reason : undefined])).toEqual([
    ['child.started', undefined],
    ['child.started', undefined],
    ['child.stopped', 'stopped'],
    ['child.started', undefined],
    ['child.stopped', 'done'],
    ['child.started', undefined],
    ['child.failed', undefined],
    ['child.started', undefined],
  ])
})

test('a storm of restarts is spread over time, over a crash, and a child that was stopped meanwhile stays so', async () => {
  const boss = setup({
    actions: {
      hire: durableChild(({ event }) => ({ machine: 'counter', id: (event as unknown as { id: string }).id })),
      again: restartDurableChild(({ event }) => ({ machine: 'counter', id: (event as unknown as { id: string }).id, from: 'snapshot' })),
    },
  }).createMachine({ id: 'boss', on: { hire: { actions: 'hire' }, 'child.failed': { actions: 'again' }, 'child.started': {}, 'child.stopped': {} } })
  const world = await aWorld({ machines: [boss, counter], shards: 1, restartsPerSecondMax: 5 })
  const ids = Array.from({ length: 12 }, (_, i) => `c${i}`)
  for (const id of ids) await world.system.actor(boss, 'b').send({ type: 'hire', id } as never)
  await world.settled()
  for (const id of ids) await world.system.actorAt(`counter/b~${id}`).send({ type: 'throw' } as never)
  await world.settled()
  const active = async (): Promise<number> => (await Promise.all(ids.map((id) => world.system.actorAt(`counter/b~${id}`).status()))).filter((status) => status === 'active').length
  expect(await active()).toBe(5)
  await world.system.actorAt('counter/b~c11').stop()
  world.crash()
  await world.start()
  await world.advance(1_000)
  expect(await active()).toBe(10)
  await world.advance(5_000)
  expect(await active()).toBe(11)
  expect(await world.system.actorAt('counter/b~c11').status()).toBe('stopped')
})

test('a failed child is begun anew by its parent, though messages for it are parked', async () => {
  const boss = setup({ actions: { hire: durableChild(() => ({ machine: 'counter', id: 'k' })) } }).createMachine({ id: 'boss', on: { hire: { actions: 'hire' }, 'child.*': {} } })
  const world = await aWorld({ machines: [boss, counter] })
  const child = world.system.actorAt('counter/b~k')
  await world.system.actor(boss, 'b').send({ type: 'hire' } as never)
  await world.settled()
  for (const event of [{ type: 'throw' }, { type: 'add', by: 3 }]) await child.send(event as never)
  await world.settled()
  expect(await child.status()).toBe('failed')
  await world.system.actor(boss, 'b').send({ type: 'hire' } as never)
  await world.settled()
  expect(await child.status()).toBe('active')
  expect((await child.snapshot())?.context).toMatchObject({ n: 3 })
})

/** Passes a token on to the next player, who is of another shard, so often as it says; keeps count of those that ended with it. */
const player = setup({
  types: { context: {} as { next: string; ended: number }, input: {} as { next: string }, events: {} as { type: 'token'; hops: number } },
  guards: { hasFarther: ({ event }) => event.hops > 0 },
  actions: {
    pass: sendTo(
      ({ context }) => refTo(context.next),
      ({ event }) => ({ type: 'token' as const, hops: event.hops - 1 }),
    ),
    end: assign({ ended: ({ context }) => context.ended + 1 }),
  },
}).createMachine({
  id: 'player',
  context: ({ input }) => ({ next: input.next, ended: 0 }),
  on: { token: [{ guard: 'hasFarther', actions: 'pass' }, { actions: 'end' }] },
})

test('of many messages between shards, several of each actor in one commit, none is lost', async () => {
  const world = await aWorld({ machines: [player] })
  const ids = Array.from({ length: 60 }, (_, i) => `p${i}`)
  const players = ids.map((id) => world.system.actor(player, id))
  await Promise.all(players.map((actor, i) => actor.start({ input: { next: `player/${ids[(i + 1) % ids.length]!}` } })))
  await Promise.all(players.flatMap((actor) => [6, 7, 8].map((hops) => actor.send({ type: 'token', hops }))))
  await world.settled()
  const ended = await Promise.all(players.map(async (actor) => (await actor.snapshot())!.context.ended))
  expect(ended).toEqual(ids.map(() => 3))
})

test('and none is lost or doubled wherever the process is killed', async () => {
  const ids = Array.from({ length: 5 }, (_, i) => `p${i}`)
  const nextOf = (i: number): string => `player/${ids[(i + 1) % ids.length]!}`
  const report = await crashTest(
    player,
    {
      input: { next: nextOf(-1) },
      steps: [
        async (system, id) => {
          await Promise.all(ids.map((own, i) => system.actor(player, own).start({ input: { next: nextOf(i) }, id: `${id}-${own}` })))
          await Promise.all(ids.flatMap((own) => [3, 4].map((hops) => system.actor(player, own).send({ type: 'token', hops }, { id: `${id}-${own}-${hops}` }))))
        },
      ],
    },
    { shards: 3, runs: 60 },
  )
  const ended = ids.map((id) => (report.undisturbed.actors[`player/${id}`]!.snapshot as { context: { ended: number } }).context.ended)
  expect(ended).toEqual(ids.map(() => 2))
  expect([...report.kills.keys()]).toEqual(expect.arrayContaining(['deliver before', 'deliver after']))
}, 60_000)

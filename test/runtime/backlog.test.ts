/** Bounds of what waits, and how whoever sends learns of them. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { assign, enqueueActions, fromCallback, fromPromise, sendTo, setup } from 'xstate'
import { MemoryDatabase, MemoryStore } from '../../src/adapters/memory/index.js'
import { createActorSystem, createClient, fromAsk, isHoldfastError, refTo, type ActorSystem, type MessageRefused } from '../../src/index.js'
import { shardOf, type Address } from '../../src/runtime/identity.js'
import { VirtualClock, World, type Write } from '../../src/testing/index.js'
import { Fleet } from '../support/fleet.js'
import { openDatabases, type Databases, type StoreKind } from '../support/stores.js'
import { RecordingLogger, aWorld } from '../support/worlds.js'

const shards = 2
const idIn = (shard: number, prefix: string): string => {
  for (let i = 0; ; i++) if (shardOf(`x/${prefix}${i}` as Address, shards) === shard) return `${prefix}${i}`
}
const here = idIn(0, 'here')
const near = idIn(0, 'near')
const far = idIn(1, 'far')

/** Keeps what it is told, in order. */
const keeper = setup({
  types: { context: {} as { seen: number[] }, events: {} as { type: 'see'; n: number } },
  actions: { see: assign({ seen: ({ context, event }) => [...context.seen, event.n] }) },
}).createMachine({ id: 'keeper', context: { seen: [] }, on: { see: { actions: 'see' } } })

/** Sends so many events to another actor in one turn, and keeps what it is told of those for which there was no room. */
const sender = setup({
  types: { context: {} as { refused: MessageRefused[]; answer: unknown }, events: {} as { type: 'flood'; to: string; count: number } | { type: 'ask'; to: string; after: number } | MessageRefused },
  actors: { ask: fromAsk<unknown, { to: string; after: number }>(({ input }) => ({ to: input.to, event: { type: 'see', n: 100 }, deadlineMs: 60_000 })) },
  actions: {
    flood: enqueueActions(({ event, enqueue }) => {
      if (event.type === 'flood') for (let n = 0; n < event.count; n++) enqueue(sendTo(() => refTo(event.to), { type: 'see', n }))
    }),
    fill: enqueueActions(({ event, enqueue }) => {
      if (event.type === 'ask') for (let n = 0; n < event.after; n++) enqueue(sendTo(() => refTo(event.to), { type: 'see', n }))
    }),
    note: assign({ refused: ({ context, event }) => [...context.refused, event as MessageRefused] }),
    answered: assign({ answer: ({ event }) => (event as unknown as { error: { code?: string } }).error.code }),
  },
}).createMachine({
  id: 'sender',
  context: { refused: [], answer: null },
  initial: 'idle',
  on: { flood: { actions: 'flood' }, 'message.refused': { actions: 'note' } },
  states: {
    idle: { on: { ask: { target: 'asking', actions: 'fill' } } },
    asking: { invoke: { src: 'ask', input: ({ event }) => event as { type: 'ask'; to: string; after: number }, onError: { target: 'idle', actions: 'answered' }, onDone: 'idle' } },
  },
})

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'ok',
    (error: unknown) => (isHoldfastError(error) ? error.code : String(error)),
  )
}

const ones = (count: number, from = 0): number[] => Array.from({ length: count }, (_, n) => from + n)

describe.each<[StoreKind]>([['memory'], ['lmdb'], ['redis']])('on %s', (kind) => {
  let databases: Databases
  let used = 0
  beforeAll(async () => void (databases = await openDatabases(kind)))
  afterAll(() => databases.dispose())

  const worldOf = (options: Partial<ConstructorParameters<typeof World>[0]> = {}): { world: World; name: string } => {
    const name = `backlog-${used++}`
    return { name, world: new World({ machines: [keeper, sender], shards, backlogMax: 4, suspectMax: Infinity, connect: () => databases.connect(name), ...options }) }
  }

  test('who sends from outside is refused beyond the bound, by a typed error, and may send the same again', async () => {
    const { world, name } = worldOf()
    const client = await createClient({ store: databases.connect(name), shards, backlogMax: 4 })
    const actor = client.actorAt('keeper/a')
    const codes = await Promise.all(ones(6).map((n) => codeOf(actor.send({ type: 'see', n } as never, { id: `m-${n}` }))))
    expect(codes).toEqual(['ok', 'ok', 'ok', 'ok', 'MAILBOX_FULL', 'MAILBOX_FULL'])
    await expect(actor.send({ type: 'see', n: 9 } as never)).rejects.toMatchObject({ name: 'MailboxFullError', code: 'MAILBOX_FULL', address: 'keeper/a', limit: 4 })
    await expect(actor.ask({ type: 'see', n: 9 } as never, { deadlineMs: 1_000 })).rejects.toMatchObject({ code: 'MAILBOX_FULL' })
    // Others are not concerned; an accepted one is known again.
    expect(await codeOf(client.actorAt('keeper/b').send({ type: 'see', n: 0 } as never))).toBe('ok')
    expect(await codeOf(actor.send({ type: 'see', n: 0 } as never, { id: 'm-0' }))).toBe('ok')
    await world.start()
    await world.settled()
    expect(await codeOf(actor.send({ type: 'see', n: 4 } as never, { id: 'm-4' }))).toBe('ok')
    await seen(world, ones(5))
    await client.stop()
    await world.stop()
  })

  test('a shard takes so many messages in all', async () => {
    const { world, name } = worldOf()
    const client = await createClient({ store: databases.connect(name), shards: 1, logMax: 3 })
    const codes = await Promise.all(ones(5).map((n) => codeOf(client.actorAt(`keeper/a${n}`).send({ type: 'see', n } as never))))
    expect(codes).toEqual(['ok', 'ok', 'ok', 'MAILBOX_FULL', 'MAILBOX_FULL'])
    await client.stop()
    expect(world.alive).toBe(false)
  })

  test('who waits for room is let in, in order, once there is some', async () => {
    const { world, name } = worldOf()
    const client = await createClient({ store: databases.connect(name), shards, backlogMax: 4 })
    const actor = client.actorAt('keeper/a')
    for (const n of ones(4)) await actor.send({ type: 'see', n } as never)
    const waiting = ones(3, 4).map((n) => actor.send({ type: 'see', n } as never, { whenFull: 'wait', id: `w-${n}` }))
    await pause(50)
    // Nobody overtakes them.
    expect(await codeOf(actor.send({ type: 'see', n: 99 } as never))).toBe('MAILBOX_FULL')
    await world.start()
    await Promise.all([...waiting, drained(world)])
    await seen(world, ones(7))
    expect(await codeOf(actor.send({ type: 'see', n: 7 } as never))).toBe('ok')
    await seen(world, ones(8))
    await client.stop()
    await world.stop()
  })

  test('who has waited as long as it said is refused, and nothing of it is accepted', async () => {
    const { world, name } = worldOf()
    const client = await createClient({ store: databases.connect(name), shards, backlogMax: 4 })
    const actor = client.actorAt('keeper/a')
    for (const n of ones(4)) await actor.send({ type: 'see', n } as never)
    const codes = await Promise.all([
      codeOf(actor.send({ type: 'see', n: 50 } as never, { whenFull: 'wait', deadlineMs: 700 })),
      codeOf(actor.ask({ type: 'see', n: 51 } as never, { whenFull: 'wait', deadlineMs: 900 })),
      // No more of one process wait than a mailbox holds.
      ...ones(4).map((n) => codeOf(actor.send({ type: 'see', n: 60 + n } as never, { whenFull: 'wait', deadlineMs: 800 }))),
    ])
    expect(codes).toEqual(Array.from({ length: 6 }, () => 'MAILBOX_FULL'))
    await world.start()
    await pause(60)
    await seen(world, ones(4))
    await client.stop()
    await world.stop()
  })

  test('an ask that is cancelled is never handled, whether it waits for room or stands in the mailbox that is full', async () => {
    const name = `backlog-${used++}`
    const client = await createClient({ store: databases.connect(name), shards, backlogMax: 4 })
    const actor = client.actorAt('keeper/a')
    for (const n of ones(3)) await actor.send({ type: 'see', n } as never)
    const controller = new AbortController()
    const asked = [50, 51].map((n) => actor.ask({ type: 'see', n } as never, { whenFull: 'wait', signal: controller.signal }).catch(String))
    await pause(50)
    controller.abort('gone')
    expect(await Promise.all(asked)).toEqual(['gone', 'gone'])
    // Whoever asked does not wait until that is kept.
    const store = databases.connect(name)
    await store.open({ namespace: 'default' })
    await expect.poll(async () => (await store.read(shardOf('keeper/a' as Address, shards), 0, 10, AbortSignal.abort())).length).toBe(5)
    await store.close()
    const sent = actor.send({ type: 'see', n: 3 } as never, { whenFull: 'wait' })
    const system = await createActorSystem({ store: databases.connect(name), machines: [keeper], shards, backlogMax: 4 }).start()
    await sent
    const { context } = await system.actor(keeper, 'a').waitFor((snapshot) => snapshot.context.seen.includes(3))
    expect(context.seen).toEqual(ones(4))
    expect((await system.deadLetters()).letters.map(({ reason }) => reason)).toEqual(['cancelled'])
    await client.stop()
    await system.stop()
  })

  test.each([['of the same shard', near], ['of another shard', far]])('an actor is told of what it sent to another %s for which there was no room, once, wherever the process dies', async (_, id) => {
    for (let kill = 0; ; kill++) {
      let writes = 0
      let armed = false
      let died = false
      const { world } = worldOf({
        // What a turn sends is not handled with it.
        batchTurnsMax: 1,
        onWrite: ({ kind: write }: Write) => {
          if (!armed || (write !== 'commit' && write !== 'deliver') || writes++ !== kill >> 1) return undefined
          died = true
          return kill % 2 === 0 ? 'kill-before' : 'kill-after'
        },
      })
      await world.start()
      await world.system.actor(sender, here).start()
      armed = true
      await Promise.race([world.system.actor(sender, here).send({ type: 'flood', to: `keeper/${id}`, count: 20 }, { id: 'flood' }), world.died])
      while (!(await world.settled())) await world.start()
      await Promise.race([world.system.actor(sender, here).send({ type: 'flood', to: `keeper/${id}`, count: 20 }, { id: 'flood' }), world.died])
      while (!(await world.settled())) await world.start()
      const handled = (await world.system.actor(keeper, id).snapshot())!.context.seen
      const told = (await world.system.actor(sender, here).snapshot())!.context.refused
      const { letters } = await world.system.deadLetters({ actor: `keeper/${id}` })
      // In memory some more are handled with the turn that sent them: those that stand in the log are as many as the bound says.
      expect(handled).toEqual(ones(handled.length))
      expect(handled.length).toBeLessThanOrEqual(8)
      expect(letters.map(({ message }) => (message.body as { n: number }).n).sort((a, b) => a - b)).toEqual(ones(20 - handled.length, handled.length))
      expect(letters.every(({ reason, message }) => reason === 'overflow' && message.from === `sender/${here}`)).toBe(true)
      // Twice the bound are told of, what is beyond is only kept.
      expect(told).toHaveLength(4)
      expect(told[0]).toEqual({ type: 'message.refused', to: `keeper/${id}`, event: 'see', reason: 'overflow', at: expect.any(Number) as number, chance: expect.any(Number) as number })
      expect(await world.system.redriveDeadLetters({ actor: `keeper/${id}` })).toMatchObject({ gone: 0 })
      await world.stop()
      if (!died) break
      if (kind !== 'memory' && kill > 8) break
    }
  }, 60_000)

  test.each([['of the same shard', near], ['of another shard', far]])('a question to an actor %s without room fails at once with MAILBOX_FULL', async (_, id) => {
    const { world } = worldOf({ batchTurnsMax: 1 })
    await world.start()
    await world.system.actor(sender, here).send({ type: 'ask', to: `keeper/${id}`, after: 7 })
    const before = world.now()
    await world.settled()
    expect((await world.system.actor(sender, here).snapshot())!.context.answer).toBe('MAILBOX_FULL')
    expect(world.now()).toBe(before)
    await world.stop()
  })

  test('an effect ends and a timer fires however full the mailbox of their actor is', async () => {
    let release = (): void => {}
    const busy = setup({
      types: { context: {} as { seen: number[]; done: string | null; rang: boolean }, events: {} as { type: 'see'; n: number } },
      actors: { job: fromPromise(() => new Promise<string>((resolve) => (release = () => resolve('done')))) },
      actions: { see: assign({ seen: ({ context, event }) => [...context.seen, (event as { n: number }).n] }), note: assign({ done: (_, done: string) => done }), ring: assign({ rang: true }) },
    }).createMachine({
      id: 'busy',
      context: { seen: [], done: null, rang: false },
      initial: 'on',
      on: { see: { actions: 'see' } },
      states: { on: { after: { 50: { actions: 'ring' } }, invoke: { src: 'job', onDone: { actions: { type: 'note', params: ({ event }) => event.output } } } } },
    })
    const { world, name } = worldOf({ machines: [busy] })
    await world.start()
    await world.system.actor(busy, 'x').start()
    await world.settled()
    let isSlow = true
    const client = await createClient({ store: databases.connect(name), shards, backlogMax: 4 })
    // It stands still: what is sent to it waits in the log.
    const hold = world.store.read.bind(world.store)
    Object.assign(world.store, { read: (...args: Parameters<typeof hold>) => (isSlow ? new Promise((resolve) => args[3].addEventListener('abort', () => resolve([]))) : hold(...args)) })
    const codes: string[] = []
    for (let n = 0; codes.at(-1) !== 'MAILBOX_FULL' && n < 50; n++) codes.push(await codeOf(client.actorAt('busy/x').send({ type: 'see', n } as never)))
    expect(codes.at(-1)).toBe('MAILBOX_FULL')
    release()
    world.time.runUntil(world.time.now() + 50)
    isSlow = false
    await world.stop()
    await world.start()
    await world.settled()
    const context = (await world.system.actor(busy, 'x').snapshot())!.context
    expect(context).toMatchObject({ done: 'done', rang: true })
    expect(context.seen).toEqual(ones(codes.length - 1))
    await client.stop()
    await world.stop()
  })
})

test('what skips the log is bounded for each actor and for the shard', async () => {
  const clock = new VirtualClock()
  const store = new MemoryStore({ now: () => 1e6 + clock.now() })
  const system = await createActorSystem({ store, clock, machines: [keeper], shards: 1, backlogMax: 5, logMax: 12, batchTurnsMax: 1, ids: { next: (() => { let i = 0; return () => `i${i++}` })() } }).start()
  const codes = await Promise.all(ones(4).flatMap((actor) => ones(6).map((n) => codeOf(system.actor(keeper, `k${actor}`).send({ type: 'see', n })))))
  expect(codes.map((code) => (code === 'ok' ? 1 : 0))).toEqual([1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
  await system.settled()
  expect((await system.actor(keeper, 'k0').snapshot())!.context.seen).toEqual(ones(5))
  await system.stop()
})

test('what waits for a store that does not answer is bounded, for each actor and for the shard', async () => {
  const store = new MemoryStore()
  const client = await createClient({ store, shards: 1, backlogMax: 3, logMax: 5 })
  Object.assign(store, { append: () => new Promise(() => {}) })
  const codes: string[] = []
  for (const id of ['a', 'a', 'a', 'a', 'b', 'b', 'b', 'c']) void codeOf(client.actorAt(`keeper/${id}`).send({ type: 'see', n: 1 } as never)).then((code) => codes.push(`${id} ${code}`))
  await ticks(5)
  expect(codes).toEqual(['a MAILBOX_FULL', 'b MAILBOX_FULL', 'c MAILBOX_FULL'])
  await client.stop({ withinMs: 1 })
})

test('a shard whose messages to another are not delivered handles no more than the bound, and goes on once they are', async () => {
  let isAway = true
  const world = await aWorld({ machines: [keeper, sender], shards, logMax: 10, batchTurnsMax: 1, onWrite: ({ kind }) => (isAway && kind === 'deliver' ? 'fail' : undefined) })
  const actor = world.system.actor(sender, here)
  const codes: string[] = []
  for (let i = 0; i < 40; i++) void codeOf(actor.send({ type: 'flood', to: `keeper/${far}`, count: 5 })).then((code) => codes.push(code))
  await ticks(400)
  const [stored] = world.database.namespaces.get('default')!.shards
  expect(stored!.outbox.size).toBeGreaterThanOrEqual(10)
  expect(stored!.outbox.size).toBeLessThanOrEqual(20)
  // Its own queue fills meanwhile, and who sends is told.
  expect(codes.filter((code) => code === 'MAILBOX_FULL').length).toBeGreaterThan(20)
  isAway = false
  for (let i = 0; i < 40; i++) {
    world.time.runUntil(world.time.now() + 100)
    await ticks(20)
  }
  await world.settled()
  expect(codes).toHaveLength(40)
  const accepted = codes.filter((code) => code === 'ok').length
  const seen = (await world.system.actor(keeper, far).snapshot())!.context.seen.length
  const { letters } = await world.system.deadLetters({ limit: 1_000 })
  expect(seen + letters.length).toBe(5 * accepted)
  expect(stored!.outbox.size).toBe(0)
  await world.stop()
})

test('what is sent while shards are handed over is refused or handled, and nothing else', async () => {
  const fleet = new Fleet({ machines: [keeper], shards: 4, backlogMax: 3, logMax: 20, leaseMs: 1_000, batchTurnsMax: 2 })
  const [first] = [fleet.join()]
  await fleet.advance(1_000)
  const ids = ['a', 'b', 'c', 'd', 'e', 'f']
  const accepted = new Map(ids.map((id) => [id, [] as number[]]))
  const codes = new Map<string, number>()
  let n = 0
  const sendSome = (system: ActorSystem): void => {
    for (const id of ids) {
      for (let i = 0; i < 5; i++) {
        const value = n++
        void codeOf(system.actor(keeper, id).send({ type: 'see', n: value }, { id: `m-${value}` })).then((code) => {
          codes.set(code, (codes.get(code) ?? 0) + 1)
          if (code === 'ok') accepted.get(id)!.push(value)
        })
      }
    }
  }
  for (let round = 0; round < 6; round++) {
    sendSome(first.system)
    const other = fleet.join()
    for (let step = 0; step < 20; step++) {
      await fleet.advance(25)
      sendSome(first.system)
      if (other.system.role === 'owner') sendSome(other.system)
    }
    void fleet.leave(other)
    for (let step = 0; step < 20; step++) {
      await fleet.advance(25)
      sendSome(first.system)
    }
  }
  await fleet.advance(3_000)
  expect([...codes.keys()].sort()).toEqual(['MAILBOX_FULL', 'ok'])
  for (const id of ids) expect([...(await first.system.actor(keeper, id).snapshot())!.context.seen].sort((a, b) => a - b)).toEqual([...accepted.get(id)!].sort((a, b) => a - b))
  for (const { system } of fleet.living) await system.stop()
})

test('an actor that does not ask to be told has no unknown event of it, and one that has gone no dead letter', async () => {
  const deaf = setup({
    types: { events: {} as { type: 'flood' } | { type: 'once' } },
    actions: { flood: enqueueActions(({ enqueue }) => ones(20).forEach((n) => enqueue(sendTo(() => refTo(`keeper/${far}`), { type: 'see', n })))) },
  }).createMachine({ id: 'deaf', initial: 'on', states: { on: { on: { flood: { actions: 'flood' }, once: { target: 'off', actions: 'flood' } } }, off: { type: 'final' } } })
  const logger = new RecordingLogger()
  const world = await aWorld({ machines: [deaf, keeper], shards, backlogMax: 4, logger })
  await world.system.actor(deaf, here).send({ type: 'flood' })
  await world.settled()
  await world.system.actor(deaf, here).send({ type: 'once' })
  await world.settled()
  expect(world.system.stats().unknownEvents).toBe(0)
  const { letters } = await world.system.deadLetters()
  expect(new Set(letters.map(({ to, reason }) => `${to} ${reason}`))).toEqual(new Set([`keeper/${far} overflow`]))
  expect(logger.lines.filter(({ message }) => message === 'a message became a dead letter').length).toBe(world.system.stats().deadLetters)
  expect(world.system.stats().deadLetters).toBe(8)
  await world.stop()
})

test('what an effect sends to its own actor and finds no room is said in the log', async () => {
  const logger = new RecordingLogger()
  const chatty = setup({ types: { context: {} as { n: number }, events: {} as { type: 'x' } }, actors: { many: fromCallback(({ sendBack }) => ones(9).forEach(() => sendBack({ type: 'x' }))) } }).createMachine({
    id: 'chatty',
    context: { n: 0 },
    invoke: { src: 'many' },
    on: { x: { actions: assign({ n: ({ context }) => context.n + 1 }) } },
  })
  const world = await aWorld({ machines: [chatty], shards, backlogMax: 4, logger })
  await world.system.actor(chatty, 'c').start()
  await world.settled()
  expect((await world.system.actor(chatty, 'c').snapshot())!.context.n).toBe(4)
  expect(logger.lines.filter(({ level, message }) => level === 'error' && message === 'a message was not accepted')).toHaveLength(5)
  await world.stop()
})

test('options that are none are refused by name', async () => {
  const world = await aWorld({ machines: [keeper] })
  for (const whenFull of ['WAIT', true, 1]) await expect(world.system.actor(keeper, 'a').send({ type: 'see', n: 1 }, { whenFull: whenFull as never })).rejects.toThrow(/whenFull: expected "refuse" or "wait"/)
  expect(() => createActorSystem({ store: new MemoryStore({ database: new MemoryDatabase() }), machines: [], logMax: 0 })).toThrow(/logMax: expected a whole number of at least 1, got 0/)
  await world.stop()
})

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

async function ticks(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

/** What a client of another connection sends is noticed in real time. */
async function seen(world: World, wanted: readonly number[]): Promise<void> {
  let got: readonly number[] = []
  for (let left = 200; left > 0; left--) {
    await world.settled()
    got = (await world.system.actor(keeper, 'a').snapshot())?.context.seen ?? []
    if (got.length >= wanted.length) break
    await pause(5)
  }
  expect(got).toEqual(wanted)
}

async function drained(world: World): Promise<void> {
  for (let i = 0; i < 60; i++) {
    await world.settled()
    await pause(10)
  }
}

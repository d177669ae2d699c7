/** A shard that begins again, records that go and come in one commit, and who may overtake whom meanwhile. */
import { expect, test } from 'vitest'
import { assign, enqueueActions, fromPromise, sendTo, setup } from 'xstate'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { durableChild, refTo, reply, restartDurableChild, StoreError } from '../../src/index.js'
import { World, type WorldOptions } from '../../src/testing/index.js'
import { aWorld, counter, RecordingLogger } from '../support/worlds.js'

/** A world whose store answers as it is told, one shard. */
async function withStore(store: (world: World) => Partial<MemoryStore>, options: Partial<WorldOptions> = {}): Promise<World> {
  const world: World = new World({ machines: [counter], shards: 1, ...options, connect: () => Object.assign(new MemoryStore({ database: world.database, now: () => world.now() }), store(world)) })
  await world.start()
  return world
}

/** Lets time pass also for a store that waits for it, which `world.advance` would wait for in vain. */
async function pass(world: World, ms: number): Promise<void> {
  const until = world.time.now() + ms
  const rest = async (): Promise<void> => {
    for (let i = 0; i < 20; i++) await new Promise<void>((resolve) => void setImmediate(resolve))
  }
  for (;;) {
    await rest()
    const next = world.time.nextDue()
    if (next === undefined || next > until) break
    world.time.runUntil(next)
  }
  world.time.runUntil(until)
  await rest()
}

const proto = MemoryStore.prototype
type Commit = Parameters<MemoryStore['commit']>[0]

test.each(['refused', 'gap'] as const)('what is sent while a shard begins again stays behind what was sent before (%s)', async (why) => {
  let fails = false
  const world = await withStore((w) => ({
    async commit(this: MemoryStore, commit: Commit) {
      if (!fails) return proto.commit.call(this, commit)
      return why === 'gap' ? { ok: false, why, detail: 'x' } : { ok: false, why, address: 'counter/other', detail: 'no' }
    },
    async claim(this: MemoryStore, ...args: Parameters<MemoryStore['claim']>) {
      if (fails) await w.sleep(30)
      fails = false
      return proto.claim.apply(this, args)
    },
  }))
  const a = world.system.actor(counter, 'a')
  await a.send({ type: 'note', text: '0' })
  await world.settled()
  fails = true
  const sent = [a.send({ type: 'note', text: '1' }), a.send({ type: 'note', text: '2' })]
  world.time.after(10, () => void sent.push(a.send({ type: 'note', text: '3' })))
  await pass(world, 1_000)
  await Promise.all(sent)
  expect(fails).toBe(false)
  expect((await a.snapshot())!.context.log).toEqual(['0', '1', '2', '3'])
  await world.stop()
})

test('what waits for a shard that cannot begin again is bounded, too (I12)', async () => {
  let gone = false
  const world = await withStore(() => ({
    async commit(this: MemoryStore, commit: Commit) {
      return gone ? { ok: false, why: 'gap', detail: 'x' } : proto.commit.call(this, commit)
    },
    async append(this: MemoryStore, ...args: Parameters<MemoryStore['append']>) {
      if (gone) throw new StoreError('gone', 'failed')
      return proto.append.apply(this, args)
    },
    async claim(this: MemoryStore, ...args: Parameters<MemoryStore['claim']>) {
      if (gone) throw new StoreError('gone', 'failed')
      return proto.claim.apply(this, args)
    },
  }), { backlogMax: 3 })
  const a = world.system.actor(counter, 'a')
  await a.send({ type: 'note', text: '0' })
  await world.settled()
  gone = true
  const sent = [a.send({ type: 'note', text: '1' })]
  await pass(world, 10)
  sent.push(...['2', '3', '4', '5', '6'].map((text) => a.send({ type: 'note', text })))
  const refused: string[] = []
  const ends = Promise.all(sent.map((one) => one.then(() => 'ok', (error: Error) => (refused.push(error.name), error.name))))
  await pass(world, 1_000)
  // At once, and not when the store is back.
  expect(refused).toHaveLength(3)
  gone = false
  await pass(world, 5_000)
  expect(await ends).toEqual(['ok', 'ok', 'ok', 'MailboxFullError', 'MailboxFullError', 'MailboxFullError'])
  expect((await a.snapshot())!.context.log).toEqual(['0', '1', '2', '3'])
  await world.stop()
})

test('two reasons to begin again at once are one beginning, and nothing is handled twice (I1)', async () => {
  let refuse = false
  const world = await withStore((w) => ({
    async commit(this: MemoryStore, commit: Commit) {
      if (!refuse) return proto.commit.call(this, commit)
      refuse = false
      await w.sleep(60)
      return { ok: false, why: 'refused', address: 'counter/zz', detail: 'no' }
    },
    async claim(this: MemoryStore, ...args: Parameters<MemoryStore['claim']>) {
      if (w.generation > 0 && w.time.now() > 0) await w.sleep(5)
      return proto.claim.apply(this, args)
    },
  }))
  const c = world.system.actor(counter, 'c')
  await c.send({ type: 'note', text: '0' })
  await world.settled()
  // Nothing that handles an input throws by itself, so it is planted.
  const [shard] = [...(world.system as unknown as { shards: Map<number, { dispatcher: { message(...args: { address?: string }[]): void } }> }).shards.values()]
  const { dispatcher } = shard!
  const message = dispatcher.message.bind(dispatcher)
  let throws = true
  dispatcher.message = (batch, resident, ...rest) => {
    if (!throws || resident!.address !== 'counter/bad') return message(batch!, resident!, ...rest)
    throws = false
    throw new Error('planted')
  }
  refuse = true
  const sent = [c.send({ type: 'note', text: '1' })]
  world.time.after(15, () => void sent.push(world.system.actor(counter, 'bad').send({ type: 'note', text: 'b' })))
  await pass(world, 1_000)
  await Promise.allSettled(sent)
  for (const text of ['2', '3', '4']) sent.push(c.send({ type: 'note', text }, { id: `n-${text}` }))
  await pass(world, 1_000)
  await Promise.allSettled(sent)
  expect(throws).toBe(false)
  expect((await c.snapshot())!.context.log).toEqual(['0', '1', '2', '3', '4'])
  await world.stop()
})

test('a shard that is stopped while it begins again stays stopped', async () => {
  let gap = false
  const calls: string[] = []
  const world = await withStore((w) => ({
    async commit(this: MemoryStore, commit: Commit) {
      if (gap) return { ok: false, why: 'gap', detail: 'x' }
      calls.push('commit')
      return proto.commit.call(this, commit)
    },
    async timers(this: MemoryStore, ...args: Parameters<MemoryStore['timers']>) {
      if (gap) {
        gap = false
        await w.sleep(50)
      }
      return proto.timers.apply(this, args)
    },
    async release(this: MemoryStore, ...args: Parameters<MemoryStore['release']>) {
      calls.push('release')
      return proto.release.apply(this, args)
    },
  }))
  await world.settled()
  calls.length = 0
  gap = true
  const sent = world.system.actor(counter, 'a').send({ type: 'add', by: 1 }).catch(() => 'stopped')
  await pass(world, 20)
  const stopped = world.stop()
  await pass(world, 1_000)
  await stopped
  await sent
  expect(calls.filter((call) => call === 'commit')).toEqual([])
  const [stored] = world.database.namespaces.get('default')!.shards
  expect(stored).toMatchObject({ owner: undefined })
})

const rich = setup({ types: { context: {} as Record<string, unknown>, events: {} as { type: 'fill' } | { type: 'end' } | { type: 'hi' } }, actions: { fill: assign({ extra: 1 }) } }).createMachine({
  id: 'rich', context: {}, initial: 'a', states: { a: { on: { fill: { actions: 'fill' }, hi: {}, end: 'b' } }, b: { type: 'final' } },
})

test('an actor that expires and begins again at one instant is another one, in memory and in the store', async () => {
  const world = await aWorld({ machines: [rich], endedRetentionMs: 1_000, shards: 1 })
  const a = world.system.actor(rich, 'a')
  let again: Promise<unknown> | undefined
  world.time.after(1_000, () => void (again = a.send({ type: 'hi' })))
  await a.send({ type: 'fill' })
  await a.send({ type: 'end' })
  await world.settled()
  world.time.runUntil(1_000)
  await again
  await world.settled()
  expect((await a.snapshot())!).toMatchObject({ value: 'a', context: {} })
  world.crash()
  await world.start()
  await world.settled()
  const b = world.system.actor(rich, 'a')
  expect((await b.snapshot())!).toMatchObject({ value: 'a', context: {} })
  await b.send({ type: 'hi' })
  await world.settled()
  expect(await world.system.parked('rich/a')).toEqual([])
  await world.stop()
})

test.each([100, 130])('due timers come before what turns send within the shard, however many are due (%s)', async (count) => {
  const target = setup({ types: { context: {} as { log: string[] }, events: {} as { type: 'arm' } | { type: 'told' } | { type: 'tick' } }, actions: { note: assign({ log: ({ context, event }) => [...context.log, event.type] }), arm: sendTo(({ self }) => self, { type: 'tick' }, { delay: 100 }) } }).createMachine({
    id: 'target', context: { log: [] }, on: { arm: { actions: 'arm' }, tick: { actions: 'note' }, told: { actions: 'note' } },
  })
  const poker = setup({ types: { events: {} as { type: 'go' } } }).createMachine({ id: 'poker', initial: 'waiting', states: { waiting: { after: { 100: 'sent' } }, sent: { entry: sendTo(() => refTo('target/x'), { type: 'told' }) } }, on: { go: {} } })
  const world = await aWorld({ machines: [target, poker], shards: 1 })
  await Promise.all(Array.from({ length: count }, (_, i) => world.system.actor(poker, `p${i}`).send({ type: 'go' })))
  const x = world.system.actor(target, 'x')
  await x.send({ type: 'arm' })
  await world.advance(100)
  expect((await x.snapshot())!.context.log).toEqual(['tick', ...Array.from({ length: count }, () => 'told')])
  await world.stop()
})

const again = (from: string) => setup({ types: { events: {} as { type: 'again' } }, actions: { again: restartDurableChild(() => ({ machine: 'counter', id: 'k', from: from as 'input' })) } }).createMachine({ id: 'boss', on: { again: { actions: 'again' } } })

test('a restart from nowhere and a token that no message brought fail their own turn, and nobody else', async () => {
  const asker = setup({ types: { events: {} as { type: 'a'; token: unknown } }, actions: { answer: reply(() => 1, ({ event }) => event.token as never) } }).createMachine({ id: 'asker', on: { a: { actions: 'answer' } } })
  const boss = again('snapshot"')
  const logger = new RecordingLogger()
  const world = await aWorld({ machines: [counter, asker, boss], shards: 1, logger })
  await world.system.actor(boss, 'b').send({ type: 'again' })
  await world.settled()
  expect(await world.system.actor(boss, 'b').failure()).toMatchObject({ error: { name: 'TurnError', message: expect.stringMatching(/from "snapshot\\"": from "snapshot" or from "input"/) as string } })
  const tokens = [{ id: 'x', to: { to: 5, cell: 0, effect: 'e' } }, { id: 'x', to: {} }, { id: 'x', to: 7 }, { id: '' }, {}, 'abc', 5]
  for (const [i, token] of tokens.entries()) {
    const actor = world.system.actor(asker, `x${i}`)
    await actor.send({ type: 'a', token })
    await world.settled()
    expect((await actor.failure())?.error.message, JSON.stringify(token)).toMatch(/token|address/i)
  }
  await world.system.actor(counter, 'c').send({ type: 'add', by: 1 }, { id: 'm1' })
  await world.settled()
  expect((await world.system.actor(counter, 'c').snapshot())!.context.n).toBe(1)
  expect(logger.lines.filter(({ level }) => level === 'error')).toEqual([])
  await world.stop()
})

test('a child that fails and is restarted at once runs its effect once, and whoever waits for it hears of the failure', async () => {
  const runs: AbortSignal[] = []
  const boss = setup({ actions: { hire: durableChild(() => ({ machine: 'kid', id: 'k' })), again: restartDurableChild(() => ({ machine: 'kid', id: 'k', from: 'snapshot' })) } }).createMachine({
    id: 'boss', context: {}, entry: ['hire', sendTo(() => refTo('kid/b~k'), { type: 'go' }), sendTo(() => refTo('kid/b~k'), { type: 'bad' })], on: { 'child.failed': { actions: 'again' } },
  })
  const kid = setup({
    types: { context: {} as { n: number }, events: {} as { type: 'go' } | { type: 'bad' } },
    actors: { work: fromPromise(({ signal }) => { runs.push(signal); return new Promise(() => {}) }) },
    actions: { fail: assign(() => { throw new Error('bad') }) },
  }).createMachine({ id: 'kid', context: { n: 0 }, initial: 'a', states: { a: { on: { go: 'b' } }, b: { invoke: { src: 'work' }, on: { bad: { actions: 'fail' } } } } })
  const world = await aWorld({ machines: [boss, kid], shards: 1 })
  await world.system.actor(boss, 'b').start({})
  await world.settled()
  expect(runs.map(({ aborted }) => aborted)).toEqual([false])
  expect(await world.system.actorAt('kid/b~k').status()).toBe('active')
  const waited = world.system.actorAt('kid/b~k').waitFor(() => false).then(() => 'resolved', (error: Error) => `${error.name}: ${error.message}`)
  await world.settled()
  await world.system.actorAt('kid/b~k').send({ type: 'bad' } as never)
  await world.settled()
  expect(await waited).toBe('ActorFailedError: Actor kid/b~k failed: bad')
  await world.stop()
})

test('a sender hears that it was refused, whatever became of the messages of actors meanwhile', async () => {
  const needy = setup({ types: { context: {} as { x: number }, input: {} as { x: number }, events: {} as { type: 'x' } } }).createMachine({ id: 'needy', context: ({ input }) => ({ ...input }) })
  const fan = setup({ types: { events: {} as { type: 'many'; count: number } }, actions: { send: enqueueActions(({ enqueue, event }) => { for (let i = 0; i < event.count; i++) enqueue.sendTo(refTo('needy/nobody'), { type: 'x' }) }) } }).createMachine({ id: 'fan', on: { many: { actions: 'send' } } })
  const world = await aWorld({ machines: [needy, fan], shards: 1 })
  await world.system.actor(fan, 'f').send({ type: 'many', count: 999 })
  await world.settled()
  const z = world.system.actor(needy, 'z')
  const both = Promise.allSettled([z.start({ input: { x: 1 } }), z.start({ input: { x: 2 } })])
  await world.system.actor(fan, 'f').send({ type: 'many', count: 50 })
  await world.settled()
  expect((await both).map((one) => (one.status === 'rejected' ? (one.reason as Error).name : 'ok'))).toEqual(['ok', 'ActorExistsError'])
  await world.stop()
})

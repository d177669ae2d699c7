/** What inspectors are told: after the commit, in order, of committed states only, and of every actor from its announcement on. */
import { createWebSocketInspector as statelyInspector } from '@statelyai/inspect'
import { expect, test } from 'vitest'
import { assign, createActor, fromPromise, sendTo, setup, type AnyActorRef, type InspectionEvent } from 'xstate'
import { ConfigError, createActorSystem, durableChild, refTo, type Logger } from 'holdfast'
import { MemoryStore } from 'holdfast/memory'
import { World, type Write } from 'holdfast/testing'
import { InspectorServer, comparable } from '../support/inspector-server.js'

const counter = setup({ types: { context: {} as { n: number }, events: {} as { type: 'up' } | { type: 'spoil' } | { type: 'break' } } }).createMachine({
  id: 'counter',
  context: { n: 0 },
  on: {
    up: { actions: assign({ n: ({ context }) => context.n + 1 }) },
    spoil: { actions: assign({ n: () => new Map() as never }) },
    break: { guard: () => { throw new Error('broken') } },
  },
})

interface Told {
  readonly type: string
  readonly of: string
  readonly n: number | undefined
}

/** What it was told, and what the actor showed at that moment. */
function listener(): { inspect: (event: InspectionEvent) => void; told: Told[]; events: InspectionEvent[] } {
  const told: Told[] = []
  const events: InspectionEvent[] = []
  return {
    told,
    events,
    inspect(event) {
      events.push(event)
      const snapshot = event.actorRef.getSnapshot() as { context?: { n: number } }
      told.push({ type: event.type === '@xstate.event' ? event.event.type : event.type, of: event.actorRef.sessionId, n: snapshot.context?.n })
    },
  }
}

test('nobody is told before the commit, and each is told in the order of the turns, of the state after that turn (I4, N1)', async () => {
  const commits: number[] = []
  const { inspect, told } = listener()
  const toldAt: number[] = []
  const world = new World({
    machines: [counter],
    inspect: (event) => {
      inspect(event)
      toldAt.push(commits.length)
    },
    onWritten: (write: Write) => void (write.kind === 'commit' && commits.push(1)),
  })
  await world.start()
  const actor = world.system.actor(counter, 'a')
  await actor.start()
  await world.settled()
  expect(told.map(({ type }) => type)).toEqual(['@xstate.actor', 'xstate.init', '@xstate.snapshot'])
  const before = told.length
  // Many turns in one commit: the actor in memory is far ahead of the first.
  await Promise.all(Array.from({ length: 50 }, () => actor.send({ type: 'up' })))
  await world.settled()
  const ups = told.slice(before).filter(({ type }) => type === 'up')
  expect(ups.map(({ n }) => n)).toEqual(Array.from({ length: 50 }, (_, i) => i + 1))
  expect(toldAt.every((commitsThen) => commitsThen > 0)).toBe(true)
  await world.stop()
})

test('a commit that is not made is not told', async () => {
  const { inspect, told } = listener()
  let isDown = false
  const world = new World({ machines: [counter], inspect, onWrite: ({ kind }) => (isDown && kind === 'commit' ? 'kill-before' : undefined) })
  await world.start()
  const actor = world.system.actor(counter, 'a')
  await actor.send({ type: 'up' })
  await world.settled()
  const before = told.length
  isDown = true
  void actor.send({ type: 'up' }).catch(() => {})
  await world.died
  expect(told.length).toBe(before)
})

test('an actor that comes back from the store is announced with its children, parents first, before its event (N2)', async () => {
  const child = setup({}).createMachine({ id: 'kid', initial: 'young', states: { young: { on: { grow: 'old' } }, old: {} } })
  const parent = setup({ actors: { child } }).createMachine({ id: 'parent', invoke: { id: 'kid', src: 'child' }, on: { go: { actions: sendTo('kid', { type: 'grow' }) } } })
  const first = listener()
  const world = new World({ machines: [parent], inspect: (event) => current.inspect(event) })
  let current = first
  await world.start()
  await world.system.actor(parent, 'p').send({ type: 'go' })
  await world.settled()
  world.crash()
  current = listener()
  await world.start()
  await world.system.actor(parent, 'p').send({ type: 'go' })
  await world.settled()
  expect(current.told.slice(0, 3).map(({ type, of }) => `${type} of ${of}`)).toEqual(['@xstate.actor of parent/p', '@xstate.actor of parent/p#1', 'go of parent/p'])
  expect((current.events[1]!.actorRef as unknown as AnyActorRef).getSnapshot()).toMatchObject({ value: 'old' })
  await world.stop()
})

test('whoever inspects later is shown the actors in memory at once, and nothing when it has left', async () => {
  const system = await createActorSystem({ store: new MemoryStore(), machines: [counter] }).start()
  const actor = system.actor(counter, 'a')
  await actor.send({ type: 'up' })
  await system.settled()
  const { inspect, told } = listener()
  const { unsubscribe } = system.inspect({ next: inspect })
  expect(told).toEqual([{ type: '@xstate.actor', of: 'counter/a', n: 1 }])
  await actor.send({ type: 'up' })
  await system.settled()
  expect(told.filter(({ type }) => type === 'up')).toEqual([{ type: 'up', of: 'counter/a', n: 2 }])
  const before = told.length
  unsubscribe()
  await actor.send({ type: 'up' })
  await system.settled()
  expect(told.length).toBe(before)
  await system.stop()
})

test('what an inspector throws, at once or later, harms nobody, and is logged once (N3)', async () => {
  const warned: string[] = []
  const logger: Logger = { error() {}, warn: (fields, message) => void warned.push(`${message} ${JSON.stringify(fields)}`), info() {}, debug() {}, trace() {} }
  const { inspect, told } = listener()
  const system = await createActorSystem({ store: new MemoryStore(), machines: [counter], logger, inspect: () => { throw new Error('not me') } }).start()
  system.inspect(() => Promise.reject(new Error('nor me')) as never)
  system.inspect(inspect)
  await system.actor(counter, 'a').send({ type: 'up' })
  await system.settled()
  expect(told.length).toBeGreaterThan(3)
  expect(warned.filter((line) => line.includes('an inspector threw'))).toEqual([expect.stringContaining('not me'), expect.stringContaining('nor me')])
  await system.stop()
})

test('a turn that failed is told: as XState would if the machine threw, and with its reason if the runtime refused it', async () => {
  const { inspect, events, told } = listener()
  const system = await createActorSystem({ store: new MemoryStore(), machines: [counter], inspect }).start()
  const [broken, spoilt] = [system.actor(counter, 'broken'), system.actor(counter, 'spoilt')]
  await spoilt.start()
  await broken.send({ type: 'break' })
  await spoilt.send({ type: 'spoil' })
  await system.actor(counter, 'at-once').send({ type: 'spoil' })
  await system.settled()
  const of = (id: string): string[] => told.filter((one) => one.of === id).map(({ type }) => type)
  expect(of('counter/broken').at(-1)).toBe('break')
  expect(of('counter/spoilt').slice(-2)).toEqual(['spoil', '@xstate.snapshot'])
  expect(of('counter/at-once')).toEqual(['@xstate.actor', 'xstate.init', 'spoil', '@xstate.snapshot'])
  const last = events.filter(({ actorRef }) => actorRef.sessionId === 'counter/spoilt').at(-1) as InspectionEvent & { type: '@xstate.snapshot' }
  // The state in which it stands, not the one that was refused.
  expect(last.snapshot).toMatchObject({ status: 'error', context: { n: 0 }, error: { code: 'NON_JSON' } })
  await system.stop()
})

test('an event that another actor sent names it, also a durable child and its parent', async () => {
  const boss = setup({ actions: { hire: durableChild(() => ({ machine: 'kid', id: 'k' })) } }).createMachine({ id: 'boss', on: { hire: { actions: 'hire' }, tell: { actions: sendTo(() => refTo('kid/b~k'), { type: 'hear' } as never) } } })
  const kid = setup({}).createMachine({ id: 'kid', on: { hear: {} } })
  const sources: string[] = []
  const parents: string[] = []
  const system = await createActorSystem({
    store: new MemoryStore(),
    machines: [boss, kid],
    inspect(event) {
      if (event.type === '@xstate.event') sources.push(`${event.event.type} to ${event.actorRef.sessionId} from ${event.sourceRef?.sessionId ?? 'outside'}`)
      if (event.type === '@xstate.actor') parents.push(`${event.actorRef.sessionId} of ${(event.actorRef as { _parent?: AnyActorRef })._parent?.sessionId ?? 'nobody'}`)
    },
  }).start()
  const actor = system.actor(boss, 'b')
  await actor.send({ type: 'hire' })
  await system.settled()
  await actor.send({ type: 'tell' })
  await system.settled()
  expect(sources).toEqual([
    'xstate.init to boss/b from outside',
    'hire to boss/b from outside',
    'xstate.init to kid/b~k from boss/b',
    'child.started to boss/b from kid/b~k',
    'tell to boss/b from outside',
    'hear to kid/b~k from boss/b',
  ])
  expect(parents).toEqual(['boss/b of nobody', 'kid/b~k of boss/b'])
  await system.stop()
})

test('the inspector of @statelyai/inspect takes the events of a system as they are', async () => {
  const [native, ours] = await Promise.all([InspectorServer.start(), InspectorServer.start()])
  const work = setup({ actors: { job: fromPromise(() => Promise.resolve({ done: 1 })) } }).createMachine({ id: 'work', initial: 'at', states: { at: { invoke: { src: 'job', onDone: 'over' } }, over: { type: 'final' } } })
  const turnOfTimers = async (): Promise<void> => {
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setTimeout(resolve, 0))
  }
  for (const [server, run] of [
    [native, async (inspect) => void createActor(work, { id: 'a-1', inspect }).start()],
    [
      ours,
      async (inspect) => {
        const system = await createActorSystem({ store: new MemoryStore(), machines: [work], inspect }).start()
        const actor = system.actor(work, 'a-1')
        await actor.start()
        await actor.output()
        await system.settled()
      },
    ],
  ] as [InspectorServer, (inspect: ReturnType<typeof statelyInspector>['inspect']) => Promise<void>][]) {
    const inspector = statelyInspector({ url: server.url })
    await server.until(() => server.sockets.length === 1)
    await run(inspector.inspect)
    await turnOfTimers()
    inspector.event('end', 'end')
    await server.until(() => server.frames.at(-1)?.includes('"end"') === true)
    inspector.stop()
  }
  // It looks at what an actor is when it has time to, so the announcements differ by when that was.
  const others = (frames: readonly string[]): string[] => comparable(frames).filter((frame) => !frame.includes('"@xstate.actor"') && !frame.includes('"type":"end"'))
  expect(others(ours.frames)).toEqual(others(native.frames))
  await Promise.all([native.stop(), ours.stop()])
})

test('an inspector that is none is refused', () => {
  for (const inspect of [null, 5, {}, 'ws://127.0.0.1']) expect(() => createActorSystem({ store: new MemoryStore(), machines: [counter], inspect: inspect as never })).toThrow(ConfigError)
})

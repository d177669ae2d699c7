/** Several nodes of one namespace, under virtual time: who runs what, and what those see who send and wait. */
import { expect, test } from 'vitest'
import { assign, fromPromise, setup } from 'xstate'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { append, createClient, reply, type ReplyToken } from '../../src/index.js'
import { placementOf } from '../../src/runtime/placement.js'
import { Fleet, type FleetNode } from '../support/fleet.js'
import { RecordingLogger } from '../support/worlds.js'

const counter = setup({
  types: { context: {} as { seen: number[] }, events: {} as { type: 'add'; n: number } | { type: 'question' } | { type: 'later' } | { type: 'answer' }, emitted: {} as { type: 'added'; n: number } },
  actions: { take: assign({ seen: ({ context, event }) => (event.type === 'add' ? [...context.seen, event.n] : context.seen) }) },
}).createMachine({
  id: 'counter',
  context: { seen: [] },
  initial: 'counting',
  states: {
    counting: {
      on: { add: { actions: 'take' }, question: { actions: reply(({ context }) => context.seen.length) }, later: 'waiting' },
    },
    waiting: { after: { 3_000: 'counting' }, on: { add: { actions: 'take' } } },
  },
})

const ids = Array.from({ length: 24 }, (_, i) => `c${i}`)
const leaseMs = 2_000

function fleet(more: Partial<ConstructorParameters<typeof Fleet>[0]> = {}): Fleet {
  return new Fleet({ machines: [counter], leaseMs, ...more })
}

/** Sends without waiting; says how many were accepted, and what was refused. */
class Sender {
  accepted = 0
  readonly refused: unknown[] = []
  private n = 0
  private readonly from: () => FleetNode
  constructor(from: () => FleetNode) {
    this.from = from
  }
  /** The next number to every actor. */
  all(): void {
    this.n++
    for (const id of ids) this.from().system.actor(counter, id).send({ type: 'add', n: this.n }).then(() => this.accepted++, (error: unknown) => this.refused.push(error))
  }
  get last(): number {
    return this.n
  }
}

async function seenBy(node: FleetNode, id: string): Promise<readonly number[]> {
  return (await node.system.actor(counter, id).snapshot())?.context.seen ?? []
}

const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1)

test('nodes share the shards evenly as they come and go, and nothing that was sent is lost, doubled or overtaken', async () => {
  const all = fleet()
  const first = all.join()
  await all.advance(100)
  expect(all.loads()).toEqual({ n0: 16 })
  const sender = new Sender(() => first)
  sender.all()
  const second = all.join()
  for (let i = 0; i < 20; i++) {
    sender.all()
    await all.advance(20)
  }
  expect(all.loads()).toEqual({ n0: 8, n1: 8 })
  const third = all.join()
  for (let i = 0; i < 20; i++) {
    sender.all()
    await all.advance(20)
  }
  expect(Object.values(all.loads()).sort()).toEqual([5, 5, 6])
  const left = all.leave(second)
  sender.all()
  await all.advance(100)
  await left
  sender.all()
  await all.advance(100)
  expect(all.loads()).toEqual({ n0: 8, n2: 8 })
  expect(sender.refused).toEqual([])
  expect(sender.accepted).toBe(sender.last * ids.length)
  for (const id of ids) expect(await seenBy(third, id)).toEqual(upTo(sender.last))
  for (const { system } of all.living) await system.stop()
})

test('a clean leave is taken up within a look, not after a lease', async () => {
  const all = fleet()
  const first = all.join()
  const second = all.join()
  await all.advance(1_000)
  const left = all.leave(first)
  await all.advance(leaseMs / 20)
  await left
  expect(all.loads()).toEqual({ n1: 16 })
  await second.system.stop()
})

test('the shards of a dead node are taken over within its lease and a second; its timers fire on time', async () => {
  const all = fleet()
  const first = all.join()
  const second = all.join()
  await all.advance(1_000)
  const sender = new Sender(() => second)
  sender.all()
  for (const id of ids) await second.system.actor(counter, id).send({ type: 'later' })
  await all.advance(10)
  first.kill()
  const killedAt = all.time.now()
  sender.all()
  while (all.loads()['n1'] !== 16) await all.advance(50)
  expect(all.time.now() - killedAt).toBeGreaterThan(leaseMs - leaseMs / 20)
  expect(all.time.now() - killedAt).toBeLessThanOrEqual(leaseMs + 1_000)
  await all.advance(1_100)
  for (const id of ids) {
    const snapshot = await second.system.actor(counter, id).snapshot()
    expect([snapshot?.value, snapshot?.context.seen]).toEqual(['counting', [1, 2]])
  }
  expect(sender.refused).toEqual([])
  await second.system.stop()
})

test('a node that comes after another one has died agrees at once with those who know', async () => {
  const all = fleet()
  const [first, second] = [all.join(), all.join()]
  await all.advance(1_000)
  first.kill()
  await all.advance(leaseMs + 500)
  expect(all.loads()).toEqual({ n1: 16 })
  all.join()
  await all.advance(leaseMs / 10)
  expect(all.loads()).toEqual({ n1: 8, n2: 8 })
  for (const { system } of all.living) await system.stop()
  expect(second.system.role).toBe('client')
})

test('one that was frozen for longer than its lease writes nothing any more, sends what it is told to the new owners, and gets its share again', async () => {
  const logger = new RecordingLogger()
  const all = fleet({ logger })
  const first = all.join()
  const second = all.join()
  await all.advance(1_000)
  const fromFirst = new Sender(() => first)
  first.freeze()
  // It does not know that it was frozen, nor that others have its shards by the time this is handled.
  fromFirst.all()
  await all.advance(leaseMs + 1_000)
  expect(second.system.owned.shards).toHaveLength(16)
  const fromSecond = new Sender(() => second)
  fromSecond.all()
  await all.advance(10)
  first.thaw()
  await all.advance(2_000)
  expect(all.loads()).toEqual({ n0: 8, n1: 8 })
  expect(all.owners().every((owner) => owner === 'n0' || owner === 'n1')).toBe(true)
  expect(fromFirst.refused).toEqual([])
  expect(fromFirst.accepted).toBe(ids.length)
  // Each once, whatever the order of the two senders.
  for (const id of ids) expect([...(await seenBy(first, id))].sort()).toEqual([1, 1])
  expect(logger.lines.some(({ message }) => message.startsWith('a shard was lost'))).toBe(true)
  for (const { system } of all.living) await system.stop()
})

test('who waits, watches or asks is moved with the actor', async () => {
  const all = fleet()
  const first = all.join()
  await all.advance(100)
  const watched: number[][] = []
  for (const id of ids) first.system.actor(counter, id).subscribe(({ context }) => void (id === 'c3' && watched.push(context.seen)))
  const sender = new Sender(() => first)
  sender.all()
  await all.advance(50)
  const waits = Promise.all(ids.map((id) => first.system.actor(counter, id).waitFor(({ context }) => context.seen.length >= 4)))
  const second = all.join()
  await all.advance(500)
  sender.all()
  await all.advance(500)
  const owner = all.owners()
  expect(new Set(owner).size).toBe(2)
  second.kill()
  sender.all()
  await all.advance(leaseMs + 1_000)
  const asked = Promise.all(ids.map((id) => first.system.actor(counter, id).ask({ type: 'question' }, { deadlineMs: 10_000 })))
  await all.advance(100)
  expect(await asked).toEqual(ids.map(() => 3))
  sender.all()
  await all.advance(100)
  expect((await waits).map(({ context }) => context.seen.length)).toEqual(ids.map(() => 4))
  // Each state in its order, and none is told that is older than one told before.
  const lengths = watched.map((seen) => seen.length)
  expect(lengths).toEqual([...lengths].sort((a, b) => a - b))
  expect(lengths).toContain(4)
  await first.system.stop()
})

test('a question that is being answered when the actor moves is answered once it has', async () => {
  const slow = setup({
    types: { events: {} as { type: 'question'; replyToken?: ReplyToken }, context: {} as { token: ReplyToken | undefined } },
    actions: { keep: assign({ token: ({ event }) => event.replyToken }), answer: reply(() => 'late', ({ context }) => context.token!) },
  }).createMachine({
    id: 'slow',
    context: { token: undefined },
    initial: 'idle',
    states: { idle: { on: { question: { target: 'busy', actions: 'keep' } } }, busy: { after: { 700: { target: 'idle', actions: 'answer' } } } },
  })
  const all = fleet({ machines: [slow], leaseMs })
  const first = all.join()
  await all.advance(100)
  const asked = Promise.all(ids.map((id) => first.system.actor(slow, id).ask({ type: 'question' }, { deadlineMs: 60_000 })))
  await all.advance(100)
  all.join()
  await all.advance(500)
  expect(all.loads()).toEqual({ n0: 8, n1: 8 })
  await all.advance(1_000)
  expect(await asked).toEqual(ids.map(() => 'late'))
  for (const { system } of all.living) await system.stop()
})

test('while the store does not answer nobody is taken for dead, however long', async () => {
  let down = false
  const all = fleet({ onWrite: () => (down ? 'fail' : undefined) })
  const [first, second] = [all.join(), all.join()]
  await all.advance(1_000)
  const before = all.owners()
  down = true
  for (const node of [first, second]) Object.assign(node.store, { beat: () => Promise.reject(new Error('the store is away')) })
  await all.advance(20_000)
  down = false
  for (const node of [first, second]) delete (node.store as unknown as { beat?: unknown }).beat
  await all.advance(leaseMs)
  expect(all.owners()).toEqual(before)
  for (const { system } of all.living) await system.stop()
})

test('a node that starts behind a dead one waits for its lease and then has all; one that was stopped before that has nothing', async () => {
  const all = fleet()
  all.join().kill()
  const dead = all.join()
  await all.advance(100)
  dead.kill()
  const third = all.join()
  const fourth = all.join()
  await all.advance(500)
  await all.leave(fourth)
  await all.advance(leaseMs + 1_000)
  expect(all.loads()).toEqual({ [third.id]: 16 })
  const client = await createClient({ store: new MemoryStore({ database: all.database }), machines: [counter] })
  await all.leave(third)
  await all.advance(3 * leaseMs)
  expect(await client.actor(counter, 'c1').status()).toBeUndefined()
  expect(all.owners().some((owner) => owner !== undefined)).toBe(false)
  await client.stop()
})

test('what a node drains follows its shards', async () => {
  const telling = setup({ types: { events: {} as { type: 'tell'; n: number } }, actions: { tell: append(({ event }) => ({ stream: 'told', value: event.n, shared: true })) } }).createMachine({ id: 'telling', on: { tell: { actions: 'tell' } } })
  const all = fleet({ machines: [telling], leaseMs })
  const told: string[] = []
  const drain = (node: FleetNode): void => void node.system.drain('told', (entries) => Promise.resolve(void told.push(...entries.map(() => node.id))))
  const first = all.join()
  await all.advance(100)
  drain(first)
  for (const id of ids) await first.system.actor(telling, id).send({ type: 'tell', n: 1 })
  await all.advance(50)
  const second = all.join()
  await all.advance(500)
  drain(second)
  for (const id of ids) void first.system.actor(telling, id).send({ type: 'tell', n: 2 })
  await all.advance(500)
  expect(told).toHaveLength(2 * ids.length)
  expect(new Set(told.slice(ids.length))).toEqual(new Set(['n0', 'n1']))
  for (const { system } of all.living) await system.stop()
})

test('any node may redrive what was set aside, whoever runs it', async () => {
  let isDeadly = true
  const deadly = setup({
    types: { context: {} as { n: number }, events: {} as { type: 'do' } },
    actions: {
      work: assign({
        n: ({ context }) => {
          if (isDeadly) for (const node of all.living) if (node.system.owned.shards.length > 0) node.kill()
          return context.n + 1
        },
      }),
    },
  }).createMachine({ id: 'deadly', context: { n: 0 }, on: { do: { actions: 'work' } } })
  const all = fleet({ machines: [deadly], shards: 1, suspectMax: 1 })
  const first = all.join()
  await all.advance(100)
  await first.system.actor(deadly, 'd').start()
  const client = await createClient({ store: new MemoryStore({ database: all.database }), machines: [deadly] })
  await client.actor(deadly, 'd').send({ type: 'do' })
  await all.advance(10)
  expect(first.state).toBe('gone')
  for (let i = 0; i < 3; i++) {
    if (all.living.length === 0) all.join()
    await all.advance(2 * leaseMs)
  }
  const owner = all.living[0]!
  const other = all.join()
  await all.advance(1_000)
  expect([owner.system.role, other.system.role].sort()).toEqual(['client', 'owner'])
  expect((await other.system.parked('deadly/d')).map(({ reason }) => reason)).toEqual(['quarantined'])
  isDeadly = false
  for (const { system } of all.living) if (system.role === 'client') await system.redrive('deadly/d')
  await all.advance(100)
  expect((await other.system.actor(deadly, 'd').snapshot())?.context.n).toBe(1)
  expect(await other.system.parked('deadly/d')).toEqual([])
  await client.stop()
  for (const { system } of all.living) await system.stop()
})

// ── Where an answer fails at the wrong moment ──

/** A name that gets the only shard beside `a`, or leaves it to `a`. */
const rival = (winner: boolean): string => ['b', 'c', 'd', 'e', 'f', 'g', 'h', 'i'].find((id) => (placementOf(['a', id], 1)[0] === id) === winner)!

/** Has the store of a node answer otherwise. */
function instead<K extends 'beat' | 'claim' | 'load' | 'recover'>(node: FleetNode, name: K, answer: (really: FleetNode['store'][K], ...args: Parameters<FleetNode['store'][K]>) => ReturnType<FleetNode['store'][K]>): void {
  const really = node.store[name].bind(node.store) as FleetNode['store'][K]
  Object.assign(node.store, { [name]: (...args: Parameters<FleetNode['store'][K]>) => answer(really, ...args) })
}

test('a node that stops has stopped, also if its last sign of life fails', async () => {
  const all = fleet()
  const [first, second] = [all.join(), all.join()]
  await all.advance(1_000)
  let fails = 1
  instead(first, 'beat', (really, ...args) => (fails-- > 0 ? Promise.reject(new Error('away')) : really.apply(first.store, args)))
  const left = all.leave(first)
  await all.advance(500)
  await left
  expect(all.loads()).toEqual({ n1: 16 })
  expect(first.system.owned.shards).toEqual([])
  await second.system.stop()
})

test.each([false, true])('a shard that begins again while it is handed over is let go of all the same (answer lost: %s)', async (isLost) => {
  const all = fleet({ shards: 1 })
  const first = all.join('a')
  await all.advance(1_000)
  let isArmed = false
  instead(first, 'claim', async (really, ...args) => {
    const claim = await really.apply(first.store, args)
    if (!isArmed) return claim
    isArmed = false
    await new Promise<void>((resolve) => void all.time.after(30, resolve))
    if (isLost) throw new Error('the answer was lost')
    return claim
  })
  await all.advance(10)
  isArmed = true
  const { ownership } = first.system as unknown as { ownership: { shards: Map<number, { reset(own: readonly never[]): void }> } }
  ownership.shards.get(0)!.reset([])
  await all.ticks(3)
  const other = all.join(rival(true))
  await all.advance(leaseMs)
  expect(all.loads()).toEqual({ a: 0, [other.id]: 1 })
  for (const { system } of all.living) await system.stop()
})

test('a look that fails is repeated, and one that is answered late tells nothing that is over', async () => {
  const all = fleet({ shards: 1 })
  const [a, b] = [all.join('a'), all.join(rival(true))]
  await all.advance(1_000)
  expect(all.loads()).toEqual({ a: 0, [b.id]: 1 })
  let fails = false
  let delayMs = 0
  instead(a, 'load', async (really, ...args) => {
    const answer = await really.apply(a.store, args)
    if (fails) throw new Error('the answer was lost')
    if (delayMs > 0) await new Promise<void>((resolve) => void all.time.after(delayMs, resolve))
    return answer
  })
  const told: number[] = []
  a.system.actor(counter, 'x').subscribe(({ context }) => told.push(context.seen.length))
  const waited = a.system.actor(counter, 'x').waitFor(({ context }) => context.seen.length === 2)
  await all.advance(50)
  for (const n of [1, 2]) await b.system.actor(counter, 'x').send({ type: 'add', n })
  fails = true
  await all.advance(300)
  fails = false
  await all.advance(500)
  expect((await waited).context.seen).toEqual([1, 2])
  // This look is under way while the actor comes here.
  delayMs = 400
  await b.system.actor(counter, 'x').send({ type: 'add', n: 3 })
  await all.advance(5)
  const left = all.leave(b)
  await all.advance(5)
  delayMs = 0
  await all.advance(100)
  await left
  for (const n of [4, 5]) await a.system.actor(counter, 'x').send({ type: 'add', n })
  await all.advance(1_000)
  expect(told).toEqual([...told].sort((x, y) => x - y))
  expect(new Set(told).size).toBe(told.length)
  expect(told.at(-1)).toBe(5)
  await a.system.stop()
})

test('a shard that cannot begin leaves no effect behind', async () => {
  const running: string[] = []
  const working = (name: string) => setup({
    types: { events: {} as { type: 'go' } },
    actors: {
      work: fromPromise(({ signal }) => new Promise<never>(() => {
        running.push(name)
        signal.addEventListener('abort', () => running.splice(running.indexOf(name), 1))
      })),
    },
  }).createMachine({ id: 'w', initial: 'idle', states: { idle: { on: { go: 'busy' } }, busy: { invoke: { src: 'work' } } } })
  const all = fleet({ machines: [working('a')], shards: 1, suspectMax: Infinity })
  const a = all.join('a')
  await all.advance(100)
  await a.system.actorAt('w/1').send({ type: 'go' } as never)
  await all.advance(100)
  expect(running).toEqual(['a'])
  a.kill()
  running.length = 0
  const b = all.join(rival(true), { machines: [working('b')] })
  b.isLeaving = true
  instead(b, 'recover', async (really, ...args) => ({ ...(await really.apply(b.store, args)), parked: ['w/nobody'] }))
  let fails = 0
  instead(b, 'load', (really, ...args) => (args[1][0] === 'w/nobody' && fails++ === 0 ? Promise.reject(new Error('away')) : really.apply(b.store, args)))
  while (fails === 0) await all.advance(100)
  await all.ticks(10)
  expect([b.system.owned.shards, running, b.system.stats().effects]).toEqual([[], [], 0])
  b.kill()
})

test('who waits for a shard asks again as soon as it is released, whatever its owner writes until then', async () => {
  const all = new Fleet({ machines: [counter], leaseMs: 60_000 })
  const first = all.join()
  await all.advance(100)
  const sender = new Sender(() => first)
  all.join()
  for (let i = 0; i < 40; i++) {
    sender.all()
    await all.advance(1)
  }
  expect(all.loads()).toEqual({ n0: 8, n1: 8 })
  for (const { system } of all.living) await system.stop()
})

// ── A store that goes back in time (I11) ──

/** What the store holds now, to be put back later. */
function backup(all: Fleet): () => void {
  const namespace = all.database.namespaces.get('default')!
  const clone = (): object[] => namespace.shards.map(({ readers: _r, watchers: _w, ...state }) => state)
  const [shards, nodes] = [structuredClone(clone()), structuredClone(namespace.nodes)]
  const { beats, accepted } = namespace
  return () => {
    Object.assign(namespace, { beats, accepted, halted: undefined })
    namespace.shards.forEach((shard, i) => Object.assign(shard, structuredClone(shards[i])))
    namespace.nodes.clear()
    for (const [id, node] of nodes) namespace.nodes.set(id, node)
  }
}

test('a store that went back in time halts everybody within a look, and what is there goes on once it is accepted', async () => {
  const logger = new RecordingLogger()
  let effects = 0
  const calling = setup({ types: { events: {} as { type: 'call' } }, actors: { work: fromPromise(() => Promise.resolve(effects++)) } }).createMachine({
    id: 'calling',
    initial: 'idle',
    states: { idle: { on: { call: 'busy' } }, busy: { invoke: { src: 'work', onDone: 'idle' } } },
  })
  const all = fleet({ machines: [counter, calling], leaseMs, logger })
  const [first, second] = [all.join(), all.join()]
  await all.advance(1_000)
  const sender = new Sender(() => first)
  sender.all()
  await all.advance(100)
  const restore = backup(all)
  sender.all()
  await all.advance(300)
  restore()
  await all.advance(leaseMs / 20)
  expect(all.loads()).toEqual({ n0: 0, n1: 0 })
  expect(await second.system.halted()).toMatch(/the store went back in time: sign of life \d+ of node n\d was acknowledged/)
  expect(logger.lines.filter(({ level, message }) => level === 'error' && message.startsWith('the namespace is halted')).length).toBeGreaterThan(0)
  // Nothing runs, whoever comes; what is sent is kept.
  const third = all.join()
  await all.advance(10)
  for (const id of ids) void third.system.actor(calling, id).send({ type: 'call' })
  sender.all()
  await all.advance(3 * leaseMs)
  expect([effects, third.system.role]).toEqual([0, 'client'])
  await third.system.accept()
  await all.advance(leaseMs)
  expect(Object.values(all.loads()).sort()).toEqual([5, 5, 6])
  expect(effects).toBe(ids.length)
  // What came between is gone; what came before and after is there.
  for (const id of ids) expect(await seenBy(first, id)).toEqual([1, 3])
  for (const { system } of all.living) await system.stop()
})

test('what was put back from before a node came goes on, too, once it is accepted', async () => {
  const all = fleet()
  const first = all.join()
  await all.advance(1_000)
  const sender = new Sender(() => first)
  sender.all()
  await all.advance(100)
  const restore = backup(all)
  const second = all.join()
  await all.advance(1_000)
  restore()
  await all.advance(leaseMs)
  expect(all.loads()).toEqual({ n0: 0, n1: 0 })
  await second.system.accept()
  await all.advance(leaseMs)
  expect(all.loads()).toEqual({ n0: 8, n1: 8 })
  sender.all()
  await all.advance(100)
  for (const id of ids) expect(await seenBy(second, id)).toEqual([1, 2])
  for (const { system } of all.living) await system.stop()
})

test('a single lost sign of life is noticed, and a name that is used again is none', async () => {
  const all = fleet()
  const first = all.join()
  await all.advance(1_000)
  const entry = all.database.namespaces.get('default')!.nodes
  // Somebody of the same name has left.
  entry.delete('n0')
  await all.advance(leaseMs)
  expect(await first.system.halted()).toBeUndefined()
  const { beat, ...kept } = entry.get('n0')!
  entry.set('n0', { ...kept, beat: beat - 1 })
  await all.advance(leaseMs / 20)
  expect(await first.system.halted()).toContain('the store went back in time')
  await first.system.stop()
})

test('who noticed it does not go on before the store knows', async () => {
  const all = fleet()
  const first = all.join()
  await all.advance(1_000)
  const restore = backup(all)
  await all.advance(500)
  let fails = 5
  const halt = first.store.halt.bind(first.store)
  Object.assign(first.store, { halt: (why: string, accepted: number) => (fails-- > 0 ? Promise.reject(new Error('away')) : halt(why, accepted)) })
  restore()
  for (let i = 0; i < 40; i++) {
    await all.advance(leaseMs / 20)
    expect(all.loads()).toEqual({ n0: 0 })
  }
  expect(fails).toBeLessThan(0)
  await first.system.accept()
  await all.advance(leaseMs)
  expect(all.loads()).toEqual({ n0: 16 })
  await first.system.stop()
})

test('with onRollback: go-on it is an error in the log, and that is all; a node that was forgotten is no sign of it', async () => {
  const logger = new RecordingLogger()
  const all = fleet({ logger, onRollback: 'go-on' })
  const [first, second] = [all.join(), all.join()]
  await all.advance(1_000)
  first.freeze()
  await all.advance(15 * leaseMs)
  first.thaw()
  await all.advance(leaseMs)
  const toldOf = (): number => logger.lines.filter(({ message }) => message.startsWith('the store went back in time')).length
  expect(toldOf()).toBe(0)
  const restore = backup(all)
  const sender = new Sender(() => second)
  sender.all()
  await all.advance(1_000)
  restore()
  await all.advance(leaseMs)
  expect(toldOf()).toBeGreaterThan(0)
  expect(await first.system.halted()).toBeUndefined()
  sender.all()
  await all.advance(1_000)
  for (const id of ids) expect((await seenBy(first, id)).at(-1)).toBe(2)
  for (const { system } of all.living) await system.stop()
})

/**
 * Supervision as OTP has it, on the real runtime: the layout follows OTP's own supervisor suite. Each strategy with each
 * kind of child and each way to end, then escalation, ordered shutdown, nested supervisors, and bounds over restarts of
 * the process.
 */
import { describe, expect, test } from 'vitest'
import { assign, setup } from 'xstate'
import { append } from '../../src/index.js'
import { supervisorMachine, type ChildSpec, type RestartStrategy, type RestartType, type SupervisorContext, type SupervisorInput, type SupervisorOutput } from '../../src/machines/supervisor.machine.js'
import { crashTest, World } from '../../src/testing/index.js'

/** Tells when it begins and when it is told to end. */
const worker = setup({
  types: { context: {} as { n: number }, input: {} as unknown, events: {} as { type: 'add' } | { type: 'fail' } | { type: 'end' } | { type: 'drain' } },
  actions: {
    begin: append(({ self }) => ({ stream: 'life', value: `${self.id} begins`, shared: true })),
    add: assign({ n: ({ context }) => context.n + 1 }),
    fail: assign(() => {
      throw new Error('bad')
    }),
  },
}).createMachine({
  id: 'worker',
  context: { n: 0 },
  entry: 'begin',
  initial: 'on',
  states: { on: { on: { add: { actions: 'add' }, fail: { actions: 'fail' }, end: 'off', drain: 'draining' } }, draining: { after: { 50: 'off' } }, off: { type: 'final' } },
})

const options: SupervisorInput = { restartsMax: 3, periodMs: 10_000, backoff: { firstMs: 100, factor: 1, maxMs: 100, jitter: 0 } }
const ids = ['a', 'b', 'c'] as const
type Id = (typeof ids)[number]

class Tree {
  readonly world: World
  constructor(world = new World({ machines: [supervisorMachine, worker], shards: 1 })) {
    this.world = world
  }
  readonly top = () => this.world.system.actor(supervisorMachine, 's')
  readonly child = (path: string) => this.world.system.actorAt(`worker/s~${path}`)

  static async of(input: SupervisorInput): Promise<Tree> {
    const tree = new Tree()
    await tree.world.start()
    await tree.top().start({ input: { ...options, ...input } })
    await tree.world.settled()
    return tree
  }

  /** One of each kind of state that a restart would lose. */
  async mark(): Promise<void> {
    for (const id of ids) await this.child(id).send({ type: 'add' } as never)
    await this.world.settled()
  }

  async end(path: string, how: 'normal' | 'shutdown' | 'abnormal'): Promise<void> {
    if (how === 'shutdown') await this.child(path).stop()
    else await this.child(path).send({ type: how === 'normal' ? 'end' : 'fail' } as never)
    await this.world.settled()
  }

  /** kept: as it was. again: begun anew. gone: ended for good. */
  async fate(path: string): Promise<'kept' | 'again' | 'gone' | 'failed'> {
    const status = await this.child(path).status()
    if (status === 'failed') return 'failed'
    if (status !== 'active') return 'gone'
    return ((await this.child(path).snapshot()) as unknown as { context: { n: number } }).context.n > 0 ? 'kept' : 'again'
  }

  async life(): Promise<string[]> {
    return (await this.world.system.sharedStream('s', 'life')).map(({ value }) => String(value))
  }

  async wards(): Promise<string[]> {
    return ((await this.top().snapshot())!.context as SupervisorContext).wards.map(({ spec }) => spec.id)
  }
}

const three = (restart: RestartType, more: Partial<ChildSpec> = {}): ChildSpec[] => ids.map((id) => ({ id, machine: 'worker', restart, from: 'input', ...more }))

// ── The table ──

const restarts = (restart: RestartType, how: 'normal' | 'shutdown' | 'abnormal'): boolean => restart === 'permanent' || (restart === 'transient' && how === 'abnormal')

describe.each(['one_for_one', 'one_for_all', 'rest_for_one'] as const)('%s', (strategy: RestartStrategy) => {
  describe.each(['permanent', 'transient', 'temporary'] as const)('%s', (restart: RestartType) => {
    test.each(['normal', 'shutdown', 'abnormal'] as const)('%s', async (how) => {
      const tree = await Tree.of({ strategy, children: three(restart) })
      await tree.mark()
      await tree.end('b', how)
      await tree.world.advance(1_000)
      const again = restarts(restart, how)
      const others = (id: Id): string => (again && (strategy === 'one_for_all' || (strategy === 'rest_for_one' && id === 'c')) ? 'again' : 'kept')
      const gone = how === 'abnormal' ? 'failed' : 'gone'
      expect(await Promise.all(ids.map((id) => tree.fate(id)))).toEqual([others('a'), again ? 'again' : gone, others('c')])
      expect(await tree.wards()).toEqual(again ? ['a', 'b', 'c'] : ['a', 'c'])
      expect(await tree.top().status()).toBe('active')
    })
  })

  test('escalation: one restart too many stops all children, the last started first, and the supervisor says why', async () => {
    const tree = await Tree.of({ strategy, children: three('permanent', { shutdown: { event: { type: 'drain' } } }) })
    for (let i = 0; i < 3; i++) {
      await tree.end('b', 'abnormal')
      await tree.world.advance(200)
      expect(await tree.top().status()).toBe('active')
    }
    const ended: string[] = []
    for (const id of ids) tree.child(id).subscribe((snapshot) => (snapshot as unknown as { status: string }).status === 'done' && ended.push(id))
    await tree.end('b', 'abnormal')
    await tree.world.advance(1_000)
    expect((await tree.top().output()) as SupervisorOutput).toEqual({ escalated: true, id: 'b', message: 'bad' })
    expect(ended).toEqual(['c', 'a'])
    for (const id of ids) expect(await tree.child(id).status()).not.toBe('active')
  })
})

// ── Groups ──

test('a group is stopped in the reverse order of its start, one after the other, and begins again in that order', async () => {
  const tree = await Tree.of({ strategy: 'one_for_all', children: three('permanent', { shutdown: { event: { type: 'drain' } } }) })
  const log: string[] = []
  for (const id of ids) tree.child(id).subscribe((snapshot) => log.push(`${id} ${String((snapshot as unknown as { value: unknown }).value)}`))
  await tree.end('b', 'abnormal')
  await tree.world.advance(1_000)
  expect(log).toEqual(['c draining', 'c off', 'a draining', 'a off', 'a on', 'b on', 'c on'])
  expect((await tree.life()).slice(3)).toEqual(['s~a begins', 's~b begins', 's~c begins'])
})

test('a child that does not end on its event in time is stopped', async () => {
  const tree = await Tree.of({ strategy: 'one_for_all', children: three('permanent', { shutdown: { event: { type: 'drain' }, withinMs: 20 } }) })
  await tree.mark()
  await tree.end('a', 'abnormal')
  await tree.world.advance(200)
  // 20 ms each instead of 50, then 100 of backoff.
  expect(await Promise.all(ids.map((id) => tree.fate(id)))).toEqual(['again', 'again', 'again'])
})

test('temporary children of a group do not come back', async () => {
  const tree = await Tree.of({ strategy: 'one_for_all', children: [...three('permanent').slice(0, 2), { id: 'c', machine: 'worker', restart: 'temporary' }] })
  await tree.end('a', 'abnormal')
  await tree.world.advance(1_000)
  expect(await tree.wards()).toEqual(['a', 'b'])
  expect(await tree.child('c').status()).toBe('stopped')
})

test('rest_for_one, another child of the group fails while it is being stopped: all come back once', async () => {
  const tree = await Tree.of({ strategy: 'rest_for_one', children: three('permanent', { shutdown: { event: { type: 'drain' } } }) })
  await tree.end('b', 'abnormal')
  await tree.end('c', 'abnormal')
  await tree.world.advance(1_000)
  expect(await tree.wards()).toEqual(['a', 'b', 'c'])
  expect(await tree.life()).toEqual(['a', 'b', 'c', 'b', 'c'].map((id) => `s~${id} begins`))
})

test('rest_for_one, an earlier child ends while the group is being stopped: the group grows', async () => {
  const tree = await Tree.of({ strategy: 'rest_for_one', children: three('permanent', { shutdown: { event: { type: 'drain' } } }) })
  await tree.end('b', 'abnormal')
  await tree.end('a', 'abnormal')
  await tree.world.advance(1_000)
  expect(await tree.life()).toEqual(['a', 'b', 'c', 'a', 'b', 'c'].map((id) => `s~${id} begins`))
})

test('a child dismissed from a group that is being stopped does not come back', async () => {
  for (const id of ids) {
    const tree = await Tree.of({ strategy: 'one_for_all', children: three('permanent', { shutdown: { event: { type: 'drain' } } }) })
    await tree.end('b', 'abnormal')
    await tree.top().send({ type: 'child.dismiss', id })
    await tree.world.advance(1_000)
    const rest = ids.filter((other) => other !== id)
    expect(await tree.wards(), id).toEqual(rest)
    for (const other of rest) expect(await tree.child(other).status()).toBe('active')
    expect(await tree.child(id).status()).not.toBe('active')
  }
})

test.each(['one_for_one', 'one_for_all', 'rest_for_one'] as const)('%s comes out the same wherever the process is killed', async (strategy) => {
  const children = three('permanent', { shutdown: { event: { type: 'drain' } } })
  const step = (id: string, type: string) => (system: World['system'], key: string) => system.actorAt(`worker/actor-1~${id}`).send({ type } as never, { id: key })
  const report = await crashTest(
    supervisorMachine,
    { input: { ...options, strategy, children }, steps: [step('b', 'add'), step('b', 'fail'), { advanceMs: 60 }, step('a', 'end'), { advanceMs: 2_000 }, { type: 'halt' }] },
    { machines: [worker], shards: 1 },
  )
  expect(report.undisturbed.actors['supervisor/actor-1']).toMatchObject({ status: 'done' })
}, 60_000)

// ── Shutdown ──

test('a halt ends the children in the reverse order of their start, each when the one before has ended', async () => {
  const tree = await Tree.of({ children: three('permanent', { shutdown: { event: { type: 'drain' } } }) })
  const log: string[] = []
  for (const id of ids) tree.child(id).subscribe((snapshot) => log.push(`${id} ${String((snapshot as unknown as { value: unknown }).value)}`))
  await tree.top().send({ type: 'halt' })
  await tree.world.advance(1_000)
  expect(log).toEqual(['c draining', 'c off', 'b draining', 'b off', 'a draining', 'a off'])
  expect((await tree.top().output()) as SupervisorOutput).toEqual({ escalated: false, id: null, message: null })
})

test('children that fail while all are being stopped hold nobody up', async () => {
  const tree = await Tree.of({ children: three('permanent', { shutdown: { event: { type: 'drain' } } }) })
  await tree.top().send({ type: 'halt' })
  await tree.world.settled()
  await tree.end('a', 'abnormal')
  await tree.child('c').send({ type: 'fail' } as never)
  await tree.world.advance(1_000)
  expect(await tree.top().status()).toBe('done')
  for (const id of ids) expect(await tree.child(id).status()).not.toBe('active')
})

// ── Nested ──

const nested = (input: SupervisorInput): SupervisorInput => ({
  children: [
    { id: 'sub', machine: 'supervisor', type: 'supervisor', restart: 'permanent', from: 'input', input: { ...options, ...input } },
    { id: 'w', machine: 'worker', from: 'input' },
  ],
})

test('a nested supervisor restarts its own; above nobody notices', async () => {
  const tree = await Tree.of(nested({ children: three('permanent') }))
  await tree.end('sub~b', 'abnormal')
  await tree.world.advance(1_000)
  expect(await tree.life()).toEqual(['w', 'sub~a', 'sub~b', 'sub~c', 'sub~b'].map((id) => `s~${id} begins`))
  expect(((await tree.top().snapshot())!.context as SupervisorContext).restarts).toEqual([])
})

test('one that escalates has failed: its supervisor starts it again, with all its children', async () => {
  const tree = await Tree.of(nested({ restartsMax: 1, children: three('permanent') }))
  for (let i = 0; i < 2; i++) {
    await tree.end('sub~b', 'abnormal')
    await tree.world.advance(1_000)
  }
  expect(await tree.world.system.actorAt('supervisor/s~sub').status()).toBe('active')
  for (const id of ids) expect(await tree.child(`sub~${id}`).status()).toBe('active')
  expect((await tree.life()).filter((line) => line.includes('sub~a'))).toHaveLength(2)
})

test('one that escalates again and again takes its supervisor with it', async () => {
  const tree = await Tree.of({ ...nested({ restartsMax: 1, children: [{ id: 'a', machine: 'worker', restart: 'permanent', from: 'input' }] }), restartsMax: 2 })
  for (let i = 0; i < 6; i++) {
    await tree.end('sub~a', 'abnormal').catch(() => {})
    await tree.world.advance(400)
  }
  expect((await tree.top().output()) as SupervisorOutput).toMatchObject({ escalated: true, id: 'sub', message: 'bad' })
  expect(await tree.child('w').status()).toBe('stopped')
})

test('a halt reaches down: nested children end before their supervisor, in order', async () => {
  const tree = await Tree.of(nested({ children: three('permanent', { shutdown: { event: { type: 'drain' } } }) }))
  const log: string[] = []
  for (const id of ids) tree.child(`sub~${id}`).subscribe((snapshot) => (snapshot as unknown as { status: string }).status === 'done' && log.push(id))
  tree.world.system.actorAt('supervisor/s~sub').subscribe((snapshot) => (snapshot as unknown as { status: string }).status === 'done' && log.push('sub'))
  await tree.top().send({ type: 'halt' })
  await tree.world.advance(1_000)
  expect(log).toEqual(['c', 'b', 'a', 'sub'])
  expect(await tree.top().status()).toBe('done')
})

// ── Bounds ──

test('restarts of a whole tree are bounded, though no supervisor in it has too many', async () => {
  const tree = await Tree.of({ treeRestartsMax: 4, children: ['x', 'y', 'z'].map((id) => ({ id, machine: 'supervisor', type: 'supervisor', restart: 'permanent', from: 'input', input: { ...options, children: three('permanent') } })) })
  for (const id of ['x', 'y', 'z', 'x']) {
    await tree.end(`${id}~a`, 'abnormal')
    tree.world.crash()
    await tree.world.start()
    await tree.world.advance(500)
  }
  expect(await tree.top().status()).toBe('active')
  await tree.end('y~b', 'abnormal')
  await tree.world.advance(1_000)
  expect((await tree.top().output()) as SupervisorOutput).toMatchObject({ escalated: true, message: 'bad' })
  for (const sub of ['x', 'y', 'z']) for (const id of ids) expect(await tree.child(`${sub}~${id}`).status()).not.toBe('active')
})

test('the count of a group is one, holds over a restart of the process, and leaves with the period (I8)', async () => {
  const tree = await Tree.of({ strategy: 'one_for_all', restartsMax: 2, children: three('permanent') })
  const failOnce = async (): Promise<string | undefined> => {
    await tree.end('c', 'abnormal')
    tree.world.crash()
    await tree.world.start()
    await tree.world.advance(500)
    return tree.top().status()
  }
  expect(await failOnce()).toBe('active')
  expect(await failOnce()).toBe('active')
  await tree.world.advance(10_000)
  expect(await failOnce()).toBe('active')
  expect(await failOnce()).toBe('active')
  expect(await failOnce()).toBe('done')
})

test('children given at the start begin in their order, within the bulkhead', async () => {
  const tree = await Tree.of({ workingMax: 2, waitingMax: 1, children: [...three('transient'), { id: 'd', machine: 'worker' }] })
  expect(await Promise.all([...ids, 'd'].map((id) => tree.child(id).status()))).toEqual(['active', 'active', undefined, undefined])
  // d found no room to wait and was refused.
  expect(await tree.wards()).toEqual(['a', 'b', 'c'])
  await tree.end('a', 'normal')
  expect(await tree.child('c').status()).toBe('active')
})

// ── What gets in the way ──

describe('a supervisor is not held up', () => {
  test.each(['halt', 'dismiss', 'fail'] as const)('by restarts that wait for their turn among many (%s)', async (what) => {
    const many = Array.from({ length: 15 }, (_, i) => `c${i}`)
    const tree = new Tree(new World({ machines: [supervisorMachine, worker], shards: 1, restartsPerSecondMax: 5 }))
    await tree.world.start()
    await tree.top().start({ input: { ...options, strategy: 'one_for_all', workingMax: 32, children: many.map((id) => ({ id, machine: 'worker' })) } })
    await tree.world.settled()
    await tree.end('c0', 'abnormal')
    await tree.world.advance(200)
    if (what === 'fail') await tree.end('c0', 'abnormal')
    else await tree.top().send(what === 'halt' ? { type: 'halt' } : { type: 'child.dismiss', id: 'c14' })
    await tree.world.advance(60_000)
    const alive = (await Promise.all(many.map((id) => tree.child(id).status()))).filter((status) => status === 'active')
    expect([await tree.top().status(), alive.length]).toEqual(what === 'halt' ? ['done', 0] : ['active', what === 'dismiss' ? 14 : 15])
  })

  test('by a child whose record has gone before it begins again', async () => {
    const tree = new Tree(new World({ machines: [supervisorMachine, worker], shards: 1, endedRetentionMs: 1_000 }))
    await tree.world.start()
    await tree.top().start({ input: { ...options, backoff: { firstMs: 5_000, factor: 1, maxMs: 5_000, jitter: 0 }, children: three('permanent') } })
    await tree.world.settled()
    await tree.end('a', 'abnormal')
    await tree.world.advance(6_000)
    expect(await tree.child('a').status()).toBe('active')
    await tree.end('b', 'normal')
    await tree.world.advance(3_000)
    await tree.top().send({ type: 'halt' })
    await tree.world.settled()
    expect((await tree.world.system.find({ machine: 'worker' })).actors.length).toBeLessThanOrEqual(3)
    expect(await tree.top().status()).toBe('done')
  })

  test('by a child that fails while it waits for its turn to be stopped', async () => {
    const tree = await Tree.of({ children: three('transient', { shutdown: { event: { type: 'drain' } } }) })
    await tree.top().send({ type: 'halt' })
    await tree.end('a', 'abnormal')
    await tree.world.advance(1_000)
    expect(await tree.top().status()).toBe('done')
  })

  test.each([{ id: 'a b' }, { id: 'a~b' }, { id: '' }, { id: 'ok', machine: 'no machine' }, { id: 'ok', shutdown: { event: { type: 'xstate.stop' } } }, { id: 'ok', shutdown: { event: { type: 'child.failed' } } }])('by a request that cannot be met: %j is refused', async (spec) => {
    const tree = await Tree.of({ children: three('transient') })
    await tree.top().send({ type: 'child.request', child: { machine: 'worker', ...spec } })
    await tree.world.settled()
    expect(await tree.wards()).toEqual(['a', 'b', 'c'])
    expect(await tree.top().status()).toBe('active')
  })

  test.each([{ workingMax: 0 }, { strategy: 'all_for_one' as never }, { restartsMax: -1 }, { backoff: { firstMs: -1 } as never }])('by options that cannot work: it does not start with %j', async (wrong) => {
    const tree = new Tree()
    await tree.world.start()
    await tree.top().start({ input: wrong })
    await tree.world.settled()
    expect((await tree.top().failure())?.error).toMatchObject({ name: 'RangeError', message: expect.stringContaining(Object.keys(wrong)[0]!) as string })
  })

  test('and needs only a part of the backoff', async () => {
    const tree = await Tree.of({ backoff: { firstMs: 10 } as never, children: three('permanent') })
    await tree.end('a', 'abnormal')
    await tree.world.advance(10)
    expect(await tree.child('a').status()).toBe('active')
  })
})

test('a child that is dismissed while it backs off and requested again at once is supervised', async () => {
  const tree = await Tree.of({ children: three('transient') })
  await tree.end('a', 'abnormal')
  const requests = [{ type: 'child.dismiss', id: 'a' }, { type: 'child.request', child: { id: 'a', machine: 'worker' } }, { type: 'child.request', child: { id: 'a', machine: 'worker' } }] as const
  await tree.top().send(requests[0])
  await tree.top().send(requests[1])
  await tree.world.settled()
  await tree.top().send(requests[2])
  await tree.world.advance(1_000)
  expect(await tree.wards()).toEqual(['b', 'c', 'a'])
  await tree.end('a', 'abnormal')
  await tree.world.advance(1_000)
  expect(await tree.child('a').status()).toBe('active')
})

test.each(['halt', 'child.dismiss'] as const)('a nested supervisor that has just been requested, or has failed, ends after its children (%s)', async (type) => {
  const child = { id: 'n', machine: 'supervisor', type: 'supervisor', input: { ...options, children: [{ id: 'w', machine: 'worker' }] } } as const
  const just = await Tree.of({})
  await Promise.all([just.top().send({ type: 'child.request', child }), just.top().send({ type, id: 'n' } as never)])
  await just.world.advance(1_000)
  expect([await just.world.system.actorAt('supervisor/s~n').status(), await just.child('n~w').status()]).toEqual(['done', 'stopped'])

  const failing = await Tree.of({ backoff: { firstMs: 5_000, factor: 1, maxMs: 5_000, jitter: 0 }, children: [child] })
  // What no machine could take: it fails over it, and its child works on.
  await failing.world.system.actorAt('supervisor/s~n').send({ type: 'child.request' } as never)
  await failing.world.settled()
  expect([await failing.world.system.actorAt('supervisor/s~n').status(), await failing.child('n~w').status()]).toEqual(['failed', 'active'])
  await failing.top().send({ type, id: 'n' } as never)
  await failing.world.advance(1_000)
  expect([await failing.world.system.actorAt('supervisor/s~n').status(), await failing.child('n~w').status()]).toEqual(['done', 'stopped'])
})

test('a child that yielded takes no place again when it is restarted', async () => {
  const tree = await Tree.of({ workingMax: 1, children: [{ id: 'a', machine: 'worker' }, { id: 'b', machine: 'worker' }, { id: 'c', machine: 'worker', from: 'input' }] })
  await tree.top().send({ type: 'child.yield', id: 'a' })
  await tree.world.settled()
  await tree.end('a', 'abnormal')
  await tree.world.advance(1_000)
  const states = async (): Promise<string[]> => ((await tree.top().snapshot())!.context as SupervisorContext).wards.map(({ spec, state }) => `${spec.id} ${state}`)
  expect(await states()).toEqual(['a yielding', 'b working', 'c waiting'])
  await tree.end('b', 'normal')
  await tree.top().send({ type: 'child.yield', id: 'c' })
  await tree.top().send({ type: 'child.request', child: { id: 'd', machine: 'worker' } })
  await tree.world.settled()
  await tree.end('c', 'abnormal')
  await tree.world.advance(1_000)
  // From its input it works from the start, and waits for a place.
  expect(await states()).toEqual(['a yielding', 'c waiting', 'd working'])
  await tree.end('d', 'normal')
  expect(await states()).toEqual(['a yielding', 'c working'])
  expect(await tree.fate('c')).toBe('again')
})

test('when a group has begun again, all who waited and find room begin', async () => {
  const tree = await Tree.of({ strategy: 'one_for_all', children: three('permanent', { shutdown: { event: { type: 'drain' } } }) })
  await tree.end('b', 'abnormal')
  for (const id of ['d', 'e']) await tree.top().send({ type: 'child.request', child: { id, machine: 'worker' } })
  await tree.world.advance(1_000)
  for (const id of ['a', 'b', 'c', 'd', 'e']) expect(await tree.child(id).status(), id).toBe('active')
})

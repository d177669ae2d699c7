/**
 * Rolling upgrades, there and back: nodes of two builds of a machine share one namespace while one build replaces the other,
 * and nodes are killed on the way. What an actor of a version that nobody here runs is sent waits and is shown; once a node
 * that can has its shard, all of it is handled, once and in order.
 */
import { expect, test } from 'vitest'
import { assign, fromPromise, setup, type AnyStateMachine } from 'xstate'
import { extent, firstSeed } from '../support/extent.js'
import { Fleet, type FleetNode } from '../support/fleet.js'
import { Random } from '../support/random.js'

const leaseMs = 1_000
const actors = 8
const ids = Array.from({ length: actors }, (_, i) => `a${i}`)

/** The second build has a state that the first does not know, and keeps what it was told otherwise. */
function build(version: '1' | '2', fleet: () => Fleet) {
  return setup({
    types: { context: {} as { by: string; seen: number[]; rang: number; worked: number }, events: {} as { type: 'add'; n: number } },
    actors: {
      work: fromPromise<void>(
        ({ signal }) =>
          new Promise<void>((resolve, reject) => {
            const cancel = fleet().time.after(150, resolve)
            signal.addEventListener('abort', () => {
              cancel()
              reject(new Error('aborted'))
            })
          }),
      ),
    },
    actions: {
      take: assign({ seen: ({ context, event }) => [...context.seen, event.n] }),
      ring: assign({ rang: ({ context }) => context.rang + 1 }),
      note: assign({ worked: ({ context }) => context.worked + 1 }),
    },
  }).createMachine({
    id: 'm',
    version,
    context: { by: version, seen: [], rang: 0, worked: 0 },
    type: 'parallel',
    states: {
      book: { on: { add: { actions: 'take' } } },
      bell: { initial: 'still', states: { still: { on: { add: 'set' } }, set: { after: { 300: { target: 'still', actions: 'ring' } } } } },
      job: { initial: 'idle', states: { idle: { on: { add: 'working' } }, working: { invoke: { src: 'work', onDone: { target: version === '1' ? 'idle' : 'checked', actions: 'note' } } }, ...(version === '1' ? {} : { checked: { always: 'idle' } }) } },
    },
  })
}

type Direction = 'old then new' | 'new then old' | 'old then new alone'

interface Told {
  readonly waited: number
  readonly killed: number
}

async function run(seed: number, direction: Direction): Promise<Told> {
  const random = new Random(seed)
  let calm = true
  let fleet: Fleet
  const one = build('1', () => fleet)
  const two = build('2', () => fleet)
  const [before, after]: readonly (readonly AnyStateMachine[])[] = direction === 'old then new' ? [[one], [one, two]] : direction === 'new then old' ? [[one, two], [one]] : [[one], [two]]
  fleet = new Fleet({ machines: before!, shards: 4, leaseMs, suspectMax: Infinity, residentMax: 4, onWrite: ({ kind }) => (calm || !random.chance(0.03) ? undefined : random.pick(kind === 'claim' ? (['fail'] as const) : (['fail', 'lose-reply', 'kill-before', 'kill-after'] as const))) })
  const machineOf = new Map<FleetNode, AnyStateMachine>()
  const join = (machines: readonly AnyStateMachine[]): FleetNode => {
    const node = fleet.join(undefined, { machines })
    machineOf.set(node, machines.at(-1)!)
    return node
  }
  const sent: { readonly to: string; readonly n: number; readonly from: FleetNode; outcome: 'open' | 'accepted' | 'refused' }[] = []
  const send = (to = random.pick(ids)): void => {
    const alive = fleet.nodes.filter(({ state }) => state === 'alive')
    if (alive.length === 0) return
    const node = random.pick(alive)
    const message: (typeof sent)[number] = { to, n: sent.length + 1, from: node, outcome: 'open' }
    sent.push(message)
    try {
      node.system.actor(machineOf.get(node)!, to).send({ type: 'add', n: message.n }).then(
        () => (message.outcome = 'accepted'),
        () => (message.outcome = 'refused'),
      )
    } catch {
      message.outcome = 'refused'
    }
  }
  const traffic = async (steps: number): Promise<void> => {
    for (let step = 0; step < steps; step++) {
      for (let k = random.below(4); k >= 0; k--) send()
      await fleet.advance(random.pick([0, 10, 60, 200, 500]))
    }
  }
  const replace = async (with_: readonly AnyStateMachine[]): Promise<void> => {
    for (const node of fleet.living.filter(({ state }) => state === 'alive')) {
      if (random.chance(0.7)) join(with_)
      await traffic(1 + random.below(3))
      if (fleet.living.length === 1) join(with_)
      await fleet.advance(100)
      if (node.state !== 'alive') continue
      if (random.chance(0.3)) node.kill()
      else void fleet.leave(node).catch(() => {})
      await traffic(1 + random.below(2))
    }
    if (fleet.living.length === 0) join(with_)
  }
  for (let k = 0; k < 2; k++) join(before!)
  await fleet.advance(200)
  await traffic(3)
  calm = false
  await replace(after!)
  await traffic(2)
  calm = true
  if (!fleet.living.some(({ state }) => state === 'alive')) join(after!)
  await fleet.advance(6 * leaseMs)
  for (const to of ids) send(to)
  await fleet.advance(2 * leaseMs)

  // What nobody here can run waits, and is shown with its reason.
  const [looker] = fleet.nodes.filter(({ state }) => state === 'alive')
  const { actors: found } = await looker!.system.find({ machine: 'm' })
  expect(found.map(({ address }) => address)).toEqual(ids.map((id) => `m/${id}`))
  let waited = 0
  const runnable = new Set(after!.map(({ version }) => version))
  for (const id of ids) {
    const parked = await looker!.system.parked(`m/${id}`)
    const shard = fleet.database.namespaces.get('default')!.shards.find(({ records }) => records.has(`m/${id}`))!
    const [, version] = /"version":"(\d)"/.exec(shard.records.get(`m/${id}`)!.get('m')!)!
    if (runnable.has(version)) expect([id, parked]).toEqual([id, []])
    else expect([id, parked.at(0)]).toEqual([id, expect.objectContaining({ reason: 'unknown-version', detail: expect.stringContaining(`it runs version ${version} of m`) as unknown })])
    waited += parked.length
  }

  // A node that can run both takes the place of those that cannot.
  const others = fleet.living.filter(({ state }) => state === 'alive')
  const last = join([one, two])
  await traffic(2)
  await fleet.advance(2 * leaseMs)
  for (const node of others) void fleet.leave(node).catch(() => {})
  // Also while what was parked is taken up: later messages stay behind it.
  await traffic(4)
  await fleet.advance(8 * leaseMs)
  for (const id of ids) {
    expect([id, await last.system.parked(`m/${id}`)]).toEqual([id, []])
    const { value, context } = (await last.system.actor(two, id).snapshot())!
    const { seen, rang } = context
    expect([id, value.bell, value.job]).toEqual([id, 'still', 'idle'])
    expect(rang).toBeGreaterThan(0)
    expect(new Set(seen).size).toBe(seen.length)
    for (const { to, n, from, outcome } of sent) {
      if (to !== id) continue
      if (!from.killed) expect([n, outcome]).not.toEqual([n, 'open'])
      if (outcome === 'accepted') expect([id, n, seen.includes(n)]).toEqual([id, n, true])
    }
    for (const from of new Set(sent.map((message) => message.from))) {
      const own = seen.filter((n) => sent[n - 1]!.from === from && sent[n - 1]!.outcome === 'accepted')
      expect(own).toEqual(own.toSorted((a, b) => a - b))
    }
  }
  await last.system.stop()
  return { waited, killed: fleet.nodes.filter((node) => node.killed).length }
}

const seeds = extent(8, 300)

test.each(['old then new', 'new then old', 'old then new alone'] as const)(`%s: nothing is lost, and what nobody can run waits and is shown (${seeds} fleets from seed ${firstSeed})`, async (direction) => {
  let waited = 0
  let killed = 0
  for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
    const told = await run(seed, direction).catch((error: unknown) => {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error })
    })
    waited += told.waited
    killed += told.killed
  }
  console.log(`${direction}: ${waited} messages waited for a version, ${killed} nodes killed`)
  expect(waited > 0).toBe(direction !== 'old then new')
}, 3_000_000)

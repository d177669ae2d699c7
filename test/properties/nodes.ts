/**
 * Nodes come, leave, die, freeze beyond their lease and are thawed, are cut off from the store and reach it again; the store
 * fails, answers late, loses replies and is asked twice, and its clock jumps, while all of them send. Under virtual time, from
 * a seed: the same seed gives the same writes in the same order. CommitWatch looks at every write, whatever the machines do.
 */
import { createHash } from 'node:crypto'
import { expect } from 'vitest'
import { assign, fromPromise, sendTo, setup } from 'xstate'
import { refTo } from '../../src/index.js'
import type { Fault, Write } from '../../src/testing/index.js'
import { CommitWatch, leftovers } from '../support/commit-watch.js'
import { Fleet, type FleetNode } from '../support/fleet.js'
import { Random } from '../support/random.js'

const actors = 12
const leaseMs = 1_000

interface Sent {
  readonly from: string
  readonly to: number
  readonly n: number
  outcome: 'open' | 'accepted' | 'refused'
}

/** One machine for all runs, which come one after the other: what the runtime makes of a machine once is made once. */
let current: Fleet
const cell = setup({
  types: {
    context: {} as { me: number; seen: number[]; heard: number[]; rang: number },
    input: {} as { me: number },
    events: {} as { type: 'add'; n: number } | { type: 'hear'; n: number } | { type: 'ring' } | { type: 'work' },
  },
  actors: {
    work: fromPromise(
      ({ signal }) =>
        new Promise<void>((resolve, reject) => {
          const cancel = current.time.after(120, resolve)
          signal.addEventListener('abort', () => {
            cancel()
            reject(new Error('aborted'))
          })
        }),
    ),
  },
  actions: {
    take: assign({ seen: ({ context, event }) => (event.type === 'add' ? [...context.seen, event.n] : context.seen) }),
    hear: assign({ heard: ({ context, event }) => (event.type === 'hear' ? [...context.heard, event.n] : context.heard) }),
    ring: assign({ rang: ({ context }) => context.rang + 1 }),
    tell: sendTo(({ context }) => refTo(`cell/c${(context.me + 5) % actors}`), ({ event }) => ({ type: 'hear', n: event.type === 'add' ? event.n : -1 })),
  },
}).createMachine({
  id: 'cell',
  context: ({ input }) => ({ me: input.me, seen: [], heard: [], rang: 0 }),
  type: 'parallel',
  states: {
    book: { on: { add: { actions: ['take', 'tell'] }, hear: { actions: 'hear' } } },
    bell: { initial: 'still', states: { still: { on: { add: 'set' } }, set: { after: { 400: { target: 'still', actions: 'ring' } } } } },
    job: { initial: 'idle', states: { idle: { on: { work: 'working' } }, working: { invoke: { src: 'work', onDone: 'idle' } } } },
  },
})

/** What a run of one seed comes to. */
export interface Told {
  readonly trace: string
  readonly accepted: number
  readonly joined: number
}

export async function run(seed: number): Promise<Told> {
  const random = new Random(seed)
  const trace = createHash('sha256')
  const faultiness = random.pick([0, 0.02, 0.1])
  let calm = true
  const onWrite = (write: Write): Fault | undefined => {
    if (calm || !random.chance(faultiness)) return undefined
    const fault = random.below(10)
    if (fault < 3) return 'fail'
    if (fault < 6) return 'lose-reply'
    if (fault < 9) return { delayMs: 1 + random.below(300) }
    return write.kind === 'claim' ? 'fail' : random.pick(['kill-before', 'kill-after'] as const)
  }
  const watch = new CommitWatch()
  const fleet = (current = new Fleet({
    machines: [cell],
    shards: 6,
    leaseMs,
    suspectMax: Infinity,
    residentMax: 4,
    onWrite,
    onWritten: (write, result) => {
      const { kind, commit } = write
      watch.saw(write, result)
      trace.update(`${fleet.time.now()} ${kind} ${commit ? `${commit.lease.shard} ${commit.lease.epoch} ${commit.number} ${JSON.stringify(result)}` : ''}\n`)
    },
    callFails: () => !calm && random.chance(faultiness / 2),
    repeats: () => !calm && random.chance(faultiness),
  }))
  const sent: Sent[] = []
  const living = (): FleetNode[] => fleet.nodes.filter(({ state }) => state === 'alive')
  /** Also of one that is frozen: it was called just before. */
  const send = (node: FleetNode): void => {
    for (let k = random.below(8); k >= 0; k--) {
      const to = random.below(actors)
      const message: Sent = { from: node.id, to, n: sent.length + 1, outcome: 'open' }
      sent.push(message)
      try {
        const actor = node.system.actor(cell, `c${to}`)
        actor.send({ type: 'add', n: message.n }).then(
          () => (message.outcome = 'accepted'),
          () => (message.outcome = 'refused'),
        )
        if (random.chance(0.2)) actor.send({ type: 'work' }).catch(() => {})
      } catch {
        // It has not started yet, or stops already.
        message.outcome = 'refused'
      }
    }
  }
  const first = fleet.join()
  await fleet.advance(50)
  const started = Promise.all(Array.from({ length: actors }, (_, me) => first.system.actor(cell, `c${me}`).start({ input: { me } })))
  await fleet.advance(50)
  await started
  calm = false
  const leaving = new Set<FleetNode>()
  const frozen = new Map<FleetNode, number>()
  const cutOff = new Map<FleetNode, number>()
  // Many small ones find more than few large ones, in the same time; some things need many steps.
  const isSmall = random.chance(0.6)
  const steps = isSmall ? 6 + random.below(10) : 15 + random.below(25)
  for (let step = 0; step < steps; step++) {
    const here = living().filter((node) => !leaving.has(node))
    const what = random.below(14)
    if (here.length === 0 || (what === 0 && fleet.living.length < (isSmall ? 3 : 5))) fleet.join()
    else if (what === 1 && here.length > 1) {
      const node = random.pick(here)
      leaving.add(node)
      fleet.leave(node).catch(() => {})
    } else if (what === 2) random.pick(here).kill()
    else if (what === 3) {
      const node = random.pick(here)
      if (random.chance(0.5)) send(node)
      await fleet.ticks(random.below(4))
      if (node.state !== 'alive') continue
      node.freeze()
      if (random.chance(0.5)) send(node)
      frozen.set(node, step + 1 + random.below(6))
    } else if (what === 4) {
      const node = random.pick(here)
      node.isCutOff = true
      cutOff.set(node, step + 1 + random.below(6))
    } else if (what === 5) fleet.skewMs += random.pick([-20_000, -3_000, -100, 100, 3_000, 20_000])
    else for (let k = random.below(3); k >= 0; k--) send(random.pick([...here, ...frozen.keys()].filter(({ state }) => state !== 'gone')))
    for (const [node, until] of frozen) {
      if (step < until || node.state !== 'frozen') continue
      node.thaw()
      frozen.delete(node)
    }
    for (const [node, until] of cutOff) {
      if (step < until) continue
      node.isCutOff = false
      cutOff.delete(node)
    }
    if (random.chance(0.4)) await fleet.ticks(random.below(8))
    else await fleet.advance(random.pick([0, 1, 10, 60, 300, 900]))
  }
  // Calm: all that can come to rest does.
  calm = true
  for (const node of frozen.keys()) if (node.state === 'frozen') node.thaw()
  for (const node of cutOff.keys()) node.isCutOff = false
  const last = fleet.join()
  // Mostly it takes a few leases.
  for (let leases = 0; leases < 30; leases += 2) {
    await fleet.advance(2 * leaseMs)
    if (isAtRest(fleet) && !sent.some(({ outcome, from }) => outcome === 'open' && !fleet.nodes.find(({ id }) => id === from)!.killed)) break
  }

  const states = new Map<number, { readonly seen: readonly number[]; readonly heard: readonly number[]; readonly rang: number; readonly job: unknown; readonly bell: unknown }>()
  for (let i = 0; i < actors; i++) {
    const snapshot = await last.system.actor(cell, `c${i}`).snapshot()
    if (snapshot) states.set(i, { ...snapshot.context, job: snapshot.value.job, bell: snapshot.value.bell })
  }
  expect(watch.violations).toEqual([])
  expect(leftovers(fleet.database)).toEqual([])
  // Every shard has one owner, and the loads are even.
  const loads = Object.values(fleet.loads())
  expect(fleet.owners().filter((owner) => owner !== undefined && !owner.includes('+'))).toHaveLength(6)
  expect(Math.max(...loads) - Math.min(...loads)).toBeLessThanOrEqual(1)
  for (const { system } of fleet.living) expect(system.stats().failures).toBe(0)
  // What was accepted was handled once, what was refused at most once, and nobody made anything up (I1).
  const seen = [...states.values()].flatMap((state) => state.seen)
  expect(new Set(seen).size).toBe(seen.length)
  const killed = new Set(fleet.nodes.filter((node) => node.killed).map(({ id }) => id))
  for (const { n, to, from, outcome } of sent) {
    // Whoever lives, or has stopped cleanly, has told every sender.
    if (!killed.has(from)) expect([n, outcome]).not.toEqual([n, 'open'])
    const times = states.get(to)?.seen.filter((other) => other === n).length ?? 0
    if (outcome === 'accepted') expect([n, times]).toEqual([n, 1])
    expect(times).toBeLessThanOrEqual(1)
  }
  // One sender's messages to one actor keep their order.
  for (const [to, state] of states) {
    for (const from of new Set(sent.map((message) => message.from))) {
      const own = state.seen.filter((n) => sent[n - 1]!.from === from && sent[n - 1]!.to === to && sent[n - 1]!.outcome === 'accepted')
      expect(own).toEqual([...own].sort((a, b) => a - b))
    }
  }
  // What a turn sent arrived once, in the order of the turns.
  for (const [me, { seen: told }] of states) {
    const partner = states.get((me + 5) % actors)
    expect(partner?.heard ?? []).toEqual(expect.arrayContaining([...told]))
    expect(partner?.heard.filter((n) => told.includes(n)) ?? []).toEqual(told)
  }
  // Timers and effects have come to an end.
  for (const { job, bell, rang, seen: told } of states.values()) {
    expect([job, bell]).toEqual(['idle', 'still'])
    if (told.length > 0) expect(rang).toBeGreaterThan(0)
    expect(rang).toBeLessThanOrEqual(told.length)
  }
  for (const { system } of fleet.living) await system.stop()
  return { trace: trace.digest('hex'), accepted: sent.filter(({ outcome }) => outcome === 'accepted').length, joined: fleet.nodes.length }
}

/** Every shard has an owner, the loads are even, and nothing is left to do. */
function isAtRest(fleet: Fleet): boolean {
  const loads = Object.values(fleet.loads())
  return fleet.owners().filter((owner) => owner !== undefined && !owner.includes('+')).length === 6 && Math.max(...loads) - Math.min(...loads) <= 1 && leftovers(fleet.database).length === 0
}

/** Runs so many seeds from one on. */
export async function runSeeds(first: number, count: number): Promise<void> {
  let accepted = 0
  let joined = 0
  for (let seed = first; seed < first + count; seed++) {
    const told = await run(seed).catch((error: unknown) => {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error })
    })
    accepted += told.accepted
    joined += told.joined
  }
  console.log(`${count} fleets: ${accepted} messages accepted, ${joined} nodes`)
}

/**
 * I2 and I4 by their own evidence: every durable write and every act is seen by one witness, and no act stands without
 * its commit before it, under concurrent load with batches of many records, two in flight, late and lost replies,
 * kills, and owners that go on working after they were taken over.
 */
import { expect, test } from 'vitest'
import { assign, sendTo, setup } from 'xstate'
import { MemoryDatabase, MemoryStore } from '../../src/adapters/memory/index.js'
import { createActorSystem, refTo, repeatable, type ActorSystem } from '../../src/index.js'
import { lostCommitsMax } from '../../src/runtime/ports/store.js'
import { FaultyStore, VirtualClock, type Fault, type Write } from '../../src/testing/index.js'
import { ProcessClock } from '../../src/testing/virtual-clock.js'
import { extent, firstSeed } from '../support/extent.js'
import { Random } from '../support/random.js'

const runs = extent(40, 600)

/** What has been written, by the number that every event carries; acts ask it whether they may stand. */
class Witness {
  readonly committed = new Map<number, string>()
  readonly acts: Record<string, number> = {}
  readonly lies: string[] = []
  commits = 0
  largest = 0

  /** The last claim of each shard, and the last commit that stood then: of two answers of one moment either may be heard first. */
  private readonly claims = new Map<number, { readonly epoch: number; readonly number: number }>()
  private readonly numbers = new Map<number, number>()

  claimed({ shard, epoch }: { shard: number; epoch: number }, number: number): void {
    this.claims.set(shard, { epoch, number })
    // Who takes over goes on above all that may be lost.
    if ((number - (this.numbers.get(shard) ?? 0)) % lostCommitsMax !== 0) this.lies.push(`claimed at commit ${number} after ${this.numbers.get(shard)} (I3)`)
    this.numbers.set(shard, number)
  }

  wrote(write: Write): void {
    if (!write.commit) return
    const { lease, number } = write.commit
    const last = this.numbers.get(lease.shard) ?? 0
    const claim = this.claims.get(lease.shard)!
    if (lease.epoch < claim.epoch && number > claim.number) this.lies.push(`commit ${number} of epoch ${lease.epoch} after epoch ${claim.epoch} was claimed (I2)`)
    // A repeat is answered without being written.
    if (number <= last) return
    if (number !== last + 1) this.lies.push(`commit ${number} after ${last} (I3)`)
    this.numbers.set(lease.shard, number)
    this.commits++
    this.largest = Math.max(this.largest, write.commit.parts.length)
    for (const part of write.commit.parts) {
      const texts = [...part.fields.values(), ...part.actions.values(), ...part.entries.map((entry) => entry.text), ...part.outbox.map(({ entry }) => entry.text)]
      for (const text of texts) for (const [, k] of text?.matchAll(/"k":(\d+)/g) ?? []) this.committed.set(Number(k), part.address)
    }
  }
  /** A message on its way to another shard is an act of the turn that sent it. */
  delivering(write: Write): void {
    if (write.kind === 'deliver') this.acts['deliver'] = (this.acts['deliver'] ?? 0) + 1
  }
  act(kind: string, k: number): void {
    this.acts[kind] = (this.acts[kind] ?? 0) + 1
    if (!this.committed.has(k)) this.lies.push(`${kind} of ${k} without its commit`)
  }
}

function machineFor(witness: Witness) {
  return setup({
    types: { context: {} as { n: number; last: number }, events: {} as { type: 'go'; k: number; to: string } | { type: 'hear'; k: number } },
    actions: {
      note: (_, params: { k: number }) => witness.act('action', params.k),
      remember: assign({ n: ({ context }) => context.n + 1, last: ({ event }) => event.k }),
    },
    actors: { job: repeatable(async ({ input }: { input: { k: number } }) => witness.act('effect', input.k)) },
  }).createMachine({
    id: 'busy',
    context: { n: 0, last: -1 },
    initial: 'idle',
    states: {
      idle: {},
      working: { invoke: { src: 'job', input: ({ context }) => ({ k: context.last }) } },
    },
    on: {
      go: {
        target: '.working',
        reenter: true,
        actions: [
          'remember',
          { type: 'note', params: ({ event }) => ({ k: event.k }) },
          ({ event }) => witness.act('inline action', event.k),
          sendTo(({ event }) => refTo(event.to), ({ event }) => ({ type: 'hear', k: event.k })),
        ],
      },
      hear: { actions: ['remember', ({ event }) => witness.act('message', event.k)] },
    },
  })
}

interface Node {
  readonly system: ActorSystem
  readonly store: FaultyStore
  readonly clock: ProcessClock
}

test(`no act without its commit before it, over ${runs} runs (seeds ${firstSeed} to ${firstSeed + runs - 1})`, async () => {
  const totals: Record<string, number> = {}
  let commits = 0
  let largest = 0
  for (let seed = firstSeed; seed < firstSeed + runs; seed++) {
    const witness = await run(seed)
    expect(witness.lies, `seed ${seed}`).toEqual([])
    for (const [kind, n] of Object.entries(witness.acts)) totals[kind] = (totals[kind] ?? 0) + n
    commits += witness.commits
    largest = Math.max(largest, witness.largest)
  }
  console.log(`${runs} runs, ${commits} commits of up to ${largest} records; acts seen: ${JSON.stringify(totals)}`)
  expect(largest).toBeGreaterThan(5)
  for (const kind of ['action', 'inline action', 'effect', 'message', 'deliver', 'takeover', 'kill']) expect(totals[kind], kind).toBeGreaterThan(0)
}, 600_000)

async function run(seed: number): Promise<Witness> {
  const random = new Random(seed)
  const witness = new Witness()
  const machine = machineFor(witness)
  const database = new MemoryDatabase()
  const time = new VirtualClock()
  let ids = 0
  let living = 'none'
  const nodes: Node[] = []
  const fault = (write: Write): Fault | undefined => {
    witness.delivering(write)
    if (write.kind === 'claim') return undefined
    const roll = random.next()
    return roll < 0.2 ? { delayMs: 1 + random.below(20) } : roll < 0.25 ? 'lose-reply' : roll < 0.28 ? 'fail' : roll < 0.295 ? random.pick(['kill-before', 'kill-after']) : undefined
  }
  const start = async (): Promise<Node> => {
    const id = `node-${nodes.length}`
    living = id
    const clock = new ProcessClock(time)
    const store = new FaultyStore(new MemoryStore({ database, now: () => 1_000_000 + time.now(), isAlive: (node) => node.id === living }), {
      clock: time,
      onWrite: fault,
      onWritten: (write, result) => {
        const answer = result as { ok?: boolean; lease?: { shard: number; epoch: number }; state?: { number: number } } | undefined
        if (answer?.lease) witness.claimed(answer.lease, answer.state!.number)
        if (answer?.ok) witness.wrote(write)
      },
      onDeath: () => {
        witness.acts['kill'] = (witness.acts['kill'] ?? 0) + 1
        clock.dead = true
        node.system.abandon()
      },
    })
    const system = createActorSystem({ store, clock, machines: [machine], shards: 3, node: { id }, ids: { next: () => `i${ids++}` }, batchTurnsMax: 24, suspectMax: Infinity, leaseMs: 1e9 })
    const node = { system, store, clock }
    nodes.push(node)
    // It may die in the very moment in which it has started.
    const started = system.start().catch((error: unknown) => {
      if (!store.dead) throw error
    })
    await Promise.race([started, until(() => store.dead, time)])
    return node
  }
  let node = await start()
  let k = 0
  for (let step = 0; step < 25; step++) {
    if (node.store.dead) node = await start()
    else if (random.chance(0.08)) {
      // The old owner lives on, and does not know.
      witness.acts['takeover'] = (witness.acts['takeover'] ?? 0) + 1
      node = await start()
    }
    if (node.store.dead) continue
    for (let i = 0; i < 1 + random.below(30); i++) {
      const sender = random.pick(nodes.filter((n) => !n.store.dead))
      try {
        const from = sender.system.actor(machine, `a${random.below(60)}`)
        from.send({ type: 'go', k: k++, to: `busy/a${random.below(60)}` }, random.chance(0.3) ? { id: `m${k}` } : {}).catch(() => {})
      } catch {
        // A system that has been stopped refuses at once.
      }
    }
    await turnOver(time, 3 + random.below(8))
  }
  for (const { store, system } of nodes) if (!store.dead) system.abandon()
  return witness
}

/** Lets what is ready run, and time pass to the next instant at which something is due, a few times. */
async function turnOver(time: VirtualClock, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    for (let j = 0; j < 3; j++) await new Promise((resolve) => setImmediate(resolve))
    const due = time.nextDue()
    if (due !== undefined && due < 1e8) time.runUntil(due)
  }
}

async function until(condition: () => boolean, time: VirtualClock): Promise<void> {
  while (!condition()) {
    await turnOver(time, 1)
    if (condition()) return
    await new Promise((resolve) => setImmediate(resolve))
  }
}

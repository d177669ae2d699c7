/**
 * Many nodes in one thread, under virtual time, on a store in memory whose every write takes 1 to 5 ms: how many shards move
 * when one of them comes and when one leaves, how long a shard is nobody's meanwhile, and how even the loads are after it.
 */
import { setup } from 'xstate'
import { Fleet } from '../test/support/fleet.js'
import { Random } from '../test/support/random.js'
import type { Figure } from './figure.js'

const shards = 256
const leaseMs = 5_000
/** So long everything is watched, millisecond by millisecond, after a node has come or begun to leave. */
const watchMs = 400

export const simulatedSizes = [2, 4, 8, 16, 32, 64] as const

const idle = setup({}).createMachine({ id: 'idle' })

interface Outcome {
  /** Shards whose owner is another one after a node has come. */
  readonly moves: number
  /** The longest that any shard had no owner, ms, over a coming and a leaving. */
  readonly gapMs: number
  /** Shards of the node that has most, less those of the node that has least, the worse of both times. */
  readonly imbalance: number
}

async function simulate(nodes: number, seed: number): Promise<Outcome> {
  const random = new Random(seed)
  const fleet = new Fleet({ machines: [idle], shards, leaseMs, onWrite: () => ({ delayMs: 1 + random.below(5) }) })
  for (let i = 1; i < nodes; i++) fleet.join(`s${seed}-n${i}`)
  for (let waited = 0; !isEven(fleet); waited += 100) {
    if (waited > 60_000) throw new Error(`${nodes - 1} nodes do not come to share ${shards} shards.`)
    await fleet.advance(100)
  }
  const before = fleet.owners()
  const last = fleet.join(`s${seed}-n${nodes}`)
  const coming = await watch(fleet)
  const after = fleet.owners()
  const leaving = fleet.leave(last)
  const going = await watch(fleet)
  await leaving
  for (const node of fleet.living) node.kill()
  return {
    moves: after.filter((owner, shard) => owner !== before[shard]).length,
    gapMs: Math.max(coming.gapMs, going.gapMs),
    imbalance: Math.max(coming.imbalance, going.imbalance),
  }
}

function isEven(fleet: Fleet): boolean {
  const loads = Object.values(fleet.loads())
  return loads.reduce((a, b) => a + b, 0) === shards && imbalanceOf(loads) <= 1
}

function imbalanceOf(loads: readonly number[]): number {
  return Math.max(...loads) - Math.min(...loads)
}

async function watch(fleet: Fleet): Promise<Omit<Outcome, 'moves'>> {
  const without = new Map<number, number>()
  let gapMs = 0
  for (let ms = 0; ms < watchMs; ms++) {
    await fleet.advance(1)
    const owners = fleet.owners()
    for (let shard = 0; shard < shards; shard++) {
      if (owners[shard] !== undefined) without.delete(shard)
      else without.set(shard, (without.get(shard) ?? 0) + 1)
    }
    gapMs = Math.max(gapMs, ...without.values())
  }
  return { gapMs, imbalance: imbalanceOf(Object.values(fleet.loads())) }
}

/** One simulation gives all three. */
const outcomes = new Map<string, Promise<Outcome>>()

function outcomeOf(nodes: number, seed: number): Promise<Outcome> {
  const key = `${nodes}/${seed}`
  const outcome = outcomes.get(key) ?? simulate(nodes, seed)
  outcomes.set(key, outcome)
  return outcome
}

function figureOf(nodes: number, what: keyof Outcome, text: string, unit: string, name: string, bound: number, target?: string): () => Promise<Figure> {
  let round = 0
  return () =>
    Promise.resolve({
      figure: `simulated.${nodes}.${what === 'gapMs' ? 'gap' : what}`,
      what: text,
      unit,
      ours: { name: 'simulated', run: async () => (await outcomeOf(nodes, ++round))[what] },
      against: [{ name, run: () => bound, ...(target === undefined ? {} : { target }) }],
    })
}

export function simulatedNodes(nodes: number): readonly (readonly [string, () => Promise<Figure>])[] {
  return [
    [`simulated.${nodes}.moves`, figureOf(nodes, 'moves', `shards of ${shards} that move when a node comes to ${nodes - 1}`, 'shards', 'the least', Math.floor(shards / nodes))],
    [`simulated.${nodes}.gap`, figureOf(nodes, 'gapMs', `the longest that a shard is nobody's while a node comes to ${nodes - 1} and leaves again`, 'ms', 'what is aimed at', 250, '<= 1')],
    [`simulated.${nodes}.imbalance`, figureOf(nodes, 'imbalance', `shards of the busiest of ${nodes} nodes, less those of the idlest`, 'shards', 'what cannot be less', 1, '<= 1')],
  ]
}

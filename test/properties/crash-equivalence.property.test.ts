/**
 * Crash equivalence as a property: generated machines, killed before or after any durable write, any number of times,
 * come out as if nothing had happened.
 */
import { expect, test } from 'vitest'
import { fromCallback, fromEventObservable, fromObservable, fromPromise } from 'xstate'
import { crashTest, type CrashTable } from '../../src/testing/crash-test.js'
import type { World } from '../../src/testing/world.js'
import { eventTypes, generateMachine, type Logics } from '../support/machine-generator.js'
import { Random } from '../support/random.js'
import { hash32 } from '../../src/runtime/identity.js'

const machines = Number(process.env['HOLDFAST_MACHINES'] ?? 150)
const runsEach = Number(process.env['HOLDFAST_RUNS'] ?? 12)
const firstSeed = Number(process.env['HOLDFAST_SEED'] ?? 1)

/**
 * Effects whose outcome follows from their key, and that end at an instant of their own, as a job elsewhere would: an
 * attempt after a crash waits for the rest of the time only.
 */
function scripted(world: () => World): Logics {
  const silent = { subscribe: () => ({ unsubscribe() {} }) }
  const endsAt = new WeakMap<World, Map<string, number>>()
  return {
    promise: () =>
      fromPromise(async (args) => {
        const { idempotencyKey } = args as unknown as { idempotencyKey: string }
        const roll = hash32(idempotencyKey)
        const w = world()
        if (!endsAt.has(w)) endsAt.set(w, new Map())
        const ends = endsAt.get(w)!
        if (!ends.has(idempotencyKey)) ends.set(idempotencyKey, w.time.now() + (roll % 3 > 0 ? (roll % 7) * 5 : 0))
        const left = ends.get(idempotencyKey)! - w.time.now()
        if (left > 0) await w.sleep(left)
        if (roll % 4 === 0) throw new Error(`no ${roll % 10}`)
        return { roll: roll % 100 }
      }),
    callback: () => fromCallback(({ receive }) => receive(() => {})),
    observable: () => fromObservable(() => silent as never),
    eventObservable: () => fromEventObservable(() => silent as never),
  }
}

test(`${machines} generated machines, ${runsEach} runs with kills each (seeds ${firstSeed} to ${firstSeed + machines - 1})`, async () => {
  const kills: CrashTable = new Map()
  let runs = 0
  for (let seed = firstSeed; seed < firstSeed + machines; seed++) {
    const random = new Random(seed)
    let world: World
    const { machine } = generateMachine(random, { id: 'root', childLevels: random.below(2), throwing: random.chance(0.2), logics: scripted(() => world) })
    const steps = random.times(4 + random.below(8), () => (random.chance(0.3) ? { advanceMs: 5 + random.below(30) } : { type: random.pick(eventTypes), by: random.below(4) }))
    try {
      const report = await crashTest(machine, { input: { n: random.below(4) } as never, steps: steps as never, restMs: 500 }, { runs: runsEach, seed, prepare: (w) => (world = w) })
      runs += report.runs
      for (const [cell, n] of report.kills) kills.set(cell, (kills.get(cell) ?? 0) + n)
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}\n${JSON.stringify(steps)}`, { cause: error })
    }
  }
  console.log(`${machines} machines, ${runs} runs\n${[...kills].sort().map(([cell, n]) => `  ${cell.padEnd(20)}${n}`).join('\n')}`)
  expect(runs).toBe(machines * runsEach)
}, 900_000)

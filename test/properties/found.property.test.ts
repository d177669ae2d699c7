/**
 * What is found is what a look at every record finds: over generated machines that start, move, fail, end, expire and begin
 * again, in processes that are killed before and after random writes. (crash-equivalence asks the same at the end of each of
 * its runs, where actors are also hired, restarted and asked.)
 */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { fromCallback, fromEventObservable, fromObservable, fromPromise } from 'xstate'
import { World } from '../../src/testing/index.js'
import { extent, firstSeed, isChosen } from '../support/extent.js'
import { expectFound } from '../support/found.js'
import { Side, eventTypes, generateMachine, now, type Logics } from '../support/machine-generator.js'
import { Random } from '../support/random.js'
import { openDatabases, type Databases, type StoreKind } from '../support/stores.js'

const silent = { subscribe: () => ({ unsubscribe() {} }) }
const logics: Logics = {
  promise: () => fromPromise(() => new Promise(() => {})),
  callback: () => fromCallback(() => {}),
  observable: () => fromObservable(() => silent as never),
  eventObservable: () => fromEventObservable(() => silent as never),
}

const sizes: readonly (readonly [StoreKind, number])[] = [['memory', 30], ['lmdb', 8], ['redis', 8]]
const retentionMs = 500

beforeAll(() => void vi.spyOn(console, 'warn').mockImplementation(() => {}))

describe.each(sizes)('on %s', (kind, first) => {
  const runs = extent(first, 20 * first)
  let databases: Databases
  beforeAll(async () => void (databases = await openDatabases(kind)))
  afterAll(() => databases.dispose())

  test(`what is found is what is there, ${runs} runs (seeds ${firstSeed} to ${firstSeed + runs - 1})`, async () => {
    const total = { looks: 0, kills: 0, found: 0, ended: 0, gone: 0 }
    for (let seed = firstSeed; seed < firstSeed + runs; seed++) {
      try {
        await run(seed, databases, total)
      } catch (error) {
        throw new Error(`Seed ${seed}: ${(error as Error).message}`, { cause: error })
      }
    }
    console.log(`${kind}: ${JSON.stringify(total)}`)
    if (isChosen) return
    for (const [name, n] of Object.entries(total)) expect(n, name).toBeGreaterThan(runs / 2)
  }, 600_000)
})

async function run(seed: number, databases: Databases, total: { looks: number; kills: number; found: number; ended: number; gone: number }): Promise<void> {
  const random = new Random(seed)
  now.side = new Side()
  const machines = ['root', 'peer'].map((id) => generateMachine(random, { id, childLevels: 1, throwing: random.chance(0.5), isChild: false, logics, unitMs: 20 }).machine)
  let kills = 4
  const name = `found-${seed}`
  const world = new World({
    seed,
    machines,
    shards: 3,
    residentMax: random.pick([3, 1_000]),
    suspectMax: Infinity,
    endedRetentionMs: retentionMs,
    idRetentionMs: 1_000,
    connect: () => databases.connect(name),
    onWrite: () => (kills > 0 && random.chance(0.05) ? (kills--, total.kills++, random.pick(['kill-before', 'kill-after'] as const)) : undefined),
  })
  const ids = random.times(5, (i) => `a${i}`)
  const begun = new Set<string>()
  for (let step = 0; step < 40; step++) {
    if (!world.alive && !(await world.start())) continue
    const actor = world.system.actor(random.pick(machines), random.pick(ids))
    const roll = random.next()
    const said = roll < 0.3 ? actor.start({ input: { n: 1 } } as never) : roll < 0.36 ? actor.stop() : actor.send({ type: random.pick(eventTypes), by: 1 } as never)
    begun.add(actor.address)
    await Promise.race([said.catch(() => {}), world.died])
    if (random.chance(0.3)) await world.advance(random.pick([1, 50, retentionMs]))
    if (world.alive && (await world.settled()) && random.chance(0.4)) await look()
  }
  kills = 0
  while (!world.alive) await world.start()
  await world.settled()
  await look()
  await world.stop()

  async function look(): Promise<void> {
    const all = await expectFound(world.system, world.store, 1 + random.below(4))
    total.looks++
    total.found += all.length
    total.ended += all.filter(({ status }) => status !== 'active').length
    total.gone += begun.size - all.length
  }
}

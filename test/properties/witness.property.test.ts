/**
 * A store that goes back in time while nobody runs: whoever starts next finds out by the witness, nobody runs an actor until it
 * is accepted, and where nothing was lost nobody is held up (I11). Fleets under virtual time come, stop and die, and between
 * them the database is put back, flushed, and accepted, at random.
 */
import { expect, test } from 'vitest'
import type { Testimony, Witness } from '../../src/runtime/ports/witness.js'
import { weigh } from '../../src/runtime/testifier.js'
import { extent, firstSeed, isChosen } from '../support/extent.js'
import { Fleet } from '../support/fleet.js'
import { Random } from '../support/random.js'
import { tally } from '../support/tally.js'

/** Every fifth time it cannot be told. */
class MemoryWitness implements Witness {
  readonly told = new Map<string, Testimony>()
  private count = 0
  recall(): Promise<readonly Testimony[]> {
    return Promise.resolve(structuredClone([...this.told.values()]))
  }
  async tell(_: string, testimony: Testimony): Promise<void> {
    if (++this.count % 5 === 0) throw new Error('the disk is full')
    this.told.set(testimony.node, structuredClone(testimony))
  }
  async forget(_: string, node: string): Promise<void> {
    this.told.delete(node)
  }
}

interface State {
  readonly numbers: readonly number[]
  readonly incarnation: string
  readonly accepted: number
}

type Database = Fleet['database']['namespaces']
type Kept = { readonly state: State; restore(database: Database): void }

const leaseMs = 1_000
const longMs = 3 * leaseMs

function namespaceOf(all: Fleet): NonNullable<ReturnType<Database['get']>> {
  return all.database.namespaces.get('default')!
}

function stateOf(all: Fleet): State {
  const { shards, incarnation, accepted } = namespaceOf(all)
  return { numbers: shards.map(({ number }) => number), incarnation, accepted }
}

/** As it is now, to be put back later. */
function keep(all: Fleet): Kept {
  const { shards, nodes, nodeWatchers: _, ...rest } = namespaceOf(all)
  const plain = structuredClone({ shards: shards.map((shard) => Object.assign({}, shard, { readers: new Set(), watchers: new Set() })), nodes, rest })
  return {
    state: stateOf(all),
    restore(database) {
      const copy = structuredClone(plain)
      const now = database.get('default')!
      const put = copy.shards.map((shard, i) => Object.assign(Object.create(Object.getPrototypeOf(now.shards[i]!) as object) as object, shard))
      database.set('default', { ...copy.rest, shards: put, nodes: copy.nodes, nodeWatchers: new Set() } as unknown as NonNullable<ReturnType<Database['get']>>)
    },
  }
}

const seen = { starts: 0, noticed: 0, accepted: 0, well: 0 }

/** Where a state lacks something of another one. */
function lacks(now: State, was: State | undefined): boolean {
  return was !== undefined && (now.incarnation !== was.incarnation || now.accepted < was.accepted || was.numbers.some((number, shard) => now.numbers[shard]! < number))
}

async function story(seed: number): Promise<void> {
  const random = new Random(seed)
  const pick = (n: number): number => random.below(n)
  const witness = new MemoryWitness()
  const all = new Fleet({ machines: [tally], shards: 4, leaseMs, checkMs: 60_000, witness })
  const kept: Kept[] = []
  /** What the witness must know, since what the store holds was accepted last; and the furthest it has been since. */
  let known: State | undefined
  let furthest: State | undefined
  let n = 0
  const note = (): void => {
    furthest = stateOf(all)
    known = stateOf(all)
  }
  const leaveAll = async (isClean: boolean): Promise<void> => {
    for (const node of all.living) {
      if (isClean) {
        const left = all.leave(node)
        await all.advance(longMs)
        await left
      } else node.kill()
    }
  }
  const startAll = async (): Promise<void> => {
    const before = all.database.namespaces.has('default') ? stateOf(all) : undefined
    const toldBefore = structuredClone([...witness.told.values()])
    const wasHalted = before !== undefined && namespaceOf(all).halted !== undefined
    const count = 1 + pick(2)
    for (let i = 0; i < count; i++) all.join()
    await all.advance(longMs + 500)
    const now = before ?? { ...stateOf(all), numbers: [0, 0, 0, 0] }
    const owned = all.owners().filter((owner) => owner !== undefined).length
    const isHalted = namespaceOf(all).halted !== undefined
    seen.starts++
    if (wasHalted || lacks(now, known)) {
      seen.noticed++
      expect([owned, isHalted], `noticed in ${JSON.stringify({ now, known })}, told ${JSON.stringify(toldBefore)}`).toEqual([0, true])
    } else if (!lacks(now, furthest)) {
      seen.well++
      expect([owned, isHalted], `well in ${JSON.stringify({ now, furthest })}, told ${JSON.stringify([...witness.told.values()])}`).toEqual([4, false])
    }
    if (!isHalted) note()
  }
  await startAll()
  for (let step = 0; step < 14; step++) {
    const choice = pick(10)
    if (choice < 3) {
      const [node] = all.living
      if (!node || namespaceOf(all).halted !== undefined) continue
      for (let i = 0; i <= pick(6); i++) node.system.actor(tally, `a${pick(12)}`).send({ type: 'add', n: n++ }).catch(() => {})
      await all.advance(longMs)
      note()
    } else if (choice < 4) kept.push(keep(all))
    else if (choice < 7) {
      await leaveAll(pick(2) === 0)
      const what = pick(8)
      if (what === 0) all.database.namespaces.delete('default')
      else if (what < 5 && kept.length > 0) kept[pick(kept.length)]!.restore(all.database.namespaces)
      await startAll()
    } else if (choice < 9) {
      // Also where nothing is wrong, and where nobody runs.
      const isAlone = pick(2) === 0 && namespaceOf(all).halted !== undefined
      if (isAlone) await leaveAll(pick(2) === 0)
      const wasHalted = namespaceOf(all).halted !== undefined
      if (!wasHalted && pick(3) > 0) continue
      namespaceOf(all).halted = undefined
      namespaceOf(all).accepted++
      seen.accepted++
      known = undefined
      furthest = stateOf(all)
      if (isAlone) await startAll()
      else {
        await all.advance(longMs)
        expect(all.owners().filter((owner) => owner !== undefined)).toHaveLength(4)
        note()
      }
    } else if (all.living.length < 3 && all.living.length > 0) {
      all.join()
      await all.advance(longMs)
      if (namespaceOf(all).halted === undefined) note()
    }
  }
  await leaveAll(true)
}

const count = extent(20, 400)
test(`${count} stories of a store that goes back in time: what the witness was told of is missed, and nothing else (seeds ${firstSeed} to ${firstSeed + count - 1})`, async () => {
  for (let seed = firstSeed; seed < firstSeed + count; seed++) {
    await story(seed).catch((error: unknown) => {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error })
    })
  }
  console.log(`witness: ${JSON.stringify(seen)}`)
  if (!isChosen) expect(Math.min(seen.noticed, seen.accepted, seen.well)).toBeGreaterThan(5)
})

test('what is weighed does not depend on the order in which it was told, and the more is told the more is known', () => {
  for (let seed = firstSeed; seed < firstSeed + 500; seed++) {
    const random = new Random(seed)
    const era = () => ({ incarnation: 'ab'[random.below(2)]!, accepted: random.below(3) })
    const testimonies = Array.from({ length: 1 + random.below(5) }, (_, i): Testimony => ({ node: `n${i}`, ...era(), commits: { [random.below(3)]: random.below(9), [random.below(3)]: random.below(9) }, ...(random.below(3) === 0 ? { halted: era() } : {}) }))
    const now = era()
    const [one, other] = [weigh(testimonies, now), weigh([...testimonies].reverse(), now)]
    expect([one.wentBack !== undefined, [...one.over].sort()]).toEqual([other.wentBack !== undefined, [...other.over].sort()])
    const fewer = weigh(testimonies.slice(1), now)
    if (fewer.wentBack !== undefined) expect(one.wentBack).toBeDefined()
    if (one.wentBack === undefined) for (const [shard, number] of fewer.commits) expect(one.commits.get(shard)).toBeGreaterThanOrEqual(number)
  }
})

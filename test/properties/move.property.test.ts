/**
 * A namespace that is moved comes out as one that is not: random machines, killed at random writes, whose store is another
 * one, of another kind, at every start of a process. And a move that is killed before or after any of its writes is
 * finished, or cancelled, by the next call, with nothing lost and never both places open.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { moveNamespace, cancelMove, type Store } from '../../src/index.js'
import { isMovable, type MovableStore } from '../../src/runtime/ports/moving.js'
import { FaultyStore } from '../../src/testing/index.js'
import { extent, firstSeed, isChosen, tier } from '../support/extent.js'
import { digests, fill, isOpen, optionsOf, type Connect } from '../support/moves.js'
import { openDatabases, type Databases, type StoreKind } from '../support/stores.js'
import { crash, draw } from './crash-equivalence.js'

const kinds: readonly StoreKind[] = ['lmdb', 'redis', 'memory']
const databases = new Map<StoreKind, Databases>()
beforeAll(async () => {
  for (const kind of kinds) databases.set(kind, await openDatabases(kind))
}, 60_000)
afterAll(async () => {
  for (const opened of databases.values()) await opened.dispose()
})

let used = 0
function place(kind: StoreKind): Connect {
  const name = `move-${used++}`
  return () => {
    const store = databases.get(kind)!.connect(name)
    if (!isMovable(store)) throw new Error(`${kind} cannot be moved`)
    return store
  }
}

let moves = 0

/** Where a run is: each process that opens its store finds it moved on to the next kind. */
class Journey {
  private here: Connect | undefined
  private readonly kinds: readonly StoreKind[]
  private next = 0

  constructor(first: number) {
    this.kinds = kinds.map((_, i) => kinds[(first + i) % kinds.length]!)
  }

  /** A connection for one process. */
  connect(): Store {
    let inner: MovableStore | undefined
    const open: Store['open'] = async (options) => {
      const there = place(this.kinds[this.next++ % this.kinds.length]!)
      if (this.here) {
        await moveNamespace({ ...optionsOf(this.here, there), namespace: options.namespace })
        moves++
      }
      this.here = there
      return (inner = there()).open(options)
    }
    const close = async (): Promise<void> => inner?.close()
    return new Proxy({} as Store, {
      get: (_, name) => {
        if (name === 'open') return open
        if (name === 'close') return close
        return name === 'then' ? undefined : (...args: unknown[]) => (Reflect.get(inner!, name) as (...given: unknown[]) => unknown).apply(inner, args)
      },
    })
  }
}

/** These stay where they are: what the others are compared with. */
const unmoved = 2
const machines = extent(5)

test(`${machines} generated machines come out the same though they are killed, and moved to another kind of store at every start (seeds ${firstSeed} to ${firstSeed + machines - 1})`, async () => {
  for (let seed = firstSeed; seed < firstSeed + machines; seed++) {
    const drawn = draw(seed)
    const journeys = new Map<number, Journey>()
    const store = (run: number): Store => {
      if (run < unmoved) return databases.get('memory')!.connect(`unmoved-${seed}-${run}`)
      const journey = journeys.get(run) ?? new Journey(seed + run)
      journeys.set(run, journey)
      return journey.connect()
    }
    try {
      await crash(drawn, 5, store)
    } catch (error) {
      throw new Error(`Seed ${seed}: ${(error as Error).message}\n${drawn.story}\nAgain: HOLDFAST_SEED=${seed} HOLDFAST_RUNS=1 npx vitest run test/properties/move.property.test.ts`, { cause: error })
    }
  }
  console.log(`${moves} moves`)
  if (!isChosen) expect(moves).toBeGreaterThan(10 * machines)
}, tier === 'second' ? 3_000_000 : 300_000)

// ── Killed moves ──

type Side = 'kill-before' | 'kill-after' | 'fail' | 'lose-reply'

/** Runs a move that ends at that write of its own, counted over both stores, or comes through. */
async function killed(from: Connect, to: Connect, index: number, side: Side, run: typeof moveNamespace | typeof cancelMove): Promise<{ through: boolean; wrote: string }> {
  let writes = 0
  let wrote = ''
  let onDeath = (): void => {}
  const died = new Promise<void>((resolve) => (onDeath = resolve))
  const opened: MovableStore[] = []
  const faulty = (connect: Connect): MovableStore => {
    const inner = connect()
    opened.push(inner)
    const store = new FaultyStore(inner, {
      nextIndex: () => writes++,
      onWrite: (write) => {
        if (write.index !== index) return undefined
        wrote = write.kind
        return side
      },
      onDeath: () => {
        for (const other of stores) other.dead = true
        onDeath()
      },
    })
    stores.push(store)
    return store
  }
  const stores: FaultyStore[] = []
  const options = optionsOf(() => faulty(from), () => faulty(to))
  const through = await Promise.race([run(options).then(() => true), died.then(() => false)]).catch((error: unknown) => {
    if ((error as { code?: string }).code !== 'STORE') throw error
    return false
  })
  await Promise.all(stores.map((store) => store.idle()))
  await Promise.all(opened.map((store) => store.close()))
  return { through, wrote }
}

const sides: readonly Side[] = ['kill-before', 'kill-after', 'fail', 'lose-reply']
const ways: readonly (readonly [StoreKind, StoreKind, every: number])[] = [
  ['memory', 'memory', 1],
  ['lmdb', 'redis', tier === 'second' ? 1 : 5],
  ['redis', 'lmdb', tier === 'second' ? 1 : 5],
  ['redis', 'redis', tier === 'second' ? 1 : 9],
  ['lmdb', 'lmdb', tier === 'second' ? 1 : 9],
]

describe.each(ways)('a move from %s to %s that is killed at a write', (source, target, every) => {
  /** Small: what is looked at is the order of the writes, and each needs a place of its own. */
  async function prepared(): Promise<{ from: Connect; to: Connect; before: string[] }> {
    const from = place(source)
    await fill(from(), 2, 20)
    return { from, to: place(target), before: await digests(from()) }
  }

  test('is finished by the next call, and never are both places open', async () => {
    const seen = new Set<string>()
    for (let i = 0; ; i += every) {
      const side = sides[(i / every) % sides.length]!
      let ended = false
      for (const how of every === 1 ? sides : [side]) {
        const { from, to, before } = await prepared()
        const { through, wrote } = await killed(from, to, i, how, moveNamespace)
        ended ||= wrote === ''
        seen.add(wrote)
        const open = [await isOpen(from()), await isOpen(to())]
        if (wrote !== '' && !through) {
          // Here nothing has been reserved yet, or all has been switched.
          if (open[0]) expect(['mark', 'seal']).toContain(wrote)
          if (open[1]) expect(open[0] ? 'mark' : wrote).toBe(open[0] ? wrote : 'mark')
        }
        if (open[0] && open[1]) expect((await digests(to()))[0]).toMatch(/^1 /)
        expect((await moveNamespace(optionsOf(from, to))).state).toMatch(/^(?:moved|already)$/)
        expect([await isOpen(from()), await isOpen(to())]).toEqual([false, true])
        expect(await digests(to())).toEqual(before)
        expect((await moveNamespace(optionsOf(from, to))).state).toBe('already')
      }
      if (ended) break
    }
    if (every === 1) expect([...seen].sort()).toEqual(['', 'import', 'mark', 'seal', 'unseal'].concat(seen.has('clear') ? ['clear'] : []).sort())
  }, 300_000)

  test('is cancelled by the next call unless it is over, and so is one whose cancelling is killed', async () => {
    for (let i = 0; ; i += every) {
      const { from, to, before } = await prepared()
      const side = sides[(i / every) % 2]!
      const first = await killed(from, to, i, side, moveNamespace)
      if (first.wrote === '') break
      for (let j = (i / every) % 3; ; j += 3) {
        const cancelled = await killed(from, to, j, sides[(j + i) % 2]!, cancelMove).catch((error: unknown) => error as { code: string; reason: string })
        if ('reason' in cancelled) {
          expect(cancelled.reason).toBe('cannot')
          break
        }
        const open = [await isOpen(from()), await isOpen(to())]
        if (open[0] && open[1]) expect((await digests(to()))[0]).toMatch(/^1 /)
        if (cancelled.wrote === '') break
      }
      if (await isOpen(from())) {
        expect(await digests(from())).toEqual(before)
        expect(await isOpen(to())).toBe(true)
      }
      await moveNamespace(optionsOf(from, to))
      expect(await digests(to())).toEqual(before)
      expect([await isOpen(from()), await isOpen(to())]).toEqual([false, true])
    }
  }, 300_000)
})


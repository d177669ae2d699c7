/**
 * Replay as a property: whatever machine it is, whatever happens to it and wherever the process is killed meanwhile, its
 * history leads to every state that it had. Witness is what the store accepted: each commit that was written tells how a
 * record stood after its last turn.
 *
 * The cast and its fate are those of crash equivalence: timers, effects, external actions, questions, children of every
 * kind, failures and restarts, clean stops. Histories are kept so short in some of the runs that they are cut again and again.
 */
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { AnyStateMachine } from 'xstate'
import type { HistoryOptions, Store } from '../../src/index.js'
import { withoutStacks } from '../../src/runtime/history.js'
import { machineOf, type Address } from '../../src/runtime/identity.js'
import type { Commit } from '../../src/runtime/ports/store.js'
import { Replayer } from '../../src/runtime/replay.js'
import { sumLength, wholeFields } from '../../src/runtime/stored-record.js'
import type { World } from '../../src/testing/index.js'
import { extent, firstSeed } from '../support/extent.js'
import { openDatabases, type Databases, type StoreKind } from '../support/stores.js'
import { crash, draw } from './crash-equivalence.js'

/** Records by address and turn, as they stood after commits. */
class Witness {
  readonly states = new Map<string, Map<number, ReadonlyMap<string, string>>>()
  private readonly records = new Map<string, Map<string, string>>()
  private readonly numbers = new Set<string>()

  saw({ lease, number, parts }: Commit): void {
    // One that is asked for again is written once.
    const key = `${lease.shard} ${number}`
    if (this.numbers.has(key)) return
    this.numbers.add(key)
    for (const { address, fields, life } of parts) {
      if (life === 'erased') {
        this.records.delete(address)
        this.states.delete(address)
        continue
      }
      const record = this.records.get(address) ?? new Map<string, string>()
      this.records.set(address, record)
      for (const [name, value] of fields) {
        if (value === undefined) record.delete(name)
        else record.set(name, value)
      }
      if (!record.has('z')) continue
      const states = this.states.get(address) ?? new Map<number, ReadonlyMap<string, string>>()
      this.states.set(address, states)
      // What was written whole and what was cut is the same.
      states.set(Number(record.get('z')!.slice(sumLength).split(' ')[0]), wholeFields(address as Address, record))
    }
  }

  watch(store: Store): Store {
    const commit: Store['commit'] = async (commit) => {
      const result = await store.commit(commit)
      if (result.ok) this.saw(commit)
      return result
    }
    return new Proxy(store, {
      get(target, name) {
        if (name === 'commit') return commit
        const method: unknown = Reflect.get(target, name)
        return typeof method === 'function' ? (method.bind(target) as unknown) : method
      },
    })
  }
}

/** Without checksums, which stacks go into, without what only the history itself goes by, and without whether there were large values. */
function comparable(fields: ReadonlyMap<string, string>): Record<string, string> {
  return Object.fromEntries([...fields].filter(([name]) => name !== 'h').sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, value]) => [name, withoutStacks(value.slice(sumLength)).replace(/^{"format":2,/, '{"format":1,')]))
}

interface Replayed {
  actors: number
  turns: number
  /** Turns at which the state was compared with what was committed. */
  compared: number
  /** Histories that no longer reach back to the start. */
  cut: number
  readonly kinds: Map<string, number>
}

async function check({ system }: World, witness: Witness, machines: ReadonlyMap<string, AnyStateMachine>, { turnsMax }: HistoryOptions, tally: Replayed): Promise<void> {
  for (const { address } of (await system.find({ limit: 1_000 })).actors) {
    const history = await system.actorAt(address).history()
    if (!history) throw new Error(`${address} has no history.`)
    const states = witness.states.get(address)!
    const last = Math.max(...states.keys())
    const replayer = new Replayer(machines.get(machineOf(address))!, JSON.parse(JSON.stringify(history)) as typeof history)
    tally.actors++
    if (history.base) {
      tally.cut++
      if (turnsMax !== undefined) expect(history.turns.length, `${address} keeps half of its bound`).toBeGreaterThanOrEqual(Math.floor(turnsMax / 2))
    }
    expect(history.turns.length, `${address} keeps no more than its bound`).toBeLessThanOrEqual(turnsMax ?? 1_000)
    expect(history.turns.at(-1)!.turn, `the last turn of ${address}`).toBe(last)
    const compare = (turn: number): void => {
      const state = states.get(turn)
      if (!state) return
      tally.compared++
      expect(comparable(replayer.record!.storedFields()), `${address} after turn ${turn}`).toEqual(comparable(state))
    }
    if (history.base) compare(history.base.turn)
    for (const turn of history.turns) {
      replayer.step(turn)
      expect(replayer.divergence, `${address}, turn ${turn.turn}`).toBeUndefined()
      tally.turns++
      tally.kinds.set(turn.input.kind, (tally.kinds.get(turn.input.kind) ?? 0) + 1)
      compare(turn.turn)
    }
    expect(replayer.snapshot, `${address} at the end`).toEqual(await system.actorAt(address).persisted())
  }
}

/** Long enough for all there is, and so short that it is cut after nearly every turn, by turns, bytes or age. */
const bounds: readonly HistoryOptions[] = [{ turnsMax: 100_000, bytesMax: 2 ** 30, ageMs: 2 ** 40 }, { turnsMax: 8 }, { turnsMax: 3 }, { bytesMax: 6_000 }, { ageMs: 40 * 3_600_000 }]

/** @param file of the test, to tell how to run it again */
export function testReplay(kind: StoreKind, file: string, machines: number): void {
  const seeds = extent(machines, 16 * machines)
  const tally: Replayed = { actors: 0, turns: 0, compared: 0, cut: 0, kinds: new Map() }
  let databases: Databases
  beforeAll(async () => {
    databases = await openDatabases(kind)
  })
  afterAll(() => databases.dispose())

  test(`on ${kind}, a replay leads to every state that ${seeds} generated machines had, 6 runs with kills each (seeds ${firstSeed} to ${firstSeed + seeds - 1})`, async () => {
    for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
      const drawn = draw(seed)
      const byName = new Map([drawn.machine, ...drawn.machines].map((machine) => [machine.id, machine]))
      const history = bounds[seed % bounds.length]!
      const witnesses = new Map<number, Witness>()
      let run = 0
      const store = (number: number): Store => {
        run = number
        if (!witnesses.has(number)) witnesses.set(number, new Witness())
        return witnesses.get(number)!.watch(databases.connect(`replay-${seed}-${number}`))
      }
      try {
        // One turn a commit in half of them: then every state is seen.
        await crash(drawn, 6, store, { history, batchTurnsMax: seed % 2 === 0 ? 1 : 128, check: (world) => check(world, witnesses.get(run)!, byName, history, tally) })
      } catch (error) {
        throw new Error(`Seed ${seed}, history ${JSON.stringify(history)}: ${(error as Error).message}\n${drawn.story}\nAgain: HOLDFAST_SEED=${seed} HOLDFAST_RUNS=1 npx vitest run ${relative(process.cwd(), fileURLToPath(file))}`, { cause: error })
      }
    }
    console.log(`${kind}: ${tally.actors} histories with ${tally.turns} turns, ${tally.compared} states compared, ${tally.cut} cut; ${[...tally.kinds].map(([name, n]) => `${name} ${n}`).join(', ')}`)
  }, 600_000)
}

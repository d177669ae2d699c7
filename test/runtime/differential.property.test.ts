/**
 * The oracle: the same configurations, contexts, outputs and order of actions as XState's own `createActor`, over
 * generated machines, with the record thrown away and read back between steps.
 */
import { createActor, createMachine } from 'xstate'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { ActorTree } from '../../src/runtime/xstate/actor-tree.js'
import type { XMachineSnapshot } from '../../src/runtime/xstate/insides.js'
import type { Cell } from '../../src/runtime/xstate/refs.js'
import { stepOf } from '../../src/runtime/xstate/step.js'
import { NativeDriver, RecordDriver, nativeTimers, normalise, recordTimers } from '../support/differential.js'
import { extent, firstSeed, isChosen } from '../support/extent.js'
import { eventTypes, generateMachine, now, type Side } from '../support/machine-generator.js'
import { Random } from '../support/random.js'

const machines = extent(250, 7_000)
const stepsEach = 60

// The development build warns of every event that reaches a stopped actor; generated machines send many.
beforeAll(() => void vi.spyOn(console, 'warn').mockImplementation(() => {}))

/** Set when a child that threw left children of its own, from where on both sides differ by design. */
let orphaned = false
beforeAll(() => {
  const tree = ActorTree.prototype as unknown as { stopDescendants(cell: Cell): void }
  const original = tree.stopDescendants
  vi.spyOn(tree, 'stopDescendants').mockImplementation(function (this: ActorTree, cell: Cell) {
    if (cell._parent && Object.keys((cell._snapshot as XMachineSnapshot).children ?? {}).length > 0) orphaned = true
    original.call(this as never, cell)
  })
})

describe.each([
  { what: 'generated machines', oneStateAtATime: false },
  { what: 'generated machines of one state at a time', oneStateAtATime: true },
])('$what', ({ oneStateAtATime }) => {
  test(`${machines} of them behave as under createActor (seeds ${firstSeed} to ${firstSeed + machines - 1})`, async () => {
    const counts = new Map<string, number>()
    const ends = { active: 0, done: 0, error: 0, orphans: 0, looping: 0 }
    let steps = 0
    let restores = 0
    for (let seed = firstSeed; seed < firstSeed + machines; seed++) {
      const result = await compare(seed, oneStateAtATime)
      for (const construct of result.constructs) counts.set(construct, (counts.get(construct) ?? 0) + 1)
      steps += result.steps
      restores += result.restores
      ends[result.end]++
    }
    const rows = [...counts].sort(([a], [b]) => (a < b ? -1 : 1))
    console.log(`${machines} machines, ${steps} steps, ${restores} restores; ended ${JSON.stringify(ends)}\n${rows.map(([name, n]) => `  ${name.padEnd(28)}${n}`).join('\n')}`)
    if (isChosen) return
    expect(steps).toBeGreaterThan(0.6 * machines * stepsEach)
    expect(rows.filter(([name, n]) => n < 0.4 * machines && !name.startsWith('throwing'))).toEqual([])
  }, 600_000)
})

interface Outcome {
  readonly constructs: ReadonlySet<string>
  readonly steps: number
  readonly restores: number
  readonly end: End
}

async function compare(seed: number, oneStateAtATime: boolean): Promise<Outcome> {
  const random = new Random(seed)
  const { machine, constructs } = generateMachine(random, { id: 'root', childLevels: random.below(3), throwing: random.chance(0.3), oneStateAtATime })
  if (oneStateAtATime) expect(stepOf(machine as never), 'its steps are taken by plan').not.toBe(machine.transition)
  const input = { n: random.below(4) }
  const native = new NativeDriver(machine, input)
  const ours = new RecordDriver(machine)
  const story: string[] = []
  let restores = 0
  let steps = 0
  let end = 'active' as End
  orphaned = false

  /** Takes one step on both sides, ours first: a machine that loops for ever ends here instead of hanging XState. */
  const step = async (what: string, onOurs: () => void, onNative: () => void | Promise<void>): Promise<void> => {
    story.push(what)
    steps++
    onOurs()
    if (ours.record.failure?.error.code === 'TURN') {
      expect(ours.record.failure.error.message, `seed ${seed}`).toContain('macrosteps')
      end = 'looping'
      return
    }
    await onNative()
    end = check(`seed ${seed}\n${story.join('\n')}`, native, ours)
  }

  await step('start', () => ours.run({ kind: 'start', input }), () => native.start())
  while (end === 'active' && steps < stepsEach) {
    if (random.chance(0.3)) {
      restores++
      await step('restore', () => ours.restore(), () => {})
      if (end !== 'active') break
    }
    const effects = [...ours.side.promises.keys(), ...ours.side.callbacks.keys(), ...ours.side.observers.keys()]
    const roll = random.next()
    const due = ours.nextDue()
    if (roll < 0.25 && due !== undefined) {
      await step(`advance to ${due}`, () => ours.advanceTo(due), () => native.advanceTo(due))
    } else if (roll < 0.5 && effects.length > 0) {
      const path = random.pick(effects)
      const drive = effectDriver(random, path, ours.side)
      await step(drive.what, () => drive.on(ours.side), async () => {
        now.side = native.side
        drive.on(native.side)
        for (let i = 0; i < 6; i++) await Promise.resolve()
      })
    } else {
      const event = { type: random.pick(eventTypes), by: random.below(4) }
      await step(`send ${JSON.stringify(event)}`, () => ours.run({ kind: 'event', cell: 0, event: { ...event } }), () => native.send({ ...event }))
    }
  }
  if (end !== 'looping') native.actor.stop()
  return { constructs, steps, restores, end }
}

type End = 'active' | 'done' | 'error' | 'looping' | 'orphans'

function check(at: string, native: NativeDriver, ours: RecordDriver): End {
  const snapshot = native.actor.getSnapshot() as { status: End; error?: { message?: string } }
  const failed = ours.record.status === 'failed'
  if (snapshot.status === 'error' || failed) {
    expect({ failed, message: ours.record.failure?.error.message }, at).toEqual({ failed: snapshot.status === 'error', message: String(snapshot.error?.message ?? snapshot.error) })
    return 'error'
  }
  expect(normalise(ours.record.snapshot), at).toEqual(normalise(snapshot))
  // What a child that threw leaves behind is stopped here and runs on unreachable under createActor.
  if (orphaned) return 'orphans'
  expect(ours.side.log, at).toEqual(native.side.log)
  expect(ours.emitted, at).toEqual(native.emitted)
  expect(ours.inspected, at).toEqual(native.inspected)
  ours.inspected.length = native.inspected.length = 0
  expect(recordTimers(ours), at).toEqual(nativeTimers(native))
  ours.side.log.length = native.side.log.length = 0
  return snapshot.status
}

function effectDriver(random: Random, path: string, side: Side): { what: string; on(side: Side): void } {
  const event = { type: random.pick(['PING', 'E0', 'FROM.CHILD']) }
  if (side.promises.has(path)) {
    const fails = random.chance(0.3)
    return {
      what: `${fails ? 'reject' : 'resolve'} ${path}`,
      on(on) {
        const promise = on.promises.get(path)!
        on.promises.delete(path)
        if (fails) promise.reject(new Error(`no ${path}`))
        else promise.resolve({ by: path.length })
      },
    }
  }
  if (side.callbacks.has(path)) return { what: `callback ${path} sends ${event.type}`, on: (on) => on.callbacks.get(path)!.sendBack(event) }
  const how = random.pick(['next', 'next', 'next', 'complete', 'error'] as const)
  return {
    what: `observable ${path} ${how}`,
    on(on) {
      const observer = on.observers.get(path)!
      if (how !== 'next') on.observers.delete(path)
      if (how === 'next') observer.next(event)
      else if (how === 'complete') observer.complete()
      else observer.error(new Error(`broken ${path}`))
    },
  }
}

test('this run is on the build of XState that it says', () => {
  const warned: unknown[] = []
  vi.spyOn(console, 'warn').mockImplementation((...args) => void warned.push(args))
  const actor = createActor(createMachine({})).start()
  actor.stop()
  actor.send({ type: 'late' })
  // Only the development build warns.
  expect(warned.length).toBe(process.env['HOLDFAST_XSTATE'] === 'production' ? 0 : 1)
})

/**
 * Generated machines under `createActor` with the inspector of `@statelyai/inspect`, and as records with ours: the same
 * messages, byte for byte. Sockets are left out here; `inspect-wire.test.ts` has them.
 */
import { createInspector } from '@statelyai/inspect'
import { configure } from 'safe-stable-stringify'
import type { InspectionEvent } from 'xstate'
import { beforeAll, expect, test, vi } from 'vitest'
import { MessageWriter, see } from '../../src/adapters/inspect/message.js'
import { Inspectors } from '../../src/runtime/inspection.js'
import { silentLogger } from '../../src/runtime/ports/logger.js'
import { NativeDriver, RecordDriver } from '../support/differential.js'
import { extent, firstSeed, isChosen } from '../support/extent.js'
import { comparable, difference } from '../support/inspector-server.js'
import { eventTypes, generateMachine, now } from '../support/machine-generator.js'
import { Random } from '../support/random.js'

const machines = extent(60, 600)
const stepsEach = 25

// The development build warns of every event that reaches a stopped actor; generated machines send many.
beforeAll(() => void vi.spyOn(console, 'warn').mockImplementation(() => {}))

test(`${machines} generated machines give the same messages (seeds ${firstSeed} to ${firstSeed + machines - 1})`, async () => {
  let messages = 0
  for (let seed = firstSeed; seed < firstSeed + machines; seed++) messages += await compare(seed)
  if (!isChosen) expect(messages).toBeGreaterThan(4_000)
}, 600_000)

async function compare(seed: number): Promise<number> {
  const random = new Random(seed)
  const childLevels = random.below(3)
  // What a child that threw leaves behind is stopped here, and runs on unreachable under createActor.
  const { machine } = generateMachine(random, { id: 'root', childLevels, throwing: childLevels === 0 && random.chance(0.5) })
  const input = { n: random.below(4) }
  const [expected, got]: [string[], string[]] = [[], []]
  const stringify = configure({ maximumDepth: 10 })
  const stately = createInspector({ send: (event) => void expected.push(stringify(event)!) })
  let early: InspectionEvent[] | undefined = []
  const native = new NativeDriver(machine, input, (event: InspectionEvent) => void (early?.push(event) ?? stately.inspect.next!(event)))
  const ours = new RecordDriver(machine)
  const inspectors = new Inspectors(silentLogger)
  const writer = new MessageWriter({ redact: 'nothing' })
  inspectors.add((event) => {
    const seen = see(event)
    if (seen) got.push(writer.write(seen, 0)!)
  })
  ours.onInspection = (root, inspection) => inspectors.tell(root, inspection)

  const story: string[] = []
  let isOver = false
  const step = async (what: string, onOurs: () => void, onNative: () => void): Promise<void> => {
    story.push(what)
    onOurs()
    // It loops for ever, or two sides end here by design.
    isOver = ours.record.status !== 'active' || ours.record.failure !== undefined
    // Where the very start fails, Stately's inspector throws over the snapshots of children that never were.
    if (ours.record.failure?.error.code === 'TURN' || (what === 'start' && ours.record.failure)) return
    onNative()
    // Stately's inspector looks at each event in a timer of its own, at what its actor is then.
    await new Promise((resolve) => setImmediate(resolve))
    await new Promise((resolve) => setTimeout(resolve, 0))
    // A native observable keeps its live subscription in its snapshot.
    const [want, have] = [comparable(expected.map((text) => text.replace(/"_subscription":\{(?:"unsubscribe":\{"type":"unsubscribe"\})?\},/g, ''))), comparable(got)]
    for (const [i, text] of want.entries()) if (have[i] !== text) expect({ i, text: difference(have[i] ?? '', text) }, `seed ${seed}\n${story.join('\n')}`).toEqual({ i, text: difference(text, have[i] ?? '') })
    // The children of a machine that threw are stopped, and that is told; under createActor they run on.
    expect(ours.record.failure ? want.length : have.length, `seed ${seed}\n${story.join('\n')}`).toBe(want.length)
  }

  await step('start', () => ours.run({ kind: 'start', input }), () => {
    for (const event of early!) stately.inspect.next!(event)
    early = undefined
    native.start()
  })
  for (let i = 0; i < stepsEach && !isOver; i++) {
    const promises = [...ours.side.promises.keys()]
    const callbacks = [...ours.side.callbacks.keys()]
    const observers = [...ours.side.observers.keys()]
    const next = ours.nextDue()
    // Two timers of one instant are two turns, and natively one step, at whose end the actors of both are looked at.
    const due = [...ours.record.tree.timers.values()].filter(({ dueAt }) => dueAt === next).length === 1 ? next : undefined
    const roll = random.next()
    if (roll < 0.25 && due !== undefined) await step(`advance to ${due}`, () => ours.advanceTo(due), () => native.advanceTo(due))
    else if (roll < 0.45 && promises.length > 0) {
      const path = random.pick(promises)
      const error = random.chance(0.3) ? new Error(`no ${path}`) : undefined
      const settle = (side: typeof ours.side): void => {
        now.side = side
        const promise = side.promises.get(path)!
        side.promises.delete(path)
        if (error) promise.reject(error)
        else promise.resolve({ by: path.length })
      }
      await step(`${error ? 'reject' : 'resolve'} ${path}`, () => settle(ours.side), () => settle(native.side))
    } else if (roll < 0.6 && callbacks.length > 0) {
      const path = random.pick(callbacks)
      const send = (side: typeof ours.side): void => {
        now.side = side
        side.callbacks.get(path)!.sendBack({ type: 'FROM.CHILD' })
      }
      await step(`callback ${path} sends`, () => send(ours.side), () => send(native.side))
    } else if (roll < 0.7 && observers.length > 0) {
      const path = random.pick(observers)
      const isLast = random.chance(0.2)
      const tell = (side: typeof ours.side): void => {
        now.side = side
        const observer = side.observers.get(path)!
        if (isLast) side.observers.delete(path)
        if (isLast) observer.complete()
        else observer.next({ type: 'PING' })
      }
      await step(`observable ${path} ${isLast ? 'completes' : 'goes on'}`, () => tell(ours.side), () => tell(native.side))
    } else {
      const event = { type: random.pick(eventTypes), by: random.below(4) }
      await step(`send ${JSON.stringify(event)}`, () => ours.run({ kind: 'event', cell: 0, event: { ...event } }), () => native.send({ ...event }))
    }
  }
  return got.length
}

/**
 * Payloads large and small, of texts, lists and objects that come again and again, wherever an actor may keep them: context,
 * lists, inputs and outputs of effects and children, timers, failures, what is to be restarted from. The process is killed
 * before and after its durable writes; what comes out is what comes out when nothing is a large value, each record has
 * those that it refers to and no others, and when all actors have ended and gone, nothing is left of any.
 */
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { assign, fromPromise, raise, sendTo, setup, spawnChild, stopChild } from 'xstate'
import { durableChild, refTo, restartDurableChild, stopDurableChild, type Store } from '../../src/index.js'
import { shardOf, type Address } from '../../src/runtime/identity.js'
import { beginning, ending, isMovable, type StoredItem } from '../../src/runtime/ports/moving.js'
import { crashTest, type CrashOutcome, type CrashStep, type World } from '../../src/testing/index.js'
import { extent, firstSeed, isChosen, tier } from '../support/extent.js'
import { expectLargeValuesOf } from '../support/large.js'
import { Random } from '../support/random.js'
import { openDatabases, type Databases, type StoreKind } from '../support/stores.js'

const hourMs = 3_600_000
const shards = 2
/** How long a large value is. */
const charsMin = 100

type Doc = string | readonly unknown[] | { readonly [key: string]: unknown }
type DeskEvent =
  | { type: 'put'; key: 'a' | 'b'; doc: Doc }
  | { type: 'drop'; key: 'a' | 'b' }
  | { type: 'add'; doc: Doc }
  | { type: 'later'; doc: Doc }
  | { type: 'work'; doc: Doc }
  | { type: 'hire'; doc: Doc }
  | { type: 'carry'; doc: Doc }
  | { type: 'fail'; doc: Doc }
  | { type: 'restart'; from: 'snapshot' | 'input' }
  | { type: 'end' }

const echo = fromPromise<Doc, { doc: Doc; a: Doc | null }>(({ input }) => Promise.resolve([input.doc, input.a]))

/** Works on its input inside another's record. */
const clerk = setup({
  types: { context: {} as { doc: Doc; also: Doc | null }, input: {} as { doc: Doc }, events: {} as { type: 'more'; doc: Doc } },
  actors: { echo },
}).createMachine({
  context: ({ input }) => ({ doc: input.doc, also: null }),
  on: { more: { actions: assign({ also: ({ event }) => event.doc }) } },
  initial: 'working',
  states: { working: { invoke: { src: 'echo', input: ({ context }) => ({ doc: context.doc, a: context.also }), onDone: 'idle' } }, idle: {} },
})

const setUp = setup({
  types: {
    context: {} as { first: Doc; a?: Doc | undefined; b?: Doc | undefined; docs: readonly Doc[]; done?: Doc; n: number },
    events: {} as DeskEvent,
    input: {} as { doc: Doc },
  },
  actors: { echo, clerk },
  actions: {
    note: () => {},
    also: () => {},
    throws: assign(() => {
      throw new Error('as asked')
    }),
    hire: durableChild(({ event }) => ({ machine: 'aide', id: 'aide', input: { doc: (event as { doc: Doc }).doc } })),
    restart: restartDurableChild(({ event }) => ({ machine: 'aide', id: 'aide', from: (event as { from: 'snapshot' | 'input' }).from })),
    dismiss: stopDurableChild(() => ({ machine: 'aide', id: 'aide' })),
    carry: sendTo(() => refTo(`courier/${away}`), ({ event }) => ({ type: 'carry', doc: (event as { doc: Doc }).doc })),
    later: raise(({ event }) => ({ type: 'add', doc: (event as { doc: Doc }).doc }) as const, { delay: ({ context }) => 2 * hourMs + context.n, id: 'later' }),
    tell: sendTo('clerk', ({ event }) => ({ type: 'more', doc: (event as { doc: Doc }).doc }), { delay: hourMs / 2, id: 'more' }),
  },
})

/** A record with a bit of everything; `aide` is one of its durable children, too. */
function deskMachine(id: string) {
  return setUp.createMachine({
    id,
    version: '1',
    context: ({ input }) => ({ first: input.doc, docs: [], n: 0 }),
    initial: 'open',
    output: ({ context }) => ({ last: context.docs.at(-1) ?? context.first }) as never,
    on: {
      put: { actions: [assign(({ event }) => ({ [event.key]: event.doc })), 'note', 'also'] },
      drop: { actions: assign(({ event }) => ({ [event.key]: undefined })) },
      add: { actions: assign({ docs: ({ context, event }) => [...context.docs, event.doc].slice(-4) }) },
      later: { actions: ['later', assign({ n: ({ context }) => context.n + 1 })] },
      hire: { actions: [stopChild('clerk'), spawnChild('clerk', { id: 'clerk', input: ({ event }: { event: DeskEvent }) => ({ doc: (event as { doc: Doc }).doc }) } as never), 'tell', 'hire'] },
      carry: { actions: 'carry' },
      fail: { actions: 'throws' },
      restart: { actions: 'restart' },
      end: { target: '.over', actions: 'dismiss' },
    },
    states: {
      open: { on: { work: { target: 'working', actions: assign({ a: ({ event }) => event.doc }) } } },
      working: { invoke: { src: 'echo', id: 'echo', input: ({ context }) => ({ doc: context.a ?? '', a: context.b ?? null }), onDone: { target: 'open', actions: assign({ done: ({ event }) => event.output }) } } },
      over: { type: 'final' },
    },
  })
}

const desk = deskMachine('desk')
const aide = deskMachine('aide')

/** In the other shard: keeps what it is sent, and sends it back. */
const courier = setup({ types: { context: {} as { docs: readonly Doc[] }, events: {} as { type: 'carry'; doc: Doc } | { type: 'end' } } }).createMachine({
  id: 'courier',
  version: '1',
  context: { docs: [] },
  initial: 'open',
  states: {
    open: { on: { carry: { actions: [assign({ docs: ({ context, event }) => [...context.docs, event.doc].slice(-2) }), sendTo(() => refTo('desk/actor-1'), ({ event }) => ({ type: 'put', key: 'b', doc: event.doc }))] }, end: 'over' } },
    over: { type: 'final' },
  },
})

const home = shardOf('desk/actor-1' as Address, shards)
const away = ((): string => {
  for (let i = 0; ; i++) if (shardOf(`courier/c${i}` as Address, shards) !== home) return `c${i}`
})()

// ── What is drawn ──

function aDoc(random: Random): Doc {
  const length = random.pick([0, 20, 90, 99, 100, 110, 300, 2_000])
  const text = 'The "otters" \\ @ ä𝄞\n '.repeat(Math.ceil(length / 20)).slice(0, length)
  const roll = random.below(4)
  if (roll < 2) return text
  return roll === 2 ? Array.from({ length: Math.ceil(length / 20) }, (_, i) => ({ claim: i, of: `doc-${i}` })) : { text, of: { it: [text, 'small'] } }
}

interface Drawn {
  readonly input: { readonly doc: Doc }
  readonly steps: readonly CrashStep<typeof desk>[]
  /** Whether it is looked at when all have gone. */
  readonly isGone: boolean
}

function draw(seed: number): Drawn {
  const random = new Random(seed)
  // So few that they come again and again.
  const docs = random.times(4, () => aDoc(random))
  const doc = (): Doc => random.pick(docs)
  const steps: CrashStep<typeof desk>[] = random.times(5 + random.below(8), (): CrashStep<typeof desk> => {
    const roll = random.below(20)
    if (roll < 3) return { type: 'put', key: random.pick(['a', 'b']), doc: doc() }
    if (roll < 5) return { type: 'drop', key: random.pick(['a', 'b']) }
    if (roll < 8) return { type: 'add', doc: doc() }
    if (roll < 9) return { type: 'later', doc: doc() }
    if (roll < 11) return { type: 'work', doc: doc() }
    if (roll < 13) return { type: 'hire', doc: doc() }
    if (roll < 14) return { type: 'carry', doc: doc() }
    if (roll < 15) return { type: 'restart', from: random.pick(['snapshot', 'input']) }
    if (roll < 16) return { advanceMs: random.below(4) * hourMs }
    if (roll < 17) return 'restart'
    const event = random.pick<DeskEvent>([{ type: 'put', key: 'a', doc: doc() }, { type: 'add', doc: doc() }, { type: 'work', doc: doc() }, { type: 'fail', doc: doc() }])
    return async (system, id) => {
      const aideActor = system.actorAt('aide/actor-1~aide')
      if ((await aideActor.status()) === 'active') await aideActor.send(event as never, { id })
    }
  })
  if (random.chance(0.2)) steps.push({ type: 'fail', doc: doc() })
  // As it stands before it ends.
  steps.push((system) => Promise.all(['desk/actor-1', 'aide/actor-1~aide', `courier/${away}`].map((address) => system.actorAt(address).persisted().catch(() => 'none'))))
  const isGone = seed % 2 === 0
  if (isGone) {
    steps.push({ type: 'end' })
    for (const address of ['aide/actor-1~aide', `courier/${away}`]) {
      steps.push(async (system, id) => {
        const actor = system.actorAt(address)
        if ((await actor.status()) === 'active') await actor.send({ type: 'end' } as never, { id })
      })
    }
  }
  return { input: { doc: doc() }, steps, isGone }
}

// ── What is left ──

async function itemsOf(store: Store): Promise<StoredItem[]> {
  if (!isMovable(store)) throw new Error('it cannot be looked at')
  await store.open({ namespace: 'default', moving: 'from' })
  const items: StoredItem[] = []
  for (let shard = 0; shard < shards; shard++) {
    await store.seal(shard, 'look', 'it is looked at')
    for (let at = beginning; at !== ending; ) {
      const page = await store.export(shard, at)
      items.push(...page.items)
      at = page.next
    }
  }
  await store.close()
  return items
}

/** Of those that have ended a shard knows for a while what it has heard, and keeps dead letters, which have a bound of their own. */
const staying: readonly StoredItem['kind'][] = ['shard', 'delivered', 'id', 'stream', 'line']

let values = 0
let gone = 0

async function crash({ input, steps, isGone }: Drawn, seed: number, runs: number, largeValueCharsMin: number, store: (run: number) => Store): Promise<CrashOutcome> {
  let last = -1
  const options = {
    machines: [aide, courier],
    shards,
    seed,
    runs,
    shrinkRunsMax: 0,
    mayFail: true,
    largeValueCharsMin,
    suspectMax: Infinity,
    leaseMs: 60 * hourMs,
    idRetentionMs: 1_000 * hourMs,
    endedRetentionMs: isGone ? 10 * hourMs : 1_000 * hourMs,
    store: (run: number) => store((last = Math.max(last, run))),
    async observe({ system, store: looked }: World): Promise<string> {
      values += await expectLargeValuesOf(system, looked, shards)
      return ''
    },
  }
  const { undisturbed } = await crashTest(desk, { input: input as never, steps, restMs: 80 * hourMs }, options)
  for (let run = 0; isGone && run <= last; run++) {
    const items = await itemsOf(store(run))
    expect(items.filter(({ kind }) => !staying.includes(kind)), `seed ${seed}`).toEqual([])
    expect(items.filter((item) => item.kind === 'line' && item.stream !== 'dead' && item.stream !== 'indexed')).toEqual([])
    gone++
  }
  return undisturbed
}

const kinds: readonly StoreKind[] = ['memory', 'lmdb', 'redis']
const seedsOf: Readonly<Record<StoreKind, number>> = { memory: 4, lmdb: 2, redis: 2 }

for (const kind of kinds) {
  const seeds = extent(seedsOf[kind], 40 * seedsOf[kind])
  let databases: Databases
  beforeAll(async () => {
    databases = await openDatabases(kind)
  })
  afterAll(() => databases.dispose())

  test(`on ${kind}, actors with large and small payloads come out as if none were large, wherever they are killed, and leave nothing (seeds ${firstSeed} to ${firstSeed + seeds - 1})`, async () => {
    for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
      const drawn = draw(seed)
      const connect = (name: string) => (run: number): Store => databases.connect(`${name}-${seed}-${run}`)
      try {
        const cut = await crash(drawn, seed, tier === 'second' ? 24 : 6, charsMin, connect('cut'))
        const whole = await crash(drawn, seed, 0, Infinity, connect('whole'))
        expect(cut).toEqual(whole)
      } catch (error) {
        throw new Error(`Seed ${seed}: ${(error as Error).message}\n${drawn.steps.map((step) => (typeof step === 'function' ? 'a function' : JSON.stringify(step).slice(0, 100))).join('\n')}\nAgain: HOLDFAST_SEED=${seed} HOLDFAST_RUNS=1 npx vitest run ${relative(process.cwd(), fileURLToPath(import.meta.url))}`, { cause: error })
      }
    }
  }, 3_000_000)
}

test('there were large values, and actors that had gone', () => {
  console.log(`${values} large values at the ends of runs, ${gone} times nothing was left`)
  if (isChosen) return
  expect(values).toBeGreaterThan(20)
  expect(gone).toBeGreaterThan(4)
})

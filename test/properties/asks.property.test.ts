/**
 * Whatever is begun for an ask ends with it. Random plans of work (calls, pauses, questions to others, durable children)
 * are asked for with random deadlines, some are cancelled, nodes come, leave and die meanwhile, and writes fail, are late or
 * lose their replies. All calls take longer than any deadline may be overdrawn, so one that is not cut off is seen.
 */
import { expect, test } from 'vitest'
import { assign, setup } from 'xstate'
import { durableChild, external, fromAsk, repeatable, reply, type ChildFact, type ReplyToken } from '../../src/index.js'
import type { Fault, Write } from '../../src/testing/index.js'
import { extent, firstSeed } from '../support/extent.js'
import { Fleet, type FleetNode } from '../support/fleet.js'
import { Random } from '../support/random.js'

type Step =
  | { readonly do: 'work'; readonly ms: number }
  | { readonly do: 'pause'; readonly ms: number }
  | { readonly do: 'ask'; readonly to: string; readonly ms: number; readonly plan: Plan }
  | { readonly do: 'hire'; readonly plan: Plan }

interface Plan {
  /** Which client's ask it is for, in the end. */
  readonly root: number
  readonly steps: readonly Step[]
}

/** A call under way. */
interface Call {
  readonly root: number
  readonly node: () => FleetNode | undefined
}

interface Root {
  readonly by: number
  cancelledAt: number
  outcome: string
}

const shards = 5
const actors = 8
const leaseMs = 1_000
const longMs = 500_000

interface Context {
  readonly plan: Plan
  readonly at: number
  readonly token: ReplyToken | null
}

const stepOf = ({ plan, at }: Context): Step | undefined => plan.steps[at]

function machineOf(id: 'server' | 'hand', fleet: () => Fleet, node: () => FleetNode | undefined, calls: Set<Call>) {
  return setup({
    types: { context: {} as Context, input: {} as Plan | undefined, events: {} as { type: 'do'; plan: Plan; replyToken?: ReplyToken } | ChildFact },
    actors: {
      work: repeatable<void, { root: number; ms: number }>(
        ({ input: { root, ms }, signal }) =>
          new Promise((resolve, reject) => {
            const call: Call = { root, node }
            calls.add(call)
            const end = fleet().time.after(ms, () => {
              calls.delete(call)
              resolve()
            })
            signal.addEventListener('abort', () => {
              calls.delete(call)
              end()
              reject(signal.reason as Error)
            })
          }),
      ),
      ask: fromAsk<unknown, Step & { do: 'ask' }>(({ input: { to, ms, plan } }) => ({ to, event: { type: 'do', plan }, deadlineMs: ms })),
      // What must not be cut off is declared so.
      undo: external({ run: () => new Promise<void>((resolve) => void fleet().time.after(5, resolve)), reconcile: () => ({ happened: false }) }),
    },
    guards: { is: ({ context }, what: Step['do']) => stepOf(context)?.do === what },
    delays: { pause: ({ context }) => (stepOf(context) as Step & { do: 'pause' }).ms },
    actions: {
      take: assign({ plan: ({ event }) => (event as { plan: Plan }).plan, at: 0, token: ({ event }) => (event as { replyToken?: ReplyToken }).replyToken ?? null }),
      next: assign({ at: ({ context }) => context.at + 1 }),
      hire: durableChild(({ context }) => ({ machine: 'hand', id: `${context.plan.root}.${context.at}`, input: (stepOf(context) as Step & { do: 'hire' }).plan })),
      answer: reply(() => 'done', ({ context }) => context.token!),
    },
  }).createMachine({
    id,
    // Whoever is asked is started by that.
    context: id === 'hand' ? ({ input }) => ({ plan: input!, at: 0, token: null }) : { plan: { root: -1, steps: [] }, at: 0, token: null },
    initial: id === 'hand' ? 'choosing' : 'idle',
    states: {
      idle: { on: { do: { target: 'choosing', actions: 'take' } } },
      choosing: {
        always: [
          { guard: { type: 'is', params: 'work' }, target: 'working' },
          { guard: { type: 'is', params: 'pause' }, target: 'pausing' },
          { guard: { type: 'is', params: 'ask' }, target: 'asking' },
          { guard: { type: 'is', params: 'hire' }, target: 'hiring' },
          { guard: ({ context }) => context.token !== null, target: 'ended', actions: 'answer' },
          { target: 'ended' },
        ],
      },
      working: { invoke: { src: 'work', id: 'work', input: ({ context }) => ({ root: context.plan.root, ms: (stepOf(context) as Step & { do: 'work' }).ms }), onDone: { target: 'choosing', actions: 'next' }, onError: 'undoing' } },
      pausing: { after: { pause: { target: 'choosing', actions: 'next' } } },
      asking: { invoke: { src: 'ask', id: 'ask', input: ({ context }) => stepOf(context) as Step & { do: 'ask' }, onDone: { target: 'choosing', actions: 'next' }, onError: 'undoing' } },
      hiring: { entry: 'hire', on: { 'child.stopped': { target: 'choosing', actions: 'next' }, 'child.failed': 'undoing' } },
      undoing: { invoke: { src: 'undo', id: 'undo', onDone: 'ended' } },
      ended: id === 'hand' ? { type: 'final' } : { always: 'idle' },
    },
  })
}

function aPlan(random: Random, root: number, depth = 0): Plan {
  const steps = random.times(1 + random.below(3), (): Step => {
    const what = random.below(depth < 3 ? 6 : 3)
    if (what === 0) return { do: 'pause', ms: random.below(800) }
    if (what < 3) return { do: 'work', ms: random.chance(0.4) ? longMs : random.below(300) }
    if (what < 5) return { do: 'ask', to: `server/c${random.below(actors)}`, ms: random.chance(0.3) ? 100 + random.below(500) : 60_000, plan: aPlan(random, root, depth + 1) }
    return { do: 'hire', plan: aPlan(random, root, depth + 1) }
  })
  return { root, steps }
}

interface Told {
  readonly outcomes: readonly string[]
}

async function run(seed: number): Promise<Told> {
  const random = new Random(seed)
  const isRough = random.chance(0.6)
  const faultiness = isRough ? random.pick([0, 0.02, 0.08]) : 0
  let calm = true
  const onWrite = (): Fault | undefined => {
    if (calm || !random.chance(faultiness)) return undefined
    return random.pick<Fault>(['fail', 'lose-reply', { delayMs: 1 + random.below(200) }, 'kill-before', 'kill-after'])
  }
  const calls = new Set<Call>()
  const fleet = new Fleet({ machines: [], shards, leaseMs, suspectMax: Infinity, residentMax: 4, onWrite: (write: Write) => (write.kind === 'claim' ? undefined : onWrite()) })
  const join = (): FleetNode => {
    let node: FleetNode | undefined = undefined
    const machines = (['hand', 'server'] as const).map((id) => machineOf(id, () => fleet, () => node, calls))
    return (node = fleet.join(undefined, { machines }))
  }
  const roots: Root[] = []
  /** How long what was begun for an ask may outlive it: a dead node's part is taken over first. */
  const graceMs = isRough ? 6 * leaseMs : 1
  const check = (): void => {
    for (const { root, node } of calls) {
      if (node()?.state !== 'alive') continue
      const { by, cancelledAt } = roots[root]!
      const over = Math.min(by, isRough ? Infinity : cancelledAt)
      if (fleet.now() > over + graceMs) throw new Error(`a call for ask ${root} runs ${fleet.now() - over} ms after it was over`)
    }
  }
  join()
  await fleet.advance(50)
  calm = false
  for (let step = 30 + random.below(20); step > 0; step--) {
    const living = fleet.nodes.filter(({ state, isLeaving }) => state === 'alive' && !isLeaving)
    const what = random.below(14)
    if (living.length === 0 || (isRough && what === 0 && living.length < 4)) join()
    else if (isRough && what === 1 && living.length > 1) fleet.leave(random.pick(living)).catch(() => {})
    else if (isRough && what === 2) random.pick(living).kill()
    else {
      const deadlineMs = random.pick([0, 50, 400, 1_500, 5_000])
      const cancel = new AbortController()
      const root: Root = { by: fleet.now() + deadlineMs, cancelledAt: Infinity, outcome: 'open' }
      const plan = aPlan(random, roots.push(root) - 1)
      try {
        random.pick(living).system.actorAt(`server/c${random.below(actors)}`).ask({ type: 'do', plan } as never, { deadlineMs, signal: cancel.signal }).then(
          () => (root.outcome = 'answered'),
          (error: unknown) => (root.outcome = error === 'enough' ? 'cancelled' : ((error as { code?: string }).code ?? String(error))),
        )
      } catch {
        // It has not started yet.
      }
      if (random.chance(0.4)) {
        const cancelIn = random.below(deadlineMs + 1)
        fleet.time.after(cancelIn, () => {
          if (root.outcome === 'open') root.cancelledAt = fleet.now()
          cancel.abort('enough')
        })
      }
    }
    await fleet.advance(random.pick([0, 1, 20, 150, 600]))
    check()
  }
  calm = true
  const last = join()
  await fleet.advance(30_000)
  check()
  // Nothing is left running, and nothing of any ask is left on record.
  expect([...calls].filter(({ node }) => node()?.state === 'alive')).toEqual([])
  for (let shard = 0; shard < shards; shard++) {
    for (const { address } of (await last.store.find(shard, {})).actors) {
      const [stored] = await last.store.load(shard, [address])
      const left = [...stored!.fields.keys()].filter((name) => /^[at]/.test(name))
      const value: unknown = (await last.system.actorAt(address).snapshot())?.value
      expect([address, value, left]).toEqual([address, address.startsWith('hand') ? 'ended' : 'idle', []])
    }
  }
  for (const { system } of fleet.living) expect(system.stats().failures).toBe(0)
  for (const { system } of fleet.living) await system.stop()
  return { outcomes: roots.map(({ outcome }) => outcome) }
}

const seeds = extent(40, 3_000)

test(`${seeds} fleets cut off what was begun for asks that are over, whatever becomes of their nodes (seeds ${firstSeed} to ${firstSeed + seeds - 1})`, async () => {
  const count: Record<string, number> = {}
  for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
    const { outcomes } = await run(seed).catch((error: unknown) => {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error })
    })
    for (const outcome of outcomes) count[outcome] = (count[outcome] ?? 0) + 1
  }
  console.log(count)
  for (const outcome of ['answered', 'cancelled', 'DEADLINE']) expect(count[outcome]).toBeGreaterThan(0)
}, 600_000)

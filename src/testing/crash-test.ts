/**
 * Kills a process before and after its durable writes while it works through a scenario, starts another one each time,
 * and checks that what comes out is what comes out undisturbed: the same states, contexts, outputs and failures, every
 * timer once at its instant, the same effects begun.
 */
import type { AnyStateMachine, EventFromLogic, InputFrom } from 'xstate'
import type { Commit } from '../runtime/ports/store.js'
import type { ActorHandle } from '../runtime/actor.js'
import type { RuntimeOptions } from '../runtime/options.js'
import type { MachineOptions } from '../runtime/machines.js'
import type { Fault, Write, WriteKind } from './faulty-store.js'
import { World } from './world.js'

/** One step: send an event, or let virtual time pass. */
export type CrashStep<M extends AnyStateMachine> = EventFromLogic<M> | { readonly advanceMs: number }

export interface CrashScenario<M extends AnyStateMachine> {
  readonly input?: InputFrom<M>
  readonly steps: readonly CrashStep<M>[]
  /** Virtual time at the end, for timers and effects to finish, ms. Default 60,000. */
  readonly restMs?: number
}

export interface CrashTestOptions extends Partial<RuntimeOptions> {
  /** Other machines that the scenario needs. */
  readonly machines?: readonly (AnyStateMachine | MachineOptions)[]
  /**
   * Runs with kills. Default: one for every durable write, before and after it, plus as many again with several kills.
   * Kill points are then picked by the seed.
   */
  readonly runs?: number
  readonly seed?: number
  /** Called with each world before it starts, e.g. to give effects its `sleep`. */
  readonly prepare?: (world: World) => void
}

/** Kills per kind of write and side of it. */
export type CrashTable = Map<`${WriteKind} ${'before' | 'after'}`, number>

export interface CrashReport {
  readonly runs: number
  /** Durable writes of the undisturbed run. */
  readonly writes: number
  readonly kills: CrashTable
}

/** A run that was killed came out otherwise than undisturbed. `plan` replays it. */
export class CrashTestError extends Error {
  readonly plan: KillPlan
  constructor(plan: KillPlan, expected: string, actual: string) {
    const kills = [...plan].map(([index, fault]) => `${fault} write ${index}`).join(', ')
    super(`After ${kills} the outcome differs.\n${firstDifference(expected, actual)}`)
    this.name = 'CrashTestError'
    this.plan = plan
  }
}

/** Which of the world's durable writes kills its process, and on which side. */
export type KillPlan = ReadonlyMap<number, 'kill-before' | 'kill-after'>

/**
 * @throws CrashTestError for the first run whose outcome differs
 */
export async function crashTest<M extends AnyStateMachine>(machine: M, scenario: CrashScenario<M>, options: CrashTestOptions = {}): Promise<CrashReport> {
  const undisturbed = await run(machine, scenario, options, new Map())
  const kills: CrashTable = new Map()
  const plans = [...killPlans(undisturbed.writes.length, options.runs, options.seed ?? 1)]
  for (const plan of plans) {
    const result = await run(machine, scenario, options, plan)
    for (const { write, fault } of result.kills) {
      const cell = `${write.kind} ${fault === 'kill-before' ? 'before' : 'after'}` as const
      kills.set(cell, (kills.get(cell) ?? 0) + 1)
    }
    if (result.outcome !== undisturbed.outcome) throw new CrashTestError(plan, undisturbed.outcome, result.outcome)
  }
  return { runs: plans.length, writes: undisturbed.writes.length, kills }
}

function* killPlans(writes: number, runs: number | undefined, seed: number): Generator<KillPlan> {
  let state = seed >>> 0
  const below = (n: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 4_294_967_296) * n)
  }
  const side = (): 'kill-before' | 'kill-after' => (below(2) === 0 ? 'kill-before' : 'kill-after')
  if (runs === undefined) {
    for (let i = 0; i < writes; i++) {
      yield new Map([[i, 'kill-before']])
      yield new Map([[i, 'kill-after']])
    }
  }
  for (let i = 0; i < (runs ?? 2 * writes); i++) {
    // After a kill there are more writes than undisturbed; points beyond the first lie in what recovery writes.
    const plan = new Map<number, 'kill-before' | 'kill-after'>()
    let at = below(writes)
    for (let k = 1 + below(3); k > 0; k--) {
      plan.set(at, side())
      at += 1 + below(Math.max(2, writes >> 1))
    }
    yield plan
  }
}

interface RunResult {
  readonly outcome: string
  readonly writes: readonly WriteKind[]
  readonly kills: readonly { readonly write: Write; readonly fault: Fault }[]
}

async function run<M extends AnyStateMachine>(machine: M, scenario: CrashScenario<M>, options: CrashTestOptions, plan: KillPlan): Promise<RunResult> {
  const writes: WriteKind[] = []
  const kills: { write: Write; fault: Fault }[] = []
  const evidence = new Evidence()
  let over = false
  const { machines = [], runs: _runs, seed: _seed, prepare, ...runtime } = options
  const world = new World({
    suspectMax: Infinity,
    shards: 2,
    ...runtime,
    machines: [machine, ...machines],
    onWrite: (write) => {
      if (over) return undefined
      writes.push(write.kind)
      const fault = plan.get(write.index)
      if (fault) kills.push({ write, fault })
      return fault
    },
    onWritten: (write) => {
      if (write.commit) evidence.committed(write.commit)
    },
  })
  prepare?.(world)
  const revive = async (): Promise<void> => {
    while (!world.alive) await world.start()
  }
  /** Does something until it has succeeded in a process that lived through it. */
  const insist = async (attempt: () => Promise<unknown>): Promise<void> => {
    for (;;) {
      await revive()
      const died = world.died.then(() => false)
      const done = await Promise.race([attempt().then(() => true), died])
      if (done && world.alive) return
    }
  }
  const actor = (): ActorHandle<M> => world.system.actor(machine, 'actor-1')
  await insist(() => actor().start({ input: scenario.input as never, id: 'start' }))
  await insist(() => world.settled())
  let now = 0
  for (const [i, step] of scenario.steps.entries()) {
    if ('advanceMs' in step) {
      now += step.advanceMs as number
      const until = now
      await insist(() => world.advance(until - world.time.now()))
    } else {
      await insist(() => actor().send(step as never, { id: `step-${i}` }))
      await insist(() => world.settled())
    }
  }
  now += scenario.restMs ?? 60_000
  await insist(() => world.advance(now - world.time.now()))
  over = true
  const outcome = await describe(world, evidence)
  await world.system.stop()
  return { outcome, writes, kills }
}

/** What the commits that were written tell of timers and effects. */
class Evidence {
  private readonly seen = new Set<string>()
  private readonly due = new Map<string, number>()
  readonly timers: string[] = []
  readonly effects = new Set<string>()

  committed(commit: Commit): void {
    // A commit that is repeated after a lost reply is written once.
    const id = `${commit.lease.shard} ${commit.number}`
    if (this.seen.has(id)) return
    this.seen.add(id)
    for (const part of commit.parts) {
      for (const [member, dueAt] of part.timers) {
        if (dueAt !== undefined) this.due.set(member, dueAt)
        else if (this.due.has(member)) this.timers.push(`${withoutOrder(member)} due ${this.due.get(member)} gone at ${commit.at}`)
      }
      for (const [effect, text] of part.effects) if (text !== undefined) this.effects.add(effect.replace(/@\d+\//, '/'))
    }
  }
}

async function describe(world: World, evidence: Evidence): Promise<string> {
  const actors = await Promise.all(
    (await world.system.find()).map(async (address) => {
      const actor = world.system.actorAt(address)
      const failure = await actor.failure()
      return { address, status: await actor.status(), failure: failure?.error.message, at: failure?.at, snapshot: failure && !failure.snapshot ? undefined : withoutStacks(await actor.persisted()) }
    }),
  )
  return JSON.stringify({ actors, timers: evidence.timers.sort(), effects: [...evidence.effects].sort() }, undefined, 1)
}

/** Stack traces tell where in the runtime an error was thrown, which a recovery may change. */
function withoutStacks(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (key, inner: unknown) => (key === 'stack' ? undefined : inner)))
}

function withoutOrder(member: string): string {
  return member.slice(member.indexOf('|') + 1).replace(/~[\w.]+$/, '~')
}

function firstDifference(expected: string, actual: string): string {
  const a = expected.split('\n')
  const b = actual.split('\n')
  const at = a.findIndex((line, i) => line !== b[i])
  const from = Math.max(0, at - 6)
  return `undisturbed:\n${a.slice(from, at + 6).join('\n')}\nkilled:\n${b.slice(from, at + 6).join('\n')}`
}

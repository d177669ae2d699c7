/**
 * Kills a process before and after its durable writes while it works through a scenario, starts another one each time,
 * and checks that what comes out is what comes out undisturbed.
 *
 * What is compared, of every actor that the scenario has led to: configuration, context, status, output and failure,
 * how many turns it took, its parked messages and dead letters; every timer with the instant at which it fired or was
 * cancelled; every effect that began, and whether one began again after its outcome was known; every reply; what the
 * steps answered and what `observe` sees; and what is left in the store for a next owner to take up.
 *
 * The outcome must follow from the scenario, not from who is faster: a crash is allowed to change the order of what
 * nothing orders. Messages from one actor to another keep their order; two actors that send to a third in the same
 * instant race. The scenario is run twice undisturbed, so that most races are told as such.
 */
import { inspect } from 'node:util'
import type { AnyStateMachine, EventFromLogic, InputFrom } from 'xstate'
import { ConfigError, HoldfastError, type StoredError } from '../errors.js'
import type { ActorHandle } from '../runtime/actor.js'
import { pageMax, type ActorPage } from '../runtime/find.js'
import { shardOf, toAddress, type Address } from '../runtime/identity.js'
import { MachineRegistry, type MachineOptions } from '../runtime/machines.js'
import { resolveOptions, type RuntimeOptions } from '../runtime/options.js'
import type { Appended, Commit, CommitResult, NewEntry, Store } from '../runtime/ports/store.js'
import { readStatus, type RecordStatus } from '../runtime/stored-record.js'
import { effectSurvivedMs } from '../runtime/recovery.js'
import type { ActorSystem } from '../runtime/system.js'
import { Story } from './crash-story.js'
import type { Write, WriteKind } from './faulty-store.js'
import { aBoolean, aFunction, anything, atLeast, aWholeNumber, having, list, mustBeMachine, optional, options as exactly, record, storesOf, whole } from './options.js'
import { World, type WorldOptions } from './world.js'

export type CrashStep<M extends AnyStateMachine> =
  /** Send this event to the actor. */
  | EventFromLogic<M>
  /** Let virtual time pass. */
  | { readonly advanceMs: number }
  /** Stop the process cleanly and start another one, as a deploy does. */
  | 'restart'
  /**
   * Anything else: it is done again until it succeeds in a process that lives through it, so whatever it sends must bear
   * an id made from `id`, which is the same each time. What it resolves to is part of the outcome. It may wait for the
   * system, as `ask` and `output` do; virtual time then passes. For anything outside it may not.
   */
  | ((system: ActorSystem, id: string) => Promise<unknown>)

export interface CrashScenario<M extends AnyStateMachine> {
  readonly input?: InputFrom<M>
  /** One after the other: each begins when there is nothing left to do for the one before, but to wait. */
  readonly steps: readonly CrashStep<M>[]
  /** Virtual time at the end, for timers and effects to finish, ms. A timer that leads to itself fires all through it. Default 60,000. */
  readonly restMs?: number
}

export interface CrashTestOptions extends Partial<RuntimeOptions>, Pick<WorldOptions, 'backlogMax' | 'limits' | 'logger'> {
  /** Other machines that the scenario needs. */
  readonly machines?: readonly (AnyStateMachine | MachineOptions)[]
  /** A connection to the database of that run (they count from 0), a new one for each process; each run needs a database of its own. See {@link WorldOptions.connect}. Default: in memory. */
  readonly store?: (run: number) => Store
  /** Default 2: the fewest with which messages go from shard to shard. */
  readonly shards?: number
  /**
   * Runs with kills. Default: one for each side of every durable write of the undisturbed run, and as many again with up
   * to four kills, many of them while an earlier one is recovered from. If given, there are that many of the latter, which
   * take the kinds of write in turn.
   */
  readonly runs?: number
  /** What kills are drawn from, and ids. Default 1. */
  readonly seed?: number
  /** Called with each world before it starts, e.g. to give effects its `sleep`. */
  readonly prepare?: (world: World) => void
  /** Called with the system of each process once it has started, e.g. to drain a stream. */
  readonly onStart?: (system: ActorSystem) => void
  /** Called at the end of each run; what it answers must be the same each time, e.g. what the receiver of an external action has. */
  readonly observe?: (world: World) => unknown
  /** Whether the actor may fail undisturbed. Default false, because such a scenario is mostly a mistake. */
  readonly mayFail?: boolean
  /** Runs that may be spent on making a failure smaller: fewer kills, fewer steps. Default 200; 0 tells it as it was found. */
  readonly shrinkRunsMax?: number
  /** Durable writes of one run, inclusive, beyond which it is taken to have no end. Default 10,000. */
  readonly writesMax?: number
  /**
   * Runs with kills, inclusive, that may be made if `runs` is not given: four for each durable write of the undisturbed run, so
   * that twice the writes take four times as long. A scenario that would take more is refused at the write that is one too many. Default 1,000.
   */
  readonly runsMax?: number
}

/** A durable write at which the process was killed. */
export interface Kill {
  /** Counts from 0 over the writes of the run, those of recoveries included. */
  readonly index: number
  readonly kind: WriteKind
  readonly side: 'before' | 'after'
}

/** Kills per kind of write and side of it. */
export type CrashTable = ReadonlyMap<`${WriteKind} ${Kill['side']}`, number>

/** What a scenario comes to; undisturbed, for the test to look at. */
export interface CrashOutcome {
  /** By address. */
  readonly actors: Readonly<Record<string, ActorOutcome>>
  /** Messages that could not be handled, by the address they were for. */
  readonly deadLetters: Readonly<Record<string, readonly unknown[]>>
  readonly timers: readonly string[]
  readonly effects: readonly string[]
  /** By the id of the message they answer: what it was, and whether it can be asked for; absent once its time is over. */
  readonly replies: Readonly<Record<string, { readonly reply: unknown; readonly isKept?: boolean }>>
  /** What steps resolved to, by the number of the step. */
  readonly answers: Readonly<Record<string, unknown>>
  readonly observed: unknown
  /** What a next owner would take up. */
  readonly left: readonly string[]
}

export interface ActorOutcome {
  readonly status: RecordStatus
  readonly turns: number
  /** As XState's `getPersistedSnapshot` gives it; absent if the very start failed. */
  readonly snapshot?: unknown
  readonly failure?: { readonly error: StoredError; readonly event: unknown; readonly at: number }
  readonly parked: readonly unknown[]
}

export interface CrashReport {
  /** Runs with kills. */
  readonly runs: number
  /** Durable writes of the undisturbed run. */
  readonly writes: number
  readonly kills: CrashTable
  /** Kills of a process that was still taking up what an earlier one had left. */
  readonly killsInRecovery: number
  readonly undisturbed: CrashOutcome
}

/** A run that was killed came out otherwise than undisturbed. Told is the smallest such run that was found. */
export class CrashTestError extends HoldfastError {
  readonly kills: readonly Kill[]
  /** The steps that it takes. */
  readonly steps: readonly unknown[]
  /** What happened, line by line. */
  readonly story: readonly string[]
  constructor({ kills, steps, story, what, shrunk, cause }: Found) {
    const how = shrunk === undefined ? '' : `, made smaller in ${shrunk} runs`
    super(
      'CRASH_TEST',
      `Killed ${kills.map(({ index, kind, side }) => `${side} write ${index} (${kind})`).join(', ')}, ${what}\n\nWhat happened${how}, in ${steps.length === 1 ? 'one step' : `${steps.length} steps`}:\n${story.join('\n')}`,
      { cause },
    )
    this.kills = kills
    this.steps = steps
    this.story = story
  }
}

/** A run that failed, and how. */
interface Found<S = unknown> {
  readonly kills: readonly Kill[]
  readonly steps: readonly S[]
  readonly story: readonly string[]
  readonly what: string
  /** Runs that it took to make it as small as it is; absent: it was not tried. */
  readonly shrunk?: number | undefined
  readonly cause?: unknown
}

/** The scenario itself cannot be tested: a step fails, the actor fails, or it comes out otherwise each time. */
export class CrashScenarioError extends HoldfastError {
  constructor(message: string, cause?: unknown) {
    super('CRASH_SCENARIO', message, { cause })
  }
}

/** A run has no end: there is always something left to do. Or it is so long that the runs with kills have none. */
export class UnsettledError extends HoldfastError {
  readonly writes: number
  constructor(writes: number, atMs: number, last: Write, instead: string) {
    const touched = last.commit?.parts.map(({ address }) => address) ?? last.entries?.map(({ to }) => to) ?? []
    super(
      'UNSETTLED',
      `After ${writes} durable writes, ${atMs} ms into the scenario, there is still something to do${touched.length > 0 ? ` for ${[...new Set(touched)].join(', ')}` : ''}. Look for an event or a delayed transition that leads to itself, ${instead}.`,
    )
    this.writes = writes
  }
}

/**
 * Crash-tests a machine in a scenario.
 *
 * ```ts
 * test('an order comes out the same wherever the process is killed', async () => {
 *   const report = await crashTest(order, { input: { total: 12 }, steps: [{ type: 'pay' }, { advanceMs: 3_600_000 }, { type: 'ship' }] })
 *   expect(report.undisturbed.actors['order/actor-1']?.status).toBe('done')
 * })
 * ```
 *
 * On another store: `{ store: (run) => new RedisStore(url, { keyPrefix: `test-${run}` }) }`.
 *
 * Effects wait in virtual time, with the `sleep` of the world that `prepare` is given. One that is run again after a kill
 * would end later than undisturbed, and so would all that follows; if it stands for a job that goes on elsewhere, it
 * says `world.sleep(ms, idempotencyKey)`.
 *
 * @returns how many runs there were, and where they were killed
 * @throws CrashTestError for the first run whose outcome differs
 * @throws CrashScenarioError if a step or the actor fails undisturbed, or two undisturbed runs differ
 * @throws UnsettledError if a run makes more than `writesMax` durable writes, or so many that there would be more than `runsMax` runs
 * @throws ConfigError for options that cannot work
 */
export async function crashTest<M extends AnyStateMachine>(machine: M, scenario: CrashScenario<M>, options: CrashTestOptions = {}): Promise<CrashReport> {
  checkGiven(machine, scenario, options)
  const address = toAddress(new MachineRegistry([machine]).of(machine).name, actorId)
  let runs = 0
  const runOf = (steps: readonly CrashStep<M>[], plan: KillPlan): Run<M> => new Run(machine, { ...scenario, steps }, options, runs++, plan)
  const run = (plan: KillPlan): Run<M> => runOf(scenario.steps, plan)
  const first = run(new Map())
  const undisturbed = await first.outcome()
  const again = await run(new Map()).outcome()
  const expected = canonical(undisturbed)
  if (canonical(again) !== expected) {
    throw new CrashScenarioError(`The scenario comes out otherwise each time, without any kill. Look for chance, wall-clock time or a race.\n${firstDifference(expected, canonical(again), 'once', 'again')}`)
  }
  const failure = undisturbed.actors[address]?.failure
  if (failure && !options.mayFail) {
    throw new CrashScenarioError(`The actor fails in the scenario, without any kill: ${failure.error.message}. Correct the scenario, or set mayFail if that is what it is about.`)
  }
  const kills = new Map<`${WriteKind} ${Kill['side']}`, number>()
  let killsInRecovery = 0
  const plans = [...killPlans(first.writes, options.runs, options.seed ?? 1)]
  for (const plan of plans) {
    const killed = run(plan)
    const found = await failureOf(killed, scenario.steps, expected)
    if (found) throw new CrashTestError(await shrink(found, runOf, options.shrinkRunsMax ?? shrinkRunsMax))
    for (const { kind, side } of killed.kills) kills.set(`${kind} ${side}`, (kills.get(`${kind} ${side}`) ?? 0) + 1)
    killsInRecovery += killed.killsInRecovery
  }
  return { runs: plans.length, writes: first.writes.length, kills, killsInRecovery, undisturbed }
}

/** How a run that is killed fails, if it does. */
async function failureOf<M extends AnyStateMachine>(killed: Run<M>, steps: readonly CrashStep<M>[], expected: string): Promise<Found<CrashStep<M>> | undefined> {
  const failed = (what: string, cause?: unknown): Found<CrashStep<M>> => ({ kills: killed.kills, steps, story: killed.story.lines, what, cause })
  let actual: string
  try {
    actual = canonical(await killed.outcome())
  } catch (error) {
    return failed(`it fails. ${(error as Error).message}`, error)
  }
  return actual === expected ? undefined : failed(`it comes out otherwise.\n${firstDifference(expected, actual, 'undisturbed', 'killed')}`)
}

const shrinkRunsMax = 200

/**
 * A smaller run that fails, too: first with fewer kills, then with fewer steps, as long as there is one and the runs
 * last. Steps that are left out change the writes, so that without them a single kill is looked for anew.
 */
async function shrink<M extends AnyStateMachine>(
  first: Found<CrashStep<M>>,
  runOf: (steps: readonly CrashStep<M>[], plan: KillPlan) => Run<M>,
  runsMax: number,
): Promise<Found> {
  if (runsMax === 0) return first
  let best = first
  let spent = 0
  let expected = await undisturbedText(runOf(best.steps, new Map()))
  const attempt = async (steps: readonly CrashStep<M>[], plan: KillPlan, wanted: string): Promise<boolean> => {
    if (spent >= runsMax) return false
    spent++
    const found = await failureOf(runOf(steps, plan), steps, wanted)
    if (found) best = found
    return found !== undefined
  }
  for (let smaller = true; smaller && best.kills.length > 1; ) {
    smaller = false
    for (const gone of best.kills) {
      const plan = new Map(best.kills.filter((kill) => kill !== gone).map(({ index, side }) => [index, side]))
      if (expected !== undefined && (await attempt(best.steps, plan, expected.text))) {
        smaller = true
        break
      }
    }
  }
  for (let gone = best.steps.length - 1; gone >= 0 && spent < runsMax; gone--) {
    const steps = best.steps.filter((_, i) => i !== gone)
    spent++
    expected = await undisturbedText(runOf(steps, new Map()))
    if (!expected) continue
    search: for (const index of expected.writes.keys()) {
      for (const side of sides) if (await attempt(steps, new Map([[index, side]]), expected.text)) break search
    }
  }
  return { ...best, shrunk: spent }
}

/** undefined if such a scenario cannot be run: a step needs one that was left out. */
async function undisturbedText<M extends AnyStateMachine>(run: Run<M>): Promise<{ readonly text: string; readonly writes: readonly WriteKind[] } | undefined> {
  try {
    return { text: canonical(await run.outcome()), writes: run.writes }
  } catch {
    return undefined
  }
}

const scenarioFits = exactly<CrashScenario<AnyStateMachine>>({ input: anything, steps: list(anything), restMs: optional(atLeast(0)) })

const optionsFit = exactly<CrashTestOptions>({
  machines: optional(list(anything)),
  store: optional(aFunction),
  shards: optional(whole(1, 1_024)),
  runs: optional(atLeast(0)),
  runsMax: optional(atLeast(1)),
  seed: optional(aWholeNumber),
  prepare: optional(aFunction),
  onStart: optional(aFunction),
  observe: optional(aFunction),
  mayFail: optional(aBoolean),
  shrinkRunsMax: optional(atLeast(0)),
  writesMax: optional(atLeast(1)),
  backlogMax: optional(atLeast(1)),
  limits: optional(record(atLeast(1))),
  logger: optional(having('a logger, such as pino', 'error', 'warn', 'info', 'debug', 'trace')),
  // What follows is the runtime's to check.
  batchTurnsMax: anything,
  batchCharsMax: anything,
  lanesMax: anything,
  residentMax: anything,
  suspectMax: anything,
  restartsPerSecondMax: anything,
  idRetentionMs: anything,
  endedRetentionMs: anything,
  parkedMax: anything,
  deadLettersMax: anything,
  streamMax: anything,
  leaseMs: anything,
  checkMs: anything,
  confirmDelayMs: anything,
  largeValueCharsMin: anything,
  freeze: optional(aBoolean),
})

/** @throws ConfigError, or a CrashScenarioError for a step that is none */
function checkGiven(machine: unknown, scenario: CrashScenario<AnyStateMachine>, options: CrashTestOptions): void {
  mustBeMachine('crashTest', machine)
  scenarioFits('crashTest: scenario', scenario)
  optionsFit('crashTest: ', options)
  resolveOptions(options, true)
  // Throws for machines that no system can run.
  void new MachineRegistry([machine as AnyStateMachine, ...(options.machines ?? [])])
  checkSteps(scenario.steps)
}

function checkSteps(steps: readonly unknown[]): void {
  for (const [i, step] of steps.entries()) {
    if (step === 'restart' || typeof step === 'function') continue
    const { type, advanceMs } = (typeof step === 'object' && step !== null ? step : {}) as { type?: unknown; advanceMs?: unknown }
    if (typeof type === 'string' || (Number.isSafeInteger(advanceMs) && (advanceMs as number) >= 0)) continue
    throw new CrashScenarioError(`Step ${i} is ${show(step)}. Write an event, { advanceMs } with a whole number, 'restart' or a function.`)
  }
}

function show(step: unknown): string {
  return inspect(step, { breakLength: Infinity })
}

// ── Kill plans ──

/** On which side of which write to kill the process. */
type KillPlan = ReadonlyMap<number, Kill['side']>

const sides = ['before', 'after'] as const
/** Runs for each write of the undisturbed run: one for each side of it, and as many again with several kills. */
const runsPerWrite = 2 * sides.length

function* killPlans(writes: readonly WriteKind[], runs: number | undefined, seed: number): Generator<KillPlan> {
  if (runs === undefined) {
    for (const i of writes.keys()) for (const side of sides) yield new Map([[i, side]])
  }
  let state = seed
  /** mulberry32 */
  const below = (n: number): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4_294_967_296) * n)
  }
  // Every kind of write gets its turn, though there are few releases and many commits.
  const cells = [...new Set(writes)].flatMap((kind) => sides.map((side) => [kind, side] as const))
  const first = below(cells.length)
  for (let i = 0; i < (runs ?? 2 * writes.length); i++) {
    const [kind, side] = cells[(first + i) % cells.length]!
    const ofKind = [...writes.keys()].filter((index) => writes[index] === kind)
    let at = ofKind[below(ofKind.length)]!
    const plan = new Map<number, Kill['side']>([[at, side]])
    for (let more = below(4); more > 0; more--) {
      // The next few writes are what the recovery from this kill begins with.
      at += 1 + (below(2) === 0 ? below(5) : below(Math.max(2, writes.length >> 1)))
      plan.set(at, sides[below(2)]!)
    }
    yield plan
  }
}

// ── One run ──

/** Of the actor under test. */
const actorId = 'actor-1'
const died: unique symbol = Symbol('died')

class Run<M extends AnyStateMachine> {
  readonly writes: WriteKind[] = []
  readonly kills: Kill[] = []
  killsInRecovery = 0
  private readonly machine: M
  private readonly scenario: CrashScenario<M>
  private readonly options: CrashTestOptions
  private readonly world: World
  private readonly shards: number
  private readonly evidence = new Evidence()
  readonly story: Story
  private readonly answers: Record<string, unknown> = {}
  private isStarting = false
  private isOver = false
  private unsettled: UnsettledError | undefined

  constructor(machine: M, scenario: CrashScenario<M>, options: CrashTestOptions, number: number, plan: KillPlan) {
    this.machine = machine
    this.scenario = scenario
    this.options = options
    const { machines = [], shards = 2, store, runs, prepare: _prepare, onStart: _onStart, observe: _observe, mayFail: _mayFail, shrinkRunsMax: _shrinkRunsMax, writesMax = 10_000, runsMax = 1_000, ...rest } = options
    this.shards = shards
    // Where it is clear that there will be too many runs, the first goes no further.
    const limit = Math.min(writesMax, runs === undefined && plan.size === 0 ? Math.floor(runsMax / runsPerWrite) : Infinity)
    this.story = new Story(() => this.world.time.now())
    this.world = new World({
      suspectMax: Infinity,
      ...rest,
      shards,
      machines: [machine, ...machines],
      ...(store ? { connect: () => storesOf('crashTest: store', store)(number) } : {}),
      onWrite: (write) => {
        if (this.isOver) return undefined
        this.writes.push(write.kind)
        if (write.index >= limit) {
          this.unsettled ??= new UnsettledError(limit, this.world.time.now(), write, limit === writesMax ? 'or raise writesMax' : `make the scenario shorter (fewer steps, less restMs), say in runs how many to make, or raise runsMax (${runsMax}): each write takes ${runsPerWrite}`)
          return 'kill-before'
        }
        const side = plan.get(write.index)
        this.story.write(write, side)
        if (!side) return undefined
        this.kills.push({ index: write.index, kind: write.kind, side })
        if (this.isStarting && this.world.generation > 1) this.killsInRecovery++
        return `kill-${side}`
      },
      onWritten: (write, result) => this.evidence.written(write, result),
    })
  }

  async outcome(): Promise<CrashOutcome> {
    const { world, scenario } = this
    this.options.prepare?.(world)
    try {
      if ((await this.insist(() => world.system.find({ limit: 1 }))).actors.length > 0) throw new ConfigError('store: the database of a run is not empty. Give each run one of its own, by its number.')
      await this.step('The start', () => this.actor.start({ input: scenario.input as never, id: 'start' }))
      let now = 0
      for (const [i, step] of scenario.steps.entries()) {
        if (typeof step === 'object' && 'advanceMs' in step) {
          now += step.advanceMs as number
          this.story.step(`step ${i}: ${show(step)}`)
          await this.advanceTo(now)
        } else {
          const what = typeof step === 'object' ? `Step ${i} (${show(step)})` : `Step ${i}`
          this.story.step(`step ${i}: ${typeof step === 'function' ? 'a function' : show(step)}`)
          const answer = await this.step(what, () => this.do(step as Exclude<CrashStep<M>, { advanceMs: number }>, `step-${i}`))
          if (answer !== undefined) this.answers[i] = answer
          now = Math.max(now, world.time.now())
        }
      }
      now += scenario.restMs ?? 60_000
      await this.advanceTo(now)
      this.isOver = true
      // After a kill in the last instant, effects are still counted as suspects of it for a while.
      await this.advanceTo(now + 2 * effectSurvivedMs)
      return await this.found()
    } finally {
      this.isOver = true
      await world.stop()
    }
  }

  private get actor(): ActorHandle<M> {
    return this.world.system.actor(this.machine, actorId)
  }

  private async do(step: Exclude<CrashStep<M>, { advanceMs: number }>, id: string): Promise<unknown> {
    if (typeof step === 'function') return this.inTime((step as (system: ActorSystem, id: string) => Promise<unknown>)(this.world.system, id))
    if (step === 'restart') {
      await this.world.stop()
      await this.start()
    } else {
      await this.actor.send(step as EventFromLogic<M>, { id })
    }
    return undefined
  }

  /** Lets time pass until it has what it waits for. */
  private async inTime<T>(answer: Promise<T>): Promise<T> {
    const { world } = this
    let isWaiting = true
    const stop = (): void => void (isWaiting = false)
    answer.then(stop, stop)
    for (;;) {
      const lives = await world.settled()
      // What has been answered may take a few steps to get to where it is awaited.
      await new Promise<void>((resolve) => world.time.soon(resolve))
      if (!isWaiting || !lives) return answer
      const next = world.time.nextDue()
      if (next === undefined) throw new Error('it waits for something that never comes.')
      world.time.runUntil(next)
    }
  }

  private async step<T>(what: string, attempt: () => Promise<T>): Promise<T> {
    try {
      const answer = await this.insist(attempt)
      await this.insist(() => this.world.settled())
      return answer
    } catch (error) {
      if (error === this.unsettled) throw error
      throw new CrashScenarioError(`${what} fails: ${(error as Error).message}`, error)
    }
  }

  private async advanceTo(at: number): Promise<void> {
    await this.insist(() => this.world.advance(at - this.world.time.now()))
  }

  private async start(): Promise<void> {
    this.isStarting = true
    this.story.starts()
    if (await this.world.start()) this.options.onStart?.(this.world.system)
    this.isStarting = false
  }

  /** Does something until it has succeeded in a process that lived through it. */
  private async insist<T>(attempt: () => Promise<T>): Promise<T> {
    const { world } = this
    for (;;) {
      if (this.unsettled) throw this.unsettled
      if (!world.alive) {
        await this.start()
        continue
      }
      try {
        const answer = await Promise.race([attempt(), world.died.then((): typeof died => died)])
        if (answer !== died && world.alive) return answer
      } catch (error) {
        // What a process still says while it is killed is not heard.
        if (world.alive) throw error
      }
    }
  }

  private async found(): Promise<CrashOutcome> {
    const { world } = this
    const addresses: Address[] = []
    for (let page: ActorPage | undefined; !page || page.cursor !== undefined; ) {
      page = await world.system.find({ limit: pageMax, ...(page?.cursor === undefined ? {} : { cursor: page.cursor }) })
      addresses.push(...page.actors.map(({ address }) => address))
    }
    const actors = await Promise.all(addresses.map(async (address) => [address, await this.actorOutcome(address)] as const))
    const shards = Array.from({ length: this.shards }, (_, shard) => shard)
    const letters = (await Promise.all(shards.map((shard) => world.store.log(shard, 'dead', 0, 100_000)))).flat()
    const deadLetters: Record<string, unknown[]> = {}
    for (const { text } of letters) {
      const { reason, to, at, text: message } = JSON.parse(text) as { reason: string; to: string; at: number; text: string }
      ;(deadLetters[to] ??= []).push({ reason, at, ...messageOf(message) })
    }
    const recoveries = await Promise.all(shards.map((shard) => world.store.recover(shard)))
    const left = recoveries.flatMap(({ effects, actions, outbox, suspects }) => [
      ...effects.map(([id]) => `effect ${lasting(id)}`),
      ...actions.map(([, text]) => `action ${text}`),
      ...outbox.map(({ entry }) => `message to ${entry.to}`),
      ...suspects.map(([id, attempts]) => `suspect ${lasting(id)} ${attempts}`),
    ])
    const replies = await Promise.all(
      [...this.evidence.replies].map(async ([id, { shard, text, until }]) => {
        const reply = JSON.parse(text) as unknown
        return [id, until > world.now() ? { reply, isKept: (await world.store.reply(shard, id)) === text } : { reply }] as const
      }),
    )
    const observed: unknown = await this.options.observe?.(world)
    return { actors: Object.fromEntries(actors), deadLetters, ...this.evidence.found(), replies: Object.fromEntries(replies), answers: this.answers, observed, left: left.sort() }
  }

  private async actorOutcome(address: Address): Promise<ActorOutcome> {
    const { store, system } = this.world
    const shard = shardOf(address, this.shards)
    const [stored] = await store.load(shard, [address])
    const { status, turns } = readStatus(address, stored!.fields)
    const actor = system.actorAt(address)
    const failure = await actor.failure()
    const parked = await store.parked(shard, address, 100_000)
    return {
      status,
      turns,
      ...(failure && !failure.snapshot ? {} : { snapshot: await actor.persisted() }),
      ...(failure ? { failure: { error: failure.error, event: failure.event, at: failure.at } } : {}),
      parked: parked.map((text) => messageOf((JSON.parse(text) as { text: string }).text)),
    }
  }
}

/** What there is to say of a message beside its id, into which the numbers of commits go. */
function messageOf(text: string): object {
  const { kind, body, cell } = (text === '' ? {} : JSON.parse(text)) as { kind?: string; body?: unknown; cell?: number }
  return { kind, body, cell }
}

// ── Evidence ──

/**
 * What the writes that were accepted tell of timers, effects and replies. What began and ended within one instant is
 * left out: in one commit the runtime folds it, in two it does not, and no one can tell.
 */
class Evidence {
  private readonly numbers = new Set<string>()
  private readonly timers = new Map<string, { readonly dueAt: number; readonly setAt: number }>()
  private readonly timersGone: string[] = []
  private readonly effects = new Map<string, { readonly begunAt: number; endedAt?: number; attemptsAfterOutcome: number }>()
  /** Effects, and children that ran them, of which an outcome was accepted. The runtime goes by the former alone. */
  private readonly outcomes = new Set<string>()
  /** By message id. */
  readonly replies = new Map<string, { readonly shard: number; readonly text: string; readonly until: number }>()

  written({ kind, commit, entries = [] }: Write, result: unknown): void {
    if (kind === 'append') {
      for (const [i, appended] of (result as readonly Appended[]).entries()) if (typeof appended === 'object') this.appended(entries[i]!)
    } else if (commit && (result as CommitResult).ok) {
      this.committed(commit)
    }
  }

  private appended({ id, text }: NewEntry): void {
    const { kind, to, cell } = JSON.parse(text) as { kind: string; to: string; cell?: number }
    if (kind === 'outcome') this.outcomes.add(id).add(`${to} ${cell}`)
  }

  private committed(commit: Commit): void {
    // A commit that is asked for again is written once.
    const number = `${commit.lease.shard} ${commit.number}`
    if (this.numbers.has(number)) return
    this.numbers.add(number)
    for (const { id } of commit.accepted) this.outcomes.add(id)
    for (const part of commit.parts) {
      for (const [member, dueAt] of part.timers) this.timer(member, dueAt, commit.at)
      for (const [id, text] of part.effects) this.effect(id, text, commit.at)
      for (const [id, reply] of part.replies) this.replies.set(id, { shard: commit.lease.shard, ...reply })
    }
  }

  private timer(member: string, dueAt: number | undefined, at: number): void {
    const timer = this.timers.get(member)
    if (dueAt !== undefined) this.timers.set(member, { dueAt, setAt: at })
    else if (timer) {
      this.timers.delete(member)
      if (at > timer.setAt) this.timersGone.push(`${timerName(member)} due ${timer.dueAt} ${at < timer.dueAt ? 'cancelled' : 'fired'} at ${at}`)
    }
  }

  private effect(id: string, text: string | undefined, at: number): void {
    const effect = this.effects.get(id)
    if (text === undefined) {
      if (effect) effect.endedAt = at
      return
    }
    const { address, cell } = JSON.parse(text) as { address: string; cell: number }
    if (!effect) {
      this.effects.set(id, { begunAt: at, attemptsAfterOutcome: 0 })
      this.outcomes.delete(`${address} ${cell}`)
    } else {
      delete effect.endedAt
      if (this.outcomes.has(id) || this.outcomes.has(`${address} ${cell}`)) effect.attemptsAfterOutcome++
    }
  }

  found(): Pick<CrashOutcome, 'timers' | 'effects'> {
    const waiting = [...this.timers].map(([member, { dueAt }]) => `${timerName(member)} due ${dueAt} waiting`)
    const effects = [...this.effects]
      .filter(([id, { begunAt, endedAt }]) => endedAt !== begunAt || this.outcomes.has(id))
      .map(([id, { begunAt, attemptsAfterOutcome }]) => `${lasting(id)} at ${begunAt}${attemptsAfterOutcome > 0 ? `, again after its outcome: ${attemptsAfterOutcome}` : ''}`)
    return { timers: [...this.timersGone, ...waiting].sort(), effects: effects.sort() }
  }
}

/** Without what orders it among others, into which the numbers of commits go. */
function timerName(member: string): string {
  return member.slice(member.indexOf('|') + 1).replace(/~[\w.]+$/, '~')
}

// ── Comparing ──

/** Without incarnations: ids of messages and effects hold that of their actor, which is the number of a commit. */
function lasting(text: string): string {
  return text.replace(/(\/[\w.:~-]+)@\d+(?=[:/]|$)/g, '$1')
}

/** One text for equal outcomes. Stacks tell where in the runtime an error was thrown, which a recovery may change. */
function canonical(outcome: CrashOutcome): string {
  const sort = (value: unknown): unknown => {
    if (typeof value === 'string') return lasting(value)
    if (Array.isArray(value)) return value.map(sort)
    if (typeof value !== 'object' || value === null) return value
    const names = Object.keys(value).filter((name) => name !== 'stack')
    return Object.fromEntries(names.sort().map((name) => [name, sort((value as Record<string, unknown>)[name])]))
  }
  return JSON.stringify(sort(JSON.parse(JSON.stringify(outcome))), undefined, 1)
}

function firstDifference(expected: string, actual: string, one: string, other: string): string {
  const a = expected.split('\n')
  const b = actual.split('\n')
  const at = a.findIndex((line, i) => line !== b[i])
  const from = Math.max(0, at - 6)
  return `${one}:\n${a.slice(from, at + 6).join('\n')}\n${other}:\n${b.slice(from, at + 6).join('\n')}`
}

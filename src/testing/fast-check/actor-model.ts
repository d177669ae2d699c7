/**
 * A durable actor against its machine: whatever events come, whatever time passes, and whenever the process is stopped or
 * killed, also in the middle of an event, the actor is where XState's own actor of the same machine is, and what must
 * always hold holds. Commands for fast-check, which makes a failing sequence as short as it can be.
 */
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { createActor, type Actor, type AnyStateMachine, type EventFromLogic, type InputFrom, type SnapshotFrom } from 'xstate'
import { HoldfastError } from '../../errors.js'
import type { ActorHandle } from '../../runtime/actor.js'
import { MachineRegistry } from '../../runtime/machines.js'
import type { Fault } from '../faulty-store.js'
import { aBoolean, aFunction, anArbitrary, anything, atLeast, aWholeNumber, list, mustBeMachine, optional, options as exactly, storesOf, type Check } from '../options.js'
import { VirtualClock } from '../virtual-clock.js'
import { World, type WorldOptions } from '../world.js'

export interface ActorModelOptions<M extends AnyStateMachine> extends Pick<WorldOptions, 'machines' | 'connect' | 'seed'> {
  /** Events to send; see {@link eventArbitrary}. */
  readonly events: fc.Arbitrary<EventFromLogic<M>>
  readonly input?: InputFrom<M>
  /** How long nothing may come, ms, whole numbers; null: no time passes. Default: from a millisecond to a week. */
  readonly waitsMs?: fc.Arbitrary<number> | null
  /**
   * Instants at which something falls due in one wait, inclusive: with the last of them the wait is over, however long it was to be,
   * for the durable actor and for XState's alike. A timer that leads to itself would else make a week very long. Default 50.
   */
  readonly instantsMax?: number
  /** Whether processes stop and are killed. Default true. */
  readonly crashes?: boolean
  /** What must hold after every command: throws, or answers false, if it does not. `before` is the snapshot before the command, or undefined at the start. */
  readonly invariant?: (now: SnapshotFrom<M>, before: SnapshotFrom<M> | undefined) => unknown
  /**
   * Whether it is compared with XState's own actor of the same machine, which then runs too, so that what the machine does outside
   * is done twice. False for machines whose promises give something else each time, or that use commands of the runtime. Default true.
   */
  readonly native?: boolean
  /** Commands of one sequence, inclusive, at least 1. Default 50. */
  readonly commandsMax?: number
  /** Called with the world before it starts, e.g. to give effects its `sleep`. */
  readonly prepare?: (world: World) => void
}

/** The actor is elsewhere than the machine says, what must hold does not, or it never comes to rest. */
export class ActorModelError extends HoldfastError {
  constructor(message: string, cause?: unknown) {
    super('ACTOR_MODEL', message, cause === undefined ? undefined : { cause })
  }
}

/** A sequence of what happens to an actor. */
export type ActorCommands<M extends AnyStateMachine> = Iterable<fc.AsyncCommand<ActorModelState, Real<M>>>

export interface ActorModel<M extends AnyStateMachine> {
  /** Sequences of commands. */
  readonly commands: fc.Arbitrary<ActorCommands<M>>
  /**
   * Runs a sequence in a world of its own.
   *
   * @throws ActorModelError for the first command after which something is not as it should be
   */
  run(commands: ActorCommands<M>): Promise<void>
}

/** What is known without looking at the actor. */
export interface ActorModelState {
  ended: boolean
  /** Messages sent so far. */
  sent: number
}

/**
 * The commands to test an actor of a machine with, and what runs them:
 *
 * ```ts no-run
 * const model = actorModel(order, { events: eventArbitrary(order, schemas), invariant: ({ context }) => context.paid >= 0 })
 * await fc.assert(fc.asyncProperty(model.commands, model.run))
 * ```
 *
 * @throws ConfigError for options that cannot work
 */
export function actorModel<M extends AnyStateMachine>(machine: M, options: ActorModelOptions<M>): ActorModel<M> {
  mustBeMachine('actorModel', machine)
  fits('actorModel: ', options)
  // Throws for machines that no system can run.
  void new MachineRegistry([machine, ...(options.machines ?? [])])
  const { events, waitsMs = usualWaits, crashes = true, commandsMax = 50 } = options
  const sends = events.map((event) => new Send<M>(event))
  const kinds: fc.Arbitrary<fc.AsyncCommand<ActorModelState, Real<M>>>[] = [sends, sends, sends]
  if (waitsMs) kinds.push(waitsMs.map((ms) => new Wait<M>(ms)))
  if (crashes) {
    const side = fc.constantFrom('before' as const, 'after' as const)
    kinds.push(fc.constantFrom(new Stop<M>('kill -9'), new Stop<M>('restart')))
    kinds.push(fc.record({ event: events, writes: fc.nat(3), side }).map(({ event, writes, side: which }) => new Send<M>(event, { writes, side: which })))
  }
  return {
    commands: fc.commands(kinds, { maxCommands: commandsMax, size: 'max' }),
    run: async (commands) => {
      const real = new Real(machine, options)
      try {
        const model: ActorModelState = { ended: false, sent: 0 }
        await real.start(model)
        await fc.asyncModelRun(() => ({ model, real }), commands)
      } finally {
        await real.end()
      }
    },
  }
}

const anArbitraryOrNull: Check = (name, value) => {
  if (value !== null) anArbitrary(name, value)
}
const fits = exactly<ActorModelOptions<AnyStateMachine>>({
  machines: optional(list(anything)),
  connect: optional(aFunction),
  seed: optional(aWholeNumber),
  events: anArbitrary,
  input: anything,
  waitsMs: optional(anArbitraryOrNull),
  instantsMax: optional(atLeast(1)),
  crashes: optional(aBoolean),
  invariant: optional(aFunction),
  native: optional(aBoolean),
  commandsMax: optional(atLeast(1)),
  prepare: optional(aFunction),
})

const usualWaits = fc.constantFrom(1, 1_000, 60_000, 3_600_000, 86_400_000, 7 * 86_400_000)
const actorId = 'actor-1'
/** Durable writes at one instant, beyond which the actor is taken never to come to rest. */
const writesMax = 1_000

/** Where the process is to be killed: so many durable writes after the event is sent. */
interface KillPoint {
  readonly writes: number
  readonly side: 'before' | 'after'
}

class Real<M extends AnyStateMachine> {
  readonly world: World
  /** The actor's machine as XState runs it. */
  readonly native: Actor<M> | undefined
  readonly nativeClock = new VirtualClock()
  private readonly machine: M
  private readonly options: ActorModelOptions<M>
  private killAt: { readonly index: number; readonly side: KillPoint['side'] } | undefined
  private before: SnapshotFrom<M> | undefined
  /** Durable writes before the last command or instant. */
  private writesBefore = 0
  private endless: ActorModelError | undefined

  constructor(machine: M, options: ActorModelOptions<M>) {
    this.machine = machine
    this.options = options
    const { machines = [], connect, seed } = options
    this.world = new World({
      suspectMax: Infinity,
      machines: [machine, ...machines],
      ...(connect ? { connect: storesOf('actorModel: connect', connect) } : {}),
      ...(seed === undefined ? {} : { seed }),
      onWrite: ({ index }) => this.faultAt(index),
    })
    if (options.native ?? true) {
      const clock = this.nativeClock
      const timers = new Map<number, () => void>()
      let count = 0
      this.native = createActor(machine, {
        input: options.input as never,
        clock: {
          setTimeout: (callback: () => void, delayMs: number) => (timers.set(++count, clock.after(delayMs, callback)), count),
          clearTimeout: (id: number) => timers.get(id)?.(),
        },
      }) as Actor<M>
      // A failure is told by the snapshot.
      this.native.subscribe({ error: () => {} })
    }
  }

  private faultAt(index: number): Fault | undefined {
    if (index - this.writesBefore >= writesMax) {
      this.endless ??= new ActorModelError(`After ${writesMax.toLocaleString('en-GB')} durable writes at ${this.world.time.now()} ms there is still something to do. Look for an event or a delay of 0 that leads to itself.`)
      return 'kill-before'
    }
    if (index !== this.killAt?.index) return undefined
    const { side } = this.killAt
    this.killAt = undefined
    return `kill-${side}`
  }

  get actor(): ActorHandle<M> {
    return this.world.system.actor(this.machine, actorId)
  }

  async start(model: ActorModelState): Promise<void> {
    this.options.prepare?.(this.world)
    this.native?.start()
    await this.insist(() => this.actor.start({ input: this.options.input as never, id: 'start' }))
    await this.check('the start', model)
  }

  /** A command or an instant. */
  begins(): void {
    this.writesBefore = this.world.writes
  }

  async send(event: EventFromLogic<M>, id: string, kill: KillPoint | undefined): Promise<void> {
    if (kill) this.killAt = { index: this.world.writes + kill.writes, side: kill.side }
    await this.insist(() => this.actor.send(event, { id }))
    await this.insist(() => this.world.settled())
    this.killAt = undefined
    this.native?.send(event as never)
  }

  async wait(ms: number): Promise<void> {
    const { time } = this.world
    const end = time.now() + ms
    let instants = 0
    await this.insist(async () => {
      while (await this.world.settled()) {
        const next = time.nextDue()
        if (next === undefined || next > end) break
        if (next > time.now()) {
          if (instants === (this.options.instantsMax ?? 50)) break
          instants++
          this.begins()
        }
        time.runUntil(next)
      }
    })
    const isCut = (time.nextDue() ?? Infinity) <= end
    if (!isCut) time.runUntil(end)
    const until = time.now()
    for (;;) {
      await rest()
      const next = this.nativeClock.nextDue()
      if (next === undefined || next > until) break
      this.nativeClock.runUntil(next)
    }
    this.nativeClock.runUntil(until)
  }

  async stop(how: 'kill -9' | 'restart'): Promise<void> {
    if (how === 'restart') await this.world.stop()
    else this.world.crash()
    await this.insist(() => this.world.settled())
  }

  async end(): Promise<void> {
    this.native?.stop()
    await this.world.stop()
  }

  /** Does something until it has succeeded in a process that lived through it. */
  private async insist(attempt: () => Promise<unknown>): Promise<void> {
    const { world } = this
    const died = Symbol('died')
    for (;;) {
      if (this.endless) throw this.endless
      if (!world.alive) {
        await world.start()
        continue
      }
      try {
        const answer = await Promise.race([attempt(), world.died.then(() => died)])
        if (answer !== died && world.alive) return
      } catch (error) {
        // What a process still says while it is killed is not heard.
        if (world.alive) throw error
      }
    }
  }

  /** @throws ActorModelError */
  async check(what: string, model: ActorModelState): Promise<void> {
    await this.insist(() => this.world.settled())
    await rest()
    const snapshot = (await this.actor.snapshot()) as SnapshotFrom<M> | undefined
    const failure = await this.actor.failure()
    const durable = failure ? { status: 'error' } : told((await this.actor.persisted()) as Told)
    if (this.native) {
      const persisted = told(this.native.getPersistedSnapshot() as Told)
      const native = persisted.status === 'error' ? { status: 'error' } : persisted
      if (!isDeepStrictEqual(durable, native)) {
        throw new ActorModelError(`After ${what} the durable actor is not where XState's is.\ndurable: ${JSON.stringify(failure ? { ...durable, error: failure.error.message } : durable)}\nXState:  ${JSON.stringify(native)}`)
      }
    }
    model.ended = durable.status !== 'active'
    if (!snapshot) return
    const { invariant } = this.options
    let holds: unknown
    try {
      holds = invariant?.(snapshot, this.before)
    } catch (error) {
      throw new ActorModelError(`After ${what} the invariant does not hold: ${(error as Error).message}`, error)
    }
    if (holds === false) throw new ActorModelError(`After ${what} the invariant does not hold in ${JSON.stringify(durable)}.`)
    this.before = snapshot
  }
}

/** What of a persisted snapshot is the same however the actor is run. */
interface Told {
  readonly status: string
  readonly value?: unknown
  readonly context?: unknown
  readonly output?: unknown
}

function told({ status, value, context, output }: Told): Told {
  return JSON.parse(JSON.stringify({ status, value, context, output })) as Told
}

/** Until promises that resolve at once have done so. */
async function rest(): Promise<void> {
  for (let i = 0; i < 4; i++) await new Promise<void>((resolve) => void setImmediate(resolve))
}

abstract class Command<M extends AnyStateMachine> implements fc.AsyncCommand<ActorModelState, Real<M>> {
  check({ ended }: Readonly<ActorModelState>): boolean {
    return !ended
  }

  async run(model: ActorModelState, real: Real<M>): Promise<void> {
    real.begins()
    await this.act(model, real)
    await real.check(this.toString(), model)
  }

  protected abstract act(model: ActorModelState, real: Real<M>): Promise<void>
  abstract toString(): string
}

class Send<M extends AnyStateMachine> extends Command<M> {
  private readonly event: EventFromLogic<M>
  private readonly kill: KillPoint | undefined
  constructor(event: EventFromLogic<M>, kill?: KillPoint) {
    super()
    this.event = event
    this.kill = kill
  }
  protected async act(model: ActorModelState, real: Real<M>): Promise<void> {
    await real.send(this.event, `event-${++model.sent}`, this.kill)
  }
  toString(): string {
    return `${JSON.stringify(this.event)}${this.kill ? `, killed ${this.kill.side} write ${this.kill.writes} of it` : ''}`
  }
}

class Wait<M extends AnyStateMachine> extends Command<M> {
  private readonly ms: number
  constructor(ms: number) {
    super()
    this.ms = ms
  }
  protected async act(_model: ActorModelState, real: Real<M>): Promise<void> {
    await real.wait(this.ms)
  }
  toString(): string {
    return `${this.ms} ms`
  }
}

class Stop<M extends AnyStateMachine> extends Command<M> {
  private readonly how: 'kill -9' | 'restart'
  constructor(how: 'kill -9' | 'restart') {
    super()
    this.how = how
  }
  protected async act(_model: ActorModelState, real: Real<M>): Promise<void> {
    await real.stop(this.how)
  }
  toString(): string {
    return this.how
  }
}

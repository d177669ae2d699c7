/**
 * A simulated world: virtual time, ids and chance from a seed, a database that outlives the processes that use it, and
 * one process at a time that can be killed before or after any durable write. What runs in it is the real runtime;
 * nothing sleeps and nothing is left to luck.
 *
 * ```ts
 * const world = new World({ machines: [order] })
 * await world.start()
 * await world.system.actor(order, 'o-1').send({ type: 'place' })
 * world.crash()
 * await world.start()
 * await world.advance(60_000)
 * ```
 *
 * The database is in memory, or with `connect` wherever another store keeps it. Two things the world then tells the
 * runtime in the store's place: what time it is, and that a process it has killed is dead.
 *
 * W1  A store has a clock of its own and takes the greater of it and the time of the commit. The world's time is beyond
 *     any such clock, so it is the time of every commit and timer. Only an entry may carry an earlier one, that of its
 *     shard's last commit; it keeps its place all the same, because time stops at every instant at which something is
 *     due and goes on when all of it is done: a timer that was due before the entry has fired by then, and one that is
 *     due after it does not yet count. (Of an entry and a timer of the very same instant either may come first.)
 * W2  A new process begins when the writes of the dead one have arrived, and its connection is closed.
 */
import { MemoryDatabase, MemoryStore } from '../adapters/memory/memory-store.js'
import { ConfigError } from '../errors.js'
import { createActorSystem, type ActorSystem, type ActorSystemOptions } from '../runtime/system.js'
import type { Clock } from '../runtime/ports/clock.js'
import type { Store } from '../runtime/ports/store.js'
import { FaultyStore, type Fault, type Write } from './faulty-store.js'
import { ProcessClock, VirtualClock } from './virtual-clock.js'

export interface WorldOptions extends Omit<ActorSystemOptions, 'store' | 'machines' | 'clock' | 'ids' | 'node'> {
  /** What the processes' actor systems run; not needed with `create`. */
  readonly machines?: ActorSystemOptions['machines']
  /** Ids and chance follow from it. Default 1. */
  readonly seed?: number
  /** The wall-clock time at which the world begins, ms. Default 1,000,000; with `connect` 4e12 (the year 2096), which must be beyond the store's own clock (W1). */
  readonly startsAt?: number
  /**
   * Another connection to the world's database, a new one for each process; it is closed when the process ends. The
   * database must be this world's alone. An LmdbStore needs `identify: false`: it would take every process of the world
   * for this one, which lives. Default: {@link World.database}.
   */
  readonly connect?: () => Store
  /**
   * What a process runs, made anew for each: `create: (given) => (mesh = createMesh({ ...given, runs: [research] }))`. It
   * must take the given store, clock, ids and node. Default: an actor system.
   */
  readonly create?: (given: ActorSystemOptions) => Living
  /** Asked before each durable write of any process. */
  readonly onWrite?: (write: Write) => Fault | undefined
  readonly onWritten?: (write: Write, result: unknown) => void
}

/** What a process of the world runs: a mesh, say. */
export interface Living {
  readonly system: ActorSystem
  start(): Promise<unknown>
  stop(): Promise<unknown>
}

interface Process {
  readonly id: string
  readonly clock: ProcessClock
  /** The connection itself, to end it. */
  readonly connection: Store
  readonly store: FaultyStore
  living: Living | undefined
  readonly died: Promise<void>
  readonly onDeath: () => void
  alive: boolean
}

export class World {
  readonly time = new VirtualClock()
  /** Where the data are unless `connect` keeps them elsewhere. */
  readonly database = new MemoryDatabase()
  /** Durable writes of all processes so far. */
  writes = 0
  /** How many processes there have been. */
  generation = 0
  private readonly options: WorldOptions
  private readonly startsAt: number
  private process: Process | undefined
  /** Resolves when the connection of the one that died last is closed. */
  private buried: Promise<void> = Promise.resolve()
  private ids = 0
  /** When each key was first slept with. */
  private readonly sleepers = new Map<string, number>()

  constructor(options: WorldOptions) {
    this.options = options
    this.startsAt = options.startsAt ?? (options.connect ? 4e12 : 1_000_000)
  }

  /** Wall-clock time, ms. */
  now(): number {
    return this.startsAt + this.time.now()
  }

  /** The system of the living process, or of the last one that lived. */
  get system(): ActorSystem {
    const system = this.process?.living?.system
    if (!system) throw new Error('No process lives in this world: call start() first.')
    return system
  }

  /** The living process's store, to look at what it holds. */
  get store(): Store {
    if (!this.process?.alive) throw new Error('No process lives in this world: call start() first.')
    return this.process.store
  }

  get alive(): boolean {
    return this.process?.alive === true
  }

  /** Resolves when the process that lives now has died. */
  get died(): Promise<void> {
    return this.process?.died ?? Promise.resolve()
  }

  /** The living process's clock: waits of a process that dies never end. */
  get clock(): Clock {
    return this.process?.clock ?? this.time
  }

  /**
   * Resolves after virtual time has passed, unless the process that asked has died by then. With a key, such as the
   * idempotency key of an effect, time counts from the first call with that key, as for a job elsewhere that goes on
   * while the process is dead; if all of it has passed, at once.
   */
  sleep(delayMs: number, key?: string): Promise<void> {
    const { clock } = this
    const now = clock.now()
    const since = (key === undefined ? undefined : this.sleepers.get(key)) ?? now
    if (key !== undefined) this.sleepers.set(key, since)
    const left = since + delayMs - now
    return left > 0 ? new Promise((resolve) => clock.after(left, resolve)) : Promise.resolve()
  }

  /**
   * Starts a process; what an earlier one left is taken up. False if it died while it started.
   *
   * @throws ConfigError if the store takes a process that the world has killed for a living one
   */
  async start(): Promise<boolean> {
    if (this.alive) throw new Error('A process lives in this world: call crash() or stop() first.')
    await this.buried
    const id = `node-${++this.generation}`
    let onDeath = (): void => {}
    const died = new Promise<void>((resolve) => (onDeath = resolve))
    const clock = new ProcessClock(this.time)
    const connection = this.options.connect?.() ?? new MemoryStore({ database: this.database, now: () => this.now() })
    const store = new FaultyStore(this.inThisWorld(connection, () => this.end(process)), {
      clock: this.time,
      nextIndex: () => this.writes++,
      ...(this.options.onWrite ? { onWrite: this.options.onWrite } : {}),
      ...(this.options.onWritten ? { onWritten: this.options.onWritten } : {}),
      onDeath: () => this.kill(process),
    })
    const process: Process = { id, clock, connection, store, living: undefined, died, onDeath, alive: true }
    this.process = process
    const { seed = 1 } = this.options
    const { create = living } = this.options
    process.living = create({
      // A heartbeat every few seconds would make long virtual times long.
      leaseMs: 10 * 86_400_000,
      checkMs: Infinity,
      ...systemOptions(this.options),
      store,
      clock,
      node: { id },
      ids: { next: () => `w${seed}-${this.ids++}` },
    })
    await Promise.race([process.living.start(), died])
    return process.alive
  }

  /** A store as processes of this world see it: under the world's time, and with its word for who is dead. */
  private inThisWorld(store: Store, onClosed: () => void): Store {
    const { seed = 1 } = this.options
    const own: Partial<Store> = {
      // Chance is drawn from the incarnation.
      open: async (options) => ({ ...(await store.open(options)), incarnation: `world-${seed}` }),
      now: () => Promise.resolve(this.now()),
      beat: async (node, as, silent) => {
        const presence = await store.beat(node, as, silent)
        return { ...presence, nodes: presence.nodes.filter(({ id }) => id === node.id) }
      },
      claim: async (shard, node, seen) => {
        const claim = await store.claim(shard, node, seen)
        if (!('heldBy' in claim) || (this.alive && claim.heldBy.node === this.process!.id)) return claim
        const again = await store.claim(shard, node, claim.heldBy)
        if ('heldBy' in again) throw new ConfigError(`Shard ${shard} is held by ${again.heldBy.node}, which is dead in this world; the store takes it for living. Give an LmdbStore the option identify: false, and each world a database of its own.`)
        return again
      },
      close: async () => {
        await store.close()
        onClosed()
      },
    }
    return new Proxy(store, {
      get(target, name) {
        const method: unknown = Reflect.get(own, name) ?? Reflect.get(target, name)
        return typeof method === 'function' ? (method.bind(target) as unknown) : method
      },
    })
  }

  /** Kills the process, as SIGKILL would. */
  crash(): void {
    if (this.process) this.kill(this.process)
  }

  private kill(process: Process): void {
    if (!process.alive) return
    this.end(process)
    process.store.dead = true
    process.living?.system.abandon()
    this.buried = process.store.idle().then(() => process.connection.close())
    // Whoever waits for it hears of a failure.
    this.buried.catch(() => {})
    process.onDeath()
  }

  private end(process: Process): void {
    process.alive = false
    process.clock.die()
  }

  /** Stops the process cleanly, as a deploy would. False if it died over it. */
  async stop(): Promise<boolean> {
    const { process } = this
    if (!process?.alive) return false
    const stopped = await Promise.race([process.living!.stop().then(() => true), process.died.then(() => false)])
    await this.buried
    return stopped
  }

  /** Waits until nothing is left to do now. False if the process died over it. */
  async settled(): Promise<boolean> {
    const { process } = this
    if (!process?.alive) return false
    await Promise.race([quiet(process), process.died])
    return process.alive
  }

  /** Moves virtual time forward, stopping at every instant at which something is due. False if the process died. */
  async advance(delayMs: number): Promise<boolean> {
    const until = this.time.now() + delayMs
    for (;;) {
      if (!(await this.settled())) return false
      const next = this.time.nextDue()
      if (next === undefined || next > until) break
      this.time.runUntil(next)
    }
    this.time.runUntil(until)
    return this.settled()
  }
}

/**
 * The system knows of what it has begun, but not of what waits for an answer of the store to begin. So it is quiet when
 * it has settled without having asked the store for anything meanwhile, but whether its logs hold something unread.
 */
async function quiet({ living, store, clock }: Process): Promise<void> {
  let asked: number
  do {
    await store.idle()
    asked = store.asked
    await living!.system.settled()
    // The store's last answer may be on its way still to whoever asked.
    await new Promise<void>((resolve) => clock.soon(resolve))
    await living!.system.settled()
  } while (store.asked > asked || !store.isIdle)
}

/** An actor system by itself. */
function living(options: ActorSystemOptions): Living {
  const system = createActorSystem(options)
  return { system, start: () => system.start(), stop: () => system.stop() }
}

function systemOptions(options: WorldOptions): Omit<ActorSystemOptions, 'store'> {
  const { seed: _seed, startsAt: _startsAt, connect: _connect, create: _create, onWrite: _onWrite, onWritten: _onWritten, machines = [], ...rest } = options
  return { ...rest, machines }
}

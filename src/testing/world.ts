/**
 * A simulated world: virtual time, ids and chance from a seed, a store in memory that outlives the processes that use
 * it, and one process at a time that can be killed before or after any durable write. What runs in it is the real
 * runtime; nothing sleeps and nothing is left to luck.
 *
 * ```ts
 * const world = new World({ machines: [order] })
 * await world.start()
 * await world.system.actor(order, 'o-1').send({ type: 'place' })
 * world.crash()
 * await world.start()
 * await world.advance(60_000)
 * ```
 */
import { MemoryDatabase, MemoryStore } from '../adapters/memory/memory-store.js'
import { createActorSystem, type ActorSystem, type ActorSystemOptions } from '../runtime/system.js'
import type { Clock } from '../runtime/ports/clock.js'
import { FaultyStore, type Fault, type Write } from './faulty-store.js'
import { ProcessClock, VirtualClock } from './virtual-clock.js'

export interface WorldOptions extends Omit<ActorSystemOptions, 'store' | 'clock' | 'ids' | 'node'> {
  /** Ids follow from it. Default 1. */
  readonly seed?: number
  /** The wall-clock time at which the world begins, ms. Default 1,000,000. */
  readonly startsAt?: number
  /** Asked before each durable write of any process. */
  readonly onWrite?: (write: Write) => Fault | undefined
  readonly onWritten?: (write: Write, result: unknown) => void
}

interface Process {
  readonly id: string
  readonly clock: ProcessClock
  readonly store: FaultyStore
  system: ActorSystem | undefined
  readonly died: Promise<void>
  readonly onDeath: () => void
  alive: boolean
}

export class World {
  readonly time = new VirtualClock()
  readonly database = new MemoryDatabase()
  /** Durable writes of all processes so far. */
  writes = 0
  /** How many processes there have been. */
  generation = 0
  private readonly options: WorldOptions
  private readonly startsAt: number
  private process: Process | undefined
  private ids = 0

  constructor(options: WorldOptions) {
    this.options = options
    this.startsAt = options.startsAt ?? 1_000_000
  }

  /** Wall-clock time, ms. */
  now(): number {
    return this.startsAt + this.time.now()
  }

  /** The system of the living process. */
  get system(): ActorSystem {
    const system = this.process?.system
    if (!system) throw new Error('No process lives in this world: call start() first.')
    return system
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

  /** Resolves after virtual time has passed, unless the process that asked has died by then. */
  sleep(delayMs: number): Promise<void> {
    const { clock } = this
    return new Promise((resolve) => clock.after(delayMs, resolve))
  }

  /** Starts a process; what an earlier one left is taken up. False if it died while it started. */
  async start(): Promise<boolean> {
    const id = `node-${++this.generation}`
    let onDeath = (): void => {}
    const died = new Promise<void>((resolve) => (onDeath = resolve))
    const clock = new ProcessClock(this.time)
    const store = new FaultyStore(
      new MemoryStore({ database: this.database, now: () => this.now(), isAlive: (node) => this.process?.alive === true && this.process.id === node.id }),
      {
        clock: this.time,
        onWrite: (write) => this.options.onWrite?.({ ...write, index: this.writes++ }),
        ...(this.options.onWritten ? { onWritten: this.options.onWritten } : {}),
        onDeath: () => this.kill(process),
      },
    )
    const process: Process = { id, clock, store, system: undefined, died, onDeath, alive: true }
    this.process = process
    const { seed = 1 } = this.options
    process.system = createActorSystem({
      // A heartbeat every few seconds would make long virtual times long.
      leaseMs: 10 * 86_400_000,
      ...systemOptions(this.options),
      store,
      clock,
      node: { id },
      ids: { next: () => `w${seed}-${this.ids++}` },
    })
    await Promise.race([process.system.start(), died])
    return process.alive
  }

  /** Kills the process, as SIGKILL would. */
  crash(): void {
    if (this.process) this.kill(this.process)
  }

  private kill(process: Process): void {
    if (!process.alive) return
    process.alive = false
    process.store.dead = true
    process.clock.dead = true
    process.system?.abandon()
    process.onDeath()
  }

  /** Waits until nothing is left to do now. False if the process died over it. */
  async settled(): Promise<boolean> {
    const { process } = this
    if (!process?.alive) return false
    await Promise.race([process.system!.settled(), process.died])
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

function systemOptions(options: WorldOptions): Omit<ActorSystemOptions, 'store'> {
  const { seed: _seed, startsAt: _startsAt, onWrite: _onWrite, onWritten: _onWritten, ...rest } = options
  return rest
}

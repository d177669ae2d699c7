/**
 * Several nodes of one namespace in one thread, under virtual time, on one database in memory: they come, leave, die and
 * freeze. A node that is frozen (SIGSTOP) hears nothing, neither of time nor of the store, until it is thawed.
 */
import { MemoryDatabase, MemoryStore } from '../../src/adapters/memory/index.js'
import { createActorSystem, type ActorSystem, type ActorSystemOptions, type Clock, type Store } from '../../src/index.js'
import type { Standing, Watched } from '../../src/runtime/ports/store.js'
import { FaultyStore, VirtualClock, type FaultyStoreOptions } from '../../src/testing/index.js'

type Given = Omit<ActorSystemOptions, 'store' | 'clock' | 'ids' | 'node'> &
  Pick<FaultyStoreOptions, 'onWrite' | 'onWritten'> & {
    /** Whether the next sign of life of a node fails. */
    readonly beatFails?: () => boolean
    /** What the store says of itself, in place of what it says. */
    readonly standing?: () => Standing
  }

/** Lets through what comes while it is open, and the rest in its order once it is open again. */
class Gate {
  private open = true
  private waiting: (() => void)[] = []
  pass(then: () => void): void {
    if (this.open) then()
    else this.waiting.push(then)
  }
  close(): void {
    this.open = false
  }
  reopen(): void {
    this.open = true
    for (const then of this.waiting.splice(0)) then()
  }
  /** What waits never passes. */
  end(): void {
    this.open = false
    this.waiting = []
    this.pass = () => {}
  }
}

export class FleetNode {
  readonly id: string
  readonly system: ActorSystem
  readonly store: FaultyStore
  state: 'alive' | 'frozen' | 'gone' = 'alive'
  killed = false
  isLeaving = false
  private readonly gate = new Gate()

  constructor(id: string, fleet: Fleet, given: Given) {
    this.id = id
    const { onWrite, onWritten, beatFails, standing, ...options } = given
    const { gate } = this
    const clock: Clock = {
      now: () => fleet.time.now(),
      after: (delayMs, callback) => fleet.time.after(delayMs, () => gate.pass(callback)),
      soon: (callback) => fleet.time.soon(() => gate.pass(callback)),
    }
    this.store = new FaultyStore(new MemoryStore({ database: fleet.database, now: () => fleet.now() }), { clock, ...(onWrite ? { onWrite } : {}), ...(onWritten ? { onWritten } : {}), onDeath: () => this.kill() })
    let ids = 0
    this.system = createActorSystem({ ...options, store: this.gated(this.store, beatFails, standing), clock, node: { id }, ids: { next: () => `${id}-${ids++}` } })
  }

  /** Answers that come while it is frozen are heard when it is thawed. */
  private gated(store: Store, beatFails: () => boolean = () => false, standing?: () => Standing): Store {
    const { gate } = this
    const own = (name: string | symbol, answer: Promise<unknown>): Promise<unknown> => (standing && (name === 'open' || name === 'standing') ? answer.then((value) => ({ ...(value as object), ...standing() })) : answer)
    return new Proxy(store, {
      get(target, name) {
        const method: unknown = Reflect.get(target, name)
        if (typeof method !== 'function') return method
        if (name === 'watch') return (what: Watched, onChange: () => void) => target.watch(what, () => gate.pass(onChange))
        return (...args: unknown[]) =>
          new Promise((resolve, reject) => {
            const answer = name === 'beat' && beatFails() ? Promise.reject(new Error('the store is away')) : (method as (...args: unknown[]) => Promise<unknown>).apply(target, args)
            own(name, answer).then(
              (value) => gate.pass(() => resolve(value)),
              (error: unknown) => gate.pass(() => reject(error as Error)),
            )
          })
      },
    })
  }

  freeze(): void {
    this.state = 'frozen'
    this.gate.close()
  }

  thaw(): void {
    this.state = 'alive'
    this.gate.reopen()
  }

  kill(): void {
    this.state = 'gone'
    this.killed = true
    this.store.dead = true
    this.gate.end()
    this.system.abandon()
  }
}

export class Fleet {
  readonly time = new VirtualClock()
  readonly database = new MemoryDatabase()
  readonly nodes: FleetNode[] = []
  private readonly given: Given

  constructor(given: Given) {
    this.given = given
  }

  now(): number {
    return 1e12 + this.time.now()
  }

  /** Those that are neither dead nor stopped. */
  get living(): readonly FleetNode[] {
    return this.nodes.filter(({ state }) => state !== 'gone')
  }

  /** A node that begins to start; {@link advance} lets it get there. */
  join(id = `n${this.nodes.length}`, more: Partial<Given> = {}): FleetNode {
    const node = new FleetNode(id, this, { ...this.given, ...more })
    this.nodes.push(node)
    // As a service would whose start has failed.
    node.system.start().catch(() => node.isLeaving || node.kill())
    return node
  }

  /** Begins to stop cleanly, as on SIGTERM. */
  leave(node: FleetNode): Promise<void> {
    node.isLeaving = true
    return node.system.stop().then(() => void (node.state = 'gone'))
  }

  /** Moves time forward, stopping at every instant at which something is due anywhere. */
  async advance(delayMs: number): Promise<void> {
    const until = this.time.now() + delayMs
    for (;;) {
      await this.quiet()
      const next = this.time.nextDue()
      if (next === undefined || next > until) break
      this.time.runUntil(next)
    }
    this.time.runUntil(until)
    await this.quiet()
  }

  /** Lets those that work get so far: what they have begun is not waited for. */
  async ticks(count: number): Promise<void> {
    for (let i = 0; i < count; i++) await new Promise<void>((resolve) => this.time.soon(resolve))
  }

  /** Nobody does anything more now: what was asked of the stores is answered, and nothing new is asked. */
  private async quiet(): Promise<void> {
    let before: number
    do {
      before = this.asked()
      await this.ticks(6)
    } while (this.asked() > before)
  }

  private asked(): number {
    return this.nodes.reduce((sum, { store }) => sum + store.asked, 0)
  }

  /** The owner of each shard, as its living nodes say: one number a node and shard. */
  owners(): (string | undefined)[] {
    const owners: (string | undefined)[] = []
    for (const { id, system } of this.living) for (const shard of system.owned.shards) owners[shard] = owners[shard] === undefined ? id : `${owners[shard]}+${id}`
    return owners
  }

  /** How many shards each living node has. */
  loads(): Record<string, number> {
    return Object.fromEntries(this.living.map(({ id, system }) => [id, system.owned.shards.length]))
  }
}

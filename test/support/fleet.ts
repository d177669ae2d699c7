/**
 * Several nodes of one namespace in one thread, under virtual time, on one database in memory: they come, leave, die and
 * freeze. A node that is frozen (SIGSTOP) hears nothing, neither of time nor of the store, until it is thawed.
 */
import { MemoryDatabase, MemoryStore } from '../../src/adapters/memory/index.js'
import { createActorSystem, StoreError, type ActorSystem, type ActorSystemOptions, type Clock, type Store } from '../../src/index.js'
import type { Standing, Watched } from '../../src/runtime/ports/store.js'
import { FaultyStore, VirtualClock, type FaultyStoreOptions, type Living } from '../../src/testing/index.js'

type Given = Omit<ActorSystemOptions, 'store' | 'clock' | 'ids' | 'node'> &
  Pick<FaultyStoreOptions, 'onWrite' | 'onWritten'> & {
    /** Whether the next call of that name, one that is no write, fails. */
    readonly callFails?: (method: string) => boolean
    /** Whether the next write of that name is sent twice, as a client does that has lost its connection with it. */
    readonly repeats?: (method: string) => boolean
    /** What the store says of itself, in place of what it says. */
    readonly standing?: () => Standing
    /** What a node runs. Default: an actor system. */
    readonly create?: (given: ActorSystemOptions) => Living
    /** In place of a call that reaches the store; undefined: it is made. */
    readonly meddle?: (node: FleetNode, method: string, args: readonly unknown[]) => Promise<unknown> | undefined
    /** Told what a node hears of the store. */
    readonly onHeard?: (node: FleetNode, method: string, args: readonly unknown[], answer: unknown) => void
    /** Told when a node has died. */
    readonly onKilled?: (node: FleetNode) => void
  }

type Meddling = { readonly [K in 'callFails' | 'standing' | 'meddle' | 'onHeard']: Given[K] | undefined }

/** A call that cannot reach the store is given up after so long, ms. */
export const unreachableMs = 80
/** Writes of which a repeat is harmless whatever they write (P2). */
const repeatable = new Set(['commit', 'deliver', 'renew', 'release', 'trim'])
/** These fail by {@link FaultyStoreOptions.onWrite}. */
const writes = new Set(['claim', 'append', 'redrive', ...repeatable])

/** Asks again at once, now and then, and answers with what is said then. */
function twice(store: MemoryStore, repeats: ((method: string) => boolean) | undefined): MemoryStore {
  if (!repeats) return store
  return new Proxy(store, {
    get: (target, name) => {
      const method: unknown = Reflect.get(target, name)
      if (typeof method !== 'function') return method
      const call = method as (...args: unknown[]) => Promise<unknown>
      if (!repeatable.has(String(name))) return call.bind(target)
      // In one go, as a server takes what lies in one buffer: nobody else comes in between.
      return (...args: unknown[]) => {
        const answer = call.apply(target, args)
        if (!repeats(String(name))) return answer
        answer.catch(() => {})
        return call.apply(target, args)
      }
    },
  })
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

function aSystem(options: ActorSystemOptions): Living {
  const system = createActorSystem(options)
  return { system, start: () => system.start(), stop: () => system.stop() }
}

export class FleetNode {
  readonly id: string
  readonly living: Living
  readonly store: FaultyStore
  /** As the network reaches it, whatever has become of the node. */
  readonly behind: MemoryStore
  state: 'alive' | 'frozen' | 'gone' = 'alive'
  killed = false
  isLeaving = false
  /** It reaches the store no more, and hears nothing of it; its time goes on. */
  isCutOff = false
  private readonly gate = new Gate()
  private readonly onKilled: ((node: FleetNode) => void) | undefined

  constructor(id: string, fleet: Fleet, given: Given) {
    this.id = id
    const { onWrite, onWritten, callFails, repeats, standing, meddle, onHeard, onKilled, create = aSystem, ...options } = given
    this.onKilled = onKilled
    const { gate } = this
    const clock: Clock = {
      now: () => fleet.time.now(),
      after: (delayMs, callback) => fleet.time.after(delayMs, () => gate.pass(callback)),
      soon: (callback) => fleet.time.soon(() => gate.pass(callback)),
    }
    this.behind = new MemoryStore({ database: fleet.database, now: () => fleet.now() })
    this.store = new FaultyStore(twice(this.behind, repeats), { clock, ...(onWrite ? { onWrite } : {}), ...(onWritten ? { onWritten } : {}), onDeath: () => this.kill() })
    let ids = 0
    this.living = create({ ...options, store: this.gated(this.store, fleet, { callFails, standing, meddle, onHeard }), clock, node: { id }, ids: { next: () => `${id}-${ids++}` } })
  }

  get system(): ActorSystem {
    return this.living.system
  }

  /** Answers that come while it is frozen are heard when it is thawed, those that come while it is cut off are lost. */
  private gated(store: Store, fleet: Fleet, { callFails = () => false, standing, meddle, onHeard }: Meddling): Store {
    const { gate } = this
    const unreachable = (): Promise<never> =>
      new Promise((_, reject) => fleet.time.after(unreachableMs, () => reject(new StoreError('the store cannot be reached', 'unknown'))))
    const call = async (method: (...args: unknown[]) => Promise<unknown>, name: string, args: unknown[]): Promise<unknown> => {
      if (this.isCutOff) return unreachable()
      if (!writes.has(name) && name !== 'open' && callFails(name)) throw new StoreError(`${name} was made to fail`, 'failed')
      const answer = await (meddle?.(this, name, args) ?? method.apply(store, args))
      if (this.isCutOff) return unreachable()
      return standing && (name === 'open' || name === 'standing') ? { ...(answer as object), ...standing() } : answer
    }
    return new Proxy(store, {
      get: (target, name) => {
        const method: unknown = Reflect.get(target, name)
        if (typeof method !== 'function') return method
        if (name === 'watch') return (what: Watched, onChange: () => void) => target.watch(what, () => gate.pass(() => this.isCutOff || onChange()))
        return (...args: unknown[]) =>
          new Promise((resolve, reject) => {
            call(method as (...args: unknown[]) => Promise<unknown>, String(name), args).then(
              (value) =>
                gate.pass(() => {
                  onHeard?.(this, String(name), args, value)
                  resolve(value)
                }),
              (error: unknown) => gate.pass(() => reject(error as Error)),
            )
          })
      },
    })
  }

  /** Code of this process runs only while it is awake, and lives. */
  whenAwake(then: () => void): void {
    this.gate.pass(then)
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
    if (!this.killed) this.onKilled?.(this)
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
  /** How far the clock of the store has jumped, ms. */
  skewMs = 0
  private readonly given: Given

  constructor(given: Given) {
    this.given = given
  }

  now(): number {
    return 1e12 + this.time.now() + this.skewMs
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
    node.living.start().catch(() => node.isLeaving || node.kill())
    return node
  }

  /** Begins to stop cleanly, as on SIGTERM. */
  leave(node: FleetNode): Promise<void> {
    node.isLeaving = true
    // Also if it had not started yet, and then could not.
    return node.living.stop().then(() => {}).finally(() => (node.state = 'gone'))
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

/**
 * An actor system: one process's part in a namespace. It runs the actors of the shards that fall to it (ownership.ts), and
 * hands out {@link ActorHandle}s for all of the namespace: what other nodes run it reaches through the store.
 */
import type { AnyStateMachine } from 'xstate'
import { ConfigError, MailboxFullError, StoppedError, isHoldfastError, toStoredError } from '../errors.js'
import { actingMessageId, noteSent } from './acts.js'
import { Appenders } from './appender.js'
import { ActorHandle } from './actor.js'
import { findActors, type ActorPage, type ActorQuery } from './find.js'
import { newCounters, type Counters, type RuntimeContext } from './context.js'
import { listDeadLetters, redriveDeadLetters, type DeadLetterPage, type DeadLetterQuery, type RedriveResult } from './dead-letters.js'
import { Effects } from './effects.js'
import { Outgoing, checkEvent, type Parked, type EnvelopeHead } from './envelope.js'
import { ownIdRetentionMs, post, type Gateway } from './gateway.js'
import { checkId, parseAddress, shardOf, toAddress, type Address } from './identity.js'
import { defaultJsonLimits, encodeJson, type JsonLimits } from './json.js'
import type { Inspect } from './inspection.js'
import { Lookout } from './lookout.js'
import { MachineRegistry, type MachineOptions } from './machines.js'
import { checkSystemOptions, resolveOptions, type RuntimeOptions } from './options.js'
import { systemClock, type Clock } from './ports/clock.js'
import { randomIds, type IdSource } from './ports/ids.js'
import { silentLogger, type Logger } from './ports/logger.js'
import { termsMax, type Durability, type NodeIdentity, type NodeSeen, type Store, type StoreInfo } from './ports/store.js'
import type { Witness } from './ports/witness.js'
import { Testifier } from './testifier.js'
import { Ownership, type RollbackPolicy } from './ownership.js'
import { RoutedGateway } from './routed-gateway.js'
import type { Shard } from './shard.js'
import { StreamDrain, type DrainHandler } from './stream-drain.js'
import { decodeStreamEntry, ownStream, sharedStream, type StreamRecord } from './streams.js'
import { StoreGateway } from './store-gateway.js'
import { Subscriptions } from './subscriptions.js'
import { mostPlaces } from './terms.js'
import type { XEvent } from './xstate/insides.js'
import { RemoteRef } from './xstate/refs.js'

export interface ActorSystemOptions extends Partial<RuntimeOptions> {
  readonly store: Store
  /** Machines to run, by their `id`, or with a name and version of their own. */
  readonly machines: readonly (AnyStateMachine | MachineOptions)[]
  /** Default `default`. */
  readonly namespace?: string
  /** Number of shards of a new namespace, 1 to 1,024. Default 16. */
  readonly shards?: number
  /** Unhandled messages one actor may have, inclusive; give all processes of a namespace the same. Default 1,000. */
  readonly backlogMax?: number
  /** Unhandled messages one shard may have, inclusive; give all processes of a namespace the same. Default 100,000. */
  readonly logMax?: number
  /** Run on a store although it is to be refused because it loses data; that is logged once a minute. */
  readonly unsafe?: boolean
  /** How much an acknowledged write must survive: on a store that keeps less nothing is begun, and nothing is run. Default `D0`. */
  readonly durabilityMin?: Durability
  /** What to do when the store went back in time: halt (default) stops all actors of the namespace until {@link ActorSystem.accept}; go-on logs an error. */
  readonly onRollback?: RollbackPolicy
  /** Remembers outside the store how far that had come, so that a store that went back in time while no process was running is noticed by the next start: `fileWitness(folder)` of `holdfast/file`. Default: none. */
  readonly witness?: Witness
  /** Default: silent. pino fits. */
  readonly logger?: Logger
  readonly limits?: Partial<JsonLimits>
  readonly clock?: Clock
  readonly ids?: IdSource
  /** Is told of every turn that this process runs, as {@link ActorSystem.inspect} says; `inspector.inspect` of `holdfast/inspect` or `@statelyai/inspect` fits. */
  readonly inspect?: Inspect
  /** This process, as others see it. Default: an id of its own. */
  readonly node?: NodeIdentity
}

const noShards: ReadonlyMap<number, Shard> = new Map()

export type SystemRole = 'owner' | 'client'

/** @throws ConfigError for an option that is missing or out of bounds */
export function createActorSystem(options: ActorSystemOptions): ActorSystem {
  return new ActorSystem(options)
}

export class ActorSystem {
  private readonly options: ActorSystemOptions
  private readonly registry: MachineRegistry
  private readonly runtime: RuntimeOptions
  private readonly limits: JsonLimits
  private readonly logger: Logger
  private readonly clockPort: Clock
  private readonly ids: IdSource
  private readonly subscriptions: Subscriptions
  private readonly counters: Counters = newCounters()
  private readonly drains: StreamDrain[] = []
  private readonly node: NodeIdentity
  private gateway: RoutedGateway | undefined
  private storeGateway: StoreGateway | undefined
  private appenders: Appenders | undefined
  private ownership: Ownership | undefined
  private opening: Promise<RuntimeContext> | undefined
  private info: StoreInfo | undefined
  private lookout: Lookout | undefined
  private effects: Effects | undefined
  private state: 'new' | 'started' | 'stopping' | 'stopped' = 'new'
  private stopping: Promise<void> | undefined

  constructor(options: ActorSystemOptions) {
    checkSystemOptions(options)
    this.options = options
    this.runtime = resolveOptions(options, process.env['NODE_ENV'] === 'production')
    this.registry = new MachineRegistry(options.machines)
    this.limits = { ...defaultJsonLimits, ...options.limits }
    this.logger = options.logger ?? silentLogger
    this.clockPort = options.clock ?? systemClock
    this.ids = options.ids ?? randomIds
    this.node = options.node ?? { id: this.ids.next() }
    this.subscriptions = new Subscriptions(this.logger)
    if (options.inspect) this.inspect(options.inspect)
  }

  // ── Life ──

  /**
   * Opens the store, claims the shards that fall to this node and takes up what an earlier owner left. Resolves to this
   * system once it owns them, or once their owners have shown that they live: those hand them over. A node that died is
   * waited for as long as its lease. On LMDB one process owns all shards while it lives; others stand by.
   *
   * @throws ConfigError when the namespace's settings differ or the store is to be refused, since it loses data or keeps less than
   *   `durabilityMin`; StoppedError if it is stopped meanwhile
   */
  async start(): Promise<this> {
    const context = await (this.opening = this.open())
    this.started()
    this.ownership = new Ownership(context, this.node, this.options.onRollback ?? 'halt', {
      gained: (shard) => {
        this.gateway!.moved(shard.number)
        for (const drain of this.drains) drain.add(shard.number)
      },
      lost: (number) => {
        for (const drain of this.drains) drain.remove(number)
        this.gateway!.moved(number)
      },
    }, this.testifierOf(context))
    this.lookout!.start((isTrusted) => this.ownership!.trust(isTrusted))
    try {
      await this.ownership.start()
      this.started()
    } catch (error) {
      this.lookout!.stop()
      throw error
    }
    this.logger.info({ namespace: context.namespace, node: this.node.id, durability: this.durability, shards: this.shards.size, of: context.shards }, 'actor system started')
    return this
  }

  private testifierOf({ namespace, incarnation }: RuntimeContext): Testifier | undefined {
    const { witness } = this.options
    return witness && new Testifier({ witness, namespace, incarnation, node: this.node.id, clock: this.clockPort, logger: this.logger })
  }

  /** Opens the store without claiming anything. See `createClient`. */
  async startAsClient(): Promise<this> {
    await (this.opening = this.open())
    this.lookout!.start(() => {})
    return this
  }

  private async open(): Promise<RuntimeContext> {
    if (this.state !== 'new') throw new ConfigError('An actor system is started once; create another one.')
    this.state = 'started'
    const { store } = this.options
    const namespace = this.options.namespace ?? 'default'
    const info = await store.open({
      namespace,
      ...(this.options.shards === undefined ? {} : { shards: this.options.shards }),
      ...this.bounds,
    })
    this.info = info
    const { unsafe, durabilityMin } = this.options
    this.lookout = new Lookout({ store, clock: this.clockPort, logger: this.logger, namespace, checkMs: this.runtime.checkMs, durabilityMin, unsafe }, info)
    try {
      this.lookout.mustBeTrusted()
    } catch (error) {
      await store.close()
      throw error
    }
    const appenders = (this.appenders = new Appenders({ store, clock: this.clockPort, logger: this.logger, ...this.bounds }))
    const context = this.createContext(namespace, info, appenders)
    this.storeGateway = new StoreGateway({
      store,
      info,
      appenders,
      registry: this.registry,
      clock: this.clockPort,
      ids: this.ids,
      logger: this.logger,
      limits: this.limits,
      freeze: this.runtime.freeze,
      largeValueCharsMin: this.runtime.largeValueCharsMin,
      idRetentionMs: this.runtime.idRetentionMs,
      backlogMax: context.backlogMax,
      sendLater: context.sendLater,
      remote: context.remote,
    })
    await this.storeGateway.start()
    for (const definition of this.registry.all()) {
      const most = mostPlaces(definition.machine)
      if (most > termsMax) this.logger.warn({ machine: definition.name, most, kept: termsMax }, 'actors of a machine can have more states and tags at a time than they can be found by: outer states come first, tags last')
      if (definition.inline.length > 0) this.logger.info({ machine: definition.name, places: definition.inline }, 'a machine has inline actions or actors: an inline action runs at most once across a crash, an inline actor is known by its place only. Name them')
    }
    this.gateway = new RoutedGateway({
      store: this.storeGateway,
      subscriptions: this.subscriptions,
      shards: info.shards,
      owned: (number) => this.shards.get(number),
      isOpen: () => this.state === 'started',
    })
    return context
  }

  /**
   * Stops cleanly: finishes what is under way, stops effects, gives the shards up. What is left goes on with the next owner.
   * Whatever still waits here is rejected with a StoppedError.
   *
   * @param withinMs how long the store may take; after that the shards are given up as they are. Default 10,000
   */
  stop({ withinMs = 10_000 }: { readonly withinMs?: number } = {}): Promise<void> {
    if (!(withinMs >= 0)) throw new ConfigError(`withinMs: expected a number of milliseconds, got ${String(withinMs)}.`)
    if (this.state === 'new') return Promise.resolve()
    return (this.stopping ??= this.end(withinMs))
  }

  private async end(withinMs: number): Promise<void> {
    this.state = 'stopping'
    const stopped = await this.inTime(this.finish(), withinMs)
    this.state = 'stopped'
    this.lookout?.stop()
    const error = new StoppedError('The actor system')
    if (!stopped) {
      this.logger.error({ node: this.node.id, withinMs }, 'the store does not answer: the shards were given up without it')
      this.ownership?.giveUp(error)
    }
    this.appenders?.stop(error)
    this.storeGateway?.stop(error)
    await this.inTime(this.options.store.close(), withinMs)
    this.logger.info({ node: this.node.id }, 'actor system stopped')
  }

  private async finish(): Promise<void> {
    await this.opening?.catch(() => {})
    await Promise.all(this.drains.map((drain) => drain.stop()))
    await this.ownership?.stop()
    // What this process has accepted or said is kept, whoever runs the actors.
    await this.appenders?.soFar()
  }

  /** Whether it ended in time. */
  private async inTime(work: Promise<void>, withinMs: number): Promise<boolean> {
    let cancel = (): void => {}
    const late = new Promise<boolean>((resolve) => (cancel = this.clockPort.after(withinMs, () => resolve(false))))
    try {
      return await Promise.race([work.then(() => true), late])
    } finally {
      cancel()
    }
  }

  /** For tests of crashes: falls silent at once, as a killed process would. */
  abandon(): void {
    this.state = 'stopped'
    this.lookout?.stop()
    this.ownership?.abandon()
    this.appenders?.abandon()
  }

  /** owner: this process runs actors. client: others run them all, and this one sends, looks and, unless it is a client by choice, waits for its turn. */
  get role(): SystemRole {
    return this.shards.size > 0 ? 'owner' : 'client'
  }

  /** Numbers of the shards whose actors this process runs now, and how many the namespace has. */
  get owned(): { readonly shards: readonly number[]; readonly of: number } {
    return { shards: [...this.shards.keys()].sort((a, b) => a - b), of: this.info?.shards ?? 0 }
  }

  /** The processes that share the actors of the namespace, as the store shows them. On LMDB the one that runs them all. */
  async nodes(): Promise<readonly NodeSeen[]> {
    this.started()
    return (await this.options.store.presence()).nodes
  }

  /** Why no actor of the namespace is run, if so: the store went back in time (I11). */
  async halted(): Promise<string | undefined> {
    this.started()
    return this.ownership?.halted ?? (await this.options.store.presence()).halted
  }

  /** Accepts what the store holds after it went back in time: the actors go on from there. Does nothing if the namespace is not halted. */
  async accept(): Promise<void> {
    this.started()
    await this.options.store.accept()
  }

  // ── Actors ──

  /** A handle on the actor of that machine and id; nothing is created yet. */
  actor<M extends AnyStateMachine>(machine: M, id: string): ActorHandle<M> {
    return new ActorHandle<M>(this.started(), toAddress(this.registry.of(machine).name, id))
  }

  /** A handle on the actor at `machine/id[~child]`. */
  actorAt(address: string): ActorHandle {
    return new ActorHandle(this.started(), parseAddress(address))
  }

  /**
   * The machine registered last under that name, which new actors of it run: what to `replay` histories with where somebody
   * else made it, as the mesh makes those of agents.
   *
   * @throws UnknownMachineError if there is none
   */
  machine(name: string): AnyStateMachine {
    return this.registry.of(name).given
  }

  /**
   * Actors by what they are: machine, key, run, state, tag, status, or any of these together, in the order of their addresses.
   * Each is found as its last commit left it; one that fits all the while is on exactly one of the pages.
   *
   * @throws ConfigError, InvalidIdError for what nothing can be sought by; a machine that nobody runs is no mistake
   */
  async find(query: ActorQuery = {}): Promise<ActorPage> {
    this.started()
    await this.letOthersRun()
    return findActors(this.options.store, this.info!.shards, query)
  }

  /**
   * Tells of every turn that this process runs, after its commit and in order, by XState's inspection events. Actors in
   * memory are announced at once, others when they are read from the store. `actorRef.getSnapshot()` is the state after
   * the turn that was told last. What the inspector throws harms nobody; what it does takes this process's time.
   */
  inspect(inspector: Inspect): { unsubscribe(): void } {
    const atRest = [...this.shards.values()].flatMap(({ residents }) => residents.atRest().map(({ tree }) => tree.root))
    return { unsubscribe: this.subscriptions.inspectors.add(inspector, atRest) }
  }

  /** Entries of an actor's own stream, see `append`; page on with `after`. */
  async stream(address: string, stream: string, after = 0, max = 1_000): Promise<readonly StreamRecord[]> {
    this.started()
    const at = parseAddress(address)
    return (await this.options.store.log(shardOf(at, this.info!.shards), ownStream(at, stream), after, max)).map(decodeStreamEntry)
  }

  /** Entries of a stream shared by all actors of the shard of that key; page on with `after`. */
  async sharedStream(key: string, stream: string, after = 0, max = 1_000): Promise<readonly StreamRecord[]> {
    this.started()
    return (await this.options.store.log(this.shardOfKey(key), sharedStream(stream), after, max)).map(decodeStreamEntry)
  }

  /**
   * Messages that could not be handled, of all actors, with their evidence: by actor, machine, key, reason, time, or any of
   * these together. A shard keeps `deadLettersMax` of them, the latest.
   *
   * @throws ConfigError, InvalidIdError for what none can be sought by
   */
  async deadLetters(query: DeadLetterQuery = {}): Promise<DeadLetterPage> {
    this.started()
    await this.letOthersRun()
    return listDeadLetters(this.options.store, this.info!.shards, query)
  }

  /**
   * Sends dead letters again, as they were but for their deadlines: one or more by id (1 to 1,000), or all that a query finds.
   * From any process. Each is taken back once, whatever crashes and whoever else does the same; its message keeps its id.
   * Resolves when that is durable; whoever runs the actors then handles them behind what waits for them.
   *
   * @throws ConfigError, InvalidIdError for what no letter can be found by; an id whose letter has gone is no mistake
   */
  async redriveDeadLetters(which: string | readonly string[] | DeadLetterQuery): Promise<RedriveResult> {
    this.started()
    return redriveDeadLetters(this.options.store, this.info!.shards, which)
  }

  /**
   * Hands over what actors append to a shared stream, of every shard that this process owns, in order; what the handler
   * has resolved for is removed from the store. At least once: `by` and what the entry holds tell a repeat.
   */
  drain(stream: string, handler: DrainHandler): StreamDrain {
    this.started()
    const drain = new StreamDrain({ store: this.options.store, clock: this.clockPort, logger: this.logger }, checkId('stream name', stream), handler)
    this.drains.push(drain)
    this.subscriptions.onAppended(sharedStream(stream), ({ shard, count }) => drain.wake(shard, count))
    for (const shard of this.shards.keys()) drain.add(shard)
    return drain
  }

  /** Messages set aside because their actor cannot take them now, oldest first, with the reason. */
  async parked(address: string, max = 100): Promise<readonly Parked[]> {
    this.started()
    const at = parseAddress(address)
    return (await this.options.store.parked(shardOf(at, this.info!.shards), at, max)).map((text) => JSON.parse(text) as Parked)
  }

  /** A store in this process answers at once: without this, one who goes through all pages would hold up all timers and I/O. */
  private letOthersRun(): Promise<void> {
    return new Promise((resolve) => this.clockPort.soon(resolve))
  }

  private shardOfKey(key: string): number {
    return shardOf(toAddress('x', key), this.info!.shards)
  }

  /**
   * Takes up a quarantined actor again: its parked messages are handled, its effects and actions run. Does nothing for
   * one that is not quarantined. Resolves when they have been handled; if another node runs the actor, when that one is
   * told for sure.
   */
  async redrive(address: string): Promise<void> {
    const gateway = this.started()
    const at = parseAddress(address)
    const shard = this.shards.get(shardOf(at, this.info!.shards))
    if (shard) await shard.redrive(at)
    else await post(gateway, { kind: 'redrive', to: at }, undefined)
  }

  // ── Watching ──

  /** Resolves when nothing is left to do now: no turn, no commit, no due message. Effects under way are not waited for. */
  async settled(): Promise<void> {
    for (;;) {
      await new Promise<void>((resolve) => this.clockPort.soon(resolve))
      const shards = [...this.shards.values()]
      if (!shards.every((shard) => shard.isIdle)) {
        await Promise.all(shards.map((shard) => shard.written()))
        continue
      }
      await Promise.all(shards.map((shard) => shard.flush()))
      const unread = await Promise.all(shards.map((shard) => shard.hasUnread()))
      if (!unread.includes(true) && shards.every((shard) => shard.isIdle)) return
    }
  }

  readonly clock = {
    /** Namespace time at which the next timer of this system is due, ms; undefined if there is none. */
    nextDue: async (): Promise<number | undefined> => {
      const due = await Promise.all([...this.shards.values()].map((shard) => shard.nextDue()))
      const times = due.filter((at) => at !== undefined)
      return times.length === 0 ? undefined : Math.min(...times)
    },
  }

  /** What has happened in this process so far, and what it holds. */
  stats(): Counters & { readonly resident: number; readonly effects: number } {
    let resident = 0
    for (const shard of this.shards.values()) resident += shard.residents.size
    return { ...this.counters, resident, effects: this.effects?.size ?? 0 }
  }

  /** How much an acknowledged write survives, by the store as it was last asked. */
  get durability(): Durability | undefined {
    return this.lookout?.durability
  }

  /** Sentences for the operator: what the store may lose, and what to do about it. */
  get warnings(): readonly string[] {
    return this.lookout?.warnings ?? []
  }

  /**
   * Sentences for the operator: why no actor should run on the store as it is, and what to do about it. While there are any, this
   * process runs none, unless it is `unsafe`; what is sent is kept, and once that is mended the actors go on.
   */
  get refusals(): readonly string[] {
    return this.lookout?.refusals ?? []
  }

  // ── Inside ──

  private started(): Gateway {
    if (this.gateway && this.state === 'started') return this.gateway
    if (this.state !== 'new') throw new StoppedError('The actor system')
    throw new ConfigError('Start the actor system first: await createActorSystem({ … }).start().')
  }

  private createContext(namespace: string, info: StoreInfo, appenders: Appenders): RuntimeContext {
    const remote = (address: string, cell?: number): RemoteRef => new RemoteRef(address, cell, (ref, event) => this.sendLater(ref.address as Address, ref.cell, event))
    this.effects = new Effects({
      namespace,
      logger: this.logger,
      outcome: (address, cell, effectId, event, attempt) => this.tellOutcome(address, cell, effectId, event, attempt),
      emission: (address, cell, event) => {
        checkEvent(event)
        this.tell({ id: this.ids.next(), kind: 'emission', to: address, cell }, event, `event "${event.type}" of an effect`)
      },
      fault: (address, cell, error) => this.tellFault(address, cell, error, this.ids.next()),
    })
    return {
      namespace,
      incarnation: info.incarnation,
      shards: info.shards,
      store: this.options.store,
      clock: this.clockPort,
      ids: this.ids,
      logger: this.logger,
      registry: this.registry,
      limits: this.limits,
      ...this.bounds,
      freeze: this.runtime.freeze,
      largeValueCharsMin: this.runtime.largeValueCharsMin,
      options: this.runtime,
      effects: this.effects,
      appenders,
      listeners: this.subscriptions,
      counters: this.counters,
      revive: (ref) => remote(ref.address!, ref.n),
      remote,
      sendLater: (record, cell, event) => this.sendLater(record.address, cell.number === 0 ? undefined : cell.number, event),
      tellFault: (address, cell, error, id) => this.tellFault(address, cell, error, id),
    }
  }

  private get bounds(): { readonly backlogMax: number; readonly logMax: number } {
    return { backlogMax: this.options.backlogMax ?? 1_000, logMax: this.options.logMax ?? 100_000 }
  }

  private get shards(): ReadonlyMap<number, Shard> {
    return this.ownership?.shards ?? noShards
  }

  // ── Messages of the runtime itself ──

  /** `ref.send(event)` outside a turn: from an action under an id of its turn and place, else under a new one. */
  private sendLater(address: Address, cell: number | undefined, event: XEvent): void {
    checkEvent(event)
    const id = actingMessageId()
    this.tell({ id: id ?? this.ids.next(), kind: 'event', to: address, ...(cell === undefined ? {} : { cell }) }, event, `event "${event.type}"`, id === undefined ? 'new' : 'again')
  }

  private tellOutcome(address: Address, cell: number, effectId: string, event: XEvent, attempt: number): void {
    // What fails while this process stops may fail for that: the next owner tries it again, or asks the receiver.
    if (this.state !== 'started' && (event.type === 'xstate.promise.reject' || event.type === 'xstate.observable.error')) return
    const head: EnvelopeHead = { id: effectId === '' ? this.ids.next() : effectId, kind: 'outcome', to: address, cell }
    // The outcome of what has been started before goes into the log first: should its turn kill the process, it is known, and suspected.
    const how = effectId === '' ? 'new' : attempt > 1 ? 'again' : 'once'
    try {
      this.tell(head, event, `the outcome of ${effectId || 'an effect'}`, how)
    } catch (error) {
      // What the effect gave cannot be stored: to its actor it has failed.
      this.logger.warn({ actor: address, effect: effectId, error: (error as Error).message }, 'the outcome of an effect cannot be stored')
      const type = event.type.startsWith('xstate.observable') ? 'xstate.observable.error' : 'xstate.promise.reject'
      this.tell(head, { type, data: toStoredError(error) }, 'an error', how)
    }
  }

  private tellFault(address: Address, cell: number, error: unknown, id: string): void {
    this.tell({ id: `${id}!`, kind: 'fault', to: address, ...(cell === 0 ? {} : { cell }) }, { error: toStoredError(error) }, 'an error', 'again')
  }

  /**
   * Encodes and accepts; throws only for what cannot be encoded.
   *
   * @param how new: under an id that nobody else knows. once: under one that a later process may use. again: under one that an earlier process may have used
   */
  private tell(head: EnvelopeHead, body: unknown, what: string, how: 'new' | 'once' | 'again' = 'new'): void {
    const accepted = this.accepted(head, encodeJson(body, what, this.limits), how)
    noteSent(accepted)
    accepted.catch((error: unknown) => {
      if (!isHoldfastError(error) || error.code !== 'STOPPED') this.logger.error({ actor: head.to, message: head.id, error: (error as Error).message }, 'a message was not accepted')
    })
  }

  private async accepted(head: EnvelopeHead, body: string, how: 'new' | 'once' | 'again'): Promise<void> {
    if (this.state === 'stopped') throw new StoppedError('The actor system')
    const shard = this.shards.get(shardOf(head.to, this.info!.shards))
    const now = shard?.clock.now() ?? this.storeGateway!.now()
    const { idRetentionMs } = this.runtime
    const rememberUntil = now + (how === 'new' ? Math.min(ownIdRetentionMs, idRetentionMs) : idRetentionMs)
    // One that bears the id of its turn or effect is one of a bounded number, and must not be lost.
    const message = new Outgoing(head, body, rememberUntil, how === 'new' ? undefined : true)
    const appended = await (shard?.send(message, how === 'again') ?? this.storeGateway!.accept(message))
    if (appended === 'full') throw new MailboxFullError(head.to, this.storeGateway!.backlogMax)
  }
}

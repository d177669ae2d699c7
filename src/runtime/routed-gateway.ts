/**
 * How handles reach actors: through the shard that runs them if it is this node's, else through the store. Shards come and
 * go while somebody waits; whoever listens is then moved with the actor.
 */
import type { Beginnings, Ending, Gateway, Sight } from './gateway.js'
import { StoppedError, type HoldfastError } from '../errors.js'
import type { Outgoing } from './envelope.js'
import type { ActorHistory } from './history.js'
import { shardOf, type Address, type MessageId } from './identity.js'
import type { JsonLimits } from './json.js'
import type { MachineDefinition } from './machines.js'
import type { Clock } from './ports/clock.js'
import type { IdSource } from './ports/ids.js'
import type { Appended } from './ports/store.js'
import type { DurableRecord } from './record.js'
import type { Shard } from './shard.js'
import type { StoreGateway } from './store-gateway.js'
import type { Subscriptions } from './subscriptions.js'
import type { WaitingLines } from './waiting-line.js'
import type { XEvent } from './xstate/insides.js'

export interface RoutedGatewayOptions {
  readonly store: StoreGateway
  readonly subscriptions: Subscriptions
  readonly shards: number
  /** The shard of that number, if this node owns it. */
  readonly owned: (number: number) => Shard | undefined
  /** Whether the system still takes messages. */
  readonly isOpen: () => boolean
}

/** Listens in the way that fits, anew whenever the shard has come or gone. */
interface Follower {
  attach(shard: Shard | undefined): () => void
  detach: () => void
}

export class RoutedGateway implements Gateway {
  readonly limits: JsonLimits
  readonly ids: IdSource
  readonly clock: Clock
  readonly idRetentionMs: number
  readonly backlogMax: number
  readonly beginnings: Beginnings
  readonly lines: WaitingLines
  readonly ending: Ending
  private readonly options: RoutedGatewayOptions
  private readonly store: StoreGateway
  private readonly followers = new Map<number, Set<Follower>>()

  constructor(options: RoutedGatewayOptions) {
    const { store } = options
    this.options = options
    this.store = store
    this.limits = store.limits
    this.ids = store.ids
    this.clock = store.clock
    this.idRetentionMs = store.idRetentionMs
    this.backlogMax = store.backlogMax
    this.beginnings = store.beginnings
    this.lines = store.lines
    this.ending = store.ending
  }

  /** The shard has come to this node, or has left it. */
  moved(number: number): void {
    for (const follower of [...(this.followers.get(number) ?? [])]) {
      follower.detach()
      follower.detach = follower.attach(this.options.owned(number))
    }
  }

  now(address: Address): number {
    return this.shardFor(address)?.clock.now() ?? this.store.now()
  }

  definitionOf(address: Address): MachineDefinition | undefined {
    return this.store.definitionOf(address)
  }

  accept(message: Outgoing, mayRepeat: boolean): Promise<Appended> {
    if (!this.options.isOpen()) return Promise.reject(new StoppedError('The actor system'))
    return this.shardFor(message.to)?.send(message, mayRepeat) ?? this.store.accept(message)
  }

  refusal({ id, to }: Outgoing): HoldfastError | undefined {
    const refused = this.options.subscriptions.takeRefusal(id)
    if (refused?.code === 'ACTOR_NOT_STARTED') this.beginnings.forget(to)
    return refused?.code === 'ACTOR_EXISTS' || refused?.code === 'ACTOR_NOT_STARTED' ? refused : undefined
  }

  async look(address: Address): Promise<Sight | undefined> {
    return this.shardFor(address)?.look(address) ?? this.store.look(address)
  }

  history(address: Address): Promise<ActorHistory | undefined> {
    return this.store.history(address)
  }

  read(address: Address): Promise<DurableRecord | undefined> {
    return this.store.read(address)
  }

  /** Of every turn while this node runs the actor, else of its latest state; after a move of the latest state once more. */
  watch(address: Address, onTurn: (sight: Sight) => void): () => void {
    let seen: number | undefined
    let moves = -1
    return this.follow(address, (shard) => {
      const move = ++moves
      const tell = (sight: Sight): void => {
        // What was asked before the actor moved may be answered after it.
        if (move !== moves) return
        seen = sight.turns
        onTurn(sight)
      }
      if (!shard) return this.store.watch(address, tell, move > 0 ? (seen ?? -1) : undefined)
      const stop = this.options.subscriptions.onTurn(address, tell)
      if (move === 0) return stop
      const before = seen
      const look = this.store.again(async (isOver) => {
        const sight = await this.look(address)
        if (!isOver() && sight && seen === before && sight.turns !== seen) tell(sight)
      })
      look.now()
      return () => {
        look.stop()
        stop()
      }
    })
  }

  onEmitted(address: Address, listener: (event: XEvent) => void): () => void {
    return this.options.subscriptions.onEmitted(address, listener)
  }

  onReply(address: Address, id: MessageId, isNew: boolean, listener: (text: string) => void): () => void {
    let moves = -1
    return this.follow(address, (shard) => {
      moves++
      if (!shard) return this.store.onReply(address, id, listener)
      const stop = this.options.subscriptions.onReply(id, listener)
      const look = this.store.again(async (isOver) => {
        const text = await this.store.reply(address, id)
        if (text !== undefined && !isOver()) listener(text)
      })
      if (!isNew || moves > 0) look.now()
      return () => {
        look.stop()
        stop()
      }
    })
  }

  private follow(address: Address, attach: Follower['attach']): () => void {
    const number = shardOf(address, this.options.shards)
    const follower: Follower = { attach, detach: attach(this.options.owned(number)) }
    const others = this.followers.get(number)
    if (others) others.add(follower)
    else this.followers.set(number, new Set([follower]))
    return () => {
      follower.detach()
      const all = this.followers.get(number)
      all?.delete(follower)
      if (all?.size === 0) this.followers.delete(number)
    }
  }

  private shardFor(address: Address): Shard | undefined {
    return this.options.owned(shardOf(address, this.options.shards))
  }
}

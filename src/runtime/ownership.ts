/**
 * This node's part of the shards: it shows that it lives, sees who else does, claims what falls to it and hands over what
 * falls to others. placement.ts says what falls to whom, members.ts who lives.
 *
 * O1  A shard is claimed from another node only if that node released it, or is dead by M1. Should two nodes see it
 *     otherwise, the epoch in every commit decides (I2): at worst a shard moves once more than it must.
 * O2  Between two looks at the nodes nothing has to happen for actors to go on: their owner works until it has handed over.
 * O3  A store that went back in time (a failover to a replica that lacked something, an older backup, a flush) halts the
 *     namespace: who notices it stops its effects and lets go of its shards, the others do with their next look, and nobody
 *     runs any until somebody has accepted what is there (I11). A node notices it by its own counter, which every look moves
 *     on, and by the numbers of commits that it knows of.
 * O4  While the store cannot be trusted (lookout.ts), this node runs nothing, and takes its shards up again after that. Others
 *     see for themselves, and take nothing over: it still shows that it lives.
 */
import type { RuntimeContext } from './context.js'
import { Members } from './members.js'
import { placementOf } from './placement.js'
import type { Holder, Lease, NodeIdentity, NodePresence, Presence } from './ports/store.js'
import { Shard } from './shard.js'
import type { Testifier } from './testifier.js'

/** A lease has so many signs of life, so that a dead node's shards are at work again soon after it. */
const beatsPerLease = 20
/** A shard's counter is moved so many times a lease, and its clock compared with the store's. */
const renewalsPerLease = 3
/** A shard that somebody else holds is asked for at most this often, however often its owner writes. */
const claimMsMin = 10

/** halt: nobody runs an actor until somebody accepts what is there. go-on: it is logged as an error, and that is all. */
export type RollbackPolicy = 'halt' | 'go-on'

export interface OwnershipEvents {
  /** Before it handles anything. */
  gained(shard: Shard): void
  lost(number: number): void
}

export class Ownership {
  /** What this node owns, or is about to. */
  readonly shards = new Map<number, Shard>()
  private readonly context: RuntimeContext
  private readonly node: NodeIdentity
  private readonly onRollback: RollbackPolicy
  private readonly events: OwnershipEvents
  private readonly testifier: Testifier | undefined
  private readonly members: Members
  private placement: readonly string[] = []
  private placedFor = ''
  private haltedFor: string | undefined
  private isTrusted = true
  /** How often the store had been accepted when last heard of. */
  private accepted = 0
  /** The own counter as last seen, and numbers of commits that are known to have stood, by shard. */
  private lastBeat = 0
  private lastBeats = 0
  private readonly known = new Map<number, number>()
  private presence: NodePresence = 'here'
  private isOver = false
  private readonly claims = new Map<number, Promise<void>>()
  private readonly handOvers = new Map<number, Promise<void>>()
  /** Shards that the store may take for this node's though it does not run them: an answer was lost, or is awaited. */
  private readonly loose = new Set<number>()
  /** Owners of shards that fall to this node, as last seen. */
  private readonly holders = new Map<number, Holder>()
  private readonly watches = new Map<number, () => void>()
  private readonly waits = new Map<number, () => void>()
  /** To be asked for once more, because their owners have written or released since. */
  private readonly again = new Set<number>()
  private looking: Promise<void> | undefined
  private looksAgain = false
  private renewedAt: number
  private cancelBeat = (): void => {}
  private unwatchNodes = (): void => {}
  private onLooked: (() => void)[] = []

  constructor(context: RuntimeContext, node: NodeIdentity, onRollback: RollbackPolicy, events: OwnershipEvents, testifier?: Testifier) {
    this.testifier = testifier
    this.onRollback = onRollback
    this.context = context
    this.node = node
    this.events = events
    this.members = new Members(node.id, context.options.leaseMs)
    this.renewedAt = context.clock.now()
  }

  // ── Life ──

  /** Resolves when every shard that falls to this node is its, or its owner has shown that it lives. */
  async start(): Promise<void> {
    try {
      await this.recall()
      this.unwatchNodes = this.context.store.watch('nodes', () => this.lookSoon())
      await this.look()
      this.beat()
      await Promise.all(this.claims.values())
    } catch (error) {
      await this.leave()
      throw error
    }
    while (!this.isOver && !this.isSettled) await new Promise<void>((resolve) => this.onLooked.push(resolve))
  }

  /** Before anything is claimed: what the witness knows to have stood. */
  private async recall(): Promise<void> {
    if (!this.testifier) return
    const presence = await this.context.store.presence()
    this.hear(presence)
    const { commits, wentBack } = await this.testifier.recall(presence.accepted)
    for (const [number, commit] of commits) this.knows(number, commit)
    if (wentBack !== undefined) this.wentBack(wentBack)
  }

  private get isSettled(): boolean {
    if (this.claims.size > 0) return false
    return this.placement.every((node, number) => {
      const holder = this.holders.get(number)
      return node !== this.node.id || this.shards.has(number) || (holder !== undefined && this.members.isShown(holder))
    })
  }

  /** Hands over all shards, to whoever is there. */
  async stop(): Promise<void> {
    this.presence = 'leaving'
    await this.look().catch((error: unknown) => this.warn(error, 'the other nodes could not be told that this one leaves'))
    await this.letGo()
    // What could not be let go of is tried again with each look.
    while (!this.isOver && this.shards.size + this.claims.size + this.loose.size > 0) {
      await new Promise<void>((resolve) => this.onLooked.push(resolve))
      await this.letGo()
    }
    await this.depart()
  }

  /** After a start that failed: what can be let go of is, and nothing is waited for. */
  private async leave(): Promise<void> {
    this.presence = 'leaving'
    await this.letGo()
    await this.depart()
  }

  private async letGo(): Promise<void> {
    await Promise.allSettled(this.claims.values())
    await Promise.all([...this.shards.values()].map((shard) => this.handOver(shard)))
  }

  private async depart(): Promise<void> {
    this.end()
    await this.testifier?.stop()
    await this.context.store.beat(this.node, 'gone', []).catch(() => {})
  }

  /** At once, and without a word to anybody. */
  abandon(): void {
    this.end()
    this.testifier?.abandon()
    for (const shard of this.shards.values()) shard.abandon()
  }

  /** Without the store, which does not answer. */
  giveUp(why: Error): void {
    this.end()
    void this.testifier?.stop()
    for (const shard of this.shards.values()) shard.giveUp(why)
  }

  private end(): void {
    this.isOver = true
    this.cancelBeat()
    this.unwatchNodes()
    for (const number of [...this.watches.keys()]) this.unwatch(number)
    this.looked()
  }

  // ── Looking ──

  private beat(): void {
    const { clock, options } = this.context
    if (this.isOver) return
    this.cancelBeat = clock.after(Math.ceil(options.leaseMs / beatsPerLease), () => {
      if (clock.now() - this.renewedAt >= options.leaseMs / renewalsPerLease) this.renew()
      this.look()
        .catch((error: unknown) => this.warn(error, 'the nodes could not be asked for; trying again'))
        .finally(() => this.beat())
    })
  }

  private renew(): void {
    this.renewedAt = this.context.clock.now()
    for (const shard of this.shards.values()) shard.renew().catch((error: unknown) => this.warn(error, 'a lease could not be renewed', shard.number))
  }

  private lookSoon(): void {
    if (!this.isOver) this.look().catch((error: unknown) => this.warn(error, 'the nodes could not be asked for; trying again'))
  }

  /** One look at a time; who asks meanwhile gets another one after it. */
  private look(): Promise<void> {
    if (this.looking) {
      this.looksAgain = true
      return this.looking
    }
    // Not before it is known to be under way: what it does may be told of at once.
    this.looking = Promise.resolve()
      .then(() => this.lookOn())
      .finally(() => {
        this.looking = undefined
        if (this.looksAgain) this.lookSoon()
      })
    return this.looking
  }

  private async lookOn(): Promise<void> {
    do {
      this.looksAgain = false
      const asked = this.context.clock.now()
      const presence = await this.context.store.beat(this.node, this.presence, this.members.silent())
      if (this.isOver) return
      this.members.saw(presence.nodes, asked)
      this.hear(presence)
      this.checkBeat(presence.nodes.find(({ id }) => id === this.node.id)?.beat ?? 0, presence.beats)
      this.arrange()
    } while (this.looksAgain)
    this.looked()
  }

  /** Why no shard is run. */
  get halted(): string | undefined {
    return this.haltedFor
  }

  /** Accepted is only what the store says was accepted once more: that it says nothing may mean that it does not know. */
  private hear({ halted, accepted }: Presence): void {
    if (halted !== undefined) {
      if (this.haltedFor === undefined) this.halt(halted)
      this.haltedFor = halted
    } else if (this.haltedFor !== undefined && accepted > this.accepted) this.goOn()
    else if (this.haltedFor !== undefined) {
      this.tell(this.haltedFor)
      return
    }
    this.accepted = accepted
    this.testifier?.hear(accepted, halted !== undefined)
  }

  /** O4. */
  trust(isTrusted: boolean): void {
    if (this.isOver || this.isTrusted === isTrusted) return
    this.isTrusted = isTrusted
    this.hold()
    // Also those that it has again meanwhile: their effects were stopped.
    for (const shard of this.shards.values()) void this.handOver(shard)
    this.arrange()
  }

  private hold(): void {
    this.context.effects.hold(!this.mayRun)
  }

  private get mayRun(): boolean {
    return this.isTrusted && this.haltedFor === undefined
  }

  private halt(why: string): void {
    this.haltedFor = why
    this.hold()
    this.context.logger.error({ node: this.node.id }, `the namespace is halted: ${why}`)
  }

  private goOn(): void {
    this.haltedFor = undefined
    this.hold()
    this.context.logger.warn({ node: this.node.id }, 'what the store holds was accepted; this node goes on')
    this.readAgain()
  }

  /** Of what the store holds this node knows nothing any more: it may even own what it does not know of. */
  private readAgain(): void {
    this.known.clear()
    for (let number = 0; number < this.context.shards; number++) {
      const shard = this.shards.get(number)
      if (shard) void this.handOver(shard)
      else this.loose.add(number)
    }
  }

  /** If it fails, the next look finds out. */
  private tell(why: string): void {
    this.context.store.halt(why, this.accepted).catch((error: unknown) => this.warn(error, 'the others could not be told that the store went back in time; trying again'))
  }

  /** The own counter moves on by every look. A node that was silent for long was forgotten, and begins anew; the signs of life of all go on. */
  private checkBeat(beat: number, beats: number): void {
    if (beat === 0) return
    const wasForgotten = beat === 1 && beats > this.lastBeats
    if (beat <= this.lastBeat && !wasForgotten) this.wentBack(`sign of life ${this.lastBeat} of node ${this.node.id} was acknowledged, now its last one is ${beat - 1}`)
    this.lastBeat = beat
    this.lastBeats = beats
  }

  /** Of a commit that is known to stand. */
  private knows(number: number, commit: number): void {
    if (commit <= (this.known.get(number) ?? 0)) return
    this.known.set(number, commit)
    this.testifier?.commit(number, commit)
  }

  private wentBack(how: string): void {
    if (this.haltedFor !== undefined || this.isOver) return
    if (this.onRollback === 'go-on') {
      this.context.logger.error({ node: this.node.id }, `the store went back in time: ${how}. What was acknowledged since is lost, and effects of it may have happened`)
      this.readAgain()
      this.forgetWhatWas()
      return
    }
    const why = `the store went back in time: ${how}. What was acknowledged since is lost, and effects of it may have happened. Look at what is there, and accept it: system.accept(), or holdfast doctor --accept.`
    this.halt(why)
    this.arrange()
    this.tell(why)
  }

  /** For the witness, who would say so again and again: what is there counts as accepted. */
  private forgetWhatWas(): void {
    if (!this.testifier) return
    this.testifier.hear(this.accepted, true)
    this.context.store.accept().catch((error: unknown) => this.warn(error, 'it could not be noted that what the store holds is gone on from'))
  }

  private looked(): void {
    for (const looked of this.onLooked.splice(0)) looked()
  }

  // ── Claiming and handing over ──

  private arrange(): void {
    this.place(this.mayRun ? this.members.sharing(this.presence !== 'here') : [])
    for (let number = 0; number < this.context.shards; number++) {
      const shard = this.shards.get(number)
      if (!this.isMine(number)) {
        this.unwatch(number)
        if (shard) void this.handOver(shard)
      } else if (!shard) this.claimSoon(number)
      if (!shard && this.loose.has(number)) this.claimSoon(number)
    }
  }

  /** Anew only if the nodes are others. */
  private place(nodes: readonly string[]): void {
    const names = nodes.join(' ')
    if (names === this.placedFor) return
    this.placedFor = names
    this.placement = placementOf(nodes, this.context.shards)
  }

  private isMine(number: number): boolean {
    return this.presence === 'here' && this.mayRun && this.placement[number] === this.node.id
  }

  private claimSoon(number: number): void {
    if (this.isOver || this.shards.has(number)) return
    if (this.claims.has(number) || this.waits.has(number)) {
      // It may have been released since it was asked for.
      this.again.add(number)
      return
    }
    const claim = this.claim(number).finally(() => {
      this.claims.delete(number)
      this.claimAgain(number)
      if (!this.isOver && this.claims.size === 0) this.looked()
    })
    this.claims.set(number, claim)
    claim.catch((error: unknown) => this.warn(error, 'a shard could not be claimed; trying again', number))
  }

  private claimAgain(number: number): void {
    if (this.waits.has(number) || !this.again.delete(number)) return
    if (this.isMine(number) || this.loose.has(number)) this.claimSoon(number)
  }

  private async claim(number: number): Promise<void> {
    const { store, clock, logger } = this.context
    this.loose.add(number)
    let claim = await store.claim(number, this.node, undefined, this.accepted)
    if ('heldBy' in claim && this.isMine(number) && this.members.isDead(number, claim.heldBy, clock.now())) claim = await store.claim(number, this.node, claim.heldBy, this.accepted)
    if ('heldBy' in claim) {
      this.loose.delete(number)
      this.heldBy(number, claim.heldBy)
      return
    }
    this.unwatch(number)
    const { lease, state } = claim
    this.checkNumber(number, state.stood ?? state.number)
    this.knows(number, state.number)
    const storeTime = await store.now()
    if (this.isOver || !this.isMine(number)) {
      await this.release(lease)
      return
    }
    const shard: Shard = new Shard(this.context, this.node, lease, state, storeTime, { lost: (why) => this.lost(shard, why), committed: (commit) => this.knows(number, commit), standsAt: (commit) => this.checkNumber(number, commit), wentBack: (how) => this.wentBack(how), accepted: () => this.accepted })
    this.shards.set(number, shard)
    this.loose.delete(number)
    this.events.gained(shard)
    try {
      await shard.start(state)
    } catch (error) {
      shard.giveUp(error as Error)
      this.drop(shard)
      await this.release(lease)
      throw error
    }
    logger.info({ shard: number, node: this.node.id, epoch: lease.epoch }, 'this node runs the shard')
    if (!this.isOver && !this.isMine(number)) void this.handOver(shard)
  }

  private checkNumber(number: number, commit: number): void {
    const known = this.known.get(number) ?? 0
    if (commit < known) this.wentBack(`commit ${known} of shard ${number} was acknowledged, now its last one is ${commit}`)
    this.knows(number, commit)
  }

  private async release(lease: Lease): Promise<void> {
    this.loose.add(lease.shard)
    await this.context.store.release(lease)
    this.loose.delete(lease.shard)
  }

  /** It is asked for again when its owner lets go of it, and with every look. */
  private heldBy(number: number, holder: Holder): void {
    if (this.isOver || !this.isMine(number)) return
    this.holders.set(number, holder)
    if (!this.watches.has(number)) this.watches.set(number, this.context.store.watch(number, () => this.claimSoon(number)))
    // Its owner writes, and each write is told.
    this.waits.set(
      number,
      this.context.clock.after(claimMsMin, () => {
        this.waits.delete(number)
        this.claimAgain(number)
      }),
    )
  }

  private unwatch(number: number): void {
    this.holders.delete(number)
    this.again.delete(number)
    this.waits.get(number)?.()
    this.waits.delete(number)
    this.watches.get(number)?.()
    this.watches.delete(number)
  }

  private handOver(shard: Shard): Promise<void> {
    const under = this.handOvers.get(shard.number)
    if (under) return under
    const handOver = this.handOverNow(shard)
      .catch((error: unknown) => this.warn(error, 'a shard could not be let go of; trying again', shard.number))
      .finally(() => {
        this.handOvers.delete(shard.number)
        // It may have fallen to this node again.
        if (this.isMine(shard.number)) this.claimSoon(shard.number)
      })
    this.handOvers.set(shard.number, handOver)
    return handOver
  }

  private async handOverNow(shard: Shard): Promise<void> {
    const lease = await shard.stop()
    if (lease) await this.compare(lease).then(() => this.release(lease)).finally(() => this.drop(shard))
    else {
      this.loose.add(shard.number)
      this.drop(shard)
    }
    if (lease) this.context.logger.info({ shard: shard.number, node: this.node.id }, 'this node has handed over the shard')
  }

  /** O3: whoever has the shard next does not know of the commits that this node has heard of. */
  private async compare(lease: Lease): Promise<void> {
    const number = await this.context.store.renew(lease).catch((error: unknown) => this.warn(error, 'a shard that is handed over could not be looked at', lease.shard))
    if (number !== undefined) this.checkNumber(lease.shard, number)
  }

  private lost(shard: Shard, why: string): void {
    this.context.logger.error({ shard: shard.number, node: this.node.id }, `a shard was lost: ${why}`)
    // Unless it was lost over a claim of this node's own.
    this.loose.add(shard.number)
    this.drop(shard)
  }

  private drop(shard: Shard): boolean {
    if (this.shards.get(shard.number) !== shard) return false
    this.shards.delete(shard.number)
    this.events.lost(shard.number)
    return true
  }

  private warn(error: unknown, what: string, shard?: number): void {
    if (!this.isOver) this.context.logger.warn({ node: this.node.id, ...(shard === undefined ? {} : { shard }), error: (error as Error).message }, what)
  }
}


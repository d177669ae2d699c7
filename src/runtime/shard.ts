/**
 * One shard of the work, as its owner runs it: reads the log, makes turns of messages and commits of turns, and carries
 * out what they asked for once they are acknowledged. Start reading the runtime here.
 *
 * Owns the queue of what is to be handled, the near timers, and the commits in flight. Leaves to others: what an input
 * does (dispatch.ts), records in memory (residents.ts), what happens after a commit (acts.ts, effects.ts), what a new
 * owner takes up (recovery.ts), how commits reach the store (lanes.ts).
 *
 * S1  Inputs are handled one at a time, in the order of the log; a timer that is due goes before an entry appended at
 *     or after its due time.
 * S2  At most `lanesMax` commits are in flight, each built on the one before; if one fails, all later ones are dropped
 *     and the shard reads again from what is stored.
 * S3  What a turn asked for happens after its commit was acknowledged, in the order of turns (I4).
 * S4  A message that this process made itself skips the log only if nothing unread stands in the log before it, and what
 *     is sent after it is appended only when its commit stands; so messages between any two actors keep their order, also
 *     if that commit fails. What an action sends is appended after its commit, and may be overtaken by a later turn's if
 *     that append has to be repeated.
 * S5  Every input that is taken is handled, parked, dead-lettered or, if stale, counted (I5).
 */
import { StoppedError, StoreError } from '../errors.js'
import { Acts } from './acts.js'
import type { Appender } from './appender.js'
import { Batch, type Own } from './batch.js'
import type { RuntimeContext } from './context.js'
import { Dispatcher } from './dispatch.js'
import { Message, type Outgoing, type Parked } from './envelope.js'
import type { Sight } from './gateway.js'
import { shardOf, type Address } from './identity.js'
import { indexShard, noteIndexed } from './indexing.js'
import { InputQueue, type Input } from './input-queue.js'
import { Lanes, type Acknowledged, type Verdict } from './lanes.js'
import { NamespaceClock } from './namespace-clock.js'
import { NearTimer, NearTimers } from './near-timers.js'
import { OutboxRelay } from './outbox-relay.js'
import type { Appended, Lease, NodeIdentity, ShardState } from './ports/store.js'
import { recover } from './recovery.js'
import { Residents, type Resident } from './residents.js'
import { Suspects } from './suspects.js'

/** Timers kept in memory, those that fire first; up to twice as many between two sweeps. */
const timersMax = 10_000
/** Entries read ahead of the turns. */
const readAheadMax = 1_024
/** Parked messages put back in line at once. */
const drainMax = 128
/** Turns of one commit may be so many times those that begin it: what they ask each other is best answered before it is written. */
const chainFactor = 4
/** For reads that do not wait. */
const atOnce = AbortSignal.abort()

export interface ShardEvents {
  /** Another node owns it, or nobody. */
  lost(why: string): void
  /** A commit was acknowledged. */
  committed(number: number): void
  /** What the store says is the number of its last commit. */
  standsAt(number: number): void
  /** Something that is known to stand is not there. */
  wentBack(how: string): void
  /** How often the namespace was accepted, as last heard. */
  accepted(): number
}

export class Shard {
  readonly number: number
  readonly residents: Residents
  readonly dispatcher: Dispatcher
  readonly acts: Acts
  readonly clock: NamespaceClock
  readonly suspects: Suspects
  readonly relay: OutboxRelay
  private readonly context: RuntimeContext
  private readonly node: NodeIdentity
  private readonly timers = new NearTimers()
  private readonly appender: Appender
  private readonly events: ShardEvents
  private lease: Lease
  /** The answer to a claim was lost: the store may know of a later lease. */
  private isLeaseUnsure = false
  private lanes: Lanes
  private readonly queue = new InputQueue()
  /** The last entry of the log that this process knows of. */
  private knownTail: number
  private readPosition: number
  private confirmed: string[] = []
  private cancelTimer: (() => void) | undefined
  private cancelFlush: (() => void) | undefined
  private cancelClearing: (() => void) | undefined
  private reading = new AbortController()
  private resumeReading: (() => void) | undefined
  /** As much as may be is read ahead; until half of it has been handled. */
  private isAhead = false
  /** Told when nothing skips the log any more. */
  private ownWaiters: (() => void)[] = []
  /** Counts how often it began: what belongs to an earlier round goes no further. */
  private round = 0
  /** The resets so far, one after the other. */
  private resets: Promise<void> = Promise.resolve()
  private state: 'starting' | 'running' | 'resetting' | 'stopping' | 'stopped' = 'starting'
  private scheduled = false
  private pumping = false

  constructor(context: RuntimeContext, node: NodeIdentity, lease: Lease, state: ShardState, storeTime: number, events: ShardEvents) {
    this.context = context
    this.node = node
    this.number = lease.shard
    this.lease = lease
    this.events = events
    this.residents = new Residents(context, this.number)
    this.clock = new NamespaceClock(context.clock, context.logger, state.clock, storeTime)
    this.acts = new Acts(context, {
      confirm: (id) => this.confirm(id),
      fault: (record, cell, error, id) => this.context.tellFault(record.address, cell.number, error, id),
    })
    this.dispatcher = new Dispatcher(context, this.number, this.timers, this.acts, {
      redrive: (address) => {
        this.redrive(address).catch((error: unknown) => context.logger.error({ shard: this.number, actor: address, error: (error as Error).message }, 'an actor could not be taken up again'))
      },
      drain: (address) => this.drain(address),
      isCancelled: (ask) => this.queue.isCancelled(ask),
    })
    this.relay = new OutboxRelay(context, this.number, () => this.flushSoon(), () => this.wake())
    this.suspects = new Suspects(context.options.suspectMax)
    this.appender = context.appenders.of(this.number)
    this.appender.onAppended = (seq) => this.knows(seq)
    this.appender.before = () => (this.hasOwn ? new Promise((resolve) => this.ownWaiters.push(resolve)) : undefined)
    this.lanes = this.newLanes(state)
    this.knownTail = state.tail
    this.readPosition = state.position
  }

  private newLanes(state: ShardState): Lanes {
    return new Lanes(this.context, this.lease, state, (verdict) => this.failed(verdict), (tail) => this.knows(tail))
  }

  // ── Life ──

  /** Takes up what the last owner left, then begins to work; unless it is stopped or begins again meanwhile. */
  async start(state: ShardState): Promise<void> {
    const { round } = this
    this.suspects.begin(state, this.context.options)
    await this.loadTimers()
    this.suspects.waiting(this.timers.dueTimes(), this.clock.now(), this.context.options)
    const recovery = await this.context.store.recover(this.number)
    if (this.isPast(round)) return
    await recover(this, this.context, recovery, () => this.isPast(round))
    if (this.isPast(round)) return
    this.state = 'running'
    for (const address of recovery.parked) {
      await this.unpark(address as Address, true)
      if (this.isPast(round)) return
    }
    void this.readLog()
    this.wake()
    // Of a shard without a commit the first one says that all are found.
    if (state.number > 0) void indexShard(this, this.context, () => this.isPast(round) || this.state !== 'running')
  }

  private isPast(round: number): boolean {
    return round !== this.round || this.state === 'stopping' || this.state === 'stopped'
  }

  /**
   * Finishes what is under way and stops effects; their outcomes are for the next owner. What this process sends from now
   * on is appended for it.
   *
   * @returns the lease to let go of; undefined if it is lost, or not known for sure
   */
  async stop(): Promise<Lease | undefined> {
    if (this.state === 'stopped') return undefined
    this.state = 'stopping'
    this.endReading()
    this.appendAll(this.queue.clear())
    // What a commit asked for may append.
    do {
      // A reset under way may yet bring another lease.
      await Promise.all([this.lanes.idle(), this.appender.soFar(), this.resets])
      await new Promise<void>((resolve) => this.context.clock.soon(resolve))
    } while (this.isStopping && !this.lanes.isIdle)
    this.stopEffects()
    // What they said before is kept: else the next owner would run them again.
    await this.appender.soFar()
    if (this.isStopping && this.lanes.alive && (this.confirmed.length > 0 || this.relay.hasDelivered)) await this.submit(this.newBatch())
    if (!this.isStopping) return undefined
    this.abandon()
    return this.isLeaseUnsure ? undefined : this.lease
  }

  private get isStopping(): boolean {
    return this.state === 'stopping'
  }

  private stopEffects(): void {
    this.context.effects.stopWhere((address) => shardOf(address, this.context.shards) === this.number)
  }

  /** Gives up at once, without a word to the store: another node owns the shard, or this one is to look dead. */
  abandon(): void {
    this.state = 'stopped'
    this.endReading()
    this.lanes.close()
    this.cancelTimer?.()
    this.cancelFlush?.()
    this.cancelClearing?.()
    this.relay.stop()
    this.appender.onAppended = () => {}
    this.appender.before = () => undefined
    this.appendAll(this.queue.clear())
  }

  /** Without the store, which does not answer. */
  giveUp(why: Error): void {
    this.abandon()
    this.stopEffects()
    for (const { reject } of this.lanes.own()) reject(why)
  }

  private get hasOwn(): boolean {
    return this.queue.hasOwn || this.lanes.hasOwn
  }

  private tellOwnWaiters(): void {
    if (!this.hasOwn) for (const resolve of this.ownWaiters.splice(0)) resolve()
  }

  /** What was to skip the log goes through it after all, all of it at once: before whatever was sent later. */
  private appendAll(own: readonly Own[]): void {
    this.appender.appendFirst(own.map(({ entry }) => entry)).forEach((appended, i) => void appended.then(own[i]!.resolve, own[i]!.reject))
    this.tellOwnWaiters()
  }

  private endReading(): void {
    this.reading.abort()
    this.resumeReading?.()
  }

  /** Keeps the lease, and looks at the store's time while nothing else does. */
  async renew(): Promise<void> {
    if (this.state === 'stopped') return
    const { store } = this.context
    const { lease } = this
    const { acknowledged } = this.lanes
    const number = await store.renew(lease)
    // It has begun again meanwhile, or is about to: that will tell.
    if (lease !== this.lease || this.state === 'resetting') return
    if (number === undefined) {
      // What is on its way is told apart by what the store says of it.
      while (this.lanes.alive && !this.lanes.isIdle) await this.lanes.idle()
      this.lost('its lease was taken over')
    } else if (number < acknowledged) {
      this.events.standsAt(number)
    } else {
      this.clock.sync(await store.now())
      // What is due by it is due now.
      this.wake()
    }
  }

  private lost(why: string): void {
    if (this.state === 'stopped') return
    this.abandon()
    this.stopEffects()
    this.events.lost(why)
  }

  // ── Sending ──

  /** Accepts a message: with the commit of the turn it causes if nothing stands before it (S4), else through the log. */
  send(entry: Outgoing, mayRepeat: boolean): Promise<Appended> {
    const { to } = entry
    // An id that may come twice is checked where it is remembered: in the store, before the turn.
    if (mayRepeat || this.state !== 'running' || !this.nothingUnread) return this.appender.append(entry)
    if ((this.queue.ownOf(to) >= this.context.backlogMax || this.queue.length >= this.context.logMax) && !entry.always) return Promise.resolve('full')
    return new Promise((resolve, reject) => {
      this.queue.push({
        address: to,
        at: this.clock.now(),
        message: Message.sent(entry, this.context.revive),
        own: { entry, resolve, reject },
      })
      this.wake()
    })
  }

  private get nothingUnread(): boolean {
    return this.appender.isIdle && !this.lanes.appending && this.lanes.position >= this.knownTail && (this.queue.last === undefined || this.queue.last.own !== undefined)
  }

  /** Whether the batch has handled all that was in line: what it makes itself for this shard may then be handled with it (S4). */
  private nothingUnreadBehind(batch: Batch): boolean {
    return this.queue.length === 0 && this.appender.isIdle && !this.lanes.appending && batch.position >= this.knownTail
  }

  private knows(seq: number): void {
    if (seq > this.knownTail) this.knownTail = seq
  }

  // ── Reading ──

  private async readLog(): Promise<void> {
    const { signal } = this.reading
    while (!signal.aborted) {
      if (!this.mayRead) {
        await new Promise<void>((resolve) => (this.resumeReading = resolve))
        continue
      }
      try {
        const entries = await this.context.store.read(this.number, this.readPosition, readAheadMax, signal)
        if (signal.aborted) return
        for (const { seq, at, text } of entries) {
          // It has come by takeAppended meanwhile.
          if (seq <= this.readPosition) continue
          this.takeEntry(at, Message.read(text, this.context.revive, seq))
          this.knows(seq)
        }
        if (entries.length > 0) this.wake()
      } catch (error) {
        if (signal.aborted) return
        this.context.logger.error({ shard: this.number, error: (error as Error).message }, 'the log cannot be read; trying again')
        await new Promise<void>((resolve) => this.context.clock.after(100, resolve))
      }
    }
  }

  /** As long as there is something to do, the answers of commits tell what else has come; else the read that waits tells at once. */
  private get mayRead(): boolean {
    return !this.isAhead && (this.readPosition < this.knownTail || (this.queue.length === 0 && !this.lanes.appending))
  }

  /** What a commit has appended need not be read, if nothing else stands before it. */
  private takeAppended({ parts }: Batch, { at, tail, appended }: Acknowledged): void {
    if (!appended || this.state !== 'running' || this.isAhead) return
    let seq = tail
    for (const { entries } of parts.values()) seq -= entries.length
    if (this.readPosition !== seq) return
    for (const { entries } of parts.values()) for (const entry of entries) this.takeEntry(at, Message.sent(entry, this.context.revive, ++seq))
  }

  private takeEntry(at: number, message: Message): void {
    this.queue.push({ address: message.envelope.to, at, message })
    this.readPosition = message.seq!
    if (this.queue.length >= readAheadMax) this.isAhead = true
  }

  /** The timers that fire next; what is due later than the last of them stays in the store. */
  private async loadTimers(): Promise<void> {
    const due = await this.context.store.timers(this.number, Number.MAX_SAFE_INTEGER, timersMax)
    this.timers.horizon = due.length === timersMax ? due.at(-1)!.dueAt : Infinity
    for (const timer of due) this.timers.add(NearTimer.of(timer))
  }

  /** Puts an actor's parked messages back in line, if it can take them now; later ones wait behind them. */
  async unpark(address: Address, atStart = false): Promise<void> {
    await this.residents.load([address])
    const resident = this.residents.get(address)
    if (!resident || !this.mayDrain(resident)) return
    resident.draining = 'reading'
    const texts = await this.context.store.parked(this.number, address, drainMax)
    // Whoever has begun anew meanwhile has read them, too.
    if (this.residents.get(address) !== resident) return
    resident.draining = texts.length > 0 && 'inLine'
    // Those that it counts are on their way.
    if (!resident.draining && !this.lanes.isIdle) void this.lanes.idle().then(() => this.drain(address))
    for (const text of texts) {
      const parked = JSON.parse(text) as Parked
      // A quarantine without a message leaves only its reason.
      const message = parked.text === '' ? Message.bare({ id: 'quarantine', kind: 'stop', to: address }) : Message.read(parked.text, this.context.revive)
      if (atStart) this.suspects.unparked(message.envelope.id)
      this.queue.push({ address, at: this.clock.now(), parked: true, message })
    }
    this.wake()
  }

  // ── The loop ──

  wake(): void {
    if (this.scheduled || this.state !== 'running') return
    this.scheduled = true
    this.context.clock.soon(() => {
      this.scheduled = false
      void this.pump()
    })
  }

  private async pump(): Promise<void> {
    if (this.pumping) return
    this.pumping = true
    try {
      while (this.state === 'running' && this.lanes.free && !this.relay.isFull) {
        const missing = this.missing()
        if (missing.length > 0) {
          await this.residents.load(missing)
          continue
        }
        const inLine = this.queue.length
        const batch = this.build()
        // What it took may have come to nothing, as what stays parked does: then it goes on with what is behind.
        if (!batch && this.queue.length === inLine) break
        if (batch) void this.submit(batch)
      }
    } catch (error) {
      // The store failed to load records; the inputs are still in line.
      this.context.logger.error({ shard: this.number, error: (error as Error).message }, 'records cannot be read; trying again')
      this.context.clock.after(100, () => this.wake())
    } finally {
      this.pumping = false
      this.readOn()
      this.arm()
    }
  }

  /** Records that the next batch needs and that are not in memory. */
  private missing(): Address[] {
    const { batchTurnsMax } = this.context.options
    const missing = new Set<Address>()
    for (const address of this.queue.addresses(batchTurnsMax)) if (!this.residents.get(address)) missing.add(address)
    for (const address of this.timers.dueBy(this.clock.now(), batchTurnsMax)) if (!this.residents.get(address)) missing.add(address)
    return [...missing]
  }

  newBatch(): Batch {
    const batch = new Batch(this.lanes.lastNumber + 1, this.lanes.position, this.clock.now())
    batch.confirmed.push(...this.confirmed)
    this.confirmed = []
    batch.delivered.push(...this.relay.takeDelivered())
    for (const id of this.suspects.takeCleared()) batch.suspects.set(id, undefined)
    this.cancelFlush?.()
    this.cancelFlush = undefined
    return batch
  }

  /** Handles inputs until the batch is full or there are none; undefined if there was nothing at all to do. */
  private build(): Batch | undefined {
    const { batchTurnsMax, batchCharsMax } = this.context.options
    const at = this.clock.now()
    const firstTimer = this.timers.peek()
    if (this.queue.length === 0 && !(firstTimer && firstTimer.dueAt <= at)) return undefined
    const batch = this.newBatch()
    const { dispatcher } = this
    dispatcher.produced = []
    let produced = 0
    let last: Input | undefined
    for (let inputs = 0; inputs < chainFactor * batchTurnsMax && batch.chars < batchCharsMax && !batch.isFull; inputs++) {
      const mayTake = inputs - produced < batchTurnsMax
      const due = this.timers.peek()
      const timer = mayTake ? due : undefined
      const input = mayTake ? this.queue.first : undefined
      if (timer && timer.dueAt <= at && (!input || input.at >= timer.dueAt)) {
        const resident = this.residents.get(timer.address)
        if (!resident) break
        const suspicion = timer.dueAt <= this.suspects.timersThrough ? this.suspects.judge(batch, `t${timer.member}`, inputs, this.lanes.isIdle) : 'clear'
        if (suspicion === 'wait') break
        if (suspicion === 'guilty') dispatcher.quarantine(batch, resident, `timer ${timer.member}`, this.context.options.suspectMax)
        // A blocked actor's timers stay in the store for whoever can run it.
        if (resident.blocked) this.timers.remove(timer.order)
        else if (!this.guarded(batch, resident, () => dispatcher.timer(batch, resident, timer))) return undefined
        this.afterInput(batch, resident)
        if (suspicion !== 'clear') break
      } else if (input) {
        const resident = this.residents.get(input.address)
        if (!resident || isForNextCommit(batch, resident, input.message.envelope.kind)) break
        const { seq, envelope } = input.message
        const isSuspicious = input.parked ? this.suspects.isUnparked(envelope.id) : seq !== undefined && seq <= this.suspects.entriesThrough
        const suspicion = isSuspicious ? this.suspects.judge(batch, input.parked ? `p${input.address}@${envelope.id}` : `m${seq}`, inputs, this.lanes.isIdle) : 'clear'
        if (suspicion === 'wait') break
        this.take()
        if (suspicion === 'guilty') dispatcher.quarantine(batch, resident, `${envelope.kind} ${envelope.id}`, this.context.options.suspectMax, input.message, input.parked === true)
        else if (!this.guarded(batch, resident, () => this.handle(batch, resident, input))) return undefined
        if (seq !== undefined) {
          batch.position = seq
          last = input
        }
        this.afterInput(batch, resident)
        if (suspicion !== 'clear') break
      } else if (produced < dispatcher.produced.length && this.nothingUnreadBehind(batch) && !(due && due.dueAt <= at)) {
        const { outgoing } = dispatcher.produced[produced]!
        const resident = this.residents.get(outgoing.to)
        if (!resident || isForNextCommit(batch, resident, outgoing.head.kind)) break
        produced++
        if (!this.guarded(batch, resident, () => dispatcher.message(batch, resident, Message.sent(outgoing, this.context.revive)))) return undefined
        this.afterInput(batch, resident)
      } else break
    }
    if (last) batch.read = { at: last.at, begins: last.message.beginning }
    batch.isAppending = produced < dispatcher.produced.length
    for (const { part, outgoing } of dispatcher.produced.splice(produced)) part.append(outgoing)
    dispatcher.produced = []
    return batch.isEmpty && batch.position === this.lanes.position ? undefined : batch
  }

  /**
   * Nothing that handles an input should throw: machines are caught where they run. If it does all the same, one actor
   * must not stop its shard (I9): the shard is read again, and the actor's next turn fails it; if even that throws, the
   * actor is set aside.
   */
  private guarded(batch: Batch, resident: Resident, handle: () => void): boolean {
    try {
      handle()
      return true
    } catch (error) {
      const { address } = resident
      const { message } = error as Error
      this.context.logger.error({ shard: this.number, actor: address, error: message }, 'handling an input threw where nothing should')
      if (this.dispatcher.refusals.has(address)) this.residents.broken.set(address, message)
      this.dispatcher.refusals.set(address, `The runtime stumbled over it: ${message}`)
      this.confirmed.push(...batch.confirmed)
      this.reset(batch.own)
      return false
    }
  }

  private handle(batch: Batch, resident: Resident, input: Input): void {
    if (input.own) {
      batch.own.push(input.own)
      // Nobody else has the id of an event. That of an effect stands for its outcome.
      const { id, always, rememberUntil } = input.own.entry
      if (always && rememberUntil !== undefined) batch.accepted.push({ id, until: rememberUntil })
    }
    if (!input.parked) {
      this.dispatcher.message(batch, resident, input.message)
      return
    }
    if (resident.expiring) {
      this.dispatcher.discardParked(batch, resident, input.message)
      return
    }
    // It failed again over an earlier one: the rest stay parked, in their order.
    if (resident.blocked || resident.record?.status === 'failed') return
    this.dispatcher.unpark(batch, resident)
    if (input.message.text !== '') this.dispatcher.message(batch, resident, input.message, true)
  }

  /** What an input may have left to do for its actor. */
  private afterInput(batch: Batch, resident: Resident): void {
    this.residents.touch(resident)
    if (resident.draining === 'inLine' && !this.queue.hasParked(resident.address)) resident.draining = false
    // The parked list must be read as it is after this batch: before, it still holds what this batch has taken off it.
    if (this.mayDrain(resident)) batch.after.push(() => this.drain(resident.address))
  }

  /** A failed actor's messages wait for its restart or its end; one that has ended otherwise has dead letters. */
  private mayDrain(resident: Resident): boolean {
    return !resident.draining && resident.leaving === 0 && resident.parked > 0 && !resident.blocked && (resident.expiring || resident.record?.status !== 'failed')
  }

  private drain(address: Address): void {
    const resident = this.residents.get(address)
    if (this.state !== 'running' || !resident || !this.mayDrain(resident)) return
    this.unpark(address).catch((error: unknown) => {
      this.context.logger.error({ shard: this.number, actor: address, error: (error as Error).message }, 'parked messages cannot be read; trying again')
      resident.draining = false
      this.context.clock.after(100, () => this.drain(address))
    })
  }

  private take(): void {
    this.queue.take()
    if (this.queue.length < readAheadMax / 2) this.isAhead = false
  }

  /** Goes on reading, if it may. */
  private readOn(): void {
    if (!this.resumeReading || !this.mayRead) return
    this.resumeReading()
    this.resumeReading = undefined
  }

  /** Sends a batch on its way; what it asked for happens when it is acknowledged. */
  async submit(batch: Batch): Promise<boolean> {
    if (batch.number === 1) noteIndexed(batch)
    const result = await this.lanes.submit(batch)
    this.tellOwnWaiters()
    if (result === undefined) return false
    this.takeAppended(batch, result)
    this.readOn()
    this.clock.committed(result.at)
    this.events.committed(batch.number)
    this.context.counters.commits++
    this.context.logger.trace({ shard: this.number, commit: batch.number, turns: batch.turns, records: batch.parts.size }, 'committed')
    for (const own of batch.own) own.resolve({ seq: 0 })
    for (const entry of batch.outbox) this.relay.push(entry)
    for (const part of batch.parts.values()) {
      for (const { stream } of part.logs) this.context.listeners.appended(this.number, stream, 1)
    }
    for (const run of batch.after) run()
    this.residents.evict()
    this.wake()
    return true
  }

  // ── Failure of a commit ──

  /** A commit was not accepted, and with it none of those built on it (S2). */
  private failed(verdict: Verdict): void {
    const own = verdict.batches.flatMap((batch) => batch.own)
    this.confirmed.push(...verdict.batches.flatMap((batch) => batch.confirmed))
    if (this.state === 'stopped') {
      for (const { reject } of own) reject(new StoppedError('The actor system'))
      return
    }
    if (verdict.why === 'fenced') {
      // If the first was refused at once none was written; else what is built on it may have been, too.
      const isUnsure = verdict.batches[0]!.isUnsure
      this.appendAll([...(isUnsure ? [] : own), ...this.queue.clear()])
      if (isUnsure) {
        for (const { entry, reject } of own) reject(new StoreError(`Whether a message to ${entry.to} was accepted is not known: the reply was lost, and another node has taken over. Send it under an id of yours, and a repeat does no harm.`, 'unknown'))
      }
      this.lost(verdict.detail)
      return
    }
    if (verdict.why === 'refused' && verdict.address !== undefined) this.dispatcher.refusals.set(verdict.address as Address, `The store refused what the turn wanted to write: ${verdict.detail}`)
    this.context.logger.error({ shard: this.number, why: verdict.why }, `a commit was not accepted: ${verdict.detail}; reading again from what is stored`)
    this.reset(own)
    if (verdict.why === 'unread') this.events.wentBack(`entry ${verdict.batches[0]!.position} of the log of shard ${this.number} was read, and is not there or another one now`)
  }

  /**
   * Forgets everything in memory and begins again from the store, under a new epoch. Commits that were dropped were not
   * written: none follows one that was not accepted. One reset at a time; one that is overtaken by another leaves it to that.
   */
  private reset(own: readonly Own[]): void {
    if (this.state === 'stopped') {
      for (const { reject } of own) reject(new StoppedError('The actor system'))
      return
    }
    const round = ++this.round
    this.endReading()
    // What never passed the log does so now, before what is sent from here on.
    this.appendAll([...own, ...this.queue.clear()])
    if (this.state === 'stopping') return
    this.state = 'resetting'
    this.timers.clear()
    this.residents.clear()
    this.dispatcher.beginAgain()
    this.resets = this.resets.then(() => this.beginAgain(round))
  }

  private async beginAgain(round: number): Promise<void> {
    // What is on its way and may be accepted comes before what is read.
    if (this.lanes.alive) await this.lanes.idle()
    while (!this.isPast(round)) {
      try {
        this.isLeaseUnsure = true
        const claim = await this.context.store.claim(this.number, this.node, undefined, this.events.accepted())
        this.isLeaseUnsure = false
        if (this.isPast(round)) {
          if ('heldBy' in claim) return
          this.lease = claim.lease
          if ((this.state as string) === 'stopped') await this.context.store.release(claim.lease).catch(() => {})
          return
        }
        if ('heldBy' in claim) {
          this.lost(`node ${claim.heldBy.node} owns it`)
          return
        }
        this.lease = claim.lease
        this.events.standsAt(claim.state.stood ?? claim.state.number)
        if (claim.state.tail < this.knownTail) this.events.wentBack(`entry ${this.knownTail} of the log of shard ${this.number} was acknowledged, now its last one is ${claim.state.tail}`)
        // What it is told may end it.
        if (this.isPast(round)) return
        this.lanes = this.newLanes(claim.state)
        this.knownTail = claim.state.tail
        this.readPosition = claim.state.position
        this.isAhead = false
        this.reading = new AbortController()
        this.state = 'starting'
        await this.start({ ...claim.state, clean: true })
        return
      } catch (error) {
        this.context.logger.error({ shard: this.number, error: (error as Error).message }, 'the shard cannot be read again; trying again')
        await new Promise<void>((resolve) => this.context.clock.after(100, resolve))
      }
    }
  }

  // ── Timers and other things that come by themselves ──

  private arm(): void {
    this.cancelTimer?.()
    if (this.state !== 'running' || !this.lanes.free || this.relay.isFull) return
    if (this.timers.size > 2 * timersMax) this.timers.keepEarliest(timersMax)
    const next = this.timers.peek()
    if (next) {
      this.cancelTimer = this.context.clock.after(Math.max(1, next.dueAt - this.clock.now()), () => void this.pump())
    } else if (this.timers.horizon !== Infinity) {
      // All that were near have fired: look further ahead.
      this.cancelTimer = this.context.clock.after(1, () => void this.loadTimers().then(() => this.pump(), () => this.arm()))
    }
  }

  confirm(actionId: string): void {
    this.confirmed.push(actionId)
    this.flushSoon()
  }

  /** Effects that have not killed the process by then are suspected no more. Ends with the shard: a process that has stopped has nothing to wait for. */
  clearEffectSuspectsAfter(delayMs: number): void {
    if (this.state === 'stopping' || this.state === 'stopped') return
    this.cancelClearing = this.context.clock.after(delayMs, () => {
      this.suspects.clearMatching((id) => id.startsWith('e'))
      this.flushSoon()
    })
  }

  /** Sees to it that confirmations do not wait for a commit that never comes. */
  flushSoon(): void {
    if (this.cancelFlush || this.state !== 'running') return
    this.cancelFlush = this.context.clock.after(this.context.options.confirmDelayMs, () => {
      this.cancelFlush = undefined
      void this.flush()
    })
  }

  /** Commits confirmations now, if there are any. */
  async flush(): Promise<void> {
    if (this.state !== 'running' || (this.confirmed.length === 0 && !this.relay.hasDelivered && !this.suspects.hasCleared)) return
    await this.lanes.idle()
    if (this.state === 'running' && this.lanes.free) await this.submit(this.newBatch())
  }

  /** Lets a quarantined actor try again. Resolves when its parked messages have been handled. */
  async redrive(address: Address): Promise<void> {
    await this.residents.load([address])
    const resident = this.residents.get(address)!
    if (resident.blocked?.reason !== 'quarantined') return
    resident.blocked = undefined
    const recovery = await this.context.store.recover(this.number)
    const isItsOwn = ([id]: readonly [string, unknown]): boolean => id.startsWith(`${address}@`)
    this.suspects.clearMatching((id) => id.includes(`${address}@`))
    const own = { ...recovery, suspects: [], outbox: [], actions: recovery.actions.filter(isItsOwn), effects: recovery.effects.filter(isItsOwn) }
    await recover(this, this.context, own, () => this.state !== 'running')
    await this.loadTimers()
    await this.unpark(address)
    // Until it stands: whoever asked may stop the process next.
    while (this.state === 'running' && (resident.draining || !this.lanes.isIdle)) {
      await this.lanes.idle()
      await new Promise<void>((resolve) => this.context.clock.soon(resolve))
    }
  }

  // ── For those who watch ──

  /** An actor as it stands after its last acknowledged commit; undefined if memory is ahead of the store, or has nothing. */
  look(address: Address): Sight | undefined {
    if (this.state !== 'running') return undefined
    const resident = this.residents.get(address)
    const record = resident?.pins === 0 ? resident.record : undefined
    return record && { status: record.status, turns: record.turns, snapshot: record.begun ? record.snapshot : undefined, failure: record.failure, input: record.meta.input }
  }

  /** Whether there is nothing to do now that this process knows of. */
  get isIdle(): boolean {
    const timer = this.timers.peek()
    return (
      this.state === 'stopped' ||
      (this.state === 'running' &&
        this.queue.length === 0 &&
        !this.pumping &&
        !this.scheduled &&
        this.lanes.isIdle &&
        this.appender.isIdle &&
        this.relay.isIdle &&
        this.lanes.position >= this.knownTail &&
        !(timer && timer.dueAt <= this.clock.now()))
    )
  }

  /** Resolves when no write is on its way, or nobody waits for it any more. */
  async written(): Promise<void> {
    await Promise.all([this.lanes.idle(), this.appender.soFar()])
  }

  /** Whether the log holds entries that have not been handled; asks the store. */
  async hasUnread(): Promise<boolean> {
    if (this.state === 'stopped') return false
    return (await this.context.store.read(this.number, Math.max(this.lanes.position, this.readPosition), 1, atOnce)).length > 0
  }

  async nextDue(): Promise<number | undefined> {
    const near = this.timers.peek()?.dueAt
    const stored = await this.context.store.nextTimer(this.number)
    return near === undefined ? stored : Math.min(near, stored ?? Infinity)
  }
}

/** An actor's record goes with one commit, and another of its name begins with the next; and no two of its lives begin in one: they are told apart by it. */
function isForNextCommit(batch: Batch, { address, record }: Resident, kind: Message['envelope']['kind']): boolean {
  return batch.parts.get(address)?.life === 'erased' || ((kind === 'start' || kind === 'restart') && record?.meta.incarnation === batch.number)
}

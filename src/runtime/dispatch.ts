/**
 * What one input does to one actor: which turn it is, and what of the turn goes into the commit. Synchronous and
 * without I/O; the shard loop brings inputs in their order and sees to the commit.
 *
 * Every input ends in exactly one of: a turn, parked, dead letter, counted as stale (I5).
 */
import { ActorEndedError, ActorExistsError, ActorFailedError, ActorNotStartedError, CancelledError, HoldfastError, MailboxFullError, TurnError, toStoredError, type StoredError } from '../errors.js'
import { ASK, type Command } from '../protocol.js'
import type { Batch, PartBuilder } from './batch.js'
import type { RuntimeContext } from './context.js'
import { effectIdOf, type StoredEffect } from './effects.js'
import { Outgoing, about, eventIn, Message, type Belonging, type Envelope, type EnvelopeHead, type Parked, type ReplyTo, type StoredLetter } from './envelope.js'
import { chanceOf, childAddress, childIdOf, machineOf, shardOf, type Address } from './identity.js'
import { isJsonEqual } from './json.js'
import { memberOf, NearTimer, type NearTimers } from './near-timers.js'
import { askIdOf } from './open-asks.js'
import { deadStream, encodeStreamEntry, ownStream, sharedStream } from './streams.js'
import { remember, type Happening } from './history.js'
import { DurableRecord } from './record.js'
import type { RecordInput, TurnResult } from './turn-result.js'
import { formatVersion, type RecordMeta } from './stored-record.js'
import { Pace } from './pace.js'
import type { Resident } from './residents.js'
import { knowsEvent, type MachineDefinition } from './machines.js'
import { deadlineKey } from './xstate/actor-tree.js'
import type { XEvent } from './xstate/insides.js'
import type { Cell } from './xstate/refs.js'
import type { Asked, Asking } from './xstate/turn.js'

/** Carries out what turns asked for, after their commit. */
export interface ActRunner {
  /** @param incarnation of the record when it had the turn */
  run(record: DurableRecord, result: TurnResult, actionIds: readonly (string | undefined)[] | undefined, incarnation: number): void
}

/** What inputs have to do with the shard that brings them. */
export interface DispatchHost {
  /** The actor is to be tried again. */
  redrive(address: Address): void
  /** The stored list of an actor's parked messages is again as the commits left it. */
  drain(address: Address): void
  /** Whether a message that stands in line cancels the ask. */
  isCancelled(ask: string): boolean
}

/** The key of the timer that takes an ended record away. */
const expiryKey = '!'
/** The fact that tells an actor of a message that it has sent to no avail. */
const refusedType = 'message.refused'
/** What the key of the timer begins with that restarts a child later, when too many are restarted at once. */
const restartKey = '~'

/** What a start says of the record that begins. */
interface Beginning {
  readonly input?: unknown
  readonly parent?: Address | undefined
  readonly parentCell?: number | undefined
  readonly belongs: Belonging | undefined
}

export class Dispatcher {
  private readonly context: RuntimeContext
  private readonly shard: number
  private readonly timers: NearTimers
  private readonly acts: ActRunner
  private readonly pace: Pace
  /** Messages to this shard that the batch being built has made, with the parts that made them. */
  produced: { readonly part: PartBuilder; readonly outgoing: Outgoing }[] = []
  /** Records that a commit stumbled over, and how: their next turn fails them instead. */
  readonly refusals = new Map<Address, string>()
  /** Those of which that turn is on its way to the store. */
  private readonly failing = new Set<Address>()

  private readonly host: DispatchHost

  constructor(context: RuntimeContext, shard: number, timers: NearTimers, acts: ActRunner, host: DispatchHost) {
    this.host = host
    this.context = context
    this.shard = shard
    this.timers = timers
    this.acts = acts
    this.pace = new Pace(Math.max(1, Math.floor(context.options.restartsPerSecondMax / context.shards)))
  }

  /** What was on its way to the store has been dropped. */
  beginAgain(): void {
    this.failing.clear()
  }

  // ── Inputs ──

  /** A message, in its turn. `unparked` messages come from the actor's own parked ones and are not put behind them. */
  message(batch: Batch, resident: Resident, message: Message, unparked = false): void {
    const { envelope } = message
    const part = batch.part(resident.address)
    if (message.seq !== undefined) part.handled++
    if (envelope.deadlineAt !== undefined && envelope.deadlineAt < batch.at) {
      this.refuse(batch, part, message, 'expired', new HoldfastError('DEADLINE', `The deadline of ${envelope.kind} ${envelope.id} had passed ${batch.at - envelope.deadlineAt} ms before ${resident.address} could handle it. It was not handled.`))
    } else if (envelope.replyTo && this.host.isCancelled(askIdOf(envelope.replyTo, envelope.id))) {
      this.refuse(batch, part, message, 'cancelled', new CancelledError(`Ask ${envelope.id} was cancelled before ${resident.address} could handle it.`))
    } else if (envelope.kind === 'redrive') {
      batch.after.push(() => this.host.redrive(resident.address))
    } else if (envelope.kind === 'overflow') {
      this.overflowed(batch, part, Message.read(message.body, this.context.revive))
    } else if (resident.blocked) {
      this.park(batch, part, resident, message, resident.blocked.reason, resident.blocked.detail)
    } else if (resident.parked > 0 && !unparked && !isCommand(envelope)) {
      this.park(batch, part, resident, message, 'behind', 'earlier messages are parked')
    } else if (!resident.record) {
      this.toAbsent(batch, part, resident, message)
    } else {
      this.toRecord(batch, part, resident, resident.record, message)
    }
  }

  /** A due timer; its removal is part of the commit whatever becomes of it. */
  timer(batch: Batch, resident: Resident, timer: NearTimer): void {
    const { order, key } = timer
    const { record } = resident
    this.timers.remove(order)
    batch.part(resident.address).cancelTimer(timer.member)
    if (!record) {
      this.context.counters.stale++
    } else if (key === expiryKey) {
      const expired = record.status !== 'active' && record.endedAt + this.context.options.endedRetentionMs <= batch.at
      if (expired && resident.parked === 0) this.erase(batch, resident)
      else if (expired) resident.expiring = true
    } else if (key.startsWith(restartKey)) {
      // Stopped or restarted since, it has had a turn.
      const [from, turns] = key.slice(1).split(':') as ['snapshot' | 'input', string]
      if (Number(turns) === record.turns) this.restart(batch, resident, record, from, undefined)
      else this.context.counters.stale++
    } else if (record.status === 'active') {
      this.turn(batch, resident, record, { kind: 'timer', key, order }, undefined)
    }
  }

  private toAbsent(batch: Batch, part: PartBuilder, resident: Resident, message: Message): void {
    const { envelope } = message
    const definition = this.context.registry.newest(machineOf(resident.address))!
    if (envelope.kind === 'start') {
      this.begin(batch, resident, { ...envelope.body, event: undefined }, message)
    } else if (envelope.kind === 'event' && !definition.needsInput) {
      this.begin(batch, resident, { event: this.eventOf(envelope) }, message)
    } else if ((envelope.kind === 'stop' || envelope.kind === 'restart') && envelope.from !== undefined) {
      this.tellGone(batch, resident.address, envelope)
    } else if (envelope.kind === 'event' || (envelope.kind === 'fact' && envelope.body.type !== refusedType)) {
      this.refuse(batch, part, message, 'not-started', new ActorNotStartedError(resident.address))
    } else {
      // An outcome for an actor that was erased, or a stop of one that never was.
      this.context.counters.stale++
    }
  }

  private begin(batch: Batch, resident: Resident, first: { input?: unknown; parent?: Address; parentCell?: number; event: XEvent | undefined }, message: Message): void {
    const definition = this.context.registry.newest(machineOf(resident.address))!
    const meta = this.metaOf(batch, definition, { ...first, belongs: message.envelope.belongs })
    const record = new DurableRecord(this.context, resident.address, definition, meta)
    resident.record = record
    batch.part(resident.address).life = 'created'
    batch.after.push(() => this.context.logger.debug({ ...about(record.address, meta.belongs), version: meta.version }, 'an actor started'))
    if (meta.parent) this.tell(batch, record, { type: 'child.started' })
    if (first.event) this.noticeUnknown(record, first.event.type)
    this.turn(batch, resident, record, { kind: 'start', input: first.input, ...(first.event ? { event: first.event } : {}) }, message)
  }

  private metaOf(batch: Batch, definition: MachineDefinition, { input, parent, parentCell, belongs }: Beginning): RecordMeta {
    return {
      format: formatVersion,
      machine: definition.name,
      version: definition.version,
      hash: definition.hash,
      incarnation: batch.number,
      generation: 1,
      ...(parent === undefined ? {} : { parent }),
      ...(parentCell === undefined ? {} : { parentCell }),
      ...(input === undefined ? {} : { input }),
      startedAt: batch.at,
      ...(belongs === undefined ? {} : { belongs }),
    }
  }

  private toRecord(batch: Batch, part: PartBuilder, resident: Resident, record: DurableRecord, message: Message): void {
    const { envelope } = message
    switch (envelope.kind) {
      case 'start':
        if (envelope.body.parent) this.startAgain(batch, resident, record, envelope.body, message)
        else if (!isJsonEqual(record.meta.input, envelope.body.input)) this.refuse(batch, part, message, 'exists', new ActorExistsError(resident.address))
        return
      case 'restart':
        this.restartInTime(batch, resident, record, envelope.body.from, message)
        return
      case 'stop':
        if (record.status === 'active') this.turn(batch, resident, record, { kind: 'stop' }, undefined)
        else if (record.status === 'failed') this.write(batch, resident, record, record.giveUp(batch.at), undefined, { kind: 'give-up' })
        else if (envelope.from !== undefined && envelope.from === record.meta.parent) this.write(batch, resident, record, record.endAgain(), undefined, { kind: 'end-again' })
        return
      default:
    }
    if (record.status !== 'active') {
      this.toEnded(batch, part, resident, record, message)
      return
    }
    switch (envelope.kind) {
      case 'event':
      case 'fact': {
        const event = this.eventOf(envelope)
        if (envelope.cell === undefined && event.type !== refusedType) this.noticeUnknown(record, event.type)
        this.turn(batch, resident, record, { kind: 'event', cell: envelope.cell ?? 0, event, from: envelope.from }, message)
        return
      }
      case 'outcome':
        // What another actor answers is the outcome of a question, and of nothing else.
        if (envelope.from !== undefined && !isQuestion(record.tree.cells.get(envelope.cell))) {
          this.context.counters.stale++
          return
        }
        this.turn(batch, resident, record, { kind: 'outcome', cell: envelope.cell, event: envelope.body }, message)
        return
      case 'emission':
        this.turn(batch, resident, record, { kind: 'emission', cell: envelope.cell, event: envelope.body }, message)
        return
      case 'fault':
        this.turn(batch, resident, record, { kind: 'fault', cell: envelope.cell ?? 0, error: envelope.body.error }, message)
        return
      case 'over':
        this.turn(batch, resident, record, { kind: 'over', ...envelope.body }, message)
        return
      case 'overflow':
      case 'redrive':
    }
  }

  /** There was no room for a message of another actor: it is a dead letter, and who sent it is told, in its own turn. */
  private overflowed(batch: Batch, part: PartBuilder, message: Message): void {
    const { id, kind, to, from, replyTo, body, belongs } = message.envelope
    this.refuse(batch, part, message, 'overflow', new MailboxFullError(to, this.context.backlogMax))
    // A question is answered.
    if (kind !== 'event' || from === undefined || replyTo) return
    const fact = JSON.stringify({ type: refusedType, to, event: body.type, reason: 'overflow', at: batch.at })
    this.send(batch, part, { id: `${id}/refused`, kind: 'fact', to: from as Address, from: to, ...(belongs === undefined ? {} : { belongs }) }, fact)
  }

  private toEnded(batch: Batch, part: PartBuilder, resident: Resident, record: DurableRecord, message: Message): void {
    const { envelope } = message
    if (envelope.kind !== 'event' && envelope.kind !== 'over' && (envelope.kind !== 'fact' || envelope.body.type === refusedType)) {
      this.context.counters.stale++
    } else if (record.status === 'failed' && record.meta.parent) {
      // Its supervisor may restart it.
      this.park(batch, part, resident, message, 'failed', record.failure?.error.message ?? 'the actor failed')
    } else if (envelope.kind === 'over') {
      // Its durable children live on, and what they do for the ask with them.
      const { ask, error } = envelope.body
      this.tellOver(batch, part, record, { ask, children: record.tree.asks?.get(ask)?.children ?? [], ...(error ? { error } : {}) }, message.envelope.id, message)
    } else if (record.status === 'failed') {
      this.refuse(batch, part, message, 'failed', new ActorFailedError(resident.address, record.failure?.error.message ?? 'unknown'))
    } else {
      this.refuse(batch, part, message, 'ended', new ActorEndedError(resident.address, record.status === 'done' ? 'is done' : 'was stopped'))
    }
  }

  /** At once, or when its turn comes among many: a storm of restarts starves everything else of its shard. */
  private restartInTime(batch: Batch, resident: Resident, record: DurableRecord, from: 'snapshot' | 'input', message: Message): void {
    const delayMs = this.pace.take(batch.at)
    if (delayMs === 0) {
      this.restart(batch, resident, record, from, message)
      return
    }
    this.setTimer(batch.part(record.address), new NearTimer(`${batch.nextOrder}r`, record.address, `${restartKey}${from}:${record.turns}`, batch.at + delayMs))
    batch.turns++
    batch.after.push(() => this.context.logger.warn({ ...about(record.address, record.meta.belongs), delayMs }, 'too many children are restarted at once: this one waits'))
  }

  private restart(batch: Batch, resident: Resident, record: DurableRecord, from: 'snapshot' | 'input', message: Message | undefined): void {
    if (from === 'snapshot' && record.status === 'active') {
      this.tell(batch, record, { type: 'child.started' })
      return
    }
    if (from === 'snapshot' && record.status === 'failed' && record.begun) {
      this.write(batch, resident, record, record.resume(batch.number), undefined, { kind: 'resume', incarnation: batch.number })
      batch.after.push(() => this.context.logger.debug(about(record.address, record.meta.belongs), 'an actor was taken up again from its last good snapshot'))
      this.tell(batch, record, { type: 'child.started' })
      return
    }
    this.anew(batch, resident, record, { ...record.meta, incarnation: batch.number, generation: record.turns + 1, startedAt: batch.at }, message, true)
  }

  /** A parent starts a child under an id that it has used before: as in XState the old one is stopped, and the new one begins. */
  private startAgain(batch: Batch, resident: Resident, record: DurableRecord, { input, parent, parentCell }: (Envelope & { kind: 'start' })['body'], message: Message): void {
    const { meta } = record
    if (record.status === 'active' && meta.parent === parent && meta.parentCell === parentCell && isJsonEqual(meta.input, input)) {
      this.tell(batch, record, { type: 'child.started' })
      return
    }
    const { belongs } = message.envelope
    this.anew(batch, resident, record, { ...this.metaOf(batch, record.definition, { input, parent, parentCell, belongs: belongs ?? meta.belongs }), generation: record.turns + 1 }, message, false)
  }

  private anew(batch: Batch, resident: Resident, record: DurableRecord, meta: RecordMeta, message: Message | undefined, isRestart: boolean): void {
    const part = batch.part(resident.address)
    if (record.status === 'active') this.turn(batch, resident, record, { kind: 'stop' }, undefined)
    else for (const { _snapshot: { asked } } of record.runningEffects()) if (asked) this.withdraw(batch, part, record, asked, message)
    const { record: fresh, cleared } = record.anew(meta, isRestart)
    batch.after.push(() => this.context.logger.debug(about(fresh.address, meta.belongs), 'an actor began anew'))
    part.write(cleared)
    resident.record = fresh
    this.tell(batch, fresh, { type: 'child.started' })
    this.turn(batch, resident, fresh, { kind: 'start', input: meta.input, anew: isRestart ? 'restart' : 'again' }, message)
  }

  /** Takes a parked message off the front of its list. Until that stands the list still has it, and must not be read. */
  unpark(batch: Batch, resident: Resident): PartBuilder {
    const part = batch.part(resident.address)
    part.unpark++
    resident.parked--
    resident.leaving++
    batch.after.push(() => {
      if (--resident.leaving === 0) this.host.drain(resident.address)
    })
    return part
  }

  /** Turns a parked message of an expired actor into a dead letter; the last of them takes the record with it. */
  discardParked(batch: Batch, resident: Resident, message: Message): void {
    const part = this.unpark(batch, resident)
    // One without a text was the evidence of a quarantine.
    if (message.text !== '') this.refuse(batch, part, message, 'expired', new ActorEndedError(resident.address, 'was taken away'))
    if (resident.parked === 0) this.erase(batch, resident)
  }

  private erase(batch: Batch, resident: Resident): void {
    batch.part(resident.address).life = 'erased'
    resident.record = undefined
    resident.parked = 0
  }

  /**
   * Sets an actor aside that killed the process too often. A message is parked as the evidence, behind those that were
   * parked before it; for a timer, action or effect, which stay where they are, only the reason is.
   */
  quarantine(batch: Batch, resident: Resident, what: string, attempts: number, message?: Message, wasParked = false): void {
    const part = wasParked ? this.unpark(batch, resident) : batch.part(resident.address)
    if (message?.seq !== undefined) part.handled++
    const detail = `the process died ${attempts} times while handling ${what}`
    resident.blocked = { reason: 'quarantined', detail }
    resident.parked++
    part.setAside(JSON.stringify({ reason: 'quarantined', detail, at: batch.at, text: message?.text ?? '' } satisfies Parked))
    batch.turns++
    batch.after.push(() => this.context.logger.error(about(resident.address, resident.record?.meta.belongs), `an actor was quarantined: ${detail}`))
  }

  // ── Turns ──

  private turn(batch: Batch, resident: Resident, record: DurableRecord, input: RecordInput, message: Message | undefined): void {
    const order = (): string => batch.nextOrder
    const original = message && message.envelope.body !== undefined && message.envelope.kind !== 'fact' && message.envelope.kind !== 'over' ? () => message.body : undefined
    const { address } = record
    const refusal = this.failing.has(address) ? undefined : this.refusals.get(address)
    const result =
      refusal === undefined
        ? record.run(input, batch.at, order, this.context.listeners.inspecting, original, message && askedBy(message.envelope))
        : record.fail(new TurnError('refused', refusal), original ? JSON.parse(original()) : { type: input.kind }, batch.at)
    if (refusal !== undefined) {
      this.failing.add(address)
      batch.after.push(() => {
        this.failing.delete(address)
        this.refusals.delete(address)
      })
    }
    this.context.counters.droppedEvents += result.dropped
    if (!result.changed) {
      this.context.counters.stale++
      return
    }
    this.write(batch, resident, record, result, message, refusal === undefined ? input : { kind: 'refused' })
  }

  /** Writes a turn's result into the commit. */
  private write(batch: Batch, resident: Resident, record: DurableRecord, result: TurnResult, message: Message | undefined, what: Happening): void {
    const { address } = record
    const { incarnation } = record.meta
    const part = batch.part(address)
    batch.turns++
    this.context.counters.turns++
    resident.pins++
    part.write(result.written)
    batch.chars += result.chars
    // Of a record that is new the store knows nothing.
    if (result.terms && (result.terms.length > 0 || part.life === undefined || part.terms)) part.terms = result.terms
    for (const timer of result.timersCancelled) {
      const member = memberOf(timer.order, address, timer.key)
      if (timer.order.startsWith(batch.order)) part.forgetTimer(member)
      else part.cancelTimer(member)
      this.timers.remove(timer.order)
    }
    for (const { order, key, dueAt } of result.timersSet) this.setTimer(part, new NearTimer(order, address, key, dueAt))
    for (const { cell, running, again } of result.effects) {
      const id = effectIdOf(record, cell)
      if (running) part.beginEffect(id, JSON.stringify({ address, cell: cell.number, attempt: again ? 2 : 1 } satisfies StoredEffect))
      else part.endEffect(id)
    }
    let actionIds: (string | undefined)[] | undefined
    for (let i = 0; i < result.acts.length; i++) {
      const act = result.acts[i]!
      const text = result.encoded[i]
      switch (act.type) {
        case '@xstate.action':
          if (text === undefined) break
          ;(actionIds ??= [])[i] = `${address}@${record.meta.incarnation}:${record.turns}/${i}`
          part.keepAction(actionIds[i]!, text)
          break
        case '@xstate.sendTo':
          this.send(batch, part, this.headFrom(record, i, 'event', act.to.address as Address, message, act.to.cell), text)
          break
        case '@xstate.ask':
          if (text === undefined) break
          this.send(batch, part, { ...this.headFrom(record, i, 'event', act.to as Address, message), replyTo: { to: address, cell: act.cell.number, effect: effectIdOf(record, act.cell) }, deadlineAt: record.tree.timers.get(deadlineKey(act.cell.number))!.dueAt }, text)
          break
        case '@xstate.stop': {
          // Whoever was asked knows the deadline. A failed child may be taken up again, and then waits for the answer.
          const { asked } = act.cell._snapshot
          if (asked && act.why?.code !== 'DEADLINE' && !(result.ended === 'failed' && record.meta.parent)) this.withdraw(batch, part, record, asked, message)
          break
        }
        case 'command':
          this.command(batch, part, record, act.cell, act.command, text, i, message, result.asking)
          break
        default:
      }
    }
    if (record.definition.history) {
      for (const append of remember(record, record.definition.history, { result, what, message, asked: message && askedBy(message.envelope), at: batch.at, incarnation: this.context.incarnation })) {
        part.log(append)
        batch.chars += append.text.length
      }
      part.write(new Map([['h', record.sealedMark(record.history!)]]))
    }
    result.asking?.ended.forEach((ended, i) => this.tellOver(batch, part, record, ended, `${address}@${incarnation}:${record.turns}/over${i}`, message))
    if (result.ended) this.ended(batch, part, record, result.ended, message)
    batch.after.push(() => {
      resident.pins--
      this.acts.run(record, result, actionIds, incarnation)
    })
  }

  /** Whoever was asked need not answer. */
  private withdraw(batch: Batch, part: PartBuilder, record: DurableRecord, { to, ask }: { readonly to: string; readonly ask: string }, message: Message | undefined): void {
    const error: StoredError = { name: 'CancelledError', code: 'CANCELLED', message: `The ask was cancelled: ${record.address} waits for no answer any more.` }
    this.send(batch, part, { ...this.headFrom(record, 0, 'over', to as Address, message), id: `${ask}!over` }, JSON.stringify({ ask, error }))
  }

  /** The durable children that work for an ask hear that it is over. */
  private tellOver(batch: Batch, part: PartBuilder, record: DurableRecord, { ask, children, error }: Asking['ended'][number], id: string, message: Message | undefined): void {
    const body = JSON.stringify({ ask, error })
    children.forEach((child, i) => this.send(batch, part, { ...this.headFrom(record, 0, 'over', child as Address, message), id: `${id}.${i}` }, body))
  }

  private setTimer(part: PartBuilder, timer: NearTimer): void {
    part.setTimer(timer.member, timer.dueAt)
    this.timers.add(timer)
  }

  private ended(batch: Batch, part: PartBuilder, record: DurableRecord, how: 'done' | 'stopped' | 'failed', message: Message | undefined): void {
    const at = batch.at + this.context.options.endedRetentionMs
    // No timer of a turn has a letter in its order.
    this.setTimer(part, new NearTimer(`${batch.nextOrder}e`, record.address, expiryKey, at))
    if (how === 'failed') {
      const { error } = record.failure!
      this.context.counters.failures++
      this.context.logger.warn({ ...about(record.address, record.meta.belongs), error: error.name, code: error.code }, 'an actor failed')
      this.tell(batch, record, { type: 'child.failed', error })
      if (message?.envelope.replyTo) this.answer(batch, part, message.envelope.replyTo, message.envelope.id, { error: { name: 'ActorFailedError', code: 'ACTOR_FAILED', message: `Actor ${record.address} failed: ${error.message}` } })
      return
    }
    batch.after.push(() => this.context.logger.debug(about(record.address, record.meta.belongs), `an actor is ${how}`))
    const { output } = record.snapshot
    this.tell(batch, record, { type: 'child.stopped', reason: how, ...(how === 'done' && output !== undefined ? { output } : {}) })
  }

  /** Tells the parent, if there is one. */
  private tell(batch: Batch, record: DurableRecord, fact: { readonly type: string; readonly [key: string]: unknown }): void {
    const { parent, parentCell, belongs } = record.meta
    if (!parent) return
    const body = JSON.stringify({ ...fact, id: childIdOf(record.address), machine: record.meta.machine, address: record.address, generation: record.meta.generation, at: batch.at })
    this.send(
      batch,
      batch.part(record.address),
      { id: `${record.address}@${record.meta.incarnation}:${record.turns}/${fact.type}`, kind: 'fact', to: parent, ...(parentCell === undefined ? {} : { cell: parentCell }), from: record.address, ...(belongs === undefined ? {} : { belongs }) },
      body,
    )
  }

  /** A parent commands a child of which there is no record. */
  private tellGone(batch: Batch, address: Address, { id, from, fromCell, belongs }: Envelope): void {
    const body = JSON.stringify({ type: 'child.stopped', reason: 'gone', id: childIdOf(address), machine: machineOf(address), address, generation: 0, at: batch.at })
    this.send(batch, batch.part(address), { id: `${id}/gone`, kind: 'fact', to: from as Address, ...(fromCell === undefined ? {} : { cell: fromCell }), from: address, ...(belongs === undefined ? {} : { belongs }) }, body)
  }

  private command(batch: Batch, part: PartBuilder, record: DurableRecord, cell: Cell, command: Command, text: string | undefined, index: number, message: Message | undefined, asking: Asking | undefined): void {
    const { address } = record
    const behalf = asking?.serving && index < asking.serving.acts && !('detached' in command && command.detached) ? { behalf: asking.serving.behalf } : undefined
    switch (command.type) {
      case 'child.start': {
        const body = `{"parent":"${address}"${cell.number === 0 ? '' : `,"parentCell":${cell.number}`}${text === undefined ? '' : `,"input":${text}`}}`
        this.send(batch, part, { ...this.headFrom(record, index, 'start', childAddress(address, command.machine, command.id), message), ...behalf }, body)
        return
      }
      case 'child.stop':
        this.send(batch, part, { ...this.headFrom(record, index, 'stop', childAddress(address, command.machine, command.id), message), ...fromCellOf(cell) }, undefined)
        return
      case 'child.restart':
        this.send(batch, part, { ...this.headFrom(record, index, 'restart', childAddress(address, command.machine, command.id), message), ...fromCellOf(cell), ...behalf }, `{"from":"${command.from}"}`)
        return
      case 'child.send':
        this.send(batch, part, this.headFrom(record, index, 'event', childAddress(address, command.machine, command.id), message), text)
        return
      case 'reply': {
        const to = command.token ? (command.token.to ?? { client: true as const }) : message?.envelope.replyTo
        const id = command.token?.id ?? message?.envelope.id
        if (to && id) this.answer(batch, part, to, id, { text })
        return
      }
      case 'append':
        part.log({
          stream: command.shared ? sharedStream(command.stream) : ownStream(address, command.stream),
          text: encodeStreamEntry(batch.at, `${address}@${record.meta.incarnation}`, text!),
          max: Math.min(command.shared ? Infinity : (command.max ?? Infinity), this.context.options.streamMax),
        })
    }
  }

  private headFrom(record: DurableRecord, index: number, kind: EnvelopeHead['kind'], to: Address, cause: Message | undefined, cell?: number): EnvelopeHead {
    const { address, meta, turns } = record
    const belongs = meta.belongs ?? cause?.envelope.belongs
    const trace = cause?.envelope.trace
    const head: { -readonly [K in keyof EnvelopeHead]: EnvelopeHead[K] } = { id: `${address}@${meta.incarnation}:${turns}/${index}`, to, from: address, kind }
    if (cell !== undefined) head.cell = cell
    if (belongs !== undefined) head.belongs = belongs
    if (trace !== undefined) head.trace = trace
    return head
  }

  // ── Where messages go ──

  private send(batch: Batch, part: PartBuilder, head: EnvelopeHead, body: string | undefined): void {
    const outgoing = Outgoing.own(head, body)
    const to = shardOf(head.to, this.context.shards)
    batch.chars += outgoing.size
    if (to === this.shard) this.produced.push({ part, outgoing })
    else batch.post(part, to, outgoing)
  }

  /** Answers a question: another actor's effect by message, a client through the store. */
  private answer(batch: Batch, part: PartBuilder, to: ReplyTo, id: string, answer: { text?: string | undefined; error?: unknown }): void {
    if (to.client) {
      const text = answer.error === undefined ? `{"value":${answer.text ?? 'null'}}` : JSON.stringify({ error: answer.error })
      part.reply(id, { text, until: batch.at + this.context.options.idRetentionMs })
      batch.after.push(() => this.context.listeners.replied(id, text))
      return
    }
    const body =
      answer.error === undefined
        ? `{"type":"xstate.promise.resolve"${answer.text === undefined ? '' : `,"data":${answer.text}`}}`
        : JSON.stringify({ type: 'xstate.promise.reject', data: answer.error })
    this.send(batch, part, { id: to.effect, kind: 'outcome', to: to.to, cell: to.cell, from: part.address }, body)
  }

  private park(batch: Batch, part: PartBuilder, resident: Resident, message: Message, reason: Parked['reason'], detail: string): void {
    if (resident.parked >= this.context.options.parkedMax) {
      this.refuse(batch, part, message, 'overflow', new ActorFailedError(resident.address, `its limit of ${this.context.options.parkedMax} parked messages is reached`))
      return
    }
    resident.parked++
    resident.pins++
    // It is journalled where it is parked, for longer than its id is remembered.
    if (message.envelope.kind === 'outcome') part.endEffect(message.envelope.id)
    part.setAside(JSON.stringify({ reason, detail, at: batch.at, text: message.text } satisfies Parked))
    batch.turns++
    batch.chars += message.size
    batch.after.push(() => {
      resident.pins--
      this.context.counters.parked++
      this.context.logger.warn({ ...about(resident.address, message.envelope.belongs), message: message.envelope.id, reason }, `a message was parked: ${detail}`)
    })
  }

  private refuse(batch: Batch, part: PartBuilder, message: Message, reason: StoredLetter['reason'], error: HoldfastError): void {
    const { envelope } = message
    part.log({
      stream: deadStream,
      text: JSON.stringify({ reason, detail: error.message, at: batch.at, to: envelope.to, text: message.text } satisfies StoredLetter),
      max: this.context.options.deadLettersMax,
    })
    batch.turns++
    batch.chars += message.size
    if (envelope.replyTo) this.answer(batch, part, envelope.replyTo, envelope.id, { error: toStoredError({ name: error.name, code: error.code, message: error.message }) })
    batch.after.push(() => {
      this.context.counters.deadLetters++
      this.context.logger.warn({ ...about(envelope.to, envelope.belongs), message: envelope.id, reason }, 'a message became a dead letter')
      // Only a sender of this process asks.
      if (envelope.from === undefined) this.context.listeners.refused(envelope.id, error)
    })
  }

  private noticeUnknown(record: DurableRecord, type: string): void {
    if (knowsEvent(record.definition.machine, type)) return
    this.context.counters.unknownEvents++
    this.context.logger.warn({ ...about(record.address, record.meta.belongs), machine: record.meta.machine, event: type }, 'an event of a type that the machine has nowhere')
  }

  private eventOf(envelope: Envelope & { readonly kind: 'event' | 'fact' }): XEvent {
    return eventIn(envelope, envelope.kind === 'fact' ? chanceOf(this.context.incarnation, envelope.id) : undefined)
  }
}

/** What a parent commands does not wait behind messages that are parked: they may wait for it. */
function isCommand(envelope: Envelope): boolean {
  return envelope.kind === 'restart' || envelope.kind === 'stop' || (envelope.kind === 'start' && envelope.body.parent !== undefined)
}

/** The ask that a message is, or on whose behalf it was sent. */
function askedBy({ behalf, replyTo, deadlineAt, id }: Envelope): Asked | undefined {
  if (behalf) return { behalf, isAsk: false }
  return replyTo && deadlineAt !== undefined ? { behalf: { ask: askIdOf(replyTo, id), by: deadlineAt }, isAsk: true } : undefined
}

function fromCellOf({ number }: Cell): { readonly fromCell?: number } {
  return number === 0 ? {} : { fromCell: number }
}

function isQuestion(cell: Cell | undefined): boolean {
  return cell !== undefined && ASK in cell.logic
}

/**
 * One record: a root actor with the children XState made inside it, as it lives in memory. How it is stored stands in
 * stored-record.ts. What a turn leaves alone by reference (XState's `assign` keeps the keys it does not set) is not
 * written again.
 *
 * R1  A turn that fails, also by what it wants to store, leaves the record as it was.
 * R2  What is in memory is what decoding the fields would give.
 */
import { createHash } from 'node:crypto'
import { InvalidIdError, SnapshotError, TurnError, toStoredError } from '../errors.js'
import { AT_MOST_ONCE, type Command, type ReplyToken } from '../protocol.js'
import { actionNameOf, idPath, isExternal, srcPath } from './effect-names.js'
import { effectIdOf } from './effects.js'
import { checkEvent } from './envelope.js'
import { canonicalJson, checkJson, decodeJson, decodeJsonOf, encodeJson, holdsReference, isForbiddenKey, type JsonLimits, noJsonLimits, type StoredRef } from './json.js'
import { checkId, childAddress, parseAddress, type Address } from './identity.js'
import { ofFailedTurn } from './inspection.js'
import { LargeValues } from './large-values.js'
import type { MachineDefinition } from './machines.js'
import { behalfWhere, type OpenAsk, type OpenAsks } from './open-asks.js'
import { withOne } from './small-collections.js'
import { addressSumOf, cutFormatVersion, decodeMark, encodeMark, eraseCell, largeValuePrefix, seal, sumLength, toStoredCell, unseal, wholeOf, type Failure, type FieldChanges, type HistoryMark, type RecordMeta, type RecordStatus, type StoredCell, type StoredFields, type StoredTimer } from './stored-record.js'
import { termsOf } from './terms.js'
import { Result, type RecordInput, type TurnResult } from './turn-result.js'
import { ActorTree, type TreeHost } from './xstate/actor-tree.js'
import { isEffectKind, type XEvent, type XMachine, type XMachineSnapshot } from './xstate/insides.js'
import { RemoteRef, isCell, type Cell } from './xstate/refs.js'
import { shareCommon } from './xstate/snapshots.js'
import { Turn, type Act, type Asked, type Asking, type Timer } from './xstate/turn.js'

/** The event of a turn as it was before the turn. */
interface Original {
  readonly event: XEvent | undefined
  readonly text: () => string
}

export interface RecordHost {
  readonly limits: JsonLimits
  /** Freeze what is stored, so that a mutation in place throws where it happens instead of being lost. */
  readonly freeze: boolean
  /** See the option of this name. */
  readonly largeValueCharsMin: number
  sendLater(record: DurableRecord, cell: Cell, event: XEvent): void
  remote(address: string, cell?: number): RemoteRef
}

export class DurableRecord implements TreeHost {
  readonly address: Address
  readonly definition: MachineDefinition
  readonly tree: ActorTree
  meta: RecordMeta
  status: RecordStatus
  failure: Failure | undefined
  turns: number
  /** Namespace time at which the record ended; 0 while it is active. */
  endedAt: number
  /** Entries per invoke, by id path; undefined until the first effect starts. */
  private entries: Readonly<Record<string, number>> | undefined
  /** External actions of a run by name, with a digest of their arguments: a restart from input does not forget them. */
  private asked: Readonly<Record<string, string>> | undefined
  /** Set with each turn by whoever keeps a history of it; undefined as long as nobody does. */
  history: HistoryMark | undefined
  private readonly host: RecordHost
  private readonly addressSum: number
  /** Undefined as long as it has none. */
  private large: LargeValues | undefined
  /** Whether the store has `m`. */
  private introduced: boolean
  /** The active states, or the status of an actor that has ended, by which the store finds it; undefined if that is not known. */
  private foundAs: XMachineSnapshot['_nodes'] | RecordStatus | undefined

  constructor(host: RecordHost, address: Address, definition: MachineDefinition, meta: RecordMeta) {
    this.host = host
    this.address = address
    this.definition = definition
    this.meta = meta
    this.addressSum = addressSumOf(address)
    this.status = 'active'
    this.failure = undefined
    this.turns = 0
    this.endedAt = 0
    this.entries = undefined
    this.asked = undefined
    this.history = undefined
    this.large = undefined
    this.introduced = false
    this.foundAs = undefined
    this.tree = new ActorTree(this, definition.machine)
    // To its machine a durable child has a parent like any other: sendParent reaches it.
    if (meta.parent) this.tree.root._parent = host.remote(meta.parent, meta.parentCell) as unknown as Cell
  }

  sendLater(cell: Cell, event: XEvent): void {
    this.host.sendLater(this, cell, event)
  }

  remote(address: string, cell?: number): RemoteRef {
    return this.host.remote(address, cell)
  }

  get snapshot(): XMachineSnapshot {
    return this.tree.root._snapshot as XMachineSnapshot
  }

  /** Whether there is a snapshot: not if the very start failed. */
  get begun(): boolean {
    return this.tree.root.saved !== undefined
  }

  runningEffects(): Cell[] {
    // By number: in what order they are in memory depends on whether a turn was undone.
    return this.tree.cells.values().filter((cell) => isEffectKind(cell.kind) && cell._snapshot.status === 'active').sort((a, b) => a.number - b.number)
  }

  // ── Turns ──

  /**
   * Handles one input. A machine that throws, or wants to store what cannot be stored, fails the record: the result
   * then says so and holds nothing of the failed turn.
   *
   * @param at now, by the namespace clock, ms
   * @param order gives the prefix that orders the timers of this turn among all of the shard
   * @param original the event as it came, encoded: an assign may mutate the event, and evidence must not change
   * @param asked the ask that its message is, or on whose behalf that was sent
   */
  run(input: RecordInput, at: number, order: () => string, inspecting: boolean, original?: () => string, asked?: Asked): TurnResult {
    const turn = new Turn(at, order, inspecting)
    if (asked || this.tree.asks) turn.asking = this.askingOf(input, at, asked)
    let changed = true
    const thrown = this.tree.run(turn, () => {
      changed = this.dispatch(input)
    })
    if (thrown) return this.failTurn(turn, thrown.error, this.evidence(input, original))
    try {
      return this.encodeTurn(turn, changed, 'event' in input && original ? { event: input.event, text: original } : undefined)
    } catch (error) {
      this.tree.undo(turn)
      return this.failTurn(turn, error, this.evidence(input, original))
    }
  }

  /** Whom a turn works for (Q1). */
  private askingOf(input: RecordInput, at: number, asked: Asked = { behalf: undefined, isAsk: false }): Asking {
    const { asks, timers } = this.tree
    const asking: Asking = { ...asked, before: asks, ended: [] }
    switch (input.kind) {
      case 'outcome':
        return { ...asking, behalf: behalfWhere(asks, ({ effects }) => effects.includes(input.cell)) }
      case 'timer': {
        const source = timers.get(input.key)?.source
        // An effect's own deadline is heard of by a turn that goes on, that of its ask by one that does not.
        return { ...asking, behalf: behalfWhere(asks, (ask) => ask.timers.includes(input.order) || (at < ask.by && source !== undefined && ask.effects.includes(source))) }
      }
      case 'event': {
        const { event, from } = input
        if (from === undefined || asked.behalf) return asking
        return { ...asking, behalf: behalfWhere(asks, ({ children }) => children.includes(from)), gone: event.type === 'child.stopped' || event.type === 'child.failed' ? from : undefined }
      }
      default:
        return asking
    }
  }

  private failTurn(turn: Turn, error: unknown, event: unknown): TurnResult {
    const result = this.fail(error, event, turn.at)
    result.inspection = ofFailedTurn(turn, this.tree.root, error)
    return result
  }

  private evidence(input: RecordInput, original: (() => string) | undefined): unknown {
    if (original) return JSON.parse(original())
    return input.kind === 'timer' ? this.tree.timers.get(input.key)?.event : { type: `holdfast.${input.kind}` }
  }

  private dispatch(input: RecordInput): boolean {
    const { tree } = this
    switch (input.kind) {
      case 'start':
        tree.begin(input.input)
        if (input.event) tree.receive(0, input.event)
        return true
      case 'event':
        tree.receive(input.cell, input.event, input.from)
        return true
      case 'outcome':
        if (tree.cells.get(input.cell)?._snapshot.status !== 'active') return false
        tree.receiveOutcome(input.cell, input.event)
        return true
      case 'emission':
        if (tree.cells.get(input.cell)?._snapshot.status !== 'active') return false
        tree.receiveFrom(input.cell, input.event)
        return true
      case 'timer':
        return tree.fire(input.key, input.order)
      case 'fault':
        return tree.failCell(input.cell, input.error)
      case 'stop':
        tree.stop()
        return true
      case 'over':
        return tree.endAsk(input.ask, input.error)
    }
  }

  /** Marks the record failed; its state stays the last good one, its timers and effects rest. */
  fail(error: unknown, event: unknown, at: number): Result {
    const effects = this.runningEffects().map((cell) => ({ cell, running: false }))
    this.status = 'failed'
    this.endedAt = at
    this.failure = { error: toStoredError(error), event, at }
    const fields: FieldChanges = new Map()
    this.put(fields, 'f', JSON.stringify(this.failure))
    const result = this.finish(fields)
    result.timersCancelled = this.tree.timers.values()
    result.effects = effects
    result.acts = effects.map(({ cell }) => ({ type: '@xstate.stop', cell }))
    result.ended = 'failed'
    result.failure = this.failure
    return result
  }

  /** Takes a failed record up again from its last good snapshot: its timers count on, its effects run again. */
  resume(incarnation: number): TurnResult {
    const fields: FieldChanges = this.failure ? new Map([['f', undefined]]) : new Map()
    this.status = 'active'
    this.endedAt = 0
    this.failure = undefined
    // The outcome that failed it is remembered by its id. Under a new one the effect's next outcome is not taken for it.
    this.meta = { ...this.meta, incarnation, generation: this.turns + 1 }
    this.introduced = false
    const effects = this.runningEffects().map((cell) => ({ cell, running: true, again: true as const }))
    const result = this.finish(fields)
    result.timersSet = this.tree.timers.values()
    result.effects = effects
    result.acts = effects.map(({ cell }) => ({ type: '@xstate.start', cell, again: true }))
    return result
  }

  /** Ends a failed record for good. */
  giveUp(at: number): TurnResult {
    this.status = 'stopped'
    this.endedAt = at
    const result = this.finish(new Map())
    // What it has asked is asked no more.
    result.acts = this.runningEffects().map((cell) => ({ type: '@xstate.stop', cell }))
    result.ended = 'stopped'
    return result
  }

  /** Says once more that it has ended; what was to happen to it later is stale then. */
  endAgain(): TurnResult {
    const result = this.finish(new Map())
    result.ended = this.status as Exclude<RecordStatus, 'active'>
    return result
  }

  /**
   * The same actor begun anew from an input: numbers and turns count on, so that nothing old is taken for new. A restart
   * does its external actions under the same keys; a start that reuses the id does further ones.
   */
  anew(meta: RecordMeta, isRestart: boolean): { readonly record: DurableRecord; readonly cleared: FieldChanges } {
    const record = new DurableRecord(this.host, this.address, this.definition, meta)
    record.turns = this.turns
    record.tree.nextNumber = this.tree.nextNumber
    record.asked = this.asked
    if (this.definition.history) record.history = this.history
    if (!isRestart) record.entries = this.entries
    // What was asked for stays, and so does, but for a restart, how often.
    const gone = [...this.storedFields().keys(), ...(this.large?.names ?? [])].filter((name) => name !== 'k' && (isRestart || name !== 'n'))
    return { record, cleared: new Map(gone.map((name) => [name, undefined])) }
  }

  // ── Writing ──

  private encodeTurn(turn: Turn, changed: boolean, original: Original | undefined): TurnResult {
    const { tree } = this
    if (!changed) {
      const result = new Result(this.turns, this.snapshot)
      result.dropped = turn.dropped
      return result
    }
    const fields: FieldChanges = new Map()
    let effects: { cell: Cell; running: boolean }[] | undefined
    let encoded: (string | undefined)[] | undefined
    let { entries, asked } = this

    // Whatever may throw comes first and changes nothing but cells that this turn created (R1).
    if (turn.acts.length > actsMax) throw new TurnError('acts', `One turn asks for ${turn.acts.length} things to be done, above the limit of ${actsMax}. Spread them over several turns.`)
    for (const { id } of turn.created) if (id.length > 64 && Buffer.byteLength(id) > 256) throw new InvalidIdError('id of a child', id, 'use at most 256 bytes')
    for (let i = 0; i < turn.acts.length; i++) {
      const act = turn.acts[i]!
      if (act.type === '@xstate.start') {
        const path = idPath(act.cell)
        act.cell.entry = (entries?.[path] ?? 0) + 1
        entries = { ...entries, [path]: act.cell.entry }
        if (isExternal(act.cell)) asked = this.ask(act.cell, asked)
        effects = withOne(effects, { cell: act.cell, running: true })
      } else if (act.type === '@xstate.stop') {
        effects = withOne(effects, { cell: act.cell, running: false })
      } else {
        const text = this.encodeAct(act, original)
        if (act.type === '@xstate.ask') {
          // Nobody waits for it any more.
          if (act.cell._snapshot.status !== 'active') continue
          act.cell._snapshot = { ...act.cell._snapshot, asked: { to: act.to, ask: effectIdOf(this, act.cell) } }
        }
        if (text !== undefined) (encoded ??= [])[i] = text
      }
    }
    for (const cell of turn.cells) {
      const { status } = cell._snapshot
      if (isEffectKind(cell.kind) && (status === 'done' || status === 'error')) effects = withOne(effects, { cell, running: false })
      if (tree.cells.get(cell.number) === cell) this.encodeCell(cell, fields)
    }
    for (const cell of turn.created) {
      if (tree.cells.get(cell.number) === cell && !turn.cells.includes(cell)) this.encodeCell(cell, fields)
    }
    let timersSet: Timer[] | undefined
    let timersCancelled: Timer[] | undefined
    for (const [key, before] of firstByKey(turn.timerUndo)) {
      const timer = tree.timers.get(key)
      if (timer) {
        timersSet = withOne(timersSet, timer)
        this.put(fields, `t${key}`, this.encodeTimer(timer))
      }
      if (!before) continue
      timersCancelled = withOne(timersCancelled, before)
      if (!timer) fields.set(`t${key}`, undefined)
    }

    // Nothing below throws.
    for (const cell of turn.removed) eraseCell(cell, fields)
    for (const cell of turn.cells) this.markSaved(cell)
    for (const cell of turn.created) this.markSaved(cell)
    if (entries !== this.entries) {
      this.entries = entries
      this.put(fields, 'n', JSON.stringify(entries))
    }
    if (asked !== this.asked) {
      this.asked = asked
      this.put(fields, 'k', JSON.stringify(asked))
    }
    if (turn.asking && tree.asks !== turn.asking.before) this.encodeAsks(turn.asking.before, tree.asks, fields)
    const { status } = this.snapshot
    if (status === 'done' || status === 'stopped') {
      this.status = status
      this.endedAt = turn.at
    }
    const result = this.finish(fields)
    if (timersSet) result.timersSet = timersSet
    if (timersCancelled) result.timersCancelled = timersCancelled
    if (effects) result.effects = effects
    if (encoded) result.encoded = encoded
    result.acts = turn.acts
    result.inspection = turn.inspection
    result.touched = turn.cells
    result.asking = turn.asking
    result.dropped = turn.dropped
    result.ended = this.status === 'active' ? undefined : this.status
    return result
  }

  /** Counts the turn and adds what every turn writes. */
  private finish(fields: FieldChanges): Result {
    this.turns++
    if (!this.introduced) this.introduce(fields)
    this.put(fields, 'z', this.encodeTail())
    const result = new Result(this.turns, this.snapshot)
    result.changed = true
    if (this.foundAs !== this.standsAs) result.terms = this.findable()
    let longest = 0
    fields.forEach((value, name) => {
      const length = value === undefined ? 0 : value.length
      result.chars += name.length + length
      if (length > longest) longest = length
    })
    result.fields = result.written = fields
    if (this.large || longest >= this.host.largeValueCharsMin) this.cut(result)
    return result
  }

  private introduce(fields: FieldChanges): void {
    this.put(fields, 'm', encodeJson(this.meta, 'the input', noJsonLimits))
    this.introduced = true
  }

  /** Writes large values apart. Versions that know nothing of them see so by the format. */
  private cut(result: Result): void {
    const { largeValueCharsMin } = this.host
    const large = (this.large ??= new LargeValues())
    const written = large.write(result.fields, largeValueCharsMin)
    if (large.isEmpty) {
      this.large = undefined
    } else if (this.meta.format !== cutFormatVersion) {
      this.meta = { ...this.meta, format: cutFormatVersion }
      const head: FieldChanges = new Map()
      this.introduce(head)
      for (const [name, value] of large.write(head, largeValueCharsMin)) written.set(name, value)
    }
    if (written === result.fields) return
    result.written = written
    result.chars = 0
    written.forEach((value, name) => (result.chars += name.length + (value?.length ?? 0)))
  }

  private encodeTail(): string {
    return `${this.turns} ${this.countFields()} ${this.tree.nextNumber} ${this.status} ${this.endedAt} ${foundMark}`
  }

  /** Field `h`, as it is stored. */
  sealedMark(mark: HistoryMark): string {
    return seal(this.addressSum, 'h', encodeMark(mark))
  }

  /** Every field, as the store has them once the last turn is committed, but whole. */
  storedFields(): Map<string, string> {
    const fields = new Map<string, string>()
    const put = (name: string, value: string): void => void fields.set(name, seal(this.addressSum, name, value))
    // All of it was within the limits when it came in.
    const encode = (value: unknown): string => encodeJson(value, 'what is stored', noJsonLimits, this.tree)
    put('m', encodeJson(this.meta, 'the input', noJsonLimits))
    put('z', this.encodeTail())
    for (const cell of this.tree.cells.values()) {
      if (!cell.saved) continue
      put(`s${cell.number}`, encode(toStoredCell(cell)))
      if (cell.kind !== 'machine') continue
      const { context } = cell.saved as XMachineSnapshot
      let place = 0
      for (const key in context) if (context[key] !== undefined) put(`c${cell.number}:${key}`, `${place++} ${encode(context[key])}`)
    }
    for (const timer of this.tree.timers.values()) put(`t${timer.key}`, encode(storedTimerOf(timer)))
    for (const open of this.tree.asks ?? []) put(fieldOfAsk(open[0]), JSON.stringify(open))
    if (this.entries) put('n', JSON.stringify(this.entries))
    if (this.asked) put('k', JSON.stringify(this.asked))
    if (this.failure) put('f', JSON.stringify(this.failure))
    if (this.history) put('h', encodeMark(this.history))
    return fields
  }

  /** The same with each large value once, for a base of a history. */
  cutFields(): StoredFields {
    const fields = this.storedFields()
    return this.large ? new LargeValues().write(fields, this.host.largeValueCharsMin) as Map<string, string> : fields
  }

  private get standsAs(): NonNullable<DurableRecord['foundAs']> {
    return this.status === 'active' ? this.snapshot._nodes : this.status
  }

  /** What it is found by, for the store to know from the next commit on. */
  private findable(): readonly string[] {
    this.foundAs = this.standsAs
    return termsOf(this.status, this.begun ? this.snapshot._nodes : undefined, this.meta.belongs?.run)
  }

  /** Makes one found that was last written by a version that knew nothing of it; undefined if the store finds it. */
  index(): { readonly fields: FieldChanges; readonly terms: readonly string[] } | undefined {
    if (this.foundAs === this.standsAs) return undefined
    const fields: FieldChanges = new Map()
    this.put(fields, 'z', this.encodeTail())
    return { fields, terms: this.findable() }
  }

  private put(fields: FieldChanges, name: string, value: string): void {
    fields.set(name, seal(this.addressSum, name, value))
  }

  /** Every field the record has: a stored record with another number has lost some. */
  private countFields(): number {
    let count = 2 + this.tree.timers.size
    if (this.entries) count++
    if (this.asked) count++
    if (this.failure) count++
    if (this.history || this.definition.history) count++
    if (this.tree.asks) count += this.tree.asks.size
    for (const cell of this.tree.cells.values()) {
      if (!cell.saved) continue
      count += 1 + cell.keys
    }
    return count
  }

  /** The same key with other arguments would be taken by its receiver for the first one repeated (I4). */
  private ask(cell: Cell, asked: Readonly<Record<string, string>> | undefined): Readonly<Record<string, string>> | undefined {
    const name = actionNameOf(cell)
    // Outside a run the key counts the entries of the invoke, so it never comes again.
    if (this.meta.belongs?.run === undefined) return asked
    const { input } = cell._snapshot
    const digest = createHash('sha256').update(input === undefined ? '' : canonicalJson(JSON.parse(encodeJson(input, `the input of "${name}"`, this.host.limits, this.tree)))).digest('hex').slice(0, 16)
    const before = asked?.[name]
    if (before !== undefined && before !== digest) {
      throw new TurnError('key', `The external action "${name}" of ${this.address} was asked for before in this run with other arguments. If it is meant to happen again, give it a name of its own ("${name}/2") by the option "name" of external(...).`)
    }
    return before === undefined ? { ...asked, [name]: digest } : asked
  }

  private encodeAct(act: Act, original: Original | undefined): string | undefined {
    switch (act.type) {
      case '@xstate.sendTo':
        checkEvent(act.event)
        return encodeJson(act.event, `event "${act.event.type}" to ${act.to.address}`, this.host.limits)
      case '@xstate.ask':
        parseAddress(act.to)
        checkEvent(act.event)
        return encodeJson(act.event, `question "${act.event.type}" to ${act.to}`, this.host.limits)
      case '@xstate.action':
        return this.encodeAction(act, original)
      case 'command':
        return this.encodeCommand(act.command)
      default:
        return undefined
    }
  }

  /** A named action can be run again after a crash, if it is meant to be and what it was called with can be kept; an inline one cannot. */
  private encodeAction(act: Act & { readonly type: '@xstate.action' }, original: Original | undefined): string | undefined {
    if ((act.cell.logic as XMachine).implementations?.actions[act.name] !== act.exec || AT_MOST_ONCE in act.exec) return undefined
    const { event } = act.info
    try {
      const encode = (value: unknown): string => encodeJson(value, `action "${act.name}"`, this.host.limits, this.tree)
      const params = act.params === undefined ? '' : `,"params":${encode(act.params)}`
      const child = act.cell.number === 0 ? '' : `,"src":${JSON.stringify(srcPath(act.cell))},"context":${encode(act.info.context)}`
      return `{"address":"${this.address}","cell":${act.cell.number}${child},"name":${JSON.stringify(act.name)}${params},"event":${event === original?.event ? original.text() : encode(event)}}`
    } catch {
      // Params or event hold what JSON cannot keep, like the snapshot of a child: at most once, as for an inline one.
      return undefined
    }
  }

  private encodeCommand(command: Command): string | undefined {
    switch (command.type) {
      case 'child.start':
        childAddress(this.address, command.machine, command.id)
        return command.input === undefined ? undefined : encodeJson(command.input, `the input of child "${command.id}"`, this.host.limits)
      case 'reply':
        checkToken(command.token)
        return command.value === undefined ? undefined : encodeJson(command.value, 'the reply', this.host.limits)
      case 'child.send':
        childAddress(this.address, command.machine, command.id)
        checkEvent(command.event)
        return encodeJson(command.event, `event "${command.event.type}" to child "${command.id}"`, this.host.limits)
      case 'child.restart':
        if (command.from !== 'snapshot' && command.from !== 'input') throw new TurnError('command', `Child "${command.id}" is to be restarted from ${JSON.stringify(command.from)}: from "snapshot" or from "input".`)
        childAddress(this.address, command.machine, command.id)
        return undefined
      case 'child.stop':
        childAddress(this.address, command.machine, command.id)
        return undefined
      case 'append':
        checkId('stream name', command.stream)
        if (command.max !== undefined && !(Number.isSafeInteger(command.max) && command.max >= 1)) throw new TurnError('command', `Stream "${command.stream}" is to keep ${String(command.max)} entries: give a whole number of at least 1.`)
        return encodeJson(command.value, `an entry of stream "${command.stream}"`, this.host.limits)
    }
  }

  private encodeCell(cell: Cell, fields: FieldChanges): void {
    const now = cell._snapshot
    const { saved } = cell
    if (now === saved) return
    if (cell.kind === 'machine') {
      this.encodeContext(cell, now as XMachineSnapshot, saved as XMachineSnapshot | undefined, fields)
      if (saved && sameHead(now as XMachineSnapshot, saved as XMachineSnapshot)) return
    }
    this.put(fields, `s${cell.number}`, encodeJson(toStoredCell(cell), cell.number === 0 ? 'the snapshot' : `the snapshot of "${cell.id}"`, this.host.limits, this.tree))
  }

  private encodeContext(cell: Cell, now: XMachineSnapshot, saved: XMachineSnapshot | undefined, fields: FieldChanges): void {
    const { context } = now
    const before = saved?.context
    if (context === before) return
    let place = 0
    let kept = 0
    for (const key in context) {
      const value = context[key]
      if (value === undefined) continue
      const old = before?.[key]
      if (old !== undefined) kept++
      if (value !== old) this.encodeKey(cell, key, place, value, fields)
      place++
    }
    // More than are stored: some were put there in place, which only a frozen context prevents.
    if (before && kept !== cell.keys) this.encodeMoved(cell, context, before, fields)
  }

  /** Once a key goes, the places of later ones change. */
  private encodeMoved(cell: Cell, context: XMachineSnapshot['context'], before: XMachineSnapshot['context'], fields: FieldChanges): void {
    for (const key in before) if (before[key] !== undefined && context[key] === undefined) fields.set(`c${cell.number}:${key}`, undefined)
    let place = 0
    for (const key in context) if (context[key] !== undefined) this.encodeKey(cell, key, place++, context[key], fields)
  }

  private encodeKey(cell: Cell, key: string, place: number, value: unknown, fields: FieldChanges): void {
    const where = (): string => (cell.number === 0 ? 'context' : `context of "${cell.id}"`)
    if (isForbiddenKey(key)) checkJson({ [key]: value }, where(), this.host.limits)
    this.put(fields, `c${cell.number}:${key}`, `${place} ${encodeJson(value, () => `${where()}.${key}`, this.host.limits, this.tree)}`)
  }

  private encodeAsks(before: OpenAsks, now: OpenAsks, fields: FieldChanges): void {
    for (const ask of before?.keys() ?? []) if (!now?.has(ask)) fields.set(fieldOfAsk(ask), undefined)
    for (const [ask, open] of now ?? []) if (open !== before?.get(ask)) this.put(fields, fieldOfAsk(ask), JSON.stringify([ask, open]))
  }

  private encodeTimer(timer: Timer): string {
    return encodeJson(storedTimerOf(timer), `the delayed event "${timer.event.type}"`, this.host.limits, this.tree)
  }

  private markSaved(cell: Cell): void {
    if (cell.kind === 'machine') {
      if (cell._snapshot !== cell.saved) shareCommon(cell._snapshot as XMachineSnapshot)
      const { context } = cell._snapshot as XMachineSnapshot
      if (context !== (cell.saved as XMachineSnapshot | undefined)?.context) cell.keys = keysOf(context)
    }
    cell.saved = cell._snapshot
    if (this.host.freeze && cell.kind === 'machine') freeze((cell._snapshot as XMachineSnapshot).context)
  }

  // ── Reading ──

  /** What XState's `getPersistedSnapshot` gives for the whole tree: restorable by `createActor(machine, { snapshot })`. */
  persisted(): unknown {
    if (!this.begun) return undefined
    return JSON.parse(JSON.stringify(this.snapshot.machine.getPersistedSnapshot(this.snapshot)))
  }

  /**
   * Reads a stored record.
   *
   * @param meta as {@link readMeta} gave it, by which the caller has found the definition
   * @throws SnapshotError when a field is damaged or missing, or names what the machine does not have
   */
  static decode(host: RecordHost, address: Address, stored: StoredFields, meta: RecordMeta, definition: MachineDefinition): DurableRecord {
    const text = wholeOf(address, stored, 'm', stored.get('m')!)
    const revived = holdsReference(text) ? (decodeJson(text.slice(sumLength), (ref) => host.remote(ref.address ?? ref.id, ref.n)) as RecordMeta) : meta
    const record = new DurableRecord(host, address, definition, revived)
    try {
      record.fill(stored)
    } catch (error) {
      if (error instanceof SnapshotError) throw error
      throw new SnapshotError(address, 'corrupted', error instanceof Error ? error.message : String(error))
    }
    return record
  }

  private fill(stored: StoredFields): void {
    const { tree, address, addressSum } = this
    // Cells first, parents before children, so that references find them; then what they hold.
    const revive = (ref: StoredRef): unknown => tree.revive(ref)
    const heads: { readonly number: number; readonly text: string; head: StoredCell }[] = []
    const contexts: { readonly cell: number; readonly key: string; readonly place: number; readonly text: string }[] = []
    const timers: [string, string][] = []
    const asks: [string, OpenAsk][] = []
    let tail = ''
    let large = 0
    for (const [name, sealed] of stored) {
      // The caller has read it.
      if (name === 'm') continue
      if (name[0] === largeValuePrefix) {
        large++
        this.large ??= LargeValues.in(stored)
        continue
      }
      const value = unseal(address, addressSum, name, wholeOf(address, stored, name, sealed))
      switch (name[0]) {
        case 'c': {
          const colon = name.indexOf(':')
          const space = value.indexOf(' ')
          contexts.push({ cell: Number(name.slice(1, colon)), key: name.slice(colon + 1), place: Number(value.slice(0, space)), text: value.slice(space + 1) })
          break
        }
        case 's':
          heads.push({ number: Number(name.slice(1)), text: value, head: JSON.parse(value) as StoredCell })
          break
        case 't':
          timers.push([name.slice(1), value])
          break
        case 'z':
          tail = value
          break
        case 'f':
          this.failure = JSON.parse(value) as Failure
          break
        case 'n':
          this.entries = JSON.parse(value) as Record<string, number>
          break
        case 'k':
          this.asked = JSON.parse(value) as Record<string, string>
          break
        case 'h':
          this.history = decodeMark(value)
          break
        case 'a':
          asks.push(JSON.parse(value) as [string, OpenAsk])
          break
        default:
      }
    }
    const [turns, count, nextNumber, status, endedAt, found] = tail.split(' ')
    if (Number(count) !== stored.size - large) throw new SnapshotError(address, 'corrupted', `it has ${stored.size - large} fields where it should have ${Number(count)}`)
    this.introduced = true
    if (asks.length > 0) tree.asks = new Map(asks)
    this.endedAt = Number(endedAt)
    this.turns = Number(turns)
    this.status = status as RecordStatus
    tree.nextNumber = Number(nextNumber)
    if (heads.length > 1) heads.sort((a, b) => a.number - b.number)
    if (contexts.some(({ cell, place }, i) => i > 0 && (cell - contexts[i - 1]!.cell || place - contexts[i - 1]!.place) < 0)) contexts.sort((a, b) => a.cell - b.cell || a.place - b.place)
    const running = this.status === 'active' || this.status === 'failed'
    for (const { number, head } of heads) {
      const cell = tree.restore({
        number,
        id: head.id,
        parent: head.parent,
        src: head.src,
        systemId: head.systemId,
        sync: head.sync === true,
        running: running && head.status === 'active',
      })
      cell.entry = head.entry ?? 0
    }
    let next = 0
    for (const { number, text, head: unrevived } of heads) {
      const cell = tree.cells.get(number)!
      const head = holdsReference(text) ? (decodeJson(text, revive) as StoredCell) : unrevived
      if (cell.kind === 'machine') {
        const snapshot = tree.restoreSnapshot(cell, {
          status: head.status,
          value: head.value,
          historyValue: head.history,
          output: head.output,
          error: head.error,
        })
        if (head.nodes) snapshot._nodes = head.nodes.map((id) => snapshot.machine.getStateNodeById(`#${id}`))
        const { children } = head
        if (children) snapshot.children = Object.fromEntries(Object.keys(children).map((id) => [id, tree.cells.get(children[id]!)!]))
        cell._snapshot = snapshot
        // One text is read more quickly than many.
        let context = ''
        for (; contexts[next]?.cell === number; next++) context += `${context && ','}${quoted(contexts[next]!.key)}:${contexts[next]!.text}`
        if (context) snapshot.context = decodeJsonOf(`{${context}}`, revive)
      } else {
        cell._snapshot = {
          status: head.status,
          output: head.output,
          error: head.error,
          ...('context' in head || cell.kind !== 'promise' ? { context: head.context } : {}),
          ...(isEffectKind(cell.kind) ? { input: head.input } : {}),
          ...(head.asked ? { asked: head.asked } : {}),
        }
      }
    }
    if (next < contexts.length) throw new Error(`there is no child ${contexts[next]!.cell} for a context`)
    for (const cell of tree.cells.values()) if (heads.length > 0) this.markSaved(cell)
    if (found === foundMark) this.foundAs = this.standsAs
    for (const [key, text] of timers) {
      const timer = decodeJson(text, revive) as StoredTimer
      tree.timers.set(key, {
        key,
        dueAt: timer.due,
        order: timer.order,
        event: timer.event,
        source: timer.source,
        target: typeof timer.target === 'number' ? timer.target : this.remote(timer.target.address, timer.target.n),
      })
    }
  }
}

/** In field `z`: the store finds the actor as it stands. */
const foundMark = 'f'

/** Actions, effects and messages of one turn, inclusive. */
export const actsMax = 8_192

/** @throws TurnError for what no message brought: nobody could be answered by it */
function checkToken(token: ReplyToken | undefined): void {
  if (token === undefined) return
  const { id, to } = (token ?? {}) as Partial<ReplyToken>
  if (typeof id === 'string' && id !== '' && (to === undefined || isPlace(to))) return
  throw new TurnError('command', `A reply has a token that no message brought: ${JSON.stringify(token)}. Keep the replyToken of the event as it came.`)
}

function isPlace(to: unknown): boolean {
  const { to: address, cell, effect } = (to ?? {}) as Record<string, unknown>
  return typeof address === 'string' && parseAddress(address) !== '' && Number.isSafeInteger(cell) && typeof effect === 'string'
}

function storedTimerOf({ dueAt, order, event, source, target }: Timer): StoredTimer {
  return { due: dueAt, order, event, source, target: typeof target === 'number' ? target : { address: target.address, ...(target.cell === undefined ? {} : { n: target.cell }) } }
}

/** Ids of asks are longer than a field's name may be. */
function fieldOfAsk(ask: string): string {
  return `a${createHash('sha256').update(ask).digest('hex').slice(0, 16)}`
}

/** As JSON; most keys are names. */
function quoted(key: string): string {
  return /^[\w$.-]*$/.test(key) ? `"${key}"` : JSON.stringify(key)
}

/** Keys of a context that are stored: undefined counts as absent. */
function keysOf(context: XMachineSnapshot['context']): number {
  let count = 0
  for (const key in context) if (context[key] !== undefined) count++
  return count
}

/** Whether all but the context is the same, by reference: XState keeps what a transition did not touch. */
function sameHead(a: XMachineSnapshot, b: XMachineSnapshot): boolean {
  return a._nodes === b._nodes && a.children === b.children && a.historyValue === b.historyValue && a.status === b.status && a.output === b.output && a.error === b.error
}

function firstByKey(changes: readonly (readonly [string, Timer | undefined])[]): Iterable<readonly [string, Timer | undefined]> {
  if (changes.length < 2) return changes
  const first = new Map<string, Timer | undefined>()
  for (const [key, timer] of changes) if (!first.has(key)) first.set(key, timer)
  return first
}

function freeze(value: unknown): void {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value) || isCell(value) || value instanceof RemoteRef) return
  Object.freeze(value)
  for (const inner of Object.values(value)) freeze(inner)
}

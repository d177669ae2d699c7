/**
 * All contact with XState's insides, pinned to 5.33: the actors of one record, stepped by us.
 *
 * XState's machines are pure functions behind `ActorLogic`; what makes them actors is `createActor`. This module is our
 * `createActor`: it calls `machine.transition(snapshot, event, scope)` with a scope and a system of its own, moves
 * messages between the actors of the record exactly as XState does (mailboxes, deferred sends, done and error events,
 * in that order), and hands everything that leaves the record back as {@link Act} data. Nothing here reads a clock,
 * draws chance or does I/O. Names of acts follow XState 6's effects, so that its port is an adapter.
 *
 * A1  A turn either completes or leaves no trace: every mutation of a cell goes through {@link ActorTree.touch} and is
 *     put back by {@link ActorTree.undo}.
 * A2  Cells are numbered record-wide and a number is never used again, so a stored reference to a stopped child stays dead.
 * A3  A child that the turn starts, stops or replaces appears in the acts in the order in which XState would have done it.
 *
 * Where we differ from `createActor` on purpose (each with its reason in docs/semantics.md): custom actions run after
 * the commit; a delay under a live id replaces it; a child spawned under a live id stops the old one; descendants of
 * a child that threw are stopped; a spawn without a registered name is refused.
 */
import { DeadlineError, TurnError, toStoredError, type StoredError } from '../../errors.js'
import { ASK, COMMAND, type Ask } from '../../protocol.js'
import { isExternal } from '../effect-names.js'
import { childAddress, type Address } from '../identity.js'
import { type StoredRef } from '../json.js'
import { askDeadlineMs, askDeadlineMsMax, askOfToken, isAskDeadline, pruned, withBegun, without, type Behalf, type OpenAsks } from '../open-asks.js'
import { SmallMap, withOne } from '../small-collections.js'
import {
  isEffectKind,
  isMachine,
  kindOf,
  macrostepsMax,
  resolveLogic,
  withBoundedLoops,
  type XAction,
  type XEvent,
  type XLogic,
  type XMachine,
  type XMachineSnapshot,
  type XSnapshot,
} from './insides.js'
import { activeSnapshot } from './snapshots.js'
import { stepOf } from './step.js'
import { Cell, NOT_STARTED, RUNNING, RemoteRef, STOPPED, sendTo, type Deferred } from './refs.js'
import { TurnAbort, type Asking, type Inspection, type Timer, type Turn } from './turn.js'

/** What the outside gives a tree: how to send when no turn is in progress, and who the record is. */
export interface TreeHost {
  readonly address: string
  /** `ref.send()` outside a turn: from an action, an effect or user code that kept a reference. */
  sendLater(cell: Cell, event: XEvent): void
  remote(address: string, cell?: number): RemoteRef
}

/** The actors of one record: a root and the children XState made inside it. It is also their XState `system`. */
export class ActorTree {
  readonly cells = new SmallMap<number, Cell>()
  readonly timers = new SmallMap<string, Timer>()
  /** What it works for; a turn that changes it makes another one. */
  asks: OpenAsks = undefined
  readonly root: Cell
  nextNumber = 1
  /** A turn that changes it changes a copy; most records share one that is empty. */
  private systemIds = noSystemIds
  private turn: Turn | undefined
  private readonly host: TreeHost

  constructor(host: TreeHost, machine: XMachine) {
    this.host = host
    this.root = new Cell(this, 0, host.address.slice(host.address.indexOf('/') + 1), withBoundedLoops(machine), undefined)
    this.cells.set(0, this.root)
  }

  get address(): string {
    return this.host.address
  }

  get isInspected(): boolean {
    return this.turn?.inspection !== undefined
  }

  sessionIdOf(number: number): string {
    return number === 0 ? this.host.address : `${this.host.address}#${number}`
  }

  // ── Turns ──

  /**
   * Runs one turn. If it throws a {@link TurnError} or the root ends in error, everything is put back and the error
   * returned; the turn's acts are then void.
   */
  run(turn: Turn, body: () => void): { readonly error: unknown } | undefined {
    this.turn = turn
    turn.nextNumberBefore = this.nextNumber
    try {
      body()
      if (turn.asking) this.settleAsks(turn, turn.asking)
      this.pruneCreated(turn)
      if (turn.asking) this.pruneAsks()
    } catch (thrown) {
      this.note(turn)
      this.undo(turn)
      return { error: thrown instanceof TurnAbort ? thrown.reason : thrown }
    } finally {
      this.turn = undefined
      depth = 0
    }
    this.note(turn)
    if (this.root._snapshot.status === 'error') {
      const { error } = this.root._snapshot
      this.undo(turn)
      return { error }
    }
    return undefined
  }

  /** How the actors stand at the end of a turn that is inspected. */
  private note({ inspection, removed }: Turn): void {
    if (!inspection) return
    for (const cell of this.cells.values()) inspection.after.set(cell, cell._snapshot)
    for (const cell of removed) inspection.after.set(cell, cell._snapshot)
  }

  /** Puts back everything the turn changed (A1). */
  undo(turn: Turn): void {
    for (const cell of turn.removed) this.cells.set(cell.number, cell)
    for (const cell of turn.created) this.cells.delete(cell.number)
    for (let i = turn.cells.length - 1; i >= 0; i--) {
      const cell = turn.cells[i]!
      cell._snapshot = turn.before[i]!
      cell._processingStatus = turn.statusBefore[i]!
      cell._open = cell._processingStatus === RUNNING
      cell._queue = undefined
      cell._deferred = undefined
      cell._flushing = false
    }
    for (const [key, timer] of turn.timerUndo.toReversed()) {
      if (timer) this.timers.set(key, timer)
      else this.timers.delete(key)
    }
    if (turn.systemIdsBefore) this.systemIds = turn.systemIdsBefore
    if (turn.asking) this.asks = turn.asking.before
    this.nextNumber = turn.nextNumberBefore
  }

  /** The first turn of the record. */
  begin(input: unknown): void {
    this.touch(this.root)
    this.root.options = { input }
    this.turn!.inspection?.events.push({ type: '@xstate.actor', actorRef: this.root, rootId: this.root.sessionId })
    this.root._snapshot = this.initialSnapshot(this.root, input)
    this.startCell(this.root)
  }

  /** An event from outside the record to one of its cells; nobody is told if the cell has gone. `from`: the actor that sent it, for those who inspect. */
  receive(number: number, event: XEvent, from?: string): void {
    const cell = this.cells.get(number)
    if (cell) this._relay(from === undefined || !this.turn!.inspection ? undefined : this.host.remote(from), cell, event)
    else this.turn!.dropped++
  }

  /** What an effect tells its own cell: a promise settled, an observable went on. */
  receiveOutcome(number: number, event: XEvent): void {
    const cell = this.cells.get(number)!
    this._relay(cell, cell, event)
  }

  /** An event that an effect cell sends to its parent: `sendBack` and event observables. */
  receiveFrom(number: number, event: XEvent): void {
    const cell = this.cells.get(number)
    if (cell?._parent && cell._processingStatus === RUNNING) this._relay(cell, cell._parent, event)
    else this.turn!.dropped++
  }

  /** A due timer. Returns false if it is not the one that was set last under its key. */
  fire(key: string, order: string): boolean {
    const timer = this.timers.get(key)
    if (timer?.order !== order) return false
    this.setTimer(key, undefined)
    const source = this.cells.get(timer.source)
    if (source && isEffectKind(source.kind)) {
      this.cutOff(source, timer.event['data'] as StoredError)
      return true
    }
    const target = typeof timer.target === 'number' ? this.cells.get(timer.target) : timer.target
    if (target) this._relay(source, target, timer.event)
    else this.turn!.dropped++
    return true
  }

  /** An action of the cell threw after its commit, or a callback threw while starting. */
  failCell(number: number, error: unknown): boolean {
    const cell = this.cells.get(number)
    if (!cell || cell._processingStatus !== RUNNING) return false
    this.touch(cell)
    cell._snapshot = { ...cell._snapshot, status: 'error', error }
    this.cellFailed(cell, error)
    return true
  }

  /** Stops the root, and with it everything. */
  stop(): void {
    this.stopCell(this.root)
  }

  // ── Cells, as XState's Actor does it (createActor.ts of 5.33, by method) ──

  /** `Actor._initState` for a new actor. */
  initialSnapshot(cell: Cell, input: unknown): XSnapshot {
    const scope = new Scope()
    scope.bind(cell)
    let snapshot: XSnapshot
    try {
      snapshot = cell.logic.getInitialSnapshot(scope, input)
    } catch (error) {
      if (error instanceof TurnAbort) throw error
      return { status: 'error', output: undefined, error }
    }
    // XState's own getInitialSnapshot catches everything, what is meant to abort the turn included.
    if (snapshot.error instanceof TurnAbort) throw snapshot.error
    return snapshot
  }

  /** `Actor.start` */
  startCell(cell: Cell): void {
    if (cell._processingStatus !== NOT_STARTED) return
    this.touch(cell)
    if (cell.systemId) this._set(cell.systemId, cell)
    cell._processingStatus = RUNNING
    const event: XEvent = { type: 'xstate.init', input: cell.options?.input }
    this.turn!.inspection?.events.push({ type: '@xstate.event', sourceRef: cell._parent, actorRef: cell, event, rootId: this.root.sessionId })
    switch (cell._snapshot.status) {
      case 'done':
        this.update(cell, cell._snapshot, event)
        return
      case 'error':
        this.cellFailed(cell, cell._snapshot.error)
        return
      default:
    }
    if (cell.kind === 'machine') {
      for (const child of Object.values((cell._snapshot as XMachineSnapshot).children)) {
        if (child?._snapshot.status === 'active') child.start()
      }
    } else if (isEffectKind(cell.kind)) {
      this.startEffect(cell)
    }
    this.update(cell, cell._snapshot, event)
    cell.options = undefined
    cell._open = cell._processingStatus === RUNNING
    this.flush(cell)
  }

  /** A question to another actor is a message of this turn, with its deadline among the record's timers. */
  private startEffect(cell: Cell): void {
    const turn = this.turn!
    turn.act({ type: '@xstate.start', cell })
    const asked = (cell.logic as { [ASK]?: (args: { input: unknown }) => Ask })[ASK]?.({ input: cell._snapshot.input })
    if (!asked) return
    const { to, event, deadlineMs = askDeadlineMs } = asked
    if (!isAskDeadline(deadlineMs)) {
      throw new TurnAbort(new TurnError('delay', `The question "${event.type}" to ${to} has a deadline of ${String(deadlineMs)}: use 0 to ${askDeadlineMsMax} ms.`))
    }
    turn.act({ type: '@xstate.ask', cell, to, event })
    this.scheduleEnd(cell, `An answer of ${to} to "${event.type}"`, deadlineMs)
  }

  /** By when an effect must have ended. */
  private scheduleEnd(cell: Cell, what: string, delay: number): void {
    this.schedule(cell, cell, { type: 'xstate.promise.reject', data: toStored(new DeadlineError(what, delay)) }, delay, 'deadline')
  }

  /** Ends an effect that runs: its process aborts it, and it is told. */
  private cutOff(cell: Cell, why: StoredError): void {
    this.turn!.act({ type: '@xstate.stop', cell, why })
    this._relay(cell, cell, { type: 'xstate.promise.reject', data: why })
  }

  // ── Asks (open-asks.ts) ──

  /** An ask that the record works for was cancelled, or, without an error, answered by whoever handed it on. Returns false if it works for none such. */
  endAsk(ask: string, error: StoredError | undefined): boolean {
    const turn = this.turn!
    const open = this.asks?.get(ask)
    if (!open) return false
    if (!error) {
      this.release(turn.asking!, ask)
      return true
    }
    turn.asking!.ended.push({ ask, children: open.children, error })
    this.asks = new Map(this.asks).set(ask, { ...open, by: Math.min(open.by, turn.at), over: error })
    for (const number of open.effects) {
      const cell = this.cells.get(number)
      // What changes the world is not cut in half.
      if (cell && isActive(cell) && !isExternal(cell)) this.cutOff(cell, error)
    }
    return true
  }

  /** It is answered: what still runs for it goes on as the machine's own. Those that were asked keep the deadline they were given. */
  private release(asking: Asking, ask: string): void {
    const open = this.asks?.get(ask)
    if (open) {
      asking.ended.push({ ask, children: open.children })
      for (const number of open.effects) {
        const cell = this.cells.get(number)
        if (cell && !(ASK in cell.logic)) this.setTimer(deadlineKey(number), undefined)
      }
      this.asks = without(this.asks, ask)
    }
    if (asking.behalf?.ask === ask) asking.behalf = undefined
  }

  /** At the end of a turn: what was answered is over, and what was begun is bound to the ask that the turn served. */
  private settleAsks(turn: Turn, asking: Asking): void {
    const { gone } = asking
    if (gone !== undefined && this.asks) this.asks = pruned(this.asks, { effect: () => true, timer: () => true, child: (address) => address !== gone })
    for (const act of turn.acts) {
      if (act.type !== 'command' || act.command.type !== 'reply') continue
      const ask = act.command.token ? askOfToken(act.command.token) : asking.isAsk ? asking.behalf?.ask : undefined
      if (ask !== undefined) this.release(asking, ask)
    }
    if (asking.behalf) this.bind(turn, asking, asking.behalf)
  }

  private bind(turn: Turn, asking: Asking, behalf: Behalf): void {
    const cells: Cell[] = []
    const children: string[] = []
    for (const act of turn.acts) {
      // A callback or an observable lives as long as its state: it has no end that could come too late.
      if (act.type === '@xstate.start' && act.cell.kind === 'promise' && isActive(act.cell)) cells.push(act.cell)
      else if (act.type === 'command' && (act.command.type === 'child.start' || act.command.type === 'child.restart') && !act.command.detached) children.push(childAddress(this.address as Address, act.command.machine, act.command.id))
    }
    const timers = new Set<string>()
    for (const [key] of turn.timerUndo) {
      const timer = this.timers.get(key)
      if (timer?.order.startsWith(turn.order()) && !isEffectKind(this.cells.get(timer.source)!.kind)) timers.add(timer.order)
    }
    if (cells.length + children.length + timers.size === 0) return
    asking.serving = { behalf, acts: turn.acts.length }
    this.asks = withBegun(this.asks, behalf, { effects: cells.map(({ number }) => number), timers: [...timers], children })
    const left = behalf.by - turn.at
    if (left > 0) {
      for (const cell of cells) this.limit(cell, behalf, left)
      return
    }
    // Too late (Q3).
    const over = this.asks!.get(behalf.ask)?.over
    for (const cell of cells) if (isActive(cell)) this.cutOff(cell, over ?? toStored(new DeadlineError(whatFor(cell), 0)))
  }

  /** An effect begun for an ask ends with it; an external action is let end by itself, and what follows it is cut off. */
  private limit(cell: Cell, behalf: Behalf, left: number): void {
    const own = this.timers.get(deadlineKey(cell.number))
    if (own ? own.dueAt > behalf.by : !isExternal(cell)) this.scheduleEnd(cell, whatFor(cell), left)
  }

  private pruneAsks(): void {
    const { asks } = this
    if (!asks) return
    const orders = new Set(this.timers.values().map(({ order }) => order))
    this.asks = pruned(asks, { effect: (number) => this.cells.has(number) && isActive(this.cells.get(number)!), timer: (order) => orders.has(order), child: () => true })
  }

  /** `Actor._send` and `Mailbox.enqueue` */
  enqueue(cell: Cell, event: XEvent): void {
    if (cell._processingStatus === STOPPED) {
      this.turn!.dropped++
      return
    }
    cell._queue = withOne(cell._queue, event)
    if (cell._open) this.flush(cell)
  }

  /** `Mailbox.flush` */
  private flush(cell: Cell): void {
    if (cell._flushing) return
    cell._flushing = true
    while (cell._queue?.length) this.process(cell, cell._queue.shift()!)
    cell._queue = undefined
    cell._flushing = false
  }

  /** `Actor._process` */
  private process(cell: Cell, event: XEvent): void {
    if (++this.turn!.macrosteps > macrostepsMax) {
      throw new TurnAbort(new TurnError('macrosteps', `One message led to more than ${macrostepsMax} macrosteps; the machine does not come to rest.`))
    }
    this.touch(cell)
    let next: XSnapshot
    const scope = (scopes[depth] ??= new Scope())
    depth++
    scope.bind(cell)
    try {
      next = this.transition(cell, event, scope)
    } catch (error) {
      if (error instanceof TurnAbort) throw error
      cell._snapshot = { ...cell._snapshot, status: 'error', error }
      this.cellFailed(cell, error)
      return
    } finally {
      depth--
    }
    this.update(cell, next, event)
    if (event.type === 'xstate.stop') this.close(cell)
  }

  /** The logic's own transition, except for what effects do on stop and callbacks on any event. */
  private transition(cell: Cell, event: XEvent, scope: Scope): XSnapshot {
    if (isEffectKind(cell.kind)) {
      if (event.type === 'xstate.stop') {
        this.turn!.act({ type: '@xstate.stop', cell })
        return { ...cell._snapshot, status: 'stopped', error: undefined, ...(cell.kind === 'callback' ? {} : { input: undefined }) }
      }
      if (cell.kind === 'callback') {
        this.turn!.act({ type: '@xstate.receive', cell, event })
        return cell._snapshot
      }
    }
    if (cell.kind === 'machine') return stepOf(cell.logic as XMachine)(cell._snapshot as XMachineSnapshot, event, scope)
    return cell.logic.transition(cell._snapshot, event, scope)
  }

  /** `Actor.update` */
  private update(cell: Cell, snapshot: XSnapshot, event: XEvent): void {
    const before = cell._snapshot
    cell._snapshot = snapshot
    let deferred: Deferred | undefined
    while ((deferred = cell._deferred?.shift())) {
      try {
        this.runDeferred(cell, deferred)
      } catch (error) {
        if (error instanceof TurnAbort) throw error
        cell._deferred!.length = 0
        cell._snapshot = { ...snapshot, status: 'error', error }
      }
    }
    cell._deferred = undefined
    if (cell.kind === 'machine') this.dropChildren(before as XMachineSnapshot, cell._snapshot as XMachineSnapshot)
    switch (cell._snapshot.status) {
      case 'active':
        if (cell._syncSnapshot && snapshot.status === 'active') {
          this._relay(cell, cell._parent!, { type: `xstate.snapshot.${cell.id}`, snapshot })
        }
        break
      case 'done':
        this.close(cell)
        if (cell !== this.root) {
          this._relay(cell, cell._parent!, { type: `xstate.done.actor.${cell.id}`, output: cell._snapshot.output, actorId: cell.id })
        }
        break
      case 'error':
        this.cellFailed(cell, cell._snapshot.error)
        break
      case 'stopped':
    }
    this.turn!.inspection?.events.push({ type: '@xstate.snapshot', actorRef: cell, event, snapshot, rootId: this.root.sessionId })
  }

  /** `Actor._error`, and the descendants, which XState leaves running unreachable. */
  private cellFailed(cell: Cell, error: unknown): void {
    if (cell._processingStatus !== STOPPED) {
      this.close(cell)
      this.stopDescendants(cell)
    }
    if (cell !== this.root) {
      this._relay(cell, cell._parent!, { type: `xstate.error.actor.${cell.id}`, error: error instanceof Error ? toStoredError(error) : error, actorId: cell.id })
    }
  }

  private stopDescendants(cell: Cell): void {
    if (cell.kind !== 'machine') return
    for (const child of Object.values((cell._snapshot as XMachineSnapshot).children ?? {})) {
      if (child instanceof Cell && child._processingStatus === RUNNING) this.stopCell(child)
    }
  }

  /** `Actor._stop` */
  stopCell(cell: Cell): void {
    if (cell._processingStatus === STOPPED) return
    this.touch(cell)
    if (cell._queue) cell._queue.length = 0
    if (cell._processingStatus === NOT_STARTED) {
      cell._processingStatus = STOPPED
      return
    }
    this.enqueue(cell, { type: 'xstate.stop' })
  }

  /** `Actor._stopProcedure` */
  private close(cell: Cell): void {
    if (cell._processingStatus !== RUNNING) return
    for (const timer of this.timers.values()) {
      if (timer.source === cell.number) this.setTimer(timer.key, undefined)
    }
    if (cell._queue) cell._queue.length = 0
    cell._open = false
    cell._processingStatus = STOPPED
    this._unregister(cell)
  }

  /**
   * Children that left `snapshot.children`: forgotten, and stopped if they still run, which happens when another was
   * spawned under the same id. XState lets such a child run on without an owner.
   */
  private dropChildren(before: XMachineSnapshot, after: XMachineSnapshot): void {
    if (before.children === after.children || !before.children) return
    const kept = new Set(Object.values(after.children ?? {}))
    for (const child of Object.values(before.children)) {
      if (!(child instanceof Cell) || kept.has(child)) continue
      if (child._processingStatus === RUNNING) this.stopCell(child)
      this.forget(child)
    }
  }

  /** Children that came and went within the turn: no snapshot ever held them, so {@link dropChildren} never saw them go. */
  private pruneCreated(turn: Turn): void {
    for (const cell of turn.created) {
      const parent = cell._parent!
      // XState would keep the systemId of an actor that never started taken for ever.
      if (cell._processingStatus !== RUNNING) this._unregister(cell)
      if (!this.cells.has(cell.number)) continue
      const owned = this.cells.get(parent.number) === parent && Object.values((parent._snapshot as XMachineSnapshot).children ?? {}).includes(cell)
      if (owned) continue
      if (cell._processingStatus === RUNNING) this.stopCell(cell)
      this.forget(cell)
    }
  }

  private forget(cell: Cell): void {
    if (!this.cells.delete(cell.number)) return
    this.turn!.remove(cell)
    if (cell.kind !== 'machine') return
    for (const child of Object.values((cell._snapshot as XMachineSnapshot).children ?? {})) {
      if (child instanceof Cell) this.forget(child)
    }
  }

  // ── Actions ──

  /** `actorScope.actionExecutor` */
  executeAction(cell: Cell, action: XAction): void {
    if (cell._processingStatus === RUNNING) this.perform(cell, action)
    else cell._deferred = withOne(cell._deferred, { run: 'execute', action })
  }

  private perform(cell: Cell, action: XAction): void {
    this.turn!.inspection?.events.push({ type: '@xstate.action', actorRef: cell, action: { type: action.type, params: action.params }, rootId: this.root.sessionId })
    switch (action.type) {
      case 'xstate.raise':
        if (typeof (action.params as { delay?: unknown }).delay !== 'number') return
        break
      case 'xstate.spawnChild':
        if (!(action.params as { actorRef?: Cell }).actorRef) return
        break
      case 'xstate.sendTo':
      case 'xstate.cancel':
      case 'xstate.emit':
        break
      case 'xstate.stopChild': {
        const child = action.params as Cell | undefined
        if (!child) return
        this.unregisterRecursively(child)
        if (child._processingStatus !== RUNNING) {
          this.stopChildOf(cell, child)
          return
        }
        break
      }
      case 'xstate.log': {
        const { value, label } = action.params as { value: unknown; label?: string }
        this.turn!.act({ type: '@xstate.log', cell, label, value })
        return
      }
      default: {
        const { exec } = action
        if (!exec) return
        const evaluate = exec[COMMAND]
        if (evaluate) {
          this.turn!.act({ type: 'command', cell, command: evaluate(action.info, action.params), event: action.info.event })
        } else {
          this.turn!.act({ type: '@xstate.action', cell, name: action.type, params: action.params, info: action.info, exec })
        }
        return
      }
    }
    cell._deferred = withOne(cell._deferred, { run: 'finish', action })
  }

  private runDeferred(cell: Cell, deferred: Deferred): void {
    if (typeof deferred === 'function') {
      deferred()
      return
    }
    const { action } = deferred
    if (deferred.run === 'execute') {
      this.perform(cell, action)
      return
    }
    switch (action.type) {
      case 'xstate.raise': {
        const { event, delay, id } = action.params as { event: XEvent; delay: number; id?: string }
        this.schedule(cell, cell, event, delay, id)
        return
      }
      case 'xstate.sendTo': {
        const { to, event, delay, id } = action.params as { to: Cell | RemoteRef; event: XEvent; delay?: number; id?: string }
        if (typeof delay === 'number') this.schedule(cell, to, event, delay, id)
        else this._relay(cell, to, event.type === 'xstate.error' ? { type: `xstate.error.actor.${cell.id}`, error: event['data'], actorId: cell.id } : event)
        return
      }
      case 'xstate.cancel':
        this.setTimer(`${cell.number}:${(action.params as { sendId: string }).sendId}`, undefined)
        return
      case 'xstate.spawnChild': {
        const { actorRef } = action.params as { actorRef: Cell }
        if (actorRef._processingStatus !== STOPPED) actorRef.start()
        return
      }
      case 'xstate.stopChild':
        this.stopChildOf(cell, action.params as Cell)
        return
      case 'xstate.emit':
        this.turn!.act({ type: '@xstate.emit', cell, event: (action.params as { event: XEvent }).event })
    }
  }

  private stopChildOf(cell: Cell, child: Cell): void {
    if (child._parent !== cell && child._processingStatus !== STOPPED) throw new Error(`Cannot stop child actor ${child.id} of ${cell.id} because it is not a child`)
    this.stopCell(child)
  }

  private unregisterRecursively(cell: Cell): void {
    if (cell.kind === 'machine') {
      for (const child of Object.values((cell._snapshot as XMachineSnapshot).children ?? {})) {
        if (child instanceof Cell) this.unregisterRecursively(child)
      }
    }
    this._unregister(cell)
  }

  private schedule(source: Cell, target: Cell | RemoteRef, event: XEvent, delay: number, id: string | undefined): void {
    if (!Number.isFinite(delay)) {
      throw new TurnAbort(new TurnError('delay', `A delay of ${delay} for event "${event.type}" in ${source.sessionId} is not a finite number of milliseconds.`))
    }
    const turn = this.turn!
    const ordinal = turn.timerCount++
    const order = `${turn.order()}${String(ordinal).padStart(4, '0')}`
    const key = `${source.number}:${id ?? `~${order}`}`
    this.setTimer(key, {
      key,
      dueAt: turn.at + Math.max(0, Math.ceil(delay)),
      order,
      event,
      source: source.number,
      target: target instanceof RemoteRef ? target : target.system === this ? target.number : this.remoteTo(target),
    })
  }

  private setTimer(key: string, timer: Timer | undefined): void {
    const before = this.timers.get(key)
    if (!before && !timer) return
    this.turn!.undoTimer([key, before])
    if (timer) this.timers.set(key, timer)
    else this.timers.delete(key)
  }

  /** First mutation of a cell in this turn: remember what it was (A1). */
  private touch(cell: Cell): void {
    const turn = this.turn!
    // Turns touch few cells; a scan beats a Set.
    if (turn.cells.includes(cell)) return
    turn.touch(cell)
  }

  // ── XState's system, as its code calls it ──

  /** Called by XState's `Actor` constructor: the number a child would be called by if it has no id. */
  _bookId(): string {
    return `x:${this.nextNumber}`
  }

  /** Called by XState's `Actor` constructor before the child's first snapshot, and by `macrostep`. */
  _sendInspectionEvent(event: { readonly type: Inspection['type']; readonly actorRef: Cell; readonly [key: string]: unknown }): void {
    if (event.type === '@xstate.actor') this.adopt(event.actorRef)
    this.turn!.inspection?.events.push({ ...event, rootId: this.root.sessionId })
  }

  /** Makes a freshly constructed XState actor one of our cells. */
  private adopt(actor: Cell): void {
    if (typeof actor.src !== 'string') {
      throw new TurnAbort(
        new TurnError('inline-spawn', `${actor._parent?.sessionId ?? this.address} spawned an actor without a registered name. Register it in setup({ actors }) and spawn it by that name, so that it can be found again after a restart.`),
      )
    }
    const kind = kindOf(actor.logic)
    if (kind === 'unknown') {
      throw new TurnAbort(new TurnError('logic', `Actor "${actor.src}" is a custom ActorLogic, which cannot be made durable. Use a machine, fromTransition, fromPromise, fromCallback or fromObservable.`))
    }
    Object.setPrototypeOf(actor, Cell.prototype)
    const number = this.nextNumber++
    const heavy = actor as unknown as Record<string, unknown>
    heavy['mailbox'] = heavy['observers'] = heavy['eventListeners'] = heavy['_actorScope'] = undefined
    if (kind === 'machine') actor.logic = withBoundedLoops(actor.logic as XMachine)
    Object.assign(actor, {
      number,
      kind,
      sessionId: this.sessionIdOf(number),
      systemId: undefined,
      _snapshot: { status: 'active' },
      send: sendTo.bind(undefined, actor),
      _syncSnapshot: actor._syncSnapshot === true,
      saved: undefined,
      keys: 0,
      _observers: undefined,
      _queue: undefined,
      _flushing: false,
      _open: false,
      _deferred: undefined,
      entry: 0,
    } satisfies Partial<Cell>)
    this.cells.set(number, actor)
    this.turn!.create(actor)
  }

  _register(): void {}

  _set(systemId: string, cell: Cell): void {
    const existing = this.systemIds.get(systemId)
    if (existing === cell) return
    if (existing) throw new Error(`Actor with system ID '${systemId}' already exists.`)
    this.writeSystemIds().set(systemId, cell)
  }

  _unregister(cell: Cell): void {
    if (cell.systemId === undefined || this.systemIds.get(cell.systemId) !== cell) return
    this.writeSystemIds().delete(cell.systemId)
  }

  private writeSystemIds(): Map<string, Cell> {
    const { turn, systemIds } = this
    if (systemIds === noSystemIds || (turn && !turn.systemIdsBefore)) this.systemIds = new Map(systemIds)
    if (turn) turn.systemIdsBefore ??= systemIds
    return this.systemIds
  }

  get(systemId: string): Cell | undefined {
    return this.systemIds.get(systemId)
  }

  getAll(): Record<string, Cell> {
    return Object.fromEntries(this.systemIds)
  }

  _relay(source: Cell | RemoteRef | undefined, target: Cell | RemoteRef, event: XEvent): void {
    if (target instanceof RemoteRef) {
      this.turn!.act({ type: '@xstate.sendTo', to: target, event })
    } else if (target.system !== this) {
      this.turn!.act({ type: '@xstate.sendTo', to: this.remoteTo(target), event })
    } else {
      this.turn!.inspection?.events.push({ type: '@xstate.event', sourceRef: source, actorRef: target, event, rootId: this.root.sessionId })
      target._send(event)
    }
  }

  /** `ref.send(event)` called by user code: inside a turn it is XState's relay, outside it is a message. */
  sendFromOutside(cell: Cell, event: XEvent): void {
    if (this.turn) this._relay(undefined, cell, event)
    else this.host.sendLater(cell, event)
  }

  private remoteTo(cell: Cell): RemoteRef {
    return this.host.remote(cell.system.address, cell.number === 0 ? undefined : cell.number)
  }

  // ── Restoring ──

  /** Makes a cell from its stored parts; parents come before their children. */
  restore(stored: RestoredCell): Cell {
    const parent = stored.parent === undefined ? undefined : this.cells.get(stored.parent)
    let cell = this.root
    if (parent) {
      const logic = resolveLogic(parent.logic as XMachine, stored.src!)
      if (!logic) throw new Error(`child "${stored.id}" runs "${stored.src}", which the machine no longer has`)
      cell = new Cell(this, stored.number, stored.id, isMachine(logic) ? withBoundedLoops(logic) : logic, parent)
      this.cells.set(cell.number, cell)
      cell.src = stored.src
      cell._syncSnapshot = stored.sync
    }
    cell._processingStatus = stored.running ? RUNNING : STOPPED
    cell._open = stored.running
    if (stored.systemId !== undefined) {
      cell.systemId = stored.systemId
      if (stored.running) this._set(stored.systemId, cell)
    }
    return cell
  }

  /** The machine snapshot of a restored cell; its children are put in by the caller. */
  restoreSnapshot(cell: Cell, parts: { status: XSnapshot['status']; value: unknown; historyValue: unknown; output: unknown; error: unknown }): XMachineSnapshot {
    const machine = cell.logic as XMachine
    const restore = (): XMachineSnapshot => {
      const scope = (scopes[0] ??= new Scope())
      scope.bind(cell)
      return machine.restoreSnapshot!({ ...parts, context: {}, children: {} }, scope) as XMachineSnapshot
    }
    const isPlain = parts.status === 'active' && parts.output === undefined && parts.error === undefined && parts.historyValue === undefined
    return isPlain ? activeSnapshot(machine, parts.value, restore) : restore()
  }

  /** A reference from stored context: one of our cells, a stopped one we no longer have, or an actor elsewhere. */
  revive(stored: StoredRef): Cell | RemoteRef {
    if (stored.address !== undefined) return this.host.remote(stored.address, stored.n)
    const cell = this.cells.get(stored.n ?? -1)
    if (cell) return cell
    const gone = new Cell(this, stored.n ?? -1, stored.id, goneLogic, this.cells.get(stored.p ?? 0) ?? this.root)
    gone._snapshot = { status: 'stopped' }
    gone._processingStatus = STOPPED
    return gone
  }
}

/** Under which an effect's timer stands by which it must have ended. */
export function deadlineKey(cell: number): string {
  return `${cell}:deadline`
}

/** Free of what a crash changes, ids of messages included: it may be kept in a context. */
function whatFor(cell: Cell): string {
  return `The answer of ${cell.system.address} for which "${cell.id}" was begun`
}

/** Where it stands in a turn says nothing. */
function toStored({ name, code, message }: DeadlineError): StoredError {
  return { name, code, message }
}

function isActive(cell: Cell): boolean {
  return cell._processingStatus === RUNNING && cell._snapshot.status === 'active'
}

export interface RestoredCell {
  readonly number: number
  readonly id: string
  readonly parent: number | undefined
  readonly src: string | undefined
  readonly systemId: string | undefined
  readonly sync: boolean
  readonly running: boolean
}

/** Stands for a child that has stopped and been forgotten. */
const goneLogic: XLogic = {
  transition: (snapshot) => snapshot as XSnapshot,
  getInitialSnapshot: () => ({ status: 'stopped' }),
  getPersistedSnapshot: (snapshot) => snapshot,
}

/**
 * XState's actor scope. Steps are synchronous, so a running actor borrows one from a pool by nesting depth; an actor
 * that is being created keeps its own, because XState's closures hold it until the actor starts.
 */
class Scope {
  self!: Cell
  id!: string
  sessionId!: string
  system!: ActorTree
  /** XState replaces this for the length of a microstep, so it must be an own, writable property. */
  actionExecutor: (action: XAction) => void = (action) => this.system.executeAction(this.self, action)
  readonly logger = (...args: unknown[]): void => {
    const labelled = args.length > 1
    this.system.executeAction(this.self, { type: 'xstate.log', params: { label: labelled ? args[0] : undefined, value: args[labelled ? 1 : 0] } } as XAction)
  }
  readonly defer = (run: () => void): void => {
    this.self._deferred = withOne(this.self._deferred, run)
  }
  readonly emit = (event: XEvent): void => {
    this.self._deferred = withOne(this.self._deferred, { run: 'finish', action: { type: 'xstate.emit', params: { event } } as unknown as XAction })
  }
  readonly stopChild = (child: Cell): void => {
    this.system.stopCell(child)
  }
  bind(cell: Cell): void {
    this.self = cell
    this.id = cell.id
    this.sessionId = cell.sessionId
    this.system = cell.system
  }
}

/** Never changed. */
const noSystemIds = new Map<string, Cell>()

const scopes: Scope[] = []
let depth = 0

/** Actors as XState and its users see them: the cells of a record, and actors elsewhere. */
import { TurnError } from '../../errors.js'
import { REF, currentlyEncoding, type StoredRef } from '../json.js'
import type { ActorTree } from './actor-tree.js'
import { kindOf, type LogicKind, type XAction, type XEvent, type XLogic, type XSnapshot } from './insides.js'

/** An actor with a record of its own, as seen from elsewhere. XState takes it for an actor reference. */
export class RemoteRef {
  readonly [REF] = true
  readonly id: string
  readonly sessionId: string
  readonly address: string
  /** A child inside that record, when the reference was one to a child. */
  readonly cell: number | undefined
  /** Set by the system that hands the reference out; without it the reference is only good inside a turn. */
  readonly deliver: ((ref: RemoteRef, event: XEvent) => void) | undefined
  constructor(address: string, cell?: number, deliver?: RemoteRef['deliver']) {
    this.address = address
    this.cell = cell
    this.id = address
    this.sessionId = cell === undefined ? address : `${address}#${cell}`
    this.deliver = deliver
  }
  get ref(): this {
    return this
  }
  send(event: XEvent): void {
    if (!this.deliver) throw new TurnError('logic', `A reference to ${this.address} can be sent to with sendTo(...), not by calling send here.`)
    this.deliver(this, event)
  }
  /** What XState's own `sendTo` calls: under `createActor`, as in tests of a chart, there is nobody elsewhere. */
  _send(): void {}
  getSnapshot(): XSnapshot {
    return { status: 'active' }
  }
  toJSON(): StoredRef {
    return { xstate$$type: 1, id: this.id, address: this.address, ...(this.cell === undefined ? {} : { n: this.cell }) }
  }
}

export const NOT_STARTED = 0
export const RUNNING = 1
export const STOPPED = 2
export type ProcessingStatus = 0 | 1 | 2

export interface ActorOptions {
  readonly input?: unknown
}

/** Held back while the actor processes: XState's `_deferred`. */
export type Deferred = (() => void) | { readonly run: 'execute' | 'finish'; readonly action: XAction }

/**
 * One actor of a record. Children that a machine spawns begin as XState's own `Actor`, because XState constructs them
 * inside the parent's step; {@link ActorTree.adopt} gives them this prototype before their first snapshot is made.
 */
export class Cell {
  get [REF](): true {
    return true
  }
  number: number
  kind: LogicKind
  logic: XLogic
  id: string
  src: unknown
  system: ActorTree
  systemId: string | undefined
  /** For the root of a durable child: a reference to the actor that started it. */
  _parent: Cell | undefined
  _snapshot: XSnapshot
  _processingStatus: ProcessingStatus
  _syncSnapshot: boolean
  /** The snapshot last written to the store; what differs from it by reference is written next. */
  saved: XSnapshot | undefined
  /** How many keys of its context are stored. */
  keys: number
  _observers: Set<Observer> | undefined
  _queue: XEvent[] | undefined
  _flushing: boolean
  _open: boolean
  _deferred: Deferred[] | undefined
  /** XState's actor options, until the actor has started. */
  options: ActorOptions | undefined
  /** For effects, set by the record: which entry of their invoke this is since the actor's start. */
  entry: number

  constructor(tree: ActorTree, number: number, id: string, logic: XLogic, parent: Cell | undefined) {
    this.number = number
    this.kind = kindOf(logic) as LogicKind
    this.logic = logic
    this.id = id
    this.src = undefined
    this.system = tree
    this.systemId = undefined
    this._parent = parent
    this._snapshot = { status: 'active' }
    this._processingStatus = NOT_STARTED
    this._syncSnapshot = false
    this.saved = undefined
    this.keys = 0
    this._observers = undefined
    this._queue = undefined
    this._flushing = false
    this._open = false
    this._deferred = undefined
    this.options = undefined
    this.entry = 0
  }

  get sessionId(): string {
    return this.system.sessionIdOf(this.number)
  }
  get ref(): this {
    return this
  }
  /** Bound, as XState's is: it may be handed on by itself. */
  get send(): (event: XEvent) => void {
    return sendTo.bind(undefined, this)
  }
  /** Called by XState's `Actor` constructor for a child, right after {@link ActorTree.adopt}. */
  _initState(): void {
    this._snapshot = this.system.initialSnapshot(this, this.options?.input)
  }
  start(): this {
    this.system.startCell(this)
    return this
  }
  _send(event: XEvent): void {
    this.system.enqueue(this, event)
  }
  _stop(): this {
    this.system.stopCell(this)
    return this
  }
  getSnapshot(): XSnapshot {
    return this._snapshot
  }
  getPersistedSnapshot(options?: unknown): unknown {
    return this.logic.getPersistedSnapshot(this._snapshot, options)
  }
  /** Told after the commit of each turn that changed this actor, in this process only. */
  subscribe(observer: Observer | ((snapshot: XSnapshot) => void)): { unsubscribe(): void } {
    const full = typeof observer === 'function' ? { next: observer } : observer
    ;(this._observers ??= new Set()).add(full)
    return { unsubscribe: () => void this._observers?.delete(full) }
  }
  toJSON(): StoredRef {
    const within = currentlyEncoding()
    if (within === undefined) return { xstate$$type: 1, id: this.id }
    if (within === this.system) {
      const parent = this.number === 0 ? 0 : (this._parent?.number ?? 0)
      return { xstate$$type: 1, id: this.id, n: this.number, ...(parent === 0 ? {} : { p: parent }) }
    }
    const { address } = this.system
    return { xstate$$type: 1, id: this.id, address, ...(this.number === 0 ? {} : { n: this.number }) }
  }
}

export interface Observer {
  next?(snapshot: XSnapshot): void
  error?(error: unknown): void
  complete?(): void
}

export function sendTo(cell: Cell, event: XEvent): void {
  cell.system.sendFromOutside(cell, event)
}

export function isCell(value: unknown): value is Cell {
  return typeof value === 'object' && value !== null && Cell.prototype.isPrototypeOf(value)
}


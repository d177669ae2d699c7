/** One turn: what it may undo, and what it asked for as data. */
import type { StoredError, TurnError } from '../../errors.js'
import type { Command } from '../../protocol.js'
import type { Behalf, OpenAsks } from '../open-asks.js'
import { withOne } from '../small-collections.js'
import type { XAction, XEvent, XSnapshot } from './insides.js'
import type { Cell, ProcessingStatus, RemoteRef } from './refs.js'

/** What leaves the record, in XState's order. Carried out only after the commit of the turn. */
export type Act =
  | { readonly type: '@xstate.action'; readonly cell: Cell; readonly name: string; readonly params: unknown; readonly info: XAction['info']; readonly exec: (info: unknown, params: unknown) => unknown }
  /** `again`: it may have run before. */
  | { readonly type: '@xstate.start'; readonly cell: Cell; readonly again?: true }
  /** `why`: the runtime has cut it off. Absent: its state was left, or its actor has ended. */
  | { readonly type: '@xstate.stop'; readonly cell: Cell; readonly why?: StoredError }
  | { readonly type: '@xstate.receive'; readonly cell: Cell; readonly event: XEvent }
  | { readonly type: '@xstate.sendTo'; readonly to: RemoteRef; readonly event: XEvent }
  | { readonly type: '@xstate.emit'; readonly cell: Cell; readonly event: XEvent }
  | { readonly type: '@xstate.log'; readonly cell: Cell; readonly label: string | undefined; readonly value: unknown }
  | { readonly type: '@xstate.ask'; readonly cell: Cell; readonly to: string; readonly event: XEvent }
  | { readonly type: 'command'; readonly cell: Cell; readonly command: Command; readonly event: XEvent }

/** A delayed event of the record, `raise` and `after` included. */
export interface Timer {
  /** `<source cell>:<send id>`: at most one per key. */
  readonly key: string
  /** Absolute, in ms of the namespace clock. */
  readonly dueAt: number
  /** Orders timers of one due time as they were set, shard-wide. */
  readonly order: string
  readonly event: XEvent
  readonly source: number
  /** A cell of this record by number, or an actor elsewhere. */
  readonly target: number | RemoteRef
}

/** XState's inspection event, as `createActor` would have sent it. */
export interface Inspection {
  readonly type: '@xstate.actor' | '@xstate.event' | '@xstate.snapshot' | '@xstate.microstep' | '@xstate.action'
  readonly rootId: string
  readonly actorRef: Cell
  readonly sourceRef?: Cell | RemoteRef | undefined
  readonly [key: string]: unknown
}

/** What XState's inspector would have seen of a turn, and how every actor of the record stood when it ended. */
export interface TurnInspection {
  readonly events: Inspection[]
  readonly after: Map<Cell, XSnapshot>
}

/** The ask that a turn's message is, or on whose behalf it was sent. */
export interface Asked {
  readonly behalf: Behalf | undefined
  /** Whether the message is the ask. */
  readonly isAsk: boolean
}

/** What a turn has to do with asks: only of a message that is one, or of a record that works for one. */
export interface Asking extends Asked {
  /** Whom the turn works for (Q1). */
  behalf: Behalf | undefined
  /** What the record worked for before. */
  readonly before: OpenAsks
  /** Asks that ended in it, and the children that are to hear of it: `error` if it was cancelled, else it was answered. */
  readonly ended: { readonly ask: string; readonly children: readonly string[]; readonly error?: StoredError }[]
  /** How many of the turn's acts, from the first, were done on that behalf: those that follow were done because it was over. */
  serving?: { readonly behalf: Behalf; readonly acts: number }
  /** The durable child that it hears has ended. */
  readonly gone?: string | undefined
}

/** Aborts the whole turn, past every error handler of the machine. */
export class TurnAbort {
  readonly reason: TurnError
  constructor(reason: TurnError) {
    this.reason = reason
  }
}

const none: never[] = []

/** One turn in progress, and, once it has ended, what it asked for. */
export class Turn {
  acts: Act[] = none
  /** Now, by the namespace clock: what delays count from. */
  readonly at: number
  /** Prefix of {@link Timer.order} for the timers of this turn; asked for only if it sets any. */
  readonly order: () => string
  /** Only if somebody inspects. */
  readonly inspection: TurnInspection | undefined
  /** Cells touched, with what they were before. */
  cells: Cell[] = none
  before: XSnapshot[] = none
  statusBefore: ProcessingStatus[] = none
  created: Cell[] = none
  removed: Cell[] = none
  /** For each key changed, in order: what stood under it before. */
  timerUndo: (readonly [string, Timer | undefined])[] = none
  systemIdsBefore: Map<string, Cell> | undefined
  nextNumberBefore = 0
  macrosteps = 0
  timerCount = 0
  /** Events that reached an actor which had stopped. */
  dropped = 0
  asking: Asking | undefined = undefined
  constructor(at: number, order: () => string, inspecting: boolean) {
    this.at = at
    this.order = order
    this.inspection = inspecting ? { events: [], after: new Map() } : undefined
  }

  act(act: Act): void {
    this.acts = withOne(this.acts, act)
  }
  create(cell: Cell): void {
    this.created = withOne(this.created, cell)
  }
  remove(cell: Cell): void {
    this.removed = withOne(this.removed, cell)
  }
  undoTimer(change: readonly [string, Timer | undefined]): void {
    this.timerUndo = withOne(this.timerUndo, change)
  }
  touch(cell: Cell): void {
    this.cells = withOne(this.cells, cell)
    this.before = withOne(this.before, cell._snapshot)
    this.statusBefore = withOne(this.statusBefore, cell._processingStatus)
  }
}

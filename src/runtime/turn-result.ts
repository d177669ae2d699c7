/** What goes into a turn of a record, and what comes out of it. */
import type { StoredError } from '../errors.js'
import type { Failure, FieldChanges, RecordStatus } from './stored-record.js'
import type { XEvent, XMachineSnapshot } from './xstate/insides.js'
import type { Cell } from './xstate/refs.js'
import type { Act, Asking, Timer, TurnInspection } from './xstate/turn.js'

/** What a turn can be about. */
export type RecordInput =
  /** The first turn; `event` is a first message that started the actor by itself. `anew`: there was one before, which is restarted from its input, or of which this takes the id. */
  | { readonly kind: 'start'; readonly input: unknown; readonly event?: XEvent; readonly anew?: 'restart' | 'again' }
  | { readonly kind: 'event'; readonly cell: number; readonly event: XEvent; /** The actor that sent it. */ readonly from?: string | undefined }
  /** An effect tells its own cell: a promise settled, an observable went on. */
  | { readonly kind: 'outcome'; readonly cell: number; readonly event: XEvent }
  /** A callback or an event observable sends to its parent. */
  | { readonly kind: 'emission'; readonly cell: number; readonly event: XEvent }
  | { readonly kind: 'timer'; readonly key: string; readonly order: string }
  /** An action threw after its commit, or a callback while it was started. */
  | { readonly kind: 'fault'; readonly cell: number; readonly error: unknown }
  | { readonly kind: 'stop' }
  /** An ask that it works for was cancelled, or, without an error, answered by whoever handed it on. */
  | { readonly kind: 'over'; readonly ask: string; readonly error?: StoredError | undefined }

const none: readonly never[] = []
const noFields: FieldChanges = new Map()

/** What one turn leaves behind. */
export interface TurnResult {
  /** False when the input found nothing to do, like a stale timer or outcome: then nothing else is set. */
  readonly changed: boolean
  readonly fields: FieldChanges
  /** The same as they are written: where there are large values, without these. */
  readonly written: FieldChanges
  /** About how long that is, names included, in UTF-16 units. */
  readonly chars: number
  /** What the actor is found by from now on, if it may be something else than before. */
  readonly terms: readonly string[] | undefined
  readonly timersSet: readonly Timer[]
  readonly timersCancelled: readonly Timer[]
  /** Effects that this turn started, anew or `again`, or ended, in order. */
  readonly effects: readonly { readonly cell: Cell; readonly running: boolean; readonly again?: true }[]
  /** For each act, in its place: what it sends or commands, encoded; the rest of the acts have none. */
  readonly encoded: readonly (string | undefined)[]
  readonly acts: readonly Act[]
  /** Only if somebody inspects. Of a failed turn: how far it came. */
  readonly inspection: TurnInspection | undefined
  readonly touched: readonly Cell[]
  /** Whom it worked for, and whose ask it ended; only of a turn that has to do with one. */
  readonly asking: Asking | undefined
  /** The record's number of this turn. */
  readonly turn: number
  /** The root's snapshot after the turn. */
  readonly snapshot: XMachineSnapshot
  /** Events that reached an actor which had stopped. */
  readonly dropped: number
  /** Set when the turn ended the record. */
  readonly ended: Exclude<RecordStatus, 'active'> | undefined
  /** Why it failed, if it did. */
  readonly failure: Failure | undefined
}

/** What a record fills in: at first that of a turn that found nothing to do. */
export class Result implements TurnResult {
  changed = false
  fields: FieldChanges = noFields
  written: FieldChanges = noFields
  chars = 0
  terms: readonly string[] | undefined = undefined
  timersSet: readonly Timer[] = none
  timersCancelled: readonly Timer[] = none
  effects: TurnResult['effects'] = none
  encoded: readonly (string | undefined)[] = none
  acts: readonly Act[] = none
  inspection: TurnInspection | undefined = undefined
  touched: readonly Cell[] = none
  asking: Asking | undefined = undefined
  turn: number
  snapshot: XMachineSnapshot
  dropped = 0
  ended: TurnResult['ended'] = undefined
  failure: Failure | undefined = undefined
  constructor(turn: number, snapshot: XMachineSnapshot) {
    this.turn = turn
    this.snapshot = snapshot
  }
}

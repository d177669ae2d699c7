/**
 * The history of an actor: for each turn what it was given, and sums of what came of it. It is written by the turn's own
 * commit into a stream that goes with the record; replay.ts runs the turns again.
 *
 * H1  A turn and its entry are one commit: there is no turn without its entry, and none twice.
 * H2  Entries are dropped only below a base, which is all of the record's fields as they stood after a turn. So whatever
 *     turn is kept can be reached from what is kept.
 * H3  A base is written after half of what is to be kept: with it go the entries before the base that came before. So
 *     between half of the bound and all of it is there, and one base more or less costs no reading and no second write.
 */
import { ConfigError, SnapshotError, type StoredError } from '../errors.js'
import { idPath } from './effect-names.js'
import type { Envelope, Message, ReplyTo } from './envelope.js'
import { chanceOf, childAddress, type Address } from './identity.js'
import type { LogAppend, Store } from './ports/store.js'
import type { DurableRecord } from './record.js'
import { sumLength, sumText, type Failure, type HistoryMark, type RecordMeta } from './stored-record.js'
import { historyStream } from './streams.js'
import type { RecordInput, TurnResult } from './turn-result.js'
import type { Act, Asked } from './xstate/turn.js'

/** How much of an actor's history is kept. It is bounded by all three; the bases are not counted, of which there are two at most, each as large as the actor's record. */
export interface HistoryOptions {
  /** Turns, inclusive; at least 2. At times half of them. Default 1,000. */
  readonly turnsMax?: number
  /** UTF-8 bytes of the turns, inclusive but for the last one; at least 2. At times half of them. Default 1 MiB. */
  readonly bytesMax?: number
  /** Older turns go as the actor goes on; one that rests keeps what it has as long as its record is kept. At least 2. Default 7 days. */
  readonly ageMs?: number
}

export type HistoryBounds = Required<HistoryOptions>

const defaults: HistoryBounds = { turnsMax: 1_000, bytesMax: 1_048_576, ageMs: 7 * 24 * 3_600_000 }

/** @throws ConfigError naming the option */
export function historyBounds(name: string, given: HistoryOptions | boolean | undefined): HistoryBounds | undefined {
  if (given === undefined || given === false) return undefined
  if (given === true) return defaults
  if (typeof given !== 'object' || given === null) throw new ConfigError(`${name}: expected true, false or { ${Object.keys(defaults).join(', ')} }, got ${String(given)}.`)
  for (const [key, value] of Object.entries(given)) {
    if (!(key in defaults)) throw new ConfigError(`${name}: there is no such option as ${key} (there are: ${Object.keys(defaults).join(', ')}).`)
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 2)) throw new ConfigError(`${name}.${key}: expected a whole number of at least 2, got ${String(value)}.`)
  }
  const { turnsMax = defaults.turnsMax, bytesMax = defaults.bytesMax, ageMs = defaults.ageMs } = given
  return { turnsMax, bytesMax, ageMs }
}

// ── What is kept ──

/** Of a message that became an event: what the runtime adds to what its sender wrote. */
interface Sent {
  /** Of the message. */
  readonly id: string
  readonly from?: string
  readonly replyTo?: ReplyTo
  /** Of a fact. */
  readonly chance?: number
}

/** What a turn was about. */
export type HistoryInput =
  /** `event`: the message that started the actor by itself. `anew`: restarted from its input, or begun again under its id. */
  | { readonly kind: 'start'; readonly meta: RecordMeta; readonly event?: Sent; readonly anew?: 'restart' | 'again' }
  | ({ readonly kind: 'event'; readonly cell?: number } & Sent)
  /** An effect tells the child inside the record that ran it. */
  | { readonly kind: 'outcome' | 'emission'; readonly cell: number; readonly id: string; readonly from?: string }
  /** An action threw after its commit. */
  | { readonly kind: 'fault'; readonly cell: number; readonly id: string }
  | { readonly kind: 'timer'; readonly key: string; readonly order: string }
  | { readonly kind: 'stop' }
  /** Taken up again from its last good snapshot. */
  | { readonly kind: 'resume'; readonly incarnation: number }
  /** The store refused what the turn wanted to write, so that it failed. */
  | { readonly kind: 'refused'; readonly failure: Failure }
  /** An ask that it worked for was over. */
  | { readonly kind: 'over'; readonly ask: string; readonly error?: StoredError | undefined }
  /** A failed actor was stopped. */
  | { readonly kind: 'give-up' }
  /** One that had ended was stopped by its parent. */
  | { readonly kind: 'end-again' }

/** One turn of a history. It is JSON. */
export interface HistoryTurn {
  /** Counts from 1 over the life of the record. */
  readonly turn: number
  /** Namespace time, ms. */
  readonly at: number
  readonly input: HistoryInput
  /** The ask that its message was, or on whose behalf that was sent. */
  readonly asked?: Asked
  /** What the order of its timers begins with, if it set any. */
  readonly order?: string
  /** The root's state after it, if that is another or may be. */
  readonly state?: unknown
  /** For each field of the record that it wrote, a checksum (CRC-32, eight digits); null where it took one away. */
  readonly sums: Readonly<Record<string, string | null>>
  /** What it asked for, in order; what that holds as a checksum behind the `#`. */
  readonly acts: readonly string[]
  /** The body of the message as it was sent; absent if there was none, or if it is what `meta` says. */
  readonly body?: unknown
}

/** All fields of a record as they stood after a turn. */
export interface HistoryBase {
  readonly turn: number
  readonly at: number
  readonly fields: Readonly<Record<string, string>>
}

/** What is kept of an actor's history. It is JSON: write it to a file, and `replay` it against the next version of its machine. */
export interface ActorHistory {
  /** Of this description. */
  readonly format: 1
  readonly address: Address
  /** Where it begins; absent: at the actor's start. */
  readonly base?: HistoryBase
  /** Without a gap, from the one after the base. */
  readonly turns: readonly HistoryTurn[]
}

export const historyFormat = 1

// ── Writing ──

/** What became a turn: an input of the record, or what the runtime did to it by itself. */
export type Happening = RecordInput | { readonly kind: 'refused' } | { readonly kind: 'give-up' } | { readonly kind: 'end-again' } | { readonly kind: 'resume'; readonly incarnation: number }

export interface Happened {
  readonly result: TurnResult
  readonly what: Happening
  readonly message: Message | undefined
  readonly asked: Asked | undefined
  /** Namespace time, ms. */
  readonly at: number
  /** Of the namespace. */
  readonly incarnation: string
}

/** What the commit of a turn appends to the history, after the turn; moves the record's mark on. */
export function remember(record: DurableRecord, bounds: HistoryBounds, happened: Happened): LogAppend[] {
  const { at } = happened
  const turn = record.turns
  const stream = historyStream(record.address)
  const appends: LogAppend[] = []
  let mark = record.history
  // If turns were not kept, because it was not wanted then, what there is leads nowhere: it begins anew with a base.
  const follows = mark ? mark.turn === turn - 1 : turn === 1
  if (follows) {
    const text = encodeTurn(record, happened)
    mark = { turn, base: mark?.base ?? 0, earlier: mark?.earlier ?? 0, bytes: (mark?.bytes ?? 0) + Buffer.byteLength(text), at: mark?.at ?? at }
    appends.push({ stream, text, max: mark.earlier + entriesSince(mark) })
  }
  if (!follows || isHalf(mark!, at, bounds)) {
    record.history = { turn, base: turn, earlier: follows ? entriesSince(mark!) : 0, bytes: 0, at }
    const base: HistoryBase = { turn, at, fields: Object.fromEntries(record.cutFields()) }
    appends.push({ stream, text: JSON.stringify({ base }), max: record.history.earlier + 1 })
  } else {
    record.history = mark
  }
  return appends
}

function entriesSince({ turn, base }: HistoryMark): number {
  return turn - base + (base === 0 ? 0 : 1)
}

function isHalf({ turn, base, bytes, at }: HistoryMark, now: number, { turnsMax, bytesMax, ageMs }: HistoryBounds): boolean {
  return (turn - base) * 2 >= turnsMax || bytes * 2 >= bytesMax || (now - at) * 2 >= ageMs
}

function encodeTurn(record: DurableRecord, { result, what, message, asked, at, incarnation }: Happened): string {
  const { turns: turn, failure } = record
  const { fields } = result
  const order = result.timersSet[0]?.order
  const rest = {
    ...(asked === undefined ? {} : { asked }),
    ...(order === undefined ? {} : { order: order.slice(0, order.lastIndexOf('.') + 1) }),
    ...(fields.has('s0') ? { state: result.snapshot.value } : {}),
    sums: sumsOf(fields),
    acts: actsOf(record.address, result),
  }
  const input = encodeInput(what, message, incarnation, failure, fields)
  // A start message says what the meta says.
  const body = message && message.envelope.body !== undefined && message.envelope.kind !== 'start' && what.kind !== 'refused' ? `,"body":${message.body}` : ''
  return `{"turn":${turn},"at":${at},"input":${input},${JSON.stringify(rest).slice(1, -1)}${body}}`
}

function encodeInput(what: Happening, message: Message | undefined, incarnation: string, failure: Failure | undefined, fields: TurnResult['fields']): string {
  switch (what.kind) {
    case 'start': {
      const { anew } = what
      const head = JSON.stringify({ kind: what.kind, ...(anew === undefined ? {} : { anew }), ...(what.event ? { event: sentBy(message!.envelope, incarnation) } : {}) })
      return `${head.slice(0, -1)},"meta":${fields.get('m')!.slice(sumLength)}}`
    }
    case 'event':
      return JSON.stringify({ kind: what.kind, ...(what.cell === 0 ? {} : { cell: what.cell }), ...sentBy(message!.envelope, incarnation) } satisfies HistoryInput)
    case 'outcome':
    case 'emission': {
      const { id, from } = message!.envelope
      return JSON.stringify({ kind: what.kind, cell: what.cell, id, ...(from === undefined ? {} : { from }) } satisfies HistoryInput)
    }
    case 'fault':
      return JSON.stringify({ kind: what.kind, cell: what.cell, id: message!.envelope.id } satisfies HistoryInput)
    case 'refused':
      return JSON.stringify({ kind: what.kind, failure: failure! } satisfies HistoryInput)
    case 'timer':
    case 'stop':
    case 'resume':
    case 'over':
    case 'give-up':
    case 'end-again':
      return JSON.stringify(what satisfies HistoryInput)
  }
}

function sentBy(envelope: Envelope, incarnation: string): Sent {
  const { id, from, replyTo } = envelope
  return { id, ...(from === undefined ? {} : { from }), ...(replyTo === undefined ? {} : { replyTo }), ...(envelope.kind === 'fact' ? { chance: chanceOf(incarnation, id) } : {}) }
}

/** Without what a turn is given, and without this history's own field. */
export function sumsOf(fields: Iterable<readonly [string, string | undefined]>): Record<string, string | null> {
  const sums: Record<string, string | null> = {}
  for (const [name, sealed] of fields) if (name !== 'm' && name !== 'h') sums[name] = sealed === undefined ? null : sumOfSealed(sealed)
  return sums
}

/** The one it bears, unless it holds a stack: that tells where in the runtime an error was thrown, and of a replay something else. */
function sumOfSealed(sealed: string): string {
  return sealed.includes('"stack":"') ? sumText(withoutStacks(sealed.slice(sumLength))) : sealed.slice(0, sumLength)
}

/** A stack is one that has frames: somebody's own `stack` may be what he stacks. */
export function withoutStacks(text: string): string {
  return text.replace(/"stack":"([^"\\]*(?:\\.[^"\\]*)*)"/g, (whole, stack: string) => (stack.includes('\\n    at ') ? '"stack":""' : whole))
}

/** What a turn asked for, as texts that are equal if that is. */
export function actsOf(address: Address, { acts, encoded }: TurnResult): string[] {
  return acts.map((act, i) => {
    const text = encoded[i]
    return text === undefined ? describe(address, act) : `${describe(address, act)} #${sumText(withoutStacks(text))}`
  })
}

function describe(address: Address, act: Act): string {
  switch (act.type) {
    case '@xstate.action':
      return `run action ${act.name}`
    case '@xstate.start':
      return `start ${act.cell.kind} ${idPath(act.cell)}`
    case '@xstate.stop':
      return `stop ${act.cell.kind} ${idPath(act.cell)}`
    case '@xstate.receive':
      return `tell ${idPath(act.cell)} ${act.event.type}`
    case '@xstate.sendTo':
      return `send ${act.event.type} to ${act.to.sessionId}`
    case '@xstate.ask':
      return `ask ${act.to} ${act.event.type}`
    case '@xstate.emit':
      return `emit ${act.event.type}`
    case '@xstate.log':
      return act.label === undefined ? 'log' : `log ${act.label}`
    case 'command':
      return describeCommand(address, act.command)
  }
}

function describeCommand(address: Address, command: (Act & { type: 'command' })['command']): string {
  switch (command.type) {
    case 'reply':
      return command.token === undefined ? 'reply' : `reply to ${command.token.id}`
    case 'append':
      return `append to ${command.shared ? 'shared stream' : 'stream'} ${command.stream}`
    case 'child.start':
      return `start ${childAddress(address, command.machine, command.id)}`
    case 'child.stop':
      return `stop ${childAddress(address, command.machine, command.id)}`
    case 'child.restart':
      return `restart ${childAddress(address, command.machine, command.id)} from ${command.from}`
    case 'child.send':
      return `send ${command.event.type} to ${childAddress(address, command.machine, command.id)}`
  }
}

// ── Reading ──

const pageMax = 256

/** What the store keeps of an actor's history, if anything. */
export async function readHistory(store: Store, shard: number, address: Address): Promise<ActorHistory | undefined> {
  const stream = historyStream(address)
  let base: HistoryBase | undefined
  let turns: HistoryTurn[] = []
  /** The turn after which the next entry must come; undefined: nothing leads to it. */
  let last: number | undefined
  for (let after = 0; ; ) {
    const page = await store.log(shard, stream, after, pageMax)
    for (const { seq, text } of page) {
      // Dropped while this was read.
      if (seq !== after + 1 && after > 0) last = undefined
      after = seq
      const entry = parse(address, text)
      if ('base' in entry) {
        // One in the middle of what is kept is where it will begin later.
        if (last === entry.base.turn) continue
        base = entry.base
        turns = []
        last = base.turn
      } else if (last === undefined ? entry.turn === 1 : entry.turn === last + 1) {
        turns.push(entry)
        last = entry.turn
      } else {
        last = undefined
      }
    }
    if (page.length < pageMax) return last === undefined ? undefined : { format: historyFormat, address, ...(base ? { base } : {}), turns }
  }
}

function parse(address: Address, text: string): HistoryTurn | { readonly base: HistoryBase } {
  try {
    return JSON.parse(text) as HistoryTurn | { readonly base: HistoryBase }
  } catch {
    throw new SnapshotError(address, 'corrupted', `an entry of its history is no JSON: ${text.slice(0, 80)}`)
  }
}

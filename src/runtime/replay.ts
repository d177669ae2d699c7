/**
 * Runs the turns of a history again: with the machine as it is today, in memory, without a clock, chance or I/O. Of each
 * turn it compares what the record then wrote and asked for with what was written and asked for when it happened, so that
 * a replay that goes through is the actor's life, and one that does not says where a machine has become another.
 */
import type { AnyStateMachine } from 'xstate'
import { ConfigError, SnapshotError } from '../errors.js'
import { idPath } from './effect-names.js'
import { eventIn, type Envelope } from './envelope.js'
import { actsOf, historyFormat, sumsOf, type ActorHistory, type HistoryBase, type HistoryTurn } from './history.js'
import { machineOf, parseAddress, type Address } from './identity.js'
import { decodeJson, defaultJsonLimits, type JsonLimits, type StoredRef } from './json.js'
import { MachineRegistry, type MachineDefinition } from './machines.js'
import { DurableRecord, type RecordHost } from './record.js'
import { addressSumOf, readMeta, unseal, wholeFields, type Failure, type RecordMeta, type RecordStatus } from './stored-record.js'
import type { TurnResult } from './turn-result.js'
import type { XEvent } from './xstate/insides.js'
import { RemoteRef } from './xstate/refs.js'

export interface ReplayOptions {
  /** The turn after which to stop, inclusive. Default: the last one. */
  readonly to?: number
  /** Those of the system, if it was given any: what was refused then is refused again. */
  readonly limits?: Partial<JsonLimits>
}

/** One turn, as the machine takes it today. */
export interface ReplayedTurn {
  readonly turn: number
  /** Namespace time, ms. */
  readonly at: number
  readonly kind: HistoryTurn['input']['kind']
  /** The event's type; of an effect's outcome, of a timer and so on that of the event that it becomes. Absent if there was none. */
  readonly type?: string
  /** The event, or the input of a start; absent if there was none. */
  readonly payload?: unknown
  /** The address of the actor that sent it. */
  readonly from?: string
  /** The child inside the record that it was for, or of whose effect it told: the ids down to it. */
  readonly child?: string
  /** The root's state; undefined before the start. */
  readonly before: unknown
  readonly after: unknown
  /** Keys of contexts that it wrote, those of children with their number before them: `#1.count`. */
  readonly changed: readonly string[]
  /** What it asked for, in order: actions, effects, messages. */
  readonly acts: readonly string[]
  readonly status: RecordStatus
  /** Why the actor failed in it, if it did. */
  readonly failure?: Failure
}

/** Where a replay leaves the path. */
export interface Divergence {
  /** The turn that comes out otherwise; that of the base, if not even that can be read. */
  readonly turn: number
  /** At least one. */
  readonly differences: readonly Difference[]
}

export interface Difference {
  /** A sentence without any data: `context.total is another`. */
  readonly what: string
  /** What it is now, where that can be told: the value of a key, the message of an error. What it was is kept as a checksum only. */
  readonly now?: unknown
}

export interface Replay {
  readonly address: Address
  /** Of the machine that had the last of these turns. */
  readonly version: string
  /** Those that were run, the one that diverged included. */
  readonly turns: readonly ReplayedTurn[]
  /** The number of the turn after which the actor stands as `snapshot` says. */
  readonly turn: number
  readonly status: RecordStatus
  /** As XState's `getPersistedSnapshot` gives it: `createActor(machine, { snapshot })` goes on from it. Undefined if the very start failed. */
  readonly snapshot: unknown
  /** The first turn that comes out otherwise than it did. No turn is run after it: what follows was an answer to something else. */
  readonly divergence?: Divergence
}

/**
 * Runs a history again, to its end or to a turn.
 *
 * ```ts
 * const history = JSON.parse(await readFile('test/histories/order-o-17.json', 'utf8'))
 * expect(replay(orderMachine, history).divergence).toBeUndefined()
 * ```
 *
 * @param machine as it is today: of the version that had these turns, or of another that is to take over from it
 * @throws ConfigError if there is no such turn in it, or it is no history
 * @throws SnapshotError if its base is damaged
 */
export function replay(machine: AnyStateMachine, history: ActorHistory, options: ReplayOptions = {}): Replay {
  const replayer = new Replayer(machine, history, options.limits)
  const first = history.base?.turn ?? 1
  const last = history.turns.at(-1)?.turn ?? first
  const { to = last } = options
  if (!(Number.isSafeInteger(to) && to >= first && to <= last)) throw new ConfigError(`to: the history of ${history.address} has turns ${first} to ${last}, got ${String(to)}.`)
  for (const turn of history.turns) {
    if (turn.turn > to || replayer.divergence) break
    replayer.step(turn)
  }
  const { turns, turn, version, status, snapshot, divergence } = replayer
  return { address: history.address, version, turns, turn, status, snapshot, ...(divergence ? { divergence } : {}) }
}

/** Checksums by field. */
type Sums = Map<string, string>

/** One replay under way. */
export class Replayer {
  readonly turns: ReplayedTurn[] = []
  divergence: Divergence | undefined
  /** The record as it now stands; undefined before the start. */
  record: DurableRecord | undefined
  private readonly address: Address
  private readonly definition: MachineDefinition
  private readonly host: RecordHost
  /** As it was, and as it is now. */
  private readonly was: Sums = new Map()
  private readonly is: Sums = new Map()

  constructor(machine: AnyStateMachine, history: ActorHistory, limits: Partial<JsonLimits> = {}) {
    checkHistory(history)
    this.address = parseAddress(history.address)
    this.definition = new MachineRegistry([{ machine, name: machineOf(this.address), history: true }]).of(machine)
    this.host = {
      limits: { ...defaultJsonLimits, ...limits },
      freeze: false,
      // Nothing is written.
      largeValueCharsMin: Infinity,
      // A reference that user code has kept is used after a turn only by what runs after a commit.
      sendLater: () => {},
      remote: (address, cell) => new RemoteRef(address, cell),
    }
    if (history.base) this.begin(history.base)
  }

  get turn(): number {
    return this.record?.turns ?? 0
  }

  get version(): string {
    return this.record?.meta.version ?? this.definition.version
  }

  get status(): RecordStatus {
    return this.record?.status ?? 'active'
  }

  get snapshot(): unknown {
    return this.record?.persisted()
  }

  private begin(base: HistoryBase): void {
    const fields = wholeFields(this.address, new Map(Object.entries(base.fields)))
    // Damage is no divergence.
    const sum = addressSumOf(this.address)
    for (const [name, sealed] of fields) unseal(this.address, sum, name, sealed)
    const meta = readMeta(this.address, fields)
    try {
      this.record = DurableRecord.decode(this.host, this.address, fields, meta, this.definition)
    } catch (error) {
      this.divergence = { turn: base.turn, differences: [{ what: 'the machine cannot read the state that the actor had', now: (error as Error).message }] }
      return
    }
    for (const sums of [this.was, this.is]) write(sums, sumsOf(fields))
  }

  step(turn: HistoryTurn): ReplayedTurn {
    const before = this.record?.begun ? this.record.snapshot.value : undefined
    const cell = 'cell' in turn.input && turn.input.cell ? this.record?.tree.cells.get(turn.input.cell) : undefined
    const child = cell && idPath(cell)
    const { result, payload } = this.run(turn)
    const { record } = this
    const sums = sumsOf(result.fields)
    write(this.was, turn.sums)
    write(this.is, sums)
    const acts = actsOf(this.address, result)
    const differences = [...this.differences({ ...turn, state: 'state' in turn ? turn.state : before }, result, sums), ...differingActs(turn.acts, acts)]
    if (differences.length > 0) this.divergence = { turn: turn.turn, differences }
    const { input } = turn
    const type = (payload as { type?: unknown } | undefined)?.type
    const replayed: ReplayedTurn = {
      turn: turn.turn,
      at: turn.at,
      kind: input.kind,
      ...(typeof type === 'string' && input.kind !== 'start' ? { type } : input.kind === 'start' && input.event ? { type: (turn.body as XEvent).type } : {}),
      ...(payload === undefined ? {} : { payload }),
      ...('from' in input && input.from !== undefined ? { from: input.from } : {}),
      ...(child === undefined ? {} : { child }),
      before,
      after: record!.begun ? record!.snapshot.value : undefined,
      changed: [...result.fields.keys()].filter((name) => name.startsWith('c')).map(contextKey),
      acts: acts.map(withoutSum),
      status: record!.status,
      ...(result.failure ? { failure: result.failure } : {}),
    }
    this.turns.push(replayed)
    return replayed
  }

  /** The turn, and what it was about as people want to see it. */
  private run({ turn, at, input, body, asked, order = `${turn}.` }: HistoryTurn): { readonly result: TurnResult; readonly payload?: unknown } {
    const { address, host } = this
    const revive = (ref: StoredRef): unknown => host.remote(ref.address ?? ref.id, ref.n)
    const text = body === undefined ? undefined : JSON.stringify(body)
    const given = text === undefined ? undefined : decodeJson(text, revive)
    const original = text === undefined ? undefined : (): string => text
    if (input.kind === 'start') {
      const { anew, event } = input
      const meta = decodeJson(JSON.stringify(input.meta), revive) as RecordMeta
      if (this.record && anew) {
        const { record, cleared } = this.record.anew(meta, anew === 'restart')
        this.record = record
        for (const sums of [this.was, this.is]) for (const [name] of cleared) sums.delete(name)
      } else {
        this.record = new DurableRecord(host, address, this.definition, meta)
      }
      const first = event && eventIn({ ...event, kind: 'event', to: address, body: given as XEvent }, undefined)
      const started = { kind: 'start', input: meta.input, ...(first ? { event: first } : {}) } as const
      return { result: this.record.run(started, at, () => order, false, original ?? (() => JSON.stringify(startBody(input.meta))), asked), payload: first ?? input.meta.input }
    }
    const record = this.record
    if (!record) throw new ConfigError(`history: that of ${address} begins neither with a base nor with a start.`)
    switch (input.kind) {
      case 'event': {
        const { id, replyTo, chance, cell = 0, from } = input
        const envelope = { id, to: address, kind: chance === undefined ? 'event' : 'fact', body: given as XEvent, ...(replyTo === undefined ? {} : { replyTo }) } as Envelope & { readonly kind: 'event' | 'fact' }
        const event = eventIn(envelope, chance)
        return { result: record.run({ kind: 'event', cell, event, from }, at, () => order, false, chance === undefined ? original : undefined, asked), payload: event }
      }
      case 'outcome':
      case 'emission':
        return { result: record.run({ kind: input.kind, cell: input.cell, event: given as XEvent }, at, () => order, false, original, asked), payload: given }
      case 'fault':
        return { result: record.run({ kind: 'fault', cell: input.cell, error: (given as { error: unknown }).error }, at, () => order, false, original, asked), payload: given }
      case 'timer': {
        const payload = record.tree.timers.get(input.key)?.event
        return { result: record.run(input, at, () => order, false, undefined, asked), payload }
      }
      case 'stop':
      case 'over':
        return { result: record.run(input, at, () => order, false, undefined, asked) }
      case 'resume':
        return { result: record.resume(input.incarnation) }
      case 'refused':
        return { result: record.fail(input.failure.error, input.failure.event, at), payload: input.failure.event }
      case 'give-up':
        return { result: record.giveUp(at) }
      case 'end-again':
        return { result: record.endAgain() }
    }
  }

  private *differences(turn: HistoryTurn, result: TurnResult, sums: HistoryTurn['sums']): Iterable<Difference> {
    if (!result.changed) {
      yield { what: 'it finds nothing to do' }
      return
    }
    const names = [...new Set([...Object.keys(turn.sums), ...Object.keys(sums)])].filter((name) => this.was.get(name) !== this.is.get(name))
    // The tail counts the fields: it says nothing that the others do not say better.
    const telling = names.length > 1 ? names.filter((name) => name !== 'z') : names
    for (const name of telling) yield this.difference(name, turn)
  }

  private difference(name: string, turn: HistoryTurn): Difference {
    const record = this.record!
    const how = this.was.has(name) ? (this.is.has(name) ? 'is another' : 'is gone') : 'is new'
    switch (name[0]) {
      case 'c':
        return { what: `context.${contextKey(name)} ${how}`, ...(this.is.has(name) ? { now: valueOf(record, name) } : {}) }
      case 's': {
        if (name !== 's0') return { what: `child ${childName(record, name)} ${how}` }
        const [was, is] = [turn.state, record.snapshot.value].map((value) => JSON.stringify(value) as string | undefined)
        return { what: was === undefined || was === is ? `the state ${is} is the same, but status, output, error or children of the machine are not` : `the state is ${is} and was ${was}` }
      }
      case 't':
        return { what: `timer ${name.slice(1)} ${how}` }
      case 'f':
        return this.is.has('f') ? { what: `it fails${this.was.has('f') ? ' otherwise' : ', and did not'}`, now: record.failure!.error.message } : { what: 'it does not fail, and did' }
      case 'n':
        return { what: `how often effects have begun ${how}` }
      case 'k':
        return { what: `which external actions were asked for ${how}` }
      default:
        return { what: `status, number of turns or number of children ${how}: it is ${record.status} after turn ${record.turns}` }
    }
  }
}

function write(sums: Sums, changes: HistoryTurn['sums']): void {
  for (const [name, sum] of Object.entries(changes)) {
    if (sum === null) sums.delete(name)
    else sums.set(name, sum)
  }
}

/** `c0:total` is `total` of the root, `c2:total` that of child 2. */
function contextKey(name: string): string {
  const colon = name.indexOf(':')
  const number = name.slice(1, colon)
  return `${number === '0' ? '' : `#${number}.`}${name.slice(colon + 1)}`
}

function childName(record: DurableRecord, name: string): string {
  const number = Number(name.slice(1))
  return `#${number} (${record.tree.cells.get(number)?.id ?? 'gone'})`
}

function valueOf(record: DurableRecord, name: string): unknown {
  const colon = name.indexOf(':')
  return (record.tree.cells.get(Number(name.slice(1, colon)))?._snapshot.context as Record<string, unknown> | undefined)?.[name.slice(colon + 1)]
}

const withoutSum = (act: string): string => act.replace(/ #[0-9a-f]{8}$/, '')

/** The first: what follows may only be shifted. */
function differingActs(was: readonly string[], is: readonly string[]): Difference[] {
  const at = Array.from({ length: Math.max(was.length, is.length) }, (_, i) => i).find((i) => was[i] !== is[i])
  if (at === undefined) return []
  const [before, now] = [was[at], is[at]].map((act) => act && withoutSum(act))
  if (before === undefined) return [{ what: `it asks for one thing more: ${now}` }]
  if (now === undefined) return [{ what: `it no longer asks for: ${before}` }]
  return [{ what: before === now ? `it asks for the same with other contents: ${now}` : `it asks for "${now}" where it asked for "${before}"` }]
}

/** What a start message says beside what it makes of it. */
function startBody({ input, parent, parentCell }: RecordMeta): object {
  return { ...(parent === undefined ? {} : { parent }), ...(parentCell === undefined ? {} : { parentCell }), ...(input === undefined ? {} : { input }) }
}

/** @throws ConfigError for what no history is */
function checkHistory(history: unknown): asserts history is ActorHistory {
  const { format, address, base, turns } = (history ?? {}) as Partial<ActorHistory>
  if (typeof address !== 'string' || !Array.isArray(turns) || typeof format !== 'number') throw new ConfigError(`history: expected what actor.history() gives, got ${history === null ? 'null' : typeof history === 'object' ? `an object with ${Object.keys(history as object).slice(0, 5).join(', ') || 'nothing in it'}` : typeof history}.`)
  if ((format as number) !== historyFormat) throw new ConfigError(`history: that of ${address} has format ${String(format)}, this version of holdfast reads ${historyFormat}.`)
  if (base !== undefined && (typeof base?.turn !== 'number' || !isObject(base.fields))) throw new ConfigError(`history: that of ${address} has a base without a turn and fields.`)
  let last = base?.turn ?? 0
  for (const entry of turns as readonly (Partial<HistoryTurn> | null)[]) {
    const { turn, at, input, sums, acts } = entry ?? {}
    if (turn !== last + 1) throw new ConfigError(`history: in that of ${address}, turn ${String(turn)} follows ${last}.`)
    if (typeof at !== 'number' || !isObject(sums) || !Array.isArray(acts)) throw new ConfigError(`history: in that of ${address}, turn ${turn} lacks its time, sums or acts.`)
    if (!isObject(input) || !(input.kind in kinds)) throw new ConfigError(`history: in that of ${address}, turn ${turn} was about ${JSON.stringify(input?.kind) ?? 'nothing'}, which this version of holdfast does not know.`)
    last = turn
  }
  if (last === 0) throw new SnapshotError(address, 'corrupted', 'its history is empty')
}

const kinds: Readonly<Record<HistoryTurn['input']['kind'], true>> = { start: true, event: true, outcome: true, emission: true, fault: true, timer: true, stop: true, resume: true, refused: true, over: true, 'give-up': true, 'end-again': true }

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

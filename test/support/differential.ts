/**
 * XState's own actor and our record of the same machine, driven in lock step and compared after every step.
 */
import { SimulatedClock, createActor, type AnyActor, type AnyActorRef, type AnyStateMachine } from 'xstate'
import { toStoredError } from '../../src/errors.js'
import { defaultJsonLimits } from '../../src/runtime/json.js'
import type { Address } from '../../src/runtime/identity.js'
import { MachineRegistry, type MachineDefinition } from '../../src/runtime/machines.js'
import { DurableRecord, type RecordHost } from '../../src/runtime/record.js'
import type { RecordInput } from '../../src/runtime/turn-result.js'
import { formatVersion, readMeta } from '../../src/runtime/stored-record.js'
import type { XEvent } from '../../src/runtime/xstate/insides.js'
import { RemoteRef, type Cell } from '../../src/runtime/xstate/refs.js'
import type { TurnInspection } from '../../src/runtime/xstate/turn.js'
import { Side, now, pathOf } from './machine-generator.js'

/* oxlint-disable typescript/no-explicit-any */
type Any = any

const address = 'root/a-1' as Address

/** One record, driven by hand: no store, no time but what the test says. */
export class RecordDriver implements RecordHost {
  readonly limits = defaultJsonLimits
  readonly freeze = true
  /** So low that some of what the generated machines keep is a large value. */
  readonly largeValueCharsMin = 40
  readonly side = new Side()
  readonly emitted: unknown[] = []
  readonly inspected: string[] = []
  readonly definition: MachineDefinition
  /** Told of each turn, when it has ended. */
  onInspection: ((root: Cell, inspection: TurnInspection) => void) | undefined
  record: DurableRecord
  /** The record as a store would hold it: changed only by what turns write. */
  readonly fields = new Map<string, string>()
  at = 0
  private turns = 0
  private readonly running = new Map<number, { receivers: ((event: unknown) => void)[]; dispose?: (() => void) | undefined }>()

  constructor(machine: AnyStateMachine) {
    this.definition = new MachineRegistry([{ machine, name: 'root' }]).of(machine)
    this.record = new DurableRecord(this, address, this.definition, {
      format: formatVersion,
      machine: 'root',
      version: this.definition.version,
      hash: this.definition.hash,
      incarnation: 1, generation: 1,
      startedAt: 0,
    })
  }

  sendLater(): void {
    throw new Error('nothing here sends outside a turn')
  }
  remote(to: string, cell?: number): RemoteRef {
    return new RemoteRef(to, cell)
  }

  run(input: RecordInput): void {
    if (this.record.status !== 'active') return
    now.side = this.side
    const order = `${String(this.turns++).padStart(8, '0')}.`
    const result = this.record.run(input, this.at, () => order, true)
    this.inspected.push(...(result.inspection?.events ?? []).map((event) => inspectionLine(event as never)))
    if (result.inspection) this.onInspection?.(this.record.tree.root, result.inspection)
    for (const [name, value] of result.written) {
      if (value === undefined) this.fields.delete(name)
      else this.fields.set(name, value)
    }
    for (const act of result.acts) {
      switch (act.type) {
        case '@xstate.action':
          act.exec(act.info, act.params)
          break
        case '@xstate.log':
          this.side.log.push(['log', act.label, act.value])
          break
        case '@xstate.emit':
          if (act.cell.number === 0) this.emitted.push(act.event)
          break
        case '@xstate.start':
          this.start(act.cell)
          break
        case '@xstate.stop':
          this.running.get(act.cell.number)?.dispose?.()
          break
        case '@xstate.receive':
          this.running.get(act.cell.number)?.receivers.forEach((receiver) => receiver(act.event))
          break
        default:
          throw new Error(`unexpected ${act.type}`)
      }
    }
  }

  private start(cell: Cell): void {
    const create = cell.logic.config as (args: unknown) => Any
    const tell = (event: XEvent): void => this.run({ kind: 'outcome', cell: cell.number, event })
    const receivers: ((event: unknown) => void)[] = []
    const common = { input: cell._snapshot.input, self: cell, system: cell.system, emit: () => {} }
    let dispose: (() => void) | undefined
    this.running.set(cell.number, { receivers })
    switch (cell.kind) {
      case 'promise':
        void create({ ...common, signal: new AbortController().signal })
        this.side.promises.set(pathOf(cell), {
          resolve: (data) => tell({ type: 'xstate.promise.resolve', data }),
          reject: (error) => tell({ type: 'xstate.promise.reject', data: toStoredError(error) }),
        })
        break
      case 'callback':
        dispose = create({
          ...common,
          sendBack: (event: XEvent) => this.run({ kind: 'emission', cell: cell.number, event }),
          receive: (listener: (event: unknown) => void) => void receivers.push(listener),
        })
        break
      default: {
        const subscription = create(common).subscribe({
          next: (data: unknown) =>
            cell.kind === 'observable' ?
              tell({ type: 'xstate.observable.next', data })
            : this.run({ kind: 'emission', cell: cell.number, event: data as XEvent }),
          error: (error: Error) => tell({ type: 'xstate.observable.error', data: toStoredError(error) }),
          complete: () => tell({ type: 'xstate.observable.complete' }),
        })
        dispose = () => subscription.unsubscribe()
      }
    }
    this.running.get(cell.number)!.dispose = dispose
  }

  /** Everything in memory thrown away and read back from the fields. */
  restore(): void {
    if (this.record.status === 'active') this.record = DurableRecord.decode(this, address, this.fields, readMeta(address, this.fields), this.definition)
  }

  nextDue(): number | undefined {
    const due = [...this.record.tree.timers.values()].map((timer) => timer.dueAt)
    return due.length === 0 ? undefined : Math.min(...due)
  }

  advanceTo(at: number): void {
    for (;;) {
      const due = [...this.record.tree.timers.values()].filter((timer) => timer.dueAt <= at).sort((a, b) => a.dueAt - b.dueAt || (a.order < b.order ? -1 : 1))
      const timer = due[0]
      this.at = timer?.dueAt ?? at
      if (!timer || this.record.status !== 'active') return
      this.run({ kind: 'timer', key: timer.key, order: timer.order })
    }
  }
}

/** XState's own actor under its simulated clock. */
export class NativeDriver {
  readonly side = new Side()
  readonly emitted: unknown[] = []
  readonly inspected: string[] = []
  readonly clock = new SimulatedClock()
  readonly actor: AnyActor

  constructor(machine: AnyStateMachine, input: unknown, inspect?: (event: Any) => void) {
    now.side = this.side
    this.actor = createActor(machine as Any, {
      id: 'a-1',
      input,
      clock: this.clock,
      inspect: (event: unknown) => {
        this.inspected.push(inspectionLine(event as never))
        inspect?.(event)
      },
      logger: (...args: unknown[]) => void this.side.log.push(['log', ...args]),
    } as Any)
    this.actor.on('*', (event: unknown) => void this.emitted.push(event))
    this.actor.subscribe({ error: () => {} })
  }
  start(): void {
    now.side = this.side
    this.actor.start()
  }
  send(event: XEvent): void {
    now.side = this.side
    this.actor.send(event)
  }
  advanceTo(at: number): void {
    now.side = this.side
    this.clock.set(at)
  }
}

/** An inspection event without what is only this side's: ids of sessions, and what it holds by reference. */
function inspectionLine(event: { type: string; actorRef: AnyActorRef; sourceRef?: AnyActorRef; event?: { type: string }; action?: { type: string }; snapshot?: { status: string; value?: unknown } }): string {
  const parts = [event.type, pathOf(event.actorRef as Any) || '(root)']
  if (event.event) parts.push(event.event.type)
  if (event.type === '@xstate.event') parts.push(`from ${event.sourceRef ? pathOf(event.sourceRef as Any) || '(root)' : 'outside'}`)
  if (event.action) parts.push(event.action.type)
  if (event.type === '@xstate.snapshot') parts.push(event.snapshot!.status, JSON.stringify(event.snapshot!.value ?? null))
  return parts.join(' ')
}

/** A snapshot tree in a form in which both sides must be equal. */
export function normalise(snapshot: Any, depth = 0): unknown {
  if (!snapshot) return snapshot
  const common = {
    status: snapshot.status,
    output: plain(snapshot.output),
    error: snapshot.error === undefined ? undefined : String(snapshot.error?.message ?? snapshot.error),
  }
  if (snapshot.machine === undefined) return { ...common, context: plain(snapshot.context) }
  return {
    ...common,
    value: snapshot.value,
    context: plain(snapshot.context),
    // A child that failed while starting has no tags yet, and gets them when its state is read back.
    tags: snapshot.status === 'active' ? [...snapshot.tags].sort() : [],
    history: Object.fromEntries(Object.entries(snapshot.historyValue as Record<string, { id: string }[]>).map(([id, nodes]) => [id, nodes.map((n) => n.id).sort()])),
    children: snapshot.status === 'error' ? {} : Object.fromEntries(Object.entries(snapshot.children as Record<string, AnyActorRef>).map(([id, ref]) => [id, normalise(ref?.getSnapshot(), depth + 1)])),
  }
}

function plain(value: Any): unknown {
  if (typeof value !== 'object' || value === null) return value
  if ('sessionId' in value && 'send' in value) return { ref: value.id }
  if (Array.isArray(value)) return value.map(plain)
  if (value instanceof Error) return { message: value.message }
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, v]) => v !== undefined)
      .map(([k, v]) => [k, plain(v)]),
  )
}

/** Delayed events as XState's scheduler lists them, and as our record does. */
export function nativeTimers(driver: NativeDriver): string[] {
  const { _scheduledEvents: events } = (driver.actor.system as Any).getSnapshot()
  return Object.values(events as Record<string, { source: AnyActorRef; id: string; delay: number; startedAt: number; event: { type: string } }>)
    .map((e) => `${pathOf(e.source as Any)} ${e.id} ${e.event.type}`)
    .sort()
}

export function recordTimers(driver: RecordDriver): string[] {
  return [...driver.record.tree.timers.values()]
    .map((timer) => `${pathOf(driver.record.tree.cells.get(timer.source)!)} ${timer.key.slice(timer.key.indexOf(':') + 1)} ${timer.event.type}`)
    .sort()
}

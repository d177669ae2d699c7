/**
 * What we use of XState's insides (5.33), typed by hand because most of it is marked internal, and how its kinds of
 * actor logic are told apart. With the other files of this folder, the only place that touches them.
 */
import type { COMMAND, Command } from '../../protocol.js'
import type { ActorTree } from './actor-tree.js'
import type { Cell } from './refs.js'

export interface XEvent {
  readonly type: string
  readonly [key: string]: unknown
}

/** What every logic's snapshot has. */
export interface XSnapshot {
  readonly status: 'active' | 'done' | 'error' | 'stopped'
  readonly output?: unknown
  readonly error?: unknown
  readonly input?: unknown
  readonly context?: unknown
  /** Ours, of a question that was sent: who was asked, and the id of the ask. XState hands on what it does not know. */
  readonly asked?: { readonly to: string; readonly ask: string }
}

export interface XMachineSnapshot extends XSnapshot {
  readonly machine: XMachine
  value: unknown
  context: Record<string, unknown>
  children: Readonly<Record<string, Cell>>
  historyValue: Readonly<Record<string, readonly { readonly id: string }[]>>
  tags: ReadonlySet<string>
  _nodes: readonly XStateNode[]
}

export interface XLogic {
  readonly config?: unknown
  readonly start?: (snapshot: unknown, scope: unknown) => void
  transition(snapshot: unknown, event: unknown, scope: unknown): XSnapshot
  getInitialSnapshot(scope: unknown, input: unknown): XSnapshot
  getPersistedSnapshot(snapshot: unknown, options?: unknown): unknown
  restoreSnapshot?(snapshot: unknown, scope: unknown): XSnapshot
}

export interface XMachine extends XLogic {
  readonly id: string
  readonly version?: string
  readonly config: { readonly context?: unknown; readonly [key: string]: unknown }
  readonly root: XStateNode
  readonly events: readonly string[]
  readonly implementations: {
    readonly actors: Record<string, unknown>
    readonly actions: Record<string, unknown>
    readonly guards: Record<string, unknown>
    readonly delays: Record<string, unknown>
  }
  readonly options: { readonly maxIterations: number }
  provide(implementations: object): XMachine
  getStateNodeById(id: string): XStateNode
}

export interface XStateNode {
  readonly id: string
  readonly key: string
  readonly parent?: XStateNode
  /** Keys from the root down; empty for the root. */
  readonly path: readonly string[]
  /** Of the document. */
  readonly order: number
  readonly type: string
  readonly history: string | false
  readonly states: Record<string, XStateNode>
  readonly transitions: Map<string, readonly XTransition[]>
  readonly always?: readonly XTransition[]
  readonly after: readonly (XTransition & { readonly delay: unknown })[]
  readonly initial?: { readonly target?: readonly XStateNode[]; readonly actions: readonly unknown[] }
  readonly invoke: readonly { readonly id: string; readonly src: string; readonly systemId?: string; readonly onSnapshot?: unknown }[]
  readonly entry: readonly unknown[]
  readonly exit: readonly unknown[]
  readonly tags: readonly string[]
  readonly output?: unknown
  /** The first of its transitions that takes the event, if there is one. */
  next(snapshot: XMachineSnapshot, event: XEvent): readonly XTransition[] | undefined
  readonly description?: string
  readonly meta?: unknown
  readonly config: Record<string, unknown>
}

export interface XTransition {
  readonly source: XStateNode
  readonly target?: readonly XStateNode[] | undefined
  readonly guard?: unknown
  readonly actions: readonly unknown[]
  readonly reenter: boolean
  readonly eventType: string
  readonly description?: string
}

export interface XAction {
  readonly type: string
  readonly info: { readonly context: unknown; readonly event: XEvent; readonly self: Cell; readonly system: ActorTree }
  readonly params: unknown
  readonly exec?: ((info: unknown, params: unknown) => unknown) & { [COMMAND]?: (args: unknown, params: unknown) => Command }
}

/** machine and reducer live in the record; the others are effects of which the record keeps input and status. */
export type LogicKind = 'machine' | 'reducer' | 'promise' | 'callback' | 'observable' | 'eventObservable'

const kinds = new WeakMap<object, LogicKind | 'unknown'>()

export function isMachine(logic: unknown): logic is XMachine {
  return typeof logic === 'object' && logic !== null && '__xstatenode' in logic
}

export function isEffectKind(kind: LogicKind): boolean {
  return kind !== 'machine' && kind !== 'reducer'
}

/**
 * XState's actor creators return look-alike objects without a tag, so each is told by how it answers the creators' own
 * events (promise.ts, callback.ts, observable.ts, transition.ts of 5.33).
 */
export function kindOf(logic: XLogic): LogicKind | 'unknown' {
  let kind = kinds.get(logic)
  if (kind === undefined) kinds.set(logic, (kind = classify(logic)))
  return kind
}

function classify(logic: XLogic): LogicKind | 'unknown' {
  if (isMachine(logic)) return 'machine'
  if (typeof logic?.transition !== 'function' || typeof logic.getInitialSnapshot !== 'function') return 'unknown'
  if (!logic.start) return 'reducer'
  const probe = { status: 'active', output: undefined, error: undefined, input: undefined, context: undefined }
  const answer = (event: object): XSnapshot | undefined => {
    try {
      return logic.transition(probe, event, { self: probe })
    } catch {
      return undefined
    }
  }
  if (answer({ type: 'xstate.promise.resolve', data: 1 })?.status === 'done') return 'promise'
  if (answer({ type: 'xstate.observable.complete' })?.status === 'done') {
    return answer({ type: 'xstate.observable.next', data: 1 })?.context === 1 ? 'observable' : 'eventObservable'
  }
  const initial = logic.getInitialSnapshot(undefined, 1)
  return initial.status === 'active' && initial.input === 1 ? 'callback' : 'unknown'
}

/** Macrosteps of one turn, and microsteps of one macrostep, beyond which a machine is taken to loop for ever. */
export const macrostepsMax = 1_000

const bounded = new WeakMap<XMachine, XMachine>()

/** The machine with its loops bounded; XState's own default is no bound at all. The user's object is left alone. */
export function withBoundedLoops(machine: XMachine): XMachine {
  if (machine.options.maxIterations <= macrostepsMax) return machine
  let copy = bounded.get(machine)
  if (!copy) {
    copy = machine.provide({})
    ;(copy.options as { maxIterations: number }).maxIterations = macrostepsMax
    bounded.set(machine, copy)
    bounded.set(copy, copy)
  }
  return copy
}

const parallel = new WeakMap<XMachine, boolean>()

export function hasParallel(machine: XMachine): boolean {
  let answer = parallel.get(machine)
  if (answer === undefined) {
    const visit = (node: XStateNode): boolean => node.type === 'parallel' || Object.values(node.states).some(visit)
    parallel.set(machine, (answer = visit(machine.root)))
  }
  return answer
}

/** The logic a stored `src` names: a registered one, or an inline invoke by its place (`xstate.invoke.0.node`). */
export function resolveLogic(machine: XMachine, src: string): XLogic | undefined {
  const inline = /^xstate\.invoke\.(\d+)\.(.*)/.exec(src)
  if (!inline) return machine.implementations.actors[src] as XLogic | undefined
  const invoke = machine.getStateNodeById(inline[2]!).config['invoke']
  const definition: unknown = Array.isArray(invoke) ? invoke[Number(inline[1])] : invoke
  return (definition as { src?: XLogic } | undefined)?.src
}


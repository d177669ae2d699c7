/**
 * A macrostep of a machine without parallel regions and history, as XState takes it, with what depends on the machine alone
 * worked out once: which states a transition leaves and enters, what they do then, and how the snapshot looks afterwards.
 * XState's `microstep` works that out for each event, with a dozen sets and lists; here it is a plan, found by transition.
 * What its actions and guards do is XState's own: their `resolve` and `check` are called as its `macrostep` calls them.
 *
 * The order of everything is that of the SCXML algorithm (https://www.w3.org/TR/scxml/#AlgorithmforSCXMLInterpretation) as
 * XState 5.33 has it; test/runtime/differential holds it against `createActor`, test/runtime/step against `machine.transition`.
 */
import { createActor, spawnChild, stopChild } from 'xstate'
import { resolveLogic, type XAction, type XEvent, type XMachine, type XMachineSnapshot, type XStateNode, type XTransition } from './insides.js'
import { STOPPED, type Cell } from './refs.js'

/** What a step needs of XState's actor scope. */
export interface StepScope {
  readonly self: Cell
  readonly system: { readonly isInspected: boolean; _sendInspectionEvent(event: object): void }
  readonly actionExecutor: (action: XAction) => void
  readonly defer: (run: () => void) => void
}

export type Step = (snapshot: XMachineSnapshot, event: XEvent, scope: StepScope) => XMachineSnapshot

/** A state that is active deepest, and what follows from it. */
interface Place {
  readonly leaf: XStateNode
  /** From the leaf up to the root. */
  readonly chain: readonly XStateNode[]
  readonly nodes: readonly XStateNode[]
  readonly value: unknown
  readonly tags: ReadonlySet<string>
  readonly hasAlways: boolean
  readonly plans: Map<XTransition, Plan>
}

/** What a transition does from one place. */
interface Plan {
  /** What is done on the way out, a list for each state. */
  readonly exits: readonly (readonly unknown[])[]
  readonly entries: readonly Entry[]
  /** Where it leads; undefined: it stays. */
  readonly to: Place | undefined
}

interface Entry {
  readonly node: XStateNode
  readonly actions: readonly unknown[]
  /** Ids of actors that begin here: its actions may send to them before they are there. */
  readonly invoked: readonly string[]
}

interface Resolvable {
  readonly type: string
  readonly assignment?: unknown
  readonly resolve: (scope: StepScope, snapshot: XMachineSnapshot, args: ActionArgs, params: unknown, action: unknown, extra: Extra) => [XMachineSnapshot, unknown, readonly unknown[] | undefined]
  readonly retryResolve?: (scope: StepScope, snapshot: XMachineSnapshot, params: unknown) => void
  readonly execute?: unknown
}

interface ActionArgs {
  readonly context: Record<string, unknown>
  readonly event: XEvent
  readonly self: Cell
  readonly system: unknown
}

interface Extra {
  readonly internalQueue: XEvent[]
  readonly deferredActorIds: readonly string[] | undefined
}

const steps = new WeakMap<XMachine, Step>()

/** How a machine takes an event: by plan, where plans can be made, else as XState does. */
export function stepOf(machine: XMachine): Step {
  let step = steps.get(machine)
  if (!step) steps.set(machine, (step = isPlannable(machine.root) ? new Planner(machine).step : (machine.transition as Step)))
  return step
}

/** One state is active deepest, and each transition leads to one. */
function isPlannable(node: XStateNode): boolean {
  if (node.type === 'parallel' || node.type === 'history') return false
  const isSingle = ({ target }: { readonly target?: readonly XStateNode[] | undefined }): boolean => (target?.length ?? 0) <= 1
  return [...node.transitions.values()].every((list) => list.every(isSingle)) && (node.always ?? []).every(isSingle) && Object.values(node.states).every(isPlannable)
}

class Planner {
  private readonly machine: XMachine
  private readonly places = new Map<XStateNode, Place>()

  constructor(machine: XMachine) {
    this.machine = machine
  }

  /** `macrostep` */
  readonly step: Step = (snapshot, event, scope) => {
    if (event.type === 'xstate.stop') return this.machine.transition(snapshot, event, scope) as XMachineSnapshot
    const first = this.select(snapshot, event)
    if (!first && event.type.startsWith('xstate.error.actor')) return this.machine.transition(snapshot, event, scope) as XMachineSnapshot
    const queue: XEvent[] = []
    let at = event
    let next = this.microstep(first, snapshot, scope, at, queue)
    let isAtRest = false
    for (let count = 1; next.status === 'active'; count++) {
      if (count > this.machine.options.maxIterations) throw new Error(`Infinite loop detected: ${this.machine.id} took more than ${this.machine.options.maxIterations} microsteps for "${event.type}" without coming to rest.`)
      let enabled: XTransition | undefined = isAtRest ? undefined : this.selectAlways(next, at)
      const before: XMachineSnapshot | undefined = enabled && next
      if (!enabled) {
        if (queue.length === 0) break
        at = queue.shift()!
        enabled = this.select(next, at)
      }
      next = this.microstep(enabled, next, scope, at, queue)
      isAtRest = next === before
    }
    if (next.status !== 'active') this.resolve(next, at, scope, Object.values(next.children).map((child) => stopChild(child as never)), { internalQueue: [], deferredActorIds: undefined }, undefined)
    return next
  }

  /** The innermost state that takes the event. */
  private select(snapshot: XMachineSnapshot, event: XEvent): XTransition | undefined {
    for (const node of this.placeOf(snapshot).chain) {
      const found = node.next(snapshot, event)
      if (found && found.length > 0) return found[0]
    }
    return undefined
  }

  /** `selectEventlessTransitions` */
  private selectAlways(snapshot: XMachineSnapshot, event: XEvent): XTransition | undefined {
    const { hasAlways, chain } = this.placeOf(snapshot)
    if (!hasAlways) return undefined
    for (const { always } of chain) {
      const found = always?.find(({ guard }) => guard === undefined || this.passes(guard, snapshot, event))
      if (found) return found
    }
    return undefined
  }

  /** `evaluateGuard` */
  private passes(guard: unknown, snapshot: XMachineSnapshot, event: XEvent): boolean {
    const { context } = snapshot
    const isInline = typeof guard === 'function'
    const name = typeof guard === 'string' ? guard : (guard as { readonly type: string }).type
    const resolved = isInline ? guard : this.machine.implementations.guards[name]
    if (!resolved) throw new Error(`The machine ${this.machine.id} has no guard "${name}".`)
    if (typeof resolved !== 'function') return this.passes(resolved, snapshot, event)
    const args = { context, event }
    const params = isInline || typeof guard === 'string' ? undefined : paramsOf(guard as object, args)
    if ('check' in resolved) return (resolved.check as (...all: unknown[]) => boolean)(snapshot, args, resolved)
    return (resolved as (...all: unknown[]) => boolean)(args, params)
  }

  private microstep(transition: XTransition | undefined, snapshot: XMachineSnapshot, scope: StepScope, event: XEvent, queue: XEvent[]): XMachineSnapshot {
    const next = transition ? this.take(transition, snapshot, scope, event, queue) : snapshot
    if (scope.system.isInspected) scope.system._sendInspectionEvent({ type: '@xstate.microstep', actorRef: scope.self, event, snapshot: next, _transitions: transition ? [transition] : [] })
    return next
  }

  private take(transition: XTransition, snapshot: XMachineSnapshot, scope: StepScope, event: XEvent, queue: XEvent[]): XMachineSnapshot {
    const place = this.placeOf(snapshot)
    const { exits, entries, to } = this.planOf(place, transition)
    const extra: Extra = { internalQueue: queue, deferredActorIds: undefined }
    let next = snapshot
    for (const actions of exits) next = this.resolve(next, event, scope, actions, extra, undefined)
    next = this.resolve(next, event, scope, transition.actions, extra, undefined)
    for (const { node, actions, invoked } of entries) {
      if (actions.length > 0) {
        const retries: [Resolvable, unknown][] = []
        next = this.resolve(next, event, scope, actions, { internalQueue: queue, deferredActorIds: invoked }, retries)
        for (const [action, params] of retries) action.retryResolve!(scope, next, params)
      }
      if (node.type === 'final') next = this.complete(node, next, event, scope, queue)
    }
    if (next.status === 'done') {
      const all = (to ?? place).chain.flatMap(({ exit }) => exit)
      next = this.resolve(next, event, scope, all, extra, undefined)
    }
    if (!to) return next
    return { ...next, _nodes: to.nodes, value: to.value, tags: to.tags }
  }

  /** A final state was entered: its parent is done, or the machine. */
  private complete(node: XStateNode, snapshot: XMachineSnapshot, event: XEvent, scope: StepScope, queue: XEvent[]): XMachineSnapshot {
    const { parent } = node
    if (parent) {
      const output = node.output === undefined ? undefined : outputOf(node.output, snapshot, event, scope)
      queue.push({ type: `xstate.done.state.${parent.id}`, output })
      if (parent.parent) return snapshot
    }
    const { root } = this.machine
    let output: unknown
    if (root.output !== undefined) {
      const ofNode = node.output !== undefined && parent ? outputOf(node.output, snapshot, event, scope) : undefined
      output = outputOf(root.output, snapshot, { type: `xstate.done.state.${node.id}`, output: ofNode }, scope)
    }
    return { ...snapshot, status: 'done', output }
  }

  /** `resolveAndExecuteActionsWithContext` */
  private resolve(snapshot: XMachineSnapshot, event: XEvent, scope: StepScope, actions: readonly unknown[], extra: Extra, retries: [Resolvable, unknown][] | undefined): XMachineSnapshot {
    let next = snapshot
    for (const action of actions) {
      const { context } = next
      const isInline = typeof action === 'function'
      const resolved = isInline ? action : this.machine.implementations.actions[typeof action === 'string' ? action : (action as { readonly type: string }).type]
      const args: ActionArgs = { context, event, self: scope.self, system: scope.system }
      const params = isInline || typeof action === 'string' ? undefined : paramsOf(action as object, { context, event })
      if (!resolved || !('resolve' in (resolved as object))) {
        const type = typeof action === 'string' ? action : isInline ? action.name || '(anonymous)' : (action as { readonly type: string }).type
        scope.actionExecutor({ type, info: args, params, exec: resolved } as XAction)
        continue
      }
      const builtin = resolved as Resolvable
      if (builtin.type === 'xstate.assign' && context) {
        next = this.assign(builtin.assignment, next, args, params, scope)
        continue
      }
      const [after, resolvedParams, further] = builtin.resolve(scope, next, args, params, builtin, extra)
      next = after
      if (retries && builtin.retryResolve) retries.push([builtin, resolvedParams])
      if (builtin.execute) scope.actionExecutor({ type: builtin.type, info: args, params: resolvedParams } as XAction)
      if (further) next = this.resolve(next, event, scope, further, extra, retries)
    }
    return next
  }

  /** `resolveAssign`: the states stay, so only context and children are new. */
  private assign(assignment: unknown, snapshot: XMachineSnapshot, { context, event, self, system }: ActionArgs, params: unknown, scope: StepScope): XMachineSnapshot {
    let spawned: Record<string, unknown> | undefined
    const spawn = (src: unknown, options?: { id?: string; systemId?: string; input?: unknown; syncSnapshot?: boolean }): unknown => {
      const isNamed = typeof src === 'string'
      const logic = isNamed ? resolveLogic(this.machine, src) : src
      if (!logic) throw new Error(`The machine ${this.machine.id} has no actor "${src as string}".`)
      const input = isNamed && typeof options?.input === 'function' ? (options.input as (args: object) => unknown)({ context, event, self }) : options?.input
      const ref = createActor(logic as never, { id: options?.id, parent: self, syncSnapshot: options?.syncSnapshot, input, src, systemId: options?.systemId } as never)
      spawned = { ...spawned, [ref.id]: ref }
      scope.defer(() => {
        if ((ref as unknown as Cell)._processingStatus !== STOPPED) ref.start()
      })
      return ref
    }
    const args = { context, event, spawn, self, system }
    let update: unknown
    if (typeof assignment === 'function') {
      update = (assignment as (args: object, params: unknown) => unknown)(args, params)
    } else {
      const found: Record<string, unknown> = {}
      for (const key of Object.keys(assignment as object)) {
        const one = (assignment as Record<string, unknown>)[key]
        found[key] = typeof one === 'function' ? (one as (args: object, params: unknown) => unknown)(args, params) : one
      }
      update = found
    }
    const after = Object.assign({}, context, update)
    return { ...snapshot, context: after, children: spawned ? { ...snapshot.children, ...(spawned as XMachineSnapshot['children']) } : snapshot.children }
  }

  // ── What depends on the machine alone ──

  private placeOf({ _nodes }: XMachineSnapshot): Place {
    // Entered last, as a rule.
    const last = _nodes[_nodes.length - 1]!
    return this.places.get(last) ?? this.placeAt(_nodes.find(isLeaf)!)
  }

  private placeAt(leaf: XStateNode): Place {
    let place = this.places.get(leaf)
    if (place) return place
    const chain = [leaf, ...ancestorsOf(leaf)]
    const nodes = chain.toReversed()
    let value: unknown = leaf.parent ? leaf.key : {}
    for (const { key, parent } of ancestorsOf(leaf)) if (parent) value = { [key]: value }
    place = { leaf, chain, nodes, value, tags: new Set(nodes.flatMap(({ tags }) => tags)), hasAlways: chain.some(({ always }) => always), plans: new Map() }
    this.places.set(leaf, place)
    return place
  }

  private planOf(place: Place, transition: XTransition): Plan {
    let plan = place.plans.get(transition)
    if (!plan) place.plans.set(transition, (plan = this.plan(place, transition)))
    return plan
  }

  /** `computeExitSet` and `computeEntrySet` for one transition with one target. */
  private plan(place: Place, { source, target: targets, reenter }: XTransition): Plan {
    const target = targets?.[0]
    if (!target) return { exits: [], entries: [], to: undefined }
    const isInner = !reenter && (target === source || isBelow(target, source))
    // Undefined: above the root, which is left and entered again.
    const domain = isInner ? source : (ancestorsOf(target).find((node) => isBelow(source, node)) ?? (reenter ? undefined : this.machine.root))
    const exited = place.chain.filter((node) => !domain || isBelow(node, domain))
    const byDefault = new Set<XStateNode>()
    const entered: XStateNode[] = [...ancestorsOf(target).filter((node) => !domain || isBelow(node, domain))].toReversed()
    if (!(isInner && target === source)) {
      entered.push(target)
      byDefault.add(target)
    }
    let leaf = target
    while (leaf.type === 'compound') {
      leaf = leaf.initial!.target![0]!
      entered.push(leaf)
      byDefault.add(leaf)
    }
    const to = this.placeAt(leaf)
    return {
      exits: exited.map((node) => [...node.exit, ...node.invoke.map(({ id }) => stopChild(id))]).filter((actions) => actions.length > 0),
      entries: entered
        .map((node) => ({
          node,
          actions: [...node.entry, ...node.invoke.map((invoke) => spawnChild(invoke.src, { ...invoke, syncSnapshot: !!invoke.onSnapshot } as never)), ...(byDefault.has(node) ? (node.initial?.actions ?? []) : [])],
          invoked: node.invoke.map(({ id }) => id),
        }))
        .filter(({ node, actions }) => actions.length > 0 || node.type === 'final'),
      to: to === place ? undefined : to,
    }
  }
}

const isLeaf = ({ type }: XStateNode): boolean => type === 'atomic' || type === 'final'

/** From its parent up to the root. */
function ancestorsOf({ parent }: XStateNode): XStateNode[] {
  const found: XStateNode[] = []
  for (let node = parent; node; node = node.parent) found.push(node)
  return found
}

function isBelow(node: XStateNode, above: XStateNode): boolean {
  return ancestorsOf(node).includes(above)
}

function paramsOf(described: object, args: object): unknown {
  if (!('params' in described)) return undefined
  const { params } = described
  return typeof params === 'function' ? (params as (args: object) => unknown)(args) : params
}

function outputOf(output: unknown, { context }: XMachineSnapshot, event: XEvent, { self }: StepScope): unknown {
  return typeof output === 'function' ? (output as (args: object) => unknown)({ context, event, self }) : output
}

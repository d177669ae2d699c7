/**
 * Walks all of a chart with @xstate/graph and tells what was reached: states, transitions and guard outcomes, with the
 * shortest way to each situation. Actors rest meanwhile: what they come to is tried in their place, as are delays.
 */
import { getAdjacencyMap, getShortestPaths } from '@xstate/graph'
import { and, createActor, fromPromise, getInitialMicrosteps, type AnyActor, type AnyMachineSnapshot, type AnyStateMachine, type ContextFrom, type EventFromLogic, type EventObject, type InputFrom, type SnapshotFrom } from 'xstate'
import { ConfigError, HoldfastError } from '../../errors.js'
import type { XMachine, XStateNode, XTransition } from '../../runtime/xstate/insides.js'
import { aFunction, anything, atLeast, isObject, list, mustBeMachine, optional, options as exactly, record, wrong, type Check } from '../options.js'

/** What an invoked actor comes to. */
export type Outcome = { readonly output: unknown } | { readonly error: unknown }

export interface ChartWalkOptions<M extends AnyStateMachine> {
  /** Walked from each of them. Default: once, without input. */
  readonly inputs?: readonly InputFrom<M>[]
  /** Events to try: the same everywhere, or by situation. */
  readonly events: readonly EventFromLogic<M>[] | ((snapshot: SnapshotFrom<M>) => readonly EventObject[])
  /** What invoked actors come to, by their `src`: each is tried wherever such an actor runs. Default: they run for ever. */
  readonly outcomes?: Readonly<Record<string, readonly Outcome[]>>
  /** What of the context tells two situations of the same state apart; JSON. The less it says, the shorter the walk. Default: nothing. */
  readonly facet?: (context: ContextFrom<M>, value: unknown) => unknown
  /** Situations times events that may be tried from one input. Default 40,000. */
  readonly limit?: number
}

export interface ChartWalk {
  /** History states aside: they are places to come back to, in which nothing ever is. */
  readonly states: Coverage
  /** Each by itself, also where several of one state have the same event, guard and target: their names then end with `#` and the place in the list, from 0. */
  readonly transitions: Coverage
  /**
   * Whether each guard came out true, and false. One with a name is one guard wherever it stands; one without goes by its place:
   * `order.open pay (inline)#0` is that of the first transition for `pay`. XState's `and`, `or`, `not` and `stateIn` go by their place,
   * too, and so does what stands in them without a name (`#0.1`); what has a name in them goes by it.
   */
  readonly guards: Coverage
  /** The shortest way to each situation that was met. */
  readonly paths: readonly ChartPath[]
  /** What was reached in one line, and what was not in one for each. */
  toString(): string
}

export interface Coverage {
  readonly total: number
  /** What was not reached, by name. */
  readonly missing: readonly string[]
}

export interface ChartPath {
  /** The state value at its end. */
  readonly value: unknown
  readonly events: readonly EventObject[]
}

/** The machine cannot be walked: it throws, or there is no end to it. */
export class ChartWalkError extends HoldfastError {
  constructor(message: string, cause?: unknown) {
    super('CHART_WALK', message, cause === undefined ? undefined : { cause })
  }
}

/**
 * Walks all that can be reached.
 *
 * ```ts no-run
 * const walk = walkChart(order, { events: [{ type: 'pay' }, { type: 'cancel' }], outcomes: { charge: [{ output: 1 }, { error: new Error('declined') }] } })
 * assert.deepEqual(walk.transitions.missing, [], String(walk))
 * ```
 *
 * @throws ChartWalkError if the machine throws, or there are more situations than `limit`
 * @throws ConfigError for options that cannot work
 */
export function walkChart<M extends AnyStateMachine>(given: M, options: ChartWalkOptions<M>): ChartWalk {
  mustBeMachine('walkChart', given)
  fits('walkChart: ', options)
  const { inputs = [undefined as never], outcomes = {}, limit = 40_000 } = options
  const known = new Set(allNodes(rootOf(given)).flatMap((node) => node.invoke.map(({ src }) => srcOf(src))))
  for (const src of Object.keys(outcomes)) if (!known.has(src)) throw new ConfigError(`walkChart: outcomes: ${given.id} invokes no "${src}" (it invokes: ${[...known].join(', ') || 'nothing'}).`)
  const guardOutcomes: Outcomes = new Map()
  const machine = watchingGuards(resting(given), guardOutcomes)
  const nodes = allNodes(rootOf(machine)).filter(({ type }) => type !== 'history')
  const transitions = nodes.flatMap(transitionsOf)
  // The machine is a copy, and its transitions with it.
  for (const { transition, where, place } of transitions) Object.assign(transition, { guard: watched(transition.guard, where, String(place), guardOutcomes) })
  const reached: Reached = { nodes: new Set(), transitions: new Set() }
  const paths = inputs.flatMap((input) => walkFrom(machine, input, traversal(options), limit, reached))
  const guards = [...guardOutcomes].flatMap(([name, seen]) => [true, false].map((outcome) => ({ name: `${name} ${outcome}`, seen: seen.has(outcome) })))
  const found = {
    states: { total: nodes.length, missing: nodes.filter((node) => !reached.nodes.has(node)).map(({ id }) => id) },
    transitions: { total: transitions.length, missing: transitions.filter(({ transition }) => !reached.transitions.has(transition)).map(({ name }) => name) },
    guards: { total: guards.length, missing: guards.filter(({ seen }) => !seen).map(({ name }) => name) },
    paths,
  }
  return { ...found, toString: () => report(given.id, found) }
}

const anEvent: Check = (name, value) => {
  if (!isObject(value) || typeof value['type'] !== 'string') wrong(name, 'an event', value)
}
const events: Check = (name, value) => {
  if (typeof value === 'function') return
  if (!Array.isArray(value)) wrong(name, 'a list of events or a function', value)
  list(anEvent)(name, value)
}
const outcome: Check = (name, value) => {
  if (!isObject(value) || !('output' in value || 'error' in value)) wrong(name, '{ output } or { error }', value)
}
const fits = exactly<ChartWalkOptions<AnyStateMachine>>({ inputs: optional(list(anything, 1)), events, outcomes: optional(record(list(outcome))), facet: optional(aFunction), limit: optional(atLeast(1)) })

function report(name: string, { states, transitions, guards, paths }: Pick<ChartWalk, 'states' | 'transitions' | 'guards' | 'paths'>): string {
  const part = (what: string, { total, missing }: Coverage): string => `${what} ${total - missing.length} of ${total}`
  const first = `${name}: ${part('states', states)}, ${part('transitions', transitions)}, ${part('guard outcomes', guards)}; ${paths.length} situations`
  return [first, ...states.missing.map((id) => `  not reached: ${id}`), ...transitions.missing.map((one) => `  not taken: ${one}`), ...guards.missing.map((one) => `  not seen: ${one}`)].join('\n')
}

/** The machine with actors that never answer: a walk sends what they would have said. */
export function resting(machine: AnyStateMachine): AnyStateMachine {
  const names = Object.keys((machine as unknown as XMachine).implementations.actors)
  return machine.provide({ actors: Object.fromEntries(names.map((name) => [name, fromPromise(() => new Promise(() => {}))])) } as never) as AnyStateMachine
}

/** How @xstate/graph is to go through a chart: what an actor comes to is only tried where that actor is. */
export function traversal<M extends AnyStateMachine>({ events, outcomes = {}, facet }: Pick<ChartWalkOptions<M>, 'events' | 'outcomes' | 'facet'>) {
  return {
    events: (state: AnyMachineSnapshot): EventObject[] => {
      if (state.status !== 'active') return []
      const children = state.children as Record<string, unknown>
      const given = typeof events === 'function' ? events(state as never) : events
      return [...given.filter(({ type }) => !/^xstate\.(?:done|error)\.actor\./.test(type) || children[type.replace(/^xstate\.(?:done|error)\.actor\./, '')] !== undefined), ...ownEvents(state, outcomes)]
    },
    // Two errors are two events.
    serializeEvent: (event: EventObject): string => JSON.stringify(event, (_, value: unknown) => (value instanceof Error ? Object.assign({}, value, { name: value.name, message: value.message }) : value)),
    serializeState: (state: AnyMachineSnapshot): string => JSON.stringify([state.value, state.status, facet?.(state.context as never, state.value)]),
  }
}

/** Delays that may pass in a state, and what its actors may come to. */
function ownEvents(state: AnyMachineSnapshot, outcomes: Readonly<Record<string, readonly Outcome[]>>): EventObject[] {
  return (state as unknown as { _nodes: XStateNode[] })._nodes.flatMap((node) => [
    ...[...node.transitions.keys()].filter((type) => type.startsWith('xstate.after.')).map((type) => ({ type })),
    ...node.invoke.flatMap(({ id, src }) => (outcomes[srcOf(src)] ?? []).map((outcome) => ('error' in outcome ? { type: `xstate.error.actor.${id}`, error: outcome.error } : { type: `xstate.done.actor.${id}`, output: outcome.output }))),
  ])
}

const rootOf = (machine: AnyStateMachine): XStateNode => (machine as unknown as XMachine).root
const srcOf = (src: unknown): string => (typeof src === 'string' ? src : '(inline)')

function walkFrom(machine: AnyStateMachine, input: unknown, way: ReturnType<typeof traversal>, limit: number, reached: Reached): ChartPath[] {
  const options = { input, limit, ...way }
  const all = attempt(machine.id, limit, () => ({
    map: getAdjacencyMap(machine, options as never) as unknown as Record<string, { state: AnyMachineSnapshot; transitions: Record<string, { event: EventObject }> }>,
    shortest: getShortestPaths(machine, options as never) as unknown as { state: AnyMachineSnapshot; steps: { event: EventObject }[] }[],
  }))
  const paths = new Map(all.shortest.map(({ state, steps }) => [way.serializeState(state), { value: state.value as unknown, events: steps.map(({ event }) => event).filter(({ type }) => type !== 'xstate.init') }]))
  for (const [key, { transitions }] of Object.entries(all.map)) {
    const { events = [] } = paths.get(key) ?? {}
    for (const { event } of [...Object.values(transitions), { event: undefined }]) replay(machine, input, event ? [...events, event] : events, reached)
  }
  // What is left before the machine first comes to rest is in no snapshot, and the inspector is not told of it.
  for (const node of nodesIn(getInitialMicrosteps(machine, input as never)[0]![0])) reached.nodes.add(node)
  return [...paths.values()]
}

function attempt<T>(id: string, limit: number, go: () => T): T {
  try {
    return go()
  } catch (error) {
    const { message } = error as Error
    if (/limit/i.test(message)) throw new ChartWalkError(`${id} has no end within ${limit.toLocaleString('en-GB')} steps. Let "facet" tell fewer situations apart, or give fewer events.`, error)
    throw new ChartWalkError(`${id} throws: ${message}`, error)
  }
}

/** What of a machine a walk has come to. */
interface Reached {
  readonly nodes: Set<XStateNode>
  readonly transitions: Set<XTransition>
}

const nodesIn = (snapshot: unknown): readonly XStateNode[] => (snapshot as { _nodes: readonly XStateNode[] })._nodes

/** Runs a path on XState's own actor, whose inspector tells which transitions it takes. */
function replay(machine: AnyStateMachine, input: unknown, path: readonly EventObject[], reached: Reached): void {
  let root: AnyActor | undefined
  const actor = createActor(machine, {
    input: input as never,
    inspect: (event) => {
      // Its first microsteps come while it is being made.
      if (event.type !== '@xstate.microstep' || (root && event.actorRef !== root)) return
      const { _transitions: transitions, snapshot } = event as unknown as { _transitions: readonly XTransition[]; snapshot: unknown }
      for (const transition of transitions) reached.transitions.add(transition)
      for (const node of nodesIn(snapshot)) reached.nodes.add(node)
    },
  })
  root = actor
  let thrown: { readonly error: unknown } | undefined
  actor.subscribe({ error: (error) => void (thrown ??= { error }) })
  actor.start()
  for (const node of nodesIn(actor.getSnapshot())) reached.nodes.add(node)
  for (const event of path) actor.send(event)
  actor.stop()
  if (thrown) throw new ChartWalkError(`${machine.id} throws: ${(thrown.error as Error).message}. On the way ${JSON.stringify(path)}.`, thrown.error)
}

// ── Guards ──

/** By the name of a guard, or its place: what it came to. */
type Outcomes = Map<string, Set<boolean>>

/** A guard that is a function: the user's, which is called, or XState's own, which is asked by `check` with what it holds. */
type Guard = ((args: unknown, params: unknown) => unknown) & { readonly check?: (snapshot: unknown, args: unknown, held: object) => boolean; readonly guards?: readonly unknown[]; readonly stateValue?: unknown }

function watchingGuards(machine: AnyStateMachine, outcomes: Outcomes): AnyStateMachine {
  const given = Object.entries((machine as unknown as XMachine).implementations.guards).filter(([, guard]) => guard !== undefined)
  const guards = given.map(([name, guard]) => {
    const seen = new Set<boolean>()
    outcomes.set(name, seen)
    // A name may stand for another.
    const own = typeof guard === 'function' ? guard : and([guard as never])
    return [name, noting(own as Guard, seen, (inner, i) => watched(inner, name, String(i), outcomes))]
  })
  return machine.provide({ guards: Object.fromEntries(guards) } as never) as AnyStateMachine
}

/** A guard without a name, noting what it comes to. One with a name is watched where it is implemented. */
function watched(guard: unknown, where: string, place: string, outcomes: Outcomes): unknown {
  if (typeof guard !== 'function' || isOfRoute(guard as Guard)) return guard
  const seen = new Set<boolean>()
  outcomes.set(`${where} ${guardName(guard)}#${place}`, seen)
  return noting(guard as Guard, seen, (inner, i) => watched(inner, where, `${place}.${i}`, outcomes))
}

function noting(guard: Guard, seen: Set<boolean>, inner: (guard: unknown, i: number) => unknown): Guard {
  const note = <T>(outcome: T): T => (seen.add(Boolean(outcome)), outcome)
  const { check } = guard
  if (!check) return (args, params) => note(guard(args, params))
  const held = Object.assign({}, guard, guard.guards && { guards: guard.guards.map(inner) })
  return Object.assign((() => false) as Guard, { check: (snapshot: unknown, args: unknown) => note(check(snapshot, args, held)) })
}

/** XState's own, by which it finds the state of a route. */
const isOfRoute = (guard: Guard): boolean => guard.name === 'routeMatches'

function guardName(guard: unknown): string {
  if (typeof guard !== 'function') return typeof guard === 'string' ? guard : (guard as { type: string }).type
  const { name, guards, stateValue } = guard as Guard
  if (guards) return `${name}(${guards.filter((inner) => !isOfRoute(inner as Guard)).map(guardName).join(', ')})`
  return stateValue === undefined ? '(inline)' : `stateIn(${JSON.stringify(stateValue)})`
}

// ── Nodes and transitions ──

export function allNodes(root: XStateNode): XStateNode[] {
  return [root, ...Object.values(root.states).flatMap(allNodes)]
}

/** A transition with its place in the list of its state and event, by which it differs from all others. */
interface Placed {
  readonly transition: XTransition
  readonly name: string
  /** State and event. */
  readonly where: string
  readonly place: number
}

function transitionsOf(node: XStateNode): Placed[] {
  return [...node.transitions.values(), node.always ?? []].flatMap((all) => {
    const names = all.map((transition, place) => nameOf(transition, whereIs(node, transition), place))
    return all.map((transition, place) => ({ transition, place, where: whereIs(node, transition), name: isOnly(names, names[place]!) ? names[place]! : `${names[place]!} #${place}` }))
  })
}

const isOnly = (names: readonly string[], name: string): boolean => names.indexOf(name) === names.lastIndexOf(name)

const whereIs = (node: XStateNode, { eventType }: XTransition): string => `${node.id} ${eventType === '' || eventType === undefined ? 'always' : eventType}`

function nameOf({ guard, target }: XTransition, where: string, place: number): string {
  const named = guard === undefined ? '' : ` [${guardName(guard)}${typeof guard === 'function' ? `#${place}` : ''}]`
  return `${where}${named} → ${target?.map(({ id }) => id).join(', ') ?? '(stays)'}`
}

/**
 * Walks all of a chart with @xstate/graph and tells what was reached: states, transitions and guard outcomes, with the
 * shortest way to each situation. Actors rest meanwhile: what they come to is tried in their place, as are delays.
 */
import { getAdjacencyMap, getShortestPaths } from '@xstate/graph'
import { createActor, fromPromise, type AnyActor, type AnyMachineSnapshot, type AnyStateMachine, type ContextFrom, type EventFromLogic, type EventObject, type InputFrom, type SnapshotFrom } from 'xstate'
import { ConfigError, HoldfastError } from '../../errors.js'
import type { XMachine, XStateNode, XTransition } from '../../runtime/xstate/insides.js'

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
  readonly states: Coverage
  readonly transitions: Coverage
  /** Of guards that have a name: whether each came out true, and false. */
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
  const { inputs = [undefined as never], outcomes = {}, limit = 40_000 } = options
  if (!Number.isSafeInteger(limit) || limit < 1) throw new ConfigError(`walkChart: limit: expected a whole number, at least 1, got ${String(limit)}.`)
  const known = new Set(allNodes(rootOf(given)).flatMap((node) => node.invoke.map(({ src }) => srcOf(src))))
  for (const src of Object.keys(outcomes)) if (!known.has(src)) throw new ConfigError(`walkChart: outcomes: ${given.id} invokes no "${src}" (it invokes: ${[...known].join(', ') || 'nothing'}).`)
  const guardOutcomes = new Map<string, Set<boolean>>()
  const machine = watchingGuards(resting(given), guardOutcomes)
  const visited = new Set<string>()
  const taken = new Set<string>()
  const paths = inputs.flatMap((input) => walkFrom(machine, input, traversal(options), limit, visited, taken))
  const nodes = allNodes(rootOf(machine))
  const transitions = nodes.flatMap((node) => transitionsOf(node).map((transition) => nameOf(node, transition)))
  const guards = [...guardOutcomes].flatMap(([name, seen]) => [true, false].map((outcome) => ({ name: `${name} ${outcome}`, seen: seen.has(outcome) })))
  const found = {
    states: { total: nodes.length, missing: nodes.map((node) => node.id).filter((id) => !visited.has(id)) },
    transitions: { total: transitions.length, missing: transitions.filter((name) => !taken.has(name)) },
    guards: { total: guards.length, missing: guards.filter(({ seen }) => !seen).map(({ name }) => name) },
    paths,
  }
  return { ...found, toString: () => report(given.id, found) }
}

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

function walkFrom(machine: AnyStateMachine, input: unknown, way: ReturnType<typeof traversal>, limit: number, visited: Set<string>, taken: Set<string>): ChartPath[] {
  const options = { input, limit, ...way }
  const all = attempt(machine.id, limit, () => ({
    map: getAdjacencyMap(machine, options as never) as unknown as Record<string, { state: AnyMachineSnapshot; transitions: Record<string, { event: EventObject }> }>,
    shortest: getShortestPaths(machine, options as never) as unknown as { state: AnyMachineSnapshot; steps: { event: EventObject }[] }[],
  }))
  const paths = new Map(all.shortest.map(({ state, steps }) => [way.serializeState(state), { value: state.value as unknown, events: steps.map(({ event }) => event).filter(({ type }) => type !== 'xstate.init') }]))
  for (const [key, { transitions }] of Object.entries(all.map)) {
    const { events = [] } = paths.get(key) ?? {}
    for (const { event } of [...Object.values(transitions), { event: undefined }]) replay(machine, input, event ? [...events, event] : events, visited, taken)
  }
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

/** Runs a path on XState's own actor, whose inspector tells which transitions it takes. */
function replay(machine: AnyStateMachine, input: unknown, path: readonly EventObject[], visited: Set<string>, taken: Set<string>): void {
  let root: AnyActor | undefined
  const actor = createActor(machine, {
    input: input as never,
    inspect: (event) => {
      // Its first microsteps come while it is being made.
      if (event.type !== '@xstate.microstep' || (root && event.actorRef !== root)) return
      const { _transitions: transitions, snapshot } = event as unknown as { _transitions: (XTransition & { source: XStateNode })[]; snapshot: { _nodes: XStateNode[] } }
      for (const transition of transitions) {
        taken.add(nameOf(transition.source, transition))
        // A state that is left at once is in no snapshot.
        visited.add(transition.source.id)
      }
      for (const node of snapshot._nodes) visited.add(node.id)
    },
  })
  root = actor
  let thrown: { readonly error: unknown } | undefined
  actor.subscribe({ error: (error) => void (thrown ??= { error }) })
  actor.start()
  for (const node of (actor.getSnapshot() as unknown as { _nodes: XStateNode[] })._nodes) visited.add(node.id)
  for (const event of path) actor.send(event)
  actor.stop()
  if (thrown) throw new ChartWalkError(`${machine.id} throws: ${(thrown.error as Error).message}. On the way ${JSON.stringify(path)}.`, thrown.error)
}

function watchingGuards(machine: AnyStateMachine, outcomes: Map<string, Set<boolean>>): AnyStateMachine {
  const { guards } = (machine as unknown as XMachine).implementations
  const watched = Object.entries(guards).map(([name, guard]) => {
    outcomes.set(name, new Set())
    return [
      name,
      (args: unknown, params: unknown) => {
        const outcome = (guard as (a: unknown, p: unknown) => boolean)(args, params)
        outcomes.get(name)!.add(outcome)
        return outcome
      },
    ]
  })
  return machine.provide({ guards: Object.fromEntries(watched) } as never) as AnyStateMachine
}

export function allNodes(root: XStateNode): XStateNode[] {
  return [root, ...Object.values(root.states).flatMap(allNodes)]
}

function transitionsOf(node: XStateNode): XTransition[] {
  return [...[...node.transitions.values()].flat(), ...(node.always ?? [])]
}

const guardName = (guard: unknown): string => (typeof guard === 'string' ? guard : ((guard as { type?: string }).type ?? 'inline'))

function nameOf(node: XStateNode, transition: XTransition): string {
  const guard = transition.guard === undefined ? '' : ` [${guardName(transition.guard)}]`
  const kind = transition.eventType === '' || transition.eventType === undefined ? 'always' : transition.eventType
  return `${node.id} ${kind}${guard} → ${transition.target?.map(({ id }) => id).join(', ') ?? '(stays)'}`
}

/**
 * Walks all of a chart with @xstate/graph and tells what was reached: states, transitions and guard outcomes. The
 * events to try may depend on the snapshot, as those that carry a digest must.
 */
import { getAdjacencyMap, getShortestPaths } from '@xstate/graph'
import { createActor, fromPromise, type AnyActor, type AnyMachineSnapshot, type AnyStateMachine, type EventObject } from 'xstate'
import { expect } from 'vitest'
import type { XMachine, XStateNode, XTransition } from '../../src/runtime/xstate/insides.js'

export interface WalkOptions {
  /** Walked from each of them. */
  readonly inputs: readonly unknown[]
  /** Events worth trying in a state. */
  readonly events: (snapshot: AnyMachineSnapshot) => readonly EventObject[]
  /** What of the context tells two states of the same value apart. */
  readonly facet: (context: never, value: unknown) => unknown
  /** Names of actors whose invokes are to rest. Default: all registered. */
  readonly limit?: number
}

export interface Walk {
  readonly states: Coverage
  readonly transitions: Coverage
  readonly guards: Coverage
  /** Events of the shortest path to each state that was met. */
  readonly paths: readonly (readonly EventObject[])[]
}

export interface Coverage {
  readonly total: number
  readonly missing: readonly string[]
}

/** The machine with actors that never answer: a walk sends what they would have said. */
export function resting(machine: AnyStateMachine): AnyStateMachine {
  const names = Object.keys((machine as unknown as XMachine).implementations.actors)
  return machine.provide({ actors: Object.fromEntries(names.map((name) => [name, fromPromise(() => new Promise(() => {}))])) } as never) as AnyStateMachine
}

export function walk(given: AnyStateMachine, { inputs, events, facet, limit = 40_000 }: WalkOptions): Walk {
  const outcomes = new Map<string, Set<boolean>>()
  const machine = watchingGuards(resting(given), outcomes)
  const visited = new Set<string>()
  const taken = new Set<string>()
  const paths = inputs.flatMap((input) => walkFrom(machine, input, { inputs, events, facet, limit }, visited, taken))
  const nodes = allNodes((machine as unknown as XMachine).root)
  const transitions = nodes.flatMap((node) => transitionsOf(node).map((transition) => nameOf(node, transition)))
  const guards = [...outcomes].flatMap(([name, seen]) => [true, false].map((outcome) => ({ name: `${name} ${outcome}`, seen: seen.has(outcome) })))
  return {
    states: { total: nodes.length, missing: nodes.map((node) => node.id).filter((id) => !visited.has(id)) },
    transitions: { total: transitions.length, missing: transitions.filter((name) => !taken.has(name)) },
    guards: { total: guards.length, missing: guards.filter(({ seen }) => !seen).map(({ name }) => name) },
    paths,
  }
}

/** How @xstate/graph is to go through a chart: what an actor says is only tried where that actor is. */
export function traversal(events: WalkOptions['events'], facet: WalkOptions['facet']) {
  return {
    events: (state: AnyMachineSnapshot): EventObject[] => {
      if (state.status !== 'active') return []
      const children = state.children as Record<string, unknown>
      return events(state).filter(({ type }) => !/^xstate\.(?:done|error)\.actor\./.test(type) || children[type.split('.').at(-1)!] !== undefined)
    },
    serializeState: (state: AnyMachineSnapshot): string => JSON.stringify([state.value, state.status, facet(state.context as never, state.value)]),
  }
}

function walkFrom(machine: AnyStateMachine, input: unknown, { events, facet, limit }: WalkOptions, visited: Set<string>, taken: Set<string>): (readonly EventObject[])[] {
  const options = {
    input,
    limit,
    ...traversal(events, facet),
  }
  const map = getAdjacencyMap(machine, options as never) as unknown as Record<string, { state: AnyMachineSnapshot; transitions: Record<string, { event: EventObject }> }>
  const shortest = getShortestPaths(machine, options as never) as unknown as { state: AnyMachineSnapshot; steps: { event: EventObject }[] }[]
  const pathTo = new Map(shortest.map(({ state, steps }) => [options.serializeState(state), steps.map(({ event }) => event).filter(({ type }) => type !== 'xstate.init')]))

  for (const [key, { transitions }] of Object.entries(map)) {
    const path = pathTo.get(key) ?? []
    for (const { event } of [...Object.values(transitions), undefined].map((transition) => transition ?? { event: undefined })) replay(machine, input, event ? [...path, event] : path, visited, taken)
  }
  return [...pathTo.values()]
}

export function reached(name: string, { states, transitions, guards, paths }: Walk): string {
  const part = (what: string, { total, missing }: Coverage): string => `${what} ${total - missing.length} of ${total}`
  return `${name}: ${part('states', states)}, ${part('transitions', transitions)}, ${part('guard outcomes', guards)}; ${paths.length} situations`
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
  const thrown: unknown[] = []
  actor.subscribe({ error: (error) => void thrown.push(error) })
  actor.start()
  for (const node of (actor.getSnapshot() as unknown as { _nodes: XStateNode[] })._nodes) visited.add(node.id)
  for (const event of path) actor.send(event)
  actor.stop()
  expect(thrown, JSON.stringify(path)).toEqual([])
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

function nameOf(node: XStateNode, transition: XTransition): string {
  const guard = transition.guard === undefined ? '' : ` [${String(transition.guard)}]`
  const kind = transition.eventType === '' || transition.eventType === undefined ? 'always' : transition.eventType
  return `${node.id} ${kind}${guard} → ${transition.target?.map(({ id }) => id).join(', ') ?? '(stays)'}`
}

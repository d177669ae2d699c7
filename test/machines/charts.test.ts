/** The charts as charts: all of them can be reached, read, exported and taken back. */
import { getShortestPaths } from '@xstate/graph'
import { createMachine, type AnyMachineSnapshot, type AnyStateMachine } from 'xstate'
import { describe, expect, test } from 'vitest'
import type { XMachine, XStateNode } from '../../src/runtime/xstate/insides.js'
import { toMermaid } from '../../src/viz/mermaid.js'
import { toXStateJson } from '../../src/viz/xstate-json.js'
import { allNodes, resting, traversal, walkChart } from '../../src/testing/graph/walk.js'
import { charts } from '../support/charts.js'

describe.each(charts)('the $name chart', ({ machine, walkable, inputs, events, facet }) => {
  test('every state, transition and guard outcome can be reached', () => {
    const result = walkChart(walkable, { inputs: inputs as never, events, facet: facet as never })
    console.log(String(result))
    expect({ states: result.states.missing, transitions: result.transitions.missing, guards: result.guards.missing }).toEqual({ states: [], transitions: [], guards: [] })
  })

  test('every state says what it is', () => {
    const mute = allNodes((machine as unknown as XMachine).root).filter((node: XStateNode) => !node.description).map((node) => node.id)
    expect(mute).toEqual([])
  })

  test('what it is made of has names', () => {
    expect(() => toXStateJson(machine)).not.toThrow()
  })

  test('exported as JSON and taken back with the same implementations it walks the same shortest paths', () => {
    const json: unknown = JSON.parse(JSON.stringify(toXStateJson(machine)))
    const { implementations } = walkable as unknown as XMachine
    const original = resting(walkable)
    const [input] = inputs
    const { context } = original.getInitialSnapshot({ self: {}, defer: () => {}, system: { _sendInspectionEvent() {} } } as never, input as never) as unknown as { context: object }
    const back = resting(createMachine({ ...(json as object), context: () => structuredClone(context) } as never, implementations as never) as AnyStateMachine)
    const pathsOf = (m: AnyStateMachine): string[] =>
      (
        getShortestPaths(m, {
          input: input as never,
          limit: 40_000,
          ...traversal<AnyStateMachine>({ events, facet: facet as never }),
        } as never) as unknown as { state: AnyMachineSnapshot; steps: { event: object }[] }[]
      ).map(({ state, steps }) => JSON.stringify([state.value, steps.map(({ event }) => event)]))
    expect(pathsOf(back)).toEqual(pathsOf(original))
  })

  test('as a Mermaid diagram it shows every state, guard, delay and invoke', () => {
    const text = toMermaid(machine)
    const nodes = allNodes((machine as unknown as XMachine).root).slice(1)
    for (const node of nodes) {
      expect(text).toContain(node.id.replaceAll('.', '_'))
      for (const { src } of node.invoke) expect(text).toContain(`invoke / ${src}`)
      for (const transition of [...[...node.transitions.values()].flat(), ...(node.always ?? [])]) if (transition.guard) expect(text).toContain(`[${String(transition.guard)}]`)
      for (const delay of Object.keys((node.config['after'] as object | undefined) ?? {})) expect(text).toContain(`after ${delay}`)
      if (node.always) expect(text).toContain('always')
    }
  })
})

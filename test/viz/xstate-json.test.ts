/** Machines as JSON for Stately Studio: what `createMachine` makes of it is the same chart. */
import { describe, expect, test } from 'vitest'
import { createMachine, setup } from 'xstate'
import { agentMachine, callMachine, runMachine, supervisorMachine } from '../../src/index.js'
import { defaultOf, linesOf, nodesOf, rootOf, transitionsOf, type ChartNode } from '../../src/viz/chart.js'
import { toMermaid, toXStateJson } from '../../src/viz/index.js'
import { zoo } from '../support/zoo.js'

/** A chart as far as it is no function. */
function outline(root: ChartNode): object[] {
  return nodesOf(root).map((node) => {
    const { id, type, history, description, tags, invoke, initial } = node
    const { meta, output } = node as unknown as { meta: unknown; output: unknown }
    return {
      id, type, history, description, tags, meta, output: typeof output === 'function' ? undefined : output,
      initial: initial?.target?.map((target) => target.id),
      initialActions: initial?.actions?.length,
      defaults: defaultOf(node).map((target) => target.id),
      invoke: invoke.map(({ id: invokeId, src, systemId }) => ({ invokeId, src, systemId })),
      lines: linesOf(node).length,
      transitions: transitionsOf(node).map((transition) => ({ event: transition.eventType, target: transition.target?.map((target) => target.id), reenter: transition.reenter, hasGuard: transition.guard !== undefined, actions: transition.actions.length, description: transition.description })),
    }
  })
}

describe.each([['agent', agentMachine], ['call', callMachine], ['run', runMachine], ['supervisor', supervisorMachine], ['zoo', zoo]] as const)('%s', (_, machine) => {
  test('comes back from its JSON with every state, transition, guard, delay, invoke and action', () => {
    const json = JSON.parse(JSON.stringify(toXStateJson(machine))) as object
    const again = createMachine(json)
    expect(outline(rootOf(again))).toEqual(outline(rootOf(machine)))
    expect(again.version).toBe(machine.version)
    // Named guards, actions and delays: the same words.
    if (machine !== (zoo as unknown)) expect(toMermaid(again)).toBe(toMermaid(machine))
  })
})

test('XState’s own guards and actions go by their name and what they hold', () => {
  const text = JSON.stringify(toXStateJson(zoo))
  for (const part of [
    '{"type":"xstate.raise","params":{"event":{"type":"go"},"id":"r","delay":7}}',
    '{"type":"xstate.sendTo","params":{"event":{"type":"ping"},"to":"kid"}}',
    '{"type":"xstate.and","params":{"guards":["may",{"type":"xstate.not","params":{"guards":[{"type":"xstate.or","params":{"guards":["may",{"type":"above","params":{"limit":2}}]}}]}}]}}',
    '{"type":"xstate.stateIn","params":{"stateValue":"#zoo.both.left.b"}}',
    '{"type":"xstate.assign"}',
    '"also:forbidden;":{}',
  ]) expect(text).toContain(part)
})

test('a parameter that is computed is left to whoever imports it, and an inline function is refused with its place', () => {
  const note = setup({ actions: { note: (_, _of: string) => {} } }).createMachine({ id: 'm', on: { x: { actions: { type: 'note', params: ({ event }) => event.type } } } })
  expect(toXStateJson(note)).toEqual({ id: 'm', on: { x: { actions: { type: 'note' } } } })
  expect(() => toXStateJson(createMachine({ id: 'm', on: { x: { guard: () => true } } }))).toThrow('m.on.x.guard is an inline function. Give it a name in setup()')
  expect(() => toXStateJson(createMachine({ id: 'm', invoke: { src: createMachine({}) } }))).toThrow('m.invoke.src is an inline actor')
})

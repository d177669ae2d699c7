/** Machines as JSON for Stately Studio: what `createMachine` makes of it is the same chart. */
import { fc, test as propertyTest } from '@fast-check/vitest'
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

const words = ['src', 'actions', 'guard', 'invoke', 'on', 'target', 'input', 'output', 'context', 'params', 'states', 'always', 'after', 'entry', 'exit', 'initial', 'onDone', 'onError', 'onSnapshot', 'route', 'meta', 'tags', 'type', 'id', 'description', 'history', 'reenter', 'constructor', 'toString', 'state', 'plain']
propertyTest.prop([fc.uniqueArray(fc.constantFrom(...words), { minLength: 4, maxLength: 4 })])('whatever its states, events, delays, guards, actions, actors and data are called, the JSON of a machine of nothing but data is its configuration', ([a, b, c, d]) => {
  const data = { [a!]: { [b!]: [{ [c!]: d }] }, [d!]: a }
  const config = {
    id: 'm', context: data, initial: a, meta: data,
    on: { [b!]: { guard: { type: c, params: data }, actions: [{ type: d, params: data }, a], meta: data }, [c!]: `.${b!}` },
    states: {
      [a!]: { initial: { target: c, actions: b }, entry: d, tags: [a], onDone: { target: b, actions: d }, states: { [c!]: { after: { [d!]: { target: a, guard: b } }, always: [{ guard: a, target: d }] }, [d!]: { type: 'final', output: data }, [a!]: { type: 'history', target: c } } },
      [b!]: { invoke: [{ id: a, src: c, input: data, onDone: a, onError: { actions: d }, onSnapshot: { actions: a } }, { src: d }], exit: [b] },
      [c!]: { type: 'parallel', states: { [a!]: {}, [b!]: { description: d } } },
    },
  }
  const machine = createMachine(config as never)
  expect(toXStateJson(machine)).toEqual(config)
  expect(outline(rootOf(createMachine(toXStateJson(machine))))).toEqual(outline(rootOf(machine)))
})

test('what is forbidden, mapped or inline is so by its place, not by a name', () => {
  const named = setup({ actors: { work: createMachine({}) } }).createMachine({
    id: 'm', initial: 'on',
    states: { on: { entry: undefined as never, invoke: { src: 'work', input: () => 1 } }, context: { on: { src: undefined, params: 'on' } }, src: { states: {} } },
  })
  expect(toXStateJson(named)).toEqual({ id: 'm', initial: 'on', states: { on: { invoke: { src: 'work' } }, context: { on: { src: {}, params: 'on' } }, src: { states: {} } } })
  for (const name of words) {
    expect(() => toXStateJson(createMachine({ id: 'm', initial: name, states: { [name]: { entry: () => {} } } }))).toThrow(`m.states.${name}.entry is an inline function`)
    expect(() => toXStateJson(createMachine({ id: 'm', initial: name, states: { [name]: { invoke: { src: createMachine({}) } } } }))).toThrow(`m.states.${name}.invoke.src is an inline actor`)
  }
})

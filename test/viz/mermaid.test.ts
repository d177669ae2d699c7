/** Machines as Mermaid text: everything is in it, each state under a name of its own, and nothing reads as syntax. */
import { describe, expect, test } from 'vitest'
import { createMachine } from 'xstate'
import { agentMachine, callMachine, runMachine, supervisorMachine } from '../../src/index.js'
import { defaultOf, linesOf, nodesOf, rootOf, textOf, transitionsOf } from '../../src/viz/chart.js'
import { toMermaid } from '../../src/viz/index.js'
import { zoo } from '../support/zoo.js'

const plain = (text: string): string => text.replace(/#(\d+);/g, (_, code) => String.fromCharCode(Number(code)))

interface Drawn {
  /** Texts by name of the state. */
  readonly texts: Map<string, string[]>
  readonly edges: { readonly from: string; readonly to: string; readonly lines: string[] }[]
}

/** Every line is one of these, else it throws. */
function read(text: string): Drawn {
  const texts = new Map<string, string[]>()
  const edges: Drawn['edges'] = []
  const add = (name: string, line: string): void => void texts.set(name, [...(texts.get(name) ?? []), plain(line)])
  let noted: string | undefined
  let open = 0
  const [first, ...lines] = text.trimEnd().split('\n')
  expect(first).toBe('stateDiagram-v2')
  for (const line of lines.map((indented) => indented.trim())) {
    const composite = /^state "([^"]*)" as (\w+) \{$/.exec(line)
    const note = /^note left of (\w+)$/.exec(line)
    const edge = /^(\[\*\]|\w+) --> (\[\*\]|\w+)(?:: (.*))?$/.exec(line)
    const row = /^(\w+): (.*)$/.exec(line)
    if (line === 'end note') noted = undefined
    else if (noted !== undefined) add(noted, line)
    else if (composite) {
      open++
      add(composite[2]!, composite[1]!)
    } else if (line === '}') open--
    else if (note) noted = note[1]!
    else if (edge) edges.push({ from: edge[1]!, to: edge[2]!, lines: (edge[3] ?? '').split('<br/>').map(plain) })
    else if (row) add(row[1]!, row[2]!)
    else if (line !== '--') throw new Error(`not read: ${line}`)
  }
  expect(open).toBe(0)
  return { texts, edges }
}

describe.each([['agent', agentMachine], ['call', callMachine], ['run', runMachine], ['supervisor', supervisorMachine], ['zoo', zoo]] as const)('%s', (_, machine) => {
  test('every state, invoke, action, tag and transition is in it, at its place', () => {
    const nodes = nodesOf(rootOf(machine))
    const { texts, edges } = read(toMermaid(machine))
    // The root is only drawn if it does something.
    const drawn = nodes.filter((node) => node.parent || [...texts.values()].length === nodes.length)
    expect(texts.size).toBe(drawn.length)
    const names = [...texts.keys()]
    const nameOf = new Map(drawn.map((node) => [node, names.find((name) => texts.get(name)![0]!.split(' (H')[0] === node.key && name.startsWith(node.id.replace(/\W/g, '_')))!]))
    for (const node of drawn) {
      const rows = texts.get(nameOf.get(node)!)!
      for (const line of linesOf(node)) expect(rows, node.id).toContain(line)
      if (node.tags.length > 0) expect(rows, node.id).toContain(`tags / ${node.tags.join(', ')}`)
      for (const transition of transitionsOf(node)) {
        for (const target of transition.target ?? []) {
          const text = textOf(transition, node)
          const isEdge = edges.some((edge) => edge.from === nameOf.get(node) && edge.to === nameOf.get(target) && edge.lines.includes(text))
          expect(isEdge || rows.some((row) => row.startsWith(`${text} → `)), `${node.id}: ${text}`).toBe(true)
        }
      }
      for (const target of defaultOf(node)) expect(edges).toContainEqual({ from: nameOf.get(node), to: nameOf.get(target), lines: ['by default'] })
      if (node.type === 'final') expect(edges.some(({ from, to }) => from === nameOf.get(node) && to === '[*]')).toBe(true)
    }
    const initials = nodes.filter(({ type, initial }) => type === 'compound' && initial?.target?.length)
    expect(edges.filter(({ from }) => from === '[*]').length).toBe(initials.length)
  })
})

test('guards and actions are in words, XState’s own too', () => {
  const text = plain(toMermaid(zoo))
  for (const part of [
    'go [may and not (may or above {"limit":2})]',
    'entry / enter, raise go after 7, sendTo kid ping, emit told, cancel r, log said, spawnChild kid second, stopChild second, assign n, enqueueActions',
    'always [in #zoo.both.left.b] / enter',
    'self (reenters) → itself',
    'forbidden / nothing',
    'also:forbidden; / nothing',
    'after slow [may] (reenters)',
    'route #custom [may] → custom',
    '[*] --> zoo_both_right_c: / enter',
    '    entry / one\n    exit / leave\n    * / one\n',
    'zoo_both_right_c: exit / leave',
    'stay [may] / one, two {"q":1}',
    'snapshot kid / one',
    'any.* (reenters) → over',
    'after 5000 → over',
    'tags / rooted',
    'zoo_both --> zoo_over: done [may] / one',
    'error w [may] / one',
    'snapshot w / one',
    'memory (H*)',
    'invoke / kid, known as sys',
    'invoke / work as w',
  ]) expect(text).toContain(part)
})

test('states whose ids differ by signs only are two', () => {
  const text = toMermaid(createMachine({ id: 'm', initial: 'a-b', states: { 'a-b': { on: { x: 'a_b' } }, a_b: {} } }))
  expect(text).toContain('m_a_b --> m_a_b_2: x')
})

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
      expect(rows.join(' '), node.id).toContain(node.description ?? '')
      if (node.tags.length > 0) expect(rows, node.id).toContain(`tags / ${node.tags.join(', ')}`)
      for (const transition of transitionsOf(node)) {
        for (const target of transition.target ?? []) {
          const text = textOf(transition, node)
          const said = transition.description === undefined ? '' : `“${transition.description}”`
          const isEdge = edges.some((edge) => edge.from === nameOf.get(node) && edge.to === nameOf.get(target) && edge.lines.includes(text) && edge.lines.join(' ').includes(said))
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

describe('a history state that remembers nothing', () => {
  const drawing = (target: string | string[], more: object = {}): string =>
    toMermaid(createMachine({ id: 'm.n', initial: 'p', states: { p: { initial: 'a', states: { a: {}, b: { id: 'custom' }, 'c.d': {}, e: { initial: 'f', states: { f: { id: 'deep' } } }, h: { type: 'history', target } as never, ...more } }, q: { id: 'out.side' } } }))
  test.each([
    ['a', 'm_n_p_a'],
    ['b', 'custom'],
    ['#custom', 'custom'],
    ['#m\\.n.p.a', 'm_n_p_a'],
    ['c\\.d', 'm_n_p_c_d'],
    ['e.f', 'deep'],
    ['#out\\.side', 'out_side'],
  ])('leads to %s', (target, name) => {
    expect(drawing(target)).toContain(`  m_n_p_h --> ${name}: by default\n`)
  })
  test('leads to several, or, as XState has it, where one leads that does not say', () => {
    expect(drawing(['#deep', 'b'])).toMatch(/m_n_p_h --> deep: by default\n {2}m_n_p_h --> custom: by default\n/)
    for (const none of ['.b', 'gone', '#gone']) expect(drawing(none)).not.toContain('by default')
  })
})

test('what states and transitions are for is in their box, beside it, or at the arrow, in lines that fit', () => {
  const long = 'Waits until somebody who may do so has looked at all of it and has said what he thinks of it, at the end note: 5 % of "it".'
  const text = toMermaid(
    createMachine({
      id: 'm', description: 'The whole.', initial: { target: 'a', description: 'at first' } as never,
      states: { a: { description: long, on: { go: { target: 'b', description: 'when all is well' }, stay: { actions: 'note', description: 'for once' } } }, b: { description: 'Around.', initial: 'c', states: { c: { type: 'final' } } } },
    }),
  )
  expect(plain(text)).toContain(`
    [*] --> m_a: “at first”
    m_a: a
    m_a: Waits until somebody who may do so has looked at all of it
    m_a: and has said what he thinks of it, at the end note: 5 % of
    m_a: "it".
    m_a: stay / note
    m_a: “for once”
`)
  expect(plain(text)).toContain('    note left of m_b\n      Around.\n    end note\n')
  expect(plain(text)).toContain('  note left of m\n    The whole.\n  end note\n')
  expect(text).toContain('  m_a --> m_b: go<br/>“when all is well”\n')
  // It would end the note that it stands in.
  expect(text).toContain('the end#32;note#58; 5 #37; of\n')
})

test('a machine that is led to from within is drawn', () => {
  expect(toMermaid(createMachine({ id: 'm', initial: 'a', states: { a: { on: { again: '#m' } } } }))).toBe('stateDiagram-v2\n  state "m" as m {\n    [*] --> m_a\n    m_a: a\n  }\n  m_a --> m: again\n')
})

test('states whose ids differ by signs only are two', () => {
  const text = toMermaid(createMachine({ id: 'm', initial: 'a-b', states: { 'a-b': { on: { x: 'a_b' } }, a_b: {} } }))
  expect(text).toContain('m_a_b --> m_a_b_2: x')
})

test('a state whose id is a word of Mermaid’s has another name there', () => {
  for (const id of ['default', 'note', 'class', 'Style', 'click', 'scale']) {
    const text = toMermaid(createMachine({ id: 'm', initial: 'a', states: { a: { on: { x: 'b' } }, b: { id, on: { x: 'c' } }, c: { id: `${id}_` } } }))
    expect(text).toContain(`  m_a --> ${id}_: x\n  ${id}_ --> ${id}__2: x\n`)
  }
})

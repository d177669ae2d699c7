/** Pictures of machines: everything is on them, inside what it belongs to, and readable. */
import { describe, expect, test } from 'vitest'
import { createMachine } from 'xstate'
import { agentMachine, callMachine, runMachine, supervisorMachine } from '../../src/index.js'
import { nodesOf, rootOf, textOf, transitionsOf } from '../../src/viz/chart.js'
import { toSvg } from '../../src/viz/index.js'
import { zoo } from '../support/zoo.js'

interface Element {
  readonly name: string
  readonly attributes: Readonly<Record<string, string>>
  readonly children: Element[]
  text: string
}

/** Well-formed XML of the kind that is written here, else it throws. */
function parse(xml: string): Element {
  const root: Element = { name: '', attributes: {}, children: [], text: '' }
  const open = [root]
  for (const [, close, name, attributes, empty, text] of xml.matchAll(/<(\/?)([a-z]+)((?: [a-zA-Z:-]+="[^"<]*")*)(\/?)>|([^<]+)/g)) {
    const top = open.at(-1)!
    if (text !== undefined) {
      if (/&(?!#\d+;)/.test(text)) throw new Error(`not escaped: ${text}`)
      top.text += text.replace(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)))
    } else if (close) {
      if (open.pop()!.name !== name) throw new Error(`</${name}> closes nothing`)
    } else {
      const element: Element = { name: name!, attributes: Object.fromEntries([...attributes!.matchAll(/([a-zA-Z:-]+)="([^"]*)"/g)].map(([, key, value]) => [key, value!.replace(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)))])), children: [], text: '' }
      top.children.push(element)
      if (!empty) open.push(element)
    }
  }
  if (open.length !== 1) throw new Error(`<${open.at(-1)!.name}> is not closed`)
  return root.children[0]!
}

const all = (element: Element): Element[] => [element, ...element.children.flatMap(all)]
const number = (element: Element, key: string): number => Number(element.attributes[key])
const rectOf = (group: Element): { x: number; y: number; right: number; bottom: number } => {
  const rect = group.children.find(({ name }) => name === 'rect')!
  return { x: number(rect, 'x'), y: number(rect, 'y'), right: number(rect, 'x') + number(rect, 'width'), bottom: number(rect, 'y') + number(rect, 'height') }
}

describe.each([
  ['agent', agentMachine],
  ['call', callMachine],
  ['run', runMachine],
  ['supervisor', supervisorMachine],
  ['zoo', zoo],
] as const)('%s', (_, machine) => {
  const nodes = nodesOf(rootOf(machine))

  test('every state, invoke, transition, guard and action is on it', async () => {
    const svg = parse(await toSvg(machine))
    const texts = all(svg).filter(({ name }) => name === 'text').map(({ text }) => text)
    for (const node of nodes) {
      const group = all(svg).find(({ attributes }) => attributes['id'] === node.id)
      expect(group, node.id).toBeDefined()
      if (node.type !== 'history') expect(group!.children.find(({ name }) => name === 'text')!.text.split('  #')[0]).toBe(node.key)
      for (const { id } of node.invoke) expect(texts.some((text) => text.startsWith('invoke / ') && text.length > 9), id).toBe(true)
      for (const transition of transitionsOf(node)) expect(texts, textOf(transition, node)).toContain(textOf(transition, node))
    }
    const drawn = nodes.flatMap(transitionsOf).length
    expect(texts.filter((text) => /^(?!invoke |entry |exit )\S.*/.test(text)).length).toBeGreaterThanOrEqual(drawn + nodes.length)
  })

  test('each state lies within the one it belongs to, beside its siblings, with room for its lines', async () => {
    const svg = parse(await toSvg(machine))
    const groups = new Map(all(svg).flatMap((element) => (element.attributes['id'] ? [[element.attributes['id'], element] as const] : [])))
    for (const node of nodes) {
      const inner = rectOf(groups.get(node.id)!)
      for (const text of groups.get(node.id)!.children.filter(({ name }) => name === 'text')) {
        expect(number(text, 'x') + text.text.length * 7, text.text).toBeLessThanOrEqual(inner.right)
        expect(number(text, 'y'), text.text).toBeLessThanOrEqual(inner.bottom)
      }
      if (!node.parent) continue
      const outer = rectOf(groups.get(node.parent.id)!)
      expect([inner.x >= outer.x, inner.y >= outer.y, inner.right <= outer.right, inner.bottom <= outer.bottom], node.id).toEqual([true, true, true, true])
      for (const sibling of Object.values(node.parent.states)) {
        if (sibling === node) continue
        const other = rectOf(groups.get(sibling.id)!)
        expect(inner.right <= other.x || other.right <= inner.x || inner.bottom <= other.y || other.bottom <= inner.y, `${node.id} and ${sibling.id}`).toBe(true)
      }
    }
  })

  test('is the same each time', async () => {
    expect(await toSvg(machine)).toBe(await toSvg(machine))
  })
})

test('where a history state leads that remembers nothing, and what a transition is for, stand at the arrow', async () => {
  const machine = createMachine({ id: 'm', initial: { target: 'a', description: 'at first' } as never, states: { a: { on: { go: { target: 'b', description: 'when all is well' } } }, b: { id: 'custom' }, hist: { type: 'history', target: 'b' } } })
  const texts = all(parse(await toSvg(machine))).filter(({ name }) => name === 'text').map(({ text }) => text)
  for (const text of ['by default', '“at first”', '“when all is well”']) expect(texts).toContain(text)
})

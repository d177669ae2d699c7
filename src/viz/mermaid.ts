/** A machine as a Mermaid state diagram, with nothing left out of its states and transitions. */
import type { AnyStateMachine } from 'xstate'
import { actionText, defaultOf, descriptionOf, identifiers, linesOf, nodesOf, rootOf, textOf, transitionsOf, wordsOf, type ChartNode } from './chart.js'

/** Words that Mermaid takes for its own where a state's name stands, in lower case. */
const keywords = new Set(['accdescr', 'acctitle', 'as', 'class', 'classdef', 'click', 'default', 'direction', 'end', 'hide', 'href', 'note', 'scale', 'state', 'statediagram', 'style'])

/** The text of a `stateDiagram-v2`, ending in a line feed. */
export function toMermaid(machine: AnyStateMachine): string {
  const root = rootOf(machine)
  return `${new Diagram(root).lines.join('\n')}\n`
}

class Diagram {
  readonly lines: string[]
  private readonly nameOf: (node: ChartNode) => string

  constructor(root: ChartNode) {
    const nodes = nodesOf(root)
    this.nameOf = identifiers(nodes, keywords)
    // A machine that does or says something itself, or is led to, is a state around all others.
    const isState = ownLines(root).length > 0 || nodes.some((node) => [...transitionsOf(node).flatMap(({ target }) => target ?? []), ...defaultOf(node)].includes(root))
    const body = isState ? this.state(root, 1) : this.inside(root, 1)
    this.lines = ['stateDiagram-v2', ...body, ...nodes.flatMap((node) => this.edges(node))]
  }

  private state(node: ChartNode, depth: number): string[] {
    const pad = '  '.repeat(depth)
    const name = this.nameOf(node)
    const label = node.type === 'history' ? `${node.key} (${node.history === 'deep' ? 'H*' : 'H'})` : node.key
    const own = ownLines(node)
    const lines =
      Object.keys(node.states).length === 0 ?
        [label, ...own].map((line) => `${pad}${name}: ${escaped(line)}`)
      : [
          `${pad}state "${escaped(label)}" as ${name} {`,
          ...this.inside(node, depth + 1),
          `${pad}}`,
          // The head of a state with others inside has room for one line.
          ...(own.length > 0 ? [`${pad}note left of ${name}`, ...own.map((line) => `${pad}  ${escaped(line)}`), `${pad}end note`] : []),
        ]
    return node.type === 'final' ? [...lines, `${pad}${name} --> [*]`] : lines
  }

  private inside(node: ChartNode, depth: number): string[] {
    const pad = '  '.repeat(depth)
    const { actions = [], description } = node.initial ?? {}
    const texts = [...(actions.length > 0 ? [`/ ${actions.map(actionText).join(', ')}`] : []), ...wordsOf({ description })].map(escaped)
    const initial = node.type === 'parallel' ? [] : (node.initial?.target ?? [])
    return [
      ...initial.map((target) => `${pad}[*] --> ${this.nameOf(target)}${texts.length > 0 ? `: ${texts.join('<br/>')}` : ''}`),
      ...Object.values(node.states).flatMap((child, i) => [...(node.type === 'parallel' && i > 0 ? [`${pad}--`] : []), ...this.state(child, depth)]),
    ]
  }

  /** All edges stand at the top level: inside a state, Mermaid would draw targets beyond it into it. One from a state to another: more would lie on each other. */
  private edges(node: ChartNode): string[] {
    const texts = new Map<ChartNode, string[]>()
    const add = (target: ChartNode, ...lines: readonly string[]): void => void texts.set(target, [...(texts.get(target) ?? []), ...lines.map(escaped)])
    for (const transition of transitionsOf(node)) for (const target of transition.target ?? []) if (!isWithin(target, node)) add(target, textOf(transition, node), ...wordsOf(transition))
    for (const target of defaultOf(node)) add(target, 'by default')
    return [...texts].map(([target, lines]) => `  ${this.nameOf(node)} --> ${this.nameOf(target)}: ${lines.join('<br/>')}`)
  }
}

/** What stands in the state itself, and what it is for: Mermaid has no edge that leads nowhere, and draws none well that leads back or into what is inside. */
function ownLines(node: ChartNode): string[] {
  const inward = transitionsOf(node).flatMap((transition) => (transition.target ?? []).filter((target) => isWithin(target, node)).flatMap((target) => [`${textOf(transition, node)} → ${target === node ? 'itself' : target.id.startsWith(`${node.id}.`) ? target.id.slice(node.id.length + 1) : target.id}`, ...wordsOf(transition)]))
  return [...descriptionOf(node), ...linesOf(node), ...inward, ...(node.tags.length > 0 ? [`tags / ${node.tags.join(', ')}`] : [])]
}

function isWithin(node: ChartNode, outer: ChartNode): boolean {
  return node === outer || (node.parent !== undefined && isWithin(node.parent, outer))
}

/** Mermaid's own signs by their codes; `end note` would end one. */
function escaped(text: string): string {
  return text.replace(/\s+/g, ' ').trim().replace(/["#:;<>{}&%]|(?<=\bend) (?=note\b)/gi, (sign) => `#${sign.charCodeAt(0)};`)
}

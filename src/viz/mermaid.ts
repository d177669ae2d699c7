/** A machine as a Mermaid state diagram, with nothing left out of its states and transitions. */
import type { AnyStateMachine } from 'xstate'
import { labelOf, nodesOf, rootOf, sourceOf, transitionsOf, type ChartNode } from './chart.js'

/** The text of a `stateDiagram-v2`, ending in a line feed. */
export function toMermaid(machine: AnyStateMachine): string {
  const root = rootOf(machine)
  const lines = ['stateDiagram-v2', ...statesOf(root, 1), ...nodesOf(root).flatMap(edgesOf)]
  return `${lines.join('\n')}\n`
}

function statesOf(node: ChartNode, depth: number): string[] {
  const pad = '  '.repeat(depth)
  const lines: string[] = []
  for (const initial of node.initial?.target ?? []) lines.push(`${pad}[*] --> ${nameIn(initial)}`)
  Object.values(node.states).forEach((child, i) => {
    if (node.type === 'parallel' && i > 0) lines.push(`${pad}--`)
    const label = [child.key, ...child.invoke.map((invoke) => `invokes ${sourceOf(invoke)}`)].join(' · ')
    if (Object.keys(child.states).length === 0) lines.push(`${pad}${nameIn(child)}: ${escaped(label)}`)
    else lines.push(`${pad}state "${escaped(label)}" as ${nameIn(child)} {`, ...statesOf(child, depth + 1), `${pad}}`)
    if (child.type === 'final') lines.push(`${pad}${nameIn(child)} --> [*]`)
  })
  return lines
}

/** All edges stand at the top level: inside a state, Mermaid would draw targets beyond it into it. */
function edgesOf(node: ChartNode): string[] {
  return transitionsOf(node).flatMap((transition) => {
    const label = escaped(labelOf(transition, node))
    // Mermaid has no edge that leads nowhere: an event that changes no state is drawn back to it.
    const targets = transition.target ?? [node]
    return targets.flatMap((target) => (node.parent || target !== node ? [`  ${node.parent ? nameIn(node) : '[*]'} --> ${nameIn(target)}: ${label}`] : []))
  })
}

function nameIn(node: ChartNode): string {
  return node.id.replace(/[^A-Za-z0-9_]/g, '_')
}

function escaped(text: string): string {
  return text.replace(/["\n:;#]/g, ' ').trim()
}

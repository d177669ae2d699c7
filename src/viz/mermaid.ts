/**
 * A machine as a Mermaid state diagram, with nothing left out: it walks the state nodes themselves, so that `always`
 * transitions, guards, delays and invokes are shown, which `machine.toJSON()` drops.
 */
import type { AnyStateMachine } from 'xstate'

interface Node {
  readonly id: string
  readonly key: string
  readonly type: string
  readonly description?: string
  readonly parent?: Node
  readonly states: Record<string, Node>
  readonly initial?: { readonly target?: readonly Node[] }
  readonly transitions: ReadonlyMap<string, readonly Transition[]>
  readonly always?: readonly Transition[]
  readonly invoke: readonly { readonly id: string; readonly src: unknown }[]
  readonly config: { readonly after?: Record<string, unknown> }
}

interface Transition {
  readonly target?: readonly Node[] | undefined
  readonly guard?: unknown
  readonly eventType: string
}

/** The text of a `stateDiagram-v2`, ending in a line feed. */
export function toMermaid(machine: AnyStateMachine): string {
  const root = machine.root as unknown as Node
  const lines = ['stateDiagram-v2', ...statesOf(root, 1), ...nodesOf(root).flatMap(edgesOf)]
  return `${lines.join('\n')}\n`
}

function statesOf(node: Node, depth: number): string[] {
  const pad = '  '.repeat(depth)
  const lines: string[] = []
  for (const initial of node.initial?.target ?? []) lines.push(`${pad}[*] --> ${nameOf(initial)}`)
  Object.values(node.states).forEach((child, i) => {
    if (node.type === 'parallel' && i > 0) lines.push(`${pad}--`)
    const invokes = child.invoke.map(({ id, src }) => `invokes ${typeof src === 'string' && !src.startsWith('xstate.') ? src : id}`)
    const label = [child.key, ...invokes].join(' · ')
    if (Object.keys(child.states).length === 0) lines.push(`${pad}${nameOf(child)}: ${escaped(label)}`)
    else lines.push(`${pad}state "${escaped(label)}" as ${nameOf(child)} {`, ...statesOf(child, depth + 1), `${pad}}`)
    if (child.type === 'final') lines.push(`${pad}${nameOf(child)} --> [*]`)
  })
  return lines
}

/** All edges stand at the top level: inside a state, Mermaid would draw targets beyond it into it. */
function edgesOf(node: Node): string[] {
  const all = [...[...node.transitions.values()].flat(), ...(node.always ?? [])]
  return all.flatMap((transition) => {
    const label = escaped(`${eventOf(transition, node)}${transition.guard === undefined ? '' : ` [${guardOf(transition.guard)}]`}`)
    // Mermaid has no edge that leads nowhere: an event that changes no state is drawn back to it.
    const targets = transition.target ?? [node]
    return targets.flatMap((target) => (node.parent || target !== node ? [`  ${node.parent ? nameOf(node) : '[*]'} --> ${nameOf(target)}: ${label}`] : []))
  })
}

function eventOf({ eventType }: Transition, node: Node): string {
  if (!eventType) return 'always'
  const after = /^xstate\.after\.(.+)\.[^.]+(?:\..+)?$/.exec(eventType)
  if (after) return `after ${Object.keys(node.config.after ?? {}).find((delay) => eventType.startsWith(`xstate.after.${delay}.`)) ?? after[1]!}`
  return eventType.replace(/^xstate\.done\.actor\./, 'done ').replace(/^xstate\.error\.actor\./, 'error ').replace(/^xstate\.done\.state\..*/, 'done').replace(/^xstate\.snapshot\./, 'snapshot ')
}

function guardOf(guard: unknown): string {
  if (typeof guard === 'string') return guard
  if (typeof guard === 'object' && guard !== null && 'type' in guard) return String((guard as { type: unknown }).type)
  return 'inline guard'
}

function nodesOf(node: Node): Node[] {
  return [node, ...Object.values(node.states).flatMap(nodesOf)]
}

function nameOf(node: Node): string {
  return node.id.replace(/[^A-Za-z0-9_]/g, '_')
}

function escaped(text: string): string {
  return text.replace(/["\n:;#]/g, ' ').trim()
}

/**
 * A machine as its drawings see it: the state nodes themselves, with nothing left out. `machine.toJSON()` would drop
 * `always` transitions, guards, delays and invokes.
 */
import type { AnyStateMachine } from 'xstate'

export interface ChartNode {
  readonly id: string
  readonly key: string
  readonly type: 'atomic' | 'compound' | 'parallel' | 'final' | 'history'
  readonly history?: 'shallow' | 'deep' | false
  readonly description?: string
  readonly parent?: ChartNode
  readonly states: Readonly<Record<string, ChartNode>>
  readonly initial?: { readonly target?: readonly ChartNode[] }
  readonly transitions: ReadonlyMap<string, readonly ChartTransition[]>
  readonly always?: readonly ChartTransition[]
  readonly invoke: readonly { readonly id: string; readonly src: unknown }[]
  readonly entry: readonly unknown[]
  readonly exit: readonly unknown[]
  readonly tags: readonly string[]
  readonly config: { readonly after?: Record<string, unknown> }
}

export interface ChartTransition {
  readonly target?: readonly ChartNode[] | undefined
  readonly guard?: unknown
  readonly actions: readonly unknown[]
  readonly eventType: string
  readonly source: ChartNode
}

export function rootOf(machine: AnyStateMachine): ChartNode {
  return machine.root as unknown as ChartNode
}

/** A node and all below it, parents first. */
export function nodesOf(node: ChartNode): ChartNode[] {
  return [node, ...Object.values(node.states).flatMap(nodesOf)]
}

export function transitionsOf(node: ChartNode): ChartTransition[] {
  return [...[...node.transitions.values()].flat(), ...(node.always ?? [])]
}

/** `event [guard]`, in words. */
export function labelOf(transition: ChartTransition, node: ChartNode): string {
  return `${eventOf(transition, node)}${transition.guard === undefined ? '' : ` [${nameOf(transition.guard)}]`}`
}

function eventOf({ eventType }: ChartTransition, node: ChartNode): string {
  if (!eventType) return 'always'
  const after = /^xstate\.after\.(.+)\.[^.]+(?:\..+)?$/.exec(eventType)
  if (after) return `after ${Object.keys(node.config.after ?? {}).find((delay) => eventType.startsWith(`xstate.after.${delay}.`)) ?? after[1]!}`
  return eventType.replace(/^xstate\.done\.actor\./, 'done ').replace(/^xstate\.error\.actor\./, 'error ').replace(/^xstate\.done\.state\..*/, 'done').replace(/^xstate\.snapshot\./, 'snapshot ')
}

/** The name of a guard or action; those of XState's own go by what they do. */
export function nameOf(given: unknown): string {
  if (typeof given === 'string') return given
  const { type, name } = (given ?? {}) as { type?: unknown; name?: unknown }
  const text = typeof type === 'string' ? type : typeof name === 'string' ? name : ''
  return text.startsWith('xstate.') ? text.slice('xstate.'.length) : text === '' ? 'inline' : text
}

/** What an invoke runs: its name, else the id of the invoke. */
export function sourceOf({ id, src }: ChartNode['invoke'][number]): string {
  return typeof src === 'string' && !src.startsWith('xstate.') ? src : id
}

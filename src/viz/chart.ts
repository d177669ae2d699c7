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
  /** Finds a state by `#id`, or `#id.child`; throws if there is none. */
  readonly machine: { getStateNodeById(id: string): ChartNode }
  readonly states: Readonly<Record<string, ChartNode>>
  readonly initial?: { readonly target?: readonly ChartNode[]; readonly actions?: readonly unknown[]; readonly description?: string }
  readonly transitions: ReadonlyMap<string, readonly ChartTransition[]>
  readonly always?: readonly ChartTransition[]
  readonly invoke: readonly { readonly id: string; readonly src: unknown; readonly systemId?: string | undefined }[]
  readonly entry: readonly unknown[]
  readonly exit: readonly unknown[]
  readonly tags: readonly string[]
  readonly config: { readonly after?: Record<string, unknown>; readonly target?: string | readonly string[] }
}

export interface ChartTransition {
  readonly target?: readonly ChartNode[] | undefined
  readonly guard?: unknown
  readonly actions: readonly unknown[]
  readonly reenter: boolean
  readonly description?: string
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

/** Where a history state leads that remembers nothing, if it says so itself. */
export function defaultOf(node: ChartNode): ChartNode[] {
  const { parent, config, machine } = node
  if (node.type !== 'history' || !parent) return []
  const within = `#${parent.id.replace(/[\\.]/g, '\\$&')}.`
  return [config.target ?? []].flat().flatMap((target) => {
    try {
      const found = machine.getStateNodeById(target.startsWith('#') ? target : within + target)
      // XState takes `.b` for the state around, which is where a history state leads that says nothing.
      return found === parent ? [] : [found]
    } catch {
      // There is no such state, which XState minds only when it gets there.
      return []
    }
  })
}

/** What a state does beside its transitions to others, a line each: invokes, entry and exit, and events that change no state. */
export function linesOf(node: ChartNode): string[] {
  const inner = transitionsOf(node).filter(({ target }) => target === undefined)
  return [...node.invoke.map((invoke) => `invoke / ${sourceOf(invoke)}`), ...actionsOf('entry', node.entry), ...actionsOf('exit', node.exit), ...inner.flatMap((transition) => [textOf(transition, node), ...wordsOf(transition)])]
}

/** What a state or a transition is for, if it says so, in lines that fit a box. */
export function descriptionOf({ description }: { readonly description?: string | undefined }): string[] {
  return description?.replace(/\s+/g, ' ').match(/\S(?:.{0,58}\S)?(?!\S)|\S+/g) ?? []
}

/** The same in quotes, where it stands among what is done. */
export function wordsOf({ description }: { readonly description?: string | undefined }): string[] {
  return description?.trim() ? descriptionOf({ description: `“${description.trim()}”` }) : []
}

function actionsOf(when: string, actions: readonly unknown[]): string[] {
  const own = actions.filter((action) => !isOfDelay(action))
  return own.length > 0 ? [`${when} / ${own.map(actionText).join(', ')}`] : []
}

/** XState keeps the timers of `after` by actions of its own; the transitions themselves are drawn. */
function isOfDelay(action: unknown): boolean {
  const { event, sendId } = action as { event?: { type?: unknown }; sendId?: unknown }
  return [event?.type, sendId].some((text) => typeof text === 'string' && text.startsWith('xstate.after.'))
}

/** A transition in words: `event [guard] / actions`. */
export function textOf({ actions, target, reenter, guard, eventType }: ChartTransition, node: ChartNode): string {
  const event = eventType === 'xstate.route' && target?.[0] ? `route #${target[0].id}` : eventOf(eventType, node)
  const condition = guardText(guard)
  // An event that is named and does nothing is kept from the states around.
  const what = actions.length > 0 ? ` / ${actions.map(actionText).join(', ')}` : target === undefined ? ' / nothing' : ''
  return `${event}${condition === undefined ? '' : ` [${condition}]`}${what}${reenter && target !== undefined ? ' (reenters)' : ''}`
}

function eventOf(eventType: string, node: ChartNode): string {
  if (!eventType) return 'always'
  const after = /^xstate\.after\.(.+)\.[^.]+(?:\..+)?$/.exec(eventType)
  if (after) return `after ${Object.keys(node.config.after ?? {}).find((delay) => eventType === `xstate.after.${delay}.${node.id}`) ?? after[1]!}`
  return eventType.replace(/^xstate\.done\.actor\./, 'done ').replace(/^xstate\.error\.actor\./, 'error ').replace(/^xstate\.done\.state\..*/, 'done').replace(/^xstate\.snapshot\./, 'snapshot ')
}

/** What XState's own guards and actions, which are functions, hold. */
type Own = Readonly<Record<string, unknown>> & { readonly name: string }

/** A guard in words; undefined if there is none. */
export function guardText(guard: unknown, isInner = false): string | undefined {
  if (guard === undefined) return undefined
  if (typeof guard === 'function') {
    const { name, guards, stateValue } = guard as unknown as Own
    // XState's own, by which it finds the state of a route.
    if (name === 'routeMatches') return undefined
    if (stateValue !== undefined) return `in ${typeof stateValue === 'string' ? stateValue : JSON.stringify(stateValue)}`
    if (Array.isArray(guards)) {
      const parts = guards.map((part) => guardText(part, true)).filter((part) => part !== undefined)
      if (name === 'not') return `not ${parts[0]!}`
      const text = parts.join(` ${name} `)
      return isInner && parts.length > 1 ? `(${text})` : text
    }
  }
  return named(guard)
}

/** An action in words; XState's own with what they do it to. */
export function actionText(action: unknown): string {
  const { type, event, to, sendId, src, id, actorRef, delay, value, label, assignment } = (typeof action === 'function' ? action : {}) as unknown as Own
  const eventType = typeof event === 'object' && event !== null ? (event as { type: unknown }).type : undefined
  const details: readonly unknown[] =
    type === 'xstate.raise' || type === 'xstate.emit' ? [eventType]
    : type === 'xstate.sendTo' ? [to, eventType]
    : type === 'xstate.cancel' ? [sendId]
    : type === 'xstate.spawnChild' ? [src, id]
    : type === 'xstate.stopChild' ? [actorRef]
    : type === 'xstate.log' ? [label ?? value]
    : type === 'xstate.assign' && typeof assignment === 'object' && assignment !== null ? Object.keys(assignment)
    : []
  const told = details.filter((detail) => typeof detail === 'string')
  return [named(action), ...told, ...(typeof delay === 'number' || typeof delay === 'string' ? [`after ${delay}`] : [])].join(' ')
}

/** The name of a guard or action, with its parameters if they are data. */
function named(given: unknown): string {
  const params = typeof given === 'object' ? (given as { params?: unknown } | null)?.params : undefined
  return `${nameOf(given)}${typeof params === 'object' && params !== null ? ` ${JSON.stringify(params)}` : ''}`
}

/** The name of a guard or action; those of XState's own go by what they do. */
export function nameOf(given: unknown): string {
  if (typeof given === 'string') return given
  const { type, name } = (given ?? {}) as { type?: unknown; name?: unknown }
  const text = typeof type === 'string' ? type : typeof name === 'string' ? name : ''
  return text.startsWith('xstate.') ? text.slice('xstate.'.length) : /^(?:|actions|entry|exit|guard|always)$/.test(text) ? 'inline' : text
}

/** What an invoke runs, by its name, and the id that its events go by, if somebody gave it one. */
export function sourceOf({ id, src, systemId }: ChartNode['invoke'][number]): string {
  const isNamed = typeof src === 'string' && !src.startsWith('xstate.')
  const own = /^\d+\..+/.test(id) || id === src ? '' : ` as ${id}`
  return `${isNamed ? src : 'inline'}${own}${systemId === undefined ? '' : `, known as ${systemId}`}`
}

/** The names of a machine's states in a text that has none but letters, digits and `_`: each its own, and none a word that the text itself has. */
export function identifiers(nodes: readonly ChartNode[], keywords: ReadonlySet<string>): (node: ChartNode) => string {
  const names = new Map<ChartNode, string>()
  const taken = new Set<string>()
  for (const node of nodes) {
    const plain = node.id.replace(/[^A-Za-z0-9_]/g, '_')
    let name = keywords.has(plain.toLowerCase()) ? `${plain}_` : plain
    for (let i = 2; taken.has(name); i++) name = `${plain}_${i}`
    taken.add(name)
    names.set(node, name)
  }
  return (node) => names.get(node)!
}

/**
 * A machine as the JSON that Stately Studio imports and `createMachine` takes back: its whole configuration, with the
 * names of guards, actions, delays and actors, and without the functions that JSON cannot hold (context, input,
 * output and parameter mappers; what XState's own actions compute). `machine.toJSON()` would drop `always` transitions and turn delays into other events.
 */
import type { AnyStateMachine } from 'xstate'

export type XStateJson = { readonly [key: string]: unknown }

/** @throws TypeError for an inline guard, action or actor: it has no name to go by */
export function toXStateJson(machine: AnyStateMachine): XStateJson {
  const json = part('state', machine.config, machine.id) as Record<string, unknown>
  return { id: machine.id, ...(machine.version === undefined ? {} : { version: machine.version }), ...json }
}

/**
 * What stands at a place of a configuration: a state, or another part of that name; many, a mapping of names that a user
 * gave; a named guard or action, a function included; an actor; data; and a mapper between data, which whoever imports the
 * chart writes anew if it is a function.
 */
type Kind = 'state' | 'states' | 'transition' | 'transitions' | 'events' | 'invoke' | 'implementation' | 'actor' | 'mapper' | 'data'

/** What stands under the keys that XState knows. All else is data. */
const keys: { readonly [kind in Kind]?: Readonly<Record<string, Kind>> } = {
  state: { states: 'states', on: 'events', after: 'transitions', always: 'transition', onDone: 'transition', initial: 'transition', route: 'transition', invoke: 'invoke', entry: 'implementation', exit: 'implementation', context: 'mapper', input: 'mapper', output: 'mapper' },
  transition: { guard: 'implementation', actions: 'implementation' },
  invoke: { src: 'actor', input: 'mapper', onDone: 'transition', onError: 'transition', onSnapshot: 'transition' },
  implementation: { params: 'mapper' },
}
const kindOfEach: { readonly [kind in Kind]?: Kind } = { states: 'state', transitions: 'transition', events: 'transition' }

function part(kind: Kind, value: unknown, path: string): unknown {
  if (typeof value === 'function') {
    if (kind === 'mapper') return undefined
    const own = kind === 'implementation' ? ownOf(value as unknown as Own, path) : undefined
    if (own) return own
    throw new TypeError(`${path} is an inline function. Give it a name in setup(), so that it can be exported.`)
  }
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((element, i) => part(kind, element, `${path}[${i}]`))
  if (kind === 'actor') throw new TypeError(`${path} is an inline actor. Give it a name in setup({ actors }), so that it can be exported.`)
  const known = new Map(Object.entries(keys[kind] ?? {}))
  // An event that is named without a transition is forbidden.
  const entries = Object.entries(value).map(([key, inner]) => [key, inner === undefined && kind === 'events' ? {} : part(kindOfEach[kind] ?? known.get(key) ?? 'data', inner, `${path}.${key}`)] as const)
  return Object.fromEntries(entries.filter(([, inner]) => inner !== undefined))
}

type Own = Readonly<Record<string, unknown>> & { readonly name: string }

/**
 * XState's own actions and guards by their name and what they hold that is data: `raise({ type: 'go' })` is
 * `{ type: 'xstate.raise', params: { event: { type: 'go' } } }`.
 */
function ownOf(given: Own, path: string): object | undefined {
  const { type, name, guards, stateValue } = given
  if (typeof type === 'string' && type.startsWith('xstate.')) {
    const held = ['event', 'to', 'id', 'systemId', 'src', 'delay', 'sendId', 'actorRef', 'label', 'value', 'syncSnapshot', 'input'].flatMap((key) => (isData(given[key]) ? [[key, given[key]] as const] : []))
    return { type, ...(held.length > 0 ? { params: Object.fromEntries(held) } : {}) }
  }
  if (Array.isArray(guards) && typeof given['check'] === 'function') return { type: `xstate.${name}`, params: { guards: guards.map((guard, i) => part('implementation', guard, `${path}.${name}[${i}]`)) } }
  if (stateValue !== undefined && typeof given['check'] === 'function') return { type: 'xstate.stateIn', params: { stateValue } }
  return undefined
}

function isData(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.values(value).every((inner) => inner === undefined || isData(inner))
  return value !== undefined && typeof value !== 'function'
}

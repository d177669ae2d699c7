/**
 * A machine as the JSON that Stately Studio imports and `createMachine` takes back: its whole configuration, with the
 * names of guards, actions, delays and actors, and without the functions that JSON cannot hold (context, input,
 * output and parameter mappers; what XState's own actions compute). `machine.toJSON()` would drop `always` transitions and turn delays into other events.
 */
import type { AnyStateMachine } from 'xstate'

export type XStateJson = { readonly [key: string]: unknown }

/** @throws TypeError for an inline guard, action or actor: it has no name to go by */
export function toXStateJson(machine: AnyStateMachine): XStateJson {
  const json = plain(machine.config, machine.id, '') as Record<string, unknown>
  return { id: machine.id, ...(machine.version === undefined ? {} : { version: machine.version }), ...json }
}

/** Where a function is a mapper between data, which whoever imports the chart writes anew. */
const mappers = new Set(['context', 'input', 'output', 'params'])

function plain(value: unknown, path: string, key: string): unknown {
  if (typeof value === 'function') {
    if (mappers.has(key)) return undefined
    const own = ownOf(value as unknown as Own, path)
    if (own) return own
    throw new TypeError(`${path} is an inline function. Give it a name in setup(), so that it can be exported.`)
  }
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((element, i) => plain(element, `${path}[${i}]`, key))
  if (key === 'src') throw new TypeError(`${path} is an inline actor. Give it a name in setup({ actors }), so that it can be exported.`)
  // An event that is named without a transition is forbidden.
  const entries = Object.entries(value).map(([name, inner]) => [name, inner === undefined && key === 'on' ? {} : plain(inner, `${path}.${name}`, name)] as const)
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
  if (Array.isArray(guards) && typeof given['check'] === 'function') return { type: `xstate.${name}`, params: { guards: guards.map((guard, i) => plain(guard, `${path}.${name}[${i}]`, 'guard')) } }
  if (stateValue !== undefined && typeof given['check'] === 'function') return { type: 'xstate.stateIn', params: { stateValue } }
  return undefined
}

function isData(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.values(value).every((inner) => inner === undefined || isData(inner))
  return value !== undefined && typeof value !== 'function'
}

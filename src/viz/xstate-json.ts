/**
 * A machine as the JSON that Stately Studio imports and `createMachine` takes back: its whole configuration, with the
 * names of guards, actions, delays and actors, and without the functions that JSON cannot hold (context, input and
 * output mappers). `machine.toJSON()` would drop `always` transitions and turn delays into other events.
 */
import type { AnyStateMachine } from 'xstate'

export type XStateJson = { readonly [key: string]: unknown }

/** @throws TypeError for an inline guard, action or actor: it has no name to go by */
export function toXStateJson(machine: AnyStateMachine): XStateJson {
  const json = plain(machine.config, machine.id, '') as Record<string, unknown>
  return { id: machine.id, ...(machine.version === undefined ? {} : { version: machine.version }), ...json }
}

/** Where a function is a mapper between data, which whoever imports the chart writes anew. */
const mappers = new Set(['context', 'input', 'output'])

function plain(value: unknown, path: string, key: string): unknown {
  if (typeof value === 'function') {
    if (mappers.has(key)) return undefined
    throw new TypeError(`${path} is an inline function. Give it a name in setup(), so that it can be exported.`)
  }
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((element, i) => plain(element, `${path}[${i}]`, key))
  if (key === 'src') throw new TypeError(`${path} is an inline actor. Give it a name in setup({ actors }), so that it can be exported.`)
  const entries = Object.entries(value).map(([name, inner]) => [name, plain(inner, `${path}.${name}`, name)] as const)
  return Object.fromEntries(entries.filter(([, inner]) => inner !== undefined))
}

/** Events of a machine, made from zod schemas. */
import fc from 'fast-check'
import type { AnyStateMachine, EventFromLogic } from 'xstate'
import type { z } from 'zod'
import { ConfigError } from '../../errors.js'
import { anything, isObject, list, mustBeMachine, optional, options as exactly, record, text, wrong } from '../options.js'
import { giveYourOwn, jsonSchemaOf, schemaArbitrary } from './schema-arbitrary.js'

type EventOf<M extends AnyStateMachine, T extends string> = Extract<EventFromLogic<M>, { readonly type: T }>
type TypeOf<M extends AnyStateMachine> = EventFromLogic<M>['type']
type DistributiveOmit<E, K extends PropertyKey> = E extends unknown ? Omit<E, K> : never

/** By type of event: the schema of what it carries beside its type, or an arbitrary of your own that gives whole events. */
export type EventsByType<M extends AnyStateMachine> = { readonly [T in TypeOf<M>]?: z.ZodType<DistributiveOmit<EventOf<M, T>, 'type'>> | fc.Arbitrary<EventOf<M, T>> }

export interface EventArbitraryOptions<M extends AnyStateMachine> {
  /** Types that the machine handles and that are not to be generated, such as those that only other actors send. */
  readonly except?: readonly TypeOf<M>[]
  /** How often a type comes, as against 1 for the others; a whole number, 0 or more. */
  readonly weights?: { readonly [T in TypeOf<M>]?: number }
}

/**
 * Events that a machine handles: by type with the schema of what each carries, or with one schema for all of them, such as a
 * `z.discriminatedUnion('type', [...])`. Every type that the machine handles must be there, so that none is forgotten: those
 * of delays and of invoked actors, which the runtime makes, and wildcards aside.
 *
 * @throws ConfigError if a type is missing or unknown, or its values cannot be generated
 */
export function eventArbitrary<M extends AnyStateMachine>(machine: M, schemas: EventsByType<M> | z.ZodType<EventFromLogic<M>>, options: EventArbitraryOptions<M> = {}): fc.Arbitrary<EventFromLogic<M>> {
  mustBeMachine('eventArbitrary', machine)
  if (!isObject(schemas)) wrong('eventArbitrary: schemas', 'schemas by type of event, or one of all events', schemas)
  fits('eventArbitrary: ', options)
  const { except = [], weights = {} } = options
  const name = `events of ${machine.id}`
  if (isSchema(schemas)) {
    mustMatch(name, machine, typesIn(jsonSchemaOf(schemas, name) as object), except)
    const whole = schemaArbitrary(schemas, name) as fc.Arbitrary<EventFromLogic<M>>
    return except.length === 0 ? whole : whole.filter(({ type }) => !except.includes(type as TypeOf<M>))
  }
  const given = Object.entries<unknown>(schemas).filter(([, schema]) => schema !== undefined)
  mustMatch(name, machine, given.map(([type]) => type), except)
  const byType = given.map(([type, schema]) => ({ weight: weightOf(name, type, (weights as Record<string, unknown>)[type]), arbitrary: isSchema(schema) ? payload(type, schema) : arbitraryOf(name, type, schema) }))
  for (const type of Object.keys(weights)) if (!given.some(([known]) => known === type)) throw new ConfigError(`${name}: weights: there is no event "${type}".`)
  if (byType.every(({ weight }) => weight === 0)) throw new ConfigError(`${name}: weights: at least one type must come, all have the weight 0.`)
  return fc.oneof(...byType) as fc.Arbitrary<EventFromLogic<M>>
}

const fits = exactly<EventArbitraryOptions<AnyStateMachine>>({ except: optional(list(text(256))), weights: optional(record(anything)) })

function isSchema(value: unknown): value is z.ZodType {
  return typeof (value as { safeParse?: unknown } | null)?.safeParse === 'function'
}

function payload(type: string, schema: z.ZodType): fc.Arbitrary<unknown> {
  return schemaArbitrary(schema, `event "${type}"`).map((value) => ({ ...(value as object), type }))
}

function arbitraryOf(name: string, type: string, given: unknown): fc.Arbitrary<unknown> {
  if (typeof (given as { generate?: unknown } | null)?.generate === 'function') return given as fc.Arbitrary<unknown>
  throw new ConfigError(`${name}: "${type}": expected a zod schema or an arbitrary.`)
}

function weightOf(name: string, type: string, weight: unknown): number {
  if (weight === undefined) return 1
  if (!Number.isSafeInteger(weight) || (weight as number) < 0) throw new ConfigError(`${name}: weights.${type}: expected a whole number, 0 or more, got ${JSON.stringify(weight)}.`)
  return weight as number
}

/** @throws ConfigError that names the types */
function mustMatch(name: string, machine: AnyStateMachine, given: readonly string[], except: readonly string[]): void {
  const handled = (machine.events as readonly string[]).filter((type) => !type.startsWith('xstate.'))
  const plain = handled.filter((type) => !type.endsWith('*'))
  const wild = handled.filter((type) => type.endsWith('*')).map((type) => type.slice(0, -1))
  const quoted = (types: readonly string[]): string => types.map((type) => `"${type}"`).join(', ')
  const missing = plain.filter((type) => !given.includes(type) && !except.includes(type))
  if (missing.length > 0) throw new ConfigError(`${name}: it handles ${quoted(missing)}, for which there is no schema. Add one, or name it in "except".`)
  const unknown = [...given, ...except].filter((type) => !plain.includes(type) && !wild.some((start) => type.startsWith(start)))
  if (unknown.length > 0) throw new ConfigError(`${name}: it does not handle ${quoted(unknown)} (it handles: ${quoted(handled)}).`)
  if (given.every((type) => except.includes(type))) throw new ConfigError(`${name}: there is no event to generate. ${giveYourOwn}`)
}

/** The types that a schema of whole events names. */
function typesIn(schema: object): string[] {
  const { properties, anyOf, oneOf } = schema as { properties?: { type?: { const?: unknown; enum?: readonly unknown[] } }; anyOf?: object[]; oneOf?: object[] }
  const here = properties?.type
  return [...(here && 'const' in here ? [here.const] : (here?.enum ?? [])), ...[...(anyOf ?? []), ...(oneOf ?? [])].flatMap(typesIn)] as string[]
}

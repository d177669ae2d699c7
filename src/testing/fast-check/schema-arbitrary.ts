/**
 * Values that fit a zod schema. The schema is read as JSON Schema, which says all that a JSON value can be held to; what
 * that does not say (refinements, letter case, bounds beside a pattern) is seen to by the schema itself: nothing is
 * generated that it refuses.
 */
import fc from 'fast-check'
import { z } from 'zod'
import { ConfigError } from '../../errors.js'
import { isForbiddenKey } from '../../runtime/json.js'
import { schema as aSchema, text } from '../options.js'

/** The part of JSON Schema, draft 2020-12, that zod writes. */
interface JsonSchema {
  readonly $ref?: string
  readonly $defs?: Readonly<Record<string, JsonSchema>>
  readonly type?: string | readonly string[]
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly not?: JsonSchema
  readonly anyOf?: readonly JsonSchema[]
  readonly oneOf?: readonly JsonSchema[]
  readonly allOf?: readonly JsonSchema[]
  readonly format?: string
  readonly pattern?: string
  readonly minLength?: number
  readonly maxLength?: number
  readonly minimum?: number
  readonly maximum?: number
  readonly exclusiveMinimum?: number
  readonly exclusiveMaximum?: number
  readonly multipleOf?: number
  readonly items?: JsonSchema
  readonly prefixItems?: readonly JsonSchema[]
  readonly minItems?: number
  readonly maxItems?: number
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: JsonSchema | boolean
  readonly propertyNames?: JsonSchema
}

/** Candidates that the schema may refuse in a row before it is given up. */
const refusalsMax = 10_000

/**
 * Values as the schema gives them: generated as input, then parsed, so that defaults, transforms and coercions are done.
 *
 * @param name what it is for, in errors
 * @throws ConfigError if it is none, has no JSON Schema, or a text is bound in a way that cannot be generated; while generating, if
 * the schema refuses 10,000 candidates in a row
 */
export function schemaArbitrary<T>(schema: z.ZodType<T>, name = 'the schema'): fc.Arbitrary<T> {
  text(256)('schemaArbitrary: name', name)
  aSchema(name, schema)
  const candidates = candidatesOf(jsonSchemaOf(schema, name), name)
  let refused = 0
  return candidates
    .filter((value) => {
      const { success, error } = schema.safeParse(value)
      if (!success && ++refused > refusalsMax) throw new ConfigError(`${name}: its schema refused ${refusalsMax.toLocaleString('en-GB')} generated values in a row, the last because: ${error.issues[0]?.message ?? 'no reason'}. ${giveYourOwn}`)
      if (success) refused = 0
      return success
    })
    .map((value) => schema.parse(value))
}

export const giveYourOwn = 'Give an arbitrary of your own in its place.'

/** @throws ConfigError if there is none */
export function jsonSchemaOf(schema: z.ZodType, name: string): JsonSchema {
  try {
    return z.toJSONSchema(schema, { io: 'input' }) as JsonSchema
  } catch (error) {
    throw new ConfigError(`${name}: ${(error as Error).message}, and so its values cannot be generated. ${giveYourOwn}`)
  }
}

function candidatesOf(root: JsonSchema, name: string): fc.Arbitrary<unknown> {
  const named: Record<string, JsonSchema> = { '#': root }
  for (const [key, schema] of Object.entries(root.$defs ?? {})) named[`#/$defs/${key}`] = schema
  const { '#': whole } = fc.letrec<Record<string, unknown>>((tie) => Object.fromEntries(Object.entries(named).map(([ref, schema]) => [ref, new Builder(tie, name).of(schema)])))
  return whole!
}

class Builder {
  private readonly tie: (ref: string) => fc.Arbitrary<unknown>
  private readonly name: string
  /** Shared by all of one schema, so that what contains itself grows smaller with its depth. */
  private readonly depth = fc.createDepthIdentifier()

  constructor(tie: (ref: string) => fc.Arbitrary<unknown>, name: string) {
    this.tie = tie
    this.name = name
  }

  of(schema: JsonSchema): fc.Arbitrary<unknown> {
    const { $ref, type, anyOf, oneOf, allOf } = schema
    if ($ref !== undefined) return this.tie($ref)
    if ('const' in schema) return fc.constant(schema.const)
    if (schema.enum) return fc.constantFrom(...schema.enum)
    const choices = anyOf ?? oneOf
    // Beyond the depth the first is taken, which should not contain another.
    if (choices) return this.oneOf(choices.toSorted((a, b) => Number(isDeep(a)) - Number(isDeep(b))).map((choice) => this.of(choice)))
    if (Array.isArray(type)) return this.oneOf((type as string[]).map((one) => this.of({ ...schema, type: one })))
    switch (type) {
      case 'string':
        return this.text(schema)
      case 'number':
        return number(schema)
      case 'integer':
        return whole(schema)
      case 'boolean':
        return fc.boolean()
      case 'null':
        return fc.constant(null)
      case 'array':
        return this.list(schema)
      case 'object':
        return this.object(schema)
      case undefined:
        if (schema.not) throw new ConfigError(`${this.name}: no value fits its schema.`)
        // Refinements that are written as a schema of their own, such as those of an intersection.
        if (allOf) return fc.tuple(...allOf.map((part) => this.of(part))).map((parts) => merged(parts))
        return fc.jsonValue({ depthSize: 'small' }).filter(hasNoForbiddenKey)
      default:
        throw new ConfigError(`${this.name}: values of type ${String(type)} cannot be generated. ${giveYourOwn}`)
    }
  }

  private oneOf(choices: readonly fc.Arbitrary<unknown>[]): fc.Arbitrary<unknown> {
    return fc.oneof({ depthSize: 'small', maxDepth: depthMax, depthIdentifier: this.depth, withCrossShrink: true }, ...choices)
  }

  /** What may be left out, in something that contains itself: the deeper, the rarer. */
  private unlessDeep<T>(schema: JsonSchema, without: T, whole: fc.Arbitrary<T>): fc.Arbitrary<T> {
    return isDeep(schema) ? (this.oneOf([fc.constant(without), whole]) as fc.Arbitrary<T>) : whole
  }

  private text({ format, pattern, minLength, maxLength, allOf = [] }: JsonSchema): fc.Arbitrary<string> {
    const fits = (values: fc.Arbitrary<string>): boolean => pattern === undefined || regExpOf(pattern).test(fc.sample(values, { numRuns: 1, seed: 1 })[0]!)
    const known = format === undefined ? undefined : [formats[format], shorter[format]].find((values) => values && fits(values))
    if (known) return known
    const patterns = [pattern, ...allOf.map((part) => part.pattern)].filter((one) => one !== undefined)
    if (patterns.length > 0) {
      // Of several, what must stand first comes first: "begins with, holds, ends with" mostly fits so.
      const order = (one: string): number => (one.startsWith('^') ? 0 : one.endsWith('$') ? 2 : 1)
      return fc.tuple(...patterns.toSorted((a, b) => order(a) - order(b)).map((one) => this.matching(one, maxLength))).map((parts) => parts.join(''))
    }
    const bounds = { ...(minLength === undefined ? {} : { minLength }), ...(maxLength === undefined ? {} : { maxLength }) }
    return fc.oneof(fc.string(bounds), fc.string({ ...bounds, unit: 'grapheme' }))
  }

  private matching(pattern: string, maxLength: number | undefined): fc.Arbitrary<string> {
    try {
      return fc.stringMatching(regExpOf(pattern), maxLength === undefined ? {} : { size: maxLength < 20 ? 'xsmall' : 'small' })
    } catch (error) {
      throw new ConfigError(`${this.name}: texts for ${pattern} cannot be generated (${(error as Error).message}). ${giveYourOwn}`)
    }
  }

  private list({ items, prefixItems, minItems, maxItems }: JsonSchema): fc.Arbitrary<unknown> {
    const bounds = { ...(minItems === undefined ? {} : { minLength: minItems }), ...(maxItems === undefined ? {} : { maxLength: maxItems }), depthIdentifier: this.depth }
    if (!prefixItems) return this.unlessDeep(minItems ? {} : (items ?? {}), [], fc.array(this.of(items ?? {}), bounds))
    const first = fc.tuple(...prefixItems.map((item) => this.of(item)))
    return items ? fc.tuple(first, fc.array(this.of(items), { depthIdentifier: this.depth })).map(([head, rest]) => [...head, ...rest]) : first
  }

  private object({ properties = {}, required = [], additionalProperties, propertyNames }: JsonSchema): fc.Arbitrary<unknown> {
    const isDeepOption = (key: string): boolean => !required.includes(key) && isDeep(properties[key]!)
    const known = Object.fromEntries(Object.entries(properties).map(([key, property]) => [key, isDeepOption(key) ? this.unlessDeep(property, absent, this.of(property)) : this.of(property)]))
    const requiredKeys = Object.keys(known).filter((key) => required.includes(key) || isDeepOption(key))
    const record = fc.record(known, { requiredKeys, noNullPrototype: true }).map((value) => Object.fromEntries(Object.entries(value).filter(([, inner]) => inner !== absent)))
    if (typeof additionalProperties !== 'object' || (Object.keys(additionalProperties).length === 0 && Object.keys(known).length > 0)) return record
    const value = this.of(additionalProperties)
    if (propertyNames?.enum) {
      const keys = propertyNames.enum as readonly string[]
      return fc.record(Object.fromEntries(keys.map((key) => [key, value])), { requiredKeys: required as string[], noNullPrototype: true })
    }
    const key = (propertyNames ? (this.of(propertyNames) as fc.Arbitrary<string>) : fc.string()).filter((one) => !isForbiddenKey(one) && !Object.hasOwn(known, one))
    const more = this.unlessDeep(additionalProperties, {}, fc.dictionary(key, value, { depthIdentifier: this.depth, noNullPrototype: true }))
    return fc.tuple(record, more).map(([own, others]) => ({ ...others, ...own }))
  }
}

/** How deep something that contains itself may go. */
const depthMax = 4
const absent = Symbol('absent')

/** Whether it may contain itself. */
function isDeep(schema: JsonSchema): boolean {
  return JSON.stringify(schema).includes('"$ref"')
}

function hasNoForbiddenKey(value: unknown): boolean {
  return typeof value !== 'object' || value === null || Object.entries(value).every(([key, inner]) => !isForbiddenKey(key) && hasNoForbiddenKey(inner))
}

const regExpOf = (pattern: string): RegExp => new RegExp(pattern, pattern.includes('\\p{') ? 'u' : '')

function merged(parts: readonly unknown[]): unknown {
  return parts.every((part) => typeof part === 'object' && part !== null && !Array.isArray(part)) ? Object.assign({}, ...parts) : parts[0]
}

function number({ minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf }: JsonSchema): fc.Arbitrary<number> {
  if (multipleOf !== undefined) return multiples(multipleOf, minimum ?? exclusiveMinimum, maximum ?? exclusiveMaximum)
  const min = exclusiveMinimum ?? minimum
  const max = exclusiveMaximum ?? maximum
  const double = fc.double({
    noNaN: true,
    noDefaultInfinity: true,
    ...(min === undefined ? {} : { min, minExcluded: exclusiveMinimum !== undefined }),
    ...(max === undefined ? {} : { max, maxExcluded: exclusiveMaximum !== undefined }),
  })
  // JSON has one zero only.
  return double.map((one) => (one === 0 ? 0 : one))
}

function whole({ minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf }: JsonSchema): fc.Arbitrary<number> {
  const least = Math.max(minimum ?? -Infinity, exclusiveMinimum === undefined ? -Infinity : exclusiveMinimum + 1)
  const most = Math.min(maximum ?? Infinity, exclusiveMaximum === undefined ? Infinity : exclusiveMaximum - 1)
  if (multipleOf !== undefined) return multiples(multipleOf, least, most)
  return fc.integer({ min: Math.max(Math.ceil(least), -(2 ** 53 - 1)), max: Math.min(Math.floor(most), 2 ** 53 - 1) })
}

function multiples(of: number, min = -Infinity, max = Infinity): fc.Arbitrary<number> {
  const bound = Math.floor((2 ** 53 - 1) / Math.max(1, of))
  return fc.integer({ min: Math.max(Math.ceil(min / of), -bound), max: Math.min(Math.floor(max / of), bound) }).map((n) => (n === 0 ? 0 : n * of))
}

// A bound is no clock.
// oxlint-disable-next-line eslint/no-restricted-globals
const dates = fc.date({ min: new Date('0001-01-01T00:00:00.000Z'), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true }).map((date) => date.toISOString())

/** Formats that are no plain pattern, or have a better generator. */
const formats: Readonly<Record<string, fc.Arbitrary<string>>> = {
  uuid: fc.uuid(),
  'date-time': dates,
  date: dates.map((date) => date.slice(0, 10)),
  time: dates.map((date) => date.slice(11, 19)),
  duration: fc.tuple(fc.nat(99), fc.nat(23), fc.nat(59)).map(([days, hours, minutes]) => `P${days}DT${hours}H${minutes}M`),
  ipv4: fc.ipV4(),
  ipv6: fc.ipV6(),
  uri: fc.webUrl(),
  hostname: fc.domain(),
  emoji: fc.array(fc.constantFrom('🦀', '🎉', '🧠', '👍🏽', '🇨🇭'), { minLength: 1, maxLength: 4 }).map((all) => all.join('')),
}

/** Where a schema wants less of a format. */
const shorter: Readonly<Record<string, fc.Arbitrary<string>>> = {
  'date-time': dates.map((date) => `${date.slice(0, 19)}Z`),
}

/** Values from zod schemas: they fit, they reach what they should, they shrink, and what cannot be generated is told. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { ConfigError } from '../../src/errors.js'
import { defaultJsonLimits, encodeJson } from '../../src/runtime/json.js'
import { schemaArbitrary } from '../../src/testing/fast-check/index.js'
import { extent, firstSeed } from '../support/extent.js'

const Tree = z.object({
  name: z.string(),
  get children() {
    return z.array(Tree)
  },
})

const schemas: Readonly<Record<string, z.ZodType>> = {
  string: z.string(),
  'bounded string': z.string().min(2).max(5),
  'string with a beginning, a middle and an end': z.string().startsWith('ab').includes('-').endsWith('z'),
  'matching string': z.string().regex(/^[a-c]{2,4}$/),
  'refined string': z.string().refine((text) => text.length % 2 === 0),
  email: z.email(),
  uuid: z.uuid(),
  url: z.url(),
  'date and time': z.iso.datetime(),
  'date and time to the second': z.iso.datetime({ precision: 0 }),
  date: z.iso.date(),
  time: z.iso.time(),
  duration: z.iso.duration(),
  ipv4: z.ipv4(),
  ipv6: z.ipv6(),
  hostname: z.hostname(),
  emoji: z.emoji(),
  base64: z.base64(),
  nanoid: z.nanoid(),
  phone: z.e164(),
  template: z.templateLiteral(['order-', z.int().min(1)]),
  number: z.number(),
  'bounded number': z.number().positive().max(10),
  integer: z.int(),
  'bounded integer': z.int().min(-3).lt(4),
  'multiple of a quarter': z.number().multipleOf(0.25).min(0).max(9),
  'multiple of 15': z.int().multipleOf(15),
  boolean: z.boolean(),
  null: z.null(),
  literal: z.literal(['a', 1, null]),
  enum: z.enum(['a', 'b']),
  nullable: z.string().nullable(),
  array: z.array(z.int()).min(1).max(3),
  tuple: z.tuple([z.string(), z.number()]).rest(z.boolean()),
  object: z.object({ a: z.string(), b: z.number().optional() }),
  'strict object': z.strictObject({ a: z.string() }),
  'loose object': z.looseObject({ a: z.string() }),
  'object with a catchall': z.object({ a: z.string() }).catchall(z.int()),
  record: z.record(z.string(), z.number()),
  'record of an enum': z.record(z.enum(['a', 'b']), z.number()),
  'partial record': z.partialRecord(z.enum(['a', 'b']), z.number()),
  union: z.union([z.string(), z.object({ a: z.int() })]),
  'discriminated union': z.discriminatedUnion('k', [z.object({ k: z.literal('a') }), z.object({ k: z.literal('b'), n: z.number() })]),
  intersection: z.intersection(z.object({ a: z.string() }), z.object({ b: z.number() })),
  recursive: Tree,
  json: z.json(),
  unknown: z.unknown(),
  branded: z.string().min(1).brand('id'),
  readonly: z.object({ a: z.string() }).readonly(),
}

describe.each(Object.entries(schemas))('%s', (name, schema) => {
  test('all that is generated fits, is JSON that a record can keep, and shrinks to what fits', () => {
    const values = schemaArbitrary(schema)
    fc.assert(
      fc.property(values, (value) => {
        expect(schema.safeParse(value).success).toBe(true)
        encodeJson(value, 'value', defaultJsonLimits)
        expect(JSON.parse(JSON.stringify(value))).toEqual(value)
      }),
      { numRuns: extent(60, 1_000), seed: firstSeed },
    )
    // A property that fails shrinks through values that fit, too.
    const seen: unknown[] = []
    const { failed } = fc.check(fc.property(values, (value) => (seen.push(value), seen.length < 5)), { seed: firstSeed, numRuns: 20 })
    expect(failed).toBe(true)
    for (const value of seen) expect(schema.safeParse(value).success, name).toBe(true)
  })
})

test('defaults, transforms and coercions are done: values are what the schema gives', () => {
  const sample = fc.sample(schemaArbitrary(z.object({ n: z.int().default(7), at: z.iso.date().transform((text) => text.length) })), { numRuns: 100, seed: 1 })
  expect(sample.every(({ n, at }) => Number.isInteger(n) && at === 10)).toBe(true)
  expect(sample.some(({ n }) => n === 7)).toBe(true)
})

test('the ends of a range, every branch and every option are reached', () => {
  const reached = (schema: z.ZodType, wanted: (value: never) => boolean): boolean => fc.sample(schemaArbitrary(schema), { numRuns: 500, seed: 1 }).some((value) => wanted(value as never))
  for (const n of [-3, 3]) expect(reached(z.int().min(-3).lt(4), (value) => value === n)).toBe(true)
  for (const k of ['a', 'b']) expect(reached(schemas['discriminated union']!, ({ k: is }: { k: string }) => is === k)).toBe(true)
  expect(reached(schemas['object']!, (value: object) => 'b' in value)).toBe(true)
  expect(reached(schemas['object']!, (value: object) => !('b' in value))).toBe(true)
  expect(reached(Tree, ({ children }: z.output<typeof Tree>) => children.some((child) => child.children.length > 0))).toBe(true)
  expect(reached(z.string(), (value: string) => value.split('').some((char) => char > '\u007f'))).toBe(true)
  expect(reached(schemas['object with a catchall']!, (value: object) => Object.keys(value).length > 1)).toBe(true)
})

test('a failure shrinks to the smallest that still fits', () => {
  const { counterexample } = fc.check(fc.property(schemaArbitrary(z.object({ n: z.int().min(3), text: z.string().min(1) })), ({ n }) => n < 10), { seed: 1 })
  expect(counterexample![0]!.n).toBe(10)
  expect(counterexample![0]!.text).toHaveLength(1)
})

test('what cannot be generated is told, with what to do', () => {
  for (const schema of [z.date(), z.bigint(), z.map(z.string(), z.string()), z.undefined(), z.custom(() => true)]) expect(() => schemaArbitrary(schema, 'event "x"')).toThrow(/^event "x": .+ Give an arbitrary of your own in its place\./)
  expect(() => schemaArbitrary(z.never())).toThrow(/no value fits/)
  expect(() => schemaArbitrary(z.string().regex(/^(?=a)b/), 'event "x"')).toThrow(/^event "x": texts for .+ cannot be generated/)
  const impossible = schemaArbitrary(z.string().refine(() => false, 'never good'), 'event "x"')
  expect(() => fc.sample(impossible, 1)).toThrow(/^event "x": its schema refused 10,000 generated values in a row, the last because: never good/)
})

test('what is no schema is refused', () => {
  expect(() => schemaArbitrary(undefined as never)).toThrow(new ConfigError('the schema: expected a zod schema, got undefined.'))
  expect(() => schemaArbitrary({ type: 'string' } as never, 'event "x"')).toThrow(new ConfigError('event "x": expected a zod schema, got an object with type.'))
  expect(() => schemaArbitrary(z.string(), 5 as never)).toThrow(new ConfigError('schemaArbitrary: name: expected a text of 1 to 256 characters, got 5.'))
})

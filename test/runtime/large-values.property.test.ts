/** Large values of a record, by laws: whatever is written, what is stored says the same, and holds nothing twice. */
import { expect, test } from 'vitest'
import { LargeValues } from '../../src/runtime/large-values.js'
import type { Address } from '../../src/runtime/identity.js'
import { addressSumOf, isCut, largeValuePrefix, readCut, seal, wholeFields, type FieldChanges } from '../../src/runtime/stored-record.js'
import { extent, firstSeed } from '../support/extent.js'
import { expectLargeValues } from '../support/large.js'
import { Random } from '../support/random.js'

const address = 'thing/a' as Address
const sum = addressSumOf(address)

const pieces = ['x', '"', '\\', '\\\\"', '@', '7:abc ', ' ', 'ä', '𝄞', '\ud800', '{', '}]', '[', '\n', ',', 'word']

function aText(random: Random, length: number): string {
  let text = ''
  while (text.length < length) text += random.pick(pieces)
  return text
}

/** JSON of any form, about as deep and long as said. */
function aValue(random: Random, depth: number): unknown {
  const roll = random.next()
  if (depth === 0 || roll < 0.4) return random.pick([aText(random, random.below(random.chance(0.2) ? 300 : 90)), random.below(1_000), null, true, '', [], {}])
  const many = random.below(5)
  if (roll < 0.7) return Array.from({ length: many }, () => aValue(random, depth - 1))
  return Object.fromEntries(Array.from({ length: many }, (_, i) => [`${aText(random, random.below(6))}${i}`, aValue(random, depth - 1)]))
}

const names = ['m', 's0', 's1', 'c0:a', 'c0:b', 'c1:a', 't0.x', 'f']

test('what is stored says what was written, whatever that was, and has each large value once', () => {
  const seeds = extent(60)
  let shared = 0
  let cuts = 0
  for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
    const random = new Random(seed)
    // Some come again and again, in whatever place.
    const pool = Array.from({ length: 4 }, () => aValue(random, 3))
    const value = (): unknown => (random.chance(0.5) ? aValue(random, 3) : random.chance(0.5) ? random.pick(pool) : [random.pick(pool), { in: random.pick(pool) }, random.below(9)])
    let charsMin = random.pick([1, 8, 30, 60])
    let large = new LargeValues()
    const stored = new Map<string, string>()
    const whole = new Map<string, string>()
    for (let turn = 0; turn < 12; turn++) {
      const fields: FieldChanges = new Map()
      for (const name of random.times(4, () => random.pick(names))) {
        const prefix = name.startsWith('c') ? `${random.below(20)} ` : ''
        fields.set(name, random.chance(0.2) ? undefined : seal(sum, name, prefix + JSON.stringify(value())))
      }
      for (const [name, sealed] of large.write(fields, charsMin)) {
        if (sealed === undefined) stored.delete(name)
        else stored.set(name, sealed)
      }
      for (const [name, sealed] of fields) {
        if (sealed === undefined) whole.delete(name)
        else whole.set(name, sealed)
      }
      const what = `seed ${seed}, turn ${turn}`
      expect([...wholeFields(address, stored)].sort(), what).toEqual([...whole].sort())
      expectLargeValues(what, stored)
      expect(large.names.sort(), what).toEqual([...stored.keys()].filter((name) => name.startsWith(largeValuePrefix)).sort())
      expect(large.isEmpty, what).toBe(large.names.length === 0)
      for (const [name, sealed] of stored) {
        if (!name.startsWith(largeValuePrefix)) {
          if (isCut(sealed)) cuts++
          if (isCut(sealed)) shared += readCut(sealed).places.length
          continue
        }
        shared--
        // JSON by itself, and no field is cut in the middle of a character.
        const text = sealed
        expect(text, what).toBe(Buffer.from(text).toString())
        JSON.parse(text)
      }
      // Read again by the next owner, with an option of its own.
      if (random.chance(0.3)) large = LargeValues.in(stored)
      if (random.chance(0.1)) charsMin = random.pick([1, 20, 60, Infinity])
    }
  }
  expect(cuts).toBeGreaterThan(seeds)
  expect(shared).toBeGreaterThan(seeds)
})

test('what is cut are the smallest parts that are long enough', () => {
  const large = new LargeValues()
  const doc = 'd'.repeat(60)
  const list = Array.from({ length: 30 }, (_, i) => i)
  const value = { doc, list, small: 'x', deep: { inner: [doc, { k: 1 }], more: 'y' } }
  const written = large.write(new Map([['c0:v', seal(sum, 'c0:v', `4 ${JSON.stringify(value)}`)]]), 50)
  const { rest, places } = readCut(written.get('c0:v')!)
  expect(rest).toBe('4 {"doc":,"list":,"small":"x","deep":{"inner":[,{"k":1}],"more":"y"}}')
  expect(places.map(([at]) => at)).toEqual([9, 17, 47])
  expect(places[0]![1]).toBe(places[2]![1])
  expect([...written.keys()].filter((name) => name.startsWith(largeValuePrefix)).map((name) => written.get(name))).toEqual([JSON.stringify(doc), JSON.stringify(list)])
  // The same document elsewhere costs its digest.
  const again = large.write(new Map([['s1', seal(sum, 's1', JSON.stringify({ input: { doc } }))]]), 50)
  expect([...again.keys()]).toEqual(['s1'])
  expect(again.get('s1')!.length).toBeLessThan(80)
  // It goes with the last that refers to it.
  expect([...large.write(new Map([['c0:v', undefined]]), 50).keys()].length).toBe(2)
  expect([...large.write(new Map([['s1', undefined]]), 50)]).toEqual([['s1', undefined], [`${largeValuePrefix}${places[0]![1]}`, undefined]])
  expect(large.isEmpty).toBe(true)
})

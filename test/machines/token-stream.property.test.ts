/** The token stream's decisions against what was written: whatever comes, in whatever order and however often, nobody is shown what no attempt wrote. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { pieceLength, takeTokens, tokenCallsMax, tokenTextMax, type TokenContext, type TokenEntry, type TokenEvent, type TokenSource } from '../../src/machines/token-stream.machine.js'
import { extent, firstSeed } from '../support/extent.js'

const of: TokenSource = { agent: 'a', task: 't', call: 'call' }

/** What attempt n writes, as that incarnation of the agent made it: no other writes the same. */
const answer = (attempt: number, life: number, length: number): string => Array.from({ length }, (_, i) => String.fromCodePoint(0x41 + ((attempt * 31 + life * 17 + i * 7) % 97))).join('')

type Step =
  | { readonly is: 'begin'; readonly isBeside: boolean }
  /** The agent is begun anew: its attempts count from 1 again. */
  | { readonly is: 'anew' }
  /** A piece of an attempt that is, or was, under way. */
  | { readonly is: 'write'; readonly which: number; readonly from: number; readonly length: number }
  | { readonly is: 'end'; readonly which: number; readonly ok: boolean; readonly sent: 'none' | 'acknowledged' | 'other' | 'too long' }

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 2, arbitrary: fc.record({ is: fc.constant('begin' as const), isBeside: fc.boolean() }) },
    { weight: 2, arbitrary: fc.record({ is: fc.constant('anew' as const) }) },
    { weight: 6, arbitrary: fc.record({ is: fc.constant('write' as const), which: fc.nat(3), from: fc.constantFrom(0, 0, 3, 9, 12, -2), length: fc.integer({ min: 1, max: 20 }) }) },
    { weight: 2, arbitrary: fc.record({ is: fc.constant('end' as const), which: fc.nat(2), ok: fc.boolean(), sent: fc.constantFrom('none', 'acknowledged', 'acknowledged', 'other', 'too long') }) },
  ),
  { maxLength: 40 },
)

interface Begun {
  readonly attempt: number
  readonly life: number
  readonly writer: string
  readonly text: string
  /** As its writer knows it. */
  acknowledged: number
}

test(`of every attempt that is shown each character is there once, in order, and never of two attempts in one (seed ${firstSeed})`, () => {
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 40 }), (all, length) => {
      let context: TokenContext = { open: {} }
      let life = 1
      let attempts = 0
      const begun: Begun[] = []
      let shown: { readonly attempt: number; text: string } | undefined
      const take = (event: TokenEvent): readonly TokenEntry[] => {
        const taken = takeTokens(context, event)
        context = taken.context
        for (const entry of taken.entries) {
          if (entry.type === 'began' || entry.type === 'restarted') shown = { attempt: entry.attempt, text: '' }
          else if (entry.type === 'text') {
            expect(entry).toMatchObject({ attempt: shown!.attempt, offset: shown!.text.length })
            shown!.text += entry.text
            expect(begun.some((one) => one.attempt === entry.attempt && one.text.startsWith(shown!.text)), shown!.text).toBe(true)
          } else expect(entry.attempt).toBe(shown!.attempt)
        }
        // At most one is shown.
        expect(Object.values(context.open).flat().filter(({ isShown }) => isShown).length).toBeLessThanOrEqual(1)
        return taken.entries
      }
      for (const step of all) {
        if (step.is === 'begin') {
          const attempt = ++attempts
          begun.unshift({ attempt, life, writer: `w${begun.length}`, text: answer(attempt, life, length), acknowledged: 0 })
          const isAlone = Object.keys(context.open).length === 0
          const entries = take({ type: 'tokens.begin', of, attempt, model: 'm', isBeside: step.isBeside })
          if (!step.isBeside || isAlone) expect(entries).toEqual([{ type: attempt === 1 && isAlone ? 'began' : 'restarted', ...of, attempt, model: 'm' }])
        } else if (step.is === 'anew') {
          life++
          attempts = 0
        } else if (step.is === 'write') {
          const one = begun[step.which]
          if (!one) continue
          // A writer sends on from what was acknowledged, or again what was not; or a piece before it was lost.
          const offset = step.from < 0 ? one.acknowledged - step.from : Math.min(step.from, one.acknowledged)
          const text = one.text.slice(offset, offset + step.length)
          if (text === '') continue
          take({ type: 'tokens.write', of, attempt: one.attempt, writer: one.writer, offset, text })
          if (step.from >= 0) one.acknowledged = Math.max(one.acknowledged, offset + text.length)
        } else {
          const one = begun[step.which]
          // The chart tells the end of attempts that it has under way: those of an earlier life ended with it.
          if (!one || one.life !== life) continue
          const wasOpen = Object.values(context.open).flat().some(({ attempt }) => attempt === one.attempt)
          const offset = step.sent === 'acknowledged' ? one.acknowledged : 0
          const entries = take({ type: 'tokens.end', of, attempt: one.attempt, ok: step.ok, writer: step.sent === 'other' ? null : one.writer, offset, text: !step.ok || step.sent === 'too long' ? null : one.text.slice(offset) })
          const end = entries.find((entry) => entry.type === 'ended')
          if (wasOpen && step.ok) expect(end).toMatchObject({ outcome: 'answered' })
          if (end?.type === 'ended' && end.isWhole) expect(shown).toEqual({ attempt: one.attempt, text: one.text })
          // What it has all of, it shows all of.
          if (wasOpen && step.ok && offset === 0 && step.sent !== 'too long') expect(end).toMatchObject({ isWhole: true })
          if (step.ok && wasOpen) expect(context.open).toEqual({})
        }
      }
    }),
    { seed: firstSeed, numRuns: extent(2_000, 40_000) },
  )
})

test('a text goes into entries of bounded size, and no character is cut in two', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom('a', 'é', '\u{1f600}', '\u{1f9a6}', '\n'), { maxLength: 40 }).map((units) => units.join('')), fc.integer({ min: 1, max: 10 }), (text, max) => {
      const pieces: string[] = []
      for (let from = 0; from < text.length; ) {
        const length = pieceLength(text, from, max)
        if (length < 1 || length > max) throw new Error(`a piece of ${length}`)
        pieces.push(text.slice(from, from + length))
        from += length
      }
      expect(pieces.join('')).toBe(text)
      if (max > 1) expect(pieces.every((piece) => (piece as unknown as { isWellFormed: () => boolean }).isWellFormed())).toBe(true)
    }),
    { seed: firstSeed, numRuns: extent(200) },
  )
  const long = 'x'.repeat(3 * tokenTextMax + 1)
  const begun = takeTokens({ open: {} }, { type: 'tokens.begin', of, attempt: 1, model: 'm', isBeside: false })
  const { entries } = takeTokens(begun.context, { type: 'tokens.end', of, attempt: 1, ok: true, writer: null, offset: 0, text: long })
  expect(entries.map((entry) => (entry.type === 'text' ? entry.text.length : entry.type))).toEqual([tokenTextMax, tokenTextMax, tokenTextMax, 1, 'ended'])
})

test('of calls that were never ended only so many are remembered, the latest', () => {
  let context: TokenContext = { open: {} }
  for (let i = 0; i < tokenCallsMax + 5; i++) ({ context } = takeTokens(context, { type: 'tokens.begin', of: { ...of, task: `t${i}` }, attempt: 1, model: 'm', isBeside: false }))
  expect(Object.keys(context.open)).toHaveLength(tokenCallsMax)
  expect(Object.keys(context.open)[0]).toBe('["a","t5","call"]')
})

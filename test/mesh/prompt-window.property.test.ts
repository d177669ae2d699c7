/** What goes into a prompt is selected: the laws of the selection, and of the prompt that comes of it. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { bytesOf, fitPrompt, selectParts, WindowError, type PromptPart, type PromptToFit, type SizedPart, type Treatment } from '../../src/mesh/prompt-window.js'
import { extent, firstSeed } from '../support/extent.js'

const setting = { seed: firstSeed, numRuns: extent(500) }

const sized: fc.Arbitrary<SizedPart> = fc.record({
  tokens: fc.nat(40),
  maskTokens: fc.option(fc.nat(45), { nil: null }),
  isPinned: fc.boolean(),
  relevance: fc.constantFrom(0, 0.5, 1),
  group: fc.option(fc.constantFrom('a', 'b'), { nil: null }),
})
const tokensOf = (part: SizedPart, how: Treatment): number => (how === 'whole' ? part.tokens : how === 'masked' ? part.maskTokens! : 0)
const amount: Readonly<Record<Treatment, number>> = { leftOut: 0, masked: 1, whole: 2 }

test(`pinned parts are whole, the rest fits or says that it cannot, and masks come first (W1, W2, W3; seed ${firstSeed})`, () => {
  fc.assert(
    fc.property(fc.array(sized, { maxLength: 12 }), fc.nat(200), (parts, window) => {
      const selection = selectParts(parts, window)
      expect(selectParts(parts, window)).toEqual(selection)
      expect(selection.of).toHaveLength(parts.length)
      expect(selection.tokens).toBe(parts.reduce((sum, part, at) => sum + tokensOf(part, selection.of[at]!), 0))
      expect(selection.fits).toBe(selection.tokens <= window)
      for (const [at, part] of parts.entries()) if (part.isPinned) expect(selection.of[at]).toBe('whole')
      const pinned = parts.filter(({ isPinned }) => isPinned).reduce((sum, { tokens }) => sum + tokens, 0)
      expect(selection.fits).toBe(pinned <= window)
      const isShorter = ({ maskTokens, tokens }: SizedPart): boolean => maskTokens !== null && maskTokens < tokens
      if (selection.of.includes('leftOut')) for (const [at, part] of parts.entries()) if (!part.isPinned && isShorter(part)) expect(selection.of[at]).not.toBe('whole')
      // Nothing is left out of a prompt that would have fitted.
      if (parts.reduce((sum, { tokens }) => sum + tokens, 0) <= window) expect(selection.of.every((how) => how === 'whole')).toBe(true)
      for (const group of ['a', 'b']) {
        const of = selection.of.filter((_, at) => parts[at]!.group === group && !parts[at]!.isPinned)
        if (of.includes('leftOut')) expect(of.every((how) => how === 'leftOut')).toBe(true)
      }
    }),
    setting,
  )
})

test(`of parts alike the less relevant is shown less of, and of those the older (seed ${firstSeed})`, () => {
  const alike = fc.array(fc.constantFrom(0, 0.5, 1), { minLength: 2, maxLength: 10 }).map((all) => all.map((relevance): SizedPart => ({ tokens: 10, maskTokens: 4, isPinned: false, relevance, group: null })))
  fc.assert(
    fc.property(alike, fc.nat(110), (parts, window) => {
      const { of } = selectParts(parts, window)
      for (const [a, older] of parts.entries()) {
        for (const [b, newer] of parts.entries()) {
          if (older.relevance < newer.relevance || (older.relevance === newer.relevance && a < b)) expect(amount[of[a]!]).toBeLessThanOrEqual(amount[of[b]!])
        }
      }
    }),
    setting,
  )
})

test(`in a wider window no part is shown less of (W4; seed ${firstSeed})`, () => {
  fc.assert(
    fc.property(fc.array(sized, { maxLength: 12 }), fc.nat(200), fc.nat(100), (parts, window, more) => {
      const narrow = selectParts(parts, window)
      const wide = selectParts(parts, window + more)
      for (const at of parts.keys()) expect(amount[wide.of[at]!]).toBeGreaterThanOrEqual(amount[narrow.of[at]!])
    }),
    setting,
  )
})

const aPart = fc.record(
  {
    kind: fc.constantFrom<PromptPart['kind']>('goal', 'decision', 'observation', 'observation', 'context'),
    // Each begins with its id, so that it can be found in the prompt.
    text: fc.string({ unit: 'grapheme', maxLength: 150 }),
    role: fc.constantFrom<'user' | 'assistant'>('user', 'assistant'),
    relevance: fc.constantFrom(0, 0.5, 1),
    mask: fc.constant('short'),
  },
  { requiredKeys: ['kind', 'text'] },
)
const someParts = fc.array(aPart, { maxLength: 8 }).map((all) => all.map((part, i): PromptPart => ({ ...part, id: `p${i}`, text: `<p${i}>${part.text}` })))
const someExchanges = fc.array(fc.array(fc.string({ maxLength: 120 }), { minLength: 1, maxLength: 3 }), { maxLength: 3 }).map((rounds) =>
  rounds.map((texts, round) => ({
    text: `<t${round}>`,
    calls: texts.map((_, i) => ({ id: `c${round}_${i}`, name: 'look', arguments: `{"i":${i}}` })),
    results: texts.map((text, i) => ({ id: `c${round}_${i}`, name: 'look', text, isError: false })),
  })),
)

test(`the prompt that comes of it is within the window, in order, with its pairs of calls and results (seed ${firstSeed})`, () => {
  let compactions = 0
  let errors = 0
  fc.assert(
    fc.property(someParts, someExchanges, fc.nat(1_500), (parts, exchanges, tokensMax) => {
      const toFit: PromptToFit = { parts, messages: [{ role: 'user', content: '<q>' }], exchanges, beside: ['<s>'], tokensMax, countTokens: bytesOf }
      let fitted
      try {
        fitted = fitPrompt(toFit)
      } catch (error) {
        expect(error).toBeInstanceOf(WindowError)
        expect((error as WindowError).neededTokens).toBeGreaterThan(tokensMax)
        errors++
        return
      }
      const { messages, compaction, whole } = fitted
      const text = JSON.stringify(messages)
      // All that is said, without what JSON puts around it.
      const bytes = messages.reduce((sum, { content, toolResults = [] }) => sum + bytesOf(content) + toolResults.reduce((all, result) => all + bytesOf(result.text), 0), bytesOf('<s>'))
      expect(bytes).toBeLessThanOrEqual(tokensMax)
      const lost = new Map(compaction?.parts.map(({ id, how }) => [id, how]))
      for (const { id, kind } of parts) {
        if (kind === 'goal' || kind === 'decision') expect(lost.has(id)).toBe(false)
        expect(text.includes(`<${id}>`), id).toBe(!lost.has(id))
      }
      expect(whole.map(({ id, text: full }) => [id, full])).toEqual(parts.filter(({ id }) => lost.has(id)).map(({ id, text: full }) => [id, full]))
      const shown = [...text.matchAll(/<p(\d)>/g)].map(([, n]) => Number(n))
      expect(shown).toEqual(shown.toSorted((a, b) => a - b))
      for (const [i, message] of messages.entries()) {
        if (message.toolCalls) expect(messages[i + 1]?.toolResults?.map(({ id }) => id)).toEqual(message.toolCalls.map(({ id }) => id))
      }
      // The last round is whole.
      const last = exchanges.at(-1)
      if (last) expect(messages.at(-1)?.toolResults).toEqual(last.results)
      if (compaction) {
        compactions++
        expect(compaction.tokens).toBeLessThanOrEqual(tokensMax)
        expect(compaction.wantedTokens).toBeGreaterThan(tokensMax)
        // Reversible: in a window of what was wanted nothing is lost.
        expect(fitPrompt({ ...toFit, tokensMax: compaction.wantedTokens }).compaction).toBeNull()
      }
    }),
    setting,
  )
  console.log(`prompts: ${compactions} compacted, ${errors} too long`)
  expect(Math.min(compactions, errors)).toBeGreaterThan(setting.numRuns / 20)
})

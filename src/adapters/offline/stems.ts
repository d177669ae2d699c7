/**
 * The content stems of a text: what is compared wherever this folder asks whether two texts are about the same thing.
 * A stem is the Porter stem of the dictionary form (`lost`, `loses` and `losing` are one). Stop words and punctuation
 * are out, numbers stay. A name in code counts as its parts: `maxRetriesPerRequest` holds `retri` and `request`.
 */
import { stemOf } from './language.js'
import { isCommonVerb } from './verbs.js'

/** Characters of one text that are read: more than any sentence, heading or question has. */
const TEXT_MAX = 20_000
/** `pre-release` is `prerelease`, `re-connect` is `reconnect`: spelt either way. */
const PREFIX = /\b(pre|re|sub|multi|non|un|auto|de|co|over|mis)-(?=\p{Ll})/giu
const WORD = /[\p{L}\p{N}][\p{L}\p{N}\p{M}'’]*/gu
/** Nouns in `er` and `or` that have left their verb behind. */
const NO_AGENTS = new Set('actor folder layer letter order provider server timer user worker helper matter number'.split(' '))
/** Words that say nothing about a subject in a text about software, beyond the stop words of the language model. */
const EMPTY = new Set(
  ('e g i ie eg etc via vs also may might must shall should would could can cannot will ll re ve don doesn didn isn aren wasn won let lets like just even say said says ' +
    'one two thing things way ways get gets got example examples note please however therefore thus within without upon per').split(' '),
)

/** In the order of the text, repeats kept. */
export function stemsOf(text: string): string[] {
  const stems: string[] = []
  for (const [word] of text.slice(0, TEXT_MAX).replace(PREFIX, '$1').matchAll(WORD)) {
    for (const part of partsOf(word.replace(/['’](?:s|t|re|ve|ll|d|m)?$/iu, ''))) {
      const lower = part.toLowerCase()
      if (lower === '' || EMPTY.has(lower)) continue
      const { stem, stop } = stemOf(verbOfAgent(lower))
      if (!stop && !EMPTY.has(stem) && (stem.length > 1 || /\p{N}|\P{ASCII}/u.test(stem))) stems.push(stem)
    }
  }
  return stems
}

/** Each stem once, in the order of first use. */
export function stemSetOf(text: string): Set<string> {
  return new Set(stemsOf(text))
}

/** `retryStrategy` is two words, `TypeScript` and `Redis6` are one. */
function partsOf(word: string): readonly string[] {
  return /^\p{Ll}+\p{Lu}\p{Ll}/u.test(word) ? word.split(/(?<=[\p{Ll}\p{N}])(?=\p{Lu})/u) : [word]
}

/** A parser parses, a logger logs: the verb that such a noun is made of, else the word itself. */
function verbOfAgent(word: string): string {
  const agent = /^(\p{Ll}{2,})(?:er|or)s?$/u.exec(word)?.[1]
  if (agent === undefined || NO_AGENTS.has(word.replace(/s$/, ''))) return word
  return [agent, `${agent}e`, agent.slice(0, -1)].find((base, index) => isCommonVerb(base) && (index < 2 || agent.at(-1) === agent.at(-2))) ?? word
}

/**
 * The wall around wink-nlp: the one file that knows the package and its loose types. It gives words with their part of
 * speech, and the stem of a word. The model is loaded once, at the first call (some 150 ms), so that who only imports this
 * folder does not wait for it.
 *
 * wink's tokenizer takes time that grows with the square of a word's length (a word of 64,000 letters takes a minute),
 * and its sentence boundaries cut `redis.quit()` in three. So no word longer than {@link WORD_MAX} ever reaches it, and
 * sentences are cut in `sentence-bounds.ts`.
 */
import { createRequire } from 'node:module'
import winkNlp, { type ItsFunction, type PartOfSpeech, type WinkMethods } from 'wink-nlp'
import { isCommonVerb } from './verbs.js'

export type { PartOfSpeech }

/** Characters of one word that are looked at, and of one text. What goes beyond is not analysed. */
const WORD_MAX = 64
const TEXT_MAX = 4_000
/** Words kept in the memory of stems; the memory starts anew when it is full. */
const MEMORY_MAX = 100_000

export interface Word {
  /** As written. */
  readonly text: string
  readonly pos: PartOfSpeech
  /** The dictionary form, lower-cased: `lost` gives `lose`. */
  readonly lemma: string
  /** Whether the language model knows the word. Names of software mostly are unknown to it. */
  readonly known: boolean
  /** Whether white space stands before it. */
  readonly spaced: boolean
}

interface Loaded {
  readonly nlp: WinkMethods
  readonly stems: Map<string, Stem>
  /** Whether a word may be a verb. */
  readonly verbs: Map<string, boolean>
}

interface Stem {
  readonly stem: string
  readonly stop: boolean
}

let loaded: Loaded | undefined

function load(): Loaded {
  loaded ??= { nlp: winkNlp(createRequire(import.meta.url)('wink-eng-lite-web-model') as Parameters<typeof winkNlp>[0], ['sbd', 'pos']), stems: new Map(), verbs: new Map() }
  return loaded
}

/** The words and punctuation marks of a text in their order. What is written together is one word: `fast-check`, `node.js`, `client/server`. */
export function wordsOf(text: string): readonly Word[] {
  return compounds(tokensOf(text))
}

function tokensOf(text: string): readonly Word[] {
  const { nlp } = load()
  const document = nlp.readDoc(decapitalized(bounded(text)))
  const tokens = document.tokens()
  const texts = tokens.out()
  const tags = column<PartOfSpeech>(tokens.out(nlp.its.pos))
  const lemmas = column<string>(tokens.out(nlp.its.lemma as ItsFunction<string>))
  const spaces = column<string>(tokens.out(nlp.its.precedingSpaces))
  const opening = text.slice(0, 1)
  return texts.map((word, index) => {
    const lemma = (lemmas[index] ?? word).toLowerCase()
    const known = !document.isOOV(word.toLowerCase())
    return {
      text: index === 0 && word.startsWith(opening.toLowerCase()) ? opening + word.slice(1) : word,
      pos: tags[index] ?? 'X',
      lemma: known ? lemma : verbOf(lemma),
      known,
      spaced: (spaces[index] ?? '') !== '',
    }
  })
}

/** The dictionary form of a verb that the language model does not know: `reconnects`, `resending`. */
function verbOf(word: string): string {
  const bases = /^(.{2,})(?:s|es|ed|ing)$/.exec(word) === null ? [] : [word.replace(/s$/, ''), word.replace(/(?:es|ed|ing)$/, ''), word.replace(/(?:es|ed|ing)$/, 'e')]
  return bases.find(isCommonVerb) ?? word
}

function compounds(tokens: readonly Word[]): readonly Word[] {
  const words: Word[] = []
  for (let at = 0; at < tokens.length; at++) {
    const token = tokens[at]
    const next = tokens[at + 1]
    const before = words.at(-1)
    if (token === undefined) continue
    const joins = /^[-./]$/.test(token.text) && !token.spaced && next !== undefined && !next.spaced && isWordLike(next) && before !== undefined && isWordLike(before)
    if (!joins) {
      words.push(token)
      continue
    }
    words[words.length - 1] = { text: before.text + token.text + next.text, pos: posOfCompound(before, next), lemma: `${before.text}${token.text}${next.lemma}`.toLowerCase(), known: before.known && next.known, spaced: before.spaced }
    at++
  }
  return words
}

function isWordLike(word: Word): boolean {
  return word.pos !== 'CCONJ' && /^[\p{L}\p{N}@]/u.test(word.text)
}

/** The last part decides; a particle or participle at the end describes (`built-in`, `type-checked`). */
function posOfCompound(before: Word, last: Word): PartOfSpeech {
  if (!before.known || !last.known || /\d/.test(last.text)) return 'PROPN'
  if (last.pos === 'VERB') return last.text.endsWith('ing') ? 'NOUN' : 'ADJ'
  return ['NOUN', 'PROPN', 'NUM'].includes(last.pos) ? last.pos : 'ADJ'
}

export function isNoun(word: Word | undefined): boolean {
  return word?.pos === 'NOUN' || word?.pos === 'PROPN'
}

/** Whether the base form of a word may be a verb: whether the tagger takes it for one where nothing else can stand. */
export function mayBeVerb(base: string): boolean {
  const { verbs } = load()
  const key = base.slice(0, WORD_MAX)
  const remembered = verbs.get(key)
  if (remembered !== undefined) return remembered
  const found = /^\p{L}+$/u.test(key) && tokensOf(`you ${key} it.`)[1]?.pos === 'VERB'
  if (verbs.size >= MEMORY_MAX) verbs.clear()
  verbs.set(key, found)
  return found
}

/** The Porter stem of the dictionary form of one word, and whether it is a stop word. */
export function stemOf(word: string): Stem {
  const { nlp, stems } = load()
  const key = word.slice(0, WORD_MAX).toLowerCase()
  const remembered = stems.get(key)
  if (remembered !== undefined) return remembered
  const token = nlp.readDoc(key).tokens().itemAt(0)
  const lemma = String(token?.out(nlp.its.lemma as ItsFunction<string>) ?? key)
  const stem = String(nlp.readDoc(lemma).tokens().itemAt(0)?.out(nlp.its.stem as ItsFunction<string>) ?? lemma)
  const found = { stem, stop: String(token?.out(nlp.its.stopWordFlag as ItsFunction<boolean>)) === 'true' }
  if (stems.size >= MEMORY_MAX) stems.clear()
  stems.set(key, found)
  return found
}

/** wink's `out` answers with strings or with what was asked for, by the type of its argument; the types say "either". */
function column<T>(values: unknown): readonly T[] {
  return values as readonly T[]
}

/** The tagger takes a word with a capital for a name, also where it only opens a sentence. */
function decapitalized(text: string): string {
  const opening = /^\p{Lu}\p{Ll}+(?![\p{L}\p{N}])/u.exec(text)?.[0].toLowerCase()
  return opening === undefined || load().nlp.readDoc('').isOOV(opening) ? text : opening + text.slice(opening.length)
}

function bounded(text: string): string {
  return text.slice(0, TEXT_MAX).replace(/\S{65,}/gu, (word) => word.slice(0, WORD_MAX))
}

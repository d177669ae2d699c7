/**
 * Asks a refused sub-question again in other words. Each way is tried once, from the closest to the broadest; when none is
 * left, the step stays unanswered and the report says so.
 */
import type { RefusalReason } from './critic.js'
import { kindAskedFor } from './kinds.js'
import { isNoun, wordsOf, type Word } from './language.js'
import { asQuestion, mended, namesIn, nounPhrases, parse, textOf, thirdPerson } from './question-grammar.js'
import { isFrame, isInPath, pathStems } from './retrieval.js'
import { stemSetOf, stemsOf } from './stems.js'
import { synonymsOf } from './synonyms.js'

export interface ReplanInput {
  /** The sub-question as it was asked last. */
  readonly question: string
  /** All forms in which this step was asked so far, the last included or not. */
  readonly tried: readonly string[]
  /** Why its findings were refused; empty if nothing was found. */
  readonly reasons: readonly RefusalReason[]
  /** What was accepted before, of all steps. */
  readonly accepted: readonly { readonly claim: string }[]
  /** What was found for it: the words of the documents. */
  readonly passages: readonly { readonly text: string; readonly heading?: string; readonly path?: string }[]
}

/** Characters of a question that are read. */
const QUESTION_MAX = 600
/** Passages whose words are read. */
const PASSAGES_MAX = 40
/** Forms of one step; then it is given up. */
const TRIES_MAX = 6
/** Passages that must hold a word for the question to be narrowed to it. */
const SUPPORT_MIN = 2
/** What {@link related} adds at the end of a question. */
const ADDITION = /,? with regard to .*$/i

/** The next form of the sub-question, or undefined if nothing is left to try: after at most six forms of one step. */
export function replanStep(input: ReplanInput): string | undefined {
  const question = input.question.slice(0, QUESTION_MAX)
  const tried = new Set([question, ...input.tried].map(keyOf))
  if (tried.size >= TRIES_MAX) return undefined
  const words = mended(parse(question.replace(ADDITION, '')))
  const passages = input.passages.slice(0, PASSAGES_MAX)
  const onSubject = input.reasons.length > 0 && !input.reasons.includes('does-not-answer')
  const ways = onSubject ? [related, simplified, reworded, shortened, broadened] : [simplified, shortened, reworded, related, broadened]
  // To be asked what is said at all is no longer to be asked who, when or where.
  for (const way of kindAskedFor(question) === undefined ? ways : ways.filter((other) => other !== broadened)) {
    for (const form of way(words, { ...input, passages })) if (!tried.has(keyOf(form)) && isAnswerable(form)) return form
  }
  return undefined
}

/** Whether a sentence could share two stems with it, one of them the subject's and not a mere name's. */
function isAnswerable(question: string): boolean {
  const names = new Set(namesIn(parse(question)).flatMap((word) => stemsOf(word.text)))
  const stems = [...stemSetOf(question)]
  return stems.length >= 2 && stems.some((stem) => !isFrame(stem) && !names.has(stem))
}

type Way = (words: readonly Word[], input: ReplanInput) => readonly string[]

/** The plain verb for a phrase that documents seldom use. */
const simplified: Way = (words) => {
  const text = asQuestion(words)
  const plain = text.replace(/\b(?:deal|cope) with\b/i, 'handle').replace(/\b(?:get rid|dispose) of\b/i, 'remove').replace(/\bset up\b/i, 'configure').replace(/\bcounts as\b/i, 'is')
  return plain === text ? [] : [plain]
}

/** Without the condition or place at its end, and without one describing word after the other. */
const shortened: Way = (words) => {
  const forms: string[] = []
  const cut = words.findLastIndex((word, index) => index > 2 && (word.pos === 'SCONJ' || word.pos === 'ADP' || /^(?:when|while|if|after|before)$/i.test(word.text)))
  if (cut > 0 && words.slice(0, cut).some((word) => word.pos === 'VERB') && nounPhrases(words.slice(0, cut)).length > 0) forms.push(asQuestion(words.slice(0, cut)))
  words.forEach((word, index) => {
    const describes = ['ADJ', 'ADV'].includes(word.pos) && index > 1 && isNoun(words[index + 1])
    if (describes) forms.push(asQuestion([...words.slice(0, index), ...words.slice(index + 1)]))
  })
  return forms
}

/** One word for a synonym: the word that fewest passages hold goes first, synonyms that they hold go first. A compound is left as it is. */
const reworded: Way = (words, { passages }) => {
  const held = passages.map((passage) => stemSetOf(`${passage.heading ?? ''} ${passage.text}`))
  const support = (text: string): number => held.filter((stems) => stemsOf(text).some((stem) => stems.has(stem))).length
  const forms = words.flatMap((word, index) => {
    const compound = isNoun(word) && (isNoun(words[index - 1]) || isNoun(words[index + 1]))
    return compound ? [] : synonymsOf(word.lemma, word.pos).map((synonym, order) => ({
      unknown: support(synonym) > 0 ? 0 : 1,
      support: support(word.text),
      order,
      text: asQuestion([...words.slice(0, index), { ...word, text: inflectedLike(word, synonym) }, ...words.slice(index + 1)]),
    }))
  })
  return forms.toSorted((one, other) => one.unknown - other.unknown || one.support - other.support || one.order - other.order).map((form) => form.text)
}

/**
 * With the nouns that stand beside the question's own words in the passages (pseudo-relevance feedback), other than those that
 * accepted findings speak of: two together, then one. A passage's word counts the more, the higher the passage ranks.
 */
const related: Way = (words, { passages, accepted }) => {
  const text = textOf(words)
  const own = stemSetOf(text)
  const taken = new Set(accepted.flatMap((finding) => stemsOf(finding.claim)))
  const names = [...new Set(namesIn(words).flatMap((word) => stemsOf(word.text)))]
  const subject = [...own].filter((stem) => !isFrame(stem) && !names.includes(stem))
  const found = new Map<string, { readonly word: string; readonly passages: number; readonly weight: number }>()
  passages.forEach((passage, rank) => {
    const stems = stemSetOf(`${passage.heading ?? ''} ${passage.text}`)
    const path = pathStems(passage.path ?? '')
    const near = names.length === 0 || names.some((name) => stems.has(name) || isInPath(name, path))
    if (!near || !subject.some((stem) => stems.has(stem))) return
    const nouns = new Map(wordsOf(passage.text).filter((word) => word.pos === 'NOUN' && /^\p{Ll}{4,20}$/u.test(word.text)).map((word) => [stemsOf(word.text)[0], word.text]))
    for (const [stem, word] of nouns) {
      if (stem === undefined || own.has(stem) || taken.has(stem) || isFrame(stem) || path.includes(stem)) continue
      const before = found.get(stem)
      found.set(stem, { word: before?.word ?? word, passages: (before?.passages ?? 0) + 1, weight: (before?.weight ?? 0) + 1 / (rank + 5) })
    }
  })
  const [first, second] = [...found.values()].filter((entry) => entry.passages >= SUPPORT_MIN).toSorted((one, other) => other.weight - one.weight || (one.word < other.word ? -1 : 1))
  if (first === undefined) return []
  return [...(second === undefined ? [] : [`${text}, with regard to ${first.word} and ${second.word}?`]), `${text}, with regard to ${first.word}?`]
}

/** The verbs and nouns alone, then the nouns, then those that the documents use. */
const broadened: Way = (words, { passages }) => {
  const known = new Set(passages.flatMap((passage) => stemsOf(`${passage.heading ?? ''} ${passage.text}`)))
  const carries = (text: string): boolean => stemsOf(text).some((stem) => !isFrame(stem))
  const phrases = nounPhrases(words).map(textOf).filter(carries)
  const verbs = words.filter((word) => word.pos === 'VERB' && carries(word.text)).map((word) => gerund(word.lemma))
  const used = phrases.filter((phrase) => stemsOf(phrase).every((stem) => known.has(stem)))
  return [[...verbs, ...phrases], phrases, used].filter((about) => about.length > 0).map((about) => `What is said about ${about.join(' and ')}?`)
}

/** A regular verb, or a noun, in the form that the word has in whose place it comes. */
function inflectedLike(word: Word, base: string): string {
  const lower = word.text.toLowerCase()
  if (lower === word.lemma || word.pos === 'ADJ') return base
  if (lower.endsWith('ing')) return gerund(base)
  if (lower.endsWith('s')) return thirdPerson(base)
  if (base.endsWith('e')) return `${base}d`
  return /[^aeiou]y$/.test(base) ? `${base.slice(0, -1)}ied` : `${doubled(base)}ed`
}

function gerund(base: string): string {
  return base.endsWith('e') && !base.endsWith('ee') ? `${base.slice(0, -1)}ing` : `${doubled(base)}ing`
}

/** `drop` and `emit` double their last letter. */
function doubled(base: string): string {
  return /^[^aeiou]{0,2}[aeiou][bdglmnpt]$|^emit$/.test(base) ? `${base}${base.slice(-1)}` : base
}

function keyOf(question: string): string {
  return [...stemSetOf(question)].toSorted().join(' ')
}

/**
 * Splits a question into sub-questions that can be researched apart. It follows the question's own structure: its clauses and
 * its lists. Nothing is added that was not asked; a question without parts is its own and only step.
 */
import { cleanLine } from './characters.js'
import { asQuestion, clausesOf, coordinationOf, isQuestionOpening, namesIn, nounPhrases, parse, subjectOf, textOf, withItems } from './question-grammar.js'
import type { Word } from './language.js'
import { isFrame } from './retrieval.js'
import { stemsOf } from './stems.js'

export interface PlanStep {
  /** `step-1`, `step-2` … in the order of the question. */
  readonly id: string
  /** One line that ends with a question mark. */
  readonly question: string
}

export interface PlanOptions {
  /** Sub-questions at most: a whole number from 1, which what is none counts as. */
  readonly maxSteps: number
}

/** Characters of a question that are read. */
const QUESTION_MAX = 600
/** Content stems below which a clause needs the first one to be understood. */
const OWN_STEMS_MIN = 2
const CONNECTIVE = /^(?:(?:and|but|also|so|then|ok|okay|hi|hello|please)\b[, ]*){1,3}/i
const COMMAND =
  /^(?:i(?:'d like| would like| want| need) to (?:know|understand|learn)|(?:can|could|would) you (?:please )?(?:tell me|explain|describe|summari[sz]e)|summari[sz]e|explain|describe|compare|contrast|research|report on|tell me|give (?:me )?an overview of|find out|discuss|analy[sz]e|what about|how about)(?: about)? /i
const TOPIC = 'What is said about '

/** One sub-question in the making: a clause, and what it is about if it does not say so itself. */
interface Facet {
  readonly words: readonly Word[]
  readonly context: string
}

/** 1 to `maxSteps` sub-questions in the order of the question; none for a text without words. What has no room of its own stays together. */
export function planQuestion(question: string, { maxSteps }: PlanOptions): PlanStep[] {
  const limit = Math.max(1, Math.floor(maxSteps) || 1)
  const clauses = clausesIn(cleanLine(question.slice(0, QUESTION_MAX)))
  const facets = clauses.length < limit ? splitLists(clauses, limit) : clauses
  const questions = [...new Set(facets.map(inWords))]
  const steps = questions.length > limit ? [...questions.slice(0, limit - 1), questions.slice(limit - 1).join(' ')] : questions
  return steps.map((text, index) => ({ id: `step-${String(index + 1)}`, question: text }))
}

function inWords({ words, context }: Facet): string {
  const [head, ...rest] = words
  return context === '' || head === undefined ? asQuestion(words) : `With ${context}, ${textOf([{ ...head, text: head.text.toLowerCase() }, ...rest])}?`
}

/** The questions in the text, each as one clause that can be read without the others. */
function clausesIn(text: string): readonly Facet[] {
  const found: Facet[] = []
  for (const sentence of text.split(/(?<=[?!.;])\s+/)) {
    if (!/[\p{L}\p{N}]/u.test(sentence)) continue
    for (const words of clausesOf(asked(sentence))) found.push(found[0] === undefined ? { words, context: '' } : inContextOf(found[0].words, words))
  }
  return found
}

/** The sentence as a question; a topic or an instruction becomes one. */
function asked(sentence: string): readonly Word[] {
  const bare = sentence.replace(CONNECTIVE, '').replace(/[\s?!.;]+$/, '')
  const words = parse(bare)
  if (isQuestion(words) && !COMMAND.test(`${bare} `)) return words
  const rest = bare.replace(COMMAND, '').replace(/^how to /i, 'How do I ')
  const inner = parse(rest)
  return isQuestion(inner) ? inner : parse(`${TOPIC}${rest}`)
}

/** Whether it opens with a question, or with a phrase and a comma before one: `In pino, how are ...`. */
function isQuestion(words: readonly Word[]): boolean {
  const comma = words.findIndex((word) => word.text === ',')
  return isQuestionOpening(words) || (comma > 0 && isQuestionOpening(words.slice(comma + 1)))
}

/** A later clause with what it leaves to the first one: a pronoun's noun, or the names or things that all is about. */
function inContextOf(first: readonly Word[], words: readonly Word[]): Facet {
  const names = namesIn(first)
  const subject = subjectOf(first)
  const about = [subject, names.slice(0, 1), nounPhrases(first).at(-1) ?? []].find((words) => words.length > 0) ?? []
  const group = words.findIndex((word, index) => /^which$/i.test(word.text) && words[index + 1]?.text === 'of' && /^(?:them|these|those)$/.test(words[index + 2]?.text ?? ''))
  if (group >= 0 && about.length > 0) return { words: [...words.slice(0, group + 1), ...about.filter((word) => word.pos !== 'DET'), ...words.slice(group + 3)], context: '' }
  const pronoun = words.findIndex((word, index) => /^(?:it|they|them|its|their)$/i.test(word.text) || (word.text === 'one' && index === words.length - 1))
  if (pronoun >= 0 && about.length > 0) {
    const possessive = /^(?:its|their)$/i.test(words[pronoun]?.text ?? '')
    const noun = about.map((word, index) => ({ ...word, spaced: index === 0 || word.spaced, text: possessive && index === about.length - 1 ? `${word.text}'s` : word.text }))
    return { words: [...words.slice(0, pronoun), ...noun, ...words.slice(pronoun + 1)], context: '' }
  }
  if (namesIn(words).length > 0) return { words, context: '' }
  const own = stemsOf(textOf(words)).filter((stem) => !isFrame(stem))
  const things = names.length > 0 ? names.map((word) => word.text) : own.length < OWN_STEMS_MIN ? (subject.length > 0 ? [subject] : nounPhrases(first)).map(textOf).slice(0, 1) : []
  // What the clause says itself need not be said before it.
  return { words, context: [...new Set(things)].filter((thing) => stemsOf(thing).some((stem) => !own.includes(stem))).join(' and ') }
}

/** Splits the clause with the longest list as long as there is room. */
function splitLists(clauses: readonly Facet[], limit: number): readonly Facet[] {
  const facets = [...clauses]
  for (;;) {
    const room = limit - facets.length + 1
    const lists = facets.map((facet) => coordinationOf(facet.words))
    const longest = lists.reduce((most, list) => Math.max(most, list?.items.length ?? 0), 0)
    const at = lists.findIndex((list) => list !== undefined && list.items.length === longest)
    const list = lists[at]
    const facet = facets[at]
    if (room < 2 || list === undefined || facet === undefined) return facets
    const apart = list.items.length > room ? room - 1 : list.items.length
    const parts = list.items.slice(0, apart).map((item) => [item])
    if (apart < list.items.length) parts.push(list.items.slice(apart))
    facets.splice(at, 1, ...parts.map((items) => ({ words: withItems(list, items), context: facet.context })))
  }
}

/**
 * What a sentence is about, as against what it mentions: its subject with its verb, and the conditions and occasions that it names. A
 * sentence answers "what happens when an entry is evicted?" if an evicted entry is its subject or its condition, and
 * hardly if it stands somewhere in its object.
 */
import { isNoun, wordsOf, type Word } from './language.js'
import { mainVerbIn, statementIn, withVerbs } from './statement.js'
import { stemSetOf } from './stems.js'

/** Words that open a condition or an occasion: conjunctions take a clause, prepositions a noun. */
const CLAUSE = /^(?:when|whenever|if|unless|once|after|before|until|while)$/i
const PHRASE = /^(?:upon|on|during|following|for)$/i
/** Words that end either. */
const ENDS = /^(?:that|which|who|so|because|but|where|[,;])$/i
/** `What happens when ...`: behind it stands the event. */
const HAPPENS = /^(?:(?:in|with|for) [^,]{1,200}, )?what (?:happens|occurs|follows|will happen|would happen) (?:(?:to|with|in) (?:(?!when |if |once |after ).){0,200} )?(?:when|if|once|after|on|upon|while|during) (.+)$/i
/** Parts of speech behind a form of `be` by which a sentence says what its subject is, and not what happens. */
const COMPLEMENT = new Set(['DET', 'NUM', 'NOUN', 'PROPN'])

export interface Topic {
  /** The subject and its verb; none where the sentence only says what its subject is. */
  readonly subject: readonly Word[]
  /** Each condition or occasion. */
  readonly conditions: readonly (readonly Word[])[]
  /** All of it, clause by clause. */
  readonly clauses: readonly (readonly Word[])[]
  /** Whether it says what its subject is. */
  readonly defines: boolean
}

export function topicOf(claim: string): Topic {
  const words = withVerbs(statementIn(claim))
  const conditions: (readonly Word[])[] = []
  const taken = new Set<Word>()
  for (let at = 0; at < words.length; at++) {
    const opener = words[at]?.text ?? ''
    if (!CLAUSE.test(opener) && !PHRASE.test(opener)) continue
    let end = at + 1
    while (end < words.length && !endsCondition(words[end], PHRASE.test(opener))) end++
    const part = words.slice(at + 1, end)
    // `when they expire`: they are what was named last.
    const meant = part.some((word) => /^(?:it|they)$/i.test(word.text)) ? words.slice(0, at).findLast(isNoun) : undefined
    conditions.push(meant === undefined ? part : [meant, ...part])
    for (const word of words.slice(at, end)) taken.add(word)
    at = end - 1
  }
  const clauses = clausesOf(words)
  const from = behindAdjunct(words)
  const verb = mainVerbIn(words.slice(from)) + from
  if (verb < from) return { subject: [], conditions, clauses, defines: false }
  let end = verb + 1
  while (['AUX', 'ADV', 'PART', 'VERB'].includes(words[end]?.pos ?? '')) end++
  const defines = words[verb]?.lemma === 'be' && COMPLEMENT.has(words[end]?.pos ?? '')
  const start = from > 0 ? words.findLastIndex((word, index) => index < verb && word.text === ',') + 1 : 0
  return { subject: defines ? [] : words.slice(start, end).filter((word) => !taken.has(word)), conditions, clauses, defines }
}

function clausesOf(words: readonly Word[]): readonly (readonly Word[])[] {
  const clauses: Word[][] = [[]]
  for (const word of words) {
    if (ENDS.test(word.text) || CLAUSE.test(word.text)) clauses.push([])
    clauses.at(-1)?.push(word)
  }
  return clauses
}

/** Where the sentence begins behind `To do this, ...`, `Using that, ...`, `In those, ...`. */
function behindAdjunct(words: readonly Word[]): number {
  const [first] = words
  const opens = first?.pos === 'ADP' || first?.pos === 'PART' || first?.pos === 'SCONJ' || /^(?:to|if|when|\p{L}+ing)$/iu.test(first?.text ?? '')
  return opens ? words.findIndex((word) => word.text === ',') + 1 : 0
}

function endsCondition(word: Word | undefined, phrase: boolean): boolean {
  if (word === undefined || ENDS.test(word.text) || CLAUSE.test(word.text)) return true
  return phrase && ((word.pos === 'ADP' && word.text !== 'of') || ['VERB', 'AUX'].includes(word.pos))
}

/** The event of a question that asks what happens then; undefined if it asks for something else. */
export function eventIn(question: string): string | undefined {
  return HAPPENS.exec(question.replace(/[\s?!.]+$/, ''))?.[1]
}

/**
 * Whether one of the parts of a sentence names the event (`a cache entry is evicted`): by the word that it turns on, used as a verb or to describe
 * a thing of the event, together with half of its things at least.
 *
 * @param isKnown stems of things that need not be named again: the heading or the path does it
 */
export function namesEvent(event: string, parts: readonly (readonly Word[])[], isKnown: (stem: string) => boolean = () => false): boolean {
  const words = wordsOf(event)
  const turn = words.findLast((word) => word.pos === 'VERB') ?? words.findLast((word) => word.pos === 'ADJ')
  const turning = stemSetOf(turn?.text ?? '')
  const things = [...stemSetOf(event)].filter((stem) => !turning.has(stem))
  const names = (part: readonly Word[]): boolean => {
    const stems = stemSetOf(part.map((word) => word.text).join(' '))
    return things.filter((stem) => stems.has(stem) || isKnown(stem)).length >= things.length / 2
  }
  const turns = (part: readonly Word[], index: number): boolean => {
    const stems = [...stemSetOf(part[index]?.text ?? '')]
    if (stems.length !== 1 || !turning.has(stems[0] ?? '')) return false
    // `on expiration`, but not `the expiration cache`.
    if (isNoun(part[index])) return (index === 0 || CLAUSE.test(part[index - 1]?.text ?? '') || PHRASE.test(part[index - 1]?.text ?? '')) && !isNoun(part[index + 1])
    // `unknown values` are no unknown option.
    const rest = part.slice(index + 1)
    const length = rest.findIndex((word) => !isNoun(word) && word.pos !== 'ADJ')
    const described = rest.slice(0, length < 0 ? rest.length : length)
    return described.length === 0 || things.length === 0 || names(described)
  }
  return parts.some((part) => names(part) && (turning.size === 0 || part.some((_, index) => turns(part, index))))
}

/**
 * The grammar of questions, as far as planning needs it: clauses, coordinated lists, subject and number. Works on the parts of
 * speech of the language model and mends the tags that it gets wrong in questions.
 */
import { isNoun, wordsOf, type Word } from './language.js'
import { isCommonVerb } from './verbs.js'

export interface Coordination {
  /** Words before and behind the list, shared by its items. */
  readonly head: readonly Word[]
  readonly items: readonly (readonly Word[])[]
  readonly tail: readonly Word[]
}

const QUESTION_WORDS = /^(?:how|what|why|when|where|which|who|whom|whose)$/i
const AUXILIARIES = /^(?:do|does|did|is|are|was|were|can|could|will|would|should|must|may|might|has|have|had)$/i
/** Auxiliaries that the base form of a verb follows. */
const SUPPORT = /^(?:do|does|did|can|could|will|would|should|must)$/i
const PLURAL_AUX: Readonly<Record<string, string>> = { do: 'does', are: 'is', were: 'was', have: 'has' }

/** An unknown word in lower case that looks like a plural: `schemas`, not `redis` or `status`. */
const PLURAL = /^\p{Ll}+[^isu]s$/u

/** A question without its mark, as words. */
export function parse(question: string): readonly Word[] {
  return wordsOf(question.replace(/[\s?!.]+$/, ''))
}

/**
 * One clause with the tags set right that the question's form gives away: behind `do` or a modal verb, the verb stands in its
 * base form, so `retries` is a noun there, and in "how do pipelines work" the last word is the verb.
 */
export function mended(tagged: readonly Word[]): readonly Word[] {
  const clause = tagged.map((word, index): Word => {
    const next = tagged[index + 1]
    if (word.text === 'times' && next?.text === 'out' && isNoun(tagged[index - 1])) return { ...word, pos: 'VERB', lemma: 'time' }
    // "matching and ranking in ..."
    const standsAlone = next === undefined || next.text === ',' || next.pos === 'ADP' || next.pos === 'CCONJ'
    return word.pos === 'ADJ' && /\p{L}{3}ing$/u.test(word.text) && standsAlone ? { ...word, pos: 'NOUN' } : word
  })
  const auxiliary = clause.findIndex((word) => SUPPORT.test(word.text))
  if (auxiliary < 0) return passiveMended(clause)
  const words = [...clause]
  const retag = (index: number, pos: 'NOUN' | 'VERB'): void => {
    const word = words[index]
    if (word !== undefined) words[index] = { ...word, pos }
  }
  const subordinate = words.findIndex((word, index) => index > auxiliary && /^(?:when|if|that|which|who|because|while|until|unless)$/i.test(word.text))
  const end = subordinate < 0 ? words.length : subordinate
  const mayBeVerb = (index: number): boolean => {
    const word = words[index]
    return isNoun(word) && word?.text.toLowerCase() === word?.lemma && isCommonVerb(word?.lemma ?? '')
  }
  const isMain = (word: Word | undefined): boolean => word?.pos === 'VERB' && form(word) === 'base'
  for (let index = auxiliary + 1; index < end; index++) {
    const word = words[index]
    const before = words[index - 1]
    const isPlace = before?.pos === 'ADP' && isMain(word) && isNoun(words[index + 1])
    if (word?.pos === 'VERB' && (form(word) === 's' || isPlace || (index === auxiliary + 1 && isNoun(words[index + 1])))) retag(index, 'NOUN')
    // "libraries store and retrieve data"
    if (mayBeVerb(index) && isNoun(before) && words[index + 1]?.pos === 'CCONJ' && isMain(words[index + 2])) retag(index, 'VERB')
  }
  let main = words.findIndex((word, index) => index > auxiliary && index < end && isMain(word))
  const candidates = words.map((_, index) => index).filter((index) => index > auxiliary + 1 && index < end && mayBeVerb(index))
  const coordinated = (index: number): boolean => words.slice(auxiliary, index).some((word) => word.pos === 'CCONJ')
  const endsSubject = (word: Word | undefined): boolean => isNoun(word) && (word?.known === false || word?.pos === 'PROPN' || /[-./]/.test(word?.text ?? ''))
  const behindSubject = candidates.find((index) => endsSubject(words[index - 1]) || isPlural(words.slice(index - 1, index)) || (isNoun(words[index - 1]) && coordinated(index)))
  if (behindSubject !== undefined && (main < 0 || behindSubject < main)) main = behindSubject
  else if (main < 0) main = candidates.find((index) => !isNoun(words[index + 1]) || isPlural(words.slice(index + 1, index + 2))) ?? candidates.at(-1) ?? -1
  retag(main, 'VERB')
  // "parse arguments and print help", "resend commands and time out"
  for (let index = main + 1; main >= 0 && index < end; index++) {
    const joined = isJoint(words[index - 1])
    const next = words[index + 1]
    const ends = mayBeVerb(index) && isPlural(words.slice(index - 1, index)) && isJoint(words[index - 2])
    if (ends) retag(index, 'VERB')
    if (joined && mayBeVerb(index) && (['NOUN', 'PROPN', 'DET', 'ADJ', 'PRON', 'VERB'].includes(next?.pos ?? '') || /^(?:out|up|down|off|back)$/.test(next?.text ?? ''))) retag(index, 'VERB')
  }
  return words
}

/** "are command lines parsed, validated and shown in help": behind a form of `be`, participles, and nouns before them. */
function passiveMended(clause: readonly Word[]): readonly Word[] {
  const auxiliary = clause.findIndex((word) => /^(?:is|are|was|were)$/i.test(word.text))
  if (auxiliary < 0) return clause
  return clause.map((word, index) => {
    const before = clause[index - 1]
    const next = clause[index + 1]
    if (word.pos === 'VERB' && form(word) === 's' && (index === auxiliary + 1 || (isJoint(before) && next?.pos === 'VERB' && form(next) === 'past'))) return { ...word, pos: 'NOUN' }
    if (index > auxiliary && word.pos === 'ADJ' && /(?:ed|en)$/i.test(word.text) && (isJoint(before) || isJoint(next) || isNoun(before) || next === undefined)) return { ...word, pos: 'VERB', lemma: word.text.toLowerCase().replace(/e[dn]$/, '') }
    if (word.pos === 'VERB' && form(word) === 'base' && (index === auxiliary + 1 || before?.pos === 'ADP')) return { ...word, pos: 'NOUN' }
    return word
  })
}

function isJoint(word: Word | undefined): boolean {
  return word?.text === ',' || word?.pos === 'CCONJ'
}

export function textOf(words: readonly Word[]): string {
  return words.map((word, index) => (index > 0 && word.spaced ? ' ' : '') + word.text).join('')
}

export function asQuestion(words: readonly Word[]): string {
  const text = textOf(words).replace(/^[\s,;]+|[\s,;]+$/g, '')
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}?`
}

/** Whether the words open as a direct question: `how does`, `which packages`, `is it`; not `how it works`. */
export function isQuestionOpening(words: readonly Word[]): boolean {
  const [first, second] = words
  const isAuxiliary = (word: Word | undefined): boolean => AUXILIARIES.test(word?.text ?? '')
  if (/^(?:how|why|when|where)$/i.test(first?.text ?? '')) return isAuxiliary(second) || (/^how$/i.test(first?.text ?? '') && ['ADJ', 'ADV'].includes(second?.pos ?? ''))
  return QUESTION_WORDS.test(first?.text ?? '') || isAuxiliary(first) || (first?.pos === 'ADP' && QUESTION_WORDS.test(second?.text ?? ''))
}

/** Cuts where a conjunction or comma is followed by another question: `..., and what happens when ...`. */
export function clausesOf(words: readonly Word[]): readonly (readonly Word[])[] {
  const clauses: Word[][] = [[]]
  for (let index = 0; index < words.length; index++) {
    const word = words[index]
    if (word === undefined) continue
    const joins = word.pos === 'CCONJ' || /^[,;]$/.test(word.text)
    const next = words[index + 1]
    const skips = joins && next?.pos === 'CCONJ' ? 2 : 1
    const opener = words[index + skips]
    const beyond = words[index + skips + 1]
    const asks =
      opener !== undefined &&
      (/^(?:how|what|why|where|who)$/i.test(opener.text) || (/^(?:when|which)$/i.test(opener.text) && (AUXILIARIES.test(beyond?.text ?? '') || beyond?.text === 'of')) || (word.text !== ',' && opener.pos === 'AUX' && ['PRON', 'DET', 'NOUN', 'PROPN'].includes(beyond?.pos ?? '')))
    // "In pino, how are ...": what stands before the first question belongs to it.
    if (joins && asks && (clauses.length > 1 || isQuestionOpening(clauses[0] ?? []))) {
      clauses.push([])
      index += skips - 1
    } else {
      clauses.at(-1)?.push(word)
    }
  }
  return clauses.filter((clause) => clause.length > 0).map(mended)
}

/** The list that divides the question best: the one with most items, the later of two. */
export function coordinationOf(words: readonly Word[]): Coordination | undefined {
  let best: Coordination | undefined
  words.forEach((word, index) => {
    if (word.pos !== 'CCONJ' || !/^(?:and|or|&)$/i.test(word.text)) return
    const found = clauseList(words, index) ?? verbList(words, index) ?? nounList(words, index)
    if (found !== undefined && found.items.length >= (best?.items.length ?? 2)) best = found
  })
  return best
}

/** The question with one of the items (or some of them, joined again) in place of the list; verbs agree with it. */
export function withItems(list: Coordination, items: readonly (readonly Word[])[]): readonly Word[] {
  const joined = items.flatMap((item, index): readonly Word[] => {
    const spaced = item.map((word, at) => (at === 0 ? { ...word, spaced: true } : word))
    if (index === 0) return spaced
    return index < items.length - 1 ? [{ text: ',', pos: 'PUNCT', lemma: ',', known: true, spaced: false }, ...spaced] : [{ text: 'and', pos: 'CCONJ', lemma: 'and', known: true, spaced: true }, ...spaced]
  })
  const [item] = items
  const single = items.length === 1 && item !== undefined && isNominal(item) && !isPlural(subjectIn(item))
  return single ? [...agreeing(list.head), ...joined, ...inflected(list)] : [...list.head, ...joined, ...list.tail]
}

/** What stands before the verb, if there is one behind it. */
function subjectIn(item: readonly Word[]): readonly Word[] {
  const verb = item.findIndex((word, index) => index > 0 && word.pos === 'VERB' && isNoun(item[index - 1]))
  return verb < 0 ? item : item.slice(0, verb)
}

/** What the first clause is about: the words between the auxiliary and the verb. */
export function subjectOf(words: readonly Word[]): readonly Word[] {
  const [opening, ...others] = words
  if (/^(?:which|what)$/i.test(opening?.text ?? '') && isNoun(others[0])) {
    const verb = others.findIndex((word, index) => !isNoun(word) || (index > 0 && isCommonVerb(word.lemma)))
    return [{ text: 'the', pos: 'DET', lemma: 'the', known: true, spaced: true }, ...others.slice(0, verb < 0 ? others.length : verb)]
  }
  const auxiliary = words.findIndex((word) => word.pos === 'AUX' || AUXILIARIES.test(word.text))
  if (auxiliary < 0) return []
  const subject: Word[] = []
  for (const word of words.slice(auxiliary + 1)) {
    if (!['DET', 'ADJ', 'NUM', 'NOUN', 'PROPN', 'CCONJ', 'PUNCT'].includes(word.pos) && !/^(?:my|your|our)$/i.test(word.text)) break
    subject.push(word)
  }
  while (subject.length > 0 && !isNoun(subject.at(-1))) subject.pop()
  return subject
}

/** Names in the question, of software above all: words written as names, and words the language does not know. */
export function namesIn(words: readonly Word[]): readonly Word[] {
  return words.filter((word, index) => {
    if (!isNoun(word) || isCommonVerb(word.lemma)) return false
    if (/[\d_.]|\p{Ll}\p{Lu}/u.test(word.text) || (index > 0 && word.pos === 'PROPN' && /^\p{Lu}/u.test(word.text))) return true
    // `parsers` and `prerelease` are unknown too; a plural in lower case is no name, nor is what has an article of its own.
    return !word.known && !PLURAL.test(word.text) && words[index - 1]?.pos !== 'DET'
  })
}

/** Runs of nouns with what describes them, in order. */
export function nounPhrases(words: readonly Word[]): readonly (readonly Word[])[] {
  const phrases: Word[][] = []
  let open: Word[] = []
  const close = (): void => {
    while (open.length > 0 && !['NOUN', 'PROPN', 'NUM'].includes(open.at(-1)?.pos ?? '')) open.pop()
    if (open.some((word) => word.pos === 'NOUN' || word.pos === 'PROPN')) phrases.push(open)
    open = []
  }
  words.forEach((word, index) => {
    if (belongsToNoun(words, index)) open.push(word)
    else close()
  })
  close()
  return phrases
}

/** Whole clauses behind one conjunction: "does A encode records and B validate schemas", "when A fails, B stops or C is slow", "are A parsed and B shown". */
function clauseList(words: readonly Word[], conjunction: number): Coordination | undefined {
  const support = words.findIndex((word) => SUPPORT.test(word.text))
  const passive = words.findIndex((word) => /^(?:is|are|was|were)$/i.test(word.text))
  const opener = words.findLastIndex((word, index) => index < conjunction && /^(?:when|if|after|before|while|once|because|that)$/i.test(word.text))
  const isClause = (item: readonly Word[], isVerb: (word: Word) => boolean): boolean => {
    const verb = item.findIndex((word, index) => index > 0 && isVerb(word))
    return verb > 0 && isNoun(item[verb - 1]) && item.slice(0, verb).every((_, index) => belongsToNoun(item, index))
  }
  const isWhole = (item: readonly Word[]): boolean => item.some((word, index) => index > 0 && (word.pos === 'AUX' || (word.pos === 'VERB' && form(word) !== 'ing')))
  const shapes: readonly (readonly [number, (item: readonly Word[]) => boolean])[] = [
    [support, (item) => isClause(item, (word) => word.pos === 'VERB' && form(word) === 'base')],
    [passive, (item) => isClause(item, (word) => word.pos === 'VERB' && form(word) === 'past')],
    [opener, isWhole],
  ]
  for (const [start, fits] of shapes) {
    const items = start >= 0 && start < conjunction ? itemsOf(words.slice(start + 1)) : []
    if (items.length > 1 && items.every(fits)) return { head: words.slice(0, start + 1), items, tail: [] }
  }
  return undefined
}

/** What stands between commas and conjunctions. */
function itemsOf(words: readonly Word[]): readonly (readonly Word[])[] {
  const items: Word[][] = [[]]
  for (const word of words) {
    if (isJoint(word)) items.push([])
    else items.at(-1)?.push(word)
  }
  return items.filter((item) => item.length > 0)
}

function nounList(words: readonly Word[], conjunction: number): Coordination | undefined {
  // "between A and B" is one thing.
  if (words.slice(0, conjunction).some((word) => /^(?:between|both)$/i.test(word.text))) return undefined
  let end = conjunction + 1
  while (end < words.length && belongsToNoun(words, end)) end++
  while (end > conjunction + 1 && !isNominal(words.slice(end - 1, end))) end--
  const last = words.slice(conjunction + 1, end)
  if (!isNominal(last)) return undefined
  const items = [last]
  let start = conjunction
  for (;;) {
    const stop = words[start - 1]?.text === ',' ? start - 1 : start
    let from = stop
    while (from > 0 && belongsToNoun(words, from - 1)) from--
    const item = words.slice(from, stop)
    if (!isNominal(item)) return undefined
    items.unshift(item)
    start = from
    if (words[from - 1]?.text !== ',' || !isNoun(words[from - 2])) break
  }
  // "caching in X and logging in Y": each item has a place of its own.
  const place = words[start - 1]
  if (items.length === 2 && place?.pos === 'ADP' && words[end]?.text === place.text) {
    let from = start - 1
    while (from > 0 && belongsToNoun(words, from - 1)) from--
    let to = end + 1
    while (to < words.length && belongsToNoun(words, to)) to++
    if (from < start - 1) return { head: words.slice(0, from), items: [words.slice(from, conjunction), words.slice(conjunction + 1, to)], tail: words.slice(to) }
  }
  return { head: words.slice(0, start), items, tail: words.slice(end) }
}

function verbList(words: readonly Word[], conjunction: number): Coordination | undefined {
  const next = words[conjunction + 1]
  if (next?.pos !== 'VERB' || isParticipleOfNoun(words, conjunction + 1)) return undefined
  const before = words[conjunction - 1]
  const same = (word: Word | undefined): boolean => word?.pos === 'VERB' && form(word) === form(next)
  if (same(before) || (before?.text === ',' && same(words[conjunction - 2]))) {
    const items = [[next]]
    let start = conjunction
    while (start > 0) {
      const stop = words[start - 1]?.text === ',' ? start - 1 : start
      const verb = words[stop - 1]
      if (verb === undefined || !same(verb)) break
      items.unshift([verb])
      start = stop - 1
      if (words[start - 1]?.text !== ',') break
    }
    const tail = words.slice(conjunction + 2)
    // "parsed and shown in help": a place behind participles belongs to the last of them, an object behind base forms to all.
    const last = items.at(-1)
    if (form(next) === 'past' && tail[0]?.pos === 'ADP' && last !== undefined) return { head: words.slice(0, start), items: [...items.slice(0, -1), [...last, ...tail]], tail: [] }
    return { head: words.slice(0, start), items, tail }
  }
  // "read files, handle errors and report progress": each verb of the same form with what follows it.
  const support = words.findIndex((word) => SUPPORT.test(word.text))
  const main = words.findIndex((word, index) => index > support && index < conjunction && same(word))
  if (main < 0) return undefined
  const items: Word[][] = [[]]
  words.slice(main).forEach((word, index, rest) => {
    const opens = isJoint(word) && (same(rest[index + 1]) || (rest[index + 1]?.pos === 'CCONJ' && same(rest[index + 2])))
    if (opens) items.push([])
    else if (!(word.pos === 'CCONJ' && items.at(-1)?.length === 0)) items.at(-1)?.push(word)
  })
  return { head: words.slice(0, main), items: items.filter((item) => item.length > 0), tail: [] }
}

function form(word: Word): string {
  const lower = word.text.toLowerCase()
  if (lower === word.lemma) return 'base'
  return lower.endsWith('ing') ? 'ing' : lower.endsWith('s') ? 's' : 'past'
}

function belongsToNoun(words: readonly Word[], index: number): boolean {
  const word = words[index]
  if (word === undefined) return false
  if (['DET', 'ADJ', 'NUM', 'NOUN', 'PROPN'].includes(word.pos)) return !(word.pos === 'DET' && QUESTION_WORDS.test(word.text))
  if (/^[-/'’]s?$/.test(word.text) && !word.spaced) return true
  return isParticipleOfNoun(words, index)
}

/** `lost` in "lost connections": a verb's form that describes the noun behind it. */
export function isParticipleOfNoun(words: readonly Word[], index: number): boolean {
  const word = words[index]
  if (word?.pos !== 'VERB') return false
  const next = words[index + 1]
  const before = words[index - 1]
  if (form(word) === 'past') return isNoun(next) && (before?.pos !== 'AUX' || SUPPORT.test(before.text))
  return form(word) === 'ing' && (isNoun(next) || next?.pos === 'ADP' || next === undefined || next.pos === 'CCONJ' || before?.pos === 'CCONJ' || before?.pos === 'ADP')
}

function isNominal(words: readonly Word[]): boolean {
  return words.some((word) => isNoun(word) || (word.pos === 'VERB' && form(word) === 'ing'))
}

function isPlural(words: readonly Word[]): boolean {
  const head = words.findLast(isNoun)
  if (head === undefined) return false
  const lower = head.text.toLowerCase()
  return (head.known && lower !== head.lemma && lower.endsWith('s')) || PLURAL.test(head.text)
}

/** The auxiliary before the list for one thing: `do` becomes `does`. */
function agreeing(head: readonly Word[]): readonly Word[] {
  const last = head.at(-1)
  const singular = last === undefined ? undefined : PLURAL_AUX[last.text.toLowerCase()]
  return last === undefined || singular === undefined ? head : [...head.slice(0, -1), { ...last, text: singular }]
}

/** The verb behind the list for one thing: `fail` becomes `fails`, unless an auxiliary already agrees. */
function inflected(list: Coordination): readonly Word[] {
  const [first, ...rest] = list.tail
  if (first === undefined) return list.tail
  const singular = PLURAL_AUX[first.text.toLowerCase()]
  if (first.pos === 'AUX' && singular !== undefined) return [{ ...first, text: singular }, ...rest]
  const asked = list.head.some((word) => /^(?:do|does|did|can|could|will|would|should|must|to)$/i.test(word.text))
  return first.pos === 'VERB' && form(first) === 'base' && !asked ? [{ ...first, text: thirdPerson(first.text) }, ...rest] : list.tail
}

export function thirdPerson(verb: string): string {
  if (/(?:s|x|z|ch|sh|o)$/.test(verb)) return `${verb}es`
  return /[^aeiou]y$/.test(verb) ? `${verb.slice(0, -1)}ies` : `${verb}s`
}

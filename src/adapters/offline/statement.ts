/**
 * Whether words make a statement: somewhere a finite verb says something of a subject. The tagger takes a verb for a noun
 * where both are spelt alike (`engineers answer pages`, `the owner signs contracts`), so where it found no verb, a
 * word that may be one and agrees with its subject is taken for it.
 */
import { isNoun, mayBeVerb, wordsOf, type Word } from './language.js'
import { isCommonVerb } from './verbs.js'

const SUBORDINATORS = new Set('that which who whose whom where when whenever while if whether because since unless until how what why although though whereas once before after as'.split(' '))
const RELATIVES = new Set('that which who whose where when whenever while if whether because unless how what why although though whereas'.split(' '))
/** Pronouns that mean somebody without pointing to a noun. */
export const SOMEBODY = /^(?:you|we|nobody|no-one|anybody|anyone|everybody|everyone|somebody|someone|whoever|nothing|anything|everything|something)$/i
const DETERMINERS = /^(?:an?|the|its|their|our|your|his|her|it|them|itself|themselves|him)$/i
/** Plural without an `s`. */
const PLURALS = new Set('people staff personnel police children men women data media criteria both all most some many few'.split(' '))
/** Spelt like verbs, but nouns far more often: only an object with an article tells that one is meant as a verb. */
const MOSTLY_NOUNS = new Set(
  ('access account address age amount array back bank bar base batch bed bill block board body book border box branch bridge buffer button cache call cap card case cause center centre chain ' +
    'channel check circle class cloud code color colour command comment commit concern condition contact content contract core corner course cover credit crew cycle damage date deal default ' +
    'design detail disk display dock document draft edge email end engineer escape estimate exit experience export extract eye face factor field figure file filter finger fire flag floor flow ' +
    'focus force form format frame front function fund gap gate group guard guide hand handle hash head heap help highlight home hook host house image impact index input instance interest interface issue ' +
    'item job key kind label level light limit line link list load lock log loop machine mail map mark market mask mass master match matter measure message minute mirror model mouth name net ' +
    'network noise note notice number object office order outline output page pair paper parcel parent part party pass path pattern pause people phase phone picture piece pile pin pipe plan plot ' +
    'point pool port position post power practice present press price print process profile program programme project promise purpose push quarter query question queue range rank rate reason ' +
    'record reference register release request research resource result reward ring risk root round route row rule sample scale schedule scope score screen script seat second section seed sense ' +
    'sequence server service set shade shape shell side site size skill slot snapshot socket sort sound source space speed spot stack staff stage standard state statement step stock store stream ' +
    'stress string structure style subject sum surface switch table tag target task team test text thread ticket tie time title token tool top total trace track trade traffic transport tree ' +
    'trigger trip trouble tube type union unit update upgrade use user value version view voice volume wall watch water wave way weight wire word wrap yard zone').split(' '),
)

export function statementIn(text: string): readonly Word[] {
  return wordsOf(text).map((word, index, words): Word => {
    // The department, and an adjective that is its own noun: `every key is`.
    if (word.text === 'IT') return { ...word, pos: 'PROPN' }
    const next = words[index + 1]
    const heads = word.pos === 'ADJ' && !/^(?:same|former|latter|other)$/.test(word.text) && ['DET', 'NUM', 'ADP'].includes(words[index - 1]?.pos ?? '') && (['AUX', 'VERB'].includes(next?.pos ?? '') || RELATIVES.has(next?.text ?? ''))
    return heads ? { ...word, pos: 'NOUN' } : word
  })
}

/** Whether there is a finite verb that belongs to no subordinate clause. */
export function hasMainClause(words: readonly Word[]): boolean {
  return mainVerbIn(words) >= 0 || mainVerbIn(withVerbs(words)) >= 0
}

/**
 * Where the finite verb of the main clause stands, or -1. A word that opens a subordinate clause takes the first finite verb behind it,
 * up to the next comma or the next such word.
 */
export function mainVerbIn(words: readonly Word[]): number {
  let nouns = 0
  let inGroup = false
  let taking = false
  for (const [index, word] of words.entries()) {
    const lower = word.text.toLowerCase()
    if (['NOUN', 'PROPN', 'NUM'].includes(word.pos) || SOMEBODY.test(lower)) nouns++
    if (word.pos === 'PUNCT' && /^[,;:]$/.test(word.text)) taking = false
    const opens = SUBORDINATORS.has(lower) && !(lower === 'that' && isDemonstrative(words, index)) && (RELATIVES.has(lower) || word.pos === 'SCONJ' || words[index + 1]?.pos === 'PRON')
    if (opens) taking = true
    const verbal = word.pos === 'AUX' || isFiniteVerb(words, index)
    if (verbal && !inGroup && nouns > 0) {
      if (!taking) return index
      taking = false
    }
    inGroup = verbal || (inGroup && ['ADV', 'PART', 'VERB', 'AUX'].includes(word.pos))
  }
  return -1
}

function isFiniteVerb(words: readonly Word[], index: number): boolean {
  const word = words[index]
  const before = words[index - 1]
  const next = words[index + 1]
  if (word === undefined) return false
  const lower = word.text.toLowerCase()
  const object = ['DET', 'PRON', 'NOUN', 'PROPN', 'NUM', 'ADJ'].includes(next?.pos ?? '')
  // The tagger takes `detects` for a noun where its subject is a name it does not know.
  if (isNoun(word) && lower.endsWith('s') && isCommonVerb(word.lemma) && isNoun(before)) return object || !word.known
  if (word.pos !== 'VERB' || /^(?:to|['’]s)$/i.test(before?.text ?? '') || before?.pos === 'DET' || lower.endsWith('ing')) return false
  if (next === undefined || next.pos === 'PUNCT' || next.pos === 'CCONJ') return !MOSTLY_NOUNS.has(word.lemma) && isNoun(before) && agree(before, word)
  if (isBase(word)) return !(isNoun(before) && words.slice(0, index).every((other) => !isPlural(other) && other.text !== 'and'))
  // `taken` and `given` are participles, `optimized static assets` describes; behind a subject `ed` says what happened.
  if (lower.endsWith('en')) return false
  if (!lower.endsWith('ed')) return true
  const subject = words.slice(0, index).findLast((other) => other.pos !== 'ADV')
  return object && (isNoun(subject) || subject?.pos === 'PRON' || subject?.pos === 'NUM')
}

/** The words with the tags of those set right that can only be verbs where they stand. */
export function withVerbs(words: readonly Word[]): readonly Word[] {
  const mended: Word[] = []
  /** The noun that the clause is about: the last of its first run of nouns, before any preposition. */
  let head: Word | undefined
  let closed = false
  for (const [index, word] of words.entries()) {
    const isVerb = ['NOUN', 'ADJ'].includes(word.pos) && isVerbHere(mended, head, word, words[index + 1])
    mended.push(isVerb ? { ...word, pos: 'VERB' } : word)
    if (isVerb || word.pos === 'VERB' || word.pos === 'AUX' || word.pos === 'PUNCT' || SUBORDINATORS.has(word.text.toLowerCase())) {
      // What a relative clause describes stays what the sentence is about.
      if (word.pos === 'PUNCT') head = undefined
      closed = head !== undefined
    } else if (word.pos === 'ADP' && head !== undefined) {
      closed = true
    } else if (!closed && isNoun(word) && words[index - 1]?.pos !== 'ADP') {
      head = word
    }
  }
  return mended
}

function isVerbHere(before: readonly Word[], head: Word | undefined, word: Word, next: Word | undefined): boolean {
  const subject = before.findLast((other) => other.pos !== 'ADV')
  if (subject === undefined || !(word.known || isCommonVerb(word.lemma) || DETERMINERS.test(next?.text ?? '')) || !(isCommonVerb(word.lemma) || mayBeVerb(word.lemma))) return false
  // `each clinic stocks` cannot be several things.
  const single = !isBase(word) && isNoun(subject) && /^(?:an?|each|every|another)$/i.test(before.findLast((other) => other.pos === 'DET' || other.pos === 'ADP')?.text ?? '')
  const sure = single || DETERMINERS.test(next?.text ?? '')
  if (!sure && (next === undefined || ['PUNCT', 'CCONJ', 'SCONJ'].includes(next.pos) || MOSTLY_NOUNS.has(word.lemma) || (word.pos === 'ADJ' && isNoun(next)))) return false
  const relative = /^(?:who|which|that)$/i.test(subject.text) && before.length > 1
  if (relative || /^(?:they|we|you)$/i.test(subject.text) || SOMEBODY.test(subject.text)) return true
  if (subject.pos === 'NUM') return head !== undefined && agree(head, word)
  if (!isNoun(subject)) return false
  // `make cells span columns` says what is done to the cells.
  if (isBase(word) && /^(?:make|let|help|have|see|watch)$/.test(before.findLast((other) => other.pos === 'VERB')?.lemma ?? '')) return false
  const opening = before.findLastIndex((other) => other.pos === 'PUNCT' || other.pos === 'VERB' || other.pos === 'AUX')
  const several = before.slice(opening + 1).some((other, at, group) => other.text === 'and' && isNoun(group[at - 1])) && isBase(word)
  return several || agree(subject, word) || (head !== undefined && head !== subject && agree(head, word))
}

/** `The engineer signs`, `engineers sign`. */
export function agree(subject: Word | undefined, verb: Word): boolean {
  if (subject === undefined) return false
  return isPlural(subject) ? isBase(verb) : !isBase(verb) && /[^su]s$/i.test(verb.text)
}

function isBase(word: Word): boolean {
  return word.text.toLowerCase() === word.lemma && (word.known || !/(?:ed|ing)$/.test(word.lemma))
}

function isPlural(word: Word): boolean {
  const lower = word.text.toLowerCase()
  return PLURALS.has(lower) || (/[^isu]s$/.test(lower) && (!word.known || lower !== word.lemma))
}

/** `that` counts only where it can be neither a relative pronoun nor a conjunction: behind a preposition or a mark. */
export function isDemonstrative(words: readonly Word[], index: number): boolean {
  const word = words[index]
  const lower = word?.text.toLowerCase()
  if (lower === 'this' || lower === 'these' || lower === 'those') return true
  const before = words[index - 1]
  return lower === 'that' && word?.pos === 'DET' && (before === undefined || ['ADP', 'CCONJ', 'PUNCT'].includes(before.pos))
}

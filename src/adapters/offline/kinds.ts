/**
 * What kind of answer a question asks for by its question word, and whether a sentence holds something of that kind that the
 * question does not name itself: somebody for `who`, a time or an occasion for `when`, a place for `where`, a number for `how many`,
 * a reason for `why`.
 */
import { isNoun, mayBeVerb, wordsOf, type Word } from './language.js'
import { stemSetOf } from './stems.js'

export type AnswerKind = 'agent' | 'time' | 'place' | 'quantity' | 'reason'

/** What is missing, in words that complete "the sentence names no ...". */
export const KIND_NAMES: Readonly<Record<AnswerKind, string>> = { agent: 'person, role or group', time: 'time or occasion', place: 'place', quantity: 'quantity', reason: 'reason' }

/** What a planner sets before a question: `With pino, when ...`; also a preposition before the question word. */
const LEAD = /^(?:(?:in|with|for) [^,]{1,200}, )?(?:(?:by|to|with|for|from|at|since|until) (?=who|what|which|when|how))?/i
const KINDS: readonly (readonly [AnswerKind, RegExp])[] = [
  ['agent', /^(?:who|whom|whose|(?:which|what) (?:teams?|groups?|persons?|people|roles?|departments?|compan(?:y|ies)|organi[sz]ations?))\b/i],
  ['quantity', /^how (?:many|much|often|large|big|long|fast|soon|old|far|high|heavy)\b/i],
  ['time', /^(?:when|(?:which|what) (?:time|date|day|month|year))\b/i],
  ['place', /^(?:where|(?:which|what) (?:place|address|folder|directory|path))\b/i],
  ['reason', /^why\b/i],
]

const NUMBER =
  /\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|dozens?|hundreds?|thousands?|millions?|billions?|once|twice|half|double|single|every|each|all|any|no|none|unlimited|infinite|hourly|daily|nightly|weekly|monthly|quarterly|yearly|annually)\b/i
const UNIT = '(?:milli)?seconds?|minutes?|hours?|days?|nights?|weeks?|weekends?|fortnights?|months?|quarters?|years?|decades?'
const DAY = 'mondays?|tuesdays?|wednesdays?|thursdays?|fridays?|saturdays?|sundays?|january|february|march|april|june|july|august|september|october|november|december'
const TIME = new RegExp(
  `\\b(?:${UNIT}|${DAY}|when(?:ever)?|if|unless|once|twice|until|till|while|during|before|after|since|upon|every|each time|as (?:soon|long) as|at the same time|noon|midnight|morning|afternoon|evening|dusk|dawn|spring|summer|autumn|winter|today|tomorrow|now|immediately|at once|always|never|hourly|daily|nightly|weekly|monthly|quarterly|yearly|annually|o'clock|[ap]\\.?m|(?:1[5-9]|20)\\d\\d)\\b|\\bin may\\b|\\d:\\d\\d|\\b\\d+ ?m?s\\b|\\bon (?:start|exit|request|demand|failure|error|close|restart|shutdown|arrival|receipt)|\\bat (?:the (?:start|end|beginning|first|next|last)|(?:its|their) (?:first|next|last)|start|startup|exit|compile time|run ?time)`,
  'i',
)
const REASON =
  /\b(?:because|since|so that|due to|owing to|thanks to|in order to|for (?:\p{L}+ )?reasons?|reasons?|caused? (?:by|of)?|results? (?:from|in)|as a result|therefore|hence|otherwise|so as to|in case|lest|which (?:means|makes|prevents|ensures|allows|avoids)|(?:this|that) way|to (?:avoid|prevent|ensure|guarantee|keep|save|reduce|improve|protect|make|allow|let|help|limit|stop|support|enable|meet|comply|preserve|minimi[sz]e|maximi[sz]e|detect|catch|simplify))\b|, so\b/iu
/** Behind these, a noun is a place unless it is a time, a number or a manner. */
const PLACE = /^(?:in|on|at|to|into|onto|from|under|inside|behind|near|beside|beneath|outside|above|below|through|via|across|between)$/i
const PATH = /(?:^|\s)(?:[~.]{0,2}\/[\w.-]|[\w.-]+\/[\w./-]*\w|[\w.-]+@[\w-]+\.\w|\w:\\)/
const NO_PLACE = new RegExp(`^(?:${UNIT}|${DAY}|time|times|order|general|particular|case|cases|addition|advance|fact|default|demand|request|least|most|once|all|noon|midnight|morning|afternoon|evening|way|ways|person|hand|turn|use|full|detail|pairs?|batches|bulk|parallel|euros|dollars|percent|end|start|beginning|future|past|purpose|average)$`, 'i')

/** Nouns for people, roles and groups that no ending gives away. */
const PEOPLE = new Set(
  ('team group department office board committee council company corporation organisation organization foundation agency authority association union ' +
    'society university institute ministry government court bank crew staff personnel people person man woman men women child children parent colleague ' +
    'member employee apprentice trainee intern student pupil nurse doctor chief head chair deputy clerk guard captain pilot guest host client customer ' +
    'citizen resident tenant patient partner peer expert specialist technician assistant accountant attendant consultant applicant participant ' +
    'president agent secretary treasurer dean judge vendor supplier contractor author editor sponsor founder owner volunteer human anyone anybody everyone ' +
    'everybody someone somebody nobody whoever we you public community police army management leadership support security finance marketing legal sales ' +
    'lead relative division unit squad tribe guild desk operations ops').split(' '),
)
/** Made of a verb, as names of those who do something are; but things. */
const THINGS = new Set(
  ('server parser logger buffer container number letter order paper computer folder header footer pointer parameter character filter adapter handler ' +
    'listener loader compiler wrapper router scheduler timer counter tracker identifier modifier worker helper printer scanner monitor driver browser ' +
    'cluster layer register trigger transfer offer matter power error mirror color colour vector factor cursor iterator generator validator formatter ' +
    'selector constructor decorator operator separator processor executor connector descriptor actor reader writer encoder decoder serializer tokenizer ' +
    'transformer minifier bundler linter debugger profiler observer emitter reducer resolver provider consumer producer publisher subscriber receiver ' +
    'sender controller converter explorer ' + 'answer chapter center corner cover finger fever further water winter summer quarter consider whether other ' +
    'rather after under over never ever together however former latter later newer older larger smaller higher lower better member').split(' '),
)
/** `CFO`, `CISO`; other capitals may mean anything. */
const OFFICER = /^(?:C[A-Z]{1,3}O|DPO|MD|VP|PM|SRE|SREs|PTA|NGO|HR|IT|QA)s?$/
/** An agent that stands behind these only has something to do with what is done. */
const NOT_DOING = /^(?:for|with|without|from|about|per|against|than|like)$/i

/** The kind of answer that the question asks for; undefined if any will do. */
export function kindAskedFor(question: string): AnswerKind | undefined {
  const asked = question.replace(LEAD, '')
  return KINDS.find(([, pattern]) => pattern.test(asked))?.[0]
}

export function holdsKind(kind: AnswerKind, claim: string, question: string): boolean {
  if (kind === 'quantity') return NUMBER.test(claim)
  if (kind === 'time') return TIME.test(claim)
  if (kind === 'reason') return REASON.test(claim)
  const asked = stemSetOf(question)
  // A pronoun has no stem: `anyone`, `we`.
  const isNew = (word: Word): boolean => (word.pos === 'PRON' && !/^(?:its?|they|them|their)$/i.test(word.text)) || [...stemSetOf(word.text)].some((stem) => !asked.has(stem))
  const words = wordsOf(claim)
  return kind === 'agent' ? words.some((_, index) => isAgent(words, index, isNew)) : PATH.test(claim) || words.some((word, index) => PLACE.test(word.text) && isPlaceBehind(words, index, isNew))
}

function isAgent(words: readonly Word[], index: number, isNew: (word: Word) => boolean): boolean {
  const word = words[index]
  if (word === undefined) return false
  let start = index
  while (start > 0 && ['DET', 'ADJ', 'NOUN', 'PROPN', 'NUM', 'PRON'].includes(words[start - 1]?.pos ?? '')) start--
  const before = words[start - 1]
  if (!words.slice(start, index + 1).some(isNew)) return false
  if (before?.pos === 'ADP' && NOT_DOING.test(before.text)) return false
  const lower = word.text.toLowerCase()
  if (PEOPLE.has(lower) || PEOPLE.has(word.lemma)) return isNoun(word) || word.pos === 'PRON'
  if (OFFICER.test(word.text)) return true
  if (!isNoun(word)) return false
  // `by Ann`, `Ann Lee`: names of people and organisations.
  const isName = (other: Word | undefined): boolean => other?.pos === 'PROPN' && /^\p{Lu}\p{Ll}+$/u.test(other.text)
  if (isName(word) && (/^by$/i.test(before?.text ?? '') || isName(words[index + 1]))) return true
  const agent = /^(.{3,}?)(?:er|or|ee|ian|ist)s?$/.exec(lower)?.[1]
  if (agent === undefined || THINGS.has(lower.replace(/s$/, ''))) return false
  return /(?:ee|ian|ist|eer)s?$/.test(lower) || [agent, `${agent}e`, agent.slice(0, -1)].some(mayBeVerb)
}

function isPlaceBehind(words: readonly Word[], index: number, isNew: (word: Word) => boolean): boolean {
  const rest = words.slice(index + 1)
  const length = rest.findIndex((word) => !['DET', 'ADJ', 'NOUN', 'PROPN', 'NUM', 'PRON', 'SYM'].includes(word.pos))
  const phrase = rest.slice(0, length < 0 ? rest.length : length)
  const head = phrase.findLast(isNoun) ?? phrase.findLast((word) => word.pos === 'ADJ')
  if (head === undefined || phrase.some((word) => NO_PLACE.test(word.text)) || /^\d/.test(head.text)) return false
  return phrase.some((word) => (isNoun(word) || word === head) && isNew(word))
}

/**
 * The second judgement on a finding, made with other means than the researcher's: the quotation is compared with the file as
 * it is read again, the question is read for its focus (names, nouns, verbs) instead of weights of words, standing alone is
 * judged by rules of its own, and repetition against everything accepted so far. It is stricter than the researcher: what that
 * only prefers, somebody for a `who` or the event for a `what happens when`, it demands.
 */
import { holdsKind, kindAskedFor, KIND_NAMES } from './kinds.js'
import { isNoun, wordsOf } from './language.js'
import { isParticipleOfNoun, mended, namesIn, parse } from './question-grammar.js'
import { whyNotAtLine } from './quotation.js'
import { repeated } from './repetition.js'
import { isFrame, isInPath, pathStems } from './retrieval.js'
import { SOMEBODY, statementIn, withVerbs } from './statement.js'
import { stemSetOf } from './stems.js'
import { eventIn, namesEvent, topicOf } from './topic.js'

export type RefusalReason = 'not-at-line' | 'does-not-answer' | 'cannot-stand-alone' | 'repeats'

export interface CritiqueInput {
  /** The sub-question as the finding's researcher was asked it. */
  readonly question: string
  readonly finding: { readonly claim: string; readonly path: string; readonly line: number }
  /** The text of the finding's file as read again now, or what `excerptAround` gives of it; undefined if it cannot be read. */
  readonly source: string | undefined
  /** Findings accepted before, of all steps. */
  readonly accepted: readonly { readonly claim: string; readonly path: string; readonly line: number }[]
}

export interface Verdict {
  readonly accepted: boolean
  /** Why not, in the order of {@link RefusalReason}; empty if accepted. */
  readonly reasons: readonly RefusalReason[]
  /** One sentence for people. */
  readonly explanation: string
  /**
   * How sure the verdict is, from 0.5 and below 1. What speaks for the sentence is the share of the question's focus it speaks of, times how
   * much of it belongs to the question; that makes an acceptance surer, and a refusal less sure unless objections add up. Not calibrated.
   */
  readonly confidence: number
  readonly source: 'rule'
}

/** Characters of a question and of a claim that are read. */
const QUESTION_MAX = 600
const CLAIM_MAX = 400
const WORDS_MIN = 6
/** Stems that claim and question share at least; the share of the things asked about, and of the stems of one thing. */
const SHARED_MIN = 2
const FOCUS_MIN = 0.6
const THING_MIN = 0.6
/** Share of a sentence's stems that must belong to the question, or it speaks of something else. */
const DENSITY_MIN = 0.1
/** The share from which nothing speaks against it. */
const DENSITY_FULL = 0.35
/** What is only named for comparison or as one of many. */
const ASIDE = /\([^()]{0,300}\)|(?<![\w-])(?:(?:such as|including|for example|for instance|e\.g\.|like)(?=[\s,])(?:[^;.]|\.(?!\s|$))*|(?:unlike|instead of|rather than|similar to|compared to|compared with|as opposed to|other than|apart from|except for)\s[^,;]*)/gi
/** The part of a question that only helps to find an answer. */
const SECONDARY = /,? with regard to .*$/i
/** What stands behind `how` asks for a quantity and is not itself what the question is about. */
const MEASURE = /\bhow (?:often|large|big|long|fast|soon|old|far|high|heavy)\b/i

const OPENS_BACK =
  /^(?:this|that|these|those|it|its|they|their|he|she|here|there|then|thus|hence|so|but|and|or|yet|also|however|therefore|otherwise|instead|moreover|furthermore|additionally|alternatively|similarly|likewise|besides|again|finally|now|as|such|another|others?|both(?! .{1,80} and )|for (?:example|instance)|in (?:addition|this|that|these|such|other)|on the other|after (?:this|that)|by (?:doing|default,? (?:it|this|they))|to (?:do|achieve) (?:this|that|so)|because of (?:this|that)|an? (?:higher|lower|larger|smaller|longer|shorter|greater|better|simpler|different) \w+|the (?:former|latter|same|above|following|rest|others?|example|second|third|next|previous))\b/i
const GENERIC =
  'option|options|method|methods|function|functions|argument|arguments|parameter|parameters|value|values|callback|result|results|operation|operations|property|properties|feature|behavior|behaviour|flag|setting|field|list|event|events|object|instance|class|command|call|default|reason|problem|issue|idea|goal|caveat|difference|advantage|exception|case|approach|process|output|input|string|array|promise|package|library|module|project|tool|user|data|string|number|name|type|limit|time'
/** `The callback may ...`, `When the return value is ...`: which one? A name or an explanation behind the word would say. */
const BARE_DEFINITE = new RegExp(
  `^(?:(?:if|when|whenever|once|after|before|while|unless|until|since) )?the (?:(?:${GENERIC}|return|returned|resulting|given|provided|specified|supplied|current|same|default|second|first|last) ){0,2}(?:${GENERIC}) (?:is|isn't|are|aren't|was|were|has|have|had|can|cannot|may|might|must|should|shall|will|would|won't|does|doesn't|do|did|takes?|returns?|gets?|contains?|accepts?|allows?|means?|depends?|needs?|only|also|then|now|always|never|${GENERIC})\\b`,
  'i',
)
const POINTS_AWAY = /\b(?:(?:below|above)(?! (?:an?|the|its|zero|one|two|three|four|five|six|seven|eight|nine|ten|\d))|as follows|following|previous(?:ly)? (?:section|example|mentioned|described)|see|refer to|click|in here|this (?:section|page|document|file|readme|guide|example|package|library|module|project)|these (?:docs|options|packages))\b/i
const VERB_FORMS = /\b(?:is|are|was|were|be|has|have|had|does|do|did|can|could|will|would|may|might|must|shall|should|cannot|isn't|aren't|doesn't|don't|won't|can't)\b/i

export function critique({ question, finding, source, accepted }: CritiqueInput): Verdict {
  const claim = finding.claim.slice(0, CLAIM_MAX)
  const answer = judgeAnswer(question.slice(0, QUESTION_MAX), { ...finding, claim }, source)
  const repetition = repeated(claim, accepted)
  const objections: { readonly reason: RefusalReason; readonly why: string }[] = []
  const object = (reason: RefusalReason, why: string | undefined): void => {
    if (why !== undefined) objections.push({ reason, why })
  }
  object('not-at-line', whyNotAtLine(source, finding.line, finding.claim))
  object('does-not-answer', answer.why)
  object('cannot-stand-alone', finding.claim.length > CLAIM_MAX ? 'is too long to be read alone' : whyNotAlone(claim))
  object('repeats', repetition === undefined ? undefined : `repeats ${repetition.path}:${String(repetition.line)}`)
  const refused = objections.length > 0
  return {
    accepted: !refused,
    reasons: objections.map((objection) => objection.reason),
    explanation: refused
      ? `Refused: the sentence ${objections.map((objection) => objection.why).join('; it ')}.`
      : `Accepted: the sentence stands at ${finding.path}:${String(finding.line)} and speaks of ${answer.spoken}.`,
    confidence: round(0.5 + 0.48 * (refused ? 1 - answer.support * 0.5 ** objections.length : answer.support)),
    source: 'rule',
  }
}

interface Focus {
  /** The things asked about, each as its stems: a compound (`command line`) is one thing. Without names. */
  readonly things: readonly (readonly string[])[]
  /** Stems of names: of software, of files, of people. */
  readonly names: ReadonlySet<string>
  /** The stem of the verb that the question turns on, if that says anything by itself. */
  readonly verb: string | undefined
  /** Stems of the nouns, verbs, adjectives, adverbs and names that carry the question, with the word for each. */
  readonly stems: ReadonlyMap<string, string>
}

/** What the question is about, read from its parts of speech. */
function focusOf(question: string): Focus {
  const words = mended(parse(question.replace(SECONDARY, '').replace(MEASURE, 'how')))
  const known = new Set(namesIn(words))
  const names = new Set<string>()
  const stems = new Map<string, string>()
  const things: string[][] = []
  let compound: string[] | undefined
  let verb: string | undefined
  for (const [index, word] of words.entries()) {
    const carries = isNoun(word) || ['VERB', 'ADJ', 'ADV', 'NUM'].includes(word.pos)
    const own = carries ? [...stemSetOf(word.text)].filter((stem) => !isFrame(stem)) : []
    for (const stem of own) if (!stems.has(stem)) stems.set(stem, word.text)
    if (known.has(word)) {
      for (const stem of own) names.add(stem)
      compound = undefined
      continue
    }
    if (word.pos === 'VERB' && !/ing$/i.test(word.text) && !isParticipleOfNoun(words, index)) verb ??= own[0]
    if (isNoun(word) && compound !== undefined) {
      compound.push(...own)
    } else {
      if (own.length > 0) things.push(own)
      compound = isNoun(word) && own.length > 0 ? own : undefined
    }
  }
  return { things, names, verb, stems }
}

interface Answer {
  /** Why it is none, in words that complete "the sentence ..."; undefined if it is one. */
  readonly why: string | undefined
  /** The words of the question's focus that the claim speaks of. */
  readonly spoken: string
  /** What speaks for the claim: 0 to 1. */
  readonly support: number
}

function judgeAnswer(question: string, { claim, path, line }: CritiqueInput['finding'], source: string | undefined): Answer {
  const focus = focusOf(question)
  const own = stemSetOf(claim)
  const shared = [...stemSetOf(question)].filter((stem) => own.has(stem))
  const spoken = [...focus.stems.keys()].filter((stem) => own.has(stem))
  const headings = headingStems(source, line)
  const names = pathStems(path)
  const without = (stems: ReadonlySet<string>): ReadonlySet<string> => new Set([...focus.stems.keys()].filter((stem) => !stems.has(stem) && !headings.has(stem) && !isInPath(stem, names)))
  const open = without(own)
  const density = own.size === 0 ? 0 : shared.length / own.size
  const share = focus.stems.size === 0 ? 0 : 1 - open.size / focus.stems.size
  const kind = kindAskedFor(question)
  const event = eventIn(question.replace(SECONDARY, ''))
  const inWords = (stems: readonly string[], join: string): string => [...new Set(stems.map((stem) => `"${focus.stems.get(stem) ?? stem}"`))].join(join)
  return { why: whyNoAnswer(), spoken: inWords(spoken, ', '), support: share * Math.min(1, density / DENSITY_FULL) }

  function whyNoAnswer(): string | undefined {
    if (shared.length < SHARED_MIN) return 'shares fewer than two content words with the question'
    if (spoken.length === 0) return 'speaks of nothing that the question is about'
    if (focus.names.size > 0 && [...focus.names].every((name) => open.has(name))) return `does not speak of ${inWords([...focus.names], ' or ')}, which the question names`
    if (leavesOut(focus, open) || (focus.verb !== undefined && !own.has(focus.verb))) return `leaves out ${inWords([...focus.stems.keys()].filter((stem) => (open.has(stem) || (stem === focus.verb && !own.has(stem))) && !focus.names.has(stem)), ', ')}, which the question is about`
    if (focus.things.length > 0 && spoken.every((stem) => focus.names.has(stem))) return `says nothing of ${inWords(focus.things.flat(), ', ')} itself`
    if (leavesOut(focus, without(stemSetOf(claim.replace(ASIDE, ' '))))) return 'mentions the subject only in passing'
    if (density < DENSITY_MIN) return 'speaks mostly of something else'
    if (kind !== undefined && !holdsKind(kind, claim, question)) return `names no ${KIND_NAMES[kind]}, which the question asks for`
    if (event !== undefined && !namesEvent(event, topicOf(claim).clauses, (stem) => headings.has(stem) || isInPath(stem, names))) return `does not speak of the case asked about, "${event}"`
    return undefined
  }
}

/** Whether too many of the things asked about are missing. */
function leavesOut({ things }: Focus, open: ReadonlySet<string>): boolean {
  const held = things.filter((thing) => thing.filter((stem) => !open.has(stem)).length >= Math.ceil(THING_MIN * thing.length)).length
  return held < Math.max(Math.min(2, things.length), Math.floor(FOCUS_MIN * things.length))
}

/** Stems of the headings that stand above the line: the nearest, and the first of the file. */
function headingStems(source: string | undefined, line: number): ReadonlySet<string> {
  const above = (source ?? '').split(/\r\n|\n|\r/).slice(0, line)
  const isHeading = (text: string): boolean => /^#{1,6}\s+\S/.test(text)
  return stemSetOf([above.findLast(isHeading), above.find(isHeading)].map((text) => text?.slice(0, 200) ?? '').join(' '))
}

function whyNotAlone(claim: string): string | undefined {
  if (OPENS_BACK.test(claim) && !claim.startsWith('IT ')) return 'opens by pointing back'
  if (!/^["'“‘[]?(?:\p{Lu}|\p{N}|@?[\p{Ll}.$_][^\s]*[\p{Lu}\p{N}._()-]|[\p{Ll}]{2,})/u.test(claim)) return 'does not begin like a sentence'
  if (!/[.]["'”’»)\]]*$/.test(claim)) return 'does not end like a statement'
  if (claim.split(/\s+/).length < WORDS_MIN) return 'is too short to be read alone'
  const pointer = POINTS_AWAY.exec(claim)?.[0]
  if (pointer !== undefined) return `points elsewhere ("${pointer}")`
  const definite = BARE_DEFINITE.exec(claim)?.[0]
  if (definite !== undefined) return `begins with "${definite.split(' ').slice(0, -1).join(' ')}" and does not say which`
  const pronoun = /^[^.;]*?\b(it|they|them|this|these|those)\b/i.exec(claim)
  if (pronoun !== null && pronoun[1] !== 'IT' && !wordsOf(pronoun[0]).slice(0, -1).some((word) => isNoun(word) || SOMEBODY.test(word.text))) return `leaves open what "${pronoun[1] ?? ''}" means`
  if (!VERB_FORMS.test(claim) && !withVerbs(statementIn(claim)).some((word) => word.pos === 'VERB')) return 'has no verb'
  return undefined
}

function round(value: number): number {
  return Math.round(Math.min(0.99, Math.max(0.01, value)) * 1e4) / 1e4
}

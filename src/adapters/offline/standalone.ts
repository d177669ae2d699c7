/**
 * Whether a sentence can stand alone in a report: it names what it speaks of, says something whole about it, and
 * points to nothing around it. Rules over words and parts of speech; a good sentence refused costs less than
 * a broken one kept.
 */
import { isNoun, mayBeVerb, stemOf, wordsOf, type Word } from './language.js'
import { agree, hasMainClause, isDemonstrative, statementIn, withVerbs } from './statement.js'
import { isCommonVerb } from './verbs.js'

/** Characters of a sentence, inclusive: shorter says nothing, longer is not read. */
const LENGTH_MIN = 30
const LENGTH_MAX = 320

const OPENING_WORDS = new Set(
  ('this that these those it its they them their he she his her here there somewhere then thus hence therefore however but so also and or nor yet still again otherwise ' +
    'instead besides moreover furthermore additionally alternatively similarly likewise meanwhile consequently accordingly afterwards finally lastly firstly secondly thirdly ' +
    'first second third next another other others such same whether indeed nevertheless nonetheless rather too which whose who what how why as ' +
    'e.g. i.e. etc plus ok okay yes no well now both neither either not').split(' '),
)
const OPENING_PHRASES =
  /^(?:for (?:example|instance|such|this|that|these|those|more|further|details)|in (?:this|that|these|those|such|addition|other words|contrast|fact|particular|short|summary|both cases|either case|any case|the (?:above|first|second|next|previous|same|latter|former))|on (?:the other hand|the contrary|top of (?:this|that)|these|this|that)|at (?:this|that|the same) (?:point|time)|after (?:this|that)|with (?:this|that|these)|by (?:doing|this|that)|to (?:do|achieve|avoid|prevent|solve|fix|help with) (?:so|this|that|these)|due to (?:this|that)|because of (?:this|that)|from (?:this|that|there|here)|one of (?:these|those|them)|some of (?:these|those|them)|all of (?:these|those|them)|more specifically|even (?:so|better|worse)|of course|just like|same as|if (?:so|not|this|that|it|they)|when (?:so|this|that|it|they|set|true|false|enabled)|once (?:this|that|it|they|done)|unless (?:this|that|it)|until (?:this|that|it|then)|while (?:this|that|it)|since (?:this|that|it)|before (?:this|that)|(?:warning|note|important|caution|tip|notes) (?=[A-Z])|thanks)\b/i
/** `If omitted, ...`, `When true, ...`: of what, the sentence before said. */
const ELLIPSIS =
  /^(?:if|when|unless|once|while|although|though) (?:not|false|true|omitted|provided|set|given|specified|enabled|disabled|present|called|used|declared|null|undefined|unset|absent|missing|empty|supplied|passed|configured|needed|required|possible|correct|unspecified|run|running|installed|done|finished|in doubt)\b/i
/** A description without a subject. */
const LABEL_LIKE =
  /^(?:useful|available|handy|equivalent|compatible|based|used|similar|identical|required|optional|recommended|deprecated|intended|designed|built|written|inspired|tested|same|shorthand|alias|ideal|perfect|great|works?|currently|originally|internally) (?:if|when|for|to|as|in|on|by|with|from|only|of|(?:\w+s) )\b/i
/** Words that point to another place of the document. */
const POINTERS =
  /\b(?:as follows|the following|following (?:code|example|snippet|table|section|command|line)|below(?! (?:an?|the|its|zero|one|two|three|four|five|six|seven|eight|nine|ten|\d))|(?:see|shown|described|listed|mentioned|noted|discussed|seen|defined|explained|the) above|above(?:-mentioned)?[.,)]|above (?:example|code|snippet|section|table|method|list)|aforementioned|(?:the|this|these) (?:latter|former|examples?|snippets?|code (?:above|below)|sections?|previous|sample|screenshot|image|table|figure|chapter)|(?:next|previous|last|following|earlier|later) (?:section|example|chapter|paragraph)|click here|right here|over here|here\.|see (?:also|the|our|its|it|this|how|here|section|https?)|\(see |refer to|for (?:more|further|full|additional) (?:info|information|details?|examples?)|more (?:info|information|details) (?:about|on|in|at|can)|learn more|read more|check out|like (?:this|so)|do (?:this|that|so)|doing (?:this|that|so)|this way|that way|in turn,)/i
const BOILERPLATE =
  /\b(?:sponsor(?:s|ed|ing|ship)?|tidelift|donat(?:e|ion|ions)|patreon|open ?collective|star (?:us|this|the repo)|give (?:it|us) a star|pull requests?|PRs?\b|contributions? (?:are|is|welcome)|contributors?|licen[sc]ed? under|(?:MIT|BSD|ISC|Apache)[- ]licen[sc]|under the (?:MIT|BSD|ISC|Apache)|copyright|all rights reserved|trademarks?|tweet|twitter|discord|slack channel|gitter|stack ?overflow|code of conduct|(?:file|open|report|submit|create) an? (?:new )?(?:issue|bug|ticket)|github issues|this (?:project|readme|repo|repository) |buy me|hire (?:me|us)|newsletter|follow (?:me|us)|npm (?:i|install|add)|yarn add|pnpm (?:i|add|install)|npx )/i
/** One who writes; `we` and `our` may be an organisation that says what it does. */
const AUTHOR = /\b(?:I|[Mm]e|[Mm]y|mine|[Oo]urs|[Ll]et['’]s)\b|\b[Ww]e['’]\p{L}/u
/** Opinions, plans, praise, and what authors tell of their work and show their readers. */
const AUTHORIAL =
  /\bwe (?:(?:also|all|really|strongly|highly|firmly|truly|just|now|still|first|then|only|currently|always|will|have|had|do|did|don['’]t|didn['’]t|not|never|even) )*(?:are|were|be|been|can|could|would|might|should|think|thought|believe|hope|love|like|want|wanted|feel|wish|encourage|welcome|strive|aim|try|tried|plan|recommend|suggest|advise|prefer|consider|considered|see|saw|seen|find|found|know|knew|look|looked|expect|assume|guess|need|needed|call|say|said|define|defined|built|build|made|make|wrote|write|started|decided|chose|tested|ran|measured|compared|got|get|add|added|create|created|use|used|pass|passed|take|took|go|going|have|do|start|begin|continue|understand|care|value|intend|allow)\b|\bour (?:own )?(?:\p{L}+ )?(?:mission|vision|recommendations?|goals?|aims?|belief|hope|philosophy|approach|experience|opinion|view|examples?|demo|benchmarks?|tests|tutorial|readme|docs|documentation|website|blog|repo|repository|library|package|project|module|code|implementation|api|app|readers?|sponsors?|backers?|users?|community)\b|\b(?:our|we) .*\b(?:best|fastest|amazing|awesome|great|proud|happy|excited|love|world-class)\b|\b(?:tell|let|lets?|help|helps|join|give|gives|allows?|support|follow|about|for|show|shows) us\b/iu
/** What says how many of its subject there are, or that no others do; without it the rest must stand alone. */
const QUANTIFIED = /^(?:only|no(?! (?:longer|need|matter|doubt|wonder|more)\b)|both(?= (?:(?!is |are |was |were |have |can |may |must )\S+ ){1,6}and )|either(?= .{1,80} or )|neither(?= .{1,80} nor )) (?=\S)/i
/** Words that open an instruction, beyond verbs. */
const OPENERS = new Set(['do', "don't", 'never', 'always', 'please', 'simply', 'just', 'note', 'be', 'make', 'use', 'see'])
/** Why the sentence cannot stand alone, in words that complete "the sentence ..."; undefined if it can. */
export function whyNotAlone(text: string): string | undefined {
  if (text.length < LENGTH_MIN) return 'is too short'
  if (text.length > LENGTH_MAX) return 'is too long'
  if (!/[.]["'”’»)\]]*$/.test(text) || /(?:\.\.|…)["'”’»)\]]*$/.test(text)) return 'does not end like a statement'
  if (!isBalanced(text)) return 'has unbalanced brackets or quotes'
  if (/\bhttps?:\/\/|\bwww\./i.test(text)) return 'is a reference to an address'
  if (BOILERPLATE.test(text)) return 'speaks of the project and not of its subject'
  if (AUTHOR.test(text) || AUTHORIAL.test(text)) return 'speaks for its author'
  if (text.startsWith('(')) return 'is an aside'
  if (/\b(?:an?|the) \(/i.test(text)) return 'has an aside in place of a noun'
  return whyNotOpening(text)
}

export function standsAlone(text: string): boolean {
  return whyNotAlone(text) === undefined
}

/** Looks at how the sentence begins, and then at what it says. */
function whyNotOpening(text: string): string | undefined {
  const quantifier = QUANTIFIED.exec(text)?.[0]
  if (quantifier !== undefined) return whyNotOpening(capitalized(text.slice(quantifier.length)))
  const first = (/^["'“‘[]*([^\s,;:]+)/.exec(text)?.[1] ?? '').toLowerCase().replace(/['’].*$/, '')
  if ((OPENING_WORDS.has(first) && !text.startsWith('IT ')) || OPENING_PHRASES.test(text) || ELLIPSIS.test(text)) return 'opens by pointing back'
  if (POINTERS.test(text)) return 'points to another place of the document'
  if (LABEL_LIKE.test(text)) return 'has no subject'
  if (/^(?:\[\S+\]|[^\s:]+(?: [^\s:]+){0,3}) [-–—] /.test(text) || /^[^\s:]+(?: [^\s:]+){0,4} ?: /.test(text) || /^\S+ \{[^}]*\} /.test(text)) return 'is an entry of a list of terms'
  if (/^\p{Ll}+(?:['’]\p{Ll}+)?[\s,;]/u.test(text) && wordsOf(first)[0]?.known !== false) return 'begins in the middle of a sentence'
  return whyNotWhole(statementIn(text))
}

function whyNotWhole(words: readonly Word[]): string | undefined {
  const first = words.find((word) => /[\p{L}\p{N}]/u.test(word.text))
  if (first === undefined) return 'has no words'
  const lower = first.text.toLowerCase()
  const second = words[words.indexOf(first) + 1]
  const follows = second?.pos ?? 'PUNCT'
  const nominal = words.map((word): Word => (word === first ? { ...word, pos: 'NOUN' } : word))
  if (isSubject(nominal, first)) return hasMainClause(nominal) ? pointing(nominal) : 'has no main clause'
  const commanding = OPENERS.has(lower) || (isCommonVerb(lower) && !isFinite(second, first)) || (first.pos === 'VERB' && first.lemma === lower)
  if (commanding && !(lower === 'note' && second?.text === 'that') && second?.pos !== 'AUX') return 'is an instruction without a subject'
  if (first.pos === 'AUX') return 'is a question or an instruction'
  if (/^\p{L}+s$/u.test(lower) && isVerbForm(first) && follows !== 'AUX' && (first.pos === 'VERB' || !['VERB', 'ADP', 'PUNCT'].includes(follows) || /^(?:true|false|null|undefined)$/.test(second?.text ?? ''))) return 'has no subject'
  if (/^\p{L}+ing$/u.test(lower) && first.pos === 'VERB' && !words.some((word) => word.pos === 'AUX')) return 'has no subject'
  if (!hasMainClause(words)) return 'has no main clause'
  return pointing(words)
}

/** `Returns`, `Supports`: a verb with its subject left out, also where the tagger took it for a noun. */
function isVerbForm(word: Word): boolean {
  return word.pos === 'VERB' || isCommonVerb(word.lemma)
}

/** Verbs that a whole clause may follow: `check files are closed` is no `leave requests are approved`. */
const TAKES_CLAUSE = /^(?:assume|be|check|ensure|expect|have|help|know|let|make|note|remember|say|see|verify|watch)s?$/

/**
 * Whether a word that may be a verb is the noun that the sentence is about, or describes it: `requests that arrive late are ...`, `alerts
 * page the engineer`, `access requests are approved`.
 */
function isSubject(words: readonly Word[], first: Word): boolean {
  const at = words.findIndex((word) => word.text === first.text)
  const lower = first.text.toLowerCase()
  const second = words[at + 1]
  if (TAKES_CLAUSE.test(lower) || !mayBeVerb(first.lemma) || second === undefined) return false
  const mended = withVerbs(words)
  const third = words[at + 2]
  // `Returns` may be a plural or a verb without a subject; what follows must leave no doubt.
  if (/[^isu]s$/.test(lower)) return /^(?:who|that|which)$/.test(second.text) ? ['VERB', 'AUX'].includes(third?.pos ?? '') : isNoun(second) && isFinite(mended[at + 1], first)
  if (lower !== first.lemma) return false
  const end = mended.findIndex((word, index) => index > at && !isNoun(word) && word.pos !== 'ADJ')
  return end > at + 1 && isNoun(mended[end - 1]) && isFinite(mended[end], mended[end - 1])
}

function isFinite(verb: Word | undefined, subject: Word | undefined): boolean {
  return verb?.pos === 'AUX' || (verb?.pos === 'VERB' && agree(subject, verb))
}

/** A pronoun or demonstrative without anything before it that it could mean. */
function pointing(words: readonly Word[]): string | undefined {
  const before = new Set<string>()
  let introduced = 0
  for (const [index, word] of words.entries()) {
    const lower = word.text.toLowerCase()
    const next = words[index + 1]
    if (isDemonstrative(words, index) && next !== undefined) {
      const noun = words.slice(index + 1, index + 4).find(isNoun)
      const free = lower === 'those' && /^(?:who|that|which|of|with|in|for|from|used|needed)$/i.test(next.text)
      if (!free && (noun === undefined || !before.has(stemOf(noun.text).stem))) return `leaves open what "${cut(lower)}" means`
    }
    if (/^(?:it|they|them|he|she|its|their)$/.test(lower) && word.pos !== 'PROPN' && introduced === 0) return `leaves open what "${cut(lower)}" means`
    if (isNoun(word) && !/^(?:default|addition|general|case|cases|fact|result|time|times|way|note|moment)$/.test(lower)) {
      before.add(stemOf(word.text).stem)
      introduced++
    }
  }
  return undefined
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}

function cut(word: string): string {
  return word.slice(0, 20)
}

function isBalanced(text: string): boolean {
  const pairs: Readonly<Record<string, string>> = { ')': '(', ']': '[', '}': '{' }
  const open: string[] = []
  let quotes = 0
  for (const char of text) {
    if ('([{'.includes(char)) open.push(char)
    else if (char === '"') quotes++
    else if (char in pairs && open.pop() !== pairs[char]) return false
  }
  return open.length === 0 && quotes % 2 === 0
}

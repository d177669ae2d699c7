/**
 * Whether a sentence can stand alone in a report: it names what it speaks of, says something whole about it, and
 * points to nothing around it. Rules over words and parts of speech; a good sentence refused costs less than
 * a broken one kept.
 */
import { isNoun, stemOf, wordsOf, type Word } from './language.js'
import { isCommonVerb } from './verbs.js'

/** Characters of a sentence, inclusive: shorter says nothing, longer is not read. */
const LENGTH_MIN = 40
const LENGTH_MAX = 320

const OPENING_WORDS = new Set(
  ('this that these those it its they them their he she his her here there somewhere then thus hence therefore however but so also and or nor yet still again otherwise ' +
    'instead besides moreover furthermore additionally alternatively similarly likewise meanwhile consequently accordingly afterwards finally lastly firstly secondly thirdly ' +
    'first second third next another other others such same whether indeed nevertheless nonetheless rather too which whose who where what how why as ' +
    'because although though whereas e.g. i.e. etc plus ok okay yes no well now both neither either not only').split(' '),
)
const OPENING_PHRASES =
  /^(?:for (?:example|instance|this|that|these|those|more|further|details)|in (?:this|that|these|those|such|addition|other words|contrast|fact|particular|short|summary|both cases|either case|any case|the (?:above|first|second|next|previous|same|latter|former))|on (?:the other hand|the contrary|top of (?:this|that)|these|this|that)|at (?:this|that|the same) (?:point|time)|after (?:this|that)|with (?:this|that|these)|by (?:doing|this|that)|to (?:do|achieve|avoid|prevent|solve|fix|help with) (?:so|this|that|these)|due to (?:this|that)|because of (?:this|that)|from (?:this|that|there|here)|one of (?:these|those|them)|some of (?:these|those|them)|all of (?:these|those|them)|more specifically|even (?:so|better|worse)|of course|just like|same as|if (?:so|not|this|that|it|they)|when (?:so|this|that|it|they|set|true|false|enabled)|once (?:this|that|it|they|done)|unless (?:this|that|it)|until (?:this|that|it|then)|while (?:this|that|it)|since (?:this|that|it)|before (?:this|that)|(?:warning|note|important|caution|tip|notes) (?=[A-Z])|thanks)\b/i
/** `If omitted, ...`, `When true, ...`: of what, the sentence before said. */
const ELLIPSIS =
  /^(?:if|when|unless|once|while|although|though) (?:not|false|true|omitted|provided|set|given|specified|enabled|disabled|present|called|used|declared|null|undefined|unset|absent|missing|empty|supplied|passed|configured|needed|required|possible|correct|unspecified|run|running|installed|done|finished|in doubt)\b/i
/** A description without a subject. */
const LABEL_LIKE =
  /^(?:useful|available|handy|equivalent|compatible|based|used|similar|identical|required|optional|recommended|deprecated|intended|designed|built|written|inspired|tested|same|shorthand|alias|ideal|perfect|great|works?|currently|originally|internally) (?:if|when|for|to|as|in|on|by|with|from|only|of|(?:\w+s) )\b/i
/** Words that point to another place of the document. */
const POINTERS =
  /\b(?:as follows|the following|following (?:code|example|snippet|table|section|command|line)|below|(?:see|shown|described|listed|mentioned|noted|discussed|seen|defined|explained|the) above|above(?:-mentioned)?[.,)]|above (?:example|code|snippet|section|table|method|list)|aforementioned|(?:the|this|these) (?:latter|former|examples?|snippets?|code (?:above|below)|sections?|previous|sample|screenshot|image|table|figure|chapter)|(?:next|previous|last|following|earlier|later) (?:section|example|chapter|paragraph)|click here|right here|over here|here\.|see (?:also|the|our|its|it|this|how|here|section|https?)|\(see |refer to|for (?:more|further|full|additional) (?:info|information|details?|examples?)|more (?:info|information|details) (?:about|on|in|at|can)|learn more|read more|check out|like (?:this|so)|do (?:this|that|so)|doing (?:this|that|so)|this way|that way|in turn,)/i
const BOILERPLATE =
  /\b(?:sponsor(?:s|ed|ing|ship)?|tidelift|donat(?:e|ion|ions)|patreon|open ?collective|star (?:us|this|the repo)|give (?:it|us) a star|pull requests?|PRs?\b|contributions? (?:are|is|welcome)|contributors?|licen[sc]ed? under|(?:MIT|BSD|ISC|Apache)[- ]licen[sc]|under the (?:MIT|BSD|ISC|Apache)|copyright|all rights reserved|trademarks?|tweet|twitter|discord|slack channel|gitter|stack ?overflow|code of conduct|(?:file|open|report|submit|create) an? (?:new )?(?:issue|bug|ticket)|github issues|this (?:project|readme|repo|repository) |buy me|hire|newsletter|follow (?:me|us)|npm (?:i|install|add)|yarn add|pnpm (?:i|add|install)|npx )/i
const SPEAKERS = /\b(?:I|I'm|I've|I'd|I'll|[Mm]e|[Mm]y|mine|[Ww]e|[Uu]s|[Oo]urs?|[Ll]et's)\b/
/** Words that open an instruction, beyond verbs. */
const OPENERS = new Set(['do', "don't", 'never', 'always', 'please', 'simply', 'just', 'note', 'be', 'make', 'use', 'see'])
const SUBORDINATORS = new Set('that which who whose whom where when whenever while if whether because since unless until how what why although though whereas once before after as'.split(' '))
const RELATIVES = new Set('that which who whose where when whenever while if whether because unless how what why although though whereas'.split(' '))
/** Why the sentence cannot stand alone, in words that complete "the sentence ..."; undefined if it can. */
export function whyNotAlone(text: string): string | undefined {
  if (text.length < LENGTH_MIN) return 'is too short'
  if (text.length > LENGTH_MAX) return 'is too long'
  if (!/[.]["'”’»)\]]*$/.test(text) || /(?:\.\.|…)["'”’»)\]]*$/.test(text)) return 'does not end like a statement'
  if (!isBalanced(text)) return 'has unbalanced brackets or quotes'
  if (/\bhttps?:\/\/|\bwww\./i.test(text)) return 'is a reference to an address'
  if (BOILERPLATE.test(text)) return 'speaks of the project and not of its subject'
  if (SPEAKERS.test(text)) return 'speaks for its author'
  if (text.startsWith('(')) return 'is an aside'
  if (/\b(?:an?|the) \(/i.test(text)) return 'has an aside in place of a noun'
  const first = (/^["'“‘[]*([^\s,;:]+)/.exec(text)?.[1] ?? '').toLowerCase().replace(/['’].*$/, '')
  if (OPENING_WORDS.has(first) || OPENING_PHRASES.test(text) || ELLIPSIS.test(text)) return 'opens by pointing back'
  if (POINTERS.test(text)) return 'points to another place of the document'
  if (LABEL_LIKE.test(text)) return 'has no subject'
  if (/^[^\s:]+(?: [^\s:]+){0,3} [-–—] /.test(text) || /^[^\s:]+(?: [^\s:]+){0,4} ?: /.test(text) || /^\S+ \{[^}]*\} /.test(text)) return 'is an entry of a list of terms'
  if (/^\p{Ll}+(?:['’]\p{Ll}+)?[\s,;]/u.test(text) && wordsOf(first)[0]?.known !== false) return 'begins in the middle of a sentence'
  return whyNotWhole(wordsOf(text))
}

export function standsAlone(text: string): boolean {
  return whyNotAlone(text) === undefined
}

function whyNotWhole(words: readonly Word[]): string | undefined {
  const first = words.find((word) => /[\p{L}\p{N}]/u.test(word.text))
  if (first === undefined) return 'has no words'
  const lower = first.text.toLowerCase()
  const second = words[words.indexOf(first) + 1]
  const commanding = OPENERS.has(lower) || (isCommonVerb(lower) && !['AUX', 'VERB'].includes(second?.pos ?? 'X')) || (first.pos === 'VERB' && first.lemma === lower)
  if (commanding && !(lower === 'note' && second?.text === 'that') && second?.pos !== 'AUX') return 'is an instruction without a subject'
  if (first.pos === 'AUX') return 'is a question or an instruction'
  const follows = second?.pos ?? 'PUNCT'
  if (/^\p{L}+s$/u.test(lower) && isVerbForm(first) && follows !== 'AUX' && (first.pos === 'VERB' || !['VERB', 'ADP', 'PUNCT'].includes(follows) || /^(?:true|false|null|undefined)$/.test(second?.text ?? ''))) return 'has no subject'
  if (/^\p{L}+ing$/u.test(lower) && first.pos === 'VERB' && !words.some((word) => word.pos === 'AUX')) return 'has no subject'
  if (!hasMainClause(words)) return 'has no main clause'
  return pointing(words)
}

/** `Returns`, `Supports`: a verb with its subject left out, also where the tagger took it for a noun. */
function isVerbForm(word: Word): boolean {
  return word.pos === 'VERB' || isCommonVerb(word.lemma)
}

/**
 * Looks for a finite verb that belongs to no subordinate clause. A word that opens such a clause takes the first finite
 * verb behind it, up to the next comma or the next such word.
 */
function hasMainClause(words: readonly Word[]): boolean {
  let nouns = 0
  let inGroup = false
  let taking = false
  for (const [index, word] of words.entries()) {
    const lower = word.text.toLowerCase()
    if (['NOUN', 'PROPN', 'NUM'].includes(word.pos) || lower === 'you') nouns++
    if (word.pos === 'PUNCT' && /^[,;:()]$/.test(word.text)) taking = false
    const opens = SUBORDINATORS.has(lower) && !(lower === 'that' && isDemonstrative(words, index)) && (RELATIVES.has(lower) || word.pos === 'SCONJ' || words[index + 1]?.pos === 'PRON')
    if (opens) taking = true
    const verbal = word.pos === 'AUX' || isFiniteVerb(words, index)
    if (verbal && !inGroup && nouns > 0) {
      if (!taking) return true
      taking = false
    }
    inGroup = verbal || (inGroup && ['ADV', 'PART', 'VERB', 'AUX'].includes(word.pos))
  }
  return false
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
  if (next === undefined || next.pos === 'PUNCT' || next.pos === 'CCONJ') return false
  if (!lower.endsWith('ed') && !lower.endsWith('en')) return true
  // `optimized static assets` describes; behind a subject it says what happens.
  const subject = words.slice(0, index).findLast((other) => other.pos !== 'ADV')
  return object && (isNoun(subject) || subject?.pos === 'PRON' || subject?.pos === 'NUM')
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
    if (/^(?:it|they|them|he|she|its|their)$/.test(lower) && introduced === 0) return `leaves open what "${cut(lower)}" means`
    if (isNoun(word) && !/^(?:default|addition|general|case|cases|fact|result|time|times|way|note|moment)$/.test(lower)) {
      before.add(stemOf(word.text).stem)
      introduced++
    }
  }
  return undefined
}

/** `that` counts only where it can be neither a relative pronoun nor a conjunction: behind a preposition or a mark. */
function isDemonstrative(words: readonly Word[], index: number): boolean {
  const word = words[index]
  const lower = word?.text.toLowerCase()
  if (lower === 'this' || lower === 'these' || lower === 'those') return true
  const before = words[index - 1]
  return lower === 'that' && word?.pos === 'DET' && (before === undefined || ['ADP', 'CCONJ', 'PUNCT'].includes(before.pos))
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

/**
 * From a sub-question and the passages found for it to a few findings: whole sentences of the documents that stand alone,
 * share stems with the question and differ from each other. No sentence is changed or made up; if nothing qualifies,
 * nothing is found.
 */
import { holdsKind, kindAskedFor } from './kinds.js'
import { isInPath, pathStems, type Passage, type QuestionTerm } from './retrieval.js'
import { standsAlone } from './standalone.js'
import { stemSetOf } from './stems.js'
import { eventIn, namesEvent, topicOf } from './topic.js'

export interface Evidence {
  /** The content stems that the claim shares with the question, in the question's order. */
  readonly stems: readonly string[]
  /** The passage's retrieval score. */
  readonly score: number
  /** By how much of its own score it leads the best passage that was not taken: 0 to 1. */
  readonly margin: number
  /** Weighted share of the question's stems that it answers to: 0 to 1. */
  readonly coverage: number
  /** How much of what it shares with the question is what it is about, and whether it holds the kind of answer asked for: 0 to 1. */
  readonly fit: number
}

export interface Finding {
  /** A sentence of the document, word for word, without markup. */
  readonly claim: string
  readonly path: string
  readonly line: number
  readonly heading?: string
  /** Above 0 and below 1, see {@link confidenceOf}. */
  readonly confidence: number
  readonly evidence: Evidence
}

export interface ResearchInput {
  readonly question: string
  readonly passages: readonly Passage[]
  /** What `questionTerms` says of the same question. */
  readonly terms: readonly QuestionTerm[]
  /** Findings at most. Default 5. */
  readonly max?: number
  /** What not to bring again: what was accepted, and what was refused for another reason than that it does not answer. */
  readonly exclude?: readonly { readonly path: string; readonly line: number; readonly claim?: string }[]
}

const FINDINGS_DEFAULT = 5
/** Passages looked at, best first. */
const CANDIDATES_MAX = 60
/** Stems a finding shares with its question at least. */
const SHARED_MIN = 2
/** Weighted share of the question below which a sentence has met it by chance. */
const COVERAGE_MIN = 0.38
/** Weight of relevance against novelty in the choice (maximal marginal relevance, Carbonell and Goldstein 1998). */
const LAMBDA = 0.72
/** Share of a sentence's stems that belong to the question from which it speaks of nothing else. */
const DENSE = 0.4
/** A stem that stands only in the heading or path counts so much. */
const CONTEXT_WORTH = 0.5
const FRAME_WORTH = 0.25
/** Share of the coverage that counts only as far as a sentence fits the question. */
const FIT_WEIGHT = 0.4
/** What a sentence's fit is worth where it says what a thing is when asked what happens. */
const DEFINING = 0.8
/**
 * What a stem of weight 1 adds to a score if it stands once in every field of average length: BM25+ gives 0.5 + 1, times the
 * boosts of the fields. The engine then multiplies by the number of stems that matched.
 */
const SCORE_PER_WEIGHT = 1.5 * 2.25

interface Candidate {
  readonly passage: Passage
  readonly own: ReadonlySet<string>
  readonly shared: readonly string[]
  readonly coverage: number
  readonly fit: number
  readonly relevance: number
}

export function research(input: ResearchInput): Finding[] {
  const { terms } = input
  const excluded = new Set((input.exclude ?? []).flatMap(({ path, line, claim }) => (claim === undefined ? [`${path}:${line}`] : [claim])))
  const best = input.passages[0]?.score ?? 0
  const seen = new Set<string>()
  const candidates: Candidate[] = []
  for (const passage of input.passages) {
    if (candidates.length >= CANDIDATES_MAX) break
    const known = excluded.has(`${passage.path}:${passage.line}`) || excluded.has(passage.text) || seen.has(passage.text)
    const own = known ? new Set<string>() : stemSetOf(passage.text)
    const shared = terms.filter((term) => own.has(term.stem)).map((term) => term.stem)
    const coverage = coverageOf(terms, own, passage)
    const onSubject = terms.some((term) => !term.frame && own.has(term.stem))
    if (shared.length < SHARED_MIN || !onSubject || coverage < COVERAGE_MIN || !standsAlone(passage.text)) continue
    seen.add(passage.text)
    const fit = fitOf(input.question, terms, passage.text, own)
    const answering = coverage * (1 - FIT_WEIGHT + FIT_WEIGHT * fit)
    candidates.push({ passage, own, shared, coverage, fit, relevance: 0.5 * answering + (0.3 * passage.score) / best + 0.2 * Math.min(1, shared.length / (own.size * DENSE)) })
  }
  const chosen = diverse(candidates, input.max ?? FINDINGS_DEFAULT)
  const next = candidates.filter((candidate) => !chosen.includes(candidate)).reduce((most, { passage }) => Math.max(most, passage.score), 0)
  const ideal = terms.reduce((sum, term) => sum + term.idf, 0) * SCORE_PER_WEIGHT * terms.length
  return chosen.map(({ passage, shared, coverage, fit }) => {
    const margin = round(Math.max(0, (passage.score - next) / passage.score))
    return {
      claim: passage.text,
      path: passage.path,
      line: passage.line,
      ...(passage.heading === undefined ? {} : { heading: passage.heading }),
      confidence: confidenceOf({ coverage, fit, margin, score: passage.score, ideal }),
      evidence: { stems: shared, score: passage.score, margin, coverage: round(coverage), fit: round(fit) },
    }
  })
}

/**
 * Retrieval evidence as one number, never 0 or 1: six tenths for how much of the question the sentence answers to, less where it
 * does so in passing or lacks the kind of answer asked for, three for its score against that of a sentence that held every stem of the
 * question, one for its lead over what was not taken. Not calibrated: it orders findings, it is not a probability.
 */
export function confidenceOf(of: { readonly coverage: number; readonly fit: number; readonly margin: number; readonly score: number; readonly ideal: number }): number {
  const normalised = of.ideal > 0 ? Math.min(1, of.score / of.ideal) : 0
  return round(0.02 + 0.96 * (0.6 * of.coverage * (1 - FIT_WEIGHT + FIT_WEIGHT * of.fit) + 0.3 * normalised + 0.1 * of.margin))
}

/** Share of the question's stems, weighted by idf, that the sentence holds; half for one that its heading or path holds. */
function coverageOf(terms: readonly QuestionTerm[], own: ReadonlySet<string>, passage: Passage): number {
  const heading = stemSetOf(passage.heading ?? '')
  const names = pathStems(passage.path)
  let total = 0
  let held = 0
  for (const term of terms) {
    const weight = term.idf * (term.frame ? FRAME_WORTH : 1)
    total += weight
    held += own.has(term.stem) ? weight : heading.has(term.stem) || isInPath(term.stem, names) ? weight * CONTEXT_WORTH : 0
  }
  return total > 0 ? held / total : 0
}

/** Share of the shared stems that stand in the subject, its verb, or the conditions of the sentence; none where it lacks the kind of answer or the event asked for. */
function fitOf(question: string, terms: readonly QuestionTerm[], text: string, own: ReadonlySet<string>): number {
  const kind = kindAskedFor(question)
  const event = eventIn(question)
  const topic = topicOf(text)
  const parts = [topic.subject, ...topic.conditions]
  if ((kind !== undefined && !holdsKind(kind, text, question)) || (event !== undefined && !namesEvent(event, parts))) return 0
  const about = stemSetOf(parts.flat().map((word) => word.text).join(' '))
  const weigh = (holds: (stem: string) => boolean): number => terms.reduce((sum, term) => sum + (own.has(term.stem) && holds(term.stem) ? term.idf * (term.frame ? FRAME_WORTH : 1) : 0), 0)
  return (weigh((stem) => about.has(stem)) / weigh(() => true)) * (event !== undefined && topic.defines ? DEFINING : 1)
}

function diverse(candidates: readonly Candidate[], max: number): Candidate[] {
  const chosen: Candidate[] = []
  const left = [...candidates]
  while (chosen.length < max && left.length > 0) {
    let best = -1
    let bestValue = 0
    left.forEach((candidate, index) => {
      const likeness = chosen.reduce((most, other) => Math.max(most, jaccard(candidate.own, other.own)), 0)
      const value = LAMBDA * candidate.relevance - (1 - LAMBDA) * likeness
      if (best < 0 || value > bestValue) {
        best = index
        bestValue = value
      }
    })
    chosen.push(...left.splice(best, 1))
  }
  return chosen
}

function jaccard(one: ReadonlySet<string>, other: ReadonlySet<string>): number {
  let both = 0
  for (const stem of one) if (other.has(stem)) both++
  return both === 0 ? 0 : both / (one.size + other.size - both)
}

function round(value: number): number {
  return Math.round(value * 1e4) / 1e4
}

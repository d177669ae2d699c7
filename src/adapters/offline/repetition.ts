/**
 * Whether one sentence says again what another has said. Likeness of words alone merges contradictions before
 * paraphrases ("is safe" and "is not safe" share nearly everything), so likeness only groups, and a difference in
 * numbers, negation, names, modality or order vetoes.
 */
import { stemsOf, stemSetOf } from './stems.js'

/** Share of the stems of both together, or of the smaller one, from which two sentences are alike. */
const JACCARD_MIN = 0.6
const CONTAINMENT_MIN = 0.85
const NEGATION = /\b(?:not|no|never|none|neither|nor|without|cannot|except|unless|fails? to)\b|n['’]t\b/i
const MODALITY = /\b(must|should|may|might|can|could|will|would|always|never|sometimes|only)\b/gi

/** Characters of a sentence that are compared. */
const CLAIM_MAX = 1_000

/** @returns what was repeated, if anything */
export function repeated<T extends { readonly claim: string }>(claim: string, accepted: readonly T[]): T | undefined {
  return accepted.find((other) => saysTheSame(claim.slice(0, CLAIM_MAX), other.claim.slice(0, CLAIM_MAX)))
}

function saysTheSame(one: string, other: string): boolean {
  const left = stemSetOf(one)
  const right = stemSetOf(other)
  let both = 0
  for (const stem of left) if (right.has(stem)) both++
  const smaller = Math.min(left.size, right.size)
  if (smaller === 0) return false
  const alike = both / (left.size + right.size - both) >= JACCARD_MIN || (smaller >= 4 && both / smaller >= CONTAINMENT_MIN)
  return alike && !contradicts(one, other)
}

function contradicts(one: string, other: string): boolean {
  if (NEGATION.test(one) !== NEGATION.test(other)) return true
  if (numbers(one) !== numbers(other) || modality(one) !== modality(other)) return true
  const [left, right] = [names(one), names(other)]
  const onlyLeft = [...left].some((name) => !right.has(name))
  const onlyRight = [...right].some((name) => !left.has(name))
  return (onlyLeft && onlyRight) || isTurnedRound(one, other)
}

function numbers(text: string): string {
  return [...new Set(text.match(/\d+(?:\.\d+)*/g) ?? [])].toSorted().join(' ')
}

function modality(text: string): string {
  return [...new Set((text.match(MODALITY) ?? []).map((word) => word.toLowerCase()))].toSorted().join(' ')
}

/** Words written as names or code, other than the first: capitals inside a sentence, digits or signs inside a word. */
function names(text: string): ReadonlySet<string> {
  const found = new Set<string>()
  text.split(/\s+/).forEach((raw, index) => {
    const word = raw.replace(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, '')
    if (/^\p{Ll}+\p{Lu}|[._/]\p{L}|\p{L}\d|\d\p{L}/u.test(word) || (index > 0 && /^\p{Lu}/u.test(word))) found.add(word.toLowerCase())
  })
  return found
}

/** The same stems in another order: "A calls B" is not "B calls A". */
function isTurnedRound(one: string, other: string): boolean {
  const left = stemsOf(one)
  const right = stemsOf(other)
  return left.length === right.length && left.toSorted().join(' ') === right.toSorted().join(' ') && left.join(' ') !== right.join(' ')
}

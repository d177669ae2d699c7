/**
 * Finds sentences for a question: BM25+ over stems (minisearch). The sentence itself counts most; its heading, the names
 * in its path and the sentences around it help it a little, since a README says its subject once and then leaves it out.
 */
import MiniSearch, { type Options } from 'minisearch'
import { LimitError } from '../../errors.js'
import type { Sentence } from './markdown-prose.js'
import { stemSetOf, stemsOf } from './stems.js'

export interface Passage extends Sentence {
  /** BM25+ score, above 0; comparable within one question and one index only. */
  readonly score: number
}

/** One content stem of a question, with what the documents say about its worth. */
export interface QuestionTerm {
  readonly stem: string
  /** ln(1 + (N - n + 0.5) / (n + 0.5)), n of N sentences holding the stem: above 0, high for a rare one, highest for one that no document holds. */
  readonly idf: number
  /** A word of the asking and not of the subject: `handle`, `library`. Counts a quarter. */
  readonly frame: boolean
}

/** What searches read. Not JSON: build it anew from the documents in the process that searches. */
export interface PassageIndex {
  readonly sentences: readonly Sentence[]
  /** In how many sentences each stem stands. */
  readonly frequencies: ReadonlyMap<string, number>
  readonly engine: MiniSearch<Entry>
}

/** An index that still grows, by one document after the other. */
export interface IndexBuilder {
  /** @param sentences all of one document */
  add(sentences: readonly Sentence[]): void
  readonly index: PassageIndex
}

interface Entry {
  readonly id: number
  readonly text: string
  readonly heading: string
  readonly path: string
  readonly around: string
}

/** Sentences of one index, inclusive: a bound of memory (some 100 MB) and time (some 5 s). */
export const SENTENCES_MAX = 50_000
/** Passages of one search, and stems of one question; what goes beyond is left out. */
const PASSAGES_MAX = 1_000
const QUESTION_STEMS_MAX = 64
/** Characters from which a part of a name is taken for it. */
const NAME_PART_MIN = 4
const ENGINE: Options<Entry> = {
  fields: ['text', 'heading', 'path', 'around'],
  tokenize: (text) => text.split(' '),
  processTerm: (term) => term,
  searchOptions: { boost: { text: 1, heading: 0.5, path: 0.6, around: 0.15 }, combineWith: 'OR' },
}
/** Words of the asking. */
const FRAME =
  'what which how why when where who does do mean happen work handle deal treat make use using provide offer support describe explain define compare differ difference help give take ' +
    'way kind type package packages library libraries tool tools module modules readme regard install installed tell know need want good best important common main general available different various several many much more most other'

let frame: ReadonlySet<string> | undefined

export function indexBuilder(): IndexBuilder {
  const sentences: Sentence[] = []
  const frequencies = new Map<string, number>()
  const engine = new MiniSearch<Entry>(ENGINE)
  return {
    index: { sentences, frequencies, engine },
    add(added) {
      if (sentences.length + added.length > SENTENCES_MAX) throw new LimitError('the number of sentences in the documents', SENTENCES_MAX, sentences.length + added.length, 'Ask about fewer documents.')
      const stems = added.map((sentence) => stemsOf(sentence.text))
      added.forEach((sentence, at) => {
        const near = [at - 1, at + 1].filter((other) => added[other]?.path === sentence.path && added[other]?.heading === sentence.heading)
        for (const stem of new Set(stems[at])) frequencies.set(stem, (frequencies.get(stem) ?? 0) + 1)
        engine.add({
          id: sentences.length,
          text: stems[at]?.join(' ') ?? '',
          heading: stemsOf(sentence.heading ?? '').join(' '),
          path: pathStems(sentence.path).join(' '),
          around: near.flatMap((other) => stems[other] ?? []).join(' '),
        })
        sentences.push(sentence)
      })
    },
  }
}

/** @throws LimitError above 50,000 sentences */
export function buildIndex(sentences: readonly Sentence[]): PassageIndex {
  const builder = indexBuilder()
  builder.add(sentences)
  return builder.index
}

/** The best passages, best first; equal scores in the order of the documents. @param max at most so many, at most 1,000 */
export function searchPassages(index: PassageIndex, question: string, max: number): Passage[] {
  const stems = [...stemSetOf(question)].slice(0, QUESTION_STEMS_MAX)
  if (stems.length === 0 || index.sentences.length === 0) return []
  const hits = index.engine.search(stems.join(' ')).map((hit) => ({ id: Number(hit.id), score: round(hit.score) }))
  hits.sort((one, other) => other.score - one.score || one.id - other.id)
  return hits.slice(0, Math.max(0, Math.min(max, PASSAGES_MAX))).flatMap(({ id, score }) => {
    const sentence = index.sentences[id]
    return sentence === undefined || score <= 0 ? [] : [{ ...sentence, score }]
  })
}

/** The content stems of the question in its order, with their weight in these documents. */
export function questionTerms(index: PassageIndex, question: string): QuestionTerm[] {
  const total = index.sentences.length
  return [...stemSetOf(question)].slice(0, QUESTION_STEMS_MAX).map((stem) => {
    const holding = index.frequencies.get(stem) ?? 0
    return { stem, idf: round(Math.log(1 + (total - holding + 0.5) / (holding + 0.5))), frame: isFrame(stem) }
  })
}

/** Whether a stem belongs to the asking and not to the subject. */
export function isFrame(stem: string): boolean {
  frame ??= stemSetOf(FRAME)
  return frame.has(stem)
}

/** Stems of the names in a path: `node_modules/ioredis/README.md` gives that of `ioredis`. */
export function pathStems(path: string): string[] {
  const names = path.split(/[\\/]/).filter((name) => name !== 'node_modules')
  const file = (names.pop() ?? '').replace(/\.[^.]*$/, '')
  return stemsOf([...names, /^(?:readme|index)$/i.test(file) ? '' : file].join(' ').replace(/[@._-]/g, ' '))
}

/** Whether a stem is a name in the path or part of one: `redis` of `ioredis`. Of short ones only the whole counts. */
export function isInPath(stem: string, names: readonly string[]): boolean {
  return names.some((name) => name === stem || (stem.length >= NAME_PART_MIN && name.includes(stem)))
}

/** Six digits after the point: finer differences say nothing, and ties stay ties. */
function round(value: number): number {
  return Math.round(value * 1e6) / 1e6
}

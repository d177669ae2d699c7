/** The index of a set of documents, built once in a process however many agents ask for it. */
import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { LimitError } from '../../errors.js'
import { sentencesOf, type Document } from './markdown-prose.js'
import { indexBuilder, type PassageIndex } from './retrieval.js'

/** Document sets whose index is kept; the one longest unused goes first. */
const INDEXES_MAX = 4
/** Characters of one document, inclusive. */
export const DOCUMENT_MAX = 4_000_000

const indexes = new Map<string, Promise<PassageIndex>>()

/**
 * The index of the documents, in their order; the same object for the same paths and texts while it is among the last four sets asked for.
 * Other work of the process goes on between two documents.
 *
 * @throws LimitError if a document is longer than 4,000,000 characters or all of them hold more than 50,000 sentences
 */
export function indexDocuments(documents: readonly Document[]): Promise<PassageIndex> {
  const key = digestOf(documents)
  const known = indexes.get(key)
  const index = known ?? build(documents)
  indexes.delete(key)
  indexes.set(key, index)
  if (known === undefined) index.catch(() => indexes.delete(key))
  for (const oldest of indexes.keys()) {
    if (indexes.size <= INDEXES_MAX) break
    indexes.delete(oldest)
  }
  return index
}

async function build(documents: readonly Document[]): Promise<PassageIndex> {
  const builder = indexBuilder()
  for (const document of documents) {
    if (document.text.length > DOCUMENT_MAX) throw new LimitError(`the length of ${document.path}`, DOCUMENT_MAX, document.text.length, 'Split it or leave it out.')
    builder.add(sentencesOf(document))
    await setImmediate()
  }
  return builder.index
}

function digestOf(documents: readonly Document[]): string {
  const hash = createHash('sha256')
  for (const { path, text } of documents) hash.update(`${String(path.length)}:${String(text.length)}:`).update(path, 'utf16le').update(text, 'utf16le')
  return hash.digest('base64')
}

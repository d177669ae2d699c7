/** The documents of a run, read again where they are needed, and only if they are still what they were when it began. */
import { join } from 'node:path'
import { excerptAround, indexDocuments, searchPassages, questionTerms, type Document, type Passage, type PassageIndex, type QuestionTerm } from '../../adapters/offline/index.js'
import { ConfigError } from '../../errors.js'
import { packedFile, readText, unpackFiles, type InputFile, type PackedFiles, type SkippedFile } from './inputs.js'

/** What a run works on. JSON. */
export interface Material {
  /** The working directory, absolute: paths are relative to it. */
  readonly root: string
  readonly files: PackedFiles
  readonly fileCount: number
  /** The first of those that were skipped. */
  readonly skipped: readonly SkippedFile[]
  readonly skippedCount: number
  /** Where the report goes: a file, relative to `root`, or an address. */
  readonly out: string
  /** Whether there was a file of that name when the run began. */
  readonly replaces: boolean
  readonly publish: string | null
  /** Full name of the model, `offline/extractive` or `anthropic/<id>`. */
  readonly model: string
  /** A model that is out of order is asked before it. */
  readonly isDrill?: true
}

/** What an agent that reads is given. */
export interface Reading {
  readonly passages: readonly Passage[]
  readonly terms: readonly QuestionTerm[]
}

const passagesMax = 40

export async function readingFor(material: Material, question: string): Promise<Reading> {
  const index = await indexOf(material)
  return { passages: searchPassages(index, question, passagesMax), terms: questionTerms(index, question) }
}

async function indexOf(material: Material): Promise<PassageIndex> {
  const documents: Document[] = []
  for (const file of unpackFiles(material.files)) documents.push({ path: file.path, text: await textOf(material, file) })
  return indexDocuments(documents)
}

/** @throws ConfigError if the file is not what it was when the run began */
async function textOf({ root }: Material, { path, digest }: InputFile): Promise<string> {
  const read = await readText(join(root, path))
  if ('reason' in read) throw new ConfigError(`${path} is ${read.reason} now; it was not when the run began. Put it back, or begin anew.`)
  if (read.digest !== digest) throw new ConfigError(`${path} has changed since the run began. Put it back, or begin anew.`)
  return read.text
}

/** What judging a sentence at that line needs of a file; line numbers stay true. null if the run has no such file. */
export async function sourceAround(material: Material, path: string, line: number): Promise<string | null> {
  const file = packedFile(material.files, path)
  return file ? excerptAround(await textOf(material, file), line) : null
}

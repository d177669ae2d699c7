/**
 * How calls of a model are kept in a file: a first line that says whose they are, then one line a call, as JSON. And how
 * two requests differ, place by place, so that a call that nothing answers can be told from the one that was meant.
 */
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { HoldfastError } from '../errors.js'
import { ModelError, type ModelRequest, type ModelResponse } from '../mesh/ports/model-client.js'

/** One place where a request is not what was recorded. */
export interface RequestDifference {
  /** Such as `messages[2].content`. */
  readonly path: string
  /** Undefined: it was not there. */
  readonly recorded: unknown
  /** Undefined: it is not there. */
  readonly actual: unknown
}

/**
 * A recording cannot be made, read or kept to. `reason`:
 *
 * - unexpected: nothing recorded answers the call; `differences` says where the nearest recorded one, on `line`, is another
 * - used-up: the call was recorded, on `line` last, but not as often
 * - unused: a recorded call, on `line`, was not made
 * - secret: what is to be recorded holds a key
 * - exists: there is a recording already
 * - unreadable: the file is none, or `line` of it is no call
 */
export class RecordingError extends HoldfastError {
  readonly reason: 'unexpected' | 'used-up' | 'unused' | 'secret' | 'exists' | 'unreadable'
  /** Counted from 1, as editors do. */
  readonly line: number | undefined
  readonly differences: readonly RequestDifference[]
  constructor(reason: RecordingError['reason'], message: string, at: { readonly line?: number; readonly differences?: readonly RequestDifference[] } = {}) {
    super('RECORDING', message)
    this.reason = reason
    this.line = at.line
    this.differences = at.differences ?? []
  }
}

const usage = z.object({ inputTokens: z.int(), outputTokens: z.int(), cacheReadTokens: z.int(), cacheWriteTokens: z.int() })
const header = z.object({ recording: z.literal(1), provider: z.string().min(1) })
const call = z.object({
  request: z.looseObject({ model: z.string(), messages: z.array(z.looseObject({ role: z.string(), content: z.string() })), maxTokens: z.number(), task: z.looseObject({ agent: z.string() }) }),
  response: z.looseObject({ text: z.string(), stopReason: z.enum(['end', 'length', 'refusal', 'tools']), usage, model: z.string() }).optional(),
  failure: z.object({ kind: z.string(), message: z.string(), retryable: z.boolean(), retryAfterMs: z.number().optional(), usage: usage.optional(), isUsageFinal: z.boolean() }).optional(),
})

export interface RecordedCall {
  readonly line: number
  readonly request: ModelRequest
  /** What it came to. */
  readonly end: ModelResponse | ModelError
}

export function encodeHeader(provider: string): string {
  return `${JSON.stringify({ recording: 1, provider })}\n`
}

export function encodeCall(request: ModelRequest, end: ModelResponse | ModelError): string {
  if (!(end instanceof ModelError)) return `${JSON.stringify({ request, response: end })}\n`
  const { kind, message, retryable, retryAfterMs, usage, isUsageFinal } = end
  return `${JSON.stringify({ request, failure: { kind, message, retryable, retryAfterMs, usage, isUsageFinal } })}\n`
}

/** @throws RecordingError for a file that is no recording */
export function readRecording(file: string): { readonly provider: string; readonly calls: readonly RecordedCall[] } {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new RecordingError('unreadable', `${file} cannot be read (${(error as { code?: string }).code ?? 'unknown'}). Record it: recordModel(client, { file }).`)
  }
  const [first = '', ...lines] = text.split('\n')
  const provider = header.safeParse(parse(first)).data?.provider
  if (provider === undefined) throw new RecordingError('unreadable', `${file} is no recording that this version can read: its first line is not {"recording":1,"provider":…}. Record it anew.`, { line: 1 })
  const calls = lines.flatMap((content, i) => {
    if (content.trim() === '') return []
    const line = i + 2
    const parsed = call.safeParse(parse(content)).data
    const end = parsed?.response ?? parsed?.failure
    if (!parsed || !end) throw new RecordingError('unreadable', `Line ${line} of ${file} is no recorded call. Record it anew, or take the line out.`, { line })
    return [{ line, request: parsed.request as unknown as ModelRequest, end: 'text' in end ? (end as ModelResponse) : failureOf(end as NonNullable<z.infer<typeof call>['failure']>) }]
  })
  return { provider, calls }
}

function failureOf({ kind, message, ...rest }: NonNullable<z.infer<typeof call>['failure']>): ModelError {
  return new ModelError(kind as ModelError['kind'], message, Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined)) as unknown as ConstructorParameters<typeof ModelError>[2])
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** All places where two values of JSON differ, each as deep as it goes; undefined counts as absent. */
export function differencesOf(recorded: unknown, actual: unknown, path = ''): RequestDifference[] {
  if (Object.is(recorded, actual)) return []
  if (isContainer(recorded) && isContainer(actual) && Array.isArray(recorded) === Array.isArray(actual)) {
    const keys = [...new Set([...Object.keys(recorded), ...Object.keys(actual)])]
    const within = (key: string): string => (Array.isArray(recorded) ? `${path}[${key}]` : path === '' ? key : `${path}.${key}`)
    return keys.flatMap((key) => differencesOf((recorded as Record<string, unknown>)[key], (actual as Record<string, unknown>)[key], within(key)))
  }
  return [{ path, recorded, actual }]
}

const isContainer = (value: unknown): value is object => typeof value === 'object' && value !== null

/** How far apart two requests are: the characters between what they have in common, over all differences. */
export function distanceOf(differences: readonly RequestDifference[]): number {
  return differences.reduce((sum, { recorded, actual }) => {
    const [a, b] = [textOf(recorded), textOf(actual)]
    const { before, after } = commonEnds(a, b)
    return sum + 1 + Math.max(a.length, b.length) - before - after
  }, 0)
}

/** For people: `messages[0].content: recorded "… the old word", got "… the new word" (from character 31)`. */
export function describeDifference({ path, recorded, actual }: RequestDifference): string {
  if (typeof recorded !== 'string' || typeof actual !== 'string') return `${path}: recorded ${shown(recorded)}, got ${shown(actual)}`
  const { before } = commonEnds(recorded, actual)
  const part = (text: string): string => JSON.stringify(`${before > 20 ? '…' : ''}${text.slice(Math.max(0, before - 20), before + 40)}${text.length > before + 40 ? '…' : ''}`)
  return `${path}: recorded ${part(recorded)}, got ${part(actual)}${before > 0 ? ` (from character ${before + 1})` : ''}`
}

function shown(value: unknown): string {
  if (value === undefined) return 'nothing'
  const text = JSON.stringify(value)
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : value === undefined ? '' : JSON.stringify(value)
}

function commonEnds(a: string, b: string): { readonly before: number; readonly after: number } {
  const shorter = Math.min(a.length, b.length)
  let before = 0
  while (before < shorter && a[before] === b[before]) before++
  let after = 0
  while (after < shorter - before && a[a.length - 1 - after] === b[b.length - 1 - after]) after++
  return { before, after }
}

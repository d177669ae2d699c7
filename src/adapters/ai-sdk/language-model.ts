/**
 * What is used of the AI SDK's `LanguageModelV3` and `LanguageModelV4`, by shape: every provider package of either is
 * accepted, none is depended on. What comes from them is read by the schemas here, since a shape is only a promise.
 */
import { z } from 'zod'
import { objectOf, type ModelMessage, type ModelRequest } from '../../mesh/ports/model-client.js'

/** Gives models by their ids, as `createAnthropic()`, `createOpenAI()` and every other provider of the AI SDK does. */
export interface AiSdkProvider {
  languageModel(id: string): AiSdkLanguageModel
}

export interface AiSdkLanguageModel {
  /** `v3` (ai 6) or `v4` (ai 7). */
  readonly specificationVersion: string
  doGenerate(call: AiSdkCall): PromiseLike<unknown>
  doStream(call: AiSdkCall): PromiseLike<{
    readonly stream: { getReader(): { read(): PromiseLike<{ readonly done: boolean; readonly value?: unknown }>; cancel(): PromiseLike<void> } }
    readonly response?: { readonly headers?: Readonly<Record<string, string>> }
  }>
}

/** What a model is called with. */
export interface AiSdkCall {
  readonly prompt: (
    | { role: 'system'; content: string }
    | { role: 'user'; content: { type: 'text'; text: string }[] }
    | { role: 'assistant'; content: ({ type: 'text'; text: string } | { type: 'tool-call'; toolCallId: string; toolName: string; input: unknown })[] }
    | { role: 'tool'; content: { type: 'tool-result'; toolCallId: string; toolName: string; output: { type: 'text' | 'error-text'; value: string } }[] }
  )[]
  readonly tools?: { readonly type: 'function'; readonly name: string; readonly description: string; readonly inputSchema: Record<string, unknown> }[]
  readonly toolChoice?: { readonly type: 'auto' }
  readonly maxOutputTokens: number
  readonly responseFormat?: { readonly type: 'json'; readonly schema: Record<string, unknown>; readonly name: string }
  readonly abortSignal: AbortSignal
}

/** @param isSchemaSaid whether the schema goes into the prompt instead */
export function callOf({ system = '', messages, maxTokens, schema, tools = [] }: ModelRequest, abortSignal: AbortSignal, isSchemaSaid: boolean): AiSdkCall {
  const said = schema && isSchemaSaid ? `Answer with one JSON value and nothing around it. It must fit this JSON Schema:\n${JSON.stringify(schema)}` : ''
  const instructions = [system, said].filter((part) => part.trim() !== '').join('\n\n')
  return {
    prompt: [...(instructions === '' ? [] : [{ role: 'system' as const, content: instructions }]), ...messages.flatMap(promptOf)],
    maxOutputTokens: maxTokens,
    ...(schema && !isSchemaSaid ? { responseFormat: { type: 'json', schema: { ...schema }, name: 'answer' } } : {}),
    ...(tools.length === 0 ? {} : { tools: tools.map(({ name, description, inputSchema }) => ({ type: 'function' as const, name, description, inputSchema: { ...inputSchema } })), toolChoice: { type: 'auto' as const } }),
    abortSignal,
  }
}

function promptOf({ role, content, toolCalls = [], toolResults = [] }: ModelMessage): AiSdkCall['prompt'] {
  const text = { type: 'text' as const, text: content }
  if (toolCalls.length === 0 && toolResults.length === 0) return [{ role, content: [text] }]
  const said = content === '' ? [] : [text]
  if (role === 'assistant') return [{ role, content: [...said, ...toolCalls.map((call) => ({ type: 'tool-call' as const, toolCallId: call.id, toolName: call.name, input: objectOf(call) }))] }]
  return [
    { role: 'tool', content: toolResults.map(({ id, name, text: value, isError }) => ({ type: 'tool-result' as const, toolCallId: id, toolName: name, output: { type: isError ? ('error-text' as const) : ('text' as const), value } })) },
    ...(said.length === 0 ? [] : [{ role, content: said }]),
  ]
}

/** A count, or undefined for what was not said or is none. */
const count = z.int().nonnegative().optional().catch(undefined)
const finishReason = z.object({ unified: z.string(), raw: z.string().optional().catch(undefined) })
export type FinishReason = z.infer<typeof finishReason>
const usage = z.object({
  inputTokens: z.object({ total: count, noCache: count, cacheRead: count, cacheWrite: count }),
  outputTokens: z.object({ total: count, text: count, reasoning: count }),
})
export type AiSdkUsage = z.infer<typeof usage>
const warnings = z.array(z.looseObject({ type: z.string(), feature: z.string().optional() }))
const idOrNone = z.string().optional().catch(undefined)

/** The parts of a stream that matter here; others are skipped. */
const part = z.discriminatedUnion('type', [
  z.object({ type: z.literal('stream-start'), warnings: warnings.catch([]) }),
  z.object({ type: z.literal('response-metadata'), id: idOrNone, modelId: idOrNone }),
  z.object({ type: z.literal('text-delta'), delta: z.string() }),
  z.object({ type: z.literal('tool-call'), toolName: z.string(), input: z.string(), providerExecuted: z.boolean().optional() }),
  z.object({ type: z.literal('finish'), usage, finishReason }),
  z.object({ type: z.literal('error'), error: z.unknown() }),
])
export type Part = z.infer<typeof part>
const known: ReadonlySet<unknown> = new Set(part.options.map((option) => option.shape.type.value))

const result = z.object({
  content: z.array(z.looseObject({ type: z.string(), text: z.string().optional() })),
  structuredOutputText: z.string().optional(),
  finishReason,
  usage,
  warnings: warnings.optional().catch([]),
  response: z.object({ id: idOrNone, modelId: idOrNone, headers: z.record(z.string(), z.string()).optional().catch(undefined) }).optional().catch(undefined),
})

/**
 * One part of a stream; undefined for one that is not looked at.
 *
 * @throws ShapeError for one that has another form than its type has
 */
export function partOf(value: unknown): Part | undefined {
  if (!known.has((value as { readonly type?: unknown } | null)?.type)) return undefined
  const parsed = part.safeParse(value)
  if (!parsed.success) throw new ShapeError()
  return parsed.data
}

/** An answer that came whole, as the parts it would have come in. @throws ShapeError */
export function partsOf(value: unknown): { readonly parts: readonly Part[]; readonly headers: Readonly<Record<string, string>> | undefined } {
  const parsed = result.safeParse(value)
  if (!parsed.success) throw new ShapeError()
  const { content, structuredOutputText, response, usage, finishReason, warnings = [] } = parsed.data
  const texts = structuredOutputText === undefined ? content.flatMap(({ type, text }) => (type === 'text' && text !== undefined ? [text] : [])) : [structuredOutputText]
  const parts: Part[] = [{ type: 'stream-start', warnings }, { type: 'response-metadata', id: response?.id, modelId: response?.modelId }, ...texts.map((delta) => ({ type: 'text-delta' as const, delta })), ...content.flatMap((one) => (one.type === 'tool-call' ? [partOf(one)!] : [])), { type: 'finish', usage, finishReason }]
  return { parts, headers: response?.headers }
}

/** What came is not what the specification says. */
export class ShapeError extends Error {}

/**
 * From a request of the port to the body the API takes. Sampling parameters are never sent: the API of 2026-10-21 refuses
 * them.
 */
import { jsonSchemaOutputFormat } from '@anthropic-ai/sdk/helpers/json-schema'
import type { MessageCountTokensParams, MessageCreateParamsStreaming, MessageParam, TextBlockParam, ToolResultBlockParam, ToolUseBlockParam } from '@anthropic-ai/sdk/resources/messages'
import { objectOf, type ModelMessage, type ModelRequest } from '../../mesh/ports/model-client.js'
import { invalidRequest } from './failures.js'

// In every Node that we run on, but not yet in the library that TypeScript is told of.
const { isWellFormed } = String.prototype as unknown as { isWellFormed(this: string): boolean }

/** What of a prompt is marked for the provider's cache. */
export interface Cached {
  readonly system: boolean
  readonly messages: boolean
}

/** What a model is asked, without how long it may answer. */
export type PromptOfRequest = Pick<ModelRequest, 'model' | 'system' | 'messages' | 'schema' | 'tools'>

/**
 * @throws ModelError of kind `invalid-request`, before anything is sent, for a text that the API's JSON cannot hold and a
 * schema that its structured output cannot keep
 */
export function encodeRequest(request: ModelRequest, cached: Cached): MessageCreateParamsStreaming {
  return { ...encodePrompt(request, cached), max_tokens: request.maxTokens, stream: true }
}

/** @throws ModelError as {@link encodeRequest} */
export function encodePrompt({ model, system = '', messages, schema, tools = [] }: PromptOfRequest, cached: Cached): MessageCountTokensParams {
  refuseHalfCharacters(system, 'system')
  messages.forEach((message, index) => {
    refuseHalfCharacters(message.content, `messages[${index}].content`)
    message.toolCalls?.forEach((call) => refuseHalfCharacters(call.arguments, `messages[${index}].toolCalls`))
    message.toolResults?.forEach(({ text }) => refuseHalfCharacters(text, `messages[${index}].toolResults`))
  })
  for (const { description } of tools) refuseHalfCharacters(description, 'tools')
  return {
    model,
    // The API refuses blocks that are blank.
    ...(system.trim() === '' ? {} : { system: [{ type: 'text', text: system, ...(cached.system ? mark : {}) }] }),
    ...(tools.length === 0 ? {} : { tools: tools.map(({ name, description, inputSchema }) => ({ name, description, input_schema: { ...inputSchema, type: 'object' as const } })) }),
    messages: messages.map((message, index): MessageParam => {
      const { role, content } = message
      // A prompt is cached up to a mark: one at its end covers all of it, and the next prompt that begins with it.
      const isMarked = cached.messages && index === messages.length - 1
      const blocks = blocksOf(message)
      if (blocks.length > 0) return { role, content: isMarked ? [...blocks.slice(0, -1), { ...blocks.at(-1)!, ...mark }] : blocks }
      return { role, content: isMarked && content.trim() !== '' ? [{ type: 'text', text: content, ...mark }] : content }
    }),
    ...(schema ? { output_config: { format: { type: 'json_schema', schema: encodeSchema(schema) } } } : {}),
  }
}

/** Of a message with tool calls or results; none: it is a text alone. The API wants results first, and no blank text. */
function blocksOf({ content, toolCalls = [], toolResults = [] }: ModelMessage): (TextBlockParam | ToolUseBlockParam | ToolResultBlockParam)[] {
  if (toolCalls.length === 0 && toolResults.length === 0) return []
  return [
    ...toolResults.map(({ id, text, isError }): ToolResultBlockParam => ({ type: 'tool_result', tool_use_id: id, ...(text === '' ? {} : { content: text }), ...(isError ? { is_error: true } : {}) })),
    ...(content.trim() === '' ? [] : [{ type: 'text' as const, text: content }]),
    ...toolCalls.map((call): ToolUseBlockParam => ({ type: 'tool_use', id: call.id, name: call.name, input: objectOf(call) })),
  ]
}

const mark = { cache_control: { type: 'ephemeral' as const } }

/** Half of a surrogate pair is no character, has no UTF-8, and the API answers 400 to its JSON escape. */
function refuseHalfCharacters(text: string, where: string): void {
  if (isWellFormed.call(text)) return
  throw invalidRequest(`${where} holds a surrogate without its other half, which is no character. Remove it, or replace it with text.toWellFormed()`)
}

/**
 * The API takes a part of JSON Schema. What it does not know (bounds, patterns) becomes part of the description, as in
 * the SDK's own helpers; the agent's own schema judges the answer afterwards.
 */
function encodeSchema(schema: Readonly<Record<string, unknown>>): Record<string, unknown> {
  let encoded: Record<string, unknown>
  try {
    // The SDK's function takes objects only, and what it is built on is no part of the SDK's interface: so the schema is one key of an object.
    const wrapped = jsonSchemaOutputFormat({ type: 'object', properties: { answer: schema } } as { type: 'object' })
    encoded = (wrapped.schema['properties'] as { readonly answer: Record<string, unknown> }).answer
  } catch {
    throw invalidRequest('its schema cannot be encoded: each part must be JSON and have a type, enum, const, anyOf, oneOf or allOf')
  }
  const open = findOpenObject(schema, 'schema')
  if (open) throw invalidRequest(`${open} is an object of any keys, which structured output cannot give: every key must be named. Use a list of { key, value } instead`)
  return encoded
}

/** An object that names no key would be closed by the encoding, and only `{}` would fit it. */
function findOpenObject(part: unknown, path: string): string | undefined {
  if (typeof part !== 'object' || part === null) return undefined
  const { type, properties, additionalProperties } = part as Readonly<Record<string, unknown>>
  const named = typeof properties === 'object' && properties !== null && Object.keys(properties).length > 0
  if (type === 'object' && !named && additionalProperties !== false) return path
  for (const [key, value] of Object.entries(part)) {
    if (key === 'const' || key === 'enum' || key === 'default' || key === 'examples') continue
    const found = findOpenObject(value, `${path}.${key}`)
    if (found) return found
  }
  return undefined
}

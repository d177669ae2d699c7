/**
 * A model that is no language model: each agent's work is done by a function over text, the same every time, without a key and without
 * a network. It answers only agents it has a skill for and never pretends to understand a prompt.
 */
import { setImmediate } from 'node:timers/promises'
import { ModelError, type ModelClient, type ModelRequest, type ModelResponse, type ModelTool, type ModelToolCall, type ModelToolResult } from '../../mesh/ports/model-client.js'

/**
 * Does an agent's work: from the task, as the agent was given it and what it gathered, to a JSON value or a promise of one; or to
 * {@link askFor}, and then again with what came of the tools. It throws if the input is not what it takes.
 */
export type Skill = (task: ModelRequest['task'], said: { readonly tools: readonly ModelTool[]; readonly results: readonly ModelToolResult[] }) => unknown

class Asked {
  readonly calls: readonly { readonly name: string; readonly input: unknown }[]
  constructor(calls: Asked['calls']) {
    this.calls = calls
  }
}

/** What a skill gives to have tools run before it answers. */
export function askFor(...calls: readonly { readonly name: string; readonly input: unknown }[]): unknown {
  return new Asked(calls)
}

export interface OfflineModelOptions {
  /** By agent name. */
  readonly skills: Readonly<Record<string, Skill>>
}

const TOKEN = /[\p{L}\p{M}\p{N}]+|[^\p{L}\p{M}\p{N}\s]/gu

/** A `ModelClient` with the provider name `offline`. Nothing is random: the same request gives the same bytes. */
export function offlineModel({ skills }: OfflineModelOptions): ModelClient {
  const known = new Map(Object.entries(skills))
  return {
    provider: 'offline',
    isLocal: true,
    async complete(request, { signal }) {
      const skill = known.get(request.task.agent)
      if (skill === undefined) {
        throw new ModelError('invalid-request', `The offline model has no skill for the agent ${JSON.stringify(request.task.agent)}; it knows ${[...known.keys()].join(', ') || 'none'}.`, { retryable: false })
      }
      // Lets other work of the process, an abort among it, go first: a skill holds the thread while it runs.
      await setImmediate()
      if (signal.aborted) throw abortion()
      return response(request, await settled(() => skill(request.task, { tools: request.tools ?? [], results: request.messages.flatMap(({ toolResults = [] }) => toolResults) }), request.task.agent, signal))
    },
  }
}

/**
 * Tokens of a text, counted cheaply: one for each run of letters or digits and one for each other visible character. Close to the
 * tokens of a word-piece vocabulary for English; not what any provider would bill.
 */
export function countTokens(text: string): number {
  let count = 0
  for (const _ of text.matchAll(TOKEN)) count++
  return count
}

async function settled(work: () => unknown, agent: string, signal: AbortSignal): Promise<unknown> {
  let stop: (() => void) | undefined
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(abortion())
    signal.addEventListener('abort', stop, { once: true })
  })
  try {
    return await Promise.race([Promise.resolve().then(work), aborted])
  } catch (error) {
    if (error instanceof ModelError) throw error
    throw new ModelError('invalid-request', `The offline skill of the agent ${JSON.stringify(agent)} could not work with its input: ${error instanceof Error ? error.message : String(error)}`, { retryable: false, cause: error })
  } finally {
    if (stop !== undefined) signal.removeEventListener('abort', stop)
  }
}

function response(request: ModelRequest, result: unknown): ModelResponse {
  const toolCalls = result instanceof Asked ? result.calls.map(({ name, input }, i): ModelToolCall => ({ id: `call_${i + 1}`, name, arguments: JSON.stringify(input) })) : []
  const text: string | undefined = JSON.stringify(result instanceof Asked ? result.calls : result)
  if (text === undefined) throw new ModelError('malformed', `The offline skill of the agent ${JSON.stringify(request.task.agent)} gave no JSON value.`, { retryable: false })
  const inputTokens = [request.system ?? '', ...request.messages.flatMap(({ content, toolCalls: asked = [], toolResults = [] }) => [content, ...asked.map((call) => call.arguments), ...toolResults.map((told) => told.text)])].reduce((sum, part) => sum + countTokens(part), 0)
  const needed = countTokens(text)
  const whole = needed <= request.maxTokens
  const usage = { inputTokens, outputTokens: whole ? needed : request.maxTokens, cacheReadTokens: 0, cacheWriteTokens: 0 }
  // Longer than the caller allowed, and paid for: cut off, as a provider would, and not to be read.
  if (!whole) return { text: firstTokens(text, request.maxTokens), stopReason: 'length', usage, model: request.model }
  if (toolCalls.length > 0) return { text: '', toolCalls, stopReason: 'tools', usage, model: request.model }
  return { text, parsed: JSON.parse(text) as unknown, stopReason: 'end', usage, model: request.model }
}

function firstTokens(text: string, max: number): string {
  let count = 0
  for (const token of text.matchAll(TOKEN)) if (++count > max) return text.slice(0, token.index)
  return text
}

function abortion(): ModelError {
  return new ModelError('aborted', 'The caller gave up before the offline model had answered.', { retryable: false })
}

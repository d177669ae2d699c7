/**
 * The model port: one attempt at one completion. Retries, fallbacks, prices and limits are the mesh's; an adapter turns
 * one request into one call and every way a call can end into a typed answer.
 */

export interface ModelMessage {
  readonly role: 'user' | 'assistant'
  /** May be empty beside calls or results. */
  readonly content: string
  /** Of an assistant: tools that it asked for. The message after it gives their results. */
  readonly toolCalls?: readonly ModelToolCall[]
  /** Of a user: what came of the calls of the message before, each once. */
  readonly toolResults?: readonly ModelToolResult[]
}

/** A tool that a model may ask for. */
export interface ModelTool {
  /** `[A-Za-z0-9_-]`, 1 to 64 characters. */
  readonly name: string
  readonly description: string
  /** JSON Schema of its arguments, of type object. */
  readonly inputSchema: Readonly<Record<string, unknown>>
}

export interface ModelToolCall {
  /** Unique in its prompt, `[A-Za-z0-9_-]`, 1 to 64 characters. */
  readonly id: string
  readonly name: string
  /** JSON of an object as the model wrote it, not checked against anything: it need not be JSON. */
  readonly arguments: string
}

export interface ModelToolResult {
  /** Of the call. */
  readonly id: string
  readonly name: string
  readonly text: string
  /** It was refused or failed; `text` says why. */
  readonly isError: boolean
}

export interface ModelRequest {
  /** The provider's id of the model. */
  readonly model: string
  readonly system?: string
  readonly messages: readonly ModelMessage[]
  /** Bound of the completion, in tokens. */
  readonly maxTokens: number
  /** JSON Schema that the answer must fit, if structured output is wanted. */
  readonly schema?: Readonly<Record<string, unknown>>
  /** Tools that it may ask for instead of answering. Nothing runs them but whoever asked. */
  readonly tools?: readonly ModelTool[]
  /** The agent that asks and what it was given: what a model that is no LLM works from. */
  readonly task: { readonly agent: string; readonly input: unknown; readonly gathered?: unknown }
}

/** Tokens of one attempt, as the provider counts them. All whole numbers. */
export interface ModelUsage {
  /** Prompt tokens that were neither read from nor written to a cache. */
  readonly inputTokens: number
  readonly outputTokens: number
  readonly cacheReadTokens: number
  readonly cacheWriteTokens: number
}

export interface ModelResponse {
  /** The completion as it came. */
  readonly text: string
  /** The answer read as JSON, if a schema was asked for and the text is JSON; not yet checked against the agent's own schema. */
  readonly parsed?: unknown
  /** Tools that it asks for, if it stopped for that, in its order. Their ids are its own. */
  readonly toolCalls?: readonly ModelToolCall[]
  /** end: it said all it wanted. length: it was cut off at `maxTokens` and must not be read as whole, nor its tools be called. refusal: it declined. tools: it waits for the results of `toolCalls`. */
  readonly stopReason: 'end' | 'length' | 'refusal' | 'tools'
  /** What the provider did not say is the most that it can have been. */
  readonly usage: ModelUsage
  /** The model that answered, as the provider names it. */
  readonly model: string
  /** The provider's id of the call, if it gives one. */
  readonly requestId?: string
}

export type ModelFailureKind =
  /** The request is wrong and will be wrong again (400, 413 …). */
  | 'invalid-request'
  /** The key is missing, wrong or may not do this (401, 403). */
  | 'authentication'
  /** The account cannot pay (402). */
  | 'payment'
  /** Too many requests or tokens (429). */
  | 'rate-limit'
  /** The provider is overloaded (529, also inside a stream). */
  | 'overloaded'
  /** The provider failed (5xx). */
  | 'server'
  /** No answer, a cut connection, a timeout of ours. */
  | 'connection'
  /** The answer could not be read. */
  | 'malformed'
  /** The caller gave up. */
  | 'aborted'

/** One attempt that brought no completion. Holds no key and no prompt. */
export class ModelError extends Error {
  readonly code = 'MODEL'
  readonly kind: ModelFailureKind
  /** Whether the same request may succeed later. */
  readonly retryable: boolean
  /** When the provider says to try again, ms from now. */
  readonly retryAfterMs: number | undefined
  /** What was used up all the same, if the provider said: at least that. */
  readonly usage: ModelUsage | undefined
  /** Whether `usage` is all of it. A provider that was cut off has counted the prompt, but not yet the completion: up to `maxTokens` may have been used. */
  readonly isUsageFinal: boolean
  constructor(kind: ModelFailureKind, message: string, options: { retryable: boolean; retryAfterMs?: number; usage?: ModelUsage; isUsageFinal?: boolean; cause?: unknown }) {
    super(message, { cause: options.cause })
    this.name = 'ModelError'
    this.kind = kind
    this.retryable = options.retryable
    this.retryAfterMs = options.retryAfterMs
    this.usage = options.usage
    this.isUsageFinal = options.isUsageFinal ?? false
  }
}

export interface CompleteOptions {
  /** Aborts when nobody wants the answer any more; the request is then given up, down to its connection. */
  readonly signal: AbortSignal
  readonly idempotencyKey: string
  /**
   * Is told the text of the answer as it is read, piece by piece: together they are the beginning of its `text`. A client that reads
   * it whole tells nothing. Returns at once and does not throw; absent: nobody watches.
   */
  readonly onText?: (delta: string) => void
}

export interface ModelClient {
  /** `anthropic`, `offline` …; part of a model's full name `provider/model`. */
  readonly provider: string
  /** It answers in this process: nobody else is spared by limits, so policies apply only as far as they are named. Default false. */
  readonly isLocal?: boolean
  /**
   * One attempt.
   *
   * @throws ModelError for every way in which a call can fail
   */
  complete(request: ModelRequest, options: CompleteOptions): Promise<ModelResponse>
}

/** The arguments of a tool call, for a provider that takes them as an object; without any where they are none. */
export function objectOf({ arguments: given }: Pick<ModelToolCall, 'arguments'>): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(given)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Readonly<Record<string, unknown>>) : {}
  } catch {
    return {}
  }
}

/**
 * Puts the parts of one answer together, and knows at any moment how far it has come and what is known of its cost.
 * What the provider does not count is taken for the most it can have been, so that no ledger is charged too little.
 */
import { ModelError, type ModelRequest, type ModelResponse, type ModelToolCall, type ModelUsage } from '../../mesh/ports/model-client.js'
import type { AiSdkUsage, FinishReason, Part } from './language-model.js'

// In every Node that we run on, but not yet in the library that TypeScript is told of.
const { toWellFormed } = String.prototype as unknown as { toWellFormed(this: string): string }

export class Answer {
  readonly request: ModelRequest
  readonly provider: string
  headers: Headers | undefined
  /** The first failure that the stream told of. */
  failure: { readonly error: unknown } | undefined
  private readonly bytesMax: number
  private readonly parts: string[] = []
  private readonly calls: ModelToolCall[] = []
  private bytes = 0
  private model: string
  private id: string | undefined
  private readonly onText: ((delta: string) => void) | undefined
  private end: { readonly reason: FinishReason; readonly usage: AiSdkUsage } | undefined

  /** @param onText is told the text as it is read */
  constructor(request: ModelRequest, provider: string, bytesMax: number, onText?: (delta: string) => void) {
    this.onText = onText
    this.request = request
    this.provider = provider
    this.model = request.model
    this.bytesMax = bytesMax
  }

  /** Whether its end has been told; more may come all the same. */
  get isFinished(): boolean {
    return this.end !== undefined
  }

  /** How far the answer has come, to follow "the connection failed ". */
  get progress(): string {
    if (this.end) return 'after the answer'
    return this.parts.length > 0 || this.calls.length > 0 ? 'in the middle of the answer' : 'before an answer began'
  }

  /** What is known to have been used. */
  get used(): { readonly usage?: ModelUsage; readonly isUsageFinal: boolean } {
    const usage = this.end?.usage
    const isCounted = usage !== undefined && inputOf(usage) !== undefined && outputOf(usage) !== undefined
    return isCounted ? { usage: this.charged(usage), isUsageFinal: true } : { isUsageFinal: false }
  }

  /** The provider's id of the call, unless it is no id. */
  get requestId(): string | undefined {
    const id = this.headers?.get('request-id') ?? this.headers?.get('x-request-id') ?? this.id
    return id !== undefined && /^[\w.:-]{1,128}$/.test(id) ? id : undefined
  }

  /** @throws ModelError if the answer is not wanted any more */
  take(part: Part): void {
    switch (part.type) {
      case 'stream-start':
        if (this.request.schema && part.warnings.some(({ type, feature }) => type === 'unsupported' && feature === 'responseFormat')) throw this.schemaRefused()
        return
      case 'response-metadata':
        this.id = part.id ?? this.id
        this.model = part.modelId ?? this.model
        return
      case 'text-delta':
        this.count(part.delta)
        if (part.delta === '') return
        this.parts.push(part.delta)
        this.onText?.(part.delta)
        return
      case 'tool-call':
        // What the provider runs itself is none of ours.
        if (part.providerExecuted === true) return
        this.count(part.input)
        this.calls.push({ id: `call_${this.calls.length + 1}`, name: part.toolName, arguments: toWellFormed.call(part.input) })
        return
      case 'finish':
        this.end = { reason: part.finishReason, usage: part.usage }
        return
      case 'error':
        this.failure ??= { error: part.error }
    }
  }

  private count(text: string): void {
    this.bytes += Buffer.byteLength(text)
    if (this.bytes > this.bytesMax) throw this.malformed(`the answer is longer than ${this.bytesMax} bytes`, false)
  }

  /** @throws ModelError for an end that is none of an answer */
  response(): ModelResponse {
    const { requestId } = this
    const stopReason = this.stopReason()
    const text = toWellFormed.call(this.parts.join(''))
    const parsed = this.request.schema && stopReason === 'end' ? parse(text) : undefined
    return { text, ...(stopReason === 'tools' ? { toolCalls: this.calls } : {}), ...(parsed === undefined ? {} : { parsed }), stopReason, usage: this.charged(this.end!.usage), model: this.model, ...(requestId === undefined ? {} : { requestId }) }
  }

  malformed(why: string, retryable: boolean): ModelError {
    return this.error('malformed', `The answer of ${this.provider} cannot be read: ${why}`, retryable)
  }

  private stopReason(): ModelResponse['stopReason'] {
    const { unified, raw } = this.end!.reason
    switch (unified) {
      case 'stop':
        return 'end'
      case 'length':
        return 'length'
      case 'content-filter':
        return 'refusal'
      case 'tool-calls':
        if (this.request.tools && this.calls.length > 0) return 'tools'
        throw this.malformed('it stopped for a tool, and asked for none that it was given', false)
      case 'error':
        throw this.error('server', `${this.provider} failed ${this.parts.length > 0 ? 'in the middle of the answer' : 'before an answer began'}`, true)
      case 'interrupted':
        throw this.cut()
      default:
        // An end for which the provider gave no reason of its own is none: the stream was cut.
        if (raw === undefined) throw this.cut()
        throw this.malformed('it stopped for a reason that this version does not know', false)
    }
  }

  private cut(): ModelError {
    return this.error('connection', `The connection to ${this.provider} failed ${this.parts.length > 0 ? 'in the middle of the answer' : 'before an answer began'}`, true)
  }

  private schemaRefused(): ModelError {
    return this.error('invalid-request', `${this.provider} does not pass a JSON Schema on to ${this.request.model}, so the model would not know what to answer. Turn structured output on in the provider (supportsStructuredOutputs), or say aiSdk(…, { schema: 'prompt' })`, false)
  }

  private error(kind: ModelError['kind'], message: string, retryable: boolean): ModelError {
    const { requestId } = this
    return new ModelError(kind, `${message}${requestId ? ` (request ${requestId})` : ''}`, { retryable, ...this.used })
  }

  private charged(usage: AiSdkUsage): ModelUsage {
    const { request } = this
    // A token is at least one byte.
    const inputTokens = inputOf(usage) ?? Buffer.byteLength(JSON.stringify([request.system ?? '', request.messages, request.schema ?? null, ...(request.tools ? [request.tools] : [])]))
    return { inputTokens, outputTokens: outputOf(usage) ?? request.maxTokens, cacheReadTokens: usage.inputTokens.cacheRead ?? 0, cacheWriteTokens: usage.inputTokens.cacheWrite ?? 0 }
  }
}

/** Tokens of the prompt outside the cache. */
function inputOf({ inputTokens: { total, noCache, cacheRead = 0, cacheWrite = 0 } }: AiSdkUsage): number | undefined {
  return noCache ?? (total === undefined ? undefined : Math.max(0, total - cacheRead - cacheWrite))
}

function outputOf({ outputTokens: { total, text, reasoning } }: AiSdkUsage): number | undefined {
  return total ?? (text === undefined ? undefined : text + (reasoning ?? 0))
}

/** Undefined if the text is not JSON; what that means, the mesh decides. */
function parse(text: string): unknown {
  try {
    // Escapes may write half a surrogate pair where the text itself holds none.
    return JSON.parse(text, (_, part: unknown) => (typeof part === 'string' ? toWellFormed.call(part) : part))
  } catch {
    return undefined
  }
}

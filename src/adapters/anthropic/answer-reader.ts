/**
 * Puts the events of one streamed answer together. It knows at any moment what was used up so far and how far the answer
 * has come, so that a failure can say both. What it does not know (pings, thinking, event types of later days) it skips;
 * what it knows and cannot read makes the whole answer `malformed`.
 */
import type { ServerSentEvent } from '@anthropic-ai/sdk/streaming'
import { z } from 'zod'
import type { ModelRequest, ModelResponse, ModelToolCall, ModelUsage } from '../../mesh/ports/model-client.js'
import { malformed, ProviderError, requestIdOf, type Attempt } from './failures.js'

// In every Node that we run on, but not yet in the library that TypeScript is told of.
const { toWellFormed } = String.prototype as unknown as { toWellFormed(this: string): string }

const tokens = z.int().nonnegative()

const AnyEvent = z.looseObject({ type: z.string() })
const MessageStart = z.object({
  message: z.object({
    model: z.string().min(1),
    usage: z.object({ input_tokens: tokens, output_tokens: tokens, cache_creation_input_tokens: tokens.nullish(), cache_read_input_tokens: tokens.nullish() }),
  }),
})
const BlockStart = z.object({ index: z.int().optional(), content_block: z.object({ type: z.string(), text: z.string().optional(), name: z.string().optional(), input: z.unknown().optional() }) })
const BlockDelta = z.object({ index: z.int().optional(), delta: z.object({ type: z.string(), text: z.string().optional(), partial_json: z.string().optional() }) })
const MessageDelta = z.object({
  delta: z.object({ stop_reason: z.string().nullish() }),
  usage: z.object({ output_tokens: tokens.nullish(), input_tokens: tokens.nullish(), cache_creation_input_tokens: tokens.nullish(), cache_read_input_tokens: tokens.nullish() }).nullish(),
})

export class AnswerReader implements Attempt {
  readonly request: ModelRequest
  /** Tokens so far: the prompt's are named first, the answer's last. */
  usage: ModelUsage | undefined
  requestId: string | undefined
  /** Whether the answer was read to its last word. */
  isWhole = false
  private readonly parts: string[] = []
  private readonly calls: { readonly index: number | undefined; readonly name: string; readonly input: unknown; readonly parts: string[] }[] = []
  private model = ''
  private stopReason: string | undefined
  /** Whether the tokens of the answer are counted to where it has come. */
  private isCounted = false

  private readonly onText: ((delta: string) => void) | undefined

  /** @param onText is told the text as it is read */
  constructor(request: ModelRequest, onText?: (delta: string) => void) {
    this.request = request
    this.onText = onText
  }

  get isUsageFinal(): boolean {
    return this.stopReason !== undefined && this.isCounted
  }

  /** How far the answer has come, to follow "the connection failed ". */
  get progress(): string {
    if (this.isWhole) return 'after the answer'
    if (this.parts.length > 0 || this.calls.length > 0) return 'in the middle of the answer'
    return this.usage ? 'before the first word of the answer' : 'before an answer began'
  }

  /** The response's headers have come. */
  begin(headers: Headers): void {
    this.requestId = requestIdOf(headers)
  }

  /**
   * @throws ProviderError for a failure that the provider reports within the stream
   * @throws ModelError of kind `malformed` for an event that cannot be read
   */
  take({ event, data }: ServerSentEvent): void {
    const parsed = AnyEvent.safeParse(parseJson(data))
    if (event === 'error' || parsed.data?.type === 'error') throw new ProviderError(undefined, parsed.data)
    // Comments and fields of no event come out as events without data.
    if (data === '' || event === 'ping') return
    if (!parsed.success) throw this.unreadable('an event is not JSON')

    switch (parsed.data.type) {
      case 'message_start': {
        const { message } = this.read(MessageStart, parsed.data)
        if (this.usage) throw this.unreadable('it begins twice')
        this.model = message.model
        this.usage = {
          inputTokens: message.usage.input_tokens,
          outputTokens: message.usage.output_tokens,
          cacheReadTokens: message.usage.cache_read_input_tokens ?? 0,
          cacheWriteTokens: message.usage.cache_creation_input_tokens ?? 0,
        }
        return
      }
      case 'content_block_start': {
        const { index, content_block: block } = this.read(BlockStart, parsed.data)
        if (block.type === 'text') this.append(block.text ?? '')
        if (block.type === 'tool_use') {
          this.begun()
          this.calls.push({ index, name: block.name ?? '', input: block.input, parts: [] })
        }
        return
      }
      case 'content_block_delta': {
        const { index, delta } = this.read(BlockDelta, parsed.data)
        if (delta.type === 'text_delta') this.append(delta.text ?? '')
        if (delta.type === 'input_json_delta') this.calls.findLast((call) => call.index === index)?.parts.push(delta.partial_json ?? '')
        return
      }
      case 'message_delta': {
        const { delta, usage } = this.read(MessageDelta, parsed.data)
        const before = this.begun()
        // The counts are those of the whole answer so far, not of this event.
        this.usage = {
          inputTokens: usage?.input_tokens ?? before.inputTokens,
          outputTokens: usage?.output_tokens ?? before.outputTokens,
          cacheReadTokens: usage?.cache_read_input_tokens ?? before.cacheReadTokens,
          cacheWriteTokens: usage?.cache_creation_input_tokens ?? before.cacheWriteTokens,
        }
        if (typeof usage?.output_tokens === 'number') this.isCounted = true
        else if (typeof delta.stop_reason === 'string') this.isCounted = false
        this.stopReason = delta.stop_reason ?? this.stopReason
        return
      }
      case 'message_stop':
        this.begun()
        if (this.stopReason === undefined) throw this.unreadable('it ends without a reason')
        this.isWhole = true
    }
  }

  /**
   * @throws CutError if the stream ended before the answer did
   * @throws ModelError of kind `malformed` if it stopped for something that was not asked for
   */
  response(): ModelResponse {
    if (!this.isWhole) throw new CutError()
    const stopReason = this.portStopReason()
    // Half a surrogate pair is no character, and no later prompt could carry it.
    const text = toWellFormed.call(this.parts.join(''))
    const parsed = this.request.schema && stopReason === 'end' ? parseAnswer(text) : undefined
    return {
      text,
      ...(stopReason === 'tools' ? { toolCalls: this.toolCalls() } : {}),
      ...(parsed === undefined ? {} : { parsed }),
      stopReason,
      usage: this.charged(),
      model: this.model,
      ...(this.requestId === undefined ? {} : { requestId: this.requestId }),
    }
  }

  private portStopReason(): ModelResponse['stopReason'] {
    if (this.stopReason === 'tool_use' && this.request.tools && this.calls.length > 0) return 'tools'
    switch (this.stopReason) {
      case 'end_turn':
      case 'stop_sequence':
        return 'end'
      case 'max_tokens':
      case 'model_context_window_exceeded':
        return 'length'
      case 'refusal':
        return 'refusal'
      default:
        // `tool_use` waits for tools, if none were given; `pause_turn` for those of the provider's, and none are sent. A reason of later days may mean anything.
        throw malformed('it stopped for a reason that was not asked for (a tool, a pause, or one this version does not know)', this, { retryable: false })
    }
  }

  /** Where nothing was streamed, some gateways give the whole at the beginning. */
  private toolCalls(): readonly ModelToolCall[] {
    return this.calls.map(({ name, input, parts }, i) => ({ id: `call_${i + 1}`, name, arguments: toWellFormed.call(parts.join('') || JSON.stringify(input ?? {})) }))
  }

  private append(text: string): void {
    this.begun()
    if (text === '') return
    this.parts.push(text)
    this.onText?.(text)
  }

  /** An answer that is whole is not asked for again only because nobody counted it: it took all that it may have taken. */
  private charged(): ModelUsage {
    const usage = this.begun()
    return this.isUsageFinal ? usage : { ...usage, outputTokens: Math.max(usage.outputTokens, this.request.maxTokens) }
  }

  private begun(): ModelUsage {
    if (!this.usage) throw this.unreadable('it does not begin with its beginning')
    return this.usage
  }

  private read<T>(schema: z.ZodType<T>, value: unknown): T {
    const parsed = schema.safeParse(value)
    if (!parsed.success) throw this.unreadable('an event has another form than the API’s')
    return parsed.data
  }

  private unreadable(why: string): Error {
    return malformed(why, this, { retryable: true })
  }
}

/** The stream ended, in good order as far as HTTP goes, and the answer had not. */
export class CutError extends Error {}

function parseJson(text: string, reviver?: (key: string, part: unknown) => unknown): unknown {
  try {
    return JSON.parse(text, reviver)
  } catch {
    return undefined
  }
}

/** Undefined if the text is not JSON; what that means, the mesh decides. */
function parseAnswer(text: string): unknown {
  // Escapes may write half a surrogate pair where the text itself holds none.
  return parseJson(text, /\\u[dD][89a-fA-F]/.test(text) ? (_, part) => (typeof part === 'string' ? toWellFormed.call(part) : part) : undefined)
}

/**
 * The model port on Anthropic's Messages API. One call of `complete` is one HTTP request: the SDK's own retries are off
 * and redirects are not followed, so that every attempt is counted where attempts are decided, in the mesh.
 *
 * Every answer is streamed. A stream names the prompt's tokens before the first word, so an attempt that is cut or given
 * up still says what it cost; it shows that the answer is being written; and above 21,333 tokens the API demands it. Of
 * the SDK's stream only the reading of bytes into events is used ({@link Stream.rawEvents}): its message stream takes an
 * aborted connection for the end of the answer, and writes what it cannot read to the console.
 */
import { setMaxListeners } from 'node:events'
import Anthropic from '@anthropic-ai/sdk'
import { Stream } from '@anthropic-ai/sdk/streaming'
import { z } from 'zod'
import { ConfigError } from '../../errors.js'
import type { ModelClient, ModelRequest, ModelResponse } from '../../mesh/ports/model-client.js'
import { AnswerReader } from './answer-reader.js'
import { boundedFetch } from './bounded-fetch.js'
import { attemptFailure, malformed, invalidRequest } from './failures.js'
import { encodePrompt, encodeRequest } from './request-body.js'

export interface AnthropicOptions {
  /** Default: the environment variable ANTHROPIC_API_KEY. */
  readonly apiKey?: string
  /** Where the API is, `http:` or `https:`, without user, query or fragment. Default: the environment variable ANTHROPIC_BASE_URL, else https://api.anthropic.com. */
  readonly baseURL?: string
  /**
   * How long one attempt may take, from the request to the last word of the answer, ms, 1 to 2,147,483,647. Default
   * 600,000 (10 minutes). Node's own fetch gives up earlier when nothing at all, not even a ping, arrives for 5 minutes.
   */
  readonly timeoutMs?: number
  /**
   * Whether the system prompt is marked for the provider's prompt cache (5 minutes). It is then written once at 1.25 times
   * the price of its tokens and read at a tenth or less by the calls after it, retries included; below about 1,000 to
   * 4,000 tokens, by model, the mark has no effect and costs nothing. Turn it off when system prompts hardly ever
   * repeat. Default true.
   */
  readonly cacheSystem?: boolean
  /**
   * Whether the messages are marked, too, up to the last: for prompts that are asked again or go on from where they were, such
   * as long documents before a question that is retried. Each prompt is then written at 1.25 times its price, so where
   * prompts hardly ever begin alike it costs a quarter more. Default false.
   */
  readonly cacheMessages?: boolean
  /** Most bytes an answer may have on the wire, events included, at least 1. Default 67,108,864 (64 MiB). */
  readonly answerBytesMax?: number
  /** How HTTP requests are made. Default: Node's fetch. */
  readonly fetch?: typeof globalThis.fetch
}

/** A client of Anthropic's models, which also counts. */
export interface AnthropicModel extends ModelClient {
  /**
   * How many tokens a prompt has, as the provider counts them: system prompt, messages, tools, and what asks for the schema. It costs
   * nothing, has a rate limit of its own, and is one HTTP request: it belongs in `gather`, never in a turn.
   *
   * @throws ModelError as `complete`
   */
  countTokens(prompt: Pick<ModelRequest, 'model' | 'system' | 'messages' | 'schema' | 'tools'>, options: { readonly signal: AbortSignal }): Promise<number>
}

/** How long a finished answer waits for its stream to end, so that the connection can be used again, ms. */
const DRAIN_MS = 1_000

/**
 * A client of Anthropic's models. It may be shared by any number of calls at once and needs no closing. The models' full
 * names are `anthropic/<id>`, e.g. `anthropic/claude-opus-4-6`.
 *
 * The provider knows no idempotency key: an attempt made again is paid again. Neither the key nor anything of a prompt
 * gets into an error or a log.
 *
 * @throws ConfigError for a missing key or an option that cannot be used; nothing is sent
 */
export function anthropic(options: AnthropicOptions = {}): AnthropicModel {
  const { baseURL, timeoutMs, cacheSystem, cacheMessages, answerBytesMax, fetch, apiKey } = settingsOf(options)
  const cached = { system: cacheSystem, messages: cacheMessages }
  const sdk = new Anthropic({
    apiKey,
    baseURL,
    maxRetries: 0,
    timeout: timeoutMs,
    openTelemetry: false,
    // Its log lines would carry the request at one level and unreadable parts of the answer at another.
    logLevel: 'off',
    fetch: boundedFetch(fetch, answerBytesMax),
    // A redirect would be a second request, and would take the prompt to another place.
    fetchOptions: { redirect: 'manual' },
  })

  async function sent(request: () => Promise<Response>): Promise<Response> {
    try {
      return await request()
    } catch (thrown) {
      // What the SDK throws before it sends anything is no error of its own family.
      if (thrown instanceof Anthropic.AnthropicError) throw thrown
      throw invalidRequest('it cannot be written as JSON or as headers')
    }
  }

  /** One attempt, which ends with the caller's signal or its time. Whatever it fails with becomes the port's error. */
  async function attempted<T>(answer: AnswerReader, signal: AbortSignal, run: (signal: AbortSignal, lateAfter: (ms: number) => void) => Promise<T>): Promise<T> {
    const attempt = new AbortController()
    const giveUp = (): void => attempt.abort()
    let timer = setTimeout(giveUp, timeoutMs)
    // Many calls may share one signal, and each listens only while it runs. (AbortSignal.any would keep some memory a call.)
    setMaxListeners(0, signal)
    signal.addEventListener('abort', giveUp, { once: true })
    if (signal.aborted) giveUp()
    try {
      return await run(attempt.signal, (ms) => {
        clearTimeout(timer)
        timer = setTimeout(giveUp, ms)
      })
    } catch (thrown) {
      throw attemptFailure(thrown, answer, { isAborted: signal.aborted, isOver: attempt.signal.aborted, timeoutMs, baseURL })
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', giveUp)
      // Frees the connection of an answer that was left unread.
      giveUp()
    }
  }

  return {
    provider: 'anthropic',

    complete(request: ModelRequest, { signal, onText }): Promise<ModelResponse> {
      const answer = new AnswerReader(request, onText)
      return attempted(answer, signal, async (ending, lateAfter) => {
        const body = encodeRequest(request, cached)
        try {
          const response = await sent(() => sdk.messages.create(body, { signal: ending }).asResponse())
          answer.begin(response.headers)
          if (!isEventStream(response)) throw malformed('what came is no event stream; check the baseURL', answer, { retryable: true })
          for await (const event of Stream.rawEvents(response)) {
            if (answer.isWhole) continue
            answer.take(event)
            if (answer.isWhole) lateAfter(DRAIN_MS)
          }
        } catch (thrown) {
          // What goes wrong after the last word harms nobody.
          if (!answer.isWhole) throw thrown
        }
        return answer.response()
      })
    },

    countTokens(prompt, { signal }): Promise<number> {
      const answer = new AnswerReader({ ...prompt, maxTokens: 0, task: { agent: '', input: null } })
      return attempted(answer, signal, async (ending) => {
        const body = encodePrompt(prompt, { system: false, messages: false })
        const response = await sent(() => sdk.messages.countTokens(body, { signal: ending }).asResponse())
        answer.begin(response.headers)
        const counted = TokenCount.safeParse(await response.json().catch((thrown: unknown) => {
          if (thrown instanceof SyntaxError) return undefined
          throw thrown
        }))
        if (!counted.success) throw malformed('what came is no count of tokens; check the baseURL', answer, { retryable: true })
        return counted.data.input_tokens
      })
    },
  }
}

const TokenCount = z.object({ input_tokens: z.int().nonnegative() })

function isEventStream(response: Response): boolean {
  return response.headers.get('content-type')?.toLowerCase().startsWith('text/event-stream') === true
}

type Settings = Required<AnthropicOptions>

function settingsOf(options: AnthropicOptions): Settings {
  const apiKey = options.apiKey ?? process.env['ANTHROPIC_API_KEY'] ?? ''
  if (apiKey.trim() === '') {
    throw new ConfigError('anthropic() has no API key. Set the environment variable ANTHROPIC_API_KEY or pass { apiKey }. Without a key, the offline model works.')
  }
  // Most often a line break that was read from a file; fetch would refuse it in a message that shows the key.
  if (!/^[!-~]+$/.test(apiKey)) throw new ConfigError('The API key of anthropic() holds spaces, line breaks or characters that no HTTP header may hold. Remove them.')

  const { timeoutMs = 600_000, answerBytesMax = 67_108_864, cacheSystem = true, cacheMessages = false, fetch = globalThis.fetch } = options
  wholeNumber('timeoutMs', timeoutMs, 2_147_483_647)
  wholeNumber('answerBytesMax', answerBytesMax, Number.MAX_SAFE_INTEGER)
  return { apiKey, baseURL: baseURLOf(options), timeoutMs, answerBytesMax, cacheSystem, cacheMessages, fetch }
}

function wholeNumber(name: string, value: number, max: number): void {
  if (!Number.isInteger(value) || value < 1 || value > max) throw new ConfigError(`The option "${name}" of anthropic() must be a whole number from 1 to ${max}, not ${value}.`)
}

function baseURLOf(options: AnthropicOptions): string {
  const given = options.baseURL ?? process.env['ANTHROPIC_BASE_URL']?.trim()
  if (given === undefined || given === '') return 'https://api.anthropic.com'
  const url = URL.canParse(given) ? new URL(given) : undefined
  // The address itself is not shown, since it may hold a password.
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash) {
    throw new ConfigError('The baseURL of anthropic() (or ANTHROPIC_BASE_URL) must be an http: or https: address without user, query or fragment.')
  }
  return given
}

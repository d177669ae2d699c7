/**
 * The model port on any provider of the AI SDK. One call of `complete` is one call of `doStream`, and so one HTTP request:
 * the AI SDK's retries stand in its `generateText`, which is not used, so that every attempt is counted where attempts are
 * decided, in the mesh.
 */
import { setMaxListeners } from 'node:events'
import { ConfigError } from '../../errors.js'
import { ModelError, type ModelClient, type ModelRequest, type ModelResponse } from '../../mesh/ports/model-client.js'
import { Answer } from './answer.js'
import { attemptFailure, headersOf } from './failures.js'
import { callOf, partOf, partsOf, type AiSdkLanguageModel, type AiSdkProvider } from './language-model.js'

export interface AiSdkOptions {
  /** Whose models they are: the first part of a model's full name `provider/model`, by which the price table finds it. `[A-Za-z0-9._:-]`. */
  readonly provider: string
  /**
   * How the model is told of the schema that its answer must fit: `native`, by the provider's structured output, or `prompt`,
   * in words after the system prompt, for providers that have none. A provider that says it would leave a native schema out fails
   * the attempt as `invalid-request`. Default `native`.
   */
  readonly schema?: 'native' | 'prompt'
  /** Whether answers are streamed. Without it an attempt that is given up may have gone on at the provider's. Default true. */
  readonly isStreamed?: boolean
  /** How long one attempt may take, from the request to the last word of the answer, ms, 1 to 2,147,483,647. Default 600,000. */
  readonly timeoutMs?: number
  /** Most bytes the text of an answer may have, at least 1. Default 67,108,864 (64 MiB). */
  readonly answerBytesMax?: number
}

/** How long a finished answer waits for its stream to end, so that the connection can be used again, ms. */
const DRAIN_MS = 1_000

/**
 * A client of the models of an AI SDK provider, `LanguageModelV3` (ai 6) or `LanguageModelV4` (ai 7):
 * `modelOf(aiSdk(createOpenAI(), { provider: 'openai' }), 'gpt-5')`. Anything with `languageModel(id)` will do: that is also where
 * a model gets a name of yours, or a middleware. It may be shared by any number of calls at once and needs no closing.
 *
 * What a middleware adds to a request (a thinking budget, say) is not in what the ledger reserves for it. Neither the key nor
 * anything of a prompt or of the provider's words gets into an error.
 *
 * @throws ConfigError for what is no provider, or an option that cannot be used; nothing is sent
 */
export function aiSdk(from: AiSdkProvider, options: AiSdkOptions): ModelClient {
  const { provider, schema, isStreamed, timeoutMs, answerBytesMax } = settingsOf(from, options)

  async function read(answer: Answer, signal: AbortSignal, onFinished: () => void): Promise<void> {
    const { request } = answer
    const model = from.languageModel(request.model)
    mustBeKnown(model, answer)
    const call = callOf(request, signal, schema === 'prompt')
    if (!isStreamed) {
      const { parts, headers } = partsOf(await model.doGenerate(call))
      answer.headers = headersOf(headers)
      for (const part of parts) answer.take(part)
      return
    }
    const { stream, response } = await model.doStream(call)
    answer.headers = headersOf(response?.headers)
    const reader = stream.getReader()
    try {
      for (;;) {
        const { done, value } = await reader.read()
        if (done) return
        const part = partOf(value)
        if (part === undefined) continue
        answer.take(part)
        if (part.type === 'finish') onFinished()
      }
    } finally {
      // Frees the connection of an answer that was left unread.
      void Promise.resolve(reader.cancel()).catch(() => {})
    }
  }

  return {
    provider,

    async complete(request: ModelRequest, { signal, onText }): Promise<ModelResponse> {
      const attempt = new AbortController()
      const giveUp = (): void => attempt.abort()
      let timer = setTimeout(giveUp, timeoutMs)
      // Many calls may share one signal, and each listens only while it runs.
      setMaxListeners(0, signal)
      signal.addEventListener('abort', giveUp, { once: true })
      if (signal.aborted) giveUp()

      const answer = new Answer(request, provider, answerBytesMax, onText)
      try {
        await orAborted(attempt.signal, () =>
          read(answer, attempt.signal, () => {
            clearTimeout(timer)
            timer = setTimeout(giveUp, DRAIN_MS)
          }),
        )
      } catch (thrown) {
        // What goes wrong after the last word harms nobody.
        if (!answer.isFinished || (thrown instanceof ModelError && !signal.aborted)) throw attemptFailure(thrown, answer, { isAborted: signal.aborted, isOver: attempt.signal.aborted, timeoutMs })
      } finally {
        clearTimeout(timer)
        signal.removeEventListener('abort', giveUp)
        giveUp()
      }
      if (answer.failure) throw attemptFailure(answer.failure.error, answer, { isAborted: false, isOver: false, timeoutMs })
      if (!answer.isFinished) throw attemptFailure(undefined, answer, { isAborted: false, isOver: false, timeoutMs })
      return answer.response()
    },
  }
}

/** Ends with the signal, also if what was begun does not heed it. */
async function orAborted<T>(signal: AbortSignal, run: () => Promise<T>): Promise<T> {
  signal.throwIfAborted()
  let leave = (): void => {}
  const left = new Promise<never>((_, reject) => {
    leave = () => reject(signal.reason as Error)
    signal.addEventListener('abort', leave, { once: true })
  })
  try {
    return await Promise.race([left, run()])
  } finally {
    signal.removeEventListener('abort', leave)
    left.catch(() => {})
  }
}

function mustBeKnown(model: AiSdkLanguageModel, { provider, request }: Answer): void {
  const version: unknown = (model as AiSdkLanguageModel | null | undefined)?.specificationVersion
  if (version === 'v3' || version === 'v4') return
  const found = typeof version === 'string' && /^v\d{1,2}$/.test(version) ? `follows specification ${version}` : 'is no language model of the AI SDK'
  throw new ModelError('invalid-request', `${request.model} of ${provider} ${found}; v3 (ai 6) or v4 (ai 7) is needed.`, { retryable: false })
}

type Settings = Required<AiSdkOptions>

function settingsOf(from: AiSdkProvider, options: AiSdkOptions): Settings {
  if (typeof from?.languageModel !== 'function') throw new ConfigError('aiSdk() needs a provider of the AI SDK, which gives models by languageModel(id), such as createOpenAI() gives.')
  const { provider, schema = 'native', isStreamed = true, timeoutMs = 600_000, answerBytesMax = 67_108_864 } = options ?? {}
  if (typeof provider !== 'string' || provider === '') throw new ConfigError("aiSdk() needs the provider's name, by which the price table knows its models: aiSdk(createOpenAI(), { provider: 'openai' }).")
  if (schema !== 'native' && schema !== 'prompt') throw new ConfigError(`The option "schema" of aiSdk() must be "native" or "prompt", not ${JSON.stringify(schema)}.`)
  if (typeof isStreamed !== 'boolean') throw new ConfigError(`The option "isStreamed" of aiSdk() must be true or false, not ${JSON.stringify(isStreamed)}.`)
  wholeNumber('timeoutMs', timeoutMs, 2_147_483_647)
  wholeNumber('answerBytesMax', answerBytesMax, Number.MAX_SAFE_INTEGER)
  return { provider, schema, isStreamed, timeoutMs, answerBytesMax }
}

function wholeNumber(name: string, value: unknown, max: number): void {
  if (!Number.isSafeInteger(value) || (value as number) < 1 || (value as number) > max) throw new ConfigError(`The option "${name}" of aiSdk() must be a whole number from 1 to ${max}, not ${String(value)}.`)
}

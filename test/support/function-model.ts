/** A model that answers by a function, for tests: each answer is JSON, its usage counts characters. */
import { ModelError, type ModelClient, type ModelRequest, type ModelResponse } from '../../src/index.js'

export interface FunctionModel extends ModelClient {
  readonly requests: ModelRequest[]
}

/** @param answer gives the value to answer with, or throws; a string is the text as it comes */
export function functionModel(answer: (request: ModelRequest, options: { readonly signal: AbortSignal; readonly idempotencyKey: string }) => unknown, provider = 'test', isLocal = true): FunctionModel {
  const requests: ModelRequest[] = []
  return {
    provider,
    isLocal,
    requests,
    async complete(request, options): Promise<ModelResponse> {
      requests.push(request)
      const value = await answer(request, options)
      if (options.signal.aborted) throw new ModelError('aborted', 'given up', { retryable: false })
      const text = typeof value === 'string' ? value : JSON.stringify(value)
      const inputTokens = request.messages.reduce((sum, { content }) => sum + content.length, request.system?.length ?? 0)
      return { text, stopReason: 'end', usage: { inputTokens, outputTokens: text.length, cacheReadTokens: 0, cacheWriteTokens: 0 }, model: request.model, requestId: `r${requests.length}` }
    },
  }
}

/**
 * From every way in which an attempt can fail to the port's one error. The error is made anew and has no cause: those of
 * the SDK and of fetch hold headers, the whole answer of the provider, and at times the request.
 */
import Anthropic from '@anthropic-ai/sdk'
import { z } from 'zod'
import { ModelError, type ModelFailureKind, type ModelRequest, type ModelUsage } from '../../mesh/ports/model-client.js'
import { kindOfStatus, retryAfterMs, systemCode } from '../../mesh/ports/http-failures.js'
import { AnswerTooLongError } from './bounded-fetch.js'
import { providerWords } from './provider-words.js'

/** What is known of an attempt when it fails. */
export interface Attempt {
  readonly request: ModelRequest
  readonly usage: ModelUsage | undefined
  /** Whether the answer's tokens are counted to the end. */
  readonly isUsageFinal: boolean
  readonly requestId: string | undefined
  /** How far the answer has come, to follow "the connection failed ". */
  readonly progress: string
}

/** How an attempt ended, as its runner sees it. */
export interface Ending {
  /** The caller gave up. */
  readonly isAborted: boolean
  /** Its time was over, or the caller gave up. */
  readonly isOver: boolean
  readonly timeoutMs: number
  readonly baseURL: string
}

const ErrorBody = z.object({
  error: z.object({
    type: z.string().optional().catch(undefined),
    message: z.string().catch(''),
    details: z.object({ error_code: z.string().optional() }).optional().catch(undefined),
  }),
})

/** A failure that the provider reports: by the status of its answer, or, without one, within a stream that began well. */
export class ProviderError extends Error {
  readonly status: number | undefined
  readonly headers: Headers | undefined
  readonly type: string | undefined
  readonly code: string | undefined
  /** In the provider's words, which may quote the request. */
  readonly text: string
  /** @param body the provider's, of whatever form */
  constructor(status: number | undefined, body: unknown, headers?: Headers) {
    super('the provider reports a failure')
    const found = ErrorBody.safeParse(body).data?.error
    this.status = status
    this.headers = headers
    this.type = found?.type
    this.code = found?.details?.error_code
    this.text = found?.message ?? ''
  }
}

const KIND_OF_TYPE: ReadonlyMap<string, ModelFailureKind> = new Map([
  ['invalid_request_error', 'invalid-request'],
  ['not_found_error', 'invalid-request'],
  ['request_too_large', 'invalid-request'],
  ['authentication_error', 'authentication'],
  ['permission_error', 'authentication'],
  ['billing_error', 'payment'],
  ['rate_limit_error', 'rate-limit'],
  ['timeout_error', 'server'],
  ['api_error', 'server'],
  ['overloaded_error', 'overloaded'],
])

/** Codes that change what the status says: no later minute helps against a spend limit, and a slow upload may go better. */
const KIND_OF_CODE: ReadonlyMap<string, ModelFailureKind> = new Map([
  ['contract_spend_limit_reached', 'payment'],
  ['enforced_spend_limit_reached', 'payment'],
  ['request_body_timeout', 'connection'],
])

const WHAT_HAPPENED: Readonly<Record<ModelFailureKind, string>> = {
  'invalid-request': 'Anthropic refused the request',
  authentication: 'Anthropic did not accept the API key for this request; check ANTHROPIC_API_KEY and what the key may do',
  payment: 'Anthropic cannot charge the account; check its credit and spend limits',
  'rate-limit': 'The account has reached a rate limit of Anthropic',
  overloaded: 'Anthropic is overloaded',
  server: 'Anthropic failed',
  connection: 'Anthropic did not wait for the request',
  malformed: 'The answer of Anthropic cannot be read',
  aborted: 'The caller gave up',
}

/** Turns what an attempt threw into the port's error. */
export function attemptFailure(thrown: unknown, attempt: Attempt, ending: Ending): ModelError {
  if (thrown instanceof ModelError) return thrown
  if (ending.isAborted) return new ModelError('aborted', `${WHAT_HAPPENED.aborted} ${attempt.progress}`, { retryable: false, ...usedBy(attempt) })
  if (thrown instanceof ProviderError) return reported(thrown, attempt)
  // A status is known even if the rest of the answer was cut off or late.
  if (thrown instanceof Anthropic.APIError && thrown.status !== undefined) {
    const { status, error, headers } = thrown as { status: number; error: unknown; headers: Headers | undefined }
    if (status < 400) return malformed(`its status is ${status}; check the baseURL`, { usage: undefined, isUsageFinal: false, requestId: requestIdOf(headers) }, { retryable: false })
    return reported(new ProviderError(status, error, headers), attempt)
  }
  if (thrown instanceof AnswerTooLongError) return malformed(thrown.message, attempt, { retryable: false })
  if (ending.isOver) return new ModelError('connection', `Anthropic’s answer took longer than ${ending.timeoutMs} ms; the attempt was stopped ${attempt.progress}`, { retryable: true, ...usedBy(attempt) })
  const code = systemCode(thrown)
  return new ModelError('connection', `The connection to ${new URL(ending.baseURL).host} failed ${attempt.progress}${code ? ` (${code})` : ''}`, { retryable: true, ...usedBy(attempt) })
}

/** The request is wrong as it stands; nothing was sent. */
export function invalidRequest(why: string): ModelError {
  return new ModelError('invalid-request', `The request was not sent to Anthropic: ${why}.`, { retryable: false })
}

export function malformed(why: string, attempt: Pick<Attempt, 'usage' | 'isUsageFinal' | 'requestId'>, { retryable }: { retryable: boolean }): ModelError {
  const { requestId } = attempt
  return new ModelError('malformed', `${WHAT_HAPPENED.malformed}${requestId ? ` (request ${requestId})` : ''}: ${why}`, { retryable, ...usedBy(attempt) })
}

function reported(error: ProviderError, attempt: Attempt): ModelError {
  const { status, type, code, headers } = error
  const kind = kindOf(error)
  const requestId = requestIdOf(headers) ?? attempt.requestId
  const facts = [status, KIND_OF_TYPE.has(type ?? '') ? type : undefined, requestId ? `request ${requestId}` : undefined].filter((fact) => fact !== undefined)
  const words = providerWords(error.text, attempt.request.model, (number) => isInPrompt(attempt.request, number))
  // The provider may forbid a retry that the status would allow; it cannot make a wrong request worth repeating.
  const retryable = (kind === 'rate-limit' || kind === 'overloaded' || kind === 'server' || kind === 'connection') && headers?.get('x-should-retry') !== 'false'
  const retryAfter = retryable && headers ? retryAfterMs(headers) : undefined
  const reason = code !== undefined && KIND_OF_CODE.has(code) ? code.replaceAll('_', ' ') : words
  return new ModelError(kind, `${WHAT_HAPPENED[kind]}${facts.length > 0 ? ` (${facts.join(', ')})` : ''}${reason ? `: ${reason}` : ''}`, {
    retryable,
    ...(retryAfter === undefined ? {} : { retryAfterMs: retryAfter }),
    ...usedBy(attempt),
  })
}

function usedBy({ usage, isUsageFinal }: Pick<Attempt, 'usage' | 'isUsageFinal'>): { usage?: ModelUsage; isUsageFinal: boolean } {
  return usage ? { usage, isUsageFinal } : { isUsageFinal: false }
}

function kindOf({ status, type, code }: ProviderError): ModelFailureKind {
  return KIND_OF_CODE.get(code ?? '') ?? kindOfStatus.get(status ?? 0) ?? KIND_OF_TYPE.get(type ?? '') ?? (status !== undefined && status < 500 ? 'invalid-request' : 'server')
}

/** The provider's id of the call, unless it is no id. */
export function requestIdOf(headers: Headers | undefined): string | undefined {
  return /^req_\w{1,64}$/.exec(headers?.get('request-id') ?? '')?.[0]
}

function isInPrompt({ system = '', messages }: ModelRequest, text: string): boolean {
  return system.includes(text) || messages.some(({ content, toolCalls = [], toolResults = [] }) => content.includes(text) || toolCalls.some((call) => call.arguments.includes(text)) || toolResults.some((result) => result.text.includes(text)))
}

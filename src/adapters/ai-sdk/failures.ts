/**
 * From what the AI SDK throws, or tells within a stream, to the port's one error. It is made anew, without a cause and
 * without the provider's words: `APICallError` holds the request and the headers, and its message may quote either. What
 * is kept is the status and the provider's own name for the error, if it looks like one.
 */
import { ModelError, type ModelFailureKind } from '../../mesh/ports/model-client.js'
import { kindOfStatus, retryAfterMs, systemCode } from '../../mesh/ports/http-failures.js'
import type { Answer } from './answer.js'
import { ShapeError } from './language-model.js'

/** How an attempt ended, as its runner sees it. */
export interface Ending {
  /** The caller gave up. */
  readonly isAborted: boolean
  /** Its time was over, or the caller gave up. */
  readonly isOver: boolean
  readonly timeoutMs: number
}

/** Of the AI SDK's own errors, by name: what was wrong before anything was sent. */
const KIND_OF_NAME: ReadonlyMap<string, ModelFailureKind> = new Map([
  ['AI_LoadAPIKeyError', 'authentication'],
  ['AI_LoadSettingError', 'invalid-request'],
  ['AI_NoSuchModelError', 'invalid-request'],
  ['AI_NoSuchProviderError', 'invalid-request'],
  ['AI_InvalidArgumentError', 'invalid-request'],
  ['AI_InvalidPromptError', 'invalid-request'],
  ['AI_UnsupportedFunctionalityError', 'invalid-request'],
])

const UNREADABLE: ReadonlySet<string> = new Set(['AI_JSONParseError', 'AI_TypeValidationError', 'AI_InvalidResponseDataError', 'AI_EmptyResponseBodyError', 'AI_NoContentGeneratedError'])

/** Providers' own names. They go before the status where no later minute helps, and in its place where there is none. */
const KIND_OF_TYPE: ReadonlyMap<string, ModelFailureKind> = new Map([
  ['insufficient_quota', 'payment'],
  ['billing_error', 'payment'],
  ['billing_hard_limit_reached', 'payment'],
  ['overloaded_error', 'overloaded'],
  ['rate_limit_error', 'rate-limit'],
  ['rate_limit_exceeded', 'rate-limit'],
  ['authentication_error', 'authentication'],
  ['permission_error', 'authentication'],
  ['invalid_api_key', 'authentication'],
  ['invalid_request_error', 'invalid-request'],
  ['not_found_error', 'invalid-request'],
  ['request_too_large', 'invalid-request'],
  ['context_length_exceeded', 'invalid-request'],
])

const WHAT_HAPPENED: Readonly<Record<'invalid-request' | 'authentication' | 'payment' | 'rate-limit' | 'overloaded' | 'server' | 'connection', string>> = {
  'invalid-request': 'refused the request',
  authentication: 'did not accept the API key for this request',
  payment: 'cannot charge the account; check its credit and limits',
  'rate-limit': 'has reached a rate limit',
  overloaded: 'is overloaded',
  server: 'failed',
  connection: 'did not wait for the request',
}

export function attemptFailure(thrown: unknown, answer: Answer, ending: Ending): ModelError {
  if (thrown instanceof ModelError) return thrown
  const { provider } = answer
  if (ending.isAborted) return new ModelError('aborted', `The caller gave up ${answer.progress}`, { retryable: false, ...answer.used })
  if (thrown instanceof ShapeError) return answer.malformed('it has another form than the AI SDK’s specification', true)
  const told = factsOf(thrown)
  // A connection that was cut after the headers has their status.
  const isCut = told.systemCode !== undefined
  if (told.status !== undefined && told.status < 400 && !isCut) return answer.malformed(`its status is ${told.status}, and what came with it is no answer; check the baseURL of the provider`, true)
  if (told.status === undefined && UNREADABLE.has(told.name)) return answer.malformed('it is not what the provider’s package expects', true)
  if (ending.isOver) return new ModelError('connection', `${provider}’s answer took longer than ${ending.timeoutMs} ms; the attempt was stopped ${answer.progress}`, { retryable: true, ...answer.used })

  const byName = KIND_OF_NAME.get(told.name)
  if (byName !== undefined) return new ModelError(byName, `The request was not sent to ${provider}: ${byName === 'authentication' ? 'its API key is missing' : `the model ${answer.request.model} or what is asked of it is refused`} (${told.name.replace('AI_', '')})`, { retryable: false })

  const kind = kindOf(told)
  if (kind === undefined || (isCut && (told.status ?? 0) < 400)) return new ModelError('connection', `The connection to ${provider} failed ${answer.progress}${told.systemCode ? ` (${told.systemCode})` : ''}`, { retryable: true, ...answer.used })
  const requestId = told.headers?.get('request-id') ?? told.headers?.get('x-request-id') ?? answer.requestId
  const facts = [told.status, told.type, requestId !== undefined && /^[\w.:-]{1,128}$/.test(requestId) ? `request ${requestId}` : undefined].filter((fact) => fact !== undefined)
  // The provider may forbid a retry that the status would allow; it cannot make a wrong request worth repeating.
  const retryable = (kind === 'rate-limit' || kind === 'overloaded' || kind === 'server' || kind === 'connection') && told.headers?.get('x-should-retry') !== 'false'
  const after = retryable && told.headers ? retryAfterMs(told.headers) : undefined
  return new ModelError(kind, `${provider} ${WHAT_HAPPENED[kind]}${facts.length > 0 ? ` (${facts.join(', ')})` : ''}`, { retryable, ...(after === undefined ? {} : { retryAfterMs: after }), ...answer.used })
}

interface Facts {
  readonly name: string
  readonly status: number | undefined
  readonly type: string | undefined
  readonly headers: Headers | undefined
  readonly systemCode: string | undefined
}

/** @returns undefined if no provider has said anything: the connection failed */
function kindOf({ status, type }: Facts): keyof typeof WHAT_HAPPENED | undefined {
  const byType = KIND_OF_TYPE.get(type ?? '')
  const kind = byType === 'payment' || byType === 'overloaded' ? byType : (kindOfStatus.get(status ?? 0) ?? byType)
  if (kind !== undefined) return kind as keyof typeof WHAT_HAPPENED
  if (status !== undefined) return status < 500 ? 'invalid-request' : 'server'
  return type === undefined ? undefined : 'server'
}

/** What is known of an error, whatever it is: an `APICallError`, an error event of a stream, or any other. */
function factsOf(thrown: unknown): Facts {
  const error = objectOf(thrown) ?? {}
  const { name, statusCode, responseHeaders } = error
  const body = objectOf(error['data']) ?? objectOf(parse(error['responseBody'])) ?? error
  const told = objectOf(body['error']) ?? body
  return {
    name: typeof name === 'string' ? name : '',
    status: typeof statusCode === 'number' && Number.isInteger(statusCode) ? statusCode : undefined,
    // An error of the operating system has a code, too.
    type: [told['code'], told['type']].find((value): value is string => typeof value === 'string' && /^[a-z]+(_[a-z]+){0,7}$/.test(value) && value.length <= 60),
    headers: headersOf(responseHeaders),
    systemCode: systemCode(thrown),
  }
}

export function headersOf(record: unknown): Headers | undefined {
  if (objectOf(record) === undefined) return undefined
  const headers = new Headers()
  for (const [name, value] of Object.entries(record as object)) {
    try {
      if (typeof value === 'string') headers.set(name, value)
    } catch {
      // What no header may hold is none.
    }
  }
  return headers
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : undefined
}

function parse(text: unknown): unknown {
  try {
    return typeof text === 'string' ? JSON.parse(text) : undefined
  } catch {
    return undefined
  }
}

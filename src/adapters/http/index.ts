/** `holdfast/http`: external actions over HTTP, under an idempotency key, and the other end of them. */
export { httpAction, type HttpAction, type HttpActionOptions } from './http-action.js'
export { HttpRefusedError, HttpRetryableError, HttpUnknownError, type HttpOutcome } from './outcome.js'
export { idempotent, type Handler, type IdempotentOptions, type Repeated } from './idempotent.js'
export { nodeListener } from './node-listener.js'
export type { Begin, End, IdempotencyStore, KeptAnswer, Known } from '../../mesh/ports/idempotency-store.js'

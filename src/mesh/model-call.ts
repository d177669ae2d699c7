/**
 * One attempt at a model, as the effect of the call chart: asks the client once and turns every way in which that can
 * end into an outcome with its cost. It decides nothing; the chart does (contract 9).
 */
import { ConfigError, toStoredError } from '../errors.js'
import { attemptNumber, tokenSourceOf, type AttemptInput, type AttemptOutcome, type PermitInput, type PermitOutcome } from '../machines/call.machine.js'
import { nothing, type Amounts } from '../machines/ledger.js'
import type { TokenEvent } from '../machines/token-stream.machine.js'
import { repeatable } from '../protocol.js'
import type { Clock } from '../runtime/ports/clock.js'
import type { Logger } from '../runtime/ports/logger.js'
import { checkId } from '../runtime/identity.js'
import type { Desk, PermitRequest } from './desk.js'
import { having, isObject, list, oneOf, optional, shape, text, whole, wrong, type Check } from './options.js'
import { ModelError, type ModelClient, type ModelFailureKind, type ModelRequest, type ModelResponse, type ModelToolCall, type ModelUsage } from './ports/model-client.js'
import { TokenWriter } from './token-writer.js'
import { costOf, free, modelPrice, type ModelPrice, type PriceTable } from './prices.js'

/** A model of a client. */
export interface ModelRef {
  /** Full name, `provider/model`. */
  readonly name: string
  readonly client: ModelClient
  /** The provider's id of the model. */
  readonly model: string
  /** What it costs, if the price table does not know. */
  readonly price?: ModelPrice
}

const aClient = having('a model client, such as anthropic() gives', 'complete')

/** What {@link modelOf} gives. */
export const aModel: Check = (name, value) => {
  const { name: fullName, client, model } = (isObject(value) ? value : {}) as Partial<ModelRef>
  if (typeof fullName !== 'string' || typeof model !== 'string' || !isObject(client) || typeof client.complete !== 'function') wrong(name, 'a model, as modelOf(client, id) gives it', value)
}

/**
 * A model by its client and the provider's id: `modelOf(anthropic(), 'claude-opus-4-6')`.
 *
 * @throws InvalidIdError for an id outside `[A-Za-z0-9._:-]`
 * @throws ConfigError for what is no client or no price
 */
export function modelOf(client: ModelClient, model: string, price?: ModelPrice): ModelRef {
  aClient('modelOf: client', client)
  optional(modelPrice)(`price of ${model}`, price)
  return { name: `${checkId('provider', client.provider)}/${checkId('model', model)}`, client, model, ...(price === undefined ? {} : { price }) }
}

/** What an attempt brought: the part of a ModelResponse that is kept. */
export interface Completion {
  readonly text: string
  /** Tools that it asks for. */
  readonly toolCalls?: readonly ModelToolCall[]
  readonly stopReason: ModelResponse['stopReason']
  readonly usage: ModelUsage
  /** The model that answered, as the provider names it. */
  readonly model: string
  readonly requestId: string | null
}

/** The models that the agents of a mesh use, by full name, with their prices. */
export class Models {
  private readonly refs = new Map<string, ModelRef>()
  private readonly prices: PriceTable

  constructor(prices: PriceTable) {
    this.prices = prices
  }

  add(ref: ModelRef): void {
    const known = this.refs.get(ref.name)
    if (known && known.client !== ref.client) throw new ConfigError(`Two clients are given for model ${ref.name}. Use one.`)
    this.refs.set(ref.name, ref)
  }

  get(name: string): ModelRef | undefined {
    return this.refs.get(name)
  }

  names(): string[] {
    return [...this.refs.keys()]
  }

  /** undefined: nobody knows. */
  priceOf(name: string): ModelPrice | undefined {
    const ref = this.refs.get(name)
    return ref?.price ?? this.prices.models[name] ?? (ref?.client.provider === 'offline' ? free : undefined)
  }
}

/** A provider that says no has done no work; after anything else nobody knows whether it will ask for money. */
const costNothing: ReadonlySet<ModelFailureKind> = new Set<ModelFailureKind>(['invalid-request', 'authentication', 'payment', 'rate-limit', 'overloaded', 'server'])
const oneCall: Amounts = { ...nothing, calls: 1 }

const tokens = whole(0, 2 ** 40)
/** What no ledger could take is an error of the client, and is charged in full. */
const usageCounts = shape<ModelUsage>({ inputTokens: tokens, outputTokens: tokens, cacheReadTokens: tokens, cacheWriteTokens: tokens })

/** What is cut off, or ends in a way that nobody knows, must not be taken for an answer. */
const answerShape = shape<Pick<ModelResponse, 'text' | 'stopReason' | 'toolCalls'>>({
  text: text(Number.MAX_SAFE_INTEGER, 0),
  stopReason: oneOf('end', 'length', 'refusal', 'tools'),
  toolCalls: optional(list(shape<ModelToolCall>({ id: text(256), name: text(256), arguments: text(Number.MAX_SAFE_INTEGER, 0) }))),
})

/** What attempts need of the mesh. */
export interface AttemptServices {
  readonly models: Models
  readonly clock: Clock
  readonly desk: Desk
  /** Resolves when calls may be made: true, or false if it is not known what was stopped. */
  ready(signal: AbortSignal): Promise<boolean>
  /** Where what is being written is told; absent: nowhere. */
  readonly tokens?: TokenPort
}

export interface TokenPort {
  /** To the token stream of its run. Resolves when that is durable. */
  tell(run: string, event: TokenEvent): Promise<void>
  newId(): string
  readonly logger: Logger
}

export function attemptLogic({ models, clock, desk, ready, tokens: port }: AttemptServices) {
  return repeatable(async ({ input, signal, idempotencyKey, attempt }: { input: AttemptInput; signal: AbortSignal; idempotencyKey: string; attempt: number }): Promise<AttemptOutcome> => {
    // The chart reserves money for each attempt; what a crash cut off may have cost all of it.
    if (attempt > 1) return { ok: false, cost: null, error: { kind: 'unknown', message: 'the process died while the model was being asked' }, retryable: true }
    const ref = models.get(input.model)
    if (!ref) return { ok: false, cost: nothing, error: { kind: 'configuration', message: `this process has no model ${input.model}` }, retryable: false }
    const price = models.priceOf(input.model) ?? free
    const given = (await ready(signal)) ? desk.take(permitRequest(input, clock)) : ({ isLacking: true } as const)
    if ('isLacking' in given) return { ok: false, cost: nothing, isLacking: true }
    if ('refusal' in given) return { ok: false, cost: nothing, error: { kind: 'refused', message: given.refusal.message }, refusal: given.refusal }
    const { permit } = given
    const beganAt = clock.now()
    const { about, stream } = input.call
    const tokens = stream && port && new TokenWriter({ of: tokenSourceOf(input.call), attempt: attemptNumber(input.attempt), writer: port.newId(), everyMs: stream.everyMs, clock, logger: port.logger, write: (event) => port.tell(about.run, event) })
    try {
      const response = await ref.client.complete({ ...(input.call.request as Omit<ModelRequest, 'task' | 'model'>), task: input.call.task as ModelRequest['task'], model: ref.model }, { signal, idempotencyKey: `${idempotencyKey}/${input.attempt}`, ...(tokens ? { onText: (delta) => tokens.take(delta) } : {}) })
      usageCounts('usage', response.usage)
      answerShape('answer', response)
      const { toolCalls } = response
      const completion: Completion = { text: response.text, ...(toolCalls ? { toolCalls } : {}), stopReason: response.stopReason, usage: response.usage, model: response.model, requestId: response.requestId ?? null }
      const cost = costOf(price, response.usage)
      const isJudged = permit.settle({ result: 'ok', tokens: cost.tokens, retryAfterMs: null })
      const streamed = await tokens?.finish(completion.text, signal)
      return { ok: true, cost, response: completion, ...(isJudged ? { isJudged } : {}), ...(streamed ? { streamed } : {}) }
    } catch (error) {
      const outcome = failureOf(error, price, (input.call.request as ModelRequest).maxTokens)
      // Given up after a long time without an answer: the provider hangs.
      const hangs = signal.aborted && clock.now() - beganAt >= Math.min(hangMs, input.call.deadlineMs / 2)
      permit.settle({ result: hangs || isOfProvider(outcome, signal.aborted) ? 'failed' : 'void', tokens: outcome.cost?.tokens ?? null, retryAfterMs: outcome.retryAfterMs ?? null })
      return outcome
    } finally {
      tokens?.close()
    }
  })
}

/** Waits for the permit of an attempt; the attempt takes it from the desk (C3). */
export function permitLogic({ clock, desk }: AttemptServices) {
  return repeatable(({ input, signal }: { input: PermitInput; signal: AbortSignal }): Promise<PermitOutcome> => desk.wait(permitRequest(input, clock), { signal, isPatient: input.isPatient }))
}

const hangMs = 30_000

/** Failures that say that the provider, or the way there, is out of order. A rate limit with a time says when; without one it is a failure like others. */
const ofProvider: ReadonlySet<string> = new Set<ModelFailureKind | 'client'>(['overloaded', 'server', 'connection', 'malformed', 'client'])

function isOfProvider({ error, retryAfterMs }: AttemptOutcome, isAborted: boolean): boolean {
  if (isAborted) return false
  return ofProvider.has(error!.kind) || (error!.kind === 'rate-limit' && retryAfterMs === undefined)
}

/** One attempt of one call of one task: the same whoever asks, and however often. */
export function permitKey(run: string, task: string, agent: string, attempt: string): string {
  return JSON.stringify([run, task, agent, attempt])
}

function permitRequest({ call, model, attempt }: AttemptInput, clock: Clock): PermitRequest {
  const { about, tenant, priority, deadlineMs } = call
  const { agent, version, run, task } = about
  return { key: permitKey(run, task, agent, attempt), subject: { agent, version, model, tenant }, tokens: call.worst[model]!.tokens, priority, deadlineAt: clock.now() + deadlineMs }
}

function failureOf(error: unknown, price: ModelPrice, completionTokensMax: number): AttemptOutcome {
  if (!(error instanceof ModelError)) return { ok: false, cost: null, error: { kind: 'client', message: toStoredError(error).message }, retryable: false }
  const { usage, isUsageFinal } = error
  // An answer that was cut may have gone on at the provider's to its bound.
  const cost = usage ? costOf(price, isUsageFinal ? usage : { ...usage, outputTokens: completionTokensMax }) : costNothing.has(error.kind) ? oneCall : null
  return {
    ok: false,
    cost,
    error: { kind: error.kind, message: error.message },
    ...(usage ? { usage } : {}),
    retryable: error.retryable,
    ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
  }
}

/**
 * One attempt at a model, as the effect of the call chart: asks the client once and turns every way in which that can
 * end into an outcome with its cost. It decides nothing; the chart does (contract 9).
 */
import { ConfigError, toStoredError } from '../errors.js'
import type { AttemptOutcome, CallInput } from '../machines/call.machine.js'
import { nothing, type Amounts } from '../machines/ledger.js'
import { repeatable } from '../protocol.js'
import { checkId } from '../runtime/identity.js'
import { having, isObject, optional, shape, whole, wrong, type Check } from './options.js'
import { ModelError, type ModelClient, type ModelFailureKind, type ModelRequest, type ModelUsage } from './ports/model-client.js'
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
  readonly stopReason: 'end' | 'length' | 'refusal'
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

export interface AttemptInput {
  readonly call: CallInput
  readonly model: string
  readonly attempt: string
}

/** A provider that says no has done no work; after anything else nobody knows whether it will ask for money. */
const costNothing: ReadonlySet<ModelFailureKind> = new Set<ModelFailureKind>(['invalid-request', 'authentication', 'payment', 'rate-limit', 'overloaded', 'server'])
const oneCall: Amounts = { ...nothing, calls: 1 }

const tokens = whole(0, 2 ** 40)
/** What no ledger could take is an error of the client, and is charged in full. */
const usageCounts = shape<ModelUsage>({ inputTokens: tokens, outputTokens: tokens, cacheReadTokens: tokens, cacheWriteTokens: tokens })

/** @param ready resolves when calls may be made */
export function attemptLogic(models: Models, ready: (signal: AbortSignal) => Promise<void>) {
  return repeatable(async ({ input, signal, idempotencyKey, attempt }: { input: AttemptInput; signal: AbortSignal; idempotencyKey: string; attempt: number }): Promise<AttemptOutcome> => {
    // The chart reserves money for each attempt; what a crash cut off may have cost all of it.
    if (attempt > 1) return { ok: false, cost: null, error: { kind: 'unknown', message: 'the process died while the model was being asked' }, retryable: true }
    const ref = models.get(input.model)
    if (!ref) return { ok: false, cost: nothing, error: { kind: 'configuration', message: `this process has no model ${input.model}` }, retryable: false }
    const price = models.priceOf(input.model) ?? free
    await ready(signal)
    try {
      const response = await ref.client.complete({ ...(input.call.request as Omit<ModelRequest, 'task' | 'model'>), task: input.call.task as ModelRequest['task'], model: ref.model }, { signal, idempotencyKey: `${idempotencyKey}/${input.attempt}` })
      usageCounts('usage', response.usage)
      const completion: Completion = { text: response.text, stopReason: response.stopReason, usage: response.usage, model: response.model, requestId: response.requestId ?? null }
      return { ok: true, cost: costOf(price, response.usage), response: completion }
    } catch (error) {
      return failureOf(error, price, (input.call.request as ModelRequest).maxTokens)
    }
  })
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
    retryable: error.retryable,
    ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
  }
}

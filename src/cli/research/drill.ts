/**
 * `--drill outage`: the run asks first a model that is out of order, as one elsewhere may be, so that one sees what the mesh
 * does about it. Nothing leaves the machine: behind it answers the offline model, and what fails is played.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { modelOf, type ModelRef } from '../../mesh/model-call.js'
import type { PolicyOptions } from '../../mesh/policies.js'
import { ModelError, type ModelClient, type ModelRequest, type ModelResponse } from '../../mesh/ports/model-client.js'
import { UsageError } from '../exit.js'
import { printable } from '../terminal.js'

/** Full name of the model that is out of order. */
export const drillName = 'offline/drill'

/** How long it is out of order, from its first request on, ms; and requests that fail at least, so that its breaker opens however slow the machine is. */
const outMs = 3_000
const failuresMin = 4
/** What an answer of a model elsewhere takes at least, ms, here shortened. */
const answerMs = 600
const failMs = 150

/** Figures so short that a run of seconds sees a breaker open, try again and close. */
export const drillPolicies: PolicyOptions = {
  models: { [drillName]: { breaker: { consecutiveMax: 3, openMs: 1_000, openFactor: 1, permitMs: 1_000, probesMax: 1, successesToClose: 1, probeMs: 10_000 } } },
}

/** @throws UsageError for what is no drill */
export function checkDrill(name: string | undefined): boolean {
  if (name !== undefined && name !== 'outage') throw new UsageError(`--drill: expected outage, which is the only drill there is, got "${printable(name)}".`, 'research')
  return name !== undefined
}

/** The model that is out of order, and the offline one at the pace of a model elsewhere, so that it can be watched. */
export function drillModels(offline: ModelRef): { readonly outOfOrder: ModelRef; readonly offline: ModelRef } {
  const { client } = offline
  let requests = 0
  let began = 0
  const broken: ModelClient = {
    provider: 'offline',
    async complete(request, options): Promise<ModelResponse> {
      if (++requests === 1) began = performance.now()
      const failure = requests <= failuresMin || performance.now() - began < outMs ? failureNow(requests, request) : undefined
      await pass(failure ? failMs : answerMs, options.signal)
      if (failure) throw failure
      return client.complete(request, options)
    },
  }
  const paced: ModelClient = {
    ...client,
    async complete(request, options) {
      await pass(answerMs, options.signal)
      return client.complete(request, options)
    },
  }
  return { outOfOrder: modelOf(broken, 'drill', { input: 0, output: 0 }), offline: { ...offline, client: paced } }
}

/** In turn, as a provider fails that breaks down: the third answer is cut when its prompt has been counted, so that all it might have used is charged. */
function failureNow(n: number, { messages, system = '' }: ModelRequest): ModelError {
  const inputTokens = Math.ceil((system.length + messages.reduce((sum, { content }) => sum + content.length, 0)) / 4)
  switch (n % 4) {
    case 1:
      return new ModelError('overloaded', 'the drill’s provider is overloaded (529)', { retryable: true })
    case 2:
      return new ModelError('server', 'the drill’s provider failed (500)', { retryable: true })
    case 3:
      return new ModelError('connection', 'the drill’s provider cut the connection in the middle of the answer', { retryable: true, usage: { inputTokens, outputTokens: 1, cacheReadTokens: 0, cacheWriteTokens: 0 }, isUsageFinal: false })
    default:
      return new ModelError('malformed', 'what the drill’s provider sent cannot be read', { retryable: true })
  }
}

async function pass(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {
    throw new ModelError('aborted', 'given up', { retryable: false })
  })
}

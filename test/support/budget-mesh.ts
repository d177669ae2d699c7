/** A mesh whose agents ask the provider of spend-server.script.ts, under the budget of a tenant: the same for all its processes. */
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, modelOf, ModelError, type Mesh, type ModelClient } from '../../src/index.js'
import { redisStore } from '../../src/adapters/redis/index.js'

const completionTokensMax = 500
/** Dollars per million tokens of a completion; a prompt is free. */
const dollars = 4
export const callNanoDollars = completionTokensMax * dollars * 1_000

function provider(url: string): ModelClient {
  return {
    provider: 'spend',
    isLocal: true,
    async complete({ task, messages }, { signal }) {
      const answer = JSON.stringify((task as { agent: string }).agent === 'planner' ? { steps: [{ q: 1 }, { q: 2 }] } : { text: 'x'.repeat(200) })
      const response = await fetch(url, { method: 'POST', body: JSON.stringify({ run: messages[0]!.content, answer, nanoPerToken: dollars * 1_000 }), signal }).catch((error: Error) => {
        throw new ModelError('connection', error.message, { retryable: true })
      })
      const text = await response.text()
      if (!response.ok) throw new ModelError('overloaded', 'busy', { retryable: true })
      return { text, stopReason: 'end', usage: { inputTokens: messages[0]!.content.length, outputTokens: text.length, cacheReadTokens: 0, cacheWriteTokens: 0 }, model: 'm' }
    },
  }
}

const Any = z.looseObject({})

/** @param calls worst cases that the tenant's budget covers */
export function budgetMesh({ redis, url, node, calls }: { readonly redis: string; readonly url: string; readonly node?: string; readonly calls: number }) {
  const common = { input: Any, model: modelOf(provider(url), 'm', { input: 0, output: dollars }), prompt: ({ goal }: { goal: { text: string } }) => ({ messages: [{ role: 'user' as const, content: goal.text }] }), completionTokensMax }
  const planner = defineAgent({ ...common, name: 'planner', output: z.object({ steps: z.array(Any) }) })
  const worker = defineAgent({ ...common, name: 'worker', output: z.object({ text: z.string() }) })
  const writer = defineAgent({ ...common, name: 'writer', output: z.object({ text: z.string() }) })
  const research = defineRun({ name: 'research', crew: { planner, worker, writer }, replansMax: 1 })
  const mesh: Mesh = createMesh({
    store: redisStore(redis),
    runs: [research],
    leaseMs: 700,
    ...(node === undefined ? {} : { node: { id: node } }),
    suspectMax: Infinity,
    policies: { tenants: { acme: { budget: { usd: (calls * callNanoDollars) / 1e9, whenSpent: 'wait', waitMs: 4_000 } } }, agents: { '*': { retry: { backoff: { firstMs: 50, maxMs: 200 } } } } },
  })
  return { mesh, research }
}

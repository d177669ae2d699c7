/** A node of its own whose agent asks a model at a URL: `redis-url namespace model-url api-key`. It begins the work `worker/r`, unless that has begun, says `up`, and then what came of it. */
import { z } from 'zod'
import { createMesh, defineAgent, modelOf, nothing, type AgentOutput } from '../../src/index.js'
import { anthropic } from '../../src/adapters/anthropic/index.js'
import { redisStore } from '../../src/adapters/redis/index.js'
import { canonicalGoal } from '../../src/mesh/canonical.js'

const [redis, namespace, baseURL, apiKey] = process.argv.slice(2) as [string, string, string, string]
const worker = defineAgent({
  name: 'worker',
  input: z.looseObject({}),
  output: z.object({ text: z.string() }),
  model: modelOf(anthropic({ baseURL, apiKey }), 'claude-opus-4-6'),
  prompt: () => ({ messages: [{ role: 'user', content: 'go on' }] }),
  completionTokensMax: 100,
  stream: { everyMs: 10 },
})
const mesh = await createMesh({ store: redisStore(redis), namespace, agents: [worker], leaseMs: 400 }).start()
const task = { id: 't', origin: 't', input: {}, goal: canonicalGoal('why'), grant: { ...nothing, tokens: 1e9, calls: 100, nanoDollars: 1e12 }, run: 'r' }
await mesh.system.actorAt('worker/r').start({ input: { task } as never, run: 'r' })
console.log('up')
console.log(JSON.stringify(((await mesh.system.actorAt('worker/r').output()) as AgentOutput).output))

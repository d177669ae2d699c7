/** Circuit breakers of two nodes on a real Redis, in front of a provider in its wire format: what reaches the server is counted there. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { anthropic } from '../../src/adapters/anthropic/index.js'
import { redisStore } from '../../src/adapters/redis/index.js'
import { createMesh, defineAgent, modelOf, type AgentOutput, type AgentTask, type Mesh, type PolicyOptions } from '../../src/index.js'
import { canonicalGoal } from '../../src/mesh/canonical.js'
import { AnthropicServer, answer, overloaded, type Replier } from '../support/anthropic-server.js'
import { RedisServer } from '../support/redis-server.js'

let redis: RedisServer
let server: AnthropicServer
let namespaces = 0
const meshes: Mesh[] = []
beforeAll(async () => {
  redis = await RedisServer.start({ appendfsync: 'everysec' })
  server = await AnthropicServer.start()
})
afterEach(async () => {
  await Promise.all(meshes.splice(0).map((mesh) => mesh.stop()))
  server.reset()
})
afterAll(async () => {
  await redis.stop()
  await server.stop()
})

const grant = { tokens: 1e9, calls: 1e6, nanoDollars: 1e12 }
const task = (id: string): AgentTask => ({ id, origin: id, input: { n: id }, goal: canonicalGoal('why'), grant, run: `r-${id}` })

/** Two nodes of one mesh, each with the agents. */
async function twoNodes(policies: PolicyOptions, models: readonly string[], calls: { readonly deadlineMs?: number; readonly attemptsMax?: number; readonly whenOpen?: 'fail' } = {}): Promise<(id: string) => Promise<void>> {
  const namespace = `breaker-${namespaces++}`
  const { attemptsMax = 2, ...others } = calls
  const hard = { ...policies.agents?.['worker'], retry: { attemptsMax, backoff: { firstMs: 5, factor: 1, maxMs: 5, jitter: 0 } }, ...others }
  const all: PolicyOptions = { ...policies, agents: { ...policies.agents, worker: hard } }
  for (const id of ['one', 'two']) {
    const claude = anthropic({ baseURL: server.baseURL, apiKey: server.apiKey })
    const worker = defineAgent({
      name: 'worker',
      input: z.looseObject({}),
      output: z.object({ claim: z.string() }),
      model: models.map((model) => modelOf(claude, model)),
      prompt: ({ input }) => ({ messages: [{ role: 'user', content: JSON.stringify(input) }] }),
      completionTokensMax: 100,
    })
    meshes.push(await createMesh({ store: redisStore(redis.url), namespace, node: { id }, agents: [worker], policies: all, leaseMs: 2_000 }).start())
  }
  return async (id) => {
    const mesh = meshes[started++ % 2]!
    await mesh.system.actorAt(`worker/${id}` as never).start({ input: { task: task(id) } as never, run: `r-${id}` })
  }
}
let started = 0

async function outcome(id: string): Promise<AgentOutput> {
  return (await meshes[0]!.system.actorAt(`worker/${id}` as never).output({ deadlineMs: 30_000 })) as AgentOutput
}

const good = answer({ text: '{"claim":"It holds."}' })
const opus = 'anthropic/claude-opus-4-6'
const breaker = { consecutiveMax: 3, callsMin: 100, openMs: 1_500, openFactor: 1, permitMs: 1_500, permitsMax: 4, probesMax: 2, successesToClose: 2 }

test('an outage is met by what was under way and by no more probes than are configured, of both nodes together; nothing is lost, and the recovery is no stampede', async () => {
  let isDown = true
  const reply: Replier = (request) => {
    return isDown ? overloaded() : good(request)
  }
  server.otherwise(reply)
  const workingMax = 4
  const begin = await twoNodes({ models: { '*': { breaker, bulkhead: { workingMax } } } }, ['claude-opus-4-6'], { deadlineMs: 60_000, attemptsMax: 50 })
  const ids = Array.from({ length: 40 }, (_, i) => `a-${i}`)
  await Promise.all(ids.map(begin))
  // Until two probes have failed.
  await meshes[0]!.system.actorAt(`circuitBreaker/model:anthropic:claude-opus-4-6` as never).waitFor((s) => (s as unknown as { context: { openings: number } }).context.openings >= 4, { deadlineMs: 30_000 })
  const { nextProbe } = ((await meshes[0]!.system.actorAt('circuitBreaker/model:anthropic:claude-opus-4-6' as never).snapshot()) as unknown as { context: { nextProbe: number } }).context
  const probes = nextProbe - 1
  const during = server.requests.length
  isDown = false
  const outputs = await Promise.all(ids.map(outcome))
  expect(outputs.map(({ outcome: how }) => how)).toEqual(ids.map(() => 'done'))
  // What opened it, what was under way and in hand on both nodes then, and the probes: that is all that reached the server.
  expect(during).toBeLessThanOrEqual(breaker.consecutiveMax + 2 * workingMax + 2 * breaker.permitsMax + probes)
  expect(during).toBeGreaterThanOrEqual(breaker.consecutiveMax + 2)
  console.log(`outage: ${during} requests of 40 calls during it, ${probes} of them probes, ${server.requests.length} in all`)
  expect(server.requests.length).toBeGreaterThanOrEqual(during + ids.length)
  expect(server.requests.length).toBeLessThanOrEqual(during + ids.length + 2 * breaker.probesMax)
})

test('while the breaker of the first model is open, the next model is asked at once', async () => {
  server.otherwise((request) => (request.body.model === 'claude-opus-4-6' ? overloaded() : good(request)))
  const begin = await twoNodes({ models: { [opus]: { breaker: { ...breaker, openMs: 60_000, openMsMax: 60_000 } } } }, ['claude-opus-4-6', 'claude-sonnet-4-6'])
  for (let i = 0; i < 12; i++) {
    await begin(`b-${i}`)
    expect(await outcome(`b-${i}`)).toMatchObject({ outcome: 'done' })
  }
  const asked = server.requests.map(({ body }) => body.model)
  expect(asked.filter((model) => model === 'claude-sonnet-4-6')).toHaveLength(12)
  // A batch in hand of the other node, at most, beside those that opened it.
  expect(asked.filter((model) => model === 'claude-opus-4-6').length).toBeLessThanOrEqual(breaker.consecutiveMax + breaker.permitsMax)
})

test('answers that do not fit their schema open the breaker of the agent’s version, and a call that may not wait is unavailable with the reason', async () => {
  server.otherwise(answer({ text: 'Sure! Here it is:' }))
  const begin = await twoNodes({ agents: { worker: { breaker: { consecutiveMax: 2, permitsMax: 1, openMs: 60_000 } } } }, ['claude-opus-4-6'], { whenOpen: 'fail' })
  const failures: (string | undefined)[] = []
  for (let i = 0; i < 6; i++) {
    await begin(`c-${i}`)
    const { failure } = await outcome(`c-${i}`)
    failures.push(failure?.reason)
    if (failure?.reason === 'unavailable') expect(failure.message).toBe('the circuit breaker of version worker@1 is open: 2 failures in a row')
  }
  expect(failures.slice(0, 2)).toEqual(['malformed', 'malformed'])
  expect(failures.at(-1)).toBe('unavailable')
  expect(server.requests.length).toBeLessThanOrEqual(3)
})

test('a stop holds on every node when it resolves, for calls under way in neither; what it refuses says who and why; then they go on', async () => {
  server.otherwise(good)
  const begin = await twoNodes({}, ['claude-opus-4-6'])
  await begin('d-0')
  await begin('d-1')
  await Promise.all([outcome('d-0'), outcome('d-1')])
  await meshes[1]!.policies.stop({ scope: 'version', name: 'worker@1' }, { by: 'ann', why: 'it talks nonsense' })
  const before = server.requests.length
  for (let i = 2; i < 6; i++) {
    await begin(`d-${i}`)
    expect((await outcome(`d-${i}`)).failure).toEqual({ reason: 'unavailable', message: 'ann has stopped the calls of version worker@1: it talks nonsense' })
  }
  expect(server.requests.length).toBe(before)
  await meshes[0]!.policies.resume({ scope: 'version', name: 'worker@1' })
  expect(await meshes[1]!.policies.stops()).toEqual([])
  await begin('d-6')
  expect(await outcome('d-6')).toMatchObject({ outcome: 'done' })
})

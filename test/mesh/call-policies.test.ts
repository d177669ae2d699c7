/** How hard calls try is said by the policies alone, and by those that hold when a call begins. */
import { expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, modelOf, ModelError, replay, type AgentTask, type Mesh, type PolicyOptions } from '../../src/index.js'
import { canonicalGoal } from '../../src/mesh/canonical.js'
import { World } from '../../src/testing/index.js'
import { functionModel } from '../support/function-model.js'

const grant = { tokens: 1e9, calls: 1e6, nanoDollars: 1e12 }
const retry = (attemptsMax: number, firstMs = 1_000): PolicyOptions => ({ models: { '*': { breaker: false } }, agents: { worker: { breaker: false, retry: { attemptsMax, backoff: { firstMs, factor: 1, jitter: 0 } } } } })

/** An agent whose model is always busy. */
function stage(policies?: PolicyOptions) {
  const client = functionModel(() => {
    throw new ModelError('overloaded', 'busy', { retryable: true })
  }, 'far', false)
  const worker = defineAgent({ name: 'worker', version: 2, input: z.looseObject({}), output: z.looseObject({}), model: modelOf(client, 'm', { input: 0, output: 0 }), prompt: () => ({ messages: [] }) })
  let mesh: Mesh
  const world = new World({ create: (given) => (mesh = createMesh({ ...given, agents: [worker], ...(policies ? { policies } : {}) })) })
  const actor = (id: string) => mesh.system.actorAt(`worker/${id}` as never)
  return {
    world,
    client,
    actor,
    mesh: () => mesh,
    async begin(id: string) {
      const task: AgentTask = { id, origin: id, input: {}, goal: canonicalGoal('why'), grant, run: id }
      await actor(id).start({ input: { task } as never, run: id })
      await world.settled()
    },
    async change(to: PolicyOptions | null) {
      const done = mesh.policies.set(to, { by: 'ann' })
      await world.advance(1_000)
      await done
    },
  }
}

test('a call holds to what the policies said when it began, the next one to what they say now; and its history is replayed whatever they say', async () => {
  const { world, client, actor, mesh, begin, change } = stage(retry(3))
  await world.start()
  await begin('first')
  await change(retry(6, 500))
  await world.advance(60_000)
  expect(client.requests).toHaveLength(3)
  await begin('second')
  await world.advance(2_500)
  expect(client.requests).toHaveLength(3 + 6)
  await change(null)
  await begin('third')
  await world.advance(60_000)
  expect(client.requests).toHaveLength(3 + 6 + 3)
  for (const id of ['first', 'second', 'third']) {
    const history = (await actor(id).history())!
    const { divergence, snapshot } = replay(mesh().system.machine('worker'), history)
    expect(divergence).toBeUndefined()
    expect(snapshot).toEqual(await actor(id).persisted())
  }
  await world.stop()
})

test('without a word a call makes four attempts within ten minutes; a deadline is one for all of them', async () => {
  const plain = stage({ models: { '*': { breaker: false } } })
  await plain.world.start()
  await plain.begin('a')
  await plain.world.advance(600_000)
  expect(plain.client.requests).toHaveLength(4)
  await plain.world.stop()
  const short = stage({ ...retry(100), agents: { '*': { deadlineMs: 5_500 }, 'worker@2': { retry: { attemptsMax: 100 } }, worker: { breaker: false, retry: { attemptsMax: 1, backoff: { firstMs: 1_000, factor: 1, jitter: 0 } } } } })
  await short.world.start()
  await short.begin('a')
  await short.world.advance(60_000)
  expect(short.client.requests).toHaveLength(6)
  expect(await short.actor('a').output({ deadlineMs: 1 })).toMatchObject({ failure: { reason: 'deadline', message: 'no answer within 5500 ms' } })
  await short.world.stop()
})

/** What persons say of a run is on record with who said it and when, and what they have to know is shown to them. */
import { expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, modelOf, type Mesh } from '../../src/index.js'
import { World } from '../../src/testing/index.js'
import { functionModel } from '../support/function-model.js'

const Any = z.looseObject({})

/** A run whose action gets as far as its receiver and no further, until it is told what to do. */
function stage() {
  const client = functionModel(({ task }) => ((task as { agent: string }).agent === 'planner' ? { steps: [{ n: 1 }] } : {}))
  const agent = (name: string) => defineAgent({ name, input: Any, output: Any, model: modelOf(client, 'm'), prompt: () => ({ messages: [{ role: 'user', content: 'hello' }] }) })
  /** Keys under which it was sent. */
  const sent: string[] = []
  let act = (): Promise<unknown> => new Promise(() => {})
  const job = defineRun({
    name: 'job',
    crew: { planner: agent('planner'), worker: agent('worker'), writer: agent('writer') },
    action: () => ({ name: 'post', input: {} }),
    externalActions: { post: { input: Any, run: ({ idempotencyKey }) => (sent.push(idempotencyKey), act()), reconcile: () => Promise.reject(new Error('the receiver is down')) } },
    approval: () => ({ why: 'it leaves the house' }),
  })
  let mesh: Mesh
  const world = new World({ create: (given) => (mesh = createMesh({ ...given, runs: [job] })) })
  return {
    world,
    sent,
    acts: (how: typeof act) => (act = how),
    start: () => mesh.run(job, { id: 'r', goal: 'why' }),
    run: () => mesh.handle(job, 'r'),
    async crash() {
      world.crash()
      await world.start()
      await world.settled()
    },
  }
}

test('a decision and the answer to an action of unknown outcome say who and when, and until then it is shown why nobody knows', async () => {
  const { world, sent, start, run, crash } = stage()
  await world.start()
  await start()
  await world.advance(60_000)
  const askedAt = world.now()
  await world.advance(5_000)
  await run().approve({ by: 'ann' })
  await world.settled()
  expect((await run().status())!).toMatchObject({ state: 'acting', decision: { approved: true, by: 'ann', at: askedAt + 5_000 }, resolution: null })

  await crash()
  expect((await run().status())!).toMatchObject({ state: 'unsure', failure: { reason: 'action', message: expect.stringContaining('the receiver is down') as string }, resolution: null })
  await world.advance(1_000)
  await run().resolve({ happened: false, by: 'bob' })
  await world.settled()
  expect((await run().status())!).toMatchObject({ state: 'acting', failure: null, resolution: { happened: false, by: 'bob', at: world.now() } })
  expect(sent).toEqual(['default/r/-/post', 'default/r/-/post'])

  await crash()
  // Whoever says nothing, or is nobody, has not said that it may be done again.
  for (const nothing of [{ happened: false }, { by: 'eve' }, { happened: 'no', by: 'eve' }]) await world.system.actorAt('job/r').send({ type: 'action.resolve', ...nothing } as never)
  expect((await run().status())!.state).toBe('unsure')
  await world.advance(1_000)
  const at = world.now()
  await run().resolve({ happened: true, output: { url: 'there' }, by: 'zed' })
  await world.advance(1_000)
  expect((await run().status())!).toMatchObject({ state: 'done', failure: null, published: { url: 'there' }, decision: { by: 'ann' }, resolution: { happened: true, by: 'zed', at } })
  expect(sent).toHaveLength(2)
  await world.stop()
})

test('a decision by nobody is none', async () => {
  const { world, start, run } = stage()
  await world.start()
  await start()
  await world.advance(60_000)
  const { digest } = (await run().status())!.approval!
  for (const by of [undefined, '', 5]) {
    const answer = world.system.actorAt('job/r').ask({ type: 'approval.decide', digest, approved: true, by } as never, { deadlineMs: 10_000 })
    await world.settled()
    expect(await answer).toEqual({ decision: null, pending: digest })
  }
  await run().reject({ by: 'ann' })
  await world.settled()
  expect((await run().status())!).toMatchObject({ state: 'failed', decision: { approved: false, by: 'ann' } })
  await world.stop()
})

test('an approved action that failed is tried again when a person says so, under the same key, and until then the run has failed', async () => {
  const { world, sent, acts, start, run, crash } = stage()
  acts(() => Promise.reject(new Error('503')))
  await world.start()
  await start()
  await world.advance(60_000)
  await expect(run().retry({ by: 'bob' })).rejects.toThrow(/Run r has no failed action that may be tried again: it is approvalPending/)
  await run().approve({ by: 'ann' })
  await world.settled()
  const failed = { state: 'failed', mayRetry: true, failure: { reason: 'action', message: '503' }, decision: { by: 'ann' } }
  expect((await run().status())!).toMatchObject({ ...failed, retry: null })
  expect(await run().output()).toMatchObject({ outcome: 'failed', failure: { reason: 'action', message: '503' } })
  for await (const status of run().progress()) expect(status.state).toBe('failed')

  for (const given of [undefined, {}, { by: '' }, { by: 5 }]) await expect(run().retry(given as never)).rejects.toThrow(/^retry(?:: by)?: expected .+, got /)
  await crash()
  const at = world.now()
  await run().retry({ by: 'bob' })
  await world.settled()
  expect((await run().status())!).toMatchObject({ ...failed, retry: { by: 'bob', at } })
  await world.advance(6 * 24 * 3_600_000)
  acts(() => Promise.resolve({ url: 'there' }))
  await run().retry({ by: 'zed' })
  await world.settled()
  expect((await run().status())!).toMatchObject({ state: 'done', mayRetry: false, failure: null, published: { url: 'there' }, decision: { by: 'ann' }, retry: { by: 'zed' } })
  expect(sent).toEqual(Array.from({ length: 3 }, () => 'default/r/-/post'))
  await expect(run().retry({ by: 'bob' })).rejects.toThrow(/it is done/)
  await world.stop()
})

test('a failed action is past trying again when the time to decide has passed', async () => {
  const { world, sent, acts, start, run } = stage()
  acts(() => Promise.reject(new Error('503')))
  await world.start()
  await start()
  await world.advance(60_000)
  await run().approve({ by: 'ann' })
  await world.advance(7 * 24 * 3_600_000 + 1)
  expect((await run().status())!).toMatchObject({ state: 'failed', mayRetry: false, failure: { reason: 'action', message: '503' } })
  await expect(run().retry({ by: 'bob' })).rejects.toThrow(/it is failed/)
  expect(sent).toHaveLength(1)
  await world.stop()
})

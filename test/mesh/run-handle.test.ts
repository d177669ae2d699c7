/** Who watches a run leaves nothing behind when he goes, however he goes. */
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, modelOf, type ActorSystemOptions, type Mesh, type RunHandle, type Store } from '../../src/index.js'
import { MemoryDatabase, MemoryStore } from '../../src/adapters/memory/index.js'
import { World } from '../../src/testing/index.js'
import { functionModel } from '../support/function-model.js'

const Any = z.looseObject({})

function definition() {
  const client = functionModel(({ task }) => ((task as { agent: string }).agent === 'planner' ? { steps: [{ n: 1 }] } : {}))
  const agent = (name: string) => defineAgent({ name, input: Any, output: Any, model: modelOf(client, 'm'), prompt: () => ({ messages: [{ role: 'user', content: 'hello' }] }) })
  return defineRun({ name: 'job', crew: { planner: agent('planner'), worker: agent('worker'), writer: agent('writer') }, approval: () => ({ why: 'it leaves the house' }) })
}

/** How many listen to turns, and how many wait for an end, in the process. */
function listening(mesh: Mesh, run: RunHandle): { readonly turns: number; readonly waiting: number } {
  const { subscriptions } = mesh.system as unknown as { subscriptions: { turns: { listeners: Map<string, Set<unknown>> } } }
  const { actor } = run as unknown as { actor: { address: string; gateway: { ending: { waiting: Set<unknown> } } } }
  return { turns: [...subscriptions.turns.listeners.values()].reduce((sum, { size }) => sum + size, 0), waiting: actor.gateway.ending.waiting.size }
}

const nobody = { turns: 0, waiting: 0 }

/** A mesh whose run waits for a person. */
async function stage() {
  const job = definition()
  let mesh!: Mesh
  const world = new World({ shards: 1, create: (given: ActorSystemOptions) => (mesh = createMesh({ ...given, runs: [job] })) })
  await world.start()
  const run = await mesh.run(job, { id: 'r', goal: 'why' })
  await world.advance(60_000)
  return { world, mesh, run, job }
}

describe('in the process that runs it', () => {
  test('return() ends a next() that waits, and nothing is listened to any more', async () => {
    const { world, mesh, run } = await stage()
    const progress = run.progress()
    expect(listening(mesh, run)).toEqual(nobody)
    expect((await progress.next()).value).toMatchObject({ state: 'approvalPending' })
    expect(listening(mesh, run)).not.toEqual(nobody)
    const pending = progress.next()
    expect(await progress.return()).toEqual({ value: undefined, done: true })
    expect(listening(mesh, run)).toEqual(nobody)
    expect(await pending).toEqual({ value: undefined, done: true })
    expect(await progress.next()).toEqual({ value: undefined, done: true })
    await world.stop()
  })

  test('so does a return() before the first status was read', async () => {
    const { world, mesh, run } = await stage()
    const progress = run.progress()
    const pending = progress.next()
    await progress.return()
    expect(await pending).toEqual({ value: undefined, done: true })
    expect(listening(mesh, run)).toEqual(nobody)
    await world.stop()
  })

  test('and a break, and the end of the run', async () => {
    const { world, mesh, run } = await stage()
    for await (const status of run.progress()) if (status.state === 'approvalPending') break
    expect(listening(mesh, run)).toEqual(nobody)
    const states: string[] = []
    const watched = (async () => {
      for await (const status of run.progress()) states.push(status.state)
    })()
    await world.settled()
    await run.approve({ by: 'ann' })
    await watched
    expect(states.at(-1)).toBe('done')
    for await (const status of run.progress()) expect(status.state).toBe('done')
    expect(listening(mesh, run)).toEqual(nobody)
    await world.stop()
  })

  test('a run that does not exist is waited for, and given up', async () => {
    const { world, mesh, job } = await stage()
    const run = mesh.handle(job, 'later')
    const [one, other] = [run.progress(), run.progress()]
    const [first, never] = [one.next(), other.next()]
    await other.return()
    expect(await never).toEqual({ value: undefined, done: true })
    await mesh.run(job, { id: 'later', goal: 'why' })
    expect((await first).value).toMatchObject({ run: 'later' })
    await one.return()
    expect(listening(mesh, run)).toEqual(nobody)
    await world.stop()
  })
})

test('in a client nothing is listened to after return(), either', async () => {
  const job = definition()
  const database = new MemoryDatabase()
  const owner = await createMesh({ store: new MemoryStore({ database }), runs: [job] }).start()
  await (await owner.run(job, { id: 'r', goal: 'why' })).settled()
  let watching = 0
  const inner = new MemoryStore({ database })
  const store: Store = new Proxy(inner, {
    get(target, name) {
      if (name === 'watch')
        return (shard: number, onChange: () => void) => {
          watching++
          const stop = target.watch(shard, onChange)
          return () => {
            watching--
            stop()
          }
        }
      const method: unknown = Reflect.get(target, name)
      return typeof method === 'function' ? (method.bind(target) as unknown) : method
    },
  })
  const client = await createMesh({ store, runs: [job] }).startAsClient()
  const before = watching
  const run = client.handle(job, 'r')
  for (let i = 0; i < 3; i++) {
    const progress = run.progress()
    await progress.next()
    expect(watching).toBeGreaterThan(before)
    const pending = progress.next()
    await progress.return()
    expect(await pending).toEqual({ value: undefined, done: true })
  }
  expect(watching).toBe(before)
  await client.stop()
  await owner.stop()
})

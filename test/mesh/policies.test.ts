/** Policies as they are given, explained and changed, and what they cost a call. */
import { expect, test } from 'vitest'
import { z } from 'zod'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { ConfigError, createMesh, defineAgent, modelOf, type AgentOutput, type AgentTask, type Mesh, type MeshOptions, type PolicyOptions, type Store } from '../../src/index.js'
import { canonicalGoal } from '../../src/mesh/canonical.js'
import { checkPolicies } from '../../src/mesh/policies.js'
import { functionModel } from '../support/function-model.js'

const grant = { tokens: 1e9, calls: 1e6, nanoDollars: 1e12 }
const worker = (isLocal: boolean, more: object = {}): ReturnType<typeof defineAgent> =>
  defineAgent({ name: 'worker', input: z.looseObject({}), output: z.object({ n: z.number() }), model: modelOf(functionModel(() => ({ n: 1 }), 'far', isLocal), 'm', { input: 0, output: 0 }), prompt: () => ({ messages: [] }), ...more })

async function ask(mesh: Mesh, id: string, tenant?: string): Promise<AgentOutput> {
  const task: AgentTask = { id, origin: id, input: {}, goal: canonicalGoal('why'), grant, run: id, ...(tenant === undefined ? {} : { tenant }) }
  const actor = mesh.system.actorAt(`worker/${id}` as never)
  await actor.start({ input: { task } as never, run: id })
  return (await actor.output({ deadlineMs: 20_000 })) as AgentOutput
}

const wrong: readonly (readonly [given: unknown, message: RegExp])[] = [
  [[], /^policies: : invalid input|^policies: /],
  [{ model: {} }, /^policies: model: there is no such policy or figure/],
  [{ models: { 'x/m': { breaker: { openMs: '5s' } } } }, /^policies: models\.x\/m\.breaker\.openMs: .*expected number, received string/],
  [{ models: { 'x/m': { breaker: { opensMs: 5 } } } }, /^policies: models\.x\/m\.breaker\.opensMs: there is no such policy or figure/],
  [{ models: { 'x/m': { breaker: true } } }, /^policies: models\.x\/m\.breaker: expected its figures or false/],
  [{ agents: { a: { breaker: { failureShare: 1.5 } } } }, /^policies: agents\.a\.breaker\.failureShare: too big/],
  [{ providers: { x: { limit: { requestsMax: 0 } } } }, /^policies: providers\.x\.limit\.requestsMax: too small/],
  [{ models: { '*': { breaker: { probesMax: 1 } } } }, /^policies: models\.\*\.breaker\.successesToClose: expected at most probesMax, which is 1, got 2; it would never close/],
]

test.each(wrong)('policies that are wrong are refused with the place and what was expected: %j', (given, message) => {
  expect(() => checkPolicies(given)).toThrow(message)
  expect(() => createMesh({ store: new MemoryStore(), policies: given as PolicyOptions })).toThrow(ConfigError)
})

test('what applies is explained with all figures and where they come from: by name, by provider, by default', () => {
  const mesh = createMesh({ store: new MemoryStore(), agents: [worker(false)], policies: { models: { 'far/*': { breaker: { openMs: 1_000 } }, 'far/m': { breaker: { probesMax: 5 }, bulkhead: false } }, providers: { far: { limit: { requestsMax: 50 } } } } })
  const { model, chain } = mesh.policies.explain('worker')[0]!
  expect(model).toBe('far/m')
  expect(chain.map(({ kind, scope, name, from }) => [kind, scope, name, from])).toEqual([
    ['limit', 'provider', 'far', 'far'],
    ['breaker', 'model', 'far/m', 'far/m'],
    ['breaker', 'version', 'worker@1', 'default'],
  ])
  expect(chain[1]!.figures).toMatchObject({ openMs: 1_000, probesMax: 5, callsMin: 6 })
  expect(() => mesh.policies.explain('nobody')).toThrow('this mesh has no agent nobody (it has: worker)')
})

test('models that answer in this process need no permit, unless a policy names them', () => {
  const chains = (options: Partial<MeshOptions>): number => createMesh({ store: new MemoryStore(), agents: [worker(true)], ...options }).policies.explain('worker')[0]!.chain.length
  expect(chains({})).toBe(0)
  expect(chains({ policies: { agents: { worker: { bulkhead: { workingMax: 1 } } } } })).toBe(1)
})

/** Counts what is written and asked of the store. */
function counting(store: Store): { readonly store: Store; readonly of: Map<string, number> } {
  const of = new Map<string, number>()
  const counted = new Set(['commit', 'append', 'deliver', 'load'])
  return {
    of,
    store: new Proxy(store, {
      get(target, name) {
        const method: unknown = Reflect.get(target, name)
        if (typeof method !== 'function') return method
        return (...args: unknown[]): unknown => {
          if (counted.has(String(name))) of.set(String(name), (of.get(String(name)) ?? 0) + 1)
          return (method as (...given: unknown[]) => unknown).apply(target, args)
        }
      },
    }),
  }
}

test('with permits in hand a call costs no further write: all policies together cost one for each batch', async () => {
  const calls = 60
  const writesOf = async (isLocal: boolean): Promise<number> => {
    const { store, of } = counting(new MemoryStore())
    const mesh = await createMesh({ store, agents: [worker(isLocal)], shards: 1 }).start()
    for (let i = 0; i < 3; i++) await ask(mesh, `warm-${i}`)
    of.clear()
    for (let i = 0; i < calls; i++) expect(await ask(mesh, `c-${i}`)).toMatchObject({ outcome: 'done' })
    await mesh.stop()
    console.log(`${isLocal ? 'without' : 'with'} policies, ${calls} calls: ${JSON.stringify([...of])}`)
    return (of.get('commit') ?? 0) + (of.get('append') ?? 0)
  }
  const bare = await writesOf(true)
  const governed = await writesOf(false)
  // Limit, breaker of the model and breaker of the version: batches of ten.
  const asks = 3 * Math.ceil(calls / 7)
  expect(governed - bare).toBeLessThanOrEqual(2 * asks)
  // The start with what it reads, the intent, the outcome: nothing beside.
  expect(bare / calls).toBeLessThanOrEqual(3.2)
}, 60_000)

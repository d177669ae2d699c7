/** A second attempt beside one that takes long: over real HTTP, where the server is the witness, and in virtual time with kills at any write. */
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, isBalanced, modelOf, ModelError, nothing, showTokens, type AgentOutput, type AgentTask, type Amounts, type Ledger, type Mesh, type TokenTold } from '../../src/index.js'
import { anthropic } from '../../src/adapters/anthropic/index.js'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { canonicalGoal } from '../../src/mesh/canonical.js'
import { World, type Fault } from '../../src/testing/index.js'
import { AnthropicServer, answer, overloaded, silence, stopAfter, type Replier } from '../support/anthropic-server.js'
import { extent, firstSeed } from '../support/extent.js'
import { functionModel } from '../support/function-model.js'

const grant = { tokens: 1e9, calls: 1e6, nanoDollars: 1e12 }
const taskOf = (id: string): AgentTask => ({ id, origin: id, input: {}, goal: canonicalGoal('why'), grant, run: 'r' })

describe('over the wire', () => {
  let server: AnthropicServer
  beforeAll(async () => (server = await AnthropicServer.start()))
  afterAll(() => server.stop())
  afterEach(() => server.reset())

  const good = answer({ text: ['{"claim":', '"It holds."}'], usage: { input: 25, output: 7 } })
  const sonnet = { tokens: 32, calls: 1, nanoDollars: 25 * 3_000 + 7 * 15_000 }

  async function ask(replies: readonly Replier[], more: object = {}, ofGrant: Amounts = grant): Promise<{ readonly output: AgentOutput; readonly attempts: readonly (readonly [model: string, cost: Amounts | null, error: string | null, reserved: Amounts])[]; readonly told: readonly TokenTold[] }> {
    server.next(...replies)
    const claude = anthropic({ baseURL: server.baseURL, apiKey: server.apiKey })
    const worker = defineAgent({
      name: 'worker',
      input: z.looseObject({}),
      output: z.object({ claim: z.string() }),
      model: [modelOf(claude, 'claude-opus-4-6'), modelOf(claude, 'claude-sonnet-4-6')],
      prompt: () => ({ messages: [{ role: 'user', content: 'go on' }] }),
      completionTokensMax: 100,
      stream: { everyMs: 10 },
    })
    const mesh = await createMesh({ store: new MemoryStore(), agents: [worker], policies: { agents: { '*': { hedge: { afterMs: 100 }, ...more } } } }).start()
    try {
      const actor = mesh.system.actorAt('worker/r')
      await actor.start({ input: { task: { ...taskOf('t'), grant: ofGrant } } as never, run: 'r' })
      const output = (await actor.output({ deadlineMs: 20_000 })) as AgentOutput
      const told: TokenTold[] = []
      for await (const one of mesh.tokens('r')) if (told.push(one) && one.type === 'ended' && (one.outcome === 'answered' || output.outcome === 'failed')) break
      const trace = await mesh.handle({ name: 'worker', agents: [], input: () => null } as never, 'r').trace()
      return { output, told, attempts: trace.map(({ model, cost, error, reserved }) => [model.slice('anthropic/claude-'.length), cost, error, reserved] as const) }
    } finally {
      await mesh.stop()
    }
  }

  test('an attempt that says nothing is overtaken, given up down to its socket, and charged in full', async () => {
    const { output, attempts, told } = await ask([silence('hang'), good])
    expect(output).toMatchObject({ outcome: 'done', output: { claim: 'It holds.' }, overrun: nothing })
    expect(attempts.map(([model, cost, error]) => [model, cost, error])).toEqual([
      ['opus-4-6', null, 'another attempt answered first'],
      ['sonnet-4-6', sonnet, null],
    ])
    const [, , , worst] = attempts[0]!
    expect(output.spent).toEqual({ tokens: worst.tokens + sonnet.tokens, calls: 2, nanoDollars: worst.nanoDollars + sonnet.nanoDollars })
    await server.requests[0]!.hungUp
    expect(told.map(({ type }) => type).filter((type, i, all) => type !== all[i - 1])).toEqual(['began', 'restarted', 'text', 'ended'])
    server.verify()
  })

  test('what is shown of one that had begun to answer gives way to the one that answers', async () => {
    const { told } = await ask([stopAfter(4, 'hang', good), good])
    const shown = new Map<string, string>()
    for (const one of told) showTokens(shown, one)
    expect(told.map(({ type }) => type).filter((type) => type !== 'text')).toEqual(['began', 'restarted', 'ended'])
    expect(shown.get('worker/t/call')).toBe('{"claim":"It holds."}')
    expect(told.at(-1)).toMatchObject({ attempt: 2, isWhole: true })
  })

  test('one that answers in time is asked alone, and so is one whose call has no attempt or no money to spare', async () => {
    expect((await ask([good], { hedge: { afterMs: 30_000 } })).attempts).toHaveLength(1)
    server.reset()
    expect((await ask([silence('hang')], { retry: { attemptsMax: 1 }, deadlineMs: 600 })).attempts).toHaveLength(1)
    server.reset()
    const { output, attempts } = await ask([silence('hang')], { deadlineMs: 600 }, { ...grant, calls: 1 })
    expect([output.failure?.reason, attempts.length]).toEqual(['deadline', 1])
    expect(server.requests).toHaveLength(1)
  })

  test('the second counts: where two attempts are allowed there is no third, though one of them is still silent', async () => {
    const { output, attempts } = await ask([silence('hang'), overloaded(), good], { hedge: { afterMs: 100, model: 'same' }, deadlineMs: 2_000, retry: { attemptsMax: 2 } })
    expect(output.failure?.reason).toBe('deadline')
    expect(attempts.map(([model, cost]) => [model, cost])).toEqual([['opus-4-6', null], ['opus-4-6', { ...nothing, calls: 1 }]])
    expect(server.requests).toHaveLength(2)
  })
})

// ── Kills ──

type Fate = 'ok' | 'slow' | 'hangs' | 'overloaded' | 'cut'
interface Scenario {
  readonly fates: readonly Fate[]
  readonly model: 'next' | 'same'
  readonly attemptsMax: number
  readonly faults: readonly { readonly at: number; readonly when: 'kill-before' | 'kill-after' }[]
}
const scenarios: fc.Arbitrary<Scenario> = fc.record({
  fates: fc.array(fc.constantFrom<Fate>('ok', 'slow', 'slow', 'hangs', 'overloaded', 'cut'), { maxLength: 6 }),
  model: fc.constantFrom('next', 'same'),
  attemptsMax: fc.integer({ min: 1, max: 5 }),
  faults: fc.array(fc.record({ at: fc.integer({ min: 1, max: 25 }), when: fc.constantFrom<'kill-before' | 'kill-after'>('kill-before', 'kill-after') }), { maxLength: 4 }),
})

async function play({ fates, model, attemptsMax, faults }: Scenario): Promise<{ readonly deaths: number; readonly seconds: number }> {
  let asked = 0
  let working = 0
  let seconds = 0
  /** The same process's, at one time. */
  let generation = 0
  const client = functionModel(
    async (_, { signal, idempotencyKey }) => {
      if (generation !== world.generation) working = 0
      generation = world.generation
      const fate = fates[asked++] ?? 'ok'
      if (idempotencyKey.includes('/second/')) seconds++
      expect(++working).toBeLessThanOrEqual(2)
      const before = world.generation
      try {
        if (fate === 'hangs') await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new ModelError('aborted', 'given up', { retryable: false }))))
        await world.sleep(fate === 'slow' ? 3_000 : 10)
        if (fate === 'overloaded') throw new ModelError('overloaded', 'busy', { retryable: true })
        if (fate === 'cut') throw new ModelError('connection', 'cut', { retryable: true })
        return { n: asked }
      } finally {
        if (before === world.generation) working--
      }
    },
    'far',
    false,
  )
  const worker = defineAgent({
    name: 'worker',
    input: z.looseObject({}),
    output: z.object({ n: z.number() }),
    model: ['large', 'small'].map((name) => modelOf(client, name, { input: 1, output: 1 })),
    prompt: () => ({ messages: [] }),
    stream: true,
  })
  const calls = { retry: { attemptsMax, backoff: { firstMs: 200, factor: 2, maxMs: 2_000, jitter: 0.5 } }, deadlineMs: 60_000, hedge: { afterMs: 1_000, model } }
  let mesh: Mesh | undefined
  const world: World = new World({ suspectMax: Infinity, shards: 1, create: (given) => (mesh = createMesh({ ...given, agents: [worker], policies: { models: { '*': { breaker: false } }, agents: { '*': calls } } })), onWrite: ({ index }): Fault | undefined => faults.find(({ at }) => at === index)?.when })
  let end: AgentOutput | undefined
  let ledger: Ledger | undefined
  for (let life = 0; life < 60 && !end; life++) {
    if (!world.alive && !(await world.start())) continue
    mesh!.system.actorAt('worker/r').start({ input: { task: taskOf('t') } as never, run: 'r' }).catch(() => {})
    await world.advance(20_000)
    if (!world.alive) continue
    const snapshot = (await mesh!.system.actorAt('worker/r').snapshot()) as unknown as { status: string; output: AgentOutput; context: { ledger: Ledger } } | undefined
    if (!snapshot) continue
    ledger = snapshot.context.ledger
    expect(isBalanced(ledger)).toBe(true)
    if (snapshot.status === 'done') end = snapshot.output
  }
  expect(end).toBeDefined()
  expect([ledger!.reserved, end!.overrun]).toEqual([{}, nothing])
  // Every request is an attempt on record, and no more of them than allowed, but for those that a crash cut off.
  const trace = await mesh!.handle({ name: 'worker', agents: [], input: () => null } as never, 'r').trace()
  expect(trace.map(({ endedAt }) => endedAt)).not.toContain(null)
  expect(client.requests.length).toBeLessThanOrEqual(trace.length)
  expect(trace.filter(({ error }) => !/process died/.test(error ?? '')).length).toBeLessThanOrEqual(attemptsMax)
  expect(seconds).toBeLessThanOrEqual(1)
  const sum = trace.map(({ cost, reserved }) => cost ?? reserved).reduce((a, b) => ({ tokens: a.tokens + b.tokens, calls: a.calls + b.calls, nanoDollars: a.nanoDollars + b.nanoDollars }), nothing)
  expect(end!.spent).toEqual(sum)
  const deaths = world.generation - 1
  await world.stop()
  return { deaths, seconds }
}

test(`whatever becomes of first and second, killed at any write: never more than one beside, never more attempts than allowed, each on record and paid once (seed ${firstSeed})`, async () => {
  const seen = { deaths: 0, seconds: 0 }
  await fc.assert(
    fc.asyncProperty(scenarios, async (scenario) => {
      const { deaths, seconds } = await play(scenario)
      seen.deaths += deaths
      seen.seconds += seconds
    }),
    { seed: firstSeed, numRuns: extent(25, 1_500) },
  )
  console.log(`hedges under kills: ${JSON.stringify(seen)}`)
  expect(seen.deaths).toBeGreaterThan(8)
  expect(seen.seconds).toBeGreaterThan(5)
})

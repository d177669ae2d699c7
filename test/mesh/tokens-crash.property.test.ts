/**
 * What models are writing, told to readers that are cut off and come back at any moment, while the process that runs the calls
 * is killed before or after any durable write, and attempts fail in the middle: every reader gets every entry once and
 * in order, and nobody ever sees halves of two attempts as one.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, modelOf, ModelError, showTokens, type AgentOutput, type AgentTask, type Mesh, type ModelClient, type TokenTold } from '../../src/index.js'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { canonicalGoal } from '../../src/mesh/canonical.js'
import { World, type Fault } from '../../src/testing/index.js'
import { extent, firstSeed } from '../support/extent.js'

const runs = extent(40, 1_500)
const grant = { tokens: 1e9, calls: 1e6, nanoDollars: 1e12 }

interface Fate {
  /** Deltas until it ends; beyond those there are, all of them. */
  readonly deltas: number
  readonly how: 'answered' | 'cut' | 'whole at once'
  readonly pauseMs: number
}
interface Scenario {
  readonly fates: readonly Fate[]
  readonly text: string
  /** Lengths of the deltas, in UTF-16 units, over and over: through characters, too. */
  readonly lengths: readonly number[]
  readonly everyMs: number
  readonly calls: number
  readonly faults: readonly { readonly at: number; readonly when: 'kill-before' | 'kill-after' }[]
  /** After how many entries each reader is cut off, over and over. */
  readonly cuts: readonly (readonly number[])[]
}
const scenarios: fc.Arbitrary<Scenario> = fc.record({
  fates: fc.array(fc.record({ deltas: fc.nat(12), how: fc.constantFrom<Fate['how']>('answered', 'cut', 'cut', 'whole at once'), pauseMs: fc.constantFrom(0, 1, 30, 300) }), { maxLength: 5 }),
  text: fc.array(fc.constantFrom('a', 'b', ' ', '"', 'é', '\u{1f600}', '\u{1f9a6}', '\n'), { maxLength: 50 }).map((units) => units.join('')),
  lengths: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 4 }),
  everyMs: fc.constantFrom(10, 50, 200),
  calls: fc.integer({ min: 1, max: 3 }),
  faults: fc.array(fc.record({ at: fc.integer({ min: 1, max: 80 }), when: fc.constantFrom<'kill-before' | 'kill-after'>('kill-before', 'kill-after') }), { maxLength: 5 }),
  cuts: fc.array(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 2 }),
})

/** Reads on from where it was each time it is cut off. */
class Reader {
  readonly told: TokenTold[] = []
  sessions = 0
  private isOver = false
  private current: AsyncGenerator<TokenTold, void> | undefined
  private readonly reading: Promise<void>

  constructor(mesh: () => Mesh | undefined, cuts: readonly number[]) {
    this.reading = (async () => {
      while (!this.isOver) {
        const from = mesh()
        if (!from) {
          await new Promise<void>((resolve) => setImmediate(resolve))
          continue
        }
        let left = cuts[this.sessions++ % cuts.length]!
        try {
          this.current = from.tokens('r', this.told.length === 0 ? {} : { after: this.told.at(-1)!.id })
          for await (const one of this.current) {
            this.told.push(one)
            if (--left === 0) break
          }
        } catch (error) {
          // Its process has gone.
          if ((error as { code?: string }).code !== 'STOPPED') throw error
        }
      }
    })()
  }

  /** Its connection is cut. */
  cut(): void {
    void this.current?.return()
  }

  async stop(): Promise<void> {
    this.isOver = true
    this.cut()
    await this.reading
  }
}

async function play({ fates, text, lengths, everyMs, calls, faults, cuts }: Scenario): Promise<{ readonly deaths: number; readonly sessions: number; readonly restarted: number }> {
  /** What each attempt would answer, in the order in which the model was asked. */
  const answers: string[] = []
  const client: ModelClient = {
    provider: 'test',
    isLocal: true,
    async complete({ model, task }, { signal, onText }) {
      const fate = fates[answers.length] ?? { deltas: 99, how: 'answered', pauseMs: 20 }
      const answer = JSON.stringify({ text: `${answers.length} for ${(task.input as { n: number }).n}: ${text}` })
      answers.push(answer)
      if (fate.how !== 'whole at once') {
        for (let from = 0, i = 0; from < answer.length && i < fate.deltas; i++) {
          if (fate.pauseMs > 0) await world.sleep(fate.pauseMs)
          if (signal.aborted) throw new ModelError('aborted', 'given up', { retryable: false })
          const length = lengths[i % lengths.length]!
          onText?.(answer.slice(from, from + length))
          from += length
        }
      }
      if (fate.how === 'cut') throw new ModelError('connection', 'cut', { retryable: true })
      return { text: answer, stopReason: 'end', usage: { inputTokens: 1, outputTokens: 1, cacheReadTokens: 0, cacheWriteTokens: 0 }, model }
    },
  }
  const worker = defineAgent({
    name: 'worker',
    input: z.object({ n: z.number() }),
    output: z.object({ text: z.string() }),
    model: modelOf(client, 'm', { input: 1, output: 1 }),
    prompt: () => ({ messages: [] }),
    stream: { everyMs },
  })
  const policies = { agents: { '*': { retry: { attemptsMax: 40, backoff: { firstMs: 10, factor: 1, maxMs: 10, jitter: 0 } }, deadlineMs: 3_600_000 } } }
  let mesh: Mesh | undefined
  const world: World = new World({ suspectMax: Infinity, shards: 1, create: (given) => (mesh = createMesh({ ...given, agents: [worker], policies })), onWrite: ({ index }): Fault | undefined => faults.find(({ at }) => at === index)?.when })
  // Of another process, which runs no agents and is not killed.
  const client2 = createMesh({ store: new MemoryStore({ database: world.database, now: () => world.now() }), clock: world.time, agents: [worker] })
  const far = cuts.map((each) => new Reader(() => (client2.system.durability ? client2 : undefined), each))
  const near = cuts.map((each) => new Reader(() => (world.alive && world.system.durability ? mesh : undefined), each))
  const outputs = new Map<number, AgentOutput>()
  for (let life = 0; life < 100 && outputs.size < calls; life++) {
    if (!world.alive) {
      const isUp = await world.start()
      void world.died.then(() => near.forEach((reader) => reader.cut()))
      if (!isUp) continue
      if (!client2.system.durability) await client2.startAsClient()
    }
    for (let n = 0; n < calls && world.alive; n++) {
      const task: AgentTask = { id: `t${n}`, origin: 't', input: { n }, goal: canonicalGoal('why'), grant, run: 'r' }
      mesh!.system.actorAt(`worker/r~${n}` as never).start({ input: { task } as never, run: 'r' }).catch(() => {})
    }
    await world.advance(5_000)
    for (let n = 0; n < calls && world.alive; n++) {
      const snapshot = (await mesh!.system.actorAt(`worker/r~${n}` as never).snapshot()) as unknown as { status: string; output: AgentOutput } | undefined
      if (snapshot?.status === 'done') outputs.set(n, snapshot.output)
    }
  }
  expect(outputs.size).toBe(calls)
  const entries = await mesh!.system.stream('tokenStream/r', 'tokens', 0, 10_000)
  const readers = [...far, ...near]
  for (let i = 0; i < 50 && readers.some(({ told }) => told.length < entries.length); i++) {
    await world.advance(3_000)
    for (let turn = 0; turn < 20; turn++) await new Promise<void>((resolve) => setImmediate(resolve))
  }
  for (const reader of readers) await reader.stop()
  let restarted = 0
  for (const { told } of readers) {
    // Each entry once, in order, and nothing else.
    expect(told.map(({ id }) => Number(/^\d+/.exec(id)![0]))).toEqual(entries.map(({ seq }) => seq))
    expect(told.map(({ id: _id, ...rest }) => rest)).toEqual(entries.map(({ at, value }) => ({ at, ...(value as object) })))
    const shown = new Map<string, string>()
    for (const one of told) {
      if (one.type === 'lost') throw new Error('nothing was lost')
      if (one.type === 'restarted') restarted++
      const call = `worker/${one.task}/call`
      const before = shown.get(call)
      showTokens(shown, one)
      const now = shown.get(call)!
      // It goes on from what was shown, from nothing, or not at all; and it is what one attempt wrote.
      if (one.type === 'text') expect(now).toBe(before! + one.text)
      expect(answers.some((answer) => answer.startsWith(now)), now).toBe(true)
      if (one.type === 'ended' && one.outcome === 'answered') expect([one.isWhole, answers.includes(now)]).toEqual([true, true])
    }
    // The last word is the outcome.
    for (const [n, { output }] of outputs) expect(JSON.parse(shown.get(`worker/t${n}/call`)!)).toEqual(output)
  }
  await client2.stop()
  await world.stop()
  return { deaths: world.generation - 1, sessions: readers.reduce((sum, { sessions }) => sum + sessions, 0), restarted }
}

test(`whoever is cut off comes back to every entry once, and what is shown is always of one attempt (seed ${firstSeed})`, async () => {
  const seen = { deaths: 0, sessions: 0, restarted: 0 }
  await fc.assert(
    fc.asyncProperty(scenarios, async (scenario) => {
      const { deaths, sessions, restarted } = await play(scenario)
      seen.deaths += deaths
      seen.sessions += sessions
      seen.restarted += restarted
    }),
    { seed: firstSeed, numRuns: runs },
  )
  console.log(`tokens under kills: ${JSON.stringify(seen)}`)
  expect(seen.deaths).toBeGreaterThan(runs / 3)
  expect(seen.restarted).toBeGreaterThan(runs)
  expect(seen.sessions).toBeGreaterThan(5 * runs)
})

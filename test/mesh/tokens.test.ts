/** What models are writing, as those who watch are told it, and what that costs. Cuts and kills: tokens-crash.property.test.ts. */
import { expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, modelOf, showTokens, type AgentOptions, type AgentOutput, type AgentTask, type Mesh, type MeshOptions, type ModelClient, type TokenTold } from '../../src/index.js'
import { canonicalGoal } from '../../src/mesh/canonical.js'
import { World } from '../../src/testing/index.js'
import { functionModel } from '../support/function-model.js'

const grant = { tokens: 1e9, calls: 1e6, nanoDollars: 1e12 }
const task: AgentTask = { id: 't', origin: 't', input: {}, goal: canonicalGoal('why'), grant, run: 'r' }

interface Script {
  readonly deltas: readonly string[]
  readonly everyMs: number
  /** Default: what the deltas are together. */
  readonly text?: string
}

async function aWorld(script: () => Script, more: Partial<AgentOptions<object, unknown>> = {}, options: Partial<MeshOptions> = {}): Promise<{ readonly world: World; readonly mesh: Mesh; run(n?: number): Promise<AgentOutput & { readonly endedAt: number; readonly writes: number }> }> {
  const client: ModelClient = {
    provider: 'test',
    isLocal: true,
    async complete({ model }, { onText }) {
      const { deltas, everyMs, text = deltas.join('') } = script()
      for (const delta of deltas) {
        await world.sleep(everyMs)
        onText?.(delta)
      }
      return { text, stopReason: 'end', usage: { inputTokens: 1, outputTokens: 4, cacheReadTokens: 0, cacheWriteTokens: 0 }, model }
    },
  }
  const worker = defineAgent({ name: 'worker', input: z.looseObject({}), output: z.string(), model: modelOf(client, 'm'), prompt: () => ({ messages: [] }), stream: true, ...(more as object) })
  let mesh: Mesh
  const world: World = new World({ shards: 1, create: (given) => (mesh = createMesh({ ...given, policies: { agents: { '*': { deadlineMs: 3_600_000 } } }, ...options, agents: [worker] })) })
  await world.start()
  return {
    world,
    mesh: mesh!,
    async run(n = 1) {
      const before = world.writes
      await mesh.system.actorAt(`worker/r~${n}`).start({ input: { task: n === 1 ? task : { ...task, id: `t${n}` } } as never, run: 'r' })
      const done = mesh.system.actorAt(`worker/r~${n}`).output().then((output) => ({ ...(output as AgentOutput), endedAt: world.now() }))
      await world.advance(600_000)
      return { ...(await done), writes: world.writes - before }
    },
  }
}

/** All there is to read just now. */
async function read(world: World, tokens: AsyncGenerator<TokenTold, void>): Promise<TokenTold[]> {
  const told: TokenTold[] = []
  const reading = (async () => {
    for await (const one of tokens) told.push(one)
  })()
  await world.advance(10)
  for (let i = 0; i < 50; i++) await new Promise<void>((resolve) => setImmediate(resolve))
  await tokens.return()
  await reading
  return told
}

const letters = (count: number): string[] => ['"', ...Array.from({ length: count - 2 }, (_, i) => String.fromCodePoint(97 + (i % 26))), '"']
const brief = (told: readonly TokenTold[]): unknown[] => told.map((one) => (one.type === 'text' ? one.text : one.type === 'lost' ? 'lost' : one.type === 'ended' ? `${one.outcome}${one.isWhole ? '' : ', not whole'}` : `${one.type} ${one.attempt}`))

test('the first words are told at once, then at most so often; beside that it costs no write, and an agent that declares nothing is not told of', async () => {
  // 100 deltas in 5 s.
  const script = { deltas: letters(100), everyMs: 50 }
  const writes: Record<string, number> = {}
  for (const [name, stream] of Object.entries({ off: false, on: true, often: { everyMs: 50 }, seldom: { everyMs: 60_000 } })) {
    const { world, mesh, run } = await aWorld(() => script, { stream })
    const first = await run(1)
    const { output, writes: count } = await run(2)
    // The run's stream is read, or begun, once.
    expect(first.writes - count).toBe(stream === false ? 0 : 1)
    expect(output).toBe(script.deltas.join('').slice(1, -1))
    writes[name] = count
    const told = (await read(world, mesh.tokens('r'))).filter((one) => one.type !== 'lost' && one.task === 't2')
    if (name === 'off') expect(told).toEqual([])
    if (name === 'seldom') expect(brief(told)).toEqual(['began 1', '"', script.deltas.join('').slice(1), 'answered'])
    if (name === 'on') expect(brief(told).slice(0, 4)).toEqual(['began 1', '"', 'abc', 'defg'])
    await world.stop()
  }
  console.log(`writes of one call: ${JSON.stringify(writes)}`)
  expect(writes['seldom']! - writes['off']!).toBe(1)
  expect(writes['on']! - writes['off']!).toBe(25)
  expect(writes['often']! - writes['off']!).toBe(99)
})

test('an answer that comes at once costs no write more, and is told with its outcome', async () => {
  const script = { deltas: ['"all of it"'], everyMs: 0 }
  const { world, mesh, run } = await aWorld(() => ({ deltas: [], everyMs: 0, text: script.deltas.join('') }))
  await run(1)
  const on = await run(2)
  expect(brief(await read(world, mesh.tokens('r'))).slice(3)).toEqual(['began 1', '"all of it"', 'answered'])
  await world.stop()
  const without = await aWorld(() => script, { stream: false })
  expect((await without.run()).writes).toBe(on.writes)
  await without.world.stop()
})

test('nobody who watches, or watches slowly, holds a call up', async () => {
  const script = { deltas: letters(200), everyMs: 20 }
  const ends: number[] = []
  for (const isWatched of [false, true]) {
    const { world, mesh, run } = await aWorld(() => script)
    const slow = mesh.tokens('r')
    if (isWatched) void slow.next()
    ends.push((await run()).endedAt)
    await slow.return()
    await world.stop()
  }
  expect(ends[1]).toBe(ends[0])
})

test('who falls so far behind that entries have gone is told so, and is shown nothing of which it has not the beginning', async () => {
  const script = { deltas: letters(100), everyMs: 100 }
  const { world, mesh, run } = await aWorld(() => script, { stream: { everyMs: 100 } }, { streamMax: 20, tracesWaitingMax: 1 })
  const slow = mesh.tokens('r')
  const first = slow.next()
  await run()
  const told = [(await first).value as TokenTold, ...(await read(world, slow))]
  expect(brief(told)).toEqual(['began 1', 'lost', 'answered, not whole'])
  const shown = new Map<string, string>()
  for (const one of told) showTokens(shown, one)
  expect([...shown]).toEqual([])
  // And so is one who comes back, or comes late.
  expect(brief(await read(world, mesh.tokens('r', { after: told[0]!.id })))).toEqual(['lost', 'answered, not whole'])
  expect(brief(await read(world, mesh.tokens('r')))).toEqual(['lost', 'answered, not whole'])
  // Who has read on from there has lost nothing more.
  expect(brief(await read(world, mesh.tokens('r', { after: told[2]!.id })))).toEqual([])
  await world.stop()
})

test('who comes with an entry of a stream that is not there, because the store went back, begins anew', async () => {
  const { world, mesh, run } = await aWorld(() => ({ deltas: letters(4), everyMs: 100 }))
  await run()
  const all = await read(world, mesh.tokens('r'))
  const [seq, at] = all[1]!.id.split('-') as [string, string]
  for (const after of [`${seq}-${(Number.parseInt(at, 36) - 1).toString(36)}`, `9999-${at}`]) expect(brief(await read(world, mesh.tokens('r', { after })))).toEqual(['lost', ...brief(all)])
  expect(brief(await read(world, mesh.tokens('r', { after: all[1]!.id })))).toEqual(brief(all).slice(2))
  await world.stop()
})

test('an answer that is not what was told while it was written is told again, from its beginning', async () => {
  const { world, mesh, run } = await aWorld(() => ({ deltas: ['"fir', 'st"'], everyMs: 500, text: '"second"' }))
  expect(await run()).toMatchObject({ output: 'second' })
  const told = await read(world, mesh.tokens('r'))
  expect(brief(told)).toEqual(['began 1', '"fir', 'st"', 'restarted 1', '"second"', 'answered'])
  await world.stop()
})

test('a long answer that comes at once goes in pieces before its outcome', async () => {
  const long = JSON.stringify('x'.repeat(100_000))
  const { world, mesh, run } = await aWorld(() => ({ deltas: [], everyMs: 0, text: long }))
  await run()
  const told = await read(world, mesh.tokens('r'))
  const shown = new Map<string, string>()
  for (const one of told) {
    if (one.type === 'text') expect(one.text.length).toBeLessThanOrEqual(8_192)
    showTokens(shown, one)
  }
  expect(shown.get('worker/t/call')).toBe(long)
  expect(told.at(-1)).toMatchObject({ type: 'ended', isWhole: true })
  await world.stop()
})

test('a run’s tokens end with the run, and only those of the agents that were asked for are told', async () => {
  const client = functionModel(({ task: { agent } }) => (agent === 'planner' ? { steps: ['a', 'b'] } : { text: `by ${agent}` }))
  const agent = (name: string, output: z.ZodType) => defineAgent({ name, input: z.looseObject({}), output, model: modelOf(client, 'm'), prompt: () => ({ messages: [] }), stream: true })
  const job = defineRun({ name: 'job', crew: { planner: agent('planner', z.object({ steps: z.array(z.string()) })), worker: agent('worker', z.looseObject({})), writer: agent('writer', z.looseObject({})) } })
  let mesh: Mesh
  const world: World = new World({ create: (given) => (mesh = createMesh({ ...given, runs: [job] })) })
  await world.start()
  const early = mesh!.handle(job, 'r').tokens()
  const all = (async () => {
    const told: TokenTold[] = []
    for await (const one of early) told.push(one)
    return told
  })()
  const run = await mesh!.run(job, { id: 'r', goal: 'why' })
  await world.advance(60_000)
  const told = await all
  expect(told.filter(({ type }) => type === 'ended').map((one) => one.type === 'ended' && one.task).sort()).toEqual(['plan', 'report', 'step-1', 'step-2'])
  const mine: TokenTold[] = []
  for await (const one of run.tokens({ agent: 'writer' })) mine.push(one)
  expect(mine).toEqual(told.filter((one) => one.type !== 'lost' && one.agent === 'writer'))
  expect(brief(mine)).toEqual(['began 1', '{"text":"by writer"}', 'answered'])
  for (const [options, error] of [[{ after: 'x' }, /^after: expected the id of what was read last, got "x"/], [{ agent: 1 }, /^tokens: agent: expected a text/], [{ since: '1' }, /no such option/]] as const) expect(() => run.tokens(options as never)).toThrow(error)
  expect(() => mesh.tokens('a b')).toThrow(/not allowed/)
  expect(() => defineAgent({ name: 'a', input: z.any(), output: z.any(), model: modelOf(client, 'm'), prompt: () => ({ messages: [] }), stream: { everyMs: 1 } })).toThrow(/stream.everyMs: expected a whole number from 10/)
  await world.stop()
})

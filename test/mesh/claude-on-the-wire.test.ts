/** Claude behind a run, over real HTTP: every way in which an attempt can end, as the agent, the ledger and the trace have it. The server is the witness. */
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, modelOf, type Amounts, type RunStatus, type Store, type TraceRecord } from '../../src/index.js'
import { anthropic } from '../../src/adapters/anthropic/index.js'
import { lmdbStore } from '../../src/adapters/lmdb/index.js'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { AnthropicServer, answer, errorEvent, events, eventsOf, failure, json, overloaded, rateLimited, silence, stopAfter, type Replier } from '../support/anthropic-server.js'
import { extent, firstSeed } from '../support/extent.js'
import { functionModel } from '../support/function-model.js'
import { RecordingLogger } from '../support/worlds.js'

let server: AnthropicServer
beforeAll(async () => (server = await AnthropicServer.start({ apiKey: 'sk-ant-0123456789-secret' })))
afterAll(() => server.stop())
afterEach(() => server.reset())


interface Seen {
  readonly status: RunStatus
  /** Of the worker that Claude plays. */
  readonly trace: readonly TraceRecord[]
  readonly logger: RecordingLogger
  /** What the worker of the first step spent, as its ledger has it. */
  readonly spent: Amounts
}

/** A run of one step, whose worker is Claude: Opus, then Sonnet. A step that is not answered is not asked again. */
async function run(replies: readonly Replier[], options: { readonly deadlineMs?: number; readonly attemptsMax?: number } = {}, store: Store = new MemoryStore(), usd = 5): Promise<Seen> {
  server.next(...replies)
  const { attemptsMax = 3, ...others } = options
  const claude = anthropic({ baseURL: server.baseURL, apiKey: server.apiKey })
  const scripted = modelOf(functionModel(({ task }) => ((task as { agent: string }).agent === 'planner' ? { steps: [{ n: 1 }] } : {})), 'm', { input: 0, output: 0 })
  const common = { input: z.looseObject({}), prompt: ({ input }: { input: unknown }) => ({ messages: [{ role: 'user' as const, content: JSON.stringify(input) }] }) }
  const worker = defineAgent({
    ...common,
    name: 'worker',
    output: z.object({ claim: z.string() }),
    model: [modelOf(claude, 'claude-opus-4-6'), modelOf(claude, 'claude-sonnet-4-6')],
    completionTokensMax: 100,
  })
  const other = (name: string): ReturnType<typeof defineAgent> => defineAgent({ ...common, name, output: z.looseObject({}), model: scripted })
  const job = defineRun({ name: 'job', crew: { planner: other('planner'), worker, writer: other('writer') }, replansMax: 0 })
  const logger = new RecordingLogger()
  const mesh = await createMesh({ store, runs: [job], logger, policies: { agents: { worker: { retry: { attemptsMax, backoff: { firstMs: 1, factor: 1, maxMs: 5, jitter: 0 } }, ...others } } } }).start()
  try {
    const handle = await mesh.run(job, { id: 'r', goal: 'why', ceiling: { usd } })
    await handle.settled()
    const status = (await handle.status())!
    return { status, logger, trace: (await handle.trace()).filter(({ agent }) => agent === 'worker'), spent: status.members.find(({ machine }) => machine === 'worker')!.spent }
  } finally {
    await mesh.stop()
  }
}

const good = answer({ text: '{"claim":"It holds."}', usage: { input: 25, output: 7 } })
const opus = { tokens: 32, calls: 1, nanoDollars: 25 * 5_000 + 7 * 25_000 }
const sonnet = { tokens: 32, calls: 1, nanoDollars: 25 * 3_000 + 7 * 15_000 }
/** The provider said that it did nothing. */
const free = { tokens: 0, calls: 1, nanoDollars: 0 }
/** It counted the prompt, and nobody knows how much of the completion. */
const promptAndAll = { tokens: 25 + 100, calls: 1, nanoDollars: 25 * 5_000 + 100 * 25_000 }

/** What an attempt cost; null: nobody knows, so all that was held for it. */
type Expected = readonly [model: 'opus' | 'sonnet', error: RegExp | null, cost: Amounts | null]

interface Case {
  readonly name: string
  readonly replies: readonly Replier[]
  readonly options?: { readonly deadlineMs: number }
  /** Why the step was not answered; absent: it was. */
  readonly why?: RegExp
  readonly attempts: readonly Expected[]
}

const again: Expected = ['sonnet', null, sonnet]
const cases: readonly Case[] = [
  { name: 'an answer', replies: [good], attempts: [['opus', null, opus]] },
  { name: 'an answer that does not say what it took, and is not asked for again', replies: [events(eventsOf({ text: '{"claim":"It holds."}' }, 'm').map((event) => (event.type === 'message_delta' ? { ...event, usage: undefined } : event)))], attempts: [['opus', null, promptAndAll]] },
  { name: 'an answer in another shape', replies: [answer({ text: '{"other":1}' })], why: /does not fit worker's schema: at claim/, attempts: [['opus', /does not fit/, opus]] },
  { name: 'an answer that is no JSON', replies: [answer({ text: '{"claim":' })], why: /the answer is not JSON/, attempts: [['opus', /not JSON/, opus]] },
  { name: 'a refusal', replies: [answer({ text: 'I cannot.', stopReason: 'refusal' })], why: /the model declined to answer/, attempts: [['opus', /declined/, opus]] },
  { name: 'an answer that is cut off at its bound, and is not parsed', replies: [answer({ text: '{"claim":"It ho', stopReason: 'max_tokens' })], why: /the answer was cut off at 100 tokens/, attempts: [['opus', /cut off at 100 tokens/, opus]] },
  { name: 'a tool that nobody offered, and then an answer of the next model', replies: [answer({ text: 'x', stopReason: 'tool_use' }), good], attempts: [['opus', /cannot be read/, opus], again] },
  { name: '400', replies: [failure(400, 'invalid_request_error', 'max_tokens: too many')], why: /refused the request \(400, invalid_request_error/, attempts: [['opus', /400/, free]] },
  { name: '401', replies: [failure(401, 'authentication_error', 'invalid x-api-key')], why: /check ANTHROPIC_API_KEY/, attempts: [['opus', /401/, free]] },
  { name: '402', replies: [failure(402, 'billing_error', 'Your credit balance is too low')], why: /check its credit/, attempts: [['opus', /402/, free]] },
  { name: '413', replies: [failure(413, 'request_too_large', 'Request exceeds the maximum size')], why: /413/, attempts: [['opus', /413/, free]] },
  { name: '429, and then an answer of the next model', replies: [rateLimited(), good], attempts: [['opus', /429/, free], again] },
  { name: '500', replies: [failure(500, 'api_error', 'Internal server error'), good], attempts: [['opus', /500/, free], again] },
  { name: '529 twice', replies: [overloaded(), overloaded(), good], attempts: [['opus', /529/, free], ['sonnet', /529/, free], again] },
  { name: '529 for ever', replies: [overloaded(), overloaded(), overloaded()], why: /overloaded \(529/, attempts: [['opus', /529/, free], ['sonnet', /529/, free], ['sonnet', /529/, free]] },
  { name: 'an overload inside a stream of 200', replies: [events([...eventsOf({ text: 'part' }, 'm').slice(0, 4), errorEvent('overloaded_error', 'Overloaded')]), good], attempts: [['opus', /overloaded/, promptAndAll], again] },
  { name: 'a connection that is cut before its first token', replies: [silence('cut'), good], attempts: [['opus', /failed before an answer began/, null], again] },
  { name: 'a connection that is cut after its first token', replies: [stopAfter(4, 'cut', good), good], attempts: [['opus', /in the middle of the answer/, promptAndAll], again] },
  { name: 'silence until the deadline', replies: [silence('hang')], options: { deadlineMs: 1_500 }, why: /no answer within 1500 ms/, attempts: [['opus', /no answer within 1500 ms/, null]] },
  { name: 'what is no event stream', replies: [json(200, 'not a message'), good], attempts: [['opus', /no event stream/, null], again] },
]

/** All text there is of a run, in whatever form a person or a tool might see it. */
function allText({ status, trace, logger }: Seen): string {
  return [JSON.stringify([status, trace, logger.lines]), inspect([status, trace, logger.lines], { depth: 20, showHidden: true })].join('\\n')
}

function add(a: Amounts, b: Amounts): Amounts {
  return { tokens: a.tokens + b.tokens, calls: a.calls + b.calls, nanoDollars: a.nanoDollars + b.nanoDollars }
}

test.each(cases)('$name: typed, traced and paid for', async ({ replies, options, why, attempts }) => {
  const seen = await run(replies, options)
  const { status, trace, spent } = seen
  expect(status.state).toBe('done')
  expect(status.steps.map(({ state, reason }) => [state, reason])).toEqual([why ? ['unanswered', expect.stringMatching(why) as string] : ['done', null]])
  // The server is the witness: every request is an attempt on record, and none is left out.
  expect(server.requests.map(({ body }) => `anthropic/${body.model}`)).toEqual(trace.map(({ model }) => model))
  expect(trace.map(({ model, error, cost }) => ({ model, error, cost }))).toEqual(
    attempts.map(([model, error, cost]) => ({ model: model === 'opus' ? 'anthropic/claude-opus-4-6' : 'anthropic/claude-sonnet-4-6', error: error === null ? null : (expect.stringMatching(error) as string), cost })),
  )
  expect(trace.map(({ endedAt }) => endedAt)).not.toContain(null)
  // What nobody knows is charged in full.
  expect(spent).toEqual(trace.map(({ cost, reserved }) => cost ?? reserved).reduce(add))
  expect(status.overrun).toEqual({ tokens: 0, calls: 0, nanoDollars: 0 })
  expect(allText(seen)).not.toContain(server.apiKey)
  server.verify()
})

test('what a cut answer had counted by then is in the trace, as it was told, and in the ledger as the most that it can have become', async () => {
  const { trace } = await run([stopAfter(4, 'cut', good), overloaded(), good])
  expect(trace.map(({ tokens, cost }) => [tokens, cost])).toEqual([
    [{ input: 25, output: 1, cacheRead: 0, cacheWrite: 0 }, promptAndAll],
    [null, free],
    [{ input: 25, output: 7, cacheRead: 0, cacheWrite: 0 }, sonnet],
  ])
})

test('the provider’s wish to be left alone is heeded', async () => {
  const { trace } = await run([rateLimited('1'), good])
  expect(trace[1]!.startedAt - trace[0]!.endedAt!).toBeGreaterThanOrEqual(1_000)
})

test('the key is nowhere in what is kept, though every call failed over it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-key-'))
  try {
    const replies = [failure(401, 'authentication_error', `invalid x-api-key: ${server.apiKey}`), failure(500, 'api_error', server.apiKey), events([errorEvent('api_error', server.apiKey)])]
    for (const [i, reply] of replies.entries()) {
      server.reset()
      const seen = await run([reply], { attemptsMax: 1 }, lmdbStore(join(folder, String(i))))
      expect(seen.status.steps[0]!.state).toBe('unanswered')
      expect(allText(seen)).not.toContain(server.apiKey)
    }
    const files = await readdir(folder, { recursive: true, withFileTypes: true })
    const bytes = await Promise.all(files.filter((file) => file.isFile()).map((file) => readFile(join(file.parentPath, file.name))))
    expect(bytes.length).toBeGreaterThan(2)
    expect(bytes.some((content) => content.includes('Anthropic'))).toBe(true)
    expect(bytes.some((content) => content.includes(server.apiKey) || content.includes('0123456789-secret'))).toBe(false)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test(`whatever comes over the wire: no more attempts than allowed, each on record and paid for, and never more spent than there was (seed ${firstSeed})`, async () => {
  const reply = fc.constantFrom<Replier>(good, overloaded(), rateLimited(), failure(500, 'api_error', 'x'), failure(400, 'invalid_request_error', 'x'), silence('cut'), stopAfter(4, 'cut', good), answer({ text: 'no' }), json(200, 'x'), events([errorEvent('overloaded_error', 'x')]))
  await fc.assert(
    fc.asyncProperty(fc.array(reply, { minLength: 6, maxLength: 6 }), fc.integer({ min: 1, max: 5 }), fc.constantFrom(0, 0.001, 0.02, 0.05, 5), async (replies, attemptsMax, usd) => {
      server.reset()
      const { status, trace, spent } = await run(replies, { attemptsMax }, new MemoryStore(), usd)
      expect(server.requests.map(({ body }) => `anthropic/${body.model}`)).toEqual(trace.map(({ model }) => model))
      expect(trace.length).toBeLessThanOrEqual(attemptsMax)
      if (trace.length > 0) expect(spent).toEqual(trace.map(({ cost, reserved }) => cost ?? reserved).reduce(add))
      expect(status.spent.nanoDollars).toBeLessThanOrEqual(usd * 1e9)
      expect(status.overrun.nanoDollars).toBe(0)
    }),
    { numRuns: extent(40), seed: firstSeed },
  )
}, 120_000)

/** What the types of agents, runs and the mesh promise to a user's program; see consumer.ts. */
import { createMesh, defineAgent, defineRun, free, modelOf, ModelError, type AgentDefinition, type FindingRecord, type ModelClient, type RunHandle, type RunState, type TraceRecord, type Verdict } from 'holdfast'
import { aiSdk } from 'holdfast/ai-sdk'
import { anthropic } from 'holdfast/anthropic'
import { httpAction } from 'holdfast/http'
import { jsonlTraces } from 'holdfast/jsonl'
import { lmdbStore } from 'holdfast/lmdb'
import { offlineModel } from 'holdfast/offline'
import { redisStore, redisTraces } from 'holdfast/redis'
import { z } from 'zod'
import { is } from './is.js'

// ── Models ──

const model = modelOf(offlineModel({ skills: { researcher: ({ agent, input }) => ({ claim: `${agent} on ${JSON.stringify(input)}` }) } }), 'scripted', free)
const anySdk = aiSdk({ languageModel: () => ({ specificationVersion: 'v4', doGenerate: async () => ({}), doStream: async () => ({ stream: new ReadableStream<unknown>() }) }) }, { provider: 'local', schema: 'prompt' })
const models = [modelOf(anthropic({ apiKey: 'key' }), 'claude-sonnet-5-5', { input: 2, output: 10 }), modelOf(anySdk, 'llama-4'), model]

/** A client of the user's own. */
export const parrot: ModelClient = {
  provider: 'parrot',
  async complete(request, { signal, idempotencyKey }) {
    is<typeof signal, AbortSignal>(true)
    if (request.messages.length === 0) throw new ModelError('invalid-request', `nothing to say to ${idempotencyKey}`, { retryable: false })
    return { text: request.messages.at(-1)?.content ?? '', stopReason: 'end', usage: { inputTokens: 1, outputTokens: 1, cacheReadTokens: 0, cacheWriteTokens: 0 }, model: request.model }
  },
}
// @ts-expect-error TS2322 a completion ends in one of three ways
export const mute: ModelClient = { provider: 'mute', complete: async ({ model: name }) => ({ text: '', stopReason: 'silence', usage: { inputTokens: 1, outputTokens: 1, cacheReadTokens: 0, cacheWriteTokens: 0 }, model: name }) }
// @ts-expect-error TS2345 a price has both halves
modelOf(parrot, 'grey', { input: 2 })

// ── Agents ──

/** Input, output and what is given are inferred from the schemas and from `give`. */
const researcher = defineAgent({
  name: 'researcher',
  input: z.object({ question: z.string(), limit: z.number().default(3) }),
  output: z.object({ claim: z.string(), certainty: z.number() }),
  model: models,
  gather: async ({ input, goal, material, signal }) => {
    is<typeof input, { question: string; limit: number }>(true)
    is<typeof material, unknown>(true)
    is<typeof signal, AbortSignal>(true)
    return `${goal.text} ${input.question}`
  },
  prompt: ({ input, goal, gathered }) => {
    is<typeof gathered, unknown>(true)
    return { system: goal.text, messages: [{ role: 'user', content: input.question.repeat(input.limit) }] }
  },
  confidence: ({ output }) => ({ value: output.certainty, source: 'self' }),
  give: ({ output, input, model: name }) => {
    is<typeof output, { claim: string; certainty: number }>(true)
    is<typeof input, { question: string; limit: number }>(true)
    is<typeof name, string>(true)
    return { findings: [output.claim] }
  },
  accept: { confidence: 0.9 },
  verifyWith: [
    'critic',
    {
      strategy: 'sources',
      citations: ({ output, input }) => (is<typeof output, { findings: string[] }>(true), is<typeof input, { question: string; limit: number }>(true), output.findings.map((finding) => ({ finding, source: 'a.md', quote: finding }))),
      read: ({ source, material }) => (is<typeof material, unknown>(true), Promise.resolve(source)),
      keep: ({ output, findings }) => ({ ...output, findings: findings as string[] }),
    },
    { strategy: 'rederivation', times: 2, model, agrees: ({ output, other }) => (is<typeof other, { findings: string[] }>(true), output.findings.length === other.findings.length) },
    { strategy: 'person', why: ({ output }) => `${output.findings.length} findings` },
  ],
  act: ({ output }) => {
    is<typeof output, { findings: string[] }>(true)
    return output.findings.map((text) => ({ name: 'post', input: { text } }))
  },
  externalActions: {
    charge: { input: z.object({ cents: z.number() }), ...httpAction<{ cents: number }>({ honoursKey: true, request: ({ input }) => new Request('https://bank.example/charges', { method: 'POST', body: String(input.cents) }) }) },
    post: {
      input: z.object({ text: z.string() }),
      run: async ({ idempotencyKey }) => idempotencyKey,
      reconcile: async () => ({ happened: true, output: 'posted' }),
    },
  },
  approval: ({ output, input, actions }) => output.findings.length > input.limit && { why: `it posts ${actions.length} findings` },
})
is<typeof researcher, AgentDefinition>(true)

/** Without `give`, what is given is what the model answered. */
const writer = defineAgent({
  name: 'writer',
  input: z.looseObject({}),
  output: z.object({ markdown: z.string() }),
  model,
  prompt: () => ({ messages: [] }),
  approval: ({ output }) => (is<typeof output, { markdown: string }>(true), null),
})

const common = { name: 'a', input: z.object({ n: z.number() }), output: z.string(), model } as const
// @ts-expect-error TS2741 an agent has a prompt
defineAgent({ ...common })
// @ts-expect-error TS2339 its input has no such key
defineAgent({ ...common, prompt: ({ input }) => ({ system: input.m, messages: [] }) })
// @ts-expect-error TS2322 a message is the user's or the assistant's
defineAgent({ ...common, prompt: () => ({ messages: [{ role: 'system', content: '' }] }) })
// @ts-expect-error TS2322 a confidence says where it comes from
defineAgent({ ...common, prompt: () => ({ messages: [] }), confidence: () => ({ value: 1, source: 'gut' }) })
// @ts-expect-error TS2322 an approval says why
defineAgent({ ...common, prompt: () => ({ messages: [] }), approval: () => true })
// @ts-expect-error TS2322 a check of sources reads them
defineAgent({ ...common, prompt: () => ({ messages: [] }), verifyWith: { strategy: 'sources', citations: () => [] } })
// @ts-expect-error TS2353 there is no such option: retries are the mesh's
defineAgent({ ...common, prompt: () => ({ messages: [] }), retries: 3 })

// ── Runs ──

const research = defineRun({
  name: 'research',
  crew: { planner: 'a-machine-of-your-own', worker: researcher, checker: writer, writer },
  grants: { worker: { calls: 3, usd: 0.1 } },
  supervisor: { workingMax: 2 },
  action: ({ run, report, unanswered }) => (is<typeof report, unknown>(true), { name: 'post', input: { run, open: unanswered.length } }),
  externalActions: { post: { input: z.object({ run: z.string(), open: z.number() }), run: ({ input }) => input } },
  approval: ({ action }) => action !== null && { why: `it runs ${action.name}` },
})
const crew = { planner: writer, worker: writer, checker: writer, writer }
// @ts-expect-error TS2741 every role is taken
defineRun({ name: 'r', crew: { planner: writer, worker: writer, checker: writer } })
// @ts-expect-error TS2353 there is no such role
defineRun({ name: 'r', crew: { ...crew, cook: writer } })
// @ts-expect-error TS2322 an agent is made by defineAgent
defineRun({ name: 'r', crew: { ...crew, worker: { name: 'w' } } })
// @ts-expect-error TS2353 a grant is of dollars, tokens and calls
defineRun({ name: 'r', crew, grants: { worker: { euros: 1 } } })
// @ts-expect-error TS2353 only roles are granted something
defineRun({ name: 'r', crew, grants: { cook: { calls: 1 } } })

// @ts-expect-error TS2353 no agent holds a retry: the policies do
defineAgent({ name: 'a', input: z.object({}), output: z.object({}), model: modelOf(parrot, 'grey'), prompt: () => ({ messages: [] }), attemptsMax: 3 })

// ── The mesh ──

export async function meshes(): Promise<void> {
  const mesh = await createMesh({ store: lmdbStore('./data'), runs: [research], agents: [writer], prices: { asOf: '2026-01-01', models: { 'parrot/grey': { input: 1, output: 5 } } }, traces: jsonlTraces('./traces') }).start()
  createMesh({ store: redisStore('redis://127.0.0.1:6379'), runs: [research], traces: redisTraces('redis://127.0.0.1:6379', { namespace: 'research' }) })
  // @ts-expect-error TS2741 it has a store
  createMesh({ runs: [research] })
  const run = await mesh.run(research, { id: 'r-1', goal: 'Why?', ceiling: { usd: 1, tokens: 1_000_000, calls: 50 }, material: ['a.md'] })
  is<typeof run, RunHandle>(true)
  // @ts-expect-error TS2741 a run has a goal
  await mesh.run(research, {})
  // @ts-expect-error TS2353 a ceiling is of dollars, tokens and calls
  await mesh.run(research, { goal: 'Why?', ceiling: { euros: 1 } })
  // @ts-expect-error TS2739 what is run is a run
  await mesh.run(researcher, { goal: 'Why?' })

  for await (const { state, steps, spent } of run.progress()) is<[typeof state, (typeof steps)[number]['id'], typeof spent.nanoDollars], [RunState, string, number]>(true)
  const { approval, decision } = await run.settled({ deadlineMs: 60_000 })
  is<[NonNullable<typeof approval>['why'], NonNullable<typeof decision>['by']], [string, string]>(true)
  await run.approve({ by: 'ann', note: 'good', ...(approval ? { digest: approval.digest } : {}) })
  // @ts-expect-error TS2741 somebody decides
  await run.reject({ note: 'bad' })
  await run.answer({ by: 'ann', output: { text: 'so' } })
  // @ts-expect-error TS2741 an answer has an output
  await run.answer({ by: 'ann' })
  // @ts-expect-error TS2741 somebody has it tried again
  await run.retry({})
  await run.resolve({ happened: true, output: 'posted', by: 'ann' })
  const { outcome, failure } = await run.output()
  is<typeof outcome, 'done' | 'failed'>(true)
  is<typeof failure, { readonly reason: string; readonly message: string } | null>(true)
  is<Awaited<ReturnType<typeof run.findings>>, readonly FindingRecord[]>(true)
  is<Awaited<ReturnType<typeof run.trace>>, readonly TraceRecord[]>(true)
  await mesh.system.actorAt('writer/w-1').send({ type: 'task.assign' })
}

/** A verdict of a user's own. */
export const refusal: Verdict = { accepted: false, reasons: ['not-at-line'], explanation: 'the line says otherwise', confidence: { value: 1, source: 'rule' }, by: 'rule' }

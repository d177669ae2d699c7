/** A run whose worker's model is given tools, in a simulated world. */
import { z } from 'zod'
import { createMesh, defineAgent, defineRun, modelOf, type AgentOptions, type Mesh, type ModelRequest, type ModelResponse, type PolicyOptions, type RunHandle, type RunStatus, type ToolOptions, type TraceRecord } from '../../src/index.js'
import { World, type Fault } from '../../src/testing/index.js'

export type Said = { readonly tools: readonly (readonly [string, unknown])[]; readonly text?: string } | { readonly answer: unknown } | Partial<ModelResponse>

export interface Given {
  /** What the worker's model says to each of its requests, in order; the last again and again. A throw is its failure. */
  readonly says: (results: readonly string[], request: ModelRequest) => Said
  readonly tools: Readonly<Record<string, ToolOptions<never>>>
  readonly options?: Partial<AgentOptions<object, object>>
  readonly policies?: PolicyOptions
  readonly ceiling?: { readonly usd?: number; readonly calls?: number }
  readonly onWrite?: (index: number) => Fault | undefined
  readonly models?: readonly string[]
  /** With it, what a worker's grant does not cover goes to this model, which costs nothing. */
  readonly cheaper?: string
  readonly grant?: { readonly usd?: number }
}

/** What the tools of a request came to, each as the model is told. */
export const told = ({ messages }: ModelRequest): readonly string[] => messages.flatMap(({ toolResults = [] }) => toolResults.map(({ name, text, isError }) => `${name}${isError ? '!' : ''} ${text}`))

export function stage({ says, tools, options = {}, policies, ceiling = { usd: 5 }, onWrite, models = ['m'], cheaper, grant }: Given) {
  const requests: ModelRequest[] = []
  const streams: boolean[] = []
  const client = {
    provider: 'test',
    isLocal: true,
    async complete(request: ModelRequest, { onText }: { readonly onText?: unknown }): Promise<ModelResponse> {
      const usage = { inputTokens: 10, outputTokens: 5, cacheReadTokens: 0, cacheWriteTokens: 0 }
      const whole = (text: unknown): ModelResponse => ({ text: JSON.stringify(text), stopReason: 'end', usage, model: request.model })
      await Promise.resolve()
      if (request.task.agent !== 'worker') return whole(request.task.agent === 'planner' ? { steps: [{ n: 1 }] } : {})
      requests.push(request)
      streams.push(onText !== undefined)
      const said = says(told(request), request)
      if ('answer' in said) return whole(said.answer)
      if (!('tools' in said)) return { text: '', stopReason: 'end', usage, model: request.model, ...said }
      return { text: said.text ?? '', stopReason: 'tools', toolCalls: said.tools.map(([name, input], i) => ({ id: `x${i}`, name, arguments: typeof input === 'string' ? input : JSON.stringify(input) })), usage, model: request.model }
    },
  }
  const refs = models.map((name) => modelOf(client, name, { input: 1, output: 1 }))
  const agent = (name: string, more: object = {}) => defineAgent({ name, input: z.looseObject({}), output: z.looseObject({}), model: refs, prompt: () => ({ messages: [{ role: 'user', content: 'hello' }] }), ...more } as AgentOptions<object, object>)
  const job = defineRun({ name: 'job', crew: { planner: agent('planner'), worker: agent('worker', { tools, ...options }), writer: agent('writer') }, replansMax: 0, ...(grant ? { grants: { worker: grant } } : {}), ...(cheaper === undefined ? {} : { budget: { whenSpent: 'degrade' as const, degradeTo: modelOf(client, cheaper, { input: 0, output: 0 }) } }) })
  let mesh: Mesh
  const world = new World({ suspectMax: Infinity, create: (given) => (mesh = createMesh({ ...given, runs: [job], ...(policies ? { policies } : {}) })), ...(onWrite ? { onWrite: ({ index }) => onWrite(index) } : {}) })
  const run = (): RunHandle => mesh.handle(job, 'r')
  return { world, requests, streams, run, mesh: () => mesh, start: () => mesh.run(job, { id: 'r', goal: 'why', ceiling }) }
}

export interface Played {
  readonly status: RunStatus
  readonly requests: readonly ModelRequest[]
  /** Of each of them, whether what is being written is wanted. */
  readonly streams: readonly boolean[]
  readonly trace: readonly TraceRecord[]
  readonly spent: { readonly tokens: number; readonly calls: number; readonly nanoDollars: number }
  readonly run: RunHandle
  readonly world: World
}

export async function play(given: Given, advanceMs = 120_000): Promise<Played> {
  const { world, requests, streams, run, start } = stage(given)
  await world.start()
  await start()
  await world.advance(advanceMs)
  const status = (await run().status())!
  return { status, requests, streams, run: run(), world, trace: (await run().trace()).filter(({ agent }) => agent === 'worker'), spent: status.members.find(({ id }) => id === 'step-1')!.spent! }
}

export const look: ToolOptions<{ at: string }> = { description: 'Looks at a page.', input: z.object({ at: z.string() }), isRepeatable: true, run: ({ input }) => `page ${input.at}` }
export const answerOf = (answer: unknown) => ({ answer })

/**
 * Tools that a model may ask for while it works: how an agent declares them, what a call of one must pass before it is run,
 * and the effects that run it. When and how often stands in the tool loop's chart.
 */
import type { PromiseActorLogic } from 'xstate'
import { z } from 'zod'
import { ConfigError, HoldfastError, toStoredError } from '../errors.js'
import type { CallOutput, PermitOutcome } from '../machines/call.machine.js'
import { nothing, type Amounts } from '../machines/ledger.js'
import { excessOf, nextTool, type AskedTool, type Examined, type ToolLoopBounds, type ToolLoopContext, type ToolOutcome, type ToolRefusal, type ToolRunInput } from '../machines/tool-loop.machine.js'
import { external, isOutcomeUnknown, repeatable, type EffectArgs, type Reconciled } from '../protocol.js'
import { defaultJsonLimits, encodeJson } from '../runtime/json.js'
import { permitKey, type AttemptServices } from './model-call.js'
import type { Permit, PermitRequest } from './desk.js'
import { aFunction, isObject, issuesOf, milliseconds, number, oneOf, optional, options as optionsOf, schema as aSchema, text, whole, wrong, type Check } from './options.js'
import type { ModelTool } from './ports/model-client.js'

/** A tool that an agent's model may ask for, by name. */
export interface ToolOptions<TInput> {
  /** What it does and when to ask for it: told to the model. 1 to 10,000 characters. */
  readonly description: string
  /** What it takes: an object. Arguments that do not fit are refused, and the model is told in what. */
  readonly input: z.ZodType<TInput>
  /** What the model is told that it takes. Default: `input` as JSON Schema. */
  readonly inputSchema?: Readonly<Record<string, unknown>>
  /**
   * A text, or JSON, for the model; nothing reads as `done`. A throw is told to the model, up to 1,000 characters of its message. What
   * may or may not have happened must throw an error of code OUTCOME_UNKNOWN.
   */
  readonly run: (args: EffectArgs<TInput>) => unknown
  /** It may be run again after a crash: it changes nothing, or the same again changes nothing more. Default false: it is an external action. */
  readonly isRepeatable?: boolean
  /** Of an external action: asks the receiver, by key, whether it has happened. Without it a person is asked after a crash in the middle. */
  readonly reconcile?: (args: EffectArgs<TInput>) => Promise<Reconciled<unknown>> | Reconciled<unknown>
  /** What each run costs, from the same ledger as the calls to models. Default: nothing. */
  readonly cost?: ToolCost
  /** How often it may be run in one task, 1 to 10,000. Default: as often as the agent's `toolCallsMax` lets it. */
  readonly callsMax?: number
  /** How long a repeatable tool may take, ms, at least 1; and how long either kind waits for a permit. Default 60,000. */
  readonly deadlineMs?: number
  /** Most bytes of its result that the model is told; of a longer one the beginning, and how long it was. 1 to 131,072. Default 32,768. */
  readonly resultBytesMax?: number
}

export interface ToolCost {
  /** Dollars, 0 to 1,000,000. */
  readonly usd?: number
  readonly tokens?: number
}

// Each tool has an input of its own.
// oxlint-disable-next-line typescript/no-explicit-any
export type Tools = Readonly<Record<string, ToolOptions<any>>>

const aTool = optionsOf<ToolOptions<unknown>>({
  description: text(10_000),
  input: aSchema,
  inputSchema: optional((name, value) => void (isObject(value) || wrong(name, 'a JSON Schema', value))),
  run: aFunction,
  isRepeatable: optional(oneOf(true, false)),
  reconcile: optional(aFunction),
  cost: optional(optionsOf<ToolCost>({ usd: optional(number(0, 1_000_000)), tokens: optional(whole(0, Number.MAX_SAFE_INTEGER)) })),
  callsMax: optional(whole(1, 10_000)),
  deadlineMs: optional(milliseconds),
  resultBytesMax: optional(whole(1, 131_072)),
})

/** What providers take for the name of a tool. */
const aName = /^[A-Za-z0-9_-]{1,64}$/

export const toolsByName: Check = (name, value) => {
  if (!isObject(value)) wrong(name, 'tools by name', value)
  for (const [tool, declared] of Object.entries(value as object)) {
    if (!aName.test(tool)) throw new ConfigError(`${name}: a tool is called ${JSON.stringify(tool)}, and providers take 1 to 64 of A-Z a-z 0-9 _ - only.`)
    aTool(`${name}.${tool}`, declared)
    const { isRepeatable, reconcile } = declared as ToolOptions<unknown>
    if (isRepeatable && reconcile) throw new ConfigError(`${name}.${tool}.reconcile: a repeatable tool is run again, and nobody is asked. Leave out one of the two.`)
  }
}

/** What models are told of them. @throws ConfigError for one whose arguments cannot be written as JSON Schema of an object */
export function describeTools(tools: Tools, who: string): readonly ModelTool[] {
  return Object.entries(tools).map(([name, { description, input, inputSchema }]) => {
    let schema: Record<string, unknown>
    try {
      schema = (inputSchema ?? z.toJSONSchema(input, { io: 'input' })) as Record<string, unknown>
    } catch (error) {
      throw new ConfigError(`${who}: the arguments of the tool "${name}" cannot be written as JSON Schema, so no model could be told of them: ${(error as Error).message}`)
    }
    if (schema['type'] !== 'object') throw new ConfigError(`${who}: the arguments of the tool "${name}" must be an object.`)
    const { $schema: _, ...told } = schema
    return { name, description, inputSchema: told }
  })
}

const hasExternal = (tools: Tools): boolean => Object.values(tools).some(({ isRepeatable }) => isRepeatable !== true)

/** @throws ConfigError for an agent whose output would be derived again with tools that change the world */
export function mustNotRepeat(tools: Tools, isRederived: boolean, who: string): void {
  if (isRederived && hasExternal(tools)) throw new ConfigError(`${who}: it is verified by rederivation, which would run its external tools again. Declare them isRepeatable, or verify it in another way.`)
}

function amountsOf({ usd = 0, tokens = 0 }: ToolCost = {}): Amounts {
  // Sums of decimal fractions fall a hair above the whole number they mean.
  return { ...nothing, tokens, nanoDollars: Math.ceil(usd * 1e9 - 1e-6) }
}

const defaultDeadlineMs = 60_000
const defaultResultBytes = 32_768

// ── Before it is run ──

/** What the loop's chart is told of the next tool, or of the bound that it has come to. */
export function examineNext(tools: Tools, bounds: ToolLoopBounds, context: ToolLoopContext): Pick<ToolLoopContext, 'next' | 'result'> {
  const excess = excessOf(context, bounds)
  if (excess !== undefined) return { next: null, result: { ok: false, reason: 'tools', message: excess, refusal: null, attempts: [] } satisfies CallOutput }
  const asked = nextTool(context)
  return { next: asked ? examined(tools, asked, context.ran[asked.name] ?? 0) : null, result: null }
}

function examined(tools: Tools, { name, arguments: given }: AskedTool, ran: number): Examined {
  const tool = Object.hasOwn(tools, name) ? tools[name]! : undefined
  if (!tool) return { refusal: 'not-allowed', message: `there is no tool ${JSON.stringify(name.slice(0, 64))} (there are: ${Object.keys(tools).join(', ')})` }
  const { callsMax = Infinity, cost, deadlineMs = defaultDeadlineMs, isRepeatable } = tool
  let input: unknown
  try {
    input = given.trim() === '' ? {} : JSON.parse(given)
  } catch {
    return { refusal: 'arguments', message: 'they are not JSON' }
  }
  const wrongIn = whyNot(tool, input)
  if (wrongIn !== undefined) return { refusal: 'arguments', message: wrongIn }
  if (ran >= callsMax) return { refusal: 'used-up', message: `it has been run ${ran} times in this task, and ${callsMax} are allowed` }
  return { kind: isRepeatable ? 'repeatable' : 'external', input, cost: amountsOf(cost), deadlineMs }
}

/** In what arguments do not fit. */
function whyNot({ input: schema }: ToolOptions<unknown>, input: unknown): string | undefined {
  if (!isObject(input)) return 'they are no object'
  try {
    const fitting = schema.safeParse(input)
    if (!fitting.success) return issuesOf(fitting.error)
    encodeJson(input, 'they', defaultJsonLimits)
    return undefined
  } catch (error) {
    return toStoredError(error).message
  }
}

// ── While it is run ──

/** What the loop's chart is filled in with. */
export function toolActors(tools: Tools, services: AttemptServices): {
  readonly read: PromiseActorLogic<ToolOutcome, ToolRunInput>
  readonly act: PromiseActorLogic<ToolOutcome, ToolRunInput>
  readonly permit: PromiseActorLogic<PermitOutcome, ToolRunInput>
} {
  const { desk, clock, ready } = services
  const requestOf = ({ asked, deadlineMs, call: { id, about, tenant, priority } }: ToolRunInput): PermitRequest => ({
    key: permitKey(about.run, about.task, about.agent, `${id}/${asked.id}`),
    subject: { agent: about.agent, version: about.version, model: '', tenant, tool: asked.name },
    tokens: 0,
    priority,
    deadlineAt: clock.now() + deadlineMs,
  })

  async function run(args: EffectArgs<ToolRunInput>): Promise<ToolOutcome> {
    const { asked } = args.input
    const tool = Object.hasOwn(tools, asked.name) ? tools[asked.name] : undefined
    if (!tool) return unfit('not-allowed', `this process has no tool "${asked.name}"`)
    const wrongIn = whyNot(tool, args.input.input)
    if (wrongIn !== undefined) return unfit('arguments', wrongIn)
    const given = (await ready(args.signal)) ? desk.take(requestOf(args.input)) : ({ isLacking: true } as const)
    if (!('permit' in given)) return given
    return runPermitted(tool, args, given.permit)
  }

  async function runPermitted(tool: ToolOptions<unknown>, args: EffectArgs<ToolRunInput>, permit: Permit): Promise<ToolOutcome> {
    try {
      const output = await tool.run(withInput(tool, args))
      return { ok: true, text: textOf(output, tool) }
    } catch (error) {
      if (isOutcomeUnknown(error) && !tool.isRepeatable) throw error
      const { message } = toStoredError(error)
      const reason = reasonOf(error)
      return { ok: false, reason, message: shortened(message), wasRun: reason === 'failed' }
    } finally {
      permit.settle({ result: 'void', tokens: 0, retryAfterMs: null })
    }
  }

  return {
    read: repeatable<ToolOutcome, ToolRunInput>((args) => (args.attempt > 1 && costs(args.input.cost) ? { isCutOff: true } : run(args))),
    act: external<ToolOutcome, ToolRunInput>({
      // Apart from the actions that the agent's output calls for.
      name: ({ asked, ordinal }) => `tool:${asked.name}${ordinal === 1 ? '' : `/${ordinal}`}`,
      run,
      reconcile: async (args): Promise<Reconciled<ToolOutcome>> => {
        const { name } = args.input.asked
        const tool = Object.hasOwn(tools, name) ? tools[name]! : undefined
        if (!tool?.reconcile) throw new ConfigError(`The tool "${name}" declares no reconcile`)
        const answer = await tool.reconcile(withInput(tool, args))
        return answer.happened ? { happened: true, output: { ok: true, text: textOf(answer.output, tool) } } : answer
      },
    }),
    permit: repeatable<PermitOutcome, ToolRunInput>(async ({ input, signal }) => {
      if (!(await ready(signal))) throw new HoldfastError('CALLS_STOPPED', 'what was stopped could not be read from the store')
      return desk.wait(requestOf(input), { signal, isPatient: false })
    }),
  }
}

const unfit = (reason: ToolRefusal, message: string): ToolOutcome => ({ ok: false, reason, message, wasRun: false })
const costs = ({ tokens, nanoDollars }: Amounts): boolean => tokens > 0 || nanoDollars > 0

function withInput(tool: ToolOptions<unknown>, args: EffectArgs<ToolRunInput>): EffectArgs<unknown> {
  return { ...args, input: tool.input.parse(args.input.input) }
}

/** Of a tool of a toolbox, whose source did not offer it as it was accepted, so that it was not run. */
const notRun: ReadonlySet<unknown> = new Set<ToolRefusal>(['not-allowed', 'arguments', 'changed', 'gone', 'unlisted'])

function reasonOf(error: unknown): ToolRefusal {
  const { code, reason } = (error ?? {}) as { readonly code?: unknown; readonly reason?: unknown }
  return code === 'TOOL' && notRun.has(reason) ? (reason as ToolRefusal) : 'failed'
}

const messageMax = 1_000
const shortened = (message: string): string => (message.length > messageMax ? `${message.slice(0, messageMax)}…` : message)

// In every Node that we run on, but not yet in the library that TypeScript is told of.
const { toWellFormed } = String.prototype as unknown as { toWellFormed(this: string): string }

/** What the model is told of a result. It has happened, so whatever it gave, this gives a text. */
function textOf(output: unknown, { resultBytesMax = defaultResultBytes }: ToolOptions<unknown>): string {
  // Half a surrogate pair is no character, and no prompt could carry it.
  const whole = toWellFormed.call(written(output))
  const bytes = Buffer.byteLength(whole)
  if (bytes <= resultBytesMax) return whole
  // The last character may have been cut through.
  const beginning = new TextDecoder().decode(Buffer.from(whole).subarray(0, resultBytesMax)).replace(/\uFFFD$/, '')
  return `${beginning}\n[This is the beginning: ${resultBytesMax} of ${bytes} bytes.]`
}

function written(output: unknown): string {
  if (output === undefined || output === null) return 'done'
  if (typeof output === 'string') return output
  try {
    return JSON.stringify(output) ?? 'done'
  } catch {
    return 'done [its result cannot be written as JSON]'
  }
}

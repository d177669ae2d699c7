/**
 * Makes an agent of the agent chart: what one kind of agent takes, asks and gives, and what its output must pass. The
 * chart's states and the mesh's policies are the same for all agents; what stands here is pure, but for `gather` and
 * the external actions.
 */
import { assign, type AnyStateMachine, type PromiseActorLogic } from 'xstate'
import { z } from 'zod'
import { ConfigError } from '../errors.js'
import { agentFailure, agentMachine, fallbackInput, type AgentContext, type AgentOutput, type AgentTask, type Gathered, type Goal } from '../machines/agent.machine.js'
import { decisionAnswer, decisionOn, type ApprovalRequest, type PlannedAction } from '../machines/approval.js'
import type { Backoff } from '../machines/backoff.js'
import { defaultCallPolicy, type CallPolicy } from '../machines/call-policy.js'
import { callMachine, type CallInput, type CallOutput } from '../machines/call.machine.js'
import { fallbackMachine, type FallbackContext } from '../machines/fallback.machine.js'
import { noConfidence, passes, type Confidence } from '../machines/gate.js'
import type { Refusal } from '../machines/permit.js'
import { toolLoopMachine, type ToolLoopContext, type ToolLoopInput, type ToolRound } from '../machines/tool-loop.machine.js'
import { atMostOnce, external, repeatable, reply, type EffectArgs, type Reconciled } from '../protocol.js'
import { checkId } from '../runtime/identity.js'
import { defaultJsonLimits, encodeJson, type JsonLimits } from '../runtime/json.js'
import { digestOf, canonicalJson, isIntact } from './canonical.js'
import { aModel, attemptLogic, permitKey, permitLogic, type AttemptServices, type Completion, type ModelRef, type Models } from './model-call.js'
import type { PermitSubject } from './desk.js'
import { aFunction, anything, atOnce, isObject, issuesOf, list, milliseconds, number, oneOf, optional, options as optionsOf, record, schema as aSchema, shape, share, text, whole, wrong, type Check } from './options.js'
import type { ModelMessage, ModelRequest, ModelTool } from './ports/model-client.js'
import { free, worstCaseOf } from './prices.js'
import { bytesOf, fitPrompt, WindowError, type PromptPart, type WholePart } from './prompt-window.js'
import { describeTools, examineNext, mustNotRepeat, toolActors, toolsByName, type Tools } from './tools.js'
import { agentsAmong, modelsAmong, strategiesCheck, strategiesOf, verifierOf, type Judged, type Verifier, type VerifyWith } from './verification.js'

/** A rendered prompt: text, and given at once; what takes time belongs in `gather`. */
export interface Prompt {
  readonly system?: string
  /** What is shown as far as the agent's window has room, before the messages, in this order; at most 10,000. */
  readonly parts?: readonly PromptPart[]
  /** Always shown. At least one, unless there are parts. */
  readonly messages: readonly Pick<ModelMessage, 'role' | 'content'>[]
}

export interface GatherArgs<TInput> {
  readonly input: TInput
  readonly goal: Goal
  /** What the run works on, as it was given to `mesh.run`; null outside a run. */
  readonly material: unknown
  readonly signal: AbortSignal
}

/** A model's answer, and what it was asked with. */
export interface AnswerArgs<TInput, TOutput> {
  readonly output: TOutput
  readonly input: TInput
  readonly gathered: unknown
  /** Full name of the model that answered. */
  readonly model: string
}

/** A change of the outside world that an agent or a run may carry out, by name. */
export interface ExternalActionOptions<TInput> {
  /** What it takes. */
  readonly input: z.ZodType<TInput>
  readonly run: (args: EffectArgs<TInput>) => unknown
  /** Asks the receiver, by key, whether it has happened. Without it a person is asked after a crash in the middle. */
  readonly reconcile?: (args: EffectArgs<TInput>) => Promise<Reconciled<unknown>> | Reconciled<unknown>
}

export interface AgentOptions<TInput, TOutput, TGiven = TOutput> {
  /** Name of its machine. `[A-Za-z0-9._:-]`, 1 to 256 bytes. */
  readonly name: string
  /** Default '1'. Another one for every change that running agents must not notice. */
  readonly version?: string | number
  readonly input: z.ZodType<TInput>
  /** What the model must answer, also told to it as JSON Schema. */
  readonly output: z.ZodType<TOutput>
  /** Tried in order. */
  readonly model: ModelRef | readonly ModelRef[]
  /** Reads what the prompt needs. May run again after a crash. */
  readonly gather?: (args: GatherArgs<TInput>) => unknown
  readonly prompt: (args: { readonly input: TInput; readonly goal: Goal; readonly gathered: unknown }) => Prompt
  /** Tools that the model may ask for before it answers, by name: `[A-Za-z0-9_-]`, 1 to 64 characters. Also `toolbox.forAgent()` (docs/tools.md). */
  readonly tools?: Tools
  /** How often the model may ask for tools in one task, 1 to 100; one round may be of several. Beyond it the agent fails as `tools`. Default 8. */
  readonly toolRoundsMax?: number
  /** How many tools it may ask for in all in one task, 1 to 1,000, refused ones included. Beyond it the agent fails as `tools`. Default 32. */
  readonly toolCallsMax?: number
  /** How sure the answer is, and who says so. Default: nobody does. */
  readonly confidence?: (args: AnswerArgs<TInput, TOutput>) => Confidence
  /**
   * What the agent gives, made of the model's answer; what is judged, acted on and handed on is this: JSON of at most
   * 512 KiB, 48 levels deep. A throw says what is wrong with the answer beyond its schema, and fails the agent as unfit, as
   * does what cannot be kept. Default: the answer.
   */
  readonly give?: (args: AnswerArgs<TInput, TOutput>) => TGiven
  /** The confidence from which an answer is accepted without verification, 0 to 1. Default: any, unless `verifyWith` is given; then none. */
  readonly accept?: { readonly confidence: number }
  /**
   * Who judges what is not accepted by itself: the name of an agent, asked through the run; a strategy, such as
   * `{ strategy: 'person', why }`; an actor; or several of them, each of which judges what the one before let pass. Default:
   * nobody, it fails.
   */
  readonly verifyWith?: VerifyWith<TInput, TGiven>
  /** How long the verdict of another agent is waited for, or of a check of sources, ms, at least 1. Default an hour. */
  readonly verifyDeadlineMs?: number
  /** What an accepted output calls for: external actions by name, in their order. Default: nothing. */
  readonly act?: (args: { readonly output: TGiven; readonly input: TInput }) => readonly PlannedAction[]
  // Each action has an input of its own.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly externalActions?: Readonly<Record<string, ExternalActionOptions<any>>>
  /** Why a person must approve it first; anything falsy: nobody need. */
  readonly approval?: (args: { readonly output: TGiven; readonly input: TInput; readonly actions: readonly PlannedAction[] }) => { readonly why: string } | false | null | undefined
  /** How long a person has to decide, ms, at least 1; then it is denied. Default 7 days. */
  readonly approvalDeadlineMs?: number
  /**
   * Bound of a prompt, tokens, 1 to 100,000,000: system prompt, parts, messages and schemas. What does not fit is masked or left
   * out of `parts`, on record; if that is not enough, the agent fails as `window`. Default: none.
   */
  readonly windowTokensMax?: number
  /** Tokens of a text, for the window: whole, at least 0, and for a longer text no fewer. Default: its bytes in UTF-8, which no model's tokens are more than. */
  readonly countTokens?: (text: string) => number
  /** Bound of a completion, tokens, 1 to 10,000,000. Default 4,096. */
  readonly completionTokensMax?: number
  /**
   * Whether those who watch its run are told what the model is writing (`run.tokens()`), and how often at most: `everyMs`, 10 to 60,000,
   * default 200. Each time is a write to the store. Default: they are not.
   */
  readonly stream?: boolean | { readonly everyMs?: number }
}

/** What an agent needs of the mesh that runs it. */
export interface AgentServices extends AttemptServices {
  /** What holds for the next call of an agent, and who has stopped it. Waits while that cannot be known. */
  holding(subject: Omit<PermitSubject, 'model'>, signal: AbortSignal): Promise<{ readonly policy: CallPolicy; readonly refusal: Refusal | null }>
  /** @throws an error that says who has stopped it, and why */
  mayAct(subject: Omit<PermitSubject, 'model'>): Promise<void>
  /** What a run was given to work on. */
  material(runAddress: string): Promise<unknown>
}

export interface AgentDefinition {
  readonly name: string
  readonly version: string
  /** Also those of its verification. */
  readonly models: readonly ModelRef[]
  /** Names of the agents that verify. */
  readonly verifiedBy: readonly string[]
  /** Names of the tools that its model is given. */
  readonly tools: readonly string[]
  machine(services: AgentServices): AnyStateMachine
}

const hourMs = 3_600_000

const anId: Check = (name, value) => void checkId(name, value)
// oxlint-disable-next-line typescript/no-explicit-any
const declaredAction = optionsOf<ExternalActionOptions<any>>({ input: aSchema, run: aFunction, reconcile: optional(aFunction) })
export const externalActionsByName: Check = (name, value) => {
  record(declaredAction)(name, value)
  for (const action of Object.keys(value as object)) checkId(`${name}: the name`, action)
}

const wait = whole(0, 24 * hourMs)
const backoff = { firstMs: wait, factor: number(1, 1_000), maxMs: wait, jitter: share }
export const wholeBackoff = optionsOf<Backoff>(backoff)

const streamPace = optionsOf<{ everyMs?: number }>({ everyMs: optional(whole(10, 60_000)) })

const agentOptions = optionsOf<AgentOptions<unknown, unknown>>({
  name: anId,
  version: anything,
  input: aSchema,
  output: aSchema,
  model: (name, value) => (Array.isArray(value) ? list(aModel, 1) : aModel)(name, value),
  gather: optional(aFunction),
  prompt: aFunction,
  tools: optional(toolsByName),
  toolRoundsMax: optional(whole(1, 100)),
  toolCallsMax: optional(whole(1, 1_000)),
  confidence: optional(aFunction),
  give: optional(aFunction),
  accept: optional(optionsOf<{ confidence: number }>({ confidence: share })),
  verifyWith: optional(strategiesCheck),
  verifyDeadlineMs: optional(milliseconds),
  act: optional(aFunction),
  externalActions: optional(externalActionsByName),
  approval: optional(aFunction),
  approvalDeadlineMs: optional(milliseconds),
  windowTokensMax: optional(whole(1, 100_000_000)),
  countTokens: optional(aFunction),
  completionTokensMax: optional(whole(1, 10_000_000)),
  stream: optional((name, value) => typeof value !== 'boolean' && streamPace(name, value)),
})

export function isAgent(value: unknown): value is AgentDefinition {
  return isObject(value) && typeof value['name'] === 'string' && Array.isArray(value['models']) && typeof value['machine'] === 'function'
}

/** @throws ConfigError, InvalidIdError for options that cannot work */
export function defineAgent<TInput, TOutput, TGiven = TOutput>(options: AgentOptions<TInput, TOutput, TGiven>): AgentDefinition {
  if (!isObject(options)) wrong('defineAgent', 'an object with its options', options)
  const name = checkId('agent name', options.name)
  const version = checkId(`version of agent ${name}`, String(options.version ?? '1'))
  agentOptions(`agent ${name}: `, options)
  const models = [options.model].flat() as ModelRef[]
  const schema = schemaOf(options.output, name)
  const strategies = strategiesOf(options.verifyWith)
  const tools = describeTools(options.tools ?? {}, `agent ${name}`)
  mustNotRepeat(options.tools ?? {}, strategies.some((strategy) => isObject(strategy) && strategy['strategy'] === 'rederivation'), `agent ${name}`)
  return {
    name,
    version,
    models: [...models, ...modelsAmong(strategies)],
    verifiedBy: agentsAmong(strategies),
    tools: tools.map((tool) => tool.name),
    machine: (services) => machineOf(options, { name, version, models, schema, tools }, services),
  }
}

interface Resolved {
  readonly name: string
  readonly version: string
  readonly models: readonly Pick<ModelRef, 'name'>[]
  readonly schema: Readonly<Record<string, unknown>>
  readonly tools: readonly ModelTool[]
}

function schemaOf(output: z.ZodType, agent: string): Record<string, unknown> {
  try {
    return z.toJSONSchema(output, { io: 'input' }) as Record<string, unknown>
  } catch (error) {
    throw new ConfigError(`agent ${agent}: its output cannot be written as JSON Schema, so no model could be told of it: ${(error as Error).message}`)
  }
}

function machineOf<TInput, TOutput, TGiven>(options: AgentOptions<TInput, TOutput, TGiven>, resolved: Resolved, services: AgentServices): AnyStateMachine {
  const { accept } = options
  const strategies = strategiesOf(options.verifyWith)
  const asksRun = agentsAmong(strategies).length > 0
  const inputOf = (task: AgentTask): TInput => parse(options.input, task.input, `the task of ${resolved.name}`)
  const materialOf = async (task: AgentTask): Promise<unknown> => (task.runAddress === undefined ? null : await services.material(task.runAddress))
  const oneCall = callMachine.provide({ actors: { attempt: attemptLogic(services), permit: permitLogic(services) } })
  const call = resolved.tools.length === 0 ? oneCall : loopOf(options, resolved, services, oneCall)
  const subjectOf = ({ tenant }: AgentTask): Omit<PermitSubject, 'model'> => ({ agent: resolved.name, version: resolved.version, tenant: tenant ?? null })
  const mayAct = (task: AgentTask): Promise<void> => services.mayAct(subjectOf(task))
  const gather = repeatable(async ({ input: { task }, signal }: { input: { task: AgentTask }; signal: AbortSignal }): Promise<Gathered> => {
    const input = inputOf(task)
    const before = await services.holding(subjectOf(task), signal)
    if (!options.gather || before.refusal) return { gathered: null, ...before }
    const gathered = (await options.gather({ input, goal: task.goal, material: await materialOf(task), signal })) ?? null
    return { gathered, ...(await services.holding(subjectOf(task), signal)) }
  })
  const judged: Judged = {
    agent: resolved.name,
    version: resolved.version,
    deadlineMs: options.verifyDeadlineMs ?? hourMs,
    inputOf,
    outputOf: (what, value) => {
      if (value === undefined) wrong(what, 'an output', value)
      return storable(what, options.give ? value : parse(options.output, value, what), outputLimits)
    },
    materialOf,
    gather,
    mayAct,
    call,
    // Those who watch the agent are not told what is written to judge it.
    callFor: (id, models, about) => callFor(ofAnother(options), { ...resolved, id, models: models ?? resolved.models }, services.models, { ...about, policy: about.policy && { ...about.policy, hedge: null } }),
    read: (answer, about) => readAnswer(options, resolved.name, about, answer),
  }
  return agentMachine.provide({
    actors: {
      call,
      gather,
      fallback: fallbackOf(options, resolved),
      ...(strategies.length === 0 ? {} : { verify: verifierOf(strategies, judged) as Verifier }),
      act: actLogic(options.externalActions ?? {}, ({ task }) => mayAct(task)),
    },
    guards: {
      passesGate: ({ context }) => (accept ? passes(context.confidence, accept.confidence) : strategies.length === 0),
      // The run judges steps, and one that stands in has none: who it stands in for has it verified.
      canBeVerified: ({ context: { task } }) => strategies.length > 0 && (!asksRun || (task?.runAddress !== undefined && !task.isSubstitute)),
      isUnfitAnswer: ({ context, event }) => context.decision === null && problemOf(options, resolved, context, event) !== undefined,
    },
    delays: { approvalDeadline: options.approvalDeadlineMs ?? 7 * 24 * hourMs },
    actions: {
      prepareCall: assign(({ context }) => attempt('prompt', () => callFor(options, { ...resolved, id: 'call' }, services.models, aboutOf(context)))),
      readAnswer: assign(({ context, event }) => readAnswer(options, resolved.name, aboutOf(context), (event as unknown as { output: CallOutput }).output)),
      beginFallback: assign({ fallback: ({ context }) => fallbackInput(context, resolved.name, resolved.version), failure: null }),
      answerUnfit: reply(({ context, event }) => ({ ...decisionAnswer(context), problem: problemOf(options, resolved, context, event)! })),
      // Outcomes that a crash loses are not counted; and a call costs no write more than its own.
      reportQuality: atMostOnce(({ context: { task, attempt: key } }, { ok }) => services.desk.judge(permitKey(task!.run, task!.id, resolved.name, key ?? ''), ok)),
      planActions: assign(({ context }) => attempt('plan', () => planFor(options, resolved, context))),
    },
  }) as AnyStateMachine
}

/** In the place of a call: one with tools. */
function loopOf<TInput, TOutput, TGiven>(options: AgentOptions<TInput, TOutput, TGiven>, resolved: Resolved, services: AgentServices, call: typeof callMachine): typeof callMachine {
  const tools = options.tools ?? {}
  const bounds = { roundsMax: options.toolRoundsMax ?? 8, callsMax: options.toolCallsMax ?? 32 }
  return toolLoopMachine.provide({
    actors: { call, ...toolActors(tools, services) },
    actions: {
      reportRound: atMostOnce(({ context: { input, attempt: key } }: { context: ToolLoopContext }) => services.desk.judge(permitKey(input.about.run, input.about.task, resolved.name, key), true)),
      examineNext: assign(({ context }) => examineNext(tools, bounds, context)),
      prepareRound: assign(({ context: { input, models, rounds } }) => {
        const next = { ...resolved, id: `${input.id}:${rounds.length + 1}` }
        const task = { ...input.loop.task, ...modelsLeft(input, models) }
        const { attemptsMax, backoff, deadlineMs, whenOpen, priority, hedge = null } = input
        const about: About = { task, gathered: (input.task as ModelRequest['task']).gathered ?? null, policy: { attemptsMax, backoff, deadlineMs, whenOpen, priority, hedge, fallback: [] } }
        const made = attempt('prompt', () => callFor(input.stream ? options : ofAnother(options), next, services.models, about, rounds))
        if (!('failure' in made)) return made as Pick<ToolLoopContext, 'call' | 'compacted'>
        const { reason, message } = made.failure!
        return { result: { ok: false as const, reason: reason === 'window' ? ('window' as const) : ('prompt' as const), message, refusal: null, attempts: [] } }
      }),
    },
  }) as unknown as typeof callMachine
}

/** Of the models of the first call those that the next may ask, and which of them only for want of money. */
function modelsLeft({ models: all, regularModels = all.length }: CallInput, models: readonly string[]): Pick<AgentTask, 'models' | 'cheaperModels'> {
  const regular = Math.max(0, regularModels - (all.length - models.length))
  return { models: models.slice(0, regular), cheaperModels: models.slice(regular) }
}

/** What a call and its answer are made and read from. */
interface About {
  readonly task: AgentTask
  readonly gathered: unknown
  readonly policy?: CallPolicy | null
}

const aboutOf = ({ task, gathered, policy }: AgentContext): About => ({ task: task!, gathered, policy })

/** What user code does here is part of a turn: a throw is a failure of the agent with its reason, not of the machine. */
function attempt(reason: 'prompt' | 'plan', run: () => Partial<AgentContext>): Partial<AgentContext> {
  try {
    return run()
  } catch (error) {
    return { failure: agentFailure(error instanceof GoalBroken ? 'goal' : error instanceof WindowError ? 'window' : reason, (error as Error).message) }
  }
}

class GoalBroken extends Error {}

/** @throws NonJsonError, LimitError for what its record could not keep: told here, it fails the agent and not its machine */
function storable<T>(name: string, value: T, limits: JsonLimits = defaultJsonLimits): T {
  encodeJson(value, name, limits)
  return value
}

/** An agent's output also goes into the records of its verifier and of its run, beside those of others. */
const outputLimits: JsonLimits = { ...defaultJsonLimits, payloadBytesMax: defaultJsonLimits.payloadBytesMax / 2, depthMax: 48 }

const aText = text(Number.MAX_SAFE_INTEGER, 0)
const aRole = oneOf('user', 'assistant')
const aPart = optionsOf<PromptPart>({ id: text(256), kind: oneOf('goal', 'constraint', 'decision', 'obligation', 'observation', 'context'), text: aText, role: optional(aRole), relevance: optional(share), mask: optional(aText) })
const someParts: Check = (name, value) => {
  list(aPart)(name, value)
  const parts = value as readonly PromptPart[]
  if (parts.length > partsMax) throw new ConfigError(`${name}: expected at most ${partsMax} parts, got ${parts.length}.`)
  const ids = new Set<string>()
  for (const { id } of parts) {
    if (ids.has(id)) throw new ConfigError(`${name}: there are two of the id ${JSON.stringify(id)}.`)
    ids.add(id)
  }
}
const partsMax = 10_000
const rendered = shape<Prompt>({ system: optional(aText), parts: optional(someParts), messages: list(shape<Prompt['messages'][number]>({ role: aRole, content: aText })) })
const aCount = whole(0, Number.MAX_SAFE_INTEGER)
const aConfidence = shape<Confidence>({ value: (name, value) => value !== null && typeof value !== 'number' && wrong(name, 'a number from 0 to 1, or null', value), source: aText })
const aRequest = shape<{ why: string }>({ why: text(10_000) })
const anAction = shape<PlannedAction>({ name: aText, input: anything })

/** @throws ConfigError for what is neither a reason to ask a person nor none */
export function checkedRequest<T extends { readonly why: string }>(asked: T | false | null | undefined): T | null {
  if (!atOnce('approval', asked)) return null
  aRequest('approval', asked)
  return asked as T
}

/** @throws ConfigError that names what does not fit and where */
function parse<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw new ConfigError(`${what} does not fit: ${issuesOf(result.error)}`)
}

/** The options for calls that judge: without what is for its own call alone. */
function ofAnother<TOptions extends { readonly stream?: unknown }>({ stream: _stream, ...options }: TOptions): TOptions {
  return options as unknown as TOptions
}

/** @param rounds of tools so far; absent: it is the first call, which may come to some */
function callFor<TInput, TOutput, TGiven>(options: AgentOptions<TInput, TOutput, TGiven>, { id, name, version, models, schema, tools }: Resolved & { readonly id: string }, known: Models, { task, gathered, policy }: About, rounds?: readonly ToolRound[]): { readonly call: CallInput; readonly compacted: readonly WholePart[] } {
  if (!isIntact(task.goal)) throw new GoalBroken(`the goal "${task.goal.text.slice(0, 80)}" does not have the digest ${task.goal.digest}: it was changed on the way`)
  const input = parse(options.input, task.input, `the task of ${name}`)
  const prompt = atOnce('prompt', options.prompt({ input, goal: task.goal, gathered }))
  rendered('prompt', prompt)
  const completionTokensMax = options.completionTokensMax ?? 4_096
  const fitted = fitPrompt({
    parts: prompt.parts ?? [],
    messages: prompt.messages.map(({ role, content }) => ({ role, content })),
    exchanges: rounds ?? [],
    beside: [prompt.system ?? '', JSON.stringify(schema), ...tools.map((tool) => JSON.stringify(tool))],
    tokensMax: options.windowTokensMax ?? Infinity,
    countTokens: options.countTokens ? counted(options.countTokens) : bytesOf,
  })
  const { stream } = options
  const request: Omit<ModelRequest, 'task' | 'model'> = {
    ...(prompt.system === undefined ? {} : { system: prompt.system }),
    messages: fitted.messages,
    maxTokens: completionTokensMax,
    schema,
    ...(tools.length === 0 ? {} : { tools }),
  }
  const { fallback: _, hedge, ...trying } = policy ?? defaultCallPolicy
  const regular = task.models ?? models.map((ref) => ref.name)
  const names = [...regular, ...(task.cheaperModels ?? []).filter((model) => !regular.includes(model))]
  const promptBytes = Buffer.byteLength(JSON.stringify([prompt.system ?? '', fitted.messages, schema, tools])) + promptOverheadBytes
  const call: CallInput | ToolLoopInput = {
    id,
    models: names,
    ...(names.length > regular.length ? { regularModels: regular.length } : {}),
    request,
    task: { agent: name, input, gathered } satisfies ModelRequest['task'],
    worst: Object.fromEntries(names.map((model) => [model, worstCaseOf(known.priceOf(model) ?? free, promptBytes, completionTokensMax)])),
    ...trying,
    priority: task.priority ?? trying.priority,
    tenant: task.tenant ?? null,
    ...(fitted.compaction ? { compaction: fitted.compaction } : {}),
    ...(tools.length === 0 || rounds ? {} : { loop: { task } }),
    about: { agent: name, version, run: task.run, task: task.id, goal: task.goal.digest, origin: task.origin },
    ...(hedge ? { hedge } : {}),
    ...(stream ? { stream: { everyMs: (stream === true ? undefined : stream.everyMs) ?? 200 } } : {}),
  }
  return { call: storable('the call', call), compacted: storable('what the prompt leaves out', fitted.whole) }
}

function counted(countTokens: (text: string) => number): (text: string) => number {
  return (part) => {
    const tokens = atOnce('countTokens', countTokens(part))
    aCount('countTokens', tokens)
    return tokens
  }
}

/** What a provider adds around a prompt of its own accord, such as the words that ask for JSON. */
const promptOverheadBytes = 2_048

function readAnswer<TInput, TOutput, TGiven>(options: AgentOptions<TInput, TOutput, TGiven>, agent: string, { task, gathered }: About, result: CallOutput): Pick<Partial<AgentContext>, 'output' | 'confidence' | 'failure'> {
  if (!result.ok) return { failure: agentFailure(result.reason === 'failed' ? 'model' : result.reason, result.message) }
  const { text, stopReason } = result.response as Completion
  if (stopReason === 'length') return { failure: agentFailure('truncated', `the answer was cut off at ${options.completionTokensMax ?? 4_096} tokens`) }
  if (stopReason === 'refusal') return { failure: agentFailure('declined', 'the model declined to answer') }
  if (stopReason !== 'end') return { failure: agentFailure('malformed', 'the model asked for a tool instead of answering') }
  let answer: unknown
  try {
    answer = JSON.parse(text)
  } catch {
    return { failure: agentFailure('malformed', 'the answer is not JSON') }
  }
  return readOutput(options, agent, { task, gathered }, answer, result.model)
}

/** What was answered as the agent's output, whoever answered it. */
function readOutput<TInput, TOutput, TGiven>(options: AgentOptions<TInput, TOutput, TGiven>, agent: string, { task, gathered }: About, answer: unknown, model: string): Pick<Partial<AgentContext>, 'output' | 'confidence' | 'failure'> {
  const parsed = options.output.safeParse(answer)
  if (!parsed.success) return { failure: agentFailure('malformed', `the answer does not fit ${agent}'s schema: ${issuesOf(parsed.error)}`) }
  try {
    const input = parse(options.input, task.input, `the task of ${agent}`)
    const args = { output: parsed.data, input, gathered, model }
    const output: unknown = options.give ? atOnce('give', options.give(args)) : parsed.data
    const confidence = atOnce('confidence', options.confidence?.(args)) ?? noConfidence
    aConfidence('confidence', confidence)
    return { output: storable(options.give ? 'give' : 'the answer', output ?? null, outputLimits), confidence: storable('confidence', { value: confidence.value, source: confidence.source }) }
  } catch (error) {
    return { failure: agentFailure('unfit', (error as Error).message) }
  }
}

/** The declared path, with what its steps are shown and how what they bring is read. */
function fallbackOf<TInput, TOutput, TGiven>(options: AgentOptions<TInput, TOutput, TGiven>, { name, version, schema }: Resolved): typeof fallbackMachine {
  return fallbackMachine.provide({
    actions: {
      prepareRequest: assign(({ context }: { context: FallbackContext }) => {
        const { task, path, cause } = context.input
        const step = path[context.place]!
        const question = { input: task.input, schema }
        const why = `${'person' in step ? step.person : ''} (${cause.message})`.slice(0, 10_000)
        const request: ApprovalRequest = { why, actions: [], question, digest: digestOf(canonicalJson({ run: task.run, task: task.id, agent: name, version, place: context.place, why, question })) }
        return { request }
      }),
      weigh: assign(({ context }: { context: FallbackContext }) => {
        const { task, gathered } = context.input
        const { output: answer, confidence: theirs, by } = context.brought!
        const { output, failure } = readOutput(options, name, { task, gathered }, answer, by)
        return failure ? { brought: null, failure: failure.message } : { brought: { output, confidence: theirs, by } }
      }),
    },
  })
}

/** What is wrong with the answer that a person gives to a question; undefined: nothing, or it is no such answer. */
function problemOf<TInput, TOutput, TGiven>(options: AgentOptions<TInput, TOutput, TGiven>, { name }: Resolved, { task, gathered, approval }: AgentContext, event: { readonly type: string }): string | undefined {
  const decision = approval?.question ? decisionOn(approval, event) : null
  if (!decision?.approved) return undefined
  return readOutput(options, name, { task: task!, gathered }, decision.output, `person/${decision.by}`).failure?.message
}

function planFor<TInput, TOutput, TGiven>(options: AgentOptions<TInput, TOutput, TGiven>, { name, version }: Resolved, context: AgentContext): Partial<AgentContext> {
  const task = context.task!
  const input = parse(options.input, task.input, `the task of ${name}`)
  const output = context.output as TGiven
  const wanted = atOnce('act', options.act?.({ output, input })) ?? []
  list(anything)('act', wanted)
  const actions = wanted.map((action) => checkedAction(action, options.externalActions ?? {}, name))
  const approval = checkedRequest(options.approval?.({ output, input, actions }))
  const shown = actions.length === 0 ? { output: output as unknown } : {}
  return {
    planned: actions,
    // A person may have decided on the output already.
    ...(approval ? { decision: null } : {}),
    approval: approval ? { why: approval.why, actions, ...shown, digest: digestOf(canonicalJson({ run: task.run, task: task.id, agent: name, version, actions, ...shown })) } : null,
  }
}

// oxlint-disable-next-line typescript/no-explicit-any
type ExternalActions = Readonly<Record<string, ExternalActionOptions<any>>>

/** @throws ConfigError if there is no such action, or it does not take this input */
export function checkedAction(action: PlannedAction, actions: ExternalActions, who: string): PlannedAction {
  anAction(`an action of ${who}`, action)
  const declared = Object.hasOwn(actions, action.name) ? actions[action.name] : undefined
  if (!declared) throw new ConfigError(`${who} has no external action "${action.name}" (it has: ${Object.keys(actions).join(', ') || 'none'})`)
  return storable(`action "${action.name}"`, { name: action.name, input: parse<unknown>(declared.input, action.input, `the input of "${action.name}"`) })
}

/**
 * One of several external actions, each under a key with its own name (I4).
 *
 * @param before what must be so first; a throw fails the action, which has not happened then
 */
export function actLogic<TInput extends { readonly action: PlannedAction; readonly ordinal: number }>(actions: ExternalActions, before?: (input: TInput) => Promise<void>): PromiseActorLogic<unknown, TInput> {
  const declared = ({ action }: TInput): ExternalActions[string] => {
    const found = Object.hasOwn(actions, action.name) ? actions[action.name] : undefined
    if (!found) throw new ConfigError(`This process has no external action "${action.name}".`)
    return found
  }
  return external<unknown, TInput>({
    name: ({ action, ordinal }) => (ordinal === 1 ? action.name : `${action.name}/${ordinal}`),
    run: async (args) => {
      await before?.(args.input)
      return declared(args.input).run({ ...args, input: args.input.action.input })
    },
    reconcile: async (args) => {
      const { reconcile } = declared(args.input)
      if (!reconcile) throw new ConfigError(`"${args.input.action.name}" declares no reconcile`)
      return reconcile({ ...args, input: args.input.action.input })
    },
  })
}

export type { AgentOutput }

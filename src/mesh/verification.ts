/** Verification as it is declared: strategies as plain shapes, and the actors that they stand for. */
import { assign, type AnyActorLogic, type PromiseActorLogic } from 'xstate'
import { ConfigError } from '../errors.js'
import type { AgentFailure, AgentTask, Gathered, Goal } from '../machines/agent.machine.js'
import type { ApprovalRequest } from '../machines/approval.js'
import type { CallPolicy } from '../machines/call-policy.js'
import type { callMachine, CallInput, CallOutput } from '../machines/call.machine.js'
import { noConfidence, type Confidence } from '../machines/gate.js'
import { inOrderMachine } from '../machines/in-order.machine.js'
import { personMachine } from '../machines/person.machine.js'
import { rederivationGuards, rederivationMachine, type Derivation } from '../machines/rederivation.machine.js'
import { sourceCheckMachine } from '../machines/source-check.machine.js'
import { notJudged, refusal, type Refused, type VerificationInput, type Verdict } from '../machines/verdict.js'
import { ASK, EFFECT, fromAsk, repeatable, type EffectArgs, type EffectDeclaration } from '../protocol.js'
import { checkId } from '../runtime/identity.js'
import { kindOf } from '../runtime/xstate/insides.js'
import { canonicalJson, digestOf } from './canonical.js'
import { aModel, type ModelRef } from './model-call.js'
import { aFunction, anything, atOnce, having, isObject, list, milliseconds, oneOf, optional, options as optionsOf, shape, share, text, whole, wrong, type Check } from './options.js'

/** Judges an output: an actor of its own. */
export type Verifier = PromiseActorLogic<Verdict, VerificationInput>

/** What a finding says of a source. */
export interface Citation {
  /** As it stands in the output. */
  readonly finding: unknown
  /** Which source: what `read` is asked for. */
  readonly source: string
  /** What the source is said to say. */
  readonly quote: string
}

/**
 * By rule: every quotation is looked up in its source, read again. A finding whose quotation is not there is refused; an
 * output that quotes nothing is, too.
 */
export interface SourceCheck<TInput, TOutput> {
  readonly strategy: 'sources'
  /** What the output quotes, at most 10,000. */
  readonly citations: (args: { readonly output: TOutput; readonly input: TInput }) => readonly Citation[]
  /** The text of a source; null if there is no such source. Asked once for each. A throw says that it cannot be read now, and ends the check unjudged. */
  readonly read: (args: { readonly source: string; readonly input: TInput; readonly goal: Goal; readonly material: unknown; readonly signal: AbortSignal }) => Promise<string | null> | string | null
  /** Whether the text says it. Default: {@link isQuoted}. */
  readonly stands?: (args: { readonly finding: unknown; readonly source: string; readonly quote: string; readonly text: string }) => boolean
  /** The output with nothing but the findings that stand. Default: one that does not refuses all of it. */
  readonly keep?: (args: { readonly output: TOutput; readonly findings: readonly unknown[] }) => TOutput
  /** How long it may take, ms, at least 1. Default: the agent's `verifyDeadlineMs`. */
  readonly deadlineMs?: number
}

/** By consistency: the models derive it again, without being shown the output, and it must come to the same. */
export interface Rederivation<TInput, TOutput> {
  readonly strategy: 'rederivation'
  /** How often, at most, 1 to 100; it ends as soon as the verdict is certain. Default 1. */
  readonly times?: number
  /** Which share of all derivations, the first one included, must agree, above 0 to 1; at least one other must. Default 1: all of them. */
  readonly agreement?: number
  /** Models to derive it, tried in order. Default: the agent's own. A model of another family errs in other ways. */
  readonly model?: ModelRef | readonly ModelRef[]
  /** Whether another derivation comes to the same. Default: it is the same JSON, whatever the order of its keys. */
  readonly agrees?: (args: { readonly output: TOutput; readonly other: TOutput; readonly input: TInput }) => boolean
}

/** By a person, who is shown the output and decides as on an approval: `run.pending()`, `run.approve()`, `run.reject()`. */
export interface PersonalCheck<TInput, TOutput> {
  readonly strategy: 'person'
  /** Why a person must look at it, 1 to 10,000 characters. */
  readonly why: string | ((args: { readonly output: TOutput; readonly input: TInput }) => string)
  /** How long there is to decide, ms, at least 1; then it is refused. Default 7 days. */
  readonly deadlineMs?: number
}

/** Who judges an output: the name of an agent, asked through the run; a declared strategy; or an actor. */
export type VerificationStrategy<TInput, TOutput> = string | SourceCheck<TInput, TOutput> | Rederivation<TInput, TOutput> | PersonalCheck<TInput, TOutput> | Verifier

type AnyStrategy = VerificationStrategy<unknown, unknown>
export type VerifyWith<TInput, TOutput> = VerificationStrategy<TInput, TOutput> | readonly VerificationStrategy<TInput, TOutput>[]

/** What a verdict of a source check reads of a text: with white space folded, and letters and quotation marks in one form. */
export function isQuoted({ quote, text: whole }: { readonly quote: string; readonly text: string }): boolean {
  const wanted = folded(quote)
  return wanted !== '' && folded(whole).includes(wanted)
}

function folded(words: string): string {
  return words.normalize('NFKC').replace(/[‘’‛]/g, "'").replace(/[“”„‟]/g, '"').replace(/[\u00ad\u200b-\u200d\ufeff]/g, '').replace(/\s+/g, ' ').trim()
}

// ── At the door ──

const someModels: Check = (name, value) => (Array.isArray(value) ? list(aModel, 1) : aModel)(name, value)
const aWhy: Check = (name, value) => (typeof value === 'function' ? aFunction : text(10_000))(name, value)
const aPart: Check = (name, value) => {
  share(name, value)
  if (value === 0) wrong(name, 'a number above 0, at most 1', value)
}
const shapes: Readonly<Record<string, Check>> = {
  sources: optionsOf<SourceCheck<unknown, unknown>>({ strategy: anything, citations: aFunction, read: aFunction, stands: optional(aFunction), keep: optional(aFunction), deadlineMs: optional(milliseconds) }),
  rederivation: optionsOf<Rederivation<unknown, unknown>>({ strategy: anything, times: optional(whole(1, 100)), agreement: optional(aPart), model: optional(someModels), agrees: optional(aFunction) }),
  person: optionsOf<PersonalCheck<unknown, unknown>>({ strategy: anything, why: aWhy, deadlineMs: optional(milliseconds) }),
}
const anActor = having('the name of an agent, a strategy, or an actor such as repeatable(...) gives', 'transition')

const aStrategy: Check = (name, value) => {
  if (typeof value === 'string') return void checkId(name, value)
  if (!isObject(value) || !('strategy' in value)) return anActor(name, value)
  const kind = value['strategy']
  oneOf(...Object.keys(shapes))(`${name}.strategy`, kind)
  return shapes[kind as string]!(name, value)
}

/** What `verifyWith` may be. */
export const strategiesCheck: Check = (name, value) => {
  if (Array.isArray(value)) list(aStrategy, 1)(name, value)
  else aStrategy(name, value)
}

/** In the order in which they judge. */
export function strategiesOf(given: unknown): readonly AnyStrategy[] {
  return given === undefined ? [] : ([given].flat() as AnyStrategy[])
}

/** Names of the agents among them. */
export function agentsAmong(given: readonly AnyStrategy[]): readonly string[] {
  return given.filter((strategy) => typeof strategy === 'string')
}

/** Models that only verification uses. */
export function modelsAmong(given: readonly AnyStrategy[]): readonly ModelRef[] {
  return given.flatMap((strategy) => (typeof strategy === 'object' && 'strategy' in strategy && strategy.strategy === 'rederivation' ? [strategy.model ?? []].flat() : []))
}

// ── As actors ──

/** What strategies need of the agent whose output they judge. */
export interface Judged {
  readonly agent: string
  readonly version: string
  /** How long another agent is waited for, ms. */
  readonly deadlineMs: number
  /** @throws ConfigError if it does not fit */
  inputOf(task: AgentTask): unknown
  /** What may stand as the agent's output. @throws ConfigError, NonJsonError, LimitError for what may not */
  outputOf(name: string, value: unknown): unknown
  materialOf(task: AgentTask): Promise<unknown>
  readonly gather: PromiseActorLogic<Gathered, { task: AgentTask }>
  /** @throws an error that says who has stopped the agent, and why */
  mayAct(task: AgentTask): Promise<void>
  readonly call: typeof callMachine
  /** Another call from the same task, and what its prompt leaves out. @throws for what no call can be made of */
  callFor(id: string, models: readonly ModelRef[] | undefined, about: { readonly task: AgentTask; readonly gathered: unknown; readonly policy: CallPolicy | null }): { readonly call: CallInput; readonly compacted: readonly unknown[] }
  read(answer: CallOutput, about: { readonly task: AgentTask; readonly gathered: unknown }): { readonly output?: unknown; readonly confidence?: Confidence; readonly failure?: { readonly reason: AgentFailure; readonly message: string } | null }
}

/** The actor that judges: the only one, or one that asks all of them in order. */
export function verifierOf(strategies: readonly AnyStrategy[], judged: Judged): AnyActorLogic {
  // These are the states in which a list of them ends.
  const taken = new Set(['verified', 'refused'])
  const named = strategies.map((strategy) => {
    const { name: given, description, logic } = actorOf(strategy, judged)
    // A dot in the name of a state is a path.
    const name = given.replaceAll('.', '_')
    let unique = name
    for (let n = 2; taken.has(unique); n++) unique = `${name}-${n}`
    taken.add(unique)
    return { name: unique, description, logic: logic(unique) }
  })
  return named.length === 1 ? named[0]!.logic : inOrderMachine(named)
}

interface Actor {
  readonly name: string
  readonly description: string
  /** @param name unique among the strategies of the agent */
  logic(name: string): AnyActorLogic
}

function actorOf(strategy: AnyStrategy, judged: Judged): Actor {
  if (typeof strategy === 'string') return { name: strategy, description: `The agent ${strategy} judges it, asked through the run.`, logic: () => askRun(strategy, judged.deadlineMs) }
  if (!('strategy' in strategy)) return { name: 'actor', description: 'An actor of the user’s judges it.', logic: () => mayBeStopped(strategy, judged) }
  switch (strategy.strategy) {
    case 'sources':
      return { name: 'sources', description: 'Its quotations are looked up in their sources.', logic: () => sourceCheck(strategy, judged) }
    case 'rederivation':
      return { name: 'rederivation', description: 'It is derived again, and compared.', logic: (name) => rederivation(strategy, name, judged) }
    case 'person':
      return { name: 'person', description: 'A person is shown it and decides.', logic: (name) => person(strategy, name, judged) }
  }
}

/** A promise of the user's begins only if nobody has stopped the agent; a machine's own effects are its own. */
function mayBeStopped(logic: Verifier, { mayAct }: Judged): AnyActorLogic {
  const { [EFFECT]: declared, config } = logic as unknown as { readonly [EFFECT]?: EffectDeclaration; readonly config?: EffectDeclaration['run'] }
  const run = declared?.run ?? config
  if (ASK in logic || typeof run !== 'function' || kindOf(logic as never) !== 'promise') return logic
  const asking = async (args: EffectArgs<never>): Promise<unknown> => {
    await mayAct((args.input as VerificationInput).task)
    return run(args)
  }
  return { ...logic, config: asking, ...(declared ? { [EFFECT]: { ...declared, run: asking } } : {}) } as AnyActorLogic
}

/** Asks the run for the verdict of one of its agents. */
function askRun(by: string, deadlineMs: number): Verifier {
  return fromAsk<Verdict, VerificationInput>(({ input: { task, output, confidence } }) => ({
    to: task.runAddress!,
    event: { type: 'verification.request', step: task.id, by, output, confidence },
    deadlineMs,
  }))
}

const citationsMax = 10_000
const words = text(1_000_000, 0)
const someCitations = list(shape<Citation>({ finding: anything, source: words, quote: words }))

function sourceCheck({ citations, read, stands = isQuoted, keep, deadlineMs }: SourceCheck<unknown, unknown>, judged: Judged): AnyActorLogic {
  const check = repeatable<Verdict, VerificationInput>(async ({ input: { task, output }, signal }) => {
    await judged.mayAct(task)
    const input = judged.inputOf(task)
    const cited = atOnce('citations', citations({ output, input }))
    someCitations('citations', cited)
    if (cited.length === 0) return refusal('rule', ['no-source'], 'it names no source')
    if (cited.length > citationsMax) throw new ConfigError(`citations: expected at most ${citationsMax}, got ${cited.length}.`)
    const material = await judged.materialOf(task)
    const texts = new Map<string, string | null>()
    for (const { source } of cited) if (!texts.has(source)) texts.set(source, textOf(source, await read({ source, input, goal: task.goal, material, signal })))
    const whyNot = (citation: Citation): string | undefined => {
      const found = texts.get(citation.source)
      if (found === null || found === undefined) return 'no-such-source'
      return atOnce('stands', stands({ ...citation, text: found })) === true ? undefined : 'not-in-source'
    }
    const judgements = cited.map((citation) => ({ ...citation, key: canonicalJson(citation.finding ?? null), whyNot: whyNot(citation) }))
    // A finding with several quotations stands on all of them.
    const fallen = new Map<string, Refused>()
    for (const { finding, key, source, quote, whyNot: reason } of judgements) if (reason && !fallen.has(key)) fallen.set(key, { finding, reasons: [reason], explanation: reason === 'not-in-source' ? `"${shortened(quote)}" is not in ${source}` : `there is no source ${source}` })
    const standing = [...new Map(judgements.map(({ key, finding }) => [key, finding]))].filter(([key]) => !fallen.has(key)).map(([, finding]) => finding)
    const refused = [...fallen.values()]
    const sourcesVerified = [...new Set(judgements.filter(({ key }) => !fallen.has(key)).map(({ source }) => source))]
    const reasons = [...new Set(refused.flatMap((each) => each.reasons))]
    const explanation = refused.length === 0 ? 'every quotation is in its source' : refused.slice(0, 3).map((each) => each.explanation).join('; ') + (refused.length > 3 ? ` and ${refused.length - 3} more` : '')
    const accepted = refused.length === 0 || (keep !== undefined && standing.length > 0)
    const confidence: Confidence = { value: accepted ? 1 : standing.length / (standing.length + refused.length), source: 'rule' }
    const kept = accepted && refused.length > 0 ? { output: judged.outputOf('keep', atOnce('keep', keep!({ output, findings: standing }))) } : {}
    return { accepted, reasons, explanation, confidence, ...kept, refused, sourcesVerified, by: 'rule' }
  })
  return sourceCheckMachine.provide({ actors: { check }, delays: { deadline: deadlineMs ?? judged.deadlineMs } })
}

function textOf(source: string, read: unknown): string | null {
  if (read === null || read === undefined) return null
  if (typeof read !== 'string') wrong(`read: ${source}`, 'its text, or null', read)
  return read
}

const shortened = (quote: string): string => (quote.length > 80 ? `${quote.slice(0, 80)}…` : quote)

function rederivation({ times = 1, agreement = 1, model, agrees = isSame }: Rederivation<unknown, unknown>, name: string, judged: Judged): AnyActorLogic {
  const models = model === undefined ? undefined : ([model].flat() as ModelRef[])
  return rederivationMachine.provide({
    actors: { gather: judged.gather, call: judged.call },
    guards: rederivationGuards({ times, agreement }),
    actions: {
      prepareCall: assign(({ context }) => {
        try {
          return judged.callFor(`${name}-${context.derivations.length + 1}`, models, { task: context.input.task, gathered: context.gathered, policy: context.policy })
        } catch (error) {
          return { verdict: notJudged('rederivation', (error as Error).message) }
        }
      }),
      readDerivation: assign(({ context, event }) => {
        const answer = (event as unknown as { output: CallOutput }).output
        const attempt = (answer.ok ? answer.attempt : undefined) ?? `${answer.id ?? context.call!.id}.${answer.attempts.length}`
        return { derivations: [...context.derivations, { attempt, ...derivationOf(answer) }] }

        function derivationOf(given: CallOutput): Omit<Derivation, 'attempt'> {
          const { task, output } = context.input
          const { output: other = null, confidence = noConfidence, failure } = judged.read(given, { task, gathered: context.gathered })
          if (failure) return { output: null, confidence: noConfidence, agrees: false, failure: failure.message }
          try {
            return { output: other, confidence, agrees: atOnce('agrees', agrees({ output, other, input: judged.inputOf(task) })) === true, failure: null }
          } catch (error) {
            return { output: other, confidence, agrees: false, failure: `it could not be compared: ${(error as Error).message}` }
          }
        }
      }),
    },
  })
}

function isSame({ output, other }: { readonly output: unknown; readonly other: unknown }): boolean {
  return canonicalJson(output) === canonicalJson(other)
}

function person({ why, deadlineMs }: PersonalCheck<unknown, unknown>, name: string, judged: Judged): AnyActorLogic {
  return personMachine.provide({
    ...(deadlineMs === undefined ? {} : { delays: { deadline: deadlineMs } }),
    actions: {
      prepareRequest: assign(({ context }) => {
        const { task, output } = context.input
        try {
          const said = typeof why === 'string' ? why : atOnce('why', why({ output, input: judged.inputOf(task) }))
          text(10_000)('why', said)
          const request: ApprovalRequest = { why: said, actions: [], output, digest: digestOf(canonicalJson({ run: task.run, task: task.id, agent: judged.agent, version: judged.version, verification: name, output })) }
          return { request }
        } catch (error) {
          return { verdict: notJudged('nobody', (error as Error).message) }
        }
      }),
    },
  })
}

/**
 * Verification by consistency: the output is derived again from the task, by models that do not see it, and compared.
 * Answers that agree by chance are rare, answers that are made up seldom agree: self-consistency, Wang et al. 2022
 * (arXiv:2203.11171). One is derived after the other, and no more than the verdict needs; each is a call that draws on
 * the agent's ledger and has its trace.
 */
import { assign, enqueueActions, fromPromise, sendParent, sendTo, setup } from 'xstate'
import { append } from '../protocol.js'
import type { AgentTask, Gathered } from './agent.machine.js'
import type { CallPolicy } from './call-policy.js'
import { callMachine, type CallInput, type CallOutput, type CallToAgent } from './call.machine.js'
import { noConfidence, type Confidence } from './gate.js'
import { compactionStream, traceStream, type CompactionEntry, type TraceJudgement } from './trace.js'
import { notJudged, refusal, type AgentToVerifier, type VerificationInput, type Verdict } from './verdict.js'

/** What another derivation came to. */
export interface Derivation {
  /** The attempt that brought it, or the last one. */
  readonly attempt: string
  readonly output: unknown
  readonly confidence: Confidence
  readonly agrees: boolean
  /** Why there is no answer to compare. */
  readonly failure: string | null
}

export interface RederivationContext {
  readonly input: VerificationInput
  readonly gathered: unknown
  /** What holds for its calls. */
  readonly policy: CallPolicy | null
  /** The call under way. */
  readonly call: CallInput | null
  /** As in the agent's context. */
  readonly compacted: readonly unknown[]
  readonly derivations: readonly Derivation[]
  readonly verdict: Verdict | null
}

const by = 'rederivation'
const last = ({ derivations }: RederivationContext): Derivation => derivations.at(-1)!
const agreeing = ({ derivations }: RederivationContext): number => derivations.filter(({ agrees }) => agrees).length
const answered = ({ derivations }: RederivationContext): number => derivations.filter(({ failure }) => failure === null).length

/** How often it is derived again, and which share of all derivations, the first included, must agree. */
export interface RederivationBounds {
  readonly times: number
  /** 0 to 1. */
  readonly agreement: number
}

/** The decisions that depend on the bounds. */
export function rederivationGuards({ times, agreement }: RederivationBounds) {
  // Not without another one that agrees: the first is what is judged.
  const suffices = (others: number): boolean => others > 0 && (1 + others) / (times + 1) >= agreement
  return {
    suffices: ({ context }: { context: RederivationContext }) => suffices(agreeing(context)),
    /** Whatever the rest would bring. */
    cannotSuffice: ({ context }: { context: RederivationContext }) => !suffices(agreeing(context) + times - context.derivations.length),
  }
}

export const rederivationMachine = setup({
  types: {
    context: {} as RederivationContext,
    events: {} as AgentToVerifier | CallToAgent,
    input: {} as VerificationInput,
    output: {} as Verdict,
  },
  actors: {
    call: callMachine,
    /** Replaced by defineAgent: reads what the prompt needs, anew. */
    gather: fromPromise<Gathered, { task: AgentTask }>(() => Promise.reject(new Error('nothing is gathered'))),
  },
  guards: {
    hasVerdict: ({ context }) => context.verdict !== null,
    /** Replaced by defineAgent, by those for its bounds. */
    ...rederivationGuards({ times: 1, agreement: 1 }),
  },
  actions: {
    noteGathered: assign(({ event }) => {
      const { gathered, policy, refusal } = (event as unknown as { output: Gathered }).output
      return { gathered: gathered ?? null, policy, ...(refusal ? { verdict: notJudged('rederivation', refusal.message) } : {}) }
    }),
    failGather: assign({ verdict: ({ event }) => notJudged(by, (event as unknown as { error: { message: string } }).error.message) }),
    /** Replaced by defineAgent: renders the prompt into `call`, or says in `verdict` why not. */
    prepareCall: assign({ verdict: () => notJudged(by, 'this agent has no prompt') }),
    keepCompacted: enqueueActions(({ enqueue, context }) => {
      if (context.compacted.length === 0) return
      enqueue(append(() => ({ stream: compactionStream, value: { call: context.call?.id ?? '', parts: context.compacted } satisfies CompactionEntry })))
      enqueue.assign({ compacted: [] })
    }),
    /** Replaced by defineAgent: reads the answer and compares it. */
    readDerivation: assign({
      derivations: ({ context, event }) => [...context.derivations, { attempt: '', output: (event as unknown as { output: CallOutput }).output, confidence: noConfidence, agrees: false, failure: null }],
    }),
    askAgent: sendParent(({ event }) => event),
    answerCall: sendTo('call', ({ event }) => event),
    traceDerivation: append(({ context }) => {
      const { attempt, output, confidence, agrees, failure } = last(context)
      const value: TraceJudgement = { half: 'judgement', attempt, output, confidence, goalCheck: 'intact', verifiedBy: null, accepted: failure === null ? agrees : null, reasons: failure !== null || agrees ? [] : ['disagreement'], sourcesVerified: [], verdicts: [], failure }
      return { stream: traceStream, shared: true, value }
    }),
    accept: assign({
      verdict: ({ context }): Verdict => {
        const all = 1 + context.derivations.length
        const agree = 1 + agreeing(context)
        return { accepted: true, reasons: [], explanation: `${agree} of ${all} derivations agree`, confidence: { value: agree / all, source: 'consistency' }, by }
      },
    }),
    refuse: assign({
      verdict: ({ context }) => {
        const all = 1 + context.derivations.length
        const agree = 1 + agreeing(context)
        const why = context.derivations.find(({ failure }) => failure !== null)?.failure
        if (answered(context) === 0) return notJudged(by, why ?? 'there was no other derivation')
        return refusal(by, ['disagreement'], `${agree} of ${all} derivations agree${why ? `, and there was none once: ${why}` : ''}`, { value: agree / all, source: 'consistency' })
      },
    }),
  },
}).createMachine({
  id: 'rederivation',
  version: '1',
  description: 'The output is derived again from the task, without being shown, and compared.',
  context: ({ input }) => ({ input, gathered: null, policy: null, call: null, compacted: [], derivations: [], verdict: null }),
  output: ({ context }) => context.verdict!,
  initial: 'gathering',
  states: {
    gathering: {
      description: 'What the prompt needs is being read anew.',
      invoke: {
        id: 'gather',
        src: 'gather',
        input: ({ context }) => ({ task: context.input.task }),
        onDone: { target: 'prepared', actions: 'noteGathered' },
        onError: { target: 'refused', actions: 'failGather' },
      },
    },
    prepared: {
      description: 'The prompt of another derivation is rendered, unless that failed.',
      entry: ['prepareCall', 'keepCompacted'],
      always: [{ guard: 'hasVerdict', target: 'refused' }, { target: 'calling' }],
    },
    calling: {
      description: 'A model derives it again; its attempts draw on the agent’s ledger.',
      invoke: {
        id: 'call',
        src: 'call',
        input: ({ context }) => context.call!,
        onDone: { target: 'comparing', actions: ['readDerivation', 'traceDerivation'] },
      },
      on: {
        'call.reserve': { actions: 'askAgent' },
        'call.settle': { actions: 'askAgent' },
        'ledger.reserved': { actions: 'answerCall' },
        'ledger.refused': { actions: 'answerCall' },
        'ledger.pending': { actions: 'answerCall' },
      },
    },
    comparing: {
      description: 'Do enough derivations agree, can there still be enough, or is another one needed?',
      always: [
        { guard: 'suffices', target: 'verified', actions: 'accept' },
        { guard: 'cannotSuffice', target: 'refused', actions: 'refuse' },
        { target: 'prepared' },
      ],
    },
    verified: { description: 'Enough derivations came to the same.', type: 'final' },
    refused: { description: 'They did not, or there were none.', type: 'final' },
  },
})

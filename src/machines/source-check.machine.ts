/** Verification by rule: every quotation is looked up in its source. No model is asked, and silence is a no. */
import { assign, fromPromise, setup } from 'xstate'
import { notJudged, toVerdict, type VerificationInput, type Verdict } from './verdict.js'

export interface SourceCheckContext {
  readonly input: VerificationInput
  readonly verdict: Verdict | null
}

const by = 'rule'

export const sourceCheckMachine = setup({
  types: {
    context: {} as SourceCheckContext,
    events: {} as { readonly type: 'never' },
    input: {} as VerificationInput,
    output: {} as Verdict,
  },
  actors: {
    /** Replaced by defineAgent: reads the sources and compares. */
    check: fromPromise<Verdict, VerificationInput>(() => Promise.reject(new Error('no sources'))),
  },
  guards: {
    isAccepted: ({ event }) => toVerdict((event as unknown as { output: unknown }).output).accepted,
  },
  delays: {
    /** Replaced by defineAgent: how long the sources may take. */
    deadline: 3_600_000,
  },
  actions: {
    noteVerdict: assign({ verdict: ({ event }) => toVerdict((event as unknown as { output: unknown }).output) }),
    noteError: assign({ verdict: ({ event }) => notJudged(by, (event as unknown as { error: { message: string } }).error.message) }),
    noteLate: assign({ verdict: () => notJudged(by, 'the sources could not be read in time') }),
  },
}).createMachine({
  id: 'sourceCheck',
  version: '1',
  description: 'Every quotation is looked up in its source.',
  context: ({ input }) => ({ input, verdict: null }),
  output: ({ context }) => context.verdict!,
  initial: 'reading',
  states: {
    reading: {
      description: 'The sources are being read again, and compared with what is quoted from them.',
      invoke: {
        id: 'check',
        src: 'check',
        input: ({ context }) => context.input,
        onDone: [
          { guard: 'isAccepted', target: 'verified', actions: 'noteVerdict' },
          { target: 'refused', actions: 'noteVerdict' },
        ],
        onError: { target: 'refused', actions: 'noteError' },
      },
      after: { deadline: { target: 'refused', actions: 'noteLate' } },
    },
    verified: { description: 'What stands is in its source.', type: 'final' },
    refused: { description: 'It is not, or could not be looked up.', type: 'final' },
  },
})

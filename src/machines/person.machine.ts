/** Verification by a person, who is shown exactly what is judged (I10). Silence is a no. */
import { assign, sendParent, setup } from 'xstate'
import type { ApprovalRequest } from './approval.js'
import { notJudged, refusal, type AgentToVerifier, type VerificationInput, type VerifierToAgent, type Verdict } from './verdict.js'

export interface PersonContext {
  readonly input: VerificationInput
  readonly request: ApprovalRequest | null
  readonly verdict: Verdict | null
}

const decisionIn = (event: AgentToVerifier) => (event as AgentToVerifier & { type: 'person.decided' }).decision

export const personMachine = setup({
  types: {
    context: {} as PersonContext,
    events: {} as AgentToVerifier,
    input: {} as VerificationInput,
    output: {} as Verdict,
  },
  guards: {
    hasRequest: ({ context }) => context.request !== null,
    isApproved: ({ event }) => decisionIn(event).approved,
  },
  delays: {
    /** Replaced by defineAgent: how long a person has. */
    deadline: 7 * 24 * 3_600_000,
  },
  actions: {
    /** Replaced by defineAgent: what the person is shown, as `request`; or `verdict`, if that failed. */
    prepareRequest: assign({ verdict: () => notJudged('nobody', 'there is nothing to show to a person') }),
    askPerson: sendParent(({ context }): VerifierToAgent => ({ type: 'person.ask', request: context.request! })),
    accept: assign({
      verdict: ({ event }): Verdict => {
        const { by, note } = decisionIn(event)
        return { accepted: true, reasons: [], explanation: note || 'a person said yes', confidence: { value: 1, source: 'human' }, by }
      },
    }),
    refuse: assign({
      verdict: ({ event }) => {
        const { by, note } = decisionIn(event)
        return refusal(by, ['rejected'], note || 'a person said no', { value: 0, source: 'human' })
      },
    }),
    expire: assign({ verdict: () => refusal('nobody', ['expired'], 'nobody decided in time; what nobody verifies is refused') }),
  },
}).createMachine({
  id: 'person',
  version: '1',
  description: 'A person is shown the output and says yes or no.',
  context: ({ input }) => ({ input, request: null, verdict: null }),
  output: ({ context }) => context.verdict!,
  initial: 'preparing',
  states: {
    preparing: {
      description: 'What is the person to be shown, and why?',
      entry: 'prepareRequest',
      always: [{ guard: 'hasRequest', target: 'waiting' }, { target: 'refused' }],
    },
    waiting: {
      description: 'The question has been put; the agent takes the answer.',
      entry: 'askPerson',
      on: {
        'person.decided': [
          { guard: 'isApproved', target: 'verified', actions: 'accept' },
          { target: 'refused', actions: 'refuse' },
        ],
      },
      after: { deadline: { target: 'refused', actions: 'expire' } },
    },
    verified: { description: 'A person said yes.', type: 'final' },
    refused: { description: 'A person said no, or nothing.', type: 'final' },
  },
})

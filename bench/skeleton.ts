/**
 * The machine of all figures: six states, one invoke, one `after`, about 1 KB persisted. `agent.note` assigns one key;
 * `agent.pass` does so, sets its timer anew and sends 200 B on to the next agent, as often as the event says.
 */
import { refTo } from 'holdfast'
import { assign, emit, fromPromise, sendTo, setup } from 'xstate'

export interface AgentContext {
  readonly goal: string
  readonly next: string
  readonly plan: readonly { readonly step: string; readonly why: string }[]
  readonly budget: { readonly tokens: number; readonly calls: number }
  readonly findings: readonly { readonly claim: string; readonly source: string; readonly confidence: number }[]
  readonly note: string
}

export type AgentEvent =
  | { type: 'agent.begin' }
  | { type: 'agent.note'; note: string }
  /** `note` is made such that the event has 200 B. */
  | { type: 'agent.pass'; note: string; hops: number }
  | { type: 'agent.approve' }
  | { type: 'agent.reject' }

export const patienceMs = 3_600_000

export const agent = setup({
  types: { context: {} as AgentContext, events: {} as AgentEvent, input: {} as { next: string; goal?: string }, emitted: {} as { type: 'passed' } },
  actors: { model: fromPromise<string, { goal: string }>(() => new Promise(() => {})) },
  guards: { hasFarther: ({ event }) => (event as { hops: number }).hops > 0 },
  actions: {
    take: assign({ note: ({ event }) => (event as { note: string }).note }),
    pass: sendTo(
      ({ context }) => refTo(context.next),
      ({ event }) => ({ type: 'agent.pass' as const, note: (event as { note: string }).note, hops: (event as { hops: number }).hops - 1 }),
    ),
    tell: emit({ type: 'passed' }),
  },
}).createMachine({
  id: 'agent',
  initial: 'approvalPending',
  context: ({ input }) => ({
    goal: input.goal ?? 'Summarise the state of research on efficient inference for a reader who has ten minutes and will ask for sources.',
    next: input.next,
    plan: [
      { step: 'Collect what the documents say about quantisation.', why: 'It is the cheapest gain.' },
      { step: 'Collect what they say about speculative decoding.', why: 'It changes latency, not cost.' },
    ],
    budget: { tokens: 400_000, calls: 50 },
    findings: [
      { claim: 'Weights of four bits keep nearly all of the quality of sixteen.', source: 'doc-12#4', confidence: 0.92 },
      { claim: 'A small draft model halves the latency of a large one.', source: 'doc-31#1', confidence: 0.81 },
    ],
    note: '',
  }),
  states: {
    idle: { on: { 'agent.begin': 'working' } },
    working: { invoke: { id: 'model', src: 'model', input: ({ context }) => ({ goal: context.goal }), onDone: 'awaitingVerification', onError: 'failed' } },
    awaitingVerification: { on: { 'agent.approve': 'approvalPending', 'agent.reject': 'failed' } },
    approvalPending: {
      after: { [patienceMs]: 'failed' },
      on: {
        'agent.note': { actions: 'take' },
        'agent.pass': [
          { guard: 'hasFarther', target: 'approvalPending', reenter: true, actions: ['take', 'pass'] },
          { target: 'approvalPending', reenter: true, actions: ['take', 'tell'] },
        ],
        'agent.approve': 'done',
        'agent.reject': 'failed',
      },
    },
    done: { type: 'final' },
    failed: { type: 'final' },
  },
})

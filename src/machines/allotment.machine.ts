/**
 * How a run comes by what it may spend: a person is asked first, where one must be, and then the budget of its tenant, if
 * there is one. Runs inside the run's record, at its start and whenever it needs more.
 */
import { assign, sendTo, setup } from 'xstate'
import { refTo } from '../protocol.js'
import { decisionOn, type ApprovalRequest, type DecisionEvent } from './approval.js'
import type { BudgetAnswer, BudgetEvent } from './budget.machine.js'
import type { Amounts } from './ledger.js'

export interface AllotmentInput {
  /** Address of the run. */
  readonly run: string
  /** Address of the tenant's budget; null: nobody else pays. */
  readonly budget: string | null
  /** Which of the run's draws from it this one is, counted from 1. */
  readonly draw: number
  readonly wanted: Amounts
  /** What a person must approve first; null: nobody need. */
  readonly request: ApprovalRequest | null
  /** How long a person has, ms. */
  readonly deadlineMs: number
}

export interface AllotmentOutput {
  /** What the run may spend in addition; null: nothing. */
  readonly amounts: Amounts | null
  /** Whether it is the tenant's. */
  readonly isDrawn: boolean
  /** Why not. */
  readonly message: string
}

export interface AllotmentContext {
  readonly input: AllotmentInput
  readonly waitMs: number
  readonly output: AllotmentOutput
}

export type AllotmentEvent = DecisionEvent | BudgetAnswer

const askAgainMs = 60_000
const answerIn = <T extends BudgetAnswer['type']>(event: AllotmentEvent): BudgetAnswer & { readonly type: T } => event as BudgetAnswer & { readonly type: T }

export const allotmentMachine = setup({
  types: {
    context: {} as AllotmentContext,
    events: {} as AllotmentEvent,
    input: {} as AllotmentInput,
    output: {} as AllotmentOutput,
  },
  guards: {
    needsPerson: ({ context }) => context.input.request !== null,
    needsTenant: ({ context }) => context.input.budget !== null,
    isApproved: ({ context, event }) => decisionOn(context.input.request, event)?.approved === true,
    isApprovedForTenant: ({ context, event }) => context.input.budget !== null && decisionOn(context.input.request, event)?.approved === true,
    isRejected: ({ context, event }) => decisionOn(context.input.request, event)?.approved === false,
    isThis: ({ context, event }) => answerIn(event).draw === context.input.draw,
  },
  delays: {
    deadline: ({ context }) => context.input.deadlineMs,
    askAgain: askAgainMs,
    wait: ({ context }) => context.waitMs,
  },
  actions: {
    draw: sendTo(
      ({ context }) => refTo(context.input.budget!),
      ({ context: { input: { run, draw, wanted } } }): BudgetEvent => ({ type: 'budget.draw', run, draw, wanted }),
    ),
    withdraw: sendTo(
      ({ context }) => refTo(context.input.budget!),
      ({ context: { input: { run, draw } } }): BudgetEvent => ({ type: 'budget.withdraw', run, draw }),
    ),
    noteWait: assign({ waitMs: ({ event }) => answerIn<'budget.waits'>(event).waitMs }),
    give: assign({ output: ({ context }) => ({ amounts: context.input.wanted, isDrawn: false, message: '' }) }),
    noteGrant: assign({ output: ({ event }) => ({ amounts: answerIn<'budget.granted'>(event).amounts, isDrawn: true, message: '' }) }),
    noteRefusal: assign({ output: ({ event }) => deny(answerIn<'budget.refused'>(event).message) }),
    noteRejection: assign({
      output: ({ context, event }) => {
        const { by, note } = decisionOn(context.input.request, event)!
        return deny(`${by} gives no more${note === '' ? '' : `: ${note}`}`)
      },
    }),
    noteSilence: assign({ output: () => deny('nobody decided in time whether there is more') }),
    noteLate: assign({ output: ({ context }) => deny(`there was too little of its tenant's budget for ${context.waitMs} ms`) }),
  },
}).createMachine({
  id: 'allotment',
  version: '1',
  description: 'How a run comes by what it may spend: of a person, of its tenant.',
  context: ({ input }) => ({ input, waitMs: 0, output: deny('') }),
  output: ({ context }) => context.output,
  initial: 'deciding',
  states: {
    deciding: {
      description: 'Who must be asked?',
      always: [{ guard: 'needsPerson', target: 'asking' }, { guard: 'needsTenant', target: 'drawing' }, { target: 'given', actions: 'give' }],
    },
    asking: {
      description: 'A person is asked for more; silence is a no.',
      on: {
        'approval.decide': [
          { guard: 'isApprovedForTenant', target: 'drawing' },
          { guard: 'isApproved', target: 'given', actions: 'give' },
          { guard: 'isRejected', target: 'denied', actions: 'noteRejection' },
        ],
      },
      after: { deadline: { target: 'denied', actions: 'noteSilence' } },
    },
    drawing: {
      description: 'The tenant’s budget is asked; again, if it does not answer.',
      entry: 'draw',
      on: {
        'budget.granted': { guard: 'isThis', target: 'given', actions: 'noteGrant' },
        'budget.refused': { guard: 'isThis', target: 'denied', actions: 'noteRefusal' },
        'budget.waits': { guard: 'isThis', target: 'waiting', actions: 'noteWait' },
      },
      after: { askAgain: { target: 'drawing', reenter: true } },
    },
    waiting: {
      description: 'The tenant has too little left now: it waits until there is enough.',
      on: {
        'budget.granted': { guard: 'isThis', target: 'given', actions: 'noteGrant' },
        'budget.refused': { guard: 'isThis', target: 'denied', actions: 'noteRefusal' },
      },
      after: { wait: { target: 'denied', actions: ['noteLate', 'withdraw'] } },
    },
    given: { description: 'There is something to spend.', type: 'final' },
    denied: { description: 'There is not.', type: 'final' },
  },
})

function deny(message: string): AllotmentOutput {
  return { amounts: null, isDrawn: false, message }
}

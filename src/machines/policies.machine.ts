/**
 * What all nodes of a mesh hold to, beyond what their code says: policies that were changed while it ran, and what
 * somebody has stopped. One durable actor; nodes look at it before an attempt, or have done so moments ago.
 */
import { assign, setup } from 'xstate'
import { reply, type ReplyToken } from '../protocol.js'
import type { PolicyScope } from './permit.js'

/** Calls that somebody has stopped. */
export interface Stop {
  readonly scope: PolicyScope
  /** `researcher`, `researcher@2`, `anthropic/claude-opus-5-5`, a tenant or a provider. */
  readonly name: string
  readonly by: string
  readonly why: string
  /** Namespace time, ms. */
  readonly at: number
}

export interface PoliciesContext {
  /** Goes up with every change. */
  readonly revision: number
  /** As they were set; null: as each node's code has them. */
  readonly policies: unknown
  /** Who set them, and when; null: nobody. */
  readonly setBy: { readonly by: string; readonly at: number } | null
  readonly stops: readonly Stop[]
}

export type PoliciesEvent =
  | { readonly type: 'policies.set'; readonly policies: unknown; readonly by: string; readonly at: number; readonly replyToken?: ReplyToken }
  | { readonly type: 'calls.stop'; readonly stop: Stop; readonly replyToken?: ReplyToken }
  | { readonly type: 'calls.resume'; readonly scope: PolicyScope; readonly name: string; readonly replyToken?: ReplyToken }

const of = <T extends PoliciesEvent['type']>(event: PoliciesEvent): PoliciesEvent & { readonly type: T } => event as PoliciesEvent & { readonly type: T }
const isSame = (a: Pick<Stop, 'scope' | 'name'>, b: Pick<Stop, 'scope' | 'name'>): boolean => a.scope === b.scope && a.name === b.name

/** Stops that are kept, at most. */
export const stopsMax = 1_000

export const policiesMachine = setup({
  types: {
    context: {} as PoliciesContext,
    events: {} as PoliciesEvent,
  },
  guards: {
    hasRoom: ({ context }) => context.stops.length < stopsMax,
  },
  actions: {
    notePolicies: assign(({ event }) => {
      const { policies, by, at } = of<'policies.set'>(event)
      return { policies, setBy: policies === null ? null : { by, at } }
    }),
    noteStop: assign({ stops: ({ context, event }) => [...context.stops.filter((stop) => !isSame(stop, of<'calls.stop'>(event).stop)), of<'calls.stop'>(event).stop] }),
    noteResume: assign({ stops: ({ context, event }) => context.stops.filter((stop) => !isSame(stop, of<'calls.resume'>(event))) }),
    noteRevision: assign({ revision: ({ context }) => context.revision + 1 }),
    answerDone: reply(({ context }) => ({ done: true, revision: context.revision })),
    answerFull: reply(({ context }) => ({ done: false, revision: context.revision })),
  },
}).createMachine({
  id: 'policies',
  version: '1',
  description: 'What all nodes of a mesh hold to, beyond what their code says.',
  context: { revision: 0, policies: null, setBy: null, stops: [] },
  initial: 'holding',
  states: {
    holding: {
      description: 'As it stands until the next change.',
      on: {
        'policies.set': { actions: ['notePolicies', 'noteRevision', 'answerDone'] },
        'calls.stop': [
          { guard: 'hasRoom', actions: ['noteStop', 'noteRevision', 'answerDone'] },
          { actions: 'answerFull' },
        ],
        'calls.resume': { actions: ['noteResume', 'noteRevision', 'answerDone'] },
      },
    },
  },
})

/**
 * Starts, watches, limits and restarts children that have records of their own. All policy stands here: the runtime
 * only tells facts and takes commands (contract 6). Isolation is the default: a child that fails harms nobody else.
 *
 * A child that ends normally is gone. One that fails is started again after a backoff, from its last good snapshot or
 * from its input, as long as the intensity allows: more than `max` restarts of all children within `periodMs` escalate,
 * which stops every child and ends the supervisor. At most `workingMax` children work; further ones wait, at most
 * `waitingMax` of them; what is beyond is refused with a reason. A child that waits for somebody else yields its place:
 * else all places could be held by children that wait for one which finds none.
 *
 * Runs inside another record (invoked: what it has to say is sent to the parent) or as a record of its own.
 */
import { assign, enqueueActions, setup } from 'xstate'
import { durableChild, restartDurableChild, stopDurableChild, type ChildFact } from '../protocol.js'
import { backoffMs, defaultBackoff, type Backoff } from './backoff.js'

export interface SupervisorOptions {
  /** Children at work at the same time, inclusive, at least 1. Default 8. */
  readonly workingMax: number
  /** Children waiting for room, inclusive; 0 for none. Default 64. */
  readonly waitingMax: number
  /** Restarts of all children together within {@link periodMs} beyond which it escalates. Default 5. */
  readonly restartsMax: number
  /** Default 60,000. */
  readonly periodMs: number
  readonly backoff: Backoff
}

export const defaultSupervisorOptions: SupervisorOptions = { workingMax: 8, waitingMax: 64, restartsMax: 5, periodMs: 60_000, backoff: defaultBackoff }

/** A child that is wanted. */
export interface ChildSpec {
  readonly id: string
  /** Name of a registered machine. */
  readonly machine: string
  readonly input?: unknown
  /** Where a restart begins. Default snapshot. */
  readonly from?: 'snapshot' | 'input'
}

export interface Ward {
  readonly spec: ChildSpec
  /** waiting: for room. yielding: for somebody else, without a place. */
  readonly state: 'waiting' | 'working' | 'yielding' | 'backingOff'
  readonly restarts: number
}

export interface SupervisorContext {
  readonly options: SupervisorOptions
  /** By child id, in the order in which they were asked for. */
  readonly wards: Readonly<Record<string, Ward>>
  /** Namespace times of restarts within the period, oldest first. */
  readonly restarts: readonly number[]
  readonly escalation: { readonly id: string; readonly message: string } | null
}

export type SupervisorEvent =
  | { readonly type: 'child.request'; readonly child: ChildSpec }
  | { readonly type: 'child.dismiss'; readonly id: string }
  /** It waits for somebody else, and takes no place until it ends. */
  | { readonly type: 'child.yield'; readonly id: string }
  | { readonly type: 'restart.due'; readonly id: string }
  | { readonly type: 'halt' }
  | ChildFact

/** What the supervisor tells its parent, if it has one. */
export type SupervisorReport =
  | { readonly type: 'supervisor.started'; readonly id: string; readonly at: number }
  | { readonly type: 'supervisor.refused'; readonly id: string; readonly reason: 'overflow' | 'exists' | 'stopping' }
  | { readonly type: 'supervisor.ended'; readonly id: string; readonly at: number | null; readonly reason: 'done' | 'stopped'; readonly output?: unknown }
  | { readonly type: 'supervisor.restarting'; readonly id: string; readonly message: string; readonly delayMs: number }

export interface SupervisorOutput {
  readonly escalated: boolean
  readonly id: string | null
  readonly message: string | null
}

const count = (wards: SupervisorContext['wards'], state: Ward['state']): number => Object.values(wards).filter((ward) => ward.state === state).length
const hasRoom = ({ options, wards }: SupervisorContext): boolean => count(wards, 'working') + count(wards, 'backingOff') < options.workingMax
const nextWaiting = (wards: SupervisorContext['wards']): string | undefined => Object.keys(wards).find((id) => wards[id]!.state === 'waiting')
const without = (wards: SupervisorContext['wards'], id: string): SupervisorContext['wards'] => {
  const { [id]: _, ...rest } = wards
  return rest
}
const idOf = (event: SupervisorEvent): string => (event.type === 'child.request' ? event.child.id : 'id' in event ? event.id : '')

export const supervisorMachine = setup({
  types: {
    context: {} as SupervisorContext,
    events: {} as SupervisorEvent,
    input: {} as Partial<SupervisorOptions> | undefined,
    output: {} as SupervisorOutput,
  },
  guards: {
    isKnown: ({ context, event }) => context.wards[idOf(event)] !== undefined,
    hasRoom: ({ context }) => hasRoom(context),
    mayWait: ({ context }) => count(context.wards, 'waiting') < context.options.waitingMax,
    isWorking: ({ context, event }) => context.wards[idOf(event)]?.state === 'working',
    isWaiting: ({ context, event }) => context.wards[idOf(event)]?.state === 'waiting',
    isBackingOff: ({ context, event }) => context.wards[idOf(event)]?.state === 'backingOff',
    isUnknown: ({ context, event }) => context.wards[idOf(event)] === undefined,
    /** One restart more would be too many within the period. */
    isTooIntense: ({ context, event }) => {
      const at = event.type === 'child.failed' ? event.at : 0
      return context.restarts.filter((time) => time > at - context.options.periodMs).length >= context.options.restartsMax
    },
    isEmpty: ({ context }) => Object.keys(context.wards).length === 0,
  },
  actions: {
    command: durableChild(({ event }) => {
      const { child } = event as SupervisorEvent & { type: 'child.request' }
      return { machine: child.machine, id: child.id, input: child.input }
    }),
    admit: assign({ wards: ({ context, event }) => ({ ...context.wards, [idOf(event)]: { spec: (event as SupervisorEvent & { type: 'child.request' }).child, state: 'working' as const, restarts: 0 } }) }),
    queue: assign({ wards: ({ context, event }) => ({ ...context.wards, [idOf(event)]: { spec: (event as SupervisorEvent & { type: 'child.request' }).child, state: 'waiting' as const, restarts: 0 } }) }),
    yieldPlace: assign({ wards: ({ context, event }) => ({ ...context.wards, [idOf(event)]: { ...context.wards[idOf(event)]!, state: 'yielding' as const } }) }),
    forget: assign({ wards: ({ context, event }) => without(context.wards, idOf(event)) }),
    /** Room has come: the one who has waited longest begins. */
    admitNext: enqueueActions(({ enqueue, context }) => {
      const id = nextWaiting(context.wards)
      if (id === undefined || !hasRoom(context)) return
      const ward = context.wards[id]!
      enqueue.assign({ wards: { ...context.wards, [id]: { ...ward, state: 'working' } } })
      enqueue(durableChild(() => ({ machine: ward.spec.machine, id, input: ward.spec.input })))
    }),
    scheduleRestart: enqueueActions(({ enqueue, context, event, self }) => {
      const fact = event as ChildFact & { type: 'child.failed' }
      const ward = context.wards[fact.id]!
      const delayMs = backoffMs(context.options.backoff, ward.restarts + 1, fact.chance)
      const recent = context.restarts.filter((time) => time > fact.at - context.options.periodMs)
      enqueue.assign({
        wards: { ...context.wards, [fact.id]: { ...ward, state: 'backingOff', restarts: ward.restarts + 1 } },
        restarts: [...recent, fact.at],
      })
      enqueue.raise({ type: 'restart.due', id: fact.id }, { id: `restart.${fact.id}`, delay: delayMs })
      tell(enqueue, self, { type: 'supervisor.restarting', id: fact.id, message: fact.error.message, delayMs })
    }),
    restart: enqueueActions(({ enqueue, context, event }) => {
      const ward = context.wards[idOf(event)]!
      enqueue.assign({ wards: { ...context.wards, [ward.spec.id]: { ...ward, state: 'working' } } })
      enqueue(restartDurableChild(() => ({ machine: ward.spec.machine, id: ward.spec.id, from: ward.spec.from ?? 'snapshot' })))
    }),
    dismiss: enqueueActions(({ enqueue, context, event }) => {
      const { spec } = context.wards[idOf(event)]!
      enqueue.cancel(`restart.${spec.id}`)
      enqueue(stopDurableChild(() => ({ machine: spec.machine, id: spec.id })))
    }),
    dismissAll: enqueueActions(({ enqueue, context }) => {
      for (const { spec, state } of Object.values(context.wards)) {
        enqueue.cancel(`restart.${spec.id}`)
        if (state !== 'waiting') enqueue(stopDurableChild(() => ({ machine: spec.machine, id: spec.id })))
      }
      enqueue.assign({ wards: Object.fromEntries(Object.entries(context.wards).filter(([, ward]) => ward.state !== 'waiting')) })
    }),
    noteEscalation: assign({ escalation: ({ event }) => ({ id: idOf(event), message: (event as ChildFact & { type: 'child.failed' }).error.message }) }),
    refuseOverflow: enqueueActions(({ enqueue, event, self }) => tell(enqueue, self, { type: 'supervisor.refused', id: idOf(event), reason: 'overflow' })),
    refuseLate: enqueueActions(({ enqueue, event, self }) => tell(enqueue, self, { type: 'supervisor.refused', id: idOf(event), reason: 'stopping' })),
    refuseKnown: enqueueActions(({ enqueue, event, self }) => tell(enqueue, self, { type: 'supervisor.refused', id: idOf(event), reason: 'exists' })),
    reportStart: enqueueActions(({ enqueue, event, self }) => {
      const fact = event as ChildFact & { type: 'child.started' }
      tell(enqueue, self, { type: 'supervisor.started', id: fact.id, at: fact.at })
    }),
    reportEnd: enqueueActions(({ enqueue, event, self }) => {
      const fact = event as ChildFact & { type: 'child.stopped' }
      tell(enqueue, self, { type: 'supervisor.ended', id: fact.id, at: fact.at, reason: fact.reason, ...(fact.output === undefined ? {} : { output: fact.output }) })
    }),
    reportDismissal: enqueueActions(({ enqueue, event, self }) => tell(enqueue, self, { type: 'supervisor.ended', id: idOf(event), at: null, reason: 'stopped' })),
  },
}).createMachine({
  id: 'supervisor',
  version: '1',
  description: 'Starts, watches, limits and restarts children; escalates when restarts come too thick.',
  context: ({ input }) => ({ options: { ...defaultSupervisorOptions, ...input }, wards: {}, restarts: [], escalation: null }),
  output: ({ context }) => ({ escalated: context.escalation !== null, id: context.escalation?.id ?? null, message: context.escalation?.message ?? null }),
  initial: 'supervising',
  states: {
    supervising: {
      description: 'Children come, work and go; each failure concerns only the child that failed.',
      on: {
        'child.request': [
          { guard: 'isKnown', actions: 'refuseKnown', description: 'An id is given once.' },
          { guard: 'hasRoom', actions: ['admit', 'command'], description: 'There is room: it starts.' },
          { guard: 'mayWait', actions: 'queue', description: 'The bulkhead is full: it waits.' },
          { actions: 'refuseOverflow', description: 'No room to wait either: refused, with the reason.' },
        ],
        'child.started': [
          { guard: 'isUnknown', description: 'Not one of ours any more.' },
          { actions: 'reportStart', description: 'It has begun, or begun again.' },
        ],
        'child.stopped': [
          { guard: 'isUnknown', description: 'Not one of ours any more.' },
          { actions: ['forget', 'reportEnd', 'admitNext'], description: 'It has ended: the next one may begin.' },
        ],
        'child.failed': [
          { guard: 'isUnknown', description: 'Not one of ours any more.' },
          { guard: 'isTooIntense', target: 'stopping', actions: ['noteEscalation', 'forget', 'dismissAll'], description: 'Too many restarts within the period: the fault lies deeper.' },
          { actions: 'scheduleRestart', description: 'Started again after a backoff.' },
        ],
        'child.yield': { guard: 'isWorking', actions: ['yieldPlace', 'admitNext'] },
        'restart.due': { guard: 'isBackingOff', actions: 'restart' },
        'child.dismiss': [
          { guard: 'isWaiting', actions: ['forget', 'reportDismissal'], description: 'It had not begun.' },
          { guard: 'isKnown', actions: 'dismiss', description: 'It is stopped, and says so itself.' },
        ],
        halt: { target: 'stopping', actions: 'dismissAll' },
      },
    },
    stopping: {
      description: 'No more children start; those at work are being stopped.',
      always: { guard: 'isEmpty', target: 'stopped' },
      on: {
        'child.request': { actions: 'refuseLate' },
        'child.stopped': { actions: 'forget' },
        'child.failed': { actions: 'forget' },
      },
    },
    stopped: {
      description: 'No child is left.',
      type: 'final',
    },
  },
})

/** Tells the parent, if the supervisor runs inside another record; else there is nobody. */
function tell(enqueue: { sendParent: (event: never) => void }, self: { readonly _parent?: unknown }, report: SupervisorReport): void {
  if (self._parent) enqueue.sendParent(report as never)
}

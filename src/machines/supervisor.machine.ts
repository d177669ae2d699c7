/**
 * Starts, watches, limits and restarts children that have records of their own. All policy stands here: the runtime
 * only tells facts and takes commands (contract 6). The terms are OTP's.
 *
 * **Which end calls for a restart** is up to the child: a `permanent` one begins again however it ended, a `transient`
 * one only if it failed, a `temporary` one never. A nested supervisor that escalated has failed, too.
 *
 * **Who begins again with it** is up to the supervisor: nobody (`one_for_one`, the default: a child that fails harms
 * nobody else), all others (`one_for_all`), or those that were started after it (`rest_for_one`). They are stopped one
 * after the other, the last started first, and after a backoff begin again in the order of their start, from their
 * input. Temporary ones do not. The one that ended begins again from its last good snapshot or from its input.
 *
 * **How often** is bounded: more than `restartsMax` restarts within `periodMs`, or more than `treeRestartsMax` of its
 * children and of all supervisors below it, escalate: every child is stopped, and the supervisor ends. The counts are
 * part of its record, so they hold over restarts of the process (I8).
 *
 * **How many at once** is bounded, too: at most `workingMax` children work; further ones wait, at most `waitingMax` of
 * them; what is beyond is refused with a reason. A child that waits for somebody else yields its place: else all places
 * could be held by children that wait for one which finds none. It takes none again until it ends, also after a restart
 * from its snapshot; a group that begins again keeps the places that it had.
 *
 * Runs inside another record (invoked: what it has to say is sent to the parent) or as a record of its own, also as a
 * child of another supervisor.
 */
import { assign, enqueueActions, setup } from 'xstate'
import { durableChild, restartDurableChild, sendToDurableChild, stopDurableChild, type ChildFact } from '../protocol.js'
import { backoffMs, defaultBackoff, type Backoff } from './backoff.js'

export type RestartStrategy = 'one_for_one' | 'one_for_all' | 'rest_for_one'
export type RestartType = 'permanent' | 'transient' | 'temporary'

export interface SupervisorOptions {
  /** Who begins again with a child that does. Default one_for_one. */
  readonly strategy: RestartStrategy
  /** Children at work at the same time, inclusive, at least 1. Default 8. */
  readonly workingMax: number
  /** Children waiting for room, inclusive; 0 for none. Default 64. */
  readonly waitingMax: number
  /** Restarts of all children together within {@link periodMs} beyond which it escalates; a group counts once. Default 5. */
  readonly restartsMax: number
  /** The same for its children and all supervisors below it together. Default 20. */
  readonly treeRestartsMax: number
  /** Default 60,000. */
  readonly periodMs: number
  readonly backoff: Backoff
}

export interface SupervisorInput extends Partial<SupervisorOptions> {
  /** Started at once, in this order. Default none. */
  readonly children?: readonly ChildSpec[]
}

export const defaultSupervisorOptions: SupervisorOptions = { strategy: 'one_for_one', workingMax: 8, waitingMax: 64, restartsMax: 5, treeRestartsMax: 20, periodMs: 60_000, backoff: defaultBackoff }

/** A child that is wanted. */
export interface ChildSpec {
  readonly id: string
  /** Name of a registered machine. */
  readonly machine: string
  readonly input?: unknown
  /** Which end calls for a restart. Default transient. */
  readonly restart?: RestartType
  /** Where a restart after a failure begins. Default snapshot. */
  readonly from?: 'snapshot' | 'input'
  /** A nested supervisor stops its own children before it ends, also if it has failed. Default worker. */
  readonly type?: 'worker' | 'supervisor'
  /** How it is stopped. Default: at once; a supervisor is told to halt, however long that takes. */
  readonly shutdown?: Shutdown
}

/**
 * The child is sent an event on which it is to end by itself; if it has not within the time, it is stopped. A supervisor
 * that is stopped leaves its own children as they are.
 */
export interface Shutdown {
  readonly event: { readonly type: string; readonly [key: string]: unknown }
  /** Default: no limit. */
  readonly withinMs?: number
}

export interface Ward {
  readonly spec: ChildSpec
  /**
   * waiting: for room. yielding: for somebody else, without a place. backingOff: until it begins again. ending: is to be
   * stopped, and then to begin again with its group. halted: has ended, and begins again with its group. leaving: is to
   * end for good.
   */
  readonly state: 'waiting' | 'working' | 'yielding' | 'backingOff' | 'ending' | 'halted' | 'leaving'
  readonly restarts: number
  /** Which of its starts is under way; null until it has begun. What is told of others is stale. */
  readonly generation: number | null
  /** Whether it waits for somebody else. */
  readonly yields: boolean
  /** Whether it has been told to end: by an event of its own, by that again after a failure, or by a command. */
  readonly told: 'event' | 'again' | 'command' | null
  /** It began when it was to end already, so the parent may not have heard of it. Absent: no. */
  readonly beganLate?: true
}

export interface SupervisorContext {
  readonly options: SupervisorOptions
  readonly children: readonly ChildSpec[]
  /** In the order in which they were asked for. */
  readonly wards: readonly Ward[]
  /** Namespace times of restarts within the period, oldest first. */
  readonly restarts: readonly number[]
  /** Those of the supervisors below as well. */
  readonly treeRestarts: readonly number[]
  /** How long the group that begins again waits, ms. */
  readonly groupDelayMs: number
  readonly escalation: { readonly id: string; readonly message: string } | null
  /** Those that came to an end of their own while it was stopping, and those that may have begun untold. */
  readonly ended: NonNullable<SupervisorOutput['ended']>
}

export type SupervisorEvent =
  | { readonly type: 'child.request'; readonly child: ChildSpec }
  | { readonly type: 'child.dismiss'; readonly id: string }
  /** It waits for somebody else, and takes no place until it ends. */
  | { readonly type: 'child.yield'; readonly id: string }
  | { readonly type: 'restart.due'; readonly id: string }
  | { readonly type: 'shutdown.due'; readonly id: string }
  | { readonly type: 'halt' }
  | ChildFact
  | SupervisorReport

/** What the supervisor tells its parent, if it has one. */
export type SupervisorReport =
  | { readonly type: 'supervisor.started'; readonly id: string; readonly at: number }
  | { readonly type: 'supervisor.refused'; readonly id: string; readonly reason: 'overflow' | 'exists' | 'stopping' | 'invalid' }
  | { readonly type: 'supervisor.ended'; readonly id: string; readonly at: number | null; readonly reason: 'done' | 'stopped' | 'failed' | 'gone'; readonly output?: unknown }
  | { readonly type: 'supervisor.restarting'; readonly id: string; readonly at: number; readonly message: string; readonly delayMs: number }

export interface SupervisorOutput {
  readonly escalated: boolean
  readonly id: string | null
  readonly message: string | null
  /** Children that came to an end of their own while it was stopping, and without an output those that may have begun without its parent's being told. Absent if there is none. */
  readonly ended?: readonly { readonly id: string; readonly output?: unknown }[]
}

type Ended = ChildFact & { readonly type: 'child.stopped' | 'child.failed' }

/** Its children are its own: when one begins depends on room and restarts, and not on the ask that happens to be served then. */
const detached = true

const idOf = (event: SupervisorEvent): string => (event.type === 'child.request' ? event.child.id : 'id' in event ? event.id : '')
const wardOf = ({ wards }: SupervisorContext, event: SupervisorEvent): Ward | undefined => wards.find(({ spec }) => spec.id === idOf(event))
const change = (wards: readonly Ward[], id: string, to: Partial<Ward>): readonly Ward[] => wards.map((ward) => (ward.spec.id === id ? { ...ward, ...to } : ward))
const without = (wards: readonly Ward[], id: string): readonly Ward[] => wards.filter(({ spec }) => spec.id !== id)
const newWard = (spec: ChildSpec, state: 'waiting' | 'working'): Ward => ({ spec, state, restarts: 0, generation: null, yields: false, told: null })
const hasRoom = ({ options, wards }: SupervisorContext): boolean => wards.filter(({ state, yields }) => state !== 'waiting' && !yields).length < options.workingMax
/** Of those within the period before `at`. */
const recent = (times: readonly number[], at: number, periodMs: number): readonly number[] => times.filter((time) => time > at - periodMs)

function hasFailed(event: SupervisorEvent, ward: Ward): boolean {
  if (event.type === 'child.failed') return true
  return event.type === 'child.stopped' && ward.spec.type === 'supervisor' && (event.output as SupervisorOutput | undefined)?.escalated === true
}

function whyEnded(event: SupervisorEvent): string {
  if (event.type === 'child.failed') return event.error.message
  if (event.type === 'supervisor.restarting') return event.message
  const escalated = event.type === 'child.stopped' ? (event.output as SupervisorOutput | undefined)?.message : undefined
  return escalated ?? (event.type === 'child.stopped' && event.reason === 'stopped' ? 'it was stopped' : 'it was done')
}

interface Enqueue {
  (action: never): void
  assign(partial: Partial<SupervisorContext>): void
  cancel(id: string): void
  raise(event: SupervisorEvent, options: { id: string; delay: number }): void
  sendParent(event: never): void
}

/** Tells the parent, if the supervisor has one. */
function tell(enqueue: { sendParent: (event: never) => void }, self: { readonly _parent?: unknown }, report: SupervisorReport): void {
  if (self._parent) enqueue.sendParent(report as never)
}

/** Tells one child to end: by its own event if it has one, else by command. Gives the ward as it is then. */
function tellToEnd(enqueue: Enqueue, ward: Ward): Ward {
  const { spec, state } = ward
  const { machine, id } = spec
  const isDown = state === 'backingOff' || state === 'halted'
  enqueue.cancel(`restart.${id}`)
  const shutdown: Shutdown | undefined = spec.shutdown ?? (spec.type === 'supervisor' ? { event: { type: 'halt' } } : undefined)
  // One that has failed hears no event. A supervisor is taken up again for it, because of its children.
  if (!shutdown || (isDown && spec.type !== 'supervisor')) {
    enqueue(stopDurableChild(() => ({ machine, id })) as never)
    return { ...ward, told: 'command' }
  }
  if (isDown) enqueue(restartDurableChild(() => ({ machine, id, from: 'snapshot', detached })) as never)
  enqueue(sendToDurableChild(() => ({ machine, id, event: shutdown.event })) as never)
  if (shutdown.withinMs !== undefined) enqueue.raise({ type: 'shutdown.due', id }, { id: `shutdown.${id}`, delay: shutdown.withinMs })
  return { ...ward, told: isDown ? 'again' : 'event', generation: isDown ? null : ward.generation }
}

/** Begins again, where and with the place that it had. Gives the ward as it is then. */
function beginAgain(enqueue: Enqueue, ward: Ward): Ward {
  const { machine, id, from = 'snapshot' } = ward.spec
  // From its input it works from the start, and needs a place.
  if (ward.yields && from === 'input') return { ...ward, state: 'waiting', yields: false, generation: null, told: null }
  enqueue(restartDurableChild(() => ({ machine, id, from, detached })) as never)
  return { ...ward, state: ward.yields ? 'yielding' : 'working', generation: null, told: null }
}

/** Tells the last started of those that are to end, if none is ending already. */
function tellLast(enqueue: Enqueue, wards: readonly Ward[], which: 'ending' | 'leaving'): readonly Ward[] {
  const those = wards.filter(({ state }) => state === which)
  const last = those.at(-1)
  if (!last || those.some(({ told }) => told !== null)) return wards
  const told = tellToEnd(enqueue, last)
  return wards.map((ward) => (ward === last ? told : ward))
}

/** Ids that an address can hold, and events that may be sent. */
function isPossible({ id, machine, shutdown }: ChildSpec): boolean {
  const type: unknown = shutdown === undefined ? 'end' : shutdown.event?.type
  return [id, machine].every((name) => typeof name === 'string' && /^[A-Za-z0-9._:-]{1,256}$/.test(name)) && typeof type === 'string' && type !== '' && !/^(?:xstate\.|child\.(?:started|stopped|failed)$)/.test(type)
}

/** @throws RangeError that names the option: the supervisor fails at its start */
function checked(options: SupervisorOptions): SupervisorOptions {
  if (!['one_for_one', 'one_for_all', 'rest_for_one'].includes(options.strategy)) throw new RangeError(`strategy: expected one_for_one, one_for_all or rest_for_one, got ${String(options.strategy)}.`)
  const least = { workingMax: 1, waitingMax: 0, restartsMax: 0, treeRestartsMax: 0, periodMs: 1 } as const
  for (const [name, min] of Object.entries(least)) {
    const value = options[name as keyof typeof least]
    if (!(Number.isSafeInteger(value) && value >= min)) throw new RangeError(`${name}: expected a whole number of at least ${min}, got ${String(value)}.`)
  }
  for (const [name, value] of Object.entries(options.backoff)) if (!(Number.isFinite(value) && value >= 0)) throw new RangeError(`backoff.${name}: expected a number of at least 0, got ${String(value)}.`)
  return options
}

/** Counts a restart. */
function counted({ options, restarts, treeRestarts }: SupervisorContext, at: number): Pick<SupervisorContext, 'restarts' | 'treeRestarts'> {
  return { restarts: [...recent(restarts, at, options.periodMs), at], treeRestarts: [...recent(treeRestarts, at, options.periodMs), at] }
}

// What becomes of a child that has ended.
const isStale = { guard: 'isStale', description: 'Told of one of before, or of none of ours.' } as const
const isGone = { guard: 'isGone', actions: 'startAnew', description: 'There is no record to begin again from: it starts anew.' } as const
const isOver = { guard: 'isNoRestart', actions: ['forget', 'reportEnd', 'admitNext'], description: 'It has ended for good: the next one may begin.' } as const
const isTooMuch = { guard: 'isTooIntense', target: '#supervisor.stopping', actions: ['noteEscalation', 'forget', 'leaveAll'], description: 'Too many restarts within the period: the fault lies deeper.' } as const
const beginsAgainAlone = { guard: 'isAlone', actions: 'scheduleRestart', description: 'It begins again after a backoff.' } as const
const beginsAgainInGroup = { target: '#supervisor.open.regrouping', actions: 'regroup', description: 'Others begin again with it.' } as const

export const supervisorMachine = setup({
  types: {
    context: {} as SupervisorContext,
    events: {} as SupervisorEvent,
    input: {} as SupervisorInput | undefined,
    output: {} as SupervisorOutput,
  },
  guards: {
    isKnown: ({ context, event }) => wardOf(context, event) !== undefined,
    isUnknown: ({ context, event }) => wardOf(context, event) === undefined,
    hasRoom: ({ context }) => hasRoom(context),
    mayWait: ({ context }) => context.wards.filter(({ state }) => state === 'waiting').length < context.options.waitingMax,
    isWorking: ({ context, event }) => wardOf(context, event)?.state === 'working',
    isWaiting: ({ context, event }) => wardOf(context, event)?.state === 'waiting',
    isBackingOff: ({ context, event }) => wardOf(context, event)?.state === 'backingOff',
    isHalted: ({ context, event }) => wardOf(context, event)?.state === 'halted',
    isEnding: ({ context, event }) => wardOf(context, event)?.state === 'ending',
    /** What an earlier start of it said, or somebody who was dismissed. One that is stopped before it has begun again says so as it was. */
    isStale: ({ context, event }) => {
      const ward = wardOf(context, event)
      const { generation } = event as Ended
      return !ward || (generation !== 0 && generation !== ward.generation && !(event.type === 'child.stopped' && ward.told === 'command'))
    },
    isGone: ({ event }) => event.type === 'child.stopped' && event.reason === 'gone',
    isInvalid: ({ event }) => event.type === 'child.request' && !isPossible(event.child),
    /** It has been told to end. If it failed meanwhile, the end itself is still to come. */
    isLeaving: ({ context, event }) => wardOf(context, event)?.state === 'leaving',
    isTold: ({ context, event }) => (wardOf(context, event)?.told ?? null) !== null,
    isNoRestart: ({ context, event }) => {
      const ward = wardOf(context, event)!
      const restart = ward.spec.restart ?? 'transient'
      return restart === 'temporary' || (restart === 'transient' && !hasFailed(event, ward))
    },
    /** One restart more would be too many within the period. */
    isTooIntense: ({ context, event }) => {
      const { options, restarts, treeRestarts } = context
      const { at } = event as Ended
      return recent(restarts, at, options.periodMs).length >= options.restartsMax || recent(treeRestarts, at, options.periodMs).length >= options.treeRestartsMax
    },
    /** A restart below was one too many. */
    isTreeTooIntense: ({ context, event }) => {
      const { options, treeRestarts } = context
      return event.type === 'supervisor.restarting' && recent(treeRestarts, event.at, options.periodMs).length >= options.treeRestartsMax
    },
    isAlone: ({ context }) => context.options.strategy === 'one_for_one',
    isGroupHalted: ({ context }) => context.wards.every(({ state }) => state !== 'ending'),
    isEmpty: ({ context }) => context.wards.length === 0,
  },
  delays: {
    groupDelay: ({ context }) => context.groupDelayMs,
  },
  actions: {
    requestAll: enqueueActions(({ enqueue, context }) => {
      for (const child of context.children) enqueue.raise({ type: 'child.request', child })
    }),
    command: durableChild(({ event }) => {
      const { child } = event as SupervisorEvent & { type: 'child.request' }
      return { machine: child.machine, id: child.id, input: child.input, detached }
    }),
    admit: assign({ wards: ({ context, event }) => [...context.wards, newWard((event as SupervisorEvent & { type: 'child.request' }).child, 'working')] }),
    queue: assign({ wards: ({ context, event }) => [...context.wards, newWard((event as SupervisorEvent & { type: 'child.request' }).child, 'waiting')] }),
    yieldPlace: assign({ wards: ({ context, event }) => change(context.wards, idOf(event), { state: 'yielding', yields: true }) }),
    forget: enqueueActions(({ enqueue, context, event }) => {
      enqueue.cancel(`shutdown.${idOf(event)}`)
      enqueue.cancel(`restart.${idOf(event)}`)
      enqueue.assign({ wards: without(context.wards, idOf(event)) })
    }),
    /** Room has come: those who have waited longest begin. */
    admitNext: enqueueActions(({ enqueue, context }) => {
      let { wards } = context
      for (;;) {
        const next = wards.find(({ state }) => state === 'waiting')
        if (!next || !hasRoom({ ...context, wards })) break
        wards = change(wards, next.spec.id, { state: 'working' })
        enqueue(durableChild(() => ({ machine: next.spec.machine, id: next.spec.id, input: next.spec.input, detached })))
      }
      enqueue.assign({ wards })
    }),
    noteStart: assign({ wards: ({ context, event }) => change(context.wards, idOf(event), { generation: (event as ChildFact).generation, ...(wardOf(context, event)?.state === 'leaving' ? { beganLate: true } : {}) }) }),
    startAnew: enqueueActions(({ enqueue, context, event }) => {
      const { spec } = wardOf(context, event)!
      enqueue.assign({ wards: change(context.wards, spec.id, { generation: null, told: null }) })
      enqueue(durableChild(() => ({ machine: spec.machine, id: spec.id, input: spec.input, detached })))
    }),
    /** It has failed before its turn, which it need not wait for. */
    endFailed: enqueueActions(({ enqueue, context, event }) => {
      const { told, generation } = tellToEnd(enqueue as never, { ...wardOf(context, event)!, state: 'halted' })
      enqueue.assign({ wards: change(context.wards, idOf(event), { told, generation }) })
    }),
    scheduleRestart: enqueueActions(({ enqueue, context, event, self }) => {
      const fact = event as Ended
      const ward = wardOf(context, fact)!
      const delayMs = backoffMs(context.options.backoff, ward.restarts + 1, fact.chance)
      enqueue.assign({ wards: change(context.wards, fact.id, { state: 'backingOff', restarts: ward.restarts + 1 }), ...counted(context, fact.at) })
      enqueue.raise({ type: 'restart.due', id: fact.id }, { id: `restart.${fact.id}`, delay: delayMs })
      tell(enqueue, self, { type: 'supervisor.restarting', id: fact.id, at: fact.at, message: whyEnded(fact), delayMs })
    }),
    restart: enqueueActions(({ enqueue, context, event }) => {
      const ward = wardOf(context, event)!
      const begun = beginAgain(enqueue as never, ward)
      enqueue.assign({ wards: context.wards.map((other) => (other === ward ? begun : other)) })
    }),
    /** Marks who begins again with the child that has ended, and tells the last of them to end. */
    regroup: enqueueActions(({ enqueue, context, event, self }) => {
      const fact = event as Ended
      const first = context.wards.findIndex(({ spec }) => spec.id === fact.id)
      const { restarts } = context.wards[first]!
      const delayMs = backoffMs(context.options.backoff, restarts + 1, fact.chance)
      const wards = context.wards.map((ward, i): Ward => {
        if (i === first) return { ...ward, state: 'halted', restarts: restarts + 1 }
        if (context.options.strategy === 'rest_for_one' && i < first) return ward
        if (ward.state !== 'working' && ward.state !== 'yielding') return ward
        return { ...ward, state: ward.spec.restart === 'temporary' ? 'leaving' : 'ending' }
      })
      // Those that do not come back need no order among those that do.
      const told = wards.map((ward) => (ward.state === 'leaving' && ward.told === null ? tellToEnd(enqueue as never, ward) : ward))
      enqueue.assign({ wards: tellLast(enqueue as never, told, 'ending'), groupDelayMs: delayMs, ...counted(context, fact.at) })
      tell(enqueue, self, { type: 'supervisor.restarting', id: fact.id, at: fact.at, message: whyEnded(fact), delayMs })
    }),
    /** One of the group has ended: the next one is told. */
    noteHalted: enqueueActions(({ enqueue, context, event }) => {
      enqueue.cancel(`shutdown.${idOf(event)}`)
      enqueue.assign({ wards: tellLast(enqueue as never, change(context.wards, idOf(event), { state: 'halted', told: null }), 'ending') })
    }),
    restartGroup: enqueueActions(({ enqueue, context }) => enqueue.assign({ wards: context.wards.map((ward) => (ward.state === 'halted' ? beginAgain(enqueue as never, ward) : ward)) })),
    dismiss: enqueueActions(({ enqueue, context, event }) => {
      const ward = wardOf(context, event)!
      const told = ward.told === null ? tellToEnd(enqueue as never, ward) : ward
      enqueue.assign({ wards: change(context.wards, ward.spec.id, { ...told, state: 'leaving' }) })
    }),
    /** It failed while it was ending, or its time is over. */
    insist: enqueueActions(({ enqueue, context, event }) => {
      const ward = wardOf(context, event)!
      const { machine, id, type } = ward.spec
      if (ward.told === 'command') return
      if (ward.told === 'event' && type === 'supervisor' && event.type === 'child.failed') {
        const told = tellToEnd(enqueue as never, { ...ward, state: 'halted' })
        enqueue.assign({ wards: change(context.wards, id, { told: told.told, generation: null }) })
        return
      }
      enqueue.assign({ wards: change(context.wards, id, { told: 'command' }) })
      enqueue(stopDurableChild(() => ({ machine, id })))
    }),
    /** All are to end, the last started first; those that have ended already need no order. */
    leaveAll: enqueueActions(({ enqueue, context }) => {
      const staying = context.wards
        .filter(({ state }) => state !== 'waiting')
        .map((ward): Ward => (ward.state === 'halted' || ward.state === 'backingOff' ? { ...tellToEnd(enqueue as never, ward), state: 'leaving' } : { ...ward, state: 'leaving' }))
      enqueue.assign({ wards: tellLast(enqueue as never, staying, 'leaving') })
    }),
    tellNextOfGroup: enqueueActions(({ enqueue, context }) => enqueue.assign({ wards: tellLast(enqueue as never, context.wards, 'ending') })),
    tellNext: enqueueActions(({ enqueue, context }) => enqueue.assign({ wards: tellLast(enqueue as never, context.wards, 'leaving') })),
    noteBelow: enqueueActions(({ enqueue, context, event, self }) => {
      const report = event as SupervisorReport & { type: 'supervisor.restarting' }
      enqueue.assign({ treeRestarts: [...recent(context.treeRestarts, report.at, context.options.periodMs), report.at] })
      tell(enqueue, self, report)
    }),
    noteEnd: assign({
      ended: ({ context, event }) => {
        const { id, reason, output } = event as ChildFact & { type: 'child.stopped' }
        if (output !== undefined) return [...context.ended, { id, output }]
        const { generation, beganLate } = wardOf(context, event)!
        return beganLate || (generation === null && reason !== 'gone') ? [...context.ended, { id }] : context.ended
      },
    }),
    noteEscalation: assign({ escalation: ({ event }) => ({ id: idOf(event), message: whyEnded(event) }) }),
    refuseOverflow: enqueueActions(({ enqueue, event, self }) => tell(enqueue, self, { type: 'supervisor.refused', id: idOf(event), reason: 'overflow' })),
    refuseLate: enqueueActions(({ enqueue, event, self }) => tell(enqueue, self, { type: 'supervisor.refused', id: idOf(event), reason: 'stopping' })),
    refuseInvalid: enqueueActions(({ enqueue, event, self }) => tell(enqueue, self, { type: 'supervisor.refused', id: idOf(event), reason: 'invalid' })),
    refuseKnown: enqueueActions(({ enqueue, event, self }) => tell(enqueue, self, { type: 'supervisor.refused', id: idOf(event), reason: 'exists' })),
    reportStart: enqueueActions(({ enqueue, event, self }) => {
      const fact = event as ChildFact & { type: 'child.started' }
      tell(enqueue, self, { type: 'supervisor.started', id: fact.id, at: fact.at })
    }),
    reportEnd: enqueueActions(({ enqueue, event, self }) => {
      const fact = event as Ended
      tell(enqueue, self, { type: 'supervisor.ended', id: fact.id, at: fact.at, reason: fact.type === 'child.failed' ? 'failed' : fact.reason, ...(fact.type === 'child.failed' || fact.output === undefined ? {} : { output: fact.output }) })
    }),
    reportDismissal: enqueueActions(({ enqueue, event, self }) => tell(enqueue, self, { type: 'supervisor.ended', id: idOf(event), at: null, reason: 'stopped' })),
  },
}).createMachine({
  id: 'supervisor',
  version: '2',
  description: 'Starts, watches, limits and restarts children; escalates when restarts come too thick.',
  context: ({ input }) => {
    const { children = [], ...options } = input ?? {}
    return { options: checked({ ...defaultSupervisorOptions, ...options, backoff: { ...defaultBackoff, ...options.backoff } }), children, wards: [], restarts: [], treeRestarts: [], groupDelayMs: 0, escalation: null, ended: [] }
  },
  output: ({ context }) => ({ escalated: context.escalation !== null, id: context.escalation?.id ?? null, message: context.escalation?.message ?? null, ...(context.ended.length > 0 ? { ended: context.ended } : {}) }),
  entry: 'requestAll',
  initial: 'open',
  on: {
    'supervisor.*': { description: 'What a supervisor below tells of its children.' },
  },
  states: {
    open: {
      description: 'Children are wanted.',
      initial: 'supervising',
      on: {
        'child.started': [
          { guard: 'isUnknown', description: 'Not one of ours any more.' },
          { actions: ['noteStart', 'reportStart'], description: 'It has begun, or begun again.' },
        ],
        'shutdown.due': { guard: 'isTold', actions: 'insist', description: 'It has not ended by itself in its time.' },
        'child.dismiss': [
          { guard: 'isWaiting', actions: ['forget', 'reportDismissal'], description: 'It had not begun.' },
          { guard: 'isKnown', actions: 'dismiss', description: 'It is told to end, and says so itself.' },
        ],
        'supervisor.restarting': [
          { guard: 'isTreeTooIntense', target: 'stopping', actions: ['noteEscalation', 'leaveAll'], description: 'Too many restarts in the whole tree.' },
          { actions: 'noteBelow' },
        ],
        halt: { target: 'stopping', actions: 'leaveAll' },
      },
      states: {
        supervising: {
          description: 'Children come, work and go.',
          on: {
            'child.request': [
              { guard: 'isInvalid', actions: 'refuseInvalid', description: 'No address could hold its names, or nobody may send its event.' },
              { guard: 'isKnown', actions: 'refuseKnown', description: 'An id is given once.' },
              { guard: 'hasRoom', actions: ['admit', 'command'], description: 'There is room: it starts.' },
              { guard: 'mayWait', actions: 'queue', description: 'The bulkhead is full: it waits.' },
              { actions: 'refuseOverflow', description: 'No room to wait either: refused, with the reason.' },
            ],
            'child.stopped': [isStale, { guard: 'isLeaving', actions: ['forget', 'reportEnd', 'admitNext'], description: 'It was to end.' }, isGone, isOver, isTooMuch, beginsAgainAlone, beginsAgainInGroup],
            'child.failed': [isStale, { guard: 'isLeaving', actions: 'insist', description: 'It failed while it was ending.' }, isOver, isTooMuch, beginsAgainAlone, beginsAgainInGroup],
            'child.yield': { guard: 'isWorking', actions: ['yieldPlace', 'admitNext'] },
            'restart.due': { guard: 'isBackingOff', actions: ['restart', 'admitNext'] },
          },
        },
        regrouping: {
          description: 'A group of children is stopped, one after the other, and begins again together.',
          initial: 'halting',
          on: {
            'child.request': [
              { guard: 'isInvalid', actions: 'refuseInvalid', description: 'No address could hold its names, or nobody may send its event.' },
              { guard: 'isKnown', actions: 'refuseKnown', description: 'An id is given once.' },
              { guard: 'mayWait', actions: 'queue', description: 'It waits until the group has begun again.' },
              { actions: 'refuseOverflow', description: 'No room to wait.' },
            ],
            'child.stopped': [
              isStale,
              { guard: 'isEnding', actions: 'noteHalted', description: 'The next one of the group is told.' },
              { guard: 'isLeaving', actions: ['forget', 'reportEnd', 'tellNextOfGroup'], description: 'It was to end, and does not come back.' },
              { guard: 'isHalted', description: 'It had ended by itself before it was told.' },
              isGone,
              isOver,
              isTooMuch,
              beginsAgainInGroup,
            ],
            'child.failed': [
              isStale,
              { guard: 'isTold', actions: 'insist', description: 'It failed while it was ending.' },
              { guard: 'isEnding', actions: 'noteHalted', description: 'It has ended before it was told.' },
              { guard: 'isHalted', description: 'It had ended already.' },
              isOver,
              isTooMuch,
              beginsAgainInGroup,
            ],
            'child.yield': { guard: 'isWorking', actions: 'yieldPlace' },
          },
          states: {
            halting: {
              description: 'They are stopped, the last started first.',
              always: { guard: 'isGroupHalted', target: 'backingOff' },
            },
            backingOff: {
              description: 'All have ended; they wait a while.',
              after: { groupDelay: { target: '#supervisor.open.supervising', actions: ['restartGroup', 'admitNext'] } },
            },
          },
        },
      },
    },
    stopping: {
      description: 'No more children start; those at work are stopped, the last started first.',
      always: { guard: 'isEmpty', target: 'stopped' },
      on: {
        'child.request': { actions: 'refuseLate' },
        'child.started': { actions: 'noteStart' },
        'child.stopped': [isStale, { actions: ['noteEnd', 'forget', 'tellNext'] }],
        'child.failed': [
          isStale,
          { guard: 'isTold', actions: 'insist', description: 'It failed while it was ending.' },
          { actions: 'endFailed', description: 'It failed before its turn.' },
        ],
        'shutdown.due': { guard: 'isTold', actions: 'insist', description: 'It has not ended by itself in its time.' },
      },
    },
    stopped: {
      description: 'No child is left.',
      type: 'final',
    },
  },
})

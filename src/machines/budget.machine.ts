/**
 * The budget of a tenant, for a window of time or in all: one durable actor each. Runs draw allotments from it by message
 * and give back what they did not use, however they end. It looks up the time and the figures that hold before it decides
 * about a draw, and now and then what has become of the runs that hold something.
 *
 * G1  Money is moved, never copied (I7): of a window, received = free + allotted to runs that have not ended + spent.
 * G2  What is still allotted when a window ends counts in full in the next one as well, so that what is spent within a
 *     window, of whatever allotment, is at most its limit. After a lowering of the limit it may be what is still allotted.
 * G3  A draw is known by its run and number: asked for again it is answered again. What a run says it never took in is
 *     taken back with its allotment.
 * G4  Whoever waits is served in the order of coming, and nobody overtakes.
 */
import { assign, enqueueActions, fromPromise, sendTo, setup } from 'xstate'
import { append, refTo } from '../protocol.js'
import { dateText, dayEnd, monthEnd } from './calendar.js'
import { closeGrant, covers, grant, greater, lesser, minus, newWarnings, nothing, openLedger, plus, raiseGrant, sum, unbounded, type Amounts, type BudgetWarning, type Ledger } from './ledger.js'

export type BudgetWindow = 'day' | 'month' | 'all'

export interface BudgetPolicy {
  /** For each window; {@link unbounded} where there is no limit. */
  readonly limits: Amounts
  /** Calendar day or month, UTC; or in all. */
  readonly per: BudgetWindow
  /** What a run draws of a kind that it has no ceiling of its own for. */
  readonly perRun: Amounts
  /** What comes of a run that finds too little: it is refused, or waits until there is enough. */
  readonly whenSpent: 'refuse' | 'wait'
  /** How long it waits, ms. */
  readonly waitMs: number
  /** Shares of a limit, 0 to 1, at which is warned once a window. */
  readonly warnAt: readonly number[]
}

/** What became of a run that held an allotment, or waited for one. */
export interface RunAccount {
  readonly run: string
  /** Draws that it took in. */
  readonly draws: number
  readonly unspent: Amounts
  readonly spent: Amounts
}

/** What is looked up. */
export interface BudgetSight {
  /** Store's time, ms. */
  readonly at: number
  /** null: the tenant has no budget any more, nothing is limited. */
  readonly policy: BudgetPolicy | null
  /** Of the runs asked about, those that have ended. */
  readonly ended: readonly RunAccount[]
}

export interface Draw {
  /** Address of the run. */
  readonly run: string
  /** 1 for a run's first, and so on. */
  readonly draw: number
  /** {@link unbounded} where the run has no ceiling of its own. */
  readonly wanted: Amounts
}

export type BudgetEvent =
  | ({ readonly type: 'budget.draw' } & Draw)
  /** The run does not want this draw any more. */
  | { readonly type: 'budget.withdraw'; readonly run: string; readonly draw: number }
  /** The run will spend nothing more. */
  | ({ readonly type: 'budget.return' } & RunAccount)

/** What a run is answered. */
export type BudgetAnswer =
  | { readonly type: 'budget.granted'; readonly draw: number; readonly amounts: Amounts }
  /** spent: there is too little left. never: it is more than the budget is. full: too many runs hold or want something. */
  | { readonly type: 'budget.refused'; readonly draw: number; readonly reason: 'spent' | 'never' | 'full'; readonly message: string }
  | { readonly type: 'budget.waits'; readonly draw: number; readonly waitMs: number }

interface Allotment {
  /** The last draw that was granted, and what the run was given with it; what counts of it here. */
  readonly draw: number
  readonly amounts: Amounts
  readonly counted: Amounts
}

interface Waiting extends Draw {
  readonly isTold: boolean
}

/** Over all windows. */
export interface BudgetTotals {
  readonly allotted: Amounts
  readonly givenBack: Amounts
  readonly spent: Amounts
}

export interface BudgetContext {
  readonly policy: BudgetPolicy | null
  /** ms; null: it does not end. */
  readonly windowEndsAt: number | null
  /** When it was last looked up, ms. */
  readonly at: number
  /** Of the window. */
  readonly ledger: Ledger
  /** Of runs that have not given back, by address. */
  readonly allotments: Readonly<Record<string, Allotment>>
  readonly waiting: readonly Waiting[]
  readonly warnings: readonly BudgetWarning[]
  readonly totals: BudgetTotals
  /** Whether the runs are to be looked at, too. */
  readonly isReview: boolean
}

export interface LookInput {
  readonly tenant: string
  /** Addresses of the runs to look at. */
  readonly runs: readonly string[]
}

/** Runs that may hold an allotment or wait for one, inclusive. */
export const budgetRunsMax = 2_000
const reviewMs = 600_000
/** Whoever waits hears of changed figures within this time. */
const waitingReviewMs = 60_000
const retryMs = 1_000

export function windowEnd(per: BudgetWindow, at: number): number | null {
  if (per === 'all') return null
  return per === 'day' ? dayEnd(at) : monthEnd(at)
}

const each = (of: (kind: keyof Amounts) => number): Amounts => ({ tokens: of('tokens'), calls: of('calls'), nanoDollars: of('nanoDollars') })
const isLimited = (policy: BudgetPolicy | null, kind: keyof Amounts): boolean => policy !== null && policy.limits[kind] < unbounded[kind]

/** What a run is given, and what of that counts: kinds that are not limited do not. */
function resolved(policy: BudgetPolicy | null, wanted: Amounts): { readonly amounts: Amounts; readonly counted: Amounts } {
  const amounts = each((kind) => (isLimited(policy, kind) && wanted[kind] >= unbounded[kind] ? policy!.perRun[kind] : wanted[kind]))
  return { amounts, counted: each((kind) => (isLimited(policy, kind) ? amounts[kind] : 0)) }
}

/** A ledger of the limits, with what is allotted already. */
function ledgerOf(policy: BudgetPolicy | null, granted: Ledger['granted'], spent: Amounts): Ledger {
  const held = plus(sum(Object.values(granted)), spent)
  const received = greater(each((kind) => (isLimited(policy, kind) ? policy!.limits[kind] : 0)), held)
  return { ...openLedger(received), free: minus(received, held), granted, spent }
}

/** The window and the figures as they were looked up. */
function adopt(context: BudgetContext, { at: seenAt, policy }: BudgetSight): BudgetContext {
  const at = Math.max(context.at, seenAt)
  const isNewWindow = context.windowEndsAt !== null && at >= context.windowEndsAt
  const per = policy?.per ?? 'all'
  const spent = isNewWindow ? nothing : context.ledger.spent
  return {
    ...context,
    at,
    policy,
    windowEndsAt: windowEnd(per, at),
    ledger: ledgerOf(policy, context.ledger.granted, spent),
    warnings: isNewWindow ? [] : context.warnings,
  }
}

/** The run has ended, or does not want what it was given last (G3). */
function close(context: BudgetContext, { run, draws, unspent, spent }: RunAccount): BudgetContext {
  const { [run]: allotment, ...allotments } = context.allotments
  const waiting = context.waiting.filter((other) => other.run !== run)
  if (!allotment) return waiting.length === context.waiting.length ? context : { ...context, waiting }
  const given = context.ledger.granted[run]!
  const back = lesser(given, allotment.draw > draws ? plus(unspent, allotment.counted) : unspent)
  const { totals } = context
  return { ...context, allotments, waiting, ledger: closeGrant(context.ledger, run, back), totals: { ...totals, givenBack: plus(totals.givenBack, back), spent: plus(totals.spent, spent) } }
}

function withdraw(context: BudgetContext, { run, draw }: { readonly run: string; readonly draw: number }): BudgetContext {
  const waiting = context.waiting.filter((other) => other.run !== run)
  const allotment = context.allotments[run]
  if (allotment?.draw !== draw) return { ...context, waiting }
  const given = context.ledger.granted[run]!
  const rest = minus(given, allotment.counted)
  const closed = closeGrant(context.ledger, run, given)
  const { totals } = context
  const { [run]: _, ...others } = context.allotments
  const allotments = draw === 1 ? others : { ...others, [run]: { draw: draw - 1, amounts: nothing, counted: nothing } }
  return { ...context, waiting, allotments, ledger: draw === 1 ? closed : grant(closed, run, rest)!, totals: { ...totals, givenBack: plus(totals.givenBack, allotment.counted) } }
}

interface Served {
  readonly context: BudgetContext
  readonly answers: readonly { readonly run: string; readonly answer: BudgetAnswer }[]
}

function textOf(amounts: Amounts, policy: BudgetPolicy): string {
  const words = { nanoDollars: (n: number) => `$${n / 1e9}`, tokens: (n: number) => `${n} tokens`, calls: (n: number) => `${n} calls` }
  return (['nanoDollars', 'tokens', 'calls'] as const).filter((kind) => isLimited(policy, kind)).map((kind) => words[kind](amounts[kind])).join(', ')
}

/** Deals with those who wait, in their order. Pure. */
export function serve(given: BudgetContext): Served {
  let context: BudgetContext = { ...given, waiting: [] }
  const { policy } = context
  const answers: { run: string; answer: BudgetAnswer }[] = []
  for (const wish of given.waiting) {
    const { run, draw, wanted, isTold } = wish
    const { amounts, counted } = resolved(policy, wanted)
    const held = context.ledger.granted[run]
    if (policy && !covers(policy.limits, counted)) {
      answers.push({ run, answer: { type: 'budget.refused', draw, reason: 'never', message: `it wants ${textOf(amounts, policy)}, and its tenant's budget is ${textOf(policy.limits, policy)} in all` } })
      continue
    }
    const ledger = context.waiting.length > 0 ? undefined : held ? raiseGrant(context.ledger, run, counted) : grant(context.ledger, run, counted)
    if (ledger) {
      const { totals } = context
      context = { ...context, ledger, allotments: { ...context.allotments, [run]: { draw, amounts, counted } }, totals: { ...totals, allotted: plus(totals.allotted, counted) } }
      answers.push({ run, answer: { type: 'budget.granted', draw, amounts } })
    } else if (policy!.whenSpent === 'wait') {
      context = { ...context, waiting: [...context.waiting, { ...wish, isTold: true }] }
      if (!isTold) answers.push({ run, answer: { type: 'budget.waits', draw, waitMs: policy!.waitMs } })
    } else {
      answers.push({ run, answer: { type: 'budget.refused', draw, reason: 'spent', message: `it wants ${textOf(amounts, policy!)}, and ${textOf(context.ledger.free, policy!)} of its tenant's budget is left${context.windowEndsAt === null ? '' : `, and there is more on ${dateText(context.windowEndsAt)}`}` } })
    }
  }
  return { context, answers }
}

const isGranted = ({ allotments }: BudgetContext, { run, draw }: Draw): boolean => (allotments[run]?.draw ?? 0) >= draw
const isQueued = ({ waiting }: BudgetContext, draw: Draw): boolean => waiting.some(({ run, draw: number }) => run === draw.run && number === draw.draw)

/** Whether there is room for another run. */
export function roomGuards(runsMax: number) {
  const isFull = ({ waiting, allotments }: BudgetContext, { run }: Draw): boolean => allotments[run] === undefined && waiting.length + Object.keys(allotments).length >= runsMax
  return {
    isFull: ({ context, event }: { context: BudgetContext; event: BudgetEvent }) => isFull(context, drawIn(event)),
    isNew: ({ context, event }: { context: BudgetContext; event: BudgetEvent }) => !isGranted(context, drawIn(event)) && !isQueued(context, drawIn(event)) && !isFull(context, drawIn(event)),
  }
}

/** The key of its address. */
const tenantOf = (self: unknown): string => (self as { readonly id: string }).id
const drawIn = (event: BudgetEvent): Draw => event as BudgetEvent & { readonly type: 'budget.draw' }
const sightIn = (event: unknown): BudgetSight => (event as { output: BudgetSight }).output

interface Enqueue {
  (action: never): void
  assign(context: BudgetContext): void
}

/** Changes what is known, and warns of what that comes to. */
function change(enqueue: Enqueue, next: BudgetContext): void {
  const fresh = next.policy ? newWarnings(next.policy.warnAt, next.ledger.spent, next.policy.limits, next.warnings) : []
  for (const value of fresh) enqueue(append(() => ({ stream: 'warnings', value })) as never)
  enqueue.assign({ ...next, warnings: [...next.warnings, ...fresh] })
}

export const budgetMachine = setup({
  types: {
    context: {} as BudgetContext,
    events: {} as BudgetEvent,
  },
  actors: {
    /** Replaced by the mesh: what time it is, which figures hold, and which of these runs have ended. */
    look: fromPromise<BudgetSight, LookInput>(() => Promise.reject(new Error('nothing to look up'))),
  },
  guards: {
    isGranted: ({ context, event }) => isGranted(context, drawIn(event)),
    isQueued: ({ context, event }) => isQueued(context, drawIn(event)),
    ...roomGuards(budgetRunsMax),
    isAwaited: ({ context }) => context.waiting.length > 0,
    isQuiet: ({ context }) => context.waiting.length === 0 && Object.keys(context.allotments).length === 0,
  },
  delays: {
    /** Until the window ends, or it is time to look again. */
    review: ({ context: { waiting, windowEndsAt, at } }) => Math.max(1, Math.min(waiting.length > 0 ? waitingReviewMs : reviewMs, (windowEndsAt ?? Infinity) - at)),
    retry: retryMs,
  },
  actions: {
    queue: assign({
      waiting: ({ context, event }) => {
        const { run, draw, wanted } = drawIn(event)
        return [...context.waiting, { run, draw, wanted, isTold: false }]
      },
    }),
    answerAgain: enqueueActions(({ enqueue, context, event }) => {
      const { run, draw } = drawIn(event)
      const { amounts, draw: last } = context.allotments[run]!
      if (draw === last) enqueue(sendTo(refTo(run), { type: 'budget.granted', draw, amounts } satisfies BudgetAnswer))
    }),
    refuseFull: sendTo(
      ({ event }) => refTo(drawIn(event).run),
      ({ event }): BudgetAnswer => ({ type: 'budget.refused', draw: drawIn(event).draw, reason: 'full', message: `${budgetRunsMax} runs hold or want a part of its tenant's budget already` }),
    ),
    withdraw: assign(({ context, event }) => withdraw(context, event as BudgetEvent & { type: 'budget.withdraw' })),
    takeBack: enqueueActions(({ enqueue, context, event }) => change(enqueue as never, close(context, event as BudgetEvent & { type: 'budget.return' }))),
    beginReview: assign({ isReview: true }),
    /** The window, the figures and the ends of runs first; then those who wait. */
    serve: enqueueActions(({ enqueue, context, event }) => {
      const sight = sightIn(event)
      const seen = sight.ended.reduce(close, adopt(context, sight))
      const { context: next, answers } = serve({ ...seen, isReview: false })
      for (const { run, answer } of answers) enqueue(sendTo(refTo(run), answer))
      change(enqueue as never, next)
    }),
  },
}).createMachine({
  id: 'budget',
  version: '1',
  description: 'What a tenant’s runs may spend: they draw allotments from it, and give back what they do not use.',
  context: {
    policy: null,
    windowEndsAt: null,
    at: 0,
    ledger: openLedger(nothing),
    allotments: {},
    waiting: [],
    warnings: [],
    totals: { allotted: nothing, givenBack: nothing, spent: nothing },
    isReview: false,
  },
  initial: 'idle',
  on: {
    'budget.draw': [
      { guard: 'isGranted', actions: 'answerAgain', description: 'Asked for again: the answer may have been lost.' },
      { guard: 'isQueued', description: 'It waits already.' },
      { guard: 'isFull', actions: 'refuseFull' },
      { actions: 'queue', description: 'It is dealt with when the time and the figures are known.' },
    ],
    'budget.withdraw': { actions: 'withdraw' },
    'budget.return': { actions: 'takeBack' },
  },
  states: {
    idle: {
      description: 'Nobody holds or wants anything.',
      on: { 'budget.draw': { guard: 'isNew', target: 'looking', actions: 'queue' } },
    },
    open: {
      description: 'Runs hold allotments, or wait for some.',
      always: { guard: 'isQuiet', target: 'idle' },
      on: {
        'budget.draw': { guard: 'isNew', target: 'looking', actions: 'queue' },
        'budget.withdraw': [
          { guard: 'isAwaited', target: 'looking', actions: 'withdraw', description: 'There may be enough now.' },
          { actions: 'withdraw' },
        ],
        'budget.return': [
          { guard: 'isAwaited', target: 'looking', actions: 'takeBack', description: 'There may be enough now.' },
          { actions: 'takeBack' },
        ],
      },
      after: { review: { target: 'looking', actions: 'beginReview' } },
    },
    looking: {
      description: 'The time and the figures that hold are looked up.',
      invoke: {
        id: 'look',
        src: 'look',
        input: ({ context, self }) => ({ tenant: tenantOf(self), runs: context.isReview ? [...new Set([...Object.keys(context.allotments), ...context.waiting.map(({ run }) => run)])] : [] }),
        onDone: { target: 'open', actions: 'serve' },
        onError: { target: 'blind', description: 'It could not be looked up: nobody is given anything meanwhile.' },
      },
    },
    blind: {
      description: 'It could not be looked up, and is tried again.',
      after: { retry: 'looking' },
    },
  },
})


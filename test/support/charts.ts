/** The charts with implementations that let a walk reach everything, and the events worth trying in each situation. */
import { assign, fromPromise, type AnyMachineSnapshot, type AnyStateMachine, type EventObject } from 'xstate'
import { agentFailure, agentMachine, type AgentContext, type AgentTask } from '../../src/machines/agent.machine.js'
import type { Verdict } from '../../src/machines/verdict.js'
import { defaultBackoff } from '../../src/machines/backoff.js'
import { defaultCallPolicy } from '../../src/machines/call-policy.js'
import { callMachine, type AttemptOutcome, type CallContext, type CallInput, type CallOutput } from '../../src/machines/call.machine.js'
import { circuitBreakerMachine, defaultBreaker, type BreakerContext, type BreakerOutcome } from '../../src/machines/circuit-breaker.machine.js'
import { fallbackMachine, type FallbackContext } from '../../src/machines/fallback.machine.js'
import { inOrderMachine, type InOrderContext } from '../../src/machines/in-order.machine.js'
import { defaultLimit, limiterMachine, type LimiterAsk, type LimiterContext } from '../../src/machines/limiter.machine.js'
import { allotmentMachine, type AllotmentContext, type AllotmentInput } from '../../src/machines/allotment.machine.js'
import { budgetMachine, roomGuards, type BudgetContext, type BudgetPolicy } from '../../src/machines/budget.machine.js'
import { nothing, unbounded } from '../../src/machines/ledger.js'
import type { Refusal } from '../../src/machines/permit.js'
import { personMachine, type PersonContext } from '../../src/machines/person.machine.js'
import { policiesMachine, type PoliciesContext } from '../../src/machines/policies.machine.js'
import { rederivationGuards, rederivationMachine, type RederivationContext } from '../../src/machines/rederivation.machine.js'
import { runMachine, type RunContext, type RunInput } from '../../src/machines/run.machine.js'
import { sourceCheckMachine, type SourceCheckContext } from '../../src/machines/source-check.machine.js'
import { excessOf, nextTool, toolLoopMachine, type ToolLoopContext } from '../../src/machines/tool-loop.machine.js'
import { tokenStreamMachine, type TokenContext, type TokenEvent } from '../../src/machines/token-stream.machine.js'
import { supervisorMachine, type SupervisorContext } from '../../src/machines/supervisor.machine.js'

export interface Chart {
  readonly name: string
  /** As users get it. */
  readonly machine: AnyStateMachine
  /** With what a walk needs filled in. */
  readonly walkable: AnyStateMachine
  /** Walked from each of them. */
  readonly inputs: readonly unknown[]
  readonly events: (snapshot: AnyMachineSnapshot) => readonly EventObject[]
  readonly facet: (context: never, value: unknown) => unknown
}

const done = (id: string, output: unknown): EventObject => ({ type: `xstate.done.actor.${id}`, output }) as EventObject
const error = (id: string, message: string, code?: string): EventObject => ({ type: `xstate.error.actor.${id}`, error: { message, code } }) as EventObject
const after = (delay: string, node: string): EventObject => ({ type: `xstate.after.${delay}.${node}` })
const event = (type: string, more: object = {}): EventObject => ({ type, ...more })

const grant = { tokens: 100, calls: 10, nanoDollars: 100 }
const worst = { tokens: 10, calls: 1, nanoDollars: 10 }

export const callInput: CallInput = {
  id: 'call',
  models: ['x/a', 'x/b'],
  request: {},
  task: null,
  worst: { 'x/a': worst, 'x/b': worst },
  attemptsMax: 2,
  backoff: defaultBackoff,
  deadlineMs: 1_000,
  whenOpen: 'wait',
  priority: 5,
  tenant: null,
  about: { agent: 'a', version: '1', run: 'r', task: 't', goal: 'g', origin: 'o' },
}

const outcome = (more: Partial<AttemptOutcome>): EventObject => done('attempt', { ok: false, cost: worst, error: { kind: 'server', message: 'no' }, retryable: false, ...more })

const permits = [done('permit', { isGiven: true }), done('permit', { refusal: { reason: 'open', scope: 'model', name: 'x/a', message: 'open' } }), error('permit', 'threw')]
const alone = [
  ...permits,
  outcome({}),
  outcome({ retryable: true, cost: null, error: { kind: 'unknown', message: 'died' } }),
  outcome({ refusal: { reason: 'open', scope: 'model', name: 'x/a', message: 'open' } }),
  outcome({ refusal: { reason: 'stopped', scope: 'agent', name: 'a', message: 'stopped' } }),
]
const besides = [
  after('hedge', 'call.open.attempting.watched'),
  done('second', { ok: true, cost: worst, response: 'yes' }),
  done('second', { ok: false, cost: worst, error: { kind: 'server', message: 'no' }, retryable: true }),
  done('second', { ok: false, cost: worst, isLacking: true }),
  error('second', 'threw'),
  done('secondPermit', { isGiven: true }),
  done('secondPermit', { refusal: { reason: 'open', scope: 'model', name: 'x/a', message: 'open' } }),
  error('secondPermit', 'threw'),
]

const call: Chart = {
  name: 'call',
  machine: callMachine,
  walkable: callMachine.provide({ actions: { askLedger: () => {}, settleWithLedger: () => {}, settleHeld: () => {}, askLedgerForSecond: () => {}, settleOther: () => {} } }) as AnyStateMachine,
  // In the last, one model is for when the budget does not cover the other.
  inputs: [callInput, { ...callInput, hedge: { afterMs: 100, model: 'next' } }, { ...callInput, regularModels: 1 }],
  events: ({ context }) => [
    event('ledger.reserved'),
    event('ledger.refused'),
    event('ledger.pending'),
    outcome({ ok: true, response: 'yes' }),
    outcome({ retryable: true }),
    outcome({ isLacking: true }),
    error('attempt', 'threw'),
    after('backoff', 'call.open.backingOff'),
    after('deadline', 'call.open'),
    ...((context as CallContext).call.hedge ? besides : alone),
  ],
  facet: ({ attempts, place, isPatient, last, hedge }: CallContext) => [hedge && [hedge.ended !== null, hedge.isAsked, Math.min(2, attempts.length + 2 - Number(hedge.attempt.split('.')[1]))], Math.min(attempts.filter(({ unknown, refused }) => !unknown && refused === null).length, 2), Math.min(attempts.length, 3), place, isPatient, last?.ok, last?.retryable, last?.refusal?.reason],
}

const child = (id: string, more: object = {}): EventObject => event('child.request', { child: { id, machine: 'm', ...more } })
const fact = (type: string, id: string, more: object = {}): EventObject => event(type, { id, machine: 'm', address: `m/r~${id}`, generation: 1, at: 10, chance: 0.5, error: { name: 'Error', message: 'bad' }, ...more })
/** What children and the supervisor of them could say: facts only of those that run, and first that they have begun. */
const aboutChildren = ({ wards }: SupervisorContext, ids: readonly string[]): EventObject[] => {
  const beginning = wards.find(({ state, generation }) => state !== 'waiting' && generation === null)?.spec.id
  if (beginning !== undefined) return [fact('child.started', beginning), fact('child.failed', beginning), fact('child.stopped', beginning, { reason: 'gone', generation: 0 })]
  return ids.flatMap((id) => {
    const ward = wards.find(({ spec }) => spec.id === id)
    const runs = !ward || !['waiting', 'backingOff'].includes(ward.state)
    return [
      ...(ward ? [] : [fact('child.started', id)]),
      ...(runs ? [fact('child.stopped', id, { reason: 'done', output: 1 }), fact('child.failed', id)] : []),
      ...(ward?.state === 'backingOff' ? [event('restart.due', { id })] : []),
      ...((ward?.told ?? null) !== null || (ward && !runs) ? [event('shutdown.due', { id })] : []),
      event('child.dismiss', { id }),
      event('child.yield', { id }),
    ]
  })
}
/** A nested supervisor that gave up. */
const nested = { id: 'n', machine: 'supervisor', type: 'supervisor' as const }

const supervisor: Chart = {
  name: 'supervisor',
  machine: supervisorMachine,
  walkable: supervisorMachine as AnyStateMachine,
  inputs: [
    { workingMax: 1, waitingMax: 1, restartsMax: 1, treeRestartsMax: 2, periodMs: 1_000 },
    { strategy: 'rest_for_one', workingMax: 3, waitingMax: 0, restartsMax: 1, periodMs: 1_000, children: [{ id: 'a', machine: 'm', restart: 'permanent' }, { id: 'b', machine: 'm', shutdown: { event: { type: 'end' }, withinMs: 5 } }, { id: 'c', machine: 'm', restart: 'temporary' }] },
    { strategy: 'rest_for_one', workingMax: 3, waitingMax: 0, restartsMax: 2, periodMs: 1_000, children: [{ id: 'p', machine: 'm', restart: 'permanent' }, { id: 't', machine: 'm', restart: 'temporary' }, { id: 'q', machine: 'm' }] },
    { strategy: 'one_for_all', workingMax: 1, waitingMax: 1, restartsMax: 1, treeRestartsMax: 2, periodMs: 1_000, children: [nested] },
  ],
  events: ({ context, value }) => {
    const of = context as SupervisorContext
    const { strategy } = of.options
    return [
      ...(strategy === 'one_for_one' ? [child('a'), child('b', { restart: 'permanent' }), child('c'), child('no id'), ...aboutChildren(of, ['a', 'b', 'z']), event('restart.due', { id: 'z' })] : []),
      ...(strategy === 'rest_for_one' ? [child('d'), ...aboutChildren(of, of.children.map(({ id }) => id)), fact('child.stopped', 'p', { reason: 'gone', generation: 0 })] : []),
      ...(strategy === 'one_for_all' ? [child('n'), child('d'), child('no id'), fact('child.started', 'n'), fact('child.stopped', 'n', { reason: 'done', output: { escalated: true, id: 'x', message: 'below' } }), fact('child.stopped', 'n', { reason: 'stopped' }), event('child.dismiss', { id: 'd' })] : []),
      ...(strategy === 'rest_for_one' ? [] : [event('supervisor.restarting', { id: 'x', at: 10, message: 'below', delayMs: 1 })]),
      event('supervisor.ended', { id: 'x', at: 10, reason: 'done' }),
      ...(JSON.stringify(value).includes('regrouping') ? [after('groupDelay', 'supervisor.open.regrouping.backingOff')] : []),
      event('halt'),
    ]
  },
  facet: ({ wards, restarts, treeRestarts, escalation }: SupervisorContext) => [wards.map(({ spec, state, told, generation }) => [spec.id, state, state === 'ending' || state === 'leaving' ? told : 0, generation]), restarts.length, treeRestarts.length, escalation?.id],
}

const goal = { text: 'why', digest: 'd' }
/** What was read, and what holds for the call; of whoever has a run, a person stands in. */
const gathered = (what: unknown, refusal: Refusal | null = null): EventObject => done('gather', { gathered: what, policy: { ...defaultCallPolicy, fallback: what === 'bare' ? [] : [{ person: 'ann', deadlineMs: 1 }] }, refusal })
const task = (id: string, input: unknown = null): AgentTask => ({ id, origin: id, input, goal, grant, run: 'r', runAddress: 'run/r' })
const verdict = (accepted: boolean): Verdict => ({ accepted, reasons: accepted ? [] : ['wrong'], explanation: 'so', confidence: { value: 0.9, source: 'rule' }, by: 'critic' })

const agent: Chart = {
  name: 'agent',
  machine: agentMachine,
  walkable: agentMachine.provide({
    guards: {
      passesGate: ({ context }) => context.output === 'sure' || context.output === 'act' || context.output === 'ask' || context.output === 'unplannable',
      canBeVerified: ({ context }) => context.output === 'unsure',
      isUnfitAnswer: ({ event: e }) => 'output' in e && e.output === 'unfit',
    },
    actions: {
      prepareCall: assign(({ context }) => (context.gathered === 'bad' ? { failure: agentFailure('prompt', 'no prompt') } : { call: callInput })),
      readAnswer: assign(({ event: e }) => {
        const result = (e as unknown as { output: CallOutput }).output
        return result.ok ? { output: result.response, confidence: { value: 0.5, source: 'self' as const } } : { failure: agentFailure('model', result.message) }
      }),
      planActions: assign(({ context }) => ({
        planned: context.output === 'act' || context.output === 'ask' ? [{ name: 'mail', input: 1 }, { name: 'mail', input: 2 }] : [],
        approval: context.output === 'ask' ? { why: 'so', actions: [], digest: 'd1' } : null,
        decision: null,
        failure: context.output === 'unplannable' ? agentFailure('plan', 'no plan') : null,
      })),
    },
  }) as AnyStateMachine,
  inputs: [{}, { task: task('t') }, { task: { ...task('t'), mayAskForMore: true, tellSpent: nothing } }],
  events: () => [
    event('task.assign', { task: task('t') }),
    gathered('good'),
    gathered('bad'),
    gathered('bare'),
    gathered('stopped', { reason: 'stopped', scope: 'agent', name: 'a', message: 'stopped' }),
    error('gather', 'no file'),
    ...['sure', 'unsure', 'alone', 'act', 'ask', 'unplannable'].map((response) => done('call', { ok: true, model: 'x/a', response, attempts: [{}] })),
    done('call', { ok: false, reason: 'failed', message: 'no', attempts: [] }),
    event('call.reserve', { id: 'call.1', worst }),
    event('call.reserve', { id: 'call.2', worst: { ...worst, tokens: 1_000 } }),
    event('call.settle', { id: 'call.1', cost: worst }),
    event('tool.unknown', { error: { message: 'who knows' } }),
    event('grant.raised', { amounts: { ...nothing, tokens: 2_000 } }),
    event('grant.denied', { message: 'no' }),
    event('task.cancel'),
    done('verify', verdict(true)),
    done('verify', verdict(false)),
    done('verify', 'what?'),
    error('verify', 'nobody'),
    event('person.ask', { request: { why: 'so', actions: [], output: 1, digest: 'd1' } }),
    event('approval.decide', { digest: 'd1', approved: true, by: 'ann' }),
    event('approval.decide', { digest: 'd1', approved: false, by: 'ann', note: 'no' }),
    event('approval.decide', { digest: 'd2', approved: true, by: 'eve' }),
    event('approval.decide', { digest: 'd1', approved: true, by: 'ann', output: 'unfit' }),
    event('person.withdraw'),
    done('fallback', { answer: { output: 'sure', confidence: { value: 1, source: 'human' }, by: 'person/ann' }, attempt: 'fallback-1', tried: [] }),
    done('fallback', { answer: null, attempt: null, tried: [{ step: 'person', failure: 'no' }] }),
    after('approvalDeadline', 'agent.approvalPending'),
    done('act', 'ok'),
    error('act', 'no'),
    error('act', 'who knows', 'OUTCOME_UNKNOWN'),
    event('action.resolve', { happened: true, by: 'ann' }),
    event('action.resolve', { happened: false, by: 'ann' }),
    event('action.resolve', { happened: 'perhaps', by: 'ann' }),
  ],
  facet: ({ output, gathered, policy, acted, approval, decision, failure, ledger, wanting }: AgentContext) => [output, gathered, policy?.fallback.length, acted.length, approval?.digest, decision?.approved, failure?.reason, Object.keys(ledger.reserved), wanting?.id],
}

export const runInput: RunInput = {
  run: 'r',
  address: 'run/r',
  goal,
  ceiling: { tokens: 1_000, calls: 100, nanoDollars: 1_000 },
  crew: { planner: 'planner', worker: 'worker', writer: 'writer' },
  grants: { planner: grant, worker: grant, checker: grant, writer: grant },
  supervisor: {},
  stepsMax: 1,
  replansMax: 1,
  models: null,
  material: null,
}

const ended = (id: string, output: unknown, more: object = {}): EventObject =>
  event('supervisor.ended', { id, at: 5, reason: 'done', output: { outcome: 'done', output, confidence: { value: 1, source: 'rule' }, verdict: null, acted: [], failure: null, unspent: grant, spent: nothing, overrun: nothing, ...more } })
const failed = (id: string): EventObject => ended(id, null, { outcome: 'failed', failure: { reason: 'model', message: 'no' } })

const isWorking = (value: unknown): boolean => JSON.stringify(value) === '{"open":"working"}'

const run: Chart = {
  name: 'run',
  machine: runMachine,
  walkable: runMachine.provide({
    actions: {
      planAction: assign(({ context }) => ({
        planned: context.report === 'plain' || context.report === 'show' ? null : { name: 'publish', input: 1 },
        approval: context.report === 'ask' || context.report === 'show' ? { why: 'so', actions: [], digest: 'd1' } : null,
        failure: context.report === 'unplannable' ? { reason: 'plan', message: 'no' } : null,
      })),
    },
  }) as AnyStateMachine,
  // The second ceiling covers nothing.
  // The third draws on a budget, and asks for more.
  inputs: [runInput, { ...runInput, ceiling: nothing }, { ...runInput, budget: 'budget/acme', warnAt: [0.5], whenSpent: { do: 'ask', more: grant, deadlineMs: 1_000 } }],
  events: ({ context }) => {
    const steps = (context as RunContext).steps.map(({ id }) => id)
    const standIns = Object.keys((context as RunContext).substitutes)
    return [
      event('substitute.request', { id: 'plan', by: 'generalist', input: 1, origin: 'plan', grant, replyToken: { id: 's' } }),
      event('substitute.dismiss', { id: 'plan' }),
      event('substitute.request', { id: 'nobody', by: 'generalist', input: 1, origin: 'plan', grant, replyToken: { id: 's' } }),
      ...steps.slice(0, 1).map((id) => event('substitute.request', { id, by: 'generalist', input: 1, origin: id, grant, replyToken: { id: 's' } })),
      ...standIns.slice(0, 1).flatMap((id) => [ended(id, 1), failed(id), event('supervisor.ended', { id, at: 5, reason: 'stopped' }), event('supervisor.refused', { id, reason: 'overflow' })]),
      ended('plan', { steps: [1, 2] }),
      ended('plan', { steps: [1] }),
      ended('plan', { steps: [] }),
      failed('plan'),
      event('supervisor.refused', { id: 'plan', reason: 'overflow' }),
      ...steps.flatMap((id) => [
        event('verification.request', { step: id, by: 'checker', output: 1, confidence: { value: 0.5, source: 'self' }, replyToken: { id: 'q' } }),
        ended(id, { findings: [id] }),
        failed(id),
        event('supervisor.started', { id, at: 1 }),
        event('supervisor.refused', { id, reason: 'overflow' }),
        ended(`${id}.check`, verdict(true)),
        event('supervisor.refused', { id: `${id}.check`, reason: 'overflow' }),
        ended(`${id}.replan`, { steps: [3] }),
        failed(`${id}.replan`),
        event('supervisor.refused', { id: `${id}.replan`, reason: 'overflow' }),
      ]),
      event('supervisor.started', { id: 'plan', at: 1 }),
      event('person.wait', { id: 'plan', waits: true }),
      event('person.wait', { id: 'plan', waits: false }),
      event('supervisor.restarting', { id: 'plan', at: 1, message: 'm', delayMs: 1 }),
      ...['plain', 'act', 'ask', 'show', 'unplannable'].map((report) => ended('report', report)),
      failed('report'),
      event('supervisor.refused', { id: 'report', reason: 'overflow' }),
      event('approval.decide', { digest: 'd1', approved: true, by: 'ann' }),
      event('approval.decide', { digest: 'd1', approved: false, by: 'ann', note: 'no' }),
      event('approval.decide', { digest: 'd2', approved: true, by: 'eve' }),
      after('approvalDeadline', 'run.open.approvalPending'),
      done('publish', 'ok'),
      error('publish', 'no'),
      error('publish', 'who knows', 'OUTCOME_UNKNOWN'),
      event('action.resolve', { happened: true, by: 'ann' }),
      event('action.resolve', { happened: false, by: 'ann' }),
      event('action.resolve', { happened: false }),
      event('run.retry', { by: 'ann' }),
      event('run.retry'),
      after('approvalDeadline', 'run.open.actionFailed'),
      ...((context as RunContext).input.budget === undefined
        ? []
        : [
            event('budget.granted', { draw: 1, amounts: runInput.ceiling }),
            done('funding', { amounts: runInput.ceiling, isDrawn: true, message: '' }),
            done('funding', { amounts: null, isDrawn: false, message: 'spent' }),
            event('grant.spent', { id: 'plan', spent: { ...nothing, calls: 60 } }),
            event('grant.more', { id: 'plan', needed: { ...nothing, calls: 10 } }),
            event('grant.more', { id: 'plan', needed: { ...nothing, calls: 1_000 } }),
            event('approval.decide', { digest: 'more-1', approved: true, by: 'ann' }),
            done('topUp', { amounts: grant, isDrawn: true, message: '' }),
            done('topUp', { amounts: null, isDrawn: false, message: 'no' }),
          ]),
      event('run.cancel', { by: 'ann' }),
      done('crew', { escalated: true, id: 'plan', message: 'bad' }),
      done('crew', { escalated: false, id: null, message: null }),
    ]
  },
  facet: ({ steps, requests, substitutes, checking, report, decision, failure, topUp, noMore }: RunContext, value) => [
    Object.keys(substitutes).length > 0,
    topUp === null ? 'none' : (topUp.decision?.approved ?? 'asked'),
    noMore,
    isWorking(value) ? [steps.map(({ id, state }) => [id, state]), Object.keys(requests), checking] : report,
    decision?.approved,
    failure?.reason,
  ],
}

const judged = { input: { task: task('t'), output: 1, confidence: { value: 0.5, source: 'self' } } }
const decided = (approved: boolean): EventObject => event('person.decided', { decision: { digest: 'd1', approved, by: 'ann', note: '', at: 1 } })

const sourceCheck: Chart = {
  name: 'source check',
  machine: sourceCheckMachine,
  walkable: sourceCheckMachine as AnyStateMachine,
  inputs: [judged.input],
  events: () => [done('check', verdict(true)), done('check', verdict(false)), done('check', 'what?'), error('check', 'no disk'), after('deadline', 'sourceCheck.reading')],
  facet: (context: SourceCheckContext) => context.verdict?.explanation,
}

const person: Chart = {
  name: 'person',
  machine: personMachine,
  walkable: personMachine.provide({
    actions: { prepareRequest: assign(({ context }) => (context.input.output === 1 ? { request: { why: 'so', actions: [], output: 1, digest: 'd1' } } : { verdict: verdict(false) })), askPerson: () => {} },
  }) as AnyStateMachine,
  inputs: [judged.input, { ...judged.input, output: 2 }],
  events: () => [decided(true), decided(false), after('deadline', 'person.waiting')],
  facet: (context: PersonContext) => context.verdict?.explanation,
}

const rederivation: Chart = {
  name: 'rederivation',
  machine: rederivationMachine,
  walkable: rederivationMachine.provide({
    guards: rederivationGuards({ times: 3, agreement: 0.75 }),
    actions: {
      prepareCall: assign(({ context }) => (context.gathered === 'bad' ? { verdict: verdict(false) } : { call: callInput })),
      readDerivation: assign(({ context, event: e }) => {
        const { response } = (e as unknown as { output: { response: unknown } }).output
        return { derivations: [...context.derivations, { attempt: 'a', output: response, confidence: { value: null, source: 'missing' as const }, agrees: response === 'same', failure: response === 'none' ? 'no answer' : null }] }
      }),
      askAgent: () => {},
    },
  }) as AnyStateMachine,
  inputs: [judged.input],
  events: () => [
    gathered('good'),
    gathered('bad'),
    gathered('stopped', { reason: 'stopped', scope: 'agent', name: 'a', message: 'stopped' }),
    error('gather', 'no file'),
    event('ledger.pending'),
    ...['same', 'other', 'none'].map((response) => done('call', { ok: true, model: 'x/a', response, attempts: [{}] })),
    event('call.reserve', { id: 'r-1.1', worst }),
    event('call.settle', { id: 'r-1.1', cost: worst }),
    event('ledger.reserved'),
    event('ledger.refused'),
  ],
  facet: ({ derivations, gathered, verdict: given }: RederivationContext) => [derivations.map(({ agrees, failure }) => [agrees, failure]), gathered, given?.explanation],
}

const silent = fromPromise<Verdict>(() => new Promise(() => {}))
const inOrderOf = ['sources', 'critic', 'person'].map((name) => ({ name, description: `${name} judges it.`, logic: silent }))
const inOrder: Chart = {
  name: 'in order',
  machine: inOrderMachine(inOrderOf),
  walkable: inOrderMachine(inOrderOf).provide({ actions: { askAgent: () => {} } }) as AnyStateMachine,
  inputs: [judged.input],
  events: () => [
    done('verifier', verdict(true)),
    done('verifier', { ...verdict(true), output: 2, refused: [{ finding: 1, reasons: ['wrong'], explanation: 'so' }] }),
    done('verifier', verdict(false)),
    error('verifier', 'nobody'),
    event('call.reserve', { id: 'r-1.1', worst }),
    event('call.settle', { id: 'r-1.1', cost: worst }),
    event('person.ask', { request: { why: 'so', actions: [], output: 1, digest: 'd1' } }),
    event('ledger.reserved'),
    event('ledger.refused'),
    event('ledger.pending'),
    decided(true),
  ],
  facet: (context: InOrderContext) => context.verdicts.map(({ accepted, output }) => [accepted, output]),
}

const breakerPolicy = { ...defaultBreaker, callsMin: 3, consecutiveMax: 2, probesMax: 2, successesToClose: 2 }
const asks = (context: BreakerContext, wanted: number, ...outcomes: readonly Partial<BreakerOutcome>[]): EventObject =>
  event('permit.ask', { at: context.at + 1_000, wanted, policy: breakerPolicy, outcomes: outcomes.map((one) => ({ result: 'ok', era: context.era, probe: null, ...one })) })
const breaker: Chart = {
  name: 'circuit breaker',
  machine: circuitBreakerMachine,
  walkable: circuitBreakerMachine as AnyStateMachine,
  inputs: [undefined],
  events: ({ context }) => {
    const of = context as BreakerContext
    const [first = null, second = null] = Object.keys(of.probes).map(Number)
    return [
      asks(of, 2),
      asks(of, 0, { result: 'ok' }),
      asks(of, 0, { result: 'failed' }),
      ...(first === null ? [] : [asks(of, 0, { probe: first }), asks(of, 0, { result: 'failed', probe: first }), asks(of, 0, { result: 'void', probe: first })]),
      ...(second === null ? [] : [asks(of, 0, { probe: first }, { probe: second })]),
      after('openPeriod', 'circuitBreaker.open'),
      after('probePeriod', 'circuitBreaker.halfOpen.probing'),
    ]
  },
  facet: ({ consecutive, probes, buckets }: BreakerContext) => [consecutive, Object.values(probes), Math.min(3, buckets.reduce((sum, { ok, failed }) => sum + ok + failed, 0))],
}

const limitAsk = (context: LimiterContext, more: Partial<LimiterAsk>): EventObject =>
  event('permit.ask', { at: context.at, node: 'n', wanted: 1, waiting: 1, tokens: 10, least: 10, priority: 5, leftMs: 1_000, back: [], pauseMs: 0, policy: { ...defaultLimit, requestsMax: 2 }, ...more })
const limiter: Chart = {
  name: 'limiter',
  machine: limiterMachine,
  walkable: limiterMachine as AnyStateMachine,
  inputs: [undefined],
  events: ({ context }) => {
    const of = context as LimiterContext
    return [limitAsk(of, {}), limitAsk(of, { node: 'm' }), limitAsk(of, { pauseMs: 1_000 }), limitAsk(of, { at: of.at + 2_000 }), after('pause', 'limiter.paused')]
  },
  facet: ({ at, grants, claims, pausedUntil }: LimiterContext) => [grants.length, claims.length, pausedUntil > at],
}

const policies: Chart = {
  name: 'policies',
  machine: policiesMachine,
  // Room for a thousand is as good as for two.
  walkable: policiesMachine.provide({ guards: { hasRoom: ({ context }) => context.stops.length < 2 } }) as AnyStateMachine,
  inputs: [undefined],
  events: () => [
    event('policies.set', { policies: { agents: {} }, by: 'ann', at: 1 }),
    event('policies.set', { policies: null, by: 'ann', at: 2 }),
    ...(['agent', 'tenant', 'model'] as const).map((scope) => event('calls.stop', { stop: { scope, name: 'a', by: 'ann', why: 'so', at: 1 } })),
    event('calls.resume', { scope: 'agent', name: 'a' }),
  ],
  facet: ({ policies: set, stops }: PoliciesContext) => [set === null, stops.map(({ scope }) => scope)],
}

const substituteAnswer = (more: object = {}): EventObject => done('substitute', { output: 'good', confidence: { value: 0.9, source: 'self' }, failure: null, spent: worst, overrun: nothing, by: 'generalist/r~t.standIn', ...more })
const fallback: Chart = {
  name: 'fallback',
  machine: fallbackMachine,
  walkable: fallbackMachine.provide({
    actions: {
      askLedger: () => {},
      settleSpent: () => {},
      settleUnknown: () => {},
      askPerson: () => {},
      withdraw: () => {},
      prepareRequest: assign(({ context }) => (context.place === 1 ? { request: { why: 'so', actions: [], question: { input: 1, schema: {} }, digest: 'd1' } } : { failure: 'nothing to show' })),
      weigh: assign(({ context }) => (context.brought!.output === 'good' ? { brought: context.brought } : { brought: null, failure: 'it does not fit' })),
    },
  }) as AnyStateMachine,
  inputs: [{ task: task('t'), gathered: null, path: [{ agent: 'generalist', deadlineMs: 1 }, { person: 'ann', deadlineMs: 1 }, { person: 'bob', deadlineMs: 1 }], cause: agentFailure('unavailable', 'open'), free: grant, about: callInput.about }],
  events: () => [
    event('ledger.reserved'),
    event('ledger.refused'),
    substituteAnswer(),
    substituteAnswer({ output: 'bad' }),
    substituteAnswer({ failure: { reason: 'model', message: 'no' } }),
    done('substitute', null),
    error('substitute', 'late', 'DEADLINE'),
    event('person.decided', { decision: { digest: 'd1', approved: true, by: 'ann', note: '', at: 1, output: 'good' } }),
    event('person.decided', { decision: { digest: 'd1', approved: true, by: 'ann', note: '', at: 1, output: 'bad' } }),
    decided(false),
    after('personDeadline', 'fallback.askingPerson'),
  ],
  facet: ({ place, brought, failure, tried }: FallbackContext) => [place, brought?.output, failure, tried.map((one) => one.failure)],
}

const lookFor: ToolLoopContext['next'] = { kind: 'repeatable', input: {}, cost: nothing, deadlineMs: 10 }
const examinedTools: Readonly<Record<string, ToolLoopContext['next']>> = {
  look: lookFor,
  dear: { ...lookFor, cost: worst },
  mail: { ...lookFor, kind: 'external' },
  dearMail: { ...lookFor, kind: 'external', cost: worst },
  other: { refusal: 'not-allowed', message: 'no such tool' },
}
const wants = (...names: readonly string[]): EventObject => done('call', { ok: true, model: 'x/a', response: { text: '', stopReason: 'tools', toolCalls: names.map((name) => ({ name, arguments: '{}' })) }, attempts: [{}] })
const toolLoop: Chart = {
  name: 'tool loop',
  machine: toolLoopMachine,
  walkable: toolLoopMachine.provide({
    actions: {
      askAgent: () => {},
      answerCall: () => {},
      hold: () => {},
      settleHeld: () => {},
      tellUnknown: () => {},
      noteCut: assign(({ context }) => ({ isHeld: false, cuts: context.cuts + 50 })),
      examineNext: assign(({ context }) => {
        const excess = excessOf(context, { roundsMax: 2, callsMax: 3 })
        const tool = nextTool(context)
        return excess === undefined ? { next: tool ? examinedTools[tool.name]! : null } : { next: null, result: { ok: false as const, reason: 'tools' as const, message: excess, refusal: null, attempts: [] } }
      }),
      prepareRound: assign(({ context }) => (context.rounds.at(-1)!.calls.length === 2 ? { result: { ok: false as const, reason: 'window' as const, message: 'too long', refusal: null, attempts: [] } } : { call: callInput })),
    },
  }) as AnyStateMachine,
  inputs: [{ ...callInput, loop: { task: task('t') } }],
  events: () => [
    ...Object.keys(examinedTools).map((name) => wants(name)),
    wants('look', 'other'),
    wants('look', 'look', 'look', 'look'),
    done('call', { ok: true, model: 'x/a', response: { text: '{}', stopReason: 'end' }, attempts: [{}] }),
    done('call', { ok: false, reason: 'failed', message: 'no', attempts: [] }),
    event('call.reserve', { id: 'call.1', worst }),
    event('call.settle', { id: 'call.1', cost: worst }),
    event('ledger.reserved'),
    event('ledger.refused'),
    ...['read', 'act'].flatMap((id) => [
      done(id, { ok: true, text: 'yes' }),
      done(id, { ok: false, reason: 'failed', message: 'no', wasRun: true }),
      done(id, { isLacking: true }),
      done(id, { refusal: { reason: 'stopped', scope: 'tool', name: 'look', message: 'stopped' } }),
      error(id, 'threw'),
    ]),
    done('read', { isCutOff: true }),
    error('act', 'who knows', 'OUTCOME_UNKNOWN'),
    done('permit', { isGiven: true }),
    done('permit', { refusal: { reason: 'limit', scope: 'tool', name: 'look', message: 'full' } }),
    error('permit', 'threw'),
    after('toolDeadline', 'toolLoop.reading'),
    event('action.resolve', { happened: true, by: 'ann' }),
    event('action.resolve', { happened: false, by: 'ann' }),
    event('action.resolve', { happened: 'perhaps', by: 'ann' }),
  ],
  facet: ({ rounds, round, isHeld, cuts, result }: ToolLoopContext) => [rounds.length, round?.calls.map(({ name }) => name), round?.results.length, isHeld, cuts, result?.ok],
}

const tokensOf = { of: { agent: 'a', task: 't', call: 'call' }, attempt: 1 }

const tokens: Chart = {
  name: 'tokenStream',
  machine: tokenStreamMachine,
  walkable: tokenStreamMachine as AnyStateMachine,
  inputs: [undefined],
  events: () => [
    ...([
      { type: 'tokens.begin', ...tokensOf, model: 'm', isBeside: false },
      { type: 'tokens.write', ...tokensOf, writer: 'w', offset: 0, text: 'abc' },
      { type: 'tokens.end', ...tokensOf, ok: true, writer: 'w', offset: 0, text: 'abcd' },
    ] satisfies TokenEvent[]),
    after('quiet', 'tokenStream.following'),
  ],
  facet: ({ open }: TokenContext) => Object.values(open).flat().map(({ chars }) => chars),
}

const figures = (more: Partial<BudgetPolicy>): BudgetPolicy => ({ limits: { ...unbounded, calls: 10 }, per: 'day', perRun: unbounded, whenSpent: 'refuse', waitMs: 1_000, warnAt: [0.5], ...more })
const drawn = (run: string, draw: number, calls: number): EventObject => event('budget.draw', { run, draw, wanted: { ...unbounded, calls } })
const budget: Chart = {
  name: 'budget',
  machine: budgetMachine,
  walkable: budgetMachine.provide({ guards: roomGuards(2) }) as AnyStateMachine,
  inputs: [undefined],
  events: ({ context }) => {
    const { at, waiting, allotments } = context as BudgetContext
    return [
      drawn('run/a', 1, 6),
      drawn('run/b', 1, 6),
      drawn('run/c', 1, 1),
      ...(Object.keys(allotments).length === 0 ? [] : [drawn('run/a', 2, 1), event('budget.withdraw', { run: 'run/a', draw: 1 }), event('budget.return', { run: 'run/a', draws: 1, unspent: nothing, spent: { ...nothing, calls: 6 } })]),
      ...(waiting.length === 0 ? [] : [event('budget.withdraw', { run: 'run/b', draw: 1 })]),
      done('look', { at, policy: figures({}), ended: [] }),
      done('look', { at, policy: figures({ whenSpent: 'wait' }), ended: [] }),
      done('look', { at: at + 90_000_000, policy: null, ended: [{ run: 'run/a', draws: 1, unspent: nothing, spent: nothing }] }),
      error('look', 'no store'),
      after('review', 'budget.open'),
      after('retry', 'budget.blind'),
    ]
  },
  facet: ({ waiting, allotments, warnings, policy }: BudgetContext) => [waiting.map(({ run, isTold }) => [run, isTold]), Object.entries(allotments).map(([run, { draw }]) => [run, draw]), warnings.length, policy?.whenSpent],
}

const allotmentInput: AllotmentInput = { run: 'run/r', budget: 'budget/acme', draw: 1, wanted: grant, request: { why: 'so', actions: [], digest: 'd1' }, deadlineMs: 1_000 }
const allotment: Chart = {
  name: 'allotment',
  machine: allotmentMachine,
  walkable: allotmentMachine as AnyStateMachine,
  inputs: [allotmentInput, { ...allotmentInput, budget: null }, { ...allotmentInput, request: null }, { ...allotmentInput, request: null, budget: null }],
  events: () => [
    event('approval.decide', { digest: 'd1', approved: true, by: 'ann' }),
    event('approval.decide', { digest: 'd1', approved: false, by: 'ann', note: 'no' }),
    event('approval.decide', { digest: 'd2', approved: true, by: 'eve' }),
    event('budget.granted', { draw: 1, amounts: grant }),
    event('budget.granted', { draw: 2, amounts: grant }),
    event('budget.refused', { draw: 1, reason: 'spent', message: 'no' }),
    event('budget.waits', { draw: 1, waitMs: 1_000 }),
    after('deadline', 'allotment.asking'),
    after('askAgain', 'allotment.drawing'),
    after('wait', 'allotment.waiting'),
  ],
  facet: ({ output }: AllotmentContext) => [output.amounts, output.message],
}

export const charts: readonly Chart[] = [agent, policies, fallback, supervisor, run, call, toolLoop, budget, allotment, breaker, limiter, tokens, sourceCheck, rederivation, person, inOrder]

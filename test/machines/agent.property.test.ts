/**
 * An agent on the real runtime against a small model of itself: whatever models, verifiers, people and receivers do,
 * and however often the process is killed meanwhile, it ends where the model says, its ledger balances at every commit,
 * and no action happens that was not accepted, approved and asked for once.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { defineAgent, isBalanced, modelOf, ModelError, repeatable, type AgentInput, type AgentOutput, type AgentTask, type Confidence, type ModelResponse, type Reconciled, type Verdict } from '../../src/index.js'
import { defaultCallPolicy, type CallPolicy } from '../../src/machines/call-policy.js'
import type { AgentContext } from '../../src/machines/agent.machine.js'
import { canonicalGoal } from '../../src/mesh/canonical.js'
import { Desk } from '../../src/mesh/desk.js'
import { systemClock } from '../../src/runtime/ports/clock.js'
import { Models } from '../../src/mesh/model-call.js'
import { World } from '../../src/testing/index.js'
import { extent, firstSeed } from '../support/extent.js'

const runs = extent(150, 2_000)

const hourMs = 3_600_000
const grant = { tokens: 40_000, calls: 12, nanoDollars: 1_000_000_000 }
const attemptsMax = 3
const policy: CallPolicy = { ...defaultCallPolicy, attemptsMax, deadlineMs: 24 * hourMs, backoff: { firstMs: 1_000, factor: 1, maxMs: 1_000, jitter: 0 } }

interface Answer {
  readonly what: string
  readonly confidence: number
  readonly actions: number
  readonly ask: boolean
}

/** What the outside world is being asked, and how to answer it. */
class Pending<T> {
  private readonly waiting: { resolve: (value: T) => void; reject: (error: Error) => void }[] = []
  ask(): Promise<T> {
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }))
  }
  get size(): number {
    return this.waiting.length
  }
  answer(value: T | Error): void {
    const { resolve, reject } = this.waiting.shift()!
    if (value instanceof Error) reject(value)
    else resolve(value)
  }
  forget(): void {
    this.waiting.splice(0)
  }
}

class Real {
  readonly model = new Pending<ModelResponse>()
  readonly verifier = new Pending<Verdict>()
  readonly receiver = new Pending<unknown>()
  /** Keys under which an action was asked for, in order. */
  readonly acts: string[] = []
  reconcile: 'happened' | 'not' | 'unknown' = 'unknown'
  readonly world: World
  readonly machine

  constructor() {
    const client = { provider: 'test', complete: () => this.model.ask() }
    const models = new Models({ asOf: '2026-01-01', models: { 'test/m': { input: 1, output: 2 } } })
    const model = modelOf(client, 'm')
    models.add(model)
    const agent = defineAgent({
      name: 'agent',
      input: z.object({ q: z.string() }),
      output: z.object({ what: z.string(), confidence: z.number(), actions: z.number(), ask: z.boolean() }),
      model,
      prompt: ({ input }) => ({ messages: [{ role: 'user', content: input.q }] }),
      completionTokensMax: 1_000,
      confidence: ({ output }): Confidence => ({ value: output.confidence, source: 'self' }),
      give: ({ output }) => {
        if (output.what === 'unfit') throw new Error('unfit')
        return output
      },
      accept: { confidence: 0.8 },
      verifyWith: repeatable<Verdict, { task: AgentTask; output: unknown; confidence: Confidence }>(() => this.verifier.ask()),
      act: ({ output }) => Array.from({ length: output.actions }, (_, i) => ({ name: 'mail', input: { to: `${output.what}-${i}` } })),
      externalActions: {
        mail: {
          input: z.object({ to: z.string() }),
          run: ({ idempotencyKey }) => {
            this.acts.push(idempotencyKey)
            return this.receiver.ask()
          },
          reconcile: (): Reconciled<unknown> => {
            if (this.reconcile === 'unknown') throw new Error('nobody knows')
            return this.reconcile === 'happened' ? { happened: true, output: 'had happened' } : { happened: false }
          },
        },
      },
      approval: ({ output }) => (output.ask ? { why: 'so' } : null),
      approvalDeadlineMs: hourMs,
    })
    this.machine = agent.machine({ models, clock: systemClock, desk: new Desk(systemClock, () => []), mayAct: () => Promise.resolve(), holding: () => Promise.resolve({ policy, refusal: null }), ready: () => Promise.resolve(true), material: () => Promise.resolve(null) })
    this.world = new World({ machines: [{ name: 'agent', version: '1', machine: this.machine }], shards: 1, suspectMax: Infinity })
  }

  get actor() {
    return this.world.system.actorAt('agent/a')
  }
  async context(): Promise<AgentContext> {
    return ((await this.actor.snapshot()) as unknown as { context: AgentContext }).context
  }
  async start(): Promise<this> {
    await this.world.start()
    const task: AgentTask = { id: 'a', origin: 'a', input: { q: 'why?' }, goal: canonicalGoal('why'), grant, run: 'r' }
    await this.actor.start({ input: { task } satisfies AgentInput as never, run: 'r' })
    await this.world.settled()
    return this
  }
  async crash(): Promise<void> {
    this.world.crash()
    for (const pending of [this.model, this.verifier, this.receiver]) pending.forget()
    await this.world.start()
    await this.world.settled()
  }
}

type Phase = 'attempting' | 'backingOff' | 'verifying' | 'approval' | 'acting' | 'unsure' | 'done' | 'failed'

class Model {
  phase: Phase = 'attempting'
  now = 0
  dueAt = 0
  known = 0
  cutOff = 0
  answer: Answer | undefined
  acted = 0
  failure: string | undefined
  acts: string[] = []
  decision: boolean | undefined

  fail(reason: string): void {
    this.phase = 'failed'
    this.failure = reason
  }
  conclude(): void {
    if (this.answer!.ask) {
      this.phase = 'approval'
      this.dueAt = this.now + hourMs
    } else this.act()
  }
  /** The next action is asked for, or it is done. */
  act(): void {
    if (this.acted === this.answer!.actions) {
      this.phase = 'done'
      return
    }
    this.phase = 'acting'
    this.acts.push(`default/r/-/mail${this.acted === 0 ? '' : `/${this.acted + 1}`}`)
  }
  attemptFailed(isKnown: boolean): void {
    if (isKnown) this.known++
    else this.cutOff++
    if (this.known >= attemptsMax || this.cutOff > 100) this.fail('model')
    else {
      this.phase = 'backingOff'
      this.dueAt = this.now + 1_000
    }
  }
}

async function agree(model: Model, real: Real): Promise<void> {
  const { ledger } = await real.context()
  expect(isBalanced(ledger)).toBe(true)
  expect(ledger.received).toEqual(grant)
  expect(ledger.overrun).toEqual({ tokens: 0, calls: 0, nanoDollars: 0 })
  expect(Object.keys(ledger.reserved)).toHaveLength(model.phase === 'attempting' ? 1 : 0)
  expect(real.acts).toEqual(model.acts)
  const snapshot = (await real.actor.snapshot()) as unknown as { value: unknown; status: string; output?: AgentOutput }
  const names: Record<Phase, unknown> = {
    attempting: { working: 'calling' },
    backingOff: { working: 'calling' },
    verifying: 'awaitingVerification',
    approval: 'approvalPending',
    acting: { acting: 'running' },
    unsure: { acting: 'unsure' },
    done: 'done',
    failed: 'failed',
  }
  expect(snapshot.value, model.failure).toEqual(names[model.phase])
  if (snapshot.output) {
    expect(snapshot.output.outcome).toBe(model.phase)
    expect(snapshot.output.failure?.reason).toBe(model.failure)
    expect(snapshot.output.acted).toHaveLength(model.acted)
    expect(snapshot.output.unspent).toEqual(ledger.free)
  }
}

function command(name: string, check: (model: Model) => boolean, run: (model: Model, real: Real) => Promise<void>): fc.AsyncCommand<Model, Real> {
  return {
    check,
    run: async (model, real) => {
      await run(model, real)
      await real.world.settled()
      await agree(model, real)
    },
    toString: () => name,
  }
}

const answers: fc.Arbitrary<Answer> = fc.record({ what: fc.constantFrom('mail', 'post', 'unfit'), confidence: fc.constantFrom(0.1, 0.5, 0.8, 1), actions: fc.nat(2), ask: fc.boolean() })
const response = (text: string, stopReason: ModelResponse['stopReason'] = 'end'): ModelResponse => ({ text, stopReason, usage: { inputTokens: 10, outputTokens: 5, cacheReadTokens: 0, cacheWriteTokens: 0 }, model: 'm', requestId: 'q' })

const says = answers.map((answer) =>
  command(
    `the model says ${JSON.stringify(answer)}`,
    (model) => model.phase === 'attempting',
    async (model, real) => {
      real.model.answer(response(JSON.stringify(answer)))
      model.answer = answer
      if (answer.what === 'unfit') model.fail('unfit')
      else if (answer.confidence >= 0.8) model.conclude()
      else model.phase = 'verifying'
    },
  ),
)

const misbehaves = fc.constantFrom('truncated', 'declined', 'malformed', 'no JSON', 'retryable', 'fatal', 'a bug').map((how) =>
  command(
    `the model: ${how}`,
    (model) => model.phase === 'attempting',
    async (model, real) => {
      switch (how) {
        case 'retryable':
          real.model.answer(new ModelError('overloaded', 'busy', { retryable: true }))
          return model.attemptFailed(true)
        case 'fatal':
          real.model.answer(new ModelError('authentication', 'who?', { retryable: false }))
          return model.fail('model')
        case 'a bug':
          real.model.answer(new TypeError('x is not a function'))
          return model.fail('model')
        case 'truncated':
          real.model.answer(response('{"wh', 'length'))
          return model.fail('truncated')
        case 'declined':
          real.model.answer(response('', 'refusal'))
          return model.fail('declined')
        default:
          real.model.answer(response(how === 'malformed' ? '{"what":1}' : 'Certainly! Here'))
          return model.fail('malformed')
      }
    },
  ),
)

const confidence: Confidence = { value: 0.9, source: 'judge' }
const judges = fc.constantFrom('yes', 'no', 'in part', 'nonsense', 'throws').map((how) =>
  command(
    `the verifier: ${how}`,
    (model) => model.phase === 'verifying',
    async (model, real) => {
      const verdict: Verdict = { accepted: how !== 'no', reasons: [], explanation: how, confidence, by: 'judge' }
      if (how === 'throws') {
        real.verifier.answer(new Error('no'))
        return model.fail('verification')
      }
      real.verifier.answer(how === 'nonsense' ? ({ accepted: 'true' } as never) : how === 'in part' ? { ...verdict, output: { ...model.answer!, actions: 1, what: 'part' } } : verdict)
      if (how === 'no' || how === 'nonsense') return model.fail('refused')
      if (how === 'in part') model.answer = { ...model.answer!, actions: 1, what: 'part' }
      return model.conclude()
    },
  ),
)

const decides = fc.record({ approved: fc.boolean(), right: fc.constantFrom(true, true, false) }).map(({ approved, right }) =>
  command(
    `a person ${approved ? 'approves' : 'rejects'}${right ? '' : ' something else'}`,
    () => true,
    async (model, real) => {
      const digest = right ? ((await real.context()).approval?.digest ?? 'none') : 'another'
      await real.actor.send({ type: 'approval.decide', digest, approved, by: 'ann' } as never).catch(() => {})
      if (model.phase !== 'approval' || !right) return
      model.decision = approved
      if (approved) model.act()
      else model.fail('rejected')
    },
  ),
)

const acts = fc.constantFrom('done', 'done', 'failed', 'unknown').map((how) =>
  command(
    `the action: ${how}`,
    (model) => model.phase === 'acting',
    async (model, real) => {
      real.receiver.answer(how === 'done' ? 'ok' : how === 'failed' ? new Error('refused') : Object.assign(new Error('who knows'), { code: 'OUTCOME_UNKNOWN' }))
      if (how === 'failed') return model.fail('action')
      if (how === 'unknown') {
        model.phase = 'unsure'
        return
      }
      model.acted++
      model.act()
    },
  ),
)

const resolves = fc.boolean().map((happened) =>
  command(
    `a person finds out that it had${happened ? '' : ' not'} happened`,
    () => true,
    async (model, real) => {
      await real.actor.send({ type: 'action.resolve', happened, by: 'ann' } as never).catch(() => {})
      if (model.phase !== 'unsure') return
      if (happened) model.acted++
      model.act()
    },
  ),
)

const waits = fc.constantFrom(500, 1_000, hourMs).map((ms) =>
  command(
    `${ms} ms pass`,
    () => true,
    async (model, real) => {
      await real.world.advance(ms)
      model.now += ms
      if (model.dueAt > model.now) return
      if (model.phase === 'backingOff') model.phase = 'attempting'
      else if (model.phase === 'approval') model.fail('expired')
    },
  ),
)

const crashes = fc.constantFrom<Real['reconcile']>('happened', 'not', 'unknown').map((reconcile) =>
  command(
    `kill -9; the receiver, asked by key: ${reconcile}`,
    () => true,
    async (model, real) => {
      real.reconcile = reconcile
      await real.crash()
      if (model.phase === 'attempting') model.attemptFailed(false)
      else if (model.phase === 'acting') {
        if (reconcile === 'unknown') model.phase = 'unsure'
        else if (reconcile === 'not') model.acts.push(model.acts.at(-1)!)
        else {
          model.acted++
          model.act()
        }
      }
    },
  ),
)

test(`an agent goes where its model goes, whatever happens around it (seed ${firstSeed})`, async () => {
  const ends = new Map<string, number>()
  await fc.assert(
    fc.asyncProperty(fc.commands([says, says, misbehaves, judges, judges, decides, decides, acts, acts, resolves, waits, crashes], { maxCommands: 40, size: 'max' }), async (commands) => {
      const model = new Model()
      await fc.asyncModelRun(async () => ({ model, real: await new Real().start() }), commands)
      const end = model.failure ?? model.phase
      ends.set(end, (ends.get(end) ?? 0) + 1)
    }),
    { seed: firstSeed, numRuns: runs },
  )
  console.log(`agent: ${[...ends].toSorted(([a], [b]) => a.localeCompare(b)).map(([end, n]) => `${end} ${n}`).join(', ')}`)
})


/**
 * The whole system in one thread, under virtual time, from a seed: nodes come, leave, die, freeze beyond their lease and are
 * cut off; the store fails in every way that it can, is slow, loses replies, is asked twice, hears a write only after its
 * sender has given it up, and goes back in time, wholly or one shard of it; its clock jumps. Meanwhile clients send, ask, pay,
 * decide and harm. What happened is written down (history.ts), and judged by checkers.ts, which know nothing of this.
 */
import { createHash } from 'node:crypto'
import { assign, enqueueActions, sendTo, setup, type AnyStateMachine } from 'xstate'
import { MemoryStore } from '../../src/adapters/memory/index.js'
import { external, fromAsk, isHoldfastError, refTo, repeatable, reply, StoreError, supervisorMachine, type EffectArgs, type Logger, type ReplyToken } from '../../src/index.js'
import { decisionOn, type ApprovalRequest, type Decision, type PlannedAction } from '../../src/machines/approval.js'
import { closeGrant, grant, nothing, openLedger, plus, reserve, settle, minus, type Amounts, type Ledger } from '../../src/machines/ledger.js'
import { deadOverflowMax, lostCommitsMax, type Claim, type Commit, type CommitResult, type Lease, type NewEntry } from '../../src/runtime/ports/store.js'
import { shardOf, type Address } from '../../src/runtime/identity.js'
import { readStatus } from '../../src/runtime/stored-record.js'
import type { Fault, Write } from '../../src/testing/index.js'
import { leftovers } from '../support/commit-watch.js'
import { Fleet, unreachableMs, type FleetNode } from '../support/fleet.js'
import { Recorder, traceHash, type History, type HistoryBounds, type Left, type PartSeen } from '../support/history.js'
import { imageOf, restore, type Image } from '../support/image.js'
import { Random } from '../support/random.js'

const cells = 8
const purses = 3
const gates = 2
const victims = 2
const shards = 5
const leaseMs = 1_000
const restartsMax = 3
const periodMs = 4_000
const addresses = [
  ...Array.from({ length: cells }, (_, i) => `cell/c${i}`),
  ...Array.from({ length: purses }, (_, i) => `purse/p${i}`),
  ...Array.from({ length: gates }, (_, i) => `gate/g${i}`),
  ...Array.from({ length: victims }, (_, i) => `victim/v${i}`),
  'supervisor/s0',
  'worker/s0~a',
  'worker/s0~b',
]
const dollars = (nanoDollars: number): Amounts => ({ tokens: 2 * nanoDollars, calls: 1, nanoDollars })
/** Of those who are made to fail messages stay parked, and what is left of them has its end of life before it. */
const isOfTheHarmed = (text: string): boolean => /(victim|worker)\/|\|!"/.test(text)

export function digestOf(actions: readonly PlannedAction[]): string {
  return createHash('sha256').update(JSON.stringify(actions)).digest('hex').slice(0, 16)
}

// ── The world outside ──

/** One run at a time: what the runtime makes of a machine once is made once. */
let world: World

/** Honours keys: what it was told once it does not do again. */
class Receiver {
  private readonly known = new Map<string, string>()

  /** Takes time to get there, and to come back; whoever asked may be dead by then. */
  async tell(node: string, shard: number, token: string, { idempotencyKey: key, signal }: Pick<EffectArgs<unknown>, 'idempotencyKey' | 'signal'>, args: string): Promise<string> {
    world.recorder.add({ kind: 'acted', node, shard, what: 'external', token, key, args })
    await world.after(30)
    const before = this.known.get(key)
    if (before === undefined) {
      this.known.set(key, args)
      world.recorder.add({ kind: 'executed', key, args })
    } else if (before !== args) {
      world.recorder.add({ kind: 'conflict', key, args })
      await world.heard(node, 20, signal)
      throw new Error('another one was done under this key')
    }
    await world.heard(node, 20, signal)
    return token
  }

  async ask(node: string, key: string, signal: AbortSignal): Promise<boolean> {
    await world.after(15)
    const happened = this.known.has(key)
    await world.heard(node, 15, signal)
    world.recorder.add({ kind: 'reconciled', node, key, happened })
    return happened
  }
}

interface World {
  readonly fleet: Fleet
  readonly recorder: Recorder
  readonly receiver: Receiver
  after(ms: number): Promise<void>
  /** What comes back to a node, unless it is stopped; never if it is dead. */
  heard(node: string, ms: number, signal: AbortSignal): Promise<void>
}

function newWorld(fleet: Fleet, recorder: Recorder): World {
  return {
    fleet,
    recorder,
    receiver: new Receiver(),
    after: (ms) => new Promise((resolve) => void fleet.time.after(ms, resolve)),
    heard: (node, ms, signal) =>
      new Promise((resolve, reject) => {
        const to = fleet.nodes.find(({ id }) => id === node)!
        const cancel = fleet.time.after(ms, () => to.whenAwake(resolve))
        signal.addEventListener('abort', () => {
          cancel()
          reject(new Error('aborted'))
        })
      }),
  }
}

// ── What the nodes run ──

type CellEvent = { type: 'add' | 'hear' | 'work' | 'post' | 'inquire'; n: number } | { type: 'question'; n: number; replyToken?: ReplyToken }
interface Told {
  readonly k: string
  readonly args: string
}

const machinesByNode = new Map<string, readonly AnyStateMachine[]>()

/** Of each node its own, so that what they run says where. */
function machinesOf(node: string): readonly AnyStateMachine[] {
  let machines = machinesByNode.get(node)
  if (!machines) machinesByNode.set(node, (machines = makeMachines(node)))
  return machines
}

function makeMachines(node: string): readonly AnyStateMachine[] {
  const shardIn = (address: string): number => shardOf(address as Address, shards)
  const act = external({
    run: (args: EffectArgs<Told & { readonly me: string }>) => world.receiver.tell(node, shardIn(args.input.me), args.input.k, args, args.input.args),
    reconcile: async (args) => ((await world.receiver.ask(node, args.idempotencyKey, args.signal)) ? { happened: true, output: args.input.k } : { happened: false }),
  })

  const cell = setup({
    types: {
      context: {} as { me: string; partner: string; oracle: string; seen: number[]; heard: number[]; asked: number[]; worked: string[]; posted: string[]; answers: number[]; lapses: number; refused: number; rang: number; last: number },
      input: {} as { me: number },
      events: {} as CellEvent | { type: 'message.refused' },
    },
    actors: {
      act,
      work: repeatable(async ({ input, signal, idempotencyKey }: EffectArgs<Told & { readonly me: string }>) => {
        world.recorder.add({ kind: 'acted', node, shard: shardIn(input.me), what: 'effect', token: input.k, key: idempotencyKey, args: input.args })
        await world.heard(node, 120, signal)
        return input.k
      }),
      inquire: fromAsk<number, { oracle: string; n: number }>(({ input }) => ({ to: input.oracle, event: { type: 'question', n: input.n }, deadlineMs: 5_000 })),
    },
    actions: {
      take: assign({ seen: ({ context, event }) => [...context.seen, (event as { n: number }).n] }),
      hear: assign({ heard: ({ context, event }) => [...context.heard, (event as { n: number }).n] }),
      wonder: assign({ asked: ({ context, event }) => [...context.asked, (event as { n: number }).n] }),
      remember: assign({ last: ({ event }) => (event as { n: number }).n }),
      ring: assign({ rang: ({ context }) => context.rang + 1 }),
      note: ({ context }: { context: { me: string } }, params: { k: string }) => world.recorder.add({ kind: 'acted', node, shard: shardIn(context.me), what: 'action', token: params.k }),
      tell: sendTo(({ context }) => refTo(context.partner), ({ event }) => ({ type: 'hear', n: (event as { n: number }).n })),
      answer: reply(({ event }) => 2 * (event as { n: number }).n),
    },
  }).createMachine({
    id: 'cell',
    context: ({ input: { me } }) => ({ me: `cell/c${me}`, partner: `cell/c${(me + 5) % cells}`, oracle: `cell/c${(me + 3) % cells}`, seen: [], heard: [], asked: [], worked: [], posted: [], answers: [], lapses: 0, refused: 0, rang: 0, last: 0 }),
    type: 'parallel',
    on: { 'message.refused': { actions: assign({ refused: ({ context }) => context.refused + 1 }) } },
    states: {
      book: {
        on: {
          add: { actions: ['take', { type: 'note', params: ({ event, context }) => ({ k: `add:${context.me}:${event.n}` }) }, 'tell'] },
          hear: { actions: 'hear' },
          question: { actions: ['wonder', 'answer'] },
        },
      },
      bell: { initial: 'still', states: { still: { on: { add: 'set' } }, set: { after: { 400: { target: 'still', actions: 'ring' } } } } },
      job: {
        initial: 'idle',
        states: {
          idle: { on: { work: { target: 'working', actions: 'remember' } } },
          working: { invoke: { src: 'work', input: ({ context }) => ({ me: context.me, k: `work:${context.last}`, args: `${context.last}` }), onDone: { target: 'idle', actions: assign({ worked: ({ context, event }) => [...context.worked, event.output] }) } } },
        },
      },
      post: {
        initial: 'idle',
        states: {
          idle: { on: { post: { target: 'posting', actions: 'remember' } } },
          posting: {
            invoke: {
              src: 'act',
              input: ({ context }) => ({ me: context.me, k: `post:${context.last}`, args: `${context.last}` }),
              onDone: { target: 'idle', actions: assign({ posted: ({ context, event }) => [...context.posted, event.output] }) },
              onError: { target: 'idle', actions: assign({ lapses: ({ context }) => context.lapses + 1 }) },
            },
          },
        },
      },
      inquiry: {
        initial: 'idle',
        states: {
          idle: { on: { inquire: { target: 'inquiring', actions: 'remember' } } },
          inquiring: {
            invoke: {
              src: 'inquire',
              input: ({ context }) => ({ oracle: context.oracle, n: context.last }),
              onDone: { target: 'idle', actions: assign({ answers: ({ context, event }) => [...context.answers, event.output] }) },
              onError: { target: 'idle', actions: assign({ lapses: ({ context }) => context.lapses + 1 }) },
            },
          },
        },
      },
    },
  })

  type PurseEvent = { type: 'fund'; id: string; to: string; amount: Amounts } | { type: 'receive'; id: string; from: string; amount: Amounts } | { type: 'spend'; k: string; amount: Amounts } | { type: 'giveBack'; id: string } | { type: 'returned'; id: string; unspent: Amounts }
  const purse = setup({
    types: { context: {} as { ledger: Ledger; minted: Amounts; held: Record<string, Amounts>; from: Record<string, string> }, input: {} as { minted: Amounts }, events: {} as PurseEvent },
    actions: {
      fund: enqueueActions(({ context, event, enqueue, self }) => {
        if (event.type !== 'fund' || context.ledger.granted[event.id]) return
        const ledger = grant(context.ledger, event.id, event.amount)
        if (!ledger) return
        enqueue.assign({ ledger })
        enqueue.sendTo(refTo(event.to), { type: 'receive', id: event.id, from: self.id, amount: event.amount })
      }),
      giveBack: enqueueActions(({ context, event, enqueue }) => {
        if (event.type !== 'giveBack') return
        const { [event.id]: held, ...rest } = context.held
        if (!held) return
        const { ledger } = context
        const unspent: Amounts = { tokens: Math.min(held.tokens, ledger.free.tokens), calls: Math.min(held.calls, ledger.free.calls), nanoDollars: Math.min(held.nanoDollars, ledger.free.nanoDollars) }
        // What was spent of it is accounted for by whoever gave it from now on.
        const spent = minus(held, unspent)
        if (spent.tokens > ledger.spent.tokens || spent.calls > ledger.spent.calls || spent.nanoDollars > ledger.spent.nanoDollars) return
        enqueue.assign({ held: rest, ledger: { ...ledger, received: minus(ledger.received, held), free: minus(ledger.free, unspent), spent: minus(ledger.spent, spent) } })
        enqueue.sendTo(refTo(context.from[event.id]!), { type: 'returned', id: event.id, unspent })
      }),
    },
  }).createMachine({
    id: 'purse',
    context: ({ input: { minted } }) => ({ ledger: openLedger(minted), minted, held: {}, from: {} }),
    on: {
      fund: { actions: 'fund' },
      receive: {
        actions: assign(({ context: { ledger, held, from }, event }) => ({
          ledger: { ...ledger, received: plus(ledger.received, event.amount), free: plus(ledger.free, event.amount) },
          held: { ...held, [event.id]: event.amount },
          from: { ...from, [event.id]: event.from.startsWith('purse/') ? event.from : `purse/${event.from}` },
        })),
      },
      spend: { actions: assign({ ledger: ({ context: { ledger }, event }) => settle(reserve(ledger, event.k, event.amount) ?? ledger, event.k, dollars(Math.floor(event.amount.nanoDollars / 2))) }) },
      giveBack: { actions: 'giveBack' },
      returned: { actions: assign({ ledger: ({ context: { ledger }, event }) => closeGrant(ledger, event.id, event.unspent) }) },
    },
  })

  const gate = setup({
    types: { context: {} as { me: string; approval: ApprovalRequest | null; decision: Decision | null; acts: string[]; last: number }, input: {} as { me: string }, events: {} as { type: 'propose'; n: number } | { type: 'approval.decide'; digest: string; approved: boolean; by: string } },
    actors: { act },
    guards: { isDecision: ({ context, event }) => decisionOn(context.approval, event) !== null, isApproved: ({ context }) => context.decision?.approved === true },
    actions: { decide: assign({ decision: ({ context, event }) => decisionOn(context.approval, event) }) },
  }).createMachine({
    id: 'gate',
    context: ({ input }) => ({ me: input.me, approval: null, decision: null, acts: [], last: 0 }),
    initial: 'open',
    states: {
      open: {
        on: {
          propose: {
            target: 'waiting',
            actions: assign(({ event }) => {
              const actions = [{ name: 'act', input: { n: event.n } }]
              return { approval: { why: 'it leaves the company', actions, digest: digestOf(actions) }, decision: null }
            }),
          },
        },
      },
      waiting: { on: { 'approval.decide': { guard: 'isDecision', target: 'decided', actions: 'decide' } } },
      decided: { always: [{ guard: 'isApproved', target: 'acting' }, { target: 'open' }] },
      acting: {
        invoke: {
          src: 'act',
          input: ({ context: { me, approval } }) => ({ me, k: `gate:${approval!.digest}`, args: JSON.stringify(approval!.actions[0]!.input) }),
          onDone: { target: 'open', actions: assign({ acts: ({ context, event }) => [...context.acts, event.output] }) },
          onError: 'open',
        },
      },
    },
  })

  const victim = setup({ types: { context: {} as { seen: number[] }, events: {} as { type: 'add'; n: number } | { type: 'throw' } }, actions: { fail: assign(() => { throw new Error('as asked') }) } }).createMachine({
    id: 'victim',
    context: { seen: [] },
    on: { add: { actions: assign({ seen: ({ context, event }) => [...context.seen, event.n] }) }, throw: { actions: 'fail' } },
  })
  const worker = setup({ types: { context: {} as { seen: number[] }, events: {} as { type: 'add'; n: number } | { type: 'fail' } }, actions: { fail: assign(() => { throw new Error('as asked') }) } }).createMachine({
    id: 'worker',
    context: { seen: [] },
    on: { add: { actions: assign({ seen: ({ context, event }) => [...context.seen, event.n] }) }, fail: { actions: 'fail' } },
  })
  return [cell, purse, gate, victim, worker, supervisorMachine]
}

// ── One run ──

export interface Simulated {
  readonly history: History
  readonly hash: string
}

export interface SimulateOptions {
  /** Told with the node, for who looks into one seed. */
  readonly onLog?: (time: number, node: string, level: string, message: string, fields: object) => void
}

export async function simulate(seed: number, { onLog }: SimulateOptions = {}): Promise<Simulated> {
  const random = new Random(seed)
  const faultiness = random.pick([0, 0.02, 0.1])
  const mayGoBack = random.chance(0.5)
  const isTight = random.chance(0.25)
  const bounds: HistoryBounds = { leaseMs, backlogMax: isTight ? 6 : 1_000, logMax: isTight ? 40 : 100_000, parkedMax: 50, deadMax: deadOverflowMax, restartsMax, periodMs }
  let calm = true
  let isTrusted = true
  const late = { all: 0, byShard: new Map<number, number>() }
  const generation = (shard: number | undefined): string => `${late.all}.${shard === undefined ? 0 : (late.byShard.get(shard) ?? 0)}`

  const onWritten = (node: () => FleetNode, { kind, commit }: Pick<Write, 'kind' | 'commit'>, result: unknown): void => {
    if (kind === 'claim' && 'lease' in (result as Claim)) {
      const { lease, state } = result as Extract<Claim, { lease: Lease }>
      recorder.add({ kind: 'claimed', node: lease.node, shard: lease.shard, epoch: lease.epoch, number: state.number, stood: state.stood ?? state.number })
    }
    if (kind === 'commit' && (result as CommitResult).ok) sawCommit(node().id, commit!, result as CommitResult & { ok: true })
    watchHalt()
  }
  const sawCommit = (node: string, { lease, number, position, at, parts }: Commit, { at: clock }: CommitResult & { ok: true }): void => {
    const { shard, epoch } = lease
    recorder.add({ kind: 'committed', node, shard, epoch, number, position, at, clock, ...seenIn(parts) })
    const held = fleet.database.namespaces.get('default')!.shards[shard]!
    const counts = new Map<string, number>()
    for (const { to, text } of held.log) if (/"kind":"event"/.test(text)) counts.set(to, (counts.get(to) ?? 0) + 1)
    recorder.add({ kind: 'held', shard, backlog: Math.max(0, ...counts.values()), log: [...counts.values()].reduce((a, b) => a + b, 0), parked: Math.max(0, ...[...held.parked.values()].map(({ length }) => length)), dead: held.streams.get('dead')?.entries.length ?? 0 })
  }
  let wasHalted: string | undefined
  const watchHalt = (): void => {
    const halted = fleet.database.namespaces.get('default')?.halted
    if (halted !== undefined && wasHalted === undefined) recorder.add({ kind: 'halted', why: halted })
    wasHalted = halted
  }

  const onWrite = (write: Write): Fault | undefined => {
    if (calm || !random.chance(faultiness)) return undefined
    const fault = random.below(10)
    if (fault < 3) return 'fail'
    if (fault < 6) return 'lose-reply'
    if (fault < 9) return { delayMs: 1 + random.below(300) }
    return write.kind === 'claim' ? 'fail' : random.pick(['kill-before', 'kill-after'] as const)
  }
  /** What is no failure of a call, but an answer that only a store in trouble gives; and what comes too late, or twice. */
  const meddle = (node: FleetNode, method: string, args: readonly unknown[]): Promise<unknown> | undefined => {
    if (calm || !random.chance(faultiness)) return undefined
    const commit = method === 'commit' ? (args[0] as Commit) : undefined
    const what = random.below(6)
    const shard = commit?.lease.shard ?? (typeof args[0] === 'number' ? args[0] : (args[0] as Partial<Lease> | undefined)?.shard)
    const later = (delayMs: number): void => {
      const mark = generation(shard)
      fleet.time.after(delayMs, () => {
        // Where it went has gone back, and heard nothing of it.
        if (mark !== generation(shard)) return
        const run = Reflect.get(node.behind, method) as (...args: readonly unknown[]) => Promise<unknown>
        run.call(node.behind, ...args).then(
          (answer) => (method === 'commit' || method === 'claim') && onWritten(() => node, { kind: method, ...(commit ? { commit } : {}) }, answer),
          () => {},
        )
      })
    }
    const isWrite = ['commit', 'append', 'deliver', 'renew', 'release', 'trim', 'claim', 'beat', 'halt'].includes(method)
    if (isWrite && what === 0) {
      recorder.add({ kind: 'fault', what: `${method} of ${node.id} is late` })
      later(unreachableMs + random.below(2_500))
      return new Promise((_, reject) => fleet.time.after(unreachableMs, () => reject(new StoreError('no reply in time', 'unknown'))))
    }
    if (isWrite && method !== 'beat' && what === 1) {
      recorder.add({ kind: 'fault', what: `${method} of ${node.id} comes twice` })
      later(1 + random.below(1_500))
      return undefined
    }
    if (commit && what === 2) return Promise.resolve({ ok: false, why: 'gap', detail: 'as the fault has it' } satisfies CommitResult)
    const victim = commit?.parts.find(({ address }) => address.startsWith('victim/'))
    if (commit && victim && what === 3) {
      recorder.add({ kind: 'damaged', address: victim.address })
      return Promise.resolve({ ok: false, why: 'refused', address: victim.address, detail: 'as the fault has it' } satisfies CommitResult)
    }
    if (method === 'append' && what === 3 && (args[1] as readonly NewEntry[]).every(({ always }) => !always)) return Promise.resolve((args[1] as readonly NewEntry[]).map(() => 'full'))
    if (['recover', 'timers', 'parked', 'now', 'beat', 'commit'].includes(method) && what === 4) return Promise.reject(new TypeError(`${method} stumbled`))
    return undefined
  }

  const fleet: Fleet = new Fleet({
    machines: [],
    shards,
    leaseMs,
    suspectMax: Infinity,
    residentMax: 4,
    checkMs: 500,
    backlogMax: bounds.backlogMax,
    logMax: bounds.logMax,
    parkedMax: bounds.parkedMax,
    onWrite,
    callFails: () => !calm && random.chance(faultiness / 2),
    repeats: () => !calm && random.chance(faultiness),
    standing: () => ({ durability: 'D0', warnings: [], refusals: isTrusted ? [] : ['it loses what it acknowledges'] }),
    meddle,
    onHeard: ({ id }, method, args, answer) => {
      const commit = method === 'commit' ? (args[0] as Commit) : undefined
      if (commit && (answer as CommitResult).ok) recorder.add({ kind: 'heard', node: id, shard: commit.lease.shard, number: commit.number })
      watchHalt()
    },
    onKilled: ({ id }) => recorder.add({ kind: 'node', node: id, is: 'killed' }),
  })
  const recorder = new Recorder(() => fleet.time.now())
  world = newWorld(fleet, recorder)
  const join = (): FleetNode => {
    const id = `n${fleet.nodes.length}`
    recorder.add({ kind: 'node', node: id, is: 'joined' })
    const logger = onLog && (Object.fromEntries(['error', 'warn', 'info', 'debug', 'trace'].map((level) => [level, (fields: object, message: string) => onLog(fleet.time.now(), id, level, message, fields)])) as unknown as Logger)
    const node: FleetNode = fleet.join(id, { ...(logger ? { logger } : {}), machines: machinesOf(id), onWritten: (write, result) => onWritten(() => node, write, result) })
    const { behind } = node
    const release = behind.release.bind(behind)
    behind.release = (lease) => {
      recorder.add({ kind: 'released', node: lease.node, shard: lease.shard })
      return release(lease)
    }
    return node
  }

  // What clients do.
  let n = 0
  const answered = (message: number, told: Promise<unknown>): void => {
    told.then(
      (value) => recorder.add({ kind: 'answered', n: message, outcome: 'accepted', ...(value === undefined ? {} : { value }) }),
      (error: unknown) => recorder.add({ kind: 'answered', n: message, outcome: 'refused', code: isHoldfastError(error) ? error.code : String((error as Error).message) }),
    )
  }
  const send = (node: FleetNode, to: string, event: { type: string; [key: string]: unknown }, isQuestion = false): void => {
    const message = ++n
    recorder.add({ kind: 'sent', n: message, node: node.id, to, shard: shardOf(to as Address, shards), what: event.type, ...(isQuestion ? { isQuestion } : {}) })
    try {
      const actor = node.system.actorAt(to)
      const whole = { n: message, ...event } as never
      answered(message, isQuestion ? actor.ask(whole, { deadlineMs: 4_000 }) : actor.send(whole))
    } catch (error) {
      // It has not started yet, or stops already.
      answered(message, Promise.reject(error as Error))
    }
  }
  const proposals: string[] = []
  const grants: string[] = []
  const anything = (node: FleetNode): void => {
    const cell = `cell/c${random.below(cells)}`
    const what = random.below(20)
    if (what < 9) send(node, cell, { type: 'add' })
    else if (what === 9) send(node, cell, { type: 'work' })
    else if (what < 12) send(node, cell, { type: 'post' })
    else if (what === 12) send(node, cell, { type: 'inquire' })
    else if (what === 13) send(node, cell, { type: 'question' }, true)
    else if (what === 14) send(node, `worker/s0~${random.pick(['a', 'b'])}`, { type: random.chance(0.7) ? 'fail' : 'add' })
    else if (what === 15) send(node, `victim/v${random.below(victims)}`, { type: random.chance(0.2) ? 'throw' : 'add' })
    else if (what < 18) {
      const gate = `gate/g${random.below(gates)}`
      if (random.chance(0.4)) {
        proposals.push(digestOf([{ name: 'act', input: { n: n + 1 } }]))
        send(node, gate, { type: 'propose' })
      } else if (proposals.length > 0) send(node, random.chance(0.9) ? gate : 'gate/g0', { type: 'approval.decide', digest: random.pick(proposals.slice(-3)), approved: random.chance(0.7), by: random.pick(['ann', 'bob', '']) })
    } else if (!isTight) {
      // Money is never refused: where it could find no room nobody pays.
      const purse = random.below(purses)
      const amount = dollars(1 + random.below(20))
      const how = random.below(4)
      if (how === 0 || grants.length === 0) {
        grants.push(`g${n + 1}`)
        send(node, `purse/p${purse}`, { type: 'fund', id: `g${n + 1}`, to: `purse/p${(purse + 1 + random.below(purses - 1)) % purses}`, amount })
      } else if (how === 1) send(node, `purse/p${purse}`, { type: 'spend', k: `s${n + 1}`, amount })
      else send(node, `purse/p${purse}`, { type: 'giveBack', id: random.pick(grants) })
    }
  }

  const first = join()
  const admin = new MemoryStore({ database: fleet.database, now: () => fleet.now() })
  await fleet.advance(50)
  await admin.open({ namespace: 'default' })
  const namespace = fleet.database.namespaces.get('default')!
  const accept = async (): Promise<void> => {
    recorder.add({ kind: 'accepted' })
    await admin.accept()
    wasHalted = undefined
  }
  const inputOf = (address: string): { input?: unknown } => {
    if (address.startsWith('cell/')) return { input: { me: Number(address.slice('cell/c'.length)) } }
    if (address.startsWith('purse/')) return { input: { minted: address === 'purse/p0' ? { tokens: 2_000, calls: 100, nanoDollars: 1_000 } : nothing } }
    if (address.startsWith('gate/')) return { input: { me: address } }
    return address.startsWith('supervisor/') ? { input: { restartsMax, periodMs, treeRestartsMax: 100, backoff: { firstMs: 100, factor: 1, maxMs: 100, jitter: 0 }, children: ['a', 'b'].map((id) => ({ id, machine: 'worker', restart: 'permanent', from: random.pick(['snapshot', 'input']) })) } } : {}
  }
  const started = Promise.all(addresses.filter((address) => !address.startsWith('worker/')).map((address) => first.system.actorAt(address).start(inputOf(address) as never)))
  await fleet.advance(50)
  await started

  calm = false
  const images: { readonly id: number; readonly image: Image }[] = []
  let imaged = 0
  const takeImage = (): void => {
    images.push({ id: ++imaged, image: imageOf(namespace) })
    recorder.add({ kind: 'imaged', image: imaged })
    if (images.length > 4) images.shift()
  }
  const goBack = (): void => {
    const { id, image } = random.pick(images)
    const alone = random.below(shards)
    // Bounds of what is promised (docs/reliability.md): it does not go back behind a takeover or an acceptance, and a shard alone not to where nobody had it.
    const isNear = (shard: number): boolean => namespace.shards[shard]!.number - image.numbers[shard]! < lostCommitsMax
    const only = random.chance(0.5) && (image.shards[alone] as { owner?: unknown }).owner !== undefined ? alone : undefined
    if (only === undefined ? !image.numbers.every((_, shard) => isNear(shard)) : !isNear(only)) return
    if (only === undefined) late.all++
    else late.byShard.set(only, (late.byShard.get(only) ?? 0) + 1)
    recorder.add({ kind: 'rolledBack', image: id, isWhole: only === undefined, shards: restore(namespace, image, only) })
    // What came after it is of a time that was lost.
    while (images.at(-1)!.id > id) images.pop()
    // What was halted by then, and is not known to be any more.
    wasHalted = namespace.halted
  }
  const frozen = new Map<FleetNode, number>()
  const cutOff = new Map<FleetNode, number>()
  let acceptAt = Infinity
  let trustAt = Infinity
  const wake = (node: FleetNode): void => {
    frozen.delete(node)
    if (node.state !== 'frozen') return
    recorder.add({ kind: 'node', node: node.id, is: 'thawed' })
    node.thaw()
  }
  const reach = (node: FleetNode): void => {
    cutOff.delete(node)
    node.isCutOff = false
    if (node.state === 'alive' && !node.isLeaving) recorder.add({ kind: 'node', node: node.id, is: 'reached' })
  }
  const isSmall = random.chance(0.6)
  const steps = isSmall ? 8 + random.below(14) : 15 + random.below(25)
  for (let step = 0; step < steps; step++) {
    const here = fleet.nodes.filter(({ state, isLeaving }) => state === 'alive' && !isLeaving)
    const what = random.below(18)
    if (mayGoBack && random.chance(0.5)) takeImage()
    if (here.length === 0 || (what === 0 && fleet.living.length < (isSmall ? 3 : 5))) join()
    else if (what === 1 && here.length > 1) {
      const node = random.pick(here)
      recorder.add({ kind: 'node', node: node.id, is: 'leaving' })
      fleet.leave(node).then(() => node.killed || recorder.add({ kind: 'node', node: node.id, is: 'left' }), () => {})
    } else if (what === 2) random.pick(here).kill()
    else if (what === 3 || what === 4) {
      const node = random.pick(here)
      if (random.chance(0.5)) anything(node)
      await fleet.ticks(random.below(4))
      if (node.state !== 'alive') continue
      recorder.add({ kind: 'node', node: node.id, is: 'frozen' })
      node.freeze()
      if (random.chance(0.5)) anything(node)
      frozen.set(node, step + 1 + random.below(6))
    } else if (what === 5) {
      const node = random.pick(here)
      recorder.add({ kind: 'node', node: node.id, is: 'cutOff' })
      node.isCutOff = true
      cutOff.set(node, step + 1 + random.below(6))
    } else if (what === 6) fleet.skewMs += random.pick([-20_000, -3_000, -100, 100, 3_000, 20_000])
    else if (what === 7 && images.length > 0) {
      goBack()
      acceptAt = step + 1 + random.below(5)
    } else if (what === 8 && random.chance(0.3)) {
      recorder.add({ kind: 'fault', what: 'the store cannot be trusted' })
      isTrusted = false
      trustAt = step + 1 + random.below(4)
    } else if (what === 9 && random.chance(0.3)) {
      const victim = `victim/v${random.below(victims)}`
      const fields = namespace.shards[shardOf(victim as Address, shards)]!.records.get(victim)
      const seen = fields?.get('c0:seen')
      if (seen !== undefined) {
        recorder.add({ kind: 'damaged', address: victim })
        fields!.set('c0:seen', `${seen} `)
      }
    } else for (let k = random.below(10); k >= 0; k--) anything(random.pick([...here, ...frozen.keys()].filter(({ state }) => state !== 'gone')))
    for (const [node, until] of frozen) if (step >= until) wake(node)
    for (const [node, until] of cutOff) if (step >= until) reach(node)
    if (step >= trustAt) {
      isTrusted = true
      trustAt = Infinity
    }
    if (step >= acceptAt && namespace.halted !== undefined) {
      await accept()
      acceptAt = Infinity
    }
    if (random.chance(0.4)) await fleet.ticks(random.below(8))
    else await fleet.advance(random.pick([0, 1, 10, 60, 300, 900]))
  }
  // Calm: all that can come to rest does.
  calm = true
  isTrusted = true
  for (const node of frozen.keys()) wake(node)
  for (const node of cutOff.keys()) reach(node)
  const last = join()
  const isTold = (): boolean => {
    const told = new Set(recorder.entries.flatMap((entry) => (entry.kind === 'answered' ? [entry.n] : [])))
    return recorder.entries.every((entry) => entry.kind !== 'sent' || told.has(entry.n) || fleet.nodes.find(({ id }) => id === entry.node)!.killed)
  }
  const remains = (): string[] => leftovers(fleet.database, 'default', isOfTheHarmed)
  for (let leases = 0; leases < 40; leases += 2) {
    await fleet.advance(2 * leaseMs)
    if (namespace.halted !== undefined) await accept()
    else if (remains().length === 0 && isTold() && ownersOf(fleet).every((owner) => owner !== null && !owner.includes('+'))) break
  }

  const actors: Record<string, Left> = {}
  for (const address of addresses) actors[address] = await leftOf(last, address)
  const dead = namespace.shards.flatMap(({ streams }) => (streams.get('dead')?.entries ?? []).map(({ text }) => letterOf(text)))
  recorder.add({ kind: 'rest', actors, dead, leftovers: remains(), owners: ownersOf(fleet), loads: Object.values(fleet.loads()) })
  await Promise.all(fleet.living.map((node) => node.system.stop()).concat(fleet.advance(2 * leaseMs)))
  const history = { bounds, entries: recorder.entries }
  return { history, hash: traceHash(history) }
}

function ownersOf(fleet: Fleet): (string | null)[] {
  const owners = fleet.owners()
  return Array.from({ length: shards }, (_, shard) => owners[shard] ?? null)
}

async function leftOf(node: FleetNode, address: string): Promise<Left> {
  const actor = node.system.actorAt(address)
  try {
    const status = await actor.status()
    const snapshot = (await actor.snapshot()) as { context?: Record<string, unknown>; value?: unknown } | undefined
    return { status: status ?? 'none', ...(snapshot?.context ? { context: snapshot.context } : {}), ...(snapshot?.value === undefined ? {} : { value: snapshot.value }) }
  } catch (error) {
    return { status: 'unreadable', value: (error as Error).message }
  }
}

/** To whom, and what: `cell/c1 add 7`. */
function letterOf(text: string): string {
  const letter = JSON.parse(text) as { to?: string; text?: string; message?: { to?: string; body?: unknown } }
  const whole = JSON.parse(letter.text ?? '{}') as { to?: string; body?: { type?: string; n?: number; body?: { type?: string; n?: number } } }
  const body = whole.body?.body ?? whole.body
  return `${letter.to ?? whole.to} ${body?.type} ${body?.n}`
}

function seenIn(parts: Commit['parts']): { parts: PartSeen[]; tokens: string[] } {
  const tokens = new Set<string>()
  const seen = parts.map(({ address, fields, timers, actions, effects, entries, outbox }): PartSeen => {
    for (const text of [...fields.values(), ...actions.values(), ...effects.values(), ...entries.map((entry) => entry.text), ...outbox.map(({ entry }) => entry.text)]) for (const [, k] of text?.matchAll(/"k":"([^"]+)"/g) ?? []) tokens.add(k!)
    const context: Record<string, unknown> = {}
    for (const [name, value] of fields) if (name.startsWith('c0:') && value !== undefined) context[name.slice(3)] = JSON.parse(value.slice(value.indexOf(' ') + 1))
    return { address, begins: fields.get('m') !== undefined, fails: fields.get('f') !== undefined && fields.has('z') && readStatus(address as Address, fields as ReadonlyMap<string, string>).status === 'failed', context, timers: [...timers].map(([member, due]) => [member, due ?? null] as const) }
  })
  return { parts: seen, tokens: [...tokens] }
}

/**
 * Crash equivalence as a property: what the machines, events and kills are drawn from, and how runs are counted. The
 * tests beside this file run it on each kind of store.
 *
 * The cast: two generated machines on different shards, each with children inside its record, effects of every kind,
 * external actions, questions and timers; carriers that take messages from one to the other across the shards; an actor
 * that answers questions after a while; durable children that fail and are restarted; streams, of which a shared one is
 * drained. Between the events time passes, leases are renewed, and the process is stopped cleanly and started again.
 *
 * What comes out must not depend on races that nothing decides, so each thing that crosses shards or ends an effect does
 * so at an instant of its own: delays are whole hours, and each carrier and effect takes some milliseconds more that no
 * other does. Durable children are told apart by the root, whatever the order in which it hears of them.
 */
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { assign, enqueueActions, fromCallback, fromEventObservable, fromObservable, fromPromise, setup, type AnyActorRef, type AnyStateMachine } from 'xstate'
import { append, external, isHoldfastError, refTo, reply, type ActorSystem, type EffectArgs, type HistoryOptions, type ReplyToken, type Store, type StreamRecord } from '../../src/index.js'
import { hash32, shardOf, type Address } from '../../src/runtime/identity.js'
import { crashTest, type CrashReport, type World, type WriteKind } from '../../src/testing/index.js'
import { extent, firstSeed, isChosen, tier } from '../support/extent.js'
import { expectFound } from '../support/found.js'
import { expectLargeValuesOf } from '../support/large.js'
import { Side, eventTypes, generateMachine, now, type Logics } from '../support/machine-generator.js'
import { Random } from '../support/random.js'
import { openDatabases, type Databases, type StoreKind } from '../support/stores.js'

const hourMs = 3_600_000
const shards = 2

/** The first id that lies in the shard. */
function idIn(shard: number, prefix: string): string {
  for (let i = 0; ; i++) if (shardOf(`x/${prefix}${i}` as Address, shards) === shard) return `${prefix}${i}`
}

/** The actor under test is `root/actor-1`. */
const home = shardOf('root/actor-1' as Address, shards)
const away = 1 - home
const peerId = idIn(away, 'peer-')
const toPeer = idIn(home, 'to-peer-')
const toRoot = idIn(home, 'to-root-')
const answersRoot = idIn(away, 'answers-root-')
const answersPeer = idIn(home, 'answers-peer-')

const answer = (token: ReplyToken, n: number) => reply(() => ({ asked: n }), () => token)

/** Takes messages on, one at a time and each after a delay of its own: what it was sent in one instant leaves it in several. */
const carrier = setup({
  types: {
    context: {} as { id: string; taken: number; heard: string[]; queue: { to?: string; event?: { type: string }; token?: ReplyToken; n?: number }[] },
    events: {} as { type: 'carry'; to: string; event: { type: string } } | { type: 'question'; n: number; replyToken: ReplyToken } | { type: 'heard?' },
  },
  actions: {
    take: assign(({ context, event }) => {
      if (event.type === 'heard?') return {}
      const item = event.type === 'carry' ? { to: event.to, event: event.event } : { token: event.replyToken, n: event.n }
      return { queue: [...context.queue, item], heard: [...context.heard, event.type === 'carry' ? event.event.type : `${event.type} ${event.n}`] }
    }),
    pass: enqueueActions(({ context: { queue }, enqueue }) => {
      const [first, ...rest] = queue
      enqueue.assign(({ context }) => ({ queue: rest, taken: context.taken + 1 }))
      if (first?.event) enqueue.sendTo(() => refTo(first.to!), first.event)
      // Every fourth question is never answered.
      else if (first?.token && first.n! % 4 !== 3) enqueue(answer(first.token, first.n!))
    }),
    tell: reply(({ context }) => context.heard),
    trace: append(({ context }) => ({ stream: 'trace', value: context.taken, shared: true })),
  },
  delays: { carrying: ({ context }) => 7 * hourMs + (hash32(`${context.id}#${context.taken}`) % (hourMs / 2)) },
}).createMachine({
  id: 'carrier',
  version: '1',
  context: ({ self }) => ({ id: self.id, taken: 0, heard: [], queue: [] }),
  initial: 'idle',
  on: { 'heard?': { actions: 'tell' }, carry: { actions: 'take' }, question: { actions: 'take' } },
  states: {
    idle: { always: { guard: ({ context }) => context.queue.length > 0, target: 'carrying' } },
    carrying: { after: { carrying: { target: 'idle', actions: ['pass', 'trace'] } } },
  },
})

/** Times are virtual, ms. */
interface Job {
  /** Its id and that of its actor, and when it began. */
  readonly name: string
  readonly begunAt: number
  readonly endsAt: number
}

/** What stands outside the world: the receivers of effects. One a run. */
class Outside {
  readonly side = new Side()
  private readonly world: World
  private readonly jobs = new Map<string, Job>()
  private readonly begun = new Set<string>()
  private readonly payments = new Map<string, number>()
  /** Paid without having asked whether they were paid. */
  private readonly blind: string[] = []
  /** What was drained of the shared streams, by shard and sequence number. */
  private readonly drained = new Map<string, string>()
  /** Entries that were something else when they were drained again. */
  private readonly changed: string[] = []

  constructor(world: World) {
    this.world = world
  }

  /** A job elsewhere: it ends at an instant of its own, and an attempt after a crash waits for the rest of the time only. */
  async job(args: EffectArgs<unknown>): Promise<{ roll: number }> {
    return this.end(await this.begin(args), args)
  }

  private async end(job: Job, { idempotencyKey: key, signal }: EffectArgs<unknown>): Promise<{ roll: number }> {
    const left = job.endsAt - this.world.time.now()
    if (left > 0) await this.world.sleep(left)
    if (hash32(job.name) % 2 === 0 && !signal.aborted) await this.ring(job)
    const roll = hash32(key)
    if (roll % 4 === 0) throw new Error(`no ${roll % 10}`)
    return { roll: roll % 100 }
  }

  /** Sends something to the shard of the job's actor: the outcome then comes while that stands unread in the log, and has to go by the log itself. */
  private async ring({ name }: Job): Promise<void> {
    const { system, time } = this.world
    const id = name.startsWith('peer/') ? answersRoot : toPeer
    system.actor(carrier, id).send({ type: 'heard?' }, { id: `bell-${hash32(name)}` }).catch(() => {})
    await new Promise<void>((resolve) => time.soon(resolve))
  }

  /** An effect that is stopped in the instant in which it began may not have begun at all: of two turns in one commit nobody hears. */
  private async begin(args: EffectArgs<unknown>): Promise<Job> {
    const { world } = this
    const { idempotencyKey: key, signal } = args
    const at = world.time.now()
    // A worker that is restarted from its input asks for it under the same key once more.
    const { sessionId } = (args as unknown as { self: AnyActorRef }).self
    let job = this.jobs.get(sessionId)
    // One that is restarted from its snapshot does so after the end.
    if (!job || at > job.endsAt) {
      // Without the address: effects of different actors may end together, those of one may not.
      const place = key.slice(key.indexOf('/-/'))
      job = { name: `${sessionId} ${at}`, begunAt: at, endsAt: at + (hash32(place) % 7) * 5 * hourMs + 2 + (hash32(`${place}#`) % (hourMs - 2)) }
      this.jobs.set(sessionId, job)
    }
    if (at === job.begunAt) await world.sleep(1)
    if (!signal.aborted) this.begun.add(`${key} at ${job.begunAt}`)
    return job
  }

  /** Happens once a key, or the receiver says so. One that it refuses has not happened. */
  async pay(args: EffectArgs<unknown>): Promise<{ roll: number }> {
    const { idempotencyKey: key, signal } = args
    const job = await this.begin(args)
    // A worker that is restarted from its input begins to count anew, and the receiver recognises the key.
    if (this.payments.has(key) && !key.startsWith('default/worker/')) this.blind.push(key)
    else if (!signal.aborted && hash32(key) % 4 !== 0) this.payments.set(key, this.payments.get(key) ?? this.world.time.now())
    return this.end(job, args)
  }

  async reconcile(args: EffectArgs<unknown>): Promise<{ happened: true; output: { roll: number } } | { happened: false }> {
    return this.payments.has(args.idempotencyKey) ? { happened: true, output: await this.job(args) } : { happened: false }
  }

  /** Takes entries at least once each; a repeat is the same. */
  drain(entries: readonly StreamRecord[], shard: number): Promise<void> {
    for (const entry of entries) {
      const key = `${shard} ${String(entry.seq).padStart(6, '0')}`
      const text = JSON.stringify(entry)
      if ((this.drained.get(key) ?? text) !== text) this.changed.push(`${key} ${this.drained.get(key)} and ${text}`)
      this.drained.set(key, text)
    }
    return Promise.resolve()
  }

  /** Named actions run at least once, those that are inline at most once, and none that undisturbed would not. */
  seen(): { readonly observed: unknown; readonly inline: ReadonlyMap<string, number> } {
    if (this.blind.length > 0) throw new Error(`Paid a second time, without asking whether it had been: ${this.blind.join(', ')}`)
    if (this.changed.length > 0) throw new Error(`Drained twice, and not the same: ${this.changed.join('; ')}`)
    const named = new Set<string>()
    const inline = new Map<string, number>()
    for (const line of this.side.log as unknown[][]) {
      // An action that is called with the snapshot of a child is stored only if that is JSON.
      if (line[0] === 'note' && !String(line[2]).startsWith('xstate.snapshot.')) named.add(JSON.stringify(line.slice(1, 3)))
      else if (line[0] === 'inline') {
        const key = JSON.stringify(line.slice(1))
        inline.set(key, (inline.get(key) ?? 0) + 1)
      }
    }
    return { observed: { named: [...named].sort(), begun: [...this.begun].sort(), payments: [...this.payments].sort(), drained: [...this.drained].sort().map(([key, text]) => [key, JSON.parse(text) as unknown]) }, inline }
  }
}

/** The run under way. */
let outside: Outside

const silent = { subscribe: () => ({ unsubscribe() {} }) }
const logics: Logics = {
  promise: () => fromPromise((args) => outside.job(args as unknown as EffectArgs<unknown>)),
  callback: () => fromCallback(({ receive }) => receive(() => {})),
  observable: () => fromObservable(() => silent as never),
  eventObservable: () => fromEventObservable(() => silent as never),
  external: () => external({ run: (args) => outside.pay(args), reconcile: (args) => outside.reconcile(args) }),
}

type Step = { readonly type: string; readonly by: number } | { readonly advanceMs: number } | 'restart' | ((system: ActorSystem, id: string) => Promise<unknown>)

export interface Drawn {
  readonly seed: number
  readonly machine: AnyStateMachine
  readonly machines: readonly AnyStateMachine[]
  readonly input: { readonly n: number }
  readonly steps: readonly Step[]
  readonly suspectMax: number
  /** What a reader needs to know of it. */
  readonly story: string
  readonly constructs: ReadonlySet<string>
}

async function unlessNotStarted(sent: Promise<void>): Promise<void> {
  await sent.catch((error: unknown) => {
    if (!isHoldfastError(error) || error.code !== 'ACTOR_NOT_STARTED') throw error
  })
}

export function draw(seed: number): Drawn {
  const random = new Random(seed)
  const throwing = random.chance(0.2)
  const common = { throwing, logics, unitMs: hourMs }
  const child = random.chance(0.7) ? { machine: 'worker', key: 'actor-1' } : undefined
  const root = generateMachine(random, {
    ...common,
    id: 'root',
    childLevels: random.below(2),
    neighbours: { carrier: `carrier/${toPeer}`, carriesTo: `peer/${peerId}`, asked: `carrier/${answersRoot}`, ...(child ? { child } : {}) },
  })
  const peer = generateMachine(random, {
    ...common,
    id: 'peer',
    isChild: false,
    childLevels: 0,
    neighbours: { carrier: `carrier/${toRoot}`, carriesTo: 'root/actor-1', asked: `carrier/${answersPeer}` },
  })
  const worker = generateMachine(random, { ...common, id: 'worker', childLevels: 0, failsOn: 'FAIL' })
  const told: string[] = []
  const tell = (text: string): void => void told.push(text)
  const peerInput = { n: random.below(4) }
  const steps: Step[] = [(system, id) => system.actor(peer.machine, peerId).start({ input: peerInput as never, id })]
  tell(`start the peer with ${JSON.stringify(peerInput)}`)
  for (let i = 4 + random.below(6); i > 0; i--) {
    const roll = random.next()
    if (roll < 0.28) {
      const advanceMs = (5 + random.below(30)) * hourMs
      steps.push({ advanceMs })
      tell(`wait ${advanceMs / hourMs} h`)
    } else if (roll < 0.36) {
      steps.push('restart')
      tell('stop cleanly and start again')
    } else if (child && roll < 0.5) {
      const address = `worker/actor-1~w${random.below(2)}`
      const types = [...(random.chance(0.6) ? ['FAIL'] : []), ...random.times(3, () => random.pick(eventTypes))]
      steps.push(async (system, step) => {
        for (const [n, type] of types.entries()) await unlessNotStarted(system.actorAt(address).send({ type } as never, { id: `${step}-${n}` }))
      })
      tell(`send ${types.join(', ')} to ${address}`)
    } else if (roll < 0.58) {
      const events = random.times(3, () => ({ type: random.pick(eventTypes), by: random.below(4) }))
      steps.push(async (system, step) => {
        await Promise.all(events.map((event, n) => system.actorAt('root/actor-1').send(event as never, { id: `${step}-${n}` })))
      })
      tell(`send ${events.map((event) => JSON.stringify(event)).join(', ')} at once`)
    } else if (roll < 0.66) {
      const id = random.pick([toPeer, toRoot])
      steps.push((system, step) => system.actor(carrier, id).ask({ type: 'heard?' }, { id: step, deadlineMs: hourMs }))
      tell(`ask carrier/${id} what it heard`)
    } else {
      const event = { type: random.pick(eventTypes), by: random.below(4) }
      const [step, how] = random.pick<readonly [Step, string]>([
        [event, ''],
        [event, ''],
        [(system, id) => system.actor(peer.machine, peerId).send(event, { id }), ' to the peer'],
        [(system, id) => system.actor(carrier, toPeer).send({ type: 'carry', to: `peer/${peerId}`, event }, { id }), ' to the peer, by carrier'],
      ])
      steps.push(step)
      tell(`send ${JSON.stringify(event)}${how}`)
    }
  }
  steps.push('restart')
  tell('stop cleanly and start again')
  const input = { n: random.below(4) }
  // Half of them with the counts that a quarantine goes by, too high for one.
  const suspectMax = random.chance(0.5) ? Infinity : 1_000
  const constructs = new Set([root, peer, worker].flatMap((generated) => [...generated.constructs]))
  const story = [
    `input ${JSON.stringify(input)}, suspectMax ${suspectMax}`,
    `root: ${[...root.constructs].sort().join(', ')}`,
    `peer: ${[...peer.constructs].sort().join(', ')}`,
    ...(child ? [`worker: ${[...worker.constructs].sort().join(', ')}`] : []),
    ...told.map((text, i) => `step ${i}: ${text}`),
  ].join('\n')
  return { seed, machine: root.machine, machines: [peer.machine, worker.machine, carrier], input, steps, suspectMax, story, constructs }
}

/** What a run is asked beside coming out the same. */
export interface Beside {
  /** Of every machine. */
  readonly history: HistoryOptions
  readonly batchTurnsMax: number
  /** At the end of each run. */
  check(world: World): Promise<void>
}

/** @param store as in CrashTestOptions */
export async function crash({ seed, machine, machines, input, steps, suspectMax }: Drawn, runs: number | undefined, store?: (run: number) => Store, beside?: Beside): Promise<CrashReport> {
  let undisturbed: ReadonlyMap<string, number> | undefined
  const hasLarge = seed % 3 === 0
  return crashTest(
    machine,
    { input: input as never, steps: steps as never, restMs: 80 * hourMs },
    {
      machines: beside ? [machine, ...machines].map((each) => ({ machine: each, history: beside.history })) : machines,
      ...(beside ? { batchTurnsMax: beside.batchTurnsMax } : {}),
      shards,
      seed,
      shrinkRunsMax: 0,
      suspectMax,
      // In a third of them so low that much of what these machines keep is a large value.
      largeValueCharsMin: hasLarge ? 24 : 16_384,
      // A heartbeat every 20 hours; ids and records outlive the run.
      leaseMs: 60 * hourMs,
      idRetentionMs: 1_000 * hourMs,
      endedRetentionMs: 1_000 * hourMs,
      mayFail: true,
      // However many that is: one in a hundred machines needs more than the default.
      ...(runs === undefined ? { runsMax: 40_000 } : { runs }),
      ...(store ? { store } : {}),
      prepare(world) {
        outside = new Outside(world)
        now.side = outside.side
      },
      onStart: (system) => void system.drain('trace', (entries, shard) => outside.drain(entries, shard)),
      async observe(world) {
        const { system, store } = world
        await beside?.check(world)
        const { observed, inline } = outside.seen()
        await expectFound(system, store)
        if (hasLarge) await expectLargeValuesOf(system, store, shards)
        undisturbed ??= inline
        for (const [key, times] of inline) if (times > (undisturbed.get(key) ?? 0)) throw new Error(`The inline action ${key} ran ${times} times, undisturbed ${undisturbed.get(key) ?? 0} times.`)
        return { observed, notes: [await system.stream('root/actor-1', 'notes'), await system.stream(`peer/${peerId}`, 'notes')] }
      },
    },
  )
}

/** What runs of many seeds add up to. */
export class Tally {
  machines = 0
  runs = 0
  killsInRecovery = 0
  readonly kills = new Map<string, number>()
  readonly constructs = new Set<string>()

  add({ constructs }: Drawn, report: CrashReport): void {
    this.machines++
    this.runs += report.runs
    this.killsInRecovery += report.killsInRecovery
    for (const [cell, n] of report.kills) this.kills.set(cell, (this.kills.get(cell) ?? 0) + n)
    for (const construct of constructs) this.constructs.add(construct)
  }

  /** Kills of the cell that has fewest. */
  get least(): number {
    return Math.min(...kinds.flatMap((kind) => [this.kills.get(`${kind} before`) ?? 0, this.kills.get(`${kind} after`) ?? 0]))
  }

  toString(): string {
    const row = (...cells: (string | number)[]): string => cells.map((cell, i) => (i === 0 ? String(cell).padEnd(10) : String(cell).padStart(9))).join('')
    const rows = kinds.map((kind) => row(kind, this.kills.get(`${kind} before`) ?? 0, this.kills.get(`${kind} after`) ?? 0))
    return [`${this.machines} machines, ${this.runs} runs with kills, ${this.killsInRecovery} kills of a process in recovery`, row('killed', 'before', 'after'), ...rows].join('\n')
  }
}

/** Kinds of durable write that the runtime makes. */
const kinds: readonly WriteKind[] = ['claim', 'append', 'commit', 'deliver', 'renew', 'release', 'trim']

/** What the tests run on each kind of store: so many machines in the first tier, twenty times as many in the second. */
export interface Size {
  readonly machines: number
  /** Of these, how many are killed on each side of every write as well. */
  readonly exhaustive: { readonly first: number; readonly second: number }
  /** Kills of each kind and side at least, in the first tier and in the second. */
  readonly least: { readonly first: number; readonly second: number }
}

/** With `HOLDFAST_KILLS=all`, one on each side of every write, and as many again. */
const runsEach = 12

/** @param file of the test, to tell how to run it again */
export function testCrashEquivalence(kind: StoreKind, file: string, size: Size): void {
  const machines = extent(size.machines, 20 * size.machines)
  const runs = process.env['HOLDFAST_KILLS'] === 'all' ? undefined : runsEach
  let databases: Databases
  let used = 0
  const tally = new Tally()
  const timeoutMs = tier === 'second' ? 3_000_000 : 300_000

  const crashSeed = async (seed: number, runsOfIt: number | undefined): Promise<void> => {
    const drawn = draw(seed)
    const database = `db${used++}`
    // A store in memory that is the world's own knows its time.
    const store = kind === 'memory' ? undefined : (run: number) => databases.connect(`${database}-${run}`)
    try {
      tally.add(drawn, await crash(drawn, runsOfIt, store))
    } catch (error) {
      const command = `HOLDFAST_SEED=${seed} HOLDFAST_RUNS=1${runsOfIt === undefined ? ' HOLDFAST_KILLS=all' : ''} npx vitest run ${relative(process.cwd(), fileURLToPath(file))}`
      throw new Error(`Seed ${seed}: ${(error as Error).message}\n${drawn.story}\nAgain: ${command}`, { cause: error })
    }
  }

  beforeAll(async () => {
    databases = await openDatabases(kind)
  })
  afterAll(() => databases.dispose())

  test(`on ${kind}, ${machines} generated machines come out the same wherever they are killed, ${runs ?? 'all'} runs each (seeds ${firstSeed} to ${firstSeed + machines - 1})`, async () => {
    for (let seed = firstSeed; seed < firstSeed + machines; seed++) await crashSeed(seed, runs)
  }, timeoutMs)

  const exhaustive = isChosen ? 0 : size.exhaustive[tier]
  if (exhaustive > 0) {
    test(`on ${kind}, ${exhaustive} of them come out the same when killed before and after every durable write (seeds 1 to ${exhaustive})`, async () => {
      for (let seed = 1; seed <= exhaustive; seed++) await crashSeed(seed, undefined)
    }, timeoutMs)
  }

  test(`on ${kind}, each kind of durable write was killed before and after, and every construct was used`, () => {
    console.log(`${kind}: ${tally.toString()}`)
    if (isChosen) return
    expect(tally.least).toBeGreaterThanOrEqual(size.least[tier])
    expect([...constructs].filter((construct) => !tally.constructs.has(construct))).toEqual([])
  })
}

/** What goes beyond a single machine; the differential test sees to the rest. */
const constructs = ['sendTo address', 'invoke question', 'spawn question', 'invoke external action', 'spawn external action', 'durableChild', 'stopDurableChild', 'sendTo durable child', 'send in an action', 'append', 'append shared', 'sendParent', 'after static', 'after dynamic', 'raise delayed']

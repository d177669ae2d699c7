/**
 * What a large payload costs: ways in which one of 200 KB goes through actors, and the bytes that are written for it, told
 * apart by what they are written as. The cost of a small one taken the same way is what there is beside it.
 */
import { assign, fromPromise, sendTo, setup, type AnyStateMachine } from 'xstate'
import { z } from 'zod'
import { createActorSystem, createClient, createMesh, defineAgent, defineRun, ModelError, modelOf, refTo, type ActorSystem, type ActorSystemOptions, type Mesh, type Store } from '../../src/index.js'
import type { Appended, Commit, CommitResult, NewEntry, OutboxEntry, Redrive, Redriven } from '../../src/runtime/ports/store.js'
import { shardOf, type Address } from '../../src/runtime/identity.js'
import { functionModel } from './function-model.js'

/** What bytes were written as. */
export type Place = 'log' | 'outbox' | 'record' | 'actions' | 'history' | 'streams' | 'parked' | 'replies'

/** Bytes (UTF-8) that a store was given to write, by what as. */
export class Written extends Map<Place, number> {
  add(place: Place, texts: Iterable<string | undefined>): void {
    for (const text of texts) if (text !== undefined) this.set(place, (this.get(place) ?? 0) + Buffer.byteLength(text))
  }

  get total(): number {
    return [...this.values()].reduce((sum, bytes) => sum + bytes, 0)
  }

  saw({ parts }: Commit): void {
    for (const part of parts) {
      this.add('record', part.fields.values())
      this.add('actions', part.actions.values())
      this.add('log', part.entries.map(({ text }) => text))
      this.add('outbox', part.outbox.map(({ entry }) => entry.text))
      this.add('replies', [...part.replies.values()].map(({ text }) => text))
      this.add('parked', part.park)
      for (const { stream, text } of part.logs) this.add(stream.endsWith('/+history') ? 'history' : 'streams', [text])
    }
  }
}

/** The store, which tells what it is given to write. */
export function weighed(store: Store, written: Written): Store {
  const texts = (entries: readonly NewEntry[]): string[] => entries.map(({ text }) => text)
  const own = {
    append(shard: number, entries: readonly NewEntry[]): Promise<readonly Appended[]> {
      written.add('log', texts(entries))
      return store.append(shard, entries)
    },
    deliver(to: number, from: number, entries: readonly OutboxEntry[]): Promise<void> {
      written.add('log', texts(entries.map(({ entry }) => entry)))
      return store.deliver(to, from, entries)
    },
    redrive(shard: number, letters: readonly Redrive[]): Promise<readonly Redriven[]> {
      written.add('log', texts(letters.map(({ entry }) => entry)))
      return store.redrive(shard, letters)
    },
    commit(commit: Commit): Promise<CommitResult> {
      written.saw(commit)
      return store.commit(commit)
    },
  }
  return new Proxy(store, {
    get(target, name) {
      if (name in own) return own[name as keyof typeof own]
      const method: unknown = Reflect.get(target, name)
      return typeof method === 'function' ? (method.bind(target) as unknown) : method
    },
  })
}

// ── The actors ──

type Doc = string | readonly object[]

const noted = setup({
  types: { context: {} as { doc: Doc }, events: {} as { type: 'take'; doc: Doc } | { type: 'end' } },
  actions: { keep: assign({ doc: ({ event, context }) => (event.type === 'take' ? event.doc : context.doc) }), note: () => {}, tell: () => {} },
})

/** Keeps what it is sent in its context. */
export const keeper = noted.createMachine({ id: 'keeper', version: '1', context: { doc: '' }, initial: 'open', states: { open: { on: { take: { actions: 'keep' }, end: 'over' } }, over: { type: 'final' } } })

/** The same, with two named actions. */
export const noter = noted.createMachine({ id: 'noter', version: '1', context: { doc: '' }, initial: 'open', states: { open: { on: { take: { actions: ['keep', 'note', 'tell'] }, end: 'over' } }, over: { type: 'final' } } })

/** Works on what it is sent or started with. */
export const worker = setup({
  types: { context: {} as { doc: Doc; length: number }, events: {} as { type: 'take'; doc: Doc }, input: {} as { doc?: Doc } },
  actors: { work: fromPromise<number, { doc: Doc }>(({ input }) => Promise.resolve(input.doc.length)) },
}).createMachine({
  id: 'worker',
  version: '1',
  context: ({ input }) => ({ doc: input?.doc ?? '', length: 0 }),
  initial: 'idle',
  states: {
    idle: { always: { guard: ({ context }) => context.doc !== '', target: 'working' }, on: { take: { target: 'working', actions: assign({ doc: ({ event }) => event.doc }) } } },
    working: { invoke: { src: 'work', id: 'work', input: ({ context }) => ({ doc: context.doc }), onDone: { target: 'done', actions: assign({ length: ({ event }) => event.output }) } } },
    done: { type: 'final' },
  },
})

/** Keeps what it is sent, and sends it on. */
export const sender = setup({
  types: { context: {} as { doc: Doc; to: string }, events: {} as { type: 'take'; doc: Doc }, input: {} as { to: string } },
}).createMachine({
  id: 'sender',
  version: '1',
  context: ({ input }) => ({ doc: '', to: input.to }),
  on: { take: { actions: [assign({ doc: ({ event }) => event.doc }), sendTo(({ context }) => refTo(context.to), ({ event }) => ({ type: 'take', doc: event.doc }))] } },
})

/** Keeps a list, of which each event makes a longer one. */
export const lister = setup({
  types: { context: {} as { docs: readonly Doc[] }, events: {} as { type: 'take'; doc: Doc } },
}).createMachine({ id: 'lister', version: '1', context: { docs: [] }, on: { take: { actions: assign({ docs: ({ context, event }) => [...context.docs, event.doc] }) } } })

export const payloadMachines: readonly AnyStateMachine[] = [keeper, noter, worker, sender, lister]

// ── The cases ──

export interface PayloadWorld {
  readonly system: ActorSystem
  /** Another process, which owns nothing. */
  readonly client: ActorSystem
}

export interface PayloadCase {
  readonly name: string
  /** Whether its actors keep a history. */
  readonly history?: true
  run(world: PayloadWorld, doc: Doc): Promise<unknown>
}

const shards = 2
const other = ((): string => {
  const home = shardOf('sender/a' as Address, shards)
  for (let i = 0; ; i++) if (shardOf(`keeper/k${i}` as Address, shards) !== home) return `k${i}`
})()

export const payloadCases: readonly PayloadCase[] = [
  { name: 'sent by its owner, kept in the context', run: ({ system }, doc) => system.actor(keeper, 'a').send({ type: 'take', doc }) },
  { name: 'sent by a client, kept in the context', run: ({ client }, doc) => client.actor(keeper, 'a').send({ type: 'take', doc }) },
  { name: 'sent by a client, kept, two named actions', run: ({ client }, doc) => client.actor(noter, 'a').send({ type: 'take', doc }) },
  { name: 'sent by a client, kept, input of an effect', run: async ({ client }, doc) => {
    await client.actor(worker, 'a').start({ input: {} })
    await client.actor(worker, 'a').send({ type: 'take', doc })
  } },
  { name: 'input of a start by a client, kept, input of an effect', run: ({ client }, doc) => client.actor(worker, 'a').start({ input: { doc } }) },
  { name: 'the same, with a history', history: true, run: ({ client }, doc) => client.actor(worker, 'a').start({ input: { doc } }) },
  {
    name: 'from a client by an actor to one of another shard, both keep it',
    async run({ system, client }, doc) {
      await system.actor(sender, 'a').start({ input: { to: `keeper/${other}` } })
      await client.actor(sender, 'a').send({ type: 'take', doc })
    },
  },
  {
    name: 'kept in a list, to which ten notes are added',
    async run({ client }, doc) {
      await client.actor(lister, 'a').send({ type: 'take', doc })
      for (let i = 0; i < 10; i++) await client.actor(lister, 'a').send({ type: 'take', doc: `note ${i}` })
    },
  },
]

/** A text of that many bytes in words, no two of which are alike in a row. */
export function textOf(bytes: number): string {
  let text = ''
  for (let i = 0; text.length < bytes; i++) text += `word-${i} "quoted" `
  return text.slice(0, bytes)
}

export async function weigh(one: PayloadCase, doc: Doc, connect: () => Store, options: Partial<ActorSystemOptions> = {}): Promise<{ readonly written: Written; readonly world: PayloadWorld; readonly end: () => Promise<void> }> {
  const written = new Written()
  const machines = payloadMachines.map((machine) => ({ machine, history: one.history === true }))
  const system = await createActorSystem({ store: weighed(connect(), written), machines, shards, ...options }).start()
  const client = (await createClient({ store: weighed(connect(), written), machines: payloadMachines })) as unknown as ActorSystem
  const world = { system, client }
  await one.run(world, doc)
  await system.settled()
  return {
    written,
    world,
    end: async () => {
      await client.stop()
      await system.stop()
    },
  }
}

/** A run whose agents are asked about 200 KB of material; the researcher's model answers at the third attempt. */
export async function weighRun(document: string, store: Store, options: Partial<ActorSystemOptions> = {}): Promise<Written> {
  const written = new Written()
  let refused = 0
  const client = functionModel((request) => {
    const { agent } = request.task as { agent: string }
    if (agent === 'planner') return { steps: ['one'] }
    if (agent === 'writer') return { text: 'all' }
    if (refused++ < 2) throw new ModelError('overloaded', 'busy', { retryable: true })
    return { found: 'it' }
  })
  const model = modelOf(client, 'm', { input: 0, output: 0 })
  const short = ({ input }: { input: unknown }) => ({ messages: [{ role: 'user' as const, content: JSON.stringify(input).slice(0, 100) }] })
  const common = { input: z.looseObject({}), model, prompt: short }
  const planner = defineAgent({ ...common, name: 'planner', output: z.object({ steps: z.array(z.string()) }) })
  const researcher = defineAgent({ ...common, name: 'researcher', output: z.object({ found: z.string() }), prompt: () => ({ messages: [{ role: 'user', content: document }] }) })
  const writer = defineAgent({ ...common, name: 'writer', output: z.object({ text: z.string() }) })
  const research = defineRun({ name: 'research', crew: { planner, worker: researcher, writer } })
  const mesh: Mesh = await createMesh({ store: weighed(store, written), runs: [research], policies: { agents: { '*': { retry: { backoff: { firstMs: 1, factor: 1, maxMs: 1, jitter: 0 } } } } }, ...options }).start()
  const run = await mesh.run(research, { id: 'r', goal: 'What is it?' })
  await run.output()
  await mesh.system.settled()
  await mesh.stop()
  return written
}

/**
 * What the types of actors promise to a user's program. It is compiled against the packed package and never run
 * (scripts/consumer.mjs). After `@ts-expect-error` stands the code of the error which the next line must have.
 */
import {
  ActorFailedError,
  append,
  createActorSystem,
  createClient,
  DeadlineError,
  durableChild,
  external,
  fromAsk,
  isHoldfastError,
  LimitError,
  refTo,
  repeatable,
  reply,
  restartDurableChild,
  SnapshotError,
  stopDurableChild,
  StoreError,
  supervisorMachine,
  TurnError,
  type ActorHandle,
  type ChildFact,
  type EffectArgs,
  type MessageRefused,
  type RedriveResult,
  type ReplyToken,
  type SupervisorReport,
} from 'holdfast'
import { MemoryStore } from 'holdfast/memory'
import { toMermaid, toXStateJson } from 'holdfast/viz'
import { assign, createMachine, enqueueActions, sendTo, setup } from 'xstate'
import { is } from './is.js'

// ── Machines as users write them ──

const order = setup({
  types: {
    context: {} as { items: string[]; cents: number; receipt: string | null },
    events: {} as { type: 'order.place'; items: string[] } | { type: 'order.price' },
    input: {} as { customer: string },
    output: {} as { receipt: string | null },
    emitted: {} as { type: 'order.paid'; receipt: string } | { type: 'order.refused'; why: string },
  },
  actors: {
    charge: external({
      run: async ({ input, idempotencyKey, attempt, signal }: EffectArgs<{ items: string[] }>) => {
        is<typeof signal, AbortSignal>(true)
        return { receipt: `${input.items.length} ${idempotencyKey}`, attempt }
      },
      // What it answers does not change what the outcome's type is, which `run` says.
      reconcile: async ({ input }) => (input.items.length > 0 ? { happened: true, output: { receipt: '', attempt: 1 } } : { happened: false }),
      name: ({ items }) => `charge-${items.length}`,
    }),
    weigh: repeatable(async ({ input }: { input: { items: string[] } }) => input.items.length * 0.5),
    askPrice: fromAsk<number, { item: string }>(({ input }) => ({ to: 'shop/main', event: { type: 'shop.price', item: input.item }, deadlineMs: 5_000 })),
  },
  actions: {
    noteReceipt: assign({ receipt: (_, receipt: string) => receipt }),
    notePrice: assign({ cents: (_, cents: number) => cents }),
    // Commands know the machine's context and events.
    hire: durableChild(({ context, event, self }) => {
      is<typeof context, { items: string[]; cents: number; receipt: string | null }>(true)
      is<(typeof event)['type'], 'order.place' | 'order.price'>(true)
      return { machine: 'packer', id: self.id, input: { items: context.items } }
    }),
    hireNamed: durableChild((_, params: { id: string }) => ({ machine: 'packer', id: params.id })),
    dismiss: stopDurableChild(() => ({ machine: 'packer', id: 'p' })),
    mend: restartDurableChild(() => ({ machine: 'packer', id: 'p', from: 'snapshot' })),
    answer: reply(({ context }) => context.cents),
    answerLater: reply(
      () => 'at last',
      (): ReplyToken => ({ id: 'q' }),
    ),
    record: append(({ context }) => ({ stream: 'receipts', value: context.receipt })),
    // @ts-expect-error TS2741 a child has an id
    hireNobody: durableChild(() => ({ machine: 'packer' })),
    // @ts-expect-error TS2322 a restart begins at the snapshot or at the input
    mendBadly: restartDurableChild(() => ({ machine: 'packer', id: 'p', from: 'scratch' })),
    // @ts-expect-error TS2339 context has no such key
    hireWrongly: durableChild(({ context }) => ({ machine: 'packer', id: context.name })),
    // @ts-expect-error TS2741 an entry has a stream
    recordNowhere: append(() => ({ value: 1 })),
  },
}).createMachine({
  id: 'order',
  context: { items: [], cents: 0, receipt: null },
  initial: 'open',
  output: ({ context }) => ({ receipt: context.receipt }),
  states: {
    open: {
      on: {
        'order.place': { target: 'paying', actions: ['hire', { type: 'hireNamed', params: { id: 'p' } }, 'record'] },
        // Inline, a command knows the very event.
        'order.price': { actions: reply(({ event, context }) => (is<(typeof event)['type'], 'order.price'>(true), context.cents)) },
      },
    },
    // The outcome of an effect has the type of what it resolves to.
    paying: { invoke: { id: 'charge', src: 'charge', input: ({ context }) => ({ items: context.items }), onDone: { target: 'paid', actions: { type: 'noteReceipt', params: ({ event }) => event.output.receipt } } } },
    weighing: { invoke: { src: 'weigh', input: ({ context }) => ({ items: context.items }), onDone: { actions: { type: 'notePrice', params: ({ event }) => event.output * 100 } } } },
    pricing: { invoke: { src: 'askPrice', input: { item: 'tea' }, onDone: { actions: { type: 'notePrice', params: ({ event }) => event.output } } } },
    paid: { type: 'final' },
  },
})

const lamp = setup({ types: { events: {} as { type: 'press' } } }).createMachine({ id: 'lamp', initial: 'off', states: { off: { on: { press: 'on' } }, on: {} } })
const untyped = createMachine({ id: 'untyped', context: { n: 1 }, initial: 'a', states: { a: { on: { GO: 'b' } }, b: {} } })

// A question is asked with the input that it takes.
setup({ actors: { askPrice: fromAsk<number, { item: string }>(({ input }) => ({ to: `shop/${input.item}`, event: { type: 'shop.price' }, deadlineMs: 5_000 })) } }).createMachine({
  // @ts-expect-error TS2322 it takes a text
  invoke: { src: 'askPrice', input: { item: 5 } },
})

// An external action and its reconcile agree on what has come of it.
external({
  run: async () => 'receipt',
  // @ts-expect-error TS2322 it resolves to a text
  reconcile: async () => ({ happened: true, output: 5 }),
})
// A question names an address and an event; its deadline has a default.
fromAsk(() => ({ to: 'shop/main', event: { type: 'shop.price' } }))
// @ts-expect-error TS2741 it has an address
fromAsk(() => ({ event: { type: 'shop.price' } }))

// ── The system ──

export async function systems(): Promise<void> {
  const store = new MemoryStore()
  const system = await createActorSystem({ store, machines: [order, { machine: lamp, name: 'light', version: '2' }, supervisorMachine], suspectMax: 5, logger: console }).start()
  is<typeof system.role, 'owner' | 'client'>(true)
  is<ReturnType<typeof system.actor<typeof order>>, ActorHandle<typeof order>>(true)
  // @ts-expect-error TS2741 it has a store
  createActorSystem({ machines: [order] })
  // @ts-expect-error TS2353 there is no such option
  createActorSystem({ store, machines: [order], suspects: 5 })
  // @ts-expect-error TS2322 a machine is one of XState's
  createActorSystem({ store, machines: ['order'] })
  const client = await createClient({ store, machines: [order] })
  await client.actor(order, 'o-1').send({ type: 'order.price' })
  // @ts-expect-error TS2322 a client's actors know their events too
  await client.actor(order, 'o-1').send({ type: 'order.lose' })
  const { actors, cursor } = await client.find({ machine: 'order', state: 'open.paying', tag: 'busy', run: 'r-1', status: 'active', limit: 10 })
  is<typeof cursor, string | undefined>(true)
  is<(typeof actors)[number]['status'], 'active' | 'done' | 'stopped' | 'failed'>(true)
  // @ts-expect-error TS2322 there is no such status
  await system.find({ status: 'error' })
  const { letters } = await client.deadLetters({ actor: 'order/o-1', reason: 'ended', since: 0 })
  is<Awaited<ReturnType<typeof client.redriveDeadLetters>>, RedriveResult>(true)
  await client.redriveDeadLetters(letters.map(({ id }) => id))
  // @ts-expect-error TS2345 there is no such reason
  await system.redriveDeadLetters({ reason: 'boredom' })
  await client.actor(order, 'o-1').send({ type: 'order.price' }, { whenFull: 'wait', deadlineMs: 1_000 })
  // @ts-expect-error TS2322 one refuses or waits
  await client.actor(order, 'o-1').send({ type: 'order.price' }, { whenFull: 'drop' })
  // @ts-expect-error TS2339 a client runs nothing that could be redriven
  await client.redrive('order/o-1')
}

// What an actor is told of a message that found no room.
export const refusedType = ({ type, to, event, reason }: MessageRefused): readonly ['message.refused', string, string, 'overflow'] => [type, to, event, reason]

// ── The actor ──

export async function starts(orders: ActorHandle<typeof order>, lamps: ActorHandle<typeof lamp>, supervisors: ActorHandle<typeof supervisorMachine>): Promise<void> {
  await orders.start({ input: { customer: 'ann' }, id: 'request-1', run: 'r-1' })
  // @ts-expect-error TS2345 a machine with input is started with it
  await orders.start({})
  // @ts-expect-error TS2322 the input is the machine's
  await orders.start({ input: { customer: 5 } })
  await lamps.start({})
  await supervisors.start({})
  await supervisors.start({ input: { workingMax: 2 } })
  // @ts-expect-error TS2322 also where it may be left out
  await supervisors.start({ input: { workingMax: '2' } })
  is<Awaited<ReturnType<typeof orders.input>>, { customer: string } | undefined>(true)
}

export async function events(actor: ActorHandle<typeof order>): Promise<void> {
  await actor.send({ type: 'order.place', items: ['tea'] }, { id: 'request-2' })
  // @ts-expect-error TS2322 the machine knows no such event
  await actor.send({ type: 'order.cancel' })
  // @ts-expect-error TS2345 the event has a payload
  await actor.send({ type: 'order.place' })
  // @ts-expect-error TS2353 there is no such option
  await actor.send({ type: 'order.price' }, { key: 'request-2' })
  const price = await actor.ask<number>({ type: 'order.price' }, { deadlineMs: 1_000 })
  is<typeof price, number>(true)
  const answer = await actor.ask({ type: 'order.price' }, { deadlineMs: 1_000 })
  is<typeof answer, unknown>(true)
  await actor.ask({ type: 'order.price' }, { signal: new AbortController().signal })
  // @ts-expect-error TS2561 nobody waits for ever for an answer
  await actor.ask({ type: 'order.price' }, { deadline: Infinity })
  // @ts-expect-error TS2322 the machine knows no such event
  await actor.ask({ type: 'order.guess' }, { deadlineMs: 1_000 })
}

export async function snapshots(actor: ActorHandle<typeof order>): Promise<void> {
  const snapshot = await actor.snapshot()
  // @ts-expect-error TS18048 the actor may not exist
  snapshot.context
  is<NonNullable<typeof snapshot>['context'], { items: string[]; cents: number; receipt: string | null }>(true)
  is<NonNullable<typeof snapshot>['value'], 'open' | 'paying' | 'weighing' | 'pricing' | 'paid'>(true)
  snapshot?.matches('paid')
  // @ts-expect-error TS2345 the machine has no such state
  snapshot?.matches('lost')
  const output = await actor.output({ deadlineMs: 1_000 })
  is<typeof output, { receipt: string | null }>(true)
  const failure = await actor.failure()
  is<NonNullable<typeof failure>['snapshot'], typeof snapshot>(true)
  is<Awaited<ReturnType<typeof actor.status>>, 'active' | 'done' | 'stopped' | 'failed' | undefined>(true)
}

export async function waits(actor: ActorHandle<typeof order>): Promise<void> {
  const paid = await actor.waitFor((snapshot) => snapshot.matches('paid') && snapshot.context.receipt !== null, { deadlineMs: 1_000 })
  is<typeof paid.context.cents, number>(true)
  // @ts-expect-error TS2345 the machine has no such state
  await actor.waitFor((snapshot) => snapshot.matches('shipped'))
  // @ts-expect-error TS2339 context has no such key
  await actor.waitFor((snapshot) => snapshot.context.shipped)
  actor.subscribe(({ context }) => is<typeof context.items, string[]>(true)).unsubscribe()
  actor.on('order.paid', (event) => is<typeof event, { type: 'order.paid'; receipt: string }>(true)).unsubscribe()
  actor.on('*', (event) => is<(typeof event)['type'], 'order.paid' | 'order.refused'>(true))
  // @ts-expect-error TS2345 the machine emits no such event
  actor.on('order.shipped', () => {})
}

// What is known of a machine only at run time, or was never typed, can be used all the same.
export async function looseOnes(system: Awaited<ReturnType<typeof createClient>>): Promise<void> {
  const actor = system.actor(untyped, 'u-1')
  await actor.start({})
  await actor.start({ input: { anything: 1 } })
  await actor.send({ type: 'GO' })
  await actor.send({ type: 'ELSEWHERE', n: 1 })
  const snapshot = await actor.waitFor((s) => s.matches('b'))
  is<typeof snapshot.context.n, number>(true)
  const found = system.actorAt('order/o-1~packer')
  await found.start({ input: 5 })
  await found.send({ type: 'order.place', items: [] })
  const seen = await found.snapshot()
  console.log(seen?.value, seen?.status, seen?.context, await found.output())
  is<ReturnType<typeof toMermaid>, string>(true)
  console.log(toXStateJson(untyped), toMermaid(order))
}

// ── Parents ──

/** A parent hears of its children by facts, and of those under a supervisor by reports. */
export const parent = setup({
  types: { context: {} as { error: string }, events: {} as ChildFact | SupervisorReport | { type: 'go'; boss: string } },
  actors: { crew: supervisorMachine },
  actions: {
    note: assign({ error: ({ event }) => (event.type === 'child.failed' ? event.error.message : event.type === 'supervisor.ended' ? event.reason : '') }),
    greet: sendTo(({ event }) => refTo(event.type === 'go' ? event.boss : 'boss/main'), { type: 'hello' }),
    engage: enqueueActions(({ enqueue }) => {
      enqueue.sendTo('crew', { type: 'child.request', child: { id: 'a', machine: 'packer' } })
      enqueue(durableChild(() => ({ machine: 'packer', id: 'b' })))
    }),
  },
}).createMachine({
  id: 'parent',
  context: { error: '' },
  // What the supervisor ends with is typed, and so are its options.
  invoke: { id: 'crew', src: 'crew', input: { workingMax: 2, backoff: { firstMs: 100, factor: 2, maxMs: 1_000, jitter: 0 } }, onDone: { actions: assign({ error: ({ event }) => event.output.message ?? '' }) } },
  on: { go: { actions: ['greet', 'engage'] }, 'child.*': { actions: 'note' }, 'supervisor.ended': { actions: 'note' } },
})

// ── Errors ──

export function errors(error: unknown): string {
  if (!isHoldfastError(error)) return 'not one of ours'
  is<typeof error.code, string>(true)
  if (error instanceof LimitError) return `${error.what} ${error.limit.toFixed()} ${error.actual.toFixed()}`
  if (error instanceof DeadlineError) return error.deadlineMs.toFixed()
  if (error instanceof StoreError) return is<typeof error.outcome, 'failed' | 'unknown'>(true) ?? error.outcome
  if (error instanceof SnapshotError) return is<typeof error.reason, 'corrupted' | 'newer-format' | 'unknown-machine' | 'unknown-version' | 'other-structure'>(true) ?? error.address
  if (error instanceof TurnError) return error.reason
  if (error instanceof ActorFailedError) return error.address
  // @ts-expect-error TS2339 only some have an address
  return error.address
}

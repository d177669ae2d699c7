/**
 * The same machines and events, run by XState's own `createActor` under `createWebSocketInspector` of
 * `@statelyai/inspect`, and by an actor system under ours: what arrives at a WebSocket server is the same, byte for
 * byte, but for the wall-clock time and the ids of sessions.
 */
import { createWebSocketInspector as statelyInspector } from '@statelyai/inspect'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SimulatedClock, assign, createActor, emit, enqueueActions, fromCallback, fromPromise, fromTransition, log, raise, sendParent, sendTo, setup, spawnChild, stopChild, type ActorRefFrom, type AnyActorRef, type AnyStateMachine } from 'xstate'
import { createWebSocketInspector, type WebSocketInspectorOptions } from 'holdfast/inspect'
import { World } from 'holdfast/testing'
import { InspectorServer, comparable, difference } from '../support/inspector-server.js'

/** What the effects of one side wait for. */
class Outside {
  readonly promises = new Map<string, { resolve(value: unknown): void; reject(error: unknown): void }>()
  readonly callbacks = new Map<string, (event: { type: string; [key: string]: unknown }) => void>()
}

type Step =
  | { readonly send: { readonly type: string; readonly [key: string]: unknown } }
  | { readonly advance: number }
  | { readonly resolve: string; readonly value?: unknown }
  | { readonly reject: string; readonly error: unknown }
  | { readonly sendBack: string; readonly event: { readonly type: string; readonly [key: string]: unknown } }
  | { readonly stop: true }

interface Scenario {
  readonly machine: (outside: Outside) => AnyStateMachine
  readonly input?: unknown
  readonly steps: readonly Step[]
}

const settle = async (): Promise<void> => {
  // The inspector of @statelyai/inspect writes each event in a timer of its own.
  for (let i = 0; i < 2; i++) {
    await new Promise((resolve) => setImmediate(resolve))
    await new Promise((resolve) => setTimeout(resolve, 0))
  }
}

function outcome(outside: Outside, step: Step): void {
  if ('resolve' in step) outside.promises.get(step.resolve)!.resolve(step.value)
  if ('reject' in step) outside.promises.get(step.reject)!.reject(step.error)
  if ('sendBack' in step) outside.callbacks.get(step.sendBack)!(step.event)
}

async function natively({ machine, input, steps }: Scenario, server: InspectorServer): Promise<void> {
  const outside = new Outside()
  const inspector = statelyInspector({ url: server.url })
  await server.until(() => server.sockets.length === 1)
  const clock = new SimulatedClock()
  const actor = createActor(machine(outside), { id: 'a-1', input: input as never, clock, inspect: inspector.inspect, logger: () => {} })
  actor.subscribe({ error: () => {} })
  actor.start()
  await settle()
  for (const step of steps) {
    if ('send' in step) actor.send(step.send)
    if ('advance' in step) clock.increment(step.advance)
    if ('stop' in step) actor.stop()
    outcome(outside, step)
    await settle()
  }
  inspector.event('end', 'end')
  await server.until(() => server.frames.at(-1)?.includes('"sessionId":"end"') === true)
  server.frames.pop()
  inspector.stop()
}

async function durably({ machine, input, steps }: Scenario, server: InspectorServer, options: WebSocketInspectorOptions = { redact: 'nothing' }): Promise<void> {
  const outside = new Outside()
  const inspector = createWebSocketInspector({ ...options, url: server.url, now: () => 0 })
  const made = machine(outside)
  const world = new World({ machines: [made], inspect: inspector.inspect })
  await world.start()
  const actor = world.system.actor(made, 'a-1')
  await actor.start({ input: input as never })
  await world.settled()
  for (const step of steps) {
    if ('send' in step) await actor.send(step.send)
    if ('advance' in step) await world.advance(step.advance)
    if ('stop' in step) await actor.stop()
    outcome(outside, step)
    await world.settled()
  }
  await inspector.stop()
  expect(inspector.stats().dropped).toBe(0)
  await world.stop()
}

let native: InspectorServer
let ours: InspectorServer
beforeEach(async () => void ([native, ours] = await Promise.all([InspectorServer.start(), InspectorServer.start()])))
afterEach(() => Promise.all([native.stop(), ours.stop()]))

async function both(scenario: Scenario, options?: WebSocketInspectorOptions): Promise<string[]> {
  await natively(scenario, native)
  await durably(scenario, ours, options)
  const [expected, got] = [comparable(native.frames), comparable(ours.frames)]
  for (const [i, frame] of expected.entries()) if (got[i] !== frame) expect({ at: i, frame: difference(got[i] ?? 'nothing', frame) }).toEqual({ at: i, frame: difference(frame, got[i] ?? 'nothing') })
  expect(got.length).toBe(expected.length)
  return got
}

const any = {} as never

// ── Machines ──

const promise = (outside: Outside) =>
  fromPromise(({ self, input: _ }: { self: AnyActorRef; input: unknown }) => new Promise((resolve, reject) => outside.promises.set(self.id, { resolve, reject })))

const callback = (outside: Outside) =>
  fromCallback(({ sendBack, receive, self }) => {
    outside.callbacks.set(self.id, sendBack)
    receive(() => {})
  })

const transitions: Scenario = {
  machine: () =>
    setup({
      types: { context: any as { n: number; seen: string[] }, input: any as { n: number }, output: any as object, tags: any as string, emitted: any as { type: string } },
      guards: { isOdd: ({ context }) => context.n % 2 === 1, isOver: ({ context }, { max }: { max: number }) => context.n > max },
      actions: { count: assign({ n: ({ context }) => context.n + 1 }), note: assign({ seen: ({ context, event }) => [...context.seen, event.type] }), tell: () => {}, say: log('hello'), shout: emit({ type: 'shouted' }) },
      delays: { soon: 50 },
    }).createMachine({
      id: 'light',
      version: '2.1.0',
      description: 'All that a chart may have.',
      context: ({ input }) => ({ n: input.n, seen: [] }),
      initial: 'idle',
      entry: ['tell', 'say'],
      on: { 'jump.*': { target: '.both', reenter: true }, '*': { actions: 'note' }, nothing: undefined },
      states: {
        idle: { tags: 'resting', on: { go: { target: 'counting', actions: ['count', 'shout'] }, forbidden: undefined } },
        counting: {
          entry: ['count', raise({ type: 'again' })],
          on: { again: { actions: [enqueueActions(({ enqueue, check }) => void (check('isOdd') && enqueue('count'))), 'note'] } },
          always: [{ guard: { type: 'isOver', params: { max: 3 } }, target: 'both' }, { guard: 'isOdd', actions: 'count' }],
          after: { soon: { target: 'both', actions: 'note' } },
        },
        both: {
          type: 'parallel',
          states: {
            left: { initial: 'a', states: { a: { on: { swap: 'b' } }, b: { on: { swap: 'a' }, type: 'atomic' }, memory: { type: 'history', history: 'deep', target: 'a' } } },
            right: { initial: 'c', states: { c: { on: { finish: 'd' } }, d: { type: 'final' } } },
          },
          on: { leave: 'idle', back: '.left.memory', end: 'over' },
          exit: 'tell',
        },
        over: { type: 'final' },
      },
      output: ({ context }) => ({ total: context.n, seen: context.seen }),
    }) as unknown as AnyStateMachine,
  input: { n: 0 },
  steps: [{ send: { type: 'nothing' } }, { send: { type: 'forbidden' } }, { send: { type: 'unheard', of: [1, 'two', { three: null }] } }, { send: { type: 'go' } }, { advance: 50 }, { send: { type: 'swap' } }, { send: { type: 'leave' } }, { send: { type: 'jump.here' } }, { send: { type: 'back' } }, { send: { type: 'finish' } }, { send: { type: 'end' } }],
}

const invoked: Scenario = {
  machine: (outside) =>
    setup({
      types: { context: any as { answer: unknown } },
      actors: { work: promise(outside), listen: callback(outside) },
      actions: { keep: assign({ answer: ({ event }) => (event as unknown as { output: unknown }).output ?? null }), keepError: assign({ answer: ({ event }) => (event as unknown as { error: unknown }).error }) },
    }).createMachine({
      id: 'invoking',
      context: { answer: null },
      initial: 'working',
      states: {
        working: {
          invoke: [
            { id: 'first', src: 'work', input: { task: 'a', depth: { of: [1] } }, onDone: { target: 'failing', actions: 'keep' } },
            { id: 'ears', src: 'listen', systemId: 'listener', input: 5, onDone: 'over' },
          ],
          on: { 'ears.ping': { actions: sendTo('ears', ({ event }) => ({ type: 'ping', n: (event as unknown as { n: number }).n })) }, pong: { actions: 'keep' } },
        },
        failing: { invoke: { id: 'second', src: 'work', onError: { target: 'again', actions: 'keepError' } } },
        again: { invoke: { src: 'work', onError: 'over' } },
        over: { type: 'final' },
      },
    }) as unknown as AnyStateMachine,
  steps: [
    { send: { type: 'ears.ping', n: 7 } },
    { sendBack: 'ears', event: { type: 'pong', of: 'itself' } },
    { resolve: 'first', value: { text: 'done', list: [] } },
    { reject: 'second', error: new Error('no such luck') },
    { reject: '0.invoking.again', error: Object.assign(new TypeError('again'), { code: 'E_AGAIN' }) },
  ],
}

const family: Scenario = {
  machine: () => {
    const grandchild = setup({}).createMachine({ id: 'grandchild', initial: 'here', states: { here: { on: { leave: 'gone' } }, gone: { type: 'final', entry: sendParent({ type: 'small.left' }) } }, output: { left: true } })
    const child = setup({ types: { context: any as { name: string; heard: number }, input: any as { name: string } }, actors: { grandchild } }).createMachine({
      id: 'child',
      context: ({ input }) => ({ name: input.name, heard: 0 }),
      invoke: { src: 'grandchild', id: 'small', onDone: { actions: sendParent(({ context, event }) => ({ type: 'family.news', of: context.name, output: event.output })) } },
      on: { hear: { actions: assign({ heard: ({ context }) => context.heard + 1 }) }, 'small.go': { actions: sendTo('small', { type: 'leave' }) }, end: { actions: sendParent({ type: 'bye' }) } },
    })
    const counter = fromTransition((state: { n: number }, event: { type: string }) => (event.type === 'more' ? { n: state.n + 1 } : state), { n: 0 })
    return setup({
      types: { context: any as { favourite: ActorRefFrom<typeof child> | null; counted: number } },
      actors: { child, counter },
    }).createMachine({
      id: 'parent',
      context: ({ spawn }) => ({ favourite: spawn('child', { id: 'first', systemId: 'elder', input: { name: 'first' } }), counted: 0 }),
      entry: [spawnChild('child', { id: 'second', input: { name: 'second' } }), spawnChild('counter', { id: 'counter', syncSnapshot: true })],
      on: {
        tell: { actions: [sendTo(({ context }) => context.favourite!, { type: 'hear' }), sendTo(({ system }) => system.get('elder') as AnyActorRef, { type: 'hear' })] },
        go: { actions: sendTo('second', { type: 'small.go' }) },
        count: { actions: sendTo('counter', { type: 'more' }) },
        'xstate.snapshot.counter': { actions: assign({ counted: ({ event }) => (event as unknown as { snapshot: { context: { n: number } } }).snapshot.context.n }) },
        'family.news': { actions: assign({ favourite: null }) },
        more: { actions: spawnChild('child', { input: { name: 'unnamed' } }) },
        stop: { actions: stopChild('second') },
      },
    }) as unknown as AnyStateMachine
  },
  steps: [{ send: { type: 'tell' } }, { send: { type: 'count' } }, { send: { type: 'go' } }, { send: { type: 'more' } }, { send: { type: 'stop' } }, { send: { type: 'tell' } }, { stop: true }],
}

const delayed: Scenario = {
  machine: () =>
    setup({}).createMachine({
      id: 'delayed',
      initial: 'a',
      states: {
        a: { after: { 100: 'b', 1_000: 'c' }, entry: raise({ type: 'later' }, { delay: 50, id: 'mine' }), on: { later: { actions: log('late') }, call: { actions: sendTo(({ self }) => self, { type: 'later' }, { delay: 20, id: 'other' }) } } },
        b: { entry: enqueueActions(({ enqueue }) => (enqueue.cancel('mine'), enqueue.raise({ type: 'on' }, { delay: 5 }))), on: { on: 'c' } },
        c: { type: 'final' },
      },
    }),
  steps: [{ send: { type: 'call' } }, { advance: 20 }, { advance: 30 }, { advance: 50 }, { advance: 5 }],
}

const odd: Scenario = {
  machine: () =>
    setup({
      types: { context: any as Record<string, unknown> },
      actors: { child: setup({}).createMachine({ id: 'kept' }) },
    }).createMachine({
      id: 'odd',
      context: ({ spawn }) => ({
        zero: -0,
        small: 1e-7,
        large: 1e21,
        nothing: null,
        absent: undefined,
        text: '"quoted" \\ \u2028 \u0000 é 😀 \ud800',
        list: [null, [], {}, [[]]],
        10: 'ten',
        9: 'nine',
        Z: 1,
        a: 2,
        'with space': true,
        '': 'empty name',
        toJSON: 'a text, not a function',
        deep: Array.from({ length: 14 }).reduce<unknown>((inner, _, i) => (i % 2 ? [inner, i] : { inner, i }), 'bottom'),
        long: 'x'.repeat(20_000),
        wide: Object.fromEntries(Array.from({ length: 250 }, (_, i) => [`k${(i * 7919) % 250}`, i])),
        child: spawn('child', { id: 'kept' }),
        imitation: { type: 'reference', id: 'x' },
      }),
      on: { set: { actions: assign({ value: ({ event }) => event }) } },
    }) as unknown as AnyStateMachine,
  steps: [{ send: { type: 'set', n: 5, deep: { a: { b: { c: { d: { e: { f: { g: { h: { i: { j: 1 } } } } } } } } } } } }, { send: { type: 'ünheard', '': null } }],
}

const failing: Scenario = {
  machine: () =>
    setup({
      types: { context: any as object },
      actors: { brittle: setup({}).createMachine({ id: 'brittle', on: { crack: { guard: () => { throw new Error('cracked') } } } }) },
    }).createMachine({
      id: 'failing',
      context: {},
      initial: 'guarded',
      invoke: { src: 'brittle', id: 'brittle', onError: '.careful' },
      states: { guarded: {}, careful: { on: { boom: { guard: () => { throw new RangeError('boom') }, target: 'guarded' } } } },
      on: { crack: { actions: sendTo('brittle', { type: 'crack' }) } },
    }) as unknown as AnyStateMachine,
  steps: [{ send: { type: 'crack' } }, { send: { type: 'boom' } }],
}

const unhandled: Scenario = {
  machine: (outside) => setup({ actors: { work: promise(outside) } }).createMachine({ id: 'unhandled', invoke: { src: 'work', id: 'work', input: null } }) as unknown as AnyStateMachine,
  steps: [{ send: { type: 'x' } }, { reject: 'work', error: new Error('nobody handles this') }],
}

const inline: Scenario = {
  machine: (outside) =>
    setup({}).createMachine({
      id: 'inline',
      initial: 'a',
      states: { a: { entry: function greet() {}, on: { next: { guard: ({ event }) => event.type === 'next', target: 'b', actions: [() => {}, { type: 'unimplemented', params: { a: 1 } } as never] } } }, b: { invoke: { src: promise(outside), onDone: 'c' } as never }, c: {} },
    }) as unknown as AnyStateMachine,
  steps: [{ send: { type: 'next' } }, { resolve: '0.inline.b', value: 1 }],
}

const scenarios = { transitions, invoked, family, delayed, odd, failing, unhandled, inline }

describe('an actor system sends what createWebSocketInspector of @statelyai/inspect sends', () => {
  // By default, too: there is no secret in them.
  test.each(Object.entries(scenarios).flatMap(([name, scenario]) => [[name, 'nothing', scenario], [name, 'secrets', scenario]] as const))('%s, redacting %s', async (_, redact, scenario) => {
    const messages = await both(scenario, { redact })
    expect(messages.length).toBeGreaterThan(4)
  })
})

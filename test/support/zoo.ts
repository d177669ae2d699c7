/** A machine with one of everything that a chart may have, for what draws and exports machines. */
import { and, assign, cancel, createMachine, emit, enqueueActions, fromPromise, log, not, or, raise, sendTo, setup, spawnChild, stateIn, stopChild, type AnyStateMachine } from 'xstate'

const quiet = (): void => {}

export const zoo = setup({
  types: { context: {} as { n: number }, events: {} as { type: string } },
  actors: { work: fromPromise(async () => 1), kid: createMachine({}) },
  guards: { may: () => true, above: (_, params: { limit: number }) => params.limit > 0, 'may & <can>': () => true, 'is"quoted"': () => true },
  actions: { one: quiet, two: (_, _params: { q: number }) => {}, note: (_, _params: { of: string }) => {}, enter: quiet, leave: quiet },
  delays: { slow: 10 },
}).createMachine({
  id: 'zoo',
  version: '3',
  description: 'All "of" it.',
  initial: 'both',
  context: { n: 1 },
  tags: ['rooted'],
  entry: 'one',
  exit: ['leave'],
  on: {
    '*': { actions: 'one' },
    'any.*': { target: '.over', reenter: true },
    forbidden: {},
    'also:forbidden;': undefined,
    stay: { guard: 'may', actions: ['one', { type: 'two', params: { q: 1 } }] },
    back: '.both.left.memory',
  },
  after: { 5000: '.over' },
  invoke: { src: 'kid', id: 'kid', systemId: 'sys', onSnapshot: { actions: 'one' } },
  output: { a: 1 },
  states: {
    both: {
      type: 'parallel',
      onDone: { target: 'over', guard: 'may', actions: 'one' },
      states: {
        left: {
          initial: 'a',
          states: {
            a: {
              on: {
                go: [{ target: 'b', guard: 'may & <can>', actions: ['one', 'enter'], description: 'goes', meta: { x: 1 } }, { target: 'a', guard: and(['may', not(or(['may', { type: 'above', params: { limit: 2 } }]))]) }, { actions: 'enter' }],
                twice: { target: ['#zoo.both.left.b', '#zoo.both.right.d'] },
              },
            },
            b: { after: { 100: 'a', slow: { target: 'a', guard: 'may', reenter: true } }, on: { self: { target: 'b', reenter: true }, again: { target: 'b' } } },
            memory: { type: 'history', history: 'deep', target: 'b' },
            shallow: { type: 'history' },
          },
        },
        right: {
          initial: { target: 'c', actions: 'enter' } as never,
          states: {
            c: {
              always: [{ target: 'd', guard: 'is"quoted"', actions: 'one' }, { guard: stateIn('#zoo.both.left.b'), actions: ['enter'] }],
              entry: ['enter', raise({ type: 'go' }, { delay: 7, id: 'r' }), sendTo('kid', { type: 'ping' }), emit({ type: 'told' } as never), cancel('r'), log('said'), spawnChild('kid', { id: 'second' }), stopChild('second'), assign({ n: 2 }), enqueueActions(() => {})],
              exit: 'leave',
              tags: ['tagged', 'twice'],
              meta: { m: 1 },
              description: 'It is c.',
            },
            d: { type: 'final', output: { z: 1 } },
            'd.': { invoke: { src: 'work', id: 'w', input: { i: 1 }, onDone: { target: 'c', actions: { type: 'note', params: ({ event }) => ({ of: event.type }) } }, onError: [{ target: 'c', guard: 'may', actions: 'one' }, 'd'], onSnapshot: { actions: 'one' } } },
            d_: { invoke: [{ src: 'work' }, { src: 'work' }] },
          },
        },
      },
    },
    over: { type: 'final', description: 'Nothing more.', entry: 'enter' },
    elsewhere: { id: 'custom', route: { guard: 'may' } },
  },
}) as unknown as AnyStateMachine

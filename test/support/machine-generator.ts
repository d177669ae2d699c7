/**
 * Random XState machines that use every construct the runtime promises to run, and the two sides that run them:
 * what actions, promises, callbacks and observables do is recorded per side, so that XState itself and the runtime
 * can be compared step by step.
 *
 * Three habits keep a machine inside what both sides define alike (see docs/semantics.md): a delay is cancelled before
 * its id is used again, a child is stopped before its id is used again, and custom actions do not throw.
 */
import {
  and,
  assign,
  cancel,
  createMachine,
  emit,
  enqueueActions,
  fromCallback,
  fromEventObservable,
  fromObservable,
  fromPromise,
  fromTransition,
  log,
  not,
  or,
  raise,
  sendParent,
  sendTo,
  setup,
  spawnChild,
  stateIn,
  stopChild,
  type AnyActorRef,
  type AnyStateMachine,
} from 'xstate'
import { append, durableChild, fromAsk, refTo, restartDurableChild, stopDurableChild } from '../../src/protocol.js'
import type { Random } from './random.js'

/** What one side has recorded. Effects are keyed by the path of ids from the root. */
export class Side {
  readonly log: unknown[] = []
  readonly promises = new Map<string, { resolve(value: unknown): void; reject(error: unknown): void }>()
  readonly callbacks = new Map<string, { sendBack(event: { type: string }): void; receivers: ((event: unknown) => void)[] }>()
  readonly observers = new Map<string, { next(value: unknown): void; error(error: unknown): void; complete(): void }>()
}

/** The side whose actors run now; set by whoever drives them. */
export const now: { side: Side } = { side: new Side() }

export function pathOf(ref: { id: string; _parent?: unknown }): string {
  const parent = ref._parent as { id: string; _parent?: unknown } | undefined
  return parent ? `${pathOf(parent)}/${ref.id}` : ''
}

export const eventTypes = ['E0', 'E1', 'E2', 'E3', 'GO.a', 'GO.b', 'X'] as const

/* Machines here are made of whatever the generator rolls; XState's types cannot follow that. */
/* oxlint-disable typescript/no-explicit-any */
type Any = any

export interface Generated {
  readonly machine: AnyStateMachine
  /** Names of the constructs the machine uses. */
  readonly constructs: ReadonlySet<string>
}

export interface GeneratorOptions {
  readonly id: string
  /** How many levels of child machines may still be made. */
  readonly childLevels: number
  /** Whether guards and assigns may throw. */
  readonly throwing: boolean
  /** Neither parallel regions nor history; transitions may lead to the root, too. Default false. */
  readonly oneStateAtATime?: boolean
  /** What invoked and spawned effects run. Default: what {@link Side} drives by hand. */
  readonly logics?: Logics
  /** Length of the shortest delay's fifth, ms. Default 1. */
  readonly unitMs?: number
  /** Whether it runs under a parent, which it may send to. Default: unless its id is `root`. */
  readonly isChild?: boolean
  /** An event that it cannot handle: it throws. Such a machine seldom handles the failure of an effect either. Default: none. */
  readonly failsOn?: string
  /** Actors elsewhere that it may send to, ask and start. Default: none. */
  readonly neighbours?: Neighbours
}

export interface Logics {
  promise(): Any
  callback(): Any
  observable(): Any
  eventObservable(): Any
  /** An external action. Default: machines have none. */
  external?(): Any
}

/** By address. */
export interface Neighbours {
  /** Takes `{ type: 'carry', to, event }` and sends the event on. */
  readonly carrier: string
  readonly carriesTo: string
  /** Answers `{ type: 'question', n }`, or not. */
  readonly asked: string
  /** Durable children `w0` and `w1` of this machine, which takes an input, under this key. */
  readonly child?: { readonly machine: string; readonly key: string }
}

const drivenByHand: Logics = { promise: promiseLogic, callback: callbackLogic, observable: observableLogic, eventObservable: eventObservableLogic }

export function generateMachine(random: Random, options: GeneratorOptions): Generated {
  return new Generator(random, options).make()
}

class Generator {
  private readonly used = new Set<string>()
  private stateNames: string[] = []
  private count = 0
  private readonly isChild: boolean
  private readonly unitMs: number
  private readonly actors: Record<string, Any> = {}
  private readonly random: Random
  private readonly options: GeneratorOptions

  constructor(random: Random, options: GeneratorOptions) {
    this.random = random
    this.options = options
    this.isChild = options.isChild ?? options.id !== 'root'
    this.unitMs = options.unitMs ?? 1
  }

  make(): Generated {
    const { random } = this
    const logics = this.options.logics ?? drivenByHand
    this.actors['job'] = logics.promise()
    this.actors['line'] = logics.callback()
    this.actors['feed'] = logics.observable()
    this.actors['wire'] = logics.eventObservable()
    this.actors['tally'] = reducerLogic()
    const { neighbours } = this.options
    if (logics.external) this.actors['pay'] = logics.external()
    if (neighbours) this.actors['query'] = fromAsk<unknown, Any>(({ input }) => ({ to: neighbours.asked, event: { type: 'question', n: input?.n ?? 0 }, deadlineMs: 45 * this.unitMs }))
    if (this.options.childLevels > 0) {
      for (const name of ['kid', 'twin']) {
        const child = generateMachine(random, { ...this.options, id: name, isChild: true, childLevels: this.options.childLevels - 1 })
        this.actors[name] = child.machine
        for (const construct of child.constructs) this.used.add(construct)
        this.used.add('child machine')
      }
    }
    const implementations = {
      actors: this.actors,
      actions: {
        note: ({ context, event }: Any, params: Any) => void now.side.log.push(['note', params, event.type, context.n]),
        bump: assign({ n: ({ context }: Any) => context.n + 1 }),
        warn: log(({ context }: Any) => `n=${context.n}`, 'warn'),
        nudge: ({ self }: Any) => void self.send({ type: 'PING' }),
      },
      guards: {
        even: ({ context }: Any) => context.n % 2 === 0,
        above: ({ context }: Any, params: Any) => context.n > params.limit,
        both: and(['even', not({ type: 'above', params: { limit: 5 } } as Any)]) as Any,
      },
      delays: {
        short: 5 * this.unitMs,
        grow: ({ context }: Any) => (10 + (context.n % 3) * 5) * this.unitMs,
      },
    }
    const config = this.machineConfig()
    const machine: AnyStateMachine =
      random.chance(0.5) ?
        (this.use('setup'), (setup({ types: {} as Any, ...(implementations as Any) }) as Any).createMachine(config))
      : (this.use('createMachine'), createMachine(config as Any, implementations as Any) as Any)
    return { machine, constructs: this.used }
  }

  private use(construct: string): void {
    this.used.add(construct)
  }

  private machineConfig(): Any {
    const { random } = this
    this.stateNames = []
    const states = this.states(3, 0, '')
    if (random.chance(0.4)) states['end'] = this.finalState()
    const names = Object.keys(states).filter((name) => states[name].type !== 'history')
    const root: Any = {
      id: this.options.id,
      version: '1',
      options: { maxIterations: 1_000 },
      initial: names[0],
      context: random.chance(0.5)
        ? { n: 0, seq: 0, list: [], last: null }
        : (this.use('input'), ({ input }: Any) => ({
            n: input?.n ?? 0,
            seq: 0,
            list: [],
            last: null,
            sibling: input?.sibling ?? null,
          })),
      states,
      on: this.transitions(names.map((name) => `.${name}`), 2, ''),
    }
    this.addFamily(root)
    if (random.chance(0.5)) {
      this.use('machine output')
      root.output = ({ context }: Any) => ({ n: context.n, list: context.list.length })
    }
    if (random.chance(0.3)) root.entry = this.actions('entry')
    if (this.options.neighbours?.child && !this.isChild) this.addDurableChildren(root, this.options.neighbours.child)
    return root
  }

  /** Transitions at the root that react to what children send and to their ends, so that nothing fails by chance. */
  private addFamily(root: Any): void {
    const { random } = this
    root.on['PING'] = { actions: assign({ n: ({ context }: Any) => context.n + 1, last: 'ping' }) }
    if (random.chance(this.options.failsOn ? 0.3 : 0.8)) {
      this.use('error event handled')
      root.on['xstate.error.actor.*'] = { actions: assign({ last: ({ event }: Any) => `error ${String(event.error?.message ?? event.error)}` }) }
    }
    if (random.chance(0.8)) root.on['xstate.done.actor.*'] = { actions: assign({ last: ({ event }: Any) => ({ done: event.output ?? null }) }) }
    if (random.chance(0.5)) root.on['xstate.snapshot.*'] = { actions: assign({ last: ({ event }: Any) => `snapshot ${event.snapshot.status}` }) }
    if (this.options.failsOn) {
      root.on[this.options.failsOn] = {
        actions: assign({
          n: () => {
            throw new Error('as asked')
          },
        }),
      }
    }
    root.on['FROM.CHILD'] = { actions: [assign({ n: ({ context }: Any) => context.n + 1 }), { type: 'note', params: { from: 'child' } }] }
  }

  /**
   * A durable child that failed is restarted after a while, a few times. What is kept of two children, and beside what
   * the machine sends itself, does not depend on who was first.
   */
  private addDurableChildren(root: Any, { machine }: NonNullable<Neighbours['child']>): void {
    const keep = assign({ facts: ({ context, event }: Any) => ({ ...context.facts, [event.id]: [...(context.facts?.[event.id] ?? []), { type: event.type, reason: event.reason ?? null, output: event.output ?? null }] }) })
    const failures = ({ context, event }: Any): number => context.facts?.[event.id]?.filter((fact: Any) => fact.type === 'child.failed').length ?? 0
    const mend = (id: string): Any => ({
      guard: ({ context, event }: Any) => event.id === id && failures({ context, event }) < 3,
      actions: [keep, cancel(`mend-${id}`), raise({ type: 'MEND', id } as Any, { id: `mend-${id}`, delay: 3 * this.unitMs })],
    })
    const restart = (from: 'snapshot' | 'input'): Any => restartDurableChild(({ event }: Any) => ({ machine, id: event.id, from }))
    const start = (id: string): Any => durableChild(({ context }: Any) => ({ machine, id, input: { n: context.n } }))
    root.entry = [...(root.entry ?? []), start('w0'), start('w1')]
    root.on['child.started'] = root.on['child.stopped'] = { actions: keep }
    root.on['child.failed'] = [mend('w0'), mend('w1'), { actions: keep }]
    root.on['MEND'] = [{ guard: ({ context, event }: Any) => failures({ context, event }) === 2, actions: restart('input') }, { actions: restart('snapshot') }]
  }

  private finalState(): Any {
    this.use('final')
    const output = this.random.chance(0.5)
    if (output) this.use('state output')
    return { type: 'final', ...(output ? { output: ({ context }: Any) => ({ at: context.n }) } : {}), ...(this.random.chance(0.3) ? { entry: this.actions('entry') } : {}) }
  }

  private states(width: number, depth: number, path: string): Any {
    const { random } = this
    const count = 2 + random.below(width)
    const names = random.times(count, () => `s${this.count++}`)
    const states: Any = {}
    for (const name of names) {
      this.stateNames.push(name)
      states[name] = this.state(name, names, depth, `${path}.${name}`)
    }
    if (depth > 0 && random.chance(0.4) && !this.options.oneStateAtATime) {
      const name = `h${this.count++}`
      const deep = random.chance(0.5)
      this.use(deep ? 'history deep' : 'history shallow')
      states[name] = { type: 'history', history: deep ? 'deep' : 'shallow', ...(random.chance(0.5) ? { target: names[0] } : {}), id: `${this.options.id}-${name}` }
      this.historyIds.push(`${this.options.id}-${name}`)
    }
    return states
  }

  private readonly historyIds: string[] = []

  private state(name: string, siblings: string[], depth: number, path: string): Any {
    const { random } = this
    const state: Any = { id: `${this.options.id}-${name}`, on: this.transitions(siblings, 3, path) }
    if (random.chance(0.4)) state.entry = this.actions('entry')
    if (random.chance(0.3)) state.exit = this.actions('exit')
    if (random.chance(0.3)) (this.use('tags'), (state.tags = [`tag-${name}`]))
    if (random.chance(0.2)) (this.use('meta'), (state.meta = { about: name }))
    if (random.chance(0.2)) {
      this.use('always')
      // Each firing raises n, and the guard then is false: it always comes to rest.
      const rest = random.below(40)
      state.always = { guard: ({ context }: Any) => context.n % 40 === rest, actions: assign({ n: ({ context }: Any) => context.n + 1 }), ...(random.chance(0.5) ? { target: random.pick(siblings) } : {}) }
    }
    if (random.chance(0.3)) this.addAfter(state, siblings)
    if (random.chance(0.35)) this.addInvoke(state, siblings, name)
    if (depth < 2 && random.chance(depth === 0 ? 0.5 : 0.3)) {
      const children = this.states(2, depth + 1, path)
      const names = Object.keys(children).filter((child) => children[child].type !== 'history')
      if (random.chance(0.35) && !this.options.oneStateAtATime) {
        this.use('parallel')
        state.type = 'parallel'
        for (const child of Object.values(children) as Any[]) if (child.type === 'history') child.target = names[0]
      } else {
        this.use('hierarchy')
        if (random.chance(0.5)) {
          const final = `f${this.count++}`
          children[final] = this.finalState()
          children[names.at(-1)!].on['E1'] = { target: final }
        }
        state.initial = names[0]
      }
      state.states = children
      if (random.chance(0.5)) {
        this.use('done state')
        state.onDone = { target: random.pick(siblings), actions: this.actions('transition') }
      }
    }
    return state
  }

  private addAfter(state: Any, siblings: string[]): void {
    const { random } = this
    const target = random.chance(0.7) ? { target: random.pick(siblings) } : {}
    switch (random.below(3)) {
      case 0:
        this.use('after static')
        state.after = { [(10 + random.below(5) * 10) * this.unitMs]: { ...target, actions: this.actions('transition') } }
        break
      case 1:
        this.use('after dynamic')
        state.after = { grow: { ...target, actions: this.actions('transition') } }
        break
      default:
        this.use('after static')
        state.after = { short: [{ guard: 'even', ...target }, { actions: 'bump' }], [40 * this.unitMs]: { actions: 'note' } }
    }
  }

  private addInvoke(state: Any, siblings: string[], name: string): void {
    const { random } = this
    const src = this.childSource()
    this.use(`invoke ${kindName(src)}`)
    const invoke: Any = { id: `i-${name}`, src, input: ({ context }: Any) => ({ n: context.n, sibling: context.ref }) }
    if (random.chance(0.15)) {
      this.use('inline invoke')
      invoke.src = this.actors[src]
    }
    if (random.chance(0.7)) invoke.onDone = { ...(random.chance(0.6) ? { target: random.pick(siblings) } : {}), actions: assign({ last: ({ event }: Any) => ({ done: event.output ?? null }) }) }
    if (random.chance(this.options.failsOn ? 0.3 : 0.7)) invoke.onError = { ...(random.chance(0.6) ? { target: random.pick(siblings) } : {}), actions: assign({ last: ({ event }: Any) => `failed ${String(event.error?.message ?? event.error)}` }) }
    if (random.chance(0.4)) {
      this.use('onSnapshot')
      invoke.onSnapshot = { actions: assign({ n: ({ context }: Any) => context.n + 1, last: ({ event }: Any) => `saw ${event.snapshot.status}` }) }
    }
    // Two children of one machine would claim the same systemId, and XState never frees that of one that failed to start.
    if (!this.isChild && random.chance(0.3)) {
      this.use('systemId')
      invoke.systemId = `sys-${this.options.id}-${name}`
    }
    state.invoke = random.chance(0.2) ? [invoke, { id: `j-${name}`, src: 'job', onError: {} }] : invoke
  }

  private transitions(targets: string[], most: number, path: string): Any {
    const { random } = this
    const on: Any = {}
    for (let i = 0; i < most; i++) {
      let type: string = random.pick(eventTypes)
      if (type.startsWith('GO') && random.chance(0.4)) (this.use('wildcard'), (type = 'GO.*'))
      if (type === 'X' && random.chance(0.3)) (this.use('wildcard'), (type = '*'))
      if (type === '*') {
        // A wildcard that sends to its own actor would never come to rest.
        if (path !== '') on[type] = { actions: 'bump' }
        continue
      }
      on[type] = random.chance(0.25) ? [this.transition(targets, true), this.transition(targets, false)] : this.transition(targets, random.chance(0.4))
    }
    return on
  }

  private transition(targets: string[], guarded: boolean): Any {
    const { random } = this
    const t: Any = {}
    if (guarded) t.guard = this.guard()
    if (random.chance(0.65)) {
      if (this.historyIds.length > 0 && random.chance(0.25)) t.target = `#${random.pick(this.historyIds)}`
      else t.target = random.chance(0.8) || this.stateNames.length === 0 ? random.pick(targets) : `#${this.options.id}-${random.pick(this.stateNames)}`
      // Targets outside the siblings need an id reference; siblings of another level may not exist yet, so stick to ids that do.
      if (!t.target.startsWith('#') && !targets.includes(t.target)) delete t.target
      if (this.options.oneStateAtATime && random.chance(0.1)) (this.use('target root'), (t.target = `#${this.options.id}`))
      if (random.chance(0.15)) (this.use('reenter'), (t.reenter = true))
    }
    if (random.chance(0.8)) t.actions = this.actions('transition')
    return t
  }

  private guard(): Any {
    const { random } = this
    const roll = random.below(8)
    if (roll === 0) return (this.use('guard inline'), ({ context }: Any) => context.n % 3 !== 1)
    if (roll === 1) return (this.use('guard params'), { type: 'above', params: { limit: random.below(4) } })
    if (roll === 2) return (this.use('guard params'), { type: 'above', params: ({ context }: Any) => ({ limit: context.seq }) })
    if (roll === 3) return (this.use('guard and/or/not'), or(['even', and([not('even'), ({ context }: Any) => context.n > 2])]))
    if (roll === 4) return (this.use('guard and/or/not'), 'both')
    if (roll === 5 && this.stateNames.length > 0) return (this.use('stateIn'), not(stateIn(`#${this.options.id}-${random.pick(this.stateNames)}`)))
    if (roll === 6 && this.options.throwing && random.chance(0.15)) {
      this.use('throwing guard')
      return ({ context }: Any) => {
        if (context.n % 7 === 6) throw new Error('guard threw')
        return true
      }
    }
    return (this.use('guard named'), 'even')
  }

  private actions(place: 'entry' | 'exit' | 'transition'): Any[] {
    return this.random.times(1 + this.random.below(3), () => this.action(place)).flat()
  }

  private action(place: 'entry' | 'exit' | 'transition'): Any {
    const { random } = this
    const k = this.count++
    const rolls: (() => Any)[] = [
      () => (this.use('assign'), 'bump'),
      () => (this.use('assign'), assign({ list: ({ context, event }: Any) => [...context.list.slice(-4), event.type] })),
      () => (this.use('assign'), assign(({ context, event }: Any) => ({ n: context.n + (typeof event.by === 'number' ? event.by : 1), last: { nested: { k: [k, event.type] } } }))),
      () => (this.use('action named'), { type: 'note', params: { k } }),
      () => (this.use('action params'), { type: 'note', params: ({ context }: Any) => ({ k, n: context.n }) }),
      () => (this.use('action inline'), ({ context, event }: Any) => void now.side.log.push(['inline', k, event.type, context.n])),
      () => (this.use('log'), 'warn'),
      () => (this.use('emit'), emit(({ context }: Any) => ({ type: 'told', k, n: context.n }))),
      () => [(this.use('raise delayed'), cancel(`r${k}`)), raise({ type: 'E2', by: k % 3 } as Any, { id: `r${k}`, delay: random.chance(0.5) ? 15 * this.unitMs : (({ context }: Any) => (3 + context.n) * this.unitMs) as Any })],
      () => [(this.use('sendTo delayed'), cancel(`d${k}`)), sendTo(({ self }: Any) => self, { type: 'E3' } as Any, { id: `d${k}`, delay: 'grow' as Any })],
      () => (this.use('cancel'), cancel(`r${random.below(this.count)}`)),
      () => (this.use('sendTo self'), sendTo(({ self }: Any) => self, { type: 'PING' } as Any)),
      () => {
        this.use('enqueueActions')
        return enqueueActions(({ enqueue, check, context }: Any) => {
          if (check('even')) enqueue.assign({ n: context.n + 1 })
          else enqueue({ type: 'note', params: { enq: k } })
          if (context.n % 4 === 1) enqueue.raise({ type: 'PING' })
          enqueue.emit({ type: 'told', k })
          enqueue('bump')
        })
      },
      () => this.stopAndSpawn(k),
      () => this.spawnInAssign(k),
      () => {
        this.use('stopChild')
        return stopChild(`c${random.below(this.count)}`)
      },
      () => {
        this.use('sendTo reference in context')
        const type = random.pick(['E0', 'GO.a'])
        return enqueueActions(({ enqueue, context }: Any) => {
          if (context.ref) enqueue.sendTo(({ context: c }: Any) => c.ref, { type })
        })
      },
      () => {
        this.use('sendTo by systemId')
        return enqueueActions(({ enqueue, system }: Any) => {
          const all = Object.keys(system.getAll())
          if (all.length > 0) enqueue.sendTo(({ system: s }: Any) => s.get(all[all.length - 1]), { type: 'PING' })
        })
      },
      () => {
        this.use('sendTo sibling')
        return enqueueActions(({ enqueue, context }: Any) => {
          if (context.sibling) enqueue.sendTo(({ context: c }: Any) => c.sibling, { type: 'PING' })
        })
      },
      () => {
        this.use('references in context')
        return assign(({ self, context }: Any) => ({ me: self, boss: (self as Any)._parent ?? null, family: { ref: context.ref ?? null } }))
      },
    ]
    if (place !== 'exit') rolls.push(() => (this.use('raise'), enqueueActions(({ enqueue, context }: Any) => void (context.n % 3 === 0 ? enqueue.raise({ type: 'PING' }) : undefined))))
    if (place === 'transition') rolls.push(() => (this.use('raise'), raise({ type: 'PING' } as Any)))
    if (this.isChild) {
      rolls.push(() => (this.use('sendParent'), sendParent({ type: 'FROM.CHILD' } as Any)))
      rolls.push(() => [(this.use('sendParent delayed'), cancel(`p${k}`)), sendParent({ type: 'FROM.CHILD' } as Any, { id: `p${k}`, delay: 20 * this.unitMs })])
    }
    if (this.options.neighbours) rolls.push(...this.toNeighbours(this.options.neighbours, k))
    if (this.options.throwing && random.chance(0.01)) {
      return (
        this.use('throwing assign'),
        assign({
          n: ({ context }: Any) => {
            if (context.n % 5 === 4) throw new Error('assign threw')
            return context.n
          },
        })
      )
    }
    return random.pick(rolls)()
  }

  private toNeighbours({ carrier, carriesTo, child }: Neighbours, k: number): (() => Any)[] {
    const { random } = this
    const rolls: (() => Any)[] = [
      () => {
        this.use('sendTo address')
        const type = random.pick(eventTypes)
        return enqueueActions(({ enqueue, event }: Any) => {
          // What was carried twice is not carried on: two actors would keep each other busy for ever.
          const hops = typeof event.hops === 'number' ? event.hops : 0
          if (hops < 2) enqueue.sendTo(() => refTo(carrier), { type: 'carry', to: carriesTo, event: { type, by: k % 4, hops: hops + 1 } })
        })
      },
    ]
    rolls.push(
      ...rolls,
      () => (this.use('append'), append(({ context }: Any) => ({ stream: 'notes', value: { k, n: context.n } }))),
      () => (this.use('append shared'), append(({ context }: Any) => ({ stream: 'trace', value: { k, n: context.n }, shared: true }))),
    )
    // What an action sends its own actor and what a child tells it come in no order.
    if (!child) return [...rolls, () => (this.use('send in an action'), 'nudge')]
    const { machine, key } = child
    const id = `w${k % 2}`
    const start = (): Any => (this.use('durableChild'), durableChild(({ context }: Any) => ({ machine, id, input: { n: context.n % 2 } })))
    const tell = (): Any => {
      this.use('sendTo durable child')
      const type = random.pick(eventTypes)
      return sendTo(() => refTo(`${machine}/${key}~${id}`), { type, by: k % 3 } as Any)
    }
    return [...rolls, start, start, tell, tell, () => (this.use('stopDurableChild'), stopDurableChild(() => ({ machine, id })))]
  }

  private childSource(): string {
    return this.random.pick(Object.keys(this.actors))
  }

  private stopAndSpawn(k: number): Any {
    const src = this.childSource()
    this.use(`spawn ${kindName(src)}`)
    this.use('stopChild')
    const systemId = !this.isChild && this.random.chance(0.5) ? (this.use('systemId'), { systemId: `sys-${this.options.id}-c${k}` }) : {}
    return [stopChild(`c${k}`), spawnChild(src as Any, { id: `c${k}`, input: (({ context }: Any) => ({ n: context.n, sibling: context.ref })) as Any, ...systemId, ...(this.random.chance(0.3) ? { syncSnapshot: true } : {}) } as Any)]
  }

  private spawnInAssign(k: number): Any {
    const src = this.childSource()
    this.use(`spawn ${kindName(src)}`)
    this.use('spawn in assign')
    this.use('reference in context')
    return [
      // One living child of this kind at a time keeps machines small.
      stopChild(({ context }: Any) => context.ref),
      assign(({ spawn, context }: Any) => ({ seq: context.seq + 1, ref: spawn(src, { id: `a${k}-${context.seq}`, input: { n: context.n } }) })),
    ]
  }
}

function kindName(src: string): string {
  return { job: 'promise', line: 'callback', feed: 'observable', wire: 'event observable', tally: 'reducer', pay: 'external action', query: 'question' }[src] ?? 'machine'
}

function promiseLogic(): Any {
  return fromPromise(
    ({ self }) =>
      new Promise((resolve, reject) => {
        now.side.log.push(['started', pathOf(self as unknown as AnyActorRef & { _parent?: unknown })])
        now.side.promises.set(pathOf(self as Any), { resolve, reject })
      }),
  )
}

function callbackLogic(): Any {
  return fromCallback(({ self, sendBack, receive }) => {
    const side = now.side
    const path = pathOf(self as Any)
    const entry = { sendBack: sendBack as Any, receivers: [] as ((event: unknown) => void)[] }
    side.log.push(['started', path])
    side.callbacks.set(path, entry)
    receive((event) => void side.log.push(['received', path, event.type]))
    return () => {
      side.log.push(['disposed', path])
      if (side.callbacks.get(path) === entry) side.callbacks.delete(path)
    }
  })
}

function subscribable(self: Any): Any {
  return {
    subscribe(observer: Any) {
      const side = now.side
      const path = pathOf(self)
      side.log.push(['started', path])
      side.observers.set(path, observer)
      return {
        unsubscribe() {
          side.log.push(['unsubscribed', path])
          if (side.observers.get(path) === observer) side.observers.delete(path)
        },
      }
    },
  }
}

function observableLogic(): Any {
  return fromObservable(({ self }) => subscribable(self))
}

function eventObservableLogic(): Any {
  return fromEventObservable(({ self }) => subscribable(self))
}

function reducerLogic(): Any {
  return fromTransition((state: Any, event: Any) => ({ count: state.count + 1, last: event.type }), ({ input }: Any) => ({ count: input?.n ?? 0, last: 'none' }))
}

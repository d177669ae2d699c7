/**
 * The machines a system runs, by name and version, and what the runtime must know of each before it runs one:
 * its structural hash (a stored snapshot is only read by the structure that wrote it), whether it needs input,
 * and which events it knows.
 */
import { createHash } from 'node:crypto'
import type { AnyStateMachine } from 'xstate'
import { SnapshotError, ConfigError, UnknownMachineError } from '../errors.js'
import { historyBounds, type HistoryBounds, type HistoryOptions } from './history.js'
import { checkId } from './identity.js'
import { isMachine, withBoundedLoops, type XMachine, type XStateNode, type XTransition } from './xstate/insides.js'

/** A machine with another name or version than its own `id` and `version`, or whose actors have a history. */
export interface MachineOptions {
  readonly machine: AnyStateMachine
  /** Default: `machine.id`. */
  readonly name?: string
  /** Default: `machine.version`, else `'0'`. */
  readonly version?: string
  /** Keep a history of each of its actors, from which `actor.history()` reads; `true`: with the default bounds. Default: none is kept, and nothing of it costs anything. */
  readonly history?: HistoryOptions | boolean
}

export interface MachineDefinition {
  readonly name: string
  readonly version: string
  readonly hash: string
  readonly machine: XMachine
  /** The machine as the user gave it, to find its definition again. */
  readonly given: AnyStateMachine
  readonly needsInput: boolean
  /** Undefined: no history is kept. */
  readonly history: HistoryBounds | undefined
  /** Places where an inline function or logic stands that had better have a name, for the log. */
  readonly inline: readonly string[]
}

export class MachineRegistry {
  /** name → version → definition, in the order of registration; the last one is started. */
  private readonly byName = new Map<string, Map<string, MachineDefinition>>()
  private readonly newestByName = new Map<string, MachineDefinition>()
  private readonly byMachine = new Map<AnyStateMachine, MachineDefinition>()

  constructor(machines: readonly (AnyStateMachine | MachineOptions)[]) {
    for (const given of machines) this.add(given)
  }

  private add(given: AnyStateMachine | MachineOptions): void {
    const options: MachineOptions = typeof given === 'object' && given !== null && 'machine' in given ? (given as MachineOptions) : { machine: given }
    const machine = options.machine as unknown
    if (!isMachine(machine)) throw new ConfigError(`machines: expected a machine from setup().createMachine() or createMachine(), got ${typeof machine}.`)
    const name = options.name ?? machine.id
    if (name === '(machine)') {
      throw new ConfigError('machines: a machine has neither an id nor a "name" option. Give it an id, by which its actors are found again.')
    }
    checkId('machine name', name)
    const version = checkId(`version of machine ${name}`, options.version ?? machine.version ?? '0')
    const inline: string[] = []
    const definition: MachineDefinition = {
      name,
      version,
      hash: structuralHash(machine, inline),
      machine: withBoundedLoops(machine),
      given: options.machine,
      needsInput: needsInput(machine),
      history: historyBounds(`history of machine ${name}`, options.history),
      inline,
    }
    const versions = this.byName.get(name) ?? new Map<string, MachineDefinition>()
    const other = versions.get(version)
    if (other && other.given !== options.machine) {
      throw new ConfigError(`machines: ${name} version ${version} is registered twice with different machines. Give one of them another version.`)
    }
    versions.set(version, definition)
    this.newestByName.set(name, [...versions.values()].at(-1)!)
    this.byName.set(name, versions)
    this.byMachine.set(options.machine, definition)
  }

  /** The definition of exactly this version, or undefined. */
  find(name: string, version: string): MachineDefinition | undefined {
    return this.byName.get(name)?.get(version)
  }

  /** What a new actor of that name runs: the version registered last. */
  newest(name: string): MachineDefinition | undefined {
    return this.newestByName.get(name)
  }

  /** The machine that can read what was stored by it: of the same version and structure. Else why there is none. */
  reader(address: string, stored: { readonly machine: string; readonly version: string; readonly hash: string }): MachineDefinition | SnapshotError {
    const { machine, version, hash } = stored
    const definition = this.find(machine, version)
    if (definition?.hash === hash) return definition
    if (definition) return new SnapshotError(address, 'other-structure', `${machine} version ${version} had structure ${hash} when it was stored and has ${definition.hash} now. Give the changed machine a new version, and register the old one beside it.`)
    const newest = this.newest(machine)
    if (newest) return new SnapshotError(address, 'unknown-version', `it runs version ${version} of ${machine}, registered is ${newest.version}. Register that version, too.`)
    return new SnapshotError(address, 'unknown-machine', `no machine "${machine}" is registered. Register it.`)
  }

  /** @throws UnknownMachineError */
  of(machine: AnyStateMachine | string): MachineDefinition {
    const definition = typeof machine === 'string' ? this.newest(machine) : this.byMachine.get(machine)
    if (definition) return definition
    throw new UnknownMachineError(typeof machine === 'string' ? machine : machine.id, this.names())
  }

  names(): string[] {
    return [...this.byName.keys()]
  }

  all(): MachineDefinition[] {
    return [...this.byName.values()].flatMap((versions) => [...versions.values()])
  }
}

/** Whether the machine has a transition anywhere for events of this type. */
export function knowsEvent(machine: XMachine, type: string): boolean {
  for (const descriptor of machine.events) {
    if (descriptor === type || descriptor === '*') return true
    if (descriptor.endsWith('.*') && `${type}.`.startsWith(descriptor.slice(0, -1))) return true
  }
  return false
}

/**
 * XState's input is a type only, so the context factory is run once with an input that notices being read. Factories
 * are pure by XState's rules; one that throws here has read its input or would throw at every start.
 */
function needsInput(machine: XMachine): boolean {
  const { context } = machine.config
  if (typeof context !== 'function') return false
  let read = false
  try {
    context({
      get input() {
        read = true
        return undefined
      },
      spawn: () => ({}),
      self: {},
    })
  } catch {
    // The answer is in `read`: reading input is the usual way for a factory to throw here.
  }
  return read
}

/**
 * A hash of all that a stored snapshot depends on: states, transitions, guards' names, delays, invokes and history of
 * the machine and of the machines it invokes. Actions, tags, meta and descriptions may change without a new version.
 */
function structuralHash(machine: XMachine, inline: string[]): string {
  const seen = new Set<XMachine>()
  const lines: string[] = []
  const visitMachine = (m: XMachine, prefix: string): void => {
    if (seen.has(m)) return
    seen.add(m)
    visitNode(m.root, prefix)
    for (const [name, logic] of Object.entries(m.implementations.actors)) {
      if (isMachine(logic)) visitMachine(logic, `${prefix}${name}>`)
    }
  }
  const visitNode = (node: XStateNode, prefix: string): void => {
    const at = `${prefix}${node.id}`
    lines.push(`${at} ${node.type} ${node.history || ''} ${node.initial?.target?.map((t) => t.id).join() ?? ''}`)
    for (const [event, transitions] of node.transitions) for (const t of transitions) lines.push(`${at} ${event} ${describe(t, `${at} on ${event}`)}`)
    for (const t of node.always ?? []) lines.push(`${at} always ${describe(t, `${at} always`)}`)
    for (const t of node.after) lines.push(`${at} after ${String(t.delay)}`)
    const invokes = Array.isArray(node.config['invoke']) ? (node.config['invoke'] as { src: unknown }[]) : [node.config['invoke'] as { src: unknown }]
    node.invoke.forEach((invoke, i) => {
      lines.push(`${at} invoke ${invoke.id} ${invoke.src} ${invoke.onSnapshot ? 'sync' : ''}`)
      const src = invokes[i]?.src
      if (typeof src !== 'string') {
        inline.push(`${at} invokes an inline actor`)
        if (isMachine(src)) visitMachine(src, `${at}>`)
      }
    })
    for (const action of [...node.entry, ...node.exit]) noteInline(action, `${at} has an inline action`)
    for (const child of Object.values(node.states)) visitNode(child, prefix)
  }
  const describe = (t: XTransition, at: string): string => {
    for (const action of t.actions) noteInline(action, `${at} has an inline action`)
    const guard = t.guard === undefined ? '' : typeof t.guard === 'string' ? t.guard : typeof t.guard === 'object' && t.guard ? (t.guard as { type: string }).type : '(inline)'
    return `[${guard}] ${t.target?.map((n) => n.id).join() ?? ''} ${t.reenter}`
  }
  const noteInline = (action: unknown, place: string): void => {
    if (typeof action === 'function' && !('resolve' in action)) inline.push(place)
  }
  visitMachine(machine, '')
  lines.sort()
  return createHash('sha256').update(lines.join('\n')).digest('hex').slice(0, 16)
}

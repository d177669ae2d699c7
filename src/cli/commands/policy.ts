/** `holdfast policy`: what calls need a permit of, with its figures; and stopping calls for all nodes. */
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { userInfo } from 'node:os'
import { isHoldfastError } from '../../errors.js'
import type { EffectivePolicy, PolicyOptions } from '../../mesh/policies.js'
import type { CallsOf } from '../../mesh/policy-control.js'
import type { Command, Given } from '../command.js'
import { UsageError, exitCodes, type ExitCode } from '../exit.js'
import { openSession, type Session } from '../session.js'
import { printable, type Terminal } from '../terminal.js'

const scopes = ['agent', 'version', 'model', 'provider', 'tenant', 'tool'] as const

/** `model:anthropic/claude-opus-5-5` */
function callsOf(text: string): CallsOf {
  const colon = text.indexOf(':')
  const scope = scopes.find((one) => one === text.slice(0, colon))
  if (!scope || colon === text.length - 1) throw new UsageError(`Which calls? Expected <scope>:<name> with a scope of ${scopes.join(', ')}, got "${printable(text)}".`, 'policy')
  return { scope, name: text.slice(colon + 1) }
}

async function policiesIn(file: string, cwd: string): Promise<PolicyOptions> {
  try {
    return JSON.parse(await readFile(resolve(cwd, file), 'utf8')) as PolicyOptions
  } catch (error) {
    throw new UsageError(`${printable(file)} cannot be read as JSON: ${printable((error as Error).message)}`, 'policy')
  }
}

const figure = (value: unknown): string => (typeof value === 'number' ? value.toLocaleString('en-GB') : value === null ? 'any' : String(value))

export function policyLine({ kind, scope, name, from, figures }: EffectivePolicy): string {
  const shown = Object.entries(figures).map(([key, value]) => `${key} ${figure(value)}`)
  return `  ${`${kind} of ${scope} ${printable(name)}`.padEnd(46)} ${from === 'default' ? 'by default' : `from "${printable(from)}"`}: ${shown.join(', ')}`
}

async function explain({ mesh }: Session, given: Given, terminal: Terminal, agent: string): Promise<ExitCode> {
  const { tenant = null, policies } = given.strings
  const asIf = policies === undefined ? undefined : await policiesIn(policies, terminal.cwd)
  const stops = await mesh.policies.stops()
  const chains = mesh.policies.explain(agent, { tenant, ...(asIf ? { policies: asIf } : {}) })
  if (given.flags['json']) {
    terminal.line(JSON.stringify({ agent, tenant, chains, stops }))
    return exitCodes.ok
  }
  for (const { model, chain } of chains) {
    terminal.line(`${printable(agent)} asks ${printable(model)} with a permit of${chain.length === 0 ? ' nobody: it answers in this process, and no policy names it' : ''}`)
    for (const one of chain) terminal.line(policyLine(one))
  }
  for (const { scope, name, by, why } of stops) terminal.line(`Stopped: ${scope} ${printable(name)}, by ${printable(by)}: ${printable(why)}`)
  return exitCodes.ok
}

export const policy: Command = {
  name: 'policy',
  summary: 'Explains what the calls of an agent need a permit of; stops calls and lets them go on.',
  usage: '<explain|set|stop|resume|stops> [what]',
  takes: [1, 2],
  options: {
    tenant: { type: 'string', value: '<name>', help: 'explain: for calls of this tenant' },
    policies: { type: 'string', value: '<file>', help: 'explain: as if these were set; a JSON file' },
    by: { type: 'string', value: '<name>', help: 'who sets or stops. Default: the name of the user' },
    why: { type: 'string', value: '<text>', help: 'stop: why; whoever is refused is told' },
  },
  examples: [
    ['holdfast policy explain researcher', 'limits, bulkheads and circuit breakers of each of its models, with all figures'],
    ['holdfast policy explain researcher --policies new.json', 'what it would be with that file'],
    ['holdfast policy set new.json', 'for all processes, while they run; "none" goes back to what the code says'],
    ['holdfast policy stop model:anthropic/claude-opus-5-5 --why "too dear today"', 'no process begins another such call'],
    ['holdfast policy resume model:anthropic/claude-opus-5-5', 'and they may again'],
  ],
  notes: 'Calls are named <scope>:<name>, with a scope of agent, version (researcher@2), model, provider or tenant. set, stop and resume need a process that runs the actors: they are done when it has answered.',
  async run(given, terminal) {
    const [verb, what] = given.positionals as [string, string?]
    const { by = userInfo().username, why = 'stopped by hand' } = given.strings
    if (!['explain', 'set', 'stop', 'resume', 'stops'].includes(verb)) throw new UsageError(`holdfast policy: expected explain, set, stop, resume or stops, got "${printable(verb)}".`, 'policy')
    if (what === undefined && verb !== 'stops') throw new UsageError(`holdfast policy ${verb} needs ${verb === 'explain' ? '<agent>' : verb === 'set' ? '<file>, or "none"' : '<scope>:<name>'}.`, 'policy')
    const calls = verb === 'stop' || verb === 'resume' ? callsOf(what!) : undefined
    const policies = verb === 'set' ? (what === 'none' ? null : await policiesIn(what!, terminal.cwd)) : null
    const session = await openSession(given, terminal, 'client')
    const { mesh } = session
    try {
      if (verb === 'explain') return await explain(session, given, terminal, what!)
      if (verb === 'set') await mesh.policies.set(policies, { by })
      if (verb === 'stop') await mesh.policies.stop(calls!, { by, why })
      if (verb === 'resume') await mesh.policies.resume(calls!)
      const stops = await mesh.policies.stops()
      if (given.flags['json']) terminal.line(JSON.stringify({ stops }))
      else for (const stop of stops) terminal.line(`Stopped: ${stop.scope} ${printable(stop.name)}, by ${printable(stop.by)}: ${printable(stop.why)}`)
      if (stops.length === 0 && !given.flags['json']) terminal.line('No calls are stopped.')
      return exitCodes.ok
    } catch (error) {
      if (!isHoldfastError(error) || error.code !== 'DEADLINE') throw error
      terminal.line(given.flags['json'] ? JSON.stringify({ waiting: true }) : 'Nobody answered in time: no process runs the actors, or it is busy. Nothing is certain to have changed.')
      return exitCodes.waiting
    } finally {
      await session.stop()
    }
  },
}

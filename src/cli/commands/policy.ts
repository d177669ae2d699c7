/** `holdfast policy`: what calls need a permit of, with its figures; and stopping calls for all nodes. */
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { userInfo } from 'node:os'
import { isHoldfastError } from '../../errors.js'
import type { BudgetPolicy } from '../../machines/budget.machine.js'
import type { CallPolicy } from '../../machines/call-policy.js'
import { unbounded, type Amounts } from '../../machines/ledger.js'
import type { EffectiveCall, EffectivePolicy, PolicyOptions } from '../../mesh/policies.js'
import { issueLine, policiesIn, readPolicies } from '../../mesh/policy-text.js'
import type { CallsOf } from '../../mesh/policy-control.js'
import type { Command, Given } from '../command.js'
import { UsageError, exitCodes, type ExitCode } from '../exit.js'
import { meshIn } from '../mesh-in.js'
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

async function textOf(file: string, cwd: string): Promise<string> {
  try {
    return await readFile(resolve(cwd, file), 'utf8')
  } catch (error) {
    throw new UsageError(`${printable(file)} cannot be read: ${printable((error as Error).message)}`, 'policy')
  }
}

/** @throws ConfigError that names all that is wrong, each with its line and column */
async function policiesOf(file: string, cwd: string): Promise<PolicyOptions> {
  return policiesIn(file, await textOf(file, cwd))
}

/** Without a mesh only what is wrong with any. */
async function check(file: string, given: Given, terminal: Terminal): Promise<ExitCode> {
  const { mesh: place } = given.strings
  const text = await textOf(file, terminal.cwd)
  const mesh = place === undefined ? undefined : await meshIn(place, { command: 'policy', cwd: terminal.cwd })
  const { policies, issues } = readPolicies(text, mesh && ((of) => mesh.policies.strangersIn(of)))
  await mesh?.stop()
  if (given.flags['json']) terminal.line(JSON.stringify({ file, issues: issues.map(({ path, message, line, column }) => ({ path: path.map(String), message, line, column })) }))
  else {
    for (const issue of issues) terminal.line(printable(issueLine(file, issue)))
    if (issues.length === 0) terminal.line(`${printable(file)}: right. It says something of ${Object.entries(policies).filter(([scope]) => scope !== '$schema').map(([scope, names]) => `${Object.keys(names as object).length} ${scope}`).join(', ') || 'nobody'}.`)
  }
  return issues.length === 0 ? exitCodes.ok : exitCodes.failed
}

const figure = (value: unknown): string => (typeof value === 'number' ? value.toLocaleString('en-GB') : value === null ? 'any' : String(value))

const byDefault = (from: string): string => (from === 'default' ? 'by default' : `from "${printable(from)}"`)
const list = (figures: object): string => Object.entries(figures).map(([key, value]) => `${key} ${figure(value)}`).join(', ')

export function policyLine({ kind, scope, name, from, figures }: EffectivePolicy): string {
  return `  ${`${kind} of ${scope} ${printable(name)}`.padEnd(46)} ${byDefault(from)}: ${list(figures)}`
}

/** What all runs of a tenant may spend. */
export function budgetLine(tenant: string, budget: BudgetPolicy | null): string {
  if (!budget) return `tenant ${printable(tenant)} has no budget: its runs have their own ceilings alone`
  const { limits, per, perRun, whenSpent, waitMs, warnAt } = budget
  const words: Readonly<Record<keyof Amounts, (of: number) => string>> = { nanoDollars: (of) => `$${of / 1e9}`, tokens: (of) => `${figure(of)} tokens`, calls: (of) => `${figure(of)} calls` }
  const limited = (['nanoDollars', 'tokens', 'calls'] as const).filter((kind) => limits[kind] < unbounded[kind])
  const amounts = (of: Amounts): string => limited.map((kind) => words[kind](of[kind])).join(', ') || 'anything'
  const then = whenSpent === 'wait' ? `waits up to ${figure(waitMs)} ms` : 'is refused'
  return `tenant ${printable(tenant)} may spend ${amounts(limits)} ${per === 'all' ? 'in all' : `a ${per}`}; a run without a ceiling draws ${amounts(perRun)}, and one that finds too little ${then}; warned at ${warnAt.map((share) => `${share * 100}%`).join(', ') || 'nothing'}`
}

/** How hard a call tries, and where its task goes then. */
export function callLines({ figures: { attemptsMax, backoff, deadlineMs, whenOpen, priority, hedge, fallback }, from }: EffectiveCall): string[] {
  const path = fallback.map((step, i) => `${i + 1}. ${'agent' in step ? `agent ${printable(step.agent)}` : `a person ("${printable(step.person)}")`}, waited for ${figure(step.deadlineMs)} ms`)
  const shown: readonly (readonly [keyof CallPolicy, string, string])[] = [
    ['attemptsMax', 'retry.attemptsMax', figure(attemptsMax)],
    ['backoff', 'retry.backoff', list(backoff)],
    ['deadlineMs', 'deadlineMs', figure(deadlineMs)],
    ['whenOpen', 'whenOpen', whenOpen],
    ['priority', 'priority', figure(priority)],
    ['hedge', 'hedge', hedge ? `after ${figure(hedge.afterMs)} ms, at the ${hedge.model} model` : 'never'],
    ['fallback', 'fallback', path.join('; ') || 'nobody'],
  ]
  return shown.map(([key, name, text]) => `  ${name.padEnd(46)} ${byDefault(from[key])}: ${text}`)
}

/** Of a mesh that is not running here: what was changed and stopped while it ran stands in its store. */
async function explainOf(place: string, given: Given, terminal: Terminal, agent: string): Promise<ExitCode> {
  const mesh = await meshIn(place, { command: 'policy', cwd: terminal.cwd })
  const isOpen = mesh.system.owned.of > 0
  try {
    if (!isOpen) await mesh.startAsClient()
  } catch (error) {
    terminal.error(`What was changed or stopped while this mesh ran is not shown: its store cannot be opened. ${printable((error as Error).message)}`)
  }
  try {
    return await explain({ mesh }, given, terminal, agent)
  } finally {
    await mesh.stop().catch(() => {})
  }
}

async function explain({ mesh }: Pick<Session, 'mesh'>, given: Given, terminal: Terminal, agent: string): Promise<ExitCode> {
  const { tenant = null, policies } = given.strings
  const asIf = policies === undefined ? undefined : await policiesOf(policies, terminal.cwd)
  const stops = await mesh.policies.stops()
  const chains = mesh.policies.explain(agent, { tenant, ...(asIf ? { policies: asIf } : {}) })
  if (given.flags['json']) {
    terminal.line(JSON.stringify({ agent, tenant, chains, stops }))
    return exitCodes.ok
  }
  for (const { model, chain, stop } of chains) {
    terminal.line(`${printable(agent)} asks ${printable(model)} with a permit of${chain.length === 0 ? ' nobody: it answers in this process, and no policy names it' : ''}`)
    for (const one of chain) terminal.line(policyLine(one))
    if (stop) terminal.line(`  stopped: no such call begins, because ${printable(stop.by)} has stopped ${stop.scope} ${printable(stop.name)}: ${printable(stop.why)}`)
  }
  const [first] = chains
  if (first) {
    terminal.line(`${printable(agent)}, over all its models, in one call`)
    for (const line of callLines(first.call)) terminal.line(line)
    for (const { tool, chain, stop } of first.tools) {
      terminal.line(`${printable(agent)} is given the tool ${printable(tool)}, with a permit of${chain.length === 0 ? ' nobody: no policy names it' : ''}`)
      for (const one of chain) terminal.line(policyLine(one))
      if (stop) terminal.line(`  stopped: it is not run, because ${printable(stop.by)} has stopped ${stop.scope} ${printable(stop.name)}: ${printable(stop.why)}`)
    }
    if (tenant !== null) terminal.line(budgetLine(tenant, first.budget))
  }
  for (const { scope, name, by, why } of stops) terminal.line(`Stopped: ${scope} ${printable(name)}, by ${printable(by)}: ${printable(why)}`)
  return exitCodes.ok
}

export const policy: Command = {
  name: 'policy',
  summary: 'Explains what the calls of an agent hold to, and checks policy files; stops calls and lets them go on.',
  usage: '<explain|check|set|stop|resume|stops> [what]',
  takes: [1, 2],
  options: {
    tenant: { type: 'string', value: '<name>', help: 'explain: for calls of this tenant, with its budget' },
    mesh: { type: 'string', value: '<module>', help: 'explain, check: of the mesh that a JavaScript module of yours exports. Default: the one of holdfast research' },
    policies: { type: 'string', value: '<file>', help: 'explain: as if these were set; a JSON file' },
    by: { type: 'string', value: '<name>', help: 'who sets or stops. Default: the name of the user' },
    why: { type: 'string', value: '<text>', help: 'stop: why; whoever is refused is told' },
  },
  examples: [
    ['holdfast policy explain researcher', 'limits, bulkheads and circuit breakers of each of its models and tools, with all figures'],
    ['holdfast policy explain researcher --policies new.json', 'what it would be with that file'],
    ['holdfast policy explain worker --mesh ./dist/mesh.js', 'of a mesh of yours'],
    ['holdfast policy check policies.json', 'what is wrong with it, each with its line and column; with --mesh also names that nobody has there'],
    ['holdfast policy set new.json', 'for all processes, while they run; "none" goes back to what the code says'],
    ['holdfast policy stop model:anthropic/claude-opus-5-5 --why "too dear today"', 'no process begins another such call'],
    ['holdfast policy resume model:anthropic/claude-opus-5-5', 'and they may again'],
  ],
  notes: 'Calls are named <scope>:<name>, with a scope of agent, version (researcher@2), model, provider, tenant or tool. set, stop and resume need a process that runs the actors: they are done when it has answered.',
  async run(given, terminal) {
    const [verb, what] = given.positionals as [string, string?]
    const { by = userInfo().username, why = 'stopped by hand' } = given.strings
    if (!['explain', 'check', 'set', 'stop', 'resume', 'stops'].includes(verb)) throw new UsageError(`holdfast policy: expected explain, check, set, stop, resume or stops, got "${printable(verb)}".`, 'policy')
    if (what === undefined && verb !== 'stops') throw new UsageError(`holdfast policy ${verb} needs ${verb === 'explain' ? '<agent>' : verb === 'check' ? '<file>' : verb === 'set' ? '<file>, or "none"' : '<scope>:<name>'}.`, 'policy')
    const { mesh: place } = given.strings
    if (place !== undefined && verb !== 'explain' && verb !== 'check') throw new UsageError(`holdfast policy ${verb} does not take --mesh.`, 'policy')
    if (verb === 'check') return check(what!, given, terminal)
    if (verb === 'explain' && place !== undefined) return explainOf(place, given, terminal, what!)
    const calls = verb === 'stop' || verb === 'resume' ? callsOf(what!) : undefined
    const policies = verb === 'set' ? (what === 'none' ? null : await policiesOf(what!, terminal.cwd)) : null
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

/** `holdfast graph`: a machine as a picture or as text for other tools, without a network. */
import { writeFile } from 'node:fs/promises'
import type { AnyStateMachine } from 'xstate'
import { toMermaid, toSvg, toXStateJson } from '../../viz/index.js'
import type { Command } from '../command.js'
import { UsageError, exitCodes } from '../exit.js'
import { machineIn } from '../machine-in.js'
import { printable } from '../terminal.js'

const formats: Readonly<Record<string, (machine: AnyStateMachine) => Promise<string> | string>> = {
  svg: toSvg,
  mermaid: toMermaid,
  json: (machine) => `${JSON.stringify(toXStateJson(machine), null, 2)}\n`,
}

/** Those that the package brings. */
async function own(): Promise<Readonly<Record<string, AnyStateMachine>>> {
  const { agentMachine, allotmentMachine, budgetMachine, callMachine, circuitBreakerMachine, limiterMachine, runMachine, supervisorMachine } = await import('../../index.js')
  return { agent: agentMachine, allotment: allotmentMachine, budget: budgetMachine, call: callMachine, circuitBreaker: circuitBreakerMachine, limiter: limiterMachine, run: runMachine, supervisor: supervisorMachine }
}

export const graph: Command = {
  name: 'graph',
  summary: 'Draws a machine: as an SVG picture, as a Mermaid diagram, or as the JSON that Stately Studio imports.',
  usage: '<machine>',
  takes: [1, 1],
  isOffline: true,
  options: {
    format: { type: 'string', short: 'f', value: '<svg|mermaid|json>', help: 'what to make. Default: by the ending of --out, else svg' },
    json: { type: 'boolean', help: 'print JSON: the machine, as --format json makes it' },
    out: { type: 'string', short: 'o', value: '<file>', help: 'where to write it. Default: standard output' },
  },
  examples: [
    ['holdfast graph agent --out agent.svg', 'one of the charts of holdfast: agent, call, circuitBreaker, limiter, run, supervisor'],
    ['holdfast graph ./order.js#order -f mermaid', 'the machine that a module of yours exports under that name'],
    ['holdfast graph ./order.js --out order.json', 'the only machine that it exports, for Stately Studio'],
  ],
  notes: '<machine> is one of agent, call, circuitBreaker, limiter, run and supervisor, or the path of a JavaScript module, with #name where it exports more than one machine. The module is run to get at the machine. JSON takes actions, guards and actors by their names only; SVG and Mermaid take everything.',
  async run(given, terminal) {
    const [name] = given.positionals as [string]
    const { out } = given.strings
    const isJson = given.flags['json'] === true
    const format = given.strings['format'] ?? (isJson || out?.endsWith('.json') ? 'json' : out !== undefined && /\.(?:mmd|mermaid|md)$/.test(out) ? 'mermaid' : 'svg')
    const draw = formats[format]
    if (isJson && format !== 'json') throw new UsageError(`--json and --format ${printable(format)}: it is one or the other.`, 'graph')
    if (!draw) throw new UsageError(`--format: there is no "${printable(format)}"; there are ${Object.keys(formats).join(', ')}.`, 'graph')
    const charts = await own()
    const machine = charts[name] ?? (await machineIn(name, { command: 'graph', cwd: terminal.cwd, instead: `none of ${Object.keys(charts).join(', ')}` }))
    let text: string
    try {
      text = await draw(machine)
    } catch (error) {
      // What has no name cannot be exported.
      if (error instanceof TypeError) throw new UsageError(error.message, 'graph')
      throw error
    }
    if (out === undefined) {
      terminal.line(text.trimEnd())
      return exitCodes.ok
    }
    try {
      await writeFile(out, text)
    } catch (error) {
      throw new UsageError(`--out: ${(error as Error).message}.`, 'graph')
    }
    terminal.line(isJson ? JSON.stringify({ written: out }) : `Written: ${printable(out)}`)
    return exitCodes.ok
  },
}

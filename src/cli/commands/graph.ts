/** `holdfast graph`: a machine as a picture or as text for other tools, without a network. */
import { writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { AnyStateMachine } from 'xstate'
import { toMermaid, toSvg, toXStateJson } from '../../viz/index.js'
import type { Command } from '../command.js'
import { UsageError, exitCodes } from '../exit.js'
import { printable } from '../terminal.js'

const formats: Readonly<Record<string, (machine: AnyStateMachine) => Promise<string> | string>> = {
  svg: toSvg,
  mermaid: toMermaid,
  json: (machine) => `${JSON.stringify(toXStateJson(machine), null, 2)}\n`,
}

/** Those that the package brings. */
async function own(): Promise<Readonly<Record<string, AnyStateMachine>>> {
  const { agentMachine, callMachine, runMachine, supervisorMachine } = await import('../../index.js')
  return { agent: agentMachine, call: callMachine, run: runMachine, supervisor: supervisorMachine }
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
    ['holdfast graph agent --out agent.svg', 'one of the charts of holdfast: agent, call, run, supervisor'],
    ['holdfast graph ./order.js#order -f mermaid', 'the machine that a module of yours exports under that name'],
    ['holdfast graph ./order.js --out order.json', 'the only machine that it exports, for Stately Studio'],
  ],
  notes: '<machine> is one of agent, call, run and supervisor, or the path of a JavaScript module, with #name where it exports more than one machine. The module is run to get at the machine. JSON takes actions, guards and actors by their names only; SVG and Mermaid take everything.',
  async run(given, terminal) {
    const [name] = given.positionals as [string]
    const { out } = given.strings
    const isJson = given.flags['json'] === true
    const format = given.strings['format'] ?? (isJson || out?.endsWith('.json') ? 'json' : out !== undefined && /\.(?:mmd|mermaid|md)$/.test(out) ? 'mermaid' : 'svg')
    const draw = formats[format]
    if (isJson && format !== 'json') throw new UsageError(`--json and --format ${printable(format)}: it is one or the other.`, 'graph')
    if (!draw) throw new UsageError(`--format: there is no "${printable(format)}"; there are ${Object.keys(formats).join(', ')}.`, 'graph')
    const machine = (await own())[name] ?? (await machineIn(name))
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

async function machineIn(place: string): Promise<AnyStateMachine> {
  const hash = place.lastIndexOf('#')
  const [path, name] = hash === -1 ? [place, undefined] : [place.slice(0, hash), place.slice(hash + 1)]
  let module: Record<string, unknown>
  try {
    module = (await import(pathToFileURL(resolve(path)).href)) as Record<string, unknown>
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ERR_MODULE_NOT_FOUND' && message.includes(resolve(path))) throw new UsageError(`There is no machine "${printable(place)}": it is none of ${Object.keys(await own()).join(', ')}, and there is no such file.`, 'graph')
    if (code === 'ERR_UNKNOWN_FILE_EXTENSION') throw new UsageError(`${printable(path)} is no JavaScript module. Give what it is compiled to.`, 'graph')
    throw new UsageError(`${printable(path)} cannot be loaded: ${printable(message)}`, 'graph')
  }
  const machines = Object.entries(module).filter((entry): entry is [string, AnyStateMachine] => isMachine(entry[1]))
  const names = machines.map(([key]) => key)
  if (name !== undefined) {
    const found = machines.find(([key]) => key === name)
    if (!found) throw new UsageError(`${printable(path)} exports no machine "${printable(name)}"${names.length > 0 ? `; it exports ${names.join(', ')}` : ''}.`, 'graph')
    return found[1]
  }
  if (machines.length === 1) return machines[0]![1]
  throw new UsageError(machines.length === 0 ? `${printable(path)} exports no machine.` : `${printable(path)} exports ${names.join(', ')}. Say which: ${printable(path)}#${names[0]!}`, 'graph')
}

/** Also one made by another copy of xstate. */
function isMachine(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'root' in value && 'config' in value && typeof (value as { transition?: unknown }).transition === 'function'
}

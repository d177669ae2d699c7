#!/usr/bin/env node
/** The `holdfast` command. */
import { readFileSync, realpathSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { isHoldfastError } from '../errors.js'
import { distance } from '../mesh/nearest.js'
import { helpOf, parse, type Command } from './command.js'
import { actors } from './commands/actors.js'
import { deadLetters } from './commands/dead-letters.js'
import { approve, reject } from './commands/decide.js'
import { cancel, resolve, resume, retry } from './commands/go-on.js'
import { doctor } from './commands/doctor.js'
import { graph } from './commands/graph.js'
import { inspect } from './commands/inspect.js'
import { runs, show, trace } from './commands/look.js'
import { move } from './commands/move.js'
import { policy } from './commands/policy.js'
import { replay } from './commands/replay.js'
import { research } from './commands/research.js'
import { UsageError, exitCodes, type ExitCode } from './exit.js'
import { processTerminal, printable, type Terminal } from './terminal.js'

const commands: readonly Command[] = [research, approve, reject, runs, show, trace, resume, resolve, retry, cancel, actors, deadLetters, replay, inspect, graph, policy, doctor, move]

function overview(): string {
  const width = Math.max(...commands.map(({ name }) => name.length)) + 2
  return [
    'Usage: holdfast <command> [options]',
    '',
    'Agents that survive: answers questions from documents with supervised agents, each step of which is durable.',
    '',
    'Commands:',
    ...commands.map(({ name, summary }) => `  ${name.padEnd(width)}${summary}`),
    '',
    'Begin with:',
    '  holdfast research "What do these documents say about errors?" docs',
    '',
    'holdfast <command> --help tells more. No key and no server are needed; ANTHROPIC_API_KEY switches to a language model.',
  ].join('\n')
}

export async function main(args: readonly string[], terminal: Terminal = processTerminal()): Promise<ExitCode> {
  try {
    const [name, ...rest] = args
    if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
      const about = name === 'help' ? commands.find((command) => command.name === rest[0]) : undefined
      terminal.line(about ? helpOf(about) : overview())
      return name === undefined ? exitCodes.usage : exitCodes.ok
    }
    if (name === '--version' || name === '-v') {
      terminal.line(version())
      return exitCodes.ok
    }
    const command = commands.find((other) => other.name === name)
    if (!command) {
      const near = commands.find((other) => distance(other.name, name) <= 2)
      throw new UsageError(`There is no command "${printable(name)}".${near ? ` Did you mean ${near.name}?` : ''}`)
    }
    const given = parse(command, rest)
    if (given.flags['help']) {
      terminal.line(helpOf(command))
      return exitCodes.ok
    }
    return await command.run(given, terminal)
  } catch (error) {
    return explain(error, args, terminal)
  }
}

function explain(error: unknown, args: readonly string[], terminal: Terminal): ExitCode {
  const json = args.includes('--json')
  const message = error instanceof Error ? error.message : String(error)
  if (json) terminal.line(JSON.stringify({ error: { code: error instanceof UsageError ? 'USAGE' : isHoldfastError(error) ? error.code : 'UNEXPECTED', message } }))
  else if (error instanceof UsageError) terminal.error(`${message}\n\nholdfast ${error.command === undefined ? '' : `${error.command} `}--help tells more.`)
  else if (isHoldfastError(error)) terminal.error(message)
  else terminal.error(error instanceof Error ? (error.stack ?? message) : message)
  return error instanceof UsageError ? exitCodes.usage : exitCodes.failed
}

function version(): string {
  const { version: v } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
  return v
}

// Not when it is imported, by a test or another program.
if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) {
  process.exitCode = await main(process.argv.slice(2))
}

/** What a command is: its name, its options, its help, and what it does. */
import { parseArgs } from 'node:util'
import { distance } from '../mesh/nearest.js'
import { UsageError, type ExitCode } from './exit.js'
import type { Terminal } from './terminal.js'

export interface OptionSpec {
  readonly type: 'string' | 'boolean'
  readonly short?: string
  /** What stands for the value in the help. */
  readonly value?: string
  readonly help: string
}

export type OptionSpecs = Readonly<Record<string, OptionSpec>>

export interface Given {
  readonly positionals: readonly string[]
  /** Options by name; absent if not given. */
  readonly strings: Readonly<Record<string, string | undefined>>
  readonly flags: Readonly<Record<string, boolean>>
}

export interface Command {
  readonly name: string
  /** One line. */
  readonly summary: string
  /** `<run>` and the like, as the help shows it. */
  readonly usage: string
  readonly options: OptionSpecs
  readonly examples: readonly (readonly [commandLine: string, what: string])[]
  /** Further words of the help. */
  readonly notes?: string
  /** It needs no store: of the common options it has only --help, and --json if it says so itself. */
  readonly isOffline?: true
  /** How many arguments beside options it takes, inclusive. */
  readonly takes: readonly [min: number, max: number]
  run(given: Given, terminal: Terminal): Promise<ExitCode>
}

/** Options that every command has. */
export const commonOptions: OptionSpecs = {
  store: { type: 'string', short: 's', value: '<dir|redis://…>', help: 'where the runs are kept: a folder (LMDB) or a Redis server. Default ./.holdfast, or HOLDFAST_STORE' },
  namespace: { type: 'string', value: '<name>', help: 'keeps deployments on one store apart. Default research' },
  'lease-ms': { type: 'string', value: '<ms>', help: 'on Redis: how long after its last sign of life a dead process is replaced. Default 5000' },
  json: { type: 'boolean', help: 'print JSON' },
  'log-level': { type: 'string', value: '<level>', help: 'trace, debug, info, warn, error or silent, to standard error. Default error, or HOLDFAST_LOG' },
  unsafe: { type: 'boolean', help: 'run on a store that is known to lose data' },
  help: { type: 'boolean', short: 'h', help: 'show this help' },
}

function commonOf({ isOffline }: Command): OptionSpecs {
  return isOffline ? { help: commonOptions['help']! } : commonOptions
}

/** @throws UsageError that says what is wrong and what is possible */
export function parse(command: Command, args: readonly string[]): Given {
  const options = { ...command.options, ...commonOf(command) }
  let parsed: { values: Record<string, string | boolean | undefined>; positionals: string[] }
  try {
    parsed = parseArgs({ args: [...args], options: Object.fromEntries(Object.entries(options).map(([name, { type, short }]) => [name, { type, ...(short === undefined ? {} : { short }) }])), allowPositionals: true })
  } catch (error) {
    throw new UsageError(sentence((error as Error).message, Object.keys(options)), command.name)
  }
  const { positionals, values } = parsed
  const [min, max] = command.takes
  if (values['help'] !== true && positionals.length < min) throw new UsageError(`holdfast ${command.name} needs ${command.usage.split(' ').slice(0, min).join(' ')}.`, command.name)
  if (positionals.length > max) throw new UsageError(`holdfast ${command.name} takes ${max === 0 ? 'no argument' : `${max} at most`}; "${positionals[max]!}" is one too many.`, command.name)
  const strings = Object.fromEntries(Object.entries(values).filter((entry): entry is [string, string] => typeof entry[1] === 'string'))
  return { positionals, strings, flags: Object.fromEntries(Object.keys(options).map((name) => [name, values[name] === true])) }
}

/** What was given of these. */
export function present<T extends object>(values: { readonly [K in keyof T]: T[K] | undefined }): Partial<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<T>
}

/** @throws UsageError for a `--limit` that is no number from 1 to 1,000,000 */
export function limitOf({ strings: { limit = '100' } }: Given, command: string): number {
  if (/^[1-9]\d{0,5}$|^1000000$/.test(limit)) return Number(limit)
  throw new UsageError(`--limit: expected 1 to 1000000, got "${limit}".`, command)
}

/** What the pages of a query hold, so many at most, and whether there is more. */
export async function upTo<T>(limit: number, next: (page: { readonly limit: number; readonly cursor?: string }) => Promise<{ readonly found: readonly T[]; readonly cursor: string | undefined }>): Promise<{ readonly found: T[]; readonly more: boolean }> {
  const all: T[] = []
  let cursor: string | undefined
  do {
    const page = await next({ limit: Math.min(1_000, limit - all.length), ...present({ cursor }) })
    all.push(...page.found)
    cursor = page.cursor
  } while (cursor !== undefined && all.length < limit)
  return { found: all, more: cursor !== undefined }
}

/** Node's message without its advice on `--`, and with the option that may have been meant. */
function sentence(message: string, names: readonly string[]): string {
  const [first] = message.split('. ')
  const unknown = /'--?([\w-]+)/.exec(message)?.[1]
  const near = unknown === undefined ? undefined : names.find((name) => distance(name, unknown) <= 2)
  return `${first!.replace(/\.$/, '')}.${near === undefined || near === unknown ? '' : ` Did you mean --${near}?`}`
}

export function helpOf(command: Command): string {
  const lines = [`Usage: holdfast ${command.name} ${command.usage}`.trimEnd(), '', command.summary]
  if (command.notes) lines.push('', command.notes)
  const table = (specs: OptionSpecs): string[] => {
    const rows = Object.entries(specs).map(([name, { short, value, help }]) => [`  ${short === undefined ? '    ' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`, help] as const)
    const width = Math.max(...rows.map(([left]) => left.length)) + 2
    return rows.map(([left, help]) => `${left.padEnd(width)}${help}`)
  }
  if (Object.keys(command.options).length > 0) lines.push('', 'Options:', ...table(command.options))
  lines.push('', 'Common options:', ...table(commonOf(command)))
  if (command.examples.length > 0) lines.push('', 'Examples:', ...command.examples.flatMap(([line, what]) => [`  ${line}`, `      ${what}`]))
  return lines.join('\n')
}

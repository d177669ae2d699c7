/** Where a command reads and writes. Human words and results go to standard output, logs to standard error. */
import { createInterface } from 'node:readline/promises'
import type { Readable, Writable } from 'node:stream'
import stringWidth from 'string-width'
import type { Screen } from './drawing.js'

export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  /** Whether a person sits at both ends. */
  readonly isInteractive: boolean
  readonly color: boolean
  /** What can be drawn on, if standard output is a terminal that can. */
  readonly screen?: Screen
  line(text: string): void
  error(text: string): void
  /** Asks a person; undefined when the input ends or the signal aborts: then nothing is read any more. */
  ask(question: string, signal: AbortSignal): Promise<string | undefined>
  /** Calls back on Ctrl-C (SIGINT) and on SIGTERM. Returns how to stop. */
  onInterrupt(listener: () => void): () => void
}

export interface TerminalStreams {
  readonly stdin: Readable & { readonly isTTY?: boolean }
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number; readonly rows?: number }
  readonly stderr: Writable
}

export function processTerminal(streams: TerminalStreams = process): Terminal {
  const { stdin, stdout, stderr } = streams
  const { env } = process
  // Whoever read has read enough, as `head` does.
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0)
    throw error
  })
  const isInteractive = stdin.isTTY === true && stdout.isTTY === true
  return {
    env,
    cwd: process.cwd(),
    isInteractive,
    color: hasColor(stdout.isTTY === true, env),
    ...(stdout.isTTY === true && stdout.columns !== undefined && env['TERM'] !== 'dumb' && (env['CI'] ?? '') === '' ? { screen: screenOf(stdout) } : {}),
    line: (text) => void stdout.write(`${text}\n`),
    error: (text) => void stderr.write(`${text}\n`),
    async ask(question, signal) {
      if (signal.aborted) return undefined
      const reader = createInterface({ input: stdin, output: stdout })
      const leave = (): void => {
        // What is said next begins a line of its own.
        stdout.write('\n')
        reader.close()
      }
      signal.addEventListener('abort', leave, { once: true })
      try {
        return await new Promise<string | undefined>((resolve) => {
          reader.once('close', () => resolve(undefined))
          // readline takes Ctrl-C from the terminal; it is meant for the process.
          reader.once('SIGINT', () => {
            reader.close()
            process.kill(process.pid, 'SIGINT')
          })
          reader.question(question).then(resolve, () => resolve(undefined))
        })
      } finally {
        signal.removeEventListener('abort', leave)
        reader.close()
      }
    },
    onInterrupt(listener) {
      process.on('SIGINT', listener)
      process.on('SIGTERM', listener)
      return () => {
        process.off('SIGINT', listener)
        process.off('SIGTERM', listener)
      }
    },
  }
}

/** NO_COLOR (no-color.org) wins, then FORCE_COLOR, then whether it is a terminal that has colours. */
export function hasColor(isTerminal: boolean, env: Terminal['env']): boolean {
  if ((env['NO_COLOR'] ?? '') !== '') return false
  const forced = env['FORCE_COLOR']
  if (forced !== undefined) return forced !== '0' && forced !== 'false'
  return isTerminal && env['TERM'] !== 'dumb'
}

function screenOf(stdout: TerminalStreams['stdout']): Screen {
  return {
    get columns() {
      return stdout.columns ?? 80
    },
    get rows() {
      return stdout.rows ?? 24
    },
    write: (text) => void stdout.write(text),
    onResize(listener) {
      stdout.on('resize', listener)
      return () => void stdout.off('resize', listener)
    },
    every(ms, listener) {
      const timer = setInterval(listener, ms).unref()
      return () => clearInterval(timer)
    },
    now: () => performance.now(),
  }
}

/** Text that came from elsewhere (documents, models, other processes), made harmless for a terminal: no control characters. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (char) => (char === '\n' || char === '\t' ? ' ' : '\ufffd'))
}

const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' })

/** As much of a text as fits into so many cells; what is cut off shows as an ellipsis. */
export function cut(text: string, cells: number): string {
  if (stringWidth(text) <= cells) return text
  if (cells < 1) return ''
  let part = ''
  let width = 0
  for (const { segment } of graphemes.segment(text)) {
    width += stringWidth(segment)
    if (width > cells - 1) break
    part += segment
  }
  return `${part}…`
}

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan'
const codes: Readonly<Record<Style, readonly [number, number]>> = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], yellow: [33, 39], cyan: [36, 39] }

export function styled(terminal: Pick<Terminal, 'color'>, style: Style, text: string): string {
  const [on, off] = codes[style]
  return terminal.color ? `\u001b[${on}m${text}\u001b[${off}m` : text
}

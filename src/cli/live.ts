/**
 * The part of a terminal that is drawn anew while a run goes on: how far it is, what it has spent, and who is at work.
 * What is said for good stands above it. Only on a real terminal; elsewhere the lines alone tell.
 */
import stringWidth from 'string-width'
import type { Amounts } from '../machines/ledger.js'
import { unbounded } from '../mesh/define-run.js'
import { formatDollars } from '../mesh/prices.js'
import type { RunStatus } from '../mesh/run-handle.js'
import { cut, printable, styled, type Style, type Terminal } from './terminal.js'
import { stateWords } from './views.js'

/** A terminal that can be drawn on. */
export interface Screen {
  readonly columns: number
  readonly rows: number
  write(text: string): void
  /** Calls back when it has another size. Returns how to stop. */
  onResize(listener: () => void): () => void
  /** Calls back over and over, without keeping the process. Returns how to stop. */
  every(ms: number, listener: () => void): () => void
  /** ms, of a clock that never goes back. */
  now(): number
}

export interface FrameOptions {
  readonly columns: number
  readonly rows: number
  readonly color: boolean
  /** Since this process looks at the run, ms. */
  readonly elapsedMs: number
  /** The same for each agent at work, by its id. */
  readonly agentMs: Readonly<Record<string, number | undefined>>
}

type Piece = readonly [text: string, style?: Style]

const spinner = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏']
const frameMs = 120
const barMax = 24

/** The lines of the moment: none wider than the screen, and one fewer than it has at most. */
export function frame(status: RunStatus, { columns, rows, color, elapsedMs, agentMs }: FrameOptions): string[] {
  const { steps, members, spent, ceiling } = status
  const over = steps.filter(({ state }) => state === 'done' || state === 'unanswered').length
  const first: Piece[] = [
    [`${spinner[Math.floor(elapsedMs / frameMs) % spinner.length]!} `, 'cyan'],
    [stateWords[status.state], 'bold'],
    [`  ${clockText(elapsedMs)}`, 'dim'],
  ]
  const lines: Piece[][] = [first]
  if (steps.length > 0) {
    const width = Math.max(1, Math.min(barMax, columns - 20))
    const full = Math.round((width * over) / steps.length)
    lines.push([['  '], ['█'.repeat(full), 'green'], ['░'.repeat(width - full), 'dim'], [`  ${over} of ${steps.length} ${steps.length === 1 ? 'step' : 'steps'}`]])
  }
  lines.push([[`  ${spentText(spent, ceiling)}`, 'dim']])
  const working = members.filter(({ startedAt, endedAt }) => startedAt !== null && endedAt === null)
  for (const { id, machine } of working) {
    const step = steps.find((other) => other.id === id || id.startsWith(`${other.id}.`))
    const question = (step?.task as { question?: string } | undefined)?.question ?? ''
    lines.push([['  ● ', 'cyan'], [printable(machine)], [`  ${printable(id)}`, 'dim'], [`  ${clockText(agentMs[id] ?? 0)}`, 'dim'], [question === '' ? '' : `  ${printable(question)}`, 'dim']])
  }
  const waiting = members.filter(({ startedAt, endedAt }) => startedAt === null && endedAt === null).length
  if (waiting > 0) lines.push([[`  ○ ${waiting} ${waiting === 1 ? 'waits' : 'wait'} for room`, 'dim']])
  const linesMax = Math.max(1, rows - 1)
  const shown = lines.length <= linesMax ? lines : [...lines.slice(0, linesMax - 1), [[`  … and ${lines.length - linesMax + 1} more`, 'dim'] satisfies Piece]]
  return shown.map((pieces) => fitted(pieces, columns - 1, color))
}

/** As much of the pieces as fits, by the cells that it takes. */
function fitted(pieces: readonly Piece[], cells: number, color: boolean): string {
  let left = Math.max(0, cells)
  let line = ''
  for (const [text, style] of pieces) {
    const width = stringWidth(text)
    const part = cut(text, left)
    if (part !== '') line += style === undefined ? part : styled({ color }, style, part)
    left -= stringWidth(part)
    if (width > stringWidth(part)) break
  }
  return line
}

function clockText(ms: number): string {
  const seconds = Math.floor(ms / 1_000)
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
}

function spentText(spent: RunStatus['spent'], ceiling: RunStatus['ceiling']): string {
  const of = (value: string, key: keyof Amounts, text: (max: number) => string): string => (ceiling[key] < unbounded[key] ? `${value} of ${text(ceiling[key])}` : value)
  const number = (n: number): string => n.toLocaleString('en-US')
  return [
    of(formatDollars(spent.nanoDollars), 'nanoDollars', formatDollars),
    `${of(number(spent.tokens), 'tokens', number)} tokens`,
    `${of(number(spent.calls), 'calls', number)} calls`,
  ].join(', ')
}

// ── On the screen ──

const hideCursor = '\u001b[?25l'
const showCursor = '\u001b[?25h'
/** A terminal that knows it shows what comes between the two at once. */
const begin = '\u001b[?2026h'
const end = '\u001b[?2026l'

export class LiveProgress {
  private readonly screen: Screen
  private readonly color: boolean
  private readonly started: number
  private readonly since = new Map<string, number>()
  private status: RunStatus | undefined
  /** Widths of the lines that stand there. */
  private drawn: number[] = []
  private isPaused = false
  private readonly stops: (() => void)[]
  private readonly restore = (): void => this.screen.write(showCursor)

  constructor(screen: Screen, color: boolean) {
    this.screen = screen
    this.color = color
    this.started = screen.now()
    this.stops = [screen.every(frameMs, () => this.draw()), screen.onResize(() => this.draw())]
    screen.write(hideCursor)
    process.on('exit', this.restore)
  }

  show(status: RunStatus): void {
    this.status = status
    for (const { id, startedAt, endedAt } of status.members) {
      if (endedAt !== null) this.since.delete(id)
      else if (startedAt !== null && !this.since.has(id)) this.since.set(id, this.screen.now())
    }
    this.draw()
  }

  /** Says something for good, above what is drawn. */
  line(text: string): void {
    this.screen.write(`${begin}${this.erasing()}${text}\n`)
    this.drawn = []
    this.draw()
    this.screen.write(end)
  }

  /** Takes it off the screen until {@link resume}: somebody is asked. */
  pause(): void {
    this.screen.write(`${this.erasing()}${showCursor}`)
    this.drawn = []
    this.isPaused = true
  }

  resume(): void {
    if (!this.isPaused) return
    this.isPaused = false
    this.screen.write(hideCursor)
    this.draw()
  }

  stop(): void {
    if (!this.isPaused) this.pause()
    for (const stop of this.stops.splice(0)) stop()
    process.off('exit', this.restore)
  }

  private draw(): void {
    if (this.isPaused || !this.status) return
    const now = this.screen.now()
    const { columns, rows } = this.screen
    const lines = frame(this.status, {
      columns,
      rows,
      color: this.color,
      elapsedMs: now - this.started,
      agentMs: Object.fromEntries([...this.since].map(([id, at]) => [id, now - at])),
    })
    this.screen.write(`${begin}${this.erasing()}${lines.map((line) => `${line}\n`).join('')}${end}`)
    this.drawn = lines.map((line) => stringWidth(line))
  }

  /** Up to where it began, also if the screen has become narrower and its lines have broken. */
  private erasing(): string {
    if (this.drawn.length === 0) return ''
    const { columns } = this.screen
    const height = this.drawn.reduce((sum, width) => sum + Math.max(1, Math.ceil(width / columns)), 0)
    return `\u001b[${height}A\r\u001b[J`
  }
}

/** Draws on the terminal if it is one that can be drawn on; undefined elsewhere, and where only JSON is wanted. */
export function liveProgress({ screen, color }: Pick<Terminal, 'screen' | 'color'>): LiveProgress | undefined {
  return screen && screen.columns >= 20 && screen.rows >= 4 ? new LiveProgress(screen, color) : undefined
}

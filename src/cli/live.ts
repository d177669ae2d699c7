/**
 * The part of a terminal that is drawn anew while a run goes on: how far it is, what it has spent, and who is at work.
 * What is said for good stands above it. Only on a real terminal; elsewhere the lines alone tell.
 */
import { unbounded, type Amounts } from '../machines/ledger.js'
import { formatDollars } from '../mesh/prices.js'
import type { RunStatus } from '../mesh/run-handle.js'
import type { OpenBreaker } from './calls.js'
import { bar, clockText, Drawing, fitted, isDrawable, spinnerAt, type Piece } from './drawing.js'
import { printable, type Terminal } from './terminal.js'
import { stateWords } from './views.js'

export interface FrameOptions {
  readonly columns: number
  readonly rows: number
  readonly color: boolean
  /** Since this process looks at the run, ms. */
  readonly elapsedMs: number
  /** The same for each agent at work, by its id. */
  readonly agentMs: Readonly<Record<string, number | undefined>>
  /** Circuit breakers that are not closed. */
  readonly breakers?: readonly OpenBreaker[]
}

/** The lines of the moment: none wider than the screen, and one fewer than it has at most. */
export function frame(status: RunStatus, { columns, rows, color, elapsedMs, agentMs, breakers = [] }: FrameOptions): string[] {
  const { steps, members, spent, ceiling } = status
  const over = steps.filter(({ state }) => state === 'done' || state === 'unanswered').length
  const first: Piece[] = [
    [`${spinnerAt(elapsedMs)} `, 'cyan'],
    [stateWords[status.state], 'bold'],
    [`  ${clockText(elapsedMs)}`, 'dim'],
  ]
  const lines: Piece[][] = [first]
  if (steps.length > 0) lines.push([...bar(over, steps.length, columns), [`  ${over} of ${steps.length} ${steps.length === 1 ? 'step' : 'steps'}`]])
  lines.push([[`  ${spentText(spent, ceiling)}`, 'dim']])
  for (const { name, state, why } of breakers) lines.push([['  ⊘ ', state === 'open' ? 'red' : 'yellow'], [printable(name)], [`  breaker ${state === 'open' ? 'open' : 'half open'}: ${printable(why)}`, 'dim']])
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

export class LiveProgress extends Drawing {
  private readonly since = new Map<string, number>()
  private status: RunStatus | undefined
  private breakers: readonly OpenBreaker[] = []

  showBreakers(open: readonly OpenBreaker[]): void {
    this.breakers = open
    this.draw()
  }

  show(status: RunStatus): void {
    this.status = status
    for (const { id, startedAt, endedAt } of status.members) {
      if (endedAt !== null) this.since.delete(id)
      else if (startedAt !== null && !this.since.has(id)) this.since.set(id, this.screen.now())
    }
    this.draw()
  }

  protected override frame(): string[] {
    if (!this.status) return []
    const now = this.screen.now()
    const { columns, rows } = this.screen
    return frame(this.status, { columns, rows, color: this.color, elapsedMs: this.elapsedMs, breakers: this.breakers, agentMs: Object.fromEntries([...this.since].map(([id, at]) => [id, now - at])) })
  }
}

/** Draws on the terminal if it is one that can be drawn on; undefined elsewhere, and where only JSON is wanted. */
export function liveProgress({ screen, color }: Pick<Terminal, 'screen' | 'color'>): LiveProgress | undefined {
  return isDrawable(screen) ? new LiveProgress(screen, color) : undefined
}


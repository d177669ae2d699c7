/**
 * What is drawn anew on a terminal while something goes on, below what is said for good. Only on a real terminal;
 * elsewhere the lines alone tell.
 */
import stringWidth from 'string-width'
import { cut, styled, type Style } from './terminal.js'

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

export type Piece = readonly [text: string, style?: Style]

const spinner = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏']
const frameMs = 120
const barMax = 24

export function spinnerAt(elapsedMs: number): string {
  return spinner[Math.floor(elapsedMs / frameMs) % spinner.length]!
}

/** How far something is, on a line of its own. */
export function bar(done: number, of: number, columns: number): Piece[] {
  const width = Math.max(1, Math.min(barMax, columns - 20))
  const full = Math.round((width * done) / of)
  return [['  '], ['█'.repeat(full), 'green'], ['░'.repeat(width - full), 'dim']]
}

/** As much of the pieces as fits, by the cells that it takes. */
export function fitted(pieces: readonly Piece[], cells: number, color: boolean): string {
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

export function clockText(ms: number): string {
  const seconds = Math.floor(ms / 1_000)
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
}

const hideCursor = '\u001b[?25l'
const showCursor = '\u001b[?25h'
/** A terminal that knows it shows what comes between the two at once. */
const begin = '\u001b[?2026h'
const end = '\u001b[?2026l'

export function isDrawable(screen: Screen | undefined): screen is Screen {
  return screen !== undefined && screen.columns >= 20 && screen.rows >= 4
}

export abstract class Drawing {
  protected readonly screen: Screen
  protected readonly color: boolean
  private readonly started: number
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

  /** The lines of the moment: none wider than the screen, and one fewer than it has at most; none if there is nothing to show yet. */
  protected abstract frame(): string[]

  /** Since it began, ms. */
  protected get elapsedMs(): number {
    return this.screen.now() - this.started
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

  protected draw(): void {
    if (this.isPaused) return
    const lines = this.frame()
    if (lines.length === 0) return
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

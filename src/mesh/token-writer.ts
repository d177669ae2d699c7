/**
 * Sends what one attempt has read so far to its run's token stream, in pieces, while the attempt goes on. It never holds
 * the attempt up: one piece is on its way at a time, and what comes meanwhile goes into the next. What it keeps is the
 * answer itself, which the model's client keeps, too.
 */
import { toStoredError } from '../errors.js'
import { pieceLength, tokenTextMax, type TokenEvent, type TokenSource } from '../machines/token-stream.machine.js'
import type { Clock } from '../runtime/ports/clock.js'
import type { Logger } from '../runtime/ports/logger.js'

// In every Node that we run on, but not yet in the library that TypeScript is told of.
const { toWellFormed } = String.prototype as unknown as { toWellFormed(this: string): string }

export interface TokenWriterOptions {
  readonly of: TokenSource
  readonly attempt: number
  /** Unique among all writers. */
  readonly writer: string
  /** From one piece to the next, ms. The first one goes at once. */
  readonly everyMs: number
  readonly clock: Clock
  readonly logger: Logger
  /** Resolves when the stream has it, or has refused it for good. */
  write(event: TokenEvent): Promise<void>
}

/** How much of an answer was sent in pieces, for the outcome to bring the rest. */
export interface Streamed {
  /** null: what was sent is not what was answered. */
  readonly writer: string | null
  readonly chars: number
}

export class TokenWriter {
  private readonly options: TokenWriterOptions
  private text = ''
  /** UTF-16 units that the stream is known to have. */
  private sent = 0
  private dueAt = -Infinity
  private sending: Promise<void> | undefined
  private cancelTimer: (() => void) | undefined
  private isClosed = false

  constructor(options: TokenWriterOptions) {
    this.options = options
  }

  /** More of the answer has been read. */
  take(delta: string): void {
    this.text += delta
    this.plan()
  }

  /**
   * The answer is whole. Sends of it what is too long for an outcome to bring.
   *
   * @param signal the attempt's: after that nobody wants to know
   */
  async finish(text: string, signal: AbortSignal): Promise<Streamed> {
    this.cancelTimer?.()
    this.cancelTimer = undefined
    const { writer } = this.options
    const isPart = text.startsWith(toWellFormed.call(this.text.slice(0, pieceLength(this.text, 0, Infinity))))
    this.text = text
    if (!isPart) this.isClosed = true
    while (!this.isClosed && !signal.aborted && text.length - this.sent > tokenTextMax) await (this.sending ?? this.send())
    this.isClosed = true
    return isPart ? { writer, chars: this.sent } : { writer: null, chars: 0 }
  }

  /** Sends nothing more. */
  close(): void {
    this.isClosed = true
    this.cancelTimer?.()
  }

  private plan(): void {
    const { clock } = this.options
    if (this.isClosed || this.sending || this.cancelTimer || this.text.length === this.sent) return
    const delayMs = this.text.length - this.sent >= tokenTextMax ? 0 : this.dueAt - clock.now()
    if (delayMs <= 0) void this.send()
    else {
      this.cancelTimer = clock.after(delayMs, () => {
        this.cancelTimer = undefined
        this.plan()
      })
    }
  }

  private send(): Promise<void> {
    const { of, attempt, writer, everyMs, clock, logger, write } = this.options
    const length = pieceLength(this.text, this.sent, tokenTextMax)
    // The other half of a character is on its way.
    if (length === 0) return Promise.resolve()
    this.dueAt = clock.now() + everyMs
    const text = toWellFormed.call(this.text.slice(this.sent, this.sent + length))
    this.sending = write({ type: 'tokens.write', of, attempt, writer, offset: this.sent, text }).then(
      () => {
        this.sent += length
      },
      (error: unknown) => {
        // Who watches gets the answer with its outcome.
        if (!this.isClosed) logger.warn({ agent: of.agent, task: of.task, error: toStoredError(error).message }, 'what a model is writing cannot be told to those who watch')
        this.isClosed = true
      },
    ).then(() => {
      this.sending = undefined
      this.plan()
    })
    return this.sending
  }
}

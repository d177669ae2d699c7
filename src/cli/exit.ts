/** How a command ends, as the shell sees it. */

export const exitCodes = {
  ok: 0,
  /** The run failed or was rejected, or the command could not do what was asked. */
  failed: 1,
  /** The command line could not be understood. */
  usage: 2,
  /** The run waits for a person. */
  waiting: 3,
  /** Ctrl-C: stopped cleanly. */
  interrupted: 130,
} as const

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes]

/** What was typed cannot be understood; the message says what can. */
export class UsageError extends Error {
  /** The command whose help would tell more. */
  readonly command: string | undefined
  constructor(message: string, command?: string) {
    super(message)
    this.name = 'UsageError'
    this.command = command
  }
}

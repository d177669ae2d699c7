/** Runs a command's work so that Ctrl-C stops it cleanly: what is under way is finished or given up, and the store closed. */
import type { ExitCode } from '../exit.js'
import type { Session } from '../session.js'
import type { Terminal } from '../terminal.js'

export async function interruptible(session: Session, terminal: Terminal, work: (signal: AbortSignal) => Promise<ExitCode>): Promise<ExitCode> {
  const controller = new AbortController()
  const release = terminal.onInterrupt(() => {
    if (controller.signal.aborted) process.exit(130)
    controller.abort()
  })
  try {
    return await work(controller.signal)
  } finally {
    await session.stop()
    release()
  }
}

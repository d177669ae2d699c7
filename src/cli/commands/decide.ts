/** `holdfast approve` and `holdfast reject`: a person decides, from any process. */
import { userInfo } from 'node:os'
import { isHoldfastError } from '../../errors.js'
import type { Command } from '../command.js'
import { exitCodes, type ExitCode } from '../exit.js'
import { alreadyDecided, follow } from '../follow.js'
import { existingRun, openSession } from '../session.js'
import { printable } from '../terminal.js'
import { interruptible } from './interruptible.js'

function decision(name: 'approve' | 'reject', past: string): Command {
  return {
    name,
    summary: name === 'approve' ? 'Approves what a run is about to do, exactly as it was shown. If no other process runs it, it is finished here.' : 'Rejects what a run is about to do; the run ends.',
    usage: '<run>',
    takes: [1, 1],
    options: {
      by: { type: 'string', value: '<name>', help: 'who decides. Default: the name of the user' },
      note: { type: 'string', value: '<text>', help: 'why' },
      digest: { type: 'string', value: '<hex>', help: 'of what was shown: nothing is decided if the run asks for something else by now' },
    },
    examples: [[`holdfast ${name} r-1a2b3c4d`, `decides in your name`]],
    async run(given, terminal): Promise<ExitCode> {
      const session = await openSession(given, terminal, 'owner')
      return interruptible(session, terminal, async (signal) => {
        const { run } = await existingRun(session, given.positionals[0]!)
        const { note, digest, by = userInfo().username } = given.strings
        try {
          const recorded = await run[name]({ by, ...(note === undefined ? {} : { note }), ...(digest === undefined ? {} : { digest }) })
          if (recorded.approved !== (name === 'approve')) {
            terminal.line(given.flags['json'] ? JSON.stringify({ run: run.id, decision: recorded }) : alreadyDecided(run, recorded))
            return exitCodes.failed
          }
          if (!given.flags['json']) terminal.line(`Run ${run.id} is ${past} by ${printable(recorded.by)}.`)
        } catch (error) {
          if (!isHoldfastError(error) || error.code !== 'DEADLINE') throw error
          terminal.line(given.flags['json'] ? JSON.stringify({ run: run.id, decision: null, waiting: true }) : `Nobody answered in time: the process that runs ${run.id} is busy or gone. The decision is kept and counts as soon as one runs it.`)
          return exitCodes.waiting
        }
        const code = await follow(session, run, terminal, { json: given.flags['json']!, unattended: undefined }, signal)
        // Rejected is what was asked for.
        return name === 'reject' && code === exitCodes.failed ? exitCodes.ok : code
      })
    },
  }
}

export const approve = decision('approve', 'approved')
export const reject = decision('reject', 'rejected')

/** `holdfast resume`, `resolve` and `cancel`: going on with a run, or ending it. */
import { userInfo } from 'node:os'
import type { Command } from '../command.js'
import { UsageError, exitCodes, type ExitCode } from '../exit.js'
import { follow } from '../follow.js'
import { existingRun, openSession } from '../session.js'
import { interruptible } from './interruptible.js'

export const resume: Command = {
  name: 'resume',
  summary: 'Goes on with a run that was interrupted, or shows how it ended.',
  usage: '<run>',
  takes: [1, 1],
  options: {
    'approve-as': { type: 'string', value: '<name>', help: 'approve in that name where no person can be asked' },
    redrive: { type: 'boolean', help: 'try again what was set aside because the process had died over it twenty times' },
  },
  examples: [['holdfast resume r-1a2b3c4d', 'from where it was when its process ended, however that happened']],
  async run(given, terminal): Promise<ExitCode> {
    const session = await openSession(given, terminal, 'owner')
    return interruptible(session, terminal, async (signal) => {
      const { run } = await existingRun(session, given.positionals[0]!)
      if (given.flags['redrive']) await run.redrive()
      return follow(session, run, terminal, { json: given.flags['json']!, unattended: given.strings['approve-as'] }, signal)
    })
  },
}

export const resolve: Command = {
  name: 'resolve',
  summary: 'Says whether an action happened of which nobody knew: its process died in the middle, and the receiver could not be asked.',
  usage: '<run> --happened | --not-happened',
  takes: [1, 1],
  options: {
    happened: { type: 'boolean', help: 'it did: the run is done' },
    'not-happened': { type: 'boolean', help: 'it did not: it is done now, under the same key' },
    by: { type: 'string', value: '<name>', help: 'who found out. Default: the name of the user' },
  },
  examples: [['holdfast resolve r-1a2b3c4d --happened', 'the report had arrived']],
  async run(given, terminal): Promise<ExitCode> {
    const { happened, 'not-happened': not } = given.flags
    if (happened === not) throw new UsageError('holdfast resolve needs either --happened or --not-happened.', 'resolve')
    const session = await openSession(given, terminal, 'owner')
    return interruptible(session, terminal, async (signal) => {
      const { run } = await existingRun(session, given.positionals[0]!)
      await run.resolve({ happened: happened!, by: given.strings['by'] ?? userInfo().username })
      // It leaves that state with the next commit; until then it would be taken for what it was.
      await run.settled({ deadlineMs: 10_000 }).catch(() => {})
      return follow(session, run, terminal, { json: given.flags['json']!, unattended: undefined }, signal)
    })
  },
}

export const cancel: Command = {
  name: 'cancel',
  summary: 'Ends a run and stops its agents. Once its report is being published it is too late.',
  usage: '<run>',
  takes: [1, 1],
  options: { by: { type: 'string', value: '<name>', help: 'who wants it. Default: the name of the user' } },
  examples: [['holdfast cancel r-1a2b3c4d', '']],
  async run(given, terminal): Promise<ExitCode> {
    const session = await openSession(given, terminal, 'owner')
    return interruptible(session, terminal, async (signal) => {
      const { run } = await existingRun(session, given.positionals[0]!)
      await run.cancel(given.strings['by'] ?? userInfo().username)
      const code = await follow(session, run, terminal, { json: given.flags['json']!, unattended: undefined }, signal)
      return code === exitCodes.failed ? exitCodes.ok : code
    })
  },
}

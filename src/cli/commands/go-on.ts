/** `holdfast resume`, `resolve`, `retry` and `cancel`: going on with a run, or ending it. */
import { userInfo } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RunHandle, RunStatus } from '../../mesh/run-handle.js'
import type { Command, Given } from '../command.js'
import { UsageError, exitCodes, type ExitCode } from '../exit.js'
import { follow } from '../follow.js'
import { existingRun, openSession } from '../session.js'
import type { Terminal } from '../terminal.js'
import { interruptible } from './interruptible.js'

/** Says something to a run, and goes on with it as far as it goes. */
async function goOn(given: Given, terminal: Terminal, say: (run: RunHandle, status: RunStatus) => Promise<void>): Promise<ExitCode> {
  const session = await openSession(given, terminal, 'owner')
  return interruptible(session, terminal, async (signal) => {
    const { run, status } = await existingRun(session, given.positionals[0]!)
    await say(run, status)
    return follow(session, run, terminal, { json: given.flags['json']!, unattended: given.strings['approve-as'] }, signal)
  })
}

function whoOf(given: Given): string {
  return given.strings['by'] ?? userInfo().username
}

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
  run: (given, terminal) =>
    goOn(given, terminal, async (run) => {
      if (given.flags['redrive']) await run.redrive()
    }),
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
    return goOn(given, terminal, async (run, { resolution }) => {
      await run.resolve({ happened: happened!, by: whoOf(given) })
      await taken(run, (now) => now.resolution?.at !== resolution?.at)
    })
  },
}

export const retry: Command = {
  name: 'retry',
  summary: 'Publishes an approved report again that the receiver or the disk did not take, under the same key.',
  usage: '<run>',
  takes: [1, 1],
  options: { by: { type: 'string', value: '<name>', help: 'who wants it. Default: the name of the user' } },
  examples: [['holdfast retry r-1a2b3c4d', 'the receiver is up again']],
  run: (given, terminal) =>
    goOn(given, terminal, async (run, { retry: before }) => {
      await run.retry({ by: whoOf(given) })
      await taken(run, (now) => now.retry?.at !== before?.at)
    }),
}

/** What was said is durable; until it is also taken, the run would be taken for what it was. Waits 10 s at most: whoever runs it may be busy. */
async function taken(run: RunHandle, isTaken: (status: RunStatus) => boolean): Promise<void> {
  for (let waited = 0; waited < 10_000; waited += 50) {
    const status = await run.status()
    if (!status || isTaken(status)) return
    await sleep(50)
  }
}

export const cancel: Command = {
  name: 'cancel',
  summary: 'Ends a run and stops its agents. Once its report is being published it is too late.',
  usage: '<run>',
  takes: [1, 1],
  options: { by: { type: 'string', value: '<name>', help: 'who wants it. Default: the name of the user' } },
  examples: [['holdfast cancel r-1a2b3c4d', '']],
  async run(given, terminal): Promise<ExitCode> {
    const code = await goOn(given, terminal, (run) => run.cancel(whoOf(given)))
    return code === exitCodes.failed ? exitCodes.ok : code
  },
}

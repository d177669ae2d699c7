/** `holdfast dead-letters`: what could not be handled, and trying it again. */
import type { DeadLetter, DeadLetterQuery } from '../../runtime/dead-letters.js'
import type { ActorSystem } from '../../runtime/system.js'
import { limitOf, present, upTo, type Command, type Given } from '../command.js'
import { UsageError, exitCodes, type ExitCode } from '../exit.js'
import { openSession } from '../session.js'
import { printable, styled, type Terminal } from '../terminal.js'
import { shortened } from '../views.js'

export const deadLetters: Command = {
  name: 'dead-letters',
  summary: 'Lists messages that could not be handled, with the reason, or sends them again.',
  usage: '',
  takes: [0, 0],
  options: {
    actor: { type: 'string', value: '<address>', help: 'to that actor, by its address (machine/id)' },
    machine: { type: 'string', value: '<name>', help: 'to actors of that machine' },
    reason: { type: 'string', value: '<reason>', help: 'ended, failed, not-started, exists, expired, cancelled or overflow' },
    since: { type: 'string', value: '<time>', help: 'given up then or later, such as 2026-05-01 or 2026-05-01T12:00:00Z' },
    limit: { type: 'string', value: '<n>', help: 'list so many at most. Default 100' },
    redrive: { type: 'string', value: '<id>', help: 'send that one again' },
    'redrive-all': { type: 'boolean', help: 'send all again that would be listed, however many; what expired or was cancelled only with that --reason' },
  },
  examples: [
    ['holdfast dead-letters', 'what there is in ./.holdfast'],
    ['holdfast dead-letters --actor order/o-17 --json', 'with all that each message brought'],
    ['holdfast dead-letters --redrive 3-17', 'once the cause is gone'],
    ['holdfast dead-letters --reason overflow --redrive-all', 'once there is room'],
  ],
  notes:
    'ended, failed, not-started: the actor could not take it. exists: a start with other input. expired: its deadline had passed, or its actor has gone. cancelled: whoever asked wanted no answer any more. overflow: too many messages of the actor waited. What is sent again stands behind all that waits, has no deadline, and is handled by whichever process runs the actor; what still cannot be handled comes back under another id.',
  async run(given, terminal) {
    const { redrive } = given.strings
    if (redrive !== undefined && (given.flags['redrive-all'] || ['actor', 'machine', 'reason', 'since', 'limit'].some((name) => given.strings[name] !== undefined))) throw new UsageError('holdfast dead-letters --redrive takes an id and nothing else; --redrive-all takes what is to fit.', deadLetters.name)
    if (given.flags['redrive-all'] && given.strings['limit'] !== undefined) throw new UsageError('holdfast dead-letters --redrive-all takes no --limit: all that fit are sent again. --redrive <id> sends one.', deadLetters.name)
    const limit = limitOf(given, deadLetters.name)
    const query = queryOf(given)
    const session = await openSession(given, terminal, 'client')
    try {
      const { system } = session.mesh
      if (redrive !== undefined || given.flags['redrive-all']) return await again(system, redrive ?? query, given, terminal)
      return await list(system, query, limit, given, terminal)
    } finally {
      await session.stop()
    }
  },
}

function queryOf(given: Given): DeadLetterQuery {
  const { actor, machine, reason, since } = given.strings
  const at = since === undefined ? undefined : Date.parse(since)
  if (Number.isNaN(at)) throw new UsageError(`--since: expected a time such as 2026-05-01T12:00:00Z, got "${printable(since!)}".`, deadLetters.name)
  return present({ actor, machine, reason: reason as DeadLetter['reason'] | undefined, since: at })
}

async function list(system: ActorSystem, query: DeadLetterQuery, limit: number, given: Given, terminal: Terminal): Promise<ExitCode> {
  const { found: letters, more } = await upTo(limit, async (page) => {
    const { letters: found, cursor } = await system.deadLetters({ ...query, ...page })
    return { found, cursor }
  })
  if (given.flags['json']) terminal.line(JSON.stringify({ letters, more }))
  else if (letters.length === 0) terminal.line('No dead letter is kept here.')
  else for (const letter of letters.sort((a, b) => a.at - b.at)) for (const line of linesOf(terminal, letter)) terminal.line(line)
  if (more && !given.flags['json']) terminal.line(`There are more: name a --limit beyond ${limit}.`)
  return exitCodes.ok
}

function linesOf(terminal: Terminal, { id, at, reason, to, detail, message }: DeadLetter): string[] {
  const { kind, from, body } = message
  const what = kind === 'event' || kind === 'fact' ? String((body as { type?: unknown } | undefined)?.type ?? '') : kind
  return [
    `${styled(terminal, 'bold', id.padEnd(8))} ${new Date(at).toISOString()}  ${styled(terminal, 'yellow', reason.padEnd(11))} ${to}  ${printable(shortened(what, 60))}${from === undefined ? '' : ` from ${from}`}`,
    `${' '.repeat(9)}${styled(terminal, 'dim', printable(shortened(detail, 160)))}`,
  ]
}

async function again(system: ActorSystem, which: string | DeadLetterQuery, given: Given, terminal: Terminal): Promise<ExitCode> {
  const { redriven, full, gone } = await system.redriveDeadLetters(which)
  const isDone = full === 0 && gone === 0
  if (given.flags['json']) terminal.line(JSON.stringify({ redriven, full, gone }))
  else {
    if (redriven > 0 || isDone) terminal.line(redriven === 0 ? 'There was nothing to send again.' : `${redriven} ${redriven === 1 ? 'was' : 'were'} sent again.`)
    if (full > 0) terminal.line(styled(terminal, 'yellow', `${full} found no room: too many messages of their actors wait. Try again once some are handled.`))
    if (gone > 0) terminal.line(styled(terminal, 'red', typeof which === 'string' ? `There is no dead letter ${which} any more.` : `${gone} had gone meanwhile.`))
  }
  return full > 0 || (typeof which === 'string' && gone > 0) ? exitCodes.failed : exitCodes.ok
}

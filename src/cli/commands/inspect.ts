/** `holdfast inspect`: what another process's actors do, live, in the protocol of Stately's inspector. */
import { ConfigError } from '../../errors.js'
import type { Command } from '../command.js'
import { UsageError } from '../exit.js'
import { existingRun, openSession } from '../session.js'
import { printable } from '../terminal.js'
import { interruptible } from './interruptible.js'

const defaultUrl = 'ws://127.0.0.1:8080'
const redactions = ['values', 'secrets', 'nothing'] as const

export const inspect: Command = {
  name: 'inspect',
  summary: 'Streams what the actors of a store do, live, to Stately’s inspector or as JSON lines. It runs nothing itself.',
  usage: '[<run>]',
  takes: [0, 1],
  options: {
    url: { type: 'string', short: 'u', value: '<ws://…>', help: `where an inspector listens. Default ${defaultUrl}; with --json, lines go to standard output instead` },
    redact: { type: 'string', value: `<${redactions.join('|')}>`, help: 'what is hidden: of all values but their shapes, what looks like a secret, or nothing. Default values' },
    errors: { type: 'boolean', help: 'show the messages and stacks of errors; the protocol shows {}' },
  },
  examples: [
    ['holdfast inspect', `to an inspector that listens at ${defaultUrl}, of all runs; in another terminal: holdfast resume r-1a2b3c4d`],
    ['holdfast inspect r-1a2b3c4d --json', 'one run, until it has ended, one message a line'],
    ['holdfast inspect --redact secrets --url ws://127.0.0.1:9000', 'with prompts, documents and answers'],
  ],
  notes:
    'Another process runs the actors, on this machine; it is asked through the store and calls back on 127.0.0.1. If none does just now, this waits for one; the store itself must be there. Actors in its memory are shown at once, others when something happens to them. Messages are those of @statelyai/inspect: @xstate.actor with the chart, @xstate.event and @xstate.snapshot, each after its commit. Prompts and documents are values: they do not leave the machine that runs them unless you say so by --redact.',
  async run(given, terminal) {
    const { redact = 'values' } = given.strings
    if (!(redactions as readonly string[]).includes(redact)) throw new UsageError(`--redact: expected ${redactions.join(', ')}, got "${printable(redact)}".`, 'inspect')
    const url = given.strings['url'] ?? (given.flags['json'] ? undefined : defaultUrl)
    if (url !== undefined && !(URL.canParse(url) && /^wss?:$/.test(new URL(url).protocol))) throw new UsageError(`--url: expected the address of a WebSocket server such as ${defaultUrl}, got "${printable(url)}".`, 'inspect')
    const session = await openSession(given, terminal, 'client')
    return interruptible(session, terminal, async (signal) => {
      const [run = null] = given.positionals
      if (run !== null) {
        const { status } = await existingRun(session, run)
        if (status.state === 'done' || status.state === 'failed') throw new ConfigError(`Run ${run} has ended, so nothing will happen in it any more. What happened: holdfast show ${run}${session.storeOption}   or   holdfast trace ${run}${session.storeOption}`)
      }
      const { Looker, inspectorAt, lines } = await import('../looker.js')
      const sink = url === undefined ? lines(terminal) : await inspectorAt(url, terminal)
      try {
        return await new Looker(session, terminal, sink, { run, redact: redact as (typeof redactions)[number], errors: given.flags['errors']! }).look(signal)
      } finally {
        await sink.end()
      }
    })
  },
}

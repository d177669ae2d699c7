/** `holdfast actors`: which actors are in which state, of any program on the store. */
import type { FoundActor } from '../../runtime/find.js'
import type { Parked } from '../../runtime/envelope.js'
import type { RecordStatus } from '../../runtime/stored-record.js'
import { limitOf, present, upTo, type Command } from '../command.js'
import { exitCodes } from '../exit.js'
import { openSession, type Session } from '../session.js'
import { printable, styled, type Style, type Terminal } from '../terminal.js'

const statusStyles: Readonly<Partial<Record<RecordStatus, Style>>> = { failed: 'red', done: 'green', active: 'cyan' }

export const actors: Command = {
  name: 'actors',
  summary: 'Lists actors by machine, state, tag, run or status: those that wait for approval, say, or those that failed.',
  usage: '',
  takes: [0, 0],
  options: {
    machine: { type: 'string', value: '<name>', help: 'of that machine' },
    state: { type: 'string', value: '<path>', help: 'in that state of it, such as working or working.calling' },
    tag: { type: 'string', value: '<tag>', help: 'in a state with that tag' },
    run: { type: 'string', value: '<id>', help: 'of that run' },
    status: { type: 'string', value: '<status>', help: 'active, done, stopped or failed' },
    limit: { type: 'string', value: '<n>', help: 'so many at most, in the order of their addresses. Default 100' },
  },
  examples: [
    ['holdfast actors --state open.approvalPending', 'runs that wait for a person; agents that do are in approvalPending'],
    ['holdfast actors --machine order --status failed --namespace default --store redis://127.0.0.1:6379', 'of a service of yours: its namespace is "default" unless it names another'],
  ],
  notes: 'Where the messages of an actor wait, such as for a node with its version of the machine, the reason stands below it. All that is given must fit. Only what the machine of an actor itself is in counts, not the children inside it. One that failed or was stopped is in no state.',
  async run(given, terminal) {
    const limit = limitOf(given, actors.name)
    const session = await openSession(given, terminal, 'client')
    try {
      const { machine, state, tag, run, status } = given.strings
      const query = present({ machine, state, tag, run, status: status as RecordStatus | undefined })
      const { found, more } = await upTo(limit, async (page) => {
        const { actors: found, cursor } = await session.mesh.system.find({ ...query, ...page })
        return { found, cursor }
      })
      const listed: Listed[] = []
      for (let i = 0; i < found.length; i += looksAtOnce) {
        listed.push(...(await Promise.all(found.slice(i, i + looksAtOnce).map(async (actor) => ({ ...actor, ...(await waiting(session, actor)) })))))
      }
      if (given.flags['json']) terminal.line(JSON.stringify({ actors: listed, more }))
      else if (listed.length === 0) terminal.line('No such actor is kept here.')
      else {
        for (const actor of listed) {
          terminal.line(lineOf(terminal, actor))
          if (actor.parked) terminal.line(`${' '.repeat(31)}${styled(terminal, 'yellow', `its messages wait (${actor.parked.reason}): ${printable(actor.parked.detail)}`)}`)
        }
      }
      if (more && !given.flags['json']) terminal.line(`There are more: name a --limit beyond ${limit}.`)
      return exitCodes.ok
    } finally {
      await session.stop()
    }
  },
}

/** Why messages of an actor wait, if they do. */
interface Listed extends FoundActor {
  readonly parked?: Pick<Parked, 'reason' | 'detail'>
}

const looksAtOnce = 50

async function waiting({ mesh }: Session, { address }: FoundActor): Promise<Pick<Listed, 'parked'>> {
  const [first] = await mesh.system.parked(address, 1)
  return first ? { parked: { reason: first.reason, detail: first.detail } } : {}
}

/** The innermost states say the rest. */
function lineOf(terminal: Terminal, { address, status, states, tags }: FoundActor): string {
  const inner = states.filter((state) => !states.some((other) => other.startsWith(`${state}.`)))
  const where = [...inner, ...tags.map((tag) => `#${tag}`)].map(printable).join(' ')
  return `${styled(terminal, 'bold', address.padEnd(30))} ${styled(terminal, statusStyles[status] ?? 'yellow', status.padEnd(7))} ${where}`.trimEnd()
}

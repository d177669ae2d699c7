/** `holdfast replay`: an actor's turns, run again in memory; nothing outside is touched, and nothing in the store. */
import { writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { AnyStateMachine } from 'xstate'
import { ConfigError } from '../../errors.js'
import type { ActorHistory } from '../../runtime/history.js'
import { machineOf, parseAddress, type Address } from '../../runtime/identity.js'
import { replay as run } from '../../runtime/replay.js'
import type { Command, Given } from '../command.js'
import { UsageError, exitCodes } from '../exit.js'
import { redactions, type Redaction } from '../inspection.js'
import { machineIn } from '../machine-in.js'
import { redactedReplay, replayLines } from '../replay-view.js'
import { openSession, type Session } from '../session.js'
import { printable, type Terminal } from '../terminal.js'

export const replay: Command = {
  name: 'replay',
  summary: 'Runs the turns of an actor again, in memory, and says at which of them it comes out otherwise, if at any.',
  usage: '<actor>',
  takes: [1, 1],
  options: {
    to: { type: 'string', value: '<turn>', help: 'stop after that turn, and show all of its snapshot' },
    machine: { type: 'string', short: 'm', value: '<module>', help: 'the machine, as holdfast graph takes it. Default: that of holdfast itself, of this name' },
    verbose: { type: 'boolean', short: 'v', help: 'show events and inputs, too, and what is now where something is another' },
    redact: { type: 'string', value: `<${redactions.join('|')}>`, help: 'what is hidden: of all values but their shapes, what looks like a secret, or nothing. Default values' },
    out: { type: 'string', short: 'o', value: '<file>', help: 'write the history to a file as well, to replay it in a test. Nothing in it is hidden' },
  },
  examples: [
    ['holdfast replay order/o-17 --machine ./order.js --store ./data --namespace default', 'an actor of yours; its machine is registered with history: true'],
    ['holdfast replay research/r-1a2b3c4d --verbose', 'a run'],
    ['holdfast replay researcher/r-1a2b3c4d~step-1 --to 12 --redact nothing', 'an agent of a run, as it stood after its twelfth turn'],
    ['holdfast replay order/o-17 -m ./next/order.js', 'does the next version of the machine take all that came as this one did?'],
  ],
  notes:
    'It needs the history of the actor, which is kept of agents and runs, and of machines that are registered with the option history. No effect is run, no message is sent and no time passes: what came from outside then stands in the history. Each turn is checked against what it wrote and asked for when it happened; the first that comes out otherwise ends the replay, and the exit code is then 1. That is the way to try a new version of a machine, too; an assign or guard that reads a clock or draws chance shows in the same way.',
  async run(given, terminal) {
    const address = addressIn(given)
    const to = turnIn(given)
    const { redact = 'values', machine: place, out } = given.strings
    if (!(redactions as readonly string[]).includes(redact)) throw new UsageError(`--redact: expected ${redactions.join(', ')}, got "${printable(redact)}".`, 'replay')
    const own = place === undefined ? undefined : await machineIn(place, { command: 'replay', cwd: terminal.cwd, id: machineOf(address) })
    const { history, machine } = await read(given, terminal, address, own)
    if (out !== undefined) await write(resolve(terminal.cwd, out), history)
    const replayed = redactedReplay(run(machine, history, to === undefined ? {} : { to }), redact as Redaction)
    if (given.flags['json']) terminal.line(JSON.stringify({ ...replayed, turns: given.flags['verbose'] ? replayed.turns : replayed.turns.map(({ payload: _, ...turn }) => turn) }))
    else for (const line of replayLines(terminal, replayed, { from: history.base?.turn ?? 0, verbose: given.flags['verbose']!, whole: to !== undefined })) terminal.line(line)
    return replayed.divergence ? exitCodes.failed : exitCodes.ok
  },
}

function addressIn({ positionals: [text] }: Given): Address {
  try {
    return parseAddress(text)
  } catch (error) {
    throw new UsageError((error as Error).message, 'replay')
  }
}

function turnIn({ strings: { to } }: Given): number | undefined {
  if (to === undefined) return undefined
  if (!/^[1-9]\d{0,14}$/.test(to)) throw new UsageError(`--to: expected the number of a turn, got "${printable(to)}".`, 'replay')
  return Number(to)
}

/** Only that needs the store. */
async function read(given: Given, terminal: Terminal, address: Address, own: AnyStateMachine | undefined): Promise<{ history: ActorHistory; machine: AnyStateMachine }> {
  const session = await openSession(given, terminal, 'client')
  try {
    const { system } = session.mesh
    const actor = system.actorAt(address)
    const history = await actor.history()
    if (!history) throw new ConfigError((await actor.status()) === undefined ? `There is no actor ${address} here.` : `Of ${address} no history is kept. Register its machine with it: machines: [{ machine, history: true }]. It begins with the next turn.`)
    return { history, machine: own ?? registered(session, address) }
  } finally {
    await session.stop()
  }
}

function registered({ mesh: { system } }: Session, address: Address): AnyStateMachine {
  try {
    return system.machine(machineOf(address))
  } catch {
    throw new UsageError(`The machine "${machineOf(address)}" is none of holdfast's own. Say where it is: --machine ./${machineOf(address)}.js`, 'replay')
  }
}

async function write(file: string, history: ActorHistory): Promise<void> {
  try {
    await writeFile(file, `${JSON.stringify(history)}\n`)
  } catch (error) {
    throw new UsageError(`--out: ${(error as Error).message}.`, 'replay')
  }
}

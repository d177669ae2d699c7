/** `holdfast doctor`: what a store promises, who runs its actors, and why nobody does. */
import type { NodeSeen } from '../../runtime/ports/store.js'
import type { ActorSystem } from '../../runtime/system.js'
import type { Command } from '../command.js'
import { exitCodes } from '../exit.js'
import { openSession } from '../session.js'
import { printable, styled } from '../terminal.js'

/** Longer than a node needs for a sign of life, of which there are twenty a lease. */
const lookMs = 1_500

export const doctor: Command = {
  name: 'doctor',
  summary: 'Says what the store promises, whether it is to be refused, who runs its actors, and whether it went back in time; --accept lets it go on from there.',
  usage: '',
  takes: [0, 0],
  options: { accept: { type: 'boolean', help: 'go on from what the store holds, although something that was acknowledged is lost' } },
  examples: [
    ['holdfast doctor', 'of ./.holdfast'],
    ['holdfast doctor --store redis://127.0.0.1:6379 --accept', 'after a failover that lost something, once you have looked at what there is'],
  ],
  notes:
    'A store goes back in time if it is put back from an older backup, flushed, or replaced by a replica that lacked something. Every process that saw a later state notices it, and from then on nobody runs an actor: what was acknowledged since is lost, and what was done for it (mails sent, reports published) may have happened and would be done again. holdfast show and holdfast trace tell what is there. A store that loses what it has acknowledged is refused: no process runs an actor on it, what is sent is kept, and once it is mended the actors go on. Exits with 1 if the store is halted or refused.',
  async run(given, terminal) {
    // Of a namespace that was flushed nothing is left, and its processes wait to be accepted all the same.
    const session = await openSession(given, terminal, 'client', 'namespace')
    try {
      const { system } = session.mesh
      const before = await system.halted()
      if (given.flags['accept']) await system.accept()
      const [halted, nodes] = [await system.halted(), await shown(system)]
      if (given.flags['json']) {
        terminal.line(JSON.stringify({ durability: system.durability, warnings: system.warnings, refusals: system.refusals, nodes: nodes.map(({ id, presence }) => ({ id, presence })), halted: halted ?? null }))
        return isWell(system, halted) ? exitCodes.ok : exitCodes.failed
      }
      terminal.line(`Durability ${system.durability}.`)
      for (const warning of system.warnings) terminal.line(`${styled(terminal, 'yellow', 'Warning')}: ${printable(warning)}`)
      for (const refusal of system.refusals) terminal.line(`${styled(terminal, 'red', 'Refused')}: ${printable(refusal)}`)
      const [here, others] = [nodes.filter(({ presence }) => presence === 'here'), nodes.filter(({ presence }) => presence !== 'here')]
      const are = isWell(system, halted) ? ['runs', 'run'] : ['would run', 'would run']
      terminal.line(here.length === 0 ? 'No process runs actors now.' : `${here.length} ${here.length === 1 ? `process ${are[0]}` : `processes ${are[1]}`} actors: ${here.map(({ id }) => printable(id)).join(', ')}.`)
      for (const { id, presence } of others) terminal.line(`  ${printable(id)}: ${presence}`)
      if (halted !== undefined) terminal.line(`${styled(terminal, 'red', 'Halted')}: ${printable(halted)}`)
      else if (before !== undefined) terminal.line('Accepted: the actors go on from what is there.')
      else terminal.line('Nobody has seen the store go back in time.')
      return isWell(system, halted) ? exitCodes.ok : exitCodes.failed
    } finally {
      await session.stop()
    }
  },
}

function isWell(system: ActorSystem, halted: string | undefined): boolean {
  return halted === undefined && system.refusals.length === 0
}

/** The nodes, those that show no sign of life for a while as dead: nobody may be left to mark them. */
async function shown(system: ActorSystem): Promise<readonly NodeSeen[]> {
  const before = new Map((await system.nodes()).map(({ id, beat }) => [id, beat]))
  if (before.size > 0) await new Promise((resolve) => setTimeout(resolve, lookMs))
  return (await system.nodes()).map((node) => (node.presence === 'here' && node.alive === undefined && before.get(node.id) === node.beat ? { ...node, presence: 'dead' } : node))
}

/** A process that holds the runs of a store, as a service would: `holder.ts [--store <where>] [--namespace <name>]`. Ends with its input. */
import { parse } from '../../src/cli/command.js'
import { openSession } from '../../src/cli/session.js'
import { runs } from '../../src/cli/commands/look.js'
import { processTerminal } from '../../src/cli/terminal.js'

const session = await openSession(parse(runs, process.argv.slice(2)), processTerminal(), 'owner')
console.log(session.mesh.system.role)
process.stdin.resume().on('end', () => void session.stop())

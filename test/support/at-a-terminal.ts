/** The `holdfast` command with pipes that it takes for a terminal: it asks whoever is at the other end. */
import { main } from '../../src/cli/main.js'
import { processTerminal } from '../../src/cli/terminal.js'

for (const stream of [process.stdin, process.stdout]) Object.defineProperty(stream, 'isTTY', { value: true })
process.exitCode = await main(process.argv.slice(2), processTerminal())

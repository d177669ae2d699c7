// `npm run example 01`: builds the package if that is stale, and runs an example. Further arguments go to it.
import { readdirSync } from 'node:fs'

const examples = readdirSync('examples').filter((name) => name.endsWith('.ts'))
const [number = ''] = process.argv.slice(2)
const example = number === 'service' ? 'service/server.ts' : number === 'worker' ? 'worker/worker.ts' : examples.find((name) => name.startsWith(`${number.padStart(2, '0')}-`))
if (example === undefined) {
  console.error(`Usage: npm run example <number> [folder]. There are:\n${['service.ts', 'worker.ts', ...examples].map((name) => `  ${name.slice(0, -'.ts'.length)}`).join('\n')}`)
  process.exitCode = 2
} else {
  process.argv.splice(2, 1, `examples/${example}`)
  await import('./run-ts.mjs')
}

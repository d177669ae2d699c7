// Draws the charts into docs/charts.md, and writes the JSON Schema of a policy file, from the built package. `--check` fails if the file is not what it would write.
import { readFileSync, writeFileSync } from 'node:fs'

const { agentMachine, allotmentMachine, budgetMachine, callMachine, circuitBreakerMachine, limiterMachine, runMachine, supervisorMachine, tokenStreamMachine, toolLoopMachine } = await import('../dist/index.js')
const { fallbackMachine } = await import('../dist/machines/fallback.machine.js')
const { policiesMachine } = await import('../dist/machines/policies.machine.js')
const { inOrderMachine } = await import('../dist/machines/in-order.machine.js')
const { personMachine } = await import('../dist/machines/person.machine.js')
const { rederivationMachine } = await import('../dist/machines/rederivation.machine.js')
const { sourceCheckMachine } = await import('../dist/machines/source-check.machine.js')
const { toMermaid } = await import('../dist/viz/index.js')

const file = 'docs/charts.md'
/** As `verifyWith: [{ strategy: 'sources' }, 'critic', { strategy: 'person' }]` makes it. */
const inOrder = inOrderMachine([
  { name: 'sources', description: 'Its quotations are looked up in their sources.', logic: sourceCheckMachine },
  { name: 'critic', description: 'The agent critic judges it, asked through the run.', logic: sourceCheckMachine },
  { name: 'person', description: 'A person is shown it and decides.', logic: personMachine },
])
const charts = [agentMachine, callMachine, toolLoopMachine, fallbackMachine, allotmentMachine, budgetMachine, circuitBreakerMachine, limiterMachine, tokenStreamMachine, policiesMachine, supervisorMachine, runMachine, sourceCheckMachine, rederivationMachine, personMachine, inOrder]
const text = [
  '# The charts',
  '',
  'Drawn from the machines by `npm run docs`. Guards stand in brackets, actions behind a slash. What a state does itself, and the events that it handles without leaving it, stand in its box, or in a note beside it.',
  ...charts.flatMap((machine) => ['', `## ${machine.id}`, '', machine.root.description, '', '```mermaid', toMermaid(machine).trimEnd(), '```', '', '| state | is |', '|---|---|', ...states(machine.root).map(({ id, description }) => `| \`${id.slice(machine.id.length + 1)}\` | ${description} |`)]),
  '',
].join('\n')

const schemaFile = 'docs/policies.schema.json'
const { policyFileSchema } = await import('../dist/mesh/policy-text.js')
const schema = `${JSON.stringify(policyFileSchema(), null, 2)}\n`

if (process.argv.includes('--check')) {
  if (readFileSync(schemaFile, 'utf8') !== schema) {
    console.error(`${schemaFile} is not what the policies are. Run: npm run docs`)
    process.exitCode = 1
  }
  if (readFileSync(file, 'utf8') !== text) {
    console.error(`${file} is not what the machines are. Run: npm run docs`)
    process.exitCode = 1
  }
} else {
  writeFileSync(file, text)
  writeFileSync(schemaFile, schema)
}

function states(node) {
  return Object.values(node.states).flatMap((child) => [child, ...states(child)])
}

// The second tier: the properties of the first one, longer, and processes that are killed. Its results go to docs/faults.md.
import { writeFileSync } from 'node:fs'
import { commit, machine, provide, runTests } from './tests.mjs'

provide()
const at = commit()
const started = performance.now()
const run = runTests(process.argv.slice(2), { HOLDFAST_TIER: 'second' })
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, run.stop)
const { ok, tests, said } = await run.ended
const minutes = ((performance.now() - started) / 60_000).toFixed(1)
const failed = tests.filter(({ state }) => state !== 'passed')
const passed = tests.length - failed.length

// A part of it is no result of the whole.
if (process.argv.length === 2 && tests.length > 0) {
  const rows = tests.map(({ file, name, state, ms }) => `| ${file.replace('test/', '')} | ${name.replaceAll('|', '\\|')} | ${state} | ${(ms / 1_000).toFixed(1)} |`)
  writeFileSync(
    'docs/faults.md',
    `# The second tier, as it last ran

\`npm run test:faults\`, on commit ${at}, ${new Date().toISOString().slice(0, 10)}, ${machine()}: **${passed} passed, ${failed.length} failed**, ${minutes} minutes.
Seeds stand in the names of the tests; \`HOLDFAST_SEED\` gives another.

| file | test | | s |
|---|---|---|---|
${rows.join('\n')}

## What they counted

\`\`\`
${said.filter((text) => text.trim() !== '').join('\n\n')}
\`\`\`
`,
  )
}
console.log(`\n${passed} passed, ${failed.length} failed`)
process.exitCode = ok && failed.length === 0 ? 0 : 1

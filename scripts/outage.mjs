// A provider's outage in real processes: 200 runs, two nodes, one Redis, and the provider as the witness. What came of it goes to docs/outage.md.
import { writeFileSync } from 'node:fs'
import { commit, machine, provide, runTests } from './tests.mjs'

provide()
const at = commit()
const seed = process.env.HOLDFAST_SEED ?? '1'
const started = performance.now()
const run = runTests(['--project', 'holdfast', 'test/faults/outage.test.ts', ...process.argv.slice(2)], { HOLDFAST_TIER: 'second' })
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, run.stop)
const { ok, tests, said } = await run.ended
const minutes = ((performance.now() - started) / 60_000).toFixed(0)
const failed = tests.filter(({ state }) => state !== 'passed')

// A part of it is no result of the whole.
if (process.argv.length === 2 && tests.length > 0) {
  const rows = said.flatMap((text) => text.split('\n')).filter((line) => line.startsWith('|'))
  writeFileSync(
    'docs/outage.md',
    `# A provider's outage, as it last ran

\`npm run outage\`, on commit ${at}, ${new Date().toISOString().slice(0, 10)}, seed ${seed}, ${machine()}: **${tests.length - failed.length} passed, ${failed.length} failed**, ${minutes} minutes.
${failed.map(({ name }) => `\nFailed: ${name}\n`).join('')}
The provider of a model is a process of its own that speaks its wire format over HTTP and is out of order by script. Two nodes, processes
too, share one Redis (\`appendfsync everysec\`) and 200 runs of five calls each: 140 wait while the circuit breaker of their model is open, 40 ask another
provider's model instead, 20 fail at once. The outage begins when 150 calls have been answered and at least 100 are under way. Policies are those
by default. Everything goes ten times faster than in life, the policies' times, the provider's and the calls' deadlines alike; all times below are
those in life. Two times do not go faster: a node that may have no permit asks again a second later, and after a pause the
number of attempts doubles each second.

"Ten minutes of everything" is 529 and overloads within a stream (1 min), 500 to 504 (1), connections that hang, before or after the answer began (2),
what is no answer (1), cut streams (1), 429 without a time (1), 429 with \`retry-after: 20\` (2), and 529 again (1). The others
are two minutes of one kind each; in the last one a node is killed (SIGKILL) after a minute, and another one is started.

| outage | under way when it began | came during it | of which at most so many probes | of which after pauses | charged to the runs for failures, $ | charged by the provider for them, $ | first answer after its end, s | three quarters under way again, s | most under way before, after | runs right | runs refused with the reason |
|---|---|---|---|---|---|---|---|---|---|---|---|
${rows.join('\n')}

The run fails unless all of this is so, by the provider's own count:

- No run is lost: those that wait or ask another provider's model end with their right result, the others with it or with the step or role that had no
  answer and why. No agent is restarted, so no restart intensity is used.
- What came during the outage is at most what both nodes had in hand when it began (two batches of 10 permits), the probes, and two for each pause
  that the provider asked for. When an outage begins with hanging connections, of which nobody can know until their time is up, also
  what the bulkheads have room for: 64 on each node.
- Attempts on record are those that the providers received, one by one. What the runs were charged is what their attempts cost or may have
  cost, at least what the provider charges, and never more than was held.
- After the end it receives no more than the breaker's ramp allows: two, two more each 15 s, and two for each answer, until 100 were answered; after
  a pause two, and each second twice as many. At no time more than 128 are under way.
`,
  )
}
console.log(`\n${tests.length - failed.length} passed, ${failed.length} failed`)
process.exitCode = ok && failed.length === 0 ? 0 : 1

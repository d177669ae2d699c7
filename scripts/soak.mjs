// The properties with ever new seeds, until stopped (Ctrl-C) or until one fails. Its results go to docs/soak.md.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { commit, machine, provide, runTests } from './tests.mjs'

/** A property that goes through a range of seeds stays within it. */
const seedsEach = 10_000
const { values } = parseArgs({ options: { seed: { type: 'string' }, minutes: { type: 'string' } } })
provide()
const at = commit()
const first = Number(values.seed ?? Date.now() % 1_000_000)
const until = values.minutes === undefined ? Infinity : performance.now() + Number(values.minutes) * 60_000
const started = performance.now()
let seed = first
let passed = 0
let failure
let stopped = false
let run
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    stopped = true
    run?.stop()
  })
}
for (; !stopped && performance.now() < until; seed += seedsEach) {
  console.log(`\n── seed ${seed}`)
  run = runTests(['--project', 'holdfast', '.property.test.ts'], { HOLDFAST_TIER: 'first', HOLDFAST_SEED: String(seed) })
  const { ok, tests } = await run.ended
  if (stopped) break
  const failed = tests.filter(({ state }) => state !== 'passed')
  passed += tests.length - failed.length
  if (!ok || failed.length > 0) {
    failure = `seed ${seed}: ${failed.map(({ file, name }) => `${file}: ${name}`).join('; ') || 'vitest failed'}`
    break
  }
}
const minutes = ((performance.now() - started) / 60_000).toFixed(0)
const line = `| ${new Date().toISOString().slice(0, 10)} | ${at} | ${first} to ${Math.max(first, failure ? seed : seed - seedsEach)}, every ${seedsEach}th | ${passed} | ${minutes} | ${failure ?? 'none'} | ${machine()} |`
const file = 'docs/soak.md'
const before = existsSync(file)
  ? readFileSync(file, 'utf8').trimEnd()
  : `# Soak runs

\`npm run soak\` runs every property with ever new seeds until it is stopped or one fails.

| day | commit | seeds | properties held | minutes | failure | machine |
|---|---|---|---|---|---|---|`
// Behind the last row: notes on earlier ones follow the table.
const lines = before.split('\n')
lines.splice(lines.findLastIndex((text) => text.startsWith('|')) + 1, 0, line)
writeFileSync(file, `${lines.join('\n')}\n`)
console.log(`\n${passed} properties held over seeds ${first} to ${Math.max(first, seed - seedsEach)}, ${failure ? `then failed: ${failure}` : 'none failed'}`)
process.exitCode = failure ? 1 : 0

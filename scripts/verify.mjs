// Everything CI checks, in one command. The last line is `N passed, N failed`, counting tests and the checks before them.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const scratch = mkdtempSync(join(tmpdir(), 'holdfast-verify-'))
const counts = join(scratch, 'counts.json')
const bin = (name) => join('node_modules', '.bin', name)

const steps = [
  ['what the tests need is there', process.execPath, ['scripts/provide.mjs']],
  ['build', process.execPath, ['scripts/build.mjs']],
  ['types', bin('tsc'), ['--noEmit', '-p', 'tsconfig.json']],
  ['lint', bin('oxlint'), ['--type-aware']],
  ['package (publint)', bin('publint'), ['--strict']],
  ['package (are the types wrong)', bin('attw'), ['--pack', '.', '--profile', 'esm-only', '--quiet']],
  ['package (as a consumer has it)', process.execPath, ['scripts/consumer.mjs']],
  ['tests', bin('vitest'), ['run', '--reporter=default', '--reporter=./scripts/count-reporter.mjs', ...process.argv.slice(2)]],
]

let passed = 0
let failed = 0
for (const [name, command, args] of steps) {
  console.log(`\n── ${name}`)
  const started = performance.now()
  const { status } = spawnSync(command, args, { stdio: 'inherit', env: { ...process.env, HOLDFAST_COUNTS: counts } })
  console.log(`── ${name}: ${status === 0 ? 'ok' : 'FAILED'} (${((performance.now() - started) / 1_000).toFixed(1)} s)`)
  if (name !== 'tests') {
    if (status === 0) passed++
    else failed++
    // Without a build or a server the tests would fail for no reason of their own.
    if (status !== 0 && (name === 'build' || name.startsWith('what'))) break
    continue
  }
  const tests = read(counts)
  passed += tests.passed
  failed += tests.failed
  if (status !== 0 && tests.failed === 0) failed++
}
rmSync(scratch, { recursive: true, force: true })
console.log(`\n${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1

function read(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return { passed: 0, failed: 0 }
  }
}

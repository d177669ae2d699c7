// Stryker over the decisions of runtime and machines, a file at a time with the tests that should kill its mutants.
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const machine = (...tests) => tests.map((test) => `test/machines/${test}`)
const runtime = (...tests) => tests.map((test) => `test/runtime/${test}`)

/** In the order in which they are looked at: the most decisive first. */
export const strykerFiles = {
  'src/machines/ledger.ts': machine('ledger.test.ts', 'ledger.property.test.ts'),
  'src/machines/gate.ts': machine('gate.test.ts'),
  'src/machines/backoff.ts': machine('gate.test.ts'),
  'src/runtime/placement.ts': runtime('placement.property.test.ts'),
  'src/runtime/namespace-clock.ts': runtime('namespace-clock.test.ts'),
  'src/runtime/near-timers.ts': runtime('timers.test.ts'),
  'src/runtime/open-asks.ts': runtime('asks.test.ts'),
  'src/runtime/waiting-line.ts': runtime('waiting-line.test.ts'),
  'src/runtime/move-plan.ts': runtime('move.test.ts'),
  'src/runtime/lanes.ts': [...runtime('nodes.test.ts', 'messages.test.ts'), 'test/properties/order-of-acts.property.test.ts'],
  'src/machines/approval.ts': machine('agent.property.test.ts'),
  'src/machines/verdict.ts': ['test/mesh/verification.test.ts'],
  'src/runtime/members.ts': runtime('nodes.test.ts'),
  'src/runtime/identity.ts': runtime('placement.property.test.ts', 'api.test.ts', 'messages.test.ts'),
  'src/runtime/input-queue.ts': runtime('messages.test.ts', 'timers.test.ts', 'backlog.test.ts'),
}

/** @returns {Promise<{ survivors: object[], killed: number, endless: number, uncovered: number, broken: number } | undefined>} nothing if it failed */
export async function strykerOn(file, workplace, withinMs) {
  const tests = strykerFiles[file]
  writeFileSync(
    join(workplace.folder, 'vitest.stryker.ts'),
    `import { defineConfig } from 'vitest/config'\nexport default defineConfig({ test: { include: ${JSON.stringify(tests)}, testTimeout: 60_000 } })\n`,
  )
  const options = {
    testRunner: 'vitest',
    plugins: ['@stryker-mutator/vitest-runner'],
    vitest: { configFile: 'vitest.stryker.ts', related: false },
    mutate: [file],
    coverageAnalysis: 'perTest',
    concurrency: 1,
    reporters: ['json'],
    jsonReporter: { fileName: 'mutation.json' },
    tempDirName: '.stryker',
    ignorePatterns: ['docs', 'examples'],
    timeoutMS: 20_000,
    // It reads it by the compiler's API, which TypeScript 7 does not have; nothing of it is needed here.
    tsconfigFile: 'none.json',
    allowEmpty: true,
  }
  writeFileSync(join(workplace.folder, 'stryker.json'), JSON.stringify(options))
  const { ok, endless, said } = await workplace.run(['node_modules/@stryker-mutator/core/bin/stryker.js', 'run', 'stryker.json'], { HOLDFAST_RUNS: '100' }, withinMs)
  rmSync(join(workplace.folder, '.stryker'), { recursive: true, force: true })
  if (endless) return undefined
  if (!ok) throw new Error(`Stryker on ${file} failed:\n${said.slice(-3_000)}`)
  const report = JSON.parse(readFileSync(join(workplace.folder, 'mutation.json'), 'utf8'))
  const { mutants, source } = report.files[file]
  const lines = source.split('\n')
  const of = (...states) => mutants.filter(({ status }) => states.includes(status))
  const survivors = of('Survived', 'NoCoverage').map(({ location: { start, end }, replacement, mutatorName, status }) => ({
    line: start.line,
    original: start.line === end.line ? lines[start.line - 1].slice(start.column - 1, end.column - 1) : `${lines[start.line - 1].slice(start.column - 1)} …`,
    what: `${mutatorName}: ${replacement.replace(/\s+/g, ' ').slice(0, 120)}${status === 'NoCoverage' ? ' (no test comes here)' : ''}`,
  }))
  return { survivors, killed: of('Killed').length, endless: of('Timeout').length, uncovered: of('NoCoverage').length, broken: of('CompileError', 'RuntimeError').length }
}

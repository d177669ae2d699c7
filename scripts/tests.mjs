// What the longer test scripts share: one run of vitest over a tier, and what it left.
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'

/** Everything that the tests need, or the process ends with what is missing. */
export function provide() {
  for (const script of ['scripts/provide.mjs', 'scripts/build.mjs']) {
    const { status } = spawnSync(process.execPath, [script], { stdio: 'inherit' })
    if (status !== 0) process.exit(status ?? 1)
  }
}

/** @returns {{ ended: Promise<{ ok: boolean, tests: object[], said: string[] }>, stop: () => void }} */
export function runTests(args, env) {
  const scratch = mkdtempSync(join(tmpdir(), 'holdfast-record-'))
  const file = join(scratch, 'record.json')
  const child = spawn(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', '--reporter=default', '--reporter=./scripts/record-reporter.mjs', ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...env, HOLDFAST_RECORD: file },
    // A Ctrl-C is for the script, which then ends the tests.
    detached: true,
  })
  const ended = new Promise((resolve) =>
    child.on('close', (code) => {
      let record = { tests: [], said: [] }
      try {
        record = JSON.parse(readFileSync(file, 'utf8'))
      } catch {
        // It ended before it could write.
      }
      rmSync(scratch, { recursive: true, force: true })
      resolve({ ok: code === 0, ...record })
    }),
  )
  return { ended, stop: () => void process.kill(-child.pid, 'SIGTERM') }
}

export function commit() {
  const run = (...args) => spawnSync('git', args, { encoding: 'utf8' }).stdout.trim()
  return `${run('rev-parse', '--short=12', 'HEAD')}${run('status', '--porcelain', '--', 'src', 'test') === '' ? '' : ' and changes not committed'}`
}

export function machine() {
  return `${availableParallelism()} × ${cpus()[0]?.model ?? 'cpu'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.versions.node}`
}

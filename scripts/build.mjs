// Builds dist: plain tsc, and the Lua scripts that stand beside their TypeScript. With --if-stale only where a source is
// newer than the last build. The old dist is there until the new one is whole: a process may be running from it.
import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const stamp = 'dist/.built'
const fresh = `dist.${process.pid}.new`
const old = `dist.${process.pid}.old`

if (process.argv.includes('--if-stale') && existsSync(stamp) && newest('src') <= statSync(stamp).mtimeMs) process.exit(0)

const began = new Date()
try {
  const tsc = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json', '--outDir', fresh], { stdio: 'inherit' })
  if (tsc.status !== 0) process.exitCode = tsc.status ?? 1
  else {
    copyLua('src', fresh)
    chmodSync(join(fresh, 'cli/main.js'), 0o755)
    writeFileSync(join(fresh, '.built'), began.toISOString())
    if (existsSync('dist')) renameSync('dist', old)
    renameSync(fresh, 'dist')
  }
} finally {
  rmSync(fresh, { recursive: true, force: true })
  rmSync(old, { recursive: true, force: true })
}

function copyLua(from, to) {
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    if (entry.isDirectory()) copyLua(join(from, entry.name), join(to, entry.name))
    else if (entry.name.endsWith('.lua')) cpSync(join(from, entry.name), join(to, entry.name))
  }
}

function newest(folder) {
  return Math.max(...readdirSync(folder, { withFileTypes: true }).map((entry) => (entry.isDirectory() ? newest(join(folder, entry.name)) : statSync(join(folder, entry.name)).mtimeMs)))
}

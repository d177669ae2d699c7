// Builds dist: plain tsc, and the Lua scripts that stand beside their TypeScript.
import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'

rmSync('dist', { recursive: true, force: true })
const tsc = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], { stdio: 'inherit' })
if (tsc.status !== 0) process.exit(tsc.status ?? 1)
copyLua('src', 'dist')
if (existsSync('dist/cli/main.js')) chmodSync('dist/cli/main.js', 0o755)

function copyLua(from, to) {
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    if (entry.isDirectory()) copyLua(join(from, entry.name), join(to, entry.name))
    else if (entry.name.endsWith('.lua')) cpSync(join(from, entry.name), join(to, entry.name))
  }
}

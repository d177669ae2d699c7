// Runs a TypeScript file of this project, bundled on the way: `node scripts/run-ts.mjs bench/run.ts [arguments]`.
// Packages stay outside; `holdfast` and its sub-paths are this project, built.
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { rolldown } from 'rolldown'

const [file, ...args] = process.argv.slice(2)
if (file === undefined) {
  console.error('Usage: node scripts/run-ts.mjs <file.ts> [arguments]')
  process.exit(2)
}
const built = spawnSync(process.execPath, ['scripts/build.mjs', '--if-stale'], { stdio: 'inherit' })
if (built.status !== 0) process.exit(built.status ?? 1)
// In the project itself, so that `holdfast` is it.
const folder = 'dist.run'
mkdirSync(folder, { recursive: true })
const out = resolve(folder, `${basename(file, '.ts')}-${process.pid}.mjs`)
const build = await rolldown({ input: resolve(file), platform: 'node', external: /^[^./]/, logLevel: 'silent' })
await build.write({ file: out, format: 'esm', sourcemap: 'inline', codeSplitting: false })
await build.close()
const child = spawn(process.execPath, ['--expose-gc', out, ...args], { stdio: 'inherit' })
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
child.on('exit', (code, signal) => {
  rmSync(out, { force: true })
  process.exitCode = code ?? (signal === null ? 1 : 130)
})

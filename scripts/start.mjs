// `npm start`: the main job, over the README files of the installed packages, with a fixed run id so that starting it
// again goes on where it was. No key, no server. Further options go to `holdfast research`.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

const question = 'What happens when a transaction commits, a connection is lost, a cache entry is evicted or an option is unknown?'

const build = spawnSync(process.execPath, ['scripts/build.mjs', '--if-stale'], { stdio: 'inherit' })
if (build.status !== 0) process.exit(build.status ?? 1)

const child = spawn(process.execPath, ['dist/cli/main.js', 'research', question, ...readmes(), '--run', 'demo', '--approve-as', 'the demo (its declared policy)', ...process.argv.slice(2)], { stdio: 'inherit' })
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
child.on('exit', (code, signal) => {
  process.exitCode = code ?? (signal === null ? 1 : 130)
})

/** Of the packages in node_modules, not of those nested deeper. */
function readmes() {
  const packages = readdirSync('node_modules').flatMap((name) => (name.startsWith('@') ? readdirSync(join('node_modules', name)).map((inner) => join(name, inner)) : name.startsWith('.') ? [] : [name]))
  return packages.flatMap((name) => ['README.md', 'readme.md', 'Readme.md'].map((file) => join('node_modules', name, file)).filter(existsSync).slice(0, 1))
}

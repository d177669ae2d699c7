// A copy of the project in which mutants live, so that no mutated source ever stands in the working tree.
import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const copied = ['src', 'test', 'scripts', 'docs', 'examples', 'dist', 'package.json', 'tsconfig.json', 'tsconfig.build.json', '.oxlintrc.json']
/** Without what is done before all tests: it would build the package anew for each mutant. */
const config = `import { defineConfig } from 'vitest/config'
export default defineConfig({ test: { include: ['test/**/*.test.ts', 'test/support/lua-mutants.script.ts'], testTimeout: 60_000, hookTimeout: 60_000, maxWorkers: 1, bail: 1 } })
`
/** Of a mutant that never ends. */
const endlessMs = 240_000

export class Workplace {
  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), 'holdfast-mutants-'))
    for (const name of copied) cpSync(name, join(this.folder, name), { recursive: true })
    symlinkSync(resolve('node_modules'), join(this.folder, 'node_modules'))
    writeFileSync(join(this.folder, 'vitest.config.ts'), config)
    this.children = new Set()
  }

  /** Runs one test file, or those of its tests that the name fits. @returns {Promise<{ ok: boolean, endless: boolean, said: string }>} */
  test({ file, name, env = {} }) {
    return this.run(['node_modules/vitest/vitest.mjs', 'run', '--reporter=default', file, ...(name ? ['-t', name] : [])], env, endlessMs)
  }

  run(args, env, withinMs) {
    return new Promise((done) => {
      const child = spawn(process.execPath, args, { cwd: this.folder, env: { ...process.env, NO_COLOR: '1', ...env }, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
      this.children.add(child)
      let said = ''
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (said = (said + data).slice(-200_000)))
      let endless = false
      const timer = setTimeout(() => {
        endless = true
        this.end(child)
      }, withinMs)
      child.on('close', (code) => {
        clearTimeout(timer)
        this.children.delete(child)
        done({ ok: code === 0, endless, said })
      })
    })
  }

  /** With what it has started itself. */
  end(child) {
    try {
      process.kill(-child.pid, 'SIGKILL')
    } catch {
      // It has ended.
    }
  }

  /** What a file holds from now on, until the function that is returned puts it back. */
  change(file, text) {
    const path = join(this.folder, file)
    const before = readFileSync(path, 'utf8')
    writeFileSync(path, text)
    return () => writeFileSync(path, before)
  }

  dispose() {
    for (const child of this.children) this.end(child)
    rmSync(this.folder, { recursive: true, force: true })
  }
}

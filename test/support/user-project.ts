/** A project of a user, which has the built package installed: its TypeScript is compiled against it and run in processes of its own. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

/** How a run ended. */
export interface Ended {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly lines: readonly string[]
  readonly stderr: string
}

export class UserProject {
  private readonly folder = mkdtempSync(join(tmpdir(), 'holdfast-user-'))
  private readonly diagnostics: readonly string[]
  private runs = 0

  /** @param sources TypeScript by name, without its ending */
  constructor(sources: Readonly<Record<string, string>>) {
    mkdirSync(join(this.folder, 'node_modules', 'holdfast'), { recursive: true })
    for (const name of readdirSync('node_modules')) if (!name.startsWith('.')) symlinkSync(resolve('node_modules', name), join(this.folder, 'node_modules', name))
    for (const name of ['package.json', 'dist']) symlinkSync(resolve(name), join(this.folder, 'node_modules', 'holdfast', name))
    writeFileSync(join(this.folder, 'package.json'), '{ "type": "module" }')
    const compilerOptions = { target: 'es2023', module: 'nodenext', strict: true, noUncheckedIndexedAccess: true, exactOptionalPropertyTypes: true, skipLibCheck: true, types: ['node'], outDir: 'out', rootDir: '.' }
    writeFileSync(join(this.folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }))
    for (const [name, source] of Object.entries(sources)) writeFileSync(join(this.folder, `${name}.ts`), source)
    const { stdout } = spawnSync(process.execPath, [resolve('node_modules/typescript/bin/tsc'), '-p', '.'], { cwd: this.folder, encoding: 'utf8' })
    this.diagnostics = stdout.split('\n').filter((line) => line !== '')
  }

  /** What the compiler finds wrong with a source; it also says so if there is none of that name. */
  errorsIn(name: string): readonly string[] {
    const errors = this.diagnostics.filter((line) => line.startsWith(`${name}.ts`))
    return existsSync(this.scriptOf(name)) ? errors : [...errors, `${name}.ts was not compiled`]
  }

  /** What it was compiled to. */
  scriptOf(name: string): string {
    return join(this.folder, 'out', `${name}.js`)
  }

  /** A new folder to run in. */
  place(): string {
    const cwd = join(this.folder, `run-${++this.runs}`)
    mkdirSync(cwd)
    return cwd
  }

  /** Runs it to its end, at most a minute. */
  run(name: string, cwd = this.place()): Ended {
    const { status, signal, stdout, stderr } = spawnSync(process.execPath, [this.scriptOf(name)], { cwd, encoding: 'utf8', timeout: 60_000 })
    return { status, signal, lines: stdout.trimEnd().split('\n'), stderr }
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

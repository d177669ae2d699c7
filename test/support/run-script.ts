/**
 * Runs a script of the tests, in TypeScript, in a process of its own: for what only real processes show, such as being
 * killed. It ends no process that it did not start, and those it started end with this one.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { rolldown, type Plugin } from 'rolldown'

export interface ScriptOptions {
  /** Beside the environment of this process; undefined takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly cwd?: string
  /** User and group that it runs as. Only root may say. */
  readonly uid?: number
  readonly gid?: number
  /** Arguments for node itself. */
  readonly execArgv?: readonly string[]
  /** A command and its arguments that start node in a way of their own, say `['setpriv', '--reuid', '1000']`. */
  readonly through?: readonly string[]
}

export interface Exit {
  /** Undefined if a signal ended it. */
  readonly code: number | undefined
  readonly signal: NodeJS.Signals | undefined
  /** The end of what it wrote to stderr. */
  readonly stderr: string
}

export interface RunningScript {
  readonly pid: number
  /** What it writes to stdout, line by line, from the beginning; to be iterated once. */
  readonly lines: AsyncIterableIterator<string>
  /** Resolves when it has ended and all that it wrote has been read. Never rejects. */
  readonly exited: Promise<Exit>
  /** Resolves when that text has come over stderr, or it has ended. */
  complained(text: string): Promise<void>
  /** Writes a line to its stdin. Nothing happens if it has ended. */
  send(line: string): void
  /** Closes its stdin. */
  end(): void
  /** Default SIGTERM. Nothing happens if it has ended. */
  kill(signal?: NodeJS.Signals): void
}

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/**
 * Bundles the script, once in this process, and starts it.
 *
 * @param path absolute, or from the root of the project
 * @throws Error if it cannot be bundled or started
 */
export async function runScript(path: string, args: readonly string[] = [], options: ScriptOptions = {}): Promise<RunningScript> {
  return runNode(await bundle(path), args, options)
}

/**
 * Starts a file of JavaScript.
 *
 * @throws Error if it cannot be started
 */
export async function runNode(file: string, args: readonly string[] = [], options: ScriptOptions = {}): Promise<RunningScript> {
  const { env = {}, cwd, uid, gid, execArgv = [], through = [] } = options
  const [command, ...rest] = [...through, process.execPath, '--enable-source-maps', ...execArgv, file, ...args]
  const child = spawn(command as string, rest, {
    env: { ...process.env, ...env },
    ...(cwd === undefined ? {} : { cwd }),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  running.add(child)
  let stderr = ''
  const complaints = new Set<() => void>()
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-8_000)
    for (const look of complaints) look()
  })
  // It may be gone when it is written to.
  child.stdin.on('error', () => {})
  const lines = new Lines()
  createInterface({ input: child.stdout, crlfDelay: Infinity }).on('line', (line) => lines.push(line))
  const exited = new Promise<Exit>((resolve) => {
    child.once('close', (code, signal) => {
      running.delete(child)
      lines.end()
      resolve({ code: code ?? undefined, signal: signal ?? undefined, stderr })
    })
  })
  await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject))
  return {
    pid: child.pid as number,
    lines,
    exited,
    complained: (text) =>
      Promise.race([
        exited.then(() => {}),
        new Promise<void>((resolve) => {
          const look = (): void => void (stderr.includes(text) && complaints.delete(look) && resolve())
          complaints.add(look)
          look()
        }),
      ]),
    send: (line) => void child.stdin.write(`${line}\n`),
    end: () => void child.stdin.end(),
    kill: (signal) => void child.kill(signal),
  }
}

/** Lines as they come; none is lost that comes before somebody asks. */
class Lines implements AsyncIterableIterator<string> {
  private readonly there: string[] = []
  private readonly asked: ((result: IteratorResult<string>) => void)[] = []
  private hasEnded = false

  push(line: string): void {
    const ask = this.asked.shift()
    if (ask) ask({ value: line, done: false })
    else this.there.push(line)
  }

  end(): void {
    this.hasEnded = true
    for (const ask of this.asked.splice(0)) ask({ value: undefined, done: true })
  }

  next(): Promise<IteratorResult<string>> {
    const line = this.there.shift()
    if (line !== undefined) return Promise.resolve({ value: line, done: false })
    if (this.hasEnded) return Promise.resolve({ value: undefined, done: true })
    return new Promise((resolve) => this.asked.push(resolve))
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}

const root = fileURLToPath(new URL('../..', import.meta.url))
/** Below the project, so that the packages it imports are found from there. */
const folder = join(root, 'node_modules', '.cache', 'holdfast-scripts')
const bundles = new Map<string, Promise<string>>()

/** The bundle's file, named by its contents: processes that bundle the same at the same time do not disturb each other. */
function bundle(path: string): Promise<string> {
  const entry = isAbsolute(path) ? path : join(root, path)
  let made = bundles.get(entry)
  if (!made) bundles.set(entry, (made = write(entry)))
  return made
}

async function write(entry: string): Promise<string> {
  // Packages stay outside: native ones cannot be bundled, and they are to be those that everybody runs.
  const build = await rolldown({ input: entry, platform: 'node', external: /^[^./]/, plugins: [urlsOfSources], logLevel: 'silent' })
  // Where it will stand, so that stack traces name the sources.
  const { output } = await build.generate({ file: join(folder, 'script.mjs'), format: 'esm', sourcemap: 'inline', codeSplitting: false })
  await build.close()
  const { code } = output[0]
  const file = join(folder, `${createHash('sha256').update(code).digest('hex').slice(0, 16)}.mjs`)
  mkdirSync(folder, { recursive: true })
  const unfinished = `${file}.${process.pid}`
  writeFileSync(unfinished, code)
  renameSync(unfinished, file)
  for (const name of readdirSync(folder)) removeIfOld(join(folder, name))
  return file
}

/** A bundle of yesterday; nobody is about to start it. */
function removeIfOld(file: string): void {
  const stats = statSync(file, { throwIfNoEntry: false })
  if (stats && stats.mtimeMs < Date.now() - 86_400_000) rmSync(file, { force: true })
}

/** A module that reads the files beside it finds them beside its source. */
const urlsOfSources: Plugin = {
  name: 'urls of the sources',
  // Its lines stay where they are, so a map of them is not needed.
  transform: (code, id) => (code.includes('import.meta.url') ? { code: code.replaceAll('import.meta.url', JSON.stringify(pathToFileURL(id).href)), map: null } : undefined),
}

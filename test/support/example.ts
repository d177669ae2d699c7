/** A program of examples/ in a process of its own, as `npm run example` runs it. */
import { spawn, type ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'

export interface Example {
  /** What the pattern found in the line by which it says that it is there. */
  readonly said: RegExpExecArray
  /** Of the program itself. */
  readonly pid: number
  readonly ended: Promise<number | null>
}

const started: ChildProcess[] = []

/** @param ready with the process id as its last group */
export async function startExample(file: string, args: readonly string[], ready: RegExp): Promise<Example> {
  const child = spawn(process.execPath, ['scripts/run-ts.mjs', `examples/${file}`, ...args], { env: { ...process.env, PORT: '0' }, stdio: ['ignore', 'pipe', 'inherit'] })
  started.push(child)
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
  for await (const line of createInterface({ input: child.stdout })) {
    const said = ready.exec(line)
    if (said) return { said, pid: Number(said.at(-1)), ended }
  }
  throw new Error(`examples/${file} has ended before it began`)
}

/** Those that a test has left. */
export function endExamples(): void {
  for (const child of started.splice(0)) child.kill()
}

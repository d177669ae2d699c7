/** The built command in processes of its own. */
import { resolve } from 'node:path'
import { runNode, type RunningScript, type ScriptOptions } from './run-script.js'

const main = resolve('dist/cli/main.js')

/** Neither a key nor settings of whoever runs the tests. */
const plain = { ANTHROPIC_API_KEY: undefined, ANTHROPIC_BASE_URL: undefined, HOLDFAST_STORE: undefined, HOLDFAST_LOG: undefined, HOLDFAST_MODEL: undefined, NO_COLOR: '1' }

export interface Finished {
  readonly code: number | undefined
  readonly signal: NodeJS.Signals | undefined
  readonly lines: readonly string[]
  readonly stderr: string
}

export function startHoldfast(args: readonly string[], { env = {}, ...options }: ScriptOptions = {}): Promise<RunningScript> {
  return runNode(main, args, { ...options, env: { ...plain, ...env } })
}

export async function holdfast(args: readonly string[], options: ScriptOptions = {}): Promise<Finished> {
  const child = await startHoldfast(args, options)
  child.end()
  const lines: string[] = []
  for await (const line of child.lines) lines.push(line)
  return { lines, ...(await child.exited) }
}

/** One command to a server, as `redis-cli` gives it. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** @throws Error if the server cannot be reached */
export async function redisCli({ port }: { readonly port: number }, ...command: readonly string[]): Promise<string> {
  return (await run('redis-cli', ['-p', String(port), ...command])).stdout.trim()
}

/** A module of the user's. It is run to get at what it exports. */
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { UsageError } from './exit.js'
import { printable } from './terminal.js'

/** @throws UsageError for what cannot be loaded; `missing`, if there is no such file */
export async function moduleIn(path: string, { command, cwd, missing }: { readonly command: string; readonly cwd: string; readonly missing: string }): Promise<Record<string, unknown>> {
  const file = resolve(cwd, path)
  try {
    return (await import(pathToFileURL(file).href)) as Record<string, unknown>
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ERR_MODULE_NOT_FOUND' && message.includes(file)) throw new UsageError(missing, command)
    if (code === 'ERR_UNKNOWN_FILE_EXTENSION') throw new UsageError(`${printable(path)} is no JavaScript module. Give what it is compiled to.`, command)
    throw new UsageError(`${printable(path)} cannot be loaded: ${printable(message)}`, command)
  }
}

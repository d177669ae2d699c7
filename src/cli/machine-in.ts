/** A machine of the user's, out of a module of his. The module is run to get at it. */
import type { AnyStateMachine } from 'xstate'
import { UsageError } from './exit.js'
import { moduleIn } from './module-in.js'
import { printable } from './terminal.js'

export interface Sought {
  /** The command that wants it. */
  readonly command: string
  readonly cwd: string
  /** What else the place might have been, and is not: for the sentence that says so. */
  readonly instead?: string
  /** The id of the one that is meant where there are several and none is named. */
  readonly id?: string
}

/**
 * @param place the path of a JavaScript module, with `#name` where it exports more than one machine
 * @throws UsageError that says what is wrong, and what there is
 */
export async function machineIn(place: string, { command, cwd, instead, id }: Sought): Promise<AnyStateMachine> {
  const hash = place.lastIndexOf('#')
  const [path, name] = hash === -1 ? [place, undefined] : [place.slice(0, hash), place.slice(hash + 1)]
  const wrong = (message: string): UsageError => new UsageError(message, command)
  const module = await moduleIn(path, { command, cwd, missing: `There is no machine "${printable(place)}": ${instead === undefined ? '' : `it is ${instead}, and `}there is no such file.` })
  const machines = Object.entries(module).filter((entry): entry is [string, AnyStateMachine] => isMachine(entry[1]))
  const names = machines.map(([key]) => key)
  if (name !== undefined) {
    const found = machines.find(([key]) => key === name)
    if (!found) throw wrong(`${printable(path)} exports no machine "${printable(name)}"${names.length > 0 ? `; it exports ${names.join(', ')}` : ''}.`)
    return found[1]
  }
  // `export default` of what has a name, too, is one machine.
  if (new Set(machines.map(([, machine]) => machine)).size === 1) return machines[0]![1]
  const meant = machines.filter(([, machine]) => machine.id === id)
  if (meant.length === 1) return meant[0]![1]
  throw wrong(machines.length === 0 ? `${printable(path)} exports no machine.` : `${printable(path)} exports ${names.join(', ')}. Say which: ${printable(path)}#${names[0]!}`)
}

/** Also one made by another copy of xstate. */
function isMachine(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'root' in value && 'config' in value && typeof (value as { transition?: unknown }).transition === 'function'
}

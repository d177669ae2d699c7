/**
 * Who a process is, so that another one on the same host can tell whether it still lives. A pid alone does not say:
 * it is given again to the next process that starts, and means something else in another container.
 */
import { readFileSync, statSync } from 'node:fs'
import { hostname } from 'node:os'
import type { NodeIdentity } from '../../runtime/ports/store.js'

export type ProcessIdentity = NonNullable<NodeIdentity['process']>

let own: ProcessIdentity | undefined

/**
 * This process. On Linux `startedAt` is its start in ticks since the boot and `host` names the boot and the pid
 * namespace; elsewhere they are the start in ms since the epoch, by this process's own clock, and the host's name.
 */
export function processIdentity(): ProcessIdentity {
  if (own?.pid === process.pid) return own
  const stat = readStat(process.pid)
  const namespace = pidNamespace()
  own =
    stat && namespace
      ? { pid: process.pid, startedAt: stat.startedAt, host: namespace }
      : { pid: process.pid, startedAt: String(Math.round(Date.now() - process.uptime() * 1_000)), host: `${process.platform}:${hostname()}` }
  return own
}

/**
 * Whether that process lives; undefined where it cannot be known: on another host, in another container, or outside
 * Linux where its pid is in use, because that may be by another process. A zombie is dead.
 */
export function isProcessAlive(identity: ProcessIdentity): boolean | undefined {
  const self = processIdentity()
  if (identity.host !== self.host || !Number.isSafeInteger(identity.pid) || identity.pid <= 0) return undefined
  if (identity.pid === self.pid) return identity.startedAt === self.startedAt
  const answers = answersSignals(identity.pid)
  if (!answers) return false
  if (self.host !== pidNamespace()) return undefined
  const stat = readStat(identity.pid)
  // Hidden from us (mount option hidepid), or gone since the signal.
  if (!stat) return answersSignals(identity.pid)
  return stat.startedAt === identity.startedAt && stat.state !== 'Z' && stat.state !== 'X'
}

/** The same of a node; undefined also if it does not say which process it is. */
export function isNodeAlive({ process: identity }: NodeIdentity): boolean | undefined {
  return identity && isProcessAlive(identity)
}

/** The state and the start of a process, from Linux. */
function readStat(pid: number): { state: string; startedAt: string } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The second field is the name in brackets and may hold anything; the state is the third and the start the 22nd.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [state, startedAt] = [fields[0], fields[19]]
    return state && startedAt ? { state, startedAt } : undefined
  } catch {
    return undefined
  }
}

/** The boot and the namespace in which pids of this process mean something; undefined outside Linux. */
function pidNamespace(): string | undefined {
  try {
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()}:${statSync('/proc/self/ns/pid').ino}`
  } catch {
    return undefined
  }
}

function answersSignals(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // Not ours to signal, so it is there.
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

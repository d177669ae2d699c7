/**
 * Errors of ioredis and of the server as the runtime knows them. What the server refuses before it runs a command has
 * `failed`; what was on its way when the connection went is `unknown`. Arguments of commands never get into an error:
 * ioredis hangs them on its own, payloads and passwords included.
 */
import { ConfigError, HoldfastError, StoreError } from '../../errors.js'
import { sealedError } from '../../runtime/ports/moving.js'

/** The error behind a {@link StoreError}, without the command's arguments. `code` is the server's, e.g. `OOM`. */
export class RedisCause extends Error {
  readonly code: string | undefined
  constructor(message: string, code: string | undefined) {
    super(message)
    this.name = 'RedisCause'
    this.code = code
  }
}

const advice: Readonly<Record<string, string>> = {
  READONLY: 'The server is a replica. Point the store at the primary, or connect through Sentinel.',
  LOADING: 'The server is reading its data from disk. Wait until it has finished.',
  MISCONF: 'The server cannot write to its disk. Look at its log and make room.',
  OOM: 'The memory of the server is full (maxmemory). Raise maxmemory or remove data; nothing was written.',
  BUSY: 'A script runs for too long and holds the server up. Look at its log; SCRIPT KILL ends a script that has not written.',
  CLUSTERDOWN: 'The cluster does not serve all slots. Look at CLUSTER INFO.',
  ASK: 'The cluster is moving a slot from one server to another.',
  MOVED: 'The cluster has moved a slot to another server.',
  NOAUTH: 'The server asks for a password. Put it into the URL or the option "password".',
  WRONGPASS: 'The server does not take this user and password. Check the URL or the options "username" and "password".',
  NOPERM: 'The user lacks a right that the store needs. Give it the commands and the keys and channels of the keyPrefix.',
  NOSCRIPT: 'The server forgets its scripts as fast as they are loaded. Find out who calls SCRIPT FLUSH.',
  WRONGTYPE: 'A key of the store holds another type: somebody else writes below its keyPrefix. Use another prefix or database, and remove the foreign key.',
  NOREPLICAS: 'Fewer replicas than min-replicas-to-write are connected. Bring them back, or lower that setting.',
  MASTERDOWN: 'The server is a replica that has lost its primary. Point the store at the primary.',
}

/** What the server cannot do now, and may do later without anybody's help. */
const passing = new Set(['LOADING', 'BUSY', 'CLUSTERDOWN', 'MASTERDOWN', 'TRYAGAIN', 'NOREPLICAS', 'MOVED', 'ASK'])
const wrongSettings = new Set(['NOAUTH', 'WRONGPASS', 'NOPERM'])
const neverSent = "Stream isn't writeable and enableOfflineQueue options is false"

export function toStoreError(error: unknown, endpoint: string): HoldfastError {
  if (error instanceof HoldfastError) return error
  const message = error instanceof Error ? error.message : String(error)
  const code = serverCodeOf(error)
  if (code === 'SEALED') return sealedError(message.slice('SEALED '.length))
  if (code !== undefined) {
    // A script that stopped at an error may have written before it.
    const stopped = advice[code] === undefined && message.includes(' script: ')
    const text = `Redis at ${endpoint} answered ${withoutArguments(message)}${advice[code] === undefined ? '' : `. ${advice[code]}`}`
    return new StoreError(text, stopped ? 'unknown' : 'failed', new RedisCause(withoutArguments(message), code))
  }
  if (message === neverSent) return new StoreError(`Redis at ${endpoint} is not connected.`, 'failed')
  return new StoreError(`The connection to Redis at ${endpoint} was lost before it answered.`, 'unknown', new RedisCause(message, undefined))
}

/** Credentials and rights do not mend themselves: the user has to change a setting. */
export function toConfigError(error: unknown, endpoint: string): ConfigError | undefined {
  const code = serverCodeOf(error)
  if (code === undefined || !wrongSettings.has(code)) return undefined
  const { message } = error instanceof StoreError ? (error.cause as Error) : (error as Error)
  return new ConfigError(`Redis at ${endpoint} answered ${withoutArguments(message)}. ${advice[code]}`)
}

/** Whether the same read may succeed later as it is: the connection was lost, or the server is busy with itself. */
export function isPassing(error: unknown): boolean {
  if (!(error instanceof StoreError)) return false
  const code = error.cause instanceof RedisCause ? error.cause.code : undefined
  return code === undefined || passing.has(code)
}

/** The first word of a server's error: `OOM`, `WRONGTYPE`, or `ERR`. */
export function serverCodeOf(error: unknown): string | undefined {
  if (error instanceof StoreError) return error.cause instanceof RedisCause ? error.cause.code : undefined
  if (!(error instanceof Error) || error.name !== 'ReplyError') return undefined
  return /^[A-Z]+/.exec(error.message)?.[0] ?? 'ERR'
}

function withoutArguments(message: string): string {
  return message.replace(/, with args beginning with:.*$/s, '').slice(0, 300)
}

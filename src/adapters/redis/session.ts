/**
 * What an opened store works with: the connections to one server and what runs on them, for one namespace. Whenever the
 * connection for commands is made, the server is checked anew: another one, or another state of the same one, may be at
 * its end. It takes no command before that.
 */
import { randomUUID } from 'node:crypto'
import { ConfigError } from '../../errors.js'
import type { OpenOptions } from '../../runtime/ports/store.js'
import { ChangeWatcher } from './change-watcher.js'
import { judge, readFacts, type Verdict } from './checks.js'
import type { Bounds } from './commit-encoding.js'
import { Connection, type Target } from './connection.js'
import { dataFormat, NamespaceKeys } from './keys.js'
import { blockMs, LogReader } from './log-reader.js'
import { loadScripts, ScriptRunner, scripts } from './scripts.js'

const shardsDefault = 16
const shardsMax = 1_024

export class Session {
  readonly keys: NamespaceKeys
  readonly bounds: Bounds
  readonly commands: Connection
  readonly runner: ScriptRunner
  readonly reader: LogReader
  readonly watcher: ChangeWatcher
  /** 0 until the server was checked for the first time. */
  shards = 0
  incarnation = ''
  verdict: Verdict = { durability: 'D0', warnings: [] }
  closed = false
  private readonly target: Target
  private readonly options: OpenOptions
  private readonly deadlineMs: number

  /** @throws ConfigError for options outside their bounds */
  constructor(target: Target, prefix: string, deadlineMs: number, options: OpenOptions) {
    const { shards } = options
    if (shards !== undefined && !(Number.isSafeInteger(shards) && shards >= 1 && shards <= shardsMax)) {
      throw new ConfigError(`shards: expected a whole number from 1 to ${shardsMax}, got ${shards}.`)
    }
    this.target = target
    this.options = options
    this.deadlineMs = deadlineMs
    this.bounds = { backlogMax: options.backlogMax ?? 1_000, logMax: options.logMax ?? 100_000 }
    this.keys = new NamespaceKeys(prefix, options.namespace)
    const { keys } = this
    this.commands = this.connect('commands', (connection) => this.prepare(connection))
    const { commands } = this
    this.runner = new ScriptRunner(commands)
    this.reader = new LogReader({
      keys,
      commands,
      deadlineMs,
      connect: (onId) => this.connect('reader', async (connection) => onId(String(await connection.send('CLIENT', ['ID']))), blockMs + deadlineMs),
    })
    this.watcher = new ChangeWatcher({ keys, commands, connect: (prepare) => this.connect('watcher', prepare) })
  }

  private connect(name: string, prepare: (connection: Connection) => Promise<void>, silenceMs = this.deadlineMs): Connection {
    return new Connection({ target: this.target, name: `holdfast-${name}`, deadlineMs: this.deadlineMs, silenceMs, prepare })
  }

  private async prepare(connection: Connection): Promise<void> {
    const { endpoint, options: target } = this.target
    const { namespace, shards: wanted, unsafe = false } = this.options
    // ioredis goes on in database 0 if the one it was told does not exist.
    if (target.db) {
      await connection.send('SELECT', [target.db]).catch((error: unknown) => {
        throw new ConfigError(`Database ${target.db} cannot be used. ${(error as Error).message}`)
      })
    }
    const verdict = judge(await readFacts((name, args) => connection.send(name, args)), endpoint, unsafe)
    await loadScripts(connection)
    const known = this.incarnation !== ''
    const args = [scripts.namespace.hash, '2', this.keys.settings, this.keys.probe, known ? '' : String(wanted ?? shardsDefault), randomUUID(), dataFormat, this.keys.shard(0).channel]
    const [shards, incarnation, format] = (await connection.send('EVALSHA', args)) as [string, string, string] | [null, null, null]
    if (shards === null || (known && this.incarnation !== incarnation)) {
      throw new ConfigError(`Namespace "${namespace}" at ${endpoint} is not the one it was (incarnation ${incarnation ?? 'none'} instead of ${this.incarnation}): its data were lost or replaced. Restore them, or restart this process to go on with what is there.`)
    }
    if (format !== dataFormat) throw new ConfigError(`Namespace "${namespace}" holds data of format ${format}; this version of Holdfast reads format ${dataFormat}. Use the version that wrote it.`)
    if (wanted !== undefined && wanted !== Number(shards)) {
      throw new ConfigError(`shards: namespace "${namespace}" has ${shards} shards, not ${wanted}. The number is fixed when a namespace is created.`)
    }
    this.verdict = verdict
    this.shards = Number(shards)
    this.incarnation = incarnation
  }

  async close(): Promise<void> {
    this.closed = true
    await Promise.all([this.reader.close(), this.watcher.close(), this.commands.close()])
  }
}

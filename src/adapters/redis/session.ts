/**
 * What an opened store works with, for one namespace: the connections to its server, or to those of a cluster, and what
 * runs on them. Whenever a connection for commands is made, the server is checked anew: another one, or another state of
 * the same one, may be at its end. It takes no command before that.
 */
import { randomUUID } from 'node:crypto'
import { ConfigError, MoveError, StoreError } from '../../errors.js'
import { closedError, type MoveMark } from '../../runtime/ports/moving.js'
import type { Durability, Entry, OpenOptions, Standing } from '../../runtime/ports/store.js'
import { ChangeWatcher } from './change-watcher.js'
import { judge, readFacts } from './checks.js'
import { Cluster, isElsewhere, type Place } from './cluster.js'
import type { Bounds } from './commit-encoding.js'
import type { Command, Connection, Target } from './connection.js'
import { dataFormat, NamespaceKeys } from './keys.js'
import { Link } from './link.js'
import { blockMs, LogReader } from './log-reader.js'
import { loadScripts, replicated, scripts, type Script } from './scripts.js'

const shardsDefault = 16
const shardsMax = 1_024
/** How often a command is sent on from one server of a cluster to another. */
const redirectsMax = 5

export class Session {
  readonly keys: NamespaceKeys
  readonly bounds: Bounds
  readonly watcher: ChangeWatcher
  /** 0 until the namespace was entered for the first time. */
  shards = 0
  incarnation = ''
  closed = false
  readonly namespace: string
  private readonly options: OpenOptions
  private readonly deadlineMs: number
  private readonly replicas: number
  private readonly preparedListeners = new Set<() => void>()
  /** The only server, or the one by which a cluster is found. */
  private readonly home: Link
  private isCluster = false
  private cluster: Cluster | undefined
  /** One for all shards. On a cluster one for each: a single command cannot wait for several slots. */
  private readonly readers = new Map<number | 'all', { readonly link: Link; readonly reader: LogReader }>()

  /** @throws ConfigError for options outside their bounds */
  constructor(target: Target, prefix: string, deadlineMs: number, replicas: number, options: OpenOptions) {
    const { shards } = options
    if (shards !== undefined && !(Number.isSafeInteger(shards) && shards >= 1 && shards <= shardsMax)) {
      throw new ConfigError(`shards: expected a whole number from 1 to ${shardsMax}, got ${shards}.`)
    }
    this.namespace = options.namespace
    this.options = options
    this.deadlineMs = deadlineMs
    this.replicas = replicas
    this.bounds = { backlogMax: options.backlogMax ?? 1_000, logMax: options.logMax ?? 100_000 }
    this.keys = new NamespaceKeys(prefix, options.namespace)
    this.home = new Link(target, deadlineMs, (connection, link) => this.prepareHome(connection, link))
    this.watcher = new ChangeWatcher({
      keys: this.keys,
      numbersOf: (shardNumbers) => this.numbersOf(shardNumbers),
      connect: (prepare) => this.linkOf('namespace').connect('watcher', prepare),
    })
  }

  async open(): Promise<void> {
    await this.home.commands.opened()
    if (!this.isCluster) return
    this.cluster = new Cluster({
      seed: this.home,
      deadlineMs: this.deadlineMs,
      keyOf: (place) => (place === 'namespace' ? this.keys.settings : this.keys.shard(place).meta),
      prepare: (connection, link) => this.prepare(connection, link),
      onMoved: () => this.onMoved(),
    })
    await this.cluster.enter(['namespace'])
    await this.cluster.enter(Array.from({ length: this.shards }, (_, shard) => shard))
  }

  // ── What the servers can be trusted with ──

  /** As of the last time they were asked. */
  get known(): Standing {
    return together(this.servers.map(({ standing }) => standing))
  }

  async standing(): Promise<Standing> {
    return together(await Promise.all(this.servers.map((link) => this.ask(link))))
  }

  private async ask(link: Link): Promise<Standing> {
    const { commands, target } = link
    if (!commands.isUp && commands.wrong) return { durability: 'D0', warnings: [], refusals: [commands.wrong.message] }
    try {
      return (link.standing = judge(await readFacts((name, args) => commands.call(name, args)), target.endpoint, this.replicas))
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      return { durability: 'D0', warnings: [], refusals: [error.message] }
    }
  }

  private get servers(): readonly Link[] {
    return this.cluster?.all ?? [this.home]
  }

  /** Calls back when a connection for commands has been made anew. */
  onPrepared(listener: () => void): () => void {
    const own = (): void => listener()
    this.preparedListeners.add(own)
    return () => void this.preparedListeners.delete(own)
  }

  // ── Commands ──

  /** Runs a script where the keys of the place are; see {@link ScriptRunner.run}. */
  run(place: Place, script: Script, keys: readonly string[], args: readonly (string | Buffer)[], isBuiltOnEarlier?: (reply: unknown) => boolean): Promise<unknown> {
    return this.routed(place, async ({ runner, acknowledgements }) => {
      const reply = await runner.run(script, keys, args, isBuiltOnEarlier)
      if (this.replicas > 0 && replicated.has(script)) await acknowledgements.of(this.replicas)
      return reply
    })
  }

  call(place: Place, [name, ...args]: Command): Promise<unknown> {
    return this.routed(place, ({ commands }) => commands.call(name, args))
  }

  all(place: Place, commands: readonly Command[]): Promise<readonly unknown[]> {
    return this.routed(place, (link) => link.commands.callAll(commands))
  }

  private routed<T>(place: Place, send: (link: Link) => Promise<T>): Promise<T> {
    return this.cluster ? this.redirected(this.cluster, place, send) : send(this.home)
  }

  private async redirected<T>(cluster: Cluster, place: Place, send: (link: Link) => Promise<T>): Promise<T> {
    for (let redirects = 0; ; redirects++) {
      try {
        return await send(cluster.linkOf(place))
      } catch (error) {
        if (!isElsewhere(error) || redirects === redirectsMax) {
          cluster.trouble()
          throw error
        }
        await cluster.refresh()
      }
    }
  }

  private linkOf(place: Place): Link {
    return this.cluster?.linkOf(place) ?? this.home
  }

  read(shard: number, after: number, max: number, signal: AbortSignal): Promise<readonly Entry[]> {
    const of = this.cluster ? shard : 'all'
    const link = this.linkOf(shard)
    let found = this.readers.get(of)
    if (found?.link !== link) {
      void found?.reader.close()
      this.readers.set(of, (found = { link, reader: this.readerOn(link) }))
    }
    return found.reader.read(shard, after, max, signal)
  }

  private readerOn(link: Link): LogReader {
    return new LogReader({
      keys: this.keys,
      commands: link.commands,
      deadlineMs: this.deadlineMs,
      connect: (onId) => link.connect('reader', async (connection) => onId(String(await connection.send('CLIENT', ['ID']))), blockMs + this.deadlineMs),
      onFailure: () => this.cluster?.trouble(),
    })
  }

  /** Those who wait are answered with nothing, and ask again where the log is now. */
  private onMoved(): void {
    for (const [shard, { link, reader }] of this.readers) {
      if (shard !== 'all' && this.cluster?.all.includes(link) && this.linkOf(shard) === link) continue
      this.readers.delete(shard)
      void reader.close()
    }
    this.watcher.moved()
  }

  private async numbersOf(shardNumbers: readonly number[]): Promise<readonly (string | null)[]> {
    const commandOf = (shard: number): Command => ['HGET', this.keys.shard(shard).meta, 'number']
    if (!this.cluster) return (await this.home.commands.callAll(shardNumbers.map(commandOf))) as (string | null)[]
    return (await Promise.all(shardNumbers.map((shard) => this.call(shard, commandOf(shard))))) as (string | null)[]
  }

  // ── Entering ──

  private async prepareHome(connection: Connection, link: Link): Promise<void> {
    const { db } = link.target.options
    // ioredis goes on in database 0 if the one it was told does not exist.
    if (db) {
      await connection.send('SELECT', [db]).catch((error: unknown) => {
        throw new ConfigError(`Database ${db} cannot be used. ${(error as Error).message}`)
      })
    }
    await this.prepare(connection, link)
  }

  private async prepare(connection: Connection, link: Link): Promise<void> {
    const facts = await readFacts((name, args) => connection.send(name, args))
    if (facts.cluster && link === this.home) {
      // It is only asked who has what, and any server of a cluster can say.
      this.isCluster = true
      return
    }
    // A failover may be under way: who has the slots now is asked again.
    if (this.cluster && facts.role !== 'master') throw new StoreError(`Redis at ${link.target.endpoint} has become a replica.`, 'failed')
    link.standing = judge(facts, link.target.endpoint, this.replicas)
    await loadScripts(connection)
    if (this.linkOf('namespace') === link) await this.enter(connection, link.target.endpoint)
    // Once it takes commands.
    setImmediate(() => [...this.preparedListeners].forEach((listener) => listener()))
  }

  private async enter(connection: Connection, endpoint: string): Promise<void> {
    const { namespace, shards: wanted, moving } = this.options
    const known = this.incarnation !== ''
    const shardsIfNew = known ? this.shards : moving === 'from' ? '' : (wanted ?? shardsDefault)
    const args = [scripts.namespace.hash, '3', this.keys.settings, this.keys.probe, this.keys.state, String(shardsIfNew), known ? this.incarnation : randomUUID(), dataFormat, this.keys.shard(0).channel]
    const [shards, incarnation, format, mark] = (await connection.send('EVALSHA', args)) as [string, string, string, string | null] | [null, null, null, null]
    if (shards === null && moving === 'from') throw new MoveError('missing', `There is no namespace "${namespace}" at ${endpoint}. Look at how it is spelled.`)
    // What was lost altogether is made again as it was: whoever shows signs of life there notices (I11).
    if (shards === null || (known && this.incarnation !== incarnation)) {
      throw new ConfigError(`Namespace "${namespace}" at ${endpoint} is not the one it was (incarnation ${incarnation ?? 'none'} instead of ${this.incarnation}): its data were lost or replaced. Restore them, or restart this process to go on with what is there.`)
    }
    if (format !== dataFormat) throw new ConfigError(`Namespace "${namespace}" holds data of format ${format}; this version of Holdfast reads format ${dataFormat}. Use the version that wrote it.`)
    if (wanted !== undefined && wanted !== Number(shards)) {
      throw new ConfigError(`shards: namespace "${namespace}" has ${shards} shards, not ${wanted}. The number is fixed when a namespace is created.`)
    }
    if (mark !== null && moving === undefined) throw closedError(namespace, JSON.parse(mark) as MoveMark)
    this.shards = Number(shards)
    this.incarnation = incarnation
  }

  async close(): Promise<void> {
    this.closed = true
    await Promise.all([...[...this.readers.values()].map(({ reader }) => reader.close()), this.watcher.close(), this.cluster?.close(), this.home.close()])
  }
}

/** The least of all servers. */
function together(standings: readonly Standing[]): Standing {
  const all = (of: (standing: Standing) => readonly string[]): string[] => [...new Set(standings.flatMap(of))]
  const least = standings.map(({ durability }): Durability => durability).sort()[0] ?? 'D0'
  return { durability: least, warnings: all(({ warnings }) => warnings), refusals: all(({ refusals }) => refusals) }
}

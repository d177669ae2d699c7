/**
 * Tells those who watch a shard of its commits, and those who watch the nodes who comes and leaves. Every commit
 * publishes its number on the shard's channel; a channel may lose messages (while the connection is made, on a
 * failover), so whoever watches is also told when a subscription begins, and a slow poll compares the numbers of the last
 * commits. (Nodes look at each other often enough by themselves.)
 */
import { StoreError } from '../../errors.js'
import type { Watched } from '../../runtime/ports/store.js'
import type { Connection } from './connection.js'
import type { NamespaceKeys } from './keys.js'

const pollMs = 1_000
/** A connection outlives its last watcher by this, because those who ask and wait come and go. */
const lingerMs = 1_000

/** The number of a shard, or the nodes. */
type Heard = Exclude<Watched, 'standing'>

export interface ChangeWatcherOptions {
  readonly keys: NamespaceKeys
  /** The numbers of the last commits of shards, for the poll. */
  numbersOf(shards: readonly number[]): Promise<readonly (string | null)[]>
  /** Makes the connection that subscribes. */
  connect(prepare: (connection: Connection) => Promise<void>): Connection
}

export class ChangeWatcher {
  private readonly options: ChangeWatcherOptions
  private readonly watchers = new Map<Heard, Set<() => void>>()
  private readonly watched = new Map<string, Heard>()
  /** Number of the last commit that the watchers of a shard were told of. */
  private readonly told = new Map<Heard, string>()
  private connection: Connection | undefined
  private polling: NodeJS.Timeout | undefined
  private lingering: NodeJS.Timeout | undefined
  private closed = false

  constructor(options: ChangeWatcherOptions) {
    this.options = options
  }

  watch(what: Heard, onChange: () => void): () => void {
    if (this.closed) return () => {}
    // An object of its own, so that the same function can watch twice.
    const watcher = (): void => onChange()
    const others = this.watchers.get(what)
    if (others) others.add(watcher)
    else {
      this.watchers.set(what, new Set([watcher]))
      this.begin(what)
    }
    return () => this.unwatch(what, watcher)
  }

  private begin(what: Heard): void {
    clearTimeout(this.lingering)
    this.watched.set(this.channelOf(what), what)
    this.polling ??= setInterval(() => void this.poll(), pollMs).unref()
    if (!this.connection) this.connect()
    else {
      // One that is not up subscribes to everything once it is.
      this.subscribe(this.connection, [what]).catch(() => {})
    }
  }

  /** If there is nowhere to connect to just now, the poll tries again. */
  private connect(): void {
    try {
      this.connection = this.options.connect((connection) => this.subscribeAll(connection))
      this.connection.onMessage((channel, number) => this.hear(channel, number))
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
    }
  }

  private unwatch(what: Heard, watcher: () => void): void {
    const watchers = this.watchers.get(what)
    if (!watchers?.delete(watcher) || watchers.size > 0) return
    this.watchers.delete(what)
    this.watched.delete(this.channelOf(what))
    this.told.delete(what)
    this.connection?.call('unsubscribe', [this.channelOf(what)]).catch(() => {})
    if (this.watchers.size > 0) return
    clearInterval(this.polling)
    this.polling = undefined
    this.lingering = setTimeout(() => {
      const { connection } = this
      this.connection = undefined
      void connection?.close()
    }, lingerMs).unref()
  }

  /** Another server may have to be asked from now on; in a cluster all of them pass on what is published. */
  moved(): void {
    const { connection } = this
    if (this.closed) return
    this.connection = undefined
    void connection?.close()
    if (this.watchers.size > 0) this.connect()
  }

  private async subscribeAll(connection: Connection): Promise<void> {
    if (this.watchers.size > 0) await this.subscribe(connection, [...this.watchers.keys()])
  }

  private async subscribe(connection: Connection, these: readonly Heard[]): Promise<void> {
    await connection.send('subscribe', these.map((what) => this.channelOf(what)))
    // What was committed before the subscription stood, nobody was told of.
    for (const what of these) this.notify(what)
  }

  private hear(channel: string, number: string): void {
    const what = this.watched.get(channel)
    if (what === undefined) return
    this.told.set(what, number)
    this.notify(what)
  }

  private async poll(): Promise<void> {
    const shards = [...this.watchers.keys()].filter((watched) => watched !== 'nodes')
    if (!this.connection) this.connect()
    // Finds out whether the subscription still lives: nothing else is sent there.
    this.connection?.call('PING', []).catch(() => {})
    try {
      const numbers = await this.options.numbersOf(shards)
      shards.forEach((shard, i) => {
        const number = numbers[i] ?? '0'
        if (this.told.get(shard) === number || !this.watchers.has(shard)) return
        this.told.set(shard, number)
        this.notify(shard)
      })
    } catch {
      // The next poll may be answered.
    }
  }

  private notify(what: Heard): void {
    for (const watcher of [...(this.watchers.get(what) ?? [])]) watcher()
  }

  private channelOf(what: Heard): string {
    const { keys } = this.options
    return (what === 'nodes' ? keys : keys.shard(what)).channel
  }

  async close(): Promise<void> {
    this.closed = true
    clearInterval(this.polling)
    clearTimeout(this.lingering)
    this.watchers.clear()
    await this.connection?.close()
  }
}

/**
 * Tells those who watch a shard of its commits. Every commit publishes its number on the shard's channel; a channel may
 * lose messages (while the connection is made, on a failover), so whoever watches is also told when a subscription
 * begins, and a slow poll compares the numbers of the last commits.
 */
import type { Connection } from './connection.js'
import type { NamespaceKeys } from './keys.js'

const pollMs = 1_000
/** A connection outlives its last watcher by this, because those who ask and wait come and go. */
const lingerMs = 1_000

export interface ChangeWatcherOptions {
  readonly keys: NamespaceKeys
  /** Where the poll asks. */
  readonly commands: Connection
  /** Makes the connection that subscribes. */
  connect(prepare: (connection: Connection) => Promise<void>): Connection
}

export class ChangeWatcher {
  private readonly options: ChangeWatcherOptions
  private readonly watchers = new Map<number, Set<() => void>>()
  private readonly shards = new Map<string, number>()
  /** Number of the last commit that the watchers of a shard were told of. */
  private readonly told = new Map<number, string>()
  private connection: Connection | undefined
  private polling: NodeJS.Timeout | undefined
  private lingering: NodeJS.Timeout | undefined
  private closed = false

  constructor(options: ChangeWatcherOptions) {
    this.options = options
  }

  watch(shard: number, onChange: () => void): () => void {
    if (this.closed) return () => {}
    // An object of its own, so that the same function can watch twice.
    const watcher = (): void => onChange()
    const others = this.watchers.get(shard)
    if (others) others.add(watcher)
    else {
      this.watchers.set(shard, new Set([watcher]))
      this.begin(shard)
    }
    return () => this.unwatch(shard, watcher)
  }

  private begin(shard: number): void {
    clearTimeout(this.lingering)
    this.shards.set(this.channelOf(shard), shard)
    this.polling ??= setInterval(() => void this.poll(), pollMs).unref()
    if (!this.connection) {
      this.connection = this.options.connect((connection) => this.subscribeAll(connection))
      this.connection.onMessage((channel, number) => this.hear(channel, number))
    } else {
      // One that is not up subscribes to everything once it is.
      this.subscribe(this.connection, [shard]).catch(() => {})
    }
  }

  private unwatch(shard: number, watcher: () => void): void {
    const watchers = this.watchers.get(shard)
    if (!watchers?.delete(watcher) || watchers.size > 0) return
    this.watchers.delete(shard)
    this.shards.delete(this.channelOf(shard))
    this.told.delete(shard)
    this.connection?.call('unsubscribe', [this.channelOf(shard)]).catch(() => {})
    if (this.watchers.size > 0) return
    clearInterval(this.polling)
    this.polling = undefined
    this.lingering = setTimeout(() => {
      const { connection } = this
      this.connection = undefined
      void connection?.close()
    }, lingerMs).unref()
  }

  private async subscribeAll(connection: Connection): Promise<void> {
    if (this.watchers.size > 0) await this.subscribe(connection, [...this.watchers.keys()])
  }

  private async subscribe(connection: Connection, shards: readonly number[]): Promise<void> {
    await connection.send('subscribe', shards.map((shard) => this.channelOf(shard)))
    // What was committed before the subscription stood, nobody was told of.
    for (const shard of shards) this.notify(shard)
  }

  private hear(channel: string, number: string): void {
    const shard = this.shards.get(channel)
    if (shard === undefined) return
    this.told.set(shard, number)
    this.notify(shard)
  }

  private async poll(): Promise<void> {
    const shards = [...this.watchers.keys()]
    // Finds out whether the subscription still lives: nothing else is sent there.
    this.connection?.call('PING', []).catch(() => {})
    try {
      const numbers = (await this.options.commands.callAll(shards.map((shard) => ['HGET', this.options.keys.shard(shard).meta, 'number'] as const))) as (string | null)[]
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

  private notify(shard: number): void {
    for (const watcher of [...(this.watchers.get(shard) ?? [])]) watcher()
  }

  private channelOf(shard: number): string {
    return this.options.keys.shard(shard).channel
  }

  async close(): Promise<void> {
    this.closed = true
    clearInterval(this.polling)
    clearTimeout(this.lingering)
    this.watchers.clear()
    await this.connection?.close()
  }
}

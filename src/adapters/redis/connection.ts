/**
 * One connection to a Redis server, on ioredis with its conveniences turned off: nothing is queued while it is away,
 * nothing is sent twice, nothing waits for ever.
 *
 * K1  A command is written once. If the connection goes before the answer, its outcome is unknown; ioredis would send
 *     it again, which `maxRetriesPerRequest: 0` prevents (`autoResendUnfulfilledCommands: false` leaves it pending).
 * K2  Every command has a deadline. One that misses it takes the connection down: on a half-open one nothing after it
 *     would be answered either, and on a slow one the answers that follow would still come in order, but late.
 * K3  Commands are taken only between a successful `prepare` and the loss of the connection.
 */
import { Redis, type RedisOptions } from 'ioredis'
import { ConfigError, StoreError, type HoldfastError } from '../../errors.js'
import { serverCodeOf, toConfigError, toStoreError } from './failures.js'

export type Argument = string | number | Buffer
export type Command = readonly [name: string, ...args: Argument[]]

/** Where the server is, as ioredis takes it, with a name that holds no credentials. */
export interface Target {
  readonly options: RedisOptions
  readonly endpoint: string
}

export interface ConnectionOptions {
  readonly target: Target
  /** Shown by CLIENT LIST. */
  readonly name: string
  /** How long a command may take, ms. */
  readonly deadlineMs: number
  /** The longest that any command on this connection may take, ms. Default deadlineMs. */
  readonly silenceMs?: number
  /** Runs whenever the connection is made, before it takes commands; it alone may use {@link Connection.send}. */
  readonly prepare?: (connection: Connection) => Promise<void>
  /** Told when a connection that took commands is lost. */
  readonly onLost?: () => void
}

const firstRetryMs = 50
const lastRetryMs = 2_000
/** How long a Sentinel may take to say where the primary is. */
const sentinelMs = 1_000
/** How long an orderly goodbye may take before the socket is destroyed. */
const goodbyeMs = 100

const badAddress = 'The address of the Redis server cannot be read. Write redis://[user:password@]host:port[/database], rediss:// for TLS, or a path to a socket.'

/** @throws ConfigError for an address that cannot be parsed, or options that contradict the store's */
export function parseTarget(target: string | RedisOptions): Target {
  let options: RedisOptions
  const isAddress = typeof target === 'string' ? target !== '' && (!target.includes('://') || /^rediss?:\/\//.test(target)) : typeof target === 'object' && target !== null
  if (!isAddress) throw new ConfigError(badAddress)
  try {
    // Not connected: ioredis reads the URL here, and nothing else.
    options = typeof target === 'string' ? new Redis(target, { lazyConnect: true }).options : target
  } catch {
    throw new ConfigError(badAddress)
  }
  // ioredis asks the server for it, and lets the refusal end the process.
  if (options.db !== undefined && !/^\d+$/.test(String(options.db))) throw new ConfigError(`The database of the Redis server is a number from 0 on, got ${String(options.db)}. Write redis://host:port/0, or give the option db.`)
  if (options.keyPrefix) throw new ConfigError(`The ioredis option keyPrefix (${JSON.stringify(options.keyPrefix)}) would tear keys of one commit apart. Use the store's option keyPrefix.`)
  const database = options.db ? `/${options.db}` : ''
  const sentinels = options.sentinels?.map((sentinel) => `${sentinel.host ?? 'localhost'}:${sentinel.port ?? 26_379}`).join(', ')
  const place = sentinels ? `${options.name ?? 'mymaster'} (sentinels ${sentinels})` : (options.path ?? `${options.host ?? 'localhost'}:${options.port ?? 6_379}`)
  return { options, endpoint: place + database }
}

export interface CallOptions {
  /** How long it may take, ms. Default: as all commands. */
  readonly deadlineMs?: number
  /** Texts of the answer are left as the bytes they are. */
  readonly asBytes?: boolean
}

export class Connection {
  readonly endpoint: string
  private readonly options: ConnectionOptions
  private readonly redis: Redis
  private state: 'down' | 'preparing' | 'up' | 'closed' = 'down'
  /** Counts the times the server was reached, so that what belongs to an earlier one can be told. */
  generation = 0
  /** Why it takes no commands, if only somebody else can mend that. */
  wrong: ConfigError | undefined
  private failures = 0
  /** Why no command is taken. */
  private problem = 'it has not answered yet'
  private readonly waiting = new Set<{ up(): void; failed(error: HoldfastError): void; closed(): void }>()

  constructor(options: ConnectionOptions) {
    this.options = options
    this.endpoint = options.target.endpoint
    this.redis = new Redis({
      ...options.target.options,
      lazyConnect: true,
      connectionName: options.name,
      // One shape of replies, whatever the server speaks.
      protocol: 2,
      replyMapping: 'legacy',
      stringNumbers: false,
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: true,
      enableOfflineQueue: false,
      // It would keep one pipeline in flight, so that Node and Redis take turns.
      enableAutoPipelining: false,
      // ioredis would do it without looking after the promise.
      autoResubscribe: false,
      enableReadyCheck: true,
      maxLoadingRetryTime: 1_000,
      reconnectOnError: null,
      readOnly: false,
      // Until Sentinel demotes a primary that it has replaced, that one goes on acknowledging what will be lost.
      // One that hangs is passed over, whichever of them it is.
      ...(options.target.options.sentinels ? { failoverDetector: true, sentinelCommandTimeout: Math.min(sentinelMs, options.deadlineMs) } : {}),
      commandTimeout: undefined,
      blockingTimeout: undefined,
      connectTimeout: options.deadlineMs,
      // For ioredis' own handshake, which has no other limit; for commands, K2 comes first.
      socketTimeout: (options.silenceMs ?? options.deadlineMs) + 500,
      disconnectTimeout: goodbyeMs,
      retryStrategy: () => this.nextRetryMs(),
    })
    this.redis.on('ready', () => void this.onReady())
    this.redis.on('error', (error: Error) => this.onError(error))
    this.redis.on('close', () => this.onDown())
    this.redis.on('end', () => this.onEnd())
    this.redis.connect().catch(() => {})
  }

  get isUp(): boolean {
    return this.state === 'up'
  }

  /** For what ioredis reports apart from answers: messages of channels. */
  onMessage(listener: (channel: string, message: string) => void): void {
    this.redis.on('message', listener)
  }

  /** Sends a command and resolves with its answer. Upper-case names: ioredis reshapes the replies of lower-case ones. */
  call(name: string, args: readonly Argument[], options?: CallOptions): Promise<unknown> {
    return this.state === 'up' ? this.send(name, args, options) : Promise.reject(this.refusal())
  }

  /** Sends several commands in one write; rejects with the first error among their answers. */
  async callAll(commands: readonly Command[]): Promise<readonly unknown[]> {
    if (this.state !== 'up') throw this.refusal()
    if (commands.length === 0) return []
    const pipeline = this.redis.pipeline()
    for (const [name, ...args] of commands) pipeline.call(name, ...args)
    const answers = (await this.within(pipeline.exec(), this.options.deadlineMs)) as [Error | null, unknown][]
    return answers.map(([error, answer]) => {
      if (error) throw this.failureOf(error)
      return answer
    })
  }

  /** As {@link call}, also while the connection is being prepared. */
  send(name: string, args: readonly Argument[], { deadlineMs = this.options.deadlineMs, asBytes = false }: CallOptions = {}): Promise<unknown> {
    const { redis } = this
    return this.within(asBytes ? redis.callBuffer(name, args as Argument[]) : redis.call(name, args as Argument[]), deadlineMs)
  }

  private within(answer: Promise<unknown>, deadlineMs: number): Promise<unknown> {
    const { generation } = this
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new StoreError(`Redis at ${this.endpoint} did not answer within ${deadlineMs} ms.`, 'unknown'))
        if (generation === this.generation) this.recycle(`it did not answer within ${deadlineMs} ms`)
      }, deadlineMs)
      answer.then(
        (value) => {
          clearTimeout(timer)
          resolve(value)
        },
        (error: unknown) => {
          clearTimeout(timer)
          reject(this.failureOf(error))
        },
      )
    })
  }

  private failureOf(error: unknown): HoldfastError {
    // The primary is elsewhere now: a new connection may find it, and `prepare` refuses this one.
    if (serverCodeOf(error) === 'READONLY') this.recycle('the server has become a replica')
    return toStoreError(error, this.endpoint)
  }

  private refusal(): StoreError {
    if (this.state === 'closed') return new StoreError('The store is closed.', 'failed')
    return new StoreError(`Redis at ${this.endpoint} is not connected: ${this.problem}.`, 'failed')
  }

  /** Resolves with true once commands are taken, with false when the connection is closed. */
  whenUp(): Promise<boolean> {
    if (this.state === 'up' || this.state === 'closed') return Promise.resolve(this.state === 'up')
    return new Promise((resolve) => {
      const waiter = { up: () => resolve(true), failed: () => {}, closed: () => resolve(false) }
      this.waiting.add(waiter)
    })
  }

  /**
   * Resolves once commands are taken.
   * @throws ConfigError at once, for what only a change of settings mends; MoveError for a namespace that was moved
   * @throws StoreError after the deadline, for anything else
   */
  opened(): Promise<void> {
    if (this.state === 'up') return Promise.resolve()
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void): void => {
        clearTimeout(timer)
        this.waiting.delete(waiter)
        settle()
      }
      const waiter = {
        up: () => finish(resolve),
        failed: (error: HoldfastError) => {
          if (!(error instanceof StoreError)) finish(() => reject(error))
        },
        closed: () => finish(() => reject(this.refusal())),
      }
      const timer = setTimeout(() => finish(() => reject(this.refusal())), this.options.deadlineMs)
      this.waiting.add(waiter)
    })
  }

  /** Drops the connection and makes another one; what is in flight becomes unknown. */
  recycle(why: string): void {
    if (this.state === 'closed' || this.state === 'down') return
    this.problem = why
    this.onDown()
    this.redis.disconnect(true)
  }

  /** Resolves when nothing of this connection is left. Commands in flight are rejected. */
  async close(): Promise<void> {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.generation++
    for (const { closed } of [...this.waiting]) closed()
    this.waiting.clear()
    const gone = this.redis.status === 'reconnecting' || this.redis.status === 'end'
    const ended = new Promise<void>((resolve) => this.redis.once('end', resolve))
    this.redis.disconnect()
    if (gone) return
    let timer: NodeJS.Timeout | undefined
    await Promise.race([ended, new Promise<void>((resolve) => (timer = setTimeout(resolve, 5 * goodbyeMs)))])
    clearTimeout(timer)
  }

  private async onReady(): Promise<void> {
    if (this.state === 'closed') return
    const generation = ++this.generation
    this.state = 'preparing'
    try {
      await this.options.prepare?.(this)
    } catch (error) {
      if (generation !== this.generation) return
      const failure = toStoreError(error, this.endpoint)
      const wrong = toConfigError(error, this.endpoint) ?? failure
      this.wrong = wrong instanceof ConfigError ? wrong : undefined
      this.tell(wrong)
      this.recycle(failure.message)
      return
    }
    if (generation !== this.generation) return
    this.state = 'up'
    this.wrong = undefined
    this.failures = 0
    this.problem = 'the connection was lost'
    for (const { up } of [...this.waiting]) up()
    this.waiting.clear()
  }

  private onError(error: Error & { code?: string }): void {
    const wrong = toConfigError(error, this.endpoint)
    // An AggregateError, of a host with several addresses, has no message.
    this.problem = wrong?.message ?? (error.message || error.code || error.name)
    this.wrong = wrong
    if (wrong) this.tell(wrong)
  }

  private onDown(): void {
    if (this.state === 'closed') return
    const wasUp = this.state === 'up'
    this.state = 'down'
    this.generation++
    if (wasUp) this.options.onLost?.()
  }

  /** ioredis has given up, as it does when Sentinel announces another primary while it connects: it begins anew. */
  private onEnd(): void {
    if (this.state === 'closed') return
    setTimeout(() => {
      if (this.state !== 'closed' && this.redis.status === 'end') this.redis.connect().catch(() => {})
    }, this.nextRetryMs() ?? 0).unref()
  }

  private tell(error: HoldfastError): void {
    for (const { failed } of [...this.waiting]) failed(error)
  }

  /** Doubling with jitter, so that many processes do not come back in step. ioredis' own count starts anew with every connection, also one that `prepare` refuses. */
  private nextRetryMs(): number | null {
    if (this.state === 'closed') return null
    const delayMs = Math.min(lastRetryMs, firstRetryMs * 2 ** this.failures++)
    return delayMs / 2 + (Math.random() * delayMs) / 2
  }
}

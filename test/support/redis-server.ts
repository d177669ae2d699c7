/**
 * A private redis-server: on a free loopback port, in a directory of its own, and gone with the process that started
 * it. It ends no other process.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { createConnection, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

export interface RedisServerOptions {
  /** Default true. */
  readonly appendonly?: boolean
  /** Default `always`. */
  readonly appendfsync?: 'always' | 'everysec' | 'no'
  /** Further settings, by the names of redis.conf. */
  readonly config?: Readonly<Record<string, string>>
  /** What else its process is told by its environment. */
  readonly env?: Readonly<Record<string, string>>
  /** Runs as a Sentinel that watches this server as `mymaster`. */
  readonly sentinelOf?: RedisServer
  /** How long it may take to answer, ms. Default 20,000. */
  readonly startMs?: number
}

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

export class RedisServer {
  readonly port: number
  /** Where its data are. */
  readonly directory: string
  private options: RedisServerOptions
  private child: ChildProcess | undefined
  private output = ''

  private constructor(port: number, directory: string, options: RedisServerOptions) {
    this.port = port
    this.directory = directory
    this.options = options
  }

  static async start(options: RedisServerOptions = {}): Promise<RedisServer> {
    const directory = await mkdtemp(join(tmpdir(), 'holdfast-redis-'))
    const server = new RedisServer(await freePort(), directory, options)
    await server.spawn()
    return server
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  get pid(): number | undefined {
    return this.child?.pid
  }

  private async spawn(): Promise<void> {
    const { appendonly = true, appendfsync = 'always', config = {}, env = {}, sentinelOf, startMs = 20_000 } = this.options
    const settings = {
      port: String(this.port),
      bind: '127.0.0.1',
      dir: this.directory,
      save: '',
      appendonly: appendonly ? 'yes' : 'no',
      appendfsync,
      ...config,
    }
    const args = sentinelOf ? await this.sentinelArgs(sentinelOf) : Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
    const child = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } })
    this.child = child
    this.output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (this.output = (this.output + data.toString()).slice(-4_000)))
    running.add(child)
    let gone: string | undefined
    child.once('exit', (code, signal) => {
      running.delete(child)
      gone = `exited with ${code ?? signal}`
    })
    child.once('error', (error) => {
      running.delete(child)
      gone = error.message
    })
    for (const until = performance.now() + startMs; !(await this.answers()); ) {
      if (gone !== undefined || performance.now() > until) throw new Error(`redis-server on port ${this.port} ${gone ?? 'does not answer'}:\n${this.output}`)
      await sleep(10)
    }
  }

  /** A Sentinel keeps what it learns in its own file of settings. */
  private async sentinelArgs(primary: RedisServer): Promise<string[]> {
    const file = join(this.directory, 'sentinel.conf')
    const lines = [`port ${this.port}`, 'bind 127.0.0.1', `dir ${this.directory}`, `sentinel monitor mymaster 127.0.0.1 ${primary.port} 2`, 'sentinel down-after-milliseconds mymaster 800', 'sentinel failover-timeout mymaster 4000', 'sentinel parallel-syncs mymaster 1']
    await writeFile(file, `${lines.join('\n')}\n`)
    return [file, '--sentinel']
  }

  /** Whether it takes commands: connected, and its data are read. */
  private async answers(): Promise<boolean> {
    const socket = createConnection(this.port, '127.0.0.1')
    try {
      await once(socket, 'connect')
      socket.write('PING\r\n')
      const [data] = (await once(socket, 'data')) as [Buffer]
      // A server that asks for a password is up, too.
      return data.toString().startsWith('+PONG') || data.toString().startsWith('-NOAUTH')
    } catch {
      return false
    } finally {
      socket.destroy()
    }
  }

  /** Ends it in good order. */
  async stop(): Promise<void> {
    await this.end('SIGTERM')
    await rm(this.directory, { recursive: true, force: true })
  }

  /** As a crash would. The data stay for {@link restart}. */
  async kill(): Promise<void> {
    await this.end('SIGKILL')
  }

  /** Starts it again with the same data on the same port, with other options if they are given; ends it in good order first if it runs. */
  async restart(options: RedisServerOptions = {}): Promise<void> {
    this.options = { ...this.options, ...options }
    await this.end('SIGTERM')
    await this.spawn()
  }

  /** Keeps its data as they are on disk now; what it returns puts them back, as an older backup, with the server started anew. */
  async backup(): Promise<() => Promise<void>> {
    const [data, kept] = [join(this.directory, 'appendonlydir'), join(this.directory, 'kept')]
    await cp(data, kept, { recursive: true })
    return async () => {
      await this.end('SIGKILL')
      await rm(data, { recursive: true })
      await cp(kept, data, { recursive: true })
      await this.spawn()
    }
  }

  /** As a power cut would: it is killed, and of its log what was written after so many bytes is gone. */
  async cutOff(bytes: number): Promise<void> {
    await this.end('SIGKILL')
    const data = join(this.directory, 'appendonlydir')
    const log = (await readdir(data)).find((name) => name.endsWith('.incr.aof'))
    if (log) await truncate(join(data, log), bytes)
  }

  /** Whether its process is there. */
  get isRunning(): boolean {
    return this.child !== undefined && this.child.exitCode === null && this.child.signalCode === null
  }

  /** Starts it anew without its data. */
  async empty(): Promise<void> {
    await this.end('SIGKILL')
    await rm(join(this.directory, 'appendonlydir'), { recursive: true })
    await this.spawn()
  }

  /** Stops its process where it stands, as a hanging machine would; SIGCONT lets it go on. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.child?.kill(signal)
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    const { child } = this
    this.child = undefined
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill(signal)
    // One that writes its first log does not end when it is told to, nor does one that stands still.
    const insist = setTimeout(() => child.kill('SIGKILL'), 5_000)
    await exited
    clearTimeout(insist)
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Stands between a store and its server, and lets the network fail: `redis://127.0.0.1:<port>`. */
export class RedisProxy {
  readonly port: number
  /** forward: everything. lose: requests arrive, and instead of their answer the connection ends. swallow: nothing passes, and nothing is closed. */
  mode: 'forward' | 'lose' | 'swallow' = 'forward'
  /** The port of the server that new connections go to. */
  target: number
  private readonly server: Server
  private readonly sockets = new Set<Socket>()

  private constructor(server: Server, target: number) {
    this.server = server
    this.target = target
    this.port = (server.address() as AddressInfo).port
    server.on('connection', (client) => this.join(client, createConnection(this.target, '127.0.0.1')))
  }

  static async start(target: number): Promise<RedisProxy> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new RedisProxy(server, target)
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  private join(client: Socket, upstream: Socket): void {
    const end = (): void => {
      for (const socket of [client, upstream]) {
        this.sockets.delete(socket)
        socket.destroy()
      }
    }
    for (const socket of [client, upstream]) {
      this.sockets.add(socket)
      socket.on('error', end)
      socket.on('close', end)
    }
    client.on('data', (data) => {
      if (this.mode !== 'swallow') upstream.write(data)
    })
    upstream.on('data', (data) => {
      if (this.mode === 'forward') client.write(data)
      else if (this.mode === 'lose') end()
    })
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    this.server.close()
    await once(this.server, 'close')
  }
}

/** A private Redis Cluster on loopback: primaries with all slots between them, and replicas of each. */
import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { redisCli } from './redis-cli.js'
import { freePort, RedisServer } from './redis-server.js'

const run = promisify(execFile)

export interface RedisClusterOptions {
  /** At least 3. Default 3. */
  readonly primaries?: number
  /** Of each primary. Default 1. */
  readonly replicas?: number
  readonly appendfsync?: 'always' | 'everysec'
}

export class RedisCluster {
  readonly servers: readonly RedisServer[]

  private constructor(servers: readonly RedisServer[]) {
    this.servers = servers
  }

  static async start({ primaries = 3, replicas = 1, appendfsync = 'everysec' }: RedisClusterOptions = {}): Promise<RedisCluster> {
    const servers = await Promise.all(
      Array.from({ length: primaries * (1 + replicas) }, async () =>
        // The bus port is the port plus 10,000 by default, which may not be one.
        RedisServer.start({ appendfsync, config: { 'cluster-enabled': 'yes', 'cluster-port': String(await freePort()), 'cluster-node-timeout': '1000', 'repl-diskless-sync-delay': '0', 'cluster-replica-validity-factor': '0' } }),
      ),
    )
    const cluster = new RedisCluster(servers)
    await run('redis-cli', ['--cluster', 'create', ...servers.map(({ port }) => `127.0.0.1:${port}`), '--cluster-replicas', String(replicas), '--cluster-yes'])
    await cluster.whole(primaries)
    return cluster
  }

  /** Of any server that runs. */
  get url(): string {
    return this.servers.find(({ pid }) => pid !== undefined)!.url
  }

  /** Resolves when all servers agree that every slot is served. */
  async whole(primaries = 3): Promise<void> {
    for (;;) {
      const infos = await Promise.all(this.servers.filter(({ pid }) => pid !== undefined).map((server) => redisCli(server, 'CLUSTER', 'INFO').catch(() => '')))
      if (infos.every((info) => info.includes('cluster_state:ok') && info.includes(`cluster_size:${primaries}`))) return
      await sleep(50)
    }
  }

  /** Those that are primaries now, as any server says that is reachable. */
  async primaries(): Promise<RedisServer[]> {
    const living = this.servers.filter(({ pid }) => pid !== undefined)
    const roles = await Promise.all(living.map((server) => redisCli(server, 'ROLE')))
    return living.filter((_, i) => roles[i]!.startsWith('master'))
  }

  /** From the first primary to the second, with what is in them, while it is in use. */
  async moveSlots(count: number): Promise<void> {
    const [from, to] = await this.primaries()
    const [fromId, toId] = await Promise.all([from!, to!].map((server) => redisCli(server, 'CLUSTER', 'MYID')))
    await run('redis-cli', ['--cluster', 'reshard', `127.0.0.1:${from!.port}`, '--cluster-from', fromId!, '--cluster-to', toId!, '--cluster-slots', String(count), '--cluster-yes'])
    await this.whole()
  }

  async stop(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.stop()))
  }
}

/**
 * What a server does with what it is given: asked of it before anything is written, whenever the connection is made,
 * because a failover or a restart may have put another server there, and now and then in between, because CONFIG SET changes it. Where CONFIG is denied, as on many
 * managed services, INFO tells most of it; what it does not tell is called unknown, never fine.
 */
import { ConfigError } from '../../errors.js'
import type { Durability, Standing } from '../../runtime/ports/store.js'

export interface ServerFacts {
  readonly version: string
  /** Changes with every start of a server process. */
  readonly runId: string
  readonly role: string
  readonly cluster: boolean
  readonly evictionPolicy: string
  /** Bytes; 0 is no limit. */
  readonly memoryMax: number
  readonly memoryUsed: number
  /** Those connected, and those of them that have everything and were heard of within {@link lagMaxS}. */
  readonly replicas: number
  readonly replicasUpToDate: number
  readonly appendOnly: boolean
  readonly lastAppendFailed: boolean
  /** The following are undefined where CONFIG is denied. */
  readonly fsync: string | undefined
  readonly noFsyncOnRewrite: boolean | undefined
  readonly minReplicasToWrite: number | undefined
  readonly savePoints: string | undefined
  readonly stopsOnFailedSave: boolean | undefined
}

const settings = ['appendfsync', 'no-appendfsync-on-rewrite', 'min-replicas-to-write', 'maxmemory-policy', 'save', 'stop-writes-on-bgsave-error']
const memoryShareMax = 0.75
/** A replica says once a second how far it is. */
const lagMaxS = 10

export async function readFacts(send: (name: string, args: readonly string[]) => Promise<unknown>): Promise<ServerFacts> {
  const [info, config] = await Promise.all([send('INFO', []) as Promise<string>, send('CONFIG', ['GET', ...settings]).catch(() => []) as Promise<string[]>])
  return factsOf(info, config)
}

/** @param config names and values by turns, as CONFIG GET answers; empty where it is denied */
export function factsOf(info: string, config: readonly string[]): ServerFacts {
  const told = new Map(info.split(/\r?\n/).map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)] as const))
  const set = new Map<string, string>()
  for (let i = 0; i + 1 < config.length; i += 2) set.set(config[i]!, config[i + 1]!)
  const noFsyncOnRewrite = set.get('no-appendfsync-on-rewrite')
  const minReplicas = set.get('min-replicas-to-write')
  const stops = set.get('stop-writes-on-bgsave-error')
  const replicas = [...told].filter(([name]) => /^slave\d+$/.test(name))
  const isUpToDate = (told: string): boolean => told.includes('state=online') && Number(/lag=(\d+)/.exec(told)?.[1] ?? Infinity) <= lagMaxS
  return {
    version: told.get('redis_version') ?? '0',
    runId: told.get('run_id') ?? '',
    role: told.get('role') ?? 'unknown',
    cluster: told.get('cluster_enabled') === '1',
    evictionPolicy: set.get('maxmemory-policy') ?? told.get('maxmemory_policy') ?? 'unknown',
    memoryMax: Number(told.get('maxmemory') ?? 0),
    memoryUsed: Number(told.get('used_memory') ?? 0),
    replicas: Number(told.get('connected_slaves') ?? 0),
    replicasUpToDate: replicas.filter(([, replica]) => isUpToDate(replica)).length,
    appendOnly: told.get('aof_enabled') === '1',
    lastAppendFailed: told.get('aof_last_write_status') === 'err',
    fsync: set.get('appendfsync'),
    noFsyncOnRewrite: noFsyncOnRewrite === undefined ? undefined : noFsyncOnRewrite === 'yes',
    minReplicasToWrite: minReplicas === undefined ? undefined : Number(minReplicas),
    savePoints: set.get('save'),
    stopsOnFailedSave: stops === undefined ? undefined : stops === 'yes',
  }
}

/**
 * @param replicas that are to have every write
 * @throws ConfigError for a server that the store cannot work with at all
 */
export function judge(facts: ServerFacts, endpoint: string, replicas: number): Standing {
  const server = `Redis at ${endpoint}`
  if (Number.parseInt(facts.version, 10) < 7) {
    throw new ConfigError(`${server} has version ${facts.version}. Use 7.0 or newer: older ones cannot refuse a script before its first write.`)
  }
  if (facts.role !== 'master') {
    throw new ConfigError(`${server} has role ${facts.role}. Point the store at the primary, or connect through Sentinel.`)
  }
  const warnings: string[] = []
  const refusals: string[] = []
  if (facts.lastAppendFailed) {
    refusals.push(`${server} has aof_last_write_status err: it could not write to its disk. Make room or mend the disk, and wait until INFO persistence says ok.`)
  }
  if (facts.evictionPolicy !== 'noeviction') {
    refusals.push(`${server} has maxmemory-policy ${facts.evictionPolicy}: when memory is full it removes messages, timers and records. Set maxmemory-policy noeviction.`)
  }
  const flushed = durabilityOf(facts, server, refusals, warnings)
  const durability = flushed === 'D2' && replicas > 0 ? 'D3' : flushed
  if (facts.replicasUpToDate < replicas) {
    refusals.push(`${server} has ${facts.replicasUpToDate} replicas that keep up with it, and writes are to be on ${replicas}: they wait. Bring the replicas back, or open the store with fewer: replicas.`)
  }
  warnAboutMemory(facts, server, warnings)
  warnAboutSnapshots(facts, server, warnings)
  if (facts.replicas > 0 && facts.minReplicasToWrite === 0) {
    warnings.push(`${server} has ${facts.replicas} replicas and min-replicas-to-write 0: a failover loses what they had not received. Set min-replicas-to-write 1 to bound it.`)
  }
  return { durability, warnings, refusals }
}

function durabilityOf(facts: ServerFacts, server: string, refusals: string[], warnings: string[]): Durability {
  if (!facts.appendOnly) {
    refusals.push(`${server} has appendonly no: a crash loses everything since the last snapshot (D0). Set appendonly yes, and appendfsync always for D2.`)
    return 'D0'
  }
  if (facts.noFsyncOnRewrite) {
    warnings.push(`${server} has no-appendfsync-on-rewrite yes: while it rewrites its log or saves a snapshot nothing is flushed, whatever appendfsync says (D1). Set no-appendfsync-on-rewrite no.`)
  }
  switch (facts.fsync) {
    case 'always':
      return facts.noFsyncOnRewrite ? 'D1' : 'D2'
    case 'no':
      refusals.push(`${server} has appendfsync no: a power cut loses what the operating system has not written, about 30 s (D0). Set appendfsync always, or everysec.`)
      return 'D0'
    case 'everysec':
      warnings.push(`${server} has appendfsync everysec: a power cut loses up to about 2 s of acknowledged work, a kill of the server rarely some (D1). Set appendfsync always where that is too much.`)
      return 'D1'
    default:
      warnings.push(`${server} does not let this user run CONFIG GET, so appendfsync is unknown; everysec is assumed (D1). Allow CONFIG GET, or ask whoever runs the server.`)
      return 'D1'
  }
}

function warnAboutMemory(facts: ServerFacts, server: string, warnings: string[]): void {
  if (facts.memoryMax === 0) {
    warnings.push(`${server} has maxmemory 0: a full machine kills it instead of it refusing writes. Set maxmemory below the memory of the machine.`)
  } else if (facts.memoryUsed > memoryShareMax * facts.memoryMax) {
    const share = Math.round((100 * facts.memoryUsed) / facts.memoryMax)
    warnings.push(`${server} uses ${share} % of its maxmemory ${facts.memoryMax}; at 100 % it refuses every commit. Raise maxmemory or remove data.`)
  }
}

function warnAboutSnapshots(facts: ServerFacts, server: string, warnings: string[]): void {
  if (facts.savePoints === '') {
    warnings.push(`${server} has no save points: its log is the only copy on its disk. Set save "3600 1", or back the log up.`)
  }
  if (facts.stopsOnFailedSave === false) {
    warnings.push(`${server} has stop-writes-on-bgsave-error no: it goes on though its snapshots fail, and nobody hears of it. Set stop-writes-on-bgsave-error yes.`)
  }
}

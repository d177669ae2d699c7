/** The runtime's bounds, with their defaults. Every one is an option of `createActorSystem`. */
import { ConfigError } from '../errors.js'
import { checkId } from './identity.js'
import { silentLogger } from './ports/logger.js'
import type { ActorSystemOptions } from './system.js'

export interface RuntimeOptions {
  /** Messages and timers taken up by one commit, inclusive; with what their turns send within the shard it has at most four times as many turns. Default 128: beyond it latency grows and throughput does not. */
  readonly batchTurnsMax: number
  /** Size of one commit in UTF-16 units, after which no further turn is added. Default 262,144. */
  readonly batchCharsMax: number
  /** Commits in flight per shard. Default 2: one is prepared while the other is written. */
  readonly lanesMax: number
  /** Records kept in memory per system; idle ones beyond it are dropped and read again when needed. Default 10,000. */
  readonly residentMax: number
  /** Attempts at a message, action or effect during which the process died, after which its actor is quarantined. Default 3; Infinity turns counting off. */
  readonly suspectMax: number
  /** Restarts of durable children within one second: each shard takes its part, at least one, and further ones of it wait. Default 160: ten for each of 16 shards, and so ten of one run, whose agents share a shard. */
  readonly restartsPerSecondMax: number
  /** How long ids given to `send` and `start`, and answers, are remembered, ms. Default 24 hours. */
  readonly idRetentionMs: number
  /** How long the record of an actor that is done, stopped or failed is kept, ms. Default 7 days. */
  readonly endedRetentionMs: number
  /** Messages set aside for one actor, inclusive; further ones become dead letters. Default 1,000. */
  readonly parkedMax: number
  /** Dead letters kept per shard; the oldest go. Default 10,000. */
  readonly deadLettersMax: number
  /** Entries of one stream of `append`, kept per actor or shard; the oldest go. Default 100,000. */
  readonly streamMax: number
  /** Lease of a shard, ms: how long after its owner's last sign of life another may take it. Default 5,000. */
  readonly leaseMs: number
  /** How often the store is asked what it can be trusted with, ms, 100 to 86,400,000; Infinity: only when it is opened or says that it has changed. Default 10,000. */
  readonly checkMs: number
  /** How long named actions that have run may wait for a commit to confirm them with, ms. Default 50. */
  readonly confirmDelayMs: number
  /**
   * What an actor keeps of at least this length (a text, a list, an object; UTF-16 units of its JSON) is stored once for all
   * of its record that holds it. Below some 100 that takes more room than it saves; Infinity keeps all in place. Default 16,384.
   */
  readonly largeValueCharsMin: number
  /** Deep-freeze stored contexts, so that code that mutates them in place throws there. Default: unless NODE_ENV is production. */
  readonly freeze: boolean
}

const defaults: Omit<RuntimeOptions, 'freeze'> = {
  batchTurnsMax: 128,
  batchCharsMax: 262_144,
  lanesMax: 2,
  residentMax: 10_000,
  suspectMax: 3,
  restartsPerSecondMax: 160,
  idRetentionMs: 24 * 3_600_000,
  endedRetentionMs: 7 * 24 * 3_600_000,
  parkedMax: 1_000,
  deadLettersMax: 10_000,
  streamMax: 100_000,
  leaseMs: 5_000,
  checkMs: 10_000,
  confirmDelayMs: 50,
  largeValueCharsMin: 16_384,
}

const orInfinite = new Set(['suspectMax', 'checkMs', 'largeValueCharsMin'])

const runtimeOptionNames: readonly string[] = [...Object.keys(defaults), 'freeze']

/** Takes what is its own of the options given. */
export function resolveOptions(given: object, production: boolean): RuntimeOptions {
  const own = Object.entries(given).filter(([name, value]) => runtimeOptionNames.includes(name) && value !== undefined)
  const options: RuntimeOptions = { ...defaults, freeze: !production, ...Object.fromEntries(own) }
  for (const [name, value] of Object.entries(options)) {
    if (name === 'freeze') continue
    if (name === 'checkMs' && !(value === Infinity || (Number.isSafeInteger(value) && (value as number) >= 100 && (value as number) <= 86_400_000))) throw new ConfigError(`checkMs: expected a whole number from 100 to 86400000, or Infinity, got ${String(value)}.`)
    const whole = Number.isSafeInteger(value) && (value as number) >= 1
    if (!whole && !(orInfinite.has(name) && value === Infinity)) throw new ConfigError(`${name}: expected a whole number of at least 1, got ${String(value)}.`)
  }
  return options
}

// ── A system as a whole ──

/** Beside those of the runtime. */
const ownOptionNames = ['store', 'machines', 'namespace', 'shards', 'backlogMax', 'logMax', 'unsafe', 'logger', 'limits', 'clock', 'ids', 'node', 'inspect', 'onRollback', 'durabilityMin', 'witness']

/** @throws ConfigError for what no system can be made of */
export function checkSystemOptions(options: ActorSystemOptions): void {
  const { store, machines, namespace = 'default', shards = 1, backlogMax = 1, logMax = 1, limits = {}, logger = silentLogger, inspect, onRollback = 'halt', durabilityMin = 'D0', witness } = (options ?? {}) as Partial<ActorSystemOptions>
  const names = [...ownOptionNames, ...runtimeOptionNames]
  const unknown = Object.keys(options ?? {}).find((name) => !names.includes(name))
  if (unknown !== undefined) throw new ConfigError(`${unknown}: there is no such option (there are: ${names.join(', ')}).`)
  if (typeof store?.open !== 'function') throw new ConfigError(`store: expected a store such as lmdbStore('./data'), got ${store === undefined ? 'none' : typeof store}.`)
  if (!Array.isArray(machines)) throw new ConfigError(`machines: expected an array of machines, got ${typeof machines}.`)
  checkId('namespace', namespace)
  if (!(Number.isSafeInteger(shards) && shards >= 1 && shards <= 1_024)) throw new ConfigError(`shards: expected 1 to 1024, got ${shards}.`)
  for (const [name, value] of Object.entries({ backlogMax, logMax, ...limits })) {
    if (!(Number.isSafeInteger(value) && value >= 1)) throw new ConfigError(`${name}: expected a whole number of at least 1, got ${String(value)}.`)
  }
  if (inspect !== undefined && typeof inspect !== 'function' && typeof inspect?.next !== 'function') throw new ConfigError(`inspect: expected a function or an object with the method next, such as createWebSocketInspector({ url }).inspect gives, got ${inspect === null ? 'null' : typeof inspect}.`)
  if (onRollback !== 'halt' && onRollback !== 'go-on') throw new ConfigError(`onRollback: expected "halt" or "go-on", got ${JSON.stringify(onRollback)}.`)
  if (!['D0', 'D1', 'D2', 'D3'].includes(durabilityMin)) throw new ConfigError(`durabilityMin: expected "D0", "D1", "D2" or "D3", got ${JSON.stringify(durabilityMin)}.`)
  if (witness !== undefined && !['recall', 'tell', 'forget'].every((name) => typeof (witness as unknown as Record<string, unknown> | null)?.[name] === 'function')) throw new ConfigError(`witness: expected one with the methods recall, tell and forget, as fileWitness(folder) gives, got ${witness === null ? 'null' : typeof witness}.`)
  for (const level of ['error', 'warn', 'info', 'debug', 'trace'] as const) if (typeof logger[level] !== 'function') throw new ConfigError(`logger: expected one with the method ${level}, as pino has.`)
}

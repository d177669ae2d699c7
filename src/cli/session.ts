/**
 * Opens what a command works on: the store, the trace store beside it, and the mesh with the research crew. All of that is
 * loaded only here, so that help and mistakes need not wait for it.
 */
import { access } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { ConfigError, MoveError } from '../errors.js'
import type { Mesh } from '../mesh/mesh.js'
import type { ModelRef } from '../mesh/model-call.js'
import type { RunDefinition } from '../mesh/define-run.js'
import type { RunHandle, RunStatus } from '../mesh/run-handle.js'
import type { JsonlTraceStore } from '../adapters/jsonl/index.js'
import type { RedisTraceStore } from '../adapters/redis/index.js'
import type { MovableStore } from '../runtime/ports/moving.js'
import type { Given } from './command.js'
import { UsageError } from './exit.js'
import { checkDrill, drillModels, drillPolicies } from './research/drill.js'
import type { Terminal } from './terminal.js'

export interface Session {
  readonly mesh: Mesh
  readonly research: RunDefinition
  /** How the store is named on a command line; empty for the default. */
  readonly storeOption: string
  stop(): Promise<void>
}

/**
 * How often the process may die over one effect before that is set aside. Not the three of a service: what ends this
 * process is more often a person who presses a key than the effect itself, each of its effects may run again (agents
 * read, models are asked under a ceiling, publishing asks first), and somebody sees it die. Not Infinity either: what
 * does kill the process each time must not keep every other run of the store from going on.
 */
const suspectMax = 20

const levels = new Set(['trace', 'debug', 'info', 'warn', 'error', 'silent'])
const defaultStore = '.holdfast'

/**
 * @param as owner: run what is there, unless another process does. client: only look, decide and send, whatever the store loses: `doctor` says so
 * @param begins it may be new: the store, or only the namespace in it
 * @throws ConfigError for a store or namespace that is not there, unless it may begin
 */
export async function openSession(given: Given, terminal: Terminal, as: 'owner' | 'client', begins: boolean | 'namespace' = false): Promise<Session> {
  const level = given.strings['log-level'] ?? terminal.env['HOLDFAST_LOG'] ?? 'error'
  if (!levels.has(level)) throw new UsageError(`--log-level: expected ${[...levels].join(', ')}, got "${level}".`)
  const [{ pino }, { createMesh }, { researchRun }, { inspectionMachine }] = await Promise.all([import('pino'), import('../mesh/mesh.js'), import('./research/crew.js'), import('./inspection.js')])
  const logger = pino({ level, base: { pid: process.pid } }, pino.destination({ fd: 2, sync: true }))
  const where = given.strings['store'] ?? terminal.env['HOLDFAST_STORE'] ?? defaultStore
  const namespace = given.strings['namespace'] ?? 'research'
  if (begins !== true) await mustExist(where, terminal.cwd)
  const { store, traces, place } = await storesAt(where, namespace, terminal.cwd)
  if (!begins) await mustHold(store, place, namespace)
  const leaseMs = leaseOf(given)
  const drill = checkDrill(given.strings['drill'])
  const research = researchRun(await models(terminal.env, drill))
  const inspection = inspectionMachine(() => mesh.system, logger)
  const mesh: Mesh = createMesh({ store, traces, namespace, logger, runs: [research], machines: [inspection], suspectMax, ...(drill ? { policies: drillPolicies } : {}), ...(given.flags['unsafe'] || as === 'client' ? { unsafe: true } : {}), ...(leaseMs === undefined ? {} : { leaseMs }) })
  try {
    await (as === 'owner' ? mesh.start() : mesh.startAsClient())
  } catch (error) {
    await mesh.stop().catch(() => {})
    throw error
  }
  const storeOption = [where === defaultStore || given.strings['store'] === undefined ? '' : ` --store ${shellWord(withoutPassword(where))}`, given.strings['namespace'] === undefined ? '' : ` --namespace ${shellWord(namespace)}`].join('')
  return { mesh, research, storeOption, stop: () => mesh.stop() }
}

export function leaseOf(given: Given): number | undefined {
  const lease = given.strings['lease-ms']
  if (lease !== undefined && !/^[1-9]\d{0,8}$/.test(lease)) throw new UsageError(`--lease-ms: expected a whole number of at least 1, got "${lease}".`)
  return lease === undefined ? undefined : Number(lease)
}

/** As a shell must be given it to read it as one word. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

/** Hints end in logs and on screens that others see. */
export function withoutPassword(store: string): string {
  if (!isUrl(store) || !URL.canParse(store)) return store
  const url = new URL(store)
  if (url.password !== '') url.password = '***'
  for (const name of url.searchParams.keys()) if (/pass|secret|token/i.test(name)) url.searchParams.set(name, '***')
  return url.password === '' && url.search === '' ? store : url.href
}

const isUrl = (where: string): boolean => /^[a-z][a-z0-9+.-]+:\/\//i.test(where)

/** Looking, deciding and going on begin no store: its name may be mistyped. */
export async function mustExist(where: string, cwd: string): Promise<void> {
  if (isUrl(where)) return
  const error = await access(join(resolve(cwd, where), 'data.mdb')).then(
    () => undefined,
    (thrown: unknown) => thrown as NodeJS.ErrnoException,
  )
  if (error?.code === 'ENOENT') throw new ConfigError(`There is no store at ${where}, so no run is kept there. Begin one with holdfast research, or name another --store.`)
}

/** A namespace that is made because somebody looks has shards in a number that its service may not want, and hides that its name was mistyped. */
async function mustHold(store: MovableStore, place: string, namespace: string): Promise<void> {
  try {
    await store.open({ namespace, moving: 'from' })
  } catch (error) {
    if (!(error instanceof MoveError && error.reason === 'missing')) throw error
    throw new ConfigError(`There is no namespace "${namespace}" at ${place}, so nothing is kept there. Name another with --namespace: a service has "default" unless it names one, holdfast research has "research".`)
  } finally {
    await store.close()
  }
}

export interface Stores {
  readonly store: MovableStore
  readonly traces: JsonlTraceStore | RedisTraceStore
  /** Where that is, for people. */
  readonly place: string
}

/**
 * Makes the stores of a place; nothing is opened yet.
 *
 * @param option the one that names it
 */
export async function storesAt(where: string, namespace: string, cwd: string, option = 'store'): Promise<Stores> {
  if (/^rediss?:\/\//.test(where)) {
    const { redisStore, RedisTraceStore } = await optional(() => import('../adapters/redis/index.js'), 'ioredis')
    return { store: redisStore(where), traces: new RedisTraceStore(where, { namespace }), place: withoutPassword(where) }
  }
  if (isUrl(where)) throw new UsageError(`--${option}: expected a folder or redis://…, got "${withoutPassword(where)}".`)
  const [{ lmdbStore }, { JsonlTraceStore }] = await Promise.all([import('../adapters/lmdb/index.js'), import('../adapters/jsonl/index.js')])
  const folder = resolve(cwd, where)
  return { store: lmdbStore(folder), traces: new JsonlTraceStore(join(folder, 'traces', namespace)), place: folder }
}

export const anthropicDefault = 'claude-sonnet-5-5'
export const offlineName = 'offline/extractive'

/** Every model that a run may name in this process. The first one is used unless the run names another. */
async function models(env: Terminal['env'], drill: boolean): Promise<ModelRef[]> {
  const { offlineResearch } = await import('./research/skills.js')
  if (!drill) return soundModels(env, offlineResearch())
  const { outOfOrder, offline } = drillModels(offlineResearch())
  // Last: who names no model means a sound one, and asks this one before it.
  return [...(await soundModels(env, offline)), outOfOrder]
}

async function soundModels(env: Terminal['env'], offline: ModelRef): Promise<ModelRef[]> {
  if ((env['ANTHROPIC_API_KEY'] ?? '') === '') return [offline]
  const { anthropic } = await optional(() => import('../adapters/anthropic/index.js'), '@anthropic-ai/sdk')
  const { modelOf } = await import('../mesh/model-call.js')
  const client = anthropic()
  const named = (env['HOLDFAST_MODEL'] ?? '').replace(/^anthropic\//, '')
  const ids = [...new Set([named === '' || named.startsWith('offline/') ? anthropicDefault : named, anthropicDefault])]
  return [...ids.map((id) => modelOf(client, id)), offline]
}

/** A package that only those need who use this. */
async function optional<T>(load: () => Promise<T>, name: string): Promise<T> {
  try {
    return await load()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new ConfigError(`This needs the package ${name}, which is not installed. Run: npm install ${name}`)
  }
}

/** @throws ConfigError if there is no such run */
export async function existingRun(session: Session, id: string): Promise<{ run: RunHandle; status: RunStatus }> {
  const run = session.mesh.handle(session.research, id)
  const status = await run.status()
  if (status) return { run, status }
  const known = (await session.mesh.list(session.research, { limit: 20 })).map((other) => other.id)
  throw new ConfigError(`There is no run ${id}.${known.length === 0 ? ' No run is kept here; begin one with holdfast research.' : ` There are: ${known.join(', ')}.`}`)
}

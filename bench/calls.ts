/**
 * What a model call costs in the mesh beside a bare call of the SDK to the same server, which stands in a process of its
 * own: time, CPU, and writes of the store. A call is counted from when its prompt can be made until its answer is on record:
 * intent, permit, attempt, outcome. What the agent does before (its start, what it gathers) is not of the call.
 */
import Anthropic from '@anthropic-ai/sdk'
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { createMesh, defineAgent, modelOf, type Mesh, type PolicyOptions, type Store } from 'holdfast'
import { anthropic } from 'holdfast/anthropic'
import { redisStore } from 'holdfast/redis'
import { z } from 'zod'
import { answer, AnthropicServer } from '../test/support/anthropic-server.js'
import { RedisServer } from '../test/support/redis-server.js'
import { percentile, type Figure } from './figure.js'

const calls = 200
/** Further calls of an agent that has its answer derived again. */
const derivations = 40
const goal = { text: 'otters', digest: createHash('sha256').update('otters').digest('hex').slice(0, 32) }
const modelName = 'claude-sonnet-4-6'
const prompt = `Which animal holds hands while it sleeps? ${'Give a short answer and nothing else. '.repeat(20)}`
const words = JSON.stringify({ claim: 'Otters hold hands so that they do not drift apart.' })

/** In a process of its own: answers at once. */
export async function serve(): Promise<never> {
  const server = await AnthropicServer.start()
  server.otherwise((request) => {
    server.requests.length = 0
    return answer({ text: words })(request)
  })
  console.log(server.baseURL)
  return new Promise(() => {})
}

interface Provider {
  readonly baseURL: string
  end(): void
}

async function startProvider(): Promise<Provider> {
  const child = spawn(process.execPath, [process.argv[1]!, '--serve'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [baseURL] = (await once(createInterface(child.stdout), 'line')) as [string]
  return { baseURL, end: () => void child.kill() }
}

/** What is asked of a store that writes, by name. */
class Counted {
  readonly counts = new Map<string, number>()
  readonly store: Store

  constructor(store: Store) {
    const writes = new Set<PropertyKey>(['commit', 'append', 'deliver', 'load', 'log', 'reply', 'find'])
    this.store = new Proxy(store, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target)
        if (typeof value !== 'function') return value
        return (...args: unknown[]): unknown => {
          if (writes.has(name)) this.counts.set(String(name), (this.counts.get(String(name)) ?? 0) + 1)
          return Reflect.apply(value, target, args)
        }
      },
    })
  }

  get total(): number {
    return [...this.counts.values()].reduce((sum, count) => sum + count, 0)
  }
}

class Caller {
  private count = 0
  private readonly mesh: Mesh
  private readonly counted: Counted
  /** When the prompt of the call under way could be made. */
  begun = 0
  before = 0

  private constructor(mesh: Mesh, counted: Counted) {
    this.mesh = mesh
    this.counted = counted
  }

  static async start(baseURL: string, store: Store, policies: PolicyOptions): Promise<Caller> {
    const counted = new Counted(store)
    const model = modelOf(anthropic({ baseURL, apiKey: 'sk-ant-loopback' }), modelName)
    let self: Caller | undefined
    const common = {
      input: z.object({ question: z.string() }),
      output: z.object({ claim: z.string() }),
      model,
      prompt: ({ input }: { input: { question: string } }) => ({ messages: [{ role: 'user' as const, content: input.question }] }),
    }
    const researcher = defineAgent({
      ...common,
      name: 'researcher',
      gather: () => {
        self!.before = counted.total
        self!.begun = performance.now()
        return null
      },
    })
    const careful = defineAgent({ ...common, name: 'careful', verifyWith: { strategy: 'rederivation', times: derivations } })
    const mesh = await createMesh({ store: counted.store, agents: [researcher, careful], policies, history: false }).start()
    return (self = new Caller(mesh, counted))
  }

  /** From when its prompt can be made until its answer is on record. */
  async call(): Promise<{ readonly ms: number; readonly trips: number }> {
    await this.work('researcher')
    return { ms: performance.now() - this.begun, trips: this.counted.total - this.before }
  }

  /** A task of an agent, from its start to its end. */
  async work(agent: 'researcher' | 'careful'): Promise<void> {
    const id = `c${this.count++}`
    const actor = this.mesh.system.actorAt(`${agent}/${id}`)
    const task = { id, origin: id, input: { question: prompt }, goal, grant: { tokens: 1e9, calls: 1_000, nanoDollars: 1e12 }, run: 'bench', tenant: 'acme' }
    await actor.start({ input: { task } as never })
    const output = (await actor.output()) as { outcome: string; failure: unknown }
    if (output.outcome !== 'done') throw new Error(JSON.stringify(output))
  }

  stop(): Promise<void> {
    return this.mesh.stop()
  }
}

const none: PolicyOptions = { models: { '*': { breaker: false, bulkhead: false } }, providers: { '*': { limit: false } }, agents: { '*': { breaker: false } } }
const wide = { requestsMax: 1_000_000, tokensMax: 1e12, windowMs: 60_000 }
/** What each adds to the default ones. */
const sets: Readonly<Record<string, PolicyOptions>> = {
  none,
  default: {},
  limits: { providers: { anthropic: { limit: wide } }, tenants: { '*': { limit: wide } }, agents: { '*': { limit: wide } } },
}

async function bareCall(client: Anthropic): Promise<number> {
  const started = performance.now()
  await client.messages.stream({ model: modelName, max_tokens: 4_096, messages: [{ role: 'user', content: prompt }] }).finalMessage()
  return performance.now() - started
}

export function callOverhead(what: 'p50' | 'p99' | 'cpu'): () => Promise<Figure> {
  return async () => {
    const [server, provider] = [await RedisServer.start({ appendfsync: 'everysec' }), await startProvider()]
    const caller = await Caller.start(provider.baseURL, redisStore(server.url), {})
    const client = new Anthropic({ baseURL: provider.baseURL, apiKey: 'sk-ant-loopback', maxRetries: 0 })
    const cpuOf = async (times: number, work: () => Promise<unknown>): Promise<number> => {
      const before = process.cpuUsage()
      for (let i = 0; i < times; i++) await work()
      const { user, system } = process.cpuUsage(before)
      return (user + system) / 1_000 / times
    }
    let bare = 0
    const overhead = async (): Promise<number> => {
      if (what === 'cpu') {
        const tasks = calls / derivations
        const [one, many] = [await cpuOf(tasks, () => caller.work('researcher')), await cpuOf(tasks, () => caller.work('careful'))]
        bare = await cpuOf(calls, () => bareCall(client))
        return (many - one) / derivations - bare
      }
      const [ours, theirs]: [number[], number[]] = [[], []]
      // By turns, so that what else the machine does falls on both.
      for (let i = 0; i < calls; i++) {
        theirs.push(await bareCall(client))
        ours.push((await caller.call()).ms)
      }
      const share = what === 'p50' ? 0.5 : 0.99
      bare = percentile(theirs, share)
      return percentile(ours, share) - bare
    }
    return {
      figure: `call.overhead.${what}`,
      what: what === 'cpu' ? 'CPU that one more call of an agent takes beyond what a bare SDK call takes' : 'from when the prompt can be made until the answer is on record, less a bare SDK call',
      unit: 'ms',
      ours: { name: 'overhead', run: overhead },
      against: [
        { name: 'what is aimed at', run: () => (what === 'cpu' ? 0.3 : 1), ...(what === 'p99' ? {} : { target: '<= 1' }) },
        { name: 'bare SDK call', run: () => bare },
      ],
      end: async () => {
        await caller.stop()
        provider.end()
        await server.stop()
      },
    }
  }
}

/** Calls of a store, all told, of one model call. */
export function callTrips(set: string): () => Promise<Figure> {
  return async () => {
    const [server, provider] = [await RedisServer.start({ appendfsync: 'everysec' }), await startProvider()]
    const caller = await Caller.start(provider.baseURL, redisStore(server.url), sets[set]!)
    return {
      figure: `call.trips.${set}`,
      what: `calls of the store that one model call makes, policies: ${set}`,
      unit: 'calls',
      ours: {
        name: 'calls of the store',
        run: async () => {
          let sum = 0
          for (let i = 0; i < calls; i++) sum += (await caller.call()).trips
          return sum / calls
        },
      },
      against: [{ name: 'intent and outcome', run: () => 2, ...(set === 'default' ? { target: '<= 1.1' } : {}) }],
      end: async () => {
        await caller.stop()
        provider.end()
        await server.stop()
      },
    }
  }
}

export const tripSets = Object.keys(sets)

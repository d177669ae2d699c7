/**
 * What the durable figures are held against: loops that nobody could ship, and what one writes without us.
 *
 * The ideal loop steps native actors, writes each turn's whole snapshot, its outgoing message and its timer, and the read
 * position, with one unchecked write per batch of 128 turns, and reads what came in back from the same log. Two lanes of
 * shards have one batch in flight each. It has no fence, no checks, no ids, no recovery.
 */
import { open as openLmdb } from 'lmdb'
import { Redis } from 'ioredis'
import { createActor, type Actor } from 'xstate'
import { agent, patienceMs, type AgentEvent } from './skeleton.js'

type Pass = Extract<AgentEvent, { type: 'agent.pass' }>

/** One message in a lane's log. */
interface Mail {
  readonly to: number
  readonly event: Pass
}

/** Where an ideal loop writes. */
export interface IdealLog {
  read(lane: number, after: string, max: number): Promise<readonly { readonly seq: string; readonly text: string }[]>
  /** One write: snapshots, timers and messages of a batch, and how far it has read. */
  commit(lane: number, position: string, turns: readonly Written[], messages: readonly string[]): Promise<unknown>
}

interface Written {
  readonly actor: number
  readonly snapshot: string
  readonly dueAt: number
}

const batchMax = 128
const lanes = 2

export class IdealLoop {
  private readonly actors: Actor<typeof agent>[]
  private readonly log: IdealLog
  private readonly positions: string[]

  constructor(n: number, log: IdealLog, first: string) {
    this.log = log
    this.positions = Array.from({ length: lanes }, () => first)
    this.actors = Array.from({ length: n }, (_, i) => createActor(agent, { input: { next: `agent/a-${nextOf(i, n)}` } }).start())
  }

  /** Sends each agent a message that is passed on so often; resolves with the number of turns when all have ended. */
  async run(hops: number, note: string): Promise<number> {
    const n = this.actors.length
    const active = Math.min(lanes, n)
    await Promise.all(
      Array.from({ length: active }, async (_, lane) => {
        const mine = this.actors.map((_, i) => i).filter((i) => i % active === lane)
        for (let i = 0; i < mine.length; i += batchMax) {
          const mails = mine.slice(i, i + batchMax).map((to) => JSON.stringify({ to, event: { type: 'agent.pass', note, hops } } satisfies Mail))
          await this.log.commit(lane, this.positions[lane]!, [], mails)
        }
        await this.drive(lane, mine.length * (hops + 1))
      }),
    )
    return n * (hops + 1)
  }

  private async drive(lane: number, turns: number): Promise<void> {
    for (let done = 0; done < turns; ) {
      const entries = await this.log.read(lane, this.positions[lane]!, batchMax)
      const written: Written[] = []
      const messages: string[] = []
      const at = Date.now()
      for (const { text } of entries) {
        const { to, event } = JSON.parse(text) as Mail
        const actor = this.actors[to]!
        actor.send(event)
        written.push({ actor: to, snapshot: JSON.stringify(actor.getPersistedSnapshot()), dueAt: at + patienceMs })
        if (event.hops > 0) messages.push(JSON.stringify({ to: nextOf(to, this.actors.length), event: { ...event, hops: event.hops - 1 } } satisfies Mail))
      }
      this.positions[lane] = entries.at(-1)!.seq
      await this.log.commit(lane, this.positions[lane]!, written, messages)
      done += entries.length
    }
  }

  stop(): void {
    for (const actor of this.actors) actor.stop()
  }
}

/** The next agent of the same lane. */
function nextOf(i: number, n: number): number {
  return n === 1 ? 0 : (i + lanes) % n
}

const script = `
local n = tonumber(ARGV[2])
local i = 3
for _ = 1, n do
  redis.call('HSET', KEYS[2] .. ARGV[i], 's', ARGV[i + 1])
  redis.call('ZADD', KEYS[3], ARGV[i + 2], ARGV[i])
  i = i + 3
end
for j = i, #ARGV do redis.call('XADD', KEYS[1], '*', 'm', ARGV[j]) end
redis.call('HSET', KEYS[4], 'position', ARGV[1])
redis.call('XTRIM', KEYS[1], 'MINID', '~', ARGV[1])
return 1`

export async function redisIdeal(url: string, name: string): Promise<{ readonly log: IdealLog; readonly first: string; readonly end: () => void }> {
  const redis = new Redis(url)
  const sha = (await redis.script('LOAD', script)) as string
  const key = (lane: number, what: string): string => `ideal:${name}:{${lane}}:${what}`
  return {
    first: '0',
    end: () => redis.disconnect(),
    log: {
      read: async (lane, after, max) => {
        const answer = await redis.xread('COUNT', max, 'STREAMS', key(lane, 'log'), after)
        return (answer?.[0]?.[1] ?? []).map(([seq, fields]) => ({ seq, text: fields[1]! }))
      },
      commit: (lane, position, turns, messages) => {
        const args: string[] = [position, String(turns.length)]
        for (const { actor, snapshot, dueAt } of turns) args.push(String(actor), snapshot, String(dueAt))
        for (const message of messages) args.push(message)
        return redis.evalsha(sha, 4, key(lane, 'log'), key(lane, 'actor:'), key(lane, 'timers'), key(lane, 'meta'), ...args)
      },
    },
  }
}

/** As the store opens it: a write resolves when it is on disk. */
const flushed = { encoding: 'string', overlappingSync: false, eventTurnBatching: false } as const

export function lmdbIdeal(path: string): { readonly log: IdealLog; readonly first: string; readonly end: () => Promise<void> } {
  const db = openLmdb<string, (string | number)[]>({ path, ...flushed })
  const tails = Array.from({ length: lanes }, () => 0)
  const trimmed = Array.from({ length: lanes }, () => 0)
  return {
    first: '0',
    end: () => db.close(),
    log: {
      read: (lane, after, max) =>
        Promise.resolve([...db.getRange({ start: ['log', lane, Number(after) + 1], end: ['log', lane, Number.MAX_SAFE_INTEGER], limit: max })].map(({ key, value }) => ({ seq: String(key[2]), text: value }))),
      commit: (lane, position, turns, messages) =>
        db.transaction(() => {
          for (const { actor, snapshot, dueAt } of turns) {
            void db.put(['actor', lane, actor], snapshot)
            void db.put(['timer', lane, actor], String(dueAt))
          }
          for (const message of messages) void db.put(['log', lane, ++tails[lane]!], message)
          void db.put(['position', lane], position)
          while (trimmed[lane]! < Number(position)) void db.remove(['log', lane, ++trimmed[lane]!])
        }),
    },
  }
}

// ── What one writes without us ──

/** Where today's code keeps a snapshot. */
export interface Snapshots {
  get(actor: number): Promise<string>
  set(actor: number, text: string): Promise<unknown>
}

/** A live actor each, and its snapshot written after each event; all at once. */
export class TodayLive {
  private readonly actors: Actor<typeof agent>[]
  private readonly snapshots: Snapshots
  constructor(n: number, snapshots: Snapshots, goal?: string) {
    this.snapshots = snapshots
    this.actors = Array.from({ length: n }, (_, i) => createActor(agent, { input: { next: `agent/a-${i}`, ...(goal === undefined ? {} : { goal }) } }).start())
  }
  async run(hops: number, note: string): Promise<number> {
    await Promise.all(
      this.actors.map(async (actor, i) => {
        for (let left = hops; left >= 0; left--) {
          actor.send({ type: 'agent.pass', note, hops: left })
          await this.snapshots.set(i, JSON.stringify(actor.getPersistedSnapshot()))
        }
      }),
    )
    return this.actors.length * (hops + 1)
  }
  stop(): void {
    for (const actor of this.actors) actor.stop()
  }
}

/** The snapshot read, an actor made of it, and written again, for each event; all at once. */
export class TodayRestore {
  private readonly n: number
  private readonly snapshots: Snapshots
  constructor(n: number, snapshots: Snapshots) {
    this.n = n
    this.snapshots = snapshots
  }
  async fill(): Promise<void> {
    await Promise.all(
      Array.from({ length: this.n }, (_, i) => {
        const actor = createActor(agent, { input: { next: `agent/a-${i}` } }).start()
        const text = JSON.stringify(actor.getPersistedSnapshot())
        actor.stop()
        return this.snapshots.set(i, text)
      }),
    )
  }
  async run(hops: number, note: string): Promise<number> {
    await Promise.all(
      Array.from({ length: this.n }, async (_, i) => {
        for (let left = hops; left >= 0; left--) {
          const actor = createActor(agent, { snapshot: JSON.parse(await this.snapshots.get(i)) as never, input: undefined as never }).start()
          actor.send({ type: 'agent.pass', note, hops: left })
          const text = JSON.stringify(actor.getPersistedSnapshot())
          actor.stop()
          await this.snapshots.set(i, text)
        }
      }),
    )
    return this.n * (hops + 1)
  }
}

export function redisSnapshots(url: string, name: string): Snapshots & { readonly end: () => void } {
  const redis = new Redis(url, { enableAutoPipelining: true })
  return {
    get: async (actor) => (await redis.get(`today:${name}:${actor}`))!,
    set: (actor, text) => redis.set(`today:${name}:${actor}`, text),
    end: () => redis.disconnect(),
  }
}

export function lmdbSnapshots(path: string): Snapshots & { readonly end: () => Promise<void> } {
  const db = openLmdb<string, number>({ path, ...flushed, eventTurnBatching: true })
  return {
    get: (actor) => Promise.resolve(db.get(actor)!),
    set: (actor, text) => db.put(actor, text),
    end: () => db.close(),
  }
}

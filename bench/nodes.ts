/**
 * Nodes as processes of their own on one Redis: how long anybody who asks waits when shards move, and whether two of them do
 * as much as one.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { createActorSystem, createClient, refTo, reply, type Client } from 'holdfast'
import { redisStore } from 'holdfast/redis'
import { assign, sendTo, setup } from 'xstate'
import { RedisServer } from '../test/support/redis-server.js'
import { rateOf, type Figure } from './figure.js'

const leaseMs = 2_000
const actors = 32
const shards = 16

const tally = setup({
  types: { context: {} as { n: number }, events: {} as { type: 'add' } },
  actions: { count: assign({ n: ({ context }) => context.n + 1 }), answer: reply(({ context }) => context.n) },
}).createMachine({ id: 'tally', context: { n: 0 }, on: { add: { actions: ['count', 'answer'] } } })

/** Passes on what it gets so often, to an actor of any shard; the last one tells `tally/all`. */
const relay = setup({
  types: { context: {} as { next: string; note: string }, input: {} as { next: string }, events: {} as { type: 'go'; note: string; hops: number } },
  actions: {
    note: assign({ note: ({ event }) => event.note }),
    pass: sendTo(({ context }) => refTo(context.next), ({ event }) => ({ type: 'go' as const, note: event.note, hops: event.hops - 1 })),
    tell: sendTo(refTo('tally/all'), { type: 'add' }),
  },
  guards: { hasFarther: ({ event }) => event.hops > 0 },
}).createMachine({
  id: 'relay',
  context: ({ input }) => ({ next: input.next, note: '' }),
  on: { go: [{ guard: 'hasFarther', actions: ['note', 'pass'] }, { actions: ['note', 'tell'] }] },
})

/** In a process of its own: a node until SIGTERM, which says how many shards it has. */
export async function node(url: string): Promise<never> {
  const system = createActorSystem({ store: redisStore(url), machines: [tally, relay], leaseMs, shards })
  process.on('SIGTERM', () => void system.stop().then(() => process.exit(0)))
  await system.start()
  let before = -1
  setInterval(() => {
    const now = system.owned.shards.length
    if (now !== before) console.log(now)
    before = now
  }, 2)
  return new Promise(() => {})
}

interface Node {
  readonly child: ChildProcess
  owned: number
}

/** Some nodes, and a client that asks every actor again as soon as it has been answered. */
class Scene {
  readonly nodes: Node[] = []
  readonly answers: { readonly at: number; readonly ms: number }[] = []
  readonly server: RedisServer
  readonly client: Client
  private isOver = false
  private asking: Promise<unknown> = Promise.resolve()

  private constructor(server: RedisServer, client: Client) {
    this.server = server
    this.client = client
  }

  static async open(): Promise<Scene> {
    const server = await RedisServer.start({ appendfsync: 'everysec' })
    const first = await started(server.url)
    const scene = new Scene(server, await createClient({ store: redisStore(server.url), machines: [tally, relay] }))
    scene.nodes.push(first)
    await scene.even()
    return scene
  }

  /** From now on every actor is asked, again and again. */
  askAll(): void {
    this.asking = Promise.all(Array.from({ length: actors }, (_, i) => this.ask(`t${i}`)))
  }

  private async ask(id: string): Promise<void> {
    const actor = this.client.actor(tally, id)
    while (!this.isOver) {
      const at = performance.now()
      await actor.ask({ type: 'add' }, { deadlineMs: 60_000 })
      this.answers.push({ at, ms: performance.now() - at })
      // Load, but not as much as there could be: the wait is to be that for the shard, not that for the processor.
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  async join(): Promise<void> {
    this.nodes.push(await started(this.server.url))
  }

  async end(node: Node, signal: NodeJS.Signals): Promise<void> {
    this.nodes.splice(this.nodes.indexOf(node), 1)
    const exited = once(node.child, 'exit')
    node.child.kill(signal)
    await exited
  }

  /** Resolves when the nodes have equal parts, and everybody has been answered since. */
  async even(): Promise<void> {
    const isEven = (): boolean => {
      const owned = this.nodes.map((each) => each.owned)
      return owned.reduce((a, b) => a + b, 0) === shards && Math.max(...owned) - Math.min(...owned) <= 1
    }
    while (!isEven()) await new Promise((resolve) => setTimeout(resolve, 2))
    await new Promise((resolve) => setTimeout(resolve, 100))
  }

  /** The longest wait for an answer during what is done. */
  async longestWait(act: () => Promise<void>): Promise<number> {
    const from = performance.now()
    await act()
    await this.even()
    return this.answers.reduce((most, { at, ms }) => (at + ms >= from ? Math.max(most, ms) : most), 0)
  }

  async close(): Promise<void> {
    this.isOver = true
    await this.asking
    await this.client.stop()
    for (const each of [...this.nodes]) await this.end(each, 'SIGTERM')
    await this.server.stop()
  }
}

async function started(url: string): Promise<Node> {
  const child = spawn(process.execPath, [process.argv[1]!, '--node', url], { stdio: ['ignore', 'pipe', 'inherit'] })
  const own: Node = { child, owned: 0 }
  const lines = createInterface(child.stdout)
  lines.on('line', (line) => (own.owned = Number(line)))
  await Promise.race([once(lines, 'line'), once(child, 'exit').then(() => Promise.reject(new Error('A node ended.')))])
  return own
}

async function figureOf(figure: string, what: string, allowedMs: number, run: (scene: Scene) => Promise<number>): Promise<Figure> {
  const scene = await Scene.open()
  scene.askAll()
  return {
    figure,
    what,
    unit: 'ms',
    ours: { name: 'longest wait', run: () => run(scene) },
    against: [{ name: 'what is aimed at', run: () => allowedMs, target: '<= 1' }],
    end: () => scene.close(),
  }
}

export function handOverJoin(): Promise<Figure> {
  return figureOf('handover.join', `the longest wait of ${actors} askers while a second node comes and takes half of the shards`, 250, async (scene) => {
    const ms = await scene.longestWait(() => scene.join())
    await scene.end(scene.nodes[1]!, 'SIGTERM')
    await scene.even()
    return ms
  })
}

export function handOverLeave(): Promise<Figure> {
  return figureOf('handover.leave', `the longest wait of ${actors} askers while one of two nodes stops on SIGTERM`, 250, async (scene) => {
    await scene.join()
    await scene.even()
    return scene.longestWait(() => scene.end(scene.nodes[0]!, 'SIGTERM'))
  })
}

export function takeOver(): Promise<Figure> {
  return figureOf('takeover', `the longest wait of ${actors} askers while one of two nodes is killed; lease ${leaseMs} ms`, leaseMs + 1_000, async (scene) => {
    await scene.join()
    await scene.even()
    return scene.longestWait(() => scene.end(scene.nodes[0]!, 'SIGKILL'))
  })
}

const relays = 500
const hops = 19

/** Two nodes and one take turns on the same actors, whose every message goes to another shard. */
export async function twoNodes(): Promise<Figure> {
  const scene = await Scene.open()
  const { client } = scene
  const all = Array.from({ length: relays }, (_, i) => client.actor(relay, `r${i}`))
  await Promise.all(all.map((actor, i) => actor.start({ input: { next: `relay/r${(i + 1) % relays}` } })))
  const end = client.actor(tally, 'all')
  const note = 'n'.repeat(160)
  let told = 0
  const rate = rateOf(async () => {
    await Promise.all(all.map((actor) => actor.send({ type: 'go', note, hops })))
    told += relays
    await end.waitFor((snapshot) => snapshot.context.n >= told, { deadlineMs: 120_000 })
    return relays * (hops + 1)
  })
  return {
    figure: 'nodes.two',
    what: `${relays} actors pass messages on to other shards, on two nodes and on one`,
    unit: 'turns/s',
    ours: {
      name: 'two nodes',
      run: async () => {
        if (scene.nodes.length < 2) await scene.join()
        await scene.even()
        return rate()
      },
    },
    against: [
      {
        name: 'one node',
        target: '>= 1',
        run: async () => {
          if (scene.nodes.length > 1) await scene.end(scene.nodes[1]!, 'SIGTERM')
          await scene.even()
          return rate()
        },
      },
    ],
    end: () => scene.close(),
  }
}

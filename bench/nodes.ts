/** Nodes as processes of their own on one Redis, asked by a client all the while: how long anybody waits when shards move. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { createActorSystem, createClient, reply, type Client } from 'holdfast'
import { redisStore } from 'holdfast/redis'
import { assign, setup } from 'xstate'
import { RedisServer } from '../test/support/redis-server.js'
import type { Figure } from './figure.js'

const leaseMs = 2_000
const actors = 32
const shards = 16

const tally = setup({
  types: { context: {} as { n: number }, events: {} as { type: 'add' } },
  actions: { count: assign({ n: ({ context }) => context.n + 1 }), answer: reply(({ context }) => context.n) },
}).createMachine({ id: 'tally', context: { n: 0 }, on: { add: { actions: ['count', 'answer'] } } })

/** In a process of its own: a node until SIGTERM, which says how many shards it has. */
export async function node(url: string): Promise<never> {
  const system = createActorSystem({ store: redisStore(url), machines: [tally], leaseMs, shards })
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
  private readonly client: Client
  private isOver = false
  private readonly asking: Promise<unknown>

  private constructor(server: RedisServer, client: Client) {
    this.server = server
    this.client = client
    this.asking = Promise.all(Array.from({ length: actors }, (_, i) => this.ask(`t${i}`)))
  }

  static async open(): Promise<Scene> {
    const server = await RedisServer.start({ appendfsync: 'everysec' })
    const first = await started(server.url)
    const scene = new Scene(server, await createClient({ store: redisStore(server.url), machines: [tally] }))
    scene.nodes.push(first)
    await scene.even()
    return scene
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

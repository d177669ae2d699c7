/**
 * Errands on a system whose store is in trouble, and their witnesses: a receiver that flushes every key (test/support/sink.ts),
 * and what was acknowledged to those who sent them. Nothing that the system says of itself counts.
 */
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { setup } from 'xstate'
import { createActorSystem, external, isHoldfastError, type ActorSystem, type ActorSystemOptions, type MovableStore } from '../../src/index.js'
import { runScript, type RunningScript } from './run-script.js'

/** The receiver, in a folder of its own. */
export class Receiver {
  private readonly folder: string
  private readonly script: RunningScript
  readonly url: string

  private constructor(folder: string, script: RunningScript, url: string) {
    this.folder = folder
    this.script = script
    this.url = url
  }

  static async start(): Promise<Receiver> {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-errands-'))
    await mkdir(join(folder, 'sink'))
    const script = await runScript('test/support/sink.ts', [join(folder, 'sink')])
    return new Receiver(folder, script, `http://127.0.0.1:${(await script.lines.next()).value as string}`)
  }

  /** What it has written of that namespace: `executed`, `repeated` or `conflict`, the key, and the digest of what came under it. */
  async log(namespace: string): Promise<readonly (readonly [what: string, key: string, digest: string])[]> {
    const text = await readFile(join(this.folder, 'sink', 'log'), 'utf8')
    return text.split('\n').flatMap((line) => {
      const [what = '', key = '', digest = ''] = line.split(' ')
      return key.startsWith(`${namespace}/`) ? [[what, key, digest] as const] : []
    })
  }

  async stop(): Promise<void> {
    this.script.end()
    await this.script.exited
    await rm(this.folder, { recursive: true })
  }
}

/** Gives the receiver its number, once, and is done. */
function errandOf(url: string) {
  return setup({
    types: { context: {} as { n: number }, input: {} as { n: number } },
    actors: {
      give: external({
        run: async ({ input, idempotencyKey, signal }: { input: number; idempotencyKey: string; signal: AbortSignal }) => (await fetch(url, { method: 'POST', headers: { 'Idempotency-Key': idempotencyKey }, body: String(input), signal })).status,
        reconcile: async ({ idempotencyKey }: { idempotencyKey: string }) => {
          const answer = await fetch(url, { headers: { 'Idempotency-Key': idempotencyKey } })
          return answer.status === 200 ? { happened: true as const, output: 200 } : { happened: false as const }
        },
      }),
    },
  }).createMachine({
    id: 'errand',
    context: ({ input }) => ({ n: input.n }),
    initial: 'giving',
    states: { giving: { invoke: { src: 'give', input: ({ context }) => context.n, onDone: 'done' } }, done: { type: 'final' } },
  })
}

export interface Counted {
  readonly acknowledged: number
  readonly executed: number
  readonly repeated: number
  /** Acknowledged, and lost with the store. */
  readonly lost: number
  /** Whether the store was said to have gone back in time. */
  readonly announced: boolean
  /** What must never be. */
  readonly violations: readonly string[]
}

export class Errands {
  readonly system: ActorSystem
  private readonly receiver: Receiver
  private readonly namespace: string
  private readonly machine: ReturnType<typeof errandOf>
  private readonly acknowledged = new Set<number>()
  private next = 0
  private isOver = false
  private pumping: Promise<unknown> | undefined

  constructor(receiver: Receiver, namespace: string, store: MovableStore, more: Partial<ActorSystemOptions> = {}) {
    this.receiver = receiver
    this.namespace = namespace
    this.machine = errandOf(receiver.url)
    this.system = createActorSystem({ store, namespace, machines: [this.machine], leaseMs: 1_000, checkMs: 100, ...more })
  }

  /** Some senders, each with one errand after the other, under ids of their own. */
  pump(senders = 4): void {
    this.pumping = Promise.all(Array.from({ length: senders }, () => this.send()))
  }

  private async send(): Promise<void> {
    while (!this.isOver) {
      const n = this.next++
      for (let given = false; !given && !this.isOver; ) {
        try {
          await this.system.actor(this.machine, `e${n}`).start({ input: { n }, deadlineMs: 2_000 })
          this.acknowledged.add(n)
          given = true
        } catch (error) {
          // It may be accepted all the same: the same id again.
          if (!isHoldfastError(error)) throw error
          await sleep(20)
        }
      }
      await sleep(2)
    }
  }

  get count(): number {
    return this.acknowledged.size
  }

  /** Resolves when so many more have been acknowledged. */
  async more(count: number, withinMs = 20_000): Promise<void> {
    const target = this.count + count
    for (const until = performance.now() + withinMs; this.count < target; await sleep(5)) {
      if (performance.now() > until) throw new Error(`only ${this.count - target + count} of ${count} further errands were acknowledged within ${withinMs} ms: ${(await this.halted()) ?? this.system.refusals.join(' ')}`)
    }
  }

  /** Why nothing is run, as far as it is known now. */
  halted(): Promise<string | undefined> {
    return this.system.halted().catch(() => undefined)
  }

  async executed(): Promise<ReadonlySet<number>> {
    const log = await this.receiver.log(this.namespace)
    return new Set(log.flatMap(([what, key]) => (what === 'executed' ? [Number(/errand\/e(\d+)\//.exec(key)?.[1])] : [])))
  }

  /**
   * Once the trouble is over: waits until all that was acknowledged is executed, or the store is said to have gone back in time.
   *
   * @param mayLose it may have, if that is announced; then nothing is executed until it is accepted, and all goes on after that
   */
  async end(mayLose = false, withinMs = 20_000): Promise<Counted> {
    const violations: string[] = []
    let announced = false
    let missing: number[] = []
    for (const until = performance.now() + withinMs; ; await sleep(20)) {
      const executed = await this.executed()
      missing = [...this.acknowledged].filter((n) => !executed.has(n))
      announced = (await this.halted()) !== undefined
      // Those who send on are to be heard of as well.
      if (announced || (missing.length === 0 && this.isOver)) break
      if (!this.isOver && missing.length < 20) await this.quiet()
      if (performance.now() > until) break
    }
    await this.quiet()
    if (announced) {
      if (!mayLose) violations.push(`it went back in time: ${(await this.halted()) ?? ''}`)
      await sleep(100)
      const before = (await this.receiver.log(this.namespace)).length
      await sleep(200)
      if ((await this.receiver.log(this.namespace)).length !== before) violations.push('something was executed although it was halted')
      await this.system.accept()
      const first = this.next
      this.isOver = false
      this.pump(1)
      await this.more(3).catch((error: unknown) => violations.push((error as Error).message))
      await this.quiet()
      for (const until = performance.now() + withinMs; performance.now() < until; await sleep(20)) {
        const executed = await this.executed()
        missing = [...this.acknowledged].filter((n) => !executed.has(n))
        if (!missing.some((n) => n >= first)) break
      }
      if (missing.some((n) => n >= first)) violations.push('what was acknowledged after it was accepted was not executed')
    } else if (missing.length === 0) {
      const there = await Promise.all([...this.acknowledged].map((n) => this.isThere(n)))
      const gone = there.filter((isThere) => !isThere).length
      if (gone > 0) violations.push(`${gone} errands were acknowledged and are not in the store, and nobody says so`)
    } else violations.push(`${missing.length} errands were acknowledged and not executed: ${missing.slice(0, 5).join(', ')}`)
    const log = await this.receiver.log(this.namespace)
    const executed = log.filter(([what]) => what === 'executed')
    if (new Set(executed.map(([, key]) => key)).size !== executed.length) violations.push('a key was executed twice')
    for (const [what, key, digest] of log) {
      const n = /errand\/e(\d+)\//.exec(key)?.[1] ?? ''
      if (what === 'conflict' || createHash('sha256').update(n).digest('hex') !== digest) violations.push(`${what} ${key}: other arguments`)
    }
    await this.system.stop({ withinMs: 1_000 })
    return { acknowledged: this.acknowledged.size, executed: executed.length, repeated: log.filter(([what]) => what === 'repeated').length, lost: announced ? missing.length : 0, announced, violations }
  }

  /** The store may be slow to answer still. */
  private async isThere(n: number): Promise<boolean> {
    for (let attempts = 0; ; attempts++) {
      try {
        return (await this.system.actor(this.machine, `e${n}`).snapshot()) !== undefined
      } catch (error) {
        if (!isHoldfastError(error) || attempts === 50) throw error
        await sleep(200)
      }
    }
  }

  private async quiet(): Promise<void> {
    this.isOver = true
    await this.pumping
  }
}

/** Another process that has an LMDB store open. */
import { deserialize, serialize } from 'node:v8'
import type { Store } from '../../src/runtime/ports/store.js'
import type { LmdbCalls, LmdbNews } from './lmdb-process.script.js'
import { runScript, type Exit, type RunningScript, type ScriptOptions } from './run-script.js'

type Call<M extends keyof LmdbCalls> = (...args: Parameters<LmdbCalls[M]>) => ReturnType<LmdbCalls[M]>

const running = new Set<LmdbProcess>()

export class LmdbProcess {
  /** The store of that process. What it throws comes as an Error with its name, code and outcome. */
  readonly store: Omit<Store, 'open' | 'read' | 'watch'>
  readonly open: Call<'open'> = (...args) => this.call('open', ...args)
  readonly read: Call<'read'> = (...args) => this.call('read', ...args)
  readonly append: Call<'append'> = (...args) => this.call('append', ...args)
  readonly identity: Call<'identity'> = (...args) => this.call('identity', ...args)
  readonly become: Call<'become'> = (...args) => this.call('become', ...args)
  readonly writeOn: Call<'writeOn'> = (...args) => this.call('writeOn', ...args)
  /** What it has told so far, in order. */
  readonly news: LmdbNews[] = []
  private readonly script: RunningScript
  private readonly answers = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>()
  private readonly listeners = new Set<(news: LmdbNews) => void>()
  private calls = 0
  /** Why it answers no more. */
  private ended: Error | undefined

  private constructor(script: RunningScript) {
    this.script = script
    this.store = new Proxy({} as Store, { get: (_, method) => (method === 'then' ? undefined : (...args: unknown[]) => this.call('store', method as keyof Store, ...args)) })
    void this.listen()
  }

  static async start(options?: ScriptOptions): Promise<LmdbProcess> {
    const started = new LmdbProcess(await runScript('test/support/lmdb-process.script.ts', [], options))
    running.add(started)
    await started.until((news) => 'ready' in news)
    return started
  }

  /** For `afterEach`: those that still run. */
  static async killAll(): Promise<void> {
    await Promise.all([...running].map((one) => one.kill()))
  }

  get pid(): number {
    return this.script.pid
  }

  /** Begins a transaction that does not end; resolves when it has begun. */
  async hang(): Promise<void> {
    void this.call('hang').catch(() => {})
    await this.until((news) => 'hanging' in news)
  }

  /** Resolves with the first news that is so, also of before. */
  async until(isSo: (news: LmdbNews) => boolean): Promise<LmdbNews> {
    const known = this.news.find(isSo)
    if (known) return known
    return new Promise((resolve, reject) => {
      const listener = (news: LmdbNews): void => {
        if (!isSo(news)) return
        this.listeners.delete(listener)
        resolve(news)
      }
      this.listeners.add(listener)
      void this.script.exited.then((exit) => reject(new Error(`it has ended: ${JSON.stringify(exit)}`)))
    })
  }

  signal(signal: NodeJS.Signals): void {
    this.script.kill(signal)
  }

  /** As a crash would end it. Resolves when it has ended and all that it told has been heard. */
  async kill(): Promise<Exit> {
    this.script.kill('SIGKILL')
    return this.exited()
  }

  /** Ends it in good order. */
  async stop(): Promise<Exit> {
    this.script.end()
    return this.exited()
  }

  async exited(): Promise<Exit> {
    const exit = await this.script.exited
    running.delete(this)
    return exit
  }

  private call<M extends keyof LmdbCalls>(method: M, ...args: Parameters<LmdbCalls[M]>): ReturnType<LmdbCalls[M]> {
    const id = this.calls++
    if (this.ended !== undefined) return Promise.reject(this.ended) as ReturnType<LmdbCalls[M]>
    const answer = new Promise((resolve, reject) => this.answers.set(id, { resolve, reject }))
    this.script.send(serialize({ id, method, args }).toString('base64'))
    return answer as ReturnType<LmdbCalls[M]>
  }

  private async listen(): Promise<void> {
    for await (const line of this.script.lines) {
      const said = deserialize(Buffer.from(line, 'base64')) as LmdbNews | { id: number; result: unknown } | { id: number; error: { message: string } }
      if (!('id' in said)) {
        this.news.push(said)
        for (const listener of this.listeners) listener(said)
        continue
      }
      const answer = this.answers.get(said.id)
      this.answers.delete(said.id)
      if ('error' in said) answer?.reject(Object.assign(new Error(said.error.message), said.error))
      else answer?.resolve(said.result)
    }
    const { code, signal, stderr } = await this.script.exited
    this.ended = new Error(`it ended with ${code ?? signal}: ${stderr}`)
    for (const { reject } of this.answers.values()) reject(this.ended)
  }
}

/** Nodes of one namespace, each a process of its own. */
import { expect } from 'vitest'
import { runScript, type RunningScript } from './run-script.js'

interface Node {
  readonly script: RunningScript
  owns: number
}

export class NodeProcesses {
  readonly nodes = new Map<string, Node>()
  private readonly target: string
  private readonly leaseMs: number
  private count = 0

  /** @param target what test/support/node.script.ts takes */
  constructor(target: string, leaseMs: number) {
    this.target = target
    this.leaseMs = leaseMs
  }

  /** Resolves when it has started. @param builds of the machine that it has */
  async join(builds?: string): Promise<string> {
    const name = `n${this.count++}`
    const script = await runScript('test/support/node.script.ts', [this.target, name, String(this.leaseMs), ...(builds === undefined ? [] : [builds])])
    const node: Node = { script, owns: 0 }
    this.nodes.set(name, node)
    await new Promise<void>((resolve, reject) => {
      void (async () => {
        for await (const line of script.lines) {
          if (line === 'started') resolve()
          if (line.startsWith('owns')) node.owns = line.split(' ').filter((word) => /^\d+$/.test(word)).length
        }
        reject(new Error(`${name} ended: ${(await script.exited).stderr}`))
      })()
    })
    return name
  }

  /** Ends one of them, and tells how it did. */
  async end(name: string, signal: NodeJS.Signals): Promise<number | undefined> {
    const { script } = this.nodes.get(name)!
    this.nodes.delete(name)
    script.kill(signal)
    return (await script.exited).code
  }

  /** Resolves when every shard is owned and the loads are even. */
  async even(): Promise<void> {
    const loads = (): number[] => [...this.nodes.values()].map(({ owns }) => owns)
    await expect.poll(() => [loads().reduce((a, b) => a + b, 0), Math.max(...loads()) - Math.min(...loads()) <= 1], { timeout: 20_000 }).toEqual([16, true])
  }

  stop(): void {
    for (const { script } of this.nodes.values()) script.kill('SIGKILL')
  }
}

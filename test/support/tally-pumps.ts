/** Clients that tell actors numbers one after the other, each until it is answered, and note how long each took. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '../../src/index.js'
import { tally } from './tally.js'

export interface Answer {
  /** When it was asked, and how long the answer took, ms. */
  readonly at: number
  readonly ms: number
}

export class TallyPumps {
  readonly answers: Answer[] = []
  private readonly client: Client
  private readonly ids: readonly string[]
  private readonly counts = new Map<string, number>()
  private stopped = false
  private asking = 0
  private paused: Promise<void> | undefined
  private onResume = (): void => {}
  private readonly running: Promise<unknown>

  constructor(client: Client, ids: readonly string[]) {
    this.client = client
    this.ids = ids
    this.running = Promise.all(ids.map((id) => this.pump(id)))
  }

  private async pump(id: string): Promise<void> {
    const actor = this.client.actor(tally, id)
    for (let n = 1; !this.stopped; n++) {
      if (this.paused) await this.paused
      const at = performance.now()
      this.asking++
      const count = await actor.ask<number>({ type: 'add', n }, { id: `m${n}`, deadlineMs: 60_000 })
      this.asking--
      this.answers.push({ at, ms: performance.now() - at })
      // A repeat would be told the same; a lost one would be missing.
      if (count !== n) throw new Error(`${id} has ${count} numbers after the ${n}th`)
      this.counts.set(id, n)
    }
  }

  /** The longest wait for an answer among those that were asked or answered in a span, for each span. */
  longest(from: number, to: number): number {
    return this.answers.reduce((most, { at, ms }) => (at + ms >= from && at <= to ? Math.max(most, ms) : most), 0)
  }

  /** Resolves when all that was asked has been answered; nothing is asked until {@link resume}. */
  async pause(): Promise<void> {
    this.paused = new Promise((resolve) => (this.onResume = resolve))
    while (this.asking > 0) await sleep(5)
  }

  resume(): void {
    this.paused = undefined
    this.onResume()
  }

  /** Ends when every number has been answered. */
  async stop(): Promise<void> {
    this.stopped = true
    await this.running
  }

  /** What is wrong with what the actors have, if anything. */
  async wrong(): Promise<string[]> {
    const wrong: string[] = []
    for (const id of this.ids) {
      const seen = (await this.client.actor(tally, id).snapshot())?.context.seen ?? []
      const told = this.counts.get(id) ?? 0
      if (seen.length !== told || seen.some((n, i) => n !== i + 1)) wrong.push(`${id}: told ${told}, has ${seen.join(' ')}`)
    }
    return wrong
  }
}

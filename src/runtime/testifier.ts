/**
 * Tells a witness how far the store has come, and compares the store with that at a start (I11).
 *
 * N1  What is told lags what is acknowledged by {@link tellMs} and a write of the witness: a loss of less than that, of which
 *     no process knows any more, is not found out.
 * N2  What was said of the store before it was accepted counts no more: its count of acceptances says so, or, where that went
 *     back, too, or is that of another namespace, the note of who found that out and has the testimonies of all others with it.
 */
import type { Clock } from './ports/clock.js'
import type { Logger } from './ports/logger.js'
import type { Testimony, Witness } from './ports/witness.js'

/** What is acknowledged within this is told together, ms. */
const tellMs = 100
/** After the witness could not be told, ms. */
const retryMs = 1_000

/** Which namespace it is, and how often it was accepted. */
export interface Era {
  readonly incarnation: string
  readonly accepted: number
}

export interface Recalled {
  /** Numbers of commits that stood, by shard. */
  readonly commits: ReadonlyMap<number, number>
  /** How the store went back in time, if that can be seen without a look at its shards, and by which era; the commits are of that one. */
  readonly wentBack?: string
  readonly against?: Era
  /** Whose testimonies count no more. */
  readonly over: readonly string[]
}

/** What testimonies say of a store that is in this era. */
export function weigh(testimonies: readonly Testimony[], era: Era): Recalled {
  const isOver = (of: Era | undefined): boolean => of?.incarnation === era.incarnation && of.accepted < era.accepted
  const over = testimonies.filter((testimony) => isOver(testimony) || isOver(testimony.halted))
  const valid = testimonies.filter((testimony) => !over.includes(testimony))
  const against = valid.find((testimony) => !isSame(testimony, era))
  return { commits: highest(valid.filter((testimony) => isSame(testimony, against ?? era))), over: over.map(({ node }) => node), ...(against ? { against: { incarnation: against.incarnation, accepted: against.accepted }, wentBack: howAgainst(against, era) } : {}) }
}

function howAgainst(was: Era, era: Era): string {
  return was.incarnation === era.incarnation ? `the witness knows that it had been accepted ${was.accepted} times, and now it has been ${era.accepted} times` : `the witness knows its namespace by incarnation ${was.incarnation}, and now it has ${era.incarnation}`
}

function highest(testimonies: readonly Testimony[]): ReadonlyMap<number, number> {
  const commits = new Map<number, number>()
  for (const testimony of testimonies) for (const [shard, number] of Object.entries(testimony.commits)) commits.set(Number(shard), Math.max(number, commits.get(Number(shard)) ?? 0))
  return commits
}

function isSame(a: Era, b: Era): boolean {
  return a.incarnation === b.incarnation && a.accepted === b.accepted
}

export interface TestifierOptions {
  readonly witness: Witness
  readonly namespace: string
  readonly incarnation: string
  readonly node: string
  readonly clock: Clock
  readonly logger: Logger
}

export class Testifier {
  private readonly options: TestifierOptions
  private era: Era
  private commits = new Map<number, number>()
  private halted: Era | undefined
  private isRecalled = false
  private isOver = false
  private isTold = true
  private telling: Promise<void> | undefined
  private fails = false
  private cancel: (() => void) | undefined

  constructor(options: TestifierOptions) {
    this.options = options
    this.era = { incarnation: options.incarnation, accepted: 0 }
  }

  /**
   * What is known of the store by the witness, which is told that this process knows it, too.
   *
   * @param accepted how often the store says it was accepted
   */
  async recall(accepted: number): Promise<Recalled> {
    const { witness, namespace, incarnation } = this.options
    const recalled = weigh(await witness.recall(namespace), { incarnation, accepted })
    this.era = recalled.against ?? { incarnation, accepted }
    this.commits = new Map(recalled.commits)
    this.isRecalled = true
    await this.tell()
    if (!this.fails) await this.forget(recalled.over)
    return recalled
  }

  /** A commit that is known to stand. */
  commit(shard: number, number: number): void {
    if (number <= (this.commits.get(shard) ?? 0)) return
    this.commits.set(shard, number)
    this.tellSoon()
  }

  /** What the store says of itself. */
  hear(accepted: number, isHalted: boolean): void {
    const { incarnation } = this.options
    if (!this.isRecalled) return
    if (isHalted) {
      if (this.halted?.accepted === accepted) return
      this.halted = { incarnation, accepted }
      this.tellSoon()
    } else if (this.isAfter(accepted)) {
      this.halted = undefined
      this.era = { incarnation, accepted }
      this.commits.clear()
      this.tellSoon()
    }
  }

  private async others(): Promise<readonly Testimony[]> {
    const { witness, namespace, node } = this.options
    return (await witness.recall(namespace)).filter((other) => other.node !== node)
  }

  private isAfter(accepted: number): boolean {
    const since = this.halted ?? this.era
    return since.incarnation === this.options.incarnation && accepted > since.accepted
  }

  private async forget(nodes: readonly string[]): Promise<void> {
    const { witness, namespace, node } = this.options
    for (const other of nodes) if (other !== node) await witness.forget(namespace, other).catch((error: unknown) => this.warn(error))
  }

  /** Resolves when the witness knows all that this process knows, or cannot be told. */
  async stop(): Promise<void> {
    this.cancel?.()
    await this.telling
    if (!this.isTold && !this.isOver) await this.tell()
    this.isOver = true
    this.cancel?.()
  }

  abandon(): void {
    this.isOver = true
    this.cancel?.()
  }

  private tellSoon(delayMs = tellMs): void {
    this.isTold = false
    if (this.isOver || this.cancel || this.telling || !this.isRecalled) return
    this.cancel = this.options.clock.after(delayMs, () => {
      this.cancel = undefined
      void this.tell()
    })
  }

  private tell(): Promise<void> {
    this.telling ??= this.tellNow().finally(() => {
      this.telling = undefined
      if (!this.isTold) this.tellSoon(this.fails ? retryMs : tellMs)
    })
    return this.telling
  }

  private async tellNow(): Promise<void> {
    const { witness, namespace, node } = this.options
    this.isTold = true
    try {
      // N2: what others know is told with the note, and by nobody else any more.
      const others = this.halted ? await this.others() : []
      for (const [shard, number] of highest(others.filter((other) => isSame(other, this.era)))) this.commits.set(shard, Math.max(number, this.commits.get(shard) ?? 0))
      await witness.tell(namespace, { node, ...this.era, commits: Object.fromEntries(this.commits), ...(this.halted ? { halted: this.halted } : {}) })
      // Those who have found out the same have the same note by now, or will have; of two at least one stays.
      if (this.halted) await this.forget((await this.others()).filter(({ halted }) => !halted || !this.halted || !isSame(halted, this.halted)).map((other) => other.node))
      this.fails = false
    } catch (error) {
      this.isTold = false
      if (!this.fails) this.warn(error)
      this.fails = true
    }
  }

  private warn(error: unknown): void {
    const { namespace, node, logger } = this.options
    logger.error({ namespace, node, error: (error as Error).message }, 'the witness cannot be told; trying again')
  }
}

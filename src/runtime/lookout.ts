/**
 * Keeps an eye on what the store can be trusted with: its settings, servers and disks change while it is in use. It asks
 * every `checkMs`, and when the store says that it may be otherwise now. On a store that loses what it has acknowledged no
 * actor is to run; what is sent is kept until that has been mended.
 */
import { ConfigError } from '../errors.js'
import type { Clock } from './ports/clock.js'
import type { Logger } from './ports/logger.js'
import type { Durability, Standing, Store } from './ports/store.js'

export interface LookoutOptions {
  readonly store: Pick<Store, 'standing' | 'watch'>
  readonly clock: Clock
  readonly logger: Logger
  readonly namespace: string
  readonly checkMs: number
  readonly durabilityMin?: Durability | undefined
  /** The store's refusals are only told; that it keeps less than `durabilityMin` still counts. */
  readonly unsafe?: boolean | undefined
}

/** How often one is reminded of what runs although it should not, ms. */
const reminderMs = 60_000

export class Lookout {
  private readonly options: LookoutOptions
  private standing: Standing
  /** Why no actor is to run. */
  private stopping: readonly string[]
  private onChange: (isTrusted: boolean) => void = () => {}
  private checking: Promise<void> | undefined
  private again = false
  private isOver = false
  private cancel = (): void => {}
  private unwatch = (): void => {}
  private remindedAt: number

  /** @param standing as the store was opened with it */
  constructor(options: LookoutOptions, standing: Standing) {
    this.options = options
    this.standing = standing
    this.stopping = this.whyNot(standing)
    this.remindedAt = options.clock.now()
    const { logger, namespace, unsafe } = options
    const { durability, warnings, refusals } = standing
    for (const sentence of warnings) logger.warn({ namespace, durability }, sentence)
    if (unsafe) for (const sentence of refusals) logger.warn({ namespace, durability }, sentence)
  }

  get durability(): Durability {
    return this.standing.durability
  }

  get warnings(): readonly string[] {
    return this.standing.warnings
  }

  /** What the store is not to be trusted for, also where `unsafe` lets actors run all the same. */
  get refusals(): readonly string[] {
    return [...this.tooLittle(this.standing), ...this.standing.refusals]
  }

  get isTrusted(): boolean {
    return this.stopping.length === 0
  }

  /** @throws ConfigError if nothing is to be begun on the store as it is */
  mustBeTrusted(): void {
    mustBeTrusted(this.standing, this.options.unsafe)
    if (!this.isTrusted) throw new ConfigError(this.stopping.join(' '))
  }

  /** @param onChange told when the store can be trusted no more, and when it can be again */
  start(onChange: (isTrusted: boolean) => void): void {
    this.onChange = onChange
    this.unwatch = this.options.store.watch('standing', () => this.check())
    this.checkLater()
  }

  stop(): void {
    this.isOver = true
    this.cancel()
    this.unwatch()
  }

  private checkLater(): void {
    const { clock, checkMs } = this.options
    this.cancel()
    if (!this.isOver && checkMs !== Infinity) this.cancel = clock.after(checkMs, () => this.check())
  }

  /** One check at a time; if something happens meanwhile, another one after it. */
  private check(): void {
    if (this.checking || this.isOver) {
      this.again = true
      return
    }
    this.again = false
    this.checking = this.options.store
      .standing()
      .then(
        (standing) => this.take(standing),
        // Whoever needs the store says that it does not answer; until it does nothing is known to have changed.
        () => {},
      )
      .finally(() => {
        this.checking = undefined
        if (this.again) this.check()
        else this.checkLater()
      })
  }

  private take(standing: Standing): void {
    if (this.isOver) return
    const { logger, namespace } = this.options
    const { standing: before, isTrusted: wasTrusted, refusals: refusedBefore } = this
    this.standing = standing
    this.stopping = this.whyNot(standing)
    const { durability } = standing
    if (durability !== before.durability) logger.warn({ namespace, durability, before: before.durability }, 'the store keeps what it acknowledges otherwise than before')
    for (const sentence of standing.warnings) if (!before.warnings.includes(sentence)) logger.warn({ namespace, durability }, sentence)
    for (const sentence of this.refusals) if (!refusedBefore.includes(sentence)) logger.error({ namespace, durability }, sentence)
    this.remind()
    if (this.isTrusted === wasTrusted) return
    if (this.isTrusted) logger.warn({ namespace, durability }, 'the store can be trusted again')
    this.onChange(this.isTrusted)
  }

  private remind(): void {
    const { clock, logger, namespace } = this.options
    if (!this.isTrusted || this.refusals.length === 0 || clock.now() - this.remindedAt < reminderMs) return
    this.remindedAt = clock.now()
    for (const sentence of this.refusals) logger.warn({ namespace, durability: this.durability }, sentence)
  }

  private whyNot(standing: Standing): readonly string[] {
    return [...this.tooLittle(standing), ...(this.options.unsafe ? [] : standing.refusals)]
  }

  private tooLittle({ durability }: Standing): readonly string[] {
    const { durabilityMin } = this.options
    if (durabilityMin === undefined || durability >= durabilityMin) return []
    return [`The store keeps what it acknowledges by ${durability}, and durabilityMin is ${durabilityMin}. Look at its warnings for what to set, or ask for less.`]
  }
}

/** @throws ConfigError if nothing is to be begun on a store that stands so */
export function mustBeTrusted({ refusals }: Standing, unsafe = false): void {
  if (!unsafe && refusals.length > 0) throw new ConfigError(`${refusals.join(' ')} Or set unsafe: true to run on data that may be lost.`)
}

/** The pages of one move: copied from shard to shard, compared, or removed again. */
import { MoveError } from '../errors.js'
import { ItemDigest, shifted } from './item-digest.js'
import { beginning, clearing, ending, faultOfItem, type Cursor, type ItemPage, type MovableStore } from './ports/moving.js'

export interface TransferOptions {
  readonly from: MovableStore
  readonly to: MovableStore
  readonly places: { readonly from: string; readonly to: string }
  readonly move: string
  /** By how much the times are later there, ms. */
  readonly shiftMs: number
  /** Whether what is there now goes. */
  readonly replaces: boolean
  /** Asked before each page; throws if the move is to stop. */
  readonly mustGoOn: () => void
}

/** Told of every page that went through. */
export type Tell = (page: ItemPage) => void

export class Transfer {
  private readonly options: TransferOptions

  constructor(options: TransferOptions) {
    this.options = options
  }

  /** Where the pages end that were taken, by whichever call. */
  taken(shard: number): Promise<Cursor> {
    const { to, move } = this.options
    return to.import(shard, move, { from: beginning, items: [], next: beginning })
  }

  async copy(shard: number, tell: Tell): Promise<void> {
    const { from, to, move, shiftMs, replaces, mustGoOn } = this.options
    let at = await this.taken(shard)
    if (at === clearing || (at === beginning && replaces)) {
      await this.clear(shard)
      at = beginning
    }
    const pageAt = (cursor: Cursor): Promise<ItemPage> | undefined => (cursor === ending ? undefined : from.export(shard, cursor))
    let coming = pageAt(at)
    while (coming) {
      const page: ItemPage = await coming
      this.mustBeSound(shard, page)
      mustGoOn()
      // The next one is read while this one is written.
      coming = pageAt(page.next)
      coming?.catch(() => {})
      const next = await to.import(shard, move, { ...page, items: page.items.map((item) => shifted(item, shiftMs)) })
      tell(page)
      // Another process that does the same is further.
      if (next !== page.next) coming = pageAt(next)
    }
  }

  private mustBeSound(shard: number, { items }: ItemPage): void {
    for (const item of items) {
      const fault = faultOfItem(item)
      if (fault !== undefined) throw new MoveError('cannot', `Shard ${shard} at ${this.options.places.from} is damaged: ${fault}.`)
    }
  }

  async clear(shard: number): Promise<void> {
    const { to, move, mustGoOn } = this.options
    while (!(await to.clear(shard, move))) mustGoOn()
  }

  /** @throws MoveError if it is not the same on both sides; then nothing of it is there any more */
  async compare(shard: number, tell: Tell): Promise<ItemDigest> {
    const { places } = this.options
    const [left, arrived] = await Promise.all([this.left(shard, tell), this.digest(this.options.to, shard, 0, () => {})])
    if (left.toString() === arrived.toString()) return left
    await this.clear(shard)
    throw new MoveError('differs', `Shard ${shard} is not the same at ${places.to} as at ${places.from}: ${arrived.items} things with digest ${arrived.toString().slice(0, 16)}… arrived of ${left.items} with ${left.toString().slice(0, 16)}…. Nothing was opened. Run this again to copy that shard anew, or with --cancel to stay.`)
  }

  /** Of what leaves, with the times that it has there. */
  left(shard: number, tell: Tell): Promise<ItemDigest> {
    return this.digest(this.options.from, shard, this.options.shiftMs, tell)
  }

  private async digest(store: MovableStore, shard: number, shiftMs: number, tell: Tell): Promise<ItemDigest> {
    const digest = new ItemDigest()
    for (let at = beginning; at !== ending; ) {
      this.options.mustGoOn()
      const page = await store.export(shard, at)
      for (const item of page.items) digest.add(shifted(item, shiftMs))
      tell(page)
      at = page.next
    }
    return digest
  }
}

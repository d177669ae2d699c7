/**
 * What a store must also do so that its namespaces can be moved to another store: be sealed, tell page by page what it
 * holds, and take such pages. Who moves is `../move.ts`; this says what the two stores owe it.
 *
 * V1  A sealed shard does not change but by the move that sealed it: nobody owns it, and append, claim, deliver and redrive
 *     are refused with a {@link MoveError}. Who owned it is fenced.
 * V2  A move that has let go of a shard can do nothing to it any more (`unseal`), however late its calls arrive.
 * V3  A page is taken whole and once: only if it begins where what was taken ends.
 * V4  A marked namespace is opened by a move alone, and presence says that it is halted. A mark is replaced only by
 *     somebody who knows the one that stands.
 */
import { MoveError } from '../../errors.js'
import type { Holder, OutboxEntry, ShardState, Store } from './store.js'

/** Why a namespace is closed: it is one of the two sides of a move. */
export interface MoveMark {
  /** Of the move, the same on both sides. */
  readonly id: string
  /**
   * leaving: what it holds is being copied to the other side. left: it is there now. returning: the move is being
   * cancelled. arriving: it is being filled from the other side.
   */
  readonly state: 'leaving' | 'left' | 'returning' | 'arriving'
  /** The other side, as people know it, without credentials. */
  readonly place: string
  /** By how much the times of what arrives are later here, ms: this store's clock is ahead by so much. */
  readonly shiftMs?: number
  /** The move whose leftovers what arrives replaces. */
  readonly replaces?: string
}

/** What is kept with a mark, or with its removal, of the namespace itself. */
export interface NamespaceChanges {
  /** Its history is that one from now on. */
  readonly incarnation?: string
  /** It was accepted so often, at least. */
  readonly accepted?: number
}

/**
 * One thing that a shard holds. What has an order says which: numbers of its own, or its place from 0 on. The fields of
 * a record and what it is found by are in no order. `shard` is the only one of its kind.
 */
export type StoredItem =
  | { readonly kind: 'shard'; readonly number: number; readonly position: number; readonly tail: number; readonly clock: number; readonly clean: boolean; readonly epoch: number }
  | { readonly kind: 'entry'; readonly seq: number; readonly at: number; readonly text: string }
  | { readonly kind: 'backlog'; readonly address: string; readonly count: number }
  | { readonly kind: 'delivered'; readonly from: number; readonly number: number }
  | { readonly kind: 'id'; readonly id: string; readonly until: number }
  | { readonly kind: 'reply'; readonly id: string; readonly text: string; readonly until: number }
  | { readonly kind: 'timer'; readonly member: string; readonly dueAt: number }
  | { readonly kind: 'effect'; readonly id: string; readonly text: string }
  | { readonly kind: 'action'; readonly place: number; readonly id: string; readonly text: string }
  | { readonly kind: 'suspect'; readonly id: string; readonly attempts: number }
  | { readonly kind: 'outbox'; readonly entry: OutboxEntry }
  | { readonly kind: 'record'; readonly address: string; readonly fields: readonly (readonly [name: string, value: string])[]; readonly terms: readonly string[] }
  | { readonly kind: 'parked'; readonly address: string; readonly place: number; readonly text: string }
  /** A stream before its lines: the first that it still has follows `first`, if it has any; numbers go on from `last`. */
  | { readonly kind: 'stream'; readonly name: string; readonly first: number; readonly last: number }
  | { readonly kind: 'line'; readonly stream: string; readonly seq: number; readonly text: string }

/** Whom a move may take a shard from. */
export interface SealOver {
  /** The holder, whose counter has not moved since. */
  readonly seen?: Holder | undefined
  /** A move that has ended and left it sealed. */
  readonly replaces?: string | undefined
}

export type Sealed = { readonly state: ShardState } | { readonly heldBy: Holder }

/** Where a page begins or ends, in words of the store that gave it. */
export type Cursor = string

/** Where the first page begins; no page was taken. */
export const beginning: Cursor = ''
/** Where the last page ends; all were taken. */
export const ending: Cursor = 'end'
/** Between the first call of {@link MovableStore.clear} and the one that returns true: no page is taken. */
export const clearing: Cursor = 'clearing'

export interface ItemPage {
  readonly from: Cursor
  readonly items: readonly StoredItem[]
  /** Where the next one begins, or {@link ending}. */
  readonly next: Cursor
}

/** About how much a page holds; a single item may be larger. */
export const pageItemsMax = 2_000
export const pageCharsMax = 1_048_576

/** A store whose namespaces can be moved, and that others can be moved to. */
export interface MovableStore extends Store {
  /**
   * Replaces the mark of the namespace. False if another one stands there than `expected`; then nothing changed. A mark
   * that is taken away counts as accepted once more.
   */
  mark(expected: MoveMark | undefined, next: MoveMark | undefined, changes?: NamespaceChanges): Promise<boolean>
  /**
   * Takes a shard from whoever owns it and closes it (V1); repeated, it says the same. What the last owner left, clean or
   * not, stays as it was. A shard that is held is taken as {@link Store.claim} would.
   *
   * @param why what is told to those who are refused
   * @throws MoveError if the move has let go of it, or one that it does not replace has sealed it
   */
  seal(shard: number, move: string, why: string, over?: SealOver): Promise<Sealed>
  /** Opens what the move has sealed, and keeps it from sealing it again (V2). Nothing happens if another move has sealed it. */
  unseal(shard: number, move: string): Promise<void>
  /** What a sealed shard holds, from there on. The same cursor gives the same page. */
  export(shard: number, from: Cursor): Promise<ItemPage>
  /**
   * Adds a page to what a sealed shard holds, if it begins where that ends (V3). Returns where it ends now.
   *
   * @throws MoveError if the move has not sealed the shard; LimitError for what this store cannot keep
   */
  import(shard: number, move: string, page: ItemPage): Promise<Cursor>
  /**
   * Removes what a sealed shard holds, but for its epoch, some of it at a time. Returns whether all is gone: then it
   * takes pages from the first one on; until then none ({@link clearing}).
   *
   * @throws MoveError if the move has not sealed the shard
   */
  clear(shard: number, move: string): Promise<boolean>
}

const moving: readonly (keyof MovableStore)[] = ['mark', 'seal', 'unseal', 'export', 'import', 'clear']

export function isMovable(store: Store): store is MovableStore {
  return moving.every((method) => typeof (store as unknown as Record<string, unknown>)[method] === 'function')
}

/** Why a marked namespace runs no actor, for people. */
export function whyClosed(namespace: string, { state, place }: MoveMark): string {
  switch (state) {
    case 'left':
      return `Namespace "${namespace}" was moved to ${place}. Use it there.`
    case 'leaving':
      return `Namespace "${namespace}" is on its way to ${place}, and the move has not ended. Run it again to finish it, or with --cancel to stay here.`
    case 'returning':
      return `Namespace "${namespace}" was on its way to ${place}, and the cancelling of the move has not ended. Run that again to finish it.`
    case 'arriving':
      return `Namespace "${namespace}" is only partly here: it is on its way from ${place}, and the move has not ended. Run it again to finish it.`
  }
}

/** What an `open` that is no move's is answered by a marked namespace. */
export function closedError(namespace: string, mark: MoveMark): MoveError {
  return new MoveError(mark.state === 'left' ? 'moved' : 'unfinished', whyClosed(namespace, mark))
}

/** What is asked of a sealed shard, and refused. */
export function sealedError(why: string): MoveError {
  return new MoveError('moved', why)
}

/** V2, and that no two moves work on one shard. */
export function notSealedError(shard: number, move: string, by: string | undefined): MoveError {
  return new MoveError('over', `Move ${move} has no hold on shard ${shard}${by === undefined || by === move ? '' : `, which move ${by} has`}: it was finished or cancelled by somebody else. Look at both sides with holdfast doctor.`)
}

/** About how many characters an item takes. */
export function sizeOf(item: StoredItem): number {
  let chars = 64
  if (item.kind === 'record') for (const [name, value] of item.fields) chars += name.length + value.length
  else if (item.kind === 'outbox') chars += item.entry.entry.text.length
  else if ('text' in item) chars += item.text.length
  return chars
}

/** What no database could keep of an item: a number that is none. A move whose source is damaged must not pass it on. */
export function faultOfItem(item: StoredItem): string | undefined {
  const values: readonly unknown[] = item.kind === 'outbox' ? [item.entry.number, item.entry.to, item.entry.entry.rememberUntil] : Object.values(item)
  return values.some((value) => typeof value === 'number' && !Number.isFinite(value)) ? `${item.kind} ${JSON.stringify(item).slice(0, 200)} holds a number that is none` : undefined
}

/**
 * What the writes of the port mean for the keys of one shard. Nothing here touches LMDB: it drafts, and whatever is
 * refused or throws leaves no trace (P1).
 */
import { beginning, clearing, notSealedError, sealedError, type Cursor, type ItemPage, type Sealed, type SealOver } from '../../runtime/ports/moving.js'
import {
  deadOverflowMax,
  isUnread,
  lostCommitsMax,
  overflowLetter,
  overflowOf,
  unreadDetail,
  type Appended,
  type Claim,
  type Commit,
  type CommitResult,
  type Holder,
  type Lease,
  type NewEntry,
  type NodeIdentity,
  type OutboxEntry,
  type Part,
  type Redrive,
  type Redriven,
} from '../../runtime/ports/store.js'
import type { Draft } from './draft.js'
import { Refusal, type ShardKeys } from './keys.js'
import { isNodeAlive } from './process-identity.js'
import { emptyHead, encodeHead, readHead, stateOf, type ShardHead } from './shard-head.js'
import { putItem } from './shard-items.js'
import { readTerms } from './shard-reads.js'
import { StreamDraft } from './stream-draft.js'
import { decodeTimed, encodeMessage, encodeTimed, join } from './values.js'

export interface Bounds {
  readonly backlogMax: number
  readonly logMax: number
}

/** Keys that one clearing removes. */
const clearMax = 5_000

/** Ends looked at in each commit: more than a commit adds, so that none are left behind for long. */
const expiriesMin = 256

export class ShardDraft {
  private readonly draft: Draft
  private readonly keys: ShardKeys
  private readonly bounds: Bounds
  private readonly now: number
  private readonly head: ShardHead
  private readonly streams: StreamDraft
  /** Fields written by this commit, in case a later part erases the record. */
  private readonly written = new Map<string, ReadonlyMap<string, unknown>>()
  private remembered = 0

  constructor(draft: Draft, keys: ShardKeys, bounds: Bounds, now: number) {
    this.draft = draft
    this.keys = keys
    this.bounds = bounds
    this.now = now
    this.head = readHead(draft, keys.head)
    this.streams = new StreamDraft(draft, keys, this.head)
  }

  private save(): void {
    this.draft.put(this.keys.head, encodeHead(this.head))
  }

  // ── Ownership ──

  claim(shard: number, node: NodeIdentity, seen: Holder | undefined, accepted: number): Claim {
    const { head } = this
    this.mustBeOpen()
    const heldBy = head.owner?.id === node.id ? undefined : this.holder(seen)
    if (heldBy) return { heldBy }
    const stood = head.number
    if (accepted > (head.accepted ?? 0) || (head.owner && head.owner.id !== node.id)) {
      head.accepted = Math.max(head.accepted ?? 0, accepted)
      head.epoch += lostCommitsMax
      head.number += lostCommitsMax
    }
    const state = stateOf(head)
    head.epoch++
    head.beat++
    head.owner = { id: node.id, ...(node.process === undefined ? {} : { process: node.process }) }
    head.clean = false
    this.save()
    return { lease: { shard, epoch: head.epoch, node: node.id }, state: stood === head.number ? state : { ...state, stood } }
  }

  /** Who cannot be overtaken: a living process, however long it takes, because on one host nobody else needs to go on for it. */
  private holder(seen: Holder | undefined): Holder | undefined {
    const { owner, beat } = this.head
    if (!owner) return undefined
    const alive = isNodeAlive(owner)
    const stoodStill = seen?.node === owner.id && seen.beat === beat
    return alive || (alive === undefined && !stoodStill) ? { node: owner.id, beat, ...(alive ? { alive } : {}) } : undefined
  }

  /** Of a folder that was put back in time the same epoch may be given twice. */
  private isHeldBy({ epoch, node }: Lease): boolean {
    return this.head.epoch === epoch && this.head.owner?.id === node
  }

  renew(lease: Lease): number | undefined {
    if (!this.isHeldBy(lease)) return undefined
    this.head.beat++
    this.save()
    return this.head.number
  }

  release(lease: Lease): void {
    if (!this.isHeldBy(lease)) return
    delete this.head.owner
    this.head.clean = true
    this.save()
  }

  // ── The log ──

  append(entries: readonly NewEntry[]): readonly Appended[] {
    this.mustBeOpen()
    const { tail, clock } = this.head
    const at = Math.max(this.now, clock)
    const appended = entries.map((entry): Appended => {
      if (Number(this.draft.get(this.keys.id(entry.id)) ?? 0) > at) return 'duplicate'
      if (this.isFull(entry)) return 'full'
      return { seq: this.push(entry, at) }
    })
    if (this.head.tail > tail) this.save()
    return appended
  }

  deliver(from: number, entries: readonly OutboxEntry[]): void {
    this.mustBeOpen()
    const at = Math.max(this.now, this.head.clock)
    const key = this.keys.delivered(from)
    const before = Number(this.draft.get(key) ?? 0)
    let delivered = before
    for (const { number, entry } of entries) {
      if (number <= delivered) continue
      delivered = number
      this.take(entry, at)
    }
    if (delivered === before) return
    this.draft.put(key, String(delivered))
    this.save()
  }

  /** Takes dead letters back into the log. */
  redrive(letters: readonly Redrive[]): readonly Redriven[] {
    this.mustBeOpen()
    const { tail, clock } = this.head
    const at = Math.max(this.now, clock)
    const redriven = letters.map(({ seq, entry }): Redriven => {
      if (!this.streams.has('dead', seq)) return 'gone'
      if (this.isFull({ to: entry.to })) return 'full'
      this.streams.remove('dead', seq)
      this.push(entry, at)
      return 'redriven'
    })
    if (this.head.tail > tail) this.save()
    return redriven
  }

  private isFull({ to, always }: Pick<NewEntry, 'to' | 'always'>, times = 1): boolean {
    if (always) return false
    return this.backlogOf(to) >= times * this.bounds.backlogMax || this.head.tail - this.head.trimmed >= times * this.bounds.logMax
  }

  private backlogOf(address: string): number {
    return Number(this.draft.get(this.keys.backlog(address)) ?? 0)
  }

  /** Takes a message that cannot be refused here: into the log, there as one to be refused, or as a dead letter. Whether it is there as it is. */
  private take(entry: NewEntry, at: number): boolean {
    const hasRoom = !this.isFull(entry)
    if (hasRoom) this.push(entry, at)
    else if (this.isFull(entry, 2)) this.streams.append('dead', overflowLetter(entry, at), deadOverflowMax)
    else this.push(overflowOf(entry), at)
    return hasRoom
  }

  private push(entry: NewEntry, at: number): number {
    if (entry.rememberUntil !== undefined) this.remember(entry.id, entry.rememberUntil)
    const seq = ++this.head.tail
    this.draft.put(this.keys.logEntry(seq), encodeTimed(at, entry.text))
    this.draft.put(this.keys.backlog(entry.to), String(this.backlogOf(entry.to) + 1))
    return seq
  }

  private remember(id: string, until: number): void {
    this.draft.put(this.keys.id(id), String(until))
    this.draft.put(this.keys.expiry(until, 'i', id), '')
    this.remembered++
  }

  /** Removes a stream's entries up to and including `through`. False if some are left for another time. */
  trim(stream: string, through: number): boolean {
    return this.head.sealed !== undefined || this.streams.trim(stream, through)
  }

  // ── Moving ──

  /** V1. */
  private mustBeOpen(): void {
    if (this.head.sealed) throw sealedError(this.head.sealed.why)
  }

  private mustBeSealedBy(shard: number, move: string): void {
    if (this.head.sealed?.move !== move) throw notSealedError(shard, move, this.head.sealed?.move)
  }

  seal(shard: number, move: string, why: string, { seen, replaces }: SealOver): Sealed {
    const { head } = this
    const { sealed } = head
    if (head.over === move || (sealed && sealed.move !== move && sealed.move !== replaces)) throw notSealedError(shard, move, sealed?.move)
    if (sealed?.move === move) return { state: stateOf(head) }
    const heldBy = sealed ? undefined : this.holder(seen)
    if (heldBy) return { heldBy }
    head.epoch++
    delete head.owner
    delete head.imported
    head.sealed = { move, why }
    this.save()
    return { state: stateOf(head) }
  }

  unseal(move: string): void {
    const { head } = this
    if (head.sealed && head.sealed.move !== move) return
    delete head.sealed
    delete head.imported
    head.over = move
    this.save()
  }

  import(shard: number, move: string, page: ItemPage): Cursor {
    const { head } = this
    this.mustBeSealedBy(shard, move)
    if (page.from !== (head.imported ?? beginning)) return head.imported ?? beginning
    for (const item of page.items) putItem(this.draft, this.keys, head, item)
    head.imported = page.next
    this.save()
    return page.next
  }

  clear(shard: number, move: string): boolean {
    const { draft, keys, head } = this
    this.mustBeSealedBy(shard, move)
    const { epoch, beat, accepted, sealed, over } = head
    let removed = 0
    for (const range of keys.exceptHead()) {
      if (removed >= clearMax) break
      for (const key of draft.keys(range, clearMax - removed)) {
        draft.remove(key)
        removed++
      }
    }
    const isAll = removed < clearMax
    draft.put(keys.head, encodeHead({ ...emptyHead(), epoch, beat, ...(accepted === undefined ? {} : { accepted }), ...(sealed ? { sealed } : {}), ...(over === undefined ? {} : { over }), ...(isAll ? {} : { imported: clearing }) }))
    return isAll
  }

  // ── Commits ──

  commit(commit: Commit, fault: { readonly address?: string; readonly detail: string } | undefined): CommitResult {
    const { head } = this
    if (!this.isHeldBy(commit.lease)) return { ok: false, why: 'fenced', detail: `epoch ${commit.lease.epoch} has given way to ${head.epoch}` }
    if (commit.number <= head.number) return { ok: true, at: head.clock, tail: head.tail }
    if (commit.number !== head.number + 1) return { ok: false, why: 'gap', detail: `commit ${commit.number} does not follow ${head.number}` }
    if (commit.position > head.tail) return { ok: false, why: 'gap', detail: `the log ends at ${head.tail}, not at ${commit.position}` }
    if (fault) return { ok: false, why: 'refused', ...fault }
    if (commit.read && commit.position > head.position && isUnread(commit.read, this.entryAt(commit.position))) return { ok: false, why: 'unread', detail: unreadDetail(commit.position) }
    head.number = commit.number
    head.position = commit.position
    head.beat++
    head.clock = Math.max(head.clock, commit.at, this.now)
    let address: string | undefined
    let appended = true
    try {
      for (const part of commit.parts) {
        address = part.address
        appended = this.apply(part) && appended
      }
      address = undefined
      this.close(commit)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      this.draft.discard()
      return { ok: false, why: 'refused', detail: error.message, ...(address === undefined ? {} : { address }) }
    }
    this.trimLog()
    this.sweep()
    this.streams.sweep()
    this.save()
    return { ok: true, at: head.clock, tail: head.tail, ...(appended ? { appended } : {}) }
  }

  /** Whether all its messages are in the log as they are. */
  private apply(part: Part): boolean {
    const { draft, keys } = this
    const { address } = part
    if (part.life === 'created') {
      draft.put(keys.record(address), '')
      draft.put(keys.recordByKey(address), address)
    }
    if (part.life === 'erased') this.erase(address)
    else {
      for (const [name, value] of part.fields) {
        if (value === undefined) draft.remove(keys.field(address, name))
        else draft.put(keys.field(address, name), value)
      }
      this.written.set(address, part.fields)
      if (part.terms) this.setTerms(address, part.terms)
    }
    if (part.handled > 0) {
      const left = this.backlogOf(address) - part.handled
      if (left > 0) draft.put(keys.backlog(address), String(left))
      else draft.remove(keys.backlog(address))
    }
    for (const [member, due] of part.timers) this.setTimer(member, due)
    for (const [id, text] of part.effects) {
      if (text === undefined) draft.remove(keys.effect(id))
      else draft.put(keys.effect(id), text)
    }
    for (const [id, text] of part.actions) {
      const order = Number(draft.get(keys.action(id)) ?? ++this.head.actions)
      draft.put(keys.action(id), String(order))
      draft.put(keys.actionInOrder(order), join(id, text))
    }
    let appended = true
    for (const entry of part.entries) appended = this.take(entry, this.head.clock) && appended
    for (const { to, number, entry } of part.outbox) {
      // Refused here, because there is nobody to refuse it to when it is delivered.
      if (entry.rememberUntil !== undefined) draft.check(keys.expiry(entry.rememberUntil, 'i', entry.id))
      draft.check(keys.backlog(entry.to))
      draft.put(keys.outbox(to, number), encodeMessage(entry))
    }
    for (const [id, { text, until }] of part.replies) {
      draft.put(keys.reply(id), encodeTimed(until, text))
      draft.put(keys.expiry(until, 'r', id), '')
      this.remembered++
    }
    for (const { stream, text, max } of part.logs) this.streams.append(stream, text, max)
    if (part.unpark > 0 || part.park.length > 0) this.repark(address, part.unpark, part.park)
    return appended
  }

  private erase(address: string): void {
    const { draft, keys } = this
    for (const key of draft.keys(keys.fields(address))) draft.remove(key)
    for (const name of this.written.get(address)?.keys() ?? []) draft.remove(keys.field(address, name))
    for (const term of readTerms(draft, keys, address)) draft.remove(keys.term(term, address))
    draft.remove(keys.record(address))
    draft.remove(keys.recordByKey(address))
    this.repark(address, Number.POSITIVE_INFINITY, [])
    this.streams.endAll(`${address}/`)
  }

  private setTerms(address: string, terms: readonly string[]): void {
    const { draft, keys } = this
    const before = readTerms(draft, keys, address)
    for (const term of before) if (!terms.includes(term)) draft.remove(keys.term(term, address))
    for (const term of terms) if (!before.includes(term)) draft.put(keys.term(term, address), '')
    draft.put(keys.record(address), terms.join('\n'))
  }

  private setTimer(member: string, due: number | undefined): void {
    const { draft, keys } = this
    const key = keys.timer(member)
    const before = draft.get(key)
    if (before !== undefined) draft.remove(keys.due(Number(before), member))
    if (due === undefined) draft.remove(key)
    else {
      draft.put(key, String(due))
      draft.put(keys.due(due, member), '')
    }
  }

  /** Takes parked messages off the front and puts others behind. */
  private repark(address: string, unpark: number, park: readonly string[]): void {
    const { draft, keys } = this
    const key = keys.parked(address)
    let [first, last] = (draft.get(key) ?? '0 0').split(' ').map(Number) as [number, number]
    for (const through = Math.min(first + unpark, last); first < through; ) draft.remove(keys.parkedMessage(address, ++first))
    for (const text of park) draft.put(keys.parkedMessage(address, ++last), text)
    if (first < last) draft.put(key, `${first} ${last}`)
    else draft.remove(key)
  }

  /** What a commit does beside its parts. */
  private close(commit: Commit): void {
    const { draft, keys } = this
    for (const { id, until } of commit.accepted) this.remember(id, until)
    for (const id of commit.confirmed) {
      const order = draft.get(keys.action(id))
      if (order === undefined) continue
      draft.remove(keys.action(id))
      draft.remove(keys.actionInOrder(Number(order)))
    }
    for (const { to, through } of commit.delivered) {
      for (const key of draft.keys(keys.outboxUpTo(to, through))) draft.remove(key)
      for (const part of commit.parts) {
        for (const entry of part.outbox) if (entry.to === to && entry.number <= through) draft.remove(keys.outbox(to, entry.number))
      }
    }
    for (const [id, attempts] of commit.suspects) {
      if (attempts === undefined) draft.remove(keys.suspect(id))
      else draft.put(keys.suspect(id), String(attempts))
    }
  }

  private entryAt(seq: number): { at: number; text: string } | undefined {
    const value = this.draft.get(this.keys.logEntry(seq))
    return value === undefined ? undefined : decodeTimed(value)
  }

  private trimLog(): void {
    const { head } = this
    const through = Math.min(head.position, head.tail)
    while (head.trimmed < through) this.draft.remove(this.keys.logEntry(++head.trimmed))
  }

  /** Forgets ids and answers whose time has passed. */
  private sweep(): void {
    const { draft, keys, head } = this
    for (const key of draft.keys(keys.expiriesUpTo(head.clock), expiriesMin + 2 * this.remembered)) {
      draft.remove(key)
      const expiring = keys.expiring(key)
      const value = draft.get(expiring)
      // It may have been put off since; then it stands once more, later.
      if (value !== undefined && Number.parseFloat(value) <= head.clock) draft.remove(expiring)
    }
  }
}

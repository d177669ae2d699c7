/** A store contract that cannot fail proves nothing: each of these faulty stores must be caught by it. */
import { expect, test } from 'vitest'
import { MemoryDatabase, MemoryStore } from '../../src/adapters/memory/index.js'
import { beginning } from '../../src/runtime/ports/moving.js'
import type { Appended, Claim, Commit, CommitResult, Cursor, Entry, ItemPage, NewEntry, NodeIdentity, OpenOptions, OutboxEntry, Part, Redrive, Redriven, Sealed, Store, StoredItem, StoredTimer, StoreInfo } from '../../src/runtime/ports/store.js'
import { storeContract } from '../../src/testing/index.js'

/** A memory store with one thing done wrong. */
type Fault = new (...args: ConstructorParameters<typeof MemoryStore>) => MemoryStore

class LostAck extends MemoryStore {
  override async append(shard: number, entries: readonly NewEntry[]): Promise<readonly Appended[]> {
    return super.append(shard, entries.slice(0, Math.max(1, entries.length - 1))).then((appended) => [...appended, { seq: 99 }].slice(0, entries.length))
  }
}
class DoubleCommit extends MemoryStore {
  private readonly done = new Set<number>()
  override commit(commit: Commit): Promise<CommitResult> {
    if (!this.done.has(commit.number)) {
      this.done.add(commit.number)
      return super.commit(commit)
    }
    // A repeat is taken for new.
    return super.commit({ ...commit, number: Math.max(...this.done) + 1 }).then((result) => {
      this.done.add(Math.max(...this.done) + 1)
      return result
    })
  }
}
class TornWrite extends MemoryStore {
  override async commit(commit: Commit): Promise<CommitResult> {
    const bad = commit.parts.findIndex((part) => [...part.timers.values()].some((due) => due !== undefined && !Number.isFinite(due)))
    if (bad <= 0) return super.commit(commit)
    await super.commit({ ...commit, parts: commit.parts.slice(0, bad) })
    return { ok: false, why: 'refused', address: commit.parts[bad]!.address, detail: 'half-way' }
  }
}
class NoEpochCheck extends MemoryStore {
  private latest: Commit['lease'] | undefined
  override async claim(shard: number, node: NodeIdentity, seen?: never): Promise<Claim> {
    const claim = await super.claim(shard, node, seen)
    if ('lease' in claim) this.latest = claim.lease
    return claim
  }
  override commit(commit: Commit): Promise<CommitResult> {
    return super.commit({ ...commit, lease: this.latest ?? commit.lease })
  }
}
class ForgottenDedupe extends MemoryStore {
  override append(shard: number, entries: readonly NewEntry[]): Promise<readonly Appended[]> {
    return super.append(shard, entries.map(({ rememberUntil: _, ...entry }) => entry))
  }
}
class NoGapCheck extends MemoryStore {
  override async commit(commit: Commit): Promise<CommitResult> {
    const result = await super.commit(commit)
    if (result.ok || result.why !== 'gap') return result
    for (let number = 1; number < commit.number; number++) await super.commit({ ...commit, number, parts: [] })
    return super.commit(commit)
  }
}
class ForgottenIdsOfCommits extends MemoryStore {
  override commit(commit: Commit): Promise<CommitResult> {
    return super.commit({ ...commit, accepted: [] })
  }
}
class TrimsByLength extends MemoryStore {
  override async read(...args: Parameters<MemoryStore['read']>): Promise<readonly Entry[]> {
    return (await super.read(...args)).slice(-2)
  }
}
class RepeatedDelivery extends MemoryStore {
  override async deliver(to: number, _from: number, entries: readonly OutboxEntry[]): Promise<void> {
    await super.append(to, entries.map(({ entry }) => entry))
  }
}
class DropsDeletes extends MemoryStore {
  override commit(commit: Commit): Promise<CommitResult> {
    const parts = commit.parts.map((part): Part => ({ ...part, fields: new Map([...part.fields].filter(([, value]) => value !== undefined)) }))
    return super.commit({ ...commit, parts })
  }
}
class TimersOutOfOrder extends MemoryStore {
  override async timers(...args: Parameters<MemoryStore['timers']>): Promise<readonly StoredTimer[]> {
    return (await super.timers(...args)).toReversed()
  }
}
class LostWakeUp extends MemoryStore {
  override read(shard: number, after: number, max: number, signal: AbortSignal): Promise<readonly Entry[]> {
    if (signal.aborted) return super.read(shard, after, max, signal)
    return new Promise((resolve) => signal.addEventListener('abort', () => resolve([])))
  }
}
class StealsLeases extends MemoryStore {
  override async claim(shard: number, node: NodeIdentity, seen?: never): Promise<Claim> {
    const claim = await super.claim(shard, node, seen)
    return 'lease' in claim ? claim : super.claim(shard, node, claim.heldBy as never)
  }
}
class TrimsUnread extends MemoryStore {
  override commit({ read: _, ...commit }: Commit): Promise<CommitResult> {
    return super.commit(commit)
  }
}
class ErasesNeighbours extends MemoryStore {
  override async commit(commit: Commit): Promise<CommitResult> {
    const erased = commit.parts.find((part) => part.life === 'erased')
    if (!erased) return super.commit(commit)
    const neighbours = (await this.find(commit.lease.shard, {})).actors.flatMap(({ address }) => (address.startsWith(erased.address) ? [address] : []))
    return super.commit({ ...commit, parts: neighbours.map((address) => ({ ...erased, address })) })
  }
}
class KeepsWhatWasFound extends MemoryStore {
  private readonly before = new Map<string, readonly string[]>()
  override commit(commit: Commit): Promise<CommitResult> {
    const parts = commit.parts.map((part): Part => {
      if (!part.terms) return part
      const terms = [...new Set([...(this.before.get(part.address) ?? []), ...part.terms])]
      this.before.set(part.address, terms)
      return { ...part, terms }
    })
    return super.commit({ ...commit, parts })
  }
}
class KeepsRedriven extends MemoryStore {
  override async redrive(shard: number, letters: readonly Redrive[]): Promise<readonly Redriven[]> {
    await this.append(shard, letters.map(({ entry }) => entry))
    return letters.map(() => 'redriven')
  }
}
class AcceptsOutcomesAsOpen extends MemoryStore {
  override append(shard: number, entries: readonly NewEntry[]): Promise<readonly Appended[]> {
    return super.append(shard, entries.map((entry) => ({ ...entry, id: `${entry.id}'` })))
  }
}

class OpenThoughSealed extends MemoryStore {
  override async seal(...[shard, move, why, over]: Parameters<MemoryStore['seal']>): Promise<Sealed> {
    const sealed = await super.seal(shard, move, why, over)
    await super.unseal(shard, move)
    return sealed
  }
}
class SealsTheLiving extends MemoryStore {
  override async seal(...[shard, move, why, over]: Parameters<MemoryStore['seal']>): Promise<Sealed> {
    const sealed = await super.seal(shard, move, why, over)
    return 'heldBy' in sealed ? super.seal(shard, move, why, { ...over, seen: sealed.heldBy }) : sealed
  }
}
class TakesPagesAgain extends MemoryStore {
  override async import(...[shard, move, page]: Parameters<MemoryStore['import']>): Promise<Cursor> {
    const at = await super.import(shard, move, { from: beginning, items: [], next: beginning })
    return super.import(shard, move, { ...page, from: at })
  }
}
class OpensThoughMarked extends MemoryStore {
  override open(options: OpenOptions): Promise<StoreInfo> {
    return super.open({ moving: 'to', ...options })
  }
}
/** Leaves one kind of thing behind, here and there, so that no digest tells. */
function leavesBehind(...kinds: readonly StoredItem['kind'][]): Fault {
  return class extends MemoryStore {
    override async export(shard: number, from: Cursor): Promise<ItemPage> {
      const page = await super.export(shard, from)
      return { ...page, items: page.items.filter(({ kind }) => !kinds.includes(kind)) }
    }
  }
}
const everyKind: readonly StoredItem['kind'][] = ['shard', 'entry', 'backlog', 'delivered', 'id', 'reply', 'timer', 'effect', 'action', 'suspect', 'outbox', 'record', 'parked', 'stream', 'line']

const faults: readonly [string, Fault][] = [
  ['a lost acknowledgement', LostAck],
  ['a commit written twice', DoubleCommit],
  ['a torn write', TornWrite],
  ['a missing epoch check', NoEpochCheck],
  ['a missing gap check', NoGapCheck],
  ['entries trimmed that were not read', TrimsUnread],
  ['a forgotten dedupe of appends', ForgottenDedupe],
  ['a forgotten dedupe of what skipped the log', ForgottenIdsOfCommits],
  ['a forgotten dedupe of deliveries', RepeatedDelivery],
  ['a log trimmed by length', TrimsByLength],
  ['deletes that are dropped', DropsDeletes],
  ['timers out of order', TimersOutOfOrder],
  ['a lost wake-up', LostWakeUp],
  ['leases given to whoever asks', StealsLeases],
  ['an erase that takes neighbours along', ErasesNeighbours],
  ['dead letters redriven again and again', KeepsRedriven],
  ['an actor found where it was before', KeepsWhatWasFound],
  ['effects recovered although their outcome was accepted', AcceptsOutcomesAsOpen],
  ['a sealed shard that is open', OpenThoughSealed],
  ['a shard sealed whose owner lives', SealsTheLiving],
  ['pages of a move taken again', TakesPagesAgain],
  ['a marked namespace that opens', OpensThoughMarked],
  ...everyKind.map((kind): [string, Fault] => [`a move that leaves every ${kind} behind`, leavesBehind(kind)]),
]

test.each(faults)('%s is caught', async (_, Faulty) => {
  const caught: string[] = []
  const cases = storeContract({
    noticeMs: 200,
    create: async () => {
      const database = new MemoryDatabase()
      return { connect: (): Store => new Faulty({ database }), node: (id) => ({ id }), dispose: async () => {} }
    },
  })
  for (const { name, run } of cases) {
    try {
      await Promise.race([run(), new Promise((__, reject) => setTimeout(() => reject(new Error('hangs')), 1_000))])
    } catch {
      caught.push(name)
    }
  }
  expect(caught).not.toEqual([])
})

/**
 * A crash test that cannot fail proves nothing. Each of these stores loses or repeats one thing when a process is killed,
 * and is right otherwise: as if the runtime did not store it, did not take it up, or wrote it apart from the rest. Crash
 * equivalence must catch every one of them within a few generated machines.
 */
import { expect, test } from 'vitest'
import { MemoryDatabase, MemoryStore } from '../../src/adapters/memory/index.js'
import type { Claim, Commit, CommitResult, Entry, Holder, NodeIdentity, OutboxEntry, Recovery } from '../../src/runtime/ports/store.js'
import { CrashTestError } from '../../src/testing/index.js'
import { crash, draw } from './crash-equivalence.js'
import { extent } from '../support/extent.js'

/** A database and what a fault must remember of it beyond the life of a process. */
class Database extends MemoryDatabase {
  readonly lastCommits = new Map<number, Commit>()
  /** The last entry of each shard's log that was handled. */
  readonly lastHandled = new Map<number, Shard['log'][number]>()
}

type Shard = NonNullable<ReturnType<MemoryDatabase['namespaces']['get']>>['shards'][number]

class FaultyStore extends MemoryStore {
  protected readonly base: Database
  constructor(database: Database) {
    super({ database })
    this.base = database
  }

  protected at(shard: number): Shard {
    return this.base.namespaces.get('default')!.shards[shard]!
  }

  override async claim(number: number, node: NodeIdentity, seen?: Holder): Promise<Claim> {
    const claim = await super.claim(number, node, seen)
    if ('heldBy' in claim || claim.state.clean) return claim
    const shard = this.at(number)
    this.takenOver(shard, this.base.lastCommits.get(number), this.base.lastHandled.get(number))
    return { ...claim, state: { ...claim.state, position: shard.position, tail: shard.seq } }
  }

  override async commit(commit: Commit): Promise<CommitResult> {
    const { shard } = commit.lease
    const handled = this.at(shard).log.findLast((entry) => entry.seq <= commit.position)
    const result = await super.commit(commit)
    if (result.ok) this.base.lastCommits.set(shard, commit)
    if (result.ok && handled) this.base.lastHandled.set(shard, handled)
    return result
  }

  /** What goes wrong with a shard whose owner was killed. */
  protected takenOver(_shard: Shard, _last: Commit | undefined, _handled: Shard['log'][number] | undefined): void {}
}

class LosesTimers extends FaultyStore {
  protected override takenOver(shard: Shard): void {
    shard.timers.clear()
  }
}
class LosesOneTimer extends FaultyStore {
  protected override takenOver(shard: Shard): void {
    const [last] = [...shard.timers.keys()].slice(-1)
    if (last !== undefined) shard.timers.delete(last)
  }
}
class TimersBeginAnew extends FaultyStore {
  protected override takenOver(shard: Shard): void {
    for (const [member, dueAt] of shard.timers) shard.timers.set(member, dueAt + 1_000)
  }
}
class LosesEffects extends FaultyStore {
  protected override takenOver(shard: Shard): void {
    shard.effects.clear()
  }
}
class ForgetsOutcomes extends FaultyStore {
  protected override takenOver(shard: Shard): void {
    for (const id of shard.effects.keys()) shard.ids.delete(id)
  }
}
class LosesActions extends FaultyStore {
  protected override takenOver(shard: Shard): void {
    shard.actions.clear()
  }
}
class LosesOutbox extends FaultyStore {
  protected override takenOver(shard: Shard): void {
    shard.outbox.clear()
  }
}
class LosesAcceptedMessages extends FaultyStore {
  protected override takenOver(shard: Shard): void {
    const last = shard.log.pop()
    if (!last) return
    shard.seq--
    shard.backlog.delete(last.to)
  }
}
class ForgetsIds extends FaultyStore {
  protected override takenOver(shard: Shard): void {
    shard.ids.clear()
  }
}
class DeliversAgain extends FaultyStore {
  override async deliver(to: number, from: number, entries: readonly OutboxEntry[]): Promise<void> {
    this.at(to).delivered.delete(from)
    await super.deliver(to, from, entries)
  }
}
class HandlesAgain extends FaultyStore {
  protected override takenOver(shard: Shard, _last: Commit | undefined, handled: Shard['log'][number] | undefined): void {
    if (!handled || handled.seq !== shard.position) return
    shard.position--
    shard.log.unshift(handled)
  }
}
class LosesReplies extends FaultyStore {
  protected override takenOver(shard: Shard): void {
    shard.replies.clear()
  }
}
class LosesParked extends FaultyStore {
  protected override takenOver(shard: Shard): void {
    shard.parked.clear()
  }
}
class LosesDeadLetters extends FaultyStore {
  protected override takenOver(shard: Shard): void {
    shard.streams.delete('dead')
  }
}
class LosesStreams extends FaultyStore {
  protected override takenOver(shard: Shard): void {
    shard.streams.clear()
  }
}
/** The fields of the last commit's records are there, and nothing else of it. */
class TearsCommits extends FaultyStore {
  protected override takenOver(shard: Shard, last: Commit | undefined): void {
    for (const part of last?.parts ?? []) {
      for (const member of part.timers.keys()) shard.timers.delete(member)
      for (const id of part.effects.keys()) shard.effects.delete(id)
      for (const id of part.actions.keys()) shard.actions.delete(id)
      for (const { number } of part.outbox) shard.outbox.delete(number)
    }
  }
}
/** The last commit's records are there but for one field. */
class LosesFields extends FaultyStore {
  protected override takenOver(shard: Shard, last: Commit | undefined): void {
    for (const { address, fields } of last?.parts ?? []) {
      const [name] = [...fields].filter(([, value]) => value !== undefined).map(([field]) => field)
      if (name !== undefined) shard.records.get(address)?.delete(name)
    }
  }
}
class ReadsOutOfOrder extends FaultyStore {
  override async read(...args: Parameters<MemoryStore['read']>): Promise<readonly Entry[]> {
    const entries = await super.read(...args)
    // Two messages wait for one reader only where an earlier one died or fell behind.
    return entries.length > 1 ? entries.toReversed().map((entry, i) => ({ ...entry, seq: entries[i]!.seq })) : entries
  }
  // Else it would refuse them itself: they name another entry than it holds there.
  override commit({ read: _, ...commit }: Commit): Promise<CommitResult> {
    return super.commit(commit)
  }
}
class RecoversTwice extends FaultyStore {
  override async recover(shard: number): Promise<Recovery> {
    const recovery = await super.recover(shard)
    return { ...recovery, outbox: recovery.outbox.flatMap((entry) => [entry, { ...entry, number: entry.number + 30_000 }]) }
  }
}

/** With how many generated machines it takes at most. */
const faults: readonly (readonly [what: string, fault: typeof FaultyStore, machinesMax: number])[] = [
  ['timers are lost', LosesTimers, 5],
  ['one timer is lost', LosesOneTimer, 5],
  ['timers begin anew', TimersBeginAnew, 5],
  ['effects are lost', LosesEffects, 5],
  ['outcomes of effects are forgotten', ForgetsOutcomes, 10],
  ['actions are lost', LosesActions, 10],
  ['messages to other shards are lost', LosesOutbox, 5],
  ['accepted messages are lost', LosesAcceptedMessages, 5],
  ['ids of messages are forgotten', ForgetsIds, 5],
  ['messages to other shards are taken twice', DeliversAgain, 5],
  ['messages to other shards are recovered twice', RecoversTwice, 5],
  ['a message is handled again', HandlesAgain, 5],
  ['replies are lost', LosesReplies, 15],
  ['parked messages are lost', LosesParked, 5],
  ['dead letters are lost', LosesDeadLetters, 60],
  ['streams are lost', LosesStreams, 5],
  ['a commit is torn', TearsCommits, 5],
  ['a field of a record is lost', LosesFields, 5],
  ['messages are read out of order', ReadsOutOfOrder, 30],
]

/** What the first machine that shows the fault fails with. */
async function caughtBy(Fault: typeof FaultyStore, machinesMax: number): Promise<unknown> {
  for (let seed = 1; seed <= machinesMax; seed++) {
    const databases = new Map<number, Database>()
    const connect = (run: number): MemoryStore => {
      const database = databases.get(run) ?? new Database()
      databases.set(run, database)
      return new Fault(database)
    }
    try {
      await crash(draw(seed), 12, connect)
    } catch (error) {
      return error
    }
  }
  return undefined
}

for (const [what, Fault, machinesMax] of faults) {
  test(`where ${what} when a process is killed, that is caught within ${machinesMax} generated machines`, async () => {
    expect(await caughtBy(Fault, machinesMax)).toBeInstanceOf(CrashTestError)
  })
}

test('where nothing is wrong, nothing is caught', async () => {
  expect(await caughtBy(FaultyStore, extent(10, 30))).toBeUndefined()
})

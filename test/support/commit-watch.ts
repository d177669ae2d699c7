/**
 * What must hold of the commits that a store accepts, whatever the machines are that make them: watched from outside, by the
 * writes alone. And what must be left of a namespace once everything has come to rest.
 */
import type { MemoryDatabase } from '../../src/adapters/memory/index.js'
import { lostCommitsMax, type Claim, type Commit, type CommitResult } from '../../src/runtime/ports/store.js'
import type { Write } from '../../src/testing/index.js'

interface Chain {
  number: number
  epoch: number
  node: string
  position: number
  clock: number
  readonly due: Map<string, number>
}

export class CommitWatch {
  private readonly chains = new Map<number, Chain>()
  /** What did not hold. */
  readonly violations: string[] = []

  /** For `onWritten` of a faulty store. */
  saw({ kind, commit }: Write, answer: unknown): void {
    if (kind === 'claim') this.claimed(answer as Claim)
    if (kind === 'commit' && commit && (answer as CommitResult).ok) this.committed(commit, answer as CommitResult & { ok: true })
  }

  private chain(shard: number): Chain {
    let chain = this.chains.get(shard)
    if (!chain) this.chains.set(shard, (chain = { number: 0, epoch: 0, node: '', position: 0, clock: 0, due: new Map() }))
    return chain
  }

  private claimed(claim: Claim): void {
    if (!('lease' in claim)) return
    const chain = this.chain(claim.lease.shard)
    if (claim.lease.epoch <= chain.epoch) this.violations.push(`I2: shard ${claim.lease.shard} was claimed under epoch ${claim.lease.epoch} after ${chain.epoch}`)
    chain.epoch = claim.lease.epoch
    chain.node = claim.lease.node
    // Who takes over goes on above all that may be lost.
    const before = chain.number
    chain.number = Math.max(before, claim.state.number)
    if (claim.state.number < before || (claim.state.number - before) % lostCommitsMax !== 0) this.violations.push(`I3: shard ${claim.lease.shard} was claimed at commit ${claim.state.number}, and stood at ${before}`)
  }

  private committed({ lease, number, position, at, parts }: Commit, result: CommitResult & { ok: true }): void {
    const { shard, epoch, node } = lease
    const chain = this.chain(shard)
    if (epoch !== chain.epoch || node !== chain.node) this.violations.push(`I2: shard ${shard} took commit ${number} of ${node} under epoch ${epoch}, and ${chain.node} owns it under ${chain.epoch}`)
    // A repeat.
    if (number <= chain.number) return
    if (number !== chain.number + 1) this.violations.push(`I3: shard ${shard} took commit ${number} after ${chain.number}`)
    if (position < chain.position) this.violations.push(`I1: the log of shard ${shard} was handled up to ${chain.position}, and then up to ${position}`)
    if (result.at < chain.clock) this.violations.push(`I6: the clock of shard ${shard} went from ${chain.clock} back to ${result.at}`)
    Object.assign(chain, { number, position, clock: result.at })
    for (const { timers } of parts) {
      for (const [member, due] of timers) {
        const before = chain.due.get(member)
        if (due !== undefined) chain.due.set(member, due)
        else {
          chain.due.delete(member)
          if (before === undefined) this.violations.push(`I6: timer ${member} of shard ${shard} ended twice`)
          // Nothing here cancels a timer.
          else if (at < before) this.violations.push(`I6: timer ${member} of shard ${shard} fired at ${at}, due at ${before}`)
        }
      }
    }
  }
}

/** What is left where nothing is to be done any more (I5, I12): each kind that holds something, by shard; but for what is excused, by its text. */
export function leftovers(database: MemoryDatabase, namespace = 'default', isExcused: (text: string) => boolean = () => false): string[] {
  return database.namespaces.get(namespace)!.shards.flatMap((shard, number) =>
    (['timers', 'effects', 'actions', 'suspects', 'outbox', 'parked', 'backlog', 'log'] as const).flatMap((kind) => {
      const held = [...shard[kind]].filter((item) => !isExcused(JSON.stringify(item)))
      return held.length === 0 ? [] : [`shard ${number} still holds ${held.length} ${kind}: ${JSON.stringify(held).slice(0, 200)}`]
    }),
  )
}

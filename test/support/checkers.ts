/**
 * Whether what happened in a simulated world keeps the invariants (DESIGN, I1 to I12): one pure function for each, over a
 * history alone (history.ts). They know nothing of how the runtime works, and of the workload only its events and contexts:
 *
 * - a `cell` notes each `add` in `seen` and tells its partner `hear`, noted in `heard`; `question` is answered with twice its
 *   `n` and noted in `asked`; outcomes of its effects are noted in `worked`, `posted` and `answers`
 * - a `purse` has a `ledger` and what it was given in `held`; a `gate` an `approval` and a `decision`
 * - a `worker` is the child of the supervisor with the key before its `~`; a `victim` may be made to throw, or be damaged
 *
 * A store that went back in time loses what was acknowledged after its image (docs/reliability.md): what such a rollback
 * excuses, and no more, is excused here.
 */
import { isBalanced, sum, type Amounts, type Ledger } from '../../src/machines/ledger.js'
import type { History, HistoryEntry, Left } from './history.js'

type Kind = HistoryEntry['kind']
type Of<K extends Kind> = Extract<HistoryEntry, { kind: K }> & { readonly index: number }
export type Checker = (history: History) => string[]

function all<K extends Kind>({ entries }: History, kind: K): Of<K>[] {
  return entries.flatMap((entry, index) => (entry.kind === kind ? [{ ...entry, index } as Of<K>] : []))
}

/** What went back when: entries after `image` up to `at` were lost for the shard. */
interface Loss {
  readonly shard: number
  readonly image: number
  readonly at: number
}

function lossesIn(history: History): Loss[] {
  const images = new Map(all(history, 'imaged').map(({ image, index }) => [image, index]))
  return all(history, 'rolledBack').flatMap(({ image, shards, index }) => shards.map(({ shard }) => ({ shard, image: images.get(image)!, at: index })))
}

const mayHaveLost = (losses: readonly Loss[], shard: number, from: number, until: number): boolean => losses.some((loss) => loss.shard === shard && loss.at >= from && loss.image <= until)

function rest(history: History): Of<'rest'> | undefined {
  return all(history, 'rest').at(-1)
}

function listOf(left: Left | undefined, name: string): readonly number[] {
  return (left?.context?.[name] as readonly number[] | undefined) ?? []
}

function count<T>(list: readonly T[], item: T): number {
  return list.filter((other) => other === item).length
}

/** When each number first stood in a list of an actor, by the commits. */
function firstIn(history: History, name: string): Map<string, number> {
  const first = new Map<string, number>()
  for (const { parts, index } of all(history, 'committed')) {
    for (const { address, context } of parts) for (const n of (context[name] as readonly number[] | undefined) ?? []) if (!first.has(`${address} ${n}`)) first.set(`${address} ${n}`, index)
  }
  return first
}

const cells = (actors: Of<'rest'>['actors']): [string, Left][] => Object.entries(actors).filter(([address]) => address.startsWith('cell/'))

/** I1: an acknowledged message is not lost and changes its actor once; so is what its turn sends. */
export const i1: Checker = (history) => {
  const end = rest(history)
  if (!end) return []
  const found: string[] = []
  const losses = lossesIn(history)
  const answers = new Map(all(history, 'answered').map((answer) => [answer.n, answer]))
  const sent = new Map(all(history, 'sent').map((message) => [message.n, message]))
  const shards = new Map([...sent.values()].map(({ to, shard }) => [to, shard]))
  for (const { parts, shard } of all(history, 'committed')) for (const { address } of parts) shards.set(address, shard)
  for (const [list, what] of [['seen', 'add'], ['asked', 'question']] as const) {
    for (const message of sent.values()) {
      if (message.what !== what || !message.to.startsWith('cell/')) continue
      const { n, to, shard } = message
      const times = count(listOf(end.actors[to], list), n)
      if (times > 1) found.push(`message ${n} changed ${to} ${times} times`)
      const answer = answers.get(n)
      if (answer?.outcome === 'accepted' && times === 0 && !end.dead.includes(`${to} ${what} ${n}`) && !mayHaveLost(losses, shard, message.index, answer.index)) found.push(`message ${n} to ${to} was acknowledged and is lost`)
    }
    for (const [address, left] of cells(end.actors)) for (const n of listOf(left, list)) if (list === 'seen' && sent.get(n)?.to !== address) found.push(`${address} has ${n}, which nobody sent it`)
  }
  // One sender's messages to one actor keep their order.
  for (const [address, left] of cells(end.actors)) {
    const last = new Map<string, number>()
    for (const n of listOf(left, 'seen')) {
      if (answers.get(n)?.outcome !== 'accepted') continue
      const { node } = sent.get(n) ?? { node: '' }
      if (n < (last.get(node) ?? 0)) found.push(`message ${n} of ${node} to ${address} was overtaken by ${last.get(node)}`)
      last.set(node, n)
    }
  }
  const handled = firstIn(history, 'seen')
  const heardAt = firstIn(history, 'heard')
  for (const [address, left] of cells(end.actors)) {
    const partner = left.context?.['partner'] as string | undefined
    if (partner === undefined) continue
    const told = listOf(left, 'seen')
    const heard = listOf(end.actors[partner], 'heard')
    const rolled = (n: number): boolean => losses.some(({ shard, image, at }) => (shard === shards.get(address) || shard === shards.get(partner)) && at >= (handled.get(`${address} ${n}`) ?? 0) && !((heardAt.get(`${partner} ${n}`) ?? Infinity) < image))
    for (const n of told) {
      const times = count(heard, n)
      if (times !== 1 && !(times === 0 && end.dead.includes(`${partner} hear ${n}`)) && !rolled(n)) found.push(`what ${address} told ${partner} of ${n} arrived ${times} times`)
    }
    const inOrder = heard.filter((n) => told.includes(n) && !rolled(n))
    const expected = told.filter((n) => inOrder.includes(n))
    if (inOrder.join() !== expected.join()) found.push(`what ${address} told ${partner} arrived as ${inOrder.join()}, told as ${expected.join()}`)
  }
  for (const [address, left] of cells(end.actors)) {
    for (const list of ['worked', 'posted'] as const) for (const token of new Set(listOf(left, list))) if (count(listOf(left, list), token) > 1) found.push(`the outcome of ${token} changed ${address} more than once`)
  }
  return found
}

/** One shard as it stands by the commits that the store took. */
interface Chain {
  epoch: number
  node: string
  number: number
  position: number
  clock: number
  due: Map<string, number>
  /** Who wrote what, by number. */
  written: Map<number, string>
}

/** Goes through claims and commits; what went back in time goes back here, too. */
function walk(history: History, see: (entry: HistoryEntry & { kind: 'claimed' | 'committed' }, chain: Chain, say: (what: string) => void) => void): string[] {
  const found: string[] = []
  const chains = new Map<number, Chain>()
  const images = new Map<number, Map<number, Chain>>()
  const copy = (chain: Chain): Chain => ({ ...chain, due: new Map(chain.due), written: new Map(chain.written) })
  for (const entry of history.entries) {
    if (entry.kind === 'imaged') images.set(entry.image, new Map([...chains].map(([shard, chain]) => [shard, copy(chain)])))
    if (entry.kind === 'rolledBack') {
      for (const { shard } of entry.shards) {
        const before = images.get(entry.image)?.get(shard)
        if (before) chains.set(shard, copy(before))
        else chains.delete(shard)
      }
    }
    if (entry.kind !== 'claimed' && entry.kind !== 'committed') continue
    let chain = chains.get(entry.shard)
    if (!chain) chains.set(entry.shard, (chain = { epoch: 0, node: '', number: 0, position: 0, clock: 0, due: new Map(), written: new Map() }))
    see(entry, chain, (what) => void found.push(`shard ${entry.shard}: ${what}`))
    if (entry.kind === 'claimed') Object.assign(chain, { epoch: entry.epoch, node: entry.node, number: entry.number })
    else if (entry.number > chain.number) {
      chain.written.set(entry.number, bodyOf(entry))
      Object.assign(chain, { number: entry.number, position: entry.position, clock: entry.clock })
      for (const { timers } of entry.parts) for (const [member, due] of timers) due === null ? chain.due.delete(member) : chain.due.set(member, due)
    }
  }
  return found
}

function bodyOf({ node, epoch, position, parts, tokens }: HistoryEntry & { kind: 'committed' }): string {
  return JSON.stringify([node, epoch, position, parts, tokens])
}

/** I2: no commit under an old epoch is accepted. */
export const i2: Checker = (history) =>
  walk(history, (entry, chain, say) => {
    if (entry.kind === 'claimed') {
      if (entry.epoch <= chain.epoch) say(`claimed by ${entry.node} under epoch ${entry.epoch} after ${chain.epoch}`)
    } else if (entry.epoch !== chain.epoch || entry.node !== chain.node) say(`took commit ${entry.number} of ${entry.node} under epoch ${entry.epoch}, and ${chain.node} owns it under ${chain.epoch}`)
  })

/** I3: commits form one chain; who is told that a commit stands is told so of his own. */
export const i3: Checker = (history) =>
  walk(history, (entry, chain, say) => {
    if (entry.kind === 'claimed') {
      if (entry.stood !== chain.number || entry.number < entry.stood) say(`claimed at commit ${entry.stood}, and stood at ${chain.number}`)
      return
    }
    if (entry.number > chain.number + 1) say(`took commit ${entry.number} after ${chain.number}`)
    if (entry.number <= chain.number && chain.written.get(entry.number) !== bodyOf(entry)) say(`${entry.node} was told that its commit ${entry.number} stands, and another does`)
    if (entry.number > chain.number && entry.position < chain.position) say(`the log was handled up to ${chain.position}, and then up to ${entry.position}`)
  })

/** I4: nothing acts before its commit; a key is executed once, with one set of arguments; an external action is never tried again blindly. */
export const i4: Checker = (history) => {
  const found: string[] = []
  const committed = new Map<string, number>()
  const rollbacks = all(history, 'rolledBack').map(({ index }) => index)
  const isBetween = (from: number, to: number): boolean => rollbacks.some((index) => index > from && index < to)
  const executed = new Map<string, number>()
  const args = new Map<string, { readonly args: string; readonly index: number }>()
  const first = new Map<string, number>()
  const tried = new Map<string, number>()
  const ran = new Map<string, number>()
  const denied = new Map<string, number>()
  history.entries.forEach((entry, index) => {
    if (entry.kind === 'committed') for (const token of entry.tokens) if (!committed.has(token)) committed.set(token, index)
    if (entry.kind === 'reconciled' && !entry.happened) denied.set(entry.key, index)
    if (entry.kind === 'executed') {
      if (executed.has(entry.key)) found.push(`${entry.key} was executed twice`)
      executed.set(entry.key, index)
      if (!tried.has(entry.key)) found.push(`${entry.key} was executed, and nobody tried it`)
    }
    if (entry.kind === 'conflict') {
      // What was under way when the store went back arrives all the same.
      if (!executed.has(entry.key) || !isBetween(first.get(entry.key)!, index)) found.push(`${entry.key} was refused by its receiver: other arguments`)
    }
    if (entry.kind !== 'acted') return
    if (!committed.has(entry.token)) found.push(`${entry.what} ${entry.token} at ${entry.node} before its commit`)
    if (entry.key === undefined) return
    const before = args.get(entry.key)
    if (before && before.args !== entry.args && !isBetween(before.index, index)) found.push(`${entry.key} was tried with ${before.args} and with ${entry.args}`)
    // Its commit may have been lost before it was heard of.
    const since = committed.get(entry.token) ?? index
    args.set(entry.key, { args: entry.args!, index: since })
    if (!first.has(entry.key)) first.set(entry.key, since)
    if (entry.what !== 'external') return
    const last = tried.get(entry.key)
    if (last !== undefined && (denied.get(entry.key) ?? -1) < (ran.get(entry.key) ?? 0) && !isBetween(last, index)) found.push(`${entry.key} was tried again without asking its receiver`)
    tried.set(entry.key, since)
    ran.set(entry.key, index)
  })
  return found
}

/** I5: what was accepted has come to an end, and whoever asked was told, unless his process died. */
export const i5: Checker = (history) => {
  const end = rest(history)
  if (!end) return []
  const found = end.leftovers.map((left) => `left at the end: ${left}`)
  const killed = new Set(all(history, 'node').filter(({ is }) => is === 'killed').map(({ node }) => node))
  const answers = new Map(all(history, 'answered').map((answer) => [answer.n, answer]))
  for (const { n, node, to, what, isQuestion } of all(history, 'sent')) {
    const answer = answers.get(n)
    if (!answer && !killed.has(node)) found.push(`${node} was never told what became of ${what} ${n} to ${to}`)
    if (isQuestion && answer?.outcome === 'accepted' && answer.value !== 2 * n) found.push(`question ${n} was answered with ${JSON.stringify(answer.value)}`)
  }
  for (const [address, left] of cells(end.actors)) {
    const states = Object.entries((left.value ?? {}) as Record<string, unknown>)
    for (const [region, state] of states) if (!['book', 'idle', 'still'].includes(typeof state === 'string' ? state : region)) found.push(`${address} still is ${region}: ${JSON.stringify(state)}`)
  }
  const owned = end.owners.filter((owner) => owner !== null && !owner.includes('+')).length
  if (owned !== end.owners.length) found.push(`of ${end.owners.length} shards ${owned} have one owner`)
  return found
}

/** I6: a timer fires once, and never early by the namespace clock, which never goes back. */
export const i6: Checker = (history) =>
  walk(history, (entry, chain, say) => {
    if (entry.kind === 'claimed' || entry.number <= chain.number) return
    if (entry.clock < chain.clock) say(`its clock went from ${chain.clock} back to ${entry.clock}`)
    for (const { timers } of entry.parts) {
      for (const [member, due] of timers) {
        // Of the workload's timers these end only by firing; whoever erases them has set them.
        if (due !== null || !member.includes('xstate.after')) continue
        const before = chain.due.get(member)
        if (before === undefined) say(`timer ${member} ended twice`)
        else if (entry.at < before) say(`timer ${member} fired at ${entry.at}, due at ${before}`)
      }
    }
  })

const amounts = (all: Iterable<Amounts>): Amounts => sum(all)
const isSame = (a: Amounts, b: Amounts): boolean => a.calls === b.calls && a.tokens === b.tokens && a.nanoDollars === b.nanoDollars

/** I7: every ledger is balanced at every commit; and, unless part of the store was lost, what was granted is what was received. */
export const i7: Checker = (history) => {
  const found: string[] = []
  for (const { parts, shard, number } of all(history, 'committed')) {
    for (const { address, context } of parts) {
      const ledger = context['ledger'] as Ledger | undefined
      if (ledger && !isBalanced(ledger)) found.push(`the ledger of ${address} is not balanced at commit ${number} of shard ${shard}: ${JSON.stringify(ledger)}`)
    }
  }
  const end = rest(history)
  if (!end || all(history, 'rolledBack').length > 0 || end.dead.some((letter) => letter.startsWith('purse/'))) return found
  const purses = Object.entries(end.actors).filter(([address]) => address.startsWith('purse/'))
  const granted = purses.flatMap(([, left]) => Object.entries((left.context?.['ledger'] as Ledger | undefined)?.granted ?? {}))
  const held = new Map(purses.flatMap(([, left]) => Object.entries((left.context?.['held'] as Record<string, Amounts> | undefined) ?? {})))
  for (const [id, given] of granted) if (!held.has(id) || !isSame(held.get(id)!, given)) found.push(`grant ${id} of ${JSON.stringify(given)} is held as ${JSON.stringify(held.get(id))}`)
  const ids = new Set(granted.map(([id]) => id))
  for (const id of held.keys()) if (!ids.has(id)) found.push(`grant ${id} is held, and nobody has given it`)
  const ledgers = purses.map(([, left]) => left.context?.['ledger'] as Ledger)
  const minted = purses.map(([, left]) => (left.context?.['minted'] as Amounts | undefined) ?? { tokens: 0, calls: 0, nanoDollars: 0 })
  const there = amounts(ledgers.flatMap((ledger) => [ledger.free, ledger.spent, ...Object.values(ledger.reserved)]))
  if (!isSame(there, amounts(minted))) found.push(`${JSON.stringify(amounts(minted))} was minted, and ${JSON.stringify(there)} is there`)
  return found
}

/**
 * I8: no more than so many restarts within the period, however often the process began anew. A restart was decided between
 * the failure before it and its begin; what is counted here was certainly decided within the period.
 */
export const i8: Checker = (history) => {
  const { restartsMax, periodMs } = history.bounds
  const found: string[] = []
  type Restarts = { readonly begun: Set<string>; readonly failedAt: Map<string, number>; readonly restarts: { readonly failed: number; readonly began: number }[] }
  const byKey = new Map<string, Restarts>()
  const images = new Map<number, Map<string, Restarts>>()
  const numbers = new Map<number, number>()
  const shardOfKey = new Map<string, number>()
  const copy = ({ begun, failedAt, restarts }: Restarts): Restarts => ({ begun: new Set(begun), failedAt: new Map(failedAt), restarts: [...restarts] })
  for (const entry of history.entries) {
    if (entry.kind === 'imaged') images.set(entry.image, new Map([...byKey].map(([key, restarts]) => [key, copy(restarts)])))
    if (entry.kind === 'rolledBack') {
      for (const { shard, to } of entry.shards) {
        numbers.set(shard, to)
        for (const [key, of] of shardOfKey) {
          if (of !== shard) continue
          const before = images.get(entry.image)?.get(key)
          if (before) byKey.set(key, copy(before))
          else byKey.delete(key)
        }
      }
    }
    if (entry.kind !== 'committed' || entry.number <= (numbers.get(entry.shard) ?? 0)) continue
    numbers.set(entry.shard, entry.number)
    for (const { address, begins, fails } of entry.parts) {
      if (!address.startsWith('worker/')) continue
      const key = address.slice('worker/'.length, address.indexOf('~'))
      shardOfKey.set(key, entry.shard)
      let restarts = byKey.get(key)
      if (!restarts) byKey.set(key, (restarts = { begun: new Set(), failedAt: new Map(), restarts: [] }))
      if (begins && restarts.begun.has(address) && restarts.failedAt.has(address)) {
        restarts.restarts.push({ failed: restarts.failedAt.get(address)!, began: entry.at })
        restarts.failedAt.delete(address)
        const first = restarts.restarts.at(-1 - restartsMax)
        if (first && entry.at - first.failed < periodMs) found.push(`the children of supervisor/${key} began again ${restartsMax + 1} times within ${entry.at - first.failed} ms`)
      }
      if (begins) restarts.begun.add(address)
      if (fails) restarts.failedAt.set(address, entry.at)
    }
  }
  return found
}

/** I9: only who was made to fail has failed, or was set aside. */
export const i9: Checker = (history) => {
  const end = rest(history)
  if (!end) return []
  const thrown = new Set([...all(history, 'sent').filter(({ what }) => what === 'throw' || what === 'fail').map(({ to }) => to), ...all(history, 'damaged').map(({ address }) => address)])
  return Object.entries(end.actors).flatMap(([address, { status }]) => (['failed', 'unreadable'].includes(status) && !thrown.has(address) ? [`${address} is ${status}, and nobody harmed it`] : []))
}

/** I10: a decision on record does not change, names what was shown, and nothing else is done for it. */
export const i10: Checker = (history) => {
  const found: string[] = []
  const rollbacks = all(history, 'rolledBack').map(({ index }) => index)
  const decided = new Map<string, { readonly text: string; readonly index: number }>()
  /** By digest: what was shown. */
  const shown = new Map<string, string>()
  const pending = new Map<string, string | undefined>()
  const approved = new Set<string>()
  history.entries.forEach((entry, index) => {
    if (entry.kind === 'committed') {
      for (const { address, context } of entry.parts) {
        const approval = context['approval'] as { readonly digest: string; readonly actions: readonly { readonly input: unknown }[] } | null | undefined
        if (approval) {
          shown.set(approval.digest, JSON.stringify(approval.actions[0]?.input))
          pending.set(address, approval.digest)
        }
        const decision = context['decision'] as { readonly digest: string; readonly approved: boolean } | null | undefined
        if (!decision) continue
        const text = JSON.stringify(decision)
        const before = decided.get(decision.digest)
        if (before && before.text !== text && !rollbacks.some((at) => at > before.index && at < index)) found.push(`the decision on ${decision.digest} was ${before.text}, and then ${text}`)
        decided.set(decision.digest, { text, index })
        if (decision.digest !== pending.get(address)) found.push(`${address} has a decision on ${decision.digest}, and shown was ${pending.get(address)}`)
        if (decision.approved) approved.add(decision.digest)
      }
    }
    if (entry.kind !== 'acted' || entry.what !== 'external' || !entry.token.startsWith('gate:')) return
    const digest = entry.token.slice('gate:'.length)
    if (!approved.has(digest)) found.push(`${digest} was acted on, and nobody had approved it`)
    if (shown.get(digest) !== entry.args) found.push(`${digest} was acted on with ${entry.args}, and shown was ${shown.get(digest)}`)
  })
  return found
}

/**
 * I11: a store that went back in time is noticed within a lease by those who had heard more and can look; from a lease after that on nobody runs
 * an actor until it is accepted; and where nothing went back, nothing is halted.
 */
export const i11: Checker = (history) => {
  const { leaseMs } = history.bounds
  const found: string[] = []
  const heard = new Map<string, Map<number, number>>()
  const state = new Map<string, { isIn: boolean; since: number }>()
  const owner = new Map<number, string>()
  let isHalted = false
  let haltedAt = 0
  let rollbacks = 0
  /** Those who must notice, and from when on they could. */
  let must = new Map<string, { from: number; shard: number; what: string }>()
  const canSee = (node: string): boolean => state.get(node)?.isIn === true
  const overdue = (now: number): void => {
    for (const [node, { from, what }] of must) {
      const since = Math.max(from, state.get(node)?.since ?? Infinity)
      if (canSee(node) && now - since > leaseMs) {
        found.push(`${node} had heard of ${what}, and did not notice within ${now - since} ms that it is gone`)
        must.delete(node)
      }
    }
  }
  for (const entry of history.entries) {
    overdue(entry.time)
    switch (entry.kind) {
      case 'node': {
        const { node, is } = entry
        if (is === 'joined' || is === 'thawed' || is === 'reached') state.set(node, { isIn: true, since: entry.time })
        else state.set(node, { isIn: false, since: entry.time })
        if (is === 'killed' || is === 'left' || is === 'leaving') must.delete(node)
        break
      }
      case 'heard': {
        let own = heard.get(entry.node)
        if (!own) heard.set(entry.node, (own = new Map()))
        own.set(entry.shard, Math.max(own.get(entry.shard) ?? 0, entry.number))
        break
      }
      case 'rolledBack':
        rollbacks++
        // All by their signs of life, if it went back wholly; of one shard its owner, by its renewals and commits.
        for (const [node, own] of heard) for (const { shard, to } of entry.shards) if ((entry.isWhole || owner.get(shard) === node) && (own.get(shard) ?? 0) > to && !isHalted) mustNotice(node, shard, own.get(shard)!, entry.time)
        break
      case 'released':
        if (owner.get(entry.shard) !== entry.node) break
        owner.delete(entry.shard)
        // Let go of at once, before it could look again.
        if (must.get(entry.node)?.shard === entry.shard && must.get(entry.node)!.from === entry.time) must.delete(entry.node)
        break
      case 'claimed':
        owner.set(entry.shard, entry.node)
        if ((heard.get(entry.node)?.get(entry.shard) ?? 0) > entry.stood && !isHalted) mustNotice(entry.node, entry.shard, heard.get(entry.node)!.get(entry.shard)!, entry.time)
        break
      case 'halted':
        if (rollbacks === 0) found.push(`the namespace was halted, and nothing went back: ${entry.why}`)
        isHalted = true
        haltedAt = entry.time
        must = new Map()
        break
      case 'accepted':
        isHalted = false
        must = new Map()
        for (const own of heard.values()) own.clear()
        break
      case 'committed':
      case 'acted': {
        const since = Math.max(haltedAt, state.get(entry.node)?.since ?? 0)
        if (isHalted && canSee(entry.node) && entry.time - since > leaseMs) found.push(`${entry.node} ${entry.kind === 'acted' ? `ran ${entry.what} ${entry.token}` : `made commit ${entry.number} of shard ${entry.shard}`} ${entry.time - haltedAt} ms after the namespace was halted`)
        break
      }
      default:
    }
  }
  return found

  function mustNotice(node: string, shard: number, number: number, from: number): void {
    if (!must.has(node)) must.set(node, { from, shard, what: `commit ${number} of shard ${shard}` })
  }
}

/** What a client may be refused with. */
const refusals = new Set(['MAILBOX_FULL', 'STORE', 'DEADLINE', 'STOPPED', 'ACTOR_FAILED', 'ACTOR_ENDED', 'CANCELLED', 'CONFIG'])

/** I12: every queue is bounded, and what finds no room is refused with a typed error. */
export const i12: Checker = (history) => {
  const { backlogMax, logMax, parkedMax, deadMax } = history.bounds
  const found: string[] = []
  for (const { shard, backlog, log, parked, dead } of all(history, 'held')) {
    if (backlog > 2 * backlogMax) found.push(`${backlog} messages for one actor in the log of shard ${shard}`)
    if (log > 2 * logMax) found.push(`${log} messages in the log of shard ${shard}`)
    if (parked > parkedMax) found.push(`${parked} parked messages of one actor of shard ${shard}`)
    if (dead > deadMax) found.push(`${dead} dead letters in shard ${shard}`)
  }
  for (const { n, outcome, code } of all(history, 'answered')) if (outcome === 'refused' && (code === undefined || !refusals.has(code))) found.push(`message ${n} was refused with ${code ?? 'no code'}`)
  return found
}

export const checkers: Readonly<Record<string, Checker>> = { I1: i1, I2: i2, I3: i3, I4: i4, I5: i5, I6: i6, I7: i7, I8: i8, I9: i9, I10: i10, I11: i11, I12: i12 }

/** What does not hold, each with its invariant. */
export function violationsOf(history: History): string[] {
  return Object.entries(checkers).flatMap(([name, check]) => check(history).map((what) => `${name}: ${what}`))
}

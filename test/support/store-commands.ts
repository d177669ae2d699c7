/**
 * Random sequences of what may be asked of a store, asked of several stores at once, which must answer alike and hold the
 * same in the end. A sequence follows from its seed and the answers, so that most of what is asked makes sense: commits
 * follow each other under a lease that holds, and now and then one does not.
 *
 * No store is told the time here, and none need be: the first commit of every shard is later than the clock of any host,
 * and from then on the time of a shard is that of its commits.
 */
import { beginning, ending, type MovableStore, type MoveMark, type StoredItem } from '../../src/runtime/ports/moving.js'
import type { Claim, Commit, CommitResult, Entry, FindQuery, Holder, Lease, LogAppend, NewEntry, NodeSeen, OutboxEntry, Part, Presence, Recovery, Redrive, Sealed } from '../../src/runtime/ports/store.js'
import { emptyPart } from '../../src/testing/store-contract.js'
import { Random } from './random.js'

export interface Command {
  readonly method: keyof MovableStore
  readonly args: readonly unknown[]
}

export interface ComparedOptions {
  /** Whether nodes share the shards, so that who is there is asked for. */
  readonly sharesShards: boolean
}

/** What differs, of whom, and after what. */
export class Mismatch extends Error {
  readonly commands: number
  constructor(message: string, commands: number) {
    super(message)
    this.name = 'Mismatch'
    this.commands = commands
  }
}

export const bounds = { shards: 2, backlogMax: 3, logMax: 8 }
const start = 4_000_000_000_000
const addresses = ['m/a', 'm/a~x', 'm/b', 'n/a', 'n/ab', 'mm/a.1'] as const
const nodes = ['n1', 'n2', 'n3'] as const
const names = ['c0:x', 'c0:ü', 'c1:a b', 'h', 'a/b|c%', '😀'] as const
const values = ['', '1', '{"a":[1,2]}', 'ü😀\n"', 'x'.repeat(300)] as const
const terms = ['.on', '.on.deep', '#tag', '!done', 'run:ü', 'x y'] as const
const streams = ['+trace', 'dead', 'm/a/history', 'm/a~x/history', 'n/a/history'] as const
const ids = Array.from({ length: 14 }, (_, i) => `id-${i}`)
const moves = ['move-1', 'move-2'] as const

/** What a client knows of a shard. */
class Known {
  lease: Lease | undefined
  readonly leases: Lease[] = []
  holder: Holder | undefined
  number = 0
  position = 0
  tail = 0
  clock = 0
  outboxNumber = 0
  readonly actors = new Set<string>()
  readonly posted: OutboxEntry[] = []
  last: Commit | undefined

  empty(): void {
    this.actors.clear()
    this.posted.length = 0
    this.outboxNumber = 0
    this.clock = 0
  }
}

export class Sequence {
  readonly commands: Command[] = []
  /** How often each kind of answer was given. */
  readonly tally = new Map<string, number>()
  private readonly random: Random
  /** For what was added later: the sequences of a seed stay as they were. */
  private readonly aside: Random
  private readonly shards = Array.from({ length: bounds.shards }, () => new Known())
  private readonly options: ComparedOptions
  private presence: Presence | undefined
  private mark: MoveMark | undefined
  private actions = 0
  private texts = 0
  /** What was to be remembered, and until when, each time. */
  private readonly ends = new Map<string, number[]>()
  private readonly queue: Command[] = []

  constructor(seed: number, options: ComparedOptions) {
    this.random = new Random(seed)
    this.aside = new Random(seed + 1e6)
    this.options = options
  }

  /** Of what has ended, each store forgets some sooner and some later. */
  private mayBeForgotten(shard: number, id: string): boolean {
    return (this.ends.get(`${shard} ${id}`) ?? []).some((until) => until <= this.shards[shard]!.clock)
  }

  next(): Command {
    const command = this.queue.shift() ?? this.draw()
    this.commands.push(command)
    return command
  }

  private draw(): Command {
    const { random } = this
    const shard = random.below(bounds.shards)
    const known = this.shards[shard]!
    if (known.clock < start) return known.lease ? this.commit(shard, known, start) : { method: 'claim', args: [shard, { id: nodes[0] }] }
    if (!known.lease && random.chance(0.6)) return this.claim(shard, known)
    const what = random.below(100)
    if (what < 30) return known.lease ? this.commit(shard, known) : this.claim(shard, known)
    if (what < 46) return { method: 'append', args: [shard, random.times(1 + random.below(4), () => this.entry(shard))] }
    if (what < 52) return this.delivery(shard)
    if (what < 58) return { method: 'redrive', args: [shard, random.times(1 + random.below(3), (): Redrive => ({ seq: 1 + random.below(6), entry: this.entry(shard) }))] }
    if (what < 62) return this.claim(shard, known)
    if (what < 65) return { method: 'renew', args: [this.someLease(shard, known)] }
    if (what < 67) return { method: 'release', args: [this.someLease(shard, known)] }
    if (what < 70) return { method: 'trim', args: [shard, random.pick(streams), random.below(6)] }
    if (what < 72) return this.sharing(known)
    if (what < 74) return this.moving(shard)
    return this.look(shard, known)
  }

  private claim(shard: number, known: Known): Command {
    const { random } = this
    const seen = known.holder && random.chance(0.7) ? [random.chance(0.8) ? known.holder : { ...known.holder, node: random.pick(nodes) }] : []
    const accepted = this.aside.chance(0.15) ? [...(seen.length > 0 ? [] : [undefined]), this.aside.below(4)] : []
    return { method: 'claim', args: [shard, { id: random.pick(nodes) }, ...seen, ...accepted] }
  }

  private someLease(shard: number, known: Known): Lease {
    const { random } = this
    if (known.lease && random.chance(0.7)) return known.lease
    const { epoch, node } = known.leases.length > 0 ? random.pick(known.leases) : { epoch: 1, node: 'n1' }
    return random.chance(0.2) ? { shard, epoch, node: random.pick(nodes) } : { shard, epoch, node }
  }

  private text(): string {
    return this.random.chance(0.2) ? `{"n":${this.texts++},"s":"ü😀\\n"}` : `{"n":${this.texts++}}`
  }

  private until(shard: number): number {
    return this.shards[shard]!.clock + this.random.pick([-10, 0, 1, 50, 5_000, 200_000])
  }

  private entry(shard: number): NewEntry {
    const { random } = this
    const rememberUntil = random.chance(0.6) ? this.until(shard) : undefined
    return { id: random.pick(ids), to: random.pick(addresses), text: this.text(), ...(rememberUntil === undefined ? {} : { rememberUntil }), ...(random.chance(0.1) ? { always: true as const } : {}) }
  }

  private delivery(to: number): Command {
    const { random } = this
    const from = random.below(bounds.shards)
    const { posted } = this.shards[from]!
    const first = random.below(posted.length + 1)
    const entries = posted.slice(first, first + 1 + random.below(3))
    return { method: 'deliver', args: [to, from, entries.length > 0 ? entries : [{ number: random.below(5), to, entry: this.entry(to) }]] }
  }

  private mapOf<T>(pool: readonly string[], most: number, make: () => T): Map<string, T> {
    return new Map(this.random.times(this.random.below(most + 1), () => [this.random.pick(pool), make()]))
  }

  private part(shard: number, known: Known, address: string): Part {
    const { random } = this
    const is = known.actors.has(address)
    const life = !is && random.chance(0.7) ? 'created' : is && random.chance(0.15) ? 'erased' : undefined
    const lives = life === 'created' || (is && life !== 'erased')
    const fields = lives ? this.mapOf(names, 3, () => (random.chance(0.2) ? undefined : random.pick(values))) : new Map<string, string>()
    if (life === 'created') fields.set('m', address)
    const outbox = random.chance(0.3) ? random.times(1 + random.below(2), (): OutboxEntry => ({ number: ++known.outboxNumber, to: random.below(bounds.shards), entry: this.entry(shard) })) : []
    const timers = ['0001', '0002', '0003'].map((order) => `${order}|${address}|t`)
    return {
      ...emptyPart(address),
      ...(life ? { life } : {}),
      ...(lives && random.chance(0.5) ? { terms: [...new Set(random.times(random.below(4), () => random.pick(terms)))] } : {}),
      fields,
      handled: random.below(3),
      timers: this.mapOf(timers, 3, () => (random.chance(0.3) ? undefined : known.clock + random.pick([-1, 0, 0.5, 1, 1, 60, 1e6]))),
      effects: this.mapOf(ids.slice(0, 6), 2, () => (random.chance(0.4) ? undefined : random.pick(values))),
      actions: new Map(random.times(random.below(3), () => [`action-${this.actions++}`, random.pick(values)])),
      entries: random.chance(0.4) ? random.times(1 + random.below(3), () => this.entry(shard)) : [],
      outbox,
      replies: this.mapOf(ids, 1, () => ({ text: this.text(), until: this.until(shard) })),
      logs: random.chance(0.4) ? random.times(1 + random.below(3), () => this.line()) : [],
      park: random.chance(0.2) ? random.times(1 + random.below(3), () => this.text()) : [],
      unpark: random.chance(0.2) ? random.below(4) : 0,
    }
  }

  private line(): LogAppend {
    const stream = this.random.pick(streams)
    return { stream, text: this.text(), max: stream === 'dead' ? 900 : this.random.pick([1, 2, 5, 900]) }
  }

  private commit(shard: number, known: Known, at?: number): Command {
    const { random } = this
    const lease = known.lease!
    if (at === undefined && known.last && random.chance(0.07)) return { method: 'commit', args: [known.last] }
    const addressed = [...new Set(random.times(random.below(4), () => random.pick(addresses)))]
    const posted = known.outboxNumber
    const commit: Commit = {
      lease,
      number: known.number + 1,
      position: random.chance(0.7) ? Math.min(known.tail, known.position + random.below(4)) : known.position,
      at: at ?? known.clock + random.pick([-5, 0, 1, 20, 1_000, 70_000]),
      parts: addressed.map((address) => this.part(shard, known, address)),
      accepted: random.chance(0.2) ? random.times(1 + random.below(2), () => ({ id: random.pick(ids), until: this.until(shard) })) : [],
      confirmed: random.times(random.below(4), () => `action-${random.below(this.actions + 1)}`),
      delivered: random.chance(0.2) ? [{ to: random.below(bounds.shards), through: random.below(posted + 1) }] : [],
      suspects: this.mapOf(ids, 1, () => (random.chance(0.4) ? undefined : random.below(3))),
    }
    return { method: 'commit', args: [at === undefined && random.chance(0.2) ? this.wrong(commit, known) : commit] }
  }

  /** Everything of it is as it should be but one thing. */
  private wrong(commit: Commit, known: Known): Commit {
    const { random } = this
    const first = commit.parts[0] ?? emptyPart('m/a')
    const withPart = (part: Partial<Part>): Commit => ({ ...commit, parts: [...commit.parts.slice(1), { ...first, ...part }] })
    const nothing = random.pick([Number.NaN, Infinity, -Infinity])
    switch (random.below(16)) {
      case 0:
      case 1:
      case 2:
        return { ...commit, lease: known.leases.length > 1 ? random.pick(known.leases) : { ...commit.lease, epoch: commit.lease.epoch + 1 } }
      case 3:
        return { ...commit, lease: { ...commit.lease, node: 'n9' } }
      case 4:
        return { ...commit, number: commit.number + 1 + random.below(2) }
      case 5:
        return { ...commit, number: Math.max(0, commit.number - 1) }
      case 6:
        return { ...commit, position: known.tail + 1 + random.below(3) }
      case 7:
        return withPart({ timers: new Map([['0001|m/a|t', nothing]]) })
      case 8:
        return withPart({ handled: random.pick([-1, 0.5, Number.NaN]) })
      case 9:
        return withPart({ replies: new Map([['id-0', { text: '1', until: nothing }]]) })
      case 10:
        return withPart({ terms: [random.pick(['', 'a\nb', 'x'.repeat(257)])] })
      case 11:
        return withPart({ entries: [{ ...this.entry(commit.lease.shard), rememberUntil: nothing }] })
      case 12:
        return withPart({ logs: [{ stream: '+trace', text: '1', max: random.pick([-1, Number.NaN, 0.5]) }] })
      case 13:
        return { ...commit, accepted: [{ id: 'id-1', until: nothing }] }
      case 14:
        return { ...commit, delivered: [{ to: 0, through: random.pick([Number.NaN, -1]) }] }
      default:
        return { ...commit, at: nothing }
    }
  }

  /** What is asked of the whole namespace. */
  private sharing(known: Known): Command {
    const { random } = this
    const what = random.below(10)
    if (what === 0) return { method: 'halt', args: [`why ${this.texts++}`, random.below(4)] }
    if (what === 1) return { method: 'accept', args: [] }
    if (what === 2) return this.markNext()
    if (!this.options.sharesShards) return { method: 'renew', args: [this.someLease(0, known)] }
    const id = random.pick(nodes)
    const others = (this.presence?.nodes ?? []).filter((seen) => seen.id !== id && random.chance(0.3)).map((seen): NodeSeen => (random.chance(0.8) ? seen : { ...seen, beat: seen.beat + 1 }))
    return { method: 'beat', args: [{ id }, random.pick(['here', 'here', 'leaving', 'gone'] as const), others] }
  }

  private markNext(): Command {
    const { random } = this
    const mark = (): MoveMark => ({ id: random.pick(moves), state: random.pick(['leaving', 'arriving', 'returning', 'left'] as const), place: './there' })
    const expected = random.chance(0.7) ? this.mark : mark()
    const next = random.chance(0.6) ? mark() : undefined
    return { method: 'mark', args: [expected, next, random.chance(0.5) ? { accepted: random.below(5) } : {}] }
  }

  /** Sealed, and from then on one of a few things with it; mostly opened again, and filled with what the other shard holds. */
  private moving(shard: number): Command {
    const { random } = this
    const move = `${random.pick(moves)}-${random.below(20)}`
    const known = this.shards[shard]!
    const sealing: Command = { method: 'seal', args: [shard, move, `${move} has it`, known.holder ? { seen: known.holder } : {}] }
    const isLetGo = known.lease !== undefined && random.chance(0.8)
    if (isLetGo) this.queue.push(sealing)
    if (random.chance(0.2)) this.queue.push({ method: 'clear', args: [shard, 'move-x'] })
    if (random.chance(0.5)) this.queue.push({ method: 'clear', args: [shard, move] }, { method: 'import', args: [shard, move, { from: random.chance(0.9) ? beginning : 'elsewhere', items: 'of the other shard', next: 'p1' }] })
    if (random.chance(0.3)) this.queue.push({ method: 'append', args: [shard, [this.entry(shard)]] }, { method: 'seal', args: [shard, random.pick(moves), 'another', random.chance(0.5) ? { replaces: move } : {}] })
    if (random.chance(0.3)) this.queue.push({ method: 'seal', args: [shard, move, 'once more'] })
    if (random.chance(0.3)) this.queue.push({ method: 'import', args: [shard, move, { from: 'p1', items: [{ kind: 'suspect', id: 'moved', attempts: 3 }], next: ending }] })
    if (random.chance(0.3)) this.queue.push({ method: 'trim', args: [shard, '+trace', 100] })
    this.queue.push({ method: 'unseal', args: [shard, move] })
    if (random.chance(0.3)) this.queue.push({ method: 'seal', args: [shard, move, 'again'] })
    for (const other of moves) this.queue.push({ method: 'unseal', args: [shard, other] })
    return isLetGo ? { method: 'release', args: [known.lease] } : sealing
  }

  private look(shard: number, known: Known): Command {
    const { random } = this
    switch (random.below(10)) {
      case 0:
        return { method: 'read', args: [shard, random.below(known.tail + 2), random.pick([1, 3, 100])] }
      case 1:
        return { method: 'load', args: [shard, random.times(3, () => random.pick(addresses))] }
      case 2:
        return { method: 'parked', args: [shard, random.pick(addresses), random.pick([0, 1, 2, 100])] }
      case 3:
        return { method: 'recover', args: [shard] }
      case 4:
        return { method: 'timers', args: [shard, random.pick([known.clock, known.clock + 1, known.clock + 1e7, Infinity]), random.pick([0, 1, 2, 100])] }
      case 5:
        return { method: 'nextTimer', args: [shard] }
      case 6:
        return { method: 'log', args: [shard, random.pick(streams), random.below(6), random.pick([0, 1, 3, 100])] }
      case 7:
        return { method: 'reply', args: [shard, random.pick(ids)] }
      default:
        return { method: 'find', args: [shard, this.query()] }
    }
  }

  private query(): FindQuery {
    const { random } = this
    return {
      ...(random.chance(0.4) ? { machine: random.pick(['m', 'n', 'mm', 'x']) } : {}),
      ...(random.chance(0.3) ? { key: random.pick(['a', 'b', 'ab']) } : {}),
      ...(random.chance(0.5) ? { terms: random.times(1 + random.below(2), () => random.pick(terms)) } : {}),
      ...(random.chance(0.3) ? { after: random.pick(addresses) } : {}),
      ...(random.chance(0.4) ? { limit: random.pick([0, 1, 2, 3]) } : {}),
    }
  }

  /** Takes note of an answer. */
  heard({ method, args }: Command, answer: unknown): void {
    for (const kind of kindsOf(answer)) this.tally.set(`${method} ${kind}`, (this.tally.get(`${method} ${kind}`) ?? 0) + 1)
    if (method === 'beat') this.presence = answer as Presence
    if (method === 'mark' && answer === true) this.mark = args[1] as MoveMark | undefined
    if (method === 'append' || method === 'redrive') for (const given of args[1] as readonly (NewEntry | Redrive)[]) this.note(args[0] as number, 'entry' in given ? given.entry : given)
    if (method === 'deliver') for (const { entry } of args[2] as readonly OutboxEntry[]) this.note(args[0] as number, entry)
    if (method === 'clear' && answer === true) this.shards[args[0] as number]!.empty()
    if (method === 'import' && answer === 'p1') this.filled(args[0] as number)
    const number = method === 'commit' ? (args[0] as Commit).lease.shard : method === 'renew' || method === 'release' ? (args[0] as Lease).shard : (args[0] as number)
    const known = this.shards[number]
    if (!known) return
    if (method === 'claim') this.claimed(known, answer as Claim)
    else if (method === 'commit') this.committed(known, args[0] as Commit, answer as CommitResult)
    else if (method === 'release' && (args[0] as Lease).epoch === known.lease?.epoch && (args[0] as Lease).node === known.lease.node) known.lease = undefined
    else if (method === 'append' && Array.isArray(answer)) for (const appended of answer) if (typeof appended === 'object') known.tail = (appended as { seq: number }).seq
    if (method === 'seal' && answer && 'heldBy' in (answer as Sealed)) known.holder = (answer as { heldBy: Holder }).heldBy
    if (method === 'seal' && answer && 'state' in (answer as Sealed)) {
      known.lease = undefined
      known.holder = undefined
    }
  }

  private note(shard: number, { id, rememberUntil }: NewEntry): void {
    if (rememberUntil !== undefined) this.ended(shard, id, rememberUntil)
  }

  private ended(shard: number, id: string, until: number): void {
    const key = `${shard} ${id}`
    const ends = this.ends.get(key)
    if (ends) ends.push(until)
    else this.ends.set(key, [until])
  }

  /** It holds what the other shard holds, which ends as it would there. */
  private filled(shard: number): void {
    const [known, other] = [this.shards[shard]!, this.shards[1 - shard]!]
    for (const address of other.actors) known.actors.add(address)
    known.posted.push(...other.posted)
    known.outboxNumber = Math.max(known.outboxNumber, other.outboxNumber)
    known.clock = Math.max(known.clock, other.clock)
    for (const id of ids) for (const until of this.ends.get(`${1 - shard} ${id}`) ?? []) this.ended(shard, id, until)
  }

  private claimed(known: Known, claim: Claim | { readonly error: string }): void {
    if ('heldBy' in claim) known.holder = claim.heldBy
    if (!('lease' in claim)) return
    known.lease = claim.lease
    known.leases.push(claim.lease)
    known.holder = undefined
    const { number, position, tail, clock } = claim.state
    Object.assign(known, { number, position, tail, clock: Math.max(known.clock, clock) })
  }

  private committed(known: Known, commit: Commit, result: CommitResult): void {
    if (!result.ok) return
    known.clock = result.at
    known.tail = result.tail
    if (commit.number !== known.number + 1) return
    known.number = commit.number
    known.position = commit.position
    known.last = commit
    const { shard } = commit.lease
    for (const { id, until } of commit.accepted) this.ended(shard, id, until)
    for (const part of commit.parts) {
      if (part.life === 'created') known.actors.add(part.address)
      if (part.life === 'erased') known.actors.delete(part.address)
      for (const entry of part.entries) this.note(shard, entry)
      for (const [id, { until }] of part.replies) this.ended(shard, id, until)
      known.posted.push(...part.outbox)
    }
    known.posted.sort((a, b) => a.number - b.number)
  }

  /** An answer as it is compared: in no order where it has none, and without what may or may not be forgotten. */
  comparable({ method, args }: Command, answer: unknown): unknown {
    const shard = args[0] as number
    switch (method) {
      case 'recover': {
        const { effects, actions, outbox, parked, suspects } = answer as Recovery
        return { effects: effects.filter(([id]) => !this.mayBeForgotten(shard, id)).toSorted(byText), actions, outbox, parked: parked.toSorted(), suspects: suspects.toSorted(byText) }
      }
      case 'read':
        return (answer as readonly Entry[]).map(({ seq, at, text }) => ({ seq, at, text }))
      case 'reply':
        return this.mayBeForgotten(shard, args[1] as string) ? 'either' : answer
      case 'beat': {
        const { nodes: seen, ...rest } = answer as Presence
        return { ...rest, nodes: seen.toSorted(byText) }
      }
      case 'commit': {
        const result = answer as CommitResult
        return result.ok ? result : { why: result.why, address: result.why === 'refused' ? result.address : undefined }
      }
      default:
        return answer
    }
  }

  /** All that a shard holds, in an order of its own. */
  async held(store: MovableStore, shard: number): Promise<readonly string[]> {
    const items = await itemsOf(store, shard)
    return items
      .filter((item) => !((item.kind === 'id' || item.kind === 'reply') && this.mayBeForgotten(shard, item.id)))
      .map((item) => canonical(item.kind === 'record' ? { ...item, fields: item.fields.toSorted(byText) } : item))
      .toSorted()
  }
}

function kindsOf(answer: unknown): readonly string[] {
  if (Array.isArray(answer)) return answer.length === 0 ? ['nothing'] : answer.map((one: unknown) => (typeof one === 'string' && one.length < 12 && !one.startsWith('{') ? one : 'something'))
  if (typeof answer !== 'object' || answer === null) return [answer === undefined || typeof answer === 'boolean' ? String(answer) : 'something']
  const { ok, why, error, heldBy } = answer as { readonly ok?: boolean; readonly why?: string; readonly error?: string; readonly heldBy?: unknown }
  return [ok ? 'ok' : (why ?? error ?? (heldBy ? 'held' : 'something'))]
}

export async function itemsOf(store: MovableStore, shard: number): Promise<readonly StoredItem[]> {
  const items: StoredItem[] = []
  for (let at = beginning; at !== ending; ) {
    const page = await store.export(shard, at)
    items.push(...page.items)
    at = page.next
  }
  return items
}

function byText(a: unknown, b: unknown): number {
  const [one, other] = [canonical(a), canonical(b)]
  return one < other ? -1 : one > other ? 1 : 0
}

/** Also of numbers that are none, and of what is not there. */
export function canonical(value: unknown): string {
  if (value instanceof Map) return canonical(Object.fromEntries(value))
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (value === null || typeof value !== 'object') return typeof value === 'string' ? JSON.stringify(value) : String(value)
  return `{${Object.entries(value)
    .filter(([, inner]) => inner !== undefined)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, inner]) => `${name}:${canonical(inner)}`)
    .join(',')}}`
}

export interface Compared {
  readonly name: string
  readonly store: MovableStore
}

/** The first is the model. @throws Mismatch */
export async function compare(seed: number, length: number, stores: readonly Compared[], options: ComparedOptions, lookEach = false): Promise<Sequence> {
  const sequence = new Sequence(seed, options)
  for (let count = 1; count <= length; count++) {
    const command = await withItems(sequence.next(), stores[0]!.store)
    const answers = await Promise.all(stores.map(({ store }) => answerOf(store, command)))
    sequence.heard(command, answers[0])
    mustAgree(stores, answers.map((answer) => canonical(isFailure(answer) ? answer : sequence.comparable(command, answer))), sequence, count)
    if (!lookEach && count < length) continue
    for (let shard = 0; shard < bounds.shards; shard++) {
      const held = await Promise.all(stores.map(({ store }) => sequence.held(store, shard)))
      mustHoldTheSame(stores, held, shard, sequence, count)
    }
  }
  return sequence
}

/** What the other shard holds is known only now. */
async function withItems(command: Command, model: MovableStore): Promise<Command> {
  const page = command.args[2] as { readonly items: unknown } | undefined
  if (command.method !== 'import' || page?.items !== 'of the other shard') return command
  return { method: 'import', args: [command.args[0], command.args[1], { ...page, items: await itemsOf(model, 1 - (command.args[0] as number)) }] }
}

interface Failure {
  readonly error: string
  readonly reason?: string
}

function isFailure(answer: unknown): answer is Failure {
  return typeof answer === 'object' && answer !== null && 'error' in answer
}

async function answerOf(store: MovableStore, { method, args }: Command): Promise<unknown> {
  const given = method === 'read' ? [...args, AbortSignal.abort()] : args
  try {
    return await (Reflect.get(store, method) as (...all: readonly unknown[]) => Promise<unknown>).apply(store, given as unknown[])
  } catch (error) {
    const { code, reason, message } = error as { readonly code?: string; readonly reason?: string; readonly message: string }
    if (code === undefined) throw error
    return { error: code === 'STORE' ? message : code, reason } as Failure
  }
}

function mustAgree(stores: readonly Compared[], answers: readonly string[], sequence: Sequence, count: number): void {
  const other = answers.findIndex((answer) => answer !== answers[0])
  if (other === -1) return
  throw new Mismatch(`command ${count} is answered\n  by ${stores[0]!.name} ${answers[0]}\n  by ${stores[other]!.name} ${answers[other]}\n${told(sequence)}`, count)
}

function mustHoldTheSame(stores: readonly Compared[], held: readonly (readonly string[])[], shard: number, sequence: Sequence, count: number): void {
  const [model] = held
  for (const [i, items] of held.entries()) {
    const more = items.filter((item) => !model!.includes(item))
    const less = model!.filter((item) => !items.includes(item))
    if (more.length + less.length === 0 && items.length === model!.length) continue
    throw new Mismatch(`after command ${count} shard ${shard} holds\n  in ${stores[0]!.name} alone ${less.join('\n    ')}\n  in ${stores[i]!.name} alone ${more.join('\n    ')}\n${told(sequence)}`, count)
  }
}

function told({ commands }: Sequence): string {
  const lines = commands.map(({ method, args }, i) => `  ${i + 1} ${method} ${args.map(brief).join(' ')}`)
  return lines.slice(-4).join('\n')
}

/** Without what a part does not do. */
function brief(value: unknown): string {
  if (value instanceof Map) return `{${[...value].map(([name, inner]) => `${name}: ${brief(inner)}`).join(', ')}}`
  if (Array.isArray(value)) return `[${value.map(brief).join(', ')}]`
  if (value === null || typeof value !== 'object') return typeof value === 'string' ? JSON.stringify(value.slice(0, 40)) : String(value)
  const isNothing = (inner: unknown): boolean => inner === undefined || inner === 0 || (Array.isArray(inner) && inner.length === 0) || (inner instanceof Map && inner.size === 0)
  return `{${Object.entries(value)
    .filter(([, inner]) => !isNothing(inner))
    .map(([name, inner]) => `${name}: ${brief(inner)}`)
    .join(', ')}}`
}


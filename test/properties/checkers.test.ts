/** That each checker sees what must not be: histories that are sound but for one thing, and the sound one itself. */
import { expect, test } from 'vitest'
import { checkers, violationsOf } from '../support/checkers.js'
import type { Happened, History, HistoryEntry, PartSeen } from '../support/history.js'

const bounds = { leaseMs: 1_000, backlogMax: 2, logMax: 5, parkedMax: 3, deadMax: 4, restartsMax: 2, periodMs: 1_000 }
type Step = Happened & { readonly time?: number }

const history = (...steps: readonly Step[]): History => ({ bounds, entries: steps.map((step, i): HistoryEntry => ({ time: i, ...step })) })
const seen = (...steps: readonly Step[]): string[] => [...new Set(violationsOf(history(...steps)).map((text) => text.split(':')[0]!))]

const part = (address: string, more: Partial<PartSeen> = {}): PartSeen => ({ address, begins: false, fails: false, context: {}, timers: [], ...more })
const claim = (epoch: number, node: string, stood = 0, number = stood): Step => ({ kind: 'claimed', node, shard: 0, epoch, number, stood })
const commit = (number: number, parts: readonly PartSeen[] = [], more: Partial<Extract<Happened, { kind: 'committed' }>> = {}): Step => ({ kind: 'committed', node: 'a', shard: 0, epoch: 1, number, position: 0, at: number, clock: number, parts, tokens: [], ...more })
const sent = (n: number, what = 'add', to = 'cell/x', more = {}): Step => ({ kind: 'sent', n, node: 'a', to, shard: 0, what, ...more })
const answered = (n: number, more = {}): Step => ({ kind: 'answered', n, outcome: 'accepted', ...more })
const acted = (what: 'action' | 'effect' | 'external', token: string, key?: string, args?: string): Step => ({ kind: 'acted', node: 'a', shard: 0, what, token, ...(key === undefined ? {} : { key }), ...(args === undefined ? {} : { args }) })
const node = (is: Extract<Happened, { kind: 'node' }>['is'], name = 'a'): Step => ({ kind: 'node', node: name, is })
const back = (from: number, to: number, isWhole = true): Step => ({ kind: 'rolledBack', image: 1, isWhole, shards: [{ shard: 0, from, to }] })
const image: Step = { kind: 'imaged', image: 1 }
const cellOf = (context: object) => ({ status: 'active', context: { partner: 'cell/y', seen: [], heard: [], asked: [], worked: [], posted: [], ...context }, value: { book: {}, job: 'idle' } })
const end = (actors: Record<string, object> = {}, more: Partial<Extract<Happened, { kind: 'rest' }>> = {}): Step => ({ kind: 'rest', actors: actors as never, dead: [], leftovers: [], owners: ['a'], loads: [1], ...more })
const pair = (x: object, y: object) => ({ 'cell/x': cellOf(x), 'cell/y': cellOf({ partner: 'cell/z', ...y }) })
const first = [claim(1, 'a'), sent(1), commit(1, [part('cell/x', { context: { seen: [1] } })]), answered(1)]
const zero = { tokens: 0, calls: 0, nanoDollars: 0 }
const ledger = (received: number, free: number, granted: object = {}) => ({ received: { ...zero, calls: received }, free: { ...zero, calls: free }, granted, reserved: {}, spent: zero, overrun: zero })

test('what is sound is not complained of', () => {
  expect(seen(...first, commit(2, [part('cell/y', { context: { heard: [1] } })]), end(pair({ seen: [1] }, { heard: [1] })))).toEqual([])
  expect(Object.keys(checkers)).toEqual(['I1', 'I2', 'I3', 'I4', 'I5', 'I6', 'I7', 'I8', 'I9', 'I10', 'I11', 'I12'])
})

test('I1: lost, doubled, made up, overtaken; and what a rollback excuses', () => {
  expect(seen(...first, end(pair({}, {})))).toEqual(['I1'])
  expect(seen(...first, end(pair({ seen: [1, 1] }, { heard: [1] })))).toEqual(['I1'])
  expect(seen(...first, end(pair({ seen: [1, 7] }, { heard: [1, 7] })))).toEqual(['I1'])
  expect(seen(...first, end(pair({ seen: [1] }, {})))).toEqual(['I1'])
  expect(seen(...first, end(pair({ seen: [1] }, { heard: [1, 1] })))).toEqual(['I1'])
  expect(seen(...first, end(pair({ seen: [1] }, {}), { dead: ['cell/y hear 1'] }))).toEqual([])
  expect(seen(...first, end(pair({}, {}), { dead: ['cell/x add 1'] }))).toEqual([])
  expect(seen(...first, sent(2), answered(2), end(pair({ seen: [2, 1] }, { heard: [2, 1] })))).toEqual(['I1'])
  expect(seen(...first, end(pair({ seen: [1], worked: ['w', 'w'] }, { heard: [1] })))).toEqual(['I1'])
  expect(seen(sent(1, 'question'), answered(1), end(pair({}, {})))).toEqual(['I1'])
  // Acknowledged after the image, and lost with it; acknowledged before it, it must be there.
  expect(seen(image, ...first, back(1, 0), end(pair({}, {})))).toEqual([])
  expect(seen(...first, image, back(1, 1), end(pair({}, {})))).toEqual(['I1'])
  expect(seen(image, back(0, 0), ...first, end(pair({}, {})))).toEqual(['I1'])
})

test('I2 and I3: an old epoch, another node, a gap, a fork, a step back in the log', () => {
  expect(seen(claim(1, 'a'), claim(2, 'b'), commit(1))).toEqual(['I2'])
  expect(seen(claim(1, 'a'), claim(1, 'b'))).toEqual(['I2'])
  expect(seen(claim(1, 'a'), commit(1, [], { node: 'b' }))).toEqual(['I2'])
  expect(seen(claim(1, 'a'), commit(2))).toEqual(['I3'])
  expect(seen(claim(1, 'a'), commit(1), claim(2, 'b', 0))).toEqual(['I3'])
  expect(seen(claim(1, 'a'), commit(1), claim(2, 'b', 1, 0))).toEqual(['I3'])
  expect(seen(claim(1, 'a'), commit(1), claim(2, 'b', 1, 9), commit(10, [], { node: 'b', epoch: 2 }))).toEqual([])
  // A repeat is of the same commit.
  expect(seen(claim(1, 'a'), commit(1, [part('m/x')]), commit(1, [part('m/x')]))).toEqual([])
  expect(seen(claim(1, 'a'), commit(1, [part('m/x')]), commit(1, [part('m/y')]))).toEqual(['I3'])
  expect(seen(claim(1, 'a'), commit(1, [], { position: 4 }), commit(2, [], { position: 3 }))).toEqual(['I3'])
  expect(seen(claim(1, 'a'), image, commit(1), back(1, 0, false), claim(2, 'b'), commit(1, [], { node: 'b', epoch: 2 }))).toEqual([])
})

test('I4: before the commit, twice, with other arguments, blindly again', () => {
  const asked = commit(1, [], { tokens: ['k'] })
  const executed: Step = { kind: 'executed', key: 'key', args: '1' }
  const denied: Step = { kind: 'reconciled', node: 'a', key: 'key', happened: false }
  expect(seen(claim(1, 'a'), asked, acted('external', 'k', 'key', '1'), executed)).toEqual([])
  for (const what of ['action', 'effect', 'external'] as const) expect(seen(claim(1, 'a'), acted(what, 'k'), asked)).toEqual(['I4'])
  expect(seen(claim(1, 'a'), asked, acted('external', 'k', 'key', '1'), executed, executed)).toEqual(['I4'])
  expect(seen(claim(1, 'a'), asked, executed)).toEqual(['I4'])
  expect(seen(claim(1, 'a'), asked, acted('effect', 'k', 'key', '1'), acted('effect', 'k', 'key', '2'))).toEqual(['I4'])
  expect(seen(claim(1, 'a'), asked, acted('external', 'k', 'key', '1'), acted('external', 'k', 'key', '1'))).toEqual(['I4'])
  expect(seen(claim(1, 'a'), asked, acted('external', 'k', 'key', '1'), denied, acted('external', 'k', 'key', '1'))).toEqual([])
  expect(seen(claim(1, 'a'), asked, denied, acted('external', 'k', 'key', '1'), acted('external', 'k', 'key', '1'))).toEqual(['I4'])
  expect(seen(claim(1, 'a'), asked, acted('external', 'k', 'key', '1'), executed, { kind: 'conflict', key: 'key', args: '2' })).toEqual(['I4'])
  expect(seen(claim(1, 'a'), image, asked, acted('external', 'k', 'key', '1'), back(1, 0, false), executed, { kind: 'conflict', key: 'key', args: '2' })).toEqual([])
})

test('I5: something is left, somebody is not told, an answer is wrong', () => {
  expect(seen(end({}, { leftovers: ['an effect'] }))).toEqual(['I5'])
  expect(seen(end({}, { owners: [null] }))).toEqual(['I5'])
  expect(seen(end({}, { owners: ['a+b'] }))).toEqual(['I5'])
  expect(seen(sent(1, 'work'), end())).toEqual(['I5'])
  expect(seen(sent(1, 'work'), node('killed'), end())).toEqual([])
  expect(seen(sent(1, 'question', 'cell/x', { isQuestion: true }), answered(1, { value: 3 }), end({ 'cell/x': cellOf({ asked: [1] }), 'cell/y': cellOf({}) }))).toEqual(['I5'])
  expect(seen(end({ 'cell/x': { ...cellOf({}), value: { job: 'working' } }, 'cell/y': cellOf({}) }))).toEqual(['I5'])
})

test('I6: early, twice, and a clock that goes back', () => {
  const timer = (due: number | null): PartSeen => part('cell/x', { timers: [['1|cell/x|0:xstate.after.400', due]] })
  expect(seen(claim(1, 'a'), commit(1, [timer(2)]), commit(2, [timer(null)]))).toEqual([])
  expect(seen(claim(1, 'a'), commit(1, [timer(3)]), commit(2, [timer(null)]))).toEqual(['I6'])
  expect(seen(claim(1, 'a'), commit(1, [timer(1)]), commit(2, [timer(null)]), commit(3, [timer(null)]))).toEqual(['I6'])
  expect(seen(claim(1, 'a'), commit(1, [timer(1)]), image, commit(2, [timer(null)]), back(2, 1, false), claim(2, 'a', 1), commit(2, [timer(null)], { epoch: 2 }))).toEqual([])
  expect(seen(claim(1, 'a'), commit(1, [], { clock: 9 }), commit(2, [], { clock: 8 }))).toEqual(['I6'])
})

test('I7: a ledger that is not balanced, and money that is copied or gone', () => {
  const purse = (of: object, held: object, minted = 0) => ({ status: 'active', context: { ledger: of, held, minted: { ...zero, calls: minted } } })
  const given = { g: { ...zero, calls: 4 } }
  expect(seen(commit(1, [part('purse/p', { context: { ledger: ledger(9, 9) } })], { shard: 3 }))).toContain('I2')
  expect(checkers['I7']!(history(commit(1, [part('purse/p', { context: { ledger: ledger(9, 8) } })])))).toHaveLength(1)
  expect(seen(end({ 'purse/p': purse(ledger(9, 5, given), {}, 9), 'purse/q': purse(ledger(4, 4), given) }))).toEqual([])
  expect(seen(end({ 'purse/p': purse(ledger(9, 5, given), {}, 9), 'purse/q': purse(ledger(0, 0), {}) }))).toEqual(['I7'])
  expect(seen(end({ 'purse/p': purse(ledger(9, 9), {}, 9), 'purse/q': purse(ledger(4, 4), given) }))).toEqual(['I7'])
  expect(seen(end({ 'purse/p': purse(ledger(9, 5, given), {}, 9), 'purse/q': purse(ledger(4, 4), { g: { ...zero, calls: 3 } }) }))).toEqual(['I7'])
})

test('I8: one restart too many within the period, over whatever restarts of processes', () => {
  const begins = part('worker/s~a', { begins: true })
  const fails = part('worker/s~a', { fails: true })
  const again = (from: number, clocks: readonly number[]): Step[] => clocks.flatMap((clock, i) => [commit(from + 2 * i, [fails], { clock, at: clock }), commit(from + 2 * i + 1, [begins], { clock, at: clock })])
  expect(seen(claim(1, 'a'), commit(1, [begins]), ...again(2, [10, 20]))).toEqual([])
  expect(seen(claim(1, 'a'), commit(1, [begins]), ...again(2, [10, 20, 900]))).toEqual(['I8'])
  expect(seen(claim(1, 'a'), commit(1, [begins]), ...again(2, [10, 20, 1_010]))).toEqual([])
  // What went back is not counted.
  expect(seen(claim(1, 'a'), commit(1, [begins]), image, ...again(2, [10, 20]), back(5, 1, false), claim(2, 'a', 1), ...again(2, [30, 40]).map((step) => ({ ...step, epoch: 2 }) as Step))).toEqual([])
})

test('I9: who failed though nobody harmed him', () => {
  expect(seen(end({ 'gate/g': { status: 'failed' } }))).toEqual(['I9'])
  expect(seen(sent(1, 'throw', 'victim/v'), answered(1), end({ 'victim/v': { status: 'failed' } }))).toEqual([])
  expect(seen({ kind: 'damaged', address: 'victim/v' }, end({ 'victim/v': { status: 'unreadable' }, 'victim/w': { status: 'unreadable' } }))).toEqual(['I9'])
})

test('I10: a decision that changes, or is on something else; an act that nobody approved, or that was not shown', () => {
  const shown = part('gate/g', { context: { approval: { digest: 'd', actions: [{ input: { n: 1 } }] }, decision: null } })
  const decided = (approved: boolean, digest = 'd', by = 'ann') => part('gate/g', { context: { decision: { digest, approved, by } } })
  const act = acted('external', 'gate:d', 'key', '{"n":1}')
  const begin = [claim(1, 'a'), commit(1, [shown], { tokens: ['gate:d'] })]
  expect(seen(...begin, commit(2, [decided(true)]), act)).toEqual([])
  expect(seen(...begin, act)).toEqual(['I10'])
  expect(seen(...begin, commit(2, [decided(false)]), act)).toEqual(['I10'])
  expect(seen(...begin, commit(2, [decided(true)]), acted('external', 'gate:d', 'key', '{"n":2}'))).toEqual(['I10'])
  expect(seen(...begin, commit(2, [decided(true)]), commit(3, [decided(false)]))).toEqual(['I10'])
  expect(seen(...begin, commit(2, [decided(true, 'e')]))).toEqual(['I10'])
  expect(seen(...begin, image, commit(2, [decided(false)]), back(2, 1, false), claim(2, 'a', 1), commit(2, [decided(true)], { epoch: 2 }))).toEqual([])
})

test('I11: not noticed, run on after it was, halted for nothing', () => {
  const heard: Step = { kind: 'heard', node: 'a', shard: 0, number: 1 }
  const halted: Step = { kind: 'halted', why: 'it went back' }
  const later = (time: number): Step => ({ kind: 'fault', what: 'time goes by', time })
  const begin = [node('joined'), claim(1, 'a'), image, commit(1), heard]
  expect(seen(...begin, back(1, 0), halted, later(5_000))).toEqual([])
  expect(seen(...begin, back(1, 0), later(5_000))).toEqual(['I11'])
  expect(seen(...begin, back(1, 0), node('killed'), later(5_000))).toEqual([])
  expect(seen(...begin, node('frozen'), back(1, 0), later(5_000))).toEqual([])
  expect(seen(...begin, node('frozen'), back(1, 0), { ...node('thawed'), time: 3_000 }, later(5_000))).toEqual(['I11'])
  expect(seen(...begin, back(1, 0, false), later(5_000))).toEqual(['I11'])
  // It is handed over unseen, and whoever has heard of it takes it up again.
  expect(seen(...begin, { kind: 'released', node: 'a', shard: 0 }, back(1, 0, false), later(5_000))).toEqual([])
  expect(seen(...begin, { kind: 'released', node: 'a', shard: 0 }, back(1, 0, false), claim(2, 'a'), later(5_000))).toEqual(['I11'])
  expect(seen(...begin, halted)).toEqual(['I11'])
  expect(seen(...begin, back(1, 0), halted, { ...commit(1), time: 4_000 })).toEqual(['I11'])
  expect(seen(...begin, back(1, 0), halted, { ...acted('action', 'k'), time: 4_000 })).toContain('I11')
  expect(seen(...begin, back(1, 0), halted, { kind: 'accepted' }, { ...commit(1), time: 4_000 })).toEqual([])
})

test('I12: a queue beyond its bound, a refusal without a code', () => {
  const held = (more: object): Step => ({ kind: 'held', shard: 0, backlog: 0, log: 0, parked: 0, dead: 0, ...more })
  expect(seen(held({ backlog: 4, log: 10, parked: 3, dead: 4 }))).toEqual([])
  for (const more of [{ backlog: 5 }, { log: 11 }, { parked: 4 }, { dead: 5 }]) expect(seen(held(more))).toEqual(['I12'])
  expect(seen(answered(1, { outcome: 'refused', code: 'MAILBOX_FULL' }))).toEqual([])
  expect(seen(answered(1, { outcome: 'refused', code: 'Cannot read properties of undefined' }))).toEqual(['I12'])
  expect(seen(answered(1, { outcome: 'refused' }))).toEqual(['I12'])
})

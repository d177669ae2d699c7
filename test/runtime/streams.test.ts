/** Streams: who said what is told by the runtime; a drain takes every entry of a shared one, once or, over a crash, again. */
import { expect, test } from 'vitest'
import { setup } from 'xstate'
import { append, durableChild } from '../../src/index.js'
import type { StreamRecord } from '../../src/runtime/streams.js'
import { World } from '../../src/testing/index.js'
import { RecordingLogger, aWorld } from '../support/worlds.js'

const noter = setup({
  types: { events: {} as { type: 'say'; what: unknown } | { type: 'note'; what: unknown } | { type: 'hire' } },
  actions: {
    say: append(({ event }) => ({ stream: 'talk', shared: true, value: (event as { what: unknown }).what })),
    note: append(({ event }) => ({ stream: 'notes', value: (event as { what: unknown }).what })),
    hire: durableChild(() => ({ machine: 'noter', id: 'c' })),
  },
}).createMachine({ id: 'noter', on: { say: { actions: 'say' }, note: { actions: 'note' }, hire: { actions: 'hire' } } })

test('an entry tells who appended it and when, whatever it says itself', async () => {
  const world = await aWorld({ machines: [noter], shards: 1 })
  await world.system.actor(noter, 'a').send({ type: 'note', what: { by: 'somebody else', at: 1 } })
  await world.advance(500)
  await world.system.actor(noter, 'b').send({ type: 'say', what: 'hello' })
  await world.settled()
  expect(await world.system.stream('noter/a', 'notes')).toEqual([{ seq: 1, at: 1_000_000, by: expect.stringMatching(/^noter\/a@\d+$/) as string, value: { by: 'somebody else', at: 1 } }])
  expect(await world.system.sharedStream('a', 'talk')).toEqual([{ seq: 1, at: 1_000_500, by: expect.stringMatching(/^noter\/b@\d+$/) as string, value: 'hello' }])
})

test("a shared stream cannot pass for the runtime's dead letters, nor for another actor's own stream", async () => {
  const forger = setup({
    types: { events: {} as { type: 'go'; stream: string } },
    actions: { forge: append(({ event }) => ({ stream: event.stream, shared: true, value: { reason: 'forged' } })) },
  }).createMachine({ id: 'forger', on: { go: { actions: 'forge' } } })
  const world = await aWorld({ machines: [forger, noter], shards: 1 })
  await world.system.actor(forger, 'a').send({ type: 'go', stream: 'dead' })
  await world.system.actor(forger, 'b').send({ type: 'go', stream: 'noter/x/notes' })
  await world.settled()
  expect(await world.system.deadLetters()).toEqual({ letters: [] })
  expect(await world.system.stream('noter/x', 'notes')).toEqual([])
  expect((await world.system.actor(forger, 'b').failure())?.error.message).toContain('stream name')
})

test('a command or question that names what cannot be fails its turn', async () => {
  const clumsy = setup({ actions: { hire: durableChild(() => ({ machine: 'noter', id: 'no/good' })) } }).createMachine({ id: 'clumsy', on: { go: { actions: 'hire' } } })
  const world = await aWorld({ machines: [clumsy, noter] })
  await world.system.actor(clumsy, 'a').send({ type: 'go' })
  await world.settled()
  expect((await world.system.actor(clumsy, 'a').failure())?.error).toMatchObject({ code: 'INVALID_ID' })
})

/** What a drain kept, by shard. */
function keeper(fails: () => boolean = () => false) {
  const kept: (StreamRecord & { readonly shard: number })[] = []
  return {
    kept,
    take: async (entries: readonly StreamRecord[], shard: number): Promise<void> => {
      if (fails()) throw new Error('no room')
      kept.push(...entries.map((entry) => ({ ...entry, shard })))
    },
  }
}

test('a drain takes all that is appended, in order, and leaves nothing behind', async () => {
  const world = await aWorld({ machines: [noter], shards: 3 })
  for (let i = 0; i < 10; i++) await world.system.actor(noter, `a${i % 4}`).send({ type: 'say', what: i })
  await world.settled()
  const { kept, take } = keeper()
  const drain = world.system.drain('talk', take)
  for (let i = 10; i < 30; i++) await world.system.actor(noter, `a${i % 4}`).send({ type: 'say', what: i })
  await world.settled()
  await drain.idle()
  expect(kept.map((entry) => entry.value).sort()).toEqual(Array.from({ length: 30 }, (_, i) => i).sort())
  for (const shard of [0, 1, 2]) {
    const seqs = kept.filter((entry) => entry.shard === shard).map((entry) => entry.seq)
    expect(seqs).toEqual(seqs.map((_, i) => i + 1))
  }
  for (let i = 0; i < 4; i++) expect(await world.system.sharedStream(`a${i}`, 'talk')).toEqual([])
  expect(drain.lag).toBe(0)
})

test('a drain that fails says so, tells its lag, and takes everything when it can again', async () => {
  const logger = new RecordingLogger()
  const world = await aWorld({ machines: [noter], shards: 1, logger })
  let broken = true
  const { kept, take } = keeper(() => broken)
  const drain = world.system.drain('talk', take)
  for (let i = 0; i < 20; i++) await world.system.actor(noter, 'a').send({ type: 'say', what: i })
  await world.settled()
  await world.advance(1_000)
  expect(drain.lag).toBe(20)
  expect(logger.lines.filter((line) => /cannot be drained/.test(line.message)).at(-1)).toMatchObject({ level: 'error', waiting: 20 })
  broken = false
  await world.advance(5_000)
  await drain.idle()
  expect(kept.map((entry) => entry.value)).toEqual(Array.from({ length: 20 }, (_, i) => i))
  expect(drain.lag).toBe(0)
})

test.each(['kill-before', 'kill-after', 'fail', 'lose-reply'] as const)('nothing is missing and every repeat can be told when the removal is disturbed (%s)', async (fault) => {
  let trims = 0
  const world = new World({ machines: [noter], shards: 1, onWrite: (write) => (write.kind === 'trim' && trims++ < 3 ? fault : undefined) })
  const { kept, take } = keeper()
  const start = async (): Promise<void> => {
    await world.start()
    world.system.drain('talk', take)
  }
  await start()
  for (let i = 0; i < 5; i++) {
    await world.system.actor(noter, 'a').send({ type: 'say', what: i })
    for (let tries = 0; tries < 5 && !(await world.advance(1_000)); tries++) await start()
  }
  const bySeq = new Map(kept.map((entry) => [entry.seq, entry]))
  expect([...bySeq.values()].map((entry) => entry.value)).toEqual([0, 1, 2, 3, 4])
  for (const entry of kept) expect(entry).toEqual(bySeq.get(entry.seq))
  expect(kept.length).toBeGreaterThanOrEqual(5)
})

test('an own stream keeps as many entries as its actor says, the newest, and never more than the system allows', async () => {
  const keeper = setup({
    types: { events: {} as { type: 'go'; max: number; n: number } },
    actions: { keep: append(({ event }) => ({ stream: 'kept', max: event.max, value: event.n })) },
  }).createMachine({ id: 'keeper', on: { go: { actions: 'keep' } } })
  const world = await aWorld({ machines: [keeper], shards: 1, streamMax: 5 })
  for (const [id, max] of [['few', 2], ['many', 1_000], ['wrong', 0]] as const) for (let n = 1; n <= 9; n++) await world.system.actor(keeper, id).send({ type: 'go', max, n }).catch(() => {})
  await world.settled()
  const kept = async (id: string) => (await world.system.stream(`keeper/${id}`, 'kept')).map(({ value }) => value)
  expect([await kept('few'), await kept('many')]).toEqual([[8, 9], [5, 6, 7, 8, 9]])
  expect((await world.system.actor(keeper, 'wrong').failure())?.error.message).toContain('keep 0 entries')
})

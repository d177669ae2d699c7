/** A namespace is moved from one store to another, on memory; test/properties/move.property.test.ts does it on all kinds, and kills it. */
import { describe, expect, test } from 'vitest'
import { assign, fromPromise, setup } from 'xstate'
import { MemoryDatabase, MemoryStore } from '../../src/adapters/memory/index.js'
import { cancelMove, createActorSystem, createClient, external, reopenMoved } from '../../src/index.js'
import { planOf, type Side } from '../../src/runtime/move-plan.js'
import type { MovableStore, MoveMark } from '../../src/runtime/ports/moving.js'
import { digests, fill, hasty, isOpen, move, namespace, optionsOf, type Connect } from '../support/moves.js'

/** What differs between the processes of one memory is their clocks. */
function memory(now?: () => number): Connect {
  const database = new MemoryDatabase()
  return () => new MemoryStore({ database, ...(now ? { now } : {}) })
}

async function filled(now?: () => number): Promise<Connect> {
  const connect = memory(now)
  await fill(connect())
  return connect
}

const refused = (reason: string, message?: RegExp): object => expect.objectContaining({ code: 'MOVE', reason, ...(message ? { message: expect.stringMatching(message) as string } : {}) })

test('everything is there afterwards, counted and compared, and a second call finds it done', async () => {
  const [from, to] = [await filled(), memory()]
  const before = await digests(from())
  const told: string[] = []
  const report = await move(from, to, { onProgress: ({ stage, shards, of }) => void (told.at(-1) !== stage && shards <= of && told.push(stage)) })
  expect(report).toMatchObject({ state: 'moved', shards: 2, counts: { actors: 100, timers: 1_400, effects: 2, messages: 1_406 }, shiftMs: 0 })
  expect(await digests(to())).toEqual(before)
  expect(told).toEqual(['copying', 'comparing', 'opening'])
  expect([await isOpen(from()), await isOpen(to())]).toEqual([false, true])
  expect(await move(from, to)).toMatchObject({ state: 'already', digests: [] })
  await expect(from().open({ namespace })).rejects.toEqual(refused('moved', /^Namespace "default" was moved to redis:\/\/there\. Use it there\.$/))
})

test('it can be moved back to where it was, over what it left there', async () => {
  const [from, to] = [await filled(), memory()]
  await move(from, to)
  const store = to()
  await store.open({ namespace })
  await store.append(0, [{ id: 'new', to: 'm/z', text: 'later' }])
  await store.close()
  const before = await digests(to())
  await move(to, from)
  expect(await digests(from())).toEqual(before)
  expect([await isOpen(from()), await isOpen(to())]).toEqual([true, false])
  // And away once more.
  await move(from, to)
  expect([await isOpen(from()), await isOpen(to())]).toEqual([false, true])
})

test('it is another shard count there if and only if something is there', async () => {
  const [from, to] = [await filled(), memory()]
  const other = to()
  await other.open({ namespace, shards: 3 })
  await expect(move(from, to)).rejects.toMatchObject({ code: 'CONFIG', message: expect.stringContaining('3 shards, not 2') as string })
  expect(await isOpen(from())).toBe(true)
})

describe('nothing is changed by a move that is refused', () => {
  const unchanged = async (from: Connect, to: Connect, reason: string, message: RegExp): Promise<void> => {
    const look = async (connect: Connect): Promise<unknown> => [(await digests(connect()).catch(() => [])).filter((digest) => !digest.startsWith('1 ')), await isOpen(connect())]
    const before = [await look(from), await look(to)]
    await expect(move(from, to)).rejects.toEqual(refused(reason, message))
    expect([await look(from), await look(to)]).toEqual(before)
  }

  test('because there is something at the other place', async () => {
    const [from, to] = [await filled(), await filled()]
    await unchanged(from, to, 'not-empty', /redis:\/\/there .*"default"/)
    expect([await isOpen(from()), await isOpen(to())]).toEqual([true, true])
  })

  test.each(['here', 'there'])('because a process runs actors %s', async (where) => {
    const [from, to] = [await filled(), memory()]
    const store = (where === 'here' ? from : to)()
    await store.open({ namespace, shards: 2 })
    await store.beat({ id: 'node-7' }, 'here', [])
    // It shows that it lives whenever it is looked at.
    const beating = { ...hasty, after: (_: number, callback: () => void) => hasty.after(0, () => void store.beat({ id: 'node-7' }, 'here', []).then(callback)) }
    await expect(move(from, to, { clock: beating })).rejects.toEqual(refused('in-use', where === 'here' ? /node-7 runs .* \.\/here/ : /node-7 runs .* redis:\/\/there/))
    await store.beat({ id: 'node-7' }, 'gone', [])
    expect([await isOpen(from()), await isOpen(to())]).toEqual([true, true])
    expect(await move(from, to)).toMatchObject({ state: 'moved' })
  })

  test('because the store went back in time, and nobody has accepted that', async () => {
    const [from, to] = [await filled(), memory()]
    const store = from()
    await store.open({ namespace })
    await store.halt('the store went back in time.', 0)
    await unchanged(from, to, 'halted', /went back in time\. Accept it/)
    await store.accept()
    await move(from, to)
    const there = to()
    await there.open({ namespace })
    // It is known there, too, how often it was accepted.
    expect((await there.presence()).accepted).toBeGreaterThanOrEqual(1)
  })

  test('because there is no such namespace, or both places are one', async () => {
    const [from, to] = [await filled(), memory()]
    await expect(move(memory(), to)).rejects.toEqual(refused('missing', /no namespace "default"/))
    await unchanged(from, from, 'same', /the same namespace/)
    const copy = memory()
    const store = copy()
    await store.open({ namespace, shards: 2, moving: 'to' })
    const mark: MoveMark = { id: 'x', state: 'arriving', place: 'elsewhere' }
    await store.mark(undefined, mark)
    await unchanged(from, copy, 'other', /belongs to another move.*elsewhere/)
    await unchanged(copy, to, 'unfinished', /only partly here/)
  })

  test('because it was moved, or is on its way, to another place', async () => {
    const [from, to, third] = [await filled(), memory(), memory()]
    const here = from()
    await here.open({ namespace })
    await here.mark(undefined, { id: 'x', state: 'leaving', place: 'redis://first' })
    await unchanged(from, to, 'other', /on its way to redis:\/\/first.*redis:\/\/there is not it/)
    await here.mark({ id: 'x', state: 'leaving', place: '' }, undefined)
    await move(from, to)
    await unchanged(from, third, 'moved', /was moved to redis:\/\/there/)
  })

  test('because somebody who had the other place open was faster than the seal', async () => {
    const [from, to] = [await filled(), memory()]
    const client = to()
    await client.open({ namespace, shards: 2 })
    class Late extends MemoryStore {
      override async mark(...args: Parameters<MemoryStore['mark']>): Promise<boolean> {
        if (args[1]?.state === 'arriving') await client.append(1, [{ id: 'i', to: 'm/a', text: 'mine' }])
        return super.mark(...args)
      }
    }
    await expect(move(from, () => new Late({ database: (to() as unknown as { database: MemoryDatabase }).database }))).rejects.toEqual(refused('not-empty', /shard 1/))
    expect([await isOpen(from()), await isOpen(to())]).toEqual([true, true])
    expect((await client.read(1, 0, 10, AbortSignal.abort())).map(({ text }) => text)).toEqual(['mine'])
  })
})

test('who still has the old place open is told where it went, and its messages are not taken', async () => {
  const counter = setup({ types: { context: {} as { n: number } }, actions: { add: assign({ n: ({ context }) => context.n + 1 }) } }).createMachine({ id: 'counter', context: { n: 0 }, on: { add: { actions: 'add' } } })
  const [from, to] = [memory(), memory()]
  const system = await createActorSystem({ store: from(), machines: [counter], shards: 2 }).start()
  await system.actor(counter, 'c').send({ type: 'add' })
  const client = await createClient({ store: from(), machines: [counter] })
  await system.stop()
  await move(from, to)
  await expect(client.actor(counter, 'c').send({ type: 'add' })).rejects.toEqual(refused('moved', /moved to redis:\/\/there, and nothing is taken here/))
  await client.stop()
  await expect(createActorSystem({ store: from(), machines: [counter] }).start()).rejects.toEqual(refused('moved', /was moved to redis:\/\/there/))
  await expect(createClient({ store: from(), machines: [counter] })).rejects.toEqual(refused('moved'))
  const next = await createActorSystem({ store: to(), machines: [counter] }).start()
  await next.actor(counter, 'c').send({ type: 'add' })
  expect((await next.actor(counter, 'c').snapshot())?.context.n).toBe(2)
  await next.stop()
})

test('a process that was frozen over the move neither writes nor goes on when it wakes up', async () => {
  const counter = setup({ types: { context: {} as { n: number } }, actions: { add: assign({ n: ({ context }) => context.n + 1 }) } }).createMachine({ id: 'counter', context: { n: 0 }, on: { add: { actions: 'add' } } })
  const [from, to] = [memory(), memory()]
  const store = from()
  // Its signs of life do not arrive while it is frozen.
  const beat = store.beat.bind(store)
  let frozen = false
  store.beat = (...args) => (frozen ? new Promise(() => {}) : beat(...args))
  const system = await createActorSystem({ store, machines: [counter], shards: 2, leaseMs: 40 }).start()
  await system.actor(counter, 'c').send({ type: 'add' })
  frozen = true
  const before = await digests(from())
  await move(from, to, { leaseMs: 40 })
  await expect(system.actor(counter, 'c').send({ type: 'add' })).rejects.toMatchObject({ code: expect.stringMatching(/MOVE|STORE|STOPPED/) as string })
  expect(await digests(to())).toEqual(before)
  system.abandon()
})

test('effects that were under way go on under their keys, and one that may have happened is asked for first', async () => {
  const keys: string[] = []
  const calls: string[] = []
  const job = (hangs: boolean) =>
    setup({
      types: { context: {} as { got: string[] } },
      actors: {
        call: fromPromise<string>((args) => {
          keys.push((args as unknown as { idempotencyKey: string }).idempotencyKey)
          return hangs ? new Promise(() => {}) : Promise.resolve('called')
        }),
        pay: external({
          run: ({ idempotencyKey }: { input: undefined; idempotencyKey: string }): Promise<string> => {
            calls.push(`run ${idempotencyKey}`)
            return new Promise(() => {})
          },
          reconcile: ({ idempotencyKey }): Promise<{ happened: true; output: string }> => {
            calls.push(`reconcile ${idempotencyKey}`)
            return Promise.resolve({ happened: true, output: 'paid' })
          },
        }),
      },
      actions: { got: assign({ got: ({ context, event }) => [...context.got, (event as unknown as { output: string }).output].sort() }) },
    }).createMachine({
      id: 'job',
      context: { got: [] },
      invoke: [
        { id: 'call', src: 'call', onDone: { actions: 'got' } },
        { id: 'pay', src: 'pay', onDone: { actions: 'got' } },
      ],
    })
  const [from, to] = [memory(), memory()]
  const first = await createActorSystem({ store: from(), machines: [job(true)], shards: 2 }).start()
  await first.actorAt('job/j').start({})
  await first.settled()
  first.abandon()
  await move(from, to)
  const machine = job(false)
  const second = await createActorSystem({ store: to(), machines: [machine] }).start()
  const { context } = await second.actor(machine, 'j').waitFor((snapshot) => snapshot.context.got.length === 2, { deadlineMs: 5_000 })
  expect(context.got).toEqual(['called', 'paid'])
  expect(new Set(keys)).toEqual(new Set(['default/job/j/-/call/1']))
  expect(calls).toEqual(['run default/job/j/-/pay/1', 'reconcile default/job/j/-/pay/1'])
  await second.stop()
})

describe('clocks of the two places', () => {
  const bell = setup({}).createMachine({ id: 'bell', initial: 'quiet', states: { quiet: { after: { 3_600_000: 'rung' } }, rung: { type: 'final' } } })

  /** Starts the bell here, moves it half an hour later, and says how long after the move it rings there, ms. */
  async function ringsAfter(aheadMs: number): Promise<{ shiftMs: number; later: number; left: number }> {
    let time = 10_000_000
    const [from, to] = [memory(() => time), memory(() => time + aheadMs)]
    const system = await createActorSystem({ store: from(), machines: [bell], shards: 1 }).start()
    await system.actor(bell, 'b').start({})
    const due = (await system.clock.nextDue())!
    await system.stop()
    time = due - 1_800_000
    const { shiftMs } = await move(from, to)
    const store = to()
    await store.open({ namespace })
    const dueThere = (await store.nextTimer(0))!
    const { state } = (await store.claim(0, { id: 'x' })) as { state: { clock: number } }
    await store.close()
    // The namespace clock is the greater of the store's and the last commit's.
    return { shiftMs, later: dueThere - due, left: dueThere - Math.max(time + aheadMs, state.clock) }
  }

  test('that agree change nothing', async () => {
    expect(await ringsAfter(0)).toEqual({ shiftMs: 0, later: 0, left: 1_800_000 })
  })
  test('of which the other one is ahead do not make timers early', async () => {
    expect(await ringsAfter(600_000)).toEqual({ shiftMs: 600_000, later: 600_000, left: 1_800_000 })
  })
  test('of which the other one is behind do not either', async () => {
    const { shiftMs, left } = await ringsAfter(-600_000)
    expect(shiftMs).toBe(0)
    expect(left).toBeGreaterThanOrEqual(1_800_000)
  })
  test('order what stands in line as it stood: messages, timers and the last commit are later by the same', async () => {
    let time = 5_000
    const [from, to] = [await filled(() => time), memory(() => time + 700)]
    const read = async (connect: Connect): Promise<number[][]> => {
      const store = connect()
      await store.open({ namespace, moving: 'to' })
      const entries = await store.read(1, 0, 3, AbortSignal.abort())
      const timers = await store.timers(1, Infinity, 3)
      const page = await store.export(1, '')
      await store.close()
      return [entries.map(({ at }) => at), timers.map(({ dueAt }) => dueAt), page.items.flatMap((item) => (item.kind === 'shard' ? [item.clock] : item.kind === 'id' || item.kind === 'reply' ? [item.until] : item.kind === 'outbox' ? [item.entry.entry.rememberUntil!] : []))]
    }
    const before = await read(from)
    await move(from, to)
    expect(await read(to)).toEqual(before.map((times) => times.map((at) => at + 700)))
    time++
  })
})

test('what arrives otherwise is not opened, and copied anew by the next call', async () => {
  const [from, to] = [await filled(), memory()]
  class Forgetful extends MemoryStore {
    override async import(...[shard, id, page]: Parameters<MovableStore['import']>): Promise<string> {
      return super.import(shard, id, { ...page, items: page.items.filter((item) => item.kind !== 'suspect') })
    }
  }
  const forgetful = (): MovableStore => new Forgetful({ database: (to() as unknown as { database: MemoryDatabase }).database })
  await expect(move(from, forgetful)).rejects.toEqual(refused('differs', /Shard \d is not the same at redis:\/\/there as at \.\/here/))
  expect([await isOpen(from()), await isOpen(to())]).toEqual([false, false])
  await expect(move(from, forgetful)).rejects.toEqual(refused('differs'))
  const before = await digests(from())
  expect(await move(from, to)).toMatchObject({ state: 'moved' })
  expect(await digests(to())).toEqual(before)
})

test('it stops between two pages when it is told to, and goes on from there', async () => {
  const [from, to] = [await filled(), memory()]
  const controller = new AbortController()
  await expect(move(from, to, { signal: controller.signal, onProgress: () => controller.abort() })).rejects.toMatchObject({ code: 'STOPPED' })
  expect([await isOpen(from()), await isOpen(to())]).toEqual([false, false])
  await expect(from().open({ namespace })).rejects.toEqual(refused('unfinished', /on its way to redis:\/\/there.*Run it again/))
  await expect(to().open({ namespace })).rejects.toEqual(refused('unfinished', /only partly here.*\.\/here/))
  expect(await move(from, to)).toMatchObject({ state: 'moved' })
})

test('what is kept beside the stores is moved before anything opens, and again if it failed', async () => {
  const [from, to] = [await filled(), memory()]
  await expect(move(from, to, { beside: () => Promise.reject(new Error('the disk is full')) })).rejects.toThrow('the disk is full')
  expect([await isOpen(from()), await isOpen(to())]).toEqual([false, false])
  let times = 0
  await move(from, to, { beside: async () => void times++ })
  expect(times).toBe(1)
})

test('a cancelled move leaves the one place as it was and the other one empty, and another may begin', async () => {
  const [from, to] = [await filled(), memory()]
  const before = await digests(from())
  await expect(move(from, to, { beside: () => Promise.reject(new Error('no')) })).rejects.toThrow()
  await cancelMove(optionsOf(from, to))
  expect(await digests(from())).toEqual(before)
  expect([await isOpen(from()), await isOpen(to())]).toEqual([true, true])
  await expect(cancelMove(optionsOf(from, to))).rejects.toEqual(refused('cannot', /no move .* to cancel/))
  expect(await move(from, to)).toMatchObject({ state: 'moved' })
  expect(await digests(to())).toEqual(before)
  await expect(cancelMove(optionsOf(from, to))).rejects.toEqual(refused('cannot', /too late/))
})

test('if the other place is lost the old one is opened again as it left', async () => {
  const [from, to] = [await filled(), memory()]
  const before = await digests(from())
  await expect(reopenMoved({ store: from() })).rejects.toEqual(refused('cannot', /is open here/))
  await move(from, to)
  await expect(reopenMoved({ store: memory()() })).rejects.toEqual(refused('missing'))
  await reopenMoved({ store: from() })
  expect(await digests(from())).toEqual(before)
  expect(await isOpen(from())).toBe(true)
  // It may leave again, but not to where it is already.
  await expect(move(from, to)).rejects.toEqual(refused('same'))
  expect(await move(from, memory())).toMatchObject({ state: 'moved' })
  // What is only partly there cannot be opened.
  const [half, rest] = [await filled(), memory()]
  await expect(move(half, rest, { beside: () => Promise.reject(new Error('no')) })).rejects.toThrow()
  await expect(reopenMoved({ store: rest() })).rejects.toEqual(refused('cannot', /only partly here/))
  await reopenMoved({ store: half() })
  expect([await isOpen(half()), await isOpen(rest())]).toEqual([true, false])
})

test('a cancel that is a moment too late opens nothing', async () => {
  const [from, to] = [await filled(), memory()]
  await expect(move(from, to, { beside: () => Promise.reject(new Error('no')) })).rejects.toThrow()
  class Faster extends MemoryStore {
    override async mark(...[expected, next, changes]: Parameters<MemoryStore['mark']>): Promise<boolean> {
      if (next?.state === 'returning') await super.mark(expected, { ...expected!, state: 'left' })
      return super.mark(expected, next, changes)
    }
  }
  const faster = (): MovableStore => new Faster({ database: (from() as unknown as { database: MemoryDatabase }).database })
  await expect(cancelMove(optionsOf(faster, to))).rejects.toEqual(refused('over'))
  const here = from()
  await here.open({ namespace, moving: 'from' })
  for (const shard of [0, 1]) await expect(here.append(shard, [{ id: 'late', to: 'm/a', text: '' }])).rejects.toEqual(refused('moved'))
})

test('of two that move at once one may win, or both help; a late one undoes nothing', async () => {
  for (let seed = 0; seed < 10; seed++) {
    const [from, to] = [await filled(), memory()]
    const before = await digests(from())
    const results = await Promise.allSettled([move(from, to), move(from, to), seed % 2 === 0 ? move(from, to) : cancelMove(optionsOf(from, to))])
    for (const result of results) if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'MOVE' })
    const open = [await isOpen(from()), await isOpen(to())]
    expect(open).not.toEqual([true, true])
    await move(from, to)
    expect([await isOpen(from()), await isOpen(to())]).toEqual([false, true])
    expect(await digests(to())).toEqual(before)
  }
})

describe('what comes next', () => {
  const mark = (state: MoveMark['state'], id = 'x'): MoveMark => ({ id, state, place: 'P' })
  const side = (place: string, incarnation: string, state?: MoveMark): Side => ({ place, incarnation, mark: state })
  const marks = [undefined, mark('leaving'), mark('left'), mark('returning'), mark('arriving'), mark('arriving', 'y')]

  test('is decided from the two marks, whatever they are', () => {
    const table = marks.slice(0, 5).map((here) =>
      marks.map((there) =>
        ['i', 'j'].map((incarnation) => {
          try {
            return planOf('n', side('A', 'i', here), side('B', incarnation, there)).step
          } catch (error) {
            return (error as { reason: string }).reason
          }
        }),
      ),
    )
    expect(table.map((row) => row.map((cell) => cell.join('|')).join('  '))).toMatchInlineSnapshot(`
      [
        "same|begin  other|other  begin|other  other|other  begin|other  begin|other",
        "other|other  other|other  other|other  other|other  go-on|go-on  other|other",
        "nothing|moved  moved|moved  moved|moved  moved|moved  finish|finish  moved|moved",
        "unfinished|unfinished  unfinished|unfinished  unfinished|unfinished  unfinished|unfinished  unfinished|unfinished  unfinished|unfinished",
        "unfinished|unfinished  unfinished|unfinished  unfinished|unfinished  unfinished|unfinished  unfinished|unfinished  unfinished|unfinished",
      ]
    `)
  })
})

test('options that cannot work are refused by name', async () => {
  const from = await filled()
  await expect(async () => move(from, memory(), { leaseMs: 0 })).rejects.toMatchObject({ code: 'CONFIG', message: expect.stringContaining('leaseMs') as string })
  await expect(async () => move(from, memory(), { namespace: 'a/b' })).rejects.toMatchObject({ code: 'INVALID_ID' })
  await expect(async () => move(from, () => ({}) as MovableStore)).rejects.toEqual(refused('cannot', /^to: /))
})


/** What an owner reads of its log: what others have appended, and of what it has appended itself next to nothing. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { assign, sendTo, setup } from 'xstate'
import { createActorSystem, createClient, refTo, reply, type Store } from '../../src/index.js'
import { openDatabases, type Databases, type StoreKind } from '../support/stores.js'

const actors = 300
const hops = 9

const relay = setup({
  types: { context: {} as { next: string; seen: number[] }, input: {} as { next: string }, events: {} as { type: 'go'; hops: number } },
  actions: {
    note: assign({ seen: ({ context, event }) => [...context.seen, event.hops] }),
    pass: sendTo(({ context }) => refTo(context.next), ({ event }) => ({ type: 'go', hops: event.hops - 1 })),
  },
  guards: { hasFarther: ({ event }) => event.hops > 0 },
}).createMachine({
  id: 'relay',
  context: ({ input }) => ({ next: input.next, seen: [] }),
  on: { go: [{ guard: 'hasFarther', actions: ['note', 'pass'] }, { actions: 'note' }] },
})

/** Counts the entries that the store gives back. */
function counted(store: Store, count: (entries: number) => void): Store {
  return new Proxy(store, {
    get(target, name) {
      if (name === 'read') {
        return async (...args: Parameters<Store['read']>) => {
          const entries = await target.read(...args)
          count(entries.length)
          return entries
        }
      }
      const member: unknown = Reflect.get(target, name)
      return typeof member === 'function' ? (member as (...args: unknown[]) => unknown).bind(target) : member
    },
  })
}

describe.each(['memory', 'lmdb', 'redis'] as const)('on %s', (kind: StoreKind) => {
  let databases: Databases
  beforeAll(async () => void (databases = await openDatabases(kind)))
  afterAll(() => databases.dispose())

  test('what its own commits append is handled without being read back, and what a client appends meanwhile in its place', async () => {
    let read = 0
    const system = await createActorSystem({ store: counted(databases.connect('own'), (entries) => (read += entries)), machines: [relay], shards: 1 }).start()
    const client = await createClient({ store: databases.connect('own'), machines: [relay] })
    const all = Array.from({ length: actors }, (_, i) => system.actor(relay, `r${i}`))
    await Promise.all(all.map((actor, i) => actor.start({ input: { next: `relay/r${(i + 1) % actors}` } })))
    read = 0
    const others = Array.from({ length: 50 }, (_, i) => client.actor(relay, `r${i}`))
    await Promise.all([...all.map((actor) => actor.send({ type: 'go', hops })), ...others.map((actor) => actor.send({ type: 'go', hops: 0 }))])
    await system.settled()
    let turns = 0
    for (let i = 0; i < actors; i++) {
      const { seen } = (await all[i]!.snapshot())!.context
      turns += seen.length
      // Each actor passes on what it gets in its order.
      expect(seen.filter((n) => n > 0)).toEqual(Array.from({ length: hops }, (_, hop) => hops - hop))
    }
    expect(turns).toBe(actors * (hops + 1) + others.length)
    const appended = actors * hops
    expect(read).toBeGreaterThanOrEqual(others.length)
    expect(read).toBeLessThan(appended / 2)
    await client.stop()
    await system.stop()
  })
})

test('the answer of an actor of this process comes with its commit; only that to an id of the caller’s is looked for in the store', async () => {
  const echo = setup({ actions: { answer: reply(({ event }) => (event as unknown as { n: number }).n) } }).createMachine({ id: 'echo', on: { say: { actions: 'answer' } } })
  const databases = await openDatabases('memory')
  let looks = 0
  const store = new Proxy(databases.connect('asks'), {
    get(target, name) {
      const member: unknown = Reflect.get(target, name)
      if (name === 'reply') looks++
      return typeof member === 'function' ? (member as (...args: unknown[]) => unknown).bind(target) : member
    },
  })
  const system = await createActorSystem({ store, machines: [echo] }).start()
  const actor = system.actor(echo, 'a')
  for (let n = 0; n < 10; n++) expect(await actor.ask({ type: 'say', n })).toBe(n)
  expect(looks).toBe(0)
  expect(await actor.ask({ type: 'say', n: 10 }, { id: 'mine' })).toBe(10)
  expect(await actor.ask({ type: 'say', n: 11 }, { id: 'mine' })).toBe(10)
  expect(looks).toBeGreaterThan(0)
  await system.stop()
  await databases.dispose()
})

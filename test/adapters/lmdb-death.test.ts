/** Processes that die, and how the others know: what was acknowledged is there, and what was theirs is free. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { isProcessAlive, LmdbStore, processIdentity } from '../../src/adapters/lmdb/index.js'
import type { Holder, NodeIdentity } from '../../src/runtime/ports/store.js'
import { claim, entry, isWhole, removeScratchFolders, scratchFolder } from '../support/lmdb-data.js'
import { LmdbProcess } from '../support/lmdb-process.js'
import { Random } from '../support/random.js'

const stores: LmdbStore[] = []

afterEach(async () => {
  await LmdbProcess.killAll()
  await Promise.all(stores.splice(0).map((store) => store.close()))
  await removeScratchFolders()
})

/** Elsewhere a pid that is in use tells nothing, and owners go by their counters. */
const onLinux = test.skipIf(process.platform !== 'linux')
const namespace = { namespace: 'n', shards: 4, logMax: 1_000_000, backlogMax: 1_000_000 }

async function open(path: string): Promise<LmdbStore> {
  const store = new LmdbStore(path)
  stores.push(store)
  await store.open(namespace)
  return store
}

async function openElsewhere(path: string): Promise<LmdbProcess> {
  const other = await LmdbProcess.start()
  await other.open(path, namespace)
  return other
}

describe('a process that is killed', () => {
  const kills = 24
  const seed = 7

  // SIGKILL shows what the death of a process does; what a power cut does only a real one shows.
  test(`${kills} times in the middle of writing, has lost no acknowledged write and torn none, and its shard is free at once (seed ${seed})`, async () => {
    const path = await scratchFolder()
    const random = new Random(seed)
    const store = await open(path)
    let isOver = false
    const acknowledged = new Map<number, string>()
    const survivor = (async () => {
      for (let i = 0; !isOver; i++) {
        const [appended] = await store.append(1, [entry(`survivor ${i}`)])
        if (typeof appended === 'object') acknowledged.set(appended.seq, `survivor ${i}`)
      }
    })()
    const written: string[] = []
    let committed = 0
    let next = LmdbProcess.start()
    for (let kill = 0; kill < kills; kill++) {
      const writer = await next
      next = LmdbProcess.start()
      next.catch(() => {})
      await writer.open(path, namespace)
      const claimed = await writer.store.claim(0, { id: `writer-${kill}` })
      if (!('lease' in claimed)) throw new Error(`the shard of the dead process is held: ${JSON.stringify(claimed)}`)
      expect(claimed.state.number).toBeGreaterThanOrEqual(committed)
      void writer.writeOn(claimed.lease, claimed.state.number + 1, 1).catch(() => {})
      await writer.until((news) => 'committed' in news)
      await sleep(random.below(30))
      expect(await writer.kill()).toMatchObject({ signal: 'SIGKILL' })

      for (const news of writer.news) {
        expect(news).not.toHaveProperty('refused')
        if ('committed' in news) committed = Math.max(committed, news.committed)
        if ('appended' in news) acknowledged.set(news.appended, news.text)
      }
      const records = await store.load(0, ['m/a', 'm/b', 'm/c'])
      const numbers = records.map((record) => Number(record?.fields.get('number')))
      expect(numbers[0]).toBeGreaterThanOrEqual(committed)
      expect(new Set(numbers).size).toBe(1)
      for (const record of records) expect(record?.fields.get('text')).toSatisfy(isWhole)
      for (const stream of ['m/a', 'm/b', 'm/c']) expect((await store.log(0, stream, 0, 100)).at(-1)?.text).toBe(`${numbers[0]}`)
      for (const { seq, text } of await store.read(1, written.length, 100_000, AbortSignal.abort())) expect(seq).toBe(written.push(text))
    }
    isOver = true
    await survivor
    for (const { seq, text } of await store.read(1, written.length, 100_000, AbortSignal.abort())) expect(seq).toBe(written.push(text))
    for (const text of written) expect(text.startsWith('survivor') || isWhole(text)).toBe(true)
    for (const [seq, text] of acknowledged) expect(written[seq - 1]).toBe(text)
    console.log(`${kills} kills: ${acknowledged.size} appends acknowledged of ${written.length} written, ${committed} commits acknowledged`)
    await (await next).kill()
  })

  test('while it makes the folder leaves one that can be opened', async () => {
    const random = new Random(seed)
    const folder = await scratchFolder()
    const makers = await Promise.all(Array.from({ length: 8 }, () => LmdbProcess.start()))
    for (const [i, maker] of makers.entries()) {
      const path = `${folder}/${i}`
      void maker.open(path, namespace).catch(() => {})
      await sleep(random.below(6))
      await maker.kill()
      expect(await (await open(path)).append(1, [entry('a')])).toEqual([{ seq: 1 }])
    }
  })

  test('in the middle of a transaction leaves nothing of it, and lets the others write', async () => {
    const path = await scratchFolder()
    const [store, other] = [await open(path), await openElsewhere(path)]
    await store.append(1, [entry('a')])
    await other.hang()
    const write = store.append(1, [entry('b')])
    expect(await Promise.race([write, sleep(50, 'waits')])).toBe('waits')
    expect(await store.read(1, 0, 10, AbortSignal.abort())).toHaveLength(1)
    await other.kill()
    expect(await write).toEqual([{ seq: 2 }])
  })
})

describe('an owner', () => {
  const taker: NodeIdentity = { id: 'taker' }

  /** Somebody who wants the shard and has seen the counter stand still. */
  async function patient(store: LmdbStore): Promise<Holder> {
    const answer = await store.claim(1, taker)
    if (!('heldBy' in answer)) throw new Error('nobody holds it')
    return answer.heldBy
  }

  onLinux('that lives keeps its shard however long its counter stands still, also stopped, and loses it when it dies', async () => {
    const path = await scratchFolder()
    const [store, owner] = [await open(path), await openElsewhere(path)]
    await claim(owner.store, 1, 'owner')
    const seen = await patient(store)
    expect(seen).toMatchObject({ node: 'owner', alive: true })
    expect(await store.claim(1, taker, seen)).toEqual({ heldBy: seen })
    owner.signal('SIGSTOP')
    expect(await store.claim(1, taker, seen)).toEqual({ heldBy: seen })
    owner.signal('SIGCONT')
    await owner.kill()
    expect(await store.claim(1, taker)).toMatchObject({ lease: { node: 'taker' }, state: { clean: false } })
  })

  onLinux('that is dead and not yet buried by its parent is dead', async () => {
    const path = await scratchFolder()
    const store = await open(path)
    // The shell starts it and becomes a program that never asks after it.
    const parent = await LmdbProcess.start({ through: ['sh', '-c', 'exec 3<&0; "$@" <&3 & exec sleep 600', 'sh'] })
    await parent.open(path, namespace)
    await claim(parent.store, 1, 'owner')
    const owner = await parent.identity()
    expect(owner.pid).not.toBe(parent.pid)
    expect(isProcessAlive(owner)).toBe(true)
    process.kill(owner.pid, 'SIGKILL')
    await expect.poll(() => isProcessAlive(owner)).toBe(false)
    // The pid is still taken.
    expect(process.kill(owner.pid, 0)).toBe(true)
    expect(await store.claim(1, taker)).toMatchObject({ lease: { node: 'taker' } })
  })

  onLinux('whose pid belongs to another process by now is dead', async () => {
    const path = await scratchFolder()
    const [store, other] = [await open(path), await openElsewhere(path)]
    for (const living of [await other.identity(), processIdentity()]) {
      await store.claim(1, { id: `owner ${living.pid}`, process: { ...living, startedAt: `${Number(living.startedAt) - 1}` } })
      await store.release(await claim(store, 1, 'taker'))
    }
  })

  test('on another host or in another container goes by its counter', async () => {
    const store = await open(await scratchFolder())
    await store.claim(1, { id: 'owner', process: { ...processIdentity(), host: 'elsewhere' } })
    const seen = await patient(store)
    expect(seen).toEqual({ node: 'owner', beat: seen.beat })
    expect(await store.claim(1, taker, seen)).toMatchObject({ lease: { node: 'taker' } })
  })

  test('is not taken over by what cannot be a process', async () => {
    const self = processIdentity()
    for (const pid of [0, -1, 1.5, Number.NaN]) expect(isProcessAlive({ ...self, pid })).toBeUndefined()
    expect(isProcessAlive(self)).toBe(true)
  })
})

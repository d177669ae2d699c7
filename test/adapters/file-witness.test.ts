/** A witness in a folder, and what it is for: a store that lost something while no process was running. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { fileWitness } from '../../src/adapters/file/index.js'
import { lmdbStore } from '../../src/adapters/lmdb/index.js'
import { redisStore } from '../../src/adapters/redis/index.js'
import { createActorSystem, createClient, type ActorSystem, type MovableStore, type Testimony } from '../../src/index.js'
import { redisCli } from '../support/redis-cli.js'
import { RedisServer } from '../support/redis-server.js'
import { tally } from '../support/tally.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-witness-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const testimony = (node: string, more: Partial<Testimony> = {}): Testimony => ({ node, incarnation: 'i', accepted: 0, commits: { 0: 3, 7: 12 }, ...more })

describe('a witness in a folder', () => {
  test('keeps the last word of each node, by namespace, and forgets whom it is told to', async () => {
    const witness = fileWitness(join(folder, 'made', 'when needed'))
    expect(await witness.recall('n')).toEqual([])
    await witness.tell('n', testimony('a'))
    await witness.tell('n', testimony('a', { commits: { 0: 4 } }))
    await witness.tell('n', testimony('b/../x', { halted: { incarnation: 'j', accepted: 2 } }))
    await witness.tell('other', testimony('a'))
    const again = fileWitness(join(folder, 'made', 'when needed'))
    const told = await again.recall('n')
    expect([...told].sort((x, y) => (x.node < y.node ? -1 : 1))).toEqual([testimony('a', { commits: { 0: 4 } }), testimony('b/../x', { halted: { incarnation: 'j', accepted: 2 } })])
    await again.forget('n', 'a')
    await again.forget('n', 'nobody')
    expect((await witness.recall('n')).map(({ node }) => node)).toEqual(['b/../x'])
    expect(await witness.recall('other')).toHaveLength(1)
    expect((await readdir(join(folder, 'made', 'when needed'))).every((name) => /^[0-9a-f]{32}-[0-9a-f]{32}\.json$/.test(name))).toBe(true)
  })

  test('is bounded: of more than 64 nodes the oldest go, and never the one that tells', async () => {
    const witness = fileWitness(folder)
    for (let i = 0; i < 68; i++) {
      await witness.tell('n', testimony(`n${i}`))
      for (const name of await readdir(folder)) {
        if ((await readFile(join(folder, name), 'utf8')).includes(`"n${i}"`)) await utimes(join(folder, name), i, i)
      }
    }
    const nodes = (await witness.recall('n')).map(({ node }) => Number(node.slice(1))).sort((a, b) => a - b)
    expect([nodes.length, nodes[0], nodes.at(-1)]).toEqual([64, 4, 67])
  })

  test.each(['', '{', '{"format":2}', JSON.stringify({ format: 1, testimony: { node: 'a', incarnation: 'i', accepted: 0, commits: { 0: -1 } } }), 'x'.repeat(100)])('that is damaged is named, not taken for an empty one: %s', async (text) => {
    const witness = fileWitness(folder)
    await witness.tell('n', testimony('a'))
    const [name] = await readdir(folder)
    await writeFile(join(folder, name!), text)
    await expect(witness.recall('n')).rejects.toMatchObject({ code: 'CONFIG', message: expect.stringMatching(/holds no testimony of format 1\. If it was damaged, .* remove the file/) })
  })

  test('that is no folder is refused', async () => {
    expect(() => fileWitness('')).toThrow('fileWitness: expected the path of a folder')
    await writeFile(join(folder, 'file'), '')
    await expect(fileWitness(join(folder, 'file')).recall('n')).rejects.toThrow(/cannot be read: .*Give fileWitness a folder/)
  })

  test('of a process that is killed while it tells holds what it told before, or after', async () => {
    const script = `import { fileWitness } from ${JSON.stringify(join(process.cwd(), 'dist/adapters/file/index.js'))}
      const witness = fileWitness(${JSON.stringify(folder)})
      for (let i = 1; ; i++) { await witness.tell('n', { node: 'a', incarnation: 'i', accepted: 0, commits: { 0: i } }); console.log(i) }`
    for (let trial = 0; trial < 3; trial++) {
      const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
      let said = ''
      child.stdout.on('data', (data: Buffer) => {
        said += data.toString()
        if (said.length > 100 + 37 * trial) child.kill('SIGKILL')
      })
      await once(child, 'close')
      const last = Number(said.trimEnd().split('\n').at(-1))
      const [told] = await fileWitness(folder).recall('n')
      expect(told?.commits[0]).toBeGreaterThanOrEqual(last)
      expect(told?.commits[0]).toBeLessThanOrEqual(last + 1)
    }
  })
})

describe('what was lost while no process was running', () => {
  const systems: ActorSystem[] = []
  afterEach(() => Promise.all(systems.splice(0).map((system) => system.stop({ withinMs: 2_000 }))))
  async function start(store: MovableStore): Promise<ActorSystem> {
    const system = await createActorSystem({ store, namespace: 'research', machines: [tally], leaseMs: 500, witness: fileWitness(join(folder, 'witness')) }).start()
    systems.push(system)
    return system
  }
  const ids = Array.from({ length: 8 }, (_, i) => `a${i}`)
  const add = (system: ActorSystem, n: number): Promise<unknown> => Promise.all(ids.map((id) => system.actor(tally, id).ask({ type: 'add', n }, { deadlineMs: 10_000 })))
  const owns = (system: ActorSystem): ReturnType<typeof expect.poll> => expect.poll(() => system.owned.shards.length, { timeout: 10_000 })
  async function isHalted(store: MovableStore): Promise<ActorSystem> {
    const system = await start(store)
    await expect.poll(() => system.halted(), { timeout: 10_000 }).toContain('the store went back in time')
    await owns(system).toBe(0)
    return system
  }

  test('of an LMDB folder that was put back is found out, accepted by somebody who runs nothing, and forgotten', async () => {
    const at = join(folder, 'data')
    const first = await start(lmdbStore(at))
    await add(first, 1)
    await first.stop()
    await cp(at, join(folder, 'older'), { recursive: true })
    const second = await start(lmdbStore(at))
    await add(second, 2)
    await second.stop()
    await rm(at, { recursive: true })
    await cp(join(folder, 'older'), at, { recursive: true })
    const third = await isHalted(lmdbStore(at))
    await third.stop()
    const client = await createClient({ store: lmdbStore(at), namespace: 'research' })
    expect(await client.halted()).toContain('the store went back in time')
    await client.accept()
    await client.stop()
    const fourth = await start(lmdbStore(at))
    await owns(fourth).toBe(16)
    await add(fourth, 3)
    expect((await fourth.actor(tally, 'a0').snapshot())?.context.seen).toEqual([1, 3])
    await fourth.stop()
    const fifth = await start(lmdbStore(at))
    expect([fifth.owned.shards.length, await fifth.halted()]).toEqual([16, undefined])
  }, 60_000)

  test('of Redis is found out: everything, and the last of it', async () => {
    const server = await RedisServer.start()
    try {
      const first = await start(redisStore(server.url))
      await add(first, 1)
      await first.stop()
      const putBack = await server.backup()
      const second = await start(redisStore(server.url))
      await add(second, 2)
      await second.stop()
      await putBack()
      const third = await isHalted(redisStore(server.url))
      await third.accept()
      await owns(third).toBe(16)
      await add(third, 3)
      await third.stop()
      await redisCli(server, 'FLUSHALL')
      const fourth = await isHalted(redisStore(server.url))
      expect(await fourth.halted()).toMatch(/the witness knows its namespace by incarnation|the witness knows that it had been accepted|commit \d+ of shard/)
      await fourth.accept()
      await owns(fourth).toBe(16)
      await fourth.stop()
    } finally {
      await server.stop()
    }
  }, 60_000)
})

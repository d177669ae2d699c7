/** `holdfast move`, as it is typed: between a folder and real servers, there and back, and killed on the way. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { JsonlTraceStore } from '../../src/adapters/jsonl/index.js'
import { LmdbStore } from '../../src/adapters/lmdb/index.js'
import { MemoryTraceStore } from '../../src/adapters/memory/index.js'
import { RedisStore } from '../../src/adapters/redis/index.js'
import { moveFrame } from '../../src/cli/commands/move.js'
import { main } from '../../src/cli/main.js'
import { moveTraces } from '../../src/cli/move-traces.js'
import { moveNamespace, type TraceEntry } from '../../src/index.js'
import { beginning, ending, type MovableStore, type StoredItem } from '../../src/runtime/ports/moving.js'
import { holdfast, startHoldfast } from '../support/cli.js'
import { question, writeDocuments } from '../support/documents.js'
import { digests, fill, isOpen } from '../support/moves.js'
import { RedisCluster } from '../support/redis-cluster.js'
import { RedisServer } from '../support/redis-server.js'

let server: RedisServer
let other: RedisServer
let cwd: string
beforeAll(async () => {
  ;[server, other] = await Promise.all([RedisServer.start({ appendfsync: 'everysec' }), RedisServer.start()])
  cwd = await mkdtemp(join(tmpdir(), 'holdfast-move-'))
  await writeDocuments(cwd)
}, 60_000)
afterAll(async () => {
  await Promise.all([server.stop(), other.stop()])
  await rm(cwd, { recursive: true, force: true })
})

test('a run that waits for approval is moved to a server, approved there, moved to another one, and back, with its trace', async () => {
  const run = async (...args: string[]): Promise<string[]> => {
    const { lines, stderr } = await holdfast(args, { cwd })
    return [...lines, ...stderr.split('\n').filter((line) => line !== '')]
  }
  const json = async (...args: string[]): Promise<Record<string, unknown>> => JSON.parse((await run(...args, '--json')).at(-1)!) as Record<string, unknown>
  await run('research', question, 'docs', '--run', 'r', '--out', 'r.md')
  const trace = await run('trace', 'r', '--json')
  expect(trace.length).toBeGreaterThan(2)

  const moved = await run('move', '--from', '.holdfast', '--to', server.url)
  expect(moved[0]).toBe(`Moved namespace "research" from ${join(cwd, '.holdfast')} to ${server.url}.`)
  expect(moved[1]).toMatch(/^ {2}\d+ actors, \d+ timers, 0 effects under way, 0 messages to be handled, traces of 1 run\.$/)
  expect(moved[2]).toBe('  Compared: all 16 shards are the same at both places.')
  expect(moved[3]).toBe(`Warning: ${server.url} keeps less than ${join(cwd, '.holdfast')} did: D1 instead of D2. docs/reliability.md says what each loses.`)
  expect(moved.at(-1)).toContain(`Go on with --store ${server.url}`)

  for (const line of [['runs'], ['research', question, 'docs'], ['approve', 'r'], ['doctor', '--accept'], ['resume', 'r']]) expect(await run(...line)).toEqual([`Namespace "research" was moved to ${server.url}. Use it there.`])
  expect(await run('move', '--from', '.holdfast', '--to', server.url)).toEqual([`Namespace "research" was moved from ${join(cwd, '.holdfast')} to ${server.url} before. Nothing was done.`])
  expect(await run('trace', 'r', '--json', '--store', server.url)).toEqual(trace)

  expect((await run('approve', 'r', '--store', server.url)).at(-1)).toMatch(/^Report: r\.md/)
  expect(await json('move', '--from', server.url, '--to', other.url)).toMatchObject({ state: 'moved', from: server.url, to: other.url, traces: 1, durability: { from: 'D1', to: 'D2' }, shiftMs: 0 })
  // Home, over what it left there.
  const home = await json('move', '--from', other.url, '--to', '.holdfast')
  expect(home).toMatchObject({ state: 'moved', traces: 1, shards: 16 })
  expect((home['digests'] as string[]).length).toBe(16)
  expect(await run('trace', 'r', '--json')).toEqual(trace)
  expect((await run('runs'))[0]).toMatch(/^r +done /)
  expect(await run('move', '--from', other.url, '--to', server.url)).toEqual([`Namespace "research" was moved to ${join(cwd, '.holdfast')}. Use it there. As for ${server.url}: Namespace "research" was moved to ${other.url}. Use it there.`])
  expect(await run('move', '--from', server.url, '--reopen')).toEqual([`Namespace "research" is open again at ${server.url}, as it was when it left. What happened elsewhere since is not known here.`])
  expect((await run('runs', '--store', server.url))[0]).toMatch(/^r +done /)
}, 120_000)

test('what cannot be moved is refused in one sentence, and what was typed wrong is explained', async () => {
  const typed = async (...args: string[]): Promise<{ code: number; lines: string[]; errors: string[] }> => {
    const [lines, errors]: [string[], string[]] = [[], []]
    const code = await main(['move', ...args], { env: {}, cwd, isInteractive: false, color: false, line: (text) => void lines.push(text), error: (text) => void errors.push(text), ask: () => Promise.resolve(undefined), onInterrupt: () => () => {} })
    return { code, lines, errors }
  }
  const refused = async (code: number, says: string, ...args: string[]): Promise<void> => {
    const said = await typed(...args)
    expect([said.code, said.lines.length], args.join(' ')).toEqual([code, 0])
    expect(said.errors.join('\n')).toContain(says)
  }
  await refused(2, 'needs --from', '--to', 'x')
  await refused(2, 'needs --to', '--from', 'x')
  await refused(2, 'two stores', '--store', 'x', '--from', 'x', '--to', 'y')
  await refused(2, '--to: expected a folder or redis://…, got "http://u:***@x/"', '--from', '.holdfast', '--to', 'http://u:secret@x/')
  await refused(2, '--reopen goes with --from alone', '--from', '.holdfast', '--to', 'y', '--reopen')
  await refused(2, '--lease-ms', '--from', '.holdfast', '--to', 'y', '--lease-ms', 'x')
  await refused(1, 'There is no store at nowhere', '--from', 'nowhere', '--to', 'y')
  await refused(1, 'There is no namespace "nix"', '--from', server.url, '--to', 'y', '--namespace', 'nix')
  await refused(1, 'Redis at 127.0.0.1:1', '--from', '.holdfast', '--to', 'redis://127.0.0.1:1')
  const { lines } = await typed('--from', 'nowhere', '--to', 'y', '--json')
  expect(JSON.parse(lines.join(''))).toMatchObject({ error: { code: 'CONFIG' } })
})

describe('with many actors', () => {
  const perShard = 1_000

  /** Many pages, in 2 shards. */
  async function fillMany(store: MovableStore): Promise<void> {
    await store.open({ namespace: 'default', shards: 2, moving: 'to' })
    for (let shard = 0; shard < 2; shard++) {
      await store.seal(shard, 'filling', 'it is being filled')
      const items: StoredItem[] = Array.from({ length: perShard }, (_, i) => ({ kind: 'record', address: `m/${shard}-${i}`, fields: [['m', '1'], ['c0:x', 'x'.repeat(8_000)]], terms: ['.on'] }))
      await store.import(shard, 'filling', { from: beginning, items: [{ kind: 'shard', number: 1, position: 0, tail: 0, clock: 1, clean: true, epoch: 1 }, ...items], next: ending })
      await store.unseal(shard, 'filling')
    }
    await store.close()
  }

  test.each(['redis', 'lmdb'] as const)('it is killed again and again on its way to %s, and comes through', async (kind) => {
    const folder = (name: string): string => join(cwd, `${kind}-${name}`)
    const [from, to]: [() => MovableStore, () => MovableStore] = kind === 'redis' ? [() => new LmdbStore(folder('from')), () => new RedisStore(other.url)] : [() => new RedisStore(other.url), () => new LmdbStore(folder('to'))]
    const places = kind === 'redis' ? [folder('from'), other.url] : [other.url, folder('to')]
    if (kind === 'redis') await fillMany(from())
    const before = await digests(from())
    const args = ['move', '--from', places[0]!, '--to', places[1]!, '--namespace', 'default', '--json']
    let kills = 0
    for (let killAfterMs = 300; ; killAfterMs += 150) {
      const child = await startHoldfast(args, { cwd })
      child.end()
      const timer = setTimeout(() => child.kill('SIGKILL'), killAfterMs)
      const { code, signal } = await child.exited
      clearTimeout(timer)
      if (code === 0) break
      expect(signal).toBe('SIGKILL')
      kills++
      const open = [await isOpen(from()), await isOpen(to()).catch(() => true)]
      if (open[0] && open[1]) expect((await digests(to()).catch(() => ['1 ']))[0]).toMatch(/^1 /)
    }
    expect(kills).toBeGreaterThan(1)
    expect([await isOpen(from()), await isOpen(to())]).toEqual([false, true])
    expect(await digests(to())).toEqual(before)
    expect((await holdfast(args, { cwd })).lines.map((line) => (JSON.parse(line) as { state: string }).state)).toEqual(['already'])
  }, 120_000)

  test('Ctrl-C stops it between two pages; then it goes on, or is cancelled', async () => {
    const folder = join(cwd, 'interrupted')
    await fillMany(new LmdbStore(folder))
    const before = await digests(new LmdbStore(folder))
    const args = ['move', '--from', folder, '--to', `${server.url}/1`, '--namespace', 'default']
    const child = await startHoldfast(args, { cwd })
    child.end()
    for (;;) {
      const mark = await new RedisStore(`${server.url}/1`).open({ namespace: 'default', moving: 'from' }).then(() => true, () => false)
      if (mark) break
      await sleep(5)
    }
    child.kill('SIGINT')
    const { code, stderr } = await child.exited
    if (code !== 0) {
      expect(code).toBe(130)
      expect(stderr).toContain('both places are closed: run the same command again to go on, or with --cancel to stay')
      const { lines } = await holdfast([...args, '--cancel'], { cwd })
      expect(lines[0]).toMatch(/^(?:Cancelled: namespace "default" stays at )/)
      expect(await digests(new LmdbStore(folder))).toEqual(before)
      expect((await holdfast(args, { cwd })).code).toBe(0)
    }
    expect(await digests(new RedisStore(`${server.url}/1`))).toEqual(before)
  }, 60_000)
})

test('while a process runs the actors nothing is moved; a dead one is waited for as long as its lease', async () => {
  const place = `${server.url}/2`
  const store = new RedisStore(place)
  await store.open({ namespace: 'research', shards: 2 })
  const claim = await store.claim(0, { id: 'node-7' })
  expect('lease' in claim).toBe(true)
  const beating = setInterval(() => void store.beat({ id: 'node-7' }, 'here', []), 20)
  await store.beat({ id: 'node-7' }, 'here', [])
  const args = ['move', '--from', place, '--to', join(cwd, 'not-yet'), '--lease-ms', '300']
  const refused = await holdfast(args, { cwd })
  expect([refused.code, refused.stderr]).toEqual([1, `Process node-7 runs namespace "research" at ${place}. Stop it, and all others that do, and run this again: a namespace is moved while nobody runs it.\n`])
  clearInterval(beating)
  const { code, stderr } = await holdfast(args, { cwd })
  expect([code, stderr]).toEqual([0, ''])
  await store.close()
}, 60_000)

test('a cluster and a server behind Sentinel are places like others', async () => {
  const cluster = await RedisCluster.start({ replicas: 0 })
  const sentinel = await RedisServer.start({ sentinelOf: server })
  try {
    const folder = join(cwd, 'clustered')
    const lmdb = new LmdbStore(folder)
    await fill(lmdb, 2, 60)
    const before = await digests(new LmdbStore(folder))
    const args = (from: string, to: string): string[] => ['move', '--from', from, '--to', to, '--namespace', 'default', '--json']
    expect((await holdfast(args(folder, cluster.url), { cwd })).code).toBe(0)
    expect(await digests(new RedisStore(cluster.url))).toEqual(before)
    const behind = (): RedisStore => new RedisStore({ sentinels: [{ host: '127.0.0.1', port: sentinel.port }], name: 'mymaster', db: 3 })
    await moveNamespace({ from: new RedisStore(cluster.url), to: behind(), places: { from: 'the cluster', to: 'the sentinels' } })
    expect(await digests(behind())).toEqual(before)
    await moveNamespace({ from: behind(), to: new RedisStore(cluster.url), places: { from: 'the sentinels', to: 'the cluster' } })
    expect(await digests(new RedisStore(cluster.url))).toEqual(before)
  } finally {
    await Promise.all([cluster.stop(), sentinel.stop()])
  }
}, 120_000)

describe('traces', () => {
  const entry = (run: string, n: number): TraceEntry => ({ run, by: `a/r@${n}`, at: n, value: { half: 'outcome', attempt: `c.${n}`, ok: true, cost: null, response: null, error: null } })
  const { signal } = new AbortController()

  test('are appended from where they stop, however often, and never to another one', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-traces-'))
    const [from, to] = [new JsonlTraceStore(join(folder, 'from')), new MemoryTraceStore()]
    expect(await moveTraces(from, to, 'there', signal)).toBe(0)
    await from.append([...Array.from({ length: 1_200 }, (_, i) => entry('r', i)), entry('s:1', 0)])
    // As one that was killed in the middle had left it.
    await to.append([entry('r', 0), entry('r', 1)])
    for (let i = 0; i < 2; i++) {
      expect(await moveTraces(from, to, 'there', signal)).toBe(2)
      expect(await to.read('r')).toEqual(await from.read('r'))
      expect(await to.read('s:1')).toEqual([entry('s:1', 0)])
    }
    const stranger = new MemoryTraceStore()
    await stranger.append([entry('r', 99)])
    await expect(moveTraces(from, stranger, 'there', signal)).rejects.toMatchObject({ code: 'MOVE', reason: 'differs', message: expect.stringContaining('run r at there') as string })
    await rm(folder, { recursive: true })
  })
})

test('a frame tells the stage, how far it is, and how fast', () => {
  const at = { columns: 60, color: false, elapsedMs: 65_000, stageMs: 2_000 }
  expect(moveFrame({ stage: 'copying', shards: 4, of: 16, items: 40_000, actors: 12_345 }, at)).toEqual(['⠙ copying  1:05', '  ██████░░░░░░░░░░░░░░░░░░  4 of 16 shards', '  12,345 actors, 40,000 things, 20,000 things a second'])
  expect(moveFrame({ stage: 'waiting', shards: 0, of: 1, items: 0, actors: 0 }, at)).toEqual(['⠙ waiting whether anybody lives  1:05'])
  for (const line of moveFrame({ stage: 'comparing', shards: 0, of: 1, items: 1, actors: 1 }, { ...at, columns: 20 })) expect(line.length).toBeLessThan(20)
})

/** `holdfast actors` and `holdfast dead-letters`, on a store of a program that is not the command's own. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { setup } from 'xstate'
import { lmdbStore } from '../../src/adapters/lmdb/index.js'
import { createActorSystem } from '../../src/index.js'
import { holdfast } from '../support/cli.js'

const order = setup({ types: { events: {} as { type: 'place' } | { type: 'approve' } | { type: 'end' } } }).createMachine({
  id: 'order',
  initial: 'open',
  states: { open: { on: { place: 'working' } }, working: { initial: 'approvalPending', states: { approvalPending: { tags: 'person', on: { end: '#order.over' } } } }, over: { type: 'final' } },
})

let cwd: string
const store = (): string => join(cwd, '.holdfast')
const cli = (...args: string[]) => holdfast([...args, '--namespace', 'shop'], { cwd })
const jsonOf = ({ lines }: { readonly lines: readonly string[] }): unknown => JSON.parse(lines.join('\n'))

beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'holdfast-actors-'))
  const system = await createActorSystem({ store: lmdbStore(store()), namespace: 'shop', machines: [order] }).start()
  for (const id of ['a', 'b', 'c']) await system.actor(order, id).send({ type: 'place' }, { run: `r-${id}` })
  await system.actor(order, 'd').start()
  await system.actor(order, 'c').send({ type: 'end' })
  for (const id of ['c', 'c']) await system.actor(order, id).send({ type: 'place' })
  await system.settled()
  await system.stop()
})
afterAll(() => rm(cwd, { recursive: true, force: true }))

test('who waits for approval is listed, by state, tag, run and status', async () => {
  const { code, lines, stderr } = await cli('actors', '--state', 'working.approvalPending')
  expect([code, stderr]).toEqual([0, ''])
  expect(lines).toEqual(['order/a                        active  working.approvalPending #person', 'order/b                        active  working.approvalPending #person'])
  expect(jsonOf(await cli('actors', '--tag', 'person', '--run', 'r-b', '--json'))).toEqual({ actors: [{ address: 'order/b', status: 'active', states: ['working', 'working.approvalPending'], tags: ['person'] }], more: false })
  expect((await cli('actors', '--status', 'done')).lines).toEqual(['order/c                        done    over'])
  expect((await cli('actors', '--limit', '2')).lines).toEqual([expect.stringContaining('order/a'), expect.stringContaining('order/b'), 'There are more: name a --limit beyond 2.'])
  expect((await cli('actors', '--machine', 'nobody')).lines).toEqual(['No such actor is kept here.'])
  for (const [args, message] of [
    [['--limit', '0'], '--limit: expected 1 to 1000000, got "0".'],
    [['--status', 'waiting'], 'status: expected one of active, done, stopped, failed, got "waiting".'],
    [['--stat', 'x'], "Unknown option '--stat'."],
  ] as const) {
    const refused = await cli('actors', ...args)
    expect(refused.code).toBeGreaterThan(0)
    expect(refused.stderr).toContain(message)
  }
}, 60_000)

test('dead letters are listed with their reason and sent again, one by one and all that fit', async () => {
  const { lines, code } = await cli('dead-letters')
  expect(code).toBe(0)
  expect(lines).toHaveLength(4)
  expect(lines[0]).toMatch(/^(\d+-1) +\d{4}-\d\d-\d\dT[\d:.]+Z {2}ended {7}order\/c {2}place$/)
  expect(lines[1]).toBe('         Actor order/c is done.')
  const { letters } = jsonOf(await cli('dead-letters', '--actor', 'order/c', '--reason', 'ended', '--since', '2020-01-01', '--json')) as { letters: { id: string; message: unknown }[] }
  expect(letters).toHaveLength(2)
  expect(letters[0]!.message).toMatchObject({ kind: 'event', body: { type: 'place' } })
  expect((await cli('dead-letters', '--since', '2999-01-01')).lines).toEqual(['No dead letter is kept here.'])
  expect((await cli('dead-letters', '--redrive', letters[0]!.id)).lines).toEqual(['1 was sent again.'])
  const gone = await cli('dead-letters', '--redrive', letters[0]!.id)
  expect([gone.code, gone.lines]).toEqual([1, [`There is no dead letter ${letters[0]!.id} any more.`]])
  expect(jsonOf(await cli('dead-letters', '--machine', 'order', '--redrive-all', '--json'))).toEqual({ redriven: 1, full: 0, gone: 0 })
  expect((await cli('dead-letters', '--redrive-all')).lines).toEqual(['There was nothing to send again.'])
  // Whoever runs the actors handles them.
  const system = await createActorSystem({ store: lmdbStore(store()), namespace: 'shop', machines: [order] }).start()
  await system.settled()
  expect((await system.deadLetters()).letters.map(({ reason }) => reason)).toEqual(['ended', 'ended'])
  await system.stop()
  for (const args of [['--redrive', '1-1', '--redrive-all'], ['--redrive', '1-1', '--actor', 'order/c'], ['--redrive-all', '--limit', '1'], ['--since', 'yesterday']]) expect((await cli('dead-letters', ...args)).code).toBe(2)
  expect((await cli('dead-letters', '--redrive', 'x')).stderr).toContain('"x" is no id of a dead letter here')
}, 60_000)

test('looking begins no namespace: a service that starts there next has the shards that it wants', async () => {
  for (const args of [['actors'], ['dead-letters'], ['runs'], ['replay', 'order/a']]) {
    const { code, stderr } = await holdfast([...args, '--namespace', 'typo'], { cwd })
    expect([code, stderr]).toEqual([1, expect.stringMatching(/^There is no namespace "typo" at .*\.holdfast, so nothing is kept there\. Name another with --namespace/)])
  }
  const system = await createActorSystem({ store: lmdbStore(store()), namespace: 'typo', machines: [order], shards: 3 }).start()
  expect(system.owned.of).toBe(3)
  await system.stop()
}, 60_000)

/** `holdfast replay`, as a user runs it: on a store that his own service has filled, with machines out of his own modules. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { AnyStateMachine } from 'xstate'
import { lmdbStore } from '../../src/adapters/lmdb/index.js'
import { createActorSystem, replay, type ActorHistory } from '../../src/index.js'
import { holdfast, type Finished } from '../support/cli.js'
import { question, writeDocuments } from '../support/documents.js'

let cwd: string
let order: AnyStateMachine
const machines = (version: string, actions: string): string => `import { assign, createMachine, fromPromise, setup } from ${JSON.stringify(pathToFileURL(resolve('node_modules/xstate/dist/xstate.esm.js')).href)}
export const other = createMachine({ id: 'other' })
export const machine = setup({
  actors: { charge: fromPromise(async ({ input }) => 'receipt ' + input) },
  actions: { take: assign({ item: ({ event }) => event.item }), note: assign({ receipt: ({ event }) => event.output }), mail() {} },
}).createMachine({
  id: 'order', version: '${version}', context: { item: null, receipt: null, password: 'hunter2' }, initial: 'open',
  states: {
    open: { on: { place: { target: 'paying', actions: 'take' } } },
    paying: { invoke: { id: 'charge', src: 'charge', input: ({ context }) => context.item, onDone: { target: 'paid', actions: ${actions} } } },
    paid: {},
  },
})
`

beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'holdfast-replay-'))
  await writeFile(join(cwd, 'order.mjs'), machines('1', `['note', 'mail']`))
  await writeFile(join(cwd, 'next.mjs'), machines('2', `['note']`))
  order = ((await import(pathToFileURL(join(cwd, 'order.mjs')).href)) as { machine: AnyStateMachine }).machine
  const system = await createActorSystem({ store: lmdbStore(join(cwd, 'data')), machines: [{ machine: order, history: true }, { machine: order, name: 'silent' }] }).start()
  const actor = system.actorAt('order/o-17')
  await actor.send({ type: 'place', item: 'tea' } as never)
  await actor.waitFor((snapshot) => (snapshot as { value: unknown }).value === 'paid', { deadlineMs: 10_000 })
  await system.actorAt('silent/s').send({ type: 'place', item: 'tea' } as never)
  await system.stop()
}, 30_000)
afterAll(() => rm(cwd, { recursive: true, force: true }))

const store = ['--store', './data', '--namespace', 'default']
const replayed = (...args: readonly string[]): Promise<Finished> => holdfast(['replay', ...args, ...store], { cwd })

test('it tells turn by turn what came, where the state went, what changed and what was asked for, and that it came out as it did', async () => {
  const { code, lines, stderr } = await replayed('order/o-17', '--machine', './order.mjs')
  expect([code, stderr]).toEqual([0, ''])
  expect(lines.map((line) => line.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/, '<time>'))).toEqual([
    'order/o-17  version 1',
    '   1  <time>  start: place',
    '      nothing → paying',
    '      context: item, receipt, password',
    '      asks to start promise charge',
    '   2  <time>  outcome of charge: xstate.promise.resolve',
    '      paying → paid',
    '      context: receipt',
    '      asks to run action mail',
    'It is active after turn 2. 2 turns were run, and each came out as it did.',
  ])
})

test('values are hidden as far as it is told, and --to shows the whole snapshot of then', async () => {
  const shown = async (redact: readonly string[]): Promise<string> => (await replayed('order/o-17', '-m', './order.mjs#machine', '--verbose', '--to', '1', ...redact)).lines.join('\n')
  const [shapes, secrets, all] = [await shown([]), await shown(['--redact', 'secrets']), await shown(['--redact', 'nothing'])]
  for (const text of [shapes, secrets, all]) {
    expect(text).toContain('"value": "paying"')
    expect(text).toContain('"src": "charge"')
    expect(text).toContain('It is active after turn 1.')
  }
  expect(shapes).toContain('{"type":"place","item":"[string of 3]"}')
  expect(shapes).not.toMatch(/tea|hunter2/)
  expect(secrets).toContain('"item": "tea"')
  expect(secrets).not.toContain('hunter2')
  expect(all).toContain('hunter2')
})

test('another version of the machine that asks for less is told at the turn at which it does, and the exit code says so', async () => {
  const { code, lines } = await replayed('order/o-17', '-m', './next.mjs')
  expect(code).toBe(1)
  expect(lines.slice(-2)).toEqual(['Turn 2 does not come out as it did:', '  it no longer asks for: run action mail'])
  const json = await replayed('order/o-17', '-m', './next.mjs', '--json')
  expect([json.code, JSON.parse(json.lines.join('\n'))]).toEqual([1, expect.objectContaining({ address: 'order/o-17', turn: 2, divergence: { turn: 2, differences: [{ what: 'it no longer asks for: run action mail' }] } })])
})

test('--out keeps the history for a test, which replays it', async () => {
  expect((await replayed('order/o-17', '-m', './order.mjs', '--out', 'o-17.json')).code).toBe(0)
  const history = JSON.parse(await readFile(join(cwd, 'o-17.json'), 'utf8')) as ActorHistory
  expect(replay(order, history)).toMatchObject({ turn: 2, snapshot: { context: { receipt: 'receipt tea' } } })
})

test('a run of its own, and the agents of it, need no module', async () => {
  await writeDocuments(cwd)
  expect((await holdfast(['research', question, 'docs', '--run', 'r'], { cwd })).code).toBe(3)
  const { code, lines, stderr } = await holdfast(['replay', 'research/r'], { cwd })
  expect([code, stderr]).toEqual([0, ''])
  expect(lines[0]).toMatch(/^research\/r {2}version/)
  expect(lines.at(-1)).toMatch(/^It is active after turn \d+\. \d+ turns were run, and each came out as it did\.$/)
  const agent = /start (researcher\/r~[\w.-]+)/.exec(lines.join('\n'))?.[1]
  expect(agent).toBeDefined()
  expect((await holdfast(['replay', agent!], { cwd })).lines.at(-1)).toMatch(/^It is done after turn \d+\./)
}, 60_000)

test.each([
  [['order/o-17'], 2, /"order" is none of holdfast's own\. Say where it is: --machine \.\/order\.js/],
  [['order/o-18', '-m', 'order.mjs'], 1, /There is no actor order\/o-18 here/],
  [['silent/s', '-m', 'order.mjs#machine'], 1, /Of silent\/s no history is kept\. Register its machine with it/],
  [['o-17'], 2, /address "o-17" is not allowed: write machine\/id/],
  [['order/o-17', '-m', 'order.mjs', '--to', '3'], 1, /to: the history of order\/o-17 has turns 1 to 2, got 3/],
  [['order/o-17', '-m', 'order.mjs', '--to', 'x'], 2, /--to: expected the number of a turn, got "x"/],
  [['order/o-17', '-m', 'no.mjs'], 2, /There is no machine "no\.mjs": there is no such file/],
  [['order/o-17', '-m', 'order.mjs', '--redact', 'some'], 2, /--redact: expected values, secrets, nothing, got "some"/],
  [['order/o-17', '-m', 'order.mjs', '--out', 'no/where.json'], 2, /--out: ENOENT/],
])('replay %j says what is wrong', async (args, expected, message) => {
  const { code, stderr } = await replayed(...args)
  expect(stderr).toMatch(message)
  expect(code).toBe(expected)
})

/** The examples are compiled and run as a user of the built package would, and print what stands here. */
import { spawnSync } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runNode } from './support/run-script.js'
import { UserProject } from './support/user-project.js'

/** Line by line; a pattern where figures are not the point. */
const printed: Readonly<Record<string, readonly (string | RegExp)[]>> = {
  '01-a-timer-that-survives': ['the timer is set', 'it rings'],
  '02-a-payment-that-is-made-once': ['placing the order', 'paid, as the bank says:', 'default/order/o-17/-/pay/1 1250'],
  '03-a-supervisor': [
    'p1: supervisor.started',
    'p1: supervisor.restarting after a paper jam',
    'p1: supervisor.started',
    'p1: supervisor.ended',
    'p2: supervisor.started',
    'p2: supervisor.ended',
    "records: [ 'book/b-1 done', 'page/b-1~p1 done', 'page/b-1~p2 done' ]",
  ],
  '04-actors-that-ask': ['tea, asked from outside: 450', 'cake, asked by a basket: 620'],
  '05-two-processes': ['rung, and kept; nobody runs the actors now', 'handled by the other process: true'],
  '06-a-saga': [
    'book the flight for 2, key default/trip/t-1/-/bookFlight/1',
    'book the room for 2, key default/trip/t-1/-/bookRoom/1',
    'cancel the flight for 2, key default/trip/t-1/-/cancelFlight/1',
    'the trip is cancelled',
  ],
  '07-agents-that-are-checked': [
    'What do otters eat? unanswered that is bears',
    'What do sea otters eat? done ',
    "to be approved, because all the world will see it: [ { name: 'post', input: { text: 'Sea otters eat urchins.' } } ]",
    'posted: Sea otters eat urchins.',
    'done',
  ],
  '08-a-run-with-a-budget': [
    /^with \$0\.1 the run is done; it spent \$0\.000\d{3} on 4 calls$/,
    /^ {2}planner on plan: \d+ \+ \d+ tokens, \$0\.000\d{3}$/,
    /^ {2}researcher on step-1: \d+ \+ \d+ tokens, \$0\.000\d{3}$/,
    /^ {2}researcher on step-2: \d+ \+ \d+ tokens, \$0\.000\d{3}$/,
    /^ {2}writer on report: \d+ \+ \d+ tokens, \$0\.000\d{3}$/,
    '  researcher/r-1~step-1 found: This is what they eat.',
    '  researcher/r-1~step-2 found: This is where they sleep.',
    /^with \$0\.02 the run is done; it spent \$0\.000\d{3} on 2 calls$/,
    /^ {2}planner on plan: /,
    /^ {2}writer on report: /,
    '  not answered: what they eat because the budget does not cover another attempt',
    '  not answered: where they sleep because the budget does not cover another attempt',
  ],
  '09-a-crash-test': [/^light: \d+ durable writes, \d+ runs with kills, all came out the same$/, /^its forgetful sister: Killed (?:before|after) write \d+ \(\w+\)/],
  '10-draw-your-machine': [
    'stateDiagram-v2',
    '  [*] --> order_draft',
    '  order_draft: draft',
    '  order_paying: paying',
    '  order_paying: invoke / charge',
    '  order_paid: paid',
    '  order_paid --> [*]',
    '  order_gone: gone',
    '  order_gone --> [*]',
    '  order_draft --> order_paying: order.place [isOpen]',
    '  order_draft --> order_gone: order.cancel<br/>after 86400000',
    '  order_paying --> order_paid: done charge',
    '  order_paying --> order_draft: error charge',
    '',
    /^\{"id":"order","initial":"draft","states":\{"draft":\{"on":\{"order\.place":\{"guard":"isOpen","target":"paying"\},"order\.cancel":"gone"\},"after":\{"86400000":"gone"\}\},/,
  ],
  '11-a-circuit-breaker': [
    'remote/large needs a permit of the bulkhead of its model, the limit of its provider, the breaker of its model, the breaker of its version',
    'remote/small needs a permit of the bulkhead of its model, the limit of its provider, the breaker of its model, the breaker of its version',
    ...['step-1', 'step-2'].flatMap((step) => [`${step} remote/large the large model is overloaded`, `${step} remote/small answered`]),
    ...['step-3', 'step-4'].flatMap((step) => [`${step} remote/large the circuit breaker of model remote/large is open: 2 failures in a row`, `${step} remote/small answered`]),
    'the large model was asked 2 times',
  ],
}

const names = readdirSync('examples').filter((file) => file.endsWith('.ts')).map((file) => file.slice(0, -'.ts'.length))
const sources = Object.fromEntries(names.map((name) => [name, readFileSync(join('examples', `${name}.ts`), 'utf8')]))

let project: UserProject
beforeAll(() => {
  project = new UserProject(sources)
})
afterAll(() => project.remove())

function expectPrinted(name: string, lines: readonly string[]): void {
  expect(lines).toEqual(printed[name]!.map((line) => (typeof line === 'string' ? line : (expect.stringMatching(line) as unknown))))
}

test('the examples are those that are run here and listed in examples/README.md', () => {
  expect(names).toEqual(Object.keys(printed))
  expect([...readFileSync('examples/README.md', 'utf8').matchAll(/^\| \[(\d\d)\]\((.+)\.ts\)/gm)].map((row) => [row[1], row[2]])).toEqual(names.map((name) => [name.slice(0, 2), name]))
})

describe.each(names)('%s', (name) => {
  test('is short, and begins by saying what it shows', () => {
    const lines = sources[name]!.trimEnd().split('\n')
    expect(lines.length).toBeGreaterThanOrEqual(15)
    expect(lines.length).toBeLessThanOrEqual(50)
    expect(lines.findIndex((line) => !line.startsWith('// '))).toSatisfy((header: number) => header >= 1 && header <= 3)
  })
  test('compiles', () => expect(project.errorsIn(name)).toEqual([]))
  // It dies in the middle of the payment, by itself.
  if (name.startsWith('02-')) {
    test('kills itself, and when it is run again prints what it should', () => {
      const cwd = project.place()
      expect(project.run(name, cwd)).toMatchObject({ signal: 'SIGKILL', lines: ['placing the order'], stderr: '' })
      const { status, stderr, lines } = project.run(name, cwd)
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
      expectPrinted(name, lines)
    })
    return
  }
  test('prints what it should', () => {
    const { status, stderr, lines } = project.run(name)
    expect({ status, stderr }, lines.join('\n')).toEqual({ status: 0, stderr: '' })
    expectPrinted(name, lines)
  })
})

test('the timer is killed, and rings when it would have rung', async () => {
  const script = project.scriptOf('01-a-timer-that-survives')
  const cwd = project.place()
  const killed = await runNode(script, [], { cwd })
  await killed.lines.next()
  killed.kill('SIGKILL')
  await killed.exited
  const { lines, exited } = await runNode(script, [], { cwd })
  expect(await lines.next()).toMatchObject({ value: 'the timer is set' })
  const at = performance.now()
  expect(await lines.next()).toMatchObject({ value: 'it rings' })
  // A timer set anew would take its two seconds.
  expect(performance.now() - at).toBeLessThan(2_000)
  expect(await exited).toMatchObject({ code: 0, stderr: '' })
})

test('the two processes do the same again on the same folder', () => {
  const name = '05-two-processes'
  const cwd = project.place()
  expectPrinted(name, project.run(name, cwd).lines)
  expectPrinted(name, project.run(name, cwd).lines)
})

test('npm run example runs one by its number, and without one says which there are', () => {
  const example = (...args: string[]) => spawnSync(process.execPath, ['scripts/example.mjs', ...args], { encoding: 'utf8', timeout: 60_000 })
  const drawn = example('10')
  expect({ status: drawn.status, stderr: drawn.stderr }).toEqual({ status: 0, stderr: '' })
  expectPrinted('10-draw-your-machine', drawn.stdout.trimEnd().split('\n'))
  const refused = example('99')
  expect(refused.status).toBe(2)
  for (const name of names) expect(refused.stderr).toContain(name)
})

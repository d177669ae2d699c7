/**
 * The budget of a tenant over real processes on a real Redis, which are killed: the witness is a provider in a process of
 * its own, which has flushed every call that it was asked to the disk before it answers.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { isBalanced, nothing, type Ledger, type RunHandle } from '../../src/index.js'
import { sum } from '../../src/machines/ledger.js'
import type { RunContext } from '../../src/machines/run.machine.js'
import { budgetMesh, callNanoDollars } from '../support/budget-mesh.js'
import { extent, firstSeed } from '../support/extent.js'
import { Random } from '../support/random.js'
import { RedisServer } from '../support/redis-server.js'
import { runScript, type RunningScript } from '../support/run-script.js'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

/** Calls that a run may make at most, by its ceiling. */
const callsPerRun = 12

test(`runs on nodes that are killed never spend more than their tenant has, and all of it is accounted for (seed ${firstSeed})`, async () => {
  const runsMax = extent(10, 60)
  const killsMin = extent(3, 15)
  const calls = callsPerRun * extent(2, 6)
  const random = new Random(firstSeed)
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-budget-'))
  ends.push(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'spend')
  const provider = await runScript('test/support/spend-server.script.ts', [file])
  ends.push(() => provider.kill('SIGKILL'))
  const url = `http://127.0.0.1:${(await provider.lines.next()).value as string}/`
  const server = await RedisServer.start({ appendfsync: 'everysec' })
  ends.push(() => server.stop())
  const nodes: RunningScript[] = []
  ends.push(() => nodes.forEach((node) => node.kill('SIGKILL')))
  let named = 0
  const joinNode = async (): Promise<void> => {
    const node = await runScript('test/support/budget-node.script.ts', [server.url, url, `n${named++}`, String(calls)])
    nodes.push(node)
    expect((await node.lines.next()).value).toBe('started')
  }
  await Promise.all([joinNode(), joinNode()])
  const { mesh, research } = budgetMesh({ redis: server.url, url, calls })
  await mesh.startAsClient()
  ends.push(() => mesh.stop())

  const runs: RunHandle[] = []
  let kills = 0
  let isOver = false
  const killer = (async () => {
    while (!isOver || kills < killsMin) {
      await sleep(150 + random.below(400))
      const [victim] = nodes.splice(random.below(nodes.length), 1)
      victim!.kill('SIGKILL')
      await victim!.exited
      kills++
      await joinNode()
    }
  })()
  for (let i = 0; i < runsMax; i++) {
    runs.push(await mesh.run(research, { id: `r-${i}`, goal: `r-${i}`, tenant: 'acme', ceiling: { usd: (callsPerRun * callNanoDollars) / 1e9, calls: callsPerRun } }))
    // Some of them nobody wants any more.
    if (i % 5 === 4) await runs[i]!.cancel('ann').catch(() => {})
  }
  const outputs = await Promise.all(runs.map((run) => run.output({ deadlineMs: 120_000 })))
  isOver = true
  await killer

  // Everything that was given back arrives.
  await expect.poll(async () => (await mesh.budget('acme'))!.runs, { timeout: 30_000 }).toEqual([])
  const budget = (await mesh.budget('acme'))!
  const spend = (await readFile(file, 'utf8')).trimEnd().split('\n').map((line) => JSON.parse(line) as { run: string; nanoDollars: number })
  const total = spend.reduce((money, { nanoDollars }) => money + nanoDollars, 0)
  const limit = calls * callNanoDollars
  expect(total).toBeLessThanOrEqual(limit)
  let ofRuns = 0
  for (const [i, run] of runs.entries()) {
    const { context } = (await mesh.system.actorAt(run.address as never).snapshot()) as unknown as { context: RunContext }
    const { ledger, members } = context
    expect(isBalanced(ledger)).toBe(true)
    expect({ granted: ledger.granted, overrun: ledger.overrun }, `run ${i}`).toEqual({ granted: {}, overrun: nothing })
    expect(sum(members.map(({ spent }) => spent)), `run ${i}`).toEqual(ledger.spent)
    const billed = spend.filter((call) => call.run === `r-${i}`)
    expect(billed.length, `run ${i}`).toBeLessThanOrEqual(ledger.spent.calls)
    expect(billed.reduce((money, { nanoDollars }) => money + nanoDollars, 0), `run ${i}`).toBeLessThanOrEqual(ledger.spent.nanoDollars)
    for (const { machine, id, startedAt } of members) {
      if (startedAt === null) continue
      const agent = (await mesh.system.actorAt(`${machine}/r-${i}~${id}` as never).snapshot()) as unknown as { context: { ledger: Ledger } } | undefined
      if (agent) expect(isBalanced(agent.context.ledger)).toBe(true)
    }
    ofRuns += ledger.spent.nanoDollars
  }
  expect(budget.spent.nanoDollars).toBe(ofRuns)
  expect(budget.free.nanoDollars + budget.spent.nanoDollars).toBe(budget.received.nanoDollars)
  expect(budget.totals.allotted.nanoDollars - budget.totals.givenBack.nanoDollars).toBe(budget.spent.nanoDollars)
  const done = outputs.filter(({ outcome }) => outcome === 'done').length
  console.log(`${runsMax} runs, ${kills} kills, ${done} done, ${outputs.filter(({ failure }) => failure?.reason === 'budget').length} without a budget; ${spend.length} calls cost ${total} nano-dollars of ${limit}, ${budget.spent.nanoDollars} were charged`)
  expect(done).toBeGreaterThan(0)
}, 240_000)

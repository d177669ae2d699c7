/** Nodes as processes of their own on a real Redis: killed, frozen beyond their lease, stopped and started, under load. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { createClient } from '../../src/index.js'
import { redisStore } from '../../src/adapters/redis/index.js'
import { firstSeed } from '../support/extent.js'
import { Random } from '../support/random.js'
import { RedisServer } from '../support/redis-server.js'
import { runScript, type RunningScript } from '../support/run-script.js'
import { TallyPumps } from '../support/tally-pumps.js'
import { tally } from '../support/tally.js'

const leaseMs = 1_500
const ids = Array.from({ length: 48 }, (_, i) => `a${i}`)

let server: RedisServer | undefined
const nodes = new Map<string, { readonly script: RunningScript; owns: number }>()
afterEach(async () => {
  for (const { script } of nodes.values()) script.kill('SIGKILL')
  nodes.clear()
  await server?.stop()
})

let count = 0
async function join(): Promise<string> {
  const name = `n${count++}`
  const script = await runScript('test/support/node.script.ts', [server!.url, name, String(leaseMs)])
  const node = { script, owns: 0 }
  nodes.set(name, node)
  const started = new Promise<void>((resolve, reject) => {
    void (async () => {
      for await (const line of script.lines) {
        if (line === 'started') resolve()
        if (line.startsWith('owns')) node.owns = line.split(' ').filter((word) => /^\d+$/.test(word)).length
      }
      reject(new Error(`${name} ended: ${(await script.exited).stderr}`))
    })()
  })
  await started
  return name
}

const evenly = async (): Promise<void> => {
  await expect.poll(() => [...nodes.values()].map(({ owns }) => owns).reduce((a, b) => a + b, 0), { timeout: 20_000 }).toBe(16)
  await expect.poll(() => Math.max(...[...nodes.values()].map(({ owns }) => owns)) - Math.min(...[...nodes.values()].map(({ owns }) => owns)), { timeout: 20_000 }).toBeLessThanOrEqual(1)
}

test(`what is asked is answered once and in order, whatever becomes of the nodes (seed ${firstSeed})`, async () => {
  const random = new Random(firstSeed)
  server = await RedisServer.start({ appendfsync: 'everysec' })
  for (let i = 0; i < 2; i++) await join()
  const client = await createClient({ store: redisStore(server.url), machines: [tally] })
  const pumps = new TallyPumps(client, ids)
  const told: string[] = []
  const during = async (what: string, act: () => Promise<unknown>): Promise<void> => {
    const from = performance.now()
    await act()
    await evenly()
    await sleep(200)
    told.push(`${what}: at work again everywhere after ${(performance.now() - from - 200).toFixed(0)} ms, the longest wait for an answer was ${pumps.longest(from, performance.now()).toFixed(0)} ms`)
  }
  const anyone = (): string => random.pick([...nodes.keys()])
  await evenly()
  for (let round = 0; round < 6; round++) {
    await during('a node comes', join)
    await during('a node is killed', async () => {
      const name = anyone()
      const { script } = nodes.get(name)!
      nodes.delete(name)
      script.kill('SIGKILL')
      await script.exited
    })
    await during('a node comes', join)
    await during('a node stops', async () => {
      const name = anyone()
      const { script } = nodes.get(name)!
      nodes.delete(name)
      script.kill('SIGTERM')
      expect((await script.exited).code).toBe(0)
    })
    await during('a node stands still for two leases', async () => {
      const { script } = nodes.get(anyone())!
      script.kill('SIGSTOP')
      await sleep(2 * leaseMs)
      script.kill('SIGCONT')
    })
  }
  await pumps.stop()
  expect(await pumps.wrong()).toEqual([])
  console.log(`${pumps.answers.length} questions to ${ids.length} actors, lease ${leaseMs} ms\n${told.join('\n')}`)
  await client.stop()
}, 300_000)

/**
 * Two builds of a machine at once, in processes of their own on a real Redis: one replaces the other, there and back, while a
 * client goes on sending and nodes are killed.
 */
import { afterEach, expect, test } from 'vitest'
import { createClient, type Client } from '../../src/index.js'
import { redisStore } from '../../src/adapters/redis/index.js'
import { holdfast } from '../support/cli.js'
import { tier } from '../support/extent.js'
import { NodeProcesses } from '../support/node-processes.js'
import { RedisServer } from '../support/redis-server.js'
import { tallyBuild } from '../support/tally.js'

const leaseMs = 1_000
const ids = Array.from({ length: 24 }, (_, i) => `a${i}`)
const [one, two] = [tallyBuild('1'), tallyBuild('2')]

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

/** Sends each actor one number after the other, and knows which were accepted. */
class Sender {
  readonly accepted = new Map<string, number[]>(ids.map((id) => [id, []]))
  private stopped = false
  private readonly running: Promise<unknown>

  constructor(client: Client) {
    this.running = Promise.all(
      ids.map(async (id) => {
        for (let n = 1; !this.stopped; n++) {
          await client.actor(two, id).send({ type: 'add', n }, { id: `${id}-${n}` })
          this.accepted.get(id)!.push(n)
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
      }),
    )
  }

  async stop(): Promise<void> {
    this.stopped = true
    await this.running
  }
}

const ways = [
  { way: 'an old build gives way to a new one that has the old one beside it', before: '1', after: '12', waitsFor: undefined },
  { way: 'a new build is taken back: what was begun with it waits', before: '12', after: '1', waitsFor: '2' },
  { way: 'an old build gives way to a new one alone: what was begun with the old one waits', before: '1', after: '2', waitsFor: '1' },
] as const

// The first tier takes the way back, which needs most of what the others do.
test.each(tier === 'second' ? ways : [ways[1]])('$way, and nothing is lost', async ({ before, after, waitsFor }) => {
  const server = await RedisServer.start({ appendfsync: 'everysec' })
  ends.push(() => server.stop())
  const nodes = new NodeProcesses(server.url, leaseMs)
  ends.push(() => nodes.stop())
  const first = await Promise.all([nodes.join(before), nodes.join(before)])
  await nodes.even()
  const client = await createClient({ store: redisStore(server.url), machines: [one, two] })
  ends.push(() => client.stop())
  const sender = new Sender(client)
  await expect.poll(async () => (await client.find({ machine: 'tally' })).actors.length, { timeout: 10_000 }).toBe(ids.length)
  // One after the other, the second of them without a word.
  const second = [await nodes.join(after)]
  await nodes.end(first[0], 'SIGTERM')
  second.push(await nodes.join(after))
  await nodes.end(first[1], 'SIGKILL')
  await nodes.even()
  await sender.stop()

  const shown = async (): Promise<{ address: string; parked?: { reason: string; detail: string } }[]> => {
    const { lines, code, stderr } = await holdfast(['actors', '--machine', 'tally', '--json', '--namespace', 'default', '--store', server.url])
    expect([code, stderr]).toEqual([0, ''])
    return (JSON.parse(lines.join('\n')) as { actors: { address: string; parked?: { reason: string; detail: string } }[] }).actors
  }
  const waiting = (await shown()).filter(({ parked }) => parked)
  if (waitsFor === undefined) expect(waiting).toEqual([])
  else {
    expect(waiting.map(({ address }) => address).sort()).toEqual(ids.map((id) => `tally/${id}`).sort())
    expect(waiting[0]!.parked).toMatchObject({ reason: 'unknown-version', detail: expect.stringContaining(`it runs version ${waitsFor} of tally`) as unknown })
    const { lines } = await holdfast(['actors', '--machine', 'tally', '--namespace', 'default', '--store', server.url])
    expect(lines[1]).toMatch(new RegExp(`its messages wait \\(unknown-version\\): .* it runs version ${waitsFor} of tally`))
    await nodes.join('12')
    for (const name of second) await nodes.end(name, 'SIGTERM')
    await nodes.even()
  }
  for (const id of ids) {
    await expect.poll(async () => (await client.actor(two, id).snapshot().catch(() => client.actor(one, id).snapshot()))?.context.seen, { timeout: 10_000 }).toEqual(sender.accepted.get(id))
  }
  if (waitsFor !== undefined) expect((await shown()).filter(({ parked }) => parked)).toEqual([])
}, 120_000)

/** Readers in a process that runs no agents, on a real Redis, of a model over real HTTP, while the node that asks it is killed in the middle of its answer. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createMesh, showTokens, type TokenTold } from '../../src/index.js'
import { redisStore } from '../../src/adapters/redis/index.js'
import { AnthropicServer, answer, stopAfter } from '../support/anthropic-server.js'
import { RedisServer } from '../support/redis-server.js'
import { runScript, type RunningScript } from '../support/run-script.js'

let redis: RedisServer
let server: AnthropicServer
const nodes: RunningScript[] = []
beforeAll(async () => {
  redis = await RedisServer.start({ appendfsync: 'everysec' })
  server = await AnthropicServer.start()
})
afterAll(async () => {
  for (const node of nodes) node.kill('SIGKILL')
  await server.stop()
  await redis.stop()
})

async function node(): Promise<RunningScript> {
  const script = await runScript('test/support/tokens-node.script.ts', [redis.url, 'tokens', server.baseURL, server.apiKey])
  nodes.push(script)
  const { value, done } = await script.lines.next()
  if (done) throw new Error((await script.exited).stderr)
  expect(value).toBe('up')
  return script
}

test('the node is killed in the middle of an answer, and so is a reader: both go on, and what is shown is the answer of the second attempt', async () => {
  // The first attempt comes to its third delta, and no further; the second one is whole.
  const text = ['{"text":', '"first half, ', 'and ', 'never', '"}']
  server.next(stopAfter(6, 'hang', answer({ text })), answer({ text: ['{"text":', '"all ', 'of it"}'] }))
  const mesh = createMesh({ store: redisStore(redis.url), namespace: 'tokens' })
  await mesh.startAsClient()
  const steady: TokenTold[] = []
  let isShown = (): void => {}
  const shownSo = new Promise<void>((resolve) => (isShown = resolve))
  const shown = new Map<string, string>()
  const reading = (async () => {
    for await (const one of mesh.tokens('r')) {
      steady.push(one)
      showTokens(shown, one)
      if (shown.get('worker/t/call') === '{"text":"first half, and ') isShown()
      if (one.type === 'ended' && one.outcome === 'answered') return
    }
  })()
  const first = await node()
  await shownSo
  // A reader that comes, reads two entries, and is gone.
  const early: TokenTold[] = []
  for await (const one of mesh.tokens('r')) if (early.push(one) === 2) break
  first.kill('SIGKILL')
  await first.exited
  const second = await node()
  await reading
  const types = steady.map((one) => (one.type === 'lost' ? one.type : one.type === 'text' ? `text ${one.attempt}` : one.type === 'ended' ? `${one.outcome} ${one.attempt}` : `${one.type} ${one.attempt}`))
  expect(types.filter((type, i) => type !== types[i - 1])).toEqual(['began 1', 'text 1', 'failed 1', 'restarted 2', 'text 2', 'answered 2'])
  expect(steady.at(-1)).toMatchObject({ isWhole: true })
  // It comes back, through a mesh of its own, to what it has not read.
  const late: TokenTold[] = []
  const other = createMesh({ store: redisStore(redis.url), namespace: 'tokens' })
  await other.startAsClient()
  for await (const one of other.tokens('r', { after: early[1]!.id })) if (late.push(one) + early.length === steady.length) break
  expect([...early, ...late]).toEqual(steady)
  expect((await second.lines.next()).value).toBe('{"text":"all of it"}')
  expect(shown.get('worker/t/call')).toBe('{"text":"all of it"}')
  // Given up, down to the socket.
  await server.requests[0]!.hungUp
  server.verify()
  await other.stop()
  await mesh.stop()
}, 60_000)

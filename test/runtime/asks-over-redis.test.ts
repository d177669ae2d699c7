/** Asks over two nodes on a real Redis, down to the HTTP call of a model: the provider's server sees the connection close. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { assign, setup } from 'xstate'
import { anthropic } from '../../src/adapters/anthropic/index.js'
import { redisStore } from '../../src/adapters/redis/index.js'
import { createActorSystem, createClient, fromAsk, repeatable, reply, type ActorSystem, type Client, type ReplyToken } from '../../src/index.js'
import { shardOf, toAddress, type Address } from '../../src/runtime/identity.js'
import { AnthropicServer, answer, silence, stopAfter } from '../support/anthropic-server.js'
import { RedisServer } from '../support/redis-server.js'

let redis: RedisServer
let provider: AnthropicServer
let namespaces = 0
let nodes: ActorSystem[]
let client: Client
beforeAll(async () => {
  redis = await RedisServer.start({ appendfsync: 'everysec' })
  provider = await AnthropicServer.start()
})
afterAll(async () => {
  await redis.stop()
  await provider.stop()
})

/** Asks Claude for whoever asks. */
const scholar = setup({
  types: { context: {} as { token: ReplyToken | undefined; error: unknown }, events: {} as { type: 'ask'; replyToken?: ReplyToken } },
  actors: {
    claude: repeatable<string>(async ({ signal, idempotencyKey }) => {
      const model = anthropic({ baseURL: provider.baseURL, apiKey: provider.apiKey })
      const { text } = await model.complete({ model: 'claude-opus-4-6', messages: [{ role: 'user', content: 'why' }], maxTokens: 100, task: { agent: 'scholar', input: {}, goal: { text: 'why' }, material: null } as never }, { signal, idempotencyKey })
      return text
    }),
  },
  actions: {
    keep: assign({ token: ({ event }) => event.replyToken }),
    answer: reply(({ event }) => (event as { output?: unknown }).output, ({ context }) => context.token!),
  },
}).createMachine({
  id: 'scholar',
  context: { token: undefined, error: undefined },
  initial: 'idle',
  states: {
    idle: { on: { ask: { target: 'asking', actions: 'keep' } } },
    asking: { invoke: { src: 'claude', id: 'claude', onDone: { target: 'idle', actions: 'answer' }, onError: { target: 'gaveUp', actions: assign({ error: ({ event }) => event.error }) } } },
    gaveUp: {},
  },
})

/** Asks a scholar for whoever asks. */
const desk = setup({
  types: { context: {} as { token: ReplyToken | undefined; to: string }, input: {} as { to: string }, events: {} as { type: 'ask'; replyToken?: ReplyToken } | { type: 'leave' } },
  actors: { scholar: fromAsk<string, string>(({ input }) => ({ to: input, event: { type: 'ask' }, deadlineMs: 60_000 })) },
  actions: {
    keep: assign({ token: ({ event }) => (event.type === 'ask' ? event.replyToken : undefined) }),
    answer: reply(({ event }) => (event as { output?: unknown }).output, ({ context }) => context.token!),
  },
}).createMachine({
  id: 'desk',
  context: ({ input }) => ({ token: undefined, to: input.to }),
  initial: 'idle',
  states: {
    idle: { on: { ask: { target: 'asking', actions: 'keep' } } },
    asking: { on: { leave: 'idle' }, invoke: { src: 'scholar', id: 'scholar', input: ({ context }) => context.to, onDone: { target: 'idle', actions: 'answer' }, onError: 'idle' } },
  },
})

const shards = 8
const leaseMs = 1_000

/** An actor of that machine on a shard of that node. */
function on(node: ActorSystem, machine: string): string {
  for (let i = 0; ; i++) if (node.owned.shards.includes(shardOf(toAddress(machine, `k${i}`), shards))) return `k${i}`
}

beforeEach(async () => {
  const namespace = `n${namespaces++}`
  const machines = [scholar, desk]
  const system = (): Promise<ActorSystem> => createActorSystem({ store: redisStore(redis.url), namespace, shards, leaseMs, machines }).start()
  nodes = [await system()]
  nodes.push(await system())
  client = await createClient({ store: redisStore(redis.url), namespace, machines })
  // The second one has its share as soon as the first one has let go of it.
  while (nodes.some((node) => node.owned.shards.length !== shards / 2)) await new Promise((resolve) => setTimeout(resolve, 5))
})
afterEach(async () => {
  await Promise.all([client, ...nodes].map((one) => one.stop()))
  provider.reset()
})

/** A desk on the first node that has a question under way to a scholar on the second, which waits for the provider. */
async function underWay(deadlineMs = 60_000): Promise<{ readonly asked: Promise<unknown>; readonly cancel: AbortController; readonly desk: string; readonly scholar: Address }> {
  const to = toAddress('scholar', on(nodes[1]!, 'scholar'))
  const id = on(nodes[0]!, 'desk')
  await client.actor(desk, id).start({ input: { to } })
  provider.next(stopAfter(3, 'hang', answer({ text: ['a ', 'long ', 'answer'] })))
  const cancel = new AbortController()
  const asked = client.actor(desk, id).ask({ type: 'ask' }, { deadlineMs, signal: cancel.signal }).catch((error: unknown) => error)
  await provider.received(1)
  return { asked, cancel, desk: id, scholar: to }
}

const errorOf = async (address: Address): Promise<unknown> => ((await client.actor(scholar, address.split('/')[1]!).waitFor((snapshot) => snapshot.matches('gaveUp'), { deadlineMs: 10_000 })).context.error)

test('a client cancels: the call of a scholar on another node is hung up', async () => {
  const { asked, cancel, scholar } = await underWay()
  cancel.abort('enough')
  await provider.requests[0]!.hungUp
  expect(await asked).toBe('enough')
  expect(await errorOf(scholar)).toMatchObject({ name: 'CancelledError', code: 'CANCELLED' })
})

test('the deadline of a client passes: the call is hung up', async () => {
  const { asked, scholar } = await underWay(700)
  await provider.requests[0]!.hungUp
  expect(await asked).toMatchObject({ name: 'DeadlineError', known: 'accepted' })
  expect(await errorOf(scholar)).toMatchObject({ name: 'DeadlineError', code: 'DEADLINE' })
})

test('the actor that asked leaves its state: the call is hung up', async () => {
  const { desk: id, scholar } = await underWay()
  await client.actor(desk, id).send({ type: 'leave' })
  await provider.requests[0]!.hungUp
  expect(await errorOf(scholar)).toMatchObject({ code: 'CANCELLED', message: `The ask was cancelled: desk/${id} waits for no answer any more.` })
})

test('the node dies that makes the call: its next owner makes it again, and hangs up when it is cancelled', async () => {
  const { asked, cancel, scholar } = await underWay()
  provider.next(silence('hang'))
  nodes[1]!.abandon()
  await provider.received(2)
  cancel.abort('enough')
  await provider.requests[1]!.hungUp
  expect(await asked).toBe('enough')
  expect(await errorOf(scholar)).toMatchObject({ code: 'CANCELLED' })
})

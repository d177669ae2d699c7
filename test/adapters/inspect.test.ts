/** The WebSocket inspector: what it hides, and that a server that is slow, silent, away or never there harms nobody. */
import { describe, expect, test } from 'vitest'
import { assign, createActor, fromPromise, setup, type InspectionEvent } from 'xstate'
import { ConfigError, createActorSystem, type Logger } from 'holdfast'
import { createWebSocketInspector, type InspectionMessage, type WebSocketInspectorOptions } from 'holdfast/inspect'
import { MemoryStore } from 'holdfast/memory'
import { VirtualClock } from 'holdfast/testing'
import { withoutSecrets } from '../../src/adapters/inspect/redaction.js'
import { InspectorServer } from '../support/inspector-server.js'

const vault = setup({
  types: { context: {} as Record<string, unknown>, events: {} as { type: 'put'; [key: string]: unknown } | { type: 'end' } },
  actions: { keep: assign(({ context, event }) => ({ ...context, kept: event })) },
}).createMachine({
  id: 'vault',
  context: { plain: 'hello', count: 3, apiKey: 'static-key' },
  initial: 'open',
  states: { open: { tags: 'wide', on: { put: { actions: 'keep' }, end: 'closed' } }, closed: { type: 'final' } },
  output: { password: 'hunter2', sum: 5 },
})

class Lines {
  readonly lines: string[] = []
  readonly logger: Logger = { error: this.at('error'), warn: this.at('warn'), info: this.at('info'), debug() {}, trace() {} }
  private at(level: string) {
    return (fields: object, message: string): void => void this.lines.push(`${level} ${message} ${JSON.stringify(fields)}`)
  }
}

async function seen(options: WebSocketInspectorOptions, event: { type: 'put'; [key: string]: unknown } = { type: 'put' }): Promise<Record<string, unknown>[]> {
  const server = await InspectorServer.start()
  const inspector = createWebSocketInspector({ ...options, url: server.url })
  await server.until(() => server.sockets.length === 1)
  const system = await createActorSystem({ store: new MemoryStore(), machines: [vault], inspect: inspector.inspect }).start()
  const actor = system.actor(vault, 'v')
  await actor.send(event)
  await actor.send({ type: 'end' })
  await system.settled()
  await inspector.stop()
  await system.stop()
  const { messages } = server
  await server.stop()
  return messages
}

/** Looks like one. */
const fakeKey = `sk-${'a1'.repeat(12)}`

const secrets = {
  type: 'put' as const,
  password: 'p1',
  pin: 4711,
  nested: { 'X-Api-Key': 'p2', headers: { authorization: 'p3', Cookie: ['p4'], accept: 'text/html' }, list: [{ client_secret: 'p5' }], accessToken: 'p6' },
  text: 'call it with Bearer abcdefghijkl.mnop or ' + fakeKey + ' or eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc',
  url: 'redis://user:p7@host:6379/0',
  pem: '-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----',
  tokens: 400_000,
  idempotencyKey: 'run/step/action',
  note: 'basic understanding of secrets',
}

describe('what is shown', () => {
  test('by default no secret, wherever it stands, and everything else', async () => {
    const messages = await seen({}, secrets)
    const text = JSON.stringify(messages)
    for (const hidden of ['p1', 'p2', 'p3', 'p4', 'p5', 'p6', 'p7', 'abcdefghijkl', fakeKey, 'eyJhbG', 'MIIE', 'static-key', 'hunter2']) expect(text, hidden).not.toContain(hidden)
    const put = messages.find(({ type, event }) => type === '@xstate.event' && (event as { type: string }).type === 'put')!
    expect(put['event']).toEqual({
      type: 'put',
      password: '[redacted]',
      pin: '[redacted]',
      nested: { 'X-Api-Key': '[redacted]', headers: { authorization: '[redacted]', Cookie: '[redacted]', accept: 'text/html' }, list: [{ client_secret: '[redacted]' }], accessToken: '[redacted]' },
      text: 'call it with Bearer [redacted] or [redacted] or [redacted]',
      url: 'redis://user:[redacted]@host:6379/0',
      pem: '[redacted]',
      tokens: 400_000,
      idempotencyKey: 'run/step/action',
      note: 'basic understanding of secrets',
    })
    expect(messages.at(-1)).toMatchObject({ snapshot: { context: { plain: 'hello', count: 3 }, output: { password: '[redacted]', sum: 5 } } })
  })

  test('a text made to be searched for long is searched in time that grows with its length: else this never ends', () => {
    const hostile = ['-eyJ', '-----BEGIN ', 'bearer  ', 'a://', 'a://b:', 'sk-', 'Authorization: eyJaaaaaaaa.'].map((part) => part.repeat(1_000_000 / part.length))
    for (const text of hostile) expect(withoutSecrets(text)).toBeTypeOf('string')
  })

  test('of values only their shapes, if so asked; states, tags and names stay', async () => {
    const messages = await seen({ redact: 'values' }, { type: 'put', text: 'hello', n: 5, list: [true, null], inner: { a: 'xy' } })
    expect(JSON.stringify(messages)).not.toContain('hello')
    const { snapshot } = messages.findLast(({ event }) => (event as { type: string } | undefined)?.type === 'put')!
    expect(snapshot).toMatchObject({
      value: 'open',
      tags: ['wide'],
      status: 'active',
      context: { plain: '[string of 5]', count: '[number]', kept: { type: '[string of 3]', text: '[string of 5]', n: '[number]', list: ['[boolean]', null], inner: { a: '[string of 2]' } } },
    })
    expect(messages.at(-1)).toMatchObject({ snapshot: { status: 'done', value: 'closed', output: { password: '[string of 7]', sum: '[number]' } } })
    expect(JSON.parse(messages[0]!['definition'] as string)).toMatchObject({ id: 'vault', context: { apiKey: '[string of 10]' }, states: { open: { on: { put: { actions: 'keep' } } } } })
  })

  test('everything, if so asked', async () => {
    const text = JSON.stringify(await seen({ redact: 'nothing' }, secrets))
    for (const shown of ['p1', 'p6', 'hunter2', 'static-key', fakeKey]) expect(text).toContain(shown)
  })

  test('what a function makes of a message; nothing of those for which it gives nothing, or throws', async () => {
    const messages = await seen({
      redact(message: InspectionMessage) {
        if (message.type === '@xstate.snapshot') throw new Error('I do not know')
        if (message.type === '@xstate.actor') return undefined
        return { ...message, event: { type: `~${message.event.type}` } }
      },
    })
    expect(messages.map(({ event }) => event)).toEqual([{ type: '~xstate.init' }, { type: '~put' }, { type: '~end' }])
  })

  test('of an error what XState’s inspector shows, or its message if so asked', async () => {
    const failing = setup({ actors: { job: fromPromise(() => Promise.reject(new Error('it says why'))) } }).createMachine({ id: 'failing', initial: 'a', states: { a: { invoke: { src: 'job', id: 'job', onError: 'b' } }, b: {} } })
    for (const [errors, shown] of [[false, {}], [true, { name: 'Error', message: 'it says why', stack: expect.stringContaining('it says why') }]] as const) {
      const server = await InspectorServer.start()
      const inspector = createWebSocketInspector({ url: server.url, errors })
      await server.until(() => server.sockets.length === 1)
      const system = await createActorSystem({ store: new MemoryStore(), machines: [failing], inspect: inspector.inspect }).start()
      const actor = system.actor(failing, 'f')
      await actor.start()
      await actor.waitFor((snapshot) => snapshot.matches('b'))
      await inspector.stop()
      await system.stop()
      expect(server.messages.find(({ event }) => (event as { type: string } | undefined)?.type === 'xstate.error.actor.job')!['event']).toMatchObject({ error: shown })
      expect(server.frames.join('\n').includes('it says why')).toBe(errors)
      await server.stop()
    }
  })

  test('only what the filter lets through', async () => {
    const messages = await seen({ filter: (event: InspectionEvent) => event.type === '@xstate.event' })
    expect(messages.map(({ type }) => type)).toEqual(['@xstate.event', '@xstate.event', '@xstate.event'])
  })

  test('also of XState’s own actors', async () => {
    const server = await InspectorServer.start()
    const inspector = createWebSocketInspector({ url: server.url })
    await server.until(() => server.sockets.length === 1)
    createActor(vault, { inspect: inspector.inspect }).start().send({ type: 'end' })
    await inspector.stop()
    expect(server.messages.map(({ type }) => type)).toEqual(['@xstate.actor', '@xstate.event', '@xstate.snapshot', '@xstate.event', '@xstate.snapshot'])
    expect(server.messages[0]).toMatchObject({ name: 'vault', snapshot: { value: 'closed' } })
    await server.stop()
  })
})

describe('a server that', () => {
  const up = setup({ types: { context: {} as { n: number; text: string }, events: {} as { type: 'up'; text: string } } }).createMachine({ id: 'up', context: { n: 0, text: '' }, on: { up: { actions: assign({ n: ({ context }) => context.n + 1, text: ({ event }) => event.text }) } } })

  test('comes late is sent what waited, from the beginning', async () => {
    const server = await InspectorServer.start()
    const { port } = server
    await server.stop()
    const clock = new VirtualClock()
    const { lines, logger } = new Lines()
    const inspector = createWebSocketInspector({ url: `ws://127.0.0.1:${port}`, clock, logger })
    const system = await createActorSystem({ store: new MemoryStore(), machines: [up], inspect: inspector.inspect }).start()
    await system.actor(up, 'u').send({ type: 'up', text: 'a' })
    // It has been refused, and will be tried again.
    while (clock.nextDue() === undefined) await new Promise((resolve) => setImmediate(resolve))
    const late = await InspectorServer.start(port)
    clock.runUntil(clock.nextDue()!)
    await late.until(() => late.frames.length >= 5)
    expect(late.messages.map(({ type }) => type)).toEqual(['@xstate.actor', '@xstate.event', '@xstate.snapshot', '@xstate.event', '@xstate.snapshot'])
    expect(lines).toEqual([expect.stringMatching(/^warn the inspector cannot be reached; trying again .*ECONNREFUSED/), expect.stringContaining('info the inspector is connected')])
    await inspector.stop()
    await Promise.all([late.stop(), system.stop()])
  })

  test('is never there costs a bounded number of events; the newest stay, and it is told', async () => {
    const server = await InspectorServer.start()
    const { url } = server
    await server.stop()
    const { lines, logger } = new Lines()
    const inspector = createWebSocketInspector({ url: url.replace('//', '//user:hunter2@').concat('/?token=hunter2'), queueMax: 10, logger })
    const system = await createActorSystem({ store: new MemoryStore(), machines: [up], inspect: inspector.inspect }).start()
    for (let i = 0; i < 50; i++) await system.actor(up, 'u').send({ type: 'up', text: 'a' })
    await system.settled()
    // An announcement, two messages for the start, and two for each event.
    expect(inspector.stats()).toEqual({ sent: 0, dropped: 103 - 10, queued: 10, connected: false })
    await inspector.stop()
    expect(lines.join('\n')).not.toContain('hunter2')
    expect(lines.at(-1)).toMatch(/^warn inspection events were dropped: .*"dropped":\d+/)
    await system.stop()
  })

  test('goes away and comes back is told of the actors anew, and what happened meanwhile', async () => {
    const first = await InspectorServer.start()
    const { port } = first
    const clock = new VirtualClock()
    const inspector = createWebSocketInspector({ url: first.url, clock })
    const system = await createActorSystem({ store: new MemoryStore(), machines: [up], inspect: inspector.inspect }).start()
    const actor = system.actor(up, 'u')
    await actor.send({ type: 'up', text: 'a' })
    await first.until(() => first.frames.length === 5)
    await first.stop()
    while (inspector.stats().connected) await new Promise((resolve) => setImmediate(resolve))
    await actor.send({ type: 'up', text: 'b' })
    await system.settled()
    const second = await InspectorServer.start(port)
    clock.runUntil(clock.nextDue()!)
    await second.until(() => second.frames.length === 3)
    expect(second.messages).toMatchObject([
      { type: '@xstate.actor', sessionId: 'up/u', snapshot: { context: { n: 2 } } },
      { type: '@xstate.event', event: { type: 'up' } },
      { type: '@xstate.snapshot', snapshot: { context: { n: 2, text: 'b' } } },
    ])
    await inspector.stop()
    await Promise.all([second.stop(), system.stop()])
  })

  test('reads nothing holds nobody up: what it does not take is dropped, what it takes later is announced, and after a time it is left', async () => {
    const server = await InspectorServer.start()
    const clock = new VirtualClock()
    const { lines, logger } = new Lines()
    const inspector = createWebSocketInspector({ url: server.url, queueMax: 50, clock, logger })
    await server.until(() => server.sockets.length === 1)
    server.sockets[0]!.pause()
    const system = await createActorSystem({ store: new MemoryStore(), machines: [up], inspect: inspector.inspect }).start()
    const actor = system.actor(up, 'u')
    const text = 'x'.repeat(100_000)
    for (let i = 0; i < 300; i++) await actor.send({ type: 'up', text })
    expect((await actor.snapshot())!.context.n).toBe(300)
    const { dropped, queued, sent } = inspector.stats()
    expect(dropped).toBeGreaterThan(0)
    expect(queued).toBeLessThanOrEqual(50)
    // What the kernel's buffers and ours hold.
    expect(sent).toBeLessThan(250)
    // It reads on: what is still there is sent, and the actor announced again with what it is now.
    server.sockets[0]!.resume()
    while (inspector.stats().queued > 0) await new Promise((resolve) => setImmediate(resolve))
    await actor.send({ type: 'up', text: 'short' })
    await server.until(() => server.frames.at(-1)!.includes('short'))
    expect(server.messages.slice(-3)).toMatchObject([{ type: '@xstate.actor', snapshot: { context: { n: 301 } } }, { type: '@xstate.event' }, { type: '@xstate.snapshot' }])
    server.sockets[0]!.pause()
    for (let i = 0; i < 300; i++) await actor.send({ type: 'up', text })
    clock.runUntil(60_000)
    while (inspector.stats().connected) await new Promise((resolve) => setImmediate(resolve))
    expect(lines.some((line) => line.includes('inspection events were dropped'))).toBe(true)
    await inspector.stop()
    await Promise.all([server.stop(), system.stop()])
  })

  test('talks, however much, is not listened to', async () => {
    const server = await InspectorServer.start()
    const inspector = createWebSocketInspector({ url: server.url })
    await server.until(() => server.sockets.length === 1)
    server.sockets[0]!.send('{"type":"@statelyai.connected"}')
    server.sockets[0]!.send(Buffer.alloc(1_000_000))
    const system = await createActorSystem({ store: new MemoryStore(), machines: [up], inspect: inspector.inspect }).start()
    await system.actor(up, 'u').send({ type: 'up', text: 'a' })
    await server.until(() => server.frames.length === 5)
    await inspector.stop()
    await Promise.all([server.stop(), system.stop()])
  })
})

test('an inspector that has stopped leaves no timer behind that would keep its process alive', async () => {
  const server = await InspectorServer.start()
  const { url } = server
  await server.stop()
  const clock = new VirtualClock()
  const inspector = createWebSocketInspector({ url, clock })
  createActor(vault, { inspect: inspector.inspect }).start()
  while (clock.nextDue() === undefined) await new Promise((resolve) => setImmediate(resolve))
  await inspector.stop()
  expect(clock.nextDue()).toBeUndefined()
  expect(inspector.stats()).toMatchObject({ dropped: 3, queued: 0 })
})

test('an inspector that has stopped takes events into nothing, and stops once', async () => {
  const server = await InspectorServer.start()
  const inspector = createWebSocketInspector({ url: server.url })
  await inspector.stop()
  await inspector.stop()
  inspector.inspect.next({ type: '@xstate.actor', rootId: 'x', actorRef: { sessionId: 'x', id: 'x', getSnapshot: () => ({}) } } as never)
  expect(inspector.stats()).toEqual({ sent: 0, dropped: 0, queued: 0, connected: false })
  await server.stop()
})

test.each([
  [{ url: 'http://127.0.0.1' }, /url: expected the address of a WebSocket server such as ws:\/\/127\.0\.0\.1:8080, got "http/],
  [{ url: '127.0.0.1:8080' }, /url: expected/],
  [{ url: 'ws://127.0.0.1/#a' }, /no part after "#"/],
  [{ queueMax: 0 }, /queueMax: expected a whole number of at least 1, got 0/],
  [{ depthMax: 101 }, /depthMax: expected a whole number from 1 to 100, got 101/],
  [{ redact: 'all' }, /redact: expected secrets, values, nothing or a function, got "all"/],
  [{ errors: 'yes' }, /errors: expected true or false/],
])('%j is refused', (options, message) => {
  const attempt = (): unknown => createWebSocketInspector(options as never)
  expect(attempt).toThrow(ConfigError)
  expect(attempt).toThrow(message)
})

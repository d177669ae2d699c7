/** What `--publish` makes of what a receiver does, over real connections. */
import { createHash } from 'node:crypto'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { externalActions } from '../../src/cli/research/publish.js'
import { isOutcomeUnknown } from '../../src/index.js'

const text = '# A report\n'
const digest = createHash('sha256').update(text).digest('hex')
const pace = { attemptsMax: 3, waitMsMin: 1, waitMsMax: 2, answerMsMax: 1_500 }
const { run, reconcile } = externalActions(pace)['post-report']!

type Answer = (response: ServerResponse) => void
const says =
  (status: number, body = ''): Answer =>
  (response) =>
    void response.writeHead(status).end(body)
const nothing: Answer = (response) => void response.destroy()
const silence: Answer = () => {}
/** A body that never ends. */
const flood =
  (status: number): Answer =>
  (response) => {
    response.writeHead(status)
    const more = (): void => {
      while (!response.destroyed && response.write('x'.repeat(65_536)));
    }
    response.on('drain', more)
    more()
  }

let server: Server | undefined
afterEach(() => {
  server?.closeAllConnections()
  server?.close()
  server = undefined
})

interface Receiver {
  readonly url: string
  /** Methods and keys, as they came. */
  readonly asked: string[]
}

/** Answers POSTs and GETs in turn; the last answer stands for all further ones. */
async function receiver(posts: readonly Answer[], gets: readonly Answer[] = [says(404)], port = 0): Promise<Receiver> {
  const left = { POST: [...posts], GET: [...gets] }
  const asked: string[] = []
  server = createServer((request: IncomingMessage, response) => {
    asked.push(`${request.method} ${request.headers['idempotency-key'] as string}`)
    request.resume().on('end', () => {
      const answers = left[request.method as 'POST' | 'GET']
      ;(answers.length > 1 ? answers.shift()! : answers[0]!)(response)
    })
  })
  await new Promise<void>((resolve) => server!.listen(port, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/reports`, asked }
}

const argsFor = (url: string, signal = new AbortController().signal) => ({ input: { url, text }, idempotencyKey: 'k', signal, attempt: 1 })
const publish = (url: string, signal?: AbortSignal): Promise<unknown> => Promise.resolve(run(argsFor(url, signal)))
/** What it rejects with. */
const failureOf = (work: Promise<unknown>): Promise<Error> =>
  work.then(
    (output) => Promise.reject(new Error(`it ended with ${JSON.stringify(output)}`)),
    (error: Error) => error,
  )

test('what is taken is taken once', async () => {
  const { url, asked } = await receiver([says(201, 'thanks')])
  expect(await publish(url)).toEqual({ url, status: 201, receipt: 'thanks' })
  expect(asked).toEqual(['POST k'])
})

test.each([408, 409, 425, 429, 500, 503])('behind %d it is sent again under the same key', async (status) => {
  const { url, asked } = await receiver([says(status), says(201)])
  expect(await publish(url)).toMatchObject({ status: 201 })
  expect(asked).toEqual(['POST k', 'POST k'])
})

test('a receiver that answers 500 to the report and 200 to everybody has not taken it', async () => {
  const { url, asked } = await receiver([says(500)], [says(200, '<html>Welcome to this site.</html>')])
  const error = await failureOf(publish(url))
  expect(error.message).toBe(`${url} did not take the report in 3 attempts: it answered 500.`)
  expect(isOutcomeUnknown(error)).toBe(false)
  expect(asked.filter((line) => line.startsWith('POST'))).toHaveLength(3)
})

test('a receiver that answers 500 and has it nevertheless has taken it', async () => {
  const { url } = await receiver([says(500)], [says(200, `{"sha256":"${digest.toUpperCase()}"}`)])
  expect(await publish(url)).toMatchObject({ status: 200 })
})

test('a receiver that is down is tried again, then the run is told that it was not sent', async () => {
  const { url } = await receiver([says(201)])
  await new Promise((resolve) => server!.close(resolve))
  const error = await failureOf(publish(url))
  expect(error.message).toMatch(/did not take the report in 3 attempts: connect ECONNREFUSED/)
  expect(isOutcomeUnknown(error)).toBe(false)
})

test('a receiver that comes up in time takes it', async () => {
  const { url } = await receiver([says(201)])
  await new Promise((resolve) => server!.close(resolve))
  const patient = externalActions({ ...pace, attemptsMax: 1_000, waitMsMax: 20 })['post-report']!
  const published = Promise.resolve(patient.run(argsFor(url)))
  await receiver([says(201)], [], Number(new URL(url).port))
  expect(await published).toMatchObject({ status: 201 })
})

test('a name that nobody has, and a port that nobody may use, are said as they are', async () => {
  expect((await failureOf(publish('http://nobody.invalid/'))).message).toMatch(/did not take the report in 3 attempts: getaddrinfo/)
  expect((await failureOf(publish('http://127.0.0.1:9/'))).message).toMatch(/did not take the report in 3 attempts: bad port/)
})

test.each([400, 401, 404, 413])('behind %d it is not sent again', async (status) => {
  const { url, asked } = await receiver([says(status)])
  expect((await failureOf(publish(url))).message).toBe(`${url} refused the report: it answered ${status}.`)
  expect(asked).toEqual(['POST k'])
})

test('another text under the same key is refused with advice', async () => {
  const { url } = await receiver([says(422)])
  expect((await failureOf(publish(url))).message).toContain('give the run another id (--run)')
})

test('a redirect is no receiver', async () => {
  const { url } = await receiver([(response) => void response.writeHead(302, { location: '/elsewhere' }).end()])
  expect((await failureOf(publish(url))).message).toContain('refused the report: it answered 302')
})

describe.each([
  ['the connection breaks', nothing],
  ['no answer comes', silence],
  ['a gateway lost the answer', says(504)],
] as const)('when %s', (_, lost) => {
  test('and the receiver names the digest, it is taken', async () => {
    const { url, asked } = await receiver([lost], [says(200, `k ${digest}`)])
    expect(await publish(url)).toEqual({ url, status: 200, receipt: `k ${digest}` })
    expect(asked).toEqual(['POST k', 'GET k'])
  })

  test('and the receiver knows nothing of it, it is sent again', async () => {
    const { url, asked } = await receiver([lost, says(201)], [says(404)])
    expect(await publish(url)).toMatchObject({ status: 201 })
    expect(asked).toEqual(['POST k', 'GET k', 'POST k'])
  })

  test('and the receiver answers everybody, its outcome is unknown and it is not sent again', async () => {
    const { url, asked } = await receiver([lost], [says(200, `key k, digest ${digest.slice(0, 16)}`)])
    const error = await failureOf(publish(url))
    expect(isOutcomeUnknown(error)).toBe(true)
    expect(error.message).toContain('it answered 200 without the digest of the report')
    expect(asked).toEqual(['POST k', 'GET k'])
  })

  test('and the receiver cannot say it at once, it is asked again', async () => {
    const { url, asked } = await receiver([lost], [says(503), nothing, says(200, digest)])
    expect(await publish(url)).toMatchObject({ status: 200 })
    expect(asked).toEqual(['POST k', 'GET k', 'GET k', 'GET k'])
  })
})

test('after a crash nothing but the digest is proof', async () => {
  const { url } = await receiver([says(500)], [says(503), says(200, digest)])
  expect(await reconcile!(argsFor(url))).toMatchObject({ happened: true })
  const other = await receiver([says(500)], [says(200, 'k')])
  await expect(Promise.resolve(reconcile!(argsFor(other.url)))).rejects.toThrow('without the digest of the report')
})

test('an answer without end is read as far as it is wanted', async () => {
  const { url } = await receiver([flood(201)])
  expect((await publish(url)) as { receipt: string }).toMatchObject({ status: 201, receipt: 'x'.repeat(2_000) })
  const proof = await receiver([nothing], [flood(200)])
  expect(isOutcomeUnknown(await failureOf(publish(proof.url)))).toBe(true)
})

test('an answer that does not come is given up, also if memory is collected meanwhile', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const { url, asked } = await receiver([silence], [silence, says(404)])
  const collecting = setInterval(collect, 20)
  const hasty = externalActions({ ...pace, attemptsMax: 2, answerMsMax: 300 })['post-report']!
  const error = await failureOf(Promise.resolve(hasty.run(argsFor(url)))).finally(() => clearInterval(collecting))
  expect(error.message).toBe(`${url} did not take the report in 2 attempts: no whole answer came within 300 ms.`)
  expect(asked).toEqual(['POST k', 'GET k', 'GET k', 'POST k', 'GET k'])
})

test('it ends with its signal, whatever it waits for', async () => {
  const { url } = await receiver([silence])
  const controller = new AbortController()
  const patient = externalActions({ ...pace, answerMsMax: 600_000 })['post-report']!
  const published = failureOf(Promise.resolve(patient.run(argsFor(url, controller.signal))))
  controller.abort()
  expect((await published).name).toBe('AbortError')
})

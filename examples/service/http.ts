/** What a service needs of HTTP, whatever it serves: bodies that are checked, errors as statuses, events, and an end that cuts nobody off. */
import type { Server } from 'node:http'
import { isHoldfastError } from 'holdfast'
import type { Context, ErrorHandler, MiddlewareHandler } from 'hono'
import { HTTPException } from 'hono/http-exception'
import { streamSSE, type SSEMessage } from 'hono/streaming'
import type { z } from 'zod'

export async function bodyOf<T>(c: Context, schema: z.ZodType<T>): Promise<T> {
  const given: unknown = await c.req.json().catch(() => {
    throw new HTTPException(400, { message: 'The body is not JSON.' })
  })
  const { success, data, error } = schema.safeParse(given)
  if (!success) throw new HTTPException(400, { message: error.issues.map(({ path, message }) => `${path.join('.') || 'body'}: ${message}`).join('; ') })
  return data
}

/** docs/errors.md. 503 is for what passes by itself: the same request may be sent again. */
const statuses: Record<string, 400 | 409 | 503> = {
  INVALID_ID: 400, CONFIG: 400, LIMIT: 400, NON_JSON: 400,
  ACTOR_EXISTS: 409, ACTOR_ENDED: 409, ACTOR_FAILED: 409,
  STORE: 503, STOPPED: 503, DEADLINE: 503, MAILBOX_FULL: 503,
}

export const answerError: ErrorHandler = (error, c) => {
  const status = error instanceof HTTPException ? error.status : isHoldfastError(error) ? (statuses[error.code] ?? 500) : 500
  if (status === 500) console.error(error)
  return c.json({ error: status === 500 ? 'The service has a fault; its log says which.' : error.message }, status)
}

let isEnding = false
const streams = new Set<AsyncGenerator<unknown, void>>()

/** Whether the process has been told to end. */
export const ending = (): boolean => isEnding

/** For every route: once the process ends, a connection is not kept for another request; that of a stream never is. */
export const closeConnections: MiddlewareHandler = async (c, next) => {
  await next()
  if (isEnding || c.res.headers.get('content-type') === 'text/event-stream') c.header('connection', 'close')
}

/** What is told, as server-sent events, but for what the client has seen. It ends with the client, and with this process: the client then comes back with its last id. */
export function eventStream<T>(c: Context, told: AsyncGenerator<T, void>, messageOf: (item: T) => SSEMessage): Response {
  const seen = c.req.header('last-event-id')
  return streamSSE(c, async (stream) => {
    streams.add(told)
    stream.onAbort(() => void told.return())
    // Proxies cut what is silent, and a client that has vanished is noticed only by writing to it.
    const beat = setInterval(() => void stream.write(': still here\n\n'), 15_000)
    try {
      for await (const item of told) {
        const message = messageOf(item)
        if (message.id !== seen) await stream.writeSSE(message)
        if (isEnding) break
      }
    } finally {
      clearInterval(beat)
      streams.delete(told)
    }
  })
}

/** At SIGTERM: no new connections, the streams end, what else is under way has so many ms; then `handOver`. */
export function endGently(server: Server, withinMs: number, handOver: () => Promise<unknown>): void {
  process.once('SIGTERM', () => {
    isEnding = true
    for (const told of streams) void told.return()
    server.close(() => void handOver().then(() => process.exit(0)))
    setTimeout(() => server.closeAllConnections(), withinMs)
  })
}

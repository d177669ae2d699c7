/**
 * Streams inspection events to a WebSocket server in Stately's inspector protocol. It takes the events of an actor
 * system (`createActorSystem({ inspect })`) and those of XState itself (`createActor(machine, { inspect })`) alike.
 */
import type { InspectionEvent, Observer } from 'xstate'
import { ConfigError } from '../../errors.js'
import { systemClock, type Clock } from '../../runtime/ports/clock.js'
import { silentLogger, type Logger } from '../../runtime/ports/logger.js'
import { FrameSocket, checkUrl, publicUrl } from './frame-socket.js'
import { MessageWriter, see, type MessageOptions } from './message.js'

export interface WebSocketInspectorOptions extends MessageOptions {
  /** `ws://` or `wss://`. Default `ws://127.0.0.1:8080`, where Stately's own inspector server listens. */
  readonly url?: string
  /** Events that may wait for the server, at least 1. Beyond it the oldest are dropped, and the actors announced again. Default 10,000. */
  readonly queueMax?: number
  /** Which events are sent. Default: all. */
  readonly filter?: (event: InspectionEvent) => boolean
  /** Is told when the server goes and comes, and how many events were dropped. Default: silent. */
  readonly logger?: Logger
  readonly clock?: Clock
  /** Wall-clock time, ms. Default `Date.now`. */
  readonly now?: () => number
}

export interface WebSocketInspector {
  /** To be given as `inspect`. It never throws and never waits. */
  readonly inspect: Required<Pick<Observer<InspectionEvent>, 'next'>>
  /** Messages so far: handed to the socket, dropped because the server took them too slowly or not at all, and waiting. */
  stats(): { readonly sent: number; readonly dropped: number; readonly queued: number; readonly connected: boolean }
  /** Sends what waits, closes the connection, and ends trying. `withinMs`: how long that may take. Default 2,000. */
  stop(options?: { readonly withinMs?: number }): Promise<void>
}

/** @internal */
export interface InternalOptions extends WebSocketInspectorOptions {
  readonly password?: string
}

export const defaultUrl = 'ws://127.0.0.1:8080'

/**
 * Connects, and connects again when the server was away. Delivery is at most once: what was on its way when the
 * connection broke is lost.
 *
 * @throws ConfigError for an option that is out of bounds
 */
export function createWebSocketInspector(options: WebSocketInspectorOptions = {}): WebSocketInspector {
  const { queueMax = 10_000, logger = silentLogger, clock = systemClock, now = Date.now, filter } = options
  const url = checkUrl(options.url ?? defaultUrl)
  checkMessageOptions(options)
  if (!(Number.isSafeInteger(queueMax) && queueMax >= 1)) throw new ConfigError(`queueMax: expected a whole number of at least 1, got ${String(queueMax)}.`)
  const { password } = options as InternalOptions
  const writer = new MessageWriter(options)
  const place = publicUrl(url)
  let connected = false
  let wasToldAway = false
  const socket = new FrameSocket({
    url,
    queueMax,
    clock,
    ...(password === undefined ? {} : { password }),
    onState(state, reason) {
      connected = state === 'open'
      if (connected) logger.info({ url: place }, 'the inspector is connected')
      else if (!wasToldAway) logger.warn({ url: place, reason }, 'the inspector cannot be reached; trying again')
      wasToldAway = !connected
    },
    onDropped: (count) => logger.warn({ url: place, dropped: count }, 'inspection events were dropped: the server took them too slowly or was not there'),
  })
  /** Whom the server knows, as far as one can tell. */
  let known = new WeakSet<object>()
  let epoch = socket.epoch
  let hasFailed = false

  const send = (event: InspectionEvent): void => {
    const seen = see(event)
    if (!seen) return
    const createdAt = now()
    socket.push(() => {
      try {
        return writer.write(seen, createdAt)
      } catch (error) {
        // A redaction that threw has not said what may be sent; and it may throw at every event.
        if (!hasFailed) logger.warn({ url: place, error: (error as Error)?.message }, 'an inspection event could not be written and was left out; further ones are not logged')
        hasFailed = true
        return undefined
      }
    })
  }
  /** An actor that the server may not know, after those that made it. */
  const announce = ({ actorRef, rootId }: InspectionEvent): void => {
    const { _parent: parent } = actorRef as unknown as { _parent?: InspectionEvent['actorRef'] }
    if (parent && 'logic' in parent && !known.has(parent)) announce({ type: '@xstate.actor', actorRef: parent, rootId })
    known.add(actorRef)
    send({ type: '@xstate.actor', actorRef, rootId })
  }
  return {
    inspect: {
      next(event) {
        try {
          if (filter && !filter(event)) return
          if (epoch !== socket.epoch) {
            epoch = socket.epoch
            known = new WeakSet()
          }
          if (event.type === '@xstate.actor') known.add(event.actorRef)
          else if (epoch > 0 && !known.has(event.actorRef)) announce(event)
          send(event)
        } catch (error) {
          if (!hasFailed) logger.warn({ url: place, error: (error as Error)?.message }, 'an inspection event could not be taken; further ones are not logged')
          hasFailed = true
        }
      },
    },
    stats: () => ({ sent: socket.sent, dropped: socket.dropped, queued: socket.queued, connected }),
    stop: ({ withinMs = 2_000 } = {}) => socket.stop(withinMs),
  }
}

/** @throws ConfigError for an option that is out of bounds */
function checkMessageOptions({ redact = 'secrets', errors = false, depthMax = 10 }: MessageOptions): void {
  if (typeof redact !== 'function' && !['secrets', 'values', 'nothing'].includes(redact)) throw new ConfigError(`redact: expected secrets, values, nothing or a function, got ${JSON.stringify(redact)}.`)
  if (typeof errors !== 'boolean') throw new ConfigError(`errors: expected true or false, got ${JSON.stringify(errors)}.`)
  if (!(Number.isSafeInteger(depthMax) && depthMax >= 1 && depthMax <= 100)) throw new ConfigError(`depthMax: expected a whole number from 1 to 100, got ${String(depthMax)}.`)
}

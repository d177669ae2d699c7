/**
 * Sends texts to a WebSocket server, in order, without ever making the sender wait: what the server does not take in
 * time waits in a bounded queue, of which the oldest goes first.
 *
 * F1  `push` does no I/O and writes no text: that happens later, a few at a time.
 * F2  At most `queueMax` wait here, and about `bufferedMax` bytes in the socket.
 * F3  A server that is not there, goes away or takes nothing for `stallMs` is tried again every `reconnectMs`, until `stop`.
 * F4  What was dropped is counted and told. When the server has caught up after a drop, and when a connection has ended, another
 *     `epoch` begins: not before, or what is then said anew would be dropped, too.
 */
import WebSocket from 'ws'
import { ConfigError } from '../../errors.js'
import type { Clock } from '../../runtime/ports/clock.js'

export interface FrameSocketOptions {
  readonly url: string
  readonly queueMax: number
  readonly clock: Clock
  /** Told when the state of the connection changes, with the reason if it is worse. */
  readonly onState: (state: 'open' | 'closed', reason?: string) => void
  /** Told once as often as something is dropped, with how many were since. */
  readonly onDropped: (count: number) => void
  /** The server must send this text before anything is sent to it. */
  readonly password?: string
}

/** A text, or how to write it; undefined sends nothing. */
export type Frame = string | (() => string | undefined)

const bufferedMax = 1_048_576
/** Written in one go, before others have a turn. */
const burstMax = 100
const reconnectMs = 5_000
const stallMs = 30_000
const handshakeMs = 10_000
/** How often drops are told, ms. */
const tellDroppedMs = 5_000
/** Longest message of a server, bytes; none is read. */
const incomingMax = 16_777_216

export class FrameSocket {
  /** Grows whenever the server may have missed something. */
  epoch = 0
  sent = 0
  dropped = 0
  private readonly options: FrameSocketOptions
  private readonly queue: Frame[] = []
  private socket: WebSocket | undefined
  private isOpen = false
  private isStopped = false
  private isScheduled = false
  private untold = 0
  private hasMissed = false
  private cancelTell: (() => void) | undefined
  private cancelReconnect: (() => void) | undefined
  private cancelStall: (() => void) | undefined
  private onEmpty: (() => void) | undefined

  constructor(options: FrameSocketOptions) {
    this.options = options
    this.connect()
  }

  get queued(): number {
    return this.queue.length
  }

  push(frame: Frame): void {
    if (this.isStopped) return
    this.queue.push(frame)
    if (this.queue.length > this.options.queueMax) {
      this.queue.shift()
      this.drop(1)
    }
    this.schedule()
  }

  /** Sends what waits if the server is there or answers, and takes it in time, and closes. Whoever pushes later pushes into nothing. */
  async stop(withinMs: number): Promise<void> {
    if (this.isStopped) return
    this.isStopped = true
    this.cancelReconnect?.()
    const { socket } = this
    // One that is being made may still be in time.
    if (socket && (this.isOpen || (this.queue.length > 0 && socket.readyState <= WebSocket.OPEN))) {
      const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
      let cancel = (): void => {}
      const late = new Promise<void>((resolve) => (cancel = this.options.clock.after(withinMs, resolve)))
      const sent = new Promise<void>((resolve) => (this.onEmpty = resolve))
      this.schedule()
      await Promise.race([sent, closed, late])
      socket.close()
      await Promise.race([closed, late])
      cancel()
    }
    socket?.terminate()
    this.cancelStall?.()
    if (this.queue.length > 0) this.drop(this.queue.splice(0).length)
    this.cancelTell?.()
    this.tellDropped()
  }

  private connect(): void {
    const { url, onState, password, clock } = this.options
    const socket = new WebSocket(url, { handshakeTimeout: handshakeMs, perMessageDeflate: false, maxPayload: incomingMax, followRedirects: false })
    this.socket = socket
    let reason: string | undefined
    const begin = (): void => {
      this.isOpen = true
      onState('open')
      this.schedule()
    }
    if (password === undefined) socket.once('open', begin)
    else {
      socket.once('message', (data) => {
        if (String(data as Buffer) === password) begin()
        else socket.terminate()
      })
    }
    socket.on('error', (error) => (reason = error.message === '' ? ((error as NodeJS.ErrnoException).code ?? 'no connection') : error.message))
    socket.once('close', (code) => {
      // One that was never there has missed nothing that does not still wait here.
      if (this.isOpen) this.epoch++
      this.isOpen = false
      this.cancelStall?.()
      this.cancelStall = undefined
      this.onEmpty?.()
      if (this.isStopped) return
      onState('closed', reason ?? `closed by the server (${code})`)
      // Whoever was told may have had enough.
      if (!(this.isStopped as boolean)) this.cancelReconnect = clock.after(reconnectMs, () => this.connect())
    })
  }

  private schedule(): void {
    if (this.isScheduled || !this.isOpen) return
    this.isScheduled = true
    this.options.clock.soon(() => {
      this.isScheduled = false
      this.drain()
    })
  }

  private drain(): void {
    const { socket } = this
    if (!socket || !this.isOpen) return
    for (let i = 0; i < burstMax && this.queue.length > 0; i++) {
      if (socket.bufferedAmount >= bufferedMax) return
      const frame = this.queue.shift()!
      const text = typeof frame === 'string' ? frame : frame()
      if (text === undefined) continue
      this.sent++
      this.awaitProgress(socket)
      socket.send(text, () => {
        this.cancelStall?.()
        this.cancelStall = undefined
        if (socket.bufferedAmount > 0) this.awaitProgress(socket)
        this.schedule()
      })
    }
    if (this.queue.length > 0) this.schedule()
    else {
      if (this.hasMissed) this.epoch++
      this.hasMissed = false
      if (socket.bufferedAmount === 0) this.onEmpty?.()
    }
  }

  /** A server that reads nothing looks like one that is slow, but for the time it takes. */
  private awaitProgress(socket: WebSocket): void {
    this.cancelStall ??= this.options.clock.after(stallMs, () => socket.terminate())
  }

  private drop(count: number): void {
    this.dropped += count
    this.untold += count
    this.hasMissed = true
    this.cancelTell ??= this.options.clock.after(tellDroppedMs, () => {
      this.cancelTell = undefined
      this.tellDropped()
    })
  }

  private tellDropped(): void {
    if (this.untold > 0) this.options.onDropped(this.untold)
    this.untold = 0
  }
}

/** @throws ConfigError for what is no WebSocket's address */
export function checkUrl(url: unknown): string {
  const parsed = typeof url === 'string' && URL.canParse(url) ? new URL(url) : undefined
  if (parsed?.protocol !== 'ws:' && parsed?.protocol !== 'wss:') throw new ConfigError(`url: expected the address of a WebSocket server such as ws://127.0.0.1:8080, got ${JSON.stringify(url) ?? String(url)}.`)
  if (parsed.hash !== '') throw new ConfigError(`url: the address of a WebSocket server has no part after "#", got ${JSON.stringify(url)}.`)
  return url as string
}

/** As it may stand in a log: without user, password and query. */
export function publicUrl(url: string): string {
  const { protocol, host, pathname } = new URL(url)
  return `${protocol}//${host}${pathname === '/' ? '' : pathname}`
}

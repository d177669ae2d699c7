/** A WebSocket server on 127.0.0.1 that keeps what inspectors send it, byte for byte. */
import type { AddressInfo } from 'node:net'
import { WebSocketServer, type WebSocket } from 'ws'

export class InspectorServer {
  /** Texts in the order of their arrival. */
  readonly frames: string[] = []
  readonly sockets: WebSocket[] = []
  connections = 0
  private readonly server: WebSocketServer
  private readonly waiting = new Set<() => void>()

  private constructor(server: WebSocketServer) {
    this.server = server
    server.on('connection', (socket) => {
      this.connections++
      this.sockets.push(socket)
      socket.on('message', (data, isBinary) => {
        if (isBinary) throw new Error('the protocol is text')
        this.frames.push(String(data as Buffer))
        this.wake()
      })
      socket.on('close', () => this.wake())
      this.wake()
    })
  }

  /** @param port default: a free one */
  static async start(port = 0): Promise<InspectorServer> {
    const server = new WebSocketServer({ host: '127.0.0.1', port })
    await new Promise<void>((resolve, reject) => server.once('listening', resolve).once('error', reject))
    return new InspectorServer(server)
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}`
  }

  get messages(): Record<string, unknown>[] {
    return this.frames.map((frame) => JSON.parse(frame) as Record<string, unknown>)
  }

  /** Resolves when it is so; asked whenever something arrives. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      await new Promise<void>((resolve) => {
        const once = (): void => {
          this.waiting.delete(once)
          resolve()
        }
        this.waiting.add(once)
      })
    }
  }

  /** Ends every connection, as a process that dies does. */
  drop(): void {
    for (const socket of this.sockets.splice(0)) socket.terminate()
  }

  async stop(): Promise<void> {
    this.drop()
    await new Promise<void>((resolve) => this.server.close(() => resolve()))
  }

  private wake(): void {
    for (const once of [...this.waiting]) once()
  }
}

/**
 * Messages without what no two runs share: the time, the ids of sessions, and `x:<number>`, which XState calls those to
 * whom nobody gave an id, counting all that the process ever made. Ids are numbered as they first appear. Everything
 * else stays as it was sent, byte for byte.
 */
export function comparable(frames: readonly string[]): string[] {
  const sessionOf = numbering('session')
  const unnamedOf = numbering('unnamed')
  return frames.map((frame) =>
    frame
      .replace(/"createdAt":"\d+"/, '"createdAt":"0"')
      .replace(/"(sessionId|rootId|parentId|sourceId)":"((?:[^"\\]|\\.)*)"(?=[,}])/g, (_, field: string, id: string) => `"${field}":"${sessionOf(id)}"`)
      .replace(/(?<=["./])x:\d+(?=[".])/g, unnamedOf),
  )
}

function numbering(word: string): (id: string) => string {
  const numbers = new Map<string, string>()
  return (id) => {
    if (!numbers.has(id)) numbers.set(id, `${word} ${numbers.size}`)
    return numbers.get(id)!
  }
}

/** Of a text, where it begins to differ from another. */
export function difference(text: string, other: string): string {
  let i = 0
  while (i < text.length && text[i] === other[i]) i++
  return text.slice(Math.max(0, i - 100), i + 100)
}

/**
 * The one who looks: asks whoever runs the actors of a store to call back, and hands on what it says (inspection.ts is the
 * other side). Nobody else can call, and it is sent nothing but the word that shows the caller it is the one who asked.
 */
import { randomBytes } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { WebSocketServer, type WebSocket } from 'ws'
import { FrameSocket, publicUrl } from '../adapters/inspect/frame-socket.js'
import { ConfigError } from '../errors.js'
import type { ActorHandle } from '../runtime/actor.js'
import { systemClock } from '../runtime/ports/clock.js'
import { exitCodes, type ExitCode } from './exit.js'
import { inspectionName, wantedForMs, type InspectionRequest } from './inspection.js'
import type { Session } from './session.js'
import { printable, type Terminal } from './terminal.js'

/** Messages that may wait for a slow reader. */
const queueMax = 10_000
/** How long nobody may answer before it is said, ms. */
const patienceMs = 3_000

// ── Where it goes ──

export interface Sink {
  readonly name: string
  take(message: string): void
  end(): Promise<void>
}

export function lines(terminal: Terminal): Sink {
  // What the messages hold is JSON, whose control characters are escaped.
  return { name: 'standard output', take: (message) => terminal.line(message), end: () => Promise.resolve() }
}

/** @throws ConfigError if nothing listens there */
export async function inspectorAt(url: string, terminal: Terminal): Promise<Sink> {
  const name = publicUrl(url)
  let isKnown = false
  return new Promise<Sink>((resolve, reject) => {
    const socket: FrameSocket = new FrameSocket({
      url,
      queueMax,
      clock: systemClock,
      onState(state, reason = '') {
        if (isKnown) {
          terminal.error(state === 'open' ? `The inspector at ${name} is back.` : `The inspector at ${name} has gone (${printable(reason)}). It is tried again every 5 seconds.`)
        } else if (state === 'open') {
          isKnown = true
          resolve({ name, take: (message) => socket.push(message), end: () => socket.stop(2_000) })
        } else {
          void socket.stop(0)
          reject(new ConfigError(`Nothing that speaks WebSocket listens at ${name} (${printable(reason)}). Start an inspector there first, say where it is by --url, or have the messages printed by --json.`))
        }
      },
      onDropped: (count) => terminal.error(`${count} messages were dropped: the inspector at ${name} takes them too slowly.`),
    })
  })
}

// ── Asking for it ──

export class Looker {
  private readonly session: Session
  private readonly terminal: Terminal
  private readonly sink: Sink
  private readonly wanted: Pick<InspectionRequest, 'run' | 'redact' | 'errors'>
  private readonly password = word()
  private readonly knock = word()
  private actor: ActorHandle | undefined
  private caller: WebSocket | undefined
  private isOver = false
  private finish!: (code: ExitCode) => void
  private fail!: (error: unknown) => void

  constructor(session: Session, terminal: Terminal, sink: Sink, wanted: Pick<InspectionRequest, 'run' | 'redact' | 'errors'>) {
    this.session = session
    this.terminal = terminal
    this.sink = sink
    this.wanted = wanted
  }

  /** Until the run has ended or the signal aborts. */
  async look(signal: AbortSignal): Promise<ExitCode> {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0, path: `/${this.knock}`, perMessageDeflate: false })
    await new Promise<void>((resolve, reject) => server.once('listening', resolve).once('error', reject))
    const ended = new Promise<ExitCode>((resolve, reject) => ([this.finish, this.fail] = [resolve, reject]))
    ended.catch(() => {})
    const interrupt = (): void => this.finish(exitCodes.interrupted)
    signal.addEventListener('abort', interrupt, { once: true })
    if (signal.aborted) interrupt()
    server.on('connection', (socket) => this.called(socket))
    const { port } = server.address() as AddressInfo
    await this.ask(port)
    const patience = setTimeout(() => void this.explain(), patienceMs)
    const heart = setInterval(() => this.ask(port).catch(this.fail), wantedForMs / 3)
    try {
      return await ended
    } finally {
      this.isOver = true
      clearTimeout(patience)
      clearInterval(heart)
      signal.removeEventListener('abort', interrupt)
      await this.actor?.stop({ deadlineMs: 2_000 }).catch(() => {})
      for (const client of server.clients) client.terminate()
      server.close()
    }
  }

  /** Again and again, or it is taken for gone; from the beginning, if it was, because this process had slept. */
  private async ask(port: number): Promise<void> {
    const status = await this.actor?.status()
    if (this.actor && (status === undefined || status === 'active')) {
      if (status) await this.actor.send({ type: 'inspection.want' } as never)
      return
    }
    this.actor = this.session.mesh.system.actorAt(`${inspectionName}/${word()}`)
    await this.actor.start({ input: { ...this.wanted, port, knock: this.knock, password: this.password } } as never)
  }

  /** By whoever runs the actors: a later one has taken over from it. */
  private called(socket: WebSocket): void {
    this.caller?.terminate()
    this.caller = socket
    socket.on('error', () => socket.terminate())
    socket.on('message', (data) => this.take(String(data as Buffer)))
    socket.on('close', () => {
      if (this.caller !== socket || this.isOver) return
      this.caller = undefined
      this.terminal.error('Whoever ran the actors has gone. This waits for the next one.')
    })
    socket.send(this.password)
    this.terminal.error(`Streaming to ${this.sink.name}. Ctrl-C ends it${this.wanted.run === null ? '' : ', or the end of the run'}.`)
  }

  private take(message: string): void {
    this.sink.take(message)
    const { run } = this.wanted
    // Only what can be the end is looked at.
    if (run === null || !message.includes(`"sessionId":"${this.session.research.name}/${run}"`) || message.includes('"@xstate.event"')) return
    const { snapshot } = JSON.parse(message) as { snapshot?: { status?: string } }
    if (snapshot?.status !== undefined && snapshot.status !== 'active') this.finish(exitCodes.ok)
  }

  /** Nobody calls back. */
  private async explain(): Promise<void> {
    if (this.caller) return
    const { mesh, storeOption } = this.session
    const parked = await mesh.system.parked(this.actor!.address).catch(() => [])
    if (parked.length > 0) this.fail(new ConfigError('Whoever runs what is in this store is of another version, which cannot be inspected. Stop that process and go on with a newer one.'))
    else this.terminal.error(`Nobody has called back yet: nobody runs what is in this store just now, or a process on another machine does. This waits. To run it, in another terminal: holdfast resume ${this.wanted.run ?? '<run>'}${storeOption}`)
  }
}

function word(): string {
  return randomBytes(16).toString('hex')
}

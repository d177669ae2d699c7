/** A connection to the server that has one slot: what lies under one hash tag is found on a cluster as on a server of its own. */
import { hostOf } from './cluster.js'
import { Connection, type Target } from './connection.js'
import { serverCodeOf } from './failures.js'

const redirectsMax = 5

export class OneSlot {
  private readonly target: Target
  private readonly name: string
  private readonly deadlineMs: number
  /** Where the slot was last. */
  private at: Target
  private connection: Connection | undefined

  constructor({ target, name, deadlineMs }: { readonly target: Target; readonly name: string; readonly deadlineMs: number }) {
    this.target = this.at = target
    this.name = name
    this.deadlineMs = deadlineMs
  }

  /** Where the slot is: a server of a cluster sends on to the one that has it. */
  async on<T>(work: (connection: Connection) => Promise<T>): Promise<T> {
    for (let redirects = 0; ; redirects++) {
      const connection = (this.connection ??= new Connection({ target: this.at, name: this.name, deadlineMs: this.deadlineMs }))
      try {
        await connection.opened()
        return await work(connection)
      } catch (error) {
        const place = movedTo(error, this.at)
        if (!place && connection.endpoint === this.target.endpoint) throw error
        // Sent on, or where it was sent is not there any more: then whoever sent it is asked next time.
        if (this.connection === connection) {
          this.at = place ? { options: { ...this.target.options, ...place }, endpoint: `${place.host}:${place.port}` } : this.target
          this.connection = undefined
        }
        void connection.close()
        if (!place || redirects === redirectsMax) throw error
      }
    }
  }

  async close(): Promise<void> {
    await this.connection?.close()
  }
}

/** `MOVED <slot> <host>:<port>`; a server may tell no host. */
function movedTo(error: unknown, from: Target): { readonly host: string; readonly port: number } | undefined {
  if (serverCodeOf(error) !== 'MOVED') return undefined
  const [, host, port] = /^MOVED \d+ (.*):(\d+)$/.exec((((error as Error).cause ?? error) as Error).message) ?? []
  return port === undefined ? undefined : { host: hostOf(host, from), port: Number(port) }
}

/**
 * Whether replicas have what was written on one connection. WAIT counts for what its own connection did before it, and for
 * nothing else; on the connection that takes its place it would count what another server may never have heard of.
 *
 * One WAIT is asked at a time, for all that was answered before: it holds the connection up, and what comes meanwhile is
 * written together once it is over.
 */
import { StoreError } from '../../errors.js'
import type { Connection } from './connection.js'

/** So long other commands of the connection may have to stand behind a replica that does not answer, ms; then it is asked again. */
const patienceMs = 250

interface Waiting {
  readonly replicas: number
  /** Of the connection on which it was written. */
  readonly generation: number
  readonly until: number
  resolve(): void
  reject(error: StoreError): void
}

export class Acknowledgements {
  private readonly connection: Connection
  private readonly patienceMs: number
  private readonly deadlineMs: number
  private waiting: Waiting[] = []
  private busy = false

  constructor(connection: Connection, deadlineMs: number) {
    this.connection = connection
    this.deadlineMs = deadlineMs
    this.patienceMs = Math.max(1, Math.floor(Math.min(patienceMs, deadlineMs / 4)))
  }

  /**
   * To be asked at once when a write has been answered: resolves when so many replicas have it.
   * @throws StoreError of outcome `unknown` at the deadline: it is written, and may be lost with the server
   */
  of(replicas: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ replicas, generation: this.connection.generation, until: performance.now() + this.deadlineMs, resolve, reject })
      if (!this.busy) void this.work()
    })
  }

  private async work(): Promise<void> {
    this.busy = true
    while (this.waiting.length > 0) {
      const these = this.waiting.splice(0)
      const { generation, endpoint } = this.connection
      try {
        const most = Math.max(...these.map(({ replicas }) => replicas))
        const count = Number(await this.connection.call('WAIT', [most, this.patienceMs]))
        for (const one of these) {
          const { replicas, generation: own, until, resolve, reject } = one
          if (own !== generation) reject(new StoreError(`The connection to Redis at ${endpoint} was lost before a replica had what was written.`, 'unknown'))
          else if (count < replicas && performance.now() < until) this.waiting.push(one)
          else if (count < replicas) reject(new StoreError(`Redis at ${endpoint} has written it, and ${count} of ${replicas} replicas have it so far. Bring the replicas back, or open the store with fewer: replicas.`, 'unknown'))
          else resolve()
        }
      } catch (error) {
        for (const { reject } of these) reject(new StoreError((error as Error).message, 'unknown', error))
      }
    }
    this.busy = false
  }
}

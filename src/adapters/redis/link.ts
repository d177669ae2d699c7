/** The connections to one server, the scripts that run there, and what its replicas have of them. */
import type { Standing } from '../../runtime/ports/store.js'
import { Acknowledgements } from './acknowledgements.js'
import { Connection, type ConnectionOptions, type Target } from './connection.js'
import { ScriptRunner } from './scripts.js'

export class Link {
  readonly target: Target
  readonly commands: Connection
  readonly runner: ScriptRunner
  readonly acknowledgements: Acknowledgements
  /** As of the last time the server was asked. */
  standing: Standing = { durability: 'D0', warnings: [], refusals: [] }
  private readonly deadlineMs: number
  private readonly onLost: () => void

  /**
   * @param prepare runs whenever the connection for commands is made, before it takes any: another server, or another state
   *   of the same one, may be at its end
   */
  constructor(target: Target, deadlineMs: number, prepare: (connection: Connection, link: Link) => Promise<void>, onLost: () => void = () => {}) {
    this.target = target
    this.deadlineMs = deadlineMs
    this.onLost = onLost
    this.commands = this.connect('commands', (connection) => prepare(connection, this))
    this.runner = new ScriptRunner(this.commands)
    this.acknowledgements = new Acknowledgements(this.commands, deadlineMs)
  }

  /** Another connection to the same server. */
  connect(name: string, prepare: NonNullable<ConnectionOptions['prepare']>, silenceMs = this.deadlineMs): Connection {
    return new Connection({ target: this.target, name: `holdfast-${name}`, deadlineMs: this.deadlineMs, silenceMs, prepare, onLost: this.onLost })
  }

  close(): Promise<void> {
    return this.commands.close()
  }
}

/**
 * The scripts, one a `.lua` file beside this one, and how they are run: by hash, loaded up front whenever a connection
 * is made, and loaded again when the server has forgotten them. Calls keep their order even then (P4): from the first
 * that was not known on, everything later waits, and what was on its way is sent again in its old order.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { StoreError } from '../../errors.js'
import type { Connection } from './connection.js'
import { serverCodeOf } from './failures.js'

export interface Script {
  readonly name: string
  readonly text: string
  /** SHA-1 of the text, as EVALSHA wants it. */
  readonly hash: string
  /** Its answer is a Buffer instead of a string. */
  readonly answersBytes?: true
}

export const scripts = {
  append: read('append'),
  beat: read('beat'),
  claim: read('claim'),
  commit: read('commit'),
  deliver: read('deliver'),
  fill: read('fill'),
  halt: read('halt'),
  load: { ...read('load'), answersBytes: true },
  mark: read('mark'),
  namespace: read('namespace'),
  redrive: read('redrive'),
  release: read('release'),
  renew: read('renew'),
  seal: read('seal'),
  trim: read('trim'),
  unseal: read('unseal'),
} as const satisfies Record<string, Script>

/** Those whose writes count only once the replicas that were asked for have them; what the others write is written before, or may as well be lost. */
export const replicated: ReadonlySet<Script> = new Set([scripts.append, scripts.beat, scripts.commit, scripts.deliver, scripts.fill, scripts.halt, scripts.mark, scripts.redrive, scripts.seal, scripts.unseal])

function read(name: string): Script {
  const text = source(name).replace(/^--@include (\S+)$/gm, (_, included: string) => source(included))
  return { name, text, hash: createHash('sha1').update(text).digest('hex') }
}

function source(name: string): string {
  return readFileSync(new URL(`./${name}.lua`, import.meta.url), 'utf8')
}

/** Makes the server know all scripts. For `prepare`: it does not ask whether commands are taken. */
export async function loadScripts(connection: Connection): Promise<void> {
  await Promise.all(Object.values(scripts).map(({ text }) => connection.send('SCRIPT', ['LOAD', text])))
}

interface Call {
  readonly ticket: number
  readonly script: Script
  readonly args: readonly (string | Buffer)[]
  /** Whether this answer only shows that an earlier call is missing. */
  readonly isBuiltOnEarlier: (reply: unknown) => boolean
  resolve(reply: unknown): void
  reject(error: unknown): void
  attempts: number
}

const attemptsMax = 5

export class ScriptRunner {
  private readonly connection: Connection
  private inFlight = 0
  private tickets = 0
  /** A call was not known to the server: what comes waits until all is known again. */
  private repairing = false
  private held: Call[] = []

  constructor(connection: Connection) {
    this.connection = connection
  }

  /**
   * Runs a script after those called before. An answer of which `isBuiltOnEarlier` is true counts only if the server
   * knew all scripts called before; else the call is repeated behind them.
   */
  run(script: Script, keys: readonly string[], args: readonly (string | Buffer)[], isBuiltOnEarlier: (reply: unknown) => boolean = () => false): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const call: Call = { ticket: this.tickets++, script, args: [script.hash, String(keys.length), ...keys, ...args], isBuiltOnEarlier, resolve, reject, attempts: 0 }
      if (this.repairing) this.held.push(call)
      else this.send(call)
    })
  }

  private send(call: Call): void {
    call.attempts++
    this.inFlight++
    this.connection.call('EVALSHA', call.args, { asBytes: call.script.answersBytes === true }).then(
      (reply) => {
        if (this.repairing && call.isBuiltOnEarlier(reply)) this.held.push(call)
        else call.resolve(reply)
        this.answered()
      },
      (error: unknown) => {
        if (serverCodeOf(error) === 'NOSCRIPT' && call.attempts < attemptsMax) {
          this.repairing = true
          this.held.push(call)
        } else call.reject(error)
        this.answered()
      },
    )
  }

  private answered(): void {
    this.inFlight--
    if (this.repairing && this.inFlight === 0) void this.repair()
  }

  private async repair(): Promise<void> {
    let failure: unknown
    try {
      await loadScripts(this.connection)
    } catch (error) {
      // None of them ran, whatever became of the loading.
      failure = new StoreError((error as Error).message, 'failed', error)
    }
    this.repairing = false
    const calls = this.held.sort((a, b) => a.ticket - b.ticket)
    this.held = []
    for (const call of calls) {
      if (failure === undefined) this.send(call)
      else call.reject(failure)
    }
  }
}

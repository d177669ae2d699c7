/**
 * Structured logs. pino fits as it is. Every line about an actor carries `run` and `actor`, about an effect also
 * `effect`; no line carries a prompt or a payload.
 *
 * - error: a promise of the runtime is at stake (lease lost, store unreachable for long, snapshot unreadable)
 * - warn: somebody should look (actor failed, message parked or dead-lettered, effect of unknown outcome)
 * - info: the life of the system (started, recovered, stopped)
 * - debug: the life of actors and effects (started, ended, restarted); trace: every commit
 */
export interface Logger {
  error(fields: object, message: string): void
  warn(fields: object, message: string): void
  info(fields: object, message: string): void
  debug(fields: object, message: string): void
  trace(fields: object, message: string): void
}

export const silentLogger: Logger = { error() {}, warn() {}, info() {}, debug() {}, trace() {} }

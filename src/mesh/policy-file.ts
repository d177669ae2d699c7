/**
 * The policies of a mesh as a file has them: read when the mesh is made, and again when the file changes. What is wrong
 * with a new one is told, and changes nothing.
 */
import { ConfigError, toStoredError } from '../errors.js'
import type { Logger } from '../runtime/ports/logger.js'
import { isObject } from './options.js'
import type { PolicyIssue, PolicyOptions } from './policies.js'
import { policiesIn } from './policy-text.js'
import type { PolicySource } from './ports/policy-source.js'

export function isPolicySource(value: unknown): value is PolicySource {
  return isObject(value) && typeof value['read'] === 'function' && typeof value['watch'] === 'function' && typeof value['text'] === 'string'
}

export class PolicyFile {
  private readonly source: PolicySource
  private readonly issuesFor: (policies: PolicyOptions) => readonly PolicyIssue[]
  private readonly logger: Logger
  private use: (policies: PolicyOptions) => void = () => {}
  private text: string
  private reading: Promise<void> = Promise.resolve()
  private stopWatching: (() => void) | undefined

  /** @param issuesFor what else is wrong with them in this mesh */
  constructor(source: PolicySource, issuesFor: (policies: PolicyOptions) => readonly PolicyIssue[], logger: Logger) {
    this.source = source
    this.issuesFor = issuesFor
    this.logger = logger
    this.text = source.text
  }

  /** @throws ConfigError that names all that is wrong, each with its place */
  begin(use: (policies: PolicyOptions) => void): void {
    this.use = use
    use(policiesIn(this.source.name, this.text, this.issuesFor))
  }

  /** One after the other, so that the last word of the file is the one that holds. */
  load(): Promise<void> {
    const loaded = this.reading.then(() => this.readAgain())
    this.reading = loaded.catch(() => {})
    return loaded
  }

  private async readAgain(): Promise<void> {
    const { name } = this.source
    let text: string
    try {
      text = await this.source.read()
    } catch (error) {
      throw new ConfigError(`${name} cannot be read: ${toStoredError(error).message}. The policies are as they were.`)
    }
    if (text === this.text) return
    const policies = policiesIn(name, text, this.issuesFor)
    this.text = text
    this.use(policies)
    this.logger.info({ file: name }, 'the policies were read again: they hold for calls that begin now')
  }

  watch(): void {
    const told = (error: unknown): void => this.logger.error({ file: this.source.name, error: toStoredError(error).message }, 'the policies are as they were: their file has changed, and cannot be used')
    this.stopWatching ??= this.source.watch(() => void this.load().catch(told))
  }

  close(): void {
    this.stopWatching?.()
    this.stopWatching = undefined
  }
}

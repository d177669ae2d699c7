/**
 * A witness in a folder: a file for each process that told something, flushed and put in place whole. On another disk than
 * the store's it sees what happens to that one; what is in it may be lost, but must not be put back from a backup.
 */
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { ConfigError } from '../../errors.js'
import type { Testimony, Witness } from '../../runtime/ports/witness.js'

/** Files kept of a namespace; the oldest go: those who came later have told what was in them. */
const filesMax = 64
const format = 1

export class FileWitness implements Witness {
  private readonly folder: string
  /** Written by this object, so that their folder knows of them. */
  private readonly known = new Set<string>()

  /**
   * @param folder made when something is told
   * @throws ConfigError for an empty path
   */
  constructor(folder: string) {
    if (typeof folder !== 'string' || folder === '') throw new ConfigError(`fileWitness: expected the path of a folder, got ${JSON.stringify(folder)}.`)
    this.folder = resolve(folder)
  }

  async recall(namespace: string): Promise<readonly Testimony[]> {
    const found: Testimony[] = []
    for (const name of await this.namesOf(namespace)) {
      const file = join(this.folder, name)
      const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
        // Somebody else has forgotten it.
        if (error.code === 'ENOENT') return undefined
        throw new ConfigError(`fileWitness: ${file} cannot be read: ${error.message}. Give fileWitness a folder that this process may read and write.`)
      })
      if (text !== undefined) found.push(decode(file, text))
    }
    return found
  }

  async tell(namespace: string, testimony: Testimony): Promise<void> {
    const name = nameOf(namespace, testimony.node)
    const [file, draft] = [join(this.folder, name), join(this.folder, `${name}.new`)]
    await mkdir(this.folder, { recursive: true })
    const handle = await open(draft, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o600)
    try {
      await handle.writeFile(JSON.stringify({ format, namespace, testimony }))
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(draft, file)
    await this.flushFolder()
    if (this.known.has(name)) return
    this.known.add(name)
    await this.removeOldest(namespace, name)
  }

  async forget(namespace: string, node: string): Promise<void> {
    const name = nameOf(namespace, node)
    this.known.delete(name)
    await rm(join(this.folder, name), { force: true })
    await this.flushFolder()
  }

  private async namesOf(namespace: string): Promise<string[]> {
    const prefix = `${digest(namespace)}-`
    try {
      return (await readdir(this.folder)).filter((name) => name.startsWith(prefix) && name.endsWith('.json')).sort()
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      if (code === 'ENOENT') return []
      throw new ConfigError(`fileWitness: ${this.folder} cannot be read: ${message}. Give fileWitness a folder that this process may read and write.`)
    }
  }

  /** What a rename did is on disk only then. */
  private async flushFolder(): Promise<void> {
    const handle = await open(this.folder, constants.O_RDONLY)
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  }

  private async removeOldest(namespace: string, own: string): Promise<void> {
    const names = (await this.namesOf(namespace)).filter((name) => name !== own)
    if (names.length < filesMax) return
    const aged = await Promise.all(names.map(async (name) => ({ name, at: await stat(join(this.folder, name)).then(({ mtimeMs }) => mtimeMs, () => 0) })))
    const oldest = aged.sort((a, b) => a.at - b.at).slice(0, names.length - filesMax + 1)
    // And what a process that was killed over it had not put in place.
    for (const { name } of oldest) for (const file of [name, `${name}.new`]) await rm(join(this.folder, file), { force: true })
  }
}

function nameOf(namespace: string, node: string): string {
  return `${digest(namespace)}-${digest(node)}.json`
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32)
}

function decode(file: string, text: string): Testimony {
  try {
    const { format: of, testimony } = JSON.parse(text) as { format: number; testimony: Testimony }
    const { node, incarnation, accepted, commits, halted } = testimony
    const numbers = [accepted, ...Object.keys(commits).map(Number), ...Object.values(commits), ...(halted ? [halted.accepted] : [])]
    if (of === format && typeof node === 'string' && typeof incarnation === 'string' && numbers.every((number) => Number.isSafeInteger(number) && number >= 0)) return testimony
  } catch {
    // Said below.
  }
  throw new ConfigError(`fileWitness: ${file} holds no testimony of format ${format}. If it was damaged, look at whether the store is as it was (holdfast doctor), and remove the file; else use the version that wrote it.`)
}

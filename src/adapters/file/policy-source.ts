/** Policies in a file. It is looked at again and again, by its name: what replaces it, also behind a link, is seen. */
import { readFile, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { ConfigError } from '../../errors.js'
import type { PolicySource } from '../../mesh/ports/policy-source.js'

/** Bytes that are read, at most. */
const bytesMax = 4_194_304

export class FilePolicySource implements PolicySource {
  readonly name: string
  readonly text: string
  private readonly everyMs: number

  private constructor(name: string, text: string, everyMs: number) {
    this.name = name
    this.text = text
    this.everyMs = everyMs
  }

  static async open(path: string, everyMs: number): Promise<FilePolicySource> {
    const name = resolve(path)
    try {
      return new FilePolicySource(name, await textOf(name), everyMs)
    } catch (error) {
      throw new ConfigError(`policyFile: ${name} cannot be read: ${(error as Error).message}`)
    }
  }

  read(): Promise<string> {
    return textOf(this.name)
  }

  watch(changed: () => void): () => void {
    // At the first look it may have changed since it was opened.
    let seen = ''
    let isLooking = false
    const look = async (): Promise<void> => {
      if (isLooking) return
      isLooking = true
      const now = await stat(this.name).then(
        ({ mtimeMs, size, ino }) => `${mtimeMs} ${size} ${ino}`,
        (error: NodeJS.ErrnoException) => `${error.code}`,
      )
      isLooking = false
      if (now === seen) return
      seen = now
      changed()
    }
    const looking = setInterval(() => void look(), this.everyMs).unref()
    return () => clearInterval(looking)
  }
}

async function textOf(path: string): Promise<string> {
  const { size } = await stat(path)
  if (size > bytesMax) throw new Error(`it has ${size} bytes, at most ${bytesMax} are read`)
  return readFile(path, 'utf8')
}

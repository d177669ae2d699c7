/**
 * Traces as JSON lines: `<folder>/<run>.jsonl`, to be read with any tool. A line is one entry. What was acknowledged is
 * flushed to disk; a line that a crash cut off is left out when read, and ended before the next one is written.
 */
import { mkdir, open, readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ConfigError, StoreError } from '../../errors.js'
import type { TraceEntry, TraceStore } from '../../mesh/ports/trace-store.js'

export interface JsonlTraceOptions {
  /** How long a run's trace is kept after its last entry, ms, at least 1. Default 30 days. */
  readonly retentionMs?: number
}

const dayMs = 86_400_000
const ending = '.jsonl'
/** How often old files are looked for. */
const sweepMs = dayMs

export class JsonlTraceStore implements TraceStore {
  private readonly folder: string
  private readonly retentionMs: number
  private sweptAt = -Infinity
  /** Appends are made one after the other, so that no two of them write the same line. */
  private last: Promise<unknown> = Promise.resolve()

  /** @param folder is created if it does not exist */
  constructor(folder: string, { retentionMs = 30 * dayMs }: JsonlTraceOptions = {}) {
    if (!(retentionMs >= 1)) throw new ConfigError(`retentionMs: expected at least 1 ms, got ${retentionMs}.`)
    this.folder = folder
    this.retentionMs = retentionMs
  }

  append(entries: readonly TraceEntry[]): Promise<void> {
    const appended = this.last.then(() => this.write(entries))
    this.last = appended.catch(() => {})
    return appended
  }

  private async write(entries: readonly TraceEntry[]): Promise<void> {
    const byRun = new Map<string, string>()
    for (const entry of entries) byRun.set(entry.run, `${byRun.get(entry.run) ?? ''}${JSON.stringify(entry)}\n`)
    try {
      await mkdir(this.folder, { recursive: true })
      for (const [run, lines] of byRun) await this.appendTo(run, lines)
      await this.sweep()
    } catch (error) {
      throw new StoreError(`The trace cannot be written to ${this.folder}: ${(error as Error).message}. Make room, or let this process write there.`, 'unknown', error)
    }
  }

  private async appendTo(run: string, lines: string): Promise<void> {
    const file = await open(this.fileOf(run), 'a+')
    try {
      const { size } = await file.stat()
      const { buffer } = await file.read(Buffer.alloc(1), 0, 1, Math.max(0, size - 1))
      // The last append of a process that died may have stopped within a line.
      const isTorn = size > 0 && buffer[0] !== 0x0a
      await file.appendFile(isTorn ? `\n${lines}` : lines)
      await file.datasync()
    } finally {
      await file.close()
    }
  }

  async read(run: string): Promise<readonly TraceEntry[]> {
    let text: string
    try {
      text = await readFile(this.fileOf(run), 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw new StoreError(`The trace of ${run} cannot be read from ${this.folder}: ${(error as Error).message}.`, 'failed', error)
    }
    return text.split('\n').flatMap((line) => {
      try {
        return line === '' ? [] : [JSON.parse(line) as TraceEntry]
      } catch {
        return []
      }
    })
  }

  /** Ids of the runs of which there are traces. */
  async runs(): Promise<readonly string[]> {
    const names = await readdir(this.folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return []
      throw new StoreError(`The traces in ${this.folder} cannot be listed: ${error.message}.`, 'failed', error)
    })
    return names.filter((name) => name.endsWith(ending)).map((name) => name.slice(0, -ending.length).replaceAll('%3A', ':')).sort()
  }

  /** Removes files of runs that nothing has happened in for long. */
  private async sweep(): Promise<void> {
    const now = performance.now()
    if (now - this.sweptAt < sweepMs) return
    this.sweptAt = now
    for (const name of await readdir(this.folder)) {
      if (!name.endsWith(ending)) continue
      const path = join(this.folder, name)
      const stats = await stat(path).catch(() => undefined)
      if (stats && Date.now() - stats.mtimeMs > this.retentionMs) await rm(path, { force: true })
    }
  }

  /** Run ids have no character that a file name could not have, but for `:`, which some systems do not take. */
  private fileOf(run: string): string {
    return join(this.folder, `${run.replaceAll(':', '%3A')}${ending}`)
  }

  async close(): Promise<void> {
    await this.last
  }
}

/** The trace of the calls in a folder: `createMesh({ traces: jsonlTraces('./traces') })`. */
export function jsonlTraces(folder: string, options?: JsonlTraceOptions): TraceStore {
  return new JsonlTraceStore(folder, options)
}

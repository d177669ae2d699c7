/** Traces in memory, for tests. */
import type { TraceEntry, TraceStore } from '../../mesh/ports/trace-store.js'

export class MemoryTraceStore implements TraceStore {
  private readonly byRun: Map<string, TraceEntry[]>

  /** @param byRun what several stores share, as processes share a server */
  constructor(byRun: Map<string, TraceEntry[]> = new Map()) {
    this.byRun = byRun
  }

  append(entries: readonly TraceEntry[]): Promise<void> {
    for (const entry of entries) {
      const known = this.byRun.get(entry.run)
      if (known) known.push(entry)
      else this.byRun.set(entry.run, [entry])
    }
    return Promise.resolve()
  }

  read(run: string): Promise<readonly TraceEntry[]> {
    return Promise.resolve([...(this.byRun.get(run) ?? [])])
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

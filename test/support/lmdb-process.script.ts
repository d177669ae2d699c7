/** A process that has an LMDB store open and does with it what `LmdbProcess` says, one call a line. It ends with its stdin. */
import { createInterface } from 'node:readline'
import { deserialize, serialize } from 'node:v8'
import type { Environment } from '../../src/adapters/lmdb/environment.js'
import { LmdbStore, processIdentity, type LmdbStoreOptions, type ProcessIdentity } from '../../src/adapters/lmdb/index.js'
import type { Appended, Entry, Lease, NewEntry, OpenOptions, StoreInfo } from '../../src/runtime/ports/store.js'
import { commitOf, sealed } from './lmdb-data.js'

let store: LmdbStore | undefined

function opened(): LmdbStore {
  if (!store) throw new Error('no store is open here')
  return store
}

/** By the clock that all processes share, ms. */
const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6
const never = new AbortController().signal

const calls = {
  async open(path: string, options: OpenOptions, storeOptions?: LmdbStoreOptions): Promise<StoreInfo> {
    store = new LmdbStore(path, storeOptions)
    return store.open(options)
  },
  async store(method: keyof LmdbStore, ...args: unknown[]): Promise<unknown> {
    return (opened()[method] as (...args: unknown[]) => unknown)(...args)
  },
  /** Waits for ever if nothing comes. */
  async read(shard: number, after: number): Promise<{ entries: readonly Entry[]; atMs: number }> {
    const entries = await opened().read(shard, after, 1_000, never)
    return { entries, atMs: nowMs() }
  },
  async append(shard: number, entries: readonly NewEntry[]): Promise<{ appended: readonly Appended[]; beganMs: number; acknowledgedMs: number }> {
    const beganMs = nowMs()
    const appended = await opened().append(shard, entries)
    return { appended, beganMs, acknowledgedMs: nowMs() }
  },
  async identity(): Promise<ProcessIdentity> {
    return processIdentity()
  },
  /** Becomes another user, and stays it. */
  async become(uid: number): Promise<void> {
    process.setgid?.(uid)
    process.setuid?.(uid)
  },
  /** Commits under the lease and appends to another shard, many at once, until it is killed; and tells of each when it is acknowledged. */
  async writeOn(lease: Lease, number: number, toShard: number): Promise<void> {
    let next = number
    const commit = async (): Promise<void> => {
      for (;;) {
        const own = next++
        const result = await opened().commit(commitOf(lease, own, partsOf(own)))
        tell(result.ok ? { committed: own } : { refused: result.detail })
      }
    }
    const append = async (lane: number): Promise<void> => {
      for (let i = 0; ; i++) {
        const id = `${process.pid}.${lane}.${i}`
        const text = sealed(id, (i * 97) % 5_000)
        const [appended] = await opened().append(toShard, [{ id, to: 'm/log', text }])
        tell(typeof appended === 'object' ? { appended: appended.seq, text } : { refused: String(appended) })
      }
    }
    for (let lane = 0; lane < 3; lane++) void commit()
    for (let lane = 0; lane < 6; lane++) void append(lane)
  },
  /** Begins a transaction and stays in it, as a process does that hangs. */
  async hang(): Promise<void> {
    const { environment } = (opened() as unknown as { opened: { environment: Environment } }).opened
    void environment.write(() => {
      tell({ hanging: true })
      for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
    })
  },
}
export type LmdbCalls = typeof calls

/** What a process tells without being asked. */
export type LmdbNews = { readonly committed: number } | { readonly appended: number; readonly text: string } | { readonly refused: string } | { readonly hanging: true } | { readonly ready: true }

/** What the commit of that number writes: three records that say the same. */
export function partsOf(number: number): { address: string; life: 'created'; fields: Map<string, string>; logs: { stream: string; text: string; max: number }[] }[] {
  return ['m/a', 'm/b', 'm/c'].map((address) => ({
    address,
    life: 'created',
    fields: new Map([
      ['number', String(number)],
      ['text', sealed(`${address} ${number}`, (number * 131) % 9_000)],
    ]),
    logs: [{ stream: address, text: String(number), max: 50 }],
  }))
}

/** To a pipe Node writes at once: what has been told was told before the process died. */
function tell(news: unknown): void {
  process.stdout.write(`${serialize(news).toString('base64')}\n`)
}

function plain(error: unknown): object {
  const { name, message, code, outcome, stack } = error as Record<string, unknown>
  return { name, message, code, outcome, stack }
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const { id, method, args } = deserialize(Buffer.from(line, 'base64')) as { id: number; method: keyof LmdbCalls; args: unknown[] }
    ;(calls[method] as (...args: unknown[]) => Promise<unknown>)(...args).then(
      (result) => tell({ id, result }),
      (error: unknown) => tell({ id, error: plain(error) }),
    )
  })
  .on('close', () => process.exit())
tell({ ready: true })

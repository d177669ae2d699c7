/**
 * What every trace store must do, as cases for any test runner:
 *
 * ```ts
 * for (const { name, run } of traceStoreContract({ create })) test(name, run)
 * ```
 */
import assert from 'node:assert/strict'
import type { TraceEntry, TraceStore } from '../mesh/ports/trace-store.js'

export interface TraceStoreDatabase {
  /** Another connection to the same data, as another process would have. */
  connect(): TraceStore
  dispose(): Promise<void>
}

export interface TraceStoreContractOptions {
  create(): Promise<TraceStoreDatabase>
}

export interface TraceStoreCase {
  readonly name: string
  run(): Promise<void>
}

function entry(run: string, n: number, text = ''): TraceEntry {
  const amounts = { tokens: n, calls: 1, nanoDollars: 0 }
  return {
    run,
    by: `agent/${run}~a@${n}`,
    at: n,
    value: { half: 'outcome', attempt: `call.${n}`, ok: true, cost: amounts, response: { text }, error: null },
  }
}

export function traceStoreContract({ create }: TraceStoreContractOptions): TraceStoreCase[] {
  const cases: TraceStoreCase[] = []
  const add = (name: string, body: (database: TraceStoreDatabase) => Promise<void>): void => {
    cases.push({
      name,
      async run() {
        const database = await create()
        try {
          await body(database)
        } finally {
          await database.dispose()
        }
      },
    })
  }

  add('a run of which nothing is known has no entries', async (database) => {
    assert.deepEqual(await database.connect().read('r'), [])
  })

  add('entries are read in the order in which they were appended, by every connection', async (database) => {
    const [a, b] = [database.connect(), database.connect()]
    await a.append([entry('r', 1), entry('r', 2)])
    await b.append([entry('r', 3)])
    await a.append([entry('r', 4)])
    for (const store of [a, b, database.connect()]) assert.deepEqual(await store.read('r'), [1, 2, 3, 4].map((n) => entry('r', n)))
  })

  add('runs are apart from each other, whatever their ids have in common', async (database) => {
    const store = database.connect()
    const ids = ['r', 'r.1', 'R:1', 'r-1', 'r_1', '..', '-', 'a'.repeat(200)]
    await store.append(ids.map((id, i) => entry(id, i)))
    for (const [i, id] of ids.entries()) assert.deepEqual(await store.read(id), [entry(id, i)])
  })

  add('an entry is kept as it is, whatever is in it', async (database) => {
    const store = database.connect()
    const entries = ['', 'ä€😀', '\u0000\u0001', '\r\n', '\u2028\u2029', '"\\', '\ud800', 'x'.repeat(1_000_000)].map((text, i) => entry('r', i, text))
    for (const one of entries) await store.append([one])
    assert.deepEqual(await store.read('r'), entries)
  })

  add('thousands of entries are all there', async (database) => {
    const store = database.connect()
    const entries = Array.from({ length: 3_000 }, (_, i) => entry('r', i))
    await Promise.all(Array.from({ length: 30 }, (_, i) => store.append(entries.slice(100 * i, 100 * (i + 1)))))
    const read = await store.read('r')
    assert.deepEqual([...read].sort((a, b) => a.at - b.at), entries)
  })

  add('nothing is appended by an empty append', async (database) => {
    const store = database.connect()
    await store.append([])
    assert.deepEqual(await store.read('r'), [])
  })

  add('a closed store has kept all that it acknowledged', async (database) => {
    const store = database.connect()
    await store.append([entry('r', 1)])
    await store.close()
    assert.deepEqual(await database.connect().read('r'), [entry('r', 1)])
  })
  return cases
}

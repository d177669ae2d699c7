import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { LmdbStore, processIdentity } from '../../src/adapters/lmdb/index.js'
import type { Store } from '../../src/runtime/ports/store.js'
import { storeContract, type ContractDatabase, type Fault } from '../../src/testing/index.js'
import { faults, insistent } from '../support/insistent-store.js'

/** Each case has a folder of its own. `identify`: owners are known to live, so that no counter takes a shard from them. */
async function create(identify: boolean, fault?: Fault): Promise<ContractDatabase> {
  const path = await mkdtemp(join(tmpdir(), 'holdfast-lmdb-'))
  const stores: LmdbStore[] = []
  const connect = (): Store => {
    const store = new LmdbStore(path, { identify })
    stores.push(store)
    return store
  }
  return {
    connect: () => (fault ? insistent(connect, fault) : connect()),
    node: (id) => (identify ? { id, process: processIdentity() } : { id }),
    async dispose() {
      await Promise.all(stores.map((store) => store.close()))
      await rm(path, { recursive: true })
    },
  }
}

describe('the store contract on LMDB', () => {
  const cases = storeContract({ create: () => create(false), sharesShards: false })
  for (const { name, run } of cases) test(name, run)
  test('all cases ran', () => expect(cases.length).toBeGreaterThan(50))
})

describe('the store contract on LMDB with owners that are known to live', () => {
  const cases = storeContract({ create: () => create(true), takesOverByCounter: false, sharesShards: false })
  for (const { name, run } of cases) test(name, run)
})

describe.each(faults)('the store contract on LMDB where every third write %s', (_, fault) => {
  const cases = storeContract({ create: () => create(false, fault), sharesShards: false })
  for (const { name, strict, run } of cases) if (!strict) test(name, run)
})

import { expect } from 'vitest'
import type { ActorSystem, Store } from '../../src/index.js'
import { shardOf, type Address } from '../../src/runtime/identity.js'
import { isCut, largeValuePrefix, readCut, wholeFields, type StoredFields } from '../../src/runtime/stored-record.js'

/** A record has the large values that its fields refer to, and no others. Returns how many that are. */
export function expectLargeValues(address: string, stored: StoredFields): number {
  const names = [...stored.keys()].filter((name) => name.startsWith(largeValuePrefix))
  const referred = new Set([...stored].filter(([name, sealed]) => !name.startsWith(largeValuePrefix) && isCut(sealed)).flatMap(([, sealed]) => readCut(sealed).places.map(([, digest]) => largeValuePrefix + digest)))
  expect(names.sort(), `the large values of ${address}`).toEqual([...referred].sort())
  wholeFields(address as Address, stored)
  return names.length
}

/** The same of all actors. */
export async function expectLargeValuesOf(system: ActorSystem, store: Store, shards: number): Promise<number> {
  let count = 0
  for (const { address } of (await system.find({ limit: 1_000 })).actors) {
    const [record] = await store.load(shardOf(address, shards), [address])
    count += expectLargeValues(address, record!.fields)
  }
  return count
}

import { describe, expect, test } from 'vitest'
import { MemoryDatabase, MemoryStore } from '../../src/adapters/memory/index.js'
import { FaultyStore, storeContract, type ContractDatabase, type Fault } from '../../src/testing/index.js'
import { insistent } from '../support/insistent-store.js'

async function create(): Promise<ContractDatabase> {
  const database = new MemoryDatabase()
  return { connect: () => new MemoryStore({ database }), node: (id) => ({ id }), dispose: async () => {} }
}

describe('the store contract on memory', () => {
  const cases = storeContract({ create })
  for (const { name, run } of cases) test(name, run)
  test('all cases ran', () => expect(cases.length).toBeGreaterThan(50))
})

describe.each(['fail', 'lose-reply'] as const)('the store contract on memory behind a wrapper that lets every third write %s', (fault) => {
  let count = 0
  const onWrite = (): Fault | undefined => (count++ % 3 === 1 ? fault : undefined)
  const cases = storeContract({
    create: async () => {
      const database = await create()
      return { ...database, connect: () => insistent(new FaultyStore(database.connect(), { onWrite })) }
    },
  })
  for (const { name, strict, run } of cases) if (!strict) test(name, run)
})

import { describe, expect, test } from 'vitest'
import { MemoryDatabase, MemoryStore } from '../../src/adapters/memory/index.js'
import { storeContract, type ContractDatabase } from '../../src/testing/index.js'
import { faults, insistent } from '../support/insistent-store.js'

async function create(): Promise<ContractDatabase> {
  const database = new MemoryDatabase()
  return { connect: () => new MemoryStore({ database }), node: (id) => ({ id }), dispose: async () => {} }
}

describe('the store contract on memory', () => {
  const cases = storeContract({ create })
  for (const { name, run } of cases) test(name, run)
  test('all cases ran', () => expect(cases.length).toBeGreaterThan(50))
})

describe.each(faults)('the store contract on memory where every third write %s', (_, fault) => {
  const cases = storeContract({
    create: async () => {
      const database = await create()
      return { ...database, connect: () => insistent(database.connect, fault) }
    },
  })
  for (const { name, strict, run } of cases) if (!strict) test(name, run)
})

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { RedisStore } from '../../src/adapters/redis/index.js'
import type { Store } from '../../src/runtime/ports/store.js'
import { storeContract, type ContractDatabase, type Fault } from '../../src/testing/index.js'
import { faults, insistent } from '../support/insistent-store.js'
import { RedisCluster } from '../support/redis-cluster.js'
import { RedisServer } from '../support/redis-server.js'

let server: RedisServer
let cluster: RedisCluster
let databases = 0
beforeAll(async () => {
  ;[server, cluster] = await Promise.all([RedisServer.start(), RedisCluster.start({ primaries: 3, replicas: 0 })])
}, 60_000)
afterAll(() => Promise.all([server.stop(), cluster.stop()]))

/** One server for all cases; each has keys of its own. */
async function create(fault?: Fault, on: { readonly url: string } = server): Promise<ContractDatabase> {
  const keyPrefix = `case-${databases++}`
  const stores: RedisStore[] = []
  const connect = (): Store => {
    const store = new RedisStore(on.url, { keyPrefix })
    stores.push(store)
    return store
  }
  return {
    connect: () => (fault ? insistent(connect, fault) : connect()),
    node: (id) => ({ id }),
    async dispose() {
      await Promise.all(stores.map((store) => store.close()))
    },
  }
}

describe('the store contract on Redis', () => {
  const cases = storeContract({ create })
  for (const { name, run } of cases) test(name, run)
  test('all cases ran', () => expect(cases.length).toBeGreaterThan(50))
})

describe.each(faults)('the store contract on Redis where every third write %s', (_, fault) => {
  const cases = storeContract({ create: () => create(fault) })
  for (const { name, strict, run } of cases) if (!strict) test(name, run)
})

describe('the store contract on Redis Cluster', () => {
  for (const { name, run } of storeContract({ create: () => create(undefined, cluster) })) test(name, run)
})

/** A node of a namespace on Redis, until SIGTERM. Arguments: the server's address, or the options of ioredis as JSON; the node's name; its lease in ms. */
import type { RedisOptions } from 'ioredis'
import { createActorSystem } from '../../src/index.js'
import { redisStore } from '../../src/adapters/redis/index.js'
import { tally } from './tally.js'

const [url, id, leaseMs] = process.argv.slice(2) as [string, string, string]
const target = url.startsWith('{') ? (JSON.parse(url) as RedisOptions) : url
const system = createActorSystem({ store: redisStore(target), machines: [tally], node: { id }, leaseMs: Number(leaseMs) })
process.on('SIGTERM', () => void system.stop().then(() => process.exit(0)))
await system.start()
console.log('started')
let before = ''
setInterval(() => {
  const now = system.owned.shards.join(' ')
  if (now !== before) console.log(`owns ${now}`)
  before = now
}, 5)

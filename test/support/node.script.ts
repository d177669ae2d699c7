/** A node of a namespace on Redis, until SIGTERM. Arguments: the server's address, or the options of ioredis as JSON; the node's name; its lease in ms; and which builds of the machine it has, `1`, `2` or `12`, else the one without a version. */
import type { RedisOptions } from 'ioredis'
import { createActorSystem } from '../../src/index.js'
import { redisStore } from '../../src/adapters/redis/index.js'
import { tally, tallyBuild } from './tally.js'

const [url, id, leaseMs, builds] = process.argv.slice(2) as [string, string, string, string?]
const target = url.startsWith('{') ? (JSON.parse(url) as RedisOptions) : url
const system = createActorSystem({ store: redisStore(target), machines: builds === undefined ? [tally] : builds.split('').map((version) => tallyBuild(version as '1' | '2')), node: { id }, leaseMs: Number(leaseMs) })
process.on('SIGTERM', () => void system.stop().then(() => process.exit(0)))
await system.start()
console.log('started')
let before = ''
setInterval(() => {
  const now = system.owned.shards.join(' ')
  if (now !== before) console.log(`owns ${now}`)
  before = now
}, 5)

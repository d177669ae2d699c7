/**
 * A receiver of idempotency keys in a process of its own, on Redis: `charge-server.script.ts <redis url> <file> <kill at>`. It pays by
 * appending a line to the file, and dies, once, where it is told to: that is all that a power cut leaves.
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { idempotent, nodeListener, type IdempotencyStore } from '../../src/adapters/http/index.js'
import { redisIdempotency } from '../../src/adapters/redis/index.js'

const [url, file, killAt] = process.argv.slice(2) as [string, string, string]
function here(point: string): void {
  if (point !== killAt || existsSync(`${file}.killed`)) return
  writeFileSync(`${file}.killed`, '')
  process.kill(process.pid, 'SIGKILL')
}
const payments = (): readonly string[] => (existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n') : [])

const redis = redisIdempotency(url)
const store: IdempotencyStore = {
  begin: async (key, begin) => {
    here('before the key is begun')
    const known = await redis.begin(key, begin)
    here('after the key is begun')
    return known
  },
  renew: (key, token, leaseMs) => redis.renew(key, token, leaseMs),
  end: async (key, token, end, retentionMs) => {
    here('before the answer is kept')
    const had = await redis.end(key, token, end, retentionMs)
    here('after the answer is kept')
    return had
  },
  close: () => redis.close(),
}
const charge = idempotent(
  {
    store,
    leaseMs: 100,
    reconcile: async ({ key }) => {
      const at = payments().indexOf(key)
      return at === -1 ? { happened: false } : { happened: true, response: Response.json({ id: `ch_${at}` }, { status: 201 }) }
    },
  },
  async (request) => {
    await request.json()
    here('before it is paid')
    const key = request.headers.get('idempotency-key')!.slice(1, -1)
    appendFileSync(file, `${key}\n`)
    here('after it is paid')
    return Response.json({ id: `ch_${payments().indexOf(key)}` }, { status: 201 })
  },
)
const server = createServer(nodeListener(charge)).listen(Number(process.env['PORT'] ?? 0), '127.0.0.1', () => console.log((server.address() as AddressInfo).port))

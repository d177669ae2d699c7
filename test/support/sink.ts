/**
 * A receiver as `holdfast research --help` asks for, as a process of its own: it flushes each key with what came under it to
 * disk before it answers, executes a key once, and answers by key. Arguments: the folder of its `log` and of what it took, a
 * file for each digest; how long an answer takes at most, ms; and its port, by default a free one.
 *
 * POST with `Idempotency-Key`: 201 executed, 200 had been, 422 the key came with another text before (as in the draft of the header's standard). GET with it: 200 with the SHA-256 of what was taken, or 404.
 */
import { createHash } from 'node:crypto'
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const [folder, slowMs = '0', port = '0'] = process.argv.slice(2) as [string, string?, string?]
const file = join(folder, 'log')
const known = new Map<string, string>()
if (existsSync(file)) for (const line of readFileSync(file, 'utf8').split('\n')) if (line !== '') known.set(...(line.split(' ').slice(1) as [string, string]))
const log = openSync(file, 'a')

function write(what: 'executed' | 'repeated' | 'conflict', key: string, digest: string, path: string): void {
  writeSync(log, `${what} ${key} ${digest} ${path}\n`)
  fsyncSync(log)
}

const server = createServer((request, response) => {
  const key = request.headers['idempotency-key'] as string | undefined
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    void (async () => {
      if (key === undefined) return response.writeHead(400).end('no key')
      const text = Buffer.concat(chunks)
      const digest = createHash('sha256').update(text).digest('hex')
      const before = known.get(key)
      if (request.method === 'GET') return before === undefined ? response.writeHead(404).end() : response.writeHead(200).end(`${key} ${before}`)
      // Half of the time the answer is slow before the text is taken, half of the time after.
      const waits = Math.random() * Number(slowMs)
      const early = Math.random() < 0.5
      if (early) await sleep(waits)
      if (known.has(key)) {
        const same = known.get(key) === digest
        write(same ? 'repeated' : 'conflict', key, digest, request.url!)
        return response.writeHead(same ? 200 : 422).end(`${key} ${known.get(key)}`)
      }
      known.set(key, digest)
      writeFileSync(join(folder, `${digest}.md`), text, { flush: true })
      write('executed', key, digest, request.url!)
      if (!early) await sleep(waits)
      return response.writeHead(201).end(`${key} ${digest}`)
    })()
  })
})
server.listen(Number(port), '127.0.0.1', () => console.log((server.address() as AddressInfo).port))
process.stdin.resume().on('end', () => {
  closeSync(log)
  process.exit(0)
})

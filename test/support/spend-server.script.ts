/**
 * A provider in a process of its own that writes each call down before it answers: `spend-server.script.ts <file>`. Each
 * line, flushed to the disk, is a run and what the call costs it in nano-dollars.
 */
import { fsyncSync, openSync, writeSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const file = openSync(process.argv[2]!, 'a')
let calls = 0
const server = createServer((request, response) => {
  let body = ''
  request.setEncoding('utf8').on('data', (text: string) => (body += text))
  request.on('end', () => {
    const { run, answer, nanoPerToken } = JSON.parse(body) as { run: string; answer: string; nanoPerToken: number }
    calls++
    // Some calls are refused before any work, as an overloaded provider does.
    const isBusy = calls % 7 === 0
    writeSync(file, `${JSON.stringify({ run, nanoDollars: isBusy ? 0 : answer.length * nanoPerToken })}\n`)
    fsyncSync(file)
    setTimeout(() => response.writeHead(isBusy ? 529 : 200).end(answer), 20)
  })
})
server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port))

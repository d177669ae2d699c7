/**
 * A provider in a process of its own, which has an outage by script. It is the witness of what came: it says what it was
 * asked, when, and how that ended. Arguments: seed, and the times that a sound answer takes, from and to, ms. On stdin:
 * `begin <script as JSON>`, `tell`.
 */
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { AnthropicServer, answer, errorEvent, events, eventsOf, failure, json, overloaded, rateLimited, silence, stopAfter, type RecordedRequest, type Reply } from './anthropic-server.js'
import { answerTo, apiKey } from './outage-job.js'
import type { OutageScript, ProviderSays, Received, Trouble } from './outage.js'
import { Random } from './random.js'

const [seed, fromMs, toMs] = process.argv.slice(2).map(Number) as [number, number, number]
const random = new Random(seed)
const first = await AnthropicServer.start({ apiKey })
const second = await AnthropicServer.start({ apiKey })
const received: Received[] = []
const phases: { trouble: Trouble; from: number; to: number }[] = []
let trouble: Trouble | undefined
let retryAfterMs = 0
const now = (): number => performance.now()

/** Failing takes little time, an answer takes its own, and what is under way when trouble begins is troubled. */
async function reply(request: RecordedRequest, isFirst: boolean): Promise<Reply> {
  const one: Received = { provider: isFirst ? 'anthropic' : 'backup', at: now(), endedAt: null, met: null, billed: null }
  received.push(one)
  const end = (): void => void (one.endedAt ??= now())
  void request.hungUp.then(end)
  const servedMs = fromMs + random.next() * (toMs - fromMs)
  for (let left = servedMs; left > 0 && !(isFirst && trouble); left -= 10) await sleep(Math.min(10, left))
  if (isFirst && trouble) await sleep(1 + random.next() * 10)
  one.met = isFirst ? (trouble ?? null) : null
  const said = one.met === null ? sound(request, one) : troubled(one.met, request, one)
  if (said.ending !== 'hang') end()
  return said
}

function sound(request: RecordedRequest, one: Received): Reply {
  const { system, messages } = request.body
  const agent = typeof system === 'string' ? system : (system?.[0]?.text ?? '')
  const { content } = messages[0]!
  const prompt = typeof content === 'string' ? content : content.map(({ text }) => text).join('')
  const text = JSON.stringify(answerTo(agent, prompt))
  const usage = { input: Math.ceil(prompt.length / 4), output: Math.ceil(text.length / 4) }
  one.billed = usage
  return answer({ text, usage })(request)
}

/** What it says while it has trouble. What of that costs money, it knows; we do not always. */
function troubled(met: Trouble, request: RecordedRequest, one: Received): Reply {
  const half = answer({ text: ['{"claim":', '"There'], usage: { input: 30, output: 400 } })
  switch (met) {
    case '429 with retry-after':
      return failure(429, 'rate_limit_error', 'This request would exceed your rate limit', { headers: { 'retry-after-ms': String(retryAfterMs) } })
    case '429 without':
      return rateLimited()
    case '5xx':
      return random.pick([failure(500, 'api_error', 'Internal server error'), failure(503, 'api_error', 'Service unavailable'), failure(502, 'api_error', 'Bad gateway'), json(504, 'upstream timed out')])
    case '529':
      return random.pick([overloaded(), events([...eventsOf({ text: 'part' }, request.body.model).slice(0, 4), errorEvent('overloaded_error', 'Overloaded')])])
    case 'hangs':
      one.billed = { input: 30, output: 0 }
      return random.pick([silence('hang'), stopAfter(2, 'hang', half)(request)])
    case 'garbage':
      return random.pick<Reply>([
        { headers: { 'content-type': 'text/html' }, chunks: ['<html><body>It works!</body></html>'] },
        json(200, { hello: 'world' }),
        { headers: { 'content-type': 'text/event-stream' }, chunks: ['event: message_start\ndata: {"type":"message_st', '\n\n'] },
      ])
    case 'cut streams':
      one.billed = { input: 30, output: 2 }
      return random.pick([silence('cut'), stopAfter(4, 'cut', half)(request)])
  }
}

first.otherwise((request) => reply(request, true))
second.otherwise((request) => reply(request, false))
console.log(JSON.stringify([first.baseURL, second.baseURL]))
for await (const line of createInterface(process.stdin)) {
  const [command, rest] = [line.split(' ', 1)[0], line.slice(line.indexOf(' ') + 1)]
  if (command === 'begin') void play(JSON.parse(rest) as OutageScript)
  if (command === 'tell') {
    // Throws if a request came that the API would not take.
    for (const server of [first, second]) server.verify()
    console.log(JSON.stringify({ received, phases } satisfies ProviderSays))
  }
}
process.exit(0)

async function play(script: OutageScript): Promise<void> {
  retryAfterMs = script.retryAfterMs
  const over = (): number => received.filter(({ endedAt }) => endedAt !== null).length
  while (over() < script.beginsAfter || received.length - over() < script.beginsWith) await sleep(5)
  console.log('began')
  for (const { trouble: next, ms } of script.phases) {
    const from = now()
    trouble = next
    await sleep(ms)
    phases.push({ trouble: next, from, to: now() })
  }
  trouble = undefined
  console.log('over')
}

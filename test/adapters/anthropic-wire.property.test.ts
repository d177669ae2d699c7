/**
 * The Anthropic adapter under every cut and under damaged bytes: an answer is whole or there is none, the tokens named
 * so far are never lost, nothing but the port's error is thrown, and what the provider says in an error cannot carry the
 * prompt.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { anthropic } from '../../src/adapters/anthropic/index.js'
import { providerWords } from '../../src/adapters/anthropic/provider-words.js'
import { ModelError, type ModelClient, type ModelRequest, type ModelResponse } from '../../src/mesh/ports/model-client.js'
import { AnthropicServer, eventsOf, sse, type Reply } from '../support/anthropic-server.js'
import { extent, firstSeed } from '../support/extent.js'
import { Random } from '../support/random.js'

const runs = extent(100)
const seeds = Array.from({ length: runs }, (_, index) => firstSeed + index)
const range = `${runs} runs (seeds ${firstSeed} to ${firstSeed + runs - 1})`

let server: AnthropicServer
let model: ModelClient

beforeAll(async () => {
  server = await AnthropicServer.start()
  model = anthropic({ apiKey: server.apiKey, baseURL: server.baseURL, answerBytesMax: 65_536 })
})

afterAll(async () => {
  server.verify()
  await server.stop()
})

const request: ModelRequest = {
  model: 'claude-opus-4-6',
  messages: [{ role: 'user', content: 'Go.' }],
  maxTokens: 100,
  schema: { type: 'object', properties: { a: { type: 'string' } }, additionalProperties: false },
  task: { agent: 'a', input: null },
}

function outcomeOf(reply: Reply): Promise<ModelResponse | ModelError> {
  server.next({ headers: { 'content-type': 'text/event-stream' }, ...reply })
  return model.complete(request, { signal: new AbortController().signal, idempotencyKey: 'k' }).catch((thrown: unknown) => {
    if (thrown instanceof ModelError) return thrown
    throw thrown
  })
}

const text = '{"a":"žluť 😀"}'
const parts = eventsOf({ text: [text.slice(0, 8), text.slice(8)], thinking: 'hm', usage: { input: 30, output: 12, cacheRead: 5, cacheWrite: 6 } }, 'claude-opus-4-6').map((event) => Buffer.from(sse(event)))
const wire = Buffer.concat(parts)
/** Where each event ends. */
const ends = parts.map((_, index) => Buffer.concat(parts.slice(0, index + 1)).length)
const [promptNamed, answerNamed, whole] = [ends[0]!, ends.at(-2)!, ends.at(-1)!]
/** Every place near the end of an event, and of the others every tenth. */
const places = Array.from({ length: whole + 1 }, (_, bytes) => bytes).filter((bytes) => bytes % 10 === 0 || ends.some((end) => Math.abs(end - bytes) <= 3))

describe.each([
  ['ends in good order', 'end'],
  ['is cut off', 'cut'],
] as const)('a stream that %s', (_, ending) => {
  test(`is a failed connection that names the tokens so far, and only its last byte makes it an answer (${places.length} places of ${whole} bytes)`, async () => {
    for (const bytes of places) {
      const outcome = await outcomeOf({ chunks: [wire.subarray(0, bytes)], ending })
      const seen = outcome instanceof ModelError ? { kind: outcome.kind, retryable: outcome.retryable, isUsageFinal: outcome.isUsageFinal } : { text: outcome.text, parsed: outcome.parsed }
      expect(seen, `${bytes} bytes`).toEqual(bytes < whole ? { kind: 'connection', retryable: true, isUsageFinal: bytes >= answerNamed } : { text, parsed: { a: 'žluť 😀' } })
      const prompt = { inputTokens: 30, cacheReadTokens: 5, cacheWriteTokens: 6 }
      expect(outcome.usage, `${bytes} bytes`).toEqual(bytes < promptNamed ? undefined : { ...prompt, outputTokens: bytes < answerNamed ? 1 : 12 })
    }
  })
})

test(`any split of the bytes gives the same answer, over ${range}`, async () => {
  for (const seed of seeds) {
    const random = new Random(seed)
    const chunks: Buffer[] = []
    for (let at = 0; at < wire.length; ) {
      const next = at + 1 + random.below(random.chance(0.5) ? 8 : 200)
      chunks.push(wire.subarray(at, next))
      at = next
    }
    expect(await outcomeOf({ chunks }), `seed ${seed}`).toMatchObject({ text, stopReason: 'end' })
  }
})

test(`damaged bytes end in an answer with whole numbers of tokens or in the port's error, over ${range}`, async () => {
  const kinds: Record<string, number> = {}
  for (const seed of seeds) {
    const random = new Random(seed)
    const bytes = Buffer.from(wire)
    for (let damage = 1 + random.below(4); damage > 0; damage--) {
      const at = random.below(bytes.length)
      if (random.chance(0.3)) bytes.copy(bytes, at, random.below(bytes.length), bytes.length)
      else bytes[at] = random.chance(0.5) ? random.below(256) : random.pick([...Buffer.from('{}[]",:\\\n\r 0-')])
    }
    const outcome = await outcomeOf({ chunks: [bytes] })
    if (outcome.usage) for (const tokens of Object.values(outcome.usage)) expect(Number.isSafeInteger(tokens) && tokens >= 0, `seed ${seed}`).toBe(true)
    const kind = outcome instanceof ModelError ? outcome.kind : 'answer'
    kinds[kind] = (kinds[kind] ?? 0) + 1
  }
  console.log(`damaged bytes: ${JSON.stringify(kinds)}`)
})

describe('the words of the provider', () => {
  const none = (): boolean => false

  test.for([
    ['max_tokens: 300000 > 128000, which is the maximum allowed number of output tokens for claude-opus-4-6'],
    ['prompt is too long: 208310 tokens > 200000 maximum'],
    ['messages: at least one message is required'],
    ['messages.0.content: Input should be a valid string'],
    ['messages: text content blocks must be non-empty'],
    ['system: cache_control cannot be set for empty text blocks'],
    ["output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false"],
    ['Your credit balance is too low to access the Anthropic API. Please go to Plans to upgrade or purchase credits.'],
    ['invalid x-api-key'],
    ["This request would exceed your organization's rate limit of 30,000 input tokens per minute"],
    ['Internal server error'],
    ['Output blocked by content filtering policy'],
  ])('pass as they are: %s', ([message]) => {
    expect(providerWords(message!, 'claude-opus-4-6', none)).toBe(message)
  })

  test.for([
    ['messages.0: unexpected value quokka; must be one of user, assistant', 'messages.0: unexpected value … must be one of user, assistant'],
    ['the request "tell me about quokkas" is not permitted', 'the request … is not permitted'],
    ['quokka quokka quokka', ''],
    ['key sk-ant-123', ''],
    ['', ''],
    ['411.111.111 is invalid for 4111.1111.1111', '… is invalid for …'],
    ['bare 12345678901234567890 is not a valid integer', '… is not a valid integer'],
  ])('lose what may be the caller’s: %s', ([message, shown]) => {
    expect(providerWords(message!, 'claude-opus-4-6', none)).toBe(shown)
  })

  test('lose a number that stands in the prompt', () => {
    const isOfPrompt = (number: string): boolean => number === '19370412'
    expect(providerWords('max_tokens: 19370412 > 128000 is not allowed', 'm', isOfPrompt)).toBe('max_tokens: … > 128000 is not allowed')
    expect(providerWords('max_tokens: 19,370,412 > 128000 is not allowed', 'm', isOfPrompt)).toBe('max_tokens: … > 128000 is not allowed')
  })

  test('are looked at up to a bound', () => {
    expect(providerWords('the request is not valid '.repeat(100_000), 'm', none).length).toBeLessThanOrEqual(400)
  })

  const alphabets = ['bcdfghjkqvwxz', 'ßéžřñøлЖ漢字😀𝒳', '0123456789', 'bqx"\\\n\t\'<>{}']
  const phrases = ['the request is not valid:', 'messages.0.content:', 'max_tokens:', '"', "'", '>', ',', ' ', '\n', ': ', '\\n', '.', '/']
  const encodings: readonly ((secret: string) => string)[] = [
    (secret) => secret,
    (secret) => JSON.stringify(secret),
    (secret) => JSON.stringify(JSON.stringify(secret)),
    (secret) => encodeURIComponent(secret),
    (secret) => Buffer.from(secret).toString('base64'),
    (secret) => Buffer.from(secret).toString('hex'),
    (secret) => secret.toUpperCase(),
    (secret) => Array.from(secret, (letter) => `\\u{${letter.codePointAt(0)!.toString(16)}}`).join(''),
    (secret) => secret.replaceAll(/(?<=\d)(?=(\d{3})+$)/g, ','),
  ]

  test(`hold no part of a prompt, in any encoding and between any phrases, over ${range} of 20 messages`, () => {
    let shownChars = 0
    for (const seed of seeds) {
      const random = new Random(seed)
      for (let message = 0; message < 20; message++) {
        const letters = Array.from(random.pick(alphabets))
        const secret = random.times(5 + random.below(20), () => random.pick(letters)).join('')
        const encoded = random.pick(encodings)(secret)
        const said = random.times(1 + random.below(8), () => (random.chance(0.4) ? encoded : random.pick(phrases))).join(random.pick(['', ' ', '  ', ',']))
        const shown = providerWords(said, 'claude-opus-4-6', (number) => secret.includes(number))
        shownChars += shown.length
        for (const form of [secret, encoded]) {
          const characters = Array.from(form)
          const pieces = characters.slice(4).map((_, at) => characters.slice(at, at + 5).join('')).filter((piece) => /[^\s"'`.,:;<>()=]/.test(piece))
          for (const piece of pieces) expect(shown.includes(piece), `seed ${seed}: ${JSON.stringify({ said, shown, piece })}`).toBe(false)
        }
      }
    }
    expect(shownChars).toBeGreaterThan(0)
  })
})

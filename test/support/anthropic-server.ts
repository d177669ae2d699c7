/**
 * A Messages API on the loopback interface, by script: it speaks the provider's wire format (2026-10-21), checks each
 * request as the provider does, and answers with the next reply that a test has queued. Nothing leaves the machine.
 *
 * ```ts
 * const server = await AnthropicServer.start()
 * server.next(overloaded(), answer({ text: 'hello' }))
 * const model = anthropic({ baseURL: server.baseURL, apiKey: server.apiKey })
 * …
 * server.verify()
 * await server.stop()
 * ```
 */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'

/** A request as it came. */
export interface RecordedRequest {
  /** `/v1/messages`, or `/v1/messages/count_tokens`. */
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: MessagesBody
  /** Settles when the client has closed the connection before the reply was at its end. */
  readonly hungUp: Promise<void>
}

/** The part of the request's body that replies look at; the rest stands there as it came. */
export interface MessagesBody {
  readonly model: string
  readonly max_tokens: number
  readonly stream?: boolean
  readonly system?: string | readonly { readonly type: 'text'; readonly text: string; readonly cache_control?: unknown }[]
  readonly messages: readonly { readonly role: string; readonly content: string | readonly { readonly type: 'text'; readonly text: string; readonly cache_control?: unknown }[] }[]
  readonly output_config?: { readonly format?: { readonly type: string; readonly schema: unknown } }
}

/** What goes over the wire. */
export interface Reply {
  /** Default 200. */
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  /** Written one by one, each in a turn of its own. May be endless: it ends when the client hangs up. */
  readonly chunks?: Iterable<string | Uint8Array>
  /** `cut`: the connection is destroyed after the last chunk. `hang`: it is left open. Default `end`. */
  readonly ending?: 'end' | 'cut' | 'hang'
  /** Whether status and headers are sent at all. Default true. */
  readonly hasHeaders?: boolean
}

/** A reply that depends on its request. */
export type Replier = Reply | ((request: RecordedRequest) => Reply)

/** One that may take its time. */
export type SlowReplier = Reply | ((request: RecordedRequest) => Reply | Promise<Reply>)

/** Our adapter's, and that of the AI SDK. */
const VERSIONS: readonly unknown[] = ['2026-10-21', '2023-06-01']
const KNOWN_FIELDS = new Set(['model', 'max_tokens', 'stream', 'system', 'messages', 'output_config', 'metadata', 'stop_sequences', 'thinking', 'tools', 'tool_choice', 'service_tier', 'cache_control'])

export class AnthropicServer {
  /** The key that is let in. */
  readonly apiKey: string
  /** All that came and was well-formed HTTP, in order. */
  readonly requests: RecordedRequest[] = []
  /** TCP connections so far. */
  connections = 0
  private readonly server: Server
  private readonly queue: Replier[] = []
  private readonly violations: string[] = []
  private readonly arrivals: { readonly count: number; readonly resolve: () => void }[] = []
  private fallback: SlowReplier | undefined

  private constructor(apiKey: string) {
    this.apiKey = apiKey
    this.server = createServer((request, response) => {
      void this.handle(request, response)
    })
    this.server.on('connection', () => this.connections++)
  }

  static async start({ apiKey = 'sk-ant-loopback' }: { readonly apiKey?: string } = {}): Promise<AnthropicServer> {
    const server = new AnthropicServer(apiKey)
    server.server.listen(0, '127.0.0.1')
    await once(server.server, 'listening')
    return server
  }

  get baseURL(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }

  /** Queues replies: each answers one request, in the order of arrival. */
  next(...replies: readonly Replier[]): this {
    this.queue.push(...replies)
    return this
  }

  /** Answers what comes while the queue is empty; without it, such a request is a violation. */
  otherwise(reply: SlowReplier): this {
    this.fallback = reply
    return this
  }

  /** Settles when `count` requests have come, all in all. */
  received(count: number): Promise<void> {
    return new Promise((resolve) => {
      this.arrivals.push({ count, resolve })
      this.announce()
    })
  }

  /** Throws if a request came that was not expected or not as the API wants it, or if a reply is left. */
  verify(): void {
    const problems = [...this.violations, ...(this.queue.length > 0 ? [`${this.queue.length} replies are left`] : [])]
    if (problems.length > 0) throw new Error(`The Messages API of this test: ${problems.join('; ')}`)
  }

  /** Forgets requests, replies and violations, for the next test. */
  reset(): void {
    this.requests.length = this.queue.length = this.violations.length = 0
    this.fallback = undefined
  }

  async stop(): Promise<void> {
    const closed = once(this.server, 'close')
    this.server.close()
    this.server.closeAllConnections()
    await closed
  }

  private announce(): void {
    for (const arrival of this.arrivals.splice(0)) {
      if (this.requests.length >= arrival.count) arrival.resolve()
      else this.arrivals.push(arrival)
    }
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const hungUp = new Promise<void>((resolve) => response.once('close', () => !response.writableFinished && resolve()))
    let reply: Reply
    try {
      const text = await textOf(request)
      const refusal = this.refusalOf(request, text)
      const recorded: RecordedRequest = { path: request.url ?? '', headers: request.headers, body: (parseJson(text) ?? {}) as MessagesBody, hungUp }
      this.requests.push(recorded)
      const replying = refusal ?? this.replyTo(recorded)
      this.announce()
      reply = await replying
    } catch {
      // The client hung up while it was sending.
      return
    }
    await write(response, reply, this.requests.length)
  }

  private replyTo(request: RecordedRequest): Reply | Promise<Reply> {
    const replier = this.queue.shift() ?? this.fallback
    if (replier) return typeof replier === 'function' ? replier(request) : replier
    return this.violation('a request came that nothing was queued for', failure(500, 'api_error', 'unexpected request'))
  }

  private violation(what: string, reply: Reply): Reply {
    this.violations.push(what)
    return reply
  }

  /** What the provider itself would refuse. */
  private refusalOf({ method, url, headers }: IncomingMessage, text: string): Reply | undefined {
    const invalid = (message: string): Reply => this.violation(message, failure(400, 'invalid_request_error', message))
    if (method !== 'POST' || (url !== '/v1/messages' && url !== '/v1/messages/count_tokens')) return this.violation(`${method} ${url}`, failure(404, 'not_found_error', 'Not Found'))
    const key = headers['x-api-key'] ?? headers.authorization?.replace(/^Bearer /, '')
    if (key !== this.apiKey) return this.violation('another key', failure(401, 'authentication_error', 'invalid x-api-key'))
    if (!VERSIONS.includes(headers['anthropic-version'])) return invalid(`anthropic-version: ${String(headers['anthropic-version'])} is not a valid version`)
    const body = parseJson(text) as (MessagesBody & Record<string, unknown>) | undefined
    if (typeof body !== 'object' || body === null) return invalid('The request body is not valid JSON')
    // The provider's reader takes no escape of half a surrogate pair.
    if (!isWellFormed(body)) return invalid('The request body is not valid JSON: no low surrogate in string')
    const isCount = url === '/v1/messages/count_tokens'
    const extra = Object.keys(body).find((field) => !KNOWN_FIELDS.has(field) || (isCount && (field === 'max_tokens' || field === 'stream')))
    if (extra) return invalid(`${extra}: Extra inputs are not permitted`)
    if (typeof body.model !== 'string') return invalid('model: Field required')
    if (!isCount && (!Number.isInteger(body.max_tokens) || body.max_tokens < 1)) return invalid('max_tokens: Input should be greater than or equal to 1')
    if (!Array.isArray(body.messages) || body.messages.length === 0) return invalid('messages: at least one message is required')
    if (Array.isArray(body.system) && body.system.some(({ text: part }: { text: string }) => part.trim() === '')) return invalid('system: text content blocks must contain non-whitespace text')
    const marked = blocksOf(body).filter(({ isMarked }) => isMarked)
    if (marked.length > 4) return invalid(`A maximum of 4 blocks with cache_control may be provided. Found ${marked.length}.`)
    if (marked.some(({ text: part, type }) => part === '' && type === 'text')) return invalid('cache_control cannot be set for empty text blocks')
    const unpaired = unpairedTool(body)
    if (unpaired) return invalid(unpaired)
    const open = findOpenObject(body.output_config?.format?.schema)
    if (open) return invalid("output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false")
    return undefined
  }
}

// ── replies ──────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface Answer {
  /** The answer. A list comes as so many deltas. Default `ok`. */
  readonly text?: string | readonly string[]
  /** Tools that it asks for after that; then it stops for them. Its arguments are JSON, or come in these pieces. */
  readonly tools?: readonly { readonly id: string; readonly name: string; readonly input: object | readonly string[] }[]
  /** Thought before it speaks. Default: none. */
  readonly thinking?: string
  /** Default `end_turn`. */
  readonly stopReason?: string
  /** Default: the model asked for. */
  readonly model?: string
  /** As the answer ends with. Default 25 in, 7 out, no cache. */
  readonly usage?: { readonly input?: number; readonly output?: number; readonly cacheRead?: number; readonly cacheWrite?: number }
}

/** A message: as a stream if the request asks for one, else as one JSON. Each event of a stream is a chunk. */
export function answer(content: Answer = {}): (request: RecordedRequest) => Reply {
  return (request) => (request.body.stream ? events(eventsOf(content, request.body.model)) : json(200, messageOf(content, request.body.model)))
}

/** A stream of these events, each a chunk, each of the type that its data says. */
export function events(list: readonly { readonly type: string }[]): Reply {
  return { headers: { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' }, chunks: list.map(sse) }
}

export function sse(data: { readonly type: string }): string {
  return `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`
}

/** An error answer of the API. */
export function failure(status: number, type: string, message: string, more: { readonly headers?: Readonly<Record<string, string>>; readonly code?: string } = {}): Reply {
  return json(status, { type: 'error', error: { type, message, ...(more.code ? { details: { error_code: more.code } } : {}) } }, more.headers)
}

/** 529. */
export const overloaded = (headers?: Readonly<Record<string, string>>): Reply => failure(529, 'overloaded_error', 'Overloaded', headers ? { headers } : {})

/** 429. `retryAfter` is the header's text: seconds, or an HTTP date. */
export const rateLimited = (retryAfter?: string): Reply => failure(429, 'rate_limit_error', 'This request would exceed your rate limit', retryAfter ? { headers: { 'retry-after': retryAfter } } : {})

/** The event with which a stream that began well reports a failure. */
export const errorEvent = (type: string, message: string): { readonly type: string } => ({ type: 'error', error: { type, message } }) as { readonly type: string }

export function json(status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Reply {
  return { status, headers: { 'content-type': 'application/json', ...headers }, chunks: [JSON.stringify(body)] }
}

/** The connection is accepted, the request read, and nothing is said. */
export const silence = (ending: 'cut' | 'hang'): Reply => ({ hasHeaders: false, ending })

/** The first `chunks` chunks of a reply and then no more: see {@link Reply.ending}. */
export function stopAfter(chunks: number, ending: 'end' | 'cut' | 'hang', reply: Replier): (request: RecordedRequest) => Reply {
  return (request) => {
    const whole = resolve(reply, request)
    return { ...whole, chunks: [...(whole.chunks ?? [])].slice(0, chunks), ending }
  }
}

/** The same bytes, one at a time, so that characters and lines come in parts. */
export function drip(reply: Replier): (request: RecordedRequest) => Reply {
  return (request) => {
    const whole = resolve(reply, request)
    const bytes = Buffer.concat([...(whole.chunks ?? [])].map((chunk) => Buffer.from(chunk)))
    return { ...whole, chunks: Array.from(bytes, (byte) => Uint8Array.of(byte)) }
  }
}

const resolve = (reply: Replier, request: RecordedRequest): Reply => (typeof reply === 'function' ? reply(request) : reply)

/** The events of a message, in the order in which the API sends them. */
export function eventsOf(content: Answer, model: string): { readonly type: string }[] {
  const { text = 'ok', thinking, tools = [], stopReason = tools.length > 0 ? 'tool_use' : 'end_turn' } = content
  const list: object[] = [
    { type: 'message_start', message: { ...messageOf({ ...content, text: '' }, model), content: [], stop_reason: null, usage: { ...usageOf(content), output_tokens: 1 } } },
    { type: 'ping' },
  ]
  let index = 0
  if (thinking !== undefined) {
    list.push({ type: 'content_block_start', index, content_block: { type: 'thinking', thinking: '', signature: '' } })
    list.push({ type: 'content_block_delta', index, delta: { type: 'thinking_delta', thinking } })
    list.push({ type: 'content_block_delta', index, delta: { type: 'signature_delta', signature: 'c2lnbmF0dXJl' } })
    list.push({ type: 'content_block_stop', index: index++ })
  }
  list.push({ type: 'content_block_start', index, content_block: { type: 'text', text: '' } })
  for (const part of typeof text === 'string' ? [text] : text) list.push({ type: 'content_block_delta', index, delta: { type: 'text_delta', text: part } })
  list.push({ type: 'content_block_stop', index })
  for (const { id, name, input } of tools) {
    list.push({ type: 'content_block_start', index: ++index, content_block: { type: 'tool_use', id, name, input: {} } })
    for (const part of Array.isArray(input) ? (input as readonly string[]) : ['', JSON.stringify(input)]) list.push({ type: 'content_block_delta', index, delta: { type: 'input_json_delta', partial_json: part } })
    list.push({ type: 'content_block_stop', index })
  }
  list.push({ type: 'message_delta', delta: { stop_reason: stopReason, stop_sequence: null }, usage: usageOf(content) })
  list.push({ type: 'message_stop' })
  return list as { readonly type: string }[]
}

/** The count that the provider would give: here a token is four bytes. */
export const counted = ({ body }: RecordedRequest): Reply => json(200, { input_tokens: blocksOf(body).reduce((sum, { tokens }) => sum + tokens, 0) })

/**
 * The provider's prompt cache: what stands before a mark is written, and read by later prompts that begin with it, from
 * 1,024 tokens on. Answers count as the provider counts: read, written, and the rest.
 */
export class PromptCache {
  private readonly written = new Set<string>()

  answer(content: Answer = {}): (request: RecordedRequest) => Reply {
    return (request) => {
      const blocks = blocksOf(request.body)
      const upTo = (end: number): { readonly key: string; readonly tokens: number } => ({ key: JSON.stringify([request.body.model, ...blocks.slice(0, end).map(({ text }) => text)]), tokens: blocks.slice(0, end).reduce((sum, { tokens }) => sum + tokens, 0) })
      const lastMark = blocks.findLastIndex(({ isMarked }) => isMarked) + 1
      let read = 0
      for (let end = lastMark; end > 0 && read === 0; end--) if (this.written.has(upTo(end).key)) read = upTo(end).tokens
      for (const [i, { isMarked }] of blocks.entries()) if (isMarked && upTo(i + 1).tokens >= 1_024) this.written.add(upTo(i + 1).key)
      const marked = upTo(lastMark).tokens
      const write = marked >= 1_024 ? marked - read : 0
      return answer({ ...content, usage: { ...content.usage, input: upTo(blocks.length).tokens - read - write, cacheRead: read, cacheWrite: write } })(request)
    }
  }
}

/** What the provider says of tools without results, results without tools, and names that it does not take. */
function unpairedTool({ messages, tools = [] }: MessagesBody & { readonly tools?: readonly { readonly name: string; readonly input_schema?: { readonly type?: unknown } }[] }): string | undefined {
  for (const { name, input_schema: schema } of tools) {
    if (!/^[a-zA-Z0-9_-]{1,128}$/.test(name)) return 'tools.0.name: String should match pattern'
    if (schema?.type !== 'object') return "tools.0.input_schema.type: Input should be 'object'"
  }
  type Block = { readonly type: string; readonly id?: string; readonly tool_use_id?: string; readonly input?: unknown; readonly text?: string }
  const blocks = messages.map(({ content }) => (typeof content === 'string' ? [] : (content as unknown as readonly Block[])))
  for (const [i, own] of blocks.entries()) {
    if (own.some(({ type, text }) => type === 'text' && text === '')) return `messages.${i}: text content blocks must be non-empty`
    const asked = own.filter(({ type }) => type === 'tool_use')
    if (asked.some(({ id, input }) => !/^[a-zA-Z0-9_-]+$/.test(id ?? '') || typeof input !== 'object' || Array.isArray(input))) return `messages.${i}.content: tool_use is invalid`
    const results = (blocks[i + 1] ?? []).filter(({ type }) => type === 'tool_result').map(({ tool_use_id }) => tool_use_id)
    if (asked.some(({ id }) => !results.includes(id))) return `messages.${i + 1}: tool_use ids were found without tool_result blocks immediately after`
    if (results.some((id) => !asked.some((one) => one.id === id))) return `messages.${i + 1}: unexpected tool_use_id found in tool_result blocks`
  }
  return undefined
}

function blocksOf({ system = [], messages }: MessagesBody): { readonly text: string; readonly isMarked: boolean; readonly tokens: number; readonly type?: string }[] {
  type Block = { readonly type?: string; readonly text?: string; readonly cache_control?: unknown }
  const contents = [system, ...messages.map(({ content }) => content)]
  return contents.flatMap((content): readonly Block[] => (typeof content === 'string' ? [{ text: content }] : (content as readonly Block[]))).map(({ text = '', cache_control: mark, type = 'text' }) => ({ text, type, isMarked: mark !== undefined, tokens: Math.ceil(Buffer.byteLength(text) / 4) }))
}

let messages = 0

function messageOf(content: Answer, asked: string): object {
  const { text = 'ok', thinking, tools = [], stopReason = tools.length > 0 ? 'tool_use' : 'end_turn', model = asked } = content
  return {
    id: `msg_loopback_${++messages}`,
    type: 'message',
    role: 'assistant',
    model,
    content: [...(thinking === undefined ? [] : [{ type: 'thinking', thinking, signature: 'c2lnbmF0dXJl' }]), { type: 'text', text: typeof text === 'string' ? text : text.join('') }, ...tools.map(({ id, name, input }) => ({ type: 'tool_use', id, name, input }))],
    stop_reason: stopReason,
    stop_sequence: null,
    usage: usageOf(content),
  }
}

function usageOf({ usage: { input = 25, output = 7, cacheRead = 0, cacheWrite = 0 } = {} }: Answer): object {
  return {
    input_tokens: input,
    cache_creation_input_tokens: cacheWrite,
    cache_read_input_tokens: cacheRead,
    cache_creation: { ephemeral_5m_input_tokens: cacheWrite, ephemeral_1h_input_tokens: 0 },
    output_tokens: output,
    service_tier: 'standard',
  }
}

// ── the wire ─────────────────────────────────────────────────────────────────────────────────────────────────────────

export async function write(response: ServerResponse, reply: Reply, number: number): Promise<void> {
  const { status = 200, headers = {}, chunks = [], ending = 'end', hasHeaders = true } = reply
  response.on('error', () => {
    // The client hung up; what the test wants to know of it stands in `hungUp`.
  })
  if (hasHeaders) {
    response.writeHead(status, { 'request-id': `req_loopback_${number}`, ...headers })
    response.flushHeaders()
    for (const chunk of chunks) {
      if (response.destroyed) return
      if (!response.write(chunk)) await flushed(response)
      await turn()
    }
  }
  if (ending === 'end') response.end()
  else if (ending === 'cut') response.socket?.destroy()
}

/** Settles when the client has taken what was written, or has gone. */
function flushed(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done).off('close', done)
      resolve()
    }
    response.on('drain', done).on('close', done)
  })
}

async function textOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  return Buffer.concat(parts).toString()
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Whether every text in a value has UTF-8. */
function isWellFormed(value: unknown): boolean {
  if (typeof value === 'string') return Buffer.from(value).toString() === value
  return typeof value !== 'object' || value === null || Object.values(value).every(isWellFormed)
}

/** An object of a schema that is not closed. */
function findOpenObject(part: unknown): boolean {
  if (typeof part !== 'object' || part === null) return false
  const { type, additionalProperties } = part as Record<string, unknown>
  return (type === 'object' && additionalProperties !== false) || Object.values(part).some(findOpenObject)
}

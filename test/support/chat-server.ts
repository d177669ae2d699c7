/**
 * An OpenAI-compatible chat completions API on the loopback interface, by script: what most self-hosted models speak. It
 * answers with the next reply that a test has queued.
 */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json, write, type Reply } from './anthropic-server.js'

export interface ChatBody {
  readonly model: string
  readonly max_tokens: number
  readonly stream?: boolean
  readonly response_format?: unknown
  readonly messages: readonly { readonly role: string; readonly content: unknown }[]
}

export class ChatServer {
  readonly requests: { readonly headers: IncomingHttpHeaders; readonly body: ChatBody }[] = []
  private readonly queue: ((body: ChatBody) => Reply)[] = []
  private readonly server: Server

  private constructor() {
    this.server = createServer((request, response) => {
      void (async () => {
        const parts: Buffer[] = []
        for await (const part of request) parts.push(part as Buffer)
        const body = JSON.parse(Buffer.concat(parts).toString()) as ChatBody
        this.requests.push({ headers: request.headers, body })
        await write(response, this.queue.shift()?.(body) ?? json(500, { error: { message: 'nothing was queued' } }), this.requests.length)
      })()
    })
  }

  static async start(): Promise<ChatServer> {
    const chat = new ChatServer()
    chat.server.listen(0, '127.0.0.1')
    await once(chat.server, 'listening')
    return chat
  }

  get baseURL(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/v1`
  }

  next(...replies: readonly (Reply | ((body: ChatBody) => Reply))[]): this {
    this.queue.push(...replies.map((reply) => (typeof reply === 'function' ? reply : () => reply)))
    return this
  }

  /** Forgets requests and replies, for the next test. */
  reset(): void {
    this.requests.length = this.queue.length = 0
  }

  async stop(): Promise<void> {
    const closed = once(this.server, 'close')
    this.server.close()
    this.server.closeAllConnections()
    await closed
  }
}

export interface Chat {
  readonly text?: readonly string[]
  /** Tools that it asks for, their arguments in pieces; then it stops for them. */
  readonly tools?: readonly { readonly name: string; readonly arguments: readonly string[] }[]
  /** null: it ends without a reason. Default `stop`. */
  readonly finish?: string | null
  /** null: it does not say. Default 25 in, of which 5 from the cache, and 7 out. */
  readonly usage?: { readonly prompt_tokens?: number; readonly completion_tokens?: number; readonly prompt_tokens_details?: { readonly cached_tokens: number } } | null
}

const defaultUsage = { prompt_tokens: 25, completion_tokens: 7, prompt_tokens_details: { cached_tokens: 5 } }

/** A completion: a stream if it is asked for one, else as one JSON. */
export function chat({ text = ['ok'], tools = [], finish = tools.length > 0 ? 'tool_calls' : 'stop', usage = defaultUsage }: Chat = {}): (body: ChatBody) => Reply {
  return ({ model, stream }) => {
    const common = { id: 'chatcmpl-1', created: 1_700_000_000, model: `${model}-0926` }
    if (!stream) return json(200, { ...common, object: 'chat.completion', choices: [{ index: 0, message: { role: 'assistant', content: text.join(''), ...(tools.length > 0 ? { tool_calls: tools.map(({ name, arguments: parts }, i) => ({ id: `chat-${i}`, type: 'function', function: { name, arguments: parts.join('') } })) } : {}) }, finish_reason: finish }], ...(usage ? { usage } : {}) })
    const chunk = (more: object): string => `data: ${JSON.stringify({ ...common, object: 'chat.completion.chunk', ...more })}\n\n`
    return {
      headers: { 'content-type': 'text/event-stream' },
      chunks: [
        ...text.map((content) => chunk({ choices: [{ index: 0, delta: { role: 'assistant', content }, finish_reason: null }] })),
        ...tools.flatMap(({ name, arguments: parts }, index) => parts.map((part, i) => chunk({ choices: [{ index: 0, delta: { tool_calls: [{ index, ...(i === 0 ? { id: `chat-${index}`, type: 'function' } : {}), function: { ...(i === 0 ? { name } : {}), arguments: part } }] }, finish_reason: null }] }))),
        ...(finish === null ? [] : [chunk({ choices: [{ index: 0, delta: {}, finish_reason: finish }] })]),
        ...(usage ? [chunk({ choices: [], usage })] : []),
        'data: [DONE]\n\n',
      ],
    }
  }
}

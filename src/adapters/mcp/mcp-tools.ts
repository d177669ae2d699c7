/**
 * A source of tools on a client of the Model Context Protocol (2025-06-18), by shape: `Client` of @modelcontextprotocol/sdk is
 * one. Connecting and closing it is its owner's.
 */
import { z } from 'zod'
import { ConfigError } from '../../errors.js'
import type { ToolDescription, ToolResult, ToolSource } from '../../mesh/ports/tool-source.js'

export interface McpClient {
  listTools(params?: { readonly cursor?: string }, options?: { readonly signal?: AbortSignal }): Promise<unknown>
  // The second is the schema of results; the client's own is used.
  callTool(params: { name: string; arguments?: Record<string, unknown>; _meta?: Record<string, unknown> }, resultSchema?: undefined, options?: { readonly signal?: AbortSignal; readonly timeout?: number }): Promise<unknown>
}

export interface McpToolsOptions {
  /** Tells this server from others: in errors. */
  readonly name: string
  /** How long a call may take, ms, 1 to 2,147,483,647. Default 60,000. */
  readonly timeoutMs?: number
  /** Most bytes of a result's text that are kept; of a longer one the beginning, and how long it was. 1 to 262,144. Default 131,072. */
  readonly resultBytesMax?: number
}

const schema = z.record(z.string(), z.unknown())
const listed = z.object({
  tools: z.array(z.object({ name: z.string().min(1).max(256), title: z.string().optional(), description: z.string().optional(), inputSchema: schema, outputSchema: schema.optional(), annotations: schema.optional() })),
  nextCursor: z.string().optional(),
})
const called = z.object({
  content: z.array(z.looseObject({ type: z.string(), text: z.string().optional() })).default([]),
  structuredContent: z.unknown().optional(),
  isError: z.boolean().default(false),
})

/** Pages of tools that are read; a server that has more has no end. */
const pagesMax = 100

/**
 * The tools of an MCP server. The idempotency key of a call goes with it as `_meta["holdfast/idempotency-key"]`.
 *
 * @throws ConfigError for what is no client, or an option that cannot be used
 */
export function mcpTools(client: McpClient, options: McpToolsOptions): ToolSource {
  if (typeof client?.listTools !== 'function' || typeof client.callTool !== 'function') throw new ConfigError('mcpTools() needs a connected MCP client, which has listTools and callTool.')
  const { name, timeoutMs = 60_000, resultBytesMax = 131_072 } = options ?? {}
  if (typeof name !== 'string' || name === '') throw new ConfigError("mcpTools() needs a name for the server: mcpTools(client, { name: 'files' }).")
  for (const [option, value, max] of [['timeoutMs', timeoutMs, 2_147_483_647], ['resultBytesMax', resultBytesMax, 262_144]] as const) {
    if (!Number.isSafeInteger(value) || value < 1 || value > max) throw new ConfigError(`The option "${option}" of mcpTools() must be a whole number from 1 to ${max}, not ${String(value)}.`)
  }

  return {
    name,

    async list({ signal }) {
      const tools: ToolDescription[] = []
      let cursor: string | undefined
      for (let page = 0; page < pagesMax; page++) {
        const answer = listed.parse(await until(signal, (own) => client.listTools(cursor === undefined ? {} : { cursor }, { signal: own })))
        tools.push(...(answer.tools.map((tool) => Object.fromEntries(Object.entries(tool).filter(([, value]) => value !== undefined))) as unknown as ToolDescription[]))
        cursor = answer.nextCursor
        if (cursor === undefined) return tools
      }
      throw new ConfigError(`The server ${name} lists tools without end (${pagesMax} pages).`)
    },

    async call(tool, args, { signal, idempotencyKey }): Promise<ToolResult> {
      const answer = called.parse(await until(signal, (own) => client.callTool({ name: tool, arguments: { ...args }, _meta: { 'holdfast/idempotency-key': idempotencyKey } }, undefined, { signal: own, timeout: timeoutMs })))
      // What is no text (images, links) is named, so that it is not lost without a word.
      const text = answer.content.map((part) => (part.type === 'text' ? (part.text ?? '') : `[${part.type}]`)).join('\n')
      const bytes = Buffer.byteLength(text)
      const structuredBytes = Buffer.byteLength(JSON.stringify(answer.structuredContent ?? null))
      if (bytes <= resultBytesMax && structuredBytes <= resultBytesMax) return { text, isError: answer.isError, ...(answer.structuredContent === undefined ? {} : { structured: answer.structuredContent }) }
      // The last character may have been cut through.
      const beginning = new TextDecoder().decode(Buffer.from(text).subarray(0, resultBytesMax)).replace(/\uFFFD$/, '')
      return { text: beginning, isError: answer.isError, bytesOfWhole: Math.max(bytes, structuredBytes) }
    },
  }
}

/** With a signal of its own, since the client goes on listening to the one that it is given. */
async function until<T>(signal: AbortSignal, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const own = new AbortController()
  const leave = (): void => own.abort(signal.reason)
  signal.addEventListener('abort', leave, { once: true })
  if (signal.aborted) leave()
  try {
    return await run(own.signal)
  } finally {
    signal.removeEventListener('abort', leave)
  }
}

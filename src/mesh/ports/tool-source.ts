/** Where tools come from: a server that describes what it can do, and does it. An adapter passes both on and decides nothing. */

/** A tool as its server describes it. All of it is told to a model, so all of it counts. */
export interface ToolDescription {
  readonly name: string
  readonly title?: string
  readonly description?: string
  /** JSON Schema of its arguments. */
  readonly inputSchema: Readonly<Record<string, unknown>>
  readonly outputSchema?: Readonly<Record<string, unknown>>
  /** What the server says of its effects: `readOnlyHint`, `idempotentHint` and such. */
  readonly annotations?: Readonly<Record<string, unknown>>
}

/** What came of a call that the tool answered. */
export interface ToolResult {
  readonly text: string
  /** JSON, if the tool gives any. */
  readonly structured?: unknown
  /** The tool says that it failed; `text` says why. */
  readonly isError: boolean
  /** Set if `text` is only the beginning of so many bytes. `structured` is then left out. */
  readonly bytesOfWhole?: number
}

export interface ToolSource {
  /** Tells sources apart. */
  readonly name: string
  /** All tools there are now. */
  list(options: { readonly signal: AbortSignal }): Promise<readonly ToolDescription[]>
  /**
   * Calls one. The key goes with it, for servers that know what to do with it.
   *
   * @throws anything if there is no answer: then nobody knows whether it happened
   */
  call(tool: string, args: Readonly<Record<string, unknown>>, options: { readonly signal: AbortSignal; readonly idempotencyKey: string }): Promise<ToolResult>
}

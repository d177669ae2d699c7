/**
 * The tools that agents may use, from a source that nobody need trust. A tool is used as it was when a person accepted it: its
 * name, description, schemas and annotations are pinned, and kept with the code. A server that changes any of them (to slip a model
 * new instructions, say) is noticed before the next call, and refused until somebody accepts the change.
 *
 * T1  No tool is called that is not on the list, not pinned, or not exactly as pinned at that moment.
 * T2  No tool is called with arguments that do not fit its pinned schema.
 * T3  Nothing of an unpinned description reaches a prompt: what agents are told of tools comes from the pins.
 */
import { z } from 'zod'
import { ConfigError, HoldfastError, toStoredError } from '../errors.js'
import type { Reconciled } from '../protocol.js'
import { isJsonEqual } from '../runtime/json.js'
import type { ExternalActionOptions } from './define-agent.js'
import { having, isObject, issuesOf, list, options as optionsOf, shape, text, wrong, type Check } from './options.js'
import type { ToolOptions } from './tools.js'
import type { ToolDescription, ToolResult, ToolSource } from './ports/tool-source.js'

/** What each tool was when it was accepted, by name: JSON, for a file beside the code. */
export type ToolPins = Readonly<Record<string, ToolDescription>>

export interface ToolboxOptions {
  readonly source: ToolSource
  /** As {@link pinsOf} gave them, and somebody read them. */
  readonly pins: ToolPins
  /** Names of the tools that may be used; each must be pinned. */
  readonly allow: readonly string[]
}

/** Bounds of one tool in the hands of a model. */
export type ToolCaps = Pick<ToolOptions<never>, 'cost' | 'callsMax' | 'deadlineMs' | 'resultBytesMax'>

/** How a source stands to the pins. */
export interface ToolReport {
  /** As pinned. */
  readonly accepted: readonly string[]
  /** What changed, by tool: `description`, `inputSchema` and so on. */
  readonly changed: Readonly<Record<string, readonly string[]>>
  /** Pinned, and not there any more. */
  readonly gone: readonly string[]
  /** There, and not pinned. */
  readonly unpinned: readonly string[]
}

/**
 * A tool was not used, or not to any good. `reason`:
 *
 * - not-allowed: it is not on the list
 * - changed: it is not as it was accepted (`changes` says in what); look at it, and pin it anew
 * - gone: its server has it no more
 * - arguments: they do not fit its schema
 * - unlisted: the server did not say what tools there are, so nothing was called
 * - failed: the tool was called, and says that it failed
 */
export class ToolError extends HoldfastError {
  readonly reason: 'not-allowed' | 'changed' | 'gone' | 'arguments' | 'unlisted' | 'failed'
  readonly tool: string
  readonly changes: readonly string[]
  constructor(reason: ToolError['reason'], tool: string, message: string, changes: readonly string[] = []) {
    super('TOOL', message)
    this.reason = reason
    this.tool = tool
    this.changes = changes
  }
}

const fields = ['title', 'description', 'inputSchema', 'outputSchema', 'annotations'] as const

const aSchema: Check = (name, value) => void (isObject(value) || wrong(name, 'a JSON Schema', value))
const pinned = shape<Pick<ToolDescription, 'name' | 'inputSchema'>>({ name: text(256), inputSchema: aSchema })
const aSource = having('a source of tools, such as mcpTools() gives', 'list', 'call')
const aToolbox = optionsOf<ToolboxOptions>({
  source: aSource,
  pins: (name, value) => {
    if (!isObject(value)) wrong(name, 'tools by name, as pinsOf() gives them', value)
    for (const [tool, description] of Object.entries(value as object)) {
      pinned(`${name}.${tool}`, description)
      if ((description as ToolDescription).name !== tool) wrong(`${name}.${tool}.name`, JSON.stringify(tool), (description as ToolDescription).name)
    }
  },
  allow: list(text(256)),
})

/** What a source offers now, to be read by a person and kept: only the tools named, or all. @throws ToolError of reason `gone` for a name that it does not have */
export async function pinsOf(source: ToolSource, options: { readonly signal: AbortSignal; readonly only?: readonly string[] }): Promise<ToolPins> {
  aSource('pinsOf: source', source)
  const listed = await source.list(options)
  const wanted = options.only ?? listed.map(({ name }) => name)
  return Object.fromEntries(
    [...wanted].sort().map((name) => {
      const found = listed.find((tool) => tool.name === name)
      if (!found) throw new ToolError('gone', name, `${source.name} has no tool "${name}" (it has: ${listed.map((tool) => tool.name).join(', ') || 'none'}).`)
      return [name, found]
    }),
  )
}

export class Toolbox {
  private readonly source: ToolSource
  private readonly pins: ToolPins
  private readonly schemas: ReadonlyMap<string, z.ZodType>

  /** @throws ConfigError for a tool that is allowed and not pinned, or whose schema cannot be read */
  constructor(options: ToolboxOptions) {
    aToolbox('toolbox: ', options)
    this.source = options.source
    this.pins = options.pins
    this.schemas = new Map(options.allow.map((name) => [name, argumentsOf(name, options)]))
  }

  /** Names of the tools that may be used. */
  get tools(): readonly string[] {
    return [...this.schemas.keys()]
  }

  /** The same, with fewer tools: for one agent. @throws ConfigError for a name that this one does not have */
  pick(...names: readonly string[]): Toolbox {
    const other = names.find((name) => !this.schemas.has(name))
    if (other !== undefined) throw new ConfigError(`toolbox: "${other}" is not among the tools that may be used (${this.tools.join(', ') || 'none'}).`)
    return new Toolbox({ source: this.source, pins: this.pins, allow: names })
  }

  /** What a model is told of the tools, as accepted (T3): for a prompt. */
  describe(): readonly ToolDescription[] {
    return this.tools.map((name) => this.pins[name]!)
  }

  /** How the source stands to all pins: for a start-up check, or a person who is to accept a change. */
  async check(options: { readonly signal: AbortSignal }): Promise<ToolReport> {
    const listed = await this.source.list(options)
    const changes = Object.fromEntries(Object.entries(this.pins).flatMap(([name, pin]) => {
      const found = listed.filter((tool) => tool.name === name)
      return found.length === 0 ? [] : [[name, changesOf(pin, found)] as const]
    }))
    return {
      accepted: Object.keys(changes).filter((name) => changes[name]!.length === 0),
      changed: Object.fromEntries(Object.entries(changes).filter(([, what]) => what.length > 0)),
      gone: Object.keys(this.pins).filter((name) => !(name in changes)),
      unpinned: listed.map(({ name }) => name).filter((name) => !Object.hasOwn(this.pins, name)),
    }
  }

  /**
   * Calls a tool, after looking that it is still what was accepted. In an effect: `gather` for tools that only read, else {@link actions}.
   *
   * @throws ToolError if it was not called, or says that it failed
   * @throws HoldfastError with code OUTCOME_UNKNOWN if there was no answer
   */
  async call(tool: string, args: unknown, options: { readonly signal: AbortSignal; readonly idempotencyKey: string }): Promise<ToolResult> {
    const schema = this.schemas.get(tool)
    if (!schema) throw new ToolError('not-allowed', tool, `The tool "${tool}" may not be used (allowed: ${this.tools.join(', ') || 'none'}).`)
    const fitting = schema.safeParse(args)
    if (!fitting.success || !isObject(args)) throw new ToolError('arguments', tool, `The arguments of "${tool}" do not fit its schema: ${fitting.error ? issuesOf(fitting.error) : 'they are no object'}`)
    await this.mustBeAsPinned(tool, options)
    let result: ToolResult
    try {
      result = await this.source.call(tool, args, options)
    } catch (error) {
      throw new HoldfastError('OUTCOME_UNKNOWN', `Nobody knows whether the tool "${tool}" of ${this.source.name} was carried out: ${toStoredError(error).message.slice(0, 300)}`, { cause: error })
    }
    if (result.isError) throw new ToolError('failed', tool, `The tool "${tool}" failed: ${result.text.slice(0, 1_000)}`)
    return result
  }

  /**
   * The tools as external actions of an agent, by name: each call is an effect on record, under its key, and asked for and approved as
   * the agent declares. What a crash cut off is repeated only for a tool that was accepted as `readOnlyHint` or `idempotentHint`; of
   * any other, a person finds out whether it happened.
   */
  actions(): Readonly<Record<string, ExternalActionOptions<Record<string, unknown>>>> {
    return Object.fromEntries(
      this.tools.map((tool) => {
        const action: ExternalActionOptions<Record<string, unknown>> = {
          input: this.schemas.get(tool) as z.ZodType<Record<string, unknown>>,
          run: ({ input, signal, idempotencyKey }) => this.call(tool, input, { signal, idempotencyKey }),
          ...(this.isRepeatable(tool) ? { reconcile: (): Reconciled<unknown> => ({ happened: false }) } : {}),
        }
        return [tool, action]
      }),
    )
  }

  /**
   * The tools as ones that an agent's model may ask for while it works (`tools` of defineAgent), with caps by name: what is
   * told of each is what was accepted. One that was accepted as `readOnlyHint` or `idempotentHint` is repeatable.
   *
   * @throws ConfigError for caps of a tool that this one does not have
   */
  forAgent(caps: Readonly<Record<string, ToolCaps>> = {}): Readonly<Record<string, ToolOptions<Record<string, unknown>>>> {
    const other = Object.keys(caps).find((name) => !this.schemas.has(name))
    if (other !== undefined) throw new ConfigError(`toolbox: there are caps for "${other}", which is not among the tools that may be used (${this.tools.join(', ') || 'none'}).`)
    return Object.fromEntries(
      this.tools.map((tool) => {
        const { title, description, inputSchema } = this.pins[tool]!
        const options: ToolOptions<Record<string, unknown>> = {
          description: description || title || tool,
          input: this.schemas.get(tool) as z.ZodType<Record<string, unknown>>,
          inputSchema,
          run: async ({ input, signal, idempotencyKey }) => {
            const { text: said, structured, bytesOfWhole } = await this.call(tool, input, { signal, idempotencyKey })
            if (said === '' && structured !== undefined) return structured
            return bytesOfWhole === undefined ? said : `${said}\n[This is the beginning of ${bytesOfWhole} bytes.]`
          },
          isRepeatable: this.isRepeatable(tool),
          ...caps[tool],
        }
        return [tool, options]
      }),
    )
  }

  private isRepeatable(tool: string): boolean {
    const { annotations = {} } = this.pins[tool]!
    return annotations['readOnlyHint'] === true || annotations['idempotentHint'] === true
  }

  private async mustBeAsPinned(tool: string, options: { readonly signal: AbortSignal }): Promise<void> {
    let listed: readonly ToolDescription[]
    try {
      listed = await this.source.list(options)
    } catch (error) {
      throw new ToolError('unlisted', tool, `${this.source.name} does not say what tools it has, so "${tool}" was not called: ${toStoredError(error).message.slice(0, 300)}`)
    }
    const found = listed.filter(({ name }) => name === tool)
    if (found.length === 0) throw new ToolError('gone', tool, `${this.source.name} has the tool "${tool}" no more (it has: ${listed.map(({ name }) => name).join(', ') || 'none'}).`)
    const changes = changesOf(this.pins[tool]!, found)
    // Its new words are not repeated here: they may be meant for whoever reads this.
    if (changes.length > 0) throw new ToolError('changed', tool, `The tool "${tool}" of ${this.source.name} is not as it was accepted: ${changes.join(', ')} changed. It is not called until somebody has looked at it and pinned it anew.`, changes)
  }
}

/** In what a tool is not as it was pinned. Two of one name are a change, since nobody knows which is called. */
function changesOf(pin: ToolDescription, found: readonly ToolDescription[]): readonly string[] {
  if (found.length > 1) return ['number']
  return fields.filter((field) => !isJsonEqual(pin[field], found[0]![field]))
}

function argumentsOf(tool: string, { pins }: ToolboxOptions): z.ZodType {
  const pin = Object.hasOwn(pins, tool) ? pins[tool] : undefined
  if (!pin) throw new ConfigError(`toolbox: "${tool}" is allowed and not pinned (pinned: ${Object.keys(pins).join(', ') || 'none'}). Read what pinsOf() says of it, and keep that.`)
  try {
    return z.fromJSONSchema(pin.inputSchema as Parameters<typeof z.fromJSONSchema>[0])
  } catch (error) {
    throw new ConfigError(`toolbox: the arguments of "${tool}" cannot be checked, since its schema cannot be read: ${(error as Error).message}`)
  }
}

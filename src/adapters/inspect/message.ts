/**
 * The messages of Stately's inspector protocol, written as `createWebSocketInspector` of `@statelyai/inspect` writes
 * them: with the same fields, names sorted, and cut at the same depth. So whatever reads those reads these.
 */
import { configure } from 'safe-stable-stringify'
import type { InspectionEvent } from 'xstate'
import { shapeOf, withoutSecrets } from './redaction.js'

/** The version of `@statelyai/inspect` whose messages these are. */
export const protocolVersion = '0.7.2'

/** A message as data. Of the protocol's other events, of microsteps and actions, nothing is sent. */
export type InspectionMessage = {
  readonly sessionId: string
  readonly rootId: string
  /** Wall-clock time, ms, as text. */
  readonly createdAt: string
  readonly _version: string
  readonly id: null
} & (
  | { readonly type: '@xstate.actor'; readonly name: string; readonly definition: string; readonly parentId?: string; readonly snapshot: unknown }
  | { readonly type: '@xstate.event'; readonly event: { readonly type: string; readonly [key: string]: unknown }; readonly sourceId?: string }
  | { readonly type: '@xstate.snapshot'; readonly event: { readonly type: string; readonly [key: string]: unknown }; readonly snapshot: unknown }
)

/**
 * - `secrets`: what stands under a name such as `apiKey`, `password` or `Authorization`, or looks like a key, a token or
 *   the password of a URL, is replaced by `[redacted]`
 * - `values`: of context, events, inputs, outputs and errors only the shape is shown: names of properties, and types
 * - `nothing`: all is shown
 * - a function: is given each message as data that is its own, and returns what is sent instead; undefined sends nothing.
 *   If it throws, nothing is sent
 */
export type Redact = 'secrets' | 'values' | 'nothing' | ((message: InspectionMessage) => InspectionMessage | undefined)

export interface MessageOptions {
  /** Default `secrets`. */
  readonly redact?: Redact
  /**
   * Show the message and the stack of errors. The protocol shows an Error as `{}`, or by its code and a name of its own;
   * what failed often quotes what it failed on. Default false.
   */
  readonly errors?: boolean
  /** How deep values are shown; what lies deeper is `[Object]` or `[Array]`. 1 to 100. Default 10. */
  readonly depthMax?: number
}

/** What XState's actors have that is looked at. */
interface SeenActor {
  readonly id: string
  readonly sessionId: string
  readonly logic?: { readonly config?: unknown }
  readonly _parent?: SeenActor
  getSnapshot(): unknown
}

/** An inspection event, kept until it is written: what its actor shows later is another snapshot. */
export interface Seen {
  readonly event: InspectionEvent
  readonly snapshot: unknown
}

export function see(event: InspectionEvent): Seen | undefined {
  switch (event.type) {
    case '@xstate.actor':
      return { event, snapshot: snapshotOf(event.actorRef) }
    case '@xstate.event':
      return { event, snapshot: undefined }
    case '@xstate.snapshot':
      return { event, snapshot: event.snapshot }
    default:
      return undefined
  }
}

/** XState's own actors are announced before they have one. */
function snapshotOf(actor: Pick<SeenActor, 'getSnapshot'>): unknown {
  try {
    return actor.getSnapshot()
  } catch {
    return undefined
  }
}

/** What XState calls a child to which nobody gave an id. */
const unnamed = /^x:\d+$/

/** Writes messages. */
export class MessageWriter {
  private readonly redact: Redact
  private readonly showsErrors: boolean
  private readonly depthMax: number
  private readonly stringify: (value: unknown, replacer?: (key: string, value: unknown) => unknown) => string | undefined
  /** By configuration, which never changes. */
  private readonly definitions = new WeakMap<object, string>()

  constructor({ redact = 'secrets', errors = false, depthMax = 10 }: MessageOptions) {
    this.redact = redact
    this.showsErrors = errors
    this.depthMax = depthMax
    this.stringify = configure({ maximumDepth: depthMax }) as typeof this.stringify
  }

  /** The message as text, or undefined if the redaction sends none. */
  write(seen: Seen, createdAt: number): string | undefined {
    const message = this.messageOf(seen, createdAt)
    const shown = typeof this.redact === 'function' ? this.redact(this.plain(message) as InspectionMessage) : message
    return shown && this.stringify(shown)
  }

  private messageOf({ event, snapshot }: Seen, createdAt: number): InspectionMessage {
    const actor = event.actorRef as unknown as SeenActor
    const common = { _version: protocolVersion, createdAt: String(createdAt), id: null, rootId: event.rootId, sessionId: actor.sessionId }
    switch (event.type) {
      case '@xstate.actor': {
        const { config } = actor.logic ?? {}
        const isDefined = typeof config === 'object' && config !== null
        const isNamed = actor.id !== actor.sessionId && !unnamed.test(actor.id)
        const name = isNamed || !isDefined ? actor.id : (config as { id: string }).id
        return { ...common, type: event.type, name, definition: isDefined ? this.definitionOf(config) : this.stringify({ id: name })!, ...(actor._parent ? { parentId: actor._parent.sessionId } : {}), snapshot: this.shownSnapshot(copied(snapshot ?? snapshotOf(actor), this.depthMax)) }
      }
      case '@xstate.event': {
        const source = event.sourceRef as SeenActor | undefined
        return { ...common, type: event.type, event: this.shownEvent(event.event), ...(source ? { sourceId: source.sessionId } : {}) }
      }
      case '@xstate.snapshot':
        return { ...common, type: event.type, event: this.shownEvent(event.event), snapshot: this.shownSnapshot(this.plain(snapshot, named)) }
      default:
        throw new TypeError(`no message is made of ${event.type}`)
    }
  }

  private definitionOf(config: object): string {
    let text = this.definitions.get(config)
    if (text === undefined) {
      const definition = this.plain(config, named)
      this.definitions.set(config, (text = this.stringify(this.redact === 'values' ? withoutData(definition) : this.redact === 'secrets' ? withoutSecrets(definition) : definition)!))
    }
    return text
  }

  /** As JSON. */
  private plain(value: unknown, replacer?: (key: string, value: unknown) => unknown): unknown {
    const text = this.stringify(value, replacer)
    return text === undefined ? undefined : JSON.parse(text)
  }

  private shownEvent(event: unknown): { readonly type: string; readonly [key: string]: unknown } {
    const given = this.asErrors(copied(event, this.depthMax)) as { type: string; [key: string]: unknown }
    if (this.redact === 'secrets') return withoutSecrets(given) as typeof given
    if (this.redact !== 'values') return given
    // Whose snapshot it is, or who is done, XState itself put there.
    return Object.fromEntries(Object.entries(given).map(([key, value]) => [key, key === 'type' || (key === 'actorId' && given.type.startsWith('xstate.')) ? value : key === 'snapshot' && given.type.startsWith('xstate.snapshot.') ? shapeOfSnapshot(value) : shapeOf(value)])) as typeof given
  }

  private shownSnapshot(snapshot: unknown): unknown {
    const given = this.asErrors(snapshot)
    return this.redact === 'secrets' ? withoutSecrets(given) : this.redact === 'values' ? shapeOfSnapshot(given) : given
  }

  private asErrors(value: unknown): unknown {
    return this.showsErrors ? value : withoutErrors(value)
  }
}

/** A function by its name: as the protocol shows one in a definition or a snapshot. */
function named(_key: string, value: unknown): unknown {
  return typeof value === 'function' ? { type: value.name } : value
}

/**
 * A copy that may be changed, down to a depth. Not by way of JSON: what lies at the last depth is shown as it is, or as
 * `[Object]` if it has any properties, also such as JSON would leave out.
 */
function copied(given: unknown, depth: number, above: readonly unknown[] = []): unknown {
  const toJSON = (given as { toJSON?: unknown } | null | undefined)?.toJSON
  const value: unknown = typeof given === 'object' && typeof toJSON === 'function' ? toJSON.call(given) : given
  if (typeof value !== 'object' || value === null || depth < 0 || ArrayBuffer.isView(value)) return value
  if (above.includes(value)) return '[Circular]'
  const within = [...above, value]
  if (Array.isArray(value)) return value.map((element) => copied(element, depth - 1, within))
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, copied(inner, depth - 1, within)]))
}

/** Of a snapshot, what is the chart's own. */
const ofTheChart = new Set(['status', 'value', 'tags', 'historyValue', 'children'])

function shapeOfSnapshot(snapshot: unknown): unknown {
  if (typeof snapshot !== 'object' || snapshot === null) return shapeOf(snapshot)
  return Object.fromEntries(Object.entries(snapshot).map(([key, value]) => [key, ofTheChart.has(key) ? value : shapeOf(value)]))
}

/** Of a machine's configuration, what is data. */
const dataOfCharts = new Set(['context', 'input', 'output', 'params', 'meta', 'data'])

function withoutData(definition: unknown): unknown {
  if (typeof definition !== 'object' || definition === null) return definition
  if (Array.isArray(definition)) return definition.map(withoutData)
  return Object.fromEntries(Object.entries(definition).map(([key, value]) => [key, dataOfCharts.has(key) && !isFunction(value) ? shapeOf(value) : withoutData(value)]))
}

/** As {@link named} shows one. */
function isFunction(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).join() === 'type'
}

const errorFields = new Set(['name', 'message', 'stack', 'code'])
/** Of these the name is not the error's own property. */
const standardErrors = new Set(['Error', 'TypeError', 'RangeError', 'SyntaxError', 'ReferenceError', 'EvalError', 'URIError', 'AggregateError', 'AbortError', 'TimeoutError'])

/** What is kept of an Error (name, message, stack, code), as JSON would show the Error itself: by its own properties. */
function withoutErrors(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(withoutErrors)
  const { name, message, stack, code } = value as Record<string, unknown>
  if (typeof stack === 'string' && typeof name === 'string' && typeof message === 'string' && Object.keys(value).every((key) => errorFields.has(key))) {
    return { ...(code === undefined ? {} : { code }), ...(standardErrors.has(name) ? {} : { name }) }
  }
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withoutErrors(inner)]))
}


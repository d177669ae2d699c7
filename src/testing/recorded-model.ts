/**
 * A model that is asked once and played back in tests: `recordModel` keeps what a client was asked and what came of it,
 * `replayModel` answers from that, and fails on any call that was not recorded. No network, no key, no money, and the
 * same answers every time.
 *
 * ```ts
 * const file = 'test/recordings/critic.jsonl'
 * const client = process.env.RECORD ? recordModel(anthropic(), { file }) : replayModel({ file })
 * ```
 */
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { ModelError, type ModelClient, type ModelRequest } from '../mesh/ports/model-client.js'
import { aBoolean, aFunction, having, list, optional, options as optionsOf, text } from './options.js'
import { describeDifference, differencesOf, distanceOf, encodeCall, encodeHeader, readRecording, RecordingError, type RecordedCall } from './recording.js'

export interface RecordOptions {
  /** Where to: JSON lines. Its folders are made; a file that is there already is left alone. */
  readonly file: string
  /** Texts of at least 8 characters that must not get into the file. Default: the values of all environment variables whose names speak of a key, token, secret or password. */
  readonly secrets?: readonly string[]
}

export interface ReplayOptions {
  /** As {@link recordModel} wrote it. */
  readonly file: string
  /** What of a request must be as recorded, as JSON: takes out a date in a prompt, say. Default: all of it. */
  readonly compare?: (request: ModelRequest) => unknown
  /** Whether a recorded call answers more than one: then the last of those that fit is given again. For crash tests, which repeat calls. Default false. */
  readonly reuse?: boolean
}

export interface ReplayModel extends ModelClient {
  /** At the end of a test. @throws RecordingError the first that a call met, though an agent or a fallback may have dealt with it; else of reason `unused` if a recorded call was not made */
  verify(): void
}

const recordOptions = optionsOf<RecordOptions>({ file: text(4_096), secrets: optional(list(text(Number.MAX_SAFE_INTEGER))) })
const replayOptions = optionsOf<ReplayOptions>({ file: text(4_096), compare: optional(aFunction), reuse: optional(aBoolean) })
const aClient = having('a model client, such as anthropic() gives', 'complete')

/**
 * The same client, whose calls are written to a file as they end, failures included; an attempt that was given up is not.
 * Idempotency keys are left out. A request that holds a secret, or what looks like a provider's key, is refused before it is
 * made, and such an answer is not written.
 *
 * @throws ConfigError for options that cannot be used
 * @throws RecordingError of reason `exists` if the file is there: remove it to record anew
 */
export function recordModel(client: ModelClient, options: RecordOptions): ModelClient {
  aClient('recordModel: client', client)
  recordOptions('recordModel: ', options)
  const { file } = options
  const secrets = secretsOf(options.secrets)
  mkdirSync(dirname(file), { recursive: true })
  try {
    writeFileSync(file, encodeHeader(client.provider), { flag: 'wx' })
  } catch (error) {
    if ((error as { code?: string }).code !== 'EEXIST') throw error
    throw new RecordingError('exists', `${file} is there already, and is not written over. Remove it to record anew, or replay it: replayModel({ file }).`)
  }

  function mustBeClean(what: string, content: string): void {
    const found = secrets.find(({ value }) => content.includes(JSON.stringify(value).slice(1, -1)))?.name ?? (looksLikeKey.test(content) ? 'what looks like a key' : undefined)
    if (found !== undefined) throw new RecordingError('secret', `${what} holds ${found}, which must not get into ${file}. Take it out of prompt and input.`)
  }

  return {
    provider: client.provider,
    async complete(request, call) {
      mustBeClean('The request', JSON.stringify(request))
      const end = await client.complete(request, call).catch((error: unknown) => {
        if (error instanceof ModelError && error.kind !== 'aborted') return error
        throw error
      })
      const line = encodeCall(request, end)
      mustBeClean('The answer', line)
      // Of a line's size, and whole also if the next moment is the last.
      appendFileSync(file, line)
      if (end instanceof ModelError) throw end
      return end
    },
  }
}

/**
 * Answers as recorded. A request that was recorded several times gets its answers in their order. A call that nothing
 * recorded answers fails with {@link RecordingError}: the mesh does not repeat it, and the agent's failure tells the message.
 *
 * @throws ConfigError for options that cannot be used
 * @throws RecordingError of reason `unreadable` for a file that is no recording
 */
export function replayModel(options: ReplayOptions): ReplayModel {
  replayOptions('replayModel: ', options)
  const { file, reuse = false } = options
  const compared = (request: ModelRequest): unknown => JSON.parse(JSON.stringify(options.compare ? (options.compare(request) ?? null) : request))
  const { provider, calls } = readRecording(file)
  const kept = calls.map((call) => ({ call, compared: compared(call.request) }))
  const used = new Set<RecordedCall>()
  let refused: RecordingError | undefined

  return {
    provider,

    async complete(request, { signal }) {
      if (signal.aborted) throw new ModelError('aborted', 'The caller gave up', { retryable: false })
      const asked = compared(request)
      const fitting = kept.filter((recorded) => differencesOf(recorded.compared, asked).length === 0).map(({ call }) => call)
      const found = fitting.find((call) => !used.has(call)) ?? (reuse ? fitting.at(-1) : undefined)
      if (!found) {
        const error = unexpected(request, asked, fitting)
        refused ??= error
        throw error
      }
      used.add(found)
      if (found.end instanceof ModelError) throw found.end
      return found.end
    },

    verify() {
      if (refused) throw refused
      const unused = calls.filter((call) => !used.has(call))
      const [first] = unused
      if (!first) return
      throw new RecordingError('unused', `${unused.length} of ${calls.length} recorded calls in ${file} were not made; the first is that of ${whoOf(first.request)} on line ${first.line}.`, { line: first.line })
    },
  }

  function unexpected(request: ModelRequest, asked: unknown, fitting: readonly RecordedCall[]): RecordingError {
    const who = whoOf(request)
    const advice = `Record it anew${options.compare ? ' (or look at what compare keeps)' : ', or say with compare what may differ'}.`
    const last = fitting.at(-1)
    if (last) return new RecordingError('used-up', `${file} has ${fitting.length === 1 ? 'one answer' : `${fitting.length} answers`} for this call of ${who}, on line ${last.line}${fitting.length > 1 ? ' last' : ''}, and it was asked once more. ${advice}`, { line: last.line })
    const near = kept
      .map(({ call, compared: recorded }) => ({ call, differences: differencesOf(recorded, asked) }))
      .reduce<{ call: RecordedCall; differences: ReturnType<typeof differencesOf> } | undefined>((best, other) => (!best || distanceOf(other.differences) < distanceOf(best.differences) ? other : best), undefined)
    if (!near) return new RecordingError('unexpected', `${file} has no call at all, and ${who} made one. ${advice}`)
    const { call, differences } = near
    const told = differences.slice(0, 3).map(describeDifference).join('; ')
    return new RecordingError('unexpected', `Nothing recorded in ${file} answers this call of ${who}. The nearest, on line ${call.line}, differs at ${told}${differences.length > 3 ? `; and at ${differences.length - 3} more places` : ''}. ${advice}`, { line: call.line, differences })
  }
}

const whoOf = ({ task, model }: ModelRequest): string => `agent ${JSON.stringify(task.agent)} to ${model}`

/** Keys of Anthropic, OpenAI, Google, AWS and GitHub, and what goes into an Authorization header. */
const looksLikeKey = /\bsk-[A-Za-z0-9_-]{16,}|\bAIza[A-Za-z0-9_-]{30,}|\bAKIA[A-Z0-9]{16}\b|\bgh[pousr]_[A-Za-z0-9]{30,}|\bBearer [A-Za-z0-9._~+/-]{20,}/

function secretsOf(given: readonly string[] | undefined): readonly { readonly name: string; readonly value: string }[] {
  const all = given
    ? given.map((value, i) => ({ name: `secrets[${i}]`, value }))
    : Object.entries(process.env).flatMap(([name, value]) => (value !== undefined && /key|token|secret|password/i.test(name) ? [{ name: `the value of ${name}`, value }] : []))
  // A short value is a word that may stand anywhere.
  return all.filter(({ value }) => value.length >= 8)
}

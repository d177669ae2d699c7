/**
 * Reads what the models of a run are writing, from any process of the namespace. Where a reader stands is told by the
 * entry it has read last; the stream itself is the run's token actor's (machines/token-stream.machine.ts).
 *
 * R1  Whoever goes on from an entry gets those after it, each once and in order, however often and wherever it begins again.
 * R2  If some of them are gone, or the stream has gone back in time, it is told `lost` first. After that no text is told
 *     of an attempt whose beginning it was not told.
 * R3  A page is in memory at a time (256 entries, of at most 8,192 UTF-16 units of text each). A slow reader holds nobody up; it falls behind until
 *     what it has not read is gone, and is told so.
 */
import { ConfigError, isHoldfastError, toStoredError } from '../errors.js'
import { tokenMachineName, tokenStream, type TokenEntry } from '../machines/token-stream.machine.js'
import type { ActorHandle } from '../runtime/actor.js'
import { toAddress, type Address } from '../runtime/identity.js'
import type { Clock } from '../runtime/ports/clock.js'
import type { Logger } from '../runtime/ports/logger.js'
import type { StreamRecord } from '../runtime/streams.js'
import { optional, options as optionsOf, text } from './options.js'

export interface TokensOptions {
  /** Only what agents of this name write. Default: all. */
  readonly agent?: string
  /** The `id` of what was read last: it goes on after that. Default: from the oldest that is kept. */
  readonly after?: string
}

/** What is told of a call under way. `id` is where to go on from, and differs from one to the next. */
export type TokenTold =
  /** `at`: namespace time, ms. */
  | ({ readonly id: string; readonly at: number } & TokenEntry)
  /** What was shown so far, of any call, is void: entries are gone that were not read yet, or the store went back in time. */
  | { readonly id: string; readonly type: 'lost' }

const tokensOptions = optionsOf<TokensOptions>({ agent: optional(text(256)), after: optional(text(64)) })

/**
 * Notes what is told in a map of what there is to show: by `agent/task/call`, the text of the attempt that is shown. A text whose
 * beginning was not told is left out.
 */
export function showTokens(shown: Map<string, string>, told: TokenTold): void {
  if (told.type === 'lost') return shown.clear()
  const call = `${told.agent}/${told.task}/${told.call}`
  if (told.type === 'began' || told.type === 'restarted') shown.set(call, '')
  if (told.type === 'text' && shown.get(call)?.length === told.offset) shown.set(call, shown.get(call) + told.text)
}

/** What reading needs of a mesh. */
export interface TokenHost {
  readonly clock: Clock
  readonly logger: Logger
  actor(address: string): ActorHandle
  stream(address: string, stream: string, after: number, max: number): Promise<readonly StreamRecord[]>
}

const pageMax = 256
const retryMs = 100
const retryMsMax = 2_000
/** A change of which nobody was told is found within this, ms. */
const lookMs = 2_000

/** The entry that was read last, by its number and when it was appended; 0: none. */
interface Place {
  readonly seq: number
  readonly at: number | undefined
}

const beginning: Place = { seq: 0, at: undefined }

function encodePlace({ seq, at }: Place): string {
  return at === undefined ? String(seq) : `${seq}-${Math.round(at).toString(36)}`
}

/** @throws ConfigError for what is no id of an entry */
function decodePlace(id: string): Place {
  const [, seq, at] = /^(\d{1,15})(?:-([0-9a-z]{1,11}))?$/.exec(id) ?? []
  if (seq === undefined) throw new ConfigError(`after: expected the id of what was read last, got ${JSON.stringify(id)}.`)
  return { seq: Number(seq), at: at === undefined ? undefined : Number.parseInt(at, 36) }
}

/**
 * @param until what is there once it settles is told to its end, and nothing after
 * @throws ConfigError for a wrong option, InvalidIdError for what is no id of a run
 */
export function readTokens(host: TokenHost, run: string, given: TokensOptions = {}, until?: (signal: AbortSignal) => Promise<unknown>): AsyncGenerator<TokenTold, void> {
  tokensOptions('tokens: ', given)
  const from = given.after === undefined ? beginning : decodePlace(given.after)
  const over = new AbortController()
  const told = tell(host, toAddress(tokenMachineName, run), from, given.agent, over, until)
  // A generator's own would wait for what the pending next() waits for.
  const end = told.return.bind(told)
  told.return = (value) => {
    over.abort()
    return end(value)
  }
  return told
}

async function* tell(host: TokenHost, address: Address, from: Place, agent: string | undefined, over: AbortController, until: ((signal: AbortSignal) => Promise<unknown>) | undefined): AsyncGenerator<TokenTold, void> {
  const { signal } = over
  const { clock } = host
  const bell = new Bell()
  signal.addEventListener('abort', () => bell.ring())
  const actor = host.actor(address)
  const { unsubscribe } = actor.subscribe(() => bell.ring())
  let isLast = false
  // Of the end of this process a subscriber does not hear.
  const ended = [actor.waitFor(() => false, { signal }), ...(until ? [until(signal)] : [])].map((end) =>
    end.catch(() => {}).then(() => {
      isLast = true
      bell.ring()
    }),
  )
  let place = from
  /** Since entries were lost: the attempts whose beginning was told. */
  let known: Set<string> | undefined
  try {
    for (let failures = 0; !signal.aborted; ) {
      const isEnd = isLast
      bell.listen()
      let page: readonly StreamRecord[]
      try {
        page = await host.stream(address, tokenStream, Math.max(0, place.seq - 1), pageMax)
        failures = 0
      } catch (error) {
        if (signal.aborted || (isHoldfastError(error) && error.code === 'STOPPED')) return
        host.logger.warn({ actor: address, error: toStoredError(error).message }, 'a token stream cannot be read; trying again')
        await bell.rung(clock, Math.min(retryMs * 2 ** failures++, retryMsMax), true)
        continue
      }
      const { isLost, next } = following(page, place)
      if (isLost) {
        const [first] = page
        const isOther = !first || first.seq <= place.seq
        place = isOther ? beginning : { seq: first.seq - 1, at: undefined }
        known = new Set()
        yield { id: encodePlace(place), type: 'lost' }
        continue
      }
      for (const { seq, at, value } of next) {
        const entry = value as TokenEntry
        place = { seq, at }
        if (agent !== undefined && entry.agent !== agent) continue
        const isTold = !known || isKnown(known, entry)
        if (isTold) yield { id: encodePlace(place), at, ...entry }
        else if (entry.type === 'ended') yield { id: encodePlace(place), at, ...entry, isWhole: false }
        if (signal.aborted) return
      }
      if (page.length === pageMax) continue
      if (isEnd) return
      await bell.rung(clock, lookMs, false)
    }
  } finally {
    unsubscribe()
    over.abort()
    await Promise.all(ended)
  }
}

/** Whether entries are missing between where the reader stands and the page, which begins with the entry it stands at if that is there. */
function following(page: readonly StreamRecord[], { seq, at }: Place): { readonly isLost: boolean; readonly next: readonly StreamRecord[] } {
  const [first] = page
  if (seq === 0) return { isLost: first !== undefined && first.seq > 1, next: page }
  // The newest is never dropped: a stream that ends before it is another one.
  if (!first || first.seq > seq + 1) return { isLost: true, next: [] }
  if (first.seq < seq) return page[1] ? following(page.slice(1), { seq, at }) : { isLost: true, next: [] }
  if (first.seq === seq) return { isLost: at !== undefined && Math.round(first.at) !== Math.round(at), next: page.slice(1) }
  return { isLost: false, next: page }
}

function isKnown(known: Set<string>, entry: TokenEntry): boolean {
  const key = JSON.stringify([entry.agent, entry.task, entry.call, entry.attempt])
  if (entry.type === 'began' || entry.type === 'restarted') known.add(key)
  return known.has(key)
}

/** Wakes the one who waits, also if it rang just before. */
class Bell {
  private hasRung = false
  private wake: (() => void) | undefined

  ring(): void {
    this.hasRung = true
    this.wake?.()
  }

  /** What rang before is forgotten. */
  listen(): void {
    this.hasRung = false
  }

  /** Resolves when it rings, or after that time. */
  async rung(clock: Clock, withinMs: number, isDeaf: boolean): Promise<void> {
    if (this.hasRung && !isDeaf) return
    let cancel = (): void => {}
    await new Promise<void>((resolve) => {
      this.wake = resolve
      cancel = clock.after(withinMs, resolve)
    })
    this.wake = undefined
    cancel()
  }
}

/**
 * What the models of a run are writing just now, for those who watch: one durable actor for each run, with a stream of
 * its own. Attempts send it what they have read so far, in pieces; the call chart tells it of their beginnings and ends.
 *
 * T1  Of an attempt that is shown the stream has every character once, in order: a piece is cut to what is new, and
 *     refused if it does not begin where the attempt stands.
 * T2  Of one call one attempt is shown at a time. Another one begins with an entry that says so, so that nobody takes
 *     halves of two attempts for one answer. Who writes an attempt is held to from the first piece on: what a process
 *     still sends that does not know yet that it has lost the actor is refused.
 * T3  An attempt begins with the commit of its intent and ends with that of its outcome, which brings what was not yet
 *     sent of the answer. So an attempt that ended well is in the stream as its outcome has it, or is said not to be.
 */
import { enqueueActions, setup, type ActorRef } from 'xstate'
import { append, refTo } from '../protocol.js'

/** Whose call it is. */
export interface TokenSource {
  readonly agent: string
  readonly task: string
  /** Unique among the calls of the task. */
  readonly call: string
}

/** The name of the stream, and of the machine. */
export const tokenStream = 'tokens'
export const tokenMachineName = 'tokenStream'

/** Entries that a run's stream keeps; the oldest go. */
export const tokenEntriesMax = 10_000
/** UTF-16 units of text in one entry, and in one piece. */
export const tokenTextMax = 8_192
/** What an outcome may bring of an answer that was not sent in pieces, UTF-16 units: beyond it, none of it. */
export const tokenRestMax = 65_536
/** Calls of one run that are followed at a time; beyond it the one that began first is given up. */
export const tokenCallsMax = 1_000
/** Without a beginning or an end for so long the actor ends, ms: longer than a person has to decide. */
export const tokenQuietMs = 8 * 24 * 3_600_000

/** An entry of the stream. */
export type TokenEntry =
  /** An attempt begins from nothing: the call's first, or another one. What was shown of the call before is void. */
  | ({ readonly type: 'began' | 'restarted'; readonly attempt: number; readonly model: string } & TokenSource)
  | ({ readonly type: 'text'; readonly attempt: number; readonly offset: number; readonly text: string } & TokenSource)
  /** isWhole: the entries of this attempt are all of its answer. */
  | ({ readonly type: 'ended'; readonly attempt: number; readonly outcome: 'answered' | 'failed'; readonly isWhole: boolean } & TokenSource)

export type TokenEvent =
  /** isBeside: another attempt of the call goes on. */
  | { readonly type: 'tokens.begin'; readonly of: TokenSource; readonly attempt: number; readonly model: string; readonly isBeside: boolean }
  | { readonly type: 'tokens.write'; readonly of: TokenSource; readonly attempt: number; readonly writer: string; readonly offset: number; readonly text: string }
  /**
   * `text`: the answer from `offset` on, null if there is none or it is too long. `writer`: who wrote what came before; null: what
   * was written is not what was answered.
   */
  | { readonly type: 'tokens.end'; readonly of: TokenSource; readonly attempt: number; readonly ok: boolean; readonly writer: string | null; readonly offset: number; readonly text: string | null }

/** An attempt under way. */
interface Open {
  readonly attempt: number
  readonly model: string
  readonly writer: string | null
  /** UTF-16 units of it that the stream has. */
  readonly chars: number
  readonly isShown: boolean
}

export interface TokenContext {
  /** By call. */
  readonly open: Readonly<Record<string, readonly Open[]>>
}

/** What an event does: pure. */
export function takeTokens(context: TokenContext, event: TokenEvent): { readonly context: TokenContext; readonly entries: readonly TokenEntry[] } {
  const key = JSON.stringify([event.of.agent, event.of.task, event.of.call])
  const taken = steps[event.type](context.open[key] ?? [], event as never)
  if (!taken) return { context, entries: [] }
  const { [key]: _before, ...others } = context.open
  const open = taken.open.length > 0 ? { ...others, [key]: taken.open } : others
  const [first] = Object.keys(open)
  if (Object.keys(open).length > tokenCallsMax) delete (open as Record<string, readonly Open[]>)[first!]
  return { context: { open }, entries: taken.entries }
}

interface Taken {
  readonly open: readonly Open[]
  readonly entries: readonly TokenEntry[]
}

/** undefined: nothing. */
const steps: { readonly [T in TokenEvent['type']]: (open: readonly Open[], event: TokenEvent & { readonly type: T }) => Taken | undefined } = {
  'tokens.begin': (open, { of, attempt, model, isBeside }) => {
    const isFirst = attempt === 1 && open.length === 0
    const isShown = !isBeside || open.length === 0
    const begun: Open = { attempt, model, writer: null, chars: 0, isShown }
    return { open: [...(isBeside ? open : []), begun], entries: isShown ? [{ type: isFirst ? 'began' : 'restarted', ...of, attempt, model }] : [] }
  },
  'tokens.write': (open, { of, attempt, writer, offset, text }) => {
    const found = open.find((one) => one.attempt === attempt)
    if (!found || (found.writer === null ? offset > 0 : found.writer !== writer) || offset > found.chars || offset + text.length <= found.chars) return undefined
    const takesOver = !found.isShown && open.every(({ isShown, chars }) => !isShown || chars === 0)
    if (!found.isShown && !takesOver) return undefined
    const entries = textEntries(of, found, text.slice(found.chars - offset))
    return {
      open: open.map((one) => (one === found ? { ...one, writer, chars: offset + text.length, isShown: true } : takesOver ? { ...one, isShown: false } : one)),
      entries: takesOver ? [restarted(of, found), ...entries] : entries,
    }
  },
  'tokens.end': (open, { of, attempt, ok, writer, offset, text }) => {
    const found = open.find((one) => one.attempt === attempt)
    if (!found) return undefined
    if (ok) return { open: [], entries: answered(of, found, { writer, offset, text }) }
    const others = open.filter((one) => one !== found)
    if (!found.isShown) return { open: others, entries: [] }
    const ended: TokenEntry = { type: 'ended', ...of, attempt, outcome: 'failed', isWhole: false }
    const [next, ...rest] = others
    return next ? { open: [{ ...next, isShown: true }, ...rest], entries: [ended, restarted(of, next)] } : { open: [], entries: [ended] }
  },
}

/** The rest of an answer, behind what is shown of it; from its beginning, if that is not part of it. */
function answered(of: TokenSource, found: Open, { writer, offset, text }: Pick<TokenEvent & { readonly type: 'tokens.end' }, 'writer' | 'offset' | 'text'>): TokenEntry[] {
  const isOther = found.chars > 0 && (writer === null || writer !== found.writer)
  const begins: TokenEntry[] = isOther || !found.isShown ? [restarted(of, found)] : []
  const shown = isOther || !found.isShown ? { ...found, chars: 0 } : found
  const isWhole = text !== null && offset <= shown.chars
  const rest = isWhole ? textEntries(of, shown, text.slice(shown.chars - offset)) : []
  return [...begins, ...rest, { type: 'ended', ...of, attempt: found.attempt, outcome: 'answered', isWhole }]
}

const restarted = (of: TokenSource, { attempt, model }: Open): TokenEntry => ({ type: 'restarted', ...of, attempt, model })

function textEntries(of: TokenSource, { attempt, chars }: Open, text: string): TokenEntry[] {
  const entries: TokenEntry[] = []
  for (let from = 0; from < text.length; ) {
    const length = pieceLength(text, from, tokenTextMax)
    entries.push({ type: 'text', ...of, attempt, offset: chars + from, text: text.slice(from, from + length) })
    from += length
  }
  return entries
}

/** How much of a text may go into one piece, from a place on: at most so many units, and no half of a surrogate pair behind. 0 if there is only such a half. */
export function pieceLength(text: string, from: number, max: number): number {
  const length = Math.min(max, text.length - from)
  const last = text.charCodeAt(from + length - 1)
  const isHalf = last >= 0xd8_00 && last <= 0xdb_ff
  return isHalf && (length > 1 || from + length === text.length) ? length - 1 : length
}

/** Where what the models of a run write is sent. */
export function tokenStreamRef(run: string): ActorRef<never, TokenEvent> {
  return refTo(`${tokenMachineName}/${run}`) as unknown as ActorRef<never, TokenEvent>
}

export const tokenStreamMachine = setup({
  types: {
    context: {} as TokenContext,
    events: {} as TokenEvent,
  },
  delays: { quiet: tokenQuietMs },
  actions: {
    take: enqueueActions(({ enqueue, context, event }) => {
      const taken = takeTokens(context, event)
      if (taken.context !== context) enqueue.assign(taken.context)
      for (const value of taken.entries) enqueue(append(() => ({ stream: tokenStream, value, max: tokenEntriesMax })) as never)
    }),
  },
}).createMachine({
  id: tokenMachineName,
  version: '1',
  description: 'What the models of a run are writing just now, for those who watch.',
  context: { open: {} },
  initial: 'following',
  states: {
    following: {
      description: 'Takes what attempts have read so far, and tells their beginnings and ends.',
      on: {
        'tokens.begin': { target: 'following', reenter: true, actions: 'take' },
        'tokens.write': { actions: 'take' },
        'tokens.end': { target: 'following', reenter: true, actions: 'take' },
      },
      after: { quiet: 'over' },
    },
    over: {
      description: 'Nothing has been called for a long time; what it holds goes with its record.',
      type: 'final',
    },
  },
})

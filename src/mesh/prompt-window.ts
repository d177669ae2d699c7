/**
 * What goes into a prompt, selected from what could: a window of tokens, and parts that are pinned or may be masked or left out.
 * Pure: the same parts and window give the same selection.
 *
 * W1  What is pinned is in, whole: goals, constraints, decisions, open obligations, and the tools' last results.
 * W2  What is selected is never above the window. What is pinned and does not fit is an error, and nothing is cut.
 * W3  Parts keep their order. Nothing is left out before all that can be masked is.
 * W4  In a wider window no part is shown less of.
 */
import { HoldfastError } from '../errors.js'
import { canonicalJson, digestOf } from './canonical.js'
import type { ModelMessage, ModelToolCall, ModelToolResult } from './ports/model-client.js'

/** The first four are pinned. */
export type PartKind = 'goal' | 'constraint' | 'decision' | 'obligation' | 'observation' | 'context'

/** A piece of a prompt that is shown as far as there is room. */
export interface PromptPart {
  /** Unique in its prompt, 1 to 256 characters. */
  readonly id: string
  readonly kind: PartKind
  readonly text: string
  /** Default `user`. */
  readonly role?: 'user' | 'assistant'
  /** 0 to 1: the less relevant goes first, and of what is as relevant the older. Default 0.5. */
  readonly relevance?: number
  /** What stands in its place when it is masked, a summary say. Default, of an observation: how long it was. Of other kinds: they are not masked. */
  readonly mask?: string
}

/** A model's request for tools, and what came of each. */
export interface Exchange {
  readonly text: string
  readonly calls: readonly ModelToolCall[]
  /** One for each call, in their order. */
  readonly results: readonly ModelToolResult[]
}

/** A part that is not shown whole. */
export interface CompactedPart {
  readonly id: string
  readonly kind: PartKind
  readonly how: 'masked' | 'leftOut'
  /** Of the whole part. */
  readonly tokens: number
  readonly relevance: number
  /** Digest of its whole text, by which it is found among the agent's compactions. */
  readonly digest: string
}

/** What was not shown whole, and why: the prompt would have had `wantedTokens`, and its window is `tokensMax`. */
export interface Compaction {
  readonly tokensMax: number
  readonly wantedTokens: number
  readonly tokens: number
  readonly parts: readonly CompactedPart[]
}

/** A part as it was before it was masked or left out. */
export interface WholePart extends CompactedPart {
  readonly text: string
}

/** What is pinned does not fit into the window. */
export class WindowError extends HoldfastError {
  readonly neededTokens: number
  readonly tokensMax: number
  constructor(neededTokens: number, tokensMax: number, pinned: readonly string[]) {
    const shown = pinned.slice(0, 5).map((id) => JSON.stringify(id)).join(', ')
    super('WINDOW', `The prompt needs ${neededTokens} tokens, though all that may be left out is, and its window is ${tokensMax}${pinned.length > 0 ? ` (pinned: ${shown}${pinned.length > 5 ? ` and ${pinned.length - 5} more` : ''})` : ''}. Pin less, shorten what is always said, or widen windowTokensMax.`)
    this.neededTokens = neededTokens
    this.tokensMax = tokensMax
  }
}

export type Treatment = 'whole' | 'masked' | 'leftOut'

/** A part by its size alone. */
export interface SizedPart {
  readonly tokens: number
  /** What it takes when it is masked; null: it cannot be. */
  readonly maskTokens: number | null
  readonly isPinned: boolean
  readonly relevance: number
  /** What is left out together: parts of one group, or the part alone. */
  readonly group: string | null
}

export interface Selection {
  /** For each part, in their order. */
  readonly of: readonly Treatment[]
  readonly tokens: number
  /** Whether it is within the window. */
  readonly fits: boolean
}

/** Masks, then leaves out, one after the other in an order that does not depend on the window, until the rest fits. */
export function selectParts(parts: readonly SizedPart[], tokensMax: number): Selection {
  const of: Treatment[] = parts.map(() => 'whole')
  let tokens = parts.reduce((sum, part) => sum + part.tokens, 0)
  const shrink = (at: number, to: 'masked' | 'leftOut'): void => {
    const { tokens: whole, maskTokens } = parts[at]!
    tokens -= of[at] === 'masked' ? maskTokens! : whole
    if (to === 'masked') tokens += maskTokens!
    of[at] = to
  }
  for (const step of stepsOf(parts)) {
    if (tokens <= tokensMax) break
    for (const at of step.parts) shrink(at, step.how)
  }
  return { of, tokens, fits: tokens <= tokensMax }
}

interface Step {
  readonly how: 'masked' | 'leftOut'
  readonly parts: readonly number[]
  readonly relevance: number
}

function stepsOf(parts: readonly SizedPart[]): readonly Step[] {
  const loose = parts.flatMap((part, at) => (part.isPinned ? [] : [{ part, at }]))
  // A mask that is no shorter than what it stands for would gain nothing.
  const masks = loose.filter(({ part }) => part.maskTokens !== null && part.maskTokens < part.tokens).map(({ part, at }): Step => ({ how: 'masked', parts: [at], relevance: part.relevance }))
  const units = new Map<string, { readonly part: SizedPart; readonly at: number }[]>()
  for (const one of loose) {
    const key = one.part.group === null ? `part ${one.at}` : `group ${one.part.group}`
    units.set(key, [...(units.get(key) ?? []), one])
  }
  const drops = [...units.values()].map((unit): Step => ({ how: 'leftOut', parts: unit.map(({ at }) => at), relevance: Math.max(...unit.map(({ part }) => part.relevance)) }))
  const inOrder = (a: Step, b: Step): number => a.relevance - b.relevance || a.parts[0]! - b.parts[0]!
  return [...masks.toSorted(inOrder), ...drops.toSorted(inOrder)]
}

const pinnedKinds: ReadonlySet<PartKind> = new Set<PartKind>(['goal', 'constraint', 'decision', 'obligation'])
const usualRelevance = 0.5
/** Between parts of one message. */
const gap = '\n\n'

/** The most that a text can be: a token is at least one byte. Of English prose about four bytes are a token. */
export const bytesOf = (text: string): number => Buffer.byteLength(text)

export interface PromptToFit {
  readonly parts: readonly PromptPart[]
  /** Always shown, after the parts. */
  readonly messages: readonly ModelMessage[]
  /** Rounds of tools so far: the last one is pinned, the others are left out whole or have their results masked. */
  readonly exchanges: readonly Exchange[]
  /** What else is sent: the system prompt, schemas. */
  readonly beside: readonly string[]
  /** Infinity: no window. */
  readonly tokensMax: number
  readonly countTokens: (text: string) => number
}

export interface FittedPrompt {
  readonly messages: readonly ModelMessage[]
  /** null: all of it is shown. */
  readonly compaction: Compaction | null
  /** What was compacted of the parts, whole. The results of tools stand whole in the trace. */
  readonly whole: readonly WholePart[]
}

interface Element extends SizedPart {
  readonly id: string
  readonly kind: PartKind
  readonly text: string
  readonly mask: string | null
}

/** @throws WindowError if what is pinned does not fit */
export function fitPrompt({ parts, messages, exchanges, beside, tokensMax, countTokens }: PromptToFit): FittedPrompt {
  const elementOf = (id: string, kind: PartKind, text: string, mask: string | null, more: Partial<Element> = {}): Element => ({
    id,
    kind,
    text,
    mask,
    tokens: countTokens(text + gap),
    maskTokens: mask === null ? null : countTokens(mask + gap),
    isPinned: pinnedKinds.has(kind),
    relevance: usualRelevance,
    group: null,
    ...more,
  })
  const ofParts = parts.map(({ id, kind, text, relevance = usualRelevance, mask }) => elementOf(id, kind, text, mask ?? (kind === 'observation' ? maskOf(text) : null), { relevance }))
  const ofExchanges = exchanges.flatMap(({ text, calls, results }, round) => {
    const isPinned = round === exchanges.length - 1
    const group = `exchange ${round}`
    return [
      elementOf(group, 'context', canonicalJson([text, calls]), null, { isPinned, group }),
      ...results.map((result) => elementOf(result.id, 'observation', canonicalJson(result), canonicalJson({ ...result, text: maskOf(result.text) }), { isPinned, group })),
    ]
  })
  const elements = [...ofParts, ...ofExchanges]
  const always = [...beside, ...messages.map(({ content }) => content)].reduce((sum, text) => sum + countTokens(text), 0)
  const selection = selectParts(elements, tokensMax - always)
  const tokens = always + selection.tokens
  if (!selection.fits) throw new WindowError(tokens, tokensMax, elements.filter(({ isPinned }) => isPinned).map(({ id }) => id))

  const compactedOf = (count: number): WholePart[] =>
    elements.slice(0, count).flatMap(({ id, kind, text, tokens: size, relevance }, at): WholePart[] => {
      const how = selection.of[at]!
      return how === 'whole' ? [] : [{ id, kind, how, tokens: size, relevance, digest: digestOf(text), text }]
    })
  const compacted = compactedOf(elements.length)
  const shown = parts.flatMap(({ role = 'user' }, at): ModelMessage[] => {
    const { text, mask } = ofParts[at]!
    const how = selection.of[at]!
    return how === 'leftOut' ? [] : [{ role, content: how === 'masked' ? mask! : text }]
  })
  return {
    messages: [...joined(shown, messages), ...shownExchanges(exchanges, selection.of.slice(parts.length))],
    compaction: compacted.length === 0 ? null : { tokensMax, wantedTokens: always + elements.reduce((sum, { tokens: size }) => sum + size, 0), tokens, parts: compacted.map(({ text: _, ...part }) => part) },
    whole: compactedOf(parts.length),
  }
}

function maskOf(text: string): string {
  return `[${Buffer.byteLength(text)} bytes are left out here to save room]`
}

/** Parts of one role that stand next to each other are one message, and so is the message that follows them. */
function joined(parts: readonly ModelMessage[], messages: readonly ModelMessage[]): readonly ModelMessage[] {
  const [first, ...rest] = messages
  const runs: ModelMessage[] = []
  for (const part of first && parts.length > 0 ? [...parts, first] : parts) {
    const last = runs.at(-1)
    if (last && last.role === part.role) runs[runs.length - 1] = { ...part, content: last.content + gap + part.content }
    else runs.push(part)
  }
  return parts.length > 0 ? [...runs, ...rest] : messages
}

function shownExchanges(exchanges: readonly Exchange[], treatments: readonly Treatment[]): readonly ModelMessage[] {
  let at = 0
  return exchanges.flatMap(({ text, calls, results }): readonly ModelMessage[] => {
    const [own, ...of] = treatments.slice(at, (at += 1 + results.length))
    if (own === 'leftOut') return []
    return [
      { role: 'assistant', content: text, toolCalls: calls },
      { role: 'user', content: '', toolResults: results.map((result, i) => (of[i] === 'masked' ? { ...result, text: maskOf(result.text) } : result)) },
    ]
  })
}

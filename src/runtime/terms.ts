/**
 * What an actor is found by, as short texts that the store keeps beside its record (`Part.terms`): how it ended, its run, the
 * states that it is in, and their tags. Of the root machine only; a child inside the record has no address.
 */
import { createHash } from 'node:crypto'
import { termCharsMax, termsMax } from './ports/store.js'
import type { RecordStatus } from './stored-record.js'
import type { XMachine, XStateNode } from './xstate/insides.js'

/** States and tags of an actor, by the list of its active states, which most actors of one state share. */
const known = new WeakMap<readonly XStateNode[], readonly string[]>()

/**
 * One that failed or was stopped is in no state: it waits for nothing. Of more than {@link termsMax} those of the outer states
 * are kept, then those further in, tags last.
 *
 * @param nodes the active states; undefined if the very start failed
 */
export function termsOf(status: RecordStatus, nodes: readonly XStateNode[] | undefined, run: string | undefined): readonly string[] {
  const isSomewhere = nodes !== undefined && (status === 'active' || status === 'done')
  const places = isSomewhere ? placesOf(nodes) : []
  if (status === 'active' && run === undefined) return places
  const own = [...(status === 'active' ? [] : [statusTerm(status)]), ...(run === undefined ? [] : [runTerm(run)])]
  return [...own, ...places].slice(0, termsMax)
}

function placesOf(nodes: readonly XStateNode[]): readonly string[] {
  let terms = known.get(nodes)
  if (!terms) {
    const states = nodes.filter(({ path }) => path.length > 0).sort((a, b) => a.path.length - b.path.length || a.order - b.order)
    terms = [...new Set([...states.map(({ path }) => stateTerm(path.join('.'))), ...nodes.flatMap(({ tags }) => tags.map(tagTerm))])].slice(0, termsMax)
    known.set(nodes, terms)
  }
  return terms
}

/** The most states and tags that an actor of it can have at a time. */
export function mostPlaces({ root }: XMachine): number {
  const below = (node: XStateNode): number => {
    const counts = Object.values(node.states).map(most)
    return node.type === 'parallel' ? counts.reduce((sum, count) => sum + count, 0) : Math.max(0, ...counts)
  }
  const most = (node: XStateNode): number => (node.type === 'history' ? 0 : 1 + node.tags.length + below(node))
  return root.tags.length + below(root)
}

export const stateTerm = (path: string): string => term('.', path)
export const tagTerm = (tag: string): string => term('#', tag)
export const runTerm = (run: string): string => term('@', run)
/** Whom no such term finds is active. */
export const statusTerm = (status: Exclude<RecordStatus, 'active'>): string => term('=', status)

const textCharsMax = 200

/** What is long, or holds what a store could not tell apart, is cut and told apart by a digest. */
function term(kind: '.' | '#' | '@' | '=', text: string): string {
  if (text.length <= textCharsMax && isPlain(text)) return kind + text
  const start = text.slice(0, 100).replace(/[\p{Cc}\p{Surrogate}]/gu, '\ufffd')
  return `${kind}${start}…${createHash('sha256').update(text, 'utf16le').digest('hex').slice(0, 32)}`.slice(0, termCharsMax)
}

function isPlain(text: string): boolean {
  return !/[\p{Cc}\p{Surrogate}]/u.test(text)
}

/** What terms say, as text again: a long name as it was cut. */
export function readTerms(terms: readonly string[]): { readonly status: RecordStatus; readonly states: readonly string[]; readonly tags: readonly string[] } {
  const of = (kind: string): string[] => terms.flatMap((text) => (text.startsWith(kind) ? [text.slice(1)] : []))
  return { status: (of('=')[0] as RecordStatus | undefined) ?? 'active', states: of('.'), tags: of('#') }
}
